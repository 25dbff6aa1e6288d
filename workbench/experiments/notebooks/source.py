"""Reading notebooks: cells, parameters and kernel."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.core.errors import ConfigError, NotFoundError, did_you_mean
from workbench.core.read_once import read_once
from workbench.experiments.notebooks.extra import library

__all__ = ["Notebook", "Parameter", "as_text", "check_parameters", "new_notebook", "read_notebook"]

PARAMETERS_TAG = "parameters"
"""Papermill's tag of the cell with the parameters."""

TYPES_BY_KIND: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "list": (list,),
    "dict": (dict,),
}
"""A parameter's kind -> the types of its values."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a notebook: an assignment in its parameters cell.

    Attributes
    ----------
    name : str
    kind : str
        The annotation, else the type of the default: "int", "float", …; empty where neither is known.
    default : str
        The source code of the default.
    help : str
        The comment at the end of the line.
    """

    name: str
    kind: str
    default: str
    help: str


MAGIC_LINE = re.compile(r"^(\s*)[%!].*")
"""A line with an IPython magic or shell command."""


@dataclass(frozen=True)
class Notebook:
    """A notebook, before it is executed.

    Attributes
    ----------
    path : Path
    cells : list of dict
        Each with "type", "source" and "tags".
    text : str
        The content of an .ipynb file, without outputs.
    kernel : str
        The kernel's name; empty without one.
    parameters : dict, or None
        By name; None without a cell that is tagged "parameters".
    """

    path: Path
    cells: list[dict[str, Any]]
    text: str
    kernel: str
    parameters: dict[str, Parameter] | None

    def with_kernel(self, name: str) -> Notebook:
        """Return the notebook with another kernel."""
        return replace(self, kernel=name)

    @property
    def code(self) -> str:
        """The code of all cells as one text, with magics and shell commands replaced by `pass`."""
        lines = (line for c in self.cells if c["type"] == "code" for line in c["source"].splitlines())
        return "\n".join(MAGIC_LINE.sub(r"\1pass", line) for line in lines) + "\n"

    def content(self) -> list[Any]:
        """Return the type, source and tags of the code cells, which decide the result."""
        return [[c["type"], c["source"], c["tags"]] for c in self.cells if c["type"] == "code"]


def read_notebook(path: Path) -> Notebook:
    """Read a notebook: an .ipynb file, or a .py or .md file in a format of jupytext.

    Raises
    ------
    NotFoundError
        When it is missing.
    ConfigError
        When it is not a notebook, is in another language than Python, or packages are missing.
    """
    if not path.exists():
        other_names = [p.name for p in path.parent.glob("*") if p.suffix in (".ipynb", ".py", ".md")]
        raise NotFoundError(f"no notebook {path}", hint=did_you_mean(path.name, other_names, kind="notebook"))
    nbformat = library("nbformat")
    node = _read_node(path)
    kernel = node.metadata.get("kernelspec", {})
    language = kernel.get("language") or node.metadata.get("language_info", {}).get("name") or "python"
    if language != "python":
        raise ConfigError(f"{path} is a notebook in {language}", hint="only Python notebooks can record predictions")
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    cells = [{"type": c.cell_type, "source": c.source, "tags": list(c.metadata.get("tags", []))} for c in node.cells]
    tagged = [c for c in cells if c["type"] == "code" and PARAMETERS_TAG in c["tags"]]
    parameters = None if not tagged else _parameters(tagged[0]["source"], path)
    return Notebook(path, cells, nbformat.writes(node), str(kernel.get("name", "")), parameters)


def new_notebook(introduction: str, *code: str, parameters: str | None = None) -> Any:
    """Return a new notebook node: a Markdown introduction, an optional cell of parameters, and code cells."""
    v4 = library("nbformat").v4
    node = v4.new_notebook()
    node.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    node.cells = [v4.new_markdown_cell(introduction), *(v4.new_code_cell(source) for source in code)]
    if parameters is not None:
        node.cells.insert(1, v4.new_code_cell(parameters, metadata={"tags": [PARAMETERS_TAG]}))
    for number, cell in enumerate(node.cells):
        # nbformat's own ids are random; equal notebooks must be equal files.
        cell.id = f"cell-{number}"
    return node


def as_text(node: Any) -> str:
    """Return a notebook node as the text of its file."""
    text: str = library("nbformat").writes(node)
    return text + "\n"


