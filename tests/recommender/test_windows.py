"""Windows of a log at their limits: logs that just reach, users without events, and codes that are not the log's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from workbench.core.errors import DataError
from workbench.recommender import (
    Columns,
    Interactions,
    TaskSpec,
    Truth,
    Window,
    make_test_window,
    make_validation_window,
    read_interactions,
    with_users,
)
from workbench.recommender.windows import (
    history_frame,
    history_seconds,
    history_until,
    take_users,
    users_by_list,
    users_of_window,
    with_own_codes,
)

NOBODY = np.empty(0, np.int32)
Event = tuple[Any, Any, int, str]


def log_of(events: Sequence[Event], origin: int = 0, weights: Sequence[float] = ()) -> Interactions:
    """Return the log of events: user, item, second, kind."""
    frame = pl.DataFrame(events, schema=["user", "item", "time", "kind"], orient="row")
    frame = frame.with_columns(pl.col("time") + origin)
    columns = Columns("user", "item", "time", "kind")
    if weights:
        frame, columns = frame.with_columns(weight=pl.Series(weights)), replace(columns, weight="weight")
    return read_interactions(frame.lazy(), columns)


def ids(log: Interactions, items: Any) -> list[Any]:
    return log.item_ids.values.gather(items).to_list()


def came(window: Window, which: int = 0) -> dict[Any, list[Any]]:
    """Return by user what came for a list, by its ids."""
    assert window.truth is not None
    truth, users = window.truth[which], window.history.users.values.gather(window.users).to_list()
    parts = zip(users, truth.offsets[:-1], truth.offsets[1:], strict=True)
    return {user: sorted(ids(window.history, truth.items[low:high])) for user, low, high in parts}


def last(horizon: int, **more: Any) -> TaskSpec:
    return TaskSpec("last", horizon, 5, **more)


def session(horizon: int, **more: Any) -> TaskSpec:
    return TaskSpec("session", horizon, 5, **more)


class TestHowLong:
    """From the log's first second, which is 0, to the second after its last event is a time of 10."""

    log = log_of([(1, 1, 0, "a"), (1, 2, 9, "a"), (2, 1, 9, "a"), (2, 3, 9, "b")], origin=100)

    @pytest.mark.parametrize(("horizon", "earlier", "users"), [(9, 0, 2), (10, 0, 0), (11, 0, 0), (5, 0, 2), (5, 1, 0), (4, 1, 0), (1, 0, 2)])  # fmt: skip
    def test_something_has_to_be_known_before_it(self, horizon: int, earlier: int, users: int) -> None:
        asked = last(horizon)
        assert users_of_window(self.log, NOBODY, asked, earlier) == users
        assert users_by_list(self.log, NOBODY, asked, earlier).tolist() == [users]
        if users:
            window = make_validation_window(self.log, NOBODY, asked, earlier=earlier)
            assert (len(window), window.now.tolist()) == (users, [10 - horizon] * users)
            assert window.history.users.values.to_list() == [1, 2]
            return
        with pytest.raises(DataError, match="there is no history before|nothing to validate on"):
            make_validation_window(self.log, NOBODY, asked, earlier=earlier)

    def test_what_is_missing_is_said(self) -> None:
        day = log_of([(1, 1, 0, "a"), (1, 2, 86_399, "a")])
        with pytest.raises(DataError, match=r"^the interactions span 1\.0 days, and the horizon is 2\.0: there is no history before it\na shorter"):  # fmt: skip
            make_validation_window(day, NOBODY, last(2 * 86_400))
        with pytest.raises(DataError, match=r"is 0\.5: there is no history before 2 of them\nfewer windows"):
            make_validation_window(day, NOBODY, last(43_200), earlier=1)
        with pytest.raises(DataError, match=r"^no user has interactions in the horizon 1 before the last:"):
            make_validation_window(self.log, NOBODY, last(3), earlier=1)
        alone = log_of([(1, 1, 0, "a"), (2, 2, 5, "a")])  # each session is of one event
        with pytest.raises(DataError, match=r"^no user has interactions in the last horizon:"):
            make_validation_window(alone, NOBODY, session(3))

    def test_it_is_the_last_window_unless_another_is_named(self) -> None:
        log = log_of([(u, u, t, "a") for u, t in ((1, 0), (1, 5), (2, 0), (2, 9), (3, 9))])
        asked = last(3)
        assert users_of_window(log, NOBODY, asked) == 2
        assert users_by_list(log, NOBODY, asked).tolist() == [2]
        assert came(make_validation_window(log, NOBODY, asked)) == {2: [2], 3: [3]}
        assert came(make_validation_window(log, NOBODY, asked, earlier=1)) == {1: [1]}


