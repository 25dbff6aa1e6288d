"""What speaks against a file of lists: words that are no items, lists that are too long, empty or repeat an item."""

from __future__ import annotations

import polars as pl

from workbench.competition import Competition
from workbench.interactions import InteractionsSpec

__all__ = ["list_findings"]

FEW = 0.01
"""So large a share of unknown words may be new items; more than that are written in another way."""

Told = tuple[str, str, str]


def list_findings(lists: pl.Series, competition: Competition, of: InteractionsSpec) -> list[Told]:
    """Compare lists with what the log holds; return (level, code, message) of each finding.

    Parameters
    ----------
    lists : polars.Series
        Items with spaces between them; null or an empty text for none.
    """
    name, k = lists.name, competition.definition.list_length or 0
    rows = pl.DataFrame({"row": pl.int_range(len(lists), eager=True, dtype=pl.UInt32), "item": lists.str.strip_chars()})
    words = (
        rows.lazy()
        .with_columns(pl.col("item").str.split(" ").list.filter(pl.element() != ""))
        .explode("item", empty_as_null=False, keep_nulls=False)
    )
    by_row = words.group_by("row").agg(pl.len().alias("n"), pl.col("item").n_unique().alias("distinct"))
    shape = by_row.select(
        filled=pl.len(), long=(pl.col("n") > k).sum(), repeating=(pl.col("n") > pl.col("distinct")).sum()
    )
    filled, long, repeating = shape.collect().row(0)
    found: list[Told] = []
    if empty := len(lists) - filled:
        level = "error" if not filled else "warning"
        found.append((level, "empty_lists", f"{name}: {empty:,} of {len(lists):,} lists are empty"))
    if long:
        found.append(
            (
                "warning",
                "long_lists",
                f"{name}: {long:,} of {len(lists):,} lists have more than {k} items: the first {k} count",
            )
        )
    if repeating:
        found.append(
            ("warning", "repeated_items", f"{name}: {repeating:,} of {len(lists):,} lists have an item more than once")
        )
    return found + _unknown(words, name, competition, of)


def _unknown(words: pl.LazyFrame, name: str, competition: Competition, of: InteractionsSpec) -> list[Told]:
    """Find words that neither the log nor the table of items has."""
    d = competition.definition
    tables = [d.tables.train, d.tables.test, of.items]
    known = [
        competition.table(t).select(pl.col(of.item).cast(pl.String).alias("item"))
        for t in tables
        if t in competition.manifest.tables and of.item in competition.manifest.tables[t].dtypes
    ]
    sent = words.group_by("item").len()
    unknown = sent.join(pl.concat(known).unique(), on="item", how="anti")
    n, total = unknown.select(pl.col("len").sum()).collect().item(), sent.select(pl.col("len").sum()).collect().item()
    if not n:
        return []
    level = "warning" if n <= FEW * total else "error"
    example = unknown.sort("item").head(1).collect()["item"][0]
    return [
        (level, "labels", f"{name}: {n:,} of {total:,} items are neither in train nor in test, for example {example!r}")
    ]
