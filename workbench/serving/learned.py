"""What a model's columns were when it was trained: they are looked at again where it predicts, before it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from workbench.cache import atomic, read_json, write_json
from workbench.competition import ROW
from workbench.errors import DamagedError, DataError
from workbench.features import AUTO, CHUNK_ROWS, Blocks, FeatureMatrix
from workbench.features.auto_plan import FILE, AutoPlan, kind_of
from workbench.frames import read_parquet
from workbench.training import Target

__all__ = ["COLUMNS", "LearnedColumns"]

COLUMNS = "columns.json"
SAMPLE = "train-sample.parquet"

SAMPLE_ROWS = 500
"""Of so many train rows at the beginning, and as many at the end, the columns' values are kept."""

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
    plan : AutoPlan, or None
        What ``auto`` makes of the rows, where it is used.
    """

    rows: Mapping[str, str]
    columns: Mapping[str, str]
    fold_columns: tuple[tuple[str, ...], ...]
    sample: pl.DataFrame
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
            plan=blocks.auto_plan() if blocks.built_in(auto) and AUTO in blocks.used(features) else None,
        )

    @property
    def files(self) -> list[str]:
        """The names of the files that `write` writes."""
        return [COLUMNS, SAMPLE, *(self.plan.files if self.plan is not None else ())]

    def write(self, folder: Path) -> None:
        """Write it beside the models."""
        said = {"rows": dict(self.rows), "columns": dict(self.columns), "fold_columns": self.fold_columns}
        write_json(folder / COLUMNS, said)
        with atomic(folder / SAMPLE) as temporary:
            self.sample.write_parquet(temporary)
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
        if COLUMNS not in files or SAMPLE not in files:
            raise DamagedError("the columns of the models were not packed", hint="run the experiment again, and build")
        said = read_json(files[COLUMNS])
        return cls(
            rows=said["rows"],
            columns=said["columns"],
            fold_columns=tuple(map(tuple, said["fold_columns"])),
            sample=read_parquet(files[SAMPLE]),
            plan=AutoPlan.read(files) if FILE in files else None,
        )

    def check_rows(self, blocks: Blocks) -> None:
        """Refuse rows whose columns hold something else than when the model was trained."""
        for name, dtype in _types(blocks).items():
            was = self.rows[name]
            if kind_of(was) != kind_of(dtype):
                raise DataError(
                    f"column {name!r} of the rows is a {dtype}; it was a {was} when the model was trained",
                    hint="set its type under [types] in competition.toml, so that every test set is read alike, run "
                    "the experiment again and build",
                )

    def check_matrix(self, matrix: FeatureMatrix, target: Target) -> None:
        """Refuse a matrix whose columns are not those of the training, by name, in their order and by type.

        Raises
        ------
        DataError
            Names the first that differs, as it was and as it is.
        """
        pairs = [(list(self.columns), matrix.columns)]
        pairs += [(list(a), list(b)) for a, b in zip(self.fold_columns, _fold_columns(matrix, target), strict=True)]
        for trained, have in pairs:
            if trained != have:
                raise _other_columns(trained, have)
        for name, kind in _kinds(matrix).items():
            if kind != self.columns[name]:
                raise DataError(
                    f"column {name!r} is a {kind}; it was a {self.columns[name]} when the model was trained"
                )

    def changed(self, matrix: FeatureMatrix) -> list[str]:
        """Return the columns whose values in train rows are others than in training.

        The train rows are the same: such a column is made of the test rows, too, or was read in another way.
        """
        have = _sample(matrix)
        return [name for name in self.sample.columns if not _same(self.sample[name], have[name])]


def _types(blocks: Blocks) -> dict[str, str]:
    schema = blocks.competition.rows().collect_schema()
    return {name: str(dtype) for name, dtype in schema.items() if name != ROW}


def _kinds(matrix: FeatureMatrix) -> dict[str, str]:
    return {name: "category" if name in matrix.categories else "number" for name in matrix.columns}


def _fold_columns(matrix: FeatureMatrix, target: Target) -> tuple[tuple[str, ...], ...]:
    columns = target.columns
    return tuple(tuple(n for c in matrix.fold_columns for n in c.names(columns, i)) for i in range(len(columns)))


def _sample(matrix: FeatureMatrix) -> pl.DataFrame:
    if not matrix.width:
        return pl.DataFrame()
    # The first and the last stretch only: the matrix may be larger than the memory.
    near = min(CHUNK_ROWS, matrix.n_train)
    first = np.linspace(0, near - 1, min(SAMPLE_ROWS, near)).astype(np.int64)
    rows = np.unique([*first, *(matrix.n_train - 1 - first)])
    return pl.concat(frame for _, frame in matrix.chunks(rows))


def _same(was: pl.Series, now: pl.Series) -> bool:
    a, b = was.cast(pl.Float64).to_numpy(), now.cast(pl.Float64).to_numpy()
    finite = a[np.isfinite(a)]
    near_zero = CLOSE * float(finite.std()) if len(finite) else 0.0
    return a.shape == b.shape and bool(np.isclose(a, b, rtol=CLOSE, atol=near_zero, equal_nan=True).all())


def _other_columns(trained: list[str], have: list[str]) -> DataError:
    gone, new = [c for c in trained if c not in have], [c for c in have if c not in trained]
    if gone or new:
        differ = [
            f"{', '.join(map(repr, gone[:5]))} missing" if gone else "",
            f"{', '.join(map(repr, new[:5]))} new" if new else "",
        ]
        said = "; ".join(d for d in differ if d)
    else:
        at = next(i for i, (a, b) in enumerate(zip(trained, have, strict=True)) if a != b)
        said = f"in another order: column {at + 1} was {trained[at]!r} and is {have[at]!r}"
    return DataError(
        f"the columns are not those that the model was trained on ({len(trained):,}, now {len(have):,}): {said}",
        hint="a feature whose columns depend on the test rows can't be served: give it the same columns always",
    )
