"""Choosing columns: what is kept, what is dropped, and that a list gives exactly its columns."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small import Small, make_small
from workbench.analysis.selection import (
    EliminationStep,
    ListRequest,
    SelectionOptions,
    column_groups,
    features_with_columns,
    importance_by_gain,
    importance_by_permutation,
    select,
)
from workbench.analysis.selection.elimination import next_groups, smallest_good
from workbench.analysis.selection.groups import GROUPINGS, with_columns
from workbench.analysis.selection.importance import models_of, scored
from workbench.analysis.selection.methods import p_above_zero
from workbench.analysis.selection.options import options_of
from workbench.analysis.selection.orders import shuffled_order
from workbench.api import library
from workbench.api.features import SelectOptions
from workbench.cli import main
from workbench.core.cache import lock
from workbench.core.context import SILENT, RunContext
from workbench.core.errors import BusyError, ConfigError, FeatureError, NotFoundError, WorkbenchError
from workbench.data.workspace import create_workspace
from workbench.experiments.feature_list import FeatureList, read_list, write_list
from workbench.experiments.held_out import only_fold, without_last_fold
from workbench.experiments.ready import ReadyExperiment, ready
from workbench.experiments.spec import read_spec
from workbench.features import build_matrix
from workbench.ledger import Ledger
from workbench.models.lightgbm.shuffling import FoldModels, shuffled_gains
from workbench.models.scoring import fold_scores, score
from workbench.models.target import Target
from workbench.models.train import train
from workbench.rehearsal import RehearsalSpec, create

CODE = """
import polars as pl
from workbench.features import ROW, feature, target_mean


@feature
def pair(rows):
    return rows.select(ROW, sum=pl.col("a") + pl.col("b"), noise=pl.col("n0") * pl.col("n1"))


@feature
def b_copy(rows):
    return rows.select(ROW, one=pl.col("n2") - pl.col("n3"), other=pl.col("n3") * pl.col("n4"))


@feature
def chain(rows):
    n0, n1 = pl.col("n0"), pl.col("n1")
    return rows.select(ROW, last=n0 + n1 / 2, first=n0, middle=n0 + n1 / 4, still=pl.lit(1.0))


te_town = target_mean("town", smoothing=5)
te_noise = target_mean("noise_code", smoothing=5)
small = target_mean(["town"], ["noise_code"], smoothing=5)
"""
MODEL = "[model]\nlearning_rate = 0.15\nnum_leaves = 7\nnum_iterations = 30\nnum_threads = 1\nmin_data_in_leaf = 10\nbagging_fraction = 0.8\nbagging_freq = 1\nfeature_fraction = 0.7\n"
ALL = 'seeds = [1, 2]\nfeatures = ["rows", "pair", "te_town", "te_noise"]\ndrop = ["noise_code", "household"]\n'
ONE_SEED = ALL.replace("seeds = [1, 2]\n", "")
NOISE = {"small", "n0", "n1", "n2", "n3", "n4", "noise", "te_noise"}


def host(root: Path, task: str = "binary", metric: str = "auc", n_rows: int = 700) -> Small:
    """A competition of which it is known what matters: b, a + b and the town; a copy of b; the rest is noise."""
    rng = np.random.default_rng(5)
    a, b, town = rng.normal(size=n_rows), rng.normal(size=n_rows), rng.integers(0, 20, n_rows)
    signal = a + 2.0 * b + 2.0 * rng.normal(size=20)[town] + rng.normal(scale=0.5, size=n_rows)
    y: Any = {
        "binary": (signal > 0).astype(np.int64),
        "regression": signal,
        "multiclass": np.array(["low", "mid", "high"])[np.digitize(signal, [-1.5, 1.5])],
        "noise": rng.integers(0, 2, n_rows),
    }[task]
    frame = pl.DataFrame(
        {
            "id": np.arange(n_rows),
            "a": a.round(6),
            "b": b.round(6),
            "b_copy": (2 * b).round(6),
            "small": rng.integers(0, 4, n_rows),
            "town": [f"town {t}" for t in town],
            "noise_code": [f"code {c}" for c in rng.integers(0, 20, n_rows)],
            "household": rng.integers(0, n_rows // 5, n_rows),
            **{f"n{i}": rng.normal(size=n_rows).round(6) for i in range(5)},
            "y": y,
        }
    )
    workspace = create_workspace(root)
    (root / "source").mkdir()
    frame.write_csv(root / "source" / "all.csv")
    create(
        root,
        "case",
        RehearsalSpec(train=root / "source" / "all.csv", targets=("y",), metric=metric, holdout=0.1, after=None),
    )
    library.fetch("case", where=workspace)
    made = Small(workspace, "case")
    made.definition("folds = 5", "folds = 3")
    (made.folder / "features.py").write_text(CODE)
    made.experiment(1, ALL + MODEL)
    return made


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A binary competition that tests read and don't change, except for lists of their own name."""
    made = host(tmp_path_factory.mktemp("case"))
    made.open.run(1)
    return made


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Small]:
    return lambda **options: host(tmp_path / "own", **options)


def kept(selection: Any) -> set[str]:
    return {j.group.name for j in selection.judged if j.keep}


def experiment_of(made: Small, number: int = 1) -> Any:
    return ready(made.workspace, made.open.access.competition, number)


