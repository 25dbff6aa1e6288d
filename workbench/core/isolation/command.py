"""Start a command in a sandbox (`Sandbox`), track the processes that it starts, and kill all of them."""

from __future__ import annotations

import functools
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from workbench.core.isolation.processes import descendants, inner_pid, processes_with_variable
from workbench.core.isolation.sandbox import Sandbox, steps
from workbench.core.operating_system import KILL_SIGNAL

__all__ = ["IsolationSupport", "RunningCommand", "isolation_support", "start_command"]

PROCESS_VARIABLE = "WB_STARTED_BY"
"""The environment variable that identifies the processes of a command, even orphaned ones."""

KILL_TIMEOUT_S = 10.0
"""How long to keep killing processes, as they may start new ones."""

PROBE_TIMEOUT_S = 60.0
"""How long to wait for a test sandbox; usually it takes half a second."""


@dataclass(frozen=True)
class IsolationSupport:
    """The kinds of isolation that the system permits.

    Attributes
    ----------
    sandboxes : bool
        Whether a process can have its own root folder and network.
    pid_namespace : bool
        Whether a sandbox can have a process namespace, whose processes the system kills with the first one.
    reason : str
        The error message of the system if one of the two is not permitted.
    """

    sandboxes: bool
    pid_namespace: bool
    reason: str = ""

    @property
    def hint(self) -> str:
        """How to permit more."""
        if sys.platform != "linux":
            return "namespaces need Linux; a virtual machine will do"
        return (
            "the usual causes are `sysctl kernel.unprivileged_userns_clone` (1 allows it), "
            "`kernel.apparmor_restrict_unprivileged_userns` (0 allows it), `user.max_user_namespaces`, or a container "
            "(docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined)"
        )


@functools.cache
def isolation_support() -> IsolationSupport:
    """Return what the system permits, tried once per process."""
    if sys.platform != "linux":
        return IsolationSupport(sandboxes=False, pid_namespace=False, reason=f"{sys.platform} has no namespaces")
    refusal = _probe(pid_namespace=True)
    if not refusal:
        return IsolationSupport(sandboxes=True, pid_namespace=True)
    second_refusal = _probe(pid_namespace=False)
    return IsolationSupport(sandboxes=not second_refusal, pid_namespace=False, reason=second_refusal or refusal)


def _probe(*, pid_namespace: bool) -> str:
    """Return the error message of starting a sandbox; "" if it works."""
    sandbox = Sandbox(host="system", home="/root", own_tmp=True, network=False)
    with (
        tempfile.TemporaryFile("w+") as errors,
        _launch(["true"], sandbox, None, errors, pid_namespace=pid_namespace) as running,
    ):
        try:
            code = running.process.wait(timeout=PROBE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"no answer in {PROBE_TIMEOUT_S:g} s"
        errors.seek(0)
        last_line = errors.read().strip().rpartition("\n")[2].removeprefix("isolation: ")
    return (last_line or f"exit code {code}") if code else ""


@dataclass
class RunningCommand:
    """A running command, with all processes that it starts.

    Attributes
    ----------
    process : Popen
        The launcher. Its exit code is that of the command, 128 + number for a signal, or 125 if the sandbox could not
        be created.
    process_tag : str
        The value of `PROCESS_VARIABLE` in its processes.
    pid_namespace : bool
        Whether it has a process namespace.
    init_pid_path : Path
        The file with the process id of the launcher's child.
    """

    process: subprocess.Popen[str]
    process_tag: str
    pid_namespace: bool
    init_pid_path: Path

    def descendant_bytes(self) -> dict[int, int]:
        """Return the descendants of the command: process id -> resident bytes."""
        processes = descendants(self.process.pid)
        try:
            init_pid = int(self.init_pid_path.read_text())
        except (OSError, ValueError):
            return {}  # it is still starting
        excluded = {init_pid}
        if self.pid_namespace:
            # Process 1 of the namespace waits for the command, which is process 2.
            excluded |= {pid for pid, (parent, _) in processes.items() if parent == init_pid and inner_pid(pid) == 2}
        return {pid: size for pid, (_, size) in processes.items() if pid not in excluded}

    def kill_descendants(self) -> None:
        """Kill the descendants of the command, but not the command, which can then report the error."""
        _kill_processes(self.descendant_bytes())

    def kill(self) -> None:
        """Kill the command and all its processes, and wait until they are gone."""
        deadline = time.monotonic() + KILL_TIMEOUT_S
        # SIGTERM to the launcher first, which then kills the processes that it can see.
        with suppress(ProcessLookupError, PermissionError):
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=KILL_TIMEOUT_S / 2)
        while True:
            survivors = (
                {*descendants(self.process.pid)} | processes_with_variable(PROCESS_VARIABLE, self.process_tag)
            ) - {self.process.pid}
            _kill_processes(survivors)
            if self.process.poll() is None:
                self.process.kill()
            if not survivors or time.monotonic() > deadline:
                break
            time.sleep(0.01)
        self.process.wait()


@contextmanager
def start_command(
    command: Sequence[str],
    sandbox: Sandbox | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
) -> Iterator[RunningCommand]:
    """Start a command, in a sandbox or not, and kill all its processes when the block exits.

    They are killed as well if this process is killed. Without a process namespace a daemonised descendant survives if
    it was started with an empty environment; outside Linux every daemonised one does.

    Parameters
    ----------
    command : sequence of str
    sandbox : Sandbox, optional
        None to run without a sandbox.
    environment : mapping, optional
        All environment variables; by default those of this process. See `clean_environment`.

    Raises
    ------
    OSError
        When Python can't be started.
    """
    with _launch(
        command, sandbox, environment, stderr, stdout, pid_namespace=isolation_support().pid_namespace
    ) as running:
        yield running


@contextmanager
def _launch(
    command: Sequence[str],
    sandbox: Sandbox | None,
    environment: Mapping[str, str] | None,
    stderr: int | IO[str] | None,
    stdout: int | IO[str] | None = None,
    *,
    pid_namespace: bool,
) -> Iterator[RunningCommand]:
    process_tag = secrets.token_hex(8)
    variables = dict(os.environ if environment is None else environment) | {PROCESS_VARIABLE: process_tag}
    pid_namespace = pid_namespace and sandbox is not None
    disk = None if sandbox is None else sandbox.disk
    with tempfile.TemporaryDirectory(dir=disk, prefix=".wb-world-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder).resolve()
        if sandbox is not None and sandbox.home is not None:
            variables["HOME"] = sandbox.home
        job, init_pid_path = scratch / "job.json", scratch / "init_pid_path"
        settings = {
            "parent": os.getpid(),
            "init_pid_path": str(init_pid_path),
            "sandbox": _sandbox_settings(sandbox, scratch, pid_namespace),
        }
        job.write_text(json.dumps(settings), encoding="utf-8")
        launcher = Path(__file__).with_name("launcher.py")
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(launcher), str(job), *command],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        running = RunningCommand(process, process_tag, pid_namespace, init_pid_path)
        try:
            yield running
        finally:
            running.kill()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def _sandbox_settings(sandbox: Sandbox | None, scratch: Path, pid_namespace: bool) -> dict[str, Any] | None:
    if sandbox is None:
        return None
    root = scratch / "root"
    root.mkdir()
    return {
        "root": str(root),
        "steps": steps(sandbox, scratch, pid_namespace=pid_namespace),
        "folder": sandbox.folder,
        "network": sandbox.network,
        "pids": pid_namespace,
        "hostname": "notebook" if sandbox.host == "system" else "",
    }


def _kill_processes(pids: Mapping[int, Any] | set[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, KILL_SIGNAL)
