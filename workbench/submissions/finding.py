"""A finding of the checks of a submission."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["SubmissionFinding", "error", "note", "warning"]


@dataclass(frozen=True)
class SubmissionFinding:
    """A finding about a submission: an "error" blocks it, a "warning" needs confirmation, a "note" is for information.

    `hint` describes the fix.
    """

    level: str
    code: str
    message: str
    details: dict[str, object] = field(default_factory=dict)
    hint: str = ""


def error(code: str, message: str, *, hint: str = "") -> SubmissionFinding:
    """Return a finding that blocks the submission."""
    return SubmissionFinding("error", code, message, hint=hint)


def warning(code: str, message: str) -> SubmissionFinding:
    """Return a finding that needs confirmation."""
    return SubmissionFinding("warning", code, message)


def note(code: str, message: str) -> SubmissionFinding:
    """Return a finding that is only for information."""
    return SubmissionFinding("note", code, message)
