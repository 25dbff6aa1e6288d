"""Progress on stderr: bars on a terminal, after two seconds, and lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from workbench.cli.interrupt import wake_reads
from workbench.cli.terminal import console, note
from workbench.core.events import (
    BytesReceived,
    DownloadStarted,
    Event,
    Listener,
    Message,
    ModelTrained,
    Progress,
    SearchProgress,
    event_text,
)
from workbench.core.memory import format_bytes
from workbench.core.printable import one_line, printable

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

__all__ = ["Bar", "byte_bar", "progress_bar"]

PATIENCE_S = 2.0
"""A bar appears after this time."""

WIDE = 100
"""A terminal of at least this many columns has room for a long bar."""

DOWNLOAD = "downloading"
STEPS = (DOWNLOAD, "unpacking", "converting")
"""The first words of messages of `wb fetch` about its current step."""

BAR_WIDTH, WIDE_BAR_WIDTH = 38, 63
"""The width of bar, count and time, which is reserved; otherwise rich shrinks them if the text is long."""


class Bar:
    """A bar on the terminal that appears after two seconds, and is hidden while a debugger uses the terminal.

    Parameters
    ----------
    label : str
        The initial text.
    *columns : rich.progress.ProgressColumn
        The columns after the text.
    """

    def __init__(self, label: str, *columns: ProgressColumn) -> None:
        from rich.progress import Progress, TextColumn

        terminal = console(err=True)
        text = TextColumn("{task.description}", markup=False)
        self.progress = Progress(text, *columns, console=terminal, transient=True)
        self._max_length = max(terminal.width - (BAR_WIDTH if terminal.width < WIDE else WIDE_BAR_WIDTH), 20)
        self._task = self.progress.add_task(label, total=None, is_time=False)
        self._lock = threading.RLock()
        self._timer = threading.Timer(PATIENCE_S, self.appear)
        self._timer.daemon = True
        self._is_due, self._n_pauses, self._has_ended = False, 0, False

    def update(self, **values: Any) -> None:
        """Change `description`, `completed`, `total`, or fields of its columns."""
        if "description" in values:
            text = one_line(values["description"])
            values["description"] = text if len(text) <= self._max_length else text[: self._max_length - 1] + "…"
        self.progress.update(self._task, **values)

    def advance(self, amount: float) -> None:
        """Add to the completed amount."""
        self.progress.advance(self._task, amount)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        with self._lock:
            if self.progress.live.is_started:
                self.progress.console.print(printable(text), soft_wrap=True)
            else:
                note(text)

    @contextmanager
    def shown(self) -> Iterator[Bar]:
        """Show the bar until the end of the block."""
        self._timer.start()
        try:
            with _hidden_in_debugger(self):
                yield self
        finally:
            self._timer.cancel()
            with self._lock:
                self._has_ended = True
                self.progress.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hide the bar until the end of the block."""
        with self._lock:
            self._n_pauses += 1
            self.progress.stop()
        try:
            yield
        finally:
            with self._lock:
                self._n_pauses -= 1
                self._refresh()

    def appear(self) -> None:
        """Show the bar."""
        with self._lock:
            self._is_due = True
            self._refresh()

    def _refresh(self) -> None:
        if self._is_due and not self._n_pauses and not self._has_ended:
            self.progress.start()


@contextmanager
def _hidden_in_debugger(bar: Bar) -> Iterator[None]:
    """Hide the bar while pdb, or a debugger built on it, waits for input.

    Every stop of a debugger passes through `Pdb.interaction`. Its output goes to the terminal itself, as rich has
    replaced the standard streams. "quit" ends the command as Ctrl-C does, as the code itself has not failed.
    """
    import pdb

    interaction = pdb.Pdb.interaction

    def paused(debugger: pdb.Pdb, frame: Any, *arguments: Any, **keywords: Any) -> None:
        debugger.stdout = getattr(debugger.stdout, "rich_proxied_file", debugger.stdout)
        wake_reads()
        with bar.paused():
            interaction(debugger, frame, *arguments, **keywords)
        if frame is not None and debugger.quitting:
            raise KeyboardInterrupt

    pdb.Pdb.interaction = paused  # type: ignore[assignment]
    try:
        yield
    finally:
        pdb.Pdb.interaction = interaction  # type: ignore[method-assign]


def _counted_columns() -> list[ProgressColumn]:
    from rich import progress
    from rich.text import Text

    class Count(progress.MofNCompleteColumn):
        """The completed and the total amount, if known."""

        def render(self, task: progress.Task) -> Text:
            return Text() if task.total is None or task.fields["is_time"] else super().render(task)

    width = 40 if console(err=True).width >= WIDE else 15
    return [progress.BarColumn(width), Count(), progress.TimeElapsedColumn()]


