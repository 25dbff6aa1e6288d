"""LightGBM behind the contract of a learner: one binned dataset for all folds and seeds, one model at a time."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import DataError, TrainingError
from workbench.features import CHUNK_ROWS
from workbench.models.binned import BinnedRows, binning_of, subset_of
from workbench.models.columns import by_position
from workbench.models.datasets import add_columns, bin_frame
from workbench.models.losses import training_weights
from workbench.models.objectives import linked
from workbench.models.own_columns import OwnColumns
from workbench.models.parameters import (
    LightGBMSpec,
    lightgbm_metric,
    objective_for,
    watched_metric,
    weighs_classes,
)
from workbench.models.records import ALL_ROWS, FoldResult, Problem, TrainingState
from workbench.models.rounds import Stopping, own_fit
from workbench.models.scoring import as_metric_input, truth_of
from workbench.models.target import TargetColumn
from workbench.models.transforms import Transform, fitted_transform
from workbench.models.weights import BALANCED, class_weights, is_decision, priors_for, without_weights

if TYPE_CHECKING:
    import lightgbm as lgb

__all__ = ["LightGBMLearner", "LightGBMTraining", "Side", "lightgbm_errors", "with_feature_names"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
log = logging.getLogger("workbench.models")


@dataclass(frozen=True)
class _Fitted:
    """What a fold's models learn beside the trees: from the rows that the fold trains on, and from no others."""

    transform: Transform
    class_weight: Floats | None
    priors: Floats | None


@dataclass(frozen=True)
class Side:
    """Rows in the order of their dataset."""

    rows: Ints
    dataset: lgb.Dataset


