"""The runner of ``[recommend]`` experiments: reads tables as an interaction log, and predicts item lists for users."""

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
    ModelStore,
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

__all__ = ["RecommendPlan", "RecommendRunner", "RunModels", "make_recommend_plan", "read_problem", "settings_of"]


SPLIT_RULE = "windows-v1"
"""The version of the validation split in the keys of runs."""

RANKER_TRAINED_ON_WINDOW = "ranker knew the window"
"""The reason why a CV is optimistic: the ranker learned from other users' interactions in the scored window, which the
test window lacks."""

CHUNK_LISTS = 250_000
"""The number of lists that are converted and written at a time."""


@dataclass(frozen=True)
class RecommendPlan:
    """Everything that decides the result of a run, read and checked before training."""

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
        """Return an empty dict: there are no further details."""
        return {}

    def data_content(self) -> dict[str, str]:
        """Return the content of the tables."""
        return {"data": self.competition.manifest.content}


LOG_FIELDS_IN_KEYS = (
    *("user", "item", "time", "horizon_s", "kind", "unit", "cut", "id"),
    *("weights", "first", "weight", "users", "items"),
)


def _log_content(options: InteractionsSpec) -> str:
    """Return the options for reading a log as text for the keys of runs, which must not change."""
    return f"InteractionsSpec({', '.join(f'{name}={getattr(options, name)!r}' for name in LOG_FIELDS_IN_KEYS)})"


def _split_content(competition: Competition) -> list[Any]:
    """Return the values that decide how a log is split for validation."""
    cv = competition.definition.cv
    return [SPLIT_RULE, cv.scheme, cv.windows, cv.folds, cv.seed]


