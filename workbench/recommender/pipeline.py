"""The two stages, strung together: validation window and test window go through the same functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from workbench.folds import kfold
from workbench.memory import measured_peak
from workbench.metrics import Metric, Relevant
from workbench.recommender.candidate_features import FeatureMaker, make_features
from workbench.recommender.candidates import Generator, SourceRecall, source_recall
from workbench.recommender.interactions import Interactions
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
from workbench.recommender.sources import Ready, SourceSpec, Tables
from workbench.recommender.windows import Asked, Window, make_test_window, make_validation_window, take_users
from workbench.threads import available_cores, threads_for

__all__ = [
    "Kept",
    "NothingKept",
    "Problem",
    "Recommended",
    "RecommenderSpec",
    "Settings",
    "Stage",
    "recommend",
    "score_lists",
]


@dataclass(frozen=True)
class RecommenderSpec:
    """What a recommender is made of.

    Attributes
    ----------
    sources : dict
        By name, in the order in which they take turns.
    candidates : int
        So many of a user at most.
    ranker : RankerSpec, or None
        None: the sources' own order counts.
    validation_users : int, optional
        So many users of the validation window, at most, are asked for; None for all.
    again : bool
        Whether what a user had before may be recommended.
    """

    sources: Mapping[str, SourceSpec]
    candidates: int = 100
    ranker: RankerSpec | None = None
    validation_users: int | None = None
    again: bool = True


@dataclass(frozen=True)
class Problem:
    """What is to be recommended, to whom, and how it is scored.

    Attributes
    ----------
    log : Interactions
        All that is known.
    tested : int32 array
        The users that the competition asks for.
    weights : tuple of float
        Of the lists in the score.
    """

    log: Interactions
    tested: npt.NDArray[np.int32]
    asked: Asked
    metric: Metric
    weights: tuple[float, ...]
    tables: Tables = field(default_factory=Tables)
    folds: int = 5
    folds_seed: int = 42


class Kept(Protocol):
    """Where models are kept until the run is whole, so that one that was killed goes on."""

    def load(self, name: str) -> ListModel | None:
        """Return what was kept, if it is there and whole."""
        ...

    def save(self, name: str, model: ListModel) -> None:
        """Keep a model."""
        ...


class NothingKept:
    """Keeps nothing."""

    def load(self, name: str) -> ListModel | None:  # noqa: ARG002
        """Return None."""
        return None

    def save(self, name: str, model: ListModel) -> None:
        """Do nothing."""


def _no_own(reference: str) -> Any:
    raise ValueError(f"{reference}: there is no competition's folder to look for it")


@dataclass(frozen=True)
class Settings:
    """How it is done.

    Attributes
    ----------
    seed : int
    threads : int, optional
        None for as many as the process may use. They do not change the result.
    where : str
        The file that the parameters come from, for messages.
    kept : Kept
        Where models are kept in case the process ends.
    load : callable
        Loads a function of one's own.
    sample : float, optional
        A share of the validation users, for a quick try that does nothing for the test window.
    """

    seed: int = 1
    threads: int | None = None
    where: str = "the recommender"
    kept: Kept = field(default_factory=NothingKept)
    load: Callable[[str], Any] = _no_own
    sample: float | None = None


@dataclass(frozen=True)
class Stage:
    """A part of the work: its seconds, and the most memory of the process in it."""

    name: str
    seconds: float
    peak_mb: float


SHARE_EVERY_S = 10.0


@dataclass
class _Clock:
    """Times stages, and says when each begins."""

    report: Callable[[str], None]
    stages: list[Stage] = field(default_factory=list)
    name: str = ""
    told_at: float = 0.0

    def share(self, done: float) -> None:
        """Say how much of the stage is done, from time to time."""
        if time.perf_counter() - self.told_at >= SHARE_EVERY_S:
            self.told_at = time.perf_counter()
            self.report(f"{self.name}: {done:.0%}")

    def share_of(self, before: float, part: float, done: float) -> None:
        """Say the same of a part of the stage, with another before it."""
        self.share(before + part * done)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.report(name)
        self.name, self.told_at = name, time.perf_counter()
        started = self.told_at
        with measured_peak() as peak:
            yield
        self.stages.append(Stage(name, round(time.perf_counter() - started, 2), round(peak.mb, 1)))


@dataclass(frozen=True)
class Recommended:
    """What comes of a recommender.

    Attributes
    ----------
    lists : Lists, or None
        Of the users of the test window; None where they were not asked for.
    valid : Lists
        Of those of the validation window, each by a model that has not seen them.
    valid_users : int32 array (n,)
        Their codes.
    valid_fold : int32 array (n,)
    fold_scores : tuple of float
    score : float
        Over all of them.
    list_scores : dict
        By list, over all.
    recall : dict
        What the sources find, by list.
    models : dict
        By name: "LIST-fold" and "LIST-all".
    """

    lists: Lists | None
    valid: Lists
    valid_users: npt.NDArray[np.int32]
    valid_fold: npt.NDArray[np.int32]
    fold_scores: tuple[float, ...]
    score: float
    list_scores: dict[str, float]
    recall: dict[str, list[SourceRecall]]
    models: dict[str, ListModel]
    features: tuple[str, ...]
    stages: tuple[Stage, ...]

    def details(self) -> dict[str, Any]:
        """Return what is kept of it as a document."""
        return {
            "recall": {of: [asdict(r) for r in rows] for of, rows in self.recall.items()},
            "list_scores": {of: None if np.isnan(score) else score for of, score in self.list_scores.items()},
            "stages": [asdict(stage) for stage in self.stages],
            "rounds": {name: model.rounds for name, model in self.models.items()},
        }


def score_lists(
    items: npt.NDArray[np.int32], window: Window, metric: Metric, weights: tuple[float, ...]
) -> tuple[float, list[float]]:
    """Return the score of lists, (n_users, n_lists, k), which is the weighted sum, and that of each list.

    A list that nothing came for in the whole window has no score; its weight goes to the others.
    """
    scores = []
    for which, truth in enumerate(window.truth or ()):
        relevant = Relevant(truth.items.astype(np.int64), truth.offsets)
        scores.append(float(metric.compute(relevant, items[:, which])) if len(truth.items) else float("nan"))
    counted = np.array([w for w, s in zip(weights, scores, strict=True) if not np.isnan(s)])
    values = np.array([s for s in scores if not np.isnan(s)])
    if not counted.sum():
        return float("nan"), scores
    return float(sum(weights) * (counted @ values) / counted.sum()), scores


def recommend(
    problem: Problem,
    spec: RecommenderSpec,
    settings: Settings | None = None,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> Recommended:
    """Find candidates, learn to rank them on the validation window, score that by folds of users, and recommend.

    What is told of test users comes from the same functions as what is told of validation users.

    Parameters
    ----------
    report : callable
        Told of each stage that begins.

    Raises
    ------
    ConfigError
        When a source or a parameter is none.
    DataError
        When the log is too short, or there is nothing to learn from.
    """
    work = _Work(problem, spec, settings or Settings(), _Clock(report))
    threads = work.threads
    # Before the validation window's, so that what they hold is gone when that is made.
    earlier = work.earlier()
    with work.clock("validation window"):
        window = work.window()
    generator = work.generator(window, "validation")
    with work.clock("recall of the sources"):
        recall = source_recall(window, generator, problem.asked.k, problem.asked.lists, threads=threads)
    # A fold needs a user.
    n_folds = min(problem.folds, len(window))
    fold = kfold(len(window), n_folds, problem.folds_seed).valid if n_folds > 1 else np.zeros(len(window), np.int32)
    models: dict[str, ListModel] = {}
    maker = None
    if spec.ranker is None:
        with work.clock("lists of validation"):
            valid = take_turns(window, generator, problem.asked.k, len(problem.asked.lists), threads=threads)
    else:
        with work.clock("features, validation"):
            maker = work.maker(window, generator)
        models = work.trained(window, generator, maker, fold, earlier)
        with work.clock("lists of validation"):
            valid = work.ranked_by_folds(window, generator, maker, fold, models)
    scores = [
        score_lists(
            valid.items[fold == f], take_users(window, np.flatnonzero(fold == f)), problem.metric, problem.weights
        )
        for f in np.unique(fold)
    ]
    whole, by_list = score_lists(valid.items, window, problem.metric, problem.weights)
    users, features = window.users, maker.names if maker is not None else ()
    del window, generator, maker
    return Recommended(
        lists=None if work.settings.sample else work.tested(models),
        valid=valid,
        valid_users=users,
        valid_fold=fold.astype(np.int32),
        fold_scores=tuple(score for score, _ in scores if not np.isnan(score)),
        score=whole,
        list_scores=dict(zip(problem.asked.lists, by_list, strict=True)),
        recall=recall,
        models=models,
        features=features,
        stages=tuple(work.clock.stages),
    )


def _some_users(window: Window, most: int | None, share: float | None, seed: int) -> Window:
    n = min(len(window), most or len(window))
    if share is not None:
        n = max(1, round(share * n))
    if n == len(window):
        return window
    return take_users(window, np.sort(np.random.default_rng(seed).choice(len(window), n, replace=False)))


@dataclass(frozen=True)
class _Earlier:
    """What is trained on of an earlier window, and its users."""

    rows: TrainingRows
    users: npt.NDArray[np.int32]


USUAL_COLUMNS = 30
"""About so many columns the candidates have, where a number of threads is chosen by the size of the table."""


@dataclass(frozen=True)
class _Work:
    problem: Problem
    spec: RecommenderSpec
    settings: Settings
    clock: _Clock

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return self.settings.threads or available_cores()

    def window(self, earlier: int = 0) -> Window:
        """Return the validation window, or one so many horizons before it, of as many users as are wanted."""
        window = make_validation_window(self.problem.log, self.problem.tested, self.problem.asked, earlier=earlier)
        return _some_users(window, self.spec.validation_users, self.settings.sample, self.settings.seed)

    def generator(self, window: Window, of: str) -> Generator:
        """Return the sources, ready for a window."""
        ready = Ready(window, self.problem.tables, self.threads, self.settings.load, self.clock.share)
        finds = {}
        for name, source in self.spec.sources.items():
            with self.clock(f"source {name}, {of}"):
                finds[name] = source.prepare(ready)
        tops = {name: source.top for name, source in self.spec.sources.items()}
        return Generator(finds, tops, self.spec.candidates, self.spec.again)

    def _model_names(self) -> list[str]:
        lists = self.problem.asked.lists
        return list(lists) if self.spec.ranker is not None and self.spec.ranker.per_list else ["lists"]

    def kept_models(self, folds: Iterable[Any]) -> tuple[dict[str, ListModel], bool]:
        """Return the models that are finished, and whether that is all of them."""
        names = [f"{of}-{f}" for of in self._model_names() for f in (*folds, "all")]
        models = {name: model for name in names if (model := self.settings.kept.load(name)) is not None}
        return models, len(models) == len(names)

    def rows(self, window: Window, generator: Generator, maker: FeatureMaker, of: str) -> TrainingRows:
        """Return what is trained on of a window."""
        ranker = self.spec.ranker or RankerSpec()
        levels = levels_of(self.problem.weights, per_list=ranker.per_list)
        with self.clock(f"rows to train on, {of}"):
            return training_rows(
                window, generator, maker, ranker, levels, seed=self.settings.seed, threads=self.threads
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
        return make_features(window.history, generator.names, self.problem.tables, self.problem.asked.horizon_s)

    def trained(
        self,
        window: Window,
        generator: Generator,
        maker: FeatureMaker,
        fold: npt.NDArray[Any],
        earlier: list[_Earlier],
    ) -> dict[str, ListModel]:
        """Return the models of all folds and lists, and those of all users; finished ones are taken as they were."""
        ranker = self.spec.ranker or RankerSpec()
        usual = threads_for(len(window.users) * self.spec.candidates, USUAL_COLUMNS)
        lightgbm = ranker.lightgbm(
            self.problem.asked.k, where=self.settings.where, threads=self.settings.threads, usual_threads=usual
        )
        folds = np.unique(fold)
        models, are_all = self.kept_models(folds)
        if are_all:
            return models
        fold_of = np.full(len(self.problem.log.users), -1)
        fold_of[window.users] = fold
        # Of the rows of all windows, the validation's first.
        fold_of_row = np.concatenate([fold, *(fold_of[e.users] for e in earlier)])
        parts = [self.rows(window, generator, maker, "validation"), *(e.rows for e in earlier)]
        sizes = [len(window), *(len(e.users) for e in earlier)]
        earlier.clear()
        rows = join_rows(parts, sizes)
        is_last = rows.users < len(window)
        train = partial(train_model, rows, spec=lightgbm, seed=self.settings.seed)
        begin = partial(RankerTraining, rows, spec=lightgbm, seed=self.settings.seed)
        wanted = [(of, f) for of in self._model_names() for f in (*folds, "all")]
        with self.clock("training"):
            for which, of in enumerate(self._model_names()):
                trainings: dict[str, RankerTraining] = {}
                # Their rounds are found together: those of a list are trained all, or taken all as they were.
                names = [f"{of}-{f}" for f in folds]
                for f in folds if any(name not in models for name in names) else ():
                    is_of_fold = (fold_of_row[rows.users] == f) & (len(folds) > 1)
                    trainings[f"{of}-{f}"] = begin(
                        which,
                        is_valid=is_of_fold & is_last,
                        is_kept_apart=is_of_fold & ~is_last,
                        progress=partial(self.clock.share_of, len(models) / len(wanted), 1 / len(wanted)),
                    )
                for name, model in train_folds(trainings, per_fold=ranker.rounds == "per fold"):
                    models[name] = model
                    self.settings.kept.save(name, model)
                if f"{of}-all" not in models:
                    n_rounds = round(np.mean([models[name].rounds for name in names]))
                    progress = partial(self.clock.share_of, len(models) / len(wanted), 1 / len(wanted))
                    models[f"{of}-all"] = train(which, is_valid=None, rounds=n_rounds, progress=progress)
                    self.settings.kept.save(f"{of}-all", models[f"{of}-all"])
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
        window = make_test_window(p.log, p.tested, p.asked)
        generator = self.generator(window, "test")
        if self.spec.ranker is None:
            with self.clock("lists of test"):
                return take_turns(window, generator, p.asked.k, n_lists, threads=self.threads)
        with self.clock("features, test"):
            maker = self.maker(window, generator)
        whole = [models[f"{of}-all"] for of in self._model_names()]
        with self.clock("lists of test"):
            return rank(
                window,
                generator,
                maker,
                whole,
                p.asked.k,
                n_lists,
                threads=self.threads,
                progress=self.clock.share,
            )
