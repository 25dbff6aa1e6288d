"""The weights of rows: a column, or an expression of columns."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from workbench.core.errors import DataError
from workbench.core.row_expressions import named_columns, read_expression
from workbench.data.ingest.counting import column_stats
from workbench.data.ingest.types import decide
from workbench.rehearsal.input_file import InputFile
from workbench.rehearsal.labels import numbers

__all__ = ["weights_of"]


def weights_of(source: InputFile, weight: str, path: Path) -> pl.Series:
    """Return the weight of each row as a number.

    Parameters
    ----------
    source : InputFile
        The file at `path`.
    weight : str
        A column, or an expression of columns.

    Raises
    ------
    DataError
        When a weight is not a number, or negative.
    ConfigError
        When the expression is invalid or names an unknown column.
    """
    schema, where = source.frame.collect_schema(), f"{path}: --weight"
    columns = source.frame.select(named_columns(weight, schema, where=where)).collect()
    typed = pl.DataFrame([_with_inferred_type(columns[c], source) for c in columns.columns])
    if weight in schema:
        values = numbers(typed[weight])
    else:
        types = {c: str(typed.schema.get(c, t)) for c, t in schema.items()}
        values = typed.select(read_expression(weight, types, where=where).value).to_series()
    is_invalid = ~(values.is_finite() & (values >= 0)).fill_null(value=False)
    if is_invalid.any():
        row = int(is_invalid.arg_max() or 0)
        row_text = ", ".join(f"{name} = {value!r}" for name, value in columns.row(row, named=True).items())
        raise DataError(
            f"weight {weight!r} of {path} has {int(is_invalid.sum()):,} values that are negative or not numbers among "
            f"{len(values):,} rows, the first is row {row:,} ({row_text})",
            hint="remove those rows from the file first, or write an expression: coalesce(column, 1), max(column, 0)",
        )
    return values


def _with_inferred_type(series: pl.Series, source: InputFile) -> pl.Series:
    """Return a column of texts with the type that `wb fetch` would give it: numbers, booleans, dates or texts."""
    if source.form is None:
        return series
    stats = column_stats(series.to_frame())[series.name]
    column_type = decide([stats], decimal=source.form.decimal, separator=source.form.separator, name=series.name)
    if column_type.is_parsed_by_reader:  # polars can parse it
        return series.str.strip_chars().cast(column_type.dtype, strict=False)
    return series.to_frame().select(column_type.read(series.name)).to_series()
