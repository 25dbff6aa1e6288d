"""Read delimited text, in any packing, encoding and line ends, as blocks of complete records in UTF-8."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

import numpy as np

from workbench.core.errors import DataError
from workbench.core.headers import end_of_header, header_names
from workbench.core.packed import COMPRESSIONS, checked_stream, damage_errors, decompressed, packing_of
from workbench.data.ingest.ahead import ahead
from workbench.data.ingest.encodings import (
    Guess,
    guess_encoding,
    is_broken_utf8,
    lines_beyond_ascii,
    seven_bit,
    utf16_without_mark,
)
from workbench.data.ingest.shared_archive import SharedArchive

__all__ = [
    "BLOCK_BYTES",
    "HEAD_BYTES",
    "MAX_RECORD_BYTES",
    "SourceFile",
    "TextForm",
    "blocks",
    "blocks_with",
    "encoding_line",
    "encoding_sample",
    "first_block",
    "first_fault",
    "form_of",
    "full_encoding",
    "has_short_record",
    "head_of",
    "head_records",
    "header_of",
    "sha256_of",
    "without_blank_lines",
]

T = TypeVar("T")

BLOCK_BYTES = 16 << 20
HEAD_BYTES = 4 << 20
MAX_RECORD_BYTES = 256 << 20
MAX_HEADER_BYTES = 32 << 20
MAX_COLUMNS = 1_000_000
LINES_BACK = 100
"""The lines that are searched backwards, one by one, for the end of a record."""
SUPERSETS = {"shift_jis": "cp932"}
"""Files labelled Shift JIS mostly use Microsoft's superset; browsers read them so (https://encoding.spec.whatwg.org)."""
SEPARATORS = (",", "\t", ";", "|")


