"""LightGBM behind the contract of a learner: one binned dataset for all folds and seeds, one model at a time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.cache import file_sha256
from workbench.core.distribution import version_of
from workbench.core.errors import DataError
from workbench.models.column_parameters import by_position
from workbench.models.fold_data import FoldData, FoldTarget
from workbench.models.lightgbm.bins import BinnedRows, bins_of
from workbench.models.lightgbm.boosting import (
    BoostedTraining,
    Boosting,
    Evaluate,
    boosted,
    lightgbm_errors,
    safe_names,
    trees_of,
    with_feature_names,
)
from workbench.models.lightgbm.fold_datasets import DatasetSplit, FoldDatasets, PseudoLabels
from workbench.models.lightgbm.objectives import OwnObjective, apply_link, objective_for
from workbench.models.memory_estimate import MemoryNeeds, lightgbm_needs
from workbench.models.pseudo_labels import Pseudo
from workbench.models.records import ALL_ROWS, FoldResult, Problem, TrainingState
from workbench.models.rounds import StoppingLearner
from workbench.models.stopping_metrics import native_metric
from workbench.models.training_columns import Rows
from workbench.models.weights import is_decision

if TYPE_CHECKING:
    import lightgbm as lgb

    from workbench.metrics import Metric

__all__ = [
    "NO_WEIGHT",
    "QUIET",
    "LightGBMLearner",
    "LightGBMSpec",
    "LightGBMTraining",
    "lightgbm_metric",
    "weighs_classes",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

QUIET = {"verbosity": -1}

NO_WEIGHT = {"is_unbalance": False, "scale_pos_weight": 1}
"""What an experiment says to take back what its base says: with every objective these do nothing."""


def weighs_classes(parameters: Mapping[str, Any]) -> bool:
    """Say whether LightGBM weighs two classes by itself."""
    return any(parameters.get(key, nothing) != nothing for key, nothing in NO_WEIGHT.items())


@dataclass(frozen=True)
class LightGBMSpec:
    """A LightGBM model to train: all of its parameters, by their primary names.

    Attributes
    ----------
    parameters : dict
        Holds neither seeds nor the number of rounds. Without ``objective`` it is the task's and the metric's usual one.
    rounds : int
    patience : int
        The early stopping, 0 for none.
    power : int
        In training rows weigh ``1 / |y| ** power``, as the metric's loss has it.
    transform : str
        What the target goes through before training; predictions come back through its inverse.
    where : str
        The file that it comes from, for messages.
    custom_objective : OwnObjective, or None
        The competition's own objective, in place of one of LightGBM's.
    class_weight : str, dict or None
        "balanced", or a weight by class, as `check_class_weight` gives it.
    pseudo : Pseudo, or None
        Which test rows get a label from a fold's first model; None: there is one model.
    train_curve : bool
        Whether the curve of the train rows is kept, too; it costs.
    notes : tuple of str
        What is to be said of the parameters.
    files : dict
        Parameter -> the file that it names, of the competition's folder.
    per_fold : bool
        Whether each fold stops at its own best round, and not all at the best of their mean curve.
    stops_by : str
        As `stand_ins.stops_by` gives it.
    """

    parameters: dict[str, Any]
    rounds: int
    patience: int
    transform: str = "none"
    power: int = 0
    where: str = "the experiment"
    custom_objective: OwnObjective | None = None
    class_weight: str | dict[str, float] | None = None
    pseudo: Pseudo | None = None
    train_curve: bool = False
    notes: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)
    per_fold: bool = False
    stops_by: str = ""

    def content(self) -> dict[str, Any]:
        """Return what decides the result: neither threads nor what is logged do, and of a file what it says."""
        files = {key: file_sha256(path) for key, path in self.files.items()}
        return {
            "lightgbm": version_of("lightgbm"),
            "parameters": {k: v for k, v in self.parameters.items() if k != "num_threads"} | files | QUIET,
            "rounds": self.rounds,
            "patience": self.patience,
            "transform": self.transform,
            **({"power": self.power} if self.power else {}),
            **(
                {"objective": [self.custom_objective.reference, self.custom_objective.code]}
                if self.custom_objective
                else {}
            ),
            **({"class_weight": self.class_weight} if self.class_weight else {}),
            **({"pseudo": [self.pseudo.threshold, self.pseudo.weight]} if self.pseudo else {}),
            **({"train_curve": True} if self.train_curve else {}),
            **({"rounds_by": "mean"} if self.patience and not self.per_fold else {}),
            **({"stops_by": self.stops_by} if self.stops_by else {}),
        }

    def needs(self, problem: Problem, seeds: Sequence[int]) -> MemoryNeeds:
        """Foresee what the training takes at its peak."""
        needs = lightgbm_needs(problem, self.parameters, seeds, with_test=self.pseudo is not None)
        return needs.beside_bins() if bins_of(problem).held else needs

    def learner(self, problem: Problem, index: int) -> LightGBMLearner:
        """Return what trains the models of target number `index`."""
        return LightGBMLearner(problem, self, index)


# Our metric's name -> LightGBM's, where both compute the same number; the rest is computed by ours at every round. Its
# mape divides by no less than 1.
SAME_METRIC = {
    "auc": "auc",
    "rmse": "rmse",
    "mae": "l1",
    "logloss": "binary_logloss",
    "mlogloss": "multi_logloss",
    "average_precision": "average_precision",
}


def lightgbm_metric(spec: LightGBMSpec, task: str, metric: Metric) -> str | None:
    """Return LightGBM's name of the metric to stop by, or None where ours (`stopping_metric`) is to be called.

    LightGBM's is taken where it gives the same number for the same model.
    """
    native = native_metric(SAME_METRIC, metric, task, spec.transform)
    # Of predictions that are turned into probabilities afterwards, LightGBM sees what was before; only their order
    # is the same.
    is_order = native in ("auc", "average_precision") and task == "binary"
    by_rate = spec.parameters.get("objective") in ("multiclassova", "cross_entropy_lambda")
    is_turned = spec.custom_objective is not None or (by_rate and spec.transform == "none")
    is_weighted = spec.class_weight is not None and not is_decision(metric)
    return None if (is_turned or is_weighted) and not is_order else native


class LightGBMLearner(StoppingLearner[LightGBMSpec]):
    """Trains one target's models.

    Parameters
    ----------
    problem : Problem
    spec : LightGBMSpec
    index : int
        Which target.
    bins : BinnedRows, optional
        The shared columns in bins; by default those that all learners of the problem share.

    Attributes
    ----------
    each_round : callable
        Called after each boosting round; what it raises ends the training.

    Raises
    ------
    ConfigError
        For constraints that do not fit the columns.
    """

    def __init__(self, problem: Problem, spec: LightGBMSpec, index: int, bins: BinnedRows | None = None) -> None:
        self.problem = problem
        self.index = index
        self.spec = spec
        self.data = FoldData(
            FoldTarget(
                problem,
                index,
                spec.transform,
                power=spec.power,
                class_weight=spec.class_weight,
                library_weighs_classes=weighs_classes(spec.parameters),
            )
        )
        self.column = self.data.target.column
        self.names = self.data.columns.names
        self.metric_name = lightgbm_metric(spec, self.column.task, problem.metric)
        if spec.train_curve and not isinstance(problem.target.metric_weight, str):
            # LightGBM would score the train rows by the weights that it trains with.
            self.metric_name = None
        self.parameters = self._parameters()
        self.datasets = FoldDatasets(self.data, self.parameters, bins or bins_of(problem), spec.pseudo)
        self.least_gain = float(self.parameters.get("early_stopping_min_delta", 0.0))
        self.each_round: Callable[[], None] = lambda: None

    def _parameters(self) -> dict[str, Any]:
        defaults = objective_for(self.column.task, self.problem.metric)
        extra: dict[str, Any] = {"num_class": self.column.width} if self.column.width > 1 else {}
        if self.column.task == "ranking" and "label_gain" not in self.spec.parameters:
            # The gain of a relevance is itself, as in the metric; LightGBM's own is 2 to its power, less one.
            extra["label_gain"] = list(range(max(2, int(self.column.values.max()) + 1)))
        if self.spec.custom_objective is not None:
            defaults = {"objective": self.spec.custom_objective}
        if self.spec.parameters.get("objective", defaults["objective"]) != defaults["objective"]:
            defaults = {}  # what goes with it means something else to another
        where = f"{self.spec.where}: [model]"
        by_place = by_position(self.spec.parameters, self.names, self.problem.matrix.categories, where=where)
        files = {key: str(path) for key, path in self.spec.files.items()}
        return {**defaults, **extra, **by_place, **files, "metric": self.metric_name or "None"}

    def with_seed(self, seed: int) -> dict[str, Any]:
        """Return the parameters of a training."""
        # The datasets have their own part of the list, and LightGBM compares the whole; of forced bins it refuses to
        # hear again, though they are the same.
        of_datasets = ("max_bin_by_feature", "forcedbins_filename")
        return {k: v for k, v in self.parameters.items() if k not in of_datasets} | {"seed": seed}

    # ------------------------------------------------------------------------------------------------------- rounds

    @property
    def fixed_rounds(self) -> int | None:
        """How many rounds every model has, whatever its rows; None where each stops at its best.

        The trees of a forest are a mean, of which more do no harm.
        """
        forest = self.spec.parameters.get("boosting") == "rf"
        return self.spec.rounds if forest or not self.spec.patience else None

    # ---------------------------------------------------------------------------------------------------- one model

    def training(self, fold: int, seed: int, state: TrainingState | None = None) -> LightGBMTraining:
        """Begin a fold's training, or take one up from its state."""
        return LightGBMTraining(self, fold, seed, state=state)

    def fit_all(self, seed: int, rounds: int) -> FoldResult:
        """Train on all rows for so many rounds, and predict the test rows; its fold is `ALL_ROWS`, its OOF empty."""
        with lightgbm_errors(f"all rows, seed {seed}"):
            started = time.perf_counter()
            train = self.datasets.train_set(ALL_ROWS)
            booster = boosted(self.with_seed(seed), train.dataset, rounds, self.each_round)
            labels = self.pseudo_label_candidates(booster, rounds, ALL_ROWS)
            if labels is not None and len(labels[0]):
                (train,) = self.datasets.with_pseudo_labels(ALL_ROWS, labels, np.empty(0, np.int64))
                booster = boosted(self.with_seed(seed), train.dataset, rounds, self.each_round)
            result = self.result_of(booster, (ALL_ROWS, seed), rounds, labels)
            return replace(result, seconds=time.perf_counter() - started)

    def pseudo_label_candidates(self, booster: lgb.Booster, rounds: int, fold: int) -> PseudoLabels | None:
        """Return the test rows that a fold's first model is sure of, and their classes; None without ``[pseudo]``.

        The model has not seen the rows that the fold validates, so that the OOF stays what it is.
        """
        if self.spec.pseudo is None:
            return None
        rows, classes = self.spec.pseudo.candidates(self._predictions(booster, rounds, self.data.test_rows, fold))
        return rows + self.problem.matrix.n_train, classes

    def result_of(
        self, booster: lgb.Booster, at: tuple[int, int], rounds: int, labels: PseudoLabels | None
    ) -> FoldResult:
        """Return a model of so many rounds with its predictions; `at` is its fold and seed."""
        fold, seed = at
        rounds = min(rounds, booster.current_iteration())  # there are fewer where nothing is left to be split
        notes = self.data.target.notes(fold)
        if labels is not None and self.spec.pseudo is not None:
            notes["labelled"] = self.spec.pseudo.note(labels[1], self.column)
        gain, splits = (booster.feature_importance(kind, iteration=rounds) for kind in ("gain", "split"))
        return FoldResult(
            target=self.index,
            fold=fold,
            seed=seed,
            oof=self._predictions(booster, rounds, self.data.target.valid_rows(fold), fold),
            test=self._predictions(booster, rounds, self.data.test_rows, fold),
            model=self._as_text(booster, rounds),
            rounds=rounds,
            seconds=0.0,
            importance={n: (float(g), float(s)) for n, g, s in zip(self.names, gain, splits, strict=True)},
            notes=notes,
        )

    def _as_text(self, booster: lgb.Booster, rounds: int) -> str:
        text = with_feature_names(booster.model_to_string(num_iteration=rounds), self.names)
        links = {"binary": "binary sigmoid:1", "multiclass": f"multiclass num_class:{self.column.width}"}
        if self.spec.custom_objective is None or self.column.task not in links:
            return text
        # So that whoever loads the model gets probabilities, as from one of LightGBM's own objectives.
        line = f"objective={links[self.column.task]}\n"
        return re.sub(r"(?m)^feature_names=", lambda m: line + m[0], text, count=1)

    # -------------------------------------------------------------------------------------------------- predictions

    def predicted_by(self, text: str, fold: int) -> Floats:
        """Return the predictions of the test rows (n_test, width) by a model's text.

        Parameters
        ----------
        text : str
        fold : int
            Which it was trained for, `ALL_ROWS` for one of all rows: its columns and what it learned are those.
        """
        with lightgbm_errors(f"fold {fold}"):
            booster = trees_of(text)
            _check_names(booster.feature_name(), self.names)
            # The text says how raw values become probabilities, of one's own objective, too.
            predicted = self._predicted(booster, booster.current_iteration(), self.data.test_rows, fold)
            return self.to_target_scale(predicted, fold)

    def _predictions(self, booster: lgb.Booster, rounds: int, rows: Rows, fold: int) -> Floats:
        """Return the predictions of some rows by a booster that was trained here, on the target's own scale."""
        return self.to_target_scale(self.linked(self._predicted(booster, rounds, rows, fold)), fold)

    def _predicted(self, booster: lgb.Booster, rounds: int, rows: Rows, fold: int) -> Floats:
        """Return what LightGBM says of some rows, (n, width)."""

        def predict(frame: pl.DataFrame) -> npt.NDArray[Any]:
            values = booster.predict(frame, num_iteration=rounds, num_threads=self.parameters["num_threads"])
            return np.asarray(values).reshape(len(frame), self.column.width)

        return self.data.fitted(fold, rows, predict)

    def linked(self, predicted: Floats) -> Floats:
        """Return what a booster in training predicts, (n,) or (n, width), as a model's text would give it."""
        shaped = predicted.reshape(-1, self.column.width)
        return shaped if self.spec.custom_objective is None else apply_link(shaped, self.column)

    def to_target_scale(self, predicted: Floats, fold: int) -> Floats:
        """Return the competition's predictions for those of a model's text, (n, width)."""
        return self.data.target.to_target_scale(self._fitted(predicted), fold)

    def _fitted(self, predicted: Floats) -> Floats:
        objective = self.parameters["objective"]
        if objective == "multiclassova":  # one model per class: they need not sum to one
            return np.asarray(predicted / np.maximum(predicted.sum(axis=1, keepdims=True), 1e-15))
        if objective == "cross_entropy_lambda":  # predicts the rate of events; the probability is that of any
            return np.asarray(-np.expm1(-predicted))
        return predicted

    def own_metric(self, splits: Sequence[DatasetSplit], fold: int, seed: int) -> Evaluate:
        """Return what LightGBM calls after each round: the metric to stop by of the target as it is."""
        metric, where = self.data.target.stopping_metric, f"fold {fold}, seed {seed}"
        scores = {id(s.dataset): self.data.target.stopping_score(fold, s.rows, where) for s in splits}

        def evaluate(predictions: Floats, dataset: lgb.Dataset) -> tuple[str, float, bool]:
            value = scores[id(dataset)](self._fitted(self.linked(predictions)))
            return metric.name, value, metric.greater_is_better

        return evaluate


