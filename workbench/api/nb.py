"""What a notebook works with: ``from workbench import nb``.

In a notebook that `wb run` executes this is the experiment: its competition, folds, columns and parameters; what
`record` gets becomes the run. In one that you opened yourself it is what `use` names, else the competition of the
folder (or the only one), and `record` shows the score and keeps nothing. On Kaggle, with the dataset of `wb kernel`
among the inputs, it is the competition of that dataset, on the files that are there.

>>> from workbench import nb                                             # doctest: +SKIP
>>> X, X_test = nb.features("rows.x", "ratio")                           # doctest: +SKIP
>>> for fold in nb.folds:                                                # doctest: +SKIP
...     model.fit(X[fold.train], nb.target[fold.train])
...     oof[fold.valid] = model.predict(X[fold.valid])
>>> nb.record(oof=oof, test=model.predict(X_test))                       # doctest: +SKIP
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.core.errors import ConfigError, NotFoundError
from workbench.experiments.notebooks.context import NotebookContext, read_context

if TYPE_CHECKING:
    import polars as pl

    from workbench.api.library import OpenCompetition
    from workbench.metrics import Metric
    from workbench.models.records import FoldResult
    from workbench.review.report import RunView

__all__ = [
    "Fold",
    "classes",
    "competition",
    "features",
    "fit",
    "folds",
    "frames",
    "metric",
    "record",
    "score",
    "seeds",
    "table",
    "target",
    "use",
    "view",
]


@dataclass(frozen=True)
class Fold:
    """One fold: the positions of the rows that it trains on and of those that it validates, in the train table."""

    number: int
    train: npt.NDArray[np.int64]
    valid: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Frames:
    """The columns of one fold, those that depend on the fold among them; text as codes, null where a value is missing.

    Attributes
    ----------
    X_train, X_valid, X_test : polars frame
    y_train, y_valid : array
    categorical : list of str
        The columns that are codes.
    """

    X_train: pl.DataFrame
    y_train: npt.NDArray[Any]
    X_valid: pl.DataFrame
    y_valid: npt.NDArray[Any]
    X_test: pl.DataFrame
    categorical: list[str]


_used: list[NotebookContext] = []
"""What `use` names: nothing, or one."""


def use(competition: str, *, exp: int | None = None) -> None:
    """Choose the competition of a notebook that is opened by hand, wherever in the workspace it is.

    Where somebody else has chosen, this changes nothing: `wb run` gives the notebook its experiment, and on Kaggle the
    dataset of `wb kernel` brings its own.

    Parameters
    ----------
    competition : str
    exp : int, optional
        The experiment whose features, dropped and categorical columns and seeds are the defaults here, as in `wb run`.

    Raises
    ------
    NotFoundError
        Where there is no such competition or experiment.
    ConfigError
        Outside a workspace, or when a definition is wrong.
    """
    from workbench.api import library
    from workbench.experiments.spec import read_spec
    from workbench.models.serving import find_bundle

    if read_context().workspace is not None or find_bundle() is not None:
        return
    chosen = NotebookContext(competition=library.competition(competition).slug)
    if exp is not None:
        spec = read_spec(library.competition(competition).access.competition, exp)
        columns: dict[str, Any] = {n: getattr(spec, n) for n in ("features", "drop", "categorical", "seeds")}
        chosen = replace(chosen, **columns)
    _used[:] = [chosen]
    for cached in (_context, _competition, _target, _folds, _fold_data, _learner):
        cached.cache_clear()


@functools.cache
def _context() -> NotebookContext:
    context = read_context()
    return _used[0] if context.workspace is None and _used else context


@functools.cache
def _competition() -> OpenCompetition:
    from workbench.api import library
    from workbench.data.workspace import Workspace
    from workbench.models.serving import bundle_competition, find_bundle, find_data, read_bundle

    context = _context()
    if context.workspace is None and (bundle := find_bundle()) is not None:
        packed = read_bundle(bundle)
        work = Path(tempfile.mkdtemp(prefix="wb-"))
        bundle_competition(packed, find_data(packed.slug), work)
        return library.OpenCompetition(Workspace(work), packed.slug)
    if context.workspace is None:
        return _by_hand(context.competition)
    place = Workspace(Path(context.workspace), context.ledger, context.memory_limit)
    return library.OpenCompetition(place, str(context.competition))


def _by_hand(slug: str | None) -> OpenCompetition:
    from workbench.api import library

    try:
        return library.competition(slug)
    except ConfigError as exc:
        slugs = library.workspace().slugs() if slug is None else []
        if len(slugs) < 2:
            raise
        raise ConfigError(exc.message, hint=f"name it before anything else: nb.use({json.dumps(slugs[0])})") from exc


@functools.cache
def _target() -> Any:
    from workbench.models.target import read_target

    return read_target(_competition().access.competition)


@functools.cache
def _folds() -> list[Fold]:
    folds = _competition().folds
    return [Fold(k, folds.train_rows(k), folds.valid_rows(k)) for k in range(folds.n_folds)]


@functools.cache
def _fold_data(names: tuple[str, ...]) -> Any:
    from workbench.experiments.plan import fold_data

    context = _context()
    chosen = names or context.features or ("rows",)
    definition = _competition().access.competition
    return fold_data(
        definition, chosen, drop=context.drop, categorical=context.categorical, memory_limit=context.memory_limit
    )


def _values() -> npt.NDArray[Any]:
    columns = _target().columns
    arrays = [c.values if c.task == "regression" else c.values.astype(np.int64) for c in columns]
    return arrays[0] if len(arrays) == 1 else np.column_stack(arrays)


_LAZY: dict[str, Callable[[], Any]] = {
    "competition": _competition,
    "folds": _folds,
    "target": _values,
    "classes": lambda: _target().columns[0].classes,
    "metric": lambda: _competition().access.competition.metric,
    "seeds": lambda: _context().seeds,
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'workbench.nb' has no attribute {name!r}; it has {', '.join(__all__)}")
    return _LAZY[name]()


if TYPE_CHECKING:
    competition: OpenCompetition
    folds: list[Fold]
    target: npt.NDArray[Any]
    classes: tuple[Any, ...] | None
    metric: Metric
    seeds: tuple[int, ...]


def table(name: str) -> pl.LazyFrame:
    """Return a table of the competition, lazily."""
    return _competition().tables[name]


def features(*names: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the columns of the train and of the test rows, in the order of the tables.

    Parameters
    ----------
    *names : str
        As in an experiment's ``features``; none for those of this experiment, else "rows".

    Raises
    ------
    ConfigError
        For one that depends on the fold: `frames` has those.
    """
    data = _fold_data(names)
    if data.problem.matrix.fold_columns:
        raise ConfigError(
            "some of the features depend on the fold, so that there is no frame of all rows",
            hint="nb.frames(fold) gives the columns of one fold",
        )
    n = data.problem.target.n_rows
    return data.columns.frame(0, range(n)), data.columns.frame(0, data.test_rows)


