"""Bundles and the inputs of a notebook: which files they are, where they are looked for, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from workbench.core.errors import DamagedError, NotFoundError
from workbench.models.serving import (
    MANIFEST,
    RECEIPT,
    find_bundle,
    find_data,
    flat_name,
    read_bundle,
    receipt,
)

FILES = {
    "models/t0-f0-s1.txt": "a",
    "models/t1-all-s2.txt": "b",
    "models/columns.json": "{}",
    "models/t0-f0-s1.txt.bak": "c",
    "competition/competition.toml": "d",
    "competition/lib/text/clean.py": "e",
    "competition/lookup.csv.gz": "f",
    "competition/lib/__init__.py": "",
}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def packed(folder: Path, *, flat: bool = False, without: tuple[str, ...] = (), **change: Any) -> Path:
    """Write a bundle as it is made, or flat as a dataset has it."""
    manifest = {"format": 1, "slug": "c", "exp": "7", "run_id": "r", "spec": {"kind": "model"}, "folds": "f"}
    manifest |= {"files": {name: digest(text) for name, text in FILES.items()}} | change
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))
    for name, text in FILES.items():
        path = folder / (flat_name(name) if flat else name)
        if name not in without and text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return folder


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the inputs of a notebook."""
    folder = tmp_path / "input"
    folder.mkdir()
    monkeypatch.setenv("KAGGLE_CACHE_MOUNT_FOLDER", str(folder))
    return folder


@pytest.mark.parametrize("flat", [False, True])
def test_a_bundle_is_read_as_it_was_packed(tmp_path: Path, flat: bool) -> None:
    bundle = read_bundle(packed(tmp_path, flat=flat))
    assert (bundle.slug, bundle.exp, bundle.run_id, bundle.spec, bundle.folds) == ("c", 7, "r", {"kind": "model"}, "f")
    assert {name: path.read_text() for name, path in bundle.files.items()} == FILES
    assert bundle.models == ("t0-f0-s1.txt", "t1-all-s2.txt")
    models = ["columns.json", "t0-f0-s1.txt", "t0-f0-s1.txt.bak", "t1-all-s2.txt"]
    assert sorted(bundle.learned) == models
    code = ["competition.toml", "lib/__init__.py", "lib/text/clean.py", "lookup.csv.gz"]
    assert sorted(name for name, _ in bundle.code()) == code


@pytest.mark.parametrize(
    ("name", "flat"),
    [
        ("a.txt", "a.txt"),
        ("models/a.txt", "a.txt"),
        ("x/a/b.py", "a--b.py"),
        ("models/a.ZIP", "a.ZIP.packed"),
        ("a.tar", "a.tar.packed"),
        ("a.zipped", "a.zipped"),
    ],
)
def test_a_datasets_names_have_no_folders(name: str, flat: str) -> None:
    assert flat_name(name) == flat


@pytest.mark.parametrize("key", ["format", "slug", "exp", "run_id", "spec", "folds", "files"])
def test_a_manifest_that_lacks_something_is_damaged(tmp_path: Path, key: str) -> None:
    with pytest.raises(DamagedError, match=rf"{MANIFEST} is missing or damaged: '{key}'\n`wb kernel build` makes"):
        read_bundle(packed(tmp_path, **{key: None}))


def test_what_is_no_manifest_or_another_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="is missing or damaged: .*No such file"):
        read_bundle(tmp_path)
    for change in ({"exp": "x"}, {"files": 3}):
        with pytest.raises(DamagedError, match="is missing or damaged"):
            read_bundle(packed(tmp_path, **change))
    for made_as in (0, 2):
        with pytest.raises(DamagedError, match=f"has the format {made_as}; this version reads 1\nbuild and push"):
            read_bundle(packed(tmp_path, format=made_as))
    for name in ("/etc/passwd", "../x", "models/../../x"):
        with pytest.raises(DamagedError, match=f"names a file outside its folder: '{name}'"):
            read_bundle(packed(tmp_path, files={"models/a.txt": digest("a"), name: digest("a")}))
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(DamagedError, match="is missing or damaged"):
        read_bundle(tmp_path)


