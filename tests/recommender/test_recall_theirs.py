"""What the peers of the recall benchmark are given and measured by; and that each of them finds what is planted."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from tests.bench import recall_theirs
from tests.bench.recall_theirs import NEW, PEERS, Peer, cut, had, lists_of_peers, popularity, recall
from workbench.recommender import Columns, read_interactions

DAY_S = 24 * 3600


def read(rows: list[tuple[int, int, int]]) -> Any:
    events = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return read_interactions(events.lazy(), Columns("user", "item", "time"))


@cache
def log() -> Any:
    """Return a small log; coded, 20 is 0, 10 is 1, 30 is 2."""
    return read(
        [(1, 10, 0), (1, 10, 5), (1, 20, 9), (2, 20, 3), (2, 30, 40 * DAY_S), (3, 20, 8), (3, 10, 9), (3, 20, 10)]
    )


def test_a_log_is_cut_in_two() -> None:
    before, after = cut(log(), 9)
    assert before.starts.tolist() == [0, 2, 3, 4]
    assert before.items.tolist() == [1, 1, 0, 0]
    assert after.toarray().tolist() == [[1, 0, 0], [0, 0, 1], [1, 1, 0]]
    assert cut(log(), 9, 10)[1].toarray().tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert had(log()).toarray().tolist() == [[1, 2, 0], [1, 0, 1], [2, 1, 0]]


def test_popularity() -> None:
    users = np.array([0, 1, 2], np.int32)
    assert popularity(log(), users, 4).tolist() == [[0, 1, 2, -1]] * 3
    assert popularity(log(), users, 2, days=7).tolist() == [[2, -1]] * 3
    assert popularity(log(), users, 2, new=True).tolist() == [[2, -1], [1, -1], [2, -1]]


def test_recall_is_of_what_fits_into_a_list() -> None:
    truth = csr_matrix(np.array([[1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]))
    lists = np.array([[0, 1], [0, -1], [0, 1]], np.int32)
    users = np.array([0, 1, 2], np.int32)
    assert recall(lists, users, truth) == 0.5
    assert recall(lists[:1, ::-1], users[:1], truth) == 1.0
    assert recall(np.array([[3, -1]], np.int32), users[1:2], truth) == 1.0


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_finds_what_is_planted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    user, item, day = np.repeat(np.arange(80), 12), rng.integers(0, 10, 960), rng.integers(0, 30, 960)
    rows = list(zip(user.tolist(), (10 * (user % 4) + item).tolist(), (day * DAY_S).tolist(), strict=True))
    log, users = read(rows), np.arange(80, dtype=np.int32)
    first = {key: values[:2] for key, values in PEERS[name].stages[0].items()}
    monkeypatch.setitem(recall_theirs.PEERS, name, Peer(PEERS[name].make, (first,)))
    found = lists_of_peers(log, users, 5, names=(name,), threads=1)
    ids = log.item_ids.values.to_numpy()
    known = had(log).toarray() > 0
    for ending in ("", NEW):
        lists = found.lists[name + ending]
        assert set(found.chosen[name + ending]) == set(first)
        there = lists >= 0
        own = ids[lists] // 10 == (users % 4)[:, None]
        # A user is left with few of its own group that it has not had: what is first is one of them, for most: ALS finds
        # 90 to 100 % of them, by the seed and the CPU, and by chance it were 25 %.
        assert (own[there].mean() > 0.9) if not ending else (own[:, 0][there[:, 0]].mean() > 0.75)
        rows_of = np.repeat(users, 5).reshape(-1, 5)
        assert not ending or not known[rows_of[there], lists[there]].any()
