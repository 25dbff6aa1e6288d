"""A fake clock: the process's time, which may be set, and the true time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from tests.faults import paused

__all__ = ["Clock"]

START = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


@dataclass
class Clock:
    """The true time and the process's offset from it, stored in a file that survives a killed process.

    Within `running`, `time.time`, `time.monotonic`, `time.sleep` and the package's `datetime.now` use this clock, and
    nothing waits. `jump` sets the process's clock, as a person, a virtual machine or a time server would; monotonic
    time and the true time are not affected.
    """

    path: Path
    sleeps: Callable[[], None] = lambda: None

    def _state(self) -> dict[str, float]:
        if not self.path.exists():
            return {"true_s": 0.0, "off_s": 0.0}
        state: dict[str, float] = json.loads(self.path.read_text())
        return state

    def _store(self, state: dict[str, float]) -> None:
        with paused():
            self.path.write_text(json.dumps(state))

    @property
    def true_s(self) -> float:
        """The true time in seconds since the beginning."""
        return self._state()["true_s"]

    @property
    def now(self) -> datetime:
        """The time of the process's clock."""
        state = self._state()
        return START + timedelta(seconds=state["true_s"] + state["off_s"])

    def advance(self, seconds: float) -> None:
        """Let the time pass, without waiting."""
        state = self._state()
        self._store(state | {"true_s": state["true_s"] + max(0.0, seconds)})

    def jump(self, seconds: float) -> None:
        """Set the process's clock forwards, or backwards."""
        state = self._state()
        self._store(state | {"off_s": state["off_s"] + seconds})

    def _slept(self, seconds: float) -> None:
        self.advance(seconds)
        self.sleeps()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make this the clock of the process, until the block ends."""
        real = {name: getattr(time, name) for name in ("time", "time_ns", "monotonic", "sleep")}
        modules = [m for n, m in list(sys.modules.items()) if n.split(".")[0] == "workbench"]
        with_datetime = [m for m in modules if getattr(m, "datetime", None) is datetime]
        fakes: dict[str, Any] = {
            "time": lambda: self.now.timestamp(),
            "time_ns": lambda: int(self.now.timestamp() * 1e9),
            "monotonic": lambda: self.true_s,
            "sleep": self._slept,
        }
        for name, fake in fakes.items():
            setattr(time, name, fake)
        for module in with_datetime:
            module.datetime = _datetime_of(self)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            for name, function in real.items():
                setattr(time, name, function)
            for module in with_datetime:
                module.datetime = datetime  # type: ignore[attr-defined]


def _datetime_of(clock: Clock) -> type[datetime]:
    class Same(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class Jumping(datetime, metaclass=Same):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return clock.now.astimezone(tz)

    return Jumping
