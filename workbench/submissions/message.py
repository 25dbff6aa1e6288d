"""The message of a submission: a token that identifies it, a text for people, its CV."""

from __future__ import annotations

import re

from workbench.platforms.protocol import MESSAGE_MARK

__all__ = ["MAX_CHARACTERS", "cv_of", "message", "text_of"]

MAX_CHARACTERS = 250
"""Our own limit, as neither Kaggle's documentation nor its client names one. The token is never truncated."""

_CV = re.compile(rf" \| CV (\S+)(?: \| {MESSAGE_MARK}\w+)?$")


def message(token: str, text: str, cv_mean: float | None) -> str:
    """Return the message of a submission, the token first; a text that is too long is truncated.

    Examples
    --------
    >>> message("0123456789", "012 more features", 0.79)
    'wb:0123456789 | 012 more features | CV 0.79'
    """
    prefix, suffix = f"{MESSAGE_MARK}{token} | ", "" if cv_mean is None else f" | CV {cv_mean:.6g}"
    one_line = " ".join(text.split())
    max_text = MAX_CHARACTERS - len(prefix) - len(suffix)
    return f"{prefix}{one_line if len(one_line) <= max_text else f'{one_line[: max_text - 1]}…'}{suffix}"


def text_of(message: str) -> str:
    """Return the text of a message without token and CV.

    Examples
    --------
    >>> text_of("wb:0123456789 | 012 more features | CV 0.79"), text_of("012 more | CV 0.79 | wb:0123456789")
    ('012 more features', '012 more')
    """
    if message.startswith(MESSAGE_MARK):
        text = message.partition(" | ")[2]
    else:
        text = message.rpartition(f" | {MESSAGE_MARK}")[0] or message
    return _CV.sub("", text)


def cv_of(message: str) -> float | None:
    """Return the CV in a message that a workbench wrote; None where it has none.

    Examples
    --------
    >>> cv_of("wb:0123456789 | a mate's | CV 0.79"), cv_of("a mate's | CV 0.79 | wb:0123456789"), cv_of("| CV 0.79")
    (0.79, 0.79, None)
    """
    match = _CV.search(message) if MESSAGE_MARK in message else None
    try:
        return None if match is None else float(match[1])
    except ValueError:
        return None
