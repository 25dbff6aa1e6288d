"""Read and check `competition.toml`, the definition of a competition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, field_validator

from workbench import metrics
from workbench.core.errors import ConfigError, NotFoundError, did_you_mean
from workbench.data.competition.files import StrictModel, in_toml, read_toml, validate
from workbench.data.competition.log import InteractionsTable, read_interactions, refuse_interactions
from workbench.platforms.interactions import InteractionsSpec

__all__ = [
    "CvSpec",
    "Definition",
    "DefinitionFile",
    "FileOptions",
    "SubmissionSpec",
    "TableNames",
    "read_definition",
    "read_file_options",
    "read_key_columns",
    "read_options",
]

TASKS = ("binary", "multiclass", "regression", "ranking", "recommend")
SUBMISSION_FILE = "submission.csv"
SUBMISSION_FORMATS = (".csv", ".parquet")
SCHEMES = ("kfold", "stratified", "group", "stratified_group", "time", "custom")
RECOMMEND_SCHEMES = ("windows", "users")


class _Tables(StrictModel):
    """``[tables]``: the role of each table."""

    train: str = "train"
    """The table with the target; for recommenders the log."""
    test: str = "test"
    """The table to predict."""
    sample_submission: str | Literal[False] = "sample_submission"
    """The platform's example of a submission; `false` if there is none."""


class _Cv(StrictModel):
    """``[cv]``: the folds."""

    scheme: str = "kfold"
    """`kfold`, `stratified`, `group`, `stratified_group`, `time`, `custom`; for recommenders `windows` or `users`."""
    folds: int = Field(default=5, ge=2, le=1000)
    """The number of folds."""
    seed: int = 42
    """The seed of random folds."""
    column: str | None = None
    """The time column of the scheme `time`."""
    group: str | None = None
    """The column whose values stay in one fold."""
    gap: str | int | float = 0
    """The time between training and validation rows: "7d", or a number."""
    purge: str | int | float = 0
    """How far a label looks ahead: training rows closer to the validation rows are left out."""
    horizon: str | int | float | None = None
    """The length of each validation window of the scheme `time`: "28d", or a number. Default: blocks of equal rows."""
    season: str | int | float | None = None
    """How long before the last window one more is validated: "364d" for the same weeks of the year before."""
    function: str | None = None
    """The function of the scheme `custom`: "split.py:split"."""
    windows: int | None = Field(default=None, ge=1, le=100)
    """For recommenders: the number of windows to score."""

    @field_validator("scheme")
    @classmethod
    def _check_scheme(cls, value: str) -> str:
        if value not in (*SCHEMES, *RECOMMEND_SCHEMES):
            raise ValueError(f"unknown scheme, {did_you_mean(value, (*SCHEMES, *RECOMMEND_SCHEMES), kind='scheme')}")
        return value


class _ReadTable(StrictModel):
    """``[read.TABLE]``: how the files of one table are read."""

    encoding: str | None = None
    """The encoding of the file, such as "cp949"."""
    separator: str | None = None
    """The character between columns."""
    decimal: Literal[".", ","] | None = None
    """The decimal mark."""
    missing: list[str | int | float] = Field(default_factory=list)
    """Values that stand for a missing one, such as -999."""
    explode: str | None = None
    """A column of lists that becomes a row per item."""
    parts: list[str] = Field(default_factory=list)
    """The files that make up the table, in their order."""
    orient: Literal["columns", "index"] | None = None
    """The layout of a JSON object: by column or by row."""


class _Submission(StrictModel):
    """``[submission]``: the file of a code competition."""

    file: str = SUBMISSION_FILE
    """The file that a notebook writes: CSV or Parquet."""
    server: str | Literal[False] | None = None
    """The evaluation server of a code competition; `false` if there is none."""

    @field_validator("file")
    @classmethod
    def _check_file(cls, value: str) -> str:
        if PurePosixPath(value).name != value or PurePosixPath(value).suffix not in SUBMISSION_FORMATS:
            raise ValueError(f"a file name that ends in {' or '.join(SUBMISSION_FORMATS)}, without a folder")
        return value


class _DraftTables(StrictModel):
    """``[tables]`` of a draft; None for a role that the file does not assign."""

    train: str | None = None
    test: str | None = None
    sample_submission: str | Literal[False] | None = None


