"""Feature selection: which columns of an experiment to keep, as a list that experiments can name."""

from workbench.analysis.selection.elimination import EliminationStep, eliminate
from workbench.analysis.selection.groups import Group, groups_of, list_of, only
from workbench.analysis.selection.importance import GroupImportance, SelectionScore
from workbench.analysis.selection.methods import (
    judge_by_gain,
    judge_by_permutation,
    judge_by_shuffled_target,
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
    "eliminate",
    "groups_of",
    "judge_by_gain",
    "judge_by_permutation",
    "judge_by_shuffled_target",
    "list_of",
    "only",
    "options_of",
    "select",
]
