"""Feature selection: write the columns of an experiment to keep as a list that experiments can name."""

from workbench.analysis.selection.elimination import EliminationStep, eliminate
from workbench.analysis.selection.groups import Group, column_groups, features_with_columns, with_columns
from workbench.analysis.selection.importance import GroupImportance, SelectionScore
from workbench.analysis.selection.methods import (
    importance_by_gain,
    importance_by_permutation,
    importance_by_shuffled_target,
)
from workbench.analysis.selection.options import METHODS, SelectionOptions, options_of
from workbench.analysis.selection.select import ListRequest, Selection, select

__all__ = [
    "METHODS",
    "EliminationStep",
    "Group",
    "GroupImportance",
    "ListRequest",
    "Selection",
    "SelectionOptions",
    "SelectionScore",
    "column_groups",
    "eliminate",
    "features_with_columns",
    "importance_by_gain",
    "importance_by_permutation",
    "importance_by_shuffled_target",
    "options_of",
    "select",
    "with_columns",
]