class TestMethods:
    @pytest.mark.parametrize("method", ["permutation", "null"])
    @pytest.mark.parametrize(
        ("task", "metric"), [("binary", "auc"), ("regression", "rmse"), ("multiclass", "mlogloss")]
    )
    def test_signal_is_kept_and_noise_is_dropped(self, tmp_path: Path, method: str, task: str, metric: str) -> None:
        made = host(tmp_path, task, metric)
        made.experiment(1, ONE_SEED + MODEL)
        found = made.open.features.select(
            1, SelectOptions(method, holdout=False, **{"shuffles": 9} if method == "null" else {"repeats": 3})
        )
        assert kept(found) >= {"sum", "te_town"}
        assert len(kept(found) & NOISE) <= 1  # a noise column passes now and then
        assert "te_noise" not in found.features
        sign = 1 if found.greater_is_better else -1
        assert sign * (found.after.mean - found.before.mean) > -0.05 * abs(found.before.mean)
        assert [n.partition(":")[0] for n in found.notes] == ["selected on these folds"]

    def test_what_no_model_uses_is_no_better_than_when_it_is_shuffled(self, tmp_path: Path) -> None:
        """Its gain is 0 either way: as many as there are reach it."""
        made = host(tmp_path, "binary", "auc")
        path = made.folder / "features.py"
        path.write_text(
            path.read_text() + "\n\n@feature\ndef still(rows):\n    return rows.select(ROW, still=pl.lit(1.0))\n"
        )
        made.experiment(1, ONE_SEED.replace("features = [", 'features = ["still", ') + MODEL)
        found = made.open.features.select(1, SelectOptions("null", shuffles=5, holdout=False))
        (judged,) = [j for j in found.judged if j.group.name == "still"]
        assert (judged.importance, judged.more["p"], judged.keep) == (0.0, 1.0, False)

    def test_a_copy_shares_its_importance_and_judged_as_one_it_has_all(self, case) -> None:
        made = experiment_of(case)
        together = next(g for g in column_groups(made, "correlated") if "b" in g.columns)
        assert set(together.columns) >= {"b", "b_copy"}
        assert all(len(set(g.columns) & NOISE) <= 1 for g in column_groups(made, "correlated"))
        single = {g.name: g for g in column_groups(made)}
        models = models_of(made)
        judged, _ = importance_by_permutation(
            made, models, [single["b"], single["b_copy"], together], SelectionOptions("permutation"), SILENT
        )
        assert judged[2].importance > 1.5 * max(judged[0].importance, judged[1].importance)

    @pytest.mark.parametrize("by", ["column", "feature"])
    def test_permutation_is_its_plain_definition(self, case, by: str) -> None:
        """Each model predicts a copy of its fold's rows in which some columns are shuffled."""
        made = experiment_of(case)
        options = SelectionOptions("permutation", repeats=2, by=by, seed=3)
        groups = column_groups(made, by)
        assert ("pair" in {g.name for g in groups}) == (by == "feature")
        judged, _ = importance_by_permutation(made, models_of(made), groups, options, SILENT)
        problem, run = made.problem, made.finished
        losses = np.zeros((problem.folds.n_folds, 2, len(groups)))
        for fold in range(problem.folds.n_folds):
            rows = problem.folds.valid_rows(fold)
            extra = problem.matrix.learned(problem.target.columns, 0, problem.split).frame(fold)
            frame = problem.matrix.train[rows].hstack(extra[rows])
            boosters = [lgb.Booster(model_str=run.models[f"t0-f{fold}-s{seed}"]) for seed in (1, 2)]

            def plain(frame: pl.DataFrame, rows: Any = rows, boosters: Any = boosters) -> float:
                predicted = np.mean([b.predict(frame, num_threads=1) for b in boosters], axis=0)
                return score(problem.target, rows, predicted[:, None], problem.metric)

            whole = plain(frame)
            assert whole == run.record.fold_scores[fold]
            for repeat in range(2):
                order = np.random.default_rng([3, fold, repeat]).permutation(len(rows))
                for i, group in enumerate(groups):
                    shuffled = frame.with_columns(frame.select(group.columns)[order])
                    losses[fold, repeat, i] = whole - plain(shuffled)
        assert [j.importance for j in judged] == losses.mean(axis=(0, 1)).tolist()
        assert [j.spread for j in judged] == pytest.approx(losses.std(axis=(0, 1)).tolist())
        assert np.count_nonzero(losses.mean(axis=(0, 1))) > len(groups) / 2

    def test_noise_passes_no_more_often_than_the_p_value_says(self) -> None:
        """Where a score and its shuffled ones are alike, whatever the folds' own spread is."""
        rng = np.random.default_rng(0)
        for drawn in (rng.normal, rng.exponential):
            scores = drawn(size=(1500, 3, 6)) * rng.uniform(0.5, 2, size=(1500, 1, 1))
            p = np.array([p_above_zero(own[:, :1] - own[:, 1:]) for own in scores])
            assert (p <= 0.05).mean() <= 0.065
            assert (p <= 0.5).mean() == pytest.approx(0.5, abs=0.04)
        assert p_above_zero(np.array([[0.1, 0.11], [0.5, 0.51], [0.02, 0.03]])) < 0.002
        assert p_above_zero(np.zeros((3, 5))) == 1.0
        # Two groups a fold change places or not: no order is rarer than one in (1 + repeats) to the folds.
        assert p_above_zero(np.full((3, 4), 0.1)) == pytest.approx(5.0**-3)

    @pytest.mark.parametrize("n_shapes", [1, 12])
    def test_folds_that_confirm_each_other_are_no_independent_witnesses(self, n_shapes: int) -> None:
        """Each fold's model has learned from the others what a column of noise and the target have in common there."""
        rng, passed = np.random.default_rng(1), 0
        for _ in range(2000):
            common = rng.normal(size=(5, n_shapes))
            learned = common.sum(axis=0) - common
            shuffled = rng.normal(size=(5, 5, n_shapes))
            losses = (learned * common).sum(axis=1)[:, None] - (learned[:, None] * shuffled).sum(axis=2)
            passed += p_above_zero(losses) <= 0.01
        assert passed <= 32  # 20 are promised; with independent folds' variance twelve shapes give 70

    def test_pieces_give_what_the_whole_gives(self, case) -> None:
        made = experiment_of(case)
        texts = {(0, s): made.finished.models[f"t0-f1-s{s}"] for s in (1, 2)}
        whole = FoldModels(made.problem, made.model, 1, texts)
        pieces = FoldModels(made.problem, made.model, 1, texts, chunk_bytes=5000)
        order = np.random.default_rng(0).permutation(len(whole.rows))
        for columns in (["sum"], ["te_town", "b"], []):
            assert np.array_equal(whole.predict(columns, order), pieces.predict(columns, order))
        # What was shuffled is put back.
        assert np.array_equal(whole.predict(), pieces.predict())
        mask = made.finished.oof["fold"].to_numpy() == 1
        assert whole.predict() == pytest.approx(made.finished.oof_array[mask], abs=1e-12)

    def test_shuffled_gains_are_those_of_a_training_with_that_target(self, case) -> None:
        made = experiment_of(case)
        order_of = shuffled_order(made, 0)
        problem, order = made.problem, order_of(4)
        gains = shuffled_gains(problem, made.model, [(4, 0, 1), (4, 2, 1)], order_of, rounds=lambda _target, _fold: 30)
        (column,) = problem.target.columns
        shuffled = replace(problem, target=Target((replace(column, values=column.values[order]),)))
        plain = train(shuffled, replace(made.model, patience=0), (1,))
        for at, fold in enumerate((0, 2)):
            expected = {name: gain for name, (gain, _) in plain.parts[fold].importance.items()}
            assert gains[at] == pytest.approx(expected, rel=1e-6)
        assert gains[0]["te_town"] > 0

    def test_a_target_of_noise_is_said_to_be_one(self, tmp_path: Path) -> None:
        made = host(tmp_path, "noise", n_rows=400)
        made.experiment(1, ONE_SEED + MODEL)
        for method, options in (("null", {"shuffles": 9}), ("permutation", {"repeats": 2})):
            said = []
            try:
                said += made.open.features.select(1, SelectOptions(method, holdout=False, **options)).notes
            except FeatureError as exc:
                said.append(exc.message)
            assert "look like noise" in said[0] or "do not trust this list" in said[0]

    def test_gain_keeps_its_share(self, case) -> None:
        found = case.open.features.select(1, SelectOptions("gain", share=0.8, holdout=False, name="gain-share"))
        gains = np.array([j.importance for j in found.judged])
        cut = int((np.cumsum(gains) < 0.8 * gains.sum()).sum()) + 1
        assert [j.keep for j in found.judged] == [i < cut for i in range(len(gains))]
        importance = case.open.runs[1].importance
        assert found.judged[0].importance == pytest.approx(importance["gain"].max(), rel=1e-5)

    @pytest.mark.parametrize("by", GROUPINGS)
    def test_a_feature_with_the_name_of_a_column_is_judged_by_itself(self, case, by: str) -> None:
        text = 'features = ["rows.b", "rows.b_copy", "b_copy", "rows.small", "small"]\n'
        case.experiment(24, text + MODEL)
        made = experiment_of(case, 24)
        groups, models = column_groups(made, by), models_of(made)
        case.open.access.competition.paths.experiment(24).unlink()
        assert len({g.name for g in groups}) == len(groups)
        assert sorted(c for g in groups for c in g.columns) == sorted(
            ["b", "b_copy", "one", "other", "small", "small_town", "small_noise_code"]
        )
        gain = {
            c: np.mean([of_model[c][0] for of_model in models.importance.values()]) for c in models.importance[0, 1]
        }
        expected = {g.name: sum(gain[c] for c in g.columns) for g in groups}
        of_folds = [
            [sum(of_columns[c][0] for c in g.columns) for g in groups] for of_columns in models.importance.values()
        ]
        judged = importance_by_gain(models, groups, SelectionOptions("gain", by=by))
        assert {j.group.name: j.importance for j in judged} == pytest.approx(expected)
        assert [j.spread for j in judged] == pytest.approx(np.std(of_folds, axis=0))
        assert {"feature": "rows.b_copy", "column": "b_copy", "correlated": "b + 1"}[by] in expected
        assert expected["rows.small"] < expected["small"] / 2

    def test_the_top_columns(self, case) -> None:
        found = case.open.features.select(1, SelectOptions("gain", top=np.int64(3), holdout=False, name="gain-top"))
        assert [j.keep for j in found.judged] == [True] * 3 + [False] * (len(found.judged) - 3)

    def test_with_and_without_a_finished_run_it_is_the_same(self, case) -> None:
        made = experiment_of(case)
        read, trained = models_of(made), models_of(replace(made, finished=None))
        of_seeds: dict[tuple[int, int], list[int]] = {}
        for model in json.loads((case.open.runs[1].folder / "run.json").read_text())["models"]:
            of_seeds.setdefault((model["target"], model["fold"]), []).append(model["rounds"])
        assert read.rounds == {at: round(np.mean(rounds)) for at, rounds in of_seeds.items()}
        assert read.importance == trained.importance
        assert read.score.folds == trained.score.folds
        assert read.rounds == trained.rounds


