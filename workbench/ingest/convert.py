"""Data files -> typed Parquet tables with bounded row groups, and the manifest.

The types of delimited text are decided over whole files, and yet each is read only once as a rule: a guess from its
first four megabytes is used to convert it, and every value is held against the guess while it passes. Only where one
fails are the files counted through and converted again. The result is the same either way.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from workbench.cache import atomic, file_sha256
from workbench.competition import Manifest, TableInfo, check_table, read_manifest, write_manifest
from workbench.errors import DamagedError, DataError, NotFoundError, WorkbenchError, storage_errors
from workbench.ingest.archives import check_members
from workbench.ingest.text import (
    HEAD_BYTES,
    Source,
    TextForm,
    blocks,
    blocks_looked_at,
    first_fault,
    form_of,
    full_encoding,
    has_short_record,
    head_of,
    header_of,
    sha256_of,
    text_of,
    without_blank_lines,
)
from workbench.ingest.types import MISSING, ColumnStats, ColumnType, column_stats, decide, from_name, has_short_years

__all__ = ["FORMATS", "Options", "convert", "is_table", "table_name"]

ROWS_PER_GROUP = 128 * 1024
CODES_BYTES = 256 * 1024
"""Looked through at a time: what fits the processor's cache."""

TEXT = (".csv", ".tsv", ".psv")
MAYBE_TEXT = (".txt", ".dat", ".data")
LINES = (".jsonl", ".ndjson")
FORMATS = (*TEXT, ".json", *LINES, ".parquet")
PACKED = (".gz", ".xz", ".bz2")
COMPRESSION: Any = "lz4"
"""zstd is a fifth smaller and takes a third longer to write; reading is what happens again and again."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What competition.toml says of the reading: by table, and types by column or "table.column"."""

    read: dict[str, dict[str, Any]]
    types: dict[str, str]


NO_OPTIONS = Options({}, {})


@dataclass(frozen=True)
class _Table:
    """One table to be: its parts, in order, and how they are written."""

    name: str
    parts: tuple[Source, ...]
    kind: str

    @property
    def where(self) -> str:
        return ", ".join(_place(p) for p in self.parts)


def _place(source: Source) -> str:
    return str(source.path) if source.member is None else f"{source.path}: {source.member}"


class _MismatchError(Exception):
    """A value does not fit the guessed type."""


class _EncodingError(Exception):
    """A byte does not fit the guessed encoding."""


class _NoTableError(Exception):
    """A file holds something else than a table, and nothing is wrong with it."""


class _RaggedError(pl.exceptions.PolarsError):
    """A record has too few fields, which polars would fill with nulls."""


