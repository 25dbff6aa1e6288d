"""Workspaces with finished runs of each kind of model, task and scheme, made from seeds.

`python -m tests.pinned` stores them as they are made today; a test compares what is made tomorrow. See `tests.pinned.stored`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from tests.small import Small, make_small
from workbench.api import library
from workbench.api.studies import TuneOptions
from workbench.data.competition import InteractionsSpec
from workbench.data.workspace import create_workspace
from workbench.rehearsal import LogSpec, create

__all__ = ["WORKSPACES", "make"]

DAY_S = 86_400
LIGHTGBM = (
    "[model]\nlearning_rate = 0.3\nnum_leaves = 7\nmin_data_in_leaf = 5\nbagging_fraction = 0.8\nbagging_freq = 1\n"
)
XGBOOST = "[xgboost]\neta = 0.3\nmax_depth = 3\nsubsample = 0.8\n"
CATBOOST = "[catboost]\nlearning_rate = 0.3\ndepth = 3\n"
SHORT = {
    "model": "num_iterations = 20\nearly_stopping_round = 5\n",
    "other": "num_boost_round = 12\nearly_stopping_rounds = 4\n",
}
FORESTS = '[sklearn]\nestimator = "sklearn.ensemble.ExtraTreesRegressor"\nn_estimators = 8\nmin_samples_leaf = 5\n'
LINEAR = '[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\nC = 0.5\n'
FUNCTION = '[python]\nfunction = "models.py:fit_predict"\nstrength = 0.5\n'
TUNED = (
    LIGHTGBM + SHORT["model"] + "[tune]\ntrials = 4\n[tune.space]\n"
    "num_leaves = { low = 4, high = 16, log = true }\nlambda_l2 = { low = 0.1, high = 10.0, log = true }\n"
)

RECIPES = """
import datetime as dt

import polars as pl
from workbench import features as f
from workbench.features import ROW, feature


@feature
def calendar(rows):
    return [
        *f.date_parts(rows, "day"),
        *f.cyclic_dates(rows, "day"),
        *f.holiday_distances(rows, "day", dates=[dt.date(2024, 3, 1), dt.date(2024, 5, 1)]),
    ]


@feature
def by_town(rows):
    return f.together(
        rows,
        f.group_stats(rows, "town", columns=["x", "z"]),
        f.group_position(rows, "town", columns="x"),
        f.counts(rows, ["town", "household"]),
        f.frequencies(rows, "town", kinds=["count", "share"]),
        f.top_pivot(rows, "household", column="town", values=3),
    )


@feature
def in_time(rows):
    return f.together(
        rows,
        f.lags(rows, "town", columns="x", order_by="day", n=[1, 2]),
        f.differences(rows, "town", columns="x", order_by="day"),
        f.rolling(rows, "town", columns="x", order_by="day", windows=[3, "14d"], stats=["mean", "max"]),
        f.expanding(rows, "town", columns="z", order_by="day"),
        f.since_last(rows, "town", order_by="day"),
        f.until_next(rows, "town", order_by="day"),
        f.distinct_so_far(rows, "town", columns="household", order_by="day"),
        f.sessions(rows, "town", order_by="day", gap="2d"),
        f.session_position(rows, "town", order_by="day", gap="2d"),
    )


@feature
def codes(rows):
    return f.together(
        rows,
        f.ordinal_codes(rows, "town"),
        f.rare_grouped(rows, "town", top=5),
        f.crosses(rows, ["town", "household"], buckets=16),
        f.null_counts(rows, ["x", "z"]),
        f.text_forms(rows, "town"),
        f.hashed_ngrams(rows, "town", n=[1, 2], of="characters", buckets=8),
    )


@feature
def embedded(rows):
    return f.together(
        rows,
        f.svd_embeddings(rows, "household", items="town", n=2),
        f.text_embeddings(rows, "town", n=2),
    )


mean_by_town = f.target_mean("town", "household", smoothing=5)
count_by_town = f.target_count("town")
stats_by_town = f.target_stats("town", stats=["std", "max"])
"""

MODELS = """
import numpy as np


