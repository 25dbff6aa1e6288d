"""Data without any effect, and how often the checks report one: their false positive rates.

Each function returns (number of alarms, number of trials); `NULLS` has the highest allowed rates.
`tests/metrics/test_nulls.py` checks them with few repeats, ``python -m tests.bench nulls`` measures them with many.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tests.example_records import RUN
from tests.small import Small
from workbench.analysis.checks.adversarial import adversarial, adversarial_findings
from workbench.analysis.checks.data import CheckedData, read_data
from workbench.analysis.checks.drift import drift, drift_findings
from workbench.analysis.checks.power import leak_findings, outcome_of
from workbench.analysis.selection import SelectionOptions, column_groups, importance_by_permutation
from workbench.analysis.selection.importance import models_of
from workbench.analysis.selection.methods import importance_by_shuffled_target
from workbench.api import library
from workbench.api.features import SelectOptions
from workbench.core.context import SILENT, RunContext
from workbench.core.intervals import half_width
from workbench.data.workspace import create_workspace
from workbench.experiments.current_runs import CurrentRun
from workbench.experiments.ready import ready
from workbench.features import Blocks, load_features
from workbench.models.folds import kfold, time_folds
from workbench.rehearsal import RehearsalSpec, create
from workbench.review.table import Row, summarise

__all__ = ["NULLS", "Null"]

Floats = np.typing.NDArray[np.float64]
MODEL = """[model]
learning_rate = 0.1
num_leaves = 7
num_iterations = 25
early_stopping_round = 0
num_threads = 1
min_data_in_leaf = 5
"""


@dataclass(frozen=True)
class Null:
    """One shown number.

    Attributes
    ----------
    promised : float
        How often it may raise an alarm at most.
    measure : callable
        Takes the number of repeats; returns alarms and trials.
    fast, many : int
        Repeats for the suite, and for a measurement.
    """

    promised: float
    measure: Callable[[int], tuple[int, int]]
    fast: int
    many: int


# ---------------------------------------------------------------------------------------------------------- the table


def _fold_scores(rng: np.random.Generator, n_changes: int, *, forward: bool) -> Floats:
    """Return (n_changes + 1, folds): minus the squared error of ridge models that differ in a column of noise."""
    n, k = 240, 5
    known = rng.normal(size=(n, 6))
    y = known @ np.linspace(0.1, 0.5, 6) + rng.normal(size=n)
    extra = rng.normal(size=(n_changes + 1, n))
    folds = time_folds(np.arange(n), k) if forward else kfold(n, k, int(rng.integers(2**31)))
    scores = np.zeros((n_changes + 1, k))
    for fold in range(k):
        train, valid = folds.train_rows(fold), folds.valid_rows(fold)
        for i, column in enumerate(extra):
            x = np.column_stack([known, column])
            weights = np.linalg.solve(x[train].T @ x[train] + np.eye(7), x[train].T @ y[train])
            scores[i, fold] = -np.mean((y[valid] - x[valid] @ weights) ** 2)
    return scores


def _rows(scores: Floats, *, forward: bool) -> list[Row]:
    """Return the table's rows of a base and changes without effect."""
    runs = [
        replace(
            RUN, exp=i + 1, run_id=f"r{i}", key=f"k{i}", base=1 if i else None, fold_scores=tuple(of.tolist()),
            seed_scores=(tuple(of.tolist()),), seeds=(1,), cv_mean=float(of.mean()), greater_is_better=True,
        )
        for i, of in enumerate(scores)
    ]  # fmt: skip
    ratio = float(np.mean([1 / j for j in range(1, 6)])) if forward else 0.25
    try:
        return summarise(runs, [], {r.exp: CurrentRun(r) for r in runs}, {RUN.folds_hash: ratio})
    except TypeError:  # a version that took folds in time for others
        return summarise(runs, [], {r.exp: CurrentRun(r) for r in runs})


def _changes(
    repeats: int, n_changes: int, forward: bool, judge: Callable[[list[Any]], tuple[int, int]]
) -> tuple[int, int]:
    alarms = trials = 0
    for repeat in range(repeats):
        rng = np.random.default_rng([1, repeat, n_changes, forward])
        rows = _rows(_fold_scores(rng, n_changes, forward=forward), forward=forward)
        found, of = judge([r.change for r in rows if r.base is not None])
        alarms, trials = alarms + found, trials + of
    return alarms, trials


