"""When the files last changed that define an experiment's runs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from workbench.data.workspace import Workspace, experiment_files, experiment_numbers
from workbench.experiments.capabilities import capabilities_of
from workbench.ledger import RunRecord

__all__ = ["ChangeTimes", "start_time"]

FOLDERS_WITHOUT_CODE = {
    "data",
    "cache",
    "runs",
    "kernels",
    "experiments",
    "selections",
    "studies",
    "rehearsal",
    "__pycache__",
}
"""Folders of a competition that have no code of its own."""

NEVER = 0.0
"""The change time of a missing file: before any run."""


class ChangeTimes:
    """The times, in seconds since the epoch, at which files of a competition last changed.

    They tell cheaply that a run's definition is unchanged: no file has to be read.

    Parameters
    ----------
    workspace : Workspace
    slug : str
    newest_runs : mapping
        Experiment -> its newest run, whatever its status.
    """

    def __init__(self, workspace: Workspace, slug: str, newest_runs: Mapping[int, RunRecord]) -> None:
        self._workspace, self._newest_runs = workspace, newest_runs
        self._folder = workspace.competitions / slug
        self._chain_times: dict[int | None, float] = {}
        self._experiment_times: dict[int, float] = {}

    def is_after(self, run: RunRecord) -> bool:
        """Return whether a file that defines a run changed after the run began."""
        return max(self.competition, self.data, self._folds, self.of_experiment(run)) > start_time(run)

    def of_experiment(self, run: RunRecord) -> float:
        """Return when the experiment's file, its bases, a feature list or a notebook last changed."""
        notebooks = self._notebooks if capabilities_of(run.kind).has_notebook else NEVER
        return max(self._last_change_of_chain(run.exp), self._lists, notebooks)

    def experiment_path(self, exp: int) -> Path:
        """Return the path of an experiment's file."""
        return experiment_files(self._folder, exp)[0]

    @cached_property
    def _experiment_numbers(self) -> set[int]:
        """The experiments that have a file; with thousands of runs, looking for each would take longest of all."""
        return set(experiment_numbers(self._folder))

    def _of_experiment_file(self, exp: int) -> float:
        if exp not in self._experiment_times:
            has_file = exp in self._experiment_numbers
            self._experiment_times[exp] = _change_time(self.experiment_path(exp)) if has_file else NEVER
        return self._experiment_times[exp]

    @cached_property
    def competition(self) -> float:
        """When ``competition.toml`` last changed."""
        return _change_time(self._folder / "competition.toml")

    @cached_property
    def data(self) -> float:
        """When the tables last changed."""
        return _change_time(self._folder / "data" / "tables" / "manifest.json")

    @cached_property
    def code(self) -> float:
        """When code of the competition last changed."""
        latest = NEVER
        for folder, subfolders, files in os.walk(self._folder):
            subfolders[:] = [f for f in subfolders if f not in FOLDERS_WITHOUT_CODE and not f.startswith(".")]
            latest = max([latest, *(_change_time(Path(folder, f)) for f in files if f.endswith(".py"))])
        return latest

    @cached_property
    def _folds(self) -> float:
        """When the code of the folds last changed, if a function makes them."""
        path = self._folder / "competition.toml"
        try:
            has_function = b"function" in path.read_bytes()
        except OSError:
            return NEVER
        return self.code if has_function else NEVER

    @cached_property
    def _lists(self) -> float:
        return max(map(_change_time, (self._folder / "selections").glob("*.toml")), default=NEVER)

    @cached_property
    def _notebooks(self) -> float:
        folders = (self._workspace.root / "notebooks", self._folder)
        paths = [p for folder in folders for pattern in ("*.ipynb", "*.py") for p in folder.glob(pattern)]
        return max([self.code, *map(_change_time, paths)])

    def _last_change_of_chain(self, exp: int) -> float:
        """Return when the file of an experiment, or of one that it is based on, last changed."""
        if exp in self._chain_times:
            return self._chain_times[exp]
        chain: list[int] = []
        base: int | None = exp
        while base is not None and base not in self._chain_times and base not in chain:
            chain.append(base)
            base = self._base_of(base)
        latest = self._chain_times.get(base, NEVER)
        for number in reversed(chain):
            latest = self._chain_times[number] = max(latest, self._of_experiment_file(number))
        return self._chain_times[exp]

    def _base_of(self, exp: int) -> int | None:
        """Return the base of an experiment: that of its newest run, unless its file has changed since."""
        run = self._newest_runs.get(exp)
        if run is not None and self._of_experiment_file(exp) <= start_time(run):
            return run.base
        path = self.experiment_path(exp)
        import tomllib

        try:
            base = tomllib.loads(path.read_text(encoding="utf-8")).get("base")
        except (OSError, ValueError, RecursionError):
            return None
        return base if isinstance(base, int) else None


def start_time(run: RunRecord) -> float:
    """Return when a run began, to compare with the times of files.

    `NEVER` for a time in the future: the clock was set back since, so files that were edited later may look older.
    """
    began_at = run.created_at.timestamp()
    return began_at if began_at <= time.time() else NEVER


def _change_time(path: Path) -> float:
    """Return when a file's content or name last changed; `NEVER` where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return NEVER
    return max(stat.st_mtime, stat.st_ctime)
