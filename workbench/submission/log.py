"""The log of submissions: a file beside what was sent, then the ledger; either can be rebuilt or read alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.cache import read_json, write_json
from workbench.errors import DamagedError
from workbench.ledger import Ledger, SubmissionEvent, SubmissionRecord
from workbench.workspace import Workspace

__all__ = ["Log", "load_sidecars"]


class Log:
    """Writes what happens to a submission, as it happens."""

    def __init__(self, workspace: Workspace, ledger: Ledger) -> None:
        self.workspace = workspace
        self.ledger = ledger

    def put(self, record: SubmissionRecord, detail: str) -> None:
        """Write a submission's new state, with a word on it."""
        path = _sidecar(self.workspace, record)
        events = read_json(path)["events"] if path.exists() else []
        event = SubmissionEvent(
            submission_id=record.submission_id,
            at=datetime.now(UTC),
            status=record.status,
            public_score=record.public_score,
            private_score=record.private_score,
            detail=detail,
        )
        write_json(path, {"record": record.to_dict(), "events": [*events, event.to_dict()]})
        self.ledger.put_submission(record, detail)


def _sidecar(workspace: Workspace, record: SubmissionRecord) -> Path:
    if not record.file:  # sent from elsewhere: the file itself is not here
        return workspace.submissions / record.competition / f"elsewhere.{record.submission_id}.json"
    return (workspace.root / record.file).with_suffix(f".{record.submission_id}.json")


def load_sidecars(workspace: Workspace) -> tuple[list[SubmissionRecord], list[SubmissionEvent], list[str]]:
    """Read the records of all submissions from the files beside what was sent, for `wb ledger rebuild`.

    Returns
    -------
    records, events, problems
        `problems` has a line per file that could not be read.
    """
    records: list[SubmissionRecord] = []
    events: list[SubmissionEvent] = []
    problems: list[str] = []
    for path in sorted(workspace.submissions.glob("*/*.json")):
        try:
            data: dict[str, Any] = read_json(path)
            records.append(SubmissionRecord.from_dict(data["record"]))
            events += [SubmissionEvent.from_dict(e) for e in data["events"]]
        except (DamagedError, KeyError, TypeError) as exc:
            problems.append(f"{path}: {exc}")
    return records, events, problems
