"""Unchanged code keeps the key that an earlier run recorded, even if keys are computed differently now.

A key of code depends on more than the code: on the format of Python's syntax trees, which changes with its versions,
and on this package. Where a run's copy of the code has the same key as the present code, by the present rules, the
present code gets the recorded key. So finished runs are found, studies continue, and cached blocks stay valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.data.competition import Competition
from workbench.experiments.run_folder import list_run_folders, read_run
from workbench.features import recipe_versions, recorded_code_keys, referenced_code_key

__all__ = ["earlier_code_keys"]

MAX_RUNS = 20
"""Of an experiment with more runs only the newest are read."""


@contextmanager
def earlier_code_keys(competition: Competition, number: int) -> Iterator[None]:
    """Within the block, unchanged code of an experiment has the keys that its earlier runs recorded."""
    with recorded_code_keys({}):
        inherited = _inherited(competition, number)
    with recorded_code_keys(inherited):
        yield


def _inherited(competition: Competition, number: int) -> dict[tuple[Path, str], str]:
    """Return the recorded keys, by file and function, of functions whose code is the same as in an earlier run."""
    present: dict[str, str] = {}
    inherited: dict[tuple[Path, str], str] = {}
    decided: set[str] = set()
    for folder in list_run_folders(competition.paths.runs, number)[: -MAX_RUNS - 1 : -1]:
        recorded = _recorded(folder)
        for reference in recorded.keys() - decided:
            if reference not in present:
                present[reference] = referenced_code_key(competition.folder, reference)
            key = present[reference]
            if recorded[reference] == key:
                decided.add(reference)
            elif key and referenced_code_key(folder / "source", reference) == key:
                decided.add(reference)
                file, _, name = reference.partition(":")
                inherited[competition.folder / file, name] = recorded[reference]
        if recorded and recorded.keys() <= decided:
            break
    return inherited


def _recorded(folder: Path) -> dict[str, str]:
    """Return the recorded keys of a run's code; empty for other versions of the recipes."""
    try:
        details: dict[str, Any] = read_run(folder)[1]
    except (WorkbenchError, OSError):
        return {}
    codes = details.get("code")
    return codes if isinstance(codes, dict) and details.get("recipes", {}) == recipe_versions() else {}
