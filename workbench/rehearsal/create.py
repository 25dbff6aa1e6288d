"""From a file with the target to a hosted competition: split, hide the solution, write the sample."""

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

from workbench.core.errors import ConfigError, DataError, NotFoundError, near
from workbench.core.frames import write_csv
from workbench.core.row_expressions import named_columns
from workbench.data.ingest.counting import column_stats
from workbench.data.ingest.types import decide
from workbench.metrics import Metric
from workbench.rehearsal.files import built_beside, place_for, sink
from workbench.rehearsal.grade import RejectedError, grade, read_solution
from workbench.rehearsal.host import Host, host_text, load_metric
from workbench.rehearsal.labels import classes_of, infer_task, positive_last, sample_values
from workbench.rehearsal.log import create_log
from workbench.rehearsal.opened import Opened, Report, opened
from workbench.rehearsal.spec import USAGE, LogSpec, RehearsalSpec, check_options
from workbench.rehearsal.split import public_part, served_order, test_side
from workbench.rehearsal.weights import weights_of

__all__ = ["create"]

TEST = "__test__"
DEFAULT_IDS = ("id", "Id", "ID", "row_id")


@dataclass(frozen=True)
class _CompetitionPlan:
    """All that is decided before anything is written.

    `source` is the file, open; `keys` has the ids and targets of every row, `weight` what each weighs; `order` is the
    served order of the test rows, None for the file's; `is_public` follows the served order.
    """

    spec: RehearsalSpec
    source: Opened
    metric: Metric
    keys: pl.DataFrame
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
    report: Report = lambda _: None,
) -> Path:
    """Host a competition in ``competitions/<slug>/rehearsal`` and return that folder.

    The folder is built beside its place and renamed: it is never half there. Of the file, the columns that decide
    (ids, targets, weight, the one of `after`) are read into memory; the rest streams, but for the test side of
    a holdout, whose rows are shuffled in memory.

    Parameters
    ----------
    workspace : Path
    slug : str
    spec : RehearsalSpec, or LogSpec for the task recommend
    force : bool
        Replace a rehearsal that is there; the submissions it received are kept beside it, in
        ``rehearsal-submissions-<time>``.
    report : callable
        Called with what was guessed of how the file is written.

    Raises
    ------
    NotFoundError
        When a file, a column or the metric does not exist.
    ConfigError
        When the options contradict each other, or a rehearsal of that name is there.
    DataError
        When the target has empty values, an id is empty or not unique, a side of the split is empty, or the metric
        can't score the rehearsal's own sample.
    StorageError
        When the folder can't be written.
    """
    if isinstance(spec, LogSpec):
        return create_log(workspace, slug, spec, force=force, report=report)
    check_options(slug, spec)
    final = place_for(workspace, slug, force=force)
    with opened(spec.train, final.parent.parent, encoding=spec.encoding, report=report) as source:
        plan = _decide(spec, source, _load_own(spec))
        with built_beside(final) as folder:
            _write_tables(folder, plan)
            _write_test(folder, plan)
            host = _host(slug, plan)
            (folder / "host.toml").write_text(host_text(host), encoding="utf-8")
            _check_sample(folder, host, plan.metric)
    return final


# ----------------------------------------------------------------------------------------------------------- deciding


def _load_own(spec: RehearsalSpec) -> Metric:
    if ".py:" not in spec.metric:
        metric = load_metric(spec.metric, Path(), greater_is_better=False)
        if metric.name == "wmae" and not spec.weight:
            raise ConfigError(
                "the metric wmae needs --weight COLUMN", hint='or an expression: --weight "IsHoliday * 4 + 1"'
            )
        return metric
    if spec.greater_is_better is None:
        raise ConfigError("a metric of your own needs --greater-is-better or --less-is-better")
    file, function = _own_metric(spec)
    if not file.is_file():
        raise NotFoundError(f"there is no file {file}")
    return load_metric(f"{file.name}:{function}", file.parent, greater_is_better=spec.greater_is_better)


def _own_metric(spec: RehearsalSpec) -> tuple[Path, str]:
    file, _, function = spec.metric.rpartition(":")
    return Path(file), function


