"""LightGBM behind the contract of a learner: one binned dataset for all folds and seeds."""

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
from workbench.models.column_parameters import resolve_columns
from workbench.models.fold_data import FoldData, FoldTarget
from workbench.models.lightgbm.bins import BinnedRows, shared_bins
from workbench.models.lightgbm.boosting import (
    BoostedTraining,
    Boosting,
    booster_from_text,
    lightgbm_errors,
    safe_names,
    train_booster,
    with_feature_names,
)
from workbench.models.lightgbm.fold_datasets import FoldDatasets, PseudoLabels
from workbench.models.lightgbm.memory import lightgbm_memory
from workbench.models.lightgbm.objectives import CustomObjective, objective_for
from workbench.models.lightgbm.outputs import LightGBMOutput
from workbench.models.memory_estimate import MemoryEstimate
from workbench.models.pseudo_labels import PseudoLabelRule
from workbench.models.records import FULL_DATA, FoldResult, Problem, TrainingState
from workbench.models.rounds import EarlyStoppingLearner
from workbench.models.stopping_metrics import native_metric
from workbench.models.training_columns import Rows
from workbench.models.weights import uses_hard_labels

if TYPE_CHECKING:
    import lightgbm as lgb

    from workbench.metrics import Metric

__all__ = [
    "NO_CLASS_WEIGHTS",
    "QUIET",
    "LightGBMLearner",
    "LightGBMSpec",
    "LightGBMTraining",
    "lightgbm_metric",
    "weights_classes",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

QUIET = {"verbosity": -1}

NO_CLASS_WEIGHTS = {"is_unbalance": False, "scale_pos_weight": 1}
"""LightGBM's defaults: with them an experiment resets class weights of its base, whatever the objective."""


def weights_classes(parameters: Mapping[str, Any]) -> bool:
    """Return whether LightGBM itself weights the two classes."""
    return any(parameters.get(key, default) != default for key, default in NO_CLASS_WEIGHTS.items())


@dataclass(frozen=True)
class LightGBMSpec:
    """The settings of a LightGBM model.

    Attributes
    ----------
    parameters : dict
        By primary names, without seed and number of rounds. Without ``objective`` it is the default for task and
        metric.
    rounds : int
        The most rounds.
    patience : int
        Of early stopping; 0 for none.
    transform : str
        The transform of the target before training.
    power : int
        The weights of the rows in training are multiplied by ``1 / |y| ** power``.
    where : str
        The experiment's file, for messages.
    custom_objective : CustomObjective, or None
        A function from the competition's folder instead of one of LightGBM's objectives.
    class_weight : str, dict or None
        "balanced", or a weight by class, from `check_class_weight`.
    pseudo : PseudoLabelRule, or None
        Which test rows get a pseudo-label from a fold's first model; None for one model per fold.
    train_curve : bool
        Whether the metric of the train rows is computed after each round, too, which takes time.
    notes : tuple of str
        Remarks on the parameters, for the user.
    files : dict
        Parameter -> the file that it names, in the competition's folder.
    rounds_per_fold : bool
        Whether each fold stops at its own best round, instead of the best of the mean curve.
    proxy_metric : str
        From `proxy_for_key`.
    """

    parameters: dict[str, Any]
    rounds: int
    patience: int
    transform: str = "none"
    power: int = 0
    where: str = "the experiment"
    custom_objective: CustomObjective | None = None
    class_weight: str | dict[str, float] | None = None
    pseudo: PseudoLabelRule | None = None
    train_curve: bool = False
    notes: tuple[str, ...] = ()
    files: dict[str, Path] = field(default_factory=dict)
    rounds_per_fold: bool = False
    proxy_metric: str = ""

    def content(self) -> dict[str, Any]:
        """Return everything that determines the result, for the run's key; files by their digests."""
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
            **({"rounds_by": "mean"} if self.patience and not self.rounds_per_fold else {}),
            **({"stops_by": self.proxy_metric} if self.proxy_metric else {}),
        }

    def memory_estimate(self, problem: Problem, seeds: Sequence[int]) -> MemoryEstimate:
        """Estimate the memory of the training at its peak."""
        estimate = lightgbm_memory(problem, self.parameters, seeds, with_test=self.pseudo is not None)
        return estimate.with_bins_loaded() if shared_bins(problem).is_in_memory else estimate

    def learner(self, problem: Problem, target_index: int) -> LightGBMLearner:
        """Return the learner of target number `target_index`."""
        return LightGBMLearner(problem, self, target_index)


