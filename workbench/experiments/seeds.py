"""What to do where several seeds train the same model, by the kind of model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["same_seeds_note"]

MODEL = "set bagging_fraction and bagging_freq, or feature_fraction"
XGBOOST = "set subsample or colsample_bytree below 1"
CATBOOST = 'set bootstrap_type = "Bernoulli" with subsample below 1, or random_strength or rsm'
SKLEARN = "let it draw rows, columns or starting points"
PYTHON = "let the function draw by the seed that it gets"

ONE = "one is enough, and saves the others' time: seeds = [{seed}]"


def same_seeds_note(kind: str, model: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """Return the note for a run whose seeds all gave the same score.

    Parameters
    ----------
    kind : str
        The experiment's table, such as "model" or "sklearn".
    model : mapping
        What it says.
    seeds : sequence of int
    """
    advice = _advice(kind, model)
    one = ONE.format(seed=seeds[0])
    return f"the seeds make no difference: {f'{advice}; or ' if advice else ''}{one}"


def _advice(kind: str, model: Mapping[str, Any]) -> str:
    """Return how such a model comes to depend on its seed; "" where it doesn't: least squares has one solution."""
    if kind == "model":
        return MODEL
    if kind == "xgboost":
        return "" if model.get("booster") == "gblinear" else XGBOOST
    if kind == "catboost":
        return CATBOOST
    if kind == "sklearn":
        return SKLEARN if _draws(str(model.get("estimator", ""))) else ""
    return PYTHON if kind == "python" else ""


DRAWN = ("tree", "forest", "boost", "bagging", "mlp", "sgd", "perceptron", "passiveaggressive", "nystroem")
"""In the names of estimators whose fit depends on chance; that of linear models, neighbours and kernels does not."""


def _draws(estimator: str) -> bool:
    name = estimator.rpartition(".")[2].lower()
    return any(part in name for part in DRAWN)