class TestLists:
    events = (
        (1, 1, 0, "a"), (1, 2, 6, "a"), (1, 3, 7, "b"), (1, 2, 8, "b"), (1, 4, 9, "b"),
        (2, 5, 6, "a"), (2, 6, 7, "a"), (2, 6, 8, "a"),
        (3, 1, 9, "c"),
    )  # fmt: skip

    def test_each_kind_has_its_own(self) -> None:
        log = log_of(self.events)
        assert last(5).lists == ("items",)
        assert came(make_validation_window(log, NOBODY, last(5))) == {1: [2, 3, 4], 2: [5, 6], 3: [1]}
        asked = last(5, kinds=("a", "b"), first=("b",))
        assert asked.lists == ("a", "b")
        window = make_validation_window(log, NOBODY, asked)
        assert came(window, 0) == {1: [2], 2: [5, 6], 3: []}
        assert came(window, 1) == {1: [3], 2: [], 3: []}
        assert users_by_list(log, NOBODY, asked).tolist() == [2, 1]
        assert users_by_list(log, NOBODY, last(2, kinds=("a", "c"))).tolist() == [1, 1]

    def test_of_a_session_what_is_behind_its_first_event(self) -> None:
        log = log_of(self.events)
        asked = session(5, kinds=("a", "b"))
        assert users_of_window(log, NOBODY, asked) == 1  # session 3 has but one event
        assert users_by_list(log, NOBODY, asked).tolist() == [1, 0]
        tested = np.array([1, -1], np.int32)
        assert users_of_window(log, tested, asked) == 0
        assert users_by_list(log, tested, asked).tolist() == [0, 0]


class TestWhoTakesPart:
    def test_the_first_user_may_be_of_test(self) -> None:
        log = log_of([(u, i, t, "a") for u in (1, 2) for i, t in ((1, 5 + u), (2, 6 + u))] + [(3, 1, 0, "a")])
        assert history_seconds(log, np.array([0], np.int32), session(3)) == 8
        assert history_seconds(log, np.array([1], np.int32), session(3)) == 7
        assert history_seconds(log, np.array([0, 1, -1], np.int32), session(3)) == 1
        assert history_seconds(log, np.array([0, 1, 2], np.int32), session(3)) == 0
        assert history_seconds(log, np.array([0, 1, 2], np.int32), last(3)) == 9
        window = make_validation_window(log, np.array([0], np.int32), session(3))
        assert window.users.tolist() == [1]

    @pytest.mark.parametrize("new", [[0], [2], [9], [0, 2, 9]])
    def test_users_without_events_know_no_time(self, new: list[int]) -> None:
        """They lie in front of, between and behind those that have some."""
        log = log_of([(1, 1, 3, "a"), (1, 2, 4, "a"), (3, 1, 0, "a"), (3, 2, 8, "a")])
        more = with_users(log, pl.Series(new))
        assert (history_seconds(more, NOBODY, last(1)), history_seconds(more, NOBODY, session(1))) == (9, 4)
        code = more.users.codes(pl.Series([1, 3]))
        assert history_seconds(more, code[:1], session(1)) == 1
        assert history_seconds(more, code[1:], session(1)) == 4
        assert with_users(log, pl.Series([1, 3])) is log
        assert with_users(log, pl.Series([None], dtype=pl.Int64)) is log

    def test_users_of_another_type_are_explained(self) -> None:
        log = log_of([(1, 1, 0, "a")])
        with pytest.raises(
            DataError, match=r"^the users have the type String in the submission and Int64 in the interactions: conv"
        ):
            with_users(log, pl.Series(["x"]))


class TestPresent:
    def test_of_all_it_is_the_second_after_the_log_and_of_a_session_its_last_event(self) -> None:
        log = with_users(log_of([(1, 1, 4, "a"), (2, 1, 0, "a"), (2, 1, 7, "a")]), pl.Series([3]))
        users = np.array([0, 1, 2, -1, 0])
        window = make_test_window(log, users, last(5))
        assert (window.now.tolist(), window.users.dtype) == ([8] * 5, np.int32)
        assert (window.truth, window.codes, len(window)) == (None, None, 5)
        assert make_test_window(log, users, session(5)).now.tolist() == [4, 7, 8, 8, 4]

    def test_of_a_log_of_nothing_it_is_its_beginning(self) -> None:
        log = log_of([(1, 1, 4, "a")])
        empty = history_until(log, log.starts[:-1])
        assert (len(empty), empty.starts.tolist()) == (0, [0, 0])
        for asked in (last(5), session(5)):
            assert make_test_window(empty, np.array([0, -1]), asked).now.tolist() == [0, 0]


