"""The ranker: labelled candidates, LightGBM by folds of users or by windows, and the top k."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError, DataError
from workbench.models.lightgbm.boosting import BoostedTraining, Boosting, with_feature_names
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.lightgbm.parameters import lightgbm_spec
from workbench.models.rounds import RoundCounter, StoppingRule, find_shared_rounds
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
    "round_robin",
    "train_folds",
    "train_model",
    "training_rows",
]

Floats = npt.NDArray[np.float32]

HELD_FOLDS = 3
"""Folds of the ranker that are in memory at a time; the rows next to them are four times as large."""


@dataclass(frozen=True)
class RankerSpec:
    """How candidates are ranked.

    Attributes
    ----------
    negatives : float
        The share of the negative candidates that is trained on; all positives are.
    users : int, optional
        The most users of a window that are trained on; None for all.
    windows : int
        The number of windows to train on: the validation window, and those that end one, two… horizons before it.
    per_list : bool
        A model for each list; else one for all, with higher relevance for lists of more weight.
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

    def lightgbm(self, k: int, *, where: str, threads: int | None, default_threads: int | None = None) -> LightGBMSpec:
        """Return the model's parameters, checked; by default lambdarank for the first k places."""
        defaults: dict[str, Any] = {"num_iterations": 300, "early_stopping_round": 30, "learning_rate": 0.1}
        defaults |= {"objective": "lambdarank", "min_data_in_leaf": 100}
        spec = lightgbm_spec({**defaults, **self.model}, where=where, threads=threads, default_threads=default_threads)
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
    """Candidates to train on, grouped by user.

    Attributes
    ----------
    features : float32 array (n, n_features)
    names : tuple of str
        Of the features.
    labels : uint8 array (n, n_models)
    users : int32 array (n,)
        Rows of the window; of several windows concatenated.
    """

    features: Floats
    names: tuple[str, ...]
    labels: npt.NDArray[np.uint8]
    users: npt.NDArray[np.int32]


def join_rows(parts: list[TrainingRows], sizes: Sequence[int]) -> TrainingRows:
    """Concatenate the rows of several windows, which have `sizes` users; empties the list, to free memory."""
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
    """A trained model: its text, its rounds, gain by column, and its early stopping; empty without any."""

    text: str
    rounds: int
    gains: dict[str, float]
    stopping: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lists:
    """Recommended items with their scores.

    Attributes
    ----------
    items : int32 array (n_users, n_lists, k)
        Codes, the best first; padded with -1.
    scores : float32 array (n_users, n_lists, k)
    """

    items: npt.NDArray[np.int32]
    scores: Floats


# ------------------------------------------------------------------------------------------------------ rows to train