@dataclass(frozen=True)
class SourceFile:
    """A file that becomes a table or a part of one: on disk, or a member of a zip archive on disk.

    Attributes
    ----------
    name : str
        Its path below ``data/raw``; that of a member is relative to the folder of its archive.
    path : Path
        The file or the archive.
    member : str, optional
        The name of the member in the archive.
    size_bytes : int
        Of the file or the member, which may be compressed by itself.
    keys : tuple
        Names and values of the Hive folders (``date=2022-08-01``) that it is in, or of a column for its part.
    archive : SharedArchive, optional
        The archive of a member, shared with the other members.
    """

    name: str
    path: Path
    member: str | None = None
    size_bytes: int = 0
    keys: tuple[tuple[str, str], ...] = ()
    archive: SharedArchive | None = field(default=None, compare=False, repr=False)

    @property
    def stamp(self) -> str:
        """A text that changes with the content, without reading it: size and time, or the member's checksum."""
        stat = self.path.stat()
        if self.member is None:
            return f"{stat.st_size}-{stat.st_mtime_ns}"
        info = self._opened_archive().getinfo(self.member)
        return f"{info.file_size}-{info.CRC:08x}"

    def _opened_archive(self) -> zipfile.ZipFile:
        return (self.archive or SharedArchive(self.path)).opened()

    @contextmanager
    def packed(self) -> Iterator[IO[bytes]]:
        """Open the file or the member without decompressing it further.

        Raises
        ------
        DamagedError
            When the archive is incomplete; the checksum is checked at the end of the member.
        """
        if self.member is None:
            with self.path.open("rb") as file:
                yield file
            return
        where = f"{self.path}: {self.member}"
        with ExitStack() as stack:
            with damage_errors(where, "complete"):
                member = stack.enter_context(self._opened_archive().open(self.member))
            yield checked_stream(member, where, "complete")

    @property
    def packed_bytes(self) -> int:
        """The bytes that the content takes on disk."""
        if self.member is None:
            return self.path.stat().st_size
        with damage_errors(f"{self.path}: {self.member}", "complete"):
            return self._opened_archive().getinfo(self.member).compress_size

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Open the content, decompressed.

        Raises
        ------
        DamagedError
            When the file is truncated or damaged.
        DataError
            When the content is far larger than the compressed file.
        """
        with self.packed() as file:
            packing = self._packing(file.peek(16))  # type: ignore[attr-defined]
            if packing == ".zip":
                with self._only_member(file) as member:
                    yield member
                return
            if packing not in COMPRESSIONS:
                yield file
                return
            expected = f"a complete {packing} file"
            with ExitStack() as stack:
                with damage_errors(str(self.path), expected):
                    unpacked = stack.enter_context(decompressed(file, packing, str(self.path)))
                yield checked_stream(unpacked, str(self.path), expected, packed_bytes=self.packed_bytes)

    @property
    def misnamed(self) -> str:
        """The suffix of the actual packing (".gz", ".zip") if the name has another one or none; else ""."""
        with self.packed() as file:
            suffix = self._packing(file.peek(16))  # type: ignore[attr-defined]
        return "" if self.name.lower().endswith(suffix) else suffix

    def _packing(self, head: bytes) -> str:
        """Return the packing as a suffix, by the first bytes, else by the name."""
        return packing_of(head) or PurePosixPath(self.name).suffix.lower()

    @contextmanager
    def _only_member(self, file: IO[bytes]) -> Iterator[IO[bytes]]:
        """Open the only file of a zip archive that has another suffix."""
        where = f"{self.path}: {self.name}"
        with ExitStack() as stack:
            with damage_errors(where):
                archive = stack.enter_context(zipfile.ZipFile(file))
                members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
            names = [m.filename for m in members]
            if "[Content_Types].xml" in names:
                raise DataError(
                    f"{where} is a workbook of Excel, whatever its name says",
                    hint="save its sheet as CSV",
                )
            if len(members) != 1 or members[0].flag_bits & 1:
                reason = "needs a password" if len(members) == 1 else f"has {len(members)} files"
                raise DataError(
                    f"{where} is a zip archive, whatever its name says, and {reason}",
                    hint="unpack it, and name the file as it is",
                )
            with damage_errors(where):
                member = stack.enter_context(archive.open(members[0]))
            yield checked_stream(member, where, "a complete zip archive", packed_bytes=self.packed_bytes)


@dataclass(frozen=True)
class TextForm:
    """The format of a text.

    Attributes
    ----------
    encoding, separator : str
    line_end : str
    decimal : str
        The decimal mark; "" if it is not known.
    missing : tuple of str
        The missing values of ``[read.TABLE]``.
    guessed : tuple of str
        The guessed settings, as lines of TOML.
    broken_line : int
        The first line with invalid UTF-8, which is read as �; 0 for none.
    """

    encoding: str = "utf-8"
    separator: str = ","
    line_end: str = "\n"
    decimal: str = "."
    missing: tuple[str, ...] = ()
    guessed: tuple[str, ...] = field(default=(), compare=False)
    broken_line: int = 0


# ----------------------------------------------------------------------------------------------------------- the form


def head_of(source: SourceFile, size: int = HEAD_BYTES) -> bytes:
    """Return the first bytes of a source's content, decompressed."""
    with source.opened() as file:
        return file.read(size)


def form_of(source: SourceFile, options: dict[str, Any]) -> TextForm:
    """Guess the format of a text, except for the settings in `options`.

    Raises
    ------
    DataError
        For an unknown encoding, or a separator that is not one ASCII character.
    """
    if not options:
        # Cached, because it is needed several times for each of many parts; the stamp changes with the file.
        cached_forms = _guessed_forms(replace(source, keys=(), archive=None), source.stamp)
        if not cached_forms:
            cached_forms.append(_form_of(source, {}))
        return cached_forms[0]
    return _form_of(source, options)


@lru_cache(4096)
def _guessed_forms(source: SourceFile, stamp: str) -> list[TextForm]:  # noqa: ARG001 the key of the cache
    """Return the list that holds the form of a source once it is guessed; no archive stays open for it."""
    return []


