"""How many threads small tables take, and that results do not change with it; how threads wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small import make_small
from workbench import threads
from workbench.threads import threads_for

SEEN = "import os, {module}; print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize("module", ["workbench", "workbench.training", "workbench.nb"])
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
    from workbench.competition import load_competition
    from workbench.experiment import kinds
    from workbench.experiment.spec import read_spec
    from workbench.training import read_target

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
