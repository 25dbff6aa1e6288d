"""The model or notebook of an experiment, from its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.core.errors import ConfigError
from workbench.data.competition import Competition
from workbench.experiments.capabilities import capabilities_of
from workbench.experiments.notebook_spec import NotebookSpec, notebook_spec
from workbench.experiments.spec import OPTIONS, ExperimentSpec
from workbench.models.learner import ModelSpec
from workbench.models.lightgbm.objectives import RANKING
from workbench.models.log_objectives import log_objective
from workbench.models.model_request import ModelRequest
from workbench.models.registry import MODEL_KINDS, ModelKind, has_capability, tables_of
from workbench.models.target import Target
from workbench.models.transforms import transform_for

__all__ = ["model_spec", "notebook_content"]


def model_spec(
    spec: ExperimentSpec, competition: Competition, target: Target, *, threads: int | None = None
) -> ModelSpec | NotebookSpec:
    """Return the model of an experiment, checked by the rules of its library, or its notebook.

    Parameters
    ----------
    spec : ExperimentSpec
    competition : Competition
    target : Target
    threads : int, optional
        None for all available cores.

    Raises
    ------
    ConfigError
        When a parameter is unknown to the library, or the library is not installed.
    """
    _refuse_rounds(spec)
    if capabilities_of(spec.kind).has_notebook:
        return _notebook(spec, competition)
    transform = transform_for(
        spec.target_transform,
        target,
        competition.metric,
        where=str(spec.path),
        log_objective=log_objective(spec.model) if has_capability(spec.kind, "has_objective") else None,
    )
    kind = MODEL_KINDS[spec.kind]
    _refuse_unsupported(kind, spec, target)
    request = ModelRequest(
        kind=spec.kind,
        table=spec.model,
        path=spec.path,
        competition=competition,
        target=target,
        threads=threads,
        transform=transform,
        rounds_per_fold=spec.rounds_per_fold,
        class_weight=spec.class_weight,
        pseudo=spec.pseudo,
    )
    return kind.spec(request)


def notebook_content(spec: ExperimentSpec, competition: Competition) -> dict[str, Any]:
    """Return the content of a notebook that decides the result of its run: its cells and parameters.

    Raises
    ------
    ConfigError
        When the notebook is missing, or lacks parameters that the experiment sets.
    """
    return _notebook(spec, competition).content()


def _refuse_rounds(spec: ExperimentSpec) -> None:
    if spec.rounds_per_fold and not has_capability(spec.kind, "stops_early"):
        raise ConfigError(
            f'{spec.path}: rounds = "per fold" is for models that stop early here '
            f"({tables_of('stops_early')}), but this is a [{spec.kind}] experiment",
            hint='remove it; if it is the base\'s, write rounds = "mean"',
        )


def _notebook(spec: ExperimentSpec, competition: Competition) -> NotebookSpec:
    options = {**_options(spec), "target_transform": spec.target_transform}
    for key, value in options.items():
        if value is not None:
            raise ConfigError(
                f"{spec.path}: {key} is for models that the workbench trains, but this is a [notebook] experiment",
                hint="remove it: the recorded predictions are used unchanged",
            )
    folder = Path(competition.folder)
    return notebook_spec(spec, folder, folder.parent.parent / "notebooks")


def _refuse_unsupported(kind: ModelKind, spec: ExperimentSpec, target: Target) -> None:
    if not kind.ranks and any(column.task == "ranking" for column in target.columns):
        raise ConfigError(
            f"{spec.path}: task 'ranking' goes with {tables_of('ranks')}, and this is a [{spec.kind}] experiment",
            hint=f"under [model] these rank the rows of a query: {', '.join(RANKING)}",
        )
    for key, value in _options(spec).items():
        if value is not None and key not in kind.options:
            raise ConfigError(
                f"{spec.path}: {key} goes with {tables_of(key)}, and this is a [{spec.kind}] experiment",
                hint="remove it",
            )


def _options(spec: ExperimentSpec) -> dict[str, Any]:
    """Return what an experiment says that not every kind has; None for what it does not say."""
    values = {key: getattr(spec, key) for key in OPTIONS}
    return {key: None if value is False else value for key, value in values.items()}
