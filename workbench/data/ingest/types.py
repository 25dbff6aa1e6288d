"""The types of text columns: counted over whole files, decided for all the files that share a column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import polars as pl

from workbench.core.errors import DataError, near
from workbench.data.competition.answer import as_written
from workbench.data.ingest.dates import (
    COMPACT,
    DAYS,
    MOST_DAYS,
    choose_day,
    clock_formats,
    day_order,
    has_short_years,
    last_year,
    read_times,
    zones_of,
)
from workbench.data.ingest.keys import SHORT_INTEGER, KeyKind
from workbench.data.ingest.missing import is_token, token_numbers

__all__ = [
    "MISSING",
    "NO_EVIDENCE",
    "ColumnStats",
    "ColumnType",
    "Evidence",
    "decide",
    "evidence_of",
    "from_name",
    "has_short_years",
    "present_texts",
    "respelled",
]

MISSING = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "none", "NaT", "?", "-")
"""What stands in a number's or a date's place when there is none. In a text column only the empty text is missing,
quoted or not; one of spaces alone is a text there."""

INTEGER = r"[+-]?\d+"
WORDS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))
FEW = 8
DECIMAL_COMMA = r"^[+-]?((\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d*)?|,\d+)([eE][+-]?\d+)?$"
THOUSANDS_COMMA = r"^[+-]?((\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
MARKS = (",", "1,000")
"""What a comma in a number is, as ``[types]`` names it: the decimal mark, or between thousands."""
POINT_GROUPS = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$"


@dataclass(frozen=True)
class ColumnStats:
    """How many of a column's values could be read as what; statistics of several pieces are joined with ``+``.

    `times` counts by format of the day; a format that failed in one piece is missing. `clocks` are the formats of what
    follows the day, "" where nothing does; `days` the different days as they are written, where a choice depends on
    them, None where they are too many. `few` are the values where there are few, else None. `decimals` could be read
    with a comma as the decimal mark, `thousands` with one between the thousands; `commas` have one at all, `points`
    have a point, `grouped` have points between groups of three only, and `long` have more than three digits in a row.
    `plain` is whether every value is a number as it stands, so that the CSV reader may read it directly. `loose` names
    what dates are written in without a leading zero: "d" days and months, "h" hours. `exact`, of keys and codes only,
    names the readings that give every value back as it is written; None where there is no value, or nobody asked.
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
    clocks: frozenset[str] = frozenset()
    days: frozenset[str] | None = frozenset()
    commas: int = 0
    points: int = 0
    grouped: int = 0
    long: int = 0
    few: frozenset[str] | None = frozenset()
    loose: str = ""
    exact: frozenset[str] | None = None

    def __add__(self, other: ColumnStats) -> ColumnStats:
        """Join the statistics of two pieces of a column."""
        few = None if self.few is None or other.few is None else self.few | other.few
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
            times=_joined(self, other),
            clocks=self.clocks | other.clocks,
            days=days if days is not None and len(days) <= MOST_DAYS else None,
            commas=self.commas + other.commas,
            points=self.points + other.points,
            grouped=self.grouped + other.grouped,
            long=self.long + other.long,
            few=few if few is not None and len(few) <= FEW else None,
            loose="".join(sorted({*self.loose, *other.loose})),
            exact=other.exact
            if self.exact is None
            else self.exact & (self.exact if other.exact is None else other.exact),
        )


def _joined(a: ColumnStats, b: ColumnStats) -> dict[str, int] | None:
    if not a.present or a.times is None:
        return b.times if not a.present else None
    if not b.present or b.times is None:
        return a.times if not b.present else None
    return {f: a.times[f] + b.times[f] for f in a.times if f in b.times}


@dataclass(frozen=True)
class Evidence:
    """What other columns of a competition prove: the order of day and month ("dmy", "mdy", "ymd"), the decimal mark.

    "" where nothing does, or columns contradict each other.
    """

    order: str = ""
    decimal: str = ""


NO_EVIDENCE = Evidence()


