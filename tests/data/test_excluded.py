"""Only train, test and sample must be readable: other files that are no tables are left out, and named."""

from __future__ import annotations

import gzip
import io
import random
import re
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.commands import Commands, Ended
from tests.conversion import SMALL_FILES, convert_in, listening, write_files, zip_bytes
from tests.wire import served
from workbench.core.errors import DamagedError, DataError, NotFoundError
from workbench.data.competition import read_manifest
from workbench.data.ingest import read_as_downloaded
from workbench.data.ingest.convert import convert
from workbench.data.ingest.sources import NO_OPTIONS, ReadOptions
from workbench.data.workspace import create_workspace


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.bin"), io.BytesIO())
    return out.getvalue()


SIDE: dict[str, tuple[str | bytes, str]] = {
    "extra.csv": ("", "it has no header: the file is empty"),
    "blank.csv": ("\n \n\n", "empty|no header"),
    "report.csv": ("Report of the quarter\n\nid,a,b\n1,2,3\n4,5,6\n", "line 3 has 3 fields, the header has 1"),
    "ragged.csv": ("a,b\n1,2\n3,4,5\n", "line 3 has 3 fields, the header has 2"),
    "open.csv": ('a,b\n1,"x\n2,y\n3,z\n', "line 2 opens a quote that is never closed"),
    "meta.json": ('{"a": [1, 2', "line 1, column 12"),
    "nothing.json": ("", ""),
    "events.jsonl": ('{"a": 1}\n{"a": \n', "line 2, column 7"),
    "labels.json": ('{"0": "cat", "1": "dog"}', "neither records nor columns"),
    "zeros.csv": (bytes(3000), "NUL bytes in its header"),
    "picture.csv": (b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(4000), ""),
    "table.parquet": (b"no Parquet at all", "(?i)parquet"),
    "cut.csv.gz": (gzip.compress(b"a,b\n" + b"1,2\n" * 9000)[:-30], "not a complete .gz file"),
    "train_notes.csv": ("Notes\nid,text,more\n1,a,b\n", "line 2 has 3 fields, the header has 1"),
    "test_info.parquet": (b"no Parquet at all", "(?i)parquet"),
}


@pytest.mark.parametrize("name", SIDE)
@pytest.mark.parametrize("packed", [False, True], ids=["on disk", "in the archive"])
def test_a_file_that_is_no_table_is_left_out(tmp_path: Path, name: str, packed: bool) -> None:
    content, reason = SIDE[name]
    files: dict[str, str | bytes] = {**SMALL_FILES, name: content, "good.csv": "k,v\n1,2\n"}
    manifest = convert_in(tmp_path, {"c.zip": zip_bytes(files)} if packed else files)
    assert sorted(manifest.tables) == ["good", "sample_submission", "test", "train"]
    (excluded,) = manifest.excluded.values()
    assert excluded.file == name
    assert re.search(reason, excluded.reason)
    assert str(tmp_path) not in excluded.reason
    assert manifest.tables["train"].dtypes == {"id": "Int64", "a": "Int64", "y": "Int64"}
    again = read_manifest(tmp_path / "tables", slug="c")
    assert again == manifest
    with pytest.raises(NotFoundError, match=f"no table .*: {re.escape(name)} was left out"):
        again.table(next(iter(again.excluded)), slug="c")


