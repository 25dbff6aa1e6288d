"""Infer the definition of a recommender competition from the host's facts, or from a log and a sample of lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from workbench import metrics
from workbench.data.inference.tables import DataTable, best_sample, normalized, sounds_like
from workbench.platforms.interactions import InteractionsSpec
from workbench.platforms.protocol import CompetitionFacts

__all__ = ["InferredLog", "find_log"]

USER_NAMES = (
    "user",
    "userid",
    "session",
    "sessionid",
    "customer",
    "customerid",
    "visitor",
    "visitorid",
    "householdid",
    "uid",
)
ITEM_NAMES = (
    "item",
    "itemid",
    "aid",
    "article",
    "articleid",
    "product",
    "productid",
    "sku",
    "movieid",
    "songid",
    "trackid",
)
TIME_NAMES = ("time", "timestamp", "ts", "date", "datetime", "tdat", "eventtime", "createdat", "day")
EVENT_TYPE_NAMES = ("type", "eventtype", "event", "action", "actiontype", "behavior", "behaviortype", "kind")

MAX_EVENT_TYPES = 15
SAMPLE_CELLS = 200
WEEK_S = 604_800
SMALLEST_BY_UNIT = (("ns", 10**17), ("us", 10**14), ("ms", 10**11))
"""The smallest time of each unit: as a number of the next larger unit it would lie thousands of years ahead."""


@dataclass(frozen=True)
class InferredLog:
    """The values of the definition of a recommender competition.

    Attributes
    ----------
    train, test, sample : str
        Names of tables; `test` is None where there is none.
    id, target : str
        Columns of the sample.
    metric_of_platform : str, optional
        The platform's name for its metric, where `metric` only approximates it.
    interactions : InteractionsSpec
        The settings of ``[interactions]``.
    why : dict
        The reasons, by key of the definition.
    explode : dict
        By table, the column of lists whose records are the events: the table has to be converted again with a row for
        each record.
    read, types, large_integer_columns
        See `Inferred`.
    """

    slug: str
    title: str
    platform: str
    train: str
    test: str | None
    sample: str
    id: str
    target: str
    metric: str
    metric_of_platform: str | None
    interactions: InteractionsSpec
    why: dict[str, str]
    explode: dict[str, str] = field(default_factory=dict)
    read: dict[str, list[str]] = field(default_factory=dict)
    types: dict[str, tuple[str, str]] = field(default_factory=dict)
    large_integer_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Events:
    """A table that may be a log of events, and its columns.

    Attributes
    ----------
    frame : LazyFrame
        One row per event.
    user, item, time, event_type : str
        Columns of `frame`; `event_type` is None if there is no such column.
    list_column : str, optional
        The table's column of lists whose records are the rows of `frame`; None if the table has one row per event.
    """

    table: DataTable
    frame: pl.LazyFrame
    user: str
    item: str
    time: str
    event_type: str | None
    list_column: str | None

    def count_in(self, column: str, texts: Iterable[str]) -> int:
        """Return the number of distinct `texts` that are values of a column."""
        text_series = pl.Series(list(texts), dtype=pl.String)
        values = self.frame.select(pl.col(column).cast(pl.String)).filter(pl.col(column).is_in(text_series.implode()))
        return values.unique().collect(engine="streaming").height


def find_log(tables: Sequence[DataTable], facts: CompetitionFacts, platform: str) -> InferredLog | None:
    """Infer the definition of a recommender competition; None unless it certainly is one."""
    sample = best_sample(tables)
    if sample is None or len(sample.columns) != 2:
        return None
    inferred = (
        _from_facts(tables, sample, facts, platform)
        if facts.interactions
        else _from_tables(tables, sample, facts, platform)
    )
    if inferred is None:
        return None
    other_tables = [t for t in tables if t.name not in (inferred.train, inferred.test, inferred.sample)]
    users_table = _table_with_key(
        other_tables, key=inferred.interactions.user, excluded_column=inferred.interactions.item
    )
    items_table = _table_with_key(
        other_tables, key=inferred.interactions.item, excluded_column=inferred.interactions.user
    )
    return replace(inferred, interactions=replace(inferred.interactions, users=users_table, items=items_table))


def _table_with_key(tables: Iterable[DataTable], *, key: str, excluded_column: str) -> str | None:
    """Return the first table with one row for each value of `key` and no column `excluded_column`, by name; or None."""
    for table in tables:
        if key in table.columns and excluded_column not in table.columns and table.is_key(key):
            return table.name
    return None


def _from_facts(
    tables: Sequence[DataTable], sample: DataTable, facts: CompetitionFacts, platform: str
) -> InferredLog | None:
    """Return the definition that the platform's facts give; None where they are incomplete."""
    names = {t.name for t in tables}
    if facts.interactions is None or "train" not in names or not facts.id_columns or not facts.target_columns:
        return None
    return InferredLog(
        slug=facts.slug,
        title=facts.title,
        platform=platform,
        train="train",
        test="test" if "test" in names else None,
        sample=sample.name,
        id=facts.id_columns[0],
        target=facts.target_columns[0],
        metric=facts.metric or "",
        metric_of_platform=None,
        interactions=facts.interactions,
        why={"task": "stated by the platform"},
    )


