"""Running experiments: every task, the record, repeats, kills, and what bad input gets."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk

from tests.needs import needs_full_device, package
from tests.quick_run import ALL, QUICK, quick
from tests.small import make_small
from workbench.api import library
from workbench.core.cache import lock
from workbench.core.errors import (
    BusyError,
    ConfigError,
    DamagedError,
    DataError,
    FeatureError,
    LedgerError,
    NewerError,
    NotFoundError,
    StorageError,
    TrainingError,
    WorkbenchError,
)
from workbench.core.temporary import temporary_path
from workbench.experiments.ready import ready
from workbench.experiments.run import log_file
from workbench.experiments.run_folder import FoldParts, read_run, write_run
from workbench.experiments.spec import read_spec
from workbench.features import ROW
from workbench.ledger import Ledger
from workbench.models.train import train


def runs_in_ledger(made: Any) -> list[Any]:
    with Ledger.open(made.workspace.ledger) as ledger:
        return ledger.runs(made.slug)


class TestTasks:
    def truth(self, made: Any) -> pl.DataFrame:
        return made.open.tables["train"].collect()

    def test_binary(self, small) -> None:
        made = small()
        run = quick(made)
        y, oof = self.truth(made)["y"].to_numpy(), run.oof
        assert oof[ROW].to_list() == list(range(400))
        for fold, score in enumerate(run.record.fold_scores):
            mask = oof["fold"].to_numpy() == fold
            assert sk.roc_auc_score(y[mask], run.oof_array[mask, 0]) == pytest.approx(score)
        assert run.score == pytest.approx(np.mean(run.record.fold_scores))
        assert run.record.cv_std == pytest.approx(np.std(run.record.fold_scores))
        assert run.record.cv_folds == len(run.record.fold_scores) == 5
        assert run.record.oof_score == pytest.approx(sk.roc_auc_score(y, run.oof_array[:, 0]))
        assert run.record.cv_mean > 0.8
        sent = pl.read_csv(run.submission)
        assert sent.columns == ["id", "y"]
        assert sent["id"].to_list() == made.open.tables["sample_submission"].collect()["id"].to_list()
        assert run.test.height == 100
        assert set(run.importance.columns) == {"column", "gain", "splits"}

    def test_oof_predictions_are_those_of_the_models(self, small) -> None:
        """Each saved model, loaded by plain LightGBM, predicts its fold's rows as the OOF has them."""
        made = small()
        made.experiment(1, 'features = ["rows.x", "rows.z", "ratio"]\n' + QUICK)
        run = made.open.run(1)
        rows = made.open.rows.collect().sort(ROW)
        frame = rows.select("x", "z", ratio=pl.col("x") / (pl.col("z").abs() + 1)).cast(pl.Float32).head(400).to_numpy()
        assert len(run.models) == 5
        for name, text in run.models.items():
            fold = int(name.split("-")[1][1:])
            mask = run.oof["fold"].to_numpy() == fold
            model = lgb.Booster(model_str=text)
            assert model.feature_name() == ["x", "z", "ratio"]
            assert model.predict(frame[mask]) == pytest.approx(run.oof_array[mask, 0], abs=1e-12)

    def test_predictions_are_the_mean_of_the_seeds_and_each_seed_has_its_scores(self, small) -> None:
        made = small()
        made.experiment(
            1,
            'features = ["rows.x", "rows.z"]\nseeds = [1, 2]\n' + QUICK + "bagging_fraction = 0.5\nbagging_freq = 1\n",
        )
        run = made.open.run(1)
        frame = made.open.rows.collect().sort(ROW).select("x", "z").cast(pl.Float32).to_numpy()
        models = {name: lgb.Booster(model_str=text) for name, text in run.models.items()}
        mean = np.mean([model.predict(frame[400:]) for model in models.values()], axis=0)
        assert run.test["pred_y"].to_numpy() == pytest.approx(mean, abs=1e-12)
        y, fold = self.truth(made)["y"].to_numpy(), run.oof["fold"].to_numpy()
        scores = [
            [
                sk.roc_auc_score(y[fold == f], models[f"t0-f{f}-s{seed}"].predict(frame[:400][fold == f]))
                for f in range(5)
            ]
            for seed in (1, 2)
        ]
        assert scores[0] != scores[1]
        assert np.array(run.record.seed_scores) == pytest.approx(np.array(scores))

    @pytest.mark.parametrize("metric", ["rmse", "mae", "rmsle", "r2", "pinball@0.8", "smape", "medae"])
    def test_regression(self, small, metric: str) -> None:
        made = small(task="regression", metric=metric)
        run = quick(made)
        constant = made.open.access.competition.metric(
            self.truth(made)["y"].to_numpy(), np.full(400, self.truth(made)["y"].median())
        )
        better = run.score > constant if run.record.greater_is_better else run.score < constant
        assert better
        assert pl.read_csv(run.submission)["y"].dtype == pl.Float64

    def test_multiclass_probabilities(self, small) -> None:
        made = small(task="multiclass", metric="mlogloss")
        run = quick(made)
        sent = pl.read_csv(run.submission)
        assert sent.columns == ["id", "high", "low", "mid"]
        assert sent.select("high", "low", "mid").sum_horizontal().to_numpy() == pytest.approx(1)
        truth = self.truth(made)["y"]
        labels = ["high", "low", "mid"]
        assert run.record.oof_score == pytest.approx(sk.log_loss(truth, run.oof_array, labels=labels))

    @pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mcc"])
    def test_multiclass_labels(self, small, metric: str) -> None:
        made = small(task="multiclass", metric=metric)
        run = quick(made)
        assert set(pl.read_csv(run.submission)["y"]) <= {"low", "mid", "high"}
        assert run.score > 0.4

    def test_the_best_labels_in_order(self, small) -> None:
        made = small(task="multiclass", metric="map@2")
        run = quick(made)
        lists = [text.split() for text in pl.read_csv(run.submission)["y"]]
        assert all(len(set(items)) == 2 for items in lists)
        best = np.array(["high", "low", "mid"])[run.test.select("^pred.*$").to_numpy().argmax(axis=1)]
        order = dict(zip(run.test["id"], best, strict=True))
        assert [items[0] for items in lists] == [order[i] for i in pl.read_csv(run.submission)["id"]]

    def test_binary_labels_keep_their_words(self, small, tmp_path: Path) -> None:
        from tests.small import make_frame

        source = tmp_path / "words.csv"
        make_frame(400).with_columns(y=pl.when(pl.col("y") == 1).then(pl.lit("yes")).otherwise(pl.lit("no"))).write_csv(
            source
        )
        made = small(train=source, metric="f1")
        run = quick(made)
        assert set(pl.read_csv(run.submission)["y"]) == {"yes", "no"}

    def test_several_targets(self, small) -> None:
        made = small(task="two", metric="rmse")
        run = quick(made)
        truth = self.truth(made).select("y", "w").to_numpy()
        expected = np.mean([sk.root_mean_squared_error(truth[:, i], run.oof_array[:, i]) for i in range(2)])
        assert run.record.oof_score == pytest.approx(expected)
        assert pl.read_csv(run.submission).columns == ["id", "y", "w"]
        assert len(run.models) == 10

    def test_several_id_columns(self, small, tmp_path: Path) -> None:
        from tests.small import make_frame

        source = tmp_path / "ids.csv"
        frame = make_frame(400).with_columns(store=pl.col("id") // 10, item=pl.col("id") % 10).drop("id")
        frame.write_csv(source)
        made = small(train=source, ids=("store", "item"))
        run = quick(made)
        sample = made.open.tables["sample_submission"].collect()
        assert pl.read_csv(run.submission).select("store", "item").equals(sample.select("store", "item"))

    def test_weights(self, small, tmp_path: Path) -> None:
        from tests.small import make_frame

        source = tmp_path / "weighted.csv"
        make_frame(400, task="regression").with_columns(importance=pl.col("id") % 5 + 1).write_csv(source)
        made = small(train=source, metric="wmae", weight="importance")
        run = quick(made)
        train = self.truth(made)
        expected = sk.mean_absolute_error(train["y"], run.oof_array[:, 0], sample_weight=train["importance"])
        assert run.record.oof_score == pytest.approx(expected)

    def test_a_metric_of_ones_own(self, small) -> None:
        made = small()
        made.definition(
            'metric = "auc"', 'metric = "metric.py:brier"\ngreater_is_better = false\nmetric_needs = "proba"'
        )
        (made.folder / "metric.py").write_text("def brier(t, p):\n    return ((t - p) ** 2).mean()\n")
        run = quick(made)
        assert run.record.metric == "brier"
        assert run.record.oof_score == pytest.approx(sk.brier_score_loss(self.truth(made)["y"], run.oof_array[:, 0]))

    def test_rows_before_the_first_window_have_no_oof(self, small) -> None:
        made = small(after=("day", "2024-06-01"), holdout=None)
        run = quick(made)
        missing = np.isnan(run.oof_array[:, 0])
        assert 0.4 * len(missing) < missing.sum() < 0.7 * len(missing)
        assert (run.oof["fold"].to_numpy() == -1).tolist() == missing.tolist()


class TestAgain:
    def test_an_unchanged_experiment_is_shown(self, small) -> None:
        made = small()
        first = quick(made)
        outcome = made.open.runs.execute(1)
        assert outcome.how == "unchanged"
        assert outcome.run.record == first.record
        assert len(runs_in_ledger(made)) == 1

    def test_files_that_features_py_reads_while_it_loads_are_kept(self, small) -> None:
        made = small()
        (made.folder / "lib").mkdir()
        (made.folder / "lib" / "map.json").write_text('{"town 1": 1}')
        path = made.folder / "features.py"
        path.write_text(
            "import json\nfrom pathlib import Path\n"
            'MAP = json.loads((Path(__file__).parent / "lib" / "map.json").read_text())\n'
            + path.read_text()
            + '\n\n@feature(files=["lib/map.json"])\ndef mapped(rows):\n'
            '    return rows.select(ROW, pl.col("town").replace_strict(MAP, default=0).alias("mapped"))\n'
        )
        run = quick(made, head='features = ["ratio"]\n')
        assert (run.folder / "source" / "lib" / "map.json").read_text() == '{"town 1": 1}'

    def test_tables_of_an_earlier_version_are_said(self, small) -> None:
        from workbench.api import library

        made = small()
        run = quick(made)
        path = made.folder / "data" / "tables" / "manifest.json"
        manifest = json.loads(path.read_text())
        for table in manifest["tables"].values():
            del table["keys"]
        path.write_text(json.dumps(manifest))
        outcome = made.open.runs.execute(1)
        assert outcome.how == "unchanged"
        assert any("earlier version" in n and "`wb fetch small --force`" in n for n in outcome.notes)
        library.fetch("small", where=made.workspace, force=True)
        outcome = made.open.runs.execute(1)
        assert (outcome.how, outcome.run.record.run_id) == ("unchanged", run.record.run_id)
        assert not any("earlier version" in n for n in outcome.notes)

    def test_a_new_title_changes_nothing(self, small) -> None:
        made = small()
        quick(made)
        made.experiment(1, 'title = "another"\n' + ALL + QUICK)
        assert made.open.runs.execute(1).how == "unchanged"

    @pytest.mark.parametrize("what", ["model", "feature", "cv", "seeds", "data"])
    def test_what_changes_the_result_is_run(self, small, what: str) -> None:
        made = small()
        quick(made)
        if what == "model":
            made.experiment(1, ALL + QUICK.replace("num_leaves = 7", "num_leaves = 8"))
        elif what == "feature":
            path = made.folder / "features.py"
            path.write_text(path.read_text().replace("SCALE = 2.0", "SCALE = 3.0"))
        elif what == "cv":
            made.definition("seed = 42", "seed = 43")
        elif what == "seeds":
            made.experiment(1, "seeds = [2]\n" + ALL + QUICK)
        else:
            from workbench.api import library

            test = made.folder / "rehearsal" / "files" / "towns.csv"
            test.write_text(test.read_text().replace("town 3,3", "town 3,33"))
            library.fetch("small", where=made.workspace)
        assert made.open.runs.execute(1).how == "new"
        assert len(runs_in_ledger(made)) == 2

    def test_what_a_metric_of_ones_own_imports_decides_the_run(self, small) -> None:
        made = small()
        made.definition('metric = "auc"', 'metric = "metric.py:loss"\ngreater_is_better = false')
        (made.folder / "metric.py").write_text(
            "from powers import far\n\ndef loss(t, p):\n    return far(t - p).mean()\n"
        )
        (made.folder / "powers.py").write_text("def far(d):\n    return d**2\n")
        first = quick(made)
        assert made.open.runs.execute(1).how == "unchanged"
        (made.folder / "powers.py").write_text("def far(d):\n    return abs(d)\n")
        second = made.open.runs.execute(1)
        assert second.how == "new"
        assert second.run.score != first.score

    def test_the_same_seed_gives_the_same_bytes(self, small) -> None:
        made = small()
        made.experiment(1, ALL + QUICK + "bagging_fraction = 0.7\nbagging_freq = 1\nfeature_fraction = 0.7\n")
        first = made.open.run(1)
        for block in (made.folder / "cache").glob("*"):
            block.unlink()
        second = made.open.run(1, force=True)
        assert first.folder != second.folder
        assert first.submission.read_bytes() == second.submission.read_bytes()
        assert first.oof.equals(second.oof)
        assert first.models == second.models

    def test_false_switches_off_what_the_base_has(self, small) -> None:
        made = small()
        base = (
            'features = ["rows"]\nclass_weight = "balanced"\n[model]\n[tune]\ntrials = 3\n[pseudo]\nthreshold = 0.9\n'
        )
        made.experiment(1, base)
        made.experiment(2, "base = 1\ntune = false\npseudo = false\nclass_weight = false\n")
        spec = read_spec(made.open.access.competition, 2)
        assert (spec.tune, spec.pseudo, spec.class_weight) == (None, None, None)
        assert set(spec.changes) == {
            "class_weight balanced -> default",
            "pseudo {'threshold': 0.9} -> default",
            "-tune",
        }
        made.experiment(3, "base = 2\n")
        assert read_spec(made.open.access.competition, 3).tune is None

    def test_another_kind_of_model_does_not_take_over_what_is_lightgbms(self, small) -> None:
        made = small()
        made.experiment(
            1, 'features = ["rows.x"]\nclass_weight = "balanced"\nrefit = true\n[model]\n[tune]\ntrials = 3\n'
        )
        made.experiment(2, 'base = 1\n[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\n')
        spec = read_spec(made.open.access.competition, 2)
        assert (spec.tune, spec.refit, spec.class_weight) == (None, False, None)
        assert made.open.run(2, threads=1).record.status == "finished"
        path = made.open.experiments.new(source=2)
        assert "[sklearn]" in path.read_text()

    def test_bases_and_changes(self, small) -> None:
        made = small()
        quick(made)
        made.experiment(2, 'base = 1\nfeatures = ["rows", "ratio"]\nseeds = [1, 2]\n[model]\nnum_leaves = 15\n')
        run = made.open.run(2)
        assert run.record.base == 1
        assert set(run.record.changes) == {
            "-doubled",
            "-town_size",
            "-te_town",
            "num_leaves 7 -> 15",
            "seeds [1] -> [1, 2]",
        }

    def test_a_quick_try_is_marked_and_apart(self, small) -> None:
        made = small()
        quick(made)
        run = made.open.run(1, sample=0.5)
        assert run.record.sample == 0.5
        assert run.oof.height == 200
        assert run.submission is None
        rows = made.open.table()
        assert [r.latest for r in rows] == [True, False]
        found = made.open.submissions.prepare(1, run_id=run.record.run_id)
        assert [f.code for f in found.errors] == ["sampled"]
        assert made.open.runs.execute(1).how == "unchanged"


# ------------------------------------------------------------------------------------------------------------- killed

RUNNER = """
import sys, pathlib
from workbench.api import library
place = library.workspace(sys.argv[1])
library.competition("small", where=place).run(1, done=lambda r, left: print(left, flush=True))
"""


def start(made: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUNNER, str(made.workspace.root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


SLOW = (
    ALL
    + "seeds = [1, 2, 3]\n"
    + QUICK.replace("num_iterations = 20", "num_iterations = 300").replace(
        "early_stopping_round = 5", "early_stopping_round = 0"
    )
)


def _left_by(pid: int, name: str) -> str:
    return temporary_path(Path(name)).name.replace(f"-{os.getpid()}-", f"-{pid}-")


class TestKilled:
    @pytest.mark.slow
    def test_it_goes_on_from_the_finished_folds(self, small) -> None:
        made = small()
        made.experiment(1, SLOW)
        runner = start(made)
        assert runner.stdout is not None
        for _ in range(7):
            runner.stdout.readline()
        runner.send_signal(signal.SIGKILL)
        runner.communicate(timeout=60)
        (row,) = made.open.table()
        assert row.run.status == "interrupted"
        trained: list[int] = []
        started = {
            p.name: p.stat().st_mtime_ns for p in (made.workspace.root / row.run.folder / "models").glob("*.txt")
        }
        assert len(started) >= 7
        left_by_a_kill = made.workspace.root / row.run.folder / "models" / _left_by(runner.pid, "t0-f4-s2.txt")
        left_by_a_kill.write_text("half")
        outcome = made.open.runs.execute(1, done=lambda r, left: trained.append(left))
        assert outcome.how == "resumed"
        after = {p.name: p.stat().st_mtime_ns for p in (outcome.run.folder / "models").glob("*.txt")}
        assert sum(after[n] == t for n, t in started.items()) >= 7
        assert len(after) == 15
        assert not (outcome.run.folder / "parts").exists()
        assert not left_by_a_kill.exists()
        (row,) = made.open.table()
        assert row.run.status == "finished"
        fresh = made.open.run(1, force=True)
        assert fresh.submission.read_bytes() == outcome.run.submission.read_bytes()
        assert fresh.oof.equals(outcome.run.oof)

    @pytest.mark.slow
    def test_killed_at_any_moment_nothing_is_half(self, small) -> None:
        made = small()
        made.experiment(1, SLOW)
        rng = random.Random(5)
        for attempt in range(12):
            runner = start(made)
            time.sleep(rng.uniform(0.3, 2.5))
            runner.send_signal(signal.SIGKILL)
            runner.communicate(timeout=60)
            rows = made.open.table()  # never raises, whatever was half written
            assert len(rows) <= 1, attempt
            assert {r.run.status for r in rows} <= {"interrupted", "finished"}
        kept = any(made.folder.glob("runs/*/parts/*.npz"))
        is_finished = any(r.run.status == "finished" for r in made.open.table())
        outcome = made.open.runs.execute(1)
        assert outcome.how == ("unchanged" if is_finished else "resumed" if kept else "new")
        assert made.open.run(1, force=True).submission.read_bytes() == outcome.run.submission.read_bytes()
        assert not list(made.folder.rglob("*.tmp"))

    def test_a_copy_of_a_runs_folder_does_not_stand_for_the_run(self, small) -> None:
        """A backup that was made while it ran, or whose numbers were edited."""
        made = small()
        made.experiment(1, ALL + QUICK)
        run = made.open.run(1)
        copy = run.folder.with_name(f"{run.folder.name}-backup")
        shutil.copytree(run.folder, copy)
        record = json.loads((copy / "run.json").read_text())
        record["record"] |= {"status": "interrupted", "cv_mean": 1.0}
        (copy / "run.json").write_text(json.dumps(record))
        (row,) = made.open.table()
        assert (row.run.status, row.run.cv_mean) == ("finished", run.record.cv_mean)
        again = made.open.runs.execute(1)
        assert again.how == "unchanged"
        assert again.notes[-1].endswith(
            f"run.json is the record of the run {run.record.run_id}: its folder was copied or renamed; it is ignored"
        )
        told = library.rebuild_ledger(made.workspace)
        assert "was copied or renamed" in str(told)
        (row,) = made.open.table()
        assert row.run.cv_mean == run.record.cv_mean

    @pytest.mark.slow
    def test_a_part_that_is_not_whole_is_trained_again(self, small) -> None:
        made = small()
        made.experiment(1, SLOW)
        runner = start(made)
        assert runner.stdout is not None
        for _ in range(4):
            runner.stdout.readline()
        runner.send_signal(signal.SIGKILL)
        runner.communicate(timeout=60)
        (folder,) = (made.folder / "runs").glob("001-*")
        parts = sorted((folder / "parts").glob("*.npz"))
        data = bytearray(parts[0].read_bytes())
        data[len(data) // 2] ^= 255
        parts[0].write_bytes(data)
        parts[1].write_bytes(parts[1].read_bytes()[:-30])
        (folder / "models" / f"{parts[2].stem}.txt").write_text("tree")
        resumed = made.open.run(1)
        assert made.open.run(1, force=True).oof.equals(resumed.oof)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: b"\0" * len(data),
            lambda data: data[: len(data) // 2] + b"\0" * (len(data) - len(data) // 2),
            lambda data: data.replace(b"leaf_value=", b"leaf_value=9", 1),
            lambda data: data.replace(b"1", b"2", 5),
            lambda data: b"[]",
            lambda data: b'"text"',
        ],
    )
    def test_what_a_power_failure_damages_is_trained_again(
        self, small, damage: Callable[[bytes], bytes], tmp_path: Path
    ) -> None:
        """Parts are not flushed to disk: after a power failure they may hold anything."""
        made = small()
        made.experiment(1, ALL + QUICK)
        found = ready(made.workspace, made.open.access.competition, 1)
        parts = FoldParts(tmp_path / "run")
        whole = train(found.problem, found.model, (1,), parts=parts)
        files = sorted(p for p in parts.folder.rglob("*") if p.is_file())
        assert {p.suffix for p in files} == {".npz", ".json", ".txt"}
        for path in files:
            path.write_bytes(damage(path.read_bytes()))
        again = train(found.problem, found.model, (1,), parts=parts)
        assert np.array_equal(whole.oof, again.oof)
        assert [(p.model, p.curve) for p in whole.parts] == [(p.model, p.curve) for p in again.parts]

    def test_models_are_on_the_disk_before_the_run_is_finished(self, small, monkeypatch: pytest.MonkeyPatch) -> None:
        made = small()
        made.experiment(1, "seeds = [1, 2, 3]\n" + ALL + QUICK)
        flushed: list[tuple[Path, bool]] = []
        real = os.fsync

        def fsync(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            finished = [f for f in made.folder.glob("runs/*/run.json") if '"status": "finished"' in f.read_text()]
            flushed.append((path, bool(finished)))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        run = made.open.run(1)
        models = [path for path, is_finished in flushed if path.match("models/t*-s*.txt") and not is_finished]
        assert sorted(models) == sorted(p for p in (run.folder / "models").glob("t*-s*.txt"))
        assert len(models) == 15
        assert (run.folder / "models", False) in flushed
        assert not [path for path, _ in flushed if "parts" in path.parts]
        assert len([path for path, _ in flushed if path.is_relative_to(made.folder / "runs")]) < 50

    def test_a_run_killed_before_the_ledger_heard_is_finished(self, small) -> None:
        made = small()
        run = quick(made)
        with Ledger.open(made.workspace.ledger) as ledger:
            ledger.put_run(replace(run.record, status="running", cv_mean=None))
        (row,) = made.open.table()
        assert row.run == run.record

    def test_the_second_process_hears_who_has_it(self, small) -> None:
        made = small()
        quick(made)
        path = made.folder / "runs" / ".001.lock"
        with lock(path, "x"), pytest.raises(BusyError, match=r"experiment 1 of 'small' is in use by process \d+"):
            made.open.run(1)

    def test_control_c_is_an_interruption(self, small) -> None:
        made = small()
        made.experiment(1, SLOW)

        def stop(_: Any, left: int) -> None:
            if left == 10:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            made.open.run(1, done=stop)
        (row,) = made.open.table()
        assert row.run.status == "interrupted"
        assert made.open.runs.execute(1).how == "resumed"


class TestFinished:
    """Once "finished" is on disk nothing later changes it, and the ledger catches up."""

    def settled(self, made: Any, record: Any) -> None:
        assert json.loads((made.workspace.root / record.folder / "run.json").read_text())["record"] == record.to_dict()
        (row,) = made.open.table()
        assert row.run == record
        assert (record.status, row.run.cv_mean is not None) == ("finished", True)
        assert made.open.runs.execute(1).how == "unchanged"

    @pytest.mark.parametrize("error", [BusyError("locked"), LedgerError("out of reach"), StorageError("full")])
    def test_a_ledger_that_can_not_be_written_then_changes_nothing(
        self, small, monkeypatch: pytest.MonkeyPatch, error: WorkbenchError
    ) -> None:
        made = small()
        made.experiment(1, ALL + QUICK)
        put = Ledger.put_run

        def refused(ledger: Ledger, record: Any) -> None:
            if record.status == "finished":
                raise error
            put(ledger, record)

        with monkeypatch.context() as patched:
            patched.setattr(Ledger, "put_run", refused)
            outcome = made.open.runs.execute(1)
        assert outcome.run.record.status == "finished"
        assert any("is finished; the next command adds it" in note for note in outcome.notes)
        assert [r.status for r in runs_in_ledger(made)] == ["running"]
        self.settled(made, outcome.run.record)

    def test_neither_does_control_c(self, small, monkeypatch: pytest.MonkeyPatch) -> None:
        made, module = small(), sys.modules["workbench.experiments.run"]
        made.experiment(1, ALL + QUICK)
        write = module.write_run

        def interrupted(folder: Path, record: Any, details: Any) -> None:
            write(folder, record, details)
            if record.status == "finished":
                raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(module, "write_run", interrupted)
            made.open.runs.execute(1)
        (folder,) = (made.folder / "runs").glob("001-*")
        self.settled(made, read_run(folder)[0])

    def test_a_run_that_the_ledger_never_heard_of_is_entered(self, small) -> None:
        made = small()
        run = quick(made)
        made.workspace.ledger.unlink()
        assert made.open.runs[1].record == run.record
        made.workspace.ledger.unlink()
        self.settled(made, run.record)

    def test_a_table_does_not_end_what_another_process_takes_up(self, small, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between the look at the lock and the writing of the end, `wb run` may have gone on with it."""
        made = small()
        run = quick(made)
        running = replace(run.record, status="running", cv_mean=None)
        _, details = read_run(run.folder)
        write_run(run.folder, running, details)
        with Ledger.open(made.workspace.ledger) as ledger:
            ledger.put_run(running)
        with lock(made.folder / "runs" / ".001.lock", "x"):
            (row,) = made.open.table()
            assert row.run.status == "running"
        assert made.open.table()[0].run.status == "interrupted"
        assert read_run(run.folder)[0].status == "interrupted"


class TestNotOurs:
    """What may be of another machine or workspace, or still be arriving, is left as it is, and said."""

    def test_a_folder_without_a_record_stays(self, small) -> None:
        made = small()
        run = quick(made)
        arriving = made.folder / "runs" / f"001-20200101T000000-{run.record.key[:8]}"
        (arriving / "models").mkdir(parents=True)
        (arriving / "models" / "t0-f0-s1.txt").write_text("half of a copy")
        for force in (False, True):
            outcome = made.open.runs.execute(1, force=force)
            assert any(f"{arriving} has no run.json" in note for note in outcome.notes)
        assert len(made.open.table()) == 2
        assert (arriving / "models" / "t0-f0-s1.txt").read_text() == "half of a copy"

    def test_runs_of_other_workspaces_of_a_ledger_are_theirs(self, small) -> None:
        made = small()
        theirs = replace(quick(made).record, run_id="001-20200101T000000-00000000", folder="competitions/small/runs/x")
        theirs = replace(theirs, status="running", workspace="another")
        with Ledger.open(made.workspace.ledger) as ledger:
            ledger.put_run(theirs)
        assert theirs in [row.run for row in made.open.table()]
        made.open.runs.execute(1, force=True)
        assert theirs in runs_in_ledger(made)

    def test_a_record_of_a_newer_version_is_left_alone(self, small) -> None:
        from workbench.api import library
        from workbench.submissions.log import SubmissionLog

        made = small()
        run = quick(made)
        record = made.open.submissions.send(made.open.submissions.prepare(1))
        path = run.folder / "run.json"
        newer = json.loads(path.read_text()) | {"version": 99}
        newer["record"] = newer["record"] | {"status": "running"}
        path.write_text(json.dumps(newer))
        with Ledger.open(made.workspace.ledger) as ledger:
            ledger.put_run(replace(run.record, status="running"))
        made.open.table()
        with pytest.raises(
            NewerError, match=r"run.json has version 99; this workbench supports versions up to"
        ) as caught:
            made.open.runs.execute(1)
        assert "leave the file as it is" in caught.value.hint
        (sent,) = made.workspace.submissions.glob("small/*.json")
        sent.write_text(json.dumps(json.loads(sent.read_text()) | {"version": 99}))
        with pytest.raises(NewerError, match="has version 99"):
            SubmissionLog(made.workspace, Ledger.open(made.workspace.ledger)).put(record, "news")
        found = library.rebuild_ledger(made.workspace)
        assert ["has version 99" in problem for problem in found["problems"]] == [True, True]
        with Ledger.open(made.workspace.ledger) as ledger:
            assert ledger.submissions() == [record]
        assert json.loads(path.read_text()) == newer
        assert [r.run_id for r in runs_in_ledger(made)] == [run.record.run_id]


# ---------------------------------------------------------------------------------------------------------- bad input


class TestBadInput:
    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            ('featurs = ["rows"]\n[model]\n', ConfigError, "unknown key 'featurs'.*did you mean 'features'"),
            ('features = ["rows"]\n[model]\nlerning_rate = 0.1\n', ConfigError, "did you mean 'learning_rate'"),
            (
                'features = ["rows"]\n[model]\neta = 0.1\nlearning_rate = 0.1\n',
                ConfigError,
                "sets 'learning_rate' twice",
            ),
            ('features = ["rows"]\n[model]\nmetric = "auc"\n', ConfigError, "can't set 'metric'"),
            (
                'features = ["rows"]\n[model]\nn_estimators = 0\n',
                ConfigError,
                "num_iterations = 0: expected a whole number",
            ),
            ('features = ["rows"]\n', ConfigError, "no table selects the kind"),
            ("[model]\n", ConfigError, "features is missing or empty"),
            ('features = ["rows", "rows"]\n[model]\n', ConfigError, "lists 'rows' more than once"),
            (
                'features = "rows"\n[model]\n',
                NotFoundError,
                "features = 'rows' names a feature list, and .*rows.toml is missing",
            ),
            ('features = ["rows"]\nseeds = []\n[model]\n', ConfigError, "seeds"),
            (
                'features = ["ratoi"]\n[model]\n',
                NotFoundError,
                "001.toml: no feature is called 'ratoi'.*did you mean 'ratio'",
            ),
            ('features = ["rows"]\nbase = 7\n[model]\n', NotFoundError, r"no experiment 7 \(base of experiment 1\)"),
            ('features = ["rows"]\nbase = 1\n[model]\n', ConfigError, "1 -> 1"),
            ('features = ["rows"\n', ConfigError, "is not valid TOML"),
            ('features = ["rows"]\n[model]\nobjective = "binry"\n', ConfigError, "did you mean .binary"),
            ('features = ["rows"]\n[model]\nnum_leaves = 1\n', ConfigError, "num_leaves = 1: expected a value > 1"),
            ('features = ["rows"]\n[model]\nmax_bin_by_feature = { x = 1 }\n', TrainingError, "LightGBM failed"),
        ],
    )
    def test_a_wrong_experiment_is_explained(self, small, text: str, error: type[WorkbenchError], message: str) -> None:
        made = small()
        made.experiment(1, text)
        with pytest.raises(error) as caught:
            made.open.run(1)
        import re

        assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
        assert caught.value.message

    def test_an_unknown_experiment_is_explained(self, small) -> None:
        made = small()
        made.experiment(12, "[model]")
        with pytest.raises(NotFoundError, match="has no experiment 11") as caught:
            made.open.run(11)
        assert "the nearest are 1, 12" in caught.value.hint

    def test_a_failed_run_is_on_record_and_can_be_mended(self, small) -> None:
        made = small()
        made.experiment(1, 'features = ["rows"]\n[model]\nmax_bin_by_feature = { x = 1 }\n')
        with pytest.raises(TrainingError):
            made.open.run(1)
        (row,) = made.open.table()
        assert row.run.status == "failed"
        assert "LightGBM failed" in row.run.error
        assert quick(made).record.status == "finished"

    @pytest.mark.parametrize(
        ("key", "value", "error", "message"),
        [
            ("target", '"yy"', DataError, "target = 'yy', but table 'train' has no such column"),
            ("task", '"bnary"', ConfigError, "unknown task, did you mean 'binary'"),
            ("metric", '"acu"', NotFoundError, "no metric is called 'acu'"),
            ("metric", '"metric.py:f"', ConfigError, "needs a direction"),
            ("slug", '"smal"', ConfigError, "slug is 'smal', but its folder is 'small'"),
            ("id", '"town"', DataError, "id 'town' of table 'test' is not unique"),
        ],
    )
    def test_a_wrong_definition_is_explained(
        self, small, key: str, value: str, error: type[WorkbenchError], message: str
    ) -> None:
        made = small()
        old = {"target": '"y"', "task": '"binary"', "metric": '"auc"', "slug": '"small"', "id": '"id"'}[key]
        made.definition(f"{key} = {old}", f"{key} = {value}")
        with pytest.raises(error, match=message):
            quick(made)
        assert not list(made.folder.glob("runs/*/*"))

    def spoil(self, made: Any, change: Any) -> None:
        """Change the train file on the platform and fetch it."""
        from workbench.api import library

        path = made.folder / "rehearsal" / "files" / "train.csv"
        change(pl.read_csv(path)).write_csv(path)
        library.fetch(made.slug, where=made.workspace)

    def test_a_target_with_nulls_is_counted(self, small) -> None:
        made = small()
        self.spoil(made, lambda f: f.with_columns(y=pl.when(pl.col("id") % 40 == 0).then(None).otherwise("y")))
        with pytest.raises(DataError, match=r"'y' of table 'train' has \d+ nulls among 400 rows"):
            quick(made)

    def test_a_missing_target_is_named(self, small) -> None:
        made = small()
        self.spoil(made, lambda f: f.drop("y"))
        with pytest.raises(DataError, match="target = 'y', but table 'train' has no such column"):
            quick(made)

    def test_a_target_with_three_values_is_not_binary(self, small) -> None:
        made = small()
        self.spoil(made, lambda f: f.with_columns(y=pl.col("id") % 3))
        with pytest.raises(DataError, match=r"has 3 values \(0, 1, 2\); task binary needs 2"):
            quick(made)

    def test_a_fold_without_positives_is_named(self, small) -> None:
        made = small()
        made.definition('scheme = "stratified"', 'scheme = "kfold"')
        self.spoil(made, lambda f: f.with_columns(y=(pl.int_range(pl.len()) < 2).cast(pl.Int64)))
        with pytest.raises(TrainingError, match=r"fold \d (trains|validates) on \d+ rows that all have y = 0"):
            quick(made)

    def test_a_column_that_lightgbm_refuses_does_not_end_the_process(self, small) -> None:
        made = small()
        path = made.folder / "features.py"
        path.write_text(path.read_text() + "\n@feature\ndef odd(rows):\n    return rows.select(ROW, when='day')\n")
        with pytest.raises(FeatureError, match="feature 'odd': column 'when' is a Date, which LightGBM can't take"):
            quick(made, head='features = ["odd"]\n')

    def test_names_that_lightgbm_refuses_are_taken(self, small) -> None:
        made = small()
        path = made.folder / "features.py"
        odd = "@feature\ndef odd(rows):\n    return [pl.col('x').alias('a [b]: {c}, \"d\"'), pl.col('z').alias('é')]\n"
        path.write_text(path.read_text() + "\n" + odd)
        run = quick(made, head='features = ["odd"]\n')
        assert set(run.importance["column"]) == {'a [b]: {c}, "d"', "é"}
        assert all(lgb.Booster(model_str=t).num_feature() == 2 for t in run.models.values())

    @pytest.mark.parametrize("file", ["oof.parquet", "run.json", "submission.csv", "models/t0-f0-s1.txt"])
    def test_a_damaged_run_is_not_trusted(self, small, file: str) -> None:
        made = small()
        run = quick(made)
        (run.folder / file).write_bytes(b"damaged")
        with pytest.raises(DamagedError, match=Path(file).name):
            made.open.run(1)
        if file != "run.json":
            assert made.open.run(1, force=True).record.status == "finished"

    def test_a_damaged_table_is_named(self, small) -> None:
        made = small()
        path = made.folder / "data" / "tables" / "train.parquet"
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(DamagedError, match="table 'train' is damaged.*bytes, expected"):
            quick(made)

    def test_data_that_was_never_fetched(self, small) -> None:
        import shutil

        made = small()
        shutil.rmtree(made.folder / "data" / "tables")
        with pytest.raises(NotFoundError, match="has no data yet") as caught:
            quick(made)
        assert "wb fetch small" in caught.value.hint


def test_the_record_is_all_in_the_folder(small) -> None:
    made = small()
    run = quick(made)
    data = json.loads((run.folder / "run.json").read_text())
    assert data["record"] == run.record.to_dict()
    assert data["spec"]["model"]["num_leaves"] == 7
    assert set(data["versions"]) >= {"python", "lightgbm", "polars", "numpy", "workbench"}
    assert (run.folder / "source" / "features.py").read_text() == (made.folder / "features.py").read_text()
    assert {m["fold"] for m in data["models"]} == set(range(5))
    assert (run.folder / "log.txt").exists()


def test_the_ledger_is_rebuilt_from_the_folders(small) -> None:
    from workbench.api import library

    made = small()
    quick(made)
    prepared = made.open.submissions.prepare(1)
    sent = made.open.submissions.send(prepared)
    before = runs_in_ledger(made)
    made.workspace.ledger.write_bytes(b"damaged")
    found = library.rebuild_ledger(made.workspace)
    assert (found["runs"], found["submissions"], found["problems"]) == (1, 1, [])
    assert runs_in_ledger(made) == before
    with Ledger.open(made.workspace.ledger) as ledger:
        assert ledger.submissions("small") == [sent]
        assert [e.status for e in ledger.events(sent.submission_id)] == ["prepared", "sending", "pending", "complete"]


@needs_full_device
def test_a_log_that_can_not_be_written_hides_no_error(tmp_path: Path, capsys) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    with pytest.raises(DataError, match="the run's own"), log_file(tmp_path):
        logging.getLogger("workbench").warning("of this nothing is kept")
        raise DataError("the run's own")
    assert capsys.readouterr().err == ""


KINDS_OF_MODELS = {
    1: "[model]\nnum_iterations = 20\nbagging_fraction = 0.8\nbagging_freq = 1\n",
    2: "[xgboost]\nnum_boost_round = 5\nsubsample = 0.8\n",
    3: "[catboost]\niterations = 5\n",
    4: '[sklearn]\nestimator = "sklearn.ensemble.RandomForestClassifier"\nn_estimators = 5\n',
}
IN_A_PROCESS = """
import sys
from workbench.api import library
for number in map(int, sys.argv[1:]):
    library.competition("small").run(number, threads=2)
"""


@pytest.mark.slow
def test_two_processes_give_the_same_bit_for_bit(tmp_path: Path) -> None:
    """Whatever the order of their sets and dictionaries: OOF, test predictions and submission."""
    package("xgboost")
    package("catboost")
    both, processes = [], []
    for seed in ("1", "2"):
        made = make_small(tmp_path / seed, n_rows=300)
        for number, model in KINDS_OF_MODELS.items():
            made.experiment(number, f'features = ["rows", "ratio", "town_size", "te_town"]\nseeds = [1]\n{model}')
        command = [sys.executable, "-c", IN_A_PROCESS, *map(str, KINDS_OF_MODELS)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        both.append(made)
        processes.append(subprocess.Popen(command, cwd=made.workspace.root, env=environment, stderr=subprocess.PIPE))
    for process in processes:
        _, error = process.communicate()
        assert process.returncode == 0, error.decode()
    for number in KINDS_OF_MODELS:
        one, other = (made.open.runs[number] for made in both)
        assert one.oof.height == 240
        assert one.oof.equals(other.oof)
        assert one.test.equals(other.test)
        assert one.submission.read_bytes() == other.submission.read_bytes()
