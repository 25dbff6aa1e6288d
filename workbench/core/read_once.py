"""The files of a competition's code, each read once: what is executed, what is hashed and what is kept are one.

A file may be saved at any moment. Within `reading_once` the first reader's bytes are every reader's.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType

__all__ = ["changed_since", "digest_once", "importing_once", "loading_once", "read_once", "reading_once", "still_same"]


@dataclass
class _ReadFile:
    """What was read so far: the bytes of code, and the digests of files that code reads by itself."""

    code: dict[Path, bytes] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)


_read: ContextVar[_ReadFile | None] = ContextVar("workbench_read_once", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Have each file of code read once until the end of the block; within another such block it is that one's."""
    if _read.get() is not None:
        yield
        return
    token = _read.set(_ReadFile())
    try:
        yield
    finally:
        _read.reset(token)


def read_once(path: Path) -> bytes:
    """Return a file's bytes, of which later calls within `reading_once` return the same.

    Raises
    ------
    OSError
        When it can't be read.
    """
    read = _read.get()
    if read is None:
        return path.read_bytes()
    path = path.absolute()
    if path not in read.code:
        read.code[path] = path.read_bytes()
    return read.code[path]


def digest_once(path: Path) -> str:
    """Return the SHA-256 of a file that code reads by itself: that of the first call within `reading_once`.

    Raises
    ------
    OSError
        When it can't be read.
    """
    read = _read.get()
    if read is None:
        return _digest(path)
    path = path.absolute()
    if path in read.code:
        return hashlib.sha256(read.code[path]).hexdigest()
    if path not in read.digests:
        read.digests[path] = _digest(path)
    return read.digests[path]


def still_same(path: Path, digest: str) -> bool:
    """Say whether a file has the bytes of a digest now, wherever else it was read."""
    try:
        return _digest(path) == digest
    except OSError:
        return False


def changed_since(path: Path, time_s: float) -> bool:
    """Say whether a file was written, or got its name, after a time in seconds since the epoch."""
    try:
        stat = path.stat()
    except OSError:
        return False
    return max(stat.st_mtime, stat.st_ctime) >= time_s


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles what `read_once` gives, never what lies in __pycache__: its time stamps are too coarse."""

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002
        return self.source_to_code(read_once(Path(self.path)), self.path)


def loading_once(spec: importlib.machinery.ModuleSpec) -> importlib.machinery.ModuleSpec:
    """Have the module of a spec be what `read_once` gives, if it is one of Python's source."""
    if type(spec.loader) is importlib.machinery.SourceFileLoader:
        spec.loader = _Loader(spec.loader.name, spec.loader.path)
    return spec


class _Finder(MetaPathFinder):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None or type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        return loading_once(spec) if Path(spec.origin).is_relative_to(self._folder) else None


@contextmanager
def importing_once(folder: Path) -> Iterator[None]:
    """Have what is imported from a folder, until the end of the block, be what `read_once` gives."""
    finder = _Finder(folder)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
