"""The tests test this tree: every process that they start imports it, and every module's examples are run."""

from __future__ import annotations

import ast
import multiprocessing
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import workbench
from tests.commands import forkserver

ROOT = Path(__file__).parents[1]
WHERE = "import workbench; print(workbench.__file__)"


def test_this_process() -> None:
    assert Path(workbench.__file__).parent == ROOT / "workbench"


@pytest.mark.parametrize("more", [(), ("-P",), ("-I",)], ids=" ".join)
def test_a_process_that_tests_start(tmp_path: Path, more: tuple[str, ...]) -> None:
    """In whatever folder it stands: what is installed for this Python is this tree."""
    command = [sys.executable, *more, "-c", WHERE]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(found).parent == ROOT / "workbench"


def test_the_command(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("wb")
    first = command.read_text().splitlines()[0]
    assert first == f"#!{sys.executable}"
    subprocess.run([command, "--version"], cwd=tmp_path, capture_output=True, check=True)


def where(queue: multiprocessing.Queue[str]) -> None:
    queue.put(str(workbench.__file__))


def test_a_process_that_is_forked_from_the_server_of_the_commands() -> None:
    queue = forkserver().Queue()
    process = forkserver().Process(target=where, args=(queue,))
    process.start()
    assert Path(queue.get(timeout=120)).parent == ROOT / "workbench"
    process.join(60)


def test_examples_of_all_modules_are_collected() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert settings["testpaths"] == ["tests", "workbench"]
    assert "--doctest-modules" in settings["addopts"].split()
    with_examples = [p for p in (ROOT / "workbench").rglob("*.py") if "    >>> " in p.read_text()]
    assert len(with_examples) > 40
    found = subprocess.run(
        # Without the plugin that distributes tests: none is needed to collect them.
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            *with_examples,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # Once quieter, as the settings have it, this is a line per file.
    collected = {line.partition(": ")[0] for line in found.stdout.splitlines() if ".py: " in line}
    assert collected == {str(p.relative_to(ROOT)) for p in with_examples}, found.stdout[-2000:]


def names_of_modules(source: str, package: str) -> Iterator[str]:
    """Yield each module that a source imports, anywhere in it, or may import by a name in a text of it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"(?:\w+\.)+\w+", node.value)
            for of, what in re.findall(r"from ([\w.]+) import ([\w, ]+)", node.value):
                yield from (f"{of}.{name.split()[0]}" for name in what.split(",") if name.strip())


def imported_tests(source: str, package: str) -> list[str]:
    return sorted({n for n in names_of_modules(source, package) if re.match(r"(tests\.)(\w+\.)*(test_|conftest\b)", n)})


def test_no_module_of_the_tests_takes_anything_from_a_test_module() -> None:
    """What several of them use is in a module that is no test, or a fixture of conftest.py."""
    modules = list((ROOT / "tests").rglob("*.py"))
    assert len(modules) > 100
    found = {}
    for path in modules:
        where = path.relative_to(ROOT)
        if names := imported_tests(path.read_text(), ".".join(where.parts[:-1])):
            found[str(where)] = names
    del found["tests/test_this_tree.py"]  # the examples below
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "from tests.test_wire import served",
        "import tests.test_wire as wire",
        "from tests import wire, test_wire",
        "from .. import test_wire",
        "from ..test_wire import served",
        "from tests.conftest import small",
        "def late():\n    from tests.test_wire import served",
        "SCRIPT = 'import sys\\nfrom tests.test_wire import served'",
        "SCRIPT = 'from tests import test_wire'",
        "importlib.import_module('tests.test_wire')",
        "from tests.bench.test_wire import served",
    ],
)
def test_each_way_to_take_something_from_a_test_module_is_seen(source: str) -> None:
    assert imported_tests(source, "tests.bench")


def test_other_modules_of_the_tests_are_there_to_be_used() -> None:
    source = "from tests import wire\nfrom .wire import served\nimport tests.wire\nimport workbench.test_it"
    assert imported_tests(source, "tests") == []


PRIVATE_OF_OTHERS = {
    "os._exit": "ends a process as a crash would",
    "kaggle_env._env_to_endpoint": "kagglesdk knows no other way to name another server",
    "basic._LOGGER": "LightGBM tells nobody which logger it has",
    "_yield_row_from_seqlist": "LightGBM's way of reading rows one after the other, which must not be taken",
    "model._get_tree_splits": "CatBoost's own list of splits, to hold ours against",
    "value._repr_html_": "the name by which a notebook asks any value for its HTML",
    "numpy._core._multiarray_umath": "what the CPU can do, as numpy uses it",
}
"""What tests take from inside other packages, for want of a public way."""

PRIVATE = re.compile(r"_(?!_)\w+")
BOUND = {"__defaults__", "__kwdefaults__", "__init__", "__code__", "__closure__"}
"""What a method is made of: whoever replaces it hangs on more than its parameters."""

NAMES_ATTRIBUTES = {"setattr", "getattr", "delattr", "hasattr", "attrgetter", "methodcaller", "object"}


def is_private(name: str) -> bool:
    return PRIVATE.fullmatch(name) is not None


def own_names(tree: ast.AST) -> set[str]:
    """Return the names that a file's functions and classes, and what they set on themselves, have."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return found


def private_names(text: str) -> Iterator[str]:
    """Give what a test file takes from inside others: names, and texts that name such."""
    tree = ast.parse(text)
    own = own_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}" for part in (node.module or "").split(".") if is_private(part))
            yield from (f"{node.module}.{a.name}" for a in node.names if is_private(a.name))
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if any(map(is_private, a.name.split("."))))
        elif isinstance(node, ast.Attribute):
            of_itself = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") and node.attr in own
            replaced = node.attr in BOUND and isinstance(node.ctx, ast.Store)
            if replaced or (is_private(node.attr) and not of_itself):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in NAMES_ATTRIBUTES:
                texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                yield from (t for t in texts if t in BOUND or any(map(is_private, t.split("."))))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (m[0] for m in re.finditer(r"\bworkbench(?:\.\w+)*\._(?!_)\w+", node.value))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from workbench.tuning.study import _mend", ["workbench.tuning.study._mend"]),
        ("from workbench._inside import a", ["workbench._inside"]),
        ("import workbench._inside", ["workbench._inside"]),
        ("shapes._nyc('x')", ["shapes._nyc"]),
        ("self.made._platform()", ["self.made._platform"]),
        ("class A(B):\n    def f(self):\n        return self._of_b", ["self._of_b"]),
        ("class A:\n    def f(self):\n        return self._g()\n    def _g(self): ...", []),
        ("class A:\n    def f(self):\n        self._n = 1\n        return self._n", []),
        ("monkeypatch.setattr(Search, '_check', f)", ["_check"]),
        ("monkeypatch.setattr('workbench.nb._told', f)", ["workbench.nb._told"] * 2),
        ("setattr(f, '__defaults__', (1,))", ["__defaults__"]),
        ("f.__kwdefaults__ = {}", ["f.__kwdefaults__"]),
        ("monkeypatch.setattr(Search, '__init__', f)", ["__init__"]),
        ("getattr(a, '_b')", ["_b"]),
        ("super().__init__()\na.__dict__\nb['_data']\n_own = 1", []),
    ],
)
def test_private_names_are_seen(text: str, found: list[str]) -> None:
    assert list(private_names(text)) == found


