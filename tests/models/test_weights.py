"""What rows weigh: expressions of columns, in training and in the metric, from the file to the platform's score."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from tests.small import Small, make_frame
from workbench import metrics
from workbench.api import library
from workbench.api.features import SelectOptions
from workbench.core.errors import ConfigError, DataError, NotFoundError, WorkbenchError
from workbench.core.row_expressions import named_columns, read_expression
from workbench.data.workspace import create_workspace
from workbench.experiments.ready import ready
from workbench.models.folds import Folds
from workbench.models.row_weights import check_fold_weights
from workbench.models.target import Target, TargetColumn, read_target
from workbench.models.weights import (
    check_class_weight,
    class_weights,
    priors_for,
    uses_hard_labels,
    without_weights,
)
from workbench.rehearsal import RehearsalSpec, create
from workbench.rehearsal.grade import grade, read_solution
from workbench.rehearsal.host import read_host

TABLE = (
    pl.DataFrame(
        {
            "IsHoliday": [True, False, None, True],
            "n": [1, 2, 3, 4],
            "x": [0.5, float("nan"), -2.0, 9.0],
            "Type": ["A", "B", None, "C"],
            "day": [date(2024, 1, 1), date(2024, 2, 1), None, date(2025, 1, 1)],
            "at": ["2024-01-01T12:00:00", "2024-06-01T00:00:00", "2025-01-01T00:00:00", None],
            "Is Holiday": [0, 1, 0, 1],
            "a.b": [1, 2, 3, 4],
            "class": [4, 3, 2, 1],
            "lists": [[1], [2], [3], [4]],
        }
    )
    .with_columns(pl.col("at").str.to_datetime())
    .with_columns(utc=pl.col("at").dt.replace_time_zone("UTC"), code=pl.col("Type").cast(pl.Categorical))
)
TYPES = {name: str(dtype) for name, dtype in TABLE.schema.items()}


def read(text: str) -> Any:
    return read_expression(text, TYPES, where="weight")


class TestExpressions:
    @pytest.mark.parametrize(
        ("text", "values"),
        [
            ("IsHoliday * 4 + 1", [5, 1, None, 5]),
            (" 1+4*IsHoliday ", [5, 1, None, 5]),
            ("5 if IsHoliday else 1", [5, 1, None, 5]),
            ("not IsHoliday", [0, 1, None, 0]),
            ("IsHoliday", [1, 0, None, 1]),
            ("Is Holiday", [0, 1, 0, 1]),
            ("`Is Holiday` * 4 + 1", [1, 5, 1, 5]),
            ("5 if `Is Holiday` else 1", [1, 5, 1, 5]),
            ("a.b / 2", [0.5, 1, 1.5, 2]),
            ("`class` ** 2", [16, 9, 4, 1]),
            ("1 / n", [1, 1 / 2, 1 / 3, 1 / 4]),
            ("n // 2 + n % 2", [1, 1, 2, 2]),
            ("-n + 5", [4, 3, 2, 1]),
            ("sqrt(n) + log(n) + abs(-n)", [math.sqrt(n) + math.log(n) + n for n in (1, 2, 3, 4)]),
            ("min(n, 3) + max(n, 2)", [3, 4, 6, 7]),
            ("max(x, 0)", [0.5, None, 0, 9]),
            ("coalesce(x, 1)", [0.5, 1, -2, 9]),
            ("x > 0", [1, None, 0, 1]),
            ("1 < n < 4", [0, 1, 1, 0]),
            ("n == 1 or n == 4", [1, 0, 0, 1]),
            ("(n > 1) & (n < 4)", [0, 1, 1, 0]),
            ("Type == 'A'", [1, 0, None, 0]),
            ('(Type in ("A", "C")) * 2', [2, 0, None, 2]),
            ("n not in [1, 2]", [0, 0, 1, 1]),
            ("code != 'A'", [0, 1, None, 1]),
            ("day >= '2024-02-01'", [0, 1, None, 1]),
            ("3 if at > '2024-01-01 12:00' else 1", [1, 3, 3, None]),
            ("utc >= '2024-01-01T13:00+01:00'", [1, 1, 1, None]),
        ],
    )
    def test_the_values(self, text: str, values: list[float | None]) -> None:
        assert TABLE.select(read(text).value).to_series().to_list() == pytest.approx(values, nan_ok=True)
        assert TABLE.select(read(text).value).to_series().dtype == pl.Float64

    def test_the_columns_and_what_is_the_same(self) -> None:
        assert read("IsHoliday").is_column
        assert read("IsHoliday * 4 + n").columns == ("IsHoliday", "n")
        assert read("IsHoliday*4+1").canonical == read(" (IsHoliday * 4) + 1").canonical == "IsHoliday * 4 + 1"
        assert read("IsHoliday*4+1").canonical != read("1 + IsHoliday*4").canonical
        assert set(named_columns("5 if `Is Holiday` else max(a.b, n)", TYPES, where="w")) == {"n", "Is Holiday", "a.b"}

    @pytest.mark.parametrize(
        ("text", "message", "hint"),
        [
            ("isholiday * 4", "'isholiday' is not a column", "did you mean 'IsHoliday'"),
            ("np.sqrt(n)", "'np.sqrt' is not a function", r"write sqrt\(…\)"),
            ("sqr(n)", "'sqr' is not a function", "did you mean 'sqrt'"),
            ("max(n)", "takes at least two", ""),
            ("IsHoliday ? 5 : 1", "can't be read", "5 if IsHoliday else 1"),
            ("CASE WHEN IsHoliday THEN 5 ELSE 1 END", "can't be read", "5 if IsHoliday else 1"),
            ("n = 1", "can't be read", '"=="'),
            ("IsHoliday && n", "can't be read", 'write "and"'),
            ("n ^ 2", "can't be computed", r"\*\*"),
            ("Is Holiday * 4", "can't be read", "backticks: `Is Holiday`"),
            ("class + 1", "can't be read", "backticks: `class`"),
            ("log(n", "can't be read: .* never closed", "for example"),
            ("", "is empty", "IsHoliday"),
            ("2 * 3", "names no column", "leave it out"),
            ("Type", r"column 'Type' is a text \(String\), not a number", "compare it"),
            ("Type * 2", "column 'Type' is a text", "compare it"),
            ("day", r"column 'day' is a time \(Date\)", "compare it"),
            ("lists", r"column 'lists' is a List\(Int64\)", "numbers"),
            ("n == 'A'", "a number and a text can't be compared", ""),
            ("day > 'soon'", "'soon' is not a date", "2024-01-31"),
            ("n in 3", "is not a list", "Store in"),
            ("x == None", "'None' is not a number", "coalesce"),
            ("1e999 * n", "is not a number", ""),
        ],
    )
    def test_what_is_refused(self, text: str, message: str, hint: str) -> None:
        with pytest.raises(ConfigError, match=f"^weight = .*{message}") as caught:
            read(text)
        assert re.search(hint, caught.value.hint)

    @pytest.mark.parametrize(
        "text",
        [
            "__import__('os').system('touch broken')",
            "n.__class__.__mro__",
            "(lambda: n)()",
            "[n for n in (1, 2)]",
            "(n := 1)",
            "f'{n}'",
            "n if True else open('x')",
            "pl.read_csv('x')",
            "eval('n')",
            "n[0]",
            "*n",
            "yield n",
            "await n",
            "n; import os",
            "n\nimport os",
            "\x00n",
            "(" * 300 + "n" + ")" * 300,
            "-" * 900 + "n",
            "n+" * 499 + "n",
            "n" * 1001,
        ],
    )
    def test_nothing_of_it_is_executed(self, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ConfigError) as caught:
                read(text)
        assert len(str(caught.value)) < 700
        assert list(tmp_path.iterdir()) == []

    @given(st.text(max_size=30))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            expression = read(text)
        except ConfigError:
            return
        assert TABLE.select(expression.value).to_series().dtype == pl.Float64

    @given(
        st.lists(
            st.sampled_from(["n", "x", "IsHoliday", "(", ")", "+", "*", "2", "<", "if", "else", "and", "'A'", "Type"])
        )
    )
    def test_any_words_are_read_or_refused(self, words: list[str]) -> None:
        try:
            expression = read(" ".join(words))
        except ConfigError:
            return
        assert TABLE.select(expression.value).to_series().dtype == pl.Float64


# -------------------------------------------------------------------------------------------------- in a competition

ROUNDS = "\n[model]\nnum_iterations = 15\nearly_stopping_round = 0\n"
EXPERIMENT = f'features = ["rows.x", "rows.z"]\n{ROUNDS}'


@pytest.fixture
def sales(tmp_path: Path) -> Callable[..., Small]:
    """Make a competition like Walmart's: a date, a Boolean that is in test, too, and amounts."""

    def make(weight: str | None = None, metric: str = "wmae", n: int = 300, **options: Any) -> Small:
        workspace = create_workspace(tmp_path / "workspace")
        rng = np.random.default_rng(5)
        frame = make_frame(n, task="regression").with_columns(
            IsHoliday=pl.Series(rng.random(n) < 0.2).cast(pl.String).str.to_uppercase(),
            importance=pl.Series(rng.integers(0, 4, n)),
            maybe=pl.when(pl.int_range(n) % 40 > 0).then(2),
        )
        frame.write_csv(tmp_path / "all.csv")
        create(workspace.root, "sales", RehearsalSpec(tmp_path / "all.csv", ("y",), metric, holdout=0.2, weight=weight))
        library.fetch("sales", where=workspace)
        made = Small(workspace, "sales")
        made.experiment(2, EXPERIMENT)
        return made

    return make


