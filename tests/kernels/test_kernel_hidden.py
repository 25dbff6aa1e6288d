"""Test sets like a hidden one: what of the public one stays in them, what is new, and what is said of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.in_memory_platform import SLUG, fetched
from workbench.data.competition import Competition, load_competition
from workbench.data.workspace import create_workspace
from workbench.kernels.hidden_test_sets import emptied_data, hidden_data, link

N_TRAIN, N_TEST = 60, 40
TRAIN: dict[str, Any] = {
    "id": list(range(N_TRAIN)),
    "x": [i * 7 % 11 + 0.5 for i in range(N_TRAIN)],
    "whole": [i % 5 + 0.25 for i in range(N_TRAIN)],
    "code": [f"c{i % 3}" for i in range(N_TRAIN)],
    "town": [f"town {i % 4}" for i in range(N_TRAIN)],
    "late": [None if i % 2 else 100 + i for i in range(N_TRAIN)],
    "never": [None for _ in range(N_TRAIN)],
    "y": [i % 2 for i in range(N_TRAIN)],
}
TEST: dict[str, Any] = {
    "id": list(range(N_TRAIN, N_TRAIN + N_TEST)),
    "x": [i * 5 % 13 + 0.5 for i in range(N_TEST)],
    "whole": [i % 5 for i in range(N_TEST)],
    "code": [1000 + i for i in range(N_TEST)],
    "town": [f"town {i % 4}" for i in range(N_TEST)],
    "late": [None for _ in range(N_TEST)],
    "never": [None for _ in range(N_TEST)],
    "extra": list(range(N_TEST)),
}


def csv(columns: dict[str, Any]) -> bytes:
    return pl.DataFrame(columns, strict=False).write_csv().encode()


def files_of(train: dict[str, Any] = TRAIN, test: dict[str, Any] = TEST, **more: bytes) -> dict[str, bytes]:
    sample = {"id": test["id"], "y": [0.5] * len(test["id"])}
    named = {name.replace("__", "."): data for name, data in more.items()}
    return {"train.csv": csv(train), "test.csv": csv(test), "sample_submission.csv": csv(sample)} | named


@pytest.fixture(scope="module")
def competition(tmp_path_factory) -> Competition:
    return fetched(tmp_path_factory.mktemp("hidden"), files_of(towns__csv=b"town,size\ntown 1,5\n"))


def shown(competition: Competition) -> Path:
    return competition.folder / "data" / "raw"


@pytest.fixture(scope="module")
def made(competition: Competition, tmp_path_factory) -> tuple[pl.DataFrame, list[str], int | None, Path]:
    folder, changes = tmp_path_factory.mktemp("more") / "grown", list[str]()
    rows = hidden_data(competition, shown(competition), folder, changes)
    return pl.read_csv(folder / "test.csv", infer_schema=False), changes, rows, folder


class TestLarger:
    def test_the_public_rows_come_first_as_they_were(self, competition: Competition, made) -> None:
        frame, _, rows, _ = made
        assert (frame.height, rows) == (60, 60)
        public = pl.read_csv(shown(competition) / "test.csv", infer_schema=False)
        assert_frame_equal(frame.head(N_TEST).drop("whole"), public.drop("whole"))
        # Train has fractions there, so that all of the column is read as such.
        assert frame["whole"].head(2).to_list() == ["0.0", "1.0"]

    def test_new_rows_have_ids_above_all(self, made) -> None:
        frame, _, _, folder = made
        assert frame["id"].to_list() == [str(i) for i in range(N_TRAIN, N_TRAIN + 60)]
        sample = pl.read_csv(folder / "sample_submission.csv")
        assert sample["id"].to_list() == list(range(N_TRAIN, N_TRAIN + 60))
        assert sample["y"].to_list() == [0.5] * 60

    def test_which_of_them_have_values_of_train(self, competition: Competition, made) -> None:
        """Every third, from the second on; the others repeat the first public rows."""
        frame = made[0]
        public, new = frame.head(N_TEST), frame.tail(20)
        drawn = [i * 7919 % 20 for i in range(20)]
        for name in ("x", "whole"):
            of_train = [float(TRAIN[name][d]) for d in drawn]
            expected = [of_train[i] if i % 3 == 1 else float(public[name][i]) for i in range(20)]
            assert [float(v) for v in new[name]] == expected
        assert new["code"].to_list() == [
            "never seen before" if i % 10 == 0 else TRAIN["code"][drawn[i]] if i % 3 == 1 else str(1000 + i)
            for i in range(20)
        ]

    def test_where_the_public_test_set_is_empty_all_of_them_have(self, made) -> None:
        new = made[0].tail(20)
        there = [v for v in TRAIN["late"] if v is not None][:20]
        assert [int(v) for v in new["late"]] == [there[i * 7919 % 20] for i in range(20)]
        # What train has no value of stays empty, and what it has no column of is repeated.
        assert [i for i, v in enumerate(new["never"]) if v is not None] == [0, 10]
        assert new["extra"].to_list() == [str(i) for i in range(20)]

    def test_every_tenth_has_categories_that_nobody_has_seen(self, made) -> None:
        new = made[0].tail(20)
        assert [i for i, v in enumerate(new["town"]) if v == "never seen before"] == [0, 10]

    def test_what_is_said(self, made) -> None:
        assert made[1] == [
            "20 rows more, 60 in all",
            "filled, where the public test set is empty: late",
            "values of train in every third new row",
            "unseen categories: code, town, never",
        ]

    def test_the_other_files_stay_and_cost_no_bytes(self, competition: Competition, made) -> None:
        folder = made[3]
        for name in ("train.csv", "towns.csv"):
            assert (folder / name).samefile(shown(competition) / name)
        assert not (folder / "test.csv").samefile(shown(competition) / "test.csv")
        assert (shown(competition) / "test.csv").read_bytes() == csv(TEST)

    def test_it_need_not_be_said(self, competition: Competition, tmp_path: Path) -> None:
        assert hidden_data(competition, shown(competition), tmp_path / "more") == 60
        assert emptied_data(competition, shown(competition), tmp_path / "less") == 20


class TestEmptied:
    def test_half_the_rows_without_every_second_column(self, competition: Competition, tmp_path: Path) -> None:
        """Those that are empty already and the ids are not among the columns that are counted."""
        changes: list[str] = []
        assert emptied_data(competition, shown(competition), tmp_path, changes) == 20
        frame = pl.read_csv(tmp_path / "test.csv", infer_schema=False)
        public = pl.read_csv(shown(competition) / "test.csv", infer_schema=False).tail(20)
        gone = [c for c in frame.columns if frame[c].null_count() == 20 and public[c].null_count() < 20]
        filled = [c for c in ("x", "whole", "code", "town") if c in competition.rows.columns]
        assert gone == filled[1::2]
        assert len(gone) >= 1
        assert changes == ["20 rows", f"empty: {', '.join(gone)}"]
        assert_frame_equal(frame.drop(gone), public.drop(gone))
        sample = pl.read_csv(tmp_path / "sample_submission.csv")
        assert sample["id"].to_list() == list(range(N_TRAIN + 20, N_TRAIN + N_TEST))
        assert sample["y"].null_count() == 0

    def test_of_one_row_it_stays(self, tmp_path: Path) -> None:
        train, test = ({n: v[:count] for n, v in of.items()} for of, count in ((TRAIN, 60), (TEST, 1)))
        competition = fetched(tmp_path, files_of(train, test))
        assert emptied_data(competition, shown(competition), tmp_path / "less") == 1
        assert hidden_data(competition, shown(competition), tmp_path / "more") == 2

    def test_where_nothing_is_filled_nothing_is_said_to_be_empty(self, tmp_path: Path) -> None:
        names = ("id", "x", "y")
        train, test = ({n: v for n, v in of.items() if n in names} for of in (TRAIN, TEST))
        competition = fetched(tmp_path, files_of(train, test))
        changes: list[str] = []
        emptied_data(competition, shown(competition), tmp_path / "less", changes)
        assert changes == ["20 rows"]
        assert pl.read_csv(tmp_path / "less" / "test.csv")["x"].null_count() == 0


class TestForms:
    def test_ids_of_text(self, tmp_path: Path) -> None:
        named = {"id": [f"a{i}" for i in range(N_TRAIN)]}, {"id": [f"b{i}" for i in range(N_TEST)]}
        competition = fetched(tmp_path, files_of(TRAIN | named[0], TEST | named[1]))
        assert hidden_data(competition, shown(competition), tmp_path / "more") == 60
        ids = pl.read_csv(tmp_path / "more" / "test.csv")["id"].to_list()
        assert ids == [f"b{i}" for i in range(N_TEST)] + [f"b{i}-hidden" for i in range(20)]
        assert pl.read_csv(tmp_path / "more" / "sample_submission.csv")["id"].to_list() == ids

    def test_nothing_but_ids_is_shared(self, tmp_path: Path) -> None:
        """There are no values of train then, and nothing of them is said."""
        train = {n: TRAIN[n] for n in ("id", "x", "y")}
        test = {"id": TEST["id"], "extra": TEST["extra"], "town": TEST["town"]}
        competition = fetched(tmp_path, files_of(train, test))
        changes: list[str] = []
        assert hidden_data(competition, shown(competition), tmp_path / "more", changes) == 60
        assert changes == ["20 rows more, 60 in all", "unseen categories: town"]

    def test_numbers_alone(self, tmp_path: Path) -> None:
        train, test = ({n: of[n] for n in ("id", "x", "y") if n in of} for of in (TRAIN, TEST))
        competition = fetched(tmp_path, files_of(train, test))
        changes: list[str] = []
        hidden_data(competition, shown(competition), tmp_path / "more", changes)
        assert changes == ["20 rows more, 60 in all", "values of train in every third new row"]

    def test_parquet(self, tmp_path: Path) -> None:
        """Its types are its own: whole numbers get fractions of train, and that is said."""
        files = files_of()
        for name, columns in (("train", TRAIN), ("test", TEST)):
            del files[f"{name}.csv"]
            out = io.BytesIO()
            pl.DataFrame(columns, strict=False).drop("never").write_parquet(out)
            files[f"{name}.parquet"] = out.getvalue()
        competition = fetched(tmp_path, files)
        changes: list[str] = []
        assert hidden_data(competition, shown(competition), tmp_path / "more", changes) == 60
        frame = pl.read_parquet(tmp_path / "more" / "test.parquet")
        assert frame["whole"].head(N_TEST).to_list() == TEST["whole"]
        drawn = [TRAIN["whole"][i * 7919 % 20] if i % 3 == 1 else TEST["whole"][i] for i in range(20)]
        assert frame["whole"].tail(20).to_list() == drawn
        assert changes[1] == "whole: values of train, a Float64; in the public test set it is a Int64"
        assert pl.read_csv(tmp_path / "more" / "sample_submission.csv").height == 60

    def test_a_test_set_that_is_no_file_of_its_own(self, competition: Competition, tmp_path: Path) -> None:
        for make in (hidden_data, emptied_data):
            place = tmp_path / make.__name__
            other = place / "raw"
            other.mkdir(parents=True)
            for path in shown(competition).glob("*.csv"):
                if path.name != "test.csv":
                    link(path, other / path.name)
            assert make(competition, other, place / "out") is None
            (other / "test.tsv").write_text("id\tx\n1\t2\n")
            assert make(competition, other, place / "out") is None
            assert not (place / "out").exists()

    def test_one_without_a_sample(self, tmp_path: Path) -> None:
        files = files_of()
        competition = fetched(tmp_path, files)
        path = competition.folder / "competition.toml"
        path.write_text(
            path.read_text().replace('sample_submission = "sample_submission"', "sample_submission = false")
        )
        competition = load_competition(create_workspace(tmp_path / "workspace"), SLUG)
        assert competition.definition.tables.sample_submission is None
        assert hidden_data(competition, shown(competition), tmp_path / "more") == 60
        assert (tmp_path / "more" / "sample_submission.csv").samefile(shown(competition) / "sample_submission.csv")

    def test_files_in_one_folder(self, tmp_path: Path) -> None:
        """Which is packaging: the tables are named without it."""
        competition = fetched(tmp_path, {f"deep/{name}": data for name, data in files_of().items()})
        assert hidden_data(competition, shown(competition), tmp_path / "out") == 60
        names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
        assert {"deep/test.csv", "deep/train.csv", "deep/sample_submission.csv"} <= names
        assert pl.read_csv(tmp_path / "out" / "deep" / "test.csv").height == 60

    def test_one_in_a_folder_of_its_own(self, tmp_path: Path) -> None:
        files = files_of()
        files["test/test.csv"] = files.pop("test.csv")
        competition = fetched(tmp_path, files)
        assert hidden_data(competition, shown(competition), tmp_path / "out") == 60
        assert pl.read_csv(tmp_path / "out" / "test" / "test.csv").height == 60

    def test_one_in_parts_or_folders_of_values_is_no_file_of_its_own(self, tmp_path: Path) -> None:
        files = files_of()
        test = pl.read_csv(files.pop("test.csv"), infer_schema=False)
        parts = {"1": test.head(20), "2": test.tail(20)}
        many = {f"test/part-{n}.csv": frame.write_csv().encode() for n, frame in parts.items()}
        hive = {"test/part=1/data.csv": test.write_csv().encode()}
        for number, more in enumerate((many, hive)):
            competition = fetched(tmp_path / str(number), files | more)
            assert competition.ids.test_frame().height == 40
            assert hidden_data(competition, shown(competition), tmp_path / str(number) / "out") is None


class TestLink:
    def test_a_file_is_put_there_without_its_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("x")
        (tmp_path / "to-a").symlink_to(tmp_path / "a")
        assert link(tmp_path / "to-a", tmp_path / "deep" / "er" / "b") is True
        assert (tmp_path / "deep" / "er" / "b").samefile(tmp_path / "a")
        assert not (tmp_path / "deep" / "er" / "b").is_symlink()

    @pytest.mark.parametrize("name", ["nothing", "folder"])
    def test_what_is_no_file_is_not(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder").mkdir()
        assert link(tmp_path / name, tmp_path / "deep" / "b") is False
        assert not (tmp_path / "deep").exists()

    def test_where_it_can_not_be_linked_it_is_copied(self, tmp_path: Path, monkeypatch) -> None:
        def refuses(*_: Any) -> None:
            raise OSError("another disk")

        monkeypatch.setattr("os.link", refuses)
        (tmp_path / "a").write_text("x")
        assert link(tmp_path / "a", tmp_path / "b") is True
        assert (tmp_path / "b").read_text() == "x"
