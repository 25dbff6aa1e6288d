"""The ranker: candidates of the validation window with what came of them, LightGBM by folds of users, the top k."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError, DataError
from workbench.models.boosting import BoostedTraining, Boosting, with_feature_names
from workbench.models.lightgbm_folds import LightGBMSpec
from workbench.models.parameters import lightgbm_spec
from workbench.models.rounds import Stopper, Stopping, shared_rounds
from workbench.recommender.candidate_features import FeatureMaker
from workbench.recommender.candidates import Candidates, Generator, in_batches
from workbench.recommender.extra import compiled
from workbench.recommender.windows import Window, take_users

__all__ = [
    "ListModel",
    "Lists",
    "RankerSpec",
    "RankerTraining",
    "TrainingRows",
    "join_rows",
    "rank",
    "take_turns",
    "train_folds",
    "train_model",
    "training_rows",
]

Floats = npt.NDArray[np.float32]

HELD_FOLDS = 3
"""So many folds of the ranker are held in memory at a time; what they take stands beside rows four times as large."""


@dataclass(frozen=True)
class RankerSpec:
    """How candidates are ranked.

    Attributes
    ----------
    negatives : float
        The share of the candidates that did not come which is trained on; those that came are all.
    users : int, optional
        So many users of a window, at most, are trained on; None for all.
    windows : int
        So many windows are trained on: the validation window, and those that end a horizon before it, two and so on.
    per_list : bool
        A model for each list; else one for all, to which a list of more weight is of more relevance.
    model : dict
        LightGBM's parameters.
    rounds : str
        "mean": the models of a list have the best number of rounds of the mean of their curves; "per fold": each has
        its own.
    """

    negatives: float = 0.3
    users: int | None = 300_000
    windows: int = 1
    per_list: bool = True
    model: Mapping[str, Any] = field(default_factory=dict)
    rounds: str = "mean"

    def __post_init__(self) -> None:
        if self.rounds not in ("mean", "per fold"):
            raise ConfigError(f'ranker: rounds = {self.rounds!r}: expected "mean" or "per fold"')
        if not 0 < self.negatives <= 1:
            raise ConfigError(f"ranker: negatives = {self.negatives!r}: expected a share above 0, up to 1")
        for name in ("users", "windows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"ranker: {name} = {value!r}: expected 1 or more")

    def lightgbm(self, k: int, *, where: str, threads: int | None, usual_threads: int | None = None) -> LightGBMSpec:
        """Return the model's parameters, checked; lambdarank for the first k places where nothing else is said."""
        usual: dict[str, Any] = {"num_iterations": 300, "early_stopping_round": 30, "learning_rate": 0.1}
        usual |= {"objective": "lambdarank", "min_data_in_leaf": 100}
        spec = lightgbm_spec({**usual, **self.model}, where=where, threads=threads, usual_threads=usual_threads)
        if spec.parameters["objective"] not in ("lambdarank", "rank_xendcg", "binary"):
            raise ConfigError(
                f"{where}: objective = {spec.parameters['objective']!r}: expected lambdarank, rank_xendcg or binary"
            )
        if spec.parameters["objective"] == "lambdarank":
            spec.parameters.setdefault("lambdarank_truncation_level", k + 10)
        spec.parameters.setdefault("eval_at", [k])
        return spec


@dataclass(frozen=True)
class TrainingRows:
    """Candidates to train on, those of a user one after the other.

    Attributes
    ----------
    features : float32 array (n, n_features)
    names : tuple of str
        Of the features.
    labels : uint8 array (n, n_models)
    users : int32 array (n,)
        Rows of the window; of several windows, of the one after the other.
    """

    features: Floats
    names: tuple[str, ...]
    labels: npt.NDArray[np.uint8]
    users: npt.NDArray[np.int32]


def join_rows(parts: list[TrainingRows], sizes: Sequence[int]) -> TrainingRows:
    """Join the rows of several windows, which have `sizes` users; takes them out of the list that is given."""
    if len(parts) == 1:
        return parts.pop()
    before = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    users = np.concatenate([part.users + n for part, n in zip(parts, before, strict=True)])
    labels, names = np.concatenate([part.labels for part in parts]), parts[0].names
    features = [part.features for part in parts]
    parts.clear()
    return TrainingRows(_stacked(features), names, labels, users)


