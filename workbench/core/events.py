"""What happens while something runs, as values: the terminal, ``events.jsonl`` of a run and a page read the same ones.

An event is a frozen dataclass of texts and numbers. In a file it is a line of JSON: "event" has its name, "at" the time
in UTC, and its fields are next to them.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeAlias, get_args, get_type_hints

from workbench.core.credentials import own_masks

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
"""In the folder of a run."""


@dataclass(frozen=True)
class Message:
    """Something that the user has to know, whatever is done next."""

    text: str


@dataclass(frozen=True)
class StageStarted:
    """What is being done from now on, until the next stage starts."""

    name: str


@dataclass(frozen=True)
class StageFinished:
    """A stage that was measured is finished; `peak_mb` is the most memory that the process had in it."""

    name: str
    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Progress:
    """How much of the present stage is done.

    Attributes
    ----------
    done : float
    total : float, or None
        None where it is not known.
    text : str
        What it is of.
    unit : str
        "share" where `done` is a part of 1; otherwise what is counted.
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
    """Bytes are about to arrive; `size_bytes` is how many, None where that is not known."""

    size_bytes: int | None


@dataclass(frozen=True)
class BytesReceived:
    """More bytes have arrived."""

    size_bytes: int


@dataclass(frozen=True)
class ModelTrained:
    """A model of one target, fold and seed is trained.

    Attributes
    ----------
    fold : int
        -1 for a model that is trained on all rows.
    score : float, or None
        The early stopping metric of the validated rows; None where it was not computed.
    rounds : int
        0 where the library has none.
    remaining : int
        The number of models still to be trained.
    """

    target: int
    fold: int
    seed: int
    score: float | None
    rounds: int
    seconds: float
    remaining: int


@dataclass(frozen=True)
class RunStarted:
    """A run begins; `mode` is "new", or "resumed" where some folds were finished before."""

    run_id: str
    mode: str


@dataclass(frozen=True)
class RunFinished:
    """A run is over.

    Attributes
    ----------
    status : str
        "finished", "failed" or "interrupted".
    score : float, or None
        The mean over the folds.
    error : str, or None
        Why it failed.
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
    """An event and when it happened, as a file has it."""

    at: datetime
    event: Event


def event_to_dict(event: Event) -> dict[str, Any]:
    """Return an event as JSON has it; numbers that are none become null.

    Examples
    --------
    >>> event_to_dict(StageStarted("writing"))
    {'event': 'stage_started', 'name': 'writing'}
    """
    values = {f.name: getattr(event, f.name) for f in fields(event)}
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    return {"event": NAMES[type(event)], **finite}


def event_from_dict(data: Any) -> Event | None:
    """Return the event that `event_to_dict` described; None for anything else, as an event of a newer version.

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
    if not all(_is_of(value, types[key]) for key, value in values.items()):
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


def _is_of(value: Any, types: tuple[type, ...]) -> bool:
    # JSON has 1 for 1.0, and for Python true is a number.
    allowed = (*types, int) if float in types else types
    return isinstance(value, allowed) and not isinstance(value, bool)


def event_text(event: Event) -> str | None:
    """Return an event as a line of text; None for what is counted and not told: bytes, models, beginnings and ends.

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
    return f"{progress.stage}: {progress.complete} trials, {progress.pruned} pruned{failed}{best}{remaining}"


class EventLog:
    """A listener that appends each event to a file, a line at a time, with secrets masked.

    A process that is killed leaves at most a torn last line, which readers skip. Where the disk is full an OSError is
    raised: see `RunContext.emit`.

    Parameters
    ----------
    path : Path
        May be there already: what is appended goes behind what it has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, event: Event) -> None:
        """Append an event."""
        stamped = {"at": datetime.now(UTC).isoformat(), **own_masks().within(event_to_dict(event))}
        line = json.dumps(stamped, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"
        # One write per line: a line is in the file as soon as the event has happened, whatever ends the process then.
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            size = os.fstat(file).st_size
            is_torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
            os.write(file, b"\n" * is_torn + line)
        finally:
            os.close(file)


def read_events(path: Path) -> list[LoggedEvent]:
    """Return the events of a file in their order; empty where there is no file, as of runs of earlier versions.

    Lines that are torn, or of a newer version, are left out.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # the last line is being written
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [logged for line in lines if (logged := _logged(line)) is not None]


def _logged(line: bytes) -> LoggedEvent | None:
    try:
        data = json.loads(line)
        event = event_from_dict(data)
        return None if event is None else LoggedEvent(datetime.fromisoformat(data["at"]), event)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
