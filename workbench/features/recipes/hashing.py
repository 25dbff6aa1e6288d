"""A hash of texts that stays the same, whatever the version of polars or numpy, and on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["hashed", "hashed_buckets"]

Hashes = npt.NDArray[np.uint64]

PRIME = 0x100000001B3
"""FNV's 64-bit prime; odd, so that it has an inverse modulo 2**64."""

INVERSE = pow(PRIME, -1, 2**64)


def hashed(texts: pl.Series) -> Hashes:
    """Return a 64-bit hash of each text's UTF-8 bytes; null as the empty text.

    The polynomial of the bytes modulo 2**64, all texts at once by one running sum, then mixed as in SplitMix64
    (Steele, Lea and Flood 2014).

    Examples
    --------
    >>> import polars as pl
    >>> [hex(h) for h in hashed(pl.Series(["a", "b", ""]))]
    ['0x277d6aac59fb1532', '0x866fa905eca98845', '0xe220a8397b1dcdaf']
    """
    filled = texts.fill_null("")
    lengths = filled.str.len_bytes().to_numpy().astype(np.int64)
    data = np.frombuffer(filled.str.join("").item().encode() if len(filled) else b"", np.uint8)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(len(data), PRIME, np.uint64)) if len(data) else np.zeros(0, np.uint64)
        running = np.concatenate([np.zeros(1, np.uint64), np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers)])
        inverse_powers = np.concatenate([np.ones(1, np.uint64), np.cumprod(np.full(len(data), INVERSE, np.uint64))])
        value = (running[ends[1:]] - running[ends[:-1]]) * inverse_powers[ends[:-1]]
        return _mixed(value + lengths.astype(np.uint64))


def _mixed(value: Hashes) -> Hashes:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = value ^ (value >> np.uint64(31))
    return mixed


def hashed_buckets(text: pl.Expr, buckets: int) -> pl.Expr:
    """Return the bucket of each text's hash, from 0 to buckets - 1."""

    def of(texts: pl.Series) -> pl.Series:
        return pl.Series(hashed(texts) % np.uint64(buckets)).cast(pl.UInt32)

    return text.map_batches(of, return_dtype=pl.UInt32, is_elementwise=True)
