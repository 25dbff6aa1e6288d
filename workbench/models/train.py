"""Train models over targets, folds and seeds, with any library."""

from __future__ import annotations

import numpy as np

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import TrainingError
from workbench.core.wording import counted
from workbench.metrics import BY_DISTANCE, are_grades
from workbench.models.learner import ModelSpec
from workbench.models.records import FoldResult, Parts, Problem, TrainResult
from workbench.models.rounds import SharedRoundsLearner, train_with_shared_rounds
from workbench.models.scoring import rare_class_hint
from workbench.models.stopping_metrics import stopping_metric

__all__ = ["class_notes", "train"]


def train(
    problem: Problem,
    spec: ModelSpec,
    seeds: tuple[int, ...],
    *,
    parts: Parts | None = None,
    max_in_memory: int | None = None,
    context: RunContext = SILENT,
) -> TrainResult:
    """Train one model per target, fold and seed.

    With early stopping, the folds of a target and seed share one number of rounds, the best of their mean curve, unless
    the experiment has ``rounds = "per fold"``.

    Parameters
    ----------
    problem : Problem
    spec : ModelSpec
    seeds : tuple of int
    parts : Parts, optional
        Checkpoints: finished folds are loaded from there and saved there.
    max_in_memory : int, optional
        The number of folds that may be in memory at once; None for all. It affects the run time only.
    context : RunContext
        Receives an event for each trained model; `check_stop` is called after each boosting round.

    Raises
    ------
    TrainingError
        When a fold can't be trained (one class only), or the library refuses the parameters.
    """
    _check_classes(problem)
    _check_queries(problem)
    results: list[FoldResult] = []
    folds = range(problem.folds.n_folds)
    n_models = len(problem.target.columns) * len(seeds) * len(folds)

    def add(result: FoldResult, is_new: bool) -> None:
        results.append(result)
        if is_new:
            column = problem.target.columns[result.target]
            context.emit(result.as_event(n_models - len(results), stopping_metric(problem.metric, column.task)))

    for index in range(len(problem.target.columns)):
        learner = spec.learner(problem, index)
        learner.each_round = context.check_stop
        shares_rounds = isinstance(learner, SharedRoundsLearner) and learner.shared_stopping is not None
        if shares_rounds or len(seeds) > 1:
            learner.data.keep_folds(len(folds) if max_in_memory is None else max_in_memory, len(seeds))
        for seed in seeds:
            if isinstance(learner, SharedRoundsLearner) and shares_rounds:
                train_with_shared_rounds(learner, folds, seed, parts=parts, max_in_memory=max_in_memory, on_result=add)
                continue
            for fold in folds:
                result = parts.load(index, fold, seed) if parts else None
                is_new = result is None
                if result is None:
                    result = learner.fit(fold, seed)
                    if parts:
                        parts.save(result)
                add(result, is_new)
    return _combined(problem, seeds, tuple(results))


def _check_classes(problem: Problem) -> None:
    """Reject folds with rows of one class only, before any training."""
    for column in problem.target.columns:
        if column.classes is None:
            continue
        for fold in range(problem.folds.n_folds):
            for verb, rows in (
                ("trains", problem.folds.train_rows(fold)),
                ("validates", problem.folds.valid_rows(fold)),
            ):
                present = np.unique(column.values[rows])
                # A multiclass fold may lack a rare class; a binary one without positives can't be scored.
                if len(present) < 2:
                    only = column.classes[int(present[0])] if len(present) else "nothing"
                    raise TrainingError(
                        f"fold {fold} {verb} on {len(rows):,} rows that all have {column.name} = {only!r}",
                        hint=rare_class_hint(problem.target, problem.folds),
                    )


def _check_queries(problem: Problem) -> None:
    """Reject folds that split a query: its rows are ranked against each other, so they belong on one side."""
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
    """Return notes on classes that a fold validates but does not train on, and on grades whose order is unknown.

    A fold's model gives a class that it was not trained on a probability of 0.
    """
    notes = []
    for column in problem.target.columns:
        for fold in range(problem.folds.n_folds) if column.task == "multiclass" else ():
            train, valid = (
                np.bincount(column.values[rows].astype(np.int64), minlength=column.width)
                for rows in (problem.folds.train_rows(fold), problem.folds.valid_rows(fold))
            )
            notes += [
                f"fold {fold} validates {counted(valid[c], 'row')} with {column.name} = {(column.classes or ())[c]!r}, "
                "and trains on none"
                for c in np.flatnonzero((train == 0) & (valid > 0))
            ]
        if column.task == "multiclass" and problem.metric.name in BY_DISTANCE and not are_grades(column.classes or ()):
            order = ", ".join(map(repr, (column.classes or ())[:6])) + (", …" if column.width > 6 else "")
            notes.append(
                f"{problem.metric.name} takes the classes of {column.name} for grades in the order of the alphabet "
                f"({order}): where theirs is another, the score is wrong; write them as whole numbers"
            )
    return notes


def _combined(problem: Problem, seeds: tuple[int, ...], results: tuple[FoldResult, ...]) -> TrainResult:
    """Put the models' predictions into arrays of all rows: OOF by seed, the mean over models of the test rows."""
    n_rows, width = problem.target.n_rows, problem.target.width
    n_test = problem.matrix.n_test
    seed_oof = np.full((len(seeds), n_rows, width), np.nan)
    test = np.zeros((n_test, width))
    for result in results:
        target_slice = problem.target.slices[result.target]
        seed_oof[seeds.index(result.seed), problem.folds.valid_rows(result.fold), target_slice] = result.oof
        test[:, target_slice] += result.test
    return TrainResult(seed_oof.mean(axis=0), test / (len(seeds) * problem.folds.n_folds), seed_oof, results)
