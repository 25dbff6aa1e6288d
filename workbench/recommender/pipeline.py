"""The two stages in one pipeline: candidates and ranking; validation and test windows use the same functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import DataError
from workbench.core.threads import available_cores, threads_for
from workbench.models.folds import kfold
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.recommender.candidate_features import FeatureMaker, make_features
from workbench.recommender.candidates import Generator, SourceRecall, source_recall
from workbench.recommender.problem import RecommenderProblem, RecommenderSpec, Settings
from workbench.recommender.ranker import (
    ListModel,
    Lists,
    RankerSpec,
    RankerTraining,
    TrainingRows,
    join_rows,
    levels_of,
    rank,
    round_robin,
    train_folds,
    train_model,
    training_rows,
)
from workbench.recommender.result import RecommenderResult
from workbench.recommender.scoring import ScoredWindow, mean_recall, mean_score, score_of
from workbench.recommender.sources import PopularSource, SourceContext, Tables
from workbench.recommender.stages import StageTimer
from workbench.recommender.validation import choose_validation, user_groups
from workbench.recommender.windows import (
    Truth,
    Window,
    make_test_window,
    make_validation_window,
    take_users,
    users_by_list,
    users_of_window,
    with_own_codes,
)

__all__ = ["recommend"]


def recommend(
    problem: RecommenderProblem,
    spec: RecommenderSpec,
    settings: Settings | None = None,
    *,
    context: RunContext = SILENT,
) -> RecommenderResult:
    """Generate candidates, train a ranker, score windows at the end of the log, and recommend.

    `choose_validation` decides how windows are scored: each by a ranker that was trained on windows before it, or,
    where the log is too short, the last one by folds of its users. Features of test users come from the same functions
    as those of validation users.

    Parameters
    ----------
    context : RunContext
        Gets an event for each stage that begins and ends, and its progress from time to time.

    Raises
    ------
    ConfigError
        When a source or a parameter is invalid.
    DataError
        When the log is too short, or there is nothing to learn from.
    """
    _check_ground_truth(problem, spec)
    pipeline = _Pipeline(problem, spec, settings or Settings(), StageTimer(context))
    validation = choose_validation(problem.log, problem.test_users, problem.task, problem.validation)
    if validation.scheme == "windows":
        scoring = pipeline.by_windows(validation.windows)
        cells = _cells_of_windows(problem, scoring.windows)
    else:
        scoring = pipeline.by_users()
        cells = _Cells(scoring.folds, _cell_scores(problem, scoring.windows, scoring.folds))
    scores = [score_of(w.lists.items, w.truth, problem.metric, problem.weights) for w in scoring.windows]
    total_score, list_scores = mean_score(scores)
    ceiling, list_ceilings = mean_score(
        [score_of(w.best, w.truth, problem.metric, problem.weights) for w in scoring.windows]
    )
    names = problem.task.lists
    return RecommenderResult(
        lists=None if pipeline.settings.sample else pipeline.test_lists(scoring.models),
        valid=Lists(
            np.concatenate([w.lists.items for w in scoring.windows]),
            np.concatenate([w.lists.scores for w in scoring.windows]),
        ),
        valid_users=np.concatenate([w.users for w in scoring.windows]),
        valid_fold=np.concatenate(cells.folds).astype(np.int32),
        valid_window=np.repeat(np.arange(len(scoring.windows)), [len(w.users) for w in scoring.windows]).astype(
            np.int32
        ),
        fold_scores=tuple(score for score in cells.scores if not np.isnan(score)),
        score=total_score,
        list_scores=dict(zip(names, list_scores, strict=True)),
        recall=mean_recall([w.recall for w in scoring.windows]),
        models=scoring.models,
        features=scoring.features,
        stages=tuple(pipeline.clock.stages),
        validation=validation,
        window_scores=tuple(score for score, _ in scores),
        ceiling=ceiling,
        list_ceilings=dict(zip(names, list_ceilings, strict=True)),
        stopping=scoring.stopping,
    )


def _check_ground_truth(problem: RecommenderProblem, spec: RecommenderSpec) -> None:
    """Raise if a list has no ground truth in the windows that the final ranker is trained on."""
    n_training_windows = spec.ranker.windows if spec.ranker is not None else 0
    p, users_of_lists = problem, np.zeros(len(problem.task.lists), np.int64)
    for horizons_back in range(n_training_windows):
        users_of_lists += users_by_list(p.log, p.test_users, p.task, horizons_back)
    missing = [list_name for list_name, n in zip(p.task.lists, users_of_lists, strict=True) if not n]
    # A log that is too short gets a better message where windows are made.
    if n_training_windows and missing and users_of_window(p.log, p.test_users, p.task):
        windows = "last horizon" if n_training_windows == 1 else f"last {n_training_windows} horizons"
        raise DataError(
            f"{', '.join(missing)}: no such events in the {windows} of the log, which the ranker is trained on",
            hint=f"windows = {n_training_windows + 1} under [recommend.ranker], or a longer horizon",
        )


@dataclass(frozen=True)
class _Scoring:
    """The result of scoring: the windows, the last one first, and the models; the folds where users were held out."""

    windows: list[ScoredWindow]
    models: dict[str, ListModel]
    features: tuple[str, ...]
    folds: list[npt.NDArray[Any]] = field(default_factory=list)

    @property
    def stopping(self) -> dict[str, Any]:
        """What stopped the models early; also that of stored models of an interrupted run."""
        return next((model.stopping for model in self.models.values() if model.stopping), {})


@dataclass(frozen=True)
class _Cells:
    """The fold of each window's users, and the folds' scores."""

    folds: list[npt.NDArray[Any]]
    scores: list[float]


def _cell_scores(
    problem: RecommenderProblem, windows: Sequence[ScoredWindow], folds: Sequence[npt.NDArray[Any]]
) -> list[float]:
    scores = []
    for window, fold in zip(windows, folds, strict=True):
        for f in np.unique(fold):
            rows = np.flatnonzero(fold == f)
            truth = tuple(t.take(rows) for t in window.truth)
            scores.append(score_of(window.lists.items[rows], truth, problem.metric, problem.weights)[0])
    return scores


def _cells_of_windows(problem: RecommenderProblem, windows: Sequence[ScoredWindow]) -> _Cells:
    """Split the users of each window into as many groups as all have ground truth of each of its lists."""
    for n in range(problem.folds, 0, -1):
        groups = user_groups([w.users for w in windows], n, problem.folds_seed)
        if all(_has_each_list(w.truth, group) for w, group in zip(windows, groups, strict=True)):
            break
    per_window = 1 + max(int(group.max()) for group in groups)
    scored = [number for number, w in enumerate(windows) if any(len(t.items) for t in w.truth)]
    scores = _cell_scores(problem, [windows[i] for i in scored], [groups[i] for i in scored])
    return _Cells([number * per_window + group for number, group in enumerate(groups)], scores)


def _has_each_list(truths: Sequence[Truth], group: npt.NDArray[Any]) -> bool:
    """Tell whether each group has ground truth of each list that has any.

    A group without it would be scored by the other lists alone, with its weight on them.
    """
    n = len(np.unique(group))
    return all(len(np.unique(group[np.diff(t.offsets) > 0])) == n for t in truths if len(t.items))


def _folds_of_users(window: Window, problem: RecommenderProblem) -> npt.NDArray[Any]:
    """Return the fold of each user: as many folds as all have ground truth of each list, at least two."""
    # A fold needs a user.
    n_folds = min(problem.folds, len(window))
    if n_folds < 2:
        return np.zeros(len(window), int)
    fold = kfold(len(window), n_folds, problem.folds_seed).valid
    while n_folds > 2 and not _has_each_list(window.truth or (), fold):
        n_folds -= 1
        fold = kfold(len(window), n_folds, problem.folds_seed).valid
    return fold


def _some_users(window: Window, most: int | None, share: float | None, seed: int) -> Window:
    n = min(len(window), most or len(window))
    if share is not None:
        n = max(1, round(share * n))
    if n == len(window):
        return window
    return take_users(window, np.sort(np.random.default_rng(seed).choice(len(window), n, replace=False)))


def _in_codes_of_the_log(
    window: Window, lists: Lists, best: npt.NDArray[np.int32], recall: dict[str, list[SourceRecall]]
) -> ScoredWindow:
    truth, codes = window.truth or (), window.codes
    if codes is not None:
        truth = tuple(replace(t, items=codes[t.items]) for t in truth)
        best = _with_codes(best, codes)
    return ScoredWindow(window.users, truth, _recoded(lists, codes), best, recall)


def _recoded(lists: Lists, codes: npt.NDArray[np.int32] | None) -> Lists:
    return lists if codes is None else replace(lists, items=_with_codes(lists.items, codes))


def _with_codes(items: npt.NDArray[np.int32], codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Translate the codes of lists; -1, for none, stays."""
    return np.where(items < 0, np.int32(-1), codes[items])


