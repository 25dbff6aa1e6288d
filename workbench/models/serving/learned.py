"""The columns that a model was trained on, stored with it and checked before it predicts elsewhere."""

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
from workbench.data.ingest.formats import kind_of as kind_of_file
from workbench.features import AUTO, CHUNK_ROWS, Blocks, Feature, FeatureMatrix, FoldFeature, is_built_in
from workbench.features.auto_plan import FILE, AutoPlan, kind_of
from workbench.models.target import Target

__all__ = ["COLUMNS", "ROWS_SAMPLE", "LearnedColumns", "types_as_read", "with_trained_rows"]

COLUMNS = "columns.json"
SAMPLE = "train-sample.parquet"
ROWS_SAMPLE = "train-rows.parquet"

SAMPLE_ROWS = 500
"""The columns' values are stored for this many train rows at the start, and as many at the end."""

SAME_TYPES_HINT = (
    "set its type under [types] in competition.toml, so that every test set is read alike, run the experiment again "
    "and build"
)

MAX_TEXT_LENGTH = 100
"""Texts in these rows are truncated to this many characters."""

TOLERANCE = 1e-4
"""Relative differences up to this are rounding: sums are taken in another order, and stored in 32 bits."""


@dataclass(frozen=True)
class LearnedColumns:
    """The columns that a model was trained on.

    Attributes
    ----------
    rows : dict
        Column of the tables' rows -> type, in their order.
    columns : dict
        Column of the matrix -> "number" or "category", in their order.
    fold_columns : tuple of tuple of str
        The columns that depend on the fold, for each target.
    sample : DataFrame
        The values of the matrix in some train rows.
    rows_sample : DataFrame
        The values of the tables' columns in the same rows, as they were read; texts are truncated.
    types_as_read : dict
        "table.column" -> type, as under ``[types]``, of the columns of text files.
    plan : AutoPlan, or None
        The plan of the feature ``auto``, if it is used.
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
        """Describe the columns of a matrix that was built from these features."""
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
        """Write the files next to the models."""
        names = {"rows": dict(self.rows), "columns": dict(self.columns), "fold_columns": self.fold_columns}
        write_json(folder / COLUMNS, names | {"types_as_read": dict(self.types_as_read)})
        for name, sample in ((SAMPLE, self.sample), (ROWS_SAMPLE, self.rows_sample)):
            with atomic(folder / name) as temporary:
                sample.write_parquet(temporary)
        if self.plan is not None:
            self.plan.write(folder)

    @classmethod
    def read(cls, files: Mapping[str, Path]) -> LearnedColumns:
        """Read the files of `write`, given by name.

        Raises
        ------
        DamagedError
            When a file is missing.
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
        """Reject rows if a column that the features may read has another type or other values than in training.

        Raises
        ------
        DataError
            With the first such column.
        """
        columns_read = self._columns_read(blocks, features)
        for name, dtype in _types(blocks).items():
            trained_type = self.rows[name]
            # A column that was empty in training may have any type.
            if name in columns_read and kind_of(trained_type) not in (kind_of(dtype), "Null"):
                raise DataError(
                    f"column {name!r} of the rows is a {dtype}; it was a {trained_type} when the model was trained",
                    hint=SAME_TYPES_HINT,
                )
        rows_sample = _rows_sample(blocks.competition)
        for name in (c for c in self.rows_sample.columns if c in columns_read and c in rows_sample.columns):
            trained, present = (_comparable(s) for s in (self.rows_sample[name], rows_sample[name]))
            # Values of types that can't be compared, such as times with and without a zone, are not checked.
            if trained.dtype == present.dtype and len(differing := trained.ne_missing(present).arg_true()):
                row = int(differing[0])
                raise DataError(
                    f"column {name!r} is read otherwise than when the model was trained: a train row has "
                    f"{present[row]!r}, which was {trained[row]!r}",
                    hint=SAME_TYPES_HINT,
                )

    def _columns_read(self, blocks: Blocks, features: Sequence[str]) -> set[str]:
        """Return the tables' columns that the features may read: functions of features.py may read any."""
        used = [blocks.features[n] for n in blocks.dependencies(features)]
        if any(isinstance(f, Feature) and not is_built_in(f) for f in used) or "rows" in features:
            return set(self.rows)
        named = [*features, *(c for f in used if isinstance(f, FoldFeature) for c in f.columns)]
        return {n.removeprefix("rows.") for n in named} | set(self.plan.types if self.plan is not None else ())

    def check_matrix(self, matrix: FeatureMatrix, target: Target) -> None:
        """Reject a matrix whose columns differ from those of the training in name, order or type.

        Raises
        ------
        DataError
            With the first difference.
        """
        pairs = [(list(self.columns), matrix.columns)]
        pairs += [(list(a), list(b)) for a, b in zip(self.fold_columns, _fold_columns(matrix, target), strict=True)]
        for trained, columns in pairs:
            if trained != columns:
                raise _columns_error(trained, columns)
        for name, kind in _kinds(matrix).items():
            if kind != self.columns[name]:
                raise DataError(
                    f"column {name!r} is a {kind}; it was a {self.columns[name]} when the model was trained"
                )

    def changed(self, matrix: FeatureMatrix) -> list[str]:
        """Return the columns with other values in train rows than in training.

        As the train rows are the same, such a column also depends on the test rows, or was read in another way.
        """
        sample = _sample(matrix)
        return [name for name in self.sample.columns if not _is_close(self.sample[name], sample[name])]


