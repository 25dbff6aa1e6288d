"""Texts: how long, of what characters, and which words or pieces of words, hashed into buckets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Unpack

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.data.competition import ROW
from workbench.features.recipes.arguments import Call, Columns, Naming
from workbench.features.recipes.hashing import hashed

__all__ = ["composed", "hashed_ngrams", "text_forms"]

LETTER = r"[\p{L}\p{M}\p{N}_\u{200c}\u{200d}]"
"""Marks too: vowels of Indic scripts and tones of Thai are marks, as are the joiners inside words no ends of them."""
WORD = rf"{LETTER}+"
ROWS_AT_ONCE = 20_000

FORMS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "length": lambda text: text.str.len_chars(),
    "words": lambda text: text.str.count_matches(WORD),
    "digits": lambda text: text.str.count_matches(r"\p{Nd}"),
    "punctuation": lambda text: text.str.count_matches(r"[\p{P}\p{S}]"),
    "upper_share": lambda text: _share(text.str.count_matches(r"\p{Lu}"), text.str.count_matches(r"\p{L}")),
    "digit_share": lambda text: _share(text.str.count_matches(r"\p{Nd}"), text.str.len_chars()),
    "word_length": lambda text: _share(text.str.count_matches(LETTER), text.str.count_matches(WORD)),
    "lines": lambda text: text.str.count_matches("\n") + 1,
}


def composed(text: pl.Expr) -> pl.Expr:
    """Return texts whose letters are composed: "é" in one character and "e" with an accent behind are the same."""
    # Normalising takes seven times as long as looking for letters beyond ASCII.
    is_plain = text.str.len_bytes() == text.str.len_chars()
    return pl.when(is_plain).then(text).otherwise(pl.when(~is_plain).then(text).str.normalize("NFC"))


def _share(part: pl.Expr, total: pl.Expr) -> pl.Expr:
    return pl.when(total > 0).then(part / total).cast(pl.Float32)


def text_forms(
    rows: pl.LazyFrame,
    columns: Columns,
    *,
    kinds: Columns = ("length", "words", "digits", "punctuation", "upper_share"),
    **naming: Unpack[Naming],
) -> list[pl.Expr]:
    """Return what a text looks like, as expressions over the rows: ``title_length``, ``title_words``.

    Parameters
    ----------
    rows : LazyFrame
    columns : str or list of str
    kinds : str or list of str
        Counts: "length" (characters), "words" (runs of letters, digits and _), "digits", "punctuation" (and symbols),
        "lines". Shares: "upper_share" (of the letters), "digit_share" (of the characters), "word_length" (the mean).
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    list of Expr
        UInt32 and Float32; null for null, and a share of nothing is null.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, text_forms
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "title": ["Buy 2, GET 1!", "", None]})
    >>> rows.select(text_forms(rows, "title")).collect().rows()
    [(13, 4, 2, 2, 0.6666666865348816), (0, 0, 0, 0, None), (None, None, None, None, None)]
    """
    call = Call.of("text_forms", rows, naming)
    wanted = call.chosen(kinds, list(FORMS), name="kinds")
    return [
        FORMS[kind](pl.col(column).cast(pl.String)).alias(call.name(column, kind))
        for column in call.texts(columns)
        for kind in wanted
    ]


def hashed_ngrams(
    rows: pl.LazyFrame,
    column: str,
    *,
    n: int | Sequence[int] = 1,
    of: Literal["words", "characters"] = "words",
    buckets: int = 64,
    signed: bool = False,
    **naming: Unpack[Naming],
) -> pl.LazyFrame:
    """Return how often n-grams of words or characters occur, hashed into columns: ``title_words_0`` and on.

    The hash is the workbench's own: the same with every version of polars and on every machine. The texts are taken
    some thousand at a time.

    Parameters
    ----------
    rows : LazyFrame
    column : str
        Texts; taken in lower case.
    n : int or list of int
        Words (runs of letters, digits and _) or characters in a row.
    of : str
        "words" or "characters".
    buckets : int
        The number of columns.
    signed : bool
        Whether half of the n-grams count negatively, so that those that share a column cancel on average instead of
        adding up (Weinberger et al. 2009).
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row, Int16 each; a text without an n-gram, or null, gives zeros.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, hashed_ngrams
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "title": ["red shoe, RED hat", "hat", None]})
    >>> hashed_ngrams(rows, "title", buckets=4).collect().rows()
    [(0, 3, 1, 0, 0), (1, 0, 1, 0, 0), (2, 0, 0, 0, 0)]
    """
    call = Call.of("hashed_ngrams", rows, naming)
    if not isinstance(column, str):
        raise call.error(f"column={column!r} must be one column's name", "call it once for each column")
    name = call.texts(column)[0]
    sizes = [call.at_least(size, 1, name="n") for size in ([n] if isinstance(n, int) else n)]
    if not sizes:
        raise call.error("n is empty", "write n=1, or n=[1, 2]")
    call.chosen(of, ("words", "characters"), name="of")
    call.at_least(buckets, 2, name="buckets")
    columns = [call.name(name, of, str(i)) for i in range(buckets)]

    def counted(frame: pl.DataFrame) -> pl.DataFrame:
        pieces = [
            pl.DataFrame(_counts(part["__text__"], sizes, of, buckets, signed=signed), schema=columns, orient="row")
            for part in frame.iter_slices(ROWS_AT_ONCE)
        ]
        counts = pl.concat(pieces) if pieces else pl.DataFrame(schema=dict.fromkeys(columns, pl.Int16))
        return pl.concat([frame.select(ROW), counts], how="horizontal")

    schema = {ROW: call.schema[ROW], **dict.fromkeys(columns, pl.Int16())}
    texts = rows.select(ROW, composed(pl.col(name).cast(pl.String).str.to_lowercase()).alias("__text__"))
    return texts.map_batches(counted, schema=schema, streamable=True)


def _counts(texts: pl.Series, sizes: Sequence[int], of: str, buckets: int, *, signed: bool) -> npt.NDArray[np.int16]:
    """Return (len(texts), buckets): how often each bucket is hit."""
    pieces = texts.str.extract_all(WORD if of == "words" else r"(?s).")
    tokens = pl.DataFrame({"text": np.arange(len(texts)), "token": pieces}).explode("token").drop_nulls()
    counts = np.zeros(len(texts) * buckets)
    for size in dict.fromkeys(sizes):
        grams, owner = _grams(tokens, size, " " if of == "words" else "")
        values = hashed(grams)
        # The lowest bit gives the sign; it has no part in the bucket.
        weights = 1.0 - 2.0 * (values & np.uint64(1)).astype(np.float64) if signed else None
        cells = owner * buckets + ((values >> np.uint64(1)) % np.uint64(buckets)).astype(np.int64)
        counts += np.bincount(cells, weights=weights, minlength=len(counts))
    return counts.clip(-32768, 32767).reshape(-1, buckets).astype(np.int16)


def _grams(tokens: pl.DataFrame, size: int, between: str) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """Return the n-grams and the text that each is of."""
    parts = [pl.col("token").shift(-i) for i in range(size)]
    gram = pl.concat_str(parts, separator=between)
    grams = tokens.select("text", gram.alias("gram"), within_text=pl.col("text") == pl.col("text").shift(-(size - 1)))
    within_text = grams.filter("within_text")
    return within_text["gram"], within_text["text"].to_numpy()
