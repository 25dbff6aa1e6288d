"""What `wb fetch` makes of competitions of every shape: definition, first experiment, and a submission that fits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.shapes import SHAPES, Expected, Shape
from workbench.competition import Competition, load_competition, read_options
from workbench.inference import baseline_text, definition_text, infer
from workbench.ingest.archives import unpack
from workbench.ingest.convert import Options, convert, is_table
from workbench.platforms import CompetitionFacts
from workbench.submission.findings import file_findings
from workbench.workspace import Workspace

BY_NAME = {shape.name: shape for shape in SHAPES}


@pytest.fixture
def read(tmp_path: Path):
    """Return a function that converts the raw files of a shape and writes what was inferred of them."""

    def made(shape: Shape) -> tuple[Workspace, Competition, Expected]:
        workspace = Workspace(tmp_path)
        folder = workspace.competitions / "shape"
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
    assert not set(expected.never_features) & set(competition.shared_columns)
    sample = d.tables.sample_submission
    assert competition.test_ids().height == competition.n_test
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
    from workbench.experiment import run

    workspace, competition, _ = read(replace(BY_NAME[shape], platform_metric=words or ""))
    d = competition.definition
    assert (d.metric, d.metric_of_platform) == (metric, said)
    text = (competition.folder / "competition.toml").read_text(encoding="utf-8")
    assert (f"metric_of_platform = {json.dumps(said)}" in text) == (said is not None)
    (competition.folder / "experiments" / "001.toml").write_text(QUICK, encoding="utf-8")
    for _ in ("new", "unchanged"):
        notes = [n for n in run(workspace, competition, 1).notes if not n.startswith("left out: ")]
        assert any(said in note and metric in note for note in notes) if said else not notes


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
    again = convert(raw, tables, "c", options=Options(read_definition, types))
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
    from workbench.experiment import run

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
