"""The two stages, strung together: validation window and test window go through the same functions."""

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
from workbench.models.lightgbm_folds import LightGBMSpec
from workbench.recommender.candidate_features import FeatureMaker, make_features
from workbench.recommender.candidates import Generator, SourceRecall, source_recall
from workbench.recommender.problem import Problem, RecommenderSpec, Settings
from workbench.recommender.ranker import (
    ListModel,
    Lists,
    RankerSpec,
    RankerTraining,
    TrainingRows,
    join_rows,
    levels_of,
    rank,
    take_turns,
    train_folds,
    train_model,
    training_rows,
)
from workbench.recommender.recommended import Recommended
from workbench.recommender.scored import ScoredWindow, mean_recall, mean_score, score_of
from workbench.recommender.sources import PopularSource, Ready, Tables
from workbench.recommender.stages import Clock
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
    problem: Problem,
    spec: RecommenderSpec,
    settings: Settings | None = None,
    *,
    context: RunContext = SILENT,
) -> Recommended:
    """Find candidates, learn to rank them, score windows at the end of the log, and recommend.

    How windows are scored is told by `choose_validation`: each by a ranker that learned from windows before it, or,
    where the log is too short, the last one by folds of its users.

    What is told of test users comes from the same functions as what is told of validation users.

    Parameters
    ----------
    context : RunContext
        Told of each stage that begins and ends, and from time to time how much of it is done.

    Raises
    ------
    ConfigError
        When a source or a parameter is none.
    DataError
        When the log is too short, or there is nothing to learn from.
    """
    _need_what_came(problem, spec)
    work = _Work(problem, spec, settings or Settings(), Clock(context))
    validation = choose_validation(problem.log, problem.tested, problem.asked, problem.validation)
    if validation.scheme == "windows":
        done = work.by_windows(validation.windows)
        cells = _cells_of_windows(problem, done.windows)
    else:
        done = work.by_users()
        cells = _Cells(done.folds, _cell_scores(problem, done.windows, done.folds))
    scores = [score_of(w.lists.items, w.truth, problem.metric, problem.weights) for w in done.windows]
    whole, by_list = mean_score(scores)
    best, best_by_list = mean_score([score_of(w.best, w.truth, problem.metric, problem.weights) for w in done.windows])
    names = problem.asked.lists
    return Recommended(
        lists=None if work.settings.sample else work.tested(done.models),
        valid=Lists(
            np.concatenate([w.lists.items for w in done.windows]),
            np.concatenate([w.lists.scores for w in done.windows]),
        ),
        valid_users=np.concatenate([w.users for w in done.windows]),
        valid_fold=np.concatenate(cells.folds).astype(np.int32),
        valid_window=np.repeat(np.arange(len(done.windows)), [len(w.users) for w in done.windows]).astype(np.int32),
        fold_scores=tuple(score for score in cells.scores if not np.isnan(score)),
        score=whole,
        list_scores=dict(zip(names, by_list, strict=True)),
        recall=mean_recall([w.recall for w in done.windows]),
        models=done.models,
        features=done.features,
        stages=tuple(work.clock.stages),
        validation=validation,
        window_scores=tuple(score for score, _ in scores),
        ceiling=best,
        list_ceilings=dict(zip(names, best_by_list, strict=True)),
        stopping=done.stopping,
    )


def _need_what_came(problem: Problem, spec: RecommenderSpec) -> None:
    """Refuse a ranker where nothing of a list came in the windows that it learns from for the test."""
    trains = spec.ranker.windows if spec.ranker is not None else 0
    p, came = problem, np.zeros(len(problem.asked.lists), np.int64)
    for earlier in range(trains):
        came += users_by_list(p.log, p.tested, p.asked, earlier)
    missing = [of for of, n in zip(p.asked.lists, came, strict=True) if not n]
    # Of a log that is too short more is said where windows are made.
    if trains and missing and users_of_window(p.log, p.tested, p.asked):
        windows = "last horizon" if trains == 1 else f"last {trains} horizons"
        raise DataError(
            f"{', '.join(missing)}: nothing of it came in the {windows} of the log, which the ranker is to learn from",
            hint=f"windows = {trains + 1} under [recommend.ranker], or a longer horizon",
        )


