# ruff: noqa: F401 the imports are this module's names
"""The types that the library takes and returns, and functions that read and format them, by name.

They are defined in other wings. The imports below are not executed: only type checkers see them, and `__getattr__`
imports the module of a name when the name is first used.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.analysis.checks import CheckReport, TimeCheck, leak_error
    from workbench.analysis.selection import GroupImportance, Selection, SelectionScore
    from workbench.data.ingest import Approval
    from workbench.data.workspace import Workspace
    from workbench.experiments.current_runs import outdated_text
    from workbench.experiments.foreign import isolation_warning
    from workbench.experiments.notebooks import read_notebook
    from workbench.experiments.run import RunOutcome
    from workbench.experiments.spec import parse_keep, parse_numbers
    from workbench.experiments.tune import TuneOutcome
    from workbench.experiments.tuned_parameters import as_toml_lines
    from workbench.features import CachedBlock, FeatureSummary, excluded_column_lines
    from workbench.kernels import BuiltKernel, Machine
    from workbench.ledger import RunRecord, SubmissionRecord
    from workbench.platforms.interactions import InteractionsSpec, parse_duration, parse_weights
    from workbench.platforms.protocol import CompetitionFacts, SubmissionLimits
    from workbench.rehearsal import LogSpec, RehearsalSpec
    from workbench.review.table import Change, Row, RunTable, as_csv, as_dicts, as_text, cv_interval, scores_text
    from workbench.submissions import PreparedSubmission, SubmissionFinding, text_of
    from workbench.tuning import TrialScores, TrialState


def _module_by_name() -> dict[str, str]:
    """Return the module of each name that is imported above for type checkers."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    (type_checking,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in type_checking.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


_MODULE_BY_NAME = _module_by_name()
__all__ = sorted(_MODULE_BY_NAME)  # noqa: PLE0605 ruff can't see that it is a list


def __getattr__(name: str) -> Any:
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_BY_NAME[name]), name)
