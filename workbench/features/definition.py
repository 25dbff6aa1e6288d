"""What a feature is."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import polars as pl

from workbench.core.errors import FeatureError, NotFoundError, near
from workbench.core.read_once import read_once
from workbench.features.naming_places import place_of_name

__all__ = ["Feature", "FoldFeature", "feature", "features_of", "repeated_definitions"]


@dataclass(frozen=True)
class Feature:
    """A named function that gives columns for every row.

    Attributes
    ----------
    name : str
        The function's name: what an experiment's ``features`` lists.
    function : callable
        Takes the inputs by name; returns a LazyFrame with the row key and new columns, one line per row, or a list of
        expressions over ``rows``.
    inputs : tuple of str
        The parameters' names: ``rows``, tables, or other features.
    path, line : where it is defined, for messages.
    partition_by : str, or None
        The column of ``rows`` whose values are kept together where the rows are taken in parts.
    files : tuple of str
        Files beside the definition that the function reads by itself; their content counts.
    """

    name: str
    function: Callable[..., pl.LazyFrame | list[pl.Expr]]
    inputs: tuple[str, ...]
    path: Path
    line: int
    partition_by: str | None = None
    files: tuple[str, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> pl.LazyFrame | list[pl.Expr]:
        """Call the function, as in a notebook."""
        return self.function(*args, **kwargs)

    @property
    def where(self) -> str:
        """The place of the definition: "features.py, line 12"."""
        return f"{self.path.name}, line {self.line}"


class FoldFeature:
    """Columns that depend on the target and so on the fold: learned on what a fold may see, replayed on the rest.

    A subclass names the columns it reads in `columns` ("dest" of rows, "calendar.hour" of a feature) and learns in
    `learn`. Its own name is the one that `features.py` gives it. See `workbench.features.encodings.TargetEncoding`.
    """

    name: str = ""
    columns: tuple[str, ...] = ()

    def each(self) -> Sequence[FoldFeature]:
        """Return it as features of one group of columns each."""
        return [self]

    def check(self, task: str, targets: Sequence[str]) -> None:
        """Raise a FeatureError for a task, or a NotFoundError for target columns, that it does not fit."""

    def check_columns(self, of_rows: Sequence[str], features: Collection[str], path: Path | None = None) -> None:
        """Refuse columns that there are not, as far as is known before any feature is built.

        Parameters
        ----------
        path : Path, optional
            The file of the definition, for the line in the message.

        Raises
        ------
        NotFoundError
            For a column that is neither one of rows nor "feature.column" of a feature that there is.
        """
        for reference in self.columns:
            block, dot, column = reference.partition(".")
            if dot and block in features:
                continue
            name = column if dot and block == "rows" else reference
            if name not in of_rows:
                # "calender.hour": the feature, or the column of it, is misspelled.
                names = [*of_rows, *(f"{feature}.{column}" for feature in features if dot)]
                place = place_of_name(path, self.name, reference) if path is not None else ""
                at = f" ({place})" if place else ""
                raise NotFoundError(
                    f"feature {self.name!r} (features.py): rows have no column {name!r}{at}",
                    hint=near(name, names, kind="column"),
                )

    def names(self, targets: Sequence[Any], target_index: int) -> list[str]:
        """Return the names of its columns where the model is trained for ``targets[target_index]``."""
        raise NotImplementedError

    def learn(self, groups: Any, targets: Sequence[Any], target_index: int, split: Any) -> Any:
        """Return an object whose ``columns(fold)`` are the columns of one fold, float32 arrays (n_rows,)."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """The content key of the definition."""
        raise NotImplementedError


Columns = Callable[..., "pl.LazyFrame | list[pl.Expr]"]


@overload
def feature(function: Columns) -> Feature: ...


@overload
def feature(*, partition_by: str | None = None, files: Sequence[str] = ()) -> Callable[[Columns], Feature]: ...


def feature(
    function: Columns | None = None, *, partition_by: str | None = None, files: Sequence[str] = ()
) -> Feature | Callable[[Columns], Feature]:
    """Make a feature of a function; its parameters' names say what it reads.

    Parameters
    ----------
    function : callable
    partition_by : str, optional
        A column of ``rows``. Where the data is big, the function is called once per part of the rows, with all rows of
        some values of that column, and all lines of other tables that have the column for these values; so that what
        has to hold its input in memory, like a window function over sessions, holds one part of it. The result must
        not depend on rows with other values.
    files : list of str, optional
        Files that the function, or what it calls, reads by itself, as from ``Path(__file__).parent``: paths from the
        folder of ``features.py``. The block is built again when one of them changes. (Tables need no mention.)

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
            hint="name what it reads: rows, tables, or other features",
        )
    return Feature(function.__name__, function, tuple(p.name for p in parameters), path, line)


def features_of(namespace: dict[str, Any]) -> dict[str, Feature | FoldFeature]:
    """Return the features of a module's namespace, by the names that the module gives them."""
    features: dict[str, Feature | FoldFeature] = {}
    for name, value in namespace.items():
        if isinstance(value, Feature):
            features[name] = value if value.name == name else replace(value, name=name)
        elif isinstance(value, FoldFeature):
            value.name = name
            features[name] = value
    return features


def repeated_definitions(path: Path) -> dict[str, list[int]]:
    """Return the lines of the functions and assignments of a file that give the same top-level name again."""
    lines: dict[str, list[int]] = {}
    for node in ast.parse(read_once(path), filename=str(path)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            lines.setdefault(node.name, []).append(node.lineno)
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    lines.setdefault(target.id, []).append(node.lineno)
    return {name: at for name, at in lines.items() if len(at) > 1}
