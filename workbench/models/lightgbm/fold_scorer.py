"""Parameter sets scored fold by fold over datasets that are binned once: what a search trains.

A fold's datasets are kept and shared by all parameter sets; no test rows are predicted, and the validated rows are
predicted by LightGBM itself while it trains.
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
from workbench.models.lightgbm.bins import BINNING, BinnedRows, bins_of
from workbench.models.lightgbm.boosting import Boosting, lightgbm_errors
from workbench.models.lightgbm.fold_datasets import DatasetSplit
from workbench.models.lightgbm.learner import LightGBMLearner, LightGBMSpec, weighs_classes
from workbench.models.lightgbm.parameters import with_bagging
from workbench.models.records import Problem
from workbench.models.scoring import score_column
from workbench.models.stopping_metrics import stand_in, stopping_metric

if TYPE_CHECKING:
    import lightgbm as lgb

    from workbench.metrics import Metric

__all__ = ["Fidelity", "FoldScore", "FoldScorer", "NoUseError", "shared_score"]

Floats = npt.NDArray[np.float64]
Watch = Callable[[int, float], bool]


def shared_round(done: int, every: int) -> int:
    """Return the first round from this one on at which every fold notes its value.

    Their distance grows with the rounds, to a thirtieth of them, so that a curve of thousands is kept as two hundred.
    """
    step: int = max(1, 2 ** int(math.log2(max(1, done / 32)))) * every
    return math.ceil(done / step) * step


class NoUseError(Exception):
    """The watcher has seen enough of a fold."""


@dataclass(frozen=True)
class Fidelity:
    """How thoroughly a parameter set is scored.

    Attributes
    ----------
    rate : float, or None
        The learning rate; None for the parameter set's own.
    rounds : int
        At most so many.
    patience : int
        Rounds without a better score until it stops; 0 for never: then the model of the last round is scored.
    every : int
        Rounds between two evaluations.
    share : float
        Of each fold's train rows.
    seconds : float
        A fold's training ends after so long, with what is best by then.
    """

    rate: float | None
    rounds: int
    patience: int
    every: int = 1
    share: float = 1.0
    seconds: float = math.inf


@dataclass(frozen=True)
class FoldScore:
    """What one fold gives.

    Attributes
    ----------
    score : float
        The competition's metric at the best round.
    rounds : tuple of int
        The best round of each target.
    oof : float array (n_valid, width), or None
        The predictions of the validated rows at the best round, where they were asked for.
    cut : int, or None
        The rounds after which its time was over; None where it was not.
    curves : tuple of dict
        For each target the metric after some of the rounds, the same in every fold; empty where it is not watched.
    """

    score: float
    rounds: tuple[int, ...]
    seconds: float
    oof: Floats | None = None
    cut: int | None = None
    curves: tuple[dict[int, float], ...] = ()


class _TargetScore(NamedTuple):
    """What one fold gives for one of the targets; as in `FoldScore`."""

    score: float
    round: int
    oof: Floats | None
    cut: int | None
    curve: dict[int, float]


def shared_score(folds: Sequence[FoldScore], *, greater_is_better: bool) -> list[FoldScore]:
    """Return the folds' scores at one number of rounds for each target, the best of their mean curve.

    It is looked for as far as all folds were trained. Where a fold has no curve, each stays at its own best.
    """
    if not all(f.curves for f in folds):
        return list(folds)
    rounds = []
    for curves in zip(*(f.curves for f in folds), strict=True):
        shared = sorted(set.intersection(*(set(c) for c in curves)))
        if not shared:
            return list(folds)
        means = np.array([np.mean([c[r] for c in curves]) for r in shared])
        rounds.append(shared[int(means.argmax() if greater_is_better else means.argmin())])
    return [
        replace(f, score=float(np.mean([c[r] for c, r in zip(f.curves, rounds, strict=True)])), rounds=tuple(rounds))
        for f in folds
    ]


class FoldScorer:
    """Scores parameter sets on the folds of a problem.

    Parameters
    ----------
    problem : Problem
    spec : LightGBMSpec
        The experiment's own parameters; what a parameter set does not name stays as it is here.
    room : int
        Bytes that the kept datasets may take; a fold's are made anew each time where they do not fit.
    """

    def __init__(self, problem: Problem, spec: LightGBMSpec, *, room: int) -> None:
        self.problem, self.spec, self.room = problem, spec, room
        self.each_round: Callable[[], None] = lambda: None
        self._learners: dict[tuple[Any, ...], LightGBMLearner] = {}
        self._datasets_of: dict[tuple[Any, ...], tuple[DatasetSplit, DatasetSplit]] = {}
        # What is held by learner: the kept datasets, and of learners with bins of their own those, too.
        self._sizes: dict[tuple[Any, ...], int] = {}

    @property
    def watched(self) -> Metric:
        """What a watcher sees, in its own direction: what stands in for a metric that is made of labels."""
        return stopping_metric(self.problem.metric, self.problem.target.columns[0].task)

    def score(
        self,
        parameters: Mapping[str, Any],
        fold: int,
        seed: int,
        fidelity: Fidelity,
        *,
        rounds: Sequence[int] | None = None,
        watch: Watch = lambda _round, _best: False,
        keep_oof: bool = False,
    ) -> FoldScore:
        """Train and score one fold.

        Parameters
        ----------
        parameters : mapping
            LightGBM's, by their primary names.
        rounds : sequence of int, optional
            So many for each target, after the last of which it is scored: none are chosen on the fold.
        watch : callable
            Called after each evaluation with the round and the best value of the stopping metric so far; True ends it.

        Raises
        ------
        NoUseError
            When the watcher ended it.
        TrainingError
            When LightGBM refuses the parameters, or the metric gives no number.
        """
        started = time.perf_counter()
        n_targets = len(self.problem.target.columns)
        fidelities = [fidelity] * n_targets
        if rounds is not None:
            fidelities = [replace(fidelity, rounds=n, patience=0, every=n) for n in rounds]
        targets = [
            self._of_target(i, parameters, fold, seed, of_target, watch if n_targets == 1 else None, keep_oof)
            for i, of_target in enumerate(fidelities)
        ]
        value = float(np.mean([t.score for t in targets]))
        if not np.isfinite(value):
            raise TrainingError(f"fold {fold}: metric {self.problem.metric.name!r} gives {value}")
        oof = np.hstack([t.oof for t in targets if t.oof is not None]) if keep_oof else None
        cut = max((t.cut for t in targets if t.cut is not None), default=None)
        curves = tuple(t.curve for t in targets) if all(t.curve for t in targets) else ()
        return FoldScore(value, tuple(t.round for t in targets), time.perf_counter() - started, oof, cut, curves)

    def release(self) -> None:
        """Let the kept datasets go; they are made again where they are asked for."""
        self._learners.clear()
        self._datasets_of.clear()
        self._sizes.clear()

    # ----------------------------------------------------------------------------------------------------- datasets

    def _learner(self, index: int, parameters: Mapping[str, Any]) -> tuple[LightGBMLearner, tuple[Any, ...]]:
        binning = {n: parameters[n] for n in BINNING if n in parameters}
        weighs = weighs_classes({**self.spec.parameters, **parameters})
        key = (index, *(repr(binning.get(n)) for n in BINNING), weighs)
        if key not in self._learners:
            spec = replace(self.spec, parameters=self.spec.parameters | binning)
            # One that is searched over other bins keeps each set of them, for the next trial that asks for it.
            shared = bins_of(self.problem)
            size = self.problem.target.n_rows * (self.problem.matrix.width + 16) if binning else 0
            self._make_room(size)
            bins = BinnedRows(self.problem.matrix, order=shared.order) if binning else shared
            self._learners[key] = LightGBMLearner(self.problem, spec, index, bins)
            self._learners[key].data.target.library_weighs_classes = weighs
            self._sizes[key] = size
        return self._learners[key], key

    def _make_room(self, size: int) -> None:
        """Let bins go, those made first, until more of so many bytes fit; those of the experiment stay."""
        for key in [k for k in self._learners if any(part != "None" for part in k[1:-1])]:
            if sum(self._sizes.values()) + size <= self.room:
                return
            del self._learners[key], self._sizes[key]
            self._datasets_of = {k: splits for k, splits in self._datasets_of.items() if k[: len(key)] != key}

    def _datasets(
        self, learner: LightGBMLearner, key: tuple[Any, ...], fold: int, share: float
    ) -> tuple[DatasetSplit, DatasetSplit]:
        cached = self._datasets_of.get((*key, fold, share))
        if cached is not None:
            return cached
        chosen = None
        # Of a query that is cut in two, neither part says what its order is.
        if share < 1 and self.problem.target.query is None:
            rows = self.problem.folds.train_rows(fold)
            chosen = np.sort(np.random.default_rng(fold).choice(rows, max(1, round(share * len(rows))), replace=False))
        splits = learner.datasets.split(fold, chosen)
        size = sum(len(split.rows) for split in splits) * (len(learner.names) + 16)
        if sum(self._sizes.values()) + size <= self.room:
            self._sizes[key] += size
            self._datasets_of[(*key, fold, share)] = splits
        return splits

    # --------------------------------------------------------------------------------------------------- one target

    def _of_target(
        self,
        index: int,
        parameters: Mapping[str, Any],
        fold: int,
        seed: int,
        fidelity: Fidelity,
        watch: Watch | None,
        keep_oof: bool,
    ) -> _TargetScore:
        learner, key = self._learner(index, parameters)
        with lightgbm_errors(f"fold {fold}"):
            splits = self._datasets(learner, key, fold, fidelity.share)
            defaults = learner.with_seed(seed)
            merged = defaults | with_bagging(parameters, defaults)
            if fidelity.rate is not None:
                merged["learning_rate"] = fidelity.rate
            trial = _Trial(learner, merged, splits, (fold, seed), fidelity, watch, self.each_round, keep_oof=keep_oof)
            trial.train()
        if trial.predictions is None:
            return _TargetScore(trial.best, trial.best_round, None, trial.cut, trial.curve)
        rows = splits[1].rows
        predicted = learner.to_target_scale(learner.linked(trial.predictions), fold)
        try:
            value = score_column(self.problem.target, learner.column, rows, predicted, self.problem.metric)
        except DataError as exc:
            raise TrainingError(f"fold {fold}, seed {seed}: {exc.message}", hint=exc.hint) from exc
        # The fold's validated rows ascend; the dataset has them by query.
        in_order = predicted[np.argsort(rows, kind="stable")]
        return _TargetScore(value, trial.best_round, in_order, trial.cut, trial.curve)


class _Trial:
    """One LightGBM training that evaluates now and then and remembers the best."""

    def __init__(
        self,
        learner: LightGBMLearner,
        parameters: dict[str, Any],
        splits: tuple[DatasetSplit, DatasetSplit],
        at: tuple[int, int],
        fidelity: Fidelity,
        watch: Watch | None,
        each_round: Callable[[], None],
        *,
        keep_oof: bool,
    ) -> None:
        self.learner, self.parameters, self.splits, self.fidelity = learner, parameters, splits, fidelity
        self.watch, self.each_round = watch, each_round
        self.own_metric = None if learner.metric_name else learner.own_metric((splits[1],), *at)
        # What stands in says nothing of what the metric would be.
        self.is_metric = stand_in(learner.problem.metric, learner.column.task) is None
        self.keeps_predictions = keep_oof or not self.is_metric
        self.best, self.best_round = float("nan"), 0
        self.cut: int | None = None
        self.curve: dict[int, float] = {}
        self.predictions: Floats | None = None
        self._latest: Floats | None = None

    def train(self) -> None:
        """Train until the patience, the rounds or the time are over."""
        ends_at = time.perf_counter() + self.fidelity.seconds / len(self.learner.problem.target.columns)
        metric = self._evaluate if self.keeps_predictions or self.own_metric else None
        boosting = Boosting(self.parameters, self.splits[0].dataset, self.splits[1].dataset, metric=metric)
        every, patience = self.fidelity.every, self.fidelity.patience
        for is_finished in boosting.rounds(self.fidelity.rounds):
            self.each_round()
            done, is_over = boosting.n_rounds, time.perf_counter() > ends_at
            if done % every and not is_finished and not is_over and done < self.fidelity.rounds:
                continue
            self._add(done, boosting.values()["valid"])
            if self.watch is not None and self.watch(done, self.best):
                raise NoUseError
            if is_finished or (patience and done - self.best_round >= patience):
                break
            if is_over:
                self.cut = done
                break

    def _add(self, done: int, value: float) -> None:
        if not np.isfinite(value):
            raise TrainingError(
                f"metric {self.learner.problem.metric.name!r} gives {value} after {done} rounds",
                hint="it must give a number for any predictions of the model",
            )
        if self.is_metric and done == shared_round(done, self.fidelity.every):
            self.curve[done] = value
        # As LightGBM's own early stopping counts: what is better by less is not better.
        delta = float(self.parameters.get("early_stopping_min_delta", 0.0))
        greater = self.learner.data.target.stopping_metric.greater_is_better
        is_better = value - delta > self.best if greater else value + delta < self.best
        if self.best_round == 0 or not self.fidelity.patience or is_better:
            self.best, self.best_round = value, done
            if self.keeps_predictions and self._latest is not None:
                self.predictions = self._latest.copy()

    def _evaluate(self, predictions: Floats, dataset: lgb.Dataset) -> tuple[str, float, bool]:
        self._latest = predictions
        return self.own_metric(predictions, dataset) if self.own_metric else ("", 0.0, True)
