"""How much of the machine there is: cores by quota, memory by what is free, room for temporary files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workbench.core import memory, threads
from workbench.core.cache import Store
from workbench.core.errors import StorageError
from workbench.core.memory import available_bytes, default_limit, is_in_memory, machine_bytes
from workbench.models.lightgbm import datasets


@pytest.mark.parametrize(("quota", "cores"), [(None, 64), (0.5, 1), (1.5, 2), (2.0, 2), (100.0, 64)])
def test_a_containers_quota_bounds_the_cores(monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(threads, "container_quota", lambda: quota)
    assert threads.available_cores() == cores


@pytest.mark.parametrize(
    ("group", "files", "quota"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000"}, 1.5),  # of the group around it
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000", "a/cpu.max": "150000 100000"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000", "a/cpu.max": "150000 100000"}, 0.5),
        ("0::/elsewhere\n", {"cpu.max": "200000 100000"}, 2.0),  # in a container, whose root is its own group
        (
            "4:cpu,cpuacct:/x\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "50000", "cpu,cpuacct/x/cpu.cfs_period_us": "25000"},
            2,
        ),
        ("4:memory:/x\n", {"memory/x/cpu.max": "100 100000"}, None),
        ("", {}, None),
    ],
)
def test_the_quota_is_the_least_of_all_groups(
    tmp_path: Path, group: str, files: dict[str, str], quota: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads.container_quota(tmp_path, group) == quota


def test_the_limit_is_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    gb = 2**30
    monkeypatch.setattr(memory, "machine_bytes", lambda: 100 * gb)
    monkeypatch.setattr(memory, "used_bytes", lambda: 2 * gb)
    monkeypatch.setattr(memory, "available_bytes", lambda: 90 * gb)
    assert default_limit() == 60 * gb
    monkeypatch.setattr(memory, "available_bytes", lambda: 20 * gb)  # another training has taken the rest
    assert default_limit() == 17 * gb
    monkeypatch.setattr(memory, "available_bytes", lambda: 0)
    assert default_limit() == 1


@pytest.mark.parametrize(
    ("limit", "used", "stat"),
    [
        ("memory.max", "memory.current", "anon 100\ninactive_file 200\n"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "inactive_file 1\ntotal_inactive_file 200\n"),
    ],
)
def test_what_a_group_has_left_is_its_limit_less_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, used: str, stat: str
) -> None:
    (tmp_path / limit).write_text("10000\n")
    (tmp_path / used).write_text("4000\n")
    (tmp_path / "memory.stat").write_text(stat)
    monkeypatch.setattr(memory, "group_limits", lambda _: [tmp_path / limit])
    assert available_bytes() == 10_000 - 4_000 + 200  # files' pages are given up when memory is wanted
    (tmp_path / limit).write_text("max\n")
    assert 10_000 < available_bytes() <= machine_bytes()


def test_a_containers_limit_decides_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least of the groups that the process is in, where it is less than the machine's memory."""
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    monkeypatch.setattr(memory, "group_limits", lambda _: [inner, outer, tmp_path / "none"])
    monkeypatch.setattr(memory, "used_bytes", lambda: 0)
    free, whole = [], os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for inside, around, limit in (
        ("max", "max", whole),
        (str(whole // 8), "max", whole // 8),
        ("max", f"{whole // 4}\n", whole // 4),
        (str(whole // 8), str(whole // 16), whole // 16),
        (str(2 * whole), str(2**63 - 4096), whole),
    ):
        inner.write_text(inside)
        outer.write_text(around)
        assert machine_bytes() == limit
        free.append(limit)
        monkeypatch.setattr(memory, "available_bytes", lambda: free[-1])
        assert default_limit() == int(0.6 * limit)


def test_folders_in_memory_are_known(tmp_path: Path) -> None:
    assert not is_in_memory(Path("/proc"))
    if Path("/dev/shm").is_dir():
        assert is_in_memory(Path("/dev/shm"))


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        (["disk / ext4 rw"], False),
        (["tmpfs / tmpfs rw", "disk {} ext4 rw"], False),
        (["disk / ext4 rw", "tmpfs {} tmpfs rw"], True),
        (["disk / ext4 rw", "ramfs {} ramfs"], True),
        (["disk / ext4 rw", "tmpfs {}er tmpfs rw"], False),  # a folder whose name only begins so
        (["tmpfs {} tmpfs rw", "disk {} ext4 rw"], False),  # of two in one place the later one is seen
        (["disk {} ext4 rw", "tmpfs {} tmpfs rw"], True),
        (["tmpfs {} tmpfs rw", "cut short"], True),
        ([], False),
        (None, False),
    ],
)
def test_a_folder_is_in_memory_where_what_is_mounted_around_it_is(
    tmp_path: Path, monkeypatch, mounts: list[str] | None, expected: bool
) -> None:
    folder = tmp_path / "with a space"

    def read_text(path: Path) -> str:
        assert path == Path("/proc/mounts")
        if mounts is None:
            raise FileNotFoundError(path)
        return "\n".join(line.format(str(folder).replace(" ", "\\040")) for line in mounts)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert is_in_memory(folder / "inside") == expected


def test_the_room_for_rows_in_order_is_taken_before_they_are_written(tmp_path: Path, monkeypatch) -> None:
    """A page that finds no room later would end the process with a bus error."""
    with (tmp_path / "rows").open("w+b") as file:
        datasets.reserve_disk_space(file, 2**20)
        assert os.fstat(file.fileno()).st_blocks * 512 >= 2**20
        with pytest.raises(
            StorageError, match=r"(?s)rows in the order of their queries need .* GB in the folder .*TMPDIR"
        ):
            datasets.reserve_disk_space(file, 2**50)
        assert os.fstat(file.fileno()).st_blocks == 0
        monkeypatch.setattr(datasets, "is_in_memory", lambda _: True)
        with pytest.raises(StorageError, match="which is in memory"):
            datasets.reserve_disk_space(file, 2**50)


def test_what_makes_room_is_not_counted_again(tmp_path: Path) -> None:
    """A large block goes; the small ones that were used before it fit, and stay."""
    store = Store(tmp_path, max_bytes=100)
    sizes = {"a": 10, "b": 10, "c": 500, "d": 10}  # in the order of their use
    for at, (key, size) in enumerate(sizes.items()):
        (tmp_path / f"{key}.parquet").write_bytes(b"x" * size)
        (tmp_path / f"{key}.json").write_text("{}")
        os.utime(tmp_path / f"{key}.json", (at, at))
    store.prune()
    assert {s.key for s in store.stored()} == {"a", "b", "d"}
