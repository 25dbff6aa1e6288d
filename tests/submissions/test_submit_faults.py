"""`wb submit` and what follows it, when things go wrong: the real client, in a process of its own, against the stand-in.

After every fault the same is asked: an explained failure with exit code 1, or a good end; every sending in the log; never
two submissions of one run on the server; no secret anywhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.commands import Commands, Ended
from tests.shapes import SHAPES
from tests.wire import USER, Hosted, Server, served
from workbench.api import library
from workbench.core.errors import WorkbenchError
from workbench.data.workspace import Workspace
from workbench.ledger import Ledger

SUBMIT = ("submit", "--exp", "1", "--yes")
CALLS = ("StartSubmissionUpload", "upload", "CreateSubmission", "ListSubmissions", "GetSubmissionLimits")


class Place(Commands):
    """A workspace with a competition that is fetched and an experiment that is run."""

    @property
    def hosted(self) -> Hosted:
        return self.server.hosted["plain"]

    def submit(self, *more: str, **options: Any) -> Ended:
        return self.run(*SUBMIT, *more, **options)

    def fails(self, *arguments: str, says: str, **options: Any) -> str:
        """Run; it must fail in one sentence."""
        done = self.run(*(arguments or SUBMIT), **options)
        assert done.returncode == 1, (done.stdout, done.stderr)
        told = [line for line in done.stderr.splitlines() if line.startswith(("error:", "hint:"))]
        assert told[0].startswith("error:"), done.stderr
        assert "Traceback" not in done.stderr
        assert re.search(says, " ".join(told)), done.stderr
        return done.stderr

    def succeeds(self, *arguments: str, **options: Any) -> str:
        done = self.run(*(arguments or SUBMIT), **options)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    @property
    def arrived(self) -> int:
        return len(self.hosted.submissions)

    @property
    def logged(self) -> list[str]:
        with Ledger.open(Workspace(self.root).ledger) as ledger:
            return [s.status for s in ledger.submissions("plain")]

    def is_sent_by_its_own_word_only(self) -> None:
        """The list was watched for a whole delay; --yes alone does not send it another time."""
        started = time.monotonic()
        told = self.fails(says="may have been sent already.*--again")
        assert "is not sent" in told or "there are warnings" in told
        assert self.logged[-1] == "unlisted"
        assert self.arrived == 0
        assert "looking for it" not in told or time.monotonic() - started > self.listing_delay_s
        self.succeeds(*SUBMIT, "--again")

    def is_sound(self) -> None:
        """What the ledger has is what the files beside the sent ones give."""
        before = library.OpenCompetition(Workspace(self.root), "plain").submissions.records()
        library.rebuild_ledger(Workspace(self.root))
        assert library.OpenCompetition(Workspace(self.root), "plain").submissions.records() == before
        assert not list((self.root / "submissions").rglob("*.tmp"))


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the shape "plain" is fetched and run."""
    folder = tmp_path_factory.mktemp("ready")
    (folder / "raw").mkdir()
    shape = next(s for s in SHAPES if s.name == "plain")
    shape.write(folder / "raw")
    with served() as server:
        server.host("plain", folder / "raw", metric=shape.platform_metric)
        made = Place(server, folder / "bench", server.environment(folder / "home"))
        (made.root / "competitions").mkdir(parents=True)
        made.succeeds("fetch", "plain")
        path = made.root / "competitions" / "plain" / "experiments" / "001.toml"
        path.write_text('features = ["rows"]\n[model]\nnum_iterations = 10\nearly_stopping_round = 0\n')
        made.succeeds("run", "--exp", "1")
    return folder


@pytest.fixture
def place(server: Server, ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    shutil.copytree(ready / "bench", tmp_path / "bench", symlinks=True)
    server.host("plain", ready / "raw")
    made = Place(server, tmp_path / "bench", server.environment(tmp_path / "home"), listing_delay_s=1.0)
    yield made
    made.no_secret_is_told()
    messages = [s["description"] for s in made.hosted.submissions]
    assert len(set(messages)) == len(messages)


# ------------------------------------------------------------------------------------------------------- sent, once


def test_it_is_sent_and_shown(place: Place) -> None:
    assert "public 0.50000" in place.succeeds()
    assert (place.arrived, place.logged) == (1, ["complete"])
    shown = json.loads(place.succeeds("submissions", "--json"))
    assert [(s["exp"], s["status"], s["public_score"]) for s in shown] == [(1, "complete", 0.5)]
    assert shown[0]["cv_mean"] is not None
    place.is_sound()


@pytest.mark.parametrize("call", CALLS)
def test_an_answer_that_is_lost(place: Place, call: str) -> None:
    place.server.fault(call, lose_answer=True)
    place.succeeds()
    assert (place.arrived, place.logged) == (1, ["complete"])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"status": 429}, {"cut_after": 0}])
