"""Score the parameter sets of a search fold by fold, on datasets that are binned once.

The datasets of a fold are shared by all parameter sets. Test rows are not predicted, and validation rows are predicted
by LightGBM during training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError, TrainingError
from workbench.models.lightgbm.bins import BIN_PARAMETERS, BinnedRows, shared_bins
from workbench.models.lightgbm.boosting import Boosting, lightgbm_errors
from workbench.models.lightgbm.fold_datasets import DatasetSplit
from workbench.models.lightgbm.learner import LightGBMLearner, LightGBMSpec, weights_classes
from workbench.models.lightgbm.parameters import with_bagging
from workbench.models.records import Problem
from workbench.models.scoring import score_column
from workbench.models.stopping_metrics import proxy_metric, stopping_metric

if TYPE_CHECKING:
    import lightgbm as lgb

    from workbench.metrics import Metric

__all__ = ["Fidelity", "FoldScore", "FoldScorer", "TrialPrunedError", "shared_score"]

Floats = npt.NDArray[np.float64]
Watch = Callable[[int, float], bool]
Splits = tuple[DatasetSplit, DatasetSplit]
"""The train set and the validation set of a fold."""


def shared_round(n_rounds: int, evaluation_interval: int) -> int:
    """Return the first round, from this one on, at which every fold records its value.

    The distance of these rounds grows with their number, to a thirtieth of it, so that a curve of thousands of rounds
    has about two hundred points.
    """
    step: int = max(1, 2 ** int(math.log2(max(1, n_rounds / 32)))) * evaluation_interval
    return math.ceil(n_rounds / step) * step


class TrialPrunedError(Exception):
    """The `watch` callback ended the training of a fold."""


@dataclass(frozen=True)
class Fidelity:
    """How thoroughly a parameter set is scored.

    Attributes
    ----------
    learning_rate : float, or None
        The learning rate; None for the parameter set's own.
    rounds : int
        The most rounds.
    patience : int
        Rounds without an improvement after which it stops; 0 to score the model of the last round.
    evaluation_interval : int
        Rounds between two evaluations.
    row_share : float
        The share of each fold's train rows to train on.
    seconds : float
        The time limit of a fold's training, whose best round so far is then scored.
    exact_rounds : tuple of int, or None
        The number of rounds for each target, after which it is scored, instead of `rounds` and `patience`.
    """

    learning_rate: float | None
    rounds: int
    patience: int
    evaluation_interval: int = 1
    row_share: float = 1.0
    seconds: float = math.inf
    exact_rounds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class FoldScore:
    """The score of a parameter set on one fold.

    Attributes
    ----------
    score : float
        The competition's metric at the best round.
    rounds : tuple of int
        The best round of each target.
    seconds : float
        The training time.
    oof : float array (n_valid, width), or None
        The predictions of the validation rows at the best round, if requested.
    rounds_at_time_limit : int, or None
        The round at which the time limit was reached, if it was.
    curves : tuple of dict
        For each target round -> metric, at rounds that are the same in every fold; empty if it is not computed.
    """

    score: float
    rounds: tuple[int, ...]
    seconds: float
    oof: Floats | None = None
    rounds_at_time_limit: int | None = None
    curves: tuple[dict[int, float], ...] = ()


class _TargetScore(NamedTuple):
    """The score of one target on one fold; the fields are as in `FoldScore`."""

    score: float
    round: int
    oof: Floats | None
    rounds_at_time_limit: int | None
    curve: dict[int, float]


@dataclass(frozen=True)
class _FoldTrial:
    """A parameter set to score on one fold, for one of the targets."""

    parameters: Mapping[str, Any]
    fold: int
    seed: int
    fidelity: Fidelity
    watch: Watch | None
    keep_oof: bool


def shared_score(folds: Sequence[FoldScore], *, greater_is_better: bool) -> list[FoldScore]:
    """Return the folds' scores at the best round of the mean curve of each target.

    The mean is taken over the rounds that all folds have. If a fold has no curve, the scores are returned unchanged.
    """
    if not all(fold.curves for fold in folds):
        return list(folds)
    best_rounds = []
    for curves in zip(*(fold.curves for fold in folds), strict=True):
        common_rounds = sorted(set.intersection(*(set(curve) for curve in curves)))
        if not common_rounds:
            return list(folds)
        means = np.array([np.mean([curve[r] for curve in curves]) for r in common_rounds])
        best_rounds.append(common_rounds[int(means.argmax() if greater_is_better else means.argmin())])
    return [
        replace(
            fold,
            score=float(np.mean([curve[r] for curve, r in zip(fold.curves, best_rounds, strict=True)])),
            rounds=tuple(best_rounds),
        )
        for fold in folds
    ]


class FoldScorer:
    """Scores parameter sets on the folds of a problem.

    Parameters
    ----------
    problem : Problem
    spec : LightGBMSpec
        The experiment's parameters, for those that a parameter set does not have.
    max_bytes : int
        The memory for cached datasets; beyond it they are made again for each trial.

    Attributes
    ----------
    each_round : callable
        Called after each boosting round; an exception that it raises ends the training.
    """

    def __init__(self, problem: Problem, spec: LightGBMSpec, *, max_bytes: int) -> None:
        self.problem, self.spec, self.max_bytes = problem, spec, max_bytes
        self.each_round: Callable[[], None] = lambda: None
        self._learners: dict[tuple[Any, ...], LightGBMLearner] = {}
        self._splits: dict[tuple[Any, ...], Splits] = {}
        # The bytes of each learner's cached datasets, and of its bins if it has its own.
        self._bytes_by_learner: dict[tuple[Any, ...], int] = {}

    @property
    def stopping_metric(self) -> Metric:
        """The metric that `watch` gets: the competition's, or its proxy."""
        return stopping_metric(self.problem.metric, self.problem.target.columns[0].task)

    def score(
        self,
        parameters: Mapping[str, Any],
        fold: int,
        seed: int,
        fidelity: Fidelity,
        *,
        watch: Watch = lambda _round, _best: False,
        keep_oof: bool = False,
    ) -> FoldScore:
        """Train and score one fold.

        Parameters
        ----------
        parameters : mapping
            LightGBM's, by primary names.
        watch : callable
            Called after each evaluation with the round and the best value of the stopping metric so far; returns True
            to end the training. Not called with several targets.
        keep_oof : bool
            Whether to return the predictions of the validation rows.

        Raises
        ------
        TrialPrunedError
            When `watch` ended the training.
        TrainingError
            When LightGBM rejects the parameters, or the metric can't be computed.
        """
        started_at = time.perf_counter()
        n_targets = len(self.problem.target.columns)
        trial = _FoldTrial(parameters, fold, seed, fidelity, watch if n_targets == 1 else None, keep_oof)
        trials = [trial] * n_targets
        if fidelity.exact_rounds is not None:
            trials = [
                replace(trial, fidelity=replace(fidelity, rounds=n, patience=0, evaluation_interval=n))
                for n in fidelity.exact_rounds
            ]
        targets = [self._score_target(target_index, target_trial) for target_index, target_trial in enumerate(trials)]
        value = float(np.mean([t.score for t in targets]))
        if not np.isfinite(value):
            raise TrainingError(f"fold {fold}: metric {self.problem.metric.name!r} gives {value}")
        oof = np.hstack([t.oof for t in targets if t.oof is not None]) if keep_oof else None
        rounds_at_time_limit = max(
            (t.rounds_at_time_limit for t in targets if t.rounds_at_time_limit is not None), default=None
        )
        curves = tuple(t.curve for t in targets) if all(t.curve for t in targets) else ()
        return FoldScore(
            value, tuple(t.round for t in targets), time.perf_counter() - started_at, oof, rounds_at_time_limit, curves
        )

    def release(self) -> None:
        """Free the cached datasets; they are made again when they are needed."""
        self._learners.clear()
        self._splits.clear()
        self._bytes_by_learner.clear()

    # ----------------------------------------------------------------------------------------------------- datasets

    def _learner(self, target_index: int, parameters: Mapping[str, Any]) -> tuple[LightGBMLearner, tuple[Any, ...]]:
        """Return the learner of a target for these parameters, cached by those that determine the bins, and its key."""
        bin_settings = {name: parameters[name] for name in BIN_PARAMETERS if name in parameters}
        has_class_weights = weights_classes({**self.spec.parameters, **parameters})
        key = (target_index, *(repr(bin_settings.get(name)) for name in BIN_PARAMETERS), has_class_weights)
        if key not in self._learners:
            spec = replace(self.spec, parameters=self.spec.parameters | bin_settings)
            bins, n_bytes = shared_bins(self.problem), 0
            if bin_settings:
                # A search over the bins caches each set of them, for later trials with the same.
                n_bytes = self.problem.target.n_rows * (self.problem.matrix.width + 16)
                self._free_bins(n_bytes)
                bins = BinnedRows(self.problem.matrix, order=bins.order)
            learner = self._learners[key] = LightGBMLearner(self.problem, spec, target_index, bins)
            learner.data.target.library_weights_classes = has_class_weights
            self._bytes_by_learner[key] = n_bytes
        return self._learners[key], key

    def _free_bins(self, n_bytes: int) -> None:
        """Free learners with bins of their own, the oldest first, until this many more bytes fit."""
        own_bins = [key for key in self._learners if any(setting != "None" for setting in key[1:-1])]
        for key in own_bins:
            if sum(self._bytes_by_learner.values()) + n_bytes <= self.max_bytes:
                return
            del self._learners[key], self._bytes_by_learner[key]
            self._splits = {k: splits for k, splits in self._splits.items() if k[: len(key)] != key}

    def _fold_splits(self, learner: LightGBMLearner, key: tuple[Any, ...], fold: int, row_share: float) -> Splits:
        """Return the datasets of a fold, cached if they fit into memory."""
        cached = self._splits.get((*key, fold, row_share))
        if cached is not None:
            return cached
        sampled_rows = None
        # The rows of a query must stay together, so that ranking problems are not sampled.
        if row_share < 1 and self.problem.target.query is None:
            rows = self.problem.folds.train_rows(fold)
            n_sampled = max(1, round(row_share * len(rows)))
            sampled_rows = np.sort(np.random.default_rng(fold).choice(rows, n_sampled, replace=False))
        splits = learner.datasets.split(fold, sampled_rows)
        n_bytes = sum(len(split.rows) for split in splits) * (len(learner.feature_names) + 16)
        if sum(self._bytes_by_learner.values()) + n_bytes <= self.max_bytes:
            self._bytes_by_learner[key] += n_bytes
            self._splits[(*key, fold, row_share)] = splits
        return splits

    # --------------------------------------------------------------------------------------------------- one target

    def _score_target(self, target_index: int, trial: _FoldTrial) -> _TargetScore:
        learner, key = self._learner(target_index, trial.parameters)
        with lightgbm_errors(f"fold {trial.fold}"):
            splits = self._fold_splits(learner, key, trial.fold, trial.fidelity.row_share)
            training = _TrialTraining(learner, trial, splits, self.each_round)
            training.train()
        if training.predictions is None:
            return _TargetScore(
                training.best_value, training.best_round, None, training.rounds_at_time_limit, training.curve
            )
        rows = splits[1].rows
        predictions = learner.output.to_target_scale(learner.output.linked(training.predictions), trial.fold)
        try:
            value = score_column(self.problem.target, learner.target_column, rows, predictions, self.problem.metric)
        except DataError as exc:
            raise TrainingError(f"fold {trial.fold}, seed {trial.seed}: {exc.message}", hint=exc.hint) from exc
        # The dataset's rows may be sorted by query; the OOF is in the order of the fold's ascending validation rows.
        oof = predictions[np.argsort(rows, kind="stable")]
        return _TargetScore(value, training.best_round, oof, training.rounds_at_time_limit, training.curve)