@dataclass(frozen=True)
class _PlannedModel:
    """A model to train on some windows, when the window `at` is made; stopped early by the rows of `stops`."""

    name: str
    at: int
    windows: tuple[int, ...]
    stops: int | None = None


def _before(number: int) -> str:
    """Return the name of the window that ends `number` horizons before the last one."""
    return f"{number} before" if number else "validation"


def _need_hits(rows: TrainingRows, number: int, excluded_rows: Sequence[npt.NDArray[np.bool_]], label: str) -> None:
    """Refuse training rows without any ground truth of a list."""
    is_hit = rows.labels[:, number] > 0
    for chosen in excluded_rows:
        is_hit &= ~chosen
    if not is_hit.any():
        raise DataError(
            f"{label}: none of the candidates is in the ground truth, so there is nothing to learn from",
            hint="more sources, a larger top, more windows under [recommend.ranker], or fewer under [cv]",
        )


def _windows_text(numbers: Sequence[int]) -> str:
    """Describe windows by their numbers.

    Examples
    --------
    >>> _windows_text([0]), _windows_text([1]), _windows_text([1, 2])
    ('the last window', 'the window 1 before the last', 'the windows 1, 2 before the last')
    """
    if list(numbers) == [0]:
        return "the last window"
    return f"the window{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))} before the last"


