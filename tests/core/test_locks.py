"""Locks between processes: what their files say, what can't be found out, and which drives share them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process_resources import acquisition_order, open_files
from workbench.core.errors import BusyError, StorageError
from workbench.core.locks import is_locked, lock, unshared_drive


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock on a file as another program would, that writes nothing into it."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def failing(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    def fails(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(f"{name}", fails)


def test_while_it_is_held_the_file_says_who_has_it_and_is_empty_afterwards(tmp_path: Path) -> None:
    path, umask = tmp_path / "not" / "yet" / ".lock", os.umask(0)
    try:
        with lock(path, "it"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o644
    finally:
        os.umask(umask)
    path.write_text("x" * 500)  # of a process that was killed, and had more to say
    with lock(path, "it"):
        holder = json.loads(path.read_text())
        assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", holder["since"])
    assert path.read_bytes() == b""
    with pytest.raises(RuntimeError), lock(path, "it"):
        raise RuntimeError
    assert path.read_bytes() == b""


@pytest.mark.parametrize("text", ["", "[1]", "nonsense", '{"pid": 7}'])
def test_a_holder_that_says_nothing_of_itself_is_another_process(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".lock"
    path.write_text(text)
    assert not is_locked(path)
    with held(path):
        assert is_locked(path)
        with pytest.raises(BusyError, match=r"^it is in use by another process\nwait for it"), lock(path, "it"):
            pass
        assert path.read_text() == text
    assert not is_locked(path)


def test_who_waits_has_it_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert acquisition_order(lambda: lock(path, "it", wait=True)) == ["first", "second"]


def test_nothing_stays_open(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.write_text("")
    before = open_files()
    assert not is_locked(path)
    with lock(path, "it"):
        assert is_locked(path)
        with pytest.raises(BusyError), lock(path, "it"):
            pass
    assert open_files() == before


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_file_that_can_only_be_read_can_be_locked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path, real = tmp_path / ".lock", os.open
    path.write_text("")

    def opened(name: Path, flags: int, *more: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(code, os.strerror(code))
        return real(name, flags, *more)

    monkeypatch.setattr("workbench.core.locks.os.open", opened)
    assert not is_locked(path)
    with held(path):
        assert is_locked(path)


def test_where_there_can_be_no_file_nothing_is_locked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not is_locked(tmp_path / "none")
    assert not is_locked(tmp_path / "file" / "below")


def test_a_failure_that_says_nothing_of_locks_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "fcntl.flock", errno.EIO)
    with pytest.raises(OSError, match="Input/output error") as caught, lock(tmp_path / ".lock", "it"):
        pass
    assert not isinstance(caught.value, StorageError)
    failing(monkeypatch, "fcntl.flock", errno.ENOLCK)
    with pytest.raises(
        StorageError, match=r"has no locks between processes \(No locks available\)\nmove the workspace"
    ):
        lock(tmp_path / ".lock", "it").__enter__()


def test_this_machines_own_record_is_no_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that was killed, on a drive whose locks other machines do not see."""
    path = tmp_path / ".lock"
    path.write_text(json.dumps({"pid": 7, "host": socket.gethostname(), "since": "2026-11-30T12:00:00+00:00"}))
    monkeypatch.setattr("workbench.core.locks.unshared_drive", lambda _: "fuse.sshfs")
    assert not is_locked(path)
    with lock(path, "it"):
        assert is_locked(path)
    path.write_text(json.dumps({"pid": 7, "host": "another"}))
    monkeypatch.setattr("workbench.core.locks.unshared_drive", lambda _: None)  # shared: it has let go
    assert not is_locked(path)
    with lock(path, "it"):
        pass


ROOT = "22 1 8:1 / / rw - ext4 /dev/sda2 rw"


@pytest.mark.parametrize(
    ("mounts", "place", "expected"),
    [
        ([], "/data/x", None),
        ([ROOT], "/data/x", None),
        (["22 1 8:1 / / rw - 9p share rw"], "/data/x", "9p"),
        ([ROOT, "23 22 0:5 / /data rw - 9p share rw"], "/data/x", "9p"),
        ([ROOT, "23 22 0:5 / /data rw - 9p share rw"], "/data", "9p"),
        ([ROOT, "23 22 0:5 / /data rw - 9p share rw"], "/database/x", None),
        ([ROOT, "23 22 0:5 / /data rw,relatime shared:1 master:2 - 9p share rw"], "/data/x", "9p"),
        # The innermost one counts, in whichever order they stand; of two in one place the later one.
        (["23 22 0:5 / /data rw - 9p share rw", ROOT], "/data/x", "9p"),
        ([ROOT, "23 22 0:5 / /data/in rw - ext4 /dev/b rw", "24 22 0:6 / /data rw - 9p share rw"], "/data/in/x", None),
        ([ROOT, "23 22 0:5 / /data rw - 9p share rw", "24 23 0:6 / /data rw - ext4 /dev/b rw"], "/data/x", None),
        ([ROOT, "23 22 0:5 / /data rw - ext4 /dev/b rw", "24 23 0:6 / /data rw - 9p share rw"], "/data/x", "9p"),
        ([ROOT, r"23 22 0:5 / /data\040of\134all rw - 9p share rw"], "/data of\\all/x", "9p"),
        # Lines that are cut short, or of a form to come.
        ([ROOT, "23 22 0:5 / /data", "23 22 0:5 / /data - 9p share rw", "23 22 0:5 / /data rw - 9p share"], "/data/x", None),
        ([ROOT, "", "23 22 0:5 / /data rw - 9p share rw"], "/data/x", "9p"),
    ],
)  # fmt: skip
def test_the_innermost_mount_around_a_path_decides(
    tmp_path: Path, mounts: list[str], place: str, expected: str | None
) -> None:
    (tmp_path / "mountinfo").write_text("\n".join(mounts))
    assert unshared_drive(Path(place), tmp_path / "mountinfo") == expected
    assert unshared_drive(Path(place), tmp_path / "none") is None


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("ext4", "rw - ext4 d rw,nolock", None),
        ("fuse.rclone", "rw - fuse.rclone d rw", "fuse.rclone"),
        ("fuse.glusterfs", "rw - fuse.glusterfs d rw", None),
        ("fuseblk", "rw - fuseblk d rw", None),
        ("nfs4", "rw - nfs4 d rw", None),
        ("nfs4", "rw - nfs4 d rw,local_lock=flock,nolock", "nfs4 with local_lock=flock, nolock"),
        ("nfs", "rw,nolock - nfs d rw", "nfs with nolock"),
        ("cifs", "rw - cifs d rw,nobrl", "cifs with nobrl"),
        ("smb3", "rw - smb3 d nobrl", "smb3 with nobrl"),
        ("lustre", "rw - lustre d flock", None),
    ],
)
def test_the_kind_and_the_options_of_either_side_decide(
    tmp_path: Path, kind: str, options: str, expected: str | None
) -> None:
    (tmp_path / "mountinfo").write_text(f"{ROOT}\n23 22 0:5 / /data {options}")
    assert kind in options
    assert unshared_drive(Path("/data/x"), tmp_path / "mountinfo") == expected
