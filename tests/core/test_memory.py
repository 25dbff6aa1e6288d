"""Sizes as they are written, what the system says of memory, and the peak of a block."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workbench.core import memory
from workbench.core.errors import ConfigError
from workbench.core.memory import (
    available_bytes,
    format_bytes,
    group_limits,
    limit_polars_memory,
    machine_bytes,
    measured_peak,
    parse_bytes,
    used_bytes,
)

PAGE, KB = 4096, 1024
ROOT = Path("/sys/fs/cgroup")


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The only files that there are, on a machine of 1,000 pages of 4,096 bytes."""
    texts: dict[str, str] = {}

    def read_text(path: Path) -> str:
        if str(path) not in texts:
            raise FileNotFoundError(path)
        return texts[str(path)]

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": PAGE, "SC_PHYS_PAGES": 1000}.__getitem__)
    return texts


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1), ("1B", 1), ("900 b", 900), ("1.9", 1), ("2K", 2048), ("2kb", 2048), ("2KiB", 2048), ("0.5 k", 512), ("1M", 2**20),
        ("1.5GiB", 3 * 2**29), ("1T", 2**40), (" 8 GB ", 2**33), ("100%", 1000 * PAGE), ("12.5 %", 125 * PAGE),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("files")
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_bytes(text, where="x") == size
    assert isinstance(parse_bytes(text, where="x"), int)


@pytest.mark.parametrize(
    "text", ["", "B", "0", "0.9", "0.99B", "0GB", "0%", "-1", "1 %%", "1%B", "1X", "1 2", "1,5G", "much"]
)
def test_no_size_is_explained(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--memory-limit: .* is not an amount of memory\nwrite it as"):
        parse_bytes(text, where="--memory-limit")


def test_a_size_is_shown_in_the_unit_that_it_fills() -> None:
    sizes = [0, 1, 1023, 1024, 1536, 2**20 - 1, 2**20, 2**30 - 1, 2**30, 2**40, 5 * 2**40]
    assert [format_bytes(s) for s in sizes] == [
        "0 B", "1 B", "1,023 B", "1.0 KB", "1.5 KB", "1,024.0 KB", "1.0 MB", "1,024.0 MB", "1.0 GB", "1,024.0 GB", "5,120.0 GB",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("0::/", []),
        ("0::/a/b\n", ["a/b/memory.max", "a/memory.max"]),
        ("0::/a:b\n", ["a:b/memory.max"]),
        ("4:memory:/x\n", ["memory/x/memory.limit_in_bytes"]),
        ("4:cpu,memory:/x/y\n", ["memory/x/y/memory.limit_in_bytes", "memory/x/memory.limit_in_bytes"]),
        ("4:cpu,cpuacct:/x\n1:name=systemd:/y\n", []),
        ("4:memory:/x\n0::/z\n", ["memory/x/memory.limit_in_bytes", "z/memory.max"]),
        ("cut short", []),
    ],
)
def test_the_groups_whose_limits_count(text: str, expected: list[str]) -> None:
    own = [ROOT / "memory.max", ROOT / "memory/memory.limit_in_bytes"]
    assert group_limits(text) == own + [ROOT / name for name in expected]


def test_the_memory_there_is_and_what_is_left_of_it(files: dict[str, str]) -> None:
    """The least of what the machine and its groups say; what says nothing does not count."""
    assert (machine_bytes(), available_bytes()) == (1000 * PAGE, 1000 * PAGE)
    files["/proc/meminfo"] = "MemTotal: 4000 kB\nMemFree:  10 kB\nMemAvailable:   2000 kB\n"
    assert (machine_bytes(), available_bytes()) == (1000 * PAGE, 2000 * KB)
    files["/proc/self/cgroup"] = "0::/a\n"
    files["/sys/fs/cgroup/a/memory.max"] = "1500000\n"
    assert (machine_bytes(), available_bytes()) == (1_500_000, 1_500_000)  # nothing says what is used of it
    files["/sys/fs/cgroup/a/memory.current"] = "700000\n"
    assert available_bytes() == 1_500_000
    files["/sys/fs/cgroup/a/memory.stat"] = "anon 5\n"
    assert available_bytes() == 800_000
    files["/sys/fs/cgroup/a/memory.stat"] = "anon 5\ninactive_file 1000\n"
    assert available_bytes() == 801_000
    files["/sys/fs/cgroup/a/memory.current"] = "1600000\n"  # more than its limit, which was set since
    assert available_bytes() == 0
    files["/sys/fs/cgroup/a/memory.max"] = "max\n"
    assert (machine_bytes(), available_bytes()) == (1000 * PAGE, 2000 * KB)
    files["/proc/self/cgroup"] = "5:memory:/b\n"
    files["/sys/fs/cgroup/memory/b/memory.limit_in_bytes"] = "1000000"
    files["/sys/fs/cgroup/memory/b/memory.usage_in_bytes"] = "400000"
    files["/sys/fs/cgroup/memory/b/memory.stat"] = "inactive_file 5\ntotal_inactive_file 7\n"
    assert (machine_bytes(), available_bytes()) == (1_000_000, 600_007)


