"""Commands whose output goes nowhere: closed streams, a full disk behind `>`, a reader that has gone."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.small import Small, make_small

REAL_POLL = select.poll
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


def a_dead_terminal() -> tuple[int, int]:
    leader, follower = pty.openpty()
    os.close(leader)
    return follower, -1


def a_pipe_whose_reader_has_gone() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.close(reader)
    return writer, -1


def a_full_pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    return writer, reader


def a_full_pipe_that_waits() -> tuple[int, int]:
    writer, reader = a_full_pipe()
    os.set_blocking(writer, True)
    return writer, reader


NOWHERE = [a_dead_terminal, a_pipe_whose_reader_has_gone, a_full_pipe, a_full_pipe_that_waits]


@pytest.fixture
def stderr() -> Iterator[Callable[[int], None]]:
    """Put a descriptor in the place of stderr, with a stream of Python's own on it, until the end of the test."""
    before, kept = sys.stderr, os.dup(2)

    def put(descriptor: int) -> None:
        os.dup2(descriptor, 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)

    yield put
    os.dup2(kept, 2)
    os.close(kept)
    sys.stderr = before


class Poll:
    """The system's `poll`, which notes the waits that were in vain, and does not wait."""

    def __init__(self, waits_ms: list[float]) -> None:
        self.real, self.waits_ms = REAL_POLL(), waits_ms

    def register(self, descriptor: int, events: int) -> None:
        self.real.register(descriptor, events)

    def poll(self, wait_ms: float | None) -> list[tuple[int, int]]:
        assert wait_ms is not None, "it would wait for good"
        ready = self.real.poll(0)
        if wait_ms and not ready:
            self.waits_ms.append(wait_ms)
        return ready


@pytest.mark.parametrize("to", NOWHERE)
def test_progress_that_can_not_be_written_is_dropped(
    to: Callable[[], Any], stderr: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from workbench.cli.app import note
    from workbench.cli.progress import Bar
    from workbench.cli.streams import tolerant_streams

    writer, reader = to()
    stderr(writer)
    waits_ms: list[float] = []
    monkeypatch.setattr(select, "poll", lambda: Poll(waits_ms))
    with tolerant_streams():
        for _ in range(1000):
            note("a line of progress" * 10)
        print("and one of other code", file=sys.stderr, flush=True)
        Console(stderr=True).print("by rich")
        with Bar("label").shown() as bar:
            bar.appear()
            bar.update(description="on", completed=1, total=2)
            bar.say("a line that stays")
    # A full pipe is waited for once, not for each of a thousand lines; what can't be written at all is not.
    assert waits_ms in ([], [1000]), waits_ms
    assert bool(waits_ms) == (to in (a_full_pipe, a_full_pipe_that_waits))
    for descriptor in (writer, reader):
        with contextlib.suppress(OSError):
            os.close(descriptor)


@pytest.mark.slow
def test_a_run_outlives_its_terminal(small: Small) -> None:
    """Training goes on and ends well, its answer in the file that it was to go to."""
    leader, follower = pty.openpty()
    answer = small.folder / "answer.json"
    with answer.open("wb") as out:
        command = [sys.executable, "-m", "workbench", "run", "1", "--force", "--json"]
        process = subprocess.Popen(command, cwd=small.folder, stdout=out, stderr=follower, start_new_session=True)
    os.close(follower)
    os.close(leader)
    assert process.wait(timeout=120) == 0
    assert json.loads(answer.read_text())["status"] == "finished"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_termination_is_taken_for_control_c(number: signal.Signals) -> None:
    from workbench.cli.interrupt import handled_signals
    from workbench.core.user_code import is_interrupt

    before = signal.signal(number, signal.SIG_DFL)  # the tests themselves may be run by nohup
    try:
        with handled_signals(["run", "1"]):
            with pytest.raises(KeyboardInterrupt) as caught:
                signal.raise_signal(number)
            assert is_interrupt(caught.value)
            signal.raise_signal(number)  # as `timeout` and a closed terminal do: it is stopping
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_what_is_ignored_is_for_others() -> None:
    from workbench.cli.interrupt import handled_signals

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with handled_signals([]):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_a_program_can_not_print_ends_no_run(small: Small) -> None:
    def broken(*_: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    outcome = small.open.runs.execute(1, force=True, report=broken, done=broken)
    assert outcome.run.record.status == "finished"


def test_a_broken_pipe_of_other_code_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    from workbench.cli import app

    @app.wb.command("broken")
    def broken() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    try:
        app.COMMANDS["broken"] = ("app", "")
        app.broken_command = broken  # type: ignore[attr-defined]
        with pytest.raises(SystemExit) as caught:
            app.main(["broken"])
    finally:
        del app.COMMANDS["broken"], app.broken_command  # type: ignore[attr-defined]
    assert caught.value.code == 1
    assert "Broken pipe" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["table", "table --json"])
def test_an_answer_that_a_full_disk_cuts_is_said(small: Small, command: str) -> None:
    ran = shell(small, command, "> /dev/full")
    assert ran.returncode == 1
    assert "no space left" in ran.stderr.lower()
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_what_is_printed_gets_into_no_file_of_a_run(small: Small) -> None:
    before = {p.name for p in (small.folder / "runs").iterdir()}
    assert shell(small, "run 1 --force", ">&- 2>&-").returncode == 0
    (run,) = [p for p in (small.folder / "runs").iterdir() if p.name not in before]
    assert json.loads((run / "run.json").read_text())["record"]["status"] == "finished"
    ran = shell(small, "table", "")
    assert ran.returncode == 0


def test_a_journal_is_read_with_blank_lines_and_without_its_torn_end(tmp_path: Path) -> None:
    from workbench.core.errors import DamagedError
    from workbench.tuning import StudyKey, open_study, read_study

    with open_study(tmp_path, StudyKey("s", {}), greater_is_better=True) as opened:
        opened.study.tell(opened.study.ask(), 0.5)
    path = tmp_path / "journal.log"
    entries = path.read_bytes().splitlines(keepends=True)
    assert len(entries) > 4

    def is_read() -> bool:
        study = read_study(tmp_path, "s")
        return study is not None and [t.value for t in study.trials] == [0.5]

    for damaged in (
        entries,
        [*entries, b"\n"],
        [entries[0], b"\n", *entries[1:]],
        [*entries, b'{"op_code": 4, "wor'],
        [*entries, b"\x00\x00\x00\n", b"\x00"],
        [b" \n", *entries, b"[]\n"],
    ):
        path.write_bytes(b"".join(damaged))
        assert is_read()
        assert path.read_bytes() == b"".join(entries)
    for garbage in (b"\x00\x00\n", b'{"op_code": 1, "wo\n', b"{}\n"):
        path.write_bytes(b"".join([*entries[:2], garbage, *entries[2:]]))
        with pytest.raises(DamagedError, match=rf"line 3 of {len(entries) + 1} is damaged"):
            is_read()
        assert garbage in path.read_bytes()
    path.write_bytes(b"")
    assert read_study(tmp_path, "s") is None
    assert path.read_bytes() == b""
