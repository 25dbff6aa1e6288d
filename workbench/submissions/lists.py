"""Checks of submissions that are lists of items: the task recommend."""

from __future__ import annotations

import polars as pl

from workbench.data.competition import Competition
from workbench.submissions.finding import SubmissionFinding, error, warning

__all__ = ["list_findings"]

FEW = 0.01
"""Up to this share of unknown items is a warning; a larger one means that the ids are spelled differently."""


COUNTED = ("empty", "long", "repeating", "items")
SLICE = 1_000_000
"""Rows at a time: the items of all of them would take gigabytes."""


def list_findings(text: pl.Series, competition: Competition) -> list[SubmissionFinding]:
    """Find lists that are empty, too long, or repeat an item, and items that never occur.

    Parameters
    ----------
    text : Series of str
        Items separated by spaces; an empty list is an empty cell.
    competition : Competition
    """
    name, k = text.name, competition.definition.list_length
    item_table = _item_table(competition)
    chunks = [_counted(chunk["text"], k, item_table) for chunk in text.alias("text").to_frame().iter_slices(SLICE)]
    total = {key: sum(counts[key] for counts, _ in chunks) for key in COUNTED}
    findings = []
    if total["empty"]:
        findings.append(warning("empty_lists", f"{name}: {total['empty']:,} of {len(text):,} lists are empty"))
    if total["long"]:
        message = f"{name}: {total['long']:,} lists have more than {k} items; the platform takes the first {k}"
        findings.append(warning("long_lists", message))
    if total["repeating"]:
        message = f"{name}: {total['repeating']:,} lists repeat an item, which counts once and takes two places"
        findings.append(warning("repeated_items", message))
    unknown = pl.concat([items for _, items in chunks]).group_by("items").agg(pl.col("len").sum())
    return findings + _unknown_items(unknown, name, total["items"])


def _counted(text: pl.Series, k: int | None, item_table: pl.DataFrame) -> tuple[dict[str, int], pl.DataFrame]:
    """Return how many lists are empty, too long or repeat an item, how many items there are, and the unknown ones."""
    stripped = text.fill_null("").str.strip_chars()
    lists = pl.DataFrame({"items": stripped.str.split(" ")}).filter(stripped != "")
    items = pl.col("items")
    counts = lists.select(
        (items.list.len() > (k or 2**32 - 1)).sum().alias("long"),
        (items.list.n_unique() < items.list.len()).sum().alias("repeating"),
        items.list.len().sum().alias("items"),
    ).row(0, named=True)
    words = lists.lazy().select(items.explode(empty_as_null=False, keep_nulls=False))
    unknown = words.join(item_table.lazy(), on="items", how="anti").filter(items != "").group_by("items").len()
    return counts | {"empty": len(text) - lists.height}, unknown.collect(engine="streaming")


def _unknown_items(unknown: pl.DataFrame, name: str, total: int) -> list[SubmissionFinding]:
    """Find items that neither the log nor the table of items has."""
    if not unknown.height:
        return []
    n = int(unknown["len"].sum())
    example = unknown.sort("len", "items", descending=[True, False])["items"][0]
    message = (
        f"{name}: {n:,} of {total:,} items are neither in the log nor in a table of items, for example {example!r}"
    )
    return [(warning if n < FEW * total else error)("labels", message)]


def _item_table(competition: Competition) -> pl.DataFrame:
    """Return the items of train, of test where there is one, and of the table of items, as texts."""
    d = competition.definition
    if d.interactions is None:
        return pl.DataFrame(schema={"items": pl.String})
    named = [d.tables.train, d.tables.test, *([d.interactions.items] if d.interactions.items else [])]
    tables = [competition.table(n) for n in dict.fromkeys(named) if n in competition.manifest.tables]
    column = d.interactions.item
    with_items = [t for t in tables if column in t.collect_schema()]
    values = [t.select(pl.col(column).unique().cast(pl.String).alias("items")) for t in with_items]
    return pl.concat(values).unique().collect(engine="streaming")
