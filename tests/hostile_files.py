"""Malicious files, and harmless ones that look malicious; each is built on demand."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable

import polars as pl

__all__ = ["ARCHIVES", "GOOD", "LISTED", "TABLES", "TARS", "ZIPS", "Made", "tarred", "zipped"]

Made = Callable[[], dict[str, bytes]]
"""The files that the platform offers beside, or in place of, the good ones."""

GOOD = {
    "sample_submission.csv": b"id,y\n" + b"".join(b"%d,0.5\n" % i for i in range(40, 60)),
    "test.csv": b"id,x\n" + b"".join(b"%d,%d.5\n" % (i, i % 7) for i in range(40, 60)),
    "train.csv": b"id,x,y\n" + b"".join(b"%d,%d.5,%d\n" % (i, i % 7, i % 2) for i in range(40)),
}
MB = 1 << 20


# --------------------------------------------------------------------------------------------------------------- zips


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip archive; a name may be one that `zipfile` would mend."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that it has already
        for name, data in members:
            info = zipfile.ZipInfo("x") if isinstance(name, str) else name
            if isinstance(name, str):
                info.filename = name
            archive.writestr(info, data, method)
    return out.getvalue()


def special(kind: int) -> bytes:
    info = zipfile.ZipInfo("special")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return zipped((info, b"/etc/passwd"))


def patched(data: bytes, *changes: tuple[bytes, int, str, int]) -> bytes:
    """Return an archive with fields of its first headers changed: signature, offset behind it, format, value."""
    out = bytearray(data)
    for signature, at, form, value in changes:
        struct.pack_into(form, out, out.index(signature) + at, value)
    return bytes(out)


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def claimed(size: int) -> bytes:
    """Return an archive that claims another size of its member than it has."""
    return patched(zipped(("notes.txt", b"x" * 5000)), (LOCAL, 22, "<L", size), (CENTRAL, 24, "<L", size))


def flagged(bit: int) -> bytes:
    data = zipped(("notes.txt", b"x" * 50))
    return patched(data, (LOCAL, 6, "<H", bit), (CENTRAL, 8, "<H", bit))


def by_method(number: int) -> bytes:
    data = zipped(("notes.txt", b"x" * 50))
    return patched(data, (LOCAL, 8, "<H", number), (CENTRAL, 10, "<H", number))


def broken(method: int) -> bytes:
    """Return an archive whose member's packed bytes are no such."""
    data = bytearray(zipped(("notes.txt", bytes(range(256)) * 40), method=method))
    start = 30 + len("notes.txt") + 6
    data[start : start + 60] = b"\xa5" * 60
    return bytes(data)


