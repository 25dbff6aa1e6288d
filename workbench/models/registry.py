"""The kinds of model: the table of an experiment that selects each one, its factory and its capabilities.

A new library is a module with its spec and its learner, an entry here, and one in `tests/models/test_learners.py`. This
module imports no library, as `wb table` reads it, too.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.models.learner import ModelSpec
    from workbench.models.model_request import ModelRequest

__all__ = ["LIGHTGBM", "MODEL_KINDS", "ModelKind", "has_capability", "tables_of"]


@dataclass(frozen=True)
class ModelKind:
    """A kind of model.

    Attributes
    ----------
    table : str
        The table in the experiment's file that selects this kind.
    factory : str
        "module:function", which makes a `ModelSpec` from a `ModelRequest`.
    packages : tuple of str
        Packages whose versions are recorded in a run, if they are installed.
    title : str
        The library's name in messages; "" where the table has the same name.
    options : tuple of str
        Keys of the experiment that only some kinds support.
    stops_early : bool
        Whether it has boosting rounds and early stopping.
    ranks : bool
        Whether it supports the task "ranking", with queries.
    is_served : bool
        Whether its models can predict from their files, without the workspace.
    has_objective : bool
        Whether its table may have an objective that takes the logarithm of the target.
    is_float32 : bool
        Whether it takes numbers in 32 bits only: columns with distinct values that would become equal are centered.
    infinite_is_missing : bool
        Whether the run's key has to state that infinite numbers are missing, which they were not in earlier versions.
    ignored : tuple of str
        Keys of its table that do not affect results.
    seed_advice : str
        How to make its models depend on the seed.
    is_random : callable
        Whether models with this table can depend on the seed: least squares, for example, has a single solution.
    """

    table: str
    factory: str
    packages: tuple[str, ...]
    title: str = ""
    options: tuple[str, ...] = ()
    stops_early: bool = False
    ranks: bool = False
    is_served: bool = False
    has_objective: bool = True
    is_float32: bool = False
    infinite_is_missing: bool = False
    ignored: tuple[str, ...] = ()
    seed_advice: str = ""
    is_random: Callable[[Mapping[str, Any]], bool] = lambda _table: True

    @property
    def label(self) -> str:
        """The table's name in messages."""
        return f"[{self.table}]" + (f" ({self.title})" if self.title else "")

    def spec(self, request: ModelRequest) -> ModelSpec:
        """Check an experiment's table by the rules of the library, and return the settings of its model.

        Raises
        ------
        ConfigError
            For unknown parameters, or when the library is not installed.
        """
        module, _, name = self.factory.partition(":")
        spec: ModelSpec = getattr(importlib.import_module(module), name)(request)
        return spec


RANDOM_ESTIMATORS = ("tree", "forest", "boost", "bagging", "mlp", "sgd", "perceptron", "passiveaggressive", "nystroem")
"""Parts of the names of estimators whose fit is random; that of linear models, neighbours and kernels is not."""


def _is_random_estimator(table: Mapping[str, Any]) -> bool:
    name = str(table.get("estimator", "")).rpartition(".")[2].lower()
    return any(part in name for part in RANDOM_ESTIMATORS)


LIGHTGBM = ModelKind(
    "model",
    "workbench.models.lightgbm.parameters:lightgbm_model",
    ("lightgbm",),
    title="LightGBM",
    options=("class_weight", "refit", "pseudo", "tune"),
    stops_early=True,
    ranks=True,
    is_served=True,
    # LightGBM's names for the number of threads and the verbosity of its log.
    ignored=("num_threads", "num_thread", "nthread", "nthreads", "n_jobs", "verbosity", "verbose"),
    seed_advice="set bagging_fraction and bagging_freq, or feature_fraction",
)

MODEL_KINDS = {
    kind.table: kind
    for kind in (
        LIGHTGBM,
        ModelKind(
            "xgboost",
            "workbench.models.xgboost_folds:xgboost_spec",
            ("xgboost", "xgboost-cpu"),
            stops_early=True,
            is_float32=True,
            seed_advice="set subsample or colsample_bytree below 1",
            is_random=lambda table: table.get("booster") != "gblinear",
        ),
        ModelKind(
            "catboost",
            "workbench.models.catboost_folds:catboost_spec",
            ("catboost",),
            stops_early=True,
            is_float32=True,
            infinite_is_missing=True,
            seed_advice='set bootstrap_type = "Bernoulli" with subsample below 1, or random_strength or rsm',
        ),
        ModelKind(
            "sklearn",
            "workbench.models.sklearn_folds:sklearn_spec",
            ("scikit-learn",),
            seed_advice="set parameters that sample rows, columns or starting points",
            is_random=_is_random_estimator,
        ),
        ModelKind(
            "python",
            "workbench.models.function_folds:function_spec",
            # The packages that a function is likely to use.
            ("lightgbm", "xgboost", "xgboost-cpu", "catboost", "scikit-learn", "torch"),
            has_objective=False,
            seed_advice="use the `seed` argument in the function",
        ),
    )
}


def has_capability(table: str, capability: str) -> bool:
    """Return whether experiments with this table have a capability or an option; False for tables of no model.

    Examples
    --------
    >>> has_capability("xgboost", "stops_early"), has_capability("xgboost", "tune")
    (True, False)
    >>> has_capability("notebook", "stops_early")
    False
    """
    kind = MODEL_KINDS.get(table)
    return kind is not None and (capability in kind.options or bool(getattr(kind, capability, False)))


def tables_of(capability: str) -> str:
    """Return the tables of all kinds that have a capability or an option, for messages.

    Examples
    --------
    >>> tables_of("tune")
    '[model] (LightGBM)'
    """
    return ", ".join(kind.label for table, kind in MODEL_KINDS.items() if has_capability(table, capability))
