"""LightGBM's objectives: which of them fit a task and a target's values, and custom ones of the competition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError, TrainingError, did_you_mean
from workbench.core.user_code import user_code
from workbench.features import code_key
from workbench.models.losses import loss_for

if TYPE_CHECKING:
    from workbench.data.competition import Competition
    from workbench.metrics import Metric
    from workbench.models.target import TargetColumn

__all__ = [
    "RANKING",
    "CustomObjective",
    "apply_link",
    "check_objective",
    "load_objective",
    "objective_for",
    "primary_objective",
]

Floats = npt.NDArray[np.float64]

# Primary name -> aliases: https://lightgbm.readthedocs.io/en/stable/Parameters.html#objective
_ALIASES = {
    "regression": ("regression_l2", "l2", "mean_squared_error", "mse", "l2_root", "root_mean_squared_error", "rmse"),
    "regression_l1": ("l1", "mean_absolute_error", "mae"),
    "mape": ("mean_absolute_percentage_error",),
    "multiclass": ("softmax",),
    "multiclassova": ("multiclass_ova", "ova", "ovr"),
    "cross_entropy": ("xentropy",),
    "cross_entropy_lambda": ("xentlambda",),
    "rank_xendcg": ("xendcg", "xe_ndcg", "xe_ndcg_mart", "xendcg_mart"),
}
_REGRESSION_OBJECTIVES = (
    *("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie"),
    *("cross_entropy", "cross_entropy_lambda"),
)
OBJECTIVES_BY_TASK = {
    "regression": _REGRESSION_OBJECTIVES,
    "binary": ("binary", "cross_entropy", "cross_entropy_lambda"),
    "multiclass": ("multiclass", "multiclassova"),
    "ranking": ("lambdarank", "rank_xendcg", *_REGRESSION_OBJECTIVES),
}
RANKING = ("lambdarank", "rank_xendcg")

# Objective -> the target's values that it allows, for messages, and a test of them. LightGBM checks some only after the
# data is loaded; with others it ends the process or trains nonsense.
_ALLOWED_VALUES: dict[str, tuple[str, Callable[[Floats], npt.NDArray[np.bool_]]]] = {
    "poisson": ("of at least 0", lambda y: y >= 0),
    "tweedie": ("of at least 0", lambda y: y >= 0),
    "gamma": ("above 0", lambda y: y > 0),
    "cross_entropy": ("from 0 to 1", lambda y: (y >= 0) & (y <= 1)),
    "cross_entropy_lambda": ("from 0 to 1", lambda y: (y >= 0) & (y <= 1)),
    "lambdarank": ("that are whole numbers of at least 0", lambda y: (y >= 0) & (y == np.rint(y))),
    "rank_xendcg": ("that are whole numbers of at least 0", lambda y: (y >= 0) & (y == np.rint(y))),
}
SIGNED_OBJECTIVES = ("regression", "regression_l1", "huber", "fair", "quantile")
"""Regression objectives that allow values of either sign, as those of a transformed target are."""


def objective_for(task: str, metric: Metric) -> dict[str, Any]:
    """Return the default objective for a task and a metric, as parameters."""
    if task in ("binary", "multiclass"):
        return {"objective": task}
    if task == "ranking":
        return {"objective": "lambdarank"}
    loss = loss_for(metric)
    if loss.kind == "quantile":
        return {"objective": "quantile", "alpha": loss.level}
    return {"objective": "regression" if loss.kind == "squared" else "regression_l1"}


def primary_objective(name: Any, where: str) -> str:
    """Return LightGBM's primary name of an objective.

    Raises
    ------
    ConfigError
        For an unknown objective.
    """
    primary_names = {alias: primary for primary, aliases in _ALIASES.items() for alias in aliases}
    objectives = {objective for names in OBJECTIVES_BY_TASK.values() for objective in names}
    objective = primary_names.get(name, name) if isinstance(name, str) else None
    if objective not in objectives:
        hint = did_you_mean(str(name), [*objectives, *primary_names], kind="objective")
        raise ConfigError(
            f"{where}: [model] objective = {name!r} is unknown",
            hint=f'{hint} (a function of your own: "objective.py:NAME")',
        )
    return str(objective)


def check_objective(objective: str, column: TargetColumn, transform: str, *, where: str) -> None:
    """Reject an objective that does not fit the task or the target's values.

    Raises
    ------
    ConfigError
        With the objectives that fit.
    """
    valid = [o for o in OBJECTIVES_BY_TASK[column.task] if _fits(o, column, transform)]
    if objective in valid:
        return
    hint = f"these fit: {', '.join(valid)}"
    if objective not in OBJECTIVES_BY_TASK[column.task]:
        raise ConfigError(
            f"{where}: [model] objective = {objective!r} does not fit the task {column.task!r} of target "
            f"{column.name!r}",
            hint=hint,
        )
    if not _fits_transform(objective, transform):
        requirement = _ALLOWED_VALUES[objective][0] if objective in _ALLOWED_VALUES else "above 0"
        raise ConfigError(
            f"{where}: [model] objective = {objective!r} needs values {requirement}, and "
            f"target_transform = {transform!r} gives others",
            hint=hint,
        )
    requirement, is_allowed = _ALLOWED_VALUES[objective]
    invalid = np.flatnonzero(~is_allowed(column.values))
    shown = ", ".join(f"{column.values[i]:g} in row {i:,}" for i in invalid[:3])
    raise ConfigError(
        f"{where}: [model] objective = {objective!r} needs values {requirement}; target {column.name!r} has "
        f"{len(invalid):,} others among {len(column.values):,} ({shown}{', …' if len(invalid) > 3 else ''})",
        hint=hint,
    )


def _fits_transform(objective: str, transform: str) -> bool:
    """Return whether the transform keeps non-negative values so, or the objective allows either sign."""
    return transform in ("none", "log1p") or objective in SIGNED_OBJECTIVES


def _fits(objective: str, column: TargetColumn, transform: str) -> bool:
    if not _fits_transform(objective, transform):
        return False
    values = np.log1p(column.values) if transform == "log1p" else column.values
    return objective not in _ALLOWED_VALUES or bool(_ALLOWED_VALUES[objective][1](values).all())


# ------------------------------------------------------------------------------------------------------------- custom


@dataclass(frozen=True)
class CustomObjective:
    """A function from the competition's folder as the objective of LightGBM.

    Attributes
    ----------
    reference : str
        "objective.py:focal".
    function : callable
        ``(predictions, labels, weights or None) -> (gradient, hessian)``, all (n,); for multiclass targets predictions
        and results are (n, n_classes). Predictions are raw scores, before the sigmoid (binary) or softmax (multiclass),
        and start at 0. The function has to apply the weights.
    code : str
        The key of its code and of everything that the code uses.
    """

    reference: str
    function: Callable[..., Any]
    code: str

    def __call__(self, predictions: Floats, data: Any) -> tuple[Floats, Floats]:
        """Return the gradient and hessian for LightGBM, checked.

        Raises
        ------
        TrainingError
            When the function raises, or returns arrays of another shape or values that are not finite.
        """
        hint = "it takes (predictions, labels, weights or None) and returns (gradient, hessian)"
        with user_code(f"objective {self.reference!r} failed", TrainingError, hint=hint, pass_through=()):
            pair = self.function(predictions, data.get_label(), data.get_weight())
            gradient, hessian = (np.asarray(values, np.float64) for values in pair)
        for name, values in (("gradient", gradient), ("hessian", hessian)):
            if values.shape != predictions.shape:
                raise TrainingError(
                    f"objective {self.reference!r}: expected the {name} as {predictions.shape}, got {values.shape}"
                )
            if not np.isfinite(values).all():
                raise TrainingError(
                    f"objective {self.reference!r}: {int((~np.isfinite(values)).sum()):,} of {values.size:,} values of "
                    f"the {name} are infinite or NaN"
                )
        return gradient, hessian


def load_objective(competition: Competition, reference: str) -> CustomObjective:
    """Load an objective from the competition's folder.

    Raises
    ------
    NotFoundError
        When the file or the function is missing.
    """
    function = competition.load_function(reference)
    file, _, name = reference.partition(":")
    return CustomObjective(reference, function, code_key(competition.folder / file, name))


def apply_link(raw: Floats, column: TargetColumn) -> Floats:
    """Convert the raw scores (n, width) of a model with a custom objective to probabilities, or numbers."""
    if column.task == "binary":
        return np.asarray(1 / (1 + np.exp(-np.clip(raw, -700, 700))))  # exp(710) overflows
    if column.task != "multiclass":
        return raw
    shifted = np.exp(raw - raw.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
