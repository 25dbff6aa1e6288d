r"""Make untrusted text safe to print or to put into a page.

Names of columns, files and teams, titles, logs and texts of a platform may contain escape sequences (colours, cursor
movements, the window title, the clipboard), characters that reverse the direction of text, and line breaks that make
one line look like two. All text that is printed or put into a page must pass through these functions.

Complete escape sequences are removed; of an incomplete one only the escape character is, so that the text after it is
still shown.
"""

from __future__ import annotations

import re

__all__ = ["HARMFUL_CHARACTERS", "one_line", "printable", "without_harmful"]

_ESCAPE_SEQUENCE = re.compile(
    # CSI: colours and cursor movements, in the 7-bit and 8-bit form.
    "(?:\x1b\\[|\x9b)[0-9;:<=>?]*[@-~]"
    # OSC, DCS and the like, which contain a text: window title, clipboard, links. Only within a line.
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]{0,4096}(?:\x07|\x1b\\\\|\x9c)"
    "|\x1b[ -/][0-~]"
)
# Unicode categories: Cc except tab and line feed; Cf that reorders or hides text, except the joiners, which some
# languages and emoji need; Cs, which can't be encoded; line and paragraph separators.
HARMFUL_CHARACTERS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_HARMFUL_CHARACTER = re.compile(f"[{HARMFUL_CHARACTERS}]")
_LINE_BREAKS = {"\r": "\n", "\x0b": "\n", "\x0c": "\n", "\x85": "\n", "\u2028": "\n", "\u2029": "\n"}


def printable(text: str) -> str:
    r"""Return a text without escape sequences and control characters; it may have several lines.

    Examples
    --------
    >>> printable("loss\t0.5\r\n\x1b[31mred\x1b[0m \x1b]52;c;cm0gLXJm\x07done\x9b2J")
    'loss\t0.5\nred done'
    >>> printable("two\u202eeno"), printable("an end \x1b]0;that is not there")
    ('twoeno', 'an end ]0;that is not there')
    """
    if _HARMFUL_CHARACTER.search(text) is None:
        return text
    return without_harmful(_ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n"))


def without_harmful(text: str) -> str:
    """Return a text without control characters, but with the visible part of escape sequences.

    For structured text such as HTML: removing a sequence that spans two elements would remove the tags between them.
    """
    return _HARMFUL_CHARACTER.sub(lambda match: _LINE_BREAKS.get(match[0], ""), text)


def one_line(text: str) -> str:
    r"""Return a text on one line, without escape sequences and control characters, with single spaces.

    Examples
    --------
    >>> one_line("You must\n accept \x1b[31mthe rules\x07")
    'You must accept the rules'
    """
    return " ".join(printable(text).split())
