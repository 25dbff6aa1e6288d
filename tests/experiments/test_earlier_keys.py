"""Code that is as an earlier run had it keeps the key that the run recorded; of several the newest decides."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.small import Small
from workbench.core.cache import read_json, write_json
from workbench.experiments.earlier_keys import MAX_RUNS, earlier_code_keys
from workbench.features import referenced_code_key

TEXT = 'features = ["ratio", "doubled"]\nseeds = [1]\n[model]\nnum_iterations = 2\nearly_stopping_round = 0\n'
RATIO, DOUBLED = "features.py:ratio", "features.py:doubled"


@pytest.fixture
def made(small) -> Small:
    return small(n_rows=120, runs=(TEXT,))


def run(made: Small, second: int, *, source: str | None = None, **details: Any) -> Path:
    """Write a later run like the first one, but for these details; None takes one out."""
    first = min((made.folder / "runs").glob("001-2*"))
    folder = made.folder / "later" / f"001-20991231T0000{second:02}-0a1b2c3d"
    shutil.copytree(first, folder)
    said = read_json(folder / "run.json") | details
    said["record"] |= {"run_id": folder.name, "folder": f"competitions/small/runs/{folder.name}"}
    write_json(folder / "run.json", {k: v for k, v in said.items() if v is not None})
    if source is not None:
        path = folder / "source" / "features.py"
        path.write_text(path.read_text().replace("abs() + 1", source))
    return folder


def put(made: Small, *folders: Path) -> None:
    for folder in folders:
        folder.rename(made.folder / "runs" / folder.name)


def keys(made: Small, number: int = 1) -> list[str]:
    """Return the keys of the two features while an experiment is made ready; those of today as "now"."""
    today = [referenced_code_key(made.folder, name) for name in (RATIO, DOUBLED)]
    with earlier_code_keys(made.open.access.competition, number):
        found = [referenced_code_key(made.folder, name) for name in (RATIO, DOUBLED)]
    assert [referenced_code_key(made.folder, name) for name in (RATIO, DOUBLED)] == today
    return ["now" if key == now else key for key, now in zip(found, today, strict=True)]


def test_code_that_has_not_changed_has_the_key_that_was_recorded(made: Small) -> None:
    assert keys(made) == ["now", "now"]
    put(made, run(made, 1, code={RATIO: "old ratio", DOUBLED: "old doubled"}))
    assert keys(made) == ["old ratio", "old doubled"]
    assert keys(made, 2) == ["now", "now"]  # of another experiment
    path = made.folder / "features.py"
    path.write_text(path.read_text().replace("abs() + 1", "abs() + 2"))
    assert keys(made) == ["now", "old doubled"]


def test_the_newest_run_that_has_the_code_decides(made: Small) -> None:
    put(
        made,
        run(made, 1, code={RATIO: "first", DOUBLED: "first"}),
        run(made, 2, code={RATIO: "second"}),
        run(made, 3, source="abs() + 3", code={RATIO: "third", DOUBLED: "third"}),  # one of the two was another
    )
    assert keys(made) == ["second", "third"]


def test_where_the_newest_one_has_the_key_of_today_there_is_nothing_to_inherit(made: Small) -> None:
    today = referenced_code_key(made.folder, RATIO)
    put(made, run(made, 1, code={RATIO: "old", DOUBLED: "old"}), run(made, 2, code={RATIO: today}))
    assert keys(made) == ["now", "now"]  # all that it recorded is decided: older ones are not looked at


@pytest.mark.parametrize(
    "details", [{"code": None}, {"code": ["x"]}, {"code": {RATIO: "new"}, "recipes": {"dates": 99}}]
)
def test_a_run_that_says_nothing_of_its_code_is_passed_over(made: Small, details: dict[str, Any]) -> None:
    put(made, run(made, 1, code={RATIO: "old"}), run(made, 2, **details))
    broken = run(made, 3, code={RATIO: "broken"})
    (broken / "run.json").write_text("{")
    put(made, broken)
    assert keys(made) == ["old", "now"]


def test_only_the_newest_runs_are_looked_at(made: Small) -> None:
    put(made, run(made, 1, code={RATIO: "oldest"}))
    put(made, *(run(made, 2 + i, source="abs() + 3", code={RATIO: "other"}) for i in range(MAX_RUNS - 1)))
    assert keys(made)[0] == "oldest"
    put(made, run(made, 2 + MAX_RUNS, source="abs() + 3", code={RATIO: "other"}))
    assert keys(made)[0] == "now"
