"""Train and test stacked in file order: the rows that features attach to."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from workbench.core.cache import content_key
from workbench.core.errors import DataError, did_you_mean
from workbench.core.frames import parquet_schema
from workbench.data.competition.tables import check_columns, scan

if TYPE_CHECKING:
    from workbench.data.competition.folder import Competition

__all__ = ["ROW", "StackedRows"]

ROW = "__row__"
"""The row key: the stable number of a row, train first, then test, in file order."""

NEVER_CAST = (pl.Binary, pl.Duration)
"""Types that are stacked only with themselves: polars would cast them, and the values would mean something else."""


class StackedRows:
    """The rows of a competition's train and test tables, with the columns that both have, without the targets."""

    def __init__(self, competition: Competition) -> None:
        self._competition = competition

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that train and test share, in train's order, without the targets.

        A column that test lacks is never a feature: it would be a leak.
        """
        c, d = self._competition, self._competition.definition
        train_types, test_types = c.train_info.dtypes, c.test_info.dtypes
        check_columns(d.targets, train_types, d.tables.train, key=f"{c.paths.definition}: target")
        if c.ids.template is None:
            check_columns(d.id_columns, test_types, d.tables.test, key=f"{c.paths.definition}: id")
        _ = c.weights  # a wrong expression is reported here, before any feature is built
        if c.columns is None:
            shared_columns = [x for x in train_types if x in test_types]
            return tuple(x for x in shared_columns if x not in d.targets and x not in self.unlike_columns)
        for table, dtypes in ((d.tables.train, train_types), (d.tables.test, test_types)):
            for column in c.columns:
                if column not in dtypes:
                    raise DataError(
                        f"table {table!r} has no column {column!r}, which it had when the model was trained; "
                        f"it has {', '.join(list(dtypes)[:20])}",
                        hint=did_you_mean(column, dtypes, kind="column"),
                    )
        return c.columns

    @cached_property
    def unlike_columns(self) -> dict[str, str]:
        """The columns that train and test hold in types that can't be stacked, each with both types.

        They are left out of the rows: lists in one table and numbers in the other, for example.
        """
        c, tables = self._competition, self._competition.definition.tables
        train_types, test_types = c.train_info.dtypes, c.test_info.dtypes
        differing = [x for x in train_types if x in test_types and train_types[x] != test_types[x]]
        if not differing:
            return {}
        schemas = [parquet_schema(c.table_path(name)) for name in (tables.train, tables.test)]
        return {
            x: f"{train_types[x]} in {tables.train}, {test_types[x]} in {tables.test}: no type holds both"
            for x in differing
            if not _can_be_stacked(*(schema[x] for schema in schemas))
        }

    @property
    def content_key(self) -> str:
        """The key of the rows' content, equal for equal tables and columns."""
        c, tables = self._competition, self._competition.definition.tables
        table_keys = [c.manifest.table(name, slug=c.slug).content for name in (tables.train, tables.test)]
        # Only if there are some, so that the keys of competitions without them have not changed.
        empty_types = [[{x: str(t) for x, t in c.empty_types.items()}]] if c.empty_types else []
        return content_key("rows", table_keys, list(self.columns), *empty_types)

    def scan(self) -> pl.LazyFrame:
        """Return the rows, lazily, in file order, train first, with the row key `ROW`."""
        c, tables = self._competition, self._competition.definition.tables
        train = scan(c.table_path(tables.train), ROW, 0).select(ROW, *self.columns)
        test = scan(c.table_path(tables.test), ROW, c.n_train).select(ROW, *self.columns)
        rows = pl.concat([train, test], how="vertical_relaxed")
        null_columns = [pl.lit(None, dtype=t).alias(x) for x, t in (c.empty_types or {}).items()]
        return rows.with_columns(null_columns) if null_columns else rows

    def between(self, start: int, stop: int) -> pl.LazyFrame:
        """Return the rows from `start` to `stop` (not included), lazily, without reading those before."""
        c, tables = self._competition, self._competition.definition.tables
        types = self.scan().collect_schema()
        slices = []
        ranges = ((tables.train, 0, c.n_train), (tables.test, c.n_train, c.n_train + c.n_test))
        for name, table_start, table_stop in ranges:
            low, high = max(start, table_start), min(stop, table_stop)
            if low < high:
                slices.append(scan(c.table_path(name), ROW, table_start).slice(low - table_start, high - low))
        return pl.concat([rows.select(pl.col(x).cast(t) for x, t in types.items()) for rows in slices])

    def feature_table(self, name: str) -> pl.LazyFrame:
        """Return a table as features may see it: train without its targets and without the columns that test lacks."""
        c = self._competition
        frame = c.table(name)
        return frame.select(self.columns) if name == c.definition.tables.train else frame


def _can_be_stacked(one: pl.DataType, other: pl.DataType) -> bool:
    """Tell whether columns of two types can be stacked without changing what the values mean."""
    if any(one.is_nested() != other.is_nested() or (t in (one, other) and one != other) for t in NEVER_CAST):
        return False
    # polars casts a time to the number of its units since 1970.
    if any(a.is_temporal() and b.is_numeric() for a, b in ((one, other), (other, one))):
        return False
    try:
        pl.concat([pl.DataFrame(schema={"": t}) for t in (one, other)], how="vertical_relaxed")
    except pl.exceptions.PolarsError:
        return False
    return True
