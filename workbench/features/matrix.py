"""Feature matrices: the columns that a model is trained on, encoded as numbers and read in chunks of rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.cache import ReadLock
from workbench.core.errors import DamagedError, FeatureError, NotFoundError, did_you_mean
from workbench.data.competition import ROW, Competition
from workbench.features.block_keys import AUTO
from workbench.features.build import Blocks
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
from workbench.features.unused_columns import IS_ID, unshared_columns
from workbench.features.value_ranges import ranges_of_note

__all__ = [
    "CHUNK_ROWS",
    "FeatureMatrix",
    "FoldColumns",
    "FoldFrames",
    "MatrixSource",
    "UnseenCategories",
    "build_matrix",
    "columns_of",
    "missing_share",
    "sparse_codes",
    "unseen_categories",
]

CHUNK_ROWS = ROWS_PER_BUCKET
"""The number of rows to read at once: a row group of a block."""

MEMORY_SHARE = 8
"""A matrix of up to an eighth of the memory limit is loaded; a larger one is read from the blocks on each pass."""

MAX_BATCH_BYTES = 64 * 2**20
"""The columns to read at once when a matrix is loaded: while they are joined to one chunk, they are in memory twice."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FoldColumns:
    """A fold feature with the groups of the rows.

    Attributes
    ----------
    feature : FoldFeature
    groups : int array (n_rows,)
        The code of each row's group.
    feature_name : str
        The name in `features.py`, which several of these share if the feature has several groupings.
    """

    feature: FoldFeature
    groups: npt.NDArray[np.int32]
    feature_name: str

    def names(self, targets: Sequence[TargetLike], target_index: int) -> list[str]:
        """Return the names of the columns for a model that predicts ``targets[target_index]``."""
        return self.feature.names(targets, target_index)


@dataclass(frozen=True)
class FoldFrames:
    """The fold-dependent columns of a matrix for one target."""

    names: tuple[str, ...]
    learned: tuple[Learned, ...]

    def frame(self, fold: int) -> pl.DataFrame:
        """Return the columns of one fold for all rows, Float32; an empty frame if there are none."""
        arrays = (array for learned in self.learned for array in learned.columns(fold))
        return pl.DataFrame([pl.Series(name, array) for name, array in zip(self.names, arrays, strict=True)])


@dataclass(frozen=True)
class UnseenCategories:
    """The number of categories of a column that only test has, and of the test rows with one of them."""

    column: str
    values: int
    rows: int


@dataclass(frozen=True)
class MatrixSource:
    """The columns of the matrix that come from one block or from the rows.

    Attributes
    ----------
    name : str
        The feature, as the experiment lists it.
    scan_rows : callable
        Takes the first row and the end (excluded); returns a LazyFrame with the row key.
    columns : tuple of EncodedColumn
    read_lock : ReadLock, or None
        Prevents the removal of the block from the cache.
    """

    name: str
    scan_rows: Callable[[int, int], pl.LazyFrame]
    columns: tuple[EncodedColumn, ...]
    read_lock: ReadLock | None = None

    def read(self, start: int, stop: int) -> pl.DataFrame:
        """Return the encoded columns of the rows from `start` to `stop`, in row order.

        Raises
        ------
        DamagedError
            If the source does not have exactly one line for each of these rows.
        """
        expressions = [c.expression for c in self.columns if c.codes is None]
        frame = self.scan_rows(start, stop).select(ROW, *expressions).collect()
        keys = frame[ROW].to_numpy()
        if not _is_row_range(keys, start, stop):
            frame = frame.sort(ROW)
            if not _is_row_range(frame[ROW].to_numpy(), start, stop):
                raise DamagedError(
                    f"feature {self.name!r}: its block lacks or repeats some of the rows {start:,} to {stop:,}",
                    hint="remove the competition's cache folder: it is built again",
                )
        codes = [c.codes.slice(start, stop - start) for c in self.columns if c.codes is not None]
        return frame.with_columns(codes).select(c.name for c in self.columns)

    def column_batches(self, n_rows: int) -> Iterator[MatrixSource]:
        """Yield the source with some of its columns each time, which take up to `MAX_BATCH_BYTES` in `n_rows` rows."""
        batch: list[EncodedColumn] = []
        batch_bytes = 0
        for column in self.columns:
            column_bytes = n_rows * column.row_bytes
            if batch and batch_bytes + column_bytes > MAX_BATCH_BYTES:
                yield replace(self, columns=tuple(batch))
                batch, batch_bytes = [], 0
            batch.append(column)
            batch_bytes += column_bytes
        yield replace(self, columns=tuple(batch))


