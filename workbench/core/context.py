"""Settings that are passed down with a piece of work: event listeners and the number of threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from workbench.core.events import Event, Listener, Message, Progress, SearchProgress, StageStarted, event_text
from workbench.core.user_code import ignoring_write_errors

__all__ = ["SILENT", "RunContext", "text_listener"]


@dataclass(frozen=True)
class RunContext:
    """Event listeners and the number of threads of a piece of work.

    Attributes
    ----------
    listeners : tuple of callable
        Each is called with every event, in the thread that emits it.
    threads : int, or None
        None for all available cores.
    check_stop : callable
        Called between two steps of long work, such as boosting rounds; an exception that it raises ends the work.

    Examples
    --------
    >>> events = []
    >>> context = RunContext((events.append,), threads=2)
    >>> context.stage("writing")
    >>> events
    [StageStarted(name='writing')]
    """

    listeners: tuple[Listener, ...] = ()
    threads: int | None = None
    check_stop: Callable[[], None] = lambda: None

    def emit(self, event: Event) -> None:
        """Call all listeners with an event; a listener that fails to write it (OSError) does not stop the work."""
        for listener in self.listeners:
            ignoring_write_errors(listener)(event)

    def stage(self, name: str) -> None:
        """Emit the start of a stage."""
        self.emit(StageStarted(name))

    def say(self, text: str) -> None:
        """Emit a message to the user."""
        self.emit(Message(text))

    def progress(self, done: float, total: float | None, text: str = "", unit: str = "") -> None:
        """Emit how much of the stage is done."""
        self.emit(Progress(done, total, text, unit))

    def with_listeners(self, *listeners: Listener) -> RunContext:
        """Return a copy with more listeners, which are called before the present ones."""
        return replace(self, listeners=(*listeners, *self.listeners))


SILENT = RunContext()
"""No listeners, all available cores."""


def text_listener(report: Callable[[str], None]) -> Listener:
    """Return a listener that reports events as lines of text, except counts, which come too often."""

    def listen(event: Event) -> None:
        is_count = isinstance(event, SearchProgress) or (isinstance(event, Progress) and event.unit != "share")
        text = None if is_count else event_text(event)
        if text is not None:
            report(text)

    return listen
