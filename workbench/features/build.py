"""The features of a competition and their cached blocks: loading, computing and reading."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from workbench.core.cache import CacheEntry, ReadLock, Store
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import FeatureError, NotFoundError, did_you_mean
from workbench.core.frames import read_parquet, scan_parquet
from workbench.core.memory import default_limit, format_bytes
from workbench.core.read_once import digest_once, modified_since
from workbench.data.competition import ROW, Competition, load_code
from workbench.features import auto
from workbench.features.auto import auto_plan as derive_auto_plan
from workbench.features.auto_plan import AutoPlan
from workbench.features.block_builder import BlockBuilder
from workbench.features.block_keys import AUTO, BlockKeys
from workbench.features.code_locations import locate_name
from workbench.features.definition import Feature, FoldFeature, features_of, repeated_definitions
from workbench.features.inputs import FeatureInputs

__all__ = ["Blocks", "load_features"]

MAX_LOADS = 3
"""How often to load features.py again if a file that its features read is saved meanwhile."""

CLOCK_TOLERANCE_S = 0.05
"""File times come from a coarser clock, which lags behind by less than this."""


def load_features(competition: Competition) -> dict[str, Feature | FoldFeature]:
    """Return name -> feature for the competition's `features.py`; empty if there is no such file.

    Raises
    ------
    ConfigError
        If the file can't be loaded.
    FeatureError
        If it defines a name twice, or a feature called "rows".
    """
    path = competition.paths.features
    if not path.exists():
        return {}
    for _ in range(MAX_LOADS):
        started_at_s = time.time() - CLOCK_TOLERANCE_S
        features = features_of(vars(load_code(path)))
        files = {
            path.parent / file
            for feature in features.values()
            if isinstance(feature, Feature)
            for file in feature.files
        }
        # The content that was read while loading must be the content that is hashed below.
        if not any(modified_since(file, started_at_s) for file in files):
            break
    for file in files:
        if file.is_file():
            digest_once(file)
    for name, lines in repeated_definitions(path).items():
        if name in features:
            line_numbers = ", ".join(map(str, lines))
            raise FeatureError(
                f"{path.name} defines {name!r} more than once, in lines {line_numbers}: only the last would count",
                hint="rename the others",
            )
    if "rows" in features:
        raise FeatureError(f"{path.name}: a feature can't be called 'rows', which are the rows", hint="rename it")
    return features


@dataclass
class Blocks:
    """The feature blocks of a competition, computed if they are not in the cache.

    `BlockKeys` identifies the blocks, `FeatureInputs` reads what they are computed from, `BlockBuilder` computes them.

    Parameters
    ----------
    competition : Competition
    features : dict
        As returned by `load_features`; ``auto`` is added.
    context : RunContext
        Receives a stage for each block that is computed.
    memory_limit : int, optional
        The memory limit in bytes; by default 60% of the machine's memory.
    plan : AutoPlan, optional
        The plan of ``auto``, for a served model the one that it was trained with; by default derived from the rows.
    """

    competition: Competition
    features: dict[str, Feature | FoldFeature]
    context: RunContext = SILENT
    memory_limit: int | None = None
    plan: AutoPlan | None = None

    def __post_init__(self) -> None:
        def auto_columns(rows: pl.LazyFrame) -> pl.LazyFrame:
            return self.auto_plan().apply(rows)

        self.features = {AUTO: Feature(AUTO, auto_columns, ("rows",), Path(auto.__file__), 1), **self.features}
        self.limit_bytes = self.memory_limit or default_limit()
        self.store = Store(self.competition.paths.cache, max_bytes=self.competition.cache_limit)
        self.keys = BlockKeys(self.competition, self.features, self.plan)
        self.inputs = FeatureInputs(self.keys, self.store, self.lines, self.limit_bytes, self.context)
        self._builder = BlockBuilder(self.keys, self.inputs, self.store, self.block, self.context)

    def auto_plan(self) -> AutoPlan:
        """Return the plan of ``auto``: the given one, one from the cache, or a new one that is cached."""
        if self.plan is None:
            with self.store.lock(self.keys.plan_key):
                cached = self.store.get(self.keys.plan_key)
                self.plan = AutoPlan.unpack(cached.path) if cached is not None else self._derive_plan()
        return self.plan

    def _derive_plan(self) -> AutoPlan:
        competition, started_at = self.competition, time.perf_counter()
        plan = derive_auto_plan(
            competition.rows.scan(), leave_out=competition.ids.key_columns, n_train=competition.n_train
        )
        seconds = round(time.perf_counter() - started_at, 3)
        note: dict[str, Any] = {"plan_of": AUTO, "seconds": seconds}
        with self.store.writing(self.keys.plan_key, note, suffix="bin") as path:
            plan.pack(path)
        return plan

    def dependencies(self, names: Iterable[str]) -> set[str]:
        """Return the features that entries of an experiment's ``features`` are computed from, themselves included."""
        pending, dependencies = [n.partition(".")[0] for n in names], set[str]()
        while pending:
            feature = self.features.get(name := pending.pop())
            if feature is None or name in dependencies:
                continue
            dependencies.add(name)
            if isinstance(feature, Feature):
                inputs = list(feature.inputs)
            else:
                inputs = [column.partition(".")[0] for column in feature.columns]
            pending += [n for n in inputs if n != name]
        return dependencies

    def get(self, name: str) -> Feature | FoldFeature:
        """Return a feature by name; see `BlockKeys.feature`."""
        return self.keys.feature(name)

    def key(self, name: str) -> str:
        """Return the key of a feature's block; see `BlockKeys.key`."""
        return self.keys.key(name)

    def block(self, name: str) -> CacheEntry:
        """Return the block of a feature; if it is not in the cache, one process computes it while others wait.

        Raises
        ------
        FeatureError
            If the function raises, or its result is invalid.
        """
        feature = self.get(name)
        if isinstance(feature, FoldFeature):
            raise FeatureError(f"feature {name!r} depends on the fold; it has no block of its own")
        key = self.key(name)
        block = self.store.get(key)
        if block is None:
            with self.store.lock(key):
                block = self.store.get(key) or self._builder.build(feature, key)
        return block

    def lines(self, name: str) -> pl.LazyFrame:
        """Return the lines of a feature's block with the row key, in row order; the block is computed if missing."""
        return scan_parquet(self.block(name).path, row_index_name=ROW)

    def build(self, names: Iterable[str]) -> None:
        """Compute the missing blocks of features, those that share parts of the rows or joins in common passes.

        Raises
        ------
        FeatureError
            If a function raises, or its result is invalid.
        """
        features = {n: f for n in dict.fromkeys(names) if isinstance(f := self.get(n), Feature)}
        missing = [f for n, f in features.items() if self.store.peek(self.key(n)) is None]
        self._builder.build_partitioned(missing)
        self._builder.build_shared(missing)
        for name in features:
            self.block(name)

    def read_lock(self, name: str) -> ReadLock:
        """Return a lock that prevents the removal of a feature's block from the cache.

        Raises
        ------
        FeatureError
            If another process has removed the block.
        """
        block_lock = self.store.read_lock(self.key(name))
        if block_lock is None:
            raise FeatureError(
                f"feature {name!r}: its block made room for those of another process in {self.store.folder}",
                hint="raise WB_CACHE_LIMIT: the cache can't hold what both read",
            )
        return block_lock

    def check_all_cached(self, names: Iterable[str]) -> None:
        """Check that the cache contains the blocks of all these features at once.

        Raises
        ------
        FeatureError
            If some were removed for others.
        """
        cacheable = [n for n in names if isinstance(self.features[n], Feature)]
        missing = [n for n in cacheable if self.store.peek(self.key(n)) is None]
        if missing:
            raise FeatureError(
                f"the cache may hold {format_bytes(self.store.max_bytes)}, less than the {len(cacheable)} blocks that "
                f"are read together take: {', '.join(missing[:5])} made room for the others",
                hint="raise WB_CACHE_LIMIT, or list fewer features",
            )

    def columns(self, references: Iterable[str]) -> pl.DataFrame:
        """Return columns by reference ("dest" of rows, "calendar.hour" of a feature), for all rows in order."""
        return pl.DataFrame([self._column(reference).rename(reference) for reference in references])

    def _column(self, reference: str) -> pl.Series:
        feature, _, column = reference.partition(".")
        if column and feature in self.features:
            path, block_columns = self.block(feature).path, self.block(feature).note["columns"]
            if column not in block_columns:
                location = locate_name(self.competition.paths.features, "", reference)
                raise NotFoundError(
                    f"feature {feature!r} has no column {column!r}{f' ({location})' if location else ''}",
                    hint=did_you_mean(column, block_columns, kind="column"),
                )
            return read_parquet(path, columns=[column])[column]
        name = column if column and feature == "rows" else reference
        row_columns = self.competition.rows.columns
        if name not in row_columns:
            raise NotFoundError(f"rows have no column {name!r}", hint=did_you_mean(name, row_columns, kind="column"))
        return self.competition.rows.scan().select(ROW, name).collect().sort(ROW)[name]
