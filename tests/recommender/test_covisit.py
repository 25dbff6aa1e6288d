"""Co-visitation: equal to the plain definition on random logs, the same whatever the threads, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.covisit_reference import polars_covisits
from workbench.core.errors import ConfigError, DataError
from workbench.recommender import Columns, Covisit, count_covisits, read_interactions

COLUMNS = Columns("user", "item", "time", "kind")
KINDS = ("carts", "clicks", "orders")


def read(events: pl.DataFrame, columns: Columns = COLUMNS) -> Any:
    return read_interactions(events.lazy(), columns)


@st.composite
def logs(draw: st.DrawFn) -> pl.DataFrame:
    """Few users, items and seconds, so that all of them come together, and at once; in any order."""
    n = draw(st.integers(1, 60))
    ids = draw(st.sampled_from(["numbers", "far apart", "texts"]))
    items = draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))
    value: Any = {"numbers": lambda i: i, "far apart": lambda i: i * 10**12 - 5, "texts": lambda i: f"item {i}"}[ids]
    return pl.DataFrame(
        {
            "user": draw(st.lists(st.integers(-1, 4), min_size=n, max_size=n)),
            "item": [value(i) for i in items],
            "time": draw(st.lists(st.integers(0, 40), min_size=n, max_size=n)),
            "kind": draw(st.lists(st.sampled_from(KINDS), min_size=n, max_size=n)),
        }
    ).extend(pl.DataFrame({"user": [9] * 3, "item": [value(0)] * 3, "time": [0] * 3, "kind": list(KINDS)}))


SPECS = st.builds(
    Covisit,
    last=st.integers(1, 12),
    window_s=st.one_of(st.none(), st.integers(1, 40)),
    direction=st.sampled_from(["both", "after", "before"]),
    weights=st.dictionaries(st.sampled_from(KINDS), st.sampled_from([0.0, 0.3, 1.0, 2.5, 6.0])),
    kinds=st.sampled_from([None, ("orders",), ("carts", "orders")]),
    decay_s=st.sampled_from([None, 1.0, 7.0, 3600.0]),
    top=st.integers(1, 6),
    normalise=st.sampled_from(["none", "cosine"]),
)


@settings(max_examples=300)
@given(logs(), SPECS)
def test_it_equals_the_plain_definition(events: pl.DataFrame, spec: Covisit) -> None:
    log = read(events)
    found = count_covisits(log, spec, threads=2).frame(log)
    assert_frame_equal(found, polars_covisits(events.lazy(), spec).collect(), check_dtypes=False)


def shop(n: int, items: int, seed: int = 3) -> pl.DataFrame:
    """A log in which some items come together with very many."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "user": rng.integers(0, n // 15, n),
            "item": (items * rng.random(n) ** 4).astype(np.int64),
            "time": rng.integers(0, 2_000_000, n),
            "kind": rng.choice(KINDS, n),
        }
    )


@pytest.mark.parametrize("changes", [{}, {"weights": {"orders": 3.0}, "decay_s": 50_000.0}])
def test_a_larger_log_by_threads(changes: dict[str, Any]) -> None:
    events, spec = shop(30_000, 3_000), Covisit(window_s=400_000, **changes)
    log = read(events)
    found = count_covisits(log, spec)
    assert_frame_equal(found.frame(log), polars_covisits(events.lazy(), spec).collect(), check_dtypes=False)
    for threads in (1, 3):
        again = count_covisits(log, spec, threads=threads)
        assert np.array_equal(again.items, found.items)
        assert np.array_equal(again.weights, found.weights)


def test_numbers_that_are_larger_than_any_log() -> None:
    log, most = read(shop(300, 30)), 10**30
    all_of_it = count_covisits(log, Covisit(last=most, window_s=most)).frame(log)
    assert_frame_equal(all_of_it, count_covisits(log, Covisit(last=300, window_s=None)).frame(log))


