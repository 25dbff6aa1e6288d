"""What people do to send a submission, as work that can be killed: see `tests.faults`."""

from __future__ import annotations

from pathlib import Path

from tests.clock import Clock
from tests.fake_platform import FakePlatform, Manners
from workbench.api import library
from workbench.core.errors import SubmissionError, UnansweredError
from workbench.data.workspace import Workspace
from workbench.ledger import Ledger
from workbench.submissions import SubmissionChannel, prepare, send, sync

__all__ = ["MANNERS", "USUAL", "look", "place", "submit"]

USUAL = Manners()
MANNERS = {
    "usual": USUAL,
    "slow upload": Manners(upload_s=600.0),
    "listed late": Manners(listed_after_s=40.0),
    "listed too late": Manners(listed_after_s=200.0),
    "never listed": Manners(listed_after_s=None),
    "answer lost": Manners(answer="lost"),
    "answer lost, listed late": Manners(answer="lost", listed_after_s=40.0, upload_s=600.0),
    "answer lost, listed too late": Manners(answer="lost", listed_after_s=200.0),
    "answer lost, never listed": Manners(answer="lost", listed_after_s=None),
    "cut before": Manners(answer="cut before"),
    "scored late": Manners(scored_after_s=5000.0),
    "the list fails": Manners(answer="lost", list_fails=3),
    "refused": Manners(answer="refused"),
}


def place(folder: Path, manners: Manners = USUAL) -> FakePlatform:
    return FakePlatform(folder / "platform", Clock(folder / "clock.json"), manners)


def submit(folder: Path, manners: Manners = USUAL, *, yes: bool = False, again: bool = False) -> str:
    """Do what `wb submit` does where nobody is asked; return the state of what was sent, or what was in the way."""
    platform = place(folder, manners)
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


def look(folder: Path, manners: Manners = USUAL) -> list[str]:
    """Do what `wb sync` does."""
    platform = place(folder, manners)
    workspace = Workspace(folder)
    with platform.clock.running(), Ledger.open(workspace.ledger) as ledger:
        competition = library.OpenCompetition(workspace, "small").access.competition
        return [s.status for s in sync(SubmissionChannel(workspace, competition, platform, ledger))]
