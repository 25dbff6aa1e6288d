"""What is kept or dropped as one: a column, the columns of a fold feature, of a feature, or those that run together."""

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
    """Columns that are kept or dropped together, under the name that the result shows, which no other group has."""

    name: str
    columns: tuple[str, ...]


def groups_of(experiment: ReadyExperiment, by: str = "column") -> tuple[Group, ...]:
    """Return the groups of an experiment's columns, in the matrix's order; every column is in exactly one.

    Parameters
    ----------
    by : str
        "column": each by itself. "feature": all columns of a feature; those of ``rows`` stay single. "correlated":
        columns whose rank correlation is 0.95 or more, in one chain. The columns of one fold feature are always
        together: an experiment takes such a feature whole.
    """
    matrix = experiment.problem.matrix
    if by == "feature":
        of_feature: dict[str, list[str]] = {}
        for entry, columns in _owned(experiment):
            of_feature.setdefault(entry.partition(".")[0], []).extend(columns)
        made = [Group(name, tuple(columns)) for name, columns in of_feature.items() if columns and name != "rows"]
        taken = {c for g in made for c in g.columns}
        single = [Group(c, (c,)) for c in matrix.columns if c not in taken]
    elif by == "correlated":
        chains = _correlated(matrix)
        made, single = [g for g in chains if len(g.columns) > 1], [g for g in chains if len(g.columns) == 1]
    else:
        made, single = [], [Group(c, (c,)) for c in matrix.columns]
    place = {c: i for i, c in enumerate(matrix.columns)}
    of_folds = _fold_groups(experiment.problem)
    single = _named_apart(single, {g.name for g in (*made, *of_folds)}, origins(experiment))
    ordered = sorted([*made, *single], key=lambda g: place[g.columns[0]])
    return (*ordered, *of_folds)


def _named_apart(single: list[Group], taken: set[str], of: dict[str, str]) -> list[Group]:
    """Name a column as "rows.town" where a feature is called so, too: names are what groups are told apart by."""
    named = []
    for group in single:
        name = group.name
        while name in taken:
            name = f"{of[group.columns[0]]}.{name}"
        taken.add(name)
        named.append(replace(group, name=name))
    return named


def _fold_groups(problem: Problem) -> list[Group]:
    names: dict[str, list[str]] = {}
    targets = problem.target.columns
    for fold_columns in problem.matrix.fold_columns:
        found = (n for own in range(len(targets)) for n in fold_columns.names(targets, own))
        names.setdefault(fold_columns.of, []).extend(found)
    return [Group(of, tuple(dict.fromkeys(columns))) for of, columns in names.items()]


def _owned(experiment: ReadyExperiment) -> list[tuple[str, list[str]]]:
    """Return each entry of the experiment's features with the columns of the matrix that it gave."""
    have = set(experiment.problem.matrix.columns)
    return [(e, [c for c in columns_of(experiment.blocks, e) if c in have]) for e in experiment.spec.features]


def origins(experiment: ReadyExperiment) -> dict[str, str]:
    """Return, for each column, the feature that gives it: "rows" for the tables' own."""
    found = {c: entry.partition(".")[0] for entry, columns in _owned(experiment) for c in columns}
    return found | {c: g.name for g in _fold_groups(experiment.problem) for c in g.columns}


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
    """Return the number of the connected part that each node of a graph belongs to."""
    part: dict[int, int] = {}
    for start in range(len(close)):
        waiting = [start]
        while waiting:
            at = waiting.pop()
            if at not in part:
                part[at] = start
                waiting += np.flatnonzero(close[at]).tolist()
    return [part[node] for node in range(len(close))]


def list_of(experiment: ReadyExperiment, columns: Iterable[str]) -> tuple[str, ...]:
    """Return the ``features`` of an experiment that has just these of its columns, in the same order.

    A feature all of whose columns are kept is named whole; of another, each column that is kept is named. A fold
    feature is whole where any of its columns is kept.
    """
    wanted = set(columns)
    folds = {g.name: g for g in _fold_groups(experiment.problem)}
    features: list[str] = []
    for entry, owned in _owned(experiment):
        if isinstance(experiment.blocks.features.get(entry), FoldFeature):
            features += [entry] if wanted & set(folds[entry].columns) else []
            continue
        kept = [c for c in owned if c in wanted]
        whole = kept == columns_of(experiment.blocks, entry)
        features += [entry] if kept and whole else [f"{entry.partition('.')[0]}.{c}" for c in kept]
    return tuple(features)


def only(problem: Problem, columns: Iterable[str]) -> Problem:
    """Return the problem with only some of its columns; what else it is stays.

    The test rows go too, where nothing that depends on the fold is computed from them: nobody asks for predictions.
    """
    wanted, matrix = set(columns), problem.matrix
    names = {g.name for g in _fold_groups(problem) if wanted & set(g.columns)}
    folds = tuple(c for c in matrix.fold_columns if c.of in names)
    kept = replace(matrix.only_columns(wanted), fold_columns=folds)
    return replace(problem, matrix=kept if folds else kept.without_test())
