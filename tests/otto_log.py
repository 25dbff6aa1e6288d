"""Session logs in the shape of OTTO's, from a seed: how long sessions are, how items and types are spread, how it drifts.

OTTO's own (the dataset's page, for 216 million events): 12.9 million sessions of 17 events in the mean, 6 in the median,
39 in nine of ten, 210 in ninety-nine of a hundred, 500 at most; 1.86 million items of 117 events in the mean, 20 in the
median; 90 % clicks, 8 % carts, 2 % orders; four weeks and one of test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.io.plugins import register_io_source

__all__ = ["EVENTS_PER_ITEM", "KINDS", "write_sessions"]

EVENTS_PER_ITEM = 112
KINDS = ("clicks", "carts", "orders")
CHUNK_SESSIONS = 200_000
START_S = 1_659_304_800
DAY_S = 24 * 3600
FAMILY = 32
"""So many items are alike: what a visit is about."""

SCHEMA = {"session": pl.Int32, "aid": pl.Int32, "ts": pl.Int64, "type": pl.Int8}


def write_sessions(path: Path, events: int, *, seed: int = 1, weeks: int = 4) -> int:
    """Write a log of about so many events, whole sessions only, one after the other; return how many they are.

    The columns are session, aid, ts (milliseconds since 1970) and type (0 clicks, 1 carts, 2 orders).
    """
    rng = np.random.default_rng(seed)
    items = max(FAMILY, events // EVENTS_PER_ITEM)
    written = 0

    def chunks(with_columns, predicate, n_rows, batch_size):
        nonlocal written
        session = 0
        while written < events:
            lengths = _lengths(rng, CHUNK_SESSIONS)
            lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), events - written)) + 1]
            frame = _sessions(rng, lengths, items, weeks * 7 * DAY_S, session)
            written += frame.height
            session += len(lengths)
            yield frame if with_columns is None else frame.select(with_columns)

    register_io_source(chunks, schema=SCHEMA).sink_parquet(path, row_group_size=1 << 20, compression="lz4")
    return written


def _lengths(rng: np.random.Generator, n: int) -> npt.NDArray[np.int64]:
    return np.clip(np.exp(1.79 + 1.46 * rng.standard_normal(n)), 1, 500).astype(np.int64)


def _sessions(
    rng: np.random.Generator, lengths: npt.NDArray[np.int64], items: int, span_s: int, first: int
) -> pl.DataFrame:
    n, ends = int(lengths.sum()), np.cumsum(lengths)
    starts = ends - lengths
    within = np.arange(n) - np.repeat(starts, lengths)
    # A visit after the other: some seconds between two clicks, hours or days between two visits.
    is_visit = (rng.random(n) < 0.12) | (within == 0)
    gaps = np.where(is_visit, rng.pareto(1.1, n) * 6 * 3600, np.exp(3.6 + 1.1 * rng.standard_normal(n))).clip(
        1, 10 * DAY_S
    )
    gaps[starts] = rng.random(len(lengths)) * span_s * 0.9
    passed = np.cumsum(gaps)
    passed -= np.repeat(passed[starts] - gaps[starts], lengths)
    passed = np.minimum(passed, span_s - 1 + within / 1000)
    # What a visit is about, the popular things first; what is popular moves on by the day.
    families = max(1, items // FAMILY)
    about = (families * rng.random(n) ** 2.2).astype(np.int64)
    about = (about + (passed / DAY_S).astype(np.int64) * (families // 200)) % families
    visit = np.maximum.accumulate(np.where(is_visit, np.arange(n), 0))
    about = np.where(rng.random(n) < 0.75, about[visit], about)
    aid = about * FAMILY + (FAMILY * rng.random(n) ** 1.8).astype(np.int64)
    # Three of ten come back to something seen before in the session.
    back = (rng.random(n) < 0.3) & (within > 0)
    source = np.where(back, np.arange(n) - 1 - (within * rng.random(n) ** 3).astype(np.int64), np.arange(n))
    for _ in range(12):
        source = source[source]
    aid = aid[source] % items
    chance = rng.random(n)
    kind = np.where(back, (chance > 0.76).astype(np.int8) + (chance > 0.94), (chance > 0.985).astype(np.int8))
    return pl.DataFrame(
        {
            "session": np.repeat(np.arange(first, first + len(lengths)), lengths),
            "aid": aid,
            "ts": START_S * 1000 + (passed * 1000).astype(np.int64),
            "type": kind,
        }
    ).cast(SCHEMA)
