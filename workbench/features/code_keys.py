"""The key of a feature's code: what its definition says, and everything that it uses, wherever that is written.

A key covers definitions, not files: a name leads to the statements that give it its value, these to the names that they
use, through imports into the files beside, and to the versions of the recipes. So a comment, a docstring or another
feature changes no key, and a helper's helper in another file does.
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
    beside,
    imported_by_text,
    imports_of,
    located,
    modules_by_text,
)
from workbench.features.recipes import LIBRARIES, VERSIONS

__all__ = [
    "CodeWalk",
    "code_key",
    "code_key_of",
    "package_version",
    "recipe_versions",
    "recorded_codes",
    "referenced_code_key",
]

RECIPES = recipes.__name__
"""Of the workbench's own code only this gives columns their values."""

NOTEBOOKS = "workbench.api.nb"
"""Its names are worked out when they are asked for: they are the competition's target, folds and columns."""

WITHOUT_VERSION = {"polars", "numpy", "workbench", "__future__"}
"""polars' version is in every key already; numpy's arithmetic does not change with its version."""

DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "cv2": "opencv-python",
    "yaml": "PyYAML",
    "workbench": DISTRIBUTION,
}

NO_FILE = "(code)"
"""In place of a file's name, for code that is in none."""

UNFOLLOWED = ("globals", "vars", "exec", "eval")
"""With these a definition reaches any name."""

READING = {
    *("copy", "count", "get", "index", "items", "keys", "values"),
    *("endswith", "format", "join", "lower", "replace", "split", "startswith", "strip", "upper"),
}
"""Methods of Python's own types that change nothing."""

Chain = tuple[str, ...]
"""The attributes that are taken of a name: `tools.text.clean` takes ("text", "clean") of `tools`; () is itself."""


_recorded: ContextVar[Mapping[tuple[Path, str], str]] = ContextVar("_recorded", default=MappingProxyType({}))


@contextmanager
def recorded_codes(codes: Mapping[tuple[Path, str], str]) -> Iterator[None]:
    """Let `code_key` answer in the block with these keys for these names of files, without a look at the code.

    They are those of earlier runs whose code is the present one, in whichever way the keys were made then.
    """
    token = _recorded.set(codes)
    try:
        yield
    finally:
        _recorded.reset(token)


def code_key(path: Path, name: str) -> str:
    """Return a key of the code that the top-level name `name` of a file depends on.

    The key covers, transitively, every statement that gives a used name its value or changes it: functions with their
    decorators and defaults, classes, constants, conditional and repeated definitions, ``TABLE["x"] = 1``; in the file,
    in the files beside it that are imported, there again only what is used; the versions of the workbench's recipes
    that are used (`workbench.features.recipes.VERSIONS`), whose code may be moved and renamed; and those of other
    packages (not of polars, which every block's key has, nor of numpy). Comments, docstrings and layout do not count,
    nor does anything else in the files.

    What changes a name through a call counts too: functions that a decorator enters into a list, a function that sets
    ``TABLE["x"]`` and whoever calls it while the file is loaded, the same through another name for TABLE.

    What can't be followed counts whole: a module that is passed around or imported by its name's text, a name that the
    file makes while it runs, ``globals()`` and the like. Not seen are what is read from files while a feature is
    computed (``@feature(files=…)`` names it) and a function that changes its argument where its result is kept:
    ``total = drain(TABLE)``.

    Raises
    ------
    OSError, SyntaxError
        When a file can't be read.
    """
    recorded = _recorded.get().get((path, name))
    if recorded is not None:
        return recorded
    walk = CodeWalk()
    start = Module(path.stem, path, path.parent)
    if not walk.follow(start, name, {()}):
        walk.follow_all(start)
    return content_key("code-v2", name, walk.code)


