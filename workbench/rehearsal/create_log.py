"""Create a local competition from a log of interactions, whose last horizon is hidden.

With the cut "last", train is the log before the horizon, and the events of each user in the horizon are predicted. With
the cut "session", sessions that begin in the horizon are split after a random event: test has the events up to it, and
the events after it are predicted. The solution has the true items of each row, separated by spaces.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import DataError
from workbench.core.frames import write_csv
from workbench.metrics import Metric
from workbench.platforms.interactions import InteractionsSpec
from workbench.rehearsal.folder import build_folder, folder_path, write_table
from workbench.rehearsal.grade import RejectedError, grade, read_solution
from workbench.rehearsal.host import HostedCompetition, host_text
from workbench.rehearsal.input_file import InputFile, open_input
from workbench.rehearsal.interaction_log import EVENT_NUMBER, InteractionLog, read_log
from workbench.rehearsal.labels import list_length, numbers
from workbench.rehearsal.spec import EVENT_TYPE, USAGE, LogSpec, check_log_options
from workbench.rehearsal.split import public_mask

__all__ = ["create_log_competition"]

IN_TEST = "__shown__"
"""A temporary column: whether an event of a split session is in the test table."""


@dataclass(frozen=True)
class _LogSplit:
    """What is predicted: users in the order of the sample, and their hidden events.

    `test_events` are the numbers of the events that are in test; None if there is no test table.
    """

    users: pl.Series
    hidden: pl.DataFrame
    test_events: npt.NDArray[np.int64] | None


def create_log_competition(
    workspace: Path, slug: str, spec: LogSpec, *, force: bool = False, context: RunContext = SILENT
) -> Path:
    """Host a competition of the task recommend; see `workbench.rehearsal.create`.

    The log is streamed; only the events of the last horizon are read into memory.

    Raises
    ------
    ConfigError, NotFoundError, DataError, StorageError
        As `create` does.
    """
    metric = check_log_options(slug, spec)
    final_folder = folder_path(workspace, slug, force=force)
    with open_input(spec.train, final_folder.parent.parent, encoding=spec.encoding, context=context) as source:
        log = read_log(spec.train, source.frame, spec.log)
        split = _split_by_time(log) if spec.log.cut == "last" else _split_sessions(log, spec.seed)
        solution = _solution(split, spec)
        with build_folder(final_folder) as folder:
            _write_data_files(folder, source, log, split, spec)
            solution.write_parquet(folder / "solution.parquet")
            sample = _sample(log, solution, spec, list_length(metric))
            write_csv(sample, folder / "files" / "sample_submission.csv")
            hosted = _hosted_competition(slug, spec, metric, log, solution)
            (folder / "host.toml").write_text(host_text(hosted), encoding="utf-8")
            _check_sample(folder, hosted, metric)
    return final_folder


# ---------------------------------------------------------------------------------------------------------- splitting


def _users(frame: pl.LazyFrame, spec: InteractionsSpec) -> pl.Series:
    """Return the distinct users of a log as texts."""
    return frame.select(pl.col(spec.user).cast(pl.String).unique().alias("user")).collect(engine="streaming")["user"]


def _split_by_time(log: InteractionLog) -> _LogSplit:
    """Hide all events of the last horizon."""
    hidden = log.last_horizon()
    users = pl.concat([_users(log.earlier, log.spec), hidden["user"]]).unique()
    return _LogSplit(_sorted_ids(users), hidden, None)


def _sorted_ids(ids: pl.Series) -> pl.Series:
    """Return ids in an order that reveals nothing: by number if all are numbers, else alphabetically."""
    frame = pl.DataFrame({"id": ids, "number": numbers(ids)})
    return frame.sort("id" if frame["number"].null_count() else "number", "id")["id"]


def _split_sessions(log: InteractionLog, seed: int) -> _LogSplit:
    """Split each session that begins in the last horizon at a random event; both sides have at least one event."""
    earlier_users = pl.DataFrame({"user": _users(log.earlier, log.spec)})
    events = log.last_horizon().join(earlier_users, on="user", how="anti", maintain_order="left")
    events = events.filter(pl.len().over("user") > 1)
    if not events.height:
        raise DataError(
            "no session of two events or more begins in the last horizon",
            hint="choose a longer --horizon, or --cut last",
        )
    users = _sorted_ids(events["user"].unique())
    random_by_user = pl.DataFrame({"user": users, "random": np.random.default_rng(seed + 3).random(len(users))})
    position, n_events = pl.int_range(pl.len()).over("user"), pl.len().over("user")
    n_in_test = 1 + (pl.col("random") * (n_events - 1)).floor().cast(pl.Int64)
    events = events.join(random_by_user, on="user", maintain_order="left").with_columns(
        (position < n_in_test).alias(IN_TEST)
    )
    test_events = events.filter(IN_TEST)[EVENT_NUMBER].cast(pl.Int64).to_numpy()
    return _LogSplit(users, events.filter(~pl.col(IN_TEST)), test_events)


# ------------------------------------------------------------------------------------------------------------ solution


def _solution(split: _LogSplit, spec: LogSpec) -> pl.DataFrame:
    """Return id, true items, usage and, if the ids contain it, event type of each row of the sample, in its order."""
    interactions = spec.log
    rows = pl.DataFrame({"user": split.users})
    if interactions.predicts_each_type:
        rows = rows.join(
            pl.DataFrame({EVENT_TYPE: list(interactions.weights)}), how="cross", maintain_order="left_right"
        )
    keys = rows.columns
    rows = rows.join(_true_items(split.hidden, interactions, keys), on=keys, how="left", maintain_order="left")
    rows = rows.join(_usage(rows, spec), on="user", how="left", maintain_order="left")
    template_parts = [part for part in re.split(r"(\{user\}|\{kind\})", interactions.id) if part]
    id_parts = [pl.col(part[1:-1]) if part.startswith("{") else pl.lit(part) for part in template_parts]
    row_id, items = pl.concat_str(id_parts).alias(spec.id_column), pl.col("items").fill_null("").alias(spec.target)
    return rows.select(row_id, items, USAGE, *keys[1:])


def _true_items(hidden: pl.DataFrame, interactions: InteractionsSpec, keys: list[str]) -> pl.DataFrame:
    """Return the distinct hidden items of each row (`keys`), in the order of their first events."""
    if interactions.predicts_each_type:
        # The rule of the OTTO competition: of a type in `first` only the next event is predicted, of the others all.
        is_next = ~pl.col(EVENT_TYPE).is_in(list(interactions.first)) | (pl.int_range(pl.len()).over(keys) == 0)
        hidden = hidden.filter(pl.col(EVENT_TYPE).is_in(list(interactions.weights))).filter(is_next)
    distinct = hidden.unique([*keys, "item"], keep="first", maintain_order=True)
    return distinct.group_by(keys, maintain_order=True).agg(pl.col("item").str.join(" ").alias("items"))


def _usage(rows: pl.DataFrame, spec: LogSpec) -> pl.DataFrame:
    """Return whether each user is scored publicly or privately.

    The public share is of users with true items: others do not affect the scores.
    """
    is_scored = pl.col("items").is_not_null().any().alias("scored")
    users = rows.group_by("user", maintain_order=True).agg(is_scored)
    n_scored = int(users["scored"].sum())
    if n_scored < 2:
        raise DataError(
            f"{n_scored} users have an event to predict in the last horizon; each part, public or private, needs one",
            hint="choose a longer --horizon",
        )
    usage = np.full(users.height, "private")
    usage[users["scored"].to_numpy()] = np.where(public_mask(n_scored, spec), "public", "private")
    return users.select("user", pl.Series(USAGE, usage))


# ------------------------------------------------------------------------------------------------------------- writing


def _write_data_files(folder: Path, source: InputFile, log: InteractionLog, split: _LogSplit, spec: LogSpec) -> None:
    """Write train and, for split sessions, test; copy further tables and the leaderboard."""
    data_folder, suffix = folder / "files", source.suffix
    write_table(log.earlier, data_folder / f"train{suffix}")
    if split.test_events is not None:
        is_in_test = np.zeros(log.n_events, np.bool_)
        is_in_test[split.test_events] = True
        marked = pl.concat([log.frame, pl.LazyFrame({IN_TEST: is_in_test})], how="horizontal")
        write_table(marked.filter(IN_TEST).drop(IN_TEST), data_folder / f"test{suffix}")
    for table in spec.tables:
        shutil.copyfile(table, data_folder / table.name)
    if spec.leaderboard:
        shutil.copyfile(spec.leaderboard, folder / "leaderboard.csv")


def _sample(log: InteractionLog, solution: pl.DataFrame, spec: LogSpec, k: int) -> pl.DataFrame:
    """Return the sample submission: the k most frequent items of train, of the row's type if it has one."""
    interactions = spec.log
    column_by_key = {"item": interactions.item} | (
        {EVENT_TYPE: interactions.kind} if interactions.predicts_each_type and interactions.kind else {}
    )
    columns = [pl.col(column).cast(pl.String).alias(key) for key, column in column_by_key.items()]
    counts = log.earlier.select(columns).group_by(*column_by_key).len().collect(engine="streaming")
    counts = counts.sort(["len", "item"], descending=[True, False])
    if not interactions.predicts_each_type:
        most_frequent = counts.head(k)["item"].str.join(" ").item()
        return solution.select(spec.id_column, pl.lit(most_frequent).alias(spec.target))
    items_by_type = counts.group_by(EVENT_TYPE).agg(pl.col("item").head(k).str.join(" ").alias(spec.target))
    rows = solution.select(spec.id_column, EVENT_TYPE).join(
        items_by_type, on=EVENT_TYPE, how="left", maintain_order="left"
    )
    return rows.select(spec.id_column, pl.col(spec.target).fill_null(""))


