"""Predictions by a notebook: it is run in processes of its own; what it records, or the file that it leaves, counts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workbench.core.cache import atomic
from workbench.core.context import RunContext
from workbench.core.errors import DataError, NotebookError
from workbench.core.memory import machine_bytes
from workbench.data.competition import Competition
from workbench.data.ingest import read_text_file
from workbench.data.workspace import Workspace
from workbench.experiments.foreign import foreign_environment, foreign_world, not_closed
from workbench.experiments.kaggle_inputs import kaggle_inputs
from workbench.experiments.kinds import notebook_content
from workbench.experiments.notebook_spec import NotebookSpec, without_grid
from workbench.experiments.notebooks import (
    Executed,
    NotebookContext,
    Placed,
    checked_oof,
    checked_test,
    execute,
    left_file,
    placed,
    printed_cv,
    read_recorded,
    write_context,
)
from workbench.experiments.plan import Plan
from workbench.experiments.predictions import Predictions
from workbench.experiments.row_runner import RowRunner
from workbench.experiments.runner import RunRequest, UsedSource
from workbench.experiments.spec import ExperimentSpec
from workbench.features import code_files_of

__all__ = ["NotebookRunner"]

COPY = "notebook.ipynb"
MEMORY_SHARE = 0.95
"""Of the machine's memory, where no limit was set: beyond that the system ends whatever it likes."""

KAGGLE = "kaggle"
"""The folder in place of ``/kaggle``, for as long as a notebook runs."""


class NotebookRunner(RowRunner):
    """Runs notebooks: what one records, or the file that it leaves, counts."""

    def read(self, spec: ExperimentSpec) -> Sequence[ExperimentSpec]:
        """Return one experiment for each combination of ``[notebook.grid]``; without a grid the experiment itself."""
        if "grid" not in spec.model:
            return [spec]
        return [_combination(spec, table) for table in without_grid(spec)]

    def content(self, spec: ExperimentSpec, competition: Competition) -> dict[str, Any] | None:
        """Return the notebook's cells and parameters.

        Raises
        ------
        ConfigError
            When the notebook is missing, or the experiment says of it what it does not have.
        """
        return notebook_content(spec, competition)

    def plan(
        self,
        workspace: Workspace,
        competition: Competition,
        spec: ExperimentSpec,
        request: RunRequest,
        context: RunContext,
    ) -> Plan:
        """Read and check everything that decides the result; of a grid that of one combination."""
        combination = spec if request.model is None else _combination(spec, request.model)
        return super().plan(workspace, competition, combination, replace(request, model=None), context)

    def used_source(self, plan: Plan) -> UsedSource:
        """Return what the notebook imports, beside what features use."""
        notebook = _spec_of(plan).notebook
        imported = code_files_of(notebook.code, plan.competition.folder)
        return replace(
            super().used_source(plan),
            records=(notebook.path,),
            code=tuple(imported.files),
            packages=tuple(imported.packages),
        )

    def predict(self, workspace: Workspace, plan: Plan, folder: Path, context: RunContext) -> Predictions:
        """Run the notebook, and check what came of it.

        The executed copy, its page, its figures and its output are in the run's folder, also when it fails.

        Raises
        ------
        NotebookError
            When a cell fails or a limit ends it, or nothing came of it.
        DataError
            When the predictions or the submission are not of the competition's rows.
        """
        spec = _spec_of(plan)
        if spec.submission is not None:
            return _with_submission(workspace, plan, spec, spec.submission, folder, context)
        return _with_record(workspace, plan, spec, folder, context)


def _combination(spec: ExperimentSpec, table: dict[str, Any]) -> ExperimentSpec:
    """Return the experiment of one combination of a grid: a run of its own, whatever else the grid has."""
    of_grid = [f"{name} = {value}" for name, value in table.items() if name in spec.model.get("grid", {})]
    return replace(spec, model=table, changes=(*spec.changes, *of_grid))


def _spec_of(plan: Plan) -> NotebookSpec:
    if not isinstance(plan.model, NotebookSpec):
        raise TypeError(f"the plan of {plan.spec.path} is of [{plan.spec.kind}]")
    return plan.model


def _with_record(
    workspace: Workspace, plan: Plan, spec: NotebookSpec, folder: Path, context: RunContext
) -> Predictions:
    """Run a notebook that records its predictions."""
    recorded_at = folder / "parts" / "recorded.npz"
    recorded_at.unlink(missing_ok=True)
    place = Placed(spec.notebook, Path(plan.competition.folder))
    done = _executed(workspace, plan, spec, place, folder, context)
    recorded = read_recorded(recorded_at)
    if recorded is None:
        raise NotebookError(
            f"{spec.notebook.path} came to its end and recorded nothing",
            hint="its last cell: from workbench import nb; nb.record(oof=…, test=…)",
            peak_mb=done.peak_mb,
        )
    oof = checked_oof(recorded.oof, plan.competition, plan.target, plan.folds)
    return Predictions(
        oof=oof,
        test=checked_test(recorded.test, plan.competition, plan.target),
        seed_oof=oof[np.newaxis],
        **_about(plan, folder, done, {"metrics": recorded.metrics}),
    )