def _decide(spec: RehearsalSpec, source: Opened, metric: Metric) -> _CompetitionPlan:
    frame = source.frame
    columns = frame.collect_schema().names()
    if spec.weight and spec.weight not in columns:
        for column in named_columns(spec.weight, columns, where=f"{spec.train}: --weight"):
            if column in spec.drop:
                raise ConfigError(f"--drop {column}: --weight {spec.weight!r} reads it", hint="keep it in train")
        spec = replace(spec, is_weight_column=False)
    _check_names(columns, spec)
    after = (spec.after[0],) if spec.after and spec.after[0] in columns else ()
    candidates = spec.ids or tuple(c for c in DEFAULT_IDS if c in columns and c not in (*spec.drop, *spec.hidden))
    keys = frame.select(list(dict.fromkeys((*candidates, *spec.hidden, *after)))).collect()
    # Empty is empty, quoted or not.
    keys = keys.with_columns(pl.when(cs.string() != "").then(cs.string()).name.keep())
    keys = keys.with_columns(_with_points(keys[c], source) for c in spec.targets)
    _check_values(keys, spec)
    weight = None if spec.weight is None else weights_of(source, spec.weight, spec.train)
    ids = _ids(keys, candidates, columns, spec)
    if ids[0] not in columns:
        keys = keys.with_columns(pl.Series(ids[0], np.arange(keys.height)))
    if spec.after and not after:  # the error names the near ones among all columns
        raise NotFoundError(f"--after: no column {spec.after[0]!r}", hint=near(spec.after[0], columns, kind="column"))
    is_test = test_side(keys, spec)
    n_test = int(is_test.sum())
    targets = [keys[t] for t in spec.targets]
    task = infer_task(targets, metric, spec.task)
    classes = [] if task == "regression" else [classes_of(t) for t in targets]
    if task == "binary":
        classes = [positive_last(of, t.name) for of, t in zip(classes, targets, strict=True)]
    served_columns = tuple(c for c in columns if c not in spec.drop and c not in ids)
    plan = _CompetitionPlan(
        spec=spec,
        source=source,
        metric=metric,
        keys=keys,
        columns=served_columns,
        ids=ids,
        is_test=is_test,
        order=served_order(n_test, spec),
        is_public=public_part(n_test, spec),
        task=task,
        classes=classes,
        weight=weight,
    )
    _check_class_names(plan)
    return plan


def _with_points(values: pl.Series, source: Opened) -> pl.Series:
    """Return numbers that have a decimal comma, or commas between thousands, as the solution has them: with a point."""
    if source.form is None:
        return values
    stats = column_stats(values.to_frame())[values.name]
    meant = decide([stats], decimal=source.form.decimal, separator=source.form.separator, name=values.name)
    if meant.dtype != pl.Float64 or meant.decimal == ".":
        return values
    return values.to_frame().select(meant.read(values.name).cast(pl.String)).to_series()


def _check_names(columns: list[str], spec: RehearsalSpec) -> None:
    for column in (*spec.hidden, *spec.ids, *spec.drop):
        if column not in columns:
            raise NotFoundError(f"{spec.train} has no column {column!r}", hint=near(column, columns, kind="column"))


def _check_values(keys: pl.DataFrame, spec: RehearsalSpec) -> None:
    for target in spec.targets:
        missing = int((keys[target].is_null() | (keys[target].cast(pl.String) == "").fill_null(value=False)).sum())
        if missing:
            raise DataError(
                f"target {target!r} of {spec.train} has {missing:,} empty values among {keys.height:,} rows",
                hint="remove those rows from the file first",
            )


def _ids(keys: pl.DataFrame, candidates: tuple[str, ...], columns: list[str], spec: RehearsalSpec) -> tuple[str, ...]:
    """Return the id columns; one that is not in the file is a row number to be added."""
    if spec.ids:
        _check_ids(keys, spec)
        return spec.ids
    for name in candidates:
        if not keys[name].null_count() and not keys[name].is_duplicated().any():
            return (name,)
    name = "row_id"
    while name in columns:
        name += "_"
    return (name,)


def _check_ids(keys: pl.DataFrame, spec: RehearsalSpec) -> None:
    named = f"id {' + '.join(spec.ids)} of {spec.train}"
    hint = "name further id columns, or none: then a column row_id is added"
    empty = keys.select(pl.any_horizontal(pl.col(spec.ids).is_null())).to_series().sum()
    if empty:
        raise DataError(f"{named} is empty in {empty:,} of {keys.height:,} rows", hint=hint)
    repeated = int(keys.select(spec.ids).is_duplicated().sum())
    if repeated:
        raise DataError(f"{named} is not unique: {repeated:,} rows share theirs", hint=hint)


def _check_class_names(plan: _CompetitionPlan) -> None:
    """Refuse a class that is called as an id: in the submission each is a column."""
    if plan.task != "multiclass" or plan.metric.needs != "proba":
        return
    for name in plan.classes[0]:
        if name in plan.ids:
            raise ConfigError(
                f"target {plan.spec.targets[0]!r} has a class called {name!r}, as an id column is; in the submission "
                "both are columns",
                hint="rename the id column in the file",
            )


