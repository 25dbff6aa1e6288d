"""The files of a competition's code: which file an import leads to, and which files a file needs to be loaded.

Keys of code and the copies that are kept with a run both find modules here, so that what counts is what is kept.
"""

from __future__ import annotations

import ast
import importlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from workbench.core.read_once import read_once
from workbench.data.competition import RESERVED_MODULES

__all__ = [
    "CodeFiles",
    "Import",
    "Module",
    "beside",
    "code_files",
    "code_files_of",
    "imported_by_text",
    "imports_of",
    "located",
    "modules_by_text",
]

NO_CODE = ("data", "cache", "runs", "kernels", "experiments", "selections", "__pycache__")
"""Folders of a competition where no module is looked for whose name is not known."""

MOST_FOLDERS = 1_000
"""A folder without an ``__init__.py`` is a package if there is code below it: so many folders are looked into."""


@dataclass(frozen=True)
class Module:
    """A file of code. `root` is the folder from which it imports the files beside; None for the workbench's own."""

    name: str
    path: Path
    root: Path | None

    @property
    def package(self) -> list[str]:
        """What relative imports start from."""
        parts = self.name.split(".")
        return parts if self.path.name == "__init__.py" else parts[:-1]


@dataclass(frozen=True)
class Import:
    """One name that an import statement binds: a module, or what `attribute` is called in it ("*" for all)."""

    bound: str
    module: str
    attribute: str | None = None
    level: int = 0

    @property
    def text(self) -> str:
        """What the statement says."""
        return f"import {'.' * self.level}{self.module} {self.attribute or ''}"


@dataclass(frozen=True)
class CodeFiles:
    """What files of code need to be loaded.

    Attributes
    ----------
    files : tuple of Path
        Themselves, and the files of the same folder that they import, at any remove.
    packages : tuple of str
        The other modules that they import, by the first part of the name.
    """

    files: tuple[Path, ...]
    packages: tuple[str, ...]


def code_files(paths: Iterable[Path]) -> CodeFiles:
    """Return the files that must be there for these to be loaded and their functions to be called.

    These are, transitively, the modules that are imported, anywhere in a file, with the packages that they are in. Of
    a module that is imported by a text that is not written there, all of the folder's could be meant.

    Parameters
    ----------
    paths : iterable of Path
        Files of code, each of which imports from its own folder.
    """
    closure = _Closure()
    for path in paths:
        closure.take([Module(path.stem, path, path.parent)])
    return closure.result()


def code_files_of(text: str, folder: Path) -> CodeFiles:
    """Return the files of a folder that a piece of code needs, such as the cells of a notebook."""
    closure = _Closure()
    closure.take(list(closure.imported(Module("", folder, folder), text)))
    return closure.result()


@dataclass
class _Closure:
    files: set[Path] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)

    def result(self) -> CodeFiles:
        return CodeFiles(tuple(sorted(self.files)), tuple(sorted(self.packages)))

    def take(self, waiting: list[Module]) -> None:
        while waiting:
            module = waiting.pop()
            if module.path in self.files or not module.path.is_file():
                continue
            self.files.add(module.path)
            waiting += self.imported(module, read_once(module.path).decode("utf-8", "replace"))

    def imported(self, module: Module, text: str) -> Iterator[Module]:
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            return  # whoever imports it says what is wrong
        for name in dict.fromkeys(n for node in ast.walk(tree) for n in _modules_of(module, node)):
            # A package is loaded before what is in it.
            parts = name.split(".")
            loaded = [beside(module.root, ".".join(parts[: i + 1])) for i in range(len(parts))]
            yield from (m for m in loaded if m is not None)
            if loaded[0] is None:
                self.packages.add(parts[0])