def types_as_read(manifest: Manifest) -> dict[str, str]:
    """Return the types of the columns of text files, as under ``[types]``, by "table.column".

    With them new files are read as in training, such as dates with the day first, or codes as text.
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
    """Return the competition with the tables' columns that a model was trained on.

    Columns without any value get the types that they had in training.

    Parameters
    ----------
    rows : dict
        Column -> type, from `LearnedColumns`.
    """
    competition = replace(competition, columns=tuple(rows))
    rows_now = competition.rows.scan()
    changed = [c for c, t in rows_now.collect_schema().items() if c != ROW and kind_of(str(t)) != kind_of(rows[c])]
    if not changed:
        return competition
    is_empty = rows_now.select(pl.col(changed).is_null().all()).collect(engine="streaming").row(0, named=True)
    types = {c: dtype for c in changed if is_empty[c] and (dtype := _type_named(rows[c])) is not None}
    return replace(competition, empty_types=types)


def _type_named(text: str) -> pl.DataType | None:
    """Return the type of a name by `str`; None for nested types."""
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
    # From the first and the last chunk only, as the matrix may be larger than the memory.
    chunk_rows = min(CHUNK_ROWS, matrix.n_train)
    first = np.linspace(0, chunk_rows - 1, min(SAMPLE_ROWS, chunk_rows)).astype(np.int64)
    rows = np.unique([*first, *(matrix.n_train - 1 - first)])
    return pl.concat(frame for _, frame in matrix.chunks(rows))


def _rows_sample(competition: Competition) -> pl.DataFrame:
    n_train, n_sampled = competition.n_train, min(SAMPLE_ROWS, competition.n_train)
    ranges = [(0, n_sampled), (max(n_sampled, n_train - n_sampled), n_train)]
    frame = pl.concat([competition.rows.between(start, stop) for start, stop in ranges if start < stop])
    nested = [c for c, t in frame.collect_schema().items() if t.is_nested() or t in (pl.Binary, pl.Object, pl.Null)]
    rows = frame.sort(ROW).drop(ROW, *nested).collect()
    return rows.with_columns(
        s.cast(pl.String).str.head(MAX_TEXT_LENGTH) for s in rows if kind_of(str(s.dtype)) == "text"
    )


def _comparable(values: pl.Series) -> pl.Series:
    if kind_of(str(values.dtype)) == "number":
        return values.cast(pl.Float64)
    return values.cast(pl.Datetime("us")) if values.dtype == pl.Date else values


def _is_close(trained: pl.Series, present: pl.Series) -> bool:
    """Return whether two columns are equal but for rounding."""
    a, b = trained.cast(pl.Float64).to_numpy(), present.cast(pl.Float64).to_numpy()
    finite = a[np.isfinite(a)]
    absolute_tolerance = TOLERANCE * float(finite.std()) if len(finite) else 0.0
    return a.shape == b.shape and bool(np.isclose(a, b, rtol=TOLERANCE, atol=absolute_tolerance, equal_nan=True).all())


def _columns_error(trained: list[str], columns: list[str]) -> DataError:
    """Return the error for columns that differ from those of the training."""
    missing, new = [c for c in trained if c not in columns], [c for c in columns if c not in trained]
    if missing or new:
        differences = [
            f"{', '.join(map(repr, missing[:5]))} missing" if missing else "",
            f"{', '.join(map(repr, new[:5]))} new" if new else "",
        ]
        difference = "; ".join(d for d in differences if d)
    else:
        pairs = enumerate(zip(trained, columns, strict=True))
        position, was, now = next((i, was, now) for i, (was, now) in pairs if was != now)
        difference = f"in another order: column {position + 1} was {was!r} and is {now!r}"
    return DataError(
        f"the columns are not those that the model was trained on ({len(trained):,}, now {len(columns):,}): "
        f"{difference}",
        hint="a feature whose columns depend on the test rows can't be served: give it the same columns always",
    )
