"""Decide which tables a competition needs, and exclude other files that can't be read as tables."""

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

__all__ = ["UNREADABLE", "Exclusions", "NoTableError", "lacking_roles", "needed_tables", "with_fixed_hint"]

UNREADABLE = (DataError, pl.exceptions.PolarsError, UnicodeError, RecursionError, OverflowError)
"""The errors of files that are no tables; a full disk, or an error in competition.toml, is none of them."""

ROLES: dict[str, Callable[[str], float]] = {
    "train": lambda name: name_sounds_like(name, "train"),
    "test": lambda name: name_sounds_like(name, "test"),
    "sample_submission": sample_score,
}


class NoTableError(Exception):
    """A file holds something other than a table, and nothing is wrong with it."""


def needed_tables(names: Iterable[str], options: ReadOptions) -> set[str]:
    """Return the tables that must be readable: train, test, sample, and those with settings in competition.toml.

    Train, test and sample are those that competition.toml names, else those whose names sound most like it.

    Examples
    --------
    >>> sorted(needed_tables(["train", "train_notes", "b_test", "sample_submission", "extra"], ReadOptions({}, {})))
    ['b_test', 'sample_submission', 'train']
    """
    all_names = list(names)
    needed = {n for n in all_names if n in options.read or any(t.startswith(f"{n}.") for t in options.types)}
    for role, score in ROLES.items():
        stated = options.roles.get(role)
        if isinstance(stated, str):
            needed.add(stated)
        elif stated is not False:
            best_score = max(map(score, all_names), default=0)
            needed |= {name for name in all_names if best_score > 0 and score(name) == best_score}
    return needed


def lacking_roles(names: Iterable[str], options: ReadOptions) -> list[str]:
    """Return the roles of train and test that no table can have, by name or by competition.toml.

    Examples
    --------
    >>> lacking_roles(["train", "extra"], ReadOptions({}, {}))
    ['test']
    >>> lacking_roles(["a", "test"], ReadOptions({}, {}, roles={"train": "a"}))
    []
    """
    all_names = list(names)
    stated_by_role = {role: options.roles.get(role) for role in ("train", "test")}
    return [
        r for r, name in stated_by_role.items() if not (name in all_names if name else any(map(ROLES[r], all_names)))
    ]


DECOMPRESS_COMMANDS = {".gz": "gzip", ".xz": "xz", ".bz2": "bzip2"}


class Exclusions:
    """The files that a conversion excludes.

    Parameters
    ----------
    raw : Path
        The folder of the files; reasons name files relative to it.
    options : ReadOptions
    arrived : collection of str
        Files that were downloaded just now: damage of these raises, so that they are downloaded again.

    Attributes
    ----------
    files : dict
        The excluded files by the name that the table would have.
    failed : dict
        By the same name, the error and the files of tables whose conversion failed.
    """

    def __init__(self, raw: Path, options: ReadOptions, arrived: Collection[str] = ()) -> None:
        self.raw, self.options, self.arrived = raw, options, arrived
        self.files: dict[str, ExcludedFile] = {}
        self.failed: dict[str, tuple[BaseException, TableSource]] = {}

    def add(self, name: str, exc: BaseException, table: TableSource | None = None) -> None:
        """Exclude a table, or a file that is none, with the error as its reason."""
        message = exc.message if isinstance(exc, WorkbenchError) else (str(exc).splitlines() or ["unreadable"])[0]
        file = name if table is None else ", ".join(p.name for p in table.parts[:3])
        for part in () if table is None else table.parts:
            for location in (f"{part.path}: {part.member}", f"{part.path}: {part.name}", str(part.path)):
                message = message.removeprefix(f"{location} ")
        message = message.removeprefix("can't be converted to a table: ").removeprefix(f"{self.raw / name} ")
        reason = " ".join(message.replace(f"{self.raw}/", "").split())
        reason = f"it {reason}" if reason.startswith(("is ", "has ", "needs ")) else reason
        source_stamp = "" if table is None else stamp_of(table)
        options_digest = "" if table is None else options_key(table, self.options)
        self.files[name] = ExcludedFile(file, reason, source_stamp, options_digest)
        if table is not None:
            self.failed[name] = exc, table

    def keep(self, name: str, file: ExcludedFile, table: TableSource) -> bool:
        """Exclude a table again if its files and settings are unchanged; return whether they are."""
        is_same = file.stamp == stamp_of(table) and file.options == options_key(table, self.options)
        if is_same:
            self.files[name] = file
        return is_same

    def refuses(self, exc: BaseException, tables: Iterable[TableSource] = ()) -> bool:
        """Tell whether an error must be raised: an error in competition.toml, or damage during the download."""
        if isinstance(exc, ConfigError):
            return True
        return isinstance(exc, DamagedError) and any(self._arrived_damaged(p) for t in tables for p in t.parts)

    def _arrived_damaged(self, part: SourceFile) -> bool:
        """Tell whether a file that arrived just now is damaged; the checksum of an archive's member decides."""
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
    """Add a hint to the error of a needed table: how to replace the file by a corrected copy."""
    parts = [p for t in tables for p in t.parts]
    faulty_part = next((p for p in parts if _is_named(p, exc.message)), parts[0] if len(parts) == 1 else None)
    if options.fixed is None or faulty_part is None or "competition.toml asks for" in exc.hint:
        return exc
    name = Path(faulty_part.name)
    # With its folders, because other folders may have a file of this name.
    target = options.fixed / (name.with_suffix("") if name.suffix in DECOMPRESS_COMMANDS else name)
    if faulty_part.path.is_relative_to(options.fixed):
        hint = f"it is your fixed copy: fix it there, then `wb fetch {slug}` again"
    else:
        hint = (
            f"a fixed copy in {options.fixed} replaces it, even after another download: "
            f"`mkdir -p {quote(str(target.parent))} && {_copy_command(faulty_part, target)}`, fix it there, then "
            f"`wb fetch {slug}` again"
        )
    return type(exc)(exc.message, hint=f"{exc.hint}; {hint}" if exc.hint else hint)


def _is_named(part: SourceFile, message: str) -> bool:
    if part.member is None:
        return str(part.path) in message
    return any(f"{part.path}: {name}" in message for name in (part.member, part.name))


def _copy_command(part: SourceFile, target: Path) -> str:
    """Return the shell command that writes the decompressed content of a file, or of an archive's member, to a path."""
    source, destination, suffix = quote(str(part.path)), quote(str(target)), Path(part.name).suffix
    decompress = f"{DECOMPRESS_COMMANDS[suffix]} -dc" if suffix in DECOMPRESS_COMMANDS else ""
    if part.member is None:
        return f"{decompress} {source} > {destination}" if decompress else f"cp {source} {destination}"
    return f"unzip -p {source} {quote(part.member)}" + f" | {decompress}" * bool(decompress) + f" > {destination}"
