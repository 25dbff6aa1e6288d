"""Definitions of features: the decorator `feature`, and the classes of both kinds of features."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import polars as pl

from workbench.core.errors import FeatureError, NotFoundError, did_you_mean
from workbench.core.read_once import read_once
from workbench.features.code_locations import locate_name

__all__ = ["Feature", "FoldFeature", "feature", "features_of", "repeated_definitions"]


@dataclass(frozen=True)
class Feature:
    """A named function that computes columns for every row.

    Attributes
    ----------
    name : str
        The name of the function, by which ``features`` of an experiment refers to it.
    function : callable
        Takes the inputs by name; returns a LazyFrame with the row key and new columns, one line per row, or a list of
        expressions over ``rows``.
    inputs : tuple of str
        The names of the parameters: ``rows``, tables, or other features.
    path, line
        Where it is defined, for messages.
    partition_by : str, or None
        A column of ``rows``. If the rows are processed in parts, rows with equal values are in the same part.
    files : tuple of str
        Files that the function reads, relative to the folder of the definition; their content is part of the cache key.
    """

    name: str
    function: Callable[..., pl.LazyFrame | list[pl.Expr]]
    inputs: tuple[str, ...]
    path: Path
    line: int
    partition_by: str | None = None
    files: tuple[str, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> pl.LazyFrame | list[pl.Expr]:
        """Call the function, for use in notebooks."""
        return self.function(*args, **kwargs)

    @property
    def where(self) -> str:
        """The place of the definition: "features.py, line 12"."""
        return f"{self.path.name}, line {self.line}"


class FoldFeature:
    """Columns that depend on the target, and are therefore learned separately on the train rows of each fold.

    A subclass sets `columns`, the columns that it reads ("dest" of rows, "calendar.hour" of a feature), and implements
    `learn`. Its name is that of the variable in `features.py`. See `workbench.features.encodings.TargetEncoding`.
    """

    name: str = ""
    columns: tuple[str, ...] = ()

    def each(self) -> Sequence[FoldFeature]:
        """Return a feature for each of its groups of columns."""
        return [self]

    def check(self, task: str, targets: Sequence[str]) -> None:
        """Raise FeatureError for a task that it can't be used with, NotFoundError for missing target columns."""

    def check_columns(self, row_columns: Sequence[str], features: Collection[str], path: Path | None = None) -> None:
        """Check that the columns exist, as far as possible before any feature is built.

        Parameters
        ----------
        row_columns : sequence of str
            The columns of rows.
        features : collection of str
            The names of all features.
        path : Path, optional
            The file of the definition, for the line number in the message.

        Raises
        ------
        NotFoundError
            For a column that is neither one of rows nor "feature.column" of an existing feature.
        """
        for reference in self.columns:
            block, dot, column = reference.partition(".")
            if dot and block in features:
                continue
            name = column if dot and block == "rows" else reference
            if name not in row_columns:
                # The feature in "calender.hour" may be misspelled.
                names = [*row_columns, *(f"{feature}.{column}" for feature in features if dot)]
                location = locate_name(path, self.name, reference) if path is not None else ""
                where = f" ({location})" if location else ""
                raise NotFoundError(
                    f"feature {self.name!r} (features.py): rows have no column {name!r}{where}",
                    hint=did_you_mean(name, names, kind="column"),
                )

    def names(self, targets: Sequence[Any], target_index: int) -> list[str]:
        """Return the names of the columns for a model that predicts ``targets[target_index]``."""
        raise NotImplementedError

    def learn(self, groups: Any, targets: Sequence[Any], target_index: int, split: Any) -> Any:
        """Return an object whose method ``columns(fold)`` returns float32 arrays (n_rows,)."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """The content key of the definition."""
        raise NotImplementedError


FeatureFunction = Callable[..., "pl.LazyFrame | list[pl.Expr]"]


@overload
def feature(function: FeatureFunction) -> Feature: ...


@overload
def feature(*, partition_by: str | None = None, files: Sequence[str] = ()) -> Callable[[FeatureFunction], Feature]: ...


def feature(
    function: FeatureFunction | None = None, *, partition_by: str | None = None, files: Sequence[str] = ()
) -> Feature | Callable[[FeatureFunction], Feature]:
    """Turn a function into a feature, whose inputs are the names of its parameters.

    Parameters
    ----------
    function : callable
    partition_by : str, optional
        A column of ``rows``. For big data the function is called once per part of the rows. A part has all rows with
        some of the values of that column; other tables that have the column are restricted to the same values. This
        bounds the memory of operations that need all their input at once, such as window functions over sessions. The
        result must not depend on rows with other values.
    files : list of str, optional
        Files that the function reads, as from ``Path(__file__).parent``, relative to the folder of ``features.py``. The
        feature is computed again when one of them changes. Tables need not be listed.

    Examples
    --------
    >>> import polars as pl
    >>> from workbench.features import ROW, feature
    >>> @feature
    ... def ratio(rows):
    ...     return rows.select(ROW, ratio=pl.col("a") / pl.col("b"))
    >>> ratio.name, ratio.inputs
    ('ratio', ('rows',))
    >>> @feature(partition_by="session")
    ... def position(rows):
    ...     return [pl.col("ts").rank("ordinal").over("session").alias("position")]
    >>> position.partition_by
    'session'
    """
    if function is None:
        if isinstance(files, str) or not all(isinstance(f, str) for f in files):
            raise FeatureError(
                f"@feature(files={files!r}): expected a list of paths", hint='write files=["holidays.csv"]'
            )
        return lambda inner: replace(feature(inner), partition_by=partition_by, files=tuple(files))
    if not callable(function):
        raise FeatureError(
            f"@feature({function!r}): expected a function", hint='write @feature, or @feature(partition_by="session")'
        )
    parameters = inspect.signature(function).parameters.values()
    path, line = Path(function.__code__.co_filename), function.__code__.co_firstlineno
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        raise FeatureError(
            f"feature {function.__name__!r} ({path.name}, line {line}) takes *args or **kwargs",
            hint="name its inputs: rows, tables, or other features",
        )
    return Feature(function.__name__, function, tuple(p.name for p in parameters), path, line)


def features_of(namespace: dict[str, Any]) -> dict[str, Feature | FoldFeature]:
    """Return variable name -> feature for the namespace of a module."""
    features: dict[str, Feature | FoldFeature] = {}
    for name, value in namespace.items():
        if isinstance(value, Feature):
            features[name] = value if value.name == name else replace(value, name=name)
        elif isinstance(value, FoldFeature):
            value.name = name
            features[name] = value
    return features


def repeated_definitions(path: Path) -> dict[str, list[int]]:
    """Return the top-level names that a file defines more than once, with the line numbers of the definitions."""
    lines: dict[str, list[int]] = {}
    for node in ast.parse(read_once(path), filename=str(path)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            lines.setdefault(node.name, []).append(node.lineno)
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    lines.setdefault(target.id, []).append(node.lineno)
    return {name: numbers for name, numbers in lines.items() if len(numbers) > 1}
