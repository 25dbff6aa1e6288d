"""Rank, percentile and medal."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl

from workbench.errors import DamagedError
from workbench.platforms import Standing

__all__ = ["medal", "read_leaderboard", "standing"]


def medal(rank: int, teams: int) -> str | None:
    """Return the medal of a rank by Kaggle's rules (kaggle.com/progression), or None.

    ============  =============  =============  ==================
    teams         bronze         silver         gold
    ============  =============  =============  ==================
    0 to 99       top 40 %       top 20 %       top 10 %
    100 to 249    top 40 %       top 20 %       top 10
    250 to 999    top 100        top 50         top 10 + 0.2 %
    1000 and up   top 10 %       top 5 %        top 10 + 0.2 %
    ============  =============  =============  ==================

    0.2 % is one more gold for every 500 teams.

    Examples
    --------
    >>> medal(10, 1200), medal(13, 1200), medal(61, 1200), medal(121, 1200)
    ('gold', 'silver', 'bronze', None)
    """
    if teams < 250:
        gold, silver, bronze = (teams * 0.1 if teams < 100 else 10), teams * 0.2, teams * 0.4
    else:
        gold = 10 + teams // 500
        silver, bronze = (50, 100) if teams < 1000 else (teams * 0.05, teams * 0.1)
    for name, places in (("gold", gold), ("silver", silver), ("bronze", bronze)):
        if rank <= places:
            return name
    return None


def read_leaderboard(path: Path) -> list[tuple[str, float]]:
    """Read a leaderboard as (team, score): Kaggle's own download, or any CSV with a team and a score column.

    Raises
    ------
    DamagedError
        When it has no such columns.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as exc:
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


def standing(score: float, others: list[float], *, greater_is_better: bool) -> Standing:
    """Return where a score would stand among others: behind the strictly better ones, before the equal ones."""
    sign = 1 if greater_is_better else -1
    rank = 1 + sum(sign * o > sign * score for o in others)
    teams = len(others) + 1
    return Standing(rank, teams, 100 * rank / teams, medal(rank, teams))
