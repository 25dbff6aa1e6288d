"""List the files that become tables, and recognize unchanged ones."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.core.errors import DataError, WorkbenchError
from workbench.data.competition import TableInfo, read_file_options, read_key_columns
from workbench.data.ingest.archives import EncryptedError, check_members, is_encrypted
from workbench.data.ingest.formats import ENDINGS, PACKED, ending_of
from workbench.data.ingest.keys import NO_KEYS, Keys
from workbench.data.ingest.shared_archive import SharedArchive
from workbench.data.ingest.text import BLOCK_BYTES, SourceFile, sha256_of

__all__ = [
    "NO_OPTIONS",
    "ReadOptions",
    "TableSource",
    "block_bytes",
    "files_below",
    "is_table",
    "joined_sha",
    "members_of",
    "options_key",
    "place_of",
    "reading_options",
    "same_source",
    "sources_in",
    "stamp_of",
    "table_name",
    "without_endings",
]

MAYBE_TEXT = (".txt", ".dat", ".data")
"""Endings of files that are delimited text only if they look like a table."""
SHOWN_PARTS = 3


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Attributes
    ----------
    read : dict
        ``[read.TABLE]`` of competition.toml, by table.
    types : dict
        ``[types]``: names of types by column, or by ``table.column``.
    named : tuple of str
        The tables that competition.toml names as train, test and sample.
    roles : mapping
        The same by role; False for a sample that does not exist.
    fixed : Path, optional
        The folder of the user's corrected files, which replace downloaded ones.
    block_bytes : int
        The bytes of a file that are read at a time; this bounds memory and does not change results.
    keys : Keys
        The ids, users, items and codes; before conversion those that the definition and the platform name.
    """

    read: dict[str, dict[str, Any]]
    types: dict[str, str]
    named: tuple[str, ...] = ()
    roles: Mapping[str, str | bool] = field(default_factory=dict, compare=False)
    fixed: Path | None = field(default=None, compare=False)
    block_bytes: int = field(default=BLOCK_BYTES, compare=False)
    keys: Keys = field(default=NO_KEYS, compare=False)

    def stated_type(self, table: str, column: str) -> str | None:
        """Return the type that competition.toml names for a column, None for no type."""
        return self.types.get(f"{table}.{column}") or self.types.get(column)