# ------------------------------------------------------------------------------------------------------------ tables


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
    >>> table_name("train.csv"), table_name("extra/holidays 2013.csv.gz")
    ('train', 'extra_holidays_2013')
    """
    path = PurePosixPath(file)
    stem = path.name
    for ending in (*PACKED, *FORMATS, *MAYBE_TEXT):
        if stem.lower().endswith(ending) and len(stem) > len(ending):
            stem = stem[: -len(ending)]
    parts = [*path.parent.parts, stem]
    return "_".join(re.sub(r"\W", "_", part) for part in parts if part not in (".", "/"))


def _tables(raw: Path) -> list[_Table]:
    found = _sources(raw)
    # One folder that holds everything is packaging, not a name.
    tops = {PurePosixPath(s.name).parts[0] for s in found if len(PurePosixPath(s.name).parts) > 1}
    shared = f"{tops.pop()}/" if len(tops) == 1 and all("/" in s.name for s in found) else ""
    named: dict[str, list[Source]] = {}
    for source in found:
        named.setdefault(table_name(source.name.removeprefix(shared)), []).append(source)
    for name, sources in named.items():
        if len(sources) > 1:
            same = ", ".join(_place(s) for s in sources)
            raise DataError(f"these files would all become table {name!r}: {same}", hint="remove all but one of them")
    tables = [_Table(name, tuple(sources), _kind(sources[0].name)) for name, sources in named.items()]
    return _with_parts(tables)


def _kind(name: str) -> str:
    ending = _ending(name)
    return {".json": "json", ".parquet": "parquet"}.get(ending, "lines" if ending in LINES else "text")


def _sources(raw: Path) -> list[Source]:
    """Return the files that become tables, on disk and in the zip archives on disk; a file on disk goes before."""
    on_disk: dict[str, Source] = {}
    in_archives: dict[str, Source] = {}
    for path in sorted(p for p in raw.rglob("*") if p.is_file() and not p.name.startswith(".")):
        name = path.relative_to(raw).as_posix()
        if is_table(name) or (_ending(name) in MAYBE_TEXT and _looks_like_a_table(path)):
            on_disk[name] = Source(name, path, size_bytes=path.stat().st_size)
        elif path.suffix.lower() == ".zip":
            for source in _members(path, raw):
                in_archives[source.name] = source
    return sorted((in_archives | on_disk).values(), key=lambda s: s.name)


def _members(archive: Path, raw: Path) -> list[Source]:
    members = [m for m in check_members(archive, raw) if is_table(m.filename)]
    folder = archive.parent.relative_to(raw)
    # "train.csv.zip" with one file in it stands for train.csv, whatever the file in it is called.
    alone = len(members) == 1 and is_table(archive.stem)
    return [
        Source((folder / (archive.stem if alone else m.filename)).as_posix(), archive, m.filename, m.file_size)
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


def _with_parts(tables: list[_Table]) -> list[_Table]:
    """Join tables that are numbered parts of one: "train_1", "train_2", with the same columns."""
    groups: dict[str, list[_Table]] = {}
    for table in tables:
        stem = re.sub(r"[_\W]*(part)?[_\W]*\d+$", "", table.name) if table.kind == "text" else table.name
        groups.setdefault(stem or table.name, []).append(table)
    joined = []
    taken = {t.name for t in tables}
    for stem, group in groups.items():
        if len(group) > 1 and stem not in taken and _same_columns(group):
            order = sorted(group, key=lambda t: int(re.search(r"\d+$", t.name)[0]))  # type: ignore[index]
            joined.append(_Table(stem, tuple(p for t in order for p in t.parts), "text"))
        else:
            joined += group
    return sorted(joined, key=lambda t: t.name)


def _same_columns(group: list[_Table]) -> bool:
    headers = {tuple(header_of(t.parts[0], form_of(t.parts[0], {}))) for t in group}
    return len(headers) == 1


# ----------------------------------------------------------------------------------------------------------- convert


def convert(
    raw: Path,
    tables: Path,
    slug: str,
    *,
    force: bool = False,
    options: Options = NO_OPTIONS,
    report: Report = lambda _: None,
) -> Manifest:
    """Convert every data file under `raw` to a Parquet table; what is already converted and whole stays.

    Parameters
    ----------
    raw, tables : Path
        ``data/raw`` and ``data/tables`` of the competition.
    slug : str
    force : bool
        Convert everything again.
    options : Options
        What competition.toml says; it goes before what the files suggest.
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
    found = _tables(raw)
    if not found:
        raise DataError(f"{raw} has no file that can become a table (expected {', '.join(FORMATS)})")
    done = {} if force else _still_good(tables, slug, found, options)
    infos = {t.name: done[t.name] for t in found if t.name in done}
    for group in _sharing(found):
        if all(t.name in done for t in group):
            continue
        if group[0].kind == "text":
            infos |= _text_tables(group, tables, options, report)
        else:
            for table in group:
                report(table.name)
                try:
                    infos[table.name] = _other_table(table, tables, options)
                except _NoTableError:
                    # A map of labels, annotations of images: as little reason to stop as an image is.
                    report(f"{table.name} no further: {table.where} is JSON, but neither records nor columns")
    if not infos:
        said = ", ".join(t.where for t in found)
        raise DataError(
            f"{raw} has no file that can become a table: {said} is JSON, but neither records nor columns",
            hint="write it as a list of objects, one for each row",
        )
    manifest = Manifest({t.name: infos[t.name] for t in found if t.name in infos})
    write_manifest(tables, manifest)
    for stale in tables.glob("*.parquet"):
        if stale.stem not in manifest.tables:
            stale.unlink()
    return manifest