# ------------------------------------------------------------------------------------------------------------ writing


def _side(plan: _CompetitionPlan, *, test: bool) -> pl.LazyFrame:
    """Return the rows of one side in file order, ids first, streaming."""
    marks: dict[str, Any] = {TEST: plan.is_test}
    frame = plan.source.frame
    if plan.ids[0] not in frame.collect_schema().names():
        marks[plan.ids[0]] = plan.keys[plan.ids[0]]
    hidden = plan.spec.hidden if test else ()
    wanted = [*plan.ids, *(c for c in plan.columns if c not in hidden)]
    marked = pl.concat([frame, pl.LazyFrame(marks)], how="horizontal")
    return marked.filter(pl.col(TEST) if test else ~pl.col(TEST)).select(wanted)


def _write_tables(folder: Path, plan: _CompetitionPlan) -> None:
    spec, served = plan.spec, folder / "files"
    suffix = plan.source.suffix
    sink(_side(plan, test=False), served / f"train{suffix}")
    test = _side(plan, test=True)
    sink(test if plan.order is None else test.collect()[plan.order].lazy(), served / f"test{suffix}")
    for table in spec.tables:
        shutil.copyfile(table, served / table.name)
    if spec.leaderboard:
        shutil.copyfile(spec.leaderboard, folder / "leaderboard.csv")
    if ".py:" in spec.metric:
        shutil.copyfile(_own_metric(spec)[0], folder / "metric.py")


def _write_test(folder: Path, plan: _CompetitionPlan) -> None:
    """Write the hidden solution and the sample, both in the served order."""
    spec = plan.spec
    test = plan.keys.filter(plan.is_test)
    test = test if plan.order is None else test[plan.order]
    # Ids go into both as the same texts: a time, for one, has other texts in a CSV file than by itself.
    texts = test.select(pl.col(c).cast(pl.String) for c in (*plan.ids, *spec.targets))
    solution = [pl.Series(USAGE, np.where(plan.is_public, "public", "private"))]
    if plan.weight is not None:
        of_test = plan.weight.filter(plan.is_test)
        solution.append((of_test if plan.order is None else of_test[plan.order]).alias(_weight_name(plan)))
    texts.with_columns(solution).write_parquet(folder / "solution.parquet")
    values = sample_values(plan.keys.filter(~plan.is_test), spec.targets, plan.metric, plan.task, plan.classes)
    sample = texts.select(plan.ids).with_columns(pl.lit(v).alias(n) for n, v in values.items())
    write_csv(sample, folder / "files" / "sample_submission.csv")


def _weight_name(plan: _CompetitionPlan) -> str:
    """Return what the solution calls the weight: its column's name, else one that is free."""
    if plan.spec.weight is None:
        return ""
    if plan.spec.is_weight_column:
        return plan.spec.weight
    name = "weight"
    while name in (*plan.ids, *plan.spec.targets, USAGE):
        name += "_"
    return name


def _host(slug: str, plan: _CompetitionPlan) -> Host:
    spec = plan.spec
    n_test = len(plan.is_public)
    return Host(
        title=spec.title or slug,
        task=plan.task,
        metric=spec.metric if ".py:" not in spec.metric else f"metric.py:{plan.metric.name}",
        greater_is_better=plan.metric.greater_is_better,
        id=list(plan.ids),
        target=list(spec.targets),
        classes=plan.classes,
        weight=_weight_name(plan),
        weight_expression="" if spec.is_weight_column else spec.weight or "",
        daily_limit=spec.daily_limit,
        deadline=spec.deadline.isoformat() if spec.deadline else "",
        late_submissions=True,
        created_at=datetime.now(UTC).isoformat(),
        rows_train=plan.keys.height - n_test,
        rows_test=n_test,
        rows_public=int(plan.is_public.sum()),
    )


def _check_sample(folder: Path, host: Host, metric: Metric) -> None:
    """Refuse to host what can't be scored; a custom metric may be undefined for the sample's constants."""
    if ".py:" in host.metric:
        return
    try:
        grade(folder / "files" / "sample_submission.csv", read_solution(folder, host), host, metric)
    except RejectedError as exc:
        raise DataError(
            f"the metric {host.metric!r} can't score this competition's own sample (task {host.task}, "
            f"{host.rows_public:,} public and {host.rows_test - host.rows_public:,} private rows): {exc}",
            hint="choose another --metric, --task or --public, or a larger test side",
        ) from exc
