"""The folds in the form that target encodings need."""

from __future__ import annotations

from workbench.data.competition import Competition
from workbench.features import Split
from workbench.models.folds import Folds, group_column, time_column, time_horizon

__all__ = ["encoding_split"]


def encoding_split(competition: Competition, folds: Folds) -> Split:
    """Return the folds with the time or the group of each row, where the scheme has one."""
    if competition.definition.cv.scheme == "time":
        times, horizon = time_column(competition)[0], time_horizon(competition)
        return Split(folds.valid, folds.train, times, horizon=horizon)
    return Split(folds.valid, folds.train, groups=group_column(competition))
