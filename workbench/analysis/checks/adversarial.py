"""Adversarial validation: whether a model can tell a test row from a train row, and by which columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.analysis.checks.data import SEED, CheckedData, Floats, Ints, as_codes, as_number
from workbench.analysis.checks.drift import tells_time
from workbench.analysis.checks.finding import Adversarial, DataFinding
from workbench.analysis.checks.row_units import RowUnits
from workbench.core.threads import threads_for
from workbench.metrics import get
from workbench.models.folds import Folds, stratified_folds, stratified_group_folds
from workbench.models.lightgbm.boosting import train_booster

__all__ = ["adversarial", "adversarial_findings", "model_columns"]

ROWS, FOLDS, ROUNDS = 20_000, 3, 40
SERIOUS, NOTABLE = 0.8, 0.65
NOISE = 4.0
"""How many standard errors above 0.5 an AUC may be by chance."""
TOP = 120
"""The most frequent categories; the rare ones are merged into one."""


def adversarial(data: CheckedData, *, by_time: bool) -> Adversarial | None:
    """Train LightGBM out of fold to tell train from test, on at most 20,000 rows of each; None where it can't be done.

    Ids are excluded and, where test is later than train, dates and times, which would decide everything. Rows of a unit
    (of a user, where test has other users; of a time) are validated together: a model trained on some rows of a unit
    would recognise the others, which says nothing about how test differs. The group column is excluded, too.
    """
    units = data.row_units
    groups = [units.column] if units is not None and units.kind == "groups" else []
    excluded = [c for c in data.columns if c in (*data.ids, *groups) or (by_time and tells_time(data, c))]
    columns = [c for c in data.columns if c not in excluded]
    if not columns or min(data.train.height, data.test.height) < 10 * FOLDS:
        return None
    rng = np.random.default_rng(SEED)
    sampled_rows = [_some(f.height, rng) for f in (data.train, data.test)]
    frames = [f.select(columns)[rows] for f, rows in zip((data.train, data.test), sampled_rows, strict=True)]
    matrix, categorical = model_columns(pl.concat(frames))
    is_test = np.repeat([0.0, 1.0], [f.height for f in frames])
    units = None if units is None else _of_rows(units, sampled_rows)
    if units is not None and min(len(np.unique(side)) for side in (units.train, units.test)) < FOLDS:
        return None
    scores, gains = _out_of_fold(matrix, is_test, categorical, _folds(is_test, units))
    auc = float(get("auc").compute(is_test, scores, None))
    share = gains / max(1e-12, gains.sum())
    order = np.argsort(-share, kind="stable")
    ranked = tuple((columns[i], float(share[i])) for i in order if share[i] > 0)
    noise = NOISE * _standard_error(scores, [len(rows) for rows in sampled_rows], units)
    grouped_by = "" if units is None else units.column
    return Adversarial(auc, _roc(is_test, scores), ranked, tuple(excluded), len(is_test), grouped_by, noise)


def _some(n_rows: int, rng: np.random.Generator) -> Ints:
    if n_rows <= ROWS:
        return np.arange(n_rows)
    return np.sort(rng.choice(n_rows, ROWS, replace=False))


def _of_rows(units: RowUnits, sampled_rows: list[Ints]) -> RowUnits:
    return replace(units, train=units.train[sampled_rows[0]], test=units.test[sampled_rows[1]])


def _folds(label: Floats, units: RowUnits | None) -> Folds:
    if units is None:
        return stratified_folds(label, FOLDS, SEED)
    # A unit with rows in train and in test is one unit: its rows are alike.
    return stratified_group_folds(label, np.concatenate([units.train, units.test]), FOLDS, SEED)


def _standard_error(scores: Floats, sizes: list[int], units: RowUnits | None) -> float:
    """Return the standard error of the AUC under the null, with rows as independent as their scores."""
    n, m = (float(size) for size in sizes)
    if units is not None:
        codes = np.unique(scores, return_inverse=True)[1]
        n, m = units.effective(codes[: sizes[0]], codes[sizes[0] :])
    return float(np.sqrt((n + m + 1) / (12 * n * m)))


def model_columns(frame: pl.DataFrame) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Return a numeric matrix and the indices of its categorical columns; rare categories are merged."""
    columns, categorical = [], []
    for i, column in enumerate(frame.get_columns()):
        if column.dtype in (pl.String, pl.Categorical, pl.Enum):
            columns.append(_by_frequency(as_codes(column)[0]))
            categorical.append(i)
        else:
            columns.append(as_number(column))
    return np.column_stack(columns).astype(np.float32), categorical


def _by_frequency(codes: Ints) -> Floats:
    counts = np.bincount(codes[codes >= 0], minlength=1)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.where(codes >= 0, np.minimum(rank[codes], TOP), np.nan)


def _out_of_fold(
    matrix: npt.NDArray[np.float32], label: Floats, categorical: list[int], folds: Folds
) -> tuple[Floats, Floats]:
    import lightgbm as lgb

    parameters: dict[str, Any] = {
        "objective": "binary",
        "num_leaves": 15,
        "learning_rate": 0.15,
        "min_data_in_leaf": max(5, min(100, len(label) // 200)),
        "max_bin": 127,
        "seed": SEED,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
        "num_threads": threads_for(*matrix.shape),
    }
    scores, gains = np.zeros(len(label)), np.zeros(matrix.shape[1])
    dataset = lgb.Dataset(matrix, label, categorical_feature=categorical, params=parameters, free_raw_data=False)
    dataset.construct()
    for fold in range(FOLDS):
        model = train_booster(parameters, dataset.subset(folds.train_rows(fold).tolist()), ROUNDS)
        valid = folds.valid_rows(fold)
        scores[valid] = model.predict(matrix[valid])
        gains += model.feature_importance("gain")
    return scores, gains


def _roc(label: Floats, scores: Floats) -> tuple[tuple[float, float], ...]:
    order = np.argsort(-scores, kind="stable")
    true_positives = np.cumsum(label[order]) / max(1.0, label.sum())
    false_positives = np.cumsum(1 - label[order]) / max(1.0, (1 - label).sum())
    shown = np.unique(np.linspace(0, len(label) - 1, 60).astype(np.int64))
    return ((0.0, 0.0), *((round(float(false_positives[i]), 4), round(float(true_positives[i]), 4)) for i in shown))


def adversarial_findings(result: Adversarial | None, *, by_time: bool, goes_forward: bool) -> list[DataFinding]:
    """Return the finding where train and test can be told apart."""
    if result is None:
        return []
    if result.auc < NOTABLE or result.auc - 0.5 < result.noise:
        return []
    top = ", ".join(f"{c} ({g:.0%})" for c, g in result.gains[:3])
    why = "; test lies after train in time, so some of this is to be expected" if by_time else ""
    todo = "validate on the train rows that look most like test, or leave these columns out"
    if by_time:
        todo = 'validate forward in time, as the split does ([cv] scheme = "time")'
        if goes_forward:
            todo = "the folds go forward in time, too; a column that only encodes the time does not generalise to test"
    severity = "serious" if result.auc >= SERIOUS and not by_time else "notable"
    on_new_rows = f" on rows of a {result.grouped_by} that it has not seen" if result.grouped_by and not by_time else ""
    text = f"a model tells train from test with AUC {result.auc:.3f}{on_new_rows}, by {top}{why}"
    return [DataFinding(severity, "adversarial", "", text, todo, 2 * result.auc - 1, {"auc": result.auc})]
