"""Groups of columns that are kept or dropped as one: a column, a feature's columns, or correlated columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.experiments.ready import ReadyExperiment
from workbench.features import FeatureMatrix, FoldFeature, columns_of
from workbench.models.records import Problem

__all__ = ["BY", "Group", "groups_of", "list_of", "only", "origins"]

BY = ("column", "feature", "correlated")
CORRELATED = 0.95
CORRELATED_ROWS = 10_000


@dataclass(frozen=True)
class Group:
    """Columns that are kept or dropped together, under a unique name for the report."""

    name: str
    columns: tuple[str, ...]


def groups_of(experiment: ReadyExperiment, by: str = "column") -> tuple[Group, ...]:
    """Return the groups of an experiment's columns, in the matrix's order; every column is in exactly one.

    Parameters
    ----------
    by : str
        "column": each by itself. "feature": all columns of a feature; those of ``rows`` stay single. "correlated":
        connected columns whose rank correlation is 0.95 or more. The columns of a fold feature are always together: an
        experiment can only take all of them.
    """
    matrix = experiment.problem.matrix
    if by == "feature":
        of_feature: dict[str, list[str]] = {}
        for entry, columns in _owned(experiment):
            of_feature.setdefault(entry.partition(".")[0], []).extend(columns)
        joint = [Group(name, tuple(columns)) for name, columns in of_feature.items() if columns and name != "rows"]
        grouped = {c for g in joint for c in g.columns}
        singles = [Group(c, (c,)) for c in matrix.columns if c not in grouped]
    elif by == "correlated":
        chains = _correlated(matrix)
        joint, singles = [g for g in chains if len(g.columns) > 1], [g for g in chains if len(g.columns) == 1]
    else:
        joint, singles = [], [Group(c, (c,)) for c in matrix.columns]
    place = {c: i for i, c in enumerate(matrix.columns)}
    of_folds = _fold_groups(experiment.problem)
    singles = _named_apart(singles, {g.name for g in (*joint, *of_folds)}, origins(experiment))
    ordered = sorted([*joint, *singles], key=lambda g: place[g.columns[0]])
    return (*ordered, *of_folds)


def _named_apart(single: list[Group], names: set[str], feature_of: dict[str, str]) -> list[Group]:
    """Name a column "rows.town" where a feature has the same name: groups are identified by their names."""
    named = []
    for group in single:
        name = group.name
        while name in names:
            name = f"{feature_of[group.columns[0]]}.{name}"
        names.add(name)
        named.append(replace(group, name=name))
    return named


def _fold_groups(problem: Problem) -> list[Group]:
    names: dict[str, list[str]] = {}
    targets = problem.target.columns
    for fold_columns in problem.matrix.fold_columns:
        column_names = (n for index in range(len(targets)) for n in fold_columns.names(targets, index))
        names.setdefault(fold_columns.feature_name, []).extend(column_names)
    return [Group(of, tuple(dict.fromkeys(columns))) for of, columns in names.items()]


def _owned(experiment: ReadyExperiment) -> list[tuple[str, list[str]]]:
    """Return each entry of the experiment's features with its columns in the matrix."""
    matrix_columns = set(experiment.problem.matrix.columns)
    return [(e, [c for c in columns_of(experiment.blocks, e) if c in matrix_columns]) for e in experiment.spec.features]


def origins(experiment: ReadyExperiment) -> dict[str, str]:
    """Return the feature of each column: "rows" for the tables' own."""
    feature_of = {c: entry.partition(".")[0] for entry, columns in _owned(experiment) for c in columns}
    return feature_of | {c: g.name for g in _fold_groups(experiment.problem) for c in g.columns}


def _correlated(matrix: FeatureMatrix) -> list[Group]:
    if not matrix.width:
        return []
    rows = np.random.default_rng(0).permutation(matrix.n_train)[:CORRELATED_ROWS]
    ranked = pl.all().rank().fill_null(strategy="zero").cast(pl.Float64)
    ranks = matrix.only_train(np.sort(rows)).frame.select(ranked).to_numpy()
    ranks -= ranks.mean(axis=0)
    norm = np.sqrt((ranks**2).sum(axis=0))
    np.divide(ranks, norm, out=ranks, where=norm > 0)
    close = np.abs(ranks.T @ ranks) >= CORRELATED
    chain = _chains(close)
    groups: dict[int, list[str]] = {}
    for name, number in zip(matrix.columns, chain, strict=True):
        groups.setdefault(number, []).append(name)
    named = [(names[0] if len(names) == 1 else f"{names[0]} + {len(names) - 1}", names) for names in groups.values()]
    return [Group(title, tuple(names)) for title, names in named]


def _chains(close: npt.NDArray[np.bool_]) -> list[int]:
    """Return the connected component of each node of a graph."""
    part: dict[int, int] = {}
    for start in range(len(close)):
        stack = [start]
        while stack:
            at = stack.pop()
            if at not in part:
                part[at] = start
                stack += np.flatnonzero(close[at]).tolist()
    return [part[node] for node in range(len(close))]


def list_of(experiment: ReadyExperiment, columns: Iterable[str]) -> tuple[str, ...]:
    """Return the ``features`` of an experiment with exactly these of its columns, in the same order.

    A feature with all its columns is named as such; of another, each column is named. A fold feature is included if any
    of its columns is.
    """
    wanted = set(columns)
    folds = {g.name: g for g in _fold_groups(experiment.problem)}
    features: list[str] = []
    for entry, columns_of_entry in _owned(experiment):
        if isinstance(experiment.blocks.features.get(entry), FoldFeature):
            features += [entry] if wanted & set(folds[entry].columns) else []
            continue
        wanted_columns = [c for c in columns_of_entry if c in wanted]
        is_complete = wanted_columns == columns_of(experiment.blocks, entry)
        features += (
            [entry] if wanted_columns and is_complete else [f"{entry.partition('.')[0]}.{c}" for c in wanted_columns]
        )
    return tuple(features)


def only(problem: Problem, columns: Iterable[str]) -> Problem:
    """Return the problem with only some of its columns, otherwise unchanged.

    The test rows are dropped, too, unless fold features are computed from them: no test predictions are needed.
    """
    wanted, matrix = set(columns), problem.matrix
    names = {g.name for g in _fold_groups(problem) if wanted & set(g.columns)}
    folds = tuple(c for c in matrix.fold_columns if c.feature_name in names)
    reduced = replace(matrix.only_columns(wanted), fold_columns=folds)
    return replace(problem, matrix=reduced if folds else reduced.without_test())
