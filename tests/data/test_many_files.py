"""What the conversion of many small files costs: counted, as its time depends on the machine."""

from __future__ import annotations

import gc
import weakref
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conversion import SMALL_FILES, convert_in, zip_bytes
from workbench.data.competition import Manifest
from workbench.data.ingest import convert, delimited
from workbench.data.ingest.shared_archive import MAX_OPEN, SharedArchive


def folder(parent: Path, n_tables: int) -> Path:
    """Return a new folder with train and that many side tables, which have a column of dates each."""
    raw = parent / f"raw{n_tables}"
    raw.mkdir()
    (raw / "train.csv").write_text("id,y\n1,0.5\n2,0.25\n")
    for i in range(n_tables):
        (raw / f"of_{chr(97 + i // 26)}{chr(97 + i % 26)}.csv").write_text(f"v{i},d{i}\n{i},13/01/2024\n")
    return raw


def packed(raw: Path) -> Path:
    """Return a folder in which the same files are members of one archive."""
    target = raw.with_name(f"{raw.name}-packed")
    target.mkdir()
    with zipfile.ZipFile(target / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(raw.iterdir()):
            archive.write(path, path.name)
    return target


def tables(raw: Path) -> Manifest:
    return convert(raw, raw.with_name(f"{raw.name}-tables"), "many", force=True)


class Calls:
    """Counts the calls of a function that it replaces."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.n, function = 0, getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.n += 1
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    def during(self, raw: Path) -> int:
        before = self.n
        tables(raw)
        return self.n - before


def test_the_directory_of_an_archive_is_read_as_often_for_40_members_as_for_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = packed(folder(tmp_path, 4)), packed(folder(tmp_path, 40))
    directories = Calls(monkeypatch, zipfile.ZipFile, "_RealGetContents")
    assert directories.during(few) == directories.during(many)


def test_a_member_is_converted_like_the_file(tmp_path: Path) -> None:
    raw = folder(tmp_path, 30)
    plain, unpacked = tables(raw).tables, tables(packed(raw)).tables
    assert plain.keys() == unpacked.keys()
    assert all((plain[n].source_sha256, plain[n].sha256) == (t.source_sha256, t.sha256) for n, t in unpacked.items())


def test_an_archive_that_was_replaced_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    shared = SharedArchive(path)
    for text in ("first", "other"):
        with zipfile.ZipFile(path.with_suffix(".new"), "w") as archive:
            archive.writestr("m", text)
        path.with_suffix(".new").replace(path)
        assert shared.opened().read("m") == text.encode()
    assert shared.opened() is shared.opened()


def test_of_many_archives_only_the_latest_stay_open(tmp_path: Path) -> None:
    archives = []
    for i in range(MAX_OPEN + 10):
        with zipfile.ZipFile(tmp_path / f"{i}.zip", "w") as archive:
            archive.writestr("m", f"text {i}")
        archives.append(SharedArchive(tmp_path / f"{i}.zip"))
    with archives[0].opened().open("m") as member:
        opened = [weakref.ref(archive.opened()) for archive in archives]
        assert [i for i, archive in enumerate(opened) if archive() is None] == list(range(1, 10))
        assert member.read() == b"text 0"
    del member
    assert opened[0]() is None
    assert [archive.opened().read("m") for archive in archives] == [f"text {i}".encode() for i in range(len(archives))]


@pytest.mark.parametrize(
    "content", ["Report\n\nid,a,b\n1,2,3\n", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "k\n1\n"]
)
def test_a_conversion_leaves_no_archive_open(tmp_path: Path, content: str | bytes) -> None:
    """Tracebacks of errors refer to it, so that it would stay open until garbage is collected."""
    gc.disable()
    try:
        convert_in(tmp_path, {"c.zip": zip_bytes({**SMALL_FILES, "side.csv": content})})
        links = [link for link in Path("/proc/self/fd").iterdir() if link.exists()]
        assert not [link for link in links if link.readlink().name == "c.zip"]
    finally:
        gc.enable()


def test_each_table_adds_to_the_evidence_of_all_a_fixed_number_of_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = folder(tmp_path, 5), folder(tmp_path, 50)
    columns = Calls(monkeypatch, delimited, "facts_of")
    n_few, n_many = columns.during(few), columns.during(many)
    assert n_few / (2 * 5 + 2) == n_many / (2 * 50 + 2)


def test_the_evidence_of_one_of_many_tables_counts_for_all(tmp_path: Path) -> None:
    raw = folder(tmp_path, 3)
    (raw / "open.csv").write_text("k,when\n1,01/02/2024\n2,03/04/2024\n")
    assert tables(raw).tables["open"].types == {"when": "Date %d/%m/%Y"}
    (raw / "contradicts.csv").write_text("w\n01/13/2024\n")
    assert tables(raw).tables["open"].types == {"when": "Date %m/%d/%Y"}
