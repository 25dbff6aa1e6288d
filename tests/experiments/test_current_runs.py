"""Which run stands for an experiment, in the table, in the library and for submissions."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.quick_run import quick
from tests.small import make_small
from workbench.api import library
from workbench.core.cache import read_json, write_json
from workbench.core.errors import NotFoundError
from workbench.experiments.feature_list import FeatureList, write_list
from workbench.ledger import Ledger
from workbench.review.table import as_dicts

ROWS = 'features = ["rows"]\n'
MODEL = "[model]\nlearning_rate = 0.3\nnum_leaves = 7\nnum_iterations = 12\nmin_data_in_leaf = 5\n"


def current(made: Any, exp: int = 1) -> Any:
    """Return the row of the table that stands for an experiment, after checking that the library agrees with it."""
    (row,) = [r for r in made.open.table() if r.run.exp == exp and r.latest]
    assert made.open.runs[exp].record.run_id == row.run.run_id
    assert made.open.submissions.prepare(exp).record.run_id == row.run.run_id
    return row


def findings(made: Any) -> list[str]:
    return [f.code for f in made.open.submissions.prepare(1).findings]


def test_folds_that_were_set_back_bring_the_earlier_run_back(small) -> None:
    made = small()
    made.experiment(1, ROWS + MODEL)
    five = made.open.run(1).record
    made.definition("folds = 5", "folds = 10")
    assert current(made).outdated == ("folds",)
    assert "outdated" in findings(made)
    ten = made.open.run(1).record
    assert (current(made).run, current(made).outdated) == (ten, ())
    made.definition("folds = 10", "folds = 5")
    # Before anything is run again, and after `wb run` said that it is unchanged.
    for _ in range(2):
        assert current(made).run.cv_folds == 5
        assert (current(made).run, current(made).outdated) == (five, ())
        assert made.open.runs.execute(1).how == "unchanged"
    assert "outdated" not in findings(made)
    rows = {d["run_id"]: d for d in as_dicts(made.open.table())}
    assert (rows[five.run_id]["latest"], rows[five.run_id]["outdated"]) == (True, [])
    assert (rows[ten.run_id]["latest"], rows[ten.run_id]["outdated"]) == (False, ["folds"])


def edit_model(made: Any) -> None:
    made.experiment(1, ROWS + MODEL.replace("num_leaves = 7", "num_leaves = 9"))


def put_an_older_file_in_place(made: Any) -> None:
    edit_model(made)
    os.utime(made.folder / "experiments" / "001.toml", (10**9, 10**9))


def edit_base(made: Any) -> None:
    made.experiment(7, ROWS + MODEL.replace("num_leaves = 7", "num_leaves = 9"))


def edit_metric(made: Any) -> None:
    made.definition('metric = "auc"', 'metric = "logloss"')


def edit_data(made: Any) -> None:
    host = made.folder / "rehearsal" / "files" / "test.csv"
    host.write_text(host.read_text().replace("town 3", "town 33"))
    library.fetch("small", where=made.workspace)


@pytest.mark.parametrize(
    ("edit", "outdated"),
    [
        (edit_model, "experiment"),
        (put_an_older_file_in_place, "experiment"),
        (edit_base, "experiment"),
        (edit_metric, "competition"),
        (edit_data, "data"),
    ],
)
def test_an_edit_marks_the_run_and_another_run_takes_its_place(small, edit, outdated: str) -> None:
    made = small()
    made.experiment(7, ROWS + MODEL)
    made.experiment(1, "base = 7\n" if edit is edit_base else ROWS + MODEL)
    first = made.open.run(1).record
    assert current(made).outdated == ()
    edit(made)
    assert (current(made).run, current(made).outdated) == (first, (outdated,))
    second = made.open.run(1).record
    assert second.run_id != first.run_id
    assert (current(made).run, current(made).outdated) == (second, ())


def test_a_table_that_no_feature_reads_marks_nothing(small) -> None:
    made = small()
    made.experiment(1, ROWS + MODEL)
    first = made.open.run(1).record
    host = made.folder / "rehearsal" / "files" / "towns.csv"
    host.write_text(host.read_text().replace("town 3,3", "town 3,33"))
    library.fetch("small", where=made.workspace)
    assert made.open.runs.execute(1).how == "unchanged"
    assert (current(made).run, current(made).outdated) == (first, ())


def test_a_definition_that_was_set_back_brings_the_earlier_run_back(small) -> None:
    made = small()
    made.experiment(1, ROWS + MODEL)
    first = made.open.run(1).record
    edit_model(made)
    made.open.run(1)
    made.experiment(1, 'title = "as before"\n' + ROWS + MODEL)
    assert (current(made).run.run_id, current(made).outdated) == (first.run_id, ())


def test_code_that_was_set_back_brings_the_earlier_run_back(small) -> None:
    made = small()
    made.experiment(1, 'features = ["ratio", "doubled"]\n' + MODEL)
    first = made.open.run(1).record
    path = made.folder / "features.py"
    code = path.read_text()
    path.write_text(code.replace("abs() + 1", "abs() + 2"))
    second = made.open.run(1).record
    assert current(made).run == second
    path.write_text(code)
    assert made.open.runs.execute(1).run.record == first
    assert current(made).run == first


def test_a_feature_that_was_set_back_counts_whatever_else_its_file_says(small) -> None:
    made = small()
    made.experiment(1, 'features = ["ratio"]\n' + MODEL)
    first = made.open.run(1).record
    path = made.folder / "features.py"
    code = path.read_text()
    (made.folder / "lib").mkdir()
    (made.folder / "lib" / "numbers.py").write_text("ONE = 1\n")
    path.write_text("from lib.numbers import ONE\n" + code.replace("abs() + 1", "abs() + ONE"))
    second = made.open.run(1).record
    assert current(made).run == second
    path.write_text(code + "\n\nUNUSED = 3  # nothing of experiment 1\n")
    assert made.open.runs.execute(1).run.record == first
    assert current(made).run == first


NOTEBOOK = """# %%
from workbench import nb

