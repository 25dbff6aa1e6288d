"""Group-bys and joins that several features share.

A feature that looks up statistics ("how often does this item occur?") groups a table by a column, and joins the groups
to the rows. Computed one by one, each such feature reads, groups, joins and orders the rows again. A `RecordedFrame` is
a LazyFrame that records these steps while the function of a feature does them, so that `SharedJoins` can do them once
for several features: one group-by with all aggregates, one join, and one pass over the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from typing import Any, NamedTuple

import polars as pl
from polars.lazyframe.group_by import LazyGroupBy

from workbench.core.user_code import is_interrupt
from workbench.data.competition import ROW

__all__ = ["GroupBy", "GroupBySize", "RecordedFrame", "RowColumns", "SharedJoins"]

Expressions = dict[str, pl.Expr]

AGGREGATE_BYTES = 32
"""The memory of an aggregate, or a key, of one group: its state in the group-by and its value in the join's table, with
the free half of hash tables. Of an aggregate that keeps all values, as a median does: the memory of one value."""

MAX_PLAN_BYTES = 1_000_000
"""The size of a serialised query to compare with others; a larger one contains the data of a DataFrame."""

RUNNING_AGGREGATES = ("sum", "mean", "min", "max", "count", "first", "last", "std", "var")
"""Aggregates whose state has one size, whatever the number of values."""


class GroupBySize(NamedTuple):
    """The number of lines that are grouped, and the largest possible number of groups; infinity if not known."""

    n_lines: float
    max_groups: float


@dataclass(frozen=True)
class GroupBy:
    """A frame grouped by one column.

    Attributes
    ----------
    frame : LazyFrame
        What is grouped.
    plan : bytes
        The serialised query of `frame`: equal for equal queries.
    key : str
    aggregates : dict
        Column of the result -> expression.
    """

    frame: pl.LazyFrame
    plan: bytes
    key: str
    aggregates: Mapping[str, pl.Expr]

    @cached_property
    def identity(self) -> tuple[bytes, str]:
        """What two group-bys must have in common to be one."""
        return self.plan, self.key

    def result(self) -> pl.LazyFrame:
        """Return the groups with their aggregates."""
        unrecorded = pl.LazyFrame._from_pyldf(self.frame._ldf)
        return unrecorded.group_by(self.key).agg(e.alias(name) for name, e in self.aggregates.items())

    def size(self) -> GroupBySize:
        """Count the lines; there are as many groups at most, or fewer by the range of integers."""
        key, n_lines = pl.col(self.key), pl.len().alias("lines")
        if not self.frame.collect_schema()[self.key].is_integer():
            n = self.frame.select(n_lines).collect(engine="streaming").item()
            return GroupBySize(n, n)
        extremes = self.frame.select(n_lines, key.min().alias("<"), key.max().alias(">"))
        n, low, high = extremes.collect(engine="streaming").row(0)
        return GroupBySize(n, min(n, 1 if low is None else high - low + 2))

    def memory_bytes(self, size: GroupBySize) -> float:
        """Estimate the memory of the groups and their aggregates."""
        n_running = sum(map(_is_running, self.aggregates.values()))
        n_values = size.max_groups * (1 + n_running) + size.n_lines * (len(self.aggregates) - n_running)
        return n_values * AGGREGATE_BYTES


@dataclass(frozen=True)
class RowColumns:
    """Columns of a frame that has the rows, joined with groups.

    Attributes
    ----------
    outputs : dict
        Name -> an expression over columns of the rows and aggregates of `group_bys`, which needs no other row.
    row_columns : frozenset of str
        All columns of the rows.
    group_bys : tuple of GroupBy
    """

    outputs: Mapping[str, pl.Expr]
    row_columns: frozenset[str]
    group_bys: tuple[GroupBy, ...] = ()

    def is_plain(self, name: str) -> bool:
        """Tell whether an output is a column of the rows, or an aggregate, as it is."""
        output = self.outputs.get(name)
        return output is not None and output.meta.is_column() and output.meta.root_names() == [name]

    def derived(self, expressions: Expressions | None) -> Expressions | None:
        """Return expressions over the outputs as expressions over the columns; None if one is none of a single row."""
        if expressions is None:
            return None
        derived = {}
        for name, expression in expressions.items():
            if expression.meta.is_column() and (column := expression.meta.root_names()[0]) in self.outputs:
                derived[name] = self.outputs[column].alias(name) if name != column else self.outputs[column]
            elif _is_row_separable(expression) and all(map(self.is_plain, expression.meta.root_names())):
                derived[name] = expression
            else:
                return None
        return derived

    def with_outputs(self, outputs: Mapping[str, pl.Expr] | None) -> RowColumns | None:
        """Return these columns with other outputs; None for None."""
        return None if outputs is None else replace(self, outputs=outputs)

    def joined(self, group_by: GroupBy) -> RowColumns | None:
        """Return the columns after a left join; None if it would rename some of them."""
        names, taken = group_by.aggregates, {*self.row_columns, *self.outputs}
        is_joined = group_by.identity in {g.identity for g in self.group_bys}
        is_row_key = group_by.key in self.row_columns and self.is_plain(group_by.key)
        if is_joined or not is_row_key or taken & set(names) or group_by.key == ROW:
            return None
        outputs = {**self.outputs, **{name: pl.col(name) for name in names}}
        return replace(self, outputs=outputs, group_bys=(*self.group_bys, group_by))


class RecordedFrame(pl.LazyFrame):
    """A LazyFrame that records group-bys and left joins; what it does not know is done, but not recorded.

    polars makes the results of a subclass's methods with `_from_pyldf`, without the attributes below.
    """

    columns_of_rows: RowColumns | None = None
    group_by_result: GroupBy | None = None

    @classmethod
    def of_rows(cls, rows: pl.LazyFrame) -> RecordedFrame:
        """Return the rows as a frame that records what is joined to them."""
        frame, names = cls.of_table(rows), rows.collect_schema().names()
        frame.columns_of_rows = RowColumns({name: pl.col(name) for name in names}, frozenset(names))
        return frame

    @classmethod
    def of_table(cls, table: pl.LazyFrame) -> RecordedFrame:
        """Return a table as a frame that records its group-bys."""
        frame: RecordedFrame = cls._from_pyldf(table._ldf)  # type: ignore[assignment]
        return frame

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle it as the LazyFrame that it is."""
        return pl.LazyFrame.deserialize, (BytesIO(self.serialize()),)

    def _recorded(self, frame: pl.LazyFrame, outputs: Mapping[str, pl.Expr] | None) -> pl.LazyFrame:
        if isinstance(frame, RecordedFrame) and self.columns_of_rows is not None:
            frame.columns_of_rows = self.columns_of_rows.with_outputs(outputs)
        return frame

    def _derived(self, exprs: Iterable[Any], named_exprs: Mapping[str, Any]) -> Expressions | None:
        return None if self.columns_of_rows is None else self.columns_of_rows.derived(_by_name(exprs, named_exprs))

    def select(self, *exprs: Any, **named_exprs: Any) -> pl.LazyFrame:
        """See `polars.LazyFrame.select`."""
        frame = super().select(*exprs, **named_exprs)
        return self._recorded(frame, self._derived(exprs, named_exprs))

    def with_columns(self, *exprs: Any, **named_exprs: Any) -> pl.LazyFrame:
        """See `polars.LazyFrame.with_columns`."""
        frame, columns = super().with_columns(*exprs, **named_exprs), self.columns_of_rows
        added = self._derived(exprs, named_exprs)
        return self._recorded(frame, None if columns is None or added is None else {**columns.outputs, **added})

    def drop(self, *columns: Any, **options: Any) -> pl.LazyFrame:
        """See `polars.LazyFrame.drop`."""
        frame, names = super().drop(*columns, **options), _by_name(columns, {})
        outputs = self.columns_of_rows.outputs if self.columns_of_rows is not None else {}
        if options or names is None or not set(names) <= set(outputs):
            return self._recorded(frame, None)
        return self._recorded(frame, {n: e for n, e in outputs.items() if n not in names})

    def group_by(self, *by: Any, **options: Any) -> LazyGroupBy:
        """See `polars.LazyFrame.group_by`."""
        grouped = super().group_by(*by, **options)
        names = None if options else _by_name(by, {})
        if names is None or len(names) != 1 or not next(iter(names.values())).meta.is_column():
            return grouped
        return _RecordedGroupBy(grouped.lgb, self, next(iter(names)))

    def join(self, other: pl.LazyFrame, *args: Any, **options: Any) -> pl.LazyFrame:
        """See `polars.LazyFrame.join`."""
        frame, rows = super().join(other, *args, **options), self.columns_of_rows
        group_by = other.group_by_result if isinstance(other, RecordedFrame) else None
        is_left_join = not args and options.keys() == {"on", "how"} and options["how"] == "left"
        if rows is not None and group_by is not None and is_left_join and isinstance(frame, RecordedFrame):
            on = _by_name((options["on"],), {}) or {}
            is_key = list(on) == [group_by.key] and on[group_by.key].meta.is_column()
            frame.columns_of_rows = rows.joined(group_by) if is_key else None
        return frame


