"""What the values of text columns could be read as: counted for all columns of a piece of a table at a time.

A call of polars costs as much as a thousand short texts. So each look is one for all the columns that need it, and a
column costs a call of its own only where its values may be dates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import polars as pl

from workbench.core.times import has_clock
from workbench.data.ingest.dates import COMPACT, DAYS, MOST_DAYS, days_read, is_clock, split_times
from workbench.data.ingest.keys import KeyKind
from workbench.data.ingest.missing import is_token
from workbench.data.ingest.types import (
    DECIMAL_COMMA,
    FEW,
    INTEGER,
    MISSING,
    POINT_GROUPS,
    THOUSANDS_COMMA,
    ColumnStats,
    ColumnType,
    present_texts,
    respelled,
)

__all__ = ["column_stats", "is_present"]

LOOK = 50
LOOSE_ROWS = 10_000
FEW_LOOK = 2_000
LONG = r"^[+-]?\d{4,}"
"""A number that has its thousands without a mark."""

PARTS = re.compile(r"\d+|[^\W\d]+")
"""Of these a date has three, and two of them are numbers, unless it is one number."""


def column_stats(
    frame: pl.DataFrame,
    formats: dict[str, Iterable[str]] | None = None,
    missing: Sequence[str] = (),
    keys: Mapping[str, KeyKind] | None = None,
) -> dict[str, ColumnStats]:
    """Count what the values of text columns could be read as.

    Parameters
    ----------
    frame : DataFrame
        A piece of a table, every column text.
    formats : dict, optional
        For each column the time formats that are still possible; None: all.
    missing : sequence of str
        Further texts that stand for a missing value.
    keys : mapping, optional
        The columns whose spelling matters, and how far.
    """
    if not frame.height:
        return {c: ColumnStats(times=None) for c in frame.columns}
    stats_of = _Counts(frame, missing).stats(formats)
    for column, kind in (keys or {}).items():
        if kind and column in stats_of:
            stats = stats_of[column]
            clock = next(iter(stats.clocks)) if len(stats.clocks) == 1 else None
            times = [] if clock is None else [day + clock for day in stats.times or ()]
            exact = _exact(frame[column].drop_nulls(), times, missing, kind)
            stats_of[column] = replace(stats_of[column], exact=exact)
    return stats_of


def is_present(text: pl.Expr, missing: Sequence[str]) -> pl.Expr:
    """Return whether a text stands for a value: it is neither one of `missing`, in any spelling, nor a token."""
    present = ~text.str.strip_chars().is_in(list(MISSING))
    return present & ~is_token(text, missing) if missing else present


# ------------------------------------------------------------------------------------------------------------- keys


def _exact(values: pl.Series, times: Iterable[str], missing: Sequence[str], kind: KeyKind) -> frozenset[str] | None:
    """Return the readings of texts that give each of them back: "whole", "fraction", and formats of times."""
    # A code that is missing everywhere may be anything, an id that is called "NA" is one.
    text = present_texts(values, missing, tokens=MISSING if kind == "code" else ())
    if not text.len():
        return None
    exact = {f"{f}|{loose}" for f in times for loose in ("", "d", "h", "dh") if _gives_back(text, _time(f, loose))}
    for name, dtype in (("whole", pl.Int64()), ("fraction", pl.Float64())):
        if _gives_back(text, ColumnType(dtype, key=kind)):
            exact.add(name)
    return frozenset(exact)


def _time(time_format: str, loose: str) -> ColumnType:
    return ColumnType(pl.Datetime("us") if has_clock(time_format) else pl.Date(), time_format, loose=loose, key="key")


def _gives_back(text: pl.Series, decided: ColumnType) -> bool:
    typed = text.to_frame("t").select(decided.read("t")).to_series()
    return not respelled(text, typed, decided).len()


# ---------------------------------------------------------------------------------------------------------- counting


class _Counts:
    """The counts of a piece of a table, each taken for all the columns that need it.

    `text` are the values without the spaces around them, null where there is none.
    """

    def __init__(self, frame: pl.DataFrame, missing: Sequence[str]) -> None:
        self.frame = frame
        text = pl.all()
        if missing:
            text = pl.when(~is_token(text, missing)).then(text)
        # One after the other: half the time of one expression for both.
        self.text = frame.select(text.str.strip_chars()).select(pl.all().replace(list(MISSING), None))

    def stats(self, formats: Mapping[str, Iterable[str]] | None) -> dict[str, ColumnStats]:
        """Return the statistics by column."""
        return {c: self._of(c, None if formats is None else formats.get(c, ())) for c in self.frame.columns}

    def _of(self, column: str, formats: Iterable[str] | None) -> ColumnStats:
        present, digits = self.present[column], self.digits.get(column, 0)
        if not present:
            return ColumnStats(plain=not self.n_filled[column], times=None)
        times = _times(self.text[column].drop_nulls(), column, formats) if column in self.like_times else NO_TIMES
        return ColumnStats(
            present=present,
            integers=self.integers.get(column, 0),
            digits=digits,
            floats=self.floats[column],
            decimals=self.decimals.get(column, present),
            thousands=self.thousands.get(column, present),
            padded=self.padded.get(column, 0),
            # With a space around it a number is none for the CSV reader.
            plain=column in self.plain,
            times=times.formats,
            clocks=times.clocks,
            days=times.days,
            commas=self.commas.get(column, 0),
            points=self.points.get(column, 0),
            grouped=self.grouped.get(column, 0),
            long=self.long.get(column, 0),
            few=self.few.get(column),
            loose=_loose(self.text[column].drop_nulls()) if times.formats else "",
        )

    # Which columns each count is for, so that none is looked at needlessly.

    @cached_property
    def n_filled(self) -> dict[str, int]:
        return _row(self.frame.select(pl.all().count()))

    @cached_property
    def present(self) -> dict[str, int]:
        return _row(self.text.select(pl.all().count()))

    @cached_property
    def filled(self) -> list[str]:
        return [c for c, n in self.present.items() if n]

    @cached_property
    def floats(self) -> dict[str, int]:
        return self._count(self.filled, lambda text: text.cast(pl.Float64, strict=False).is_not_null())

    @cached_property
    def numbers(self) -> list[str]:
        return [c for c in self.filled if self.floats[c] == self.present[c]]

    @cached_property
    def integers(self) -> dict[str, int]:
        return self._count(self.numbers, lambda text: text.cast(pl.Int64, strict=False).is_not_null())

    @cached_property
    def digits(self) -> dict[str, int]:
        # What was read as whole numbers of 64 bits are digits.
        parsed = {c: n for c, n in self.integers.items() if n == self.present[c]}
        return parsed | self._matching([c for c in self.filled if c not in parsed], f"^{INTEGER}$")

    @cached_property
    def not_digits(self) -> list[str]:
        return [c for c in self.filled if self.digits[c] < self.present[c]]

    @cached_property
    def padded(self) -> dict[str, int]:
        return self._matching([c for c in self.filled if self.digits[c]], r"^[+-]?0\d+$")

    @cached_property
    def decimals(self) -> dict[str, int]:
        return self._matching(self.not_digits, DECIMAL_COMMA)

    @cached_property
    def thousands(self) -> dict[str, int]:
        return self._matching(self.not_digits, THOUSANDS_COMMA)

    @cached_property
    def plain(self) -> set[str]:
        possible = [c for c in self.numbers if self.present[c] == self.n_filled[c]]
        if not possible:
            return set()
        bare, written = (_row(f.select(pl.col(possible).str.len_bytes().sum())) for f in (self.text, self.frame))
        return {c for c in possible if bare[c] == written[c]}

    @cached_property
    def with_words(self) -> list[str]:
        return [c for c in self.not_digits if self.floats[c] < self.present[c]]

    @cached_property
    def fractions(self) -> list[str]:
        return [c for c in self.not_digits if self.floats[c] == self.present[c]]

    @cached_property
    def commas(self) -> dict[str, int]:
        return self._count(self.with_words, lambda text: text.str.contains(",", literal=True))

    @cached_property
    def points(self) -> dict[str, int]:
        return self._count(self.fractions, lambda text: text.str.contains(".", literal=True))

    @cached_property
    def grouped(self) -> dict[str, int]:
        usual = rf"{POINT_GROUPS}|^[+-]?\d{{1,3}}$"
        is_usual = self._select(self.fractions, lambda text: text.drop_nulls().head(LOOK).str.contains(usual).all())
        return self._matching([c for c, usual in is_usual.items() if usual], POINT_GROUPS)

    @cached_property
    def long(self) -> dict[str, int]:
        integers = [c for c in self.filled if self.digits[c] == self.present[c]]
        return self._matching([*self.with_words, *integers], LONG)

    @cached_property
    def few(self) -> dict[str, frozenset[str]]:
        first = self._select(self.filled, lambda text: text.drop_nulls().head(FEW_LOOK).n_unique())
        possible = [c for c, n in first.items() if n <= FEW]
        # One more than are few, so that a column of many is no long list.
        values = self._select(possible, lambda text: text.drop_nulls().unique().head(FEW + 1).implode())
        return {c: frozenset(v) for c, v in values.items() if len(v) <= FEW}

    @cached_property
    def like_times(self) -> set[str]:
        """The columns whose first value may be a date or a time."""
        possible = [c for c in self.filled if self.floats[c] < self.present[c] or self.digits[c] == self.present[c]]
        first = self._select(possible, lambda text: text.drop_nulls().first())
        return {c for c, value in first.items() if _may_be_time(str(value), c)}

    def _select(self, columns: Collection[str], look: Callable[[pl.Expr], pl.Expr]) -> dict[str, Any]:
        return _row(self.text.select(look(pl.col(list(columns))))) if columns else {}

    def _matching(self, columns: Collection[str], pattern: str) -> dict[str, int]:
        return self._count(columns, lambda text: text.str.contains(pattern))

    def _count(self, columns: Collection[str], condition: Callable[[pl.Expr], pl.Expr]) -> dict[str, int]:
        return self._select(columns, lambda text: condition(text).sum())


def _row(frame: pl.DataFrame) -> dict[str, Any]:
    """Return the one row of a frame by column; a frame without columns has none."""
    return dict(zip(frame.columns, frame.row(0), strict=True)) if frame.width else {}


def _loose(text: pl.Series) -> str:
    """Return what dates are written in without a leading zero: "d" for days and months, "h" for hours."""
    some = text.head(LOOSE_ROWS)
    days = some.str.slice(0, 10).str.contains(r"(^|[/.\-])\d([/.\- ]|$)").any()
    hours = some.str.contains(r"[ T]\d:").any()
    return "d" * days + "h" * hours


@dataclass(frozen=True)
class _Times:
    """The formats of the day that all values have, those of the clocks, and the days where a choice depends on them."""

    formats: dict[str, int]
    clocks: frozenset[str] = frozenset()
    days: frozenset[str] | None = frozenset()


NO_TIMES = _Times({})


def _times(text: pl.Series, name: str, formats: Iterable[str] | None) -> _Times:
    """Return the formats that all values have. Most formats fail on a handful of values: those are tried first."""
    possible = list(DAYS if formats is None else formats)
    if (formats is None or COMPACT in formats) and _is_compact(text, name) and not days_read(text, COMPACT).has_nulls():
        return _Times({COMPACT: text.len()}, frozenset({""}))
    days = pl.Series(dtype=pl.String)
    clocks: dict[str, pl.Series] = {}
    for piece in (text.head(5), text.sample(min(200, text.len()), seed=0), text.unique()):
        parts = split_times(piece)
        if parts is None:
            return NO_TIMES
        days, clocks = parts
        possible = [f for f in possible if not days_read(days, f).has_nulls()]
        if not possible or not all(is_clock(values, form) for form, values in clocks.items()):
            return NO_TIMES
    is_open = len(possible) > 1 or "%y" in possible[0]
    distinct_days = frozenset() if not is_open else frozenset(days.to_list()) if days.len() <= MOST_DAYS else None
    return _Times(dict.fromkeys(possible, text.len()), frozenset(clocks), distinct_days)


def _may_be_time(first: str, name: str) -> bool:
    """Whether a column whose first value this is may hold dates or times; no date says yes, and little else does."""
    if not 6 <= len(first) <= 40:
        return False
    parts = PARTS.findall(first)
    if len(parts) >= 3 and sum(p[0].isdigit() for p in parts) >= 2:
        return True
    return _is_named_day(name) and re.match(r"(19|20)\d{6}", first) is not None


def _is_named_day(name: str) -> bool:
    return re.search(r"date|(^|_)day$|(^|_)dt$", name.lower()) is not None


def _is_compact(text: pl.Series, name: str) -> bool:
    """Whether eight digits are dates: only where the name says so, and the years are of our time."""
    return _is_named_day(name) and bool(text.str.contains(r"^(19|20)\d\d[01]\d[0-3]\d$").all())
