"""Ids of a competition's rows: how the test table has them, and which columns only tell rows apart."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from workbench.core.cache import content_key, read_json, write_json
from workbench.core.errors import DamagedError, DataError
from workbench.data.competition.answer import IdTemplate, as_written
from workbench.data.competition.row_numbers import find_row_numbers
from workbench.data.competition.stacked import ROW
from workbench.data.competition.tables import check_columns, check_key_spelling, scan

if TYPE_CHECKING:
    from workbench.data.competition.folder import Competition

__all__ = ["RowIds"]


class RowIds:
    """The ids of the test rows and the columns that only tell rows apart."""

    def __init__(self, competition: Competition) -> None:
        self._competition = competition

    @cached_property
    def template(self) -> IdTemplate | None:
        """How the ids are made from columns of the test table; None where it has them under the sample's names.

        Raises
        ------
        DataError
            When `id_in_test` names a column that test does not have.
        """
        c, d = self._competition, self._competition.definition
        if d.id_in_test is None:
            return None
        columns = list(c.test_info.dtypes)
        template = IdTemplate.parse(d.id_in_test, columns)
        if template is None:
            raise DataError(
                f"{c.paths.definition}: id_in_test = {d.id_in_test!r} names no columns of table "
                f"{d.tables.test!r}, which has {', '.join(columns[:10])}",
                hint='write a column\'s name, "{Store}_{Date}", or "{row+1}" for the number of the row',
            )
        return template

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns that only tell rows apart: an id of one column that is not a date, and `row_numbers`."""
        return tuple(dict.fromkeys((*self._single_id, *self.row_numbers)))

    @cached_property
    def _single_id(self) -> tuple[str, ...]:
        """The id's column in test if the id is one column that is not a date; else empty."""
        c, d, template = self._competition, self._competition.definition, self.template
        columns = d.id_columns
        if template is not None:
            columns = template.columns if template.is_column else ()
        test_types = c.test_info.dtypes
        check_columns(columns, test_types, d.tables.test, key=f"{c.paths.definition}: id")
        is_single_id = len(columns) == 1 and not test_types[columns[0]].startswith(("Date", "Datetime"))
        return columns if is_single_id else ()

    @cached_property
    def row_numbers(self) -> dict[str, str]:
        """The columns, other than a single id, that only number the rows of train, each with the reason.

        They are not used as features: where train is sorted by its target, they would reveal the target.
        """
        c, d = self._competition, self._competition.definition
        used_columns = (*self._single_id, *c.weights.columns, d.query, d.cv.column, d.cv.group)
        train_types = c.train_info.dtypes
        candidate_types = {x: train_types[x] for x in c.rows.columns if x not in used_columns}
        id_columns = d.id_columns if self.template is None else self.template.columns
        key = content_key("row-numbers-v2", c.rows.content_key, candidate_types, list(id_columns))
        with suppress(DamagedError, OSError, KeyError, TypeError):
            stored = read_json(c.paths.row_numbers)
            if stored["key"] == key:
                return dict(stored["columns"])
        reasons = find_row_numbers(c.table(d.tables.train), c.n_train, candidate_types, id_columns)
        with suppress(OSError):
            write_json(c.paths.row_numbers, {"key": key, "columns": reasons})
        return reasons

    def test_frame(self) -> pl.DataFrame:
        """Return the ids of the test rows, in file order, under the sample submission's names.

        Raises
        ------
        DataError
            When an id is null, or is not unique.
        """
        c, d, template = self._competition, self._competition.definition, self.template
        source_columns = d.id_columns if template is None else template.columns
        columns_by_table = {d.tables.test: source_columns, d.tables.sample_submission or "": d.id_columns}
        check_key_spelling(c.manifest, columns_by_table, slug=c.slug)
        ids = scan(c.table_path(d.tables.test), ROW).select(ROW, *source_columns).sort(ROW).drop(ROW).collect()
        if template is not None:
            if template.first_row is not None:
                ids = pl.DataFrame({ROW: range(c.n_test)})  # no columns are read: the template needs only the height
            elif not template.is_column:
                ids = as_written(ids, c.test_info.spelled)
            ids = template.make(ids, d.id_columns[0]).to_frame()
        self._check_unique(ids)
        return ids

    def _check_unique(self, ids: pl.DataFrame) -> None:
        """Refuse ids of the test rows that are null or repeated."""
        d = self._competition.definition
        name = " + ".join(d.id_columns)
        n_nulls = int(ids.null_count().sum_horizontal()[0])
        if n_nulls:
            raise DataError(f"id {name!r} of table {d.tables.test!r} has {n_nulls:,} nulls, expected none")
        repeated = ids.filter(ids.is_duplicated())
        if repeated.height:
            examples = ", ".join(map(str, repeated.unique(maintain_order=True).head(3).rows()))
            raise DataError(
                f"id {name!r} of table {d.tables.test!r} is not unique: {repeated.height:,} of {ids.height:,} rows "
                f"have the same id as another row, for example {examples}",
                hint=f'name all the id columns in {self._competition.paths.definition}: id = ["…", "…"]',
            )
