"""Recognises metrics in the words of a platform's page."""

from __future__ import annotations

import re

__all__ = ["find"]

# The first pattern that matches the words (lower case, only letters, digits, @ and single spaces) decides, so longer
# phrases come before those that they contain. A name that ends in "@" gets the number after the at sign.
_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"mean reciprocal rank|mrr", "mrr@"),
    (r"(p auc|pauc|partial (auc|area under (the )?(roc )?curve)) above \d+ ?(tpr)?", "pauc@"),
    (r"(normali[sz]ed )?gini( index| coefficient)?", "gini"),
    (r"precision recall (curve|auc)|auprc|pr auc|^average precision( score)?$", "average_precision"),
    (r"receiver operating( characteristics?)?|roc|auc|auroc", "auc"),
    (r"mean average precision ?(?=@)|map ?(?=@)|^map$", "map@"),
    (r"hit ?(rate|ratio)", "hit_rate@"),
    (r"micro (averaged )?recall ?(?=@)", "micro_recall@"),
    (r"recall ?(?=@)", "recall@"),
    (r"normali[sz]ed discounted cumulative gain|ndcg", "ndcg@"),
    (r"rmsle|root mean squared? log(arithmic)? error", "rmsle"),
    (r"rmspe|root mean squared? percentage error", "rmspe"),
    (r"mcrmse|rmse|root mean squared? (error|deviation)", "rmse"),
    (r"smape|symmetric mean absolute percent(age)? error", "smape"),
    (r"mape|mean absolute percent(age)? error", "mape"),
    (r"wmae|weighted mean absolute error", "wmae"),
    (r"median absolute error|medae", "medae"),
    (r"mae|mcmae|mean absolute error", "mae"),
    (r"r2|r score|r squared|coefficient of determination", "r2"),
    (r"balanced log(arithmic)? ?loss", "balanced_logloss"),
    (r"multi ?class (log(arithmic)? ?loss|loss|cross ?entropy)|mlogloss|categorical cross ?entropy", "mlogloss"),
    (r"log ?loss|logarithmic loss|(binary )?cross ?entropy", "logloss"),
    (r"quadratic(ally)? (weighted )?(cohen )?(s )?kappa|qwk", "qwk"),
    (r"linear(ly)? (weighted )?(cohen )?(s )?kappa", "linear_kappa"),
    (r"cohen (s )?kappa", "kappa"),
    (r"matthews( correlation)?( coefficient)?|mcc", "mcc"),
    (r"balanced accuracy", "balanced_accuracy"),
    (r"accuracy", "accuracy"),
    (r"probabilistic f ?1|pf1", "pf1"),
    (r"macro (averaged )?(f ?1|f ?score)|f ?1( score)? macro", "macro_f1"),
    (r"weighted f ?1|f ?1( score)? weighted", "weighted_f1"),
    (r"micro (averaged )?f ?1|f ?1( score)? micro", "micro_f1"),
    (r"mean f ?1|mean f score", "mean_f1"),
    (r"f ?1|f1score", "f1"),
)

_FILLERS = frozenset(
    re.findall(
        r"\w+",
        """a an the of on for in by and with metric score scores value evaluation mean average averaged column columns
        columnwise wise area under curve each all over between predicted observed actual target probability
        probabilities classification categorization binary multiclass class k""",
    )
)
"""Words that do not change the metric. Any other word makes it another one, as "stratified", "weighted", "adjusted"."""

# Phrases whose meaning depends on the task. Kaggle's "Mean F1" is the mean over rows of each row's F1. If a row has one
# label, its F1 is 1 or 0, and the mean is the micro average.
_BY_TASK = {
    ("logloss", "multiclass"): "mlogloss",
    ("mlogloss", "binary"): "logloss",
    ("mean_f1", "binary"): "f1",
    ("f1", "multiclass"): "macro_f1",
}

_CHANGED_BY_MEAN = ("qwk", "kappa", "linear_kappa", "gini")
"""A mean of these is another metric, while the mean of an error or an area is over the columns."""


def find(words: str, *, task: str | None = None) -> str | None:
    """Return the name of the built-in metric that a platform's words mean, or None if that is not certain.

    Parameters
    ----------
    words : str
        "Area Under Receiver Operating Characteristic Curve", "MAP@{K}", "Roc Auc Score".
    task : str, optional
        Decides between the binary and the multiclass form.

    Returns
    -------
    str or None
        A name for `get`; "map@" and the like without a number if the words have none ("MAP@{K}"). Also None if a word
        qualifies it: only the platform knows what "Stratified AUC" is.

    Examples
    --------
    >>> find("Root Mean Squared Logarithmic Error"), find("MAP@{K}"), find("MAP@3")
    ('rmsle', 'map@', 'map@3')
    >>> find("Log Loss", task="multiclass"), find("Custom Metric 7"), find("Weighted Log Loss")
    ('mlogloss', None, None)
    """
    separated = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", words)
    plain = " ".join(re.sub(r"[^a-z0-9@]+", " ", separated.lower()).split())
    for pattern, name in _PATTERNS:
        if re.search(rf"\b(?:{pattern})(?!\w)", plain):
            return _confirm(name, plain, task)
    return None


def _confirm(name: str, plain: str, task: str | None) -> str | None:
    """Return the metric's name with its number; None if another word makes it a different metric."""
    number = re.search(r"@ ?(\d+)", plain)
    other_words = re.sub(r"@ ?\d*", " ", plain)
    for pattern, other in _PATTERNS:
        if other == name:  # the words may have both the long and the short name: "Mean Absolute Error (MAE)"
            other_words = re.sub(rf"\b(?:{pattern.replace('(?=@)', '')})(?!\w)", " ", other_words)
    words = set(other_words.split())
    if words - _FILLERS or (name in _CHANGED_BY_MEAN and words & {"mean", "average", "averaged"}):
        return None
    metric_name = _BY_TASK.get((name, task or ""), "micro_f1" if name == "mean_f1" else name)
    if metric_name == "pauc@":
        percents = re.findall(r"above (\d+)", plain)
        return f"pauc@{int(percents[0]) / 100:g}"
    return metric_name + number[1] if metric_name.endswith("@") and number else metric_name
