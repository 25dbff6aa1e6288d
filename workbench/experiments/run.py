"""Running an experiment; the only writer of run folders."""

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

from workbench.core.cache import lock, remove_leftover_files
from workbench.core.context import SILENT, RunContext
from workbench.core.credentials import process_masks
from workbench.core.errors import BusyError, LedgerError, StorageError, WorkbenchError, storage_errors
from workbench.core.events import EVENTS_FILE, EventLog, RunFinished, RunStarted
from workbench.core.memory import measured_peak
from workbench.core.read_once import reading_once
from workbench.data.competition import Competition, load_competition
from workbench.data.workspace import Workspace
from workbench.experiments.capabilities import capabilities_of
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
from workbench.experiments.runner import DEFAULT_REQUEST, Runner, RunPlan, RunRequest, UsedSource, runner_of
from workbench.experiments.seeds import same_seeds_note
from workbench.experiments.source import code_keys, source_copy, write_source
from workbench.experiments.spec import read_spec
from workbench.experiments.versions import git_commit, versions
from workbench.features import recipe_versions
from workbench.ledger import Ledger, RunRecord

__all__ = ["RunOutcome", "log_file", "run"]


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of `run`.

    Attributes
    ----------
    run : FinishedRun
    how : str
        "new", "resumed" (some parts were finished before) or "unchanged" (the run was finished before).
    notes : tuple of str
        Messages for the user.
    """

    run: FinishedRun
    how: str
    notes: tuple[str, ...] = ()


def run(
    workspace: Workspace,
    competition: Competition,
    number: int,
    request: RunRequest = DEFAULT_REQUEST,
    context: RunContext = SILENT,
) -> RunOutcome:
    """Run an experiment; return a finished run of the same key unchanged, and resume an interrupted one.

    The run's events are also appended to ``events.jsonl`` in its folder.

    Parameters
    ----------
    workspace : Workspace
        Its ledger gets the record; its memory limit applies to features and training.
    competition : Competition
    number : int
        The experiment.
    request : RunRequest
    context : RunContext
        Its `threads` are used for training.

    Raises
    ------
    ConfigError, DataError, FeatureError, TrainingError
        When something is wrong with the definition, the data, a feature or the training.
    BusyError
        When another process runs the same experiment.
    """
    with reading_once():
        # Read again: the definition or the code may have changed since an earlier call.
        return _run(workspace, load_competition(workspace, competition.slug), number, request, context)


def _run(
    workspace: Workspace, competition: Competition, number: int, request: RunRequest, context: RunContext
) -> RunOutcome:
    # Taken before the plan is made: files that are edited meanwhile then count as changed after the run began.
    began_at = datetime.now(UTC)
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
            FoldParts(previous[0]).discard()  # if it was killed right after it was finished
            ledger_notes = _add_to_ledger(ledger, previous[1])
            return RunOutcome(finished, "unchanged", (*_definition_notes(competition), *folder_notes, *ledger_notes))
        if previous and previous[1].status in ("interrupted", "running", "failed") and not request.force:
            folder, record = previous[0], replace(previous[1], status="running", error=None, workspace=workspace.id)
            how = "resumed" if any((folder / "parts").glob("*")) else "new"
        else:
            folder, record, how = _new_run(
                workspace, plan, _increasing_time(began_at, ledger.runs(competition.slug, number))
            )
        execution = _Execution(workspace, runner, plan, folder, record, ledger)
        notes = execution.run(how, context.with_listeners(EventLog(folder / EVENTS_FILE)))
        final_record, details = read_run(folder)
        return RunOutcome(
            check_files(folder, final_record, details), how, (*_definition_notes(competition), *folder_notes, *notes)
        )


def _definition_notes(competition: Competition) -> tuple[str, ...]:
    """Return notes on the definition and the data, which are shown for new and unchanged runs."""
    definition = competition.definition
    notes = []
    if definition.metric_of_platform is not None:
        notes.append(
            f"the platform scores by {definition.metric_of_platform!r}; the CV uses {definition.metric} instead"
        )
    if any(table.keys is None for table in competition.manifest.tables.values()):
        notes.append(
            "the tables were converted by an earlier version, which read some empty fields, dates, large numbers and "
            f"encodings differently: `wb fetch {definition.slug} --force` converts them again"
        )
    return tuple(notes)


def _increasing_time(now: datetime, runs: list[RunRecord]) -> datetime:
    """Return the time of a new run, after those of all earlier runs, even if the clock was set back since."""
    return max([now, *(r.created_at + timedelta(microseconds=1) for r in runs)])


def _new_run(workspace: Workspace, plan: RunPlan, now: datetime) -> tuple[Path, RunRecord, str]:
    """Return the folder of a new run, which is not created yet, its record, and "new" (see `RunOutcome.how`)."""
    competition, spec = plan.competition, plan.spec
    name_time = now
    while (competition.paths.runs / (run_id := f"{spec.number:03d}-{name_time:%Y%m%dT%H%M%S}-{plan.key[:8]}")).exists():
        # Forced twice within a second. Only the name changes: a run in the future would look newer than later edits.
        name_time += timedelta(seconds=1)
    folder = competition.paths.runs / run_id
    record = RunRecord(
        run_id=run_id,
        competition=competition.slug,
        exp=spec.number,
        title=spec.title,
        kind=spec.kind,
        base=spec.base,
        status="running",
        key=plan.key,
        metric=competition.metric.name,
        greater_is_better=competition.metric.greater_is_better,
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
class _Execution:
    """The execution of a run, which alone writes its folder and its record in the ledger."""

    workspace: Workspace
    runner: Runner[Any]
    plan: RunPlan
    folder: Path
    record: RunRecord
    ledger: Ledger

    def run(self, how: str, context: RunContext) -> tuple[str, ...]:
        """Execute the plan, write the record, and return notes for the user."""
        plan, folder, record = self.plan, self.folder, self.record
        started_at, seconds_before = time.perf_counter(), record.seconds or 0.0
        used_source = self.runner.used_source(plan)
        source = source_copy(plan, used_source)
        details = self._plan_details(used_source)
        _prepare_folder(folder, record, details)
        details["source"] = write_source(source, folder / "source")
        write_run(folder, record, details)
        self.ledger.put_run(record)
        context.emit(RunStarted(record.run_id, how))

        def total_seconds() -> float:
            return round(seconds_before + time.perf_counter() - started_at, 2)

        with measured_peak() as peak, log_file(folder), self._recording_failure(total_seconds, context):
            result = self.runner.execute(self.workspace, plan, folder, record, context)
            final_record = replace(
                result.record,
                status="finished",
                finished_at=datetime.now(UTC),
                seconds=total_seconds(),
                peak_rss_mb=max(peak.mb, result.peak_mb),
            )
            write_run(folder, final_record, {**details, "files": result.files, **plan.data_content(), **result.details})
        # The run is finished from here on, even if the ledger is locked for too long: it is added to it later.
        context.emit(RunFinished(final_record.run_id, final_record.status, final_record.cv_mean))
        ledger_notes = _add_to_ledger(self.ledger, final_record)
        FoldParts(folder).discard()
        notes = [*plan.spec.ignored_notes, *result.notes, *source.notes, *ledger_notes]
        is_trained = capabilities_of(plan.spec.kind).trains_models
        if is_trained and len(final_record.seeds) > 1 and len(set(final_record.seed_scores)) == 1:
            notes.append(same_seeds_note(plan.spec.kind, plan.spec.model, final_record.seeds))
        return tuple(notes)

    def _plan_details(self, used_source: UsedSource) -> dict[str, Any]:
        """Return the details of the plan for `run.json`."""
        plan = self.plan
        details: dict[str, Any] = {
            "spec": plan.spec.content(),
            "model": plan.model.content(),
            "versions": versions(plan.spec.kind),
            **plan.details(),
            "code": code_keys(plan, used_source),
        }
        if recipes := recipe_versions():
            details["recipes"] = recipes
        return details

    @contextmanager
    def _recording_failure(self, total_seconds: Callable[[], float], context: RunContext) -> Iterator[None]:
        """Record a failure or an interruption within the block; the exception is raised again."""
        try:
            yield
        except BaseException as exc:
            status = "interrupted" if isinstance(exc, KeyboardInterrupt | SystemExit) else "failed"
            text = exc.message if isinstance(exc, WorkbenchError) else f"{type(exc).__name__}: {exc}"
            error = process_masks().text(text)[:2000] or None
            record = replace(self.record, status=status, error=error, seconds=total_seconds())
            try:
                self.ledger.put_run(end_run(self.folder, record))
            except (WorkbenchError, OSError):  # for example a full disk: `reconcile` records it later
                logging.getLogger("workbench").warning("the end of run %s could not be recorded", self.record.run_id)
            context.emit(RunFinished(record.run_id, status, error=error if status == "failed" else None))
            raise


def _prepare_folder(folder: Path, record: RunRecord, details: dict[str, Any]) -> None:
    """Create a run's folder, or remove the temporary files of a killed process from that of a resumed run."""
    with storage_errors(folder):
        remove_leftover_files(folder.parent)
        if not folder.exists():
            create_run(folder, record, details)
            return
        for subfolder in (folder, *(folder / name for name in ("models", "parts"))):
            remove_leftover_files(subfolder)
        write_run(folder, record, details)


def _add_to_ledger(ledger: Ledger, record: RunRecord) -> tuple[str, ...]:
    """Add a finished run to the ledger; return a note where that fails."""
    try:
        ledger.put_run(record)
    except (BusyError, LedgerError, StorageError) as exc:
        return (f"run {record.run_id} is finished; the next command adds it to the ledger, since {exc.message}",)
    return ()


class _MaskingFormatter(logging.Formatter):
    """Masks credentials in log records and tracebacks, as run folders are copied and shared."""

    def format(self, record: logging.LogRecord) -> str:
        return process_masks().text(super().format(record))


class _LogFile(logging.FileHandler):
    """A log file that ignores a full disk: the run itself raises an error then."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 the name is logging's
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


@contextmanager
def log_file(folder: Path) -> Iterator[None]:
    """Write the package's log to ``log.txt`` in a folder until the end of the block."""
    logger = logging.getLogger("workbench")
    with storage_errors(folder):
        handler = _LogFile(folder / "log.txt", encoding="utf-8")
    handler.setFormatter(_MaskingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
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
