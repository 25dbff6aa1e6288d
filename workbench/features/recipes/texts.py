"""Recipes for texts: lengths, kinds of characters, and hashed n-grams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Unpack

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.data.competition import ROW
from workbench.features.recipes.arguments import Call, Columns, Naming
from workbench.features.recipes.hashing import hash_texts

__all__ = ["hashed_ngrams", "normalize_unicode", "text_forms"]

LETTER = r"[\p{L}\p{M}\p{N}_\u{200c}\u{200d}]"
"""Includes marks (vowels of Indic scripts, tones of Thai) and joiners, which occur within words."""
WORD = rf"{LETTER}+"
TEXTS_AT_ONCE = 20_000

FORMS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "length": lambda text: text.str.len_chars(),
    "words": lambda text: text.str.count_matches(WORD),
    "digits": lambda text: text.str.count_matches(r"\p{Nd}"),
    "punctuation": lambda text: text.str.count_matches(r"[\p{P}\p{S}]"),
    "upper_share": lambda text: _ratio(text.str.count_matches(r"\p{Lu}"), text.str.count_matches(r"\p{L}")),
    "digit_share": lambda text: _ratio(text.str.count_matches(r"\p{Nd}"), text.str.len_chars()),
    "word_length": lambda text: _ratio(text.str.count_matches(LETTER), text.str.count_matches(WORD)),
    "lines": lambda text: text.str.count_matches("\n") + 1,
}


def normalize_unicode(text: pl.Expr) -> pl.Expr:
    """Return texts in Unicode normal form NFC, in which "é" is one character."""
    # Normalising takes seven times as long as looking for non-ASCII characters.
    is_ascii = text.str.len_bytes() == text.str.len_chars()
    return pl.when(is_ascii).then(text).otherwise(pl.when(~is_ascii).then(text).str.normalize("NFC"))


def _ratio(part: pl.Expr, total: pl.Expr) -> pl.Expr:
    return pl.when(total > 0).then(part / total).cast(pl.Float32)


def text_forms(
    rows: pl.LazyFrame,
    columns: Columns,
    *,
    kinds: Columns = ("length", "words", "digits", "punctuation", "upper_share"),
    **naming: Unpack[Naming],
) -> list[pl.Expr]:
    """Return counts and ratios of characters and words, as expressions: ``title_length``, ``title_words``.

    Parameters
    ----------
    rows : LazyFrame
    columns : str or list of str
    kinds : str or list of str
        Counts: "length" (characters), "words" (runs of letters, digits and _), "digits", "punctuation" (and symbols),
        "lines". Ratios: "upper_share" (of the letters), "digit_share" (of the characters), "word_length" (the mean).
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    list of Expr
        UInt32 and Float32; null for null, and for ratios with a zero denominator.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, text_forms
    >>> rows = pl.LazyFrame({ROW: [0, 1, 2], "title": ["Buy 2, GET 1!", "", None]})
    >>> rows.select(text_forms(rows, "title")).collect().rows()
    [(13, 4, 2, 2, 0.6666666865348816), (0, 0, 0, 0, None), (None, None, None, None, None)]
    """
    call = Call.of("text_forms", rows, naming)
    kind_names = call.chosen(kinds, list(FORMS), name="kinds")
    return [
        FORMS[kind](pl.col(column).cast(pl.String)).alias(call.name(column, kind))
        for column in call.texts(columns)
        for kind in kind_names
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
    """Return the counts of n-grams of words or characters, hashed into columns: ``title_words_0``, ….

    The hash is the same in every version of polars and on every machine. Texts are processed in batches.

    Parameters
    ----------
    rows : LazyFrame
    column : str
        Texts, which are converted to lower case.
    n : int or list of int
        The lengths of n-grams, in words (runs of letters, digits and _) or characters.
    of : str
        "words" or "characters".
    buckets : int
        The number of columns.
    signed : bool
        Whether half of the n-grams count negatively, so that collisions cancel on average instead of adding up
        (Weinberger et al. 2009).
    **naming
        `prefix`, `suffix`.

    Returns
    -------
    LazyFrame
        One line per row, Int16; zeros for null and for a text without n-grams.

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

    def count_batch(frame: pl.DataFrame) -> pl.DataFrame:
        batches = [
            pl.DataFrame(_counts(part["__text__"], sizes, of, buckets, signed=signed), schema=columns, orient="row")
            for part in frame.iter_slices(TEXTS_AT_ONCE)
        ]
        counts = pl.concat(batches) if batches else pl.DataFrame(schema=dict.fromkeys(columns, pl.Int16))
        return pl.concat([frame.select(ROW), counts], how="horizontal")

    schema = {ROW: call.schema[ROW], **dict.fromkeys(columns, pl.Int16())}
    texts = rows.select(ROW, normalize_unicode(pl.col(name).cast(pl.String).str.to_lowercase()).alias("__text__"))
    return texts.map_batches(count_batch, schema=schema, streamable=True)


def _counts(texts: pl.Series, sizes: Sequence[int], of: str, buckets: int, *, signed: bool) -> npt.NDArray[np.int16]:
    """Return the number of n-grams by text and bucket, (len(texts), buckets)."""
    token_lists = texts.str.extract_all(WORD if of == "words" else r"(?s).")
    tokens = pl.DataFrame({"text": np.arange(len(texts)), "token": token_lists}).explode("token").drop_nulls()
    counts = np.zeros(len(texts) * buckets)
    for size in dict.fromkeys(sizes):
        ngrams, text_index = _ngrams(tokens, size, " " if of == "words" else "")
        hashes = hash_texts(ngrams)
        # The lowest bit is used for the sign only, the others for the bucket.
        weights = 1.0 - 2.0 * (hashes & np.uint64(1)).astype(np.float64) if signed else None
        cells = text_index * buckets + ((hashes >> np.uint64(1)) % np.uint64(buckets)).astype(np.int64)
        counts += np.bincount(cells, weights=weights, minlength=len(counts))
    return counts.clip(-32768, 32767).reshape(-1, buckets).astype(np.int16)


def _ngrams(tokens: pl.DataFrame, size: int, separator: str) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """Return the n-grams and the index of the text of each."""
    parts = [pl.col("token").shift(-i) for i in range(size)]
    ngram = pl.concat_str(parts, separator=separator)
    ngrams = tokens.select(
        "text", ngram.alias("ngram"), within_text=pl.col("text") == pl.col("text").shift(-(size - 1))
    )
    within_text = ngrams.filter("within_text")
    return within_text["ngram"], within_text["text"].to_numpy()
