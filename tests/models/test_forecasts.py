"""What each library is foreseen to take holds for values that are missing, for categories, and for many levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from workbench.experiments.ready import ready
from workbench.features import FeatureMatrix, missing_share

MODELS = {
    "xgboost": "[xgboost]\nnum_boost_round = 5\nearly_stopping_rounds = 0\n",
    "catboost": "[catboost]\nnum_boost_round = 5\nearly_stopping_rounds = 0\n",
    "model": "[model]\nnum_iterations = 5\nearly_stopping_round = 0\n",
}


@pytest.fixture
def needs(small, monkeypatch) -> Any:
    monkeypatch.setenv("WB_THREADS", "2")

    made = small()

    def of(kind: str, *, lines: str = "", changed: Any = lambda matrix: matrix) -> Any:
        made.experiment(1, f'features = ["rows.x", "rows.town"]\n{MODELS[kind]}{lines}')
        found = ready(made.workspace, made.open.access.competition, 1)
        problem = replace(found.problem, matrix=changed(found.problem.matrix))
        return found.model.memory_estimate(problem, (1,)), problem

    return of


def with_levels(n: int) -> Any:
    return lambda matrix: replace(matrix, categories={"town": [str(i) for i in range(n)]})


def with_missing(matrix: FeatureMatrix) -> FeatureMatrix:
    held = matrix.frame.with_columns(pl.when(pl.int_range(pl.len()) % 2 == 0).then("x").alias("x"))
    return replace(matrix, loaded_frame=held)


def without_missing(matrix: FeatureMatrix) -> FeatureMatrix:
    return replace(matrix, loaded_frame=matrix.frame.with_columns(pl.all().fill_null(0).fill_nan(0)))


def test_bins_beside_missing_values_take_four_bytes_in_xgboost(needs) -> None:
    some, problem = needs("xgboost", changed=with_missing)
    none, _ = needs("xgboost", changed=without_missing)
    share = missing_share(problem.matrix)
    assert 0.2 < share < 0.4
    assert some.fold_bytes / none.fold_bytes == pytest.approx((4 * (1 - share) + 1.125) / 2, rel=0.01)


def test_what_is_missing_is_counted_in_nulls_and_in_nan(needs) -> None:
    _, problem = needs("xgboost", changed=without_missing)
    assert missing_share(problem.matrix) == 0
    x = problem.matrix.frame.with_columns(
        pl.when(pl.int_range(pl.len()) % 4 == 0).then(float("nan")).otherwise("x").alias("x")
    )
    assert missing_share(replace(problem.matrix, loaded_frame=x)) == pytest.approx(1 / 8, rel=0.01)


@pytest.mark.parametrize(("kind", "nodes"), [("xgboost", 40 + 2 * 10), ("model", 255)])
def test_a_histogram_has_a_place_for_every_level(needs, kind: str, nodes: int) -> None:
    lines = {"xgboost": "", "model": "num_leaves = 255\n"}[kind]
    few, many = (needs(kind, lines=lines, changed=with_levels(n))[0] for n in (200, 25_000))
    assert many.temporary_bytes - few.temporary_bytes >= 0.8 * nodes * 16 * 24_750


def test_categories_and_levels_are_counted_in_catboost(needs) -> None:
    few, problem = needs("catboost", changed=with_levels(200))
    none, _ = needs("catboost", changed=lambda matrix: replace(matrix, categories={}))
    many, _ = needs("catboost", changed=with_levels(25_000))
    assert few.fold_bytes > 4 * none.fold_bytes
    assert many.temporary_bytes - few.temporary_bytes > 10 * 2**20
    assert problem.matrix.n_train
