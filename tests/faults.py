"""Faults on purpose: a process that is killed, or whose disk fails, at every change that it makes, one after the other.

Work is a function of a module, so that a fresh process can be asked for it, and its first argument is a folder. Each
time it gets a copy of a folder that was made ready; every change that it makes below that is counted::

    def work(folder: Path) -> None: ...

    bench = Bench(work, ready, tmp_path)
    for struck in bench.each("kill", "torn", "ENOSPC"):
        after = bench.again(struck.folder)        # the same work, undisturbed
        assert ...                                # nothing lost, nothing invented

Where only the state matters that a killed process leaves, one run shows them all: `Bench.left_by_kills` does the work
once, and copies the folder before each change. That is what a kill there leaves, as a process that is killed writes
nothing more; equal states are given once. What a process does about a fault needs a process for each.

What is counted: making or emptying a file, fsync, rename, link, remove, mkdir, rmdir, truncate, `os.write`, the commit of
a transaction of the ledger, and whatever the work's own fakes report by `point`: a call of a platform, for example. A
kill at a number comes before that change, so that all kills together, and the whole work, are every state that a
killed process can leave between two of its changes. "torn" is the kill in the middle of a write: at an fsync, of what
was written only half is there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["Bench", "Struck", "counted", "kind_of", "paused", "point"]

DISK = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES, "EROFS": errno.EROFS}
DATABASE = {"ENOSPC": "SQLITE_FULL", "EIO": "SQLITE_IOERR", "EACCES": "SQLITE_READONLY", "busy": "SQLITE_BUSY"}
ENDS_S = 120.0
"""Work that takes longer hangs."""


@dataclass(frozen=True)
class Struck:
    """What came of work that a fault struck.

    Attributes
    ----------
    folder : Path
        As the work left it.
    how : str
        ``"kill"``, ``"torn"``, ``"interrupt"`` (Ctrl-C), an errno (``"ENOSPC"``), ``"busy"`` (the ledger is locked).
    number, point : int, str
        The change at which it struck, from 1, and that change: ``"rename runs/001/run.json"``.
    ended : str
        ``"killed"``, ``"returned"``, or the name of the exception that came out.
    value : object
        What was returned, or the exception's text.
    """

    folder: Path
    how: str
    number: int
    point: str
    ended: str
    value: Any

    def __str__(self) -> str:
        return f"{self.how} at {self.number} ({self.point}): {self.ended} {self.value!r}"


# ---------------------------------------------------------------------------------------------- in the work's process


@dataclass
class _Counter:
    """The changes below a folder, and the one at which something is to happen."""

    folder: str
    at: int = 0
    how: str = ""
    seen: list[str] = field(default_factory=list)
    off: int = 0
    copies: str = ""

    def path(self, path: Any, at: int | None = None) -> str | None:
        """Return a path relative to the folder; None where it is not below it."""
        try:
            if isinstance(path, int):
                whole = str(Path(f"/proc/self/fd/{path}").readlink())
            else:
                start = Path.cwd() if at in (None, -1) else Path(f"/proc/self/fd/{at}").readlink()
                whole = os.path.normpath(start / os.fsdecode(path))
        except (OSError, TypeError):
            return None
        return os.path.relpath(whole, self.folder) if f"{whole}/".startswith(f"{self.folder}/") else None

    def _copy(self, place: Path) -> None:
        # By another process: SQLite's locks are lost when this one closes a file of an open database.
        self.off += 1
        place.mkdir()
        subprocess.run(["cp", "-a", self.folder, str(place)], check=True)
        self.off -= 1

    def count(self, name: str, torn: int | None = None) -> None:
        if self.off:
            return
        self.seen.append(name)
        if self.copies:
            self._copy(Path(self.copies) / f"{len(self.seen):04d}")
        if len(self.seen) != self.at:
            return
        self.off += 1  # what follows is undisturbed: the work may clean up
        if self.how == "torn" and torn is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(torn, os.fstat(torn).st_size // 2)
        if self.how in ("kill", "torn"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "interrupt":
            signal.raise_signal(signal.SIGINT)
        if name == "ledger commit" and self.how in DATABASE:
            failure = sqlite3.OperationalError("failed on purpose")
            failure.sqlite_errorname = DATABASE[self.how]
            raise failure
        if self.how in DISK and not name.startswith("call "):
            raise OSError(DISK[self.how], os.strerror(DISK[self.how]), name)
        self.off -= 1  # a fault that this change can't have


_counter: _Counter | None = None


def point(name: str) -> None:
    """Count something that is no change of a file: a call of a platform, for example. A disk can't fail there."""
    if _counter is not None:
        _counter.count(f"call {name}")


