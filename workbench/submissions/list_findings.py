"""Checks of submissions to competitions of the task recommend: lists of items."""

from __future__ import annotations

import polars as pl

from workbench.core.wording import counted
from workbench.data.competition import Competition
from workbench.submissions.finding import SubmissionFinding, error, warning

__all__ = ["list_findings"]

MAX_UNKNOWN_SHARE = 0.01
"""Up to this share, unknown items are a warning; above it they are an error: the ids are spelled differently."""

COUNTS = ("empty", "long", "repeating", "items")
"""What is counted in each chunk, see `_count_items`."""

CHUNK_ROWS = 1_000_000
"""Rows that are split into items at a time: the items of all rows would need gigabytes."""


def list_findings(predictions: pl.Series, competition: Competition) -> list[SubmissionFinding]:
    """Find lists that are empty, too long, or repeat an item, and unknown items.

    Parameters
    ----------
    predictions : Series of str
        Items separated by spaces; an empty list is an empty cell.
    competition : Competition
    """
    name, k = predictions.name, competition.definition.list_length
    item_table = _item_table(competition)
    slices = predictions.alias("text").to_frame().iter_slices(CHUNK_ROWS)
    chunks = [_count_items(chunk["text"], k, item_table) for chunk in slices]
    totals = {key: sum(counts[key] for counts, _ in chunks) for key in COUNTS}
    findings = []
    if totals["empty"]:
        findings.append(warning("empty_lists", f"{name}: {totals['empty']:,} of {len(predictions):,} lists are empty"))
    if totals["long"]:
        message = (
            f"{name}: {counted(totals['long'], 'list has', 'lists have')} more than {k} items; only the first {k} count"
        )
        findings.append(warning("long_lists", message))
    if totals["repeating"]:
        message = (
            f"{name}: {counted(totals['repeating'], 'list repeats', 'lists repeat')} an item, which counts once but "
            "uses two positions"
        )
        findings.append(warning("repeated_items", message))
    unknown_items = pl.concat([items for _, items in chunks]).group_by("items").agg(pl.col("len").sum())
    return findings + _unknown_item_findings(unknown_items, name, totals["items"])


def _count_items(
    predictions: pl.Series, k: int | None, item_table: pl.DataFrame
) -> tuple[dict[str, int], pl.DataFrame]:
    """Count the lists and items of a chunk of predictions.

    Parameters
    ----------
    predictions : Series of str
        Items separated by spaces.
    k : int, optional
        The number of items that count in a list.
    item_table : DataFrame
        The known items, in the column `items`.

    Returns
    -------
    counts : dict
        By the names in `COUNTS`: lists that are empty, are too long or repeat an item; and all items.
    unknown_items : DataFrame
        The distinct unknown items (`items`) and how often each occurs (`len`).
    """
    stripped = predictions.fill_null("").str.strip_chars()
    lists = pl.DataFrame({"items": stripped.str.split(" ")}).filter(stripped != "")
    items = pl.col("items")
    counts = lists.select(
        (items.list.len() > (k or 2**32 - 1)).sum().alias("long"),
        (items.list.n_unique() < items.list.len()).sum().alias("repeating"),
        items.list.len().sum().alias("items"),
    ).row(0, named=True)
    all_items = lists.lazy().select(items.explode(empty_as_null=False, keep_nulls=False))
    unknown_items = (
        all_items.join(item_table.lazy(), on="items", how="anti").filter(items != "").group_by("items").len()
    )
    return counts | {"empty": len(predictions) - lists.height}, unknown_items.collect(engine="streaming")


def _unknown_item_findings(unknown_items: pl.DataFrame, column: str, n_items: int) -> list[SubmissionFinding]:
    """Report items that are neither in the log nor in the table of items."""
    if not unknown_items.height:
        return []
    n_unknown = int(unknown_items["len"].sum())
    example = unknown_items.sort("len", "items", descending=[True, False])["items"][0]
    message = (
        f"{column}: {n_unknown:,} of {n_items:,} items are neither in the log nor in a table of items, "
        f"for example {example!r}"
    )
    return [(warning if n_unknown < MAX_UNKNOWN_SHARE * n_items else error)("labels", message)]


def _item_table(competition: Competition) -> pl.DataFrame:
    """Return the items of train, of test if there is one, and of the table of items, as texts in the column `items`."""
    definition = competition.definition
    if definition.interactions is None:
        return pl.DataFrame(schema={"items": pl.String})
    names = [definition.tables.train, definition.tables.test]
    names += [definition.interactions.items] if definition.interactions.items else []
    tables = [competition.table(name) for name in dict.fromkeys(names) if name in competition.manifest.tables]
    item_column = definition.interactions.item
    tables_with_items = [t for t in tables if item_column in t.collect_schema()]
    item_columns = [t.select(pl.col(item_column).unique().cast(pl.String).alias("items")) for t in tables_with_items]
    return pl.concat(item_columns).unique().collect(engine="streaming")