@dataclass(frozen=True)
class _Scored:
    """What comes of scoring: the windows, the last one first, and the models; the folds where users were held out."""

    windows: list[ScoredWindow]
    models: dict[str, ListModel]
    features: tuple[str, ...]
    folds: list[npt.NDArray[Any]] = field(default_factory=list)

    @property
    def stopping(self) -> dict[str, Any]:
        """What models were stopped by; of those that were kept by a run that ended, too."""
        return next((model.stopping for model in self.models.values() if model.stopping), {})


@dataclass(frozen=True)
class _Cells:
    """The fold of each window's users, and the folds' scores."""

    folds: list[npt.NDArray[Any]]
    scores: list[float]


def _cell_scores(problem: Problem, windows: Sequence[ScoredWindow], folds: Sequence[npt.NDArray[Any]]) -> list[float]:
    scores = []
    for window, fold in zip(windows, folds, strict=True):
        for f in np.unique(fold):
            at = np.flatnonzero(fold == f)
            truth = tuple(t.take(at) for t in window.truth)
            scores.append(score_of(window.lists.items[at], truth, problem.metric, problem.weights)[0])
    return scores


def _cells_of_windows(problem: Problem, windows: Sequence[ScoredWindow]) -> _Cells:
    """Return as many groups of users in each window as have something of each of its lists."""
    for n in range(problem.folds, 0, -1):
        groups = user_groups([w.users for w in windows], n, problem.folds_seed)
        if all(_has_each_list(w.truth, group) for w, group in zip(windows, groups, strict=True)):
            break
    per_window = 1 + max(int(group.max()) for group in groups)
    scored = [number for number, w in enumerate(windows) if any(len(t.items) for t in w.truth)]
    scores = _cell_scores(problem, [windows[i] for i in scored], [groups[i] for i in scored])
    return _Cells([number * per_window + group for number, group in enumerate(groups)], scores)


def _has_each_list(truths: Sequence[Truth], group: npt.NDArray[Any]) -> bool:
    """Say whether something came in each group for each list that something came for at all.

    A group without it would be scored by the other lists alone, with its weight on them.
    """
    n = len(np.unique(group))
    return all(len(np.unique(group[np.diff(t.offsets) > 0])) == n for t in truths if len(t.items))


def _folds_of_users(window: Window, problem: Problem) -> npt.NDArray[Any]:
    """Return the fold of each user: as many folds as have something of each list, two at least."""
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
    """Return lists of other codes; -1, for none, stays."""
    return np.where(items < 0, np.int32(-1), codes[items])


@dataclass(frozen=True)
class _Due:
    """A model that is to be trained, of some windows, when the window `at` is made; stopped by the rows of `stops`."""

    name: str
    at: int
    windows: tuple[int, ...]
    stops: int | None = None


def _before(number: int) -> str:
    """Return a window's name: it ends so many horizons before the last one does."""
    return f"{number} before" if number else "validation"


def _need_hits(rows: TrainingRows, which: int, unseen: Sequence[npt.NDArray[np.bool_]], of: str) -> None:
    """Refuse rows of which nothing that came of a list is left to train on."""
    came = rows.labels[:, which] > 0
    for chosen in unseen:
        came &= ~chosen
    if not came.any():
        raise DataError(
            f"{of}: of what came nothing is among the candidates, so that there is nothing to learn",
            hint="more sources, a larger top, more windows under [recommend.ranker], or fewer under [cv]",
        )


def _windows_text(numbers: Sequence[int]) -> str:
    """Return windows in words.

    Examples
    --------
    >>> _windows_text([0]), _windows_text([1]), _windows_text([1, 2])
    ('the last window', 'the window 1 before the last', 'the windows 1, 2 before the last')
    """
    if list(numbers) == [0]:
        return "the last window"
    return f"the window{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))} before the last"


@dataclass(frozen=True)
class _Earlier:
    """What is trained on of an earlier window, and its users."""

    rows: TrainingRows
    users: npt.NDArray[np.int32]


STOPPING_USERS = 10_000
"""So many users, at most, with all of their candidates, are what a ranker is stopped by."""

USUAL_COLUMNS = 30
"""About so many columns the candidates have, where a number of threads is chosen by the size of the table."""


