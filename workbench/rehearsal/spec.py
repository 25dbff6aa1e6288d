"""What a rehearsal is made from, and the checks that need no data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from workbench import metrics
from workbench.core.errors import ConfigError, NotFoundError, near
from workbench.platforms.interactions import InteractionsSpec, invalid_values
from workbench.rehearsal.leaderboard import read_leaderboard

__all__ = ["KIND", "USAGE", "LogSpec", "RehearsalSpec", "check_log_options", "check_options"]

TASKS = ("binary", "multiclass", "regression")
SERVED = ("train.", "test.", "sample_submission.")
USAGE = "usage"
KIND = "kind"
"""What the solution calls the type of event that a line is about."""


@dataclass(frozen=True)
class RehearsalSpec:
    """What `create` is to do.

    Attributes
    ----------
    train : a file with the targets, of any kind that `wb fetch` reads
    targets : their columns
    metric : a built-in name, or ``path/file.py:function``
    holdout : the share of rows that becomes the test side, at random; or
    after : (column, value): rows with ``column >= value`` become the test side
    ids : the id columns; empty for ``id`` or ``row_id`` where that is unique, else a new ``row_id``
    drop : columns that are known only afterwards: in neither train nor test; `after` may still name one
    tables : further files, served as they are
    task : "binary", "multiclass" or "regression"; None: from the target and the metric
    public : the share of the test rows that the public score is computed on
    daily_limit : submissions a day (UTC)
    deadline : until then private scores are hidden; None: they are shown at once, as in a finished competition
    leaderboard : a CSV with a team and a score column; Kaggle's own download is one
    greater_is_better : the direction of a custom metric; None for a built-in one
    weight : for a weighted metric a column, which stays in train and is hidden from test, or an expression of columns,
        "IsHoliday * 4 + 1", which stay where they are; ``is_weight_column`` says which
    title : "" for the slug
    seed : of the split, of the order of the test rows, and of the public part
    encoding : of `train`, where it is delimited text and the guess is wrong; "" for the guess
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
        """The columns that test does not have: the targets, and the weight."""
        return (*self.targets, *((self.weight,) if self.weight and self.is_weight_column else ()))


@dataclass(frozen=True)
class LogSpec:
    """What `create` is to do with a log of interactions: the task recommend.

    Attributes
    ----------
    train : a file with a line per event, of any kind that `wb fetch` reads
    log : its columns, the cut and the horizon, whose events are hidden
    metric : of lists: "recall@20" and the like
    target : what the sample's column of lists is called
    id : what the sample's column of ids is called; "" for the user's column, with "_type" behind it where ids have one
    tables, public, daily_limit, deadline, leaderboard, title : as `RehearsalSpec` has them; parts are made of users
    seed : of the public part, and of the points at which sessions are cut
    encoding : as `RehearsalSpec` has it
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
        return self.id or (f"{self.log.user}_type" if self.log.by_kind else self.log.user)


def check_log_options(slug: str, spec: LogSpec) -> metrics.Metric:
    """Check what can be checked without reading the data, and return the metric.

    Raises
    ------
    ConfigError, NotFoundError, DamagedError
        As `check_options`.
    """
    for invalid in invalid_values(spec.log):
        raise ConfigError(f"--{invalid.key}: {invalid.message}", hint=invalid.hint)
    lists = ", ".join(name for name in metrics.names() if name.endswith("@K"))
    metric = None if ".py:" in spec.metric else metrics.get(spec.metric)
    if metric is None or metric.needs != "ranked":
        raise ConfigError(
            f"the metric {spec.metric!r} does not score lists, which the task recommend gives",
            hint=f"one of {lists}, with a number for K",
        )
    if spec.target == spec.id_column or {spec.target, spec.id_column} & {USAGE, KIND}:
        raise ConfigError(
            f"the sample's columns would be {spec.id_column!r} and {spec.target!r}: they must differ, and neither may "
            f"be {USAGE!r} or {KIND!r}, which the solution has of its own",
            hint="choose other names by --id and --target",
        )
    _check_hosting(slug, spec)
    return metric


def check_options(slug: str, spec: RehearsalSpec) -> None:
    """Check what can be checked without reading the data.

    Raises
    ------
    ConfigError
        For options that contradict each other or are out of range.
    NotFoundError
        For files that are not there.
    DamagedError
        For a leaderboard that has no team and score.
    """
    if (spec.holdout is None) == (spec.after is None):
        raise ConfigError("the test side is given by --holdout SHARE or by --after COL=VALUE; give one of them")
    if spec.holdout is not None:
        _check_share("holdout", spec.holdout)
    if spec.task is not None and spec.task not in TASKS:
        raise ConfigError(f"--task {spec.task!r}", hint=near(spec.task, TASKS, kind="task"))
    _check_columns(spec)
    _check_hosting(slug, spec)


def _check_hosting(slug: str, spec: RehearsalSpec | LogSpec) -> None:
    """Check what every rehearsal has: a name, files, a public part, a limit, a deadline."""
    if not slug or not all(c.isalnum() or c in "-_" for c in slug):
        raise ConfigError(f"{slug!r} is not a valid competition name", hint="letters, digits, - and _")
    _check_share("public", spec.public)
    if spec.daily_limit < 1:
        raise ConfigError(f"--daily-limit {spec.daily_limit}: expected at least 1 submission a day")
    if spec.deadline is not None and spec.deadline.tzinfo is None:
        raise ConfigError(f"the deadline {spec.deadline} has no time zone", hint="give it as UTC")
    for path in (spec.train, *spec.tables, *([spec.leaderboard] if spec.leaderboard else [])):
        if not path.is_file():
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise NotFoundError(f"there is no file {path}", hint=near(path.name, beside, kind="file"))
    _check_tables(spec.tables)
    if spec.leaderboard:
        read_leaderboard(spec.leaderboard)


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"--{name} {value}: expected a share between 0 and 1")


def _check_columns(spec: RehearsalSpec) -> None:
    if not spec.targets:
        raise ConfigError("a local competition needs a target", hint="--target COL")
    named = [*spec.ids, *spec.hidden]
    for column in named:
        if named.count(column) > 1:
            raise ConfigError(f"column {column!r} is named twice among the ids, the targets and the weight")
        if column in spec.drop:
            raise ConfigError(f"--drop {column}: it is an id, a target or the weight, which the competition needs")
        if column == USAGE:
            raise ConfigError(
                f"a column called {USAGE!r} can't be an id, a target or the weight: the solution has one of its own",
                hint="rename it in the file",
            )


def _check_tables(tables: tuple[Path, ...]) -> None:
    names = [t.name for t in tables]
    for table in tables:
        if names.count(table.name) > 1 or table.name.startswith(SERVED):
            raise ConfigError(f"--table {table}: its name is taken; rename the file")
