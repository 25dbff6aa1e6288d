"""The kinds of model: for each table of an experiment that trains one, what makes it and what it can do.

A new library is a module with its spec and its learner, an entry here, and an entry in `tests/models/test_learners.py`.
No library is loaded before a model of its kind is made: `wb table` reads this, too.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.models.learner import ModelSpec
    from workbench.models.model_request import ModelRequest

__all__ = ["LIGHTGBM", "MODEL_KINDS", "ModelKind", "can", "tables_of"]


@dataclass(frozen=True)
class ModelKind:
    """A kind of model.

    Attributes
    ----------
    table : str
        Of the experiment's file.
    title : str
        What messages call the library; "" where the table's name says it.
    factory : str
        "module:function", which makes a `ModelSpec` of a `ModelRequest`.
    packages : tuple of str
        Whose versions a run's record has, where they are installed.
    options : tuple of str
        Keys of the experiment that not every kind has.
    stops_early : bool
        Whether it boosts rounds until the metric gets no better: one number of rounds for all folds, or each its own.
    ranks : bool
        Whether it trains on queries, task "ranking".
    is_served : bool
        Whether its models predict from their files, without the workspace.
    has_objective : bool
        Whether its table may name an objective that takes the logarithm of the target.
    is_float32 : bool
        Whether it takes numbers in 32 bits only: columns that they would merge are centered.
    infinite_is_missing : bool
        Whether the key says that infinite numbers are missing: they once were not.
    ignored : tuple of str
        Keys of its table that change no number.
    seed_advice : str
        How its models come to depend on their seed.
    draws : callable
        Says of a table whether they can: least squares has one solution.
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
    draws: Callable[[Mapping[str, Any]], bool] = lambda _table: True

    @property
    def label(self) -> str:
        """The table as messages name it."""
        return f"[{self.table}]" + (f" ({self.title})" if self.title else "")

    def spec(self, request: ModelRequest) -> ModelSpec:
        """Return what an experiment says of its model, checked by the rules of its library.

        Raises
        ------
        ConfigError
            When the library does not know a parameter, or is not installed.
        """
        module, _, name = self.factory.partition(":")
        spec: ModelSpec = getattr(importlib.import_module(module), name)(request)
        return spec


RANDOM = ("tree", "forest", "boost", "bagging", "mlp", "sgd", "perceptron", "passiveaggressive", "nystroem")
"""In the names of estimators whose fit depends on chance; that of linear models, neighbours and kernels does not."""


def _is_random(table: Mapping[str, Any]) -> bool:
    name = str(table.get("estimator", "")).rpartition(".")[2].lower()
    return any(part in name for part in RANDOM)


LIGHTGBM = ModelKind(
    "model",
    "workbench.models.lightgbm.parameters:lightgbm_model",
    ("lightgbm",),
    title="LightGBM",
    options=("class_weight", "refit", "pseudo", "tune"),
    stops_early=True,
    ranks=True,
    is_served=True,
    # LightGBM's names for the number of threads and what it logs.
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
            draws=lambda table: table.get("booster") != "gblinear",
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
            seed_advice="let it draw rows, columns or starting points",
            draws=_is_random,
        ),
        ModelKind(
            "python",
            "workbench.models.function_folds:function_spec",
            # A function may use anything.
            ("lightgbm", "xgboost", "xgboost-cpu", "catboost", "scikit-learn", "torch"),
            has_objective=False,
            seed_advice="let the function draw by the seed that it gets",
        ),
    )
}


def can(table: str, capability: str) -> bool:
    """Say whether experiments with this table have a capability, or an option; others than models have none.

    Examples
    --------
    >>> can("xgboost", "stops_early"), can("xgboost", "tune"), can("notebook", "stops_early")
    (True, False, False)
    """
    kind = MODEL_KINDS.get(table)
    return kind is not None and (capability in kind.options or bool(getattr(kind, capability, False)))


def tables_of(capability: str) -> str:
    """Return the tables of all kinds that have a capability, or an option, as messages name them.

    Examples
    --------
    >>> tables_of("tune")
    '[model] (LightGBM)'
    """
    return ", ".join(kind.label for table, kind in MODEL_KINDS.items() if can(table, capability))
