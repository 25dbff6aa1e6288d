"""The submission file: which columns it has, how labels and ids are spelled in it, and how two are compared."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from workbench.core.errors import ConfigError, DataError
from workbench.data.competition import Competition, load_competition
from workbench.data.ingest import convert
from workbench.data.workspace import create_workspace
from workbench.models.serving import (
    compare_submissions,
    foreign_labels,
    positive_labels,
    read_submission,
    submission_form,
    write_as_parquet,
    write_submission,
)
from workbench.models.serving.submission_file import MAX_TEXTS, respelled
from workbench.models.target import read_target

IDS = ["c", "a", "b"]
Columns = dict[str, list[Any]]


@pytest.fixture
def competition(tmp_path: Path):
    """Return a function that makes a competition of a few rows: of `y` in train, and of what the sample has."""

    def made(
        y: list[Any], sample: Columns | None, *, task: str, metric: str, target: str = '"y"', test: Columns | None = None, more: str = "", ending: str = "csv"
    ) -> Competition:  # fmt: skip
        workspace = create_workspace(tmp_path)
        folder = workspace.competitions / "c"
        raw = folder / "data" / "raw"
        raw.mkdir(parents=True)
        # Keys are of one type in all tables: where one has texts, so have the others.
        ids = [i for columns in (test or {"id": IDS}, sample or {}) for i in columns.get("id", ())]
        train: Columns = {"id": [100 + i for i in range(len(y))], "y": y}
        if any(isinstance(i, str | date) for i in ids):
            has_texts = any(isinstance(i, str) for i in ids)
            train["id"] = [f"t{i}" if has_texts else date(2020, 1, 1 + i) for i in range(len(y))]
        if "," in target:
            train["w"] = y[::-1]
        files: dict[str, Columns | None] = {"train": train, "test": test or {"id": IDS, "x": [1, 2, 3]}}
        for name, columns in (files | {"sample_submission": sample}).items():
            if columns is not None:
                write = pl.DataFrame.write_csv if ending == "csv" else pl.DataFrame.write_parquet
                write(pl.DataFrame(columns), raw / f"{name}.{ending}")
        convert(raw, folder / "data" / "tables", "c")
        tables = "" if sample is not None else "[tables]\nsample_submission = false\n"
        text = f'slug = "c"\ntask = "{task}"\nid = "id"\ntarget = {target}\nmetric = "{metric}"\n{more}{tables}'
        (folder / "competition.toml").write_text(text, encoding="utf-8")
        return load_competition(workspace, "c")

    return made


def written(competition: Competition, predictions: Any, name: str = "submission.csv") -> list[str]:
    """Return the lines of the file of these predictions of the test rows, in their order."""
    target = read_target(competition)
    path = competition.folder / name
    form = submission_form(competition, target)
    write_submission(competition, form, target, np.array(predictions, np.float64), path)
    return path.read_text(encoding="utf-8").splitlines()


ONE = [[0.25], [0.5], [0.75]]
THREE = [[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]
WORDS = ["high", "low", "mid"] * 3


class TestColumns:
    @pytest.mark.parametrize(
        ("task", "metric", "y", "columns", "predictions", "expected"),
        [
            ("regression", "rmse", [1.5, 2.0, 3.0], {"y": [0, 0, 0]}, ONE, ["id,y", "a,0.5", "b,0.75", "c,0.25"]),
            ("regression", "rmse", [1.5, 2.0, 3.0], {"Value": [0, 0, 0]}, ONE, ["id,Value", "a,0.5", "b,0.75", "c,0.25"]),
            ("binary", "auc", [0, 1, 1], {"y": [0, 0, 0]}, ONE, ["id,y", "a,0.5", "b,0.75", "c,0.25"]),
            # Of two classes the second is predicted, wherever its column stands.
            ("binary", "auc", ["no", "yes"] * 2, {"no": [0] * 3, "yes": [1] * 3}, ONE, ["id,no,yes", "a,0.5,0.5", "b,0.25,0.75", "c,0.75,0.25"]),
            ("binary", "auc", ["no", "yes"] * 2, {"yes": [0] * 3, "no": [1] * 3}, ONE, ["id,yes,no", "a,0.5,0.5", "b,0.75,0.25", "c,0.25,0.75"]),
            ("binary", "auc", ["cat", "dog"] * 2, {"dog": [0] * 3, "cat": [1] * 3}, ONE, ["id,dog,cat", "a,0.5,0.5", "b,0.75,0.25", "c,0.25,0.75"]),
            ("binary", "accuracy", ["no", "yes"] * 2, {"y": ["no"] * 3}, ONE, ["id,y", "a,yes", "b,yes", "c,no"]),
            ("multiclass", "logloss", WORDS, {"mid": [0] * 3, "low": [0] * 3, "high": [1] * 3}, THREE, ["id,mid,low,high", "a,0.1,0.3,0.6", "b,0.3,0.5,0.2", "c,0.7,0.2,0.1"]),
            ("multiclass", "accuracy", WORDS, {"y": ["low"] * 3}, THREE, ["id,y", "a,high", "b,low", "c,mid"]),
            ("multiclass", "accuracy", WORDS, {"y": ["LOW"] * 3}, THREE, ["id,y", "a,HIGH", "b,LOW", "c,MID"]),
            # Of one column there is no room for probabilities.
            ("multiclass", "logloss", WORDS, {"y": ["low"] * 3}, THREE, ["id,y", "a,high", "b,low", "c,mid"]),
            ("multiclass", "map@2", WORDS, {"y": ["low mid"] * 3}, THREE, ["id,y", "a,high low", "b,low mid", "c,mid low"]),
            # Grades, written as the sample writes whole numbers.
            ("regression", "qwk", [1, 2, 3], {"y": [1, 1, 1]}, [[1.2], [2.6], [9]], ["id,y", "a,3", "b,3", "c,1"]),
            ("regression", "qwk", [1, 2, 3], {"y": [1.0, 2.0, 1.0]}, [[1.2], [2.6], [9]], ["id,y", "a,3.0", "b,3.0", "c,1.0"]),
        ],
    )  # fmt: skip
    def test_are_filled_as_the_sample_has_them(
        self, competition, task: str, metric: str, y: list[Any], columns: Columns, predictions: Any, expected: list[str]
    ) -> None:
        made = competition(y, {"id": ["a", "b", "c"], **columns}, task=task, metric=metric)
        assert written(made, predictions) == expected

    @pytest.mark.parametrize(("first", "second"), [("y", "w"), ("w", "y")])
    def test_of_several_targets_each_has_its_own(self, competition, first: str, second: str) -> None:
        sample = {first: [0, 0, 0], "id": ["a", "b", "c"], second: [0, 0, 0]}
        made = competition([1.5, 2.0, 3.0], sample, task="regression", metric="rmse", target='["y", "w"]')
        of = {"y": ["2.0", "3.0", "1.0"], "w": ["20.0", "30.0", "10.0"]}
        lines = [f"{a},{i},{b}" for a, i, b in zip(of[first], "abc", of[second], strict=True)]
        assert written(made, [[1, 10], [2, 20], [3, 30]]) == [f"{first},id,{second}", *lines]

    @pytest.mark.parametrize("target", ['"y"', '["y", "w"]'])
    def test_without_a_sample_they_are_the_id_and_the_targets(self, competition, target: str) -> None:
        made = competition([1.5, 2.0, 3.0], None, task="regression", metric="rmse", target=target)
        lines = written(made, [[1], [2], [3]] if target == '"y"' else [[1, 4], [2, 5], [3, 6]])
        expected = ["id,y", "c,1.0", "a,2.0", "b,3.0"]
        assert lines == (expected if target == '"y"' else ["id,y,w", "c,1.0,4.0", "a,2.0,5.0", "b,3.0,6.0"])

    @pytest.mark.parametrize(
        "sample", [{"id": ["a"], "p": [0], "q": [0]}, {"key": ["a"], "y": [0]}, {"id": ["a"], "no": [0], "yes": [0], "maybe": [0]}]
    )  # fmt: skip
    def test_that_are_neither_targets_nor_classes_are_refused(self, competition, sample: Columns) -> None:
        made = competition(["no", "yes"] * 2, sample, task="binary", metric="auc")
        with pytest.raises(DataError, match=r"table 'sample_submission' has the columns .*\ncheck id and target in"):
            submission_form(made, read_target(made))

    def test_classes_are_told_from_targets(self, competition) -> None:
        made = competition(["no", "yes"] * 2, {"id": ["a"], "yes": [0], "no": [0]}, task="binary", metric="auc")
        form = submission_form(made, read_target(made))
        assert (form.has_column_per_class, form.index_by_column, form.labels_by_column) == (
            True,
            {"yes": 1, "no": 0},
            {},
        )
        assert form.columns == ("id", "yes", "no")
        assert positive_labels(made, read_target(made)) == {"y": "yes"}

    def test_of_three_classes_none_is_the_positive_one(self, competition) -> None:
        made = competition(["a", "b", "c"] * 2, {"id": ["a"], "y": ["a"]}, task="multiclass", metric="accuracy")
        assert positive_labels(made, read_target(made)) == {}


class TestUndecided:
    @pytest.mark.parametrize(
        ("metric", "column", "fill", "message"),
        [
            ("auc", "y", 0.5, "whether 'y' is the probability of the one or of the other"),
            ("f1", "y", "cat", "which of the two is the positive class of f1"),
            ("f1", "y", 0, "which of the two stands for '1' in 'y'"),
            ("accuracy", "y", 0, "which of the two stands for '1' in 'y'"),
            ("accuracy", "y", "cat", None),
            ("auc", "dog", 0.5, None),
        ],
    )
    def test_classes_are_asked_for_where_it_matters(
        self, competition, metric: str, column: str, fill: Any, message: str | None
    ) -> None:
        fills = [fill, fill, 1 if fill == 0 else fill]
        made = competition(["cat", "dog"] * 2, {"id": ["a", "b", "c"], column: fills}, task="binary", metric=metric)
        target = read_target(made)
        if message is None:
            assert submission_form(made, target).columns == ("id", column)
            return
        expected = rf"target 'y' is 'cat' or 'dog', and it is undecided {message}: .*\n.* write positive = \"cat\" or"
        with pytest.raises(ConfigError, match=expected):
            submission_form(made, target)

    def test_an_answer_is_taken(self, competition) -> None:
        more = 'positive = "cat"\n'
        made = competition(["cat", "dog"] * 2, {"id": ["a"], "y": [0.5]}, task="binary", metric="auc", more=more)
        assert positive_labels(made, read_target(made)) == {"y": "cat"}
        assert not submission_form(made, read_target(made)).has_column_per_class

    def test_of_several_targets_the_key_names_it(self, competition) -> None:
        made = competition(
            ["cat", "dog"] * 2, {"id": ["a"], "y": [0.5], "w": [0.5]}, task="binary", metric="auc", target='["y", "w"]'
        )
        with pytest.raises(ConfigError, match=r'write positive\."y" = "cat" or positive\."y" = "dog" into'):
            submission_form(made, read_target(made))


class TestRows:
    @pytest.mark.parametrize(
        ("ids", "order"),
        [(["b", "c", "a"], "bca"), (["a", "b"], "cab"), (["a", "b", "x"], "cab"), (["a", "b", "c", "d"], "abc"), (["a", "b", "b"], "cab")],
    )  # fmt: skip
    def test_are_in_the_samples_order_where_it_has_all_of_them(self, competition, ids: list[str], order: str) -> None:
        made = competition([1.5, 2.0, 3.0], {"id": ids, "y": [0] * len(ids)}, task="regression", metric="rmse")
        assert written(made, [[1], [2], [3]]) == ["id,y", *(f"{i},{'cab'.index(i) + 1}.0" for i in order)]

    @pytest.mark.parametrize(
        ("of_test", "of_sample"),
        [
            ([7, 8, 9], ["9.0", "7.0", "8.0"]),
            ([7.0, 8.0, 9.0], ["9", "7", "8"]),
            (["7x", "8x", "9x"], ["9x", "7x", "8x"]),
        ],
    )
    def test_ids_of_another_type_are_compared_by_value_and_written_as_the_sample_has_them(
        self, competition, of_test: list[Any], of_sample: list[str]
    ) -> None:
        made = competition(
            [1.5, 2.0, 3.0], {"id": of_sample, "y": [0] * 3}, task="regression", metric="rmse", test={"id": of_test, "x": [0] * 3}
        )  # fmt: skip
        assert written(made, [[1], [2], [3]]) == [
            "id,y",
            *(f"{i},{v}.0" for i, v in zip(of_sample, (3, 1, 2), strict=True)),
        ]


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "shown", "expected"),
        [
            (["a", "b"], [], ["a", "b"]),
            (["a", "b"], ["b"], ["a", "b"]),
            (["1.0", "2.0"], ["1"], ["1", "2"]),
            (["1", "2"], ["2.0", "1.0"], ["1.0", "2.0"]),
            (["1", "2", "3"], ["2.0", "9.0"], ["1.0", "2.0", "3.0"]),
            ([" 1. ", "+2"], ["1"], ["1", "2"]),
            (["-1", "1"], ["1.0"], ["-1.0", "1.0"]),
            (["1", "2"], ["0", "1"], ["0", "1"]),  # other numbers for the same two
            (["1", "x"], ["2.0"], ["1", "x"]),
            (["1", "1.0"], ["2"], ["1", "1.0"]),  # both would be one
            (["low", "Mid"], ["LOW"], ["LOW", "MID"]),
            (["low", "mid"], ["Low"], ["Low", "Mid"]),
            (["LOW", "MID"], ["low"], ["low", "mid"]),
            (["a b", "c d"], ["A B"], ["A B", "C D"]),
            (["a b", "c d"], ["A b"], ["A b", "C d"]),
            (["a b", "c d"], ["a B"], ["a B", "c d"]),
            (["low", "mid"], ["LOW", "mId"], ["LOW", "mId"]),
            (["low", "mid"], ["LOW", "other"], ["low", "mid"]),
            (["a", "A"], ["b"], ["a", "A"]),
            (["7", "x"], ["7", "X"], ["7", "X"]),
            (["no", "yes"], ["0", "1"], ["0", "1"]),
            (["no", "yes"], ["0.0", "1.0"], ["0.0", "1.0"]),
            (["no", "yes"], ["-1"], ["-1", "1"]),
            (["no", "yes"], ["TRUE"], ["FALSE", "TRUE"]),
            (["no", "yes"], ["false"], ["false", "true"]),
            (["0", "1"], ["n"], ["n", "y"]),
            (["0", "1"], ["T", "F"], ["F", "T"]),
            (["0", "1"], ["Yes"], ["No", "Yes"]),
            (["cat", "dog"], ["0", "1"], ["0", "1"]),
            (["cat", "dog"], ["0", "2"], ["cat", "dog"]),
            (["cat", "dog", "cow"], ["0", "1"], ["cat", "dog", "cow"]),
            (["0", "1"], ["0.5"], ["0", "1"]),
        ],
    )
    def test_are_spelled_as_others_that_mean_the_same(
        self, labels: list[str], shown: list[str], expected: list[str]
    ) -> None:
        assert respelled(labels, shown) == expected

    @pytest.mark.parametrize(
        ("shown", "metric", "foreign"),
        [
            (["x", "z", "x"], "accuracy", ["x", "z"]),
            (["x", "low", "x"], "accuracy", []),
            (["x", "x", "x"], "accuracy", []),
            (["x z", "z x", "x"], "map@2", []),
        ],
    )
    def test_that_the_sample_alone_has_are_foreign(self, competition, shown: list[str], metric: str, foreign) -> None:
        made = competition(WORDS, {"id": ["a", "b", "c"], "y": shown}, task="multiclass", metric=metric)
        assert foreign_labels(made, "y", ["low", "mid", "high"]) == foreign
        assert foreign_labels(made, "none", ["low"]) == []

    def test_of_lists_each_is_one(self, competition) -> None:
        made = competition(
            WORDS, {"id": ["a", "b", "c"], "y": ["LOW MID", "HIGH", ""]}, task="multiclass", metric="map@2"
        )
        assert written(made, THREE) == ["id,y", "a,HIGH LOW", "b,LOW MID", "c,MID LOW"]

    @pytest.mark.parametrize(("more", "is_told"), [(0, True), (1, False)])
    def test_very_many_tell_nothing(self, competition, more: int, is_told: bool) -> None:
        texts = [f"v{i:05}" for i in range(MAX_TEXTS + more)]
        sample = {"id": [f"i{i}" for i in range(len(texts) + 1)], "y": [*texts, None]}
        made = competition(WORDS, sample, task="multiclass", metric="accuracy")
        assert foreign_labels(made, "y", ["low"]) == (texts if is_told else [])

    def test_without_a_sample_nothing_is_foreign(self, competition) -> None:
        made = competition(WORDS, None, task="multiclass", metric="accuracy")
        assert foreign_labels(made, "y", ["low"]) == []
        assert written(made, THREE) == ["id,y", "c,mid", "a,high", "b,low"]


class TestParquet:
    @pytest.mark.parametrize(
        ("ids", "fill", "y", "types", "values"),
        [
            ([1, 2, 3], 0.5, "0.25", [pl.Int64, pl.Float64], 0.25),
            ([1, 2, 3], 1, "1", [pl.Int64, pl.Int64], 1),
            ([1, 2, 3], 0, "0.25", [pl.Int64, pl.Float64], 0.25),  # no fractions for whole zeros
            ([1, 2, 3], 0.5, "1", [pl.Int64, pl.Float64], 1.0),
            (["a", "b", "c"], "x", "z", [pl.String, pl.String], "z"),
            ([1, 2, 3], "x", "1.5", [pl.Int64, pl.String], "1.5"),
            ([1, 2, 3], 0.5, "z", [pl.Int64, pl.String], "z"),  # not what the sample has: as it is
        ],
    )
    def test_has_the_samples_types_where_nothing_is_lost(
        self, competition, tmp_path: Path, ids: list[Any], fill: Any, y: str, types: list[Any], values: Any
    ) -> None:
        made = competition(
            [1.5, 2.0, 3.0], {"id": ids, "y": [fill] * 3}, task="regression", metric="rmse", test={"id": ids}
        )
        csv, path = tmp_path / "s.csv", tmp_path / "s.parquet"
        csv.write_text("id,y\n" + "".join(f"{i},{y}\n" for i in ids))
        assert write_as_parquet(made, csv, path) == path
        frame = pl.read_parquet(path)
        assert (frame.dtypes, frame["id"].to_list(), frame["y"].to_list()) == (types, ids, [values] * 3)

    def test_is_written_by_its_ending_with_the_ids_of_test_where_there_is_no_sample(self, competition) -> None:
        made = competition([1.5, 2.0, 3.0], None, task="regression", metric="rmse", test={"id": [3, 1, 2]})
        target = read_target(made)
        path = made.folder / "s.parquet"
        write_submission(made, submission_form(made, target), target, np.array(ONE), path)
        assert pl.read_parquet(path).to_dict(as_series=False) == {"id": [3, 1, 2], "y": [0.25, 0.5, 0.75]}
        assert read_submission(path, ["id", "none"]).to_dict(as_series=False) == {
            "id": ["3", "1", "2"],
            "y": [0.25, 0.5, 0.75],
        }


class TestRead:
    def test_ids_are_texts_and_the_rest_is_told_by_all_values(self, tmp_path: Path) -> None:
        path = tmp_path / "s.csv"
        path.write_text("id,n,f,t,e\n01,1,1,1,\n2,2,2.5,2.5,\n3,,,x,\n")
        frame = read_submission(path, ["id"])
        assert frame.dtypes[:4] == [pl.String, pl.Int64, pl.Float64, pl.String]
        assert frame["id"].to_list() == ["01", "2", "3"]
        assert frame["n"].to_list() == [1, 2, None]
        assert frame["f"].to_list() == [1.0, 2.5, None]
        assert frame["t"].to_list() == ["1", "2.5", "x"]


class TestCompared:
    def table(self, **columns: list[Any]) -> pl.DataFrame:
        return pl.DataFrame({"id": list("abcd")[: len(next(iter(columns.values())))], **columns})

    @pytest.mark.parametrize(
        ("own", "other", "largest", "differing"),
        [
            ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], 0.0, 0),
            ([0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0], 1 / np.std([0, 0, 2, 2], ddof=1), 1),
            ([0.0, 0.0, 2.0, 2.0], [0.5, 0.0, 2.0, 1.0], 1 / np.std([0, 0, 2, 2], ddof=1), 2),
            ([5.0, 5.0], [5.0, 5.5], 0.5, 1),  # all the same: by the difference itself
            ([5.0], [5.25], 0.25, 1),
            ([5.0, 5.0], [5.0, 5.0 + 9e-7], 9e-7, 0),
            ([5.0, 5.0], [5.0, 5.0 + 2e-6], 2e-6, 1),
            ([1.0, None, 3.0], [1.0, None, 3.0], 0.0, 0),
            ([1.0, None, 3.0], [1.0, 2.0, 3.0], np.inf, 1),
            ([1.0, 2.0, 3.0], [1.0, 2.0, None], np.inf, 1),
            ([1, 2, 3], [1.0, 2.0, 3.0], 0.0, 0),
            (["x", "y", None], ["x", "y", None], 0.0, 0),
            (["x", "y", "x"], ["x", "x", "y"], 0.0, 2),
            (["x", "y", "x"], ["x", None, "x"], 0.0, 1),
            (["x", "1", "1"], ["1", "1", "1"], 0.0, 1),
        ],
    )
    def test_rows_that_differ_by_more_than_rounding_are_counted(
        self, tmp_path: Path, own: list[Any], other: list[Any], largest: float, differing: int
    ) -> None:
        path = tmp_path / "s.parquet"
        self.table(y=other).reverse().write_parquet(path)
        found = compare_submissions(path, self.table(y=own), ["id"])
        assert found == (pytest.approx(largest), differing)

    def test_a_row_counts_once_and_the_largest_of_all_columns(self, tmp_path: Path) -> None:
        own, other = (
            self.table(y=[5.0, 5.0], z=[7.0, 7.0], t=["a", "a"]),
            self.table(y=[5.5, 5.0], z=[7.0, 7.25], t=["b", "a"]),
        )
        other.write_parquet(tmp_path / "s.parquet")
        assert compare_submissions(tmp_path / "s.parquet", own, ["id"]) == (0.5, 2)

    def test_of_none_nothing_differs(self, tmp_path: Path) -> None:
        none = self.table(y=[1.0]).head(0)
        none.write_parquet(tmp_path / "s.parquet")
        assert compare_submissions(tmp_path / "s.parquet", none, ["id"]) == (0.0, 0)

    @pytest.mark.parametrize(
        "other", [{"z": [1.0, 2.0]}, {"y": [1.0]}, {"y": [1.0, 2.0, 3.0]}, {"y": [1.0, 2.0], "z": [1.0, 2.0]}]
    )
    def test_other_rows_or_columns_are_refused(self, tmp_path: Path, other: Columns) -> None:
        self.table(**other).write_parquet(tmp_path / "s.parquet")
        with pytest.raises(
            DataError, match=r"the kernel's submission has \d rows and the columns .*; the run's own has 2"
        ):
            compare_submissions(tmp_path / "s.parquet", self.table(y=[1.0, 2.0]), ["id"])

    def test_other_ids_are_counted(self, tmp_path: Path) -> None:
        self.table(y=[1.0, 2.0, 3.0]).with_columns(id=pl.Series(["a", "x", "z"])).write_parquet(tmp_path / "s.parquet")
        with pytest.raises(DataError, match="has other ids than the run's own: 2 of 3"):
            compare_submissions(tmp_path / "s.parquet", self.table(y=[1.0, 2.0, 3.0]), ["id"])


@pytest.mark.parametrize("is_turned", [False, True])
def test_times_of_ids_are_compared_as_moments(competition, is_turned: bool) -> None:
    """A date and its midnight are one, whichever of the two tables has the clock."""
    days = [date(2024, 1, d) for d in (7, 8, 9)]
    midnights = [datetime(d.year, d.month, d.day) for d in days]  # noqa: DTZ001
    of_sample, of_test = (midnights, days) if is_turned else (days, midnights)
    sample, test = {"id": of_sample[::-1], "y": [0] * 3}, {"id": of_test, "x": [0] * 3}
    made = competition([1.5, 2.0, 3.0], sample, task="regression", metric="rmse", test=test, ending="parquet")
    clock = " 00:00:00" if is_turned else ""
    lines = [line.replace(".000000", "") for line in written(made, [[1], [2], [3]])]
    assert lines == ["id,y", *(f"2024-01-0{d}{clock},{v}.0" for d, v in ((9, 3), (8, 2), (7, 1)))]


@pytest.mark.parametrize(("first", "is_found"), [(2**40 + 1, True), (2**53 + 1, False)])
def test_numbers_of_ids_are_compared_by_value_as_far_as_it_is_exact(competition, first: int, is_found: bool) -> None:
    """Beyond, two ids may be one number: the rows stay in the order of test, with its ids."""
    ids = [first, first + 4, first + 8]
    sample, test = {"id": ids[::-1], "y": [0] * 3}, {"id": [f"0{i}" for i in ids], "x": [0] * 3}
    made = competition([1.5, 2.0, 3.0], sample, task="regression", metric="rmse", test=test, ending="parquet")
    expected = [f"{i},{v}.0" for i, v in zip(sample["id"], (3, 2, 1), strict=True)]
    if not is_found:
        expected = [f"{i},{v}.0" for i, v in zip(test["id"], (1, 2, 3), strict=True)]
    assert written(made, [[1], [2], [3]]) == ["id,y", *expected]
