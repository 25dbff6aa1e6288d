"""Validation by folds of users: those of the last window are scored by models of the others, for short logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.models.folds import kfold
from workbench.recommender.candidate_features import PreparedWindow
from workbench.recommender.problem import RecommenderProblem
from workbench.recommender.ranker import (
    ListModel,
    Lists,
    RankerSpec,
    RankerTraining,
    RowSplit,
    TrainingRows,
    join_rows,
    train_folds,
)
from workbench.recommender.scoring import WindowEvaluation, has_each_list
from workbench.recommender.window_steps import WindowSteps, require_hits, scored_window
from workbench.recommender.windows import Window, take_users

__all__ = ["UserFolds"]


@dataclass(frozen=True)
class _EarlierWindow:
    """The training rows of a window before the validation window, and the codes of its users."""

    rows: TrainingRows
    users: npt.NDArray[np.int32]


@dataclass(frozen=True)
class _FoldRows:
    """The rows that the models of all folds share.

    Attributes
    ----------
    fold : int array (n,)
        The fold of each row's user; -1 for a user who is not in the validation window.
    may_stop : bool array (n,)
        The rows that stop the models of other users early.
    is_stopping_only : bool array (n,)
        Those of them that no model is trained on.
    """

    rows: TrainingRows
    fold: npt.NDArray[Any]
    may_stop: npt.NDArray[np.bool_]
    is_stopping_only: npt.NDArray[np.bool_]

    def split(self, fold: int, n_folds: int) -> RowSplit:
        """Return the split for the model that scores a fold; with a single fold nobody is held out."""
        is_of_fold = (self.fold == fold) & (n_folds > 1)
        is_excluded = np.where(self.may_stop, self.is_stopping_only & ~is_of_fold, is_of_fold)
        return RowSplit(is_of_fold & self.may_stop, is_excluded)

    @property
    def stopping(self) -> dict[str, Any]:
        """The entry of `run.json` on the rows for early stopping; they have all negatives."""
        users = self.rows.users[self.may_stop]
        return {"by": "users of each fold", "users": len(np.unique(users)), "candidates": len(users), "negatives": 1.0}


class UserFolds:
    """Scores the last window by folds of its users, each by models that were trained on the others."""

    def __init__(self, steps: WindowSteps) -> None:
        self.steps = steps

    @property
    def trainings(self) -> list[str]:
        """The names of the trainings, which are the lists; empty without a ranker."""
        return self.steps.model_names if self.steps.spec.ranker is not None else []

    def train(self, training: str) -> dict[str, ListModel]:
        """Train the models of one list, those of all folds and that of all users, and return them by name."""
        earlier = self._earlier_windows()
        prepared = self.steps.prepare_validation()
        return self._train(prepared, _split_users(prepared.window, self.steps.problem), earlier, [training])

    def evaluate(self) -> WindowEvaluation:
        """Score the window, and train the models that are not stored, also those of all users."""
        # Before the validation window is made, so that their memory is free by then.
        earlier = self._earlier_windows()
        prepared = self.steps.prepare_validation()
        fold_by_user = _split_users(prepared.window, self.steps.problem)
        recall, perfect_lists = self.steps.measure_recall(prepared)
        if prepared.features is None:
            lists = self.steps.recommend(prepared, ())
            return WindowEvaluation(
                [scored_window(prepared.window, lists, perfect_lists, recall)], {}, (), [fold_by_user]
            )
        models = self._train(prepared, fold_by_user, earlier, self.steps.model_names)
        with self.steps.timer(f"lists of {prepared.name}"):
            lists = self._rank_by_fold(prepared, fold_by_user, models)
        scored = scored_window(prepared.window, lists, perfect_lists, recall)
        return WindowEvaluation([scored], models, prepared.features.feature_names, [fold_by_user])

    def _earlier_windows(self) -> list[_EarlierWindow]:
        """Return the training rows of the windows before the validation window; none if all models are stored."""
        ranker = self.steps.spec.ranker
        n_earlier = ranker.windows - 1 if ranker is not None else 0
        if not n_earlier or self.steps.load_models([*range(self.steps.problem.folds), "all"])[1]:
            return []
        windows = []
        # The earliest first, which shows at once whether the log is long enough.
        for horizons_back in range(n_earlier, 0, -1):
            prepared = self.steps.prepare_validation(horizons_back)
            windows.append(_EarlierWindow(self.steps.training_rows(prepared), prepared.window.users))
            del prepared
        return windows

    def _train(
        self,
        prepared: PreparedWindow,
        fold_by_user: npt.NDArray[Any],
        earlier: list[_EarlierWindow],
        list_names: Sequence[str],
    ) -> dict[str, ListModel]:
        """Return the models of some lists, of all folds and of all users; the missing ones are trained."""
        steps, folds = self.steps, np.unique(fold_by_user)
        models, is_complete = steps.load_models([*folds, "all"], list_names)
        if is_complete:
            return models
        fold_rows = self._fold_rows(prepared, fold_by_user, earlier)
        n_models = len(list_names) * (len(folds) + 1)
        # The folds of a list are trained alternately, each in several steps.
        shares = dict.fromkeys(models, 1.0)

        def report(name: str, share: float) -> None:
            shares[name] = max(share, shares.get(name, 0.0))
            steps.timer.share(sum(shares.values()) / n_models)

        rounds_per_fold = steps.spec.ranker is not None and steps.spec.ranker.rounds == "per fold"
        with steps.timer("training"):
            for list_name in list_names:
                number = steps.model_names.index(list_name)
                training = partial(RankerTraining, fold_rows.rows, number, steps.lightgbm, seed=steps.settings.seed)
                fold_by_name = {f"{list_name}-{fold}": fold for fold in folds}
                trainings: dict[str, RankerTraining] = {}
                # The number of rounds is shared: the models of a list are either all trained or all loaded.
                is_missing = any(name not in models for name in fold_by_name)
                for name, fold in fold_by_name.items() if is_missing else ():
                    split = fold_rows.split(fold, len(folds))
                    require_hits(fold_rows.rows, number, split, f"{list_name}, users outside fold {fold}")
                    trainings[name] = training(split, progress=partial(report, name))
                for name, model in train_folds(trainings, rounds_per_fold=rounds_per_fold):
                    report(name, 1.0)
                    if name not in models:  # else it is identical
                        models[name] = replace(model, stopping=fold_rows.stopping)
                        steps.settings.model_store.save(name, models[name])
                if (all_name := f"{list_name}-all") not in models:
                    n_rounds = round(np.mean([models[name].rounds for name in fold_by_name]))
                    split = RowSplit(is_excluded=fold_rows.is_stopping_only)
                    models[all_name] = training(split, progress=partial(report, all_name)).fit(n_rounds)
                    steps.settings.model_store.save(all_name, models[all_name])
        return models

    def _fold_rows(
        self, prepared: PreparedWindow, fold_by_user: npt.NDArray[Any], earlier: list[_EarlierWindow]
    ) -> _FoldRows:
        """Return the rows of all windows, the validation window's first; empties `earlier`, to free memory."""
        n_users = len(prepared.window)
        fold_by_code = np.full(len(self.steps.problem.log.users), -1)
        fold_by_code[prepared.window.users] = fold_by_user
        folds = [fold_by_user, *(fold_by_code[window.users] for window in earlier)]
        parts = [self.steps.training_rows(prepared), *(window.rows for window in earlier)]
        earlier.clear()
        n_train_users = sum(part.n_users for part in parts)
        # If models are trained on all candidates, the same rows serve for early stopping.
        trains_on_all = (self.steps.spec.ranker or RankerSpec()).negatives == 1
        if not trains_on_all:
            parts.append(self.steps.stopping_rows(prepared))
            folds.append(fold_by_user)
        rows = join_rows(parts)
        is_stopping_only = rows.users >= n_train_users
        may_stop = rows.users < n_users if trains_on_all else is_stopping_only
        return _FoldRows(rows, np.concatenate(folds)[rows.users], may_stop, is_stopping_only)

    def _rank_by_fold(
        self, prepared: PreparedWindow, fold_by_user: npt.NDArray[Any], models: Mapping[str, ListModel]
    ) -> Lists:
        """Return the lists of the validation users, each by models that were not trained on them."""
        steps, task, n_users = self.steps, self.steps.problem.task, len(prepared.window)
        items = np.full((n_users, len(task.lists), task.k), -1, np.int32)
        scores = np.full(items.shape, np.nan, np.float32)
        for fold in np.unique(fold_by_user):
            rows = np.flatnonzero(fold_by_user == fold)
            prepared_fold = replace(prepared, window=take_users(prepared.window, rows))
            fold_models = [models[f"{list_name}-{fold}"] for list_name in steps.model_names]
            progress = partial(steps.timer.share_of, float((fold_by_user < fold).mean()), len(rows) / n_users)
            lists = steps.rank(prepared_fold, fold_models, progress)
            items[rows], scores[rows] = lists.items, lists.scores
        return Lists(items, scores)


def _split_users(window: Window, problem: RecommenderProblem) -> npt.NDArray[Any]:
    """Return the fold of each user: the most folds, at least two, that all have ground truth of each list."""
    # A fold needs a user.
    n_folds = min(problem.folds, len(window))
    if n_folds < 2:
        return np.zeros(len(window), int)
    fold_by_user = kfold(len(window), n_folds, problem.folds_seed).valid
    while n_folds > 2 and not has_each_list(window.truth or (), fold_by_user):
        n_folds -= 1
        fold_by_user = kfold(len(window), n_folds, problem.folds_seed).valid
    return fold_by_user
