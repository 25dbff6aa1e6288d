"""What is packed, byte by byte: where reading begins to refuse, what is written where, and what stays as it is."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import random
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workbench.core.errors import DamagedError, DataError, StorageError
from workbench.core.packed import (
    UnpackBudget,
    checked_stream,
    damage_errors,
    decompressed,
    is_damage,
    max_unpacked_bytes,
    packing_of,
    too_large_error,
)
from workbench.data.ingest.archives import (
    EncryptedError,
    check_members,
    files_unpacked_from,
    is_encrypted,
    unpack,
    unpack_tar,
)
from workbench.data.ingest.tars import TarMember, tar_members

MB = 1 << 20


# --------------------------------------------------------------------------------------------------------------- tars


def header(
    name: bytes = b"a",
    size: int | bytes = 0,
    kind: bytes = b"0",
    *,
    magic: bytes = b"ustar\0" + b"00",
    prefix: bytes = b"",
    signed: bool = False,
) -> bytes:
    """Return a header of a tar archive; a size of bytes is the field as it stands."""
    block = bytearray(512)
    block[: len(name)] = name
    field = b"%011o\0" % size if isinstance(size, int) else size
    block[124 : 124 + len(field)] = field
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257 : 257 + len(magic)] = magic
    block[345 : 345 + len(prefix)] = prefix
    total = sum(b - 256 * (b > 127) for b in block) if signed else sum(block)
    block[148:156] = b"%06o\0 " % total
    return bytes(block)


def file(data: bytes = b"", name: bytes = b"a", kind: bytes = b"0", **more: Any) -> bytes:
    return header(name, len(data), kind, **more) + data + bytes(-len(data) % 512)


def record(key: bytes, value: bytes) -> bytes:
    """Return a record of an extended header: its length counts its own digits."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(body) + len(str(length)) != length:
        length += 1
    return str(length).encode() + body


END = bytes(1024)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[tuple[str, int, str, bytes]]]:
    def go(data: bytes) -> list[tuple[str, int, str, bytes]]:
        (tmp_path / "x.tar").write_bytes(data)
        return [(m.name, m.size, m.kind, b"".join(m.chunks)) for m in tar_members(tmp_path / "x.tar")]

    return go


