"""What `wb fetch` makes of competitions of every shape: definition, first experiment, and a submission that fits."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.shapes import SHAPES, Expected, Shape
from workbench.competition import Competition, load_competition
from workbench.inference import baseline_text, definition_text, infer
from workbench.ingest.archives import unpack
from workbench.ingest.convert import convert, is_table
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
