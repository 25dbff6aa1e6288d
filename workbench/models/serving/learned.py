"""What a model's columns were when it was trained: they are looked at again where it predicts, before it does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workbench.core.cache import atomic, read_json, write_json
from workbench.core.errors import DamagedError, DataError
from workbench.core.frames import read_parquet
from workbench.data.competition import ROW, Competition, Manifest
from workbench.data.ingest.sources import kind_of as kind_of_file
from workbench.features import AUTO, CHUNK_ROWS, Blocks, Feature, FeatureMatrix, FoldFeature, is_built_in
from workbench.features.auto_plan import FILE, AutoPlan, kind_of
from workbench.models.target import Target

__all__ = ["COLUMNS", "ROWS_SAMPLE", "LearnedColumns", "types_as_read", "with_trained_rows"]

COLUMNS = "columns.json"
SAMPLE = "train-sample.parquet"
ROWS_SAMPLE = "train-rows.parquet"

SAMPLE_ROWS = 500
"""Of so many train rows at the beginning, and as many at the end, the columns' values are kept."""

SAME_TYPES = (
    "set its type under [types] in competition.toml, so that every test set is read alike, run the experiment again "
    "and build"
)

TEXT_START = 100
"""Of a text in these rows so many characters are kept."""

CLOSE = 1e-4
"""Values that differ by no more, relative to the greater, are the same: sums in another order, kept in 32 bits."""


