"""From blocks to what LightGBM takes: numbers, and codes with their categories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.competition import ROW
from workbench.errors import FeatureError, NotFoundError, near
from workbench.features.build import Blocks
from workbench.features.definition import FoldFeature
from workbench.features.encodings import Learned, Split, TargetLike
from workbench.features.groupcodes import group_codes

__all__ = ["FeatureMatrix", "FoldColumns", "FoldFrames", "build_matrix"]

MAX_EXACT_FLOAT32 = 2**24


@dataclass(frozen=True)
class FoldColumns:
    """A fold feature with its groups looked up: gives its columns for any fold."""

    feature: FoldFeature
    groups: npt.NDArray[np.int32]

    def names(self, targets: Sequence[TargetLike], own: int) -> list[str]:
        """Return the columns' names where the model is trained for ``targets[own]``."""
        return self.feature.names(targets, own)


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
class FeatureMatrix:
    """The columns of an experiment for all rows, train first, in row order.

    Attributes
    ----------
    frame : DataFrame (n_rows, n_columns)
        Numbers only: Float32, or Float64 where 32 bits would lose whole numbers; integers; codes of categories.
    n_train : int
        The first `n_train` rows are the train rows.
    categories : dict
        For each column of codes, its categories in the order of the codes. Null has no code.
    fold_columns : tuple of FoldColumns
        What depends on the fold.
    left_out : tuple of str
        Columns of ``rows`` that can't be numbers, with the reason.
    """

    frame: pl.DataFrame
    n_train: int
    categories: dict[str, list[str]] = field(default_factory=dict)
    fold_columns: tuple[FoldColumns, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def n_test(self) -> int:
        """The number of test rows."""
        rows = self.frame.height if self.frame.width else len(self.fold_columns[0].groups)
        return rows - self.n_train

    @property
    def train(self) -> pl.DataFrame:
        """The train rows."""
        return self.frame.head(self.n_train)

    @property
    def test(self) -> pl.DataFrame:
        """The test rows."""
        return self.frame.slice(self.n_train)

    def only_train(self, rows: npt.NDArray[np.int64]) -> FeatureMatrix:
        """Return the matrix of some train rows, without the test rows: for a quick try."""
        columns = tuple(FoldColumns(c.feature, c.groups[rows]) for c in self.fold_columns)
        frame = self.frame[rows] if self.frame.width else self.frame
        return FeatureMatrix(frame, len(rows), self.categories, columns, self.left_out)

    def learned(self, targets: Sequence[TargetLike], own: int, split: Split) -> FoldFrames:
        """Return what gives the fold-dependent columns of any fold.

        Parameters
        ----------
        targets : sequence of TargetLike
            All target columns, of n_train values each.
        own : int
            Which of them the model is trained for.
        split : Split

        Raises
        ------
        FeatureError
            When two columns have one name, or an encoding does not fit the target.
        """
        names = [name for c in self.fold_columns for name in c.names(targets, own)]
        _check_clashes([("the columns", self.frame.columns), *((name, [name]) for name in names)])
        learned = (c.feature.learn(c.groups, targets, own, split) for c in self.fold_columns)
        return FoldFrames(tuple(names), tuple(learned))


def build_matrix(
    blocks: Blocks, features: Sequence[str], *, drop: Sequence[str] = (), categorical: Sequence[str] = ()
) -> FeatureMatrix:
    """Build the columns that an experiment asks for.

    Parameters
    ----------
    blocks : Blocks
    features : sequence of str
        Features by name; ``"rows"`` for the columns of the tables themselves; ``"feature.column"`` or
        ``"rows.column"`` for a single column.
    drop : sequence of str
        Columns to leave out again.
    categorical : sequence of str
        Integer columns that are codes; text is always treated so.

    Raises
    ------
    NotFoundError
        For an unknown feature or column.
    FeatureError
        When two features give the same column, when a column is of a type that LightGBM can't take (it would end the
        process), or when nothing is left.
    """
    parts, fold_columns, left_out = [], [], []
    for name in features:
        made = blocks.features.get(name)
        if isinstance(made, FoldFeature):
            fold_columns += [FoldColumns(one, group_codes(blocks.columns(one.columns))) for one in made.each()]
        elif name.partition(".")[0] == "rows":
            frame, dropped = _rows_block(blocks, name)
            parts.append((name, frame))
            left_out += dropped
        else:
            parts.append((name, _feature_block(blocks, name)))
    parts = [(name, frame.drop([c for c in drop if c in frame.columns])) for name, frame in parts if frame.width]
    _check_drop(drop, blocks, features)
    _check_clashes([*((n, f.columns) for n, f in parts), *((c.feature.name, [c.feature.name]) for c in fold_columns)])
    if not any(frame.width for _, frame in parts) and not fold_columns:
        raise FeatureError(f"no column is left to train on: features = {list(features)}, drop = {list(drop)}")
    series: list[pl.Series] = []
    categories: dict[str, list[str]] = {}
    for name, frame in parts:
        for column in frame.get_columns():
            encoded, levels = _encoded(column, name)
            series.append(encoded)
            if levels is not None:
                categories[column.name] = levels
    matrix = pl.DataFrame(series)
    categories |= _integer_categories(matrix, categorical)
    return FeatureMatrix(matrix, blocks.competition.n_train, categories, tuple(fold_columns), tuple(left_out))


def _feature_block(blocks: Blocks, name: str) -> pl.DataFrame:
    feature, _, column = name.partition(".")
    block = blocks.block(feature)
    known = block.note["columns"]
    if column and column not in known:
        raise NotFoundError(f"feature {feature!r} has no column {column!r}", hint=near(column, known, what="column"))
    return pl.read_parquet(block.path, columns=[column] if column else list(known))


def _rows_block(blocks: Blocks, name: str) -> tuple[pl.DataFrame, list[str]]:
    competition = blocks.competition
    ids = () if name.partition(".")[2] else competition.key_columns
    wanted = [c for c in competition.shared_columns if c not in ids]
    if column := name.partition(".")[2]:
        if column not in wanted:
            raise NotFoundError(f"rows have no column {column!r}", hint=near(column, wanted, what="column"))
        wanted = [column]
    rows = competition.rows()
    schema = rows.collect_schema()
    usable = [c for c in wanted if not _unusable(schema[c])]
    frame = rows.select(ROW, *[_as_number(c, schema[c]) for c in usable]).collect().sort(ROW).drop(ROW)
    return frame, [f"{c} ({schema[c]})" for c in wanted if c not in usable]


def _unusable(dtype: pl.DataType) -> bool:
    return dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Null)


