"""Commands in a world of their own: what they see and may change, and that nothing of them stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import workbench.core.isolation.command as command_module
import workbench.core.isolation.sandbox as sandbox_module
from tests.needs import needs_namespaces, needs_processes_listed, skip_unless
from workbench.core.isolation import Sandbox, clean_environment, isolation_support, start_command
from workbench.core.isolation.processes import processes_with_variable
from workbench.core.isolation.sandbox import steps

KAGGLE = Sandbox(host="system", home="/root", own_tmp=True, network=False, folder="/root")


def ran(code: str, world: Sandbox | None = KAGGLE, **environment: str) -> Any:
    """Run Python in a world, and return what it assigns to `result`."""
    script = f"import json, os, sys\nfrom pathlib import Path\n{code}\nprint('RESULT' + json.dumps(result))"
    with start_command(
        [sys.executable, "-c", script],
        world,
        environment=clean_environment(None, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        out, err = running.process.communicate(timeout=60)
    assert running.process.returncode == 0, err
    return json.loads(out.rpartition("RESULT")[2])


ERRNO = "def errno_of(call, *arguments):\n    try:\n        call(*arguments)\n    except OSError as exc:\n        return exc.errno\n"


@needs_namespaces
class TestSeen:
    def test_the_home_is_empty_and_its_own(self) -> None:
        code = (
            "home = Path.home()\nseen = sorted(p.name for p in home.iterdir())\n(home / 'new').write_text('x')\n"
            "result = [str(home), os.environ['HOME'], seen]"
        )
        home, variable, seen = ran(code)
        # Where this Python lies in /root, it has to be seen.
        python = [Path(os.path.realpath(sys.executable)).parts[2]] if os.path.realpath(sys.executable).startswith("/root/") else []  # fmt: skip
        assert (home, variable, seen) == ("/root", "/root", python)
        assert not Path("/root/new").exists()

    def test_a_file_of_the_home_is_not_there(self, tmp_path: Path) -> None:
        """What passes because a file lies at home fails elsewhere."""
        places = [Path.home() / ".bashrc", tmp_path / "secret.txt", Path(__file__), Path("/etc/shadow")]
        places[1].write_text("secret")
        assert ran(f"result = [Path(p).exists() for p in {[str(p) for p in places]}]") == [False] * 4

    def test_the_temporary_folders_are_empty_and_its_own(self) -> None:
        code = (
            "import tempfile\n"
            "seen = [sorted(p.name for p in Path(d).iterdir()) for d in ('/tmp', '/var/tmp', '/dev/shm')]\n"
            "file = tempfile.NamedTemporaryFile(delete=False)\nresult = [seen, file.name]"
        )
        seen, name = ran(code)
        # The packages and the workbench are mounted where they are, which may be below /tmp, as in a clone for a trial.
        shown = [Path(sys.prefix), Path(sys.base_prefix), Path(command_module.__file__)]
        mounted = {p.parts[2] for p in shown if p.is_relative_to("/tmp")}
        assert [set(seen[0]) - mounted, seen[1], seen[2]] == [set(), [], []]
        assert name.startswith("/tmp/")
        assert not Path(name).exists()

    def test_only_its_own_processes_and_no_network(self) -> None:
        code = (
            "import socket\nself = int(Path('/proc/self').readlink().name)\n"
            "pids = [int(p.name) for p in Path('/proc').iterdir() if p.name.isdecimal()]\n"
            "names = [name for _, name in socket.if_nameindex()]\nresult = [self == os.getpid(), len(pids), names]"
        )
        assert ran(code) == [True, 2, ["lo"]]

    def test_the_machines_network_where_it_is_asked_for(self) -> None:
        names = "import socket\nresult = sorted(n for _, n in socket.if_nameindex())"
        world = Sandbox(host="system", home="/root", own_tmp=True, network=True)
        assert ran(names, world) == ran(names, None)

    def test_this_pythons_packages_and_the_workbench(self) -> None:
        assert ran("import polars, workbench.core.errors\nresult = workbench.__file__", WB_HOME="x").endswith(
            "__init__.py"
        )

    def test_what_is_mounted_and_linked(self, tmp_path: Path) -> None:
        (tmp_path / "odd name, é").mkdir()
        (tmp_path / "odd name, é" / "a.csv").write_text("a\n1\n")
        mounts = {"/kaggle/input/one": (str(tmp_path / "odd name, é"), False)}
        world = Sandbox(host="system", mounts=mounts, links={"/kaggle/input/two": "one"}, folder="/kaggle/input")
        assert ran("result = [Path('one/a.csv').read_text(), Path('two/a.csv').read_text()]", world) == ["a\n1\n"] * 2

    def test_a_hidden_home_where_the_machine_is_seen(self, tmp_path: Path) -> None:
        home, other = tmp_path / "home", tmp_path / "other"
        for folder in (home, other):
            folder.mkdir()
            (folder / "kaggle.json").write_text("{}")
        (home / "work").mkdir()
        world = Sandbox(hidden=(str(home),), mounts={str(home / "work"): (str(home / "work"), True)})
        code = (
            f"home, other = Path({str(home)!r}), Path({str(other)!r})\n(home / 'work' / 'new').write_text('x')\n"
            "result = [sorted(p.name for p in home.iterdir()), (other / 'kaggle.json').exists()]"
        )
        assert ran(code, world) == [["work"], True]
        assert (home / "work" / "new").read_text() == "x"

    def test_where_there_is_no_place_nothing_is_made(self, tmp_path: Path) -> None:
        """A place in a folder of the machine would have to be made there."""
        world = Sandbox(mounts={f"{tmp_path}/new/place": (str(tmp_path), False)})
        with start_command(["true"], world, stderr=subprocess.PIPE) as running:
            _, said = running.process.communicate(timeout=60)
        assert running.process.returncode == 125
        assert said == f"isolation: {tmp_path}/new/place does not exist, and its parent is a folder of the machine\n"
        assert list(tmp_path.iterdir()) == []


@needs_namespaces
class TestReadOnly:
    @pytest.mark.parametrize("host", ["system", "all"])
    def test_what_is_mounted_to_read_stays_so(self, tmp_path: Path, host: Any) -> None:
        """As root, too: no mode, no mount and no namespace of the command's own undoes it."""
        (tmp_path / "data").mkdir()
        file = tmp_path / "data" / "a.csv"
        file.write_text("a\n1\n")
        code = ERRNO + (
            "import ctypes, subprocess\nfile = '/kaggle/input/one/a.csv'\nlibc = ctypes.CDLL(None, use_errno=True)\n"
            "def remount():\n    libc.mount(None, b'/kaggle/input/one', None, ctypes.c_ulong(32 | 4096), None)\n"
            "    raise OSError(ctypes.get_errno(), '')\n"
            "def within():\n"
            "    subprocess.run(['unshare', '-Urm', 'sh', '-c', 'mount -o remount,bind,rw /kaggle/input/one; echo 2 > ' + file])\n"
            "    open(file, 'w')\n"
            "result = [errno_of(open, file, 'w'), errno_of(os.chmod, file, 0o777), errno_of(os.unlink, file),"
            " errno_of(os.rename, file, file + 'x'), errno_of(os.mkdir, '/kaggle/input/new'), errno_of(remount), errno_of(within)]"
        )
        world = Sandbox(host=host, mounts={"/kaggle/input/one": (str(tmp_path / "data"), False)})
        assert ran(code, world) == [30, 30, 30, 30, 30, 1, 30]
        assert file.read_text() == "a\n1\n"

    def test_the_programs_of_the_machine(self) -> None:
        code = (
            ERRNO
            + "result = [errno_of(open, p, 'w') for p in ('/usr/new', '/new', '/etc/new', '/proc/sys/kernel/hostname')]"
        )
        assert ran(code) == [30, 30, 30, 30]

    def test_all_of_the_machine(self, tmp_path: Path) -> None:
        code = ERRNO + f"result = errno_of(open, {str(tmp_path / 'new')!r}, 'w')"
        assert ran(code, Sandbox(host="read")) == 30

    def test_a_place_of_its_own_in_it_can_be_written(self, tmp_path: Path) -> None:
        world = Sandbox(host="read", mounts={str(tmp_path): (str(tmp_path), True)})
        ran(f"Path({str(tmp_path / 'new')!r}).write_text('x')\nresult = 0", world)
        assert (tmp_path / "new").read_text() == "x"