@contextmanager
def paused() -> Iterator[None]:
    """Count nothing: for what a fake writes that is not the work's."""
    if _counter is None:
        yield
        return
    _counter.off += 1
    try:
        yield
    finally:
        _counter.off -= 1


AUDITED = {
    "os.rename": ("rename", 1, 3),
    "os.link": ("link", 1, 3),
    "os.remove": ("remove", 0, 1),
    "os.mkdir": ("mkdir", 0, 2),
    "os.rmdir": ("rmdir", 0, 1),
    "os.truncate": ("truncate", 0, None),
}
"""Python's audit events, the words for them, and where the path and the descriptor of its folder stand."""


def _watch(counter: _Counter) -> None:
    import sqlalchemy.engine.default

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        if counter.off:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_CREAT | os.O_TRUNC):
            name = counter.path(arguments[0])
            # SQLite opens its own files; a descriptor is wrapped, not opened.
            if name is not None and not isinstance(arguments[0], int):
                counter.count(f"open {name}")
        elif event in AUDITED:
            what, place, folder = AUDITED[event]
            at = arguments[folder] if folder is not None and folder < len(arguments) else None
            name = counter.path(arguments[place], at)
            is_change = what not in ("mkdir", "remove") or (
                (what == "mkdir") != os.path.lexists(Path(counter.folder, name or "."))
            )
            if name is not None and is_change:
                counter.count(f"{what} {name}")

    sys.addaudithook(audited)
    for what in ("fsync", "fdatasync", "write", "pwrite"):
        setattr(os, what, _counted_call(counter, what, getattr(os, what)))
    commit = sqlalchemy.engine.default.DefaultDialect.do_commit

    def counted_commit(dialect: Any, connection: Any) -> None:
        # One that only read changes nothing.
        if connection.total_changes:
            counter.count("ledger commit")
        commit(dialect, connection)

    sqlalchemy.engine.default.DefaultDialect.do_commit = counted_commit  # type: ignore[method-assign]


