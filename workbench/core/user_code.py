"""Calls of code that the user wrote: whatever it raises, SystemExit too, becomes an error that names its line.

Functions of a competition's folder, estimators and metrics are imported and called within `user_code` or `as_error`.
Neither can catch `os._exit` or a crash of compiled code: such a run stays marked as "running", and the next command
marks it as interrupted.
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
from workbench.core.operating_system import INTERRUPT_SIGNALS
from workbench.core.package import PACKAGE

__all__ = [
    "EXIT_HINT",
    "as_error",
    "ignoring_write_errors",
    "is_interrupt",
    "user_code",
    "user_frame",
    "user_place",
]

EXIT_HINT = (
    "the workbench decides when the program ends: raise an error, or return; what a script does belongs under "
    "if __name__ == '__main__':"
)

P = ParamSpec("P")

PASS_THROUGH_ERRORS = (WorkbenchError, MemoryError)


@contextmanager
def as_error(
    make_error: Callable[[BaseException], WorkbenchError],
    *,
    pass_through: tuple[type[BaseException], ...] = PASS_THROUGH_ERRORS,
) -> Iterator[None]:
    """Replace whatever the block raises with the error that `make_error` returns.

    Ctrl-C and the closing of a generator pass unchanged; ``raise KeyboardInterrupt`` is an error like any other.

    Parameters
    ----------
    make_error : callable
        Takes the exception that was raised.
    pass_through : tuple of exception types
        Errors that already have a good message: they pass unchanged.
    """
    try:
        yield
    except pass_through:
        raise
    except BaseException as exc:
        if is_interrupt(exc):
            if isinstance(exc, SystemExit):
                raise KeyboardInterrupt from exc
            raise
        raise make_error(exc) from exc


@contextmanager
def user_code(
    failure: str,
    error: type[WorkbenchError],
    *,
    folder: Path | None = None,
    hint: str = "",
    log: logging.Logger | None = None,
    pass_through: tuple[type[BaseException], ...] = PASS_THROUGH_ERRORS,
) -> Iterator[None]:
    """Run user code in the block; an exception becomes ``error("{failure}: {exception, file and line}")``.

    Parameters
    ----------
    failure : str
        How the message begins, such as "metric.py:score failed".
    error : type
        The class of the error to raise.
    folder : Path, optional
        The folder of the code: the message names the last line of the traceback in it.
    hint : str
        What the user can do; SystemExit has its own hint.
    log : Logger, optional
        Receives the full traceback.
    pass_through : tuple of exception types
        Errors that already have a good message: they pass unchanged.
    """

    def make_error(exc: BaseException) -> WorkbenchError:
        if log is not None:
            log.error("%s", failure, exc_info=exc)
        return error(f"{failure}: {user_frame(exc, folder)}", hint=EXIT_HINT if isinstance(exc, SystemExit) else hint)

    with as_error(make_error, pass_through=pass_through):
        yield


def ignoring_write_errors(call: Callable[P, None]) -> Callable[P, None]:
    """Wrap a progress callback so that an OSError is logged and ignored: the reader of a pipe may be gone."""

    def wrapped(*arguments: P.args, **keywords: P.kwargs) -> None:
        try:
            call(*arguments, **keywords)
        except WorkbenchError:
            raise
        except OSError as exc:
            logging.getLogger("workbench").info("progress could not be written: %s", exc)

    return wrapped


def is_interrupt(exc: BaseException) -> bool:
    """Tell whether an exception came from outside the code: Ctrl-C, or the closing of a generator.

    An exit in reaction to Ctrl-C counts as well.
    """
    if isinstance(exc, KeyboardInterrupt | GeneratorExit) and not _was_raised_by_code(exc.__traceback__):
        return True
    cause = exc.__cause__ or exc.__context__
    is_exit = isinstance(exc, KeyboardInterrupt | SystemExit)
    return is_exit and isinstance(cause, KeyboardInterrupt) and is_interrupt(cause)


def _was_raised_by_code(trace: TracebackType | None) -> bool:
    """Tell whether a ``raise`` statement raised: Ctrl-C interrupts between instructions instead."""
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    if any(code is getattr(signal.getsignal(n), "__code__", None) for n in INTERRUPT_SIGNALS):
        return False
    return dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"


def user_frame(exc: BaseException, folder: Path | None = None) -> str:
    """Describe an exception by its last line in the user's code: "KeyError: 'x' (features.py, line 12)".

    This is the last line of the traceback in `folder` or below it; without one, or without a folder, the last line that
    is neither in the workbench nor in an installed package.
    """
    location = user_place(exc, folder)
    where = f" ({location})" if location else ""
    is_plain_exit = isinstance(exc, SystemExit) and exc.code is None
    text = "" if is_plain_exit else (str(exc).strip().splitlines() or [""])[0]
    return f"{type(exc).__name__}: {text}{where}" if text else f"{type(exc).__name__}{where}"


def user_place(exc: BaseException, folder: Path | None = None) -> str:
    """Return where the user's code raised, such as "features.py, line 12"; empty if no line is the user's.

    See `user_frame`.
    """
    frames = [(Path(f.filename), f.lineno) for f in traceback.extract_tb(exc.__traceback__)]
    folder_frames = (
        [] if folder is None else [(p, n) for p, n in frames if p.is_relative_to(folder) and not _is_installed(p)]
    )
    user_frames = [(p, n) for p, n in frames if not _is_installed(p) and not p.name.startswith("<")]
    if folder_frames and folder is not None:
        path, line = folder_frames[-1]
        return f"{path.relative_to(folder)}, line {line}"
    return f"{user_frames[-1][0].name}, line {user_frames[-1][1]}" if user_frames else ""


_INSTALLED = tuple({PACKAGE, *(Path(sysconfig.get_path(n)) for n in ("stdlib", "purelib", "platlib"))})


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(place) for place in _INSTALLED)
