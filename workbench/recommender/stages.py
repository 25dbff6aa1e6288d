"""The parts of a recommender's work: what each took, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from workbench.core.context import RunContext
from workbench.core.events import StageFinished
from workbench.core.memory import measured_peak

__all__ = ["Clock", "Stage"]


@dataclass(frozen=True)
class Stage:
    """A part of the work: its seconds, and the most memory of the process in it."""

    name: str
    seconds: float
    peak_mb: float


SHARE_EVERY_S = 10.0


@dataclass
class Clock:
    """Times stages, and says when each begins."""

    context: RunContext
    stages: list[Stage] = field(default_factory=list)
    name: str = ""
    told_at: float = 0.0

    def share(self, done: float) -> None:
        """Say how much of the stage is done, from time to time."""
        if time.perf_counter() - self.told_at >= SHARE_EVERY_S:
            self.told_at = time.perf_counter()
            self.context.progress(done, 1.0, self.name, "share")

    def share_of(self, before: float, part: float, done: float) -> None:
        """Say the same of a part of the stage, with another before it."""
        self.share(before + part * done)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a stage."""
        self.context.stage(name)
        self.name, self.told_at = name, time.perf_counter()
        started = self.told_at
        with measured_peak() as peak:
            yield
        stage = Stage(name, round(time.perf_counter() - started, 2), round(peak.mb, 1))
        self.stages.append(stage)
        self.context.emit(StageFinished(stage.name, stage.seconds, stage.peak_mb))