def _read_node(path: Path) -> Any:
    nbformat = library("nbformat")
    if path.suffix != ".ipynb":
        try:
            return library("jupytext").reads(read_once(path).decode(), fmt={"extension": path.suffix})
        except (ValueError, KeyError) as exc:
            raise ConfigError(f"{path} can't be read as a notebook: {exc}", hint="`# %%` begins a cell") from exc
    try:
        text = read_once(path).decode()
        json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{path} is not a notebook: invalid JSON ({exc})", hint="download or save it again") from exc
    try:
        node = nbformat.reads(text, as_version=4)
        _check_types(node)
    except (nbformat.ValidationError, AttributeError, KeyError, TypeError, ValueError) as exc:
        raise ConfigError(f"{path} is not a notebook: {exc}", hint="download or save it again") from exc
    return node


def _check_types(node: Any) -> None:
    """Raise TypeError if a used part of the notebook has a wrong type; other parts may violate the format."""
    notebook_metadata = [
        ("metadata", node.metadata),
        *((k, node.metadata.get(k, {})) for k in ("kernelspec", "language_info")),
    ]
    cell_metadata = [("the metadata of a cell", cell.metadata) for cell in node.cells]
    for name, value in (*notebook_metadata, *cell_metadata):
        if not isinstance(value, dict):
            raise TypeError(f"{name} is {type(value).__name__}, expected an object")
    for cell in node.cells:
        tags = cell.metadata.get("tags", [])
        if not isinstance(cell.cell_type, str) or not isinstance(cell.source, str):
            raise TypeError("the source of a cell is not a string")
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise TypeError(f"the tags of a cell are {tags!r}, expected a list of strings")


def _parameters(source: str, path: Path) -> dict[str, Parameter]:
    """Return the parameters that a cell assigns at its top level."""
    try:
        return _assigned_parameters(ast.parse(source), source.splitlines())
    except SyntaxError as exc:
        line_text = "" if exc.lineno is None else f"line {exc.lineno} of "
        raise ConfigError(f"{path}: {line_text}the parameters cell is not valid Python: {exc.msg}") from exc
    except (ValueError, RecursionError, MemoryError) as exc:
        raise ConfigError(f"{path}: the parameters cell can't be parsed: it is nested too deeply") from exc


def _assigned_parameters(tree: ast.Module, lines: list[str]) -> dict[str, Parameter]:
    """Return the parameters that are assigned at the top level of a module, by name."""
    parameters: dict[str, Parameter] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets: list[ast.expr] = node.targets
            value, annotated = node.value, ""
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value, annotated = [node.target], node.value, ast.unparse(node.annotation)
        else:
            continue
        _, hash_sign, comment = lines[(node.end_lineno or 1) - 1][node.end_col_offset or 0 :].partition("#")
        for target in targets:
            if isinstance(target, ast.Name):
                description = comment.strip() if hash_sign else ""
                parameters[target.id] = Parameter(
                    target.id, annotated or _kind_of_literal(value), ast.unparse(value), description
                )
    return parameters


def _kind_of_literal(value: ast.expr) -> str:
    """Return the kind of a literal; empty for other expressions."""
    try:
        kind = type(ast.literal_eval(value)).__name__
    except ValueError:
        return ""
    return kind if kind in TYPES_BY_KIND else ""


def check_parameters(notebook: Notebook, values: Mapping[str, Any], *, where: str) -> None:
    """Check that a notebook has parameters of these names and kinds.

    Raises
    ------
    ConfigError
        For a notebook without a parameters cell, an unknown name, or a value of another kind.
    """
    if values and notebook.parameters is None:
        raise ConfigError(
            f"{where} sets {', '.join(values)}, but {notebook.path} has no parameters cell",
            hint=f'tag the cell that sets them "{PARAMETERS_TAG}"',
        )
    declared = notebook.parameters or {}
    for name, value in values.items():
        if name not in declared:
            raise ConfigError(
                f"{where} has an unknown key {name!r}: {notebook.path} has no such parameter",
                hint=did_you_mean(name, declared, kind="parameter"),
            )
        kind, default = declared[name].kind, declared[name].default
        allowed = TYPES_BY_KIND.get(kind)
        if allowed is not None and (not isinstance(value, allowed) or (isinstance(value, bool) and kind != "bool")):
            raise ConfigError(
                f"{where} {name} = {value!r}: expected {kind}, as the default {default} in {notebook.path}"
            )