@dataclass(frozen=True)
class LearnedColumns:
    """The columns that a model was trained on.

    Attributes
    ----------
    rows : dict
        The types of the columns of the rows, in their order.
    columns : dict
        What each column of the matrix is, in their order: "number" or "category".
    fold_columns : tuple of tuple of str
        Those that depend on the fold, for each target.
    sample : DataFrame
        The columns' values in some train rows.
    rows_sample : DataFrame
        The values of the rows' own columns there, as they were read; of texts the start.
    types_as_read : dict
        What was decided of the spelling of columns of text files, as ``[types]`` names it, by "table.column".
    plan : AutoPlan, or None
        What ``auto`` makes of the rows, where it is used.
    """

    rows: Mapping[str, str]
    columns: Mapping[str, str]
    fold_columns: tuple[tuple[str, ...], ...]
    sample: pl.DataFrame
    rows_sample: pl.DataFrame
    types_as_read: Mapping[str, str]
    plan: AutoPlan | None

    @classmethod
    def of(cls, blocks: Blocks, features: Sequence[str], matrix: FeatureMatrix, target: Target) -> LearnedColumns:
        """Return what the columns of a matrix are, which was built of these features."""
        auto = blocks.features[AUTO]
        return cls(
            rows=_types(blocks),
            columns=_kinds(matrix),
            fold_columns=_fold_columns(matrix, target),
            sample=_sample(matrix),
            rows_sample=_rows_sample(blocks.competition),
            types_as_read=types_as_read(blocks.competition.manifest),
            plan=blocks.auto_plan() if is_built_in(auto) and AUTO in blocks.dependencies(features) else None,
        )

    @property
    def files(self) -> list[str]:
        """The names of the files that `write` writes."""
        return [COLUMNS, SAMPLE, ROWS_SAMPLE, *(self.plan.files if self.plan is not None else ())]

    def write(self, folder: Path) -> None:
        """Write it beside the models."""
        lists = {"rows": dict(self.rows), "columns": dict(self.columns), "fold_columns": self.fold_columns}
        write_json(folder / COLUMNS, lists | {"types_as_read": dict(self.types_as_read)})
        for name, sample in ((SAMPLE, self.sample), (ROWS_SAMPLE, self.rows_sample)):
            with atomic(folder / name) as temporary:
                sample.write_parquet(temporary)
        if self.plan is not None:
            self.plan.write(folder)

    @classmethod
    def read(cls, files: Mapping[str, Path]) -> LearnedColumns:
        """Return what `write` wrote, of which the files are given by their names.

        Raises
        ------
        DamagedError
            When it is not there.
        """
        if not {COLUMNS, SAMPLE, ROWS_SAMPLE} <= set(files):
            raise DamagedError("the columns of the models were not packed", hint="run the experiment again, and build")
        lists = read_json(files[COLUMNS])
        return cls(
            rows=lists["rows"],
            columns=lists["columns"],
            fold_columns=tuple(map(tuple, lists["fold_columns"])),
            sample=read_parquet(files[SAMPLE]),
            rows_sample=read_parquet(files[ROWS_SAMPLE]),
            types_as_read=lists["types_as_read"],
            plan=AutoPlan.read(files) if FILE in files else None,
        )

    def check_rows(self, blocks: Blocks, features: Sequence[str]) -> None:
        """Refuse rows of which a column that the features may read is read otherwise than when the model was trained.

        Raises
        ------
        DataError
            Where it is of another kind, or has other values in the train rows, which are the same.
        """
        read = self._read_by(blocks, features)
        for name, dtype in _types(blocks).items():
            was = self.rows[name]
            # A column that nothing in the training's rows had a value of may hold anything.
            if name in read and kind_of(was) not in (kind_of(dtype), "Null"):
                raise DataError(
                    f"column {name!r} of the rows is a {dtype}; it was a {was} when the model was trained",
                    hint=SAME_TYPES,
                )
        now = _rows_sample(blocks.competition)
        for name in (c for c in self.rows_sample.columns if c in read and c in now.columns):
            a, b = (_comparable(s) for s in (self.rows_sample[name], now[name]))
            # Types that can't be compared, as times with and without a zone, are no other values.
            if a.dtype == b.dtype and len(other := a.ne_missing(b).arg_true()):
                at = int(other[0])
                raise DataError(
                    f"column {name!r} is read otherwise than when the model was trained: a train row has {b[at]!r}, "
                    f"which was {a[at]!r}",
                    hint=SAME_TYPES,
                )

    def _read_by(self, blocks: Blocks, features: Sequence[str]) -> set[str]:
        """Return the columns of the rows that the features may read: a function of features.py may read any."""
        used = [blocks.features[n] for n in blocks.dependencies(features)]
        if any(isinstance(f, Feature) and not is_built_in(f) for f in used) or "rows" in features:
            return set(self.rows)
        named = [*features, *(c for f in used if isinstance(f, FoldFeature) for c in f.columns)]
        return {n.removeprefix("rows.") for n in named} | set(self.plan.types if self.plan is not None else ())

    def check_matrix(self, matrix: FeatureMatrix, target: Target) -> None:
        """Refuse a matrix whose columns are not those of the training, by name, in their order and by type.

        Raises
        ------
        DataError
            Names the first that differs, as it was and as it is.
        """
        pairs = [(list(self.columns), matrix.columns)]
        pairs += [(list(a), list(b)) for a, b in zip(self.fold_columns, _fold_columns(matrix, target), strict=True)]
        for trained, columns in pairs:
            if trained != columns:
                raise _other_columns(trained, columns)
        for name, kind in _kinds(matrix).items():
            if kind != self.columns[name]:
                raise DataError(
                    f"column {name!r} is a {kind}; it was a {self.columns[name]} when the model was trained"
                )

    def changed(self, matrix: FeatureMatrix) -> list[str]:
        """Return the columns whose values in train rows are others than in training.

        The train rows are the same: such a column is made of the test rows, too, or was read in another way.
        """
        sample = _sample(matrix)
        return [name for name in self.sample.columns if not _same(self.sample[name], sample[name])]


def types_as_read(manifest: Manifest) -> dict[str, str]:
    """Return what was decided of the spelling of text files' columns, as ``[types]`` takes it, by "table.column".

    Read so, files that came later are read as those of the training were: day before month, codes as text.
    """
    types: dict[str, str] = {}
    for name, info in manifest.tables.items():
        if kind_of_file(info.source) != "text":
            continue
        spelled = {c: f"{info.dtypes[c].partition('(')[0]} {spelling}" for c, spelling in info.spelled.items()}
        texts = {c: "String" for c, dtype in info.dtypes.items() if dtype == "String"}
        types |= {f"{name}.{c}": spelling for c, spelling in (texts | spelled | info.types).items()}
    return types


def with_trained_rows(competition: Competition, rows: Mapping[str, str]) -> Competition:
    """Return the competition with the columns of the rows that a model was trained on.

    One that has no value now has the type that it had.

    Parameters
    ----------
    rows : dict
        As `LearnedColumns` has it.
    """
    competition = replace(competition, columns=tuple(rows))
    now = competition.rows.scan()
    other = [c for c, t in now.collect_schema().items() if c != ROW and kind_of(str(t)) != kind_of(rows[c])]
    if not other:
        return competition
    empty = now.select(pl.col(other).is_null().all()).collect(engine="streaming").row(0, named=True)
    types = {c: dtype for c in other if empty[c] and (dtype := _type_named(rows[c])) is not None}
    return replace(competition, empty_types=types)


