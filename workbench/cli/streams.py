"""The standard streams of a command: what can't be written to them ends nothing.

Progress goes to whoever looks at it: a pipe whose reader has gone, a terminal that was closed, or a full pipe that
nobody reads must not end hours of training. So what can't be written is dropped, and the first error kept: whether an
answer is whole is asked once, at the end.
"""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["forgiving", "lost"]

PATIENCE_S = 1.0
"""So long a full pipe is waited for, once: then it has nobody who reads it."""

AT_ONCE = select.PIPE_BUF
"""A pipe that can be written takes so many bytes without a wait."""


class _Forgiving(io.FileIO):
    """A descriptor whose writes never raise."""

    def __init__(self, descriptor: int, *, waits: bool) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        # An answer is waited for; a terminal that is stopped (Ctrl-S) is, too, as every program waits there.
        self._waits = waits or os.isatty(descriptor)
        self._stuck = False
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write as much as can be; the rest is taken for written."""
        view = memoryview(data).cast("B")
        at = 0
        while at < len(view) and self._is_ready():
            try:
                at += super().write(view[at : at + AT_ONCE]) or 0
            except OSError as exc:
                self.error = self.error or exc
                break
        return len(view)

    def _is_ready(self) -> bool:
        if self._waits and os.get_blocking(self.fileno()):
            return True
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        wait_ms = None if self._waits else 0 if self._stuck else int(PATIENCE_S * 1000)
        # Where the reader has gone, the write says so.
        self._stuck = not poll.poll(wait_ms)
        return not self._stuck


@contextmanager
def forgiving() -> Iterator[None]:
    """Have the standard streams drop what they can't write, until the end of the block.

    Streams that a program has put in their place, as a test or a notebook does, stay.
    """
    before = sys.stdout, sys.stderr
    wrapped = _wrapped(sys.stdout, waits=True), _wrapped(sys.stderr, waits=False)
    sys.stdout, sys.stderr = wrapped
    try:
        yield
    finally:
        for stream, original in zip(wrapped, before, strict=True):
            if lost(stream) is not None:
                _lead_nowhere(original)
        sys.stdout, sys.stderr = before


def _wrapped(stream: Any, *, waits: bool) -> Any:
    raw = _raw(stream)
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(raw, io.FileIO):
        return stream
    try:
        stream.flush()
    except OSError:
        _lead_nowhere(stream)
    forgives = _Forgiving(raw.fileno(), waits=waits)
    return io.TextIOWrapper(
        forgives if stream.buffer is raw else io.BufferedWriter(forgives),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _raw(stream: Any) -> Any:
    # With PYTHONUNBUFFERED there is no buffer in between.
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def lost(stream: Any) -> OSError | None:
    """Return why something that was printed to a stream could not be written; None where all was."""
    raw = _raw(stream)
    if not isinstance(raw, _Forgiving):
        return None
    stream.flush()
    return raw.error


def _lead_nowhere(stream: Any) -> None:
    # What is still buffered goes nowhere instead of raising at exit.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
