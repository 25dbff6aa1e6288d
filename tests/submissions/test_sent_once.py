"""A submission is sent once, whatever happens to the process, the disk, the network and the clocks.

After each fault somebody goes on as people do: `wb sync`, then `wb submit`, several times, who never says --yes or
--again, and time passes in between. Then: it arrived at most once; what arrived is in the log, once, as that; what did
not arrive is nowhere said to have; and the log can be rebuilt from the files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fake_platform import PlatformBehaviour
from tests.faults import Bench, Struck
from tests.quick_run import quick
from tests.sending import BEHAVIOURS, USUAL, platform_in, submit, sync_statuses
from tests.small import make_small
from workbench.api import library
from workbench.core.errors import BusyError, PlatformError, SubmissionError, WorkbenchError
from workbench.data.workspace import Workspace
from workbench.ledger import Ledger, SubmissionRecord
from workbench.submissions import SubmissionChannel, prepare, send
from workbench.submissions.follow import send_lock

DAY_S = 86_400.0


def logged(folder: Path) -> list[SubmissionRecord]:
    with Ledger.open(Workspace(folder).ledger) as ledger:
        return ledger.submissions("small")


def tries(action: Callable[..., Any], folder: Path, behaviour: PlatformBehaviour) -> str:
    try:
        return str(action(folder, behaviour))
    except PlatformError as exc:
        return f"PlatformError: {exc.message}"


def goes_on(folder: Path, behaviour: PlatformBehaviour) -> list[str]:
    """Go on as people do, who answer nothing; return what they were told."""
    after = replace(behaviour, answer="given" if behaviour.answer != "refused" else "refused", jumps={})
    told = []
    for pause_s in (0.0, 100.0, 3 * DAY_S):
        platform_in(folder).clock.advance(pause_s)
        told.append(tries(sync_statuses, folder, after))
        told.append(tries(submit, folder, after))
    return told


def check(folder: Path, behaviour: PlatformBehaviour, told: Any) -> None:
    """Look whether it was sent at most once, nothing was lost, and nothing invented."""
    arrived, records = platform_in(folder).arrived, logged(folder)
    about = f"{told}; arrived {arrived}; logged {[(r.status, r.ref, r.error) for r in records]}"
    assert len(arrived) <= 1, about
    ids = {f"wb:{r.submission_id}": r for r in records}
    for taken in arrived:
        record = ids[taken["message"].partition(" ")[0]]
        assert record.status in ("sending", "unlisted", "pending", "complete"), about
        assert record.sha256 == taken["sha256"], about
    for record in records:
        assert record.run_id, f"taken for one that was sent from elsewhere: {about}"
        if record.status in ("pending", "complete"):
            assert record.ref in [t["ref"] for t in arrived], about
    listed = {s.ref for s in platform_in(folder, replace(behaviour, list_fails=0, jumps={})).submissions("small")}
    assert listed <= {r.ref for r in records}, about
    library.rebuild_ledger(Workspace(folder))
    assert logged(folder) == records, about
    assert not list((folder / "submissions").rglob("*.tmp")), about


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run that can be sent."""
    folder = tmp_path_factory.mktemp("ready") / "bench"
    made = make_small(folder, n_rows=120)
    quick(made)
    assert Workspace(folder).id
    shutil.rmtree(folder / "competitions" / "small" / "cache", ignore_errors=True)
    return folder


@pytest.fixture
def bench(ready: Path, tmp_path: Path) -> Bench:
    return Bench(submit, ready, tmp_path)


# ------------------------------------------------------------------------------------------------- delays and clocks


@pytest.mark.parametrize("manner", BEHAVIOURS)
def test_delays_of_every_kind(bench: Bench, manner: str) -> None:
    folder, behaviour = bench.copy(), BEHAVIOURS[manner]
    first = tries(submit, folder, behaviour)
    told = [first, *goes_on(folder, behaviour)]
    check(folder, behaviour, told)
    arrives = behaviour.answer not in ("refused", "cut before")
    assert len(platform_in(folder).arrived) == arrives, told
    (record,) = {r.status for r in logged(folder)}
    if arrives:
        assert record == (
            "unlisted"
            if behaviour.listed_after_s is None and behaviour.answer == "lost"
            else "pending"
            if behaviour.listed_after_s is None
            else "complete"
        ), told
    else:
        assert record == ("error" if behaviour.answer == "refused" else "unlisted"), told
    assert first.split(":")[0] in {"complete", "pending", "UnansweredError", "PlatformError"}


SLOWLY = [pytest.param(m, marks=pytest.mark.slow) for m in ("usual", "answer lost", "listed too late")]


