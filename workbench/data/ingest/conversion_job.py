"""The parameters of a conversion, and the conversion of groups of tables when some of their files can't be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from workbench.core.context import SILENT, RunContext
from workbench.core.errors import DataError, WorkbenchError
from workbench.core.temporary import temporary_file
from workbench.data.ingest.excluded import UNREADABLE, Exclusions, NoTableError, with_fixed_hint
from workbench.data.ingest.sources import ReadOptions, TableSource

__all__ = ["ConversionJob", "GroupConverter"]

T = TypeVar("T")


@dataclass(frozen=True)
class ConversionJob:
    """Where tables are written, how their files are read, and who is informed.

    Attributes
    ----------
    tables : Path
        The folder of the Parquet files.
    options : ReadOptions
    context : RunContext
        Gets a message before each table, and notes on how its values are read.
    """

    tables: Path
    options: ReadOptions
    context: RunContext = SILENT

    def parquet_path(self, table: TableSource) -> Path:
        """Return the path of a table's Parquet file."""
        return self.tables / f"{table.name}.parquet"

    def read_options(self, table: TableSource) -> dict[str, Any]:
        """Return ``[read.TABLE]`` of a table; empty where competition.toml has none."""
        return self.options.read.get(table.name, {})


@dataclass(frozen=True)
class GroupConverter:
    """Converts groups of tables and excludes the tables that can't be read and are not needed.

    Attributes
    ----------
    job : ConversionJob
    needed : set of str
        The tables that must be readable.
    excluded : Exclusions
        Gets the tables that are excluded.
    slug : str
    """

    job: ConversionJob
    needed: set[str]
    excluded: Exclusions
    slug: str

    def convert(
        self,
        group: list[TableSource],
        convert_group: Callable[[list[TableSource], ConversionJob], T],
        convert_alone: Callable[[list[TableSource], ConversionJob], object] | None = None,
    ) -> T | None:
        """Convert a group of tables that share their types; None where none of them can be read.

        Parameters
        ----------
        group : list of TableSource
        convert_group : callable
            Converts tables; called again without the tables that can't be read.
        convert_alone : callable, optional
            Converts a single table to find out which one of several can't be read; by default `convert_group`.

        Raises
        ------
        DataError
            When a needed table can't be read.
        """
        while group:
            try:
                return convert_group(group, self.job)
            except NoTableError:
                (table,) = group
                # For example a map of labels, or annotations of images: the data is not at fault.
                reason = "it is JSON, but neither records nor columns"
                self.job.context.say(
                    f"not converting {table.name}: {table.where} is JSON, but neither records nor columns"
                )
                self.excluded.add(table.name, NoTableError(reason), table)
                return None
            except UNREADABLE as exc:
                optional = [t for t in group if t.name not in self.needed]
                is_final = self.excluded.refuses(exc, group)
                faults = {} if is_final else self._faults(group, optional, exc, convert_alone or convert_group)
                if not faults:
                    raise self.explained(exc, group) from exc
                for table in optional:
                    if table.name in faults:
                        self.excluded.add(table.name, faults[table.name], table)
                group = [t for t in group if t.name not in faults]
        return None

    def _faults(
        self,
        group: list[TableSource],
        optional: list[TableSource],
        exc: Exception,
        convert_alone: Callable[[list[TableSource], ConversionJob], object],
    ) -> dict[str, Exception]:
        """Return the faults of the optional tables by name; of several tables, each is converted alone to find them."""
        if len(group) == 1:
            return {t.name: exc for t in optional}
        faults: dict[str, Exception] = {}
        for table in optional:
            with temporary_file(self.job.tables / "alone") as folder:
                folder.mkdir()
                try:
                    convert_alone([table], replace(self.job, tables=folder, context=SILENT))
                except UNREADABLE as fault:
                    faults[table.name] = fault
        return faults

    def explained(self, exc: BaseException, group: list[TableSource]) -> BaseException:
        """Return the exception to raise for a failed group: an error of the workbench, with a hint on what to do."""
        if not isinstance(exc, DataError):
            return exc if isinstance(exc, WorkbenchError) else DataError(f"{group[0].where} can't be read: {exc}")
        needed = [t for t in group if t.name in self.needed] or group
        return with_fixed_hint(exc, needed, self.job.options, self.slug)
