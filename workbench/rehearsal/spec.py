"""The specification of a local competition, and the checks that need no data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from workbench import metrics
from workbench.core.errors import ConfigError, NotFoundError, did_you_mean
from workbench.platforms.interactions import InteractionsSpec, invalid_values
from workbench.rehearsal.leaderboard import read_leaderboard

__all__ = ["EVENT_TYPE", "USAGE", "LogSpec", "RehearsalSpec", "check_log_options", "check_options"]

TASKS = ("binary", "multiclass", "regression")
RESERVED_NAMES = ("train.", "test.", "sample_submission.")
"""The beginnings of the names of the data files that are created."""

USAGE = "usage"
"""The solution's column that is "public" or "private"."""

EVENT_TYPE = "kind"
"""The solution's column with the type of the events that a row predicts."""


@dataclass(frozen=True)
class RehearsalSpec:
    """A local competition to be created from a file with the targets.

    Attributes
    ----------
    train : Path
        The file, in any format that `wb fetch` reads.
    targets : tuple of str
        The columns of the targets.
    metric : str
        A built-in name, or ``path/file.py:function``.
    holdout : float, optional
        The share of rows that becomes test, at random.
    after : tuple of str, optional
        Instead of `holdout`: (column, value); rows with ``column >= value`` become test.
    ids : tuple of str
        The id columns; by default ``id`` or ``row_id`` if unique, else a new column ``row_id``.
    drop : tuple of str
        Columns that train and test leave out, as they are not known in time for a prediction. `after` may name one.
    tables : tuple of Path
        Further data files, which are copied.
    task : str, optional
        "binary", "multiclass" or "regression"; by default inferred from the target and the metric.
    public : float
        The share of the test rows that the public score is computed on.
    daily_limit : int
        Submissions per UTC day.
    deadline : datetime, optional
        Private scores are hidden until then; by default they are shown immediately, as in a finished competition.
    leaderboard : Path, optional
        A CSV with a team and a score column, such as Kaggle's download.
    greater_is_better : bool, optional
        The direction of a custom metric; None for a built-in one.
    weight : str, optional
        For a weighted metric: a column, which is hidden from test, or an expression of columns such as
        "IsHoliday * 4 + 1", which are not hidden.
    title : str
        "" for the slug.
    seed : int
        Of the split, the order of the test rows, and the public part.
    encoding : str
        Of `train`, if it is delimited text; "" to guess it.
    is_weight_column : bool
        Whether `weight` is a column, and not an expression.
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
    encoding: str = ""
    is_weight_column: bool = True

    @property
    def hidden(self) -> tuple[str, ...]:
        """The columns that are hidden from test: the targets, and a column of weights."""
        return (*self.targets, *((self.weight,) if self.weight and self.is_weight_column else ()))


@dataclass(frozen=True)
class LogSpec:
    """A local competition of the task recommend, to be created from a log of interactions.

    Attributes
    ----------
    train : Path
        A file with a row per event, in any format that `wb fetch` reads.
    log : InteractionsSpec
        Its columns, the cut, and the horizon whose events are hidden.
    metric : str
        A metric of lists, such as "recall@20".
    target : str
        The sample's column of lists.
    id : str
        The sample's column of ids; by default the name of the user's column, with "_type" appended if ids have a type.
    tables, public, daily_limit, deadline, leaderboard, title, encoding
        See `RehearsalSpec`; the public part is a share of the users.
    seed : int
        Of the public part, and of the split of sessions.
    """

    train: Path
    log: InteractionsSpec
    metric: str
    target: str = "items"
    id: str = ""
    tables: tuple[Path, ...] = ()
    public: float = 0.3
    daily_limit: int = 5
    deadline: datetime | None = None
    leaderboard: Path | None = None
    title: str = ""
    seed: int = 42
    encoding: str = ""

    @property
    def id_column(self) -> str:
        """The sample's column of ids."""
        return self.id or (f"{self.log.user}_type" if self.log.predicts_each_type else self.log.user)


