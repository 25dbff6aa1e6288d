"""The contract of a platform: a place where competitions live.

A platform is Kaggle or a local rehearsal. What differs between them ends at this protocol; `connect` finds an
implementation by name, so that nothing below the command line needs to know which one it talks to.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, cast

from workbench.errors import NotFoundError, near

__all__ = [
    "CompetitionFacts",
    "Leaderboard",
    "Platform",
    "PlatformSubmission",
    "RemoteFile",
    "Standing",
    "SubmissionLimits",
    "connect",
]

Progress = Callable[[int], None]
"""Called with the number of bytes that arrived since the last call."""

IMPLEMENTATIONS = {"rehearsal": "workbench.rehearsal:Rehearsal"}


@dataclass(frozen=True)
class CompetitionFacts:
    """What the platform says of a competition; None where it does not say.

    `metric` is a built-in name of `workbench.metrics` or the platform's own words. `id_columns`, `target_columns` and
    `task` are given only by a platform that knows them; elsewhere they are inferred from the files.
    """

    slug: str
    title: str
    metric: str | None = None
    greater_is_better: bool | None = None
    task: str | None = None
    id_columns: tuple[str, ...] = ()
    target_columns: tuple[str, ...] = ()
    weight_column: str | None = None
    deadline: datetime | None = None
    daily_limit: int | None = None
    accepts_submissions: bool = True
    kind: str = "tabular"
    url: str | None = None


@dataclass(frozen=True)
class RemoteFile:
    """One file that the platform offers. `sha256` and `md5` are hex digests, None where the platform sends none."""

    name: str
    size_bytes: int
    modified_at: datetime | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class PlatformSubmission:
    """A submission as the platform tells it.

    `status` is ``"pending"``, ``"complete"`` or ``"error"``. A score is None while it is not known or not shown.
    """

    ref: str
    file_name: str
    message: str
    submitted_at: datetime
    status: str
    public_score: float | None = None
    private_score: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class SubmissionLimits:
    """How many submissions a day allows and how many are left today (UTC). None: no limit is known."""

    per_day: int | None
    remaining_today: int | None


@dataclass(frozen=True)
class Standing:
    """Where a score stands: rank from 1, percentile (100 rank / teams: "top 3 %"), medal by Kaggle's rules."""

    rank: int
    teams: int
    percentile: float
    medal: str | None


@dataclass(frozen=True)
class Leaderboard:
    """The leaderboard, best first, as (team, score); and where the user's best submission stands, if there is one."""

    entries: tuple[tuple[str, float], ...] = field(default=())
    public: Standing | None = None
    private: Standing | None = None


class Platform(Protocol):
    """A place where competitions live.

    Every method may raise `PlatformError` (the platform refused, or can't be reached) and, for a slug that does not
    exist, `NotFoundError`. No method prints, prompts or exits. Times are aware UTC.
    """

    name: str

    def facts(self, slug: str) -> CompetitionFacts:
        """Return what the platform says of the competition."""
        ...

    def files(self, slug: str) -> list[RemoteFile]:
        """Return the competition's data files, sorted by name. Names may contain ``/``."""
        ...

    def download(self, slug: str, name: str, destination: Path, *, progress: Progress | None = None) -> None:
        """Download one file to the path `destination`, replacing what is there only once the file is whole.

        Raises `NotFoundError` for a name that `files` does not list and `PlatformError` when what arrived is not what
        `files` announced (size, digest).
        """
        ...

    def submit(self, slug: str, file: Path, message: str) -> str:
        """Send a file and return its reference. Scoring may come later: see `submissions`.

        Raises `PlatformError` when the competition is closed or the daily limit is used up. A file that can't be
        scored is accepted and gets the status ``"error"``.
        """
        ...

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        """Return all of the user's submissions, newest first."""
        ...

    def limits(self, slug: str) -> SubmissionLimits:
        """Return what is left of today's submissions."""
        ...

    def leaderboard(self, slug: str) -> Leaderboard:
        """Return the leaderboard and the user's standing on it."""
        ...


def connect(name: str, workspace: Path) -> Platform:
    """Return the platform called `name`.

    Implementations are looked up by name and imported only here, so that this module depends on none of them.

    Parameters
    ----------
    name : str
        ``"rehearsal"``.
    workspace : Path
        The workspace's folder; a platform that lives on disk keeps its competitions there.

    Raises
    ------
    NotFoundError
        For an unknown name.
    """
    if name not in IMPLEMENTATIONS:
        raise NotFoundError(f"no platform is called {name!r}", hint=near(name, IMPLEMENTATIONS, what="platform"))
    module, _, attribute = IMPLEMENTATIONS[name].partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    return cast("Platform", factory(workspace))