def _check_names(trained: list[str], names: Sequence[str]) -> None:
    """Refuse a matrix whose columns are not those of the model, in their order: LightGBM compares only how many."""
    present = safe_names(names)
    if trained != present:
        at = next((i for i, pair in enumerate(zip(trained, present, strict=False)) if pair[0] != pair[1]), None)
        at = min(len(trained), len(present)) if at is None else at
        was, now = (f"{n[at]!r}" if at < len(n) else "nothing" for n in (trained, present))
        raise DataError(
            f"the model was trained on {len(trained):,} columns, the matrix has {len(present):,}: column {at + 1} was "
            f"{was} and is {now}"
        )


class LightGBMTraining(BoostedTraining):
    """The training of one fold's model.

    Parameters
    ----------
    learner : LightGBMLearner
    fold, seed : int
    labels : PseudoLabels, optional
        Those of a first model, for a fold's second model.
    state : TrainingState, optional
        Where it is taken up.
    """

    def __init__(
        self,
        learner: LightGBMLearner,
        fold: int,
        seed: int,
        *,
        labels: PseudoLabels | None = None,
        state: TrainingState | None = None,
    ) -> None:
        super().__init__(f"fold {fold}, seed {seed}")
        self.learner, self.fold, self.seed, self.labels = learner, fold, seed, labels
        self.seconds = 0.0
        if state is not None:
            self._text, self.curves, self.seconds = state.model, state.curves, state.seconds

    def state(self) -> TrainingState:
        """Return what is kept of it."""
        return TrainingState(self.text(), self.curves, self.seconds)

    def go_on(self, rounds: int, enough: Callable[[float], bool]) -> None:
        """Train until there are so many rounds, or until `enough`, called with each new value, says so."""
        started = time.perf_counter()
        super().go_on(rounds, enough)
        self.seconds += time.perf_counter() - started

    def after_round(self, share: float) -> None:  # noqa: ARG002 the learner's callback counts the rounds itself
        """Call the learner's own callback."""
        self.learner.each_round()

    def begin(self) -> Boosting:
        """Make the datasets and the booster."""
        learner, fold = self.learner, self.fold
        train, valid = learner.datasets.split(fold)
        if self.labels is not None and len(self.labels[0]):
            train, valid = learner.datasets.with_pseudo_labels(fold, self.labels, valid.rows)
        # Test rows have no truth to be scored by.
        watches_train = learner.spec.train_curve and learner.spec.pseudo is None
        watched = [train, valid] if watches_train else [valid]
        return Boosting(
            learner.with_seed(self.seed) | {"num_iterations": learner.spec.rounds},
            train.dataset,
            valid.dataset,
            watches_train=watches_train,
            metric=None if learner.metric_name else learner.own_metric(watched, fold, self.seed),
        )

    def second(self, rounds: int, state: TrainingState | None = None) -> LightGBMTraining:
        """Return the training of the fold's second model; itself where the first is sure of nothing, or not asked."""
        if self.labels is not None or self.learner.spec.pseudo is None:
            return self
        started = time.perf_counter()
        with lightgbm_errors(self.where):
            labels = self.learner.pseudo_label_candidates(self.trees(), rounds, self.fold)
        self.seconds += time.perf_counter() - started
        if labels is None or not len(labels[0]):
            self.labels = labels
            return self
        self.release()
        training = LightGBMTraining(self.learner, self.fold, self.seed, labels=labels, state=state)
        training.seconds = self.seconds if state is None else state.seconds
        return training

    def result(self, rounds: int) -> FoldResult:
        """Return the model of so many rounds, with its predictions."""
        started = time.perf_counter()
        with lightgbm_errors(self.where):
            result = self.learner.result_of(self.trees(), (self.fold, self.seed), rounds, self.labels)
        return replace(result, curve=self.curves, seconds=self.seconds + time.perf_counter() - started)
