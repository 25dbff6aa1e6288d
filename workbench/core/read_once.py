"""Read each source file of a competition once, so that the executed, hashed and archived code are identical.

The user may save a file at any moment. Within `reading_once` all readers get the bytes of the first read.
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

__all__ = ["digest_once", "has_digest", "importing_once", "loading_once", "modified_since", "read_once", "reading_once"]


@dataclass
class _ReadFiles:
    """Cached content of source files, and SHA-256 digests of data files that the code reads."""

    code: dict[Path, bytes] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)


_current_files: ContextVar[_ReadFiles | None] = ContextVar("workbench_read_once", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Cache the content of files for the length of the block; a nested block shares the outer cache."""
    if _current_files.get() is not None:
        yield
        return
    token = _current_files.set(_ReadFiles())
    try:
        yield
    finally:
        _current_files.reset(token)


def read_once(path: Path) -> bytes:
    """Return the content of a file, cached within `reading_once`.

    Raises
    ------
    OSError
        When it can't be read.
    """
    cached = _current_files.get()
    if cached is None:
        return path.read_bytes()
    path = path.absolute()
    if path not in cached.code:
        cached.code[path] = path.read_bytes()
    return cached.code[path]


def digest_once(path: Path) -> str:
    """Return the SHA-256 of a data file that the code reads, cached within `reading_once`.

    Raises
    ------
    OSError
        When it can't be read.
    """
    cached = _current_files.get()
    if cached is None:
        return _digest(path)
    path = path.absolute()
    if path in cached.code:
        return hashlib.sha256(cached.code[path]).hexdigest()
    if path not in cached.digests:
        cached.digests[path] = _digest(path)
    return cached.digests[path]


def has_digest(path: Path, digest: str) -> bool:
    """Tell whether a file on disk has this SHA-256 now, whatever is cached."""
    try:
        return _digest(path) == digest
    except OSError:
        return False


def modified_since(path: Path, time_s: float) -> bool:
    """Tell whether a file was written or renamed at or after a time in seconds since the epoch."""
    try:
        stat = path.stat()
    except OSError:
        return False
    return max(stat.st_mtime, stat.st_ctime) >= time_s


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _OnceLoader(importlib.machinery.SourceFileLoader):
    """Compiles the bytes of `read_once`, not the __pycache__, whose time stamps are too coarse."""

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002
        return self.source_to_code(read_once(Path(self.path)), self.path)


def loading_once(spec: importlib.machinery.ModuleSpec) -> importlib.machinery.ModuleSpec:
    """Make a spec load its source through `read_once`, if it is a plain source file; return the spec."""
    if type(spec.loader) is importlib.machinery.SourceFileLoader:
        spec.loader = _OnceLoader(spec.loader.name, spec.loader.path)
    return spec


class _OnceFinder(MetaPathFinder):
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
    """Load modules in a folder through `read_once` for the length of the block."""
    finder = _OnceFinder(folder)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
