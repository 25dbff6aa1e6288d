"""The steps that a window goes through, validation and test windows alike: prepared, trained on, ranked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from workbench.core.errors import DataError
from workbench.core.threads import available_cores, boosting_threads
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.recommender.candidate_features import PreparedWindow, prepare_features
from workbench.recommender.candidates import Generator, SourceRecall, source_recall
from workbench.recommender.problem import RecommenderProblem, RecommenderSpec, Settings
from workbench.recommender.ranker import (
    ListModel,
    Lists,
    RankerSpec,
    RowSplit,
    TrainingRows,
    rank,
    relevance_levels,
    round_robin,
    training_rows,
)
from workbench.recommender.scoring import ScoredWindow
from workbench.recommender.sources import PopularSource, SourceContext, Tables
from workbench.recommender.stages import StageTimer
from workbench.recommender.windows import (
    Window,
    make_test_window,
    make_validation_window,
    take_users,
    with_own_codes,
)

__all__ = ["WindowSteps", "require_hits", "scored_window", "window_name", "with_log_codes"]

MAX_STOPPING_USERS = 10_000
"""The maximum number of users whose candidates, all of them, decide when to stop a training."""

ASSUMED_COLUMNS = 30
"""The number of features of a candidate that is assumed when the number of threads is chosen by the table's size."""


def window_name(horizons_back: int) -> str:
    """Return the name of the window that ends this many horizons before the last one, for stages and messages."""
    return f"{horizons_back} before" if horizons_back else "validation"


@dataclass(frozen=True)
class WindowSteps:
    """The steps of a recommender for one window at a time."""

    problem: RecommenderProblem
    spec: RecommenderSpec
    settings: Settings
    timer: StageTimer

    @property
    def threads(self) -> int:
        """The number of threads."""
        return self.settings.threads or available_cores()

    @property
    def lightgbm(self) -> LightGBMSpec:
        """LightGBM's parameters, with a number of threads that suits the size of the table."""
        n_rows = len(self.problem.log.users) * self.spec.candidates
        ranker, k = self.spec.ranker or RankerSpec(), self.problem.task.k
        return ranker.lightgbm(
            k,
            where=self.settings.where,
            threads=self.settings.threads,
            default_threads=boosting_threads(n_rows, ASSUMED_COLUMNS),
        )

    @property
    def model_names(self) -> list[str]:
        """The names of the lists that have a model of their own; "lists" if all share one."""
        lists = self.problem.task.lists
        return list(lists) if self.spec.ranker is not None and self.spec.ranker.per_list else ["lists"]

    def load_models(
        self, suffixes: Iterable[object], list_names: Sequence[str] | None = None
    ) -> tuple[dict[str, ListModel], bool]:
        """Return the stored models "LIST-SUFFIX" of an interrupted run by name, and whether none is missing.

        Parameters
        ----------
        list_names : sequence of str, optional
            None for all `model_names`.
        """
        list_names = self.model_names if list_names is None else list_names
        names = [f"{list_name}-{suffix}" for list_name in list_names for suffix in suffixes]
        models = {name: model for name in names if (model := self.settings.model_store.load(name)) is not None}
        return models, len(models) == len(names)

    # ------------------------------------------------------------------------------------------------------ preparing

    def prepare_validation(self, horizons_back: int = 0) -> PreparedWindow:
        """Prepare the validation window, or one that ends some horizons before it, with the users to score."""
        problem, name = self.problem, window_name(horizons_back)
        with self.timer(f"window, {name}" if horizons_back else "validation window"):
            window = make_validation_window(problem.log, problem.test_users, problem.task, earlier=horizons_back)
            window = self._sample_users(with_own_codes(window))
        return self._prepare(window, name)

    def prepare_test(self) -> PreparedWindow:
        """Prepare the window of the test users."""
        problem = self.problem
        window = make_test_window(problem.log, problem.test_users, problem.task)
        return self._prepare(with_own_codes(window), "test")

    def _sample_users(self, window: Window) -> Window:
        n_users = min(len(window), self.spec.validation_users or len(window))
        if self.settings.sample is not None:
            n_users = max(1, round(self.settings.sample * n_users))
        if n_users == len(window):
            return window
        # With the folds' seed, so that experiments with other seeds are scored on the same users.
        rng = np.random.default_rng(self.problem.folds_seed)
        return take_users(window, np.sort(rng.choice(len(window), n_users, replace=False)))

    def _prepare(self, window: Window, name: str) -> PreparedWindow:
        tables = self._tables(window)
        context = SourceContext(window, tables, self.threads, self.settings.load, self.timer.share)
        finders = {}
        for source_name, source in self.spec.sources.items():
            with self.timer(f"source {source_name}, {name}"):
                finders[source_name] = source.prepare(context)
        sources = self.spec.sources.items()
        generator = Generator(
            finders,
            tops={source_name: source.top for source_name, source in sources},
            limit=self.spec.candidates,
            allow_repeats=self.spec.allow_repeats,
            same_for_all=frozenset(source_name for source_name, source in sources if isinstance(source, PopularSource)),
        )
        if self.spec.ranker is None:
            return PreparedWindow(window, generator, None, name)
        with self.timer(f"features, {name}"):
            features = prepare_features(window.history, generator.names, tables, self.problem.task.horizon_s)
        return PreparedWindow(window, generator, features, name)

    def _tables(self, window: Window) -> Tables:
        """Return the tables of items and users with the items in the window's codes."""
        tables = self.problem.tables
        if tables.items is None or window.codes is None:
            return tables
        return replace(tables, items=tables.items[window.codes])

    # ------------------------------------------------------------------------------------------------------- training

    def training_rows(self, prepared: PreparedWindow) -> TrainingRows:
        """Return a window's rows to train on."""
        with self.timer(f"rows to train on, {prepared.name}"):
            return self._rows(prepared, self.spec.ranker or RankerSpec())

    def stopping_rows(self, prepared: PreparedWindow) -> TrainingRows:
        """Return a window's rows for early stopping: all candidates of some users."""
        ranker = self.spec.ranker or RankerSpec()
        n_users = min(MAX_STOPPING_USERS, ranker.users or MAX_STOPPING_USERS)
        with self.timer(f"rows to stop by, {prepared.name}"):
            return self._rows(prepared, replace(ranker, negatives=1.0, users=n_users))

    def _rows(self, prepared: PreparedWindow, ranker: RankerSpec) -> TrainingRows:
        levels = relevance_levels(self.problem.weights, per_list=ranker.per_list)
        return training_rows(prepared, ranker, levels, seed=self.settings.seed, threads=self.threads)

    # -------------------------------------------------------------------------------------------------------- ranking

    def measure_recall(self, prepared: PreparedWindow) -> tuple[dict[str, list[SourceRecall]], npt.NDArray[np.int32]]:
        """Return the recall of the sources by list, and the lists of a perfect ranker of their candidates."""
        task, window = self.problem.task, prepared.window
        perfect_lists = np.empty((len(window), len(task.lists), task.k), np.int32)
        with self.timer(f"recall of the sources, {prepared.name}"):
            recall = source_recall(
                window, prepared.generator, task.k, task.lists, threads=self.threads, perfect_lists=perfect_lists
            )
        return recall, perfect_lists

    def recommend(self, prepared: PreparedWindow, models: Sequence[ListModel]) -> Lists:
        """Return the lists of a window's users; without a ranker in the round-robin order of the sources."""
        task = self.problem.task
        with self.timer(f"lists of {prepared.name}"):
            if prepared.features is None:
                return round_robin(prepared, task.k, len(task.lists), threads=self.threads)
            return self.rank(prepared, models, self.timer.share)

    def rank(self, prepared: PreparedWindow, models: Sequence[ListModel], progress: Callable[[float], None]) -> Lists:
        """Return the lists of a window's users by models of all lists."""
        task = self.problem.task
        return rank(prepared, models, task.k, len(task.lists), threads=self.threads, progress=progress)


