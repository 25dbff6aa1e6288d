"""One thing that speaks against sending a file."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Finding", "error", "note", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing to know before sending: an "error" stops, a "warning" asks, a "note" does neither.

    `hint` says what to do about it.
    """

    level: str
    code: str
    message: str
    details: dict[str, object] = field(default_factory=dict)
    hint: str = ""


def error(code: str, message: str, *, hint: str = "") -> Finding:
    """Return a finding that stops."""
    return Finding("error", code, message, hint=hint)


def warning(code: str, message: str) -> Finding:
    """Return a finding that asks."""
    return Finding("warning", code, message)


def note(code: str, message: str) -> Finding:
    """Return what is only said."""
    return Finding("note", code, message)
