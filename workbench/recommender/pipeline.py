"""A recommender from start to end: candidates, ranker, validation, and the lists of the test users."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import DataError
from workbench.recommender.problem import RecommenderProblem, RecommenderSpec, Settings
from workbench.recommender.ranker import ListModel, Lists
from workbench.recommender.result import RecommenderResult
from workbench.recommender.rolling_windows import RollingWindows
from workbench.recommender.scoring import WindowEvaluation, mean_recall, mean_score, score_folds, score_groups, score_of
from workbench.recommender.stages import StageTimer
from workbench.recommender.user_folds import UserFolds
from workbench.recommender.validation import Validation, choose_validation
from workbench.recommender.window_steps import WindowSteps, with_log_codes
from workbench.recommender.windows import users_by_list, users_of_window

__all__ = ["recommend", "train_models", "trainings"]


def recommend(
    problem: RecommenderProblem,
    spec: RecommenderSpec,
    settings: Settings | None = None,
    *,
    context: RunContext = SILENT,
) -> RecommenderResult:
    """Generate candidates, train a ranker, score windows at the end of the log, and recommend to the test users.

    `choose_validation` decides how windows are scored: each by a ranker that was trained on windows before it, or, if
    the log is too short, the last one by folds of its users. Features of test users come from the same functions as
    those of validation users.

    Parameters
    ----------
    context : RunContext
        Gets an event when a stage begins or ends, and its progress from time to time.

    Raises
    ------
    ConfigError
        When a source or a parameter is invalid.
    DataError
        When the log is too short, or there is nothing to learn from.
    """
    _check_ground_truth(problem, spec)
    steps = WindowSteps(problem, spec, settings or Settings(), StageTimer(context))
    validation = _choose_validation(problem)
    evaluation = _evaluator(steps, validation).evaluate()
    if validation.scheme == "windows":
        folds = score_groups(problem, evaluation.windows)
    else:
        folds = score_folds(problem, evaluation.windows, evaluation.folds)
    windows, list_names = evaluation.windows, problem.task.lists
    scores = [score_of(w.lists.items, w.truth, problem.metric, problem.weights) for w in windows]
    total_score, list_scores = mean_score(scores)
    ceiling, list_ceilings = mean_score(
        [score_of(w.perfect_lists, w.truth, problem.metric, problem.weights) for w in windows]
    )
    return RecommenderResult(
        lists=None if steps.settings.sample else _test_lists(steps, evaluation),
        valid=Lists(
            np.concatenate([w.lists.items for w in windows]), np.concatenate([w.lists.scores for w in windows])
        ),
        valid_users=np.concatenate([w.users for w in windows]),
        valid_fold=np.concatenate(folds.fold_by_user).astype(np.int32),
        valid_window=np.repeat(np.arange(len(windows)), [len(w.users) for w in windows]).astype(np.int32),
        fold_scores=tuple(score for score in folds.scores if not np.isnan(score)),
        score=total_score,
        list_scores=dict(zip(list_names, list_scores, strict=True)),
        recall=mean_recall([w.recall for w in windows]),
        models=evaluation.models,
        features=evaluation.feature_names,
        stages=tuple(steps.timer.stages),
        validation=validation,
        window_scores=tuple(score for score, _ in scores),
        ceiling=ceiling,
        list_ceilings=dict(zip(list_names, list_ceilings, strict=True)),
        stopping=evaluation.stopping,
    )


def trainings(problem: RecommenderProblem, spec: RecommenderSpec, settings: Settings | None = None) -> list[str]:
    """Return the names of the ranker's trainings; empty without a ranker.

    Each can be done by itself (`train_models`), except that with rolling windows the first, "rounds", finds the numbers
    of rounds of all others.
    """
    steps = WindowSteps(problem, spec, settings or Settings(), StageTimer(SILENT))
    return _evaluator(steps, _choose_validation(problem)).trainings


def train_models(
    problem: RecommenderProblem,
    spec: RecommenderSpec,
    training: str,
    settings: Settings | None = None,
    *,
    rounds: Mapping[str, int] | None = None,
    context: RunContext = SILENT,
) -> dict[str, ListModel]:
    """Train the models of one training and return them by name, equal to those of `recommend`.

    It prepares the windows that it needs, which `recommend` shares between trainings.

    Parameters
    ----------
    training : str
        One of `trainings`.
    rounds : mapping, optional
        List -> number of rounds of the models of "rounds".

    Raises
    ------
    ConfigError, DataError
        See `recommend`.
    """
    _check_ground_truth(problem, spec)
    steps = WindowSteps(problem, spec, settings or Settings(), StageTimer(context))
    return _evaluator(steps, _choose_validation(problem), rounds).train(training)


def _choose_validation(problem: RecommenderProblem) -> Validation:
    return choose_validation(problem.log, problem.test_users, problem.task, problem.validation)


def _evaluator(
    steps: WindowSteps, validation: Validation, rounds: Mapping[str, int] | None = None
) -> RollingWindows | UserFolds:
    if validation.scheme == "windows":
        return RollingWindows(steps, validation.windows, rounds)
    return UserFolds(steps)


def _check_ground_truth(problem: RecommenderProblem, spec: RecommenderSpec) -> None:
    """Raise if a list has no ground truth in the windows that the final ranker is trained on."""
    n_windows = spec.ranker.windows if spec.ranker is not None else 0
    log, test_users, task = problem.log, problem.test_users, problem.task
    n_users = np.zeros(len(task.lists), np.int64)
    for horizons_back in range(n_windows):
        n_users += users_by_list(log, test_users, task, horizons_back)
    missing = [list_name for list_name, n in zip(task.lists, n_users, strict=True) if not n]
    # A log that is too short gets a better message where windows are made.
    if n_windows and missing and users_of_window(log, test_users, task):
        windows = "last horizon" if n_windows == 1 else f"last {n_windows} horizons"
        raise DataError(
            f"{', '.join(missing)}: no such events in the {windows} of the log, which the ranker is trained on",
            hint=f"windows = {n_windows + 1} under [recommend.ranker], or a longer horizon",
        )


def _test_lists(steps: WindowSteps, evaluation: WindowEvaluation) -> Lists:
    """Return the lists of the test users."""
    prepared = steps.prepare_test()
    models: list[ListModel] = []
    if prepared.features is not None:
        models = [evaluation.models[f"{list_name}-all"] for list_name in steps.model_names]
    return with_log_codes(steps.recommend(prepared, models), prepared.window.codes)