def test_tests_take_no_private_names() -> None:
    """They hang on what may be relied on, so that what is inside can be moved and renamed."""
    files = sorted({*(ROOT / "tests").rglob("*.py")} - {Path(__file__)})  # which has the examples above
    assert len(files) > 100
    taken = {str(f.relative_to(ROOT)): sorted(set(private_names(f.read_text()))) for f in files}
    inside = {f: [n for n in names if n not in PRIVATE_OF_OTHERS] for f, names in taken.items()}
    assert {f: names for f, names in inside.items() if names} == {}
    assert {n for names in taken.values() for n in names} == set(PRIVATE_OF_OTHERS), "one is not needed any more"


# --------------------------------------------------------------------------------------------------------------- skips

SKIPS = """
import pytest
from tests import needs

@needs.needs_package("no_such_package")
def test_marked_and_listed(): ...

@needs.needs_package("no_other_package")
def test_marked(): ...

def test_asked_for_and_listed():
    needs.package("no_such_package.inner")

def test_asked_for():
    needs.skip_unless(False, "moonlight", "it is day")

def test_without_a_server():
    needs.postgresql_url()

@pytest.fixture
def moonlight():
    needs.skip_unless(False, "moonlight")

def test_in_a_fixture(moonlight): ...

def test_no_case():
    pytest.skip("not a case: it has none")

def test_without_a_word():
    pytest.skip("there is none")

def test_there():
    needs.package("json")

@pytest.mark.xfail
def test_expected_to_fail():
    assert False
"""


@pytest.mark.parametrize("in_ci", [False, True])
def test_what_is_skipped_fails_where_it_must_not_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_ci: bool
) -> None:
    (tmp_path / "test_skips.py").write_text(SKIPS)
    monkeypatch.delenv("WB_TEST_POSTGRES_URL", raising=False)
    monkeypatch.delenv("WB_TEST_MAY_SKIP", raising=False)
    if in_ci:
        monkeypatch.setenv("WB_TEST_MAY_SKIP", "no_such_package fish")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ["-p", "tests.conftest", "-c", str(tmp_path / "pytest.ini"), f"--junitxml={tmp_path / 'ended.xml'}"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    cases = ET.parse(tmp_path / "ended.xml").iter("testcase")
    ended = {case.attrib["name"]: [e.attrib.get("type", "failed") for e in case] for case in cases}
    missing = ["failed"] if in_ci else ["pytest.skip"]
    assert ended == {
        "test_marked_and_listed": ["pytest.skip"],
        "test_marked": missing,
        "test_asked_for_and_listed": ["pytest.skip"],
        "test_asked_for": missing,
        "test_without_a_server": missing,
        "test_in_a_fixture": missing,
        "test_no_case": ["pytest.skip"],
        "test_without_a_word": missing,
        "test_there": [],
        "test_expected_to_fail": ["pytest.xfail"],
    }, shown


def test_nothing_is_skipped_but_by_the_name_of_what_is_missing() -> None:
    """`tests.needs` alone decides what is missing; whatever else is skipped is not a case."""
    found = []
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text()
        if path.name == "needs.py" or "skip" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and node.attr in ("skipif", "importorskip"):
                found.append(f"{path.name}:{node.lineno}: {node.attr}")
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("pytest.skip", "pytest.mark.skip"):
                reasons = ", ".join(map(ast.unparse, node.args))
                found += [] if reasons[1:].startswith("not a case: ") else [f"{path.name}:{node.lineno}: {reasons}"]
    assert found == []


def test_a_dataclass_is_frozen_or_says_nothing_of_it() -> None:
    """Values are not changed by whoever gets them; a plain ``@dataclass`` is for state, which its module changes."""
    asked = [
        (path.name, options)
        for path in (ROOT / "workbench").rglob("*.py")
        for options in re.findall(r"^ *@(?:dataclasses\.)?dataclass\((.*?)\)$", path.read_text(), re.MULTILINE)
    ]
    assert len(asked) > 200
    assert [place for place in asked if "frozen=True" not in place[1]] == []
