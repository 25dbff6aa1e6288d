"""The message of a submission: a token by which it is known again, a text for people, its CV."""

from __future__ import annotations

import re

from workbench.platforms.protocol import MARK

__all__ = ["LONGEST", "cv_of", "message", "text_of"]

LONGEST = 250
"""Characters: a bound of our own, as neither Kaggle's documentation nor its client names one. What is cut off behind it
is never the token."""

_CV = re.compile(rf" \| CV (\S+)(?: \| {MARK}\w+)?$")


def message(token: str, text: str, cv_mean: float | None) -> str:
    """Return the message of a submission, the token first; a text that is too long is cut.

    Examples
    --------
    >>> message("0123456789", "012 more features", 0.79)
    'wb:0123456789 | 012 more features | CV 0.79'
    """
    before, behind = f"{MARK}{token} | ", "" if cv_mean is None else f" | CV {cv_mean:.6g}"
    line = " ".join(text.split())
    room = LONGEST - len(before) - len(behind)
    return f"{before}{line if len(line) <= room else f'{line[: room - 1]}…'}{behind}"


def text_of(message: str) -> str:
    """Return the part that is for people.

    Examples
    --------
    >>> text_of("wb:0123456789 | 012 more features | CV 0.79"), text_of("012 more | CV 0.79 | wb:0123456789")
    ('012 more features', '012 more')
    """
    text = message.partition(" | ")[2] if message.startswith(MARK) else message.rpartition(f" | {MARK}")[0] or message
    return _CV.sub("", text)


def cv_of(message: str) -> float | None:
    """Return the CV that the workbench, of whoever sent it, wrote into a message; None where there is none.

    Examples
    --------
    >>> cv_of("wb:0123456789 | a mate's | CV 0.79"), cv_of("a mate's | CV 0.79 | wb:0123456789"), cv_of("| CV 0.79")
    (0.79, 0.79, None)
    """
    found = _CV.search(message) if MARK in message else None
    try:
        return None if found is None else float(found[1])
    except ValueError:
        return None
