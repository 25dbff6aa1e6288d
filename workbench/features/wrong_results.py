"""Hints for features that return something else than a frame or expressions, or that use pandas' methods."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

__all__ = ["describe_wrong_result", "polars_hint"]

EXPECTED_RESULT = "return a LazyFrame with ROW and the new columns, or a list of expressions over rows"

POLARS_BY_PANDAS = {
    "groupby": "group_by",
    "merge": "join",
    "assign": "with_columns",
    "apply": "map_elements of an expression",
    "fillna": "fill_null",
    "isna": "is_null of an expression",
    "isnull": "is_null of an expression",
    "sort_values": "sort",
    "drop_duplicates": "unique",
    "dropna": "drop_nulls",
    "astype": "cast",
    "loc": "filter and select",
    "iloc": "slice and select",
    "reset_index": "nothing: there is no index; the row key is ROW",
    "set_index": "nothing: there is no index; the row key is ROW",
    "value_counts": "group_by(…).len()",
    "values": "collect().to_numpy()",
    "shape": "collect().shape",
    "to_pandas": "collect().to_pandas()",
    "to_numpy": "collect().to_numpy()",
    "height": "collect().height",
    "to_dicts": "collect().to_dicts()",
    "to_dict": "collect().to_dict()",
    "iter_rows": "collect().iter_rows()",
    "get_column": "collect().get_column(…)",
    "isin": "is_in of an expression",
    "notna": "is_not_null of an expression",
    "notnull": "is_not_null of an expression",
    "nunique": "n_unique of an expression",
    "rename_axis": "nothing: there is no index; the row key is ROW",
    "iterrows": "collect().iter_rows()",
    "itertuples": "collect().iter_rows()",
    "copy": "nothing: frames don't change",
    "transform": "over of an expression",
}
"""Method of pandas -> its counterpart in polars."""


def describe_wrong_result(result: Any) -> tuple[str, str]:
    """Return a description of an invalid result of a feature, and a hint what to return instead."""
    kind, module = type(result).__name__, type(result).__module__.partition(".")[0]
    if result is None:
        return "nothing", f"does it end with return? {EXPECTED_RESULT}"
    if module == "pandas":
        return _describe_pandas(result, kind)
    if module == "polars":
        return _describe_polars(result, kind)
    return _describe_python(result, kind)


def _describe_polars(result: Any, kind: str) -> tuple[str, str]:
    """Return a description of the result, and a hint."""
    if isinstance(result, pl.Series):
        return (
            f"a polars Series, {result.name!r}",
            "return expressions over rows, or a frame with ROW: rows.select(ROW, …); of a Series "
            "pl.DataFrame({ROW: keys, 'name': series})",
        )
    problem = ": its .agg(…) is missing" if "GroupBy" in kind else ""
    return f"a polars {kind}{problem}", EXPECTED_RESULT


def _describe_python(result: Any, kind: str) -> tuple[str, str]:
    """Return a description of the result, and a hint."""
    if isinstance(result, np.ndarray):
        return (
            f"a numpy array, {result.shape}",
            "make a column of it, in the order of the rows' keys: return pl.DataFrame({ROW: keys, 'name': array})",
        )
    if isinstance(result, Mapping):
        return (
            f"a {kind} of {len(result)}",
            "name expressions by .alias and return them as a list: [pl.col('a').alias('name'), …]; of columns make a "
            "frame with ROW: pl.DataFrame({ROW: keys, 'name': values})",
        )
    if isinstance(result, Iterator):
        return f"a {kind}", f"return a list: return [… for …], or list(…); {EXPECTED_RESULT}"
    if isinstance(result, list | tuple | set | frozenset):
        return _describe_items(list(result), kind)
    return f"a {kind}", EXPECTED_RESULT


def _describe_pandas(result: Any, kind: str) -> tuple[str, str]:
    """Return a description of the result, and a hint."""
    description = f"a pandas {kind}"
    if kind == "DataFrame":
        return (
            f"{description}, {result.shape}",
            "features are polars frames: return pl.from_pandas(frame[[ROW, …]]), where ROW is still the rows' key, and "
            "a column (after set_index: reset_index first)",
        )
    if kind in ("Series", "Index"):
        return (
            description,
            "features are polars frames: return pl.DataFrame({ROW: keys, 'name': series.to_numpy()}), with the rows' "
            "keys in the order of the values",
        )
    return description, f"features are polars frames: pl.from_pandas(…); {EXPECTED_RESULT}"


def _describe_items(items: list[Any], kind: str) -> tuple[str, str]:
    """Return a description of the result, and a hint."""
    if not items:
        return f"an empty {kind}", f"if there is nothing to add, remove the feature; else {EXPECTED_RESULT}"
    non_expressions = [i for i in items if not isinstance(i, pl.Expr)]
    description = f"a {kind} of {len(items)}"
    if all(isinstance(i, pl.LazyFrame | pl.DataFrame) for i in items):
        return f"{description} frames", "join them by the row key: workbench.features.together(rows, *frames)"
    if kind in ("set", "frozenset") and not non_expressions:
        return f"{description} expressions", "a set has no order: return a list"
    example = non_expressions[0] if non_expressions else items[0]
    shown = f"a text, {example!r}" if isinstance(example, str) else f"a {type(example).__name__}"
    if isinstance(example, str):
        return f"{description} with {shown}", f"write pl.col({example!r}) for a column; {EXPECTED_RESULT}"
    if isinstance(example, int | float | bool | np.generic):
        return (
            f"{description} values",
            "make a column of them, in the order of the rows' keys: return pl.DataFrame({ROW: keys, 'name': values})",
        )
    return f"{description} with {shown}", EXPECTED_RESULT


def polars_hint(exc: BaseException) -> str:
    """Return a hint for an exception from using pandas' methods on a polars frame; empty for other exceptions."""
    if isinstance(exc, TypeError) and "LazyFrame is not subscriptable" in str(exc):
        return "rows and tables are polars LazyFrames: rows.select(ROW, 'x'), pl.col('x'); rows.collect()['x'] reads it"
    match = re.search(r"'(?:LazyFrame|DataFrame|Expr|Series)' object has no attribute '(\w+)'", str(exc))
    if not isinstance(exc, AttributeError) or match is None or match[1] not in POLARS_BY_PANDAS:
        return ""
    return f"rows and tables are polars LazyFrames: {POLARS_BY_PANDAS[match[1]]}"
