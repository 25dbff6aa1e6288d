"""Keys of a feature's code, which change if and only if code changes that the feature depends on.

A key covers definitions, not files: from a name the walk follows the statements that assign or change it, the names
that these use, imports of local files, and the versions of recipes. Comments, docstrings and other features do not
change the key; a function that a helper in another file calls does.
"""

from __future__ import annotations

import ast
import importlib
import io
import symtable
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from workbench.core.cache import content_key
from workbench.core.distribution import DISTRIBUTION, distributions_of_modules, version_of
from workbench.core.read_once import read_once
from workbench.features import recipes
from workbench.features.code_modules import (
    Import,
    Module,
    dynamic_imports,
    dynamic_modules,
    find_import,
    find_local_module,
    imports_of,
)
from workbench.features.recipes import LIBRARIES, VERSIONS

__all__ = [
    "CodeWalk",
    "code_key",
    "code_key_of",
    "package_version",
    "recipe_versions",
    "recorded_code_keys",
    "referenced_code_key",
]

RECIPES_PACKAGE = recipes.__name__
"""The only part of the workbench's own code that the values of features depend on."""

NOTEBOOK_API = "workbench.api.nb"
"""Its attributes are computed on access: the target, folds and columns of the competition."""

UNVERSIONED_MODULES = {"polars", "numpy", "workbench", "__future__"}
"""The version of polars is part of every key of a block; results of numpy do not depend on its version."""

DISTRIBUTION_BY_MODULE = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "cv2": "opencv-python",
    "yaml": "PyYAML",
    "workbench": DISTRIBUTION,
}

NO_FILE_NAME = "(code)"
"""The file name for code that is not in a file."""

DYNAMIC_BUILTINS = ("globals", "vars", "exec", "eval")
"""With these builtins a definition can use any name."""

READ_ONLY_METHODS = {
    *("copy", "count", "get", "index", "items", "keys", "values"),
    *("endswith", "format", "join", "lower", "replace", "split", "startswith", "strip", "upper"),
}
"""Methods of builtin types that do not modify the object."""

Chain = tuple[str, ...]
"""Attributes that are accessed on a name: ("text", "clean") on `tools` in `tools.text.clean`; () for the name."""


_recorded_code_keys: ContextVar[Mapping[tuple[Path, str], str]] = ContextVar(
    "_recorded_code_keys", default=MappingProxyType({})
)


@contextmanager
def recorded_code_keys(key_by_name: Mapping[tuple[Path, str], str]) -> Iterator[None]:
    """Within the block, make `code_key` return these keys, by file and name.

    They come from earlier runs with the same code, which may have computed its keys in another way.
    """
    token = _recorded_code_keys.set(key_by_name)
    try:
        yield
    finally:
        _recorded_code_keys.reset(token)


def code_key(path: Path, name: str) -> str:
    """Return a key of the code that a top-level name of a file depends on.

    The key covers, transitively,

    - every statement that assigns or changes a used name: functions with their decorators and defaults, classes,
      constants, conditional and repeated definitions, ``TABLE["x"] = 1``;
    - calls at import time that change a used name: decorators that append to a list, calls of a function that sets
      ``TABLE["x"]``, also through an alias of TABLE;
    - the used names of imported local files;
    - the versions of used recipes (`workbench.features.recipes.VERSIONS`), whose code itself does not count;
    - the versions of other packages, except polars, which is part of every key of a block, and numpy.

    Comments, docstrings, layout and unused definitions do not count.

    Where names can't be followed, the whole file counts: modules that are passed around or imported by a computed name,
    names that are created dynamically, ``globals()`` and the like. Two dependencies are not detected: files that are
    read while a feature is computed (declare them by ``@feature(files=…)``), and functions that modify an argument and
    whose result is assigned: ``total = drain(TABLE)``.

    Raises
    ------
    OSError, SyntaxError
        When a file can't be read or parsed.
    """
    recorded = _recorded_code_keys.get().get((path, name))
    if recorded is not None:
        return recorded
    walk = CodeWalk()
    start = Module(path.stem, path, path.parent)
    if not walk.follow(start, name, {()}):
        walk.follow_all(start)
    return content_key("code-v2", name, walk.code)


