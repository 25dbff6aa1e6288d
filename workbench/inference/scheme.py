"""The folds that imitate how test was cut off: later in time, by groups that never cross, or at random."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from workbench.inference.answer import Answer
from workbench.inference.tables import Roles

__all__ = ["Scheme", "find_scheme"]

MIN_GROUPS = 5
MIN_TIMES = 10
"""Folds that go forward in time need some moments to be cut at."""

FIRST_LOOK = 10_000
SURE_CROSSINGS = 20
"""A random cut would let so many rows of test meet their group in train; where none does, it was cut by groups."""

TIME_WORDS = re.compile(r"(^|_|\b)(year|quarter|month|week|weeks|day|days|date|dt|time|timestamp|period|block|num)\d*")


@dataclass(frozen=True)
class Scheme:
    """The scheme of ``[cv]`` and why; `column` is the time column, `group` the group's."""

    scheme: str
    column: str | None
    group: str | None
    why: str


def find_scheme(roles: Roles, answer: Answer, task: str) -> Scheme:
    """Find the scheme of the folds."""
    train, test = roles.train, roles.test
    time = _time_column(roles, answer)
    if time:
        return Scheme("time", time, None, f"all of {test.name} is later than {train.name} by {time}")
    by_class = task != "regression" and len(answer.targets) == 1
    group = _group_column(roles, answer)
    if group:
        why = f"no value of {group} is in both {train.name} and {test.name}"
        return Scheme("stratified_group" if by_class else "group", None, group, why)
    why = f"rows of {train.name} and {test.name} differ neither in time nor by group"
    return Scheme("stratified" if by_class else "kfold", None, None, why)


def _shared(roles: Roles, answer: Answer) -> list[str]:
    return [c for c in roles.train.columns if c in roles.test.columns and c not in answer.targets]


def _time_column(roles: Roles, answer: Answer) -> str | None:
    """Return the date or time column by which all of test is later than all of train, if there is one."""
    train, test = roles.train, roles.test
    # A number may count days, but then its name says so: an id grows as well.
    dates = [c for c in _shared(roles, answer) if train.is_time(c) and test.is_time(c)]
    numbers = [
        c
        for c in _shared(roles, answer)
        if train.dtype(c).startswith("Int")
        and test.dtype(c).startswith("Int")
        and TIME_WORDS.search(c.lower())
        and c not in (*answer.ids, answer.id_in_test)
    ]
    columns = [c for c in (*dates, *numbers) if not train.nulls[c] and not test.nulls[c]]
    if not columns:
        return None
    last = train.scan.select(pl.col(columns).max()).collect(engine="streaming").row(0, named=True)
    first = test.scan.select(pl.col(columns).min()).collect(engine="streaming").row(0, named=True)
    lowest = train.scan.select(pl.col(columns).min()).collect(engine="streaming").row(0, named=True)
    for column in columns:
        if first[column] > last[column] > lowest[column] and train.unique(column) >= MIN_TIMES:
            return column
    return None


def _group_column(roles: Roles, answer: Answer) -> str | None:
    """Return the column whose values never cross from train to test though a random cut would let them."""
    train, test = roles.train, roles.test
    own = (*answer.ids, answer.id_in_test)
    possible = [
        c
        for c in _shared(roles, answer)
        if c not in own
        and train.dtype(c).startswith(("Int", "UInt", "String"))
        and test.dtype(c) == train.dtype(c)
        and not train.nulls[c]
        and not test.nulls[c]
    ]
    # One pass over train with a few of test's values rules out nearly all.
    some = {c: test.scan.select(pl.col(c).unique()).head(FIRST_LOOK).collect()[c] for c in possible}
    if not possible:
        return None
    met = (
        train.scan.select(pl.col(c).is_in(values.implode()).any() for c, values in some.items())
        .collect(engine="streaming")
        .row(0, named=True)
    )
    groups: dict[str, int] = {}
    for column in (c for c in possible if not met[c]):
        counts = train.scan.group_by(column).len().collect(engine="streaming")
        n_test = test.unique(column)
        if counts.height < MIN_GROUPS or n_test < 2 or n_test > 0.5 * test.rows:
            continue
        shared = counts.filter(pl.col("len") > 1)["len"].sum() / train.rows
        crossing = test.select([column]).join(counts, on=column, how="semi").height
        if not crossing and shared >= 0.3 and shared * test.rows >= SURE_CROSSINGS:
            groups[column] = counts.height
    # Where a group lies in another, the larger one is what was cut by.
    return min(groups, key=lambda c: groups[c], default=None)