class TestTars:
    @pytest.mark.parametrize("size", [0, 1, 511, 512, 513, MB, MB + 5])
    def test_bytes_and_what_follows(self, read, tmp_path: Path, size: int) -> None:
        data = random.Random(1).randbytes(size)
        assert read(file(data) + file(b"next", b"b") + END) == [("a", size, "", data), ("b", 4, "", b"next")]
        # What was not asked for is passed over, and pieces have a megabyte at most.
        assert [m.name for m in tar_members(tmp_path / "x.tar")] == ["a", "b"]
        members = tar_members(tmp_path / "x.tar")
        assert [len(p) for p in next(members).chunks] == [min(MB, size - at) for at in range(0, size, MB)]

    def test_it_ends_with_zeros_or_with_the_file(self, read) -> None:
        for end in (END, bytes(512), b"", END + b"what is behind"):
            assert len(read(file(b"x") + end)) == 1

    @pytest.mark.parametrize(
        ("data", "fault"),
        [
            (b"", "it ends within a header"),
            (bytes(511), "it ends within a header"),
            (bytes(512), "it is empty"),
            (file(b"x") + b"y", "it ends within a header"),
            (file(b"x")[:-1], "it ends within a file"),
            (file(bytes(512))[:-1], "it ends within a file"),
            (header(size=1), "it ends within a file"),
            (b"x" * 512, "a field of a header is not a number"),
            (header(size=b"00000000008\0"), "a field of a header is not a number"),
            (header(size=b"\x80" + bytes(10) + b"\x01"), "it ends within a file"),
            (header(size=b"\xff" * 12), "a header gives a size that no file has"),
            (header(size=b"\xff" + bytes(10) + b"\x01"), "a header gives a size that no file has"),
            (header(size=b"\x80\0\0\0" + (2**63).to_bytes(8, "big")), "a header gives a size that no file has"),
            (header(size=b"\x80\0\0\0" + (2**63 - 1).to_bytes(8, "big")), "it ends within a file"),
            (header(size=1 << 20, kind=b"x"), "it ends within a header"),
            (header(size=(1 << 20) + 1, kind=b"x"), "a header would have 1,048,577 bytes"),
            (file(b"4 a\n", kind=b"x"), "an extended header has no length where it should"),
            (file(b"9 a=\n", kind=b"x"), "an extended header has no length where it should"),
            (file(b"x a=\n", kind=b"x"), "an extended header has no length where it should"),
            (
                file(record(b"a", b"b" * 20) + b"9 c=\n", kind=b"x") + file(b"x"),
                "an extended header has no length where it should",
            ),
            (file(record(b"size", b"1x"), kind=b"x") + file(b"x"), "the size in an extended header is not a number"),
            (file(record(b"size", b""), kind=b"x") + file(b"x"), "the size in an extended header is not a number"),
            (
                file(record(b"size", b"0" * 20 + b"1"), kind=b"x") + file(b"x"),
                "the size in an extended header is not a number",
            ),
            (file(record(b"size", b"%d" % 2**63), kind=b"x") + file(b"x"), "a header gives a size that no file has"),
        ],
    )
    def test_what_is_not_whole(self, read, data: bytes, fault: str) -> None:
        with pytest.raises(DamagedError, match=rf"x\.tar is not a complete tar archive: {fault}\n") as no:
            read(data)
        assert no.value.hint == "fetch it again: `wb fetch SLUG --force`"

    @pytest.mark.parametrize(
        "size", [b"00000000003\0", b"        3 \0\0", b"3", b"\x80" + bytes(10) + b"\x03", b"3\0 99 99 99"]
    )
    def test_sizes_as_they_are_written(self, read, size: bytes) -> None:
        block = header(size=size)
        assert read(block + b"abc" + bytes(509) + END) == [("a", 3, "", b"abc")]

    def test_a_field_of_nothing_is_zero(self, read) -> None:
        assert read(header(size=bytes(12)) + END) == [("a", 0, "", b"")]

    @pytest.mark.parametrize("signed", [False, True])
    def test_sums_of_bytes_with_and_without_a_sign(self, read, signed: bool) -> None:
        name = bytes([0x7F, 0x80, 0xE9, 0xFF])
        assert [m[0] for m in read(file(b"x", name, signed=signed) + END)] == [name.decode("latin-1")]
        block = bytearray(file(b"x", signed=signed))
        block[0] += 1
        with pytest.raises(DamagedError, match="the checksum of a header is wrong"):
            read(bytes(block))

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            *((kind, "") for kind in (b"0", b"\0", b"7")),
            *((kind, "a link") for kind in (b"1", b"2")),
            *((kind, "a device") for kind in (b"3", b"4")),
            *((b"6", "a pipe"), (b"S", "no regular file"), (b"M", "no regular file")),
        ],
    )
    def test_kinds(self, read, kind: bytes, said: str) -> None:
        assert [(m[0], m[2]) for m in read(file(b"x", kind=kind) + END)] == [("a", said)]

    def test_folders_are_left_out(self, read) -> None:
        """Of the oldest form a folder is known by its name alone."""
        data = file(name=b"d", kind=b"5") + file(name=b"e/", kind=b"\0") + file(b"x", b"f", b"\0")
        assert [m[0] for m in read(data + file(b"y", b"g/", b"0") + END)] == ["f", "g/"]

    def test_sparse_files_are_none(self, read) -> None:
        data = file(record(b"GNU.sparse.major", b"1"), kind=b"x") + file(b"x") + file(b"y", b"b")
        assert [m[2] for m in read(data + END)] == ["no regular file", ""]

    def test_names_of_headers_before(self, read) -> None:
        """One of pax goes before GNU's, and either is of the next file alone; others are read and say nothing."""
        pax, gnu = file(record(b"path", b"pax"), kind=b"x"), file(b"gnu\0rubbish", kind=b"L")
        other = file(record(b"path", b"of all"), kind=b"g") + file(b"to\0", kind=b"K")
        names = [m[0] for m in read(other + pax + gnu + file() + file() + gnu + file() + file() + END)]
        assert names == ["pax", "a", "gnu", "a"]
        assert [m[0] for m in read(file(record(b"path", b"sun"), kind=b"X") + file() + END)] == ["sun"]

    def test_sizes_of_headers_before(self, read) -> None:
        before = file(record(b"size", b"00000000000000000003") + record(b"mtime", b"1"), kind=b"x")
        data = before + header(size=0) + b"abc" + bytes(509) + file(b"y", b"b") + END
        assert read(data) == [("a", 3, "", b"abc"), ("b", 1, "", b"y")]

    def test_records(self, read) -> None:
        shortest = b"5 a=\n"
        for content in (shortest + record(b"path", b"x"), record(b"path", b"x") + b"\0 what is behind"):
            assert [m[0] for m in read(file(content, kind=b"x") + file() + END)] == ["x"]
        largest = record(b"path", b"n" * 10) + record(b"comment", b"x" * (MB - 36))
        assert len(largest) == MB
        assert [m[0] for m in read(file(largest, kind=b"x") + file() + END)] == ["n" * 10]

    @pytest.mark.parametrize(
        ("magic", "name"), [(b"ustar\0" + b"00", "p/a"), (b"ustar  \0", "a"), (b"", "a"), (b"ustarx00", "a")]
    )
    def test_folders_of_names(self, read, magic: bytes, name: str) -> None:
        assert [m[0] for m in read(file(b"x", magic=magic, prefix=b"p") + END)] == [name]
        full = file(b"x", b"n" * 100, prefix=b"p" * 155) + END
        assert [m[0] for m in read(full)] == [f"{'p' * 155}/{'n' * 100}"]

    @pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
    def test_of_what_is_compressed_the_checksum_at_the_end_counts(self, read, pack: Any) -> None:
        data = pack(file(b"x") + END)
        assert len(read(data)) == 1
        broken = bytearray(data)
        broken[-6 if pack is gzip.compress else -3] ^= 1
        with pytest.raises(DamagedError, match="is not a complete tar archive"):
            read(bytes(broken))

    def test_one_that_inflates_beyond_measure(self, read) -> None:
        """A stream within an archive is bounded by the budget of the archive, and not by its own size."""
        assert read(gzip.compress(file(bytes(12 * MB)) + END))[0][1] == 12 * MB

    def test_members_are_values(self) -> None:
        one = TarMember("a", 1, "", iter(()))
        assert (one.name, one.size, one.kind) == ("a", 1, "")


