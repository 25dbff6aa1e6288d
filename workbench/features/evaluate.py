"""From a feature's function and its inputs to a Parquet file: called whole or part by part, checked, in row order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from polars.io.plugins import register_io_source

from workbench.competition import ROW
from workbench.errors import FeatureError
from workbench.features.definition import Feature
from workbench.features.ordering import ROWS_PER_BUCKET, Buckets, RowOrderError, in_row_order, row_problem
from workbench.features.partition import Part, Parts

__all__ = ["COMPRESSION", "Evaluation"]

COMPRESSION: Literal["lz4"] = "lz4"
"""Blocks are read far more often than they are written: lz4 reads three times as fast as zstd at 1.3 times the size."""


@dataclass(frozen=True)
class Evaluation:
    """One feature with its inputs, ready to be computed.

    Attributes
    ----------
    made : Feature
    inputs : callable
        Gives the frame of an input, by name, for a part or (None) whole.
    parts : Parts, or None
        None to call the function once.
    targets : tuple of str
        Columns that must not come back.
    n_rows, n_train : int
    """

    made: Feature
    inputs: Callable[[str, Part | None], pl.LazyFrame]
    parts: Parts | None
    targets: tuple[str, ...]
    n_rows: int
    n_train: int

    def write(self, path: Path, folder: Path, budget_bytes: int) -> dict[str, str]:
        """Compute the feature and write it in row order; return its columns and their types.

        Parameters
        ----------
        path : Path
        folder : Path
            Where lines wait that come too early, beyond `budget_bytes`.

        Raises
        ------
        FeatureError
            When the result breaks the contract.
        """
        results = self._results()
        first = next(results)
        schema = self._schema(first)
        failure: list[BaseException] = []
        buckets = Buckets(folder, budget_bytes)

        def batches(
            with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            del with_columns, predicate, n_rows, batch_size
            try:
                yield from in_row_order(self._batches(first, results, schema), self.n_rows, buckets)
            except BaseException as exc:
                failure.append(exc)
                raise

        try:
            register_io_source(batches, schema=schema).sink_parquet(
                path, row_group_size=ROWS_PER_BUCKET, compression=COMPRESSION
            )
        except Exception:
            if not failure:
                raise
            # What was raised while computing comes back wrapped by polars.
            if isinstance(failure[0], RowOrderError):
                raise self._misaligned() from None
            raise failure[0] from None
        finally:
            buckets.close()
        return {name: str(dtype) for name, dtype in schema.items() if name != ROW}

    def _results(self) -> Iterator[pl.LazyFrame]:
        for part in self.parts or (None,):
            yield self.result({name: self.inputs(name, part) for name in self.made.inputs}, self.inputs("rows", part))

    def result(self, inputs: dict[str, pl.LazyFrame], rows: pl.LazyFrame) -> pl.LazyFrame:
        """Call the function with these inputs; expressions that it returns are taken over `rows`.

        Raises
        ------
        FeatureError
            When it returns neither a frame nor expressions.
        """
        result: Any = self.made.function(**inputs)
        if isinstance(result, pl.Expr):
            result = [result]
        if isinstance(result, list | tuple) and all(isinstance(e, pl.Expr) for e in result):
            return rows.select(ROW, *result)
        if isinstance(result, pl.DataFrame):
            result = result.lazy()
        if not isinstance(result, pl.LazyFrame):
            raise FeatureError(
                f"feature {self.made.name!r} ({self.made.where}) returned a {type(result).__name__}",
                hint="return a LazyFrame with ROW and the new columns, or a list of expressions over rows",
            )
        return result

    def _batches(
        self, first: pl.LazyFrame, results: Iterable[pl.LazyFrame], schema: dict[str, pl.DataType]
    ) -> Iterator[pl.DataFrame]:
        yield from first.select(list(schema)).collect_batches(chunk_size=ROWS_PER_BUCKET)
        for part, result in enumerate(results, start=1):
            found = result.collect_schema()
            if dict(found) != schema and set(found) == set(schema):
                column = next(c for c in schema if found[c] != schema[c])
                raise FeatureError(
                    f"feature {self.made.name!r} ({self.made.where}): column {column!r} is {schema[column]} in the "
                    f"first part of the rows and {found[column]} in part {part + 1}",
                    hint=f"give it one type: .cast(pl.{schema[column]})",
                )
            if set(found) != set(schema):
                raise FeatureError(
                    f"feature {self.made.name!r} ({self.made.where}) gives other columns in part {part + 1} of the "
                    f"rows: {', '.join(sorted(set(found) ^ set(schema))[:5])}",
                    hint=f"columns must not depend on the values of {self.made.partition_by!r}",
                )
            yield from result.select(list(schema)).collect_batches(chunk_size=ROWS_PER_BUCKET)

    def _schema(self, frame: pl.LazyFrame) -> dict[str, pl.DataType]:
        name, where = self.made.name, self.made.where
        schema = dict(frame.collect_schema())
        if ROW not in schema:
            raise FeatureError(
                f"feature {name!r} ({where}) lost the row key {ROW!r}; it has {', '.join(list(schema)[:10])}",
                hint="keep it: rows.select(ROW, …), and group or join so that it stays",
            )
        leaked = [t for t in self.targets if t in schema]
        if leaked:
            raise FeatureError(
                f"feature {name!r} ({where}) returns the target {leaked[0]!r}",
                hint="leave it out; statistics of the target come from target_mean and its kin",
            )
        if len(schema) == 1:
            raise FeatureError(f"feature {name!r} ({where}) returns no column beside the row key")
        for column, dtype in schema.items():
            if dtype in (pl.Object, pl.Unknown):
                raise FeatureError(
                    f"feature {name!r} ({where}): column {column!r} is a {dtype}: values of mixed types",
                    hint="give every value one type, for example with return_dtype= in map_elements",
                )
        return {ROW: schema.pop(ROW), **schema}

    def _misaligned(self) -> FeatureError:
        keys = (
            batch[ROW]
            for result in self._results()
            for batch in result.select(ROW).collect_batches(chunk_size=ROWS_PER_BUCKET)
        )
        problem = row_problem(keys, self.n_rows, self.n_train) or "gives other lines when it is computed again"
        return FeatureError(
            f"feature {self.made.name!r} ({self.made.where}) {problem}",
            hint="repeats come from a join on a key that is not unique, losses from an inner join or a filter: "
            'join with how="left" on a unique key, or group by ROW',
        )
