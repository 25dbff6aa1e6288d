"""A zip archive that is opened once for all of its members."""

from __future__ import annotations

import os
import threading
import zipfile
from pathlib import Path

__all__ = ["SharedArchive"]


class SharedArchive:
    """A zip archive that its members share, so that its directory is read once.

    Reading the directory takes as long as the archive has members, so that reading it for each member is quadratic.
    The archive stays open until the last of its members is forgotten. Thread-safe.
    """

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
            if self._opened is None or self._opened[0] != version:
                self._opened = version, zipfile.ZipFile(self._path)
            return self._opened[1]