def _as_number(name: str, dtype: pl.DataType) -> pl.Expr:
    """Give the columns of the tables themselves a first shape: times as seconds, decimals as floats."""
    column = pl.col(name)
    if dtype in (pl.Date, pl.Datetime):
        return column.dt.epoch("s")
    if dtype == pl.Duration:
        return column.dt.total_seconds()
    if dtype == pl.Time:
        return column.cast(pl.Duration("us")).dt.total_seconds()
    return column.cast(pl.Float64) if dtype.is_decimal() else column


def _encoded(column: pl.Series, origin: str) -> tuple[pl.Series, list[str] | None]:
    dtype = column.dtype
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return _codes(column.cast(pl.String))
    if dtype == pl.Boolean:
        return column.cast(pl.Int8), None
    if dtype == pl.Float64 and not _needs_float64(column):
        return column.cast(pl.Float32), None
    if dtype.is_float() or dtype.is_integer():
        return column.cast(pl.Int64) if dtype in (pl.Int128, pl.UInt128) else column, None
    fix = {"Date": ".dt.epoch()", "Datetime": '.dt.epoch("s")', "Duration": ".dt.total_seconds()"}
    how = fix.get(str(dtype.base_type()), "")
    raise FeatureError(
        f"feature {origin!r}: column {column.name!r} is a {dtype}, which LightGBM can't take",
        hint=f"make it a number: pl.col({column.name!r}){how}" if how else "make it a number or a text",
    )


def _codes(column: pl.Series) -> tuple[pl.Series, list[str]]:
    # Codes follow the sorted categories, so that they do not depend on the order of the rows.
    levels = column.drop_nulls().unique().sort()
    codes = column.replace_strict(levels, pl.arange(len(levels), dtype=pl.Int32, eager=True), default=None)
    return codes.cast(pl.Int32).alias(column.name), levels.to_list()


def _needs_float64(column: pl.Series) -> bool:
    finite = column.drop_nulls().drop_nans()
    largest = finite.abs().max()
    return largest is not None and bool(float(largest) >= MAX_EXACT_FLOAT32) and bool((finite == finite.floor()).all())  # type: ignore[arg-type]


def _integer_categories(matrix: pl.DataFrame, categorical: Sequence[str]) -> dict[str, list[str]]:
    for name in categorical:
        if name not in matrix.columns:
            raise NotFoundError(f"categorical: no column {name!r}", hint=near(name, matrix.columns, what="column"))
        column = matrix[name]
        if not column.dtype.is_integer() or (column.min() or 0) < 0:  # type: ignore[operator]
            raise FeatureError(
                f"categorical: column {name!r} is a {column.dtype} from {column.min()!r}; expected integers from 0 up",
                hint="text columns are categorical by themselves",
            )
    return {name: [] for name in categorical if matrix[name].dtype != pl.String}


def _check_drop(drop: Sequence[str], blocks: Blocks, features: Sequence[str]) -> None:
    known = set(blocks.competition.shared_columns) if any(f.partition(".")[0] == "rows" for f in features) else set()
    for name in {f.partition(".")[0] for f in features} - {"rows"}:
        if not isinstance(blocks.features[name], FoldFeature):
            known |= set(blocks.block(name).note["columns"])
    for name in drop:
        if name not in known:
            raise NotFoundError(f"drop: no column {name!r} in these features", hint=near(name, known, what="column"))


def _check_clashes(parts: Sequence[tuple[str, Sequence[str]]]) -> None:
    owner: dict[str, str] = {}
    for name, columns in parts:
        for column in columns:
            if column in owner:
                raise FeatureError(
                    f"features {owner[column]!r} and {name!r} both give a column {column!r}",
                    hint=f"rename one, or leave one out with drop = [{column!r}]",
                )
            owner[column] = name
