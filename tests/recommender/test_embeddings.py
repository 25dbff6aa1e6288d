"""Embeddings: items of one group are near each other, a seed gives the same, and the nearest are the nearest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.core.errors import ConfigError, DataError
from workbench.recommender import Columns, SkipGram, nearest_items, read_interactions, train_embeddings
from workbench.recommender.embeddings import alias_table
from workbench.recommender.products import best_products

GROUP = 10


def read(lists: list[list[Any]]) -> Any:
    events = pl.DataFrame({"user": range(len(lists)), "item": lists}).explode("item", empty_as_null=False)
    return read_interactions(events.with_row_index("time").lazy(), Columns("user", "item", "time"))


def groups(n: int = 12, lists: int = 2_000, seed: int = 5) -> Any:
    """Every list has items of one group only."""
    rng = np.random.default_rng(seed)
    of = rng.integers(0, n, lists)
    return read([(GROUP * g + rng.integers(0, GROUP, rng.integers(2, 15))).tolist() for g in of])


class TestTraining:
    def test_neighbours_are_of_the_same_group(self) -> None:
        log = groups()
        told: list[float] = []
        vectors = train_embeddings(log, SkipGram(size=16, epochs=10), progress=told.append)
        assert vectors.shape == (log.n_items, 16)
        assert vectors.dtype == np.float32
        assert np.isfinite(vectors).all()
        assert told == sorted(told)
        assert told[-1] == 1.0
        found = nearest_items(vectors, log.n_items, GROUP - 1)
        group = log.item_ids.values.to_numpy() // GROUP
        assert (group[found.items] == group[:, None]).all()
        assert found.frame(log).height == log.n_items * (GROUP - 1)

    def test_a_seed_gives_the_same_vectors_and_another_seed_others(self) -> None:
        log = groups(lists=200)
        first, again, other = (train_embeddings(log, SkipGram(epochs=2, seed=seed)) for seed in (3, 3, 4))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_the_log_is_not_changed(self) -> None:
        log = groups(lists=100)
        items, starts = log.items.copy(), log.starts.copy()
        train_embeddings(log, SkipGram(epochs=1, last=3))
        assert np.array_equal(log.items, items)
        assert np.array_equal(log.starts, starts)

    def test_only_items_that_are_frequent_enough_get_a_vector(self) -> None:
        log = read([[1, 2, 3]] * 3 + [[1, 2]] * 2 + [[4, 5]])
        assert train_embeddings(log, SkipGram(min_count=1, epochs=1)).shape[0] == 5
        assert train_embeddings(log, SkipGram(min_count=3, epochs=1)).shape[0] == 3
        assert train_embeddings(log, SkipGram(most_items=2, epochs=1)).shape[0] == 2

    def test_codes_that_are_not_by_frequency_any_more(self) -> None:
        """As in a log of which the end was taken away: the item that was the most frequent there is rare."""
        log = read([[2, 3]] * 5 + [[1, 3]])
        vectors = train_embeddings(replace(log, items=2 - log.items), SkipGram(epochs=1, sample=0.0))
        assert np.bincount(2 - log.items).tolist() == [1, 5, 6]
        assert vectors.any(axis=1).tolist() == [False, True, True]

    def test_an_item_that_was_never_in_a_pair_has_no_vector(self) -> None:
        log = read([[1, 2]] * 20 + [[3]] * 5 + [[4, 4, 4]] + [[5] * 3 + [1, 2]])
        vectors = train_embeddings(log, SkipGram(last=2, sample=0.0))
        met = vectors.any(axis=1)
        assert set(log.item_ids.values.gather(np.flatnonzero(met))) == {1, 2}
        found = nearest_items(vectors, log.n_items, 3)
        assert found.items[~met].tolist() == [[-1] * 3] * 3
        assert found.items[met].tolist() == [[1, -1, -1], [0, -1, -1]]

    @pytest.mark.parametrize(
        "lists",
        [
            [[1]],
            [[1, 1, 1], [2, 2]],
            [[1], [1], [2], [2]],
            [[1, 2, 3], [4, 5, 6]],  # each but once
            [[1, 1], [1, 2, 3, 4]],
        ],
    )
    def test_nothing_to_learn_from(self, lists: list[list[int]]) -> None:
        with pytest.raises(DataError, match="no list has two different items of 2 or more events each"):
            train_embeddings(read(lists), SkipGram())

    def test_frequent_items_are_left_out_at_random(self) -> None:
        log = read([[0, i, 0] for i in range(1, 40)] * 3)
        without, with_it = (train_embeddings(log, SkipGram(sample=sample, epochs=1)) for sample in (0.0, 1e-2))
        assert np.isfinite(with_it).all()
        assert not np.array_equal(without, with_it)

    def test_a_rate_that_is_too_high_is_said(self) -> None:
        with pytest.raises(ConfigError, match=r"learning_rate = 1\.0: the training diverged"):
            train_embeddings(groups(), SkipGram(learning_rate=1.0, epochs=10, size=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "embeddings: size = 0: expected 1 or more"),
        ({"window": -1}, "window = -1"),
        ({"negatives": 0}, "negatives = 0"),
        ({"epochs": 0}, "epochs = 0"),
        ({"top": 0}, "top = 0"),
        ({"last": 1}, "last = 1: expected 2 or more"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0: expected more than 0"),
        ({"learning_rate": float("nan")}, "learning_rate = nan"),
        ({"sample": -0.1}, "sample = -0.1: expected a number from 0 to 1"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_what_is_wrong_with_a_definition_is_said(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SkipGram(**change)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any))
def test_the_table_to_draw_from_has_the_weights(weights: list[int]) -> None:
    table = alias_table(np.array(weights, np.float64))
    n, found = len(weights), np.zeros(len(weights))
    own, other = (table >> np.uint64(32)) / 0xFFFFFFFF, (table & np.uint64(0xFFFFFFFF)).astype(int)
    np.add.at(found, np.arange(n), own / n)
    np.add.at(found, other, (1 - own) / n)
    assert np.allclose(found, np.array(weights) / sum(weights), atol=1e-8)


def naive(
    queries: np.ndarray, items: np.ndarray, top: int, barred: list[list[int]]
) -> tuple[list[list[int]], list[list[float]]]:
    codes, products = [], []
    for query, out in zip(queries, barred, strict=True):
        all_of_them = [
            (-float(query @ item), code) for code, item in enumerate(items) if item.any() and code not in out
        ]
        best = sorted(all_of_them)[:top] if query.any() else []
        codes.append([code for _, code in best] + [-1] * (top - len(best)))
        products.append([-product for product, _ in best] + [0.0] * (top - len(best)))
    return codes, products


@st.composite
def whole_vectors(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Of small whole numbers: every product is exact, and many are equal."""
    size = draw(st.integers(1, 5))
    numbers = st.integers(-2, 2).map(float)
    n, m = draw(st.integers(0, 12)), draw(st.integers(1, 40))
    return tuple(draw(arrays(np.float32, (rows, size), elements=numbers)) for rows in (n, m))


