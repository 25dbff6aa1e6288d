"""Safe reading of compressed files and archives, which may be damaged or malicious.

`checked_stream` raises `DamagedError` in place of the various exceptions of Python's readers, and `DataError` if the
unpacked data is far larger than the file (a zip bomb).
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Protocol, cast

from workbench.core.errors import DamagedError, DataError, StorageError, WorkbenchError

__all__ = [
    "COMPRESSIONS",
    "MAX_RATIO",
    "MIN_DOWNLOAD_LIMIT_BYTES",
    "SIGNATURES",
    "UnpackBudget",
    "checked_stream",
    "damage_errors",
    "decompressed",
    "is_damage",
    "max_unpacked_bytes",
    "packing_of",
    "too_large_error",
]

MAX_RATIO = 400
"""The highest plausible compression ratio: a table of mostly zeros stays below 200, while deflate reaches 1,032."""
MIN_DOWNLOAD_LIMIT_BYTES = 64 << 20
"""A download may unpack to this size whatever its compression ratio."""
MIN_STREAM_LIMIT_BYTES = 8 << 20
"""The same for a single compressed file, of which there may be many."""
MIN_FREE_BYTES = 256 << 20
"""Disk space to leave free while a file of unknown size is unpacked."""
BUFFER_BYTES = 1 << 16
CHECK_INTERVAL_BYTES = 64 << 20
"""How many bytes are unpacked between two checks of the free disk space."""

_READER_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    # Encrypted members, unknown methods, endlessly nested headers; errors of zstd.
    RuntimeError,
    # Names in a wrong encoding; negative offsets; sizes beyond 64 bits.
    ValueError,
    OverflowError,
)


def _open_zstd(file: Any) -> Any:
    for module in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            return import_module(module).open(file)
        except ImportError:
            continue
    raise ImportError("zstd")


COMPRESSIONS: dict[str, Callable[[Any], Any]] = {
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
    ".zst": _open_zstd,
}


def decompressed(file: Any, packing: str, where: str) -> Any:
    """Open a compressed file for reading.

    Parameters
    ----------
    file : Path or file object
    packing : str
        A key of `COMPRESSIONS`.
    where : str
        The name of the file, for the message.

    Raises
    ------
    DataError
        When this Python has no module for zstd.
    """
    try:
        return COMPRESSIONS[packing](file)
    except ImportError as exc:
        raise DataError(
            f"{where} is packed with zstd, which this Python can't read",
            hint="`pip install backports.zstd`, or use Python 3.14; or unpack it, and put the file into data/fixed",
        ) from exc


SIGNATURES = (
    (".gz", b"\x1f\x8b\x08"),
    (".xz", b"\xfd7zXZ\0"),
    (".bz2", b"BZh"),
    (".zst", b"\x28\xb5\x2f\xfd"),
    (".zip", b"PK\x03\x04"),
)
"""The first bytes of packed files, which are more reliable than their names."""


def packing_of(head: bytes) -> str:
    """Return the packing of a file by its first bytes, as a file name suffix; "" if it is not packed.

    Examples
    --------
    >>> packing_of(b"BZh91AY&SY"), packing_of(b"BZhang,1998")
    ('.bz2', '')
    """
    packing = next((suffix for suffix, signature in SIGNATURES if head.startswith(signature)), "")
    return "" if packing == ".bz2" and head[4:10] != b"1AY&SY" else packing


def is_damage(exc: BaseException) -> bool:
    """Tell whether an exception means that a packed file is damaged.

    An `OSError` with an errno is a fault of the disk, except EINVAL of a seek to an impossible offset.
    """
    if isinstance(exc, WorkbenchError):
        return False
    if isinstance(exc, OSError):
        return exc.errno is None or (exc.errno == errno.EINVAL and exc.filename is None)
    return isinstance(exc, _READER_ERRORS)


@contextmanager
def damage_errors(where: str, expected: str = "a complete zip archive") -> Iterator[None]:
    """Turn exceptions of the readers of packed files into `DamagedError`: "`where` is not `expected`: …"."""
    try:
        yield
    except Exception as exc:
        if not is_damage(exc):
            raise
        first_line = (str(exc).splitlines() or [""])[0].rstrip(":") or type(exc).__name__
        raise DamagedError(
            f"{where} is not {expected}: {first_line}", hint="fetch it again: `wb fetch SLUG --force`"
        ) from exc


def max_unpacked_bytes(packed_bytes: int, min_limit_bytes: int = MIN_DOWNLOAD_LIMIT_BYTES) -> int:
    """Return the largest plausible unpacked size of a file, at least `min_limit_bytes`."""
    return max(min_limit_bytes, MAX_RATIO * packed_bytes)


def too_large_error(where: str, packed_bytes: int, size_bytes: int, *, so_far: bool = False) -> DataError:
    """Return the error for a file that unpacks to an implausible size."""
    prefix = "more than " * so_far
    return DataError(
        f"{where} would inflate from {packed_bytes:,} to {prefix}{size_bytes:,} bytes; it is not unpacked",
        hint="if you trust it, unpack it by hand into data/raw, remove the archive, and fetch again",
    )


class UnpackBudget:
    """Limits the unpacked size of a download, summed over its archives and the archives within them.

    Parameters
    ----------
    packed_bytes : int
        The size of the download.
    folder : Path
        The folder to unpack to, whose disk must have the space.
    """

    def __init__(self, packed_bytes: int, folder: Path) -> None:
        self.packed_bytes, self.folder = packed_bytes, folder
        self._max_bytes, self._unpacked_bytes, self._next_check_bytes = (
            max_unpacked_bytes(packed_bytes),
            0,
            CHECK_INTERVAL_BYTES,
        )

    def spend(self, size_bytes: int, where: str, *, archive_bytes: int | None = None) -> None:
        """Count the unpacked bytes of a file; `archive_bytes` is the size of its archive, for the message.

        Raises
        ------
        DataError
            When the total exceeds the limit.
        """
        self._unpacked_bytes += size_bytes
        if self._unpacked_bytes > self._max_bytes:
            raise too_large_error(
                where, self.packed_bytes if archive_bytes is None else archive_bytes, self._unpacked_bytes, so_far=True
            )

    def require_space(self, size_bytes: int, name: str) -> None:
        """Raise `StorageError` if the disk has not this much free space."""
        free_bytes = shutil.disk_usage(self.folder).free
        if size_bytes > free_bytes:
            raise StorageError(
                f"unpacking {name} needs {size_bytes / 2**30:,.1f} GB, the disk has {free_bytes / 2**30:,.1f} GB free",
                hint="free some space, then run it again",
            )

    def check_free_space(self, name: str) -> None:
        """Raise `StorageError` before the disk is full, while data of unknown size is unpacked."""
        if self._unpacked_bytes >= self._next_check_bytes:
            self._next_check_bytes = self._unpacked_bytes + CHECK_INTERVAL_BYTES
            if shutil.disk_usage(self.folder).free < MIN_FREE_BYTES:
                raise StorageError(
                    f"no space left on the disk for unpacking {name}: less than {MIN_FREE_BYTES >> 20} MB are free",
                    hint="free some space, then run it again",
                )


class _Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _CheckedStream(io.RawIOBase):
    """A stream that limits the unpacked size, and turns the errors of its reader into `DamagedError`."""

    def __init__(self, inner: _Stream, where: str, expected: str, packed_bytes: int | None) -> None:
        self._inner, self._where, self._expected, self._packed_bytes = inner, where, expected, packed_bytes
        self._unpacked_bytes = 0
        self._max_bytes = None if packed_bytes is None else max_unpacked_bytes(packed_bytes, MIN_STREAM_LIMIT_BYTES)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(cast("Any", self._inner).seekable())

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with damage_errors(self._where, self._expected):
            return int(cast("Any", self._inner).seek(offset, whence))

    def tell(self) -> int:
        return int(cast("Any", self._inner).tell())

    def readinto(self, buffer: Any, /) -> int:
        with damage_errors(self._where, self._expected):
            data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        self._unpacked_bytes += len(data)
        if self._max_bytes is not None and self._unpacked_bytes > self._max_bytes:
            raise too_large_error(self._where, self._packed_bytes or 0, self._unpacked_bytes, so_far=True)
        return len(data)


def checked_stream(inner: Any, where: str, expected: str, *, packed_bytes: int | None = None) -> IO[bytes]:
    """Wrap a stream so that damage raises `DamagedError` ("`where` is not `expected`: …").

    Parameters
    ----------
    inner : file object
        A reader of `gzip`, `zipfile` and the like; it is not closed.
    packed_bytes : int, optional
        The size on disk: unpacking to far more raises `DataError`. None if the size is limited elsewhere.
    """
    return io.BufferedReader(_CheckedStream(inner, where, expected, packed_bytes), BUFFER_BYTES)
