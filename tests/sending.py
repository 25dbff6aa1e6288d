"""`wb submit` and `wb sync` on a fake platform, as functions that can be killed at any point: see `tests.faults`."""

from __future__ import annotations

from pathlib import Path

from tests.clock import Clock
from tests.fake_platform import FakePlatform, PlatformBehaviour
from workbench.api import library
from workbench.core.errors import SubmissionError, UnansweredError
from workbench.data.workspace import Workspace
from workbench.ledger import Ledger
from workbench.submissions import SubmissionChannel, prepare, send, sync

__all__ = ["BEHAVIOURS", "USUAL", "platform_in", "submit", "sync_statuses"]

USUAL = PlatformBehaviour()
BEHAVIOURS = {
    "usual": USUAL,
    "slow upload": PlatformBehaviour(upload_s=600.0),
    "listed late": PlatformBehaviour(listed_after_s=40.0),
    "listed too late": PlatformBehaviour(listed_after_s=200.0),
    "never listed": PlatformBehaviour(listed_after_s=None),
    "answer lost": PlatformBehaviour(answer="lost"),
    "answer lost, listed late": PlatformBehaviour(answer="lost", listed_after_s=40.0, upload_s=600.0),
    "answer lost, listed too late": PlatformBehaviour(answer="lost", listed_after_s=200.0),
    "answer lost, never listed": PlatformBehaviour(answer="lost", listed_after_s=None),
    "cut before": PlatformBehaviour(answer="cut before"),
    "scored late": PlatformBehaviour(scored_after_s=5000.0),
    "the list fails": PlatformBehaviour(answer="lost", list_fails=3),
    "refused": PlatformBehaviour(answer="refused"),
}


def platform_in(folder: Path, behaviour: PlatformBehaviour = USUAL) -> FakePlatform:
    return FakePlatform(folder / "platform", Clock(folder / "clock.json"), behaviour)


def submit(folder: Path, behaviour: PlatformBehaviour = USUAL, *, yes: bool = False, again: bool = False) -> str:
    """Do what `wb submit` does without a terminal; return the submission's status, or what prevented it."""
    platform = platform_in(folder, behaviour)
    workspace = Workspace(folder)
    with platform.clock.running(), Ledger.open(workspace.ledger) as ledger:
        competition = library.OpenCompetition(workspace, "small").access.competition
        channel = SubmissionChannel(workspace, competition, platform, ledger)
        prepared = prepare(channel, 1)
        warnings = [f.code for f in prepared.warnings if not (again if f in prepared.doubts else yes)]
        if warnings:
            return f"asks: {', '.join(warnings)}"
        try:
            return send(channel, prepared, again=again).status
        except (SubmissionError, UnansweredError) as exc:
            return f"{type(exc).__name__}: {exc.message}"


def sync_statuses(folder: Path, behaviour: PlatformBehaviour = USUAL) -> list[str]:
    """Do what `wb sync` does; return the statuses of what changed."""
    platform = platform_in(folder, behaviour)
    workspace = Workspace(folder)
    with platform.clock.running(), Ledger.open(workspace.ledger) as ledger:
        competition = library.OpenCompetition(workspace, "small").access.competition
        return [s.status for s in sync(SubmissionChannel(workspace, competition, platform, ledger))]
