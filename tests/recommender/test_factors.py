"""Factorisation: blocks of users and items are found again, what counts is counted, and what is refused."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.distribution import install_hint
from workbench.core.errors import ConfigError, DataError
from workbench.recommender import Columns, Factorisation, Factors, best_items, fit_factors, read_interactions
from workbench.recommender.factors import user_item_matrix

COLUMNS = Columns("user", "item", "time", "kind")
KINDS = ("carts", "clicks", "orders")
BLOCK = 20
"""So many items belong to each block."""


def read(events: pl.DataFrame) -> Any:
    return read_interactions(events.lazy(), COLUMNS)


def blocks(n: int = 5, users: int = 300, seed: int = 2) -> pl.DataFrame:
    """Every user has ten events with items of its own block, and every tenth event is with any item."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(users), 10)
    item = np.where(rng.random(len(of)) < 0.1, rng.integers(0, n * BLOCK, len(of)), -1)
    own = BLOCK * (of % n) + rng.integers(0, BLOCK, len(of))
    return pl.DataFrame(
        {
            "user": of,
            "item": np.where(item < 0, own, item),
            "time": rng.integers(0, 1000, len(of)),
            "kind": rng.choice(KINDS, len(of)),
        }
    )


@pytest.mark.parametrize("spec", [Factorisation(factors=8), Factorisation("bpr", factors=8)], ids=lambda s: s.method)
class TestFit:
    def test_blocks_are_found_again(self, spec: Factorisation) -> None:
        log = read(blocks())
        told: list[float] = []
        factors = fit_factors(log, spec, threads=1, progress=told.append)
        assert told == sorted(told)
        assert told[-1] == 1.0
        users = np.arange(len(log.users), dtype=np.int32)
        for known in (None, log):
            items, scores = best_items(factors, users, 10, excluded=known)
            ids = log.item_ids.values.to_numpy()[items]
            assert (ids // BLOCK == (users % 5)[:, None]).mean() > 0.9
            assert (scores[:, :-1] >= scores[:, 1:]).all()
        for user, row in zip(users, items, strict=True):
            assert not set(row) & set(log.items[log.starts[user] : log.starts[user + 1]])

    def test_a_seed_gives_the_same(self, spec: Factorisation) -> None:
        log = read(blocks())
        first, again = (fit_factors(log, spec, threads=1) for _ in range(2))
        assert np.array_equal(first.users, again.users)
        assert np.array_equal(first.items, again.items)
        if spec.method == "als":
            threaded = fit_factors(log, spec, threads=3)
            assert np.array_equal(first.users, threaded.users)
            assert np.array_equal(first.items, threaded.items)

    def test_the_log_is_not_changed(self, spec: Factorisation) -> None:
        log = read(blocks())
        items = log.items.copy()
        fit_factors(log, spec)
        assert np.array_equal(log.items, items)

    def test_who_has_no_event_that_counts_has_no_vector(self, spec: Factorisation) -> None:
        more = pl.DataFrame({"user": [1000, 1000], "item": [0, 999], "time": [5, 6], "kind": ["views", "views"]})
        log = read(pl.concat([blocks(), more], how="vertical_relaxed"))
        spec = Factorisation(spec.method, factors=8, weights={"views": 0.0})
        factors = fit_factors(log, spec)
        user, item = len(log.users) - 1, int(log.item_ids.codes(pl.Series([999]))[0])
        assert not factors.users[user].any()
        assert not factors.items[item].any()
        found, scores = best_items(factors, np.array([user, -1, 0], np.int32), 200)
        assert (found[:2] == -1).all()
        assert (scores[:2] == 0).all()
        assert item not in found[2]
        assert (found[2] >= 0).sum() == log.n_items - 1

    def test_one_user_and_one_item(self, spec: Factorisation) -> None:
        log = read(pl.DataFrame({"user": [1], "item": [1], "time": [1], "kind": ["carts"]}))
        factors = fit_factors(log, spec)
        assert best_items(factors, np.array([0], np.int32), 2)[0].tolist() == [[0, -1]]
        assert best_items(factors, np.array([0], np.int32), 2, excluded=log)[0].tolist() == [[-1, -1]]


def plain(events: pl.DataFrame, spec: Factorisation) -> dict[tuple[int, int], float]:
    """What each user has of each item, by polars."""
    newest = events["time"].max()
    events = events.with_columns(w=pl.col("kind").replace_strict({k: spec.weights.get(k, 1.0) for k in KINDS}))
    events = events.filter(pl.col("w") > 0).sort("time", maintain_order=True)
    if spec.last is not None:
        events = events.group_by("user").tail(spec.last)
    if spec.decay_s is not None:
        events = events.with_columns(pl.col("w") / (1 + (newest - pl.col("time")) / spec.decay_s))
    rows = events.group_by("user", "item").agg(pl.col("w").sum()).rows()
    return {(user, item): weight for user, item, weight in rows}


def test_als_solves_what_it_says() -> None:
    spec = Factorisation(factors=4, iterations=200, regularization=0.5, alpha=3.0, decay_s=100.0)
    log = read(blocks(n=2, users=60))
    factors, r = fit_factors(log, spec), user_item_matrix(log, spec).toarray().astype(np.float64)
    users, wanted = factors.users.astype(np.float64), r > 0
    weights = np.where(wanted, spec.alpha * r, 1.0)
    for item, vector in enumerate(factors.items):
        by = users.T * weights[:, item]
        exact = np.linalg.solve(by @ users + spec.regularization * np.eye(4), by @ wanted[:, item])
        assert vector == pytest.approx(exact, abs=2e-3)


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 30), st.sampled_from(KINDS)),
        min_size=1,
        max_size=40,
    ),
    st.dictionaries(st.sampled_from(KINDS), st.sampled_from([0.0, 0.5, 3.0])),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 7.0]),
)
def test_what_each_user_has_of_each_item(rows: list[tuple[Any, ...]], weights: Any, last: Any, decay: Any) -> None:
    every_kind = [(9, 0, 0, kind) for kind in KINDS]
    events = pl.DataFrame([*rows, *every_kind], schema=["user", "item", "time", "kind"], orient="row")
    spec, log = Factorisation(weights=weights, last=last, decay_s=decay), read(events)
    expected = plain(events, spec)
    if not expected:
        with pytest.raises(DataError, match="no event counts"):
            user_item_matrix(log, spec)
        return
    had = user_item_matrix(log, spec).tocoo()
    users, items = log.users.values.gather(had.row), log.item_ids.values.gather(had.col)
    found = dict(zip(zip(users, items, strict=True), had.data, strict=True))
    assert found == pytest.approx(expected)