@pytest.mark.parametrize("manner", ["answer lost, listed late", "cut before", *SLOWLY])
@pytest.mark.parametrize("moment", ["uploaded", "creating", "created", "listed"])
def test_clocks_that_jump(bench: Bench, manner: str, moment: str) -> None:
    """By a year back, and by ten years forwards, at every moment."""
    for seconds in (-400 * DAY_S, 3650 * DAY_S):
        folder = bench.copy()
        behaviour = replace(BEHAVIOURS[manner], jumps={moment: seconds})
        first = tries(submit, folder, behaviour)
        began = platform_in(folder).clock.true_s
        told = [first, *goes_on(folder, behaviour)]
        check(folder, behaviour, (seconds, told))
        assert len(platform_in(folder).arrived) == (manner != "cut before"), (seconds, told)
        # The pauses are 3 days; whatever the clock says, nobody waits for longer than a delay of the list a time.
        assert platform_in(folder).clock.true_s - began < 3 * DAY_S + 100 + 3 * 61, (seconds, told)
        shutil.rmtree(folder.parent)


def test_the_delay_counts_from_the_creation(bench: Bench) -> None:
    """An upload of ten minutes, the answer lost, a list that is forty seconds late: the next call waits for it."""
    folder = bench.copy()
    behaviour = PlatformBehaviour(upload_s=600.0, answer="lost", listed_after_s=40.0)
    assert submit(folder, behaviour).startswith("UnansweredError")
    assert sync_statuses(folder, behaviour) == []  # asked at once, it says nothing yet
    before = platform_in(folder).clock.true_s
    assert submit(folder, replace(behaviour, answer="given")) == "complete"
    assert 35 < platform_in(folder).clock.true_s - before < 60
    assert len(platform_in(folder).arrived) == 1


@pytest.mark.parametrize("back_s", [60.0, DAY_S, 400 * DAY_S])
def test_a_clock_that_is_set_back_makes_nobody_wait(bench: Bench, back_s: float) -> None:
    folder = bench.copy()
    assert submit(folder, PlatformBehaviour(answer="cut before")).startswith("UnansweredError")
    clock = platform_in(folder).clock
    clock.jump(-back_s)
    before = clock.true_s
    assert "may have been sent already" in submit(folder)
    assert 60 <= clock.true_s - before < 70
    assert submit(folder) == "asks: possibly_sent"
    assert submit(folder, yes=True) == "asks: possibly_sent"
    assert submit(folder, again=True) == "complete"


def test_one_that_is_listed_after_all_is_not_sent_again(bench: Bench) -> None:
    """Not even by somebody who says --again."""
    folder = bench.copy()
    behaviour = PlatformBehaviour(answer="lost", listed_after_s=500.0)
    submit(folder, behaviour)
    assert submit(folder, behaviour).startswith("SubmissionError")
    assert [r.status for r in logged(folder)] == ["unlisted"]
    platform_in(folder).clock.advance(500)
    assert submit(folder, behaviour, again=True) == "complete"
    assert len(platform_in(folder).arrived) == 1
    assert [r.status for r in logged(folder)] == ["complete"]


def test_what_may_have_arrived_counts_against_the_day(bench: Bench) -> None:
    folder = bench.copy()
    submit(folder, PlatformBehaviour(answer="cut before"))
    submit(folder)
    workspace, platform = Workspace(folder), platform_in(folder)
    with platform.clock.running(), Ledger.open(workspace.ledger) as ledger:
        platform.daily_limit = 1
        prepared = prepare(
            SubmissionChannel(
                workspace, library.OpenCompetition(workspace, "small").access.competition, platform, ledger
            ),
            1,
        )
        assert (prepared.remaining_today, prepared.in_doubt) == (1, 1)
        assert {f.code for f in prepared.warnings} == {"possibly_sent", "limit_in_doubt"}
        platform.clock.advance(DAY_S)
        prepared = prepare(
            SubmissionChannel(
                workspace, library.OpenCompetition(workspace, "small").access.competition, platform, ledger
            ),
            1,
        )
        assert {f.code for f in prepared.warnings} == {"possibly_sent"}


# --------------------------------------------------------------------------------------------------- other processes


def test_sync_leaves_alone_what_is_being_sent(bench: Bench) -> None:
    folder = bench.copy()
    assert submit(folder, PlatformBehaviour(answer="cut before")).startswith("UnansweredError")
    platform_in(folder).clock.advance(DAY_S)
    with send_lock(Workspace(folder), "small"):
        assert sync_statuses(folder) == []
        assert [r.status for r in logged(folder)] == ["sending"]
        with pytest.raises(BusyError, match="submitting to 'small' is in use by process"):
            submit(folder)
    assert sync_statuses(folder) == ["unlisted"]


