"""A platform with configurable delays and faults, whose state in a folder survives a killed process."""

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

__all__ = ["FakePlatform", "PlatformBehaviour"]


@dataclass(frozen=True)
class PlatformBehaviour:
    """How the platform behaves; times are of the clock's true time.

    Attributes
    ----------
    upload_s : float
        The duration of an upload.
    listed_after_s : float, optional
        The time from a submission's creation until it is listed; None for never.
    scored_after_s : float
        The time from a submission's creation until it is scored.
    answer : str
        The answer to the request for creation: ``"given"``, ``"lost"``, ``"cut before"`` (the request is lost), or
        ``"refused"``.
    list_fails : int
        The number of requests for the list that fail after a submission has arrived.
    jumps : dict
        The seconds by which the process's clock is set at ``"uploaded"``, ``"creating"``, ``"created"`` or
        ``"listed"``.
    """

    upload_s: float = 1.0
    listed_after_s: float | None = 0.0
    scored_after_s: float = 0.0
    answer: str = "given"
    list_fails: int = 0
    jumps: dict[str, float] = field(default_factory=dict)


@dataclass
class FakePlatform:
    """Stores submissions in a folder; the daily limit counts all of them, listed or not.

    A process can be killed at every call, and between the creation of a submission and the answer.
    """

    folder: Path
    clock: Clock
    behaviour: PlatformBehaviour = PlatformBehaviour()
    daily_limit: int = 5
    listing_delay_s: float = 60.0
    name: str = "rehearsal"
    is_local: bool = False
    code: None = None

    @property
    def arrived(self) -> list[dict[str, Any]]:
        """The stored submissions, oldest first, listed or not."""
        return [json.loads(p.read_text()) for p in sorted(self.folder.glob("*.json"))]

    def _happens(self, what: str) -> None:
        point(what)
        if what in self.behaviour.jumps:
            self.clock.jump(self.behaviour.jumps[what])

    def facts(self, slug: str) -> CompetitionFacts:
        """Return the facts of any competition."""
        point("facts")
        return CompetitionFacts(slug, slug, daily_limit=self.daily_limit)

    def limits(self, slug: str) -> SubmissionLimits:
        """Return the limit and the submissions left."""
        del slug
        point("limits")
        return SubmissionLimits(self.daily_limit, max(0, self.daily_limit - len(self.arrived)))

    def submit(self, slug: str, file: Path, message: str, *, before_create: BeforeCreate = lambda: None) -> str:
        """Store a file after the upload's duration, and answer as configured."""
        del slug
        point("upload")
        sha256 = file_sha256(file)
        self.clock.advance(self.behaviour.upload_s)
        self._happens("uploaded")
        before_create()
        self._happens("creating")
        if self.behaviour.answer == "refused":
            raise PlatformError("Submission not allowed: on purpose")
        if self.behaviour.answer == "cut before":
            raise UnansweredError("the connection dropped")
        taken = self.arrived
        ref = str(1000 + len(taken))
        record = {"ref": ref, "file_name": file.name, "message": message, "sha256": sha256, "at_s": self.clock.true_s}
        with paused():
            self.folder.mkdir(exist_ok=True)
            (self.folder / f"{ref}.json").write_text(json.dumps(record))
        self._happens("created")
        if self.behaviour.answer == "lost":
            raise UnansweredError("the answer was lost")
        return ref

    def submissions(self, slug: str) -> list[PlatformSubmission]:
        """Return the submissions that are listed by now, newest first."""
        del slug
        self._happens("listed")
        asked = self.folder / "asked"
        with paused():
            self.folder.mkdir(exist_ok=True)
            number = int(asked.read_text()) + 1 if asked.exists() else 1
            if self.arrived:
                asked.write_text(str(number))
        if self.arrived and number <= self.behaviour.list_fails:
            raise UnreachableError("no answer")
        after, now = self.behaviour.listed_after_s, self.clock.true_s
        return [
            self._told(s, now) for s in reversed(self.arrived) if after is not None and now >= float(s["at_s"]) + after
        ]

    def _told(self, taken: dict[str, Any], now: float) -> PlatformSubmission:
        scored = now >= float(taken["at_s"]) + self.behaviour.scored_after_s
        return PlatformSubmission(
            ref=taken["ref"],
            file_name=taken["file_name"],
            message=taken["message"],
            submitted_at=START + timedelta(seconds=float(taken["at_s"])),
            status="complete" if scored else "pending",
            public_score=0.5 if scored else None,
        )
