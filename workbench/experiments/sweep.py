"""All runs of an experiment: one, or one for each combination of a grid."""

from __future__ import annotations

from dataclasses import replace

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import WorkbenchError
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.experiments.run import RunOutcome, run
from workbench.experiments.runner import DEFAULT_REQUEST, RunRequest, runner_of
from workbench.experiments.spec import read_spec
from workbench.experiments.tune import run_tuned

__all__ = ["run_all"]


def run_all(
    workspace: Workspace,
    competition: Competition,
    number: int,
    request: RunRequest = DEFAULT_REQUEST,
    context: RunContext = SILENT,
) -> list[RunOutcome]:
    """Run an experiment, after tuning it if it has ``[tune]``; run a notebook for each combination of its grid.

    A failed combination does not prevent the others from being run.

    Raises
    ------
    WorkbenchError
        See `run_tuned`; for a grid, the first failure after all combinations were run.
    """
    spec = read_spec(competition, number)
    runs = runner_of(spec.kind).read(spec)
    if runs == [spec]:
        return [run_tuned(workspace, competition, number, request, context)]
    outcomes: list[RunOutcome] = []
    errors: list[WorkbenchError] = []
    for single_run in runs:
        try:
            outcomes.append(run(workspace, competition, number, replace(request, model=single_run.model), context))
        except WorkbenchError as exc:
            errors.append(exc)
    if errors:
        first_error = errors[0]
        first_error.hint = f"{len(outcomes)} of the {len(runs)} runs of the grid are finished; {first_error.hint}"
        raise first_error
    return outcomes
