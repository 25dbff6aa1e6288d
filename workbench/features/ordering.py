"""Put lines into row order in bounded memory, and check that there is one line per row.

polars' joins and group-bys do not keep the order of rows, and a sort would need memory for the whole result. Here each
line goes into a bucket by its row number, and a full bucket is ordered and yielded. Input that is in order passes
through. Buckets that exceed a memory budget are written to disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.cache import temporary_file
from workbench.core.frames import scan_ipc
from workbench.core.wording import counted
from workbench.data.competition import ROW

__all__ = ["ROWS_PER_BUCKET", "Buckets", "RowOrderError", "in_row_order", "row_problem"]

ROWS_PER_BUCKET = 256 * 1024
"""Also the size of row groups: polars streams by row group, so that this bounds its memory."""

MAX_SPAN_BUCKETS = 8
"""Frames over fewer buckets wait as they are, others are distributed to the buckets at once; see `_EarlyLines`."""

MAX_LINES_PER_ROW = 16
"""More lines than this times the rows are not counted: a join of all with all would go on for days."""

NO_LINE = np.uint32(2**32 - 1)

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint32]


class RowOrderError(Exception):
    """There is not exactly one line per row."""


@dataclass(frozen=True)
class _SpilledRun:
    """A file with the lines of several buckets: bucket b has ``counts[b]`` lines from ``starts[b]``."""

    path: Path
    starts: dict[int, int]
    counts: dict[int, int]


@dataclass
class Buckets:
    """Lines by the number of their bucket, in memory up to a budget and on disk beyond it.

    Parameters
    ----------
    folder : Path
        The folder for temporary files.
    budget_bytes : int
        The memory limit of the lines.
    """

    folder: Path
    budget_bytes: int
    _frames_by_bucket: dict[int, list[pl.DataFrame]] = field(default_factory=dict)
    _memory_bytes: int = 0
    _runs: list[_SpilledRun] = field(default_factory=list)
    _files: ExitStack = field(default_factory=ExitStack)

    def add(self, frame: pl.DataFrame, buckets: Ints) -> None:
        """Add each line of a frame to its bucket; lines of the same bucket stay in order."""
        if not frame.height:
            return
        order = np.argsort(buckets, kind="stable")
        sorted_frame, sorted_buckets = frame[order], buckets[order]
        edges = np.flatnonzero(np.diff(sorted_buckets, prepend=sorted_buckets[0] - 1))
        for start, end in zip(edges, [*edges[1:], len(order)], strict=True):
            bucket = int(sorted_buckets[start])
            self._frames_by_bucket.setdefault(bucket, []).append(sorted_frame.slice(int(start), int(end - start)))
        self._memory_bytes += int(sorted_frame.estimated_size())
        if self._memory_bytes > self.budget_bytes:
            self._spill()

    def _spill(self) -> None:
        path = self._files.enter_context(temporary_file(self.folder / "run"))
        starts, counts, frames, offset = {}, {}, [], 0
        for bucket in sorted(self._frames_by_bucket):
            starts[bucket], counts[bucket] = offset, sum(f.height for f in self._frames_by_bucket[bucket])
            frames += self._frames_by_bucket[bucket]
            offset += counts[bucket]
        self._runs.append(_SpilledRun(path, starts, counts))
        pl.concat(frames).write_ipc(path, compression="lz4", record_batch_size=ROWS_PER_BUCKET)
        self._frames_by_bucket, self._memory_bytes = {}, 0

    def pop(self, bucket: int) -> pl.DataFrame | None:
        """Remove and return the lines of a bucket; None if it has none."""
        spilled = [
            scan_ipc(run.path).slice(run.starts[bucket], run.counts[bucket]).collect()
            for run in self._runs
            if bucket in run.counts
        ]
        in_memory = self._frames_by_bucket.pop(bucket, [])
        self._memory_bytes -= sum(int(f.estimated_size()) for f in in_memory)
        return pl.concat([*spilled, *in_memory]) if spilled or in_memory else None

    def close(self) -> None:
        """Remove the temporary files."""
        self._files.close()


def in_row_order(frames: Iterable[pl.DataFrame], n_rows: int, buckets: Buckets) -> Iterator[pl.DataFrame]:
    """Yield the lines of `frames` in the order of their row keys 0 to `n_rows` - 1.

    Raises
    ------
    RowOrderError
        As soon as a row is found to be missing, repeated or out of range; `row_problem` describes the problem.
    """
    early_lines = _EarlyLines(n_rows, buckets)
    for frame in frames:
        if not frame.height:
            continue
        keys = _keys(frame, n_rows)
        if early_lines.is_next(keys):
            early_lines.n_yielded += len(keys)
            yield frame
            continue
        early_lines.add(frame, keys)
        while early_lines.has_next:
            yield early_lines.next()
    if early_lines.n_yielded < n_rows or early_lines.n_lines:
        raise RowOrderError


def _keys(frame: pl.DataFrame, n_rows: int) -> Keys:
    column = frame[ROW]
    if column.null_count() or not column.dtype.is_integer():
        raise RowOrderError
    if int(column.min()) < 0 or int(column.max()) >= n_rows:  # type: ignore[arg-type]
        raise RowOrderError
    return column.cast(pl.UInt32).to_numpy()


@dataclass(frozen=True)
class _EarlyFrame:
    """A frame with its row keys and their range."""

    frame: pl.DataFrame
    keys: Keys
    low: int
    high: int
    size_bytes: int


class _EarlyLines:
    """Lines that arrived early; rows 0 to `n_yielded` - 1 have been yielded.

    A frame over few buckets, as joins produce, is kept until its last bucket is yielded, so that each line is copied
    once. A frame over many buckets, as group-bys produce, is distributed to the buckets at once.
    """

    def __init__(self, n_rows: int, buckets: Buckets) -> None:
        self.n_rows, self.buckets = n_rows, buckets
        self.n_yielded = 0
        self.n_lines = 0
        self._frames: list[_EarlyFrame] = []
        self._frames_bytes = 0
        self._counts = np.zeros(n_rows // ROWS_PER_BUCKET + 1, np.int64)

    def is_next(self, keys: Keys) -> bool:
        """Tell whether these row keys are the next ones, in order, so that their frame can be yielded as it is."""
        start, stop = self.n_yielded, self.n_yielded + len(keys)
        may_be_next = not self.n_lines and keys[0] == start and keys[-1] == stop - 1
        return bool(may_be_next and np.array_equal(keys, np.arange(start, stop, dtype=np.uint32)))

    def add(self, frame: pl.DataFrame, keys: Keys) -> None:
        """Keep a frame, whose row keys are `keys`, until its lines are next."""
        low, high = int(keys.min()), int(keys.max())
        if low < self.n_yielded:
            raise RowOrderError
        first_bucket, last_bucket = low // ROWS_PER_BUCKET, high // ROWS_PER_BUCKET
        self.n_lines += len(keys)
        if self.n_yielded + self.n_lines > self.n_rows:
            # Before they fill the disk: a join of all with all has no end.
            raise RowOrderError
        if last_bucket - first_bucket < MAX_SPAN_BUCKETS:
            counts = np.bincount(keys // np.uint32(ROWS_PER_BUCKET) - np.uint32(first_bucket))
            self._counts[first_bucket : first_bucket + len(counts)] += counts
            for early_frame in _split_chunks(frame, keys):
                self._frames.append(early_frame)
                self._frames_bytes += early_frame.size_bytes
            if self._frames_bytes > self.buckets.budget_bytes:
                for early_frame in self._frames:
                    self._distribute(early_frame.frame, early_frame.keys)
                self._frames, self._frames_bytes = [], 0
        else:
            self._counts += np.bincount(keys // np.uint32(ROWS_PER_BUCKET), minlength=len(self._counts))
            self._distribute(frame, keys)

    def _distribute(self, frame: pl.DataFrame, keys: Keys) -> None:
        is_pending = keys >= self.n_yielded
        if not is_pending.all():
            frame, keys = frame.filter(pl.Series(is_pending)), keys[is_pending]
        self.buckets.add(frame, (keys // np.uint32(ROWS_PER_BUCKET)).astype(np.int64))

    @property
    def _end(self) -> int:
        return min((self.n_yielded // ROWS_PER_BUCKET + 1) * ROWS_PER_BUCKET, self.n_rows)

    @property
    def has_next(self) -> bool:
        bucket = self.n_yielded // ROWS_PER_BUCKET
        return self.n_yielded < self.n_rows and int(self._counts[bucket]) >= self._end - self.n_yielded

    def next(self) -> pl.DataFrame:
        """Return the lines up to the end of the current bucket, which must be complete."""
        start, n_lines = self.n_yielded, self._end - self.n_yielded
        bucket = start // ROWS_PER_BUCKET
        if self._counts[bucket] > n_lines:
            raise RowOrderError
        parts = []
        distributed = self.buckets.pop(bucket)
        if distributed is not None:
            parts.append(_BucketLines(distributed, _keys(distributed, self.n_rows) - np.uint32(start), None))
        for early_frame in self._frames:
            if early_frame.low < start + n_lines:
                # Negative positions wrap around to large numbers.
                positions = early_frame.keys - np.uint32(start)
                is_inside = early_frame.low >= start and early_frame.high < start + n_lines
                parts.append(
                    _BucketLines(early_frame.frame, positions, None)
                    if is_inside
                    else _BucketLines.within(early_frame.frame, positions, n_lines)
                )
        frame = _scatter(parts, n_lines) if _can_scatter(parts) else _gather(parts, n_lines)
        self.n_yielded += n_lines
        self.n_lines -= n_lines
        self._frames = [early_frame for early_frame in self._frames if early_frame.high >= self.n_yielded]
        self._frames_bytes = sum(early_frame.size_bytes for early_frame in self._frames)
        return frame


@dataclass(frozen=True)
class _BucketLines:
    """Lines of a frame (None for all) with their positions in a bucket."""

    frame: pl.DataFrame
    positions: Keys
    lines: Keys | None

    @classmethod
    def within(cls, frame: pl.DataFrame, positions: Keys, n_lines: int) -> _BucketLines:
        """Return the lines of a frame with a position in a bucket of `n_lines` lines."""
        lines = np.flatnonzero(positions < n_lines).astype(np.uint32)
        return cls(frame, positions[lines], lines)


def _split_chunks(frame: pl.DataFrame, keys: Keys) -> Iterator[_EarlyFrame]:
    """Split a frame into its chunks, whose arrays can be read without a copy."""
    start = 0
    for length in frame[ROW].chunk_lengths():
        chunk, chunk_keys = frame.slice(start, length), keys[start : start + length]
        start += length
        if length:
            low, high = int(chunk_keys.min()), int(chunk_keys.max())
            yield _EarlyFrame(chunk, chunk_keys, low, high, int(chunk.estimated_size()))


def _can_scatter(parts: Sequence[_BucketLines]) -> bool:
    """Tell whether all columns are numbers without nulls."""
    dtypes = parts[0].frame.dtypes if parts else []
    are_numbers = all(t.is_integer() or t.is_float() for t in dtypes) and not {pl.Int128, pl.UInt128} & set(dtypes)
    return are_numbers and not any(column.has_nulls() for part in parts for column in part.frame.iter_columns())


def _scatter(parts: Sequence[_BucketLines], n_lines: int) -> pl.DataFrame:
    """Return the lines in order by writing each number to its position, in half the time of `_gather`."""
    is_written = np.zeros(n_lines, np.bool_)
    columns = {c: np.empty(n_lines, s.to_numpy().dtype) for c, s in parts[0].frame.clear().to_dict().items()}
    for part in parts:
        positions = part.positions.astype(np.intp)
        is_written[positions] = True
        for name, column in columns.items():
            values = part.frame[name].to_numpy()
            column[positions] = values if part.lines is None else values[part.lines]
    if not is_written.all():
        raise RowOrderError
    return pl.DataFrame(columns, schema=parts[0].frame.schema)


def _gather(parts: Sequence[_BucketLines], n_lines: int) -> pl.DataFrame:
    """Return the lines in order, for columns of any type."""
    line_at = np.full(n_lines, NO_LINE, np.uint32)
    height = 0
    for part in parts:
        lines = np.arange(part.frame.height, dtype=np.uint32) if part.lines is None else part.lines
        line_at[part.positions] = lines + np.uint32(height)
        height += part.frame.height
    if (line_at == NO_LINE).any():
        raise RowOrderError
    return pl.concat([part.frame for part in parts], rechunk=True)[pl.Series(line_at)]


def row_problem(keys: Iterable[pl.Series], n_rows: int, n_train: int) -> str:
    """Describe the problems of a feature's row keys, with examples of rows; empty if there are none.

    Parameters
    ----------
    keys : iterable of Series
        The key column, in chunks of any size.
    n_rows, n_train : int
        The number of all rows, and of train rows, which come first.
    """
    counts = np.zeros(n_rows, np.uint32)
    n_lines = n_nulls = n_unknown = 0
    for chunk in keys:
        if not chunk.dtype.is_integer():
            return f"gives a row key that is a {chunk.dtype}, not a whole number"
        n_lines += len(chunk)
        n_nulls += chunk.null_count()
        values = chunk.drop_nulls().cast(pl.Int64, strict=False).to_numpy()
        in_range = (values >= 0) & (values < n_rows)
        n_unknown += int((~in_range).sum())
        np.add.at(counts, values[in_range], 1)
        if n_lines > MAX_LINES_PER_ROW * n_rows:
            repeated = _example_rows(counts > 1, n_train)
            return f"gives more than {n_lines:,} lines for {n_rows:,} rows: many lines repeat a row{repeated}"
    n_repeated = int(counts.sum()) - int((counts > 0).sum())
    n_missing = int((counts == 0).sum())
    problems = [
        f"{counted(n_repeated, 'line repeats', 'lines repeat')} a row{_example_rows(counts > 1, n_train)}"
        * bool(n_repeated),
        f"{counted(n_missing, 'row is', 'rows are')} missing{_example_rows(counts == 0, n_train)}" * bool(n_missing),
        f"{counted(n_nulls, 'line has', 'lines have')} no row key" * bool(n_nulls),
        f"{counted(n_unknown, 'line has', 'lines have')} a row key out of range" * bool(n_unknown),
    ]
    problems = [text for text in problems if text]
    return f"gives {counted(n_lines, 'line')} for {counted(n_rows, 'row')}: {', '.join(problems)}" if problems else ""


def _example_rows(mask: npt.NDArray[np.bool_], n_train: int) -> str:
    first_rows = np.flatnonzero(mask)[:3]
    names = [f"train {r}" if r < n_train else f"test {r - n_train}" for r in first_rows]
    suffix = ", …" if int(mask.sum()) > len(first_rows) else ""
    return f" ({', '.join(names)}{suffix})"
