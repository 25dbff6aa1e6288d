"""From a log of interactions to a hosted competition: what comes in the last horizon is hidden.

With the cut "last" the known log is served, and what each user does in the horizon is asked for. With the cut "session"
the sessions that begin in the horizon are cut at a random event: test holds what is before it, and what comes after
it is asked for. The solution holds the true items of each line, separated by spaces.
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

from workbench.core.errors import DataError
from workbench.core.frames import write_csv
from workbench.metrics import Metric
from workbench.platforms.interactions import InteractionsSpec
from workbench.rehearsal.events import EVENT, Events, read_events
from workbench.rehearsal.files import built_beside, place_for, sink
from workbench.rehearsal.grade import RejectedError, grade, read_solution
from workbench.rehearsal.host import Host, host_text
from workbench.rehearsal.labels import list_length, numbers
from workbench.rehearsal.opened import Opened, Report, opened
from workbench.rehearsal.spec import KIND, USAGE, LogSpec, check_log_options
from workbench.rehearsal.split import public_part

__all__ = ["create_log"]

SHOWN = "__shown__"


@dataclass(frozen=True)
class _Cut:
    """What to predict: `users` in the order of the sample, their `hidden` events, and the events that test shows."""

    users: pl.Series
    hidden: pl.DataFrame
    shown: npt.NDArray[np.int64] | None


def create_log(
    workspace: Path, slug: str, spec: LogSpec, *, force: bool = False, report: Report = lambda _: None
) -> Path:
    """Host a competition of the task recommend; see `workbench.rehearsal.create`.

    The log streams; the events of the last horizon are held in memory.

    Raises
    ------
    ConfigError, NotFoundError, DataError, StorageError
        As `create` does.
    """
    metric = check_log_options(slug, spec)
    final = place_for(workspace, slug, force=force)
    with opened(spec.train, final.parent.parent, encoding=spec.encoding, report=report) as source:
        events = read_events(spec.train, source.frame, spec.log)
        cut = _last(events) if spec.log.cut == "last" else _sessions(events, spec.seed)
        solution = _solution(cut, spec)
        with built_beside(final) as folder:
            _serve(folder, source, events, cut, spec)
            solution.write_parquet(folder / "solution.parquet")
            sample = _sample(events, solution, spec, list_length(metric))
            write_csv(sample, folder / "files" / "sample_submission.csv")
            host = _host(slug, spec, metric, events, solution)
            (folder / "host.toml").write_text(host_text(host), encoding="utf-8")
            _check_sample(folder, host, metric)
    return final


# ------------------------------------------------------------------------------------------------------------ the cut


def _users(frame: pl.LazyFrame, log: InteractionsSpec) -> pl.Series:
    return frame.select(pl.col(log.user).cast(pl.String).unique().alias("user")).collect(engine="streaming")["user"]


def _last(events: Events) -> _Cut:
    late = events.late()
    users = pl.concat([_users(events.earlier, events.log), late["user"]]).unique()
    return _Cut(_ordered(users), late, None)


def _ordered(ids: pl.Series) -> pl.Series:
    """Return ids in an order that tells nothing: by number where all are numbers, else by the alphabet."""
    frame = pl.DataFrame({"id": ids, "number": numbers(ids)})
    return frame.sort("id" if frame["number"].null_count() else "number", "id")["id"]


def _sessions(events: Events, seed: int) -> _Cut:
    """Cut each session that begins in the last horizon after one of its events, at random, but for the last."""
    before = pl.DataFrame({"user": _users(events.earlier, events.log)})
    late = events.late().join(before, on="user", how="anti", maintain_order="left")
    late = late.filter(pl.len().over("user") > 1)
    if not late.height:
        raise DataError(
            "no session of two events or more begins in the last horizon",
            hint="choose a longer --horizon, or --cut last",
        )
    users = _ordered(late["user"].unique())
    at = pl.DataFrame({"user": users, "random": np.random.default_rng(seed + 3).random(len(users))})
    place, size = pl.int_range(pl.len()).over("user"), pl.len().over("user")
    shown_events = 1 + (pl.col("random") * (size - 1)).floor().cast(pl.Int64)
    late = late.join(at, on="user", maintain_order="left").with_columns((place < shown_events).alias(SHOWN))
    shown = late.filter(SHOWN)[EVENT].cast(pl.Int64).to_numpy()
    return _Cut(users, late.filter(~pl.col(SHOWN)), shown)


# ----------------------------------------------------------------------------------------------------------- the truth


def _solution(cut: _Cut, spec: LogSpec) -> pl.DataFrame:
    """Return id, true items, usage and, where ids have one, type of each line of the sample, in its order."""
    log = spec.log
    lines = pl.DataFrame({"user": cut.users})
    if log.by_kind:
        lines = lines.join(pl.DataFrame({KIND: list(log.weights)}), how="cross", maintain_order="left_right")
    keys = lines.columns
    lines = lines.join(_true_items(cut.hidden, log, keys), on=keys, how="left", maintain_order="left")
    lines = lines.join(_usage(lines, spec), on="user", how="left", maintain_order="left")
    pieces = [p for p in re.split(r"(\{user\}|\{kind\})", log.id) if p]
    parts = [pl.col(p[1:-1]) if p.startswith("{") else pl.lit(p) for p in pieces]
    return lines.select(
        pl.concat_str(parts).alias(spec.id_column), pl.col("items").fill_null("").alias(spec.target), USAGE, *keys[1:]
    )


def _true_items(hidden: pl.DataFrame, log: InteractionsSpec, keys: list[str]) -> pl.DataFrame:
    """Return the hidden items of each line, each once, in the order in which they first occur."""
    if log.by_kind:
        # OTTO's rule: of a type in `first` the next event is asked for, of the others all.
        is_next = ~pl.col(KIND).is_in(list(log.first)) | (pl.int_range(pl.len()).over(keys) == 0)
        hidden = hidden.filter(pl.col(KIND).is_in(list(log.weights))).filter(is_next)
    distinct = hidden.unique([*keys, "item"], keep="first", maintain_order=True)
    return distinct.group_by(keys, maintain_order=True).agg(pl.col("item").str.join(" ").alias("items"))


def _usage(lines: pl.DataFrame, spec: LogSpec) -> pl.DataFrame:
    """Return the part of each user. Who has nothing to be found is not scored, and must not fill a part."""
    scored = pl.col("items").is_not_null().any().alias("scored")
    users = lines.group_by("user", maintain_order=True).agg(scored)
    n_scored = int(users["scored"].sum())
    if n_scored < 2:
        raise DataError(
            f"{n_scored} users have an event to predict in the last horizon; each part, public or private, needs one",
            hint="choose a longer --horizon",
        )
    parts = np.where(public_part(n_scored, spec), "public", "private")
    usage = np.full(users.height, "private")
    usage[users["scored"].to_numpy()] = parts
    return users.select("user", pl.Series(USAGE, usage))


# ------------------------------------------------------------------------------------------------------------- serving


def _serve(folder: Path, source: Opened, events: Events, cut: _Cut, spec: LogSpec) -> None:
    served = folder / "files"
    suffix = source.suffix
    sink(events.earlier, served / f"train{suffix}")
    if cut.shown is not None:
        mask = np.zeros(events.rows, np.bool_)
        mask[cut.shown] = True
        marked = pl.concat([events.frame, pl.LazyFrame({SHOWN: mask})], how="horizontal")
        sink(marked.filter(SHOWN).drop(SHOWN), served / f"test{suffix}")
    for table in spec.tables:
        shutil.copyfile(table, served / table.name)
    if spec.leaderboard:
        shutil.copyfile(spec.leaderboard, folder / "leaderboard.csv")


def _sample(events: Events, solution: pl.DataFrame, spec: LogSpec, k: int) -> pl.DataFrame:
    """Return the sample: for everybody what is most frequent in the known log, of the line's type where it has one."""
    log = spec.log
    keys = {"item": log.item} | ({KIND: log.kind} if log.by_kind and log.kind else {})
    named = [pl.col(c).cast(pl.String).alias(name) for name, c in keys.items()]
    counts = events.earlier.select(named).group_by(*keys).len().collect(engine="streaming")
    counts = counts.sort(["len", "item"], descending=[True, False])
    if not log.by_kind:
        best = counts.head(k)["item"].str.join(" ").item()
        return solution.select(spec.id_column, pl.lit(best).alias(spec.target))
    of_kind = counts.group_by(KIND).agg(pl.col("item").head(k).str.join(" ").alias(spec.target))
    lines = solution.select(spec.id_column, KIND).join(of_kind, on=KIND, how="left", maintain_order="left")
    return lines.select(spec.id_column, pl.col(spec.target).fill_null(""))


def _host(slug: str, spec: LogSpec, metric: Metric, events: Events, solution: pl.DataFrame) -> Host:
    rows_train = events.earlier.select(pl.len()).collect(engine="streaming").item()
    return Host(
        title=spec.title or slug,
        task="recommend",
        metric=metric.name,
        greater_is_better=metric.greater_is_better,
        id=[spec.id_column],
        target=[spec.target],
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


def _check_sample(folder: Path, host: Host, metric: Metric) -> None:
    """Refuse to host what can't be scored: a part without any true item of a type."""
    try:
        grade(folder / "files" / "sample_submission.csv", read_solution(folder, host), host, metric)
    except RejectedError as exc:
        raise DataError(
            f"the metric {host.metric!r} can't score this competition's own sample: {exc}",
            hint="choose a longer --horizon, another --public, or --weights without that type",
        ) from exc