# Our metric's name -> LightGBM's, where both compute the same number. Its mape divides by at least 1, unlike ours.
SAME_METRIC = {
    "auc": "auc",
    "rmse": "rmse",
    "mae": "l1",
    "logloss": "binary_logloss",
    "mlogloss": "multi_logloss",
    "average_precision": "average_precision",
}


def lightgbm_metric(spec: LightGBMSpec, task: str, metric: Metric) -> str | None:
    """Return LightGBM's name of the metric to stop by, or None where ours (`stopping_metric`) has to be called.

    LightGBM's metric is used where it gives the same number for the same model.
    """
    native = native_metric(SAME_METRIC, metric, task, spec.transform)
    # Where probabilities are computed from LightGBM's output or corrected for class weights, its metric sees the values
    # before; the order of rows, and so a metric of ranks, is the same.
    is_by_rank = native in ("auc", "average_precision") and task == "binary"
    needs_conversion = spec.parameters.get("objective") in ("multiclassova", "cross_entropy_lambda")
    is_converted = spec.custom_objective is not None or (needs_conversion and spec.transform == "none")
    is_corrected = spec.class_weight is not None and not uses_hard_labels(metric)
    return None if (is_converted or is_corrected) and not is_by_rank else native


class LightGBMLearner(EarlyStoppingLearner[LightGBMSpec]):
    """Trains one target's models.

    Parameters
    ----------
    problem : Problem
    spec : LightGBMSpec
    target_index : int
        Of the target.
    bins : BinnedRows, optional
        The binned columns; by default those that all learners of the problem share.

    Attributes
    ----------
    data : FoldData
    output : LightGBMOutput
    metric_name : str or None
        LightGBM's metric to stop by; None for ours.
    parameters : dict
        Complete but for the seed.
    datasets : FoldDatasets
    each_round : callable
        Called after each boosting round; an exception that it raises ends the training.

    Raises
    ------
    ConfigError
        For constraints that do not match the columns.
    """

    def __init__(self, problem: Problem, spec: LightGBMSpec, target_index: int, bins: BinnedRows | None = None) -> None:
        self.problem = problem
        self.target_index = target_index
        self.spec = spec
        self.data = FoldData(
            FoldTarget(
                problem,
                target_index,
                spec.transform,
                power=spec.power,
                class_weight=spec.class_weight,
                library_weights_classes=weights_classes(spec.parameters),
            )
        )
        self.target_column = self.data.target.column
        self.feature_names = self.data.columns.names
        self.metric_name = lightgbm_metric(spec, self.target_column.task, problem.metric)
        if spec.train_curve and not isinstance(problem.target.metric_weight, str):
            # LightGBM would score the train rows with their training weights.
            self.metric_name = None
        self.parameters = self._parameters()
        self.output = LightGBMOutput(self.data.target, self.parameters["objective"])
        self.datasets = FoldDatasets(self.data, self.parameters, bins or shared_bins(problem), spec.pseudo)
        self.min_gain = float(self.parameters.get("early_stopping_min_delta", 0.0))
        self.each_round: Callable[[], None] = lambda: None

    def _parameters(self) -> dict[str, Any]:
        defaults = objective_for(self.target_column.task, self.problem.metric)
        extra: dict[str, Any] = {"num_class": self.target_column.width} if self.target_column.width > 1 else {}
        if self.target_column.task == "ranking" and "label_gain" not in self.spec.parameters:
            # The gain of a relevance is the relevance itself, as in our metric; LightGBM's default is 2**relevance - 1.
            extra["label_gain"] = list(range(max(2, int(self.target_column.values.max()) + 1)))
        if self.spec.custom_objective is not None:
            defaults = {"objective": self.spec.custom_objective}
        if self.spec.parameters.get("objective", defaults["objective"]) != defaults["objective"]:
            defaults = {}  # the parameters of the default objective do not apply to another
        where = f"{self.spec.where}: [model]"
        resolved = resolve_columns(
            self.spec.parameters, self.feature_names, self.problem.matrix.categories, where=where
        )
        files = {key: str(path) for key, path in self.spec.files.items()}
        return {**defaults, **extra, **resolved, **files, "metric": self.metric_name or "None"}

    def with_seed(self, seed: int) -> dict[str, Any]:
        """Return the parameters of a training with a seed, without those that apply to the datasets alone.

        LightGBM rejects these if they differ from the datasets' (which have a part of the list), or for forced bins in
        any case.
        """
        dataset_parameters = ("max_bin_by_feature", "forcedbins_filename")
        return {k: v for k, v in self.parameters.items() if k not in dataset_parameters} | {"seed": seed}

    # ------------------------------------------------------------------------------------------------------- rounds

    @property
    def fixed_rounds(self) -> int | None:
        """The number of rounds of a full fit, whatever the folds' rounds; None with early stopping.

        A random forest has all rounds, too: it averages its trees, so that more of them do no harm.
        """
        is_forest = self.spec.parameters.get("boosting") == "rf"
        return self.spec.rounds if is_forest or not self.spec.patience else None

    # ---------------------------------------------------------------------------------------------------- one model

    def training(self, fold: int, seed: int, state: TrainingState | None = None) -> LightGBMTraining:
        """Return a fold's training, new or from a saved state."""
        return LightGBMTraining(self, fold, seed, state=state)

    def fit_full_data(self, seed: int, rounds: int) -> FoldResult:
        """Train on all train rows for this many rounds, and predict the test rows; the fold is `FULL_DATA`."""
        with lightgbm_errors(f"all rows, seed {seed}"):
            started_at = time.perf_counter()
            train = self.datasets.train_set(FULL_DATA)
            booster = train_booster(self.with_seed(seed), train.dataset, rounds, self.each_round)
            labels = self.pseudo_label_candidates(booster, rounds, FULL_DATA)
            if labels is not None and len(labels.rows):
                (train,) = self.datasets.with_pseudo_labels(FULL_DATA, labels, np.empty(0, np.int64))
                booster = train_booster(self.with_seed(seed), train.dataset, rounds, self.each_round)
            result = self.result_of(booster, (FULL_DATA, seed), rounds, labels)
            return replace(result, seconds=time.perf_counter() - started_at)

    def pseudo_label_candidates(self, booster: lgb.Booster, rounds: int, fold: int) -> PseudoLabels | None:
        """Return the test rows that a fold's first model predicts with confidence, and their classes.

        None without ``[pseudo]``. As that model was not trained on the validation rows, the OOF stays out of fold.
        """
        if self.spec.pseudo is None:
            return None
        rows, classes = self.spec.pseudo.candidates(self._predictions(booster, rounds, self.data.test_rows, fold))
        return PseudoLabels(rows + self.problem.matrix.n_train, classes)

    def result_of(
        self, booster: lgb.Booster, fold_and_seed: tuple[int, int], rounds: int, labels: PseudoLabels | None
    ) -> FoldResult:
        """Return the model of this many rounds with its predictions."""
        fold, seed = fold_and_seed
        rounds = min(rounds, booster.current_iteration())  # fewer if no leaf could be split any more
        notes = self.data.target.notes(fold)
        if labels is not None and self.spec.pseudo is not None:
            notes["labelled"] = self.spec.pseudo.note(labels.classes, self.target_column)
        gain, splits = (booster.feature_importance(kind, iteration=rounds) for kind in ("gain", "split"))
        return FoldResult(
            target=self.target_index,
            fold=fold,
            seed=seed,
            oof=self._predictions(booster, rounds, self.data.target.valid_rows(fold), fold),
            test=self._predictions(booster, rounds, self.data.test_rows, fold),
            model=self._as_text(booster, rounds),
            rounds=rounds,
            seconds=0.0,
            importance={
                name: (float(column_gain), float(n_splits))
                for name, column_gain, n_splits in zip(self.feature_names, gain, splits, strict=True)
            },
            notes=notes,
        )

    def _as_text(self, booster: lgb.Booster, rounds: int) -> str:
        text = with_feature_names(booster.model_to_string(num_iteration=rounds), self.feature_names)
        links = {"binary": "binary sigmoid:1", "multiclass": f"multiclass num_class:{self.target_column.width}"}
        if self.spec.custom_objective is None or self.target_column.task not in links:
            return text
        # With this line the loaded model predicts probabilities, as with LightGBM's own objectives.
        line = f"objective={links[self.target_column.task]}\n"
        return re.sub(r"(?m)^feature_names=", lambda m: line + m[0], text, count=1)

    # -------------------------------------------------------------------------------------------------- predictions

    def predicted_by(self, text: str, fold: int) -> Floats:
        """Return the predictions of the test rows (n_test, width) by a model's text.

        Parameters
        ----------
        text : str
        fold : int
            The fold that the model was trained on, or `FULL_DATA`: its columns and transform are used.
        """
        with lightgbm_errors(f"fold {fold}"):
            booster = booster_from_text(text)
            _check_names(booster.feature_name(), self.feature_names)
            # The text includes the link to probabilities, for custom objectives, too.
            output = self._raw_output(booster, booster.current_iteration(), self.data.test_rows, fold)
            return self.output.to_target_scale(output, fold)

    def _predictions(self, booster: lgb.Booster, rounds: int, rows: Rows, fold: int) -> Floats:
        """Return the predictions of some rows by a booster in training, on the target's scale."""
        return self.output.to_target_scale(self.output.linked(self._raw_output(booster, rounds, rows, fold)), fold)

    def _raw_output(self, booster: lgb.Booster, rounds: int, rows: Rows, fold: int) -> Floats:
        """Return a booster's output for some rows, (n, width)."""

        def predict(frame: pl.DataFrame) -> npt.NDArray[Any]:
            values = booster.predict(frame, num_iteration=rounds, num_threads=self.parameters["num_threads"])
            return np.asarray(values).reshape(len(frame), self.target_column.width)

        return self.data.raw_predictions(fold, rows, predict)