def _form_of(source: SourceFile, options: dict[str, Any]) -> TextForm:
    head = head_of(source)
    encoding, guessed_settings, broken_line = str(options.get("encoding") or ""), [], 0
    if not encoding:
        guess = _encoding(head, is_cut=len(head) >= HEAD_BYTES)
        encoding, broken_line = guess.encoding, guess.broken_line
        if broken_line or encoding not in ("utf-8", "utf-8-sig"):
            guessed_settings.append(encoding_line(guess))
    try:
        # This also rejects codecs of Python that are not text encodings, such as "base64".
        head[:2].decode(encoding, "replace")
    except LookupError:
        raise DataError(
            f"{source.path}: {source.name}: Python knows no encoding {encoding!r}", hint="for example utf-8, cp1252"
        ) from None
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    line_end = "\r" if "\n" not in text and "\r" in text else "\n"
    separator = str(options.get("separator") or "")
    if separator and (len(separator) > 1 or not separator.isascii() or separator in '"\r\n'):
        raise DataError(
            f"{source.path}: {source.name} can't be split at {separator!r}: a separator is one ASCII character",
            hint="rewrite the file with one that is, and fix [read.TABLE] separator in competition.toml",
        )
    if not separator:
        separator = _separator(text.replace("\r", "\n"), source.name)
        if separator != ("\t" if ".tsv" in source.name.lower() else ","):
            guessed_settings.append(f"separator = {separator!r}".replace("'", '"'))
    return TextForm(
        encoding=encoding,
        separator=separator,
        line_end=line_end,
        decimal=str(options.get("decimal") or ""),
        missing=tuple(options.get("missing") or ()),
        guessed=tuple(guessed_settings),
        broken_line=broken_line,
    )