def test_what_another_terminal_sent_while_the_question_stood_is_seen(bench: Bench) -> None:
    folder = bench.copy()
    workspace, platform = Workspace(folder), platform_in(folder)
    with platform.clock.running(), Ledger.open(workspace.ledger) as ledger:
        competition = library.OpenCompetition(workspace, "small").access.competition
        prepared = prepare(SubmissionChannel(workspace, competition, platform, ledger), 1)
        assert prepared.findings == ()
        assert submit(folder) == "complete"  # the other terminal
        with pytest.raises(SubmissionError, match="the same bytes were sent before"):
            send(SubmissionChannel(workspace, competition, platform, ledger), prepared)
        asked: list[Any] = []
        with pytest.raises(SubmissionError):
            send(
                SubmissionChannel(workspace, competition, platform, ledger),
                prepared,
                agree=lambda f: asked.append(f) or False,
            )  # type: ignore[func-returns-value]
        assert [f.code for f in asked[0]] == ["same_bytes"]
        assert len(platform.arrived) == 1
        platform.daily_limit = 1
        with pytest.raises(SubmissionError, match="used up"):
            send(SubmissionChannel(workspace, competition, platform, ledger), prepared, agree=lambda _: True)
        assert len(platform.arrived) == 1


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_newer_run_is_not_passed_over_without_a_word(bench: Bench, status: str) -> None:
    folder = bench.copy()
    runs = folder / "competitions" / "small" / "runs"
    (old,) = [p for p in runs.iterdir() if p.is_dir()]
    newer = old.with_name(old.name[:-9].replace("001-2", "001-3") + old.name[-9:])
    shutil.copytree(old, newer)
    text = json.loads((newer / "run.json").read_text())
    record = text["record"]
    record |= {"run_id": newer.name, "folder": str(newer.relative_to(folder)), "status": status}
    record["created_at"] = "3" + record["created_at"][1:]
    (newer / "run.json").write_text(json.dumps(text))
    assert submit(folder) == "asks: newer_run"
    # The folder alone was enough: the ledger had never heard of it. One that nobody runs was interrupted.
    with Ledger.open(Workspace(folder).ledger) as ledger:
        assert ledger.runs("small")[-1].status == status.replace("running", "interrupted")
    shutil.rmtree(newer)
    newer.mkdir()
    library.rebuild_ledger(Workspace(folder))
    assert submit(folder) == "asks: newer_run"


def test_a_run_that_finished_unheard_is_the_newest(bench: Bench) -> None:
    folder = bench.copy()
    with Ledger.open(Workspace(folder).ledger) as ledger:
        runs = ledger.runs("small")
        for run in runs:
            ledger.put_run(replace(run, status="running", cv_mean=None))
    assert submit(folder) == "complete"
    assert logged(folder)[0].cv_mean == runs[0].cv_mean


# ------------------------------------------------------------------------------------------ killed at every change


def after(struck: Struck, behaviour: PlatformBehaviour) -> None:
    """Go on after a fault, and look."""
    count = len(platform_in(struck.folder).arrived)
    assert count <= 1, str(struck)
    told = goes_on(struck.folder, behaviour)
    check(struck.folder, behaviour, (str(struck), told))
    records = logged(struck.folder)
    if not any(r.status in ("unlisted", "sending") for r in records):
        # Nothing is in doubt: then it arrived, in the end, without anybody's word.
        assert len(platform_in(struck.folder).arrived) == 1, (str(struck), told)


@pytest.mark.slow
def test_killed_at_every_change(bench: Bench) -> None:
    points, doubts = [], 0
    for struck in bench.each("kill"):
        assert struck.ended == "killed", str(struck)
        points.append(struck.point)
        after(struck, USUAL)
        doubts += any(r.status == "unlisted" for r in logged(struck.folder))
    assert {"call upload", "call uploaded", "call creating", "call created"} <= set(points)
    # Between the word that it is being sent and the sending itself: no more than that is ever in doubt.
    assert doubts <= points.index("call creating") - points.index("call uploaded")


@pytest.mark.slow
@pytest.mark.parametrize("manner", [m for m in BEHAVIOURS if m != "refused"])
def test_killed_at_every_change_in_every_manner(bench: Bench, manner: str) -> None:
    bench.arguments = (BEHAVIOURS[manner],)
    points = []
    for struck in bench.left_by_kills():
        points.append(struck.point)
        # Until something is uploaded, what is left is the same in every manner.
        if manner == "usual" or "call upload" in points:
            after_any(struck, BEHAVIOURS[manner])
    assert {"call upload", "call creating"} <= {*points}


def after_any(struck: Struck, behaviour: PlatformBehaviour) -> None:
    told = goes_on(struck.folder, behaviour)
    check(struck.folder, behaviour, (str(struck), told))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ENOSPC", "EIO", "EACCES", "interrupt", "busy"])
def test_a_fault_at_every_change(bench: Bench, how: str) -> None:
    """The disk fails, Ctrl-C falls, the ledger is locked: said in a sentence, and nothing is sent without a log."""
    for struck in bench.each(how):
        assert struck.ended in ("returned", "KeyboardInterrupt", *_named()), str(struck)
        after_any(struck, USUAL)


def _named() -> set[str]:
    found, left = set(), [WorkbenchError]
    while left:
        cls = left.pop()
        found.add(cls.__name__)
        left += cls.__subclasses__()
    return found
