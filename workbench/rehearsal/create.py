"""From a file with the target to a hosted competition: split, hide the solution, write the sample."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workbench.errors import ConfigError, DataError, NotFoundError, near, storage_errors
from workbench.metrics import Metric
from workbench.rehearsal.host import Host, host_text, load_metric

__all__ = ["RehearsalSpec", "create"]

ROW = "__line__"
DEFAULT_IDS = ("id", "Id", "ID", "row_id")
MAX_CLASSES = 20


@dataclass(frozen=True)
class RehearsalSpec:
    """What `create` is to do.

    Attributes
    ----------
    train : a CSV or Parquet file with the targets
    targets : their columns
    metric : a built-in name, or ``path/file.py:function``
    holdout : the share of rows that becomes the test side, at random; or
    after : (column, value): rows with ``column >= value`` become the test side
    ids : the id columns; empty for ``id`` or ``row_id`` where that is unique, else a new ``row_id``
    drop : columns that are known only afterwards
    tables : further files, served as they are
    public : the share of the test rows that the public score is computed on
    deadline : until then private scores are hidden; None: they are shown at once, as in a finished competition
    weight : the column of weights for a weighted metric; it stays in train and is hidden from test
    """

    train: Path
    targets: tuple[str, ...]
    metric: str
    holdout: float | None = None
    after: tuple[str, str] | None = None
    ids: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    tables: tuple[Path, ...] = ()
    task: str | None = None
    public: float = 0.3
    daily_limit: int = 5
    deadline: datetime | None = None
    leaderboard: Path | None = None
    greater_is_better: bool | None = None
    weight: str | None = None
    title: str = ""
    seed: int = 42


def create(workspace: Path, slug: str, spec: RehearsalSpec, *, force: bool = False) -> Path:
    """Host a competition in ``competitions/<slug>/rehearsal`` and return that folder.

    Parameters
    ----------
    workspace : Path
    slug : str
    spec : RehearsalSpec
    force : bool
        Replace a rehearsal that is there; what was submitted to it is kept beside it.

    Raises
    ------
    NotFoundError
        When a file, a column or the metric does not exist.
    ConfigError
        When the options contradict each other, or a rehearsal of that name is there.
    DataError
        When the target has nulls, an id is not unique, or a side of the split is empty.
    """
    _check_options(slug, spec)
    final = workspace / "competitions" / slug / "rehearsal"
    if final.exists() and not force:
        raise ConfigError(f"there is a rehearsal {slug!r} already: {final}", hint="--force replaces it")
    with _built_beside(final) as folder:
        metric = _metric(spec, folder)
        frame = _read(spec)
        ids, frame = _ids(frame, spec)
        is_test = _split(frame, spec)
        task, classes = _task(frame, spec, metric)
        _write_files(folder, frame, is_test, ids, spec)
        train, test = frame.filter(~is_test), frame.filter(is_test)
        if spec.holdout is not None:  # the order of the file must not tell
            test = test.sample(fraction=1, shuffle=True, seed=spec.seed)
        _write_test(folder, test, ids, spec, metric, train, task, classes)
        host = Host(
            title=spec.title or slug,
            task=task,
            metric=spec.metric if ".py:" not in spec.metric else f"metric.py:{metric.name}",
            greater_is_better=metric.greater_is_better,
            id=list(ids),
            target=list(spec.targets),
            classes=classes,
            weight=spec.weight or "",
            daily_limit=spec.daily_limit,
            deadline=spec.deadline.isoformat() if spec.deadline else "",
            late_submissions=True,
            created_at=datetime.now(UTC).isoformat(),
        )
        (folder / "host.toml").write_text(host_text(host), encoding="utf-8")
    return final


# ----------------------------------------------------------------------------------------------------------- checking


def _check_options(slug: str, spec: RehearsalSpec) -> None:
    if not slug or not all(c.isalnum() or c in "-_" for c in slug):
        raise ConfigError(f"{slug!r} is no name for a competition", hint="letters, digits, - and _")
    if (spec.holdout is None) == (spec.after is None):
        raise ConfigError("the test side is given by --holdout SHARE or by --after COL=VALUE; give one of them")
    for name, value in (("holdout", spec.holdout), ("public", spec.public)):
        if value is not None and not 0 < value < 1:
            raise ConfigError(f"--{name} {value}: expected a share between 0 and 1")
    for path in (spec.train, *spec.tables, *([spec.leaderboard] if spec.leaderboard else [])):
        if not path.is_file():
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise NotFoundError(f"there is no file {path}", hint=near(path.name, beside, what="file"))


def _metric(spec: RehearsalSpec, folder: Path) -> Metric:
    if ".py:" not in spec.metric:
        metric = load_metric(spec.metric, folder, greater_is_better=False)
        if metric.name == "wmae" and not spec.weight:
            raise ConfigError("the metric wmae needs --weight COLUMN")
        return metric
    if spec.greater_is_better is None:
        raise ConfigError("a metric of your own needs --greater-is-better or --less-is-better")
    file, _, function = spec.metric.rpartition(":")
    if not Path(file).is_file():
        raise NotFoundError(f"there is no file {file}")
    shutil.copyfile(file, folder / "metric.py")
    return load_metric(f"metric.py:{function}", folder, greater_is_better=spec.greater_is_better)


def _read(spec: RehearsalSpec) -> pl.DataFrame:
    """Read the file; of CSV, every column as text, so that nothing is lost in rewriting it."""
    try:
        if spec.train.suffix == ".parquet":
            frame = pl.read_parquet(spec.train)
        else:
            frame = pl.read_csv(
                spec.train, infer_schema=False, separator="\t" if ".tsv" in spec.train.suffixes else ","
            )
    except pl.exceptions.PolarsError as exc:
        raise DataError(f"{spec.train} can't be read: {(str(exc).splitlines() or [''])[0]}") from exc
    for column in (*spec.targets, *spec.ids, *spec.drop, *((spec.weight,) if spec.weight else ())):
        if column not in frame.columns:
            raise NotFoundError(
                f"{spec.train} has no column {column!r}", hint=near(column, frame.columns, what="column")
            )
    for target in spec.targets:
        missing = frame[target].null_count()
        if missing:
            raise DataError(
                f"target {target!r} of {spec.train} has {missing:,} empty values among {frame.height:,} rows",
                hint="take those rows out of the file first",
            )
    return frame.drop(spec.drop)


def _ids(frame: pl.DataFrame, spec: RehearsalSpec) -> tuple[tuple[str, ...], pl.DataFrame]:
    if spec.ids:
        repeated = int(frame.select(spec.ids).is_duplicated().sum())
        if repeated:
            raise DataError(
                f"id {' + '.join(spec.ids)} of {spec.train} is not unique: {repeated:,} rows share theirs",
                hint="name further id columns, or none: then a column row_id is added",
            )
        return spec.ids, frame
    for name in DEFAULT_IDS:
        if name in frame.columns and not frame[name].is_duplicated().any():
            return (name,), frame
    name = "row_id"
    while name in frame.columns:
        name += "_"
    return (name,), frame.with_row_index(name)


def _split(frame: pl.DataFrame, spec: RehearsalSpec) -> pl.Series:
    if spec.holdout is not None:
        size = max(1, round(frame.height * spec.holdout))
        mask = np.zeros(frame.height, np.bool_)
        mask[np.random.default_rng(spec.seed).permutation(frame.height)[:size]] = True
        is_test = pl.Series(mask)
    else:
        is_test = _after(frame, *(spec.after or ("", "")))
    share = int(is_test.sum())
    if share < 2 or share > frame.height - 2:
        raise DataError(
            f"{share:,} of {frame.height:,} rows of {spec.train} fall on the test side; both sides need at least 2",
            hint="choose another --holdout or --after",
        )
    return is_test


def _after(frame: pl.DataFrame, column: str, value: str) -> pl.Series:
    if column not in frame.columns:
        raise NotFoundError(f"--after: no column {column!r}", hint=near(column, frame.columns, what="column"))
    series = frame[column]
    if series.null_count():
        raise DataError(f"--after: {column!r} has {series.null_count():,} empty values")
    try:
        if series.dtype.is_temporal():
            return series.cast(pl.Datetime("us")) >= datetime.fromisoformat(value)
        if series.dtype.is_numeric():
            return series.cast(pl.Float64) >= float(value)
        numbers = series.cast(pl.Float64, strict=False)
        # Numbers in a text file are compared as numbers; dates in ISO form sort as text.
        return numbers >= float(value) if not numbers.null_count() else series >= value
    except ValueError:
        raise ConfigError(f"--after {column}={value}: {value!r} can't be compared with {series[0]!r}") from None


def _task(frame: pl.DataFrame, spec: RehearsalSpec, metric: Metric) -> tuple[str, list[str]]:
    columns = [frame[t] for t in spec.targets]
    numbers = [c.cast(pl.Float64, strict=False) for c in columns]
    if spec.task == "regression" or (spec.task is None and metric.needs == "value"):
        for column, number in zip(columns, numbers, strict=True):
            if number.null_count():
                raise DataError(f"target {column.name!r} is not a number everywhere, which regression needs")
        return "regression", []
    widest = max(c.n_unique() for c in columns)
    fractions = any(n.null_count() == 0 and bool((n != n.floor()).any()) for n in numbers)
    if spec.task is None and (
        fractions or (metric.needs != "ranked" and widest > MAX_CLASSES and not numbers[0].null_count())
    ):
        return "regression", []
    task = spec.task or ("binary" if widest == 2 else "multiclass")
    if task == "binary" and any(c.n_unique() != 2 for c in columns):
        raise DataError(f"task binary needs targets of 2 values; {columns[0].name!r} has {columns[0].n_unique()}")
    if task == "multiclass" and len(columns) > 1:
        return task, []
    return task, _sorted_classes(columns[0])


def _sorted_classes(column: pl.Series) -> list[str]:
    numbers = column.cast(pl.Int64, strict=False)
    if not numbers.null_count():
        return [str(v) for v in numbers.unique().sort().to_list()]
    return [str(v) for v in column.cast(pl.String).unique().sort().to_list()]


# ------------------------------------------------------------------------------------------------------------ writing


@contextmanager
def _built_beside(final: Path) -> Iterator[Path]:
    """Give a folder to build in; put it in its place at the end, keeping what an older one had received."""
    temporary = final.with_name(f".rehearsal-{os.getpid()}-{uuid.uuid4().hex[:6]}.tmp")
    with storage_errors(final):
        try:
            for name in ("files", "submissions"):
                (temporary / name).mkdir(parents=True)
            yield temporary
            if final.exists():
                received = final / "submissions"
                if received.is_dir() and any(received.iterdir()):
                    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
                    received.rename(final.with_name(f"rehearsal-submissions-{stamp}"))
                shutil.rmtree(final)
            temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write(frame: pl.DataFrame, path: Path) -> None:
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path)


def _suffix(spec: RehearsalSpec) -> str:
    return ".parquet" if spec.train.suffix == ".parquet" else ".csv"


def _write_files(
    folder: Path, frame: pl.DataFrame, is_test: pl.Series, ids: tuple[str, ...], spec: RehearsalSpec
) -> None:
    first = [*ids, *(c for c in frame.columns if c not in ids)]
    _write(frame.filter(~is_test).select(first), folder / "files" / f"train{_suffix(spec)}")
    for table in spec.tables:
        target = folder / "files" / table.name
        if target.exists() or table.name.startswith(("train.", "test.", "sample_submission.")):
            raise ConfigError(f"--table {table}: its name is taken; rename the file")
        shutil.copyfile(table, target)
    if spec.leaderboard:
        shutil.copyfile(spec.leaderboard, folder / "leaderboard.csv")


def _write_test(
    folder: Path,
    test: pl.DataFrame,
    ids: tuple[str, ...],
    spec: RehearsalSpec,
    metric: Metric,
    train: pl.DataFrame,
    task: str,
    classes: list[str],
) -> None:
    hidden = [*spec.targets, *((spec.weight,) if spec.weight else ())]
    visible = [*ids, *(c for c in test.columns if c not in ids and c not in hidden)]
    _write(test.select(visible), folder / "files" / f"test{_suffix(spec)}")
    n_public = min(max(1, round(test.height * spec.public)), test.height - 1)
    usage = np.full(test.height, "private", dtype=object)
    usage[np.random.default_rng(spec.seed + 1).permutation(test.height)[:n_public]] = "public"
    solution = test.select(*(pl.col(c).cast(pl.String) for c in (*ids, *hidden))).with_columns(
        usage=pl.Series(usage.tolist())
    )
    solution.write_parquet(folder / "solution.parquet")
    values = _sample_values(train, spec.targets, metric, task, classes)
    sample = test.select(ids).with_columns(pl.lit(v).alias(n) for n, v in values.items())
    sample.write_csv(folder / "files" / "sample_submission.csv")


def _sample_values(
    train: pl.DataFrame, targets: tuple[str, ...], metric: Metric, task: str, classes: list[str]
) -> dict[str, Any]:
    """Return the constant that the sample holds in each column: the best that can be said without a model."""
    if task == "multiclass" and metric.needs == "proba" and len(targets) == 1:
        shares = train[targets[0]].cast(pl.String).value_counts(normalize=True)
        known = dict(shares.iter_rows())
        return {c: float(known.get(c, 0.0)) for c in classes}
    return {t: _constant(train[t], metric, task) for t in targets}


def _constant(column: pl.Series, metric: Metric, task: str) -> Any:
    if task == "regression":
        numbers = column.cast(pl.Float64)
        middle = float(numbers.median() or 0.0)  # type: ignore[arg-type]
        return float(round(middle)) if metric.needs == "label" else middle
    common = [v for v, _ in column.cast(pl.String).value_counts(sort=True).iter_rows()]
    if metric.needs == "ranked":
        return " ".join(common[: int(metric.name.partition("@")[2])])
    if metric.needs == "label":
        return int(common[0]) if column.cast(pl.Int64, strict=False).null_count() == 0 else common[0]
    positive = _sorted_classes(column)[-1]
    return float((column.cast(pl.String) == positive).sum() / len(column))
