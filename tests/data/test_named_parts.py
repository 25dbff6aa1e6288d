"""Files of one table that words tell apart; and the question where several files may be train, test or the sample."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.conversion import listening
from workbench.core.errors import ConfigError, DataError
from workbench.data.competition import FileOptions, load_competition, read_file_options
from workbench.data.inference import Inferred, definition_text, infer
from workbench.data.ingest import reading_options
from workbench.data.ingest.convert import convert
from workbench.data.ingest.text import SourceFile
from workbench.data.workspace import Workspace
from workbench.platforms.protocol import CompetitionFacts

FULL = pl.DataFrame({"id": range(90), "a": [i % 7 + 0.5 for i in range(90)], "y": [i % 11 + 0.25 for i in range(90)]})
TRAIN = [FULL[0:20], FULL[20:40], FULL[40:60]]
TEST = FULL[60:].drop("y")
PARTS = ("North", "South", "West")


def csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode()


def parquet(frame: pl.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


SAMPLE = csv(TEST.select("id", y=pl.lit(0)))
OTHERS = {"test.csv": csv(TEST), "sample_submission.csv": SAMPLE}


class Fetched:
    """What a folder of files becomes: tables, and what is inferred with the lines of competition.toml that are there."""

    def __init__(self, folder: Path, files: Mapping[str, bytes], toml: str = "") -> None:
        self.workspace, self.folder = Workspace(folder), folder / "competitions" / "c"
        raw, tables = self.folder / "data" / "raw", self.folder / "data" / "tables"
        for name, content in files.items():
            path = raw / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        definition = self.folder / "competition.toml"
        said = FileOptions()
        if toml:
            definition.write_text(toml)
            said = read_file_options(definition)
        self.reports: list[str] = []
        options = reading_options(self.folder, None)
        self.manifest = convert(raw, tables, "c", options=options, context=listening(self.reports))
        self.frames = {name: pl.read_parquet(tables / f"{name}.parquet") for name in self.manifest.tables}
        facts = CompetitionFacts("c", "c", metric="Root Mean Squared Error")
        inferred = infer(self.manifest, tables, facts, "kaggle", stated=said)
        assert isinstance(inferred, Inferred)
        self.inferred = inferred
        definition.write_text(definition_text(inferred, said))

    @property
    def train(self) -> pl.DataFrame:
        return self.frames[self.inferred.train]


@pytest.mark.parametrize(
    "name",
    [
        "train_store{}.csv",
        "train-{}.csv",
        "train {}.csv",
        "{}_train.csv",
        "train{}.csv",
        "train/{}.csv",
        "{}/train.csv",
        "data/training/{}.csv",
        "train_part_{}.csv",
        "train_{}.csv.gz",
        "train_{}.parquet",
        "train_{}.jsonl",
        "sales_train_new{}.csv",
    ],
)
def test_parts_that_words_tell_apart_are_one_table(tmp_path: Path, name: str) -> None:
    write: Callable[[pl.DataFrame], bytes] = csv
    if name.endswith(".parquet"):
        write = parquet
    elif name.endswith(".jsonl"):
        write = lambda frame: frame.write_ndjson().encode()  # noqa: E731
    elif name.endswith(".gz"):
        write = lambda frame: gzip.compress(csv(frame))  # noqa: E731
    files = {name.format(part): write(frame) for part, frame in zip(PARTS, TRAIN, strict=True)}
    fetched = Fetched(tmp_path, files | OTHERS)
    assert fetched.train.equals(FULL[0:60])
    assert fetched.inferred.answer.targets == ("y",)
    assert [r for r in fetched.reports if "3 files, one after the other" in r and name.format("South") in r]
    assert name.format("West") in fetched.inferred.why_tables["train"]


def test_they_may_be_in_an_archive_that_alone_has_the_name(tmp_path: Path) -> None:
    members = {f"{p}.csv": csv(f) for p, f in zip(("paris", "new york"), TRAIN[:2], strict=True)}
    fetched = Fetched(tmp_path, {"train.zip": zipped(members)} | OTHERS)
    assert sorted(fetched.train["id"]) == list(range(40))


@pytest.mark.parametrize("name", ["train_{}.csv", "train_store{}.csv"])
def test_columns_in_another_order_and_another_writing_are_the_same(tmp_path: Path, name: str) -> None:
    other = TRAIN[1].select("y", "id", "a").write_csv(separator=";").encode("utf-8-sig")
    for parts in (("A", "B"), ("1", "2")):
        fetched = Fetched(
            tmp_path / parts[0], {name.format(parts[0]): csv(TRAIN[0]), name.format(parts[1]): other} | OTHERS
        )
        assert fetched.train.equals(FULL[0:40])


def test_the_part_is_a_column_where_test_has_the_same_parts(tmp_path: Path) -> None:
    files = {f"train_store{p}.csv": csv(f) for p, f in zip("AB", TRAIN[:2], strict=True)}
    files |= {f"test_store{p}.csv": csv(f) for p, f in zip("AB", (TEST[:9], TEST[9:]), strict=True)}
    fetched = Fetched(tmp_path, files | {"sample_submission.csv": SAMPLE})
    assert fetched.train["store"].to_list() == ["A"] * 20 + ["B"] * 20
    assert fetched.frames["test"]["store"].to_list() == ["A"] * 9 + ["B"] * 21
    assert fetched.frames["test"].drop("store").equals(TEST)
    assert any("column 'store' says which" in r for r in fetched.reports)


@pytest.mark.parametrize(
    ("names", "values"),
    [(("paris", "rome"), ["Paris", "Rome"]), (("store1", "store02"), [1, 2]), (("p", "q2"), ["p", "z"])],
)
def test_the_part_is_the_column_that_test_has_and_train_lacks(tmp_path: Path, names: Any, values: list[Any]) -> None:
    test = TEST.with_columns(where=pl.Series(values * 15))
    files = {f"train_{n}.csv": csv(f) for n, f in zip(names, TRAIN[:2], strict=True)}
    frame = Fetched(tmp_path, files | OTHERS | {"test.csv": csv(test)}).train
    if values == ["p", "z"]:  # not the parts' words
        assert "where" not in frame.columns
    else:
        assert frame.sort("id")["where"].to_list() == [values[0]] * 20 + [values[1]] * 20


def test_a_column_that_says_the_part_already_is_enough(tmp_path: Path) -> None:
    files = {f"train_{p}.csv": csv(f.with_columns(p=pl.lit(p))) for p, f in zip("AB", TRAIN[:2], strict=True)}
    files |= {
        f"test_{p}.csv": csv(f.with_columns(p=pl.lit(p))) for p, f in zip("AB", (TEST[:9], TEST[9:]), strict=True)
    }
    assert Fetched(tmp_path, files | {"sample_submission.csv": SAMPLE}).train.columns == ["id", "a", "y", "p"]


# ---------------------------------------------------------------------------------------------------------- questions

UNCLEAR = {
    "extra": {"train.csv": TRAIN[0], "train_extra.csv": TRAIN[1]},
    "labels of the same columns": {"train.csv": TRAIN[0], "train_labels.csv": TRAIN[1]},
    "one has the bare name": {"train.csv": TRAIN[0], "train_north.csv": TRAIN[1]},
    "one has the bare name, one a number": {"train.csv": TRAIN[0], "train_1.csv": TRAIN[1]},
    "versions": {"train_v1.csv": TRAIN[0], "train_v2.csv": TRAIN[1]},
    "old and new": {"train_old.csv": TRAIN[0], "train_new.csv": TRAIN[1]},
    "the same rows": {"train_north.csv": TRAIN[0], "train_south.csv": TRAIN[0]},
    "the same ids and answers": {
        "train_left.csv": TRAIN[0],
        "train_right.csv": TRAIN[0].with_columns(a=pl.col("a") + 1),
    },
    "other columns": {"train_a.csv": TRAIN[0], "train_b.csv": TRAIN[1].with_columns(b=pl.col("a"))},
    "two of three": {"train_a.csv": TRAIN[0], "train_b.csv": TRAIN[1], "train_c.csv": TRAIN[2].drop("a")},
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_is_unclear_is_asked_and_both_answers_hold(tmp_path: Path, name: str) -> None:
    frames = UNCLEAR[name]
    files = {n: csv(f) for n, f in frames.items()} | OTHERS
    with pytest.raises(DataError, match="each of them may be train") as caught:
        Fetched(tmp_path / "asks", files)
    hint = caught.value.hint or ""
    assert not (tmp_path / "asks" / "competitions" / "c" / "competition.toml").exists()
    alone, together = (part.replace("    ", "") for part in hint.partition("[tables]")[2].split("or, for all"))
    one = Fetched(tmp_path / "one", files, f"[tables]{alone}")
    first = frames[next(n for n in sorted(frames) if one.inferred.train in ("train", n[:-4]))]
    assert one.train.height in (first.height, 40)
    every = Fetched(tmp_path / "all", files, "[read.train]\n" + together.partition("[read.train]\n")[2])
    assert every.train.height == sum(f.height for f in frames.values())
    assert every.train["id"].to_list() == [i for n in sorted(frames) for i in frames[n]["id"]]


def test_what_was_said_stays_in_the_definition(tmp_path: Path) -> None:
    said = '[read.train]\nparts = ["train.csv", "train_extra.csv"]\n[types]\n"a" = "String"\n'
    fetched = Fetched(tmp_path, {"train.csv": csv(TRAIN[0]), "train_extra.csv": csv(TRAIN[1])} | OTHERS, said)
    again = read_file_options(fetched.folder / "competition.toml")
    assert again.read == {"train": {"parts": ["train.csv", "train_extra.csv"]}}
    assert again.types == {"a": "String"}
    assert not again.is_draft
    assert load_competition(fetched.workspace, "c").definition.targets == ("y",)


def test_a_draft_is_no_definition_yet(tmp_path: Path) -> None:
    folder = tmp_path / "competitions" / "c"
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text('[tables]\ntrain = "train_a"\n')
    with pytest.raises(ConfigError, match="only configures how files are read") as caught:
        load_competition(Workspace(tmp_path), "c")
    assert "wb fetch c" in (caught.value.hint or "")


def test_a_file_that_is_named_stays_a_table_of_its_own(tmp_path: Path) -> None:
    files = {f"train_{p}.csv": csv(f) for p, f in zip("abc", TRAIN, strict=True)} | OTHERS
    fetched = Fetched(tmp_path, files, '[tables]\ntrain = "train_b"\n')
    assert fetched.train.equals(TRAIN[1])
    assert {"train_a", "train_c"} < set(fetched.frames)


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('[read.train]\nparts = ["train_x.csv"]\n', "there is no file 'train_x.csv'"),
        ('[tables]\ntrain = "nothing"\n', "'nothing' in competition.toml is not a table"),
        ('[read.test]\nparts = ["train_a.csv", "train_b.csv"]\n', "'test' is the table of another file"),
    ],
)
def test_what_is_said_wrongly_is_told(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Fetched(tmp_path, {f"train_{p}.csv": csv(f) for p, f in zip("ab", TRAIN[:2], strict=True)} | OTHERS, toml)


def test_columns_that_a_stated_part_lacks_are_null_and_told(tmp_path: Path) -> None:
    files = {"train_a.csv": csv(TRAIN[0]), "train_b.csv": csv(TRAIN[1].drop("a"))} | OTHERS
    fetched = Fetched(tmp_path, files, '[read.train]\nparts = ["train_a.csv", "train_b.csv"]\n')
    assert fetched.train["a"].to_list() == [*TRAIN[0]["a"], *[None] * 20]
    assert any("column 'a' is missing in" in r for r in fetched.reports)


def test_a_smaller_file_beside_train_is_no_question(tmp_path: Path) -> None:
    fetched = Fetched(tmp_path, {"train.csv": csv(FULL[0:60]), "train_sample.csv": csv(TRAIN[1])} | OTHERS)
    assert fetched.train.height == 60
    assert "train_sample" in fetched.inferred.why_tables["train"]


def test_a_table_beside_train_that_has_no_answer_is_no_question(tmp_path: Path) -> None:
    beside = {
        "train_identity.csv": csv(TRAIN[0].select("id", b="a")),
        "test_identity.csv": csv(TEST.select("id", b="a")),
    }
    fetched = Fetched(
        tmp_path,
        {"train_transaction.csv": csv(TRAIN[0]), "test_transaction.csv": csv(TEST)}
        | beside
        | {"sample_submission.csv": SAMPLE},
    )
    assert (fetched.inferred.train, fetched.inferred.test) == ("train_transaction", "test_transaction")


# --------------------------------------------------------------------------------------------------- test and sample


def test_the_sample_says_which_test_is_meant(tmp_path: Path) -> None:
    files = {"train.csv": csv(TRAIN[0]), "test_old.csv": csv(FULL[:30].drop("y")), "test_new.csv": csv(TEST)}
    fetched = Fetched(tmp_path, files | {"sample_submission.csv": SAMPLE})
    assert fetched.inferred.test == "test_new"
    assert "test_old" in fetched.inferred.why_tables["test"]


def test_two_tests_of_the_same_ids_are_asked_for(tmp_path: Path) -> None:
    files = {"train.csv": csv(TRAIN[0]), "test_raw.csv": csv(TEST), "test_clean.csv": csv(TEST.with_columns(a=0.5))}
    with pytest.raises(DataError, match="each of them may be test"):
        Fetched(tmp_path, files | {"sample_submission.csv": SAMPLE})
    fetched = Fetched(tmp_path / "x", files | {"sample_submission.csv": SAMPLE}, '[tables]\ntest = "test_clean"\n')
    assert fetched.inferred.test == "test_clean"


def test_samples_of_parts_are_joined_and_others_decided_or_asked_for(tmp_path: Path) -> None:
    files = {"train.csv": csv(TRAIN[0]), "test_A.csv": csv(TEST[:9]), "test_B.csv": csv(TEST[9:])}
    sample = TEST.select("id", y=pl.lit(0))
    parts = {"sample_submission_A.csv": csv(sample[:9]), "sample_submission_B.csv": csv(sample[9:])}
    assert Fetched(tmp_path / "parts", files | parts).frames["sample_submission"].equals(sample)
    one = {"train.csv": csv(TRAIN[0]), "test.csv": csv(TEST)}
    of_others = {"sample_submission_a.csv": csv(sample[:9]), "sample_submission_b.csv": csv(sample)}
    assert Fetched(tmp_path / "fits", one | of_others).inferred.sample == "sample_submission_b"
    other = {"sample_submission_a.csv": csv(sample), "sample_submission_b.csv": csv(sample.rename({"y": "a"}))}
    with pytest.raises(DataError, match="each of them may be sample_submission"):
        Fetched(tmp_path / "asks", one | other)


def test_the_ids_that_name_the_files_become_a_column(tmp_path: Path) -> None:
    """A file for each row of the sample: which one it is stands in its name only."""

    def signal(start: float) -> bytes:
        return csv(pl.DataFrame({"t": [0.1, 0.2, 0.3], "v": [start, start + 0.5, start * 2]}))

    raw, tables = tmp_path / "raw", tmp_path / "tables"
    files = {f"train/{w}.csv": signal(float(i)) for i, w in enumerate(("abx", "qwe", "rty"))}
    files |= {f"test/{w}.csv": signal(i + 9.0) for i, w in enumerate(("foo", "bar"))}
    files["train_labels.csv"] = csv(pl.DataFrame({"id": ["abx", "qwe", "rty"], "y": [0, 1, 1]}))
    files["sample_submission.csv"] = csv(pl.DataFrame({"id": ["foo", "bar"], "y": [0, 0]}))
    for name, content in files.items():
        path = raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    convert(raw, tables, "c")
    train, test = (pl.read_parquet(tables / f"{name}.parquet") for name in ("train", "test"))
    assert train["id"].to_list() == ["abx"] * 3 + ["qwe"] * 3 + ["rty"] * 3
    assert test.filter(id="foo")["v"].to_list() == [9.0, 9.5, 18.0]


def test_two_views_of_the_same_rows_among_many_files_are_asked_for(tmp_path: Path) -> None:
    views = {"train_hot.csv": csv(FULL[0:20]), "train_cold.csv": csv(FULL[0:20].with_columns(a=pl.col("a") + 1))}
    with pytest.raises(DataError, match="each of them may be train"):
        Fetched(tmp_path, {"train_mild.csv": csv(FULL[20:40])} | views | OTHERS)


def test_each_of_many_parts_is_looked_at_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for every other one: there may be thousands."""
    opened: list[str] = []
    original = SourceFile.opened

    def counted(self: SourceFile) -> Any:
        opened.append(self.name)
        return original(self)

    words = [a + b for a in "bcdfghkl" for b in "aeiou"]
    files = {f"train_{w}.csv": csv(FULL[i : i + 2]) for i, w in enumerate(words)}
    with monkeypatch.context() as patch:
        patch.setattr(SourceFile, "opened", counted)
        fetched = Fetched(tmp_path, files | OTHERS)
    assert fetched.train.height == 80
    assert opened.count("train_bo.csv") < 15