def make_recommend_plan(
    competition: Competition, spec: ExperimentSpec, *, sample: float | None, threads: int | None
) -> RecommendPlan:
    """Read and check everything that decides the result of a run.

    Raises
    ------
    ConfigError
        When the competition has no interaction log, or the experiment has unsupported keys.
    """
    d = competition.definition
    if d.interactions is None:
        raise ConfigError(
            f"{spec.path} is a [recommend] experiment, and the competition's task is {d.task!r}",
            hint=f'set task = "recommend" and add a table [interactions] in {competition.folder / "competition.toml"}',
        )
    if len(spec.seeds) > 1:
        raise ConfigError(f"{spec.path}: seeds = {list(spec.seeds)}: a [recommend] experiment has one seed")
    for key, values in (("features", spec.features), ("drop", spec.drop), ("categorical", spec.categorical)):
        if values:
            raise ConfigError(
                f"{spec.path}: {key} is not supported in [recommend] experiments",
                hint="remove it: features of the candidates are computed",
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
class _RecommendData:
    """The data of a run.

    Attributes
    ----------
    log : Interactions
    users : int array
        Codes of the users in the submission, sorted.
    submission_rows : DataFrame
        One row for each row of the submission: "id", "user", "code" (of the user) and "list".
    tables : Tables
    task : TaskSpec
    notes : tuple of str
    """

    log: Interactions
    users: npt.NDArray[np.int32]
    submission_rows: pl.DataFrame
    tables: Tables
    task: TaskSpec
    notes: tuple[str, ...]


def _has(competition: Competition, table: str) -> bool:
    return table in competition.manifest.tables


def _read_data(plan: RecommendPlan) -> _RecommendData:
    """Read the log, the users of the submission and the tables of users and items."""
    c, options = plan.competition, plan.interactions
    names, keys = c.definition.tables, (options.user, options.item, *([options.kind] if options.kind else []))
    keys_by_table = {n: keys for n in (names.train, names.test, options.users, options.items) if n}
    check_key_spelling(
        c.manifest, keys_by_table | {names.sample_submission or "": c.definition.id_columns}, slug=c.slug
    )
    columns = Columns(options.user, options.item, options.time, options.kind, options.unit, options.weight)
    frames = [c.table(c.definition.tables.train)]
    has_test = options.cut == "session" and _has(c, c.definition.tables.test)
    if has_test:
        frames.append(c.table(c.definition.tables.test))
    # A session without known events is a row with neither item nor time.
    is_event = pl.col(options.item).is_not_null() | pl.col(options.time).is_not_null()
    log = read_interactions(_stacked_tables(frames, list(options.columns), c).filter(is_event), columns)
    kinds = tuple(options.weights) if "{kind}" in options.id else None
    task = TaskSpec(
        options.cut, options.horizon_s, int(c.metric.number or 0), kinds, tuple(options.first), c.definition.cv.seed
    )
    submission_rows = _submission_rows(plan, log, task, frames[-1] if has_test else None)
    log = with_users(log, submission_rows["user"])
    submission_rows = submission_rows.with_columns(code=log.users.codes(submission_rows["user"]))
    users = submission_rows["code"].unique().sort().to_numpy()
    notes: list[str] = []
    tables = Tables(
        _joined_to_ids(c, options.items, options.item, log.item_ids.values, notes),
        _joined_to_ids(c, options.users, options.user, log.users.values, notes),
    )
    return _RecommendData(log, users.astype(np.int32), submission_rows, tables, task, tuple(notes))


def _stacked_tables(frames: list[pl.LazyFrame], names: list[str], competition: Competition) -> pl.LazyFrame:
    """Return the columns of the train and test tables, stacked.

    Raises
    ------
    ConfigError
        When a table lacks a column.
    """
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


def _submission_rows(plan: RecommendPlan, log: Interactions, task: TaskSpec, test: pl.LazyFrame | None) -> pl.DataFrame:
    """Return the rows of the submission, in the order of the sample: "id", "user" and "list".

    Raises
    ------
    ConfigError
        When there is neither a sample submission nor a test table.
    DataError
        When ids of the sample have another form than `id` under ``[interactions]``, or its users another type.
    """
    c, options = plan.competition, plan.interactions
    d = c.definition
    dtype = log.users.values.dtype
    if d.tables.sample_submission is None:
        if test is None:
            raise ConfigError(f"{c.folder / 'competition.toml'}: without sample_submission, the users are unknown")
        users = test.select(pl.col(options.user).cast(dtype)).unique().sort(options.user).collect()[options.user]
        frame = pl.DataFrame({"user": users}).join(pl.DataFrame({"list": list(task.lists)}), how="cross")
        id_text = pl.lit(options.id)
        id_text = id_text.str.replace_all("{user}", pl.col("user").cast(pl.String), literal=True)
        return frame.with_columns(id=id_text.str.replace_all("{kind}", pl.col("list"), literal=True))
    sample = c.table(d.tables.sample_submission).select(pl.col(d.id_columns[0]).alias("id")).collect()
    id_texts = sample["id"].cast(pl.String)
    # The longest kind that matches, and the shortest user: "u5_to_cart" is not kind "cart" of user "u5_to".
    kinds = sorted(task.lists, key=len, reverse=True)
    pattern = re.escape(options.id).replace(r"\{user\}", "(?P<user>.+?)")
    pattern = pattern.replace(r"\{kind\}", f"(?P<list>{'|'.join(map(re.escape, kinds))})")
    parts = id_texts.to_frame("text").select(pl.col("text").str.extract_groups(f"^{pattern}$")).unnest("text")
    invalid_ids = sample["id"].filter(parts["user"].is_null())
    if len(invalid_ids):
        raise DataError(
            f"{len(invalid_ids):,} ids of {d.tables.sample_submission!r} do not have the form {options.id!r}, such as "
            f"{invalid_ids[0]!r}",
            hint="set the form by id under [interactions], and the kinds by weights",
        )
    users = parts["user"].cast(dtype, strict=False)
    if dtype.is_integer():
        # "007" is not the user 7.
        users = users.to_frame("u").select(pl.when(pl.col("u").cast(pl.String) == parts["user"]).then("u")).to_series()
    if users.null_count():
        raise DataError(
            f"{users.null_count():,} users of {d.tables.sample_submission!r} are not of type {dtype}, as "
            f"{options.user!r} of the interactions is, for example {parts['user'].filter(users.is_null())[0]!r}"
        )
    lists = (
        parts["list"] if "list" in parts.columns else pl.Series("list", [task.lists[0]]).new_from_index(0, len(sample))
    )
    return pl.DataFrame({"id": sample["id"], "user": users, "list": lists})


def _joined_to_ids(
    competition: Competition, table: str | None, key: str, ids: pl.Series, notes: list[str]
) -> pl.DataFrame | None:
    """Return the table's row for each id, in the order of codes; nulls for ids that it lacks."""
    if table is None:
        return None
    frame = competition.table(table)
    if key not in frame.collect_schema():
        raise ConfigError(f"{competition.folder / 'competition.toml'}: table {table!r} lacks its key column {key!r}")
    keyed = frame.with_columns(pl.col(key).cast(ids.dtype, strict=False))
    keys = keyed.select(key).drop_nulls().collect().to_series()
    _check_matches(table, key, keys, ids, notes)
    first_rows = keyed.unique(key, keep="first", maintain_order=True)
    id_frame = pl.DataFrame({key: ids}).lazy()
    return id_frame.join(first_rows, on=key, how="left", maintain_order="left").drop(key).collect()


def _check_matches(table: str, key: str, keys: pl.Series, ids: pl.Series, notes: list[str]) -> None:
    """Raise for a table without any of the log's ids; add notes if it lacks most of them, or repeats some."""
    distinct = keys.unique()
    n_matched = int(ids.is_in(distinct.implode()).sum())
    if not n_matched:
        table_example = f", whose values are like {distinct.sort()[0]!r}" if len(distinct) else ""
        raise DataError(
            f"none of the log's {len(ids):,} values of {key!r}, such as {ids[0]!r}, is in table "
            f"{table!r}{table_example}",
            hint="spell ids alike in both, or remove the table from [interactions]",
        )
    if 2 * n_matched < len(ids):
        notes.append(
            f"table {table!r} has {n_matched:,} of the {len(ids):,} values of {key!r}; columns of the others are null"
        )
    if n_repeated := len(keys) - len(distinct):
        notes.append(
            f"table {table!r} repeats values of {key!r} in {n_repeated:,} rows: only the first row of each is used"
        )


# ------------------------------------------------------------------------------------------------------------ the run


@dataclass(frozen=True)
class RunModels:
    """The models of a run: texts in ``models/``; details in ``parts/``, which exist until the run is finished."""

    folder: Path

    def _paths(self, name: str) -> tuple[Path, Path]:
        """Return the paths of a model's text and of its details."""
        file = re.sub(r"[^\w.-]", "_", name)
        if file != name:  # otherwise two names could share a file
            file += f"-{zlib.crc32(name.encode()):08x}"
        return self.folder / "models" / f"{file}.txt", self.folder / "parts" / f"{file}.json"

    def load(self, name: str) -> ListModel | None:
        """Return a saved model; None if it is missing or damaged."""
        model_path, details_path = self._paths(name)
        try:
            details = json.loads(details_path.read_text(encoding="utf-8"))
            if file_sha256(model_path) != details["sha256"]:
                return None
            return ListModel(
                model_path.read_text(encoding="utf-8"),
                int(details["rounds"]),
                dict(details["gains"]),
                dict(details["stopping"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, name: str, model: ListModel) -> None:
        """Save a finished model: first its text, then its details with the digest of the text."""
        model_path, details_path = self._paths(name)
        write_text(model_path, model.text)
        details = {"rounds": model.rounds, "gains": model.gains, "stopping": model.stopping}
        write_json(details_path, {"sha256": file_sha256(model_path), **details})


class RecommendRunner:
    """Runs recommenders: predicts lists for validation and test."""

    def read(self, spec: ExperimentSpec) -> Sequence[ExperimentSpec]:
        """Return the experiment itself."""
        return [spec]

    def content(self, spec: ExperimentSpec, competition: Competition) -> dict[str, Any] | None:  # noqa: ARG002
        """Return None: the experiment's file has everything that decides the result."""
        return None

    def plan(
        self,
        workspace: Workspace,  # noqa: ARG002
        competition: Competition,
        spec: ExperimentSpec,
        request: RunRequest,
        context: RunContext,
    ) -> RecommendPlan:
        """Read and check everything that decides the result."""
        return make_recommend_plan(competition, spec, sample=request.sample, threads=context.threads)

    def used_source(self, plan: RecommendPlan) -> UsedSource:  # noqa: ARG002
        """Return no source files: those of custom functions are named in the experiment."""
        return UsedSource()

    def execute(
        self,
        workspace: Workspace,  # noqa: ARG002
        plan: RecommendPlan,
        folder: Path,
        record: RunRecord,
        context: RunContext,
    ) -> RunArtifacts:
        """Predict the lists, score them, and write them to the run's folder."""
        return make_lists(plan, folder, record, context)


def make_lists(plan: RecommendPlan, folder: Path, record: RunRecord, context: RunContext) -> RunArtifacts:
    """Predict the lists, score them, and write them to the run's folder.

    Raises
    ------
    ConfigError, DataError
        When tables do not match the competition's definition, or there are no interactions to learn from.
    """
    context.stage("reading the interactions")
    data = _read_data(plan)
    settings = settings_of(plan, RunModels(folder))
    result = recommend(_problem(plan, data), plan.model.recommender, settings, context=context)
    context.stage("writing")
    files = _write_files(plan, data, result, folder)
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
        optimistic=RANKER_TRAINED_ON_WINDOW if result.is_optimistic else None,
        cv_windows=result.cv_windows,
    )
    return RunArtifacts(final, files, {"recommend": result.details()}, tuple(_notes(result, data)))


def read_problem(plan: RecommendPlan) -> RecommenderProblem:
    """Read the tables of a plan and return its task.

    Raises
    ------
    ConfigError, DataError
        See `make_lists`.
    """
    return _problem(plan, _read_data(plan))


def _problem(plan: RecommendPlan, data: _RecommendData) -> RecommenderProblem:
    c, kinds = plan.competition, data.task.kinds
    weights = tuple(float(plan.interactions.weights[kind]) for kind in kinds) if kinds else (1.0,)
    cv = c.definition.cv
    validation = ValidationSpec(None if cv.scheme == "kfold" else cv.scheme, cv.windows)
    return RecommenderProblem(
        data.log, data.users, data.task, c.metric, weights, data.tables, cv.folds, cv.seed, validation
    )


def settings_of(plan: RecommendPlan, model_store: ModelStore) -> Settings:
    """Return the settings of a run, whose models are loaded from and saved to a store."""
    return Settings(
        seed=plan.spec.seeds[0],
        threads=plan.model.threads,
        where=f"{plan.spec.path}: [recommend.ranker]",
        model_store=model_store,
        load=lambda reference: _checked_function(plan.competition, reference),
        sample=plan.sample,
    )


def _checked_function(competition: Competition, reference: str) -> Callable[..., Any]:
    """Return a function of the competition whose errors name the line of the user's code."""
    function = competition.load_function(reference)

    def call(*arguments: Any) -> Any:
        hint = "fix it; the traceback is in the run's log.txt"
        log = logging.getLogger("workbench")
        with user_code(f"{reference} failed", TrainingError, folder=competition.folder, hint=hint, log=log):
            returned = function(*arguments)
            return returned.collect() if isinstance(returned, pl.LazyFrame) else returned

    return call


def _validation_note(result: RecommenderResult) -> str:
    """Return a note on how the run was scored, and why."""
    return _scoring_note(result) + (f"; {result.validation.doubt}" if result.validation.doubt else "")


def _scoring_note(result: RecommenderResult) -> str:
    """Return a note on the users or windows that were scored."""
    v = result.validation
    if v.scheme == "users":
        note = f"scored on users held out of the last window ({v.why})"
        return note + (": optimistic, as the ranker learned from other users in it" if result.is_optimistic else "")
    training = ", each by a ranker trained on earlier windows" if result.models else ""
    scores = (
        "" if v.windows < 2 else ": " + " ".join(f"{s:.5f}" for s in result.window_scores) + ", the last window first"
    )
    interval = "" if v.windows >= MIN_WINDOWS else "; the interval is over users, as there are too few windows"
    windows = "the last window was" if v.windows == 1 else f"the last {v.windows} windows were"
    return f"{windows} scored ({v.why}){training}{scores}{interval}"


def _notes(result: RecommenderResult, data: _RecommendData) -> list[str]:
    """Return the notes of a run: validation, early stopping, recall of the candidates, and short lists."""
    notes = [_validation_note(result), *data.notes]
    if result.stopping:
        s = result.stopping
        notes.append(
            f"the ranker stops early by the {s['by']}, on {s['users']:,} users with positives among their candidates "
            f"({s['candidates']:,} candidates)"
        )
    notes += [
        f"{name}: no positives in the scored windows"
        if np.isnan(result.list_scores[name])
        else f"{name}: {result.list_scores[name]:.5f} of at most {result.list_ceilings[name]:.5f} with its candidates; "
        f"the recall of {rows[-1].per_user:.0f} candidates is {rows[-1].alone:.4f}"
        for name, rows in result.recall.items()
    ]
    if result.lists is not None:
        n_short = int((result.lists.items[..., -1] < 0).sum())
        if n_short:
            notes.append(
                f"{n_short:,} of {result.lists.items[..., -1].size:,} lists have fewer than {data.task.k} items: the "
                "sources have no more candidates"
            )
    return notes


def _write_files(plan: RecommendPlan, data: _RecommendData, result: RecommenderResult, folder: Path) -> dict[str, str]:
    """Write the files of a run to its folder; return file name -> SHA-256."""
    log, task = data.log, data.task
    gain_by_column: dict[str, float] = {}
    for name, model in result.models.items():
        if name.endswith("-all"):
            for column, gain in model.gains.items():
                gain_by_column[column] = gain_by_column.get(column, 0.0) + gain
    importance = pl.DataFrame(
        {
            "column": list(gain_by_column),
            "gain": list(gain_by_column.values()),
            "splits": [None] * len(gain_by_column),
        },
        schema={"column": pl.String, "gain": pl.Float64, "splits": pl.Float64},
    ).sort("gain", descending=True)
    valid_frame = _lists_frame(log, result.valid_users, result.valid, task)
    valid_frame.insert_column(1, pl.Series("fold", result.valid_fold))
    valid_frame.insert_column(2, pl.Series("window", result.valid_window))
    frames = {"importance.parquet": importance, "oof.parquet": valid_frame}
    if result.lists is not None:
        frames["test.parquet"] = _lists_frame(log, data.users, result.lists, task)
    for name, frame in frames.items():
        with atomic(folder / name) as temporary:
            frame.write_parquet(temporary)
    names = list(frames)
    if result.lists is not None:
        _write_submission(plan, data, result.lists, folder / "submission.csv")
        names.append("submission.csv")
    names += [f"models/{p.name}" for p in sorted((folder / "models").glob("*.txt"))]
    return {name: file_sha256(folder / name) for name in names}


def _lists_frame(log: Interactions, users: npt.NDArray[np.int32], lists: Lists, task: TaskSpec) -> pl.DataFrame:
    """Return a frame of the user ids and, for each list, item ids and scores."""
    ids = log.users.values
    frames = []
    for chunk in _chunks(len(users)):
        columns = {"user": ids.gather(users[chunk])}
        for list_index, name in enumerate(task.lists):
            items, scores = lists.items[chunk, list_index], lists.scores[chunk, list_index]
            columns[name] = _gathered_lists(log.item_ids.values, items)
            columns[f"{name}_score"] = _gathered_lists(
                pl.Series(scores.ravel()), np.where(items < 0, -1, _flat_positions(items))
            )
        frames.append(pl.DataFrame(columns))
    return pl.concat(frames)


def _chunks(n: int) -> list[slice]:
    """Return slices of at most `CHUNK_LISTS` that cover `n` lists; one empty slice for none."""
    return [slice(low, min(low + CHUNK_LISTS, n)) for low in range(0, max(n, 1), CHUNK_LISTS)]


def _flat_positions(items: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return the position of each element in the flattened array, in the array's shape."""
    return np.arange(items.size).reshape(items.shape)


def _gathered_lists(values: pl.Series, indices: npt.NDArray[Any]) -> pl.Series:
    """Return a list of values for each row of indices; index -1 is skipped."""
    flat_indices = pl.Series(indices.ravel()).cast(pl.Int64)
    gathered = values.gather(flat_indices.set(flat_indices < 0, None))
    return gathered.reshape(indices.shape).arr.to_list().list.drop_nulls()


def _write_submission(plan: RecommendPlan, data: _RecommendData, lists: Lists, path: Path) -> None:
    """Write a row for each row of the sample: its id, and the items separated by spaces."""
    d = plan.competition.definition
    item_texts = data.log.item_ids.values.cast(pl.String)
    row_by_user = np.full(len(data.log.users), -1, np.int64)
    row_by_user[data.users] = np.arange(len(data.users))
    list_indices = (
        data.submission_rows["list"].replace_strict(list(data.task.lists), range(len(data.task.lists))).to_numpy()
    )
    rows = row_by_user[data.submission_rows["code"].to_numpy()]
    with atomic(path) as temporary, temporary.open("wb") as file:
        for chunk in _chunks(len(rows)):
            items = _gathered_lists(item_texts, lists.items[rows[chunk], list_indices[chunk]]).list.join(" ")
            ids = data.submission_rows["id"][chunk]
            frame = pl.DataFrame({d.id_columns[0]: ids, d.targets[0]: items.fill_null("")})
            write_csv(frame, file, include_header=chunk.start == 0)
