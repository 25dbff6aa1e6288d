"""The numbers of experiments: which are used, and how the next one is taken."""

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
    """Return one more than the largest number that an experiment of a competition has, or ever left a trace of.

    Traces are its file, run folders, a study, a kernel, a list of features that `wb select` named after it, a notebook
    written for it, what was submitted of it, and what the ledger has: a new experiment under its number would show the
    scores of the one before.

    Raises
    ------
    LedgerError, BusyError, StorageError
        When the ledger can't be read: the number is not guessed without it.
    """
    return 1 + max((*_numbers_on_disk(workspace, slug), _largest_in_ledger(workspace, slug)))


def _numbers_on_disk(workspace: Workspace, slug: str) -> Iterator[int]:
    folder = workspace.competitions / slug
    notebook = re.compile(rf"{re.escape(slug)}-(\d{{3,}})", re.ASCII)
    places = (
        (folder / "experiments", _NUMBER),
        (folder / "runs", _RUN),
        (folder / "studies", _NUMBER),
        (folder / "kernels", _NUMBER),
        (folder / "selections", _SELECTION),
        (workspace.root / "notebooks", notebook),
        (workspace.submissions / slug, _RUN),
    )
    for place, pattern in places:
        for path in place.iterdir() if place.is_dir() else ():
            # A run's folder and the file that was sent of it are called by its id, which has no suffix.
            match = pattern.fullmatch(path.name if pattern is _RUN else path.stem)
            if match and not (place.name == "experiments" and path.suffix != ".toml"):
                yield int(match[1])


def _largest_in_ledger(workspace: Workspace, slug: str) -> int:
    where = workspace.ledger
    if isinstance(where, Path) and not where.exists():
        return 0
    from workbench.ledger import Ledger

    try:
        with Ledger.open(where) as ledger:
            return ledger.largest_experiment(slug)
    except (LedgerError, BusyError, StorageError) as exc:
        raise type(exc)(
            f"the next experiment of {slug!r} can't be numbered without the ledger: {exc.message}", hint=exc.hint
        ) from exc


def create_experiment(workspace: Workspace, slug: str, text: str) -> tuple[int, Path]:
    """Write an experiment's file under the next number, and return both; two processes never get the same.

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
    workspace: Workspace, slug: str, text: Callable[[int], str], suffix: str, experiment: Callable[[Path], str]
) -> tuple[Path, Path]:
    """Write a notebook, and under the same, next number the experiment that runs it; return both paths.

    Parameters
    ----------
    text : callable
        Gives the notebook's text for its number.
    suffix : str
        Of the notebook.
    experiment : callable
        Gives the experiment's text for the notebook's path.

    Raises
    ------
    LedgerError, BusyError, StorageError
        When the ledger can't be read, or a file can't be written.
    """
    number = next_number(workspace, slug)
    while True:
        path = _experiment_path(workspace, slug, number)
        notebook = workspace.root / "notebooks" / f"{slug}-{number:03d}{suffix}"
        if create_text(notebook, text(number)):
            if create_text(path, experiment(notebook)):
                return notebook, path
            notebook.unlink()
        number += 1


def _experiment_path(workspace: Workspace, slug: str, number: int) -> Path:
    return workspace.competitions / slug / "experiments" / f"{number:03d}.toml"
