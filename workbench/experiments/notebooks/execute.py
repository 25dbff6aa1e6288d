"""Execution of one notebook by a worker process."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.core.cache import write_text
from workbench.core.context import SILENT, RunContext
from workbench.core.credentials import Masks, secret_values
from workbench.core.errors import NotebookError
from workbench.core.isolation import Sandbox, start_command
from workbench.core.memory import format_bytes
from workbench.core.package import PACKAGE
from workbench.experiments.notebooks.extra import need
from workbench.experiments.notebooks.source import Notebook

__all__ = ["ExecutedNotebook", "Limits", "execute"]

POLL_INTERVAL_S = 0.2
"""The interval between checks of the time and memory limits."""

SAVE_TIMEOUT_S = 30.0
"""The time that the worker has to write the executed copy after its kernel was killed."""

WORKER_SCRIPT = """import sys
sys.path.append(sys.argv[1])
from workbench.core.notebook_worker.worker import main
sys.exit(main(sys.argv[2]))"""

WORKER_COMMAND = (sys.executable, "-P", "-c", WORKER_SCRIPT, str(PACKAGE.resolve().parent))
"""The command of the worker. ``-P`` keeps the current folder off `sys.path`, so that a ``logging.py`` there does not
shadow the standard library. The package's folder comes last, for a copy that is not installed."""

LOG_NAME = "log.txt"
"""The name of the worker's log, next to the executed copy."""

MAX_LOG_BYTES = 16 * 2**20
"""The part that is kept of the log of another person's notebook: its last bytes."""

EMBEDDED_SVG = re.compile(r"(data:image/svg\+xml;base64,)([A-Za-z0-9+/=\s]*)")
"""An SVG figure in the HTML export: base64 text, in which secrets must be masked, too."""

MAX_SHOWN_LINES = 12
"""The number of lines of the failing cell that an error shows."""


@dataclass(frozen=True)
class Limits:
    """Limits of a notebook's execution; None for no limit.

    Attributes
    ----------
    seconds : float
        For all cells together.
    cell_seconds : float
        For each cell.
    memory_bytes : int
        For the kernel and its child processes.
    output_bytes : int
        For the output of all cells.
    """

    seconds: float | None = None
    cell_seconds: float | None = None
    memory_bytes: int | None = None
    output_bytes: int = 200 * 2**20


@dataclass(frozen=True)
class ExecutedNotebook:
    """The result of a notebook that finished.

    Attributes
    ----------
    copy : Path
        The executed notebook; next to it are its HTML export, its printed output (.txt) and ``NAME-figures/``.
    seconds : float
    peak_mb : float
        The peak memory of the kernel and its child processes.
    notes : tuple of str
        Problems that did not stop it, such as installations that failed.
    """

    copy: Path
    seconds: float
    peak_mb: float
    notes: tuple[str, ...] = ()


