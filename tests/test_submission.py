from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.test_run import ALL, QUICK, quick
from workbench.errors import NotFoundError, PlatformError, SubmissionError
from workbench.ledger import Ledger
from workbench.platforms import PlatformSubmission
from workbench.rehearsal import Rehearsal
from workbench.submission import prepare, send, sync
from workbench.submission.findings import file_findings


def codes(findings: Any) -> set[tuple[str, str]]:
    return {(f.level, f.code) for f in findings}


class TestFindings:
    @pytest.mark.parametrize(
        ("spoil", "expected"),
        [
            (lambda f: f, set()),
            (lambda f: f.rename({"y": "Y"}), {("error", "columns")}),
            (lambda f: f.with_columns(extra=pl.lit(1)), {("error", "columns")}),
            (lambda f: f.select("y", "id"), {("warning", "column_order")}),
            (lambda f: f.reverse(), {("warning", "row_order")}),
            (lambda f: f.head(90), {("error", "row_count"), ("error", "missing_ids")}),
            (lambda f: pl.concat([f, f.head(1)]), {("error", "row_count"), ("error", "repeated_ids")}),
            (
                lambda f: f.with_columns(id=pl.when(pl.int_range(pl.len()) == 3).then(7).otherwise("id")),
                {("error", "missing_ids"), ("error", "extra_ids")},
            ),
            (lambda f: f.with_columns(y=pl.when(pl.col("y") > 0.5).then(None).otherwise("y")), {("error", "nulls")}),
            (
                lambda f: f.with_columns(y=pl.when(pl.col("y") > 0.5).then(float("inf")).otherwise("y")),
                {("error", "infinite")},
            ),
            (
                lambda f: f.with_columns(y=pl.when(pl.col("y") > 0.5).then(float("nan")).otherwise("y")),
                {("error", "infinite")},
            ),
            (lambda f: f.with_columns(y=pl.format("p{}", "y")), {("error", "type")}),
            (lambda f: f.with_columns(y=pl.lit(0.5)), {("warning", "constant")}),
            (lambda f: f.with_columns(y=pl.col("y") * 100), {("warning", "range")}),
        ],
    )
    def test_the_file(self, small, tmp_path: Path, spoil: Any, expected: set[tuple[str, str]]) -> None:
        made = small()
        run = quick(made)
        path = tmp_path / "sent.csv"
        spoil(pl.read_csv(run.submission)).write_csv(path)
        assert codes(file_findings(made.open.definition, path)) == expected

    @pytest.mark.parametrize(
        ("metric", "value", "expected"),
        [
            ("accuracy", "middle", True),
            ("accuracy", "mid", False),
            ("map@2", "mid lwo", True),
            ("map@2", "mid low", False),
        ],
    )
    def test_labels_that_train_does_not_have_stop(
        self, small, tmp_path: Path, metric: str, value: str, expected: bool
    ) -> None:
        made = small(task="multiclass", metric=metric)
        frame = pl.read_csv(quick(made).submission)
        path = tmp_path / "sent.csv"
        frame.with_columns(y=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit(value)).otherwise("y")).write_csv(path)
        assert (("error", "labels") in codes(file_findings(made.open.definition, path))) == expected

    def test_all_are_shown_at_once(self, small, tmp_path: Path) -> None:
        made = small()
        frame = pl.read_csv(quick(made).submission)
        path = tmp_path / "sent.csv"
        frame.head(90).with_columns(y=pl.lit(None)).write_csv(path)
        assert codes(file_findings(made.open.definition, path)) >= {
            ("error", "row_count"),
            ("error", "missing_ids"),
            ("error", "nulls"),
        }

    def test_amounts_far_beyond_train_ask(self, small, tmp_path: Path) -> None:
        made = small(task="regression", metric="rmse")
        frame = pl.read_csv(quick(made).submission)
        path = tmp_path / "sent.csv"
        frame.with_columns(y=pl.col("y") * 1000).write_csv(path)
        assert codes(file_findings(made.open.definition, path)) == {("warning", "range")}

    def test_the_same_bytes_ask(self, small) -> None:
        made = small()
        quick(made)
        made.open.send(made.open.prepare(1))
        assert codes(made.open.prepare(1).findings) == {("warning", "same_bytes")}

    def test_a_lower_cv_asks(self, small) -> None:
        made = small()
        quick(made)
        made.open.send(made.open.prepare(1))
        made.experiment(2, 'features = ["rows.household"]\n' + QUICK)
        made.open.run(2)
        assert ("warning", "lower_cv") in codes(made.open.prepare(2).findings)

    def test_the_daily_limit_stops(self, small) -> None:
        made = small(daily_limit=1)
        quick(made)
        made.open.send(made.open.prepare(1))
        prepared = made.open.prepare(1)
        assert ("error", "daily_limit") in codes(prepared.errors)
        with pytest.raises(SubmissionError, match="used up"):
            made.open.send(prepared)

    def test_a_closed_competition_stops(self, small) -> None:
        made = small(deadline=datetime(2020, 1, 1, tzinfo=UTC))
        quick(made)
        assert codes(made.open.prepare(1).findings) == {("warning", "late")}
        host = made.folder / "rehearsal" / "host.toml"
        host.write_text(host.read_text().replace("late_submissions = true", "late_submissions = false"))
        assert codes(made.open.prepare(1).findings) == {("error", "closed")}

    def test_an_interrupted_run_stops(self, small) -> None:
        made = small()
        made.experiment(1, ALL + QUICK)

        def stop(*_: Any) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            made.open.run(1, done=stop)
        assert ("error", "unfinished") in codes(made.open.prepare(1).findings)

    def test_what_was_never_run_is_explained(self, small) -> None:
        with pytest.raises(NotFoundError, match="experiment 1 of 'small' was never run"):
            small().open.prepare(1)


