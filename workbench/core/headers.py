"""Headers of delimited text: the one place where they are read and written, so that what is written reads the same.

polars is not asked: it leaves doubled quotes doubled in a header that it reads, and does not quote a carriage return in
one that it writes.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from functools import cache

__all__ = ["end_of_header", "header_line", "header_names"]


def end_of_header(data: bytes, separators: str = ",") -> int:
    r"""Return where the header ends, with the blank lines before it; 0 where its end is not in `data`.

    A quote that does not begin a field is a letter, of which there may be one: 5" pipe.

    Parameters
    ----------
    data : bytes
        The beginning of a text in UTF-8, with or without a byte order mark.
    separators : str
        What may separate the fields.

    Examples
    --------
    >>> end_of_header(b'id,5" pipe\n1,2\n'), end_of_header(b'id,"a\nb"\n1,2\n'), end_of_header(b'id,"a\n1,2\n')
    (11, 9, 0)
    """
    at = len(data) - len(data.lstrip(b"\r\n"))
    at += len(codecs.BOM_UTF8) * data.startswith(codecs.BOM_UTF8, at)
    header = _header(separators).match(data, at)
    return header.end() if header else 0


@cache
def _header(separators: str) -> re.Pattern[bytes]:
    # In one go, and without a way back: what opens a quote and never closes it is looked at once.
    marks = re.escape(separators.encode())
    field = rb'(?:"(?:[^"]|"")*+"|(?!"))[^\n' + marks + rb"]*+"
    return re.compile(rb"(?:" + field + rb"[" + marks + rb"])*+" + field + rb"\n")


def header_names(record: str, separator: str = ",") -> list[str]:
    """Return the names in a header; a name that repeats gets a suffix.

    Examples
    --------
    >>> header_names('id,"the ""net"" price",5" pipe,id')
    ['id', 'the "net" price', '5" pipe', 'id_duplicated_0']
    """
    return _unique(next(csv.reader(io.StringIO(record, newline=""), delimiter=separator), []))


def _unique(names: list[str]) -> list[str]:
    taken, earlier_names, unique = set(names), set[str](), []
    suffixes: dict[str, int] = {}
    for name in names:
        new = name
        if name in earlier_names:
            while new in taken:
                n = suffixes.get(name, 0)
                new, suffixes[name] = f"{name}_duplicated_{n}", n + 1
        earlier_names.add(name)
        taken.add(new)
        unique.append(new)
    return unique


def header_line(names: Sequence[str], separator: str = ",") -> str:
    r"""Return names as the first line of a file, its end included.

    Examples
    --------
    >>> header_line(["id", "a, b", 'the "net" price'])
    'id,"a, b","the ""net"" price"\n'
    """
    odd = re.compile(rf'[{re.escape(separator)}"\r\n]|^$')
    quoted = (f'"{n}"' if odd.search(n) else n for n in (name.replace('"', '""') for name in names))
    return separator.join(quoted) + "\n"