class TestGroups:
    def test_columns_that_run_together_stand_where_the_first_does_and_are_named_by_it(self, case) -> None:
        case.experiment(25, 'features = ["te_town", "rows.n2", "rows.b", "chain", "rows.b_copy"]\n' + MODEL)
        groups = column_groups(experiment_of(case, 25), "correlated")
        case.open.access.competition.paths.experiment(25).unlink()
        assert [(g.name, g.columns) for g in groups] == [
            ("n2", ("n2",)),
            ("b + 1", ("b", "b_copy")),
            # The first of a chain runs with the last only by way of what is between them.
            ("last + 2", ("last", "first", "middle")),
            ("still", ("still",)),
            ("te_town", ("te_town",)),
        ]


class TestShuffles:
    def test_targets_stay_in_their_fold(self, case) -> None:
        made = experiment_of(case)
        valid = made.problem.folds.valid
        order = shuffled_order(made, 0)(1)
        assert sorted(order) == list(range(len(valid)))
        assert (valid[order] == valid).all()
        assert (order != np.arange(len(valid))).mean() > 0.9
        assert not np.array_equal(order, shuffled_order(made, 0)(2))

    def test_groups_stay_together(self, tmp_path: Path) -> None:
        made = host(tmp_path, n_rows=500)
        made.definition('scheme = "stratified"', 'scheme = "group"\ngroup = "household"')
        found = experiment_of(made)
        household = made.open.tables["train"].collect()["household"].to_numpy()
        order = shuffled_order(found, 0)(0)
        valid = found.problem.folds.valid
        assert (valid[order] == valid).all()
        givers = [set(household[order[household == h]]) for h in np.unique(household)]
        assert all(len(of) == 1 for of in givers)  # all rows of a household get the targets of one
        assert len(set.union(*givers)) == len(givers)


