"""Code that has not changed keeps the key that an earlier run recorded, in whichever way keys were made then.

A key of code depends on more than the code: on how Python's syntax trees are written, which changes with its versions,
and on how the workbench makes keys. Where a run's own copy of the code and the present code are the same by the rules
of today, the present code has the recorded key: finished runs are found, studies go on, and blocks stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.data.competition import Competition
from workbench.experiments.run_folder import list_run_folders, read_run
from workbench.features import recipe_versions, recorded_codes, referenced_code_key

__all__ = ["earlier_code_keys"]

MOST_RUNS = 20
"""Of an experiment with more runs the newest are looked at."""


@contextmanager
def earlier_code_keys(competition: Competition, number: int) -> Iterator[None]:
    """Let the code of an experiment that is as an earlier run of it had it have that run's keys in the block."""
    with recorded_codes({}):
        inherited = _inherited(competition, number)
    with recorded_codes(inherited):
        yield


def _inherited(competition: Competition, number: int) -> dict[tuple[Path, str], str]:
    present: dict[str, str] = {}
    inherited: dict[tuple[Path, str], str] = {}
    decided: set[str] = set()
    for folder in list_run_folders(competition.paths.runs, number)[: -MOST_RUNS - 1 : -1]:
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
    """Return the keys of a run's code; none where other versions of the recipes gave its values."""
    try:
        details: dict[str, Any] = read_run(folder)[1]
    except (WorkbenchError, OSError):
        return {}
    codes = details.get("code")
    return codes if isinstance(codes, dict) and details.get("recipes", {}) == recipe_versions() else {}
