"""An overview of a competition before the first model: its columns in train and test, and the target."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from workbench.data.competition import Competition
from workbench.features.encoded import is_unsupported
from workbench.models.target import Target, read_target

__all__ = ["Overview"]

SAMPLE_ROWS = 200_000
"""The number of rows of train and of test that are sampled for distributions; counts are of all rows."""

MAX_COLUMNS = 500
"""The maximum number of columns in the summary."""


@dataclass(frozen=True)
class Overview:
    """Summaries of a competition's data."""

    competition: Competition

    @cached_property
    def target(self) -> Target:
        """The truth of the train rows."""
        return read_target(self.competition)

    @property
    def columns(self) -> list[str]:
        """The columns that train and test share, without the ids."""
        ids = self.competition.definition.id_columns
        return [c for c in self.competition.rows.columns if c not in ids]

    def side(self, name: str) -> pl.LazyFrame:
        """Return the shared columns of the table "train" or "test"."""
        tables = self.competition.definition.tables
        return self.competition.table(tables.train if name == "train" else tables.test).select(self.columns)

    @cached_property
    def sample(self) -> dict[str, pl.DataFrame]:
        """Evenly spaced rows of train and test."""
        heights = {"train": self.competition.n_train, "test": self.competition.n_test}
        return {
            name: self.side(name).gather_every(max(1, height // SAMPLE_ROWS)).collect()
            for name, height in heights.items()
        }

    def summary(self) -> pl.DataFrame:
        """Return a row per column: type, missing and distinct values in train and test, range or most frequent values.

        A last row says how many columns there are beyond the first `MAX_COLUMNS`. Distinct values of lists, structs and
        bytes are not counted.
        """
        shown_columns, n_more = self.columns[:MAX_COLUMNS], len(self.columns) - MAX_COLUMNS
        counts_by_side = {name: self._count_values(name, shown_columns) for name in ("train", "test")}
        heights = {"train": self.competition.n_train, "test": self.competition.n_test}
        rows = []
        for column, values in zip(shown_columns, self.sample["train"].select(shown_columns).get_columns(), strict=True):
            row = {"column": column, "kind": str(values.dtype)}
            for name, (null_counts, distinct_counts) in counts_by_side.items():
                row[f"missing, {name}"] = f"{null_counts[column] / max(1, heights[name]):.1%}"
                row[f"distinct, {name}"] = f"{distinct_counts[column]:,}" if column in distinct_counts else ""
            rows.append(row | {"values": _describe(values)})
        if n_more > 0:
            rows.append(dict.fromkeys(rows[0], "") | {"column": f"… and {n_more:,} more of {len(self.columns):,}"})
        return pl.DataFrame(rows)

    def _count_values(self, side: str, columns: list[str]) -> tuple[dict[str, int], dict[str, int]]:
        """Count the missing values of each column and, approximately, the distinct ones of scalar columns."""
        frame = self.side(side)
        types = frame.collect_schema()
        scalar_columns = [c for c in columns if not is_unsupported(types[c])]
        null_counts = frame.select(pl.col(columns).null_count()).collect().row(0)
        distinct_counts = (
            frame.select(pl.col(scalar_columns).approx_n_unique()).collect().row(0) if scalar_columns else ()
        )
        return dict(zip(columns, null_counts, strict=True)), dict(zip(scalar_columns, distinct_counts, strict=True))

    def target_summary(self) -> pl.DataFrame:
        """Return the distribution of the target: the number of rows of each class, or quantiles."""
        column = self.target.columns[0]
        if column.classes is not None:
            counts = np.bincount(column.values.astype(np.int64), minlength=len(column.classes))
            frame = pl.DataFrame({column.name: [str(c) for c in column.classes], "rows": counts})
            return frame.with_columns(share=pl.col("rows") / len(column.values)).sort("rows", descending=True)
        levels = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
        return pl.DataFrame({"quantile": levels, column.name: [float(np.quantile(column.values, q)) for q in levels]})


def _describe(values: pl.Series) -> str:
    """Return minimum, median and maximum of numbers and times, or the most frequent values of others."""
    non_null = values.drop_nulls()
    if not len(non_null):
        return "all missing"
    if is_unsupported(values.dtype):
        return ""
    if values.dtype.is_numeric() or values.dtype.is_temporal():
        low, middle, high = non_null.min(), non_null.median(), non_null.max()
        return " … ".join(f"{v:.4g}" if isinstance(v, int | float) else str(v) for v in (low, middle, high))
    top_counts = non_null.value_counts(sort=True).head(3)
    return ", ".join(f"{row[0]} ({row[1] / len(non_null):.0%})" for row in top_counts.iter_rows())