def fit_predict(X_train, y_train, X_valid, y_valid, X_test, *, weight, seed, fold, categorical, strength=1.0):
    numbers = [c for c in X_train.columns if X_train[c].dtype.is_numeric()]
    train, valid, test = (X.select(numbers).fill_null(0).to_numpy() for X in (X_train, X_valid, X_test))
    beta = np.linalg.solve(train.T @ train + strength * np.eye(train.shape[1]), train.T @ (y_train - y_train.mean()))
    return [1 / (1 + np.exp(-(X @ beta))) for X in (valid, test)]
"""

NOTEBOOK = """# %%
from workbench import nb

# %% tags=["parameters"]
scale = 0.1

# %%
X, X_test = nb.features("rows.x", "ratio")
nb.record(oof=1 / (1 + np.exp(-scale * X["x"].to_numpy())), test=1 / (1 + np.exp(-scale * X_test["x"].to_numpy())))
""".replace("from workbench import nb", "import numpy as np\nfrom workbench import nb")

SPLIT = "import numpy as np\n\n\ndef split(train):\n    return np.arange(train.height) % 4\n"


@dataclass(frozen=True)
class Made(Small):
    """A competition of a workspace, and its experiments' numbers."""

    numbers: tuple[int, ...]


def _run(made: Small, experiments: list[str]) -> Made:
    for number, text in enumerate(experiments, 1):
        made.experiment(number, text)
    numbers = tuple(range(1, len(experiments) + 1))
    found = Made(made.workspace, made.slug, numbers)
    for number in numbers:
        found.open.run(number, threads=1)
    return found


def _scheme(made: Small, text: str) -> None:
    path = made.folder / "competition.toml"
    before = path.read_text()
    path.write_text(before[: before.index("[cv]")] + "[cv]\n" + textwrap.dedent(text))


def _binary(root: Path) -> Made:
    made = make_small(root, n_rows=300)
    (made.folder / "models.py").write_text(MODELS)
    (made.workspace.root / "notebooks" / "logistic.py").write_text(NOTEBOOK)
    columns = 'features = ["rows", "ratio", "doubled", "town_size", "te_town"]\n'
    numbers = 'features = ["rows.x", "rows.z", "ratio"]\n'
    found = _run(
        made,
        [
            'title = "first"\n' + columns + TUNED,
            "base = 1\nseeds = [1, 2]\n[model]\nlearning_rate = 0.2\n",
            columns + XGBOOST + SHORT["other"],
            columns + CATBOOST + SHORT["other"],
            numbers + LINEAR,
            numbers + FUNCTION,
            '[notebook]\nfile = "logistic.py"\n',
            'features = ["auto"]\n' + LIGHTGBM + SHORT["model"],
            'rounds = "per fold"\n' + columns + LIGHTGBM + SHORT["model"],
        ],
    )
    found.open.studies.tune(1, TuneOptions(trials=4, threads=1))
    return found


def _regression(root: Path) -> Made:
    made = make_small(root, task="regression", metric="rmsle", n_rows=300)
    (made.folder / "features.py").write_text(RECIPES)
    _scheme(made, 'scheme = "group"\ngroup = "household"\nfolds = 4\nseed = 3\n')
    recipes = 'features = ["calendar", "by_town", "in_time", "codes", "embedded", "mean_by_town", "count_by_town", "stats_by_town"]\n'
    found = _run(
        made,
        [
            recipes + LIGHTGBM + SHORT["model"],
            'features = ["rows", "mean_by_town"]\n' + XGBOOST + SHORT["other"],
            'features = ["rows", "mean_by_town"]\n' + CATBOOST + SHORT["other"],
            'features = ["rows.x", "rows.z", "by_town"]\n' + FORESTS,
        ],
    )
    found.open.studies.tune(1, TuneOptions(trials=3, threads=1))
    return found