@dataclass(frozen=True)
class ListModel:
    """A trained model: its text, its rounds, gain by column, and what it was stopped by; empty where by nothing."""

    text: str
    rounds: int
    gains: dict[str, float]
    stopping: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lists:
    """What is recommended.

    Attributes
    ----------
    items : int32 array (n_users, n_lists, k)
        Codes, the best first; -1 behind the last.
    scores : float32 array (n_users, n_lists, k)
    """

    items: npt.NDArray[np.int32]
    scores: Floats


# ------------------------------------------------------------------------------------------------------ rows to train


def levels_of(weights: Sequence[float], *, per_list: bool) -> list[tuple[int, ...]]:
    """Return for each model what a hit in each list is as a label; 0 where it is none.

    Examples
    --------
    >>> levels_of([0.1, 0.3, 0.6], per_list=True)
    [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    >>> levels_of([0.1, 0.6, 0.3], per_list=False)
    [(1, 3, 2)]
    """
    n = len(weights)
    if per_list:
        return [tuple(int(i == j) for j in range(n)) for i in range(n)]
    return [tuple(1 + sorted(set(weights)).index(w) for w in weights)]


def training_rows(
    window: Window,
    generator: Generator,
    maker: FeatureMaker,
    spec: RankerSpec,
    levels: Sequence[tuple[int, ...]],
    *,
    seed: int,
    threads: int,
    of: str = "validation",
) -> TrainingRows:
    """Return the candidates of a window to train on, labelled, with a share of those that did not come.

    Users of whom nothing that came is among the candidates teach nothing and are left out. `of` is what messages call
    the window.
    """
    chosen = np.arange(len(window))
    if spec.users is not None and len(window) > spec.users:
        chosen = np.sort(np.random.default_rng(seed).choice(len(window), spec.users, replace=False))
    part, truth = take_users(window, chosen), window.truth or ()
    run = compiled("compiled_candidates")

    def work(rows: slice) -> tuple[Any, ...]:
        made = generator.make(part, rows)
        labels = np.zeros((len(made.items), len(levels)), np.uint8)
        for which, whole in enumerate(truth):
            wanted = whole.take(chosen[rows])
            for m, level in enumerate(levels):
                if level[which]:
                    column = np.ascontiguousarray(labels[:, m])
                    run.mark(made.offsets, made.items, wanted.offsets, wanted.items, level[which], column)
                    labels[:, m] = column
        kept = _kept(made, part.users[rows], labels, spec.negatives, seed)
        some = _only(made, kept)
        return maker.make_for(some, part), labels[kept], chosen[rows][some.user_rows]

    blocks = list(in_batches(part, work, threads=threads))
    features = _stacked([b[0] for b in blocks])
    if not len(features):
        raise DataError(
            f"nothing that came is among the candidates of the window {of!r}: there is nothing to learn",
            hint="more sources, or a larger top",
        )
    users = np.concatenate([b[2] for b in blocks]).astype(np.int32)
    return TrainingRows(features, maker.names, np.concatenate([b[1] for b in blocks]), users)


def _stacked(blocks: list[Floats]) -> Floats:
    """Put blocks one below the other, letting go of each as it is copied: there is no room for all of it twice."""
    whole = np.empty((sum(len(b) for b in blocks), blocks[0].shape[1]), np.float32)
    at = 0
    blocks.reverse()
    while blocks:
        block = blocks.pop()
        whole[at : at + len(block)] = block
        at += len(block)
    return whole


