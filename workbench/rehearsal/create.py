"""Create a local competition from a file with the targets: split it, hide the solution, write the sample."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import polars.selectors as cs

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import ConfigError, DataError, NotFoundError, did_you_mean
from workbench.core.frames import write_csv
from workbench.core.row_expressions import named_columns
from workbench.data.ingest.counting import column_stats
from workbench.data.ingest.types import decide
from workbench.metrics import Metric
from workbench.rehearsal.create_log import create_log_competition
from workbench.rehearsal.folder import build_folder, folder_path, write_table
from workbench.rehearsal.grade import RejectedError, grade, read_solution
from workbench.rehearsal.host import HostedCompetition, host_text, load_metric
from workbench.rehearsal.input_file import InputFile, open_input
from workbench.rehearsal.labels import classes_of, infer_task, sample_values, with_positive_last
from workbench.rehearsal.spec import USAGE, LogSpec, RehearsalSpec, check_options
from workbench.rehearsal.split import public_mask, test_mask, test_order
from workbench.rehearsal.weights import weights_of

__all__ = ["create"]

IN_TEST = "__test__"
DEFAULT_IDS = ("id", "Id", "ID", "row_id")
"""The names of columns that are ids if their values are unique."""


@dataclass(frozen=True)
class _CompetitionPlan:
    """The decisions about a competition, made before anything is written.

    Attributes
    ----------
    ids_and_targets : DataFrame
        The ids and targets of every row of the file.
    columns : tuple of str
        The other columns of train.
    ids : tuple of str
        The id columns; one that the file does not have is a row number.
    is_test : array of bool
        Of every row of the file.
    order : array of int, optional
        The order in which the test rows are written; None for the file's.
    is_public : array of bool
        Of the test rows in the order in which they are written.
    classes : list of list of str
        For each target its values as texts; empty for regression.
    weight : Series, optional
        The weight of every row of the file.
    """

    spec: RehearsalSpec
    source: InputFile
    metric: Metric
    ids_and_targets: pl.DataFrame
    columns: tuple[str, ...]
    ids: tuple[str, ...]
    is_test: npt.NDArray[np.bool_]
    order: npt.NDArray[np.int64] | None
    is_public: npt.NDArray[np.bool_]
    task: str
    classes: list[list[str]]
    weight: pl.Series | None = None


def create(
    workspace: Path,
    slug: str,
    spec: RehearsalSpec | LogSpec,
    *,
    force: bool = False,
    context: RunContext = SILENT,
) -> Path:
    """Create a local competition in ``competitions/<slug>/rehearsal`` and return that folder.

    The folder is written under a temporary name and renamed. The columns of ids, targets, weight and `after` are read
    into memory; the others are streamed, except for the test rows of a holdout, which are shuffled in memory.

    Parameters
    ----------
    workspace : Path
    slug : str
    spec : RehearsalSpec, or LogSpec for the task recommend
    force : bool
        Replace an existing local competition; its submissions are kept next to it, in
        ``rehearsal-submissions-<time>``.
    context : RunContext
        Receives a message about a guessed encoding.

    Raises
    ------
    NotFoundError
        When a file, a column or the metric does not exist.
    ConfigError
        When the options contradict each other, or a local competition of that name exists.
    DataError
        When the target has empty values, an id is empty or not unique, train or test has too few rows, or the metric
        can't score the sample submission.
    StorageError
        When the folder can't be written.
    """
    if isinstance(spec, LogSpec):
        return create_log_competition(workspace, slug, spec, force=force, context=context)
    check_options(slug, spec)
    final_folder = folder_path(workspace, slug, force=force)
    with open_input(spec.train, final_folder.parent.parent, encoding=spec.encoding, context=context) as source:
        plan = _plan(spec, source, _load_metric(spec))
        with build_folder(final_folder) as folder:
            _write_data_files(folder, plan)
            _write_solution_and_sample(folder, plan)
            hosted = _hosted_competition(slug, plan)
            (folder / "host.toml").write_text(host_text(hosted), encoding="utf-8")
            _check_sample(folder, hosted, plan.metric)
    return final_folder


# ----------------------------------------------------------------------------------------------------------- planning


def _load_metric(spec: RehearsalSpec) -> Metric:
    """Return the metric: a built-in one, or the user's function."""
    if ".py:" not in spec.metric:
        metric = load_metric(spec.metric, Path(), greater_is_better=False)
        if metric.name == "wmae" and not spec.weight:
            raise ConfigError(
                "the metric wmae needs --weight COLUMN", hint='or an expression: --weight "IsHoliday * 4 + 1"'
            )
        return metric
    if spec.greater_is_better is None:
        raise ConfigError("a metric of your own needs --greater-is-better or --less-is-better")
    file, function = _custom_metric(spec)
    if not file.is_file():
        raise NotFoundError(f"there is no file {file}")
    return load_metric(f"{file.name}:{function}", file.parent, greater_is_better=spec.greater_is_better)