def test_of_the_same_product_the_more_frequent_item_is_first() -> None:
    factors = Factors(np.ones((2, 1), np.float32), np.array([[1], [2], [0], [2], [1]], np.float32))
    items, scores = best_items(factors, np.array([1, 0], np.int32), 5)
    assert items.tolist() == [[1, 3, 0, 4, -1]] * 2
    assert scores.tolist() == [[2, 2, 1, 1, 0]] * 2


def test_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "implicit" else find(name))
    with pytest.raises(ConfigError, match="factorisation needs implicit, which is not installed") as raised:
        fit_factors(read(blocks()), Factorisation())
    assert raised.value.hint == install_hint("recommend")


def test_vectors_that_grow_beyond_all_bounds_are_said() -> None:
    with pytest.raises(ConfigError, match="the training diverged"):
        fit_factors(read(blocks()), Factorisation("bpr", learning_rate=1e6, regularization=1e6))


def test_what_is_not_known_is_said() -> None:
    log = read(blocks())
    with pytest.raises(ConfigError, match="have no kind 'order': they have carts, clicks, orders"):
        fit_factors(log, Factorisation(weights={"order": 2.0}))
    with pytest.raises(DataError, match="no event counts: the weights of all kinds are 0"):
        fit_factors(log, Factorisation(weights=dict.fromkeys(KINDS, 0.0)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "asl"}, "factors: method = 'asl': expected one of als, bpr"),
        ({"factors": 0}, "factors = 0: expected 1 or more"),
        ({"iterations": 0}, "iterations = 0"),
        ({"last": 0}, "last = 0"),
        ({"top": 0}, "top = 0"),
        ({"alpha": 0.0}, "alpha = 0.0: expected more than 0"),
        ({"learning_rate": float("inf")}, "learning_rate = inf"),
        ({"decay_s": -1.0}, "decay_s = -1.0"),
        ({"regularization": -0.1}, "regularization = -0.1: expected 0 or more"),
        ({"weights": {"orders": float("nan")}}, "weights.orders = nan"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_what_is_wrong_with_a_definition_is_said(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Factorisation(**change)
    with pytest.raises(ConfigError, match="top = 0"):
        best_items(Factors(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32)), np.array([0], np.int32), 0)
