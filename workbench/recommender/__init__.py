"""Recommenders: interactions, candidates, labels, features, a ranker, the top k.

Input is a log of events; output is lists of items with their scores. `interactions` holds the log, `windows` cuts it in
time, `sources` generate candidates, `candidate_features` and `ranker` rank them. `pipeline` runs all of it, with
`rolling_windows` or `user_folds` for validation; `window_steps` has the steps that both share with the test window.
Compiled functions are in the modules `compiled_*`. A new candidate source is a class in `sources`.
"""

from workbench.recommender.covisit import Covisit, Neighbours, count_covisits
from workbench.recommender.embeddings import SkipGram, nearest_items, train_embeddings
from workbench.recommender.factors import Factorisation, Factors, best_items, fit_factors
from workbench.recommender.interactions import Columns, Ids, Interactions, read_interactions
from workbench.recommender.pipeline import recommend, train_models, trainings
from workbench.recommender.problem import ModelStore, NoModelStore, RecommenderProblem, RecommenderSpec, Settings
from workbench.recommender.ranker import ListModel, Lists, RankerSpec
from workbench.recommender.result import RecommenderResult
from workbench.recommender.scoring import score_lists
from workbench.recommender.sources import (
    SOURCES,
    AttributeSource,
    CosineSource,
    CovisitSource,
    CustomSource,
    EmbeddingsSource,
    EventWeighting,
    FactorsSource,
    HistorySource,
    PopularSource,
    Tables,
)
from workbench.recommender.stages import Stage
from workbench.recommender.validation import Validation, ValidationSpec, choose_validation
from workbench.recommender.windows import (
    TaskSpec,
    Truth,
    Window,
    make_test_window,
    make_validation_window,
    with_users,
)

__all__ = [
    "SOURCES",
    "AttributeSource",
    "Columns",
    "CosineSource",
    "Covisit",
    "CovisitSource",
    "CustomSource",
    "EmbeddingsSource",
    "EventWeighting",
    "Factorisation",
    "Factors",
    "FactorsSource",
    "HistorySource",
    "Ids",
    "Interactions",
    "ListModel",
    "Lists",
    "ModelStore",
    "Neighbours",
    "NoModelStore",
    "PopularSource",
    "RankerSpec",
    "RecommenderProblem",
    "RecommenderResult",
    "RecommenderSpec",
    "Settings",
    "SkipGram",
    "Stage",
    "Tables",
    "TaskSpec",
    "Truth",
    "Validation",
    "ValidationSpec",
    "Window",
    "best_items",
    "choose_validation",
    "count_covisits",
    "fit_factors",
    "make_test_window",
    "make_validation_window",
    "nearest_items",
    "read_interactions",
    "recommend",
    "score_lists",
    "train_embeddings",
    "train_models",
    "trainings",
    "with_users",
]