def _multiclass(root: Path) -> Made:
    made = make_small(root, task="multiclass", metric="mlogloss", n_rows=300)
    _scheme(made, 'scheme = "stratified_group"\ngroup = "household"\nfolds = 3\nseed = 4\n')
    columns = 'features = ["rows", "te_town"]\n'
    return _run(
        made,
        [
            columns + LIGHTGBM + SHORT["model"],
            columns + XGBOOST + SHORT["other"],
            columns + CATBOOST + SHORT["other"],
            'features = ["rows.x", "rows.z"]\n' + LINEAR,
        ],
    )


def _two(root: Path) -> Made:
    made = make_small(root, task="two", metric="rmse", n_rows=300)
    _scheme(made, 'scheme = "time"\ncolumn = "day"\nfolds = 3\ngap = "3d"\npurge = "2d"\n')
    columns = 'features = ["rows", "ratio"]\n'
    return _run(made, [columns + LIGHTGBM + SHORT["model"], columns + XGBOOST + SHORT["other"]])


def _custom(root: Path) -> Made:
    made = make_small(root, task="regression", metric="mae", n_rows=300)
    (made.folder / "split.py").write_text(SPLIT)
    _scheme(made, 'scheme = "custom"\nfunction = "split.py:split"\n')
    return _run(made, ['features = ["rows", "te_town"]\n' + LIGHTGBM + SHORT["model"]])


def _kfold(root: Path) -> Made:
    made = make_small(root, metric="logloss", n_rows=300)
    _scheme(made, 'scheme = "kfold"\nfolds = 4\nseed = 5\n')
    return _run(made, ['features = ["rows", "te_town"]\n' + LIGHTGBM + SHORT["model"]])


def log(users: int = 150, items: int = 80, weeks: int = 8) -> pl.DataFrame:
    """Return user, item, time and kind: users who buy the same few things, each at its own pace, and click by chance."""
    rng = np.random.default_rng(5)
    rows: list[tuple[int, int, int, str]] = []
    for user in range(users):
        for item in rng.choice(items, 6, replace=False):
            pace = int(rng.integers(2, 20))
            days = np.arange(rng.integers(0, pace), weeks * 7, pace) + rng.random() * 0.5
            rows += [(user, int(item), int(d * DAY_S), ("orders", "carts")[int(rng.integers(2))]) for d in days]
        for _ in range(15):
            at = int(rng.random() * weeks * 7 * DAY_S)
            rows.append((user, int(items * rng.random() ** 2), at, "clicks"))
    frame = pl.DataFrame(rows, schema=["user", "item", "time", "kind"], orient="row")
    return frame.sort("time", "user", "item", "kind")


STAGES = """
[recommend]
candidates = 40
[recommend.history]
recent = { decay = "14d" }
[recommend.covisit]
counts = { window = "5d", top = 10 }
[recommend.popular]
top = 10
[recommend.ranker]
model = { num_iterations = 15, num_leaves = 7, min_data_in_leaf = 20 }
"""
SPEC = InteractionsSpec("user", "item", "time", 7 * DAY_S)
KINDS = replace(SPEC, kind="kind", id="{user}_{kind}", weights={"carts": 0.3, "clicks": 0.1, "orders": 0.6})


def _shop(root: Path, spec: InteractionsSpec, scheme: str = "") -> Made:
    workspace = create_workspace(root)
    path = root / "log.parquet"
    log().write_parquet(path)
    create(root, "shop", LogSpec(path, spec, metric="recall@5"))
    library.fetch("shop", where=workspace)
    made = Small(workspace, "shop")
    if scheme:
        _scheme(made, scheme)
    return _run(made, ["[recommend]\n[recommend.history]\n[recommend.popular]\n", STAGES])


WORKSPACES: dict[str, Callable[[Path], Made]] = {
    "binary": _binary,
    "regression": _regression,
    "multiclass": _multiclass,
    "two-targets": _two,
    "custom": _custom,
    "kfold": _kfold,
    "shop": lambda root: _shop(root, SPEC),
    "shop-kinds": lambda root: _shop(root, KINDS, 'scheme = "users"\nfolds = 3\nseed = 6\n'),
}
"""What makes each workspace in an empty folder."""


def make(name: str, root: Path) -> Made:
    """Make a workspace in a folder that is not there yet."""
    root.mkdir(parents=True)
    return WORKSPACES[name](root)