def frames(fold: int, *names: str) -> Frames:
    """Return the columns of one fold: what it trains on, what it validates, and the test rows."""
    data = _fold_data(names)
    train, valid = data.split(fold)
    y = _values()
    return Frames(
        data.columns.frame(fold, train),
        y[train],
        data.columns.frame(fold, valid),
        y[valid],
        data.columns.frame(fold, data.test_rows),
        list(data.columns.categorical),
    )


def fit(exp: int, fold: int, *, seed: int = 1, **changes: Any) -> FoldResult:
    """Train one fold as an experiment does, and return its OOF, its test predictions, rounds and model.

    Parameters
    ----------
    exp, fold, seed : int
    **changes
        Parameters in place of those of the experiment's file.
    """
    learner = _learner(exp, json.dumps(changes, sort_keys=True))
    result: FoldResult = learner.fit(fold, seed)
    return result


@functools.cache
def _learner(exp: int, changes: str) -> Any:
    from workbench.experiments.ready import ready
    from workbench.experiments.spec import read_spec

    opened = _competition()
    model = read_spec(opened.access.competition, exp).model | json.loads(changes)
    experiment = ready(opened.workspace, opened.access.competition, exp, model=model)
    experiment.plan_memory(seeds=(1,))
    return experiment.model.learner(experiment.problem, 0)


def view(exp: int) -> RunView:
    """Return the newest finished run of an experiment, to be looked at, beside that of its base."""
    from workbench.review.report import RunView

    opened = _competition()
    run = opened.runs[exp]
    base = None
    if run.record.base is not None:
        with suppress(NotFoundError):
            base = opened.runs[run.record.base]
    return RunView(opened.access.competition, run, base)


def score(oof: Any) -> list[float]:
    """Return the competition's metric of each fold, of OOF predictions as `record` takes them."""
    from workbench.experiments.notebooks import checked_oof

    return _scores(checked_oof(oof, _competition().access.competition, _target(), _competition().folds))


def _scores(checked: npt.NDArray[np.float64]) -> list[float]:
    from workbench.models.scoring import fold_scores

    opened = _competition()
    return list(fold_scores(_target(), opened.folds, checked, opened.access.competition.metric))


def record(*, oof: Any, test: Any, metrics: Mapping[str, float] | None = None) -> list[float]:
    """Record what the notebook predicts; the last call counts.

    Parameters
    ----------
    oof : array or frame
        Predictions of the train rows, (n_train,), or (n_train, classes) with a probability for each of `classes`: of
        each row by a model that has not seen it. A frame with the row key or the ids may have any order.
    test : array or frame
        Predictions of the test rows, likewise.
    metrics : mapping, optional
        Name -> number, kept beside the score.

    Returns
    -------
    list of float
        The score of each fold.

    Raises
    ------
    DataError
        When they are of other rows, of another shape, not finite, or no probabilities.
    """
    from workbench.experiments.notebooks import (
        Recorded,
        checked_metrics,
        checked_oof,
        checked_test,
        write_recorded,
    )

    definition, target_, folds_ = _competition().access.competition, _target(), _competition().folds
    recorded = Recorded(
        checked_oof(oof, definition, target_, folds_),
        checked_test(test, definition, target_),
        checked_metrics(metrics),
    )
    scores = _scores(recorded.oof)
    place = _context().record
    if place is not None:
        write_recorded(Path(place), recorded)
    shown = " ".join(f"{s:.5f}" for s in scores)
    remark = "" if place is not None else "  (not kept: `wb run` keeps it)"
    print(f"{definition.metric.name} {np.mean(scores):.5f}  ({shown}){remark}")  # noqa: T201 for who reads the notebook
    return scores
