"""What macOS and Windows have and lack, by a stand-in: `tests.other_system` says what it is and is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from tests.commands import Ended, forked_wb
from tests.other_system import SCRIPTS, is_missing, missing, modules
from tests.small import Small
from workbench.cli.app import COMMANDS, wb
from workbench.cli.commands import WINDOWS_COMMANDS, Command
from workbench.core.errors import UnsupportedError
from workbench.core.operating_system import lock_descriptor, require_posix, unsupported

SYSTEMS = ("darwin", "win32")
ROOT = Path(__file__).parents[1]
RUNS = (
    'title = "기준선 é"\nfeatures = ["ratio"]\n[model]\nnum_boost_round = 3\n',
    'base = 1\ntitle = "two"\nfeatures = ["ratio", "doubled"]\n',
)
REFUSAL = "is not available on Windows: "


def on(system: str, *arguments: str, cwd: Path = ROOT) -> Ended:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.other_system", system, *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=300
    )
    return Ended(done.returncode, done.stdout, done.stderr)


# ---------------------------------------------------------------------------------------------------- the stand-in


def test_what_the_systems_lack() -> None:
    assert {"fork", "geteuid", "sysconf", "sched_getaffinity", "O_NOFOLLOW", "pread"} <= missing("os", "win32")
    assert {"SIGHUP", "SIGKILL", "siginterrupt", "SIGALRM"} <= missing("signal", "win32")
    assert "poll" in missing("select", "win32")
    assert "AF_UNIX" in missing("socket", "win32")
    assert "sched_getaffinity" in missing("os", "darwin")
    assert not missing("os", "darwin") & {"fork", "geteuid", "sysconf", "replace"}
    assert not missing("os", "win32") & {"replace", "getpid", "open", "fsync", "cpu_count", "path"}
    posix_only = ("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "posix", "syslog")
    assert all(is_missing(name, "win32") for name in posix_only)
    assert not any(is_missing(name, system) for name in ("os", "select", "socket", "json") for system in SYSTEMS)
    assert not any(is_missing(name, "darwin") for name in posix_only)


PROBE = """
import os, signal, sys
assert sys.platform == "{system}"
try:
    os.sched_getaffinity(0)
except AttributeError:
    print("no affinity")
try:
    import fcntl
    print("locks")
except ModuleNotFoundError:
    print("no locks")
try:
    from signal import SIGHUP
    print("signal")
except ImportError:
    print("no signal")
print(os.path.exists("/proc/self/stat"))
open("text", "w").write("é\\n")
print(len(open("text", "rb").read()))
with open("text") as file:
    for change in (os.remove, lambda path: os.replace("other", path)):
        open("other", "w").close()
        try:
            change("text")
            print("changed")
            open("text", "w").close()
        except PermissionError:
            print("refused")
try:
    os.close(os.open(".", os.O_RDONLY))
    print("folder")
except PermissionError:
    print("no folder")
