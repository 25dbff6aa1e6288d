"""Interactions of users with items: events as integer codes, in lists by user and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.errors import ConfigError, DataError, near
from workbench.recommender.extra import compiled

__all__ = ["Columns", "Ids", "Interactions", "count_items", "kind_codes", "kind_weights", "read_interactions"]

BATCH_ROWS = 500_000
COUNTED = 1 << 24
SPREAD = 8
"""Integer ids are looked up in a table of their range if that is at most this multiple of the number of rows."""

MOST_KINDS = 15
FEW = 1000
"""Up to this many texts are looked up as an Enum, more of them by a join."""

MOST_ITEMS = (1 << 27) - 1
SECONDS = {"ns": 1_000_000_000, "us": 1_000_000, "ms": 1_000, "s": 1}


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
        The type of an event, such as "clicks"; None where there is only one.
    unit : str
        ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``: the unit of integer times.
    weight : str, optional
        The weight of an event, not negative: a rating, a quantity; None where all are equal.
    """

    user: str
    item: str
    time: str
    kind: str | None = None
    unit: str = "s"
    weight: str | None = None


@dataclass(frozen=True)
class Ids:
    """The ids of users, items or kinds and their codes: an id's place in `values` is its code.

    Attributes
    ----------
    values : polars.Series
    table : array, optional
        For integer ids: the code by id minus `low`; -1 where there is none.
    low : int
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
        if self.values.dtype == pl.String and len(self) <= FEW:
            # An unknown text becomes null.
            codes = ids.cast(pl.String).cast(pl.Enum(self.values), strict=False).to_physical()
            return codes.cast(pl.Int32).fill_null(-1).to_numpy()
        wanted = pl.DataFrame({"id": ids.cast(self.values.dtype, strict=False)})
        id_codes = pl.DataFrame({"id": self.values, "code": np.arange(len(self.values), dtype=np.int32)})
        codes = wanted.join(id_codes, on="id", how="left", maintain_order="left")["code"]
        return codes.fill_null(-1).to_numpy()

    @property
    def looked_up(self) -> tuple[npt.NDArray[np.int32], int]:
        """The lookup table of codes, empty where there is none, and its lowest id."""
        return (np.empty(0, np.int32), 0) if self.table is None else (self.table, self.low)

    def to_look_up(self, ids: pl.Series) -> npt.NDArray[np.int64]:
        """Return the keys for `looked_up` of known ids: the ids, or their codes where there is no table."""
        if self.table is not None:
            return ids.cast(pl.Int64).to_numpy()
        return self.codes(ids).astype(np.int64)


@dataclass(frozen=True)
class Interactions:
    """A log of interactions: the events of every user by time, equal times in the order of the table.

    Attributes
    ----------
    users, items_ids, kind_ids : Ids
        Items are coded by descending frequency, ties by id; users and kinds by id.
    starts : array of shape (n_users + 1,), int64
        Where each list begins.
    items : array of shape (n_events,), int32
    times : array of shape (n_events,), int32
        Whole seconds since `origin`.
    kinds : array of shape (n_events,), uint8
    origin : int
        The earliest time, in seconds since 1970.
    weights : array of shape (n_events,), float32
        Empty where all are equal.
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
        """Items, times, kinds and weights, as compiled functions take them."""
        return self.items, self.times, self.kinds, self.weights

    @property
    def n_items(self) -> int:
        """The number of items."""
        return len(self.item_ids)


def kind_codes(log: Interactions, kinds: Iterable[str], prefix: str = "") -> list[int]:
    """Return the codes of kinds by name; `prefix` begins the message.

    Raises
    ------
    ConfigError
        When the log has no such kind.
    """
    names = [str(kind) for kind in log.kind_ids.values]
    wanted = [str(kind) for kind in kinds]
    for kind in wanted:
        if kind not in names:
            raise ConfigError(
                f"{prefix}the interactions have no kind {kind!r}: they have {', '.join(names)}",
                hint=near(kind, names, kind="kind"),
            )
    return [names.index(kind) for kind in wanted]


