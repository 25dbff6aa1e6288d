"""A competition's own Python files: which ones a definition may name, and how they import each other."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from workbench.core.errors import ConfigError, NotFoundError, did_you_mean
from workbench.core.read_once import loading_once

__all__ = ["RESERVED_MODULES", "importable_from", "misnamed_modules_hint", "own_file"]

PACKAGES_OF_THE_WORKBENCH = frozenset(
    {
        *("workbench", "kaggle_workbench"),
        *("alembic", "click", "lightgbm", "numpy", "polars", "pydantic", "rich", "sqlalchemy"),
        *("catboost", "scipy", "sklearn", "threadpoolctl", "xgboost", "joblib", "optuna", "numba", "implicit"),
        *("matplotlib", "plotly", "optuna_dashboard", "pandas", "pyarrow"),
        *("kaggle", "kagglehub", "kagglesdk", "requests", "urllib3", "llvmlite"),
        *("ipykernel", "jupyter_client", "jupytext", "nbclient", "nbconvert", "nbformat", "papermill"),
    }
)
"""Packages that the workbench itself imports, some of them lazily, and so while a competition's code is loaded."""

RESERVED_MODULES = frozenset(sys.stdlib_module_names) | PACKAGES_OF_THE_WORKBENCH
"""Names that always mean the standard library or these packages. Otherwise a competition's ``random.py`` would be
imported by any package that imports ``random`` for the first time while the competition's code is loaded."""


def own_file(folder: Path, name: str, *, where: str) -> Path:
    """Return the path of a competition's Python file that a TOML file names.

    Parameters
    ----------
    folder : Path
        The competition's folder.
    name : str
        The path relative to the folder.
    where : str
        The TOML file and the key, for the message.

    Raises
    ------
    ConfigError
        When the file is outside of the folder, by its name or through a link: its code would be run.
    NotFoundError
        When there is no such file.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            f"{where}: {name!r} is outside of the competition's folder {folder}",
            hint="code is loaded from that folder alone: copy the file into it",
        )
    if not path.is_file():
        raise NotFoundError(
            f"{where}: {path} is missing", hint=did_you_mean(name, [p.name for p in folder.glob("*.py")])
        )
    return path


@contextmanager
def importable_from(folder: Path) -> Iterator[None]:
    """Make the modules of a folder importable within the block, before installed ones.

    As in Python, a folder without an ``__init__.py`` (a namespace package) is searched last. Names in
    `RESERVED_MODULES` are never imported from the folder.
    """
    modules_finder = _FolderFinder(folder, is_for_namespaces=False)
    namespaces_finder = _FolderFinder(folder, is_for_namespaces=True)
    sys.meta_path.insert(0, modules_finder)
    sys.meta_path.append(namespaces_finder)
    try:
        yield
    finally:
        sys.meta_path.remove(modules_finder)
        sys.meta_path.remove(namespaces_finder)


class _FolderFinder:
    """An entry of `sys.meta_path` that finds top-level modules, or only namespace packages, in one folder."""

    def __init__(self, folder: Path, *, is_for_namespaces: bool) -> None:
        self._search_path, self._is_for_namespaces = [str(folder)], is_for_namespaces

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a top-level module or namespace package of the folder, or None; see `sys.meta_path`."""
        # `path` is given for a submodule, which Python finds through its package.
        if path is not None or name in RESERVED_MODULES:
            return None
        spec = PathFinder.find_spec(name, self._search_path, target)
        if spec is None or (spec.loader is None) != self._is_for_namespaces:
            return None
        if spec.loader is None:
            # A plain list of locations: Python's own type would search `sys.path` for more of them at each import.
            namespace = ModuleSpec(name, None, is_package=True)
            namespace.submodule_search_locations = [*(spec.submodule_search_locations or ())]
            return namespace
        return loading_once(spec)


def misnamed_modules_hint(folder: Path) -> str:
    """Return a hint that names the files whose names are reserved, so that they can't be imported; "" without any."""
    names = sorted(p.name for p in folder.glob("*.py") if p.stem in RESERVED_MODULES)
    if not names:
        return ""
    return (
        f"{', '.join(names)}: Python or a package has a module of that name, which is imported instead; rename the file"
    )
