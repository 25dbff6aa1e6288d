"""Parameter sets scored fold by fold over datasets that are binned once: what a search trains.

A fold's datasets are kept and shared by all parameter sets; no test rows are predicted, and the validated rows are
predicted by LightGBM itself while it trains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.errors import TrainingError
from workbench.training.lightgbm_folds import LightGBMLearner, lightgbm_errors
from workbench.training.parameters import LightGBMSpec, is_stand_in
from workbench.training.records import Problem
from workbench.training.scoring import score
from workbench.training.target import Target

if TYPE_CHECKING:
    import lightgbm as lgb

__all__ = ["Fidelity", "FoldScore", "FoldScorer", "NoUseError"]

Floats = npt.NDArray[np.float64]
Watch = Callable[[int, float], bool]

BINNING = (
    "max_bin",
    "max_bin_by_feature",
    "min_data_in_bin",
    "bin_construct_sample_cnt",
    "linear_tree",
    "enable_bundle",
)
"""Parameters that change the binned data; a parameter set with another value needs datasets of its own."""


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
        Rounds without a better score until it stops; 0 for never.
    every : int
        Rounds between two evaluations.
    share : float
        Of each fold's train rows.
    """

    rate: float | None
    rounds: int
    patience: int
    every: int = 1
    share: float = 1.0


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
    """

    score: float
    rounds: tuple[int, ...]
    seconds: float
    oof: Floats | None = None


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
        self._kept: dict[tuple[Any, ...], tuple[lgb.Dataset, lgb.Dataset]] = {}
        self._size = 0

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
            LightGBM's, by their primary names.
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
        made = [
            self._of_target(i, parameters, fold, seed, fidelity, watch if n_targets == 1 else None, keep_oof)
            for i in range(n_targets)
        ]
        value = float(np.mean([m[0] for m in made]))
        if not np.isfinite(value):
            raise TrainingError(f"fold {fold}: metric {self.problem.metric.name!r} gives {value}")
        oof = np.hstack([m[2] for m in made if m[2] is not None]) if keep_oof else None
        return FoldScore(value, tuple(m[1] for m in made), time.perf_counter() - started, oof)

    # ----------------------------------------------------------------------------------------------------- datasets

    def _learner(self, index: int, parameters: Mapping[str, Any]) -> tuple[LightGBMLearner, tuple[Any, ...]]:
        key = (index, *(repr(parameters.get(n, self.spec.parameters.get(n))) for n in BINNING))
        if key not in self._learners:
            binning = {n: parameters[n] for n in BINNING if n in parameters}
            # Otherwise LightGBM leaves out, while it bins, what `min_data_in_leaf` makes useless, and refuses to share
            # the binned data with another value of it.
            fixed = self.spec.parameters | binning | {"feature_pre_filter": False}
            spec = LightGBMSpec(fixed, self.spec.rounds, self.spec.patience, self.spec.transform)
            self._learners[key] = LightGBMLearner(self.problem, spec, index)
        return self._learners[key], key

    def _datasets(
        self, learner: LightGBMLearner, key: tuple[Any, ...], fold: int, share: float
    ) -> tuple[lgb.Dataset, lgb.Dataset]:
        found = self._kept.get((*key, fold, share))
        if found is not None:
            return found
        rows = self.problem.folds.train_rows(fold)
        if share < 1:
            size = max(1, round(share * len(rows)))
            rows = np.sort(np.random.default_rng(fold).choice(rows, size, replace=False))
        made = learner.datasets(fold, rows)
        size = (len(rows) + len(self.problem.folds.valid_rows(fold))) * (len(learner.names) + 16)
        if self._size + size <= self.room:
            self._size += size
            self._kept[(*key, fold, share)] = made
        return made

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
    ) -> tuple[float, int, Floats | None]:
        learner, key = self._learner(index, parameters)
        with lightgbm_errors(f"fold {fold}"):
            datasets = self._datasets(learner, key, fold, fidelity.share)
            given = learner.parameters | dict(parameters) | {"seed": seed}
            if fidelity.rate is not None:
                given["learning_rate"] = fidelity.rate
            if float(given.get("bagging_fraction", 1.0)) < 1 and not given.get("bagging_freq"):
                given["bagging_freq"] = 1
            run = _Run(learner, given, datasets, fidelity, watch, self.each_round, keep_oof=keep_oof)
            run.train()
        rows = self.problem.folds.valid_rows(fold)
        column = learner.column
        if run.predictions is not None:
            oof = learner.back(run.predictions.reshape(len(rows), column.width))
            single = Target((column,), self.problem.target.weight)
            return score(single, rows, oof, self.problem.metric), run.best_round, oof
        return run.best, run.best_round, None


class _Run:
    """One LightGBM training that evaluates now and then and remembers the best."""

    def __init__(
        self,
        learner: LightGBMLearner,
        parameters: dict[str, Any],
        datasets: tuple[lgb.Dataset, lgb.Dataset],
        fidelity: Fidelity,
        watch: Watch | None,
        each_round: Callable[[], None],
        *,
        keep_oof: bool,
    ) -> None:
        self.learner, self.parameters, self.datasets, self.fidelity = learner, parameters, datasets, fidelity
        self.watch, self.each_round = watch, each_round
        metric, task = learner.problem.metric, learner.column.task
        self.keeps = keep_oof or is_stand_in(metric, task)
        self.best, self.best_round = float("nan"), 0
        self.predictions: Floats | None = None
        self._now: Floats | None = None

    def train(self) -> None:
        """Train until the patience or the rounds are over."""
        import lightgbm as lgb

        booster = lgb.Booster(self.parameters, self.datasets[0])
        booster.add_valid(self.datasets[1], "valid")
        own = None if self.learner.metric_name else self.learner.own_metric
        asks = self._asked if self.keeps or own else None
        every, patience = self.fidelity.every, self.fidelity.patience
        for done in range(1, self.fidelity.rounds + 1):
            finished = booster.update()
            self.each_round()
            if done % every and not finished and done < self.fidelity.rounds:
                continue
            results = booster.eval_valid(asks)
            # Where LightGBM's own metric is watched it comes first; ours is the only one where it is not.
            value, greater = results[0][2:4]
            if not np.isfinite(value):
                raise TrainingError(
                    f"metric {self.learner.problem.metric.name!r} gives {value} after {done} rounds",
                    hint="it must give a number for any predictions of the model",
                )
            if self.best_round == 0 or (value > self.best if greater else value < self.best):
                self.best, self.best_round = float(value), done
                if self.keeps and self._now is not None:
                    self.predictions = self._now.copy()
            if self.watch is not None and self.watch(done, self.best):
                raise NoUseError
            if finished or (patience and done - self.best_round >= patience):
                break

    def _asked(self, predictions: Floats, data: lgb.Dataset) -> tuple[str, float, bool]:
        self._now = predictions
        if self.learner.metric_name:
            return "", 0.0, True
        return self.learner.own_metric(predictions, data)
