"""The stages of a recommender's run: their time and memory, and their progress."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from workbench.core.context import RunContext
from workbench.core.events import StageFinished
from workbench.core.memory import measured_peak

__all__ = ["Stage", "StageTimer"]


@dataclass(frozen=True)
class Stage:
    """A stage: its seconds, and the peak memory of the process in it."""

    name: str
    seconds: float
    peak_mb: float


SHARE_EVERY_S = 10.0


@dataclass
class StageTimer:
    """Times stages, and reports when each begins."""

    context: RunContext
    stages: list[Stage] = field(default_factory=list)
    name: str = ""
    reported_at: float = 0.0

    def share(self, done: float) -> None:
        """Report the share of the stage that is done, from time to time."""
        if time.perf_counter() - self.reported_at >= SHARE_EVERY_S:
            self.reported_at = time.perf_counter()
            self.context.progress(done, 1.0, self.name, "share")

    def share_of(self, before: float, part: float, done: float) -> None:
        """Report the progress of a part of the stage that follows another part."""
        self.share(before + part * done)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a stage."""
        self.context.stage(name)
        self.name, self.reported_at = name, time.perf_counter()
        started = self.reported_at
        with measured_peak() as peak:
            yield
        stage = Stage(name, round(time.perf_counter() - started, 2), round(peak.mb, 1))
        self.stages.append(stage)
        self.context.emit(StageFinished(stage.name, stage.seconds, stage.peak_mb))
