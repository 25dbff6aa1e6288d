"""Infer the definition of a recommender competition from the host's facts, or from a log and a sample of lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from workbench import metrics
from workbench.data.inference.tables import DataTable, best_sample, normal, sounds_like
from workbench.platforms.interactions import InteractionsSpec
from workbench.platforms.protocol import CompetitionFacts

__all__ = ["InferredLog", "find_log"]

USERS = (
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
ITEMS = ("item", "itemid", "aid", "article", "articleid", "product", "productid", "sku", "movieid", "songid", "trackid")
TIMES = ("time", "timestamp", "ts", "date", "datetime", "tdat", "eventtime", "createdat", "day")
KINDS = ("type", "eventtype", "event", "action", "actiontype", "behavior", "behaviortype", "kind")

MAX_KINDS = 15
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
    stands_for : str, optional
        The platform's metric, where `metric` only replaces it.
    log : InteractionsSpec
    why : dict
        Reasons by key of the definition.
    explode : dict
        By table, the column of lists whose records are the events: the table has to be converted again with a row for
        each record.
    read, types, large
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
    stands_for: str | None
    log: InteractionsSpec
    why: dict[str, str]
    explode: dict[str, str] = field(default_factory=dict)
    read: dict[str, list[str]] = field(default_factory=dict)
    types: dict[str, tuple[str, str]] = field(default_factory=dict)
    large: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Events:
    """A table that may be a log, and its columns.

    `explode` names the column of lists of records that `frame` has one row each for, where the table has one.
    """

    table: DataTable
    frame: pl.LazyFrame
    user: str
    item: str
    time: str
    kind: str | None
    explode: str | None

    def count_in(self, column: str, texts: Iterable[str]) -> int:
        """Return the number of distinct `texts` that are values of a column."""
        wanted = pl.Series(list(texts), dtype=pl.String)
        values = self.frame.select(pl.col(column).cast(pl.String)).filter(pl.col(column).is_in(wanted.implode()))
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
    users, items = (
        _side_table(other_tables, inferred.log.user, inferred.log.item),
        _side_table(other_tables, inferred.log.item, inferred.log.user),
    )
    return replace(inferred, log=replace(inferred.log, users=users, items=items))


def _side_table(tables: Iterable[DataTable], column: str, other: str) -> str | None:
    """Return the table that has one row for each value of `column`, and no column `other`."""
    for table in tables:
        if column in table.columns and other not in table.columns and table.is_key(column):
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
        stands_for=None,
        log=facts.interactions,
        why={"task": "stated by the platform"},
    )


# ----------------------------------------------------------------------------------------------------------- guessing


def _from_tables(
    tables: Sequence[DataTable], sample: DataTable, facts: CompetitionFacts, platform: str
) -> InferredLog | None:
    """Guess the definition from names and values; None where they do not fit.

    They fit where the sample has lists of words, at least half of which are items of a table with users and times.
    """
    id_column, target = sample.columns
    words = _words_of_lists(sample, target)
    if not words:
        return None
    logs = [e for t in tables if t is not sample and target not in t.columns and (e := _as_events(t))]
    logs = [e for e in logs if e.count_in(e.item, words) * 2 >= len(words)]
    train = max(logs, key=lambda e: (sounds_like(e.table, "train"), e.table.rows), default=None)
    if train is None:
        return None
    same_columns = [e for e in logs if e is not train and e.user == train.user and e.item == train.item]
    test = next((e for e in same_columns if sounds_like(e.table, "test")), None)
    ids = sample.scan.select(pl.col(id_column).cast(pl.String)).head(SAMPLE_CELLS).collect().to_series().to_list()
    kinds = _kinds_of_ids(test or train, ids)
    if kinds is None:
        return None
    is_session = test is not None and not train.count_in(train.user, _users_of_ids(ids, kinds))
    log, why = _spec(train, kinds, is_session=is_session)
    metric, stands_for, why["metric"] = _metric(facts, _list_length(sample, target), by_kind=bool(kinds))
    why["task"] = f"{target!r} of {sample.name} holds lists, and {train.table.name} is a log whose items they are"
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
        stands_for=stands_for,
        log=log,
        why=why,
        explode={e.table.name: e.explode for e in (train, test) if e is not None and e.explode},
    )


def _words_of_lists(sample: DataTable, target: str) -> list[str]:
    """Return the distinct words of the first cells where most cells hold several words; else an empty list."""
    if not sample.dtype(target).startswith("String"):
        return []
    cells = sample.scan.select(pl.col(target).str.split(" ")).head(SAMPLE_CELLS).collect().to_series().drop_nulls()
    share_of_lists = float((cells.list.len() > 1).mean() or 0.0)  # type: ignore[arg-type]
    return cells.explode().unique().to_list() if share_of_lists > 0.5 else []


def _list_length(sample: DataTable, target: str) -> int:
    """Return the largest number of words in a cell."""
    longest = sample.scan.select(pl.col(target).str.strip_chars().str.split(" ").list.len().max())
    return int(longest.collect(engine="streaming").item() or 1)


def _as_events(table: DataTable) -> _Events | None:
    """Return a table as a log; None where no columns have the names of a user, an item and a time."""
    lists = table.info.lists_of_records
    frame = table.scan
    if lists:
        frame = frame.explode(lists[0], empty_as_null=False, keep_nulls=False).unnest(lists[0])
    schema = frame.collect_schema()
    user, item, time, kind = (_column_called(schema.names(), names) for names in (USERS, ITEMS, TIMES, KINDS))
    if user is None or item is None or time is None:
        return None
    is_time = schema[time].is_integer() or isinstance(schema[time], pl.Date | pl.Datetime)
    if not is_time or any(schema[c].is_float() for c in (user, item)):
        return None
    return _Events(table, frame, user, item, time, kind, lists[0] if lists else None)


def _column_called(columns: Iterable[str], names: tuple[str, ...]) -> str | None:
    """Return the column that has one of some normalized names, the first of `names` that there is."""
    column_by_name = {normal(c): c for c in columns}
    return next((column_by_name[n] for n in names if n in column_by_name), None)


def _kinds_of_ids(events: _Events, ids: list[str]) -> tuple[str, ...] | None:
    """Return the event types that the sample's ids end in, as in "12899779_clicks".

    Empty where the ids are users themselves; None where they are neither.
    """
    if events.count_in(events.user, ids) * 2 >= len(ids):
        return ()
    if events.kind is None:
        return None
    kinds = tuple(dict.fromkeys(i.rpartition("_")[2] for i in ids))
    if len(kinds) > MAX_KINDS or not events.count_in(events.user, _users_of_ids(ids, kinds)):
        return None
    log_kinds = events.frame.select(pl.col(events.kind).cast(pl.String).unique()).collect(engine="streaming")
    return kinds if set(kinds) <= set(log_kinds.to_series()) else None


def _users_of_ids(ids: list[str], kinds: tuple[str, ...]) -> list[str]:
    return [i.rpartition("_")[0] for i in ids] if kinds else ids


def _spec(train: _Events, kinds: tuple[str, ...], *, is_session: bool) -> tuple[InteractionsSpec, dict[str, str]]:
    """Return the settings of ``[interactions]``, and the reason for each by its key."""
    spec = InteractionsSpec(
        user=train.user,
        item=train.item,
        time=train.time,
        horizon_s=WEEK_S,
        kind=train.kind,
        unit=_unit(train),
        cut="session" if is_session else "last",
        id="{user}_{kind}" if kinds else "{user}",
        weights={kind: round(1 / len(kinds), 4) for kind in kinds},
    )
    why = dict.fromkeys(("user", "item", "time", "kind"), "by its name")
    why |= {"horizon": "a guess: the competition's page says how far it looks ahead"}
    why |= {"weights": "a guess, all equal: the competition's page gives the weight of each type"}
    why |= {"cut": "train has no users of test" if is_session else "the users are those of train"}
    return spec, why


def _unit(events: _Events) -> str:
    if not events.frame.collect_schema()[events.time].is_integer():
        return "s"
    latest = events.frame.select(pl.col(events.time).max()).collect(engine="streaming").item() or 0
    return next((unit for unit, smallest in SMALLEST_BY_UNIT if latest > smallest), "s")


def _metric(facts: CompetitionFacts, length: int, *, by_kind: bool) -> tuple[str, str | None, str]:
    """Return a metric of lists, the platform's metric where the first one replaces it, and the reason."""
    words = facts.metric
    metric = metrics.find(words) if words else None
    length_note = f"{length} is what the sample has in a cell"
    if metric and "@" in metric and re.fullmatch(r"(map|recall|micro_recall|hit_rate|mrr|ndcg)@\d*", metric):
        name = metric + str(length) * metric.endswith("@")
        return name, None, f"{words!r} on the platform; {length_note}" if metric.endswith("@") else f"{words!r}"
    default = f"micro_recall@{length}" if by_kind else f"recall@{length}"
    why = f"{words!r} on the platform, which is not a metric of lists" if words else "the platform does not say which"
    return default, words, f"{why}: a usual one stands in; {length_note}"