class _Draft(StrictModel):
    """A file without a task, id, target or metric: it only configures reading, and `wb fetch` adds the definition."""

    slug: str = ""
    title: str = ""
    platform: str = ""
    tables: _DraftTables = _DraftTables()
    submission: _Submission = _Submission()
    read: dict[str, _ReadTable] = Field(default_factory=dict)
    types: dict[str, str] = Field(default_factory=dict)


_Label = str | int | float | bool


class _Weight(StrictModel):
    """``[weight]``: separate weights for training and metric."""

    train: str | None = None
    """The weight in training."""
    metric: str | None = None
    """The weight in the metric."""


class DefinitionFile(StrictModel):
    """The keys of `competition.toml`."""

    slug: str
    """The competition's name in its address."""
    title: str = ""
    """The title."""
    platform: str = "rehearsal"
    """`kaggle`, or `rehearsal` for a local competition."""
    task: str
    """`binary`, `multiclass`, `regression`, `ranking` or `recommend`."""
    id: str | list[str]
    """The id column of the sample, or columns."""
    id_in_test: str | None = None
    """The id in test: another name, a pattern of columns such as "{Store}_{Date}", or "{row+1}"."""
    target: str | list[str]
    """The target column, or columns."""
    metric: str
    """A built-in name, or a function of yours: "metric.py:score"."""
    metric_of_platform: str | None = None
    """The platform's name for a metric that is not built in."""
    greater_is_better: bool | None = None
    """For a function of yours: the direction."""
    metric_needs: Literal["value", "proba", "label", "ranked"] | None = None
    """For a function of yours: what it takes."""
    weight: str | _Weight | None = None
    """The weight of a row: a column of train, or an expression of columns."""
    query: str | None = None
    """For the task `ranking`: the column whose rows are ranked among each other."""
    positive: _Label | dict[str, _Label] | None = None
    """The class whose probability is predicted; a table by target for several targets."""
    tables: _Tables = _Tables()
    """The names of the tables."""
    interactions: InteractionsTable | None = None
    """The log of a recommender competition."""
    cv: _Cv = _Cv()
    """The folds."""
    submission: _Submission = _Submission()
    """The submission file of a code competition."""
    read: dict[str, _ReadTable] = Field(default_factory=dict)
    """How the files of a table are read, if the guess is wrong. Fetch again after a change."""
    types: dict[str, str] = Field(default_factory=dict)
    """Types by column or "table.column": "String", "Int64", "Date %d.%m.%Y"."""

    @field_validator("task")
    @classmethod
    def _check_task(cls, value: str) -> str:
        if value not in TASKS:
            raise ValueError(f"unknown task, {did_you_mean(value, TASKS, kind='task')}")
        return value

    @field_validator("weight", mode="before")
    @classmethod
    def _check_weight(cls, value: Any) -> Any:
        expressions = value.values() if isinstance(value, dict) else [value]
        if not expressions or not all(isinstance(e, str) for e in expressions):
            raise ValueError('expected a string: "COLUMN", an expression of columns, or { train = "…", metric = "…" }')
        if isinstance(value, dict):
            for key in value:
                if key not in ("train", "metric"):
                    raise ValueError(f"{key!r} is neither train nor metric")
            return _Weight(**value)
        return value


@dataclass(frozen=True)
class CvSpec:
    """How the train rows are split; see `workbench.models.folds`.

    Attributes
    ----------
    scheme : str
        For the task recommend "windows", "users", or "kfold" where the file names none: then the length of the log
        decides.
    column : str, optional
        The time column of the scheme "time".
    group : str, optional
        The group column of the schemes "group" and "stratified_group".
    gap, purge : str, int or float
        Numbers in the time column's unit, or durations such as ``"7d"`` where it holds dates or times.
    function : str, optional
        ``file.py:name`` of the scheme "custom".
    horizon, season : str, int or float, optional
        Of the scheme "time": the length of the validation windows, and the distance of one more from the last of them.
    windows : int, optional
        The number of windows that are scored, for the task recommend.
    """

    scheme: str
    folds: int
    seed: int
    column: str | None
    group: str | None
    gap: str | int | float
    purge: str | int | float
    function: str | None
    horizon: str | int | float | None = None
    season: str | int | float | None = None
    windows: int | None = None


@dataclass(frozen=True)
class TableNames:
    """The names of the tables by role; `sample_submission` is None where the competition has no such file."""

    train: str
    test: str
    sample_submission: str | None


