"""Content keys, atomic files, and a store of Parquet blocks.

What is written here is either whole or not there at all: a temporary file in the target's own folder, flushed to disk,
then renamed over the name. A process killed at any moment leaves at most a ``*.tmp`` file, which nothing reads.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.errors import DamagedError, storage_errors
from workbench.core.locks import is_locked, lock
from workbench.core.temporary import sweep, temporary_file
from workbench.core.threads import available_cores

__all__ = [
    "Block",
    "Hold",
    "Store",
    "Stored",
    "atomic",
    "atomic_folder",
    "content_key",
    "create_text",
    "file_sha256",
    "is_locked",
    "lock",
    "read_json",
    "sweep",
    "temporary_file",
    "write_bytes",
    "write_json",
    "write_text",
]


# ------------------------------------------------------------------------------------------------------------- keys


def content_key(*parts: Any) -> str:
    """Return a hex key of 32 digits that differs where the parts differ, in value or in type.

    Parameters
    ----------
    *parts : None, bool, int, float, str, bytes, or tuples, lists and dicts of them
        Dicts are compared without regard to their order.

    Raises
    ------
    TypeError
        For any other type: a silent collision would be worse.

    Examples
    --------
    >>> content_key(1) == content_key(1.0), content_key("1") == content_key(1)
    (False, False)
    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True
    """
    digest = hashlib.sha256()
    _feed(digest, parts)
    return digest.hexdigest()[:32]


def _feed(digest: Any, value: Any) -> None:
    # Every value goes in with its type and its length, so that no two different values give the same bytes.
    if value is None or isinstance(value, bool):
        digest.update(f"c{value};".encode())
    elif isinstance(value, int):
        digest.update(f"i{value};".encode())
    elif isinstance(value, float):
        digest.update(b"f" + struct.pack("<d", value))
    elif isinstance(value, str | bytes):
        raw = value.encode() if isinstance(value, str) else value
        digest.update(f"{'s' if isinstance(value, str) else 'b'}{len(raw)}:".encode() + raw)
    elif isinstance(value, list | tuple):
        digest.update(f"l{len(value)}:".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, dict):
        digest.update(f"d{len(value)}:".encode())
        for key in sorted(value, key=repr):
            _feed(digest, key)
            _feed(digest, value[key])
    else:
        raise TypeError(f"a {type(value).__name__} has no content key: {value!r}")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


PIECE_BYTES = 64 * 2**20
READ_BYTES = 2**20


def pieces_sha256(path: Path) -> str:
    """Return the SHA-256 of the SHA-256s of a file's pieces of 64 MB, which are taken on all processors at once."""

    def of_piece(start: int) -> bytes:
        digest, remaining_bytes = hashlib.sha256(), PIECE_BYTES
        with path.open("rb") as file:
            file.seek(start)
            while remaining_bytes and (read := file.read(min(remaining_bytes, READ_BYTES))):
                digest.update(read)
                remaining_bytes -= len(read)
        return digest.digest()

    with ThreadPoolExecutor(available_cores()) as threads:
        digests = threads.map(of_piece, range(0, path.stat().st_size, PIECE_BYTES))
        return hashlib.sha256(b"".join(digests)).hexdigest()


# ------------------------------------------------------------------------------------------------------ atomic files


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; rename it to `path` if the block ends without an exception.

    The folder is made where it is missing. After the block the file's bytes are on the disk before the name is.

    Raises
    ------
    StorageError
        When the disk is full or the folder can't be written; `path` is then as it was.
    """
    with storage_errors(path), temporary_file(path) as temporary:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; rename it to `path`, which must not be there, if the block ends well.

    Raises
    ------
    StorageError
        When the disk is full or the folder can't be written; there is no `path` then.
    """
    with storage_errors(path), temporary_file(path) as temporary:
        temporary.mkdir()
        yield temporary
        _fsync_folder(temporary)
        temporary.rename(path)
        _fsync_folder(path.parent)


def _fsync_folder(folder: Path) -> None:
    # The rename itself lives in the folder; without this a power cut can undo it.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; see `atomic`."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all; see `atomic`."""
    write_bytes(path, text.encode())