def test_the_memory_that_a_process_has(files: dict[str, str]) -> None:
    files["/proc/self/statm"] = "900 70 60 5 0 80 0\n"
    files["/proc/12/statm"] = "900 50 40\n"
    assert (used_bytes(), used_bytes(12), used_bytes(13)) == (70 * PAGE, 50 * PAGE, 0)
    for text in ("", "900", "900 x"):
        files["/proc/self/statm"] = text
        assert used_bytes() == 0


@pytest.mark.parametrize(
    ("limit", "budget"), [(2**33, "4096"), (130 * 2**20, "65"), (128 * 2**20, "64"), (2**20, "64"), (0, "64")]
)
def test_polars_has_half_of_the_limit_and_no_less_than_64_mb(
    monkeypatch: pytest.MonkeyPatch, limit: int, budget: str
) -> None:
    monkeypatch.delenv(memory.POLARS_BUDGET, raising=False)
    limit_polars_memory(limit)
    assert os.environ[memory.POLARS_BUDGET] == budget
    limit_polars_memory(2**40)
    assert os.environ[memory.POLARS_BUDGET] == budget  # it was told before


class TestPeak:
    @pytest.fixture
    def takes(self, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
        """Return a function that lets the process take so many MB, and then give back all but one."""
        peak = [50]

        def say() -> None:
            files["/proc/self/status"] = f"VmPeak:\t 9 kB\nVmHWM:\t {peak[0] * KB} kB\n"

        def take(mb: int) -> None:
            peak[0] = max(peak[0], mb)
            say()

        def write_text(path: Path, text: str) -> None:
            assert (str(path), text) == ("/proc/self/clear_refs", "5")
            peak[0] = 1
            say()

        monkeypatch.setattr(Path, "write_text", write_text)
        say()
        return take

    def test_it_is_of_the_block_alone(self, takes: Callable[[int], None]) -> None:
        with measured_peak() as first:
            assert first.mb == 1.0  # what was before does not count
            takes(7)
            assert first.mb == 7.0
            takes(3)
            assert first.mb == 7.0
        takes(20)
        assert first.mb == 7.0
        with measured_peak() as second:
            pass
        assert (first.mb, second.mb) == (7.0, 1.0)

    def test_it_counts_for_all_blocks_around(self, takes: Callable[[int], None]) -> None:
        with measured_peak() as outer:
            takes(9)
            with measured_peak() as inner:
                takes(5)
            with measured_peak() as later, pytest.raises(RuntimeError), measured_peak() as failed:
                takes(6)
                raise RuntimeError
            assert outer.mb == 9.0  # though the peak was set back since
            takes(30)
        assert (outer.mb, inner.mb, later.mb, failed.mb) == (30.0, 5.0, 6.0, 6.0)
        with measured_peak():
            takes(40)
        assert outer.mb == 30.0

    def test_it_is_rounded_to_tenths(self, files: dict[str, str], takes: Any) -> None:
        del takes
        with measured_peak() as peak:
            files["/proc/self/status"] = "VmHWM:\t 1234567 kB\n"
            assert peak.mb == 1205.6

    @pytest.mark.parametrize(("platform", "mb"), [("linux", 2048.1), ("darwin", 2.0)])
    @pytest.mark.parametrize("status", [None, "VmPeak: 5 kB\n"])
    def test_where_there_is_no_such_file_it_is_that_of_the_process(
        self,
        files: dict[str, str],
        takes: Any,
        monkeypatch: pytest.MonkeyPatch,
        platform: str,
        mb: float,
        status: str | None,
    ) -> None:
        del takes, files["/proc/self/status"]
        if status is not None:
            files["/proc/self/status"] = status

        def fails(*_: object) -> None:
            raise FileNotFoundError

        monkeypatch.setattr(Path, "write_text", fails)
        monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=2**21 + 100))
        monkeypatch.setattr(sys, "platform", platform)
        with measured_peak() as peak:
            assert peak.mb == mb
