"""Which columns of an experiment are worth keeping, as a list that experiments can name."""

from workbench.analysis.selection.elimination import Step, eliminate
from workbench.analysis.selection.groups import Group, groups_of, list_of, only
from workbench.analysis.selection.judged import Judged, Scored
from workbench.analysis.selection.methods import (
    judge_by_gain,
    judge_by_permutation,
    judge_by_shuffled_target,
)
from workbench.analysis.selection.options import METHODS, Options, options_of
from workbench.analysis.selection.select import Request, Selection, select

__all__ = [
    "METHODS",
    "Group",
    "Judged",
    "Options",
    "Request",
    "Scored",
    "Selection",
    "Step",
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