def test_only_what_says_nothing_of_its_user_is_passed_on() -> None:
    given = {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "2",
        "KAGGLE_KEY": "k",
        "AWS_SECRET_ACCESS_KEY": "k",
        "GH_TOKEN": "t",
        "SSH_AUTH_SOCK": "/run/ssh",
        "HTTPS_PROXY": "http://me:pw@proxy",
        "PYTHONPATH": "/home/me",
        "USER": "me",
        "DATABASE_URL": "postgres://me:pw@db",
        "MINE": "1",
    }
    assert set(clean_environment(given)) == {"PATH", "LANG", "OMP_NUM_THREADS"}
    assert clean_environment(given, also=["MINE"], HOME="/root") == {
        "PATH": "/bin", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "2", "MINE": "1", "HOME": "/root"
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------- what it leaves behind

ESCAPES = {
    "a child": "subprocess.Popen(SLEEP)",
    "a session of its own": "subprocess.Popen(SLEEP, start_new_session=True)",
    "a double fork": "\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.execvp(SLEEP[0], SLEEP)\n    os._exit(0)\n",
    "without variables": "\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.execve(SLEEP[0], SLEEP, {})\n    os._exit(0)\n",
    "deaf": "subprocess.Popen(['sh', '-c', 'trap \"\" TERM HUP INT; ' + ' '.join(SLEEP) + '; :'], start_new_session=True)",
}


@pytest.fixture(params=["own numbers", "adopted", "as it is"])
def world(request, monkeypatch) -> Sandbox | None:
    """Each way in which the system may let us end what was started."""
    if request.param == "as it is":
        return None
    has_numbers = isolation_support().pid_namespace or request.param == "adopted"
    skip_unless(isolation_support().sandboxes and has_numbers, "namespaces", isolation_support().reason)
    if request.param == "adopted":
        able = command_module.IsolationSupport(sandboxes=True, pid_namespace=False)
        monkeypatch.setattr(command_module, "isolation_support", lambda: able)
    return Sandbox(host="read")


def sleeping() -> list[str]:
    """Return a program that sleeps for a time that no other sleeps."""
    seconds = f"{os.getpid() * 1000 + time.monotonic_ns() % 1000 + 1_000_000}"
    return ["/bin/sleep", seconds]


def still_there(command: list[str]) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if place.read_bytes().rstrip(b"\0").split(b"\0") == [c.encode() for c in command]:
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


def await_true(what: Any, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return False


@needs_processes_listed
class TestNothingStaysBehind:
    @pytest.mark.parametrize("escape", ESCAPES)
    def test_when_the_command_ends(self, world: Sandbox | None, escape: str) -> None:
        sleep = sleeping()
        code = f"import os, subprocess, time\nSLEEP = {sleep!r}\n{ESCAPES[escape]}\ntime.sleep(0.3)"
        with start_command([sys.executable, "-c", code], world) as running:
            assert await_true(lambda: still_there(sleep))
            assert running.process.wait(timeout=30) == 0
            assert await_true(lambda: not still_there(sleep))

    @pytest.mark.parametrize("escape", ["a double fork", "without variables"])
    def test_when_the_block_ends(self, world: Sandbox | None, escape: str) -> None:
        sleep = sleeping()
        code = f"import os, subprocess, time\nSLEEP = {sleep!r}\n{ESCAPES[escape]}\ntime.sleep(1000)"
        with pytest.raises(KeyboardInterrupt), start_command([sys.executable, "-c", code], world):
            assert await_true(lambda: still_there(sleep))
            raise KeyboardInterrupt
        assert not still_there(sleep)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    @pytest.mark.parametrize("of_world", [True, False])
    def test_when_whoever_started_it_is_killed(self, number: int, of_world: bool) -> None:
        skip_unless(isolation_support().sandboxes or not of_world, "namespaces", isolation_support().reason)
        sleep = sleeping()
        inner = f"import os, subprocess, time\nSLEEP = {sleep!r}\n{ESCAPES['without variables']}\ntime.sleep(1000)"
        given = "Sandbox(host='read')" if of_world else None
        outer = (
            "import sys, time\nfrom workbench.core.isolation import Sandbox, start_command\n"
            f"with start_command([sys.executable, '-c', {inner!r}], {given}):\n    time.sleep(1000)"
        )
        process = subprocess.Popen([sys.executable, "-c", outer])
        try:
            assert await_true(lambda: still_there(sleep))
            process.send_signal(number)
            process.wait(timeout=30)
            assert await_true(lambda: not still_there(sleep))
        finally:
            process.kill()
            process.wait()

    def test_when_the_launcher_is_killed(self, world: Sandbox | None) -> None:
        """What an unfriendly command can do where it sees the launcher."""
        sleep = sleeping()
        code = f"import os, subprocess, time\nSLEEP = {sleep!r}\n{ESCAPES['a double fork']}\ntime.sleep(1000)"
        with start_command([sys.executable, "-c", code], world) as running:
            assert await_true(lambda: still_there(sleep))
            running.process.kill()
            running.process.wait()
        assert not still_there(sleep)
        assert not processes_with_variable(command_module.PROCESS_VARIABLE, running.process_tag)

    def test_what_the_command_started_can_be_ended_without_it(self, world: Sandbox | None) -> None:
        sleep = sleeping()
        code = (
            f"import os, subprocess, time\nSLEEP = {sleep!r}\nchild = subprocess.Popen(SLEEP)\n{ESCAPES['a double fork']}\n"
            "print(child.wait(), flush=True)"
        )
        with start_command([sys.executable, "-c", code], world, stdout=subprocess.PIPE) as running:
            assert await_true(lambda: len(still_there(sleep)) == 2)
            below = running.descendant_bytes()
            assert set(still_there(sleep)) <= set(below)
            assert all(size > 0 for size in below.values())
            running.kill_descendants()
            out, _ = running.process.communicate(timeout=30)
        assert (out.strip(), running.process.returncode) == ("-9", 0)
        assert not still_there(sleep)

    def test_the_exit_code_is_the_commands(self, world: Sandbox | None) -> None:
        for command, code in ((["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137), (["no-such"], 125)):
            with start_command(command, world, stderr=subprocess.DEVNULL) as running:
                assert running.process.wait(timeout=30) == code


def test_a_system_without_namespaces_is_told(monkeypatch) -> None:
    command_module.isolation_support.cache_clear()
    monkeypatch.setattr(command_module.sys, "platform", "darwin")
    try:
        found = isolation_support()
    finally:
        command_module.isolation_support.cache_clear()
    assert (found.sandboxes, found.pid_namespace, found.reason) == (False, False, "darwin has no namespaces")


def test_the_steps_of_a_root_name_nothing_of_the_home(tmp_path: Path) -> None:
    """What is bound is the system, this Python and the workbench."""
    bound = [step[2] for step in steps(KAGGLE, tmp_path, pid_namespace=True) if step[0] == "bind"]
    assert not [
        p for p in bound if p in ("/", "/home", "/root", "/opt", "/tmp", "/var", "/etc", "/run", "/mnt", "/srv")
    ]


def test_a_machine_that_can_be_read_has_nothing_that_listens(tmp_path: Path) -> None:
    """Who can ask a user's session bus, docker or a login agent has a process outside; terminals are other programs'."""
    bound = [step[1] for step in steps(Sandbox(host="read"), tmp_path, pid_namespace=True) if step[0] == "bind"]
    assert not {"/run", "/dev", "/proc"} & set(bound)
    assert "/etc" in bound


@needs_namespaces
def test_a_machine_that_can_be_read_runs_python(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    world = Sandbox(host="read", network=False, folder=str(tmp_path))
    code = (
        f"import multiprocessing\nmultiprocessing.Lock()\n{ERRNO}"
        "result = [Path('a.txt').read_text(), errno_of(Path('b.txt').write_text, ''), os.listdir('/dev/shm'), "
        "os.path.isdir('/run/user')]"
    )
    assert ran(code, world) == ["x", 30, [], False]


def test_an_environment_in_a_projects_folder_shows_nothing_else_of_it(tmp_path: Path, monkeypatch) -> None:
    """The scheme's "data" is the whole prefix."""
    for name in ("bin", "lib", "competitions"):
        (tmp_path / name).mkdir()
    for name in ("prefix", "exec_prefix"):
        monkeypatch.setattr(sys, name, str(tmp_path))
    paths = {"data": str(tmp_path), "scripts": str(tmp_path / "bin"), "purelib": str(tmp_path / "lib")}
    monkeypatch.setattr(sandbox_module.sysconfig, "get_paths", lambda: paths)
    assert {str(tmp_path / "bin"), str(tmp_path / "lib")} <= {*sandbox_module.python_paths()}
    assert str(tmp_path) not in sandbox_module.python_paths()


@needs_namespaces
def test_no_room_for_a_namespace_is_no_full_disk() -> None:
    """The limit is of each user namespace, and the system's number for it is that of a disk."""
    code = (
        "from workbench.core.isolation import isolation_support\n"
        "Path('/proc/sys/user/max_user_namespaces').write_text('0')\nresult = isolation_support().reason"
    )
    script = f"import json\nfrom pathlib import Path\n{code}\nprint(json.dumps(result))"
    done = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )
    is_refused = "PermissionError" in done.stderr or "FileNotFoundError" in done.stderr
    skip_unless(not is_refused, "namespaces", "their number can't be limited")
    assert json.loads(done.stdout) == "unshare: no namespace more is allowed", done.stderr