def _sharing(found: list[_Table]) -> list[list[_Table]]:
    """Return the tables in groups that share their types: those of train and test together, each other one alone."""
    together = [t for t in found if t.kind == "text" and re.search(r"(^|_)(train|test)(_|$|ing)", t.name.lower())]
    alone = [[t] for t in found if t not in together]
    return ([together] if together else []) + alone


def _options_key(table: _Table, options: Options) -> str:
    chosen = {k: v for k, v in options.types.items() if "." not in k or k.startswith(f"{table.name}.")}
    return json.dumps([options.read.get(table.name, {}), chosen], sort_keys=True) if options != NO_OPTIONS else ""


def _still_good(tables: Path, slug: str, found: list[_Table], options: Options) -> dict[str, TableInfo]:
    try:
        manifest = read_manifest(tables, slug=slug)
    except (NotFoundError, DamagedError):
        return {}
    good = {}
    for table in found:
        info = manifest.tables.get(table.name)
        if info is None or info.options != _options_key(table, options) or not _same_source(table, info):
            continue
        try:
            check_table(tables, info, slug=slug)
        except DamagedError:
            continue
        good[table.name] = info
    return good


def _same_source(table: _Table, info: TableInfo) -> bool:
    if info.stamp == _stamp(table):
        return True
    # Touched, or copied: only the bytes can tell.
    return _joined_sha([sha256_of(p) for p in table.parts]) == info.source_sha256


def _stamp(table: _Table) -> str:
    return " ".join(f"{p.name}={p.stamp}" for p in table.parts)


