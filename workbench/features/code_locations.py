"""Find where the code of a competition mentions a column; polars' errors name the column, but not the line."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from workbench.core.errors import did_you_mean
from workbench.data.competition import lies_in

__all__ = ["hint_for_column", "locate_name", "missing_column"]

_MISSING_COLUMN = re.compile(r'(?:unable to find column )?"(?P<name>(?:[^"\\]|\\.)*)"(?: not found|; valid columns)')
_VALID_COLUMNS = re.compile(r"valid columns: \[(?P<names>.*?)\](?:$|\n)")
_QUOTED_NAME = re.compile(r'"((?:[^"\\]|\\.)*)"')


def missing_column(exc: BaseException) -> str | None:
    """Return the missing column of a polars exception; None for other exceptions."""
    if not isinstance(exc, pl.exceptions.ColumnNotFoundError):
        return None
    match = _MISSING_COLUMN.search(str(exc))
    return _unescape(match["name"]) if match else None


def hint_for_column(exc: BaseException, name: str, columns: list[str]) -> str:
    """Return a hint with the columns similar to a missing one, of those in the message, else of `columns`."""
    match = _VALID_COLUMNS.search(str(exc))
    candidates = [_unescape(n) for n in _QUOTED_NAME.findall(match["names"])] if match else columns
    return did_you_mean(name, candidates or columns, kind="column")


def _unescape(name: str) -> str:
    # Rust's escapes are those of Python except \u{…}, which is left as it is.
    return name.replace('\\"', '"').replace("\\\\", "\\")


def locate_name(path: Path, definition: str, name: str) -> str:
    """Return where the code mentions a column, as "features.py, line 12"; empty if it does not.

    The definition is searched first, then the rest of its file, then the imported modules of its folder.

    Parameters
    ----------
    path : Path
        The file of the definition.
    definition : str
        The top-level name of the definition, a function or a variable.
    name : str
        The column.
    """
    tree = _parse(path)
    if tree is None:
        return ""
    for node in (*_definitions(tree, definition), tree):
        line = _first_line(node, name)
        if line is not None:
            return f"{path.name}, line {line}"
    for other_path in _loaded_modules(path):
        other_tree = _parse(other_path)
        line = None if other_tree is None else _first_line(other_tree, name)
        if line is not None:
            return f"{other_path.relative_to(path.parent)}, line {line}"
    return ""


def _parse(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError):
        return None


def _definitions(tree: ast.Module, definition: str) -> Iterator[ast.stmt]:
    for node in tree.body:
        names = [t.id for t in getattr(node, "targets", ()) if isinstance(t, ast.Name)]
        if getattr(node, "name", None) == definition or definition in names:
            yield node


def _first_line(tree: ast.AST, name: str) -> int | None:
    """Return the first line with the name as a string, as ``pl.col.name`` or as a keyword argument."""
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, str) and _mentions(node.value, name))
        or (isinstance(node, ast.Attribute) and node.attr == name and _is_col(node.value))
        or (isinstance(node, ast.keyword) and node.arg == name)
    ]
    return min(lines, default=None)


def _mentions(text: str, name: str) -> bool:
    # "weather.temp" is a column of another feature.
    return text == name or text.endswith(f".{name}")


def _is_col(node: ast.expr) -> bool:
    return "col" in (getattr(node, "attr", None), getattr(node, "id", None))


def _loaded_modules(path: Path) -> list[Path]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return sorted({Path(f) for f in files if f and lies_in(f, path.parent)} - {path})
