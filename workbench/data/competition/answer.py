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

    An id is ``literals[0]``, the value of ``columns[0]``, ``literals[1]``, the value of ``columns[1]`` and so on. With
    `first_row`, it is the number of the row instead, counted from `first_row`.

    Examples
    --------
    >>> IdTemplate.parse("{Store}_{Date}", ["Store", "Date"]).columns
    ('Store', 'Date')
    >>> IdTemplate.parse("{row+1}", []).first_row
    1
    """

    literals: tuple[str, ...]
    columns: tuple[str, ...]
    first_row: int | None = None

    @classmethod
    def parse(cls, template: str, columns: Sequence[str]) -> IdTemplate | None:
        """Parse a template, or the name of a column; None where it names a column that does not exist."""
        if template in columns:
            return cls(("", ""), (template,))
        row_match = re.fullmatch(r"\{row(?:\+(\d+))?\}", template)
        if row_match and ROW_NUMBER not in columns:
            return cls(("", ""), (), int(row_match[1] or 0))
        literals_and_columns = re.split(r"\{([^{}]+)\}", template)
        literals, names = tuple(literals_and_columns[::2]), tuple(literals_and_columns[1::2])
        return cls(literals, names) if names and all(name in columns for name in names) else None

    @property
    def is_column(self) -> bool:
        """Whether the id is one column of test under another name."""
        return len(self.columns) == 1 and self.literals == ("", "")

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
        # There is one literal more than columns: the last one has no column after it.
        for literal, column in zip(self.literals, (*self.columns, ""), strict=True):
            parts += [pl.lit(literal)] * bool(literal)
            parts += [pl.col(column).cast(pl.String)] * bool(column)
        return frame.select(pl.concat_str(parts).alias(name))[name]


def as_written(frame: pl.DataFrame, spellings: Mapping[str, str]) -> pl.DataFrame:
    """Return the columns as their file writes them: dates in its format, booleans in its words, others unchanged.

    Parameters
    ----------
    frame : DataFrame
    spellings : mapping
        `TableInfo.spelled`: by column, a time format (or several with "|" between them), or the words for false and
        true, such as "False/True".
    """
    columns: dict[str, pl.Series] = {}
    for series in frame.get_columns():
        spelling = spellings.get(series.name, "")
        if series.dtype in (pl.Date, pl.Datetime) and spelling:
            columns[series.name] = _times_as_written(series, spelling.split("|"))
        elif series.dtype == pl.Boolean:
            false, true = (spelling or "False/True").split("/")
            false_or_true = pl.when(series).then(pl.lit(true)).when(~series).then(pl.lit(false))
            columns[series.name] = frame.select(false_or_true.alias(series.name)).to_series()
        else:
            columns[series.name] = series
    return pl.DataFrame(columns)


def _times_as_written(series: pl.Series, formats: list[str]) -> pl.Series:
    """Return dates or times as text; midnight as the date alone if one of the formats has no time of day."""

    def format_times(time_format: str) -> pl.Series:
        minutes = offset_minutes(time_format)
        return (series.dt.offset_by(f"{minutes}m") if minutes else series).dt.strftime(time_format)

    day_formats = [f for f in formats if not has_time_of_day(f)]
    formats_with_time = [f for f in formats if f not in day_formats]
    if not day_formats or not formats_with_time:
        return format_times(formats[0])
    is_midnight = series.dt.truncate("1d") == series
    dates, dates_with_time = format_times(day_formats[0]), format_times(formats_with_time[0])
    return pl.select(pl.when(is_midnight).then(dates).otherwise(dates_with_time).alias(series.name)).to_series()


def match_targets(sample_columns: Sequence[str], targets: Sequence[str]) -> dict[str, str] | None:
    """Match the sample's columns to targets: by equal names, by similar names, else a single column to a single target.

    Returns
    -------
    dict or None
        The target of each column of the sample; None where the names do not determine it.

    Examples
    --------
    >>> match_targets(["Action"], ["ACTION"]), match_targets(["Probability"], ["late"])
    ({'Action': 'ACTION'}, {'Probability': 'late'})
    >>> match_targets(["a", "b"], ["c"]) is None
    True
    """
    for normalize in (str, str.casefold, _letters_and_digits):
        target_by_name = {normalize(t): t for t in targets}
        column_names = {normalize(c) for c in sample_columns}
        if len(target_by_name) == len(sample_columns) and column_names == set(target_by_name):
            return {c: target_by_name[normalize(c)] for c in sample_columns}
    return {sample_columns[0]: targets[0]} if len(sample_columns) == len(targets) == 1 else None


def _letters_and_digits(name: str) -> str:
    return "".join(name_words(name))


def match_classes(sample_columns: Sequence[str], labels: Sequence[str]) -> tuple[int, ...] | None:
    """Match the sample's columns to classes, one each: by equal names, else by the labels in the names.

    Names that differ only in case, in separators between words, or in leading and trailing zeros of a number count as
    equal. A name contains a label if it has the label's words one after the other, or ends in the label; the
    longest such label is taken.

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
    for find_index in (match_label, _index_of_contained_label, _index_of_label_at_end):
        indices = [find_index(name, labels) for name in sample_columns]
        if None not in indices and len(set(indices)) == len(indices):
            return tuple(i for i in indices if i is not None)
    return None


def _label_words(text: str) -> tuple[str, ...]:
    """Split a label or a column name into words and numbers; numbers lose leading zeros and zero decimals."""
    text = re.sub(r"(?<![\d.])(\d+)\.0+(?![\d.])", r"\1", text)
    words = [part for word in name_words(text) for part in re.findall(r"\d+|[^\d]+", word)]
    return tuple(word.lstrip("0") or "0" if word.isdigit() else word for word in words)


def _index_of_contained_label(name: str, labels: Sequence[str]) -> int | None:
    """Return the index of the label whose words are in the name, one after the other.

    Of several labels, the one with the most words is taken, and of equally long ones the one that begins last in the
    name; None where two are equal in both.
    """
    words = _label_words(name)
    matches: list[tuple[int, int, int]] = []  # the label's number of words, the position of its first word, its index
    for index, label_words in enumerate(map(_label_words, labels)):
        n_words = len(label_words)
        starts = [i for i in range(len(words) - n_words + 1) if label_words and words[i : i + n_words] == label_words]
        matches += [(n_words, start, index) for start in starts[-1:]]
    best_two = sorted(matches)[-2:]
    is_tied = len(best_two) == 2 and best_two[0][:2] == best_two[1][:2]
    return None if not best_two or is_tied else best_two[-1][2]


def _index_of_label_at_end(name: str, labels: Sequence[str]) -> int | None:
    """Return the index of the longest label that the name ends in, as in "classA".

    "class12" does not end in the label "2": that would split a number.
    """
    matches = [i for i, label in enumerate(labels) if label and name.casefold().endswith(label.casefold())]
    matches = [i for i in matches if not (labels[i][0].isdigit() and name[: -len(labels[i])][-1:].isdigit())]
    return max(matches, key=lambda i: len(labels[i]), default=None)
