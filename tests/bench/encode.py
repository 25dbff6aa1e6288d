"""Fold-safe target means of ten columns over five folds: ours, scikit-learn's and category_encoders'.

The rows are generated: 10 million, a binary target, seven columns of integers and three of strings with 10 to 1,000,000
values each. Every side gives, for each of the five folds, the columns of the rows that the fold trains on and of those
that it validates. Each runs in a process of its own, reading the rows included; memory is the process's peak.

- scikit-learn: for each fold, `TargetEncoder(smooth=20).fit_transform` on the train part, cross-fitted over the four
  other folds, and `transform` on the valid part. The definition is ours, and so are the results, which is checked.
- category_encoders: for each fold, its `NestedCVWrapper` around `TargetEncoder` over the four other folds on the train
  part, and the same encoder fitted to the whole train part for the valid part. It shrinks by a logistic curve of the
  group's size, so its values are close to ours and not equal.
- hand-made: what people write in polars instead: a group_by and a join for each fold and each inner fold.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.bench.measured import process, row

ROWS = 10_000_000
FOLDS = 5
VALUES = (10, 50, 200, 1_000, 5_000, 20_000, 100_000, 300_000, 500_000, 1_000_000)
AS_TEXT = (200, 5_000, 300_000)

SKLEARN = """
import sys
import numpy as np, pandas as pd
from sklearn.model_selection import PredefinedSplit
from sklearn.preprocessing import TargetEncoder
path, out = sys.argv[1:]
frame = pd.read_parquet(path)
y, fold = frame.pop("y").to_numpy(), frame.pop("fold").to_numpy()
for k in range(5):
    train, valid = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
    others = fold[train]
    others = np.where(others > k, others - 1, others)
    encoder = TargetEncoder(smooth=20.0, target_type="binary", cv=PredefinedSplit(others))
    of_train = encoder.fit_transform(frame.iloc[train], y[train])
    of_valid = encoder.transform(frame.iloc[valid])
    if out:
        whole = np.empty((len(frame), frame.shape[1]))
        whole[train], whole[valid] = of_train, of_valid
        np.save(f"{out}/{k}.npy", whole)
"""

CATEGORY_ENCODERS = """
import sys, warnings
import numpy as np, pandas as pd
from category_encoders import TargetEncoder
from category_encoders.wrapper import NestedCVWrapper
from sklearn.model_selection import PredefinedSplit
warnings.simplefilter("ignore")
path, out = sys.argv[1:]
frame = pd.read_parquet(path)
y, fold = frame.pop("y"), frame.pop("fold").to_numpy()
for k in range(5):
    train, valid = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
    others = fold[train]
    others = np.where(others > k, others - 1, others)
    encoder = NestedCVWrapper(TargetEncoder(cols=list(frame.columns)), cv=PredefinedSplit(others))
    of_train, of_valid = encoder.fit_transform(frame.iloc[train], y.iloc[train], X_test=frame.iloc[valid])
    if out:
        whole = np.empty((len(frame), frame.shape[1]))
        whole[train], whole[valid] = of_train.to_numpy(), of_valid.to_numpy()
        np.save(f"{out}/{k}.npy", whole)
"""

HAND_MADE = """
import sys
import numpy as np, polars as pl
path, out = sys.argv[1:]
frame = pl.read_parquet(path)
names = [c for c in frame.columns if c not in ("y", "fold")]
frame = frame.with_row_index("row")

def encoded(learn, use):
    prior = learn["y"].mean()
    for c in names:
        means = learn.group_by(c).agg(te=(pl.col("y").sum() + 20.0 * prior) / (pl.len() + 20.0))
        use = use.join(means, on=c, how="left", nulls_equal=True).rename({"te": f"te_{c}"})
    return use.select("row", *(pl.col(f"te_{c}").fill_null(prior).cast(pl.Float32) for c in names))

for k in range(5):
    train, valid = frame.filter(pl.col("fold") != k), frame.filter(pl.col("fold") == k)
    parts = [encoded(train.filter(pl.col("fold") != j), train.filter(pl.col("fold") == j)) for j in range(5) if j != k]
    whole = pl.concat([*parts, encoded(train, valid)]).sort("row")
    if out:
        np.save(f"{out}/{k}.npy", whole.drop("row").to_numpy())
