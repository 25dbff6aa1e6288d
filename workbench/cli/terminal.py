"""All output to the terminal, with control characters in data made harmless.

Only the styles of `styled` reach the terminal as escape sequences: they carry a random mark that data can't contain.
No other module prints, which a test checks.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from workbench.core.credentials import process_masks
from workbench.core.printable import HARMFUL_CHARACTERS, one_line, printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "as_json",
    "confirm",
    "console",
    "echo",
    "echo_json",
    "echo_lines",
    "masked",
    "note",
    "note_lines",
    "sanitize_tracebacks",
    "short_path",
    "styled",
]

_MARK = secrets.token_hex(8)
_STYLE = re.compile(f"\x1b{_MARK}(\\[[0-9;]*m)")
_HARMFUL = re.compile(f"[{HARMFUL_CHARACTERS}\u200c\u200d]")


def styled(text: str, **style: Any) -> str:
    """Return a text in a style of `click.style`, for `echo` and `note`."""
    return click.style(printable(text), **style).replace("\x1b[", f"\x1b{_MARK}[")


def _shown(text: str) -> str:
    """Return a text for the terminal, with our styles and only printable characters otherwise."""
    parts = _STYLE.split(text)
    return "".join(f"\x1b{part}" if i % 2 else printable(part) for i, part in enumerate(parts))


def _in_a_line(text: object) -> str:
    # A line break in a name must not start a line that could be mistaken for one of ours.
    return _shown(str(text)).replace("\n", " ")


def echo(text: object = "") -> None:
    """Print a line of the result to stdout."""
    click.echo(_in_a_line(text))


def echo_lines(text: str, *, nl: bool = True) -> None:
    """Print a result of several lines to stdout."""
    click.echo(_shown(text), nl=nl)


def note(text: object) -> None:
    """Print a line of progress to stderr; errors of the stream are ignored."""
    _to_stderr(_in_a_line(text))


def note_lines(text: str) -> None:
    """Print several lines to stderr, as `note` does."""
    _to_stderr(_shown(text))


def masked(text: str) -> str:
    """Return a text without secrets, as error messages of other programs may contain an address with a password."""
    return process_masks().text(text)


def _to_stderr(text: str) -> None:
    with suppress(OSError):  # streams never raise within `main`, but those of another program may
        click.echo(masked(text), err=True)


def short_path(path: Path) -> Path:
    """Return a path relative to the current folder if it is inside, else as it is."""
    current = Path.cwd()
    return path.relative_to(current) if path.is_relative_to(current) else path


def confirm(question: str, *, default: bool | None = False, abort: bool = False) -> bool:
    """Ask a question on stderr."""
    return click.confirm(one_line(question), default=default, abort=abort, err=True)


def as_json(value: Any) -> str:
    r"""Return JSON with the data unchanged and characters escaped that would affect a terminal.

    Examples
    --------
    >>> as_json({"title": "caf\u00e9 \x9b31m \u202e"})
    '{"title": "café \\u009b31m \\u202e"}'
    """
    return _HARMFUL.sub(_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(character: re.Match[str]) -> str:
    # JSON escapes a character beyond the basic plane as two UTF-16 units.
    units = character[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def echo_json(value: Any) -> None:
    """Print the one JSON document of a command."""
    click.echo(as_json(value))


def console(*, err: bool = False, width: int | None = None) -> Console:
    """Return a rich console without markup, emoji names and highlighting.

    While a bar is shown, rich replaces the standard streams: output of user code would be parsed as markup, too, and
    "[/]" would raise an error.
    """
    from rich.console import Console

    return Console(
        stderr=err, file=None if err else sys.stdout, width=width, markup=False, emoji=False, highlight=False
    )


def sanitize_tracebacks() -> None:
    """Make tracebacks and warnings harmless, too, as they may quote data."""
    formatted = warnings.formatwarning

    def warning(*arguments: Any, **keywords: Any) -> str:
        return printable(formatted(*arguments, **keywords))

    def defect(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
        note_lines("".join(traceback.format_exception(kind, exc, trace)).rstrip())

    warnings.formatwarning = warning
    sys.excepthook = defect
