"""Which files are a competition's own code, and how what they import is found beside them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from workbench.core.errors import ConfigError, NotFoundError, near
from workbench.core.read_once import loading_once

__all__ = ["RESERVED_MODULES", "importable_from", "misnamed_modules", "own_file"]

OF_THE_WORKBENCH = frozenset(
    {
        *("workbench", "kaggle_workbench"),
        *("alembic", "click", "lightgbm", "numpy", "polars", "pydantic", "rich", "sqlalchemy"),
        *("catboost", "scipy", "sklearn", "threadpoolctl", "xgboost", "joblib", "optuna", "numba", "implicit"),
        *("matplotlib", "plotly", "optuna_dashboard", "pandas", "pyarrow"),
        *("kaggle", "kagglehub", "kagglesdk", "requests", "urllib3", "llvmlite"),
        *("ipykernel", "jupyter_client", "jupytext", "nbclient", "nbconvert", "nbformat", "papermill"),
    }
)
"""Packages that the workbench itself imports, some of them late: while a competition's code is loaded, say."""

RESERVED_MODULES = frozenset(sys.stdlib_module_names) | OF_THE_WORKBENCH
"""Names that always mean Python's own library or these packages. Else a ``random.py`` or ``types.py`` of a competition
would be what every package, and the workbench, gets that happens to import it for the first time just then."""


def own_file(folder: Path, name: str, *, where: str) -> Path:
    """Return a file of a competition's folder that a TOML file names.

    Parameters
    ----------
    folder : Path
        The competition's.
    name : str
        Relative to it.
    where : str
        The file and the key, for the message.

    Raises
    ------
    ConfigError
        When it lies outside, by its name or through a link: what a definition names is run.
    NotFoundError
        When there is none.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            f"{where}: {name!r} is outside of the competition's folder {folder}",
            hint="code is loaded from that folder alone: copy the file into it",
        )
    if not path.is_file():
        raise NotFoundError(f"{where}: {path} is missing", hint=near(name, [p.name for p in folder.glob("*.py")]))
    return path


@contextmanager
def importable_from(folder: Path) -> Iterator[None]:
    """Let code find the modules of a folder by their names, before installed ones, for the length of the block.

    As in Python, a folder without an ``__init__.py`` is taken last. Names in `RESERVED_MODULES` are never found there.
    """
    first, last = _FolderFinder(folder, plain_folders=False), _FolderFinder(folder, plain_folders=True)
    sys.meta_path.insert(0, first)
    sys.meta_path.append(last)
    try:
        yield
    finally:
        sys.meta_path.remove(first)
        sys.meta_path.remove(last)


class _FolderFinder:
    def __init__(self, folder: Path, *, plain_folders: bool) -> None:
        self._places, self._plain_folders = [str(folder)], plain_folders

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or name in RESERVED_MODULES:
            return None
        spec = PathFinder.find_spec(name, self._places, target)
        if spec is None or (spec.loader is None) != self._plain_folders:
            return None
        if spec.loader is None:
            # What Python makes of it would look on its own path for more such folders, whenever something is imported.
            plain = ModuleSpec(name, None, is_package=True)
            plain.submodule_search_locations = [*(spec.submodule_search_locations or ())]
            return plain
        return loading_once(spec)


def misnamed_modules(folder: Path) -> str:
    """Say which files beside can't be imported because their names mean something else; empty where there are none."""
    names = sorted(p.name for p in folder.glob("*.py") if p.stem in RESERVED_MODULES)
    if not names:
        return ""
    return f"{', '.join(names)}: an import of that name gives Python's own module, or a package's; rename the file"