def _hosted_competition(
    slug: str, spec: LogSpec, metric: Metric, log: InteractionLog, solution: pl.DataFrame
) -> HostedCompetition:
    rows_train = log.earlier.select(pl.len()).collect(engine="streaming").item()
    return HostedCompetition(
        title=spec.title or slug,
        task="recommend",
        metric=metric.name,
        greater_is_better=metric.greater_is_better,
        id_columns=[spec.id_column],
        target_columns=[spec.target],
        classes=[],
        weight="",
        daily_limit=spec.daily_limit,
        deadline=spec.deadline.isoformat() if spec.deadline else "",
        late_submissions=True,
        created_at=datetime.now(UTC).isoformat(),
        rows_train=int(rows_train),
        rows_test=solution.height,
        rows_public=int((solution[USAGE] == "public").sum()),
        interactions=spec.log,
    )


def _check_sample(folder: Path, hosted: HostedCompetition, metric: Metric) -> None:
    """Refuse a competition that can't be scored: no public or no private row of a type has a true item."""
    try:
        grade(folder / "files" / "sample_submission.csv", read_solution(folder, hosted), hosted, metric)
    except RejectedError as exc:
        raise DataError(
            f"the metric {hosted.metric!r} can't score this competition's own sample: {exc}",
            hint="choose a longer --horizon, another --public, or --weights without that type",
        ) from exc