def referenced_code_key(folder: Path, reference: str) -> str:
    """Return the key of the code behind ``file.py:name`` of a folder; "" where it can't be read."""
    file, _, name = reference.partition(":")
    try:
        return code_key(folder / file, name)
    except (OSError, SyntaxError, ValueError):
        return ""


def recipe_versions() -> dict[str, int]:
    """Return the versions of the recipes that no longer give the values of their first one."""
    return {name: version for name, version in VERSIONS.items() if version != 1}


def code_key_of(text: str, folder: Path) -> str:
    """Return a key of the files of a folder that a piece of code uses, such as the cells of a notebook.

    Empty where it imports none of them; the piece itself is to be counted by whoever has it.
    """
    try:
        parsed = _parsed(text, "")
    except (SyntaxError, ValueError):
        return ""
    walk, start = CodeWalk(), Module("", folder / NO_FILE, folder)
    walk.parsed_files[start.path] = parsed
    walk.follow_all(start)
    return content_key("code-v2", "", walk.code) if len(walk.parsed_files) > 1 else ""


# -------------------------------------------------------------------------------------------------------- statements


@dataclass(frozen=True)
class _Statement:
    """A top-level statement: what it says, the names it uses and how, what it imports."""

    node: ast.stmt

    @cached_property
    def text(self) -> str:
        # What an import statement imports beside the name that is used does not matter.
        return "" if isinstance(self.node, ast.Import | ast.ImportFrom) else ast.dump(self.node)

    @cached_property
    def names(self) -> dict[str, set[Chain]]:
        used = _global_names(self.node)
        return {name: chains for name, chains in self.chains.items() if name in used}

    @cached_property
    def chains(self) -> dict[str, set[Chain]]:
        chains: dict[str, set[Chain]] = {}
        for name, chain in _chains(self.node):
            chains.setdefault(name, set()).add(chain)
        return chains

    @cached_property
    def imports(self) -> list[Import]:
        return [i for node in ast.walk(self.node) for i in imports_of(node)]


class _Parsed:
    """The statements of a file by the names that they bind or change."""

    def __init__(self, text: str, filename: str = "") -> None:
        self.tree = _undocumented(ast.parse(text, filename=filename))
        statements = [_Statement(node) for node in self.tree.body]
        self.definitions: dict[str, list[_Statement]] = {}
        bound = {name for s in statements for name in _bound_names(s.node)}
        defined = bound - {i.bound for s in statements for i in s.imports}
        aliases = dict(_alias(s.node) for s in statements)
        self.changed_by_call = _changed_by_call(statements, defined)
        self.calls: list[tuple[_Statement, str, Chain]] = []
        for statement in statements:
            calls = list(_calls_at_load(statement.node))
            self.calls += [(statement, *call) for call in calls]
            changed = (_changed_names(statement.node) & bound) | (_called_upon(_at_top(statement.node)) & defined)
            changed = changed.union(*(self.changed_by_call.get(name, ()) for name, _ in calls))
            changed |= bound if _changes_any(statement.node) else set()
            for name in tuple(changed):
                while (name := aliases.get(name, "")) and name not in changed:
                    changed.add(name)
            for name in dict.fromkeys([*_bound_names(statement.node), *sorted(changed)]):
                self.definitions.setdefault(name, []).append(statement)
        self.stars = [i for s in statements for i in s.imports if i.attribute == "*"]


@lru_cache(maxsize=256)
def _parsed(text: str, filename: str) -> _Parsed:
    return _Parsed(text, filename)


# -------------------------------------------------------------------------------------------------------------- walk


