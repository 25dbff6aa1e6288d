"""Our metrics against scikit-learn's, on 10 million rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import sklearn.metrics as sk

from tests.bench.measured import median_seconds, row
from workbench import metrics


def cases(scale: float) -> list[dict[str, Any]]:
    n = int(10_000_000 * scale)
    rng = np.random.default_rng(0)
    truth = (rng.random(n) < 0.2).astype(np.int64)
    scores = np.clip(0.3 * truth + rng.normal(0.3, 0.2, n), 1e-6, 1 - 1e-6)
    values, predicted = rng.gamma(2, 3, n), rng.gamma(2, 3, n)
    grades, guessed = rng.integers(0, 5, n), rng.integers(0, 5, n)
    few = n // 5
    proba = rng.dirichlet(np.ones(5), few)
    pairs: dict[str, tuple[Any, Any, Any]] = {
        "auc": (sk.roc_auc_score, truth, scores),
        "average_precision": (sk.average_precision_score, truth, scores),
        "logloss": (sk.log_loss, truth, scores),
        "mlogloss": (lambda t, p: sk.log_loss(t, p, labels=range(5)), grades[:few], proba),
        "rmse": (sk.root_mean_squared_error, values, predicted),
        "rmsle": (sk.root_mean_squared_log_error, values, predicted),
        "mae": (sk.mean_absolute_error, values, predicted),
        "mape": (sk.mean_absolute_percentage_error, values, predicted),
        "medae": (sk.median_absolute_error, values, predicted),
        "r2": (sk.r2_score, values, predicted),
        "accuracy": (sk.accuracy_score, grades, guessed),
        "balanced_accuracy": (sk.balanced_accuracy_score, grades, guessed),
        "f1": (sk.f1_score, truth, scores > 0.5),
        "macro_f1": (lambda t, p: sk.f1_score(t, p, average="macro"), grades, guessed),
        "mcc": (sk.matthews_corrcoef, grades, guessed),
        "qwk": (lambda t, p: sk.cohen_kappa_score(t, p, weights="quadratic"), grades, guessed),
    }
    return [_compared(name, *pair) for name, pair in pairs.items()]


def _compared(name: str, theirs: Any, truth: Any, predicted: Any) -> dict[str, Any]:
    metric = metrics.get(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not np.isclose(metric(truth, predicted), theirs(truth, predicted), rtol=1e-8):
            raise SystemExit(f"{name} is not scikit-learn's")
        ours_s = median_seconds(lambda: metric(truth, predicted))
        theirs_s = median_seconds(lambda: theirs(truth, predicted))
    return row(f"{name}, {len(truth):,} rows", "time", "s", ours_s, {"scikit-learn": theirs_s})
