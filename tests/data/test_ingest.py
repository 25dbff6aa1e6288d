from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest

from tests.conversion import listening
from workbench.api import library
from workbench.core.errors import BusyError, DamagedError, DataError, NotFoundError
from workbench.data.competition import check_table, read_manifest
from workbench.data.ingest.archives import unpack
from workbench.data.ingest.convert import convert
from workbench.platforms.protocol import connect


def table(tmp_path: Path, text: str, *, name: str = "train.csv", test: str | None = None) -> pl.DataFrame:
    """Convert a CSV text and return the table."""
    raw, tables = tmp_path / "raw", tmp_path / "tables"
    raw.mkdir(exist_ok=True)
    (raw / name).write_text(text)
    if test is not None:
        (raw / "test.csv").write_text(test)
    convert(raw, tables, "x")
    return pl.read_parquet(tables / f"{name.partition('.')[0]}.parquet")


class TestTypes:
    @pytest.mark.parametrize(
        ("values", "dtype", "expected"),
        [
            (["1", "2", ""], pl.Int64, [1, 2, None]),
            (["1", "-2", "NA"], pl.Int64, [1, -2, None]),
            (["9007199254740993", "1", "2"], pl.Int64, [9007199254740993, 1, 2]),
            (["99999999999999999999", "1", "2"], pl.Float64, [1e20, 1.0, 2.0]),
            (["1.5", "2", "nan"], pl.Float64, [1.5, 2.0, None]),
            (["1e3", "2", "3"], pl.Float64, [1000.0, 2.0, 3.0]),
            (["007", "012", "100"], pl.String, ["007", "012", "100"]),
            (["0", "0.5", "1"], pl.Float64, [0.0, 0.5, 1.0]),
            (["true", "False", ""], pl.Boolean, [True, False, None]),
            (["a", "NA", "1"], pl.String, ["a", "NA", "1"]),
            (["2013-01-01", "2013-12-31", ""], pl.Date, None),
            (["2013-01-01 05:00:00", "2013-01-02 06:30:00", "NA"], pl.Datetime("us"), None),
            (["2013-01-01T05:00:00", "2013-01-02T06:30:00", ""], pl.Datetime("us"), None),
            (["2013-01-01", "yesterday", ""], pl.String, ["2013-01-01", "yesterday", None]),
            (['"a,b"', '"say ""so"""', '"two\nlines"'], pl.String, ["a,b", 'say "so"', "two\nlines"]),
        ],
    )
    def test_they_are_decided_over_the_whole_file(self, tmp_path: Path, values, dtype, expected) -> None:
        frame = table(tmp_path, "k,v\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values)))
        assert frame["v"].dtype == dtype
        if expected is not None:
            assert frame["v"].to_list() == expected
        elif values[2] in ("", "NA"):
            assert frame["v"].null_count() == 1

    def test_a_value_far_down_counts(self, tmp_path: Path) -> None:
        text = "v\n" + "1\n" * 50_000 + "x\n"
        assert table(tmp_path, text)["v"].dtype == pl.String

    def test_train_and_test_share_theirs(self, tmp_path: Path) -> None:
        frame = table(tmp_path, "id,v\n1,1\n2,2\n", test="id,v\n3,1.5\n")
        assert frame["v"].dtype == pl.Float64
        assert pl.read_parquet(tmp_path / "tables" / "test.parquet")["v"].dtype == pl.Float64

    def test_a_changed_test_file_changes_both(self, tmp_path: Path) -> None:
        table(tmp_path, "id,v\n1,1\n2,2\n", test="id,v\n3,1\n")
        frame = table(tmp_path, "id,v\n1,1\n2,2\n", test="id,v\n3,x\n")
        assert frame["v"].dtype == pl.String


class TestConvert:
    def test_row_groups_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = "v\n" + "".join(f"{i}\n" for i in range(10_000))
        table(tmp_path, text)
        one_group = (tmp_path / "tables" / "train.parquet").stat().st_size
        monkeypatch.setattr(sys.modules["workbench.data.ingest.writing"], "ROWS_PER_GROUP", 100)
        convert(tmp_path / "raw", tmp_path / "tables", "x", force=True)
        # A hundred groups leave a hundred entries in the footer.
        assert (tmp_path / "tables" / "train.parquet").stat().st_size > 1.5 * one_group

    def test_order_is_kept(self, tmp_path: Path) -> None:
        frame = table(tmp_path, "v\n" + "".join(f"{i}\n" for i in range(200_000)))
        assert frame["v"].to_list() == list(range(200_000))

    def test_other_formats(self, tmp_path: Path) -> None:
        import gzip

        raw = tmp_path / "raw"
        raw.mkdir()
        (raw / "a.tsv").write_text("x\ty\n1\t2\n")
        (raw / "b.jsonl").write_text('{"x": 1, "y": [1, 2]}\n')
        (raw / "c.csv.gz").write_bytes(gzip.compress(b"x,y\n1,2\n"))
        pl.DataFrame({"x": [1]}).write_parquet(raw / "d.parquet")
        (raw / "image.png").write_bytes(b"png")
        manifest = convert(raw, tmp_path / "tables", "x")
        assert {n: i.rows for n, i in manifest.tables.items()} == {"a": 1, "b": 1, "c": 1, "d": 1}
        assert manifest.tables["c"].dtypes == {"x": "Int64", "y": "Int64"}

    def test_nothing_is_done_twice(self, tmp_path: Path) -> None:
        table(tmp_path, "v\n1\n")
        said: list[str] = []
        convert(tmp_path / "raw", tmp_path / "tables", "x", context=listening(said))
        assert said == []
        (tmp_path / "tables" / "train.parquet").write_bytes(b"damaged")
        convert(tmp_path / "raw", tmp_path / "tables", "x", context=listening(said))
        assert said == ["converting train"]

    def test_content_is_that_of_the_source(self, tmp_path: Path) -> None:
        table(tmp_path, "v\n1\n")
        first = read_manifest(tmp_path / "tables", slug="x").content
        convert(tmp_path / "raw", tmp_path / "tables", "x", force=True)
        assert read_manifest(tmp_path / "tables", slug="x").content == first
        table(tmp_path, "v\n2\n")
        assert read_manifest(tmp_path / "tables", slug="x").content != first

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"train.csv": b"a,b\n1,2\n1,2,3,4\n"}, "train.csv can't be"),
            ({"train.csv": b""}, "train.csv has no header"),
            ({"train.parquet": b"PAR1 damaged PAR1"}, "train.parquet can't be converted"),
            ({"a/b.csv": b"x\n1\n", "a_b.csv": b"x\n1\n"}, "would all become table 'a_b'"),
            ({"readme.txt": b"x"}, "no file that can become a table"),
        ],
    )
    def test_what_is_no_table_is_explained(self, tmp_path: Path, files: dict[str, bytes], message: str) -> None:
        for name, data in files.items():
            path = tmp_path / "raw" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        with pytest.raises(DataError, match=message):
            convert(tmp_path / "raw", tmp_path / "tables", "x")
        assert not (tmp_path / "tables" / "manifest.json").exists()

    @pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest"])
    def test_damage_is_noticed(self, tmp_path: Path, damage: str) -> None:
        import time

        table(tmp_path, "v\n1\n2\n")
        tables = tmp_path / "tables"
        path = tables / "train.parquet"
        data = bytearray(path.read_bytes())
        time.sleep(0.01)
        if damage == "flip":
            data[10] ^= 1
            path.write_bytes(data)
        elif damage == "truncate":
            path.write_bytes(data[:-4])
        elif damage == "remove":
            path.unlink()
        else:
            (tables / "manifest.json").write_text("{")
        with pytest.raises(DamagedError, match="wb fetch x --force"):
            check_table(tables, read_manifest(tables, slug="x").tables["train"], slug="x")


