"""All runs of an experiment: one as a rule, one for each combination of a grid."""

from __future__ import annotations

from dataclasses import replace

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import WorkbenchError
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.experiments.run import RunOutcome, run
from workbench.experiments.runner import USUAL, RunRequest, runner_of
from workbench.experiments.spec import read_spec
from workbench.experiments.tune import run_tuned

__all__ = ["run_all"]


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
    runs = runner_of(spec.kind).read(spec)
    if runs == [spec]:
        return [run_tuned(workspace, competition, number, request, context)]
    done: list[RunOutcome] = []
    failed: list[WorkbenchError] = []
    for one in runs:
        try:
            done.append(run(workspace, competition, number, replace(request, model=one.model), context))
        except WorkbenchError as exc:
            failed.append(exc)
    if failed:
        first = failed[0]
        first.hint = f"{len(done)} of the {len(runs)} runs of the grid are done; {first.hint}"
        raise first
    return done
