"""From names to blocks: dependency order, building, checking, caching."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workbench.cache import Block, Store, content_key, file_sha256
from workbench.competition import ROW, Competition, load_code, user_frame
from workbench.errors import FeatureError, NotFoundError, WorkbenchError, near
from workbench.features import auto
from workbench.features.auto import auto_features
from workbench.features.definition import Feature, FoldFeature, code_key, features_of

__all__ = ["AUTO", "Blocks", "load_features"]

AUTO = "auto"
"""The built-in feature; a feature of that name in `features.py` takes its place."""

ROWS_PER_GROUP = 256 * 1024
"""Row groups of this many rows keep reading and writing in small memory: polars streams by the group."""

Report = Callable[[str], None]


def load_features(competition: Competition) -> dict[str, Feature | FoldFeature]:
    """Return the features that the competition's `features.py` defines, by name; empty where there is no file.

    Raises
    ------
    ConfigError
        When the file can't be loaded.
    """
    if not competition.features_path.exists():
        return {}
    return features_of(vars(load_code(competition.features_path)))


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
    """

    competition: Competition
    features: dict[str, Feature | FoldFeature]
    report: Report = field(default=lambda _: None)
    _keys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = Store(self.competition.cache_folder)
        self.features = {AUTO: self._auto(), **self.features}

    def _auto(self) -> Feature:
        c = self.competition

        def made(rows: pl.LazyFrame) -> pl.LazyFrame:
            return auto_features(rows, leave_out=c.key_columns, n_train=c.n_train)

        return Feature(AUTO, made, ("rows",), Path(auto.__file__), 1)

    def get(self, name: str) -> Feature | FoldFeature:
        """Return a feature by name.

        Raises
        ------
        NotFoundError
            With the near names.
        """
        if name not in self.features:
            known = [*self.features, "rows"]
            path = self.competition.features_path
            raise NotFoundError(f"no feature is called {name!r} in {path}", hint=near(name, known, what="feature"))
        return self.features[name]

    # ------------------------------------------------------------------------------------------------------- keys

    def key(self, name: str, chain: tuple[str, ...] = ()) -> str:
        """Return the key of a feature's block: its code, its inputs' content, and polars' version.

        Raises
        ------
        FeatureError
            For a cycle; the message shows the chain.
        NotFoundError
            For an input that is neither a table nor a feature.
        """
        if name not in self._keys:
            made = self.get(name)
            if isinstance(made, Feature) and made.path == Path(auto.__file__):
                code = file_sha256(made.path)
                kept = [list(self.competition.key_columns), self.competition.n_train]
                self._keys[name] = content_key("auto-v1", code, self.competition.rows_content, kept, pl.__version__)
            elif isinstance(made, FoldFeature):
                self._keys[name] = content_key(made.key, [self._column_key(c) for c in made.columns])
            else:
                inputs = [(i, self._input_key(made, i, (*chain, name))) for i in made.inputs]
                code = code_key(made.path, made.function.__name__)
                self._keys[name] = content_key("block-v1", code, inputs, pl.__version__)
        return self._keys[name]

    def _column_key(self, column: str) -> str:
        block, _, rest = column.partition(".")
        return self.key(block) if rest and block in self.features else self.competition.rows_content

    def _input_key(self, reader: Feature, name: str, chain: tuple[str, ...]) -> str:
        kind = self._kind(reader, name)
        if kind == "rows":
            return self.competition.rows_content
        if kind == "table":
            return self.competition.manifest.table(name, slug=self.competition.slug).content
        if name in chain:
            raise FeatureError(
                f"features read each other in a circle: {' -> '.join((*chain, name))} ({reader.where})",
                hint="take what they share into a feature of its own",
            )
        return self.key(name, chain)

    def _kind(self, reader: Feature, name: str) -> str:
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
        known = ["rows", *self.competition.manifest.tables, *self.features]
        raise NotFoundError(
            f"feature {reader.name!r} ({reader.where}) reads {name!r}, which is neither a table nor a feature",
            hint=near(name, known, what="input"),
        )

    # ---------------------------------------------------------------------------------------------------- building

    def block(self, name: str) -> Block:
        """Return the block of a feature, from the cache or built now, one process at a time.

        Raises
        ------
        FeatureError
            When the function raises, or its result breaks the contract.
        """
        made = self.get(name)
        if isinstance(made, FoldFeature):
            raise FeatureError(f"feature {name!r} depends on the fold; it has no block of its own")
        key = self.key(name)
        found = self.store.get(key)
        if found is None:
            with self.store.lock(key):
                found = self.store.get(key) or self._build(made, key)
        return found

    def _build(self, made: Feature, key: str) -> Block:
        inputs = {name: self._input(made, name) for name in made.inputs}
        self.report(f"feature {made.name}")
        started = time.perf_counter()
        try:
            frame = self._evaluated(made, inputs)
            note: dict[str, Any] = {"feature": made.name, "columns": self._new_columns(made, frame)}
            with self.store.writing(key, note) as path:
                frame.sort(ROW).sink_parquet(path, row_group_size=ROWS_PER_GROUP)
                self._check_rows(made, pl.scan_parquet(path))
                note["seconds"] = round(time.perf_counter() - started, 3)
        except (WorkbenchError, KeyboardInterrupt, MemoryError):
            raise
        except Exception as exc:
            where = user_frame(exc, made.path)
            raise FeatureError(f"feature {made.name!r} ({made.where}) failed: {where}") from exc
        block = self.store.get(key)
        if block is None:
            raise FeatureError(f"feature {made.name!r}: its block in {self.store.folder} vanished while it was written")
        return block

    def _input(self, reader: Feature, name: str) -> pl.LazyFrame:
        kind = self._kind(reader, name)
        if kind == "rows":
            return self.competition.rows()
        if kind == "table":
            return self.competition.feature_table(name)
        return pl.scan_parquet(self.block(name).path)

    def _evaluated(self, made: Feature, inputs: dict[str, pl.LazyFrame]) -> pl.LazyFrame:
        result: Any = made.function(**inputs)
        if isinstance(result, list | tuple) and all(isinstance(e, pl.Expr) for e in result):
            return self.competition.rows().select(ROW, *result)
        if isinstance(result, pl.DataFrame):
            result = result.lazy()
        if not isinstance(result, pl.LazyFrame):
            raise FeatureError(
                f"feature {made.name!r} ({made.where}) returned a {type(result).__name__}",
                hint="return a LazyFrame with ROW and the new columns, or a list of expressions over rows",
            )
        return result

    def _new_columns(self, made: Feature, frame: pl.LazyFrame) -> dict[str, str]:
        schema = frame.collect_schema()
        if ROW not in schema:
            raise FeatureError(
                f"feature {made.name!r} ({made.where}) lost the row key {ROW!r}; it has {', '.join(list(schema)[:10])}",
                hint="keep it: rows.select(ROW, …), and group or join so that it stays",
            )
        leaked = [t for t in self.competition.definition.targets if t in schema]
        if leaked:
            raise FeatureError(
                f"feature {made.name!r} ({made.where}) returns the target {leaked[0]!r}",
                hint="leave it out; statistics of the target come from target_mean and its kin",
            )
        columns = {name: str(dtype) for name, dtype in schema.items() if name != ROW}
        if not columns:
            raise FeatureError(f"feature {made.name!r} ({made.where}) returns no column beside the row key")
        return columns

    def _check_rows(self, made: Feature, frame: pl.LazyFrame) -> None:
        expected = self.competition.n_train + self.competition.n_test
        key = frame.select(ROW).collect()[ROW]
        if key.null_count() == 0 and np.array_equal(key.to_numpy(), np.arange(expected)):
            return
        unique = key.drop_nulls().unique()
        repeated, missing = len(key) - len(unique) - key.null_count(), expected - len(unique)
        what = [f"{repeated:,} lines repeat a row"] * bool(repeated) + [f"{missing:,} rows are missing"] * bool(
            missing > 0
        )
        what += [f"{key.null_count():,} lines have no row key"] * bool(key.null_count()) or (
            [] if what else ["unknown rows"]
        )
        raise FeatureError(
            f"feature {made.name!r} ({made.where}) gives {len(key):,} lines for {expected:,} rows: {', '.join(what)}",
            hint="repeats come from a join on a key that is not unique, losses from an inner join or a filter: "
            'join with how="left" on a unique key, or group by ROW',
        )

    # ------------------------------------------------------------------------------------------------------ reading

    def columns(self, wanted: Iterable[str]) -> pl.DataFrame:
        """Return columns by their references ("dest" of rows, "calendar.hour" of a feature), for all rows in order."""
        series = [self._column(reference) for reference in wanted]
        return pl.DataFrame([s.rename(r) for s, r in zip(series, wanted, strict=True)])

    def _column(self, reference: str) -> pl.Series:
        block, _, column = reference.partition(".")
        if column and block in self.features:
            path, known = self.block(block).path, self.block(block).note["columns"]
            if column not in known:
                raise NotFoundError(
                    f"feature {block!r} has no column {column!r}", hint=near(column, known, what="column")
                )
            return pl.read_parquet(path, columns=[column])[column]
        name = column if column and block == "rows" else reference
        known = self.competition.shared_columns
        if name not in known:
            raise NotFoundError(f"rows have no column {name!r}", hint=near(name, known, what="column"))
        return self.competition.rows().select(ROW, name).collect().sort(ROW)[name]
