"""The ``[notebook]`` table of an experiment and its checks."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from workbench.core.errors import ConfigError, NotFoundError, did_you_mean
from workbench.experiments.kaggle_inputs import data_stamps
from workbench.experiments.notebooks import Limits, Notebook, check_parameters, read_notebook
from workbench.experiments.spec import ExperimentSpec
from workbench.features import code_key_of

__all__ = ["NotebookSpec", "notebook_spec", "without_grid"]

OWN_KEYS = ("file", "seconds", "cell_seconds", "kernel", "grid", "submission", "cv", "network")
"""Keys of the table that are not the notebook's parameters."""

DEFAULT_KERNEL = "python3"
"""The kernel of the running Python."""


@dataclass(frozen=True)
class NotebookSpec:
    """A notebook to run.

    Attributes
    ----------
    notebook : Notebook
    parameters : dict
    limits : Limits
        Limits of time; the memory limit is the workspace's.
    transform : str
        Always "none": notebooks predict on the target's scale.
    submission : str, or None
        The submission file that a notebook written for Kaggle writes; None for one that records predictions.
    cv : str, or None
        A regular expression for the CV that a notebook written for Kaggle prints.
    network : bool
        Whether a notebook written for Kaggle may use the network; other notebooks always may.
    code : str
        The key of the competition's code that the notebook imports; empty without imports.
    data : dict
        Other data that a notebook written for Kaggle reads: name -> stamp of its files.
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
        """Return the values that decide the result: code cells, parameters, kernel and options."""
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
        The competition's folder, which may have notebooks.
    notebooks : Path
        The workspace's folder of notebooks.

    Raises
    ------
    ConfigError
        For a missing or invalid notebook, unknown parameters, values of another kind, and invalid limits.
    """
    where, table = f"{spec.path}: [notebook]", spec.model
    file = table.get("file")
    if not isinstance(file, str) or not file:
        raise ConfigError(f"{where} needs the notebook's file, got {file!r}", hint='for example file = "model.ipynb"')
    path = next((p for p in (folder / file, notebooks / file) if p.is_file()), None)
    if path is None:
        names = [p.name for parent in (folder, notebooks) for p in parent.glob("*") if p.suffix in (".ipynb", ".py")]
        raise NotFoundError(
            f"{where} file = {file!r}: no such notebook in {notebooks} or {folder}", hint=did_you_mean(file, names)
        )
    if not any(path.resolve().is_relative_to(parent.resolve()) for parent in (folder, notebooks)):
        raise ConfigError(
            f"{where} file = {file!r} is outside of {folder} and {notebooks}",
            hint="copy it into one of these folders",
        )
    notebook = read_notebook(path)
    if "kernel" in table:
        notebook = notebook.with_kernel(str(table["kernel"]))
    elif table.get("submission") is not None and notebook.kernel:
        # The kernel in another person's notebook is ignored: other kernels can read more of the machine.
        notebook = notebook.with_kernel(DEFAULT_KERNEL)
    parameters = {k: v for k, v in table.items() if k not in OWN_KEYS}
    check_parameters(notebook, parameters, where=where)
    total_s, cell_s = (_seconds(table.get(key), f"{where} {key}") for key in ("seconds", "cell_seconds"))
    submission, cv = (_text(table.get(key), f"{where} {key}") for key in ("submission", "cv"))
    if cv is not None:
        if submission is None:
            raise ConfigError(f"{where} cv = {cv!r} is only for notebooks with submission = …", hint="remove it")
        _check_pattern(cv, f"{where} cv")
    network = _network(table.get("network"), where, is_foreign=submission is not None)
    # A notebook that was written for Kaggle runs in a separate folder, and can't import the competition's code.
    code = code_key_of(notebook.code, folder) if submission is None else ""
    data = {} if submission is None else data_stamps(folder, notebook)
    limits = Limits(total_s, cell_s)
    return NotebookSpec(
        notebook, parameters, limits, submission=submission, cv=cv, network=network, code=code, data=data
    )


def _network(value: Any, where: str, *, is_foreign: bool) -> bool:
    """Check and return the option ``network``; only notebooks written for Kaggle may have it."""
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"{where} network = {value!r}: expected true or false")
    if value is not None and not is_foreign:
        raise ConfigError(
            f"{where} network is only for notebooks with submission = …; others always have the network",
            hint="remove it",
        )
    return bool(value)


def _text(value: Any, where: str) -> str | None:
    """Check and return an optional string."""
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f"{where} = {value!r}: expected a string")
    return value


def _check_pattern(pattern: str, where: str) -> None:
    """Check that a regular expression is valid and has a group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as exc:
        raise ConfigError(f"{where} = {pattern!r} is not a regular expression: {exc}") from exc
    if not groups:
        raise ConfigError(f"{where} = {pattern!r} has no group for the number", hint='cv = "CV: ([0-9.]+)"')


def without_grid(spec: ExperimentSpec) -> list[dict[str, Any]]:
    """Return a ``[notebook]`` table for each combination of its grid; without a grid the table itself.

    Raises
    ------
    ConfigError
        For a grid that is not a table of lists, is empty, or has a key of the table.
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
            raise ConfigError(f"{where} {name} is also in [notebook]", hint="remove one of them")
    return [{**table, **dict(zip(grid, values, strict=True))} for values in product(*grid.values())]


def _seconds(value: Any, where: str) -> float | None:
    """Check and return an optional number of seconds."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{where} = {value!r}: expected seconds, a number above 0")
    return float(value)