def test_a_burst_of_failures(place: Place, call: str, fault: dict[str, Any]) -> None:
    place.server.fault(call, times=2, **fault)
    done = place.submit()
    if call == "CreateSubmission":
        assert done.returncode == 1
        place.server.faults.clear()
        if fault == {"status": 429}:
            # The platform says that it was not taken.
            place.succeeds()
        else:
            # Not known whether it was taken: never sent anew by itself, and after a look at the list only if one says so.
            place.is_sent_by_its_own_word_only()
    else:
        assert done.returncode == 0, done.stderr
    assert (place.arrived, place.logged[-1]) == (1, "complete")
    place.is_sound()


@pytest.mark.parametrize("call", CALLS)
def test_an_answer_that_never_comes(place: Place, call: str) -> None:
    place.server.fault(call, times=1000, hang_s=1000)
    done = place.submit(patience={"answer_s": 0.4, "tries": 2})
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    assert place.arrived == 0
    place.server.faults.clear()
    if call == "CreateSubmission":
        place.is_sent_by_its_own_word_only()
    else:
        place.succeeds()
    assert (place.arrived, place.logged[-1]) == (1, "complete")


def test_the_answer_to_the_sending_is_lost_and_the_list_fails_too(place: Place) -> None:
    place.server.fault("CreateSubmission", lose_answer=True)
    place.server.fault("ListSubmissions", status=500, times=1000, skip=1)
    place.fails(says="wb sync")
    assert (place.arrived, place.logged) == (1, ["sending"])
    place.server.faults.clear()
    place.succeeds("sync")
    assert (place.arrived, place.logged) == (1, ["complete"])
    place.is_sound()


@pytest.mark.parametrize("arrives", [True, False])
def test_after_a_lost_answer_the_next_call_settles_first(place: Place, arrives: bool) -> None:
    place.server.fault("CreateSubmission", **({"lose_answer": True} if arrives else {"cut_after": 0}))
    place.server.fault("ListSubmissions", status=500, times=1000, skip=1)
    place.fails(says="wb sync")
    place.server.faults.clear()
    if not arrives:
        place.is_sent_by_its_own_word_only()
    else:
        assert "sent as 1000" in place.succeeds()
    assert place.arrived == 1
    assert place.logged == (["complete"] if arrives else ["unlisted", "complete"])


@pytest.mark.parametrize("at", ["StartSubmissionUpload", "ListSubmissions"])
def test_interrupted_while_sending(place: Place, at: str) -> None:
    """Ctrl-C, before anything was sent and while its score is awaited: the command ends with 130."""
    started: list[Any] = []

    def interrupt() -> None:
        os.kill(started[0].pid, signal.SIGINT)
        time.sleep(0.5)

    skip = 1 if at == "ListSubmissions" else 0
    place.server.fault(at, before=interrupt, skip=skip)
    started.append(place.start(*SUBMIT))
    done = place.ended(started[0])
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    place.server.faults.clear()
    if at == "StartSubmissionUpload":
        assert place.arrived == 0
        place.succeeds()
    assert place.arrived == 1
    place.is_sound()


@pytest.mark.slow
@pytest.mark.parametrize("at", ["upload", "creation", "answer"])
def test_killed_while_sending(place: Place, at: str) -> None:
    """The process dies before the upload, before the submission is created, and before it sees that it was."""
    started: list[Any] = []

    def kill() -> None:
        os.kill(started[0].pid, signal.SIGKILL)

    if at == "upload":
        place.server.fault("StartSubmissionUpload", before=kill)
    elif at == "creation":
        place.server.fault("CreateSubmission", before=kill, cut_after=0)
    else:
        place.server.fault("CreateSubmission", lose_answer=True)
        place.server.fault("ListSubmissions", before=kill, skip=1)
    started.append(place.start(*SUBMIT))
    assert place.ended(started[0]).returncode == -signal.SIGKILL
    assert (place.arrived, place.logged) == (at == "answer", ["prepared" if at == "upload" else "sending"])
    place.server.faults.clear()
    if at == "creation":
        place.is_sent_by_its_own_word_only()
    else:
        place.succeeds()
    before = {"upload": ["error"], "creation": ["unlisted"], "answer": []}[at]
    assert (place.arrived, place.logged) == (1, [*before, "complete"])
    place.is_sound()