class LightGBMLearner:
    """Trains one target's models.

    Parameters
    ----------
    problem : Problem
    spec : LightGBMSpec
    index : int
        Which target.
    binned : BinnedRows, optional
        The shared columns in bins; by default those of the problem, which all its learners share.

    Attributes
    ----------
    each_round : callable
        Called after each boosting round; what it raises ends the training.
    watch : callable
        Called after each round with its number, from 0, and the value of the metric that stops early; likewise.
    has_own_weights : bool
        Whether LightGBM weighs the classes by itself: then their probabilities stay as they are.

    Raises
    ------
    ConfigError
        For constraints that do not fit the columns.
    """

    def __init__(self, problem: Problem, spec: LightGBMSpec, index: int, binned: BinnedRows | None = None) -> None:
        self.problem = problem
        self.index = index
        self.column: TargetColumn = problem.target.columns[index]
        self.spec = spec
        self.binned = problem.binned if binned is None else binned
        self.metric_name = lightgbm_metric(spec, self.column.task, problem.metric)
        if spec.train_curve and not isinstance(problem.target.metric_weight, str):
            # LightGBM would score the train rows by the weights that it trains with.
            self.metric_name = None
        self.watched = watched_metric(problem.metric, self.column.task)
        self.parameters = self._parameters()
        self.has_own_weights = weighs_classes(self.parameters)
        self.each_round: Callable[[], None] = lambda: None
        self.watch: Callable[[int, float], None] = lambda _round, _value: None
        self.own_columns = OwnColumns(problem, index)
        self._fitted: dict[int, _Fitted] = {}

    def _parameters(self) -> dict[str, Any]:
        defaults = objective_for(self.column.task, self.problem.metric)
        extra: dict[str, Any] = {"num_class": self.column.width} if self.column.width > 1 else {}
        if self.column.task == "ranking" and "label_gain" not in self.spec.parameters:
            # The gain of a relevance is itself, as in the metric; LightGBM's own is 2 to its power, less one.
            extra["label_gain"] = list(range(max(2, int(self.column.values.max()) + 1)))
        if self.spec.own is not None:
            defaults = {"objective": self.spec.own}
        if self.spec.parameters.get("objective", defaults["objective"]) != defaults["objective"]:
            defaults = {}  # what goes with it means something else to another
        where = f"{self.spec.where}: [model]"
        given = by_position(self.spec.parameters, self.names, self.problem.matrix.categories, where=where)
        files = {key: str(path) for key, path in self.spec.files.items()}
        return {**defaults, **extra, **given, **files, "metric": self.metric_name or "None"}

    # -------------------------------------------------------------------------------------------------- of the target

    def fitted(self, fold: int) -> _Fitted:
        """Return what the fold's models learn of the target beside the trees."""
        if fold not in self._fitted:
            rows = self.train_rows(fold)
            transform = fitted_transform(self.spec.transform, self.column.values[rows])
            weights = class_weights(self.spec.class_weight, self.column, rows)
            weight = self.problem.target.weight
            priors = None if self.has_own_weights else priors_for(self.problem.metric, self.column, rows, weight)
            self._fitted[fold] = _Fitted(transform, weights, priors)
        return self._fitted[fold]

    def label(self, fold: int, rows: Ints) -> Floats:
        """Return what is fitted of some train rows: the target, transformed."""
        return self.fitted(fold).transform.forward(self.column.values[rows])

    def weight(self, fold: int, rows: Ints) -> Floats | None:
        """Return the weights that train rows are trained with, those of their classes in them."""
        weight = training_weights(self.problem.target.weight, self.column.values, rows, self.spec.power)
        return self._with_classes(weight, fold, rows)

    def _with_classes(self, own: Floats | None, fold: int, rows: Ints) -> Floats | None:
        of_class = self.fitted(fold).class_weight
        if of_class is None:
            return own
        classes = of_class[self.column.values[rows].astype(np.int64)]
        return classes if own is None else own * classes

    def back(self, fitted: Floats, fold: int) -> Floats:
        """Return the competition's predictions for those of a model's text, (n, width)."""
        found, objective = self.fitted(fold), self.parameters["objective"]
        if objective == "multiclassova":  # one model per class: they need not sum to one
            fitted = fitted / np.maximum(fitted.sum(axis=1, keepdims=True), 1e-15)
        if objective == "cross_entropy_lambda":  # predicts the rate of events; the probability is that of any
            fitted = -np.expm1(-fitted)
        back = found.transform.inverse(fitted)
        if found.priors is not None and self.spec.class_weight == BALANCED and self.problem.target.weight is None:
            return back  # trained on classes of one size, which is what the metric wants
        if found.class_weight is not None and not is_decision(self.problem.metric):
            back = without_weights(back, found.class_weight)
        return back if found.priors is None else without_weights(back, found.priors)

    # --------------------------------------------------------------------------------------------------------- rows

    def train_rows(self, fold: int) -> Ints:
        """Return the rows that a fold trains on in the order of their dataset; `ALL_ROWS` is a fold, too."""
        folds = self.problem.folds
        rows = np.arange(folds.n_rows) if fold == ALL_ROWS else folds.train_rows(fold)
        return self.binned.in_order(rows)

    # --------------------------------------------------------------------------------------------------- datasets

    def shared(self) -> lgb.Dataset:
        """Return the binned columns that do not depend on the fold, for all rows that are trained on."""
        shared = binning_of(self.parameters, slice(0, self.problem.matrix.width))
        with_test = self.spec.pseudo is not None and self.problem.matrix.n_test > 0
        return self.binned.dataset(shared, threads=self.parameters["num_threads"], with_test=with_test)

    def datasets(self, fold: int, some: Ints | None = None) -> tuple[Side, Side]:
        """Return the train and the validation side of a fold; `some` of its train rows only, where they are given."""
        extra = self.own_columns.frame(fold)
        valid = self.binned.in_order(self.problem.folds.valid_rows(fold))
        both = [self.train_rows(fold) if some is None else self.binned.in_order(some), valid]
        train_set, valid_set = self._filled(both, extra)
        self._labelled(train_set, both[0], fold, self.weight(fold, both[0]))
        self._labelled(valid_set, valid, fold, self._valid_weight(valid, fold))
        return Side(both[0], train_set), Side(valid, valid_set)

    def _valid_weight(self, rows: Ints, fold: int) -> Floats | None:
        # The metric knows nothing of classes' weights; the log loss that stands in for a decision does.
        weight = self.problem.target.scoring_weight
        own = None if weight is None else weight[rows]
        return self._with_classes(own, fold, rows) if is_decision(self.problem.metric) else own

    def _filled(self, sides: Sequence[Ints], extra: pl.DataFrame) -> list[lgb.Dataset]:
        """Return datasets of rows, without labels; the fold's own columns get the bins of the first."""
        own = binning_of(self.parameters, slice(self.problem.matrix.width, None)) | {"verbosity": -1}
        own["num_threads"] = self.parameters["num_threads"]
        if not self.problem.matrix.width:
            first = bin_frame(extra[sides[0]], own)
            return [first, *(bin_frame(extra[rows], own, reference=first) for rows in sides[1:])]
        shared = self.shared()
        made = [subset_of(shared, self.binned.positions(rows)) for rows in sides]
        if extra.width:
            add_columns(made, [extra[rows] for rows in sides], own)
        return made

    def _labelled(self, dataset: lgb.Dataset, rows: Ints, fold: int, weight: Floats | None) -> None:
        dataset.set_label(self.label(fold, rows))
        dataset.set_weight(weight)
        query = self.problem.target.query
        if query is not None:
            edges = np.flatnonzero(np.diff(query[rows], prepend=-1))
            dataset.set_group(np.diff(edges, append=len(rows)))

    def train_set(self, fold: int, order: Ints) -> Side:
        """Return the train side of a fold whose row i has the target of row ``order[i]``; `relabel` gives it."""
        matrix, rows = self.problem.matrix, self.train_rows(fold)
        extra = pl.DataFrame()
        if matrix.fold_columns:
            targets = [replace(t, values=t.values[order]) for t in self.problem.target.columns]
            extra = matrix.learned(targets, self.index, self.problem.split).frame(fold)
        (made,) = self._filled([rows], extra)
        return Side(rows, made)

    def relabel(self, side: Side, fold: int, order: Ints) -> None:
        """Give row i of a train side the target of row ``order[i]``."""
        self._labelled(side.dataset, side.rows, fold, self.weight(fold, side.rows))
        side.dataset.set_label(self.label(fold, order[side.rows]))

    def boosted(self, train_set: lgb.Dataset, seed: int, rounds: int) -> lgb.Booster:
        """Train so many rounds, without validation."""
        import lightgbm as lgb

        hook: Any = lambda _: self.each_round()  # noqa: E731
        return lgb.train(self.with_seed(seed), train_set, num_boost_round=rounds, callbacks=[hook])

    def with_seed(self, seed: int) -> dict[str, Any]:
        """Return the parameters of a training."""
        # The datasets have their own part of the list, and LightGBM compares the whole; of forced bins it refuses to
        # hear again, though they are the same.
        of_datasets = ("max_bin_by_feature", "forcedbins_filename")
        return {k: v for k, v in self.parameters.items() if k not in of_datasets} | {"seed": seed}

    @property
    def names(self) -> list[str]:
        """The columns in the order of the datasets: the shared ones, then the fold's own."""
        matrix, columns = self.problem.matrix, self.problem.target.columns
        return [*matrix.columns, *(n for c in matrix.fold_columns for n in c.names(columns, self.index))]

    # ---------------------------------------------------------------------------------------------------- one model

    def fit(self, fold: int, seed: int) -> FoldResult:
        """Train and predict one fold with one seed, at its own best number of rounds."""
        return own_fit(self.training(fold, seed), self.stopping, self.spec.rounds)

    @property
    def stopping(self) -> Stopping | None:
        """When a training has had enough rounds; None where all of them are used."""
        if not self.spec.patience:
            return None
        least = float(self.parameters.get("early_stopping_min_delta", 0.0))
        return Stopping(self.spec.rounds, self.spec.patience, self.watched.greater_is_better, least)

    @property
    def shared_stopping(self) -> Stopping | None:
        """When the folds together have had enough rounds; None where each stops by itself."""
        return None if self.spec.per_fold else self.stopping

    def training(self, fold: int, seed: int, state: TrainingState | None = None) -> LightGBMTraining:
        """Begin a fold's training, or take one up that was kept."""
        made = LightGBMTraining(self, fold, seed)
        if state is not None:
            made.take_up(state)
        return made

    @property
    def fixed_rounds(self) -> int | None:
        """How many rounds every model has, whatever its rows; None where each stops at its best.

        The trees of a forest are a mean, of which more do no harm.
        """
        forest = self.spec.parameters.get("boosting") == "rf"
        return self.spec.rounds if forest or not self.spec.patience else None

    def fit_all(self, seed: int, rounds: int) -> FoldResult:
        """Train on all rows for so many rounds, and predict the test rows; its fold is `ALL_ROWS`, its OOF empty."""
        with lightgbm_errors(f"all rows, seed {seed}"):
            started = time.perf_counter()
            rows = self.train_rows(ALL_ROWS)
            (train_set,) = self._filled([rows], self.own_columns.frame(ALL_ROWS))
            self._labelled(train_set, rows, ALL_ROWS, self.weight(ALL_ROWS, rows))
            booster = self.boosted(train_set, seed, rounds)
            labelled = self.sure_of(booster, rounds, ALL_ROWS)
            if labelled is not None and len(labelled[0]):
                (train,) = self.with_labelled(labelled, rows, np.empty(0, np.int64), ALL_ROWS)
                booster = self.boosted(train.dataset, seed, rounds)
            result = self.result_of(booster, (ALL_ROWS, seed), rounds, labelled)
            return replace(result, seconds=time.perf_counter() - started)

    def sure_of(self, booster: lgb.Booster, rounds: int, fold: int) -> tuple[Ints, Ints] | None:
        """Return the test rows that a fold's first model is sure of, and their classes; None where nobody asks.

        The model has not seen the rows that the fold validates, so that the OOF stays what it is.
        """
        matrix = self.problem.matrix
        if self.spec.pseudo is None:
            return None
        test = self._predict(booster, rounds, range(matrix.n_train, matrix.n_rows), fold)
        rows, classes = self.spec.pseudo.sure(test)
        return rows + matrix.n_train, classes

    def with_labelled(self, labelled: tuple[Ints, Ints], train: Ints, valid: Ints, fold: int) -> list[Side]:
        """Return a fold's sides, the second where it validates, with labelled test rows behind its train rows."""
        rows, classes = labelled
        extra, every = self.own_columns.frame(fold), np.concatenate([train, rows])
        sets = self._filled([every, valid] if len(valid) else [every], extra)
        weight, of_class = self.weight(fold, train), self.fitted(fold).class_weight
        own = np.ones(len(train)) if weight is None else weight
        of_test = self.spec.pseudo.weight * np.ones(len(rows))  # type: ignore[union-attr]
        if self.problem.target.weight is not None:
            of_test *= self.problem.target.weight[train].mean()
        if of_class is not None:
            of_test *= of_class[classes]
        sets[0].set_label(np.concatenate([self.label(fold, train), classes.astype(np.float64)]))
        sets[0].set_weight(np.concatenate([own, of_test]))
        for valid_set in sets[1:]:
            self._labelled(valid_set, valid, fold, self._valid_weight(valid, fold))
        return [Side(rows, made) for rows, made in zip((every, valid), sets, strict=False)]

    def result_of(
        self, booster: lgb.Booster, at: tuple[int, int], rounds: int, labelled: tuple[Ints, Ints] | None
    ) -> FoldResult:
        """Return a model of so many rounds with its predictions; `at` is its fold and seed."""
        (fold, seed), matrix = at, self.problem.matrix
        rounds = min(rounds, booster.current_iteration())  # there are fewer where nothing is left to be split
        valid = np.empty(0, np.int64) if fold == ALL_ROWS else self.problem.folds.valid_rows(fold)
        learned = self.fitted(fold).transform.learned
        notes: dict[str, Any] = {"transform": learned} if learned else {}
        if labelled is not None and self.spec.pseudo is not None:
            notes["labelled"] = self.spec.pseudo.note(labelled[1], self.column)
        return FoldResult(
            target=self.index,
            fold=fold,
            seed=seed,
            oof=self._predict(booster, rounds, valid, fold),
            test=self._predict(booster, rounds, range(matrix.n_train, matrix.n_rows), fold),
            model=self._as_text(booster, rounds),
            rounds=rounds,
            seconds=0.0,
            importance=self._importance(booster, rounds),
            notes=notes,
        )

    def predicted_by(self, text: str, fold: int) -> Floats:
        """Return the predictions of the test rows (n_test, width) by a model that was kept as text.

        Parameters
        ----------
        text : str
        fold : int
            Which it was trained for, `ALL_ROWS` for one of all rows: its columns and what it learned are those.
        """
        import lightgbm as lgb

        matrix = self.problem.matrix
        with lightgbm_errors(f"fold {fold}"):
            booster = lgb.Booster(model_str=text)
            self._check_names(booster.feature_name())
            rows = range(matrix.n_train, matrix.n_rows)
            # The text says how raw values become probabilities, of one's own objective, too.
            return self.back(self._raw(booster, booster.current_iteration(), rows, fold), fold)

    def _check_names(self, trained: list[str]) -> None:
        """Refuse a matrix whose columns are not those of the model, in their order: LightGBM compares only how many."""
        have = _safe_names(self.names)
        if trained != have:
            at = next((i for i, pair in enumerate(zip(trained, have, strict=False)) if pair[0] != pair[1]), None)
            at = min(len(trained), len(have)) if at is None else at
            was, now = (f"{n[at]!r}" if at < len(n) else "nothing" for n in (trained, have))
            raise DataError(
                f"the model was trained on {len(trained):,} columns, the matrix has {len(have):,}: column {at + 1} was "
                f"{was} and is {now}"
            )

    def _predict(self, booster: lgb.Booster, rounds: int, rows: range | Ints, fold: int) -> Floats:
        """Return the predictions of some rows, (n, width)."""
        predicted = self._raw(booster, rounds, rows, fold)
        return self.back(linked(predicted, self.column) if self.spec.own is not None else predicted, fold)

    def _raw(self, booster: lgb.Booster, rounds: int, rows: range | Ints, fold: int) -> Floats:
        """Return what LightGBM says of some rows, (n, width)."""
        extra = self.own_columns.frame(fold)
        threads = {"num_threads": self.parameters["num_threads"]}
        predicted = np.empty((len(rows), self.column.width))
        for where, frame in self._pieces(rows):
            beside = _beside(frame, extra[np.asarray(rows[where])] if extra.width else extra)
            made = np.asarray(booster.predict(beside, num_iteration=rounds, **threads))
            predicted[where] = made.reshape(-1, self.column.width)
        return predicted

    def _pieces(self, rows: range | Ints) -> Iterator[tuple[slice, pl.DataFrame]]:
        if self.problem.matrix.width:
            yield from self.problem.matrix.chunks(rows)
        else:
            yield from ((slice(at, at + CHUNK_ROWS), pl.DataFrame()) for at in range(0, len(rows), CHUNK_ROWS))

    def own_metric(self, sides: tuple[Side, ...], fold: int, seed: int) -> Callable[..., tuple[str, float, bool]]:
        """Return what LightGBM calls after each round: the competition's metric of its own target, not transformed."""
        metric = self.watched
        rows = {id(side.dataset): side.rows for side in sides}
        truths = {key: truth_of(self.problem.target, self.column, of, metric) for key, of in rows.items()}
        weights = {key: self._valid_weight(of, fold) for key, of in rows.items()}

        def evaluate(predictions: Floats, data: lgb.Dataset) -> tuple[str, float, bool]:
            shaped = predictions if self.column.width > 1 else predictions.reshape(-1, 1)
            shaped = linked(shaped, self.column) if self.spec.own is not None else shaped
            given = as_metric_input(self.back(shaped, fold), self.column, metric)
            try:
                value = metric(truths[id(data)], given, weights[id(data)])
            except DataError as exc:
                raise TrainingError(f"fold {fold}, seed {seed}: {exc.message}", hint=exc.hint) from exc
            return metric.name, value, metric.greater_is_better

        return evaluate

    def _importance(self, booster: lgb.Booster, rounds: int) -> dict[str, tuple[float, float]]:
        gain = booster.feature_importance("gain", iteration=rounds)
        splits = booster.feature_importance("split", iteration=rounds)
        return {n: (float(g), float(s)) for n, g, s in zip(self.names, gain, splits, strict=True)}

    def _as_text(self, booster: lgb.Booster, rounds: int) -> str:
        text = with_feature_names(booster.model_to_string(num_iteration=rounds), self.names)
        links = {"binary": "binary sigmoid:1", "multiclass": f"multiclass num_class:{self.column.width}"}
        if self.spec.own is None or self.column.task not in links:
            return text
        # So that whoever loads the model gets probabilities, as from one of LightGBM's own objectives.
        line = f"objective={links[self.column.task]}\n"
        return re.sub(r"(?m)^feature_names=", lambda m: line + m[0], text, count=1)