class TestInteractions:
    def test_lists_in_the_order_of_time_and_items_by_how_often(self) -> None:
        events = pl.DataFrame(
            {
                "user": ["b", "a", "b", "a", "b"],
                "item": ["x", "y", "y", "z", "y"],
                "time": [datetime(2026, 1, d, tzinfo=UTC) for d in (3, 2, 1, 1, 3)],
                "kind": ["clicks"] * 5,
            }
        )
        log = read(events)
        assert log.users.values.to_list() == ["a", "b"]
        assert log.item_ids.values.to_list() == ["y", "x", "z"]
        assert log.starts.tolist() == [0, 2, 5]
        # Of the same time the earlier line is first.
        assert log.items.tolist() == [2, 0, 0, 1, 0]
        assert log.times.tolist() == [0, 86_400, 0, 2 * 86_400, 2 * 86_400]
        assert log.origin == int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())

    @pytest.mark.parametrize(("unit", "times"), [("ms", [1_999, 2_000]), ("us", [1_999_999, 2_000_000])])
    def test_units(self, unit: str, times: list[int]) -> None:
        events = pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": times})
        assert read(events, Columns("user", "item", "time", unit=unit)).times.tolist() == [0, 1]

    def test_without_kinds_there_is_one(self) -> None:
        log = read(pl.DataFrame({"user": [1], "item": [1], "time": [-5]}), Columns("user", "item", "time"))
        assert (log.kind_ids.values.to_list(), log.kinds.tolist(), log.origin) == (["event"], [0], -5)

    def test_codes_of_what_is_not_known(self) -> None:
        for ids in ([5, 7, 9], [5, 7, 10**15], ["five", "nine", "seven"]):
            log = read(pl.DataFrame({"user": [1, 1, 1], "item": ids, "time": [1, 2, 3], "kind": ["clicks"] * 3}))
            asked = pl.Series([*ids, ids[0], None, ids[1] * 2], dtype=pl.Series(ids).dtype)
            assert log.item_ids.codes(asked).tolist() == [0, 1, 2, 0, -1, -1]
            assert log.item_ids.codes(pl.Series([None], dtype=pl.Null)).tolist() == [-1]

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"item": "itme"}, ConfigError, "have no column 'itme'"),
            ({"unit": "h", "kind": None}, ConfigError, "unit = 'h': expected one of ns, us, ms, s"),
            ({"time": "kind"}, ConfigError, "'kind' has the type String; expected a date"),
        ],
    )
    def test_what_is_wrong_with_the_columns_is_said(self, change: dict[str, Any], error: type, message: str) -> None:
        names = {"user": "user", "item": "item", "time": "time", "kind": "kind"} | change
        with pytest.raises(error, match=message):
            read(shop(30, 5), Columns(**names))

    @pytest.mark.parametrize(
        ("column", "values", "message"),
        [
            ("item", [1, None, 3], "1 of 3 interactions have no 'item'"),
            ("time", [None, None, 3], "2 of 3 interactions have no 'time'"),
            ("time", [0, 1, 10**12], "the times of 'time' span 31,688 years"),
        ],
    )
    def test_what_is_wrong_with_the_events_is_said(self, column: str, values: list[Any], message: str) -> None:
        events = pl.DataFrame({"user": [1, 2, 3], "item": [1, 2, 3], "time": [1, 2, 3], "kind": ["a", "b", "c"]})
        with pytest.raises(DataError, match=message):
            read(events.with_columns(pl.Series(column, values)))

    def test_weights_go_with_their_events(self) -> None:
        events = pl.DataFrame({"user": [2, 1, 2, 1], "item": [1, 2, 3, 4], "time": [9, 8, 7, 6], "stars": [1, 2, 3, 4]})
        log = read(events, Columns("user", "item", "time", weight="stars"))
        assert log.weights.tolist() == [4.0, 2.0, 3.0, 1.0]
        for odd in (-1, None, float("nan")):
            with pytest.raises(
                DataError, match="weight 'stars' of 1 of 4 interactions is not a number of at least 0|have no"
            ):
                read(
                    events.with_columns(stars=pl.Series([1, 2, odd, 3], strict=False)),
                    Columns("user", "item", "time", weight="stars"),
                )
        with pytest.raises(ConfigError, match="'stars' has the type String; expected a number"):
            read(events.cast({"stars": pl.String}), Columns("user", "item", "time", weight="stars"))

    def test_no_events(self) -> None:
        with pytest.raises(DataError, match="there are no interactions"):
            read(shop(30, 5).head(0))

    def test_too_many_kinds(self) -> None:
        events = shop(30, 5).with_columns(kind=pl.int_range(30))
        with pytest.raises(DataError, match="'kind' has 30 kinds of interactions; the maximum is 15"):
            read(events)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"last": 0}, "last = 0: expected 1 or more"),
        ({"window_s": 0}, "window_s = 0"),
        ({"direction": "afetr"}, "direction = 'afetr': expected one of both, after, before"),
        ({"weights": {"orders": -1}}, "weights.orders = -1"),
        ({"weights": {"orders": float("nan")}}, "weights.orders = nan"),
        ({"decay_s": 0}, "decay_s = 0: expected more than 0"),
        ({"weights": {"order": 1}}, "have no kind 'order': they have carts, clicks, orders"),
        ({"normalise": "cosin"}, "normalise = 'cosin': expected one of none, cosine"),
        ({"kinds": ("cart",)}, "have no kind 'cart'"),
    ],
)
def test_what_is_wrong_with_a_definition_is_said(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        count_covisits(read(shop(300, 5)), Covisit(**change))


def test_one_user_with_very_many_events() -> None:
    events = shop(200_000, 500).with_columns(user=pl.lit(1))
    spec = Covisit(last=100, window_s=10_000_000)
    log = read(events)
    assert_frame_equal(
        count_covisits(log, spec).frame(log), polars_covisits(events.lazy(), spec).collect(), check_dtypes=False
    )


def test_one_event_may_have_more_neighbours_than_its_item_has_events() -> None:
    events = pl.DataFrame({"user": [1] * 900, "item": range(900), "time": range(900), "kind": ["clicks"] * 900})
    log = read(events)
    found = count_covisits(log, Covisit(last=900, top=5)).frame(log)
    assert found.height == 900 * 5
    assert found["weight"].unique().to_list() == [1.0]


def test_cosine_is_that_of_the_matrix_of_lists_and_items() -> None:
    events = shop(4_000, 60)
    log = read(events)
    found = count_covisits(log, Covisit(last=1_000, window_s=None, top=60, normalise="cosine"))
    matrix = np.zeros((len(log.users), log.n_items))
    matrix[np.repeat(np.arange(len(log.users)), np.diff(log.starts)), log.items] = 1
    unit = matrix / np.linalg.norm(matrix, axis=0)
    cosines = unit.T @ unit
    for a in range(log.n_items):
        there = found.items[a] >= 0
        assert found.weights[a][there] == pytest.approx(cosines[a, found.items[a][there]])
        assert there.sum() == (cosines[a] > 0).sum() - 1