def execute(  # noqa: PLR0913 each is an independent option of a notebook's execution
    notebook: Notebook,
    parameters: Mapping[str, Any],
    *,
    copy: Path,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    inherited: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    sandbox: Sandbox | None = None,
    attached_folders: Mapping[str, str] | None = None,
    with_code: bool = True,
    context: RunContext = SILENT,
) -> ExecutedNotebook:
    """Run a notebook through papermill, in separate processes.

    The executed copy is saved after every cell, and also when it fails.

    Parameters
    ----------
    notebook : Notebook
    parameters : mapping
        Checked by `check_parameters`.
    copy : Path
        The path of the executed notebook.
    folder : Path
        The kernel's working directory.
    environment : mapping, optional
        Variables in addition to the inherited ones.
    inherited : mapping, optional
        The base environment, by default `os.environ`; see `clean_environment`.
    limits : Limits, optional
    sandbox : Sandbox, optional
        By default the notebook runs without one.
    attached_folders : mapping, optional
        The data that kagglehub serves to a notebook written for Kaggle, name -> folder: see `data_proxy`.
    with_code : bool
        Whether the HTML export shows the cells' code.
    context : RunContext
        Receives a stage for each cell that starts.

    Raises
    ------
    NotebookError
        When a cell fails, a limit of time, memory or output is exceeded, or the kernel is missing or dies; the message
        shows the cell.
    ConfigError
        When the packages for notebooks are not installed.
    """
    need("papermill", "nbconvert", "ipykernel")
    limits = limits or Limits()
    start_s = time.perf_counter()
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy = copy.resolve()
    # A sandboxed notebook must not write next to the copy: a symlink that it leaves there could redirect our writes.
    worker_copy = copy if sandbox is None else copy.with_name(f"{copy.stem}-running") / copy.name
    if sandbox is not None:
        shutil.rmtree(worker_copy.parent, ignore_errors=True)
        worker_copy.parent.mkdir()
    with tempfile.TemporaryDirectory() as temporary_name:
        temporary = Path(temporary_name).resolve()
        source, job = temporary / f"{notebook.path.stem}.ipynb", temporary / "job.json"
        # The log may hold secrets that the worker does not recognise, so it is masked when it is copied.
        log = (temporary if sandbox is None and inherited is not None else worker_copy.parent) / LOG_NAME
        source.write_text(notebook.text, encoding="utf-8")
        job_settings = {
            "notebook": str(source),
            "copy": str(worker_copy),
            "output": str(worker_copy.with_suffix(".txt")),
            "log": str(log),
            "parameters": dict(parameters),
            "kernel": notebook.kernel or "python3",
            "folder": str(folder),
            "cell_seconds": limits.cell_seconds,
            "max_output": limits.output_bytes,
            "with_code": with_code,
            "attached": None if attached_folders is None else dict(attached_folders),
        }
        job.write_text(json.dumps(job_settings), encoding="utf-8")
        if sandbox is not None:
            job_mounts = {
                str(temporary): (str(temporary), False),
                str(worker_copy.parent): (str(worker_copy.parent), True),
            }
            sandbox = replace(sandbox, mounts={**sandbox.mounts, **job_mounts})
        variables = {**(os.environ if inherited is None else inherited), **(environment or {})}
        try:
            outcome = _run_worker([*WORKER_COMMAND, str(job)], sandbox, variables, limits, context)
        finally:
            masks = Masks(secret_values())
            if log != copy.with_name(LOG_NAME):
                _append_log(log, copy.with_name(LOG_NAME), masks)
            if worker_copy != copy:
                _move_outputs(worker_copy, copy)
            if inherited is not None:
                _mask_secrets(copy, masks)
    seconds = time.perf_counter() - start_s
    if outcome.event.get("event") != "done":
        raise _error(notebook, copy, outcome, limits)
    return ExecutedNotebook(copy, seconds, outcome.peak_bytes / 2**20, tuple(_failed_install_notes(outcome.event)))


def _move_outputs(worker_copy: Path, copy: Path) -> None:
    """Move the files that the worker wrote next to `copy`; links are ignored, as they may lead anywhere."""
    figures = f"{copy.stem}-figures"
    shutil.rmtree(copy.with_name(figures), ignore_errors=True)
    for path in (worker_copy, worker_copy.with_suffix(".html"), worker_copy.with_suffix(".txt")):
        if _is_file(path):
            path.replace(copy.with_name(path.name))
    if _is_folder(worker_copy.with_name(figures)):
        for path in filter(_is_file, sorted(worker_copy.with_name(figures).iterdir())):
            copy.with_name(figures).mkdir(exist_ok=True)
            path.replace(copy.with_name(figures) / path.name)
    shutil.rmtree(worker_copy.parent, ignore_errors=True)


