"""A file that is hashed while it is written: the hash is that of the finished file, whatever its writer does."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from workbench.core.cache import file_sha256
from workbench.data.ingest import convert, followed_file, writing
from workbench.data.ingest.followed_file import followed


def test_a_file_that_grows_slowly(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with followed(path) as file:
        time.sleep(0.03)
        with path.open("wb") as out:
            for i in range(5):
                out.write(bytes([i]) * 1000)
                out.flush()
                time.sleep(0.01)
    assert file.sha256 == hashlib.sha256(b"".join(bytes([i]) * 1000 for i in range(5))).hexdigest()


def test_bytes_that_are_written_last_count(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with followed(path) as file, path.open("wb") as out:
        out.write(b"a" * 5_000_000)
    assert file.sha256 == file_sha256(path)


def test_a_file_that_is_never_written_has_no_hash(tmp_path: Path) -> None:
    with followed(tmp_path / "f") as file:
        pass
    with pytest.raises(FileNotFoundError):
        _ = file.sha256


def test_a_writer_that_fails_is_not_waited_for(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(ValueError, match="full"), followed(tmp_path / "f"):
        assert set(threading.enumerate()) - before
        raise ValueError("full")
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_the_hash_of_a_table_of_many_row_groups_is_that_of_its_file(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "ROWS_PER_GROUP", 1000)
    # So often that most of the file is read while it is written.
    monkeypatch.setattr(followed_file, "PAUSE_S", 0.0001)
    raw = tmp_path / "raw"
    raw.mkdir()
    rng = np.random.default_rng(3)
    frame = pl.DataFrame({"id": np.arange(30_000), "x": rng.normal(size=30_000), "t": rng.integers(0, 99, 30_000)})
    frame = frame.with_columns(pl.format("text {}", "t").alias("t"))
    getattr(frame, f"write_{form}")(raw / f"train.{'jsonl' if form == 'ndjson' else form}")
    info = convert(raw, tmp_path / "tables", "hashed").tables["train"]
    assert info.sha256 == file_sha256(tmp_path / "tables" / "train.parquet")
    assert info.rows == 30_000
