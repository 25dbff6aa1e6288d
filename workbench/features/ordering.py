"""Lines that come in any order, put into row order in bounded memory, and checked: every row once.

polars' joins and group-bys do not keep the order of rows, and a sort holds the whole result. Here each line goes into
the bucket of its row number; a bucket that is full is sorted and passed on. Input that is nearly in order, as after a
join, passes through; what has to wait beyond a budget is written to disk in runs and read back bucket by bucket.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.competition import ROW

__all__ = ["ROWS_PER_BUCKET", "Buckets", "RowOrderError", "in_row_order", "row_problem"]

ROWS_PER_BUCKET = 256 * 1024
"""Also the rows of a row group: polars streams by the group, so groups of this size keep memory small."""

Ints = npt.NDArray[np.int64]


class RowOrderError(Exception):
    """The lines are not one per row."""


@dataclass(frozen=True)
class _Run:
    """A file of frames one behind the other; bucket b lies at ``starts[b]`` with ``counts[b]`` lines."""

    path: Path
    starts: dict[int, int]
    counts: dict[int, int]


@dataclass
class Buckets:
    """Frames by the number of their bucket, in memory up to a budget, beyond it on disk.

    Parameters
    ----------
    folder : Path
        Where what does not fit is written.
    budget_bytes : int
    """

    folder: Path
    budget_bytes: int
    filled: dict[int, int] = field(default_factory=dict)
    _held: dict[int, list[pl.DataFrame]] = field(default_factory=dict)
    _held_bytes: int = 0
    _runs: list[_Run] = field(default_factory=list)

    def add(self, frame: pl.DataFrame, buckets: Ints) -> None:
        """Put each line into its bucket; lines of one bucket keep their order."""
        if not frame.height:
            return
        order = np.argsort(buckets, kind="stable")
        moved, sorted_buckets = frame[order], buckets[order]
        edges = np.flatnonzero(np.diff(sorted_buckets, prepend=sorted_buckets[0] - 1))
        for start, end in zip(edges, [*edges[1:], len(order)], strict=True):
            bucket = int(sorted_buckets[start])
            self._held.setdefault(bucket, []).append(moved.slice(int(start), int(end - start)))
            self.filled[bucket] = self.filled.get(bucket, 0) + int(end - start)
        self._held_bytes += int(moved.estimated_size())
        if self._held_bytes > self.budget_bytes:
            self._spill()

    def _spill(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f".run.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"
        starts, counts, frames, at = {}, {}, [], 0
        for bucket in sorted(self._held):
            starts[bucket], counts[bucket] = at, sum(f.height for f in self._held[bucket])
            frames += self._held[bucket]
            at += counts[bucket]
        self._runs.append(_Run(path, starts, counts))
        pl.concat(frames).write_ipc(path, compression="lz4", record_batch_size=ROWS_PER_BUCKET)
        self._held, self._held_bytes = {}, 0

    def take(self, bucket: int) -> pl.DataFrame | None:
        """Return the lines of a bucket, and forget them; None where it has none."""
        self.filled.pop(bucket, None)
        pieces = [
            pl.scan_ipc(run.path).slice(run.starts[bucket], run.counts[bucket]).collect()
            for run in self._runs
            if bucket in run.counts
        ]
        held = self._held.pop(bucket, [])
        self._held_bytes -= sum(int(f.estimated_size()) for f in held)
        return pl.concat([*pieces, *held]) if pieces or held else None

    def close(self) -> None:
        """Remove what was written."""
        for run in self._runs:
            run.path.unlink(missing_ok=True)


def in_row_order(frames: Iterable[pl.DataFrame], n_rows: int, buckets: Buckets) -> Iterator[pl.DataFrame]:
    """Give the lines of `frames` in the order of their row keys 0 to `n_rows` - 1.

    Raises
    ------
    RowOrderError
        As soon as a row is seen to be missing, repeated or unknown; `row_problem` says which.
    """
    done = 0
    for frame in frames:
        if not frame.height:
            continue
        keys = _keys(frame, n_rows)
        if not buckets.filled and keys[0] == done and bool((np.diff(keys) == 1).all()):
            done += len(keys)
            yield frame
            continue
        if int(keys.min()) < done:
            raise RowOrderError
        buckets.add(frame, keys // ROWS_PER_BUCKET)
        while buckets.filled and buckets.filled.get(done // ROWS_PER_BUCKET, 0) >= _end(done, n_rows) - done:
            yield _emptied(buckets, done, n_rows)
            done = _end(done, n_rows)
            if done == n_rows:
                break
    if done < n_rows or buckets.filled:
        raise RowOrderError


def _keys(frame: pl.DataFrame, n_rows: int) -> Ints:
    column = frame[ROW]
    if column.null_count() or not column.dtype.is_integer():
        raise RowOrderError
    keys = column.to_numpy().astype(np.int64)
    if int(keys.min()) < 0 or int(keys.max()) >= n_rows:
        raise RowOrderError
    return keys


def _end(done: int, n_rows: int) -> int:
    return min((done // ROWS_PER_BUCKET + 1) * ROWS_PER_BUCKET, n_rows)


def _emptied(buckets: Buckets, done: int, n_rows: int) -> pl.DataFrame:
    frame = buckets.take(done // ROWS_PER_BUCKET)
    if frame is None:
        raise RowOrderError
    frame = frame.sort(ROW)
    if not np.array_equal(frame[ROW].to_numpy(), np.arange(done, _end(done, n_rows))):
        raise RowOrderError
    return frame


def row_problem(keys: Iterable[pl.Series], n_rows: int, n_train: int) -> str:
    """Say what is wrong with the row keys of a feature's lines, with the numbers of some rows; empty for nothing.

    Parameters
    ----------
    keys : iterable of Series
        The key column, in pieces of any size.
    n_rows, n_train : int
        Rows in all, and train rows, which come first.
    """
    counts = np.zeros(n_rows, np.uint32)
    lines = nulls = unknown = 0
    for piece in keys:
        lines += len(piece)
        nulls += piece.null_count()
        values = piece.drop_nulls().cast(pl.Int64, strict=False).to_numpy()
        known = (values >= 0) & (values < n_rows)
        unknown += int((~known).sum())
        np.add.at(counts, values[known], 1)
    repeated = int(counts.sum()) - int((counts > 0).sum())
    missing = int((counts == 0).sum())
    found = [
        f"{repeated:,} lines repeat a row{_named(counts > 1, n_train)}" * bool(repeated),
        f"{missing:,} rows are missing{_named(counts == 0, n_train)}" * bool(missing),
        f"{nulls:,} lines have no row key" * bool(nulls),
        f"{unknown:,} lines have a row key that there is not" * bool(unknown),
    ]
    found = [text for text in found if text]
    return f"gives {lines:,} lines for {n_rows:,} rows: {', '.join(found)}" if found else ""


def _named(chosen: npt.NDArray[np.bool_], n_train: int) -> str:
    first = np.flatnonzero(chosen)[:3]
    names = [f"train {r}" if r < n_train else f"test {r - n_train}" for r in first]
    more = ", …" if int(chosen.sum()) > len(first) else ""
    return f" ({', '.join(names)}{more})"
