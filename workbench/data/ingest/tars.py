"""Tar archives, read from the beginning to the end and nothing else: names, sizes and bytes of regular files.

Python's own reader follows links, seeks, reads headers of any size into memory, and in older versions loops on what is
made for that (CVE-2025-4517, CVE-2025-8194, CVE-2024-6232). This one knows the headers that matter (ustar, pax,
GNU's long names; https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html), and refuses every other kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from workbench.core.errors import DamagedError
from workbench.core.packed import COMPRESSIONS, checked_stream, decompressed, packing_of

__all__ = ["HEADER_BYTES", "TarMember", "tar_members"]

HEADER_BYTES = 512
MOST_EXTENDED_BYTES = 1 << 20
"""A longer header than this is none: it holds a name, and a few attributes."""
PIECE_BYTES = 1 << 20
EXPECTED = "a complete tar archive"
NO_SIZE = "a header gives a size that no file has"

KINDS = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a pipe"}
REGULAR = (b"0", b"\0", b"7")


@dataclass(frozen=True)
class TarMember:
    """A member of a tar archive. `kind` says what it is where it is no regular file: "a link"; "" where it is one.

    `pieces` are its bytes, which are to be had until the next member is asked for.
    """

    name: str
    size: int
    kind: str
    pieces: Iterator[bytes]


def _pieces(file: IO[bytes], size: int, where: str) -> Iterator[bytes]:
    while size:
        piece = file.read(min(size, PIECE_BYTES))
        if not piece:
            raise _damaged(where, "it ends within a file")
        size -= len(piece)
        yield piece


def tar_members(archive: Path) -> Iterator[TarMember]:
    """Yield the members of a tar archive, compressed or not, in order; folders are left out.

    Raises
    ------
    DamagedError
        When it is not whole, which for what is compressed shows at the end.
    DataError
        When it inflates without bound.
    """
    where = str(archive)
    with _opened(archive) as file:
        long_name, extended, is_first = "", dict[str, bytes](), True
        while block := _block(file, where, is_first=is_first):
            is_first = False
            kind, size = block[156:157], _number(block[124:136], where)
            if kind in (b"x", b"X", b"g", b"L", b"K"):
                content = _extended(file, size, where)
                if kind in (b"x", b"X"):
                    extended |= _records(content, where)
                elif kind == b"L":
                    long_name = _text(content.partition(b"\0")[0])
                continue
            name = _text(extended["path"]) if "path" in extended else long_name or _name_of(block)
            size = _decimal(extended["size"], where) if "size" in extended else size
            is_sparse = any(key.startswith("GNU.sparse") for key in extended)
            long_name, extended = "", {}
            if kind == b"5" or (kind == b"\0" and name.endswith("/")):
                continue
            fault = "no regular file" if is_sparse or kind not in REGULAR else ""
            member = TarMember(name, size, KINDS.get(kind, fault), _pieces(file, size, where))
            yield member
            for _ in member.pieces:  # what was not asked for
                pass
            _skip(file, -size % HEADER_BYTES, where)
        # To the end: what is compressed has its checksum there.
        while file.read(PIECE_BYTES):
            pass


def _damaged(where: str, fault: str) -> DamagedError:
    return DamagedError(f"{where} is not {EXPECTED}: {fault}", hint="fetch it again: `wb fetch SLUG --force`")


@contextmanager
def _opened(archive: Path) -> Iterator[IO[bytes]]:
    with archive.open("rb") as file:
        packing = packing_of(file.peek(16))
        if packing not in COMPRESSIONS:
            yield file
            return
        with decompressed(file, packing, str(archive)) as plain:
            yield checked_stream(plain, str(archive), EXPECTED)


def _block(file: IO[bytes], where: str, *, is_first: bool) -> bytes:
    """Return the next header; nothing at the end, which is a block of zeros or that of the file."""
    block = file.read(HEADER_BYTES)
    if not block and not is_first:
        return b""
    if len(block) < HEADER_BYTES:
        raise _damaged(where, "it ends within a header")
    if not any(block):
        if is_first:
            raise _damaged(where, "it is empty")
        return b""
    expected = _number(block[148:156], where)
    signed = sum(b - 256 * (b > 127) for b in block[:148] + block[156:]) + 8 * 32
    if expected not in (sum(block[:148]) + sum(block[156:]) + 8 * 32, signed):
        raise _damaged(where, "what should be a header is none")
    return block


def _number(field: bytes, where: str) -> int:
    """Return a number of a header: octal digits, or GNU's bytes for what these can't hold."""
    if field[0] == 0xFF:  # below zero
        raise _damaged(where, NO_SIZE)
    if field[0] == 0x80:
        return _size(int.from_bytes(field[1:], "big"), where)
    digits = field.split(b"\0")[0].strip()
    if digits.strip(b"01234567"):
        raise _damaged(where, "what should be a header is none")
    return int(digits or b"0", 8)


def _decimal(digits: bytes, where: str) -> int:
    if not digits.isdigit() or len(digits) > 20:
        raise _damaged(where, "a header gives no size where it should")
    return _size(int(digits), where)


def _size(value: int, where: str) -> int:
    if value >= 1 << 63:
        raise _damaged(where, NO_SIZE)
    return value


def _extended(file: IO[bytes], size: int, where: str) -> bytes:
    if size > MOST_EXTENDED_BYTES:
        raise _damaged(where, f"a header would have {size:,} bytes")
    content = file.read(size)
    if len(content) < size:
        raise _damaged(where, "it ends within a header")
    _skip(file, -size % HEADER_BYTES, where)
    return content


def _records(content: bytes, where: str) -> dict[str, bytes]:
    """Return the records of an extended header, each "LENGTH KEY=VALUE" and a line end."""
    records, at = dict[str, bytes](), 0
    while at < len(content) and content[at]:
        length = content[at : at + 8].partition(b" ")[0]
        if not length.isdigit() or not 5 <= int(length) <= len(content) - at:
            raise _damaged(where, "what should be a header is none")
        key, _, value = content[at + len(length) + 1 : at + int(length) - 1].partition(b"=")
        records[key.decode(errors="replace")] = value
        at += int(length)
    return records


def _name_of(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    # GNU has other things in the place of the folders.
    folders = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return _text(folders + b"/" + name if folders else name)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _skip(file: IO[bytes], size: int, where: str) -> None:
    if len(file.read(size)) < size:
        raise _damaged(where, "it ends within a file")
