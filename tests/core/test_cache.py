from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults import Bench
from tests.process_resources import acquisition_order, open_files
from workbench.api.health import run_checks
from workbench.core import cache
from workbench.core.cache import (
    Store,
    atomic,
    atomic_folder,
    content_key,
    create_text,
    flush_files,
    is_locked,
    lock,
    read_json,
    remove_leftover_files,
    write_json,
    write_text,
)
from workbench.core.errors import BusyError, DamagedError, StorageError
from workbench.core.locks import unshared_drive
from workbench.core.temporary import hidden_path, temporary_path
from workbench.data.workspace import create_workspace

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    scalars, lambda s: st.lists(s, max_size=4) | st.dictionaries(st.text(), s, max_size=4), max_leaves=8
)


def tagged(value: object) -> str:
    """A text that is equal exactly for values that the key must hold equal."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{tagged(k)}:{tagged(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(tagged, value)) + "]"
    return f"{type(value).__name__}:{value!r}"


@given(values, values)
def test_keys_are_equal_exactly_where_the_values_are(a: object, b: object) -> None:
    assert (content_key(a) == content_key(b)) == (tagged(a) == tagged(b))


def test_pieces_do_not_run_together() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")
    assert content_key(["a"], []) != content_key([], ["a"])


def test_a_key_stays_what_it_was() -> None:
    """Blocks and runs of earlier versions are found by theirs."""
    key = content_key(None, True, -3, 1.5, "é", b"x", [1, (2, "b")], {"b": 1, "a": [2]})
    assert key == "f20fa67c8ea4f4abf22b33096dd1bd83"
    assert content_key({2: "x", "a": 1, 1: "y"}) == content_key({"a": 1, 1: "y", 2: "x"})


def test_what_has_no_key_is_refused() -> None:
    with pytest.raises(TypeError, match="has no content key"):
        content_key({"a": object()})


def test_atomic_leaves_the_old_file_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a.txt: no space left on the disk"), atomic(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a.txt"))


def test_a_folder_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StorageError, match="move that file out of the way"):
        write_text(tmp_path / "a" / "b" / "c.txt", "text")


@pytest.mark.parametrize("text", ["", "{", "nonsense", "\x00\xff"])
def test_damaged_json_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedError, match=r"run.json is damaged"):
        read_json(path)


def test_json_refuses_what_json_has_no_word_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_json_that_lies_too_deep_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DamagedError, match=r"run.json is damaged: lists or objects in it are nested too deep"):
        read_json(tmp_path / "run.json")


def test_json_is_written_for_people_too(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"é": [1, None]})
    assert (tmp_path / "a.json").read_bytes() == '{\n "é": [\n  1,\n  null\n ]\n}\n'.encode()
    assert read_json(tmp_path / "a.json") == {"é": [1, None]}


@pytest.mark.parametrize("has_links", [True, False])
def test_one_of_several_writers_makes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool) -> None:
    path = tmp_path / "not" / "yet" / "a.txt"
    if not has_links:

        def no_link(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", no_link)
    assert create_text(path, "first") is True
    assert create_text(path, "second") is False
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def make_folder(path: Path, text: str) -> None:
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text(text)


@pytest.mark.parametrize("write", [write_text, create_text, make_folder])
def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, str], object]
) -> None:
    """What was waited for, and what was there by then: no test can cut the power."""
    seen = []

    def fsync(descriptor: int) -> None:
        stat = os.fstat(descriptor)
        is_named = (tmp_path / "a.txt").exists()
        is_folder = os.path.samestat(stat, tmp_path.stat())
        seen.append(("folder" if is_folder else "file", stat.st_size if write is not make_folder else 0, is_named))

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path / "a.txt", "bytes")
    assert [(what, named) for what, _, named in seen] == [("file", False), ("folder", True)]
    assert seen[0][1] == (0 if write is make_folder else 5)


def test_files_are_flushed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    paths = [tmp_path / "b" / "2.txt", tmp_path / "a" / "1.txt", tmp_path / "a" / "3.txt"]
    for path in paths:
        write_text(path, "bytes", flush=False)
    assert flushed == []
    flush_files(paths)
    assert flushed == [*map(str, paths), str(tmp_path / "a"), str(tmp_path / "b")]
    flush_files([])


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet"
    with pytest.raises(RuntimeError), atomic_folder(path) as temporary:
        (temporary / "a").write_text("half")
        raise RuntimeError
    assert list(tmp_path.rglob("*")) == [path.parent]
    make_folder(path, "whole")
    assert (path / "a").read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["yet"]


WRITER = """
import sys, pathlib
from workbench.core.cache import write_text
path = pathlib.Path(sys.argv[1])
for i in range(10_000):
    write_text(path, f"{i}:" + "x" * 20_000 + ":end")
    if i == 0: print("go", flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for delay in (0.01, 0.05, 0.11):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        assert path.read_text().endswith(":end")
    remove_leftover_files(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_sweep_spares_what_this_process_is_writing(tmp_path: Path) -> None:
    with atomic(tmp_path / "a") as first, atomic(tmp_path / "b") as second:
        first.write_text("1")
        second.write_text("2")
        left = second.with_name(second.name.replace(".b.", ".c."))
        left.write_text("of a process of the same number, which was killed")
        remove_leftover_files(tmp_path)
        assert not left.exists()
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b"}


def test_sweep_spares_living_writers_and_other_machines(tmp_path: Path) -> None:
    own = temporary_path(tmp_path / "a.txt").name.removeprefix(".a.txt.").removesuffix(".tmp")
    host, boot, _, tail = own.split("-")
    living = tmp_path / f".a.txt.{host}-{boot}-{os.getppid()}-{tail}.tmp"
    dead = tmp_path / f".a.txt.{host}-{boot}-999999999-{tail}.tmp"
    elsewhere = tmp_path / f".a.txt.00000000-{boot}-999999999-{tail}.tmp"
    earlier = tmp_path / f".a.txt.{host}-00000000-999999999-{tail}.tmp"
    long_ago = tmp_path / f".b.txt.{host}-00000000-999999999-{tail}.tmp"
    unlike = [tmp_path / name for name in (".a.txt.999999999-12345678.tmp", ".unpacked.tmp", ".a-b-c-d.tmp")]
    for path in (living, dead, elsewhere, earlier, long_ago, *unlike):
        path.write_text("")
    os.utime(long_ago, (0, 0))
    folder = tmp_path / f".c.{host}-{boot}-999999999-{tail}.tmp"
    (folder / "inner").mkdir(parents=True)
    remove_leftover_files(tmp_path)
    assert set(tmp_path.iterdir()) == {living, elsewhere, earlier, *unlike}


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127 + "x", "x" + "é" * 127, "語" * 85])
def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path, name: str) -> None:
    assert len(name.encode()) == 255
    write_text(tmp_path / name, "whole")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    beside = hidden_path(tmp_path / name, ".partial")
    beside.write_text("")
    other = hidden_path(tmp_path / (name[:-1] + "y"), ".partial")
    assert other != beside
    assert hidden_path(tmp_path / name, ".partial") == beside


