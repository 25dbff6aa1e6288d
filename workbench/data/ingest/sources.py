"""The files that become tables, by their names, and how to recognize that one is unchanged."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.core.errors import DataError, WorkbenchError
from workbench.data.competition import TableInfo, read_file_options, read_keys
from workbench.data.ingest.archives import EncryptedError, check_members, is_encrypted
from workbench.data.ingest.keys import NO_KEYS, Keys
from workbench.data.ingest.text import BLOCK_BYTES, SourceFile, head_of, sha256_of

__all__ = [
    "FORMATS",
    "NO_OPTIONS",
    "PACKED",
    "ReadOptions",
    "TableSource",
    "block_bytes",
    "files_below",
    "first_byte",
    "is_lines",
    "is_table",
    "joined_sha",
    "kind_of",
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

TEXT = (".csv", ".tsv", ".psv")
MAYBE_TEXT = (".txt", ".dat", ".data")
LINES = (".jsonl", ".ndjson")
FORMATS = (*TEXT, ".json", *LINES, ".parquet")
SHOWN_PARTS = 3
PACKED = (".gz", ".xz", ".bz2", ".zst")


@dataclass(frozen=True)
class ReadOptions:
    """What competition.toml says of the reading: by table, and types by column or "table.column".

    `named` are the tables that it says to be train, test and sample, `roles` those by their role, False where there is
    none. `fixed` is the folder of files that are taken in place of those that were downloaded. `block_bytes` is how
    much of a file is read at a time, which bounds memory and changes nothing else. `keys` are the ids, users, items and
    codes: at first those that the definition and the platform name.
    """

    read: dict[str, dict[str, Any]]
    types: dict[str, str]
    named: tuple[str, ...] = ()
    roles: Mapping[str, str | bool] = field(default_factory=dict, compare=False)
    fixed: Path | None = field(default=None, compare=False)
    block_bytes: int = field(default=BLOCK_BYTES, compare=False)
    keys: Keys = field(default=NO_KEYS, compare=False)

    def stated_type(self, table: str, column: str) -> str | None:
        """Return the type that is asked for a column, as it is written there."""
        return self.types.get(f"{table}.{column}") or self.types.get(column)


def block_bytes(memory_limit: int) -> int:
    """Return how much of a file to read at a time within so many bytes of memory.

    From a block come its text taken apart, a frame, and row groups that wait to be written: some forty times of it.

    Examples
    --------
    >>> block_bytes(512 << 20) >> 20, block_bytes(16 << 30) >> 20
    (8, 16)
    """
    return max(1 << 20, min(BLOCK_BYTES, memory_limit // 64))


NO_OPTIONS = ReadOptions({}, {})


@dataclass(frozen=True)
class TableSource:
    """One table to be: its parts, in order, and how they are written; `by_words` where words alone name the parts."""

    name: str
    parts: tuple[SourceFile, ...]
    kind: str
    by_words: bool = False

    @property
    def where(self) -> str:
        """Its files, as a message names them."""
        more = f" and {len(self.parts) - SHOWN_PARTS} more" if len(self.parts) > SHOWN_PARTS else ""
        return ", ".join(place_of(p) for p in self.parts[:SHOWN_PARTS]) + more


def place_of(source: SourceFile) -> str:
    """Return a file as a message names it."""
    return str(source.path) if source.member is None else f"{source.path}: {source.member}"


def _ending(name: str) -> str:
    suffixes = [s.lower() for s in PurePosixPath(name).suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_table(name: str) -> bool:
    """Whether a file of this name becomes a table.

    Examples
    --------
    >>> [is_table(n) for n in ("a/train.csv.gz", "images/1.png", "README.txt")]
    [True, False, False]
    """
    return _ending(name) in FORMATS and not PurePosixPath(name).name.startswith((".", "__MACOSX"))


def table_name(file: str) -> str:
    """Return the table's name for a file's: the path without endings, parts joined by an underscore.

    Examples
    --------
    >>> table_name("train.csv"), table_name("extra/holidays 2013.csv.gz"), table_name("train.parquet/0.parquet")
    ('train', 'extra_holidays_2013', 'train_0')
    """
    parts = [without_endings(part) for part in PurePosixPath(file).parts if part not in (".", "/")]
    return "_".join(re.sub(r"\W", "_", part) for part in parts)


def without_endings(name: str) -> str:
    """Return a file's name without what says how it is packed and written."""
    for ending in (*PACKED, *FORMATS, *MAYBE_TEXT):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