@pytest.mark.slow
def test_two_at_once(place: Place) -> None:
    first, second = place.start(*SUBMIT), place.start(*SUBMIT)
    done = [place.ended(s) for s in (first, second)]
    assert 0 in [d.returncode for d in done]
    for d in done:
        assert "Traceback" not in d.stderr
        # The second is sent away by the lock, or by what the first has sent since the second looked.
        assert d.returncode == 0 or re.search("submitting to 'plain'|this has changed since the check", d.stderr)
    # Both may have been told to send it: then the second was asked for after the first was done.
    assert place.arrived == sum(d.returncode == 0 for d in done)
    place.is_sound()


# ------------------------------------------------------------------------------------------------- what speaks against


def test_the_limits_are_asked_first(place: Place) -> None:
    place.hosted.daily_limit = 0
    place.fails(says="today's .* submissions are used up|takes no submissions|used up")
    assert "StartSubmissionUpload" not in place.server.calls
    assert place.arrived == 0


def test_a_limit_that_is_reached_in_between(place: Place) -> None:
    def team_mate() -> None:
        place.hosted.daily_limit = 0

    place.server.fault("CreateSubmission", before=team_mate, status=None)
    place.fails(says="allowance|limit|used")
    assert (place.arrived, place.logged) == (0, ["error"])
    place.is_sound()


def test_competitions_that_take_no_files(place: Place) -> None:
    place.hosted.kernels_only = True
    place.fails(says="takes notebooks only.*kaggle.com/competitions/plain")
    place.hosted.kernels_only, place.hosted.disabled = False, True
    place.fails(says="takes no submissions")
    place.hosted.disabled, place.hosted.deadline = False, datetime.now(UTC) - timedelta(days=1)
    done = place.run("submit", "--exp", "1")
    assert "late submission" in done.stdout + done.stderr
    assert (place.arrived, place.server.calls.count("StartSubmissionUpload")) == (0, 0)


def test_rules_and_logins(place: Place) -> None:
    place.hosted.entered = False
    place.fails(says="plain")
    place.hosted.entered = True
    place.server.login_ok = False
    place.fails(says="login|credential|token")
    place.server.login_ok, place.server.logins_left = True, 3
    place.fails(says="login|credential|token")
    place.server.logins_left = None
    assert place.arrived == 0
    place.succeeds()
    assert place.arrived == 1


def test_no_network(place: Place) -> None:
    place.fails(says="proxy", env={"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"})
    out = place.succeeds("submissions", env={"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"})
    assert "no submission" in out
    assert place.arrived == 0


def test_a_dry_run_sends_nothing(place: Place) -> None:
    place.succeeds("submit", "--exp", "1", "--dry-run")
    assert (place.arrived, place.server.calls.count("StartSubmissionUpload")) == (0, 0)