def kind_weights(log: Interactions, weights: Mapping[str, float], prefix: str = "") -> npt.NDArray[np.float64]:
    """Return the weight of each kind by code; 1 for a kind that is not named.

    Raises
    ------
    ConfigError
        When the log has no such kind.
    """
    weights_of_kinds = np.ones(len(log.kind_ids), np.float64)
    weights_of_kinds[kind_codes(log, weights, prefix)] = list(weights.values())
    return weights_of_kinds


def count_items(
    log: Interactions, weigh: Callable[[slice], npt.NDArray[np.float64]] | None = None
) -> npt.NDArray[np.float64]:
    """Return the summed weight of each item's events, in chunks, as numpy would copy all of them to 64-bit integers.

    Parameters
    ----------
    weigh : callable, optional
        Returns the weights of a slice of the events; None for weights of 1.

    Returns
    -------
    array of shape (n_items,), float64
    """
    counts = np.zeros(log.n_items, np.float64)
    for low in range(0, len(log), COUNTED):
        part = slice(low, min(low + COUNTED, len(log)))
        counts += np.bincount(log.items[part], None if weigh is None else weigh(part), minlength=log.n_items)
    return counts


def read_interactions(table: pl.LazyFrame, columns: Columns) -> Interactions:
    """Read a table of interactions in batches: ids are counted first, then every event is put into its list.

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
        When there is no event, an id or a time is missing, or there are more items or kinds than can be coded.
    """
    schema = table.collect_schema()
    optional_names = (columns.user, columns.item, columns.time, columns.kind, columns.weight)
    names = [c for c in optional_names if c is not None]
    for name in names:
        if name not in schema:
            raise ConfigError(
                f"the interactions have no column {name!r}", hint=near(name, schema.names(), kind="column")
            )
    facts = _facts(table, columns, names)
    # The three columns are read concurrently, as each read waits at times.
    with ThreadPoolExecutor(3) as pool:
        of_items = pool.submit(_items, table, columns.item, schema, facts)
        of_kinds = pool.submit(_kinds, table, columns.kind)
        users, n_events, starts = _users(table, columns.user, schema, facts)
        item_ids, kind_ids = of_items.result(), of_kinds.result()
    log = compiled("compiled_log")
    items, times = np.empty(n_events, np.int32), np.empty(n_events, np.int32)
    kinds = np.zeros(n_events, np.uint8)
    weights = np.empty(0 if columns.weight is None else n_events, np.float32)
    cursor = starts[:-1].copy()
    seconds = _seconds(columns, schema)
    origin = int(facts["origin"])
    tables, lows = zip(*(ids.looked_up for ids in (users, item_ids, kind_ids)), strict=True)
    for batch in _batches(table, names, seconds.alias("\0seconds")):
        events = (
            users.to_look_up(batch[columns.user]),
            item_ids.to_look_up(batch[columns.item]),
            batch["\0seconds"].cast(pl.Int64).to_numpy(),
            np.zeros(batch.height, np.int64) if columns.kind is None else kind_ids.to_look_up(batch[columns.kind]),
            weights[:0] if columns.weight is None else batch[columns.weight].cast(pl.Float32).to_numpy(),
        )
        log.place(events, tables, (lows[0], lows[1], origin, lows[2]), cursor, (items, times, kinds, weights))
    log.sort_lists(starts, (items, times, kinds, weights))
    return Interactions(users, item_ids, kind_ids, starts, items, times, kinds, origin, weights)


def _batches(table: pl.LazyFrame, named: list[str], *more: pl.Expr) -> Iterator[pl.DataFrame]:
    return table.select(*named, *more).collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)