def test_a_cache_that_can_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "cache")
    with store.writing("a", {}) as path:
        pl.DataFrame({"x": [1]}).write_parquet(path)

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refused)
    block = store.get("a")
    assert block is not None
    assert pl.read_parquet(block.path)["x"].to_list() == [1]
    assert store.read_lock("a") is not None


def hold(path: Path, ready: object) -> None:
    with lock(path, "experiment 12"):
        ready.set()  # type: ignore[attr-defined]
        time.sleep(60)


def test_the_second_process_hears_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / ".012.lock"
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=hold, args=(path, ready))
    holder.start()
    assert ready.wait(30)
    assert is_locked(path)
    with (
        pytest.raises(BusyError, match=rf"experiment 12 is in use by process {holder.pid} on "),
        lock(path, "experiment 12"),
    ):
        pass
    holder.kill()
    holder.join()
    assert not is_locked(path)
    with lock(path, "experiment 12"):
        assert is_locked(path)


def test_a_lock_that_can_not_be_opened_counts_as_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"
    assert not is_locked(path)
    path.write_text("")
    assert not is_locked(path)

    def fails(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("workbench.core.locks.os.open", fails)
    assert is_locked(path)


def test_a_drive_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", fails)
    (tmp_path / ".lock").write_text("")
    assert is_locked(tmp_path / ".lock")
    with pytest.raises(StorageError, match="its drive has no locks between processes"), lock(tmp_path / ".lock", "it"):
        pass


def test_of_a_drive_whose_locks_are_not_shared_the_recorded_host_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".lock"
    path.write_text(json.dumps({"pid": 7, "host": "another", "since": "2026-11-30T12:00:00+00:00"}))
    with lock(path, "it"):  # this drive is of this machine alone: nobody else can have it
        pass
    assert path.read_text() == ""
    monkeypatch.setattr("workbench.core.locks.unshared_drive", lambda _: "fuse.sshfs")
    assert not is_locked(path)
    path.write_text(json.dumps({"pid": 7, "host": "another", "since": "2026-11-30T12:00:00+00:00"}))
    assert is_locked(path)
    with pytest.raises(BusyError, match=r"process 7 on another since .*\(fuse.sshfs\) are not shared") as caught:
        lock(path, "it").__enter__()
    assert str(path) in caught.value.hint
    path.write_text("")
    with lock(path, "it"):
        assert is_locked(path)


def test_a_lock_is_let_go_though_its_file_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with lock(path, "it"):
        monkeypatch.setattr("workbench.core.locks.os.ftruncate", fails)
    monkeypatch.undo()
    assert not is_locked(path)


@pytest.mark.parametrize(
    ("mounted", "expected"),
    [
        ("/data rw,relatime - ext4 /dev/sda1 rw", None),
        ("/data rw - nfs4 server:/data rw,vers=4.2,local_lock=none", None),
        ("/data rw - nfs server:/data rw,vers=3,nolock,local_lock=all", "nfs with local_lock=all, nolock"),
        ("/data rw - fuse.sshfs me@server:/data rw", "fuse.sshfs"),
        ("/data rw - lustre server:/data rw,localflock", "lustre with localflock"),
        ("/data/other rw - fuse.sshfs me@server:/data rw", None),
        (r"/data\040of rw - fuse.sshfs me@server:/data rw", None),
        ("/data rw - virtiofs share rw", "virtiofs"),
    ],
)
def test_drives_whose_locks_are_of_one_machine(tmp_path: Path, mounted: str, expected: str | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda2 rw\n23 22 0:5 / {mounted}\n")
    assert unshared_drive(Path("/data/workspace/.lock"), mounts) == expected


def write_block(folder: Path) -> None:
    with Store(folder).writing("k", {"feature": "x"}, suffix="bin") as path:
        path.write_bytes(b"x" * 1000)


def remove_block(folder: Path) -> None:
    Store(folder).remove("k")


def open_below(folder: Path) -> list[Path]:
    """Return the files below a folder that this process has open."""
    return [path for path in open_files() if path.is_relative_to(folder)]


class TestStore:
    def put(self, store: Store, key: str, rows: int = 10) -> Path:
        with store.writing(key, {"rows": rows}) as path:
            pl.DataFrame({"a": range(rows)}).write_parquet(path)
        block = store.get(key)
        assert block is not None
        return block.path

    def test_a_block_comes_back_with_its_note(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        assert store.get("k") is None
        self.put(store, "k")
        block = store.get("k")
        assert block is not None
        assert block.note["rows"] == 10
        assert pl.read_parquet(block.path).height == 10

    def test_what_is_stored_is_told_without_reading_it(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "cache")
        assert store.stored() == []
        sizes = {}
        for age, key in enumerate("bac"):
            sizes[key] = self.put(store, key, rows=10 * age + 1).stat().st_size
            os.utime(tmp_path / "cache" / f"{key}.json", (age, age))
        (tmp_path / "cache" / "c.json").write_text("[1]")  # nothing that was ever written
        os.utime(tmp_path / "cache" / "c.json", (9, 9))
        (tmp_path / "cache" / ".hidden.bin").write_bytes(b"x")
        told = [(s.key, s.note.get("rows"), s.size_bytes, s.used_at) for s in store.stored()]
        assert told == [("c", None, sizes["c"], 9), ("a", 11, sizes["a"], 1), ("b", 1, sizes["b"], 0)]

    def test_a_file_that_was_only_touched_is_whole(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        path = self.put(store, "k")
        os.utime(path, (5, 5))
        assert store.get("k") is not None

    def test_a_note_leads_to_no_other_file(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "cache")
        self.put(store, "k")
        note = read_json(tmp_path / "cache" / "k.json")
        for suffix in ("exe", "bin/../../other.bin"):
            write_json(tmp_path / "cache" / "k.json", note | {"suffix": suffix})
            block = store.peek("k")
            assert block is not None
            assert block.path == tmp_path / "cache" / "k.parquet"

    def test_to_look_is_not_to_use(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        self.put(store, "k")
        note = tmp_path / "k.json"
        os.utime(note, (5, 5))
        assert store.peek("k") is not None
        assert note.stat().st_mtime == 5
        assert store.get("k") is not None
        assert note.stat().st_mtime > 5

    def test_what_just_fits_stays(self, tmp_path: Path) -> None:
        size = self.put(Store(tmp_path), "a").stat().st_size + self.put(Store(tmp_path), "b").stat().st_size
        Store(tmp_path, max_bytes=size).prune()
        assert len(Store(tmp_path).stored()) == 2
        Store(tmp_path, max_bytes=size - 1).prune(keep="a")
        assert [s.key for s in Store(tmp_path).stored()] == ["a"]
        assert Store(tmp_path).max_bytes == 50 * 2**30

    def test_what_could_not_be_removed_still_takes_room(self, tmp_path: Path) -> None:
        """The oldest one goes for it."""
        size = self.put(Store(tmp_path), "old").stat().st_size
        for age, key in enumerate(("old", "stuck", "new")):
            self.put(Store(tmp_path), key)
            os.utime(tmp_path / f"{key}.json", (age, age))

        class Stuck(Store):
            def remove(self, key: str) -> bool:
                return key != "stuck" and super().remove(key)

        Stuck(tmp_path, max_bytes=size).prune()
        assert [s.key for s in Store(tmp_path).stored()] == ["new", "stuck"]
        (tmp_path / "old.bin").write_bytes(b"x" * size)
        os.utime(tmp_path / "old.bin", (0, 0))
        Stuck(tmp_path, max_bytes=2 * size).prune()
        assert [s.key for s in Store(tmp_path).stored()] == ["new", "stuck"]

    def test_it_is_said_what_is_gone(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        assert store.remove("never there")
        (tmp_path / "orphan.bin").write_bytes(b"x")
        assert store.remove("orphan")
        self.put(store, "k")
        assert store.remove("k")
        assert list(tmp_path.iterdir()) == []
        (tmp_path / "odd.bin").write_bytes(b"x")
        (tmp_path / "odd.json").symlink_to("odd.json")  # can't be opened
        assert not store.remove("odd")
        assert (tmp_path / "odd.bin").exists()

    @pytest.mark.parametrize("how", ["hold", "remove"])
    def test_a_block_that_is_written_anew_meanwhile_is_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        """Between the opening of its note and the lock on it."""
        store = Store(tmp_path)
        self.put(store, "k")
        real, written = fcntl.flock, []

        def flock(descriptor: int, how: int) -> None:
            if not written:
                written.append(True)
                self.put(Store(tmp_path), "k", rows=5)
            real(descriptor, how)

        monkeypatch.setattr("fcntl.flock", flock)
        if how == "remove":
            assert not store.remove("k")
        else:
            hold = store.read_lock("k")
            assert hold is not None
            assert hold.locks(tmp_path / "k.json")
        block = store.peek("k")
        assert block is not None
        assert block.note["rows"] == 5

    def test_who_builds_the_same_block_waits(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        assert acquisition_order(lambda: store.lock("k")) == ["first", "second"]

    @pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "note", "empty note"])
    def test_a_damaged_block_is_missing(self, tmp_path: Path, damage: str) -> None:
        store = Store(tmp_path)
        path = self.put(store, "k")
        data = bytearray(path.read_bytes())
        note = path.with_suffix(".json")
        if damage == "truncate":
            path.write_bytes(data[:-7])
        elif damage == "flip":
            data[len(data) // 2] ^= 1
            time.sleep(0.01)
            path.write_bytes(data)
        elif damage == "remove":
            path.unlink()
        elif damage == "note":
            note.write_text(note.read_text()[:20])
        else:
            note.write_text(json.dumps({}))
        assert store.get("k") is None

    def test_nothing_stays_open(self, tmp_path: Path) -> None:
        """A study of a night writes thousands of blocks: a file that each left open would end it."""
        store = Store(tmp_path)
        self.put(store, "a")
        with pytest.raises(RuntimeError), store.writing("b", {}):
            raise RuntimeError
        with store.lock("a"):
            hold = store.read_lock("a")
            assert hold is not None
            assert open_below(tmp_path) != []
            del hold
            Store(tmp_path, max_bytes=0).prune(keep="a")
        assert open_below(tmp_path) == []
        store.clear()
        assert open_below(tmp_path) == []

    def test_a_failed_write_leaves_no_block(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        with pytest.raises(RuntimeError), store.writing("k", {}):
            raise RuntimeError
        assert store.get("k") is None
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.slow
    def test_a_writer_that_is_killed_at_any_change_leaves_nothing_unseen(self, tmp_path: Path) -> None:
        """Every byte that is there is seen, counted and freed; and the block can be written again."""
        (tmp_path / "ready").mkdir()
        Store(tmp_path / "ready").clear()
        bench = Bench(write_block, tmp_path / "ready", tmp_path / "copies")
        left = 0
        for struck in bench.each("kill", "torn", "ENOSPC", "interrupt"):
            store = Store(struck.folder)
            remove_leftover_files(struck.folder)
            there = sum(p.stat().st_size for p in struck.folder.iterdir() if p.suffix in (".bin", ".parquet"))
            assert sum(s.size_bytes for s in store.stored()) == there, str(struck)
            block = store.get("k")
            assert block is None or block.path.read_bytes() == b"x" * 1000, str(struck)
            left += block is None and there > 0
            if struck.how in ("ENOSPC", "interrupt") and block is None:
                assert [p.name for p in struck.folder.iterdir()] == [], str(struck)
            Store(struck.folder, max_bytes=0).prune()
            assert not [p.name for p in struck.folder.iterdir() if not p.name.endswith(".lock")], str(struck)
            write_block(struck.folder)
            assert store.get("k") is not None
        assert left

    def test_a_removal_that_is_killed_at_any_change_leaves_nothing_unseen(self, tmp_path: Path) -> None:
        (tmp_path / "ready").mkdir()
        write_block(tmp_path / "ready")
        for struck in Bench(remove_block, tmp_path / "ready", tmp_path / "copies").each("kill"):
            Store(struck.folder, max_bytes=0).prune()
            assert list(struck.folder.iterdir()) == [], str(struck)

    def test_what_an_earlier_version_left_without_a_note_is_seen_and_freed(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        (tmp_path / "orphan.bin").write_bytes(b"x" * 100)
        assert [(s.key, s.note, s.size_bytes) for s in store.stored()] == [("orphan", {}, 100)]
        Store(tmp_path, max_bytes=0).prune()
        assert list(tmp_path.iterdir()) == []

    def test_what_is_being_written_is_not_removed(self, tmp_path: Path) -> None:
        store = Store(tmp_path, max_bytes=0)
        with store.writing("k", {}, suffix="bin") as path:
            path.write_bytes(b"x")
            other = Store(tmp_path, max_bytes=0)
            other.prune()
            assert not other.remove("k")
            other.clear()
            assert other.read_lock("k") is None
            assert path.exists()
        assert store.get("k") is not None

    def test_the_file_of_a_lock_is_never_removed(self, tmp_path: Path) -> None:
        """Of two processes one would hold the lock of a file that is gone."""
        store = Store(tmp_path)
        with store.lock("k"):
            self.put(store, "k")
            assert store.remove("k")
            store.clear()
            assert is_locked(tmp_path / ".k.lock")

    def test_the_least_recently_used_goes_first(self, tmp_path: Path) -> None:
        size = self.put(Store(tmp_path / "probe"), "k").stat().st_size
        store = Store(tmp_path / "store", max_bytes=int(2.5 * size))
        for age, key in enumerate(("a", "b")):
            self.put(store, key)
            os.utime(tmp_path / "store" / f"{key}.json", (age, age))
        assert store.get("a") is not None  # used now: younger than b
        self.put(store, "c")
        assert [store.get(k) is not None for k in "abc"] == [True, False, True]

    def test_what_is_held_stays_until_it_is_let_go(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        path = self.put(store, "a")
        holds = [store.read_lock("a"), Store(tmp_path).read_lock("a")]
        assert store.read_lock("b") is None
        small = Store(tmp_path, max_bytes=1)
        small.prune()
        assert path.exists()
        assert not small.remove("a")
        del holds[0]
        small.prune()
        assert path.exists()
        holds.clear()
        small.prune()
        assert not path.exists()

    def test_a_held_block_is_no_reason_to_remove_others(self, tmp_path: Path) -> None:
        """What has to stay counts; the least recently used of the rest goes."""
        size = self.put(Store(tmp_path / "probe"), "k").stat().st_size
        store = Store(tmp_path / "store", max_bytes=int(2.5 * size))
        for age, key in enumerate("ab"):
            self.put(store, key)
            os.utime(tmp_path / "store" / f"{key}.json", (age, age))
        hold = store.read_lock("a")
        self.put(store, "c")
        assert [store.peek(k) is not None for k in "abc"] == [True, False, True], hold


def test_the_doctor_says_what_kind_of_locks_the_drive_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = create_workspace(tmp_path)
    assert "locks" not in {c["name"] for c in run_checks(workspace)}
    monkeypatch.setattr("workbench.core.locks.unshared_drive", lambda _: "fuse.sshfs")
    (line,) = (c for c in run_checks(workspace) if c["name"] == "locks")
    assert (line["level"], "fuse.sshfs" in line["detail"]) == ("note", True)


def test_the_digest_of_a_files_pieces_is_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept with blocks: another way of making it would call every block damaged."""
    monkeypatch.setattr(cache, "CHUNK_BYTES", 1000)
    content = bytes(range(256)) * 10
    (tmp_path / "block").write_bytes(content)
    pieces = [content[at : at + 1000] for at in (0, 1000, 2000)]
    expected = hashlib.sha256(b"".join(hashlib.sha256(p).digest() for p in pieces)).hexdigest()
    assert cache.chunked_sha256(tmp_path / "block") == expected
