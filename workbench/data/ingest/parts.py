"""Convert Parquet files to tables, in slices, with common types for all parts and for train and test.

For any slice, polars loads the columns of a complete row group, and files often have only one. So large files are read
one column at a time: then one compressed column of a row group is in memory, and a slice of all columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl
import polars.selectors as cs

from workbench.core.context import RunContext
from workbench.core.errors import DataError, WorkbenchError, storage_errors
from workbench.core.frames import parquet_schema, scan_parquet
from workbench.core.temporary import temporary_file
from workbench.data.competition import TableInfo
from workbench.data.ingest.conversion_job import ConversionJob
from workbench.data.ingest.counting import column_stats
from workbench.data.ingest.folder_columns import HIVE_NULL, folder_columns, with_folder_columns
from workbench.data.ingest.formats import PACKED
from workbench.data.ingest.keys import is_numeric
from workbench.data.ingest.large import MAX_INT64, MIN_INT64, narrowed_types
from workbench.data.ingest.missing import without_tokens
from workbench.data.ingest.nested import exploded, exploded_schema, report_empty_lists
from workbench.data.ingest.reconciled import (
    MAX_EXACT,
    IrreconcilableError,
    common_schema,
    common_type,
    fitted,
    is_lossless,
    zone_note,
)
from workbench.data.ingest.sources import ReadOptions, TableSource, joined_sha, place_of
from workbench.data.ingest.text import SourceFile, sha256_of
from workbench.data.ingest.types import ColumnType, decide, from_name, present_texts
from workbench.data.ingest.writing import info_of, report_beyond_64_bits, rows_per_group, write_frames

__all__ = ["parquet_tables"]

Schema = dict[str, pl.DataType]

HEAD_ROWS = 2_000
MAX_SHOWN = 60
"""The characters of a value in a message."""
SLICE_BLOCKS = 4
"""The size of a slice in memory, in blocks of `ReadOptions.block_bytes`: by default 64 MB."""
LARGE_FILE_BLOCKS = 16
"""A file of more blocks is read one column at a time."""


@dataclass(frozen=True)
class _PartsPlan:
    """The types of a table.

    Attributes
    ----------
    schemas : list of Schema
        Those of the parts.
    common : Schema
        That of the table, before lists are exploded.
    stated : dict
        The types by column that competition.toml names, or that keys and large integers need.
    missing : tuple of str
        The missing values of ``[read.TABLE]``.
    """

    schemas: list[Schema]
    common: Schema
    stated: dict[str, ColumnType]
    missing: tuple[str, ...] = ()


def parquet_tables(group: list[TableSource], job: ConversionJob) -> dict[str, TableInfo]:
    """Convert tables of Parquet files that share the types of their columns, where one type holds all values.

    Raises
    ------
    DataError
        When a file is not Parquet, or the parts of a table have a column in types without a common one.
    """
    options, context = job.options, job.context
    with ExitStack() as stack:
        paths_by_table = {t.name: [stack.enter_context(_unpacked(p, job.tables)) for p in t.parts] for t in group}
        schemas = {t.name: _schemas(t, paths_by_table[t.name]) for t in group}
        narrowed = _narrowed_types(group, paths_by_table, schemas, options)
        report_beyond_64_bits(context, [t.name for t in group], [c for c, t in narrowed.items() if t.beyond_64_bits])
        plans = {t.name: _plan(t, paths_by_table[t.name], schemas[t.name], options, narrowed) for t in group}
        for table in group:
            _report_differences(table, plans[table.name], context)
        _share_types(plans, paths_by_table, options, context)
        infos = {}
        for table in group:
            context.say(f"converting {table.name}")
            infos[table.name] = _convert_table(table, paths_by_table[table.name], plans[table.name], job)
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


def _narrowed_types(
    group: list[TableSource], paths: dict[str, list[Path]], schemas: dict[str, list[Schema]], options: ReadOptions
) -> dict[str, ColumnType]:
    """Return the new types, in all tables of a group, of integer columns beyond 64 bits."""
    stated_columns = {c for t in group for s in schemas[t.name] for c in s if options.stated_type(t.name, c)}
    frames = [
        (schema, scan_parquet(path, hive_partitioning=False))
        for table in group
        for path, schema in zip(paths[table.name], schemas[table.name], strict=True)
    ]
    try:
        return narrowed_types(frames, lambda c: options.keys.kind(c) != "", stated_columns)
    except (pl.exceptions.PolarsError, OSError):
        return {}  # the conversion reports the file that can't be read


def _plan(
    table: TableSource, paths: list[Path], schemas: list[Schema], options: ReadOptions, narrowed: dict[str, ColumnType]
) -> _PartsPlan:
    """Return the types of a table; `narrowed` holds those of integer columns wider than 64 bits, by column."""
    read_options = options.read.get(table.name, {})
    explode = read_options.get("explode")
    text_columns = {
        c for s in schemas for c, t in s.items() if c != explode and options.keys.is_text(c) and is_numeric(t)
    }
    stated_types = {c: narrowed[c] for s in schemas for c in s if c in narrowed and c != explode}
    stated_types |= {c: from_name("String", c) for c in text_columns}
    stated_types |= {
        c: from_name(name, c)
        for s in schemas
        for c in s
        if c != explode and (name := options.stated_type(table.name, c))
    }
    try:
        common_types = common_schema([{c: t for c, t in s.items() if c not in stated_types} for s in schemas])
    except IrreconcilableError as exc:
        raise _irreconcilable_error(table, paths, schemas, exc) from None
    ordered_schema = {c: stated_types[c].dtype if c in stated_types else common_types[c] for s in schemas for c in s}
    return _PartsPlan(schemas, ordered_schema, stated_types, tuple(read_options.get("missing") or ()))


def _irreconcilable_error(
    table: TableSource, paths: list[Path], schemas: list[Schema], exc: IrreconcilableError
) -> DataError:
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
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _report_differences(table: TableSource, plan: _PartsPlan, context: RunContext) -> None:
    """Report columns that some parts lack or have in another type."""
    for column, dtype in plan.common.items():
        lacking_parts = [
            p for p, s in zip(table.parts, plan.schemas, strict=True) if column not in s and column not in dict(p.keys)
        ]
        if lacking_parts:
            more = f" and {len(lacking_parts) - 1} more of {len(table.parts)} parts" if len(lacking_parts) > 1 else ""
            context.say(
                f"{table.name}: column {column!r} is missing in {place_of(lacking_parts[0])}{more}; it is null there"
            )
        type_names = dict.fromkeys(str(_without_categories(s[column])) for s in plan.schemas if column in s)
        if any(s[column] != dtype for s in plan.schemas if column in s) and column not in plan.stated:
            types_text = (
                " and ".join(type_names) if len(type_names) > 1 else f"{next(iter(type_names))} of different categories"
            )
            note = zone_note([s[column] for s in plan.schemas if column in s])
            common = f"{_without_categories(dtype)}{note}"
            context.say(f"{table.name}: column {column!r} is {types_text} in its parts; taken as {common}")


def _without_categories(dtype: pl.DataType) -> Any:
    """Return a type for messages: the categories of an Enum may be many."""
    return "Enum" if isinstance(dtype, pl.Enum) else dtype


def _share_types(
    plans: dict[str, _PartsPlan], paths: dict[str, list[Path]], options: ReadOptions, context: RunContext
) -> None:
    """Change the plans so that columns of train and test have one type, where a type holds the values of both.

    A column of texts in one table, and of numbers, booleans or times in another, is parsed like delimited text if all
    texts are such values; otherwise it is text in all tables.
    """
    # Created once: a scan caches the metadata of its file.
    scans = {n: [scan_parquet(p, hive_partitioning=False) for p in paths[n]] for n in plans}
    for column in dict.fromkeys(c for p in plans.values() for c in p.common):
        table_names = [n for n, plan in plans.items() if column in plan.common and column not in plan.stated]
        types = {n: plans[n].common[column] for n in table_names}
        if len(table_names) < 2 or all(t == types[table_names[0]] for t in types.values()):
            continue
        shared_type: pl.DataType | None = types[table_names[0]]
        for other in table_names[1:]:
            shared_type = None if shared_type is None else common_type(shared_type, types[other])
        types_by_table = ", ".join(f"{_without_categories(t)} in {n}" for n, t in types.items())
        names = " and ".join(table_names)
        # Integers and decimals stay different types.
        if shared_type is None and not all(t.is_numeric() for t in types.values()):
            parsed_types = {n: _type_of_texts(column, t, scans[n], plans[n], options) for n, t in types.items()}
            shared_type = _common_kind(
                [parsed_type.dtype if parsed_type else types[n] for n, parsed_type in parsed_types.items()]
            )
            if (
                shared_type is not None
                and shared_type.is_numeric()
                and not _holds_integers(column, shared_type, types, scans, plans)
            ):
                shared_type = pl.String()
            if shared_type is not None:
                context.say(f"{names}: column {column!r} is {types_by_table}; taken as {shared_type} in all")
                _set_type(column, shared_type, parsed_types, plans)
                continue
        if shared_type is None or not all(is_lossless(t, shared_type) for t in types.values()):
            context.say(f"{names}: column {column!r} is {types_by_table}; left as they are")
            continue
        common_text = f"{_without_categories(shared_type)} in all{zone_note(types.values())}"
        context.say(f"{names}: column {column!r} is {types_by_table}; taken as {common_text}")
        for name in table_names:
            plans[name].common[column] = shared_type


def _type_of_texts(
    column: str, dtype: pl.DataType, scans: list[pl.LazyFrame], plan: _PartsPlan, options: ReadOptions
) -> ColumnType | None:
    """Return the type that texts would have in a delimited file; None if they stay text, or the column has no texts."""
    if not isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return None
    scans_with_column = [scan for scan, schema in zip(scans, plan.schemas, strict=True) if column in schema]
    texts = pl.concat(scan.select(pl.col(column).cast(pl.String).unique()) for scan in scans_with_column)
    unique_texts = texts.unique().collect(engine="streaming")
    key = options.keys.kind(column)
    stats = column_stats(unique_texts, missing=plan.missing, keys={column: key})[column]
    column_type = replace(decide([stats], separator="\t", name=column, key=key), is_parsed_by_reader=False)
    return None if column_type.dtype == pl.String or not stats.present else column_type


def _common_kind(types: Sequence[pl.DataType]) -> pl.DataType | None:
    """Return a type for values of several kinds: numeric for booleans and numbers, else String; None for nested types.

    Examples
    --------
    >>> _common_kind([pl.Boolean(), pl.Int64()]), _common_kind([pl.Int64(), pl.Date()])
    (Int64, String)
    >>> _common_kind([pl.List(pl.Int64()), pl.Int64()]) is None
    True
    """
    shared_type: pl.DataType | None = types[0]
    for other in types[1:]:
        one = shared_type
        shared_type = None if one is None else common_type(one, other)
        if shared_type is None and one is not None and pl.Boolean in (one, other):
            number = other if one == pl.Boolean else one
            shared_type = None if not number.is_numeric() else pl.Float64() if number.is_decimal() else number
    if shared_type is None and all(t.is_numeric() for t in types):
        return pl.Float64()
    are_plain = all(t.is_numeric() or t.is_temporal() or t in PLAIN for t in types)
    return shared_type if shared_type is not None else pl.String() if are_plain and pl.Duration not in types else None


def _holds_integers(
    column: str,
    shared: pl.DataType,
    types: Mapping[str, pl.DataType],
    scans: Mapping[str, list[pl.LazyFrame]],
    plans: Mapping[str, _PartsPlan],
) -> bool:
    """Tell whether a type holds the integers of a column in all tables exactly."""
    lowest, highest = (-MAX_EXACT, MAX_EXACT) if shared.is_float() else (MIN_INT64, MAX_INT64)
    if shared == pl.UInt64:
        return True
    for name in (n for n, t in types.items() if t.is_integer()):
        for scan, schema in zip(scans[name], plans[name].schemas, strict=True):
            if column not in schema:
                continue
            values = pl.col(column).cast(pl.Int128)
            extremes = scan.select(values.min().alias("min"), values.max().alias("max"))
            low, high = extremes.collect(engine="streaming").row(0)
            if low is not None and (low < lowest or high > highest):
                return False
    return True


PLAIN = (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Null)


def _set_type(
    column: str, shared: pl.DataType, parsed: Mapping[str, ColumnType | None], plans: dict[str, _PartsPlan]
) -> None:
    """Set the type of a column in all plans; where it has texts, they are parsed as the types in `parsed`."""
    for name, column_type in parsed.items():
        plan = plans[name]
        plan.common[column] = shared
        if column_type is not None and shared != pl.String():
            plan.stated[column] = column_type


# ------------------------------------------------------------------------------------------------------------- frames


def _convert_table(table: TableSource, paths: list[Path], plan: _PartsPlan, job: ConversionJob) -> TableInfo:
    options, explode = job.options, job.read_options(table).get("explode")
    schema = dict(plan.common) if explode is None else exploded_schema(plan.common, explode, table.name)
    # The fields of exploded items are columns only now.
    fields = [c for c in schema if c not in plan.stated]
    field_types = {c: from_name("String", c) for c in fields if options.keys.is_text(c) and is_numeric(schema[c])}
    field_types |= {c: from_name(name, c) for c in fields if (name := options.stated_type(table.name, c))}
    schema |= {c: t.dtype for c, t in field_types.items()}
    columns_from_folders = folder_columns(table, schema, options.keys)
    n_empty_lists = 0
    row_bytes, exploded_row_bytes = _row_bytes(table, paths, explode, options.block_bytes)

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal n_empty_lists
        for number, (part, path) in enumerate(zip(table.parts, paths, strict=True)):
            for rows in _slices(part, path, options.block_bytes, row_bytes):
                frame = without_tokens(_fitted(rows, plan, part, table.name), plan.missing)
                frame = _fill_from_folders(frame, part, plan.schemas[number])
                if explode is not None:
                    frame, n_empty = exploded(frame, explode)
                    n_empty_lists += n_empty
                    frame = _with_stated_types(frame, field_types, part, table.name, plan.missing)
                    frame = without_tokens(frame, plan.missing)
                yield with_folder_columns(frame, columns_from_folders, number)

    path = job.parquet_path(table)
    with ThreadPoolExecutor(1) as pool:
        digests = pool.map(sha256_of, table.parts)
        group_rows = rows_per_group(exploded_row_bytes, options)
        written = write_frames(table, path, frames(), schema | dict(columns_from_folders.schema), group_rows)
        sha256 = joined_sha(list(digests))
    report_empty_lists(job.context, table.name, explode or "", n_empty_lists)
    beyond_64_bits = [c for c, t in plan.stated.items() if t.beyond_64_bits]
    return info_of(table, written, sha256, options, beyond_64_bits=beyond_64_bits)


def _fill_from_folders(frame: pl.DataFrame, part: SourceFile, schema: Schema) -> pl.DataFrame:
    """Fill columns that other parts have with the values in the names of this part's Hive folders."""
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
    """Return the bytes of a row in memory, before and after exploding: the largest of the heads of three parts."""
    row_bytes = exploded_row_bytes = 1.0
    for part, path in list(zip(table.parts, paths, strict=True))[:3]:
        head = _read(part, path, (0, HEAD_ROWS), block_bytes)
        row_bytes = max(row_bytes, head.estimated_size() / max(1, head.height))
        if explode is not None and explode in head.columns:
            head, _ = exploded(head, explode)
        exploded_row_bytes = max(exploded_row_bytes, head.estimated_size() / max(1, head.height))
    return row_bytes, exploded_row_bytes


