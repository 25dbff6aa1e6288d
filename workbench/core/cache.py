"""Content keys, atomic files, and a cache of Parquet blocks on disk.

Files are written atomically: a temporary file in the target's folder is flushed to disk and then renamed. A process
that is killed leaves at most a ``*.tmp`` file, which nothing reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.errors import DamagedError, storage_errors
from workbench.core.locks import is_locked, lock
from workbench.core.operating_system import close_locked, flush_folder, lock_descriptor
from workbench.core.temporary import remove_leftover_files, temporary_file
from workbench.core.threads import available_cores

__all__ = [
    "CacheEntry",
    "EntryInfo",
    "ReadLock",
    "Store",
    "atomic",
    "atomic_folder",
    "content_key",
    "create_text",
    "file_sha256",
    "flush_files",
    "is_locked",
    "lock",
    "read_json",
    "remove_leftover_files",
    "temporary_file",
    "write_bytes",
    "write_json",
    "write_text",
]


# ------------------------------------------------------------------------------------------------------------- keys


def content_key(*parts: Any) -> str:
    """Return a hex key of 32 digits; parts that differ in value or type give different keys.

    Parameters
    ----------
    *parts : None, bool, int, float, str, bytes, or tuples, lists and dicts of them
        The order of a dict does not matter.

    Raises
    ------
    TypeError
        For any other type, as a silent collision would be worse.

    Examples
    --------
    >>> content_key(1) == content_key(1.0), content_key("1") == content_key(1)
    (False, False)
    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True
    """
    digest = hashlib.sha256()
    _update_digest(digest, parts)
    return digest.hexdigest()[:32]


def _update_digest(digest: Any, value: Any) -> None:
    # Each value is preceded by its type and length, so that different values never feed the same bytes.
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
            _update_digest(digest, item)
    elif isinstance(value, dict):
        digest.update(f"d{len(value)}:".encode())
        for key in sorted(value, key=repr):
            _update_digest(digest, key)
            _update_digest(digest, value[key])
    else:
        raise TypeError(f"a {type(value).__name__} has no content key: {value!r}")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


CHUNK_BYTES = 64 * 2**20
READ_BUFFER_BYTES = 2**20


def chunked_sha256(path: Path) -> str:
    """Return the SHA-256 of the SHA-256 digests of a file's chunks of 64 MB, which are hashed in parallel."""

    def chunk_digest(start: int) -> bytes:
        digest, remaining_bytes = hashlib.sha256(), CHUNK_BYTES
        with path.open("rb") as file:
            file.seek(start)
            while remaining_bytes and (data := file.read(min(remaining_bytes, READ_BUFFER_BYTES))):
                digest.update(data)
                remaining_bytes -= len(data)
        return digest.digest()

    with ThreadPoolExecutor(available_cores()) as threads:
        digests = threads.map(chunk_digest, range(0, path.stat().st_size, CHUNK_BYTES))
        return hashlib.sha256(b"".join(digests)).hexdigest()


# ------------------------------------------------------------------------------------------------------ atomic files


@contextmanager
def atomic(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and rename it to `path` if the block raises nothing.

    A missing folder is created. The file is flushed to disk before it is renamed.

    Parameters
    ----------
    path : Path
    flush : bool
        False for a file that its readers check, and that can be made again: it survives the end of the process, but
        after a power failure it may be empty or damaged. See `flush_files`.

    Raises
    ------
    StorageError
        When the disk is full or the folder can't be written; `path` is then unchanged.
    """
    with storage_errors(path), temporary_file(path) as temporary:
        yield temporary
        if flush:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
        if flush:
            flush_folder(path.parent)


def flush_files(paths: Sequence[Path]) -> None:
    """Flush files that were written without, and their folders, to disk.

    Raises
    ------
    StorageError
        When the disk is full.
    """
    for path in paths:
        with storage_errors(path), path.open("rb+") as file:
            os.fsync(file.fileno())
    for folder in sorted({path.parent for path in paths}):
        with storage_errors(folder):
            flush_folder(folder)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`, and rename it to `path` if the block raises nothing.

    `path` must not exist.

    Raises
    ------
    StorageError
        When the disk is full or the folder can't be written; `path` then does not exist.
    """
    with storage_errors(path), temporary_file(path) as temporary:
        temporary.mkdir()
        yield temporary
        flush_folder(temporary)
        temporary.rename(path)
        flush_folder(path.parent)


def write_bytes(path: Path, data: bytes, *, flush: bool = True) -> None:
    """Write a file atomically; see `atomic`."""
    with atomic(path, flush=flush) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str, *, flush: bool = True) -> None:
    """Write a text file as UTF-8, atomically; see `atomic`."""
    write_bytes(path, text.encode(), flush=flush)