def _executed(
    workspace: Workspace,
    plan: Plan,
    spec: NotebookSpec,
    place: Placed,
    folder: Path,
    context: RunContext,
) -> Executed:
    notebook_context = NotebookContext.of(
        workspace,
        plan.competition.slug,
        features=plan.spec.features,
        drop=plan.spec.drop,
        categorical=plan.spec.categorical,
        seeds=plan.spec.seeds,
        record=str(folder / "parts" / "recorded.npz"),
    )
    memory = workspace.memory_limit or int(MEMORY_SHARE * machine_bytes())
    is_foreign = spec.submission is not None
    # A notebook that somebody else wrote gets no context: the ledger's address may have a password in it.
    variables: AbstractContextManager[dict[str, str]] = (
        nullcontext({}) if is_foreign else write_context(notebook_context)
    )
    with variables as environment:
        return execute(
            place.notebook,
            spec.parameters,
            copy=folder / COPY,
            folder=place.folder,
            environment=place.environment | environment,
            inherited=foreign_environment(network=spec.network, kernel=spec.notebook.kernel) if is_foreign else None,
            limits=replace(spec.limits, memory=memory),
            world=place.world,
            attached=place.attached,
            context=context,
        )


def _about(plan: Plan, folder: Path, done: Executed, more: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of every notebook that came to its end."""
    names = (COPY, "notebook.html", "notebook.txt")
    paths = [p for p in sorted(folder.rglob("*")) if p.name in names or p.parent.name == "notebook-figures"]
    details = {"seconds": round(done.seconds, 2), "peak_mb": round(done.peak_mb, 1), **more}
    return {
        "target": plan.target,
        "folds": plan.folds,
        "n_features": None,
        "files": tuple(p.relative_to(folder).as_posix() for p in paths),
        "details": {"notebook": details},
        "notes": done.notes,
        "peak_mb": round(done.peak_mb, 1),
    }


def _with_submission(
    workspace: Workspace, plan: Plan, spec: NotebookSpec, name: str, folder: Path, context: RunContext
) -> Predictions:
    """Run a notebook that was written for Kaggle, with Kaggle's folders around it."""
    kaggle = folder / KAGGLE
    shutil.rmtree(kaggle, ignore_errors=True)
    working = kaggle / "working"
    working.mkdir(parents=True)
    inputs, packed = kaggle_inputs(Path(plan.competition.folder), spec.notebook, context)
    like = foreign_world(spec.notebook, folder, network=spec.network)
    with placed(spec.notebook, inputs, working, like=like) as place:
        done = _executed(workspace, plan, spec, place, folder, context)
    written = left_file(working, name)
    if written is None:
        present = ", ".join(sorted(p.name for p in working.iterdir())[:5]) or "nothing"
        raise NotebookError(
            f"{spec.notebook.path} came to its end and left no {name}; there is {present}",
            hint=f'submission = "…" under [notebook] of {plan.spec.path} names its file',
            peak_mb=done.peak_mb,
        )
    _check_submission(written, plan)
    with atomic(folder / "submission.csv") as temporary:
        shutil.copyfile(written, temporary)
    shutil.rmtree(kaggle, ignore_errors=True)
    cv = printed_cv(folder / COPY, spec.cv)
    about = _about(plan, folder, done, {"cv": cv, "network": spec.network})
    if note := not_closed(network=spec.network):
        about["notes"] = (*about["notes"], note)
    if packed:
        named = ", ".join(packed[:5]) + (f" and {len(packed) - 5} more" if len(packed) > 5 else "")
        note = f"its text names only some of the competition's files: it did not see {named}"
        about["notes"] = (*about["notes"], note)
    if cv is None:
        note = 'no CV was found in what the notebook printed: tag its cell "cv", or say cv = "CV: ([0-9.]+)"'
        about["notes"] = (*about["notes"], note)
    empty = np.empty((0, plan.target.width))
    return Predictions(oof=None, test=empty, seed_oof=empty, cv=cv, **about)


def _check_submission(path: Path, plan: Plan) -> None:
    """Refuse a file that is not of the competition's form and rows; `wb submit` looks at its values.

    Raises
    ------
    DataError
        Says what is there and what was expected.
    """
    form, ids = plan.form, plan.competition.ids.test_frame()
    try:
        frame = read_text_file(path)
    except (pl.exceptions.PolarsError, DataError, OSError) as exc:
        raise DataError(f"{path.name} of the notebook is no CSV file: {str(exc).splitlines()[0]}") from exc
    if set(frame.columns) != set(form.columns):
        raise DataError(
            f"{path.name} of the notebook has the columns {frame.columns}; expected {list(form.columns)}",
            hint="the sample submission shows the form",
        )
    if frame.height != ids.height:
        raise DataError(
            f"{path.name} of the notebook has {frame.height:,} rows; expected one for each of the {ids.height:,} of "
            "test"
        )