# -------------------------------------------------------------------------------------------------------------- packed


class TestPacked:
    @pytest.mark.parametrize(
        ("head", "packing"),
        [
            (b"\x1f\x8b\x08", ".gz"),
            (b"\x1f\x8b", ""),
            (b"\xfd7zXZ\0", ".xz"),
            (b"BZh91AY&SY", ".bz2"),
            (b"BZh91AY&SX", ""),
            (b"BZh9", ""),
            (b"\x28\xb5\x2f\xfd", ".zst"),
            (b"PK\x03\x04", ".zip"),
            (b"PK\x05\x06", ""),
            (b"", ""),
        ],
    )
    def test_by_first_bytes(self, head: bytes, packing: str) -> None:
        assert packing_of(head) == packing
        assert packing_of(head + b"more") == packing

    def test_what_this_python_can_not_read(self, monkeypatch) -> None:
        def lacks(name: str) -> Any:
            raise ImportError(name)

        monkeypatch.setattr("workbench.core.packed.import_module", lacks)
        with pytest.raises(DataError, match="x.zst is packed with zstd, which this Python can't read"):
            decompressed(io.BytesIO(), ".zst", "x.zst")
        opened = SimpleNamespace(open=lambda file: ("reads", file))
        monkeypatch.setattr(
            "workbench.core.packed.import_module", lambda name: opened if name == "zstandard" else lacks(name)
        )
        assert decompressed("file", ".zst", "x.zst") == ("reads", "file")
        assert decompressed(io.BytesIO(gzip.compress(b"x")), ".gz", "x.gz").read() == b"x"

    @pytest.mark.parametrize(
        ("exc", "expected"),
        [
            (OSError("not a gzip file"), True),
            (OSError(22, "Invalid argument"), True),
            (OSError(22, "Invalid argument", "name"), False),
            (OSError(28, "No space left on device"), False),
            (DataError("of ours"), False),
            *((exc("x"), True) for exc in (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)),
            *((exc("x"), True) for exc in (struct.error, RuntimeError, ValueError, OverflowError)),
            *((exc("x"), False) for exc in (TypeError, KeyError, MemoryError)),
        ],
    )
    def test_what_is_damage(self, exc: Exception, expected: bool) -> None:
        assert is_damage(exc) == expected
        with pytest.raises(DamagedError if expected else type(exc)), damage_errors("x"):
            raise exc

    @pytest.mark.parametrize(
        ("exc", "text"),
        [(EOFError("it ends:\nhere"), "it ends"), (EOFError(), "EOFError"), (EOFError(":"), "EOFError")],
    )
    def test_what_is_said_of_it(self, exc: Exception, text: str) -> None:
        with pytest.raises(DamagedError, match=rf"^x is not a complete zip archive: {text}\n"), damage_errors("x"):
            raise exc
        with pytest.raises(DamagedError, match="^x is not complete: "), damage_errors("x", "complete"):
            raise exc
        with damage_errors("x"):
            pass

    def test_how_much_may_come(self) -> None:
        assert max_unpacked_bytes(0) == 64 * MB
        assert max_unpacked_bytes(64 * MB // 400) == 64 * MB
        assert max_unpacked_bytes(MB) == 400 * MB
        assert max_unpacked_bytes(1, min_limit_bytes=10) == 400
        assert max_unpacked_bytes(0, min_limit_bytes=10) == 10
        text = "x would inflate from 1,000 to {}2,000 bytes; it is not unpacked"
        assert too_large_error("x", 1000, 2000).message == text.format("")
        assert too_large_error("x", 1000, 2000, so_far=True).message == text.format("more than ")

    def test_a_budget_is_of_all_together(self, tmp_path: Path) -> None:
        budget = UnpackBudget(1000, tmp_path)
        budget.spend(60 * MB, "one")
        budget.spend(4 * MB, "two")
        with pytest.raises(DataError, match=r"^three would inflate from 1,000 to more than 67,108,865 bytes"):
            budget.spend(1, "three")
        with pytest.raises(DataError, match=r"^four would inflate from 7 to more than 67,108,866 bytes"):
            budget.spend(1, "four", archive_bytes=7)

    def test_room_on_the_disk(self, tmp_path: Path, monkeypatch) -> None:
        free = 3 << 30
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
        budget = UnpackBudget(1, tmp_path)
        budget.require_space(free, "x")
        with pytest.raises(StorageError, match=r"^unpacking x needs 4.0 GB, the disk has 3.0 GB free"):
            budget.require_space(4 << 30, "x")
        with pytest.raises(StorageError):
            budget.require_space(free + 1, "x")

    def test_it_is_looked_at_whenever_so_much_has_come(self, tmp_path: Path, monkeypatch) -> None:
        looked: list[Path] = []
        free = [256 * MB]

        def usage(folder: Path) -> Any:
            looked.append(folder)
            return SimpleNamespace(free=free[0])

        monkeypatch.setattr("shutil.disk_usage", usage)
        budget = UnpackBudget(10 * MB, tmp_path)
        for spent, count in ((64 * MB - 1, 0), (1, 1), (64 * MB - 1, 1), (1, 2)):
            budget.spend(spent, "x")
            budget.check_free_space("x")
            assert len(looked) == count
        budget.spend(64 * MB, "x")
        free[0] -= 1
        with pytest.raises(StorageError, match="no space left on the disk for unpacking x: less than 256 MB are free"):
            budget.check_free_space("x")
        assert set(looked) == {tmp_path}

    def test_a_stream_that_is_watched(self) -> None:
        stream = checked_stream(io.BytesIO(b"0123456789"), "x", "complete")
        assert (stream.readable(), stream.seekable()) == (True, True)
        assert (stream.read(3), stream.tell()) == (b"012", 3)
        assert (stream.seek(-2, 2), stream.read(), stream.tell()) == (8, b"89", 10)
        assert (stream.seek(1), stream.read(1)) == (1, b"1")

        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

        assert not checked_stream(Pipe(), "x", "complete").seekable()

    @pytest.mark.parametrize("packed", [1, 8 * MB // 400])
    def test_how_much_it_gives(self, packed: int) -> None:
        most = 8 * MB
        assert len(checked_stream(io.BytesIO(bytes(most)), "x", "complete", packed_bytes=packed).read()) == most
        assert len(checked_stream(io.BytesIO(bytes(most + 1)), "x", "complete").read()) == most + 1
        with pytest.raises(DataError, match=rf"^x would inflate from {packed:,} to more than 8,388,609 bytes"):
            checked_stream(io.BytesIO(bytes(most + 1)), "x", "complete", packed_bytes=packed).read()
        with pytest.raises(DataError, match="^x would inflate from 0 to more than"):
            checked_stream(io.BytesIO(bytes(most + 1)), "x", "complete", packed_bytes=0).read()

    def test_one_that_breaks(self) -> None:
        cut = gzip.compress(bytes(1000))[:-9]
        with pytest.raises(DamagedError, match="^x is not complete: "):
            checked_stream(gzip.GzipFile(fileobj=io.BytesIO(cut)), "x", "complete").read()

        class Broken(io.BytesIO):
            def seek(self, *_: Any) -> int:
                raise ValueError("no such place")

        with pytest.raises(DamagedError, match="^x is not complete: no such place"):
            checked_stream(Broken(), "x", "complete").seek(3)


# ---------------------------------------------------------------------------------------------------------------- zips


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


FILES = {"a.csv": b"a" * 100, "deep/er/b.csv": b"b" * 200, "c.csv": b"c" * 300}


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        p.relative_to(folder).as_posix(): (p.stat().st_ino, p.read_bytes()) for p in folder.rglob("*") if p.is_file()
    }


class TestZips:
    def test_what_is_unpacked(self, tmp_path: Path) -> None:
        archive, folder = zipped(tmp_path / "x.zip", FILES), tmp_path / "new" / "out"
        sizes: list[int] = []
        assert unpack(archive, folder, progress=sizes.append) == [folder / name for name in FILES]
        assert {n: d for n, (_, d) in state(folder).items()} == FILES
        assert sizes == [100, 200, 300]
        assert sorted(p.name for p in tmp_path.iterdir()) == [".x.zip.unpacked", "new", "x.zip"]
        assert files_unpacked_from(archive) == {tmp_path / name for name in FILES}

    def test_again_all_of_it_stays(self, tmp_path: Path) -> None:
        archive, folder = zipped(tmp_path / "x.zip", FILES), tmp_path / "out"
        unpack(archive, folder)
        before = state(folder)
        sizes: list[int] = []
        for change in (lambda: None, lambda: os.utime(archive, (1, 1))):
            change()
            assert unpack(archive, folder, progress=sizes.append) == [folder / name for name in FILES]
            assert state(folder) == before
        assert sizes == []

    @pytest.mark.parametrize("spoil", ["gone", "longer", "folder"])
    def test_what_is_not_there_any_more_is_written_again(self, tmp_path: Path, spoil: str) -> None:
        archive, folder = zipped(tmp_path / "x.zip", FILES), tmp_path / "out"
        unpack(archive, folder)
        before, path = state(folder), folder / "c.csv"
        if spoil == "longer":
            path.write_bytes(b"c" * 301)
        else:
            path.unlink()
        sizes: list[int] = []
        unpack(archive, folder, progress=sizes.append)
        after = state(folder)
        assert sizes == [300]
        assert {n: d for n, (_, d) in after.items()} == FILES
        assert {n: i for n, (i, _) in after.items() if n != "c.csv"} == {
            n: i for n, (i, _) in before.items() if n != "c.csv"
        }

    def test_of_another_archive_nothing_stays(self, tmp_path: Path) -> None:
        """Of the same names and sizes: by its digest it is another, and by each file's checksum what is there is not its."""
        archive, folder = zipped(tmp_path / "x.zip", FILES, zipfile.ZIP_STORED), tmp_path / "out"
        unpack(archive, folder)
        others = {name: data.upper() for name, data in FILES.items()} | {"c.csv": FILES["c.csv"]}
        zipped(archive, others, zipfile.ZIP_STORED)
        os.utime(archive, (1, 1))
        assert files_unpacked_from(archive) == set()
        sizes: list[int] = []
        unpack(archive, folder, progress=sizes.append)
        assert {n: d for n, (_, d) in state(folder).items()} == others
        assert sizes == [100, 200]
        assert files_unpacked_from(archive) == {tmp_path / name for name in FILES}

    @pytest.mark.parametrize("note", [b"", b"[]", b"{}", b'{"files": 3}', b'{"files": {"a.csv": "x"}}'])
    def test_a_note_that_is_none(self, tmp_path: Path, note: bytes) -> None:
        archive, folder = zipped(tmp_path / "x.zip", FILES), tmp_path / "out"
        unpack(archive, folder)
        (tmp_path / ".x.zip.unpacked").write_bytes(note)
        assert files_unpacked_from(archive) == set()
        unpack(archive, folder)
        assert files_unpacked_from(archive) == {tmp_path / name for name in FILES}

    def test_what_was_cut_off_goes_on_by_checksums(self, tmp_path: Path) -> None:
        archive, folder = zipped(tmp_path / "x.zip", FILES), tmp_path / "out"
        unpack(archive, folder)
        (tmp_path / ".x.zip.unpacked").unlink()
        (folder / "a.csv").write_bytes(b"x" * 100)
        sizes: list[int] = []
        unpack(archive, folder, progress=sizes.append)
        assert sizes == [100]
        assert (folder / "a.csv").read_bytes() == FILES["a.csv"]
        # Nothing is missing, and still it is noted.
        (tmp_path / ".x.zip.unpacked").unlink()
        unpack(archive, folder)
        assert files_unpacked_from(archive) == {tmp_path / name for name in FILES}

    def test_what_is_wanted_only_later(self, tmp_path: Path) -> None:
        archive, folder = zipped(tmp_path / "x.zip", FILES), tmp_path / "out"
        unpack(archive, folder, wanted=lambda n: n == "a.csv")
        unpack(archive, folder)
        assert {n: d for n, (_, d) in state(folder).items()} == FILES

    def test_while_it_is_unpacked_again_nothing_is_noted(self, tmp_path: Path) -> None:
        archive, folder = zipped(tmp_path / "x.zip", FILES), tmp_path / "out"
        unpack(archive, folder)
        (folder / "c.csv").unlink()

        def stops(_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            unpack(archive, folder, progress=stops)
        assert not (tmp_path / ".x.zip.unpacked").exists()

    def test_names_that_a_disk_does_not_tell_apart(self, tmp_path: Path) -> None:
        """Known by the folder's own name, which is there in the other spelling, too."""
        for name in ("Out", "oUT"):
            (tmp_path / name).mkdir()
        files = {"a.csv": b"x", "A.csv": b"y"}
        text = r"members 'a\.csv' and 'A\.csv' can't both be stored here; nothing is unpacked"
        with pytest.raises(DataError, match=text):
            unpack(zipped(tmp_path / "x.zip", files), tmp_path / "Out")
        (tmp_path / "x.tar").write_bytes(b"".join(file(d, n.encode()) for n, d in files.items()) + END)
        with pytest.raises(DataError, match=text):
            unpack_tar(tmp_path / "x.tar", tmp_path / "Out")
        assert state(tmp_path / "Out") == {}

    def test_what_is_wanted_and_what_is_kept(self, tmp_path: Path) -> None:
        archive, folder = zipped(tmp_path / "x.zip", FILES), tmp_path / "out"
        folder.mkdir()
        (folder / "c.csv").write_bytes(b"mine")
        found = unpack(archive, folder, wanted=lambda n: n != "a.csv", is_protected=lambda p: p == folder / "c.csv")
        assert found == [folder / "deep/er/b.csv"]
        assert {n: d for n, (_, d) in state(folder).items()} == {
            "c.csv": b"mine",
            "deep/er/b.csv": FILES["deep/er/b.csv"],
        }
        # An archive that has its own name in it does not replace itself.
        inner = zipped(tmp_path / "y.zip", {"y.zip": b"x", "a": b"y"})
        assert unpack(inner, tmp_path) == [tmp_path / "a"]
        assert zipfile.is_zipfile(inner)

    def test_a_member_that_inflates_beyond_measure(self, tmp_path: Path, monkeypatch) -> None:
        """By its ratio, where it is large at all; one that is stored inflates to what it is."""
        monkeypatch.setattr("workbench.data.ingest.archives.MIN_DOWNLOAD_LIMIT_BYTES", 1000)
        monkeypatch.setattr("workbench.data.ingest.archives.MAX_RATIO", 1)
        for size, packing, is_refused in (
            (1000, zipfile.ZIP_DEFLATED, False),
            (1001, zipfile.ZIP_DEFLATED, True),
            (1001, zipfile.ZIP_STORED, False),
        ):
            with zipfile.ZipFile(tmp_path / "x.zip", "w", packing) as archive:
                archive.writestr("a", bytes(size))
            with pytest.raises(DataError, match="member 'a'") if is_refused else nullcontext():
                assert [m.file_size for m in check_members(tmp_path / "x.zip", tmp_path)] == [size]

    def test_folders_and_what_macs_leave_are_no_files(self, tmp_path: Path) -> None:
        archive = zipped(tmp_path / "x.zip", {"d/": b"", "Icon\r": b"x", "d/Icon\r": b"x", "d/a": b"y"})
        assert [m.filename for m in check_members(archive, tmp_path)] == ["d/a"]

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_of_two_of_one_name_the_last_counts(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr("a", b"first")
            archive.writestr("b", b"x")
            archive.writestr("./a", b"second")
        assert [m.file_size for m in check_members(tmp_path / "x.zip", tmp_path)] == [6, 1]
        unpack(tmp_path / "x.zip", tmp_path / "out")
        assert (tmp_path / "out" / "a").read_bytes() == b"second"

    @pytest.mark.parametrize(("length", "shown"), [(100, "'{}'"), (101, "'{}…'")])
    def test_names_that_are_refused_are_shown_to_a_hundred_letters(
        self, tmp_path: Path, length: int, shown: str
    ) -> None:
        name = "../" + "n" * (length - 3)
        archive = zipped(tmp_path / "x.zip", {name: b"x"})
        with pytest.raises(DataError) as no:
            check_members(archive, tmp_path)
        assert f"member {shown.format(name[:100])} " in no.value.message

    def test_a_password_is_asked_for_where_such_a_file_is_missing(self, tmp_path: Path) -> None:
        archive, folder = zipped(tmp_path / "x.zip", FILES), tmp_path / "out"
        data = bytearray(archive.read_bytes())
        data[data.rindex(b"PK\x01\x02") + 8] |= 1  # the last of the table of contents
        archive.write_bytes(data)
        assert [is_encrypted(m) for m in check_members(archive, folder)] == [False, False, True]
        with pytest.raises(EncryptedError, match=r"x\.zip: c\.csv needs a password; nothing is unpacked"):
            unpack(archive, folder)
        assert not folder.exists()
        (folder / "deep").mkdir(parents=True)
        (folder / "c.csv").write_bytes(FILES["c.csv"])
        unpack(archive, folder)
        assert {n: d for n, (_, d) in state(folder).items()} == FILES

    def test_the_budget_and_the_disk(self, tmp_path: Path, monkeypatch) -> None:
        archive, folder = zipped(tmp_path / "x.zip", FILES), tmp_path / "out"
        budget = UnpackBudget(1, tmp_path)
        budget.spend(64 * MB - 600, "before")
        unpack(archive, folder, budget=budget)
        with pytest.raises(DataError, match=r"x\.zip would inflate from 1 to more than"):
            unpack(archive, folder, budget=budget)
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=599))
        unpack(archive, folder)  # nothing of it is missing
        shutil.rmtree(folder)
        with pytest.raises(StorageError, match="unpacking .* needs"):
            unpack(archive, folder)
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=600))
        unpack(archive, folder)

    @pytest.mark.parametrize(("size", "is_refused"), [((512 << 20), False), ((512 << 20) + 1, True)])
    @pytest.mark.parametrize("wide", [False, True])
    @pytest.mark.parametrize("comment", [0, 65535])
    def test_tables_of_contents_that_would_fill_the_memory(
        self, tmp_path: Path, size: int, is_refused: bool, wide: bool, comment: int
    ) -> None:
        """Wherever their size is told: at the end, before a comment, or in the wider form before that."""
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 0xFFFFFFFF if wide else size, 0, comment)
        before = b"PK\x06\x06" + bytes(36) + size.to_bytes(8, "little") + bytes(8) if wide else b""
        if wide and comment:
            comment -= len(before)
            end = end[:-2] + comment.to_bytes(2, "little")
        path = tmp_path / "x.zip"
        path.write_bytes(bytes(100_000) + before + end + bytes(comment))
        expected = (
            "has a table of contents of 536,870,913 bytes; it is not unpacked" if is_refused else "is not a complete"
        )
        with pytest.raises(DataError if is_refused else DamagedError, match=expected):
            check_members(path, tmp_path)

    def test_one_without_any_is_not_whole(self, tmp_path: Path) -> None:
        for data in (
            b"\xff" * 100,
            b"\xff" * 100 + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 0xFFFFFFFF, 0, 0),
        ):
            (tmp_path / "x.zip").write_bytes(data)
            with pytest.raises(DamagedError, match="is not a complete zip archive"):
                check_members(tmp_path / "x.zip", tmp_path)

    def test_many_members_that_inflate_together(self, tmp_path: Path) -> None:
        zeros = bytes(17 * MB)
        archive = zipped(tmp_path / "x.zip", {f"{i}": zeros for i in range(4)})
        with pytest.raises(DataError, match=r"x\.zip: its 4 members would inflate from .* to 71,303,168 bytes"):
            check_members(archive, tmp_path)
        fewer = zipped(tmp_path / "y.zip", {f"{i}": zeros[: 16 * MB] for i in range(4)})
        assert len(check_members(fewer, tmp_path)) == 4

    def test_files_go_to_their_place_whenever_so_much_is_whole(self, tmp_path: Path, monkeypatch) -> None:
        """What breaks later loses no more than what was not yet there; nothing is noted."""
        archive, folder = zipped(tmp_path / "x.zip", FILES, zipfile.ZIP_STORED), tmp_path / "out"
        data = archive.read_bytes()
        archive.write_bytes(data.replace(b"c" * 300, b"c" * 299 + b"x"))
        for batch, there in ((300, {"a.csv", "deep/er/b.csv"}), (301, set()), (100, {"a.csv", "deep/er/b.csv"})):
            shutil.rmtree(folder, ignore_errors=True)
            monkeypatch.setattr("workbench.data.ingest.archives.BATCH_BYTES", batch)
            with pytest.raises(DamagedError, match=r"x\.zip: c\.csv is not complete"):
                unpack(archive, folder)
            assert set(state(folder)) == there
            assert files_unpacked_from(archive) == set()

    def test_each_batch_is_counted_from_nothing(self, tmp_path: Path, monkeypatch) -> None:
        files = {"a": b"a" * 100, "b": b"b" * 100, "c": b"c" * 199, "d": b"d" * 300}
        archive, folder = zipped(tmp_path / "x.zip", files, zipfile.ZIP_STORED), tmp_path / "out"
        archive.write_bytes(archive.read_bytes().replace(b"d" * 300, b"d" * 299 + b"x"))
        monkeypatch.setattr("workbench.data.ingest.archives.BATCH_BYTES", 200)
        with pytest.raises(DamagedError):
            unpack(archive, folder)
        assert set(state(folder)) == {"a", "b"}

    @pytest.mark.parametrize(("most", "calls"), [(3, 3), (2, 0)])
    def test_files_and_their_folders_are_on_the_disk_before_it_is_noted(
        self, tmp_path: Path, monkeypatch, most: int, calls: int
    ) -> None:
        archive, folder = zipped(tmp_path / "x.zip", FILES), tmp_path / "out"
        synced, everything = list[str](), list[bool]()

        def fsync(descriptor: int) -> None:
            synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

        monkeypatch.setattr("os.fsync", fsync)
        monkeypatch.setattr("os.sync", lambda: everything.append(True))
        monkeypatch.setattr("workbench.data.ingest.archives.MANY_FILES", most)
        unpack(archive, folder)
        files = [p for p in synced if p.endswith(".csv")]
        assert (len(files), len(everything)) == (calls, calls == 0)
        assert {str(folder), str(folder / "deep"), str(folder / "deep" / "er")} <= set(synced)