def overlapping(n: int, *, size: int = MB, listed: bool = True) -> bytes:
    """Return an archive of many members that are the same bytes (https://www.bamsoftware.com/hacks/zipbomb/)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(bytes(size)) + packer.flush()
    crc = zlib.crc32(bytes(size))
    name = b"000000"
    local = struct.pack("<4s5H3L2H", LOCAL, 20, 0, 8, 0, 33, crc, len(body), size, len(name), 0) + name + body
    entries = b""
    for i in range(n):
        named = b"%06d" % i if listed else name
        entries += struct.pack(
            "<4s6H3L5H2L", CENTRAL, 20, 20, 0, 8, 0, 33, crc, len(body), size, len(named), 0, 0, 0, 0, 0, 0
        )
        entries += named
    end = struct.pack("<4s4H2LH", END, 0, 0, n, n, len(entries), len(local), 0)
    return local + entries + end


def nested(depth: int, data: bytes = b"x", name: str = "notes.txt") -> bytes:
    for i in range(depth):
        data, name = zipped((name, data)), f"level{i}.zip"
    return data


def many(n: int, size: int) -> bytes:
    return zipped(*((f"zeros{i}.bin", bytes(size)) for i in range(n)))


def bomb_in_archive() -> bytes:
    inner = zipped(("zeros.bin", bytes(60 * MB)))
    return zipped(*((f"{i}.zip", inner) for i in range(12)))


def misplaced(offset: int) -> bytes:
    return patched(zipped(("notes.txt", b"x" * 50)), (CENTRAL, 42, "<L", offset))


def undecodable() -> bytes:
    data = zipped(("n\u00e4mes.txt", b"x"))
    return data.replace("n\u00e4mes".encode(), b"n\xff\xfemes")


ZIPS: dict[str, tuple[Callable[[], bytes], str]] = {
    "up": (lambda: zipped(("../evil.txt", b"x")), "outside"),
    "up from within": (lambda: zipped(("a/../../evil.txt", b"x")), "outside"),
    "up to itself": (lambda: zipped(("a/../evil.txt", b"x")), "outside"),
    "absolute": (lambda: zipped(("/tmp/evil.txt", b"x")), "outside"),
    "backslashes": (lambda: zipped((r"..\evil.txt", b"x")), "outside"),
    "drive": (lambda: zipped((r"C:\evil.txt", b"x")), "outside"),
    "drive without a root": (lambda: zipped(("C:evil.txt", b"x")), "outside"),
    "network share": (lambda: zipped((r"\\server\share\evil.txt", b"x")), "outside"),
    "only dots": (lambda: zipped(("..", b"x")), "outside"),
    "no name": (lambda: zipped(("", b"x")), "outside|not a complete"),
    "name with a NUL": (lambda: zipped(("evil.txt\0.png", b"x")), ""),
    "link": (lambda: special(stat.S_IFLNK), "is a link"),
    "device": (lambda: special(stat.S_IFCHR), "a device"),
    "block device": (lambda: special(stat.S_IFBLK), "a device"),
    "pipe": (lambda: special(stat.S_IFIFO), "a pipe"),
    "socket": (lambda: special(stat.S_IFSOCK), "a socket"),
    "set-user-id": (lambda: special(stat.S_IFREG | stat.S_ISUID), ""),
    "long name": (lambda: zipped(("n" * 300 + ".txt", b"x")), "longer than"),
    "long path": (lambda: zipped(("/".join(["n" * 200] * 30) + ".txt", b"x")), "longer than"),
    "thousands of folders": (lambda: zipped(("a/" * 3000 + "b.txt", b"x")), "longer than"),
    "same name twice": (lambda: zipped(("notes.txt", b"x"), ("notes.txt", b"y" * 9)), ""),
    "same name with a dot": (lambda: zipped(("notes.txt", b"x"), ("./notes.txt", b"y" * 9)), ""),
    "names that differ by case": (lambda: zipped(("a.txt", b"x"), ("A.txt", b"yy")), ""),
    "names that differ by Unicode's form": (lambda: zipped(("\u00e9.txt", b"x"), ("e\u0301.txt", b"yy")), ""),
    "file and folder of one name": (lambda: zipped(("a", b"x"), ("a/b", b"x")), "both"),
    "itself": (lambda: zipped(("extra.zip", b"x")), ""),
    "a file that was downloaded": (lambda: zipped(("notes.md", b"evil")), ""),
    "record of the download": (lambda: zipped((".listing.json", b"{}")), "the workbench itself keeps"),
    "record behind a dot": (lambda: zipped(("./.listing.json", b"{}")), "the workbench itself keeps"),
    "mark of an archive": (lambda: zipped((".later.tar.unpacked", b"{}")), "the workbench itself keeps"),
    "half a download": (lambda: zipped((".train.csv.partial", b"{}")), "the workbench itself keeps"),
    "escape codes in a name": (lambda: zipped(("\x1b]52;c;ZXZpbA==\x07.txt", b"x")), "control characters"),
    "line end in a name": (lambda: zipped(("a\nb.txt", b"x")), "control characters"),
    "C1 in a name": (lambda: zipped(("a\x9b31mb.txt", b"x")), "control characters"),
    "leading dashes": (lambda: zipped(("-rf", b"x"), ("--force", b"x")), ""),
    "names reserved elsewhere": (lambda: zipped(("CON", b"x"), ("nul.txt", b"x"), ("a. ", b"x")), ""),
    "right to left": (lambda: zipped(("\u202egpj.exe", b"x")), "control characters"),
    "name that is no UTF-8": (undecodable, "not a complete"),
    "bomb": (lambda: zipped(("zeros.bin", bytes(70 * MB))), "would inflate"),
    "bomb in a table": (lambda: zipped(("zeros.csv", bytes(70 * MB))), "would inflate"),
    "bomb of many members": (lambda: many(12, 60 * MB), "would inflate"),
    "bomb in archives": (bomb_in_archive, "would inflate"),
    "members that overlap": (lambda: overlapping(500), "overlap"),
    "members that are one": (lambda: overlapping(500, listed=False), "overlap"),
    "archives in archives": (lambda: nested(12), ""),
    "less than claimed": (lambda: claimed(900_000), "not (a )?complete"),
    "more than claimed": (lambda: claimed(100), "not (a )?complete"),
    "claims gigabytes": (lambda: claimed(0xFFFFFFF0), "would inflate"),
    "encrypted": (lambda: flagged(1), "needs a password|left out"),
    "strongly encrypted": (lambda: flagged(0x41), "needs a password|left out"),
    "unknown method": (lambda: by_method(77), "can't be read|not (a )?complete"),
    "zstd in it": (lambda: by_method(93), "can't be read|not (a )?complete"),
    "aes": (lambda: by_method(99), "can't be read|not (a )?complete"),
    "broken deflate": (lambda: broken(zipfile.ZIP_DEFLATED), "not (a )?complete"),
    "broken bzip2": (lambda: broken(zipfile.ZIP_BZIP2), "not (a )?complete"),
    "broken lzma": (lambda: broken(zipfile.ZIP_LZMA), "not (a )?complete"),
    "cut": (lambda: zipped(("notes.txt", b"x" * 5000))[:-30], "not a complete"),
    "cut at its beginning": (lambda: zipped(("notes.txt", bytes(range(256)) * 9))[40:], "not (a )?complete"),
    "wrong checksum": (
        lambda: patched(zipped(("notes.txt", b"x" * 50)), (CENTRAL, 16, "<L", 7)),
        "not (a )?complete",
    ),
    "member far outside the file": (lambda: misplaced(0xFFFFFF00), "not (a )?complete|overlap"),
    "contents that lie elsewhere": (
        lambda: patched(zipped(("notes.txt", b"x" * 50)), (END, 16, "<L", 0xFFFF)),
        "not (a )?complete",
    ),
    "nothing in it": (lambda: END + bytes(18), ""),
    "no archive at all": (lambda: b"PK\x03\x04" + bytes(500), "not a complete"),
}
"""What is in ``extra.zip``, and what is said of it; "" where it does no harm."""


# --------------------------------------------------------------------------------------------------------------- tars


def member(name: str, data: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tarred(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, b"", type=kind, linkname=to)


def out_by_long_links() -> bytes:
    """Return an archive that leaves its folder where links are followed only so far (CVE-2025-4517)."""
    long, steps, members, path = "d" * 247, "abcdefghijklmnop", [], ""
    for step in steps:
        members += [member(f"{path}{long}", b"", type=tarfile.DIRTYPE), link(f"{path}{step}", long)]
        path += f"{long}/"
    through = "/".join(steps)
    members += [link(f"{through}/{'l' * 254}", "../" * len(steps)), link("escape", f"{through}/{'l' * 254}/../../..")]
    return tarred(*members, member("escape/evil.txt"))


def header(kind: bytes, size: int | bytes, name: bytes = b"x") -> bytes:
    """Return a header block that says of itself what it likes."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:108], block[108:116], block[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    block[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    block[136:148], block[156:157], block[257:265] = b"00000000000\0", kind, b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def negative() -> bytes:
    return header(b"0", b"\xff" * 10 + b"\xfe\x00") * 3 + bytes(1024)


