"""Types that differ between train's and test's Parquet: taken as delimited text would be, or named and left out."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from tests.conversion import convert_files, parquet_bytes
from workbench.api import library
from workbench.data.workspace import create_workspace
from workbench.rehearsal import RehearsalSpec, create

AT = [datetime(2024, 1, 1, 3) + timedelta(hours=5 * i) for i in range(6)]
UTC_TIMES = [t.replace(tzinfo=UTC) for t in AT]


@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
@pytest.mark.parametrize(
    ("one", "other", "dtype", "first", "second"),
    [
        (UTC_TIMES, AT, pl.Datetime("us"), AT, AT),
        (
            [t.astimezone(ZoneInfo("Asia/Seoul")) for t in UTC_TIMES],
            UTC_TIMES,
            pl.Datetime("us", "UTC"),
            UTC_TIMES,
            UTC_TIMES,
        ),
        ([t.date() for t in AT], AT, pl.Datetime("us"), [datetime(t.year, t.month, t.day) for t in AT], AT),
        (AT, [str(t) for t in AT], pl.Datetime("us"), AT, AT),
        ([t.date() for t in AT], [str(t.date()) for t in AT], pl.Date(), None, [t.date() for t in AT]),
        ([1, 2, 3], ["4", "5", None], pl.Int64(), None, [4, 5, None]),
        ([1.5, 2.0], ["4", "5.25"], pl.Float64(), None, [4.0, 5.25]),
        ([1, 2, 3], ["4", "a", "5"], pl.String(), ["1", "2", "3"], None),
        ([1, 2, 3], ["04", "11", "5"], pl.String(), ["1", "2", "3"], None),
        ([True, False, None], [1, 0, 2], pl.Int64(), [1, 0, None], None),
        ([True, False], ["true", "false"], pl.Boolean(), None, [True, False]),
        ([True, False], ["x", "false"], pl.String(), ["true", "false"], None),
        ([1, 2], [date(2024, 1, 2), date(2024, 1, 3)], pl.String(), ["1", "2"], ["2024-01-02", "2024-01-03"]),
        ([None, None], ["a", "b"], pl.String(), None, None),
        ([None, None], [[1], [2]], pl.List(pl.Int64()), None, None),
    ],
)
def test_they_are_read_as_one_type(
    one: list[Any], other: list[Any], dtype: pl.DataType, first: Any, second: Any, turned: bool
) -> None:
    sides = {"train": (one, first or one), "test": (other, second or other)}
    if turned:
        sides = {"train": sides["test"], "test": sides["train"]}
    result = convert_files({f"{n}.parquet": parquet_bytes({"k": range(len(v)), "v": v}) for n, (v, _) in sides.items()})
    for name, (_, expected) in sides.items():
        assert result.frames[name].schema["v"] == dtype
        assert result.frames[name]["v"].to_list() == expected
    assert any("column 'v' is" in line and "taken as" in line for line in result.said)


def test_categories_are_read_as_their_texts() -> None:
    cats = parquet_bytes(pl.DataFrame({"k": [1, 2], "v": pl.Series(["7", "8"]).cast(pl.Categorical)}))
    result = convert_files({"train.parquet": cats, "test.parquet": parquet_bytes({"k": [3], "v": [9]})})
    assert result.frames["train"]["v"].to_list() == [7, 8]
    result = convert_files({"train.parquet": cats, "test.parquet": parquet_bytes({"k": [3], "v": ["x"]})})
    assert result.frames["train"]["v"].to_list() == ["7", "8"]


@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
@pytest.mark.parametrize(
    ("one", "other", "column", "first", "second"),
    [
        (pl.Series([2**63, 5], dtype=pl.UInt64), [-1, 2], "v", [float(2**63), 5.0], [-1.0, 2.0]),
        (pl.Series([2**63 + 1, 5], dtype=pl.UInt64), [1, 2], "user_id", [str(2**63 + 1), "5"], ["1", "2"]),
        (pl.Series([7, 5], dtype=pl.UInt64), [-1, 2], "v", [7, 5], [-1, 2]),
        (pl.Series([2**63 + 1, 5], dtype=pl.UInt64), ["1", "2"], "v", [str(2**63 + 1), "5"], ["1", "2"]),
        ([2**60 + 1, 5], ["1.5", "2.25"], "v", [str(2**60 + 1), "5"], ["1.5", "2.25"]),
    ],
)
def test_whole_numbers_lose_no_digits_unnoticed(
    one: Any, other: Any, column: str, first: Any, second: Any, turned: bool
) -> None:
    sides = [("train", one, first), ("test", other, second)]
    if turned:
        sides = [("test", one, first), ("train", other, second)]
    result = convert_files({f"{n}.parquet": parquet_bytes(pl.DataFrame({"k": [0, 1], column: v})) for n, v, _ in sides})
    for name, _, expected in sides:
        assert result.frames[name][column].to_list() == expected


def test_ids_keep_their_spelling() -> None:
    files = {
        "train.parquet": parquet_bytes({"user_id": [1, 2, 3], "v": [1, 2, 3]}),
        "test.parquet": parquet_bytes({"user_id": ["0004", "5", "6"], "v": [1, 2, 3]}),
    }
    result = convert_files(files)
    assert result.frames["test"]["user_id"].to_list() == ["0004", "5", "6"]
    assert result.frames["train"]["user_id"].to_list() == ["1", "2", "3"]


N = 60
COLUMNS: dict[str, tuple[Any, Any]] = {
    "zones": (
        [datetime(2024, 1, 1, i % 24, tzinfo=UTC) for i in range(N)],
        [datetime(2024, 1, 1, i % 24) for i in range(N)],
    ),
    "lists": ([[i] for i in range(N)], [i % 5 for i in range(N)]),
    "structs": ([i % 5 for i in range(N)], [{"a": i} for i in range(N)]),
    "spans": ([timedelta(hours=i) for i in range(N)], [i % 5 for i in range(N)]),
    "bytes": ([b"a"] * N, ["a"] * N),
    "words": ([i % 5 for i in range(N)], [f"w{i % 5}" for i in range(N)]),
    "decimals": ([Decimal(i % 5) for i in range(N)], [float(i % 5) for i in range(N)]),
    "whole": ([Decimal(i % 5) for i in range(N)], [i % 5 for i in range(N)]),
    "clocks": ([time(i % 24) for i in range(N)], [f"{i % 24:02d}:00:00" for i in range(N)]),
    "truth": ([bool(i % 2) for i in range(N)], [i % 2 for i in range(N)]),
    "nothing": ([None] * N, [i % 5 for i in range(N)]),
}
LEFT_OUT = {"lists", "structs", "spans", "bytes"}


def test_run_and_check_take_what_fetch_left(tmp_path: Path) -> None:
    """Whatever the types, no command ends in a traceback; what no type holds is named as left out."""
    workspace = create_workspace(tmp_path / "ws")
    source = pl.DataFrame(
        {"id": range(2 * N), "x": [i % 7 for i in range(2 * N)], "y": [2.0 * (i % 7) for i in range(2 * N)]}
    )
    source.write_parquet(tmp_path / "all.parquet")
    folder = create(workspace.root, "c", RehearsalSpec(tmp_path / "all.parquet", ("y",), "rmse", after=("id", str(N))))
    for at, name in enumerate(("train", "test")):
        path = folder / "files" / f"{name}.parquet"
        pl.read_parquet(path).with_columns(pl.Series(c, v[at], strict=False) for c, v in COLUMNS.items()).write_parquet(
            path
        )
    library.fetch("c", where=workspace)
    competition = library.competition("c", where=workspace)
    assert set(competition.access.competition.rows.unlike_columns) == LEFT_OUT
    assert "lists" not in competition.access.competition.rows.columns
    assert competition.rows.collect().height == 2 * N
    experiments = competition.access.competition.folder / "experiments"
    experiments.joinpath("001.toml").write_text(
        'title = "t"\nfeatures = ["auto"]\n[model]\nn_estimators = 3\nearly_stopping_round = 0\n'
    )
    said: list[str] = []
    run = competition.run(1, report=said.append)
    assert run.record.cv_mean is not None
    left_out = json.loads((run.folder / "run.json").read_text())["left_out"]
    for column in LEFT_OUT:
        assert "no type holds both" in left_out[column]
    assert competition.data.check()


def test_times_and_numbers_of_two_formats_are_no_one_column(tmp_path: Path) -> None:
    """Files of two formats have not agreed while they were read: what is left so is not stacked as other values."""
    workspace = create_workspace(tmp_path / "ws")
    source = pl.DataFrame({"id": range(40), "x": [i % 7 for i in range(40)], "y": [2.0 * (i % 7) for i in range(40)]})
    source.write_parquet(tmp_path / "all.parquet")
    folder = create(workspace.root, "c", RehearsalSpec(tmp_path / "all.parquet", ("y",), "rmse", after=("id", "20")))
    train, test = (pl.read_parquet(folder / "files" / f"{n}.parquet") for n in ("train", "test"))
    whole = [pl.Series(n, range(20), dtype=t) for n, t in (("d", pl.Int64), ("t", pl.UInt64), ("c", pl.Float64))]
    days = [date(2024, 1, 1 + i) for i in range(20)]
    times = [
        pl.Series("d", days),
        pl.Series("t", days).cast(pl.Datetime("us")),
        pl.Series("c", [time(i) for i in range(20)]),
    ]
    train.with_columns(whole).write_parquet(folder / "files" / "train.parquet")
    (folder / "files" / "test.parquet").unlink()
    lines = test.with_columns(times[0], times[1].dt.to_string("%Y-%m-%d %H:%M:%S"), times[2].cast(pl.String))
    (folder / "files" / "test.csv").write_text(lines.write_csv())
    library.fetch("c", where=workspace)
    assert set(library.competition("c", where=workspace).access.competition.rows.unlike_columns) == {"d", "t"}