def _counted_call(counter: _Counter, what: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(descriptor: int, *arguments: Any) -> Any:
        name = counter.path(descriptor)
        if name is not None:
            counter.count(f"{what} {name}", torn=descriptor if what == "fsync" else None)
        return real(descriptor, *arguments)

    return call


def _child(
    answer: Connection,
    environment: dict[str, str],
    counter: _Counter,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    out: Path,
) -> None:
    global _counter
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(counter.folder)
    for number in (1, 2):
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    _watch(counter)
    _counter = counter
    try:
        value, ended = function(Path(counter.folder), *arguments), "returned"
    except BaseException as exc:  # noqa: BLE001 whatever comes is told to the test
        import traceback

        traceback.print_exc()
        value, ended = str(exc), type(exc).__name__
    counter.off += 1
    answer.send((ended, value, counter.seen))
    answer.close()
    # Threads of libraries must not keep it.
    os._exit(0)


# ---------------------------------------------------------------------------------------------------- in the test


def counted(
    function: Callable[..., Any],
    folder: Path,
    *arguments: Any,
    at: int = 0,
    how: str = "",
    out: Path | None = None,
    copies: str = "",
) -> tuple[str, Any, list[str]]:
    """Do work in a fresh process, with a fault at a change, and return how it ended, its value, and the changes.

    The changes are those up to the fault; of a killed process they are not known and empty. What it printed is
    appended to `out`. Into `copies` the folder is copied before each change.
    """
    from tests.commands import forkserver

    context = forkserver()
    ours, theirs = context.Pipe(duplex=False)
    counter = _Counter(str(folder.resolve()), at, how, copies=copies)
    said = out or folder.with_name(f"{folder.name}.out")
    process = context.Process(
        target=_child, args=(theirs, dict(os.environ), counter, function, arguments, said), daemon=True
    )
    process.start()
    theirs.close()
    try:
        if not ours.poll(ENDS_S):
            process.kill()
            raise AssertionError(f"{function.__name__} hangs with {how} at {at}; see {said}")
        ended, value, seen = ours.recv()
    except EOFError:
        ended, value, seen = "killed", None, []
    finally:
        ours.close()
        process.join(ENDS_S)
    return ended, value, seen


@dataclass
class Bench:
    """Work, a folder that is ready for it, and a place for copies.

    Parameters
    ----------
    function : callable
        Of a module; called with the copy of the folder, then `arguments`, which can be pickled.
    ready : Path
        Never changed.
    place : Path
    arguments : tuple
    """

    function: Callable[..., Any]
    ready: Path
    place: Path
    arguments: tuple[Any, ...] = ()
    copies: int = 0

    def copy(self) -> Path:
        """Return a new copy of the folder; always of one length, for what depends on the path."""
        self.copies += 1
        folder = self.place / f"copy-{self.copies:04d}" / self.ready.name
        shutil.copytree(self.ready, folder, symlinks=True)
        return folder

    def points(self) -> list[str]:
        """Do the work undisturbed and return its changes."""
        folder = self.copy()
        ended, value, seen = counted(self.function, folder, *self.arguments)
        assert ended == "returned", f"undisturbed, it ended with {ended}: {value}; see {folder}.out"
        shutil.rmtree(folder.parent)
        return seen

    def strike(self, number: int, how: str, name: str = "") -> Struck:
        """Do the work on a new copy, with a fault at a change."""
        folder = self.copy()
        ended, value, _ = counted(self.function, folder, *self.arguments, at=number, how=how)
        return Struck(folder, how, number, name, ended, value)

    def left_by_kills(self) -> Iterator[Struck]:
        """Do the work once, and give each state that a kill at one of its changes leaves, or one in mid-write ("torn").

        Equal states are given once. A state is removed when the test has looked at it.
        """
        place = self.place / "states"
        place.mkdir(parents=True)
        folder = self.copy()
        ended, value, names = counted(self.function, folder, *self.arguments, copies=str(place))
        assert ended == "returned", f"undisturbed, it ended with {ended}: {value}; see {folder}.out"
        given: set[str] = set()
        for number, name in enumerate(names, 1):
            # At the depth of the other copies.
            state = place / f"{number:04d}" / folder.name
            what, _, path = name.partition(" ")
            torn = state / path
            for how in ("kill", "torn") if what == "fsync" and torn.is_file() else ("kill",):
                if how == "torn":
                    os.truncate(torn, torn.stat().st_size // 2)
                if (digest := _digest(state)) not in given:
                    given.add(digest)
                    seen = place / f"{number:04d}-{how}" / folder.name
                    shutil.copytree(state, seen, symlinks=True)
                    yield Struck(seen, how, number, name, "killed", None)
                    shutil.rmtree(seen.parent)
            shutil.rmtree(state.parent)
        shutil.rmtree(folder.parent)

    def each(
        self, *hows: str, only: Callable[[str], bool] = lambda _: True, once: Callable[[str], str] = str
    ) -> Iterator[Struck]:
        """Strike at every change, in each of these ways; the copy is removed when the test has looked at it.

        Faults that a change can't have are left out: nothing is torn but at an fsync, a disk fails no call.

        Parameters
        ----------
        only, once : callable
            Of a change: whether it is struck, and what it is, of which the first is struck: `kind_of`. By default
            every change is a kind of its own.
        """
        struck_at: dict[str, int] = {}
        for number, name in enumerate(self.points(), 1):
            for how in hows:
                fits = {"torn": name.startswith("fsync "), "busy": name == "ledger commit"}
                fits |= dict.fromkeys(DISK, not name.startswith("call "))
                if not fits.get(how, True) or not only(name):
                    continue
                # Two changes can have one name.
                if once is not str and struck_at.setdefault(once(name), number) != number:
                    continue
                struck = self.strike(number, how, name)
                yield struck
                shutil.rmtree(struck.folder.parent)

    def again(self, folder: Path, function: Callable[..., Any] | None = None, *arguments: Any) -> tuple[str, Any]:
        """Do the work again, or other work, undisturbed, on what a fault left; return how it ended and its value."""
        ended, value, _ = counted(function or self.function, folder, *(arguments or self.arguments))
        return ended, value


def kind_of(name: str) -> str:
    """Return what a change is: what is done, in which folder, to what kind of file.

    Examples
    --------
    >>> kind_of("fsync a/runs/001-20261130T065816-19025303/models/.t0-f1-s1.txt.5bce98f7-181660af-25345-ba685a72.tmp")
    'fsync a/runs/*/models/*.txt.tmp'
    """
    what, _, path = name.partition(" ")
    path = re.sub(r"\.[0-9a-f]{8}-[0-9a-f]{8}-\d+-[0-9a-f]{8}\.tmp", ".tmp", path)
    path = re.sub(r"\d{3}-\d{8}T\d{6}-[0-9a-f]{8}", "*", path)
    folder, _, file = path.rpartition("/")
    end = ".tmp" if file.endswith(".tmp") else ""
    stem, dot, suffix = file.removesuffix(end).lstrip(".").rpartition(".")
    return f"{what} {folder}/{f'*.{suffix}' if dot and stem != 'run' else file.removesuffix(end).lstrip('.')}{end}"


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
