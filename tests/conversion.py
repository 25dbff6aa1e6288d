"""Conversion of files to tables, in this process or measured in a separate one, and small files to convert."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from workbench.core.context import RunContext, text_listener
from workbench.data.competition import Manifest, TableInfo
from workbench.data.ingest.convert import Conversion, convert
from workbench.data.ingest.sources import ReadOptions
from workbench.data.ingest.text import blocks

few_examples = settings(max_examples=12)


# ------------------------------------------------------------------------------------------------------ files to tables


def listening(lines: list[str]) -> RunContext:
    """Return a context whose messages are appended to a list."""
    return RunContext((text_listener(lines.append),))


@dataclass
class ConvertedFiles:
    """The tables that files were converted to, their descriptions, and the reported messages."""

    frames: dict[str, pl.DataFrame]
    infos: dict[str, TableInfo]
    said: list[str]

    @property
    def train(self) -> pl.DataFrame:
        return self.frames["train"]


def convert_files(
    files: dict[str, str | bytes],
    *,
    read: dict[str, Any] | None = None,
    types: dict[str, str] | None = None,
    **more: Any,
) -> ConvertedFiles:
    """Convert files; `read` are the options of table train, `more` those of all."""
    with tempfile.TemporaryDirectory() as folder:
        raw, tables = write_files(Path(folder) / "raw", files), Path(folder) / "tables"
        said: list[str] = []
        options = ReadOptions({"train": read} if read else {}, types or {}, **more)
        manifest = convert(raw, tables, "x", options=options, context=listening(said))
        frames = {name: pl.read_parquet(tables / f"{name}.parquet") for name in manifest.tables}
        for name, frame in frames.items():
            assert manifest.tables[name].rows == frame.height
            assert manifest.tables[name].dtypes == {c: str(t) for c, t in frame.schema.items()}
        return ConvertedFiles(frames, manifest.tables, said)


def convert_train(text: str | bytes, **options: Any) -> pl.DataFrame:
    return convert_files({"train.csv": text}, **options).train


def convert_column(*values: str, separator: str = ",", **options: Any) -> pl.Series:
    """Convert a table of a number and these texts, quoted where they must be, and return the texts' column."""
    return convert_files({"train.csv": column_as_csv(values, separator)}, **options).train["v"]


def convert_in(folder: Path, files: dict[str, str | bytes], *, force: bool = False, **options: Any) -> Manifest:
    """Convert files that stay in a folder, in `raw`, to its `tables`."""
    return Conversion(write_files(folder / "raw", files), folder / "tables", "c", **options).run(force=force)


@contextmanager
def small_reads(size: int) -> Iterator[None]:
    """Guess from so few bytes, and read so many at a time."""
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules["workbench.data.ingest.delimited"]
        patch.setattr(module, "HEAD_BYTES", size)
        patch.setattr(module, "blocks", lambda source, form, **more: blocks(source, form, **{"size": size} | more))
        patch.setattr(sys.modules["workbench.data.ingest.text"], "BLOCK_BYTES", size)
        yield


CONVERT_SCRIPT = """
import sys
from pathlib import Path
from workbench.data.ingest.convert import convert
from workbench.data.ingest.sources import ReadOptions
options = ReadOptions({"train": {"explode": "events"}} if sys.argv[3] == "explode" else {}, {}, block_bytes=2 << 20)
convert(Path(sys.argv[1]), Path(sys.argv[2]), "x", options=options)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) >> 10)
"""


def conversion_peak_mb(raw: Path, tables: Path, how: str = "") -> int:
    """Convert in a process of its own, with blocks as for a memory limit of 128 MB; return its peak resident memory."""
    done = subprocess.run(
        [sys.executable, "-c", CONVERT_SCRIPT, str(raw), str(tables), how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


# --------------------------------------------------------------------------------------------------------------- files

ROWS = [(i, i % 7, 2 * (i % 7)) for i in range(60)]
SMALL_FILES = {
    "train.csv": "id,a,y\n" + "".join(f"{i},{a},{y}\n" for i, a, y in ROWS[:40]),
    "test.csv": "id,a\n" + "".join(f"{i},{a}\n" for i, a, _ in ROWS[40:]),
    "sample_submission.csv": "id,y\n" + "".join(f"{i},0\n" for i, _, _ in ROWS[40:]),
}


def write_files(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def column_as_csv(values: tuple[str, ...], separator: str = ",") -> str:
    """Write a table of a number and these texts, quoted where they must be."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    writer.writerows([("k", "v"), *enumerate(values)])
    return out.getvalue()


def parquet_bytes(frame: pl.DataFrame | dict[str, Any], **options: Any) -> bytes:
    out = io.BytesIO()
    (frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame)).write_parquet(out, **options)
    return out.getvalue()


def zip_bytes(files: dict[str, str | bytes], *, password: bool = False) -> bytes:
    """Pack files; with `password` the archive says that they need one."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    data = bytearray(out.getvalue())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(mark), bytes(data)) if password else ():
            data[found.start() + at] |= 1
    return bytes(data)


# ------------------------------------------------------------------------------------------------------- random tables

COLUMN_KINDS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "whole": (st.integers(-(2**63), 2**63 - 1), pl.Int64()),
    "number": (st.floats(allow_nan=False, allow_infinity=False), pl.Float64()),
    "day": (st.dates(date(1000, 1, 1)), pl.Date()),
    # Without a zone, as in the files.
    "time": (st.datetimes(datetime(1000, 1, 1)).map(lambda t: t.replace(microsecond=0)), pl.Datetime("us")),  # noqa: DTZ001
    "flag": (st.booleans(), pl.Boolean()),
}


@st.composite
def random_tables(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> pl.DataFrame:
    """Draw a table of each kind of column, with holes; its texts are read as nothing but texts."""
    rows = draw(st.integers(1, 8))
    kinds = COLUMN_KINDS | {"text": (texts.map(lambda t: f"x{t}"), pl.String())}
    columns = {}
    for kind, (values, dtype) in kinds.items():
        drawn = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        # Where nothing is seen, there is no type to tell.
        columns[kind] = pl.Series(drawn, dtype=dtype if any(v is not None for v in drawn) else pl.String())
    return pl.DataFrame(columns)
