"""A competition on disk: its definition, its tables and its own code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from workbench import metrics
from workbench.core.errors import NotFoundError, did_you_mean
from workbench.data.competition.definition import Definition, read_definition
from workbench.data.competition.ids import RowIds
from workbench.data.competition.importing import load_code
from workbench.data.competition.own_code import own_file
from workbench.data.competition.paths import CompetitionPaths
from workbench.data.competition.stacked import ROW, StackedRows
from workbench.data.competition.tables import Manifest, TableInfo, check_columns, check_table, read_manifest, scan
from workbench.data.competition.weights import RowWeights, read_weights
from workbench.data.workspace import Workspace

__all__ = ["Competition", "load_competition"]


@dataclass(frozen=True)
class Competition:
    """A competition: its definition, its folder and its tables. Nothing is read before it is needed.

    Attributes
    ----------
    folder : Path
        Absolute.
    cache_limit : int, optional
        The bytes that the cache of features may take.
    columns : tuple of str, optional
        The columns of the rows that a model was trained on; None for those that train and test share now.
    empty_types : mapping, optional
        The types, when a model was trained, of the columns that have no value now: an empty column has no type.
    """

    definition: Definition
    folder: Path
    cache_limit: int | None = None
    columns: tuple[str, ...] | None = None
    empty_types: Mapping[str, pl.DataType] | None = None

    @property
    def slug(self) -> str:
        """The competition's name on its platform, which is also the name of its folder."""
        return self.definition.slug

    @cached_property
    def paths(self) -> CompetitionPaths:
        """Where its files are."""
        return CompetitionPaths(self.folder)

    @cached_property
    def rows(self) -> StackedRows:
        """Train and test stacked: the rows that features attach to."""
        return StackedRows(self)

    @cached_property
    def ids(self) -> RowIds:
        """The ids of the test rows, and the columns that only tell rows apart."""
        return RowIds(self)

    @cached_property
    def manifest(self) -> Manifest:
        """The entries that `wb fetch` wrote for the tables."""
        return read_manifest(self.paths.tables, slug=self.slug)

    @cached_property
    def metric(self) -> metrics.Metric:
        """The competition's metric: a built-in one, or the function that the definition names."""
        d = self.definition
        if ".py:" not in d.metric:
            return metrics.get(d.metric)
        function = self.load_function(d.metric)
        name = d.metric.rpartition(":")[2]
        return metrics.from_function(
            function, name, greater_is_better=bool(d.greater_is_better), prediction_type=d.metric_needs or "value"
        )

    @cached_property
    def weights(self) -> RowWeights:
        """The weights of the train rows in training and in the metric.

        Raises
        ------
        ConfigError
            When an expression can't be read, or names a column that train does not have.
        """
        return read_weights(self.definition, self.train_info.dtypes, where=str(self.paths.definition))

    @property
    def train_info(self) -> TableInfo:
        """The manifest's entry of the train table."""
        return self.manifest.table(self.definition.tables.train, slug=self.slug)

    @property
    def test_info(self) -> TableInfo:
        """The manifest's entry of the test table."""
        return self.manifest.table(self.definition.tables.test, slug=self.slug)

    @property
    def n_train(self) -> int:
        """The number of train rows."""
        return self.train_info.rows

    @property
    def n_test(self) -> int:
        """The number of test rows."""
        return self.test_info.rows

    def table_path(self, name: str) -> Path:
        """Return the Parquet file of a table, checked against the manifest.

        Raises
        ------
        NotFoundError
            For an unknown name.
        DamagedError
            When the file is not the one that was fetched.
        """
        return check_table(self.paths.tables, self.manifest.table(name, slug=self.slug), slug=self.slug)

    def table(self, name: str) -> pl.LazyFrame:
        """Return a table, lazily, in file order; errors are those of `table_path`."""
        return scan(self.table_path(name))

    def train_columns(self, *columns: str, key: str = "column") -> pl.DataFrame:
        """Return columns of the train table, in file order.

        Parameters
        ----------
        *columns : str
        key : str
            The key of competition.toml that names the columns, for the message.

        Raises
        ------
        DataError
            For a column that train does not have.
        """
        train = self.definition.tables.train
        check_columns(columns, self.train_info.dtypes, train, key=f"{self.paths.definition}: {key}")
        return scan(self.table_path(train), ROW).select(ROW, *columns).sort(ROW).drop(ROW).collect()

    def load_function(self, reference: str) -> Any:
        """Return a function of the competition's own code.

        Parameters
        ----------
        reference : str
            ``file.py:name``, relative to the competition's folder.

        Raises
        ------
        NotFoundError
            When there is no such file or function.
        ConfigError
            When the file is outside of the folder, or raises.
        """
        file, _, name = reference.partition(":")
        path = own_file(self.folder, file, where=f"{self.paths.definition}: {reference!r}")
        module = load_code(path)
        if not callable(getattr(module, name, None)):
            callables = [n for n, value in vars(module).items() if callable(value)]
            raise NotFoundError(f"{path} has no function {name!r}", hint=did_you_mean(name, callables, kind="function"))
        return getattr(module, name)


def load_competition(workspace: Workspace, slug: str) -> Competition:
    """Return the competition `slug` of a workspace.

    Raises
    ------
    NotFoundError
        When there is none of that name, or it has no definition yet.
    ConfigError
        When its definition is wrong.
    """
    folder = workspace.competition_folder(slug)
    return Competition(read_definition(folder / "competition.toml", slug), folder, workspace.cache_limit)
