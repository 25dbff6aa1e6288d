"""Recipes for combining frames, and for counting missing values."""

from __future__ import annotations

from typing import Unpack

import polars as pl

from workbench.data.competition import ROW
from workbench.features.recipes.arguments import Call, Columns, Naming, normalized

__all__ = ["null_counts", "together"]


def together(rows: pl.LazyFrame, *parts: pl.LazyFrame | pl.Expr | list[pl.Expr]) -> pl.LazyFrame:
    """Return the results of several recipes as one frame, joined by the row key.

    Parameters
    ----------
    rows : LazyFrame
        The rows that the recipes were called with; the result has one line for each.
    *parts : LazyFrame, or expressions over `rows`
        The results of recipes. Rows without a line in a frame get nulls.

    Raises
    ------
    FeatureError
        If two of them have a column of the same name.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, counts, text_forms, together
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "town": ["x", "y", "x"]})
    >>> combined = together(rows, counts(rows, "town"), text_forms(rows, "town", kinds="length"))
    >>> combined.sort(ROW).collect().rows()
    [(0, 1, 2), (1, 1, 1), (2, 1, 2)]
    """
    call = Call.of("together", rows)
    expressions: list[pl.Expr] = []
    frames: list[pl.LazyFrame] = []
    for part in parts:
        if isinstance(part, pl.LazyFrame):
            frames.append(Call.of("together", part).rows)
        elif isinstance(part, pl.Expr):
            expressions.append(part)
        elif isinstance(part, list) and all(isinstance(e, pl.Expr) for e in part):
            expressions += part
        else:
            raise call.error(
                f"got a {type(part).__name__}", "give what recipes return: frames, or lists of expressions"
            )
    names = [e.meta.output_name() for e in expressions]
    for frame in frames:
        names += [name for name in frame.collect_schema() if name != ROW]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise call.error(f"two of the parts give a column {duplicate!r}", "set prefix= or suffix= of one of them")
    result = rows.select(ROW, *expressions)
    for frame in frames:
        result = result.join(frame, on=ROW, how="left")
    return result


def null_counts(rows: pl.LazyFrame, columns: Columns | None = None, **naming: Unpack[Naming]) -> list[pl.Expr]:
    """Return the number of missing values per row, as an expression over the rows: ``null_count``.

    Parameters
    ----------
    rows : LazyFrame
    columns : str or list of str, optional
        All but the row key by default.
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    list of Expr
        A single expression, UInt32. NaN counts as missing.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, null_counts
    >>> rows = pl.LazyFrame({ROW: [0, 1], "a": [1, None], "b": [float("nan"), None]})
    >>> rows.select(null_counts(rows)).collect()["null_count"].to_list()
    [1, 2]
    """
    call = Call.of("null_counts", rows, naming)
    names = call.columns([c for c in call.schema if c != ROW] if columns is None else columns)
    missing = [normalized(c, call.schema[c]).is_null().cast(pl.UInt32) for c in names]
    return [pl.sum_horizontal(missing).cast(pl.UInt32).alias(call.name("null_count"))]
