"""Standard streams that never raise: output that can't be written is dropped, and the first error is kept.

A pipe whose reader has exited, a closed terminal, or a full pipe that nobody reads must not end hours of training.
Whether the result was written completely is checked once, at the end.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workbench.core.operating_system import PIPE_BYTES, is_blocking, is_ready_for_writing, output_encoding

__all__ = ["lost", "tolerant_streams"]

PATIENCE_S = 1.0
"""The time to wait for a full pipe, once; after that it is assumed to have no reader."""


class _SilentFile(io.FileIO):
    """A file descriptor whose writes never raise."""

    def __init__(self, descriptor: int, *, waits_for_reader: bool) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        # Results wait for their reader. So does everything on a terminal that is stopped (Ctrl-S), as in any program.
        self._waits_for_reader = waits_for_reader or os.isatty(descriptor)
        self._stuck = False
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write as much as possible; the rest is dropped, but counted as written."""
        view = memoryview(data).cast("B")
        n_written = 0
        while n_written < len(view) and self._is_ready():
            try:
                n_written += super().write(view[n_written : n_written + PIPE_BYTES]) or 0
            except OSError as exc:
                self.error = self.error or exc
                break
        return len(view)

    def _is_ready(self) -> bool:
        if self._waits_for_reader and is_blocking(self.fileno()):
            return True
        wait_ms = None if self._waits_for_reader else 0 if self._stuck else int(PATIENCE_S * 1000)
        self._stuck = not is_ready_for_writing(self.fileno(), wait_ms)
        return not self._stuck


@contextmanager
def tolerant_streams() -> Iterator[None]:
    """Let the standard streams drop what they can't write, until the end of the block.

    Replaced streams, as in a test or a notebook, are left alone.
    """
    originals = sys.stdout, sys.stderr
    wrapped = _wrapped(sys.stdout, waits_for_reader=True), _wrapped(sys.stderr, waits_for_reader=False)
    sys.stdout, sys.stderr = wrapped
    try:
        yield
    finally:
        for stream, original in zip(wrapped, originals, strict=True):
            if lost(stream) is not None:
                _redirect_to_null(original)
        sys.stdout, sys.stderr = originals


def _wrapped(stream: Any, *, waits_for_reader: bool) -> Any:
    """Return a text stream on the same descriptor whose writes never raise; `stream` itself if it has none."""
    raw = _raw(stream)
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(raw, io.FileIO):
        return stream
    try:
        stream.flush()
    except OSError:
        _redirect_to_null(stream)
    silent_file = _SilentFile(raw.fileno(), waits_for_reader=waits_for_reader)
    return io.TextIOWrapper(
        silent_file if stream.buffer is raw else io.BufferedWriter(silent_file),
        encoding=output_encoding(stream.encoding),
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _raw(stream: Any) -> Any:
    # With PYTHONUNBUFFERED there is no buffer.
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def lost(stream: Any) -> OSError | None:
    """Return the error by which output to a stream was lost; None if nothing was."""
    raw = _raw(stream)
    if not isinstance(raw, _SilentFile):
        return None
    stream.flush()
    return raw.error


def _redirect_to_null(stream: Any) -> None:
    # Otherwise buffered output would raise at exit.
    null_descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null_descriptor, stream.fileno())
    os.close(null_descriptor)