@dataclass(frozen=True)
class _EarlierWindow:
    """The training rows of an earlier window, and its users."""

    rows: TrainingRows
    users: npt.NDArray[np.int32]


STOPPING_USERS = 10_000
"""The most users of the early-stopping set, with all of their candidates."""

USUAL_COLUMNS = 30
"""The assumed number of columns of the candidates, for choosing the number of threads by the size of the table."""


@dataclass(frozen=True)
class _Pipeline:
    problem: RecommenderProblem
    spec: RecommenderSpec
    settings: Settings
    clock: StageTimer

    @property
    def threads(self) -> int:
        """The number of threads."""
        return self.settings.threads or available_cores()

    def window(self, earlier: int = 0) -> Window:
        """Return the validation window, or the one `earlier` horizons before it, of the users to score."""
        p = self.problem
        window = with_own_codes(make_validation_window(p.log, p.test_users, p.task, earlier=earlier))
        # By the folds' seed, so that experiments of other seeds are scored on the same users.
        return _some_users(window, self.spec.validation_users, self.settings.sample, p.folds_seed)

    def tables(self, window: Window) -> Tables:
        """Return the tables of items and users, by the window's codes."""
        tables = self.problem.tables
        return (
            tables
            if tables.items is None or window.codes is None
            else replace(tables, items=tables.items[window.codes])
        )

    def generator(self, window: Window, label: str) -> Generator:
        """Prepare the sources for a window."""
        context = SourceContext(window, self.tables(window), self.threads, self.settings.load, self.clock.share)
        finds = {}
        for name, source in self.spec.sources.items():
            with self.clock(f"source {name}, {label}"):
                finds[name] = source.prepare(context)
        tops = {name: source.top for name, source in self.spec.sources.items()}
        reaching = frozenset(name for name, source in self.spec.sources.items() if isinstance(source, PopularSource))
        return Generator(finds, tops, self.spec.candidates, self.spec.allow_repeats, reaching)

    def _model_names(self) -> list[str]:
        lists = self.problem.task.lists
        return list(lists) if self.spec.ranker is not None and self.spec.ranker.per_list else ["lists"]

    def stored_models(self, folds: Iterable[Any], *extra_names: str) -> tuple[dict[str, ListModel], bool]:
        """Return the finished models, and whether these are all."""
        names = [f"{of}-{f}" for of in self._model_names() for f in (*folds, *extra_names, "all")]
        models = {name: model for name in names if (model := self.settings.model_store.load(name)) is not None}
        return models, len(models) == len(names)

    def rows(
        self, window: Window, generator: Generator, maker: FeatureMaker, label: str, *, to_stop: bool = False
    ) -> TrainingRows:
        """Return a window's training rows, or its rows for early stopping: all candidates of some users."""
        ranker = self.spec.ranker or RankerSpec()
        if to_stop:
            ranker = replace(ranker, negatives=1.0, users=min(STOPPING_USERS, ranker.users or STOPPING_USERS))
        levels = levels_of(self.problem.weights, per_list=ranker.per_list)
        with self.clock(f"rows to {'stop by' if to_stop else 'train on'}, {label}"):
            return training_rows(
                window, generator, maker, ranker, levels, seed=self.settings.seed, threads=self.threads, label=label
            )

    def earlier(self) -> list[_EarlierWindow]:
        """Return the training rows of the windows before the validation's; none where no model is missing."""
        earlier_rows: list[_EarlierWindow] = []
        n = self.spec.ranker.windows - 1 if self.spec.ranker is not None else 0
        if not n or self.stored_models(range(self.problem.folds))[1]:
            return earlier_rows
        # The earliest first, which shows at once whether the log is long enough.
        for number in range(n, 0, -1):
            label = f"{number} before"
            with self.clock(f"window, {label}"):
                window = self.window(number)
            generator = self.generator(window, label)
            with self.clock(f"features, {label}"):
                maker = self.maker(window, generator)
            earlier_rows.append(_EarlierWindow(self.rows(window, generator, maker, label), window.users))
            del window, generator, maker
        return earlier_rows

    def maker(self, window: Window, generator: Generator) -> FeatureMaker:
        """Return the feature maker for candidates of a window."""
        return make_features(window.history, generator.names, self.tables(window), self.problem.task.horizon_s)

    @property
    def lightgbm(self) -> LightGBMSpec:
        """LightGBM's parameters, with a number of threads for the size of the table."""
        users = len(self.problem.log.users)
        usual = threads_for(users * self.spec.candidates, USUAL_COLUMNS)
        ranker, k = self.spec.ranker or RankerSpec(), self.problem.task.k
        return ranker.lightgbm(k, where=self.settings.where, threads=self.settings.threads, default_threads=usual)

    # ------------------------------------------------------------------------------------------- by earlier windows

    def by_windows(self, n: int) -> _Scoring:
        """Score windows, from the earliest to the last, by models that are trained on earlier ones only.

        The number of rounds comes from a model that is stopped early by the window before the first scored one, and
        trained on those before it. Where the log has none before it, a fifth of that window's users stop a model of the
        others.
        """
        trains = self.spec.ranker.windows if self.spec.ranker is not None else 0
        earliest = self._farthest(n, trains) if trains else n - 1
        models, _ = self.stored_models([f"w{number}" for number in range(n)], "rounds") if trains else ({}, True)
        scored: list[ScoredWindow] = []
        parts: dict[int, tuple[TrainingRows, int]] = {}
        features: tuple[str, ...] = ()
        for number in range(earliest, -1, -1):
            planned_models = self._due(number, n, trains, earliest, models)
            is_learned = any(number in d.windows or number == d.stops for d in planned_models)
            if number >= n and not is_learned:
                continue
            window, generator, maker = self._prepared(number)
            if number < n:
                scored.insert(0, self._scored(number, window, generator, maker, models))
            trained_now, to_stop, size = [d for d in planned_models if d.at == number], None, len(window)
            if maker is not None and is_learned:
                features = maker.names
                parts[number] = self.rows(window, generator, maker, _before(number)), size
                if any(d.stops is not None for d in trained_now):
                    to_stop = self.rows(window, generator, maker, _before(number), to_stop=True)
            elif maker is not None:
                features = maker.names
            del window, generator, maker
            for planned in trained_now:
                self._train(planned, parts, to_stop, size, models)
            # Rows for the next models stay in memory; until the number of rounds is known, all do.
            for unused in [w for w in parts if number <= n and w > number + trains - 2]:
                del parts[unused]
        return _Scoring(scored, models, features)

    def _farthest(self, n: int, trains: int) -> int:
        """Return how many horizons before the last the earliest window in use is, for training and early stopping."""
        p = self.problem
        earliest = max(n, trains - 1)
        last_users = users_by_list(p.log, p.test_users, p.task)
        while earliest < n + trains:
            users_of_lists = users_by_list(p.log, p.test_users, p.task, earliest + 1)
            # The models for the number of rounds are trained on the first of them, each on its list.
            if not users_of_lists.any() or (earliest == n and (users_of_lists < np.minimum(last_users, 1)).any()):
                break
            earliest += 1
        return earliest

    def _prepared(self, number: int) -> tuple[Window, Generator, FeatureMaker | None]:
        label = _before(number)
        with self.clock(f"window, {label}" if number else "validation window"):
            window = self.window(number)
        generator = self.generator(window, label)
        if self.spec.ranker is None:
            return window, generator, None
        with self.clock(f"features, {label}"):
            return window, generator, self.maker(window, generator)

    def _due(
        self, number: int, n: int, trains: int, farthest: int, models: Mapping[str, ListModel]
    ) -> list[_PlannedModel]:
        """Return the models that are still to be trained at this window or a later one."""
        if not trains:
            return []
        planned_models = [_PlannedModel("rounds", n, tuple(range(n + 1, min(n + trains, farthest) + 1)), n)]
        planned_models += [
            _PlannedModel(f"w{w}", w + 1, tuple(range(w + 1, min(w + trains, farthest) + 1)))
            for w in range(n - 1, -1, -1)
        ]
        planned_models.append(_PlannedModel("all", 0, tuple(range(trains))))
        return [
            d
            for d in planned_models
            if d.at <= number and any(f"{of}-{d.name}" not in models for of in self._model_names())
        ]

    def _train(
        self,
        planned: _PlannedModel,
        parts: Mapping[int, tuple[TrainingRows, int]],
        to_stop: TrainingRows | None,
        size: int,
        models: dict[str, ListModel],
    ) -> None:
        """Train a planned model of each list, and store it."""
        chosen = [parts[w] for w in planned.windows] or [parts[planned.at]]
        all_rows, sizes = [rows for rows, _ in chosen], [users for _, users in chosen]
        stopping: dict[str, Any] = {}
        if planned.stops is not None and to_stop is not None:
            n_train_users = sum(sizes)
            rows = join_rows([*all_rows, to_stop], [*sizes, size])
            is_stop = rows.users >= n_train_users
            # Without an earlier window a fifth of the users is held out for early stopping.
            is_stop_user = np.ones(size, np.bool_) if planned.windows else np.arange(size) % 5 == 0
            of_user = rows.users - np.where(is_stop, n_train_users, 0)
            is_held = is_stop_user[np.minimum(of_user, size - 1)]
            is_valid = is_stop & is_held
            is_excluded = is_stop & ~is_held if planned.windows else is_stop ^ is_held
            source = "users of the window" if planned.windows else "users held out of the window"
            stopping = {
                "by": f"{source} {_before(planned.stops)}",
                "users": len(np.unique(rows.users[is_valid])),
                "candidates": int(is_valid.sum()),
                "negatives": 1.0,
            }
        else:
            rows, is_valid, is_excluded = join_rows(all_rows, sizes), None, None
        with self.clock(f"training, {planned.name}"):
            for number, list_name in enumerate(self._model_names()):
                if (name := f"{list_name}-{planned.name}") in models:
                    continue
                excluded_rows = [mask for mask in (is_valid, is_excluded) if mask is not None]
                _need_hits(
                    rows, number, excluded_rows, f"{list_name}, {_windows_text(planned.windows or (planned.at,))}"
                )
                rounds = None if planned.stops is not None else models[f"{list_name}-rounds"].rounds
                model = train_model(
                    rows,
                    number,
                    self.lightgbm,
                    is_valid=is_valid,
                    is_excluded=is_excluded,
                    rounds=rounds,
                    seed=self.settings.seed,
                    progress=self.clock.share,
                )
                models[name] = replace(model, stopping=stopping)
                self.settings.model_store.save(name, models[name])

    def _scored(
        self,
        horizons_back: int,
        window: Window,
        generator: Generator,
        maker: FeatureMaker | None,
        models: Mapping[str, ListModel],
    ) -> ScoredWindow:
        recall, oracle_lists = self.recall(window, generator, _before(horizons_back))
        k, n_lists, threads = self.problem.task.k, len(self.problem.task.lists), self.threads
        with self.clock(f"lists of {_before(horizons_back)}"):
            if maker is None:
                lists = round_robin(window, generator, k, n_lists, threads=threads)
            else:
                window_models = [models[f"{of}-w{horizons_back}"] for of in self._model_names()]
                progress = self.clock.share
                lists = rank(window, generator, maker, window_models, k, n_lists, threads=threads, progress=progress)
        return _in_codes_of_the_log(window, lists, oracle_lists, recall)

    def recall(
        self, window: Window, generator: Generator, label: str
    ) -> tuple[dict[str, list[SourceRecall]], npt.NDArray[np.int32]]:
        """Return the recall of the sources in a window, and the lists of a perfect ranker."""
        task = self.problem.task
        best = np.empty((len(window), len(task.lists), task.k), np.int32)
        with self.clock(f"recall of the sources, {label}"):
            recall = source_recall(window, generator, task.k, task.lists, threads=self.threads, best=best)
        return recall, best

    # --------------------------------------------------------------------------------------------- by users held out

    def by_users(self) -> _Scoring:
        """Score the last window by folds of its users, each by a model that is trained on the others."""
        # Before the validation window, so that their memory is free when that is made.
        earlier = self.earlier()
        window, generator, maker = self._prepared(0)
        fold = _folds_of_users(window, self.problem)
        if maker is None:
            return _Scoring([self._scored(0, window, generator, maker, {})], {}, (), [fold])
        recall, best = self.recall(window, generator, _before(0))
        models = self.trained(window, generator, maker, fold, earlier)
        with self.clock(f"lists of {_before(0)}"):
            lists = self.ranked_by_folds(window, generator, maker, fold, models)
        scored = _in_codes_of_the_log(window, lists, best, recall)
        return _Scoring([scored], models, maker.names, [fold])

    def trained(
        self,
        window: Window,
        generator: Generator,
        maker: FeatureMaker,
        fold: npt.NDArray[Any],
        earlier: list[_EarlierWindow],
    ) -> dict[str, ListModel]:
        """Train the models of all folds and lists, and those of all users; finished ones are loaded."""
        folds = np.unique(fold)
        models, is_complete = self.stored_models(folds)
        if is_complete:
            return models
        fold_of = np.full(len(self.problem.log.users), -1)
        fold_of[window.users] = fold
        # The rows of all windows, the validation's first.
        fold_of_row = np.concatenate([fold, *(fold_of[e.users] for e in earlier)])
        parts = [self.rows(window, generator, maker, _before(0)), *(e.rows for e in earlier)]
        sizes = [len(window), *(len(e.users) for e in earlier)]
        earlier.clear()
        n_trained = sum(sizes)
        # If all candidates are trained on, the training rows serve for early stopping, too.
        all_candidates = (self.spec.ranker or RankerSpec()).negatives == 1
        if not all_candidates:
            parts.append(self.rows(window, generator, maker, _before(0), to_stop=True))
            sizes.append(len(window))
            fold_of_row = np.concatenate([fold_of_row, fold])
        rows = join_rows(parts, sizes)
        is_stop = rows.users >= n_trained
        may_stop = rows.users < len(window) if all_candidates else is_stop
        stopping = {
            "by": "users of each fold",
            "users": len(np.unique(rows.users[may_stop])),
            "candidates": int(may_stop.sum()),
            "negatives": 1.0,
        }
        train = partial(train_model, rows, spec=self.lightgbm, seed=self.settings.seed)
        begin = partial(RankerTraining, rows, spec=self.lightgbm, seed=self.settings.seed)
        wanted = [(list_name, f) for list_name in self._model_names() for f in (*folds, "all")]
        per_fold = self.spec.ranker is not None and self.spec.ranker.rounds == "per fold"
        shares = dict.fromkeys(models, 1.0)

        def say(name: str, share: float) -> None:
            # The folds of a list are trained alternately, each in several steps.
            shares[name] = max(share, shares.get(name, 0.0))
            self.clock.share(sum(shares.values()) / len(wanted))

        with self.clock("training"):
            for number, list_name in enumerate(self._model_names()):
                trainings: dict[str, RankerTraining] = {}
                # The number of rounds is shared: the models of a list are either all trained or all loaded.
                names = [f"{list_name}-{f}" for f in folds]
                for f in folds if any(name not in models for name in names) else ():
                    is_of_fold = (fold_of_row[rows.users] == f) & (len(folds) > 1)
                    _need_hits(rows, number, [is_of_fold | is_stop], f"{list_name}, users beside those of fold {f}")
                    trainings[f"{list_name}-{f}"] = begin(
                        number,
                        is_valid=is_of_fold & may_stop,
                        is_excluded=np.where(may_stop, is_stop & ~is_of_fold, is_of_fold),
                        progress=partial(say, f"{list_name}-{f}"),
                    )
                for name, model in train_folds(trainings, per_fold=per_fold):
                    shares[name] = 1.0
                    if name not in models:  # else it is identical
                        models[name] = replace(model, stopping=stopping)
                        self.settings.model_store.save(name, models[name])
                if f"{list_name}-all" not in models:
                    n_rounds = round(np.mean([models[name].rounds for name in names]))
                    progress = partial(say, f"{list_name}-all")
                    model = train(number, is_valid=None, is_excluded=is_stop, rounds=n_rounds, progress=progress)
                    models[f"{list_name}-all"] = model
                    self.settings.model_store.save(f"{list_name}-all", model)
        return models

    def ranked_by_folds(
        self,
        window: Window,
        generator: Generator,
        maker: FeatureMaker,
        fold: npt.NDArray[Any],
        models: Mapping[str, ListModel],
    ) -> Lists:
        """Return the lists of the validation users, each by models that were not trained on them."""
        k, n_lists = self.problem.task.k, len(self.problem.task.lists)
        items = np.full((len(window), n_lists, k), -1, np.int32)
        scores = np.full(items.shape, np.nan, np.float32)
        for f in np.unique(fold):
            rows = np.flatnonzero(fold == f)
            fold_models = [models[f"{of}-{f}"] for of in self._model_names()]
            part = rank(
                take_users(window, rows),
                generator,
                maker,
                fold_models,
                k,
                n_lists,
                threads=self.threads,
                progress=partial(self.clock.share_of, float((fold < f).mean()), len(rows) / len(window)),
            )
            items[rows], scores[rows] = part.items, part.scores
        return Lists(items, scores)

    def test_lists(self, models: Mapping[str, ListModel]) -> Lists:
        """Return the lists of the test users."""
        p, n_lists = self.problem, len(self.problem.task.lists)
        window = with_own_codes(make_test_window(p.log, p.test_users, p.task))
        generator = self.generator(window, "test")
        if self.spec.ranker is None:
            with self.clock("lists of test"):
                return _recoded(round_robin(window, generator, p.task.k, n_lists, threads=self.threads), window.codes)
        with self.clock("features, test"):
            maker = self.maker(window, generator)
        full_fit_models = [models[f"{of}-all"] for of in self._model_names()]
        with self.clock("lists of test"):
            k, progress = p.task.k, self.clock.share
            lists = rank(window, generator, maker, full_fit_models, k, n_lists, threads=self.threads, progress=progress)
        return _recoded(lists, window.codes)