def referenced_code_key(folder: Path, reference: str) -> str:
    """Return the code key of a reference ``file.py:name`` in a folder; "" if it can't be read."""
    file, _, name = reference.partition(":")
    try:
        return code_key(folder / file, name)
    except (OSError, SyntaxError, ValueError):
        return ""


def recipe_versions() -> dict[str, int]:
    """Return recipe -> version for the recipes whose values have changed since version 1."""
    return {name: version for name, version in VERSIONS.items() if version != 1}


def code_key_of(text: str, folder: Path) -> str:
    """Return a key of the local files that some code uses, such as the cells of a notebook.

    Empty if it imports none; the code itself is not part of the key.
    """
    try:
        parsed = _parse(text, "")
    except (SyntaxError, ValueError):
        return ""
    walk, start = CodeWalk(), Module("", folder / NO_FILE_NAME, folder)
    walk.parsed_files[start.path] = parsed
    walk.follow_all(start)
    return content_key("code-v2", "", walk.code) if len(walk.parsed_files) > 1 else ""


# -------------------------------------------------------------------------------------------------------- statements


@dataclass(frozen=True)
class _Statement:
    """A top-level statement, with the names that it uses and its imports."""

    node: ast.stmt

    @cached_property
    def text(self) -> str:
        # Other names of an import statement do not matter.
        return "" if isinstance(self.node, ast.Import | ast.ImportFrom) else ast.dump(self.node)

    @cached_property
    def names(self) -> dict[str, set[Chain]]:
        used = _used_globals(self.node)
        return {name: chains for name, chains in self.chains.items() if name in used}

    @cached_property
    def chains(self) -> dict[str, set[Chain]]:
        chains: dict[str, set[Chain]] = {}
        for name, chain in _attribute_chains(self.node):
            chains.setdefault(name, set()).add(chain)
        return chains

    @cached_property
    def imports(self) -> list[Import]:
        return [i for node in ast.walk(self.node) for i in imports_of(node)]


class _ParsedFile:
    """The top-level statements of a file, by the names that they bind or change."""

    def __init__(self, text: str, filename: str = "") -> None:
        self.tree = _without_docstrings(ast.parse(text, filename=filename))
        statements = [_Statement(node) for node in self.tree.body]
        self.definitions: dict[str, list[_Statement]] = {}
        bound = {name for s in statements for name in _bound_names(s.node)}
        defined = bound - {i.bound for s in statements for i in s.imports}
        aliases = dict(_alias_of(s.node) for s in statements)
        self.names_changed_by_call = _names_mutated_by_calls(statements, defined)
        self.calls: list[tuple[_Statement, str, Chain]] = []
        for statement in statements:
            calls = list(_calls_at_load(statement.node))
            self.calls += [(statement, *call) for call in calls]
            changed = (_assigned_names(statement.node) & bound) | (
                _method_owners(_walk_at_load(statement.node)) & defined
            )
            changed = changed.union(*(self.names_changed_by_call.get(name, ()) for name, _ in calls))
            changed |= bound if _may_change_any(statement.node) else set()
            for name in tuple(changed):
                while (name := aliases.get(name, "")) and name not in changed:
                    changed.add(name)
            for name in dict.fromkeys([*_bound_names(statement.node), *sorted(changed)]):
                self.definitions.setdefault(name, []).append(statement)
        self.stars = [i for s in statements for i in s.imports if i.attribute == "*"]


@lru_cache(maxsize=256)
def _parse(text: str, filename: str) -> _ParsedFile:
    return _ParsedFile(text, filename)


# -------------------------------------------------------------------------------------------------------------- walk