def test_all_of_them_at_once(tmp_path: Path) -> None:
    files = SMALL_FILES | {name: content for name, (content, _) in SIDE.items()}
    manifest = convert_in(tmp_path, files)
    assert sorted(manifest.tables) == ["sample_submission", "test", "train"]
    assert {e.file for e in manifest.excluded.values()} == set(SIDE)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("side.zip", zip_bytes({"train.csv": "x\n1\n", "a.png": b"1"}, password=True), "needs a password"),
        ("side.zip", b"PK\x03\x04 no archive", "not a complete zip archive"),
    ],
)
def test_an_archive_beside_the_data_may_be_locked_or_damaged(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    manifest = convert_in(tmp_path, {**SMALL_FILES, name: content})
    assert sorted(manifest.tables) == ["sample_submission", "test", "train"]
    assert manifest.tables["train"].rows == 40
    assert all(reason in e.reason for e in manifest.excluded.values())
    info = manifest.tables["sample_submission"]
    assert read_as_downloaded(tmp_path / "raw", replace(info, source="gone.csv"), NO_OPTIONS) is None


@pytest.mark.parametrize("name", SMALL_FILES)
@pytest.mark.parametrize("packed", [False, True], ids=["on disk", "in the archive"])
def test_train_test_and_sample_must_be_readable(tmp_path: Path, name: str, packed: bool) -> None:
    lines = SMALL_FILES[name].splitlines()
    files: dict[str, str | bytes] = {**SMALL_FILES, name: "\n".join([*lines[:9], "1,2,3,4", *lines[9:]]) + "\n"}
    fixed = tmp_path / "a b" / "fixed"
    options = ReadOptions({}, {}, fixed=fixed)
    with pytest.raises(DataError, match=rf"{name}.* line 10 has 4 fields") as caught:
        convert_in(tmp_path, {"c.zip": zip_bytes(files)} if packed else files, options=options)
    command = re.search("`(mkdir.*?)`", caught.value.hint)
    assert command is not None
    assert f"{'unzip -p' if packed else 'cp'} " in command[1]
    assert command[1].endswith(f"'{fixed}/{name}'")
    assert not (tmp_path / "tables" / "manifest.json").exists()
    # As the hint says: a copy there, fixed, is taken in its place.
    write_files(fixed, {name: SMALL_FILES[name]})
    manifest = convert(tmp_path / "raw", tmp_path / "tables", "c", options=options)
    assert manifest.tables[Path(name).stem].rows == SMALL_FILES[name].count("\n") - 1
    assert sorted(manifest.tables) == ["sample_submission", "test", "train"]
    (fixed / name).write_text(f"{lines[0]}\n1,2,3,4\n")
    with pytest.raises(DataError, match="line 2 has 4 fields") as caught:
        convert(tmp_path / "raw", tmp_path / "tables", "c", options=options)
    assert "it is your fixed copy" in caught.value.hint


@pytest.mark.parametrize(
    ("raw", "fixed"),
    [
        ({"train.csv.gz": gzip.compress(b"id,a,y\n1,2\n")}, "train.csv"),
        ({"data/train.csv": "id,a,y\n1,2\n"}, "train.csv"),
        ({"data/train.csv": "id,a,y\n1,2\n"}, "data/train.csv"),
        ({"train.csv.zip": zip_bytes({"other.csv": "id,a,y\n1,2\n"})}, "train.csv"),
        ({"c.zip": zip_bytes({"data/train.csv": "id,a,y\n1,2\n"})}, "train.csv"),
        ({"train.json": '[{"id": 1'}, "train.csv"),
        ({"train.csv": ""}, "train.csv.gz"),
    ],
)
def test_a_fixed_copy_stands_for_the_file_whatever_it_is_packed_in(
    tmp_path: Path, raw: dict[str, str | bytes], fixed: str
) -> None:
    rest = {n: c for n, c in SMALL_FILES.items() if n != "train.csv"}
    folder = "data/" if any("data/" in n for n in raw) or "c.zip" in raw else ""
    content = SMALL_FILES["train.csv"].encode()
    write_files(tmp_path / "fixed", {fixed: gzip.compress(content) if fixed.endswith("gz") else content})
    write_files(tmp_path / "fixed", {"more.csv": "k\n1\n2\n"})
    files = raw | {f"{folder}{n}": c for n, c in rest.items()}
    options = ReadOptions({}, {}, fixed=tmp_path / "fixed")
    manifest = convert_in(tmp_path, files, options=options)
    assert {n.rpartition("data_")[2] for n in manifest.tables} == {"train", "test", "sample_submission", "more"}
    (train,) = (i for n, i in manifest.tables.items() if n.endswith("train"))
    assert train.rows == 40
    assert train.content == convert_in(tmp_path, files, options=options, force=True).tables[train.name].content
    lying = read_as_downloaded(tmp_path / "raw", train, options)
    assert lying is not None
    assert lying.height == 40


def test_what_was_left_out_is_tried_again_only_when_it_changed(tmp_path: Path) -> None:
    said: list[str] = []
    files: dict[str, str | bytes] = {**SMALL_FILES, "extra.jsonl": '{"a": \n'}
    convert_in(tmp_path, files, context=listening(said))
    assert "converting extra" in said
    said.clear()
    assert "extra" in convert_in(tmp_path, {}, context=listening(said)).excluded
    assert said == []
    convert_in(tmp_path, {}, context=listening(said), force=True)
    assert "converting extra" in said
    assert convert_in(tmp_path, {"extra.jsonl": '{"a": 1}\n'}).excluded == {}


def test_a_table_that_the_definition_speaks_of_is_needed(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {**SMALL_FILES, "shops.csv": "a,b\n1,2,3\n", "old_train.csv": "a\n1,2\n"}
    for options in (ReadOptions({"shops": {"encoding": "utf-8"}}, {}), ReadOptions({}, {"shops.a": "String"})):
        with pytest.raises(DataError, match="shops.csv"):
            convert_in(tmp_path, files, options=options)
    assert set(convert_in(tmp_path, files).excluded) == {"shops", "old_train"}
    with pytest.raises(DataError, match="old_train.csv"):
        convert_in(tmp_path, files, options=ReadOptions({}, {}, roles={"train": "old_train"}))


def test_what_arrived_damaged_just_now_may_arrive_whole(tmp_path: Path) -> None:
    cut = gzip.compress(b"a,b\n" + b"1,2\n" * 9000)[:-30]
    with pytest.raises(DamagedError):
        convert_in(tmp_path, {**SMALL_FILES, "side.csv.gz": cut}, arrived=["side.csv.gz"])
    assert "side" in convert_in(tmp_path, {}).excluded
    # A member of an archive that is whole is as it is on the platform.
    other = tmp_path / "other"
    assert (
        "side"
        in convert_in(other, {"c.zip": zip_bytes({**SMALL_FILES, "side.csv.gz": cut})}, arrived=["c.zip"]).excluded
    )


def test_where_no_table_is_called_train_a_side_file_stops_nothing_either(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "events.csv": SMALL_FILES["train.csv"],
        "extra.csv": "",
        "notes.csv": "Notes\na,b\n1,2\n",
    }
    files["sample_submission.csv"] = SMALL_FILES["sample_submission.csv"]
    manifest = convert_in(tmp_path, files)
    assert sorted(manifest.tables) == ["events", "sample_submission"]
    assert sorted(manifest.excluded) == ["extra", "notes"]
    with pytest.raises(DataError, match=r"no file that can become a table: a\.csv: it has no header.*; b\.csv: line 2"):
        convert_in(tmp_path / "other", {"a.csv": "", "b.csv": "Notes\na,b\n"})


@pytest.mark.parametrize("packed", [False, True], ids=["on disk", "in the archive"])
@pytest.mark.parametrize("name", ["new/train.csv", "new/train.csv.gz"])
def test_the_hint_lays_the_copy_where_it_is_taken_though_folders_have_the_same_names(
    tmp_path: Path, packed: bool, name: str
) -> None:
    broken = SMALL_FILES["train.csv"].replace("3,3,6\n", "3,3,6,9\n").encode()
    files: dict[str, str | bytes] = {f"old/{n}": c for n, c in SMALL_FILES.items()}
    files[name] = gzip.compress(broken) if name.endswith("gz") else broken
    fixed = tmp_path / "fixed"
    options = ReadOptions({}, {}, fixed=fixed)
    with pytest.raises(DataError, match="line 5 has 4 fields") as caught:
        convert_in(tmp_path, {"c.zip": zip_bytes(files)} if packed else files, options=options)
    command = re.search("`(mkdir.*?)`", caught.value.hint)
    assert command is not None
    subprocess.run(command[1], shell=True, check=True)
    (copy,) = (p for p in fixed.rglob("*") if p.is_file())
    assert copy.read_bytes() == broken
    copy.write_text(SMALL_FILES["train.csv"])
    manifest = convert_in(tmp_path, {}, options=options)
    assert {n: i.rows for n, i in manifest.tables.items() if "train" in n} == {"old_train": 40, "new_train": 40}


def test_of_a_table_that_is_there_twice_a_copy_chooses_one(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {**SMALL_FILES, "train.json": '[{"id": 1'}
    fixed = tmp_path / "fixed"
    options = ReadOptions({}, {}, fixed=fixed)
    with pytest.raises(DataError, match="would all become table 'train'") as caught:
        convert_in(tmp_path, {"c.zip": zip_bytes(files)}, options=options)
    assert f"into {fixed}, as train.csv say" in caught.value.hint
    write_files(fixed, {"train.csv": SMALL_FILES["train.csv"]})
    assert convert_in(tmp_path, {}, options=options).tables["train"].rows == 40


@pytest.mark.slow
def test_from_fetch_to_submit(tmp_path: Path) -> None:
    """The archive comes again and again, with the same faults: the fixed copies stay, and side files stop nothing."""
    broken = SMALL_FILES["train.csv"].replace("3,3,6\n", "3,3,6,9\n")
    files: dict[str, str | bytes] = {**SMALL_FILES, "train.csv": broken, "extra.csv": "", "side.tar.gz": tarred()[:60]}
    files["locked.zip"] = zip_bytes({"a.png": b"1", "test.csv": "id\n"}, password=True)
    with served() as server:
        root = create_workspace(tmp_path / "ws").root
        commands = Commands(server, root, server.environment(tmp_path / "home"))

        def wb(*line: str) -> Ended:
            return commands.ended(commands.start(*line))

        server.host("c", {n: c.encode() if isinstance(c, str) else c for n, c in files.items()}, metric="RMSE")
        done = wb("fetch", "c")
        assert done.returncode == 1
        assert re.search(r"c\.zip: train\.csv can't be .*: line 5 has 4 fields", done.stderr)
        fixed = root / "competitions" / "c" / "data" / "fixed"
        write_files(fixed, {"train.csv": SMALL_FILES["train.csv"]})
        for again in ((), ("--force",), ()):
            done = wb("fetch", "c", *again)
            assert done.returncode == 0, done.stderr
            assert f"train from your fixed copy {fixed / 'train.csv'}" in done.stderr
            assert "skipped: extra.csv: it has no header: the file is empty" in done.stdout
            assert "skipped: locked.zip" in done.stdout
            assert "skipped: side.tar.gz" in done.stdout
        definition = (root / "competitions" / "c" / "competition.toml").read_text()
        assert "#   extra.csv: it has no header: the file is empty" in definition
        features = root / "competitions" / "c" / "features.py"
        for command in (("run", "1"), ("check",), ("submit", "1", "--dry-run", "--yes")):
            done = wb(*command)
            assert done.returncode == 0, done.stderr
        features.write_text(
            "from workbench.features import feature\n\n\n@feature\ndef f(rows, extra):\n    return rows\n"
        )
        done = wb("features", "--build")
        assert "extra.csv was left out, it has no header: the file is empty" in done.stdout + done.stderr