"""


@pytest.mark.parametrize(
    ("system", "seen"),
    [
        ("win32", ["no affinity", "no locks", "no signal", "False", "3", "refused", "refused", "no folder"]),
        ("darwin", ["no affinity", "locks", "signal", "False", "3", "changed", "changed", "folder"]),
    ],
)
def test_the_code_of_the_workbench_sees_that(tmp_path: Path, system: str, seen: list[str]) -> None:
    ended = on(system, "python", PROBE.format(system=system), cwd=tmp_path)
    assert (ended.stdout.split("\n")[:-1], ended.stderr) == (seen, "")


# --------------------------------------------------------------------------------------------------- what works there


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_all_modules_can_be_imported(system: str) -> None:
    ended = on(system, "imports")
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) == len(modules()) > 400


def test_only_scripts_of_notebooks_need_another_system() -> None:
    for name in SCRIPTS:
        text = (ROOT / name.replace(".", "/")).with_suffix(".py").read_text()
        assert 'if sys.platform == "win32":\n    raise ImportError(' in text


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_package_the_help_and_the_version(tmp_path: Path, system: str) -> None:
    ended = on(system, "python", "import workbench as wb; print(wb.__name__, wb.WorkbenchError)", cwd=tmp_path)
    assert ended.stdout.startswith("workbench <class"), ended.stderr
    for arguments in (("--version",), ("--help",), ("run", "-h")):
        ended, here = on(system, *arguments, cwd=tmp_path), forked_wb(*arguments, cwd=tmp_path)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, here.stdout, "")


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_reading_runs_and_writing_experiments(small: Callable[..., Small], system: str) -> None:
    place = small(runs=RUNS)
    for arguments in (
        ("table",),
        ("table", "--json"),
        ("show", "2"),
        ("submissions", "--offline"),
        ("completion", "bash"),
    ):
        ended, here = on(system, *arguments, cwd=place.folder), forked_wb(*arguments, cwd=place.folder)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, here.stdout, here.stderr)
    # A run whose folder the ledger does not know is added under the lock of its experiment.
    place.workspace.submissions.joinpath("ledger.db").unlink()
    ended = on(system, "table", "--json", cwd=place.folder)
    assert [row["title"] for row in json.loads(ended.stdout)] == ["기준선 é", "two"], ended.stderr

    ended = on(system, "new", "--title", "셋 é", cwd=place.folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert 'title = "셋 é"\nbase = 2\n' in (place.folder / "experiments" / "003.toml").read_text()

    ended = on(system, "submissions", cwd=place.folder)
    assert ended.stdout == "no submissions to 'small' yet: wb submit N\n"
    assert ("the platform was not contacted: submitting " + REFUSAL in ended.stderr) == (system == "win32")

    ended = on(system, "doctor", "--json", cwd=place.folder)
    checks = {c["name"]: c for c in json.loads(ended.stdout)["checks"]}
    assert checks["memory"]["detail"] == "unknown on this system: set the limit with --memory-limit"
    assert checks["ledger"]["ok"]
    assert checks["competition small"]["ok"]

    ended = on(system, "init", "inner", cwd=place.folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert b"\r" not in (place.folder / "inner" / ".gitignore").read_bytes()


@pytest.mark.slow
def test_on_macos_an_experiment_runs(small: Callable[..., Small]) -> None:
    place = small(runs=RUNS[:1])
    before = place.open.runs[1].oof
    ended = on("darwin", "run", "1", "--force", "--json", cwd=place.folder)
    assert ended.returncode == 0, ended.stderr
    run = place.open.runs[1]
    assert run.record.run_id == json.loads(ended.stdout)["run_id"]
    assert run.oof.equals(before)


# ------------------------------------------------------------------------------------------------ what is refused there

REFUSED = {
    "cache": ["cache"],
    "check": ["check"],
    "demo": ["demo"],
    "features": ["features"],
    "fetch": ["fetch", "small"],
    "kernel": ["kernel", "build", "1"],
    "ledger": ["ledger", "rebuild"],
    "notebook": ["notebook", "new"],
    "rehearse": ["rehearse", "other"],
    "report": ["report", "1"],
    "run": ["run", "1"],
    "select": ["select", "1"],
    "submit": ["submit", "1"],
    "sync": ["sync"],
    "tune": ["tune", "1"],
}

ALL_REFUSED = """
import json
from workbench.cli import main
for arguments in json.loads(r'''{commands}'''):
    try:
        main(arguments)
    except SystemExit as exc:
        print(exc.code)