def _slices(part: SourceFile, path: Path, block_bytes: int, row_bytes: float) -> Iterator[pl.DataFrame]:
    """Yield a file's rows in order, in slices of about equal size in memory."""
    try:
        n_rows = int(scan_parquet(path).select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise _unreadable(part, exc) from exc
    start = 0
    while start < n_rows:
        slice_rows = max(1, int(SLICE_BLOCKS * block_bytes / row_bytes))
        frame = _read(part, path, (start, slice_rows), block_bytes)
        yield frame
        start += frame.height
        # The next rows may be longer or shorter.
        row_bytes = max(1.0, frame.estimated_size() / max(1, frame.height))


def _read(part: SourceFile, path: Path, rows: tuple[int, int], block_bytes: int) -> pl.DataFrame:
    """Read rows, given as the first row and the number of rows."""
    try:
        scan = scan_parquet(path, hive_partitioning=False)
        if path.stat().st_size <= LARGE_FILE_BLOCKS * block_bytes:
            return scan.slice(*rows).collect()
        names = list(parquet_schema(path))
        return pl.DataFrame([scan.select(c).slice(*rows).collect().to_series() for c in names])
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise _unreadable(part, exc) from exc


def _fitted(frame: pl.DataFrame, plan: _PartsPlan, part: SourceFile, table: str) -> pl.DataFrame:
    typed = _with_stated_types(frame, plan.stated, part, table, plan.missing)
    try:
        # NaN is a missing value, as in delimited text.
        frame = fitted(typed, plan.common)
        return frame.with_columns(cs.float().fill_nan(None)) if any(t.is_float() for t in frame.dtypes) else frame
    except pl.exceptions.PolarsError as exc:
        raise _misfit(part, table, exc, nested=any(t.is_nested() for t in plan.common.values())) from exc


def _with_stated_types(
    frame: pl.DataFrame, stated: dict[str, ColumnType], part: SourceFile, table: str, missing: tuple[str, ...]
) -> pl.DataFrame:
    """Cast or parse the columns of a frame that have a stated type."""
    schema = frame.schema
    present_columns = [c for c in stated if c in schema]
    try:
        return (
            frame.with_columns(_read_as(frame[c], stated[c], missing).alias(c) for c in present_columns)
            if present_columns
            else frame
        )
    except pl.exceptions.PolarsError as exc:
        raise _misfit(part, table, exc, nested=any(schema[c].is_nested() for c in present_columns)) from exc


def _misfit(part: SourceFile, table: str, exc: Exception, *, nested: bool) -> DataError:
    first = str(exc).strip().splitlines()[0]
    hint = f'name a type that fits in competition.toml: [types] "{table}.COLUMN" = "String"'
    return DataError(
        f"table {table!r}: a value in {place_of(part)} does not fit the type that its column has in all: {first}",
        hint=f"{hint}; lists and structs can't be named one: rewrite the file" if nested else hint,
    )


def _read_as(values: pl.Series, stated: ColumnType, missing: tuple[str, ...]) -> pl.Series:
    """Cast values to a stated type, or parse texts as it; raise if one would become null or change."""
    if values.dtype.is_nested():
        raise pl.exceptions.InvalidOperationError(
            f"{values.name!r} holds {values.dtype}, which [types] can't make {stated.dtype.base_type()}"
        )
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        values = values.cast(pl.String)
    if values.dtype != pl.String:
        typed = values.cast(stated.dtype)
        if not stated.dtype.is_float() and stated.dtype != pl.String:
            # A cast truncates floats, and times to days.
            changed_values = values.filter(typed.cast(values.dtype, strict=False).ne_missing(values))
            if changed_values.len():
                raise pl.exceptions.InvalidOperationError(
                    f"{values.name!r} has {changed_values[0]!r}, not of type {stated.dtype.base_type()}"
                )
        return typed
    typed = pl.DataFrame(values).select(stated.read(values.name, missing)).to_series()
    invalid_texts = present_texts(values.filter(typed.is_null() & values.is_not_null()), missing, stated.decimal)
    if invalid_texts.len():
        raise pl.exceptions.InvalidOperationError(
            f"{values.name!r} has {invalid_texts[0]!r}, not of type {stated.dtype.base_type()}"
        )
    return typed.alias(values.name)


# ---------------------------------------------------------------------------------------------------------- unpacking


@contextmanager
def _unpacked(source: SourceFile, folder: Path) -> Iterator[Path]:
    """Yield the path of a file that polars can scan; a packed file is unpacked to `folder` within the block."""
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