class _RecordedGroupBy(LazyGroupBy):
    """A group-by whose aggregates are recorded."""

    def __init__(self, lgb: Any, frame: RecordedFrame, key: str) -> None:
        super().__init__(lgb)
        self._frame, self._key = frame, key
        self._has_predicates = False

    def having(self, *predicates: Any) -> LazyGroupBy:
        """See `polars.lazyframe.group_by.LazyGroupBy.having`, which changes the object and returns it."""
        self._has_predicates = True
        return super().having(*predicates)

    def agg(self, *aggs: Any, **named_aggs: Any) -> pl.LazyFrame:
        """See `polars.lazyframe.group_by.LazyGroupBy.agg`."""
        aggregates = _by_name(aggs, named_aggs)
        result = super().agg(*aggs, **named_aggs)
        if not aggregates or self._key in aggregates or self._has_predicates:
            return result
        try:
            plan = self._frame.serialize()
        except Exception:  # noqa: BLE001  # a function within the query can't be serialised, for whatever reason
            return result
        if len(plan) > MAX_PLAN_BYTES:
            return result
        recorded = RecordedFrame.of_table(result)
        recorded.group_by_result = GroupBy(self._frame, plan, self._key, aggregates)
        return recorded


# Errors of polars and of the workbench name these classes: users know them by the names that polars gives them.
for _subclass, _base in ((RecordedFrame, pl.LazyFrame), (_RecordedGroupBy, LazyGroupBy)):
    _subclass.__name__ = _subclass.__qualname__ = _base.__name__
    _subclass.__module__ = _base.__module__