def create_text(path: Path, text: str) -> bool:
    """Write a text file whole if there is none of that name, and return whether it was written.

    Of several processes that do this at once, one writes.

    Raises
    ------
    StorageError
        When the disk is full or the folder can't be written.
    """
    with storage_errors(path), temporary_file(path) as temporary:
        with temporary.open("wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError:
            # Some file systems (exFAT, some network drives) have no second names: an empty file takes the name first.
            try:
                path.open("xb").close()
            except FileExistsError:
                return False
            temporary.replace(path)
        _fsync_folder(path.parent)
        return True


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document, whole or not at all; NaN and infinity are refused with ValueError."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises
    ------
    DamagedError
        When the file is not JSON.
    FileNotFoundError
        When it is not there.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as exc:
        raise DamagedError(f"{path} is damaged: it is not a JSON document ({exc})") from exc
    except RecursionError as exc:
        raise DamagedError(f"{path} is damaged: lists or objects in it are nested too deeply") from exc


# ------------------------------------------------------------------------------------------------------------- store


MAX_BYTES = 50 * 2**30
PARQUET = "parquet"
SUFFIXES = (PARQUET, "bin")
"""Parquet, and LightGBM's binned data."""


@dataclass(frozen=True)
class Block:
    """A stored file and what was noted beside it: `note` holds what the writer gave."""

    path: Path
    note: dict[str, Any]


@dataclass(frozen=True)
class Stored:
    """What the store says of a block without reading it; `used_at` is in seconds since the epoch."""

    key: str
    note: dict[str, Any]
    size_bytes: int
    used_at: float


class Hold:
    """Keeps a block from being removed, by any process, as long as the object lives: a shared lock on the note."""

    def __init__(self, note_path: Path) -> None:
        self._descriptor = os.open(note_path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def is_of(self, note_path: Path) -> bool:
        """Say whether the note that is held is the one that has this name."""
        return _is_at(self._descriptor, note_path)


class Store:
    """Blocks by content key, in one folder, kept under a size; the least recently used go first.

    A block is two files, ``<key>.parquet`` (or ``.bin``) and ``<key>.json``. A note that says no more than that the
    block is being written comes first, so that what a killed writer leaves is never without one; the note with the
    block's size and SHA-256 is written last and makes it count. A block whose bytes are not what was noted is treated
    as missing.

    Parameters
    ----------
    folder : Path
        Made at the first write.
    max_bytes : int, optional
        What the store may hold after a write, 50 GB by default; the block just written always stays.
    """

    def __init__(self, folder: Path, *, max_bytes: int | None = None) -> None:
        self.folder = folder
        self.max_bytes = MAX_BYTES if max_bytes is None else max_bytes

    def get(self, key: str) -> Block | None:
        """Return the block, or None where there is none or its bytes are not what was written."""
        block = self.look(key)
        if block is None:
            return None
        try:
            os.utime(block.path.with_suffix(".json"))  # the time of last use, for `prune`
        except FileNotFoundError:  # another process has removed it
            return None
        except OSError:  # a cache that can only be read, or is another user's: it is as good to read from
            pass
        return block

    def look(self, key: str) -> Block | None:
        """Return the block like `get`, without counting it as used."""
        note_path = self._note(key)
        try:
            note = read_json(note_path)
            path = self._file(key, note)
            stat = path.stat()
            # The hash is taken again only where size or time say that someone touched the file: hashing
            # gigabytes at every run would cost more than it protects.
            fresh = stat.st_size == note["size_bytes"] and (
                stat.st_mtime_ns == note["mtime_ns"] or pieces_sha256(path) == note["sha256"]
            )
        except (OSError, AttributeError, KeyError, TypeError, DamagedError):
            return None
        return Block(path, note) if fresh else None

    @contextmanager
    def writing(self, key: str, note: dict[str, Any], suffix: str = PARQUET) -> Iterator[Path]:
        """Give a temporary path to write the file to; at the end of the block it becomes the block `key`.

        `note` may be filled inside the block; it must be JSON.
        """
        note |= {} if suffix == PARQUET else {"suffix": suffix}
        path, note_path = self._file(key, note), self._note(key)
        with self._announced(key, note):
            with atomic(path) as temporary:
                yield temporary
            stat = path.stat()
            note |= {"size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": pieces_sha256(path)}
            write_json(note_path, note)
        self.prune(keep=key)

    @contextmanager
    def _announced(self, key: str, note: dict[str, Any]) -> Iterator[None]:
        """Note that a block is being written, and keep that from being removed while this process lives."""
        note_path = self._note(key)
        about = {name: value for name, value in note.items() if isinstance(value, str)}
        descriptor: int | None = None
        try:
            with atomic(note_path) as temporary:
                temporary.write_text(json.dumps({**about, "unfinished": True}))
                descriptor = os.open(temporary, os.O_RDONLY)
                # Before it has its name, so that nobody finds it unlocked; on a drive without locks it goes without.
                with suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BaseException:
            # Not where another process writes the same block by now.
            if descriptor is not None and _is_at(descriptor, note_path):
                with suppress(OSError):
                    self._file(key, note).unlink(missing_ok=True)
                    note_path.unlink()
            raise
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def hold(self, key: str) -> Hold | None:
        """Return what keeps the block `key` from being removed for as long as it lives; None where there is none."""
        while self.look(key) is not None:
            try:
                hold = Hold(self._note(key))
            except FileNotFoundError:
                return None
            # It may have been removed, or rewritten, between opening and locking.
            if hold.is_of(self._note(key)) and self.look(key) is not None:
                return hold
        return None

    def lock(self, key: str) -> Any:
        """Return a context manager that lets one process at a time build the block; the others wait."""
        return lock(self.folder / f".{key}.lock", f"cache block {key}", wait=True)

    def prune(self, *, keep: str = "") -> None:
        """Remove the least recently used blocks until the store fits into `max_bytes`; those that are held stay."""
        sweep(self.folder)
        total, removable = 0, []
        for stored in self.stored():
            if stored.key == keep or is_locked(self._note(stored.key)):
                total += stored.size_bytes
            else:
                removable.append(stored)
        for stored in removable:
            # Of a note without a block the writer was killed before there was one. What is removed makes room for
            # smaller ones that were used before it.
            is_over = total + stored.size_bytes > self.max_bytes or not stored.size_bytes
            if not (is_over and self.remove(stored.key)):
                total += stored.size_bytes

    def stored(self) -> list[Stored]:
        """Return what the store holds, the most recently used first.

        A damaged note, and one that a killed process left behind, counts with an empty one.
        """
        sizes: dict[str, int] = {}
        for path in (p for suffix in ("json", *SUFFIXES) for p in self.folder.glob(f"[!.]*.{suffix}")):
            with suppress(FileNotFoundError):  # another process has removed it
                sizes[path.stem] = sizes.get(path.stem, 0) + (path.stat().st_size if path.suffix != ".json" else 0)
        stored = []
        for key, size_bytes in sizes.items():
            with suppress(FileNotFoundError):
                note_path = self._note(key)
                has_note = note_path.exists()
                used = note_path if has_note else next(p for p in self._files(key) if p.exists())
                stored.append(Stored(key, _note_of(note_path) if has_note else {}, size_bytes, used.stat().st_mtime))
        return sorted(stored, key=lambda s: s.used_at, reverse=True)

    def remove(self, key: str) -> bool:
        """Remove a block; say whether it is gone, which it is not where someone holds it or writes it.

        The note goes last: a process that is killed in between leaves nothing that `stored` does not see. The file of
        the lock stays: see `workbench.core.locks.lock`.
        """
        note_path = self._note(key)
        try:
            descriptor = os.open(note_path, os.O_RDONLY)
        except FileNotFoundError:
            self._unlink(key)
            return True
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(descriptor, note_path):
                return False  # it is rewritten
            self._unlink(key)
            note_path.unlink()
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _unlink(self, key: str) -> None:
        for path in self._files(key):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove every block that nobody holds."""
        sweep(self.folder)
        for stored in self.stored():
            self.remove(stored.key)

    def _files(self, key: str) -> list[Path]:
        return [self.folder / f"{key}.{suffix}" for suffix in SUFFIXES]

    def _note(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _file(self, key: str, note: dict[str, Any]) -> Path:
        suffix = note.get("suffix", PARQUET)
        return self.folder / f"{key}.{suffix if suffix in SUFFIXES else PARQUET}"


def _is_at(descriptor: int, path: Path) -> bool:
    """Say whether the file that is open still has that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _note_of(path: Path) -> dict[str, Any]:
    try:
        note = read_json(path)
    except DamagedError:
        return {}
    return note if isinstance(note, dict) else {}
