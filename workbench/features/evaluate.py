"""Call the functions of features, on all rows or part by part, check the results, and write them as Parquet files.

The lines of a block are in row order, which is checked while it is written. The row key is the line number and is not
stored, as it would be half the size of a typical block.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl
from polars.io.plugins import register_io_source

from workbench.core.errors import FeatureError
from workbench.core.memory import measured_peak
from workbench.core.user_code import EXIT_HINT, is_interrupt, user_frame, user_place
from workbench.data.competition import ROW
from workbench.features.code_locations import hint_for_column, locate_name, missing_column
from workbench.features.definition import Feature
from workbench.features.ordering import ROWS_PER_BUCKET, Buckets, RowOrderError, in_row_order, row_problem
from workbench.features.partition import Parts, RowPart
from workbench.features.shared_joins import RecordedFrame, RowColumns
from workbench.features.value_ranges import RangeCollector
from workbench.features.wrong_results import describe_wrong_result, polars_hint

__all__ = ["COMPRESSION", "Evaluation", "NotTogetherError", "WrittenBlock", "write_blocks"]

COMPRESSION: Literal["lz4"] = "lz4"
"""lz4 is read three times as fast as zstd at 1.3 times the size, and blocks are read much more often than written."""

ONE_TYPE_HINT = "give every value one type, for example with return_dtype= in map_elements"


@dataclass(frozen=True)
class Evaluation:
    """A feature with its inputs, ready to be computed.

    Attributes
    ----------
    feature : Feature
    inputs : callable
        Takes the name of an input and a part (None for all rows), and returns the frame.
    parts : Parts, or None
        None to call the function once, on all rows.
    targets : tuple of str
        Columns that the result must not contain.
    n_rows, n_train : int
    called : LazyFrame, or None
        The result for the whole input, if the function has been called already.
    call_seconds, call_peak_mb : float
        What that call took: the result of a function may be a query, or computed by the function itself.
    """

    feature: Feature
    inputs: Callable[[str, RowPart | None], pl.LazyFrame]
    parts: Parts | None
    targets: tuple[str, ...]
    n_rows: int
    n_train: int
    called: pl.LazyFrame | None = None
    call_seconds: float = 0.0
    call_peak_mb: float = 0.0

    def results(self) -> Iterator[pl.LazyFrame]:
        """Yield the results of the function, part by part, with the row key."""
        for part in self.parts or (None,):
            yield self.result(
                {name: self.inputs(name, part) for name in self.feature.inputs}, self.inputs("rows", part)
            )

    def call(self) -> Evaluation:
        """Call the function on the whole input, so that `write_blocks` need not do it again."""
        started_at = time.perf_counter()
        with measured_peak() as peak:
            result = next(replace(self, parts=None).results())
        return replace(self, called=result, call_seconds=time.perf_counter() - started_at, call_peak_mb=peak.mb)

    @property
    def row_columns(self) -> RowColumns | None:
        """The result of `call` as columns of the rows and of groups joined to them; None if it is something else."""
        return self.called.columns_of_rows if isinstance(self.called, RecordedFrame) else None

    def expressions(self, part: RowPart | None) -> list[pl.Expr] | None:
        """Return the expressions over ``rows`` that the function returns for a part; None if it returns a frame."""
        result: Any = self.feature.function(**{name: self.inputs(name, part) for name in self.feature.inputs})
        result = [result] if isinstance(result, pl.Expr) else result
        is_list = isinstance(result, list | tuple) and all(isinstance(e, pl.Expr) for e in result)
        return list(result) if is_list else None

    def result(self, inputs: dict[str, pl.LazyFrame], rows: pl.LazyFrame) -> pl.LazyFrame:
        """Call the function with these inputs; evaluate expressions that it returns on `rows`.

        Raises
        ------
        FeatureError
            If it returns neither a frame nor expressions.
        """
        result: Any = self.feature.function(**inputs)
        if isinstance(result, pl.Expr):
            result = [result]
        if isinstance(result, list | tuple) and result and all(isinstance(e, pl.Expr) for e in result):
            return rows.select(ROW, *result)
        if isinstance(result, pl.DataFrame):
            result = result.lazy()
        if not isinstance(result, pl.LazyFrame):
            problem, hint = describe_wrong_result(result)
            raise FeatureError(f"feature {self.feature.name!r} ({self.feature.where}) returned {problem}", hint=hint)
        return result

    def schema(self, frame: pl.LazyFrame) -> pl.Schema:
        """Return the columns of a result, the row key first.

        Raises
        ------
        FeatureError
            If the row key is missing or not an integer, or a column is invalid.
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
                hint="keep its type pl.UInt32, which pandas and arithmetic with floats change; if all its values are "
                "still integers, cast it back: .with_columns(pl.col(ROW).cast(pl.UInt32))",
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
                    f"{_value_types(frame, column, self.n_train)}",
                    hint=ONE_TYPE_HINT,
                )
        return pl.Schema({ROW: schema[ROW], **schema})

    def failure(self, exc: BaseException) -> FeatureError:
        """Return the error for an exception of the function or of polars, with its location and column if known."""
        name, where, folder = self.feature.name, self.feature.where, self.feature.path.parent
        if type(exc) is FeatureError:
            return self._with_location(exc)
        missing = missing_column(exc)
        if missing is not None:
            location = locate_name(self.feature.path, name, missing) or user_place(exc, folder)
            hint = hint_for_column(exc, missing, self._input_columns())
            if missing in self.targets:
                hint = (
                    f"{missing!r} is the target, which features never see; statistics of it come from target_mean "
                    "and its kin"
                )
            return FeatureError(
                f"feature {name!r} ({where}) failed: ColumnNotFoundError: there is no column {missing!r}"
                f"{f' ({location})' if location else ''}",
                hint=hint,
            )
        message = user_frame(exc, folder)
        if "while building Series" not in str(exc):
            hint = EXIT_HINT if isinstance(exc, SystemExit) else polars_hint(exc)
            return FeatureError(f"feature {name!r} ({where}) failed: {message}", hint=hint)
        column = self._mixed_column()
        problem = f"column {column!r} has values of mixed types" if column else "a column has values of mixed types"
        return FeatureError(f"feature {name!r} ({where}): {problem}: {message}", hint=ONE_TYPE_HINT)

    def _with_location(self, exc: FeatureError) -> FeatureError:
        """Return the error of a recipe with the feature that called it and the line."""
        if exc.message.startswith("feature "):
            return exc
        missing = re.search(r"rows have no column '(.+)'$", exc.message)
        folder = self.feature.path.parent
        location = locate_name(self.feature.path, self.feature.name, missing[1]) if missing else ""
        location = location or user_place(exc, folder)
        suffix = f" ({location})" if location else ""
        return FeatureError(
            f"feature {self.feature.name!r} ({self.feature.where}): {exc.message}{suffix}",
            hint=exc.hint,
        )

    def _input_columns(self) -> list[str]:
        frames = [self.inputs(name, None) for name in ("rows", *self.feature.inputs)]
        return [c for frame in frames for c in frame.collect_schema() if c != ROW]

    def _mixed_column(self) -> str | None:
        try:
            result = next(self.results())
            columns = [c for c in result.collect_schema() if c != ROW]
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            return None  # the function itself raises, and its line is reported
        for column in columns:
            try:
                for _ in result.select(column).collect_batches(chunk_size=ROWS_PER_BUCKET):
                    pass
            except pl.exceptions.PolarsError:
                return column
        return None

    def schema_error(self, part: int, first: pl.Schema, schema: pl.Schema) -> FeatureError:
        """Return the error for a part (from 0) whose result has another schema than that of the first part."""
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

    def alignment_error(self) -> FeatureError:
        """Return the error for a result without exactly one line per row."""
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