# %% tags=["parameters"]
scale = 0.1

# %%
X, X_test = nb.features("rows.x")
nb.record(oof=X["x"].to_numpy() * scale, test=X_test["x"].to_numpy() * scale)
"""


@pytest.mark.slow
@pytest.mark.parametrize("grid", ["", "[notebook.grid]\nscale = [0.1, 0.2]\n"])
def test_a_notebook_that_was_set_back_brings_the_earlier_run_back(small, grid: str) -> None:
    made = small(metric="mae", task="regression")
    path = made.workspace.root / "notebooks" / "model.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(NOTEBOOK)
    made.experiment(1, '[notebook]\nfile = "model.py"\n' + grid)
    first = [o.run.record.run_id for o in made.open.runs.execute_all(1)]
    assert (current(made).run.run_id, current(made).outdated) == (first[-1], ())
    path.write_text(NOTEBOOK.replace("* scale,", "* scale + 1,"))
    assert current(made).outdated == ("experiment",)
    made.open.runs.execute_all(1)
    assert current(made).run.run_id not in first
    path.write_text(NOTEBOOK)
    assert [o.how for o in made.open.runs.execute_all(1)] == ["unchanged"] * len(first)
    assert (current(made).run.run_id, current(made).outdated) == (first[-1], ())


@pytest.mark.parametrize("is_run", [True, False])
def test_an_edit_of_a_base_of_the_base_counts_everywhere(small, is_run: bool) -> None:
    made = small()
    made.experiment(1, ROWS + MODEL)
    made.experiment(2, "base = 1\n[model]\nnum_leaves = 5\n")
    made.experiment(3, "base = 2\n[model]\nmax_depth = 3\n")
    for number in (1, 2, 3) if is_run else (3,):
        made.open.run(number)
    made.experiment(1, ROWS + MODEL.replace("learning_rate = 0.3", "learning_rate = 0.2"))
    assert current(made, 3).outdated == ("experiment",)
    assert "outdated" in [f.code for f in made.open.submissions.prepare(3).findings]


def test_an_edit_of_another_base_of_the_base_counts(small) -> None:
    made = small()
    for number in (1, 2):
        made.experiment(number, ROWS + MODEL)
    made.experiment(3, "base = 1\n")
    made.experiment(4, "base = 3\n")
    made.open.run(3)
    made.experiment(3, "base = 2\n")
    made.open.run(4)  # experiment 3 has no run that builds on 2
    assert current(made, 4).outdated == ()
    made.experiment(2, ROWS + MODEL.replace("num_leaves = 7", "num_leaves = 6"))
    assert current(made, 4).outdated == ("experiment",)


def test_an_edit_of_the_selected_columns_marks_the_run_and_one_of_others_does_not(small) -> None:
    made = small()
    own, other = (made.folder / "selections" / f"{name}.toml" for name in ("own", "other"))
    for path in (own, other):
        write_list(path, FeatureList(("rows.x",)))
    made.experiment(1, 'features = "own"\n' + MODEL)
    first = made.open.run(1).record
    write_list(own, FeatureList(("rows.x", "rows.z")))
    assert (current(made).run, current(made).outdated) == (first, ("experiment",))
    write_list(own, FeatureList(("rows.x",)))
    write_list(other, FeatureList(("rows.x", "rows.z")))
    assert (current(made).run, current(made).outdated) == (first, ())


def test_an_edited_split_is_of_other_folds_before_it_is_run(small) -> None:
    made = small()
    split = "import numpy as np\n\n\ndef split(train):\n    return np.arange(train.height) % 4\n"
    path = made.folder / "split.py"
    path.write_text(split)
    made.definition('scheme = "stratified"', 'scheme = "custom"\nfunction = "split.py:split"')
    made.experiment(1, ROWS + MODEL)
    first = made.open.run(1).record
    path.write_text(split + "# a comment\n")
    assert (current(made).run, current(made).outdated) == (first, ())
    path.write_text(split.replace("train.height)", "train.height)[::-1]"))
    assert (current(made).run, current(made).outdated) == (first, ("folds",))
    second = made.open.run(1).record
    assert (current(made).run, current(made).outdated) == (second, ())
    path.write_text(split)
    assert (current(made).run, current(made).outdated) == (first, ())


def test_runs_within_one_second_begin_when_they_did(small) -> None:
    made = small()
    made.experiment(1, ROWS + MODEL)
    runs = [made.open.run(1, force=True).record for _ in range(3)]
    assert len({r.run_id for r in runs}) == 3
    assert all(a.finished_at <= b.created_at for a, b in itertools.pairwise(runs))
    assert runs[-1].created_at < datetime.now(UTC)


def test_a_metric_that_was_turned_round_is_another_run(small) -> None:
    made = small(task="regression", metric="mae")
    code = "import numpy as np\n\n\ndef far(y, p):\n    return float(np.mean(np.abs(y - p)))\n"
    (made.folder / "metric.py").write_text(code)
    made.definition('metric = "mae"', 'metric = "metric.py:far"\ngreater_is_better = true')
    made.experiment(1, ROWS + MODEL)
    wrong = made.open.run(1).record
    made.definition("greater_is_better = true", "greater_is_better = false")
    assert current(made).outdated == ("competition",)
    right = made.open.run(1).record
    assert (right.greater_is_better, right.run_id != wrong.run_id) == (False, True)
    assert (current(made).run, current(made).outdated) == (right, ())
    made.definition("greater_is_better = false", "greater_is_better = true")
    assert made.open.runs.execute(1).how == "unchanged"
    assert current(made).run == wrong


def test_what_a_metric_needs_is_part_of_the_run(small) -> None:
    made = small()
    code = "import numpy as np\n\n\ndef far(y, p):\n    return float(np.mean(np.abs(y - p)))\n"
    (made.folder / "metric.py").write_text(code)
    more = 'metric = "metric.py:far"\ngreater_is_better = false\nmetric_needs = "proba"'
    made.definition('metric = "auc"', more)
    made.experiment(1, ROWS + MODEL)
    first = made.open.run(1).record
    made.definition('metric_needs = "proba"', 'metric_needs = "label"')
    assert current(made).outdated == ("competition",)
    second = made.open.run(1).record
    assert second.cv_mean != first.cv_mean
    assert (current(made).run, current(made).outdated) == (second, ())


def test_the_positive_class_differs_where_it_is_another(small) -> None:
    made = small()
    made.experiment(1, ROWS + MODEL)
    first = made.open.run(1).record
    made.definition('metric = "auc"', 'metric = "auc"\npositive = 1')
    assert made.open.runs.execute(1).how == "unchanged"
    assert (current(made).run, current(made).outdated) == (first, ())
    made.definition("positive = 1", "positive = 0")
    assert current(made).outdated == ("competition",)
    second = made.open.run(1).record
    assert (current(made).run, current(made).outdated) == (second, ())
    made.definition("positive = 0", "")
    assert made.open.runs.execute(1).how == "unchanged"
    assert (current(made).run, current(made).outdated) == (first, ())


def test_forced_runs_of_one_definition_are_the_newest(small) -> None:
    made = small()
    made.experiment(1, ROWS + MODEL)
    made.open.run(1)
    again = made.open.run(1, force=True).record
    assert current(made).run == again


def test_a_table_is_shown_whatever_the_definition_says(small) -> None:
    made = small()
    made.experiment(1, ROWS + MODEL)
    first = made.open.run(1).record
    definition = (made.folder / "competition.toml").read_text()
    (made.folder / "experiments" / "001.toml").write_text("this is [no TOML")
    assert [(r.run, r.outdated) for r in made.open.table()] == [(first, ("experiment",))]
    (made.folder / "experiments" / "001.toml").unlink()
    assert [(r.run, r.outdated) for r in made.open.table()] == [(first, ())]
    for broken in ("", "slug = 3", definition.replace('metric = "auc"', 'metric = "auk"')):
        (made.folder / "competition.toml").write_text(broken)
        assert [(r.run, r.outdated) for r in made.open.table()] == [(first, ())]


def test_a_run_whose_folder_is_elsewhere_is_shown_without_a_mark(small) -> None:
    made = small()
    made.experiment(1, ROWS + MODEL)
    first = made.open.run(1).record
    (made.workspace.root / first.folder).rename(made.workspace.root / "elsewhere")
    os.utime(made.folder / "competition.toml")
    assert [(r.run, r.outdated) for r in made.open.table()] == [(first, ())]


@pytest.mark.slow
def test_an_untouched_definition_is_not_read(small) -> None:
    made = small()
    made.experiment(1, ROWS + MODEL)
    made.open.run(1)
    code = (
        "import sys; from workbench.api import library; library.competition().table()\n"
        "print(sorted({'polars', 'pydantic', 'lightgbm', 'workbench.experiments.spec'} & set(sys.modules)))"
    )

    def imported() -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=made.folder).stdout

    assert imported().strip() == "[]"
    os.utime(made.folder / "competition.toml")
    assert "polars" in imported()
    os.utime(made.folder / "experiments" / "001.toml")
    assert "workbench.experiments.spec" in imported()
    assert "lightgbm" not in imported()


def test_table_and_show_say_what_differs(small, capsys, monkeypatch) -> None:
    from workbench.cli import main

    made = small()
    made.experiment(1, 'title = "the first"\n' + ROWS + MODEL)
    made.open.run(1)
    made.definition("folds = 5", "folds = 4")
    monkeypatch.chdir(made.folder)
    with pytest.raises(SystemExit, match="0"):
        main(["table"])
    assert "[other folds] the first" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["show", "1"])
    assert "outdated      other folds: `wb run 1` runs the current definition" in capsys.readouterr().out


def test_times_of_runs_rise_though_the_clock_was_set_back(small) -> None:
    """The newest run is the one that was run last; and what is edited by the new clock is seen."""
    made = small()
    first = quick(made)
    with Ledger.open(made.workspace.ledger) as ledger:
        ahead = replace(first.record, created_at=datetime.now(UTC) + timedelta(days=400))
        path = first.folder / "run.json"
        write_json(path, read_json(path) | {"record": ahead.to_dict()})
        ledger.put_run(ahead)
    second = made.open.run(1, force=True)
    assert second.record.created_at > ahead.created_at
    assert second.record.run_id > first.record.run_id
    assert made.open.runs[1].record.run_id == second.record.run_id
    made.experiment(1, 'features = ["rows.x"]\n[model]\nnum_iterations = 3\n')
    assert "outdated" in {f.code for f in made.open.submissions.prepare(1).findings}


def test_a_run_of_another_workspace_does_not_stand_for_an_experiment_of_this_one(small, tmp_path) -> None:
    ours, theirs = small(n_rows=120), make_small(tmp_path / "theirs", n_rows=120)
    url = f"sqlite:///{tmp_path}/shared.db"
    here, there = (replace(made.workspace, ledger_url=url) for made in (ours, theirs))
    for made, rounds in ((ours, 2), (theirs, 3)):
        made.experiment(1, f'features = ["ratio"]\n[model]\nnum_iterations = {rounds}\nearly_stopping_round = 0\n')
    theirs.experiment(2, 'features = ["ratio"]\n[model]\nnum_iterations = 2\nearly_stopping_round = 0\n')
    own = library.competition("small", where=here).run(1)
    others = [library.competition("small", where=there).run(number) for number in (1, 2)]
    opened = library.competition("small", where=here)
    assert {row.run.run_id for row in opened.table()} == {r.record.run_id for r in (own, *others)}
    assert opened.runs[1].record.run_id == own.record.run_id
    assert opened.submissions.prepare(1).record.run_id == own.record.run_id
    with pytest.raises(NotFoundError, match="of another workspace"):
        opened.runs[2]