def _type_named(text: str) -> pl.DataType | None:
    """Return a type by what `str` says of it; None for one that is made of others."""
    if text.startswith(("Datetime", "Duration")):
        unit, zone = re.search(r"time_unit='(\w+)'", text), re.search(r"time_zone='([^']+)'", text)
        time_unit: Any = unit[1] if unit else "us"
        return (
            pl.Datetime(time_unit, zone[1] if zone else None) if text.startswith("Datetime") else pl.Duration(time_unit)
        )
    if kind_of(text) == "text":
        return pl.String()
    if text.startswith("Decimal"):
        return pl.Float64()
    integers = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
    return {str(t()): t() for t in (pl.Boolean, pl.Date, pl.Time, pl.Float32, pl.Float64, *integers)}.get(text)


def _types(blocks: Blocks) -> dict[str, str]:
    schema = blocks.competition.rows.scan().collect_schema()
    return {name: str(dtype) for name, dtype in schema.items() if name != ROW}


def _kinds(matrix: FeatureMatrix) -> dict[str, str]:
    return {name: "category" if name in matrix.categories else "number" for name in matrix.columns}


def _fold_columns(matrix: FeatureMatrix, target: Target) -> tuple[tuple[str, ...], ...]:
    columns = target.columns
    return tuple(tuple(n for c in matrix.fold_columns for n in c.names(columns, i)) for i in range(len(columns)))


def _sample(matrix: FeatureMatrix) -> pl.DataFrame:
    if not matrix.width:
        return pl.DataFrame()
    # The first and the last chunk only: the matrix may be larger than the memory.
    near = min(CHUNK_ROWS, matrix.n_train)
    first = np.linspace(0, near - 1, min(SAMPLE_ROWS, near)).astype(np.int64)
    rows = np.unique([*first, *(matrix.n_train - 1 - first)])
    return pl.concat(frame for _, frame in matrix.chunks(rows))


def _rows_sample(competition: Competition) -> pl.DataFrame:
    n, some = competition.n_train, min(SAMPLE_ROWS, competition.n_train)
    ends = [(0, some), (max(some, n - some), n)]
    frame = pl.concat([competition.rows.between(start, stop) for start, stop in ends if start < stop])
    nested = [c for c, t in frame.collect_schema().items() if t.is_nested() or t in (pl.Binary, pl.Object, pl.Null)]
    rows = frame.sort(ROW).drop(ROW, *nested).collect()
    return rows.with_columns(s.cast(pl.String).str.head(TEXT_START) for s in rows if kind_of(str(s.dtype)) == "text")


def _comparable(values: pl.Series) -> pl.Series:
    if kind_of(str(values.dtype)) == "number":
        return values.cast(pl.Float64)
    return values.cast(pl.Datetime("us")) if values.dtype == pl.Date else values


def _same(was: pl.Series, now: pl.Series) -> bool:
    a, b = was.cast(pl.Float64).to_numpy(), now.cast(pl.Float64).to_numpy()
    finite = a[np.isfinite(a)]
    near_zero = CLOSE * float(finite.std()) if len(finite) else 0.0
    return a.shape == b.shape and bool(np.isclose(a, b, rtol=CLOSE, atol=near_zero, equal_nan=True).all())


def _other_columns(trained: list[str], columns: list[str]) -> DataError:
    missing, new = [c for c in trained if c not in columns], [c for c in columns if c not in trained]
    if missing or new:
        differ = [
            f"{', '.join(map(repr, missing[:5]))} missing" if missing else "",
            f"{', '.join(map(repr, new[:5]))} new" if new else "",
        ]
        difference = "; ".join(d for d in differ if d)
    else:
        at = next(i for i, (a, b) in enumerate(zip(trained, columns, strict=True)) if a != b)
        difference = f"in another order: column {at + 1} was {trained[at]!r} and is {columns[at]!r}"
    return DataError(
        f"the columns are not those that the model was trained on ({len(trained):,}, now {len(columns):,}): "
        f"{difference}",
        hint="a feature whose columns depend on the test rows can't be served: give it the same columns always",
    )
