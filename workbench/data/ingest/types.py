"""Decide the types of text columns from statistics over whole files, for all files that share a column."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

import polars as pl

from workbench.core.errors import DataError, did_you_mean
from workbench.data.competition.answer import as_written
from workbench.data.ingest.dates import (
    COMPACT,
    DAYS,
    MAX_DAYS,
    choose_day,
    choose_max_year,
    day_order,
    has_short_years,
    needed_time_formats,
    read_times,
    zone_of,
)
from workbench.data.ingest.keys import SHORT_INTEGER, KeyKind
from workbench.data.ingest.missing import is_token, token_numbers

__all__ = [
    "MISSING",
    "NO_EVIDENCE",
    "NO_STATS",
    "ColumnStats",
    "ColumnType",
    "Evidence",
    "Fact",
    "decide",
    "evidence_from",
    "facts_of",
    "from_name",
    "has_short_years",
    "present_texts",
    "respelled",
]

MISSING = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "none", "NaT", "?", "-")
"""Texts that stand for a missing number, boolean or time. In a column of texts only the empty text is missing, quoted
or not; spaces are a text there."""

INTEGER = r"[+-]?\d+"
BOOLEAN_WORDS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))
MAX_FEW_VALUES = 8
DECIMAL_COMMA = r"^[+-]?((\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d*)?|,\d+)([eE][+-]?\d+)?$"
THOUSANDS_COMMA = r"^[+-]?((\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
MARKS = (",", "1,000")
"""The meanings of a comma in a number, as ``[types]`` names them: the decimal mark, or a thousands separator."""
POINT_GROUPS = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$"


@dataclass(frozen=True)
class ColumnStats:
    """Statistics of a column of texts; those of two parts of a column are added with ``+``.

    Attributes
    ----------
    present : int
        The number of values that are not missing. The following are numbers of values among them.
    integers, digits, floats : int
        64-bit integers; integers of any size; floats.
    decimals, thousands : int
        Numbers if a comma is the decimal mark; numbers if it is a thousands separator.
    padded : int
        Integers with leading zeros.
    plain : bool
        Whether every value is a number without spaces, so that the CSV reader can parse the column.
    times : dict, optional
        Counts by the format of the day, for the formats that read all values; None if there is no value.
    time_formats : frozenset of str
        The formats of the times of day, "" for days without one.
    days : frozenset of str, optional
        The distinct days, where the choice of a format depends on them; None if there are too many.
    commas, points, grouped : int
        With a comma; with a point; with points only between groups of three digits.
    long : int
        With more than three digits in a row.
    few : frozenset of str, optional
        The distinct values; None if there are more than `MAX_FEW_VALUES`.
    loose : str
        The parts of dates without leading zeros: "d" days and months, "h" hours.
    exact : frozenset of str, optional
        For keys and codes: the types that keep the spelling of every value ("whole", "fraction", or a time format);
        None for other columns, or without values.
    """

    present: int = 0
    integers: int = 0
    digits: int = 0
    floats: int = 0
    decimals: int = 0
    thousands: int = 0
    padded: int = 0
    plain: bool = True
    times: dict[str, int] | None = None
    time_formats: frozenset[str] = frozenset()
    days: frozenset[str] | None = frozenset()
    commas: int = 0
    points: int = 0
    grouped: int = 0
    long: int = 0
    few: frozenset[str] | None = frozenset()
    loose: str = ""
    exact: frozenset[str] | None = None

    def __add__(self, other: ColumnStats) -> ColumnStats:
        """Return the statistics of two parts of a column together."""
        distinct_values = None if self.few is None or other.few is None else self.few | other.few
        days = None if self.days is None or other.days is None else self.days | other.days
        return ColumnStats(
            present=self.present + other.present,
            integers=self.integers + other.integers,
            digits=self.digits + other.digits,
            floats=self.floats + other.floats,
            decimals=self.decimals + other.decimals,
            thousands=self.thousands + other.thousands,
            padded=self.padded + other.padded,
            plain=self.plain and other.plain,
            times=_common_times(self, other),
            time_formats=self.time_formats | other.time_formats,
            days=days if days is not None and len(days) <= MAX_DAYS else None,
            commas=self.commas + other.commas,
            points=self.points + other.points,
            grouped=self.grouped + other.grouped,
            long=self.long + other.long,
            few=distinct_values if distinct_values is not None and len(distinct_values) <= MAX_FEW_VALUES else None,
            loose="".join(sorted({*self.loose, *other.loose})),
            exact=other.exact
            if self.exact is None
            else self.exact & (self.exact if other.exact is None else other.exact),
        )


NO_STATS = ColumnStats(times=None)
"""Those of a column without rows."""


def _common_times(one: ColumnStats, other: ColumnStats) -> dict[str, int] | None:
    """Add the counts of the formats that read the values of both."""
    if not one.present or one.times is None:
        return other.times if not one.present else None
    if not other.present or other.times is None:
        return one.times if not other.present else None
    return {f: one.times[f] + other.times[f] for f in one.times if f in other.times}


@dataclass(frozen=True)
class Evidence:
    """Facts that other columns of a competition prove, "" where none does or they contradict each other.

    Attributes
    ----------
    order : str
        The order of the parts of a date: "dmy", "mdy" or "ymd".
    decimal : str
        The decimal mark: "." or ",".
    """

    order: str = ""
    decimal: str = ""


NO_EVIDENCE = Evidence()


@dataclass(frozen=True)
class ColumnType:
    """A column's type, and how its text is parsed.

    Attributes
    ----------
    dtype : DataType
    time_format : str, optional
        The format of a date or time; several are joined by "|".
    words : tuple of str, optional
        The texts of a boolean: false, true.
    decimal : str
        The decimal mark, or "1,000" where a comma separates thousands.
    is_parsed_by_reader : bool
        Whether polars' CSV reader parses the column; otherwise it is read as text and parsed by `read`.
    any_case : bool
        Whether the words of a boolean are compared without case.
    beyond_64_bits : bool
        Whether it is Float64 because integers are too large for 64 bits.
    max_year : int, optional
        Two-digit years that would be later than this are moved back by 100 years.
    like : str, optional
        A pattern of all values so far, if a value that does not match it may change the type; else None.
    is_stated : bool
        Whether competition.toml names the type.
    loose : str
        See `ColumnStats`.
    key : str
        How far the spelling matters, see `KeyKind`.
    looks_numeric : bool
        Whether a column of numbers is text only to keep the spelling.
    is_choice : bool
        Whether the values could be read in another way.
    why, offered : str
        The reason for the choice; the types to choose from where it is undecided.
    plainest : str
        The name of the type that the column would have without evidence from other columns.
    """

    dtype: pl.DataType
    time_format: str | None = None
    words: tuple[str, str] | None = None
    decimal: str = "."
    is_parsed_by_reader: bool = False
    any_case: bool = True
    beyond_64_bits: bool = field(default=False, compare=False)
    max_year: int | None = None
    like: str | None = field(default=None, compare=False)
    is_stated: bool = field(default=False, compare=False)
    loose: str = field(default="", compare=False)
    key: KeyKind = field(default="", compare=False)
    looks_numeric: bool = field(default=False, compare=False)
    is_choice: bool = field(default=False, compare=False)
    why: str = field(default="", compare=False)
    offered: str = field(default="", compare=False)
    plainest: str = field(default="", compare=False)

    @property
    def spelled(self) -> str:
        """How the file writes a date or time (its format, "%-d" where no zero leads) or a boolean ("False/True")."""
        spelling = self.time_format or "/".join(self.words or ())
        letters = "dm" * ("d" in self.loose) + "HI" * ("h" in self.loose)
        for letter in letters if self.time_format else "":
            spelling = spelling.replace(f"%{letter}", f"%-{letter}")
        return spelling

    @property
    def named(self) -> str:
        """The name of the type under ``[types]`` of competition.toml."""
        spelling = self.spelled or (self.decimal if self.dtype == pl.Float64 and self.decimal != "." else "")
        suffix = f" until {self.max_year}" if self.max_year is not None else ""
        return f"{self.dtype.base_type()} {spelling}".strip() + suffix

    @property
    def is_guess(self) -> bool:
        """Whether competition.toml should mention the type as a comment, so that the user can change it there."""
        return bool(self.spelled) or (self.is_choice and " " in self.named)

    @property
    def note(self) -> str:
        """A note on the choice for the user, "" where there was none."""
        if not self.why or self.is_stated:
            return ""
        if self.dtype == pl.String:
            return f"undecided, so it stays text: {self.why}" + (f" ({self.offered})" if self.offered else "")
        return f"read as {self.named}: {self.why}"

    def read(self, name: str, missing: Sequence[str] = ()) -> pl.Expr:
        """Return an expression that parses the text column `name`; texts that can't be parsed become null.

        Parameters
        ----------
        missing : sequence of str
            The missing values of ``[read.TABLE]``.
        """
        text = pl.col(name)
        if self.dtype == pl.String:
            return pl.when(~is_token(text, missing)).then(text).alias(name) if missing else text
        if self.is_parsed_by_reader:
            return text.fill_nan(None) if self.dtype == pl.Float64 else text
        # The texts in MISSING can't be parsed as any of these types and need no check, but the user's may: "-999".
        present = text.str.strip_chars()
        if missing:
            # Other spellings of a missing number are recognized after parsing.
            is_number = self.dtype in (pl.Int64, pl.Float64)
            is_missing = present.is_in([t.strip() for t in missing]) if is_number else is_token(text, missing)
            present = pl.when(~is_missing).then(present)
        if self.words:
            false, true = self.words
            if self.any_case:
                present, false, true = present.str.to_lowercase(), false.lower(), true.lower()
            return pl.when(present == true).then(True).when(present == false).then(False).alias(name)
        if self.time_format:
            dtype = pl.Date() if self.dtype == pl.Date else pl.Datetime("us")
            return read_times(present, self.time_format.split("|"), dtype, self.max_year).alias(name)
        number_text = present
        if self.decimal == ",":
            # Only numbers with a decimal comma: otherwise the point of "1.5" would be removed.
            number_text = pl.when(number_text.str.contains(DECIMAL_COMMA)).then(
                number_text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
            )
        elif self.decimal == "1,000":
            number_text = pl.when(number_text.str.contains(THOUSANDS_COMMA)).then(
                number_text.str.replace_all(",", "", literal=True)
            )
        parsed = number_text.cast(self.dtype, strict=False)
        tokens = token_numbers(missing)
        if tokens:
            parsed = pl.when(~parsed.cast(pl.Float64).is_in(tokens)).then(parsed)
        return (parsed.fill_nan(None) if self.dtype == pl.Float64 else parsed).alias(name)


def from_name(text: str, column: str) -> ColumnType:
    """Parse the name of a type under ``[types]`` of competition.toml.

    Raises
    ------
    DataError
        For an unknown name.

    Examples
    --------
    >>> from_name("Date %d.%m.%Y", "day").dtype
    Date
    """
    name, _, detail = text.partition(" ")
    if name in ("Date", "Datetime"):
        default = "%Y-%m-%d" if name == "Date" else "%Y-%m-%d %H:%M:%S"
        time_format, _, year = detail.partition(" until ")
        dtype = pl.Date() if name == "Date" else pl.Datetime("us")
        max_year = int(year) if year.isdigit() else None
        return ColumnType(dtype, time_format or default, max_year=max_year, is_stated=True)
    if name == "Boolean":
        false, _, true = detail.partition("/")
        return ColumnType(pl.Boolean(), words=(false, true) if true else ("False", "True"), is_stated=True)
    plain_types = {"String": pl.String(), "Int64": pl.Int64(), "Float64": pl.Float64()}
    if name not in plain_types or detail not in ("", *(MARKS if name == "Float64" else ())):
        valid_types = [*plain_types, "Boolean", "Date", "Datetime", *(f"Float64 {m}" for m in MARKS)]
        valid_types += ["Date %d.%m.%Y", "Date %d/%m/%y until 2024", "Boolean no/yes"]
        raise DataError(
            f"[types]: {column} = {text!r} is not a type", hint=did_you_mean(text, valid_types, kind="type")
        )
    return ColumnType(plain_types[name], decimal=detail or ".", is_stated=True)


# ---------------------------------------------------------------------------------------------------------- comparing


def respelled(text: pl.Series, typed: pl.Series, decided: ColumnType) -> pl.Series:
    """Return the texts of a key or code whose spelling its type does not keep.

    For a code, integers among floats ("7" and "7.5") and missing values do not count.
    """
    if decided.time_format:
        written = as_written(typed.to_frame("t"), {"t": decided.spelled})["t"]
    elif decided.words:
        written = typed.replace_strict([False, True], list(decided.words), return_dtype=pl.String)
    else:
        written = typed.cast(pl.String)
    differs = text.is_not_null() & (text != written).fill_null(value=True)
    if decided.key == "code" and differs.any():
        differs &= ~(text.str.contains(SHORT_INTEGER) | text.str.strip_chars().is_in(MISSING))
    return text.filter(differs)


def present_texts(
    values: pl.Series, missing: Sequence[str], decimal: str = "", *, tokens: Sequence[str] = MISSING
) -> pl.Series:
    """Return the texts that are not missing values: neither one of `missing`, in any spelling, nor one of `tokens`."""
    present = values.drop_nulls()
    if missing:
        present = present.filter(pl.select(~is_token(pl.lit(present), missing, decimal)).to_series())
    return present.filter(~present.str.strip_chars().is_in(list(tokens))) if tokens else present


# ---------------------------------------------------------------------------------------------------------- deciding


def decide(
    stats: Sequence[ColumnStats],
    *,
    decimal: str = "",
    separator: str = ",",
    evidence: Evidence = NO_EVIDENCE,
    name: str = "",
    key: KeyKind = "",
) -> ColumnType:
    """Decide a column's type from its statistics in all the files that share it.

    Parameters
    ----------
    stats : sequence of ColumnStats
    decimal : str
        The decimal mark, "." or ","; "" if it is not known.
    separator : str
        The separator of the file: if it is a comma, a comma in a number rather separates thousands.
    evidence : Evidence
    name : str
        The column's name.
    key : "key", "code" or ""
        A key is text unless the type keeps the spelling of every value; a code unless no two values can become one.

    Examples
    --------
    >>> numbers = ColumnStats(present=3, integers=3, digits=3, floats=3)
    >>> decide([numbers]).dtype
    Int64
    >>> decide([numbers, ColumnStats(present=1)]).dtype
    String
    """
    total = reduce(lambda a, b: a + b, stats)
    column_type = _type_without_key(total, decimal, separator, evidence, name)
    if not key or column_type.dtype == pl.String:
        return column_type
    if _keeps_spelling(column_type, total, key):
        return replace(column_type, key=key)
    return ColumnType(pl.String(), looks_numeric=column_type.dtype.is_numeric())


def _keeps_spelling(decided: ColumnType, total: ColumnStats, key: KeyKind) -> bool:
    """Tell whether a type keeps the spelling of all values, as far as a key or a code needs it."""
    preserving_types = total.exact or frozenset()
    if decided.dtype == pl.Float64:
        return decided.decimal == "." and "fraction" in preserving_types
    if key == "code":
        return True
    if decided.dtype == pl.Int64:
        return "whole" in preserving_types
    return f"{decided.time_format}|{decided.loose}" in preserving_types


def _type_without_key(total: ColumnStats, decimal: str, separator: str, evidence: Evidence, name: str) -> ColumnType:
    """Return the type by the values alone, whether or not it keeps the spelling that a key needs."""
    if not total.present:
        return ColumnType(pl.String(), like="")
    if total.times and COMPACT in total.times:
        return ColumnType(pl.Date(), COMPACT, plainest=f"Date {COMPACT}")
    if total.padded:
        # A leading zero is part of a code ("007"): as a number it would be lost.
        return ColumnType(pl.String())
    column_type = (
        _numeric_type(total, decimal, separator, evidence)
        or _boolean_type(total)
        or _time_type(total, evidence.order, name)
    )
    return column_type or ColumnType(pl.String(), like=_pattern_of_single_word(total.few))


def _numeric_type(  # noqa: PLR0911 one per way to write numbers
    total: ColumnStats, decimal: str, separator: str, evidence: Evidence
) -> ColumnType | None:
    if total.integers == total.present:
        return ColumnType(pl.Int64(), is_parsed_by_reader=total.plain)
    if total.digits == total.present:
        # As floats, large amounts and hashes keep their magnitude and order.
        return ColumnType(pl.Float64(), is_parsed_by_reader=total.plain, beyond_64_bits=True)
    is_decimal, is_thousands = total.decimals == total.present, total.thousands == total.present
    if decimal == "," and is_decimal:
        return ColumnType(pl.Float64(), decimal=",", plainest="Float64 ,")
    if total.floats == total.present:
        may_be_grouped = total.grouped == total.points > 0 and not total.long
        if may_be_grouped and not decimal and evidence.decimal == ",":
            why = "groups of three digits, and a comma is the decimal mark in other columns"
            return ColumnType(pl.Float64(), decimal=",", is_choice=True, why=why, plainest="Float64")
        return ColumnType(pl.Float64(), is_parsed_by_reader=total.plain, is_choice=may_be_grouped, plainest="Float64")
    if not (is_decimal or is_thousands) or (decimal and not is_thousands):
        return None
    plainest = _comma_meanings(decimal, separator)[0]
    if decimal or not (is_decimal and is_thousands):
        mark = "1,000" if decimal or is_thousands else ","
        return ColumnType(pl.Float64(), decimal=mark, plainest=f"Float64 {mark}")
    mark, why = _comma_meaning(total, separator, evidence)
    if not mark:
        offered = " or ".join(f"Float64 {m}" for m in MARKS)
        return ColumnType(pl.String(), is_choice=True, why=why, offered=offered)
    return ColumnType(pl.Float64(), decimal=mark, is_choice=True, why=why, plainest=f"Float64 {plainest}")


def _comma_meaning(total: ColumnStats, separator: str, evidence: Evidence) -> tuple[str, str]:
    """Return the meaning of commas that are all followed by three digits, and the reason; "" where it is undecided."""
    if evidence.decimal:
        mark = "," if evidence.decimal == "," else "1,000"
        return mark, f"in other columns {evidence.decimal!r} is the decimal mark"
    if total.long:
        return ",", "thousands are written without a mark in it"
    if total.commas < total.present:
        return "1,000", "groups of three digits throughout"
    if separator == ",":
        return "1,000", "beside commas that separate"
    return "", "a comma before three digits may be the decimal mark or stand between thousands"


def _comma_meanings(decimal: str, separator: str) -> tuple[str, ...]:
    """Return the possible meanings of a comma in a number, the likelier first."""
    if decimal:
        return (",",) if decimal == "," else ("1,000",)
    return ("1,000", ",") if separator == "," else (",", "1,000")


def _boolean_type(total: ColumnStats) -> ColumnType | None:
    words = _boolean_words(total.few)
    any_case = not (total.few or frozenset()) <= set(words or ())
    if not words:
        return None
    return ColumnType(pl.Boolean(), words=words, any_case=any_case, plainest=f"Boolean {'/'.join(words)}")


def _time_type(total: ColumnStats, order: str, name: str) -> ColumnType | None:
    """Return a type of dates or times, String where the format is undecided; None where no format reads all values."""
    if not total.times:
        return None
    time_formats = needed_time_formats(total.time_formats)
    if len({bool(zone_of(f)) for f in time_formats if f}) > 1:
        reason = "some times have an offset from UTC and others none"
        return ColumnType(pl.String(), is_choice=True, why=reason)
    choice = choose_day(total.times, total.days, order)
    dtype = pl.Date() if time_formats == ("",) else pl.Datetime("us")
    plainest = next(f for f in DAYS if f in total.times)

    def with_format(day_format: str, max_year: int | None = None) -> ColumnType:
        joined_formats = "|".join(day_format + time_format for time_format in time_formats)
        return ColumnType(dtype, joined_formats, loose=total.loose, max_year=max_year)

    if choice.day_format is None:
        offered = " or ".join(with_format(f).named for f in DAYS if f in total.times)
        return ColumnType(pl.String(), is_choice=True, why=choice.why, offered=offered)
    max_year = choose_max_year(total.days or (), choice.day_format, name)
    reasons = [choice.why] * bool(choice.why)
    reasons += [f"years of two digits are those until {max_year}: later ones would lie in the future"] * (
        max_year is not None
    )
    return replace(
        with_format(choice.day_format, max_year),
        is_choice=not choice.certain or "%y" in choice.day_format,
        why="; ".join(reasons),
        plainest=with_format(plainest).named,
    )


Fact = tuple[Literal["order", "order with points", "decimal mark"], str]
"""What a column proves: the order of its dates, which may be written with points, or its decimal mark."""


def facts_of(total: ColumnStats) -> list[Fact]:
    """Return what a column's statistics over all its files prove about the order of dates and the decimal mark."""
    facts: list[Fact] = []
    if total.times and total.present and COMPACT not in total.times:
        choice = choose_day(total.times, total.days)
        day_format = choice.day_format or ""
        order = day_order(day_format) if choice.certain or choice.strong else None
        if order is not None and (order != "ymd" or "%y" in day_format):
            facts.append(("order with points" if "." in day_format else "order", order))
    if total.commas and (total.decimals == total.present) != (total.thousands == total.present):
        facts.append(("decimal mark", "," if total.decimals == total.present else "."))
    elif total.floats == total.present and total.points > total.grouped:
        facts.append(("decimal mark", "."))
    return facts


