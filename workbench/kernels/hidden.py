"""Simulated hidden test sets: larger than the public one, filled where that is empty, or the reverse."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from workbench.core.frames import write_csv
from workbench.data.competition import Competition, as_written
from workbench.data.ingest import reading_options, tables_in

__all__ = ["HIDDEN_TIMES", "emptied_data", "hidden_data", "link"]

HIDDEN_TIMES = 1.5
"""Rows of the hidden test set, as a multiple of the public one's."""

UNSEEN = 0.1
"""The share of the new rows with unseen categories."""

FROM_TRAIN = 3
"""Every third of the new rows takes its values from train."""

SUBSET_SHARE = 0.5
"""The share of the public rows that the test set with empty columns has."""

Change = Callable[[pl.DataFrame, bool], pl.DataFrame]


def hidden_data(competition: Competition, shown: Path, folder: Path, changes: list[str] | None = None) -> int | None:
    """Write the competition's files with a test set that is larger than the public one.

    The public rows stay as they are. The new ones have new ids, unseen categories, and values of train: where the
    public test set is empty, where it has whole numbers and train has fractions, or numbers and train has words.

    Parameters
    ----------
    shown : Path
        The public files.
    folder : Path
        Where the new files go; unchanged ones are linked.
    changes : list of str, optional
        A line is appended for each kind of change.

    Returns
    -------
    int, or None
        The number of its rows; None where the test set is not a single file that we can write.
    """
    change_notes = [] if changes is None else changes
    d = competition.definition
    train = competition.table(d.tables.train)

    def grow(frame: pl.DataFrame, is_test: bool) -> pl.DataFrame:
        new_rows = _new_rows(frame, d.id_columns)
        if is_test:
            change_notes.append(f"{new_rows.height:,} rows more, {frame.height + new_rows.height:,} in all")
            new_rows = _from_train(frame, new_rows, train, d.id_columns, change_notes)
            new_rows = _unseen(new_rows, d.id_columns, change_notes)
        return pl.concat([frame, new_rows.select(frame.columns)], how="vertical_relaxed")

    return _written(competition, shown, folder, grow)


def emptied_data(competition: Competition, shown: Path, folder: Path, changes: list[str] | None = None) -> int | None:
    """Write the competition's files with a smaller test set, empty in every second column that is filled."""
    change_notes = [] if changes is None else changes
    ids = competition.definition.id_columns

    def empty(frame: pl.DataFrame, is_test: bool) -> pl.DataFrame:
        subset = frame.tail(max(1, int(frame.height * SUBSET_SHARE)))
        if not is_test:
            return subset
        filled = [c for c in competition.rows.columns if c not in ids and c in subset.columns]
        filled = [c for c in filled if subset[c].null_count() < subset.height and c not in competition.ids.key_columns]
        emptied_columns = filled[1::2]
        change_notes.append(f"{subset.height:,} rows")
        if emptied_columns:
            change_notes.append(f"empty: {', '.join(emptied_columns[:20])}")
        return subset.with_columns(pl.lit(None, dtype=subset[c].dtype).alias(c) for c in emptied_columns)

    return _written(competition, shown, folder, empty)


def _written(competition: Competition, shown: Path, folder: Path, change: Change) -> int | None:
    """Write the files with a changed test set and sample; None where they can't be written."""
    tables, manifest = competition.definition.tables, competition.manifest
    # As downloaded: fixed copies lie elsewhere, and those of test rows can't be packed anyway.
    options = replace(reading_options(competition.folder, None), fixed=None)
    raw_tables = {table.name: table for table in tables_in(shown, options, {})}
    sources: dict[str, Path] = {}
    for name in (tables.test, tables.sample_submission):
        if name is None:
            continue
        parts = raw_tables[name].parts if name in raw_tables else ()
        if len(parts) != 1 or parts[0].member or parts[0].keys or parts[0].path.suffix not in (".csv", ".parquet"):
            return None
        sources[name] = parts[0].path
    for other in shown.rglob("*"):
        if other.is_file() and other not in sources.values():
            link(other, folder / other.relative_to(shown))
    rows = 0
    for name, path in sources.items():
        changed = change(competition.table(name).collect(), name == tables.test)
        target = folder / path.relative_to(shown)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            write_csv(as_written(changed, manifest.table(name, slug=competition.slug).spelled), target)
        else:
            changed.write_parquet(target)
        rows = changed.height if name == tables.test else rows
    return rows