def create_text(path: Path, text: str) -> bool:
    """Write a text file atomically unless `path` exists, and return whether it was written.

    If several processes call this at once, exactly one writes.

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
            # Some file systems (exFAT, some network drives) have no hard links: reserve the name with an empty file.
            try:
                path.open("xb").close()
            except FileExistsError:
                return False
            temporary.replace(path)
        flush_folder(path.parent)
        return True


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically; NaN and infinity raise ValueError."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises
    ------
    DamagedError
        When the file is not JSON.
    FileNotFoundError
        When it does not exist.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as exc:
        raise DamagedError(f"{path} is damaged: it is not a JSON document ({exc})") from exc
    except RecursionError as exc:
        raise DamagedError(f"{path} is damaged: lists or objects in it are nested too deeply") from exc


# ------------------------------------------------------------------------------------------------------------- store


DEFAULT_MAX_BYTES = 50 * 2**30
PARQUET = "parquet"
SUFFIXES = (PARQUET, "bin")
"""Parquet, and LightGBM's binned data."""


@dataclass(frozen=True)
class CacheEntry:
    """A file in the cache, and the metadata that its writer stored with it (`note`)."""

    path: Path
    note: dict[str, Any]


@dataclass(frozen=True)
class EntryInfo:
    """Metadata of a block; `used_at`, the time of its last use, is in seconds since the epoch."""

    key: str
    note: dict[str, Any]
    size_bytes: int
    used_at: float


class ReadLock:
    """A shared lock on a block's note: no process removes the block while this object exists."""

    def __init__(self, note_path: Path) -> None:
        self._descriptor = os.open(note_path, os.O_RDONLY)
        weakref.finalize(self, close_locked, self._descriptor)
        lock_descriptor(self._descriptor, shared=True, wait=True)

    def locks(self, note_path: Path) -> bool:
        """Tell whether the locked file is still the one at `note_path`."""
        return _is_open_file(self._descriptor, note_path)


