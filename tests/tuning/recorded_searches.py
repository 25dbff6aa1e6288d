"""Whole searches, step by step: which trial is scored on which fold, how and when, and what the study then stores.

`test_search_order.py` holds each situation bit for bit against a stored text. After a change that is meant to search otherwise:
`python -m tests.tuning.recorded_searches`, and read the difference before it is committed.
"""

from __future__ import annotations

import random
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import optuna

from tests.tuning.fake_scorer import Call, Clock, Scorer, search_context
from workbench.core.errors import DataError, TrainingError
from workbench.core.events import SearchProgress
from workbench.models.lightgbm.fold_scorer import FoldScore
from workbench.tuning import (
    Budget,
    Scorers,
    Search,
    SearchOptions,
    StudyKey,
    StudySession,
    open_study,
    parse_space,
)

__all__ = ["FOLDER", "SITUATIONS", "record"]

FOLDER = Path(__file__).parent / "searches"
SPACE = {
    "num_leaves": {"low": 4, "high": 64, "log": True},
    "lambda_l2": {"low": 0.1, "high": 10.0, "log": True},
    "extra_trees": [False, True],
}
PER_PROCESS = ("worker", "seen_at")
"""Of a trial; what a study stores by process is stored by its place."""


class Points(optuna.samplers.BaseSampler):
    """Draws points by Python's own generator: an Optuna that samples otherwise leaves these searches as they are."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def infer_relative_search_space(self, *_: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, *_: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, _study: Any, _trial: Any, _name: str, distribution: Any) -> Any:
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            return self._random.choice(distribution.choices)
        if isinstance(distribution, optuna.distributions.IntDistribution):
            return self._random.randint(distribution.low, distribution.high)
        return round(self._random.uniform(distribution.low, distribution.high), 2)


def score_of(call: Call) -> float:
    """Return a score with a best point, easy and hard folds, and a little of what depends on the seed and the rate."""
    parameters = call.parameters
    distance = abs(call.leaves - 22) / 80 + abs(parameters["lambda_l2"] - 3.0) / 60
    noise = ((call.leaves * 7 + call.fold * 13 + call.seed * 3) % 11) / 900
    return 0.9 - distance - noise + call.fold / 250 + (0.02 if parameters["extra_trees"] else 0.0)


def cost_of(call: Call) -> float:
    """Return seconds: by leaves, by the lower rate, by the later fold."""
    rate = call.fidelity.learning_rate or 0.1
    return (1 + call.leaves / 13) * 0.1 / rate * call.fidelity.row_share * (1 + call.fold / 10)


def duration_of(trial: Any) -> timedelta:
    """Return in place of what a trial really took: about what its folds cost."""
    return timedelta(seconds=len(trial.intermediate_values) * (1 + trial.params["num_leaves"] / 13))


def curve_of(call: Call) -> tuple[dict[int, float], ...]:
    peak = 20 + 10 * (call.leaves % 3)
    return ({n: score_of(call) - abs(n - peak) / 1000 for n in (10, 20, 30, 40)},)


class ManyTargets(Scorer):
    """Stands in for a scorer of several targets: none of their curves is watched."""

    n_targets = 2

    def score(self, *of: Any, watch: Any = None, **options: Any) -> FoldScore:
        whole = super().score(*of, watch=None if watch is None else lambda _round, _best: False, **options)
        rounds = self.calls[-1].rounds
        chosen = whole.rounds if rounds else tuple(whole.rounds[0] + i for i in range(self.n_targets))
        curves = tuple({n + i: value for n, value in whole.curves[0].items()} for i in range(self.n_targets)) if whole.curves else ()  # fmt: skip
        return replace(whole, rounds=chosen, curves=curves)


@dataclass
class Situation:
    """Searches of one study, one after the other."""

    budgets: tuple[Callable[[float], Budget], ...]
    """For each search, by the time at which it begins."""
    scorer: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=lambda: SPACE)
    others: Callable[[Callable[..., Scorer]], Any] | None = lambda scorer: scorer(n_folds=6)
    held_out: bool = True
    kind: type[Scorer] = Scorer
    interrupted_at: tuple[str, ...] = ()
    """For each search the stage at whose beginning it is interrupted, as by Ctrl-C."""
    seed: int = 1


def within(seconds: float, trials: int | None = None) -> Callable[[float], Budget]:
    return lambda now: Budget(now, now + seconds, trials)


def trials(n: int) -> Callable[[float], Budget]:
    return lambda now: Budget(now, None, n)


def failing(call: Call) -> float:
    if call.leaves % 7 == 3:
        raise TrainingError("odd")
    if call.leaves % 7 == 5 and not call.is_watched:
        raise MemoryError("none")
    return score_of(call)


def cut_of(call: Call) -> int | None:
    return 60 + call.fold if call.leaves > 16 and not call.is_watched and call.rounds is None else None


def no_others(_: Any) -> Scorer:
    raise DataError("too few rows")


OWN = {"num_leaves": 31, "lambda_l2": 1.0, "extra_trees": False}
SITUATIONS = {
    "one target": Situation((within(300.0),), {"parameters": OWN}),
    "another seed": Situation((within(150.0),), {"parameters": OWN}, seed=5),
    "large folds": Situation((within(60.0),), {"parameters": OWN, "n_train": 200_000, "n_valid": 50_000}),
    "several targets": Situation(
        (within(300.0),), {"per_fold": False, "curves": curve_of}, {"n_oof_trials": 3}, kind=ManyTargets
    ),
    "one number of rounds": Situation((trials(14),), {"per_fold": False, "curves": curve_of}, {"n_oof_trials": 2}),
    "fixed rounds": Situation(
        (within(120.0),), {"patience": 0, "rounds": 200, "parameters": {"learning_rate": 0.1}}, others=None
    ),
    "less is better": Situation(
        (within(200.0),), {"greater": False, "value": lambda c: 1 - score_of(c), "parameters": OWN}, {"all_folds": True}
    ),
    "a rate that is searched": Situation(
        (within(150.0),), {"parameters": OWN}, space=SPACE | {"learning_rate": {"low": 0.05, "high": 0.3}}
    ),
    "time is short": Situation((within(6.0),), {"parameters": OWN, "cost": lambda c: 0.1 + cost_of(c) / 5}),
    "time is very short": Situation((within(2.0),), {"parameters": OWN, "cost": lambda c: 0.35}),
    "no time for any": Situation((within(2.0),), {"parameters": OWN, "cost": lambda c: 3.0}),
    "cut by the time": Situation((within(100.0), within(400.0)), {"parameters": OWN, "cut": cut_of}),
    "trials that fail": Situation((trials(24),), {"parameters": OWN, "value": failing}),
    "no other folds": Situation((trials(12),), {"parameters": OWN}, others=no_others, held_out=False),
    "trials alone": Situation((trials(14), trials(3)), {"parameters": OWN}),
    "few points": Situation((within(1e4),), {"parameters": OWN | {"num_leaves": 8, "extra_trees": True}}, space={"num_leaves": [8, 16], "lambda_l2": [1.0], "extra_trees": [True]}),
    "goes on": Situation((within(60.0), within(100.0), within(60.0)), {"parameters": OWN}, {"n_oof_trials": 2}),
    "interrupted": Situation(
        (within(100.0),) * 5,
        {"parameters": OWN},
        interrupted_at=("low-fidelity", "full CV", "repeated CV", "holdout", ""),
    ),
}  # fmt: skip


def record(situation: Situation, folder: Path, sampler: Callable[[int], Any] = Points) -> str:
    """Run the searches of a situation; return as text what was scored, what is stored, and what was found."""
    clock, lines, processes = Clock(100.0), [], []

    def scorer(role: str, **more: Any) -> Scorer:
        options = {"value": score_of, "cost": cost_of} | situation.scorer | more
        created = situation.kind(clock, **options)
        if role != "main":
            created.calls = Noted(lines, role)
        return created

    greater = situation.scorer.get("greater", True)
    space = parse_space(situation.space, where="")
    with (
        mock.patch.object(time, "perf_counter", lambda: clock.now),  # noqa: PT008 it goes on
        mock.patch.object(optuna.trial.FrozenTrial, "duration", property(duration_of)),
    ):
        for n, budget in enumerate(situation.budgets):
            with open_study(folder, StudyKey("small-001", {"space": "a"}), greater_is_better=greater) as opened:
                processes.append(opened.worker)
                if sampler is not None:
                    opened.study.sampler = sampler(situation.seed + n)
                stop = (*situation.interrupted_at, *[""] * 9)[n]
                lines.append(f"search {n + 1}, at {clock.now!r}")
                main = scorer("main")
                main.calls = Noted(lines, "main")
                others = situation.others
                scorers = Scorers(
                    main,
                    (lambda: None)
                    if others is None
                    else (lambda others=others: others(lambda **m: scorer("other", **m))),
                    lambda: scorer("held out", n_folds=7) if situation.held_out else None,
                )
                options = SearchOptions(budget(clock.now), **situation.options)
                search = Search(opened, scorers, space, options, search_context(told(lines, stop)))
                with suppress(KeyboardInterrupt):
                    lines += outcome_lines(search.run())
                lines += stored_lines(opened, processes)
    return "\n".join(lines) + "\n"


class Noted(list[Call]):
    """Calls of a scorer, each written down as it comes."""

    def __init__(self, lines: list[str], role: str) -> None:
        super().__init__()
        self._lines, self._role = lines, role

    def append(self, call: Call) -> None:
        super().append(call)
        f = call.fidelity
        how = f"{f.learning_rate} {f.rounds} {f.patience} {f.evaluation_interval} {f.row_share} {f.seconds!r} {call.rounds}"
        flags = ("watched " if call.is_watched else "") + ("oof" if call.keep_oof else "")
        self._lines.append(f"{self._role} {call.parameters} {call.fold}/{call.seed} at {call.at!r}: {how} {flags}")


def told(lines: list[str], stop: str) -> Callable[[SearchProgress], None]:
    """Return what writes the first progress of a stage down; a search says it too often to keep all of it."""
    stages = [""]

    def progress(now: SearchProgress) -> None:
        if stop == now.stage:
            lines.append(f"interrupted at {now.stage}")
            raise KeyboardInterrupt
        if stages[-1] != now.stage:
            stages.append(now.stage)
            lines.append(f"{now.stage}: {now.complete} {now.pruned} {now.failed} {now.best!r} {now.remaining_s!r}")

    return progress


def outcome_lines(outcome: Any) -> Iterator[str]:
    for name in ("best", "initial", "complete", "pruned", "failed", "n_new_trials", "seconds"):
        yield f"{name.replace('initial', 'start')}: {fields_of(getattr(outcome, name))}"
    yield from (f"ranked: {fields_of(one)}" for one in outcome.ranked)
    yield from (f"note: {note}" for note in outcome.notes)


def fields_of(value: Any) -> Any:
    """Return the values of a record: its fields may be renamed."""
    return [*vars(value).values()] if hasattr(value, "__dataclass_fields__") else value


def stored_lines(opened: StudySession, processes: list[str]) -> Iterator[str]:
    """Say what the study and its folder hold, but for what is of the moment or the process."""
    places = {process: f"process {n}" for n, process in enumerate(processes, 1)}
    for key, value in sorted(
        (":".join(places.get(k, k) for k in key.split(":")), v) for key, v in opened.study.user_attrs.items()
    ):
        yield f"stored {key}: {value!r}"
    for t in opened.study.get_trials(deepcopy=False):
        of_trial = {k: v for k, v in t.user_attrs.items() if k not in PER_PROCESS}
        if "curves" in of_trial:
            of_trial["curves"] = zlib.crc32(repr(of_trial["curves"]).encode())
        marks = [t.user_attrs["worker"] in processes, "seen_at" in t.user_attrs] if "worker" in t.user_attrs else []
        point = t.params or t.system_attrs.get("fixed_params")
        values = None if t.value is None else t.value
        yield f"trial {t.number} {t.state.name} {point} {values!r} {dict(t.intermediate_values)} {of_trial} {marks}"
    for path in sorted((opened.folder / "oof").glob("*")):
        with np.load(path) as file:
            yield f"{path.name}: {float(file['value'])!r} {float(file['oof'].sum(dtype=np.float64))!r}"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for title, each in SITUATIONS.items():
        with tempfile.TemporaryDirectory() as temporary:
            (FOLDER / f"{title.replace(' ', '-')}.txt").write_text(record(each, Path(temporary)))