def _append_log(source: Path, log: Path, masks: Masks) -> None:
    """Append the end of one log to another, which other processes may have open."""
    if not _is_file(source):
        return
    with source.open("rb") as file:
        file.seek(max(0, source.stat().st_size - MAX_LOG_BYTES))
        text = file.read(MAX_LOG_BYTES).decode(errors="replace")
    with log.open("a", encoding="utf-8") as log_file:
        log_file.write(masks.text(text))


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _mask_secrets(copy: Path, masks: Masks) -> None:
    """Mask the secrets of this process in the executed copy and its exports.

    The worker has not masked them: it does not get them, but a notebook may have read one elsewhere.
    """
    figures = sorted(copy.with_name(f"{copy.stem}-figures").glob("*.svg"))
    for path in (copy, copy.with_suffix(".html"), copy.with_suffix(".txt"), *figures):
        if _is_file(path):
            text = path.read_text(encoding="utf-8", errors="replace")
            masked = masks.text(EMBEDDED_SVG.sub(lambda match: match[1] + _masked_svg(match[2], masks), text))
            if masked != text:
                write_text(path, masked)


def _masked_svg(encoded: str, masks: Masks) -> str:
    """Mask secrets in a base64-encoded SVG; without secrets it is returned unchanged."""
    try:
        text = base64.b64decode(encoded).decode()
    except ValueError:
        return encoded
    masked = masks.text(text)
    return encoded if masked == text else base64.b64encode(masked.encode()).decode()


@dataclass
class _WorkerOutcome:
    """The outcome of a worker process.

    Attributes
    ----------
    event : dict
        The last event, which tells how the execution ended; empty where the worker was killed.
    last_cell : dict
        The event of the last cell that started.
    exceeded_limit : str
        "time" or "memory"; empty where the kernel was not killed for a limit.
    peak_bytes : int
    stderr : str
        Its end.
    """

    event: dict[str, Any]
    last_cell: dict[str, Any]
    exceeded_limit: str
    peak_bytes: int
    stderr: str


def _run_worker(
    command: Sequence[str],
    sandbox: Sandbox | None,
    environment: Mapping[str, str],
    limits: Limits,
    context: RunContext,
) -> _WorkerOutcome:
    """Run the worker, and kill its kernel when a limit is exceeded; no process of it outlives the call."""
    outcome = _WorkerOutcome({}, {}, "", 0, "")
    deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
    with tempfile.TemporaryFile("w+") as stderr:
        with start_command(command, sandbox, environment=environment, stdout=subprocess.PIPE, stderr=stderr) as running:
            process = running.process
            reader = threading.Thread(target=_read_events, args=(process, outcome, context), daemon=True)
            reader.start()
            while process.poll() is None:
                used_bytes = sum(running.descendant_bytes().values())
                outcome.peak_bytes = max(outcome.peak_bytes, used_bytes)
                if not outcome.exceeded_limit:
                    if deadline is not None and time.monotonic() > deadline:
                        outcome.exceeded_limit = "time"
                    elif limits.memory_bytes is not None and used_bytes > limits.memory_bytes:
                        outcome.exceeded_limit = "memory"
                    if outcome.exceeded_limit:
                        running.kill_descendants()
                        deadline = time.monotonic() + SAVE_TIMEOUT_S
                elif deadline is not None and time.monotonic() > deadline:
                    break
                time.sleep(POLL_INTERVAL_S)
            running.kill()
            reader.join(timeout=5)
        stderr.seek(0)
        outcome.stderr = stderr.read()[-2000:]
    return outcome


def _read_events(process: subprocess.Popen[str], outcome: _WorkerOutcome, context: RunContext) -> None:
    """Store the worker's events in its outcome, and report each cell that starts."""
    for line in process.stdout or ():
        event = _parsed_event(line)
        if event is None:
            continue
        if event["event"] == "cell":
            outcome.last_cell = event
            first_line = (event["source"].strip().splitlines() or [""])[0][:60]
            context.stage(f"cell {event['cell'] + 1} of {event['of']}: {first_line}")
        else:
            outcome.event = event


EVENT_FIELD_TYPES = {"event": str, "cell": int, "of": int, "source": str, "name": str, "text": str, "trace": str}
"""Field of the worker's events -> its type."""

