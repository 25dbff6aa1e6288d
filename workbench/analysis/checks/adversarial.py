"""Adversarial validation: how well a model tells test rows from train rows, and by which columns."""

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
from workbench.core.threads import boosting_threads
from workbench.metrics import get
from workbench.models.folds import Folds, stratified_folds, stratified_group_folds
from workbench.models.lightgbm.boosting import train_booster

__all__ = ["adversarial", "adversarial_findings", "model_columns"]

MAX_ROWS, FOLDS, ROUNDS = 20_000, 3, 40

SERIOUS_AUC, NOTABLE_AUC = 0.8, 0.65

NOISE_ERRORS = 4.0
"""An AUC may be this many standard errors above 0.5 by chance."""

MAX_CATEGORIES = 120
"""The most frequent categories of a column; the others are merged into one."""


def adversarial(data: CheckedData, *, test_is_later: bool) -> Adversarial | None:
    """Train LightGBM to tell train from test and predict out of fold, on at most 20,000 rows of each.

    Ids are excluded, the group column and, if test is later than train, dates and times, which separate the two
    trivially. Rows of a unit, such as a user that test does not have, or a time block, are validated together: a model
    trained on some of them would recognise the others, which is not a difference between train and test.

    Returns None without columns, or with too few rows or units.
    """
    units = data.row_units
    group_columns = [units.column] if units is not None and units.kind == "groups" else []
    excluded_columns = [
        c for c in data.columns if c in (*data.ids, *group_columns) or (test_is_later and tells_time(data, c))
    ]
    columns = [c for c in data.columns if c not in excluded_columns]
    if not columns or min(data.train.height, data.test.height) < 10 * FOLDS:
        return None
    rng = np.random.default_rng(SEED)
    sampled_rows = [_sample(frame.height, rng) for frame in (data.train, data.test)]
    frames = [frame.select(columns)[rows] for frame, rows in zip((data.train, data.test), sampled_rows, strict=True)]
    matrix, categorical_indices = model_columns(pl.concat(frames))
    is_test = np.repeat([0.0, 1.0], [frame.height for frame in frames])
    units = None if units is None else _sampled_units(units, sampled_rows)
    if units is not None and min(len(np.unique(codes)) for codes in (units.train, units.test)) < FOLDS:
        return None
    scores, gains = _out_of_fold(matrix, is_test, categorical_indices, _folds(is_test, units))
    auc = float(get("auc").compute(is_test, scores, None))
    gain_shares = gains / max(1e-12, gains.sum())
    order = np.argsort(-gain_shares, kind="stable")
    ranked_gain_shares = tuple((columns[i], float(gain_shares[i])) for i in order if gain_shares[i] > 0)
    auc_noise = NOISE_ERRORS * _standard_error(scores, [len(rows) for rows in sampled_rows], units)
    grouped_by = "" if units is None else units.column
    return Adversarial(
        auc, _roc(is_test, scores), ranked_gain_shares, tuple(excluded_columns), len(is_test), grouped_by, auc_noise
    )


def _sample(n_rows: int, rng: np.random.Generator) -> Ints:
    """Return the positions of at most `MAX_ROWS` of `n_rows` rows, ascending."""
    if n_rows <= MAX_ROWS:
        return np.arange(n_rows)
    return np.sort(rng.choice(n_rows, MAX_ROWS, replace=False))


def _sampled_units(units: RowUnits, sampled_rows: list[Ints]) -> RowUnits:
    """Restrict units to the sampled positions of train and of test."""
    return replace(units, train=units.train[sampled_rows[0]], test=units.test[sampled_rows[1]])


def _folds(label: Floats, units: RowUnits | None) -> Folds:
    """Return folds stratified by the label (0 train, 1 test) that do not split units."""
    if units is None:
        return stratified_folds(label, FOLDS, SEED)
    # The codes are the same in train and test: a unit with rows in both is one group.
    return stratified_group_folds(label, np.concatenate([units.train, units.test]), FOLDS, SEED)


