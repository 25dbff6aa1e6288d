"""Import a competition's own Python files, reloading them each time."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from workbench.core.errors import ConfigError, WorkbenchError
from workbench.core.read_once import importing_once, read_once
from workbench.core.user_code import EXIT_HINT, as_error, user_frame
from workbench.data.competition.own_code import importable_from, misnamed_modules_hint


def load_code(path: Path) -> ModuleType:
    """Import a Python file of a competition, under a module name that no other file has.

    The file can import the other files of its folder by name, except names in `RESERVED_MODULES`. All of them are
    reloaded, so that the code that runs is the code on disk.

    Raises
    ------
    ConfigError
        When the file raises; the message has the line, and the hint is that of the error.
    """
    name = f"_competition_{path.parent.name.replace('-', '_')}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _forget_modules(path.parent)
    _loaded_from.add(path.parent)
    dont_write_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True

    def as_config_error(exc: BaseException) -> ConfigError:
        if isinstance(exc, SyntaxError):
            return ConfigError(f"{exc.filename}, line {exc.lineno}: {exc.msg}", hint="fix that line")
        hint = EXIT_HINT if isinstance(exc, SystemExit) else exc.hint if isinstance(exc, WorkbenchError) else ""
        if isinstance(exc, ImportError | AttributeError):
            hint = hint or misnamed_modules_hint(path.parent)
        return ConfigError(f"{path} can't be loaded: {user_frame(exc, path.parent)}", hint=hint)

    try:
        # Compiled here rather than taken from __pycache__, whose time stamps are too coarse for a file that is edited
        # and run twice within a second. The same bytes are hashed for the run's key and stored with the run.
        with importing_once(path.parent), importable_from(path.parent), as_error(as_config_error, pass_through=()):
            exec(compile(read_once(path), str(path), "exec"), module.__dict__)  # noqa: S102 the user's own code
    finally:
        sys.dont_write_bytecode = dont_write_bytecode
    return module


def lies_in(path: str, folder: Path) -> bool:
    """Tell whether a path is a folder or is below it.

    The text is compared first: a process has thousands of modules, few of them a competition's, and `pathlib` is slow
    at parsing paths.
    """
    return folder.name in path and Path(path).is_relative_to(folder)


_loaded_from: set[Path] = set()
"""The folders whose code this process has loaded; some may no longer exist."""


def _invalidate_finders(folder: Path) -> None:
    """Clear the import system's cached listing of a folder: files written a moment ago may be missing from it.

    `importlib.invalidate_caches` would also clear the caches of installed packages, which makes the next look-ups of
    their versions slow.
    """
    for searched_path, finder in list(sys.path_importer_cache.items()):
        if lies_in(searched_path, folder):
            if finder is None:
                del sys.path_importer_cache[searched_path]
            elif hasattr(finder, "invalidate_caches"):
                finder.invalidate_caches()


def _forget_modules(folder: Path) -> None:
    """Remove the folder's modules from `sys.modules`, and modules of the same names from another competition."""
    _invalidate_finders(folder)
    module_names = {p.stem for p in folder.glob("*.py")} | {p.name for p in folder.iterdir() if p.is_dir()}
    stale_modules, folder_name = [], folder.name
    for name, module in list(sys.modules.items()):
        has_same_name = name.partition(".")[0] in module_names
        file = getattr(module, "__file__", None)
        if file is None and has_same_name:
            # A namespace package has no file: without this the other competition's package would be used.
            file = next(iter(getattr(module, "__path__", ())), None)
        # The fast check comes first: it rules out nearly all of thousands of modules, before each training.
        if file is None or not (has_same_name or folder_name in file):
            continue
        if name.startswith("_competition_") or name == "__main__":
            continue
        if lies_in(file, folder) or (has_same_name and not _loaded_from.isdisjoint(Path(file).parents)):
            stale_modules.append(name)
    # After the loop: the path of a namespace package is computed from its parent package, which must still be there.
    for name in stale_modules:
        del sys.modules[name]