@dataclass(frozen=True)
class SubmissionSpec:
    """``[submission]``: the file that is submitted.

    Attributes
    ----------
    file : str
        The file that a notebook writes; the suffix decides between CSV and Parquet.
    server : str, False or None
        A file of the competition's evaluation server, to which notebooks submit their predictions; False where the
        definition states that there is none; None where it states nothing.
    """

    file: str = SUBMISSION_FILE
    server: str | Literal[False] | None = None

    @property
    def is_parquet(self) -> bool:
        """Whether the file is Parquet rather than CSV."""
        return self.file.endswith(".parquet")


@dataclass(frozen=True)
class Definition:
    """A competition's definition, checked.

    Attributes
    ----------
    id_columns : tuple of str
        Columns of the sample submission.
    id_in_test : str, optional
        How the test table has the ids, if not under the same names: a column, ``"{Store}_{Date}"``, or ``"{row+1}"``
        for the number of the row.
    metric_of_platform : str, optional
        The platform's metric, where `metric` only approximates it.
    metric_needs : str, optional
        The predictions that a metric of the competition's own code takes: "value", "proba", "label" or "ranked".
    weight, metric_weight : str, optional
        The weight of a row in training and in the metric: a column of train or an expression; see
        `Competition.weights`.
    query : str, optional
        The column whose rows are ranked among each other; only for the task ranking.
    interactions : InteractionsSpec, optional
        The log, and what is predicted from it; only for the task recommend.
    positive : mapping
        By target, the one of two classes whose probability is predicted, where the file states it.
    """

    slug: str
    title: str
    platform: str
    task: str
    id_columns: tuple[str, ...]
    targets: tuple[str, ...]
    metric: str
    greater_is_better: bool | None
    metric_needs: str | None
    weight: str | None
    tables: TableNames
    cv: CvSpec
    id_in_test: str | None = None
    metric_of_platform: str | None = None
    query: str | None = None
    interactions: InteractionsSpec | None = None
    positive: Mapping[str, str] = field(default_factory=dict)
    metric_weight: str | None = None
    submission: SubmissionSpec = SubmissionSpec()

    @property
    def list_length(self) -> int | None:
        """The K of a metric of lists, such as recall@20; None for other metrics."""
        k = self.metric.partition("@")[2]
        return int(k) if k.isdigit() else None


def read_definition(path: Path, slug: str) -> Definition:
    """Read and check a `competition.toml`.

    Raises
    ------
    NotFoundError
        When the file does not exist, or names a metric that does not exist.
    ConfigError
        When a key or a value is wrong.
    """
    if not path.exists():
        raise NotFoundError(f"{path} is missing", hint=f"`wb fetch {slug}` writes it")
    if read_file_options(path).is_draft:
        raise ConfigError(
            f"{path} only configures how files are read: task, id, target and metric are missing",
            hint=f"`wb fetch {slug}` completes it",
        )
    file = validate(DefinitionFile, read_toml(path), path)
    if file.slug != slug:
        raise ConfigError(f"{path}: slug is {file.slug!r}, but its folder is {slug!r}", hint="make the two equal")
    _check_metric(file, path)
    query = _query_column(file, path)
    interactions = _interactions_spec(file, path)
    cv = file.cv
    if query is not None and cv.scheme in ("group", "stratified_group") and cv.group is None:
        cv = cv.model_copy(update={"group": query})
    _check_cv(cv, path)
    if file.id_in_test is not None and len(_as_tuple(file.id, "id", path)) > 1:
        raise ConfigError(
            f"{path}: id_in_test needs a single id column, got id = {file.id!r}", hint="remove id_in_test"
        )
    return Definition(
        slug=slug,
        title=file.title or slug,
        platform=file.platform,
        task=file.task,
        id_columns=_as_tuple(file.id, "id", path),
        targets=_as_tuple(file.target, "target", path),
        metric=file.metric,
        greater_is_better=file.greater_is_better,
        metric_needs=file.metric_needs,
        weight=file.weight.train if isinstance(file.weight, _Weight) else file.weight,
        metric_weight=file.weight.metric if isinstance(file.weight, _Weight) else file.weight,
        tables=TableNames(file.tables.train, file.tables.test, file.tables.sample_submission or None),
        cv=CvSpec(**cv.model_dump()),
        id_in_test=file.id_in_test,
        metric_of_platform=file.metric_of_platform,
        query=query,
        interactions=interactions,
        positive=_positive_by_target(file, path),
        submission=SubmissionSpec(**file.submission.model_dump()),
    )