def _check_names(trained: list[str], names: Sequence[str]) -> None:
    """Reject a matrix with other columns than the model's, or in another order: LightGBM only compares their number."""
    present = safe_names(names)
    if trained != present:
        pairs = zip(trained, present, strict=False)
        position = next((i for i, (was, now) in enumerate(pairs) if was != now), min(len(trained), len(present)))
        was, now = (f"{listed[position]!r}" if position < len(listed) else "nothing" for listed in (trained, present))
        raise DataError(
            f"the model was trained on {len(trained):,} columns, the matrix has {len(present):,}: "
            f"column {position + 1} was {was} and is {now}"
        )


class LightGBMTraining(BoostedTraining):
    """The training of one fold's model.

    Parameters
    ----------
    learner : LightGBMLearner
    fold, seed : int
    labels : PseudoLabels, optional
        Pseudo-labels from the first model, for a fold's second model.
    state : TrainingState, optional
        A saved state to resume from.
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
        """Return the state to save."""
        return TrainingState(self.text(), self.curves, self.seconds)

    def train_to(self, rounds: int, should_stop: Callable[[float], bool]) -> None:
        """Train up to this many rounds, or until `should_stop` returns True for the metric of a new round."""
        started_at = time.perf_counter()
        super().train_to(rounds, should_stop)
        self.seconds += time.perf_counter() - started_at

    def after_round(self, share: float) -> None:  # noqa: ARG002 part of the base class
        """Call the learner's callback."""
        self.learner.each_round()

    def begin(self) -> Boosting:
        """Make the datasets and the booster."""
        learner, fold = self.learner, self.fold
        train, valid = learner.datasets.split(fold)
        if self.labels is not None and len(self.labels.rows):
            train, valid = learner.datasets.with_pseudo_labels(fold, self.labels, valid.rows)
        # PseudoLabelRule-labelled test rows have no true label to be scored by.
        evaluates_train = learner.spec.train_curve and learner.spec.pseudo is None
        evaluated = [train, valid] if evaluates_train else [valid]
        return Boosting(
            learner.with_seed(self.seed) | {"num_iterations": learner.spec.rounds},
            train.dataset,
            valid.dataset,
            evaluates_train=evaluates_train,
            metric=None if learner.metric_name else learner.output.stopping_metric(evaluated, fold, self.seed),
        )

    def second_stage(self, rounds: int, state: TrainingState | None = None) -> LightGBMTraining:
        """Return the training with pseudo-labels; itself without ``[pseudo]``, or if no test row gets a label."""
        if self.labels is not None or self.learner.spec.pseudo is None:
            return self
        started_at = time.perf_counter()
        with lightgbm_errors(self.where):
            labels = self.learner.pseudo_label_candidates(self.booster(), rounds, self.fold)
        self.seconds += time.perf_counter() - started_at
        if labels is None or not len(labels.rows):
            self.labels = labels
            return self
        self.release()
        training = LightGBMTraining(self.learner, self.fold, self.seed, labels=labels, state=state)
        training.seconds = self.seconds if state is None else state.seconds
        return training

    def result(self, rounds: int) -> FoldResult:
        """Return the model of this many rounds, with its predictions."""
        started_at = time.perf_counter()
        with lightgbm_errors(self.where):
            result = self.learner.result_of(self.booster(), (self.fold, self.seed), rounds, self.labels)
        return replace(result, curve=self.curves, seconds=self.seconds + time.perf_counter() - started_at)