@dataclass
class CodeWalk:
    """Follows names from one definition to the next.

    Attributes
    ----------
    code : dict
        "module:name" -> its text, or what it is imported as.
    parsed_files : dict
        The files that were read for it.
    """

    code: dict[str, str] = field(default_factory=dict)
    parsed_files: dict[Path, _Parsed] = field(default_factory=dict)
    _done: set[tuple[Path, str, Chain]] = field(default_factory=set)

    def parsed(self, module: Module) -> _Parsed:
        """Return the statements of a module; none for a folder of code without an ``__init__.py``."""
        path = module.path
        if path not in self.parsed_files:
            self.parsed_files[path] = _parsed(_text(path) if path.is_file() else "", str(path))
        return self.parsed_files[path]

    def follow(self, module: Module, name: str, chains: Iterable[Chain]) -> bool:
        """Take in what a name of a module is, of which the chains are used; say whether the module has it."""
        parsed = self.parsed(module)
        statements = parsed.definitions.get(name)
        if statements is None:
            return any(self._follow_star(module, star, name, chains) for star in reversed(parsed.stars))
        new = [c for c in chains if (module.path, name, c) not in self._done]
        self._done |= {(module.path, name, c) for c in new}
        if not new:
            return True
        self.code[f"{module.name}:{name}"] = "\n".join(s.text for s in statements)
        for statement in statements:
            self._follow_statement(module, statement, name, new)
        return True

    def _follow_statement(self, module: Module, statement: _Statement, name: str, chains: list[Chain]) -> None:
        for imported in statement.imports:
            if imported.bound == name:
                self._follow_import(module, imported, chains)
            elif statement.text:
                self._follow_import(module, imported, statement.chains.get(imported.bound, set()))
        if not statement.text:
            return
        used = dict(statement.names)
        if any(builtin in used and builtin not in self.parsed(module).definitions for builtin in UNFOLLOWED):
            self.follow_all(module)
        for imported_name in (text for node in ast.walk(statement.node) for text in imported_by_text(node)):
            self._follow_text(module, imported_name)
        if isinstance(statement.node, ast.FunctionDef | ast.AsyncFunctionDef) and name != statement.node.name:
            # A function that sets `name` by `global`: who calls it matters.
            used.setdefault(statement.node.name, {()})
        for other, taken in used.items():
            if other != name:
                self.follow(module, other, taken)

    def _follow_star(self, module: Module, star: Import, name: str, chains: Iterable[Chain]) -> bool:
        target = located(module, star)
        if isinstance(target, ModuleType):
            return self._follow_library(target, [(name, *c) for c in chains])
        return target is not None and self.follow(target, name, chains)

    def _follow_import(self, module: Module, imported: Import, chains: Iterable[Chain]) -> None:
        target = located(module, imported)
        self.code[f"{module.name}:{imported.bound} = {imported.text}"] = ""
        taken = [c if imported.attribute is None else (imported.attribute, *c) for c in chains]
        if imported.attribute == "*":
            return
        if target is None:
            self._count_version(imported)
        elif isinstance(target, ModuleType):
            self._follow_library(target, taken)
        else:
            for chain in taken:
                self._follow_attribute(target, chain)
                self._follow_callers(module, target, chain)

    def _follow_text(self, module: Module, name: str | None) -> None:
        """Take in a module beside that is imported by the text of its name; all of them where that is not known."""
        for imported in modules_by_text(module, name):
            self.follow_all(imported)

    def _follow_callers(self, module: Module, other: Module, chain: Chain) -> None:
        """Take in the statements of a module that, by a call into another, change what it uses of that one."""
        if not chain:
            return
        changers = {name for name, changed in self.parsed(other).changed_by_call.items() if chain[0] in changed}
        if not changers:
            return
        parsed = self.parsed(module)
        for statement, name, attributes in parsed.calls:
            for imported in (i for s in parsed.definitions.get(name, ()) for i in s.imports if i.bound == name):
                called = imported.attribute or next(iter(attributes), "")
                target = located(module, imported) if called in changers else None
                if isinstance(target, Module) and target.path == other.path:
                    self._take_statement(module, statement)

    def _take_statement(self, module: Module, statement: _Statement) -> None:
        label = f"{module.name}: {statement.text}"
        if label not in self.code:
            self.code[label] = ""
            self._follow_statement(module, statement, "", [()])

    def _follow_attribute(self, module: Module, chain: Chain) -> None:
        if not chain:
            self.follow_all(module)
            return
        inner = beside(module.root, f"{module.name}.{chain[0]}") if module.path.name == "__init__.py" else None
        if not self.follow(module, chain[0], [chain[1:]]) and inner is not None:
            self._follow_attribute(inner, chain[1:])

    def follow_all(self, module: Module) -> None:
        """Take in everything that a module says and uses."""
        label = f"{module.name}:"
        if label not in self.code:
            parsed = self.parsed(module)
            self.code[label] = ast.dump(parsed.tree)
            for star in parsed.stars:
                target = located(module, star)
                if isinstance(target, Module):
                    self.follow_all(target)
            for name in parsed.definitions:
                self.follow(module, name, [()])

    def _follow_library(self, module: ModuleType, chains: Iterable[Chain]) -> bool:
        """Take in what is used of the workbench's own code, where it is a recipe; say whether there is such a thing."""
        was_followed = [self._follow_own(module, chain) for chain in chains]
        return any(was_followed)

    def _follow_own(self, module: ModuleType, chain: Chain) -> bool:
        if not chain:
            self._count_recipes(VERSIONS if _leads_to_recipes(module.__name__) else ())
            return True
        if module.__name__ == NOTEBOOKS:
            return True
        value = _attribute(module, chain[0])
        if isinstance(value, ModuleType):
            return self._follow_own(value, chain[1:])
        name = getattr(value, "__name__", None)
        if isinstance(name, str) and name in VERSIONS and getattr(recipes, name) is value:
            self._count_recipes([name])
        elif str(getattr(value, "__module__", module.__name__)).startswith(f"{RECIPES}."):
            self._count_recipes(VERSIONS)  # something from the inside of recipes
        return value is not None

    def _count_recipes(self, names: Iterable[str]) -> None:
        for name in names:
            self.code[f"recipe:{name}"] = str(VERSIONS[name])
            if name in LIBRARIES:
                self.code[f"version:{LIBRARIES[name]}"] = package_version(LIBRARIES[name])

    def _count_version(self, imported: Import) -> None:
        top = imported.module.partition(".")[0]
        if top and top not in WITHOUT_VERSION and top not in sys.stdlib_module_names:
            self.code[f"version:{top}"] = package_version(top)


