"""What must not change while the house is rebuilt: numbers of runs, and workspaces of earlier versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pinned import stored
from tests.pinned.making import RECIPES, WORKSPACES, make
from workbench.api.studies import TuneOptions
from workbench.features import recipes


def test_each_workspace_is_stored() -> None:
    assert sorted(p.name for p in stored.FOLDER.iterdir()) == sorted(f"{name}.tar.xz" for name in WORKSPACES)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKSPACES)
def test_numbers_stay(name: str, tmp_path: Path) -> None:
    """`python -m tests.pinned` stores them anew, where they are meant to change."""
    kept = stored.unpack(name, tmp_path / "stored")
    exactly = stored.is_this_cpu(stored.read_facts(kept.workspace.root))
    assert stored.differences(kept, make(name, tmp_path / "made"), exactly=exactly) == []


@pytest.mark.parametrize("name", WORKSPACES)
def test_an_earlier_workspace_opens(name: str, tmp_path: Path) -> None:
    """Nothing has to run again, and the table is the same."""
    kept = stored.unpack(name, tmp_path)
    facts = stored.read_facts(kept.workspace.root)
    assert stored.table_of(kept) == facts["table"]
    assert [kept.open.runs.execute(n, threads=1).how for n in kept.numbers] == ["unchanged"] * len(kept.numbers)
    assert stored.table_of(kept) == facts["table"]
    assert all(not row.outdated for row in kept.open.table())


@pytest.mark.parametrize(("name", "trials"), [("binary", 4 + 4), ("regression", 3)])
def test_an_earlier_study_goes_on(name: str, trials: int, tmp_path: Path) -> None:
    """Those of the experiment's own run and of `wb tune` count."""
    kept = stored.unpack(name, tmp_path)
    journal = kept.folder / "studies" / "001" / "journal.log"
    before = journal.read_bytes()
    tuned = kept.open.studies.tune(1, TuneOptions(trials=2, threads=1)).tuned
    assert (tuned.n_new_trials, tuned.complete + tuned.pruned) == (2, trials + 2)
    assert journal.read_bytes().startswith(before)


def test_each_recipe_has_stored_values() -> None:
    assert [name for name in recipes.__all__ if f"f.{name}(" not in RECIPES] == []


def test_a_difference_is_seen(tmp_path: Path) -> None:
    kept, other = (stored.unpack("kfold", tmp_path / name) for name in ("kept", "other"))
    run = other.workspace.root / other.open.runs[1].record.folder
    record = json.loads((run / "run.json").read_text())
    record["models"][0]["curve"][0] += 1e-7
    (run / "run.json").write_text(json.dumps(record))
    sent = run / "submission.csv"
    sent.write_bytes(sent.read_bytes().replace(b"0.1", b"0.2", 1))
    found = stored.differences(kept, other, exactly=True)
    assert len(found) == 2
    assert "the bytes of submission.csv" in found[0] + found[1]
    assert "run.json.models[0].curve[0]" in found[0] + found[1]
    assert stored.differences(kept, other, exactly=False) == []
