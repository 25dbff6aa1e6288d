"""What encodings of the target need to know of the folds, beside who trains on what."""

from __future__ import annotations

from workbench.data.competition import Competition
from workbench.features import Split
from workbench.models.folds import Folds, group_column, time_column, time_horizon

__all__ = ["split_of"]


def split_of(competition: Competition, folds: Folds) -> Split:
    """Return the folds as encodings take them: with the time of each row, or its group, where the scheme has them."""
    if competition.definition.cv.scheme == "time":
        times, horizon = time_column(competition)[0], time_horizon(competition)
        return Split(folds.valid, folds.train, times, horizon=horizon)
    return Split(folds.valid, folds.train, groups=group_column(competition))
