"""The only writer of run folders: decide what is to be done, do it, keep the record."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from workbench.core.cache import lock, sweep
from workbench.core.context import SILENT, RunContext
from workbench.core.credentials import process_masks
from workbench.core.errors import BusyError, LedgerError, StorageError, WorkbenchError, storage_errors
from workbench.core.events import EVENTS_FILE, EventLog, RunFinished, RunStarted
from workbench.core.memory import measured_peak
from workbench.core.read_once import reading_once
from workbench.data.competition import Competition, load_competition
from workbench.data.workspace import Workspace
from workbench.experiments.capabilities import capabilities_of
from workbench.experiments.measure import git_commit, versions
from workbench.experiments.reconcile import lock_path, reconcile_locked
from workbench.experiments.run_folder import (
    FinishedRun,
    FoldParts,
    check_files,
    create_run,
    end_run,
    find_run,
    read_run,
    write_run,
)
from workbench.experiments.runner import USUAL, Runner, RunPlan, RunRequest, UsedSource, runner_of
from workbench.experiments.seeds import same_seeds_note
from workbench.experiments.source import code_keys, source_copy, write_source
from workbench.experiments.spec import read_spec
from workbench.features import recipe_versions
from workbench.ledger import Ledger, RunRecord

__all__ = ["RunOutcome", "log_file", "run"]


@dataclass(frozen=True)
class RunOutcome:
    """What `run` gives: the finished run, and whether it was there already ("unchanged") or went on ("resumed")."""

    run: FinishedRun
    how: str
    notes: tuple[str, ...] = ()


def run(
    workspace: Workspace,
    competition: Competition,
    number: int,
    request: RunRequest = USUAL,
    context: RunContext = SILENT,
) -> RunOutcome:
    """Run an experiment, or show that it is done, or go on from where it was killed.

    What happens in a run is also appended to ``events.jsonl`` in its folder.

    Parameters
    ----------
    workspace : Workspace
        Its ledger gets the record; its memory limit bounds the building of features.
    competition : Competition
    number : int
        The experiment.
    request : RunRequest
    context : RunContext
        Its `threads` are those of the training.

    Raises
    ------
    ConfigError, DataError, FeatureError, TrainingError
        When something is wrong with the definition, the data, a feature or the training.
    BusyError
        When another process runs the same experiment.
    """
    with reading_once():
        # Not what an earlier call has read of its definition, and loaded of its code.
        return _run(workspace, load_competition(workspace, competition.slug), number, request, context)


def _run(
    workspace: Workspace, competition: Competition, number: int, request: RunRequest, context: RunContext
) -> RunOutcome:
    # What is edited while the plan is made may or may not be in it: whoever compares has to look.
    began = datetime.now(UTC)
    spec = read_spec(competition, number)
    runner = runner_of(spec.kind)
    plan = runner.plan(workspace, competition, spec, request, context)
    with (
        lock(lock_path(competition.paths.runs, number), f"experiment {number} of {competition.slug!r}"),
        Ledger.open(workspace.ledger) as ledger,
    ):
        folder_notes = reconcile_locked(workspace, competition, number, ledger)
        previous = find_run(
            competition.paths.runs, number, plan.key, greater_is_better=competition.metric.greater_is_better
        )
        if previous and previous[1].status == "finished" and not request.force:
            finished = check_files(*previous)
            FoldParts(previous[0]).discard()  # of one that was killed as soon as it was finished
            ledger_notes = _entered(ledger, previous[1])
            return RunOutcome(finished, "unchanged", (*_standing_notes(competition), *folder_notes, *ledger_notes))
        if previous and previous[1].status in ("interrupted", "running", "failed") and not request.force:
            folder, record = previous[0], replace(previous[1], status="running", error=None, workspace=workspace.id)
            how = "resumed" if any((folder / "parts").glob("*")) else "new"
        else:
            folder, record, how = _new_run(workspace, plan, _rising(began, ledger.runs(competition.slug, number)))
        work = _Work(workspace, runner, plan, folder, record, ledger)
        notes = work.execute(how, context.with_listeners(EventLog(folder / EVENTS_FILE)))
        final, details = read_run(folder)
        return RunOutcome(
            check_files(folder, final, details), how, (*_standing_notes(competition), *folder_notes, *notes)
        )


def _standing_notes(competition: Competition) -> tuple[str, ...]:
    """Return what is to be said of every run, new or not."""
    d = competition.definition
    notes = []
    if d.metric_of_platform is not None:
        notes.append(f"the platform scores by {d.metric_of_platform!r}; CV is {d.metric}, which stands in for it")
    if any(table.keys is None for table in competition.manifest.tables.values()):
        notes.append(
            "the tables were converted by an earlier version, which read some empty fields, dates, large numbers and "
            f"encodings otherwise: `wb fetch {d.slug} --force` converts them again"
        )
    return tuple(notes)


def _rising(now: datetime, runs: list[RunRecord]) -> datetime:
    """Return the time of a new run, after that of every run before it: the newest stands for the experiment.

    The clock may have been set back since.
    """
    return max([now, *(r.created_at + timedelta(microseconds=1) for r in runs)])


def _new_run(workspace: Workspace, plan: RunPlan, now: datetime) -> tuple[Path, RunRecord, str]:
    c, spec = plan.competition, plan.spec
    named_at = now
    while (c.paths.runs / (run_id := f"{spec.number:03d}-{named_at:%Y%m%dT%H%M%S}-{plan.key[:8]}")).exists():
        # Forced twice within a second. Only the name is moved on: a run from the future would look newer than any edit.
        named_at += timedelta(seconds=1)
    folder = c.paths.runs / run_id
    record = RunRecord(
        run_id=run_id,
        competition=c.slug,
        exp=spec.number,
        title=spec.title,
        kind=spec.kind,
        base=spec.base,
        status="running",
        key=plan.key,
        metric=c.metric.name,
        greater_is_better=c.metric.greater_is_better,
        cv_mean=None,
        cv_std=None,
        cv_folds=None,
        oof_score=None,
        fold_scores=(),
        seed_scores=(),
        seeds=spec.seeds,
        folds_hash=plan.folds_hash,
        n_features=None,
        seconds=None,
        peak_rss_mb=None,
        created_at=now,
        finished_at=None,
        git_commit=git_commit(workspace.root),
        sample=plan.sample,
        changes=spec.changes,
        error=None,
        folder=folder.relative_to(workspace.root).as_posix(),
        workspace=workspace.id,
    )
    return folder, record, "new"


@dataclass(frozen=True)
class _Work:
    """A run at work, whose folder and ledger entry it alone writes."""

    workspace: Workspace
    runner: Runner[Any]
    plan: RunPlan
    folder: Path
    record: RunRecord
    ledger: Ledger

    def execute(self, how: str, context: RunContext) -> tuple[str, ...]:
        """Do what the plan says, keep the record, and return what is to be said of it."""
        plan, folder, record = self.plan, self.folder, self.record
        started, before = time.perf_counter(), record.seconds or 0.0
        used = self.runner.used_source(plan)
        source = source_copy(plan, used)
        about = self._about(used)
        _begin(folder, record, about)
        about["source"] = write_source(source, folder / "source")
        write_run(folder, record, about)
        self.ledger.put_run(record)
        context.emit(RunStarted(record.run_id, how))

        def seconds() -> float:
            return round(before + time.perf_counter() - started, 2)

        with measured_peak() as peak, log_file(folder), self._outcome(seconds, context):
            result = self.runner.execute(self.workspace, plan, folder, record, context)
            final = replace(
                result.record,
                status="finished",
                finished_at=datetime.now(UTC),
                seconds=seconds(),
                peak_rss_mb=max(peak.mb, result.peak_mb),
            )
            write_run(folder, final, {**about, "files": result.files, **plan.data_content(), **result.details})
        # Finished, whatever comes now: the ledger may be locked for longer than one waits, and catches up.
        context.emit(RunFinished(final.run_id, final.status, final.cv_mean))
        ledger_notes = _entered(self.ledger, final)
        FoldParts(folder).discard()
        notes = [*plan.spec.ignored, *result.notes, *source.notes, *ledger_notes]
        is_trained = capabilities_of(plan.spec.kind).trains_models
        if is_trained and len(final.seeds) > 1 and len(set(final.seed_scores)) == 1:
            notes.append(same_seeds_note(plan.spec.kind, plan.spec.model, final.seeds))
        return tuple(notes)

    def _about(self, used: UsedSource) -> dict[str, Any]:
        """Return what the folder keeps of the plan."""
        plan = self.plan
        about: dict[str, Any] = {
            "spec": plan.spec.content(),
            "model": plan.model.content(),
            "versions": versions(plan.spec.kind),
            **plan.details(),
            "code": code_keys(plan, used),
        }
        if recipes := recipe_versions():
            about["recipes"] = recipes
        return about

    @contextmanager
    def _outcome(self, seconds: Callable[[], float], context: RunContext) -> Iterator[None]:
        """Record how a run ended that did not finish, then let the exception go on."""
        try:
            yield
        except BaseException as exc:
            status = "interrupted" if isinstance(exc, KeyboardInterrupt | SystemExit) else "failed"
            text = exc.message if isinstance(exc, WorkbenchError) else f"{type(exc).__name__}: {exc}"
            error = process_masks().text(text)[:2000] or None
            ended = replace(self.record, status=status, error=error, seconds=seconds())
            try:
                self.ledger.put_run(end_run(self.folder, ended))
            except (WorkbenchError, OSError):  # the disk is full: the next run finds a run that nobody holds
                logging.getLogger("workbench").warning("the end of run %s could not be recorded", self.record.run_id)
            context.emit(RunFinished(ended.run_id, status, error=error if status == "failed" else None))
            raise


def _begin(folder: Path, record: RunRecord, about: dict[str, Any]) -> None:
    """Make a run's folder, or clear the one that goes on of what a killed process left in it."""
    with storage_errors(folder):
        sweep(folder.parent)
        if not folder.exists():
            create_run(folder, record, about)
            return
        for swept in (folder, *(folder / part for part in ("models", "parts"))):
            sweep(swept)
        write_run(folder, record, about)


def _entered(ledger: Ledger, record: RunRecord) -> tuple[str, ...]:
    """Enter a finished run; say so where that can't be done now."""
    try:
        ledger.put_run(record)
    except (BusyError, LedgerError, StorageError) as exc:
        return (f"run {record.run_id} is finished and kept; the next command enters it, for now {exc.message}",)
    return ()


class _Masked(logging.Formatter):
    """A run's folder is copied and shared: what is logged, tracebacks too, may quote a login."""

    def format(self, record: logging.LogRecord) -> str:
        return process_masks().text(super().format(record))


class _LogFile(logging.FileHandler):
    """A log that gives up when the disk is full: what is to be said then is the run's own error."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 the name is logging's
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def log_file(folder: Path) -> Iterator[None]:
    """Send the package's log to ``log.txt`` of the run."""
    logger = logging.getLogger("workbench")
    with storage_errors(folder):
        handler = _LogFile(folder / "log.txt", encoding="utf-8")
    handler.setFormatter(_Masked("%(asctime)s %(levelname)s %(name)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        handler.close()
