"""Names of the built-in metrics in other libraries and in speech, for hints about unknown names."""

from __future__ import annotations

import re

from workbench.metrics.words import find

__all__ = ["SPELLINGS", "suggest"]

SPELLINGS: dict[str, str] = {
    "accuracy": "acc accuracyscore categoricalaccuracy binaryaccuracy exactmatch error errorrate merror binaryerror "
    "multierror zerooneloss misclassification misclassificationrate classificationerror",
    "balanced_accuracy": "bacc bac balancedacc balancedaccuracyscore balanced averagerecall uar",
    "auc": "rocauc rocaucscore aucroc auroc roc rocaucovr cstatistic",
    "average_precision": "ap prauc aucpr auprc averageprecisionscore precisionrecallauc",
    "balanced_logloss": "balancedlogloss balancedlogarithmicloss",
    "pf1": "probabilisticf1 probabilisticfscore",
    "pauc@R": "pauc partialauc partialareaundercurve pauctpr",
    "gini": "normalizedgini ginicoefficient normgini",
    "logloss": "binarylogloss bce binarycrossentropy crossentropy xentropy ce nll negativeloglikelihood logisticloss",
    "mlogloss": "multilogloss multiclasslogloss categoricalcrossentropy sparsecategoricalcrossentropy",
    "rmse": "mse l2 rms l2root meansquarederror rootmeansquareerror rootmeansquarederror meansquared squarederror "
    "quadraticloss",
    "mae": "l1 meanabsoluteerror meanabs absoluteerror",
    "wmae": "weightedmae weightedmeanabsoluteerror",
    "rmsle": "msle meansquaredlogerror rootmeansquaredlogerror rootmeansquaredlogarithmicerror",
    "mape": "meanabsolutepercentageerror meanabsolutepercenterror",
    "smape": "symmetricmape symmetricmeanabsolutepercentageerror",
    "medae": "medianabsoluteerror medianae medianabs",
    "r2": "rsquared r2score coefficientofdetermination",
    "rmspe": "rootmeansquaredpercentageerror",
    "f1": "f1score fscore fmeasure f binaryf1 f1binary",
    "macro_f1": "f1macro macrof1score macrof macrof1",
    "micro_f1": "f1micro microf1score microf meanf1 meanfscore",
    "weighted_f1": "f1weighted weightedf1score",
    "mcc": "matthews matthewscorrcoef matthewscorrelation matthewscorrelationcoefficient phi",
    "kappa": "cohenkappa cohenskappa cohenkappascore unweightedkappa",
    "linear_kappa": "linearkappa linearweightedkappa lwk",
    "qwk": "quadratickappa quadraticweightedkappa quadraticcohenkappa",
    "pinball@Q": "quantile quantileloss pinballloss meanpinballloss",
    "map@K": "apk mapk averageprecisionatk meanaverageprecision mapat",
    "recall@K": "recall recallk recallat recallatk",
    "micro_recall@K": "microrecall",
    "hit_rate@K": "hitrate hitratio hr hit hits hitsat hitratioat successrate",
    "mrr@K": "meanreciprocalrank reciprocalrank rr mrrk",
    "ndcg@K": "dcg ndcgscore ndcgk ndcgat",
}
"""Other names of each built-in metric, in lower case, letters and digits only."""

_NAME_BY_SPELLING = {spelling: name for name, spellings in SPELLINGS.items() for spelling in spellings.split()}
_NEGATION = re.compile(r"^(neg(?:ative)?)(?=[a-z])")
_SQUARED = ("mse", "meansquarederror", "l2", "squarederror", "meansquared", "msle", "meansquaredlogerror")
_INVERSE = ("error", "merror", "binaryerror", "multierror", "zerooneloss", "misclassification", "errorrate")


def suggest(name: str) -> str:
    """Return a hint at the built-in metric that an unknown name means; empty if it means none.

    Examples
    --------
    >>> suggest("acc"), suggest("neg_log_loss"), suggest("map3")
    ("did you mean 'accuracy'?", "did you mean 'logloss'?", "did you mean 'map@3'?")
    >>> suggest("mse")
    "did you mean 'rmse'? It is the square root of that, and ranks models the same"
    >>> suggest("something else")
    ''
    """
    plain = re.sub(r"[^a-z0-9]+", "", name.lower())
    for spelling in (plain, _NEGATION.sub("", plain)):
        if spelling in _NAME_BY_SPELLING:
            return _hint(_NAME_BY_SPELLING[spelling], spelling)
    word, number = re.fullmatch(r"(.*?)(\d*)", plain).groups()  # type: ignore[union-attr]
    name_at_k = _NAME_BY_SPELLING.get(word, f"{word}@K")
    if number and name_at_k in SPELLINGS and name_at_k.endswith("@K"):
        return f"did you mean {name_at_k.replace('K', number)!r}?"
    metric_name = find(re.sub(r"^neg(ative)?[_ -]", "", name.lower()))
    if metric_name is None:
        return ""
    return _hint(f"{metric_name}K" if metric_name.endswith("@") else metric_name, plain)


def _hint(name: str, spelling: str) -> str:
    explanation = ""
    if spelling in _SQUARED:
        explanation = " It is the square root of that, and ranks models the same"
    elif spelling in _INVERSE:
        explanation = " It is 1 minus that"
    elif name.endswith("@K"):
        explanation = f" With a number for K, as in {name.replace('K', '10')}"
    elif name.endswith("@R"):
        explanation = f" With the minimum true positive rate for R, as in {name.replace('R', '0.8')}"
    elif name.endswith("@Q"):
        explanation = f" With the quantile for Q, as in {name.replace('Q', '0.9')}"
    return f"did you mean {name!r}?{explanation}"
