"""Downloaded files -> typed Parquet tables with bounded row groups, and the manifest."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import polars as pl

from workbench.cache import atomic, file_sha256
from workbench.competition import Manifest, TableInfo, check_table, read_manifest, write_manifest
from workbench.errors import DamagedError, DataError, NotFoundError
from workbench.ingest.types import ColumnStats, ColumnType, column_stats, decide, scan_text

__all__ = ["convert", "table_name", "unpack"]

ROWS_PER_GROUP = 128 * 1024
SEPARATORS = {".csv": ",", ".tsv": "\t"}
FORMATS = (*SEPARATORS, ".parquet", ".jsonl", ".ndjson")

Report = Callable[[str], None]


@dataclass(frozen=True)
class _Source:
    """One file that becomes one table."""

    name: str
    path: Path

    @property
    def suffix(self) -> str:
        return _format(self.path.name)


def _format(name: str) -> str:
    suffixes = [s.lower() for s in PurePosixPath(name).suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def table_name(file: str) -> str:
    """Return the table's name for a file's: the path without endings, parts joined by an underscore.

    Examples
    --------
    >>> table_name("train.csv"), table_name("extra/holidays 2013.csv.gz")
    ('train', 'extra_holidays_2013')
    """
    path = PurePosixPath(file)
    stem = path.name[: -len("".join(path.suffixes))] if path.suffixes else path.name
    parts = [*path.parent.parts, stem]
    return "_".join(
        "".join(c if c.isalnum() or c == "_" else "_" for c in part) for part in parts if part not in (".", "/")
    )


def unpack(archive: Path, folder: Path) -> list[Path]:
    """Unpack a zip archive into `folder`, checking every member's CRC, and return the files.

    Raises
    ------
    DataError
        When a member's name would leave the folder.
    DamagedError
        When the archive is not whole.
    """
    unpacked = []
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                if member.is_dir():
                    continue
                target = (folder / member.filename).resolve()
                if not target.is_relative_to(folder.resolve()):
                    raise DataError(
                        f"{archive}: member {member.filename!r} would be written outside {folder}; not unpacked"
                    )
                with opened.open(member) as source, atomic(target) as temporary, temporary.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                unpacked.append(target)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as exc:
        raise DamagedError(f"{archive} is not a whole zip archive: {exc}", hint="remove it and fetch again") from exc
    return unpacked


def convert(raw: Path, tables: Path, slug: str, *, force: bool = False, report: Report = lambda _: None) -> Manifest:
    """Convert every data file under `raw` to a Parquet table; what is already converted and whole stays.

    Parameters
    ----------
    raw, tables : Path
        ``data/raw`` and ``data/tables`` of the competition.
    slug : str
    force : bool
        Convert everything again.
    report : callable
        Called with the name of each table before it is converted.

    Returns
    -------
    Manifest
        Also written, last, beside the tables.

    Raises
    ------
    DataError
        When a file can't be read as a table, or two files would become the same table.
    """
    sources = _sources(raw)
    if not sources:
        raise DataError(f"{raw} has no file that can become a table (expected {', '.join(FORMATS)})")
    hashes = {s.name: file_sha256(s.path) for s in sources}
    done = {} if force else _still_good(tables, slug, hashes)
    types = _types([s for s in sources if s.suffix in SEPARATORS], done)
    infos: dict[str, TableInfo] = {}
    for source in sources:
        if source.name in done and not _changed(done[source.name], types.get(source.name)):
            infos[source.name] = done[source.name]
            continue
        report(source.name)
        infos[source.name] = _converted(source, types.get(source.name, {}), tables, hashes[source.name])
    manifest = Manifest(infos)
    write_manifest(tables, manifest)
    return manifest


def _sources(raw: Path) -> list[_Source]:
    files = sorted(
        p for p in raw.rglob("*") if p.is_file() and _format(p.name) in FORMATS and not p.name.startswith(".")
    )
    sources = [_Source(table_name(p.relative_to(raw).as_posix()), p) for p in files]
    names = [s.name for s in sources]
    for source in sources:
        if names.count(source.name) > 1:
            same = [str(s.path) for s in sources if s.name == source.name]
            raise DataError(f"these files would all become table {source.name!r}: {', '.join(same)}")
    return sources


def _still_good(tables: Path, slug: str, hashes: dict[str, str]) -> dict[str, TableInfo]:
    try:
        manifest = read_manifest(tables, slug=slug)
    except (NotFoundError, DamagedError):
        return {}
    good = {}
    for name, info in manifest.tables.items():
        if hashes.get(name) == info.source_sha256:
            try:
                check_table(tables, info, slug=slug)
            except DamagedError:
                continue
            good[name] = info
    return good


def _types(sources: list[_Source], done: dict[str, TableInfo]) -> dict[str, dict[str, ColumnType]]:
    """Decide the types of the delimited files; train and test share theirs, column by column."""
    together = [s for s in sources if s.name.lower() in ("train", "test")]
    if all(s.name in done for s in together):
        together = []
    waiting = {s.name for s in sources if s.name not in done} | {s.name for s in together}
    stats = {
        s.name: column_stats(scan_text(s.path, SEPARATORS[s.suffix]), s.path) for s in sources if s.name in waiting
    }
    shared = [stats[s.name] for s in together]
    return {
        name: {c: decide(_all_of(c, own, shared if own in shared else [])) for c in own} for name, own in stats.items()
    }


def _all_of(column: str, own: dict[str, ColumnStats], shared: list[dict[str, ColumnStats]]) -> list[ColumnStats]:
    return [s[column] for s in shared if column in s] or [own[column]]


def _changed(info: TableInfo, types: dict[str, ColumnType] | None) -> bool:
    return types is not None and {c: str(t.dtype) for c, t in types.items()} != info.dtypes


def _converted(source: _Source, types: dict[str, ColumnType], tables: Path, sha256: str) -> TableInfo:
    path = tables / f"{source.name}.parquet"
    try:
        if source.suffix in SEPARATORS:
            frame = scan_text(source.path, SEPARATORS[source.suffix]).select(t.read(c) for c, t in types.items())
        elif source.suffix == ".parquet":
            frame = pl.scan_parquet(source.path)
        else:
            frame = pl.scan_ndjson(source.path, infer_schema_length=None)
        with atomic(path) as temporary:
            frame.sink_parquet(temporary, row_group_size=ROWS_PER_GROUP)
        written = pl.scan_parquet(path)
        dtypes = {c: str(t) for c, t in written.collect_schema().items()}
        rows = int(written.select(pl.len()).collect().item())
    except pl.exceptions.PolarsError as exc:
        first = (str(exc).strip().splitlines() or ["unreadable"])[0]
        raise DataError(f"{source.path} can't be converted to a table: {first}") from exc
    stat = path.stat()
    return TableInfo(
        name=source.name,
        source=source.path.name,
        source_sha256=sha256,
        source_bytes=source.path.stat().st_size,
        rows=rows,
        dtypes=dtypes,
        sha256=file_sha256(path),
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
    )