def kind_of(name: str) -> str:
    """Return how a file of this name is read: "text", "lines", "json" or "parquet"."""
    ending = _ending(name)
    return {".json": "json", ".parquet": "parquet"}.get(ending, "lines" if ending in LINES else "text")


def sources_in(
    raw: Path, fixed: Path | None = None, unreadable: dict[str, WorkbenchError] | None = None
) -> list[SourceFile]:
    """Return the files that become tables, on disk and in the zip archives on disk; a file on disk goes before.

    Parameters
    ----------
    raw : Path
    fixed : Path, optional
        A folder of files that are taken in place of those of the same name, whatever these are packed in; others are
        further ones.
    unreadable : dict, optional
        Gets the archives that can't be read, and members that need a password, with the reason; without it these raise.
    """
    on_disk: dict[str, SourceFile] = {}
    in_archives: dict[str, SourceFile] = {}
    for path in sorted(files_below(raw)):
        name = path.relative_to(raw).as_posix()
        if is_table(name) or (_ending(name) in MAYBE_TEXT and _looks_like_a_table(path)):
            on_disk[name] = SourceFile(name, path, size_bytes=path.stat().st_size)
        elif path.suffix.lower() == ".zip":
            try:
                for source in members_of(path, raw, unreadable):
                    in_archives[source.name] = source
            except DataError as exc:
                if unreadable is None:
                    raise
                unreadable[name] = exc
    sources = in_archives | on_disk
    for new in [] if fixed is None else _below(fixed):
        replaced = _replaced(new.name, sources)
        folder = PurePosixPath(replaced[0]).parent if replaced else PurePosixPath()
        for name in replaced:
            del sources[name]
        name = new.name if "/" in new.name else (folder / new.name).as_posix()
        sources[name] = replace(new, name=name)
    return sorted(sources.values(), key=lambda s: s.name)


