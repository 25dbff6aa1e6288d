"""Number new experiments and write their files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from workbench.core.cache import create_text
from workbench.core.errors import BusyError, LedgerError, StorageError
from workbench.data.workspace import Workspace

__all__ = ["create_experiment", "create_notebook", "next_number"]

_RUN = re.compile(r"(\d+)-\d{8}T\d{6}-.*", re.ASCII)
_SELECTION = re.compile(r"(\d{3,})-(?:gain|null|permutation|rfe)", re.ASCII)
_NUMBER = re.compile(r"(\d+)", re.ASCII)


def next_number(workspace: Workspace, slug: str) -> int:
    """Return one more than the largest number that any experiment of a competition has or had.

    A deleted experiment may have left run folders, a study, a kernel, a feature list of `wb select`, a notebook,
    submitted files, or entries in the ledger: a new experiment of its number would be shown with its scores.

    Raises
    ------
    LedgerError, BusyError, StorageError
        When the ledger can't be read.
    """
    return 1 + max((*_numbers_on_disk(workspace, slug), _largest_in_ledger(workspace, slug)))


def _numbers_on_disk(workspace: Workspace, slug: str) -> Iterator[int]:
    """Yield the numbers of experiments in the names of a competition's files and folders; a number may be repeated."""
    folder = workspace.competitions / slug
    notebook_pattern = re.compile(rf"{re.escape(slug)}-(\d{{3,}})", re.ASCII)
    patterns = (
        (folder / "experiments", _NUMBER),
        (folder / "runs", _RUN),
        (folder / "studies", _NUMBER),
        (folder / "kernels", _NUMBER),
        (folder / "selections", _SELECTION),
        (workspace.root / "notebooks", notebook_pattern),
        (workspace.submissions / slug, _RUN),
    )
    for parent, pattern in patterns:
        for path in parent.iterdir() if parent.is_dir() else ():
            # Run folders and submitted files are named after the run's id: a dot in it does not begin a suffix.
            match = pattern.fullmatch(path.name if pattern is _RUN else path.stem)
            if match and not (parent.name == "experiments" and path.suffix != ".toml"):
                yield int(match[1])


def _largest_in_ledger(workspace: Workspace, slug: str) -> int:
    """Return the largest number of an experiment in the ledger; 0 if there is no ledger yet."""
    location = workspace.ledger
    if isinstance(location, Path) and not location.exists():
        return 0
    from workbench.ledger import Ledger

    try:
        with Ledger.open(location) as ledger:
            return ledger.largest_experiment(slug)
    except (LedgerError, BusyError, StorageError) as exc:
        raise type(exc)(
            f"the next experiment of {slug!r} can't be numbered without the ledger: {exc.message}", hint=exc.hint
        ) from exc


def create_experiment(workspace: Workspace, slug: str, text: str) -> tuple[int, Path]:
    """Write an experiment's file under the next unused number, and return the number and the path.

    Two processes never get the same number.

    Raises
    ------
    LedgerError, BusyError, StorageError
        When the ledger can't be read, or the file can't be written.
    """
    number = next_number(workspace, slug)
    while not create_text(path := _experiment_path(workspace, slug, number), text):
        number += 1
    return number, path


def create_notebook(
    workspace: Workspace,
    slug: str,
    notebook_text: Callable[[int], str],
    suffix: str,
    experiment_text: Callable[[Path], str],
) -> tuple[Path, Path]:
    """Write a notebook and the experiment that runs it, both under the next number; return both paths.

    Parameters
    ----------
    notebook_text : callable
        Returns the notebook's text for its number.
    suffix : str
        The suffix of the notebook's file.
    experiment_text : callable
        Returns the experiment's text for the notebook's path.

    Raises
    ------
    LedgerError, BusyError, StorageError
        When the ledger can't be read, or a file can't be written.
    """
    number = next_number(workspace, slug)
    while True:
        experiment_path = _experiment_path(workspace, slug, number)
        notebook_path = workspace.root / "notebooks" / f"{slug}-{number:03d}{suffix}"
        if create_text(notebook_path, notebook_text(number)):
            if create_text(experiment_path, experiment_text(notebook_path)):
                return notebook_path, experiment_path
            notebook_path.unlink()
        number += 1


def _experiment_path(workspace: Workspace, slug: str, number: int) -> Path:
    return workspace.competitions / slug / "experiments" / f"{number:03d}.toml"
