"""Interactions of users with items: events as integer codes, in lists by user and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, DataError, did_you_mean
from workbench.recommender.extra import compiled

__all__ = ["Columns", "Ids", "Interactions", "count_items", "kind_codes", "kind_weights", "read_interactions"]

BATCH_ROWS = 500_000
COUNT_CHUNK = 1 << 24
"""The number of events that are counted at once."""

MAX_RANGE_RATIO = 8
"""Integer ids are looked up in a table of their range if that is at most this multiple of the number of rows."""

MAX_KINDS = 15
MAX_ENUM_TEXTS = 1000
"""Up to this many texts are looked up as an Enum, more of them by a join."""

MAX_ITEMS = (1 << 27) - 1
"""Kinds have 4 bits and items 27 in the words of `compiled_covisit`."""

UNITS_PER_SECOND = {"ns": 1_000_000_000, "us": 1_000_000, "ms": 1_000, "s": 1}


@dataclass(frozen=True)
class Columns:
    """The columns of a table of interactions.

    Attributes
    ----------
    user : str
        The user or the session that an event belongs to.
    item : str
    time : str
        A date, a datetime, or an integer in units of `unit`.
    kind : str, optional
        The kind of an event, such as "clicks"; None if there is only one.
    unit : str
        ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``: the unit of integer times.
    weight : str, optional
        The weight of an event, at least 0, such as a rating or a quantity; None if all are equal.
    """

    user: str
    item: str
    time: str
    kind: str | None = None
    unit: str = "s"
    weight: str | None = None


@dataclass(frozen=True)
class Ids:
    """The ids of users, items or kinds, and their codes. An id's code is its position in `values`.

    Attributes
    ----------
    values : polars.Series
    table : array, optional
        For integer ids: the codes by id minus `low`, -1 for an id that does not occur.
    low : int
        The lowest id of the table.
    """

    values: pl.Series
    table: npt.NDArray[np.int32] | None = None
    low: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def codes(self, ids: pl.Series) -> npt.NDArray[np.int32]:
        """Return the codes of ids; -1 for an unknown id and for null."""
        if self.table is not None and ids.dtype.is_integer():
            offsets = ids.cast(pl.Int64).fill_null(self.low - 1).to_numpy() - self.low
            in_range = (offsets >= 0) & (offsets < len(self.table))
            return np.where(in_range, self.table[np.where(in_range, offsets, 0)], np.int32(-1))
        if self.values.dtype == pl.String and len(self) <= MAX_ENUM_TEXTS:
            # An unknown text becomes null.
            codes = ids.cast(pl.String).cast(pl.Enum(self.values), strict=False).to_physical()
            return codes.cast(pl.Int32).fill_null(-1).to_numpy()
        queries = pl.DataFrame({"id": ids.cast(self.values.dtype, strict=False)})
        id_codes = pl.DataFrame({"id": self.values, "code": np.arange(len(self.values), dtype=np.int32)})
        codes = queries.join(id_codes, on="id", how="left", maintain_order="left")["code"]
        return codes.fill_null(-1).to_numpy()

    @property
    def lookup_table(self) -> tuple[npt.NDArray[np.int32], int]:
        """The lookup table of codes, empty if there is none, and its lowest id."""
        return (np.empty(0, np.int32), 0) if self.table is None else (self.table, self.low)

    def lookup_keys(self, ids: pl.Series) -> npt.NDArray[np.int64]:
        """Return the keys of ids in `lookup_table`: the ids, or their codes if there is no table."""
        if self.table is not None:
            return ids.cast(pl.Int64).to_numpy()
        return self.codes(ids).astype(np.int64)


@dataclass(frozen=True)
class Interactions:
    """A log of interactions: a list of events for each user, sorted by time, ties in the order of the table.

    Attributes
    ----------
    users, item_ids, kind_ids : Ids
        Items are coded by descending frequency, ties by id; users and kinds by id.
    starts : array of shape (n_users + 1,), int64
        Where each user's list begins; its end is the next one's start.
    items : array of shape (n_events,), int32
    times : array of shape (n_events,), int32
        Whole seconds since `origin`.
    kinds : array of shape (n_events,), uint8
    origin : int
        The earliest time, in seconds since 1970.
    weights : array of shape (n_events,), float32
        Empty if all are equal.
    """

    users: Ids
    item_ids: Ids
    kind_ids: Ids
    starts: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    times: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.uint8]
    origin: int
    weights: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    def __len__(self) -> int:
        return len(self.items)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """Items, times, kinds and weights, in the order that compiled functions expect."""
        return self.items, self.times, self.kinds, self.weights

    @property
    def n_items(self) -> int:
        """The number of items."""
        return len(self.item_ids)


def kind_codes(log: Interactions, kinds: Iterable[str], prefix: str = "") -> list[int]:
    """Return the codes of kinds by name; an error message begins with `prefix`.

    Raises
    ------
    ConfigError
        When the log has no kind of that name.
    """
    names = [str(kind) for kind in log.kind_ids.values]
    requested = [str(kind) for kind in kinds]
    for kind in requested:
        if kind not in names:
            raise ConfigError(
                f"{prefix}the interactions have no kind {kind!r}: they have {', '.join(names)}",
                hint=did_you_mean(kind, names, kind="kind"),
            )
    return [names.index(kind) for kind in requested]


def kind_weights(log: Interactions, weights: Mapping[str, float], prefix: str = "") -> npt.NDArray[np.float64]:
    """Return the weight of each kind by code; 1 for a kind that is not named.

    Raises
    ------
    ConfigError
        When the log has no kind of that name.
    """
    weight_by_kind = np.ones(len(log.kind_ids), np.float64)
    weight_by_kind[kind_codes(log, weights, prefix)] = list(weights.values())
    return weight_by_kind


def count_items(
    log: Interactions, weigh: Callable[[slice], npt.NDArray[np.float64]] | None = None
) -> npt.NDArray[np.float64]:
    """Return the summed weight of each item's events.

    Parameters
    ----------
    weigh : callable, optional
        Returns the weights of a slice of the events; None for weights of 1.

    Returns
    -------
    array of shape (n_items,), float64
    """
    totals = np.zeros(log.n_items, np.float64)
    # In chunks, as numpy copies the codes to 64-bit integers.
    for low in range(0, len(log), COUNT_CHUNK):
        chunk = slice(low, min(low + COUNT_CHUNK, len(log)))
        totals += np.bincount(log.items[chunk], None if weigh is None else weigh(chunk), minlength=log.n_items)
    return totals


def read_interactions(table: pl.LazyFrame, columns: Columns) -> Interactions:
    """Read a table of interactions in batches: ids are counted first, then events are appended to their lists.

    Parameters
    ----------
    table : polars.LazyFrame
        In any order.
    columns : Columns

    Raises
    ------
    ConfigError
        When a column is missing, or the times are of another type.
    DataError
        When there are no events, an id or a time is missing, or there are too many items or kinds.
    """
    schema = table.collect_schema()
    all_names = (columns.user, columns.item, columns.time, columns.kind, columns.weight)
    names = [name for name in all_names if name is not None]
    for name in names:
        if name not in schema:
            raise ConfigError(
                f"the interactions have no column {name!r}", hint=did_you_mean(name, schema.names(), kind="column")
            )
    summary = _summary(table, columns, names)
    # The three columns are read concurrently, as each read waits for the disk at times.
    with ThreadPoolExecutor(3) as pool:
        item_job = pool.submit(_items, table, columns.item, schema, summary)
        kind_job = pool.submit(_kinds, table, columns.kind)
        users, n_events, starts = _users(table, columns.user, schema, summary)
        item_ids, kind_ids = item_job.result(), kind_job.result()
    kernels = compiled("compiled_log")
    items, times = np.empty(n_events, np.int32), np.empty(n_events, np.int32)
    kinds = np.zeros(n_events, np.uint8)
    weights = np.empty(0 if columns.weight is None else n_events, np.float32)
    cursors = starts[:-1].copy()
    seconds = _seconds(columns, schema)
    origin = int(summary["origin"])
    tables, lows = zip(*(ids.lookup_table for ids in (users, item_ids, kind_ids)), strict=True)
    for batch in _batches(table, names, seconds.alias("\0seconds")):
        events = (
            users.lookup_keys(batch[columns.user]),
            item_ids.lookup_keys(batch[columns.item]),
            batch["\0seconds"].cast(pl.Int64).to_numpy(),
            np.zeros(batch.height, np.int64) if columns.kind is None else kind_ids.lookup_keys(batch[columns.kind]),
            weights[:0] if columns.weight is None else batch[columns.weight].cast(pl.Float32).to_numpy(),
        )
        low_values = (lows[0], lows[1], origin, lows[2])
        kernels.append_events(events, tables, low_values, cursors, (items, times, kinds, weights))
    kernels.sort_lists(starts, (items, times, kinds, weights))
    return Interactions(users, item_ids, kind_ids, starts, items, times, kinds, origin, weights)


def _batches(table: pl.LazyFrame, names: list[str], *expressions: pl.Expr) -> Iterator[pl.DataFrame]:
    return table.select(*names, *expressions).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)


def _seconds(columns: Columns, schema: pl.Schema) -> pl.Expr:
    """Return the time in whole seconds since 1970."""
    dtype, time = schema[columns.time], pl.col(columns.time)
    if dtype.is_integer():
        if columns.unit not in UNITS_PER_SECOND:
            raise ConfigError(f"unit = {columns.unit!r}: expected one of {', '.join(UNITS_PER_SECOND)}")
        return (time.cast(pl.Int64) // UNITS_PER_SECOND[columns.unit]).alias(columns.time)
    if isinstance(dtype, pl.Datetime | pl.Date):
        return (time.cast(pl.Datetime("us")).dt.epoch("us") // 1_000_000).alias(columns.time)
    raise ConfigError(f"{columns.time!r} has the type {dtype}; expected a date, a time or a whole number")


def _summary(table: pl.LazyFrame, columns: Columns, names: list[str]) -> dict[str, Any]:
    """Return the number of events, the first and last second, and the ranges of integer ids."""
    schema = table.collect_schema()
    seconds = _seconds(columns, schema)
    expressions = [pl.len().alias("events"), seconds.min().alias("origin"), seconds.max().alias("last")]
    expressions += [pl.col(name).null_count().alias(f"\0{name}") for name in names]
    for name in (columns.user, columns.item):
        if schema[name].is_integer():
            expressions += [pl.col(name).min().alias(f"low {name}"), pl.col(name).max().alias(f"high {name}")]
    if columns.weight is not None:
        if not schema[columns.weight].is_numeric():
            raise ConfigError(f"{columns.weight!r} has the type {schema[columns.weight]}; expected a number")
        weight = pl.col(columns.weight).cast(pl.Float32)
        expressions.append((~(weight.is_finite() & (weight >= 0))).sum().alias("invalid weights"))
    summary = table.select(expressions).collect().row(0, named=True)
    if not summary["events"]:
        raise DataError("there are no interactions")
    for name in names:
        if n := summary[f"\0{name}"]:
            raise DataError(
                f"{n:,} of {summary['events']:,} interactions have no {name!r}", hint="remove them from the table"
            )
    if n_invalid := summary.get("invalid weights"):
        raise DataError(
            f"the weight {columns.weight!r} of {n_invalid:,} of {summary['events']:,} interactions is not a number "
            "of at least 0",
            hint="remove them from the table",
        )
    if summary["last"] - summary["origin"] > np.iinfo(np.int32).max:
        raise DataError(
            f"the times of {columns.time!r} span {(summary['last'] - summary['origin']) / 31_557_600:,.0f} years",
            hint="check the unit, and whether a special value marks missing times",
        )
    return summary


def _range(summary: dict[str, Any], name: str) -> tuple[int, int] | None:
    """Return the range of integer ids if it is short enough for a lookup table, else None."""
    if f"low {name}" not in summary:
        return None
    low, high = int(summary[f"low {name}"]), int(summary[f"high {name}"])
    return (low, high) if high - low < MAX_RANGE_RATIO * summary["events"] + 1_000_000 else None


def _count_ids(table: pl.LazyFrame, name: str, summary: dict[str, Any]) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """Return the sorted ids, and the number of events of each."""
    span = _range(summary, name)
    if span is None:
        id_counts = table.group_by(name).len().sort(name).collect()
        return id_counts[name], id_counts["len"].cast(pl.Int64).to_numpy()
    low, high = span
    counts = np.zeros(high - low + 1, np.int64)
    for batch in _batches(table, [name]):
        offsets = batch[name].cast(pl.Int64).to_numpy() - low
        first = int(offsets.min())
        batch_counts = np.bincount(offsets - first)
        counts[first : first + len(batch_counts)] += batch_counts
    occurring = np.flatnonzero(counts)
    return pl.Series(name, occurring + low), counts[occurring]


def _ids(values: pl.Series, span: tuple[int, int] | None) -> Ids:
    if span is None:
        return Ids(values)
    low, high = span
    codes = np.full(high - low + 1, -1, np.int32)
    codes[values.cast(pl.Int64).to_numpy() - low] = np.arange(len(values), dtype=np.int32)
    return Ids(values, codes, low)


def _users(
    table: pl.LazyFrame, name: str, schema: pl.Schema, summary: dict[str, Any]
) -> tuple[Ids, int, npt.NDArray[np.int64]]:
    """Return the ids of the users, the number of events, and where each user's list begins."""
    values, counts = _count_ids(table, name, summary)
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return _ids(values.cast(schema[name]), _range(summary, name)), int(starts[-1]), starts


def _items(table: pl.LazyFrame, name: str, schema: pl.Schema, summary: dict[str, Any]) -> Ids:
    values, counts = _count_ids(table, name, summary)
    if len(values) > MAX_ITEMS:
        raise DataError(f"{name!r} has {len(values):,} items; the maximum is {MAX_ITEMS:,}")
    order = np.argsort(-counts, kind="stable")
    return _ids(values.cast(schema[name]).gather(order), _range(summary, name))


def _kinds(table: pl.LazyFrame, name: str | None) -> Ids:
    if name is None:
        return Ids(pl.Series("kind", ["event"]))
    values = table.select(pl.col(name).unique().sort()).collect().to_series()
    if len(values) > MAX_KINDS:
        raise DataError(f"{name!r} has {len(values):,} kinds of interactions; the maximum is {MAX_KINDS}")
    span = (int(values[0]), int(values[-1])) if values.dtype.is_integer() else None
    return _ids(values, span if span is not None and span[1] - span[0] < MAX_ENUM_TEXTS else None)
