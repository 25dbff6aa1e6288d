"""How the tables and the sample submission refer to the same things: ids, targets, classes, and their spelling."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from workbench.core.times import has_clock, offset_minutes
from workbench.metrics import match_label, name_words

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
        spelling = spelled.get(series.name, "")
        if series.dtype in (pl.Date, pl.Datetime) and spelling:
            columns[series.name] = _times_as_written(series, spelling.split("|"))
        elif series.dtype == pl.Boolean:
            false, true = (spelling or "False/True").split("/")
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

    days = [f for f in formats if not has_clock(f)]
    timed = [f for f in formats if f not in days]
    if not days or not timed:
        return written(formats[0])
    midnight = series.dt.truncate("1d") == series
    as_day = written(days[0]), written(timed[0])
    return pl.select(pl.when(midnight).then(as_day[0]).otherwise(as_day[1]).alias(series.name)).to_series()


def match_targets(sample_columns: Sequence[str], targets: Sequence[str]) -> dict[str, str] | None:
    """Match the sample's columns to targets: by name, by another spelling of it, else the only one to the only one.

    Examples
    --------
    >>> match_targets(["Action"], ["ACTION"]), match_targets(["Probability"], ["late"])
    ({'Action': 'ACTION'}, {'Probability': 'late'})
    >>> match_targets(["a", "b"], ["c"]) is None
    True
    """
    for spell in (str, str.casefold, _joined):
        target_of = {spell(t): t for t in targets}
        if len(target_of) == len(sample_columns) and {spell(a) for a in sample_columns} == set(target_of):
            return {a: target_of[spell(a)] for a in sample_columns}
    return {sample_columns[0]: targets[0]} if len(sample_columns) == len(targets) == 1 else None


def _joined(name: str) -> str:
    return "".join(name_words(name))


def match_classes(sample_columns: Sequence[str], labels: Sequence[str]) -> tuple[int, ...] | None:
    """Match the sample's columns to classes, one each: by equal names, else by the one class that each name holds.

    Spellings count as equal that differ in case, in what joins their words, or in the zeros of a number. A class is
    held by a name that has its words in a row, or ends in it; of several the longest. None where that is not one class
    for each column.

    Examples
    --------
    >>> match_classes(["Status_C", "Status_CL", "Status_D"], ["C", "CL", "D"])
    (0, 1, 2)
    >>> match_classes(["prob_high", "low_probability"], ["Low", "High"])
    (1, 0)
    """
    if len(sample_columns) != len(labels):
        return None
    if sorted(labels) == sorted(sample_columns):
        return tuple(labels.index(c) for c in sample_columns)
    for match in (_equal_class, _class_of_words, _class_at_end):
        classes = [match(name, labels) for name in sample_columns]
        if None not in classes and len(set(classes)) == len(classes):
            return tuple(i for i in classes if i is not None)
    return None


def _equal_class(name: str, labels: Sequence[str]) -> int | None:
    return match_label(name, labels)


def _class_words(text: str) -> tuple[str, ...]:
    """Return the words of a class, letters apart from numbers, and numbers without the zeros that say nothing."""
    text = re.sub(r"(?<![\d.])(\d+)\.0+(?![\d.])", r"\1", text)
    words = [part for word in name_words(text) for part in re.findall(r"\d+|[^\d]+", word)]
    return tuple(word.lstrip("0") or "0" if word.isdigit() else word for word in words)


def _class_of_words(name: str, labels: Sequence[str]) -> int | None:
    """Return the class whose words follow each other in the name; the longest, and of equally long ones the last."""
    words, matches = _class_words(name), []
    for i, label in enumerate(map(_class_words, labels)):
        places = [at for at in range(len(words) - len(label) + 1) if label and words[at : at + len(label)] == label]
        matches += [(len(label), at, i) for at in places[-1:]]
    best = sorted(matches)[-2:]
    return None if not best or (len(best) == 2 and best[0][:2] == best[1][:2]) else best[-1][2]


def _class_at_end(name: str, labels: Sequence[str]) -> int | None:
    # "classA": no gap, and no word of its own. A number is not cut in two.
    ends = [i for i, c in enumerate(labels) if c and name.casefold().endswith(c.casefold())]
    ends = [i for i in ends if not (labels[i][0].isdigit() and name[: -len(labels[i])][-1:].isdigit())]
    return max(ends, key=lambda i: len(labels[i]), default=None)
