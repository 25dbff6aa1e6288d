"""Temporary files: their names, and which of them nobody will finish."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from workbench.core.temporary import (
    ABANDONED_S,
    MAX_NAME_BYTES,
    hidden_path,
    is_left_behind,
    machine,
    remove_leftover_files,
    temporary_file,
    temporary_path,
)

DEAD = 999_999_999


def left(folder: Path, *, host: str = "", boot: str = "", pid: object = DEAD, tail: str = "-0a1b2c3d") -> Path:
    """Return the name of a temporary file as it may have been left."""
    here, now = machine()
    return folder / f".a.{host or here}-{boot or now}-{pid}{tail}.tmp"


def test_a_name_says_whose_it_is_and_is_nobody_elses(tmp_path: Path) -> None:
    names = [temporary_path(tmp_path / "a.txt") for _ in range(2)]
    assert names[0] != names[1]
    for path in names:
        assert path.parent == tmp_path
        said = re.fullmatch(r"\.a\.txt\.([0-9a-f]{8})-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp", path.name)
        assert said is not None
        assert (said[1], said[2], int(said[3])) == (*machine(), os.getpid())


@pytest.mark.parametrize("end", [".partial", ".x"])
def test_a_name_that_just_fits_is_not_cut(tmp_path: Path, end: str) -> None:
    room = MAX_NAME_BYTES - len(end) - 1
    assert hidden_path(tmp_path / ("x" * room), end).name == f".{'x' * room}{end}"
    # Bytes that are no UTF-8 stay as they are where nothing is cut.
    odd = os.fsdecode(b"\xff" * room)
    assert hidden_path(tmp_path / odd, end).name == f".{odd}{end}"
    longer = [hidden_path(tmp_path / ("x" * room + last), end).name for last in "yz"]
    assert longer[0] != longer[1]
    for name in longer:
        assert len(name) == MAX_NAME_BYTES
        assert re.fullmatch(rf"\.x+\.[0-9a-f]{{8}}{re.escape(end)}", name)
    assert len(os.fsencode(temporary_path(tmp_path / ("x" * 255)).name)) == MAX_NAME_BYTES


def test_what_a_block_makes_is_gone_after_it(tmp_path: Path) -> None:
    target = tmp_path / "not" / "yet" / "a"
    with temporary_file(target) as path:
        assert not is_left_behind(path)
        path.write_text("half")
    with pytest.raises(RuntimeError), temporary_file(target) as folder:
        (folder / "inner").mkdir(parents=True)
        raise RuntimeError
    with temporary_file(target):
        pass  # nothing was made
    assert list(target.parent.iterdir()) == []
    path.write_text("of another process of this number, which was killed")
    assert is_left_behind(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"pid": os.getpid()}, True),  # in use it would be known
        ({"pid": os.getppid()}, False),
        ({"pid": 10**30}, True),
        ({"pid": "x"}, False),
        ({"pid": "-1"}, False),
        ({"host": "00000000"}, False),
        ({"host": "00000000", "pid": "x"}, False),
        ({"tail": ""}, False),
        ({"tail": "-1-2"}, False),
        ({"boot": "00000000"}, False),
    ],
)
def test_only_what_a_dead_process_of_this_machine_wrote_is_left(
    tmp_path: Path, change: dict[str, object], expected: bool
) -> None:
    path = left(tmp_path, **change)  # type: ignore[arg-type]
    path.write_text("")
    assert is_left_behind(path) == expected
    remove_leftover_files(tmp_path)
    assert path.exists() != expected


def test_of_an_earlier_boot_what_was_long_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left(tmp_path, boot="00000000", pid=os.getppid())
    assert not is_left_behind(path)  # it is gone already
    path.write_text("")
    os.utime(path, (1_000, 1_000))
    for age, expected in ((ABANDONED_S, False), (ABANDONED_S + 1, True)):
        monkeypatch.setattr("workbench.core.temporary.time.time", lambda age=age: 1_000.0 + age)
        assert is_left_behind(path) == expected


def test_a_process_of_another_user_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left(tmp_path)
    asked = []

    def kill(pid: int, signal: int) -> None:
        asked.append((pid, signal))
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("workbench.core.temporary.os.kill", kill)
    assert not is_left_behind(path)
    assert asked == [(DEAD, 0)]


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "inner").write_text("")
    path = left(tmp_path)
    path.symlink_to(tmp_path / "kept")
    remove_leftover_files(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert [p.name for p in (tmp_path / "kept").iterdir()] == ["inner"]


def test_a_folder_that_can_not_be_removed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left(tmp_path)
    path.mkdir()

    def busy(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "rmdir", busy)
    remove_leftover_files(tmp_path)
    assert path.exists()