def _custom_metric(spec: RehearsalSpec) -> tuple[Path, str]:
    """Return the file of a custom metric and the name of its function."""
    file, _, function = spec.metric.rpartition(":")
    return Path(file), function


def _plan(spec: RehearsalSpec, source: InputFile, metric: Metric) -> _CompetitionPlan:
    frame = source.frame
    columns = frame.collect_schema().names()
    if spec.weight and spec.weight not in columns:
        for column in named_columns(spec.weight, columns, where=f"{spec.train}: --weight"):
            if column in spec.drop:
                raise ConfigError(f"--drop {column}: --weight {spec.weight!r} reads it", hint="keep it in train")
        spec = replace(spec, is_weight_column=False)
    _check_names(columns, spec)
    after_column = (spec.after[0],) if spec.after and spec.after[0] in columns else ()
    id_candidates = spec.ids or tuple(c for c in DEFAULT_IDS if c in columns and c not in (*spec.drop, *spec.hidden))
    ids_and_targets = frame.select(list(dict.fromkeys((*id_candidates, *spec.hidden, *after_column)))).collect()
    # A quoted empty cell counts as empty, too.
    ids_and_targets = ids_and_targets.with_columns(pl.when(cs.string() != "").then(cs.string()).name.keep())
    ids_and_targets = ids_and_targets.with_columns(
        _with_decimal_points(ids_and_targets[c], source) for c in spec.targets
    )
    _check_values(ids_and_targets, spec)
    weight = None if spec.weight is None else weights_of(source, spec.weight, spec.train)
    ids = _ids(ids_and_targets, id_candidates, columns, spec)
    if ids[0] not in columns:
        ids_and_targets = ids_and_targets.with_columns(pl.Series(ids[0], np.arange(ids_and_targets.height)))
    if spec.after and not after_column:
        raise NotFoundError(
            f"--after: no column {spec.after[0]!r}", hint=did_you_mean(spec.after[0], columns, kind="column")
        )
    is_test = test_mask(ids_and_targets, spec)
    n_test = int(is_test.sum())
    targets = [ids_and_targets[t] for t in spec.targets]
    task = infer_task(targets, metric, spec.task)
    classes = [] if task == "regression" else [classes_of(t) for t in targets]
    if task == "binary":
        classes = [with_positive_last(names, target.name) for names, target in zip(classes, targets, strict=True)]
    other_columns = tuple(c for c in columns if c not in spec.drop and c not in ids)
    plan = _CompetitionPlan(
        spec=spec,
        source=source,
        metric=metric,
        ids_and_targets=ids_and_targets,
        columns=other_columns,
        ids=ids,
        is_test=is_test,
        order=test_order(n_test, spec),
        is_public=public_mask(n_test, spec),
        task=task,
        classes=classes,
        weight=weight,
    )
    _check_class_names(plan)
    return plan


