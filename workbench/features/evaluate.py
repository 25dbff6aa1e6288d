"""From features' functions and their inputs to Parquet files: called whole or part by part, checked, in row order.

A block's lines are those of the rows, in their order. That is checked while it is written, so that a line's number is
its row key, which need not be stored: it would be half of a typical block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from polars.io.plugins import register_io_source

from workbench.core.errors import FeatureError
from workbench.core.user_code import EXIT_HINT, is_interrupt, user_frame, user_place
from workbench.data.competition import ROW
from workbench.features.definition import Feature
from workbench.features.naming_places import hint_for_column, missing_column, place_of_name
from workbench.features.ordering import ROWS_PER_BUCKET, Buckets, RowOrderError, in_row_order, row_problem
from workbench.features.partition import Part, Parts
from workbench.features.wrong_results import as_in_polars, wrong_result

__all__ = ["COMPRESSION", "Evaluation", "NotTogetherError", "write_blocks"]

COMPRESSION: Literal["lz4"] = "lz4"
"""Blocks are read far more often than they are written: lz4 reads three times as fast as zstd at 1.3 times the size."""

ONE_TYPE = "give every value one type, for example with return_dtype= in map_elements"


@dataclass(frozen=True)
class Evaluation:
    """One feature with its inputs, ready to be computed.

    Attributes
    ----------
    feature : Feature
    inputs : callable
        Gives the frame of an input, by name, for a part or (None) whole.
    parts : Parts, or None
        None to call the function once.
    targets : tuple of str
        Columns that must not come back.
    n_rows, n_train : int
    """

    feature: Feature
    inputs: Callable[[str, Part | None], pl.LazyFrame]
    parts: Parts | None
    targets: tuple[str, ...]
    n_rows: int
    n_train: int

    def results(self) -> Iterator[pl.LazyFrame]:
        """Give what the function returns, part by part, with the row key."""
        for part in self.parts or (None,):
            yield self.result(
                {name: self.inputs(name, part) for name in self.feature.inputs}, self.inputs("rows", part)
            )

    def expressions(self, part: Part | None) -> list[pl.Expr] | None:
        """Return the expressions over ``rows`` that the function returns for a part; None where it returns a frame."""
        result: Any = self.feature.function(**{name: self.inputs(name, part) for name in self.feature.inputs})
        result = [result] if isinstance(result, pl.Expr) else result
        is_list = isinstance(result, list | tuple) and all(isinstance(e, pl.Expr) for e in result)
        return list(result) if is_list else None

    def result(self, inputs: dict[str, pl.LazyFrame], rows: pl.LazyFrame) -> pl.LazyFrame:
        """Call the function with these inputs; expressions that it returns are taken over `rows`.

        Raises
        ------
        FeatureError
            When it returns neither a frame nor expressions.
        """
        result: Any = self.feature.function(**inputs)
        if isinstance(result, pl.Expr):
            result = [result]
        if isinstance(result, list | tuple) and result and all(isinstance(e, pl.Expr) for e in result):
            return rows.select(ROW, *result)
        if isinstance(result, pl.DataFrame):
            result = result.lazy()
        if not isinstance(result, pl.LazyFrame):
            problem, hint = wrong_result(result)
            raise FeatureError(f"feature {self.feature.name!r} ({self.feature.where}) returned {problem}", hint=hint)
        return result

    def schema(self, frame: pl.LazyFrame) -> pl.Schema:
        """Return the columns of a result, the row key first.

        Raises
        ------
        FeatureError
            When the row key is not there or no whole number, or a column is there that must not be.
        """
        name, where = self.feature.name, self.feature.where
        schema = frame.collect_schema()
        if ROW not in schema:
            raise FeatureError(
                f"feature {name!r} ({where}) lost the row key {ROW!r}; it has {', '.join(list(schema)[:10])}",
                hint="keep it: rows.select(ROW, …), and group or join so that it stays",
            )
        if not schema[ROW].is_integer():
            raise FeatureError(
                f"feature {name!r} ({where}): its row key became {schema[ROW]}",
                hint="keep it as it is given, a pl.UInt32: pandas, and arithmetic with floats, make another number of "
                "it; cast it back where all are whole: .with_columns(pl.col(ROW).cast(pl.UInt32))",
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
                    f"feature {name!r} ({where}): column {column!r} is a {dtype}: values of mixed types"
                    f"{_kinds_of_values(frame, column, self.n_train)}",
                    hint=ONE_TYPE,
                )
        return pl.Schema({ROW: schema[ROW], **schema})

    def failure(self, exc: BaseException) -> FeatureError:
        """Return what to raise where the function or polars raised `exc`: place and, as far as known, column."""
        name, where, folder = self.feature.name, self.feature.where, self.feature.path.parent
        if type(exc) is FeatureError:
            return self._placed(exc)
        missing = missing_column(exc)
        if missing is not None:
            place = place_of_name(self.feature.path, name, missing) or user_place(exc, folder)
            hint = hint_for_column(exc, missing, self._input_columns())
            if missing in self.targets:
                hint = (
                    f"{missing!r} is the target, which features never see; statistics of it come from target_mean "
                    "and its kin"
                )
            return FeatureError(
                f"feature {name!r} ({where}) failed: ColumnNotFoundError: there is no column {missing!r}"
                f"{f' ({place})' if place else ''}",
                hint=hint,
            )
        message = user_frame(exc, folder)
        if "while building Series" not in str(exc):
            hint = EXIT_HINT if isinstance(exc, SystemExit) else as_in_polars(exc)
            return FeatureError(f"feature {name!r} ({where}) failed: {message}", hint=hint)
        column = self._column_of_mixed_values()
        named = f"column {column!r} has values of mixed types" if column else "a column has values of mixed types"
        return FeatureError(f"feature {name!r} ({where}): {named}: {message}", hint=ONE_TYPE)

    def _placed(self, exc: FeatureError) -> FeatureError:
        """Return an error of a recipe with the feature that called it, and the line."""
        if exc.message.startswith("feature "):
            return exc
        missing = re.search(r"rows have no column '(.+)'$", exc.message)
        folder = self.feature.path.parent
        place = place_of_name(self.feature.path, self.feature.name, missing[1]) if missing else ""
        place = place or user_place(exc, folder)
        return FeatureError(
            f"feature {self.feature.name!r} ({self.feature.where}): {exc.message}{f' ({place})' if place else ''}",
            hint=exc.hint,
        )

    def _input_columns(self) -> list[str]:
        frames = [self.inputs(name, None) for name in ("rows", *self.feature.inputs)]
        return [c for frame in frames for c in frame.collect_schema() if c != ROW]

    def _column_of_mixed_values(self) -> str | None:
        try:
            result = next(self.results())
            columns = [c for c in result.collect_schema() if c != ROW]
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            return None  # the function itself raises: the line of it is said
        for column in columns:
            try:
                for _ in result.select(column).collect_batches(chunk_size=ROWS_PER_BUCKET):
                    pass
            except pl.exceptions.PolarsError:
                return column
        return None

    def other_schema(self, part: int, first: pl.Schema, schema: pl.Schema) -> FeatureError:
        """Return what to raise where the result for a part (from 0) has another schema than that for the first."""
        name, where = self.feature.name, self.feature.where
        if set(schema) == set(first):
            column = next(c for c in first if schema[c] != first[c])
            return FeatureError(
                f"feature {name!r} ({where}): column {column!r} is {first[column]} in the first part of the rows and "
                f"{schema[column]} in part {part + 1}",
                hint=f"give it one type: .cast(pl.{first[column]})",
            )
        return FeatureError(
            f"feature {name!r} ({where}) gives other columns in part {part + 1} of the rows: "
            f"{', '.join(sorted(set(schema) ^ set(first))[:5])}",
            hint=f"columns must not depend on the values of {self.feature.partition_by!r}",
        )

    def misaligned(self) -> FeatureError:
        """Return what to raise where the lines are not one per row."""
        keys = (
            batch[ROW]
            for result in self.results()
            for batch in result.select(ROW).collect_batches(chunk_size=ROWS_PER_BUCKET)
        )
        problem = row_problem(keys, self.n_rows, self.n_train) or "gives other lines when it is computed again"
        return FeatureError(
            f"feature {self.feature.name!r} ({self.feature.where}) {problem}",
            hint="repeats come from a join on a key that is not unique, losses from an inner join or a filter: "
            'join with how="left" on a unique key, or group by ROW',
        )


def _kinds_of_values(frame: pl.LazyFrame, column: str, n_train: int) -> str:
    """Say which types the values of a column of objects have, with a row for each."""
    examples: dict[str, str] = {}
    for row, value in frame.select(ROW, column).collect().rows():
        name = f"train {row}" if row < n_train else f"test {row - n_train}"
        examples.setdefault(type(value).__name__, f"{type(value).__name__} {value!r:.40} in {name}")
    return f" ({', '.join(list(examples.values())[:4])})" if examples else ""


class NotTogetherError(Exception):
    """Features can't be computed in one pass."""


