"""A leaderboard file, and the standing of a score on it."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl

from workbench.core.errors import DamagedError, DataError
from workbench.data.ingest import read_text_file
from workbench.platforms.protocol import Standing

__all__ = ["read_leaderboard", "standing"]


def read_leaderboard(path: Path) -> list[tuple[str, float]]:
    """Read a leaderboard as pairs (team, score): Kaggle's download, or any CSV with a team and a score column.

    Raises
    ------
    DamagedError
        When it can't be read or lacks these columns.
    """
    try:
        frame = read_text_file(path, encoding=None)
    except (DataError, pl.exceptions.PolarsError) as exc:
        raise DamagedError(f"{path} is not a CSV file: {(str(exc).splitlines() or [''])[0]}") from exc
    column_by_name = {c.lower().replace("_", ""): c for c in frame.columns}
    team_column = next((column_by_name[n] for n in ("teamname", "team", "name") if n in column_by_name), None)
    score_column = column_by_name.get("score")
    if team_column is None or score_column is None:
        raise DamagedError(f"{path} has the columns {frame.columns}; expected a team (or TeamName) and a score")
    scores = frame[score_column].cast(pl.Float64, strict=False)
    teams = frame[team_column].fill_null("").to_list()
    # Teams without a finite score can't be ranked.
    return [(t, s) for t, s in zip(teams, scores.to_list(), strict=True) if s is not None and math.isfinite(s)]


def standing(score: float, other_scores: list[float], *, greater_is_better: bool) -> Standing:
    """Return the standing of a score among others: after the strictly better ones, before the equal ones."""
    sign = 1 if greater_is_better else -1
    rank = 1 + sum(sign * other > sign * score for other in other_scores)
    return Standing.at(rank, len(other_scores) + 1)
