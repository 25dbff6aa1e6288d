"""What is executed, hashed and kept of a competition's code is one, though a file is saved in the middle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.core.errors import DataError
from workbench.core.read_once import digest_once, read_once, reading_once

MODEL = "[model]\nnum_iterations = 3\nmin_data_in_leaf = 5\nearly_stopping_round = 0\n"

SAVER = """
from pathlib import Path

HERE = Path(__file__).parent

def save():
    # As an editor would, the moment after the file was read.
    for plan in HERE.glob("*.save"):
        name, old, new = plan.read_text().split("|")
        plan.unlink()
        path = HERE / name
        path.write_text(path.read_text().replace(old, new))
"""

FEATURES = """
import json
from pathlib import Path
import polars as pl
import saver
from lib import FACTOR
from workbench.features import ROW, feature

TIMES = 2
MAP = json.loads((Path(__file__).parent / "map.json").read_text())
saver.save()

@feature(files=["map.json"])
def own(rows):
    return rows.select(ROW, own=pl.col("x") * TIMES * FACTOR * MAP["by"])
"""

METRIC = """
import saver
saver.save()

def loss(t, p):
    return abs(t - p).mean() * 2
"""


@pytest.fixture
def made(small: Any) -> Any:
    made = small(n_rows=200)
    for name, text in (("saver.py", SAVER), ("lib.py", "FACTOR = 5\n"), ("features.py", FEATURES)):
        (made.folder / name).write_text(text)
    (made.folder / "map.json").write_text('{"by": 7}')
    made.experiment(1, 'features = ["own"]\n' + MODEL)
    return made


def saved_meanwhile(made: Any, name: str, old: str, new: str) -> None:
    (made.folder / "plan.save").write_text(f"{name}|{old}|{new}")


def block_and_rows(made: Any) -> tuple[list[float], list[float]]:
    lines = made.open.feature("own").collect().sort("__row__")
    return lines["own"].to_list(), made.open.rows.collect().sort("__row__")["x"].to_list()


@pytest.mark.parametrize(
    ("name", "old", "new", "times"), [("features.py", "TIMES = 2", "TIMES = 3", 105), ("lib.py", "= 5", "= 6", 84)]
)
def test_code_that_is_saved_after_it_was_read(made: Any, name: str, old: str, new: str, times: int) -> None:
    before = (made.folder / name).read_bytes()
    saved_meanwhile(made, name, old, new)
    first = made.open.run(1)
    assert (made.folder / name).read_bytes() == before.replace(old.encode(), new.encode())
    assert (first.folder / "source" / name).read_bytes() == before
    # The block of what was executed is not that of what is there now.
    second = made.open.runs.execute(1)
    assert second.how == "new"
    assert second.run.record.key != first.record.key
    values, x = block_and_rows(made)
    assert values == pytest.approx([v * times for v in x])


def test_a_metric_that_is_saved_after_it_was_read(made: Any) -> None:
    made.definition('metric = "auc"', 'metric = "metric.py:loss"\ngreater_is_better = false')
    (made.folder / "metric.py").write_text(METRIC)
    (made.folder / "features.py").write_text(FEATURES.replace("\nsaver.save()\n", "\n"))
    saved_meanwhile(made, "metric.py", "* 2", "* 4")
    first = made.open.run(1)
    assert (first.folder / "source" / "metric.py").read_text() == METRIC
    second = made.open.runs.execute(1)
    assert second.how == "new"
    assert second.run.score == pytest.approx(2 * first.score)


def test_an_opened_competition_takes_code_that_was_edited_since(made: Any) -> None:
    made.definition('metric = "auc"', 'metric = "metric.py:loss"\ngreater_is_better = false')
    (made.folder / "metric.py").write_text(METRIC)
    opened = made.open
    first = opened.run(1)
    (made.folder / "metric.py").write_text(METRIC.replace("* 2", "* 4"))
    assert opened.run(1).score == pytest.approx(2 * first.score)
    made.definition("seed = 42", "seed = 43")
    third = opened.runs.execute(1)
    assert third.how == "new"
    assert third.run.record.folds_hash != first.record.folds_hash
    kept = (third.run.folder / "source" / "competition.toml").read_bytes()
    assert kept == (made.folder / "competition.toml").read_bytes()


def test_a_file_that_is_saved_while_features_py_is_loaded_is_read_again(made: Any) -> None:
    saved_meanwhile(made, "map.json", "7", "11")
    run = made.open.run(1)
    assert json.loads((run.folder / "source" / "map.json").read_text()) == {"by": 11}
    values, x = block_and_rows(made)
    assert values == pytest.approx([v * 2 * 5 * 11 for v in x])


def test_a_file_that_is_saved_while_a_feature_is_computed_is_refused(made: Any) -> None:
    path = made.folder / "features.py"
    path.write_text(FEATURES.replace("    return", "    saver.save()\n    return").replace("\nsaver.save()\n", "\n", 1))
    saved_meanwhile(made, "map.json", "7", "11")
    with pytest.raises(DataError, match=r"map\.json was changed while feature 'own', which reads it, was computed"):
        made.open.run(1)
    assert not list((made.folder / "cache").glob("*.parquet"))
    assert made.open.run(1).record.status == "finished"
    values, x = block_and_rows(made)
    assert values == pytest.approx([v * 2 * 5 * 11 for v in x])


def test_within_a_block_a_file_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"1")
    with reading_once():
        assert read_once(path) == b"1"
        path.write_bytes(b"2")
        with reading_once():
            assert read_once(path) == b"1"
        one = digest_once(path)
    assert read_once(path) == b"2"
    assert digest_once(path) != one
