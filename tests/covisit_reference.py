"""The reference definition of co-visitation, as a polars query: the compiled kernel must equal it."""

from __future__ import annotations

import polars as pl

from workbench.recommender import Covisit
from workbench.recommender.covisit import UNIT

__all__ = ["polars_covisits"]


def polars_covisits(events: pl.LazyFrame, covisit: Covisit) -> pl.LazyFrame:
    """Return item, neighbour, weight, rank of events with the columns user, item, time (whole seconds), kind."""
    order = events.group_by("item").len().sort("len", "item", descending=[True, False])
    codes = order.select("item").with_row_index("code")
    kept = events.with_row_index("line")
    if covisit.kinds is not None:
        kept = kept.filter(pl.col("kind").is_in(covisit.kinds))
    kept = (
        kept.join(codes, on="item")
        .with_columns(later=pl.struct("time", "line").rank("ordinal", descending=True).over("user"))
        .filter(pl.col("later") <= covisit.last)
        .select("user", "time", "kind", "code", "line")
    )
    pairs = kept.join(kept.rename({"code": "other"}), on="user", suffix="_b").filter(pl.col("code") != pl.col("other"))
    gap = pl.col("time_b").cast(pl.Int64) - pl.col("time")
    if covisit.window_s is not None:
        pairs = pairs.filter(gap.abs() <= covisit.window_s)
    if covisit.direction != "both":
        pairs = pairs.filter(gap >= 0 if covisit.direction == "after" else gap <= 0)
    units = pl.lit(float(UNIT))
    for kind, weight in covisit.weights.items():
        whole = float(int(weight * UNIT + 0.5))
        units = pl.when(pl.col("kind_b") == kind).then(whole).otherwise(units)
    if covisit.decay_s is not None:
        units = (units / (1.0 + gap.abs() / covisit.decay_s) + 0.5).floor()
    counted = (
        pairs.group_by("user", "code", "other")
        .agg(units.max().cast(pl.Int64).alias("units"))
        .filter(pl.col("units") > 0)
        .group_by("code", "other")
        .agg(weight=pl.col("units").sum() / UNIT)
    )
    if covisit.normalise == "cosine":
        lists = kept.group_by("code").agg(lists=pl.col("user").n_unique())
        counted = counted.join(lists, on="code").join(lists.rename({"code": "other", "lists": "of_other"}), on="other")
        root = (pl.col("lists").cast(pl.Int64) * pl.col("of_other")).cast(pl.Float64).sqrt()
        counted = counted.with_columns(weight=pl.col("weight") / root)
    return (
        counted.sort("code", "weight", "other", descending=[False, True, False])
        .group_by("code", maintain_order=True)
        .head(covisit.top)
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("code"))
        .join(codes.rename({"item": "name"}), on="code", maintain_order="left")
        .join(codes.rename({"item": "neighbour", "code": "other"}), on="other", maintain_order="left")
        .select(item="name", neighbour="neighbour", weight="weight", rank="rank")
    )
