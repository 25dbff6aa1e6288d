"""Notebooks as experiments: their parameters, what they record, and everything that can end them."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import polars as pl
import pytest

from tests.needs import package
from workbench.api.studies import TuneOptions
from workbench.cli.app import wb
from workbench.core.cache import lock
from workbench.core.credentials import Masks, secret_values
from workbench.core.errors import (
    BusyError,
    ConfigError,
    DataError,
    NotebookError,
    NotFoundError,
    WorkbenchError,
)
from workbench.experiments import notebook_spec as notebook_spec_module
from workbench.experiments.notebooks import (
    Limits,
    check_parameters,
    checked_metrics,
    checked_oof,
    checked_test,
    read_notebook,
)
from workbench.models.target import read_target

PARAMETERS = "shrink = 0.5  # towards the mean\nn_bins: int = 10\nname = 'x'\n"
BODY = """from workbench import nb
import numpy as np

X, X_test = nb.features("rows.x", "rows.z")
y = nb.target
oof, test = np.full(len(y), np.nan), np.zeros(len(X_test))
for fold in nb.folds:
    cut = np.quantile(X["x"].to_numpy()[fold.train], np.linspace(0, 1, n_bins + 1)[1:-1])
    bins = np.digitize(X["x"].to_numpy(), cut)
    means = np.array([y[fold.train][bins[fold.train] == b].mean() for b in range(n_bins)])
    means = (1 - shrink) * means + shrink * y[fold.train].mean()
    oof[fold.valid] = means[bins[fold.valid]]
    test += means[np.digitize(X_test["x"].to_numpy(), cut)] / len(nb.folds)
"""
RECORD = "nb.record(oof=oof, test=test, metrics={'bins': n_bins})"
EXPERIMENT = 'title = "by hand"\n[notebook]\nfile = "model.ipynb"\n'


def write(path: Path, *cells: str, kernel: str = "python3", language: str = "python") -> Path:
    """Write a notebook; the first cell is the one of the parameters."""
    node = nbformat.v4.new_notebook()
    node.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    node.cells[0].metadata["tags"] = ["parameters"]
    node.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": language}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(node, path)
    return path


@pytest.fixture
def made(small) -> Any:
    found = small(n_rows=400)
    write(found.workspace.root / "notebooks" / "model.ipynb", PARAMETERS, BODY, RECORD)
    found.experiment(1, EXPERIMENT)
    return found


def with_cells(made: Any, *cells: str, more: str = "") -> None:
    write(made.workspace.root / "notebooks" / "model.ipynb", "x = 1", *cells)
    made.experiment(1, EXPERIMENT + more)


def failing(made: Any) -> tuple[NotebookError, Path]:
    """Run the experiment, which fails, and return how, and the run's folder."""
    with pytest.raises(NotebookError) as caught:
        made.open.run(1)
    (folder,) = [p for p in (made.folder / "runs").iterdir() if p.is_dir()]
    record = json.loads((folder / "run.json").read_text())["record"]
    assert record["status"] == "failed"
    assert record["error"].startswith(caught.value.message[:100])
    assert (folder / "notebook.ipynb").exists()
    return caught.value, folder


# ----------------------------------------------------------------------------------------------------------- before it