def _by_name(expressions: Iterable[Any], named: Mapping[str, Any]) -> Expressions | None:
    """Return name -> expression for the arguments of a polars method; None if a name is not known beforehand."""
    by_name: Expressions = {}
    for argument in expressions:
        for item in argument if isinstance(argument, list | tuple) else (argument,):
            expression = pl.col(item) if isinstance(item, str) else item
            if not isinstance(expression, pl.Expr) or expression.meta.has_multiple_outputs():
                return None
            name = expression.meta.output_name(raise_if_undetermined=False)
            if name is None or name in by_name:
                return None
            by_name[name] = expression
    for name, item in named.items():
        if not isinstance(item, str | pl.Expr) or name in by_name:
            return None
        expression = pl.col(item) if isinstance(item, str) else item
        if expression.meta.has_multiple_outputs():
            return None
        by_name[name] = expression.alias(name)
    return by_name


def _is_row_separable(expression: pl.Expr) -> bool:
    """Tell whether the value of a row depends on that row alone."""
    meta = expression.meta
    try:
        # polars looks at the outermost operation only: "x - x.shift(1)" is a difference.
        keeps_rows = meta.is_row_separable() and (meta.is_scalar() or meta.is_length_preserving())
        return keeps_rows and all(map(_is_row_separable, meta.pop()))
    # Of expressions that polars can't tell without the types of their columns.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False