class TestElimination:
    def test_the_search_keeps_the_signal(self, case) -> None:
        found = case.open.features.select(1, SelectOptions("rfe", step=0.3, trials=6, name="rfe-signal"))
        assert {"sum", "te_town"} <= kept(found)
        assert len(kept(found)) < len(found.judged) - 3
        assert found.held_out is not None
        steps = json.loads((case.folder / "selections" / "rfe-signal.steps.json").read_text())["steps"]
        assert 2 <= len(steps) <= 7
        problem = with_columns(
            without_last_fold(experiment_of(case).problem), [c for j in found.judged if j.keep for c in j.group.columns]
        )
        made = experiment_of(case)
        assert scored(made, problem, made.model)[1].folds == found.after.folds

    def test_it_goes_on_where_it_was_killed(self, case) -> None:
        case.experiment(23, 'features = ["rows.a", "rows.n0", "rows.n1", "rows.n2", "pair", "te_town"]\n' + MODEL)
        whole = case.open.features.select(23, SelectOptions("rfe", trials=5, step=0.3, name="rfe-whole", holdout=False))
        code = (
            "from workbench.api import library\n"
            "from workbench.api.features import SelectOptions\n"
            f"c = library.competition('case', where=library.workspace({str(case.workspace.root)!r}))\n"
            "c.features.select(23, SelectOptions('rfe', trials=5, step=0.3, name='rfe-killed', holdout=False))\n"
        )
        runner = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
        path = case.folder / "selections" / "rfe-killed.steps.json"
        until = time.monotonic() + 60
        while time.monotonic() < until and runner.poll() is None:
            if path.exists() and len(json.loads(path.read_text())["steps"]) >= 2:
                break
            time.sleep(0.005)
        runner.send_signal(signal.SIGKILL)
        runner.communicate(timeout=60)
        finished = json.loads(path.read_text())["steps"]
        assert not (case.folder / "selections" / "rfe-killed.toml").exists()
        found = case.open.features.select(
            23, SelectOptions("rfe", trials=5, step=0.3, name="rfe-killed", holdout=False)
        )
        case.open.access.competition.paths.experiment(23).unlink()
        assert f"resumed from {len(finished)} finished steps" in found.notes[0]
        assert json.loads(path.read_text())["steps"][: len(finished)] == finished
        assert (found.features, found.after.folds) == (whole.features, whole.after.folds)
        assert [j.importance for j in found.judged] == [j.importance for j in whole.judged]

    def test_more_of_it_replaces_its_own_list(self, case) -> None:
        case.experiment(25, 'features = ["rows.a", "rows.n0", "rows.n1", "rows.n2", "rows.n3", "te_town"]\n' + MODEL)
        for trials in (1, 2):
            found = case.open.features.select(25, SelectOptions("rfe", trials=trials, name="rfe-more", holdout=False))
            assert f"the number of trials is reached after {trials} smaller lists: with more" in " ".join(found.notes)
        assert found.notes[0] == "resumed from 2 finished steps in rfe-more.steps.json"
        with pytest.raises(ConfigError, match="was made from something else"):
            case.open.features.select(25, SelectOptions("rfe", trials=2, step=0.5, name="rfe-more", holdout=False))
        case.open.access.competition.paths.experiment(25).unlink()

    def test_it_keeps_its_time(self, own, monkeypatch) -> None:
        """By a clock that goes on by a tenth of a second with each look at it, however busy the machine is."""
        now = 0.0

        def tick() -> float:
            nonlocal now
            now += 0.1
            return now

        made = own(n_rows=600)
        made.experiment(1, ALL + MODEL.replace("= 30", "= 3000") + "early_stopping_round = 0\n")
        with monkeypatch.context() as patch, pytest.raises(ConfigError, match="before all columns were scored once"):
            patch.setattr(time, "perf_counter", tick)
            made.open.features.select(1, SelectOptions("rfe", minutes=0.25))
        assert 12 < now < 15, "all of it would take a thousand seconds by this clock"
        made.experiment(1, ALL + MODEL)
        made.open.run(1)
        now = 0.0
        with monkeypatch.context() as patch:
            patch.setattr(time, "perf_counter", tick)
            found = made.open.features.select(1, SelectOptions("rfe", minutes=1, step=0.05))
        assert re.search(r"the time is over after [1-9] smaller lists", " ".join(found.notes)), (now, found.notes)
        assert 30 < now < 60, "all of it would take 97"
        assert found.features

    @given(st.data())
    @settings(max_examples=60)
    def test_the_search_ends_and_is_never_empty(self, data) -> None:
        names = tuple(f"g{i}" for i in range(data.draw(st.integers(2, 12))))
        share = data.draw(st.floats(0.05, 0.95))
        numbers = st.floats(0, 1)

        def step(groups: tuple[str, ...]) -> EliminationStep:
            gains = {g: data.draw(numbers) for g in groups}
            return EliminationStep(groups, tuple(data.draw(st.tuples(numbers, numbers, numbers))), gains, gains)

        steps = [step(names)]
        better = data.draw(st.booleans())
        while (groups := next_groups(steps, share, greater_is_better=better)) is not None:
            assert 1 <= len(groups) < len(names)
            assert set(groups) < set(names)
            steps.append(step(groups))
            assert len(steps) < 60
        chosen, best = smallest_good(steps, greater_is_better=better)
        assert 1 <= len(chosen.groups) <= len(best.groups)

    def test_what_is_worse_is_left(self) -> None:
        def step(groups: str, score: float) -> EliminationStep:
            gains = {g: float(i + 1) for i, g in enumerate(groups)}
            return EliminationStep(tuple(groups), (score, score + 0.1, score + 0.2), gains, gains)

        steps = [step("abcdefgh", 0.7)]
        tried = []
        for mean in (0.71, 0.5, 0.72):
            groups = next_groups(steps, 0.5, greater_is_better=True)
            assert groups is not None
            tried.append("".join(groups))
            steps.append(step(tried[-1], mean))
        # A half of the eight; of these again a half, which is worse, so one less; then the list of two is known.
        assert tried == ["efgh", "gh", "fgh"]
        assert next_groups(steps, 0.5, greater_is_better=True) is None
        chosen, best = smallest_good(steps, greater_is_better=True)
        assert chosen == best == steps[3]


