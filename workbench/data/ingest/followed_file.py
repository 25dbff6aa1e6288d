"""Hash a file while another thread appends to it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["FollowedFile", "followed"]

CHUNK_BYTES = 1 << 20
PAUSE_S = 0.02


class FollowedFile:
    """A file that is read as far as it is written, by a thread of its own.

    The hash is of what can be read from the disk, but is known as soon as the file is complete: hashing one gigabyte
    after writing it keeps one core busy for most of a second, and leaves the others idle.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._is_complete = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        """Begin to follow the file, which may not exist yet."""
        self._thread.start()

    def finish(self) -> None:
        """Hash what is left of a file that is complete, or was given up."""
        self._is_complete.set()
        self._thread.join()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the finished file, as 64 hex digits.

        Raises
        ------
        OSError
            When the file could not be read.
        """
        if self._failure is not None:
            raise self._failure
        return self._digest.hexdigest()

    def _follow(self) -> None:
        try:
            while not self._path.exists():
                if self._is_complete.wait(PAUSE_S):
                    break
            with self._path.open("rb", buffering=0) as file:
                while True:
                    # Asked before reading: only then does the end of what is read mean the end of the file.
                    is_complete = self._is_complete.is_set()
                    while chunk := file.read(CHUNK_BYTES):
                        self._digest.update(chunk)
                    if is_complete:
                        return
                    self._is_complete.wait(PAUSE_S)
        except OSError as exc:
            self._failure = exc


@contextmanager
def followed(path: Path) -> Iterator[FollowedFile]:
    """Follow a file that the block writes from its beginning to its end, and is complete after it."""
    file = FollowedFile(path)
    file.start()
    try:
        yield file
    finally:
        file.finish()
