"""The definition of a recommender competition: from what its host says, or from a log and a sample of lists."""

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

MOST_KINDS = 15
FIRST_LOOK = 200
WEEK_S = 604_800
NUMBERS_BEYOND = (("ns", 10**17), ("us", 10**14), ("ms", 10**11))
"""Numbers above this count no larger unit: in seconds they would be thousands of years."""


@dataclass(frozen=True)
class InferredLog:
    """What the definition of a recommender competition needs; `why` has the reason for a key, where one is known.

    `explode` names, by table, the column of lists whose records are the events; it is to be read again as rows.
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
    """A table that may be a log, with the columns that a log has; of lists of records, these exploded."""

    table: DataTable
    frame: pl.LazyFrame
    user: str
    item: str
    time: str
    kind: str | None
    explode: str | None

    def some(self, column: str, of: Iterable[str]) -> int:
        """Return how many of some values, written as texts, a column has."""
        wanted = pl.Series(list(of), dtype=pl.String)
        values = self.frame.select(pl.col(column).cast(pl.String)).filter(pl.col(column).is_in(wanted.implode()))
        return values.unique().collect(engine="streaming").height


def find_log(tables: Sequence[DataTable], facts: CompetitionFacts, platform: str) -> InferredLog | None:
    """Find the definition of a recommender competition; None where it is not one for certain."""
    sample = best_sample(tables)
    if sample is None or len(sample.columns) != 2:
        return None
    inferred = (
        _stated_by_host(tables, sample, facts, platform)
        if facts.interactions
        else _guessed(tables, sample, facts, platform)
    )
    if inferred is None:
        return None
    other_tables = [t for t in tables if t.name not in (inferred.train, inferred.test, inferred.sample)]
    users, items = (
        _keyed(other_tables, inferred.log.user, inferred.log.item),
        _keyed(other_tables, inferred.log.item, inferred.log.user),
    )
    return replace(inferred, log=replace(inferred.log, users=users, items=items))


def _keyed(tables: Iterable[DataTable], column: str, other: str) -> str | None:
    for table in tables:
        if column in table.columns and other not in table.columns and table.is_key(column):
            return table.name
    return None


def _stated_by_host(
    tables: Sequence[DataTable], sample: DataTable, facts: CompetitionFacts, platform: str
) -> InferredLog | None:
    """Take over what the host says."""
    named = {t.name for t in tables}
    if facts.interactions is None or "train" not in named or not facts.id_columns or not facts.target_columns:
        return None
    return InferredLog(
        slug=facts.slug,
        title=facts.title,
        platform=platform,
        train="train",
        test="test" if "test" in named else None,
        sample=sample.name,
        id=facts.id_columns[0],
        target=facts.target_columns[0],
        metric=facts.metric or "",
        stands_for=None,
        log=facts.interactions,
        why={"task": "said by the platform"},
    )


# ----------------------------------------------------------------------------------------------------------- guessing


def _guessed(
    tables: Sequence[DataTable], sample: DataTable, facts: CompetitionFacts, platform: str
) -> InferredLog | None:
    """Guess from names and values: a sample of lists, whose words are items of a table with users and times."""
    id_column, target = sample.columns
    words = _words(sample, target)
    if not words:
        return None
    logs = [e for t in tables if t is not sample and target not in t.columns and (e := _events(t))]
    logs = [e for e in logs if e.some(e.item, words) * 2 >= len(words)]
    train = max(logs, key=lambda e: (sounds_like(e.table, "train"), e.table.rows), default=None)
    if train is None:
        return None
    alike = [e for e in logs if e is not train and e.user == train.user and e.item == train.item]
    test = next((e for e in alike if sounds_like(e.table, "test")), None)
    ids = sample.scan.select(pl.col(id_column).cast(pl.String)).head(FIRST_LOOK).collect().to_series().to_list()
    kinds = _kinds(test or train, ids)
    if kinds is None:
        return None
    is_session = test is not None and not train.some(train.user, _users(ids, kinds))
    log, why = _spec(train, kinds, is_session=is_session)
    metric, stands_for, why["metric"] = _metric(facts, _length(sample, target), by_kind=bool(kinds))
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


def _words(sample: DataTable, target: str) -> list[str]:
    """Return the words of some cells, where most cells hold several; else none."""
    if not sample.dtype(target).startswith("String"):
        return []
    cells = sample.scan.select(pl.col(target).str.split(" ")).head(FIRST_LOOK).collect().to_series().drop_nulls()
    several = float((cells.list.len() > 1).mean() or 0.0)  # type: ignore[arg-type]
    return cells.explode().unique().to_list() if several > 0.5 else []


def _length(sample: DataTable, target: str) -> int:
    sizes = sample.scan.select(pl.col(target).str.strip_chars().str.split(" ").list.len().max())
    return int(sizes.collect(engine="streaming").item() or 1)


def _events(table: DataTable) -> _Events | None:
    """Return a table as a log, where it has a user, an item and a time by their names."""
    lists = table.info.lists_of_records
    frame = table.scan
    if lists:
        frame = frame.explode(lists[0], empty_as_null=False, keep_nulls=False).unnest(lists[0])
    schema = frame.collect_schema()
    named = [_named(schema.names(), names) for names in (USERS, ITEMS, TIMES, KINDS)]
    user, item, time, kind = named
    if user is None or item is None or time is None:
        return None
    is_time = schema[time].is_integer() or isinstance(schema[time], pl.Date | pl.Datetime)
    if not is_time or any(schema[c].is_float() for c in (user, item)):
        return None
    return _Events(table, frame, user, item, time, kind, lists[0] if lists else None)


def _named(columns: Iterable[str], names: tuple[str, ...]) -> str | None:
    by_normal_name = {normal(c): c for c in columns}
    return next((by_normal_name[n] for n in names if n in by_normal_name), None)


def _kinds(events: _Events, ids: list[str]) -> tuple[str, ...] | None:
    """Return the types that the ids end in, none where they are users as they are; None where they are neither."""
    if events.some(events.user, ids) * 2 >= len(ids):
        return ()
    if events.kind is None:
        return None
    ends = {i.rpartition("_")[2] for i in ids}
    if len(ends) > MOST_KINDS or not events.some(events.user, _users(ids, tuple(ends))):
        return None
    of_log = events.frame.select(pl.col(events.kind).cast(pl.String).unique()).collect(engine="streaming").to_series()
    kinds = [i.rpartition("_")[2] for i in ids]
    return tuple(dict.fromkeys(kinds)) if ends <= set(of_log) else None


def _users(ids: list[str], kinds: tuple[str, ...]) -> list[str]:
    return [i.rpartition("_")[0] for i in ids] if kinds else ids


def _spec(train: _Events, kinds: tuple[str, ...], *, is_session: bool) -> tuple[InteractionsSpec, dict[str, str]]:
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
    why |= {"weights": "a guess, all alike: the competition's page says what each type counts"}
    why |= {"cut": "test holds users that train has not" if is_session else "the users are those of train"}
    return spec, why


def _unit(events: _Events) -> str:
    if not events.frame.collect_schema()[events.time].is_integer():
        return "s"
    latest = events.frame.select(pl.col(events.time).max()).collect(engine="streaming").item() or 0
    return next((unit for unit, beyond in NUMBERS_BEYOND if latest > beyond), "s")


def _metric(facts: CompetitionFacts, length: int, *, by_kind: bool) -> tuple[str, str | None, str]:
    """Return a metric of lists, the platform's where a built-in one replaces it, and why."""
    words = facts.metric
    metric = metrics.find(words) if words else None
    of_length = f"{length} is what the sample has in a cell"
    if metric and "@" in metric and re.fullmatch(r"(map|recall|micro_recall|hit_rate|mrr|ndcg)@\d*", metric):
        name = metric + str(length) * metric.endswith("@")
        return name, None, f"{words!r} on the platform; {of_length}" if metric.endswith("@") else f"{words!r}"
    usual = f"micro_recall@{length}" if by_kind else f"recall@{length}"
    why = f"{words!r} on the platform, which is not a metric of lists" if words else "the platform does not say which"
    return usual, words, f"{why}: a usual one stands in; {of_length}"
