"""Progress events: the terminal, ``events.jsonl`` of a run and its page are all fed by them.

An event is a frozen dataclass of texts and numbers. In a file it is a JSON object per line, with the name of the event
("event"), the time in UTC ("at") and the fields of the dataclass.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias, get_args, get_type_hints

from workbench.core.credentials import process_masks
from workbench.core.operating_system import append_line
from workbench.core.wording import counted

__all__ = [
    "EVENTS_FILE",
    "BytesReceived",
    "DownloadStarted",
    "Event",
    "EventLog",
    "Listener",
    "LoggedEvent",
    "Message",
    "ModelTrained",
    "Progress",
    "RunFinished",
    "RunStarted",
    "SearchProgress",
    "StageFinished",
    "StageStarted",
    "event_from_dict",
    "event_text",
    "event_to_dict",
    "read_events",
]

EVENTS_FILE = "events.jsonl"
"""The name of the event log in the folder of a run."""


@dataclass(frozen=True)
class Message:
    """A message to the user."""

    text: str


@dataclass(frozen=True)
class StageStarted:
    """A stage of the work starts, which lasts until the next one starts."""

    name: str


@dataclass(frozen=True)
class StageFinished:
    """A measured stage is finished; `peak_mb` is the peak memory of the process during it."""

    name: str
    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Progress:
    """How much of the current stage is done.

    Attributes
    ----------
    done : float
    total : float, or None
        None if unknown.
    text : str
        What is being worked on.
    unit : str
        "share" if `done` is a fraction of 1; otherwise what is counted.
    """

    done: float
    total: float | None
    text: str = ""
    unit: str = ""


@dataclass(frozen=True)
class SearchProgress:
    """How far a search for parameters has come.

    Attributes
    ----------
    stage : str
    complete, pruned, failed : int
        The study's trials in each state.
    best : float, or None
        The best score so far.
    remaining_s : float, or None
        None without a time limit.
    """

    stage: str
    complete: int
    pruned: int
    failed: int
    best: float | None
    remaining_s: float | None


@dataclass(frozen=True)
class DownloadStarted:
    """A download starts; `size_bytes` is None if its size is unknown."""

    size_bytes: int | None


@dataclass(frozen=True)
class BytesReceived:
    """Another `size_bytes` bytes of the download have arrived."""

    size_bytes: int


@dataclass(frozen=True)
class ModelTrained:
    """A model of one target, fold and seed is trained.

    Attributes
    ----------
    fold : int
        -1 for a model trained on all rows.
    score : float, or None
        The early stopping metric on the validation rows; None if not computed.
    rounds : int
        Boosting rounds or epochs; 0 if the library has none.
    remaining : int
        The number of models that are not trained yet.
    metric : str
        The metric of `score`, which may be a proxy of the competition's; empty in events of earlier versions.
    """

    target: int
    fold: int
    seed: int
    score: float | None
    rounds: int
    seconds: float
    remaining: int
    metric: str = ""


@dataclass(frozen=True)
class RunStarted:
    """A run starts; `mode` is "new", or "resumed" if some folds are already finished."""

    run_id: str
    mode: str


@dataclass(frozen=True)
class RunFinished:
    """A run has ended.

    Attributes
    ----------
    status : str
        "finished", "failed" or "interrupted".
    score : float, or None
        The mean over the folds.
    error : str, or None
        The error message of a failed run.
    """

    run_id: str
    status: str
    score: float | None = None
    error: str | None = None


Event: TypeAlias = (
    Message
    | StageStarted
    | StageFinished
    | Progress
    | SearchProgress
    | DownloadStarted
    | BytesReceived
    | ModelTrained
    | RunStarted
    | RunFinished
)

Listener = Callable[[Event], None]

CLASSES: dict[str, type[Any]] = {re.sub(r"(?<!^)(?=[A-Z])", "_", c.__name__).lower(): c for c in get_args(Event)}
NAMES = {c: name for name, c in CLASSES.items()}


@dataclass(frozen=True)
class LoggedEvent:
    """An event from a log, with the time at which it was logged."""

    at: datetime
    event: Event


def event_to_dict(event: Event) -> dict[str, Any]:
    """Return an event as a JSON object; NaN and infinity become null.

    Examples
    --------
    >>> event_to_dict(StageStarted("writing"))
    {'event': 'stage_started', 'name': 'writing'}
    """
    values = {f.name: getattr(event, f.name) for f in fields(event)}
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    return {"event": NAMES[type(event)], **finite}


def event_from_dict(data: Any) -> Event | None:
    """Return the event of a JSON object; None for anything invalid or unknown, such as events of newer versions.

    Examples
    --------
    >>> event_from_dict({"event": "stage_started", "name": "writing"})
    StageStarted(name='writing')
    >>> event_from_dict({"event": "stage_started", "name": 5}), event_from_dict(["stage_started"])
    (None, None)
    """
    name = data.get("event") if isinstance(data, dict) else None
    if not isinstance(name, str) or name not in CLASSES:
        return None
    types = _field_types(name)
    values = {k: v for k, v in data.items() if k in types}
    if not all(_has_type(value, types[key]) for key, value in values.items()):
        return None
    try:
        event: Event = CLASSES[name](**values)
    except TypeError:  # a field is missing
        return None
    return event


@cache
def _field_types(name: str) -> dict[str, tuple[type, ...]]:
    hints = get_type_hints(CLASSES[name])
    return {name: get_args(hint) if isinstance(hint, UnionType) else (hint,) for name, hint in hints.items()}


def _has_type(value: Any, types: tuple[type, ...]) -> bool:
    # JSON may have 1 in place of 1.0, and in Python a bool is an int.
    allowed = (*types, int) if float in types else types
    return isinstance(value, allowed) and not isinstance(value, bool)


def event_text(event: Event) -> str | None:
    """Return an event as a line of text; None for events that have none: downloads, models, starts and ends.

    Examples
    --------
    >>> event_text(StageStarted("writing")), event_text(Progress(0.25, 1.0, "covisit", "share"))
    ('writing', 'covisit: 25%')
    >>> event_text(Progress(3, 10, "fold 1"))
    '3 of 10: fold 1'
    >>> event_text(SearchProgress("full CV", 80, 9, 0, 0.81256, 95.0))
    'full CV: 80 trials, 9 pruned, best 0.81256, 1.6 min left'
    """
    match event:
        case Message(text) | StageStarted(text):
            return text
        case Progress(done, _, text, "share"):
            return f"{text}: {done:.0%}"
        case Progress(done, None, text, unit):
            return f"{done:,g}{unit and ' '}{unit}: {text}"
        case Progress(done, total, text, unit):
            return f"{done:,g} of {total:,g}{unit and ' '}{unit}: {text}"
        case SearchProgress():
            return _search_text(event)
    return None


def _search_text(progress: SearchProgress) -> str:
    best = "" if progress.best is None else f", best {progress.best:.5f}"
    remaining = "" if progress.remaining_s is None else f", {progress.remaining_s / 60:.1f} min left"
    failed = f", {progress.failed} failed" if progress.failed else ""
    return f"{progress.stage}: {counted(progress.complete, 'trial')}, {progress.pruned} pruned{failed}{best}{remaining}"


class EventLog:
    """A listener that appends each event to a file as a line of JSON, with secrets masked.

    A killed process leaves at most an incomplete last line, which readers skip. If the disk is full, OSError is raised,
    which `RunContext.emit` ignores.

    Parameters
    ----------
    path : Path
        Events are appended if the file exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, event: Event) -> None:
        """Append an event."""
        record = {"at": datetime.now(UTC).isoformat(), **process_masks().in_json(event_to_dict(event))}
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"
        # Unbuffered, one write per line: the line is in the file whatever ends the process afterwards. The file is
        # opened for each event because a network drive shows a line to other machines when the file is closed (nfs(5),
        # "close-to-open cache consistency").
        append_line(self.path, line)


def read_events(path: Path) -> list[LoggedEvent]:
    """Return the events of a log in order; empty if there is no file, as in runs of earlier versions.

    Incomplete lines and events of newer versions are skipped.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # empty, or a line that is still being written
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [logged for line in lines if (logged := _parse_line(line)) is not None]


def _parse_line(line: bytes) -> LoggedEvent | None:
    try:
        data = json.loads(line)
        event = event_from_dict(data)
        return None if event is None else LoggedEvent(datetime.fromisoformat(data["at"]), event)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
