"""The checks of `make release`, and a release."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tests.release import (
    ROOT,
    metadata_problems,
    publication_problems,
    sdist_problems,
    version,
    wheel_problems,
    write_flats,
)
from workbench.core.distribution import distribution_version

FILES = ["workbench/__init__.py", "workbench/py.typed", "kaggle_workbench.py"]
INFO = [
    f"kaggle_workbench-1.0.dist-info/{n}"
    for n in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
]
SOURCES = ["LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"]
METADATA = """Name: kaggle-workbench
Version: 1.0
License-Expression: MIT
Requires-Python: >=3.11
Description-Content-Type: text/markdown

# The workbench
"""
ENTRY = "[console_scripts]\nwb = kaggle_workbench:main\n"


def test_the_version_is_in_one_place() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", version())
    assert distribution_version() == version()
    code = [*(ROOT / "workbench").rglob("*.py"), ROOT / "kaggle_workbench.py"]
    assert [p.name for p in code if "__version__ =" in p.read_text()] == []


def test_the_content_of_a_wheel() -> None:
    assert wheel_problems([*FILES, *INFO], FILES) == []
    assert wheel_problems([*FILES, *INFO, "tests/small.py"], FILES) == ["tests/small.py does not belong into the wheel"]
    assert wheel_problems([*FILES, *INFO, "competitions/a/b.toml"], FILES) == [
        "competitions/a/b.toml does not belong into the wheel"
    ]
    assert wheel_problems([*FILES, *INFO, "workbench/old.py"], FILES) == ["workbench/old.py is not in the repository"]
    assert wheel_problems([*FILES[:1], *FILES[2:], *INFO], FILES) == ["workbench/py.typed is missing"]
    assert wheel_problems([*FILES, *INFO[:4]], FILES) == ["licenses/LICENSE of the metadata is missing"]


def test_the_content_of_a_source_distribution() -> None:
    names = [f"kaggle_workbench-1.0/{n}" for n in (*FILES, *SOURCES)]
    assert sdist_problems(names, FILES) == []
    assert sdist_problems(names[:-1], FILES) == ["PKG-INFO is missing"]
    assert sdist_problems([*names, "kaggle_workbench-1.0/tests/small.py"], FILES) == [
        "tests/small.py does not belong into the source distribution"
    ]


def test_the_metadata() -> None:
    assert metadata_problems(METADATA, ENTRY, "1.0") == []
    assert metadata_problems(METADATA, ENTRY, "1.1") == ["Version of the metadata is '1.0', expected '1.1'"]
    assert metadata_problems(METADATA, "", "1.0") == ["the command wb is not an entry point"]
    assert metadata_problems(METADATA.replace("# The", "The"), ENTRY, "1.0") == ["the description is not the README"]


@pytest.mark.parametrize(
    ("changelog", "tag", "changes", "problem"),
    [
        ("# C\n\n## 1.0 (2026-12-01)\n\nNew.\n\n## 0.9\n\nOld.\n", "v1.0", "", None),
        ("# C\n\n## Unreleased\n\n## 1.0 (2026-12-01)\n\nNew.\n", "v1.0", "", None),
        ("# C\n\n## 1.0 (2026-12-01)\n\nNew.\n", "v1.1", "", "the version in pyproject.toml is 1.0, the tag v1.1"),
        ("# C\n\n## 1.0 (2026-12-01)\n\nNew.\n", "v1.0", " M a.py\n", "not committed would not be in it:\n M a.py"),
        ("# C\n\n## 1.0\n\nNew.\n", "v1.0", "", 'no text under a heading "## 1.0 (YYYY-MM-DD)"'),
        ("# C\n\n## 1.0 (2026-12-01)\n\n## 0.9\n\nOld.\n", "v1.0", "", "no text under a heading"),
        ("# C\n\n## Unreleased\n\nMore.\n\n## 1.0 (2026-12-01)\n\nNew.\n", "v1.0", "", 'changes under "Unreleased"'),
    ],
)
def test_what_stands_against_publishing(changelog: str, tag: str, changes: str, problem: str | None) -> None:
    problems = publication_problems(changelog, "1.0", tag, changes)
    assert len(problems) == (problem is not None)
    assert problem is None or problem in problems[0]


def test_the_table_that_is_tried_out_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_flats(tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    rows = [*csv.DictReader((tmp_path / "a.csv").read_text().splitlines())]
    assert 100 < sum(row["dear"] == "1" for row in rows) < len(rows) - 100