"""


def test_other_commands_are_refused_in_a_sentence(tmp_path: Path) -> None:
    assert sorted([*REFUSED, *WINDOWS_COMMANDS]) == sorted(COMMANDS)
    ended = on("win32", "python", ALL_REFUSED.format(commands=json.dumps([*REFUSED.values()])), cwd=tmp_path)
    assert ended.stdout == "1\n" * len(REFUSED)
    lines = ended.stderr.splitlines()
    # The commands of a group are refused under their name, which the arguments begin with.
    names = [re.match(r"error: wb ([a-z ]+) is not available on Windows: ", line) for line in lines[::2]]
    assert [" ".join(a).startswith(n[1]) if n else None for a, n in zip(REFUSED.values(), names, strict=True)] == [
        True
    ] * len(REFUSED)
    assert len({*lines[1::2]}) == 1
    assert lines[1].startswith("hint: use the workbench in WSL (`wsl --install`")


def leaves(command: click.Command, name: str = "") -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(name, command)]
    context = click.Context(command)
    inner = {n: command.get_command(context, n) for n in command.list_commands(context)}
    return [leaf for n, c in inner.items() if c is not None for leaf in leaves(c, f"{name} {n}".strip())]


def test_every_command_is_of_the_class_that_refuses() -> None:
    assert len(leaves(wb)) > 25
    assert [name for name, command in leaves(wb) if not isinstance(command, Command)] == []


def test_as_json(tmp_path: Path) -> None:
    ended = on("win32", "run", "1", "--json", cwd=tmp_path)
    error = json.loads(ended.stdout)["error"]
    assert (ended.returncode, error["type"]) == (1, "UnsupportedError")
    assert error["message"].startswith("wb run " + REFUSAL)


CALLS = """
import workbench as wb
from workbench.api import library
place = wb.competition("small")
print(place.runs.frame().height, place.runs[1].record.exp, place.experiments.new(title="x").name)
calls = [
    lambda: place.run(1), lambda: place.features.scan("ratio"), lambda: place.data.check(),
    lambda: place.studies.tune(1, wb.TuneOptions(trials=1)), lambda: place.submissions.prepare(1),
    lambda: place.submissions.sync(), lambda: place.runs.report(1), lambda: place.features.prune_cache(),
    lambda: place.kernels.build(1), lambda: wb.fetch("small"), lambda: wb.rebuild_ledger(),
]
for call in calls:
    try:
        call()
    except wb.WorkbenchError as exc:
        print(type(exc).__name__, exc.message)
"""


@pytest.mark.slow
def test_the_library_refuses_the_same(small: Callable[..., Small]) -> None:
    place = small(runs=RUNS[:1])
    ended = on("win32", "python", CALLS, cwd=place.folder)
    first, *refused = ended.stdout.splitlines()
    assert first == "1 1 002.toml", ended.stderr
    assert len(refused) == 11, ended.stderr
    assert [line for line in refused if not line.startswith("UnsupportedError ") or REFUSAL not in line] == []


# --------------------------------------------------------------------------------------------------------------- parts


def test_the_refusal() -> None:
    require_posix("anything")  # on this system
    error = unsupported("wb run")
    assert isinstance(error, UnsupportedError | NotImplementedError)
    assert "\n" not in error.message + error.hint


LOCKS = """
import os, sys
from pathlib import Path
from workbench.core.errors import BusyError
from workbench.core.locks import is_locked, lock
path = Path(".lock")
with lock(path, "it"):
    print(is_locked(path), path.read_text()[:7])
    try:
        with lock(path, "it"):
            print("twice")
    except BusyError as exc:
        print(exc.message.startswith(f"it is in use by process {os.getpid()} on "))
print(is_locked(path), repr(path.read_text()))
with lock(path, "it", wait=True):
    print(is_locked(path))
"""


@pytest.mark.parametrize("system", SYSTEMS)
def test_locks(tmp_path: Path, system: str) -> None:
    ended = on(system, "python", LOCKS, cwd=tmp_path)
    assert ended.stdout.splitlines() == ['True {"pid":', "True", "False ''", "True"], ended.stderr


def test_shared_locks_exclude_exclusive_ones_only(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with path.open("w") as first, path.open() as second, path.open() as third:
        lock_descriptor(first.fileno(), shared=True)
        lock_descriptor(second.fileno(), shared=True)
        with pytest.raises(BlockingIOError):
            lock_descriptor(third.fileno())


def test_memory_is_unknown_on_windows(tmp_path: Path) -> None:
    code = (
        "from workbench.core.errors import UnsupportedError\nfrom workbench.core import memory, threads\n"
        "print(memory.parse_bytes('8GB', where='x'), memory.used_bytes(), threads.available_cores() > 0)\n"
        "try:\n    memory.default_limit()\nexcept UnsupportedError as exc:\n    print(exc.message)\n"
    )
    ended = on("win32", "python", code, cwd=tmp_path)
    expected = [f"{8 * 2**30} 0 True", "the size of this machine's memory is not known on Windows"]
    assert ended.stdout.splitlines() == expected, ended.stderr
