"""The metrics' names as platforms write them."""

from __future__ import annotations

import re

__all__ = ["find"]

# The first pattern that matches the words (lower case, only letters, digits, @ and single spaces) decides; so what is
# longer comes before what it contains. A name that ends in "@" takes the number behind the at sign.
_WORDS: tuple[tuple[str, str], ...] = (
    (r"mean reciprocal rank|\bmrr\b", "mrr@"),
    (r"gini", "gini"),
    (r"receiver operating|roc|\bauc\b|^auroc$", "auc"),
    (r"precision recall curve|auprc|^average precision", "average_precision"),
    (r"\bmap\b|\bmap ?@|mean average precision ?@", "map@"),
    (r"hit ?(rate|ratio)", "hit_rate@"),
    (r"micro (averaged )?recall ?@", "micro_recall@"),
    (r"recall ?@", "recall@"),
    (r"ndcg", "ndcg@"),
    (r"rmsle|root mean squared? log", "rmsle"),
    (r"rmspe|root mean squared? percentage", "rmspe"),
    (r"rmse\b|root mean squared? error|root mean squared? deviation", "rmse"),
    (r"smape|symmetric mean absolute percent", "smape"),
    (r"mape|mean absolute percent", "mape"),
    (r"wmae|weighted mean absolute error", "wmae"),
    (r"median absolute error", "medae"),
    (r"\bmae\b|mcmae|mean absolute error", "mae"),
    (r"\br2\b|^r score|r squared|coefficient of determination", "r2"),
    (r"multi ?class (log|loss)|mlogloss|categorical cross ?entropy", "mlogloss"),
    (r"log ?loss|logarithmic loss|cross ?entropy", "logloss"),
    (r"kappa", "qwk"),
    (r"matthews|\bmcc\b", "mcc"),
    (r"balanced accuracy", "balanced_accuracy"),
    (r"accuracy", "accuracy"),
    (r"macro (averaged )?f ?1|f ?1 macro|macro f score", "macro_f1"),
    (r"weighted f ?1|f ?1 weighted", "weighted_f1"),
    (r"micro (averaged )?f ?1|f ?1 micro", "micro_f1"),
    (r"mean f ?1|mean f score", "mean_f1"),
    (r"\bf ?1\b|f1score", "f1"),
)

# What one phrase means depends on the task. Kaggle's "Mean F1" is the mean over rows of each row's F1; where a row has
# one label that is 1 or 0, so the mean is the micro average.
_BY_TASK = {
    ("logloss", "multiclass"): "mlogloss",
    ("mlogloss", "binary"): "logloss",
    ("mean_f1", "binary"): "f1",
    ("f1", "multiclass"): "macro_f1",
}


def find(words: str, *, task: str | None = None) -> str | None:
    """Return the built-in name for a platform's own words, or None where none is meant for certain.

    Parameters
    ----------
    words : str
        "Area Under Receiver Operating Characteristic Curve", "MAP@{K}", "Roc Auc Score".
    task : str, optional
        Decides between the binary and the multiclass form.

    Returns
    -------
    str or None
        A name for `get`; "map@" and the like without a number where the words give none ("MAP@{K}").

    Examples
    --------
    >>> find("Root Mean Squared Logarithmic Error"), find("MAP@{K}"), find("MAP@3")
    ('rmsle', 'map@', 'map@3')
    >>> find("Log Loss", task="multiclass"), find("Custom Metric 7")
    ('mlogloss', None)
    """
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", words)
    plain = " ".join(re.sub(r"[^a-z0-9@]+", " ", spelled.lower()).split())
    for pattern, name in _WORDS:
        if re.search(pattern, plain):
            found = _BY_TASK.get((name, task or ""), "micro_f1" if name == "mean_f1" else name)
            number = re.search(r"@ ?(\d+)", plain)
            return found + number[1] if found.endswith("@") and number else found
    return None