class TestTarsUnpacked:
    def made(self, path: Path, files: dict[str, bytes]) -> Path:
        path.write_bytes(b"".join(file(data, name.encode()) for name, data in files.items()) + END)
        return path

    def test_what_is_unpacked_and_stays(self, tmp_path: Path) -> None:
        archive, folder = self.made(tmp_path / "x.tar", FILES | {"Icon\r": b"x"}), tmp_path / "out"
        began: list[bool] = []
        unpack_tar(archive, folder, on_start=lambda: began.append(True))
        before = state(folder)
        assert {n: d for n, (_, d) in before.items()} == FILES
        unpack_tar(archive, folder, on_start=lambda: began.append(True))
        assert (state(folder), began) == (before, [True])
        (folder / "a.csv").write_bytes(b"x")
        unpack_tar(archive, folder, on_start=lambda: began.append(True))
        assert (folder / "a.csv").read_bytes() == FILES["a.csv"]
        assert len(began) == 2
        assert files_unpacked_from(archive) == {tmp_path / name for name in FILES}

    def test_the_last_of_a_name_and_what_is_kept(self, tmp_path: Path) -> None:
        archive, folder = tmp_path / "x.tar", tmp_path / "out"
        folder.mkdir()
        (folder / "b").write_bytes(b"mine")
        archive.write_bytes(file(b"first") + file(b"x", b"b") + file(b"second", b"./a") + END)
        unpack_tar(archive, folder, is_protected=lambda p: p.name == "b")
        assert {n: d for n, (_, d) in state(folder).items()} == {"a": b"second", "b": b"mine"}

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (file(b"x") + file(b"y", b"../b"), "member '../b' "),
            (file(b"x") + file(b"", b"b", b"2"), "member 'b' is a link; nothing is unpacked"),
            (file(b"x") + file(b"y", b"a/b"), "both"),
            (file(b"y", b"a/b") + file(b"x"), "both"),
            (file(b"x") + header(b"b", 5), "it ends within a file"),
        ],
    )
    def test_whole_or_not_at_all(self, tmp_path: Path, data: bytes, text: str) -> None:
        (tmp_path / "x.tar").write_bytes(data + END if "ends" not in text else data)
        with pytest.raises(DataError if "ends" not in text else DamagedError, match=text):
            unpack_tar(tmp_path / "x.tar", tmp_path / "out")
        assert state(tmp_path / "out") == {}
        assert files_unpacked_from(tmp_path / "x.tar") == set()

    def test_each_file_takes_its_header_from_the_budget(self, tmp_path: Path) -> None:
        archive, folder = self.made(tmp_path / "x.tar", {"a": b"", "b": b""}), tmp_path / "out"
        budget = UnpackBudget(1, tmp_path)
        budget.spend(64 * MB - 1024, "before")
        unpack_tar(archive, folder, budget=budget)
        shutil.rmtree(folder)
        budget = UnpackBudget(1, tmp_path)
        budget.spend(64 * MB - 1023, "before")
        size = archive.stat().st_size
        with pytest.raises(DataError, match=f"member 'b' would inflate from {size:,} to more than"):
            unpack_tar(archive, folder, budget=budget)

    def test_what_is_there_takes_its_size_from_the_budget(self, tmp_path: Path) -> None:
        archive, folder = self.made(tmp_path / "x.tar", FILES), tmp_path / "out"
        unpack_tar(archive, folder)
        budget = UnpackBudget(1, tmp_path)
        budget.spend(64 * MB - 600, "before")
        unpack_tar(archive, folder, budget=budget)
        with pytest.raises(DataError, match=r"x\.tar would inflate"):
            unpack_tar(archive, folder, budget=budget)

    def test_the_disk_is_looked_at_meanwhile(self, tmp_path: Path, monkeypatch) -> None:
        archive = self.made(tmp_path / "x.tar", FILES)
        monkeypatch.setattr("workbench.core.packed.CHECK_INTERVAL_BYTES", 100)
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
        with pytest.raises(StorageError, match="no space left on the disk"):
            unpack_tar(archive, tmp_path / "out")

    @pytest.mark.parametrize(("most", "fault"), [(2, "can't both be stored"), (3, "is both a file and a folder")])
    def test_of_very_many_names_clashes_are_seen_on_the_way(
        self, tmp_path: Path, monkeypatch, most: int, fault: str
    ) -> None:
        """Whenever there are so many more, before what comes behind them is looked at."""
        monkeypatch.setattr("workbench.data.ingest.archives.MANY_FILES", most)
        names = [b"n", b"n", b"n/b"]
        data = b"".join(file(b"x", name) for name in names) + header(b"q", 0, b"2")
        (tmp_path / "x.tar").write_bytes(data)
        with pytest.raises(DataError, match=fault):
            unpack_tar(tmp_path / "x.tar", tmp_path / "out")
