"""Execute one notebook: parameters go in, the executed copy and the outcome come out."""

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

__all__ = ["Executed", "Limits", "execute"]

LOOK_S = 0.2
"""Between two looks at the clock and the memory."""

LAST_WORDS_S = 30.0
"""So long a process has, after its kernel is gone, to write the copy."""

START = """import sys
sys.path.append(sys.argv[1])
from workbench.core.notebook_worker.worker import main
sys.exit(main(sys.argv[2]))"""

WORKER = (sys.executable, "-P", "-c", START, str(PACKAGE.resolve().parent))
"""The process that runs a notebook. The folder one stands in is not where it finds modules: a ``logging.py`` there is
not the library's. The workbench's own is the last place, for a copy of it that is not installed."""

LOG = "log.txt"
"""Beside the copy; what the worker logs comes into it."""

MOST_LOG_BYTES = 16 * 2**20
"""Of what a notebook of others logs no more is kept."""

DRAWN = re.compile(r"(data:image/svg\+xml;base64,)([A-Za-z0-9+/=\s]*)")
"""A drawing in a page: text, packed."""

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
    inherited: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    world: Sandbox | None = None,
    attached: Mapping[str, str] | None = None,
    with_code: bool = True,
    context: RunContext = SILENT,
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
        Variables in addition to the inherited ones.
    inherited : mapping, optional
        The base environment, by default `os.environ`; see `clean_environment`.
    limits : Limits, optional
    world : Sandbox, optional
        The sandbox (mounts, network, process ids) that it runs in; by default none. Its child processes are killed
        when the notebook ends.
    attached : mapping, optional
        The data that kagglehub serves to a notebook written for Kaggle: see `data_proxy`.
    with_code : bool
        Whether the HTML export shows the cells' code beside their output.
    context : RunContext
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
    copy = copy.resolve()
    # A sandboxed notebook must not write next to the copy: a symlink that it leaves there could redirect our writes.
    worker_copy = copy if world is None else copy.with_name(f"{copy.stem}-running") / copy.name
    if world is not None:
        shutil.rmtree(worker_copy.parent, ignore_errors=True)
        worker_copy.parent.mkdir()
    with tempfile.TemporaryDirectory() as temporary_name:
        temporary = Path(temporary_name).resolve()
        source, job = temporary / f"{notebook.path.stem}.ipynb", temporary / "job.json"
        # The log may hold secrets that the worker does not recognise, so it is masked when it is copied.
        log = (temporary if world is None and inherited is not None else worker_copy.parent) / LOG
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
            "max_output": limits.output,
            "with_code": with_code,
            "attached": None if attached is None else dict(attached),
        }
        job.write_text(json.dumps(job_settings), encoding="utf-8")
        if world is not None:
            job_mounts = {
                str(temporary): (str(temporary), False),
                str(worker_copy.parent): (str(worker_copy.parent), True),
            }
            world = replace(world, mounts={**world.mounts, **job_mounts})
        variables = {**(os.environ if inherited is None else inherited), **(environment or {})}
        try:
            outcome = _watched([*WORKER, str(job)], world, variables, limits, context)
        finally:
            masks = Masks(secret_values())
            if log != copy.with_name(LOG):
                _append(log, copy.with_name(LOG), masks)
            if worker_copy != copy:
                _move_outputs(worker_copy, copy)
            if inherited is not None:
                _mask(copy, masks)
    seconds = time.perf_counter() - started
    if outcome.event.get("event") != "done":
        raise _error(notebook, copy, outcome, limits)
    return Executed(copy, seconds, outcome.peak / 2**20, tuple(_not_installed(outcome.event)))


def _move_outputs(written: Path, copy: Path) -> None:
    """Bring what the worker wrote to where it belongs; what is no file, such as a link, is left out."""
    figures = f"{copy.stem}-figures"
    shutil.rmtree(copy.with_name(figures), ignore_errors=True)
    for path in (written, written.with_suffix(".html"), written.with_suffix(".txt")):
        if _is_file(path):
            path.replace(copy.with_name(path.name))
    if _is_folder(written.with_name(figures)):
        for path in filter(_is_file, sorted(written.with_name(figures).iterdir())):
            copy.with_name(figures).mkdir(exist_ok=True)
            path.replace(copy.with_name(figures) / path.name)
    shutil.rmtree(written.parent, ignore_errors=True)


def _append(written: Path, log: Path, masks: Masks) -> None:
    """Add the end of what was logged elsewhere to a log, which others may have open."""
    if not _is_file(written):
        return
    with written.open("rb") as file:
        file.seek(max(0, written.stat().st_size - MOST_LOG_BYTES))
        text = file.read(MOST_LOG_BYTES).decode(errors="replace")
    with log.open("a", encoding="utf-8") as out:
        out.write(masks.text(text))


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _mask(copy: Path, masks: Masks) -> None:
    """Mask in what was written the secrets of this process: who wrote it did not know them, and may have found one."""
    drawn = sorted(copy.with_name(f"{copy.stem}-figures").glob("*.svg"))
    for path in (copy, copy.with_suffix(".html"), copy.with_suffix(".txt"), *drawn):
        if _is_file(path):
            text = path.read_text(encoding="utf-8", errors="replace")
            masked = masks.text(DRAWN.sub(lambda match: match[1] + _masked_drawing(match[2], masks), text))
            if masked != text:
                write_text(path, masked)


