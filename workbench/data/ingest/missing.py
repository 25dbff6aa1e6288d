"""What ``[read.TABLE] missing`` names: texts that stand for no value, and numbers in every spelling.

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

EXACT = 2.0**53
"""From here on, several whole numbers are the same 64-bit fraction: tokens are compared as texts only."""

PADDED = r"^[+-]?0\d"
DECIMAL_COMMA = r"^[+-]?\d+,\d*$"
GROUP_OF_THREE = r"^[+-]?\d{1,3},\d{3}$"
"""A decimal comma, or one between thousands: only the column tells."""


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
    return [n for n in dict.fromkeys(numbers) if math.isfinite(n) and abs(n) < EXACT]


def is_token(text: pl.Expr, tokens: Sequence[str], decimal: str = "") -> pl.Expr:
    """Return whether a text is one of the tokens, or a number that one of them is; False where there is no text.

    Parameters
    ----------
    text : Expr
        Of text.
    tokens : sequence of str
    decimal : str
        What a comma in a number is: "," the decimal mark, "1,000" between thousands; else each number decides.
    """
    stripped = text.str.strip_chars()
    same = text.is_in(list(tokens)) | stripped.is_in([t.strip() for t in tokens])
    numbers = token_numbers(tokens)
    if numbers:
        plain: pl.Expr = pl.when(~stripped.str.contains(PADDED)).then(stripped)
        if decimal == "1,000":
            plain = plain.str.replace_all(",", "", literal=True)
        else:
            has_mark = plain.str.contains(DECIMAL_COMMA)
            if decimal != ",":
                has_mark &= ~plain.str.contains(GROUP_OF_THREE)
            plain = pl.when(has_mark).then(plain.str.replace(",", ".", literal=True)).otherwise(plain)
        same |= plain.cast(pl.Float64, strict=False).is_in(numbers).fill_null(value=False)
    return same.fill_null(value=False)


def without_tokens(frame: pl.DataFrame, tokens: Sequence[str]) -> pl.DataFrame:
    """Return a frame with null in place of the tokens, in its columns of texts and of numbers."""
    if not tokens:
        return frame
    return frame.with_columns(
        pl.when(~is_one).then(pl.col(name)).alias(name)
        for name, dtype in frame.schema.items()
        if (is_one := _is_one(name, dtype, tokens)) is not None
    )


def _is_one(name: str, dtype: pl.DataType, tokens: Sequence[str]) -> pl.Expr | None:
    """Return whether a column's value is one of the tokens; None for types that hold neither texts nor numbers."""
    column = pl.col(name)
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return is_token(column.cast(pl.String), tokens)
    numbers = token_numbers(tokens)
    if not dtype.is_numeric() or not numbers:
        return None
    # Below 2**53 no two whole numbers are one fraction.
    return column.cast(pl.Float64).is_in(numbers).fill_null(value=False)
