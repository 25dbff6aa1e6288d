from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.clock import Clock
from tests.quick_run import ALL, QUICK, quick
from workbench.api import library
from workbench.core.context import RunContext, text_listener
from workbench.core.errors import NotFoundError, PlatformError, SubmissionError, UnansweredError
from workbench.ledger import Ledger
from workbench.platforms.protocol import BeforeCreate, PlatformSubmission, SubmissionLimits, connect
from workbench.rehearsal import LocalPlatform
from workbench.review.table import as_text
from workbench.submissions import SubmissionChannel, prepare, send, sync, wait_for_score
from workbench.submissions.findings import file_findings
from workbench.submissions.message import MAX_CHARACTERS


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
        assert codes(file_findings(made.open.access.competition, path)) == expected

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
        assert (("error", "labels") in codes(file_findings(made.open.access.competition, path))) == expected

    @pytest.mark.parametrize("empty", ["", None])
    def test_an_empty_label_stops_in_quotes_or_not(self, small, tmp_path: Path, empty: str | None) -> None:
        made = small(task="multiclass", metric="accuracy")
        frame = pl.read_csv(quick(made).submission)
        path = tmp_path / "sent.csv"
        frame.with_columns(y=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit(empty)).otherwise("y")).write_csv(path)
        assert codes(file_findings(made.open.access.competition, path)) == {("error", "nulls")}

    def test_all_are_shown_at_once(self, small, tmp_path: Path) -> None:
        made = small()
        frame = pl.read_csv(quick(made).submission)
        path = tmp_path / "sent.csv"
        frame.head(90).with_columns(y=pl.lit(None)).write_csv(path)
        assert codes(file_findings(made.open.access.competition, path)) >= {
            ("error", "row_count"),
            ("error", "missing_ids"),
            ("error", "nulls"),
        }

    def test_amounts_far_beyond_train_ask(self, small, tmp_path: Path) -> None:
        made = small(task="regression", metric="rmse")
        frame = pl.read_csv(quick(made).submission)
        path = tmp_path / "sent.csv"
        frame.with_columns(y=pl.col("y") * 1000).write_csv(path)
        assert codes(file_findings(made.open.access.competition, path)) == {("warning", "range")}

    def test_the_same_bytes_ask(self, small) -> None:
        made = small()
        quick(made)
        made.open.submissions.send(made.open.submissions.prepare(1))
        assert codes(made.open.submissions.prepare(1).findings) == {("warning", "same_bytes")}

    def test_a_lower_cv_asks(self, small) -> None:
        made = small()
        quick(made)
        made.open.submissions.send(made.open.submissions.prepare(1))
        made.experiment(2, 'features = ["rows.household"]\n' + QUICK)
        made.open.run(2)
        assert ("warning", "lower_cv") in codes(made.open.submissions.prepare(2).findings)

    def test_the_daily_limit_stops(self, small) -> None:
        made = small(daily_limit=1)
        quick(made)
        made.open.submissions.send(made.open.submissions.prepare(1))
        prepared = made.open.submissions.prepare(1)
        assert ("error", "daily_limit") in codes(prepared.errors)
        assert (prepared.remaining_today, prepared.per_day) == (0, 1)
        with pytest.raises(SubmissionError, match="used up") as caught:
            made.open.submissions.send(prepared)
        # Nothing is wrong with the run: what helps is the next day.
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        assert f"the next day begins at {tomorrow} 00:00 UTC" in caught.value.hint
        assert "run the experiment again" not in caught.value.hint
        with pytest.raises(PlatformError, match="used up") as refused:  # as where a team mate was quicker
            connect("rehearsal", made.workspace.root).submit("small", prepared.file, "")
        assert f"the next day begins at {tomorrow} 00:00 UTC" in refused.value.hint

    def test_what_it_will_stand_beside(self, small) -> None:
        made = small()
        quick(made)
        first = made.open.submissions.prepare(1)
        assert (first.compared_with, first.rows) == (None, len(made.open.runs[1].test))
        sent = made.open.submissions.send(first)
        made.experiment(2, 'features = ["rows.household"]\n' + QUICK)
        made.open.run(2)
        second = made.open.submissions.send(made.open.submissions.prepare(2))
        assert sent.public_score is not None
        assert second.public_score is not None
        better = max(sent, second, key=lambda s: s.public_score or 0)
        again = made.open.submissions.prepare(2).compared_with
        assert again is not None
        assert again.submission_id == better.submission_id

    @pytest.mark.parametrize(("metric", "by_cv", "by_score"), [("auc", "c", "a"), ("logloss", "b", "c")])
    def test_the_best_that_was_sent_is_that_of_the_metric(self, small, metric: str, by_cv: str, by_score: str) -> None:
        """By the platform's score where it has told one, else by CV; what it refused is no submission."""
        made = small(metric=metric, n_rows=120)
        quick(made)
        sent = replace(made.open.submissions.send(made.open.submissions.prepare(1)), public_score=None)
        others = [("a", 0.5), ("b", 0.4), ("c", 0.6)]
        with Ledger.open(made.workspace.ledger) as ledger:
            ledger.put_submission(replace(sent, cv_mean=None))
            for name, cv in others:
                ledger.put_submission(replace(sent, submission_id=name, ref=name, cv_mean=cv))
            for name, cv in (("d", 0.9), ("e", 0.1)):
                ledger.put_submission(
                    replace(sent, submission_id=name, ref=name, cv_mean=cv, public_score=cv, status="error")
                )
        assert made.open.submissions.prepare(1).compared_with.submission_id == by_cv
        with Ledger.open(made.workspace.ledger) as ledger:
            for (name, cv), score in zip(others[::2], (0.8, 0.7), strict=True):
                ledger.put_submission(replace(sent, submission_id=name, ref=name, cv_mean=cv, public_score=score))
        assert made.open.submissions.prepare(1).compared_with.submission_id == by_score

    def test_a_closed_competition_stops(self, small) -> None:
        made = small(deadline=datetime(2020, 1, 1, tzinfo=UTC))
        quick(made)
        assert codes(made.open.submissions.prepare(1).findings) == {("warning", "late")}
        host = made.folder / "rehearsal" / "host.toml"
        host.write_text(host.read_text().replace("late_submissions = true", "late_submissions = false"))
        assert codes(made.open.submissions.prepare(1).findings) == {("error", "closed")}

    def test_an_interrupted_run_stops(self, small) -> None:
        made = small()
        made.experiment(1, ALL + QUICK)

        def stop(*_: Any) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            made.open.run(1, done=stop)
        assert ("error", "unfinished") in codes(made.open.submissions.prepare(1).findings)

    def test_what_was_never_run_is_explained(self, small) -> None:
        with pytest.raises(NotFoundError, match="experiment 1 of 'small' was never run"):
            small().open.submissions.prepare(1)


