"""The ranker: labelled candidates, LightGBM models, and the k best candidates of each user."""

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
from workbench.recommender.candidate_features import PreparedWindow
from workbench.recommender.candidates import Candidates, in_batches
from workbench.recommender.extra import compiled
from workbench.recommender.windows import take_users

__all__ = [
    "ListModel",
    "Lists",
    "RankerSpec",
    "RankerTraining",
    "RowSplit",
    "TrainingRows",
    "join_rows",
    "rank",
    "relevance_levels",
    "round_robin",
    "train_folds",
    "training_rows",
]

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

FOLDS_IN_MEMORY = 3
"""The number of folds whose binned datasets are in memory at a time; the features take four times as much."""


@dataclass(frozen=True)
class RankerSpec:
    """How candidates are ranked.

    Attributes
    ----------
    negatives : float
        The share of the negative candidates to train on; all positives are used.
    users : int, optional
        The maximum number of users of a window to train on; None for all.
    windows : int
        The number of windows to train on: the validation window, and those that end one, two… horizons before it.
    per_list : bool
        Whether to train a model for each list; else one for all, with higher relevance for lists of more weight.
    model : dict
        LightGBM's parameters.
    rounds : str
        "mean": all models of a list are trained for the best round of the mean of their curves; "per fold": each for
        its own best round.
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
        """Check the model's parameters and fill in the defaults: lambdarank for the first k positions."""
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
    feature_names : tuple of str
    labels : uint8 array (n, n_models)
        The relevance of each candidate for each model.
    users : int32 array (n,)
        The row of each candidate's user in the window, or in several windows, concatenated.
    n_users : int
        The number of users of the windows, also those without a row here.
    """

    features: Floats
    feature_names: tuple[str, ...]
    labels: npt.NDArray[np.uint8]
    users: npt.NDArray[np.int32]
    n_users: int


def join_rows(parts: list[TrainingRows]) -> TrainingRows:
    """Concatenate the rows of several windows; empties the list, to free memory."""
    if len(parts) == 1:
        return parts.pop()
    sizes = [part.n_users for part in parts]
    first_users = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    users = np.concatenate([part.users + first for part, first in zip(parts, first_users, strict=True)])
    labels, feature_names = np.concatenate([part.labels for part in parts]), parts[0].feature_names
    features = [part.features for part in parts]
    parts.clear()
    return TrainingRows(_stacked(features), feature_names, labels, users, sum(sizes))


@dataclass(frozen=True)
class RowSplit:
    """The rows that a model is not trained on; None for none.

    Attributes
    ----------
    is_valid : bool array (n,), or None
        The rows for early stopping.
    is_excluded : bool array (n,), or None
        The rows that are used neither for training nor for early stopping.
    """

    is_valid: Mask | None = None
    is_excluded: Mask | None = None

    def training_mask(self, n_rows: int) -> Mask:
        """Return which rows the model is trained on."""
        masks = [mask for mask in (self.is_valid, self.is_excluded) if mask is not None]
        return ~np.logical_or.reduce(masks) if masks else np.ones(n_rows, np.bool_)


@dataclass(frozen=True)
class ListModel:
    """A trained model.

    Attributes
    ----------
    text : str
        The model in LightGBM's text format.
    rounds : int
    gains : dict
        The importance by feature: its total gain.
    stopping : dict
        The rows that early stopping used; empty without it.
    """

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


def relevance_levels(weights: Sequence[float], *, per_list: bool) -> list[tuple[int, ...]]:
    """Return for each model the label of a hit in each list; 0 for lists that the model does not rank.

    Examples
    --------
    >>> relevance_levels([0.1, 0.3, 0.6], per_list=True)
    [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    >>> relevance_levels([0.1, 0.6, 0.3], per_list=False)
    [(1, 3, 2)]
    """
    n_lists = len(weights)
    if per_list:
        return [tuple(int(i == j) for j in range(n_lists)) for i in range(n_lists)]
    return [tuple(1 + sorted(set(weights)).index(w) for w in weights)]


def training_rows(
    prepared: PreparedWindow, spec: RankerSpec, levels: Sequence[tuple[int, ...]], *, seed: int, threads: int
) -> TrainingRows:
    """Return labelled candidates of a window to train on, with a share of the negatives.

    Users without a positive candidate are excluded, as there is nothing to learn from them.

    Parameters
    ----------
    levels : sequence of tuple of int
        The labels of hits, by model and list: `relevance_levels`.
    """
    window, features = prepared.window, prepared.features
    if features is None:
        raise ValueError(f"the window {prepared.name!r} has no features: it was prepared without a ranker")
    user_rows = np.arange(len(window))
    if spec.users is not None and len(window) > spec.users:
        user_rows = np.sort(np.random.default_rng(seed).choice(len(window), spec.users, replace=False))
    sampled, truth = take_users(window, user_rows), window.truth or ()
    raise_labels = compiled("compiled_candidates").raise_labels

    def make_batch(rows: slice) -> tuple[Any, ...]:
        """Return the features, labels and users of the trained candidates of some sampled users."""
        candidates = prepared.generator.make(sampled, rows)
        labels = np.zeros((len(candidates.items), len(levels)), np.uint8)
        for list_number, list_truth in enumerate(truth):
            batch_truth = list_truth.take(user_rows[rows])
            true_items = (batch_truth.offsets, batch_truth.items)
            for model, level in enumerate(levels):
                if level[list_number]:
                    column = np.ascontiguousarray(labels[:, model])
                    raise_labels(candidates.offsets, candidates.items, *true_items, level[list_number], column)
                    labels[:, model] = column
        is_trained = _training_mask(candidates, sampled.users[rows], labels, spec.negatives, seed)
        selected = _select(candidates, is_trained)
        return features.compute(selected, sampled), labels[is_trained], user_rows[rows][selected.user_rows]

    feature_parts, label_parts, user_parts = map(
        list, zip(*in_batches(sampled, make_batch, threads=threads), strict=True)
    )
    stacked = _stacked(feature_parts)
    if not len(stacked):
        raise DataError(
            f"no candidate of the window {prepared.name!r} is in the ground truth: there is nothing to learn from",
            hint="more sources, or a larger top",
        )
    users = np.concatenate(user_parts).astype(np.int32)
    return TrainingRows(stacked, features.feature_names, np.concatenate(label_parts), users, len(window))


def _stacked(blocks: list[Floats]) -> Floats:
    """Stack blocks vertically; each is freed once it is copied, as memory may not hold all of them twice."""
    stacked = np.empty((sum(len(b) for b in blocks), blocks[0].shape[1]), np.float32)
    n_copied = 0
    blocks.reverse()
    while blocks:
        block = blocks.pop()
        stacked[n_copied : n_copied + len(block)] = block
        n_copied += len(block)
    return stacked


def _training_mask(candidates: Candidates, users: Any, labels: Any, share: float, seed: int) -> Mask:
    """Return which candidates are trained on: the hits, and a share of the others of users with a hit.

    They are drawn by a hash of user and item, so that batches do not change them.
    """
    rows = candidates.user_rows
    is_hit = labels.any(axis=1)
    user_has_hit = np.zeros(len(candidates.offsets) - 1, np.bool_)
    user_has_hit[rows[is_hit]] = True
    hashes = (users[rows].astype(np.uint64) << np.uint64(32)) + candidates.items.astype(np.uint64) + np.uint64(seed)
    # The finaliser of splitmix64 (Steele, Lea and Flood 2014).
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
    hashes ^= hashes >> np.uint64(31)
    # The upper 53 bits, as many as a double has, give a number from 0 to 1.
    is_drawn: Mask = (hashes >> np.uint64(11)).astype(np.float64) / 2**53 < share
    is_trained: Mask = (is_hit | is_drawn) & user_has_hit[rows]
    return is_trained


def _select(candidates: Candidates, is_selected: Mask) -> Candidates:
    """Return some of the candidates of a batch, without the sources' own lists."""
    counts = np.bincount(candidates.user_rows[is_selected], minlength=len(candidates.offsets) - 1)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Candidates(
        candidates.rows, offsets, candidates.items[is_selected], candidates.source_scores[is_selected], ()
    )


# ------------------------------------------------------------------------------------------------------------ training


class RankerTraining(BoostedTraining):
    """The training of one model of the ranker.

    Parameters
    ----------
    list_number : int
        The column of the labels.
    progress : callable
        Called with the completed share of the rounds.
    """

    HINT = "check model under [recommend.ranker]"

    def __init__(
        self,
        rows: TrainingRows,
        list_number: int,
        spec: LightGBMSpec,
        split: RowSplit,
        *,
        seed: int = 1,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        super().__init__("the ranker")
        self.rows, self.spec, self.split, self.progress = rows, spec, split, progress
        self.labels = rows.labels[:, list_number]
        user_has_hit = np.zeros(int(rows.users.max()) + 1, np.bool_)
        user_has_hit[rows.users[self.labels > 0]] = True
        has_hit = user_has_hit[rows.users]
        self.is_train = has_hit & split.training_mask(len(rows.users))
        if not self.is_train.any():
            raise DataError(
                f"no candidate of list {list_number} is in the ground truth: there is nothing to learn from",
                hint="more sources",
            )
        self.is_valid = has_hit & split.is_valid if split.is_valid is not None else None
        self.parameters = {k: v for k, v in spec.parameters.items() if k != "metric"} | {"seed": seed}
        metric = "average_precision" if self.parameters["objective"] == "binary" else "ndcg"
        self.parameters["metric"] = metric

    def fit(self, rounds: int | None = None) -> ListModel:
        """Train the model, with early stopping if there are rows for it.

        Parameters
        ----------
        rounds : int, optional
            The number of rounds, or with early stopping their limit; None for the spec's.
        """
        stopping = self.stopping
        if stopping is None:
            self.train_to(rounds or self.spec.rounds, lambda _: False)
            return self.model(rounds or self.spec.rounds)
        counter = RoundCounter(stopping)
        self.train_to(min(stopping.max_rounds, rounds or stopping.max_rounds), counter.add)
        return self.model(counter.best_round)

    @property
    def stopping(self) -> StoppingRule | None:
        """The rule for early stopping; None without rows for it."""
        has_rows = self.is_valid is not None and bool(self.is_valid.any())
        return StoppingRule(self.spec.rounds, self.spec.patience, True) if has_rows and self.spec.patience else None

    def _dataset(self, mask: Mask, reference: Any = None) -> Any:
        import lightgbm as lgb

        rows = np.flatnonzero(mask)
        users = self.rows.users[rows]
        group_sizes = np.diff(np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1], [True]])))
        return lgb.Dataset(
            self.rows.features[rows],
            self.labels[rows].astype(np.float32),
            group=group_sizes,
            # LightGBM refuses names with JSON's special characters, which columns and kinds may have.
            feature_name=[f"c{i}" for i in range(len(self.rows.feature_names))],
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
        """Return the model of the first `rounds` rounds."""
        booster = self.booster()
        n_rounds = min(rounds, booster.current_iteration())
        gains = booster.feature_importance("gain", iteration=n_rounds)
        text = with_feature_names(booster.model_to_string(num_iteration=n_rounds), self.rows.feature_names)
        return ListModel(text, n_rounds, dict(zip(self.rows.feature_names, map(float, gains), strict=True)))


def train_folds(
    trainings: Mapping[str, RankerTraining], *, rounds_per_fold: bool = False
) -> Iterator[tuple[str, ListModel]]:
    """Train the models of a list's folds for the best round of their mean curve, and yield them with their names.

    Parameters
    ----------
    rounds_per_fold : bool
        Whether each is trained for its own best round instead.
    """
    stopping = next((t.stopping for t in trainings.values()), None)
    shared_best = None
    if stopping is not None and not rounds_per_fold and all(t.stopping is not None for t in trainings.values()):
        # All rows of a list are in memory; the bins of each fold take a quarter of their bytes.
        shared_best, _ = find_shared_rounds(list(trainings.values()), stopping, max_in_memory=FOLDS_IN_MEMORY)
    for name, training in trainings.items():
        rounds = shared_best
        if rounds is None:
            counter = RoundCounter(training.stopping or StoppingRule(training.spec.rounds, 0, True))
            training.train_to(training.spec.rounds, counter.add if training.stopping else lambda _: False)
            rounds = counter.best_round if training.stopping else training.spec.rounds
        yield name, training.model(rounds)
        training.release()


# ------------------------------------------------------------------------------------------------------------- ranking


def round_robin(prepared: PreparedWindow, k: int, n_lists: int, *, threads: int) -> Lists:
    """Return the first k candidates of each user, in the round-robin order of the sources, for every list."""

    def score(candidates: Candidates) -> list[Any]:
        return [-np.arange(len(candidates.items), dtype=np.float32)]

    return _best_candidates(prepared, score, (n_lists, k), threads=threads)


def rank(
    prepared: PreparedWindow,
    models: Sequence[ListModel],
    k: int,
    n_lists: int,
    *,
    threads: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Lists:
    """Return the k best candidates of each user for each list, computed in batches to bound the memory.

    Parameters
    ----------
    models : sequence of ListModel
        One for each list, or one for all.
    """
    import lightgbm as lgb

    boosters = [lgb.Booster(model_str=model.text) for model in models]

    def score(candidates: Candidates) -> list[Any]:
        if prepared.features is None:
            raise ValueError(f"the window {prepared.name!r} has no features: it was prepared without a ranker")
        features = prepared.features.compute(candidates, prepared.window)
        if not len(features):
            return [np.empty(0, np.float32)] * len(boosters)
        # One thread each, as batches run concurrently.
        return [np.asarray(b.predict(features, num_threads=1), np.float32) for b in boosters]

    return _best_candidates(prepared, score, (n_lists, k), threads=threads, progress=progress)


def _best_candidates(
    prepared: PreparedWindow,
    score: Callable[[Candidates], list[Any]],
    shape: tuple[int, int],
    *,
    threads: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Lists:
    """Return each user's lists, whose number and length are `shape`, by scores for each list or for all."""
    write_best = compiled("compiled_candidates").write_best
    (n_lists, k), n_users = shape, len(prepared.window)
    items = np.empty((n_users, n_lists, k), np.int32)
    scores = np.empty(items.shape, np.float32)

    def rank_batch(rows: slice) -> slice:
        candidates = prepared.generator.make(prepared.window, rows)
        scores_by_model = score(candidates)
        for number in range(n_lists):
            candidate_scores = scores_by_model[number] if len(scores_by_model) > 1 else scores_by_model[0]
            best_items = np.empty((rows.stop - rows.start, k), np.int32)
            best_scores = np.empty(best_items.shape, np.float32)
            write_best(candidates.offsets, candidates.items, candidate_scores, best_items, best_scores)
            items[rows, number], scores[rows, number] = best_items, best_scores
        return rows

    for rows in in_batches(prepared.window, rank_batch, threads=threads):
        progress(rows.stop / n_users)
    return Lists(items, scores)
