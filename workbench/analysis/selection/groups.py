"""Groups of columns that are kept or dropped together: single columns, those of a feature, or correlated ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from workbench.experiments.ready import ReadyExperiment
from workbench.features import FeatureMatrix, FoldFeature, columns_of
from workbench.models.records import Problem

__all__ = ["GROUPINGS", "Group", "column_groups", "feature_by_column", "features_with_columns", "with_columns"]

GROUPINGS = ("column", "feature", "correlated")

MIN_CORRELATION = 0.95
MAX_CORRELATION_ROWS = 10_000


@dataclass(frozen=True)
class Group:
    """Columns that are kept or dropped together, with a unique name."""

    name: str
    columns: tuple[str, ...]


def column_groups(experiment: ReadyExperiment, by: str = "column") -> tuple[Group, ...]:
    """Return the groups of an experiment's columns, in the matrix's order; every column is in exactly one.

    Parameters
    ----------
    by : str
        "column": each column by itself. "feature": all columns of a feature; those of ``rows`` stay single.
        "correlated": connected components of columns with a rank correlation of at least 0.95. The columns of a fold
        feature are always a group: an experiment can only have all of them.
    """
    matrix = experiment.problem.matrix
    if by == "feature":
        columns_by_feature: dict[str, list[str]] = {}
        for entry, columns in _columns_by_entry(experiment):
            columns_by_feature.setdefault(entry.partition(".")[0], []).extend(columns)
        joint_groups = [
            Group(name, tuple(columns)) for name, columns in columns_by_feature.items() if columns and name != "rows"
        ]
        grouped_columns = {column for group in joint_groups for column in group.columns}
        single_groups = [Group(c, (c,)) for c in matrix.columns if c not in grouped_columns]
    elif by == "correlated":
        components = _correlated(matrix)
        joint_groups = [group for group in components if len(group.columns) > 1]
        single_groups = [group for group in components if len(group.columns) == 1]
    else:
        joint_groups, single_groups = [], [Group(c, (c,)) for c in matrix.columns]
    position = {column: i for i, column in enumerate(matrix.columns)}
    fold_groups = _fold_groups(experiment.problem)
    single_groups = _with_unique_names(
        single_groups, {group.name for group in (*joint_groups, *fold_groups)}, feature_by_column(experiment)
    )
    ordered = sorted([*joint_groups, *single_groups], key=lambda group: position[group.columns[0]])
    return (*ordered, *fold_groups)


def _with_unique_names(
    single_groups: list[Group], used_names: set[str], feature_by_column: dict[str, str]
) -> list[Group]:
    """Rename single columns such as "town" to "rows.town" if another group has the name.

    Parameters
    ----------
    feature_by_column : dict
        Column -> feature.
    """
    renamed_groups = []
    for group in single_groups:
        name = group.name
        while name in used_names:
            name = f"{feature_by_column[group.columns[0]]}.{name}"
        used_names.add(name)
        renamed_groups.append(replace(group, name=name))
    return renamed_groups


def _fold_groups(problem: Problem) -> list[Group]:
    """Return a group for each fold feature, with its columns for all targets."""
    columns_by_feature: dict[str, list[str]] = {}
    targets = problem.target.columns
    for fold_columns in problem.matrix.fold_columns:
        column_names = (n for index in range(len(targets)) for n in fold_columns.names(targets, index))
        columns_by_feature.setdefault(fold_columns.feature_name, []).extend(column_names)
    return [Group(name, tuple(dict.fromkeys(columns))) for name, columns in columns_by_feature.items()]


def _columns_by_entry(experiment: ReadyExperiment) -> list[tuple[str, list[str]]]:
    """Return each entry of the experiment's features with its columns in the matrix."""
    matrix_columns = set(experiment.problem.matrix.columns)
    return [(e, [c for c in columns_of(experiment.blocks, e) if c in matrix_columns]) for e in experiment.spec.features]


def feature_by_column(experiment: ReadyExperiment) -> dict[str, str]:
    """Return the feature of each column; "rows" for columns of the tables."""
    features = {c: entry.partition(".")[0] for entry, columns in _columns_by_entry(experiment) for c in columns}
    return features | {c: group.name for group in _fold_groups(experiment.problem) for c in group.columns}


def _correlated(matrix: FeatureMatrix) -> list[Group]:
    """Return the connected components of correlated columns, by rank correlation on a sample of the train rows."""
    if not matrix.width:
        return []
    rows = np.random.default_rng(0).permutation(matrix.n_train)[:MAX_CORRELATION_ROWS]
    filled_ranks = pl.all().rank().fill_null(strategy="zero").cast(pl.Float64)
    ranks = matrix.only_train(np.sort(rows)).frame.select(filled_ranks).to_numpy()
    ranks -= ranks.mean(axis=0)
    norms = np.sqrt((ranks**2).sum(axis=0))
    np.divide(ranks, norms, out=ranks, where=norms > 0)
    is_correlated = np.abs(ranks.T @ ranks) >= MIN_CORRELATION
    columns_by_component: dict[int, list[str]] = {}
    for column, component in zip(matrix.columns, _connected_components(is_correlated), strict=True):
        columns_by_component.setdefault(component, []).append(column)
    return [
        Group(columns[0] if len(columns) == 1 else f"{columns[0]} + {len(columns) - 1}", tuple(columns))
        for columns in columns_by_component.values()
    ]


def _connected_components(is_edge: npt.NDArray[np.bool_]) -> list[int]:
    """Return the connected component of each node of a graph, as the number of its first node.

    Parameters
    ----------
    is_edge : bool array (n, n)
    """
    component_of: dict[int, int] = {}
    for start in range(len(is_edge)):
        stack = [start]
        while stack:
            node = stack.pop()
            if node not in component_of:
                component_of[node] = start
                stack += np.flatnonzero(is_edge[node]).tolist()
    return [component_of[node] for node in range(len(is_edge))]


def features_with_columns(experiment: ReadyExperiment, columns: Iterable[str]) -> tuple[str, ...]:
    """Return the ``features`` of an experiment restricted to these columns, in the same order.

    A feature with all its columns is listed by its name, else each column is listed. A fold feature is listed if any of
    its columns is requested.
    """
    requested_columns = set(columns)
    fold_groups = {group.name: group for group in _fold_groups(experiment.problem)}
    features: list[str] = []
    for entry, columns_of_entry in _columns_by_entry(experiment):
        if isinstance(experiment.blocks.features.get(entry), FoldFeature):
            features += [entry] if requested_columns & set(fold_groups[entry].columns) else []
            continue
        entry_columns = [c for c in columns_of_entry if c in requested_columns]
        is_complete = bool(entry_columns) and entry_columns == columns_of(experiment.blocks, entry)
        features += [entry] if is_complete else [f"{entry.partition('.')[0]}.{c}" for c in entry_columns]
    return tuple(features)


def with_columns(problem: Problem, columns: Iterable[str]) -> Problem:
    """Return the problem with some of its columns only.

    Test rows are dropped, too, as no test predictions are needed, unless there are fold features, which use them.
    """
    requested_columns, matrix = set(columns), problem.matrix
    fold_features = {group.name for group in _fold_groups(problem) if requested_columns & set(group.columns)}
    fold_columns = tuple(c for c in matrix.fold_columns if c.feature_name in fold_features)
    reduced_matrix = replace(matrix.only_columns(requested_columns), fold_columns=fold_columns)
    return replace(problem, matrix=reduced_matrix if fold_columns else reduced_matrix.without_test())