def block_bytes(memory_limit: int) -> int:
    """Return the bytes of a file to read at a time within a limit of memory.

    A block takes some forty times its size: as parsed text, as a frame, and in row groups that are not yet written.

    Examples
    --------
    >>> block_bytes(512 << 20) >> 20, block_bytes(16 << 30) >> 20
    (8, 16)
    """
    return max(1 << 20, min(BLOCK_BYTES, memory_limit // 64))


NO_OPTIONS = ReadOptions({}, {})


@dataclass(frozen=True)
class TableSource:
    """The files of a table before it is converted.

    Attributes
    ----------
    name : str
    parts : tuple of SourceFile
        In order.
    kind : str
        The name of the format, see `workbench.data.ingest.formats`.
    by_words : bool
        Whether the names of the parts differ in words rather than numbers.
    """

    name: str
    parts: tuple[SourceFile, ...]
    kind: str
    by_words: bool = False

    @property
    def is_train_or_test(self) -> bool:
        """Whether the table is a part of train or test, by its name: such tables agree on the types of columns."""
        return re.search(r"(^|_)(train|test)(_|$|ing)", self.name.lower()) is not None

    @property
    def where(self) -> str:
        """The files, for messages."""
        more = f" and {len(self.parts) - SHOWN_PARTS} more" if len(self.parts) > SHOWN_PARTS else ""
        return ", ".join(place_of(p) for p in self.parts[:SHOWN_PARTS]) + more


def place_of(source: SourceFile) -> str:
    """Return the location of a file, for messages."""
    return str(source.path) if source.member is None else f"{source.path}: {source.member}"


def is_table(name: str) -> bool:
    """Tell whether a file of this name becomes a table.

    Examples
    --------
    >>> [is_table(n) for n in ("a/train.csv.gz", "images/1.png", "README.txt")]
    [True, False, False]
    """
    return ending_of(name) in ENDINGS and not PurePosixPath(name).name.startswith((".", "__MACOSX"))


def table_name(file: str) -> str:
    """Return the name of a file's table: its path without file extensions, joined by underscores.

    Examples
    --------
    >>> table_name("train.csv"), table_name("extra/holidays 2013.csv.gz"), table_name("train.parquet/0.parquet")
    ('train', 'extra_holidays_2013', 'train_0')
    """
    parts = [without_endings(part) for part in PurePosixPath(file).parts if part not in (".", "/")]
    return "_".join(re.sub(r"\W", "_", part) for part in parts)


def without_endings(name: str) -> str:
    """Return a file's name without the endings of its compression and format."""
    for ending in (*PACKED, *ENDINGS, *MAYBE_TEXT):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


def sources_in(
    raw: Path, fixed: Path | None = None, unreadable: dict[str, WorkbenchError] | None = None
) -> list[SourceFile]:
    """Return the files that become tables, on disk and in zip archives; a file on disk replaces one in an archive.

    Parameters
    ----------
    raw : Path
    fixed : Path, optional
        A folder of corrected files, which replace those of the same name, or are added to them.
    unreadable : dict, optional
        Gets the errors of archives that can't be read and of members that need a password; by default these raise.
    """
    disk_sources: dict[str, SourceFile] = {}
    archived_sources: dict[str, SourceFile] = {}
    for path in sorted(files_below(raw)):
        name = path.relative_to(raw).as_posix()
        if _becomes_table(name, path):
            disk_sources[name] = SourceFile(name, path, size_bytes=path.stat().st_size)
        elif path.suffix.lower() == ".zip":
            try:
                for source in members_of(path, raw, unreadable):
                    archived_sources[source.name] = source
            except DataError as exc:
                if unreadable is None:
                    raise
                unreadable[name] = exc
    sources = archived_sources | disk_sources
    for fixed_file in [] if fixed is None else _sources_below(fixed):
        replaced_names = _names_replaced_by(fixed_file.name, sources)
        folder = PurePosixPath(replaced_names[0]).parent if replaced_names else PurePosixPath()
        for name in replaced_names:
            del sources[name]
        name = fixed_file.name if "/" in fixed_file.name else (folder / fixed_file.name).as_posix()
        sources[name] = replace(fixed_file, name=name)
    return sorted(sources.values(), key=lambda s: s.name)


def files_below(folder: Path, *endings: str) -> Iterator[Path]:
    """Yield the files below a folder, all or those with one of the endings.

    Hidden files, and temporary folders of interrupted processes, are left out.
    """
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = [f for f in subfolders if not (f.startswith(".") and f.endswith(".tmp"))]
        for name in names:
            path = Path(parent, name)
            if not name.startswith(".") and (not endings or name.lower().endswith(endings)) and path.is_file():
                yield path


def _sources_below(folder: Path) -> list[SourceFile]:
    """Return the files below a folder that become tables."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(files_below(folder))}
    return [SourceFile(n, p, size_bytes=p.stat().st_size) for n, p in paths.items() if _becomes_table(n, p)]


def _becomes_table(name: str, path: Path) -> bool:
    return is_table(name) or (ending_of(name) in MAYBE_TEXT and _looks_like_a_table(path))


def _names_replaced_by(name: str, sources: Mapping[str, SourceFile]) -> list[str]:
    """Return the files that a corrected one replaces: those of its path, else the only one of its name in any folder.

    Endings do not count.
    """
    stems = {n: (PurePosixPath(n).parent / without_endings(PurePosixPath(n).name)).as_posix() for n in [*sources, name]}
    same_path = [n for n in sources if stems[n] == stems[name]]
    if same_path or "/" in name:
        return same_path
    same_name = [n for n in sources if PurePosixPath(stems[n]).name == stems[name]]
    return same_name if len(same_name) == 1 else []


def members_of(archive: Path, raw: Path, unreadable: dict[str, WorkbenchError] | None = None) -> list[SourceFile]:
    """Return the members of a zip archive that become tables; encrypted ones go to `unreadable`, if it is not None."""
    members = [m for m in check_members(archive, raw) if is_table(m.filename)]
    for member in [m for m in members if unreadable is not None and is_encrypted(m)]:
        members.remove(member)
        name = f"{archive.relative_to(raw).as_posix()}: {member.filename}"
        unreadable[name] = EncryptedError(f"{archive}: {member.filename} needs a password")  # type: ignore[index]
    folder = archive.parent.relative_to(raw)
    # "train.csv.zip" with a single file is train.csv, whatever the name of that file.
    is_packed_file = len(members) == 1 and is_table(archive.stem)
    shared_archive = SharedArchive(archive)
    return [
        SourceFile(
            (folder / (archive.stem if is_packed_file else m.filename)).as_posix(),
            archive,
            m.filename,
            m.file_size,
            archive=shared_archive,
        )
        for m in members
        if "__MACOSX" not in m.filename
    ]


def _looks_like_a_table(path: Path) -> bool:
    """Tell whether the first lines of a file all have the same number of separators."""
    with path.open("rb") as file:
        head = file.read(64 << 10)
    lines = [line for line in re.split(rb"\r\n|\r|\n", head)[:-1][:20] if line]
    return len(lines) > 2 and any(
        lines[0].count(s) > 0 and len({line.count(s) for line in lines}) == 1 for s in (b",", b"\t", b";", b"|")
    )


# --------------------------------------------------------------------------------------------------- unchanged files


def options_key(table: TableSource, options: ReadOptions) -> str:
    """Return the settings of competition.toml for a table as JSON, for the manifest; "" where there are none."""
    types = {k: v for k, v in options.types.items() if "." not in k or k.startswith(f"{table.name}.")}
    read_settings = options.read.get(table.name, {})
    # Columns for the parts' words exist because of the columns of test; those of Hive folders are in the files' names.
    part_values = [p.keys for p in table.parts if p.keys and not all(f"{k}=" in p.name for k, _ in p.keys)]
    settings = [read_settings, types, *([part_values] if part_values else [])]
    return json.dumps(settings, sort_keys=True) if read_settings or types or part_values else ""


def same_source(table: TableSource, info: TableInfo) -> bool:
    """Tell whether the files of a table are those of its manifest entry."""
    if info.stamp == stamp_of(table):
        return True
    # The stamp also differs for a copy, or after `touch`.
    return joined_sha([sha256_of(p) for p in table.parts]) == info.source_sha256


def stamp_of(table: TableSource) -> str:
    """Return a text that changes when one of the files does, without reading them."""
    return " ".join(f"{p.name}={p.stamp}" for p in table.parts)


def joined_sha(digests: list[str]) -> str:
    """Return one SHA-256 for several files, in order; that of the file itself where there is one."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def reading_options(folder: Path, memory_limit: int | None) -> ReadOptions:
    """Return the settings of a competition for reading its files.

    Parameters
    ----------
    folder : Path
        The competition's folder.
    memory_limit : int, optional
        The bytes of memory that a conversion may take.
    """
    path = folder / "competition.toml"
    options = NO_OPTIONS
    if path.exists():
        file_options = read_file_options(path)
        role_tables = tuple(name for name in file_options.tables.values() if name)
        default_roles: dict[str, str | bool] = {}
        if not file_options.is_draft:
            default_roles = {role: role for role in ("train", "test", "sample_submission")}
        keys = NO_KEYS.naming(read_key_columns(path))
        roles = {**default_roles, **file_options.tables}
        options = ReadOptions(file_options.read, file_options.types, keys=keys, named=role_tables, roles=roles)
    options = replace(options, fixed=folder / "data" / "fixed")
    return options if memory_limit is None else replace(options, block_bytes=block_bytes(memory_limit))