@dataclass(frozen=True)
class ColumnType:
    """A decided type, and how its text is read.

    `time_format` is that of a date or time, several with "|" between them, `until` the last year of the century that
    years of two digits are in; `words` are the texts of a boolean (false, true), `decimal` is the mark in a
    number; `direct` says that the CSV reader may read it as it stands, `any_case`
    that the words come in several spellings; `like` is the pattern of the values that were seen where one that is
    unlike them may make another type of all, None where none can; `asked` is True where competition.toml names the
    type; `key` says that every value must be given back as it is written, and `looks_numeric` that a number is text for
    that reason alone; `beyond_64_bits` that whole numbers are too large for one. `is_choice` is whether the values
    could be read in another way, `why` says why it is this one,
    `offered` is what competition.toml may name where it is undecided, and `plainest` is the type as it would be named
    without a look at other columns.
    """

    dtype: pl.DataType
    time_format: str | None = None
    words: tuple[str, str] | None = None
    decimal: str = "."
    direct: bool = False
    any_case: bool = True
    beyond_64_bits: bool = field(default=False, compare=False)
    until: int | None = None
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
        """The type as competition.toml would name it under ``[types]``."""
        spelling = self.spelled or (self.decimal if self.dtype == pl.Float64 and self.decimal != "." else "")
        until = f" until {self.until}" if self.until is not None else ""
        return f"{self.dtype.base_type()} {spelling}".strip() + until

    @property
    def is_guess(self) -> bool:
        """Whether competition.toml should show how the values are read, so that it can be changed there."""
        return bool(self.spelled) or (self.is_choice and " " in self.named)

    @property
    def note(self) -> str:
        """What is to be said of a choice, "" where there was none."""
        if not self.why or self.is_stated:
            return ""
        if self.dtype == pl.String:
            return f"undecided, so it stays text: {self.why}" + (f" ({self.offered})" if self.offered else "")
        return f"read as {self.named}: {self.why}"

    def read(self, name: str, missing: Sequence[str] = ()) -> pl.Expr:
        """Return the expression that turns the text column `name` into this type; what can't be read becomes null."""
        text = pl.col(name)
        if self.dtype == pl.String:
            return pl.when(~is_token(text, missing)).then(text).alias(name) if missing else text
        if self.direct:
            return text.fill_nan(None) if self.dtype == pl.Float64 else text
        # What stands for a missing value can't be read as any of these, so that it needs no check of its own; only
        # further tokens of the user's may be such: "-999".
        present = text.str.strip_chars()
        if missing:
            # Other spellings of a number are recognized once it is parsed.
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
            return read_times(present, self.time_format.split("|"), dtype, self.until).alias(name)
        number = present
        if self.decimal == ",":
            # "1.5" beside "1,5" is no 15: only what is written so throughout is split.
            number = pl.when(number.str.contains(DECIMAL_COMMA)).then(
                number.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
            )
        elif self.decimal == "1,000":
            number = pl.when(number.str.contains(THOUSANDS_COMMA)).then(number.str.replace_all(",", "", literal=True))
        parsed = number.cast(self.dtype, strict=False)
        tokens = token_numbers(missing)
        if tokens:
            parsed = pl.when(~parsed.cast(pl.Float64).is_in(tokens)).then(parsed)
        return (parsed.fill_nan(None) if self.dtype == pl.Float64 else parsed).alias(name)


def from_name(text: str, column: str) -> ColumnType:
    """Return the type that an entry under ``[types]`` of competition.toml names.

    Raises
    ------
    DataError
        For an unknown one.

    Examples
    --------
    >>> from_name("Date %d.%m.%Y", "day").dtype
    Date
    """
    name, _, detail = text.partition(" ")
    if name in ("Date", "Datetime"):
        usual = "%Y-%m-%d" if name == "Date" else "%Y-%m-%d %H:%M:%S"
        form, _, until = detail.partition(" until ")
        dtype = pl.Date() if name == "Date" else pl.Datetime("us")
        last = int(until) if until.isdigit() else None
        return ColumnType(dtype, form or usual, until=last, is_stated=True)
    if name == "Boolean":
        false, _, true = detail.partition("/")
        return ColumnType(pl.Boolean(), words=(false, true) if true else ("False", "True"), is_stated=True)
    plain = {"String": pl.String(), "Int64": pl.Int64(), "Float64": pl.Float64()}
    if name not in plain or detail not in ("", *(MARKS if name == "Float64" else ())):
        valid_types = [*plain, "Boolean", "Date", "Datetime", *(f"Float64 {m}" for m in MARKS)]
        valid_types += ["Date %d.%m.%Y", "Date %d/%m/%y until 2024", "Boolean no/yes"]
        raise DataError(f"[types]: {column} = {text!r} is not a type", hint=near(text, valid_types, kind="type"))
    return ColumnType(plain[name], decimal=detail or ".", is_stated=True)