def holiday_weights(made: Small, table: str = "train") -> np.ndarray[Any, Any]:
    return np.where(made.open.tables[table].collect()["IsHoliday"].to_numpy(), 5.0, 1.0)


def test_the_platforms_weighted_metric_end_to_end(sales: Callable[..., Small]) -> None:
    made = sales("IsHoliday * 4 + 1")
    definition = made.open.access.competition.definition
    assert (definition.metric, definition.weight, definition.metric_weight) == ("wmae", *("IsHoliday * 4 + 1",) * 2)
    # What it reads stays where it is: it is known in test.
    assert "IsHoliday" in made.open.tables["test"].collect_schema()
    run = made.open.run(2)
    truth, weight = made.open.tables["train"].collect()["y"].to_numpy(), holiday_weights(made)
    oof = run.oof["pred_y"].to_numpy()
    folds = made.open.folds
    for fold, score in enumerate(run.record.fold_scores):
        rows = folds.valid_rows(fold)
        error = np.abs(truth[rows] - oof[rows])
        assert score == pytest.approx(
            float((5 * error[weight[rows] == 5].sum() + error[weight[rows] == 1].sum()) / weight[rows].sum())
        )
    solution = pl.read_parquet(made.folder / "rehearsal" / "solution.parquet").cast({"id": pl.Int64, "y": pl.Float64})
    assert sorted(solution["weight"].unique()) == [1.0, 5.0]
    sent = pl.read_csv(run.folder / "submission.csv")
    both = solution.join(sent, on="id", suffix="_sent")
    folder = made.folder / "rehearsal"
    scores = grade(
        run.folder / "submission.csv", read_solution(folder, read_host(folder)), read_host(folder), metrics.get("wmae")
    )
    for usage in ("public", "private"):
        part = both.filter(usage=usage)
        by_hand = sk.mean_absolute_error(part["y"], part["y_sent"], sample_weight=part["weight"])
        assert getattr(scores, usage) == pytest.approx(by_hand)