class TestUnpack:
    def archive(self, path: Path, **members: str) -> Path:
        with zipfile.ZipFile(path, "w") as opened:
            for name, text in members.items():
                opened.writestr(name, text)
        return path

    def test_members_are_written(self, tmp_path: Path) -> None:
        archive = self.archive(tmp_path / "a.zip", **{"train.csv": "x\n1\n", "deep/more.csv": "x\n2\n"})
        names = [p.relative_to(tmp_path / "out").as_posix() for p in unpack(archive, tmp_path / "out")]
        assert names == ["train.csv", "deep/more.csv"]

    @pytest.mark.parametrize("name", ["../evil.csv", "/tmp/evil.csv", "a/../../evil.csv"])
    def test_nothing_is_written_outside(self, tmp_path: Path, name: str) -> None:
        archive = self.archive(tmp_path / "a.zip", **{name: "x"})
        with pytest.raises(DataError, match="outside"):
            unpack(archive, tmp_path / "in" / "out")
        assert not list(tmp_path.rglob("evil.csv"))

    def test_a_damaged_archive_is_named(self, tmp_path: Path) -> None:
        archive = self.archive(tmp_path / "a.zip", **{"train.csv": "x\n" + "1\n" * 1000})
        data = bytearray(archive.read_bytes())
        data[60] ^= 255
        archive.write_bytes(data)
        with pytest.raises(DamagedError, match="a.zip: train.csv is not complete: Bad CRC-32"):
            unpack(archive, tmp_path / "out")
        archive.write_bytes(io.BytesIO(data).read(40))
        with pytest.raises(DamagedError):
            unpack(archive, tmp_path / "out")


