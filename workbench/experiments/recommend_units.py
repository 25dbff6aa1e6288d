"""Units of work of ``[recommend]`` experiments: the trainings of their rankers; see `work_units`.

The models of a `RankerUnit` are saved in the run's `RunModels`; the run then continues from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import ConfigError, DataError
from workbench.data.competition import Competition, load_competition
from workbench.data.workspace import Workspace
from workbench.experiments.capabilities import capabilities_of
from workbench.experiments.recommend_run import RecommendPlan, make_recommend_plan, read_problem, settings_of
from workbench.experiments.spec import read_spec
from workbench.recommender import ListModel, NoModelStore, RecommenderProblem, train_models, trainings

__all__ = ["RankerUnit", "ranker_units", "rounds_by_list"]

ROUNDS = "rounds"
"""The training that finds the numbers of rounds of all others."""


@dataclass(frozen=True, kw_only=True)
class RankerUnit:
    """One of the trainings of a recommender's ranker, which makes one model or several.

    Attributes
    ----------
    workspace : str
        The workspace's folder.
    competition : str
        Its slug.
    exp : int
    key : str
        The run's key.
    training : str
        See `workbench.recommender.trainings`.
    rounds : dict
        List -> number of rounds, where another training finds it; see `rounds_by_list`.
    sample
        See `RunRequest`.
    threads : int, or None
        See `RunContext`.
    """

    workspace: str
    competition: str
    exp: int
    key: str
    training: str
    rounds: dict[str, int] = field(default_factory=dict)
    sample: float | None = None
    threads: int | None = None

    def run(self) -> dict[str, ListModel]:
        """Train the models and return them by name.

        Raises
        ------
        DataError
            When the workspace's data, code or experiment differ from those that the unit was made from, or there is
            nothing to learn from.
        """
        # Planned for each unit: functions of the competition's code are loaded when they are needed.
        plan = _plan(Workspace(Path(self.workspace)), self.competition, self.exp, self.sample, self.threads)
        if plan.key != self.key:
            raise DataError(
                f"experiment {self.exp} of {self.competition!r} in {self.workspace} is not the one that this work was "
                "made from: its data, code or parameters differ",
                hint="make the units again from the present workspace",
            )
        problem = _read_problem(self.workspace, self.competition, self.exp, self.sample, self.threads, self.key)
        settings = settings_of(plan, NoModelStore())
        return train_models(problem, plan.model.recommender, self.training, settings, rounds=self.rounds)


def ranker_units(
    workspace: Workspace,
    competition: Competition,
    number: int,
    *,
    rounds: Mapping[str, int] | None = None,
    sample: float | None = None,
    context: RunContext = SILENT,
) -> list[RankerUnit]:
    """Return the units of a run of an experiment that can be run now.

    Parameters
    ----------
    number : int
        The experiment's.
    rounds : mapping, optional
        List -> number of rounds. Where the first unit's models find it, that unit is returned alone without it, and the
        others with it; `rounds_by_list` returns it.
    sample
        See `RunRequest`.

    Raises
    ------
    ConfigError, DataError
        When the experiment is of another kind or invalid, or its log is too short.
    """
    plan = _plan(workspace, competition.slug, number, sample, context.threads)
    names = trainings(read_problem(plan), plan.model.recommender, settings_of(plan, NoModelStore()))
    if ROUNDS in names:
        names = [ROUNDS] if rounds is None else [name for name in names if name != ROUNDS]
    return [
        RankerUnit(
            workspace=str(workspace.root),
            competition=competition.slug,
            exp=number,
            key=plan.key,
            training=name,
            rounds=dict(rounds or {}),
            sample=sample,
            threads=context.threads,
        )
        for name in names
    ]


def rounds_by_list(models: Mapping[str, ListModel]) -> dict[str, int]:
    """Return the numbers of rounds of the models of the first unit, by list.

    Examples
    --------
    >>> rounds_by_list({"clicks-rounds": ListModel("", 12, {}), "carts-rounds": ListModel("", 30, {})})
    {'clicks': 12, 'carts': 30}
    """
    return {name.removesuffix(f"-{ROUNDS}"): model.rounds for name, model in models.items()}


def _plan(workspace: Workspace, slug: str, number: int, sample: float | None, threads: int | None) -> RecommendPlan:
    competition = load_competition(workspace, slug)
    spec = read_spec(competition, number)
    if capabilities_of(spec.kind).predicts_rows:
        raise ConfigError(
            f"{spec.path}: a [{spec.kind}] experiment has no ranker to train",
            hint="choose an experiment with [recommend]",
        )
    return make_recommend_plan(competition, spec, sample=sample, threads=threads)


@lru_cache(maxsize=1)  # a process gets many units of one run, and reading the log takes the most time
def _read_problem(
    workspace: str,
    slug: str,
    number: int,
    sample: float | None,
    threads: int | None,
    key: str,  # noqa: ARG001 (another key is of other data)
) -> RecommenderProblem:
    return read_problem(_plan(Workspace(Path(workspace)), slug, number, sample, threads))
