"""Resolve the imports of a competition's code to files.

Used both for keys of code and for the copies of code that are stored with a run, so that they cover the same files.
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
    "code_files",
    "code_files_of",
    "dynamic_imports",
    "dynamic_modules",
    "find_import",
    "find_local_module",
    "imports_of",
]

EXCLUDED_FOLDERS = ("data", "cache", "runs", "kernels", "experiments", "selections", "__pycache__")
"""Folders of a competition that are not searched for modules."""

MAX_VISITED_FOLDERS = 1_000
"""How many folders to search for code below a folder without ``__init__.py``, which is a package if there is any."""


@dataclass(frozen=True)
class Module:
    """A source file. `root` is the folder that it imports local modules from; None for the workbench's own files."""

    name: str
    path: Path
    root: Path | None

    @property
    def package(self) -> list[str]:
        """The parts of the name of the package that relative imports start from."""
        parts = self.name.split(".")
        return parts if self.path.name == "__init__.py" else parts[:-1]


@dataclass(frozen=True)
class Import:
    """A name that an import statement binds, to a module or to an attribute of it ("*" for all)."""

    bound: str
    module: str
    attribute: str | None = None
    level: int = 0

    @property
    def text(self) -> str:
        """A text that identifies the import."""
        return f"import {'.' * self.level}{self.module} {self.attribute or ''}"


@dataclass(frozen=True)
class CodeFiles:
    """The files and packages that source files need.

    Attributes
    ----------
    files : tuple of Path
        The source files and the local files that they import, transitively.
    packages : tuple of str
        The top-level names of all other modules that they import.
    """

    files: tuple[Path, ...]
    packages: tuple[str, ...]


def code_files(paths: Iterable[Path]) -> CodeFiles:
    """Return the files that source files need to be imported and their functions to be called.

    These are the modules that they import anywhere in the file, transitively, with their parent packages. For an import
    by a computed name, they are all modules of the folder.

    Parameters
    ----------
    paths : iterable of Path
        Source files, each of which imports from its own folder.
    """
    closure = _ImportClosure()
    for path in paths:
        closure.add_modules([Module(path.stem, path, path.parent)])
    return closure.result()


def code_files_of(text: str, folder: Path) -> CodeFiles:
    """Return the files of a folder that some code needs, such as the cells of a notebook."""
    closure = _ImportClosure()
    closure.add_modules(list(closure.imported_modules(Module("", folder, folder), text)))
    return closure.result()


@dataclass
class _ImportClosure:
    files: set[Path] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)

    def result(self) -> CodeFiles:
        return CodeFiles(tuple(sorted(self.files)), tuple(sorted(self.packages)))

    def add_modules(self, pending: list[Module]) -> None:
        while pending:
            module = pending.pop()
            if module.path in self.files or not module.path.is_file():
                continue
            self.files.add(module.path)
            pending += self.imported_modules(module, read_once(module.path).decode("utf-8", "replace"))

    def imported_modules(self, module: Module, text: str) -> Iterator[Module]:
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            return  # importing it reports the error
        for name in dict.fromkeys(n for node in ast.walk(tree) for n in _imported_names(module, node)):
            # Importing a module imports its parent packages.
            parts = name.split(".")
            local_modules = [find_local_module(module.root, ".".join(parts[: i + 1])) for i in range(len(parts))]
            yield from (m for m in local_modules if m is not None)
            if local_modules[0] is None:
                self.packages.add(parts[0])


def _imported_names(module: Module, node: ast.AST) -> Iterator[str]:
    """Yield the names of the modules that a node may import; an imported attribute may be a submodule."""
    if isinstance(node, ast.Import):
        yield from (a.name for a in node.names)
    elif isinstance(node, ast.ImportFrom):
        name = absolute_name(module, node.module or "", node.level)
        if name:
            yield name
        # Of other packages only the top-level name counts.
        prefix = f"{name}." if name else ""
        if module.root is not None and (node.level or find_local_module(module.root, name) is not None):
            yield from (f"{prefix}{a.name}" for a in node.names if a.name != "*")
    elif isinstance(node, ast.Call):
        for text in dynamic_imports(node):
            yield from (m.name for m in dynamic_modules(module, text))


# ----------------------------------------------------------------------------------------------------------- modules


def find_import(module: Module, imported: Import) -> Module | ModuleType | None:
    """Return the module of an import: a local file, a module of the workbench, or None for other packages."""
    name = absolute_name(module, imported.module, imported.level)
    local_module = find_local_module(module.root, name)
    if local_module is not None:
        return local_module
    if name.partition(".")[0] == "workbench":
        try:
            return importlib.import_module(name)
        except ImportError:
            return None
    return None


def absolute_name(module: Module, name: str, level: int) -> str:
    """Return the absolute name of an import with `level` leading dots."""
    if not level:
        return name
    package = module.package
    package = package[: len(package) - level + 1]
    return ".".join([*package, name] if name else package)


def find_local_module(root: Path | None, name: str) -> Module | None:
    """Return the module of a folder that Python would import by that name; None if there is none.

    As in Python, a package has precedence over a file, and a file over a folder without ``__init__.py``. Names in
    `RESERVED_MODULES` never refer to local modules.
    """
    if root is None or not name or not all(part.isidentifier() for part in name.split(".")):
        return None
    if name.partition(".")[0] in RESERVED_MODULES:
        return None
    path = root.joinpath(*name.split("."))
    file = path.with_name(f"{path.name}.py")
    if not (path / "__init__.py").is_file() and file.is_file():
        return Module(name, file, root)
    if (path / "__init__.py").is_file() or _contains_code(path):
        return Module(name, path / "__init__.py", root)
    return None


def _contains_code(folder: Path) -> bool:
    for n_visited, (_, folders, files) in enumerate(os.walk(folder)):
        if any(f.endswith(".py") for f in files):
            return True
        folders[:] = sorted(f for f in folders if f.isidentifier() and f not in EXCLUDED_FOLDERS)
        if n_visited >= MAX_VISITED_FOLDERS:
            return False
    return False


def dynamic_modules(module: Module, name: str | None) -> list[Module]:
    """Return the local modules of an import by name, as by `import_module`; all of them if the name is computed."""
    root = module.root
    if root is None:
        return []
    if name is not None and not name.startswith("."):
        local_module = find_local_module(root, name)
        return [] if local_module is None else [local_module]
    names = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f.isidentifier() and f not in EXCLUDED_FOLDERS)
        parts = Path(folder).relative_to(root).parts
        names += [".".join((*parts, f[:-3])) for f in sorted(files) if f.endswith(".py")]
    names = [n.removesuffix(".__init__") for n in names]
    return [m for m in (find_local_module(root, n) for n in names) if m is not None]


# ------------------------------------------------------------------------------------------------------------ syntax


def imports_of(node: ast.AST) -> list[Import]:
    """Return the names that an import statement binds; none for other nodes."""
    if isinstance(node, ast.Import):
        # `import a.b` binds `a`; b is an attribute of it.
        pairs = [(a.asname, a.name) if a.asname else (a.name.partition(".")[0],) * 2 for a in node.names]
        return [Import(bound, module) for bound, module in pairs]
    if isinstance(node, ast.ImportFrom):
        return [Import(a.asname or a.name, node.module or "", a.name, node.level) for a in node.names]
    return []


def dynamic_imports(node: ast.AST) -> Iterator[str | None]:
    """Yield the module that a call of `import_module` or `__import__` imports; None if its name is computed."""
    if not isinstance(node, ast.Call):
        return
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in ("import_module", "__import__"):
        text = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        yield text if isinstance(text, str) else None
