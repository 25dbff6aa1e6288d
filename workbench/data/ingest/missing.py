"""Recognize missing values that ``[read.TABLE] missing`` names: texts, and numbers in every spelling.

>>> codes = pl.DataFrame({"x": ["-999", "-999.00", "-9.99e2", " -999", "-999,0", "-9990", "a"]})
>>> codes.select(is_token(pl.col("x"), ["-999"])).to_series().to_list()
[True, True, True, True, True, False, False]
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import polars as pl

__all__ = ["is_token", "token_numbers", "without_tokens"]

MAX_EXACT = 2.0**53
"""Beyond, a 64-bit float is the same for several integers: such tokens are only compared as text."""

PADDED = r"^[+-]?0\d"
DECIMAL_COMMA = r"^[+-]?\d+,\d*$"
AMBIGUOUS_COMMA = r"^[+-]?\d{1,3},\d{3}$"
"""The comma may be the decimal mark or a thousands separator."""


def token_numbers(tokens: Sequence[str]) -> list[float]:
    """Return the numbers among the tokens.

    Examples
    --------
    >>> token_numbers(["-999", "none", "9,5", "007"])
    [-999.0, 9.5]
    """
    numbers = []
    for token in tokens:
        text = token.strip()
        if re.match(DECIMAL_COMMA, text):
            text = text.replace(",", ".")
        if re.match(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$", text) and not re.match(PADDED, text):
            numbers.append(float(text))
    return [n for n in dict.fromkeys(numbers) if math.isfinite(n) and abs(n) < MAX_EXACT]


def is_token(text: pl.Expr, tokens: Sequence[str], decimal: str = "") -> pl.Expr:
    """Return a boolean expression: whether a text is one of the tokens, or equal to one as a number; null is False.

    Parameters
    ----------
    text : Expr
        An expression of type String.
    tokens : sequence of str
    decimal : str
        The meaning of a comma in numbers: "," the decimal mark, "1,000" a thousands separator; "" if unknown.
    """
    stripped = text.str.strip_chars()
    is_equal = text.is_in(list(tokens)) | stripped.is_in([t.strip() for t in tokens])
    numbers = token_numbers(tokens)
    if numbers:
        with_point: pl.Expr = pl.when(~stripped.str.contains(PADDED)).then(stripped)
        if decimal == "1,000":
            with_point = with_point.str.replace_all(",", "", literal=True)
        else:
            has_decimal_comma = with_point.str.contains(DECIMAL_COMMA)
            if decimal != ",":
                has_decimal_comma &= ~with_point.str.contains(AMBIGUOUS_COMMA)
            with_decimal_point = with_point.str.replace(",", ".", literal=True)
            with_point = pl.when(has_decimal_comma).then(with_decimal_point).otherwise(with_point)
        is_equal |= with_point.cast(pl.Float64, strict=False).is_in(numbers).fill_null(value=False)
    return is_equal.fill_null(value=False)


def without_tokens(frame: pl.DataFrame, tokens: Sequence[str]) -> pl.DataFrame:
    """Return a frame with null in place of the tokens, in columns of texts and of numbers."""
    if not tokens:
        return frame
    return frame.with_columns(
        pl.when(~is_missing).then(pl.col(name)).alias(name)
        for name, dtype in frame.schema.items()
        if (is_missing := _is_token_in_column(name, dtype, tokens)) is not None
    )


def _is_token_in_column(name: str, dtype: pl.DataType, tokens: Sequence[str]) -> pl.Expr | None:
    """Return a boolean expression: whether a column's value is a token; None for other types than texts and numbers."""
    column = pl.col(name)
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return is_token(column.cast(pl.String), tokens)
    numbers = token_numbers(tokens)
    if not dtype.is_numeric() or not numbers:
        return None
    # Tokens are below 2**53, where the cast to a float is exact.
    return column.cast(pl.Float64).is_in(numbers).fill_null(value=False)