def require_hits(rows: TrainingRows, list_number: int, split: RowSplit, label: str) -> None:
    """Refuse training rows without any ground truth of a list."""
    if not ((rows.labels[:, list_number] > 0) & split.training_mask(len(rows.users))).any():
        raise DataError(
            f"{label}: none of the candidates is in the ground truth, so there is nothing to learn from",
            hint="more sources, a larger top, more windows under [recommend.ranker], or fewer under [cv]",
        )


# ------------------------------------------------------------------------------------------------ codes of the log


def scored_window(
    window: Window, lists: Lists, perfect_lists: npt.NDArray[np.int32], recall: dict[str, list[SourceRecall]]
) -> ScoredWindow:
    """Return a window with its lists, both with the items' codes in the whole log."""
    truth, codes = window.truth or (), window.codes
    if codes is not None:
        truth = tuple(replace(list_truth, items=codes[list_truth.items]) for list_truth in truth)
        perfect_lists = _translate(perfect_lists, codes)
    return ScoredWindow(window.users, truth, with_log_codes(lists, codes), perfect_lists, recall)


def with_log_codes(lists: Lists, codes: npt.NDArray[np.int32] | None) -> Lists:
    """Return lists with the items' codes in the whole log, given by the codes in the window; None if they are equal."""
    return lists if codes is None else replace(lists, items=_translate(lists.items, codes))


def _translate(items: npt.NDArray[np.int32], codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Translate the codes of items; -1, for none, stays."""
    return np.where(items < 0, np.int32(-1), codes[items])
