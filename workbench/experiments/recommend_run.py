"""The runner of ``[recommend]``: it reads the tables as an interaction log, and predicts lists of items for users."""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.core.cache import atomic, content_key, file_sha256, write_json, write_text
from workbench.core.context import RunContext
from workbench.core.errors import ConfigError, DataError, TrainingError
from workbench.core.frames import write_csv
from workbench.core.intervals import MIN_WINDOWS
from workbench.core.user_code import user_code
from workbench.data.competition import Competition, InteractionsSpec, check_key_spelling
from workbench.data.workspace import Workspace
from workbench.experiments.earlier_keys import earlier_code_keys
from workbench.experiments.recommend_spec import RecommendSpec, recommend_spec
from workbench.experiments.run_folder import RunArtifacts
from workbench.experiments.runner import RunRequest, UsedSource
from workbench.experiments.spec import ExperimentSpec
from workbench.features import code_key
from workbench.ledger import RunRecord
from workbench.recommender import (
    Columns,
    Interactions,
    ListModel,
    Lists,
    RecommenderProblem,
    RecommenderResult,
    Settings,
    Tables,
    TaskSpec,
    ValidationSpec,
    read_interactions,
    recommend,
    with_users,
)

__all__ = ["RecommendPlan", "RecommendRunner"]


SPLIT_RULE = "windows-v1"
HELD_OUT = "ranker knew the window"
"""Why a CV is optimistic: users of a window were scored with interactions of others in it; the test has none."""

CHUNK_LISTS = 250_000
"""The number of lists that are converted and written at a time."""


