"""Tuning: search spaces, and a search that spends a given time on finding LightGBM's parameters.

In come a training problem, a space and a time; out come the best parameters and every trial, in an Optuna study that
goes on where it stopped. `space` has the dimensions, `plan` divides the time, `search` runs the trials, `study` opens
and reads what is stored, `pictures` draws it.
"""

from workbench.tuning.context import Scorers, SearchOptions
from workbench.tuning.deadline import Budget
from workbench.tuning.plan import enough_rounds
from workbench.tuning.results import Progress, SearchResult, TrialScores, scored_trials
from workbench.tuning.search import SCORES_VERSION, Search
from workbench.tuning.space import Dimension, Space, default_space, initial_point, parse_space
from workbench.tuning.state import StudyState, TrialState
from workbench.tuning.study import OpenStudy, StudyKey, open_study, read_study

__all__ = [
    "SCORES_VERSION",
    "Budget",
    "Dimension",
    "OpenStudy",
    "Progress",
    "Scorers",
    "Search",
    "SearchOptions",
    "SearchResult",
    "Space",
    "StudyKey",
    "StudyState",
    "TrialScores",
    "TrialState",
    "default_space",
    "enough_rounds",
    "initial_point",
    "open_study",
    "parse_space",
    "read_study",
    "scored_trials",
]
