"""Tuning: search spaces, and a search that spends a given time on finding LightGBM's parameters.

In come a training problem, a space and a time; out come the best parameters and every trial, in an Optuna study that
goes on where it stopped. `space` has the dimensions, `plan` divides the time, `search` runs the trials, `study` opens
and reads what is stored, `pictures` draws it.
"""

from workbench.tuning.plan import Budget, enough_rounds
from workbench.tuning.scored import Progress, Scored, Tuned, scored_trials
from workbench.tuning.search import KEPT_AS, Search
from workbench.tuning.space import Dimension, Space, default_space, own_point, parse_space
from workbench.tuning.study import OpenStudy, StudyKey, open_study, read_study

__all__ = [
    "KEPT_AS",
    "Budget",
    "Dimension",
    "OpenStudy",
    "Progress",
    "Scored",
    "Search",
    "Space",
    "StudyKey",
    "Tuned",
    "default_space",
    "enough_rounds",
    "open_study",
    "own_point",
    "parse_space",
    "read_study",
    "scored_trials",
]
