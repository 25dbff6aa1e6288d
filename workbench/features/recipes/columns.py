"""Columns side by side: what several recipes give as one feature, and what rows lack."""

from __future__ import annotations

from typing import Unpack

import polars as pl

from workbench.data.competition import ROW
from workbench.features.recipes.arguments import Call, Columns, Naming, plain

__all__ = ["null_counts", "together"]


def together(rows: pl.LazyFrame, *parts: pl.LazyFrame | pl.Expr | list[pl.Expr]) -> pl.LazyFrame:
    """Return what several recipes give, as one frame, joined by the row key.

    Parameters
    ----------
    rows : LazyFrame
        The rows that the recipes were given; each has one line in the result.
    *parts : LazyFrame, or expressions over `rows`
        A frame without a line for a row gives it nulls.

    Raises
    ------
    FeatureError
        Where two of them give a column of the same name.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, counts, text_forms, together
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "town": ["x", "y", "x"]})
    >>> made = together(rows, counts(rows, "town"), text_forms(rows, "town", kinds="length"))
    >>> made.sort(ROW).collect().rows()
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
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise call.error(f"two of the parts give a column {twice!r}", "set prefix= or suffix= of one of them")
    result = rows.select(ROW, *expressions)
    for frame in frames:
        result = result.join(frame, on=ROW, how="left")
    return result


def null_counts(rows: pl.LazyFrame, columns: Columns | None = None, **naming: Unpack[Naming]) -> list[pl.Expr]:
    """Return how many values of a row are missing, as an expression over the rows: ``null_count``.

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
        One, UInt32. NaN is missing, too.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, null_counts
    >>> rows = pl.LazyFrame({ROW: [0, 1], "a": [1, None], "b": [float("nan"), None]})
    >>> rows.select(null_counts(rows)).collect()["null_count"].to_list()
    [1, 2]
    """
    call = Call.of("null_counts", rows, naming)
    named = call.columns([c for c in call.schema if c != ROW] if columns is None else columns)
    missing = [plain(c, call.schema[c]).is_null().cast(pl.UInt32) for c in named]
    return [pl.sum_horizontal(missing).cast(pl.UInt32).alias(call.name("null_count"))]