def _standard_error(scores: Floats, sizes: list[int], units: RowUnits | None) -> float:
    """Return the standard error of the AUC under the null, for the effective numbers of independent rows.

    Parameters
    ----------
    sizes : list of int
        The numbers of train and of test rows in `scores`, train first.
    """
    n_train, n_test = (float(size) for size in sizes)
    if units is not None:
        codes = np.unique(scores, return_inverse=True)[1]
        n_train, n_test = units.effective(codes[: sizes[0]], codes[sizes[0] :])
    return float(np.sqrt((n_train + n_test + 1) / (12 * n_train * n_test)))


def model_columns(frame: pl.DataFrame) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Return a numeric matrix and the indices of its categorical columns, with rare categories merged."""
    numeric_columns, categorical_indices = [], []
    for i, column in enumerate(frame.get_columns()):
        if column.dtype in (pl.String, pl.Categorical, pl.Enum):
            numeric_columns.append(_frequency_ranks(as_codes(column)[0]))
            categorical_indices.append(i)
        else:
            numeric_columns.append(as_number(column))
    return np.column_stack(numeric_columns).astype(np.float32), categorical_indices


def _frequency_ranks(codes: Ints) -> Floats:
    """Return codes by falling frequency, with rare ones merged; NaN for missing values."""
    counts = np.bincount(codes[codes >= 0], minlength=1)
    ranks = np.empty(len(counts), np.int64)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.where(codes >= 0, np.minimum(ranks[codes], MAX_CATEGORIES), np.nan)


def _out_of_fold(
    matrix: npt.NDArray[np.float32], label: Floats, categorical_indices: list[int], folds: Folds
) -> tuple[Floats, Floats]:
    """Return the out-of-fold predictions, and the gain of each column summed over the folds."""
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
        "num_threads": boosting_threads(*matrix.shape),
    }
    scores, gains = np.zeros(len(label)), np.zeros(matrix.shape[1])
    dataset = lgb.Dataset(
        matrix, label, categorical_feature=categorical_indices, params=parameters, free_raw_data=False
    )
    dataset.construct()
    for fold in range(FOLDS):
        model = train_booster(parameters, dataset.subset(folds.train_rows(fold).tolist()), ROUNDS)
        valid_rows = folds.valid_rows(fold)
        scores[valid_rows] = model.predict(matrix[valid_rows])
        gains += model.feature_importance("gain")
    return scores, gains


def _roc(label: Floats, scores: Floats) -> tuple[tuple[float, float], ...]:
    """Return points (false positive rate, true positive rate) of the ROC curve."""
    order = np.argsort(-scores, kind="stable")
    true_positives = np.cumsum(label[order]) / max(1.0, label.sum())
    false_positives = np.cumsum(1 - label[order]) / max(1.0, (1 - label).sum())
    points = np.unique(np.linspace(0, len(label) - 1, 60).astype(np.int64))
    return ((0.0, 0.0), *((round(float(false_positives[i]), 4), round(float(true_positives[i]), 4)) for i in points))


def adversarial_findings(result: Adversarial | None, *, test_is_later: bool, goes_forward: bool) -> list[DataFinding]:
    """Return a finding if train and test can be told apart."""
    if result is None:
        return []
    if result.auc < NOTABLE_AUC or result.auc - 0.5 < result.noise:
        return []
    top_columns = ", ".join(f"{column} ({gain_share:.0%})" for column, gain_share in result.gains[:3])
    time_note = "; test lies after train in time, so some of this is to be expected" if test_is_later else ""
    todo = "validate on the train rows that look most like test, or leave these columns out"
    if test_is_later:
        todo = 'validate forward in time, as the split does ([cv] scheme = "time")'
        if goes_forward:
            todo = "the folds go forward in time, too; a column that only encodes the time does not generalise to test"
    severity = "serious" if result.auc >= SERIOUS_AUC and not test_is_later else "notable"
    on_new_rows = (
        f" on rows of a {result.grouped_by} that it has not seen" if result.grouped_by and not test_is_later else ""
    )
    text = f"a model tells train from test with AUC {result.auc:.3f}{on_new_rows}, by {top_columns}{time_note}"
    return [DataFinding(severity, "adversarial", "", text, todo, 2 * result.auc - 1, {"auc": result.auc})]