def levels_of(weights: Sequence[float], *, per_list: bool) -> list[tuple[int, ...]]:
    """Return for each model the label of a hit in each list; 0 where it is none.

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
    label: str = "validation",
) -> TrainingRows:
    """Return labelled candidates of a window to train on, with a share of the negatives.

    Users without a positive candidate teach nothing and are excluded. `label` is the window's name in messages.
    """
    user_rows = np.arange(len(window))
    if spec.users is not None and len(window) > spec.users:
        user_rows = np.sort(np.random.default_rng(seed).choice(len(window), spec.users, replace=False))
    part, truth = take_users(window, user_rows), window.truth or ()
    run = compiled("compiled_candidates")

    def work(rows: slice) -> tuple[Any, ...]:
        candidates = generator.make(part, rows)
        labels = np.zeros((len(candidates.items), len(levels)), np.uint8)
        for number, list_truth in enumerate(truth):
            batch_truth = list_truth.take(user_rows[rows])
            for m, level in enumerate(levels):
                if level[number]:
                    column = np.ascontiguousarray(labels[:, m])
                    run.mark(
                        candidates.offsets,
                        candidates.items,
                        batch_truth.offsets,
                        batch_truth.items,
                        level[number],
                        column,
                    )
                    labels[:, m] = column
        is_trained = _training_mask(candidates, part.users[rows], labels, spec.negatives, seed)
        selected = _only(candidates, is_trained)
        return maker.make_for(selected, part), labels[is_trained], user_rows[rows][selected.user_rows]

    blocks = list(in_batches(part, work, threads=threads))
    features = _stacked([b[0] for b in blocks])
    if not len(features):
        raise DataError(
            f"no candidate of the window {label!r} is in the ground truth: there is nothing to learn from",
            hint="more sources, or a larger top",
        )
    users = np.concatenate([b[2] for b in blocks]).astype(np.int32)
    return TrainingRows(features, maker.names, np.concatenate([b[1] for b in blocks]), users)


def _stacked(blocks: list[Floats]) -> Floats:
    """Stack blocks vertically and free each one once it is copied: memory may not hold all of it twice."""
    stacked = np.empty((sum(len(b) for b in blocks), blocks[0].shape[1]), np.float32)
    at = 0
    blocks.reverse()
    while blocks:
        block = blocks.pop()
        stacked[at : at + len(block)] = block
        at += len(block)
    return stacked


def _training_mask(candidates: Candidates, users: Any, labels: Any, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which candidates are trained on: drawn by a hash of user and item, independent of batches."""
    rows = candidates.user_rows
    is_hit = labels.any(axis=1)
    with_hit = np.zeros(len(candidates.offsets) - 1, np.bool_)
    with_hit[rows[is_hit]] = True
    mixed = (users[rows].astype(np.uint64) << np.uint64(32)) + candidates.items.astype(np.uint64) + np.uint64(seed)
    # The finaliser of splitmix64 (Steele, Lea and Flood 2014).
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    drawn: npt.NDArray[np.bool_] = (mixed >> np.uint64(11)).astype(np.float64) / 2**53 < share
    is_trained: npt.NDArray[np.bool_] = (is_hit | drawn) & with_hit[rows]
    return is_trained


def _only(candidates: Candidates, is_selected: npt.NDArray[np.bool_]) -> Candidates:
    """Return some of the candidates of a batch."""
    counts = np.bincount(candidates.user_rows[is_selected], minlength=len(candidates.offsets) - 1)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Candidates(
        candidates.rows, offsets, candidates.items[is_selected], candidates.source_scores[is_selected], ()
    )


# ------------------------------------------------------------------------------------------------------------ training


def train_model(
    rows: TrainingRows,
    list_number: int,
    spec: LightGBMSpec,
    *,
    is_valid: npt.NDArray[np.bool_] | None,
    is_excluded: npt.NDArray[np.bool_] | None = None,
    rounds: int | None = None,
    seed: int = 1,
    progress: Callable[[float], None] = lambda _: None,
) -> ListModel:
    """Train a model on all rows but those for early stopping and the excluded ones.

    Parameters
    ----------
    list_number : int
        The column of the labels.
    is_valid : bool array (n,), or None
        The rows for early stopping; None for none: then `rounds` rounds are trained.
    is_excluded : bool array (n,), or None
        Rows that are used neither for training nor for early stopping.
    progress : callable
        Called with the share of the rounds done.
    """
    training = RankerTraining(
        rows, list_number, spec, is_valid=is_valid, is_excluded=is_excluded, seed=seed, progress=progress
    )
    stopping = training.stopping
    if stopping is None:
        training.train_to(rounds or spec.rounds, lambda _: False)
        return training.model(rounds or spec.rounds)
    stopper = RoundCounter(stopping)
    training.train_to(min(stopping.max_rounds, rounds or stopping.max_rounds), stopper.add)
    return training.model(stopper.best_round)