class Broken:
    """A platform whose answer to `submit` is lost; everything else is the rehearsal's. A named fake."""

    name = "rehearsal"

    def __init__(
        self, real: LocalPlatform, *, arrives: bool, listed_after_s: float = 0, listing_delay_s: float = 0
    ) -> None:
        self.real, self.arrives, self.listing_delay_s = real, arrives, listing_delay_s
        self.listed_at = time.monotonic() + listed_after_s

    def submit(self, slug: str, file: Path, message: str, *, before_create: BeforeCreate = lambda: None) -> str:
        before_create()
        if self.arrives:
            self.real.submit(slug, file, message)
        raise UnansweredError("the line was cut")

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        return self.real.submissions(slug) if time.monotonic() > self.listed_at else []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class TestSending:
    def test_it_is_logged_before_and_after(self, small) -> None:
        made = small()
        run = quick(made)
        sent = made.open.submissions.send(made.open.submissions.prepare(1), message="first")
        assert (sent.status, sent.exp, sent.run_id, sent.cv_mean) == ("complete", 1, run.record.run_id, run.score)
        assert sent.public_score is not None
        copy = made.workspace.root / sent.file
        assert copy.read_bytes() == run.submission.read_bytes()
        assert copy.name == f"{run.record.run_id}.csv"
        sidecar = json.loads(copy.with_suffix(f".{sent.submission_id}.json").read_text())
        assert sidecar["record"]["status"] == "complete"
        assert [e["status"] for e in sidecar["events"]] == ["prepared", "sending", "pending", "complete"]
        (theirs,) = LocalPlatform(made.workspace.root).submissions("small")
        assert theirs.message.startswith(f"wb:{sent.submission_id} | first | CV 0.")

    def test_a_long_message_is_cut_and_keeps_its_token_and_cv(self, small) -> None:
        made = small()
        quick(made)
        sent = made.open.submissions.send(
            made.open.submissions.prepare(1), message="many words\n" * 100 + "wb:0123456789"
        )
        (theirs,) = LocalPlatform(made.workspace.root).submissions("small")
        assert theirs.message.startswith(f"wb:{sent.submission_id} | many words many words")
        assert theirs.message.endswith(f"… | CV {sent.cv_mean:.6g}")
        assert len(theirs.message) == MAX_CHARACTERS
        assert made.open.submissions.sync() == []

    def test_a_refusal_is_logged(self, small) -> None:
        """A team mate was quicker than the look at the limits."""
        made = small(daily_limit=1)
        run = quick(made)
        prepared = made.open.submissions.prepare(1)
        real = LocalPlatform(made.workspace.root)
        real.submit("small", run.submission, "a team mate's")
        late = Broken(real, arrives=True)
        late.submit, late.limits = real.submit, lambda _slug: SubmissionLimits(1, 1)  # type: ignore[method-assign]
        with Ledger.open(made.workspace.ledger) as ledger:
            with pytest.raises(PlatformError, match="used up"):
                send(SubmissionChannel(made.workspace, made.open.access.competition, late, ledger), prepared)
            assert [s.status for s in ledger.submissions("small")] == ["complete", "error"]

    @pytest.mark.parametrize("arrives", [True, False])
    def test_a_lost_answer_is_settled_by_asking(self, small, arrives: bool) -> None:
        made = small()
        quick(made)
        real = LocalPlatform(made.workspace.root)
        with Ledger.open(made.workspace.ledger) as ledger:
            competition = made.open.access.competition
            prepared = prepare(SubmissionChannel(made.workspace, competition, real, ledger), 1)
            with pytest.raises(UnansweredError):
                send(SubmissionChannel(made.workspace, competition, Broken(real, arrives=arrives), ledger), prepared)
            assert [s.status for s in ledger.submissions("small")] == ["sending"]
            (changed,) = sync(SubmissionChannel(made.workspace, competition, real, ledger))
            assert changed.status == ("complete" if arrives else "unlisted")
            assert ("does not list it" in (changed.error or "")) != arrives
            assert len(real.submissions("small")) == arrives
            # Neither is sent another time unasked: the list may be later than ever.
            prepared = prepare(SubmissionChannel(made.workspace, competition, real, ledger), 1)
            assert codes(prepared.findings) == {("warning", "same_bytes" if arrives else "possibly_sent")}
            assert prepared.in_doubt == (not arrives)
            if not arrives:
                with pytest.raises(SubmissionError, match="may have been sent already") as caught:
                    send(SubmissionChannel(made.workspace, competition, real, ledger), prepared)
                assert "--again" in caught.value.hint
            assert (
                send(SubmissionChannel(made.workspace, competition, real, ledger), prepared, again=True).status
                == "complete"
            )
            assert len(real.submissions("small")) == 1 + arrives

    @pytest.mark.parametrize("arrives", [True, False])
    def test_the_next_call_settles_first(self, small, tmp_path: Path, arrives: bool) -> None:
        """The list is behind: the next call waits for it, and sends only what did not arrive."""
        made = small()
        quick(made)
        real = LocalPlatform(made.workspace.root)
        said: list[str] = []
        clock = Clock(tmp_path / "clock.json")
        with clock.running(), Ledger.open(made.workspace.ledger) as ledger:
            competition = made.open.access.competition
            prepared = prepare(SubmissionChannel(made.workspace, competition, real, ledger), 1)
            with pytest.raises(UnansweredError):
                send(SubmissionChannel(made.workspace, competition, Broken(real, arrives=arrives), ledger), prepared)
            late = Broken(real, arrives=True, listed_after_s=12, listing_delay_s=60)
            late.submit = real.submit  # type: ignore[method-assign]
            started = clock.true_s
            asked: list[Any] = []

            def agree(findings: Any) -> bool:
                asked.extend(findings)
                return True

            sent = send(
                SubmissionChannel(made.workspace, competition, late, ledger),
                prepared,
                agree=agree,
                context=RunContext((text_listener(said.append),)),
            )
            took = clock.true_s - started
            assert sent.status == "complete"
            assert len(real.submissions("small")) == 1
            assert len(ledger.submissions("small")) == 1 + (not arrives)
            assert (12 < took < 18) if arrives else (60 < took < 66)
            assert codes(asked) == (set() if arrives else {("warning", "possibly_sent")})
            assert "was interrupted" in said[0]

    def test_a_list_that_fails_after_the_sending_is_no_failure_of_it(self, small) -> None:
        made = small()
        quick(made)
        real = LocalPlatform(made.workspace.root)
        with Ledger.open(made.workspace.ledger) as ledger:
            competition = made.open.access.competition
            prepared = prepare(SubmissionChannel(made.workspace, competition, real, ledger), 1)
            mute = Broken(real, arrives=True)
            mute.submit = real.submit  # type: ignore[method-assign]
            answers = iter([real.submissions("small")])

            def once(_slug: str) -> list[PlatformSubmission]:
                for answer in answers:
                    return answer
                raise PlatformError("no answer")

            mute.submissions = once  # type: ignore[method-assign]
            sent = send(SubmissionChannel(made.workspace, competition, mute, ledger), prepared)
            assert (sent.status, sent.public_score) == ("pending", None)
            (synced,) = sync(SubmissionChannel(made.workspace, competition, real, ledger))
            assert (synced.submission_id, synced.status) == (sent.submission_id, "complete")

    def test_the_score_is_waited_for(self, small, monkeypatch: pytest.MonkeyPatch) -> None:
        made = small()
        quick(made)
        monkeypatch.setattr("workbench.submissions.follow.FIRST_PAUSE_S", 0.01)
        real = LocalPlatform(made.workspace.root)
        with Ledger.open(made.workspace.ledger) as ledger:
            competition = made.open.access.competition
            channel = SubmissionChannel(made.workspace, competition, real, ledger)
            sent = send(channel, prepare(channel, 1))
            pending = replace(sent, status="pending", public_score=None, private_score=None)
            queue = Broken(real, arrives=True)
            answers: list[Any] = ["pending", PlatformError("busy"), "pending", "complete"]

            def next_answer(slug: str) -> list[PlatformSubmission]:
                answer = answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                scores = {} if answer == "complete" else {"public_score": None, "private_score": None}
                return [replace(s, status=answer, **scores) for s in real.submissions(slug)]

            queue.submissions = next_answer  # type: ignore[method-assign]
            said: list[str] = []
            found = wait_for_score(
                SubmissionChannel(made.workspace, competition, queue, ledger),
                pending,
                context=RunContext((text_listener(said.append),)),
            )
            assert (found.status, found.public_score) == ("complete", sent.public_score)
            assert (answers, len(said)) == ([], 3)
            answers += ["pending"] * 1000
            still = wait_for_score(SubmissionChannel(made.workspace, competition, queue, ledger), pending, limit_s=0.2)
            assert still.status == "pending"

    def test_what_was_sent_elsewhere_is_shown_as_that(self, small, tmp_path: Path) -> None:
        made = small()
        run = quick(made)
        real = LocalPlatform(made.workspace.root)
        real.submit("small", run.submission, "by hand, through the page")
        mine = made.open.submissions.send(made.open.submissions.prepare(1))
        other = tmp_path / "blend.csv"
        other.write_bytes(run.submission.read_bytes())
        real.submit("small", other, "7 a team mate's | CV 0.81 | wb:0123456789")
        made.open.submissions.sync()
        assert made.open.submissions.sync() == []
        submissions = {s.ref: s for s in made.open.submissions.records()}
        assert len(submissions) == len(real.submissions("small")) == 3
        elsewhere = [s for s in submissions.values() if s.ref != mine.ref]
        assert [s.run_id for s in elsewhere] == ["", ""]
        assert {s.cv_mean for s in elsewhere} == {None, 0.81}
        assert all(s.public_score == mine.public_score for s in elsewhere)
        rows = made.open.table()
        assert [(r.run.kind, r.public_score) for r in rows if r.run.kind == "elsewhere"] == [
            ("elsewhere", mine.public_score)
        ] * 2
        assert "by hand, through the page" in as_text(rows)
        with pytest.raises(NotFoundError):
            made.open.runs[0]
        before = made.open.submissions.records()
        made.workspace.ledger.unlink()
        library.rebuild_ledger(made.workspace)
        assert made.open.submissions.records() == before

    def test_scores_that_came_later_are_brought(self, small) -> None:
        deadline = datetime(2099, 1, 1, tzinfo=UTC)
        made = small(deadline=deadline)
        quick(made)
        sent = made.open.submissions.send(made.open.submissions.prepare(1))
        assert (sent.public_score is not None, sent.private_score) == (True, None)
        assert made.open.submissions.sync() == []
        later = LocalPlatform(made.workspace.root, lambda: deadline.replace(year=2100))
        with Ledger.open(made.workspace.ledger) as ledger:
            (changed,) = sync(SubmissionChannel(made.workspace, made.open.access.competition, later, ledger))
            assert changed.private_score is not None
            assert ledger.submissions("small") == [changed]
            assert changed == replace(sent, private_score=changed.private_score)
