"""Imports of a competition's own Python files, reloaded each time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from workbench.core.errors import ConfigError, WorkbenchError
from workbench.core.read_once import importing_once, read_once
from workbench.core.user_code import EXIT_HINT, as_error, user_frame
from workbench.data.competition.own_code import importable_from, misnamed_modules


def load_code(path: Path) -> ModuleType:
    """Import a Python file of a competition again, under a name of its own.

    Files beside it can be imported by their names, but for those in `RESERVED_MODULES`. They are imported again, too:
    what runs is what is written.

    Raises
    ------
    ConfigError
        When it raises; the message has the line, and the hint is that of what was raised.
    """
    name = f"_competition_{path.parent.name.replace('-', '_')}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _forget_modules(path.parent)
    _loaded_from.add(path.parent)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True

    def failure(exc: BaseException) -> ConfigError:
        if isinstance(exc, SyntaxError):
            return ConfigError(f"{exc.filename}, line {exc.lineno}: {exc.msg}", hint="fix that line")
        hint = EXIT_HINT if isinstance(exc, SystemExit) else exc.hint if isinstance(exc, WorkbenchError) else ""
        if isinstance(exc, ImportError | AttributeError):
            hint = hint or misnamed_modules(path.parent)
        return ConfigError(f"{path} can't be loaded: {user_frame(exc, path.parent)}", hint=hint)

    try:
        # The source is compiled here, never taken from __pycache__: its time stamps are too coarse for a file that
        # was edited and run twice within a second. And it is what its key is made of, and what is kept with a run.
        with importing_once(path.parent), importable_from(path.parent), as_error(failure, pass_through=()):
            exec(compile(read_once(path), str(path), "exec"), module.__dict__)  # noqa: S102 the user's own code
    finally:
        sys.dont_write_bytecode = writes
    return module


def lies_in(path: str, folder: Path) -> bool:
    """Return whether a path is the folder or lies below it, without taking apart a path that can't.

    A process has thousands of modules, of which few are a competition's, and `pathlib` is slow to take a path apart.
    """
    return folder.name in path and Path(path).is_relative_to(folder)


_loaded_from: set[Path] = set()
"""The folders whose code this process has loaded; some may be gone."""


def _invalidate_finders(folder: Path) -> None:
    """Let imports look again which files the folder has: what was just written is younger than its time tells.

    As `importlib.invalidate_caches`, but for this folder alone: that one lets everything be looked for again, also each
    package whose version is asked for.
    """
    for place, finder in list(sys.path_importer_cache.items()):
        if lies_in(place, folder):
            if finder is None:
                del sys.path_importer_cache[place]
            elif hasattr(finder, "invalidate_caches"):
                finder.invalidate_caches()


def _forget_modules(folder: Path) -> None:
    """Forget modules of the folder, and those of the same name that came from another competition's."""
    _invalidate_finders(folder)
    names = {p.stem for p in folder.glob("*.py")} | {p.name for p in folder.iterdir() if p.is_dir()}
    stale = []
    for name, module in list(sys.modules.items()):
        if name.startswith("_competition_") or name == "__main__":
            continue
        beside = name.partition(".")[0] in names
        file = getattr(module, "__file__", None)
        if file is None and beside:
            # A folder without an __init__.py: it would go on standing for the other's package.
            file = next(iter(getattr(module, "__path__", ())), None)
        if file is None:
            continue
        if lies_in(file, folder) or (beside and not _loaded_from.isdisjoint(Path(file).parents)):
            stale.append(name)
    # All at once: the path of a package without an __init__.py is worked out from the one that it is in.
    for name in stale:
        del sys.modules[name]
