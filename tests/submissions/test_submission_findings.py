"""What speaks against sending: each finding, what it says, and where it begins; no run is trained for it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.clock import START
from tests.code_host import ShortClock
from tests.example_records import NOW, RUN, SUBMISSION
from tests.in_memory_platform import SLUG, fetched
from workbench.data.competition import Competition, load_competition
from workbench.data.workspace import create_workspace
from workbench.experiments.current_runs import CurrentRun
from workbench.platforms.protocol import CompetitionFacts, SubmissionLimits
from workbench.submissions.findings import (
    SubmissionFinding,
    count_rows,
    file_findings,
    history_findings,
    kernel_findings,
    newer_run_findings,
    optimistic_findings,
    outdated_findings,
    platform_findings,
    positive_class_findings,
    possibly_sent_findings,
    run_findings,
    unfinished_run_findings,
)

N_TRAIN, N_TEST = 40, 20
TEST_IDS = list(range(100, 100 + N_TEST))


def competition(root: Path, y: list[Any], metric: str, *, sample: Any = None, **more: dict[str, Any]) -> Competition:
    """Fetch a competition whose train rows have this target; `more` has columns of train or test."""
    train = {"id": list(range(len(y))), "x": [i % 7 for i in range(len(y))], "y": y} | more.get("train", {})
    test = {"id": TEST_IDS, "x": [i % 7 for i in TEST_IDS]} | more.get("test", {})
    sample = {"id": TEST_IDS, "y": [y[0]] * N_TEST} if sample is None else sample
    tables = {"train": train, "test": test, "sample_submission": sample}
    files = {f"{name}.csv": pl.DataFrame(columns).write_csv().encode() for name, columns in tables.items()}
    return fetched(root, files, metric=metric)


def edited(found: Competition, old: str, new: str) -> Competition:
    path = found.folder / "competition.toml"
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new))
    return load_competition(create_workspace(found.folder.parents[1]), SLUG)


def message_by_code(findings: list[SubmissionFinding]) -> dict[tuple[str, str], str]:
    return {(f.level, f.code): f.message for f in findings}


def of_file(found: Competition, columns: dict[str, Any], path: Path) -> dict[tuple[str, str], str]:
    pl.DataFrame(columns, strict=False).write_csv(path / "sent.csv")
    return message_by_code(file_findings(found, path / "sent.csv"))


BINARY = [i % 2 for i in range(N_TRAIN)]
GOOD = [i / 20 for i in range(N_TEST)]


class TestColumnsAndIds:
    @pytest.fixture
    def binary(self, tmp_path: Path) -> Competition:
        return competition(tmp_path, BINARY, "auc")

    @pytest.mark.parametrize(
        ("columns", "expected"),
        [
            ({"id": TEST_IDS, "y": GOOD}, {}),
            ({"id": TEST_IDS, "z": GOOD}, {("error", "columns"): "columns that the sample does not have: z"}),
            ({"id": TEST_IDS}, {("error", "columns"): "columns are missing: y"}),
            ({"k": TEST_IDS, "v": GOOD}, {("error", "columns"): "columns that the sample does not have: k, v"}),
            (
                {"y": GOOD, "id": TEST_IDS},
                {("warning", "column_order"): "the columns are in another order than the sample's: y, id"},
            ),
            (
                {"id": TEST_IDS[::-1], "y": GOOD},
                {("warning", "row_order"): "the rows are in another order than the sample's"},
            ),
            (
                {"id": TEST_IDS[:-3], "y": GOOD[:-3]},
                {
                    ("error", "row_count"): "17 rows, expected 20",
                    ("error", "missing_ids"): "3 ids are missing: 117, 118, 119",
                },
            ),
            (
                {"id": TEST_IDS[:-4], "y": GOOD[:-4]},
                {
                    ("error", "row_count"): "16 rows, expected 20",
                    ("error", "missing_ids"): "4 ids are missing: 116, 117, 118, …",
                },
            ),
            (
                {"id": [*TEST_IDS, 7, 8], "y": [*GOOD, 0.1, 0.2]},
                {
                    ("error", "row_count"): "22 rows, expected 20",
                    ("error", "extra_ids"): "2 ids are not in the sample: 7, 8",
                },
            ),
            (
                {"id": [*TEST_IDS[:-1], 100], "y": GOOD},
                {
                    ("error", "repeated_ids"): "2 rows repeat an id: 100",
                    ("error", "missing_ids"): "1 id is missing: 119",
                },
            ),
        ],
    )
    def test_what_is_said(self, binary: Competition, tmp_path: Path, columns: Any, expected: Any) -> None:
        assert of_file(binary, columns, tmp_path) == expected

    def test_of_a_file_with_other_columns_no_more_is_looked_at(self, binary: Competition, tmp_path: Path) -> None:
        assert set(of_file(binary, {"id": [1], "z": [None]}, tmp_path)) == {("error", "columns")}
        # Another order is no reason to stop there.
        assert set(of_file(binary, {"y": [0.5] * N_TEST, "id": TEST_IDS}, tmp_path)) == {
            ("warning", "column_order"),
            ("warning", "constant"),
        }

    @pytest.mark.parametrize(("name", "form"), [("sent.csv", "CSV"), ("sent.parquet", "Parquet")])
    def test_what_can_not_be_read(self, binary: Competition, tmp_path: Path, name: str, form: str) -> None:
        path = tmp_path / name
        [finding] = file_findings(binary, path)
        assert (finding.level, finding.code) == ("error", "unreadable")
        assert finding.message.startswith(f"{path} can't be read as {form}: ")
        assert "\n" not in finding.message
        assert count_rows(path) is None
        path.write_bytes(b'"')
        assert [f.code for f in file_findings(binary, path)] in (["unreadable"], ["columns", "columns"])

    def test_parquet(self, binary: Competition, tmp_path: Path) -> None:
        path = tmp_path / "sent.parquet"
        pl.DataFrame({"id": TEST_IDS, "y": GOOD}).write_parquet(path)
        assert file_findings(binary, path) == []
        assert count_rows(path) == 20
        pl.DataFrame({"id": TEST_IDS, "y": GOOD}).write_csv(tmp_path / "sent.csv")
        assert count_rows(tmp_path / "sent.csv") == 20

    def test_without_a_sample_the_test_rows_ids_are_expected(self, binary: Competition, tmp_path: Path) -> None:
        found = edited(binary, 'sample_submission = "sample_submission"', "sample_submission = false")
        assert of_file(found, {"id": TEST_IDS, "y": GOOD}, tmp_path) == {}
        assert of_file(found, {"id": TEST_IDS}, tmp_path) == {("error", "columns"): "columns are missing: y"}
        assert set(of_file(found, {"id": TEST_IDS[1:], "y": GOOD[1:]}, tmp_path)) == {
            ("error", "row_count"),
            ("error", "missing_ids"),
        }

    def test_ids_of_two_columns_of_which_one_may_be_empty(self, tmp_path: Path) -> None:
        shops, days = [i // 2 for i in range(N_TEST)], [None if i % 2 else f"d{i}" for i in range(N_TEST)]
        keys = {"id": shops, "day": days}
        found = competition(
            tmp_path,
            BINARY,
            "auc",
            sample=keys | {"y": [0.5] * N_TEST},
            train={"day": [f"d{i}" for i in range(N_TRAIN)]},
            test=keys,
        )
        assert found.definition.id_columns == ("id", "day")
        assert of_file(found, keys | {"y": GOOD}, tmp_path) == {}
        less = {name: values[:-1] for name, values in keys.items()}
        assert of_file(found, less | {"y": GOOD[:-1]}, tmp_path) == {
            ("error", "row_count"): "19 rows, expected 20",
            ("error", "missing_ids"): "1 id is missing: 9/None",
        }

    def test_ids_that_are_spelled_otherwise(self, tmp_path: Path) -> None:
        ids = [f"2025.{i}0" for i in range(10, 30)]
        found = competition(
            tmp_path,
            BINARY,
            "auc",
            sample={"id": ids, "y": [0.5] * N_TEST},
            test={"id": ids},
            train={"id": [f"2024.{i}0" for i in range(10, 50)]},
        )
        sent = {"id": [*ids[:18], "2025.28", "2025.29"], "y": GOOD}
        said = of_file(found, sent, tmp_path)
        assert set(said) == {("error", "spelled_ids")}
        text = said["error", "spelled_ids"]
        assert (
            text == "2 ids are spelled differently from the sample, for example 2025.28 where the sample has 2025.280"
        )
        # Where a table was fetched by a version that did not know which columns are ids, that may be why.
        manifest = found.paths.tables / "manifest.json"
        text_of_it = json.loads(manifest.read_text())
        del text_of_it["tables"]["test"]["keys"]
        manifest.write_text(json.dumps(text_of_it))
        older = load_competition(create_workspace(tmp_path / "workspace"), SLUG)
        assert of_file(older, sent, tmp_path)["error", "spelled_ids"] == (
            f"{text}; the tables were fetched by an earlier version: `wb fetch evil --force`, then run it again"
        )
        # Others than the sample's as numbers, too, are other ids; those that are only missing are missing.
        for others in (["1", "2"], ["a", "b"]):
            assert set(of_file(found, sent | {"id": [*ids[:18], *others]}, tmp_path)) == {
                ("error", "missing_ids"),
                ("error", "extra_ids"),
            }
        assert set(of_file(found, {"id": ids[:18], "y": GOOD[:18]}, tmp_path)) == {
            ("error", "row_count"),
            ("error", "missing_ids"),
        }
        assert set(of_file(found, {"id": [*ids, "2025.28"], "y": [*GOOD, 0.1]}, tmp_path)) == {
            ("error", "row_count"),
            ("error", "extra_ids"),
        }


class TestValues:
    @pytest.mark.parametrize(
        ("y", "expected"),
        [
            ([0.0, 1.0, *GOOD[2:]], {}),
            ([None, None, *GOOD[2:]], {("error", "nulls"): "y: 2 values are empty"}),
            ([0.5] * N_TEST, {("warning", "constant"): "y: every prediction is '0.5'"}),
            (
                [None, *[0.5] * 19],
                {
                    ("error", "nulls"): "y: 1 value is empty",
                    ("warning", "constant"): "y: every prediction is '0.5'",
                },
            ),
            ([None] * N_TEST, {("error", "nulls"): "y: 20 values are empty"}),
            (["a", "b", *GOOD[2:]], {("error", "type"): "y: 2 values are not numbers, for example 'a'"}),
            (["inf", "-inf", "NaN", *GOOD[3:]], {("error", "infinite"): "y: 3 values are infinite or NaN"}),
            ([-0.5, *GOOD[1:]], {("warning", "range"): "y: from -0.5 to 0.95; expected probabilities from 0 to 1"}),
            ([1.5, *GOOD[1:]], {("warning", "range"): "y: from 0.05 to 1.5; expected probabilities from 0 to 1"}),
        ],
    )
    def test_probabilities(self, tmp_path: Path, y: list[Any], expected: Any) -> None:
        found = competition(tmp_path, BINARY, "logloss")
        assert of_file(found, {"id": TEST_IDS, "y": [None if v is None else str(v) for v in y]}, tmp_path) == expected

    def test_one_row_is_not_constant(self, tmp_path: Path) -> None:
        found = competition(tmp_path, BINARY, "auc", sample={"id": [100], "y": [0.5]}, test={"id": [100], "x": [1]})
        assert of_file(found, {"id": [100], "y": [0.5]}, tmp_path) == {}

    @pytest.mark.parametrize(
        ("low", "high", "is_far"), [(-5.0, 25.0, False), (-5.5, 25.0, True), (-5.0, 25.5, True), (6.0, 14.0, False)]
    )
    def test_amounts_as_far_beyond_train_as_train_is_wide(
        self, tmp_path: Path, low: float, high: float, is_far: bool
    ) -> None:
        found = competition(tmp_path, [5 + 10 * i / 39 for i in range(N_TRAIN)], "rmse")
        sent = of_file(found, {"id": TEST_IDS, "y": [low, high, *[10.0] * 18]}, tmp_path)
        text = f"y: from {low:g} to {high:g}; in train it goes from 5 to 15"
        assert sent == ({("warning", "range"): text} if is_far else {})

    def test_of_a_ranking_only_the_order_counts(self, tmp_path: Path) -> None:
        """Labels of train are grades; what is sent are numbers, of any size."""
        more = {"train": {"q": [i // 4 for i in range(N_TRAIN)]}, "test": {"q": [i // 4 for i in range(N_TEST)]}}
        found = competition(tmp_path, [i % 3 for i in range(N_TRAIN)], "rmse", **more)
        path = found.folder / "competition.toml"
        lines = [x for x in path.read_text().splitlines() if not x.startswith(("task", "metric", "scheme", "group"))]
        lines[1:1] = ['task = "ranking"', 'query = "q"', 'metric = "ndcg@3"']
        path.write_text("\n".join(lines) + "\n")
        found = load_competition(create_workspace(tmp_path / "workspace"), SLUG)
        assert of_file(found, {"id": TEST_IDS, "y": [1e6 + i for i in range(N_TEST)]}, tmp_path) == {}
        assert set(of_file(found, {"id": TEST_IDS, "y": ["a", *GOOD[1:]]}, tmp_path)) == {("error", "type")}


class TestLabels:
    CLASSES = ("low", "mid", "high", "top")

    @pytest.fixture
    def labels(self, tmp_path: Path) -> Competition:
        return competition(tmp_path, [self.CLASSES[i % 4] for i in range(N_TRAIN)], "accuracy")

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ([], {}),
            (["odd"], {("error", "labels"): "y: 1 label is not in train, for example 'odd'"}),
            (["odd", "even"], {("error", "labels"): "y: 2 labels are not in train, for example 'odd'"}),
            ([None], {("error", "nulls"): "y: 1 value is empty"}),
        ],
    )
    def test_those_that_train_does_not_have(
        self, labels: Competition, tmp_path: Path, changed: list[Any], expected: Any
    ) -> None:
        y = [*changed, *[self.CLASSES[i % 4] for i in range(N_TEST)][len(changed) :]]
        assert of_file(labels, {"id": TEST_IDS, "y": y}, tmp_path) == expected

    def test_those_that_are_spelled_otherwise(self, tmp_path: Path) -> None:
        found = competition(tmp_path, [i % 3 for i in range(N_TRAIN)], "accuracy")
        said = of_file(found, {"id": TEST_IDS, "y": ["1.0", "2.0", *[str(i % 3) for i in range(18)]]}, tmp_path)
        assert said == {
            (
                "error",
                "labels",
            ): "y: 2 labels are not spelled as the sample spells them, for example '1.0' in place of '1'"
        }

    def test_a_sample_of_other_labels_than_train(self, tmp_path: Path) -> None:
        y = [self.CLASSES[i % 4] for i in range(N_TRAIN)]
        for names, text in ((["a", "b", "c"], "'a', 'b', 'c'"), (["a", "b", "c", "d"], "'a', 'b', 'c', …")):
            sample = {"id": TEST_IDS, "y": [names[i % len(names)] for i in range(N_TEST)]}
            found = competition(tmp_path / text, y, "accuracy", sample=sample)
            said = of_file(found, {"id": TEST_IDS, "y": y[:N_TEST]}, tmp_path)
            assert set(said) == {("warning", "foreign_labels")}
            known = ", ".join(repr(c) for c in sorted(self.CLASSES)[:3])
            assert said["warning", "foreign_labels"].startswith(f"y: the sample has {text}, which are not classes of")
            assert said["warning", "foreign_labels"].endswith(", …)")
            assert known.split(",")[0] in said["warning", "foreign_labels"]

    def test_several_of_them_in_a_cell(self, tmp_path: Path) -> None:
        y = [self.CLASSES[i % 4] for i in range(N_TRAIN)]
        found = competition(tmp_path, y, "map@2", sample={"id": TEST_IDS, "y": ["low mid"] * N_TEST})
        pairs = [f"{self.CLASSES[i % 4]} {self.CLASSES[(i + 1) % 4]}" for i in range(N_TEST)]
        assert of_file(found, {"id": TEST_IDS, "y": pairs}, tmp_path) == {}
        assert of_file(found, {"id": TEST_IDS, "y": ["low odd", *pairs[1:]]}, tmp_path) == {
            ("error", "labels"): "y: 1 label is not in train, for example 'odd'"
        }


class TestPositive:
    @pytest.mark.parametrize(
        ("details", "is_wrong"),
        [({}, False), ({"positive": {}}, False), ({"positive": {"y": "1"}}, False), ({"positive": {"y": "0"}}, True)],
    )
    def test_the_class_whose_probability_is_sent(self, tmp_path: Path, details: Any, is_wrong: bool) -> None:
        found = competition(tmp_path, BINARY, "auc")
        expected = "y expects the probability of '1', but the run predicts that of '0': run the experiment again"
        assert message_by_code(positive_class_findings(found, details)) == (
            {("error", "positive"): expected} if is_wrong else {}
        )

    def test_where_the_definition_says_the_other_one(self, tmp_path: Path) -> None:
        found = competition(tmp_path, [("cat", "dog")[i % 2] for i in range(N_TRAIN)], "auc")
        for one, other in (("cat", "dog"), ("dog", "cat")):
            found = edited(found, "[tables]", f'positive = "{one}"\n[tables]')
            assert positive_class_findings(found, {"positive": {"y": one}}) == []
            assert message_by_code(positive_class_findings(found, {"positive": {"y": other}})) == {
                (
                    "error",
                    "positive",
                ): f"y expects the probability of {one!r}, but the run predicts that of {other!r}: run the experiment again"
            }
            # A run that does not say it predicts the greater of the two.
            assert bool(positive_class_findings(found, {})) == (one == "cat")
            found = edited(found, f'positive = "{one}"\n', "")

    def test_where_nothing_says_which_it_is(self, tmp_path: Path) -> None:
        found = competition(tmp_path, [("cat", "dog")[i % 2] for i in range(N_TRAIN)], "auc")
        [finding] = positive_class_findings(found, {"positive": {"y": "dog"}})
        assert (finding.level, finding.code) == ("error", "positive")
        assert finding.message.startswith("target 'y' is 'cat' or 'dog', and it is undecided whether 'y' is the")
        assert 'write positive = "cat" or positive = "dog" into' in finding.message

    def test_where_each_class_has_a_column_of_its_own(self, tmp_path: Path) -> None:
        y = [("cat", "dog")[i % 2] for i in range(N_TRAIN)]
        sample = {"id": TEST_IDS, "cat": [0.5] * N_TEST, "dog": [0.5] * N_TEST}
        found = competition(tmp_path, y, "logloss", sample=sample)
        found = edited(found, 'task = "multiclass"', 'task = "binary"')
        assert positive_class_findings(found, {"positive": {"y": "cat"}}) == []

    @pytest.mark.parametrize(("y", "metric"), [(BINARY, "accuracy"), ([0.5 + i for i in range(N_TRAIN)], "rmse")])
    def test_of_labels_and_amounts_there_is_none(self, tmp_path: Path, y: list[Any], metric: str) -> None:
        found = competition(tmp_path, y, metric)
        assert positive_class_findings(found, {"positive": {"y": "0"}}) == []


class TestRuns:
    def test_of_the_run(self) -> None:
        assert run_findings(RUN) == []
        assert message_by_code(run_findings(replace(RUN, sample=0.25, status="failed"))) == {
            ("error", "sampled"): f"run {RUN.run_id} was a subsample run on 25% of the rows",
            ("error", "unfinished"): f"run {RUN.run_id} is failed: `wb run 1` finishes it",
        }
        assert [f.code for f in run_findings(replace(RUN, sample=1.0))] == ["sampled"]

    def test_one_that_was_run_again(self) -> None:
        assert newer_run_findings(RUN, replace(RUN, cv_mean=0.9)) == []
        latest = replace(RUN, run_id="001-20261124T200000-abcdef02", cv_mean=0.75)
        text = f"this file is of run {RUN.run_id}; the experiment has a newer run: {latest.run_id}"
        assert message_by_code(newer_run_findings(RUN, latest)) == {("warning", "run_again"): f"{text}, CV 0.75000"}
        assert message_by_code(newer_run_findings(RUN, replace(latest, cv_mean=None))) == {
            ("warning", "run_again"): text
        }

    def test_one_that_is_optimistic_or_outdated(self) -> None:
        assert optimistic_findings(RUN) == []
        assert message_by_code(optimistic_findings(replace(RUN, optimistic="tuned on these folds"))) == {
            ("note", "optimistic"): "its CV is optimistic: tuned on these folds"
        }
        assert outdated_findings(CurrentRun(RUN, ())) == []
        [finding] = outdated_findings(CurrentRun(RUN, ("features.py",)))
        assert (finding.level, finding.code) == ("warning", "outdated")
        assert finding.message.startswith(f"run {RUN.run_id} is of an earlier definition (")
        assert finding.message.endswith("): `wb run 1` runs the present one")

    @pytest.mark.parametrize(
        ("status", "words"),
        [("running", "is still running"), ("interrupted", "was interrupted"), ("failed", "failed"), ("finished", "")],
    )
    def test_newer_ones_that_are_passed_over(self, status: str, words: str) -> None:
        other = replace(RUN, run_id="001-20261124T200000-b", created_at=NOW + timedelta(1), status=status)
        text = f"run {other.run_id} of the experiment is newer and {words}; this file is of run {RUN.run_id}"
        expected = {("warning", "newer_run"): text} if words else {}
        assert message_by_code(unfinished_run_findings(RUN, [RUN, other], [])) == expected
        for not_so in ({"exp": 2}, {"sample": 0.1}, {"created_at": NOW - timedelta(1)}):
            assert unfinished_run_findings(RUN, [RUN, replace(other, **not_so)], []) == []
        # Of the same moment the names decide, and no run is newer than itself.
        same = replace(other, created_at=NOW)
        assert message_by_code(unfinished_run_findings(RUN, [same], [])) == expected
        assert unfinished_run_findings(replace(RUN, status=status), [replace(RUN, status=status)], []) == []
        assert unfinished_run_findings(RUN, [replace(same, run_id="000")], []) == []

    def test_newer_folders_without_a_record(self) -> None:
        older, newer = "001-20261101T000000-a", "001-20261201T000000-a"
        assert unfinished_run_findings(RUN, [RUN], [older, RUN.run_id]) == []
        assert unfinished_run_findings(RUN, [], [RUN.run_id]) == []
        [finding] = unfinished_run_findings(RUN, [RUN], [older, newer])
        said = f"{newer} is newer and has no record: it may be incomplete or still being copied"
        assert finding.message == f"{said}; this file is of run {RUN.run_id}"
        assert unfinished_run_findings(RUN, [replace(RUN, run_id=newer, exp=2)], [newer]) == []


class TestHistory:
    SENT = replace(SUBMISSION, status="complete", run_id="another", exp=3)

    @pytest.mark.parametrize("status", ["sending", "unlisted", "pending", "complete"])
    def test_the_same_bytes(self, status: str) -> None:
        sent = replace(self.SENT, status=status, sha256="a")
        text = "the same bytes were sent before: experiment 3"
        assert message_by_code(history_findings(RUN, "a", [sent])) == {("warning", "same_bytes"): text}
        scored = replace(sent, public_score=0.5)
        first = message_by_code(history_findings(RUN, "a", [scored, replace(sent, exp=4)]))
        assert first == {("warning", "same_bytes"): f"{text}, public score 0.50000"}
        assert history_findings(RUN, "b", [sent]) == []

    @pytest.mark.parametrize("status", ["prepared", "error"])
    def test_what_never_arrived_is_no_history(self, status: str) -> None:
        sent = replace(self.SENT, status=status, sha256="a", cv_mean=0.9)
        assert history_findings(RUN, "a", [sent]) == []

    @pytest.mark.parametrize(
        ("greater", "earlier", "is_worse"),
        [(True, 0.75, True), (True, 0.74, False), (True, 0.73, False), (False, 0.73, True), (False, 0.75, False)],
    )
    def test_a_better_cv_that_was_sent(self, greater: bool, earlier: float, is_worse: bool) -> None:
        run = replace(RUN, greater_is_better=greater)
        worst = replace(self.SENT, cv_mean=0.1 if greater else 0.9, exp=9)
        sent = [worst, replace(self.SENT, cv_mean=earlier), replace(worst, cv_mean=None)]
        text = f"CV 0.74000 is worse than {earlier:.5f} of experiment 3, sent before"
        assert message_by_code(history_findings(run, "x", sent)) == (
            {("warning", "lower_cv"): text} if is_worse else {}
        )

    def test_one_without_a_cv_or_of_the_same_run_is_not_compared(self) -> None:
        better = replace(self.SENT, cv_mean=0.9)
        assert history_findings(replace(RUN, cv_mean=None), "x", [better]) == []
        assert history_findings(RUN, "x", [replace(better, run_id=RUN.run_id)]) == []
        assert history_findings(RUN, "x", [replace(better, cv_mean=None)]) == []

    def test_one_that_may_have_arrived(self) -> None:
        sent = replace(SUBMISSION, status="unlisted", file="f", sha256="a")
        for file, sha256, is_same in (("f", "b", True), ("g", "a", True), ("g", "b", False)):
            assert bool(possibly_sent_findings(file, sha256, [sent])) == is_same
        for status in ("sending", "pending", "complete", "error", "prepared"):
            assert possibly_sent_findings("f", "a", [replace(sent, status=status)]) == []
        later = replace(sent, sent_at=datetime(2026, 11, 25, 9, 30, tzinfo=UTC))
        [finding] = possibly_sent_findings("f", "a", [sent, later])
        assert (finding.level, finding.code) == ("warning", "possibly_sent")
        assert "at 2026-11-25 09:30 UTC: the platform does not list it" in finding.message
        assert "at 2026-11-23 20:00 UTC" in possibly_sent_findings("f", "a", [later, sent])[0].message


class TestPlatform:
    FACTS = CompetitionFacts("small", "Small", url="https://example.org/c/small")
    LIMITS = SubmissionLimits(5, 3)

    def test_nothing_speaks_against_it(self) -> None:
        assert platform_findings(self.FACTS, self.LIMITS) == []
        assert platform_findings(self.FACTS, SubmissionLimits(5, 1)) == []
        assert platform_findings(self.FACTS, SubmissionLimits(None, None), in_doubt=7) == []

    def test_notebooks_only(self) -> None:
        facts = replace(self.FACTS, kind="notebook")
        assert platform_findings(facts, self.LIMITS, is_kernel=True) == []
        assert message_by_code(platform_findings(facts, self.LIMITS)) == {
            ("error", "notebook_only"): "the competition takes notebooks only, by `wb kernel push` and `wb kernel "
            "submit` or on its page: https://example.org/c/small"
        }
        [of_server] = platform_findings(replace(facts, url=""), self.LIMITS, server_file="gateway.py")
        assert of_server.message == (
            "the competition takes notebooks only, on its page, where its evaluation server (gateway.py) calls them"
        )

    def test_one_that_is_over(self) -> None:
        past, future = (datetime.now(UTC) + timedelta(days) for days in (-1, 1))
        for deadline, expected in ((past, {("warning", "late")}), (future, set()), (None, set())):
            found = message_by_code(platform_findings(replace(self.FACTS, deadline=deadline), self.LIMITS))
            assert set(found) == expected
        with ShortClock().running():
            # To its last moment it takes submissions.
            assert platform_findings(replace(self.FACTS, deadline=START), self.LIMITS) == []
        late = platform_findings(replace(self.FACTS, deadline=past), self.LIMITS)[0].message
        assert late == f"the deadline was {past:%Y-%m-%d %H:%M} UTC: this is a late submission"
        for deadline, since in ((past, f" since {past:%Y-%m-%d %H:%M} UTC"), (None, "")):
            closed = replace(self.FACTS, deadline=deadline, accepts_submissions=False)
            assert message_by_code(platform_findings(closed, self.LIMITS)) == {
                ("error", "closed"): f"the competition takes no submissions{since}"
            }

    @pytest.mark.parametrize(
        ("limits", "in_doubt", "expected"),
        [
            (SubmissionLimits(5, 1), 0, {}),
            (
                SubmissionLimits(5, 0),
                0,
                {("error", "daily_limit"): "today's 5 submissions are used up (days are UTC days)"},
            ),
            (
                SubmissionLimits(5, -1),
                9,
                {("error", "daily_limit"): "today's 5 submissions are used up (days are UTC days)"},
            ),
            (
                SubmissionLimits(None, 0),
                0,
                {("error", "daily_limit"): "today's submissions are used up (days are UTC days)"},
            ),
            (SubmissionLimits(5, 2), 1, {}),
            (
                SubmissionLimits(5, 2),
                2,
                {
                    (
                        "warning",
                        "limit_in_doubt",
                    ): "the platform counts 2 remaining today, but may not have counted 2 that "
                    "may have arrived: the limit may be used up"
                },
            ),
            (
                SubmissionLimits(5, 0, limited_by_total=True),
                0,
                {
                    (
                        "error",
                        "total_limit",
                    ): "the submissions of your team for the whole competition are used up: another day brings no more"
                },
            ),
            (SubmissionLimits(5, 1, limited_by_total=True), 0, {}),
            (SubmissionLimits(5, None), 3, {}),
        ],
    )
    def test_limits(self, limits: SubmissionLimits, in_doubt: int, expected: Any) -> None:
        found = platform_findings(self.FACTS, limits, in_doubt=in_doubt)
        assert message_by_code(found) == expected
        for finding in found:
            assert (finding.hint != "") == (finding.level == "error")


class TestKernels:
    def test_what_it_wrote_is_compared_with_the_runs_own(self, tmp_path: Path) -> None:
        found = competition(tmp_path, BINARY, "auc")
        own, written = tmp_path / "own.csv", tmp_path / "written.csv"
        pl.DataFrame({"id": TEST_IDS, "y": GOOD}).write_csv(own)
        pl.DataFrame({"id": TEST_IDS[::-1], "y": GOOD[::-1]}).write_csv(written)
        assert kernel_findings(found, written, own, "") == []
        newer = {("warning", "older_version"): "this is not the kernel's newest version: version 2 failed"}
        assert message_by_code(kernel_findings(found, written, own, "version 2 failed")) == newer
        pl.DataFrame({"id": TEST_IDS, "y": [0.5, 0.6, *GOOD[2:]]}).write_csv(written)
        said = message_by_code(kernel_findings(found, written, own, ""))
        assert said["warning", "differs"].startswith(
            "2 of the kernel's predictions differ from the run's own, by up to "
        )
        assert len(kernel_findings(found, written, own, "version 2 failed")) == 2
        # What is no such file is said by what looks at files.
        for lines in ("id,y\n1,0.5\n", ""):
            written.write_text(lines)
            assert kernel_findings(found, written, own, "") == []
        written.unlink()
        assert message_by_code(kernel_findings(found, written, own, "version 2 failed")) == newer
