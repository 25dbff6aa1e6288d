"""Runs with folds in time, gap and purge: what a model is given of each row depends on nothing that comes later."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.small import Small, make_frame
from workbench.api import library
from workbench.data.workspace import create_workspace
from workbench.rehearsal import RehearsalSpec, create

GIVEN = """
from pathlib import Path

import numpy as np


def fit_predict(X_train, y_train, X_valid, y_valid, X_test, *, fold, **more):
    for name, X in (("train", X_train), ("valid", X_valid), ("test", X_test)):
        X.write_parquet(Path(__file__).parent / f"given-{fold}-{name}.parquet")
    return [np.full(len(X), 0.5) for X in (X_valid, X_test)]
"""
FEATURES = """
from workbench.features import target_mean, target_stats

te_town = target_mean("town", smoothing=5)
te_stats = target_stats("town", stats=["std", "max"])
"""
CV = 'scheme = "time"\ncolumn = "day"\nfolds = 3\n'


def given(root: Path, frame: pl.DataFrame, cv: str = CV) -> dict[tuple[int, str], pl.DataFrame]:
    """Run on a frame, and return what the model was given of each fold, with the day of each row."""
    workspace = create_workspace(root)
    frame.write_csv(root / "all.csv")
    create(root, "small", RehearsalSpec(root / "all.csv", ("y",), "logloss", 0.2))
    library.fetch("small", where=workspace)
    made = Small(workspace, "small")
    (made.folder / "features.py").write_text(FEATURES)
    (made.folder / "models.py").write_text(GIVEN)
    path = made.folder / "competition.toml"
    path.write_text(path.read_text().partition("[cv]")[0] + f"[cv]\n{cv}")
    made.experiment(1, 'features = ["rows.x", "te_town", "te_stats"]\n[python]\nfunction = "models.py:fit_predict"\n')
    made.open.run(1)
    days = made.open.rows.select(pl.col("x").cast(pl.Float32), "day").collect()
    return {
        (fold, name): pl.read_parquet(made.folder / f"given-{fold}-{name}.parquet")
        .with_columns(pl.col("x").cast(pl.Float32))
        .join(days, on="x", how="left", maintain_order="left")
        for fold in range(3)
        for name in ("train", "valid", "test")
    }


def test_gap_and_purge_of_the_definition_reach_the_model(tmp_path: Path) -> None:
    frame = make_frame(600)
    plain, apart = given(tmp_path / "plain", frame), given(tmp_path / "apart", frame, CV + 'gap = "3d"\npurge = "2d"\n')
    for fold in range(3):
        train, valid = apart[fold, "train"]["day"], apart[fold, "valid"]["day"]
        assert valid.equals(plain[fold, "valid"]["day"])
        assert train.max() + timedelta(days=5) <= valid.min()
        # And no more than that is left out.
        before = plain[fold, "train"].filter(pl.col("day") <= valid.min() - timedelta(days=5))
        assert before.height == len(train) < plain[fold, "train"].height


@pytest.mark.parametrize("cv", [CV, CV + 'gap = "3d"\npurge = "2d"\n'])
def test_what_comes_later_changes_nothing_that_the_model_is_given(tmp_path: Path, cv: str) -> None:
    frame = make_frame(600)
    at = frame["day"].sort()[420]
    turned = frame.with_columns(y=pl.when(pl.col("day") > at).then(1 - pl.col("y")).otherwise(pl.col("y")))
    one, other = given(tmp_path / "one", frame, cv), given(tmp_path / "other", turned, cv)
    changed = 0
    for (fold, name), before in one.items():
        after = other[fold, name]
        assert before.select("x", "day").equals(after.select("x", "day"))
        early = before["day"] <= at
        if name != "test":
            assert before.filter(early).equals(after.filter(early)), (fold, name)
            changed += not before.equals(after)
    assert changed > 0


def test_a_row_is_encoded_by_the_rows_that_its_fold_trains_on(tmp_path: Path) -> None:
    frame = make_frame(600).with_columns(pl.col("x").cast(pl.Float32))
    targets = frame.select("x", "y", "town")
    for (fold, name), rows in given(tmp_path / "one", make_frame(600), CV + 'gap = "3d"\n').items():
        if name != "valid":
            continue
        train = given_train(tmp_path / "one", fold).join(targets, on="x")
        prior = train["y"].mean()
        means = train.group_by("town").agg(n=pl.len(), total=pl.col("y").sum())
        expected = (
            rows.join(targets.drop("y"), on="x", how="left", maintain_order="left")
            .join(means, on="town", how="left", maintain_order="left")
            .with_columns(pl.col("n", "total").fill_null(0))
            .select(e=(pl.col("total") + 5 * prior) / (pl.col("n") + 5))["e"]
        )
        assert (rows["te_town"].cast(pl.Float64) - expected).abs().max() < 1e-6, fold


def given_train(root: Path, fold: int) -> pl.DataFrame:
    return pl.read_parquet(root / "competitions" / "small" / f"given-{fold}-train.parquet").select(
        pl.col("x").cast(pl.Float32)
    )