def test_files_are_told_by_their_digest(tmp_path: Path) -> None:
    packed(tmp_path)
    (tmp_path / "models" / "t0-f0-s1.txt").write_text("other")
    with pytest.raises(DamagedError, match=r"t0-f0-s1.txt is not what was packed\n`wb kernel push`"):
        read_bundle(tmp_path)
    (tmp_path / "t0-f0-s1.txt").write_text("a")  # the flat one is the one that was packed
    assert read_bundle(tmp_path).files["models/t0-f0-s1.txt"] == tmp_path / "t0-f0-s1.txt"
    for path in (tmp_path / "t0-f0-s1.txt", tmp_path / "models" / "t0-f0-s1.txt"):
        path.unlink()
    with pytest.raises(DamagedError, match=r"models/t0-f0-s1.txt is missing\n`wb kernel push`"):
        read_bundle(tmp_path)


def test_wheels_are_not_looked_for_and_empty_files_are_no_files(tmp_path: Path) -> None:
    files = {"wheels/a.whl": digest("gone"), "competition/lib/__init__.py": digest("")}
    bundle = read_bundle(packed(tmp_path, files=files))
    assert bundle.files == {"competition/lib/__init__.py": Path(os.devnull)}


PLACES = ["datasets/me/base", "datasets/me/base/in", "notebooks/me/base", "notebooks/me/base/in", "base", "base/in"]


@pytest.mark.parametrize("place", PLACES)
def test_what_did_not_change_lies_in_another_dataset(inputs: Path, tmp_path: Path, place: str) -> None:
    own = packed(inputs / "bundle", without=("models/t1-all-s2.txt",))
    other = packed(inputs / place, flat=True)
    assert read_bundle(own).files["models/t1-all-s2.txt"] == other / "t1-all-s2.txt"
    elsewhere = packed(tmp_path / "bundle", without=("models/t1-all-s2.txt",))  # no input: it has to be whole
    with pytest.raises(DamagedError, match=r"t1-all-s2.txt is missing"):
        read_bundle(elsewhere)


def test_deeper_is_not_looked(inputs: Path) -> None:
    own = packed(inputs / "bundle", without=("models/t1-all-s2.txt",))
    packed(inputs / "datasets" / "me" / "base" / "in" / "deeper")
    with pytest.raises(DamagedError, match=r"bundle/models/t1-all-s2.txt is missing"):
        read_bundle(own)


@pytest.mark.parametrize("place", PLACES)
def test_a_bundle_is_found_by_its_manifest(inputs: Path, place: str) -> None:
    assert find_bundle() is None
    (inputs / "aaa").mkdir()
    (inputs / MANIFEST).write_text("")  # in no folder of an input
    (inputs / "aaa" / "file").write_text("")
    assert find_bundle() is None
    packed(inputs / place)
    assert find_bundle() == inputs / place


def test_the_competitions_files_are_found_or_what_there_is_is_said(inputs: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no files of 'c' in .*, which has nothing\nadd the competition"):
        find_data("c")
    (inputs / "competitions" / "other").mkdir(parents=True)
    (inputs / "mine").mkdir()
    with pytest.raises(NotFoundError, match="which has competitions/other, competitions, mine\n"):
        find_data("c")
    (inputs / "c").mkdir()
    assert find_data("c") == inputs / "c"
    (inputs / "competitions" / "c").mkdir()
    assert find_data("c") == inputs / "competitions" / "c"


def test_a_receipt_says_of_which_push_and_run_a_submission_is(tmp_path: Path) -> None:
    submission = tmp_path / "out" / "submission.csv"
    submission.parent.mkdir()
    submission.write_text("id,y\n")
    receipt(packed(tmp_path / "bundle"), submission, "push 3")
    told = json.loads((submission.parent / RECEIPT).read_text())
    assert told == {"push": "push 3", "run_id": "r", "file": "submission.csv", "sha256": digest("id,y\n")}