class _TrialTraining:
    """A training of LightGBM that is evaluated every few rounds and remembers the best of them."""

    def __init__(
        self, learner: LightGBMLearner, trial: _FoldTrial, splits: Splits, each_round: Callable[[], None]
    ) -> None:
        self.learner, self.splits, self.each_round = learner, splits, each_round
        self.fidelity, self.watch = trial.fidelity, trial.watch
        defaults = learner.with_seed(trial.seed)
        self.parameters = defaults | with_bagging(trial.parameters, defaults)
        if trial.fidelity.learning_rate is not None:
            self.parameters["learning_rate"] = trial.fidelity.learning_rate
        self.custom_metric = (
            None if learner.metric_name else learner.output.stopping_metric((splits[1],), trial.fold, trial.seed)
        )
        # The values of a proxy metric are not scores: the predictions of the best round are scored afterwards.
        self.has_proxy = proxy_metric(learner.problem.metric, learner.target_column.task) is not None
        self.keeps_predictions = trial.keep_oof or self.has_proxy
        self.best_value, self.best_round = float("nan"), 0
        self.rounds_at_time_limit: int | None = None
        self.curve: dict[int, float] = {}
        self.predictions: Floats | None = None
        self._latest_predictions: Floats | None = None

    def train(self) -> None:
        """Train until early stopping, the last round or the time limit."""
        ends_at = time.perf_counter() + self.fidelity.seconds / len(self.learner.problem.target.columns)
        metric = self._evaluate if self.keeps_predictions or self.custom_metric else None
        boosting = Boosting(self.parameters, self.splits[0].dataset, self.splits[1].dataset, metric=metric)
        evaluation_interval, patience = self.fidelity.evaluation_interval, self.fidelity.patience
        for has_no_split in boosting.rounds(self.fidelity.rounds):
            self.each_round()
            n_rounds, is_late = boosting.n_rounds, time.perf_counter() > ends_at
            is_evaluated = n_rounds % evaluation_interval == 0 or n_rounds >= self.fidelity.rounds
            if not is_evaluated and not has_no_split and not is_late:
                continue
            self._add(n_rounds, boosting.values()["valid"])
            if self.watch is not None and self.watch(n_rounds, self.best_value):
                raise TrialPrunedError
            if has_no_split or (patience and n_rounds - self.best_round >= patience):
                break
            if is_late:
                self.rounds_at_time_limit = n_rounds
                break

    def _add(self, n_rounds: int, value: float) -> None:
        """Record the metric after this many rounds."""
        if not np.isfinite(value):
            raise TrainingError(
                f"metric {self.learner.problem.metric.name!r} gives {value} after {n_rounds} rounds",
                hint="it must give a number for any predictions of the model",
            )
        if not self.has_proxy and n_rounds == shared_round(n_rounds, self.fidelity.evaluation_interval):
            self.curve[n_rounds] = value
        # As LightGBM's early stopping: a smaller change is not an improvement.
        min_delta = float(self.parameters.get("early_stopping_min_delta", 0.0))
        greater_is_better = self.learner.data.target.stopping_metric.greater_is_better
        is_better = value - min_delta > self.best_value if greater_is_better else value + min_delta < self.best_value
        if self.best_round == 0 or not self.fidelity.patience or is_better:
            self.best_value, self.best_round = value, n_rounds
            if self.keeps_predictions and self._latest_predictions is not None:
                self.predictions = self._latest_predictions.copy()

    def _evaluate(self, predictions: Floats, dataset: lgb.Dataset) -> tuple[str, float, bool]:
        """Keep the predictions of the validation rows, which LightGBM passes to a metric, and return our metric."""
        self._latest_predictions = predictions
        return self.custom_metric(predictions, dataset) if self.custom_metric else ("", 0.0, True)
