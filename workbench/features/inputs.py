"""The inputs of features: frames of rows, tables and other features, whole or by part of the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from workbench.core.cache import Store, content_key
from workbench.core.context import RunContext
from workbench.core.errors import FeatureError, did_you_mean
from workbench.core.frames import scan_parquet
from workbench.data.competition import ROW
from workbench.features.block_keys import BlockKeys
from workbench.features.definition import Feature
from workbench.features.evaluate import Evaluation
from workbench.features.partition import PART, HashParts, Parts, RowPart, have_same_kind, plan_parts, write_clustered
from workbench.features.shared_joins import RecordedFrame

__all__ = ["ORDERING_SHARE", "FeatureInputs"]

ORDERING_SHARE = 16
"""Lines that arrive out of order use up to a sixteenth of the memory limit before they are written to disk."""


@dataclass
class FeatureInputs:
    """Reads the inputs of features.

    Attributes
    ----------
    keys : BlockKeys
    store : Store
        The cache, for copies of inputs that are sorted by part.
    scan_block : callable
        Takes the name of a feature; returns the lines of its block with the row key, in row order.
    limit_bytes : int
        The memory limit, which determines the number of parts.
    context : RunContext
    """

    keys: BlockKeys
    store: Store
    scan_block: Callable[[str], pl.LazyFrame]
    limit_bytes: int
    context: RunContext
    _parts_by_column: dict[str, Parts | None] = field(default_factory=dict)

    def evaluation(self, feature: Feature) -> tuple[Evaluation, int]:
        """Return an object that computes a feature, and the number of parts that it will use.

        Raises
        ------
        FeatureError
            If the rows do not have its column `partition_by`, or a table has it with another type.
        """
        competition = self.keys.competition
        n_rows = competition.n_train + competition.n_test
        parts = self._parts(feature, n_rows) if feature.partition_by else None

        def scan_input(name: str, part: RowPart | None) -> pl.LazyFrame:
            return (
                self._scan(feature, name)
                if part is None or parts is None
                else self._scan_part(feature, name, part, parts)
            )

        evaluation = Evaluation(feature, scan_input, parts, competition.definition.targets, n_rows, competition.n_train)
        return evaluation, len(list(parts or "1"))

    def _parts(self, feature: Feature, n_rows: int) -> Parts | None:
        column, row_columns = str(feature.partition_by), self.keys.competition.rows.columns
        if column not in row_columns:
            raise FeatureError(
                f"feature {feature.name!r} ({feature.where}): partition_by={column!r} is not a column of rows",
                hint=did_you_mean(column, row_columns, kind="column"),
            )
        self._check_types(feature, column)
        if column not in self._parts_by_column:
            rows = self.keys.competition.rows.scan()
            self._parts_by_column[column] = plan_parts(rows, column, n_rows, self.limit_bytes)
        return self._parts_by_column[column]

    def _check_types(self, feature: Feature, column: str) -> None:
        """Raise FeatureError if the column's type in a table can't be compared with its type in rows."""
        dtype = self.keys.competition.rows.scan().collect_schema()[column]
        for name in feature.inputs:
            is_table = self.keys.input_kind(feature, name) == "table"
            schema = self._scan(feature, name).collect_schema() if is_table else {}
            if column in schema and not have_same_kind(dtype, schema[column]):
                raise FeatureError(
                    f"feature {feature.name!r} ({feature.where}): partition_by={column!r} is a {dtype} in rows and a "
                    f"{schema[column]} in table {name!r}: a part can't hold the lines of both",
                    hint=f"give both the same type under [types] in competition.toml, or rename the table's "
                    f"{column!r}: a table without it is passed to every part in full",
                )

    def _scan(self, reader: Feature, name: str) -> pl.LazyFrame:
        kind = self.keys.input_kind(reader, name)
        if kind == "rows":
            return RecordedFrame.of_rows(self.keys.competition.rows.scan())
        if kind == "table":
            return RecordedFrame.of_table(self.keys.competition.rows.feature_table(name))
        return self.scan_block(name)

    def _scan_part(self, reader: Feature, name: str, part: RowPart, parts: Parts) -> pl.LazyFrame:
        """Return the lines of an input that belong to a part; all lines of a table without the key."""
        kind = self.keys.input_kind(reader, name)
        if kind == "feature":
            part_rows = self._scan_part(reader, "rows", part, parts).select(ROW)
            lines = self.scan_block(name)
            if part.last_row is not None:
                lines = lines.slice(part.first_row, part.last_row + 1 - part.first_row)
            return lines.join(part_rows, on=ROW, how="semi")
        frame = self._scan(reader, name)
        if parts.column not in frame.collect_schema():
            return frame
        if isinstance(parts, HashParts):
            frame = self._scan_clustered(reader, name, frame, parts)
            return frame.filter(part.lines).drop(PART)
        if kind == "rows" and part.last_row is not None:
            frame = frame.filter(pl.col(ROW).is_between(part.first_row, part.last_row))
        return frame.filter(part.lines)

    def _scan_clustered(self, reader: Feature, name: str, frame: pl.LazyFrame, parts: HashParts) -> pl.LazyFrame:
        """Return an input with the part of each line, from a copy in the cache that is sorted by part."""
        input_key = self.keys.input_key(reader, name)
        key = content_key("parts-v2", input_key, parts.column, parts.n_parts, str(parts.dtype), pl.__version__)
        clustered = self.store.get(key)
        if clustered is None:
            with self.store.lock(key):
                clustered = self.store.get(key)
                if clustered is None:
                    self.context.stage(f"{name} by {parts.column}")
                    write_clustered(self.store, key, name, frame, parts, self.limit_bytes // ORDERING_SHARE)
                    clustered = self.store.get(key)
        if clustered is None:
            raise FeatureError(f"the copy of {name!r} by {parts.column!r} vanished from {self.store.folder}")
        return scan_parquet(clustered.path)
