"""The module for notebooks: ``from workbench import nb``.

In a notebook that `wb run` executes, it has the experiment's competition, folds and columns, and `record` saves the
run's predictions. In a notebook that you opened yourself, it has the competition of `use`, else that of the folder (or
the only one), and `record` only shows the score. On Kaggle, with the dataset of `wb kernel` among the inputs, it has
the competition of that dataset, with Kaggle's files.

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
    """One fold, with the positions of its train rows and of its validated rows in the train table."""

    number: int
    train: npt.NDArray[np.int64]
    valid: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Frames:
    """The columns of one fold, including those that depend on the fold; texts are codes, missing values are null.

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
"""The context that `use` has chosen; empty before."""


def use(competition: str, *, exp: int | None = None) -> None:
    """Choose the competition of a notebook that you opened yourself.

    It has no effect when `wb run` executes the notebook, nor on Kaggle with the dataset of `wb kernel`: there the
    competition is fixed.

    Parameters
    ----------
    competition : str
    exp : int, optional
        The experiment whose features, dropped and categorical columns and seeds are the defaults.

    Raises
    ------
    NotFoundError
        For an unknown competition or experiment.
    ConfigError
        Outside of a workspace, or for an invalid definition.
    """
    from workbench.api import library
    from workbench.experiments.spec import read_spec
    from workbench.models.serving import find_bundle

    if read_context().workspace is not None or find_bundle() is not None:
        return
    context = NotebookContext(competition=library.competition(competition).slug)
    if exp is not None:
        spec = read_spec(library.competition(competition).access.competition, exp)
        columns: dict[str, Any] = {n: getattr(spec, n) for n in ("features", "drop", "categorical", "seeds")}
        context = replace(context, **columns)
    _used[:] = [context]
    for cached_function in (_context, _competition, _target, _folds, _fold_data, _learner):
        cached_function.cache_clear()


@functools.cache
def _context() -> NotebookContext:
    context = read_context()
    return _used[0] if context.workspace is None and _used else context


@functools.cache
def _competition() -> OpenCompetition:
    """Return the handle of the notebook's competition: that of `wb run`, of a kernel's bundle, or of the folder."""
    from workbench.api import library
    from workbench.data.workspace import Workspace
    from workbench.models.serving import bundle_competition, find_bundle, find_data, read_bundle

    context = _context()
    if context.workspace is None and (bundle := find_bundle()) is not None:
        packed = read_bundle(bundle)
        folder = Path(tempfile.mkdtemp(prefix="wb-"))
        bundle_competition(packed, find_data(packed.slug), folder)
        return library.OpenCompetition(Workspace(folder), packed.slug)
    if context.workspace is None:
        return _open_competition(context.competition)
    workspace = Workspace(Path(context.workspace), context.ledger, context.memory_limit)
    return library.OpenCompetition(workspace, str(context.competition))


def _open_competition(slug: str | None) -> OpenCompetition:
    """Open a competition of the workspace; the errors say what a notebook can do."""
    from workbench.api import library
    from workbench.experiments.notebooks.mounts import has_kaggle_environment

    try:
        return library.competition(slug)
    except NotFoundError as exc:
        if not has_kaggle_environment():
            raise
        hint = "it is an adopted notebook: without the line `submission` in its experiment's file it can use nb"
        raise NotFoundError("a notebook that runs as on Kaggle does not see the workspace", hint=hint) from exc
    except ConfigError as exc:
        slugs = library.workspace().slugs() if slug is None else []
        if len(slugs) < 2:
            raise
        raise ConfigError(exc.message, hint=f"choose it first: nb.use({json.dumps(slugs[0])})") from exc


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
    """Return the columns of features; without names, of the experiment's features."""
    from workbench.experiments.plan import fold_data

    context = _context()
    feature_names = names or context.features or ("rows",)
    competition = _competition().access.competition
    return fold_data(
        competition,
        feature_names,
        drop=context.drop,
        categorical=context.categorical,
        memory_limit=context.memory_limit,
    )


def _target_values() -> npt.NDArray[Any]:
    """Return the target of the train rows, (n_train,) or (n_train, n_targets): numbers, or codes of classes."""
    columns = _target().columns
    arrays = [c.values if c.task == "regression" else c.values.astype(np.int64) for c in columns]
    return arrays[0] if len(arrays) == 1 else np.column_stack(arrays)


_READ_WHEN_USED: dict[str, Callable[[], Any]] = {
    "competition": _competition,
    "folds": _folds,
    "target": _target_values,
    "classes": lambda: _target().columns[0].classes,
    "metric": lambda: _competition().access.competition.metric,
    "seeds": lambda: _context().seeds,
}


def __getattr__(name: str) -> Any:
    if name not in _READ_WHEN_USED:
        raise AttributeError(f"module 'workbench.nb' has no attribute {name!r}; it has {', '.join(__all__)}")
    return _READ_WHEN_USED[name]()