def _is_running(aggregate: pl.Expr) -> bool:
    """Tell whether an aggregate needs the same memory for a group of any size."""
    aggregate = aggregate.meta.undo_aliases()
    inputs = aggregate.meta.pop()
    if not inputs:
        return aggregate.meta.is_literal() or aggregate.meta.eq(pl.len())
    if any(aggregate.meta.eq(getattr(inputs[0], name)()) for name in RUNNING_AGGREGATES):
        return _is_row_separable(inputs[0])
    return aggregate.meta.is_row_separable() and all(map(_is_running, inputs))


def _size(group_by: GroupBy) -> GroupBySize:
    """Return the size of a group-by; infinity if the frame can't be computed."""
    try:
        return group_by.size()
    except MemoryError:
        raise
    except BaseException as exc:
        if is_interrupt(exc):
            raise
        return GroupBySize(math.inf, math.inf)  # the error is reported when the feature is computed by itself


@dataclass
class SharedJoins:
    """The columns of several results that join the same groups, or none: each group-by and join is done once.

    Results that join other groups are for another pass: the columns of one would be copied in the joins of the other,
    which costs more than reading the rows again.

    Parameters
    ----------
    max_bytes : int
        The memory that the groups may take.
    sizes : dict
        The size of a group-by by `GroupBy.identity`, as far as known; several passes may share it.
    """

    max_bytes: int
    sizes: dict[tuple[bytes, str], GroupBySize] = field(default_factory=dict)
    _group_bys: dict[tuple[bytes, str], GroupBy] = field(default_factory=dict)
    _outputs: Expressions = field(default_factory=dict)

    @property
    def width(self) -> int:
        """The number of columns of all results."""
        return len(self._outputs)

    def add(self, columns: RowColumns) -> bool:
        """Add the columns of a result and return True.

        Returns False if they join other groups, need too much memory together, or do not have the row key as it is.
        """
        if not columns.is_plain(ROW):
            return False
        outputs = {name: output for name, output in columns.outputs.items() if name != ROW}
        group_bys = {g.identity: g for g in columns.group_bys}
        if self._outputs and (group_bys.keys() != self._group_bys.keys() or outputs.keys() & self._outputs.keys()):
            return False
        merged: dict[tuple[bytes, str], GroupBy] = {}
        for identity, group_by in group_bys.items():
            earlier = self._group_bys[identity].aggregates if self._outputs else {}
            if any(n in earlier and not earlier[n].meta.eq(e) for n, e in group_by.aggregates.items()):
                return False
            merged[identity] = replace(group_by, aggregates={**earlier, **group_by.aggregates})
        names = [name for group_by in merged.values() for name in group_by.aggregates]
        # Counting the groups may read a table: a result that shares nothing yet needs no more memory than alone.
        if len(names) != len(set(names)) or (self._outputs and self._bytes(merged) > self.max_bytes):
            return False
        self._group_bys, self._outputs = merged, {**self._outputs, **outputs}
        return True

    def _bytes(self, group_bys: Mapping[tuple[bytes, str], GroupBy]) -> float:
        for identity, group_by in group_bys.items():
            if identity not in self.sizes:
                self.sizes[identity] = _size(group_by)
        return sum(group_by.memory_bytes(self.sizes[identity]) for identity, group_by in group_bys.items())

    def frame(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Return the columns of all results, with the row key, in any order of the lines."""
        aggregates = {name for group_by in self._group_bys.values() for name in group_by.aggregates}
        names = {name for output in self._outputs.values() for name in output.meta.root_names()} - aggregates
        keys = {key for _, key in self._group_bys}
        frame = rows.select(ROW, *(sorted((names | keys) - {ROW})))
        for group_by in self._group_bys.values():
            frame = frame.join(group_by.result(), on=group_by.key, how="left")
        return frame.select(ROW, *(output.alias(name) for name, output in self._outputs.items()))