def _text(path: Path) -> str:
    # As `Path.read_text`, which knows one line end.
    return io.TextIOWrapper(io.BytesIO(read_once(path)), encoding="utf-8").read()


# ----------------------------------------------------------------------------------------------------------- modules


def _leads_to_recipes(name: str) -> bool:
    """Say whether recipes are reached by way of a module of the workbench."""
    return f"{name}.".startswith(f"{RECIPES}.") or RECIPES.startswith(f"{name}.")


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
    """Return the version of an installed package by the name that is imported; empty where there is none."""
    version = version_of(DISTRIBUTIONS.get(module, module))
    distributions = set() if version else {*distributions_of_modules().get(module, [])}
    return version or ", ".join(sorted(f"{distribution} {version_of(distribution)}" for distribution in distributions))


# ------------------------------------------------------------------------------------------------------------ syntax


def _at_top(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a statement without what runs later: the insides of functions, classes and lambdas."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        yield from _at_top(child)


def _bound_names(node: ast.stmt) -> list[str]:
    """Return the names of the module that a statement gives a value."""
    names: list[str] = []
    for inner in _at_top(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(inner.name)
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            names.append(inner.id)
        elif isinstance(inner, ast.MatchAs | ast.MatchStar) and inner.name:
            names.append(inner.name)
        else:
            names += [i.bound for i in imports_of(inner) if i.attribute != "*"]
    return names + [name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names]


def _changed_names(node: ast.stmt) -> set[str]:
    """Return the names whose value a statement changes, or may: ``TABLE["x"] = 1``, ``NAMES.append(x)``, ``del X``."""
    names: set[str] = set()
    for inner in _at_top(node):
        if isinstance(inner, ast.Attribute | ast.Subscript | ast.Name) and not isinstance(inner.ctx, ast.Load):
            names.add(_root(inner))
        if isinstance(inner, ast.Expr):
            names |= {n.id for n in ast.walk(inner) if isinstance(n, ast.Name)}
    return names


def _called_upon(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that a method is called upon, unless it is known to change nothing: ``_ = TABLE.pop("x")``."""
    return {
        _root(node.func)
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr not in READING
    }


def _changes_any(node: ast.stmt) -> bool:
    """Say whether a statement may give any name a value while the module is loaded: ``globals()["X"] = 1``."""
    for inner in _at_top(node):
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id in ("exec", "eval"):
            return True
        if isinstance(inner, ast.Subscript) and not isinstance(inner.ctx, ast.Load):
            of = inner.value
            if isinstance(of, ast.Call) and isinstance(of.func, ast.Name) and of.func.id in UNFOLLOWED:
                return True
    return False


def _calls_at_load(node: ast.AST) -> Iterator[tuple[str, Chain]]:
    """Yield what a statement calls while the module is loaded: by calls, as a decorator, as a class that is derived."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        called = [*node.decorator_list, *(node.bases if isinstance(node, ast.ClassDef) else ())]
        yield from (c for part in called for c in _chains(part))
        inner = node.body if isinstance(node, ast.ClassDef) else [*node.args.defaults, *node.args.kw_defaults]
        yield from (c for part in inner if part is not None for c in _calls_at_load(part))
        return
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, ast.Call):
        yield from _chains(node.func)
    for child in ast.iter_child_nodes(node):
        yield from _calls_at_load(child)


def _changed_by_call(statements: list[_Statement], defined: set[str]) -> dict[str, set[str]]:
    """Return, for each function and class of a file, the file's names whose value a call of it changes, or may."""
    changed: dict[str, set[str]] = {}
    calls: dict[str, set[str]] = {}
    for statement in statements:
        for node in _at_top(statement.node):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = list(ast.walk(node))
                stored = {
                    _root(n)
                    for n in inner
                    if isinstance(n, ast.Attribute | ast.Subscript) and not isinstance(n.ctx, ast.Load)
                }
                used = set(statement.names) & defined - {node.name}
                changed.setdefault(node.name, set()).update((stored | _called_upon(inner)) & used)
                calls.setdefault(node.name, set()).update(used)
    while True:
        size = sum(map(len, changed.values()))
        for name, used in calls.items():
            changed[name] = changed[name].union(*(changed.get(other, ()) for other in used))
        if sum(map(len, changed.values())) == size:
            return {name: names for name, names in changed.items() if names}


def _alias(node: ast.stmt) -> tuple[str, str]:
    """Return the two names where a statement gives one thing another name; else nothing twice."""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value.id
    return "", ""


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _chains(node: ast.AST) -> Iterator[tuple[str, Chain]]:
    attributes: list[str] = []
    inner = node
    while isinstance(inner, ast.Attribute):
        attributes.append(inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name):
        yield inner.id, tuple(reversed(attributes))
        return
    for child in ast.iter_child_nodes(inner):
        yield from _chains(child)


def _global_names(node: ast.stmt) -> set[str]:
    """Return the module's names that a statement uses; a parameter or local of the same name is not one."""
    names: set[str] = set()
    tables = [symtable.symtable(ast.unparse(node), "features.py", "exec")]
    while tables:
        table = tables.pop()
        top = table.get_type() == "module"
        names |= {s.get_name() for s in table.get_symbols() if s.is_global() or (top and s.is_referenced())}
        tables += table.get_children()
    return names


def _undocumented(node: Any) -> Any:
    for inner in ast.walk(node):
        body = getattr(inner, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            inner.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return node


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