def evidence_from(facts: Collection[Fact]) -> Evidence:
    """Return the order of dates and the decimal mark that columns prove, where none contradicts another."""
    # Dates with points mostly begin with the day, which proves little for dates with slashes.
    date_orders = {o for kind, o in facts if kind == "order"} or {o for kind, o in facts if kind == "order with points"}
    marks = {mark for kind, mark in facts if kind == "decimal mark"}
    return Evidence(date_orders.pop() if len(date_orders) == 1 else "", marks.pop() if len(marks) == 1 else "")


def _pattern_of_single_word(few: frozenset[str] | None) -> str | None:
    """Return a pattern of a column's only value if it is a word of a boolean, else None."""
    if few is None or len(few) != 1:
        return None
    (single_value,) = few
    return re.escape(single_value) if any(single_value.lower() in pair for pair in BOOLEAN_WORDS) else None


def _boolean_words(few: frozenset[str] | None) -> tuple[str, str] | None:
    """Return the words for false and true if the values are such, spelled as in the file; else None."""
    if not few:
        return None
    lower_values = {v.lower() for v in few}
    for false, true in BOOLEAN_WORDS:
        # A single letter may also be a code: then both must occur, each in one spelling.
        if lower_values <= {false, true} and (false == "false" or len(few) == len(lower_values) == 2):
            spelling_by_lower = {v.lower(): v for v in sorted(few, reverse=True)}
            first_spelling = next(iter(spelling_by_lower.values()))
            to_case = str.title if first_spelling.istitle() else str.upper if first_spelling.isupper() else str.lower
            return spelling_by_lower.get(false, to_case(false)), spelling_by_lower.get(true, to_case(true))
    return None
