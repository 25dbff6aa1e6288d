"""The log of submissions: a sidecar file next to each submitted file, then the ledger; either can be read alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.core.cache import read_json, write_json
from workbench.core.errors import DamagedError, NewerError
from workbench.data.workspace import Workspace
from workbench.ledger import Ledger, SubmissionEvent, SubmissionRecord, check_version

__all__ = ["DOUBTFUL_STATUSES", "SENT_STATUSES", "SubmissionLog", "load_sidecars"]

DOUBTFUL_STATUSES = ("sending", "unlisted")
"""Statuses of a submission that the platform may have received without confirming it."""

SENT_STATUSES = (*DOUBTFUL_STATUSES, "pending", "complete")
"""Statuses of a submission that the platform has or may have received, from the earliest to the latest."""

_STATUS_ORDER = {status: position for position, status in enumerate(("prepared", *SENT_STATUSES))} | {
    "error": len(SENT_STATUSES)
}
"""A submission's later status has the greater number."""

VERSION = 1
"""The format of sidecar files, increased when an older workbench would misread them. The first files had none."""


class SubmissionLog:
    """Writes each new status of a submission to its sidecar file and to the ledger."""

    def __init__(self, workspace: Workspace, ledger: Ledger) -> None:
        self.workspace = workspace
        self.ledger = ledger

    def put(self, record: SubmissionRecord, detail: str) -> None:
        """Write a submission with its new status, and a short explanation."""
        path = _sidecar_path(self.workspace, record)
        events = _read_sidecar(path)["events"] if path.exists() else []
        event = SubmissionEvent(
            submission_id=record.submission_id,
            at=datetime.now(UTC),
            status=record.status,
            public_score=record.public_score,
            private_score=record.private_score,
            detail=detail,
        )
        write_json(path, {"version": VERSION, "record": record.to_dict(), "events": [*events, event.to_dict()]})
        self.ledger.put_submission(record, detail)

    def catch_up(self, slug: str) -> None:
        """Write to the ledger the statuses that only the sidecar files have.

        These are left when a process was killed between the two writes, or while the ledger was locked.

        A later status in the ledger is kept: another workspace that shares the ledger wrote it.
        """
        status_by_id = {s.submission_id: s.status for s in self.ledger.submissions(slug)}
        for path in sorted((self.workspace.submissions / slug).glob("*.json")):
            try:
                record, events = _read_records(path)
            except (DamagedError, NewerError):  # `wb ledger rebuild` reports it; another program may own the file
                continue
            status = status_by_id.get(record.submission_id)
            if status is None or _STATUS_ORDER.get(record.status, 0) > _STATUS_ORDER.get(status, 0):
                self.ledger.put_submission(record, events[-1].detail if events else "")


def _sidecar_path(workspace: Workspace, record: SubmissionRecord) -> Path:
    if not record.file:  # submitted elsewhere: this workspace does not have the file
        return workspace.submissions / record.competition / f"elsewhere.{record.submission_id}.json"
    return (workspace.root / record.file).with_suffix(f".{record.submission_id}.json")


def _read_sidecar(path: Path) -> dict[str, Any]:
    """Return the content of a sidecar file, after checking its version and form."""
    data = read_json(path)
    if isinstance(data, dict):
        check_version(data.get("version", 1), VERSION, path)
    if not isinstance(data, dict) or not isinstance(data.get("events"), list) or "record" not in data:
        raise DamagedError(
            f"{path} is damaged: it is not the record of a submission",
            hint="move it elsewhere; `wb sync` fetches that submission's record from the platform",
        )
    return data


def _read_records(path: Path) -> tuple[SubmissionRecord, list[SubmissionEvent]]:
    """Return the submission and its events in a sidecar file."""
    data = _read_sidecar(path)
    try:
        record = SubmissionRecord.from_dict(data["record"])
        return record, [SubmissionEvent.from_dict(e) for e in data["events"]]
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise DamagedError(f"{path} is damaged: {exc}") from exc


def load_sidecars(workspace: Workspace) -> tuple[list[SubmissionRecord], list[SubmissionEvent], dict[str, str]]:
    """Read the records of all submissions from their sidecar files, for `wb ledger rebuild`.

    Returns
    -------
    records, events, problems
        `problems` has a message for each file that could not be read, by the id of its submission.
    """
    records: list[SubmissionRecord] = []
    events: list[SubmissionEvent] = []
    problems: dict[str, str] = {}
    for path in sorted(workspace.submissions.glob("*/*.json")):
        try:
            record, record_events = _read_records(path)
        except (DamagedError, NewerError) as exc:
            # NAME.ID.json
            problems[path.name.rpartition(".")[0].rpartition(".")[2]] = exc.message
            continue
        records.append(record)
        events += record_events
    return records, events, problems