if TYPE_CHECKING:
    competition: OpenCompetition
    folds: list[Fold]
    target: npt.NDArray[Any]
    classes: tuple[Any, ...] | None
    metric: Metric
    seeds: tuple[int, ...]


def table(name: str) -> pl.LazyFrame:
    """Return a table of the competition as a lazy frame."""
    return _competition().tables[name]


def features(*names: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the columns of the train and of the test rows, in the order of the tables.

    Parameters
    ----------
    *names : str
        As in an experiment's ``features``; by default this experiment's features, else "rows".

    Raises
    ------
    ConfigError
        For a feature that depends on the fold: `frames` returns those.
    """
    data = _fold_data(names)
    if data.problem.matrix.fold_columns:
        raise ConfigError(
            "some of the features depend on the fold, so there is no frame of all rows",
            hint="nb.frames(fold) returns the columns of one fold",
        )
    n_train = data.problem.target.n_rows
    return data.columns.frame(0, range(n_train)), data.columns.frame(0, data.test_rows)


def frames(fold: int, *names: str) -> Frames:
    """Return the columns of one fold: of its train rows, its validated rows, and the test rows."""
    data = _fold_data(names)
    train, valid = data.split(fold)
    y = _target_values()
    return Frames(
        data.columns.frame(fold, train),
        y[train],
        data.columns.frame(fold, valid),
        y[valid],
        data.columns.frame(fold, data.test_rows),
        list(data.columns.categorical),
    )


def fit(exp: int, fold: int, *, seed: int = 1, **changes: Any) -> FoldResult:
    """Train the model of one fold, as an experiment does; return its OOF, test predictions, rounds and model.

    Parameters
    ----------
    exp, fold, seed : int
    **changes
        Parameters that replace those of the experiment's file.
    """
    learner = _learner(exp, json.dumps(changes, sort_keys=True))
    result: FoldResult = learner.fit(fold, seed)
    return result


@functools.cache
def _learner(exp: int, changes: str) -> Any:
    """Return the learner of an experiment's first target; `changes` are parameters as JSON text, which is hashable."""
    from workbench.experiments.ready import ready
    from workbench.experiments.spec import read_spec

    opened = _competition()
    model = read_spec(opened.access.competition, exp).model | json.loads(changes)
    experiment = ready(opened.workspace, opened.access.competition, exp, model=model)
    experiment.plan_memory(seeds=(1,))
    return experiment.model.learner(experiment.problem, 0)


def view(exp: int) -> RunView:
    """Return a view of the current finished run of an experiment, and of that of its base."""
    from workbench.review.report import RunView

    opened = _competition()
    run = opened.runs[exp]
    base = None
    if run.record.base is not None:
        with suppress(NotFoundError):
            base = opened.runs[run.record.base]
    return RunView(opened.access.competition, run, base)


def score(oof: Any) -> list[float]:
    """Return the competition's metric of each fold, for OOF predictions as in `record`."""
    from workbench.experiments.notebooks import checked_oof

    return _scores(checked_oof(oof, _competition().access.competition, _target(), _competition().folds))


def _scores(oof: npt.NDArray[np.float64]) -> list[float]:
    from workbench.models.scoring import fold_scores

    opened = _competition()
    return list(fold_scores(_target(), opened.folds, oof, opened.access.competition.metric))


def record(*, oof: Any, test: Any, metrics: Mapping[str, float] | None = None) -> list[float]:
    """Record the notebook's predictions; the last call counts.

    Parameters
    ----------
    oof : array or frame
        Out-of-fold predictions of the train rows, (n_train,), or (n_train, n_classes) with a probability for each of
        `classes`. A frame with the row key or the ids may have any order.
    test : array or frame
        Predictions of the test rows, likewise.
    metrics : mapping, optional
        Name -> number, recorded together with the score.

    Returns
    -------
    list of float
        The score of each fold.

    Raises
    ------
    DataError
        When they are of other rows, of another shape, not finite, or not probabilities.
    """
    from workbench.experiments.notebooks import (
        RecordedPredictions,
        checked_metrics,
        checked_oof,
        checked_test,
        write_recorded,
    )

    competition, target, folds = _competition().access.competition, _target(), _competition().folds
    recorded = RecordedPredictions(
        checked_oof(oof, competition, target, folds),
        checked_test(test, competition, target),
        checked_metrics(metrics),
    )
    scores = _scores(recorded.oof)
    record_path = _context().record
    if record_path is not None:
        write_recorded(Path(record_path), recorded)
    scores_text = " ".join(f"{s:.5f}" for s in scores)
    remark = "" if record_path is not None else "  (not saved: only `wb run` saves it)"
    print(f"{competition.metric.name} {np.mean(scores):.5f}  ({scores_text}){remark}")  # noqa: T201 the output of the notebook's cell
    return scores