def _value_types(frame: pl.LazyFrame, column: str, n_train: int) -> str:
    """Describe the types of the values in a column of objects, each with an example row."""
    examples: dict[str, str] = {}
    for row, value in frame.select(ROW, column).collect().rows():
        name = f"train {row}" if row < n_train else f"test {row - n_train}"
        examples.setdefault(type(value).__name__, f"{type(value).__name__} {value!r:.40} in {name}")
    return f" ({', '.join(list(examples.values())[:4])})" if examples else ""


@dataclass(frozen=True)
class WrittenBlock:
    """What a block holds.

    Attributes
    ----------
    columns : dict
        Column -> type.
    ranges : dict
        Column -> its range as JSON; see `workbench.features.value_ranges`.
    """

    columns: dict[str, str]
    ranges: dict[str, Any]


class NotTogetherError(Exception):
    """Several features can't be computed in one pass."""


def write_blocks(
    evaluations: Sequence[Evaluation],
    paths: Sequence[Path],
    folder: Path,
    budget_bytes: int,
    shared: pl.LazyFrame | None = None,
) -> list[WrittenBlock]:
    """Compute features and write a block of each, in row order; return what the blocks hold.

    Parameters
    ----------
    evaluations : sequence of Evaluation
        Several evaluations must have the same parts and return expressions; each part is then read once for all.
        With `shared` they must have been called.
    paths : sequence of Path
        The file of each block.
    folder : Path
        The folder for temporary files.
    budget_bytes : int
        The memory for lines that arrive out of order; more are written to temporary files.
    shared : LazyFrame, optional
        The columns of all evaluations with the row key.

    Raises
    ------
    FeatureError
        If the result of a single feature is invalid.
    NotTogetherError
        If several features can't be computed in one pass; they must be computed one by one.
    """
    single = evaluations[0] if len(evaluations) == 1 else None
    results = _results(evaluations, shared)
    first = next(results)
    schemas = [single.schema(first)] if single else _joint_schemas(evaluations)
    schema = pl.Schema({name: dtype for s in schemas for name, dtype in s.items()})
    if len(schema) != 1 + sum(len(s) - 1 for s in schemas):
        raise NotTogetherError
    if shared is not None and dict(shared.collect_schema()) != dict(schema):
        raise NotTogetherError
    raised: list[BaseException] = []
    buckets = Buckets(folder, budget_bytes)
    ranges = RangeCollector(pl.Schema({name: dtype for name, dtype in schema.items() if name != ROW}))

    def parts() -> Iterator[pl.DataFrame]:
        yield from first.select(list(schema)).collect_batches(chunk_size=ROWS_PER_BUCKET)
        for part, result in enumerate(results, start=1):
            part_schema = result.collect_schema()
            if dict(part_schema) != dict(schema):
                raise single.schema_error(part, schema, part_schema) if single else NotTogetherError
            yield from result.select(list(schema)).collect_batches(chunk_size=ROWS_PER_BUCKET)

    def batches(
        with_columns: list[str] | None, predicate: Any, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        del predicate, n_rows, batch_size
        try:
            for frame in in_row_order(parts(), evaluations[0].n_rows, buckets):
                ranges.add(frame)
                yield frame.select(with_columns) if with_columns is not None else frame.drop(ROW)
        except BaseException as exc:
            raised.append(exc)
            raise

    source = register_io_source(batches, schema={c: t for c, t in schema.items() if c != ROW})
    try:
        _sink(source if single else source.cache(), [[c for c in s if c != ROW] for s in schemas], paths)
    except BaseException:
        if not raised:
            raise
        # polars wraps exceptions of the source: raise the original one.
        if isinstance(raised[0], RowOrderError):
            raise single.alignment_error() if single else NotTogetherError from None
        raise raised[0] from None
    finally:
        buckets.close()
    columns = [{name: str(dtype) for name, dtype in schema.items() if name != ROW} for schema in schemas]
    return [WrittenBlock(dtypes, ranges.note(dtypes)) for dtypes in columns]


def _sink(source: pl.LazyFrame, columns: Sequence[list[str]], paths: Sequence[Path]) -> None:
    pl.collect_all(
        [
            source.select(names).sink_parquet(path, row_group_size=ROWS_PER_BUCKET, compression=COMPRESSION, lazy=True)
            for names, path in zip(columns, paths, strict=True)
        ]
    )


def _results(evaluations: Sequence[Evaluation], shared: pl.LazyFrame | None) -> Iterator[pl.LazyFrame]:
    if shared is not None:
        return iter([shared])
    if len(evaluations) > 1:
        return _joint_results(evaluations)
    called = evaluations[0].called
    return evaluations[0].results() if called is None else iter([called])


def _joint_results(evaluations: Sequence[Evaluation]) -> Iterator[pl.LazyFrame]:
    for part in evaluations[0].parts or (None,):
        expressions = [evaluation.expressions(part) for evaluation in evaluations]
        if any(e is None for e in expressions):
            raise NotTogetherError
        rows = evaluations[0].inputs("rows", part)
        yield rows.select(ROW, *(e for feature_expressions in expressions for e in feature_expressions or ()))


def _joint_schemas(evaluations: Sequence[Evaluation]) -> list[pl.Schema]:
    called = [e.called for e in evaluations]
    if all(result is not None for result in called):
        return [e.schema(result) for e, result in zip(evaluations, called, strict=True) if result is not None]
    part = next(iter(evaluations[0].parts or (None,)))
    rows = evaluations[0].inputs("rows", part)
    return [e.schema(rows.select(ROW, *(e.expressions(part) or ()))) for e in evaluations]
