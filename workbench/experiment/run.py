"""The only writer of run folders: decide what is to be done, do it, keep the record."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.cache import atomic, content_key, file_sha256, is_locked, lock, sweep, write_json, write_text
from workbench.competition import ROW, Competition
from workbench.errors import ConfigError, DamagedError, StorageError, WorkbenchError, storage_errors
from workbench.experiment.kinds import model_spec
from workbench.experiment.measure import git_commit, versions
from workbench.experiment.run_folder import (
    FinishedRun,
    FoldParts,
    check_files,
    list_run_folders,
    read_run,
    write_run,
)
from workbench.experiment.spec import ExperimentSpec, read_spec
from workbench.experiment.submission_file import SubmissionForm, submission_form, write_submission
from workbench.features import Blocks, FeatureMatrix, FoldFeature, Split, build_matrix, code_key, load_features
from workbench.folds import Folds, group_column, load_folds, time_column, time_horizon
from workbench.ledger import Ledger, RunRecord
from workbench.memory import measured_peak, used_bytes
from workbench.training import (
    FoldResult,
    KeptBins,
    LightGBMSpec,
    ModelSpec,
    Problem,
    Target,
    TrainResult,
    check_memory,
    class_notes,
    fold_scores,
    oof_score,
    read_target,
    refit,
    train,
)
from workbench.workspace import Workspace

__all__ = [
    "ReadyExperiment",
    "RunOutcome",
    "find_finished",
    "lightgbm_of",
    "ready",
    "reconcile",
    "recover",
    "run",
    "untuned_key",
]

Report = Callable[[str], None]
FoldDone = Callable[[FoldResult, int], None]


@dataclass(frozen=True)
class RunOutcome:
    """What `run` gives: the finished run, and whether it was there already ("unchanged") or went on ("resumed")."""

    run: FinishedRun
    how: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Plan:
    """Everything that decides the result, read and checked before the first second of work."""

    competition: Competition
    spec: ExperimentSpec
    model: ModelSpec
    blocks: Blocks
    folds: Folds
    target: Target
    form: SubmissionForm
    sample: float | None
    key: str
    matrix_key: str
    target_key: str

    @property
    def untuned(self) -> str:
        """The key of what is tuned: all that decides the result but ``[tune]`` and the seeds."""
        return content_key("untuned-v1", self.matrix_key, self.folds.content, self.target_key, self.model.content())


def run(  # noqa: PLR0913 what a run may be asked
    workspace: Workspace,
    competition: Competition,
    number: int,
    *,
    sample: float | None = None,
    force: bool = False,
    threads: int | None = None,
    model: dict[str, Any] | None = None,
    report: Report = lambda _: None,
    done: FoldDone = lambda _result, _left: None,
) -> RunOutcome:
    """Run an experiment, or show that it is done, or go on from where it was killed.

    Parameters
    ----------
    workspace : Workspace
        Its ledger gets the record; its memory limit bounds the building of features.
    competition : Competition
    number : int
        The experiment.
    sample : float, optional
        A share of the train rows, for a quick try that predicts no test rows and can't be submitted.
    force : bool
        Run again though nothing changed.
    threads : int, optional
        None for as many as the process may use.
    model : dict, optional
        Parameters in place of those of ``[model]``: what tuning has found.
    report : callable
        Called with a line of text for each step.
    done : callable
        Called after each model with it and the number of models still to come.

    Raises
    ------
    ConfigError, DataError, FeatureError, TrainingError
        When something is wrong with the definition, the data, a feature or the training.
    BusyError
        When another process runs the same experiment.
    """
    blocks = Blocks(competition, load_features(competition), report, workspace.memory_limit)
    plan = _plan(competition, number, blocks, sample=sample, threads=threads, given=model)
    with (
        lock(_lock_path(competition.runs_folder, number), f"experiment {number} of {competition.slug!r}"),
        Ledger.open(workspace.ledger) as ledger,
    ):
        _reconcile_locked(workspace, competition, number, ledger)
        found = _find(competition, number, plan.key)
        if found and found[1].status == "finished" and not force:
            finished = check_files(*found)
            ledger.put_run(found[1])
            return RunOutcome(finished, "unchanged", _standing_notes(competition))
        if found and found[1].status in ("interrupted", "running", "failed") and not force:
            folder, record = found[0], replace(found[1], status="running", error=None)
            how = "resumed" if any((folder / "parts").glob("*.npz")) else "new"
        else:
            folder, record, how = _new_run(workspace, plan)
        notes = _execute(plan, folder, record, ledger, report=report, done=done)
        final, details = read_run(folder)
        return RunOutcome(check_files(folder, final, details), how, (*_standing_notes(competition), *notes))


@dataclass(frozen=True)
class ReadyExperiment:
    """What a run of an experiment would train, without running it.

    Attributes
    ----------
    rows : int array, or None
        The train rows of a quick try; None for all of them.
    key : str
        The run's key: the same code, data, parameters and seeds give the same.
    finished : FinishedRun, or None
        The newest finished run with this key.
    matrix_key : str
        Of the features, the rows, and of what is left out or taken as categories.
    target_key : str
        Of the target, the task, the weights, the queries and the metric with its code.
    untuned : str
        Of all that tuning begins with.
    """

    competition: Competition
    spec: ExperimentSpec
    blocks: Blocks
    model: ModelSpec
    problem: Problem
    rows: npt.NDArray[np.int64] | None
    key: str
    finished: FinishedRun | None
    matrix_key: str = ""
    target_key: str = ""
    untuned: str = ""


def lightgbm_of(experiment: ReadyExperiment, *, because: str, hint: str) -> LightGBMSpec:
    """Return the model of an experiment where only LightGBM's will do.

    Parameters
    ----------
    because : str
        Why, for the message.

    Raises
    ------
    ConfigError
        When it is another's.
    """
    if not isinstance(experiment.model, LightGBMSpec):
        raise ConfigError(
            f"{experiment.spec.path}: {because}, and this is a [{experiment.spec.kind}] experiment", hint=hint
        )
    return experiment.model


def ready(
    workspace: Workspace,
    competition: Competition,
    number: int,
    *,
    sample: float | None = None,
    threads: int | None = None,
    report: Report = lambda _: None,
) -> ReadyExperiment:
    """Read and build all that a run of an experiment would train on: its matrix, target, folds, metric, parameters.

    The parameters, and what is raised, are those of `run`. Nothing is written but feature blocks and folds.
    """
    blocks = Blocks(competition, load_features(competition), report, workspace.memory_limit)
    plan = _plan(competition, number, blocks, sample=sample, threads=threads)
    found = _find(competition, number, plan.key)
    finished = check_files(*found) if found and found[1].status == "finished" else None
    rows = None if sample is None else _sampled_rows(plan)
    problem = _problem(plan, _matrix(plan))
    return ReadyExperiment(
        competition,
        plan.spec,
        blocks,
        plan.model,
        problem,
        rows,
        plan.key,
        finished,
        plan.matrix_key,
        plan.target_key,
        plan.untuned,
    )


def untuned_key(workspace: Workspace, competition: Competition, number: int) -> str:
    """Return the key of all that tuning an experiment begins with, as it now stands; see `ReadyExperiment`."""
    blocks = Blocks(competition, load_features(competition), lambda _: None, workspace.memory_limit)
    return _plan(competition, number, blocks, sample=None, threads=None).untuned


def find_finished(
    workspace: Workspace, competition: Competition, number: int, *, model: dict[str, Any] | None = None
) -> FinishedRun | None:
    """Return the finished run of an experiment as it now stands, with the parameters `model`, if there is one."""
    blocks = Blocks(competition, load_features(competition), lambda _: None, workspace.memory_limit)
    plan = _plan(competition, number, blocks, sample=None, threads=None, given=model)
    found = _find(competition, number, plan.key)
    return check_files(*found) if found and found[1].status == "finished" else None


def _standing_notes(competition: Competition) -> tuple[str, ...]:
    """Return what is to be said of every run, new or not."""
    d = competition.definition
    if d.metric_of_platform is None:
        return ()
    return (f"the platform scores by {d.metric_of_platform!r}; CV is {d.metric}, which stands in for it",)


# --------------------------------------------------------------------------------------------------------- deciding


def _plan(
    competition: Competition,
    number: int,
    blocks: Blocks,
    *,
    sample: float | None,
    threads: int | None,
    given: dict[str, Any] | None = None,
) -> _Plan:
    if sample is not None and not 0 < sample < 1:
        raise ConfigError(f"--sample {sample}: expected a share of the rows between 0 and 1")
    spec = read_spec(competition, number)
    features = [_feature_key(blocks, name, spec) for name in spec.features]
    target = read_target(competition)
    _check_encodings(blocks, spec, competition)
    model = model_spec(spec if given is None else replace(spec, model=given), competition, target, threads=threads)
    folds = load_folds(competition)
    competition.test_ids()  # not unique: better said now than after an hour of training
    form = submission_form(competition, target)
    d = competition.definition
    key = content_key(
        "run-v2",
        d.slug,
        spec.content(),
        features,
        competition.rows_content,
        folds.content,
        [
            list(d.targets),
            d.task,
            d.metric,
            d.weight,
            *([d.query] if d.query else []),
            [*d.id_columns, *([d.id_in_test] if d.id_in_test else [])],
        ],
        _metric_code(competition),
        sample,
        model.content(),
    )
    matrix_key = content_key(
        "matrix-v1", features, competition.rows_content, sorted(spec.drop), sorted(spec.categorical)
    )
    metric = competition.metric
    target_key = content_key(
        "target-v2",
        [list(d.targets), d.task, d.weight, d.query],
        [metric.name, metric.greater_is_better, metric.needs, _metric_code(competition)],
    )
    return _Plan(competition, spec, model, blocks, folds, target, form, sample, key, matrix_key, target_key)


def _feature_key(blocks: Blocks, name: str, spec: ExperimentSpec) -> str:
    feature = name.partition(".")[0]
    if feature == "rows":
        return name
    try:
        made = blocks.get(feature)
    except WorkbenchError as exc:
        raise type(exc)(f"{spec.path}: {exc.message}", hint=exc.hint) from exc
    if isinstance(made, FoldFeature) and feature != name:
        raise ConfigError(f"{spec.path}: {name!r}: {feature!r} depends on the fold and is taken whole")
    key = blocks.key(feature)
    if isinstance(made, FoldFeature):
        # What it may learn from depends on more of [cv] than the folds tell.
        cv = blocks.competition.definition.cv
        key = content_key(key, cv.scheme, str(cv.gap), str(cv.purge), cv.column, cv.group)
    return f"{name}:{key}"


def _check_encodings(blocks: Blocks, spec: ExperimentSpec, competition: Competition) -> None:
    d = competition.definition
    for name in spec.features:
        made = blocks.features.get(name)
        if isinstance(made, FoldFeature):
            made.check(d.task, d.targets)
            made.check_columns(competition.shared_columns, blocks.features)


def _metric_code(competition: Competition) -> str:
    file, colon, name = competition.definition.metric.partition(":")
    return code_key(competition.folder / file, name) if colon else ""


def _find(competition: Competition, number: int, key: str) -> tuple[Path, RunRecord, dict[str, Any]] | None:
    """Return the newest run of the experiment with this key, if there is one."""
    for folder in reversed(list_run_folders(competition.runs_folder, number)):
        if not folder.name.endswith(key[:8]):
            continue
        record, details = read_run(folder)
        if record.key == key:
            return folder, record, details
    return None


def _new_run(workspace: Workspace, plan: _Plan) -> tuple[Path, RunRecord, str]:
    c, spec = plan.competition, plan.spec
    now = datetime.now(UTC)
    run_id = f"{spec.number:03d}-{now:%Y%m%dT%H%M%S}-{plan.key[:8]}"
    while (c.runs_folder / run_id).exists():  # forced twice within a second
        now = datetime.fromtimestamp(now.timestamp() + 1, UTC)
        run_id = f"{spec.number:03d}-{now:%Y%m%dT%H%M%S}-{plan.key[:8]}"
    folder = c.runs_folder / run_id
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
        folds_hash=plan.folds.content,
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
    )
    return folder, record, "new"


# -------------------------------------------------------------------------------------------------------- executing


def _execute(
    plan: _Plan, folder: Path, record: RunRecord, ledger: Ledger, *, report: Report, done: FoldDone
) -> tuple[str, ...]:
    started, before = time.perf_counter(), record.seconds or 0.0
    with storage_errors(folder):
        for swept in (folder, *(folder / part for part in ("models", "parts", "source"))):
            sweep(swept)
        _keep_source(plan, folder)
    write_run(folder, record, {"spec": plan.spec.content(), "versions": versions(plan.spec.kind)})
    ledger.put_run(record)

    def seconds() -> float:
        return round(before + time.perf_counter() - started, 2)

    with measured_peak() as peak, log_file(folder), _outcome(folder, record, ledger, seconds):
        matrix = _matrix(plan)
        problem = _problem(plan, matrix)
        forecast, limit = plan.model.needs(problem, plan.spec.seeds), plan.blocks.limit_bytes
        before_training = used_bytes()
        report(check_memory(forecast, before_training, limit))
        parts = FoldParts(folder)
        result = train(problem, plan.model, plan.spec.seeds, parts=parts, done=done)
        if plan.spec.refit:
            report("training on all rows")
            result = refit(problem, plan.model, plan.spec.seeds, result, parts=parts, done=done)
        report("writing")
        final = _scored(record, problem, result, matrix)
        files = _write_results(plan, folder, problem, result)
        final = replace(final, status="finished", finished_at=datetime.now(UTC), seconds=seconds(), peak_rss_mb=peak.mb)
        details = {
            "spec": plan.spec.content(),
            "model": plan.model.content(),
            "versions": versions(plan.spec.kind),
            "files": files,
            "models": _model_notes(result),
        }
        details["data"] = plan.competition.manifest.content
        foreseen = (before_training + forecast.total) / 2**20
        details["memory"] = {"foreseen_mb": round(foreseen, 1), "limit_mb": round(limit / 2**20, 1)}
        details["unseen_categories"] = {u.column: {"values": u.values, "rows": u.rows} for u in matrix.unseen}
        if plan.model.transform != "none":
            details["target_transform"] = plan.model.transform
        write_run(folder, final, details)
        ledger.put_run(final)
        parts.discard()
    notes = [
        *plan.spec.ignored,
        *getattr(plan.model, "notes", ()),
        *class_notes(problem),
        *(f"left out, not a number or a text: {c}" for c in matrix.left_out),
    ]
    notes += [
        f"{u.column}: {u.values:,} categories that train lacks, in {u.rows:,} of {matrix.n_test:,} test rows: "
        "predicted as none of the categories"
        for u in (matrix.unseen if plan.sample is None else ())
    ]
    if len(final.seeds) > 1 and len(set(final.seed_scores)) == 1:
        notes.append("the seeds make no difference: set bagging_fraction and bagging_freq, or feature_fraction")
    return tuple(notes)


@contextmanager
def _outcome(folder: Path, record: RunRecord, ledger: Ledger, seconds: Callable[[], float]) -> Iterator[None]:
    """Record how a run that does not finish ended, then let the exception go on."""
    try:
        yield
    except BaseException as exc:
        status = "interrupted" if isinstance(exc, KeyboardInterrupt | SystemExit) else "failed"
        text = exc.message if isinstance(exc, WorkbenchError) else f"{type(exc).__name__}: {exc}"
        ended = replace(record, status=status, error=text[:2000] or None, seconds=seconds())
        try:
            _, details = read_run(folder)
            write_run(folder, ended, details)
            ledger.put_run(ended)
        except WorkbenchError:  # the disk is full: the next run finds a run that nobody holds
            logging.getLogger("workbench").warning("the end of run %s could not be recorded", record.run_id)
        raise


@contextmanager
def log_file(folder: Path) -> Iterator[None]:
    """Send the package's log to ``log.txt`` of the run."""
    logger = logging.getLogger("workbench")
    with storage_errors(folder):
        handler = logging.FileHandler(folder / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
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


def _keep_source(plan: _Plan, folder: Path) -> None:
    """Keep a copy of the code and the definitions that the run was made with."""
    c = plan.competition
    sources = [c.folder / "competition.toml", plan.spec.path, *c.folder.glob("*.py")]
    if plan.spec.selection is not None:
        sources.append(c.selection_path(plan.spec.selection))
    for path in sources:
        write_text(folder / "source" / path.name, path.read_text(encoding="utf-8"))


def _matrix(plan: _Plan) -> FeatureMatrix:
    matrix = build_matrix(plan.blocks, plan.spec.features, drop=plan.spec.drop, categorical=plan.spec.categorical)
    if plan.sample is None:
        return matrix
    return matrix.only_train(_sampled_rows(plan))


def _sampled_rows(plan: _Plan) -> np.ndarray[Any, np.dtype[np.int64]]:
    n_rows = plan.target.n_rows
    size = max(1, round(n_rows * float(plan.sample or 1)))
    chosen = np.random.default_rng(0).choice(n_rows, size, replace=False)
    return np.sort(chosen).astype(np.int64)


def _problem(plan: _Plan, matrix: FeatureMatrix) -> Problem:
    target, folds, split = plan.target, plan.folds, _split(plan)
    if plan.sample is not None:
        rows = _sampled_rows(plan)
        target, folds, split = target.take(rows), folds.take(rows), split.take(rows)
    # A quick try has rows of its own, and takes no time to bin.
    kept = KeptBins(plan.blocks.store, plan.matrix_key) if plan.sample is None else None
    return Problem(matrix, target, folds, split, plan.competition.metric, kept)


def _split(plan: _Plan) -> Split:
    """Return what encodings need to know of the folds."""
    c, folds = plan.competition, plan.folds
    if c.definition.cv.scheme == "time":
        return Split(folds.valid, folds.train, time_column(c)[0], horizon=time_horizon(c))
    return Split(folds.valid, folds.train, groups=group_column(c))


def _scored(record: RunRecord, problem: Problem, result: TrainResult, matrix: FeatureMatrix) -> RunRecord:
    target, folds, metric = problem.target, problem.folds, problem.metric
    scores = fold_scores(target, folds, result.oof, metric)
    per_seed: tuple[tuple[float, ...], ...] = (scores,)
    if len(result.seed_oof) > 1:
        per_seed = tuple(fold_scores(target, folds, oof, metric) for oof in result.seed_oof)
    return replace(
        record,
        cv_mean=float(np.mean(scores)),
        cv_std=float(np.std(scores)),
        cv_folds=len(scores),
        oof_score=oof_score(target, folds, result.oof, metric),
        fold_scores=scores,
        seed_scores=per_seed,
        n_features=matrix.width + sum(len(c.names(problem.target.columns, 0)) for c in matrix.fold_columns),
    )


def _write_results(plan: _Plan, folder: Path, problem: Problem, result: TrainResult) -> dict[str, str]:
    """Write OOF, test predictions, importances and the submission; return the SHA-256 of each file."""
    names = [f"pred_{name}" for name in problem.target.labels]
    oof = pl.DataFrame(result.oof, schema=names, orient="row")
    rows = np.arange(len(oof)) if plan.sample is None else _sampled_rows(plan)
    keys = pl.DataFrame({ROW: rows.astype(np.uint32), "fold": problem.folds.valid})
    importance = result.importance()
    frames = {
        "oof.parquet": keys.hstack(oof),
        "importance.parquet": pl.DataFrame(
            {
                "column": list(importance),
                "gain": [g for g, _ in importance.values()],
                "splits": [s for _, s in importance.values()],
            }
        ),
    }
    if plan.sample is None:
        predictions = pl.DataFrame(result.test, schema=names, orient="row")
        frames["test.parquet"] = plan.competition.test_ids().hstack(predictions)
    for name, frame in frames.items():
        with atomic(folder / name) as temporary:
            frame.write_parquet(temporary)
    written = list(frames)
    if plan.sample is None:
        write_submission(plan.competition, plan.form, plan.target, result.test, folder / "submission.csv")
        written.append("submission.csv")
    write_json(folder / "models" / "categories.json", problem.matrix.categories)
    written.append("models/categories.json")
    written += [f"models/{p.name}" for p in sorted((folder / "models").glob("t*-s*.*"))]
    return {name: file_sha256(folder / name) for name in written}


def _model_notes(result: TrainResult) -> list[dict[str, Any]]:
    return [
        {
            "target": p.target,
            "fold": p.fold,
            "seed": p.seed,
            "rounds": p.rounds,
            "seconds": round(p.seconds, 3),
            "curve": [round(v, 7) for v in p.curve.get("valid", [])],
            **({"train_curve": [round(v, 7) for v in p.curve["train"]]} if p.curve.get("train") else {}),
            **({"notes": p.notes} if p.notes else {}),
        }
        for p in (*result.parts, *result.whole)
    ]


# -------------------------------------------------------------------------------------------------------- afterwards


def _lock_path(runs: Path, exp: int) -> Path:
    return runs / f".{exp:03d}.lock"


def reconcile(workspace: Workspace, ledger: Ledger, slug: str | None = None) -> None:
    """Mark runs as interrupted that the ledger has as running though no process holds them.

    A run that was killed after its folder was complete, but before the ledger heard of it, is entered as finished.
    """
    for record in ledger.runs(slug):
        if record.status == "running" and not is_locked(
            _lock_path((workspace.root / record.folder).parent, record.exp)
        ):
            _settle(workspace, record, ledger)


def _reconcile_locked(workspace: Workspace, competition: Competition, number: int, ledger: Ledger) -> None:
    """Do the same for one experiment whose lock this process holds; and for folders that the ledger never heard of."""
    known = {r.run_id: r for r in ledger.runs(competition.slug, number)}
    for record in known.values():
        if record.status == "running":
            _settle(workspace, record, ledger)
    for folder in list_run_folders(competition.runs_folder, number):
        if folder.name not in known:
            if not (folder / "run.json").exists():
                shutil.rmtree(folder)  # killed before its first line was written: nothing is in it
                continue
            record, _ = read_run(folder)
            ledger.put_run(record if record.status != "running" else replace(record, status="interrupted"))


def _settle(workspace: Workspace, record: RunRecord, ledger: Ledger) -> None:
    folder = workspace.root / record.folder
    try:
        on_disk, details = read_run(folder)
    except DamagedError as exc:
        ledger.put_run(replace(record, status="interrupted", error=exc.message))
        return
    if on_disk.status == "running":
        on_disk = replace(on_disk, status="interrupted")
        try:
            write_run(folder, on_disk, details)
        except StorageError:  # a workspace that can only be read still has a table
            return
    ledger.put_run(on_disk)


def recover(workspace: Workspace) -> tuple[list[RunRecord], list[str]]:
    """Read the records of all run folders of a workspace, for `wb ledger rebuild`.

    Returns
    -------
    records : list of RunRecord
    problems : list of str
        One line per folder that could not be read.
    """
    records, problems = [], []
    for slug in workspace.slugs():
        for folder in list_run_folders(workspace.competitions / slug / "runs"):
            try:
                record, _ = read_run(folder)
            except DamagedError as exc:
                problems.append(exc.message)
                continue
            held = is_locked(_lock_path(folder.parent, record.exp))
            records.append(replace(record, status="interrupted") if record.status == "running" and not held else record)
    return records, problems
