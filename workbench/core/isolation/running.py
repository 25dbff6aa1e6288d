"""Start a command in a sandbox (`World`), track the processes that it starts, and kill all of them."""

from __future__ import annotations

import functools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from workbench.core.isolation.processes import descendants, inner_number, with_variable
from workbench.core.isolation.world import World, steps

__all__ = ["Abilities", "Running", "abilities", "started"]

MARK = "WB_STARTED_BY"
"""The variable by which a process is known as started here, though its parents are gone."""

ENDING_S = 10.0
"""So long what was started is ended again and again: it could be starting others."""

PROBE_S = 60.0
"""So long a machine may take to say what it can do; usually it is half a second."""


@dataclass(frozen=True)
class Abilities:
    """What the system lets us do.

    Attributes
    ----------
    worlds : bool
        Whether a process can have a root and a network of its own.
    own_pids : bool
        Whether the system ends all processes of a world with the first of them.
    why_not : str
        What the system said where one of the two can't be had.
    """

    worlds: bool
    own_pids: bool
    why_not: str = ""

    @property
    def hint(self) -> str:
        """What lets the system do more."""
        if sys.platform != "linux":
            return "a Linux machine, or a virtual one, has namespaces"
        return (
            "what forbids it is usually `sysctl kernel.unprivileged_userns_clone` (1 allows it), "
            "`kernel.apparmor_restrict_unprivileged_userns` (0 allows it), `user.max_user_namespaces`, or a container "
            "(docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined)"
        )


@functools.cache
def abilities() -> Abilities:
    """Try what the system lets us do, once in each process."""
    if sys.platform != "linux":
        return Abilities(worlds=False, own_pids=False, why_not=f"{sys.platform} has no namespaces")
    refusal = _tried(own_pids=True)
    if not refusal:
        return Abilities(worlds=True, own_pids=True)
    without_pids = _tried(own_pids=False)
    return Abilities(worlds=not without_pids, own_pids=False, why_not=without_pids or refusal)


def _tried(*, own_pids: bool) -> str:
    """Return what the system says against a world; nothing where there can be one."""
    world = World(host="system", home="/root", own_tmp=True, network=False)
    with tempfile.TemporaryFile("w+") as errors, _launched(["true"], world, None, errors, own_pids=own_pids) as running:
        try:
            code = running.process.wait(timeout=PROBE_S)
        except subprocess.TimeoutExpired:
            return f"no answer in {PROBE_S:g} s"
        errors.seek(0)
        last_line = errors.read().strip().rpartition("\n")[2].removeprefix("isolation: ")
    return (last_line or f"exit code {code}") if code else ""


@dataclass
class Running:
    """A command that was started; everything that it starts belongs to it.

    Attributes
    ----------
    process : Popen
        Its exit code is the command's, 128 and the number of the signal that ended it, or 125 where no world could be
        made.
    mark : str
        The value of the variable by which its processes are known.
    own_pids : bool
        Whether they have numbers of their own.
    first : Path
        Where the number of the launcher's child is written.
    """

    process: subprocess.Popen[str]
    mark: str
    own_pids: bool
    first: Path

    def below(self) -> dict[int, int]:
        """Return the processes that the command has started, with their resident bytes; not the command itself."""
        every = descendants(self.process.pid)
        try:
            first = int(self.first.read_text())
        except (OSError, ValueError):
            return {}  # it has only begun
        ours = {first}
        if self.own_pids:
            # The first is the one that ends all; what it started first is the command.
            ours |= {pid for pid, (parent, _) in every.items() if parent == first and inner_number(pid) == 2}
        return {pid: size for pid, (_, size) in every.items() if pid not in ours}

    def end_below(self) -> None:
        """End what the command has started, and leave the command to say its last words."""
        _kill(self.below())

    def end(self) -> None:
        """End everything, and come back when nothing is left."""
        deadline = time.monotonic() + ENDING_S
        # The launcher first, gently: it ends its world, or what it has adopted.
        with suppress(ProcessLookupError, PermissionError):
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=ENDING_S / 2)
        while True:
            alive = ({*descendants(self.process.pid)} | with_variable(MARK, self.mark)) - {self.process.pid}
            _kill(alive)
            if self.process.poll() is None:
                self.process.kill()
            if not alive or time.monotonic() > deadline:
                break
            time.sleep(0.01)
        self.process.wait()


@contextmanager
def started(
    command: Sequence[str],
    world: World | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
) -> Iterator[Running]:
    """Start a command in a sandbox, and kill it with all processes that it has started, however the block exits.

    If this process is killed, the command and its descendants are killed, too. Without process ids of its own, a
    daemonised descendant that was started with an empty environment survives; outside Linux, every daemonised one does.

    Parameters
    ----------
    command : sequence of str
    world : World, optional
        None: what this process sees, without any change.
    environment : mapping, optional
        All variables; by default this process's. See `clean_environment`.

    Raises
    ------
    OSError
        When Python can't be started.
    """
    with _launched(command, world, environment, stderr, stdout, own_pids=abilities().own_pids) as running:
        yield running


@contextmanager
def _launched(
    command: Sequence[str],
    world: World | None,
    environment: Mapping[str, str] | None,
    stderr: int | IO[str] | None,
    stdout: int | IO[str] | None = None,
    *,
    own_pids: bool,
) -> Iterator[Running]:
    mark = secrets.token_hex(8)
    variables = dict(os.environ if environment is None else environment) | {MARK: mark}
    own_pids = own_pids and world is not None
    where = None if world is None else world.disk
    with tempfile.TemporaryDirectory(dir=where, prefix=".wb-world-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder).resolve()
        if world is not None and world.home is not None:
            variables["HOME"] = world.home
        job, first = scratch / "job.json", scratch / "first"
        settings = {"parent": os.getpid(), "first": str(first), "world": _settings(world, scratch, own_pids)}
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
        running = Running(process, mark, own_pids, first)
        try:
            yield running
        finally:
            running.end()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def _settings(world: World | None, scratch: Path, own_pids: bool) -> dict[str, Any] | None:
    if world is None:
        return None
    root = scratch / "root"
    root.mkdir()
    return {
        "root": str(root),
        "steps": steps(world, scratch, own_pids=own_pids),
        "folder": world.folder,
        "network": world.network,
        "pids": own_pids,
        "hostname": "notebook" if world.host == "system" else "",
    }


def _kill(pids: Mapping[int, Any] | set[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