def _modules_of(module: Module, node: ast.AST) -> Iterator[str]:
    """Yield the names of the modules that a node may import; what is in a module may be one, too."""
    if isinstance(node, ast.Import):
        yield from (a.name for a in node.names)
    elif isinstance(node, ast.ImportFrom):
        name = absolute_name(module, node.module or "", node.level)
        if name:
            yield name
        # Of other packages only the first part of the name counts, which is that of `name`.
        prefix = f"{name}." if name else ""
        if module.root is not None and (node.level or beside(module.root, name) is not None):
            yield from (f"{prefix}{a.name}" for a in node.names if a.name != "*")
    elif isinstance(node, ast.Call):
        for text in imported_by_text(node):
            yield from (m.name for m in modules_by_text(module, text))


# ----------------------------------------------------------------------------------------------------------- modules


def located(module: Module, imported: Import) -> Module | ModuleType | None:
    """Return what an import statement imports from: a file beside, a module of the workbench, or None for others."""
    name = absolute_name(module, imported.module, imported.level)
    local_module = beside(module.root, name)
    if local_module is not None:
        return local_module
    if name.partition(".")[0] == "workbench":
        try:
            return importlib.import_module(name)
        except ImportError:
            return None
    return None


def absolute_name(module: Module, name: str, level: int) -> str:
    """Return the whole name of what a module imports, with so many dots in front of the name."""
    if not level:
        return name
    package = module.package
    package = package[: len(package) - level + 1]
    return ".".join([*package, name] if name else package)


def beside(root: Path | None, name: str) -> Module | None:
    """Return the module of a folder that Python would import by that name; None where there is none.

    As in Python, a package goes before a file, and a file before a folder without an ``__init__.py``. Names that always
    mean something else are none of the folder's, see `RESERVED_MODULES`.
    """
    if root is None or not name or not all(part.isidentifier() for part in name.split(".")):
        return None
    if name.partition(".")[0] in RESERVED_MODULES:
        return None
    path = root.joinpath(*name.split("."))
    file = path.with_name(f"{path.name}.py")
    if not (path / "__init__.py").is_file() and file.is_file():
        return Module(name, file, root)
    if (path / "__init__.py").is_file() or _has_code(path):
        return Module(name, path / "__init__.py", root)
    return None


def _has_code(folder: Path) -> bool:
    for n_visited, (_, folders, files) in enumerate(os.walk(folder)):
        if any(f.endswith(".py") for f in files):
            return True
        folders[:] = sorted(f for f in folders if f.isidentifier() and f not in NO_CODE)
        if n_visited >= MOST_FOLDERS:
            return False
    return False


def modules_by_text(module: Module, name: str | None) -> list[Module]:
    """Return the modules beside that are imported by the text of their name; all of them where that is not known."""
    root = module.root
    if root is None:
        return []
    if name is not None and not name.startswith("."):
        local_module = beside(root, name)
        return [] if local_module is None else [local_module]
    names = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f.isidentifier() and f not in NO_CODE)
        parts = Path(folder).relative_to(root).parts
        names += [".".join((*parts, f[:-3])) for f in sorted(files) if f.endswith(".py")]
    names = [n.removesuffix(".__init__") for n in names]
    return [m for m in (beside(root, n) for n in names) if m is not None]


# ------------------------------------------------------------------------------------------------------------ syntax


def imports_of(node: ast.AST) -> list[Import]:
    """Return the names that an import statement binds; none for other nodes."""
    if isinstance(node, ast.Import):
        # `import a.b` binds `a`, of which b is then taken like any other of its names.
        pairs = [(a.asname, a.name) if a.asname else (a.name.partition(".")[0],) * 2 for a in node.names]
        return [Import(bound, module) for bound, module in pairs]
    if isinstance(node, ast.ImportFrom):
        return [Import(a.asname or a.name, node.module or "", a.name, node.level) for a in node.names]
    return []


def imported_by_text(node: ast.AST) -> Iterator[str | None]:
    """Yield the module that a call imports by the text of its name; None where that is not written there."""
    if not isinstance(node, ast.Call):
        return
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in ("import_module", "__import__"):
        text = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        yield text if isinstance(text, str) else None
