"""From blocks to what LightGBM takes: numbers, and codes with their categories, a stretch of rows at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.cache import ReadLock
from workbench.core.errors import DamagedError, FeatureError, NotFoundError, near
from workbench.data.competition import ROW, Competition
from workbench.features.build import AUTO, Blocks
from workbench.features.definition import FoldFeature
from workbench.features.encoded import (
    EncodedColumn,
    as_number,
    encode_columns,
    has_sparse_codes,
    is_unsupported,
)
from workbench.features.encodings import Learned, Split, TargetLike
from workbench.features.groupcodes import group_codes
from workbench.features.ordering import ROWS_PER_BUCKET
from workbench.features.unused_columns import IS_ID, never_shared

__all__ = [
    "CHUNK_ROWS",
    "FeatureMatrix",
    "FoldColumns",
    "FoldFrames",
    "MatrixSource",
    "Unseen",
    "build_matrix",
    "columns_of",
    "sparse_codes",
]

CHUNK_ROWS = ROWS_PER_BUCKET
"""Rows read at a time: a row group of a block."""

HELD_SHARE = 8
"""A matrix of up to an eighth of the memory limit is held in memory; a larger one is read again each time."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FoldColumns:
    """A fold feature with its groups looked up: gives its columns for any fold.

    `of` is the feature's name in `features.py`, which may give several of these, a group of columns each.
    """

    feature: FoldFeature
    groups: npt.NDArray[np.int32]
    of: str

    def names(self, targets: Sequence[TargetLike], target_index: int) -> list[str]:
        """Return the columns' names where the model is trained for ``targets[target_index]``."""
        return self.feature.names(targets, target_index)


@dataclass(frozen=True)
class FoldFrames:
    """The fold-dependent columns of a matrix for one target: learned once, given fold by fold."""

    names: tuple[str, ...]
    learned: tuple[Learned, ...]

    def frame(self, fold: int) -> pl.DataFrame:
        """Return the columns of all rows for one fold, Float32; without columns where there are none."""
        arrays = (array for learned in self.learned for array in learned.columns(fold))
        return pl.DataFrame([pl.Series(name, array) for name, array in zip(self.names, arrays, strict=True)])


@dataclass(frozen=True)
class Unseen:
    """Categories of a column that test has and train lacks: how many, and in how many test rows."""

    column: str
    values: int
    rows: int


@dataclass(frozen=True)
class MatrixSource:
    """Some columns of the matrix, from one block or from the rows themselves.

    Attributes
    ----------
    name : str
        The feature, as the experiment lists it.
    between : callable
        Gives the lines from one row to another (not included), lazily, with the row key.
    columns : tuple of EncodedColumn
    hold : ReadLock, or None
        What keeps the block from making room for others meanwhile.
    """

    name: str
    between: Callable[[int, int], pl.LazyFrame]
    columns: tuple[EncodedColumn, ...]
    hold: ReadLock | None = None

    def read(self, start: int, stop: int) -> pl.DataFrame:
        """Return the encoded columns of the rows from `start` to `stop`, in their order, checked by the row key.

        Raises
        ------
        DamagedError
            When the source does not give one line for each of these rows.
        """
        stored = [c.expression for c in self.columns if c.codes is None]
        frame = self.between(start, stop).select(ROW, *stored).collect()
        keys = frame[ROW].to_numpy()
        if not _in_order(keys, start, stop):
            frame = frame.sort(ROW)
            if not _in_order(frame[ROW].to_numpy(), start, stop):
                raise DamagedError(
                    f"feature {self.name!r}: its block lacks or repeats some of the rows {start:,} to {stop:,}",
                    hint="remove the competition's cache folder: it is built again",
                )
        ready = [c.codes.slice(start, stop - start) for c in self.columns if c.codes is not None]
        return frame.with_columns(ready).select(c.name for c in self.columns)


def _in_order(keys: npt.NDArray[np.uint32], start: int, stop: int) -> bool:
    return np.array_equal(keys, np.arange(start, stop))


