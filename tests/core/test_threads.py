"""How many threads small tables take, and that results do not change with it; how threads wait for each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.needs import package
from tests.small import make_small
from workbench.cli.app import wb
from workbench.core import threads
from workbench.core.operating_system import busy_core_seconds
from workbench.core.threads import (
    CoreLoad,
    IdleCores,
    available_cores,
    boosting_threads,
    container_quota,
    cpu_quota,
    set_openmp_spin_count,
    threads_for,
)
from workbench.experiments.ready import ready

SEEN = "import os, {module}; print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize("module", ["workbench", "workbench.models.train", "workbench.nb"])
@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "None")],
)
def test_the_library_has_threads_wait_asleep_as_the_command_does(
    module: str, given: dict[str, str], spins: str
) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} | given
    code = SEEN.format(module=module)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout.strip() == spins


def test_more_values_take_more_threads_up_to_the_cores() -> None:
    taken = [threads_for(rows, 50, cores=8) for rows in (1, 624, 5_000, 20_000, 10**7)]
    assert taken == [1, 1, 1, 4, 8]
    assert threads_for(0, 0, cores=8) == 1


def test_each_thread_has_its_share_of_the_values() -> None:
    each = threads.VALUES_PER_THREAD
    taken = [threads_for(values, 1, cores=3) for values in (each - 1, each, 2 * each - 1, 2 * each, 4 * each)]
    assert taken == [1, 1, 1, 2, 3]
    assert threads_for(10**9, 1) == available_cores()


@pytest.mark.parametrize(
    ("rows", "columns", "n_idle", "n_threads"),
    [
        (250, 79, 8, 1),
        (250, 80, 8, 2),
        (250, 80, 2, 2),
        (250, 80, 1, 1),
        (250, 80, 0, 1),
        (5_000, 99, 8, 2),
        (5_000, 200, 0, 4),
    ],
)
def test_two_threads_boost_a_small_table_if_two_cores_are_idle(
    rows: int, columns: int, n_idle: int, n_threads: int
) -> None:
    assert boosting_threads(rows, columns, cores=8, n_idle=n_idle) == n_threads
    assert boosting_threads(rows, columns, cores=1, n_idle=n_idle) == 1


class TestIdleCores:
    def test_a_core_that_another_process_uses_is_not_idle(self) -> None:
        if CoreLoad.now() is None:
            pytest.skip("not a case: this system does not tell")
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
            time.sleep(0.1)
            try:
                idle = IdleCores().count()
            finally:
                busy.kill()
        assert idle < available_cores()

    def test_the_use_of_this_process_does_not_count(self) -> None:
        earlier, later = CoreLoad(10.0, 500.0, 3.0), CoreLoad(12.0, 503.5, 5.0)
        assert later.n_used_by_others(earlier) == pytest.approx(0.75)
        assert CoreLoad(12.0, 500.5, 5.0).n_used_by_others(earlier) == 0

    def test_a_load_counts_for_some_seconds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now, waited = [CoreLoad(10.0, 0.0, 0.0)], list[float]()

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            now[0] = CoreLoad(now[0].at_s + seconds, now[0].busy_s, now[0].own_s)

        monkeypatch.setattr(CoreLoad, "now", lambda: now[0])
        monkeypatch.setattr(threads, "available_cores", lambda: 4)
        monkeypatch.setattr(threads.time, "sleep", sleep)
        idle = IdleCores()
        now[0] = CoreLoad(11.0, 2.0, 0.0)  # two cores since it was created
        assert (idle.count(), waited) == (2, [])
        now[0] = CoreLoad(12.0, 2.0, 0.0)
        assert (idle.count(), waited) == (2, [])
        now[0] = CoreLoad(60.0, 150.0, 0.0)  # busy in between, which says nothing about the present
        assert (idle.count(), waited) == (4, [threads.MIN_LOAD_S])

    def test_where_the_system_does_not_tell_none_is_idle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threads, "busy_core_seconds", lambda: None)
        assert IdleCores().count() == 0

    def test_the_systems_count_includes_this_process(self) -> None:
        before = busy_core_seconds()
        if before is None:
            pytest.skip("not a case: this system does not tell")
        ends_at = time.process_time() + 0.3
        while time.process_time() < ends_at:
            pass
        assert (busy_core_seconds() or 0) - before >= 0.2


@pytest.mark.parametrize(
    ("texts", "quota"),
    [
        ({}, None),
        ({"cpu.max": ""}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "50000"}, 0.5),
        ({"cpu.max": "150000 100000 7"}, 1.5),
        ({"cpu.max": "0 100000"}, None),
        ({"cpu.max": "50000 0"}, None),
        ({"cpu.max": "50000 x"}, None),
        ({"cpu.cfs_quota_us": "25000\n", "cpu.cfs_period_us": "50000\n"}, 0.5),
        ({"cpu.cfs_quota_us": "200000"}, 2.0),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, None),
        ({"cpu.cfs_period_us": "100000"}, None),
        # Version 2 goes before.
        ({"cpu.max": "max 100000", "cpu.cfs_quota_us": "200000"}, None),
    ],
)
def test_a_groups_quota_is_read(texts: dict[str, str], quota: float | None) -> None:
    assert cpu_quota(texts) == quota


@pytest.mark.parametrize(
    ("group", "file", "counts"),
    [
        ("0::/a/b\n", "a/b/cpu.max", True),
        ("0::/a/b\n", "a/cpu.max", True),
        ("0::/a/b\n", "cpu.max", True),
        ("0::/a:b\n", "a:b/cpu.max", True),
        ("4:cpu:/x\n", "cpu/x/cpu.max", True),
        ("4:cpuacct,cpu:/x\n", "cpuacct,cpu/x/cpu.max", True),
        ("", "cpu/cpu.max", True),
        ("", "cpu,cpuacct/cpu.max", True),
        ("0::/a\n", "../cpu.max", False),
        ("0::/a\n", "b/cpu.max", False),
        ("4:memory:/x\n", "memory/x/cpu.max", False),
        ("4:memory:/x\n", "x/cpu.max", False),
        ("cut short", "cpu.max", True),
    ],
)
def test_only_groups_around_the_process_count(tmp_path: Path, group: str, file: str, counts: bool) -> None:
    root = tmp_path / "cgroup"
    root.mkdir()
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text("50000 100000")
    assert container_quota(root, group) == (0.5 if counts else None)


def test_the_groups_are_those_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cpu.max").write_text("70000 100000")
    texts, real = {"/proc/self/cgroup": "0::/a\n"}, Path.read_text

    def read_text(path: Path, *given: Any) -> str:
        if str(path).startswith("/proc/"):
            if str(path) not in texts:
                raise FileNotFoundError(path)
            return texts[str(path)]
        return real(path, *given)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert container_quota(tmp_path) == 0.7
    texts.clear()
    assert container_quota(tmp_path) is None
    monkeypatch.setattr(os, "sched_getaffinity", {0: {3, 4, 5}}.__getitem__)
    monkeypatch.setattr(threads, "container_quota", lambda: None)
    assert available_cores() == 3


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_wait_asleep_unless_the_environment_says_how(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], spins: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    set_openmp_spin_count()
    assert os.environ.get("GOMP_SPINCOUNT") == spins


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        "[model]\nnum_iterations = 20",
        "[xgboost]\nnum_boost_round = 20",
        "[catboost]\niterations = 20",
        '[sklearn]\nestimator = "sklearn.ensemble.HistGradientBoostingClassifier"\nmax_iter = 20',
    ],
)
def test_predictions_do_not_change_with_the_threads(tmp_path: Path, model: str) -> None:
    small = make_small(tmp_path, n_rows=624)
    small.experiment(5, f'title = "t"\nfeatures = ["rows"]\nseeds = [1]\n{model}\n')
    found = [small.open.run(5, threads=n, force=True).oof for n in (None, 1, 2, 3)]
    for other in found[1:]:
        assert other.equals(found[0])


@pytest.mark.parametrize(
    "model",
    [
        "[catboost]\niterations = 5",
        '[sklearn]\nestimator = "sklearn.ensemble.HistGradientBoostingClassifier"\nmax_iter = 5',
    ],
)
def test_a_run_that_took_all_cores_is_the_run_of_a_small_table(tmp_path: Path, model: str) -> None:
    small = make_small(tmp_path, n_rows=300)
    small.experiment(5, f'title = "t"\nfeatures = ["rows"]\nseeds = [1]\n{model}\n')
    before = small.open.run(5, threads=len(os.sched_getaffinity(0)))
    assert small.open.run(5).record.run_id == before.record.run_id


def test_what_the_user_says_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.data.competition import load_competition
    from workbench.experiments import kinds
    from workbench.experiments.spec import read_spec
    from workbench.models.target import read_target

    small = make_small(tmp_path, n_rows=300)
    small.experiment(5, 'title = "t"\nfeatures = ["rows"]\n[model]\nnum_threads = 3\n')
    small.experiment(6, 'title = "t"\nfeatures = ["rows"]\n[model]\nnum_leaves = 7\n')
    small.experiment(7, 'title = "t"\nfeatures = ["rows"]\n[xgboost]\nmax_depth = 3\n')
    competition = load_competition(small.workspace, small.slug)
    target = read_target(competition)
    monkeypatch.setattr(threads, "VALUES_PER_THREAD", 10)

    def taken(number: int, said: int | None) -> int:
        spec = kinds.model_spec(read_spec(competition, number), competition, target, threads=said)
        return int(spec.parameters.get("num_threads") or spec.parameters["nthread"])  # type: ignore[union-attr]

    assert (taken(5, None), taken(5, 2)) == (3, 2)
    cores = len(os.sched_getaffinity(0))
    assert (taken(6, None), taken(7, None)) == (cores, cores)
    monkeypatch.setattr(threads, "VALUES_PER_THREAD", 10**9)
    assert (taken(6, None), taken(7, None), taken(6, 2), taken(7, 2)) == (1, 1, 2, 2)


SAID = 3
"""Threads that the command is told: more than a small table takes by itself."""


class TestTheModelTakesTheThreadsOfTheCommand:
    """What the library itself was given, in a run of `wb run --threads`."""

    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
        def made(model: str) -> Path:
            small = make_small(tmp_path, n_rows=300)
            small.experiment(5, f'title = "t"\nfeatures = ["rows"]\nseeds = [1]\n{model}\n')
            monkeypatch.chdir(small.workspace.root)
            wb.main(["run", "5", "--threads", str(SAID)], standalone_mode=False)
            (folder,) = (small.folder / "runs").glob("005-*")
            return folder / "models"

        return made

    def test_lightgbm(self, run: Callable[[str], Path]) -> None:
        texts = [p.read_text() for p in run("[model]\nnum_iterations = 3").glob("t0-*.txt")]
        assert len(texts) == 5
        assert all(f"[num_threads: {SAID}]" in text for text in texts)

    def test_xgboost(self, run: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
        xgb = package("xgboost")
        seen, update = [], xgb.Booster.update

        def updated(booster: Any, *given: Any, **more: Any) -> Any:
            found = update(booster, *given, **more)
            seen.append(int(json.loads(booster.save_config())["learner"]["generic_param"]["nthread"]))
            return found

        monkeypatch.setattr(xgb.Booster, "update", updated)
        run("[xgboost]\nnum_boost_round = 3")
        assert seen == [1] + [SAID] * 5 * 3  # the parameters are tried before, on a few rows

    def test_catboost(self, run: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
        catboost = package("catboost")
        seen, fit = [], catboost.CatBoost.fit

        def fitted(model: Any, *given: Any, **more: Any) -> Any:
            seen.append(model.get_params()["thread_count"])
            return fit(model, *given, **more)

        monkeypatch.setattr(catboost.CatBoost, "fit", fitted)
        run("[catboost]\niterations = 3")
        assert seen == [1] + [SAID] * 5  # the parameters are tried before, on a few rows

    def test_scikit_learn(self, run: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """Of an estimator with workers of its own, and of the pools that OpenMP gives to others."""
        from sklearn.ensemble import RandomForestClassifier
        from threadpoolctl import threadpool_info

        seen, fit = [], RandomForestClassifier.fit

        def fitted(model: Any, *given: Any, **more: Any) -> Any:
            pools = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"}
            seen.append((model.n_jobs, pools))
            return fit(model, *given, **more)

        monkeypatch.setattr(RandomForestClassifier, "fit", fitted)
        run('[sklearn]\nestimator = "sklearn.ensemble.RandomForestClassifier"\nn_estimators = 3')
        assert seen == [(SAID, {SAID})] * 5


def test_the_load_of_the_machine_changes_neither_the_key_nor_the_result(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small()
    model = "[model]\nnum_leaves = 7\nnum_iterations = 40\nearly_stopping_round = 5\n"
    made.experiment(1, 'features = ["rows.x", "rows.z", "te_town"]\n' + model)
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    monkeypatch.setattr(threads, "MIN_VALUES_OF_TWO_THREADS", 10)
    results = []
    for n_idle in (0, 2):
        monkeypatch.setattr(threads.IDLE_CORES, "count", lambda n_idle=n_idle: n_idle)
        experiment = ready(made.workspace, made.open.access.competition, 1)
        run = made.open.runs.execute(1, force=True).run
        threads_and_key = experiment.model.parameters["num_threads"], experiment.key  # type: ignore[union-attr]
        results.append((*threads_and_key, run.record.key, run.score, run.oof, run.test))
    busy, idle = results
    assert (busy[0], idle[0]) == (1, 2)
    assert busy[1] == busy[2] == idle[1] == idle[2]
    assert busy[3] == idle[3]
    assert busy[4].equals(idle[4])
    assert busy[5].equals(idle[5])
