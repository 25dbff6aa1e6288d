"""Which table makes which kind of model."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.competition import Competition
from workbench.experiment.spec import ExperimentSpec
from workbench.training import Asked, ModelSpec, Target, lightgbm_spec, transform_for

__all__ = ["model_spec"]


def model_spec(
    spec: ExperimentSpec, competition: Competition, target: Target, *, threads: int | None = None
) -> ModelSpec:
    """Return what an experiment says of its model, checked by the rules of its library.

    Parameters
    ----------
    threads : int, optional
        None for as many as the process may use.

    Raises
    ------
    ConfigError
        When the library does not know a parameter, or is not installed.
    """
    transform = transform_for(spec.target_transform, target, competition.metric, where=str(spec.path))
    if spec.kind == "model":
        return lightgbm_spec(spec.model, where=str(spec.path), threads=threads, transform=transform)
    asked = Asked(
        kind=spec.kind,
        table=spec.model,
        path=spec.path,
        folder=Path(competition.folder),
        target=target,
        metric=competition.metric,
        threads=threads or len(os.sched_getaffinity(0)),
        transform=transform,
    )
    if spec.kind == "xgboost":
        from workbench.training.xgboost_folds import xgboost_spec

        return xgboost_spec(asked)
    if spec.kind == "catboost":
        from workbench.training.catboost_folds import catboost_spec

        return catboost_spec(asked)
    if spec.kind == "sklearn":
        from workbench.training.sklearn_folds import sklearn_spec

        return sklearn_spec(asked)
    from workbench.training.function_folds import function_spec

    return function_spec(asked)
