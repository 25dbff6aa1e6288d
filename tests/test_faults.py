"""The instruments themselves: they strike where they say, and everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import Bench, counted, paused, point
from workbench.core.cache import write_json, write_text
from workbench.ledger import Ledger

CONTENT = "whole " * 1000


def work(folder: Path) -> str:
    write_text(folder / "deep" / "a.txt", CONTENT)
    point("upload")
    with paused():
        (folder / "of the fake").write_text("not counted")
    write_json(folder / "b.json", {"a": 1})
    return "done"


def new_ledger(folder: Path) -> None:
    Ledger.open(folder / "ledger.db").close()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "ready").mkdir()
    return Bench(work, tmp_path / "ready", tmp_path / "copies")


def test_every_change_is_counted(bench: Bench) -> None:
    seen = bench.points()
    names = [name.partition(".tmp")[0] if ".tmp" in name else name for name in seen]
    assert names[0] == "mkdir deep"
    assert [n.split(" ")[0] for n in names[1:5]] == ["open", "fsync", "rename", "fsync"]
    assert "call upload" in seen
    assert not any("of the fake" in name for name in seen)
    assert "rename b.json" in seen


def test_a_commit_of_the_ledger_is_a_change_that_can_find_it_locked(tmp_path: Path) -> None:
    (tmp_path / "ready").mkdir()
    bench = Bench(new_ledger, tmp_path / "ready", tmp_path / "copies")
    assert [s.ended for s in bench.each("busy")] == ["BusyError"] * bench.points().count("ledger commit")


def test_a_file_that_is_written_whole_is_whole_after_a_kill_at_any_change(bench: Bench) -> None:
    struck = list(bench.each("kill", "torn", "ENOSPC", "interrupt"))
    assert {s.ended for s in struck if s.how in ("kill", "torn")} == {"killed"}
    assert {s.ended for s in struck if s.how == "interrupt"} == {"KeyboardInterrupt"}
    assert {s.ended for s in struck if s.how == "ENOSPC"} == {"StorageError"}
    numbers = {s.number for s in struck if s.how == "kill"}
    assert numbers == set(range(1, len(numbers) + 1))


def test_what_is_not_written_whole_is_found(tmp_path: Path) -> None:
    """The instrument can fail a test: a plain write is torn."""
    (tmp_path / "ready").mkdir()
    bench = Bench(careless, tmp_path / "ready", tmp_path / "copies")
    left = {(s.folder / "a.txt").read_text() if (s.folder / "a.txt").exists() else "" for s in bench.each("torn")}
    assert left == {CONTENT[: len(CONTENT) // 2]}


def careless(folder: Path) -> None:
    import os

    with (folder / "a.txt").open("w") as file:
        file.write(CONTENT)
        file.flush()
        os.fsync(file.fileno())


def test_work_goes_on_after_a_fault_that_it_catches(tmp_path: Path) -> None:
    ended, value, seen = counted(catching, tmp_path, at=1, how="EIO")
    assert (ended, value) == ("returned", "caught")
    assert seen


def catching(folder: Path) -> str:
    try:
        write_text(folder / "a.txt", CONTENT)
    except OSError:
        write_text(folder / "a.txt", CONTENT)
        return "caught"
    return "not disturbed"
