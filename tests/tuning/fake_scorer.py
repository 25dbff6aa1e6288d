"""A scorer that trains nothing, and the clock that it puts on: what a search does is seen without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from workbench.core.context import RunContext
from workbench.core.events import Event, SearchProgress
from workbench.models.lightgbm.fold_scorer import Fidelity, FoldScore, TrialPrunedError

__all__ = ["Call", "Clock", "Scorer", "search_context"]


def search_context(progress: Callable[[SearchProgress], None], threads: int | None = None) -> RunContext:
    """Return a context in which a function is called with each progress of a search."""

    def listen(event: Event) -> None:
        if isinstance(event, SearchProgress):
            progress(event)

    return RunContext((listen,), threads=threads)


@dataclass
class Clock:
    now: float = 0.0


@dataclass(frozen=True)
class Call:
    """What a scorer was asked for, and when."""

    leaves: int
    parameters: dict[str, Any]
    fold: int
    seed: int
    fidelity: Fidelity
    is_watched: bool
    keep_oof: bool
    rounds: tuple[int, ...] | None
    at: float


@dataclass
class Scorer:
    """Stands in for a `FoldScorer`: what a fold gives, and how long it takes, is computed."""

    clock: Clock
    n_folds: int = 5
    n_train: int = 4_000
    grows: int = 0
    """Train rows that each fold has more than the one before."""
    n_valid: int = 1_000
    parameters: dict[str, Any] = field(default_factory=dict)
    patience: int = 50
    rounds: int = 1_000
    per_fold: bool = True
    greater: bool = True
    cost: Callable[[Call], float] = lambda _: 1.0
    """Seconds."""
    value: Callable[[Call], float] = lambda call: 0.9 - abs(call.leaves - 20) / 100 + call.fold / 1000
    best_rounds: Callable[[Call], int] = lambda _: 100
    curves: Callable[[Call], tuple[dict[int, float], ...]] = lambda _: ()
    cut: Callable[[Call], int | None] = lambda _: None

    def __post_init__(self) -> None:
        self.calls: list[Call] = []
        self.each_round: Callable[[], None] = lambda: None
        self.stopping_metric = SimpleNamespace(greater_is_better=self.greater)

    @property
    def spec(self) -> Any:
        return SimpleNamespace(
            parameters=self.parameters, patience=self.patience, rounds=self.rounds, rounds_per_fold=self.per_fold
        )

    @property
    def problem(self) -> Any:
        n = self.n_folds * self.n_valid
        folds = SimpleNamespace(
            n_folds=self.n_folds,
            train_rows=lambda k: range(self.n_train + k * self.grows),
            valid_rows=lambda k: np.arange(k * self.n_valid, (k + 1) * self.n_valid),
        )
        metric = SimpleNamespace(greater_is_better=self.greater)
        return SimpleNamespace(metric=metric, folds=folds, target=SimpleNamespace(n_rows=n, width=1))

    def score(
        self,
        parameters: dict[str, Any],
        fold: int,
        seed: int,
        fidelity: Fidelity,
        *,
        watch: Callable[[int, float], bool] | None = None,
        keep_oof: bool = False,
    ) -> FoldScore:
        rounds = fidelity.exact_rounds
        leaves = parameters.get("num_leaves", 31)
        now = self.clock.now
        call = Call(leaves, parameters, fold, seed, fidelity, watch is not None, keep_oof, rounds, now)
        self.calls.append(call)
        self.clock.now += self.cost(call)
        self.each_round()
        value = self.value(call)
        if watch is not None:
            for done in range(10, 110, 10):
                if watch(done, value):
                    raise TrialPrunedError
        oof = np.full((self.n_valid, 1), value) if keep_oof else None
        chosen = rounds or (self.best_rounds(call),)
        curves = () if rounds else self.curves(call)
        return FoldScore(value, chosen, self.cost(call), oof, self.cut(call), curves)

    @property
    def quick(self) -> list[Call]:
        return [c for c in self.calls if c.is_watched]

    @property
    def full(self) -> list[Call]:
        """Those for full scores: what is timed comes before the first quick score."""
        begun = next((n for n, c in enumerate(self.calls) if c.is_watched), 0)
        return [c for c in self.calls[begun:] if not c.is_watched and c.rounds is None and c.seed == 1]
