"""What `wb fetch` makes of competitions of every shape: definition, first experiment, and a submission that fits."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from tests.shapes import SHAPES, Expected, Shape
from workbench.api import library
from workbench.data.competition import ROW, Competition, load_competition, read_options
from workbench.data.inference import baseline_text, definition_text, infer, write_starter
from workbench.data.ingest.archives import unpack
from workbench.data.ingest.convert import convert
from workbench.data.ingest.sources import ReadOptions, is_table
from workbench.data.workspace import Workspace, create_workspace
from workbench.features import Blocks, build_matrix, load_features
from workbench.platforms.protocol import CompetitionFacts
from workbench.rehearsal import RehearsalSpec, create
from workbench.submissions.findings import file_findings

BY_NAME = {shape.name: shape for shape in SHAPES}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory):
    """Return a function that converts the raw files of a shape, writes what was inferred of them, and gives the folder."""

    @cache
    def made(shape: Shape) -> tuple[Path, Expected]:
        root = tmp_path_factory.mktemp(shape.name)
        folder = root / "competitions" / "shape"
        raw = folder / "data" / "raw"
        raw.mkdir(parents=True)
        expected = shape.write(raw)
        for archive in raw.glob("*.zip"):
            if not is_table(archive.stem):
                unpack(archive, raw, wanted=lambda name: not is_table(name))
        manifest = convert(raw, folder / "data" / "tables", "shape")
        facts = CompetitionFacts("shape", "A shape", metric=shape.platform_metric)
        inferred = infer(manifest, folder / "data" / "tables", facts, "kaggle")
        (folder / "experiments").mkdir()
        (folder / "competition.toml").write_text(definition_text(inferred), encoding="utf-8")
        (folder / "experiments" / "001.toml").write_text(baseline_text(inferred), encoding="utf-8")
        return root, expected

    return made


@pytest.fixture
def read(tmp_path: Path, converted):
    """Return a function that gives a shape's competition, in a copy of the folder that was made of it."""

    def made(shape: Shape) -> tuple[Workspace, Competition, Expected]:
        root, expected = converted(shape)
        shutil.copytree(root, tmp_path, dirs_exist_ok=True)
        workspace = Workspace(tmp_path)
        return workspace, load_competition(workspace, "shape"), expected

    return made


