"""Simulated hidden test sets: a larger one that fills empty columns, and a smaller one that empties columns."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from workbench.core.frames import write_csv
from workbench.core.wording import counted
from workbench.data.competition import Competition, as_written
from workbench.data.ingest import reading_options, tables_in

__all__ = ["HIDDEN_TIMES", "emptied_data", "hidden_data", "link"]

HIDDEN_TIMES = 1.5
"""The number of rows of the hidden test set, as a multiple of the public one's."""

UNSEEN_SHARE = 0.1
"""The share of the new rows with unseen categories."""

TRAIN_VALUES_EVERY = 3
"""Every third of the new rows gets values of train."""

TRAIN_STEP = 7919
"""The distance between the values of train for consecutive rows: a prime, so that they come from all over it."""

SUBSET_SHARE = 0.5
"""The share of the public rows that the test set with empty columns has."""

MAX_NAMED_COLUMNS = 20

Change = Callable[[pl.DataFrame, bool], pl.DataFrame]
"""Changes a table; the flag tells whether it is the test table, and not the sample submission."""


def hidden_data(
    competition: Competition, public_folder: Path, folder: Path, changes: list[str] | None = None
) -> int | None:
    """Write the competition's files with a test set that is larger than the public one.

    The public rows are unchanged. The new ones have new ids, unseen categories, and values of train, in columns that
    are empty in the public test set and in others, whose type in train may differ.

    Parameters
    ----------
    public_folder : Path
        The public files.
    folder : Path
        Where the new files go; unchanged ones are linked.
    changes : list of str, optional
        A description of each kind of change is appended.

    Returns
    -------
    int, or None
        The number of its rows; None if the test set is not a single CSV or Parquet file.
    """
    change_notes = [] if changes is None else changes
    id_columns = competition.definition.id_columns
    train = competition.table(competition.definition.tables.train)

    def grow(frame: pl.DataFrame, is_test: bool) -> pl.DataFrame:
        new_rows = _new_rows(frame, id_columns)
        if is_test:
            change_notes.append(f"{counted(new_rows.height, 'row')} more, {frame.height + new_rows.height:,} in all")
            new_rows = _with_train_values(frame, new_rows, train, id_columns, change_notes)
            new_rows = _with_unseen_categories(new_rows, id_columns, change_notes)
        return pl.concat([frame, new_rows.select(frame.columns)], how="vertical_relaxed")

    return _write_changed(competition, public_folder, folder, grow)


def emptied_data(
    competition: Competition, public_folder: Path, folder: Path, changes: list[str] | None = None
) -> int | None:
    """Write the competition's files with a smaller test set, with every second of its non-empty columns emptied."""
    change_notes = [] if changes is None else changes
    id_columns = competition.definition.id_columns

    def empty(frame: pl.DataFrame, is_test: bool) -> pl.DataFrame:
        subset = frame.tail(max(1, int(frame.height * SUBSET_SHARE)))
        if not is_test:
            return subset
        filled_columns = [c for c in competition.rows.columns if c not in id_columns and c in subset.columns]
        filled_columns = [
            c for c in filled_columns if subset[c].null_count() < subset.height and c not in competition.ids.key_columns
        ]
        emptied_columns = filled_columns[1::2]
        change_notes.append(counted(subset.height, "row"))
        if emptied_columns:
            change_notes.append(f"empty: {', '.join(emptied_columns[:MAX_NAMED_COLUMNS])}")
        return subset.with_columns(pl.lit(None, dtype=subset[c].dtype).alias(c) for c in emptied_columns)

    return _write_changed(competition, public_folder, folder, empty)