@dataclass(frozen=True)
class RecommendPlan:
    """All that decides the result of a run, read and checked before anything is trained."""

    competition: Competition
    spec: ExperimentSpec
    model: RecommendSpec
    interactions: InteractionsSpec
    sample: float | None
    key: str

    @property
    def folds_hash(self) -> str:
        """The key of the windows, the validated users and their groups."""
        max_users = self.model.recommender.validation_users
        limit = [] if max_users is None else [f"{max_users} users"]
        return content_key(*_split_content(self.competition), self.competition.manifest.content, *limit)

    def details(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def data_content(self) -> dict[str, str]:
        """Return the content of the tables."""
        return {"data": self.competition.manifest.content}


LOG_FIELDS_IN_KEYS = (
    *("user", "item", "time", "horizon_s", "kind", "unit", "cut", "id"),
    *("weights", "first", "weight", "users", "items"),
)


def _log_content(log: InteractionsSpec) -> str:
    """Return the options for reading a log as the keys of runs have them: a text that must not change."""
    return f"InteractionsSpec({', '.join(f'{name}={getattr(log, name)!r}' for name in LOG_FIELDS_IN_KEYS)})"


def _split_content(competition: Competition) -> list[Any]:
    """Return the values that decide how a log is split for validation."""
    cv = competition.definition.cv
    return [SPLIT_RULE, cv.scheme, cv.windows, cv.folds, cv.seed]


def make_recommend_plan(
    competition: Competition, spec: ExperimentSpec, *, sample: float | None, threads: int | None
) -> RecommendPlan:
    """Read and check all that decides the result of a run.

    Raises
    ------
    ConfigError
        When the competition has no interaction log, or the experiment has unsupported keys.
    """
    d = competition.definition
    if d.interactions is None:
        raise ConfigError(
            f"{spec.path} is a [recommend] experiment, and the competition's task is {d.task!r}",
            hint=f'task = "recommend" and a table [interactions] in {competition.folder / "competition.toml"}',
        )
    if len(spec.seeds) > 1:
        raise ConfigError(f"{spec.path}: seeds = {list(spec.seeds)}: a [recommend] experiment has one seed")
    for key, values in (("features", spec.features), ("drop", spec.drop), ("categorical", spec.categorical)):
        if values:
            raise ConfigError(
                f"{spec.path}: {key} goes with models of rows, and this is a [recommend] experiment",
                hint="take it out: candidates have features of their own",
            )
    file, colon, name = d.metric.partition(":")
    with earlier_code_keys(competition, spec.number):
        model = recommend_spec(spec, competition, threads=threads)
        metric_code = code_key(competition.folder / file, name) if colon else ""
    key = content_key(
        "recommend-v3",
        d.slug,
        spec.content(),
        competition.manifest.content,
        _log_content(d.interactions),
        [d.metric, metric_code],
        [list(d.id_columns), list(d.targets), _split_content(competition)],
        sample,
        model.content(),
    )
    return RecommendPlan(competition, spec, model, d.interactions, sample, key)


# ------------------------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True)
class _Read:
    log: Interactions
    users: npt.NDArray[np.int32]
    lines: pl.DataFrame
    tables: Tables
    task: TaskSpec
    notes: tuple[str, ...]


def _has(competition: Competition, table: str) -> bool:
    return table in competition.manifest.tables


def _read(plan: RecommendPlan) -> _Read:
    """Return the log, who is asked for, and the lines of the submission: id, user code, list."""
    c, of = plan.competition, plan.interactions
    names, keys = c.definition.tables, (of.user, of.item, *([of.kind] if of.kind else []))
    named = {n: keys for n in (names.train, names.test, of.users, of.items) if n}
    check_key_spelling(c.manifest, named | {names.sample_submission or "": c.definition.id_columns}, slug=c.slug)
    columns = Columns(of.user, of.item, of.time, of.kind, of.unit, of.weight)
    frames = [c.table(c.definition.tables.train)]
    has_test = of.cut == "session" and _has(c, c.definition.tables.test)
    if has_test:
        frames.append(c.table(c.definition.tables.test))
    # A session of which nothing is known is a line without an event.
    is_event = pl.col(of.item).is_not_null() | pl.col(of.time).is_not_null()
    log = read_interactions(_stacked(frames, list(of.columns), c).filter(is_event), columns)
    kinds = tuple(of.weights) if "{kind}" in of.id else None
    task = TaskSpec(of.cut, of.horizon_s, int(c.metric.number or 0), kinds, tuple(of.first), c.definition.cv.seed)
    lines = _lines(plan, log, task, frames[-1] if has_test else None)
    log = with_users(log, lines["user"])
    lines = lines.with_columns(code=log.users.codes(lines["user"]))
    users = lines["code"].unique().sort().to_numpy()
    notes: list[str] = []
    tables = Tables(
        _aligned(c, of.items, of.item, log.item_ids.values, notes),
        _aligned(c, of.users, of.user, log.users.values, notes),
    )
    return _Read(log, users.astype(np.int32), lines, tables, task, tuple(notes))


def _stacked(frames: list[pl.LazyFrame], names: list[str], competition: Competition) -> pl.LazyFrame:
    for frame, table in zip(
        frames, (competition.definition.tables.train, competition.definition.tables.test), strict=False
    ):
        missing = [n for n in names if n not in frame.collect_schema()]
        if missing:
            raise ConfigError(
                f"{competition.folder / 'competition.toml'}: [interactions] names {missing[0]!r}, and table {table!r} "
                "has no such column"
            )
    return pl.concat([f.select(names) for f in frames], how="vertical_relaxed")


def _lines(plan: RecommendPlan, log: Interactions, task: TaskSpec, test: pl.LazyFrame | None) -> pl.DataFrame:
    """Return a line for each line of the submission, in the sample's order: id, user, list."""
    c, of = plan.competition, plan.interactions
    d = c.definition
    dtype = log.users.values.dtype
    if d.tables.sample_submission is None:
        if test is None:
            raise ConfigError(
                f"{c.folder / 'competition.toml'}: nothing says who is asked for: there is no sample_submission"
            )
        users = test.select(pl.col(of.user).cast(dtype)).unique().sort(of.user).collect()[of.user]
        frame = pl.DataFrame({"user": users}).join(pl.DataFrame({"list": list(task.lists)}), how="cross")
        text = pl.lit(of.id)
        text = text.str.replace_all("{user}", pl.col("user").cast(pl.String), literal=True)
        return frame.with_columns(id=text.str.replace_all("{kind}", pl.col("list"), literal=True))
    sample = c.table(d.tables.sample_submission).select(pl.col(d.id_columns[0]).alias("id")).collect()
    texts = sample["id"].cast(pl.String)
    # The longest type that fits, with as little of the user as there can be: "u5_to_cart" is no cart of "u5_to".
    kinds = sorted(task.lists, key=len, reverse=True)
    pattern = re.escape(of.id).replace(r"\{user\}", "(?P<user>.+?)")
    pattern = pattern.replace(r"\{kind\}", f"(?P<list>{'|'.join(map(re.escape, kinds))})")
    parts = texts.to_frame("text").select(pl.col("text").str.extract_groups(f"^{pattern}$")).unnest("text")
    wrong = sample["id"].filter(parts["user"].is_null())
    if len(wrong):
        raise DataError(
            f"{len(wrong):,} ids of {d.tables.sample_submission!r} are not of the form {of.id!r}, such as {wrong[0]!r}",
            hint="id under [interactions] says how they are written, and weights which kinds there are",
        )
    users = parts["user"].cast(dtype, strict=False)
    if dtype.is_integer():
        # "007" is not the user 7.
        users = users.to_frame("u").select(pl.when(pl.col("u").cast(pl.String) == parts["user"]).then("u")).to_series()
    if users.null_count():
        raise DataError(
            f"{users.null_count():,} users of {d.tables.sample_submission!r} are no {dtype}, as {of.user!r} of the "
            f"interactions is, for example {parts['user'].filter(users.is_null())[0]!r}"
        )
    lists = (
        parts["list"] if "list" in parts.columns else pl.Series("list", [task.lists[0]]).new_from_index(0, len(sample))
    )
    return pl.DataFrame({"id": sample["id"], "user": users, "list": lists})


def _aligned(
    competition: Competition, table: str | None, key: str, ids: pl.Series, notes: list[str]
) -> pl.DataFrame | None:
    """Return a row of the table for each id, in the order of codes; null where it has none."""
    if table is None:
        return None
    frame = competition.table(table)
    if key not in frame.collect_schema():
        raise ConfigError(
            f"{competition.folder / 'competition.toml'}: table {table!r} has no column {key!r} to be joined by"
        )
    keyed = frame.with_columns(pl.col(key).cast(ids.dtype, strict=False))
    keys = keyed.select(key).drop_nulls().collect().to_series()
    _check_matches(table, key, keys, ids, notes)
    first_lines = keyed.unique(key, keep="first", maintain_order=True)
    id_frame = pl.DataFrame({key: ids}).lazy()
    return id_frame.join(first_lines, on=key, how="left", maintain_order="left").drop(key).collect()


def _check_matches(table: str, key: str, keys: pl.Series, ids: pl.Series, notes: list[str]) -> None:
    """Raise for a table without any of the log's ids; add notes if it lacks most of them, or repeats some."""
    distinct = keys.unique()
    n_matched = int(ids.is_in(distinct.implode()).sum())
    if not n_matched:
        raise DataError(
            f"none of the log's {len(ids):,} values of {key!r}, such as {ids[0]!r}, is in table {table!r}"
            + (f", which has such as {distinct.sort()[0]!r}" if len(distinct) else ""),
            hint="ids are spelled alike in both, or the table is left out of [interactions]",
        )
    if 2 * n_matched < len(ids):
        notes.append(
            f"table {table!r} has {n_matched:,} of the {len(ids):,} values of {key!r}; of the others nothing is known"
        )
    if repeats := len(keys) - len(distinct):
        notes.append(f"table {table!r} repeats values of {key!r} in {repeats:,} lines: the first line of each counts")


# ------------------------------------------------------------------------------------------------------------ the run


@dataclass(frozen=True)
class _RunModels:
    """The models in a run folder: texts in ``models/``, and the rest in ``parts/`` until the run is finished."""

    folder: Path

    def _paths(self, name: str) -> tuple[Path, Path]:
        file = re.sub(r"[^\w.-]", "_", name)
        if file != name:  # two names may become the same
            file += f"-{zlib.crc32(name.encode()):08x}"
        return self.folder / "models" / f"{file}.txt", self.folder / "parts" / f"{file}.json"

    def load(self, name: str) -> ListModel | None:
        """Return a finished model; None where there is none, or its file is damaged."""
        model, part = self._paths(name)
        try:
            note = json.loads(part.read_text())
            if file_sha256(model) != note["sha256"]:
                return None
            return ListModel(model.read_text(), int(note["rounds"]), dict(note["gains"]), dict(note["stopping"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, name: str, model: ListModel) -> None:
        """Save a finished model: its text first, then the part, which has the text's digest."""
        path, part = self._paths(name)
        write_text(path, model.text)
        details = {"rounds": model.rounds, "gains": model.gains, "stopping": model.stopping}
        write_json(part, {"sha256": file_sha256(path), **details})


class RecommendRunner:
    """Runs recommenders: lists for validation and test."""

    def read(self, spec: ExperimentSpec) -> Sequence[ExperimentSpec]:
        """Return the experiment itself."""
        return [spec]

    def content(self, spec: ExperimentSpec, competition: Competition) -> dict[str, Any] | None:  # noqa: ARG002
        """Return None: the experiment's file has all values."""
        return None

    def plan(
        self,
        workspace: Workspace,  # noqa: ARG002
        competition: Competition,
        spec: ExperimentSpec,
        request: RunRequest,
        context: RunContext,
    ) -> RecommendPlan:
        """Read and check all that decides the result."""
        return make_recommend_plan(competition, spec, sample=request.sample, threads=context.threads)

    def used_source(self, plan: RecommendPlan) -> UsedSource:  # noqa: ARG002
        """Return nothing: the experiment names its functions."""
        return UsedSource()

    def execute(
        self,
        workspace: Workspace,  # noqa: ARG002
        plan: RecommendPlan,
        folder: Path,
        record: RunRecord,
        context: RunContext,
    ) -> RunArtifacts:
        """Make the lists, score them and write them."""
        return make_lists(plan, folder, record, context)


def make_lists(plan: RecommendPlan, folder: Path, record: RunRecord, context: RunContext) -> RunArtifacts:
    """Make the lists, score them and write them.

    Raises
    ------
    ConfigError, DataError
        When the tables are not what the definition says, or there is nothing to learn from.
    """
    c, of = plan.competition, plan.interactions
    context.stage("reading the interactions")
    read = _read(plan)
    weights = tuple(float(of.weights[kind]) for kind in read.task.kinds) if read.task.kinds else (1.0,)
    cv = c.definition.cv
    validation = ValidationSpec(None if cv.scheme == "kfold" else cv.scheme, cv.windows)
    problem = RecommenderProblem(
        read.log, read.users, read.task, c.metric, weights, read.tables, cv.folds, cv.seed, validation
    )
    result = recommend(
        problem,
        plan.model.recommender,
        Settings(
            seed=plan.spec.seeds[0],
            threads=plan.model.threads,
            where=f"{plan.spec.path}: [recommend.ranker]",
            model_store=_RunModels(folder),
            load=lambda reference: _guarded(c, reference),
            sample=plan.sample,
        ),
        context=context,
    )
    context.stage("writing")
    files = _write(plan, read, result, folder)
    scores = result.fold_scores
    final = replace(
        record,
        cv_mean=float(np.mean(scores)) if scores else None,
        cv_std=float(np.std(scores)) if scores else None,
        cv_folds=len(scores) or None,
        oof_score=None if np.isnan(result.score) else result.score,
        fold_scores=scores,
        seed_scores=(scores,),
        n_features=len(result.features) or None,
        optimistic=HELD_OUT if result.is_optimistic else None,
        cv_windows=result.cv_windows,
    )
    return RunArtifacts(final, files, {"recommend": result.details()}, tuple(_notes(result, read)))


def _guarded(competition: Competition, reference: str) -> Callable[..., Any]:
    """Return a function of the competition's, of which a failure is told with its line."""
    function = competition.load_function(reference)

    def call(*arguments: Any) -> Any:
        hint = "mend it; the run's log.txt has all of it"
        log = logging.getLogger("workbench")
        with user_code(f"{reference} failed", TrainingError, folder=competition.folder, hint=hint, log=log):
            returned = function(*arguments)
            return returned.collect() if isinstance(returned, pl.LazyFrame) else returned

    return call


def _validation_note(result: RecommenderResult) -> str:
    """Say how it was scored, and why so."""
    return _scored_note(result) + (f"; {result.validation.doubt}" if result.validation.doubt else "")


def _scored_note(result: RecommenderResult) -> str:
    v = result.validation
    if v.scheme == "users":
        held = f"scored on users held out of the last window ({v.why})"
        return f"{held}: optimistic, as the ranker learned what others did in it" if result.is_optimistic else held
    learned = ", each by a ranker that learned from windows before it" if result.models else ""
    scores = "" if v.windows < 2 else ": " + " ".join(f"{s:.5f}" for s in result.window_scores) + ", the last one first"
    few = (
        "" if v.windows >= MIN_WINDOWS else "; the interval is over users, windows are too few to tell how they differ"
    )
    windows = "the last window was" if v.windows == 1 else f"the last {v.windows} windows were"
    return f"{windows} scored ({v.why}){learned}{scores}{few}"


def _notes(result: RecommenderResult, read: _Read) -> list[str]:
    notes = [_validation_note(result), *read.notes]
    if result.stopping:
        s = result.stopping
        notes.append(
            f"the ranker stops by the {s['by']}: {s['users']:,} users whose candidates hold something that came, with "
            f"all {s['candidates']:,} candidates"
        )
    notes += [
        f"{of}: nothing of it came in what is scored"
        if np.isnan(result.list_scores[of])
        else f"{of}: {result.list_scores[of]:.5f} of the {result.list_ceilings[of]:.5f} that its candidates allow; "
        f"{rows[-1].per_user:.0f} candidates hold {rows[-1].alone:.4f} of what came"
        for of, rows in result.recall.items()
    ]
    if result.lists is not None:
        short = int((result.lists.items[..., -1] < 0).sum())
        if short:
            notes.append(
                f"{short:,} of {result.lists.items[..., -1].size:,} lists have fewer than {read.task.k} items: the "
                "sources find no more"
            )
    return notes


def _write(plan: RecommendPlan, read: _Read, result: RecommenderResult, folder: Path) -> dict[str, str]:
    log, task = read.log, read.task
    gains: dict[str, float] = {}
    for name, model in result.models.items():
        if name.endswith("-all"):
            for column, gain in model.gains.items():
                gains[column] = gains.get(column, 0.0) + gain
    importance = pl.DataFrame(
        {"column": list(gains), "gain": list(gains.values()), "splits": [None] * len(gains)},
        schema={"column": pl.String, "gain": pl.Float64, "splits": pl.Float64},
    ).sort("gain", descending=True)
    valid = _as_frame(log, result.valid_users, result.valid, task)
    valid.insert_column(1, pl.Series("fold", result.valid_fold))
    valid.insert_column(2, pl.Series("window", result.valid_window))
    frames = {"importance.parquet": importance, "oof.parquet": valid}
    if result.lists is not None:
        frames["test.parquet"] = _as_frame(log, read.users, result.lists, task)
    for name, frame in frames.items():
        with atomic(folder / name) as temporary:
            frame.write_parquet(temporary)
    written = list(frames)
    if result.lists is not None:
        _write_submission(plan, read, result.lists, folder / "submission.csv")
        written.append("submission.csv")
    written += [f"models/{p.name}" for p in sorted((folder / "models").glob("*.txt"))]
    return {name: file_sha256(folder / name) for name in written}


def _as_frame(log: Interactions, users: npt.NDArray[np.int32], lists: Lists, task: TaskSpec) -> pl.DataFrame:
    """Return a frame of the user ids and, for each list, item ids and scores."""
    ids = log.users.values
    frames = []
    for part in _parts(len(users)):
        columns = {"user": ids.gather(users[part])}
        for which, name in enumerate(task.lists):
            items, scores = lists.items[part, which], lists.scores[part, which]
            columns[name] = _as_lists(log.item_ids.values, items)
            columns[f"{name}_score"] = _as_lists(pl.Series(scores.ravel()), np.where(items < 0, -1, _places(items)))
        frames.append(pl.DataFrame(columns))
    return pl.concat(frames)


def _parts(n: int) -> list[slice]:
    return [slice(low, min(low + CHUNK_LISTS, n)) for low in range(0, max(n, 1), CHUNK_LISTS)]


def _places(items: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    return np.arange(items.size).reshape(items.shape)


def _as_lists(values: pl.Series, at: npt.NDArray[Any]) -> pl.Series:
    """Return for each row the values at its indices, without those at index -1."""
    places = pl.Series(at.ravel()).cast(pl.Int64)
    gathered = values.gather(places.set(places < 0, None))
    return gathered.reshape(at.shape).arr.to_list().list.drop_nulls()


def _write_submission(plan: RecommendPlan, read: _Read, lists: Lists, path: Path) -> None:
    """Write a row for each row of the sample: its id, and the items separated by spaces."""
    d = plan.competition.definition
    texts = read.log.item_ids.values.cast(pl.String)
    row_of = np.full(len(read.log.users), -1, np.int64)
    row_of[read.users] = np.arange(len(read.users))
    which = read.lines["list"].replace_strict(list(read.task.lists), range(len(read.task.lists))).to_numpy()
    rows = row_of[read.lines["code"].to_numpy()]
    with atomic(path) as temporary, temporary.open("wb") as file:
        for part in _parts(len(rows)):
            items = _as_lists(texts, lists.items[rows[part], which[part]]).list.join(" ")
            ids = read.lines["id"][part]
            frame = pl.DataFrame({d.id_columns[0]: ids, d.targets[0]: items.fill_null("")})
            write_csv(frame, file, include_header=part.start == 0)
