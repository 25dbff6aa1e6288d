"""Parquet files -> tables: read in slices, of one type over all parts, with a column of lists exploded where asked.

polars loads the columns of a whole row group for any slice of it, and files often have one row group. So large files
are read a column at a time: what is in memory is then one column of one row group, packed, and a slice of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl
import polars.selectors as cs

from workbench.core.errors import DataError, WorkbenchError, storage_errors
from workbench.core.frames import parquet_schema, scan_parquet
from workbench.core.temporary import temporary_file
from workbench.data.competition import TableInfo
from workbench.data.ingest.counting import column_stats
from workbench.data.ingest.grouping import HIVE_NULL, key_columns, with_keys
from workbench.data.ingest.keys import is_numeric
from workbench.data.ingest.large import GREATEST, LEAST, narrowed
from workbench.data.ingest.missing import without_tokens
from workbench.data.ingest.nested import exploded, exploded_schema, say_without
from workbench.data.ingest.reconciled import (
    EXACT,
    IrreconcilableError,
    common_schema,
    common_type,
    fitted,
    is_lossless,
    zone_note,
)
from workbench.data.ingest.sources import PACKED, ReadOptions, TableSource, joined_sha, place_of
from workbench.data.ingest.text import SourceFile, sha256_of
from workbench.data.ingest.types import ColumnType, decide, from_name, present_texts
from workbench.data.ingest.writing import info_of, rows_per_group, say_beyond_64_bits, write_frames

__all__ = ["parquet_tables"]

Report = Callable[[str], None]
Schema = dict[str, pl.DataType]

FIRST_ROWS = 2_000
SHOWN = 60
"""Characters of a value in a message."""
SLICE_BLOCKS = 4
"""The blocks that a slice takes of `Options.block_bytes` in memory: 64 MB."""
LARGE_BLOCKS = 16
"""A file of more than so many blocks is read a column at a time."""


@dataclass(frozen=True)
class _PartsPlan:
    """What a table's parts will be: their schemas as they are, the common one, and the types asked for.

    `missing` are the texts and numbers that stand for a missing value.
    """

    schemas: list[Schema]
    common: Schema
    stated: dict[str, ColumnType]
    missing: tuple[str, ...] = ()


def parquet_tables(
    group: list[TableSource], tables: Path, options: ReadOptions, report: Report
) -> dict[str, TableInfo]:
    """Convert tables of Parquet parts; where train and test have a column in two widths or spellings, they share one.

    Raises
    ------
    DataError
        When a file is no Parquet, or the parts of a table have a column in types that no type holds.
    """
    with ExitStack() as stack:
        readable = {t.name: [stack.enter_context(_plain(p, tables)) for p in t.parts] for t in group}
        schemas = {t.name: _schemas(t, readable[t.name]) for t in group}
        wide = _narrowed(group, readable, schemas, options)
        say_beyond_64_bits(report, [t.name for t in group], [c for c, t in wide.items() if t.beyond_64_bits])
        plans = {t.name: _plan(t, readable[t.name], schemas[t.name], options, wide) for t in group}
        for table in group:
            _say_what_differs(table, plans[table.name], report)
        _share(plans, readable, options, report)
        infos = {}
        for table in group:
            report(f"converting {table.name}")
            infos[table.name] = _written(table, readable[table.name], plans[table.name], tables, options, report)
    return infos


# -------------------------------------------------------------------------------------------------------------- types


def _schemas(table: TableSource, paths: list[Path]) -> list[Schema]:
    schemas = []
    for part, path in zip(table.parts, paths, strict=True):
        try:
            schemas.append(dict(parquet_schema(path)))
        except (pl.exceptions.PolarsError, OSError) as exc:
            raise _unreadable(part, exc) from exc
    return schemas


def _narrowed(
    group: list[TableSource], readable: dict[str, list[Path]], schemas: dict[str, list[Schema]], options: ReadOptions
) -> dict[str, ColumnType]:
    """Return what columns of types beyond 64 bits become in all the tables of a group."""
    named = {c for t in group for s in schemas[t.name] for c in s if options.stated_type(t.name, c)}
    frames = [
        (schema, scan_parquet(path, hive_partitioning=False))
        for table in group
        for path, schema in zip(readable[table.name], schemas[table.name], strict=True)
    ]
    try:
        return narrowed(frames, lambda c: options.keys.kind(c) != "", named)
    except (pl.exceptions.PolarsError, OSError):
        return {}  # which file can't be read is said when it is converted


def _plan(
    table: TableSource, paths: list[Path], schemas: list[Schema], options: ReadOptions, wide: dict[str, ColumnType]
) -> _PartsPlan:
    read_options = options.read.get(table.name, {})
    explode = read_options.get("explode")
    texts = {c for s in schemas for c, t in s.items() if c != explode and options.keys.is_text(c) and is_numeric(t)}
    stated = {c: wide[c] for s in schemas for c in s if c in wide and c != explode}
    stated |= {c: from_name("String", c) for c in texts}
    stated |= {
        c: from_name(a, c) for s in schemas for c in s if c != explode and (a := options.stated_type(table.name, c))
    }
    try:
        common = common_schema([{c: t for c, t in s.items() if c not in stated} for s in schemas])
    except IrreconcilableError as exc:
        raise _two_types(table, paths, schemas, exc) from None
    ordered = {c: stated[c].dtype if c in stated else common[c] for s in schemas for c in s}
    return _PartsPlan(schemas, ordered, stated, tuple(read_options.get("missing") or ()))


def _two_types(table: TableSource, paths: list[Path], schemas: list[Schema], exc: IrreconcilableError) -> DataError:
    descriptions = []
    for i in (exc.first, exc.second):
        values = scan_parquet(paths[i]).select(pl.col(exc.column).drop_nulls().head(1)).collect().to_series()
        example = f", such as {_shown(values.to_list()[0])}" if values.len() else ""
        descriptions.append(f"{schemas[i][exc.column]} in {place_of(table.parts[i])}{example}")
    return DataError(
        f"table {table.name!r}: column {exc.column!r} is {descriptions[0]}, and {descriptions[1]}; no type holds both",
        hint="rewrite one of the files with the other's type: [types] does not apply to lists and structs"
        if any(schemas[i][exc.column].is_nested() for i in (exc.first, exc.second))
        else f'name one in competition.toml: [types] "{table.name}.{exc.column}" = "String"',
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _say_what_differs(table: TableSource, plan: _PartsPlan, report: Report) -> None:
    """Report the parts that lack a column, and the columns whose parts have different types."""
    for column, dtype in plan.common.items():
        lacking = [
            p for p, s in zip(table.parts, plan.schemas, strict=True) if column not in s and column not in dict(p.keys)
        ]
        if lacking:
            more = f" and {len(lacking) - 1} more of {len(table.parts)} parts" if len(lacking) > 1 else ""
            report(f"{table.name}: column {column!r} is missing in {place_of(lacking[0])}{more}; it is null there")
        type_names = dict.fromkeys(str(_without_categories(s[column])) for s in plan.schemas if column in s)
        if any(s[column] != dtype for s in plan.schemas if column in s) and column not in plan.stated:
            types_text = (
                " and ".join(type_names) if len(type_names) > 1 else f"{next(iter(type_names))} of different categories"
            )
            note = zone_note([s[column] for s in plan.schemas if column in s])
            taken = f"{_without_categories(dtype)}{note}"
            report(f"{table.name}: column {column!r} is {types_text} in its parts; taken as {taken}")


def _without_categories(dtype: pl.DataType) -> Any:
    return "Enum" if isinstance(dtype, pl.Enum) else dtype


def _share(plans: dict[str, _PartsPlan], readable: dict[str, list[Path]], options: ReadOptions, report: Report) -> None:
    """Give columns of train and test one type where they differ: in width, in how they keep a text, or in kind.

    A text beside a number, a truth value or a time is read as delimited text would be: as these where all of its values
    are such, else all of the columns are text.
    """
    tables = list(plans)
    # One for all columns: a scan keeps what it has learned of its file.
    scans = {n: [scan_parquet(p, hive_partitioning=False) for p in paths] for n, paths in readable.items()}
    for column in dict.fromkeys(c for p in plans.values() for c in p.common):
        having = [n for n in tables if column in plans[n].common and column not in plans[n].stated]
        types = {n: plans[n].common[column] for n in having}
        if len(having) < 2 or all(t == types[having[0]] for t in types.values()):
            continue
        shared: pl.DataType | None = types[having[0]]
        for other in having[1:]:
            shared = None if shared is None else common_type(shared, types[other])
        types_by_table = ", ".join(f"{_without_categories(t)} in {n}" for n, t in types.items())
        names = " and ".join(having)
        # Whole numbers beside decimals go together as they are.
        if shared is None and not all(t.is_numeric() for t in types.values()):
            meant = {n: _text_read(column, t, scans[n], plans[n], options) for n, t in types.items()}
            shared = _shared_kind([m.dtype if m else types[n] for n, m in meant.items()])
            if shared is not None and shared.is_numeric() and not _holds_integers(column, shared, types, scans, plans):
                shared = pl.String()
            if shared is not None:
                report(f"{names}: column {column!r} is {types_by_table}; taken as {shared} in all")
                _take_as(column, shared, meant, plans)
                continue
        if shared is None or not all(is_lossless(t, shared) for t in types.values()):
            report(f"{names}: column {column!r} is {types_by_table}; left as they are")
            continue
        taken = f"{_without_categories(shared)} in all{zone_note(types.values())}"
        report(f"{names}: column {column!r} is {types_by_table}; taken as {taken}")
        for name in having:
            plans[name].common[column] = shared


def _text_read(
    column: str, dtype: pl.DataType, scans: list[pl.LazyFrame], plan: _PartsPlan, options: ReadOptions
) -> ColumnType | None:
    """Return what a column of texts would be taken for in a delimited file; None for a column of another type."""
    if not isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return None
    having = [f for f, s in zip(scans, plan.schemas, strict=True) if column in s]
    texts = pl.concat(f.select(pl.col(column).cast(pl.String).unique()) for f in having)
    texts_once = texts.unique().collect(engine="streaming")
    key = options.keys.kind(column)
    stats = column_stats(texts_once, missing=plan.missing, keys={column: key})[column]
    decided = replace(decide([stats], separator="\t", name=column, key=key), direct=False)
    return None if decided.dtype == pl.String or not stats.present else decided


def _shared_kind(types: Sequence[pl.DataType]) -> pl.DataType | None:
    """Return a type for values of several kinds: a number for truth values beside numbers, else text; None for lists.

    Examples
    --------
    >>> _shared_kind([pl.Boolean(), pl.Int64()]), _shared_kind([pl.Int64(), pl.Date()])
    (Int64, String)
    >>> _shared_kind([pl.List(pl.Int64()), pl.Int64()]) is None
    True
    """
    shared: pl.DataType | None = types[0]
    for other in types[1:]:
        one = shared
        shared = None if one is None else common_type(one, other)
        if shared is None and one is not None and pl.Boolean in (one, other):
            number = other if one == pl.Boolean else one
            shared = None if not number.is_numeric() else pl.Float64() if number.is_decimal() else number
    if shared is None and all(t.is_numeric() for t in types):
        return pl.Float64()
    plain = all(t.is_numeric() or t.is_temporal() or t in PLAIN for t in types)
    return shared if shared is not None else pl.String() if plain and pl.Duration not in types else None


def _holds_integers(
    column: str,
    shared: pl.DataType,
    types: Mapping[str, pl.DataType],
    scans: Mapping[str, list[pl.LazyFrame]],
    plans: Mapping[str, _PartsPlan],
) -> bool:
    """Whether a type holds the whole numbers of a column of several tables, all of their digits."""
    least, greatest = (-EXACT, EXACT) if shared.is_float() else (LEAST, GREATEST)
    if shared == pl.UInt64:
        return True
    for name in (n for n, t in types.items() if t.is_integer()):
        for scan, schema in zip(scans[name], plans[name].schemas, strict=True):
            if column not in schema:
                continue
            values = pl.col(column).cast(pl.Int128)
            ends = scan.select(values.min().alias("<"), values.max().alias(">"))
            low, high = ends.collect(engine="streaming").row(0)
            if low is not None and (low < least or high > greatest):
                return False
    return True


PLAIN = (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Null)


def _take_as(
    column: str, shared: pl.DataType, meant: Mapping[str, ColumnType | None], plans: dict[str, _PartsPlan]
) -> None:
    """Have a column read as one type in all tables; its texts as what they are taken for."""
    for name, read in meant.items():
        plan = plans[name]
        plan.common[column] = shared
        if read is not None and shared != pl.String():
            plan.stated[column] = read


# ------------------------------------------------------------------------------------------------------------- frames


def _written(
    table: TableSource, paths: list[Path], plan: _PartsPlan, tables: Path, options: ReadOptions, report: Report
) -> TableInfo:
    explode = options.read.get(table.name, {}).get("explode")
    out = dict(plan.common) if explode is None else exploded_schema(plan.common, explode, table.name)
    # Those of the items, which are columns only now.
    new = [c for c in out if c not in plan.stated]
    inside = {c: from_name("String", c) for c in new if options.keys.is_text(c) and is_numeric(out[c])}
    inside |= {c: from_name(a, c) for c in new if (a := options.stated_type(table.name, c))}
    out |= {c: t.dtype for c, t in inside.items()}
    folders = key_columns(table, out, options.keys)
    without = 0
    row_bytes, row_bytes_out = _row_bytes(table, paths, explode, options.block_bytes)

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal without
        for number, (part, path) in enumerate(zip(table.parts, paths, strict=True)):
            for piece in _slices(part, path, options.block_bytes, row_bytes):
                frame = without_tokens(_fitted(piece, plan, part, table.name), plan.missing)
                frame = _from_folders(frame, part, plan.schemas[number])
                if explode is not None:
                    frame, n_empty = exploded(frame, explode)
                    without += n_empty
                    frame = without_tokens(
                        _with_stated_types(frame, inside, part, table.name, plan.missing), plan.missing
                    )
                yield with_keys(frame, folders, number)

    path = tables / f"{table.name}.parquet"
    with ThreadPoolExecutor(1) as pool:
        digests = pool.map(sha256_of, table.parts)
        write_frames(table, path, frames(), out | dict(folders.schema), rows_per_group(row_bytes_out, options))
        sha256 = joined_sha(list(digests))
    say_without(report, table.name, explode or "", without)
    return info_of(table, path, sha256, options, beyond_64_bits=[c for c, t in plan.stated.items() if t.beyond_64_bits])


def _from_folders(frame: pl.DataFrame, part: SourceFile, schema: Schema) -> pl.DataFrame:
    """Fill the columns that a part lacks and that other parts have, where the name of its Hive folder tells them."""
    for name, text in part.keys:
        if name in schema or name not in frame.columns or text == HIVE_NULL:
            continue
        dtype = frame.schema[name]
        value = pl.Series(name, [text]).cast(dtype, strict=False)
        if value.has_nulls():
            raise DataError(
                f"{place_of(part)}: the folder says {name} = {text!r}, which is not of type {dtype}, "
                "as it is in the other parts",
                hint="name the folder as the values are written",
            )
        frame = frame.with_columns(pl.lit(value[0], dtype=dtype).alias(name))
    return frame


def _row_bytes(table: TableSource, paths: list[Path], explode: str | None, block_bytes: int) -> tuple[float, float]:
    """Return what a row takes in memory as it is and exploded, from the first ones of a few parts."""
    most = most_out = 1.0
    for part, path in list(zip(table.parts, paths, strict=True))[:3]:
        head = _read(part, path, (0, FIRST_ROWS), block_bytes)
        most = max(most, head.estimated_size() / max(1, head.height))
        if explode is not None and explode in head.columns:
            head, _ = exploded(head, explode)
        most_out = max(most_out, head.estimated_size() / max(1, head.height))
    return most, most_out


def _slices(part: SourceFile, path: Path, block_bytes: int, row_bytes: float) -> Iterator[pl.DataFrame]:
    """Yield a file's rows in order, in slices of about the same bytes."""
    try:
        rows = int(scan_parquet(path).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise _unreadable(part, exc) from exc
    start = 0
    while start < rows:
        size = max(1, int(SLICE_BLOCKS * block_bytes / row_bytes))
        frame = _read(part, path, (start, size), block_bytes)
        yield frame
        start += frame.height
        # Rows may get longer, or shorter.
        row_bytes = max(1.0, frame.estimated_size() / max(1, frame.height))


def _read(part: SourceFile, path: Path, rows: tuple[int, int], block_bytes: int) -> pl.DataFrame:
    """Read a number of rows from a first one on."""
    try:
        scan = scan_parquet(path, hive_partitioning=False)
        if path.stat().st_size <= LARGE_BLOCKS * block_bytes:
            return scan.slice(*rows).collect()
        names = list(parquet_schema(path))
        return pl.DataFrame([scan.select(c).slice(*rows).collect().to_series() for c in names])
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise _unreadable(part, exc) from exc


def _fitted(frame: pl.DataFrame, plan: _PartsPlan, part: SourceFile, table: str) -> pl.DataFrame:
    typed = _with_stated_types(frame, plan.stated, part, table, plan.missing)
    try:
        # As in text, what is no number is missing.
        frame = fitted(typed, plan.common)
        return frame.with_columns(cs.float().fill_nan(None)) if any(t.is_float() for t in frame.dtypes) else frame
    except pl.exceptions.PolarsError as exc:
        raise _misfit(part, table, exc, nested=any(t.is_nested() for t in plan.common.values())) from exc


def _with_stated_types(
    frame: pl.DataFrame, stated: dict[str, ColumnType], part: SourceFile, table: str, missing: tuple[str, ...]
) -> pl.DataFrame:
    """Return a frame with the columns that it has of those asked for, as they are asked for."""
    schema = frame.schema
    present = [c for c in stated if c in schema]
    try:
        return (
            frame.with_columns(_read_as(frame[c], stated[c], missing).alias(c) for c in present) if present else frame
        )
    except pl.exceptions.PolarsError as exc:
        raise _misfit(part, table, exc, nested=any(schema[c].is_nested() for c in present)) from exc


def _misfit(part: SourceFile, table: str, exc: Exception, *, nested: bool) -> DataError:
    first = str(exc).strip().splitlines()[0]
    fits = f'name a type that fits in competition.toml: [types] "{table}.COLUMN" = "String"'
    return DataError(
        f"table {table!r}: a value in {place_of(part)} does not fit the type that its column has in all: {first}",
        hint=f"{fits}; lists and structs can't be named one: rewrite the file" if nested else fits,
    )


def _read_as(values: pl.Series, stated: ColumnType, missing: tuple[str, ...]) -> pl.Series:
    if values.dtype.is_nested():
        raise pl.exceptions.InvalidOperationError(
            f"{values.name!r} holds {values.dtype}, which [types] can't make {stated.dtype.base_type()}"
        )
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        values = values.cast(pl.String)
    if values.dtype != pl.String:
        typed = values.cast(stated.dtype)
        if not stated.dtype.is_float() and stated.dtype != pl.String:
            # A cast cuts fractions, and the time from a day.
            changed = values.filter(typed.cast(values.dtype, strict=False).ne_missing(values))
            if changed.len():
                raise pl.exceptions.InvalidOperationError(
                    f"{values.name!r} has {changed[0]!r}, not of type {stated.dtype.base_type()}"
                )
        return typed
    typed = pl.DataFrame(values).select(stated.read(values.name, missing)).to_series()
    bad = present_texts(values.filter(typed.is_null() & values.is_not_null()), missing, stated.decimal)
    if bad.len():
        raise pl.exceptions.InvalidOperationError(
            f"{values.name!r} has {bad[0]!r}, not of type {stated.dtype.base_type()}"
        )
    return typed.alias(values.name)


# ------------------------------------------------------------------------------------------------------------- packed


@contextmanager
def _plain(source: SourceFile, folder: Path) -> Iterator[Path]:
    """Give a file that polars can read in pieces; what is packed is unpacked beside the tables meanwhile."""
    if source.member is None and PurePosixPath(source.name).suffix.lower() not in PACKED:
        yield source.path
        return
    import shutil

    with temporary_file(folder / "unpacked") as target:
        with storage_errors(target), source.opened() as file, target.open("wb") as out:
            shutil.copyfileobj(file, out, 1 << 20)
        yield target


def _unreadable(part: SourceFile, exc: Exception) -> WorkbenchError:
    if isinstance(exc, WorkbenchError):
        return exc
    first = (str(exc).strip().splitlines() or ["unreadable"])[0]
    return DataError(
        f"{place_of(part)} can't be converted to a table: {first}", hint="if the file is truncated, fetch it again"
    )