def _encoding(head: bytes, *, is_cut: bool) -> Guess:
    """Guess the encoding from the beginning of a text; `is_cut` tells that the text goes on after it."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return Guess("utf-32")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Guess("utf-16")
    special_encoding = utf16_without_mark(head) or seven_bit(head)
    if special_encoding is not None:
        return Guess(special_encoding)
    has_bom = head.startswith(codecs.BOM_UTF8)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, not is_cut)
    except UnicodeDecodeError as exc:
        sample = lines_beyond_ascii(head, is_cut=is_cut)
        if not has_bom and not is_broken_utf8(sample):
            return guess_encoding(sample)
        valid_bytes = head[: exc.start]
        line = 1 + (valid_bytes.count(b"\n") or valid_bytes.count(b"\r"))
        return Guess("utf-8-sig" if has_bom else "utf-8", broken_line=line)
    return Guess("utf-8-sig" if has_bom else "utf-8")


def encoding_line(guess: Guess) -> str:
    """Return a guessed encoding as a line of TOML, with the alternatives as a comment."""
    comment = f"  # or {' or '.join(guess.alternatives)}" if guess.alternatives else ""
    if guess.broken_line:
        comment = "  # with invalid bytes, which are read as \ufffd; uncomment this line to reject them"
    return f'encoding = "{guess.encoding}"{comment}'


def encoding_sample(source: SourceFile) -> bytes:
    """Return lines that are not ASCII, preferably not UTF-8: from the beginning of a text, else from further down."""
    head = head_of(source)
    lines = lines_beyond_ascii(head, is_cut=len(head) >= HEAD_BYTES)
    try:
        lines.decode()
    except UnicodeDecodeError:
        return lines
    return (_not_utf8(source) or (lines, 0))[0]


def full_encoding(source: SourceFile, prefer: str | None = None) -> Guess:
    """Guess the encoding of a text from all of it, where its beginning is valid UTF-8."""
    evidence = _not_utf8(source)
    if evidence is None:
        return Guess("utf-8")
    sample, line = evidence
    head_lines = lines_beyond_ascii(head_of(source), is_cut=True)
    if is_broken_utf8(head_lines + sample):
        return Guess("utf-8", broken_line=line)
    return guess_encoding(sample, prefer=prefer)


def _not_utf8(source: SourceFile) -> tuple[bytes, int] | None:
    """Return the lines beyond ASCII of the first block that is not UTF-8, and the number of the first invalid line."""
    with source.opened() as file:
        decoder = codecs.getincrementaldecoder("utf-8")()
        is_first = True
        line = 1
        while block := file.read(BLOCK_BYTES):
            is_cut = len(block) >= BLOCK_BYTES
            try:
                # The decoder keeps a character that is split between two blocks.
                decoder.decode(block, not is_cut)
            except UnicodeDecodeError as exc:
                invalid_line = line + block.count(b"\n", 0, exc.start)
                return lines_beyond_ascii(block, is_cut=is_cut, begins_cut=not is_first), invalid_line
            is_first = False
            line += block.count(b"\n")
    return None


def _separator(text: str, name: str) -> str:
    """Return the separator that splits the first lines into the same number of fields, at least two."""
    # Records rather than lines: a quoted text may have line ends.
    data = text[: text.rfind("\n") + 1].encode(errors="replace")
    end = end_of_header(data, "".join(SEPARATORS))
    records = (r.decode() for r in (data[:end].strip(b"\n"), *islice(_split(data[end:]), 50)))
    records_of_head = [r for r in records if r.strip()] or text.split("\n")[:1]
    default = "\t" if ".tsv" in name.lower() else ","
    best_separator, best_n_fields = default, 0
    for separator in (default, *(s for s in SEPARATORS if s != default)):
        # A decimal comma occurs in rows but not in the header, so that these differ in their numbers of fields.
        field_counts = [_count_fields(line, separator) for line in records_of_head]
        is_consistent = sum(c == field_counts[0] for c in field_counts) > 0.9 * len(field_counts)
        if field_counts[0] > 1 and field_counts[0] > best_n_fields and is_consistent:
            best_separator, best_n_fields = separator, field_counts[0]
            if separator == default:
                return best_separator
    return best_separator


def _count_fields(line: str, separator: str) -> int:
    if '"' not in line:
        return line.count(separator) + 1
    # Only a quote at the beginning of a field quotes it: 5" pipe.
    field_start = rf"(?:^|(?<={re.escape(separator)}))"
    return re.sub(rf'{field_start}"(?:[^"]|"")*"', "", line).count(separator) + 1


# ----------------------------------------------------------------------------------------------------------- blocks


def header_of(source: SourceFile, form: TextForm) -> list[str]:
    """Return the names in the first record, in order; repeated names get a suffix.

    Raises
    ------
    DataError
        When the text has no valid header.
    """
    first_record = next(_records(source, form, 1 << 20, None), b"").strip(b"\r\n").removeprefix(codecs.BOM_UTF8)
    if first_record and not end_of_header(first_record + b"\n", form.separator):
        raise _unclosed_header(source)
    if first_record.count(form.separator.encode()) >= MAX_COLUMNS:
        raise DataError(
            f"{source.path}: {source.name} has a header of more than {MAX_COLUMNS:,} columns",
            hint="is it a table? its first line has too many separators",
        )
    try:
        names = header_names(first_record.decode(), form.separator)
    except (csv.Error, UnicodeDecodeError):
        names = []
    if not first_record.strip():
        raise DataError(f"{source.path}: {source.name} has no header: the file is empty")
    if any("\0" in name for name in names):
        raise DataError(f"{source.path}: {source.name} has NUL bytes in its header", hint="is it a table?")
    if not names or names == [" " * len(names[0])]:
        raise DataError(f"{source.path}: {source.name} has no header that can be read", hint="is it a table?")
    return names


def _unclosed_header(source: SourceFile) -> DataError:
    return DataError(
        f"{source.path}: {source.name} has a header with a quote that is opened and never closed",
        hint="double a quote that is part of a name, and put the name into quotes",
    )


def head_records(source: SourceFile, form: TextForm) -> Iterator[list[str]]:
    """Yield the records of a text as lists of fields, the header first."""
    for block in _records(source, form, 1 << 16, None):
        text = io.StringIO(block.decode(errors="replace"), newline="")
        yield from (r for r in csv.reader(text, delimiter=form.separator) if r)


def blocks(source: SourceFile, form: TextForm, *, digest: Any = None, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the records after the header as blocks of complete records in UTF-8, of about `size` bytes each.

    A background thread reads and decompresses the next blocks.

    Parameters
    ----------
    digest : hash object, optional
        Updated with the source's content, decompressed.

    Raises
    ------
    DataError
        When the text is not in the encoding, or a record is longer than 256 MB because a quote is never closed.
    DamagedError
        When the source is truncated or damaged.
    """
    for block, _ in blocks_with(source, form, lambda _: None, digest=digest, size=size):
        yield block