# ----------------------------------------------------------------------------------------------------------- guessing


def _from_tables(
    tables: Sequence[DataTable], sample: DataTable, facts: CompetitionFacts, platform: str
) -> InferredLog | None:
    """Guess the definition from names and values; None where they do not fit.

    They fit where the sample has lists of words, and at least half of the words are items of a table with users and
    times.
    """
    id_column, target = sample.columns
    listed_items = _listed_items(sample, target)
    if not listed_items:
        return None
    logs = [e for t in tables if t is not sample and target not in t.columns and (e := _as_events(t))]
    logs = [e for e in logs if e.count_in(e.item, listed_items) * 2 >= len(listed_items)]
    train = max(logs, key=lambda e: (sounds_like(e.table, "train"), e.table.n_rows), default=None)
    if train is None:
        return None
    logs_like_train = [e for e in logs if e is not train and e.user == train.user and e.item == train.item]
    test = next((e for e in logs_like_train if sounds_like(e.table, "test")), None)
    first_ids = sample.scan.select(pl.col(id_column).cast(pl.String)).head(SAMPLE_CELLS).collect().to_series().to_list()
    event_types = _event_types_of_ids(test or train, first_ids)
    if event_types is None:
        return None
    has_new_users = test is not None and not train.count_in(train.user, _users_of_ids(first_ids, event_types))
    interactions, why = _interactions_spec(train, event_types, has_new_users=has_new_users)
    list_length = _list_length(sample, target)
    metric, metric_of_platform, why["metric"] = _metric(facts, list_length, has_event_types=bool(event_types))
    why["task"] = f"{target!r} of {sample.name} holds lists of items of {train.table.name}, which is a log"
    return InferredLog(
        slug=facts.slug,
        title=facts.title,
        platform=platform,
        train=train.table.name,
        test=test.table.name if test else None,
        sample=sample.name,
        id=id_column,
        target=target,
        metric=metric,
        metric_of_platform=metric_of_platform,
        interactions=interactions,
        why=why,
        explode={e.table.name: e.list_column for e in (train, test) if e is not None and e.list_column},
    )


def _listed_items(sample: DataTable, target: str) -> list[str]:
    """Return the distinct words in a column's first cells if most of these are lists of words; else an empty list."""
    if not sample.dtype(target).startswith("String"):
        return []
    cells = sample.scan.select(pl.col(target).str.split(" ")).head(SAMPLE_CELLS).collect().to_series().drop_nulls()
    list_share = float((cells.list.len() > 1).mean() or 0.0)  # type: ignore[arg-type]
    return cells.explode().unique().to_list() if list_share > 0.5 else []


def _list_length(sample: DataTable, target: str) -> int:
    """Return the largest number of words in a cell of the sample's column."""
    longest = sample.scan.select(pl.col(target).str.strip_chars().str.split(" ").list.len().max())
    return int(longest.collect(engine="streaming").item() or 1)


def _as_events(table: DataTable) -> _Events | None:
    """Return a table as a log; None where no columns have the names of a user, an item and a time."""
    list_column = next(iter(table.info.lists_of_records), None)
    frame = table.scan
    if list_column is not None:
        frame = frame.explode(list_column, empty_as_null=False, keep_nulls=False).unnest(list_column)
    schema = frame.collect_schema()
    user, item, time, event_type = (
        _column_called(schema.names(), names) for names in (USER_NAMES, ITEM_NAMES, TIME_NAMES, EVENT_TYPE_NAMES)
    )
    if user is None or item is None or time is None:
        return None
    is_time = schema[time].is_integer() or isinstance(schema[time], pl.Date | pl.Datetime)
    if not is_time or any(schema[c].is_float() for c in (user, item)):
        return None
    return _Events(table, frame, user, item, time, event_type, list_column)


