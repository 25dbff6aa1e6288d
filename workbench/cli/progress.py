"""Progress on stderr: bars on a terminal, after two seconds; lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workbench.cli.app import note

if TYPE_CHECKING:
    from rich.progress import Progress

    from workbench.training import FoldResult

__all__ = ["byte_bar", "fold_bar", "step_bar"]

PATIENCE_S = 2.0


@contextmanager
def byte_bar() -> Iterator[Callable[[int], None]]:
    """Give a callback for the bytes that arrive."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

    columns = (SpinnerColumn(), TextColumn("downloading"), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("bytes", total=None)
    started = time.monotonic()

    def advance(size: int) -> None:
        if not bar.live.is_started and time.monotonic() - started > PATIENCE_S:
            bar.start()
        bar.advance(task, size)

    try:
        yield advance
    finally:
        bar.stop()


def _bar() -> Progress:
    from rich import progress
    from rich.console import Console
    from rich.text import Text

    class Count(progress.MofNCompleteColumn):
        """How much of how much, where that is known."""

        def render(self, task: progress.Task) -> Text:
            return super().render(task) if task.total is not None else Text()

    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), Count(), progress.TimeElapsedColumn())
    return progress.Progress(*columns, console=Console(stderr=True), transient=True)


@contextmanager
def fold_bar(label: str) -> Iterator[tuple[Callable[[str], None], Callable[[FoldResult, int], None]]]:
    """Give two callbacks: for a line of text, and for a trained model and the number still to come."""
    if not sys.stderr.isatty():
        yield note, _fold_line
        return
    bar = _bar()
    task = bar.add_task(label, total=None)
    total = 0
    timer = threading.Timer(PATIENCE_S, bar.start)
    timer.daemon = True
    timer.start()

    def report(text: str) -> None:
        bar.update(task, description=f"{label}: {text}")

    def done(result: FoldResult, left: int) -> None:
        nonlocal total
        total = total or left + 1
        text = f"{label}: fold {result.fold}, seed {result.seed}: {_score(result)}"
        bar.update(task, completed=total - left, total=total, description=text)

    try:
        yield report, done
    finally:
        timer.cancel()
        bar.stop()


def _fold_line(result: FoldResult, left: int) -> None:
    note(
        f"  fold {result.fold}, seed {result.seed}: {_score(result)}, {result.rounds} rounds, {result.seconds:.1f} s"
        f" ({left} to come)"
    )


def _score(result: FoldResult) -> str:
    curve = result.curve.get("valid", [])
    return f"{curve[result.rounds - 1]:.5f}" if len(curve) >= result.rounds > 0 else "trained"


@contextmanager
def step_bar(label: str) -> Iterator[tuple[Callable[[str], None], Callable[[int, int, str], None]]]:
    """Give two callbacks: for a line of text, and for how much is done, of how much, and what."""
    if not sys.stderr.isatty():
        yield note, _SlowLines()
        return
    bar = _bar()
    task = bar.add_task(label, total=None)
    timer = threading.Timer(PATIENCE_S, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield (
            lambda text: bar.update(task, description=f"{label}: {text}"),
            lambda done, total, text: bar.update(task, completed=done, total=total, description=f"{label}: {text}"),
        )
    finally:
        timer.cancel()
        bar.stop()


class _SlowLines:
    """Lines of progress for a log file: one every few seconds, and none for what is done at once."""

    EVERY_S = 10.0

    def __init__(self) -> None:
        self.last = time.monotonic() - self.EVERY_S + PATIENCE_S

    def __call__(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if now - self.last >= self.EVERY_S:
            self.last = now
            note(f"  {done} of {total}: {text}")