def test_in_the_metric_alone_and_in_training_alone(sales: Callable[..., Small]) -> None:
    made = sales(metric="mae")
    truth, weight = made.open.tables["train"].collect()["y"].to_numpy(), holiday_weights(made)
    path = made.folder / "competition.toml"
    text, keys, oofs = path.read_text(), {}, {}
    by_weight: dict[str, tuple[str, Any]] = {
        "none": ("", None),
        "both": ('weight = "IsHoliday * 4 + 1"', weight),
        "metric": ('weight = { metric = "IsHoliday * 4 + 1" }', weight),
        "train": ('weight = { train = "IsHoliday * 4 + 1" }', None),
        "two": ('weight = { train = "importance + 1", metric = "5 if IsHoliday else 1" }', weight),
    }
    for name, (line, of_metric) in by_weight.items():
        path.write_text(text.replace('metric = "mae"', f'metric = "mae"\n{line}'))
        run = made.open.run(2)
        rows = made.open.folds.valid_rows(0)
        oofs[name] = run.oof["pred_y"].to_numpy()
        expected = sk.mean_absolute_error(
            truth[rows], oofs[name][rows], sample_weight=None if of_metric is None else of_metric[rows]
        )
        assert run.record.fold_scores[0] == pytest.approx(expected)
        keys[name] = ready(made.workspace, made.open.access.competition, 2).key
    assert len(set(keys.values())) == 5
    assert np.array_equal(oofs["none"], oofs["metric"])
    assert np.array_equal(oofs["both"], oofs["train"])
    assert not np.array_equal(oofs["none"], oofs["both"])
    assert not np.array_equal(oofs["two"], oofs["both"])
    # Spaces and brackets are no other weights, nor is the same twice.
    for line in ('weight = "(IsHoliday*4)+1"', 'weight = { metric = "IsHoliday*4 + 1", train = "IsHoliday * 4 + 1" }'):
        path.write_text(text.replace('metric = "mae"', f'metric = "mae"\n{line}'))
        assert ready(made.workspace, made.open.access.competition, 2).key == keys["both"]