class TestLists:
    @given(st.data())
    @settings(max_examples=25)
    def test_a_list_gives_exactly_its_columns(self, case, data) -> None:
        made = whole_of(case)
        groups = column_groups(made)
        chosen = data.draw(st.sets(st.sampled_from(groups), min_size=1))
        columns = [c for g in groups if g in chosen for c in g.columns]
        features = features_with_columns(made, columns)
        matrix = build_matrix(made.blocks, features)
        assert [*matrix.frame.columns, *(c.feature.name for c in matrix.fold_columns)] == columns

    def test_whole_features_are_named_whole(self, case) -> None:
        made = whole_of(case)
        assert features_with_columns(made, ["sum", "noise"]) == ("pair",)
        assert features_with_columns(made, ["sum", "a"]) == ("rows.a", "pair.sum")
        everything = [c for g in column_groups(made) for c in g.columns]
        features = features_with_columns(made, everything)
        assert features[-3:] == tuple(made.spec.features[1:])
        # The experiment drops some of the columns of the rows.
        assert len(features[:-3]) == 10
        assert not {f"rows.{name}" for name in made.spec.drop} & {*features}
        assert "rows" not in features

    def test_an_experiment_takes_a_list(self, own) -> None:
        made = own(n_rows=400)
        made.experiment(1, ALL.replace("drop", 'categorical = ["small"]\ndrop') + MODEL)
        made.open.run(1)
        found = made.open.features.select(1, SelectOptions("gain", top=5, holdout=False))
        assert found.name == "001-gain"
        assert "rows.small" not in found.features
        made.experiment(2, 'base = 1\nfeatures = "001-gain"\n')
        outcome = made.open.runs.execute(2)
        columns = [c for j in found.judged if j.keep for c in j.group.columns]
        assert sorted(outcome.run.importance["column"]) == sorted(columns)
        assert outcome.run.record.fold_scores == pytest.approx(found.after.folds)
        assert outcome.run.record.changes[0] == "features 4 listed -> 001-gain"
        assert "categorical: 'small' is not in the list '001-gain', which dropped it" in outcome.notes
        source = outcome.run.folder / "source" / "001-gain.toml"
        assert source.read_bytes() == found.path.read_bytes()
        assert made.open.runs.execute(2).how == "unchanged"
        # The list's content is what counts: a title does not, a column does.
        text = found.path.read_text()
        found.path.write_text(text.replace("title = ", 'title = "mine" # '))
        assert made.open.runs.execute(2).how == "unchanged"
        found.path.write_text(
            text.replace('    "te_town",\n', "").replace("features = [\n", 'features = [\n    "rows.n4",\n')
        )
        assert made.open.runs.execute(2).how == "new"
        # Two that build on it.
        assert 'features = "001-gain"' in made.open.experiments.new(source=2).read_text()
        made.experiment(4, 'base = 2\ndrop = ["n4"]\n')
        assert read_spec(made.open.access.competition, 4).feature_list == "001-gain"
        assert "n4" not in made.open.run(4).importance["column"]
        made.experiment(5, 'base = 2\nfeatures = ["pair"]\n')
        assert read_spec(made.open.access.competition, 5).changes == ("features 001-gain -> 1 listed",)

    def test_fold_features_alone_are_enough(self, case) -> None:
        write_list(case.folder / "selections" / "towns.toml", FeatureList(("te_town",)))
        case.experiment(22, 'features = "towns"\n' + MODEL)
        assert case.open.run(22).importance["column"].to_list() == ["te_town"]
        case.open.access.competition.paths.experiment(22).unlink()

    def test_what_the_list_does_not_know_is_still_an_error(self, case) -> None:
        path = case.folder / "selections" / "byhand.toml"
        write_list(path, FeatureList(("rows.a", "rows.b")))
        case.experiment(20, 'features = "byhand"\ncategorical = ["smal"]\n' + MODEL)
        with pytest.raises(NotFoundError, match="categorical: no column 'smal'"):
            case.open.run(20)
        case.experiment(21, 'features = "byhnd"\n' + MODEL)
        with pytest.raises(NotFoundError, match=r"021.toml: features = 'byhnd' names a feature list") as caught:
            case.open.run(21)
        assert "did you mean 'byhand'?" in caught.value.hint
        for text, message in (
            ("features = []\n", "features"),
            ('features = ["rows", "rows"]\n', "lists 'rows' more than once"),
            ('features = ["rows"]\nfeature = 1\n', "unknown key 'feature'"),
        ):
            path.write_text(text)
            case.experiment(20, 'features = "byhand"\n' + MODEL)
            with pytest.raises(ConfigError, match=message):
                read_spec(case.open.access.competition, 20)
        for number in (20, 21):
            case.open.access.competition.paths.experiment(number).unlink()
        path.unlink()

    words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)

    @given(words, st.lists(words, min_size=1, unique=True), st.dictionaries(words, st.floats(allow_nan=False)))
    @settings(max_examples=60)
    def test_a_list_is_read_as_it_was_written(
        self, tmp_path_factory, title: str, features: list[str], table: Any
    ) -> None:
        path = tmp_path_factory.mktemp("lists") / "x.toml"
        kept_table = {name: {"gain": value, "with": title} for name, value in table.items()}
        write_list(path, FeatureList(tuple(features), title, {"experiment": 1, "top": True}, {}, kept_table, {}, {}))
        read = tomllib.loads(path.read_text(encoding="utf-8"))
        assert read["features"] == features
        assert read["title"] == title
        assert read.get("kept", {}) == kept_table

    @pytest.mark.parametrize("threads", [2, None])
    def test_the_threads_reach_the_model(self, case, threads: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[int | None] = []

        def refuse(*_: object, context: RunContext, **__: object) -> NoReturn:
            read.append(context.threads)
            raise FeatureError("enough")

        monkeypatch.setattr(sys.modules["workbench.analysis.selection.select"], "ready", refuse)
        with pytest.raises(FeatureError, match="enough"):
            case.open.features.select(1, SelectOptions("gain", name="threads", threads=threads))
        assert read == [threads]

    def test_another_list_is_not_replaced(self, case) -> None:
        found = case.open.features.select(1, SelectOptions("gain", holdout=False, name="mine"))
        again = case.open.features.select(1, SelectOptions("gain", holdout=False, name="mine"))  # the same again
        assert again.features == found.features
        with pytest.raises(ConfigError, match="already exists, and was made from something else"):
            case.open.features.select(1, SelectOptions("gain", holdout=False, name="mine", top=2))
        found.path.write_text(found.path.read_text().replace('    "te_town",\n', ""))
        with pytest.raises(ConfigError, match="was written or edited by hand"):
            case.open.features.select(1, SelectOptions("gain", holdout=False, name="mine"))
        assert case.open.features.select(
            1, SelectOptions("gain", holdout=False, name="mine", top=2, force=True)
        ).features
        read = read_list(case.open.access.competition, "mine")
        assert read.made["parameters"]["top"] == 2
        assert read.made["run"] == case.open.runs[1].record.run_id
        assert len(read.kept) == 2


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "options", "error", "message"),
        [
            ("permutaton", {}, ConfigError, "did you mean 'permutation'"),
            ("gain", {"shuffles": 3}, ConfigError, "--shuffles goes with --method null, got --method gain"),
            ("null", {"minutes": 3}, ConfigError, "--minutes goes with --method rfe"),
            ("null", {"percentile": 101}, ConfigError, "--percentile 101: expected a number from 0 to 100"),
            ("permutation", {"repeats": 1}, ConfigError, "--repeats 1: expected a whole number of at least 2"),
            ("rfe", {"step": 1.0}, ConfigError, "--step 1.0: expected a share"),
            ("gain", {"by": "colum"}, ConfigError, "did you mean 'column'"),
            ("gain", {"name": "a/b"}, ConfigError, "can't name a feature list"),
            ("gain", {"sample": 2.0}, ConfigError, "--sample 2.0"),
            ("null", {"percentile": 100.0, "shuffles": 1, "seed": -1}, ConfigError, "--seed -1"),
            ("gain", {"top": "a"}, ConfigError, "--top a: expected a whole number of at least 1"),
            ("gain", {"top": 2.5}, ConfigError, "--top 2.5: expected a whole number"),
            ("gain", {"share": True}, ConfigError, "--share True: expected a share"),
            ("gain", {"by": ["column"]}, ConfigError, "--by ['column'] is unknown"),
            ("gain", {"holdout": "no"}, ConfigError, "--holdout 'no': expected True or False"),
            (7, {}, ConfigError, "--method 7 is unknown"),
        ],
    )
    def test_what_is_wrong_is_explained(
        self, case, method: Any, options: dict[str, Any], error: type[WorkbenchError], message: str
    ) -> None:
        with pytest.raises(error) as caught:
            case.open.features.select(1, SelectOptions(method, **options))
        assert message in str(caught.value)

    def test_experiments_that_have_no_choice(self, case) -> None:
        case.experiment(30, 'features = ["rows.a"]\n' + MODEL)
        with pytest.raises(ConfigError, match=r"has 1 column to choose from \(a\)"):
            case.open.features.select(30, SelectOptions("gain"))
        case.experiment(30, 'features = ["rows.a"]\n')
        with pytest.raises(ConfigError, match="no table selects the kind"):
            case.open.features.select(30, SelectOptions("gain"))
        case.open.access.competition.paths.experiment(30).unlink()
        with pytest.raises(NotFoundError, match="has no experiment 99"):
            case.open.features.select(99, SelectOptions("gain"))

    def test_two_at_once(self, case) -> None:
        with (
            lock(case.open.access.competition.paths.runs / ".select-busy.lock", "a list"),
            pytest.raises(BusyError, match="the feature list 'busy' is in use"),
        ):
            case.open.features.select(1, SelectOptions("gain", name="busy"))


