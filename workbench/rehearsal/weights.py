"""What each row of a file weighs: a column, or an expression of columns."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from workbench.core.errors import DataError
from workbench.core.row_expressions import named_columns, read_expression
from workbench.data.ingest.counting import column_stats
from workbench.data.ingest.types import decide
from workbench.rehearsal.labels import numbers
from workbench.rehearsal.opened import Opened

__all__ = ["weights_of"]


def weights_of(source: Opened, weight: str, path: Path) -> pl.Series:
    """Return the weight of each row as a number.

    Parameters
    ----------
    source : Opened
        The file at `path`.
    weight : str

    Raises
    ------
    DataError
        When a weight is no number from 0 up.
    ConfigError
        When the expression can't be read, or names a column that the file does not have.
    """
    schema, where = source.frame.collect_schema(), f"{path}: --weight"
    columns = source.frame.select(named_columns(weight, schema, where=where)).collect()
    typed = pl.DataFrame([_as_fetched(columns[c], source) for c in columns.columns])
    if weight in schema:
        values = numbers(typed[weight])
    else:
        types = {c: str(typed.schema.get(c, t)) for c, t in schema.items()}
        values = typed.select(read_expression(weight, types, where=where).value).to_series()
    wrong = ~(values.is_finite() & (values >= 0)).fill_null(value=False)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        read = ", ".join(f"{name} = {value!r}" for name, value in columns.row(row, named=True).items())
        raise DataError(
            f"weight {weight!r} of {path} has {int(wrong.sum()):,} values that are not numbers from 0 up among "
            f"{len(values):,} rows, the first is row {row:,} ({read})",
            hint="remove those rows from the file first, or write an expression: coalesce(column, 1), max(column, 0)",
        )
    return values


def _as_fetched(series: pl.Series, source: Opened) -> pl.Series:
    """Return a column of texts as what `wb fetch` makes of it: numbers, yes and no, dates, else texts."""
    if source.form is None:
        return series
    stats = column_stats(series.to_frame())[series.name]
    meant = decide([stats], decimal=source.form.decimal, separator=source.form.separator, name=series.name)
    if meant.direct:  # as polars reads it by itself
        return series.str.strip_chars().cast(meant.dtype, strict=False)
    return series.to_frame().select(meant.read(series.name)).to_series()
