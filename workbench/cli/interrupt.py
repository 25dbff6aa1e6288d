"""Ctrl-C: the first ends a command in order, the second at once; what is kept is said, and how to go on."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from workbench.core.printable import printable
from workbench.core.user_code import INTERRUPT_SIGNALS

__all__ = ["CODE", "Interrupted", "listening", "resumption", "wake_reads"]

CODE = 130
"""The exit code of a process that Ctrl-C ended."""

SLOW_S = 1.0
"""After so long it is said that the command is stopping: a native function returns only when it is done."""

RESUMPTIONS = {
    "fetch": ("what has arrived is kept", ""),
    "check": ("nothing was written but features, which stay in the cache", ""),
    "features": ("the features that were built are in the cache", ""),
    "run": ("the features that were built and the models that were trained are kept", ""),
    "tune": ("the study has every trial that ended", ""),
    "select": ("the features that were built are kept, and with --method rfe the steps that were scored", ""),
    "report": ("the run is as it was; the report is begun anew", ""),
    "submit": ("the log has what was sent, and whether a file arrived is found out before another is sent", "wb sync"),
    "sync": ("what was settled is logged", ""),
    "demo": ("the steps that are done are kept", ""),
    "kernel build": ("the run is as it was", ""),
    "kernel rehearse": ("the run is as it was", ""),
    "kernel push": ("what was uploaded is kept, and a version that runs on the platform goes on there", ""),
    "kernel submit": (
        "the log has what was submitted, and whether a version arrived is found out before another is submitted",
        "wb sync",
    ),
}
"""Command -> what an interruption leaves, and the command that goes on; "" for the same again."""

SHOW_CURSOR = "\x1b[?25h"


class Interrupted(KeyboardInterrupt):
    """A command, "kernel push", was interrupted; `completed` says what is not lost, `resume` what goes on with it."""

    def __init__(self, command: str) -> None:
        super().__init__(command)
        self.completed, self.resume = RESUMPTIONS.get(command, ("", ""))


def resumption(exc: BaseException, arguments: Sequence[str]) -> tuple[str, str]:
    """Return what is kept after an interruption, and the command that goes on; both are empty where nothing is known.

    Parameters
    ----------
    exc : BaseException
        What ended the command: `Interrupted` is looked for among its causes.
    arguments : sequence of str
        The command line that was interrupted.
    """
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, Interrupted):
        cause = cause.__cause__ or cause.__context__
    if cause is None or not cause.completed:
        return "", ""
    return cause.completed, cause.resume or _again(arguments)


def _again(arguments: Sequence[str]) -> str:
    """Return the command line that goes on: `wb run --force` would begin anew, without the models that are kept."""
    is_run = arguments[:1] == ["run"]
    return shlex.join(["wb", *(a for a in arguments if not (is_run and a == "--force"))])


@contextmanager
def listening(arguments: Sequence[str]) -> Iterator[None]:
    """Let the second Ctrl-C end the process, whatever it is busy with; nothing is lost that a kill would not.

    SIGTERM and SIGHUP, of a machine that shuts down and of a terminal that is closed, do what the first Ctrl-C does.

    Does nothing outside the main thread, where the system's signals don't arrive. Afterwards Ctrl-C is as it was: a
    program that calls `main` goes on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in INTERRUPT_SIGNALS}
    before: list[int] = []

    def interrupted(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        before.append(number)
        if len(before) > 1 and number != signal.SIGINT:
            return  # a closed terminal and `timeout` send theirs twice; who is in haste sends SIGKILL
        if len(before) > 1:
            completed, resume = RESUMPTIONS.get(" ".join(arguments[:2])) or RESUMPTIONS.get(
                " ".join(arguments[:1]), ("", "")
            )
            message = f"interrupted at once; {completed}" if completed else "interrupted at once"
            again = printable(resume or _again(arguments))
            _say(f"\n{SHOW_CURSOR if sys.stderr.isatty() else ''}{message}\ngo on: {again}\n")
            os._exit(CODE)
        timer = threading.Timer(SLOW_S, _say, ["stopping; Ctrl-C again ends it at once\n"])
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    # Where one is ignored, as Ctrl-C in the background of a shell without job control and SIGHUP under nohup, it is
    # meant for others.
    heard = {number: handler for number, handler in previous.items() if handler not in (None, signal.SIG_IGN)}
    for number in heard:
        signal.signal(number, interrupted)
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)


def wake_reads() -> None:
    """Have Ctrl-C end a wait for input.

    polars puts a handler of its own before Python's, after which the system goes on with the read: Ctrl-C would take
    effect only with the next Enter.
    """
    if threading.current_thread() is threading.main_thread():
        signal.siginterrupt(signal.SIGINT, True)


def _say(text: str) -> None:
    # Not through sys.stderr: what was interrupted may hold its lock.
    with suppress(OSError):  # the terminal may be what has gone
        os.write(2, text.encode(errors="replace"))