def test_a_column_by_itself_is_in_the_keys_as_ever(sales: Callable[..., Small]) -> None:
    made = sales("importance")
    assert made.open.access.competition.weights.key == "importance"
    assert "importance" not in made.open.tables["test"].collect_schema()
    assert made.open.run(2).score > 0


@pytest.mark.parametrize(
    ("lines", "error", "said"),
    [
        ('weight = "importance - 2"', DataError, r"is below 0 in \d+ of 240 rows, the first is row \d+ \(importance = [01]\)"),
        ('weight = "1 / importance"', DataError, r"is infinite in \d+ of 240 rows, the first is row \d+ \(importance = 0\)"),
        ('weight = "log(importance - 2)"', DataError, r"is not a number in \d+ of 240 rows"),
        ('weight = "importance * 0"', DataError, "is 0 in all 240 rows"),
        ('weight = "town"', ConfigError, r"weight = 'town': column 'town' is a text \(String\), not a number"),
        ('weight = "day"', ConfigError, "column 'day' is a time"),
        ('weight = "importanc"', NotFoundError, "'importanc' is not a column\ndid you mean 'importance'"),
        ('weight = { metric = "IsHolliday + 1" }', NotFoundError, "weight.metric = 'IsHolliday .*did you mean 'IsHoliday'"),
        ('weight = { metrics = "IsHoliday" }', ConfigError, "weight: .*'metrics' is neither train nor metric"),
        ("weight = 5", ConfigError, "weight: .*expected a string"),
        ("weight = {}", ConfigError, "weight: .*expected a string"),
        ('metric = "wmae"\nweight = { train = "importance" }', ConfigError, "'wmae' needs weights\nadd weight"),
    ],
)  # fmt: skip
def test_weights_that_can_not_be(
    sales: Callable[..., Small], lines: str, error: type[WorkbenchError], said: str
) -> None:
    made = sales(metric="mae")
    made.definition('metric = "mae"', lines if lines.startswith("metric") else f'metric = "mae"\n{lines}')
    with pytest.raises(error, match=re.compile(said, re.DOTALL)):
        made.open.run(2)


def test_missing_values_are_named_by_row(sales: Callable[..., Small]) -> None:
    made = sales(metric="mae")
    made.definition('metric = "mae"', 'metric = "mae"\nweight = "maybe + 1"')
    missing = made.open.tables["train"].collect()["maybe"].is_null()
    said = rf"not a number in {missing.sum()} of 240 rows, the first is row {missing.arg_max()} \(maybe = None\)\n.*coalesce"
    with pytest.raises(DataError, match=said):
        made.open.run(2)
    made.definition("maybe + 1", "coalesce(maybe, 0) + 1")
    assert made.open.run(2).score > 0


