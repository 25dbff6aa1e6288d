"""What the library takes and returns, by name: values of lower wings, and what reads or words them.

Each is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.analysis.checks import CheckReport, TimeCheck, leak_error
    from workbench.analysis.selection import GroupImportance, Selection, SelectionScore
    from workbench.data.ingest import Approval
    from workbench.data.workspace import Workspace
    from workbench.experiments.current_runs import outdated_text
    from workbench.experiments.foreign import not_closed
    from workbench.experiments.notebooks import read_notebook
    from workbench.experiments.run import RunOutcome
    from workbench.experiments.spec import parse_keep, parse_numbers
    from workbench.experiments.tune import TuneOutcome
    from workbench.experiments.tuned_parameters import as_toml_lines
    from workbench.features import CachedBlock, FeatureSummary, shown_left_out
    from workbench.kernels import BuiltKernel, Machine
    from workbench.ledger import RunRecord, SubmissionRecord
    from workbench.platforms.interactions import InteractionsSpec, parse_duration, parse_weights
    from workbench.platforms.protocol import CompetitionFacts, SubmissionLimits
    from workbench.rehearsal import LogSpec, RehearsalSpec
    from workbench.review.table import Change, Row, RunTable, as_csv, as_dicts, as_text, cv_interval, scores_text
    from workbench.submissions import PreparedSubmission, SubmissionFinding, text_of
    from workbench.tuning import TrialScores, TrialState

__all__ = [
    "Approval",
    "BuiltKernel",
    "CachedBlock",
    "Change",
    "CheckReport",
    "CompetitionFacts",
    "FeatureSummary",
    "GroupImportance",
    "InteractionsSpec",
    "LogSpec",
    "Machine",
    "PreparedSubmission",
    "RehearsalSpec",
    "Row",
    "RunOutcome",
    "RunRecord",
    "RunTable",
    "Selection",
    "SelectionScore",
    "SubmissionFinding",
    "SubmissionLimits",
    "SubmissionRecord",
    "TimeCheck",
    "TrialScores",
    "TrialState",
    "TuneOutcome",
    "Workspace",
    "as_csv",
    "as_dicts",
    "as_text",
    "as_toml_lines",
    "cv_interval",
    "leak_error",
    "not_closed",
    "outdated_text",
    "parse_duration",
    "parse_keep",
    "parse_numbers",
    "parse_weights",
    "read_notebook",
    "scores_text",
    "shown_left_out",
    "text_of",
]

_HOMES = {
    "analysis.checks": "CheckReport TimeCheck leak_error",
    "analysis.selection": "GroupImportance Selection SelectionScore",
    "data.ingest": "Approval",
    "data.workspace": "Workspace",
    "experiments.current_runs": "outdated_text",
    "experiments.foreign": "not_closed",
    "experiments.notebooks": "read_notebook",
    "experiments.run": "RunOutcome",
    "experiments.spec": "parse_keep parse_numbers",
    "experiments.tune": "TuneOutcome",
    "experiments.tuned_parameters": "as_toml_lines",
    "features": "CachedBlock FeatureSummary shown_left_out",
    "kernels": "BuiltKernel Machine",
    "ledger": "RunRecord SubmissionRecord",
    "platforms.interactions": "InteractionsSpec parse_duration parse_weights",
    "platforms.protocol": "CompetitionFacts SubmissionLimits",
    "rehearsal": "LogSpec RehearsalSpec",
    "review.table": "Change Row RunTable as_csv as_dicts as_text cv_interval scores_text",
    "submissions": "PreparedSubmission SubmissionFinding text_of",
    "tuning": "TrialScores TrialState",
}
"""Module -> its names here; "name:name here" where that says more."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        for entry in names.split():
            original, _, renamed = entry.partition(":")
            if name == (renamed or original):
                return getattr(importlib.import_module(f"workbench.{module}"), original)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