class LightGBMTraining:
    """The training of one fold's model, which can be continued as long as its datasets are held.

    Parameters
    ----------
    learner : LightGBMLearner
    fold, seed : int
    labelled : tuple of int arrays, optional
        The test rows that a first model was sure of, and their classes: of a fold's second model.
    """

    def __init__(
        self, learner: LightGBMLearner, fold: int, seed: int, labelled: tuple[Ints, Ints] | None = None
    ) -> None:
        self.learner, self.fold, self.seed, self.labelled = learner, fold, seed, labelled
        self.curves: dict[str, list[float]] = {"valid": []}
        self.seconds = 0.0
        self._booster: lgb.Booster | None = None
        self._feval: Callable[..., tuple[str, float, bool]] | None = None
        self._text = ""

    @property
    def held(self) -> bool:
        """Whether it goes on from the round it is at."""
        return self._booster is not None or not self.curves["valid"]

    def take_up(self, state: TrainingState) -> None:
        """Be where a training was that was kept."""
        self._text, self.curves, self.seconds = state.model, state.curves, state.seconds

    def state(self) -> TrainingState:
        """Return what is kept of it."""
        return TrainingState(self._as_text(), self.curves, self.seconds)

    def release(self) -> None:
        """Let go of the datasets, and keep the trees."""
        self._text = self._as_text()
        self._booster, self._feval = None, None

    def _as_text(self) -> str:
        return self._text if self._booster is None else self._booster.model_to_string(num_iteration=-1)

    def go_on(self, rounds: int, enough: Callable[[float], bool]) -> None:
        """Train until there are so many rounds, or until `enough`, called with each new value, says so."""
        learner, started = self.learner, time.perf_counter()
        own = learner.parameters["objective"]
        with lightgbm_errors(f"fold {self.fold}, seed {self.seed}"):
            booster = self._begun() if self._booster is None else self._booster
            while len(self.curves["valid"]) < rounds:
                booster.update(fobj=own if callable(own) else None)
                evaluated = [*(booster.eval_train(self._feval) if "train" in self.curves else [])]
                evaluated += booster.eval_valid(self._feval)
                learner.each_round()
                for name, values in self.curves.items():
                    values.append(float(next(r[2] for r in evaluated if r[0] == name)))
                value = self.curves["valid"][-1]
                learner.watch(len(self.curves["valid"]) - 1, value)
                if enough(value):
                    break
        self.seconds += time.perf_counter() - started

    def _begun(self) -> lgb.Booster:
        import lightgbm as lgb

        learner, fold = self.learner, self.fold
        train, valid = learner.datasets(fold)
        if self.labelled is not None and len(self.labelled[0]):
            train, valid = learner.with_labelled(self.labelled, train.rows, valid.rows, fold)
        sides = {"train": train, "valid": valid}
        if not learner.spec.train_curve or learner.spec.pseudo is not None:  # test rows have no truth to be scored by
            del sides["train"]
        self.curves = {name: [] for name in sides}
        parameters = learner.with_seed(self.seed) | {"num_iterations": learner.spec.rounds}
        if callable(parameters["objective"]):
            parameters["objective"] = "none"
        booster = lgb.Booster(parameters, train.dataset)
        booster.set_train_data_name("train")
        booster.add_valid(valid.dataset, "valid")
        if not learner.metric_name:
            self._feval = learner.own_metric(tuple(sides.values()), fold, self.seed)
        self._booster = booster
        return booster

    def _model(self) -> lgb.Booster:
        """Return the trees alone, the same whether the datasets are held: a text has gains with fewer digits."""
        import lightgbm as lgb

        return lgb.Booster(model_str=self._as_text())

    def second(self, rounds: int, state: TrainingState | None = None) -> LightGBMTraining:
        """Return the training of the fold's second model; itself where the first is sure of nothing, or not asked."""
        if self.labelled is not None or self.learner.spec.pseudo is None:
            return self
        started = time.perf_counter()
        with lightgbm_errors(f"fold {self.fold}, seed {self.seed}"):
            labelled = self.learner.sure_of(self._model(), rounds, self.fold)
        self.seconds += time.perf_counter() - started
        if labelled is None or not len(labelled[0]):
            self.labelled = labelled
            return self
        self.release()
        made = LightGBMTraining(self.learner, self.fold, self.seed, labelled)
        made.seconds = self.seconds
        if state is not None:
            made.take_up(state)
        return made

    def result(self, rounds: int) -> FoldResult:
        """Return the model of so many rounds, with its predictions."""
        started = time.perf_counter()
        with lightgbm_errors(f"fold {self.fold}, seed {self.seed}"):
            made = self.learner.result_of(self._model(), (self.fold, self.seed), rounds, self.labelled)
        seconds = self.seconds + time.perf_counter() - started
        return replace(made, curve=self.curves, seconds=seconds)