def _is_row_range(keys: npt.NDArray[np.uint32], start: int, stop: int) -> bool:
    return np.array_equal(keys, np.arange(start, stop))


@dataclass(frozen=True)
class FeatureMatrix:
    """The columns of an experiment for all rows, train first, in row order.

    A small matrix is loaded, a large one is read from its blocks in chunks of rows; `chunks` works for both. All
    columns are numeric: Float32, Float64 if 32 bits are not enough, integers, or codes of categories.

    Attributes
    ----------
    sources : tuple of MatrixSource
    n_rows : int
    n_train : int
        The first `n_train` rows are the train rows.
    categories : dict
        Column of codes -> the categories of the train rows as texts, in the order of the codes; an empty list for
        integers that are used as codes unchanged. Null and other categories have no code.
    fold_columns : tuple of FoldColumns
        The columns that depend on the fold.
    left_out : dict
        Column -> reason, for columns of the tables that "rows" or "auto" do not use.
    loaded_frame : DataFrame, or None
        All columns in memory, if the matrix is small.
    source_rows : int array (n_rows,), or None
        The rows of the sources that are the rows of this matrix, ascending; None for all.
    """

    sources: tuple[MatrixSource, ...]
    n_rows: int
    n_train: int
    categories: dict[str, list[str]]
    fold_columns: tuple[FoldColumns, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    loaded_frame: pl.DataFrame | None = None
    source_rows: Ints | None = None

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
        """The memory that the columns that do not depend on the fold need."""
        return self.n_rows * sum(c.row_bytes for c in self.encoded)

    @property
    def centers(self) -> dict[str, float]:
        """Column -> the value to subtract so that float32 keeps different values different."""
        return {c.name: c.center for c in self.encoded if c.center is not None and c.name not in self.categories}

    @property
    def number_type(self) -> type[np.float32] | type[np.float64]:
        """float32 if it represents all columns well (see `EncodedColumn.exact_in_float32`), else float64."""
        return np.float32 if all(c.exact_in_float32 for c in self.encoded) else np.float64

    @cached_property
    def frame(self) -> pl.DataFrame:
        """All rows, loaded into memory.

        Each column is one chunk, unless the rows are a selection: LightGBM gets a copy of a frame of several chunks.
        """
        if self.loaded_frame is not None:
            return self.loaded_frame
        if self.source_rows is None and self.sources:
            batches = (batch for source in self.sources for batch in source.column_batches(self.n_rows))
            return pl.concat([batch.read(0, self.n_rows).rechunk() for batch in batches], how="horizontal")
        chunks = [frame for _, frame in self.chunks(range(self.n_rows))] if self.sources else []
        return pl.concat(chunks) if chunks else pl.DataFrame(schema={c.name: c.dtype for c in self.encoded})

    @property
    def train(self) -> pl.DataFrame:
        """The train rows, loaded into memory."""
        return self.frame.head(self.n_train)

    @property
    def test(self) -> pl.DataFrame:
        """The test rows, loaded into memory."""
        return self.frame.slice(self.n_train)

    def chunks(self, rows: range | Ints, size: int | None = None) -> Iterator[tuple[slice, pl.DataFrame]]:
        """Yield the columns of some rows in chunks.

        Parameters
        ----------
        rows : range or int array
            Rows of the matrix, ascending.
        size : int, optional
            The maximum number of rows per chunk, `CHUNK_ROWS` by default.

        Yields
        ------
        where : slice
            The range of the chunk in `rows`.
        frame : DataFrame (at most `size`, width)
        """
        size = size or CHUNK_ROWS
        if self.loaded_frame is not None:
            for start in range(0, len(rows), size):
                chunk = rows[start : start + size]
                loaded = self.loaded_frame
                frame = loaded.slice(chunk.start, len(chunk)) if isinstance(chunk, range) else loaded[chunk]
                yield slice(start, start + len(chunk)), frame
            return
        if not len(rows):
            return
        rows_to_read = rows if self.source_rows is None else self.source_rows[np.asarray(rows)]
        if isinstance(rows_to_read, range):
            for start in range(rows_to_read.start, rows_to_read.stop, size):
                stop = min(start + size, rows_to_read.stop)
                yield slice(start - rows_to_read.start, stop - rows_to_read.start), _read(self.sources, start, stop)
            return
        # Chunks end at the ends of row groups, so that each group is read once.
        edges = np.flatnonzero(np.diff(rows_to_read // size, prepend=-1))
        for begin, end in zip(edges, [*edges[1:], len(rows_to_read)], strict=True):
            chunk_rows = rows_to_read[begin:end]
            first = int(chunk_rows[0])
            frame = _read(self.sources, first, int(chunk_rows[-1]) + 1)
            yield slice(int(begin), int(end)), frame[chunk_rows - first]

    def only_train(self, rows: Ints) -> FeatureMatrix:
        """Return the matrix of some train rows (ascending) without test rows, for runs on a subsample."""
        columns = tuple(replace(c, groups=c.groups[rows]) for c in self.fold_columns)
        loaded_frame = None if self.loaded_frame is None else self.loaded_frame[rows]
        source_rows = rows if self.source_rows is None else self.source_rows[rows]
        return replace(
            self,
            n_rows=len(rows),
            n_train=len(rows),
            fold_columns=columns,
            loaded_frame=loaded_frame,
            source_rows=source_rows,
        )

    def only_columns(self, columns: Collection[str]) -> FeatureMatrix:
        """Return the matrix with only these columns, in its order, and all columns that depend on the fold."""
        columns = frozenset(columns)
        sources = (replace(s, columns=tuple(c for c in s.columns if c.name in columns)) for s in self.sources)
        categories = {c: levels for c, levels in self.categories.items() if c in columns}
        loaded_frame = (
            None if self.loaded_frame is None else self.loaded_frame.select(c for c in self.columns if c in columns)
        )
        return replace(
            self, sources=tuple(s for s in sources if s.columns), categories=categories, loaded_frame=loaded_frame
        )

    def without_test(self) -> FeatureMatrix:
        """Return the matrix of the train rows."""
        loaded_frame = None if self.loaded_frame is None else self.loaded_frame.head(self.n_train)
        columns = tuple(replace(c, groups=c.groups[: self.n_train]) for c in self.fold_columns)
        return replace(self, n_rows=self.n_train, loaded_frame=loaded_frame, fold_columns=columns)

    def learned(self, targets: Sequence[TargetLike], target_index: int, split: Split) -> FoldFrames:
        """Return an object that computes the fold-dependent columns of any fold.

        Parameters
        ----------
        targets : sequence of TargetLike
            All target columns, of n_train values each.
        target_index : int
            The index of the target that the model predicts.
        split : Split

        Raises
        ------
        FeatureError
            If two columns have the same name, or an encoding does not fit the target.
        """
        names = [name for c in self.fold_columns for name in c.names(targets, target_index)]
        _check_duplicates([("the columns", self.columns), *((name, [name]) for name in names)])
        learned = (c.feature.learn(c.groups, targets, target_index, split) for c in self.fold_columns)
        return FoldFrames(tuple(names), tuple(learned))


def _read(sources: Sequence[MatrixSource], start: int, stop: int) -> pl.DataFrame:
    return pl.concat([source.read(start, stop) for source in sources], how="horizontal")


def missing_share(matrix: FeatureMatrix) -> float:
    """Return the share of null and NaN among the values of the train rows, all of which are read."""
    n_missing = 0
    for _, frame in matrix.chunks(range(matrix.n_train)) if matrix.width else ():
        nan_counts = [pl.col(n).is_nan().sum() for n, t in frame.schema.items() if t.is_float()]
        n_missing += sum(s.null_count() for s in frame.iter_columns())
        n_missing += sum(frame.select(nan_counts).row(0)) if nan_counts else 0
    return n_missing / max(1, matrix.n_train * matrix.width)


def unseen_categories(matrix: FeatureMatrix) -> list[UnseenCategories]:
    """Return the columns with categories that only test has."""
    return [UnseenCategories(c.name, c.unseen_values, c.unseen_rows) for c in matrix.encoded if c.unseen_rows]


def build_matrix(
    blocks: Blocks, features: Sequence[str], *, drop: Sequence[str] = (), categorical: Sequence[str] = ()
) -> FeatureMatrix:
    """Build the feature matrix of an experiment.

    Parameters
    ----------
    blocks : Blocks
        Its memory limit determines whether the matrix is loaded.
    features : sequence of str
        Names of features; ``"rows"`` for the columns of the tables; ``"feature.column"`` or ``"rows.column"`` for a
        single column.
    drop : sequence of str
        Columns to leave out.
    categorical : sequence of str
        Numeric columns that are codes of categories; texts are always categories. Codes that are negative, sparse or
        not integers are renumbered in the order of the train values.

    Raises
    ------
    NotFoundError
        For an unknown feature or column.
    FeatureError
        If two features have the same column, a column has a type that can't be encoded, or no column is left.
    """
    competition = blocks.competition
    sources, fold_columns = [], []
    left_out = unshared_columns(competition) if {"rows", AUTO} & set(features) else {}
    row_entries = [name for name in features if name.partition(".")[0] == "rows"]
    for name in row_entries:
        _rows_columns(competition, name)  # reports unknown columns before any feature is built
    feature_names = dict.fromkeys(name.partition(".")[0] for name in features if name not in row_entries)
    blocks.build(feature_names)
    blocks.check_all_cached(feature_names)
    for name in features:
        feature = blocks.features.get(name)
        if isinstance(feature, FoldFeature):
            for grouping in feature.each():
                fold_columns.append(FoldColumns(grouping, group_codes(blocks.columns(grouping.columns)), name))
        elif name.partition(".")[0] == "rows":
            source, reasons = _rows_source(blocks, name, drop, categorical)
            sources.append(source)
            left_out |= reasons
        else:
            sources.append(_feature_source(blocks, name, drop, categorical))
            left_out |= blocks.block(name).note.get("left_out", {}) if name == AUTO else {}
    _check_drop(drop, blocks, features)
    columns_by_feature = [(s.name, [c.name for c in s.columns]) for s in sources]
    columns_by_feature += [(c.feature.name, [c.feature.name]) for c in fold_columns]
    _check_duplicates(columns_by_feature, competition.rows.columns)
    nonempty = tuple(s for s in sources if s.columns)
    if not nonempty and not fold_columns:
        raise FeatureError(f"no column is left to train on: features = {list(features)}, drop = {list(drop)}")
    n_rows = competition.n_train + competition.n_test
    matrix = FeatureMatrix(
        nonempty, n_rows, competition.n_train, {}, tuple(fold_columns), _without_used(left_out, sources)
    )
    levels = {c.name: list(c.levels) for c in matrix.encoded if c.levels is not None}
    matrix = replace(matrix, categories=levels | _unchanged_codes(matrix, categorical))
    is_small = matrix.size_bytes <= blocks.limit_bytes // MEMORY_SHARE
    return replace(matrix, loaded_frame=matrix.frame) if is_small and matrix.width else matrix


def _without_used(left_out: Mapping[str, str], sources: Sequence[MatrixSource]) -> dict[str, str]:
    """Return the excluded columns, without those that another feature provides under the same name."""
    used_names = {c.name for s in sources for c in s.columns}
    return {c: reason for c, reason in left_out.items() if c not in used_names}


def columns_of(blocks: Blocks, name: str) -> list[str]:
    """Return the columns of an entry of an experiment's ``features``, before `drop`; none for a fold feature.

    Parameters
    ----------
    name : str
        A valid entry: "rows", "rows.x", "weather", "weather.wind".
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
    names = [c for c in competition.rows.columns if c not in keys]
    return [c for c in names if not is_unsupported(schema[c])]


def _feature_source(blocks: Blocks, name: str, drop: Sequence[str], categorical: Sequence[str]) -> MatrixSource:
    feature, _, column = name.partition(".")
    block = blocks.block(feature)
    block_columns = block.note["columns"]
    if column and column not in block_columns:
        raise NotFoundError(
            f"feature {feature!r} has no column {column!r}", hint=did_you_mean(column, block_columns, kind="column")
        )
    read_lock = blocks.read_lock(feature)
    lines = blocks.lines(feature)
    dropped = set(drop)
    names = [c for c in ([column] if column else block_columns) if c not in dropped]
    encoded = encode_columns(
        lines,
        names,
        blocks.competition.n_train,
        origin=name,
        categorical=categorical,
        ranges=ranges_of_note(block.note),
    )
    return MatrixSource(name, lambda start, stop: lines.slice(start, stop - start), tuple(encoded), read_lock)


def _rows_columns(competition: Competition, name: str) -> list[str]:
    """Return the columns of the entry "rows" or "rows.x"."""
    column, rows_columns = name.partition(".")[2], competition.rows.columns
    if not column:
        keys = set(competition.ids.key_columns)
        return [c for c in rows_columns if c not in keys]
    if column not in rows_columns:
        raise NotFoundError(f"rows have no column {column!r}", hint=did_you_mean(column, rows_columns, kind="column"))
    return [column]


def _rows_source(
    blocks: Blocks, name: str, drop: Sequence[str], categorical: Sequence[str]
) -> tuple[MatrixSource, dict[str, str]]:
    """Return the columns of ``rows`` as a matrix source, and the reasons for excluded columns by name."""
    competition = blocks.competition
    names, rows = _rows_columns(competition, name), competition.rows.scan()
    schema = rows.collect_schema()
    usable, dropped = [c for c in names if not is_unsupported(schema[c])], set(drop)
    numbers = [as_number(c, schema[c]) for c in usable]
    encoded = encode_columns(
        rows.select(ROW, *numbers),
        [c for c in usable if c not in dropped],
        competition.n_train,
        origin=name,
        categorical=categorical,
    )

    def scan_rows(start: int, stop: int) -> pl.LazyFrame:
        return competition.rows.between(start, stop).select(ROW, *numbers)

    reasons = {c: f"{schema[c]}, neither a number nor a text" for c in names if is_unsupported(schema[c])}
    reasons |= dict.fromkeys(competition.ids.key_columns, IS_ID) if name == "rows" else {}
    return MatrixSource(name, scan_rows, tuple(encoded)), reasons


def _unchanged_codes(matrix: FeatureMatrix, categorical: Sequence[str]) -> dict[str, list[str]]:
    """Return column -> [] for the columns of `categorical` whose integers are used as codes unchanged."""
    encoded = {c.name: c for c in matrix.encoded}
    for name in categorical:
        if name not in encoded:
            raise NotFoundError(f"categorical: no column {name!r}", hint=did_you_mean(name, encoded, kind="column"))
    return {name: [] for name in categorical if encoded[name].levels is None}


def sparse_codes(blocks: Blocks, features: Sequence[str], categorical: Sequence[str]) -> list[str]:
    """Return the columns of `categorical` whose codes are renumbered.

    Their features are built if necessary; names that no feature has are ignored.
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
            raise NotFoundError(
                f"drop: no column {name!r} in these features", hint=did_you_mean(name, columns, kind="column")
            )


def _check_duplicates(
    columns_by_feature: Sequence[tuple[str, Sequence[str]]], row_columns: Collection[str] = ()
) -> None:
    """Raise FeatureError if two features have a column of the same name.

    Parameters
    ----------
    row_columns : collection of str
        The columns of train and test, for the hint: features often return the keys of their joins.
    """
    feature_by_column: dict[str, str] = {}
    for name, columns in columns_by_feature:
        duplicates = [column for column in columns if column in feature_by_column]
        if not duplicates:
            feature_by_column |= dict.fromkeys(columns, name)
            continue
        names = list(dict.fromkeys(feature_by_column[column] for column in duplicates))
        listed = ", ".join(map(repr, duplicates[:5])) + (", …" if len(duplicates) > 5 else "")
        raise FeatureError(
            f"features {' and '.join(map(repr, names))} and {name!r} both give "
            f"{'a column' if len(duplicates) == 1 else 'the columns'} {listed}",
            hint=_duplicate_hint(columns_by_feature, duplicates, row_columns),
        )


def _duplicate_hint(
    columns_by_feature: Sequence[tuple[str, Sequence[str]]], duplicates: Sequence[str], row_columns: Collection[str]
) -> str:
    """Return a hint for duplicate columns; keys of a join should be dropped by the feature that joins."""
    keys = [column for column in duplicates if column in row_columns]
    # `rows` has the columns themselves, and columns of `auto` have the same names.
    joined = [
        n for n, columns in columns_by_feature if n.partition(".")[0] not in ("rows", AUTO) and set(keys) & set(columns)
    ]
    if not joined and keys:
        return "remove one of the two from features"
    if len(keys) < len(duplicates):
        return f"rename one; drop = [{json.dumps(duplicates[0], ensure_ascii=False)}] leaves out both"
    listed = ", ".join(json.dumps(column, ensure_ascii=False) for column in keys)
    return f"they are columns of train and test, kept from a join? End {' and '.join(joined)} with .drop({listed})"