def _write_changed(competition: Competition, public_folder: Path, folder: Path, change: Change) -> int | None:
    """Write the files with a changed test set and sample; return the rows of test, None if they can't be written."""
    tables, manifest = competition.definition.tables, competition.manifest
    # Without fixed copies, which are in another folder, and are not allowed for test rows.
    options = replace(reading_options(competition.folder, None), fixed=None)
    raw_tables = {table.name: table for table in tables_in(public_folder, options, {})}
    path_by_table: dict[str, Path] = {}
    for name in (tables.test, tables.sample_submission):
        if name is None:
            continue
        parts = raw_tables[name].parts if name in raw_tables else ()
        if len(parts) != 1 or parts[0].member or parts[0].keys or parts[0].path.suffix not in (".csv", ".parquet"):
            return None
        path_by_table[name] = parts[0].path
    for other in public_folder.rglob("*"):
        if other.is_file() and other not in path_by_table.values():
            link(other, folder / other.relative_to(public_folder))
    n_test_rows = 0
    for name, path in path_by_table.items():
        changed_table = change(competition.table(name).collect(), name == tables.test)
        target = folder / path.relative_to(public_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            write_csv(as_written(changed_table, manifest.table(name, slug=competition.slug).spelled), target)
        else:
            changed_table.write_parquet(target)
        n_test_rows = changed_table.height if name == tables.test else n_test_rows
    return n_test_rows


def link(file: Path, target: Path) -> bool:
    """Hard-link a file, or copy it if that fails; return whether there is such a file.

    Not a symbolic link: a kernel could write to the original through it.
    """
    if not file.is_file():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.resolve(), target)
    except OSError:  # on another file system, or on one without hard links
        shutil.copyfile(file, target)
    return True


def _new_rows(frame: pl.DataFrame, id_columns: tuple[str, ...]) -> pl.DataFrame:
    """Return the rows to append, which have new ids."""
    new_rows = frame.head(int((HIDDEN_TIMES - 1) * frame.height) or 1)
    id_column = id_columns[0]
    if frame[id_column].dtype.is_numeric():
        next_id = int(frame[id_column].max() or 0) + 1  # type: ignore[arg-type]
        return new_rows.with_columns((pl.int_range(pl.len()) + next_id).cast(frame[id_column].dtype).alias(id_column))
    return new_rows.with_columns((pl.col(id_column).cast(pl.String) + "-hidden").alias(id_column))


def _with_unseen_categories(
    new_rows: pl.DataFrame, id_columns: tuple[str, ...], change_notes: list[str]
) -> pl.DataFrame:
    """Replace the texts in some of the new rows by a category that train does not have."""
    text_columns = [c for c in new_rows.columns if c not in id_columns and new_rows[c].dtype == pl.String]
    if text_columns:
        change_notes.append(f"unseen categories: {', '.join(text_columns[:MAX_NAMED_COLUMNS])}")
    gets_unseen_category = pl.int_range(pl.len()) % round(1 / UNSEEN_SHARE) == 0
    return new_rows.with_columns(
        pl.when(gets_unseen_category).then(pl.lit("never seen before")).otherwise(pl.col(c)).alias(c)
        for c in text_columns
    )


def _with_train_values(
    frame: pl.DataFrame,
    new_rows: pl.DataFrame,
    train: pl.LazyFrame,
    id_columns: tuple[str, ...],
    change_notes: list[str],
) -> pl.DataFrame:
    """Put values of train into every third new row, and into all of them for columns that are empty in `frame`."""
    schema = train.collect_schema()
    shared_columns = [c for c in new_rows.columns if c not in id_columns and c in schema]
    if not shared_columns:
        return new_rows
    # Non-null values of each column: a hidden test set may hold some that the public one lacks.
    train_value_lists = train.select(pl.col(shared_columns).drop_nulls().head(new_rows.height).implode()).collect()
    filled_columns, new_columns = [], []
    for name in shared_columns:
        train_values = train_value_lists[name][0]
        if not len(train_values):
            continue
        train_sample = train_values.gather(np.arange(new_rows.height) * TRAIN_STEP % len(train_values))
        if frame[name].null_count() == frame.height:
            filled_columns.append(name)
            new_columns.append(train_sample.alias(name))
            continue
        gets_train_value = pl.Series(np.arange(new_rows.height) % TRAIN_VALUES_EVERY == 1)
        if train_sample.dtype != new_rows[name].dtype:
            change_notes.append(
                f"{name}: values of train, a {train_sample.dtype}; "
                f"in the public test set it is a {new_rows[name].dtype}"
            )
            is_text = pl.String() in (train_sample.dtype, new_rows[name].dtype)
            train_column, test_column = (s.cast(pl.String) if is_text else s for s in (train_sample, new_rows[name]))
            new_columns.append(
                pl.select(pl.when(gets_train_value).then(train_column).otherwise(test_column).alias(name)).to_series()
            )
        else:
            new_columns.append(train_sample.zip_with(gets_train_value, new_rows[name]).alias(name))
    if filled_columns:
        text = ", ".join(filled_columns[:MAX_NAMED_COLUMNS])
        change_notes.append(f"filled, where the public test set is empty: {text}")
    change_notes.append("values of train in every third new row")
    return new_rows.with_columns(new_columns)
