"""Files that are packed though their names do not say so, and definitions with a byte order mark."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conversion import SMALL_FILES, convert_in, listening, zip_bytes
from workbench.core.errors import ConfigError, DataError
from workbench.data.competition import in_toml, read_toml
from workbench.data.ingest import convert
from workbench.experiments.tuned_parameters import as_toml_lines
from workbench.rehearsal import RehearsalSpec, create
from workbench.rehearsal.host import host_text, read_host

CSV = SMALL_FILES["train.csv"].encode()
PACKED = {
    ".gz": gzip.compress(CSV),
    ".bz2": bz2.compress(CSV),
    ".xz": lzma.compress(CSV),
    ".zip": zip_bytes({"anything.csv": CSV}),
}


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("in_archive", [False, True])
def test_a_packed_file_called_csv_is_read_and_it_is_said(tmp_path: Path, suffix: str, in_archive: bool) -> None:
    said: list[str] = []
    files: dict[str, str | bytes] = {**SMALL_FILES, "train.csv": PACKED[suffix]}
    files = {"c.zip": zip_bytes(files)} if in_archive else files
    assert convert_in(tmp_path, files, context=listening(said)).tables["train"].rows == 40
    assert any(f"train.csv is packed as {suffix}, although its name does not say so" in line for line in said)


@pytest.mark.parametrize("suffix", PACKED)
def test_a_rehearsal_reads_it_too(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "all.csv").write_bytes(PACKED[suffix])
    folder = create(tmp_path, "c", RehearsalSpec(tmp_path / "all.csv", ("y",), "rmse", 0.3))
    assert len((folder / "files" / "train.csv").read_text().splitlines()) == 29


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            zip_bytes({"a.csv": CSV, "b.csv": CSV}),
            r"train\.csv is a zip archive, whatever its name says, and has 2 files",
        ),
        (zip_bytes({"[Content_Types].xml": "", "xl/workbook.xml": ""}), r"train\.csv is a workbook of Excel"),
        (zip_bytes({"a.csv": CSV}, password=True), r"train\.csv is a zip archive.* needs a password"),
    ],
)
def test_what_can_not_be_read_so_is_said(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        convert_in(tmp_path, {**SMALL_FILES, "train.csv": content})


def test_a_definition_may_begin_with_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "competition.toml"
    path.write_bytes(b"\xef\xbb\xbf" + b'slug = "c"\n')
    assert read_toml(path) == {"slug": "c"}
    path.write_bytes('slug = "é"\n'.encode("utf-16"))
    with pytest.raises(ConfigError, match=r"(?s)competition\.toml is not written in UTF-8.*save it as UTF-8"):
        read_toml(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "9" * 5000, "has too many digits"),
        ("a = [0x" + "f" * 5000 + "]", "has too many digits"),
        ("a = " + "[" * 3000 + "]" * 3000, "nested more than 50 deep"),
        ("a = " + "{ a = " * 60 + "1" + " }" * 60, "nested more than 50 deep"),
        ("a" + ".a" * 1500 + " = 1", "nested more than 50 deep"),
    ],
)
def test_a_definition_that_nobody_would_write_is_explained(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "competition.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"competition\.toml: .*{says}"):
        read_toml(path)


plain = st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)


@settings(deadline=None, max_examples=60)
@given(st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_what_is_written_as_toml_is_read_as_it_was(value: Any) -> None:
    assert tomllib.loads(f"a = {in_toml(value)}") == {"a": value}


def test_names_beyond_the_first_plane_come_through_every_file(small) -> None:
    """JSON has two characters for one of them, which TOML takes for none."""
    made = small(n_rows=200)
    name = '👍 "\x7f\\'
    path = made.open.experiments.new(title=name)
    assert read_toml(path)["title"] == name
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(node, made.workspace.root / "a.ipynb")
    _, adopted, _ = made.open.experiments.adopt(made.workspace.root / "a.ipynb", title=name, submission=name)
    assert read_toml(adopted)["notebook"]["submission"] == name
    assert tomllib.loads(as_toml_lines({"monotone_constraints": {name: 1}})) == {"monotone_constraints": {name: 1}}
    host = replace(read_host(made.folder / "rehearsal"), classes=[[name, "b"]], title=name)
    (made.workspace.root / "host.toml").write_text(host_text(host), encoding="utf-8")
    assert read_host(made.workspace.root) == host


NAMED = [b'{"k%d": 1}' % i for i in range(4000)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.json", b"[" + b",".join(NAMED) + b"]"),
        ("train.json", b'{"data": [' + b",".join(NAMED) + b"]}"),
        ("train.json", b"{" + b",".join(b'"r%d": %b' % (i, one) for i, one in enumerate(NAMED)) + b"}"),
        ("train.json", b'[{"a": [' + b",".join(NAMED) + b"]}]"),
        ("train.jsonl", b"\n".join(NAMED)),
        ("train.jsonl", b'{"a": [' + b",".join(NAMED) + b"]}\n"),
    ],
)
def test_objects_with_names_of_their_own_do_not_fill_the_memory(tmp_path: Path, name: str, content: bytes) -> None:
    """60 KB became 2 GB: a cell for each name in each row."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / name).write_bytes(content)
    with pytest.raises(DataError, match=r"objects have [34],\d{3} names between them, too many for the columns"):
        convert(tmp_path / "raw", tmp_path / "tables", "c")


def test_many_names_that_are_had_are_columns(tmp_path: Path) -> None:
    row = b"{" + b",".join(b'"k%d": %d' % (i, i) for i in range(700)) + b"}"
    content = {"a.json": b"[" + b",".join([row] * 40) + b"]", "b.jsonl": b"\n".join([row] * 40)}
    (tmp_path / "raw").mkdir()
    for name, text in content.items():
        (tmp_path / "raw" / name).write_bytes(text)
    tables = convert(tmp_path / "raw", tmp_path / "tables", "c").tables
    assert [(len(t.dtypes), t.rows) for t in tables.values()] == [(700, 40), (700, 40)]
