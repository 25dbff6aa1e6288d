"""How a log of interactions is scored, at the limits of what is enough."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.errors import ConfigError
from workbench.recommender import (
    Columns,
    Interactions,
    TaskSpec,
    ValidationSpec,
    choose_validation,
    read_interactions,
)
from workbench.recommender.validation import user_groups

NOBODY = np.empty(0, np.int32)
H = 1000
"""Seconds of a horizon; no whole number of days."""


def log_of(counts: list[int], *, of_b: list[int] | None = None, horizon: int = H, short: int = 1) -> Interactions:
    """Return a log that goes over as many horizons as there are counts: so many users in each, the first one first.

    The last event comes `short` seconds before the end. Of the kind "b" there are so many users besides, who are
    among them.
    """
    rows = [(0, 0, 0, "a")]
    for n, count in enumerate(counts):
        end = (n + 1) * horizon
        rows += [(user, 0, end - short, "a") for user in range(count)]
        rows += [(user, 0, end - short, "b") for user in range((of_b or [0] * len(counts))[n])]
    frame = pl.DataFrame(rows, schema=["user", "item", "time", "kind"], orient="row")
    return read_interactions(frame.lazy(), Columns("user", "item", "time", "kind"))


def chosen(
    log: Interactions, scheme: str | None = None, windows: int | None = None, horizon: int = H, kinds: tuple[str, ...] | None = None
) -> tuple[str, int, str, str]:  # fmt: skip
    made = choose_validation(log, NOBODY, TaskSpec("last", horizon, 5, kinds), ValidationSpec(scheme, windows))
    return made.scheme, made.windows, made.why, made.doubt


@pytest.mark.parametrize(
    ("horizons", "free", "windows"), [(1, 0, 0), (2, 0, 0), (3, 1, 1), (4, 1, 2), (5, 2, 3), (7, 3, 4), (9, 4, 4), (12, 4, 4)]
)  # fmt: skip
def test_half_of_what_is_known_is_before_the_first_window_unless_they_are_asked_for(
    horizons: int, free: int, windows: int
) -> None:
    log = log_of([10] * horizons)
    length = f"the log has {horizons}.0 horizons"
    if free:
        assert chosen(log) == ("windows", free, length, "")
    else:
        assert chosen(log) == (
            "users",
            1,
            f"{length}: too few for a window to learn from before one that is scored",
            "",
        )
    assert chosen(log, "users") == ("users", 1, "as [cv] says", "")
    if windows:
        assert chosen(log, "windows") == ("windows", windows, length, "")
    else:
        with pytest.raises(
            ConfigError, match=rf'^\[cv\] scheme = "windows", but {length}: the last window has none before it'
        ):
            chosen(log, "windows")
    most = max(0, horizons - 2)
    for asked in (1, 2, most, most + 1, 20):
        if 1 <= asked <= most:
            assert chosen(log, None, asked) == ("windows", asked, f"as [cv] says; {length}", "")
        elif asked:
            hint = "fewer windows, or a shorter horizon" if most else 'scheme = "users" under'
            with pytest.raises(
                ConfigError, match=rf"windows = {asked}, but {length}: at most {most} can be scored.*\n{hint}"
            ):
                chosen(log, None, asked)


@pytest.mark.parametrize(("short", "scheme"), [(1, "windows"), (20, "windows"), (21, "windows"), (22, "users"), (50, "users")])  # fmt: skip
def test_the_last_event_may_come_somewhat_before_the_end(short: int, scheme: str) -> None:
    """By a hundredth of a horizon of what is known before the window, which is half of the 20 seconds that are missing."""
    assert chosen(log_of([10] * 3, short=short))[:2] == (scheme, 1)


@pytest.mark.parametrize(
    ("counts", "scheme", "lacks"),
    [
        ([9, 2, 20], "windows", ""),
        ([9, 1, 20], "users", "and the window 1 before the last has 1 users, too few to learn from (the last has 20)"),
        ([9, 3, 21], "windows", ""),
        ([9, 2, 21], "users", "and the window 1 before the last has 2 users, too few to learn from (the last has 21)"),
        ([9, 1, 1], "windows", ""),
        ([9, 0, 1], "users", "and the window 1 before the last has 0 users, too few to learn from (the last has 1)"),
        ([9, 5000, 1], "windows", ""),
    ],
)
def test_a_tenth_of_the_last_windows_users_is_enough_to_learn_from(counts: list[int], scheme: str, lacks: str) -> None:
    found = chosen(log_of(counts))
    assert found[:2] == (scheme, 1)
    assert found[2] == "the log has 3.0 horizons" + (f", {lacks}" if lacks else "")
    if lacks:
        with pytest.raises(ConfigError, match=rf"3.0 horizons, {re.escape(lacks)}: at most 0 can be scored"):
            chosen(log_of(counts), None, 1)


@pytest.mark.parametrize(
    ("of_b", "scheme"),
    [([0, 2, 20], "windows"), ([0, 1, 20], "users"), ([0, 0, 0], "windows"), ([0, 0, 1], "users"), ([0, 1, 1], "windows")],
)  # fmt: skip
def test_so_is_a_tenth_of_each_lists(of_b: list[int], scheme: str) -> None:
    log = log_of([20] * 3, of_b=of_b if sum(of_b) else [1, 0, 0])
    found = chosen(log, kinds=("a", "b"))
    assert found[:2] == (scheme, 1)
    lacks = ", and too little of b 1 before the last window to learn from" if scheme == "users" else ""
    assert found[2] == f"the log has 3.0 horizons{lacks}"


def test_windows_end_where_the_next_one_lacks_users() -> None:
    log = log_of([20, 1, 20, 20, 20])
    assert chosen(log, "windows")[1] == 2
    with pytest.raises(
        ConfigError, match="and the window 3 before the last has 1 users, too few .*: at most 2 can be scored"
    ):
        chosen(log, None, 3)


@pytest.mark.parametrize(
    ("counts", "is_doubtful"),
    [
        ([20, 20, 2], False),
        ([20, 20, 1], True),
        ([20, 0, 20], True),
        ([20, 20, 200], False),
        ([0, 20], False),  # nothing can have been in the window before
        ([20], False),
    ],
)
def test_a_last_window_of_next_to_nobody_is_doubtful(counts: list[int], is_doubtful: bool) -> None:
    doubt = chosen(log_of(counts), "users")[3]
    before = counts[-2] if len(counts) > 1 else 0
    expected = f"users in the last window: {counts[-1]}, in the one before it: {before}; is the log complete"
    assert doubt.startswith(expected) if is_doubtful else doubt == ""


@pytest.mark.parametrize(("short", "is_doubtful"), [(1, False), (0, True)])
def test_a_log_of_two_horizons_is_too_short_to_doubt(short: int, is_doubtful: bool) -> None:
    frame = pl.DataFrame({"user": [0, 1], "item": [0, 0], "time": [0, 2 * H - short]})
    log = read_interactions(frame.lazy(), Columns("user", "item", "time"))
    assert (chosen(log, "users")[3] != "") == is_doubtful


@pytest.mark.parametrize(
    ("day", "second", "horizon", "length"),
    [
        (20, 0, 86_400 * 7, "3.0"),  # dates: the last day is a whole one
        (20, 1, 86_400 * 7, "2.9"),
        (20, 0, 86_400 * 7 + 1, "2.9"),
        (13, 0, 86_400 * 7, "2.0"),
    ],
)
def test_with_dates_for_times_the_last_day_is_whole(day: int, second: int, horizon: int, length: str) -> None:
    times = [d * 86_400 for d in range(day)] + [day * 86_400 + second]
    frame = pl.DataFrame({"user": [0] * len(times), "item": [0] * len(times), "time": times})
    log = read_interactions(frame.lazy(), Columns("user", "item", "time"))
    with pytest.raises(ConfigError, match=f"windows = 99, but the log has {length} horizons"):
        chosen(log, None, 99, horizon)


def test_one_event_with_a_time_of_day_tells_that_times_are_no_dates() -> None:
    """Of somebody who has no other."""
    for second, length in ((0, "3.0"), (1, "2.9")):
        times = [d * 86_400 for d in range(21)]
        frame = pl.DataFrame({"user": [0] * 21 + [1], "item": [0] * 22, "time": [*times, 86_400 + second]})
        log = read_interactions(frame.lazy(), Columns("user", "item", "time"))
        with pytest.raises(ConfigError, match=f"windows = 99, but the log has {length} horizons"):
            chosen(log, None, 99, 86_400 * 7)


@given(
    st.lists(st.sets(st.integers(0, 12), min_size=1, max_size=10), min_size=1, max_size=4),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_groups_are_the_same_in_every_window_and_none_is_empty(windows: list[set[int]], folds: int, seed: int) -> None:
    groups = user_groups([np.array(sorted(w), np.int32) for w in windows], folds, seed)
    of_user = dict[int, set[int]]()
    for window, group in zip(windows, groups, strict=True):
        assert group.dtype == np.int32
        assert sorted(set(group.tolist())) == list(range(max(groups[0]) + 1))
        for user, number in zip(sorted(window), group.tolist(), strict=True):
            of_user.setdefault(user, set()).add(number)
    assert all(len(numbers) == 1 for numbers in of_user.values())
    n = int(max(groups[0])) + 1
    assert n <= min([folds, *map(len, windows)])
    if len({frozenset(w) for w in windows}) == 1:  # as many as asked for, of one size but for one user
        assert n == min(folds, len(windows[0]))
        sizes = np.bincount(groups[0])
        assert sizes.max() - sizes.min() <= 1


def test_groups_are_drawn_by_the_seed() -> None:
    users = [np.arange(100, dtype=np.int32)]
    one, same, other = (user_groups(users, 5, seed)[0].tolist() for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert one != sorted(one)