class RankerTraining(BoostedTraining):
    """The training of a model; the parameters are those of `train_model`."""

    HINT = "check model under [recommend.ranker]"

    def __init__(
        self,
        rows: TrainingRows,
        list_number: int,
        spec: LightGBMSpec,
        *,
        is_valid: npt.NDArray[np.bool_] | None,
        is_excluded: npt.NDArray[np.bool_] | None = None,
        seed: int = 1,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        super().__init__("the ranker")
        self.rows, self.spec, self.progress = rows, spec, progress
        self.label = rows.labels[:, list_number]
        user_has_hit = np.zeros(int(rows.users.max()) + 1, np.bool_)
        user_has_hit[rows.users[self.label > 0]] = True
        has_hit = user_has_hit[rows.users]
        excluded_rows = [mask for mask in (is_valid, is_excluded) if mask is not None]
        self.is_train = np.logical_and.reduce([has_hit, *(~mask for mask in excluded_rows)])
        if not self.is_train.any():
            raise DataError(f"no candidate of list {list_number} came: there is nothing to learn", hint="more sources")
        self.is_valid = has_hit & is_valid if is_valid is not None else None
        self.parameters = {k: v for k, v in spec.parameters.items() if k != "metric"} | {"seed": seed}
        metric = "average_precision" if self.parameters["objective"] == "binary" else "ndcg"
        self.parameters["metric"] = metric

    @property
    def stopping(self) -> StoppingRule | None:
        """The rule for early stopping; None without rows for it."""
        has_rows = self.is_valid is not None and bool(self.is_valid.any())
        return StoppingRule(self.spec.rounds, self.spec.patience, True) if has_rows and self.spec.patience else None

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
        """Report the progress."""
        self.progress(share)

    def model(self, rounds: int) -> ListModel:
        """Return the model of this many rounds."""
        booster = self.booster()
        best = min(rounds, booster.current_iteration())
        gains = booster.feature_importance("gain", iteration=best)
        text = with_feature_names(booster.model_to_string(num_iteration=best), self.rows.names)
        return ListModel(text, best, dict(zip(self.rows.names, map(float, gains), strict=True)))


def train_folds(trainings: Mapping[str, RankerTraining], *, per_fold: bool = False) -> Iterator[tuple[str, ListModel]]:
    """Train the models of a list's folds, for the best number of rounds of their mean curve.

    Parameters
    ----------
    per_fold : bool
        Whether each stops at its own best round instead.
    """
    stopping = next((t.stopping for t in trainings.values()), None)
    shared = None
    if stopping is not None and not per_fold and all(t.stopping is not None for t in trainings.values()):
        # Besides the rows of a list, which are all in memory, the bins of each fold take a quarter of their bytes.
        shared, _ = find_shared_rounds(list(trainings.values()), stopping, max_in_memory=HELD_FOLDS)
    for name, training in trainings.items():
        rounds = shared
        if rounds is None:
            stopper = RoundCounter(training.stopping or StoppingRule(training.spec.rounds, 0, True))
            training.train_to(training.spec.rounds, stopper.add if training.stopping else lambda _: False)
            rounds = stopper.best_round if training.stopping else training.spec.rounds
        yield name, training.model(rounds)
        training.release()


# ------------------------------------------------------------------------------------------------------------- ranking


def round_robin(window: Window, generator: Generator, k: int, n_lists: int, *, threads: int) -> Lists:
    """Return the first k candidates of each user, in the round-robin order of the sources."""
    return _ranked(
        window, generator, k, n_lists, threads, lambda candidates: [-np.arange(len(candidates.items), dtype=np.float32)]
    )


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

    def score(candidates: Candidates) -> list[Any]:
        features = maker.make_for(candidates, window)
        if not len(features):
            return [np.empty(0, np.float32)] * len(boosters)
        # One thread each, as batches run concurrently.
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
        candidates = generator.make(window, rows)
        scores_of_models = score(candidates)
        for number in range(n_lists):
            list_scores = scores_of_models[number] if len(scores_of_models) > 1 else scores_of_models[0]
            best_items = np.empty((rows.stop - rows.start, k), np.int32)
            best_scores = np.empty(best_items.shape, np.float32)
            best_of(candidates.offsets, candidates.items, list_scores, best_items, best_scores)
            items[rows, number], scores[rows, number] = best_items, best_scores
        return rows

    for rows in in_batches(window, work, threads=threads):
        progress(rows.stop / len(window))
    return Lists(items, scores)
