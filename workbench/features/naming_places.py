"""Where the code of a competition names a column: polars says which one is missing, not which line asked for it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from workbench.core.errors import near
from workbench.data.competition import lies_in

__all__ = ["hint_for_column", "missing_column", "place_of_name"]

_MISSING = re.compile(r'(?:unable to find column )?"(?P<name>(?:[^"\\]|\\.)*)"(?: not found|; valid columns)')
_VALID = re.compile(r"valid columns: \[(?P<names>.*?)\](?:$|\n)")
_NAME = re.compile(r'"((?:[^"\\]|\\.)*)"')


def missing_column(exc: BaseException) -> str | None:
    """Return the column that polars did not find; None where the exception is about something else."""
    if not isinstance(exc, pl.exceptions.ColumnNotFoundError):
        return None
    match = _MISSING.search(str(exc))
    return _unescaped(match["name"]) if match else None


def hint_for_column(exc: BaseException, name: str, columns: list[str]) -> str:
    """Return a hint with the columns nearest to a missing one: of the frame that lacks it, else of `known`."""
    match = _VALID.search(str(exc))
    candidates = [_unescaped(n) for n in _NAME.findall(match["names"])] if match else columns
    return near(name, candidates or columns, kind="column")


def _unescaped(name: str) -> str:
    # As Rust writes a text: what Python reads the same way, but for \u{…}, which stays.
    return name.replace('\\"', '"').replace("\\\\", "\\")


def place_of_name(path: Path, definition: str, name: str) -> str:
    """Return where a column is named, as "features.py, line 12"; empty where no line has its name.

    The definition itself is searched first, then the rest of its file, then the modules of its folder that are loaded.

    Parameters
    ----------
    path : Path
        The file of the definition.
    definition : str
        The top-level name that it gives a value: a function, or an assignment.
    """
    tree = _parsed(path)
    if tree is None:
        return ""
    for node in (*_statements_of(tree, definition), tree):
        line = _line_of(node, name)
        if line is not None:
            return f"{path.name}, line {line}"
    for beside in _loaded_beside(path):
        other = _parsed(beside)
        line = None if other is None else _line_of(other, name)
        if line is not None:
            return f"{beside.relative_to(path.parent)}, line {line}"
    return ""


def _parsed(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError):
        return None


def _statements_of(tree: ast.Module, definition: str) -> Iterator[ast.stmt]:
    for node in tree.body:
        names = [t.id for t in getattr(node, "targets", ()) if isinstance(t, ast.Name)]
        if getattr(node, "name", None) == definition or definition in names:
            yield node


def _line_of(tree: ast.AST, name: str) -> int | None:
    """Return the first line that has the name: as a text, as ``pl.col.name``, or as a keyword."""
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, str) and _names(node.value, name))
        or (isinstance(node, ast.Attribute) and node.attr == name and _is_col(node.value))
        or (isinstance(node, ast.keyword) and node.arg == name)
    ]
    return min(lines, default=None)


def _names(text: str, name: str) -> bool:
    # "weather.temp" names the column of another feature.
    return text == name or text.endswith(f".{name}")


def _is_col(node: ast.expr) -> bool:
    return "col" in (getattr(node, "attr", None), getattr(node, "id", None))


def _loaded_beside(path: Path) -> list[Path]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return sorted({Path(f) for f in files if f and lies_in(f, path.parent)} - {path})
