"""The benchmarks are not run with the tests: what they import, also in their scripts, must exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

BENCH = Path(__file__).parent / "bench"
IMPORT = re.compile(r"^ *from ((?:workbench|tests)(?:\.\w+)*) import (?:\(([^)]*)\)|([\w, ]+))", re.MULTILINE)


@pytest.mark.parametrize("path", sorted(BENCH.glob("*.py")), ids=lambda path: path.stem)
def test_the_names_that_a_benchmark_imports_exist(path: Path) -> None:
    for module_name, in_brackets, in_line in IMPORT.findall(path.read_text()):
        module = importlib.import_module(module_name)
        for name in re.split(r"[,\s]+", re.sub(r" as \w+", "", in_brackets or in_line).strip(" ,\n")):
            if not hasattr(module, name):
                importlib.import_module(f"{module_name}.{name}")
