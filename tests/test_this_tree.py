"""The tests test this tree: every process that they start imports it, and every module's examples are run."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tomllib
from pathlib import Path

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
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *with_examples],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # Once quieter, as the settings have it, this is a line per file.
    collected = {line.partition(": ")[0] for line in found.stdout.splitlines() if ".py: " in line}
    assert collected == {str(p.relative_to(ROOT)) for p in with_examples}, found.stdout[-2000:]
