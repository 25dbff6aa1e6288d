"""A hash of texts that does not depend on the version of polars or numpy, or on the machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["hash_texts", "hashed_buckets"]

Hashes = npt.NDArray[np.uint64]

PRIME = 0x100000001B3
"""FNV's 64-bit prime; odd, so that it has an inverse modulo 2**64."""

INVERSE = pow(PRIME, -1, 2**64)


def hash_texts(texts: pl.Series) -> Hashes:
    """Return a 64-bit hash of the UTF-8 bytes of each text; null is hashed like the empty text.

    A polynomial in the bytes modulo 2**64, computed for all texts by one running sum, then mixed as in SplitMix64
    (Steele, Lea and Flood 2014).

    Examples
    --------
    >>> import polars as pl
    >>> [hex(h) for h in hash_texts(pl.Series(["a", "b", ""]))]
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
        polynomial = (running[ends[1:]] - running[ends[:-1]]) * inverse_powers[ends[:-1]]
        return _mix(polynomial + lengths.astype(np.uint64))


def _mix(value: Hashes) -> Hashes:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = value ^ (value >> np.uint64(31))
    return mixed


def hashed_buckets(text: pl.Expr, buckets: int) -> pl.Expr:
    """Return the bucket of each text by its hash, from 0 to buckets - 1."""

    def to_buckets(texts: pl.Series) -> pl.Series:
        return pl.Series(hash_texts(texts) % np.uint64(buckets)).cast(pl.UInt32)

    return text.map_batches(to_buckets, return_dtype=pl.UInt32, is_elementwise=True)
