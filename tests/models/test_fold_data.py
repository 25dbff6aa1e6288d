"""The rows of each fold as a library takes them, and the way back from its predictions: without a library."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from workbench import metrics
from workbench.core.errors import TrainingError
from workbench.data.competition import ROW
from workbench.features import FeatureMatrix, FoldColumns, MatrixSource, Split, target_mean
from workbench.features.encoded import encode_columns
from workbench.models.fold_data import FoldData, FoldTarget, probabilities
from workbench.models.folds import Folds
from workbench.models.records import Problem
from workbench.models.stopping_metrics import native_metric, stopping_metric
from workbench.models.target import Target, TargetColumn

N_TRAIN, N_TEST = 12, 5
VALID = np.array([0, 1, 2] * 4, np.int16)


def problem(
    task: str = "regression",
    metric: str = "rmse",
    *,
    columns: Any = None,
    classes: tuple[Any, ...] | None = None,
    values: Any = None,
    encodings: tuple[str, ...] = ("te",),
    **weights: Any,
) -> Problem:
    """Return a problem of three folds, of "x", a text "t", and the means of the target by it."""
    n = N_TRAIN + N_TEST
    frame = pl.DataFrame(
        {"x": np.arange(n) / 4, "t": ["a", "b", None] * 5 + ["c", "a"]} if columns is None else columns
    )
    categories: dict[str, list[str]] = {}
    sources = ()
    if frame.width:
        lines = frame.with_row_index(ROW).lazy()
        encoded = tuple(encode_columns(lines, frame.columns, N_TRAIN, origin="f"))
        sources = (MatrixSource("f", lambda a, b: lines.slice(a, b - a), encoded),)
        categories = {c.name: list(c.levels) for c in encoded if c.levels is not None}
    made = []
    for name in encodings:
        feature = target_mean("t")
        feature.name = name
        made.append(FoldColumns(feature, np.arange(n, dtype=np.int32) % 3, name))
    matrix = FeatureMatrix(sources, n, N_TRAIN, categories, tuple(made))
    if values is None:
        values = np.arange(N_TRAIN) % len(classes) if classes else np.arange(1, N_TRAIN + 1) * 1.0
    target = Target((TargetColumn("y", task, np.asarray(values, np.float64), classes),), **weights)
    return Problem(matrix, target, Folds(VALID), Split(VALID), metrics.get(metric))


class InFives(FeatureMatrix):
    """A matrix that is read five rows at a time."""

    def chunks(self, rows: Any, size: int | None = None) -> Any:
        return super().chunks(rows, 5)


def data_of(found: Problem, transform: str = "none", **more: Any) -> FoldData:
    return FoldData(FoldTarget(found, 0, transform, **more))


class TestColumns:
    def test_their_names_and_no_name_twice(self) -> None:
        assert data_of(problem()).columns.names == ["x", "t", "te"]
        assert data_of(problem()).columns.categorical == ["t"]
        twice = data_of(problem(encodings=("x", "te", "te")))
        assert twice.columns.names == ["x", "t", "x_2", "te", "te_4"]
        assert len(set(twice.columns.names)) == 5

    @pytest.mark.parametrize("size", [1, 3, 4, 5, 12, 100])
    @pytest.mark.parametrize(
        "rows", [range(N_TRAIN), range(3, 11), np.array([0, 2, 3, 7, 11]), range(12, 17), range(0)]
    )
    @pytest.mark.parametrize("shape", ["both", "of the fold", "shared", "read in fives"])
    def test_pieces_are_of_one_length_and_have_the_folds_own(self, size: int, rows: Any, shape: str) -> None:
        columns = {"x": np.arange(N_TRAIN + N_TEST) / 4} if shape != "of the fold" else {}
        given = problem(columns=columns, encodings=("te",) if shape != "shared" else ())
        if shape == "read in fives":
            given = replace(given, matrix=InFives(**vars(given.matrix)))
        found = data_of(given)
        own = found.columns.of_fold(1)
        pieces = list(found.columns.chunks(1, rows, size))
        lengths = [len(frame) for _, frame in pieces]
        assert lengths == [size] * (len(rows) // size) + [len(rows) % size] * bool(len(rows) % size)
        starts = np.cumsum([0, *lengths])
        assert [(w.start, w.stop) for w, _ in pieces] == list(itertools.pairwise(starts))
        whole = found.columns.frame(1, rows)
        assert whole.columns == found.columns.names
        assert whole.height == len(rows)
        if pieces:
            assert pl.concat([frame for _, frame in pieces]).equals(whole)
        if shape != "of the fold":
            assert whole["x"].to_list() == (np.asarray(rows) / 4).tolist()
        if shape != "shared":
            assert whole["te"].equals(own["te"][np.asarray(rows, np.int64)])

    def test_a_fold_has_its_own_values(self) -> None:
        found = data_of(problem())
        assert not found.columns.frame(0, range(N_TRAIN))["te"].equals(found.columns.frame(1, range(N_TRAIN))["te"])

    def test_in_32_bits_they_stay_apart(self) -> None:
        n = N_TRAIN + N_TEST
        # As many steps as rows, so close that 32 bits hold one value for several.
        columns = {
            "long": 1_700_000_000_000 + np.arange(n),
            "double": 1.7e9 + np.arange(n) / 64,
            "unsigned": np.arange(n).astype(np.uint64) + 2**63,
            "plain": np.arange(n) * 1.0,
        }
        found = data_of(problem(columns=columns, encodings=()))
        frame = found.columns.frame(0, range(n))
        assert set(found.problem.matrix.centers) >= {"long", "double"}
        single = found.columns.as_float32(frame)
        assert set(single.dtypes) == {pl.Float32}
        for name, step in (("long", 1.0), ("double", 1 / 64), ("plain", 1.0)):
            assert np.diff(single[name].to_numpy()).tolist() == [step] * (n - 1), name
        assert np.abs(single["long"].to_numpy()).max() <= n
        assert single["plain"].to_list() == frame["plain"].to_list()
        assert found.columns.as_float32(frame.select("plain", "long")).columns == ["plain", "long"]


class TestTarget:
    def test_the_transform_is_learned_from_the_rows_of_the_fold(self) -> None:
        found = data_of(problem(), "yeojohnson")
        train = np.flatnonzero(VALID != 1)
        fitted = found.target.transform_of(1)
        assert fitted is found.target.transform_of(1)
        assert (fitted.parameters["lowest"], fitted.parameters["highest"]) == (train.min() + 1, train.max() + 1)
        assert found.target.transform_of(0).parameters["lowest"] == 2
        assert found.target.notes(1) == {"transform": fitted.parameters}
        rows = np.array([3, 5])
        assert found.target.labels(1, rows) == pytest.approx(fitted.forward(np.array([4.0, 6.0])))
        plain = data_of(problem())
        assert plain.target.notes(1) == {}
        label = plain.target.labels(1, rows)
        label[:] = -1  # a copy
        assert plain.target.column.values[rows].tolist() == [4, 6]

    def test_weights_of_training_and_of_the_metric(self) -> None:
        own, scoring = np.arange(1.0, 13.0), np.arange(12.0, 0.0, -1)
        rows = np.array([0, 3])
        found = data_of(problem(weight=own, metric_weight=scoring))
        assert found.target.training_weights(0, rows).tolist() == [1, 4]
        assert found.target.validation_weights(0, rows).tolist() == [12, 9]
        plain = data_of(problem())
        assert plain.target.training_weights(0, rows) is None
        assert plain.target.validation_weights(0, rows) is None
        assert data_of(problem(), power=1).target.training_weights(0, rows) == pytest.approx([1.6, 0.4])

    def test_the_split_of_a_fold(self) -> None:
        found = data_of(problem())
        train, valid = found.split(1)
        assert valid.tolist() == [1, 4, 7, 10]
        assert sorted([*train, *valid]) == list(range(N_TRAIN))
        assert found.test_rows == range(12, 17)


class TestPredictions:
    def test_they_are_put_together_and_taken_back(self) -> None:
        found = data_of(problem(), "log1p")
        rows = np.array([1, 4, 11])
        made = found.predictions(0, rows, lambda frame: np.log1p(frame["x"].to_numpy()))
        assert made == pytest.approx(rows[:, None] / 4)
        assert found.predictions(0, rows, lambda frame: np.log1p(frame["x"].to_numpy())[:, None]).shape == (3, 1)

    @pytest.mark.parametrize(
        ("classes", "shape", "message"),
        [
            (None, (3, 2), r"fold 0: expected predictions of the shape \(4, 1\) for target 'y', got \(3, 2\)"),
            (None, (3,), r"got \(3,\)"),
            (("a", "b", "c"), (4,), r"shape \(4, 3\) for target 'y', got \(4,\)"),
            (("a", "b", "c"), (4, 2), r"got \(4, 2\)"),
        ],
    )
    def test_another_shape_is_refused(self, classes: Any, shape: tuple[int, ...], message: str) -> None:
        task = "multiclass" if classes else "regression"
        found = data_of(problem(task, "mlogloss" if classes else "rmse", classes=classes))
        with pytest.raises(TrainingError, match=message) as caught:
            found.predictions(0, range(4), lambda _: np.zeros(shape))
        assert caught.value.hint == ("a probability for each class" if classes else "")

    def test_a_column_of_one_class_may_be_a_vector(self) -> None:
        found = data_of(problem("binary", "auc", classes=(0, 1)))
        for shape in ((4,), (4, 1)):
            assert found.predictions(0, range(4), lambda _, s=shape: np.full(s, 0.25)).tolist() == [[0.25]] * 4

    @pytest.mark.parametrize("transform", ["none", "log1p", "yeojohnson"])
    def test_what_is_not_finite_is_refused(self, transform: str) -> None:
        found = data_of(problem(), transform)
        for odd in ([np.nan, 1.0], [1.0, np.inf], [-np.inf, 1.0]):
            with pytest.raises(TrainingError, match="here: 1 of 2 predictions of 'y' are infinite or NaN"):
                found.checked(np.array(odd)[:, None], 0, "here")
        if transform == "log1p":  # beyond what a number holds
            with np.errstate(over="ignore"), pytest.raises(TrainingError, match="1 of 1 predictions"):
                found.checked(np.array([[1e9]]), 0, "here")
        assert found.checked(np.array([[1.0]]), 0, "here").shape == (1, 1)

    def test_numbers_may_be_any_and_probabilities_not(self) -> None:
        assert data_of(problem()).checked(np.array([[7.0]]), 0, "here") == 7
        with pytest.raises(TrainingError, match="here: the predictions of 'y' must be probabilities, but 7 is outside"):
            data_of(problem("binary", "auc", classes=(0, 1))).checked(np.array([[7.0]]), 0, "here")

    def test_for_a_balanced_metric_they_are_of_classes_of_one_size(self) -> None:
        values = np.array([1.0] * 3 + [0.0] * 9)
        share = values[VALID != 0].mean()
        given = np.array([[share]])
        for name, own, expected in (
            ("balanced_logloss", False, 0.5), ("balanced_logloss", True, share), ("logloss", False, share),
        ):  # fmt: skip
            found = data_of(problem("binary", name, classes=(0, 1), values=values), library_weights_classes=own)
            assert found.checked(given, 0, "here") == pytest.approx(expected)
        weight = np.where(values == 1, 3.0, 1.0)
        found = data_of(problem("binary", "balanced_logloss", classes=(0, 1), values=values, weight=weight))
        heavy = np.average(values[VALID != 0], weights=weight[VALID != 0])
        assert found.checked(np.array([[heavy]]), 0, "here") == pytest.approx(0.5)

    def test_what_stops_is_the_metric_on_the_targets_scale(self) -> None:
        found = data_of(problem(), "log1p")
        rows = np.array([0, 3])
        assert found.target.stopping_score(0, rows, "")(np.log1p([[2.0], [4.0]])) == pytest.approx(np.sqrt(1 / 2))
        weighted = data_of(problem(weight=np.r_[3.0, np.ones(11)]), "log1p")
        assert weighted.target.stopping_score(0, rows, "")(np.log1p([[2.0], [4.0]])) == pytest.approx(np.sqrt(3 / 4))

    def test_a_metric_that_gives_none_is_of_the_fold(self) -> None:
        found = data_of(problem("binary", "auc", classes=(0, 1)))
        with pytest.raises(TrainingError, match="fold 2: auc needs both classes"):
            found.target.stopping_score(2, np.array([0, 2]), "fold 2")(np.array([[0.5], [0.5]]))


class TestProbabilities:
    @pytest.mark.parametrize(
        ("values", "what"),
        [
            ([[0.5], [1.0011]], "1.0011 is outside 0 to 1"),
            ([[-0.0011]], "-0.0011 is outside 0 to 1"),
            ([[0.5, 0.5], [0.5, 0.502]], "those of a row sum to 1.002"),
            ([[0.5, 0.498]], "those of a row sum to 0.998"),
            ([[1.5, -0.5]], "1.5 is outside 0 to 1"),
        ],
    )
    def test_what_is_none(self, values: list[list[float]], what: str) -> None:
        with pytest.raises(TrainingError, match=f"fold 0: the predictions of 'y' must be probabilities, but {what}"):
            probabilities(np.array(values), "y", "fold 0")

    def test_what_is_off_by_rounding_is_put_right(self) -> None:
        assert probabilities(np.array([[1.0009], [-0.0009], [0.3]]), "y", "").tolist() == [[1.0], [0.0], [0.3]]
        several = probabilities(np.array([[0.5, 0.5009], [1.0005, -0.0005]]), "y", "")
        assert several == pytest.approx(np.array([[0.5 / 1.0009, 0.5009 / 1.0009], [1, 0]]))
        assert several.sum(axis=1) == pytest.approx([1, 1], abs=1e-15)


@pytest.mark.parametrize(
    ("metric", "task", "expected"),
    [
        *(("rmse", "regression", "rmse"), ("qwk", "regression", "rmse"), ("mae", "regression", "mae")),
        *(("auc", "binary", "auc"), ("accuracy", "binary", "logloss"), ("mlogloss", "binary", "logloss")),
        *(("logloss", "binary", "logloss"), ("map@3", "binary", "logloss"), ("f1", "multiclass", "mlogloss")),
        *(("logloss", "multiclass", "mlogloss"), ("auc", "multiclass", "auc"), ("map@3", "multiclass", "mlogloss")),
        ("balanced_logloss", "multiclass", "balanced_logloss"),
    ],
)
def test_the_metric_to_stop_by(metric: str, task: str, expected: str) -> None:
    assert stopping_metric(metrics.get(metric), task).name == expected


@pytest.mark.parametrize(
    ("metric", "task", "transform", "expected"),
    [
        *(("rmse", "regression", "none", "RMSE"), ("rmse", "regression", "log1p", None)),
        *(("rmsle", "regression", "log1p", "RMSE"), ("rmsle", "regression", "none", None)),
        *(("rmsle", "regression", "quantile", None), ("mae", "regression", "none", None)),
        *(
            ("accuracy", "binary", "none", "LOG"),
            ("mlogloss", "binary", "none", "LOG"),
            ("auc", "binary", "none", "AUC"),
        ),
        *(("logloss", "multiclass", "none", "MLOG"), ("f1", "multiclass", "none", "MLOG")),
        *(("auc", "multiclass", "none", None), ("rmse", "ranking", "none", None)),
    ],
)
def test_a_librarys_own_metric_is_watched_where_it_is_the_same_number(
    metric: str, task: str, transform: str, expected: str | None
) -> None:
    names = {"rmse": "RMSE", "auc": "AUC", "logloss": "LOG", "mlogloss": "MLOG"}
    assert native_metric(names, metrics.get(metric), task, transform) == expected
