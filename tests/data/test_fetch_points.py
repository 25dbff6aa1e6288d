"""`fetch` struck at every change that it makes: killed, torn, with a disk that is full or fails.

Whatever it left, the next fetch makes the same tables and files of it, and nothing half-written is taken for whole.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl
import pytest

from tests.faults import Bench
from tests.hostile_files import GOOD, member, tarred, zipped
from tests.in_memory_platform import SLUG, InMemoryPlatform
from workbench.data.ingest import fetch
from workbench.data.workspace import Workspace

FILES = GOOD | {
    "images.zip": zipped(("images/1.png", b"first"), ("images/2.png", b"second")),
    "more.tar": tarred(member("more/3.png", b"third"), member("more/4.png", b"fourth")),
}
EXPLAINED = ["StorageError", "returned"]


def bring(folder: Path) -> None:
    fetch(Workspace(folder), SLUG, InMemoryPlatform(dict(FILES)))  # type: ignore[arg-type]


def brought(folder: Path) -> dict[str, str]:
    """Return what a fetch brought: tables by their values, files by their bytes."""
    data = folder / "competitions" / SLUG / "data"
    tables = {p.stem: pl.read_parquet(p).write_csv() for p in (data / "tables").glob("*.parquet")}
    files = [p for p in (data / "raw").rglob("*") if p.is_file() and not p.name.startswith(".")]
    digests = {p.relative_to(data).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    left = {str(p) for p in data.rglob("*.tmp")}
    return tables | digests | dict.fromkeys(left, "left")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    ready = tmp_path / "bench"
    (ready / "competitions").mkdir(parents=True)
    return Bench(bring, ready, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["kill", *(pytest.param(h, marks=pytest.mark.slow) for h in ("torn", "ENOSPC", "EIO", "interrupt"))]
)
def test_a_fetch_that_is_struck_is_made_good_by_the_next(bench: Bench, how: str) -> None:
    whole = bench.copy()
    assert bench.again(whole)[0] == "returned"
    expected = brought(whole)
    assert len(expected) == 3 + 5 + 4
    ends = {"kill": ["killed"], "torn": ["killed"], "interrupt": ["KeyboardInterrupt"]}.get(how, EXPLAINED)
    wrong, n_struck = [], 0
    for struck in bench.each(how):
        n_struck += 1
        # In this process: forking anew for what is not struck would take most of the time.
        bring(struck.folder)
        if struck.ended not in ends or brought(struck.folder) != expected:
            differing = sorted(brought(struck.folder).items() ^ expected.items())
            wrong.append(f"{struck}: {differing}")
    assert not wrong, "\n".join(wrong)
    assert n_struck > (10 if how == "torn" else 40)