NOISE_FEATURES = """
import numpy as np
import polars as pl
from workbench.features import ROW, feature


@feature
def noise(rows):
    keys = rows.select(ROW).collect()
    made = np.random.default_rng(3).normal(size=(keys.height, 100))
    return keys.hstack(pl.DataFrame(made, [f"z{i}" for i in range(100)])).lazy()
"""


class TestScores:
    def test_a_list_is_scored_on_rows_that_it_was_chosen_without(self, case) -> None:
        found = case.open.features.select(1, SelectOptions("gain", top=4, name="held-out"))
        assert found.held_out is not None
        assert found.optimistic == "selected on these folds"
        stored = read_list(case.open.access.competition, "held-out").scores
        assert stored["held_out_after"]["folds"] == list(found.held_out[1].folds)
        assert stored["optimistic"] == found.optimistic
        # As the last fold's own model would be, with rounds that the others chose.
        made = experiment_of(case)
        problem = only_fold(with_columns(made.problem, [c for j in found.judged if j.keep for c in j.group.columns]), 2)
        assert np.array_equal(problem.folds.valid_rows(0), made.problem.folds.valid_rows(2))
        assert np.array_equal(problem.folds.train_rows(0), made.problem.folds.train_rows(2))
        model = replace(made.model, rounds=found.after.rounds[0], patience=0)
        assert scored(made, problem, model)[1].folds == found.held_out[1].folds

    def test_each_target_has_its_own_rounds_on_the_rows_held_out(self, tmp_path: Path) -> None:
        small = make_small(tmp_path, task="two", metric="rmse", n_rows=300)
        small.experiment(
            1, 'features = ["rows.x", "rows.z", "te_town"]\n[model]\nlearning_rate = 0.1\nnum_leaves = 5\n'
        )
        found = small.open.features.select(1, SelectOptions("gain", top=2))
        first, second = found.after.rounds
        assert second > 1.5 * first
        made = ready(small.workspace, small.open.access.competition, 1)
        problem = only_fold(with_columns(made.problem, [c for j in found.judged if j.keep for c in j.group.columns]), 4)
        assert found.held_out is not None
        targets = [replace(made.model, rounds=n, patience=0).learner(problem, i) for i, n in enumerate((first, second))]
        oof = np.full((problem.target.n_rows, 2), np.nan)
        oof[problem.folds.valid_rows(0)] = np.hstack([learner.fit(0, 1).oof for learner in targets])
        assert fold_scores(problem.target, problem.folds, oof, problem.metric) == found.held_out[1].folds

    @pytest.mark.parametrize("method", ["gain", "permutation", "null", "rfe"])
    def test_the_held_out_target_changes_nothing_in_the_choice(self, own, method: str, monkeypatch) -> None:
        made = own(n_rows=300)
        experiment = experiment_of(made)
        last = experiment.problem.folds.valid_rows(2)
        column = experiment.problem.target.columns[0]
        values = column.values.copy()
        values[last] = 1 - values[last]
        target = replace(experiment.problem.target, columns=(replace(column, values=values),))
        options = options_of(method, {"null": {"shuffles": 5}, "rfe": {"trials": 2}}.get(method, {}))
        chosen = []
        for at, problem in enumerate((experiment.problem, replace(experiment.problem, target=target))):
            changed = replace(experiment, problem=problem)
            with monkeypatch.context() as patch:
                patch.setattr(sys.modules[select.__module__], "ready", lambda *_, changed=changed, **__: changed)
                found = select(
                    made.workspace, made.open.access.competition, 1, options, request=ListRequest(name=f"steps-{at}")
                )
            chosen.append([(j.group.name, j.importance, j.keep) for j in found.judged])
        assert chosen[0] == chosen[1]

    def test_folds_in_time_hold_out_the_newest(self, own) -> None:
        made = own(n_rows=400)
        made.definition('scheme = "stratified"', 'scheme = "time"\ncolumn = "household"')
        made.experiment(1, 'features = ["rows.a", "pair", "te_town", "te_noise"]\n' + MODEL)
        assert made.open.features.select(1, SelectOptions("null", shuffles=6)).held_out is not None

    def test_two_folds_are_too_few(self, own) -> None:
        made = own(n_rows=300)
        made.definition("folds = 3", "folds = 2")
        found = made.open.features.select(1, SelectOptions("gain", top=3))
        assert found.held_out is None
        assert found.optimistic == "selected on these folds"
        assert "too few folds" in found.notes[-1]

    def test_the_best_of_noise_are_no_better_on_rows_held_out(self, own) -> None:
        made = own(n_rows=800)
        (made.folder / "features.py").write_text(NOISE_FEATURES)
        made.experiment(1, 'features = ["noise"]\n' + MODEL)
        found = made.open.features.select(1, SelectOptions("permutation", top=10))
        assert found.held_out is not None
        assert found.after.mean > 0.55
        assert found.optimistic
        assert abs(found.held_out[1].mean - 0.5) < 0.1

    def test_a_quick_try(self, case) -> None:
        found = case.open.features.select(
            1, SelectOptions("permutation", sample=0.5, repeats=2, name="sampled", by="feature")
        )
        assert (
            read_list(case.open.access.competition, "sampled").made["rows"]
            == experiment_of(case).problem.target.n_rows // 2
        )
        assert found.run_id is None
        assert found.held_out is not None

    def test_no_run_comes_of_it(self, case) -> None:
        case.open.features.select(1, SelectOptions("gain", sample=0.3, name="quiet", holdout=False))
        with Ledger.open(case.workspace.ledger) as ledger:
            assert all(r.sample is None for r in ledger.runs("case"))