def _byte_columns() -> list[ProgressColumn]:
    from rich import progress
    from rich.text import Text

    class Bytes(progress.ProgressColumn):
        """The downloaded bytes, their total if known, and the speed; empty while nothing is downloaded."""

        def render(self, task: progress.Task) -> Text:
            if not task.fields.get("downloads"):
                return Text()
            total = "" if task.total is None else f" of {format_bytes(task.total)}"
            speed = "" if not task.speed else f"  {format_bytes(task.speed)}/s"
            return Text(f"{format_bytes(task.completed)}{total}{speed}")

    return [Bytes(), progress.TimeElapsedColumn()]


@contextmanager
def byte_bar() -> Iterator[tuple[Listener, Callable[[], AbstractContextManager[None]]]]:
    """Yield a listener that shows downloads on stderr, and a context manager that hides its bar."""
    if not sys.stderr.isatty():
        yield _LineListener(), nullcontext
        return
    with Bar("", *_byte_columns()).shown() as bar:

        def listen(event: Event) -> None:
            match event:
                case BytesReceived(size_bytes):
                    bar.advance(size_bytes)
                case DownloadStarted(size_bytes):
                    bar.update(total=size_bytes, completed=0)
                case _ if (text := event_text(event)) is not None:
                    bar.say(text)
                    step = text.partition(" ")[0]
                    if step in STEPS:  # other messages are findings
                        bar.update(description=step if step == DOWNLOAD else text, downloads=step == DOWNLOAD)

        yield listen, bar.paused


@contextmanager
def progress_bar(label: str) -> Iterator[Listener]:
    """Yield a listener that shows events on stderr: as a bar on a terminal, as lines elsewhere."""
    if not sys.stderr.isatty():
        yield _LineListener()
        return
    with Bar(label, *_counted_columns()).shown() as bar:
        yield _BarListener(label, bar)


class _BarListener:
    """Shows events as a bar with a text."""

    def __init__(self, label: str, bar: Bar) -> None:
        self.label, self.bar, self.n_models = label, bar, 0
        self.started_at = time.monotonic()

    def __call__(self, event: Event) -> None:
        match event:
            case Message(text):
                self.bar.say(text)
            case ModelTrained(remaining=remaining):
                self.n_models = self.n_models or remaining + 1
                text = f"{_model(event)}: {_score(event)}"
                self._show_count(text, self.n_models - remaining, self.n_models)
            case Progress(completed, total, text, unit) if unit != "share":
                self._show_count(text, completed, total)
            case SearchProgress(remaining_s=remaining_s):
                self._show_search(event, remaining_s)
            case _ if (words := event_text(event)) is not None:
                self._show(words)

    def _show_search(self, event: SearchProgress, remaining_s: float | None) -> None:
        """Fill the bar by the time limit of a search; without a limit it is indeterminate."""
        spent_s = time.monotonic() - self.started_at
        total_s = None if remaining_s is None else spent_s + remaining_s
        self._show(event_text(event) or "", completed=spent_s, total=total_s, is_time=True)

    def _show_count(self, text: str, completed: float, total: float | None) -> None:
        self._show(text, completed=completed, total=total, is_time=False)

    def _show(self, text: str, **values: Any) -> None:
        self.bar.update(description=f"{self.label}: {text}", **values)


class _LineListener:
    """Shows events as lines, for a log file; counts at most every few seconds."""

    EVERY_S = 10.0

    def __init__(self) -> None:
        self.last_count_at = time.monotonic() - self.EVERY_S + PATIENCE_S

    def __call__(self, event: Event) -> None:
        match event:
            case ModelTrained():
                rounds = f"{event.rounds} rounds, " if event.rounds else ""
                note(f"  {_model(event)}: {_score(event)}, {rounds}{event.seconds:.1f} s ({event.remaining} remaining)")
            case SearchProgress():
                self._note_count(event)
            case Progress(unit=unit) if unit != "share":
                self._note_count(event)
            case _ if (text := event_text(event)) is not None:
                note(text)

    def _note_count(self, event: Event) -> None:
        now = time.monotonic()
        if now - self.last_count_at >= self.EVERY_S:
            self.last_count_at = now
            note(f"  {event_text(event)}")


def _model(event: ModelTrained) -> str:
    rows = f"fold {event.fold}" if event.fold >= 0 else "all rows"
    return f"{rows}, seed {event.seed}"


def _score(event: ModelTrained) -> str:
    return "trained" if event.score is None else f"{event.metric} {event.score:.5f}".lstrip()
