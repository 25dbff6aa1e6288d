"""Calling code that the user wrote: whatever ends it, an exit of its own too, becomes an error that names its line.

Every place that imports or calls a function of a competition's folder, an estimator, or a metric does so within
`user_code` or `as_error`. What they can't catch is a process that is ended from within (`os._exit`, a crash of
compiled code): such a run stays behind as "running", and the next command marks it as interrupted.
"""

from __future__ import annotations

import dis
import logging
import signal
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import ParamSpec

from workbench.core.errors import WorkbenchError
from workbench.core.package import PACKAGE

__all__ = ["EXIT_HINT", "INTERRUPTING", "as_error", "dropping", "is_interrupt", "user_code", "user_frame", "user_place"]

EXIT_HINT = (
    "the workbench decides when the program ends: raise an error, or return; what a script does belongs under "
    "if __name__ == '__main__':"
)

P = ParamSpec("P")

INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a command takes for Ctrl-C."""

PASSING = (WorkbenchError, MemoryError)


@contextmanager
def as_error(
    make: Callable[[BaseException], WorkbenchError], *, passing: tuple[type[BaseException], ...] = PASSING
) -> Iterator[None]:
    """Raise what `make` returns in place of anything that the block raises.

    Ctrl-C passes, and so does what closes a generator; ``raise KeyboardInterrupt`` is an error like any other.

    Parameters
    ----------
    make : callable
        Takes what was raised.
    passing : tuple of exception types
        Errors that already say what is wrong.
    """
    try:
        yield
    except passing:
        raise
    except BaseException as exc:
        if is_interrupt(exc):
            if isinstance(exc, SystemExit):
                raise KeyboardInterrupt from exc
            raise
        raise make(exc) from exc


@contextmanager
def user_code(
    failure: str,
    error: type[WorkbenchError],
    *,
    folder: Path | None = None,
    hint: str = "",
    log: logging.Logger | None = None,
    passing: tuple[type[BaseException], ...] = PASSING,
) -> Iterator[None]:
    """Run user code in the block; what it raises becomes ``error("{what}: {what was raised, file and line}")``.

    Parameters
    ----------
    failure : str
        "metric.py:score failed".
    error : type
        The class of what is raised.
    folder : Path, optional
        The folder of the code: the last line in it is named.
    hint : str
        What to do; an exit has a hint of its own.
    log : Logger, optional
        Gets the whole traceback.
    passing : tuple of exception types
        Errors that already say what is wrong.
    """

    def make(exc: BaseException) -> WorkbenchError:
        if log is not None:
            log.error("%s", failure, exc_info=exc)
        return error(f"{failure}: {user_frame(exc, folder)}", hint=EXIT_HINT if isinstance(exc, SystemExit) else hint)

    with as_error(make, passing=passing):
        yield


def dropping(call: Callable[P, None]) -> Callable[P, None]:
    """Return a callback for progress that is dropped where it can't be written: its reader may have gone."""

    def called(*arguments: P.args, **keywords: P.kwargs) -> None:
        try:
            call(*arguments, **keywords)
        except WorkbenchError:
            raise
        except OSError as exc:
            logging.getLogger("workbench").info("progress could not be written: %s", exc)

    return called


def is_interrupt(exc: BaseException) -> bool:
    """Tell whether an exception came from outside the code that it ended: Ctrl-C, or the closing of a generator.

    Code that catches Ctrl-C and exits is ended by it all the same.
    """
    if isinstance(exc, KeyboardInterrupt | GeneratorExit) and not _was_raised_by_code(exc.__traceback__):
        return True
    before = exc.__cause__ or exc.__context__
    ends = isinstance(exc, KeyboardInterrupt | SystemExit)
    return ends and isinstance(before, KeyboardInterrupt) and is_interrupt(before)


def _was_raised_by_code(trace: TracebackType | None) -> bool:
    """Tell whether the innermost line of a traceback is a ``raise``: the system interrupts between instructions."""
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    if any(code is getattr(signal.getsignal(n), "__code__", None) for n in INTERRUPTING):
        return False
    return dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"


def user_frame(exc: BaseException, folder: Path | None = None) -> str:
    """Describe an exception by its last line in the user's code: "KeyError: 'x' (features.py, line 12)".

    The last line in `folder`, or below it, is named; where there is none, or no folder, the last one that is neither
    the workbench's nor an installed package's.
    """
    place = user_place(exc, folder)
    where = f" ({place})" if place else ""
    says_nothing = isinstance(exc, SystemExit) and exc.code is None
    text = "" if says_nothing else (str(exc).strip().splitlines() or [""])[0]
    return f"{type(exc).__name__}: {text}{where}" if text else f"{type(exc).__name__}{where}"


def user_place(exc: BaseException, folder: Path | None = None) -> str:
    """Return the place of an exception's last line in the user's code, "features.py, line 12"; empty without one."""
    frames = [(Path(f.filename), f.lineno) for f in traceback.extract_tb(exc.__traceback__)]
    inside = [] if folder is None else [(p, n) for p, n in frames if p.is_relative_to(folder) and not _is_installed(p)]
    own_frames = [(p, n) for p, n in frames if not _is_installed(p) and not p.name.startswith("<")]
    if inside and folder is not None:
        path, line = inside[-1]
        return f"{path.relative_to(folder)}, line {line}"
    return f"{own_frames[-1][0].name}, line {own_frames[-1][1]}" if own_frames else ""


_INSTALLED = tuple({PACKAGE, *(Path(sysconfig.get_path(n)) for n in ("stdlib", "purelib", "platlib"))})


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(place) for place in _INSTALLED)
