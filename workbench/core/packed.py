"""Reading what is packed: whatever breaks off or lies says so in one way, and nothing inflates without bound.

What comes from others may be made to do harm. A stream that is read through `watched` raises `DamagedError` for all
that Python's readers raise of a broken one, and `DataError` when it gives far more than it takes on the disk.
"""

from __future__ import annotations

import bz2
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
    "BOMB_RATIO",
    "COMPRESSIONS",
    "HARMLESS_BYTES",
    "MARKS",
    "UnpackBudget",
    "damage",
    "decompressed",
    "is_damage",
    "most_of",
    "packing_of",
    "too_large",
    "watched",
]

BOMB_RATIO = 400
"""More than this is not data: deflate reaches 1,032 on zeros, and a table of mostly zeros stays below 200."""
HARMLESS_BYTES = 64 << 20
"""So much may come of a download whatever its size."""
HARMLESS_STREAM_BYTES = 8 << 20
"""The same of one compressed file, of which there may be many."""
RESERVE_BYTES = 256 << 20
"""So much of a disk is left free where it is not known how much is to come."""
BUFFER_BYTES = 1 << 16
LOOK_BYTES = 64 << 20
"""How often the disk is looked at meanwhile."""

_FAULTS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    # A password, a method that is not known, headers within headers without end; zstd's own.
    RuntimeError,
    # Names that are not written as they say; places before a file's beginning; sizes beyond what a number holds.
    ValueError,
    OverflowError,
)


def _zstd(file: Any) -> Any:
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
    ".zst": _zstd,
}


def decompressed(file: Any, packing: str, where: str) -> Any:
    """Return the reader of a compressed file, by the ending for its packing.

    Raises
    ------
    DataError
        When this Python can't read it: it names `where`.
    """
    try:
        return COMPRESSIONS[packing](file)
    except ImportError as exc:
        raise DataError(
            f"{where} is packed with zstd, which this Python can't read",
            hint="`pip install backports.zstd`, or use Python 3.14; or unpack it, and put the file into data/fixed",
        ) from exc


MARKS = (
    (".gz", b"\x1f\x8b\x08"),
    (".xz", b"\xfd7zXZ\0"),
    (".bz2", b"BZh"),
    (".zst", b"\x28\xb5\x2f\xfd"),
    (".zip", b"PK\x03\x04"),
)
"""How files begin that are packed: it counts more than their names."""


def packing_of(head: bytes) -> str:
    """Return how something is packed by its first bytes, as the ending of a name; "" where it is not.

    Examples
    --------
    >>> packing_of(b"BZh91AY&SY"), packing_of(b"BZhang,1998")
    ('.bz2', '')
    """
    packing = next((suffix for suffix, mark in MARKS if head.startswith(mark)), "")
    return "" if packing == ".bz2" and head[4:10] != b"1AY&SY" else packing


def is_damage(exc: BaseException) -> bool:
    """Whether an exception is what the readers of packed files raise of one that is not whole.

    What the system says of the disk (an `OSError` with a number) is none, but for a place that can't be in a file.
    """
    if isinstance(exc, WorkbenchError):
        return False
    if isinstance(exc, OSError):
        return exc.errno is None or (exc.errno == 22 and exc.filename is None)
    return isinstance(exc, _FAULTS)


@contextmanager
def damage(where: str, expected: str = "a complete zip archive") -> Iterator[None]:
    """Turn what the readers of packed files raise into `DamagedError`: "`where` is not `expected`: …"."""
    try:
        yield
    except Exception as exc:
        if not is_damage(exc):
            raise
        first = (str(exc).splitlines() or [""])[0].rstrip(":") or type(exc).__name__
        raise DamagedError(
            f"{where} is not {expected}: {first}", hint="fetch it again: `wb fetch SLUG --force`"
        ) from exc


