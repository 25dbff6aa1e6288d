"""Values in Kaggle's responses: times and scores."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["score_of", "utc"]


def utc(time: datetime | None) -> datetime | None:
    """Return a time of a response with its zone: Kaggle sends UTC without naming it."""
    return None if time is None else time.replace(tzinfo=UTC) if time.tzinfo is None else time


def score_of(text: str | None) -> float | None:
    """Return a score, which Kaggle sends as text; None if there is none.

    Examples
    --------
    >>> score_of("0.79"), score_of("")
    (0.79, None)
    """
    try:
        return float(text) if text not in (None, "") else None
    except ValueError:
        return None