def _seconds(columns: Columns, schema: pl.Schema) -> pl.Expr:
    dtype, time = schema[columns.time], pl.col(columns.time)
    if dtype.is_integer():
        if columns.unit not in SECONDS:
            raise ConfigError(f"unit = {columns.unit!r}: expected one of {', '.join(SECONDS)}")
        return (time.cast(pl.Int64) // SECONDS[columns.unit]).alias(columns.time)
    if isinstance(dtype, pl.Datetime | pl.Date):
        return (time.cast(pl.Datetime("us")).dt.epoch("us") // 1_000_000).alias(columns.time)
    raise ConfigError(f"{columns.time!r} is of the type {dtype}; expected a date, a time or a whole number")


def _facts(table: pl.LazyFrame, columns: Columns, names: list[str]) -> dict[str, Any]:
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
            raise ConfigError(f"{columns.weight!r} is of the type {schema[columns.weight]}; expected a number")
        weight = pl.col(columns.weight).cast(pl.Float32)
        expressions.append((~(weight.is_finite() & (weight >= 0))).sum().alias("odd weights"))
    facts = table.select(expressions).collect().row(0, named=True)
    if not facts["events"]:
        raise DataError("there are no interactions")
    for name in names:
        if n := facts[f"\0{name}"]:
            raise DataError(
                f"{n:,} of {facts['events']:,} interactions have no {name!r}", hint="leave them out of the table"
            )
    if n_invalid := facts.get("odd weights"):
        raise DataError(
            f"the weight {columns.weight!r} of {n_invalid:,} of {facts['events']:,} interactions is not a number "
            "from 0 up",
            hint="leave them out of the table",
        )
    if facts["last"] - facts["origin"] > np.iinfo(np.int32).max:
        raise DataError(
            f"the times of {columns.time!r} go over {(facts['last'] - facts['origin']) / 31_557_600:,.0f} years",
            hint="check the unit, and whether some value stands for a missing time",
        )
    return facts


def _range(facts: dict[str, Any], name: str) -> tuple[int, int] | None:
    """Return the range of integer ids if it is short enough for a lookup table, else None."""
    if f"low {name}" not in facts:
        return None
    low, high = int(facts[f"low {name}"]), int(facts[f"high {name}"])
    return (low, high) if high - low < SPREAD * facts["events"] + 1_000_000 else None


def _counted(table: pl.LazyFrame, name: str, facts: dict[str, Any]) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """Return the ids, sorted, and the number of events of each."""
    span = _range(facts, name)
    if span is None:
        counted = table.group_by(name).len().sort(name).collect()
        return counted[name], counted["len"].cast(pl.Int64).to_numpy()
    low, high = span
    counts = np.zeros(high - low + 1, np.int64)
    for batch in _batches(table, [name]):
        offsets = batch[name].cast(pl.Int64).to_numpy() - low
        first = int(offsets.min())
        batch_counts = np.bincount(offsets - first)
        counts[first : first + len(batch_counts)] += batch_counts
    present = np.flatnonzero(counts)
    return pl.Series(name, present + low), counts[present]


def _ids(values: pl.Series, span: tuple[int, int] | None) -> Ids:
    if span is None:
        return Ids(values)
    low, high = span
    codes = np.full(high - low + 1, -1, np.int32)
    codes[values.cast(pl.Int64).to_numpy() - low] = np.arange(len(values), dtype=np.int32)
    return Ids(values, codes, low)


def _users(
    table: pl.LazyFrame, name: str, schema: pl.Schema, facts: dict[str, Any]
) -> tuple[Ids, int, npt.NDArray[np.int64]]:
    values, counts = _counted(table, name, facts)
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return _ids(values.cast(schema[name]), _range(facts, name)), int(starts[-1]), starts


def _items(table: pl.LazyFrame, name: str, schema: pl.Schema, facts: dict[str, Any]) -> Ids:
    values, counts = _counted(table, name, facts)
    if len(values) > MOST_ITEMS:
        raise DataError(f"{name!r} has {len(values):,} items; at most {MOST_ITEMS:,} can be coded")
    order = np.argsort(-counts, kind="stable")
    return _ids(values.cast(schema[name]).gather(order), _range(facts, name))


def _kinds(table: pl.LazyFrame, name: str | None) -> Ids:
    if name is None:
        return Ids(pl.Series("kind", ["event"]))
    values = table.select(pl.col(name).unique().sort()).collect().to_series()
    if len(values) > MOST_KINDS:
        raise DataError(f"{name!r} has {len(values):,} types of interactions; at most {MOST_KINDS} are told apart")
    span = (int(values[0]), int(values[-1])) if values.dtype.is_integer() else None
    return _ids(values, span if span is not None and span[1] - span[0] < FEW else None)