def _beside(frame: pl.DataFrame, extra: pl.DataFrame) -> pl.DataFrame:
    if not extra.width:
        return frame
    return frame.hstack(extra) if frame.width else extra


def with_feature_names(model: str, names: Sequence[str]) -> str:
    """Put the columns' own names into a model's text, in the form that LightGBM's text can hold.

    Training uses c0, c1, … because LightGBM refuses names with JSON's characters and changes spaces.
    """
    return re.sub(r"(?m)^feature_names=.*$", lambda _: "feature_names=" + " ".join(_safe_names(names)), model, count=1)


def _safe_names(names: Sequence[str]) -> list[str]:
    safe = [re.sub(r'[\s\[\]{}":,]', "_", name) for name in names]
    return [f"{name}_{i}" for i, name in enumerate(safe)] if len(set(safe)) < len(safe) else safe


class _Log:
    """What LightGBM says goes into the log: its C++ part says all of it, warnings too, as information."""

    def native(self, text: str) -> None:
        log.log(logging.WARNING if "[Warning]" in text else logging.DEBUG, "%s", text.strip())

    def warning(self, text: str) -> None:
        log.warning("%s", text)


@contextmanager
def lightgbm_errors(where: str, hint: str = "check [model] in the experiment's file") -> Iterator[None]:
    """Turn LightGBM's exceptions into ours, and its log into Python's, for the length of the block."""
    import lightgbm as lgb

    lgb.register_logger(_Log(), info_method_name="native", warning_method_name="warning")
    try:
        yield
    except lgb.basic.LightGBMError as exc:
        raise TrainingError(f"LightGBM refused ({where}): {exc}", hint=hint) from exc