def test_a_full_disk(place: Place) -> None:
    run = next((place.root / "competitions" / "plain" / "runs").glob("001-*"))
    size = (run / "submission.csv").stat().st_size
    place.fails(says="can't be written|no space|File too large|disk", file_limit=size // 2)
    assert (place.arrived, place.server.calls.count("StartSubmissionUpload")) == (0, 0)
    place.succeeds()
    assert place.arrived == 1


def test_without_a_log_nothing_is_sent(place: Place) -> None:
    ledger = place.root / "submissions" / "ledger.db"
    kept = ledger.read_bytes()
    ledger.write_bytes(b"this is no database" * 100)
    place.fails(says="wb ledger rebuild")
    assert place.arrived == 0
    ledger.write_bytes(kept)
    place.succeeds()


# --------------------------------------------------------------------------------------------------- what comes later


def test_a_score_that_takes_its_time(place: Place) -> None:
    place.hosted.scored_after = 3
    assert "not scored yet" in place.succeeds()
    assert place.logged == ["pending"]
    place.server.fault("ListSubmissions", status=503, times=2)
    for _ in range(3):
        place.succeeds("sync")
    assert place.logged == ["complete"]
    place.is_sound()


def test_one_that_is_scored_without_a_score_that_is_shown(place: Place) -> None:
    place.hosted.score_shown = False
    said = place.succeeds()
    assert "scored, and no score is shown" in said
    assert "not scored yet" not in said
    assert place.logged == ["complete"]
    assert "complete" in place.succeeds("submissions")
    shown = place.succeeds("show", "1")
    assert "no score is shown" in shown
    assert "None" not in shown
    said = place.succeeds("submit", "--exp", "1", "--dry-run")
    assert "experiment 1: no public score is shown" in said
    assert "no public score yet" not in said


def test_the_last_of_the_whole_competition(place: Place) -> None:
    place.hosted.total_limit = 1
    said = place.succeeds()
    assert "left in total 1 submission of your team, for the whole competition" in said
    assert "left today" not in said
    assert "; 0 left in total" in said
    place.fails(says="for the whole competition are used up: another day brings no more")


def test_a_late_submission_beside_the_private_board(place: Place) -> None:
    place.hosted.leaderboard, place.hosted.private_leaderboard = [("a", 0.9), ("b", 0.4)], [("b", 0.8), ("a", 0.3)]
    place.hosted.deadline = datetime.now(UTC) - timedelta(days=2)
    said = place.succeeds()
    assert "private rank 2 of 2" in said
    assert "public rank" not in said


def test_waiting_for_the_score(place: Place) -> None:
    place.hosted.scored_after = 2
    place.server.fault("ListSubmissions", status=500, times=3, skip=3)
    assert "public 0.50000" in place.succeeds(*SUBMIT, "--wait", first_poll_s=0.05)
    assert place.logged == ["complete"]


def test_a_scoring_that_fails_is_told_in_the_platforms_words(place: Place) -> None:
    place.hosted.score = lambda _: "Evaluation Exception: Submission must have 569 rows"
    done = place.submit()
    assert done.returncode == 1
    assert "Submission must have 569 rows" in done.stderr
    assert place.logged == ["error"]
    assert "Submission must have 569 rows" in place.succeeds("submissions")
    assert "Submission must have 569 rows" in place.succeeds("show", "1")
    place.is_sound()


def test_what_was_sent_elsewhere(place: Place) -> None:
    place.succeeds()
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for i in range(230):
        sent = {"ref": i, "date": now, "description": f"by hand {i}", "fileName": "blend.csv", "status": "COMPLETE"}
        sent |= {"publicScore": f"{i / 1000:.5f}", "privateScore": "", "submittedBy": USER if i % 2 else "mate"}
        place.hosted.submissions.append(sent | {"_left": 0, "_data": b"", "_private": ""})
    for _ in range(2):
        shown = json.loads(place.succeeds("submissions", "--json"))
        assert len(shown) == 231
        assert sum(s["run_id"] == "" for s in shown) == 230
    table = json.loads(place.succeeds("table", "--json"))
    assert [r["kind"] for r in table].count("elsewhere") == 230
    text = place.succeeds("table", "--limit", "0")
    assert "[elsewhere] blend.csv: by hand 0 (by mate)" in text
    place.is_sound()


@pytest.mark.parametrize("fault", [None, {"on": "CreateSubmission", "status": 401}, {"on": "upload", "status": 403}])
def test_json_is_one_document(place: Place, fault: dict[str, Any] | None) -> None:
    if fault:
        place.server.fault(**fault, times=1000)
    done = place.run(*SUBMIT, "--json")
    document = json.loads(done.stdout)
    assert ("error" in document and isinstance(document["error"], dict)) == (done.returncode == 1)
    assert place.arrived == (fault is None)


def test_the_sent_bytes_are_the_runs(place: Place) -> None:
    place.succeeds()
    (sent,) = place.hosted.submissions
    run = next((place.root / "competitions" / "plain" / "runs").glob("001-*"))
    assert sent["_data"] == (run / "submission.csv").read_bytes()
    assert pl.read_csv(sent["_data"]).columns == ["id", "diagnosis"]
    with pytest.raises(WorkbenchError):
        library.OpenCompetition(Workspace(place.root), "plain").runs[2]
