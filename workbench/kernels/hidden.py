"""Test sets that differ from the public one as a hidden one may: larger, filled where it is empty, or the reverse."""

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
"""The hidden test set has so many times the rows of the public one."""

UNSEEN = 0.1
"""In so many of its new rows a category is one that nobody has seen."""

FROM_TRAIN = 3
"""Every so many of its new rows has a column's value from train."""

KEPT_SHARE = 0.5
"""The test set with empty columns has so many of the public one's rows."""

Change = Callable[[pl.DataFrame, bool], pl.DataFrame]


def hidden_data(competition: Competition, shown: Path, folder: Path, changes: list[str] | None = None) -> int | None:
    """Write the competition's files with a test set that is larger than the public one.

    The public rows stay as they are. The new ones have other ids, categories that nobody has seen, and values of train:
    where the public test set is empty, where it has whole numbers and train fractions, numbers and train words.

    Parameters
    ----------
    shown : Path
        The files as they are.
    folder : Path
        Where the new ones go; what stays the same is linked.
    changes : list of str, optional
        Gets a line for each kind of change.

    Returns
    -------
    int, or None
        Its rows; None where the test set is not a file of its own that we can write.
    """
    told = [] if changes is None else changes
    d = competition.definition
    train = competition.table(d.tables.train)

    def grown(frame: pl.DataFrame, is_test: bool) -> pl.DataFrame:
        more = _new_rows(frame, d.id_columns)
        if is_test:
            told.append(f"{more.height:,} rows more, {frame.height + more.height:,} in all")
            more = _from_train(frame, more, train, d.id_columns, told)
            more = _unseen(more, d.id_columns, told)
        return pl.concat([frame, more.select(frame.columns)], how="vertical_relaxed")

    return _written(competition, shown, folder, grown)


def emptied_data(competition: Competition, shown: Path, folder: Path, changes: list[str] | None = None) -> int | None:
    """Write the competition's files with a smaller test set, empty in every second column that is filled."""
    told = [] if changes is None else changes
    ids = competition.definition.id_columns

    def emptied(frame: pl.DataFrame, is_test: bool) -> pl.DataFrame:
        less = frame.tail(max(1, int(frame.height * KEPT_SHARE)))
        if not is_test:
            return less
        filled = [c for c in competition.shared_columns if c not in ids and c in less.columns]
        filled = [c for c in filled if less[c].null_count() < less.height and c not in competition.key_columns]
        gone = filled[1::2]
        told.append(f"{less.height:,} rows")
        if gone:
            told.append(f"empty: {', '.join(gone[:20])}")
        return less.with_columns(pl.lit(None, dtype=less[c].dtype).alias(c) for c in gone)

    return _written(competition, shown, folder, emptied)


def _written(competition: Competition, shown: Path, folder: Path, change: Change) -> int | None:
    """Write the files with another test set and the sample that goes with it; None where they can't be written."""
    tables, manifest = competition.definition.tables, competition.manifest
    # As they were downloaded: fixed copies lie elsewhere, and those of test rows can't be taken along anyway.
    options = replace(reading_options(competition.folder, None), fixed=None)
    there = {table.name: table for table in tables_in(shown, options, {})}
    sources: dict[str, Path] = {}
    for name in (tables.test, tables.sample_submission):
        if name is None:
            continue
        parts = there[name].parts if name in there else ()
        if len(parts) != 1 or parts[0].member or parts[0].keys or parts[0].path.suffix not in (".csv", ".parquet"):
            return None
        sources[name] = parts[0].path
    for other in shown.rglob("*"):
        if other.is_file() and other not in sources.values():
            link(other, folder / other.relative_to(shown))
    rows = 0
    for name, path in sources.items():
        made = change(competition.table(name).collect(), name == tables.test)
        target = folder / path.relative_to(shown)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            write_csv(as_written(made, manifest.table(name, slug=competition.slug).spelled), target)
        else:
            made.write_parquet(target)
        rows = made.height if name == tables.test else rows
    return rows


def link(file: Path, target: Path) -> bool:
    """Put a file there without its bytes; False where there is no such file.

    Not by a symbolic link: through that the file could be written, in a folder that can only be read.
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
    """Return the rows that come behind: their ids are new."""
    more = frame.head(int((HIDDEN_TIMES - 1) * frame.height) or 1)
    first = ids[0]
    if frame[first].dtype.is_numeric():
        above = int(frame[first].max() or 0) + 1  # type: ignore[arg-type]
        return more.with_columns((pl.int_range(pl.len()) + above).cast(frame[first].dtype).alias(first))
    return more.with_columns((pl.col(first).cast(pl.String) + "-hidden").alias(first))


def _unseen(more: pl.DataFrame, ids: tuple[str, ...], told: list[str]) -> pl.DataFrame:
    texts = [c for c in more.columns if c not in ids and more[c].dtype == pl.String]
    if texts:
        told.append(f"categories that nobody has seen: {', '.join(texts[:20])}")
    chosen = pl.int_range(pl.len()) % round(1 / UNSEEN) == 0
    return more.with_columns(
        pl.when(chosen).then(pl.lit("never seen before")).otherwise(pl.col(c)).alias(c) for c in texts
    )


def _from_train(
    frame: pl.DataFrame, more: pl.DataFrame, train: pl.LazyFrame, ids: tuple[str, ...], told: list[str]
) -> pl.DataFrame:
    """Give some of the new rows values of train, and all of them where the public test set is empty."""
    schema = train.collect_schema()
    shared = [c for c in more.columns if c not in ids and c in schema]
    if not shared:
        return more
    # Of each column values that are there: those that the public test set lacks are the ones to meet.
    values = train.select(pl.col(shared).drop_nulls().head(more.height).implode()).collect()
    filled, columns = [], []
    for name in shared:
        known = values[name][0]
        if not len(known):
            continue
        drawn = known.gather(np.arange(more.height) * 7919 % len(known))
        empty = frame[name].null_count() == frame.height
        if empty:
            filled.append(name)
            columns.append(drawn.alias(name))
            continue
        chosen = pl.Series(np.arange(more.height) % FROM_TRAIN == 1)
        if drawn.dtype != more[name].dtype:
            told.append(f"{name}: values of train, a {drawn.dtype}; in the public test set it is a {more[name].dtype}")
            as_text = pl.String() in (drawn.dtype, more[name].dtype)
            both = [s.cast(pl.String) if as_text else s for s in (drawn, more[name])]
            columns.append(pl.select(pl.when(chosen).then(both[0]).otherwise(both[1]).alias(name)).to_series())
        else:
            columns.append(drawn.zip_with(chosen, more[name]).alias(name))
    if filled:
        told.append(f"filled, where the public test set is empty: {', '.join(filled[:20])}")
    told.append("values of train in every third new row")
    return more.with_columns(columns)