def best_of(n_changes: int, *, forward: bool = False) -> Callable[[int], tuple[int, int]]:
    """Whether any of several changes without effect is marked as beyond noise."""
    return lambda repeats: _changes(repeats, n_changes, forward, lambda c: (int(any(x.clear for x in c)), 1))


def single_interval(*, forward: bool = False) -> Callable[[int], tuple[int, int]]:
    """Whether the interval of one change without effect does not hold 0."""

    def outside(changes: list[Any]) -> tuple[int, int]:
        return sum(c.low > 0 or c.high < 0 for c in changes), len(changes)

    return lambda repeats: _changes(repeats, 1, forward, outside)


# -------------------------------------------------------------------------------------------------------- competitions


@contextmanager
def hosted(columns: dict[str, Any], cv: str = "", metric: str = "rmse", **spec: Any) -> Iterator[Small]:
    """Host a frame as a competition; `cv` takes the place of the scheme."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        place = create_workspace(root / "w")
        pl.DataFrame(columns).write_parquet(root / "all.parquet")
        spec = {"targets": ("y",), "metric": metric, "holdout": 0.1, "after": None} | spec
        create(place.root, "null", RehearsalSpec(train=root / "all.parquet", **spec))
        library.fetch("null", where=place)
        made = Small(place, "null")
        if cv:
            path = made.folder / "competition.toml"
            before, _, after = path.read_text().partition("[cv]")
            rest = after[after.index("\n[") :] if "\n[" in after else ""
            path.write_text(f"{before}[cv]\n{cv}\nseed = 1\n{rest}")
        yield made


def _grouped(rng: np.random.Generator, n_columns: int) -> dict[str, Any]:
    """60 users of 3 to 17 rows, whose targets have a level; columns of noise that are constant within users."""
    n_users = 60
    sizes = rng.integers(3, 18, n_users)
    user = np.repeat(np.arange(n_users), sizes)
    y = rng.normal(size=n_users)[user] + rng.normal(size=len(user))
    noise = {f"x{i}": rng.normal(size=n_users)[user] for i in range(n_columns)}
    return {"id": np.arange(len(user)), "user": user, **noise, "y": y}


def _autocorrelated(rng: np.random.Generator, n: int, shape: float = 0.95) -> Floats:
    values = np.zeros(n)
    noise = rng.normal(size=n)
    for i in range(1, n):
        values[i] = shape * values[i - 1] + noise[i]
    return values / values.std()


def _in_time(rng: np.random.Generator, n_columns: int, *, daily: bool) -> dict[str, Any]:
    """300 days of 4 rows with a level that drifts; columns of noise by day, drawn anew each day or drifting, too."""
    days, per_day = 300, 4
    day = np.repeat(np.arange(days), per_day)
    level = rng.normal(size=days) if daily else _autocorrelated(rng, days)
    y = level[day] + rng.normal(size=len(day))
    noise = {f"x{i}": (rng.normal(size=days) if daily else _autocorrelated(rng, days))[day] for i in range(n_columns)}
    return {"id": np.arange(len(day)), "day": day, **noise, "y": y}


def _plain(rng: np.random.Generator, n_columns: int) -> dict[str, Any]:
    n = 600
    return {"id": np.arange(n), **{f"x{i}": rng.normal(size=n) for i in range(n_columns)}, "y": rng.normal(size=n)}


BY_USER = 'scheme = "group"\ngroup = "user"\nfolds = 5'
BY_DAY = 'scheme = "time"\ncolumn = "day"\nfolds = 4'
BY_ROW = 'scheme = "kfold"\nfolds = 5'


def judged(
    data: Callable[[np.random.Generator], dict[str, Any]], cv: str, alpha: float, drop: str, method: str = "permutation"
) -> Callable[[int], tuple[int, int]]:
    """How many columns of noise pass `wb select`."""

    def measure(repeats: int) -> tuple[int, int]:
        alarms = trials = 0
        for repeat in range(repeats):
            with hosted(data(np.random.default_rng([2, repeat])), cv) as made:
                made.experiment(1, f'features = ["rows"]\ndrop = [{drop}]\n{MODEL}')
                experiment = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
                groups, models = column_groups(experiment), models_of(experiment)
                if method == "permutation":
                    options = SelectionOptions("permutation", alpha=alpha)
                    found, _ = importance_by_permutation(experiment, models, groups, options, SILENT)
                else:
                    options = SelectionOptions("null", percentile=100 * (1 - alpha), shuffles=20)
                    found, _ = importance_by_shuffled_target(experiment, models, groups, options, SILENT)
                alarms, trials = alarms + sum(j.keep for j in found), trials + len(found)
        return alarms, trials

    return measure


def cv_of_noise(repeats: int) -> tuple[int, int]:
    """Whether the interval of a CV lies above what noise is worth: early stopping chooses rounds by the scored rows."""
    alarms = 0
    for repeat in range(repeats):
        with hosted(_classes(np.random.default_rng([4, repeat]), 10), BY_ROW, "auc") as made:
            model = "[model]\nlearning_rate = 0.05\nnum_iterations = 400\nearly_stopping_round = 50\nnum_threads = 1\n"
            made.experiment(1, f'features = ["rows"]\n{model}')
            experiment = ready(made.workspace, made.open.access.competition, 1, context=RunContext(threads=1))
            folds = models_of(experiment).score.folds
            alarms += float(np.mean(folds)) - half_width(folds) > 0.5
    return alarms, repeats


def list_of_noise(repeats: int) -> tuple[int, int]:
    """Whether the score of the best ten of a hundred columns, on rows or folds kept for it, is above that of noise."""
    alarms = 0
    for repeat in range(repeats):
        with hosted(_classes(np.random.default_rng([5, repeat]), 100), BY_ROW, "auc") as made:
            made.experiment(1, f'features = ["rows"]\n{MODEL}')
            found: Any = made.open.features.select(1, SelectOptions("gain", top=10))
            _, after = found.held_out if hasattr(found, "held_out") else found.second
            alarms += after.mean > 0.5
    return alarms, repeats


def _classes(rng: np.random.Generator, n_columns: int) -> dict[str, Any]:
    columns = _plain(rng, n_columns)
    return {**columns, "y": rng.integers(0, 2, len(columns["y"]))}


# -------------------------------------------------------------------------------------------------------------- checks


def _users_apart(rng: np.random.Generator) -> dict[str, Any]:
    """120 users of 20 rows, each with a city and figures of its own; whoever is above a number is in test."""
    n_users, per_user = 120, 20
    user = np.repeat(np.arange(n_users), per_user)
    y = rng.normal(size=n_users)[user] + 0.3 * rng.normal(size=len(user))
    own = {f"x{i}": rng.normal(size=n_users)[user] for i in range(6)}
    city = np.array([f"city {c}" for c in rng.integers(0, 12, n_users)])[user]
    return {
        "id": np.arange(len(user)), "user": user, **own, "city": city, "amount": rng.normal(size=len(user)),
        "y": (y > 0).astype(np.int64),
    }  # fmt: skip


def _days_apart(rng: np.random.Generator) -> dict[str, Any]:
    """150 days of 16 rows, each with weather of its own; the last 50 are test."""
    days, per_day = 150, 16
    day = np.repeat(np.arange(days), per_day)
    own = {f"x{i}": rng.normal(size=days)[day] for i in range(6)}
    y = rng.normal(size=days)[day] + 0.3 * rng.normal(size=len(day))
    return {
        "id": np.arange(len(day)), "day": day, **own, "amount": rng.normal(size=len(day)), "y": (y > 0).astype(np.int64)
    }  # fmt: skip


def _rows_apart(rng: np.random.Generator) -> dict[str, Any]:
    n = 1500
    columns = {f"x{i}": rng.normal(size=n) for i in range(6)}
    return {"id": np.arange(n), **columns, "amount": rng.normal(size=n), "y": rng.integers(0, 2, n)}


SPLITS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "rows": (_rows_apart, BY_ROW, {"holdout": 0.3}),
    "groups": (_users_apart, BY_USER, {"holdout": None, "after": ("user", "80")}),
    "times": (_days_apart, BY_DAY, {"holdout": None, "after": ("day", "100")}),
}


@functools.cache
def _checked(split: str, repeat: int) -> CheckedData:
    """Return what a check looks at; of the files it needs no more."""
    data, cv, spec = SPLITS[split]
    with hosted(data(np.random.default_rng([3, repeat])), cv, "auc", **spec) as made:
        competition = made.open.access.competition
        blocks = Blocks(competition, load_features(competition), memory_limit=made.workspace.memory_limit)
        read = read_data(blocks)
        assert (read.row_units, read.test_is_later) is not None  # read while there are files
        return read


def told_apart(split: str) -> Callable[[int], tuple[int, int]]:
    """Whether adversarial validation tells test from train where both are alike."""

    def measure(repeats: int) -> tuple[int, int]:
        alarms = 0
        for repeat in range(repeats):
            data = _checked(split, repeat)
            test_is_later = data.test_is_later
            result = adversarial(data, test_is_later=test_is_later)
            alarms += bool(adversarial_findings(result, test_is_later=test_is_later, goes_forward=data.goes_forward))
        return alarms, repeats

    return measure


def drifting(split: str) -> Callable[[int], tuple[int, int]]:
    """How many columns are said to drift where none does."""

    def measure(repeats: int) -> tuple[int, int]:
        alarms = trials = 0
        for repeat in range(repeats):
            data = _checked(split, repeat)
            test_is_later = data.test_is_later
            no_nulls = dict.fromkeys(data.content, (0.0, 0.0))
            found = drift_findings(data, drift(data, no_nulls), test_is_later=test_is_later)
            columns = [c for c in data.content if c not in ("user", "day")]
            alarms += len({f.column for f in found} & set(columns))
            trials += len(columns)
        return alarms, trials

    return measure


def leaking(split: str) -> Callable[[int], tuple[int, int]]:
    """How many columns of noise are said to give the target away."""

    def measure(repeats: int) -> tuple[int, int]:
        alarms = trials = 0
        for repeat in range(repeats):
            data = _checked(split, repeat)
            outcome = outcome_of(data, "y")
            found, scores = leak_findings(data, outcome)  # type: ignore[arg-type]
            alarms, trials = alarms + len({f.column for f in found}), trials + len(scores)
        return alarms, trials

    return measure


NULLS: dict[str, Null] = {
    "star: best of 80": Null(0.05, best_of(80), 25, 300),
    "star: best of 20": Null(0.05, best_of(20), 60, 500),
    "star: best of 80, folds in time": Null(0.05, best_of(80, forward=True), 25, 300),
    "interval of one change": Null(0.05, single_interval(), 150, 4000),
    "interval of one, folds in time": Null(0.05, single_interval(forward=True), 200, 4000),
    "permutation: rows": Null(0.01, judged(lambda r: _plain(r, 40), BY_ROW, 0.01, ""), 3, 25),
    "permutation: groups": Null(0.01, judged(lambda r: _grouped(r, 40), BY_USER, 0.01, '"user"'), 2, 25),
    "permutation: days": Null(0.01, judged(lambda r: _in_time(r, 40, daily=True), BY_DAY, 0.01, '"day"'), 2, 25),
    "permutation: drifting": Null(0.01, judged(lambda r: _in_time(r, 40, daily=False), BY_DAY, 0.01, '"day"'), 2, 25),
    "null importance: rows": Null(0.25, judged(lambda r: _plain(r, 40), BY_ROW, 0.25, "", "null"), 2, 10),
    "null importance: groups": Null(0.25, judged(lambda r: _grouped(r, 40), BY_USER, 0.25, '"user"', "null"), 2, 10),
    "null importance: drifting": Null(
        0.25, judged(lambda r: _in_time(r, 40, daily=False), BY_DAY, 0.25, '"day"', "null"), 2, 10
    ),
    "CV of noise": Null(0.05, cv_of_noise, 10, 60),
    "list of noise, rows kept for it": Null(0.5, list_of_noise, 14, 60),
    **{f"adversarial: {s}": Null(0.01, told_apart(s), 3, 30) for s in SPLITS},
    **{f"drift: {s}": Null(0.01, drifting(s), 3, 30) for s in SPLITS},
    **{f"leak: {s}": Null(0.01, leaking(s), 3, 30) for s in SPLITS},
}