# ---------------------------------------------------------------------------------------------------------- comparing


def respelled(text: pl.Series, typed: pl.Series, decided: ColumnType) -> pl.Series:
    """Return the values of a key that its type would write otherwise than the file does.

    Of a code a fraction may lack what makes it one ("7" beside "7.5"), and what stands for a missing value is no value.
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
    """Return the texts of a column that stand for a value: neither one of `missing`, in any spelling, nor a token."""
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
        The mark in numbers, "." or ","; "" to decide it here.
    separator : str
        Of the file: beside a comma that separates, a comma in a number is rather one of thousands.
    evidence : Evidence
        What other columns of the competition prove.
    name : str
        The column's.
    key : "key", "code" or ""
        Whether it is a key, which is text unless every value is given back as it is written, or a code, which is text
        where as a fraction two of them might become one.

    Examples
    --------
    >>> numbers = ColumnStats(present=3, integers=3, digits=3, floats=3)
    >>> decide([numbers]).dtype
    Int64
    >>> decide([numbers, ColumnStats(present=1)]).dtype
    String
    """
    total = reduce(lambda a, b: a + b, stats)
    decided = _decided(total, decimal, separator, evidence, name)
    if not key or decided.dtype == pl.String:
        return decided
    if _keeps_spelling(decided, total, key):
        return replace(decided, key=key)
    return ColumnType(pl.String(), looks_numeric=decided.dtype.is_numeric())


def _keeps_spelling(decided: ColumnType, total: ColumnStats, key: KeyKind) -> bool:
    exact = total.exact or frozenset()
    if decided.dtype == pl.Float64:
        return decided.decimal == "." and "fraction" in exact
    if key == "code":
        return True
    if decided.dtype == pl.Int64:
        return "whole" in exact
    return f"{decided.time_format}|{decided.loose}" in exact


def _decided(total: ColumnStats, decimal: str, separator: str, evidence: Evidence, name: str) -> ColumnType:
    if not total.present:
        return ColumnType(pl.String(), like="")
    if total.times and COMPACT in total.times:
        return ColumnType(pl.Date(), COMPACT, plainest=f"Date {COMPACT}")
    if total.padded:
        # A leading zero is part of a code ("007"): as a number it would be lost.
        return ColumnType(pl.String())
    decided = _number(total, decimal, separator, evidence) or _boolean(total) or _moment(total, evidence.order, name)
    # With a fraction among them, whole numbers are numbers, however large.
    like = INTEGER if total.digits == total.present else _half_of_words(total.few)
    return decided or ColumnType(pl.String(), like=like)


def _number(  # noqa: PLR0911 one per way to write numbers
    total: ColumnStats, decimal: str, separator: str, evidence: Evidence
) -> ColumnType | None:
    if total.integers == total.present:
        return ColumnType(pl.Int64(), direct=total.plain)
    if total.digits == total.present:
        # Amounts, hashes: as fractions they keep their size and their order.
        return ColumnType(pl.Float64(), direct=total.plain, beyond_64_bits=True)
    is_decimal, is_thousands = total.decimals == total.present, total.thousands == total.present
    if decimal == "," and is_decimal:
        return ColumnType(pl.Float64(), decimal=",", plainest="Float64 ,")
    if total.floats == total.present:
        groups = total.grouped == total.points > 0 and not total.long
        if groups and not decimal and evidence.decimal == ",":
            why = "groups of three digits, and a comma is the decimal mark in other columns"
            return ColumnType(pl.Float64(), decimal=",", is_choice=True, why=why, plainest="Float64")
        return ColumnType(pl.Float64(), direct=total.plain, is_choice=groups, plainest="Float64")
    if not (is_decimal or is_thousands) or (decimal and not is_thousands):
        return None
    plainest = _marks(decimal, separator)[0]
    if decimal or not (is_decimal and is_thousands):
        mark = "1,000" if decimal or is_thousands else ","
        return ColumnType(pl.Float64(), decimal=mark, plainest=f"Float64 {mark}")
    mark, why = _mark(total, separator, evidence)
    if not mark:
        offered = " or ".join(f"Float64 {m}" for m in MARKS)
        return ColumnType(pl.String(), is_choice=True, why=why, offered=offered)
    return ColumnType(pl.Float64(), decimal=mark, is_choice=True, why=why, plainest=f"Float64 {plainest}")


