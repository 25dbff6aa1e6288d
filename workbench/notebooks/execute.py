"""One notebook run to its end, or to what ended it: parameters in, the executed copy and what became of it out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import NotebookError
from workbench.memory import shown_bytes
from workbench.notebooks.extra import need
from workbench.notebooks.source import Notebook

__all__ = ["Executed", "Limits", "execute"]

LOOK_S = 0.2
"""Between two looks at the clock and the memory."""

LAST_WORDS_S = 30.0
"""So long a process has, after its kernel is gone, to write the copy."""

SHOWN_LINES = 12
"""So many lines of the failing cell are shown."""


@dataclass(frozen=True)
class Limits:
    """What a notebook may use; None for no limit.

    Attributes
    ----------
    seconds : float
        In all.
    cell_seconds : float
        Of each cell.
    memory : int
        Bytes of the kernel and of what it starts.
    output : int
        Bytes of the cells' output.
    """

    seconds: float | None = None
    cell_seconds: float | None = None
    memory: int | None = None
    output: int = 200 * 2**20


@dataclass(frozen=True)
class Executed:
    """A notebook that came to its end.

    Attributes
    ----------
    copy : Path
        The executed notebook; beside it are its page (.html), what it printed (.txt) and ``NAME-figures/``.
    seconds : float
    peak_mb : float
        Of the kernel and of what it started.
    notes : tuple of str
        What is to be said though it came to its end.
    """

    copy: Path
    seconds: float
    peak_mb: float
    notes: tuple[str, ...] = ()


def execute(  # noqa: PLR0913 what a notebook may be run with
    notebook: Notebook,
    parameters: Mapping[str, Any],
    *,
    copy: Path,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    wrapped: Sequence[str] = (),
    attached: Mapping[str, str] | None = None,
    with_code: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> Executed:
    """Run a notebook through papermill, in processes of its own.

    The executed copy is saved after every cell, and also when it fails.

    Parameters
    ----------
    notebook : Notebook
    parameters : mapping
        Checked by `check_parameters`.
    copy : Path
        Where the executed notebook goes.
    folder : Path
        The kernel's working directory.
    environment : mapping, optional
        Variables beside those of this process.
    limits : Limits, optional
    wrapped : sequence of str
        A command that runs the one that is put behind it, elsewhere.
    attached : mapping, optional
        What kagglehub finds, in a notebook that was written for Kaggle: see `data_proxy`.
    with_code : bool
        Whether the page shows the cells' code beside what they put out.
    report : callable
        Told of each cell that begins.

    Raises
    ------
    NotebookError
        Names the cell, its source and what ended it: its error, a time limit, the memory, too much output, a kernel
        that is missing or died.
    ConfigError
        When the packages for notebooks are not installed.
    """
    need("papermill", "nbconvert", "ipykernel")
    limits = limits or Limits()
    started = time.perf_counter()
    copy.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        source, job = Path(temporary) / f"{notebook.path.stem}.ipynb", Path(temporary) / "job.json"
        source.write_text(notebook.text, encoding="utf-8")
        told = {
            "notebook": str(source),
            "copy": str(copy),
            "output": str(copy.with_suffix(".txt")),
            "log": str(copy.parent / "log.txt"),
            "parameters": dict(parameters),
            "kernel": notebook.kernel or "python3",
            "folder": str(folder),
            "cell_seconds": limits.cell_seconds,
            "most_output": limits.output,
            "with_code": with_code,
            "attached": None if attached is None else dict(attached),
        }
        job.write_text(json.dumps(told), encoding="utf-8")
        ended = _watched(
            [*wrapped, sys.executable, "-m", "workbench.notebooks.worker", str(job)], environment, limits, report
        )
    seconds = time.perf_counter() - started
    if ended.event.get("event") != "done":
        raise _error(notebook, copy, ended, limits)
    return Executed(copy, seconds, ended.peak / 2**20, tuple(_not_installed(ended.event)))


@dataclass
class _Ended:
    event: dict[str, Any]
    last_cell: dict[str, Any]
    why: str
    peak: int
    stderr: str


def _watched(
    command: list[str], environment: Mapping[str, str] | None, limits: Limits, report: Callable[[str], None]
) -> _Ended:
    """Run the process, and end its kernel when a limit is reached."""
    ended = _Ended({}, {}, "", 0, "")
    deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        reader = threading.Thread(target=_read, args=(process, ended, report), daemon=True)
        reader.start()
        try:
            while process.poll() is None:
                below = _descendants(process.pid)
                used = sum(below.values())
                ended.peak = max(ended.peak, used)
                if not ended.why:
                    if deadline is not None and time.monotonic() > deadline:
                        ended.why = "time"
                    elif limits.memory is not None and used > limits.memory:
                        ended.why = "memory"
                    if ended.why:
                        _kill(below)
                        deadline = time.monotonic() + LAST_WORDS_S
                elif deadline is not None and time.monotonic() > deadline:
                    process.kill()
                time.sleep(LOOK_S)
        finally:
            # Whatever ended this: nothing that the notebook started goes on behind the user's back.
            _kill(_descendants(process.pid))
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
            reader.join(timeout=5)
            if process.stdout is not None:
                process.stdout.close()
        errors.seek(0)
        ended.stderr = errors.read()[-2000:]
    return ended


def _read(process: subprocess.Popen[str], ended: _Ended, report: Callable[[str], None]) -> None:
    for line in process.stdout or ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["event"] == "cell":
            ended.last_cell = event
            report(f"cell {event['cell'] + 1} of {event['of']}: {event['source'].strip().splitlines()[0][:60]}")
        else:
            ended.event = event


def _descendants(pid: int) -> dict[int, int]:
    """Return the processes that a process has started, at any remove, with their resident bytes."""
    parents: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        child = int(stat.parent.name)
        parents.setdefault(int(fields[1]), []).append(child)
        sizes[child] = int(fields[21]) * page
    found: dict[int, int] = {}
    waiting = [pid]
    while waiting:
        for child in parents.get(waiting.pop(), []):
            found[child] = sizes[child]
            waiting.append(child)
    return found


def _not_installed(event: dict[str, Any]) -> list[str]:
    """Say which cells tried in vain to install something: they do not fail by themselves."""
    return [f"cell {cell + 1} installs nothing: {said}" for cell, said in event.get("not_installed", [])]


def _kill(processes: Mapping[int, int]) -> None:
    for pid in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _error(notebook: Notebook, copy: Path, ended: _Ended, limits: Limits) -> NotebookError:
    event = ended.event
    # One that was killed says nothing of its cell.
    at: dict[str, Any] = {"cell": -1, "source": ""} | ended.last_cell | event
    cell, source = at["cell"], at["source"]
    where = f"{notebook.path.name}, cell {cell + 1}" if cell >= 0 else notebook.path.name
    kind, peak = event.get("event", ""), shown_bytes(ended.peak)
    hint = f"the executed copy is {copy}"
    if ended.why == "time":
        text = f"{where}: the time of {limits.seconds:g} s in all is over"
        hint = f"seconds = … under [notebook] gives it more; {hint}"
    elif ended.why == "memory":
        text = f"{where}: the kernel was ended for memory: it had {peak} of {shown_bytes(limits.memory or 0)}"
        hint = f"--memory-limit allows more; {hint}"
    elif kind == "error":
        text = f"{where}: {event['name']}: {event['text']}"
    elif kind == "CellTimeoutError":
        text = f"{where}: it took longer than {limits.cell_seconds:g} s"
        hint = f"cell_seconds = … under [notebook] gives it more; {hint}"
    elif kind == "DeadKernelError":
        text = f"{where}: the kernel died, as one does that the system kills for memory; at its peak it had {peak}"
        hint = f"read less at a time, or use a machine with more memory; {hint}"
    elif kind == "TooMuchOutputError":
        text = f"{where}: the cells put out more than {shown_bytes(limits.output)}"
        hint = f"print less, or into a file; {hint}"
    elif kind == "no kernel":
        text = f"{notebook.path}: no kernel {event['text']!r} is installed"
        hint = 'kernel = "python3" under [notebook] takes this Python\'s'
    else:
        said = event.get("text") or ended.stderr.strip().rpartition("\n")[2] or "no reason was given"
        text = f"{where}: it could not be run: {said}"
    if missed := _not_installed(event):
        hint = f"{'; '.join(missed)} (put it into your environment beforehand); {hint}"
    shown = "\n".join(f"    {line}" for line in source.strip().splitlines()[:SHOWN_LINES])
    return NotebookError(
        f"{text}\n{shown}" if shown else text, hint=hint, trace=event.get("trace", ""), peak_mb=ended.peak / 2**20
    )
