"""The public names of the package are what they are, whatever is imported before or after."""

from __future__ import annotations

import importlib
import json
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import workbench
from workbench.api import values
from workbench.core.errors import WorkbenchError
from workbench.data.competition import Competition, CvSpec
from workbench.data.workspace import Workspace, create_workspace

TOP = [m.name for m in pkgutil.iter_modules(workbench.__path__) if m.name != "__main__"]

# Imports the modules in each order in turn, from nothing, and uses the public names before, between and after.
EVERY_ORDER = """
import importlib, json, sys
from pathlib import Path

orders, root = json.loads(sys.argv[1]), Path(sys.argv[2])


def use(wb):
    place = wb.workspace(root)
    assert place == wb.init(root), place
    for _ in range(2):
        assert wb.competition("one", where=place).slug == "one"
        assert isinstance(wb.competition("one", where=place), wb.OpenCompetition)
    assert issubclass(wb.errors.ConfigError if hasattr(wb, "errors") else wb.WorkbenchError, wb.WorkbenchError)
    assert wb.ROW == "__row__" and callable(wb.feature) and callable(wb.target_mean)
    assert wb.features.__name__ == "workbench.features" and wb.nb is sys.modules["workbench.api.nb"]
    for name in ("competition", "doctor", "fetch", "init", "rebuild_ledger", "rehearse", "workspace"):
        assert getattr(wb, name) is getattr(sys.modules["workbench.api.library"], name), name


for order in orders:
    for name in [n for n in sys.modules if n.partition(".")[0] == "workbench"]:
        del sys.modules[name]
    for number, name in enumerate(order):
        importlib.import_module(f"workbench.{name}" if name else "workbench")
        if number in (0, len(order) - 1):
            use(sys.modules["workbench"])
print(len(orders))
"""


@pytest.mark.slow
def test_no_order_of_imports_changes_them(tmp_path: Path) -> None:
    place = create_workspace(tmp_path)
    (place.competitions / "one").mkdir()
    (place.competitions / "one" / "competition.toml").write_text("")
    orders = [
        *([name] for name in TOP),
        TOP,
        TOP[::-1],
        ["", "data.competition", "data.workspace"],
        ["nb", "data.workspace"],
    ]
    ran = subprocess.run(
        [sys.executable, "-c", EVERY_ORDER, json.dumps(orders), str(tmp_path)], capture_output=True, text=True
    )
    assert ran.stdout.strip() == str(len(orders)), ran.stderr


def test_the_commands_keep_them_after_every_form_of_import(tmp_path: Path) -> None:
    code = """
import sys
import workbench as wb
import workbench.data.competition
from workbench import nb, competition, workspace
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
import importlib, workbench.data.workspace
place = wb.init(sys.argv[1])
importlib.reload(sys.modules["workbench.data.workspace"])
importlib.reload(sys.modules["workbench.data.competition"])
importlib.reload(sys.modules["workbench.data.competition.folder"])
importlib.import_module("workbench.data.competition")
assert wb.workspace(sys.argv[1]).root == place.root
assert workspace is wb.workspace and competition is wb.competition
assert type(importlib.reload(wb)) is type(wb) and wb.workspace(sys.argv[1]).root == place.root
try:
    wb.competition("none", where=place)
except wb.WorkbenchError as exc:
    print(type(exc).__name__)
"""
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert ran.stdout.strip() == "NotFoundError", ran.stderr


def test_what_the_submodules_define_can_be_pickled_and_found() -> None:
    place = Workspace(Path("/somewhere"))
    assert pickle.loads(pickle.dumps(place)) == place
    assert pickle.loads(pickle.dumps(CvSpec)) is CvSpec
    assert pickle.loads(pickle.dumps(Competition)) is Competition
    assert importlib.import_module("workbench.data.competition").Competition is Competition


def test_a_name_can_still_be_replaced_on_purpose(monkeypatch) -> None:
    monkeypatch.setattr(workbench, "competition", 1)
    assert workbench.competition == 1
    monkeypatch.undo()
    assert callable(workbench.competition)
    assert issubclass(workbench.core.errors.ConfigError, WorkbenchError)


def test_every_value_of_the_library_has_a_home() -> None:
    for name in values.__all__:
        assert getattr(values, name).__name__ in (name, "Report", "Scored", "as_text"), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = values.nothing
