r"""What comes from others, made fit for a terminal and for a page: text that shows something and does nothing.

Names of columns, files and teams, titles, logs, the words of a platform: each may hold sequences that a terminal takes
for commands (colours, the cursor, the window's title, the clipboard), characters that turn the writing round, and line
breaks that make one line look like two. Whatever is printed or put into a page passes here.

Escape sequences that end are dropped whole; of one that doesn't, only the character that begins it is: what stands
behind it, in another column perhaps, is still shown.
"""

from __future__ import annotations

import re

__all__ = ["HARMFUL", "harmless", "one_line", "printable"]

_SEQUENCE = re.compile(
    # Colours and movements of the cursor, as logs have them; also in the 8-bit form.
    "(?:\x1b\\[|\x9b)[0-9;:<=>?]*[@-~]"
    # What has a text of its own: the window's title, the clipboard, links. Within a line.
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]{0,4096}(?:\x07|\x1b\\\\|\x9c)"
    "|\x1b[ -/][0-~]"
)
# Of Unicode's Cc all but tab and line feed; of Cf what orders or hides text, but not the joiners, without which some
# languages and emoji can't be written; Cs, which can't be encoded; separators of lines and paragraphs.
HARMFUL = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_CHARACTER = re.compile(f"[{HARMFUL}]")
_BREAKS = {"\r": "\n", "\x0b": "\n", "\x0c": "\n", "\x85": "\n", "\u2028": "\n", "\u2029": "\n"}


def printable(text: str) -> str:
    r"""Return a text of one or more lines that can do nothing to a terminal.

    Examples
    --------
    >>> printable("loss\t0.5\r\n\x1b[31mred\x1b[0m \x1b]52;c;cm0gLXJm\x07done\x9b2J")
    'loss\t0.5\nred done'
    >>> printable("two\u202eeno"), printable("an end \x1b]0;that is not there")
    ('twoeno', 'an end ]0;that is not there')
    """
    if _CHARACTER.search(text) is None:
        return text
    return harmless(_SEQUENCE.sub("", text).replace("\r\n", "\n"))


def harmless(text: str) -> str:
    """Return a text without harmful characters; of a sequence the visible rest stays.

    For what has a structure of its own, such as HTML: a sequence that begins in one part and ends in another would take
    the border between them away.
    """
    return _CHARACTER.sub(lambda match: _BREAKS.get(match[0], ""), text)


def one_line(text: str) -> str:
    r"""Return a text in one line that can do nothing to a terminal, with single blanks.

    Examples
    --------
    >>> one_line("You must\n accept \x1b[31mthe rules\x07")
    'You must accept the rules'
    """
    return " ".join(printable(text).split())
