"""Tuning: search spaces, and a search for better LightGBM parameters within a given time.

In come a `FoldScorer`, a `Space` and a `Budget`; out comes a `SearchResult` with the best parameters. The trials are
kept in an Optuna study that the next search continues.

- `space` has the dimensions; `plan` and `pruning` have pure functions, which train nothing.
- `search` runs the stages, each in a module of its own: `calibration`, `low_fidelity`, `full_cv` (with `race` and
  `missing_oof`), `repeated_cv`, `holdout`; they share a `context`, and `deadline` ends them. `summary` and `results`
  have the result.
- `state` has the keys of the attributes of studies and trials, which must not change: older versions share studies.
- `study` opens studies (`journal`, `dead_trials`), `oof_files` saves OOF next to them, `plots` draws them.
"""

from workbench.tuning.context import Scorers, SearchOptions
from workbench.tuning.deadline import Budget
from workbench.tuning.plan import enough_rounds
from workbench.tuning.results import SearchResult, TrialScores, scored_trials
from workbench.tuning.search import SCORES_VERSION, Search
from workbench.tuning.space import Dimension, Space, default_space, initial_point, parse_space
from workbench.tuning.state import StudyState, TrialState
from workbench.tuning.study import StudyKey, StudySession, open_study, read_study

__all__ = [
    "SCORES_VERSION",
    "Budget",
    "Dimension",
    "Scorers",
    "Search",
    "SearchOptions",
    "SearchResult",
    "Space",
    "StudyKey",
    "StudySession",
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