class TestParameters:
    def test_names_kinds_defaults_and_comments(self, tmp_path: Path) -> None:
        found = read_notebook(write(tmp_path / "a.ipynb", PARAMETERS + "lists = [1, 2]\nodd = sum([1])\n", "x = 1"))
        assert {p.name: (p.kind, p.default, p.help) for p in (found.parameters or {}).values()} == {
            "shrink": ("float", "0.5", "towards the mean"),
            "n_bins": ("int", "10", ""),
            "name": ("str", "'x'", ""),
            "lists": ("list", "[1, 2]", ""),
            "odd": ("", "sum([1])", ""),
        }

    @pytest.mark.parametrize(
        ("given", "message", "hint"),
        [
            ({"shrnik": 1.0}, "exp: [notebook] has an unknown key 'shrnik'", "shrink"),
            ({"n_bins": 1.5}, "n_bins = 1.5: expected int", ""),
            ({"n_bins": True}, "n_bins = True: expected int", ""),
            ({"shrink": "a lot"}, "shrink = 'a lot': expected float", ""),
        ],
    )
    def test_what_the_notebook_does_not_have_is_said(self, tmp_path: Path, given, message: str, hint: str) -> None:
        notebook = read_notebook(write(tmp_path / "a.ipynb", PARAMETERS))
        with pytest.raises(ConfigError) as caught:
            check_parameters(notebook, given, where="exp: [notebook]")
        assert message in caught.value.message
        assert hint in caught.value.hint

    def test_what_fits_is_taken(self, tmp_path: Path) -> None:
        notebook = read_notebook(write(tmp_path / "a.ipynb", PARAMETERS + "odd = sum([1])\n"))
        check_parameters(notebook, {"shrink": 1, "n_bins": 3, "name": "y", "odd": [1]}, where="")

    def test_a_notebook_without_a_cell_of_parameters_takes_none(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.ipynb", "x = 1")
        node = nbformat.read(path, as_version=4)
        node.cells[0].metadata["tags"] = []
        nbformat.write(node, path)
        with pytest.raises(ConfigError, match="sets x, but .* has no parameters cell") as caught:
            check_parameters(read_notebook(path), {"x": 2}, where="exp: [notebook]")
        assert 'tag the cell that sets them "parameters"' in caught.value.hint

    def test_a_script_that_jupytext_knows_is_a_notebook(self, tmp_path: Path) -> None:
        path = tmp_path / "a.py"
        path.write_text('# %% tags=["parameters"]\nshrink = 0.5\n\n# %%\nprint(shrink)\n\n# %% [markdown]\n# words\n')
        found = read_notebook(path)
        assert list(found.parameters or {}) == ["shrink"]
        assert [c["type"] for c in found.cells] == ["code", "code", "markdown"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "is not a notebook: invalid JSON"),
            ('{"cells": 3}', "is not a notebook"),
            ("[]", "is not a notebook"),
        ],
    )
    def test_what_is_no_notebook_is_said(self, tmp_path: Path, text: str, message: str) -> None:
        path = tmp_path / "a.ipynb"
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_notebook(path)

    def test_another_language_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is a notebook in R"):
            read_notebook(write(tmp_path / "a.ipynb", "x <- 1", kernel="ir", language="R"))

    def test_outputs_do_not_matter_and_code_does(self, tmp_path: Path) -> None:
        first = read_notebook(write(tmp_path / "a.ipynb", "x = 1", "x"))
        node = nbformat.read(tmp_path / "a.ipynb", as_version=4)
        node.cells[1].outputs = [nbformat.v4.new_output("stream", text="1")]
        node.cells[1].execution_count = 7
        node.cells.append(nbformat.v4.new_markdown_cell("words"))
        nbformat.write(node, tmp_path / "a.ipynb")
        assert read_notebook(tmp_path / "a.ipynb").content() == first.content()
        assert read_notebook(write(tmp_path / "a.ipynb", "x = 1", "x + 1")).content() != first.content()

    @pytest.mark.parametrize(
        ("table", "error", "message"),
        [
            ('file = "modle.ipynb"\n', NotFoundError, "no such notebook"),
            ("", ConfigError, "needs the notebook's file, got None"),
            ('file = "model.ipynb"\nseconds = -1\n', ConfigError, "seconds = -1: expected seconds, a number above 0"),
            ('file = "model.ipynb"\nshrnik = 1\n', ConfigError, "unknown key 'shrnik'"),
        ],
    )
    def test_what_is_wrong_with_the_table_is_said(self, made, table: str, error, message: str) -> None:
        made.experiment(1, f"[notebook]\n{table}")
        with pytest.raises(error, match=message):
            made.open.run(1)

    def test_what_only_models_have_is_refused(self, made) -> None:
        made.experiment(1, 'target_transform = "log1p"\n' + EXPERIMENT)
        with pytest.raises(ConfigError, match="target_transform is for models that the workbench trains"):
            made.open.run(1)
        made.experiment(1, EXPERIMENT)
        with pytest.raises(ConfigError, match="a notebook predicts all rows"):
            made.open.run(1, sample=0.5)
        with pytest.raises(ConfigError, match="nothing is trained here"):
            made.open.studies.tune(1, TuneOptions(trials=1))

    def test_the_command_lists_them(self, tmp_path: Path, capsys) -> None:
        path = write(tmp_path / "a.ipynb", PARAMETERS)
        wb.main(["notebook", "params", str(path)], standalone_mode=False)
        assert capsys.readouterr().out.splitlines()[0] == "shrink  float  0.5  towards the mean"
        wb.main(["notebook", "params", str(path), "--json"], standalone_mode=False)
        assert json.loads(capsys.readouterr().out)[1] == {"name": "n_bins", "kind": "int", "default": "10", "help": ""}


class TestMasks:
    def test_secrets_of_the_environment_and_of_the_login(self, tmp_path: Path) -> None:
        (tmp_path / ".kaggle").mkdir()
        (tmp_path / ".kaggle" / "kaggle.json").write_text('{"username": "someone", "key": "0123456789abcdef"}')
        found = secret_values({"MY_TOKEN": "abcdefgh1234", "PATH": "/usr/bin:/bin", "API_KEY": "short"}, tmp_path)
        assert {"abcdefgh1234", "0123456789abcdef"} <= set(found)
        assert "/usr/bin:/bin" not in found
        assert "short" not in found

    @pytest.mark.parametrize(
        "text",
        ["KGAT_0123456789abcdef0123", "hf_abcdefghijklmnopqrstu", "ghp_0123456789abcdefghijkl", "AKIA0123456789ABCDEF"],
    )
    def test_tokens_by_their_looks(self, text: str) -> None:
        assert Masks([]).in_json({"text": [f"it is {text}."]}) == {"text": ["it is [masked]."]}

    def test_usual_text_stays(self) -> None:
        text = "AUC 0.78431 of https://host/path, sk-learn, KGAT, key_of_row"
        assert Masks([]).text(text) == text


