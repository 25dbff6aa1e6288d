"""The runner of notebooks, which are executed in separate processes and record predictions or write a submission."""

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
from workbench.core.wording import counted
from workbench.data.competition import Competition
from workbench.data.ingest import read_text_file
from workbench.data.workspace import Workspace
from workbench.experiments.foreign import foreign_environment, foreign_sandbox, isolation_warning
from workbench.experiments.kaggle_inputs import kaggle_inputs
from workbench.experiments.kinds import notebook_content
from workbench.experiments.notebook_spec import NotebookSpec, without_grid
from workbench.experiments.notebooks import (
    ExecutedNotebook,
    NotebookContext,
    PreparedNotebook,
    checked_oof,
    checked_test,
    execute,
    kaggle_folders,
    output_file,
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

COPY_NAME = "notebook.ipynb"
MEMORY_SHARE = 0.95
"""The share of the machine's memory that a notebook may use without a limit; beyond it, the system may kill any
process."""

KAGGLE_FOLDER = "kaggle"
"""The folder in place of ``/kaggle`` while a notebook runs."""


class NotebookRunner(RowRunner):
    """Runs notebooks and reads their recorded predictions or their submission file."""

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
            When the notebook is missing, or lacks parameters that the experiment sets.
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
        """Read and check all that decides the result, of one combination of a grid."""
        combination = spec if request.model is None else _combination(spec, request.model)
        return super().plan(workspace, competition, combination, replace(request, model=None), context)

    def used_source(self, plan: Plan) -> UsedSource:
        """Return the code that the notebook imports, and the code and files of features."""
        notebook = _spec_of(plan).notebook
        imported = code_files_of(notebook.code, plan.competition.folder)
        return replace(
            super().used_source(plan),
            documents=(notebook.path,),
            code_files=tuple(imported.files),
            packages=tuple(imported.packages),
        )

    def predict(self, workspace: Workspace, plan: Plan, folder: Path, context: RunContext) -> Predictions:
        """Run the notebook, and check its predictions or its submission.

        The executed copy, its page, figures and output are written to the run's folder, even if it fails.

        Raises
        ------
        NotebookError
            When a cell fails, a limit is reached, or there are no predictions.
        DataError
            When the predictions or the submission are not of the competition's rows.
        """
        spec = _spec_of(plan)
        if spec.submission is not None:
            return _predictions_from_submission(workspace, plan, spec, spec.submission, folder, context)
        return _predictions_from_record(workspace, plan, spec, folder, context)


def _combination(spec: ExperimentSpec, table: dict[str, Any]) -> ExperimentSpec:
    """Return the experiment of one combination of a grid."""
    grid_changes = [f"{name} = {value}" for name, value in table.items() if name in spec.model.get("grid", {})]
    return replace(spec, model=table, changes=(*spec.changes, *grid_changes))


def _spec_of(plan: Plan) -> NotebookSpec:
    if not isinstance(plan.model, NotebookSpec):
        raise TypeError(f"the plan of {plan.spec.path} is of [{plan.spec.kind}]")
    return plan.model


def _predictions_from_record(
    workspace: Workspace, plan: Plan, spec: NotebookSpec, folder: Path, context: RunContext
) -> Predictions:
    """Run a notebook that records its predictions."""
    recorded_path = folder / "parts" / "recorded.npz"
    recorded_path.unlink(missing_ok=True)
    prepared = PreparedNotebook(spec.notebook, Path(plan.competition.folder))
    executed = _execute(workspace, plan, spec, prepared, folder, context)
    recorded = read_recorded(recorded_path)
    if recorded is None:
        raise NotebookError(
            f"{spec.notebook.path} finished without recording predictions",
            hint="add a last cell: from workbench import nb; nb.record(oof=…, test=…)",
            peak_mb=executed.peak_mb,
        )
    oof = checked_oof(recorded.oof, plan.competition, plan.target, plan.folds)
    return Predictions(
        oof=oof,
        test=checked_test(recorded.test, plan.competition, plan.target),
        seed_oof=oof[np.newaxis],
        **_common_fields(plan, folder, executed, {"metrics": recorded.metrics}),
    )


def _execute(
    workspace: Workspace,
    plan: Plan,
    spec: NotebookSpec,
    prepared: PreparedNotebook,
    folder: Path,
    context: RunContext,
) -> ExecutedNotebook:
    notebook_context = NotebookContext.of(
        workspace,
        plan.competition.slug,
        features=plan.spec.features,
        drop=plan.spec.drop,
        categorical=plan.spec.categorical,
        seeds=plan.spec.seeds,
        record=str(folder / "parts" / "recorded.npz"),
    )
    limit_bytes = workspace.memory_limit or int(MEMORY_SHARE * machine_bytes())
    is_foreign = spec.submission is not None
    # Another person's notebook gets no context: the ledger's URL may contain a password.
    variables: AbstractContextManager[dict[str, str]] = (
        nullcontext({}) if is_foreign else write_context(notebook_context)
    )
    with variables as environment:
        return execute(
            prepared.notebook,
            spec.parameters,
            copy=folder / COPY_NAME,
            folder=prepared.folder,
            environment=prepared.environment | environment,
            inherited=foreign_environment(network=spec.network, kernel=spec.notebook.kernel) if is_foreign else None,
            limits=replace(spec.limits, memory_bytes=limit_bytes),
            sandbox=prepared.sandbox,
            attached_folders=prepared.attached_folders,
            context=context,
        )


def _common_fields(
    plan: Plan, folder: Path, executed: ExecutedNotebook, more_details: dict[str, Any]
) -> dict[str, Any]:
    """Return the fields of `Predictions` that are common to all notebooks, by name."""
    names = (COPY_NAME, "notebook.html", "notebook.txt")
    paths = [p for p in sorted(folder.rglob("*")) if p.name in names or p.parent.name == "notebook-figures"]
    details = {"seconds": round(executed.seconds, 2), "peak_mb": round(executed.peak_mb, 1), **more_details}
    return {
        "target": plan.target,
        "folds": plan.folds,
        "n_features": None,
        "files": tuple(p.relative_to(folder).as_posix() for p in paths),
        "details": {"notebook": details},
        "notes": executed.notes,
        "peak_mb": round(executed.peak_mb, 1),
    }


def _predictions_from_submission(
    workspace: Workspace, plan: Plan, spec: NotebookSpec, name: str, folder: Path, context: RunContext
) -> Predictions:
    """Run a notebook that was written for Kaggle, with Kaggle's folders."""
    kaggle = folder / KAGGLE_FOLDER
    shutil.rmtree(kaggle, ignore_errors=True)
    working = kaggle / "working"
    working.mkdir(parents=True)
    inputs, still_packed = kaggle_inputs(Path(plan.competition.folder), spec.notebook, context)
    sandbox = foreign_sandbox(spec.notebook, folder, network=spec.network)
    with kaggle_folders(spec.notebook, inputs, working, sandbox=sandbox) as prepared:
        executed = _execute(workspace, plan, spec, prepared, folder, context)
    submission_path = output_file(working, name)
    if submission_path is None:
        present = ", ".join(sorted(p.name for p in working.iterdir())[:5]) or "nothing"
        raise NotebookError(
            f"{spec.notebook.path} finished without writing {name}; it wrote {present}",
            hint=f'submission = "…" under [notebook] of {plan.spec.path} names the file',
            peak_mb=executed.peak_mb,
        )
    _check_submission(submission_path, plan)
    with atomic(folder / "submission.csv") as temporary:
        shutil.copyfile(submission_path, temporary)
    shutil.rmtree(kaggle, ignore_errors=True)
    cv = printed_cv(folder / COPY_NAME, spec.cv)
    fields = _common_fields(plan, folder, executed, {"cv": cv, "network": spec.network})
    if note := isolation_warning(network=spec.network):
        fields["notes"] = (*fields["notes"], note)
    if still_packed:
        names = ", ".join(still_packed[:5]) + (f" and {len(still_packed) - 5} more" if len(still_packed) > 5 else "")
        note = f"its code mentions only some of the competition's files; these were not provided: {names}"
        fields["notes"] = (*fields["notes"], note)
    if cv is None:
        note = 'the notebook printed no CV that was recognized: tag its cell "cv", or set cv = "CV: ([0-9.]+)"'
        fields["notes"] = (*fields["notes"], note)
    empty = np.empty((0, plan.target.width))
    return Predictions(oof=None, test=empty, seed_oof=empty, cv=cv, **fields)


def _check_submission(path: Path, plan: Plan) -> None:
    """Raise for a file with other columns or rows than a submission; `wb submit` checks its values.

    Raises
    ------
    DataError
        With the actual and the expected columns or rows.
    """
    form, test_ids = plan.submission_form, plan.competition.ids.test_frame()
    try:
        frame = read_text_file(path)
    except (pl.exceptions.PolarsError, DataError, OSError) as exc:
        raise DataError(f"{path.name} of the notebook is not a CSV file: {str(exc).splitlines()[0]}") from exc
    if set(frame.columns) != set(form.columns):
        raise DataError(
            f"{path.name} of the notebook has the columns {frame.columns}; expected {list(form.columns)}",
            hint="see the sample submission",
        )
    if frame.height != test_ids.height:
        raise DataError(
            f"{path.name} of the notebook has {counted(frame.height, 'row')}; expected one for each "
            f"of the {test_ids.height:,} test rows"
        )