def check_log_options(slug: str, spec: LogSpec) -> metrics.Metric:
    """Check the specification without reading the data, and return the metric.

    Raises
    ------
    ConfigError, NotFoundError, DamagedError
        See `check_options`.
    """
    for invalid in invalid_values(spec.log):
        raise ConfigError(f"--{invalid.key}: {invalid.message}", hint=invalid.hint)
    list_metrics = ", ".join(name for name in metrics.names() if name.endswith("@K"))
    metric = None if ".py:" in spec.metric else metrics.get(spec.metric)
    if metric is None or metric.prediction_type != "ranked":
        raise ConfigError(
            f"the metric {spec.metric!r} does not score lists, which the task recommend needs",
            hint=f"one of {list_metrics}, with a number for K",
        )
    if spec.target == spec.id_column or {spec.target, spec.id_column} & {USAGE, EVENT_TYPE}:
        raise ConfigError(
            f"the sample's columns would be {spec.id_column!r} and {spec.target!r}: they must differ, and neither may "
            f"be {USAGE!r} or {EVENT_TYPE!r}, which are columns of the solution",
            hint="choose other names by --id and --target",
        )
    _check_hosting(slug, spec)
    return metric


def check_options(slug: str, spec: RehearsalSpec) -> None:
    """Check the specification without reading the data.

    Raises
    ------
    ConfigError
        For options that contradict each other or are out of range.
    NotFoundError
        For files that do not exist.
    DamagedError
        For a leaderboard without a team or score column.
    """
    if (spec.holdout is None) == (spec.after is None):
        raise ConfigError("give either --holdout SHARE or --after COL=VALUE, which select the test rows")
    if spec.holdout is not None:
        _check_share("holdout", spec.holdout)
    if spec.task is not None and spec.task not in TASKS:
        raise ConfigError(
            f"--task {spec.task!r} is not a task of a local competition",
            hint=did_you_mean(spec.task, TASKS, kind="task"),
        )
    _check_columns(spec)
    _check_hosting(slug, spec)


def _check_hosting(slug: str, spec: RehearsalSpec | LogSpec) -> None:
    """Check the options of all local competitions: name, files, public part, limit, deadline."""
    if not slug or not all(c.isalnum() or c in "-_" for c in slug):
        raise ConfigError(f"{slug!r} is not a valid competition name", hint="letters, digits, - and _")
    _check_share("public", spec.public)
    if spec.daily_limit < 1:
        raise ConfigError(f"--daily-limit {spec.daily_limit}: expected at least 1 submission a day")
    if spec.deadline is not None and spec.deadline.tzinfo is None:
        raise ConfigError(f"the deadline {spec.deadline} has no time zone", hint="give it as UTC")
    for path in (spec.train, *spec.tables, *([spec.leaderboard] if spec.leaderboard else [])):
        if not path.is_file():
            siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise NotFoundError(f"there is no file {path}", hint=did_you_mean(path.name, siblings, kind="file"))
    _check_tables(spec.tables)
    if spec.leaderboard:
        read_leaderboard(spec.leaderboard)


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"--{name} {value}: expected a share between 0 and 1")


def _check_columns(spec: RehearsalSpec) -> None:
    if not spec.targets:
        raise ConfigError("a local competition needs a target", hint="--target COL")
    required = [*spec.ids, *spec.hidden]
    for column in required:
        if required.count(column) > 1:
            raise ConfigError(f"column {column!r} is named twice among the ids, the targets and the weight")
        if column in spec.drop:
            raise ConfigError(f"--drop {column}: the competition needs it as an id, a target or the weight")
        if column == USAGE:
            raise ConfigError(
                f"a column called {USAGE!r} can't be an id, a target or the weight: the solution has one of its own",
                hint="rename it in the file",
            )


def _check_tables(tables: tuple[Path, ...]) -> None:
    names = [t.name for t in tables]
    for table in tables:
        if names.count(table.name) > 1 or table.name.startswith(RESERVED_NAMES):
            raise ConfigError(
                f"--table {table}: another data file of the competition has this name", hint="rename the file"
            )