def most_of(packed_bytes: int, harmless: int = HARMLESS_BYTES) -> int:
    """Return how much many bytes may come of this many packed ones."""
    return max(harmless, BOMB_RATIO * packed_bytes)


def too_large(where: str, packed_bytes: int, size_bytes: int, *, so_far: bool = False) -> DataError:
    """Return the refusal of something that inflates without bound."""
    more = "more than " * so_far
    return DataError(
        f"{where} would inflate from {packed_bytes:,} to {more}{size_bytes:,} bytes; it is not unpacked",
        hint="if you trust it, unpack it by hand into data/raw, remove the archive, and fetch again",
    )


class UnpackBudget:
    """How much may be unpacked of what was downloaded: all archives, and those within them, take from one.

    Parameters
    ----------
    packed_bytes : int
        What was downloaded.
    folder : Path
        Where it is unpacked to: the disk that must have the room.
    """

    def __init__(self, packed_bytes: int, folder: Path) -> None:
        self.packed_bytes, self.folder = packed_bytes, folder
        self._most, self._spent, self._looked_at = most_of(packed_bytes), 0, LOOK_BYTES

    def spend(self, size_bytes: int, where: str, *, of: int | None = None) -> None:
        """Take so much for a file; `of` is what the archive at hand takes, for the message.

        Raises
        ------
        DataError
            When it is more than can be data.
        """
        self._spent += size_bytes
        if self._spent > self._most:
            raise too_large(where, self.packed_bytes if of is None else of, self._spent, so_far=True)

    def need(self, size_bytes: int, name: str) -> None:
        """Raise `StorageError` where the disk has no room for so much."""
        free = shutil.disk_usage(self.folder).free
        if size_bytes > free:
            raise StorageError(
                f"unpacking {name} needs {size_bytes / 2**30:,.1f} GB, the disk has {free / 2**30:,.1f} GB free",
                hint="free some space, then run it again",
            )

    def look(self, name: str) -> None:
        """Raise `StorageError` before the disk is full, where nobody has said how much is to come."""
        if self._spent >= self._looked_at:
            self._looked_at = self._spent + LOOK_BYTES
            if shutil.disk_usage(self.folder).free < RESERVE_BYTES:
                raise StorageError(
                    f"no space left on the disk for unpacking {name}: less than {RESERVE_BYTES >> 20} MB are free",
                    hint="free some space, then run it again",
                )


class _Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Watched(io.RawIOBase):
    """A stream that counts what it gives, and says in one way that it is broken."""

    def __init__(self, inner: _Stream, where: str, expected: str, packed_bytes: int | None) -> None:
        self._inner, self._where, self._expected, self._packed = inner, where, expected, packed_bytes
        self._unpacked_bytes = 0
        self._most = None if packed_bytes is None else most_of(packed_bytes, HARMLESS_STREAM_BYTES)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(cast("Any", self._inner).seekable())

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with damage(self._where, self._expected):
            return int(cast("Any", self._inner).seek(offset, whence))

    def tell(self) -> int:
        return int(cast("Any", self._inner).tell())

    def readinto(self, buffer: Any, /) -> int:
        with damage(self._where, self._expected):
            data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        self._unpacked_bytes += len(data)
        if self._most is not None and self._unpacked_bytes > self._most:
            raise too_large(self._where, self._packed or 0, self._unpacked_bytes, so_far=True)
        return len(data)


def watched(inner: Any, where: str, expected: str, *, packed_bytes: int | None = None) -> IO[bytes]:
    """Return a stream that reads another, and raises `DamagedError` ("`where` is not `expected`: …") if that is broken.

    Parameters
    ----------
    inner : file object
        Of `gzip`, `zipfile` and the like; it is left open.
    packed_bytes : int, optional
        What it takes on the disk: far more than that is refused with `DataError`. None where it is bounded already.
    """
    return io.BufferedReader(_Watched(inner, where, expected, packed_bytes), BUFFER_BYTES)
