"""A session log from a seed, in the shape of a shop's: sessions of a few events with a long tail, popular items, three types.

Events lie in the order of their sessions, as the logs of such competitions do, and of time within one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from workbench.core.cache import file_sha256
from workbench.data.competition import Manifest, TableInfo, write_manifest

__all__ = ["write_competition", "write_log"]

CHUNK_EVENTS = 2_000_000
ITEMS = 1_000_000
START_MS = 1_659_304_800_000
WEEKS_MS = 4 * 7 * 24 * 3600 * 1000
SCHEMA = {"event": pl.Int64, "session": pl.Int32, "aid": pl.Int32, "ts": pl.Int64, "type": pl.Int8, "y": pl.Int8}

DEFINITION = """slug = "log"
platform = "rehearsal"
task = "binary"
id = "event"
target = "y"
metric = "auc"
[tables]
train = "train"
test = "test"
sample_submission = false
[cv]
scheme = "kfold"
folds = 5
seed = 42
"""


def write_log(path: Path, events: int, *, seed: int, first_session: int = 0, first_event: int = 0) -> int:
    """Write a log of about so many events, whole sessions only; return how many they are."""
    rng = np.random.default_rng(seed)
    written = 0

    def chunks(with_columns, predicate, n_rows, batch_size):
        nonlocal written
        session = first_session
        while written < events:
            lengths = np.minimum(np.ceil(rng.pareto(1.1, CHUNK_EVENTS // 10) * 4 + 1), 500).astype(np.int64)
            ends = np.cumsum(lengths)
            lengths = lengths[: int(np.searchsorted(ends, min(CHUNK_EVENTS, events - written))) + 1]
            n = int(lengths.sum())
            ids = np.repeat(np.arange(session, session + len(lengths)), lengths)
            starts = START_MS + rng.integers(0, WEEKS_MS, len(lengths))
            gaps = (rng.pareto(0.9, n) * 20_000).clip(500, 36 * 3600 * 1000).astype(np.int64)
            passed = np.cumsum(gaps)
            first = np.cumsum(lengths) - lengths
            passed -= np.repeat(passed[first], lengths)
            aid = (ITEMS * rng.random(n) ** 3).astype(np.int64)
            kind = np.searchsorted([0.90, 0.975], rng.random(n))
            y = rng.random(n) < 0.1 + 0.2 * (kind > 0)
            frame = pl.DataFrame(
                {
                    "event": np.arange(first_event + written, first_event + written + n),
                    "session": ids,
                    "aid": aid,
                    "ts": np.repeat(starts, lengths) + passed,
                    "type": kind,
                    "y": y,
                }
            ).cast(SCHEMA)
            written += n
            session += len(lengths)
            yield frame if with_columns is None else frame.select(with_columns)

    register_io_source(chunks, schema=SCHEMA).sink_parquet(path, row_group_size=256 * 1024, compression="lz4")
    return written


def write_competition(folder: Path, events: int) -> None:
    """Write a competition "log" of so many events, a tenth of them test, with tables and manifest as fetch leaves them."""
    tables = folder / "data" / "tables"
    tables.mkdir(parents=True)
    (folder / "experiments").mkdir()
    (folder / "competition.toml").write_text(DEFINITION)
    n_train = write_log(tables / "train.parquet", events - events // 10, seed=1)
    last = int(pl.scan_parquet(tables / "train.parquet").select(pl.col("session").max()).collect().item())
    write_log(tables / "whole.parquet", events // 10, seed=2, first_session=last + 1, first_event=n_train)
    pl.scan_parquet(tables / "whole.parquet").drop("y").sink_parquet(
        tables / "test.parquet", row_group_size=256 * 1024, compression="lz4"
    )
    (tables / "whole.parquet").unlink()
    write_manifest(tables, Manifest({name: _info(tables / f"{name}.parquet") for name in ("train", "test")}))


def _info(path: Path) -> TableInfo:
    frame, stat, sha256 = pl.scan_parquet(path), path.stat(), file_sha256(path)
    return TableInfo(
        name=path.stem,
        source=path.name,
        source_sha256=sha256,
        source_bytes=stat.st_size,
        rows=int(frame.select(pl.len()).collect().item()),
        dtypes={name: str(dtype) for name, dtype in frame.collect_schema().items()},
        sha256=sha256,
        size_bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
    )