@dataclass
class CodeWalk:
    """Collects the code that names depend on, transitively.

    Attributes
    ----------
    code : dict
        "module:name" -> the syntax tree of its definitions as text; also labels of imports, recipes and versions.
    parsed_files : dict
        The files that were read.
    """

    code: dict[str, str] = field(default_factory=dict)
    parsed_files: dict[Path, _ParsedFile] = field(default_factory=dict)
    _followed: set[tuple[Path, str, Chain]] = field(default_factory=set)

    def parsed(self, module: Module) -> _ParsedFile:
        """Return the parsed file of a module, empty for a package without ``__init__.py``."""
        path = module.path
        if path not in self.parsed_files:
            self.parsed_files[path] = _parse(_read_text(path) if path.is_file() else "", str(path))
        return self.parsed_files[path]

    def follow(self, module: Module, name: str, chains: Iterable[Chain]) -> bool:
        """Add the definitions of a name, whose attribute `chains` are used; return whether the module has the name."""
        parsed = self.parsed(module)
        statements = parsed.definitions.get(name)
        if statements is None:
            return any(self._follow_star(module, star, name, chains) for star in reversed(parsed.stars))
        new = [c for c in chains if (module.path, name, c) not in self._followed]
        self._followed |= {(module.path, name, c) for c in new}
        if not new:
            return True
        self.code[f"{module.name}:{name}"] = "\n".join(s.text for s in statements)
        for statement in statements:
            self._follow_statement(module, statement, name, new)
        return True

    def _follow_statement(self, module: Module, statement: _Statement, name: str, chains: list[Chain]) -> None:
        """Follow what a statement uses, which assigns or changes `name`, of which the chains are used."""
        for imported in statement.imports:
            if imported.bound == name:
                self._follow_import(module, imported, chains)
            elif statement.text:
                self._follow_import(module, imported, statement.chains.get(imported.bound, set()))
        if not statement.text:
            return
        used = dict(statement.names)
        if any(builtin in used and builtin not in self.parsed(module).definitions for builtin in DYNAMIC_BUILTINS):
            self.follow_all(module)
        for imported_name in (text for node in ast.walk(statement.node) for text in dynamic_imports(node)):
            self._follow_dynamic_import(module, imported_name)
        if isinstance(statement.node, ast.FunctionDef | ast.AsyncFunctionDef) and name != statement.node.name:
            # The function sets `name` by `global`, so that its callers count.
            used.setdefault(statement.node.name, {()})
        for other, other_chains in used.items():
            if other != name:
                self.follow(module, other, other_chains)

    def _follow_star(self, module: Module, star: Import, name: str, chains: Iterable[Chain]) -> bool:
        target = find_import(module, star)
        if isinstance(target, ModuleType):
            return self._follow_library(target, [(name, *c) for c in chains])
        return target is not None and self.follow(target, name, chains)

    def _follow_import(self, module: Module, imported: Import, chains: Iterable[Chain]) -> None:
        """Follow the chains that are used of an imported name."""
        target = find_import(module, imported)
        self.code[f"{module.name}:{imported.bound} = {imported.text}"] = ""
        target_chains = [c if imported.attribute is None else (imported.attribute, *c) for c in chains]
        if imported.attribute == "*":
            return
        if target is None:
            self._add_package_version(imported)
        elif isinstance(target, ModuleType):
            self._follow_library(target, target_chains)
        else:
            for chain in target_chains:
                self._follow_attribute(target, chain)
                self._follow_callers(module, target, chain)

    def _follow_dynamic_import(self, module: Module, name: str | None) -> None:
        """Add the local module of an import by name; all local modules if the name is computed (None)."""
        for imported in dynamic_modules(module, name):
            self.follow_all(imported)

    def _follow_callers(self, module: Module, other: Module, chain: Chain) -> None:
        """Add the statements of a module that call functions of another which change names used from it."""
        if not chain:
            return
        changers = {name for name, changed in self.parsed(other).names_changed_by_call.items() if chain[0] in changed}
        if not changers:
            return
        parsed = self.parsed(module)
        for statement, name, attributes in parsed.calls:
            for imported in (i for s in parsed.definitions.get(name, ()) for i in s.imports if i.bound == name):
                called = imported.attribute or next(iter(attributes), "")
                target = find_import(module, imported) if called in changers else None
                if isinstance(target, Module) and target.path == other.path:
                    self._add_statement(module, statement)

    def _add_statement(self, module: Module, statement: _Statement) -> None:
        label = f"{module.name}: {statement.text}"
        if label not in self.code:
            self.code[label] = ""
            self._follow_statement(module, statement, "", [()])

    def _follow_attribute(self, module: Module, chain: Chain) -> None:
        """Follow a chain of attribute names from a module; all of the module if the chain is empty."""
        if not chain:
            self.follow_all(module)
            return
        inner = (
            find_local_module(module.root, f"{module.name}.{chain[0]}") if module.path.name == "__init__.py" else None
        )
        if not self.follow(module, chain[0], [chain[1:]]) and inner is not None:
            self._follow_attribute(inner, chain[1:])

    def follow_all(self, module: Module) -> None:
        """Add the whole module and everything that it uses."""
        label = f"{module.name}:"
        if label not in self.code:
            parsed = self.parsed(module)
            self.code[label] = ast.dump(parsed.tree)
            for star in parsed.stars:
                target = find_import(module, star)
                if isinstance(target, Module):
                    self.follow_all(target)
            for name in parsed.definitions:
                self.follow(module, name, [()])

    def _follow_library(self, module: ModuleType, chains: Iterable[Chain]) -> bool:
        """Add the versions of recipes among attributes of the workbench; return whether any attribute exists."""
        was_followed = [self._follow_library_attribute(module, chain) for chain in chains]
        return any(was_followed)

    def _follow_library_attribute(self, module: ModuleType, chain: Chain) -> bool:
        if not chain:
            self._add_recipe_versions(VERSIONS if _contains_recipes(module.__name__) else ())
            return True
        if module.__name__ == NOTEBOOK_API:
            return True
        value = _attribute(module, chain[0])
        if isinstance(value, ModuleType):
            return self._follow_library_attribute(value, chain[1:])
        name = getattr(value, "__name__", None)
        if isinstance(name, str) and name in VERSIONS and getattr(recipes, name) is value:
            self._add_recipe_versions([name])
        elif str(getattr(value, "__module__", module.__name__)).startswith(f"{RECIPES_PACKAGE}."):
            self._add_recipe_versions(VERSIONS)  # an internal of the recipes
        return value is not None

    def _add_recipe_versions(self, names: Iterable[str]) -> None:
        for name in names:
            self.code[f"recipe:{name}"] = str(VERSIONS[name])
            if name in LIBRARIES:
                self.code[f"version:{LIBRARIES[name]}"] = package_version(LIBRARIES[name])

    def _add_package_version(self, imported: Import) -> None:
        top = imported.module.partition(".")[0]
        if top and top not in UNVERSIONED_MODULES and top not in sys.stdlib_module_names:
            self.code[f"version:{top}"] = package_version(top)


