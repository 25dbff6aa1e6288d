"""`wb doctor`: each line is an honest ok, note or BAD."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from workbench.api import health, library
from workbench.cli.workspace import doctor_command
from workbench.core.errors import PlatformError, UnansweredError, UnreachableError
from workbench.data.workspace import create_workspace
from workbench.platforms.kaggle import login_state


def lines(where: Any = None) -> dict[str, tuple[str, str]]:
    return {c["name"]: (c["level"], c["detail"]) for c in library.doctor(where)["checks"]}


class TestTheWorkspace:
    def test_outside_of_one_nothing_is_wrong(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        level, detail = lines()["workspace"]
        assert level == "note"
        assert "`wb init DIR` creates one" in detail
        done = CliRunner().invoke(doctor_command, standalone_mode=False)
        assert "note workspace" in done.output
        assert ("BAD" in done.output) == any(level == "bad" for level, _ in lines().values())

    def test_one_that_is_named_and_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("WB_WORKSPACE", str(tmp_path / "nowhere"))
        level, detail = lines()["workspace"]
        assert level == "bad"
        assert (
            detail
            == f"WB_WORKSPACE={tmp_path}/nowhere has no folder competitions/. `wb init {tmp_path}/nowhere` makes it"
        )

    def test_a_fresh_one(self, tmp_path: Path) -> None:
        found = lines(create_workspace(tmp_path))
        assert {found[name][0] for name in ("workspace", "disk", "writable", "ledger")} == {"ok"}

    def test_the_level_decides_the_exit_code(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        create_workspace(tmp_path)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(health, "other_workbench", lambda: None)
        assert CliRunner().invoke(doctor_command, standalone_mode=False).return_value == 0
        (tmp_path / "submissions" / "ledger.db").write_bytes(b"damaged" * 1000)
        done = CliRunner().invoke(doctor_command, ["--json"], standalone_mode=False)
        assert done.return_value == 1
        told = json.loads(done.stdout)
        assert not told["ok"]
        assert [c["name"] for c in told["checks"] if c["level"] == "bad"] == ["ledger"]
        assert all(c["ok"] == (c["level"] != "bad") for c in told["checks"])


class TestACompetition:
    @pytest.mark.parametrize(
        ("damage", "level", "said"),
        [
            (lambda f: None, "ok", "4 tables"),
            (lambda f: (f / "competition.toml").unlink(), "note", "not fetched yet: `wb fetch small`"),
            (lambda f: shutil.rmtree(f / "data"), "note", "without data: `wb fetch small`"),
            (lambda f: (f / "competition.toml").write_text('[tables]\ntrain = "train"\n'), "note", "completes it"),
            (lambda f: _replace(f, 'metric = "auc"', 'metric = "acc"'), "bad", "did you mean 'accuracy'"),
            (lambda f: _replace(f, 'target = "y"', 'target = "Y"'), "bad", "did you mean 'y'"),
            (lambda f: _replace(f, 'train = "train"', 'train = "trian"'), "bad", "did you mean 'train'"),
            (lambda f: _replace(f, 'metric = "auc"', 'metric = "m.py:s"\ngreater_is_better = true'), "bad", "missing"),
            (lambda f: _replace(f, "task =", "tsak ="), "bad", "the key 'task' is missing"),
            (lambda f: (f / "data/tables/test.parquet").unlink(), "bad", "test.parquet is missing"),
            (lambda f: (f / "data/tables/test.parquet").write_bytes(b"x"), "bad", "is damaged"),
            (lambda f: _truncate(f / "data/tables/train.parquet"), "bad", "table 'train' is damaged"),
            (lambda f: _overwrite(f / "data/tables/towns.parquet"), "bad", "table 'towns' is damaged"),
        ],
    )
    def test_each_state(self, small: Any, damage: Any, level: str, said: str) -> None:
        made = small()
        damage(made.folder)
        found = lines(made.workspace)["competition small"]
        assert found[0] == level
        assert said in found[1]


def test_a_damaged_table_is_named_by_the_command(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small()
    _overwrite(made.folder / "data/tables/train.parquet")
    monkeypatch.chdir(made.workspace.root)
    done = CliRunner().invoke(doctor_command, ["--json"], standalone_mode=False)
    assert done.return_value == 1
    (bad,) = [c for c in json.loads(done.stdout)["checks"] if c["name"] == "competition small"]
    assert bad["level"] == "bad"
    assert "table 'train' is damaged" in bad["detail"]


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _overwrite(path: Path) -> None:
    """Change one byte of the values, and neither the size nor the time: what a worn disk does."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(folder: Path, old: str, new: str) -> None:
    path = folder / "competition.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("free_gb", "level", "said"), [(50.0, "ok", ""), (3.0, "note", "wb cache --prune"), (0.1, "bad", "nothing can be")]
)
def test_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gb: float, level: str, said: str) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 0, int(free_gb * 2**30)))
    (found,) = [c for c in health.run_checks(create_workspace(tmp_path)) if c["name"] == "disk"]
    assert (found["level"], said in found["detail"]) == (level, True)


class TestTheLogin:
    def state(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> tuple[bool, bool, str]:
        monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_x")

        def ask() -> None:
            if error is not None:
                raise error

        state = login_state(ask)
        return state.ok, state.is_note, state.detail

    def test_none_is_a_note(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_TOKEN", "KAGGLE_CONFIG_DIR"):
            monkeypatch.delenv(name, raising=False)
        state = login_state(lambda: None)
        assert (state.ok, state.is_note) == (True, True)

    @pytest.mark.parametrize(
        ("error", "ok", "is_note", "said"),
        [
            (None, True, False, "accepted"),
            (UnreachableError("Kaggle can't be reached", hint="check the network"), True, True, "is not known"),
            (UnansweredError("no answer"), True, True, "is not known"),
            (PlatformError("Kaggle does not accept the login"), False, False, "does not accept"),
        ],
    )
    def test_what_kaggle_says(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception | None, ok: bool, is_note: bool, said: str
    ) -> None:
        found = self.state(monkeypatch, error)
        assert found[:2] == (ok, is_note)
        assert said in found[2]