@dataclass(frozen=True)
class _Work:
    problem: Problem
    spec: RecommenderSpec
    settings: Settings
    clock: Clock

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return self.settings.threads or available_cores()

    def window(self, earlier: int = 0) -> Window:
        """Return the validation window, or one so many horizons before it, of as many users as are wanted."""
        p = self.problem
        window = with_own_codes(make_validation_window(p.log, p.tested, p.asked, earlier=earlier))
        # By the folds' seed, so that experiments of other seeds are scored on the same users.
        return _some_users(window, self.spec.validation_users, self.settings.sample, p.folds_seed)

    def tables(self, window: Window) -> Tables:
        """Return what is known of items and users, by the window's codes."""
        of = self.problem.tables
        return of if of.items is None or window.codes is None else replace(of, items=of.items[window.codes])

    def generator(self, window: Window, of: str) -> Generator:
        """Return the sources, ready for a window."""
        ready = Ready(window, self.tables(window), self.threads, self.settings.load, self.clock.share)
        finds = {}
        for name, source in self.spec.sources.items():
            with self.clock(f"source {name}, {of}"):
                finds[name] = source.prepare(ready)
        tops = {name: source.top for name, source in self.spec.sources.items()}
        reaching = frozenset(name for name, source in self.spec.sources.items() if isinstance(source, PopularSource))
        return Generator(finds, tops, self.spec.candidates, self.spec.allow_repeats, reaching)

    def _model_names(self) -> list[str]:
        lists = self.problem.asked.lists
        return list(lists) if self.spec.ranker is not None and self.spec.ranker.per_list else ["lists"]

    def kept_models(self, folds: Iterable[Any], *others: str) -> tuple[dict[str, ListModel], bool]:
        """Return the models that are finished, and whether that is all of them."""
        names = [f"{of}-{f}" for of in self._model_names() for f in (*folds, *others, "all")]
        models = {name: model for name in names if (model := self.settings.kept.load(name)) is not None}
        return models, len(models) == len(names)

    def rows(
        self, window: Window, generator: Generator, maker: FeatureMaker, of: str, *, to_stop: bool = False
    ) -> TrainingRows:
        """Return what is trained on of a window, or what training is stopped by: all candidates of some users."""
        ranker = self.spec.ranker or RankerSpec()
        if to_stop:
            ranker = replace(ranker, negatives=1.0, users=min(STOPPING_USERS, ranker.users or STOPPING_USERS))
        levels = levels_of(self.problem.weights, per_list=ranker.per_list)
        with self.clock(f"rows to {'stop by' if to_stop else 'train on'}, {of}"):
            return training_rows(
                window, generator, maker, ranker, levels, seed=self.settings.seed, threads=self.threads, of=of
            )

    def earlier(self) -> list[_Earlier]:
        """Return what is trained on of the windows before the validation's; nothing where no model is missing."""
        found: list[_Earlier] = []
        n = self.spec.ranker.windows - 1 if self.spec.ranker is not None else 0
        if not n or self.kept_models(range(self.problem.folds))[1]:
            return found
        # The earliest first: whether the log is long enough is then known at once.
        for number in range(n, 0, -1):
            of = f"{number} before"
            with self.clock(f"window, {of}"):
                window = self.window(number)
            generator = self.generator(window, of)
            with self.clock(f"features, {of}"):
                maker = self.maker(window, generator)
            found.append(_Earlier(self.rows(window, generator, maker, of), window.users))
            del window, generator, maker
        return found

    def maker(self, window: Window, generator: Generator) -> FeatureMaker:
        """Return what makes the features of candidates of a window."""
        return make_features(window.history, generator.names, self.tables(window), self.problem.asked.horizon_s)

    @property
    def lightgbm(self) -> LightGBMSpec:
        """LightGBM's parameters, with a number of threads that suits the size of the table."""
        users = len(self.problem.log.users)
        usual = threads_for(users * self.spec.candidates, USUAL_COLUMNS)
        ranker, k = self.spec.ranker or RankerSpec(), self.problem.asked.k
        return ranker.lightgbm(k, where=self.settings.where, threads=self.settings.threads, usual_threads=usual)

    # ------------------------------------------------------------------------------------------- by earlier windows

    def by_windows(self, n: int) -> _Scored:
        """Score windows by models that have seen earlier ones only, from the earliest to the last.

        How many rounds are trained is told by a model that is stopped by the window before the first that is scored,
        and trained on those before it. Where the log has none before it, a fifth of its users stop a model of the
        others.
        """
        trains = self.spec.ranker.windows if self.spec.ranker is not None else 0
        farthest = self._farthest(n, trains) if trains else n - 1
        models, _ = self.kept_models([f"w{number}" for number in range(n)], "rounds") if trains else ({}, True)
        scored: list[ScoredWindow] = []
        parts: dict[int, tuple[TrainingRows, int]] = {}
        features: tuple[str, ...] = ()
        for number in range(farthest, -1, -1):
            due = self._due(number, n, trains, farthest, models)
            learns = any(number in d.windows or number == d.stops for d in due)
            if number >= n and not learns:
                continue
            window, generator, maker = self._prepared(number)
            if number < n:
                scored.insert(0, self._scored(number, window, generator, maker, models))
            now, to_stop, size = [d for d in due if d.at == number], None, len(window)
            if maker is not None and learns:
                features = maker.names
                parts[number] = self.rows(window, generator, maker, _before(number)), size
                if any(d.stops is not None for d in now):
                    to_stop = self.rows(window, generator, maker, _before(number), to_stop=True)
            elif maker is not None:
                features = maker.names
            del window, generator, maker
            for one in now:
                self._train(one, parts, to_stop, size, models)
            # What the next one learns from stays; until the number of rounds is known, all.
            for old in [w for w in parts if number <= n and w > number + trains - 2]:
                del parts[old]
        return _Scored(scored, models, features)

    def _farthest(self, n: int, trains: int) -> int:
        """Return how many horizons before the last the earliest window of use is: one is trained on, one stops."""
        p = self.problem
        found = max(n, trains - 1)
        of_last = users_by_list(p.log, p.tested, p.asked)
        while found < n + trains:
            of_lists = users_by_list(p.log, p.tested, p.asked, found + 1)
            # The models that tell the number of rounds learn from the first of them, each of its list.
            if not of_lists.any() or (found == n and (of_lists < np.minimum(of_last, 1)).any()):
                break
            found += 1
        return found

    def _prepared(self, number: int) -> tuple[Window, Generator, FeatureMaker | None]:
        of = _before(number)
        with self.clock(f"window, {of}" if number else "validation window"):
            window = self.window(number)
        generator = self.generator(window, of)
        if self.spec.ranker is None:
            return window, generator, None
        with self.clock(f"features, {of}"):
            return window, generator, self.maker(window, generator)

    def _due(self, number: int, n: int, trains: int, farthest: int, models: Mapping[str, ListModel]) -> list[_Due]:
        """Return what is still to be trained of a window's rows, at this window or a later one."""
        if not trains:
            return []
        due = [_Due("rounds", n, tuple(range(n + 1, min(n + trains, farthest) + 1)), n)]
        due += [_Due(f"w{w}", w + 1, tuple(range(w + 1, min(w + trains, farthest) + 1))) for w in range(n - 1, -1, -1)]
        due.append(_Due("all", 0, tuple(range(trains))))
        return [d for d in due if d.at <= number and any(f"{of}-{d.name}" not in models for of in self._model_names())]

    def _train(
        self,
        due: _Due,
        parts: Mapping[int, tuple[TrainingRows, int]],
        to_stop: TrainingRows | None,
        size: int,
        models: dict[str, ListModel],
    ) -> None:
        """Train what is due, and keep it."""
        chosen = [parts[w] for w in due.windows] or [parts[due.at]]
        all_rows, sizes = [rows for rows, _ in chosen], [users for _, users in chosen]
        stopping: dict[str, Any] = {}
        if due.stops is not None and to_stop is not None:
            before = sum(sizes)
            rows = join_rows([*all_rows, to_stop], [*sizes, size])
            is_stop = rows.users >= before
            # Without an earlier window users are held out: a fifth of them stops, the others are trained on.
            held = np.ones(size, np.bool_) if due.windows else np.arange(size) % 5 == 0
            of_user = rows.users - np.where(is_stop, before, 0)
            is_held = held[np.minimum(of_user, size - 1)]
            is_valid = is_stop & is_held
            is_apart = is_stop & ~is_held if due.windows else is_stop ^ is_held
            told = "users of the window" if due.windows else "users held out of the window"
            stopping = {
                "by": f"{told} {_before(due.stops)}",
                "users": len(np.unique(rows.users[is_valid])),
                "candidates": int(is_valid.sum()),
                "negatives": 1.0,
            }
        else:
            rows, is_valid, is_apart = join_rows(all_rows, sizes), None, None
        with self.clock(f"training, {due.name}"):
            for which, of in enumerate(self._model_names()):
                if (name := f"{of}-{due.name}") in models:
                    continue
                unseen = [of_rows for of_rows in (is_valid, is_apart) if of_rows is not None]
                _need_hits(rows, which, unseen, f"{of}, {_windows_text(due.windows or (due.at,))}")
                rounds = None if due.stops is not None else models[f"{of}-rounds"].rounds
                model = train_model(
                    rows,
                    which,
                    self.lightgbm,
                    is_valid=is_valid,
                    is_kept_apart=is_apart,
                    rounds=rounds,
                    seed=self.settings.seed,
                    progress=self.clock.share,
                )
                models[name] = replace(model, stopping=stopping)
                self.settings.kept.save(name, models[name])

    def _scored(
        self,
        number: int,
        window: Window,
        generator: Generator,
        maker: FeatureMaker | None,
        models: Mapping[str, ListModel],
    ) -> ScoredWindow:
        recall, best = self.recall(window, generator, _before(number))
        k, n_lists, threads = self.problem.asked.k, len(self.problem.asked.lists), self.threads
        with self.clock(f"lists of {_before(number)}"):
            if maker is None:
                lists = take_turns(window, generator, k, n_lists, threads=threads)
            else:
                of_window = [models[f"{of}-w{number}"] for of in self._model_names()]
                progress = self.clock.share
                lists = rank(window, generator, maker, of_window, k, n_lists, threads=threads, progress=progress)
        return _in_codes_of_the_log(window, lists, best, recall)

    def recall(
        self, window: Window, generator: Generator, of: str
    ) -> tuple[dict[str, list[SourceRecall]], npt.NDArray[np.int32]]:
        """Return what the sources find of what came in a window, and the lists of a perfect ranker."""
        asked = self.problem.asked
        best = np.empty((len(window), len(asked.lists), asked.k), np.int32)
        with self.clock(f"recall of the sources, {of}"):
            recall = source_recall(window, generator, asked.k, asked.lists, threads=self.threads, best=best)
        return recall, best

    # --------------------------------------------------------------------------------------------- by users held out

    def by_users(self) -> _Scored:
        """Score the last window by folds of its users, each by a model that has learned from the others."""
        # Before the validation window's, so that what they hold is gone when that is made.
        earlier = self.earlier()
        window, generator, maker = self._prepared(0)
        fold = _folds_of_users(window, self.problem)
        if maker is None:
            return _Scored([self._scored(0, window, generator, maker, {})], {}, (), [fold])
        recall, best = self.recall(window, generator, _before(0))
        models = self.trained(window, generator, maker, fold, earlier)
        with self.clock(f"lists of {_before(0)}"):
            lists = self.ranked_by_folds(window, generator, maker, fold, models)
        scored = _in_codes_of_the_log(window, lists, best, recall)
        return _Scored([scored], models, maker.names, [fold])

    def trained(
        self,
        window: Window,
        generator: Generator,
        maker: FeatureMaker,
        fold: npt.NDArray[Any],
        earlier: list[_Earlier],
    ) -> dict[str, ListModel]:
        """Return the models of all folds and lists, and those of all users; finished ones are taken as they were."""
        folds = np.unique(fold)
        models, are_all = self.kept_models(folds)
        if are_all:
            return models
        fold_of = np.full(len(self.problem.log.users), -1)
        fold_of[window.users] = fold
        # Of the rows of all windows, the validation's first.
        fold_of_row = np.concatenate([fold, *(fold_of[e.users] for e in earlier)])
        parts = [self.rows(window, generator, maker, _before(0)), *(e.rows for e in earlier)]
        sizes = [len(window), *(len(e.users) for e in earlier)]
        earlier.clear()
        n_trained = sum(sizes)
        # With all candidates to train on there are all to stop by.
        is_whole = (self.spec.ranker or RankerSpec()).negatives == 1
        if not is_whole:
            parts.append(self.rows(window, generator, maker, _before(0), to_stop=True))
            sizes.append(len(window))
            fold_of_row = np.concatenate([fold_of_row, fold])
        rows = join_rows(parts, sizes)
        is_stop = rows.users >= n_trained
        may_stop = rows.users < len(window) if is_whole else is_stop
        stopping = {
            "by": "users of each fold",
            "users": len(np.unique(rows.users[may_stop])),
            "candidates": int(may_stop.sum()),
            "negatives": 1.0,
        }
        train = partial(train_model, rows, spec=self.lightgbm, seed=self.settings.seed)
        begin = partial(RankerTraining, rows, spec=self.lightgbm, seed=self.settings.seed)
        wanted = [(of, f) for of in self._model_names() for f in (*folds, "all")]
        per_fold = self.spec.ranker is not None and self.spec.ranker.rounds == "per fold"
        shares = dict.fromkeys(models, 1.0)

        def say(name: str, share: float) -> None:
            # The folds of a list go on in turns, and each in several goes.
            shares[name] = max(share, shares.get(name, 0.0))
            self.clock.share(sum(shares.values()) / len(wanted))

        with self.clock("training"):
            for which, of in enumerate(self._model_names()):
                trainings: dict[str, RankerTraining] = {}
                # Their rounds are found together: those of a list are trained all, or taken all as they were.
                names = [f"{of}-{f}" for f in folds]
                for f in folds if any(name not in models for name in names) else ():
                    is_of_fold = (fold_of_row[rows.users] == f) & (len(folds) > 1)
                    _need_hits(rows, which, [is_of_fold | is_stop], f"{of}, users beside those of fold {f}")
                    trainings[f"{of}-{f}"] = begin(
                        which,
                        is_valid=is_of_fold & may_stop,
                        is_kept_apart=np.where(may_stop, is_stop & ~is_of_fold, is_of_fold),
                        progress=partial(say, f"{of}-{f}"),
                    )
                for name, model in train_folds(trainings, per_fold=per_fold):
                    shares[name] = 1.0
                    if name not in models:  # else it is the same one
                        models[name] = replace(model, stopping=stopping)
                        self.settings.kept.save(name, models[name])
                if f"{of}-all" not in models:
                    n_rounds = round(np.mean([models[name].rounds for name in names]))
                    progress = partial(say, f"{of}-all")
                    model = train(which, is_valid=None, is_kept_apart=is_stop, rounds=n_rounds, progress=progress)
                    models[f"{of}-all"] = model
                    self.settings.kept.save(f"{of}-all", model)
        return models

    def ranked_by_folds(
        self,
        window: Window,
        generator: Generator,
        maker: FeatureMaker,
        fold: npt.NDArray[Any],
        models: Mapping[str, ListModel],
    ) -> Lists:
        """Return the lists of the validation users, each by the models that have not seen them."""
        k, n_lists = self.problem.asked.k, len(self.problem.asked.lists)
        items = np.full((len(window), n_lists, k), -1, np.int32)
        scores = np.full(items.shape, np.nan, np.float32)
        for f in np.unique(fold):
            at = np.flatnonzero(fold == f)
            of_fold = [models[f"{of}-{f}"] for of in self._model_names()]
            part = rank(
                take_users(window, at),
                generator,
                maker,
                of_fold,
                k,
                n_lists,
                threads=self.threads,
                progress=partial(self.clock.share_of, float((fold < f).mean()), len(at) / len(window)),
            )
            items[at], scores[at] = part.items, part.scores
        return Lists(items, scores)

    def tested(self, models: Mapping[str, ListModel]) -> Lists:
        """Return the lists of the test users."""
        p, n_lists = self.problem, len(self.problem.asked.lists)
        window = with_own_codes(make_test_window(p.log, p.tested, p.asked))
        generator = self.generator(window, "test")
        if self.spec.ranker is None:
            with self.clock("lists of test"):
                return _recoded(take_turns(window, generator, p.asked.k, n_lists, threads=self.threads), window.codes)
        with self.clock("features, test"):
            maker = self.maker(window, generator)
        whole = [models[f"{of}-all"] for of in self._model_names()]
        with self.clock("lists of test"):
            k, progress = p.asked.k, self.clock.share
            lists = rank(window, generator, maker, whole, k, n_lists, threads=self.threads, progress=progress)
        return _recoded(lists, window.codes)