def _read_text(path: Path) -> str:
    # As `Path.read_text`, with universal newlines.
    return io.TextIOWrapper(io.BytesIO(read_once(path)), encoding="utf-8").read()


# ----------------------------------------------------------------------------------------------------------- modules


def _contains_recipes(name: str) -> bool:
    """Tell whether a module of the workbench is the recipes package, a part of it or a parent of it."""
    return f"{name}.".startswith(f"{RECIPES_PACKAGE}.") or RECIPES_PACKAGE.startswith(f"{name}.")


def _attribute(module: ModuleType, name: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        pass
    try:
        return importlib.import_module(f"{module.__name__}.{name}")
    except ImportError:
        return None


def package_version(module: str) -> str:
    """Return the version of an installed package by its import name; empty if it is not installed."""
    version = version_of(DISTRIBUTION_BY_MODULE.get(module, module))
    distributions = set() if version else {*distributions_of_modules().get(module, [])}
    return version or ", ".join(sorted(f"{distribution} {version_of(distribution)}" for distribution in distributions))


# ------------------------------------------------------------------------------------------------------------ syntax


def _walk_at_load(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the nodes of a statement, except the bodies of functions, classes and lambdas."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        yield from _walk_at_load(child)


def _bound_names(node: ast.stmt) -> list[str]:
    """Return the names of the module that a statement binds."""
    names: list[str] = []
    for inner in _walk_at_load(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(inner.name)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            names.append(inner.id)
        elif isinstance(inner, ast.MatchAs | ast.MatchStar) and inner.name:
            names.append(inner.name)
        else:
            names += [i.bound for i in imports_of(inner) if i.attribute != "*"]
    return names + [name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names]


def _assigned_names(node: ast.stmt) -> set[str]:
    """Return the names that a statement may change: ``TABLE["x"] = 1``, ``NAMES.append(x)``, ``del X``."""
    names: set[str] = set()
    for inner in _walk_at_load(node):
        if isinstance(inner, ast.Attribute | ast.Subscript | ast.Name) and not isinstance(inner.ctx, ast.Load):
            names.add(_root_name(inner))
        if isinstance(inner, ast.Expr):
            names |= {n.id for n in ast.walk(inner) if isinstance(n, ast.Name)}
    return names


def _method_owners(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that a method may modify, like TABLE in ``_ = TABLE.pop("x")``."""
    return {
        _root_name(node.func)
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr not in READ_ONLY_METHODS
    }


def _may_change_any(node: ast.stmt) -> bool:
    """Tell whether a statement may assign any name at import time: ``globals()["X"] = 1``."""
    for inner in _walk_at_load(node):
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id in ("exec", "eval"):
            return True
        if isinstance(inner, ast.Subscript) and not isinstance(inner.ctx, ast.Load):
            owner = inner.value
            if isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id in DYNAMIC_BUILTINS:
                return True
    return False


def _calls_at_load(node: ast.AST) -> Iterator[tuple[str, Chain]]:
    """Yield what a statement calls at import time: in calls, as a decorator, or as a base class."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        called = [*node.decorator_list, *(node.bases if isinstance(node, ast.ClassDef) else ())]
        yield from (c for part in called for c in _attribute_chains(part))
        inner = node.body if isinstance(node, ast.ClassDef) else [*node.args.defaults, *node.args.kw_defaults]
        yield from (c for part in inner if part is not None for c in _calls_at_load(part))
        return
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, ast.Call):
        yield from _attribute_chains(node.func)
    for child in ast.iter_child_nodes(node):
        yield from _calls_at_load(child)


def _names_mutated_by_calls(statements: list[_Statement], defined: set[str]) -> dict[str, set[str]]:
    """Return, for each function or class, the names of the file whose objects a call of it may mutate.

    Parameters
    ----------
    defined : set of str
        The names that the file defines itself, without imports.
    """
    changed_by: dict[str, set[str]] = {}
    used_by: dict[str, set[str]] = {}
    for statement in statements:
        for node in _walk_at_load(statement.node):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                nodes = list(ast.walk(node))
                assigned = {
                    _root_name(n)
                    for n in nodes
                    if isinstance(n, ast.Attribute | ast.Subscript) and not isinstance(n.ctx, ast.Load)
                }
                used = set(statement.names) & defined - {node.name}
                changed_by.setdefault(node.name, set()).update((assigned | _method_owners(nodes)) & used)
                used_by.setdefault(node.name, set()).update(used)
    # A call also mutates what the functions that it uses mutate: repeat until nothing is added.
    while True:
        n_changed = sum(map(len, changed_by.values()))
        for name, used in used_by.items():
            changed_by[name] = changed_by[name].union(*(changed_by.get(other, ()) for other in used))
        if sum(map(len, changed_by.values())) == n_changed:
            return {name: names for name, names in changed_by.items() if names}


def _alias_of(node: ast.stmt) -> tuple[str, str]:
    """Return the new and the old name of a statement ``new = old``; two empty texts for other statements."""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value.id
    return "", ""


def _root_name(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _attribute_chains(node: ast.AST) -> Iterator[tuple[str, Chain]]:
    """Yield the root name and the attributes of each chain in an expression: ``a.b.c`` is ("a", ("b", "c"))."""
    attributes: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute):
        attributes.append(inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name):
        yield inner.id, tuple(reversed(attributes))
        return
    for child in ast.iter_child_nodes(inner):
        yield from _attribute_chains(child)


def _used_globals(node: ast.stmt) -> set[str]:
    """Return the module's names that a statement uses; a parameter or local of the same name is not one."""
    names: set[str] = set()
    tables = [symtable.symtable(ast.unparse(node), "features.py", "exec")]
    while tables:
        table = tables.pop()
        top = table.get_type() == "module"
        names |= {s.get_name() for s in table.get_symbols() if s.is_global() or (top and s.is_referenced())}
        tables += table.get_children()
    return names


def _without_docstrings(node: Any) -> Any:
    for inner in ast.walk(node):
        body = getattr(inner, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_string(body[0].value):
            inner.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return node


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
