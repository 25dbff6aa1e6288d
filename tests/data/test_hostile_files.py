"""Every hostile file through `fetch` itself: it ends soon, in little memory, with a table or a sentence, and outside
its folder nothing has changed."""

from __future__ import annotations

import random
import re
import signal
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl
import pytest

from tests.hostile_files import ARCHIVES, GOOD, LISTED, TABLES, member, tarred
from tests.in_memory_platform import SLUG, InMemoryPlatform
from workbench.core.context import RunContext, text_listener
from workbench.core.errors import DataError, WorkbenchError
from workbench.core.memory import measured_peak, used_bytes
from workbench.data.competition import load_competition, read_manifest
from workbench.data.ingest import fetch
from workbench.data.ingest.archives import check_members
from workbench.data.ingest.tars import tar_members
from workbench.data.workspace import Workspace

LIMIT_S = 20
LIMIT_MB = 600
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass
class Outcome:
    """How a fetch ended: what it reported, and its refusal."""

    root: Path
    reports: list[str]
    refusal: WorkbenchError | None
    peak_mb: float

    @property
    def said(self) -> str:
        refusal = "" if self.refusal is None else f"{self.refusal.message}\n{self.refusal.hint}"
        tables = self.folder / "data" / "tables"
        excluded = []
        if (tables / "manifest.json").exists():
            excluded = [f"{e.file}: {e.reason}" for e in read_manifest(tables, slug=SLUG).excluded.values()]
        return "\n".join([*self.reports, *excluded, refusal])

    @property
    def folder(self) -> Path:
        return self.root / "competitions" / SLUG


@contextmanager
def ends_soon() -> Iterator[None]:
    def too_late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"it takes more than {LIMIT_S} s of the processor")

    # Of the processor: a machine that is busy with other things is no fault of the file.
    before = signal.signal(signal.SIGPROF, too_late)
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.fixture
def fetched(tmp_path: Path) -> Callable[..., Outcome]:
    """Return a function that fetches files, and looks at everything that no file may change."""
    root = tmp_path / "around" / "bench"
    (root / "competitions").mkdir(parents=True)
    (tmp_path / "around" / "beside.txt").write_text("untouched")

    def run(files: dict[str, bytes], **facts: Any) -> Outcome:
        platform = InMemoryPlatform(files, **facts)
        reports: list[str] = []
        refusal: WorkbenchError | None = None
        outside = seen(tmp_path, root / "competitions")
        before_mb = used_bytes() / 2**20
        with ends_soon(), measured_peak() as peak:
            try:
                fetch(Workspace(root), SLUG, platform, context=RunContext((text_listener(reports.append),)))  # type: ignore[arg-type]
            except WorkbenchError as exc:
                refusal = exc
        outcome = Outcome(root, reports, refusal, peak.mb - before_mb)
        assert seen(tmp_path, root / "competitions") == outside
        harmless(outcome)
        return outcome

    return run


