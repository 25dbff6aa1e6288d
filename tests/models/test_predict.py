"""Serving: the models of a run, whatever there are of them, give what the run's own test predictions are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conversion import listening
from tests.kernel_builds import HERE
from workbench.core.context import SILENT, RunContext, text_listener
from workbench.core.errors import ConfigError, DataError
from workbench.features import FoldFrames
from workbench.models.serving import read_bundle
from workbench.models.serving.predict import bundle_competition, predict

QUICK = 'features = ["ratio", "te_town", "rows.x"]\nseeds = [{seeds}]\n{more}[model]\nnum_iterations = 4\nlearning_rate = 0.3\nearly_stopping_round = 0\n'  # fmt: skip


def built(made: Any, wheels: Path, more: str = "", seeds: str = "7, 3") -> tuple[Any, Path]:
    made.experiment(1, QUICK.format(more=more, seeds=seeds))
    run = made.open.run(1)
    return run, made.open.kernels.build(1, python=HERE, wheels=wheels).bundle


def changed(bundle: Path, **spec: Any) -> None:
    path = bundle / "wb-manifest.json"
    manifest = json.loads(path.read_text())
    manifest["spec"] |= spec
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("more", ["", "refit = true\n"])
@pytest.mark.parametrize("task", ["two", "multiclass"])
def test_every_model_counts_once_in_the_order_of_the_training(
    small, no_wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, more: str
) -> None:
    """Byte for byte: sums in another order, or another share of one model, would show in the last digits."""
    made = small(task=task, metric="rmse" if task == "two" else "logloss", n_rows=200)
    run, bundle = built(made, no_wheels, more)
    said: list[str] = []
    work = tmp_path / "work"
    encoded: list[int] = []
    frame = FoldFrames.frame
    monkeypatch.setattr(FoldFrames, "frame", lambda self, fold: encoded.append(fold) or frame(self, fold))
    out = predict(
        bundle,
        made.folder / "data" / "raw",
        out=tmp_path / "s.csv",
        work=work,
        context=RunContext((text_listener(said.append),)),
    )
    n_targets = 2 if task == "two" else 1
    assert len(encoded) == (1 if more else 5) * n_targets  # not for each of the two seeds
    assert out == tmp_path / "s.csv"
    assert out.read_bytes() == run.submission.read_bytes()
    n = 2 * (5 + bool(more)) * n_targets
    assert [s for s in said if "models" in s] == [f"{n} models, 40 test rows"]
    assert said[-1] == f"wrote {out}"
    assert (work / "competitions" / "small" / "data" / "tables").is_dir()
    # What lies there already is used again.
    predict(
        bundle,
        made.folder / "data" / "raw",
        out=tmp_path / "t.csv",
        work=work,
        context=RunContext((text_listener(said.append),), threads=1),
    )
    assert (tmp_path / "t.csv").read_bytes() == out.read_bytes()
    # Where the predictions of many models would not fit into memory, none waits for another.
    monkeypatch.setattr(sys.modules[predict.__module__], "PENDING_SHARE", 2**62)
    encoded.clear()
    predict(bundle, made.folder / "data" / "raw", out=tmp_path / "u.csv", work=work, context=SILENT)
    assert len(encoded) == (1 if more else 10) * n_targets
    assert (tmp_path / "u.csv").read_bytes() == out.read_bytes()


def test_what_can_not_be_served_is_said(small, no_wheels: Path, tmp_path: Path) -> None:
    made = small(n_rows=200)
    run, bundle = built(made, no_wheels, seeds="1")
    raw, run_id = made.folder / "data" / "raw", run.record.run_id

    def refused(error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            predict(bundle, raw, out=tmp_path / "s.csv", context=SILENT)
        assert not (tmp_path / "s.csv").exists()

    changed(bundle, kind="xgboost")
    refused(ConfigError, rf"run {run_id} is of \[xgboost\]; only models of LightGBM can be served")
    changed(bundle, kind="model", features=["ratio", "rows.x"])
    refused(DataError, "the columns are not those that the model was trained on")
    changed(bundle, features=["ratio", "te_town", "rows.x"])
    manifest = json.loads((bundle / "wb-manifest.json").read_text())
    (bundle / "wb-manifest.json").write_text(json.dumps(manifest | {"folds": "others"}))
    refused(DataError, f"the folds of .* are not those that run {run_id} was trained on")


def test_a_competition_is_opened_where_there_is_nothing_else(small, no_wheels: Path, tmp_path: Path) -> None:
    made = small(n_rows=200)
    _, bundle = built(made, no_wheels, seeds="1")
    raw = made.folder / "data" / "raw"
    said: list[str] = []
    competition = bundle_competition(read_bundle(bundle), raw, tmp_path, memory_limit=2**31, context=listening(said))
    assert competition.folder == tmp_path / "competitions" / "small"
    assert (competition.folder / "data" / "raw").resolve() == raw.resolve()
    assert (competition.folder / "features.py").read_text() == (made.folder / "features.py").read_text()
    assert competition.rows.scan().collect().equals(made.open.access.competition.rows.scan().collect())
    assert said != []