def _masked_drawing(packed: str, masks: Masks) -> str:
    """Mask a drawing as it stands in a page, packed; what holds no secret stays as it is."""
    try:
        text = base64.b64decode(packed).decode()
    except ValueError:
        return packed
    return packed if (masked := masks.text(text)) == text else base64.b64encode(masked.encode()).decode()


@dataclass
class _Ended:
    event: dict[str, Any]
    last_cell: dict[str, Any]
    why: str
    peak: int
    stderr: str


def _watched(
    command: Sequence[str],
    world: Sandbox | None,
    environment: Mapping[str, str],
    limits: Limits,
    context: RunContext,
) -> _Ended:
    """Run the process, and end its kernel when a limit is reached; whatever ends this, nothing of it goes on."""
    ended = _Ended({}, {}, "", 0, "")
    deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
    with tempfile.TemporaryFile("w+") as errors:
        with start_command(command, world, environment=environment, stdout=subprocess.PIPE, stderr=errors) as running:
            process = running.process
            reader = threading.Thread(target=_read, args=(process, ended, context), daemon=True)
            reader.start()
            while process.poll() is None:
                used = sum(running.descendant_bytes().values())
                ended.peak = max(ended.peak, used)
                if not ended.why:
                    if deadline is not None and time.monotonic() > deadline:
                        ended.why = "time"
                    elif limits.memory is not None and used > limits.memory:
                        ended.why = "memory"
                    if ended.why:
                        running.kill_descendants()
                        deadline = time.monotonic() + LAST_WORDS_S
                elif deadline is not None and time.monotonic() > deadline:
                    break
                time.sleep(LOOK_S)
            running.kill()
            reader.join(timeout=5)
        errors.seek(0)
        ended.stderr = errors.read()[-2000:]
    return ended


def _read(process: subprocess.Popen[str], ended: _Ended, context: RunContext) -> None:
    for line in process.stdout or ():
        event = _event(line)
        if event is None:
            continue
        if event["event"] == "cell":
            ended.last_cell = event
            shown = (event["source"].strip().splitlines() or [""])[0][:60]
            context.stage(f"cell {event['cell'] + 1} of {event['of']}: {shown}")
        else:
            ended.event = event


EVENT = {"event": str, "cell": int, "of": int, "source": str, "name": str, "text": str, "trace": str}

NEEDED = {"cell": ("cell", "of", "source"), "error": ("name", "text"), "no kernel": ("text",)}


def _event(line: str) -> dict[str, Any] | None:
    """Return what a worker says; None for other lines, as what a notebook started can write there, too.

    Examples
    --------
    >>> _event('{"event": "done", "not_installed": []}')
    {'event': 'done', 'not_installed': []}
    >>> [_event(line) for line in ("5", "[1]", '{"event": "cell"}', '{"event": "done", "cell": "x"}', "no JSON")]
    [None, None, None, None, None]
    """
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    is_complete = all(name in event for name in NEEDED.get(event["event"], ()))
    is_typed = all(isinstance(event[name], kind) for name, kind in EVENT.items() if name in event)
    missed = event.get("not_installed", [])
    is_typed &= isinstance(missed, list) and all(isinstance(m, list) and [*map(type, m)] == [int, str] for m in missed)
    return event if is_complete and is_typed else None


def _not_installed(event: dict[str, Any]) -> list[str]:
    """Say which cells tried in vain to install something: they do not fail by themselves."""
    return [f"cell {cell + 1} installs nothing: {reason}" for cell, reason in event.get("not_installed", [])]


def _error(notebook: Notebook, copy: Path, ended: _Ended, limits: Limits) -> NotebookError:
    event = ended.event
    # One that was killed says nothing of its cell.
    at: dict[str, Any] = {"cell": -1, "source": ""} | ended.last_cell | event
    cell, source = at["cell"], at["source"]
    where = f"{notebook.path.name}, cell {cell + 1}" if cell >= 0 else notebook.path.name
    kind, peak = event.get("event", ""), format_bytes(ended.peak)
    hint = f"the executed copy is {copy}"
    if ended.why == "time":
        text = f"{where}: the time of {limits.seconds:g} s in all is over"
        hint = f"seconds = … under [notebook] gives it more; {hint}"
    elif ended.why == "memory":
        text = f"{where}: the kernel was ended for memory: it had {peak} of {format_bytes(limits.memory or 0)}"
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
        text = f"{where}: the cells put out more than {format_bytes(limits.output)}"
        hint = f"print less, or into a file; {hint}"
    elif kind == "no kernel":
        text = f"{notebook.path}: no kernel {event['text']!r} is installed"
        hint = 'kernel = "python3" under [notebook] takes this Python\'s'
    else:
        reason = event.get("text") or ended.stderr.strip().rpartition("\n")[2] or "no reason was given"
        text = f"{where}: it could not be run: {reason}"
    if missed := _not_installed(event):
        hint = f"{'; '.join(missed)} (put it into your environment beforehand); {hint}"
    shown = "\n".join(f"    {line}" for line in source.strip().splitlines()[:SHOWN_LINES])
    return NotebookError(
        f"{text}\n{shown}" if shown else text, hint=hint, trace=event.get("trace", ""), peak_mb=ended.peak / 2**20
    )
