"""A platform with delays of every kind, whose state outlives the processes that are killed while they talk to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.clock import START, Clock
from tests.faults import paused, point
from workbench.core.cache import file_sha256
from workbench.core.errors import PlatformError, UnansweredError, UnreachableError
from workbench.platforms.protocol import BeforeCreate, CompetitionFacts, PlatformSubmission, SubmissionLimits

__all__ = ["FakePlatform", "Manners"]


@dataclass(frozen=True)
class Manners:
    """How it behaves, in seconds of the true time.

    Attributes
    ----------
    upload_s : how long an upload takes
    listed_after_s : how long after it was made a submission is listed; None for never
    scored_after_s : how long after it was made a submission is scored
    answer : what becomes of the answer to the creation: ``"given"``, ``"lost"``, ``"cut before"`` (it was never asked),
        ``"refused"``
    list_fails : once a submission has arrived, the first so many questions for the list fail
    jumps : by how much the process's clock is set when something happens: ``"uploaded"``, ``"creating"``,
        ``"created"``, ``"listed"``
    """

    upload_s: float = 1.0
    listed_after_s: float | None = 0.0
    scored_after_s: float = 0.0
    answer: str = "given"
    list_fails: int = 0
    jumps: dict[str, float] = field(default_factory=dict)


@dataclass
class FakePlatform:
    """Takes submissions into a folder; the daily limit counts what it took, listed or not.

    Every call is a point at which a process can be killed, and so is the moment when it has made a submission and not
    yet answered.
    """

    folder: Path
    clock: Clock
    manners: Manners = Manners()
    daily_limit: int = 5
    listing_delay_s: float = 60.0
    name: str = "rehearsal"
    is_local: bool = False
    code: None = None

    @property
    def arrived(self) -> list[dict[str, Any]]:
        """What it took, oldest first, whether it lists it or not."""
        return [json.loads(p.read_text()) for p in sorted(self.folder.glob("*.json"))]

    def _happens(self, what: str) -> None:
        point(what)
        if what in self.manners.jumps:
            self.clock.jump(self.manners.jumps[what])

    def facts(self, slug: str) -> CompetitionFacts:
        """Return what it is."""
        point("facts")
        return CompetitionFacts(slug, slug, daily_limit=self.daily_limit)

    def limits(self, slug: str) -> SubmissionLimits:
        """Return what is left today."""
        del slug
        point("limits")
        return SubmissionLimits(self.daily_limit, max(0, self.daily_limit - len(self.arrived)))

    def submit(self, slug: str, file: Path, message: str, *, before_create: BeforeCreate = lambda: None) -> str:
        """Take a file, slowly; answer, or not."""
        del slug
        point("upload")
        sha256 = file_sha256(file)
        self.clock.advance(self.manners.upload_s)
        self._happens("uploaded")
        before_create()
        self._happens("creating")
        if self.manners.answer == "refused":
            raise PlatformError("Submission not allowed: on purpose")
        if self.manners.answer == "cut before":
            raise UnansweredError("the connection dropped")
        taken = self.arrived
        ref = str(1000 + len(taken))
        record = {"ref": ref, "file_name": file.name, "message": message, "sha256": sha256, "at_s": self.clock.true_s}
        with paused():
            self.folder.mkdir(exist_ok=True)
            (self.folder / f"{ref}.json").write_text(json.dumps(record))
        self._happens("created")
        if self.manners.answer == "lost":
            raise UnansweredError("the answer was lost")
        return ref

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        """Return what it lists by now, newest first."""
        del slug
        self._happens("listed")
        asked = self.folder / "asked"
        with paused():
            self.folder.mkdir(exist_ok=True)
            number = int(asked.read_text()) + 1 if asked.exists() else 1
            if self.arrived:
                asked.write_text(str(number))
        if self.arrived and number <= self.manners.list_fails:
            raise UnreachableError("no answer")
        after, now = self.manners.listed_after_s, self.clock.true_s
        return [
            self._told(s, now) for s in reversed(self.arrived) if after is not None and now >= float(s["at_s"]) + after
        ]

    def _told(self, taken: dict[str, Any], now: float) -> PlatformSubmission:
        scored = now >= float(taken["at_s"]) + self.manners.scored_after_s
        return PlatformSubmission(
            ref=taken["ref"],
            file_name=taken["file_name"],
            message=taken["message"],
            submitted_at=START + timedelta(seconds=float(taken["at_s"])),
            status="complete" if scored else "pending",
            public_score=0.5 if scored else None,
        )