class TestRecorded:
    @pytest.mark.parametrize(
        ("oof", "message"),
        [
            (lambda p, _: p[:-1], r"oof: expected the 320 rows of the train table, one value each: \(320, 1\), got \(319, 1\)"),
            (lambda p, _: p * 3, "must be probabilities"),
            (lambda p, _: np.column_stack([1 - p, p]), "expected the probability of the second class"),
            (lambda p, _: ["a"] * len(p), "oof: expected numbers"),
            (lambda p, ids: ids.with_columns(p=pl.Series(p)).head(300), "20 of the 320 rows of the train table are missing, and 0 recorded rows"),
            (lambda p, ids: pl.concat([ids, ids]).with_columns(p=0.5), "640 rows have a repeated id"),
            (lambda p, ids: ids.with_columns(id=pl.col("id") + 1, p=pl.Series(p)), "recorded rows are not in it"),
        ],
    )  # fmt: skip
    def test_oof_of_other_rows_are_refused(self, made, oof: Any, message: str) -> None:
        definition = made.open.access.competition
        target = read_target(definition)
        ids = definition.train_columns("id")
        with pytest.raises(DataError, match=message):
            checked_oof(oof(np.full(320, 0.5), ids), definition, target, made.open.folds)

    def test_rows_without_a_prediction_are_counted_by_fold(self, made) -> None:
        oof = np.full(320, 0.5)
        oof[made.open.folds.valid_rows(2)[:3]] = np.nan
        definition = made.open.access.competition
        with pytest.raises(DataError, match="3 of the 64 rows that fold 2 validates have no finite prediction"):
            checked_oof(oof, definition, read_target(definition), made.open.folds)

    def test_test_predictions_of_other_rows_are_refused(self, made) -> None:
        definition = made.open.access.competition
        target = read_target(definition)
        with pytest.raises(DataError, match=r"test: expected the 80 rows of the test table.*got \(320, 1\)"):
            checked_test(np.full(320, 0.5), definition, target)
        with pytest.raises(DataError, match="test: 80 of 80 rows have no finite prediction"):
            checked_test(np.full(80, np.nan), definition, target)
        found = checked_test(np.linspace(0, 1, 80), definition, target)
        by_id = (
            definition.ids.test_frame()
            .with_columns(p=pl.Series(np.linspace(0, 1, 80)))
            .sample(fraction=1.0, shuffle=True, seed=3)
        )
        assert np.array_equal(checked_test(by_id, definition, target), found)
        pandas = package("pandas")
        assert np.array_equal(
            checked_test(pandas.DataFrame({c: by_id[c].to_numpy() for c in by_id.columns}), definition, target), found
        )

    def test_what_it_says_of_itself_is_numbers(self) -> None:
        assert checked_metrics({"a": 1, "b": np.float32(0.5)}) == {"a": 1.0, "b": 0.5}
        for odd in ("b", None, math.nan):
            with pytest.raises(DataError, match="metrics: a = .*: expected a number"):
                checked_metrics({"a": odd})


# ------------------------------------------------------------------------------------------------------------- the run


