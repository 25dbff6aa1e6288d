"""Lines that come in any order, put into row order in bounded memory, and checked: every row once.

polars' joins and group-bys do not keep the order of rows, and a sort holds the whole result. Here each line goes into
the bucket of its row number; a bucket that is full is put in order and passed on. Input that is in order passes
through; what has to wait beyond a budget is written to disk in runs and read back bucket by bucket.
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
from workbench.data.competition import ROW

__all__ = ["ROWS_PER_BUCKET", "Buckets", "RowOrderError", "in_row_order", "row_problem"]

ROWS_PER_BUCKET = 256 * 1024
"""Also the rows of a row group: polars streams by the group, so groups of this size keep memory small."""

FEW_BUCKETS = 8
MISSING = np.uint32(2**32 - 1)

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint32]


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
    _held: dict[int, list[pl.DataFrame]] = field(default_factory=dict)
    _held_bytes: int = 0
    _runs: list[_Run] = field(default_factory=list)
    _files: ExitStack = field(default_factory=ExitStack)

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
        self._held_bytes += int(moved.estimated_size())
        if self._held_bytes > self.budget_bytes:
            self._spill()

    def _spill(self) -> None:
        path = self._files.enter_context(temporary_file(self.folder / "run"))
        starts, counts, frames, offset = {}, {}, [], 0
        for bucket in sorted(self._held):
            starts[bucket], counts[bucket] = offset, sum(f.height for f in self._held[bucket])
            frames += self._held[bucket]
            offset += counts[bucket]
        self._runs.append(_Run(path, starts, counts))
        pl.concat(frames).write_ipc(path, compression="lz4", record_batch_size=ROWS_PER_BUCKET)
        self._held, self._held_bytes = {}, 0

    def take(self, bucket: int) -> pl.DataFrame | None:
        """Return the lines of a bucket, and forget them; None where it has none."""
        pieces = [
            scan_ipc(run.path).slice(run.starts[bucket], run.counts[bucket]).collect()
            for run in self._runs
            if bucket in run.counts
        ]
        held = self._held.pop(bucket, [])
        self._held_bytes -= sum(int(f.estimated_size()) for f in held)
        return pl.concat([*pieces, *held]) if pieces or held else None

    def close(self) -> None:
        """Remove what was written."""
        self._files.close()


def in_row_order(frames: Iterable[pl.DataFrame], n_rows: int, buckets: Buckets) -> Iterator[pl.DataFrame]:
    """Give the lines of `frames` in the order of their row keys 0 to `n_rows` - 1.

    Raises
    ------
    RowOrderError
        As soon as a row is seen to be missing, repeated or unknown; `row_problem` says which.
    """
    waiting = _Waiting(n_rows, buckets)
    for frame in frames:
        if not frame.height:
            continue
        keys = _keys(frame, n_rows)
        if waiting.is_next(keys):
            waiting.done += len(keys)
            yield frame
            continue
        waiting.add(frame, keys)
        while waiting.has_next:
            yield waiting.next()
    if waiting.done < n_rows or waiting.lines:
        raise RowOrderError


def _keys(frame: pl.DataFrame, n_rows: int) -> Keys:
    column = frame[ROW]
    if column.null_count() or not column.dtype.is_integer():
        raise RowOrderError
    if int(column.min()) < 0 or int(column.max()) >= n_rows:  # type: ignore[arg-type]
        raise RowOrderError
    return column.cast(pl.UInt32).to_numpy()


@dataclass(frozen=True)
class _Held:
    frame: pl.DataFrame
    keys: Keys
    low: int
    high: int
    size_bytes: int


class _Waiting:
    """Lines that came before their turn; rows 0 to `done` - 1 have been given.

    A frame of few buckets, as a join gives it, stays as it is until its last bucket goes, and each line is moved once;
    a frame of many buckets, as a group-by gives it, is taken apart at once.
    """

    def __init__(self, n_rows: int, buckets: Buckets) -> None:
        self.n_rows, self.buckets = n_rows, buckets
        self.done = 0
        self.lines = 0
        self._frames: list[_Held] = []
        self._frames_bytes = 0
        self._counts = np.zeros(n_rows // ROWS_PER_BUCKET + 1, np.int64)

    def is_next(self, keys: Keys) -> bool:
        start, stop = self.done, self.done + len(keys)
        in_place = not self.lines and keys[0] == start and keys[-1] == stop - 1
        return bool(in_place and np.array_equal(keys, np.arange(start, stop, dtype=np.uint32)))

    def add(self, frame: pl.DataFrame, keys: Keys) -> None:
        low, high = int(keys.min()), int(keys.max())
        if low < self.done:
            raise RowOrderError
        first, last = low // ROWS_PER_BUCKET, high // ROWS_PER_BUCKET
        self.lines += len(keys)
        if last - first < FEW_BUCKETS:
            counts = np.bincount(keys // np.uint32(ROWS_PER_BUCKET) - np.uint32(first))
            self._counts[first : first + len(counts)] += counts
            for held in _pieces(frame, keys):
                self._frames.append(held)
                self._frames_bytes += held.size_bytes
            if self._frames_bytes > self.buckets.budget_bytes:
                for held in self._frames:
                    self._take_apart(held.frame, held.keys)
                self._frames, self._frames_bytes = [], 0
        else:
            self._counts += np.bincount(keys // np.uint32(ROWS_PER_BUCKET), minlength=len(self._counts))
            self._take_apart(frame, keys)

    def _take_apart(self, frame: pl.DataFrame, keys: Keys) -> None:
        due = keys >= self.done
        if not due.all():
            frame, keys = frame.filter(pl.Series(due)), keys[due]
        self.buckets.add(frame, (keys // np.uint32(ROWS_PER_BUCKET)).astype(np.int64))

    @property
    def _end(self) -> int:
        return min((self.done // ROWS_PER_BUCKET + 1) * ROWS_PER_BUCKET, self.n_rows)

    @property
    def has_next(self) -> bool:
        return self.done < self.n_rows and int(self._counts[self.done // ROWS_PER_BUCKET]) >= self._end - self.done

    def next(self) -> pl.DataFrame:
        """Return the lines up to the end of the bucket, of which there are enough."""
        start, n = self.done, self._end - self.done
        bucket = start // ROWS_PER_BUCKET
        if self._counts[bucket] > n:
            raise RowOrderError
        apart = self.buckets.take(bucket)
        pieces = [] if apart is None else [_Piece(apart, _keys(apart, self.n_rows) - np.uint32(start), None)]
        for held in self._frames:
            if held.low < start + n:
                # Below zero, keys wrap round to large numbers.
                at = held.keys - np.uint32(start)
                inside = held.low >= start and held.high < start + n
                pieces.append(_Piece(held.frame, at, None) if inside else _Piece.within(held.frame, at, n))
        frame = _scattered(pieces, n) if _are_plain(pieces) else _gathered(pieces, n)
        self.done += n
        self.lines -= n
        self._frames = [held for held in self._frames if held.high >= self.done]
        self._frames_bytes = sum(held.size_bytes for held in self._frames)
        return frame


@dataclass(frozen=True)
class _Piece:
    """Lines for a bucket: which of a frame (None for all), and the place of each in the bucket."""

    frame: pl.DataFrame
    at: Keys
    lines: Keys | None

    @classmethod
    def within(cls, frame: pl.DataFrame, at: Keys, n: int) -> _Piece:
        """Return those lines of a frame whose place lies within a bucket of `n`."""
        lines = np.flatnonzero(at < n).astype(np.uint32)
        return cls(frame, at[lines], lines)


def _pieces(frame: pl.DataFrame, keys: Keys) -> Iterator[_Held]:
    """Give a frame chunk by chunk: the arrays of a chunk can be read where they lie."""
    start = 0
    for length in frame[ROW].chunk_lengths():
        piece, piece_keys = frame.slice(start, length), keys[start : start + length]
        start += length
        if length:
            yield _Held(piece, piece_keys, int(piece_keys.min()), int(piece_keys.max()), int(piece.estimated_size()))


def _are_plain(pieces: Sequence[_Piece]) -> bool:
    """Say whether all columns are arrays of numbers without gaps."""
    dtypes = pieces[0].frame.dtypes if pieces else []
    plain = all(t.is_integer() or t.is_float() for t in dtypes) and not {pl.Int128, pl.UInt128} & set(dtypes)
    return plain and not any(column.has_nulls() for piece in pieces for column in piece.frame.iter_columns())


def _scattered(pieces: Sequence[_Piece], n: int) -> pl.DataFrame:
    """Return the lines in order, each number written to its place: half the time of gathering."""
    written = np.zeros(n, np.bool_)
    columns = {c: np.empty(n, s.to_numpy().dtype) for c, s in pieces[0].frame.clear().to_dict().items()}
    for piece in pieces:
        at = piece.at.astype(np.intp)
        written[at] = True
        for name, column in columns.items():
            values = piece.frame[name].to_numpy()
            column[at] = values if piece.lines is None else values[piece.lines]
    if not written.all():
        raise RowOrderError
    return pl.DataFrame(columns, schema=pieces[0].frame.schema)


def _gathered(pieces: Sequence[_Piece], n: int) -> pl.DataFrame:
    """Return the lines in order, for columns of any type."""
    places = np.full(n, MISSING, np.uint32)
    height = 0
    for piece in pieces:
        lines = np.arange(piece.frame.height, dtype=np.uint32) if piece.lines is None else piece.lines
        places[piece.at] = lines + np.uint32(height)
        height += piece.frame.height
    if (places == MISSING).any():
        raise RowOrderError
    return pl.concat([piece.frame for piece in pieces], rechunk=True)[pl.Series(places)]


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
        if not piece.dtype.is_integer():
            return f"gives a row key that is a {piece.dtype}, not a whole number"
        lines += len(piece)
        nulls += piece.null_count()
        values = piece.drop_nulls().cast(pl.Int64, strict=False).to_numpy()
        in_range = (values >= 0) & (values < n_rows)
        unknown += int((~in_range).sum())
        np.add.at(counts, values[in_range], 1)
    repeated = int(counts.sum()) - int((counts > 0).sum())
    missing = int((counts == 0).sum())
    problems = [
        f"{repeated:,} lines repeat a row{_named(counts > 1, n_train)}" * bool(repeated),
        f"{missing:,} rows are missing{_named(counts == 0, n_train)}" * bool(missing),
        f"{nulls:,} lines have no row key" * bool(nulls),
        f"{unknown:,} lines have a row key that there is not" * bool(unknown),
    ]
    problems = [text for text in problems if text]
    return f"gives {lines:,} lines for {n_rows:,} rows: {', '.join(problems)}" if problems else ""


def _named(chosen: npt.NDArray[np.bool_], n_train: int) -> str:
    first = np.flatnonzero(chosen)[:3]
    names = [f"train {r}" if r < n_train else f"test {r - n_train}" for r in first]
    more = ", …" if int(chosen.sum()) > len(first) else ""
    return f" ({', '.join(names)}{more})"
