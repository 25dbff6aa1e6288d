"""Ctrl-C: the first ends a command in order, the second at once; both say what is kept and how to continue."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from workbench.core.operating_system import INTERRUPT_SIGNALS, let_signals_interrupt_reads
from workbench.core.printable import printable

__all__ = ["CODE", "Interrupted", "handled_signals", "resumption", "wake_reads"]

CODE = 130
"""The exit code after Ctrl-C."""

SLOW_S = 1.0
"""After this time the user is told that the command is stopping; native functions can't be interrupted."""

RESUMPTIONS = {
    "fetch": ("downloaded files are kept", ""),
    "check": ("the features that were built are in the cache", ""),
    "features": ("the features that were built are in the cache", ""),
    "run": ("built features and trained models are kept", ""),
    "tune": ("the study has all finished trials", ""),
    "select": ("built features are kept, and with --method rfe the scored steps", ""),
    "report": ("the run is unchanged; the report starts over", ""),
    "submit": ("sent submissions are logged; whether the last one arrived is checked before the next", "wb sync"),
    "sync": ("scores received so far are logged", ""),
    "demo": ("finished steps are kept", ""),
    "kernel build": ("the run is unchanged", ""),
    "kernel rehearse": ("the run is unchanged", ""),
    "kernel push": ("uploads are kept, and a version that is running on the platform continues there", ""),
    "kernel submit": (
        "submitted versions are logged; whether the last one arrived is checked before the next",
        "wb sync",
    ),
}
"""By command: what is kept after an interruption, and the command to continue with; "" for the same one."""

SHOW_CURSOR = "\x1b[?25h"


class Interrupted(KeyboardInterrupt):
    """The interruption of a command such as "kernel push".

    Attributes
    ----------
    state_note : str
        What is kept, for the message; empty if nothing is.
    next_command : str
        The command to continue with; empty for the same one.
    """

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.state_note, self.next_command = RESUMPTIONS.get(command, ("", ""))


def resumption(exc: BaseException, arguments: Sequence[str]) -> tuple[str, str]:
    """Return what is kept after an interruption, and the command to continue with; both are empty if unknown.

    Parameters
    ----------
    exc : BaseException
        The exception that ended the command; one of its causes may be `Interrupted`.
    arguments : sequence of str
        The command line that was interrupted.
    """
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, Interrupted):
        cause = cause.__cause__ or cause.__context__
    if cause is None or not cause.state_note:
        return "", ""
    return cause.state_note, cause.next_command or _resuming_command(arguments)


def _resuming_command(arguments: Sequence[str]) -> str:
    """Return the command line without the --force of `wb run`, which would discard the models that are kept."""
    is_run = arguments[:1] == ["run"]
    return shlex.join(["wb", *(a for a in arguments if not (is_run and a == "--force"))])


@contextmanager
def handled_signals(arguments: Sequence[str]) -> Iterator[None]:
    """Handle signals: the first Ctrl-C interrupts the command, the second ends the process at once, like a kill.

    SIGTERM (shutdown) and SIGHUP (closed terminal) act as the first Ctrl-C. Outside the main thread, which does not
    receive signals, this does nothing. The previous handlers are restored, for a program that calls `main`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in INTERRUPT_SIGNALS}
    received: list[int] = []

    def interrupted(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        received.append(signal_number)
        if len(received) > 1:
            if signal_number != signal.SIGINT:
                return  # a closed terminal and `timeout` send their signal twice
            state_note, other_command = RESUMPTIONS.get(" ".join(arguments[:2])) or RESUMPTIONS.get(
                " ".join(arguments[:1]), ("", "")
            )
            message = f"interrupted at once; {state_note}" if state_note else "interrupted at once"
            next_command = printable(other_command or _resuming_command(arguments))
            _say(f"\n{SHOW_CURSOR if sys.stderr.isatty() else ''}{message}\nto continue: {next_command}\n")
            os._exit(CODE)
        timer = threading.Timer(SLOW_S, _say, ["stopping; press Ctrl-C again to end at once\n"])
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    # Ignored signals stay ignored, as Ctrl-C in the background of a shell without job control, or SIGHUP under nohup.
    handled = {number: handler for number, handler in previous.items() if handler not in (None, signal.SIG_IGN)}
    for number in handled:
        signal.signal(number, interrupted)
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)


def wake_reads() -> None:
    """Let Ctrl-C interrupt a wait for input.

    polars installs a signal handler of its own, after which the system restarts interrupted reads: Ctrl-C would take
    effect only after the next Enter.
    """
    if threading.current_thread() is threading.main_thread():
        let_signals_interrupt_reads()


def _say(text: str) -> None:
    # Not through sys.stderr, whose lock the interrupted code may hold.
    with suppress(OSError):  # the terminal may be closed
        os.write(2, text.encode(errors="replace"))
