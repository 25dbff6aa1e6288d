"""Which tables a competition needs, and which files may be left out where they can't be read as tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from shlex import quote

import polars as pl

from workbench.core.errors import ConfigError, DamagedError, DataError, WorkbenchError
from workbench.data.competition import ExcludedFile
from workbench.data.inference.tables import name_sounds_like, sample_score
from workbench.data.ingest.sources import ReadOptions, TableSource, options_key, stamp_of
from workbench.data.ingest.text import SourceFile

__all__ = ["UNREADABLE", "Exclusions", "lacking_roles", "needed_tables", "with_fixed_hint"]

UNREADABLE = (DataError, pl.exceptions.PolarsError, UnicodeError, RecursionError, OverflowError)
"""What a file raises that is no table; a disk that is full, or a mistake in competition.toml, is something else."""

ROLES: dict[str, Callable[[str], float]] = {
    "train": lambda name: name_sounds_like(name, "train"),
    "test": lambda name: name_sounds_like(name, "test"),
    "sample_submission": sample_score,
}


def needed_tables(names: Iterable[str], options: ReadOptions) -> set[str]:
    """Return the tables that must be readable: train, test and sample, and those that competition.toml speaks of.

    Train, test and sample are those that competition.toml names, else those whose names sound most like it.

    Examples
    --------
    >>> sorted(needed_tables(["train", "train_notes", "b_test", "sample_submission", "extra"], ReadOptions({}, {})))
    ['b_test', 'sample_submission', 'train']
    """
    every = list(names)
    needed = {name for name in every if name in options.read or any(t.startswith(f"{name}.") for t in options.types)}
    for role, score in ROLES.items():
        stated = options.roles.get(role)
        if isinstance(stated, str):
            needed.add(stated)
        elif stated is not False:
            best = max(map(score, every), default=0)
            needed |= {name for name in every if best > 0 and score(name) == best}
    return needed


def lacking_roles(names: Iterable[str], options: ReadOptions) -> list[str]:
    """Return which of train and test no table is called.

    Examples
    --------
    >>> lacking_roles(["train", "extra"], ReadOptions({}, {}))
    ['test']
    >>> lacking_roles(["a", "test"], ReadOptions({}, {}, roles={"train": "a"}))
    []
    """
    every = list(names)
    stated = {role: options.roles.get(role) for role in ("train", "test")}
    return [r for r, s in stated.items() if not (s in every if s else any(ROLES[r](name) for name in every))]


UNPACKED_BY = {".gz": "gzip", ".xz": "xz", ".bz2": "bzip2"}


class Exclusions:
    """The files that a conversion leaves out, by the name that the table would have, and how it comes to that.

    Parameters
    ----------
    raw : Path
        Where the files lie; reasons name them below it.
    options : ReadOptions
    arrived : collection of str
        Files that were downloaded just now: one that is damaged may arrive whole another time, and raises.
    """

    def __init__(self, raw: Path, options: ReadOptions, arrived: Collection[str] = ()) -> None:
        self.raw, self.options, self.arrived = raw, options, arrived
        self.files: dict[str, ExcludedFile] = {}
        self.failed: dict[str, tuple[BaseException, TableSource]] = {}

    def add(self, name: str, exc: BaseException, table: TableSource | None = None) -> None:
        """Leave out a table, or a file that is none."""
        first = exc.message if isinstance(exc, WorkbenchError) else (str(exc).splitlines() or ["unreadable"])[0]
        file = name if table is None else ", ".join(p.name for p in table.parts[:3])
        for part in () if table is None else table.parts:
            for place in (f"{part.path}: {part.member}", f"{part.path}: {part.name}", str(part.path)):
                first = first.removeprefix(f"{place} ")
        first = first.removeprefix("can't be converted to a table: ").removeprefix(f"{self.raw / name} ")
        reason = " ".join(first.replace(f"{self.raw}/", "").split())
        reason = f"it {reason}" if reason.startswith(("is ", "has ", "needs ")) else reason
        stamp = "" if table is None else stamp_of(table)
        options = "" if table is None else options_key(table, self.options)
        self.files[name] = ExcludedFile(file, reason, stamp, options)
        if table is not None:
            self.failed[name] = exc, table

    def keep(self, name: str, file: ExcludedFile, table: TableSource) -> bool:
        """Leave out a table again that was left out before, and is the same; return whether it is."""
        is_same = file.stamp == stamp_of(table) and file.options == options_key(table, self.options)
        if is_same:
            self.files[name] = file
        return is_same

    def refuses(self, exc: BaseException, tables: Iterable[TableSource] = ()) -> bool:
        """Whether a failure is not for leaving a table out: a mistake in competition.toml, or damage on the way."""
        if isinstance(exc, ConfigError):
            return True
        return isinstance(exc, DamagedError) and any(self._arrived_damaged(p) for t in tables for p in t.parts)

    def _arrived_damaged(self, part: SourceFile) -> bool:
        """Whether a part may be damaged since it left the platform; the checksum of a member tells."""
        if not part.path.is_relative_to(self.raw) or part.path.relative_to(self.raw).as_posix() not in self.arrived:
            return False
        if part.member is None:
            return True
        try:
            with part.packed() as file:
                while file.read(1 << 20):
                    pass
        except DamagedError:
            return True
        return False


def with_fixed_hint(exc: DataError, tables: Iterable[TableSource], options: ReadOptions, slug: str) -> DataError:
    """Return a failure of a table that is needed with a way out: a fixed copy, which no download replaces."""
    parts = [p for t in tables for p in t.parts]
    at_fault = next((p for p in parts if _is_named(p, exc.message)), parts[0] if len(parts) == 1 else None)
    if options.fixed is None or at_fault is None or "competition.toml asks for" in exc.hint:
        return exc
    name = Path(at_fault.name)
    # With its folders: other folders may have a file of this name.
    target = options.fixed / (name.with_suffix("") if name.suffix in UNPACKED_BY else name)
    if at_fault.path.is_relative_to(options.fixed):
        way = f"it is your fixed copy: fix it there, then `wb fetch {slug}` again"
    else:
        way = (
            f"a fixed copy in {options.fixed} replaces it, even after another download: "
            f"`mkdir -p {quote(str(target.parent))} && {_copied(at_fault, target)}`, fix it there, then "
            f"`wb fetch {slug}` again"
        )
    return type(exc)(exc.message, hint=f"{exc.hint}; {way}" if exc.hint else way)


def _is_named(part: SourceFile, message: str) -> bool:
    if part.member is None:
        return str(part.path) in message
    return any(f"{part.path}: {name}" in message for name in (part.member, part.name))


def _copied(part: SourceFile, target: Path) -> str:
    """Return the shell command that lays a file, or a member of an archive, where it can be edited."""
    source, to = quote(str(part.path)), quote(str(target))
    unpack = f"{UNPACKED_BY[Path(part.name).suffix]} -dc" if Path(part.name).suffix in UNPACKED_BY else ""
    if part.member is None:
        return f"{unpack} {source} > {to}" if unpack else f"cp {source} {to}"
    return f"unzip -p {source} {quote(part.member)}" + f" | {unpack}" * bool(unpack) + f" > {to}"
