"""Run `wb` in a separate process, through Kaggle's real client against the fake server, with short timeouts."""

from __future__ import annotations

import base64
import multiprocessing.context
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests import no_sync  # noqa: F401 - also in the server that forks
from tests.wire import KEY, REFRESH, SIGNATURE, SIGNED_IN, TOKEN, USER, Server

QUICK = {
    # What comes is waited for, however busy the machine is: a test of an answer that never comes says how long.
    "login_s": 60,
    "connect_s": 20,
    "answer_s": 30,
    "tries": 4,
    "backoff_s": 0.01,
    "backoff_max_s": 0.05,
    "retry_after_max_s": 2,
}
PRELOADED = [
    "kagglesdk.kaggle_client",
    "bleach",
    "tqdm",
    "google.protobuf.field_mask_pb2",
    "numpy",
    "sqlalchemy.dialects.sqlite",
    "alembic.command",
    "workbench.ledger",
    "workbench.data.ingest",
    "tests.sending",
    "lightgbm",
    "workbench.experiments",
    "workbench.experiments.current_runs",
    "workbench.review.table",
    "workbench.cli.app",
    "workbench.rehearsal",
    "tests.small",
]


BASIC = base64.b64encode(f"{USER}:{KEY}".encode()).decode()


# --------------------------------------------------------------------------------------------------------- the command


@dataclass(frozen=True)
class Conditions:
    """How the command is run: with less patience than it has for people, and where a test asks for it with another
    address of the API, a limit on the size of files, or a death before the n-th change to a path that matches.
    """

    patience: dict[str, Any]
    endpoint: str = ""
    file_limit: int = 0
    die: tuple[str, int] | None = None
    listing_delay_s: float = 60.0
    first_poll_s: float = 2.0


def command(arguments: list[str], cwd: Path, environment: dict[str, str], out: Path, err: Path, c: Conditions) -> None:
    """Run `wb` in this process, which must be a fresh one."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    from workbench.cli import main
    from workbench.platforms import protocol as platforms
    from workbench.submissions import follow

    _conditions[:] = [c]
    platforms.IMPLEMENTATIONS["kaggle"] = f"{__name__}:impatient_kaggle"
    follow.FIRST_PAUSE_S = c.first_poll_s
    if c.endpoint:
        from kagglesdk import kaggle_env

        kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = c.endpoint
    if c.file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (c.file_limit, c.file_limit))
    if c.die:
        die_at(*c.die)
    main(arguments)


_conditions: list[Conditions] = []
"""Those of this process, which runs one command."""


def impatient_kaggle(workspace: Path) -> Any:
    """Return the platform under the conditions of this process; what it connects by the name of Kaggle is this."""
    from workbench.platforms.kaggle import Kaggle, Patience

    (c,) = _conditions
    return Kaggle(workspace, Patience(**c.patience), listing_delay_s=c.listing_delay_s)


def die_at(pattern: str, number: int) -> None:
    left = number

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        writes = event in ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate") or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes and any(re.search(pattern, f"{event} {path}") for path in arguments[:2]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


@cache
def forkserver() -> multiprocessing.context.ForkServerContext:
    # A fresh interpreter takes most of a second to import everything: here one does it, and forks for each command.
    # What logs in is not among it, it must see the environment of the command.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, __name__, "tests.frozen"])
    return context


def forked_wb(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, text: str = "", timeout_s: float = 120
) -> Ended:
    """Run `wb` as a process of its own, with files for its streams, that need not import everything first."""
    with tempfile.TemporaryDirectory() as scratch:
        streams = [Path(scratch, name) for name in ("in", "out", "err")]
        streams[0].write_text(text)
        return Started(start_forked(arguments, cwd, env or {}, streams), *streams[1:]).ended(timeout_s)


def start_forked(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], streams: Sequence[Path]
) -> multiprocessing.context.ForkServerProcess:
    """Start `wb` with its input, output and errors there; in front of a terminal, where they are one."""
    process = forkserver().Process(target=_forked, args=(arguments, cwd, {**os.environ, **env}, streams))
    process.start()
    return process


def fresh_wb(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    """Run `wb` in a fresh interpreter, where it matters how that begins."""
    command = [sys.executable, "-m", "workbench", *arguments]
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr)


def _forked(arguments: Sequence[str], cwd: Path, environment: dict[str, str], streams: Sequence[Path]) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    # A session of its own takes the first terminal that it opens; what a shell starts in the background ignores Ctrl-C.
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, path in enumerate(streams):
        os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    # multiprocessing has put another stream in its place.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    from workbench.cli import main

    main(list(arguments))


@dataclass(frozen=True)
class Started:
    """A command that runs."""

    process: subprocess.Popen[bytes] | multiprocessing.context.ForkServerProcess
    out: Path
    err: Path

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()

    def ended(self, timeout_s: float = 300) -> Ended:
        if isinstance(self.process, subprocess.Popen):
            code = self.process.wait(timeout_s)
        else:
            self.process.join(timeout_s)
            if self.process.exitcode is None:
                self.process.kill()
                raise AssertionError(f"it did not end within {timeout_s} s: {self.err.read_text()}")
            code = self.process.exitcode
        return Ended(code, self.out.read_text(), self.err.read_text())


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Commands:
    """A workspace, the server, and the commands between them."""

    server: Server
    root: Path
    environment: dict[str, str]
    seen: list[str] = field(default_factory=list)
    number: int = 0
    listing_delay_s: float = 60.0

    def start(
        self,
        *arguments: str,
        plain: bool = False,
        env: dict[str, str | None] | None = None,
        patience: dict[str, Any] | None = None,
        **conditions: Any,
    ) -> Started:
        """Start `wb`; `plain` as people start it."""
        given = os.environ | self.environment | (env or {})
        environment = {k: v for k, v in given.items() if v is not None}
        line = list(arguments)
        self.number += 1
        out, err = (self.root.parent / f"{self.number}.{name}" for name in ("out", "err"))
        process: Any
        if plain:
            with out.open("wb") as stdout, err.open("wb") as stderr:
                process = subprocess.Popen(
                    [sys.executable, "-m", "workbench", *line],
                    cwd=self.root,
                    env=environment,
                    stdout=stdout,
                    stderr=stderr,
                )
        else:
            err.touch()
            how = Conditions(QUICK | (patience or {}), listing_delay_s=self.listing_delay_s, **conditions)
            process = forkserver().Process(target=command, args=(line, self.root, environment, out, err, how))
            process.start()
        return Started(process, out, err)

    def ended(self, started: Started) -> Ended:
        done = started.ended()
        self.seen += [done.stdout, done.stderr]
        return done

    def run(self, *arguments: str, **options: Any) -> Ended:
        """Run `wb` to its end."""
        return self.ended(self.start(*arguments, **options))

    def no_secret_is_told(self) -> None:
        texts = [*self.seen, *(p.read_bytes().decode("latin-1") for p in self.root.rglob("*") if p.is_file())]
        for secret in (KEY, TOKEN, SIGNATURE, BASIC, REFRESH, SIGNED_IN):
            assert not any(secret in text for text in texts)