def _mark(total: ColumnStats, separator: str, evidence: Evidence) -> tuple[str, str]:
    """Return what a comma is where all of them stand before three digits, and why; "" where nothing tells."""
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


def _marks(decimal: str, separator: str) -> tuple[str, ...]:
    """Return what a comma in a number may be, the likelier first."""
    if decimal:
        return (",",) if decimal == "," else ("1,000",)
    return ("1,000", ",") if separator == "," else (",", "1,000")


def _boolean(total: ColumnStats) -> ColumnType | None:
    words = _words(total.few)
    any_case = not (total.few or frozenset()) <= set(words or ())
    if not words:
        return None
    return ColumnType(pl.Boolean(), words=words, any_case=any_case, plainest=f"Boolean {'/'.join(words)}")


def _moment(total: ColumnStats, order: str, name: str) -> ColumnType | None:
    """Return a date or a time; text where nothing tells how it is meant."""
    if not total.times:
        return None
    clocks = clock_formats(total.clocks)
    if len({bool(zones_of(c)) for c in clocks if c}) > 1:
        why = "some times have an offset from UTC and others none"
        return ColumnType(pl.String(), is_choice=True, why=why)
    choice = choose_day(total.times, total.days, order)
    dtype = pl.Date() if clocks == ("",) else pl.Datetime("us")
    plainest = next(f for f in DAYS if f in total.times)

    def named(day: str, until: int | None = None) -> ColumnType:
        joined = "|".join(day + clock for clock in clocks)
        return ColumnType(dtype, joined, loose=total.loose, until=until)

    if choice.day_format is None:
        offered = " or ".join(named(f).named for f in DAYS if f in total.times)
        return ColumnType(pl.String(), is_choice=True, why=choice.why, offered=offered)
    until = last_year(total.days or (), choice.day_format, name)
    reasons = [choice.why] * bool(choice.why)
    reasons += [f"years of two digits are those until {until}: later ones would lie in the future"] * (
        until is not None
    )
    return replace(
        named(choice.day_format, until),
        is_choice=not choice.certain or "%y" in choice.day_format,
        why="; ".join(reasons),
        plainest=named(plainest).named,
    )


def evidence_of(columns: Iterable[ColumnStats]) -> Evidence:
    """Return what columns prove of the order of day and month and of the decimal mark, where none contradicts."""
    orders: dict[bool, set[str]] = {True: set(), False: set()}
    marks = set()
    for total in columns:
        if total.times and total.present and COMPACT not in total.times:
            choice = choose_day(total.times, total.days)
            day = choice.day_format or ""
            order = day_order(day) if choice.certain or choice.strong else None
            # With points the day is first as a rule, which proves little of days with a slash.
            if order is not None and (order != "ymd" or "%y" in day):
                orders["." in day].add(order)
        if total.commas and (total.decimals == total.present) != (total.thousands == total.present):
            marks.add("," if total.decimals == total.present else ".")
        elif total.floats == total.present and total.points > total.grouped:
            marks.add(".")
    sure_orders = orders[False] or orders[True]
    return Evidence(sure_orders.pop() if len(sure_orders) == 1 else "", marks.pop() if len(marks) == 1 else "")


def _half_of_words(few: frozenset[str] | None) -> str | None:
    """Return the pattern of a column's one value where it is half of a pair of words, else None."""
    if few is None or len(few) != 1:
        return None
    (only,) = few
    return re.escape(only) if any(only.lower() in pair for pair in WORDS) else None


def _words(few: frozenset[str] | None) -> tuple[str, str] | None:
    if not few:
        return None
    lower = {v.lower() for v in few}
    for false, true in WORDS:
        # One letter alone is a code as well as a word: both must be there, in one spelling.
        if lower <= {false, true} and (false == "false" or len(few) == len(lower) == 2):
            spelled = {v.lower(): v for v in sorted(few, reverse=True)}
            style = next(iter(spelled.values()))
            cased = str.title if style.istitle() else str.upper if style.isupper() else str.lower
            return spelled.get(false, cased(false)), spelled.get(true, cased(true))
    return None
