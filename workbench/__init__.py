"""The workbench: the loop of a Kaggle competition, from Python.

>>> import workbench as wb                          # doctest: +SKIP
>>> flights = wb.competition("flights")             # doctest: +SKIP
>>> flights.run(3).score                            # doctest: +SKIP
0.74

The public names are those in `__all__`; each is loaded when it is first used, so that importing the package costs
nothing and inference needs only polars, numpy and lightgbm. One thing it does: threads of OpenMP wait asleep, where the
environment does not say how they wait (``GOMP_SPINCOUNT``, ``OMP_WAIT_POLICY``).
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from workbench.threads import let_others_compute

if TYPE_CHECKING:
    from workbench import features, nb
    from workbench.errors import WorkbenchError
    from workbench.features import ROW, feature, target_mean
    from workbench.library import (
        OpenCompetition,
        competition,
        doctor,
        fetch,
        init,
        rebuild_ledger,
        rehearse,
        workspace,
    )

__all__ = [
    "ROW",
    "OpenCompetition",
    "WorkbenchError",
    "competition",
    "doctor",
    "feature",
    "features",
    "fetch",
    "init",
    "nb",
    "rebuild_ledger",
    "rehearse",
    "target_mean",
    "workspace",
]

_PUBLIC_MODULES = ("features", "nb")

_HOMES = {
    "WorkbenchError": "workbench.errors",
    "ROW": "workbench.features",
    "feature": "workbench.features",
    "target_mean": "workbench.features",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    if name in _PUBLIC_MODULES:
        return importlib.import_module(f"workbench.{name}")
    return getattr(importlib.import_module(_HOMES.get(name, "workbench.library")), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """The package, whose public names stay what they are when a submodule of the same name is imported.

    The import system sets each submodule as an attribute of its package: without this, ``wb.competition`` would be the
    function until something imports `workbench.competition`, and the module ever after. The submodule is in
    `sys.modules`, and ``from workbench.competition import ...`` finds it there.
    """

    def __setattr__(self, name: str, value: object) -> None:
        is_submodule = isinstance(value, ModuleType) and value.__name__ == f"{__name__}.{name}"
        if is_submodule and name in __all__ and name not in _PUBLIC_MODULES:
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

# Here and not in the command alone: a model library that is loaded later reads it once, when it is loaded.
let_others_compute()
