"""The report of a run and of a fresh competition: what the frames say, and that their notebooks run for every task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk

from workbench.cli.app import wb
from workbench.core.errors import NotebookError, NotFoundError
from workbench.review.report import Overview, RunView, figures

MODEL = "[model]\nnum_iterations = 20\nlearning_rate = 0.2\nnum_leaves = 8\n"
TASKS = [("binary", "auc"), ("regression", "rmse"), ("multiclass", "mlogloss"), ("two", "rmse")]


def two_runs(small: Any, task: str, metric: str) -> Any:
    made = small(task=task, metric=metric)
    made.experiment(1, f'features = ["rows.x"]\n{MODEL}')
    made.experiment(2, 'title = "z too"\nbase = 1\nfeatures = ["rows.x", "rows.z"]\n[model]\ntraining_metric = true\n')
    made.open.run(1)
    made.open.run(2)
    return made


def view_of(made: Any, number: int, base: int | None = None) -> RunView:
    opened = made.open
    return RunView(opened.access.competition, opened.runs[number], None if base is None else opened.runs[base])


class TestFrames:
    def test_binary(self, small) -> None:
        made = two_runs(small, "binary", "auc")
        view = view_of(made, 2, 1)
        truth, predicted = view.target.columns[0].values, view.oof[:, 0]
        assert view.losses().mean() == pytest.approx(sk.log_loss(truth, predicted))
        scores = view.scores()
        assert scores["auc"].to_list() == list(view.run.record.fold_scores)
        assert scores["better"].mean() == pytest.approx(view.change.mean)
        assert scores["validated"].sum() == len(truth)
        assert scores["rounds"].null_count() == 0
        confusion = view.confusion()
        expected = sk.confusion_matrix(truth, predicted >= 0.5)
        assert confusion.drop("true").to_numpy().tolist() == expected.tolist()
        calibration = view.calibration()
        assert calibration["rows"].sum() == len(truth)
        assert calibration["predicted"].is_sorted()
        assert float((calibration["true"] * calibration["rows"]).sum()) == pytest.approx(truth.sum())
        worst = view.worst(5)
        assert worst["loss"].to_list() == sorted(view.losses(), reverse=True)[:5]
        assert {"id", "x", "y", "predicted", "fold"} <= set(worst.columns)
        against = view.against_base()
        assert float(against["share"].sum()) == pytest.approx(1.0)
        gain = view_of(made, 1).losses().mean() - view.losses().mean()
        assert -float((against["share"] * against["mean change of the loss"]).sum()) == pytest.approx(gain)

    def test_the_worst_rows_are_those_of_the_table(self, small) -> None:
        made = two_runs(small, "regression", "rmse")
        view = view_of(made, 2)
        worst = view.worst(3)
        assert (worst["y"] - worst["predicted"]).abs().to_list() == pytest.approx(worst["loss"].to_list())
        assert view.residuals()["residual"].abs().max() == pytest.approx(worst["loss"][0])
        assert view.change is None
        assert view.against_base() is None

    def test_classes(self, small) -> None:
        view = view_of(two_runs(small, "multiclass", "mlogloss"), 2)
        truth = view.target.columns[0].values.astype(int)
        assert view.losses().mean() == pytest.approx(sk.log_loss(truth, view.oof))
        assert (
            view.confusion().drop("true").to_numpy().tolist()
            == sk.confusion_matrix(truth, view.oof.argmax(axis=1)).tolist()
        )
        assert view.drift().height == 6
        assert view.drift()["KS"].is_between(0, 1).all()

    def test_curves_and_importances(self, small) -> None:
        view = view_of(two_runs(small, "binary", "auc"), 2)
        curves = view.curves()
        assert set(curves["of"]) == {"validated", "train"}
        assert set(curves["fold"]) == set(range(5))
        assert view.importance()["share"].sum() == pytest.approx(1.0)

    def test_rows_that_no_fold_validates_are_left_out(self, small) -> None:
        made = small()
        made.definition('scheme = "stratified"', 'scheme = "time"\ncolumn = "day"')
        made.experiment(1, f'features = ["rows.x"]\n{MODEL}')
        made.open.run(1)
        view = view_of(made, 1)
        assert len(view.losses()) == view.folds.covered.sum() < view.target.n_rows
        assert np.isfinite(view.losses()).all()
        assert view.calibration()["rows"].sum() == view.folds.covered.sum()

    def test_a_quick_try_has_no_report(self, small) -> None:
        made = small()
        made.experiment(1, f'features = ["rows.x"]\n{MODEL}')
        quick = made.open.run(1, sample=0.5)
        with pytest.raises(NotFoundError, match="is a subsample run"):
            RunView(made.open.access.competition, quick)

    def test_too_many_classes_give_no_picture(self, small, monkeypatch) -> None:
        view = view_of(two_runs(small, "multiclass", "mlogloss"), 2)
        monkeypatch.setattr(figures, "MAX_CLASSES", 2)
        assert figures.confusion(view) is None

    def test_a_fresh_competition(self, small) -> None:
        overview = Overview(small().open.access.competition)
        summary = overview.summary()
        assert summary["column"].to_list() == overview.columns
        assert "id" not in overview.columns
        town = summary.filter(pl.col("column") == "town").row(0, named=True)
        assert town["missing, train"] == "0.0%"
        assert town["distinct, train"] == "12"
        assert town["values"].startswith("town ")
        target = overview.target_summary()
        assert target["rows"].sum() == overview.target.n_rows
        assert target["share"].sum() == pytest.approx(1.0)


@pytest.mark.slow
class TestNotebooks:
    @pytest.mark.parametrize(("task", "metric"), TASKS)
    def test_the_report_runs_for_every_task(self, small, task: str, metric: str, monkeypatch, capsys) -> None:
        made = two_runs(small, task, metric)
        monkeypatch.chdir(made.folder)
        wb.main(["report", "2", "--json"], standalone_mode=False)
        page = Path(json.loads(capsys.readouterr().out)["page"])
        folder = made.open.runs[2].folder
        assert page == folder / "report.html"
        node = nbformat.read(folder / "report.ipynb", as_version=4)
        images = [o for c in node.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
        # Scores, distribution, what suits the task, importances, curves: each once.
        assert len(images) == {"binary": 6, "multiclass": 5}.get(task, 5)
        text = page.read_text()
        assert "Experiment 2: z too" in text
        assert "Against experiment 1" in text

    def test_a_notebook_as_a_run_has_a_report_too(self, small) -> None:
        made = small()
        (made.workspace.root / "notebooks").mkdir(exist_ok=True)
        script = (
            "from workbench import nb\nnb.record(oof=nb.target * 0.5 + 0.2, test=[0.5] * nb.competition.data.n_test)\n"
        )
        (made.workspace.root / "notebooks" / "simple.py").write_text(script)
        made.experiment(1, '[notebook]\nfile = "simple.py"\n')
        made.open.run(1)
        assert "This run has no importances" in made.open.runs.report(1).read_text()

    @pytest.mark.parametrize(("task", "metric"), TASKS[:3])
    def test_a_fresh_competition_is_shown_for_every_task(self, small, task: str, metric: str) -> None:
        made = small(task=task, metric=metric)
        page = made.open.data.explore()
        assert page == made.folder / "eda.html"
        node = nbformat.read(made.folder / "eda.ipynb", as_version=4)
        images = [o for c in node.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
        assert len(images) == 2

    def test_the_workspaces_own_notebook_takes_the_place_of_ours(self, small) -> None:
        made = two_runs(small, "binary", "auc")
        node = nbformat.v4.new_notebook()
        node.cells = [nbformat.v4.new_code_cell("exp = 0"), nbformat.v4.new_code_cell("print('mine of', exp)")]
        node.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(node, made.workspace.root / "notebooks" / "report.ipynb")
        assert "mine of 2" in made.open.runs.report(2).read_text()

    def test_a_report_that_fails_says_the_cell(self, small) -> None:
        made = two_runs(small, "binary", "auc")
        path = made.folder / "odd.py"
        path.write_text('# %% tags=["parameters"]\nexp = 0\n\n# %%\nraise ValueError("no")\n')
        with pytest.raises(NotebookError, match="odd.py, cell 2: ValueError: no"):
            made.open.runs.report(1, source=path)
