"""What goes with a piece of work through all wings: how much of the machine it takes, and who listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from workbench.core.events import Event, Listener, Message, Progress, SearchProgress, StageStarted, event_text
from workbench.core.user_code import dropping

__all__ = ["SILENT", "RunContext", "text_listener"]


@dataclass(frozen=True)
class RunContext:
    """The circumstances of a piece of work: they are told to whoever takes part in it, from the call down.

    Attributes
    ----------
    listeners : tuple of callable
        Each is called with every event, in the thread in which it happens.
    threads : int, or None
        None for as many as the process may use.

    Examples
    --------
    >>> told = []
    >>> context = RunContext((told.append,), threads=2)
    >>> context.stage("writing")
    >>> told
    [StageStarted(name='writing')]
    """

    listeners: tuple[Listener, ...] = ()
    threads: int | None = None

    def emit(self, event: Event) -> None:
        """Tell all listeners of an event; one that can't write it, as its reader has gone, does not end the work."""
        for listener in self.listeners:
            dropping(listener)(event)

    def stage(self, name: str) -> None:
        """Say what is being done from now on."""
        self.emit(StageStarted(name))

    def say(self, text: str) -> None:
        """Say what the user has to know."""
        self.emit(Message(text))

    def progress(self, done: float, total: float | None, text: str = "", unit: str = "") -> None:
        """Say how much of the stage is done."""
        self.emit(Progress(done, total, text, unit))

    def heard_by(self, *listeners: Listener) -> RunContext:
        """Return the same with more listeners, which are called before the others."""
        return replace(self, listeners=(*listeners, *self.listeners))


SILENT = RunContext()
"""Nobody listens, and all cores may be used."""


def text_listener(report: Callable[[str], None]) -> Listener:
    """Return a listener that passes messages on as lines of text; counts come too often for lines."""

    def listen(event: Event) -> None:
        is_count = isinstance(event, SearchProgress) or (isinstance(event, Progress) and event.unit != "share")
        text = None if is_count else event_text(event)
        if text is not None:
            report(text)

    return listen