def link(file: Path, target: Path) -> bool:
    """Hard-link a file, or copy it where links don't work; return False where there is no such file.

    No symbolic link: a kernel could write to the original through it.
    """
    if not file.is_file():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.resolve(), target)
    except OSError:  # another disk, or one without such links
        shutil.copyfile(file, target)
    return True


def _new_rows(frame: pl.DataFrame, ids: tuple[str, ...]) -> pl.DataFrame:
    """Return the rows to append, which have new ids."""
    new_rows = frame.head(int((HIDDEN_TIMES - 1) * frame.height) or 1)
    id_column = ids[0]
    if frame[id_column].dtype.is_numeric():
        next_id = int(frame[id_column].max() or 0) + 1  # type: ignore[arg-type]
        return new_rows.with_columns((pl.int_range(pl.len()) + next_id).cast(frame[id_column].dtype).alias(id_column))
    return new_rows.with_columns((pl.col(id_column).cast(pl.String) + "-hidden").alias(id_column))


def _unseen(new_rows: pl.DataFrame, ids: tuple[str, ...], change_notes: list[str]) -> pl.DataFrame:
    texts = [c for c in new_rows.columns if c not in ids and new_rows[c].dtype == pl.String]
    if texts:
        change_notes.append(f"unseen categories: {', '.join(texts[:20])}")
    chosen = pl.int_range(pl.len()) % round(1 / UNSEEN) == 0
    return new_rows.with_columns(
        pl.when(chosen).then(pl.lit("never seen before")).otherwise(pl.col(c)).alias(c) for c in texts
    )


def _from_train(
    frame: pl.DataFrame, new_rows: pl.DataFrame, train: pl.LazyFrame, ids: tuple[str, ...], change_notes: list[str]
) -> pl.DataFrame:
    """Take values of train in some of the new rows, and in all of them where the public test set is empty."""
    schema = train.collect_schema()
    shared = [c for c in new_rows.columns if c not in ids and c in schema]
    if not shared:
        return new_rows
    # Non-null values of each column: a hidden test set may hold some that the public one lacks.
    values = train.select(pl.col(shared).drop_nulls().head(new_rows.height).implode()).collect()
    filled, columns = [], []
    for name in shared:
        train_values = values[name][0]
        if not len(train_values):
            continue
        drawn = train_values.gather(np.arange(new_rows.height) * 7919 % len(train_values))
        empty = frame[name].null_count() == frame.height
        if empty:
            filled.append(name)
            columns.append(drawn.alias(name))
            continue
        chosen = pl.Series(np.arange(new_rows.height) % FROM_TRAIN == 1)
        if drawn.dtype != new_rows[name].dtype:
            change_notes.append(
                f"{name}: values of train, a {drawn.dtype}; in the public test set it is a {new_rows[name].dtype}"
            )
            as_text = pl.String() in (drawn.dtype, new_rows[name].dtype)
            texts_or_numbers = [s.cast(pl.String) if as_text else s for s in (drawn, new_rows[name])]
            columns.append(
                pl.select(
                    pl.when(chosen).then(texts_or_numbers[0]).otherwise(texts_or_numbers[1]).alias(name)
                ).to_series()
            )
        else:
            columns.append(drawn.zip_with(chosen, new_rows[name]).alias(name))
    if filled:
        change_notes.append(f"filled, where the public test set is empty: {', '.join(filled[:20])}")
    change_notes.append("values of train in every third new row")
    return new_rows.with_columns(columns)