def test_a_fold_whose_rows_weigh_nothing() -> None:
    column = TargetColumn("y", "regression", np.arange(6.0))
    folds = Folds(np.array([0, 0, 1, 1, 2, 2], np.int16), np.array([[i // 2 != k for i in range(6)] for k in range(3)]))
    ones, none_in_1 = np.ones(6), np.array([1.0, 1, 0, 0, 1, 1])
    check_fold_weights(Target((column,), ones), folds)
    check_fold_weights(Target((column,), none_in_1, None, None), folds)  # in training alone it is nothing
    for target in (Target((column,), none_in_1), Target((column,), None, None, none_in_1)):
        with pytest.raises(DataError, match="fold 1: all 2 rows that it validates have a weight of 0"):
            check_fold_weights(target, folds)
    only_0 = np.array([1.0, 1, 0, 0, 0, 0])
    with pytest.raises(DataError, match="fold 0: all 4 rows that it trains on have a weight of 0"):
        check_fold_weights(Target((column,), only_0, None, None), folds)


class TestClasses:
    """Of five rows three are of one class, two of another, none of the last, which occurs elsewhere."""

    ROWS = np.array([0, 1, 2, 4, 5])
    LETTERS = TargetColumn("y", "multiclass", np.array([0.0, 0, 0, 2, 1, 1]), ("a", "b", "c"))

    def test_balanced_is_that_of_scikit_learn_and_a_class_without_rows_is_no_error(self) -> None:
        expected = compute_class_weight("balanced", classes=np.arange(3), y=self.LETTERS.values)
        assert class_weights("balanced", self.LETTERS, np.arange(6)) == pytest.approx(expected)
        assert class_weights("balanced", self.LETTERS, self.ROWS) == pytest.approx([5 / 9, 5 / 6, 5 / 3])

    def test_classes_that_are_not_named_weigh_1(self) -> None:
        assert class_weights({"b": 3.0}, self.LETTERS, self.ROWS) == pytest.approx([1, 3, 1])
        yes = TargetColumn("y", "binary", np.array([0.0, 1]), (False, True))
        assert class_weights({"true": 2.5}, yes, np.arange(2)) == pytest.approx([1, 2.5])

    @pytest.mark.parametrize(("word", "classes"), [(None, ("a", "b", "c")), ("balanced", None)])
    def test_without_a_word_or_without_classes_there_are_none(self, word: str | None, classes: Any) -> None:
        assert class_weights(word, replace(self.LETTERS, classes=classes), self.ROWS) is None

    def test_shares_are_those_of_the_weights_and_never_0(self) -> None:
        metric = metrics.get("balanced_logloss")
        assert priors_for(metric, self.LETTERS, self.ROWS) == pytest.approx([3 / 5, 2 / 5, 1 / 5])
        weight = np.array([0.1, 0.1, 0.2, 9, 0.3, 0.3])
        assert priors_for(metric, self.LETTERS, self.ROWS, weight) == pytest.approx([0.4, 0.6, 1])
        assert priors_for(metrics.get("mlogloss"), self.LETTERS, self.ROWS) is None
        assert priors_for(metric, replace(self.LETTERS, classes=None), self.ROWS) is None


class TestWordsForClasses:
    """What an experiment says of the classes' weights."""

    LETTERS = TargetColumn("y", "multiclass", np.array([0.0, 1, 2]), ("a", "b", "c"))
    YES = TargetColumn("is_it", "binary", np.array([0.0, 1, 1]), (False, True))
    NUMBER = TargetColumn("z", "regression", np.array([0.5, 1, 2]))

    @pytest.mark.parametrize(
        ("given_weight", "expected"),
        [
            (None, None),
            ("balanced", "balanced"),
            ({"a": 2}, {"a": 2.0}),
            ({"c": 0.5, "true": 1e9}, {"c": 0.5, "true": 1e9}),
        ],
    )
    def test_what_is_taken(self, given_weight: Any, expected: Any) -> None:
        found = check_class_weight(given_weight, Target((self.LETTERS, self.YES)), where="002.toml")
        assert found == expected
        assert not isinstance(found, dict) or all(type(v) is float for v in found.values())

    @pytest.mark.parametrize(
        ("given_weight", "message", "hint"),
        [
            ({}, "002.toml: class_weight = {}: expected \"balanced\" or a weight by class", "class_weight = { c = 5 }"),
            ("equal", "class_weight = 'equal': expected", "class_weight = { c = 5 }"),
            (["a"], r"class_weight = \['a'\]: expected", "class_weight = { c = 5 }"),
            ({"a": 1, "d": 1}, "002.toml: class_weight: 'd' is not a class of 'y'", "a"),
            ({"True": 1}, "'True' is not a class of 'y'", "did you mean 'true'"),
            *(({"a": v}, "002.toml: class_weight: a = .*; expected a number above 0", "") for v in
              (0, -1, math.inf, math.nan, True, "2", None)),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, given_weight: Any, message: str, hint: str) -> None:
        with pytest.raises(ConfigError, match=message) as caught:
            check_class_weight(given_weight, Target((self.LETTERS, self.YES)), where="002.toml")
        assert hint in caught.value.hint

    @pytest.mark.parametrize("given_weight", ["balanced", {"a": 2}, {}])
    def test_every_target_has_to_have_classes(self, given_weight: Any) -> None:
        for columns, task in (((self.NUMBER,), "regression"), ((self.LETTERS, self.NUMBER), "multiclass")):
            with pytest.raises(ConfigError, match=f"x: class_weight is for classes; the task is '{task}'"):
                check_class_weight(given_weight, Target(columns), where="x")
            assert check_class_weight(None, Target(columns), where="x") is None

    def test_decisions_keep_the_effect(self) -> None:
        kept = {m for m in ("f1", "qwk", "map@3", "auc", "logloss", "rmse", "gini") if uses_hard_labels(metrics.get(m))}
        assert kept == {"f1", "qwk", "map@3"}

    def test_one_column_is_the_second_of_two_classes(self) -> None:
        fitted, weights = np.array([0.1, 0.5, 0.9]), np.array([2.0, 3.0])
        both = without_weights(np.column_stack([1 - fitted, fitted]), weights)
        assert both.sum(axis=1) == pytest.approx(np.ones(3))
        assert without_weights(fitted[:, None], weights)[:, 0] == pytest.approx(both[:, 1])
        plain = both[:, 1]
        assert weights[1] * plain / (weights[1] * plain + weights[0] * (1 - plain)) == pytest.approx(fitted)


def test_a_fold_that_validates_nothing_has_no_weights_that_are_wrong() -> None:
    target = Target((TargetColumn("y", "regression", np.arange(4.0)),), np.array([1.0, 0, 1, 1]))
    check_fold_weights(target, Folds(np.array([0, 0, 2, 2], np.int16)))


def test_boolean_and_zero_weights(sales: Callable[..., Small]) -> None:
    """A row of weight 0 does not count: as if it were not there."""
    made = sales(metric="mae")
    made.definition('metric = "mae"', 'metric = "mae"\nweight = "IsHoliday"')
    target = read_target(made.open.access.competition)
    assert target.weight is not None
    assert set(target.weight) == {0.0, 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = made.open.run(2)
    rows = made.open.folds.valid_rows(1)
    rows = rows[target.weight[rows] > 0]
    truth = target.columns[0].values
    assert run.record.fold_scores[1] == pytest.approx(
        sk.mean_absolute_error(truth[rows], run.oof["pred_y"].to_numpy()[rows])
    )


# ------------------------------------------------------------------------------------------------------ in the metric


@pytest.mark.parametrize(
    ("name", "truth", "predicted", "weight", "said"),
    [
        ("rmse", [1.0, 2], [1.0, 3], [0, 0], "all 2 rows have a weight of 0"),
        ("auc", [0, 1, 1], [0.1, 0.2, 0.3], [0, 1, 1], "auc needs both classes: all rows with a weight above 0 are 1"),
        ("auc", [0, 1, 0], [0.1, 0.2, 0.3], [1, 0, 1], "auc needs both classes: all rows with a weight above 0 are 0"),
        ("average_precision", [0, 1, 0], [0.1, 0.2, 0.3], [1, 0, 1], "average_precision needs positives"),
        ("rmspe", [0.0, 2], [1.0, 3], [1, 0], "rmspe: all rows with a y_true other than 0"),
        ("gini", [1.0, 2, 2], [1.0, 3, 4], [0, 1, 1], "gini: all 2 values"),
        ("map@2", [1, 2], [[1, 2], [1, 2]], [0, 0], "all 2 rows have a weight of 0"),
        ("mae", [1.0, 2], [1.0, 3], [1, -1], "1 of 2 weights are below 0, infinite or NaN"),
        ("mae", [1.0, 2], [1.0, 3], [1, math.nan], "1 of 2 weights are below 0, infinite or NaN"),
        ("accuracy", [1, 2], [1, 2], [math.inf, 1], "1 of 2 weights are below 0, infinite or NaN"),
    ],
)
def test_no_score_without_a_cause(name: str, truth: Any, predicted: Any, weight: Any, said: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=said):
            metrics.get(name)(np.array(truth), np.array(predicted), np.array(weight, float))


LABELS = ("accuracy", "balanced_accuracy", "f1", "micro_f1", "weighted_f1", "mcc")
VALUES = ("rmse", "mae", "wmae", "rmsle", "mape", "smape", "medae", "r2", "rmspe", "pinball@0.8", "gini")
ODDS = ("auc", "logloss", "average_precision")


@pytest.mark.parametrize("name", [*LABELS, *VALUES, *ODDS])
@given(st.integers(0, 2**32 - 1), st.integers(3, 40))
def test_a_row_of_weight_0_is_not_there_and_one_of_2_is_there_twice(name: str, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(0, 3, n).astype(float)
    truth = rng.permutation(np.arange(n)) % 2 if name not in VALUES else rng.permutation(n) + 1.0
    predicted = rng.random(n).round(1) if name not in LABELS else rng.integers(0, 2, n)
    repeated = np.repeat(np.arange(n), weight.astype(int))
    metric = metrics.get(name)
    try:
        expected = metric(truth[repeated], predicted[repeated], np.ones(len(repeated)))
    except DataError:
        with pytest.raises(DataError):
            metric(truth, predicted, weight)
        return
    if name == "medae" or (name == "gini" and len(set(predicted[repeated])) < len(set(repeated))):
        return  # the middle of an even number of rows, and rows of equal predictions in file order
    assert metric(truth, predicted, weight) == pytest.approx(expected, abs=1e-9)


def test_gini_with_weights_by_the_formula_of_kaggles_competition() -> None:
    """As the Liberty Mutual Fire Peril competition's page computes it, in R."""
    rng = np.random.default_rng(2)
    truth, predicted, weight = rng.random(50), rng.random(50), rng.random(50) + 0.1

    def by_the_page(order_by: Any) -> float:
        frame = pl.DataFrame({"s": truth, "w": weight, "p": order_by}).sort("p", descending=True)
        random = (frame["w"] / frame["w"].sum()).cum_sum()
        lorentz = (frame["s"] * frame["w"]).cum_sum() / (frame["s"] * frame["w"]).sum()
        return float((lorentz[1:] * random[:-1]).sum() - (lorentz[:-1] * random[1:]).sum())

    assert metrics.get("gini")(truth, predicted, weight) == pytest.approx(by_the_page(predicted) / by_the_page(truth))
    assert metrics.get("gini")(truth, predicted, np.full(50, 3.0)) == pytest.approx(
        metrics.get("gini")(truth, predicted)
    )


def test_a_metric_of_ones_own_that_takes_no_weights(sales: Callable[..., Small]) -> None:
    made = sales(metric="mae")
    (made.folder / "metric.py").write_text(
        "import numpy as np\ndef plain(t, p):\n    return np.abs(t - p).mean()\n"
        "def weighted(t, p, weight=None):\n    return np.average(np.abs(t - p), weights=weight)\n"
    )
    own = 'metric = "metric.py:{}"\ngreater_is_better = false\nweight = {}'
    made.definition('metric = "mae"', own.format("plain", '"importance"'))
    with pytest.raises(
        WorkbenchError, match=r"does not accept weights, but competition.toml has weight.*\n.*weight = { train"
    ):
        made.open.run(2)
    made.definition('"importance"', '{ train = "importance" }')
    assert made.open.run(2).score > 0
    made.definition('metric.py:plain"', 'metric.py:weighted"')
    made.definition('{ train = "importance" }', '{ metric = "IsHoliday * 4 + 1" }')
    run, rows, weight = made.open.run(2), made.open.folds.valid_rows(0), holiday_weights(made)
    truth = made.open.tables["train"].collect()["y"].to_numpy()
    expected = sk.mean_absolute_error(truth[rows], run.oof["pred_y"].to_numpy()[rows], sample_weight=weight[rows])
    assert run.record.fold_scores[0] == pytest.approx(expected)


# ---------------------------------------------------------------------------------------------------- in a rehearsal


class TestRehearsal:
    def hosted(self, tmp_path: Path, frame: pl.DataFrame, weight: str, name: str = "all.csv", **options: Any) -> Small:
        workspace = create_workspace(tmp_path / "workspace")
        path = tmp_path / name
        frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
        create(workspace.root, "own", RehearsalSpec(path, ("y",), "wmae", holdout=0.3, weight=weight, **options))
        return Small(workspace, "own")

    @pytest.mark.parametrize("name", ["all.csv", "all.parquet"])
    @pytest.mark.parametrize(
        ("weight", "by_hand"),
        [
            ("flag", pl.col("flag").cast(pl.Float64)),
            ("flag * 4 + 1", pl.when("flag").then(5.0).otherwise(1.0)),
            ("3 if kind == 'a' else 1", pl.when(pl.col("kind") == "a").then(3.0).otherwise(1.0)),
            ("1 / count", 1 / pl.col("count")),
            ("y + 1", pl.col("y") + 1),
            ("`big shop` + 0.5", pl.col("big shop") + 0.5),
        ],
    )
    def test_the_solution_has_the_weights(self, tmp_path: Path, name: str, weight: str, by_hand: pl.Expr) -> None:
        n = 60
        frame = make_frame(n, task="regression").select("id", "x", "y").with_columns(
            flag=pl.int_range(n) % 3 != 0, kind=pl.Series(["a", "b", "c"] * 20), count=pl.int_range(n) + 1
        ).with_columns(pl.int_range(n).alias("big shop"))  # fmt: skip
        made = self.hosted(tmp_path, frame, weight, name)
        solution = pl.read_parquet(made.folder / "rehearsal" / "solution.parquet").cast({"id": pl.Int64})
        column = "flag" if weight == "flag" else "weight"
        both = solution.select("id", w=column).join(frame.select("id", by_hand=by_hand), on="id")
        assert len(both) == 18
        assert both["w"].to_list() == pytest.approx(both["by_hand"].to_list())
        fetched = library.fetch("own", where=made.workspace)
        assert fetched.facts.weight_column == weight
        assert made.open.access.competition.weights.metric is not None

    @pytest.mark.parametrize(
        ("weight", "options", "error", "said"),
        [
            (
                "x * 1",
                {},
                DataError,
                r"values that are negative or not numbers among 60 rows, the first is row \d+ \(x = ",
            ),
            ("xx + 1", {}, NotFoundError, "'xx' is not a column\ndid you mean 'x'"),
            ("id +", {}, ConfigError, "can't be read"),
            ("abs(x) + 1", {"drop": ("x",)}, ConfigError, "--drop x: --weight .* reads it"),
        ],
    )
    def test_what_can_not_be(
        self, tmp_path: Path, weight: str, options: Any, error: type[WorkbenchError], said: str
    ) -> None:
        with pytest.raises(error, match=said):
            self.hosted(tmp_path, make_frame(60, task="regression").select("id", "x", "y"), weight, **options)


# ----------------------------------------------------------------------------------------------- other uses of a score


def test_tuning_and_selection_score_by_the_weights(sales: Callable[..., Small]) -> None:
    made = sales(metric="mae")
    made.definition('metric = "mae"', 'metric = "wmae"\nweight = { metric = "IsHoliday * 4 + 1" }')
    made.experiment(
        3, 'features = ["rows.x", "rows.z", "rows.household"]\n[model]\nnum_iterations = 20\nlearning_rate = 0.3\n'
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = made.open.run(3)
        selected = made.open.features.select(3, SelectOptions(method="permutation", repeats=2, holdout=False))
    assert selected.before is not None
    assert selected.before.folds == pytest.approx(run.record.fold_scores)


def test_other_folds_are_checked_too(sales: Callable[..., Small]) -> None:
    from workbench.experiments.other_folds import on_other_folds

    made = sales(metric="mae")
    found = ready(made.workspace, made.open.access.competition, 2)
    weight = np.zeros(found.problem.target.n_rows)
    weight[:1] = 1.0
    target = replace(found.problem.target, weight=None, metric_weight=weight)
    with pytest.raises(DataError, match=r"fold \d: all \d+ rows that it validates have a weight of 0"):
        on_other_folds(replace(found, problem=replace(found.problem, target=target)))
