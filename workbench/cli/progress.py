"""Progress on stderr: bars on a terminal, after two seconds; lines elsewhere."""

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
WIDE = 100
"""From so many columns on there is room for a long bar."""

DOWNLOAD = "downloading"
STEPS = (DOWNLOAD, "unpacking", "converting")
"""How the lines of `wb fetch` begin that say what it is at."""

BESIDE, BESIDE_WIDE = 38, 63
"""What bar, count and time take beside the text; rich would cut all of them alike where the text is long."""


class Bar:
    """A bar on the terminal that comes after two seconds, and goes as long as a debugger has the terminal.

    Parameters
    ----------
    label : str
        What the text beside the bar begins with.
    *columns : rich.progress.ProgressColumn
        What stands behind the text.
    """

    def __init__(self, label: str, *columns: ProgressColumn) -> None:
        from rich.progress import Progress, TextColumn

        terminal = console(err=True)
        text = TextColumn("{task.description}", markup=False)
        self._progress = Progress(text, *columns, console=terminal, transient=True)
        self._room = max(terminal.width - (BESIDE if terminal.width < WIDE else BESIDE_WIDE), 20)
        self._task = self._progress.add_task(label, total=None, is_time=False)
        self._lock = threading.RLock()
        self._timer = threading.Timer(PATIENCE_S, self.appear)
        self._timer.daemon = True
        self._due, self._pauses, self._ended = False, 0, False

    def update(self, **values: Any) -> None:
        """Change what the bar shows: `description`, `completed`, `total`, and what its columns read."""
        if "description" in values:
            text = one_line(values["description"])
            values["description"] = text if len(text) <= self._room else text[: self._room - 1] + "…"
        self._progress.update(self._task, **values)

    def advance(self, amount: float) -> None:
        """Add to what is completed."""
        self._progress.advance(self._task, amount)

    def say(self, text: str) -> None:
        """Print a line that stays, above the bar."""
        with self._lock:
            if self._progress.live.is_started:
                self._progress.console.print(printable(text), soft_wrap=True)
            else:
                note(text)

    @contextmanager
    def shown(self) -> Iterator[Bar]:
        """Show it until the end of the block."""
        self._timer.start()
        try:
            with _debuggers_pause(self):
                yield self
        finally:
            self._timer.cancel()
            with self._lock:
                self._ended = True
                self._progress.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take it off the terminal until the end of the block."""
        with self._lock:
            self._pauses += 1
            self._progress.stop()
        try:
            yield
        finally:
            with self._lock:
                self._pauses -= 1
                self._refresh()

    def appear(self) -> None:
        """Show it now, as the first two seconds are over."""
        with self._lock:
            self._due = True
            self._refresh()

    def _refresh(self) -> None:
        if self._due and not self._pauses and not self._ended:
            self._progress.start()


@contextmanager
def _debuggers_pause(bar: Bar) -> Iterator[None]:
    """Have `breakpoint()`, `pdb.set_trace()` and what is built on pdb take the terminal while they wait for a command.

    Every stop of a debugger passes through `Pdb.interaction`. Its output goes to the terminal itself, where rich has
    replaced the standard streams. Leaving it by "quit" ends the command as Ctrl-C does: what it interrupted was no
    failure of the code.
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
        """How much of how much, where that is known."""

        def render(self, task: progress.Task) -> Text:
            return Text() if task.total is None or task.fields["is_time"] else super().render(task)

    width = 40 if console(err=True).width >= WIDE else 15
    return [progress.BarColumn(width), Count(), progress.TimeElapsedColumn()]


def _byte_columns() -> list[ProgressColumn]:
    from rich import progress
    from rich.text import Text

    class Bytes(progress.ProgressColumn):
        """What has arrived, of how much where that is known, and how fast; nothing while nothing is downloaded."""

        def render(self, task: progress.Task) -> Text:
            if not task.fields.get("downloads"):
                return Text()
            total = "" if task.total is None else f" of {format_bytes(task.total)}"
            speed = "" if not task.speed else f"  {format_bytes(task.speed)}/s"
            return Text(f"{format_bytes(task.completed)}{total}{speed}")

    return [Bytes(), progress.TimeElapsedColumn()]


@contextmanager
def byte_bar() -> Iterator[tuple[Listener, Callable[[], AbstractContextManager[None]]]]:
    """Give a listener that shows downloads on stderr, and a context in which its bar is off the terminal."""
    if not sys.stderr.isatty():
        yield _Lines(), nullcontext
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
                    if step in STEPS:  # other lines say what was seen, and are no work
                        bar.update(description=step if step == DOWNLOAD else text, downloads=step == DOWNLOAD)

        yield listen, bar.paused


@contextmanager
def progress_bar(label: str) -> Iterator[Listener]:
    """Give a listener that shows events on stderr: as a bar on a terminal, as lines elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with Bar(label, *_counted_columns()).shown() as bar:
        yield _BarListener(label, bar)


class _BarListener:
    """Shows what is being done beside a bar, and by it how much of that is done."""

    def __init__(self, label: str, bar: Bar) -> None:
        self.label, self.bar, self.models = label, bar, 0
        self.started_at = time.monotonic()

    def __call__(self, event: Event) -> None:
        match event:
            case Message(text):
                self.bar.say(text)
            case ModelTrained(fold=fold, seed=seed, remaining=remaining):
                self.models = self.models or remaining + 1
                text = f"fold {fold}, seed {seed}: {_score(event)}"
                self._show(text, completed=self.models - remaining, total=self.models)
            case Progress(done, total, text, unit) if unit != "share":
                self._show(text, completed=done, total=total)
            case SearchProgress(remaining_s=remaining_s):
                self._show_search(event, remaining_s)
            case _ if (words := event_text(event)) is not None:
                self._show(words)

    def _show_search(self, event: SearchProgress, remaining_s: float | None) -> None:
        """Fill the bar by the time, which is what limits a search; without a limit it only moves."""
        spent_s = time.monotonic() - self.started_at
        total_s = None if remaining_s is None else spent_s + remaining_s
        self._show(event_text(event) or "", completed=spent_s, total=total_s, is_time=True)

    def _show(self, text: str, *, is_time: bool = False, **values: Any) -> None:
        self.bar.update(description=f"{self.label}: {text}", is_time=is_time, **values)


class _Lines:
    """Lines for a log file: of what is counted one every few seconds, and none for what is done at once."""

    EVERY_S = 10.0

    def __init__(self) -> None:
        self.last = time.monotonic() - self.EVERY_S + PATIENCE_S

    def __call__(self, event: Event) -> None:
        match event:
            case ModelTrained():
                note(
                    f"  fold {event.fold}, seed {event.seed}: {_score(event)}, {event.rounds} rounds, "
                    f"{event.seconds:.1f} s ({event.remaining} to come)"
                )
            case SearchProgress():
                self._note_count(event)
            case Progress(unit=unit) if unit != "share":
                self._note_count(event)
            case _ if (text := event_text(event)) is not None:
                note(text)

    def _note_count(self, event: Event) -> None:
        now = time.monotonic()
        if now - self.last >= self.EVERY_S:
            self.last = now
            note(f"  {event_text(event)}")


def _score(event: ModelTrained) -> str:
    return "trained" if event.score is None else f"{event.score:.5f}"
