"""Match ids, targets and classes of the tables with those of the sample submission, whatever their spelling."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from workbench.core.times import has_time_of_day, offset_minutes
from workbench.metrics import match_label, name_words

__all__ = ["ROW_NUMBER", "IdTemplate", "as_written", "match_classes", "match_targets"]

ROW_NUMBER = "row"
"""The name that stands for the number of a test row, from 0, in an id template: ``{row}``, ``{row+1}``."""


@dataclass(frozen=True)
class IdTemplate:
    """How the ids of the sample submission are made from columns of the test table.

    An id is ``texts[0] + columns[0] + texts[1] + columns[1] + …``; or the number of the row, from `first_row`.

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
        """Parse a template, or the name of a column; None where it names a column that does not exist."""
        if template in columns:
            return cls(("", ""), (template,))
        row = re.fullmatch(r"\{row(?:\+(\d+))?\}", template)
        if row and ROW_NUMBER not in columns:
            return cls(("", ""), (), int(row[1] or 0))
        parts = re.split(r"\{([^{}]+)\}", template)
        texts, names = tuple(parts[::2]), tuple(parts[1::2])
        return cls(texts, names) if names and all(name in columns for name in names) else None

    @property
    def is_column(self) -> bool:
        """Whether the id is one column of test under another name."""
        return len(self.columns) == 1 and self.texts == ("", "")

    def make(self, frame: pl.DataFrame, name: str) -> pl.Series:
        """Return the ids as a series called `name`.

        Parameters
        ----------
        frame : DataFrame
            All test rows in file order, with `columns` as their file writes them.
        """
        if self.first_row is not None:
            return pl.Series(name, range(self.first_row, self.first_row + frame.height), pl.Int64)
        if self.is_column:
            return frame[self.columns[0]].rename(name)
        parts: list[pl.Expr] = []
        for text, column in zip(self.texts, (*self.columns, ""), strict=True):
            parts += [pl.lit(text)] * bool(text)
            parts += [pl.col(column).cast(pl.String)] * bool(column)
        return frame.select(pl.concat_str(parts).alias(name))[name]


def as_written(frame: pl.DataFrame, spellings: Mapping[str, str]) -> pl.DataFrame:
    """Return the columns as their file writes them: dates in its format, booleans in its words, others unchanged.

    Parameters
    ----------
    frame : DataFrame
    spellings : mapping
        `TableInfo.spelled`: by column a time format (or several with "|" between them), or words such as "False/True".
    """
    columns: dict[str, pl.Series] = {}
    for series in frame.get_columns():
        spelling = spellings.get(series.name, "")
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
    """Return times as text; midnight is written as a day alone where one of the formats has no time of day."""

    def format_times(time_format: str) -> pl.Series:
        minutes = offset_minutes(time_format)
        return (series.dt.offset_by(f"{minutes}m") if minutes else series).dt.strftime(time_format)

    day_formats = [f for f in formats if not has_time_of_day(f)]
    formats_with_time = [f for f in formats if f not in day_formats]
    if not day_formats or not formats_with_time:
        return format_times(formats[0])
    is_midnight = series.dt.truncate("1d") == series
    days, times = format_times(day_formats[0]), format_times(formats_with_time[0])
    return pl.select(pl.when(is_midnight).then(days).otherwise(times).alias(series.name)).to_series()


def match_targets(sample_columns: Sequence[str], targets: Sequence[str]) -> dict[str, str] | None:
    """Match the sample's columns to targets: by equal names, by similar names, else a single column to a single target.

    Returns
    -------
    dict or None
        Targets by column; None where the names do not decide.

    Examples
    --------
    >>> match_targets(["Action"], ["ACTION"]), match_targets(["Probability"], ["late"])
    ({'Action': 'ACTION'}, {'Probability': 'late'})
    >>> match_targets(["a", "b"], ["c"]) is None
    True
    """
    for normalize in (str, str.casefold, _letters_and_digits):
        target_by_name = {normalize(t): t for t in targets}
        names = {normalize(c) for c in sample_columns}
        if len(target_by_name) == len(sample_columns) and names == set(target_by_name):
            return {c: target_by_name[normalize(c)] for c in sample_columns}
    return {sample_columns[0]: targets[0]} if len(sample_columns) == len(targets) == 1 else None


def _letters_and_digits(name: str) -> str:
    return "".join(name_words(name))


def match_classes(sample_columns: Sequence[str], labels: Sequence[str]) -> tuple[int, ...] | None:
    """Match the sample's columns to classes, one each: by equal names, else by the class that each name contains.

    Names are equal if they differ only in case, in separators between words, or in leading and trailing zeros of a
    number. A name contains a class whose words occur in it one after the other, or that it ends in; the longest counts.

    Returns
    -------
    tuple of int, or None
        For each column the index of its class; None where the columns do not match the classes one to one.

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
    """Split the name of a class into words and numbers; numbers lose leading zeros and zero decimals."""
    text = re.sub(r"(?<![\d.])(\d+)\.0+(?![\d.])", r"\1", text)
    words = [part for word in name_words(text) for part in re.findall(r"\d+|[^\d]+", word)]
    return tuple(word.lstrip("0") or "0" if word.isdigit() else word for word in words)


def _class_of_words(name: str, labels: Sequence[str]) -> int | None:
    """Return the index of the class whose words are in the name, one after the other.

    The longest class counts, of equally long ones the one that comes last in the name; None where two are equal in
    both.
    """
    words, matches = _class_words(name), []
    for index, label in enumerate(map(_class_words, labels)):
        n_words = len(label)
        starts = [i for i in range(len(words) - n_words + 1) if label and words[i : i + n_words] == label]
        matches += [(n_words, start, index) for start in starts[-1:]]
    best_two = sorted(matches)[-2:]
    is_tied = len(best_two) == 2 and best_two[0][:2] == best_two[1][:2]
    return None if not best_two or is_tied else best_two[-1][2]


def _class_at_end(name: str, labels: Sequence[str]) -> int | None:
    # For names such as "classA". "class12" does not end in the class "2": that would split a number.
    matches = [i for i, c in enumerate(labels) if c and name.casefold().endswith(c.casefold())]
    matches = [i for i in matches if not (labels[i][0].isdigit() and name[: -len(labels[i])][-1:].isdigit())]
    return max(matches, key=lambda i: len(labels[i]), default=None)