@dataclass(frozen=True)
class FileOptions:
    """The settings of a `competition.toml` for reading its files.

    Attributes
    ----------
    read : dict
        ``[read.TABLE]``, by table.
    types : dict
        ``[types]``: type names by column, or by ``table.column``.
    tables : dict
        ``[tables]``: tables by role; False for a sample submission that does not exist.
    is_draft : bool
        Whether the file has none of the keys of a definition, which `wb fetch` then adds.
    submission : mapping
        ``[submission]``, without defaults.
    """

    read: dict[str, dict[str, Any]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str | Literal[False]] = field(default_factory=dict)
    is_draft: bool = False
    submission: Mapping[str, object] = field(default_factory=dict)


def read_file_options(path: Path) -> FileOptions:
    """Return the settings of a `competition.toml`, a draft or a definition, for reading its files.

    Raises
    ------
    ConfigError
        When a key or a value of the file is wrong.
    """
    data = read_toml(path)
    is_draft = not {"task", "id", "target", "metric"} & set(data)
    file: DefinitionFile | _Draft = validate(_Draft, data, path) if is_draft else validate(DefinitionFile, data, path)
    read = {name: _read_table(settings) for name, settings in file.read.items()}
    tables = file.tables.model_dump(exclude_defaults=True, exclude_none=True)
    return FileOptions(read, file.types, tables, is_draft, file.submission.model_dump(exclude_unset=True))


