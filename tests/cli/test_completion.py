"""Completion as real shells ask for it: candidates, their descriptions, speed, and silence."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from tests.needs import needs_fish, needs_zsh, program, skip_unless
from workbench.cli.app import wb
from workbench.cli.commands import CommandGroup
from workbench.cli.completion import SHELLS

BIN = Path(sys.executable).parent
BASH = """
eval "$(wb completion bash)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
_wb_completion wb "${COMP_WORDS[-1]}" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=""; autoload -Uz compinit; compinit -u; eval "$(wb completion zsh)"; print re''ady'
zpty -r shell line '*ready*'
zpty -n -w shell "$1"$'\\t'
zpty -r shell line '*more*'
print -r -- "$line"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with three competitions, one of them with experiments; nothing of it is valid but the names."""
    for slug in ("house-prices", "house-rents", "titanic"):
        folder = tmp_path / "competitions" / slug
        (folder / "experiments").mkdir(parents=True)
        (folder / "competition.toml").write_text("not even TOML")
    for number, text in ((1, 'title = "baseline: all, as it is"'), (2, "broken ["), (12, "base = 2\ntitle = 'more'")):
        (tmp_path / f"competitions/house-prices/experiments/{number:03d}.toml").write_text(text + "\n[model]\nx = 1\n")
    return tmp_path


def shell(place: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    variables = {k: v for k, v in os.environ.items() if k != "WB_COMPETITION"} | {"PATH": path, "TERM": "xterm"}
    return subprocess.run(
        command, cwd=place, env=variables | environment, capture_output=True, text=True, check=False, timeout=60
    )


def bash(place: Path, line: str, listing: str = "9") -> list[str]:
    skip_unless(program("bash"), "bash")
    words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
    done = shell(place, "bash", "--norc", "-c", BASH, "bash", *words, COMP_TYPE=listing)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    "name", ["$(touch ran)", "`touch ran`", "a;touch ran", "-x", "a b", "a&b", "~", "a\u202eb", "*"]
)
def test_a_competition_whose_name_a_shell_would_run_is_not_offered(place: Path, name: str) -> None:
    """What completes a line is run by the next key."""
    (place / "competitions" / name).mkdir()
    (place / "competitions" / name / "competition.toml").touch()
    assert bash(place, "wb table -c ") == ["house-prices", "house-rents", "titanic"]


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("wb ru", ["run"]),
        ("wb sub", ["submit", "submissions"]),
        ("wb kernel p", ["push"]),
        ("wb run --me", ["--memory-limit"]),
        ("wb completion ", ["bash", "zsh", "fish"]),
        ("wb table -c ho", ["house-prices", "house-rents"]),
        ("wb fetch ti", ["titanic"]),
        ("wb run -c house-p ", ["1", "2", "12"]),
        ("wb run -c house-prices 1", ["1", "12"]),
        ("wb run -c house-p 2,1", ["2,1", "2,12"]),
        ("wb run -c house-p 2 1", ["1", "12"]),
        ("wb submit -c house-p --exp ", ["1", "2", "12"]),
        ("wb submit -c house-p --exp = 2", ["2"]),  # bash parts the words at the sign
        ("wb tune -c house-p --show ", ["1", "2", "12"]),
        ("wb check -c house-p 12", ["12"]),
        ("wb notebook new -c house-p --from 2", ["2"]),
        ("wb kernel push -c house-p ", ["1", "2", "12"]),
        # Where there is nothing to say, or something is wrong, nothing is said.
        ("wb run -c house ", [""]),
        ("wb run -c nothing ", [""]),
        ("wb nothing ", [""]),
        ("wb run ", [""]),
    ],
)
def test_bash(place: Path, line: str, candidates: list[str]) -> None:
    assert bash(place, line) == candidates


def test_bash_lists_what_the_candidates_are(place: Path) -> None:
    listed = [line.rstrip() for line in bash(place, "wb show -c house-p ", listing="63")]
    assert listed == ["1  baseline: all, as it is", "2", "12  more"]
    assert bash(place, "wb show -c house-p 12", listing="63") == ["12"]  # the only one is inserted
    assert all(len(line) <= 78 for line in bash(place, "wb run --", listing="63"))


@needs_fish
def test_fish(place: Path) -> None:
    done = shell(place, "fish", "-c", "wb completion fish | source; complete -C 'wb run -c house-p '")
    assert done.stdout.splitlines() == ["1\tbaseline: all, as it is", "2", "12\tmore"]


@needs_zsh
def test_zsh(place: Path) -> None:
    shown = shell(place, "zsh", "-f", "-c", ZSH, "zsh", "wb run -c house-p ").stdout
    assert "baseline: all, as it is" in shown
    assert "more" in shown


def test_outside_a_workspace_nothing_is_said(tmp_path: Path) -> None:
    assert bash(tmp_path, "wb run ") == [""]
    assert bash(tmp_path, "wb table -c ") == [""]
    assert bash(tmp_path, "wb tab") == ["table"]


def test_every_shell_has_a_script(tmp_path: Path) -> None:
    for name in SHELLS:
        done = shell(tmp_path, "wb", "completion", name, "--json")
        assert json.loads(done.stdout) == {"shell": name, "script": shell(tmp_path, "wb", "completion", name).stdout}
        assert "_WB_COMPLETE" in done.stdout
    assert shell(tmp_path, "wb", "completion", "tcsh").returncode == 2


def test_many_experiments_are_listed_at_once(place: Path) -> None:
    for number in range(1, 2_001):
        path = place / f"competitions/titanic/experiments/{number:03d}.toml"
        path.write_text(f'title = "the {number}th"\n')
    request = {"COMP_WORDS": "wb\nrun\n-c\ntitanic\n", "COMP_CWORD": "4", "_WB_COMPLETE": "bash_complete"}
    started = time.process_time(), os.times()
    lines = shell(place, "wb", **request).stdout.splitlines()
    spent = os.times().children_user + os.times().children_system
    spent -= started[1].children_user + started[1].children_system
    assert len(lines) == 2_000
    assert lines[-1] == "plain\t2000\tthe 2000th"
    assert spent < 0.6  # on an idle machine 0.15 s; of the processor's time, whatever else runs


@pytest.mark.parametrize("line", ["wb ", "wb submit ", "wb kernel submit ", "wb tune --", "wb run -c house-p "])
def test_nothing_heavy_is_loaded(place: Path, line: str) -> None:
    code = (
        "import sys, os\nfrom workbench.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
        "heavy = {'lightgbm', 'polars', 'numpy', 'pandas', 'sqlalchemy', 'alembic', 'pydantic', 'rich'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    words = [*line.split(), ""] if line.endswith(" ") else line.split()
    request = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1), "_WB_COMPLETE": "bash_complete"}
    out = shell(place, sys.executable, "-c", code, **request).stdout
    assert out.splitlines()[-1] == "LOADED []"


def test_summaries_of_commands_in_a_group_are_whole() -> None:
    notebook = wb.get_command(click.Context(wb), "notebook")
    assert isinstance(notebook, CommandGroup)
    found = {item.value: item.help or "" for item in notebook.shell_complete(click.Context(notebook), "")}
    assert found["adopt"] == "Create the next experiment from a notebook that was written for Kaggle."
    assert set(found) >= {"new", "params"}