def _column_called(columns: Iterable[str], names: tuple[str, ...]) -> str | None:
    """Return the column whose normalized name is one of `names`, the earlier names first; None if there is none."""
    column_by_name = {normalized(c): c for c in columns}
    return next((column_by_name[n] for n in names if n in column_by_name), None)


def _event_types_of_ids(events: _Events, ids: list[str]) -> tuple[str, ...] | None:
    """Return the event types that the sample's ids end in, as in "12899779_clicks".

    Empty where the ids are users themselves; None where the ids are neither users nor users with an event type.
    """
    if events.count_in(events.user, ids) * 2 >= len(ids):
        return ()
    if events.event_type is None:
        return None
    event_types = tuple(dict.fromkeys(i.rpartition("_")[2] for i in ids))
    if len(event_types) > MAX_EVENT_TYPES or not events.count_in(events.user, _users_of_ids(ids, event_types)):
        return None
    types_in_log = events.frame.select(pl.col(events.event_type).cast(pl.String).unique()).collect(engine="streaming")
    return event_types if set(event_types) <= set(types_in_log.to_series()) else None


def _users_of_ids(ids: list[str], event_types: tuple[str, ...]) -> list[str]:
    """Return the users in the sample's ids, which end in an event type if there are `event_types`."""
    return [i.rpartition("_")[0] for i in ids] if event_types else ids


def _interactions_spec(
    train: _Events, event_types: tuple[str, ...], *, has_new_users: bool
) -> tuple[InteractionsSpec, dict[str, str]]:
    """Return the settings of ``[interactions]``, and the reasons by key.

    Parameters
    ----------
    event_types : tuple of str
        The types in the sample's ids; empty if the ids are users.
    has_new_users : bool
        Whether the users of the sample are in test and not in train.
    """
    spec = InteractionsSpec(
        user=train.user,
        item=train.item,
        time=train.time,
        horizon_s=WEEK_S,
        kind=train.event_type,
        unit=_unit(train),
        cut="session" if has_new_users else "last",
        id="{user}_{kind}" if event_types else "{user}",
        weights={event_type: round(1 / len(event_types), 4) for event_type in event_types},
    )
    why = dict.fromkeys(("user", "item", "time", "kind"), "by its name")
    why |= {"horizon": "a guess: the competition's page states the period to predict"}
    why |= {"weights": "a guess, all equal: the competition's page states the weight of each type"}
    why |= {"cut": "no user of test is in train" if has_new_users else "the users are those of train"}
    return spec, why


def _unit(events: _Events) -> str:
    """Return the unit of times that are whole numbers, by the size of the latest one; "s" for dates and times."""
    if not events.frame.collect_schema()[events.time].is_integer():
        return "s"
    latest = events.frame.select(pl.col(events.time).max()).collect(engine="streaming").item() or 0
    return next((unit for unit, smallest in SMALLEST_BY_UNIT if latest > smallest), "s")


def _metric(facts: CompetitionFacts, list_length: int, *, has_event_types: bool) -> tuple[str, str | None, str]:
    """Return a metric of lists, the platform's metric where the first one only approximates it, and the reason."""
    platform_metric = facts.metric
    metric = metrics.find(platform_metric) if platform_metric else None
    length_note = f"the sample has lists of {list_length}"
    if metric and "@" in metric and re.fullmatch(r"(map|recall|micro_recall|hit_rate|mrr|ndcg)@\d*", metric):
        if not metric.endswith("@"):
            return metric, None, f"{platform_metric!r}"
        return f"{metric}{list_length}", None, f"{platform_metric!r} on the platform; {length_note}"
    default = f"micro_recall@{list_length}" if has_event_types else f"recall@{list_length}"
    why = "the platform does not name its metric"
    if platform_metric:
        why = f"{platform_metric!r} on the platform, which is not a metric of lists"
    return default, platform_metric, f"{why}: a common one is used instead; {length_note}"