def read_options(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return ``[read.TABLE]``, by table, and ``[types]`` of a `competition.toml`.

    Raises
    ------
    ConfigError
        When a key or a value of the file is wrong.
    """
    options = read_file_options(path)
    return options.read, options.types


def _read_table(settings: _ReadTable) -> dict[str, Any]:
    """Return the keys of ``[read.TABLE]`` that are set, with `missing` as texts."""
    options = settings.model_dump(exclude_defaults=True)
    # -999 and "-999" are equivalent.
    return options | ({"missing": [str(m) for m in settings.missing]} if settings.missing else {})


def read_key_columns(path: Path) -> tuple[str, ...]:
    """Return the columns that a `competition.toml` names as ids, users, items and event types; none for a draft.

    Raises
    ------
    ConfigError
        When a key or a value of the file is wrong.
    """
    if read_file_options(path).is_draft:
        return ()
    file = validate(DefinitionFile, read_toml(path), path)
    names = list(_as_tuple(file.id, "id", path))
    if file.id_in_test is not None:
        # The columns of a template such as "{Store}_{Date}"; without braces it is a column itself.
        names += re.findall(r"\{([^{}]+)\}", file.id_in_test) or [file.id_in_test]
    if file.interactions is not None:
        log = file.interactions
        names += [log.user, log.item, *([log.kind] if log.kind else [])]
    return tuple(names)


def _as_tuple(value: str | list[str], key: str, path: Path) -> tuple[str, ...]:
    """Return the columns of `id` or `target` as a tuple; `key` is the key, for the message."""
    columns = (value,) if isinstance(value, str) else tuple(value)
    if not columns or len(set(columns)) != len(columns):
        raise ConfigError(f"{path}: {key} needs at least one column, each once; got {list(columns)}")
    return columns


def _positive_by_target(file: DefinitionFile, path: Path) -> dict[str, str]:
    """Return the label of the positive class by target, for the targets whose positive class the file states."""
    if file.positive is None:
        return {}
    targets = _as_tuple(file.target, "target", path)
    if file.task != "binary":
        raise ConfigError(f"{path}: positive is for the task binary, got task = {file.task!r}", hint="remove it")
    if not isinstance(file.positive, dict):
        if len(targets) > 1:
            raise ConfigError(
                f"{path}: positive = {file.positive!r}, but there are {len(targets)} targets",
                hint=f'write positive = {{ {targets[0]} = "…" }}',
            )
        return {targets[0]: str(file.positive)}
    for name in file.positive:
        if name not in targets:
            raise ConfigError(
                f"{path}: positive.{name}: no such target", hint=did_you_mean(name, targets, kind="target")
            )
    return {name: str(label) for name, label in file.positive.items()}


def _query_column(file: DefinitionFile, path: Path) -> str | None:
    """Return the query column of the task ranking: `query`, else the group column; None for other tasks."""
    if file.task != "ranking":
        if file.query is not None:
            raise ConfigError(f"{path}: query is for the task ranking, got task = {file.task!r}", hint="remove it")
        return None
    query = file.query or file.cv.group
    if query is None:
        raise ConfigError(
            f"{path}: the task ranking needs the column whose rows are ranked among each other",
            hint='add query = "…" (a search, a session, a user)',
        )
    return query


def _interactions_spec(file: DefinitionFile, path: Path) -> InteractionsSpec | None:
    """Check and return ``[interactions]``, which only the task recommend has; None for other tasks."""
    if file.task != "recommend":
        if file.interactions is not None:
            refuse_interactions(file.task, path)
        key = "scheme" if file.cv.scheme in RECOMMEND_SCHEMES else "windows"
        if key == "scheme" or file.cv.windows is not None:
            raise ConfigError(
                f"{path}: cv.{key} = {getattr(file.cv, key)!r} is for the task recommend, got task = {file.task!r}",
                hint=f"remove {key} from [cv]",
            )
        return None
    for key in ("id", "target"):
        if len(_as_tuple(getattr(file, key), key, path)) > 1:
            raise ConfigError(f"{path}: the task recommend needs a single {key} column, got {list(getattr(file, key))}")
    for key in ("id_in_test", "weight", "query"):
        if getattr(file, key) is not None:
            raise ConfigError(f"{path}: {key} is not for the task recommend", hint="remove it; see [interactions]")
    if file.cv.scheme not in ("kfold", *RECOMMEND_SCHEMES):
        raise ConfigError(
            f"{path}: cv.scheme = {file.cv.scheme!r}, but the task recommend is scored by windows of time, or by users",
            hint='remove scheme, or write scheme = "windows" or "users"; folds and seed remain',
        )
    if file.cv.windows is not None and file.cv.scheme == "users":
        raise ConfigError(
            f'{path}: cv.windows = {file.cv.windows}, but cv.scheme = "users" has a single window',
            hint="remove one of the two",
        )
    if ".py:" in file.metric or metrics.get(file.metric).prediction_type != "ranked":
        list_metrics = [name for name in metrics.names() if name.endswith("@K")]
        raise ConfigError(
            f"{path}: metric = {file.metric!r} does not score lists, and the task recommend predicts lists",
            hint=f"one of {', '.join(list_metrics)}, with a number for K",
        )
    return read_interactions(file.interactions, path)


def _check_metric(file: DefinitionFile, path: Path) -> None:
    """Refuse an unknown metric, a contradiction of its direction, and a weighted metric without weights."""
    if ".py:" in file.metric:
        if file.greater_is_better is None:
            raise ConfigError(
                f"{path}: the metric {file.metric!r} needs a direction", hint="add greater_is_better = true (or false)"
            )
        return
    try:
        metric = metrics.get(file.metric)
    except NotFoundError as exc:
        raise NotFoundError(f"{path}: metric: {exc.message}", hint=exc.hint) from exc
    if file.greater_is_better not in (None, metric.greater_is_better):
        raise ConfigError(
            f"{path}: greater_is_better = {in_toml(file.greater_is_better)} contradicts the metric {metric.name!r}",
            hint="remove greater_is_better: it is for metrics of your own",
        )
    is_unweighted = file.weight is None or (isinstance(file.weight, _Weight) and file.weight.metric is None)
    if metric.name.startswith("wmae") and is_unweighted:
        raise ConfigError(
            f"{path}: the metric {metric.name!r} needs weights",
            hint='add weight = "COLUMN" (of train), or an expression: weight = "IsHoliday * 4 + 1"',
        )


def _check_cv(cv: _Cv, path: Path) -> None:
    """Refuse a scheme without the key that it needs."""
    key_by_scheme = {"time": "column", "group": "group", "stratified_group": "group", "custom": "function"}
    required_key = key_by_scheme.get(cv.scheme)
    if required_key is not None and getattr(cv, required_key) is None:
        raise ConfigError(
            f"{path}: cv.scheme = {cv.scheme!r} needs cv.{required_key}", hint=f'add {required_key} = "…" under [cv]'
        )
    for option in ("horizon", "season"):
        if getattr(cv, option) is not None and cv.scheme != "time":
            raise ConfigError(
                f"{path}: cv.{option} is an option of the scheme 'time', and cv.scheme = {cv.scheme!r}",
                hint=f"remove {option}",
            )
    if cv.season is not None and cv.horizon is None:
        raise ConfigError(
            f"{path}: cv.season = {cv.season!r} needs cv.horizon, the length of the windows",
            hint='add horizon = "…" under [cv], such as "28d"',
        )