"""

OURS = """
import sys
import numpy as np, polars as pl
from workbench.features import FeatureMatrix, FoldColumns, Split, group_codes, target_mean
from workbench.models.target import TargetColumn
path, out = sys.argv[1:]
frame = pl.read_parquet(path)
y, fold = frame["y"].cast(pl.Float64).to_numpy(), frame["fold"].cast(pl.Int16).to_numpy()
frame = frame.drop("y", "fold")
made = []
for name in frame.columns:
    feature = target_mean(name, smoothing=20)
    feature.name = f"te_{name}"
    made.append(FoldColumns(feature, group_codes(frame.select(name)), feature.name))
matrix = FeatureMatrix((), len(y), len(y), {}, fold_columns=tuple(made))
learned = matrix.learned([TargetColumn("y", "binary", y, (0, 1))], 0, Split(fold))
for k in range(5):
    whole = learned.frame(k)
    if out:
        np.save(f"{out}/{k}.npy", whole.to_numpy())
"""

SIDES = {"scikit-learn": SKLEARN, "category_encoders": CATEGORY_ENCODERS, "hand-made polars": HAND_MADE}


def write_rows(path: Path, rows: int) -> None:
    """Write the rows: the small values of a column are the frequent ones, and each has a rate of its own."""
    rng = np.random.default_rng(51)
    columns: dict[str, pl.Series] = {}
    signal = np.zeros(rows, np.float32)
    for values in VALUES:
        codes = (values * rng.random(rows) ** 2).astype(np.int64)
        signal += rng.normal(scale=0.3, size=values).astype(np.float32)[codes]
        name = f"c{values}"
        columns[name] = pl.Series(codes)
        if values in AS_TEXT:
            columns[name] = pl.select("value " + pl.lit(columns[name]).cast(pl.String)).to_series()
    target = (signal + rng.logistic(size=rows) > 0).astype(np.int64)
    fold = pl.Series(rng.permutation(rows) % FOLDS).cast(pl.Int8)
    pl.DataFrame({**columns, "y": pl.Series(target), "fold": fold}).write_parquet(path)


def cases(scale: float) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _check_agreement(root)
        rows = int(ROWS * scale)
        path = root / "rows.parquet"
        write_rows(path, rows)
        ours = measured(OURS, path)
        theirs = {name: measured(script, path) for name, script in SIDES.items()}
    case = f"10 columns, 5 folds, {rows:,}"
    return [
        row(case, "time", "s", ours[0], {name: seconds for name, (seconds, _) in theirs.items()}),
        row(case, "peak memory", "MB", ours[1], {name: peak for name, (_, peak) in theirs.items()}),
    ]


def measured(script: str, path: Path, out: str = "") -> tuple[float, float]:
    found = process([sys.executable, "-c", script, str(path), out], Path.cwd())
    print(f"{json.dumps(found)} {script.strip().splitlines()[-3].strip()}", file=sys.stderr)
    return found


def _check_agreement(root: Path, rows: int = 20_000) -> None:
    """Refuse to measure sides that do not give the same: all but category_encoders, whose definition differs."""
    path = root / "few.parquet"
    write_rows(path, rows)
    given: dict[str, np.ndarray] = {}
    for name, script in {"ours": OURS, **SIDES}.items():
        out = root / name
        out.mkdir()
        measured(script, path, str(out))
        given[name] = np.stack([np.load(out / f"{k}.npy") for k in range(FOLDS)])
    for name in ("scikit-learn", "hand-made polars"):
        if not np.allclose(given["ours"], given[name], rtol=1e-5, atol=1e-6):
            raise SystemExit(f"{name} gives other values than ours")
    # The two ways to shrink differ where groups are small; where a column has ten values, hardly.
    if not np.allclose(given["ours"][:, :, 0], given["category_encoders"][:, :, 0], atol=0.02):
        raise SystemExit("category_encoders gives values far from ours where groups are large")
