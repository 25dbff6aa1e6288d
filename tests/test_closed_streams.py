"""Commands whose output goes nowhere: closed streams, a full disk behind `>`, a reader that has gone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small import Small, make_small

BASELINE = 'title = "t"\nfeatures = ["rows"]\nseeds = [1]\n[model]\nnum_iterations = 5\n'


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    made = make_small(tmp_path_factory.mktemp("closed"), n_rows=200)
    made.experiment(1, BASELINE)
    made.open.run(1)
    return made


def shell(small: Small, command: str, redirected: str) -> subprocess.CompletedProcess[str]:
    line = f"{sys.executable} -m workbench {command} {redirected}"
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=small.folder, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("redirected", [">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full", "| head -0"])
@pytest.mark.parametrize("command", ["table", "table --json", "show 1", "features", "--help", "run 1 --force"])
def test_what_can_not_be_printed_stops_nothing(small: Small, command: str, redirected: str) -> None:
    ran = shell(small, command, redirected)
    assert "Traceback" not in ran.stdout + ran.stderr
    assert "Exception ignored" not in ran.stderr
    assert ran.returncode == 0


@pytest.mark.parametrize("command", ["table", "table --json"])
def test_an_answer_that_a_full_disk_cuts_is_said(small: Small, command: str) -> None:
    ran = shell(small, command, "> /dev/full")
    assert ran.returncode == 1
    assert "no space left" in ran.stderr.lower()
    assert "Traceback" not in ran.stderr


def test_what_is_printed_gets_into_no_file_of_a_run(small: Small) -> None:
    before = {p.name for p in (small.folder / "runs").iterdir()}
    assert shell(small, "run 1 --force", ">&- 2>&-").returncode == 0
    (run,) = [p for p in (small.folder / "runs").iterdir() if p.name not in before]
    assert json.loads((run / "run.json").read_text())["record"]["status"] == "finished"
    ran = shell(small, "table", "")
    assert ran.returncode == 0


def test_a_journal_is_read_with_blank_lines_and_without_its_torn_end(tmp_path: Path) -> None:
    from workbench.errors import DamagedError
    from workbench.tuning.study import _mend

    entries = [json.dumps({"op_code": i, "worker_id": "w", "n": i}).encode() + b"\n" for i in range(4)]
    path = tmp_path / "journal.log"
    for damaged in (
        [*entries, b"\n"],
        [entries[0], b"\n", *entries[1:]],
        [*entries, b'{"op_code": 4, "wor'],
        [*entries, b"\x00\x00\x00\n", b"\x00"],
        [b" \n", *entries, b"[]\n"],
    ):
        path.write_bytes(b"".join(damaged))
        _mend(path)
        assert path.read_bytes() == b"".join(entries)
    for garbage in (b"\x00\x00\n", b'{"op_code": 1, "wo\n', b"{}\n"):
        path.write_bytes(b"".join([*entries[:2], garbage, *entries[2:]]))
        with pytest.raises(DamagedError, match=r"line 3 of 5 is damaged"):
            _mend(path)
        assert garbage in path.read_bytes()
    path.write_bytes(b"")
    _mend(path)
    assert path.read_bytes() == b""