def _with_decimal_points(values: pl.Series, source: InputFile) -> pl.Series:
    """Rewrite numbers with a decimal comma, or with commas between thousands, for the solution; others stay."""
    if source.form is None:
        return values
    stats = column_stats(values.to_frame())[values.name]
    column_type = decide([stats], decimal=source.form.decimal, separator=source.form.separator, name=values.name)
    if column_type.dtype != pl.Float64 or column_type.decimal == ".":
        return values
    return values.to_frame().select(column_type.read(values.name).cast(pl.String)).to_series()


def _check_names(columns: list[str], spec: RehearsalSpec) -> None:
    """Refuse names of columns that the file does not have."""
    for column in (*spec.hidden, *spec.ids, *spec.drop):
        if column not in columns:
            raise NotFoundError(
                f"{spec.train} has no column {column!r}", hint=did_you_mean(column, columns, kind="column")
            )


def _check_values(frame: pl.DataFrame, spec: RehearsalSpec) -> None:
    """Refuse targets with empty values."""
    for target in spec.targets:
        n_empty = int((frame[target].is_null() | (frame[target].cast(pl.String) == "").fill_null(value=False)).sum())
        if n_empty:
            raise DataError(
                f"target {target!r} of {spec.train} has {n_empty:,} empty values among {frame.height:,} rows",
                hint="remove those rows from the file first",
            )


def _ids(frame: pl.DataFrame, candidates: tuple[str, ...], columns: list[str], spec: RehearsalSpec) -> tuple[str, ...]:
    """Return the id columns: those of `spec`, else a unique candidate, else an unused name for a row number."""
    if spec.ids:
        _check_ids(frame, spec)
        return spec.ids
    for name in candidates:
        if not frame[name].null_count() and not frame[name].is_duplicated().any():
            return (name,)
    name = "row_id"
    while name in columns:
        name += "_"
    return (name,)


def _check_ids(frame: pl.DataFrame, spec: RehearsalSpec) -> None:
    """Refuse the id columns of `spec` if they are empty somewhere or not unique."""
    id_text = f"id {' + '.join(spec.ids)} of {spec.train}"
    hint = "add id columns until each row has its own, or leave out --id: a column row_id is then added"
    n_empty = frame.select(pl.any_horizontal(pl.col(spec.ids).is_null())).to_series().sum()
    if n_empty:
        raise DataError(f"{id_text} is empty in {n_empty:,} of {frame.height:,} rows", hint=hint)
    n_repeated = int(frame.select(spec.ids).is_duplicated().sum())
    if n_repeated:
        raise DataError(f"{id_text} is not unique: {n_repeated:,} rows have an id of another row", hint=hint)


def _check_class_names(plan: _CompetitionPlan) -> None:
    """Refuse a class with the name of an id column: both would be columns of the submission."""
    if plan.task != "multiclass" or plan.metric.prediction_type != "proba":
        return
    for name in plan.classes[0]:
        if name in plan.ids:
            raise ConfigError(
                f"target {plan.spec.targets[0]!r} has a class {name!r}, which is also the name of an id column: "
                "the submission would have two columns of this name",
                hint="rename the id column in the file",
            )


# ------------------------------------------------------------------------------------------------------------ writing


def _data_table(plan: _CompetitionPlan, *, for_test: bool) -> pl.LazyFrame:
    """Return train or test in the order of the file, ids first, as a lazy frame."""
    new_columns: dict[str, Any] = {IN_TEST: plan.is_test}
    frame = plan.source.frame
    if plan.ids[0] not in frame.collect_schema().names():
        new_columns[plan.ids[0]] = plan.ids_and_targets[plan.ids[0]]
    hidden = plan.spec.hidden if for_test else ()
    columns = [*plan.ids, *(c for c in plan.columns if c not in hidden)]
    extended = pl.concat([frame, pl.LazyFrame(new_columns)], how="horizontal")
    return extended.filter(pl.col(IN_TEST) if for_test else ~pl.col(IN_TEST)).select(columns)


