"""Tables of many columns: what each command does grows with their number, no faster, and what it shows does not."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from workbench.data.ingest import convert
from workbench.data.ingest.text import SourceFile, TextForm, header_of


def write_wide(folder: Path, columns: int, form: str = "csv") -> None:
    """Write train and test of numbers, whole numbers, texts and gaps in turn."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    n = 60
    values: dict[str, object] = {"id": np.arange(n)}
    for i in range(columns):
        number = rng.normal(size=n).round(3)
        kinds = (number, rng.integers(0, 9, n), np.where(number > 0, "red", "blue"), np.where(number > 1, None, number))
        values[f"g{i}"] = pl.Series(kinds[i % 4].tolist(), strict=False)
    frame = pl.DataFrame(values).with_columns(y=pl.Series(rng.normal(size=n)))
    for name, part in (("train", frame.head(40)), ("test", frame.tail(20).drop("y"))):
        path = folder / f"{name}.{form}"
        part.write_csv(path) if form == "csv" else part.write_parquet(path)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_conversion_grows_with_the_columns_and_no_faster(tmp_path: Path, form: str) -> None:
    seconds = {}
    for columns in (200, 1000, 8000):
        write_wide(tmp_path / f"raw{columns}", columns, form)
        started = time.process_time()
        convert(tmp_path / f"raw{columns}", tmp_path / f"tables{columns}", "wide")
        seconds[columns] = time.process_time() - started
    # Linear, with a start of its own: 8 times the columns take 8 times as long; quadratic would be 64.
    assert seconds[8000] < 16 * max(seconds[1000], 0.2)


def test_a_name_that_repeats_thousands_of_times_gets_a_suffix_each(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text(",".join(["x"] * 20_000 + ["x_duplicated_1"]) + "\n")
    started = time.process_time()
    names = header_of(SourceFile("train.csv", path), TextForm())
    assert time.process_time() - started < 5
    assert names[:3] == ["x", "x_duplicated_0", "x_duplicated_2"]
    assert names[-1] == "x_duplicated_1"
    assert len(set(names)) == 20_001