def first_block(source: SourceFile, form: TextForm, size: int) -> bytes:
    """Return the first of `blocks`, without a thread; empty where there are no records."""
    return next(islice(_records(source, form, size, None), 1, None), b"")


def blocks_with(
    source: SourceFile, form: TextForm, compute: Callable[[bytes], T], *, digest: Any = None, size: int = BLOCK_BYTES
) -> Iterator[tuple[bytes, T]]:
    """Yield `blocks`, each with the result of `compute` for it, which runs in the background thread."""
    records = ((data, compute(data)) for data in islice(_records(source, form, size, digest), 1, None))
    with ahead(records) as ready:
        yield from ready


def _records(source: SourceFile, form: TextForm, size: int, digest: Any) -> Iterator[bytes]:
    """Yield the header, with blank lines before it, and then blocks of complete records."""
    with source.opened() as file:
        texts = _utf8(file, form, size, digest, source)
        header, first = _split_header(texts, form, source)
        if header:
            yield header
        # The parts of an incomplete record, and whether they end inside of quotes.
        incomplete: list[bytes] = []
        incomplete_bytes, is_quoted = 0, False
        for data in chain([first], texts):
            end = _last_record_end(data, is_quoted=is_quoted)
            if end:
                yield b"".join([*incomplete, data[:end]])
                incomplete, incomplete_bytes, is_quoted = [], 0, False
            remainder = data[end:]
            if remainder:
                incomplete.append(remainder)
                incomplete_bytes += len(remainder)
                is_quoted ^= bool(remainder.count(b'"') % 2)
            if incomplete_bytes > MAX_RECORD_BYTES:
                raise DataError(
                    f"{source.path}: {source.name} has a record of more than {MAX_RECORD_BYTES >> 20} MB",
                    hint="a quote is opened and never closed; fix the file, or leave it out",
                )
    last = b"".join(incomplete)
    if last.strip():
        yield last + b"\n"


def _split_header(texts: Iterator[bytes], form: TextForm, source: SourceFile) -> tuple[bytes, bytes]:
    """Return the header, empty if it has no end, and the data that was read after it."""
    data, searched_bytes, n_columns = b"", 0, 0
    for text in texts:
        data += text
        n_columns += text.count(form.separator.encode())
        # Search only when the data has doubled, so that an endless header does not take quadratic time.
        if len(data) < 2 * searched_bytes:
            continue
        end, searched_bytes = end_of_header(data, form.separator), len(data)
        if end > MAX_HEADER_BYTES or (not end and (len(data) > MAX_HEADER_BYTES or n_columns > MAX_COLUMNS)):
            raise _long_header(source)
        if end:
            return data[:end], data[end:]
    end = end_of_header(data, form.separator)
    return data[:end], data[end:]


def _long_header(source: SourceFile) -> DataError:
    return DataError(
        f"{source.path}: {source.name} has a header of more than {MAX_HEADER_BYTES >> 20} MB, or "
        f"{MAX_COLUMNS:,} columns: it has no line end, or a quote that is opened and never closed",
        hint="is it a table? fix its first line, or leave it out",
    )