class TestRun:
    def test_what_it_records_is_a_run_like_any_other(self, made) -> None:
        done = made.open.run(1)
        assert done.record.status == "finished"
        assert (done.record.kind, done.record.n_features, len(done.record.fold_scores)) == ("notebook", None, 5)
        assert done.score > 0.7
        sample = pl.read_csv(made.folder / "data" / "raw" / "sample_submission.csv")
        submission = pl.read_csv(done.submission)
        assert submission.columns == sample.columns
        assert submission["id"].to_list() == sample["id"].to_list()
        assert done.test.height == sample.height
        details = json.loads((done.folder / "run.json").read_text())
        assert details["notebook"]["metrics"] == {"bins": 10.0}
        assert {"notebook.ipynb", "notebook.html", "notebook.txt", "oof.parquet"} <= set(details["files"])
        assert (done.folder / "source" / "model.ipynb").exists()
        assert not (done.folder / "parts").exists()
        again = made.open.runs.execute(1)
        assert again.how == "unchanged"
        rows = made.open.table()
        assert rows[0].run.cv_mean == done.score

    @pytest.mark.slow
    def test_code_that_it_imports_is_kept_and_counts(self, made) -> None:
        """A notebook runs in the competition's folder: what is beside, and in folders there, is its code."""
        helper = made.folder / "lib" / "halves.py"
        helper.parent.mkdir()
        helper.write_text("SHRINK = 0.5\n")
        write(
            made.workspace.root / "notebooks" / "model.ipynb",
            "x = 1",
            "from lib.halves import SHRINK\n" + PARAMETERS.replace("0.5", "SHRINK") + BODY,
            RECORD,
        )
        first = made.open.run(1)
        assert (first.folder / "source" / "lib" / "halves.py").read_text() == "SHRINK = 0.5\n"
        assert made.open.runs.execute(1).how == "unchanged"
        helper.write_text("SHRINK = 0.9\n")
        second = made.open.runs.execute(1)
        assert second.how == "new"
        assert not second.run.oof.equals(first.oof)

    @pytest.mark.slow
    def test_parameters_are_put_in_and_are_another_run(self, made) -> None:
        first = made.open.run(1)
        made.experiment(1, EXPERIMENT + "shrink = 0.0\nn_bins = 4\n")
        second = made.open.run(1)
        assert first.record.run_id != second.record.run_id
        assert json.loads((second.folder / "run.json").read_text())["notebook"]["metrics"] == {"bins": 4.0}
        node = nbformat.read(second.folder / "notebook.ipynb", as_version=4)
        (injected,) = [c for c in node.cells if "injected-parameters" in c.metadata.get("tags", [])]
        assert "n_bins = 4" in injected.source

    @pytest.mark.slow
    def test_a_grid_makes_a_run_of_each_combination(self, made, monkeypatch, capsys) -> None:
        made.experiment(1, EXPERIMENT + "[notebook.grid]\nn_bins = [2, 8]\nshrink = [0.0]\n")
        monkeypatch.chdir(made.folder)
        wb.main(["run", "--exp", "1", "--json"], standalone_mode=False)
        said = json.loads(capsys.readouterr().out)
        assert len({s["run_id"] for s in said}) == 2
        runs = [r.run for r in made.open.table() if r.run.exp == 1]
        assert {r.changes for r in runs} == {("n_bins = 2", "shrink = 0.0"), ("n_bins = 8", "shrink = 0.0")}
        # One more value is one more run.
        made.experiment(1, EXPERIMENT + "[notebook.grid]\nn_bins = [2, 8, 16]\nshrink = [0.0]\n")
        outcomes = made.open.runs.execute_all(1)
        assert [o.how for o in outcomes] == ["unchanged", "unchanged", "new"]
        assert made.open.run(1).score == max(o.run.score for o in outcomes)
        made.experiment(1, EXPERIMENT + "[notebook.grid]\nn_bins = [8]\nshrink = [0.0]\n")
        (row,) = [r for r in made.open.table() if r.latest]
        assert (row.run.changes, row.outdated) == (("n_bins = 8", "shrink = 0.0"), ())

    @pytest.mark.slow
    def test_what_fails_of_a_grid_does_not_stop_the_rest(self, made) -> None:
        body = BODY + "assert n_bins != 2, 'too few'\n"
        write(made.workspace.root / "notebooks" / "model.ipynb", PARAMETERS, body, RECORD)
        made.experiment(1, EXPERIMENT + "[notebook.grid]\nn_bins = [2, 8]\n")
        with pytest.raises(NotebookError, match="too few") as caught:
            made.open.runs.execute_all(1)
        assert caught.value.hint.startswith("1 of the 2 runs of the grid are finished")

    @pytest.mark.parametrize(
        ("grid", "message"),
        [
            ("n_bins = 3\n", "n_bins = 3: expected a list of values"),
            ("n_bins = []\n", r"n_bins = \[\]: expected a list"),
            ("n_bnis = [3]\n", "unknown key 'n_bnis'"),
            ("n_bins = ['a']\n", "n_bins = 'a': expected int"),
        ],
    )
    def test_what_is_wrong_with_a_grid_is_said(self, made, grid: str, message: str) -> None:
        made.experiment(1, EXPERIMENT + "[notebook.grid]\n" + grid)
        with pytest.raises(ConfigError, match=message):
            made.open.runs.execute_all(1)

    @pytest.mark.slow
    def test_figures_and_output_are_kept(self, made) -> None:
        figure = (
            "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(); ax.plot([1, 2]); plt.show(); print('so far')"
        )
        write(made.workspace.root / "notebooks" / "model.ipynb", PARAMETERS, BODY, figure, RECORD)
        done = made.open.run(1)
        (figure_path,) = (done.folder / "notebook-figures").iterdir()
        assert figure_path.read_bytes()[:4] == b"\x89PNG"
        assert "so far" in (done.folder / "notebook.txt").read_text()
        assert "so far" in (done.folder / "notebook.html").read_text()
        # A report has figures of its own in the same folder: they must not take the place of these.
        before = figure_path.read_bytes()
        report = made.workspace.root / "notebooks" / "report.ipynb"
        write(report, "exp = 0", "", figure.replace("[1, 2]", "[2, 1]"), "")
        made.open.runs.report(1)
        assert len(list((done.folder / "report-figures").iterdir())) == 1
        assert figure_path.read_bytes() == before
        # What is not drawn any more is gone.
        write(report, "exp = 0", "", "", "")
        made.open.runs.report(1)
        assert not (done.folder / "report-figures").exists()
        assert made.open.runs[1].record.status == "finished"

    @pytest.mark.slow
    def test_one_report_at_a_time(self, made) -> None:
        done = made.open.run(1)
        with lock(done.folder / ".report.lock", "this"), pytest.raises(BusyError, match=r"making .*report.html"):
            made.open.runs.report(1)

    @pytest.mark.slow
    def test_frames_of_a_fold_have_what_depends_on_it(self, made) -> None:
        body = """from workbench import nb
import numpy as np
oof, test = np.full(len(nb.target), np.nan), np.zeros(nb.competition.data.n_test)
for fold in nb.folds:
    f = nb.frames(fold.number, "rows.x", "te_town")
    assert f.X_train.columns == f.X_valid.columns == f.X_test.columns
    assert len(f.X_train.columns) == 2 and len(f.X_train) == len(f.y_train) == len(fold.train)
    oof[fold.valid] = f.X_valid[:, 1].to_numpy(); test += f.X_test[:, 1].to_numpy() / len(nb.folds)
try:
    nb.features("te_town")
except Exception as exc:
    print(type(exc).__name__, exc)
nb.record(oof=oof, test=test)"""
        with_cells(made, body)
        done = made.open.run(1)
        assert "ConfigError some of the features depend on the fold" in (done.folder / "notebook.txt").read_text()

    @pytest.mark.slow
    def test_rows_by_their_ids_may_have_any_order(self, made) -> None:
        body = (
            BODY
            + """
import polars as pl
train = nb.table("train").select("id").collect()
frame = train.with_columns(p=pl.Series(oof)).sample(fraction=1.0, shuffle=True, seed=1)
other = nb.competition.data.test_ids.with_columns(p=pl.Series(test)).reverse()
nb.record(oof=frame, test=other)"""
        )
        done = made.open.run(1)
        write(made.workspace.root / "notebooks" / "model.ipynb", PARAMETERS, body)
        shuffled = made.open.run(1)
        assert shuffled.record.run_id != done.record.run_id
        assert shuffled.record.fold_scores == pytest.approx(done.record.fold_scores)
        assert shuffled.test["pred_y"].to_list() == pytest.approx(done.test["pred_y"].to_list())

    @pytest.mark.slow
    def test_classes_and_several_targets(self, small) -> None:
        body = """from workbench import nb
import numpy as np
y = nb.target
assert nb.classes == ("high", "low", "mid")
oof = np.eye(3)[y] * 0.4 + 0.2
nb.record(oof=oof, test=np.full((nb.competition.data.n_test, 3), 1 / 3))"""
        made = small(task="multiclass", metric="mlogloss")
        with_cells(made, body)
        assert made.open.run(1).score == pytest.approx(-np.log(0.6))
        body = """from workbench import nb
nb.record(oof=nb.target * 1.0, test=[[0.0, 1.0]] * nb.competition.data.n_test)"""
        made = small(task="two", metric="rmse", slug="pair")
        with_cells(made, body)
        assert made.open.run(1).score == 0

    def test_a_notebook_that_was_opened_by_hand_shows_its_score_and_keeps_nothing(self, made) -> None:
        code = f"{PARAMETERS}\n{BODY}\n{RECORD}\n"
        done = subprocess.run([sys.executable, "-c", code], cwd=made.folder, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("auc 0.")
        assert "not saved" in done.stdout
        assert not (made.folder / "runs").exists()


class TestWrittenOut:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("task", "metric"), [("binary", "auc"), ("regression", "rmse"), ("multiclass", "mlogloss")]
    )
    def test_an_experiment_as_a_notebook_scores_as_the_experiment(self, small, task: str, metric: str) -> None:
        made = small(task=task, metric=metric)
        model = "[model]\nnum_iterations = 60\nearly_stopping_round = 20\nnum_leaves = 8\nlambda_l2 = 2.0\n"
        made.experiment(1, f'features = ["rows.x", "rows.z", "te_town"]\ntarget_transform = "none"\n{model}')
        before = made.open.run(1)
        notebook, experiment = made.open.experiments.new_notebook(1)
        assert notebook.parent == made.workspace.root / "notebooks"
        found = read_notebook(notebook)
        assert {"num_leaves", "lambda_l2", "rounds", "patience", "seed"} <= set(found.parameters or {})
        after = made.open.run(int(experiment.stem))
        # Bins are of the fold's rows here, and of all rows there.
        assert after.score == pytest.approx(before.score, rel=0.05)
        experiment.write_text(experiment.read_text() + "num_leaves = 3\n")
        assert made.open.run(int(experiment.stem)).score != after.score

    @pytest.mark.slow
    def test_models_of_other_libraries_are_trained_as_the_experiment_does(self, small) -> None:
        made = small()
        made.experiment(
            1,
            'features = ["rows.x", "rows.z"]\n[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\nC = 0.5\n',
        )
        before = made.open.run(1)
        _, experiment = made.open.experiments.new_notebook(1, title='by "hand"')
        after = made.open.run(int(experiment.stem))
        assert after.record.fold_scores == pytest.approx(before.record.fold_scores)
        assert after.record.title == 'by "hand"'

    def test_what_can_not_be_written_out_is_said(self, made, small) -> None:
        with pytest.raises(ConfigError, match="is a notebook already: model.ipynb"):
            made.open.experiments.new_notebook(1)
        pair = small(task="two", metric="rmse", slug="pair")
        pair.experiment(1, 'features = ["rows.x"]\n[model]\n')
        with pytest.raises(ConfigError, match="has 2 targets"):
            pair.open.experiments.new_notebook(1)