def files_below(folder: Path, *endings: str) -> Iterator[Path]:
    """Yield the files below a folder, those with one of the endings if any are given.

    Not those whose names begin with a dot, nor what a killed process left half done.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if not (f.startswith(".") and f.endswith(".tmp"))]
        for name in names:
            path = Path(place, name)
            if not name.startswith(".") and (not endings or name.lower().endswith(endings)) and path.is_file():
                yield path


def _below(folder: Path) -> list[SourceFile]:
    """Return the files of a folder that become tables."""
    paths = sorted(files_below(folder))
    named = [(p.relative_to(folder).as_posix(), p) for p in paths]
    return [
        SourceFile(name, p, size_bytes=p.stat().st_size)
        for name, p in named
        if is_table(name) or (_ending(name) in MAYBE_TEXT and _looks_like_a_table(p))
    ]


def _replaced(name: str, sources: Mapping[str, SourceFile]) -> list[str]:
    """Return the files that a fixed one stands for: those of its path, else the only one of its name in any folder."""
    bare = {n: (PurePosixPath(n).parent / without_endings(PurePosixPath(n).name)).as_posix() for n in [*sources, name]}
    same = [n for n in sources if bare[n] == bare[name]]
    if same or "/" in name:
        return same
    alike = [n for n in sources if PurePosixPath(bare[n]).name == bare[name]]
    return alike if len(alike) == 1 else []


def members_of(archive: Path, raw: Path, unreadable: dict[str, WorkbenchError] | None = None) -> list[SourceFile]:
    """Return the files of a zip archive that become tables; those that need a password go to `unreadable`, if given."""
    members = [m for m in check_members(archive, raw) if is_table(m.filename)]
    for member in [m for m in members if unreadable is not None and is_encrypted(m)]:
        members.remove(member)
        name = f"{archive.relative_to(raw).as_posix()}: {member.filename}"
        unreadable[name] = EncryptedError(f"{archive}: {member.filename} needs a password")  # type: ignore[index]
    folder = archive.parent.relative_to(raw)
    # "train.csv.zip" with one file in it stands for train.csv, whatever the file in it is called.
    alone = len(members) == 1 and is_table(archive.stem)
    return [
        SourceFile((folder / (archive.stem if alone else m.filename)).as_posix(), archive, m.filename, m.file_size)
        for m in members
        if "__MACOSX" not in m.filename
    ]


def _looks_like_a_table(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(64 << 10)
    lines = [line for line in re.split(rb"\r\n|\r|\n", head)[:-1][:20] if line]
    return len(lines) > 2 and any(
        lines[0].count(s) > 0 and len({line.count(s) for line in lines}) == 1 for s in (b",", b"\t", b";", b"|")
    )


def first_byte(source: SourceFile) -> bytes:
    """Return the first byte of a text that is no space."""
    return head_of(source, 4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]


def is_lines(source: SourceFile) -> bool:
    """Whether a .json file is one document per line."""
    first, _, further_lines = head_of(source).removeprefix(codecs.BOM_UTF8).strip().partition(b"\n")
    try:
        return isinstance(json.loads(first), dict) and further_lines.lstrip()[:1] == b"{"
    except (ValueError, RecursionError):
        return False


# ---------------------------------------------------------------------------------------------------- still the same


def options_key(table: TableSource, options: ReadOptions) -> str:
    """Return what competition.toml says of a table, as the manifest keeps it; nothing where it says nothing of it."""
    chosen = {k: v for k, v in options.types.items() if "." not in k or k.startswith(f"{table.name}.")}
    read = options.read.get(table.name, {})
    # The folders' names are in the files' own; the words of parts become a column because of what test has.
    words = [p.keys for p in table.parts if p.keys and not all(f"{k}=" in p.name for k, _ in p.keys)]
    settings = [read, chosen, *([words] if words else [])]
    return json.dumps(settings, sort_keys=True) if read or chosen or words else ""


def same_source(table: TableSource, info: TableInfo) -> bool:
    """Whether the files of a table are those that its manifest entry was made from."""
    if info.stamp == stamp_of(table):
        return True
    # Touched, or copied: only the bytes can tell.
    return joined_sha([sha256_of(p) for p in table.parts]) == info.source_sha256


def stamp_of(table: TableSource) -> str:
    """Return what changes when one of the files does, without reading them."""
    return " ".join(f"{p.name}={p.stamp}" for p in table.parts)


def joined_sha(digests: list[str]) -> str:
    """Return one SHA-256 for several files, in order; that of the file itself where there is one."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def reading_options(folder: Path, memory_limit: int | None) -> ReadOptions:
    """Return what a competition's definition says of how its files are read, within a limit of memory."""
    path = folder / "competition.toml"
    options = NO_OPTIONS
    if path.exists():
        stated = read_file_options(path)
        named = tuple(name for name in stated.tables.values() if name)
        usual: dict[str, str | bool] = {}
        if not stated.is_draft:
            usual = {role: role for role in ("train", "test", "sample_submission")}
        keys = NO_KEYS.naming(read_keys(path))
        options = ReadOptions(stated.read, stated.types, keys=keys, named=named, roles={**usual, **stated.tables})
    options = replace(options, fixed=folder / "data" / "fixed")
    return options if memory_limit is None else replace(options, block_bytes=block_bytes(memory_limit))