def _listed(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@pytest.mark.parametrize("name", BY_NAME)
def test_definition(name: str, read) -> None:
    _, competition, expected = read(BY_NAME[name])
    d = competition.definition
    assert d.targets == _listed(expected.target)
    assert d.id_columns == _listed(expected.id)
    assert (d.task, d.metric) == (expected.task, expected.metric)
    assert d.cv.scheme == expected.scheme
    assert expected.column in (None, d.cv.column, d.cv.group)
    assert not set(expected.never_features) & set(competition.rows.columns)
    sample = d.tables.sample_submission
    assert competition.ids.test_frame().height == competition.n_test
    if sample:
        assert competition.manifest.table(sample, slug="shape").rows == competition.n_test


def _facts(words: str | None, **more) -> CompetitionFacts:
    return CompetitionFacts("shape", "A shape", metric=words, **more)


@pytest.mark.parametrize(
    ("shape", "words", "metric", "said"),
    [
        ("plain", "Weird Loss 3", "auc", "Weird Loss 3"),
        ("plain", "Root Mean Squared Error", "rmse", None),
        ("plain", None, "auc", None),
        ("long_tail", "Weighted Mean Absolute Error", "mae", "Weighted Mean Absolute Error"),
        ("sample_entry", "Some Score", "mlogloss", "Some Score"),
    ],
)
def test_a_metric_that_is_not_ours_has_one_that_stands_in(
    read, shape: str, words: str | None, metric: str, said: str | None
) -> None:
    from workbench.experiments.run import run

    workspace, competition, _ = read(replace(BY_NAME[shape], platform_metric=words or ""))
    d = competition.definition
    assert (d.metric, d.metric_of_platform) == (metric, said)
    text = (competition.folder / "competition.toml").read_text(encoding="utf-8")
    assert (f"metric_of_platform = {json.dumps(said)}" in text) == (said is not None)
    (competition.folder / "experiments" / "001.toml").write_text(QUICK, encoding="utf-8")
    for _ in ("new", "unchanged"):
        notes = [n for n in run(workspace, competition, 1).notes if not n.startswith("left out: ")]
        assert any(said in note and metric in note for note in notes) if said else not notes


@pytest.mark.parametrize("words", ["Median Absolute Error", "R2", "Root Mean Squared Error"])
def test_a_metric_of_amounts_makes_a_regression_of_a_target_of_two_values(read, words: str) -> None:
    _, competition, _ = read(replace(BY_NAME["plain"], platform_metric=words))
    assert competition.definition.task == "regression"


def test_what_was_guessed_of_the_reading_can_be_overridden(tmp_path: Path) -> None:
    """Each guess is a comment in competition.toml; with its mark taken away, it is an instruction."""
    folder = tmp_path / "competitions" / "c"
    raw, tables = folder / "data" / "raw", folder / "data" / "tables"
    raw.mkdir(parents=True)
    lines = [f"{i};{1 + i % 28:02}.01.2024;{'No' if i % 3 else 'Yes'};0{i}" for i in range(60)]
    answers = [f"{line};{i % 7},5" for i, line in enumerate(lines)]
    (raw / "train.csv").write_text("\n".join(["id;day;ok;zip;y", *answers]), encoding="latin-1")
    (raw / "test.csv").write_text("\n".join(["id;day;ok;zip", *lines]), encoding="latin-1")
    inferred = infer(convert(raw, tables, "c"), tables, _facts("rmse"), "kaggle")
    text = definition_text(inferred)
    path = folder / "competition.toml"
    path.write_text(text, encoding="utf-8")
    read_definition, types = read_options(path)
    assert (read_definition, types) == ({}, {})
    assert '# separator = ";"' in text
    assert '# "day" = "Date %d.%m.%Y"' in text
    assert '# "ok" = "Boolean No/Yes"' in text
    taken = [line.removeprefix("# ") if "=" in line or "[" in line else line for line in text.splitlines()]
    path.write_text("\n".join(taken), encoding="utf-8")
    read_definition, types = read_options(path)
    assert types == {"day": "Date %d.%m.%Y", "ok": "Boolean No/Yes"}
    again = convert(raw, tables, "c", options=ReadOptions(read_definition, types))
    assert again.tables["train"].dtypes == {
        "id": "Int64",
        "day": "Date",
        "ok": "Boolean",
        "zip": "String",
        "y": "Float64",
    }


QUICK = 'features = ["auto"]\n[model]\nnum_iterations = 20\nlearning_rate = 0.3\nearly_stopping_round = 0\n'


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_submission_fits(name: str, read) -> None:
    """The file of a run has the sample's ids, columns and spelling, for every shape."""
    from workbench.experiments.run import run

    workspace, competition, _ = read(BY_NAME[name])
    (competition.folder / "experiments" / "001.toml").write_text(QUICK, encoding="utf-8")
    outcome = run(workspace, competition, 1)
    found = [f for f in file_findings(competition, outcome.run.submission) if f.code not in ("constant", "range")]
    assert not found
    sent = pl.read_csv(outcome.run.submission, infer_schema=False)
    sample = competition.definition.tables.sample_submission
    source = competition.folder / "data" / "raw" / (f"{sample}.csv" if sample else "")
    if source.is_file():
        # The ids as the raw file writes them, not as the table has them.
        text = source.read_bytes().decode("latin-1" if name == "latin_1" else "utf-8").encode()
        written = pl.read_csv(text, separator=";" if name == "decimal_commas" else ",", infer_schema=False)
        ids = list(competition.definition.id_columns)
        assert sent.columns == written.columns
        assert sent.select(ids).equals(written.select(ids))


# ------------------------------------------------------------------------------------------------------- features.py


def _uncommented(text: str, *, which: str) -> str:
    """Take the marks away of everything, or of the blocks that begin with a decorator."""
    if which == "everything":
        return re.sub(r"(?m)^# ?", "", text)
    return re.sub(r"(?ms)^# @feature\n(?:#.*?(?:\n|\Z))+", lambda m: re.sub(r"(?m)^# ?", "", m[0]), text)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_first_features_run_once_they_are_uncommented(name: str, read) -> None:
    _, competition, _ = read(BY_NAME[name])
    assert write_starter(competition)
    path = competition.paths.features
    text = path.read_text(encoding="utf-8")
    assert load_features(competition) == {}
    assert f'Its row key is ROW, the column "{ROW}"' in text
    for which in ("everything", "the blocks"):
        path.write_text(_uncommented(text, which=which), encoding="utf-8")
        features = load_features(competition)
        assert len(features) == 2, features
        matrix = build_matrix(Blocks(competition, features), list(features))
        assert matrix.frame.shape == (competition.n_train + competition.n_test, 2)
        assert all(matrix.frame[c].null_count() < len(matrix.frame) for c in matrix.columns)
    assert not write_starter(competition)
    assert path.read_text(encoding="utf-8") == _uncommented(text, which="the blocks")


@pytest.mark.parametrize(
    ("train", "examples"),
    [
        ("id,y\n1,0\n2,1\n3,0\n4,1\n", ("is_missing", "missing_count")),
        ("id,when,y\n1,2024-01-01,0\n2,2024-01-05,1\n3,2024-02-01,0\n4,2024-03-01,1\n", ("weekday", "month")),
        ("id,text,y\n1,a b,0\n2,c,1\n3,d,0\n4,a b,1\n", ("length", "group_count")),
        ("id,price,y\n1,2.5,0\n2,3,1\n3,1,0\n4,8,1\n", ("rank", "centered")),
        ('id,"a ""b"" \\","{c}",\'\'\'d,y\n1,2.5,3,x,0\n2,3,9,y,1\n3,1,4,x,0\n4,8,1,z,1\n', ("ratio", "group_mean")),
        ("id,rows,auto,数,y\n1,2.5,3,x,0\n2,3,9,y,1\n3,1,4,x,0\n4,8,1,z,1\n", ("ratio", "group_mean")),
    ],
)
def test_the_first_features_of_few_and_odd_columns(tmp_path: Path, train: str, examples: tuple[str, str]) -> None:
    workspace = create_workspace(tmp_path)
    twice = [f"{i}{line[1:]}\n" for i, line in enumerate(train.splitlines()[1:], 5)]
    (tmp_path / "all.csv").write_text("".join([train, *twice]))
    (tmp_path / f"{examples[0]}.csv").write_text("k,v\n1,2\n")
    spec = RehearsalSpec(
        tmp_path / "all.csv", ("y",), "accuracy", holdout=0.5, seed=3, tables=(tmp_path / f"{examples[0]}.csv",)
    )
    create(workspace.root, "odd", spec)
    fetched = library.fetch("odd", where=workspace)
    competition = load_competition(workspace, "odd")
    assert competition.paths.features in fetched.written
    text = competition.paths.features.read_text()
    competition.paths.features.write_text(_uncommented(text, which="everything"))
    features = load_features(competition)
    # The table has the name already.
    assert list(features) == [f"{examples[0]}_", examples[1]]
    assert build_matrix(Blocks(competition, features), list(features)).frame.shape == (8, 2)


def test_the_first_features_are_of_columns_that_say_something(tmp_path: Path) -> None:
    """Not of a second id that counts the rows, and of the pieces of an id, which are columns like others."""
    workspace = create_workspace(tmp_path)
    rows = [f"{i},{i % 9},{i % 7},{i % 3},{i * 7 % 5}" for i in range(120)]
    (tmp_path / "all.csv").write_text("\n".join(["house_id,Store,Dept,town,y", *rows]) + "\n")
    create(workspace.root, "odd", RehearsalSpec(tmp_path / "all.csv", ("y",), "rmse", holdout=0.5, seed=3))
    text = library.fetch("odd", where=workspace).written[-1].read_text()
    assert "'Store'" in text
    assert "house_id" not in text


def test_features_in_comments_are_none(small) -> None:
    made = small()
    path = made.folder / "features.py"
    path.unlink()
    before = made.open.run(1)
    made.open.experiments.new()
    text = path.read_text()
    for written in (text, _uncommented(text, which="no"), re.sub(r"(?m)^", "# ", text), "# only a word\n", ""):
        path.write_text(written)
        said: list[str] = []
        again = made.open.run(1, report=said.append)
        assert (again.record.run_id, said) == (before.record.run_id, [])
        made.open.experiments.new()
        assert path.read_text() == written


def test_a_definition_of_ones_own_gets_features_too_and_nothing_is_written_over(small) -> None:
    made = small()
    path = made.folder / "features.py"
    path.unlink()
    assert library.fetch("small", where=made.workspace).written == (path,)
    path.unlink()
    path.symlink_to(made.folder / "elsewhere.py")
    assert library.fetch("small", where=made.workspace).written == ()
    assert path.is_symlink()
    path.unlink()
    made.definition('target = "y"', 'target = "Y"')
    assert library.fetch("small", where=made.workspace).written == ()
    assert not path.exists()
