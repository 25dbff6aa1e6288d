"""Reading a leaderboard, and where a score stands on it."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl

from workbench.core.errors import DamagedError, DataError
from workbench.data.ingest import read_text_file
from workbench.platforms.protocol import Standing

__all__ = ["read_leaderboard", "standing"]


def read_leaderboard(path: Path) -> list[tuple[str, float]]:
    """Read a leaderboard as (team, score): Kaggle's own download, or any CSV with a team and a score column.

    Raises
    ------
    DamagedError
        When it has no such columns.
    """
    try:
        frame = read_text_file(path, encoding=None)
    except (DataError, pl.exceptions.PolarsError) as exc:
        raise DamagedError(f"{path} is not a CSV file: {(str(exc).splitlines() or [''])[0]}") from exc
    by_name = {c.lower().replace("_", ""): c for c in frame.columns}
    team = next((by_name[n] for n in ("teamname", "team", "name") if n in by_name), None)
    score = by_name.get("score")
    if team is None or score is None:
        raise DamagedError(f"{path} has the columns {frame.columns}; expected a team (or TeamName) and a score")
    scores = frame[score].cast(pl.Float64, strict=False)
    names = frame[team].fill_null("").to_list()
    # Teams without a score, and scores such as NaN, have no place in an order.
    return [(n, s) for n, s in zip(names, scores.to_list(), strict=True) if s is not None and math.isfinite(s)]


def standing(score: float, entries: list[float], *, greater_is_better: bool) -> Standing:
    """Return where a score would stand among others: behind the strictly better ones, before the equal ones."""
    sign = 1 if greater_is_better else -1
    rank = 1 + sum(sign * o > sign * score for o in entries)
    return Standing.at(rank, len(entries) + 1)
