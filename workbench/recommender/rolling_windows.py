"""Validation by rolling windows: each window is scored by a ranker that was trained on earlier windows only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workbench.recommender.candidate_features import PreparedWindow
from workbench.recommender.ranker import ListModel, RankerTraining, RowSplit, TrainingRows, join_rows
from workbench.recommender.scoring import ScoredWindow, WindowEvaluation
from workbench.recommender.window_steps import WindowSteps, require_hits, scored_window, window_name
from workbench.recommender.windows import users_by_list

__all__ = ["RollingWindows"]

HELD_OUT_EVERY = 5
"""One user in this many is held out for early stopping if the log has no earlier window for it."""


@dataclass(frozen=True)
class _PlannedModel:
    """A model of each list, and the windows that it is trained on. Windows are numbered from the last, which is 0.

    Attributes
    ----------
    name : str
        "rounds" for the one that finds the number of rounds, "wN" for the one that scores window N, "all" for test.
    trained_at : int
        The model is trained when this window has been prepared, the latest that it needs.
    windows : tuple of int
        The windows to train on; empty to train on a part of the users of `stopping_window`.
    stopping_window : int, optional
        The window for early stopping; None to train the number of rounds of "rounds".
    """

    name: str
    trained_at: int
    windows: tuple[int, ...]
    stopping_window: int | None = None

    @property
    def row_windows(self) -> tuple[int, ...]:
        """The windows whose rows it is trained on."""
        return self.windows or (self.trained_at,)

    @property
    def stopping_windows(self) -> tuple[int, ...]:
        """The window for early stopping, if it has one."""
        return () if self.stopping_window is None else (self.stopping_window,)


class RollingWindows:
    """Scores windows, from the earliest to the last, by models that are trained on earlier ones only.

    The number of rounds comes from a model that is trained on the windows before the one that precedes the first scored
    window, and stopped early by that one. If the log has none before it, the model is trained on most of its users and
    stopped by the others.

    Parameters
    ----------
    n_scored : int
        The number of windows to score.
    rounds : mapping, optional
        The numbers of rounds by list, of models of "rounds" that were trained elsewhere.
    """

    def __init__(self, steps: WindowSteps, n_scored: int, rounds: Mapping[str, int] | None = None) -> None:
        self.steps, self.n_scored, self.rounds = steps, n_scored, dict(rounds or {})
        self.n_trained = steps.spec.ranker.windows if steps.spec.ranker is not None else 0
        self.earliest = self._earliest_window() if self.n_trained else n_scored - 1
        suffixes = [*(f"w{number}" for number in range(n_scored)), "rounds", "all"]
        self.models = steps.load_models(suffixes)[0] if self.n_trained else {}

    @property
    def trainings(self) -> list[str]:
        """The names of the trainings, "rounds" first; empty without a ranker. Each makes a model of each list."""
        return [planned.name for planned in self._planned_models()]

    def train(self, training: str) -> dict[str, ListModel]:
        """Train the models of one training, with windows prepared for it alone, and return them by name.

        Parameters
        ----------
        training : str
            One of `trainings`. All but "rounds" need `rounds`.
        """
        planned = next(model for model in self._planned_models() if model.name == training)
        rows_by_window: dict[int, TrainingRows] = {}
        stopping_rows = None
        for number in sorted({*planned.row_windows, *planned.stopping_windows}, reverse=True):
            prepared = self.steps.prepare_validation(number)
            if number in planned.row_windows:
                rows_by_window[number] = self.steps.training_rows(prepared)
            if number in planned.stopping_windows:
                stopping_rows = self.steps.stopping_rows(prepared)
            del prepared
        self._train(planned, rows_by_window, stopping_rows)
        return {name: self.models[name] for name in self._model_names(planned)}

    def evaluate(self) -> WindowEvaluation:
        """Score the windows, and train the models that are not stored, also the one for test."""
        scored: list[ScoredWindow] = []
        rows_by_window: dict[int, TrainingRows] = {}
        feature_names: tuple[str, ...] = ()
        for number in range(self.earliest, -1, -1):
            pending = self._pending_models(number)
            is_trained_on = any(number in (*model.windows, *model.stopping_windows) for model in pending)
            if number >= self.n_scored and not is_trained_on:
                continue
            prepared = self.steps.prepare_validation(number)
            if number < self.n_scored:
                scored.insert(0, self._score(prepared, number))
            trained_here, stopping_rows = [model for model in pending if model.trained_at == number], None
            if prepared.features is not None:
                feature_names = prepared.features.feature_names
                if is_trained_on:
                    rows_by_window[number] = self.steps.training_rows(prepared)
                    if any(model.stopping_window is not None for model in trained_here):
                        stopping_rows = self.steps.stopping_rows(prepared)
            del prepared
            for model in trained_here:
                self._train(model, rows_by_window, stopping_rows)
            # Rows for the next models stay in memory; until the number of rounds is known, all do.
            for unused in [w for w in rows_by_window if number <= self.n_scored and w > number + self.n_trained - 2]:
                del rows_by_window[unused]
        return WindowEvaluation(scored, self.models, feature_names)

    def _earliest_window(self) -> int:
        """Return the number of the earliest window that models are trained on or stopped by."""
        problem, n_scored = self.steps.problem, self.n_scored
        earliest = max(n_scored, self.n_trained - 1)
        min_users_by_list = np.minimum(users_by_list(problem.log, problem.test_users, problem.task), 1)
        while earliest < n_scored + self.n_trained:
            n_users_by_list = users_by_list(problem.log, problem.test_users, problem.task, earliest + 1)
            # The models that determine the number of rounds train on the earliest window, each on the hits of its list.
            if not n_users_by_list.any() or (earliest == n_scored and (n_users_by_list < min_users_by_list).any()):
                break
            earliest += 1
        return earliest

    def _pending_models(self, number: int) -> list[_PlannedModel]:
        """Return the models that are to be trained at this window or a later one and are not stored."""
        return [
            model
            for model in self._planned_models()
            if model.trained_at <= number and any(name not in self.models for name in self._model_names(model))
        ]

    def _model_names(self, planned: _PlannedModel) -> list[str]:
        return [f"{list_name}-{planned.name}" for list_name in self.steps.model_names]

    def _planned_models(self) -> list[_PlannedModel]:
        """Return all models in the order in which they are trained."""
        if not self.n_trained:
            return []
        n_scored, n_trained, earliest = self.n_scored, self.n_trained, self.earliest
        before_first = tuple(range(n_scored + 1, min(n_scored + n_trained, earliest) + 1))
        planned = [_PlannedModel("rounds", n_scored, before_first, n_scored)]
        for window in range(n_scored - 1, -1, -1):
            before_window = tuple(range(window + 1, min(window + n_trained, earliest) + 1))
            planned.append(_PlannedModel(f"w{window}", window + 1, before_window))
        return [*planned, _PlannedModel("all", 0, tuple(range(n_trained)))]

    def _train(
        self,
        planned: _PlannedModel,
        rows_by_window: Mapping[int, TrainingRows],
        stopping_rows: TrainingRows | None,
    ) -> None:
        """Train a planned model of each list that is not stored, and store it."""
        steps = self.steps
        parts = [rows_by_window[window] for window in planned.row_windows]
        stopping: dict[str, Any] = {}
        if planned.stopping_window is None or stopping_rows is None:
            rows, split = join_rows(parts), RowSplit()
        else:
            is_apart = bool(planned.windows)
            rows, split = _with_stopping_rows(parts, stopping_rows, is_apart=is_apart)
            source = "users of the window" if is_apart else "users held out of the window"
            stopping = _stopping_record(f"{source} {window_name(planned.stopping_window)}", rows, split)
        with steps.timer(f"training, {planned.name}"):
            for list_number, list_name in enumerate(steps.model_names):
                if (name := f"{list_name}-{planned.name}") in self.models:
                    continue
                require_hits(rows, list_number, split, f"{list_name}, {_describe_windows(planned.row_windows)}")
                n_rounds = None if planned.stopping_window is not None else self._rounds_of(list_name)
                training = RankerTraining(
                    rows, list_number, steps.lightgbm, split, seed=steps.settings.seed, progress=steps.timer.share
                )
                self.models[name] = replace(training.fit(n_rounds), stopping=stopping)
                steps.settings.model_store.save(name, self.models[name])

    def _rounds_of(self, list_name: str) -> int:
        return self.rounds.get(list_name) or self.models[f"{list_name}-rounds"].rounds

    def _score(self, prepared: PreparedWindow, number: int) -> ScoredWindow:
        recall, perfect_lists = self.steps.measure_recall(prepared)
        models = [self.models[f"{list_name}-w{number}"] for list_name in self.steps.model_names if self.n_trained]
        return scored_window(prepared.window, self.steps.recommend(prepared, models), perfect_lists, recall)


def _with_stopping_rows(
    parts: list[TrainingRows], stopping_rows: TrainingRows, *, is_apart: bool
) -> tuple[TrainingRows, RowSplit]:
    """Join rows to train on and rows for early stopping, and split them so that no user is in both.

    Parameters
    ----------
    is_apart : bool
        Whether the two are of different windows. Else some of the users are held out for early stopping.
    """
    n_train_users, n_stopping_users = sum(part.n_users for part in parts), stopping_rows.n_users
    rows = join_rows([*parts, stopping_rows])
    is_stopping_row = rows.users >= n_train_users
    stops = np.ones(n_stopping_users, np.bool_) if is_apart else np.arange(n_stopping_users) % HELD_OUT_EVERY == 0
    user_of_window = rows.users - np.where(is_stopping_row, n_train_users, 0)
    is_of_stopping_user = stops[np.minimum(user_of_window, n_stopping_users - 1)]
    is_valid = is_stopping_row & is_of_stopping_user
    is_excluded = is_stopping_row & ~is_of_stopping_user if is_apart else is_stopping_row ^ is_of_stopping_user
    return rows, RowSplit(is_valid, is_excluded)


def _stopping_record(source: str, rows: TrainingRows, split: RowSplit) -> dict[str, Any]:
    """Return the entry of `run.json` on the rows for early stopping; they have all negatives."""
    users = rows.users[split.is_valid]
    return {"by": source, "users": len(np.unique(users)), "candidates": len(users), "negatives": 1.0}


def _describe_windows(numbers: Sequence[int]) -> str:
    """Describe windows by their numbers.

    Examples
    --------
    >>> _describe_windows([0]), _describe_windows([1]), _describe_windows([1, 2])
    ('the last window', 'the window 1 before the last', 'the windows 1, 2 before the last')
    """
    if list(numbers) == [0]:
        return "the last window"
    return f"the window{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))} before the last"