class Store:
    """A folder of blocks by content key, bounded in size: the least recently used blocks are removed first.

    A block is two files: the data, ``<key>.parquet`` (or ``.bin``), and the note, ``<key>.json``. A note marked as
    unfinished is written first, so that the data of a killed writer always has one; the final note has the size and
    SHA-256 of the data and is written last. A block whose data does not match its note counts as missing.

    Parameters
    ----------
    folder : Path
        Created at the first write.
    max_bytes : int, optional
        The size to prune to after each write, 50 GB by default; the block just written always stays.
    """

    def __init__(self, folder: Path, *, max_bytes: int | None = None) -> None:
        self.folder = folder
        self.max_bytes = DEFAULT_MAX_BYTES if max_bytes is None else max_bytes

    def get(self, key: str) -> CacheEntry | None:
        """Return a block and mark it as used; None if it is missing or its data does not match its note."""
        block = self.peek(key)
        if block is None:
            return None
        try:
            os.utime(block.path.with_suffix(".json"))  # the time of last use, for `prune`
        except FileNotFoundError:  # another process has removed it
            return None
        except OSError:  # the cache is read-only or another user's, which does not matter for reading
            pass
        return block

    def peek(self, key: str) -> CacheEntry | None:
        """Return a block like `get`, without marking it as used."""
        note_path = self._note_path(key)
        try:
            note = read_json(note_path)
            path = self._data_path(key, note)
            stat = path.stat()
            # Hashed only if the modification time has changed, as hashing gigabytes at every run would take too long.
            is_unchanged = stat.st_size == note["size_bytes"] and (
                stat.st_mtime_ns == note["mtime_ns"] or chunked_sha256(path) == note["sha256"]
            )
        except (OSError, AttributeError, KeyError, TypeError, DamagedError):
            return None
        return CacheEntry(path, note) if is_unchanged else None

    @contextmanager
    def writing(self, key: str, note: dict[str, Any], suffix: str = PARQUET) -> Iterator[Path]:
        """Yield a temporary path for the data, which is stored as the block `key` afterwards.

        The caller may add to `note` until then; it must be serialisable as JSON.
        """
        note |= {} if suffix == PARQUET else {"suffix": suffix}
        path, note_path = self._data_path(key, note), self._note_path(key)
        with self._unfinished_note(key, note):
            with atomic(path) as temporary:
                yield temporary
            stat = path.stat()
            note |= {"size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": chunked_sha256(path)}
            write_json(note_path, note)
        self.prune(keep=key)

    @contextmanager
    def _unfinished_note(self, key: str, note: dict[str, Any]) -> Iterator[None]:
        """Write a note marked as unfinished, and lock it while the block is being written."""
        note_path = self._note_path(key)
        text_fields = {name: value for name, value in note.items() if isinstance(value, str)}
        descriptor: int | None = None
        try:
            with atomic(note_path) as temporary:
                temporary.write_text(json.dumps({**text_fields, "unfinished": True}), encoding="utf-8")
                descriptor = os.open(temporary, os.O_RDONLY)
                # Locked before it gets its final name, so that nobody finds it unlocked. Some drives have no locks.
                with suppress(OSError):
                    lock_descriptor(descriptor)
            yield
        except BaseException:
            # Another process may be writing the same block by now.
            if descriptor is not None and _is_open_file(descriptor, note_path):
                with suppress(OSError):
                    self._data_path(key, note).unlink(missing_ok=True)
                    note_path.unlink()
            raise
        finally:
            if descriptor is not None:
                close_locked(descriptor)

    def read_lock(self, key: str) -> ReadLock | None:
        """Return a lock that prevents the removal of the block `key`; None if there is no such block."""
        while self.peek(key) is not None:
            try:
                block_lock = ReadLock(self._note_path(key))
            except FileNotFoundError:
                return None
            # The note may have been removed or rewritten between opening and locking.
            if block_lock.locks(self._note_path(key)) and self.peek(key) is not None:
                return block_lock
        return None

    def lock(self, key: str, *, wait: bool = True) -> Any:
        """Return a context manager that lets one process at a time build the block; others wait, or raise BusyError."""
        return lock(self.folder / f".{key}.lock", f"cache block {key}", wait=wait)

    def prune(self, *, keep: str = "") -> None:
        """Remove the least recently used blocks until the cache fits into `max_bytes`; locked blocks stay."""
        remove_leftover_files(self.folder)
        total_bytes, removable = 0, []
        for stored in self.stored():
            if stored.key == keep or is_locked(self._note_path(stored.key)):
                total_bytes += stored.size_bytes
            else:
                removable.append(stored)
        for stored in removable:
            # A note without data was left by a killed writer. After a block that is too large, smaller ones that were
            # used less recently may still fit.
            is_over = total_bytes + stored.size_bytes > self.max_bytes or not stored.size_bytes
            if not (is_over and self.remove(stored.key)):
                total_bytes += stored.size_bytes

    def stored(self) -> list[EntryInfo]:
        """Return the metadata of all blocks, the most recently used first.

        Blocks whose note is damaged or missing have an empty `note`.
        """
        sizes: dict[str, int] = {}
        for path in (p for suffix in ("json", *SUFFIXES) for p in self.folder.glob(f"[!.]*.{suffix}")):
            with suppress(FileNotFoundError):  # another process has removed it
                sizes[path.stem] = sizes.get(path.stem, 0) + (path.stat().st_size if path.suffix != ".json" else 0)
        stored = []
        for key, size_bytes in sizes.items():
            with suppress(FileNotFoundError):
                note_path = self._note_path(key)
                has_note = note_path.exists()
                dated_path = note_path if has_note else next(p for p in self._data_paths(key) if p.exists())
                stored.append(
                    EntryInfo(key, _read_note(note_path) if has_note else {}, size_bytes, dated_path.stat().st_mtime)
                )
        return sorted(stored, key=lambda s: s.used_at, reverse=True)

    def remove(self, key: str) -> bool:
        """Remove a block unless another process reads or writes it, and return whether it is gone.

        The note is removed last, so that `stored` lists the block if the process is killed in between. The lock file
        stays: see `workbench.core.locks.lock`.
        """
        note_path = self._note_path(key)
        try:
            descriptor = os.open(note_path, os.O_RDONLY)
        except FileNotFoundError:
            self._unlink(key)
            return True
        except OSError:
            return False
        try:
            lock_descriptor(descriptor)
            if not _is_open_file(descriptor, note_path):
                return False  # it was rewritten
            self._unlink(key)
            note_path.unlink()
        except OSError:
            return False
        finally:
            close_locked(descriptor)
        return True

    def _unlink(self, key: str) -> None:
        for path in self._data_paths(key):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all blocks that no process reads or writes."""
        remove_leftover_files(self.folder)
        for stored in self.stored():
            self.remove(stored.key)

    def _data_paths(self, key: str) -> list[Path]:
        return [self.folder / f"{key}.{suffix}" for suffix in SUFFIXES]

    def _note_path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _data_path(self, key: str, note: dict[str, Any]) -> Path:
        suffix = note.get("suffix", PARQUET)
        return self.folder / f"{key}.{suffix if suffix in SUFFIXES else PARQUET}"


def _is_open_file(descriptor: int, path: Path) -> bool:
    """Tell whether `path` is still the file that is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = read_json(path)
    except DamagedError:
        return {}
    return note if isinstance(note, dict) else {}