class TestCommand:
    def wb(self, case: Small, monkeypatch: Any, capsys: Any, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(case.folder)
        with pytest.raises(SystemExit) as ended:
            main(["select", *arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def test_one_document(self, case, monkeypatch, capsys) -> None:
        arguments = ("--exp", "1", "--method", "gain", "--top", "4", "--name", "json", "--json")
        code, out, _ = self.wb(case, monkeypatch, capsys, *arguments)
        document = json.loads(out)
        assert code == 0
        assert document["features"] == list(read_list(case.open.access.competition, "json").features)
        assert [c["keep"] for c in document["columns"]][:5] == [True] * 4 + [False]
        assert document["held_out"]["after"]["folds"]
        assert document["optimistic"] == "selected on these folds"
        code, out, _ = self.wb(case, monkeypatch, capsys, "--exp", "1", "--method", "gian", "--json")
        assert code == 1
        assert json.loads(out)["error"]["hint"] == "did you mean 'gain'?"

    def test_a_table(self, case, monkeypatch, capsys) -> None:
        arguments = ("--exp", "1", "--repeats", "2", "--by", "feature", "--name", "shown", "--threads", "1")
        code, out, err = self.wb(case, monkeypatch, capsys, *arguments)
        assert code == 0, err
        lines = out.splitlines()
        assert lines[0].split() == ["column", "loss", "spread", "p"]
        assert {"keep", "drop"} == {line.split()[-1] for line in lines[1 : lines.index("")]}
        assert "on rows held out" in out
        assert "optimistic: selected on these folds" in out
        assert 'features = "shown"' in out


_WHOLE: dict[Path, ReadyExperiment] = {}


def whole_of(made: Small) -> ReadyExperiment:
    """Read once for all examples of a property."""
    if made.folder not in _WHOLE:
        _WHOLE[made.folder] = experiment_of(made)
    return _WHOLE[made.folder]