@dataclass(frozen=True)
class FeatureMatrix:
    """The columns of an experiment for all rows, train first, in row order.

    Small ones are held in memory, others are read from their blocks a stretch of rows at a time: use `chunks` and all
    is the same. Columns are numbers only: Float32, or Float64 where 32 bits would lose whole numbers; integers; codes
    of categories.

    Attributes
    ----------
    sources : tuple of MatrixSource
    n_rows : int
    n_train : int
        The first `n_train` rows are the train rows.
    categories : dict
        For each column of codes, the categories that train has as text, in the order of the codes; empty for whole
        numbers that are their own codes. Null, and what train lacks, have no code.
    fold_columns : tuple of FoldColumns
        What depends on the fold.
    left_out : dict
        Columns of the tables that "rows" or "auto" make nothing of, each with the reason.
    held : DataFrame, or None
        All of it, where it is small.
    taken : int array (n_rows,), or None
        The sources' rows that are the rows of this matrix, ascending; None for all.
    """

    sources: tuple[MatrixSource, ...]
    n_rows: int
    n_train: int
    categories: dict[str, list[str]]
    fold_columns: tuple[FoldColumns, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    held: pl.DataFrame | None = None
    taken: Ints | None = None

    @cached_property
    def encoded(self) -> tuple[EncodedColumn, ...]:
        """The columns that do not depend on the fold."""
        return tuple(c for source in self.sources for c in source.columns)

    @property
    def columns(self) -> list[str]:
        """The names of the columns that do not depend on the fold."""
        return [c.name for c in self.encoded]

    @property
    def width(self) -> int:
        """The number of columns that do not depend on the fold."""
        return len(self.encoded)

    @property
    def n_test(self) -> int:
        """The number of test rows."""
        return self.n_rows - self.n_train

    @property
    def size_bytes(self) -> int:
        """What the columns that do not depend on the fold would take in memory."""
        return self.n_rows * sum(c.row_bytes for c in self.encoded)

    @cached_property
    def missing_share(self) -> float:
        """The share of the train rows' values that are missing: null or NaN. All of them are read for it, once."""
        missing = 0
        for _, frame in self.chunks(range(self.n_train)) if self.width else ():
            floats = [pl.col(n).is_nan().sum() for n, t in frame.schema.items() if t.is_float()]
            missing += sum(s.null_count() for s in frame.iter_columns())
            missing += sum(frame.select(floats).row(0)) if floats else 0
        return missing / max(1, self.n_train * self.width)

    @property
    def unseen(self) -> tuple[Unseen, ...]:
        """Which columns have categories in test that train lacks."""
        return tuple(Unseen(c.name, c.unseen_values, c.unseen_rows) for c in self.encoded if c.unseen_rows)

    @property
    def centers(self) -> dict[str, float]:
        """By column what 32 bits need taken away to tell its values apart: a value in their middle."""
        return {c.name: c.center for c in self.encoded if c.center is not None and c.name not in self.categories}

    @property
    def number_type(self) -> type[np.float32] | type[np.float64]:
        """What holds every value of every column exactly as its type does: float32 if that suffices."""
        return np.float32 if all(c.exact_in_float32 for c in self.encoded) else np.float64

    @cached_property
    def frame(self) -> pl.DataFrame:
        """All rows at once, in memory."""
        if self.held is not None:
            return self.held
        pieces = [frame for _, frame in self.chunks(range(self.n_rows))] if self.sources else []
        return pl.concat(pieces) if pieces else pl.DataFrame(schema={c.name: c.dtype for c in self.encoded})

    @property
    def train(self) -> pl.DataFrame:
        """The train rows, in memory."""
        return self.frame.head(self.n_train)

    @property
    def test(self) -> pl.DataFrame:
        """The test rows, in memory."""
        return self.frame.slice(self.n_train)

    def chunks(self, rows: range | Ints, size: int | None = None) -> Iterator[tuple[slice, pl.DataFrame]]:
        """Give the columns of some rows, piece by piece.

        Parameters
        ----------
        rows : range or int array
            Rows of the matrix, ascending.
        size : int, optional
            Of how many rows at most are read at a time; `CHUNK_ROWS` by default.

        Yields
        ------
        where : slice
            The place of the piece's rows in `rows`.
        frame : DataFrame (at most `size`, width)
        """
        size = size or CHUNK_ROWS
        if self.held is not None:
            for start in range(0, len(rows), size):
                piece = rows[start : start + size]
                frame = self.held.slice(piece.start, len(piece)) if isinstance(piece, range) else self.held[piece]
                yield slice(start, start + len(piece)), frame
            return
        if not len(rows):
            return
        wanted = rows if self.taken is None else self.taken[np.asarray(rows)]
        if isinstance(wanted, range):
            for start in range(wanted.start, wanted.stop, size):
                stop = min(start + size, wanted.stop)
                yield slice(start - wanted.start, stop - wanted.start), self._read(start, stop)
            return
        # Stretches end where row groups do: each group is read once.
        edges = np.flatnonzero(np.diff(wanted // size, prepend=-1))
        for begin, end in zip(edges, [*edges[1:], len(wanted)], strict=True):
            inside = wanted[begin:end]
            first = int(inside[0])
            yield slice(int(begin), int(end)), self._read(first, int(inside[-1]) + 1)[inside - first]

    def _read(self, start: int, stop: int) -> pl.DataFrame:
        return pl.concat([source.read(start, stop) for source in self.sources], how="horizontal")

    def only_train(self, rows: Ints) -> FeatureMatrix:
        """Return the matrix of some train rows (ascending), without the test rows: for a subsample run."""
        columns = tuple(replace(c, groups=c.groups[rows]) for c in self.fold_columns)
        held = None if self.held is None else self.held[rows]
        taken = rows if self.taken is None else self.taken[rows]
        return replace(self, n_rows=len(rows), n_train=len(rows), fold_columns=columns, held=held, taken=taken)

    def only_columns(self, columns: Collection[str]) -> FeatureMatrix:
        """Return the matrix with only those of its columns, in its own order; what depends on the fold stays."""
        columns = frozenset(columns)
        sources = (replace(s, columns=tuple(c for c in s.columns if c.name in columns)) for s in self.sources)
        categories = {c: levels for c, levels in self.categories.items() if c in columns}
        held = None if self.held is None else self.held.select(c for c in self.columns if c in columns)
        return replace(self, sources=tuple(s for s in sources if s.columns), categories=categories, held=held)

    def without_test(self) -> FeatureMatrix:
        """Return the matrix of the train rows alone, where nobody asks for predictions of the others."""
        held = None if self.held is None else self.held.head(self.n_train)
        columns = tuple(replace(c, groups=c.groups[: self.n_train]) for c in self.fold_columns)
        return replace(self, n_rows=self.n_train, held=held, fold_columns=columns)

    def learned(self, targets: Sequence[TargetLike], target_index: int, split: Split) -> FoldFrames:
        """Return what gives the fold-dependent columns of any fold.

        Parameters
        ----------
        targets : sequence of TargetLike
            All target columns, of n_train values each.
        target_index : int
            Which of them the model is trained for.
        split : Split

        Raises
        ------
        FeatureError
            When two columns have one name, or an encoding does not fit the target.
        """
        names = [name for c in self.fold_columns for name in c.names(targets, target_index)]
        _check_clashes([("the columns", self.columns), *((name, [name]) for name in names)])
        learned = (c.feature.learn(c.groups, targets, target_index, split) for c in self.fold_columns)
        return FoldFrames(tuple(names), tuple(learned))


def build_matrix(
    blocks: Blocks, features: Sequence[str], *, drop: Sequence[str] = (), categorical: Sequence[str] = ()
) -> FeatureMatrix:
    """Build the columns that an experiment asks for.

    Parameters
    ----------
    blocks : Blocks
        Its memory limit decides whether the matrix is held in memory.
    features : sequence of str
        Features by name; ``"rows"`` for the columns of the tables themselves; ``"feature.column"`` or
        ``"rows.column"`` for a single column.
    drop : sequence of str
        Columns to leave out again.
    categorical : sequence of str
        Columns of numbers that are codes; text is always treated so. Codes that are negative, sparse or no integers
        are renumbered in their order, as train has them.

    Raises
    ------
    NotFoundError
        For an unknown feature or column.
    FeatureError
        When two features give the same column, when a column is of a type that LightGBM can't take (it would end the
        process), or when nothing is left.
    """
    competition = blocks.competition
    sources, fold_columns = [], []
    left_out = never_shared(competition) if {"rows", AUTO} & set(features) else {}
    of_rows = [name for name in features if name.partition(".")[0] == "rows"]
    for name in of_rows:
        _rows_columns(competition, name)
    needed = dict.fromkeys(name.partition(".")[0] for name in features if name not in of_rows)
    blocks.build(needed)
    blocks.check_all_there(needed)
    for name in features:
        feature = blocks.features.get(name)
        if isinstance(feature, FoldFeature):
            fold_columns += [FoldColumns(one, group_codes(blocks.columns(one.columns)), name) for one in feature.each()]
        elif name.partition(".")[0] == "rows":
            source, dropped = _rows_source(blocks, name, drop, categorical)
            sources.append(source)
            left_out |= dropped
        else:
            sources.append(_feature_source(blocks, name, drop, categorical))
            left_out |= blocks.block(name).note.get("left_out", {}) if name == AUTO else {}
    _check_drop(drop, blocks, features)
    named = [(s.name, [c.name for c in s.columns]) for s in sources]
    clashing = [*named, *((c.feature.name, [c.feature.name]) for c in fold_columns)]
    _check_clashes(clashing, competition.rows.columns)
    nonempty = tuple(s for s in sources if s.columns)
    if not nonempty and not fold_columns:
        raise FeatureError(f"no column is left to train on: features = {list(features)}, drop = {list(drop)}")
    n_rows = competition.n_train + competition.n_test
    matrix = FeatureMatrix(nonempty, n_rows, competition.n_train, {}, tuple(fold_columns), _unused(left_out, sources))
    levels = {c.name: list(c.levels) for c in matrix.encoded if c.levels is not None}
    matrix = replace(matrix, categories=levels | _own_codes(matrix, categorical))
    small = matrix.size_bytes <= blocks.limit_bytes // HELD_SHARE
    return replace(matrix, held=matrix.frame) if small and matrix.width else matrix


def _unused(left_out: Mapping[str, str], sources: Sequence[MatrixSource]) -> dict[str, str]:
    """Return those columns that no other feature of the experiment has under their name."""
    taken = {c.name for s in sources for c in s.columns}
    return {c: reason for c, reason in left_out.items() if c not in taken}


def columns_of(blocks: Blocks, name: str) -> list[str]:
    """Return the columns that an entry of an experiment's ``features`` gives, before `drop`; a fold feature gives none.

    Parameters
    ----------
    name : str
        An entry that `build_matrix` took: "rows", "rows.x", "weather", "weather.wind".
    """
    feature, _, column = name.partition(".")
    if isinstance(blocks.features.get(name), FoldFeature):
        return []
    if column:
        return [column]
    if feature != "rows":
        return list(blocks.block(feature).note["columns"])
    competition = blocks.competition
    schema = competition.rows.scan().collect_schema()
    keys = set(competition.ids.key_columns)
    wanted = [c for c in competition.rows.columns if c not in keys]
    return [c for c in wanted if not is_unsupported(schema[c])]


def _feature_source(blocks: Blocks, name: str, drop: Sequence[str], categorical: Sequence[str]) -> MatrixSource:
    feature, _, column = name.partition(".")
    block = blocks.block(feature)
    block_columns = block.note["columns"]
    if column and column not in block_columns:
        raise NotFoundError(
            f"feature {feature!r} has no column {column!r}", hint=near(column, block_columns, kind="column")
        )
    hold = blocks.hold(feature)
    lines = blocks.lines(feature)
    dropped = set(drop)
    wanted = [c for c in ([column] if column else block_columns) if c not in dropped]
    encoded = encode_columns(lines, wanted, blocks.competition.n_train, origin=name, categorical=categorical)
    return MatrixSource(name, lambda start, stop: lines.slice(start, stop - start), tuple(encoded), hold)


def _rows_columns(competition: Competition, name: str) -> list[str]:
    """Return the columns that "rows" or "rows.x" asks for."""
    column, rows_columns = name.partition(".")[2], competition.rows.columns
    if not column:
        keys = set(competition.ids.key_columns)
        return [c for c in rows_columns if c not in keys]
    if column not in rows_columns:
        raise NotFoundError(f"rows have no column {column!r}", hint=near(column, rows_columns, kind="column"))
    return [column]


def _rows_source(
    blocks: Blocks, name: str, drop: Sequence[str], categorical: Sequence[str]
) -> tuple[MatrixSource, dict[str, str]]:
    competition = blocks.competition
    wanted, rows = _rows_columns(competition, name), competition.rows.scan()
    schema = rows.collect_schema()
    usable, dropped = [c for c in wanted if not is_unsupported(schema[c])], set(drop)
    numbers = [as_number(c, schema[c]) for c in usable]
    encoded = encode_columns(
        rows.select(ROW, *numbers),
        [c for c in usable if c not in dropped],
        competition.n_train,
        origin=name,
        categorical=categorical,
    )

    def between(start: int, stop: int) -> pl.LazyFrame:
        return competition.rows.between(start, stop).select(ROW, *numbers)

    reasons = {c: f"{schema[c]}, neither a number nor a text" for c in wanted if is_unsupported(schema[c])}
    reasons |= dict.fromkeys(competition.ids.key_columns, IS_ID) if name == "rows" else {}
    return MatrixSource(name, between, tuple(encoded)), reasons


def _own_codes(matrix: FeatureMatrix, categorical: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns of `categorical` whose integers are their own codes, without categories."""
    encoded = {c.name: c for c in matrix.encoded}
    for name in categorical:
        if name not in encoded:
            raise NotFoundError(f"categorical: no column {name!r}", hint=near(name, encoded, kind="column"))
    return {name: [] for name in categorical if encoded[name].levels is None}


def sparse_codes(blocks: Blocks, features: Sequence[str], categorical: Sequence[str]) -> list[str]:
    """Return which columns of `categorical` hold integers that are no codes of their own, and get others.

    A feature that they come from is built where it is not there yet; names that nothing gives are left out.
    """
    competition = blocks.competition
    sparse = []
    for name in features if categorical else ():
        feature, _, column = name.partition(".")
        if feature == "rows":
            schema = competition.rows.scan().collect_schema()
            columns = [c for c in _rows_columns(competition, name) if not is_unsupported(schema[c])]
            lines = competition.rows.scan().select(ROW, *(as_number(c, schema[c]) for c in columns))
        elif isinstance(blocks.features.get(name), FoldFeature) or (column and column not in categorical):
            continue
        else:
            blocks.build([feature])
            columns, lines = [column] if column else list(blocks.block(feature).note["columns"]), blocks.lines(feature)
        sparse += [c for c in columns if c in categorical and has_sparse_codes(lines, c, competition.n_train)]
    return sorted(set(sparse))


def _check_drop(drop: Sequence[str], blocks: Blocks, features: Sequence[str]) -> None:
    columns = set(blocks.competition.rows.columns) if any(f.partition(".")[0] == "rows" for f in features) else set()
    for name in {f.partition(".")[0] for f in features} - {"rows"}:
        if not isinstance(blocks.features[name], FoldFeature):
            columns |= set(blocks.block(name).note["columns"])
    for name in drop:
        if name not in columns:
            raise NotFoundError(f"drop: no column {name!r} in these features", hint=near(name, columns, kind="column"))


def _check_clashes(parts: Sequence[tuple[str, Sequence[str]]], of_rows: Collection[str] = ()) -> None:
    """Refuse columns that two features give.

    Parameters
    ----------
    of_rows : collection of str
        The columns of train and test: what a feature joins by, and gives again where it does not drop it.
    """
    owner: dict[str, str] = {}
    for name, columns in parts:
        twice = [column for column in columns if column in owner]
        if not twice:
            owner |= dict.fromkeys(columns, name)
            continue
        names = list(dict.fromkeys(owner[column] for column in twice))
        named = ", ".join(map(repr, twice[:5])) + (", …" if len(twice) > 5 else "")
        raise FeatureError(
            f"features {' and '.join(map(repr, names))} and {name!r} both give "
            f"{'a column' if len(twice) == 1 else 'the columns'} {named}",
            hint=_clash_hint(parts, twice, of_rows),
        )


def _clash_hint(parts: Sequence[tuple[str, Sequence[str]]], twice: Sequence[str], of_rows: Collection[str]) -> str:
    """Return what to do about columns that several features give: keys of a join are dropped where it is made."""
    keys = [column for column in twice if column in of_rows]
    # The columns themselves are given by `rows`, and what `auto` makes of them bears their names.
    joined = [n for n, columns in parts if n.partition(".")[0] not in ("rows", AUTO) and set(keys) & set(columns)]
    if not joined and keys:
        return "take one of the two out of features"
    if len(keys) < len(twice):
        return f"rename one; drop = [{json.dumps(twice[0], ensure_ascii=False)}] leaves out both"
    listed = ", ".join(json.dumps(column, ensure_ascii=False) for column in keys)
    return f"they are columns of train and test, kept from a join? End {' and '.join(joined)} with .drop({listed})"