def seen(folder: Path, but: Path) -> dict[str, Any]:
    """Return everything below a folder but for one: names, sizes, contents."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in folder.rglob("*") if but not in p.parents}


def harmless(outcome: Outcome) -> None:
    """What was written is whole and ours, whatever was offered."""
    folder = outcome.folder
    for path in folder.rglob("*"):
        assert not path.is_symlink(), path
        assert path.is_file() or path.is_dir(), path
        assert not path.name.endswith((".tmp", ".partial")), path
        assert path.stat().st_nlink == 1 or path.is_dir(), path
        assert not CONTROL.search(path.name), path
    for path in (folder / "data" / "tables").glob("*.parquet"):
        pl.read_parquet(path, glob=False)
    for path in folder.rglob("*.toml"):
        if "data" not in path.relative_to(folder).parts:
            tomllib.loads(path.read_text(encoding="utf-8"))
    features = folder / "features.py"
    if features.exists():
        scope: dict[str, Any] = {}
        exec(compile(features.read_text(encoding="utf-8"), str(features), "exec"), scope)
    if outcome.refusal is None:
        definition = load_competition(Workspace(outcome.root), SLUG).definition
        assert definition.tables.train == "train"
    assert outcome.peak_mb < LIMIT_MB
    if outcome.refusal is not None:
        assert "\n" not in outcome.refusal.message


@pytest.mark.parametrize("case", ARCHIVES)
def test_an_archive(fetched: Callable[..., Outcome], case: str) -> None:
    name, make, says = ARCHIVES[case]
    data = make()
    name = f"{name}.gz" if data.startswith(b"\x1f\x8b") else f"{name}.xz" if data.startswith(b"\xfd7zXZ") else name
    outcome = fetched(GOOD | {"notes.md": b"the real one", name: data})
    if says:
        assert re.search(says, outcome.said), outcome.said
    else:
        assert outcome.refusal is None, outcome.said
        raw = outcome.folder / "data" / "raw"
        assert (raw / "notes.md").read_bytes() == b"the real one"
        assert (raw / name).read_bytes() == data
        assert (raw / "train.csv").read_bytes() == GOOD["train.csv"]


@pytest.mark.parametrize("case", TABLES)
def test_a_table(fetched: Callable[..., Outcome], case: str) -> None:
    make, says = TABLES[case]
    files = {n: d for n, d in (GOOD | make()).items() if d}
    outcome = fetched(files)
    if says:
        assert re.search(says, outcome.said), outcome.said
    else:
        assert outcome.refusal is None, outcome.said


@pytest.mark.parametrize("name", LISTED)
def test_a_name_that_is_listed(fetched: Callable[..., Outcome], name: str) -> None:
    outcome = fetched(GOOD | {name: GOOD["test.csv"]})
    assert outcome.refusal is not None
    assert re.search(LISTED[name], outcome.refusal.message), outcome.said
    assert not list(outcome.root.rglob("*.csv"))


@pytest.mark.parametrize(
    "text",
    [
        'x"\n[tables]\ntrain = "evil',
        "\x1b]0;evil\x07\x00\x08\x7f\x9b31m",
        "\ud800 half",
        "\u2028 # \u2029",
        "'''\"\"\"\\",
        "a\r[cv]\rscheme = 7",
    ],
)
@pytest.mark.parametrize("what", ["title", "description", "metric"])
def test_what_the_platform_says_of_itself(fetched: Callable[..., Outcome], what: str, text: str) -> None:
    outcome = fetched(GOOD, **{what: text})
    assert outcome.refusal is None, outcome.said
    assert not CONTROL.search((outcome.folder / "competition.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_tars_are_read_in_every_format(tmp_path: Path, form: int) -> None:
    names = ["a.csv", "n" * 100, "folder/" * 15 + "a.csv", "x" * 40 + "/" + "y" * 90]
    archive = tmp_path / "data.tar"
    archive.write_bytes(tarred(*map(member, names), form=form))
    assert [m.name for m in tar_members(archive)] == names


def test_times_of_gnu_are_no_folders(tmp_path: Path) -> None:
    """They stand where others have the folders of a long name."""
    block = bytearray(tarred(member("a.csv"), form=tarfile.GNU_FORMAT))
    block[345:357], block[148:156] = b"14000000000\0", b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    (tmp_path / "data.tar").write_bytes(block)
    assert [m.name for m in tar_members(tmp_path / "data.tar")] == ["a.csv"]


def test_a_large_member_is_refused_by_its_ratio_and_not_by_its_size(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("workbench.data.ingest.archives.MIN_DOWNLOAD_LIMIT_BYTES", 1000)
    for name, content in (("noise", random.Random(1).randbytes(50_000)), ("zeros", bytes(2_000_000))):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.csv", content)
    (member,) = check_members(tmp_path / "noise.zip", tmp_path / "out")
    assert member.file_size == 50_000
    with pytest.raises(DataError, match=r"zeros\.csv"):
        check_members(tmp_path / "zeros.zip", tmp_path / "out")
