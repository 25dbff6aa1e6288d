"""The workbench: the loop of a Kaggle competition, from Python.

The public names are those in `__all__`; each is loaded when it is first used, so that importing the package costs
nothing and inference needs only polars, numpy and lightgbm. One thing it does: threads of OpenMP wait asleep, where the
environment does not say how they wait (``GOMP_SPINCOUNT``, ``OMP_WAIT_POLICY``).

Examples
--------
>>> import workbench as wb                          # doctest: +SKIP
>>> flights = wb.competition("flights")             # doctest: +SKIP
>>> flights.run(3).score                            # doctest: +SKIP
0.74
>>> flights.runs.frame()                            # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from workbench.core.threads import set_openmp_spin_count

if TYPE_CHECKING:
    from workbench import features
    from workbench.api import nb
    from workbench.api.features import SelectOptions
    from workbench.api.library import (
        OpenCompetition,
        competition,
        doctor,
        fetch,
        init,
        rebuild_ledger,
        rehearse,
        workspace,
    )
    from workbench.api.studies import TuneOptions
    from workbench.core.errors import WorkbenchError
    from workbench.features import ROW, feature, target_mean

__all__ = [
    "ROW",
    "OpenCompetition",
    "SelectOptions",
    "TuneOptions",
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

_PUBLIC_MODULES = {"features": "workbench.features", "nb": "workbench.api.nb"}

_HOMES = {
    "SelectOptions": "workbench.api.features",
    "TuneOptions": "workbench.api.studies",
    "WorkbenchError": "workbench.core.errors",
    "ROW": "workbench.features",
    "feature": "workbench.features",
    "target_mean": "workbench.features",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    if name in _PUBLIC_MODULES:
        return importlib.import_module(_PUBLIC_MODULES[name])
    return getattr(importlib.import_module(_HOMES.get(name, "workbench.api.library")), name)


def __dir__() -> list[str]:
    return sorted(__all__)


# Here and not in the command alone: a model library that is loaded later reads it once, when it is loaded.
set_openmp_spin_count()
