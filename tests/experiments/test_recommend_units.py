"""Units of work of recommenders: another process trains the same models, and a run continues from them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.habit_log import make_habit_log
from workbench.api import library
from workbench.core.context import RunContext
from workbench.core.errors import ConfigError, DataError
from workbench.core.events import Event, StageStarted
from workbench.data.workspace import Workspace, create_workspace
from workbench.experiments.recommend_run import RunModels, make_recommend_plan, read_problem, settings_of
from workbench.experiments.recommend_units import RankerUnit, ranker_units, rounds_by_list
from workbench.experiments.spec import read_spec
from workbench.experiments.work_units import run_units
from workbench.platforms.interactions import InteractionsSpec
from workbench.recommender import ListModel, recommend
from workbench.recommender.windows import history_frame
from workbench.rehearsal import LogSpec, create

DAY = 86_400
LOG = InteractionsSpec(
    "user", "item", "time", 7 * DAY, kind="kind", id="{user}_{kind}", weights={"carts": 0.4, "orders": 0.6}
)
EXPERIMENT = """
[recommend]
candidates = 30
[recommend.history]
recent = { decay = "14d" }
[recommend.popular]
top = 10
[recommend.ranker]
model = { num_iterations = 15, num_leaves = 7, min_data_in_leaf = 20, early_stopping_round = 3 }
"""
THREADS = RunContext(threads=1)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a log; tests add experiments."""
    folder = tmp_path_factory.mktemp("shop")
    history_frame(make_habit_log(150, 80)).sort("time", "user", "item").write_parquet(folder / "log.parquet")
    workspace = create_workspace(folder)
    create(folder, "shop", LogSpec(folder / "log.parquet", LOG, metric="recall@5"))
    library.fetch("shop", where=workspace)
    return workspace


def write(workspace: Workspace, number: int, text: str) -> Any:
    competition = library.competition("shop", where=workspace).access.competition
    (competition.folder / "experiments" / f"{number:03d}.toml").write_text(text)
    return competition


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["windows", "users"])
def test_a_pool_of_one_process_trains_the_models_of_a_run(workspace: Workspace, tmp_path: Path, scheme: str) -> None:
    competition = write(workspace, 2, EXPERIMENT)
    definition = competition.folder / "competition.toml"
    original = definition.read_text()
    definition.write_text(original.replace("folds = 5", f'scheme = "{scheme}"\nfolds = 5'))
    try:
        models = dict[str, ListModel]()
        units = ranker_units(workspace, competition, 2, context=THREADS)
        if scheme == "windows":
            assert [unit.training for unit in units] == ["rounds"]
            (models_of_rounds,) = run_units(units)
            models |= models_of_rounds
            units = ranker_units(workspace, competition, 2, rounds=rounds_by_list(models), context=THREADS)
        for trained in run_units([RankerUnit(**json.loads(json.dumps(asdict(u)))) for u in units]):
            models |= trained
        competition = library.competition("shop", where=workspace).access.competition
        plan = make_recommend_plan(competition, read_spec(competition, 2), sample=None, threads=1)
        problem, events = read_problem(plan), list[Event]()
        (tmp_path / "here").mkdir()
        alone = recommend(problem, plan.model.recommender, settings_of(plan, RunModels(tmp_path / "here")))
        store = RunModels(tmp_path / "elsewhere")
        for name, model in models.items():
            store.save(name, model)
        continued = recommend(
            problem, plan.model.recommender, settings_of(plan, store), context=RunContext((events.append,))
        )
    finally:
        definition.write_text(original)
    assert alone.validation.scheme == scheme
    assert models == alone.models == continued.models
    assert continued.score == alone.score
    # Nothing is trained again.
    assert [e.name for e in events if isinstance(e, StageStarted) and e.name.startswith("training")] == []


def test_a_unit_of_another_experiment_is_refused(workspace: Workspace) -> None:
    competition = write(workspace, 3, EXPERIMENT)
    (unit,) = ranker_units(workspace, competition, 3)
    assert unit.run()
    write(workspace, 3, EXPERIMENT.replace("num_leaves = 7", "num_leaves = 9"))
    with pytest.raises(DataError, match="experiment 3 of 'shop' in .* is not the one that this work was made from"):
        unit.run()


def test_without_a_ranker_there_are_no_units(workspace: Workspace) -> None:
    competition = write(workspace, 4, EXPERIMENT.split("[recommend.ranker]", maxsplit=1)[0])
    assert ranker_units(workspace, competition, 4) == []


def test_an_experiment_of_another_kind_has_no_ranker(small: Any) -> None:
    made = small()
    made.experiment(1, 'features = ["rows.x"]\n[model]\n')
    with pytest.raises(ConfigError, match=r"a \[model\] experiment has no ranker to train"):
        ranker_units(made.workspace, made.open.access.competition, 1)
