"""All runs of an experiment: one as a rule, one for each combination of a grid."""

from __future__ import annotations

from dataclasses import replace

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import WorkbenchError
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.experiments.notebook_spec import without_grid
from workbench.experiments.run import USUAL, RunOutcome, RunRequest, run
from workbench.experiments.spec import ExperimentSpec, read_spec
from workbench.experiments.tune import run_tuned

__all__ = ["run_all", "specs_of_runs"]


def specs_of_runs(spec: ExperimentSpec) -> list[ExperimentSpec]:
    """Return the experiment itself, or one for each combination of its grid: each is a run."""
    if not _has_grid(spec):
        return [spec]
    return [replace(spec, model=table) for table in without_grid(spec)]


def _has_grid(spec: ExperimentSpec) -> bool:
    return spec.kind == "notebook" and "grid" in spec.model


def run_all(
    workspace: Workspace,
    competition: Competition,
    number: int,
    request: RunRequest = USUAL,
    context: RunContext = SILENT,
) -> list[RunOutcome]:
    """Run an experiment, tuned where it asks for it; a notebook with ``[notebook.grid]`` once for each combination.

    One that fails does not keep the others from being run.

    Raises
    ------
    WorkbenchError
        What `run_tuned` raises; of a grid the first failure, after the last run.
    """
    spec = read_spec(competition, number)
    if not _has_grid(spec):
        return [run_tuned(workspace, competition, number, request, context)]
    tables = without_grid(spec)
    done: list[RunOutcome] = []
    failed: list[WorkbenchError] = []
    for table in tables:
        try:
            done.append(run(workspace, competition, number, replace(request, model=table), context))
        except WorkbenchError as exc:
            failed.append(exc)
    if failed:
        first = failed[0]
        first.hint = f"{len(done)} of the {len(tables)} runs of the grid are done; {first.hint}"
        raise first
    return done
