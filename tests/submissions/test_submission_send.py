"""A submission from the look at a run to the copy that is sent, on a clock that does not wait."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.clock import START
from tests.code_host import ShortClock
from tests.small import Small
from workbench.core.cache import file_sha256
from workbench.core.errors import (
    DamagedError,
    LoginError,
    NotFoundError,
    PlatformError,
    SubmissionError,
    UnansweredError,
)
from workbench.ledger import Ledger, SubmissionRecord
from workbench.platforms.protocol import (
    BeforeCreate,
    CompetitionFacts,
    KernelVersion,
    PlatformSubmission,
    SubmissionLimits,
)
from workbench.submissions import KernelOutput, PreparedSubmission, SubmissionChannel, SubmissionFinding, prepare, send

EXPERIMENT = 'title = "quick"\nfeatures = ["ratio"]\n[model]\nnum_iterations = 3\n'


LIMIT, FACT = SubmissionLimits(5, 5), CompetitionFacts("small", "Small")


@dataclass
class Takes:
    """A platform that takes what it is sent, and lists it; `ends` is raised once it has been asked to."""

    theirs: list[PlatformSubmission] = field(default_factory=list)
    limit: SubmissionLimits = LIMIT
    fact: CompetitionFacts = FACT
    refuses: Exception | None = None
    ends: Exception | None = None
    silent: Exception | None = None
    name: str = "memory"
    listing_delay_s: float = 60.0
    code: Any = None
    sent: list[tuple[Any, ...]] = field(default_factory=list)

    def facts(self, slug: str) -> CompetitionFacts:
        return self.fact

    def limits(self, slug: str) -> SubmissionLimits:
        if isinstance(self.silent, NotFoundError):
            raise self.silent
        return self.limit

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        if self.silent is not None and self.sent:
            raise self.silent
        return self.theirs

    def taken(self, file: str, data: bytes, message: str, before_create: BeforeCreate) -> str:
        if self.refuses is not None:
            raise self.refuses
        before_create()
        if self.ends is not None:
            raise self.ends
        self.sent.append((file, data, message))
        ref = f"r{len(self.theirs)}"
        self.theirs.insert(0, PlatformSubmission(ref, file, message, START, "complete", 0.7, None))
        return ref

    def submit(self, slug: str, file: Path, message: str, *, before_create: BeforeCreate = lambda: None) -> str:
        return self.taken(file.name, file.read_bytes(), message, before_create)

    def submit_kernel(
        self, slug: str, version: KernelVersion, file: str, message: str, *, before_create: BeforeCreate = lambda: None
    ) -> str:
        return self.taken(f"{version.name}/{version.number}/{file}", b"", message, before_create)


@dataclass
class Counter:
    """Where submissions are handed in."""

    made: Small
    ledger: Ledger
    platform: Any
    clock: ShortClock

    @property
    def competition(self) -> Any:
        return self.made.open.access.competition

    @property
    def channel(self) -> SubmissionChannel:
        return SubmissionChannel(self.made.workspace, self.competition, self.platform, self.ledger)

    def prepare(self, **options: Any) -> PreparedSubmission:
        return prepare(self.channel, 1, **options)

    def send(self, prepared: PreparedSubmission | None = None, **options: Any) -> SubmissionRecord:
        prepared = prepared or self.prepare()
        return send(self.channel, prepared, **options)

    def sent_before(self, **values: Any) -> SubmissionRecord:
        """Put a submission of another run into the ledger, as it is of another day."""
        first = self.ledger.submissions("small")[0]
        record = replace(first, **({"run_id": "another", "file": "x.csv", "sha256": "x", "exp": 7} | values))
        self.ledger.put_submission(record)
        return record

    def log(self) -> list[str]:
        return [s.status for s in self.ledger.submissions("small")]


@pytest.fixture
def counter(small: Any) -> Iterator[Counter]:
    made = small(runs=(EXPERIMENT,))
    clock = ShortClock()
    with Ledger.open(made.workspace.ledger) as ledger:
        # After the run, whatever day it was made on.
        clock.state["off_s"] = (ledger.runs("small")[0].created_at - START).total_seconds() + 3600
        with clock.running():
            yield Counter(made, ledger, Takes(), clock)


def codes(findings: tuple[SubmissionFinding, ...]) -> list[str]:
    return [f.code for f in findings]


class TestPrepare:
    def test_what_is_looked_at(self, counter: Counter) -> None:
        found = counter.prepare()
        run = counter.made.open.runs[1]
        assert (found.record, found.file, found.sha256) == (run.record, run.submission, file_sha256(run.submission))
        assert (found.findings, found.kernel, found.rows) == ((), None, 100)
        assert (found.remaining_today, found.per_day, found.limited_by_total) == (5, 5, False)
        assert (found.compared_with, found.in_doubt, found.named) == (None, 0, False)
        counter.platform.limit = SubmissionLimits(4, 2, limited_by_total=True)
        found = counter.prepare(run_id=run.record.run_id)
        assert (found.remaining_today, found.per_day, found.limited_by_total, found.named) == (2, 4, True, True)
        with pytest.raises(NotFoundError, match="no run '001-x'"):
            counter.prepare(run_id="001-x")

    def test_a_platform_that_does_not_answer_is_said(self, counter: Counter) -> None:
        counter.platform.silent = NotFoundError("no such competition")
        found = counter.prepare()
        assert [(f.level, f.code, f.message) for f in found.findings] == [("error", "unchecked", "no such competition")]
        assert (found.remaining_today, found.per_day, found.limited_by_total) == (None, None, False)

    def test_an_unfinished_run_is_looked_at_no_further(self, counter: Counter) -> None:
        run = counter.ledger.runs("small")[0]
        counter.ledger.put_run(replace(run, sample=0.5))
        found = counter.prepare(run_id=run.run_id)
        assert (codes(found.findings), found.sha256) == (["sampled"], "")

    def test_what_a_kernel_wrote_is_looked_at_in_its_place(self, counter: Counter, tmp_path: Path) -> None:
        own = counter.made.open.runs[1].submission
        written = tmp_path / "answer.csv"
        written.write_bytes(own.read_bytes())
        version = KernelVersion("someone", "wb-small-001", 3)
        run_id = counter.made.open.runs[1].record.run_id
        found = counter.prepare(run_id=run_id, kernel=KernelOutput(version, written, "version 4 failed"))
        assert (found.file, found.kernel, codes(found.findings), found.named) == (
            written,
            version,
            ["older_version"],
            False,
        )
        counter.platform.code = counter.platform
        sent = counter.send(found)
        assert counter.platform.sent[0][0] == "wb-small-001/3/answer.csv"
        assert sent.file == f"submissions/small/{run_id}-v3-{found.sha256[:8]}.csv"
        assert (counter.made.workspace.root / sent.file).read_bytes() == own.read_bytes()
        counter.platform.code = None
        with pytest.raises(PlatformError, match="the platform 'memory' has no kernels"):
            counter.send(counter.prepare(run_id=run_id, kernel=KernelOutput(version, written)))

    def test_other_runs_of_the_experiment(self, counter: Counter) -> None:
        """Who asks for a run by its name knows of the others; what a kernel wrote with its models is not asked for so."""
        older = counter.made.open.runs[1]
        counter.made.experiment(1, EXPERIMENT + "learning_rate = 0.3\n")
        assert codes(counter.prepare().findings) == ["outdated"]
        counter.clock.advance(60.0)
        newer = counter.made.open.run(1)
        assert counter.prepare().record.run_id == newer.record.run_id != older.record.run_id
        assert codes(counter.prepare().findings) == []
        run_id = older.record.run_id
        assert codes(counter.prepare(run_id=run_id).findings) == []
        written = KernelOutput(KernelVersion("someone", "wb-small-001", 1), older.submission)
        assert codes(counter.prepare(run_id=run_id, kernel=written).findings) == ["run_again"]
        # One that has no record yet is newer, too.
        (counter.competition.paths.runs / "001-20990101T000000-aaaaaaaa").mkdir()
        assert codes(counter.prepare().findings) == ["newer_run"]
        assert codes(counter.prepare(run_id=run_id).findings) == []

    def test_notebooks_only(self, counter: Counter) -> None:
        counter.platform.fact = replace(counter.platform.fact, kind="notebook")
        assert codes(counter.prepare().findings) == ["notebook_only"]
        counter.made.definition("[tables]", '[submission]\nserver = "gateway.py"\n[tables]')
        assert "(gateway.py)" in counter.prepare().findings[0].message

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            ("complete", ["same_bytes"]),
            ("pending", ["same_bytes"]),
            ("unlisted", ["possibly_sent"]),
            ("sending", []),
            ("error", []),
        ],
    )
    def test_what_was_sent_of_it_before(self, counter: Counter, status: str, expected: list[str]) -> None:
        """What may have arrived is one warning, and not two; what is being sent is settled when it is sent."""
        counter.ledger.put_submission(replace(counter.send(), status=status))
        found = counter.prepare()
        assert codes(found.findings) == expected
        assert codes(found.doubts) == [c for c in expected if c == "possibly_sent"]
        # The same bytes in a file of another name are the same to those who score them.
        counter.ledger.put_submission(replace(counter.ledger.submissions("small")[0], file="another.csv"))
        assert set(expected) <= set(codes(counter.prepare().findings))

    @pytest.mark.parametrize(
        ("days", "status", "count"),
        [(0, "unlisted", 1), (1, "sending", 1), (-1, "unlisted", 0), (0, "pending", 0), (0, "error", 0)],
    )
    def test_what_may_count_today(self, counter: Counter, days: int, status: str, count: int) -> None:
        """By the day on which it was sent; where that is not known, by that on which it was prepared."""
        counter.send()
        now = counter.clock.now
        counter.sent_before(
            submission_id="a", status=status, sent_at=now + timedelta(days), created_at=now - timedelta(9)
        )
        assert counter.prepare().in_doubt == count
        counter.sent_before(submission_id="a", status=status, sent_at=None, created_at=now + timedelta(days))
        assert counter.prepare().in_doubt == count

    def test_what_it_is_compared_with(self, counter: Counter) -> None:
        """The best public score, else the best CV, of what was sent."""
        counter.send()
        only = counter.ledger.submissions("small")[0]
        assert counter.prepare().compared_with == only
        best = counter.sent_before(submission_id="a", public_score=0.9, cv_mean=0.1)
        counter.sent_before(submission_id="b", public_score=0.8, cv_mean=0.99)
        counter.sent_before(submission_id="c", public_score=1.0, cv_mean=1.0, status="error")
        assert counter.prepare().compared_with == best
        for record in counter.ledger.submissions("small"):
            counter.ledger.put_submission(replace(record, public_score=None))
        compared = counter.prepare().compared_with
        assert compared is not None
        assert compared.submission_id == "b"


class TestSend:
    def test_what_is_sent_and_logged(self, counter: Counter) -> None:
        run = counter.made.open.runs[1]
        record = counter.send(message="first")
        [(file, data, message)] = counter.platform.sent
        assert (file, data) == (f"{run.record.run_id}.csv", run.submission.read_bytes())
        assert message == f"wb:{record.submission_id} | first | CV {run.record.cv_mean:.6g}"
        assert (record.exp, record.run_id, record.status, record.ref) == (1, run.record.run_id, "complete", "r0")
        assert (record.public_score, record.cv_mean, record.platform) == (0.7, run.record.cv_mean, "rehearsal")
        assert record.created_at == record.sent_at == counter.clock.now
        assert (record.workspace, record.sha256) == (counter.made.workspace.id, file_sha256(run.submission))
        assert len(record.submission_id) == 10
        assert counter.log() == ["complete"]

    def test_without_a_message_the_title_is_it(self, counter: Counter) -> None:
        counter.send()
        assert " | 001 quick | CV " in counter.platform.sent[0][2]

    def test_a_list_that_fails_afterwards(self, counter: Counter) -> None:
        prepared = counter.prepare()
        counter.platform.silent = PlatformError("no answer")
        record = counter.send(prepared)
        assert (record.status, record.ref, counter.log()) == ("pending", "r0", ["pending"])

    @pytest.mark.parametrize("exc", [PlatformError("closed"), LoginError("no login")])
    @pytest.mark.parametrize("asked", [False, True])
    def test_a_refusal(self, counter: Counter, exc: Exception, asked: bool) -> None:
        setattr(counter.platform, "ends" if asked else "refuses", exc)
        with pytest.raises(type(exc)):
            counter.send()
        [record] = counter.ledger.submissions("small")
        assert (record.status, record.error) == ("error", str(exc).splitlines()[0])
        assert (record.sent_at is None) == (not asked)

    @pytest.mark.parametrize("asked", [False, True])
    def test_an_answer_that_is_lost(self, counter: Counter, asked: bool) -> None:
        """Before the platform was asked to make anything it is known that it has not: the next call sends it."""
        setattr(counter.platform, "ends" if asked else "refuses", UnansweredError("lost"))
        prepared = counter.prepare()
        with pytest.raises(UnansweredError):
            counter.send(prepared)
        assert counter.log() == ["sending" if asked else "prepared"]
        counter.platform.ends = counter.platform.refuses = None
        if not asked:
            assert counter.send(prepared).status == "complete"
            assert sorted(counter.log()) == ["complete", "error"]
            return
        with pytest.raises(SubmissionError, match="experiment 1 is not sent: it may have been sent already") as no:
            counter.send(prepared)
        assert no.value.hint == "`wb sync` looks for it; --again sends another one anyway"
        assert counter.clock.true_s > 60
        assert counter.log() == ["unlisted"]
        for agree in (lambda _: False, None):
            with pytest.raises(SubmissionError):
                counter.send(counter.prepare(), agree=agree)
        assert counter.platform.sent == []
        asked_about: list[str] = []
        record = counter.send(counter.prepare(), agree=lambda f: asked_about.extend(codes(f)) or True)
        assert (record.status, asked_about) == ("complete", ["possibly_sent"])

    def test_one_that_arrived_is_returned_and_not_sent_again(self, counter: Counter) -> None:
        counter.platform.ends = UnansweredError("lost")
        prepared = counter.prepare()
        with pytest.raises(UnansweredError):
            counter.send(prepared)
        [record] = counter.ledger.submissions("small")
        counter.platform.theirs = [PlatformSubmission("r9", "x", record.message, START, "complete", 0.6, None)]
        counter.platform.ends = None
        found = counter.send(prepared)
        assert (found.submission_id, found.ref, found.status) == (record.submission_id, "r9", "complete")
        assert counter.platform.sent == []

    def test_what_only_the_file_beside_it_knows_of_a_sending_counts(self, counter: Counter) -> None:
        """The process was killed before the ledger knew that the platform was being asked."""
        counter.platform.ends = UnansweredError("lost")
        prepared = counter.prepare()
        with pytest.raises(UnansweredError):
            counter.send(prepared)
        [record] = counter.ledger.submissions("small")
        counter.ledger.put_submission(replace(record, status="prepared"))
        counter.platform.theirs = [PlatformSubmission("r9", "x", record.message, START, "complete", 0.6, None)]
        counter.platform.ends = None
        assert counter.send(prepared).submission_id == record.submission_id
        assert counter.platform.sent == []

    @pytest.mark.parametrize("same", ["file", "sha256"])
    def test_a_sending_of_the_same_file_or_bytes_is_settled_first(self, counter: Counter, same: str) -> None:
        counter.platform.refuses = PlatformError("closed")
        prepared = counter.prepare()
        with pytest.raises(PlatformError):
            counter.send(prepared)
        counter.platform.refuses = None
        [first] = counter.ledger.submissions("small")
        now = counter.clock.now
        counter.sent_before(submission_id="a", status="sending", sent_at=now, **{same: getattr(first, same)})
        with pytest.raises(SubmissionError, match="it may have been sent already"):
            counter.send(prepared)
        assert sorted(counter.log()) == ["error", "unlisted"]
        assert counter.platform.sent == []

    def test_errors_stop_it(self, counter: Counter) -> None:
        wrong = replace(
            counter.prepare(),
            findings=(SubmissionFinding("error", "a", "A"), SubmissionFinding("error", "b", "B", hint="wait")),
        )
        with pytest.raises(SubmissionError, match="experiment 1 can't be sent: A; B") as no:
            counter.send(wrong)
        assert no.value.hint.endswith("wait")
        prepared = counter.prepare()
        counter.platform.limit = SubmissionLimits(5, 0)
        with pytest.raises(SubmissionError, match="today's 5 submissions are used up"):
            counter.send(prepared)
        assert (counter.log(), counter.platform.sent) == ([], [])

    def test_what_is_new_since_it_was_looked_at(self, counter: Counter) -> None:
        """Warnings that were there are agreed to by whoever sends it; others are asked about, and stop it else."""
        prepared = counter.prepare()
        past = counter.clock.now - timedelta(1)
        counter.platform.fact = replace(counter.platform.fact, deadline=past)
        with pytest.raises(SubmissionError, match="is not sent: the deadline was") as no:
            counter.send(prepared)
        assert no.value.hint == "this has changed since the check: `wb submit 1` checks it again"
        asked: list[str] = []
        with pytest.raises(SubmissionError):
            counter.send(prepared, again=True, agree=lambda f: bool(asked.extend(codes(f))))
        assert asked == ["late"]
        again = counter.prepare()
        assert codes(again.warnings) == ["late"]
        assert counter.send(again).status == "complete"

    def test_the_copy_is_what_is_sent(self, counter: Counter) -> None:
        """One that is there and right stays; another is replaced; a file that changes meanwhile is not sent."""
        prepared = counter.prepare()
        copy = counter.made.workspace.submissions / "small" / prepared.file.with_stem(prepared.record.run_id).name
        counter.platform.refuses = PlatformError("closed")
        for text in (None, "another"):
            if text is not None:
                copy.write_text(text)
            with pytest.raises(PlatformError):
                counter.send(prepared)
            assert file_sha256(copy) == prepared.sha256
        before = copy.stat().st_ino
        with pytest.raises(PlatformError):
            counter.send(prepared)
        assert copy.stat().st_ino == before
        copy.unlink()
        (changed := copy.with_name("changed.csv")).write_text("another")
        with pytest.raises(DamagedError, match="changed.csv changed while it was being copied"):
            counter.send(replace(prepared, file=changed))
        assert counter.platform.sent == []