def write_blocks(
    evaluations: Sequence[Evaluation], paths: Sequence[Path], folder: Path, budget_bytes: int
) -> list[dict[str, str]]:
    """Compute features and write a block for each, in row order; return their columns with their types.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Where there are several, they have the same parts and return expressions: each part is read once for all.
    paths : sequence of Path
    folder : Path
        Where lines wait that come too early, beyond `budget_bytes`.

    Raises
    ------
    FeatureError
        When a single feature's result breaks the contract.
    NotTogetherError
        When several features can't be computed in one pass; one by one they can, or say what is wrong.
    """
    alone = evaluations[0] if len(evaluations) == 1 else None
    results = alone.results() if alone else _together(evaluations)
    first = next(results)
    schemas = [alone.schema(first)] if alone else _schemas(evaluations)
    schema = pl.Schema({name: dtype for s in schemas for name, dtype in s.items()})
    if len(schema) != 1 + sum(len(s) - 1 for s in schemas):
        raise NotTogetherError
    failure: list[BaseException] = []
    buckets = Buckets(folder, budget_bytes)

    def parts() -> Iterator[pl.DataFrame]:
        yield from first.select(list(schema)).collect_batches(chunk_size=ROWS_PER_BUCKET)
        for part, result in enumerate(results, start=1):
            part_schema = result.collect_schema()
            if dict(part_schema) != dict(schema):
                raise alone.other_schema(part, schema, part_schema) if alone else NotTogetherError
            yield from result.select(list(schema)).collect_batches(chunk_size=ROWS_PER_BUCKET)

    def batches(
        with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        del predicate, n_rows, batch_size
        try:
            for frame in in_row_order(parts(), evaluations[0].n_rows, buckets):
                yield frame.select(with_columns) if with_columns is not None else frame.drop(ROW)
        except BaseException as exc:
            failure.append(exc)
            raise

    source = register_io_source(batches, schema={c: t for c, t in schema.items() if c != ROW})
    try:
        _sink(source if alone else source.cache(), [[c for c in s if c != ROW] for s in schemas], paths)
    except BaseException:
        if not failure:
            raise
        # What was raised while computing comes back wrapped by polars.
        if isinstance(failure[0], RowOrderError):
            raise alone.misaligned() if alone else NotTogetherError from None
        raise failure[0] from None
    finally:
        buckets.close()
    return [{name: str(dtype) for name, dtype in schema.items() if name != ROW} for schema in schemas]


def _sink(source: pl.LazyFrame, columns: Sequence[list[str]], paths: Sequence[Path]) -> None:
    pl.collect_all(
        [
            source.select(names).sink_parquet(path, row_group_size=ROWS_PER_BUCKET, compression=COMPRESSION, lazy=True)
            for names, path in zip(columns, paths, strict=True)
        ]
    )


def _together(evaluations: Sequence[Evaluation]) -> Iterator[pl.LazyFrame]:
    for part in evaluations[0].parts or (None,):
        expressions = [e.expressions(part) for e in evaluations]
        if any(f is None for f in expressions):
            raise NotTogetherError
        rows = evaluations[0].inputs("rows", part)
        yield rows.select(ROW, *(e for one_feature in expressions for e in one_feature or ()))


def _schemas(evaluations: Sequence[Evaluation]) -> list[pl.Schema]:
    part = next(iter(evaluations[0].parts or (None,)))
    rows = evaluations[0].inputs("rows", part)
    return [e.schema(rows.select(ROW, *(e.expressions(part) or ()))) for e in evaluations]