def _utf8(file: IO[bytes], form: TextForm, size: int, digest: Any, source: SourceFile) -> Iterator[bytes]:
    """Yield the content as UTF-8 with line feeds as line ends."""
    is_utf8 = form.encoding in ("utf-8", "ascii") and not form.broken_line
    errors = "replace" if form.broken_line else "strict"
    decoder = None if is_utf8 else codecs.getincrementaldecoder(SUPERSETS.get(form.encoding, form.encoding))(errors)
    try:
        while received := file.read(size):
            if digest is not None:
                digest.update(received)
            data = received if decoder is None else decoder.decode(received).encode()
            yield data if form.line_end == "\n" else data.replace(b"\r", b"\n")
        if decoder is not None:
            yield decoder.decode(b"", True).encode()
    except UnicodeDecodeError as exc:
        raise DataError(
            f"{source.path}: {source.name} is not written in {form.encoding}: {exc.reason}",
            hint='name its encoding in competition.toml: [read.TABLE] encoding = "…"',
        ) from exc


def _last_record_end(data: bytes, *, is_quoted: bool = False) -> int:
    """Return the end of the last complete record: the position after the last line end that is not inside of quotes.

    `is_quoted` tells that `data` begins inside of quotes.
    """
    end = data.rfind(b"\n") + 1
    if not is_quoted and b'"' not in data:
        return end
    n_quotes = data.count(b'"', 0, end) + is_quoted
    for _ in range(LINES_BACK):
        if not end or n_quotes % 2 == 0:
            return end
        previous_end = data.rfind(b"\n", 0, end - 1) + 1
        n_quotes -= data.count(b'"', previous_end, end)
        end = previous_end
    # A long record: search the remaining data at once.
    codes = np.frombuffer(data, np.uint8, end)
    in_quotes = np.logical_xor.accumulate(codes == ord('"')) ^ is_quoted
    ends = np.flatnonzero((codes == ord("\n")) & ~in_quotes)
    return int(ends[-1]) + 1 if len(ends) else 0


# ------------------------------------------------------------------------------------------------------------- faults


def _split(data: bytes) -> Iterator[bytes]:
    """Yield the records one by one, without their line ends; the last one may end inside of quotes."""
    pending: list[bytes] = []
    n_quotes = 0
    for line in data.removesuffix(b"\n").split(b"\n"):
        pending.append(line)
        n_quotes += line.count(b'"')
        if n_quotes % 2 == 0:
            yield b"\n".join(pending)
            pending, n_quotes = [], 0
    if pending:
        yield b"\n".join(pending)


def _is_blank(record: bytes) -> bool:
    return not record.strip(b" \r\n")


def without_blank_lines(block: bytes) -> bytes:
    """Remove blank lines between records."""
    return b"".join(record + b"\n" for record in _split(block) if not _is_blank(record))


def has_short_record(block: bytes, form: TextForm, width: int) -> bool:
    """Tell whether a record has fewer than `width` fields."""
    records = (r.decode(errors="replace") for r in _split(block) if not _is_blank(r))
    return any(_count_fields(record, form.separator) < width for record in records)


def first_fault(source: SourceFile, form: TextForm, width: int) -> str | None:
    """Describe the first record that does not have `width` fields, with its line; None if all have."""
    blocks_of_records = _records(source, form, BLOCK_BYTES, None)
    line = 1 + next(blocks_of_records, b"").count(b"\n")
    for block in blocks_of_records:
        for record in _split(block):
            if not _is_blank(record):
                fault = _fault(record.decode(errors="replace").rstrip("\r"), form, width)
                if fault:
                    return f"line {line:,} {fault}"
            line += record.count(b"\n") + 1
    return None


def _fault(record: str, form: TextForm, width: int) -> str | None:
    """Describe the fault of a record, as a clause after "line N"; None if it has `width` fields."""
    if record.count('"') % 2:
        return "opens a quote that is never closed"
    separator = re.escape(form.separator)
    without_quoted = re.sub(rf'(^|{separator})"(?:[^"]|"")*"(?={separator}|$)', r"\1", record)
    if '"' in without_quoted:
        return "has a quote inside a field that is not quoted, or text behind a closing quote"
    n_fields = without_quoted.count(form.separator) + 1
    return None if n_fields == width else f"has {n_fields} field{'s' * (n_fields > 1)}, the header has {width}"


def sha256_of(source: SourceFile) -> str:
    """Return the SHA-256 of a source's content, decompressed, as 64 hex digits."""
    digest = hashlib.sha256()
    with source.opened() as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
