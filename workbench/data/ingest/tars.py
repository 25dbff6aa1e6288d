"""Read tar archives sequentially: names, sizes and bytes of regular files, and nothing else.

Python's `tarfile` follows links, seeks, reads headers of any size into memory, and in older versions loops on crafted
archives (CVE-2025-4517, CVE-2025-8194, CVE-2024-6232). This reader knows the necessary headers (ustar, pax, GNU's long
names; https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html) and reports all other kinds of members.
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
MAX_EXTENDED_HEADER_BYTES = 1 << 20
"""An extended header holds a name and a few attributes: a longer one is damaged."""
CHUNK_BYTES = 1 << 20
EXPECTED = "a complete tar archive"
NO_SIZE = "a header gives a size that no file has"

KINDS = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a pipe"}
REGULAR = (b"0", b"\0", b"7")


@dataclass(frozen=True)
class TarMember:
    """A member of a tar archive.

    Attributes
    ----------
    name : str
    size : int
        In bytes.
    kind : str
        What a member is that is no regular file, such as "a link"; "" for a regular file.
    chunks : iterator of bytes
        The content; it can be read until the next member is requested.
    """

    name: str
    size: int
    kind: str
    chunks: Iterator[bytes]


def _chunks(file: IO[bytes], size: int, where: str) -> Iterator[bytes]:
    while size:
        chunk = file.read(min(size, CHUNK_BYTES))
        if not chunk:
            raise _damaged(where, "it ends within a file")
        size -= len(chunk)
        yield chunk


def tar_members(archive: Path) -> Iterator[TarMember]:
    """Yield the members of a tar archive, compressed or not, in order, without folders.

    Raises
    ------
    DamagedError
        When the archive is incomplete; if it is compressed, this may be noticed only at the end.
    DataError
        When a compressed archive expands too much.
    """
    where = str(archive)
    with _opened(archive) as file:
        long_name, extended_fields, is_first = "", dict[str, bytes](), True
        while block := _next_header(file, where, is_first=is_first):
            is_first = False
            kind, size = block[156:157], _header_number(block[124:136], where)
            if kind in (b"x", b"X", b"g", b"L", b"K"):
                content = _extended_header(file, size, where)
                if kind in (b"x", b"X"):
                    extended_fields |= _records(content, where)
                elif kind == b"L":
                    long_name = _decoded_name(content.partition(b"\0")[0])
                continue
            name = _decoded_name(extended_fields["path"]) if "path" in extended_fields else long_name or _name_of(block)
            size = _decimal_size(extended_fields["size"], where) if "size" in extended_fields else size
            is_sparse = any(key.startswith("GNU.sparse") for key in extended_fields)
            long_name, extended_fields = "", {}
            if kind == b"5" or (kind == b"\0" and name.endswith("/")):
                continue
            fault = "no regular file" if is_sparse or kind not in REGULAR else ""
            member = TarMember(name, size, KINDS.get(kind, fault), _chunks(file, size, where))
            yield member
            for _ in member.chunks:  # skip the bytes that the caller did not read
                pass
            _skip(file, -size % HEADER_BYTES, where)
        # Compressed files have their checksum at the end.
        while file.read(CHUNK_BYTES):
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


def _next_header(file: IO[bytes], where: str, *, is_first: bool) -> bytes:
    """Return the next header; empty at the end of the archive, which is a block of zeros or the end of the file."""
    block = file.read(HEADER_BYTES)
    if not block and not is_first:
        return b""
    if len(block) < HEADER_BYTES:
        raise _damaged(where, "it ends within a header")
    if not any(block):
        if is_first:
            raise _damaged(where, "it is empty")
        return b""
    stated_checksum = _header_number(block[148:156], where)
    signed_checksum = sum(b - 256 * (b > 127) for b in block[:148] + block[156:]) + 8 * 32
    if stated_checksum not in (sum(block[:148]) + sum(block[156:]) + 8 * 32, signed_checksum):
        raise _damaged(where, "the checksum of a header is wrong")
    return block


def _header_number(field: bytes, where: str) -> int:
    """Parse a number of a header: octal digits, or GNU's binary form for larger numbers."""
    if field[0] == 0xFF:  # GNU's negative numbers
        raise _damaged(where, NO_SIZE)
    if field[0] == 0x80:
        return _checked_size(int.from_bytes(field[1:], "big"), where)
    digits = field.split(b"\0")[0].strip()
    if digits.strip(b"01234567"):
        raise _damaged(where, "a field of a header is not a number")
    return int(digits or b"0", 8)


def _decimal_size(digits: bytes, where: str) -> int:
    if not digits.isdigit() or len(digits) > 20:
        raise _damaged(where, "the size in an extended header is not a number")
    return _checked_size(int(digits), where)


def _checked_size(value: int, where: str) -> int:
    if value >= 1 << 63:
        raise _damaged(where, NO_SIZE)
    return value


def _extended_header(file: IO[bytes], size: int, where: str) -> bytes:
    """Read the content of an extended header, and skip the padding after it."""
    if size > MAX_EXTENDED_HEADER_BYTES:
        raise _damaged(where, f"a header would have {size:,} bytes")
    content = file.read(size)
    if len(content) < size:
        raise _damaged(where, "it ends within a header")
    _skip(file, -size % HEADER_BYTES, where)
    return content


def _records(content: bytes, where: str) -> dict[str, bytes]:
    """Parse an extended header, whose records are "LENGTH KEY=VALUE" and a line end each."""
    records, start = dict[str, bytes](), 0
    while start < len(content) and content[start]:
        length = content[start : start + 8].partition(b" ")[0]
        if not length.isdigit() or not 5 <= int(length) <= len(content) - start:
            raise _damaged(where, "an extended header has no length where it should")
        key, _, value = content[start + len(length) + 1 : start + int(length) - 1].partition(b"=")
        records[key.decode(errors="replace")] = value
        start += int(length)
    return records


def _name_of(block: bytes) -> str:
    """Return the name in a header, with its folders."""
    name = block[:100].partition(b"\0")[0]
    # Only ustar has the folders there; GNU's format has other fields.
    folders = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return _decoded_name(folders + b"/" + name if folders else name)


def _decoded_name(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _skip(file: IO[bytes], size: int, where: str) -> None:
    if len(file.read(size)) < size:
        raise _damaged(where, "it ends within a file")
