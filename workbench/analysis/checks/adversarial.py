"""Adversarial validation: whether a model can tell a test row from a train row, and by which columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.analysis.checks.data import SEED, CheckedData, Floats, Ints, as_codes, as_number
from workbench.analysis.checks.drift import tells_time
from workbench.analysis.checks.finding import Adversarial, Finding
from workbench.analysis.checks.together import Together
from workbench.core.threads import threads_for
from workbench.metrics import get
from workbench.models.boosting import boosted
from workbench.models.folds import Folds, stratified_folds, stratified_group_folds

__all__ = ["adversarial", "adversarial_findings", "model_columns"]

ROWS, FOLDS, ROUNDS = 20_000, 3, 40
SERIOUS, NOTABLE = 0.8, 0.65
NOISE = 4.0
"""So many standard errors above 0.5 chance may bring an AUC."""
TOP = 120
"""LightGBM's categories: the most frequent; the rest is one."""


def adversarial(data: CheckedData, *, by_time: bool) -> Adversarial | None:
    """Train LightGBM, out of fold, to tell train from test, on at most 20,000 rows of each; None where it can't be.

    Ids are left out, and where test lies after train in time, dates and times, which would tell everything. Rows that
    come together (those of a user, where test's users are others; those of a time) are validated together: a model that
    has seen some rows of a unit would know the others by it, and tell nothing of how test differs. The column of the
    groups is left out, too.
    """
    units = data.together
    groups = [units.column] if units is not None and units.kind == "groups" else []
    left_out = [c for c in data.columns if c in (*data.ids, *groups) or (by_time and tells_time(data, c))]
    columns = [c for c in data.columns if c not in left_out]
    if not columns or min(data.train.height, data.test.height) < 10 * FOLDS:
        return None
    rng = np.random.default_rng(SEED)
    taken = [_some(f.height, rng) for f in (data.train, data.test)]
    frames = [f.select(columns)[rows] for f, rows in zip((data.train, data.test), taken, strict=True)]
    matrix, categorical = model_columns(pl.concat(frames))
    is_test = np.repeat([0.0, 1.0], [f.height for f in frames])
    units = None if units is None else _of_rows(units, taken)
    if units is not None and min(len(np.unique(side)) for side in (units.train, units.test)) < FOLDS:
        return None
    scores, gains = _out_of_fold(matrix, is_test, categorical, _folds(is_test, units))
    auc = float(get("auc").compute(is_test, scores, None))
    share = gains / max(1e-12, gains.sum())
    order = np.argsort(-share, kind="stable")
    ranked = tuple((columns[i], float(share[i])) for i in order if share[i] > 0)
    noise = NOISE * _standard_error(scores, [len(rows) for rows in taken], units)
    grouped_by = "" if units is None else units.column
    return Adversarial(auc, _roc(is_test, scores), ranked, tuple(left_out), len(is_test), grouped_by, noise)


def _some(n_rows: int, rng: np.random.Generator) -> Ints:
    if n_rows <= ROWS:
        return np.arange(n_rows)
    return np.sort(rng.choice(n_rows, ROWS, replace=False))


def _of_rows(units: Together, taken: list[Ints]) -> Together:
    return replace(units, train=units.train[taken[0]], test=units.test[taken[1]])


def _folds(label: Floats, units: Together | None) -> Folds:
    if units is None:
        return stratified_folds(label, FOLDS, SEED)
    # A unit that lies on both sides is one: its rows are alike.
    return stratified_group_folds(label, np.concatenate([units.train, units.test]), FOLDS, SEED)


def _standard_error(scores: Floats, sizes: list[int], units: Together | None) -> float:
    """Return that of the AUC where train and test are alike, with rows as independent as the scores that they got."""
    n, m = (float(size) for size in sizes)
    if units is not None:
        codes = np.unique(scores, return_inverse=True)[1]
        n, m = units.effective(codes[: sizes[0]], codes[sizes[0] :])
    return float(np.sqrt((n + m + 1) / (12 * n * m)))


def model_columns(frame: pl.DataFrame) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Return a matrix of numbers, and which of its columns are codes of categories; the rest of the rare is one."""
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
    place = np.empty(len(counts), np.int64)
    place[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.where(codes >= 0, np.minimum(place[codes], TOP), np.nan)


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
    whole = lgb.Dataset(matrix, label, categorical_feature=categorical, params=parameters, free_raw_data=False)
    whole.construct()
    for fold in range(FOLDS):
        model = boosted(parameters, whole.subset(folds.train_rows(fold).tolist()), ROUNDS)
        valid = folds.valid_rows(fold)
        scores[valid] = model.predict(matrix[valid])
        gains += model.feature_importance("gain")
    return scores, gains


def _roc(label: Floats, scores: Floats) -> tuple[tuple[float, float], ...]:
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(label[order]) / max(1.0, label.sum())
    false = np.cumsum(1 - label[order]) / max(1.0, (1 - label).sum())
    at = np.unique(np.linspace(0, len(label) - 1, 60).astype(np.int64))
    return ((0.0, 0.0), *((round(float(false[i]), 4), round(float(hits[i]), 4)) for i in at))


def adversarial_findings(result: Adversarial | None, *, by_time: bool, goes_forward: bool) -> list[Finding]:
    """Return the finding where train and test can be told apart."""
    if result is None:
        return []
    if result.auc < NOTABLE or result.auc - 0.5 < result.noise:
        return []
    top = ", ".join(f"{c} ({g:.0%})" for c, g in result.gains[:3])
    why = "; test lies after train in time, so some of this is to be expected" if by_time else ""
    todo = "validate on the train rows that look most like test, or leave these columns out"
    if by_time:
        todo = 'validate forward in time, as the split goes ([cv] scheme = "time")'
        if goes_forward:
            todo = "the folds go forward in time too; a column that only tells when it was has nothing to teach test"
    severity = "serious" if result.auc >= SERIOUS and not by_time else "notable"
    new = f" on rows of a {result.grouped_by} that it has not seen" if result.grouped_by and not by_time else ""
    text = f"a model tells train from test with AUC {result.auc:.3f}{new}, by {top}{why}"
    return [Finding(severity, "adversarial", "", text, todo, 2 * result.auc - 1, {"auc": result.auc})]