def _write_data_files(folder: Path, plan: _CompetitionPlan) -> None:
    """Write train and test, and copy further tables, the leaderboard and a custom metric."""
    spec, data_folder, suffix = plan.spec, folder / "files", plan.source.suffix
    write_table(_data_table(plan, for_test=False), data_folder / f"train{suffix}")
    test = _data_table(plan, for_test=True)
    write_table(test if plan.order is None else test.collect()[plan.order].lazy(), data_folder / f"test{suffix}")
    for table in spec.tables:
        shutil.copyfile(table, data_folder / table.name)
    if spec.leaderboard:
        shutil.copyfile(spec.leaderboard, folder / "leaderboard.csv")
    if ".py:" in spec.metric:
        shutil.copyfile(_custom_metric(spec)[0], folder / "metric.py")


def _write_solution_and_sample(folder: Path, plan: _CompetitionPlan) -> None:
    """Write the hidden solution and the sample submission, both in the order of test."""
    spec = plan.spec
    test = plan.ids_and_targets.filter(plan.is_test)
    test = test if plan.order is None else test[plan.order]
    # Both have the same texts of ids: a time, for example, is written to a CSV file in another form than by a cast.
    texts = test.select(pl.col(c).cast(pl.String) for c in (*plan.ids, *spec.targets))
    solution = [pl.Series(USAGE, np.where(plan.is_public, "public", "private"))]
    if plan.weight is not None:
        test_weight = plan.weight.filter(plan.is_test)
        solution.append((test_weight if plan.order is None else test_weight[plan.order]).alias(_weight_name(plan)))
    texts.with_columns(solution).write_parquet(folder / "solution.parquet")
    values = sample_values(
        plan.ids_and_targets.filter(~plan.is_test), spec.targets, plan.metric, plan.task, plan.classes
    )
    sample = texts.select(plan.ids).with_columns(pl.lit(v).alias(n) for n, v in values.items())
    write_csv(sample, folder / "files" / "sample_submission.csv")


def _weight_name(plan: _CompetitionPlan) -> str:
    """Return the name of the solution's weight column: the column of `spec`, or an unused name; "" without weights."""
    if plan.spec.weight is None:
        return ""
    if plan.spec.is_weight_column:
        return plan.spec.weight
    name = "weight"
    while name in (*plan.ids, *plan.spec.targets, USAGE):
        name += "_"
    return name


def _hosted_competition(slug: str, plan: _CompetitionPlan) -> HostedCompetition:
    """Return the description of a competition for ``host.toml``."""
    spec = plan.spec
    n_test = len(plan.is_public)
    return HostedCompetition(
        title=spec.title or slug,
        task=plan.task,
        metric=spec.metric if ".py:" not in spec.metric else f"metric.py:{plan.metric.name}",
        greater_is_better=plan.metric.greater_is_better,
        id_columns=list(plan.ids),
        target_columns=list(spec.targets),
        classes=plan.classes,
        weight=_weight_name(plan),
        weight_expression="" if spec.is_weight_column else spec.weight or "",
        daily_limit=spec.daily_limit,
        deadline=spec.deadline.isoformat() if spec.deadline else "",
        late_submissions=True,
        created_at=datetime.now(UTC).isoformat(),
        rows_train=plan.ids_and_targets.height - n_test,
        rows_test=n_test,
        rows_public=int(plan.is_public.sum()),
    )


def _check_sample(folder: Path, hosted: HostedCompetition, metric: Metric) -> None:
    """Refuse a competition whose sample can't be scored; a custom metric may be undefined for its constants."""
    if ".py:" in hosted.metric:
        return
    try:
        grade(folder / "files" / "sample_submission.csv", read_solution(folder, hosted), hosted, metric)
    except RejectedError as exc:
        raise DataError(
            f"the metric {hosted.metric!r} can't score this competition's own sample (task {hosted.task}, "
            f"{hosted.rows_public:,} public and {hosted.rows_test - hosted.rows_public:,} private rows): {exc}",
            hint="choose another --metric, --task or --public, or more test rows",
        ) from exc