def _joined_sha(digests: list[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


# --------------------------------------------------------------------------------------------------------- from text


def _text_tables(group: list[_Table], tables: Path, options: Options, report: Report) -> dict[str, TableInfo]:
    forms = {t.name: form_of(t.parts[0], options.read.get(t.name, {})) for t in group}
    headers = {t.name: header_of(t.parts[0], forms[t.name]) for t in group}
    plans: dict[str, dict[str, ColumnType]] | None = None
    for _ in range(3):
        try:
            if plans is None:
                # The head of a second part may be the first to show that the encoding is another.
                heads = {t.name: _head_stats(t, forms[t.name], headers[t.name]) for t in group}
                plans = _plans(heads, forms, options)
            infos = {}
            for table in group:
                report(table.name)
                infos[table.name] = _text_table(
                    table, forms[table.name], headers[table.name], plans[table.name], tables, options
                )
            return infos
        except _EncodingError:
            named = {t.name for t in group if options.read.get(t.name, {}).get("encoding")}
            before = dict(forms)
            for table in group:
                if table.name not in named and forms[table.name].encoding == "utf-8":
                    forms[table.name] = _with_encoding(table, forms[table.name])
            if forms == before:
                at_fault = [t.where for t in group if t.name in named] or [t.where for t in group]
                raise DataError(
                    f"{', '.join(at_fault)}: not all of it is written in the encoding that competition.toml names",
                    hint='name the encoding in competition.toml: [read.TABLE] encoding = "…"',
                ) from None
            headers = {t.name: header_of(t.parts[0], forms[t.name]) for t in group}
            plans = None
        except _MismatchError:
            report(f"{' and '.join(t.name for t in group)} again: a value further down has another type")
            counted = {t.name: _full_stats(t, forms[t.name], headers[t.name]) for t in group}
            # What has no value in the whole of the files has none.
            plans = {
                name: {c: replace(decided, certain=True) for c, decided in plan.items()}
                for name, plan in _plans(counted, forms, options).items()
            }
    raise DataError(f"{group[0].where} can't be converted to a table: its values fit no type that was decided")


def _with_encoding(table: _Table, form: TextForm) -> TextForm:
    encoding = full_encoding(table.parts)
    if encoding == form.encoding:
        return form
    return replace(form, encoding=encoding, guessed=(*form.guessed, f'encoding = "{encoding}"'))


def _plans(
    stats: dict[str, dict[str, ColumnStats]], forms: dict[str, TextForm], options: Options
) -> dict[str, dict[str, ColumnType]]:
    """Decide the types, column by column over all the tables of a group."""
    plans: dict[str, dict[str, ColumnType]] = {}
    for name, own in stats.items():
        form = forms[name]
        plans[name] = {}
        for column in own:
            asked = options.types.get(f"{name}.{column}") or options.types.get(column)
            if asked:
                plans[name][column] = from_name(asked, column)
                continue
            everywhere = [s[column] for s in stats.values() if column in s]
            decided = decide(everywhere, decimal=form.decimal, separator=form.separator)
            direct = decided.direct and not form.missing
            plans[name][column] = replace(decided, direct=direct)
    return plans


def _frame(block: bytes, form: TextForm, schema: dict[str, Any]) -> pl.DataFrame:
    """Read a block with the CSV reader; blank lines are no records, and a short record raises."""

    def read(data: bytes) -> pl.DataFrame:
        try:
            return pl.read_csv(_not_packed(data, form), has_header=False, schema=schema, separator=form.separator)
        except OSError as exc:
            raise pl.exceptions.ComputeError("it begins like a compressed file") from exc

    # In a table of one column a blank line is a missing value.
    if len(schema) == 1:
        return read(block)
    try:
        frame = read(block)
    except pl.exceptions.PolarsError:
        # A blank line at a block's beginning misleads polars as to how many columns there are.
        tidy = without_blank_lines(block)
        if tidy == block:
            raise
        return read(tidy) if tidy else pl.DataFrame(schema=schema)
    nulls = frame.to_series(-1).null_count()
    separator = form.separator.encode()
    if not nulls or nulls <= block.count(separator + b"\n") + block.count(separator + b"\r\n"):
        return frame
    # More records lack the last field than end in a separator.
    if has_short_record(block, form, len(schema)):
        raise _RaggedError("a record has too few fields")
    tidy = without_blank_lines(block)
    return frame if tidy == block else read(tidy) if tidy else frame.clear()


def _not_packed(block: bytes, form: TextForm) -> bytes:
    """Return the block with its first field in quotes where polars would take the text "x^" for compressed data."""
    if not block.startswith((b"x^", b"x\x01")):
        return block
    end = min(i for i in (block.find(form.separator.encode()), block.find(b"\n"), len(block)) if i >= 0)
    field = block[:end].rstrip(b"\r")
    return b'"' + field.replace(b'"', b'""') + b'"' + block[len(field) :]


def _as_text(block: bytes, form: TextForm, header: list[str]) -> pl.DataFrame:
    return _frame(block, form, dict.fromkeys(header, pl.String()))


def _is_misread(block: bytes, form: TextForm) -> bool:
    if form.encoding in ("utf-8", "ascii"):
        try:
            block.decode()
        except UnicodeDecodeError:
            return True
    return False


def _explained(exc: pl.exceptions.PolarsError, table: _Table, block: bytes, form: TextForm, width: int) -> Exception:
    if _is_misread(block, form):
        return _EncodingError()
    for part in table.parts:
        fault = first_fault(part, form, width)
        if fault:
            return DataError(
                f"{_place(part)} can't be converted to a table: {fault}",
                hint="mend that line; or name another separator in competition.toml under [read.TABLE]",
            )
    first = (str(exc).strip().splitlines() or ["unreadable"])[0]
    return DataError(
        f"{table.where} can't be converted to a table: {first}",
        hint="look at its separator and quotes; [read.TABLE] in competition.toml can name the separator",
    )


def _head_stats(table: _Table, form: TextForm, header: list[str]) -> dict[str, ColumnStats]:
    whole = [column_stats(pl.DataFrame(schema=dict.fromkeys(header, pl.String())))]
    for part in table.parts:
        for block in blocks(part, form, size=HEAD_BYTES):
            try:
                whole.append(column_stats(_as_text(block, form, header), missing=form.missing))
            except pl.exceptions.PolarsError as exc:
                raise _explained(exc, table, block, form, len(header)) from exc
            break
    return _summed(whole)


def _full_stats(table: _Table, form: TextForm, header: list[str]) -> dict[str, ColumnStats]:
    """Count through the whole table; a time format that failed once is not tried again."""
    total: dict[str, ColumnStats] | None = None
    for part in table.parts:
        for block in blocks(part, form):
            formats = None if total is None else {c: _open_formats(s) for c, s in total.items()}
            try:
                piece = column_stats(_as_text(block, form, header), formats, form.missing)
            except pl.exceptions.PolarsError as exc:
                raise _explained(exc, table, block, form, len(header)) from exc
            total = piece if total is None else _summed([total, piece])
    return total or column_stats(pl.DataFrame(schema=dict.fromkeys(header, pl.String())))


def _open_formats(stats: ColumnStats) -> Any:
    return None if not stats.present else stats.times or ()


def _summed(pieces: list[dict[str, ColumnStats]]) -> dict[str, ColumnStats]:
    return {c: reduce(lambda a, b: a + b, (p[c] for p in pieces)) for c in pieces[0]}


def _text_table(
    table: _Table,
    form: TextForm,
    header: list[str],
    plan: dict[str, ColumnType],
    tables: Path,
    options: Options,
) -> TableInfo:
    digests: list[Any] = []
    failure: list[BaseException] = []
    reader = _Reader(table, form, header, plan)

    def frames(
        with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        del with_columns, predicate, n_rows, batch_size
        try:
            for part in table.parts:
                digests.append(hashlib.sha256())
                for block, codes in blocks_looked_at(part, form, reader.may_have_codes, digest=digests[-1]):
                    yield reader.frame(block, codes=codes)
        except BaseException as exc:
            failure.append(exc)
            raise

    schema = {c: t.dtype for c, t in plan.items()}
    path = tables / f"{table.name}.parquet"
    try:
        with atomic(path) as temporary:
            scanned = register_io_source(frames, schema=schema)
            scanned.sink_parquet(temporary, row_group_size=ROWS_PER_GROUP, compression=COMPRESSION)
    except Exception as exc:
        if failure:
            # What was raised while reading comes back wrapped by polars.
            with storage_errors(path):
                raise failure[0] from None
        if isinstance(exc, pl.exceptions.PolarsError):
            raise DataError(f"{table.where} can't be converted to a table: {exc}") from exc
        raise
    if reader.unseen:
        path.unlink()
        raise _MismatchError
    return _info(table, path, _joined_sha([d.hexdigest() for d in digests]), options, form, plan)


class _Reader:
    """Blocks of text -> frames of the planned types; a value that does not fit raises."""

    def __init__(self, table: _Table, form: TextForm, header: list[str], plan: dict[str, ColumnType]) -> None:
        self.table, self.form, self.header, self.plan = table, form, header, plan
        self.direct = {c: t.dtype if t.direct else pl.String() for c, t in plan.items()}
        self.numbers = [c for c in header if plan[c].dtype in (pl.Int64, pl.Float64) and not plan[c].asked]
        self.parsed = [c for c, t in plan.items() if not t.direct and t.dtype != pl.String]
        self.times = [c for c, t in plan.items() if t.time_format]
        self.unknown = [c for c, t in plan.items() if not t.certain]
        self.unseen = False
        self.expressions = [t.read(c, form.missing) for c, t in plan.items()]

    def may_have_codes(self, block: bytes) -> bool:
        """Whether a number of the block may be a code; `frame` is told. It runs in the thread that reads."""
        return bool(self.numbers) and _may_have_codes(block, self.form.separator)

    def frame(self, block: bytes, *, codes: bool) -> pl.DataFrame:
        if codes:
            self._refuse_codes(block)
        try:
            text = _frame(block, self.form, self.direct)
        except pl.exceptions.PolarsError as exc:
            if not _is_misread(block, self.form) and self._is_a_table(block):
                raise _MismatchError from exc
            raise _explained(exc, self.table, block, self.form, len(self.header)) from exc
        typed = text.select(self.expressions)
        self._refuse_short_years(text, typed)
        for column in self.parsed:
            lost = typed[column].null_count() - text[column].null_count()
            if lost and lost > int(text[column].str.strip_chars().is_in([*MISSING, *self.form.missing]).sum() or 0):
                raise self._mismatch(column, text[column].filter(typed[column].is_null()))
        if self.unknown and any(text[c].null_count() < text.height for c in self.unknown):
            self.unseen = True
        return typed

    def _refuse_short_years(self, text: pl.DataFrame, typed: pl.DataFrame) -> None:
        for column in self.times:
            is_early = typed[column].dt.year() < 1000
            if is_early.any():
                early = text[column].filter(is_early)
                if has_short_years(early, self.plan[column].time_format or ""):
                    raise self._mismatch(column, early)

    def _mismatch(self, column: str, values: pl.Series) -> Exception:
        """Return what to raise: a type that was guessed is guessed again, one that was asked for is not."""
        planned = self.plan[column]
        if not planned.asked:
            return _MismatchError(column)
        tokens = [*MISSING, *self.form.missing]
        bad = values.drop_nulls().filter(~values.drop_nulls().str.strip_chars().is_in(tokens)).first()
        written = f" {planned.time_format!r}" if planned.time_format else ""
        return DataError(
            f"{self.table.where}: column {column!r} has {bad!r}, which is no {planned.dtype.base_type()}{written}",
            hint=f"[types] of competition.toml asks for that; mend {column!r} there",
        )

    def _is_a_table(self, block: bytes) -> bool:
        try:
            _as_text(block, self.form, self.header)
        except pl.exceptions.PolarsError:
            return False
        return True

    def _refuse_codes(self, block: bytes) -> None:
        try:
            text = _as_text(block, self.form, self.header)
        except pl.exceptions.PolarsError as exc:
            raise _explained(exc, self.table, block, self.form, len(self.header)) from exc
        if any(text[c].str.contains(r"^\s*[+-]?0\d+\s*$").any() for c in self.numbers):
            raise _MismatchError


def _may_have_codes(block: bytes, separator: str) -> bool:
    """Whether a field may begin with a zero and another digit: as a number the zero would be lost.

    Looks at the bytes only, so that the reader may take whole numbers directly; says yes too often for dates.
    """
    # A line end in front, so that the first field begins like any other.
    data = np.frombuffer(b"\n" + block, np.uint8)
    mark = ord(separator)
    for start in range(0, len(data), CODES_BYTES):
        piece = data[start : start + CODES_BYTES + 3]
        begins = (piece == mark) | (piece == 10) | (piece == 34)
        sign = (piece == 43) | (piece == 45) | (piece == 32)
        begins[1:] |= sign[1:] & begins[:-1]
        # Below 48, bytes wrap round to large numbers.
        if (begins[:-2] & (piece[1:-1] == 48) & (piece[2:] - np.uint8(48) < 10)).any():
            return True
    return False


# ------------------------------------------------------------------------------------------------------ other formats


def _other_table(table: _Table, tables: Path, options: Options) -> TableInfo:
    path = tables / f"{table.name}.parquet"
    (source,) = table.parts
    unpacked = None
    try:
        if table.kind == "json" and _first_byte(source) in (b"[", b"{") and not _is_lines(source):
            records = _json_frame(source)
            if not records.columns:
                raise _NoTableError
            frame = records.lazy()
        else:
            unpacked = _plain_file(source, tables)
            scan = pl.scan_parquet if table.kind == "parquet" else _scan_lines
            frame = scan(unpacked or source.path)
        with atomic(path) as temporary:
            frame.sink_parquet(temporary, row_group_size=ROWS_PER_GROUP, compression=COMPRESSION)
    except WorkbenchError:
        raise
    except (pl.exceptions.PolarsError, ValueError) as exc:
        first = (str(exc).strip().splitlines() or ["unreadable"])[0]
        fault = first if table.kind == "parquet" else _json_fault(source) or first
        raise DataError(
            f"{table.where} can't be converted to a table: {fault}", hint="if the file is cut, fetch it again"
        ) from exc
    finally:
        if unpacked is not None:
            unpacked.unlink(missing_ok=True)
    return _info(table, path, sha256_of(source), options, None, {})


def _scan_lines(path: Path) -> pl.LazyFrame:
    return pl.scan_ndjson(path, infer_schema_length=None)


def _plain_file(source: Source, folder: Path) -> Path | None:
    """Write the content of a packed source to a file, since polars reads only those in bounded memory."""
    has_mark = head_of(source, 3) == codecs.BOM_UTF8
    if source.member is None and PurePosixPath(source.name).suffix.lower() not in PACKED and not has_mark:
        return None
    import shutil

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f".{table_name(source.name)}.unpacked.tmp"
    with storage_errors(target), source.opened() as file, target.open("wb") as out:
        if has_mark:
            file.read(3)
        shutil.copyfileobj(file, out, 1 << 20)
    return target


def _first_byte(source: Source) -> bytes:
    return head_of(source, 4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]


def _is_lines(source: Source) -> bool:
    """Whether a .json file is one document per line."""
    first, _, rest = head_of(source).removeprefix(codecs.BOM_UTF8).strip().partition(b"\n")
    try:
        return isinstance(json.loads(first), dict) and rest.lstrip()[:1] == b"{"
    except ValueError:
        return False


def _json_fault(source: Source) -> str | None:
    """Say where a JSON file, or the first line of JSON lines, is no JSON."""
    content = text_of(source).getvalue().removeprefix(codecs.BOM_UTF8)
    if not content.strip():
        return "it is empty"
    whole = _first_byte(source) == b"[" or (_kind(source.name) == "json" and not _is_lines(source))
    for number, line in enumerate([content] if whole else content.split(b"\n"), 1):
        try:
            document = json.loads(line, parse_constant=_refuse_constant) if line.strip() else {}
        except UnicodeDecodeError as exc:
            return f"line {number + line[: exc.start].count(10):,} is not written in UTF-8"
        except json.JSONDecodeError as exc:
            return f"line {number + exc.lineno - 1:,}, column {exc.colno:,}: {exc.msg}"
        except ValueError as exc:
            return str(exc) if whole else f"line {number:,}: {exc}"
        if not isinstance(document, (dict, list) if whole else dict):
            return f"line {number:,} is no JSON object"
    return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON; a missing value is null")


def _json_frame(source: Source) -> pl.DataFrame:
    if _first_byte(source) == b"[":
        try:
            return pl.read_json(text_of(source), infer_schema_length=None)
        except pl.exceptions.PolarsError as exc:
            records = json.loads(text_of(source).read().removeprefix(codecs.BOM_UTF8))
            if records and all(isinstance(r, dict) for r in records):
                raise
            raise _NoTableError from exc
    # One object of columns, each an object of rows by index, as pandas writes by default; or one of lists.
    data = json.loads(text_of(source).read().removeprefix(codecs.BOM_UTF8))
    if set(data) == {"columns", "index", "data"}:
        data = {name: [row[i] for row in data["data"]] for i, name in enumerate(data["columns"])}
    elif data and all(isinstance(v, dict) for v in data.values()):
        # By index: the columns need not have their rows in the same order.
        rows = dict.fromkeys(k for values in data.values() for k in values)
        data = {name: [values.get(k) for k in rows] for name, values in data.items()}
    if not data or not all(isinstance(v, list) for v in data.values()) or len({len(v) for v in data.values()}) > 1:
        raise _NoTableError
    # As records, so that both spellings of one table get the same types.
    records = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    if not records:
        return pl.DataFrame(schema=dict.fromkeys(data, pl.String()))
    return pl.read_json(io.BytesIO(json.dumps(records).encode()), infer_schema_length=None)


def _info(
    table: _Table, path: Path, sha256: str, options: Options, form: TextForm | None, plan: dict[str, ColumnType]
) -> TableInfo:
    written = pl.scan_parquet(path)
    stat = path.stat()
    spelled = {c: t.spelled for c, t in plan.items() if t.spelled}
    return TableInfo(
        name=table.name,
        source=", ".join(p.name for p in table.parts),
        source_sha256=sha256,
        source_bytes=sum(p.size_bytes for p in table.parts),
        rows=int(written.select(pl.len()).collect().item()),
        dtypes={c: str(t) for c, t in written.collect_schema().items()},
        sha256=file_sha256(path),
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        stamp=_stamp(table),
        options=_options_key(table, options),
        read=list(form.guessed) if form else [],
        spelled=spelled,
    )
