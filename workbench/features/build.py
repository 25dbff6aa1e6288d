"""From names to blocks: dependency order, building, checking, caching."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from workbench.core.cache import CacheEntry, ReadLock, Store, content_key
from workbench.core.errors import (
    DataError,
    FeatureError,
    NotFoundError,
    StorageError,
    WorkbenchError,
    near,
)
from workbench.core.frames import read_parquet, scan_parquet
from workbench.core.memory import default_limit, format_bytes, measured_peak
from workbench.core.read_once import digest_once, has_digest, modified_since
from workbench.core.user_code import as_error, is_interrupt
from workbench.data.competition import ROW, Competition, load_code
from workbench.features import auto
from workbench.features.auto import auto_plan as decide
from workbench.features.auto_plan import AutoPlan
from workbench.features.code_keys import code_key
from workbench.features.code_locations import locate_name
from workbench.features.definition import Feature, FoldFeature, features_of, repeated_definitions
from workbench.features.evaluate import Evaluation, write_blocks
from workbench.features.partition import PART, HashParts, Parts, RowPart, have_same_kind, plan_parts, write_clustered
from workbench.features.unused_columns import unused_by_auto

__all__ = ["AUTO", "Blocks", "load_features"]

AUTO = "auto"
"""The built-in feature; a feature of that name in `features.py` takes its place."""

AUTO_VERSION = [
    "6b355305c7d9f43b26cd3ec04df76b1e4aae45076e4fb9425e32b835e99af2d7",
    "ffd750ef4d17c011620791518ca5b541955fb221b795d696bf291f612ff869d0",
]
"""What stands for the code of ``auto`` in keys: another text where it makes other columns or values than before.

The code itself does not count, so that it may be moved; these are digests of what it was when that began. That values
stay is held by stored ones: `tests/test_pinned.py`.
"""

WAITING_SHARE = 16
"""Lines that wait for their place take up to a sixteenth of the memory limit before they go to disk."""

TOGETHER = 8
"""So many features at most are computed in one pass: each holds its groups and its result beside the others'."""

LOADS = 3
"""So often features.py is loaded where a file that its features read is saved meanwhile."""

CLOCK_S = 0.05
"""A file's times are taken from a clock that is behind by less."""

Report = Callable[[str], None]


def load_features(competition: Competition) -> dict[str, Feature | FoldFeature]:
    """Return the features that the competition's `features.py` defines, by name; empty where there is no file.

    Raises
    ------
    ConfigError
        When the file can't be loaded.
    FeatureError
        When it gives a name twice, or to a feature the name of the rows.
    """
    path = competition.paths.features
    if not path.exists():
        return {}
    for _ in range(LOADS):
        began_s = time.time() - CLOCK_S
        features = features_of(vars(load_code(path)))
        files = {
            path.parent / file
            for feature in features.values()
            if isinstance(feature, Feature)
            for file in feature.files
        }
        # What it has read while it was loaded, and what is hashed now, must be one.
        if not any(modified_since(file, began_s) for file in files):
            break
    for file in files:
        if file.is_file():
            digest_once(file)
    repeated = repeated_definitions(path)
    for name, lines in repeated.items():
        if name in features:
            places = ", ".join(map(str, lines))
            raise FeatureError(
                f"{path.name} defines {name!r} more than once, in lines {places}: only the last would count",
                hint="rename the others",
            )
    if "rows" in features:
        raise FeatureError(f"{path.name}: a feature can't be called 'rows', which are the rows", hint="rename it")
    return features


