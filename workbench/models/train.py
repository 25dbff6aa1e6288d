"""Models over targets, folds and seeds, whatever library makes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import TrainingError
from workbench.metrics import BY_DISTANCE, are_grades
from workbench.models.learner import ModelSpec
from workbench.models.records import FoldResult, Parts, Problem, TrainResult
from workbench.models.rounds import Stepwise, train_together
from workbench.models.scoring import rare_class_hint

__all__ = ["class_notes", "train"]


def train(
    problem: Problem,
    spec: ModelSpec,
    seeds: tuple[int, ...],
    *,
    parts: Parts | None = None,
    held: int | None = None,
    context: RunContext = SILENT,
    each_round: Callable[[], None] = lambda: None,
) -> TrainResult:
    """Train one model per target, fold and seed.

    The models of a target and a seed have one number of rounds, where the library stops early and the experiment does
    not have it otherwise: the best of the mean of the folds' curves.

    Parameters
    ----------
    problem : Problem
    spec : ModelSpec
    seeds : tuple of int
    parts : Parts, optional
        Finished folds are taken from there and kept there.
    held : int, optional
        How many folds' rows may be in memory at a time; None for all. It changes nothing but the time.
    context : RunContext
        Told of each model that is trained.
    each_round : callable, optional
        Called after each boosting round, where the library has rounds; what it raises ends the training.

    Raises
    ------
    TrainingError
        When a fold can't be trained (one class only), or the library refuses the parameters.
    """
    _check_classes(problem)
    _check_queries(problem)
    results: list[FoldResult] = []
    folds = range(problem.folds.n_folds)
    total = len(problem.target.columns) * len(seeds) * len(folds)

    def add(result: FoldResult, is_new: bool) -> None:
        results.append(result)
        if is_new:
            context.emit(result.as_event(total - len(results)))

    for index in range(len(problem.target.columns)):
        learner = spec.learner(problem, index)
        learner.each_round = each_round
        stopping = learner.shared_stopping if isinstance(learner, Stepwise) else None
        for seed in seeds:
            if stopping is not None and isinstance(learner, Stepwise):
                train_together(learner, stopping, folds, seed, parts=parts, held=held, done=add)
                continue
            for fold in folds:
                result = parts.load(index, fold, seed) if parts else None
                is_new = result is None
                if result is None:
                    result = learner.fit(fold, seed)
                    if parts:
                        parts.save(result)
                add(result, is_new)
    return _assembled(problem, seeds, tuple(results))


def _check_classes(problem: Problem) -> None:
    """Refuse folds that lack a class, before the first minute is spent."""
    for column in problem.target.columns:
        if column.classes is None:
            continue
        for fold in range(problem.folds.n_folds):
            for side, rows in (
                ("trains", problem.folds.train_rows(fold)),
                ("validates", problem.folds.valid_rows(fold)),
            ):
                present = np.unique(column.values[rows])
                # A multiclass fold may lack a rare class; a binary one without positives can't be scored.
                if len(present) < 2:
                    only = column.classes[int(present[0])] if len(present) else "nothing"
                    raise TrainingError(
                        f"fold {fold} {side} on {len(rows):,} rows that all have {column.name} = {only!r}",
                        hint=rare_class_hint(problem.target, problem.folds),
                    )


def _check_queries(problem: Problem) -> None:
    """Refuse folds that cut a query in two: its rows are ranked among each other, on one side."""
    query = problem.target.query
    if query is None:
        return
    for fold in range(problem.folds.n_folds):
        train, valid = problem.folds.train_rows(fold), problem.folds.valid_rows(fold)
        shared_queries = np.intersect1d(query[train], query[valid])
        if len(shared_queries):
            raise TrainingError(
                f"fold {fold} trains on rows of {len(shared_queries):,} of the {len(np.unique(query[valid])):,} "
                "queries that it validates",
                hint='scheme = "group" under [cv] in competition.toml keeps the rows of a query together',
            )


def class_notes(problem: Problem) -> list[str]:
    """Say which classes a fold validates but does not train on, and which are in no known order where that counts.

    To the first its model gives no probability.
    """
    notes = []
    for column in problem.target.columns:
        for fold in range(problem.folds.n_folds) if column.task == "multiclass" else ():
            train, valid = (
                np.bincount(column.values[rows].astype(np.int64), minlength=column.width)
                for rows in (problem.folds.train_rows(fold), problem.folds.valid_rows(fold))
            )
            notes += [
                f"fold {fold} validates {valid[c]:,} rows with {column.name} = {(column.classes or ())[c]!r}, and "
                "trains on none"
                for c in np.flatnonzero((train == 0) & (valid > 0))
            ]
        if column.task == "multiclass" and problem.metric.name in BY_DISTANCE and not are_grades(column.classes or ()):
            order = ", ".join(map(repr, (column.classes or ())[:6])) + (", …" if column.width > 6 else "")
            notes.append(
                f"{problem.metric.name} takes the classes of {column.name} for grades in the order of the alphabet "
                f"({order}): where theirs is another, the score is wrong; write them as whole numbers"
            )
    return notes


def _assembled(problem: Problem, seeds: tuple[int, ...], results: tuple[FoldResult, ...]) -> TrainResult:
    n_rows, width = problem.target.n_rows, problem.target.width
    n_test = problem.matrix.n_test
    seed_oof = np.full((len(seeds), n_rows, width), np.nan)
    test = np.zeros((n_test, width))
    for result in results:
        where = problem.target.slices[result.target]
        seed_oof[seeds.index(result.seed), problem.folds.valid_rows(result.fold), where] = result.oof
        test[:, where] += result.test
    return TrainResult(seed_oof.mean(axis=0), test / (len(seeds) * problem.folds.n_folds), seed_oof, results)