class TestWhatIsTaken:
    @pytest.mark.parametrize("weights", [(), (0.5, 1.0, 2.0, 4.0)])
    def test_a_log_comes_back_as_a_frame_of_ids(self, weights: tuple[float, ...]) -> None:
        log = log_of([("u", "i", 5, "b"), ("u", "j", 9, "a"), ("v", "j", 6, "a"), ("v", "j", 7, "a")], 1_000, weights)
        frame = history_frame(log)
        assert frame.columns == ["user", "item", "time", "kind", *(["weight"] if weights else [])]
        rows = [("u", "i", 1005, "b"), ("u", "j", 1009, "a"), ("v", "j", 1006, "a"), ("v", "j", 1007, "a")]
        assert frame.select("user", "item", "time", "kind").rows() == rows
        head = history_frame(history_until(log, np.array([1, 3])))
        assert head.equals(frame[[0, 2]])

    def test_some_users_of_a_window(self) -> None:
        truth = Truth(np.array([0, 2, 2, 5]), np.array([7, 8, 1, 2, 3], np.int32))
        rows = np.array([2, 0, 1, 2])
        taken = truth.take(rows)
        assert taken.offsets.tolist() == [0, 3, 5, 5, 8]
        assert taken.items.tolist() == [1, 2, 3, 7, 8, 1, 2, 3]
        assert truth.take(rows[:0]).offsets.tolist() == [0]
        log = log_of([(1, 1, 4, "a"), (2, 1, 0, "a"), (2, 1, 7, "a")])
        window = make_test_window(log, np.array([0, 1]), session(5))
        some = take_users(replace(window, truth=(truth,)), np.array([1]))
        assert (some.users.tolist(), some.now.tolist(), some.history) == ([1], [7], log)
        assert some.truth is not None
        assert some.truth[0].offsets.tolist() == [0, 0]
        assert take_users(window, np.array([0])).truth is None


class TestOwnCodes:
    @pytest.mark.parametrize("text", [False, True])
    def test_items_are_coded_by_what_is_known_and_equal_ones_by_id(self, text: bool) -> None:
        items = {n: f"item {n:02}" if text else n for n in (2, 3, 5, 9, 11)}
        # In all of the log 9 is the most frequent, in what is known 5, then 3, and of the others each comes once.
        known = [(1, 5, 0), (1, 5, 1), (1, 5, 2), (1, 3, 3), (2, 3, 3), (2, 11, 4), (2, 9, 5)]
        later = [(1, 9, 8), (1, 9, 8), (1, 9, 9), (2, 9, 9), (2, 2, 9), (2, 11, 9)]
        log = log_of([(u, items[i], t, "a") for u, i, t in known + later])
        window = make_validation_window(log, NOBODY, last(4))
        own = with_own_codes(window)
        order = [items[n] for n in (5, 3, 9, 11, 2)]
        assert own.history.item_ids.values.to_list() == order
        assert own.codes is not None
        assert ids(log, own.codes) == order
        assert history_frame(own.history).equals(history_frame(window.history))
        assert came(own) == came(window) == {1: [items[9]], 2: [items[n] for n in (2, 9, 11)]}
        asked = pl.Series([*order, "item 04" if text else 4, "item 99" if text else 99])
        assert own.history.item_ids.codes(asked).tolist() == [0, 1, 2, 3, 4, -1, -1]
        assert with_own_codes(own) is own

    def test_of_a_window_that_has_its_own_already_they_lead_to_the_log_all_the_same(self) -> None:
        log = log_of([(1, i, t, "a") for t, i in enumerate([5, 5, 5, 3, 3, 9, 9, 9, 9, 9])])
        own = with_own_codes(make_validation_window(log, NOBODY, last(5)))
        assert own.history.item_ids.values.to_list() == [5, 3, 9]
        shorter = replace(own, history=history_until(own.history, np.array([0])), truth=None)
        again = with_own_codes(shorter)
        assert again.history.item_ids.values.to_list() == [3, 5, 9]
        assert again.codes is not None
        assert ids(log, again.codes) == [3, 5, 9]
        assert again.truth is None
