"""The current run of an experiment: the one that belongs to its present definition.

An experiment may have finished runs of several definitions, since its file, the competition's folds or the data changed
in between. The newest is not always the right one: undoing a change makes an older run current again, and `wb run`
then finds it unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from workbench.core.errors import NotFoundError
from workbench.data.workspace import Workspace, experiment_files, experiment_numbers
from workbench.experiments.definition_differences import PER_FOLD, PresentDefinition, stopped_per_fold
from workbench.ledger import RunRecord

__all__ = ["CurrentRun", "current_run", "current_runs", "never_run", "outdated_text", "with_marks"]


def with_marks(workspace: Workspace, runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs with `optimistic` set for runs of earlier versions, whose records lack it."""
    return [
        replace(r, optimistic=PER_FOLD) if r.optimistic is None and stopped_per_fold(workspace, r) else r for r in runs
    ]


@dataclass(frozen=True)
class CurrentRun:
    """The current run of an experiment.

    Attributes
    ----------
    record : RunRecord
    outdated : tuple of str
        The parts of the definition that have changed since: "experiment" (its file, or one that it is based on),
        "competition" (target, metric, task, id, weight), "folds", "data" (train and test), and "rounds" where its
        folds, in an earlier version, stopped each at its own round. Empty where the run belongs to the present
        definition. Code only decides between runs that are equal in all of these. Tables that only features read are
        not compared; `wb run` compares them.
    """

    record: RunRecord
    outdated: tuple[str, ...] = ()


def outdated_text(outdated: Sequence[str]) -> str:
    """Return the changed parts of a definition as a phrase: "other folds, edited since".

    Examples
    --------
    >>> outdated_text(("folds",))
    'other folds'
    """
    phrases = {
        "folds": "other folds",
        "data": "other data",
        "competition": "other target or metric",
        "experiment": "edited since",
        "rounds": PER_FOLD,
    }
    return ", ".join(text for name, text in phrases.items() if name in outdated)


def current_run(workspace: Workspace, slug: str, exp: int, runs: Iterable[RunRecord]) -> CurrentRun:
    """Return the current run of one experiment; see `current_runs`.

    Raises
    ------
    NotFoundError
        When it was never run, or only in another workspace of the same ledger.
    """
    runs_by_exp = _runs_by_experiment(workspace, runs)
    if exp not in runs_by_exp:
        raise never_run(workspace, slug, exp, runs_by_exp)
    if all(r.workspace not in ("", workspace.id) and not _has_folder(workspace, r) for r in runs_by_exp[exp]):
        raise NotFoundError(
            f"experiment {exp} of {slug!r} was never run in {workspace.root}: its runs in this ledger are of another "
            "workspace",
            hint=f"`wb run {exp}` runs it here",
        )
    newest_runs = {e: exp_runs[-1] for e, exp_runs in runs_by_exp.items()}
    return _choose_current(PresentDefinition(workspace, slug, newest_runs), runs_by_exp[exp])


def never_run(workspace: Workspace, slug: str, exp: int, ran: Iterable[int]) -> NotFoundError:
    """Return the error for an experiment that has no run, or does not exist.

    Parameters
    ----------
    workspace : Workspace
    slug : str
    exp : int
    ran : iterable of int
        The experiments that have runs.
    """
    folder = workspace.competitions / slug
    if experiment_files(folder, exp)[0].exists():
        return NotFoundError(f"experiment {exp} of {slug!r} was never run", hint=f"`wb run {exp}` runs it")
    nearby = sorted({*ran, *experiment_numbers(folder)}, key=lambda n: (abs(n - exp), n))[:5]
    nearest = f"the nearest are {', '.join(map(str, sorted(nearby)))}; `wb table` lists them" if nearby else ""
    return NotFoundError(
        f"experiment {exp} of {slug!r} was never run: there is no experiment {exp}",
        hint=nearest or "`wb new` writes the first one",
    )


def current_runs(workspace: Workspace, slug: str, runs: Sequence[RunRecord]) -> dict[int, CurrentRun]:
    """Return the current run of each experiment.

    It is chosen among the finished runs on all rows: the newest that belongs to the present definition, else the one
    that differs in the fewest parts. Without such runs it is the newest finished one, else the newest. Runs of other
    workspaces that share the ledger count only for experiments without a run in this one: the same number may be
    another experiment there.

    Parameters
    ----------
    workspace : Workspace
    slug : str
    runs : sequence of RunRecord
        Of one competition, oldest first.
    """
    runs_by_exp = _runs_by_experiment(workspace, runs)
    present = PresentDefinition(workspace, slug, {exp: exp_runs[-1] for exp, exp_runs in runs_by_exp.items()})
    return {exp: _choose_current(present, exp_runs) for exp, exp_runs in runs_by_exp.items()}


def _runs_by_experiment(workspace: Workspace, runs: Iterable[RunRecord]) -> dict[int, list[RunRecord]]:
    """Return the runs of each experiment: this workspace's, or where it has none, those of other workspaces."""
    runs_here: dict[int, list[RunRecord]] = {}
    runs_elsewhere: dict[int, list[RunRecord]] = {}
    workspace_id: str | None = None
    for run in runs:
        if run.workspace and workspace_id is None:
            workspace_id = workspace.id
        # Runs without a workspace, and those whose folder was moved here, belong to this one if it has the folder.
        is_here = (run.workspace and run.workspace == workspace_id) or _has_folder(workspace, run)
        (runs_here if is_here else runs_elsewhere).setdefault(run.exp, []).append(run)
    return runs_elsewhere | runs_here


def _has_folder(workspace: Workspace, run: RunRecord) -> bool:
    return (workspace.root / run.folder / "run.json").exists()


def _choose_current(present: PresentDefinition, runs: Sequence[RunRecord]) -> CurrentRun:
    complete = [r for r in runs if r.status == "finished" and r.sample is None]
    if not complete:
        finished = [r for r in runs if r.status == "finished"]
        return CurrentRun((finished or runs)[-1])
    # Runs with equal keys have the same definition; the newest of each is enough.
    newest_by_key = {(r.key, r.greater_is_better): r for r in complete}
    candidates = sorted(newest_by_key.values(), key=lambda r: r.created_at, reverse=True)
    newest = candidates[0]
    if not present.may_differ(newest) and (len(candidates) == 1 or not present.code_may_differ(newest)):
        return CurrentRun(newest, present.differs_in_rounds(newest))
    compared: list[CurrentRun] = []
    for run in candidates:
        current = CurrentRun(run, present.differences(run))
        if not current.outdated and (len(candidates) == 1 or present.has_code_of(run)):
            return current
        compared.append(current)
    min_differences = min(len(c.outdated) for c in compared)
    nearest = [c for c in compared if len(c.outdated) == min_differences]
    # With no differences the loop has already compared the code.
    compares_code = min_differences > 0 and len(nearest) > 1
    return next((c for c in nearest if compares_code and present.has_code_of(c.record)), nearest[0])
