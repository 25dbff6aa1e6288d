"""A run that is killed, interrupted, or whose disk fails, at every change that it makes: nothing finished is lost.

Whatever struck: a run that its folder says is finished stays so, with its scores in the ledger after the next command;
no run is finished that was not; the same command then works, and gives what an undisturbed one gives.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults import Bench, Struck, kind_of
from tests.small import make_small
from workbench.api import library
from workbench.experiments.run_folder import read_run

TINY = 'features = ["ratio"]\n[model]\nnum_iterations = 2\nmin_data_in_leaf = 5\nearly_stopping_round = 0\n'


def run(folder: Path) -> tuple[str, str, float | None]:
    outcome = library.competition("small", where=library.workspace(folder)).runs.execute(1, threads=1)
    return outcome.how, outcome.run.record.run_id, outcome.run.record.cv_mean


Shown = list[tuple[str, str, float | None]]


def look_and_run(folder: Path) -> tuple[Shown, tuple[str, str, float | None]]:
    """What the next command shows, and what the same one again gives."""
    rows = library.competition("small", where=library.workspace(folder)).table()
    return [(row.run.run_id, row.run.status, row.run.cv_mean) for row in rows], run(folder)


def on_disk(folder: Path) -> dict[str, tuple[str, float | None]]:
    folders = (folder / "competitions" / "small" / "runs").glob("001-*")
    records = [read_run(f)[0] for f in folders]
    return {r.run_id: (r.status, r.cv_mean) for r in records}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_small(tmp_path_factory.mktemp("ready") / "w", n_rows=120)
    made.definition("folds = 5", "folds = 2")
    made.experiment(1, TINY)
    return made.workspace.root


@pytest.fixture(scope="module")
def score(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    bench = Bench(run, ready, tmp_path_factory.mktemp("undisturbed"))
    ended, (_, _, score) = bench.again(bench.copy())
    assert ended == "returned"
    return score


@pytest.fixture(scope="module")
def points(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The changes of an undisturbed run."""
    return Bench(run, ready, tmp_path_factory.mktemp("points")).points()


def is_sound(bench: Bench, struck: Struck, score: float) -> None:
    before = on_disk(struck.folder)
    finished = {run_id for run_id, (status, _) in before.items() if status == "finished"}
    # What is finished is whole, and nothing else claims a score.
    assert all(
        (cv == pytest.approx(score)) if status == "finished" else cv is None for status, cv in before.values()
    ), struck
    if struck.ended == "returned":
        assert len(finished) == 1, struck
    ended, value = bench.again(struck.folder, look_and_run)
    assert ended == "returned", f"{struck}; then: {value}"
    shown, (how, run_id, cv) = value
    assert {run_id for run_id, status, _ in shown if status == "finished"} == finished, struck
    assert all(status in ("finished", "interrupted", "failed") for _, status, _ in shown), struck
    assert all(cv == pytest.approx(score) for _, status, cv in shown if status == "finished"), struck
    assert cv == pytest.approx(score), struck
    if finished:
        assert (how, {run_id}) == ("unchanged", finished), struck
    after = on_disk(struck.folder)
    assert [status for status, _ in after.values()] == ["finished"], struck
    assert not list((struck.folder / "competitions").rglob("*.tmp")), struck
    assert not list((struck.folder / "competitions").rglob("parts")), struck


@pytest.mark.slow
def test_killed_at_every_change(ready: Path, score: float, tmp_path: Path) -> None:
    bench = Bench(run, ready, tmp_path)
    count = 0
    for struck in bench.left_by_kills():
        is_sound(bench, struck, score)
        count += 1
    assert count > 50


@pytest.mark.slow
@pytest.mark.parametrize("how", ["interrupt", "ENOSPC", "EIO", "busy"])
def test_struck_at_every_kind_of_change(ready: Path, score: float, tmp_path: Path, how: str) -> None:
    bench = Bench(run, ready, tmp_path)
    for struck in bench.each(how, once=str if how == "busy" else kind_of):
        if how == "interrupt":
            assert struck.ended in ("KeyboardInterrupt", "returned"), struck
        is_sound(bench, struck, score)


@pytest.mark.parametrize("how", ["kill", "interrupt", "ENOSPC", "busy"])
def test_struck_where_a_run_ends(ready: Path, score: float, points: list[str], tmp_path: Path, how: str) -> None:
    """The last record and what follows it: where a finished run was lost."""
    bench = Bench(run, ready, tmp_path)
    last = max(n for n, name in enumerate(points, 1) if name.startswith("rename") and name.endswith("run.json"))
    commits = [n for n, name in enumerate(points, 1) if name == "ledger commit"]
    numbers = commits[-1:] if how == "busy" else [last, last + 1, commits[-1]]
    for number in numbers:
        struck = bench.strike(number, how, points[number - 1])
        is_sound(bench, struck, score)
        if number > last:
            assert json.dumps(sorted(on_disk(struck.folder).values())).count("finished") == 1