class Broken:
    """A platform whose answer to `submit` is lost; everything else is the rehearsal's. A named fake."""

    name = "rehearsal"

    def __init__(self, real: Rehearsal, *, arrives: bool, listed: bool = True) -> None:
        self.real, self.arrives, self.listed = real, arrives, listed

    def submit(self, slug: str, file: Path, message: str) -> str:
        if self.arrives:
            self.real.submit(slug, file, message)
        raise ConnectionResetError("the line was cut")

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        return self.real.submissions(slug) if self.listed else []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class TestSending:
    def test_it_is_logged_before_and_after(self, small) -> None:
        made = small()
        run = quick(made)
        sent = made.open.send(made.open.prepare(1), message="first")
        assert (sent.status, sent.exp, sent.run_id, sent.cv_mean) == ("complete", 1, run.record.run_id, run.score)
        assert sent.public_score is not None
        copy = made.workspace.root / sent.file
        assert copy.read_bytes() == run.submission.read_bytes()
        assert copy.name == f"{run.record.run_id}.csv"
        sidecar = json.loads(copy.with_suffix(f".{sent.submission_id}.json").read_text())
        assert sidecar["record"]["status"] == "complete"
        assert [e["status"] for e in sidecar["events"]] == ["prepared", "sending", "pending", "complete"]
        (theirs,) = Rehearsal(made.workspace.root).submissions("small")
        assert theirs.message.startswith("first | CV 0.")
        assert f"wb:{sent.submission_id}" in theirs.message

    def test_a_refusal_is_logged(self, small) -> None:
        made = small(daily_limit=1)
        quick(made)
        prepared = made.open.prepare(1)
        made.open.send(prepared)
        with pytest.raises(PlatformError, match="used up"):
            made.open.send(prepared)
        with Ledger.open(made.workspace.ledger) as ledger:
            assert [s.status for s in ledger.submissions("small")] == ["complete", "error"]

    @pytest.mark.parametrize("arrives", [True, False])
    def test_a_lost_answer_is_settled_by_asking(self, small, arrives: bool) -> None:
        made = small()
        quick(made)
        real = Rehearsal(made.workspace.root)
        with Ledger.open(made.workspace.ledger) as ledger:
            competition = made.open.definition
            prepared = prepare(made.workspace, competition, 1, real, ledger)
            with pytest.raises(ConnectionResetError):
                send(made.workspace, competition, prepared, Broken(real, arrives=arrives), ledger)
            assert [s.status for s in ledger.submissions("small")] == ["sending"]
            changed = sync(made.workspace, competition, real, ledger)
        assert [s.status for s in changed] == (["complete"] if arrives else [])
        assert len(real.submissions("small")) == arrives

    def test_what_may_have_arrived_is_not_sent_again(self, small) -> None:
        made = small()
        quick(made)
        real = Rehearsal(made.workspace.root)
        with Ledger.open(made.workspace.ledger) as ledger:
            competition = made.open.definition
            prepared = prepare(made.workspace, competition, 1, real, ledger)
            with pytest.raises(ConnectionResetError):
                send(made.workspace, competition, prepared, Broken(real, arrives=True), ledger)
            late = Broken(real, arrives=True, listed=False)
            with pytest.raises(SubmissionError, match="may have arrived"):
                send(made.workspace, competition, prepared, late, ledger)
        assert len(real.submissions("small")) == 1

    def test_scores_that_came_later_are_brought(self, small) -> None:
        deadline = datetime(2099, 1, 1, tzinfo=UTC)
        made = small(deadline=deadline)
        quick(made)
        sent = made.open.send(made.open.prepare(1))
        assert (sent.public_score is not None, sent.private_score) == (True, None)
        assert made.open.sync() == []
        later = Rehearsal(made.workspace.root, lambda: deadline.replace(year=2100))
        with Ledger.open(made.workspace.ledger) as ledger:
            (changed,) = sync(made.workspace, made.open.definition, later, ledger)
            assert changed.private_score is not None
            assert ledger.submissions("small") == [changed]
            assert changed == replace(sent, private_score=changed.private_score)