class TestByHand:
    """Opened in Jupyter, VS Code or IPython: the working directory is the notebook's folder, and nobody tells it."""

    @pytest.fixture
    def two(self, small, monkeypatch) -> Any:
        for name in ("WB_WORKSPACE", "WB_COMPETITION", "WB_NOTEBOOK"):
            monkeypatch.delenv(name, raising=False)
        small(n_rows=300, slug="another", task="regression", metric="rmse")
        made = small(n_rows=400)
        made.experiment(
            1,
            'features = ["rows.x", "te_town", "rows.z"]\ndrop = ["z"]\nseeds = [3]\n[model]\nnum_iterations = 20\n',
        )
        return made

    @pytest.mark.slow
    @pytest.mark.parametrize("model", ["", "sklearn"])
    def test_what_is_written_knows_its_competition_and_columns(self, two, model: str) -> None:
        if model:
            two.experiment(
                1, 'features = ["rows.x", "rows.z"]\n[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\n'
            )
        notebook, experiment = two.open.experiments.new_notebook(1)
        assert 'nb.use("small", exp=2)' in notebook.read_text().replace("\\", "")
        shown = by_hand(notebook)
        assert "(not saved: only `wb run` saves it)" in shown
        run = two.open.run(int(experiment.stem))
        assert f"auc {run.score:.5f}" in shown

    @pytest.mark.slow
    def test_an_experiment_of_another_competition_keeps_its_own(self, two) -> None:
        notebook, _ = two.open.experiments.new_notebook(1)
        other = two.workspace.competitions / "another" / "experiments" / "007.toml"
        other.write_text(f'features = ["rows.x"]\n[notebook]\nfile = "{notebook.name}"\n')
        (notebook.parent / "plain.ipynb").write_text("")
        write(
            notebook,
            "x = 1",
            "from workbench import nb\nnb.use('small', exp=1)\nassert nb.competition.slug == 'another'\nimport numpy as np\nnb.record(oof=np.zeros(len(nb.target)), test=np.zeros(nb.competition.data.n_test))",
        )
        opened = type(two.open)(two.workspace, "another")
        assert opened.run(7).record.status == "finished"

    def test_use_chooses_and_changes(self, two, monkeypatch) -> None:
        monkeypatch.chdir(two.workspace.root / "notebooks")
        script = """
from workbench import nb
from workbench.core.errors import WorkbenchError
try:
    nb.competition
except WorkbenchError as exc:
    print(exc.hint)
nb.use("small", exp=1)
print(nb.competition.slug, nb.seeds, nb.frames(0).X_train.columns, len(nb.target))
nb.use("another")
print(nb.competition.slug, nb.seeds, len(nb.target))
for arguments in ({"competition": "smlal"}, {"competition": "small", "exp": 9}):
    try:
        nb.use(**arguments)
    except WorkbenchError as exc:
        print(type(exc).__name__, exc.message.partition(" in ")[0])
print(nb.competition.slug)
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == [
            'choose it first: nb.use("another")',
            "small (3,) ['x', 'te_town'] 320",
            "another (1,) 240",
            "NotFoundError no competition 'smlal'",
            f"NotFoundError competition 'small' has no experiment 9: {two.folder / 'experiments' / '009.toml'} is missing",
            "another",
        ]


def by_hand(path: Path) -> str:
    """Execute a notebook as Jupyter does, from its folder, and return what it printed."""
    command = [sys.executable, "-c", "from nbclient.cli import main; main()", "--inplace", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    node = nbformat.read(path, as_version=4)
    return "".join(o.get("text", "") for c in node.cells for o in c.get("outputs", []))


ADOPTED = [
    "import numpy as np, pandas as pd\ntrain = pd.read_csv('/kaggle/input/small/train.csv')\ntest = pd.read_csv('../input/competitions/small/test.csv')",
    "p = train['y'].mean()\nprint('Fold 1 AUC 0.61')\nprint(f'CV score: {0.612345}')",
    "sub = pd.read_csv('/kaggle/input/small/sample_submission.csv')\nsub['y'] = p\nsub.to_csv('/kaggle/working/submission.csv', index=False)",
]  # fmt: skip


class TestAdopted:
    def adopted(self, made: Any, *cells: str, tags: tuple[str, ...] = (), more: str = "") -> Path:
        path = write(made.workspace.root / "downloads" / "best public.ipynb", *cells)
        node = nbformat.read(path, as_version=4)
        node.cells[0].metadata["tags"] = []
        node.cells[1].metadata["tags"] = list(tags)
        nbformat.write(node, path)
        notebook, experiment, _ = made.open.experiments.adopt(path)
        assert notebook.read_text() == path.read_text()
        experiment.write_text(experiment.read_text() + more)
        return experiment

    def test_its_submission_is_the_runs_and_its_cv_what_it_printed(self, made, monkeypatch, capsys) -> None:
        experiment = self.adopted(made, *ADOPTED)
        outcome = made.open.runs.execute(int(experiment.stem))
        record = outcome.run.record
        assert (record.cv_mean, record.cv_std, record.fold_scores, record.title) == (0.612345, None, (), "best public")
        frame = pl.read_csv(outcome.run.submission)
        assert frame.columns == ["id", "y"]
        assert frame["y"].n_unique() == 1
        assert not (outcome.run.folder / "working").exists()
        # It is sent, and logged with its CV, like any other.
        monkeypatch.chdir(made.folder)
        wb.main(["submit", "--exp", experiment.stem, "--yes", "--json"], standalone_mode=False)
        assert json.loads(capsys.readouterr().out)["cv_mean"] == 0.612345
        wb.main(["table"], standalone_mode=False)
        assert "0.61235" in capsys.readouterr().out
        wb.main(["show", experiment.stem], standalone_mode=False)
        assert "0.612345" in capsys.readouterr().out

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("tags", "more", "cv"),
        [
            (("cv",), "", 0.612345),
            ((), 'cv = "Fold 1 AUC ([0-9.]+)"\n', 0.61),
            ((), 'cv = "nothing like ([0-9.]+)"\n', None),
        ],
    )
    def test_where_the_cv_is(self, made, tags: tuple[str, ...], more: str, cv: float | None) -> None:
        experiment = self.adopted(made, *ADOPTED, tags=tags, more=more)
        outcome = made.open.runs.execute(int(experiment.stem))
        assert outcome.run.score == cv
        assert any("printed no CV that was recognized" in n for n in outcome.notes) == (cv is None)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("last", "message"),
        [
            ("1", "finished without writing submission.csv; it wrote nothing"),
            ("sub = pd.DataFrame({'id': [1], 'target': [0]})\nsub.to_csv('submission.csv', index=False)", r"has the columns \['id', 'target'\]; expected \['id', 'y'\]"),
            ("sub = pd.DataFrame({'id': [1], 'y': [0]})\nsub.to_csv('submission.csv', index=False)", "has 1 row; expected one for each of the 80"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_with_its_submission_is_said(self, made, last: str, message: str) -> None:
        experiment = self.adopted(made, *ADOPTED[:2], last)
        with pytest.raises(WorkbenchError, match=message):
            made.open.run(int(experiment.stem))

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ('cv = "("\n', "is not a regular expression"),
            ('cv = "[0-9.]+"\n', "has no group for the number"),
        ],
    )
    def test_an_odd_pattern_is_said(self, made, more: str, message: str) -> None:
        experiment = self.adopted(made, *ADOPTED, more=more)
        with pytest.raises(ConfigError, match=message):
            made.open.run(int(experiment.stem))

    def test_other_data_are_named(self, made, monkeypatch, capsys) -> None:
        monkeypatch.chdir(made.folder)
        path = write(
            made.workspace.root / "a.ipynb", "open('/kaggle/input/other-data/x.csv'); open('../input/small/train.csv')"
        )
        wb.main(["notebook", "adopt", str(path)], standalone_mode=False)
        assert "it reads /kaggle/input/other-data, which does not exist locally" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ what ends them


def test_the_process_of_a_notebook_loads_little_before_papermill() -> None:
    """It is started for each notebook: polars, numpy and pydantic would double what it takes to start."""
    code = (
        "import sys, workbench.core.notebook_worker.worker\n"
        "print(*sorted({'polars', 'numpy', 'pydantic', 'sqlalchemy'} & set(sys.modules)), 'papermill' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


class TestFailures:
    @pytest.mark.slow
    def test_the_failing_cell_is_shown_and_the_next_run_is_whole(self, made) -> None:
        with_cells(made, "ready = 1\nprint('before')", "a = {}\na['b']  # no such key", "never = 1")
        error, folder = failing(made)
        assert error.message.startswith("model.ipynb, cell 3: KeyError: 'b'")
        assert "a['b']  # no such key" in error.message
        assert "KeyError" in error.trace
        assert "before" in (folder / "notebook.txt").read_text()
        assert "no such key" in (folder / "notebook.html").read_text()
        write(made.workspace.root / "notebooks" / "model.ipynb", PARAMETERS, BODY, RECORD)
        assert made.open.run(1).record.status == "finished"

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("cell", "more", "message", "hint"),
        [
            ("import sys\nsys.exit()", "", "cell 2: SystemExit", "the executed copy is"),
            ("x = 2\nraise SystemExit(0)", "", "cell 2: SystemExit: 0", "the executed copy is"),
            ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "", "cell 2: the kernel died, probably killed by the system for memory", "more memory"),
            ("import time\nwhile True:\n    time.sleep(0.1)", "cell_seconds = 2\n", "cell 2: the cell took longer than 2 s", "cell_seconds"),
            ("while True:\n    pass", "seconds = 4\n", "cell 2: the notebook exceeded its time limit of 4 s", "seconds = "),
        ],
    )  # fmt: skip
    def test_what_ended_the_kernel_is_said(self, made, cell: str, more: str, message: str, hint: str) -> None:
        with_cells(made, cell, more=more)
        error, _ = failing(made)
        assert message in error.message
        assert cell.splitlines()[1] in error.message
        assert hint in error.hint

    @pytest.mark.slow
    def test_cells_are_numbered_as_in_the_source(self, made) -> None:
        """What papermill puts in does not count."""
        with_cells(made, "1 / 0", more="x = 2\n")
        said: list[str] = []
        with pytest.raises(NotebookError, match="^model.ipynb, cell 2: ZeroDivisionError"):
            made.open.run(1, report=said.append)
        assert [s for s in said if s.startswith("cell")] == ["cell 1 of 2: x = 1", "cell 2 of 2: 1 / 0"]

    @pytest.mark.slow
    def test_a_kernel_that_takes_too_much_memory_is_ended_with_its_peak(self, made) -> None:
        from dataclasses import replace

        with_cells(made, "import time\nheld = [bytearray(50_000_000) for _ in range(12)]\ntime.sleep(300)")
        made = replace(made, workspace=replace(made.workspace, memory_limit=400_000_000))
        error, _ = failing(made)
        assert "cell 2: the kernel exceeded its memory limit: it used" in error.message
        assert error.peak_mb > 380
        assert "--memory-limit" in error.hint

    @pytest.mark.slow
    def test_an_output_without_end_is_stopped(self, made, monkeypatch) -> None:
        monkeypatch.setattr(notebook_spec_module, "Limits", partial(Limits, output_bytes=2_000_000))
        with_cells(made, "while True:\n    print('x' * 10_000)")
        error, folder = failing(made)
        assert "cell 2: the output of the cells exceeds" in error.message
        assert (folder / "notebook.ipynb").stat().st_size < 20_000_000

    @pytest.mark.slow
    def test_a_token_is_masked_everywhere(self, made, monkeypatch) -> None:
        monkeypatch.setenv("SOME_TOKEN", "t0p-s3cret-value")
        with_cells(
            made,
            "import os\nprint(os.environ['SOME_TOKEN'])\nos.environ['SOME_TOKEN']",
            "raise ValueError(os.environ['SOME_TOKEN'])",
        )
        error, folder = failing(made)
        assert "[masked]" in error.message
        texts = [
            p.read_text() for p in folder.rglob("*") if p.is_file() and p.suffix in (".ipynb", ".html", ".txt", ".json")
        ]
        assert any("[masked]" in t for t in texts)
        assert not any("t0p-s3cret-value" in t for t in texts)
        assert "t0p-s3cret-value" not in str(error) + error.trace

    @pytest.mark.slow
    def test_an_installation_that_fails_is_said_though_the_cell_does_not(self, made) -> None:
        script = "%pip install --no-index not-a-package-of-anyone"
        write(made.workspace.root / "notebooks" / "model.ipynb", PARAMETERS, script, BODY, RECORD)
        outcome = made.open.runs.execute(1)
        (said,) = [n for n in outcome.notes if "could not install its packages" in n]
        assert said.startswith(
            "cell 2 could not install its packages: No matching distribution found for not-a-package-of-anyone"
        )
        write(made.workspace.root / "notebooks" / "model.ipynb", PARAMETERS, script, "import not_a_package_of_anyone")
        with pytest.raises(NotebookError, match="ModuleNotFoundError") as caught:
            made.open.run(1)
        assert "cell 2 could not install its packages" in caught.value.hint

    def test_a_kernel_that_is_not_installed_is_named(self, made) -> None:
        with_cells(made, "x = 2", more='kernel = "python9"\n')
        with pytest.raises(NotebookError, match="no kernel 'python9' is installed") as caught:
            made.open.run(1)
        assert 'kernel = "python3"' in caught.value.hint

    @pytest.mark.slow
    def test_a_notebook_that_records_nothing_is_said(self, made) -> None:
        write(made.workspace.root / "notebooks" / "model.ipynb", PARAMETERS, "from workbench import nb")
        with pytest.raises(NotebookError, match="finished without recording predictions"):
            made.open.run(1)

    def test_predictions_of_other_rows_are_refused_in_the_cell(self, made) -> None:
        write(made.workspace.root / "notebooks" / "model.ipynb", PARAMETERS, BODY, "nb.record(oof=oof[:-1], test=test)")
        with pytest.raises(
            NotebookError, match=r"cell 3: DataError: oof: expected the 320 rows of the train table"
        ) as caught:
            made.open.run(1)
        assert "nb.record(oof=oof[:-1], test=test)" in caught.value.message

    @pytest.mark.slow
    def test_what_the_notebook_started_ends_with_the_command(self, made) -> None:
        """Killed in the middle, it leaves no kernel behind, and the next run is whole."""
        marker = made.folder / "kernel.pid"
        with_cells(made, f"import os, time\nopen({str(marker)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
        command = [sys.executable, "-m", "workbench", "run", "--exp", "1"]
        process = subprocess.Popen(command, cwd=made.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not (marker.exists() and marker.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        kernel = int(marker.read_text())
        process.send_signal(signal.SIGKILL)
        process.wait()
        while Path(f"/proc/{kernel}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not Path(f"/proc/{kernel}").exists()
        write(made.workspace.root / "notebooks" / "model.ipynb", PARAMETERS, BODY, RECORD)
        assert made.open.run(1).record.status == "finished"

    @pytest.mark.slow
    def test_the_terminal_shows_cell_source_and_error(self, made, monkeypatch, capsys) -> None:
        monkeypatch.chdir(made.folder)
        with_cells(made, "a = {}\na['b']")
        with pytest.raises(NotebookError):
            wb.main(["run", "--exp", "1"], standalone_mode=False)
        assert os.environ.get("WB_NOTEBOOK") is None
