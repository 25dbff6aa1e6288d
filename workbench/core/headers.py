"""Read and write the header of delimited text.

polars does neither correctly: it keeps doubled quotes doubled when it reads a header, and does not quote a carriage
return when it writes one.
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
    r"""Return the offset of the end of the header, leading blank lines included; 0 if `data` ends before it.

    A quote inside an unquoted field is a normal character: 5" pipe.

    Parameters
    ----------
    data : bytes
        The beginning of a UTF-8 text, with or without a byte order mark.
    separators : str
        The characters that may separate fields.

    Examples
    --------
    >>> end_of_header(b'id,5" pipe\n1,2\n'), end_of_header(b'id,"a\nb"\n1,2\n'), end_of_header(b'id,"a\n1,2\n')
    (11, 9, 0)
    """
    start = len(data) - len(data.lstrip(b"\r\n"))
    start += len(codecs.BOM_UTF8) * data.startswith(codecs.BOM_UTF8, start)
    match = _header_pattern(separators).match(data, start)
    return match.end() if match else 0


@cache
def _header_pattern(separators: str) -> re.Pattern[bytes]:
    # Possessive quantifiers do not backtrack: a quote that is never closed is scanned once.
    separator_class = re.escape(separators.encode())
    field = rb'(?:"(?:[^"]|"")*+"|(?!"))[^\n' + separator_class + rb"]*+"
    return re.compile(rb"(?:" + field + rb"[" + separator_class + rb"])*+" + field + rb"\n")


def header_names(record: str, separator: str = ",") -> list[str]:
    """Return the names in a header; repeated names get a suffix.

    Examples
    --------
    >>> header_names('id,"the ""net"" price",5" pipe,id')
    ['id', 'the "net" price', '5" pipe', 'id_duplicated_0']
    """
    return _unique(next(csv.reader(io.StringIO(record, newline=""), delimiter=separator), []))


def _unique(names: list[str]) -> list[str]:
    used_names, earlier_names, unique_names = set(names), set[str](), []
    next_suffix: dict[str, int] = {}
    for name in names:
        new_name = name
        if name in earlier_names:
            while new_name in used_names:
                suffix = next_suffix.get(name, 0)
                new_name, next_suffix[name] = f"{name}_duplicated_{suffix}", suffix + 1
        earlier_names.add(name)
        used_names.add(new_name)
        unique_names.append(new_name)
    return unique_names


def header_line(names: Sequence[str], separator: str = ",") -> str:
    r"""Return column names as the header line of a file, line end included.

    Examples
    --------
    >>> header_line(["id", "a, b", 'the "net" price'])
    'id,"a, b","the ""net"" price"\n'
    """
    needs_quotes = re.compile(rf'[{re.escape(separator)}"\r\n]|^$')
    quoted = (f'"{n}"' if needs_quotes.search(n) else n for n in (name.replace('"', '""') for name in names))
    return separator.join(quoted) + "\n"