class TestFetch:
    def test_the_definition_and_a_baseline_are_written(self, small) -> None:
        made = small(after=("day", "2024-06-01"), holdout=None)
        definition = made.open.access.competition.definition
        assert (definition.task, definition.metric, definition.id_columns) == ("binary", "auc", ("id",))
        assert (definition.cv.scheme, definition.cv.column) == ("time", "day")
        assert made.open.experiments[1].features == ("auto",)

    def test_what_is_there_stays(self, small) -> None:
        made = small()
        made.definition('title = "small"', 'title = "mine"')
        before = {p: p.stat().st_mtime_ns for p in (made.folder / "data").rglob("*") if p.is_file()}
        said: list[str] = []
        again = library.fetch("small", where=made.workspace, report=said.append)
        assert (again.downloaded, again.written, said) == ((), (), [])
        assert made.open.access.competition.definition.title == "mine"
        after = {p: p.stat().st_mtime_ns for p in (made.folder / "data").rglob("*") if p.is_file()}
        changed = {p.name for p in after if after[p] != before.get(p)}
        assert changed <= {"manifest.json", ".fetch.lock"}

    def test_a_damaged_download_is_fetched_again(self, small) -> None:
        made = small()
        (made.folder / "data" / "raw" / "test.csv").write_text("half")
        assert library.fetch("small", where=made.workspace).downloaded == ("test.csv",)

    def test_free_text_is_left_out_of_the_baseline(self, tmp_path: Path, small) -> None:
        from tests.small import make_frame

        source = tmp_path / "named.csv"
        make_frame(400).with_columns(name=pl.format("person {}", "id")).write_csv(source)
        made = small(train=source)
        made.open.run(1)
        columns = set(made.open.runs[1].importance["column"])
        assert "name" not in columns
        assert {"name_part2"} <= columns  # the number in it

    def test_an_unknown_competition_is_explained(self, small) -> None:
        made = small()
        with pytest.raises(NotFoundError, match="there is no local competition 'smal'") as caught:
            library.fetch("smal", platform="rehearsal", where=made.workspace)
        assert "did you mean 'small'" in caught.value.hint

    def test_an_unknown_platform_is_explained(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match="no platform is called 'kagle'"):
            connect("kagle", tmp_path)

    def test_two_at_once_do_not_mix(self, small) -> None:
        from workbench.core.cache import lock

        made = small()
        with lock(made.folder / "data" / ".fetch.lock", "x"), pytest.raises(BusyError, match="the data of 'small'"):
            library.fetch("small", where=made.workspace)
