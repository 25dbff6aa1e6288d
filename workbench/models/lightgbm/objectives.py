"""LightGBM's objectives: which fit a task and a target's values, and the competition's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError, TrainingError, near
from workbench.core.user_code import user_code
from workbench.features import code_key
from workbench.models.losses import loss_for

if TYPE_CHECKING:
    from workbench.data.competition import Competition
    from workbench.metrics import Metric
    from workbench.models.target import TargetColumn

__all__ = [
    "OBJECTIVE_KEYS",
    "RANKING",
    "OwnObjective",
    "apply_link",
    "check_objective",
    "log_objective",
    "objective_for",
    "own_objective",
    "primary_objective",
]

Floats = npt.NDArray[np.float64]

# https://lightgbm.readthedocs.io/en/stable/Parameters.html#objective
_OTHER_NAMES = {
    "regression": ("regression_l2", "l2", "mean_squared_error", "mse", "l2_root", "root_mean_squared_error", "rmse"),
    "regression_l1": ("l1", "mean_absolute_error", "mae"),
    "mape": ("mean_absolute_percentage_error",),
    "multiclass": ("softmax",),
    "multiclassova": ("multiclass_ova", "ova", "ovr"),
    "cross_entropy": ("xentropy",),
    "cross_entropy_lambda": ("xentlambda",),
    "rank_xendcg": ("xendcg", "xe_ndcg", "xe_ndcg_mart", "xendcg_mart"),
}
_NUMBERS = (
    *("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie"),
    *("cross_entropy", "cross_entropy_lambda"),
)
OBJECTIVES = {
    "regression": _NUMBERS,
    "binary": ("binary", "cross_entropy", "cross_entropy_lambda"),
    "multiclass": ("multiclass", "multiclassova"),
    "ranking": ("lambdarank", "rank_xendcg", *_NUMBERS),
}
RANKING = ("lambdarank", "rank_xendcg")

# What LightGBM asks of the target's values; it checks some of them only after the data is there, and ends the process
# or trains nonsense for others.
_ALLOWED: dict[str, tuple[str, Callable[[Floats], npt.NDArray[np.bool_]]]] = {
    "poisson": ("from 0 up", lambda y: y >= 0),
    "tweedie": ("from 0 up", lambda y: y >= 0),
    "gamma": ("above 0", lambda y: y > 0),
    "cross_entropy": ("from 0 to 1", lambda y: (y >= 0) & (y <= 1)),
    "cross_entropy_lambda": ("from 0 to 1", lambda y: (y >= 0) & (y <= 1)),
    "lambdarank": ("that are whole and from 0 up", lambda y: (y >= 0) & (y == np.rint(y))),
    "rank_xendcg": ("that are whole and from 0 up", lambda y: (y >= 0) & (y == np.rint(y))),
}
OF_TRANSFORMED = ("regression", "regression_l1", "huber", "fair", "quantile")
"""The objectives for a target whose transformed values may be of either sign."""


# Models of the logarithm of the target, and losses that take it of target and prediction.
_OF_LOG = {
    *("poisson", "gamma", "tweedie"),
    *("reg:squaredlogerror", "reg:gamma", "reg:tweedie", "count:poisson", "survival:cox", "survival:aft"),
    *("poisson", "tweedie", "loglinquantile", "msle", "cox", "survivalaft"),
}
OBJECTIVE_KEYS = ("objective", "app", "loss", "application", "objective_type", "loss_function")
"""Under which names LightGBM, XGBoost and CatBoost take the objective."""


def log_objective(table: Mapping[str, Any]) -> str | None:
    """Return the objective of a model's table where it takes the logarithm of the target itself; None for others.

    Parameters
    ----------
    table : mapping
        As the experiment has it, of any library. Of scikit-learn's estimators it is the one whose link is the
        logarithm.
    """
    estimator = str(table.get("estimator", "")).rpartition(".")[2]
    if estimator in ("PoissonRegressor", "GammaRegressor"):
        return estimator
    if estimator == "TweedieRegressor":
        link = table.get("link", "auto")
        return estimator if link == "log" or (link == "auto" and table.get("power", 0) > 0) else None
    objectives = (table[key] for key in OBJECTIVE_KEYS if isinstance(table.get(key), str))
    return next((name for name in objectives if _loss(name) in _OF_LOG), None)


def _loss(name: str) -> str:
    """Return a loss without its own parameters, which CatBoost writes behind it: "Tweedie:variance_power=1.5"."""
    lowered = name.lower()
    return lowered.partition(":")[0] if "=" in lowered else lowered


def objective_for(task: str, metric: Metric) -> dict[str, Any]:
    """Return the default objective of a task: the one that the metric rewards, where LightGBM has it."""
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
        For one that it does not have.
    """
    primary = {alias: first for first, aliases in _OTHER_NAMES.items() for alias in aliases}
    objectives = {n for names in OBJECTIVES.values() for n in names}
    objective = primary.get(name, name) if isinstance(name, str) else None
    if objective not in objectives:
        hint = near(str(name), [*objectives, *primary], kind="objective")
        raise ConfigError(
            f"{where}: [model] objective = {name!r} is unknown",
            hint=f'{hint} (a function of your own: "objective.py:NAME")',
        )
    return str(objective)


