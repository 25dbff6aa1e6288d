"""What becomes of submissions: the platform's word, the log beside them, how long is waited; nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.clock import START
from tests.code_host import ShortClock
from tests.example_records import RUN, SUBMISSION
from workbench.core.context import RunContext, text_listener
from workbench.core.errors import DamagedError, LoginError, NewerError, PlatformError
from workbench.data.competition import Competition, load_competition
from workbench.data.workspace import Workspace, create_workspace
from workbench.ledger import Ledger, SubmissionRecord
from workbench.platforms.protocol import PlatformSubmission
from workbench.submissions import (
    PreparedSubmission,
    SubmissionChannel,
    SubmissionFinding,
    load_sidecars,
    sync,
    text_of,
    wait_for_score,
)
from workbench.submissions.follow import send_lock, settle, updated_from_list
from workbench.submissions.message import MAX_CHARACTERS, cv_of, message

DEFINITION = """
slug = "flights"
platform = "kaggle"
task = "binary"
id = "id"
target = "y"
metric = "auc"
[tables]
train = "train"
test = "test"
"""
THEIRS = PlatformSubmission("r1", "001.csv", "wb:s1 | 001 baseline", START, "complete", 0.7, 0.6)


@dataclass
class Listing:
    """A platform that lists what it is told to; `answers` come first, one a question, and may be failures."""

    theirs: list[PlatformSubmission] = field(default_factory=list)
    listing_delay_s: float = 60.0
    answers: list[Any] = field(default_factory=list)

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        assert slug == "flights"
        if not self.answers:
            return self.theirs
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


@dataclass
class Desk:
    workspace: Workspace
    competition: Competition
    ledger: Ledger
    platform: Any
    clock: ShortClock

    @property
    def channel(self) -> SubmissionChannel:
        return SubmissionChannel(self.workspace, self.competition, self.platform, self.ledger)

    def put(self, status: str, **values: Any) -> SubmissionRecord:
        name = values.get("submission_id", "s1")
        usual = {"file": f"submissions/flights/{name}.csv", "workspace": self.workspace.id}
        record = replace(SUBMISSION, status=status, created_at=self.clock.now, **(usual | values))
        self.channel.log.put(record, "on purpose")
        return record

    def sync(self) -> list[SubmissionRecord]:
        return sync(self.channel)

    def settle(self, of: Callable[[SubmissionRecord], bool] = lambda _: True) -> list[str]:
        said: list[str] = []
        with send_lock(self.workspace, "flights"):
            settle(self.channel, of, RunContext((text_listener(said.append),)))
        return said

    def wait(self, record: SubmissionRecord, **options: Any) -> SubmissionRecord:
        return wait_for_score(self.channel, record, **options)

    def states(self) -> dict[str, str]:
        return {s.submission_id: s.status for s in self.ledger.submissions("flights")}

    @property
    def folder(self) -> Path:
        return self.workspace.submissions / "flights"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    workspace = create_workspace(tmp_path / "workspace")
    folder = workspace.competitions / "flights"
    folder.mkdir()
    (folder / "competition.toml").write_text(DEFINITION)
    clock = ShortClock()
    with Ledger.open(workspace.ledger) as ledger, clock.running():
        yield Desk(workspace, load_competition(workspace, "flights"), ledger, Listing(), clock)


class TestSync:
    def test_only_what_changed_is_returned(self, desk: Desk) -> None:
        pending = desk.put("pending", ref="r1")
        desk.put("complete", submission_id="s2", ref="r2", public_score=0.5, private_score=0.6)
        desk.platform.theirs = [replace(THEIRS, ref="r2", message="", public_score=0.5), THEIRS]
        [found] = desk.sync()
        assert found == replace(pending, status="complete", public_score=0.7, private_score=0.6)
        assert desk.sync() == []
        assert desk.ledger.submissions("flights")[0] == found

    @pytest.mark.parametrize("by", ["ref", "token"])
    def test_how_it_is_known(self, desk: Desk, by: str) -> None:
        record = desk.put("pending", ref="r1" if by == "ref" else None)
        theirs = replace(THEIRS, message="by hand") if by == "ref" else replace(THEIRS, ref="r9")
        found = updated_from_list(record, [replace(THEIRS, ref="r5", message="another's"), theirs], desk.channel.log)
        assert (found.ref, found.status) == (theirs.ref, "complete")
        assert updated_from_list(record, [replace(THEIRS, ref="r5", message="wb:s2 | x")], desk.channel.log) is record

    def test_what_it_says_is_logged_once(self, desk: Desk) -> None:
        record = desk.put("pending", ref="r1")
        theirs = [replace(THEIRS, status="error", public_score=None, private_score=None, error="wrong columns")]
        found = updated_from_list(record, theirs, desk.channel.log)
        assert (found.status, found.error) == ("error", "wrong columns")
        updated_from_list(found, theirs, desk.channel.log)
        updated_from_list(replace(found, error=None), [replace(theirs[0], error=None)], desk.channel.log)
        events = json.loads((desk.folder / "s1.s1.json").read_text())["events"]
        assert [(e["status"], e["detail"]) for e in events] == [("pending", "on purpose"), ("error", "wrong columns")]
        updated_from_list(found, [replace(THEIRS, error=None)], desk.channel.log)
        events = json.loads((desk.folder / "s1.s1.json").read_text())["events"]
        assert events[-1]["detail"] == "the platform's status"
        assert (events[-1]["public_score"], events[-1]["private_score"]) == (0.7, 0.6)

    @pytest.mark.parametrize(("age_s", "status"), [(59.0, "sending"), (60.0, "unlisted"), (61.0, "unlisted")])
    @pytest.mark.parametrize("sent_at", [False, True])
    def test_one_that_is_not_listed_in_time(self, desk: Desk, age_s: float, status: str, sent_at: bool) -> None:
        desk.put("sending", sent_at=desk.clock.now + timedelta(seconds=1000) if sent_at else None)
        desk.clock.advance(age_s + 1000 * sent_at)
        changed = desk.sync()
        assert desk.states() == {"s1": status}
        if status == "unlisted":
            assert (changed[0].error or "").startswith("it was sent, but the platform does not list it")
            # It is looked for every time.
            desk.platform.theirs = [THEIRS]
            assert [s.status for s in desk.sync()] == ["complete"]

    def test_one_that_was_cut_off_before(self, desk: Desk) -> None:
        desk.put("prepared")
        [found] = desk.sync()
        assert (found.status, found.error) == (
            "error",
            "it was not sent: the process was interrupted before the request to create it",
        )

    @pytest.mark.parametrize("status", ["prepared", "sending"])
    def test_those_of_another_workspace_are_left_to_it(self, desk: Desk, status: str) -> None:
        desk.put(status, workspace="another")
        desk.put(status, submission_id="s2", workspace="")
        desk.clock.advance(1000.0)
        desk.sync()
        assert desk.states() == {"s1": status, "s2": "error" if status == "prepared" else "unlisted"}
        desk.platform.theirs = [THEIRS]
        desk.sync()
        assert desk.states()["s1"] == "complete"

    @pytest.mark.parametrize("status", ["prepared", "sending"])
    def test_what_another_process_is_sending_is_left_alone(self, desk: Desk, status: str) -> None:
        desk.put(status)
        desk.put("pending", submission_id="s2", ref="r2")
        desk.clock.advance(1000.0)
        desk.platform.theirs = [THEIRS, replace(THEIRS, ref="r2", message="wb:s2 | x")]
        with send_lock(desk.workspace, "flights"):
            assert [s.submission_id for s in desk.sync()] == ["s2"]
        assert desk.states() == {"s1": status, "s2": "complete"}

    def test_from_elsewhere_the_oldest_first(self, desk: Desk) -> None:
        desk.put("pending", ref="r1")
        mate = replace(THEIRS, ref="r7", message="a mate's | CV 0.81 | wb:0123456789", submitted_by="mate")
        bare = replace(THEIRS, ref="r8", message="001.csv", status="error", error="x")
        none = replace(THEIRS, ref="r9", message="")
        desk.platform.theirs = [none, bare, mate, replace(THEIRS, ref="r1", message="")]
        desk.sync()
        found = desk.ledger.submissions("flights")
        assert [s.submission_id for s in found if s.submission_id != "s1"] == ["kaggle-r7", "kaggle-r8", "kaggle-r9"]
        [one] = [s for s in found if s.ref == "r7"]
        assert one == SubmissionRecord(
            submission_id="kaggle-r7",
            competition="flights",
            exp=0,
            run_id="",
            platform="kaggle",
            file="",
            sha256="",
            message="001.csv: a mate's | CV 0.81 | wb:0123456789 (by mate)",
            cv_mean=0.81,
            created_at=START,
            sent_at=START,
            ref="r7",
            status="complete",
            public_score=0.7,
            private_score=0.6,
            error=None,
        )
        assert [s.message for s in found if s.ref in ("r8", "r9")] == ["001.csv", "001.csv"]
        assert (desk.folder / "elsewhere.kaggle-r7.json").is_file()
        assert desk.sync() == []


class TestSettle:
    def test_what_is_listed_late_is_waited_for(self, desk: Desk) -> None:
        desk.put("sending")
        desk.platform.answers = [[], [], [THEIRS]]
        said = desk.settle()
        assert desk.states() == {"s1": "complete"}
        assert [text.rpartition("for ")[2] for text in said] == ["60 s more", "55 s more"]
        assert desk.clock.true_s == pytest.approx(2 * 5.01)

    def test_what_does_not_come_is_unlisted(self, desk: Desk) -> None:
        desk.put("sending")
        desk.platform.listing_delay_s = 12.0
        desk.settle()
        assert desk.states() == {"s1": "unlisted"}
        assert desk.clock.true_s == pytest.approx(5.01 + 5.01 + 1.98 + 0.01)

    def test_where_the_platform_lists_at_once_nothing_is_waited_for(self, desk: Desk) -> None:
        desk.put("sending")
        desk.platform.listing_delay_s = 0.0
        assert desk.settle() == []
        assert (desk.states(), desk.clock.true_s) == ({"s1": "unlisted"}, 0.0)

    def test_which_are_waited_for(self, desk: Desk) -> None:
        desk.put("sending")
        desk.put("sending", submission_id="s2", workspace="another")
        desk.put("pending", submission_id="s3", ref="r3")
        assert desk.settle(lambda s: s.submission_id != "s1") == []
        assert desk.states() == {"s1": "sending", "s2": "sending", "s3": "pending"}
        assert desk.clock.true_s == 0.0


class TestWait:
    def test_ever_more_seldom(self, desk: Desk) -> None:
        record = desk.put("pending", ref="r1")
        pending = [replace(THEIRS, status="pending", public_score=None, private_score=None)]
        desk.platform.answers = [*[pending] * 11, [THEIRS]]
        at: list[float] = []
        desk.clock.sleeps = lambda: at.append(desk.clock.true_s)
        said: list[str] = []
        found = desk.wait(record, context=RunContext((text_listener(said.append),)))
        assert (found.status, found.public_score) == ("complete", 0.7)
        pauses = [b - a for a, b in zip([0.0, *at], at, strict=False)]
        assert pauses == pytest.approx([min(60.0, 2 * 1.5**n) for n in range(12)])
        assert said[:2] == ["not scored after 2 s", "not scored after 5 s"]
        assert len(said) == 11

    def test_for_an_hour_by_default(self, desk: Desk) -> None:
        record = desk.put("pending", ref="r1")
        assert desk.wait(record).status == "pending"
        assert desk.clock.true_s == 3600.0

    @pytest.mark.parametrize("limit_s", [0.0, 1.5, 2.0, 7.0])
    def test_no_longer_than_the_limit(self, desk: Desk, limit_s: float) -> None:
        record = desk.put("pending", ref="r1")
        desk.wait(record, limit_s=limit_s)
        assert desk.clock.true_s == limit_s

    def test_what_is_scored_is_not_asked_for(self, desk: Desk) -> None:
        record = desk.put("complete", ref="r1")
        desk.platform.answers = [PlatformError("never asked")]
        assert desk.wait(record) is record
        assert len(desk.platform.answers) == 1

    def test_failures(self, desk: Desk) -> None:
        record = desk.put("pending", ref="r1")
        said: list[str] = []
        desk.platform.answers = [PlatformError("busy"), LoginError("no login", hint="log in")]
        assert desk.wait(record, context=RunContext((text_listener(said.append),))) is record
        assert said == [
            "could not fetch the score, trying again: busy",
            "stopped waiting for the score: no login. log in",
        ]


class TestLog:
    def test_a_file_beside_what_was_sent(self, desk: Desk) -> None:
        first = desk.put("prepared")
        desk.clock.advance(5.0)
        second = replace(first, status="sending", public_score=0.5)
        desk.channel.log.put(second, "sending")
        told = json.loads((desk.folder / "s1.s1.json").read_text())
        assert told["version"] == 1
        assert SubmissionRecord.from_dict(told["record"]) == second
        assert [(e["status"], e["detail"], e["submission_id"]) for e in told["events"]] == [
            ("prepared", "on purpose", "s1"),
            ("sending", "sending", "s1"),
        ]
        assert load_sidecars(desk.workspace)[0] == [second]
        events = load_sidecars(desk.workspace)[1]
        assert [e.at for e in events] == [START, START + timedelta(seconds=5)]

    @pytest.mark.parametrize(
        ("of_ledger", "of_file", "is_told"),
        [
            (None, "prepared", True),
            ("prepared", "sending", True),
            ("sending", "unlisted", True),
            ("unlisted", "pending", True),
            ("pending", "complete", True),
            ("pending", "error", True),
            ("complete", "error", False),
            ("sending", "sending", False),
            ("complete", "pending", False),
            ("error", "complete", False),
            ("prepared", "of another version", False),
            ("of another version", "sending", True),
        ],
    )
    def test_what_only_the_files_know(self, desk: Desk, of_ledger: str | None, of_file: str, is_told: bool) -> None:
        record = desk.put("prepared")
        path = desk.folder / "s1.s1.json"
        told = json.loads(path.read_text())
        told["record"]["status"] = of_file
        if of_ledger is None:
            told["record"]["submission_id"], told["events"] = "s2", []
        else:
            desk.ledger.put_submission(replace(record, status=of_ledger))
        path.write_text(json.dumps(told))
        desk.channel.log.catch_up("flights")
        expected = {"s1": of_file if is_told else of_ledger}
        assert desk.states() == ({"s1": "prepared", "s2": "prepared"} if of_ledger is None else expected)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            '{"events": []}',
            '{"events": 3, "record": {}}',
            '{"events": [], "record": {}}',
            '{"record": {}}',
        ],
    )
    def test_files_that_are_damaged(self, desk: Desk, text: str) -> None:
        desk.put("prepared")
        (desk.folder / "a.s0.json").write_text(text)
        desk.ledger.put_submission(replace(SUBMISSION, submission_id="s9"))
        desk.channel.log.catch_up("flights")
        records, events, problems = load_sidecars(desk.workspace)
        assert ([r.submission_id for r in records], len(events), list(problems)) == (["s1"], 1, ["s0"])
        assert "a.s0.json" in problems["s0"]
        record = replace(SUBMISSION, submission_id="s0", file="submissions/flights/a.csv")
        if text != '{"events": [], "record": {}}':
            with pytest.raises(DamagedError):
                desk.channel.log.put(record, "more")

    def test_files_of_other_versions(self, desk: Desk) -> None:
        record = desk.put("prepared")
        path = desk.folder / "s1.s1.json"
        told = json.loads(path.read_text())
        del told["version"]
        path.write_text(json.dumps(told))
        assert load_sidecars(desk.workspace)[0] == [record]
        path.write_text(json.dumps(told | {"version": 2}))
        assert list(load_sidecars(desk.workspace)[2]) == ["s1"]
        with pytest.raises(NewerError):
            desk.channel.log.put(record, "more")
        desk.channel.log.catch_up("flights")

    def test_in_the_order_of_their_names(self, desk: Desk) -> None:
        for name in ("s3", "s1", "s2"):
            desk.put("prepared", submission_id=name)
        assert [r.submission_id for r in load_sidecars(desk.workspace)[0]] == ["s1", "s2", "s3"]


class TestMessages:
    @pytest.mark.parametrize("cv", [None, 0.79])
    def test_the_longest(self, cv: float | None) -> None:
        behind = "" if cv is None else " | CV 0.79"
        room = MAX_CHARACTERS - len("wb:0123456789 | ") - len(behind)
        for length, expected in ((room, "x" * room), (room + 1, "x" * (room - 1) + "…")):
            made = message("0123456789", "x" * length, cv)
            assert made == f"wb:0123456789 | {expected}{behind}"
            assert (len(made), text_of(made), cv_of(made)) == (MAX_CHARACTERS, expected, cv)
        assert message("0", "  two \n lines ", None) == "wb:0 | two lines"

    @pytest.mark.parametrize(
        ("text", "cv"),
        [
            ("x | CV 0.79", None),
            ("wb:1 | x | CV nothing", None),
            ("wb:1 | x", None),
            ("wb:1 | x | CV 7", 7.0),
            ("", None),
        ],
    )
    def test_what_no_cv_is(self, text: str, cv: float | None) -> None:
        assert cv_of(text) == cv

    def test_texts_of_people(self) -> None:
        assert [text_of(t) for t in ("by hand", "wb:1 | a | b", "a | wb:1", "")] == ["by hand", "a | b", "a", ""]


def test_what_to_do_about_what_stops_it() -> None:
    def of(*findings: SubmissionFinding) -> PreparedSubmission:
        return PreparedSubmission(RUN, Path("x"), "", findings, None)

    stops, with_hint = SubmissionFinding("error", "a", "A"), SubmissionFinding("error", "b", "B", hint="wait")
    asks, says, doubt = (
        SubmissionFinding(level, code, "x")
        for level, code in (("warning", "c"), ("note", "d"), ("warning", "possibly_sent"))
    )
    found = of(stops, asks, with_hint, says, doubt)
    assert (found.errors, found.warnings, found.doubts) == ((stops, with_hint), (asks, doubt), (doubt,))
    assert found.hint == "fix that, run the experiment again, then submit; wait"
    assert of(with_hint, with_hint, asks).hint == "wait"
    assert of(with_hint, SubmissionFinding("error", "e", "E", hint="pay")).hint == "wait; pay"
    assert of(asks).hint == ""
    assert (found.named, found.in_doubt, found.limited_by_total) == (False, 0, False)
