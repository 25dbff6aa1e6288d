"""Which table makes which kind of model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.core.errors import ConfigError
from workbench.core.threads import available_cores, threads_for
from workbench.data.competition import Competition
from workbench.experiments.notebook_spec import NotebookSpec, notebook_spec
from workbench.experiments.spec import LIGHTGBMS, ExperimentSpec
from workbench.models.asked import Asked
from workbench.models.learner import ModelSpec
from workbench.models.lightgbm_folds import LightGBMSpec
from workbench.models.objectives import RANKING, log_objective
from workbench.models.parameters import (
    check_target,
    check_together,
    lightgbm_for,
    transform_for,
)
from workbench.models.pseudo import check_pseudo
from workbench.models.target import Target

__all__ = ["model_spec", "notebook_content"]

STOPPING = ("model", "xgboost", "catboost")
"""Kinds whose folds share a number of rounds, or stop each by itself."""


def model_spec(
    spec: ExperimentSpec, competition: Competition, target: Target, *, threads: int | None = None
) -> ModelSpec | NotebookSpec:
    """Return what an experiment says of its model, checked by the rules of its library, or of its notebook.

    Parameters
    ----------
    threads : int, optional
        None for as many as the process may use.

    Raises
    ------
    ConfigError
        When the library does not know a parameter, or is not installed.
    """
    _refuse_rounds(spec)
    if spec.kind == "notebook":
        return _notebook(spec, competition)
    transform = transform_for(
        spec.target_transform,
        target,
        competition.metric,
        where=str(spec.path),
        log_objective=None if spec.kind == "python" else log_objective(spec.model),
    )
    if spec.kind == "model":
        return _lightgbm(spec, competition, target, threads=threads, transform=transform)
    _refuse_what_is_lightgbms(spec, target)
    asked = Asked(
        kind=spec.kind,
        table=spec.model,
        path=spec.path,
        folder=Path(competition.folder),
        target=target,
        metric=competition.metric,
        threads=threads or _usual_threads(competition),
        key_threads=threads or available_cores(),
        transform=transform,
    )
    if spec.kind == "xgboost":
        from workbench.models.xgboost_folds import xgboost_spec

        return replace(xgboost_spec(asked), per_fold=spec.per_fold)
    if spec.kind == "catboost":
        from workbench.models.catboost_folds import catboost_spec

        return replace(catboost_spec(asked), per_fold=spec.per_fold)
    if spec.kind == "sklearn":
        from workbench.models.sklearn_folds import sklearn_spec

        return sklearn_spec(asked)
    from workbench.models.function_folds import function_spec

    return function_spec(asked)


def notebook_content(spec: ExperimentSpec, competition: Competition) -> dict[str, Any]:
    """Return what decides the result of a notebook's run beside the data and the folds: its cells and parameters.

    Raises
    ------
    ConfigError
        When the notebook is missing, or the experiment says of it what it does not have.
    """
    return _notebook(spec, competition).content()


def _refuse_rounds(spec: ExperimentSpec) -> None:
    if spec.per_fold and spec.kind not in STOPPING:
        raise ConfigError(
            f'{spec.path}: rounds = "per fold" goes with models that stop early here '
            f"({', '.join(f'[{kind}]' for kind in STOPPING)}), and this is a [{spec.kind}] experiment",
            hint='take it out; where it is the base\'s, write rounds = "mean"',
        )


def _notebook(spec: ExperimentSpec, competition: Competition) -> NotebookSpec:
    given = {**_lightgbms(spec), "target_transform": spec.target_transform}
    for key, value in given.items():
        if value is not None:
            raise ConfigError(
                f"{spec.path}: {key} goes with models that are trained here, and this is a [notebook] experiment",
                hint="take it out: what the notebook records counts as it is",
            )
    folder = Path(competition.folder)
    return notebook_spec(spec, folder, folder.parent.parent / "notebooks")


def _lightgbm(
    spec: ExperimentSpec, competition: Competition, target: Target, *, threads: int | None, transform: str
) -> LightGBMSpec:
    where = str(spec.path)
    model = lightgbm_for(
        competition,
        target,
        spec.model,
        where=where,
        threads=threads,
        usual_threads=_usual_threads(competition),
        transform=transform,
        class_weight=spec.class_weight,
    )
    model = replace(model, pseudo=check_pseudo(spec.pseudo, target, where=where), per_fold=spec.per_fold)
    check_target(model, target, competition.metric)
    return check_together(model, target, competition.metric)


def _usual_threads(competition: Competition) -> int:
    """Return how many threads a training takes where nobody says; features are about as many as the columns are."""
    return threads_for(competition.n_train, len(competition.shared_columns))


def _refuse_what_is_lightgbms(spec: ExperimentSpec, target: Target) -> None:
    if any(column.task == "ranking" for column in target.columns):
        raise ConfigError(
            f"{spec.path}: task 'ranking' goes with [model] (LightGBM), and this is a [{spec.kind}] experiment",
            hint=f"under [model] these rank the rows of a query: {', '.join(RANKING)}",
        )
    for key, value in _lightgbms(spec).items():
        if value is not None:
            raise ConfigError(
                f"{spec.path}: {key} goes with [model] (LightGBM), and this is a [{spec.kind}] experiment",
                hint="take it out",
            )


def _lightgbms(spec: ExperimentSpec) -> dict[str, Any]:
    """Return what an experiment says that only LightGBM has; None for what it does not say."""
    said = {key: getattr(spec, key) for key in LIGHTGBMS}
    return {key: None if value is False else value for key, value in said.items()}
