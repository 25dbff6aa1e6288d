"""A zip archive that is opened once for all of its members."""

from __future__ import annotations

import os
import threading
import zipfile
from pathlib import Path
from typing import ClassVar
from weakref import WeakKeyDictionary

__all__ = ["SharedArchive"]

MAX_OPEN = 32
"""How many archives stay open at once: systems limit a process to some hundred open files."""


class SharedArchive:
    """A zip archive that its members share, so that its directory is read once.

    Reading the directory takes as long as the archive has members, so that reading it for each member is quadratic.
    The archive stays open until the last of its members is forgotten, or `MAX_OPEN` others were opened after it: then
    it is opened again when it is needed. A member that is open can still be read. Thread-safe.
    """

    _all_open: ClassVar[WeakKeyDictionary[SharedArchive, None]] = WeakKeyDictionary()
    _all_open_lock = threading.Lock()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._opened: tuple[tuple[int, ...], zipfile.ZipFile] | None = None

    def opened(self) -> zipfile.ZipFile:
        """Return the open archive; it is opened again if the file was replaced.

        Raises
        ------
        zipfile.BadZipFile
            When the file is not a complete archive.
        """
        stat = self._path.stat()
        # A process that was forked has a file position in common with its parent.
        version = (os.getpid(), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        with self._lock:
            opened = self._opened  # another thread may forget it
            if opened is None or opened[0] != version:
                self._make_room()
                opened = self._opened = version, zipfile.ZipFile(self._path)
            return opened[1]

    def close(self) -> None:
        """Close the archive, at once or with the last member that is open; it is opened again when it is needed.

        Left to garbage collection, it would stay open as long as the traceback of an error refers to it.
        """
        with self._all_open_lock:
            self._all_open.pop(self, None)
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened[1].close()

    def _make_room(self) -> None:
        """Register this archive as the latest one, and forget those opened first, beyond `MAX_OPEN`."""
        with self._all_open_lock:
            self._all_open.pop(self, None)
            while len(self._all_open) >= MAX_OPEN:
                oldest = next(iter(self._all_open))
                del self._all_open[oldest]
                oldest._opened = None  # closed once no member of it is open
            self._all_open[self] = None