def check_objective(objective: str, column: TargetColumn, transform: str, *, where: str) -> None:
    """Refuse an objective that does not fit the task or the target's values.

    Raises
    ------
    ConfigError
        Says which fit.
    """
    fitting = [o for o in OBJECTIVES[column.task] if _fits(o, column, transform)]
    if objective in fitting:
        return
    hint = f"these fit: {', '.join(fitting)}"
    if objective not in OBJECTIVES[column.task]:
        raise ConfigError(
            f"{where}: [model] objective = {objective!r} does not fit the task {column.task!r} of target "
            f"{column.name!r}",
            hint=hint,
        )
    if not _keeps_sign(objective, transform):
        raise ConfigError(
            f"{where}: [model] objective = {objective!r} needs values {_ALLOWED.get(objective, ('above 0',))[0]}, and "
            f"target_transform = {transform!r} gives others",
            hint=hint,
        )
    requirement, allowed = _ALLOWED[objective]
    wrong = np.flatnonzero(~allowed(column.values))
    shown = ", ".join(f"{column.values[i]:g} in row {i:,}" for i in wrong[:3])
    raise ConfigError(
        f"{where}: [model] objective = {objective!r} needs values {requirement}; target {column.name!r} has "
        f"{len(wrong):,} others among {len(column.values):,} ({shown}{', …' if len(wrong) > 3 else ''})",
        hint=hint,
    )


def _keeps_sign(objective: str, transform: str) -> bool:
    return transform in ("none", "log1p") or objective in OF_TRANSFORMED


def _fits(objective: str, column: TargetColumn, transform: str) -> bool:
    if not _keeps_sign(objective, transform):
        return False
    values = np.log1p(column.values) if transform == "log1p" else column.values
    return objective not in _ALLOWED or bool(_ALLOWED[objective][1](values).all())


# ------------------------------------------------------------------------------------------------------------ one's own


@dataclass(frozen=True)
class OwnObjective:
    """A function of the competition's folder that LightGBM trains by.

    Attributes
    ----------
    reference : str
        "objective.py:focal".
    function : callable
        ``(predictions, labels, weights or None) -> (gradient, hessian)``, all (n,), for multiclass predictions and
        results (n, classes). Predictions are raw: what a sigmoid (binary) or softmax (multiclass) makes probabilities
        of, else the number itself. They start from 0. The weights are for the function to apply.
    code : str
        The key of its code and of all that it uses: a change of it is another experiment.
    """

    reference: str
    function: Callable[..., Any]
    code: str

    def __call__(self, predictions: Floats, data: Any) -> tuple[Floats, Floats]:
        """Call the function as LightGBM asks for gradients, and check what it gives.

        Raises
        ------
        TrainingError
            When it raises, or gives arrays of another shape or values that are not finite.
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


def own_objective(competition: Competition, reference: str) -> OwnObjective:
    """Load an objective of the competition's folder.

    Raises
    ------
    NotFoundError
        When the file or the function is missing.
    """
    function = competition.load_function(reference)
    file, _, name = reference.partition(":")
    return OwnObjective(reference, function, code_key(competition.folder / file, name))


def apply_link(raw: Floats, column: TargetColumn) -> Floats:
    """Turn the raw predictions (n, width) of a model with one's own objective into what the task predicts."""
    if column.task == "binary":
        return np.asarray(1 / (1 + np.exp(-np.clip(raw, -700, 700))))
    if column.task != "multiclass":
        return raw
    shifted = np.exp(raw - raw.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