@dataclass
class Blocks:
    """The feature blocks of a competition: built where they are not in the cache, checked, and read back.

    Parameters
    ----------
    competition : Competition
    features : dict
        As `load_features` gives it.
    report : callable, optional
        Called with a line of text when a block is being built.
    memory_limit : int, optional
        The bytes of memory to stay within; 60% of the machine's by default.
    plan : AutoPlan, optional
        What ``auto`` makes of the rows, where that was decided before: in serving, when the model was trained.
    """

    competition: Competition
    features: dict[str, Feature | FoldFeature]
    report: Report = field(default=lambda _: None)
    memory_limit: int | None = None
    plan: AutoPlan | None = None
    _keys: dict[str, str] = field(default_factory=dict)
    _read_files: dict[Path, str] = field(default_factory=dict)
    _planned: dict[tuple[str, int], Parts | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.limit_bytes = self.memory_limit or default_limit()
        self.store = Store(self.competition.paths.cache, max_bytes=self.competition.cache_limit)
        self.served_plan = self.plan
        self.features = {AUTO: self._auto(), **self.features}

    def _auto(self) -> Feature:
        def auto_columns(rows: pl.LazyFrame) -> pl.LazyFrame:
            return self.auto_plan().apply(rows)

        return Feature(AUTO, auto_columns, ("rows",), Path(auto.__file__), 1)

    def auto_plan(self) -> AutoPlan:
        """Return what ``auto`` makes of the rows; it is decided from them where it was not given, and kept."""
        if self.plan is None:
            with self.store.lock(self.plan_key):
                stored = self.store.get(self.plan_key)
                self.plan = AutoPlan.unpack(stored.path) if stored is not None else self._decided()
        return self.plan

    @property
    def plan_key(self) -> str:
        """The key of what ``auto`` makes of the rows, in the cache: to decide it takes several passes."""
        return content_key("auto-plan", self._auto_key())

    def _decided(self) -> AutoPlan:
        c, started = self.competition, time.perf_counter()
        plan = decide(c.rows.scan(), leave_out=c.ids.key_columns, n_train=c.n_train)
        seconds = round(time.perf_counter() - started, 3)
        note: dict[str, Any] = {"plan_of": AUTO, "seconds": seconds}
        with self.store.writing(self.plan_key, note, suffix="bin") as path:
            plan.pack(path)
        return plan

    def used(self, names: Iterable[str]) -> set[str]:
        """Return the features that these entries of an experiment's ``features`` are made of, at any remove."""
        waiting, used = [n.partition(".")[0] for n in names], set[str]()
        while waiting:
            feature = self.features.get(name := waiting.pop())
            if feature is None or name in used:
                continue
            used.add(name)
            read = feature.inputs if isinstance(feature, Feature) else [c.partition(".")[0] for c in feature.columns]
            waiting += [n for n in read if n != name]
        return used

    def get(self, name: str) -> Feature | FoldFeature:
        """Return a feature by name.

        Raises
        ------
        NotFoundError
            With the near names.
        """
        if name not in self.features:
            names = [*self.features, "rows"]
            path = self.competition.paths.features
            raise NotFoundError(f"no feature is called {name!r} in {path}", hint=near(name, names, kind="feature"))
        return self.features[name]

    # ------------------------------------------------------------------------------------------------------- keys

    def key(self, name: str, chain: tuple[str, ...] = ()) -> str:
        """Return the key of a feature's block: its code, its inputs' and files' content, and polars' version.

        Raises
        ------
        FeatureError
            For a cycle, whose chain the message shows, or a file that is not there.
        NotFoundError
            For an input that is neither a table nor a feature.
        """
        if name not in self._keys:
            feature = self.get(name)
            if self.built_in(feature):
                self._keys[name] = self._auto_key()
            elif isinstance(feature, FoldFeature):
                self._keys[name] = content_key(feature.key, [self._column_key(c) for c in feature.columns])
            else:
                inputs = [(i, self._input_key(feature, i, (*chain, name))) for i in feature.inputs]
                path = self.competition.paths.features
                # The name in features.py, not the function's: one function may make several features.
                code = code_key(path if path.exists() else feature.path, feature.name)
                files = [(file, self._file_key(feature, file)) for file in feature.files]
                self._keys[name] = content_key("block-v3", code, inputs, files, pl.__version__)
        return self._keys[name]

    def _auto_key(self) -> str:
        dataset = [list(self.competition.ids.key_columns), self.competition.n_train]
        kind = "auto-v3" if self.served_plan is None else f"auto-served {self.served_plan.content}"
        return content_key(kind, AUTO_VERSION, self.competition.rows.content_key, dataset, pl.__version__)

    def _file_key(self, feature: Feature, file: str) -> str:
        path = self.competition.paths.features.parent / file
        if not path.is_file():
            raise FeatureError(
                f"feature {feature.name!r} ({feature.where}) lists the file {file!r}, which is not there: {path}",
                hint="files are named by their path from the folder of features.py",
            )
        self._read_files[path] = digest_once(path)
        return self._read_files[path]

    @staticmethod
    def built_in(feature: Feature | FoldFeature) -> bool:
        """Say whether a feature comes with the workbench and not from `features.py`."""
        return isinstance(feature, Feature) and feature.path == Path(auto.__file__)

    def _column_key(self, column: str) -> str:
        block, _, name = column.partition(".")
        return self.key(block) if name and block in self.features else self.competition.rows.content_key

    def _input_key(self, reader: Feature, name: str, chain: tuple[str, ...]) -> str:
        kind = self._kind(reader, name, chain)
        if kind == "rows":
            return self.competition.rows.content_key
        if kind == "table":
            return self.competition.manifest.table(name, slug=self.competition.slug).content
        if name in chain:
            raise FeatureError(
                f"features read each other in a circle: {' -> '.join((*chain, name))} ({reader.where})",
                hint="take what they share into a feature of its own",
            )
        return self.key(name, chain)

    def _kind(self, reader: Feature, name: str, chain: tuple[str, ...] = ()) -> str:
        if name == "rows":
            return "rows"
        is_table = name in self.competition.manifest.tables
        # A feature may have the name of the table that it reads: `def weather(rows, weather)`.
        is_feature = name in self.features and name != reader.name
        if is_table and is_feature:
            raise FeatureError(
                f"feature {reader.name!r} ({reader.where}) reads {name!r}, which is both a table and a feature",
                hint="rename the feature",
            )
        if is_table:
            return "table"
        if is_feature:
            if isinstance(self.features[name], FoldFeature):
                raise FeatureError(
                    f"feature {reader.name!r} ({reader.where}) reads {name!r}, which depends on the fold",
                    hint="list both in the experiment instead",
                )
            return "feature"
        if name in self.competition.manifest.excluded:
            self.competition.manifest.table(name, slug=self.competition.slug)
        inputs = ["rows", *self.competition.manifest.tables, *self.features]
        readers = f"; it is read by {' -> '.join((*chain, name))}" if len(chain) > 1 else ""
        raise NotFoundError(
            f"feature {reader.name!r} ({reader.where}) reads {name!r}, which is neither a table nor a feature{readers}",
            hint=near(name, inputs, kind="input"),
        )

    # ---------------------------------------------------------------------------------------------------- building

    def block(self, name: str) -> CacheEntry:
        """Return the block of a feature, from the cache or built now, one process at a time.

        Raises
        ------
        FeatureError
            When the function raises, or its result breaks the contract.
        """
        feature = self.get(name)
        if isinstance(feature, FoldFeature):
            raise FeatureError(f"feature {name!r} depends on the fold; it has no block of its own")
        key = self.key(name)
        block = self.store.get(key)
        if block is None:
            with self.store.lock(key):
                block = self.store.get(key) or self._build(feature, key)
        return block

    def lines(self, name: str) -> pl.LazyFrame:
        """Return the lines of a feature's block with their row keys, in row order; it is built where it is missing."""
        return scan_parquet(self.block(name).path, row_index_name=ROW)

    def build(self, names: Iterable[str]) -> None:
        """Build what is missing of these features, those that are partitioned by one column together.

        Raises
        ------
        FeatureError
            When a function raises, or its result breaks the contract.
        """
        wanted = [n for n in dict.fromkeys(names) if isinstance(self.get(n), Feature)]
        missing = [n for n in wanted if self.store.peek(self.key(n)) is None]
        groups: dict[tuple[str, int], list[Feature]] = {}
        for feature in (self.features[n] for n in missing):
            if isinstance(feature, Feature) and feature.partition_by:
                groups.setdefault((feature.partition_by, self._depth(feature)), []).append(feature)
        for (_, _), group in sorted(groups.items(), key=lambda item: item[0][1]):
            for start in range(0, len(group), TOGETHER):
                self._build_together(group[start : start + TOGETHER])
        for name in wanted:
            self.block(name)

    def read_lock(self, name: str) -> ReadLock:
        """Return what keeps a feature's block in the cache, whoever needs room there, for as long as it lives.

        Raises
        ------
        FeatureError
            When another process has removed it just now.
        """
        block_lock = self.store.read_lock(self.key(name))
        if block_lock is None:
            raise FeatureError(
                f"feature {name!r}: its block made room for those of another process in {self.store.folder}",
                hint="raise WB_CACHE_LIMIT: the cache can't hold what both read",
            )
        return block_lock

    def check_all_cached(self, names: Iterable[str]) -> None:
        """See that the cache holds the blocks of all these features at once.

        Raises
        ------
        FeatureError
            When some had to make room for others.
        """
        cacheable = [n for n in names if isinstance(self.features[n], Feature)]
        gone = [n for n in cacheable if self.store.peek(self.key(n)) is None]
        if gone:
            raise FeatureError(
                f"the cache may hold {format_bytes(self.store.max_bytes)}, less than the {len(cacheable)} blocks that "
                f"are read together take: {', '.join(gone[:5])} made room for the others",
                hint="raise WB_CACHE_LIMIT, or list fewer features",
            )

    def _depth(self, feature: Feature) -> int:
        below = [self.features[i] for i in feature.inputs if self._kind(feature, i) == "feature"]
        return 1 + max((self._depth(b) for b in below if isinstance(b, Feature)), default=0)

    def _build_together(self, group: list[Feature]) -> None:
        """Build features of one partition column in one pass where that can be; leave the others."""
        for feature in group:
            for name in feature.inputs:
                if self._kind(feature, name) == "feature":
                    self.block(name)
        with ExitStack() as locks:
            # In one order everywhere: two processes never wait for each other.
            for key in sorted(self.key(m.name) for m in group):
                locks.enter_context(self.store.lock(key))
            group = [m for m in group if self.store.peek(self.key(m.name)) is None]
            group = self._with_expressions(group)
            if len(group) > 1:
                try:
                    self._write(group)
                except (StorageError, MemoryError):
                    raise
                except BaseException as exc:
                    if is_interrupt(exc):
                        raise
                    # One by one, it is said which of them it is and where.
                    why = (str(exc).strip().splitlines() or ["not together"])[0]
                    self.report(f"features {', '.join(m.name for m in group)} one by one: {why}")

    def _with_expressions(self, group: list[Feature]) -> list[Feature]:
        chosen, taken = [], set[str]()
        for feature in group:
            try:
                evaluation, _ = self.evaluation(feature)
                part = next(iter(evaluation.parts or (None,)))
                expressions = evaluation.expressions(part)
                if expressions is None:
                    continue
                columns = set(evaluation.schema(evaluation.inputs("rows", part).select(ROW, *expressions))) - {ROW}
            except BaseException as exc:
                if is_interrupt(exc):
                    raise
                continue  # what is wrong is said when it is built by itself
            if not columns & taken:
                chosen.append(feature)
                taken |= columns
        return chosen

    def _build(self, feature: Feature, key: str) -> CacheEntry:
        for name in feature.inputs:
            if self._kind(feature, name) == "feature":
                self.block(name)

        def failure(exc: BaseException) -> WorkbenchError:
            # What a recipe refuses says neither which feature called it nor where.
            is_explained = isinstance(exc, WorkbenchError) and type(exc) is not FeatureError
            return exc if is_explained else self.evaluation(feature)[0].failure(exc)  # type: ignore[return-value]

        with as_error(failure, pass_through=(MemoryError,)):
            self._write([feature])
        block = self.store.get(key)
        if block is None:
            raise FeatureError(
                f"feature {feature.name!r}: its block in {self.store.folder} vanished while it was written"
            )
        return block

    def _write(self, group: list[Feature]) -> None:
        """Write the blocks of features that are computed in one pass; the time is noted in equal shares."""
        names = [feature.name for feature in group]
        self.report(f"feature{'s' * (len(group) > 1)} {', '.join(names)}")
        started = time.perf_counter()
        notes: list[dict[str, Any]] = [{"feature": m.name, "reads": list(m.inputs)} for m in group]
        with measured_peak() as peak, ExitStack() as open_blocks:
            evaluations = [self.evaluation(feature) for feature in group]
            paths = [
                open_blocks.enter_context(self.store.writing(self.key(feature.name), note))
                for feature, note in zip(group, notes, strict=True)
            ]
            budget = self.limit_bytes // WAITING_SHARE
            columns = write_blocks([e for e, _ in evaluations], paths, self.store.folder, budget)
            self._check_files_read(group)
            seconds = (time.perf_counter() - started) / len(group)
            for note, dtypes in zip(notes, columns, strict=True):
                note.update(columns=dtypes, seconds=round(seconds, 3), parts=evaluations[0][1], peak_rss_mb=peak.mb)
                if len(names) > 1:
                    note["together"] = names
            if self.built_in(group[0]) and self.served_plan is None:
                notes[0]["left_out"] = self._left_out(notes[0]["columns"])
        taken = peak.mb * 2**20
        if taken > self.limit_bytes:
            advice = "" if group[0].partition_by else ', @feature(partition_by="…") takes the rows in parts'
            self.report(
                f"feature {', '.join(names)} took {format_bytes(taken)}, more than the memory limit of "
                f"{format_bytes(self.limit_bytes)}{advice}"
            )

    def _check_files_read(self, group: Sequence[Feature]) -> None:
        """Refuse what was computed of a file that has changed since the key was made of it."""
        for feature in group:
            for file in feature.files:
                path = self.competition.paths.features.parent / file
                if path in self._read_files and not has_digest(path, self._read_files[path]):
                    raise DataError(
                        f"{path} was changed while feature {feature.name!r}, which reads it, was computed",
                        hint="run it again, now that the file is saved",
                    )

    def _left_out(self, auto_columns: Iterable[str]) -> dict[str, str]:
        """Return the columns of the rows of which `auto` made nothing, each with the reason."""
        c = self.competition
        return unused_by_auto(c.rows.scan(), list(auto_columns), ids=c.ids.key_columns, n_train=c.n_train)

    def evaluation(self, feature: Feature) -> tuple[Evaluation, int]:
        """Return what computes a feature, and in how many parts of the rows it will.

        Raises
        ------
        FeatureError
            Where it is to be partitioned by a column that the rows do not have, or a table has as something else.
        """
        c = self.competition
        n_rows = c.n_train + c.n_test
        parts = self._parts(feature, n_rows) if feature.partition_by else None

        def frame_of(name: str, part: RowPart | None) -> pl.LazyFrame:
            return (
                self._input(feature, name) if part is None or parts is None else self._part(feature, name, part, parts)
            )

        return Evaluation(feature, frame_of, parts, c.definition.targets, n_rows, c.n_train), len(list(parts or "1"))

    def _parts(self, feature: Feature, n_rows: int) -> Parts | None:
        column, rows_columns = str(feature.partition_by), self.competition.rows.columns
        if column not in rows_columns:
            raise FeatureError(
                f"feature {feature.name!r} ({feature.where}): partition_by={column!r} is no column of rows",
                hint=near(column, rows_columns, kind="column"),
            )
        self._check_kinds(feature, column)
        planned = (column, self.limit_bytes)
        if planned not in self._planned:
            self._planned[planned] = plan_parts(self.competition.rows.scan(), column, n_rows, self.limit_bytes)
        return self._planned[planned]

    def _check_kinds(self, feature: Feature, column: str) -> None:
        """Refuse a table whose lines could not be kept together with the rows that they belong to."""
        dtype = self.competition.rows.scan().collect_schema()[column]
        for name in feature.inputs:
            schema = self._input(feature, name).collect_schema() if self._kind(feature, name) == "table" else {}
            if column in schema and not have_same_kind(dtype, schema[column]):
                raise FeatureError(
                    f"feature {feature.name!r} ({feature.where}): partition_by={column!r} is a {dtype} in rows and a "
                    f"{schema[column]} in table {name!r}: a part can't hold the lines of both",
                    hint=f"give both one type under [types] in competition.toml, or rename the table's {column!r}: a "
                    "table without it is given whole to every part",
                )

    def _input(self, reader: Feature, name: str) -> pl.LazyFrame:
        kind = self._kind(reader, name)
        if kind == "rows":
            return self.competition.rows.scan()
        if kind == "table":
            return self.competition.feature_table(name)
        return self.lines(name)

    def _part(self, reader: Feature, name: str, part: RowPart, parts: Parts) -> pl.LazyFrame:
        """Return the lines of an input that belong to a part; a table without the key is given whole."""
        kind = self._kind(reader, name)
        if kind == "feature":
            part_rows = self._part(reader, "rows", part, parts).select(ROW)
            lines = self.lines(name)
            if part.last_row is not None:
                lines = lines.slice(part.first_row, part.last_row + 1 - part.first_row)
            return lines.join(part_rows, on=ROW, how="semi")
        frame = self._input(reader, name)
        if parts.column not in frame.collect_schema():
            return frame
        if isinstance(parts, HashParts):
            frame = self._clustered(reader, name, frame, parts)
            return frame.filter(part.lines).drop(PART)
        if kind == "rows" and part.last_row is not None:
            frame = frame.filter(pl.col(ROW).is_between(part.first_row, part.last_row))
        return frame.filter(part.lines)

    def _clustered(self, reader: Feature, name: str, frame: pl.LazyFrame, parts: HashParts) -> pl.LazyFrame:
        """Return an input with the part of each line, from a copy in the cache that lies part by part."""
        of_input = self._input_key(reader, name, ())
        key = content_key("parts-v2", of_input, parts.column, parts.n_parts, str(parts.dtype), pl.__version__)
        clustered = self.store.get(key)
        if clustered is None:
            with self.store.lock(key):
                clustered = self.store.get(key)
                if clustered is None:
                    self.report(f"{name} by {parts.column}")
                    write_clustered(self.store, key, name, frame, parts, self.limit_bytes // WAITING_SHARE)
                    clustered = self.store.get(key)
        if clustered is None:
            raise FeatureError(f"the copy of {name!r} by {parts.column!r} vanished from {self.store.folder}")
        return scan_parquet(clustered.path)

    # ------------------------------------------------------------------------------------------------------ reading

    def columns(self, wanted: Iterable[str]) -> pl.DataFrame:
        """Return columns by their references ("dest" of rows, "calendar.hour" of a feature), for all rows in order."""
        wanted = list(wanted)
        series = [self._column(reference) for reference in wanted]
        return pl.DataFrame([s.rename(r) for s, r in zip(series, wanted, strict=True)])

    def _column(self, reference: str) -> pl.Series:
        block, _, column = reference.partition(".")
        if column and block in self.features:
            path, block_columns = self.block(block).path, self.block(block).note["columns"]
            if column not in block_columns:
                place = locate_name(self.competition.paths.features, "", reference)
                raise NotFoundError(
                    f"feature {block!r} has no column {column!r}{f' ({place})' if place else ''}",
                    hint=near(column, block_columns, kind="column"),
                )
            return read_parquet(path, columns=[column])[column]
        name = column if column and block == "rows" else reference
        rows_columns = self.competition.rows.columns
        if name not in rows_columns:
            raise NotFoundError(f"rows have no column {name!r}", hint=near(name, rows_columns, kind="column"))
        return self.competition.rows.scan().select(ROW, name).collect().sort(ROW)[name]