class TestNearest:
    @settings(max_examples=200)
    @given(
        whole_vectors(),
        st.integers(1, 12),
        st.integers(1, 5),
        st.integers(1, 3),
        st.lists(st.lists(st.integers(0, 39), max_size=5), min_size=12, max_size=12),
    )
    def test_the_best_products_are_the_naive_ones(self, vectors, top, chunk, threads, barred) -> None:
        queries, items = vectors
        barred = barred[: len(queries)]
        starts = np.cumsum([0, *map(len, barred)])
        out = np.array([code for row in barred for code in row], np.int32)
        codes, products = best_products(queries, items, top, excluded=(starts, out), chunk=chunk, threads=threads)
        expected = naive(queries, items, top, barred)
        assert codes.tolist() == expected[0]
        assert products.tolist() == expected[1]

    @settings(max_examples=100)
    @given(
        arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 6)), elements=st.floats(-3, 3, width=16)),
        st.integers(1, 8),
    )
    def test_cosines(self, vectors: np.ndarray, top: int) -> None:
        found = nearest_items(vectors, len(vectors) + 2, top, chunk=7)
        assert found.items[len(vectors) :].tolist() == [[-1] * top] * 2
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        for a, (items, cosines) in enumerate(zip(found.items, found.weights, strict=False)):
            others = [b for b in range(len(vectors)) if b != a and norms[b] and a < len(vectors) and norms[a]]
            exact = {b: vectors[a].astype(np.float64) @ vectors[b] / norms[a] / norms[b] for b in others}
            there = items[items >= 0].tolist()
            assert len(there) == min(top, len(others))
            assert np.allclose(cosines[: len(there)], [exact[b] for b in there], atol=1e-6)
            order = [(-cosine, b) for cosine, b in zip(cosines, there, strict=False)]
            assert order == sorted(order)
            assert all(exact[b] <= cosines[len(there) - 1] + 1e-6 for b in set(others) - set(there))

    def test_blocks_chunks_and_threads_do_not_matter(self) -> None:
        rng = np.random.default_rng(4)
        vectors = rng.standard_normal((20_000, 8)).astype(np.float32)
        vectors[10_000:10_100] = vectors[:100]  # equal ones, of which the smaller code is first
        first = best_products(vectors[:300], vectors, 15)
        for chunk, threads in ((1, 1), (77, 3), (10_000, 2)):
            again = best_products(vectors[:300], vectors, 15, chunk=chunk, threads=threads)
            assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert np.allclose(first[1], -np.sort(-(vectors[:300] @ vectors.T), axis=1)[:, :15], atol=1e-5)
        assert (first[1][:, :-1] >= first[1][:, 1:]).all()
        equal = first[1][:, :-1] == first[1][:, 1:]
        assert equal.sum() > 30
        assert (first[0][:, :-1] < first[0][:, 1:])[equal].all()

    def test_no_vectors_at_all(self) -> None:
        found = nearest_items(np.empty((0, 4), np.float32), 3, 2)
        assert found.items.tolist() == [[-1, -1]] * 3

    def test_none_is_kept(self) -> None:
        with pytest.raises(ConfigError, match="top = 0: expected 1 or more"):
            nearest_items(np.ones((2, 4), np.float32), 3, 0)

    def test_it_takes_what_the_training_gives(self) -> None:
        log = groups(lists=50)
        found = nearest_items(train_embeddings(log, SkipGram(most_items=30)), log.n_items, 5)
        assert (found.items[30:] == -1).all()
        assert (found.items[:30] < 30).all()
