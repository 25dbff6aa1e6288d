"""The kinds of model: each entry leads to what it names, and each is held to the contract."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from workbench.core.errors import ConfigError
from workbench.experiments.spec import KINDS, OPTIONS, read_spec
from workbench.models.registry import MODEL_KINDS, ModelKind, has_capability, tables_of


def test_a_kind_is_an_entry(small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its table is read, and its factory gets what the file says."""
    requests = []
    kind = ModelKind("python", "own_library:factory", (), options=("pseudo",), stops_early=True)
    monkeypatch.setitem(MODEL_KINDS, "python", kind)
    library = types.ModuleType("own_library")
    library.factory = lambda request: requests.append(request) or 1 / 0
    monkeypatch.setitem(sys.modules, "own_library", library)
    made = small()
    made.experiment(1, 'features = ["rows"]\nrounds = "per fold"\npseudo = { threshold = 0.9 }\n[python]\ndepth = 3\n')
    with pytest.raises(ZeroDivisionError):
        made.open.run(1)
    (request,) = requests
    assert (request.kind, dict(request.table), request.rounds_per_fold) == ("python", {"depth": 3}, True)
    assert request.pseudo == {"threshold": 0.9}
    assert request.metric.name == "auc"
    made.experiment(1, 'features = ["rows"]\nrefit = true\n[python]\ndepth = 3\n')
    with pytest.raises(ConfigError, match=r"refit goes with \[model\] \(LightGBM\), and this is a \[python\]"):
        made.open.run(1)
    assert read_spec(made.open.access.competition, 1).kind == "python"


def test_what_kinds_can_do() -> None:
    assert tables_of("stops_early") == "[model] (LightGBM), [xgboost], [catboost]"
    assert set(KINDS) == {*MODEL_KINDS, "notebook", "recommend"}
    assert set(OPTIONS) == {"class_weight", "refit", "pseudo", "tune"}
    assert not any(has_capability("recommend", name) for name in (*OPTIONS, "stops_early", "ranks", "is_served"))


def test_it_loads_no_library() -> None:
    names = "polars numpy lightgbm xgboost catboost sklearn"
    code = f"import sys, workbench.models.registry; sys.exit(bool(set('{names}'.split()) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
