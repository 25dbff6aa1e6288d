"""How the tables and the sample submission speak of the same things: ids, targets, classes, and their spelling."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from workbench.times import offset_minutes

__all__ = ["ROW_NUMBER", "IdTemplate", "as_written", "match_classes", "match_targets"]

ROW_NUMBER = "row"
"""What a template calls the number of a test row, from 0."""


@dataclass(frozen=True)
class IdTemplate:
    """How an id of the sample is made from columns of the test table: texts and columns, in turn.

    Examples
    --------
    >>> IdTemplate.parse("{Store}_{Date}", ["Store", "Date"]).columns
    ('Store', 'Date')
    >>> IdTemplate.parse("{row+1}", []).first_row
    1
    """

    texts: tuple[str, ...]
    columns: tuple[str, ...]
    first_row: int | None = None

    @classmethod
    def parse(cls, template: str, columns: Sequence[str]) -> IdTemplate | None:
        """Read a template; a plain column's name is one too. None where it names no column that there is."""
        if template in columns:
            return cls(("", ""), (template,))
        row = re.fullmatch(r"\{row(?:\+(\d+))?\}", template)
        if row and ROW_NUMBER not in columns:
            return cls(("", ""), (), int(row[1] or 0))
        parts = re.split(r"\{([^{}]+)\}", template)
        texts, named = tuple(parts[::2]), tuple(parts[1::2])
        return cls(texts, named) if named and all(c in columns for c in named) else None

    @property
    def is_column(self) -> bool:
        """Whether the id is one column of test, only called otherwise."""
        return len(self.columns) == 1 and self.texts == ("", "")

    def make(self, frame: pl.DataFrame, name: str) -> pl.Series:
        """Return the ids of the rows of `frame`, which are all test rows in file order with `columns` as written."""
        if self.first_row is not None:
            return pl.Series(name, range(self.first_row, self.first_row + frame.height), pl.Int64)
        if self.is_column:
            return frame[self.columns[0]].rename(name)
        parts: list[pl.Expr] = []
        for text, column in zip(self.texts, (*self.columns, ""), strict=True):
            parts += [pl.lit(text)] * bool(text)
            parts += [pl.col(column).cast(pl.String)] * bool(column)
        return frame.select(pl.concat_str(parts).alias(name))[name]


def as_written(frame: pl.DataFrame, spelled: Mapping[str, str]) -> pl.DataFrame:
    """Return the columns as their file writes them: dates in its format, booleans in its words; the rest as it is.

    Parameters
    ----------
    frame : DataFrame
    spelled : mapping
        As `TableInfo` has it: by column a format, or the words "False/True".
    """
    columns: dict[str, pl.Series] = {}
    for series in frame.get_columns():
        how = spelled.get(series.name, "")
        if series.dtype in (pl.Date, pl.Datetime) and how:
            columns[series.name] = _times_as_written(series, how.split("|"))
        elif series.dtype == pl.Boolean:
            false, true = (how or "False/True").split("/")
            words = pl.when(series).then(pl.lit(true)).when(~series).then(pl.lit(false))
            columns[series.name] = frame.select(words.alias(series.name)).to_series()
        else:
            columns[series.name] = series
    return pl.DataFrame(columns)


def _times_as_written(series: pl.Series, formats: list[str]) -> pl.Series:
    """Return times in a format, with its offset from UTC; midnight as a day alone where one of the formats is that."""

    def written(form: str) -> pl.Series:
        minutes = offset_minutes(form)
        return (series.dt.offset_by(f"{minutes}m") if minutes else series).dt.strftime(form)

    days = [f for f in formats if "%H" not in f and "%I" not in f]
    timed = [f for f in formats if f not in days]
    if not days or not timed:
        return written(formats[0])
    midnight = series.dt.truncate("1d") == series
    whole = written(days[0]), written(timed[0])
    return pl.select(pl.when(midnight).then(whole[0]).otherwise(whole[1]).alias(series.name)).to_series()


def match_targets(asked: Sequence[str], targets: Sequence[str]) -> dict[str, str] | None:
    """Match the sample's columns to targets: by name, else in upper or lower case, else the only one to the only one.

    Examples
    --------
    >>> match_targets(["Action"], ["ACTION"]), match_targets(["Probability"], ["late"])
    ({'Action': 'ACTION'}, {'Probability': 'late'})
    >>> match_targets(["a", "b"], ["c"]) is None
    True
    """
    for spell in (str, str.casefold):
        known = {spell(t): t for t in targets}
        if len(known) == len(asked) and {spell(a) for a in asked} == set(known):
            return {a: known[spell(a)] for a in asked}
    return {asked[0]: targets[0]} if len(asked) == len(targets) == 1 else None


def match_classes(asked: Sequence[str], labels: Sequence[str]) -> tuple[int, ...] | None:
    """Match the sample's columns to classes, one each: by equal names, else by the one class that each name ends in.

    Examples
    --------
    >>> match_classes(["Status_C", "Status_CL", "Status_D"], ["C", "CL", "D"])
    (0, 1, 2)
    """
    if len(asked) != len(labels):
        return None
    if sorted(labels) == sorted(asked):
        return tuple(labels.index(c) for c in asked)
    found = [[i for i, label in enumerate(labels) if c.casefold().endswith(label.casefold())] for c in asked]
    best = [max(f, key=lambda i: len(labels[i]), default=-1) for f in found]
    return tuple(best) if -1 not in best and len(set(best)) == len(best) else None
