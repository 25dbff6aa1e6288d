"""What `wb run` is measured against; run as a script in the benchmark's folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

TABLES = Path("competitions/wide/data/tables")
PARAMETERS = {"objective": "binary", "metric": "auc", "learning_rate": 0.1, "num_leaves": 63, "verbosity": -1}
ROUNDS = 100
MOST_ROUNDS, PATIENCE = 1000, 30


def bare(stopping: bool) -> None:
    """`lgb.cv` on the polars frames, then OOF and test predictions by its boosters."""
    import lightgbm as lgb
    import polars as pl

    train, test = pl.read_parquet(TABLES / "train.parquet"), pl.read_parquet(TABLES / "test.parquet")
    folds = np.load("folds.npy")
    columns = [c for c in train.columns if c not in ("id", "y")]
    pairs = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(5)]
    data = lgb.Dataset(train.select(columns), label=train["y"].to_numpy(), free_raw_data=True)
    rounds, callbacks = (MOST_ROUNDS, [lgb.early_stopping(PATIENCE, verbose=False)]) if stopping else (ROUNDS, [])
    result = lgb.cv(PARAMETERS, data, num_boost_round=rounds, folds=pairs, return_cvbooster=True, callbacks=callbacks)
    oof, predicted = np.zeros(train.height), np.zeros(test.height)
    for booster, (_, valid) in zip(result["cvbooster"].boosters, pairs, strict=True):
        oof[valid] = booster.predict(train.select(columns)[valid])
        predicted += booster.predict(test.select(columns)) / 5
    np.save("oof.npy", oof)
    test.select("id").with_columns(y=predicted).write_csv("bare.csv")


def usual(stopping: bool) -> None:
    """The loop of most public notebooks: pandas, an `LGBMClassifier` per fold."""
    import lightgbm as lgb
    import pandas as pd

    train, test = pd.read_parquet(TABLES / "train.parquet"), pd.read_parquet(TABLES / "test.parquet")
    folds = np.load("folds.npy")
    columns = [c for c in train.columns if c not in ("id", "y")]
    oof, predicted = np.zeros(len(train)), np.zeros(len(test))
    rounds, callbacks = (MOST_ROUNDS, [lgb.early_stopping(PATIENCE, verbose=False)]) if stopping else (ROUNDS, None)
    for k in range(5):
        fit, valid = folds != k, folds == k
        model = lgb.LGBMClassifier(
            n_estimators=rounds,
            learning_rate=0.1,
            num_leaves=63,
            verbosity=-1,
            **({"metric": "auc"} if stopping else {}),  # or it would stop by the log loss, too
        )
        model.fit(
            train.loc[fit, columns],
            train.loc[fit, "y"],
            eval_set=[(train.loc[valid, columns], train.loc[valid, "y"])],
            eval_metric="auc",
            callbacks=callbacks,
        )
        oof[valid] = model.predict_proba(train.loc[valid, columns])[:, 1]
        predicted += model.predict_proba(test[columns])[:, 1] / 5
    np.save("oof.npy", oof)
    pd.DataFrame({"id": test["id"], "y": predicted}).to_csv("usual.csv", index=False)


if __name__ == "__main__":
    {"bare": bare, "usual": usual}[sys.argv[1]]("stopping" in sys.argv)