def huge_header(kind: bytes) -> bytes:
    return gzip.compress(header(kind, 512 * MB) + bytes(512 * MB), 1)


def long_names(n: int) -> bytes:
    return (header(b"L", 10) + b"a-name".ljust(512, b"\0")) * n + header(b"0", 0) + bytes(1024)


def digits() -> bytes:
    body = b"1" * 900_000
    return header(b"x", len(body)) + body.ljust(-(-len(body) // 512) * 512, b"\0") + header(b"0", 0) + bytes(1024)


TARS: dict[str, tuple[Callable[[], bytes], str]] = {
    "up": (lambda: tarred(member("../evil.txt")), "outside"),
    "absolute": (lambda: tarred(member("/tmp/evil.txt")), "outside"),
    "up by a later header": (lambda: tarred(member("a.txt", pax_headers={"path": "../evil.txt"})), "outside"),
    "link": (lambda: tarred(link("a", "/etc/passwd")), "is a link"),
    "link to a file inside": (lambda: tarred(member("a.txt"), link("b.txt", "a.txt")), "is a link"),
    "through a link": (lambda: tarred(link("a", ".."), member("a/evil.txt")), "is a link"),
    "by links that are not followed to their end": (out_by_long_links, "is a link"),
    "hard link": (lambda: tarred(link("a", "../../competition.toml", tarfile.LNKTYPE)), "is a link"),
    "device": (lambda: tarred(member("a", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=8)), "a device"),
    "pipe": (lambda: tarred(member("a", b"", type=tarfile.FIFOTYPE)), "a pipe"),
    "unknown kind": (lambda: header(b"V", 0) + bytes(1024), "no regular file"),
    "record of the download": (lambda: tarred(member(".listing.json", b"{}")), "the workbench itself keeps"),
    "a file that was downloaded": (lambda: tarred(member("train.csv", b"id,x,y\n1,2,3\n")), ""),
    "no permissions": (lambda: tarred(member("a.txt", mode=0), member("b/c.txt", mode=0o7777)), ""),
    "escape codes": (lambda: tarred(member("\x1b[2Ja.txt")), "control characters"),
    "long name": (lambda: tarred(member("n" * 300 + ".txt")), "longer than"),
    "name in Latin-1": (lambda: tarred(member("caf\udce9.txt"), form=tarfile.GNU_FORMAT), ""),
    "file and folder of one name": (lambda: tarred(member("a"), member("a/b")), "both"),
    "same name twice": (lambda: tarred(member("a", b"x"), member("a", b"yy")), ""),
    "negative size": (negative, "not a complete"),
    "a header of half a gigabyte": (lambda: huge_header(b"x"), "not a complete|would inflate"),
    "a name of half a gigabyte": (lambda: huge_header(b"L"), "not a complete|would inflate"),
    "headers without end": (lambda: long_names(20_000), ""),
    "a header of digits": (digits, "not a complete"),
    "claims exabytes": (
        lambda: header(b"0", b"\x80" + b"\x7f" * 11) + bytes(1024),
        "not a complete|would inflate|room",
    ),
    "cut": (lambda: tarred(member("a.txt", b"x" * 20_000))[:8000], "not a complete"),
    "no archive at all": (lambda: b"\xa5" * 5000, "not a complete"),
    "bomb": (lambda: gzip.compress(tarred(member("zeros.bin", bytes(100 * MB))), 9), "would inflate"),
    "bomb of many members": (
        lambda: gzip.compress(tarred(*(member(f"{i}.bin", bytes(MB)) for i in range(90))), 9),
        "would inflate",
    ),
    "cut gzip": (lambda: gzip.compress(tarred(member("a.txt", bytes(range(256)) * 90)))[:-20], "not a complete"),
    "broken gzip": (
        lambda: gzip.compress(tarred(member("a.txt", bytes(range(256)) * 90)))[:60] + b"\xa5" * 900,
        "not a complete",
    ),
    "broken xz": (lambda: lzma.compress(tarred(member("a.txt", b"x" * 9000)))[:60] + b"\xa5" * 90, "not a complete"),
}
"""What is in ``extra.tar`` (or .tar.gz), and what is said of it; "" where it does no harm."""

ARCHIVES = {f"zip: {n}": ("extra.zip", m, s) for n, (m, s) in ZIPS.items()} | {
    f"tar: {n}": ("extra.tar", m, s) for n, (m, s) in TARS.items()
}


# ------------------------------------------------------------------------------------------------------------- tables


def rows(header: str, n: int = 40, value: str = "1") -> bytes:
    width = header.count(",") + 1
    return (header + "\n" + "".join(f"{i}," + ",".join([value] * (width - 1)) + "\n" for i in range(n))).encode()


def parquet(frame: pl.DataFrame | None = None) -> bytes:
    out = io.BytesIO()
    (pl.DataFrame({"id": range(40), "x": [0.5] * 40}) if frame is None else frame).write_parquet(out)
    return out.getvalue()


def footer_of(length: int) -> bytes:
    return parquet()[:-8] + struct.pack("<L", length) + b"PAR1"


def row_count(n: int) -> bytes:
    """Return a Parquet file that claims to have so many rows."""
    data = parquet()
    length = struct.unpack("<L", data[-8:-4])[0]
    start = len(data) - 8 - length
    footer = data[start:-8]

    def varint(value: int) -> bytes:
        value, out = value << 1, b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    changed = footer.replace(b"\x16" + varint(40), b"\x16" + varint(n))
    assert changed != footer
    return data[:start] + changed + struct.pack("<L", len(changed)) + b"PAR1"


def deep(n: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * n + closing * n).encode()


INJECTED = 'y"\n[tables]\ntrain = "evil'
ESCAPED = "y\x1b]0;evil\x07\x00\x7f\x9b"

TABLES: dict[str, tuple[Made, str]] = {
    "quote opened in a long header": (
        lambda: {"train.csv": b'id,"x' + b"\n,y" * 400_000 + b"\n1,2\n"},
        "never closed",
    ),
    "quotes opened in a long header, other separators": (
        lambda: {"train.csv": b'id;x,"' + b'\n";",' * 100_000 + b"\n1,2\n"},
        "train.csv|",
    ),
    "quote opened in the rows": (
        lambda: {"train.csv": GOOD["train.csv"] + b'7,"8\n' + b"1,2,3\n" * 100_000},
        "quote",
    ),
    "a line of many megabytes": (lambda: {"notes.csv": b"id,x\n1," + b"z" * (6 * MB)}, ""),
    "a header of many megabytes": (lambda: {"notes.csv": b"x" * (6 * MB) + b"\n1\n"}, ""),
    "a header without end": (lambda: {"notes.csv": b"," * (20 * MB)}, ""),
    "very many columns": (lambda: {"notes.csv": rows(",".join(f"c{i}" for i in range(700)), 3)}, ""),
    "columns of one name": (lambda: {"notes.csv": rows(",".join(["x"] * 500), 3)}, ""),
    "NUL bytes": (lambda: {"notes.csv": b"id,x\n1,\0\0\0\n2,a\0b\n"}, ""),
    "NUL in the header": (lambda: {"notes.csv": b"id,x\0y\n1,2\n"}, ""),
    "only line ends": (lambda: {"notes.csv": b"\n" * MB}, ""),
    "only quotes": (lambda: {"notes.csv": b'"' * MB}, ""),
    "only separators": (lambda: {"notes.csv": (b"," * 500 + b"\n") * 50}, ""),
    "every field a quote": (lambda: {"notes.csv": b'a,b\n"",""\n' * 20_000}, ""),
    "bytes without sense": (lambda: {"notes.csv": bytes(range(256)) * 4000}, ""),
    "half a mark of UTF-16": (lambda: {"notes.csv": b"\xff\xfei\x00d"}, ""),
    "escape codes in a header": (
        lambda: {n: d.replace(b"x", b"\x1b]52;c;ZXZpbA==\x07x") for n, d in GOOD.items()},
        "",
    ),
    "escape codes as target": (
        lambda: {n: d.replace(b"y", ESCAPED.replace("\0", "").encode()) for n, d in GOOD.items()},
        "",
    ),
    "TOML as target": (
        lambda: {n: d.replace(b"y", b'"' + INJECTED.replace('"', '""').encode() + b'"') for n, d in GOOD.items()},
        "",
    ),
    "TOML as id": (
        lambda: {n: d.replace(b"id", b'"i\n[cv]\nscheme = 1\n#d"') for n, d in GOOD.items()},
        "",
    ),
    "TOML as labels": (
        lambda: {
            "train.csv": b"id,x,y\n"
            + b"".join(b'%d,%d.5,"%s"\n' % (i, i % 7, (b"a\n[cv]\x1b", b"b\n]")[i % 2]) for i in range(40))
        },
        "",
    ),
    "Python as column": (
        lambda: {
            n: d.replace(b"x", b'"x""""""\nraise SystemExit(3)\n#"').replace(b"y", b"y'''\\") for n, d in GOOD.items()
        },
        "",
    ),
    "gzip bomb": (lambda: {"notes.csv.gz": gzip.compress(b"id,x\n" + b"0,0\n" * (5 * MB), 9)}, ""),
    "xz bomb": (lambda: {"notes.csv.xz": lzma.compress(b"id,x\n" + b"0,0\n" * (5 * MB), preset=0)}, ""),
    "bzip2 bomb": (lambda: {"notes.csv.bz2": bz2.compress(b"id,x\n1," + b"0" * (20 * MB))}, ""),
    "gzip bomb for train": (
        lambda: {"train.csv.gz": gzip.compress(b"id,x,y\n" + b"0,0,0\n" * (4 * MB), 9), "train.csv": b""},
        "would inflate|inflates",
    ),
    "gzip bomb in a document": (
        lambda: {"notes.json.gz": gzip.compress(b'[{"a": ' + b"0" * (16 * MB) + b"}]", 9)},
        "",
    ),
    "gzip bomb in a zip": (
        lambda: {"n.zip": zipped(("notes.csv.gz", gzip.compress(gzip.compress(bytes(30 * MB), 9), 9)))},
        "",
    ),
    "cut gzip": (lambda: {"notes.csv.gz": gzip.compress(bytes(range(256)) * 90)[:-20]}, "not a complete .gz"),
    "rubbish behind gzip": (
        lambda: {"notes.csv.gz": gzip.compress(GOOD["test.csv"]) + b"rubbish"},
        "not a complete .gz",
    ),
    "broken gzip": (
        lambda: {"notes.csv.gz": gzip.compress(bytes(range(256)) * 90)[:40] + b"\xa5" * 50},
        "not a complete .gz",
    ),
    "encrypted member for train": (
        lambda: {"train.csv": b"", "train.csv.zip": flagged(1).replace(b"notes.txt", b"train.csv")},
        "needs a password",
    ),
    "broken member for a table": (
        lambda: {"n.zip": broken(zipfile.ZIP_DEFLATED).replace(b"notes.txt", b"notes.csv")},
        "not (a )?complete",
    ),
    "a member that needs a password": (
        lambda: {"n.zip": flagged(1).replace(b"notes.txt", b"notes.csv")},
        "",
    ),
    "zstd": (lambda: {"notes.csv.zst": b"\x28\xb5\x2f\xfd" + b"\xa5" * 40}, ""),
    "deep lists": (lambda: {"notes.json": deep(100_000)}, ""),
    "deep objects": (lambda: {"notes.json": b'{"a":' * 100_000 + b"1" + b"}" * 100_000}, ""),
    "deep lists in a record": (lambda: {"notes.json": b'[{"a":' + deep(5_000) + b"}]"}, ""),
    "deep lists, just so deep": (lambda: {"notes.json": b'[{"a":' + deep(400) + b"}]"}, ""),
    "deep lists for train": (lambda: {"train.json": deep(100_000), "train.csv": b""}, "too deep"),
    "deep lists in lines": (lambda: {"notes.jsonl": b'{"a":' + deep(50_000) + b"}\n" * 2}, ""),
    "deep lists among lines": (
        lambda: {"notes.jsonl": b'{"a": 1}\n' * 20_000 + b'{"a":' + deep(400) + b"}\n"},
        "",
    ),
    "numbers beyond measure": (lambda: {"notes.json": b'[{"a": ' + b"9" * 6000 + b"}]"}, ""),
    "a number of a megabyte in lines": (lambda: {"notes.jsonl": b'{"a": ' + b"9" * MB + b"}\n"}, ""),
    "fractions beyond measure": (lambda: {"notes.json": b'[{"a": 1e999}, {"a": -1e999}]'}, ""),
    "no numbers": (lambda: {"notes.json": b'[{"a": NaN}, {"a": -Infinity}]'}, ""),
    "keys twice": (lambda: {"notes.json": b'[{"a": 1, "a": "x"}, {"a": 2}]'}, ""),
    "half characters": (lambda: {"notes.json": b'[{"a\\ud800": "\\udfff"}]'}, ""),
    "control characters as keys": (lambda: {"notes.json": b'[{"a\\u001b[2J\\u0000": 1}]'}, ""),
    "a list of many kinds": (lambda: {"notes.json": b'[1, "a", null, {}, [], {"a": []}]'}, ""),
    "very many keys": (
        lambda: {"notes.json": json.dumps([{f"k{i}": i} for i in range(700)]).encode()},
        "",
    ),
    "no Parquet": (lambda: {"notes.parquet": b"PAR1 is not enough PAR1"}, ""),
    "a footer beyond the file": (lambda: {"notes.parquet": footer_of(0x7FFFFFFF)}, ""),
    "a footer of nothing": (lambda: {"notes.parquet": footer_of(0)}, ""),
    "cut Parquet": (lambda: {"notes.parquet": parquet()[:-40]}, ""),
    "a trillion rows": (lambda: {"notes.parquet": row_count(10**12)}, ""),
    "no columns": (lambda: {"notes.parquet": parquet(pl.DataFrame())}, ""),
    "encrypted Parquet": (lambda: {"notes.parquet": parquet()[:-4] + b"PARE"}, ""),
    "control characters as columns": (
        lambda: {"notes.parquet": parquet(pl.DataFrame({"\x1b[2J\n\0": [1], INJECTED: ["\x1b]0;x\x07"]}))},
        "",
    ),
    "escape codes in a file's name": (lambda: {"\x1b[2Jnotes.csv": GOOD["test.csv"]}, "control characters"),
    "line end in a file's name": (lambda: {"a\nb.csv": GOOD["test.csv"]}, "control characters"),
    "leading dashes": (lambda: {"-rf.csv": GOOD["test.csv"], "--only": b"x"}, ""),
    "quotes in a file's name": (lambda: {"a'; rm -rf $HOME; '.csv": b'x\n"'}, ""),
    "markup in a file's name": (lambda: {"[red]x[-blink].csv": GOOD["test.csv"]}, ""),
}
"""Files beside the good ones, or in place of them; "" where what matters is only that nothing breaks."""

LISTED: dict[str, str] = {
    "../evil.csv": "outside",
    "a/../../evil.csv": "outside",
    "/tmp/evil.csv": "outside",
    r"..\evil.csv": "outside",
    r"C:\evil.csv": "outside",
    "": "outside",
    ".": "outside",
    "..": "outside",
    "a/..": "outside",
    ".listing.json": "the workbench itself keeps",
    "./.listing.json": "the workbench itself keeps",
    "a/.x.tar.unpacked": "the workbench itself keeps",
    ".train.csv.partial": "the workbench itself keeps",
    ".train.csv.partial.json": "the workbench itself keeps",
    "a\x1b[2J.csv": "control characters",
    "a\0.csv": "outside|control characters",
    "n" * 300 + ".csv": "longer than",
    "train.csv/inner.csv": "both",
}
"""Names that a platform lists, and why none of it is fetched."""


def names(files: Iterable[str]) -> list[str]:
    """Return names in an order that is always the same."""
    return sorted(files)
