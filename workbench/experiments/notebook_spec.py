"""What ``[notebook]`` says of an experiment, checked before anything is run."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from workbench.core.errors import ConfigError, NotFoundError, near
from workbench.experiments.kaggle_inputs import data_stamps
from workbench.experiments.notebooks import Limits, Notebook, check_parameters, read_notebook
from workbench.experiments.spec import ExperimentSpec
from workbench.features import code_key_of

__all__ = ["NotebookSpec", "notebook_spec", "without_grid"]

OURS = ("file", "seconds", "cell_seconds", "kernel", "grid", "submission", "cv", "network")
"""Keys of the table that are not the notebook's parameters."""

KERNEL = "python3"
"""This Python's."""


@dataclass(frozen=True)
class NotebookSpec:
    """A notebook to run.

    Attributes
    ----------
    notebook : Notebook
    parameters : dict
    limits : Limits
        Of time; that of memory is the workspace's.
    transform : str
        Always "none": a notebook predicts on the competition's own scale.
    submission : str, or None
        The file that a notebook written for Kaggle leaves; None for one that records.
    cv : str, or None
        A regular expression for the CV that such a one prints.
    network : bool
        Whether one written for Kaggle has the network; one of one's own has what its user has.
    code : str
        The key of the competition's code that it imports; empty where it imports none.
    data : dict
        Name -> stamp of the data beside the competition's that one written for Kaggle reads.
    """

    notebook: Notebook
    parameters: dict[str, Any]
    limits: Limits
    transform: str = "none"
    submission: str | None = None
    cv: str | None = None
    network: bool = False
    code: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Return what decides the result: the cells' code and the parameters."""
        content: dict[str, Any] = {
            "notebook": self.notebook.content(),
            "kernel": self.notebook.kernel,
            "parameters": self.parameters,
        }
        content |= {"code": self.code} if self.code else {}
        content |= {"data": self.data} if self.data else {}
        if self.network:
            content["network"] = True
        return content | ({} if self.submission is None else {"submission": self.submission, "cv": self.cv})


def notebook_spec(spec: ExperimentSpec, folder: Path, notebooks: Path) -> NotebookSpec:
    """Check the ``[notebook]`` table of an experiment against the notebook that it names.

    Parameters
    ----------
    spec : ExperimentSpec
    folder : Path
        The competition's, where its own notebooks may be.
    notebooks : Path
        The workspace's.

    Raises
    ------
    ConfigError
        For a notebook that is missing or none, parameters that it does not have or of another kind, and odd limits.
    """
    where, table = f"{spec.path}: [notebook]", spec.model
    file = table.get("file")
    if not isinstance(file, str) or not file:
        raise ConfigError(f"{where} needs file, the notebook: got {file!r}", hint='for example file = "model.ipynb"')
    path = next((p for p in (folder / file, notebooks / file) if p.is_file()), None)
    if path is None:
        names = [p.name for place in (folder, notebooks) for p in place.glob("*") if p.suffix in (".ipynb", ".py")]
        raise NotFoundError(
            f"{where} file = {file!r}: no such notebook in {notebooks} or {folder}", hint=near(file, names)
        )
    if not any(path.resolve().is_relative_to(place.resolve()) for place in (folder, notebooks)):
        raise ConfigError(
            f"{where} file = {file!r} is outside of {folder} and {notebooks}",
            hint="what is run comes from these two folders: copy it into one",
        )
    notebook = read_notebook(path)
    if "kernel" in table:
        notebook = notebook.with_kernel(str(table["kernel"]))
    elif table.get("submission") is not None and notebook.kernel:
        # What somebody else's notebook says of itself decides nothing: another kernel sees more of the machine.
        notebook = notebook.with_kernel(KERNEL)
    parameters = {k: v for k, v in table.items() if k not in OURS}
    check_parameters(notebook, parameters, where=where)
    in_all, of_cell = (_seconds(table.get(key), f"{where} {key}") for key in ("seconds", "cell_seconds"))
    submission, cv = (_text(table.get(key), f"{where} {key}") for key in ("submission", "cv"))
    if cv is not None:
        if submission is None:
            raise ConfigError(f"{where} cv = {cv!r} is for a notebook that leaves a submission", hint="take it out")
        _check_pattern(cv, f"{where} cv")
    network = _network(table.get("network"), where, foreign=submission is not None)
    # One that was written for Kaggle runs in a folder of its own, and can't import what is beside.
    code = code_key_of(notebook.code, folder) if submission is None else ""
    data = {} if submission is None else data_stamps(folder, notebook)
    limits = Limits(in_all, of_cell)
    return NotebookSpec(
        notebook, parameters, limits, submission=submission, cv=cv, network=network, code=code, data=data
    )


def _network(value: Any, where: str, *, foreign: bool) -> bool:
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"{where} network = {value!r}: expected true or false")
    if value is not None and not foreign:
        raise ConfigError(
            f"{where} network is for a notebook that leaves a submission; others run as their user does",
            hint="take it out",
        )
    return bool(value)


def _text(value: Any, where: str) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f"{where} = {value!r}: expected a text")
    return value


def _check_pattern(pattern: str, where: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as exc:
        raise ConfigError(f"{where} = {pattern!r} is no regular expression: {exc}") from exc
    if not groups:
        raise ConfigError(f"{where} = {pattern!r} has no group for the number", hint='cv = "CV: ([0-9.]+)"')


def without_grid(spec: ExperimentSpec) -> list[dict[str, Any]]:
    """Return the ``[notebook]`` tables that a grid makes of it, one for each combination; the table without one.

    Raises
    ------
    ConfigError
        For a grid that is no table of lists, is empty, or names what the table gives, too.
    """
    table, where = dict(spec.model), f"{spec.path}: [notebook.grid]"
    grid = table.pop("grid", None)
    if grid is None:
        return [table]
    if not isinstance(grid, dict) or not grid:
        raise ConfigError(f"{where}: expected parameters with lists of values, got {grid!r}", hint="depth = [3, 5, 8]")
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{where} {name} = {values!r}: expected a list of values", hint=f"{name} = [1, 2]")
        if name in table:
            raise ConfigError(f"{where} {name}: [notebook] gives it, too", hint="keep one of them")
    return [{**table, **dict(zip(grid, values, strict=True))} for values in product(*grid.values())]


def _seconds(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{where} = {value!r}: expected seconds, a number above 0")
    return float(value)
