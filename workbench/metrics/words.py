"""The metrics' names as platforms write them."""

from __future__ import annotations

import re

__all__ = ["find"]

# The first pattern that matches the words (lower case, only letters, digits, @ and single spaces) decides; so what is
# longer comes before what it contains. A name that ends in "@" takes the number behind the at sign.
_WORDS: tuple[tuple[str, str], ...] = (
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
"""Words that change nothing. Any other beside the metric's own says that it is another: "stratified", "weighted",
"adjusted", "log of the"."""

# What one phrase means depends on the task. Kaggle's "Mean F1" is the mean over rows of each row's F1; where a row has
# one label that is 1 or 0, so the mean is the micro average.
_BY_TASK = {
    ("logloss", "multiclass"): "mlogloss",
    ("mlogloss", "binary"): "logloss",
    ("mean_f1", "binary"): "f1",
    ("f1", "multiclass"): "macro_f1",
}

_MEAN_CHANGES = ("qwk", "kappa", "linear_kappa", "gini")
"""Their mean, over what is not said, is another number; that of an error or an area is over the columns."""


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
        A name for `get`; "map@" and the like without a number where the words give none ("MAP@{K}"). None, too, where
        a word qualifies it: of "Stratified AUC" nobody but the platform knows what it is.

    Examples
    --------
    >>> find("Root Mean Squared Logarithmic Error"), find("MAP@{K}"), find("MAP@3")
    ('rmsle', 'map@', 'map@3')
    >>> find("Log Loss", task="multiclass"), find("Custom Metric 7"), find("Weighted Log Loss")
    ('mlogloss', None, None)
    """
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", words)
    plain = " ".join(re.sub(r"[^a-z0-9@]+", " ", spelled.lower()).split())
    for pattern, name in _WORDS:
        if re.search(rf"\b(?:{pattern})(?!\w)", plain):
            return _named(name, plain, task)
    return None


def _named(name: str, plain: str, task: str | None) -> str | None:
    """Return the metric, with its number; None where a word beside it says that another is meant."""
    number = re.search(r"@ ?(\d+)", plain)
    beside = re.sub(r"@ ?\d*", " ", plain)
    for pattern, other in _WORDS:
        if other == name:  # also where the short name stands behind the long one: "Mean Absolute Error (MAE)"
            beside = re.sub(rf"\b(?:{pattern.replace('(?=@)', '')})(?!\w)", " ", beside)
    words = set(beside.split())
    if words - _FILLERS or (name in _MEAN_CHANGES and words & {"mean", "average", "averaged"}):
        return None
    metric_name = _BY_TASK.get((name, task or ""), "micro_f1" if name == "mean_f1" else name)
    if metric_name == "pauc@":
        percents = re.findall(r"above (\d+)", plain)
        return f"pauc@{int(percents[0]) / 100:g}"
    return metric_name + number[1] if metric_name.endswith("@") and number else metric_name