REQUIRED_FIELDS = {"cell": ("cell", "of", "source"), "error": ("name", "text"), "no kernel": ("text",)}
"""Event -> the fields that it must have."""


def _parsed_event(line: str) -> dict[str, Any] | None:
    """Return the event in a line of the worker; None for other lines, which child processes of the notebook can write.

    Examples
    --------
    >>> _parsed_event('{"event": "done", "not_installed": []}')
    {'event': 'done', 'not_installed': []}
    >>> [_parsed_event(line) for line in ("5", "[1]", '{"event": "cell"}', '{"event": "done", "cell": "x"}', "no JSON")]
    [None, None, None, None, None]
    """
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    is_complete = all(name in event for name in REQUIRED_FIELDS.get(event["event"], ()))
    is_typed = all(isinstance(event[name], kind) for name, kind in EVENT_FIELD_TYPES.items() if name in event)
    failed = event.get("not_installed", [])
    is_typed &= isinstance(failed, list) and all(isinstance(f, list) and [*map(type, f)] == [int, str] for f in failed)
    return event if is_complete and is_typed else None


def _failed_install_notes(event: dict[str, Any]) -> list[str]:
    """Return a note for each cell whose installation failed; such a cell does not fail by itself."""
    return [
        f"cell {cell + 1} could not install its packages: {reason}" for cell, reason in event.get("not_installed", [])
    ]


def _error(notebook: Notebook, copy: Path, outcome: _WorkerOutcome, limits: Limits) -> NotebookError:
    event = outcome.event
    # A worker that was killed has sent no last event; the cell is then the last one that started.
    last_event: dict[str, Any] = {"cell": -1, "source": ""} | outcome.last_cell | event
    cell, source = last_event["cell"], last_event["source"]
    where = f"{notebook.path.name}, cell {cell + 1}" if cell >= 0 else notebook.path.name
    event_name, peak = event.get("event", ""), format_bytes(outcome.peak_bytes)
    hint = f"the executed copy is {copy}"
    if outcome.exceeded_limit == "time":
        text = f"{where}: the notebook exceeded its time limit of {limits.seconds:g} s"
        hint = f"raise seconds = … under [notebook]; {hint}"
    elif outcome.exceeded_limit == "memory":
        text = (
            f"{where}: the kernel exceeded its memory limit: it used {peak} of {format_bytes(limits.memory_bytes or 0)}"
        )
        hint = f"raise --memory-limit; {hint}"
    elif event_name == "error":
        text = f"{where}: {event['name']}: {event['text']}"
    elif event_name == "CellTimeoutError":
        text = f"{where}: the cell took longer than {limits.cell_seconds:g} s"
        hint = f"raise cell_seconds = … under [notebook]; {hint}"
    elif event_name == "DeadKernelError":
        text = f"{where}: the kernel died, probably killed by the system for memory; its peak was {peak}"
        hint = f"read less at a time, or use a machine with more memory; {hint}"
    elif event_name == "TooMuchOutputError":
        text = f"{where}: the output of the cells exceeds {format_bytes(limits.output_bytes)}"
        hint = f"print less, or write to a file; {hint}"
    elif event_name == "no kernel":
        text = f"{notebook.path}: no kernel {event['text']!r} is installed"
        hint = 'kernel = "python3" under [notebook] selects the kernel of this Python'
    else:
        reason = event.get("text") or outcome.stderr.strip().rpartition("\n")[2] or "unknown reason"
        text = f"{where}: the notebook could not be run: {reason}"
    if install_notes := _failed_install_notes(event):
        hint = f"{'; '.join(install_notes)} (install them in your environment beforehand); {hint}"
    source_lines = "\n".join(f"    {line}" for line in source.strip().splitlines()[:MAX_SHOWN_LINES])
    return NotebookError(
        f"{text}\n{source_lines}" if source_lines else text,
        hint=hint,
        trace=event.get("trace", ""),
        peak_mb=outcome.peak_bytes / 2**20,
    )
