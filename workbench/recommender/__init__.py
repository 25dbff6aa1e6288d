"""Recommenders: interactions, candidates, labels, features, a ranker, the top k.

In comes a log of events; out come lists of items with their scores. `interactions` holds the log, `windows` cuts it
in time, `sources` are what candidates come from, `candidate_features` and `ranker` put them in order, `pipeline` is
all of it. What is compiled stands in modules of its own, `compiled_*`. A new source of candidates is a class in
`sources`.
"""

from workbench.recommender.covisit import Covisit, Neighbours, count_covisits
from workbench.recommender.embeddings import SkipGram, nearest_items, train_embeddings
from workbench.recommender.factors import Factorisation, Factors, best_items, fit_factors
from workbench.recommender.interactions import Columns, Ids, Interactions, read_interactions
from workbench.recommender.pipeline import recommend
from workbench.recommender.problem import Problem, RecommenderSpec, Settings
from workbench.recommender.ranker import ListModel, Lists, RankerSpec
from workbench.recommender.recommended import Recommended
from workbench.recommender.scored import score_lists
from workbench.recommender.sources import (
    SOURCES,
    AttributeSource,
    CosineSource,
    CovisitSource,
    EmbeddingsSource,
    EventWeighting,
    FactorsSource,
    HistorySource,
    OwnSource,
    PopularSource,
    Tables,
)
from workbench.recommender.stages import Stage
from workbench.recommender.validation import Validation, ValidationSpec, choose_validation
from workbench.recommender.windows import (
    Asked,
    Truth,
    Window,
    make_test_window,
    make_validation_window,
    with_users,
)

__all__ = [
    "SOURCES",
    "Asked",
    "AttributeSource",
    "Columns",
    "CosineSource",
    "Covisit",
    "CovisitSource",
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
    "Neighbours",
    "OwnSource",
    "PopularSource",
    "Problem",
    "RankerSpec",
    "Recommended",
    "RecommenderSpec",
    "Settings",
    "SkipGram",
    "Stage",
    "Tables",
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
    "with_users",
]
