"""The baseline that `wb fetch` writes where test is later than train, on tables with a time.

Each table is cut in time at three places, a length of test apart; test's target is kept aside. Ours validates windows
as long as test, and predicts test by a model of all rows. The others: the same experiment on blocks of equal numbers of
rows, whose folds' models predict test together; that with a model of all rows; LightGBM's defaults on all rows, texts
as codes and times as seconds. Per table the geometric mean over the cuts of the error on test (1 - AUC where that is the
metric), and of the factor by which the CV is off, in either direction.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import polars as pl

from tests.bench.baseline import Case, baseline_score, their_predictions, truth
from tests.bench.measured import row
from tests.bench.time_tables import TABLES, TimeTable
from workbench.metrics import Metric

CUTS = 3
Factors = dict[str, float]


def cases(scale: float) -> list[dict[str, Any]]:
    rows, errors_of_all, factors_of_all = [], [], []
    for table in TABLES[: max(1, round(len(TABLES) * min(1.0, scale)))]:
        measured = [_measure(table, cut) for cut in range(CUTS)]
        errors, factors = (_means(by_name) for by_name in zip(*measured, strict=True))
        rows += _rows(table.name, "1 - AUC" if table.metric == "AUC" else table.metric, errors, factors)
        errors_of_all.append({name: error / errors["ours"] for name, error in errors.items()})
        factors_of_all.append(factors)
    return rows + _rows("all tables", "error to ours", _means(errors_of_all), _means(factors_of_all))


def _rows(case: str, measure: str, errors: Factors, factors: Factors) -> list[dict[str, Any]]:
    both = ((measure, dict(errors)), ("CV off by", dict(factors)))
    return [row(case, name, "", values.pop("ours"), values) for name, values in both]


def _measure(table: TimeTable, cut: int) -> tuple[Factors, Factors]:
    """Return the error on test, and the factor by which the CV is off, by method."""
    train, test = table.split(cut)
    case = Case(table.name, pl.concat([train, test]), train.height, table.target, table.metric)
    metric, score, cv = baseline_score(case)
    _, old_score, _ = baseline_score(case, _in_blocks, _without_refit)
    _, block_score, block_cv = baseline_score(case, _in_blocks)
    plain_score = metric(truth(case, metric), dict(their_predictions(case, metric))["LightGBM"])
    scores = {"ours": score, "blocks, folds' models": old_score, "blocks, all rows": block_score}
    errors = {name: _error(value, metric) for name, value in (scores | {"LightGBM, all rows": plain_score}).items()}
    cvs = {"ours": cv, "blocks, all rows": block_cv}
    return errors, {name: _factor(_error(value, metric), errors[name]) for name, value in cvs.items()}


def _error(score: float, metric: Metric) -> float:
    return 1 - score if metric.greater_is_better else score


def _factor(one: float, other: float) -> float:
    return max(one, other) / min(one, other)


def _in_blocks(definition: str) -> str:
    """Return a definition with the folds of earlier versions: five blocks of equal numbers of rows."""
    return re.sub(r"(?m)^(horizon|season|gap) = .*\n", "", re.sub(r"(?m)^folds = .*", "folds = 5", definition))


def _without_refit(experiment: str) -> str:
    return re.sub(r"(?m)^refit = .*\n", "", experiment)


def _means(values: Iterable[Factors]) -> Factors:
    """Return the geometric mean by name."""
    all_values = list(values)
    return {name: math.exp(sum(math.log(v[name]) for v in all_values) / len(all_values)) for name in all_values[0]}