def _kept(made: Candidates, users: Any, labels: Any, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which candidates are trained on: chosen by user and item, in whatever batch they are."""
    rows = made.user_rows
    is_hit = labels.any(axis=1)
    with_hit = np.zeros(len(made.offsets) - 1, np.bool_)
    with_hit[rows[is_hit]] = True
    mixed = (users[rows].astype(np.uint64) << np.uint64(32)) + made.items.astype(np.uint64) + np.uint64(seed)
    # The finaliser of splitmix64 (Steele, Lea and Flood 2014).
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    drawn: npt.NDArray[np.bool_] = (mixed >> np.uint64(11)).astype(np.float64) / 2**53 < share
    kept: npt.NDArray[np.bool_] = (is_hit | drawn) & with_hit[rows]
    return kept


def _only(made: Candidates, kept: npt.NDArray[np.bool_]) -> Candidates:
    """Return some of the candidates of a batch."""
    counts = np.bincount(made.user_rows[kept], minlength=len(made.offsets) - 1)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Candidates(made.rows, offsets, made.items[kept], made.told[kept], ())


# ------------------------------------------------------------------------------------------------------------ training


def train_model(
    rows: TrainingRows,
    which: int,
    spec: LightGBMSpec,
    *,
    is_valid: npt.NDArray[np.bool_] | None,
    is_kept_apart: npt.NDArray[np.bool_] | None = None,
    rounds: int | None = None,
    seed: int = 1,
    progress: Callable[[float], None] = lambda _: None,
) -> ListModel:
    """Train a model on all rows but those to stop early by, and those that are kept apart.

    Parameters
    ----------
    which : int
        The column of the labels.
    is_valid : bool array (n,), or None
        The rows to stop early by; None: there are none, and `rounds` are trained.
    is_kept_apart : bool array (n,), or None
        Rows that the model must not see, and is not stopped by.
    progress : callable
        Told the share of the rounds that is done.
    """
    training = RankerTraining(
        rows, which, spec, is_valid=is_valid, is_kept_apart=is_kept_apart, seed=seed, progress=progress
    )
    stopping = training.stopping
    if stopping is None:
        training.go_on(rounds or spec.rounds, lambda _: False)
        return training.model(rounds or spec.rounds)
    own = Stopper(stopping)
    training.go_on(min(stopping.limit, rounds or stopping.limit), own.add)
    return training.model(own.best_round)


class RankerTraining(BoostedTraining):
    """A model's training; the parameters are `train_model`'s."""

    HINT = "check model under [recommend.ranker]"

    def __init__(
        self,
        rows: TrainingRows,
        which: int,
        spec: LightGBMSpec,
        *,
        is_valid: npt.NDArray[np.bool_] | None,
        is_kept_apart: npt.NDArray[np.bool_] | None = None,
        seed: int = 1,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        super().__init__("the ranker")
        self.rows, self.spec, self.progress = rows, spec, progress
        self.label = rows.labels[:, which]
        hit = np.zeros(int(rows.users.max()) + 1, np.bool_)
        hit[rows.users[self.label > 0]] = True
        of_list = hit[rows.users]
        unseen = [chosen for chosen in (is_valid, is_kept_apart) if chosen is not None]
        self.is_train = np.logical_and.reduce([of_list, *(~chosen for chosen in unseen)])
        if not self.is_train.any():
            raise DataError(f"no candidate of list {which} came: there is nothing to learn", hint="more sources")
        self.is_valid = of_list & is_valid if is_valid is not None else None
        self.parameters = {k: v for k, v in spec.parameters.items() if k != "metric"} | {"seed": seed}
        by = "average_precision" if self.parameters["objective"] == "binary" else "ndcg"
        self.parameters["metric"] = by

    @property
    def stopping(self) -> Stopping | None:
        """When it has had enough rounds; None where there is nothing to stop by."""
        has_rows = self.is_valid is not None and bool(self.is_valid.any())
        return Stopping(self.spec.rounds, self.spec.patience, True) if has_rows and self.spec.patience else None

    def _dataset(self, chosen: npt.NDArray[np.bool_], reference: Any = None) -> Any:
        import lightgbm as lgb

        at = np.flatnonzero(chosen)
        users = self.rows.users[at]
        group = np.diff(np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1], [True]])))
        return lgb.Dataset(
            self.rows.features[at],
            self.label[at].astype(np.float32),
            group=group,
            # LightGBM refuses names with JSON's characters, which columns and types may have.
            feature_name=[f"c{i}" for i in range(len(self.rows.names))],
            reference=reference,
            params=self.parameters,
            free_raw_data=True,
        ).construct()

    def begin(self) -> Boosting:
        """Make the datasets and the booster."""
        train = self._dataset(self.is_train)
        valid = None if self.stopping is None or self.is_valid is None else self._dataset(self.is_valid, train)
        return Boosting(self.parameters, train, valid)

    def after_round(self, share: float) -> None:
        """Say how far it is."""
        self.progress(share)

    def model(self, rounds: int) -> ListModel:
        """Return the model of so many rounds."""
        booster = self.trees()
        best = min(rounds, booster.current_iteration())
        gains = booster.feature_importance("gain", iteration=best)
        text = with_feature_names(booster.model_to_string(num_iteration=best), self.rows.names)
        return ListModel(text, best, dict(zip(self.rows.names, map(float, gains), strict=True)))


def train_folds(trainings: Mapping[str, RankerTraining], *, per_fold: bool = False) -> Iterator[tuple[str, ListModel]]:
    """Train the models of a list's folds and give them the best number of rounds of their mean curve.

    Parameters
    ----------
    per_fold : bool
        Whether each stops at its own best round instead.
    """
    stopping = next((t.stopping for t in trainings.values()), None)
    shared = None
    if stopping is not None and not per_fold and all(t.stopping is not None for t in trainings.values()):
        # Of the rows of a list, which are all in memory, each fold takes a quarter of the bytes again as bins.
        shared, _ = shared_rounds(list(trainings.values()), stopping, held=HELD_FOLDS)
    for name, training in trainings.items():
        rounds = shared
        if rounds is None:
            own = Stopper(training.stopping or Stopping(training.spec.rounds, 0, True))
            training.go_on(training.spec.rounds, own.add if training.stopping else lambda _: False)
            rounds = own.best_round if training.stopping else training.spec.rounds
        yield name, training.model(rounds)
        training.release()


# ------------------------------------------------------------------------------------------------------------- ranking


def take_turns(window: Window, generator: Generator, k: int, n_lists: int, *, threads: int) -> Lists:
    """Return the first k candidates of each user, in the order in which the sources give them."""
    return _ranked(window, generator, k, n_lists, threads, lambda made: [-np.arange(len(made.items), dtype=np.float32)])


def rank(
    window: Window,
    generator: Generator,
    maker: FeatureMaker,
    models: Sequence[ListModel],
    k: int,
    n_lists: int,
    *,
    threads: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Lists:
    """Return the k best candidates of each user for each list; batch by batch, so that memory is bounded.

    Parameters
    ----------
    models : sequence of ListModel
        One for each list, or one for all.
    """
    import lightgbm as lgb

    boosters = [lgb.Booster(model_str=model.text) for model in models]

    def score(made: Candidates) -> list[Any]:
        features = maker.make_for(made, window)
        if not len(features):
            return [np.empty(0, np.float32)] * len(boosters)
        # One thread each: the batches are what runs side by side.
        return [np.asarray(b.predict(features, num_threads=1), np.float32) for b in boosters]

    return _ranked(window, generator, k, n_lists, threads, score, progress)


def _ranked(
    window: Window,
    generator: Generator,
    k: int,
    n_lists: int,
    threads: int,
    score: Callable[[Candidates], list[Any]],
    progress: Callable[[float], None] = lambda _: None,
) -> Lists:
    best_of = compiled("compiled_candidates").best_of
    items = np.empty((len(window), n_lists, k), np.int32)
    scores = np.empty(items.shape, np.float32)

    def work(rows: slice) -> slice:
        made = generator.make(window, rows)
        told = score(made)
        for which in range(n_lists):
            given = told[which] if len(told) > 1 else told[0]
            best_items = np.empty((rows.stop - rows.start, k), np.int32)
            best_scores = np.empty(best_items.shape, np.float32)
            best_of(made.offsets, made.items, given, best_items, best_scores)
            items[rows, which], scores[rows, which] = best_items, best_scores
        return rows

    for rows in in_batches(window, work, threads=threads):
        progress(rows.stop / len(window))
    return Lists(items, scores)
