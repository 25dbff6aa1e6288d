"""The stages of a recommender's run, with their time, memory and progress."""

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
    """A finished stage: its seconds, and the peak memory of the process during it."""

    name: str
    seconds: float
    peak_mb: float


SHARE_EVERY_S = 10.0


@dataclass
class StageTimer:
    """Measures stages and reports their progress.

    Attributes
    ----------
    stages : list of Stage
        The finished ones.
    name : str
        The current stage.
    reported_at : float
        The time of the last report, by `time.perf_counter`.
    """

    context: RunContext
    stages: list[Stage] = field(default_factory=list)
    name: str = ""
    reported_at: float = 0.0

    def share(self, completed: float) -> None:
        """Report the completed share of the stage, at most once in `SHARE_EVERY_S` seconds."""
        if time.perf_counter() - self.reported_at >= SHARE_EVERY_S:
            self.reported_at = time.perf_counter()
            self.context.progress(completed, 1.0, self.name, "share")

    def share_of(self, before: float, part: float, completed: float) -> None:
        """Report the completed share of a part of the stage, which follows the share `before` of it."""
        self.share(before + part * completed)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure a stage."""
        self.context.stage(name)
        started_at = time.perf_counter()
        self.name, self.reported_at = name, started_at
        with measured_peak() as peak:
            yield
        stage = Stage(name, round(time.perf_counter() - started_at, 2), round(peak.mb, 1))
        self.stages.append(stage)
        self.context.emit(StageFinished(stage.name, stage.seconds, stage.peak_mb))
