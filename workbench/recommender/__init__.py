"""Recommenders: interactions, candidates, labels, features, a ranker, the top k."""

from workbench.recommender.covisit import Covisit, Neighbours, count_covisits
from workbench.recommender.embeddings import SkipGram, nearest_items, train_embeddings
from workbench.recommender.factors import Factorisation, Factors, best_items, fit_factors
from workbench.recommender.interactions import Columns, Ids, Interactions, read_interactions

__all__ = [
    "Columns",
    "Covisit",
    "Factorisation",
    "Factors",
    "Ids",
    "Interactions",
    "Neighbours",
    "SkipGram",
    "best_items",
    "count_covisits",
    "fit_factors",
    "nearest_items",
    "read_interactions",
    "train_embeddings",
]
