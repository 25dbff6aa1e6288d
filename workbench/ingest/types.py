"""The types of text columns: counted over whole files, decided for all the files that share a column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import polars as pl

from workbench.errors import DataError, near
from workbench.ingest.keys import SHORT_WHOLE, KeyKind
from workbench.ingest.missing import is_token, token_numbers

__all__ = [
    "MISSING",
    "ColumnStats",
    "ColumnType",
    "column_stats",
    "decide",
    "from_name",
    "has_short_years",
    "present_texts",
    "respelled",
]

MISSING = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "none", "NaT", "?", "-")
"""What stands in a number's or a date's place when there is none. In a text column only the empty text is missing,
quoted or not; one of spaces alone is a text there."""

DAYS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d-%b-%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d.%m.%y",
    "%d-%b-%y",
)
CLOCKS = (
    "",
    " %H:%M:%S",
    " %H:%M",
    "T%H:%M:%S",
    "T%H:%M:%SZ",
    " %H:%M:%S%.f",
    "T%H:%M:%S%.f",
    "T%H:%M:%S%.fZ",
    " %H:%M:%S UTC",
    " %I:%M:%S %p",
    " %I:%M %p",
    "T%H:%M",
)
TIME_FORMATS = (*(f"{day}{clock}" for clock in CLOCKS for day in DAYS), "%Y%m%d")
"""In the order in which they are tried: where days and months can't be told apart, the month comes first."""

WHOLE = r"[+-]?\d+"
WORDS = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))
FEW = 8
LOOSE_ROWS = 10_000
DECIMAL_COMMA = r"^[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d*)?$"
THOUSANDS_COMMA = r"^[+-]?(\d+|[1-9]\d{0,2}(,\d{3})+)(\.\d*)?$"


@dataclass(frozen=True)
class ColumnStats:
    """How many of a column's values could be read as what; statistics of several pieces are joined with ``+``.

    `times` counts by format; a format that failed in one piece is missing. `few` are the values where there are few,
    else None. `decimals` could be read with a comma as the decimal mark, `thousands` with one between the thousands.
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
    few: frozenset[str] | None = frozenset()
    loose: str = ""
    exact: frozenset[str] | None = None

    def __add__(self, other: ColumnStats) -> ColumnStats:
        """Join the statistics of two pieces of a column."""
        few = None if self.few is None or other.few is None else self.few | other.few
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
class ColumnType:
    """A decided type, and how its text is read.

    `time_format` is that of a date or time, `words` the texts of a boolean (false, true), `decimal` the mark in a
    number; `direct` says that the CSV reader may read it as it stands, `any_case`
    that the words come in several spellings; `like` is the pattern of the values that were seen where one that is
    unlike them may make another type of all, None where none can; `asked` is True where competition.toml names the
    type; `key` says that every value must be given back as it is written, and `looks_numeric` that a number is text for
    that reason alone; `beyond_64_bits` that whole numbers are too large for one.
    """

    dtype: pl.DataType
    time_format: str | None = None
    words: tuple[str, str] | None = None
    decimal: str = "."
    direct: bool = False
    any_case: bool = True
    beyond_64_bits: bool = field(default=False, compare=False)
    like: str | None = field(default=None, compare=False)
    asked: bool = field(default=False, compare=False)
    loose: str = field(default="", compare=False)
    key: KeyKind = field(default="", compare=False)
    looks_numeric: bool = field(default=False, compare=False)

    @property
    def spelled(self) -> str:
        """How the file writes a date or time (its format, "%-d" where no zero leads) or a boolean ("False/True")."""
        found = self.time_format or "/".join(self.words or ())
        letters = "dm" * ("d" in self.loose) + "HI" * ("h" in self.loose)
        for letter in letters if self.time_format else "":
            found = found.replace(f"%{letter}", f"%-{letter}")
        return found

    def read(self, name: str, missing: Sequence[str] = ()) -> pl.Expr:
        """Return the expression that turns the text column `name` into this type; what can't be read becomes null."""
        text = pl.col(name)
        if self.dtype == pl.String:
            return pl.when(~is_token(text, missing)).then(text).alias(name) if missing else text
        if self.direct:
            return text.fill_nan(None) if self.dtype == pl.Float64 else text
        # What stands for a missing value can't be read as any of these, so that it needs no look of its own; only
        # further tokens of one's own may be such: "-999".
        present = text.str.strip_chars()
        if missing:
            # Other spellings of a number are told once it is parsed.
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
            # With a cache, polars is four times slower where most values differ.
            return present.str.strptime(dtype, self.time_format, strict=False, cache=False).alias(name)
        number = present
        if self.decimal == ",":
            # "1.5" beside "1,5" is no 15: only what is written so throughout is taken apart.
            number = pl.when(number.str.contains(DECIMAL_COMMA)).then(
                number.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
            )
        elif self.decimal == "1,000":
            number = pl.when(number.str.contains(THOUSANDS_COMMA)).then(number.str.replace_all(",", "", literal=True))
        found = number.cast(self.dtype, strict=False)
        tokens = token_numbers(missing)
        if tokens:
            found = pl.when(~found.cast(pl.Float64).is_in(tokens)).then(found)
        return (found.fill_nan(None) if self.dtype == pl.Float64 else found).alias(name)


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
    name, _, rest = text.partition(" ")
    if name in ("Date", "Datetime"):
        usual = "%Y-%m-%d" if name == "Date" else "%Y-%m-%d %H:%M:%S"
        return ColumnType(pl.Date() if name == "Date" else pl.Datetime("us"), rest or usual, asked=True)
    if name == "Boolean":
        false, _, true = rest.partition("/")
        return ColumnType(pl.Boolean(), words=(false, true) if true else ("False", "True"), asked=True)
    plain = {"String": pl.String(), "Int64": pl.Int64(), "Float64": pl.Float64()}
    if name not in plain or rest not in ("", ","):
        known = [*plain, "Boolean", "Date", "Datetime", "Float64 ,", "Date %d.%m.%Y", "Boolean no/yes"]
        raise DataError(f"[types]: {column} = {text!r} is no type", hint=near(text, known, what="type"))
    return ColumnType(plain[name], decimal="," if rest else ".", asked=True)


# ---------------------------------------------------------------------------------------------------------- counting


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
    found = {c: _column(frame[c], c, None if formats is None else formats.get(c, ()), missing) for c in frame.columns}
    for column, kind in (keys or {}).items():
        if kind and column in found:
            exact = _exact(frame[column].drop_nulls(), found[column].times or {}, missing, kind)
            found[column] = replace(found[column], exact=exact)
    return found


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
    is_time = "%H" in time_format or "%I" in time_format
    return ColumnType(pl.Datetime("us") if is_time else pl.Date(), time_format, loose=loose, key="key")


def _gives_back(text: pl.Series, decided: ColumnType) -> bool:
    typed = text.to_frame("t").select(decided.read("t")).to_series()
    return not respelled(text, typed, decided).len()


def respelled(text: pl.Series, typed: pl.Series, decided: ColumnType) -> pl.Series:
    """Return the values of a key that its type would write otherwise than the file does.

    Of a code a fraction may lack what makes it one ("7" beside "7.5"), and what stands for a missing value is no value.
    """
    if decided.time_format:
        written = typed.dt.strftime(decided.spelled)
    elif decided.words:
        written = typed.replace_strict([False, True], list(decided.words), return_dtype=pl.String)
    else:
        written = typed.cast(pl.String)
    differs = text.is_not_null() & (text != written).fill_null(value=True)
    if decided.key == "code" and differs.any():
        differs &= ~(text.str.contains(SHORT_WHOLE) | text.str.strip_chars().is_in(MISSING))
    return text.filter(differs)


def present_texts(
    values: pl.Series, missing: Sequence[str], decimal: str = "", *, tokens: Sequence[str] = MISSING
) -> pl.Series:
    """Return the texts of a column that stand for a value: neither one of `missing`, in any spelling, nor a token."""
    present = values.drop_nulls()
    if missing:
        present = present.filter(pl.select(~is_token(pl.lit(present), missing, decimal)).to_series())
    return present.filter(~present.str.strip_chars().is_in(list(tokens))) if tokens else present


def _column(values: pl.Series, name: str, formats: Iterable[str] | None, missing: Sequence[str]) -> ColumnStats:
    whole = values.drop_nulls()
    text = present_texts(whole, missing)
    present = text.len()
    if not present:
        return ColumnStats(plain=not whole.len(), times=None)
    text = text.str.strip_chars()
    unique = text.head(2000).n_unique() <= FEW and text.unique()
    few = frozenset(unique.to_list()) if isinstance(unique, pl.Series) and unique.len() <= FEW else None
    floats = text.cast(pl.Float64, strict=False)
    n_floats = present - floats.null_count()
    integers = text.cast(pl.Int64, strict=False) if n_floats == present else None
    digits = text.str.contains(f"^{WHOLE}$")
    n_digits = int(digits.sum())
    padded = int(text.str.contains(r"^[+-]?0\d+$").sum()) if n_digits else 0
    times = _times(text, name, formats) if n_floats < present or n_digits == present else {}
    return ColumnStats(
        present=present,
        integers=0 if integers is None else present - integers.null_count(),
        digits=n_digits,
        floats=n_floats,
        decimals=int(text.str.contains(DECIMAL_COMMA).sum()) if n_digits < present else present,
        thousands=int(text.str.contains(THOUSANDS_COMMA).sum()) if n_digits < present else present,
        padded=padded,
        # With a space around it a number is none for the CSV reader.
        plain=n_floats == present == whole.len() and text.str.len_bytes().sum() == whole.str.len_bytes().sum(),
        times=times,
        few=few,
        loose=_loose(text) if times else "",
    )


def _loose(text: pl.Series) -> str:
    """Return what dates are written in without a leading zero: "d" for days and months, "h" for hours."""
    some = text.head(LOOSE_ROWS)
    days = some.str.slice(0, 10).str.contains(r"(^|[/.\-])\d([/.\- ]|$)").any()
    hours = some.str.contains(r"[ T]\d:").any()
    return "d" * days + "h" * hours


def _times(text: pl.Series, name: str, formats: Iterable[str] | None) -> dict[str, int]:
    """Return the formats that all values have. Most formats fail on a handful of values: those are tried first."""
    first = str(text[0])
    if not (re.search(r"\d", first) and 6 <= len(first) <= 32):
        return {}
    possible = [f for f in (TIME_FORMATS if formats is None else formats) if f != "%Y%m%d" or _is_compact(text, name)]
    for piece in (text.head(5), text.sample(min(200, text.len()), seed=0), text):
        possible = [f for f in possible if _parses(piece, f)]
        if not possible:
            break
    return dict.fromkeys(possible, text.len())


def _is_compact(text: pl.Series, name: str) -> bool:
    """Whether eight digits are dates: only where the name says so, and the years are of our time."""
    named = re.search(r"date|(^|_)day$|(^|_)dt$", name.lower())
    return bool(named) and bool(text.str.contains(r"^(19|20)\d\d[01]\d[0-3]\d$").all())


def has_short_years(text: pl.Series, time_format: str) -> bool:
    """Whether a year that must have four digits has fewer, which polars takes for one of the first century."""
    if "%Y" not in time_format:
        return False
    pieces = re.split(r"(%-?\w)", time_format.partition("%Y")[0])
    before = "".join(r"\s*\w+" if p.startswith("%") else re.escape(p) for p in pieces)
    year = rf"^{before}\d{{4}}(\D|$)" if before else r"^\d{4}"
    return not text.str.strip_chars().str.contains(year).all()


def _parses(values: pl.Series, time_format: str) -> bool:
    return not has_short_years(values, time_format) and _is_read(values, time_format)


def _is_read(values: pl.Series, time_format: str) -> bool:
    return values.str.strptime(pl.Datetime("us"), time_format, strict=False, cache=False).null_count() == 0 or (
        "%H" not in time_format
        and "%I" not in time_format
        and values.str.strptime(pl.Date, time_format, strict=False, cache=False).null_count() == 0
    )


# ---------------------------------------------------------------------------------------------------------- deciding


def decide(stats: Sequence[ColumnStats], *, decimal: str = "", separator: str = ",", key: KeyKind = "") -> ColumnType:
    """Decide a column's type from its statistics in all the files that share it.

    Parameters
    ----------
    stats : sequence of ColumnStats
    decimal : str
        The mark in numbers, "." or ","; "" to decide it here.
    separator : str
        Of the file: beside a comma that separates, a comma in a number is rather one of thousands.
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
    decided = _decided(total, decimal, separator)
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


def _decided(total: ColumnStats, decimal: str, separator: str) -> ColumnType:  # noqa: PLR0911
    if not total.present:
        return ColumnType(pl.String(), like="")
    if total.times and "%Y%m%d" in total.times:
        return ColumnType(pl.Date(), "%Y%m%d")
    if total.padded:
        # A leading zero is part of a code ("007"): as a number it would be lost.
        return ColumnType(pl.String())
    number = _number(total, decimal, separator)
    if number:
        return number
    words = _words(total.few)
    if words:
        return ColumnType(pl.Boolean(), words=words, any_case=not (total.few or frozenset()) <= set(words))
    for time_format in TIME_FORMATS:
        if time_format in (total.times or {}):
            is_time = "%H" in time_format or "%I" in time_format
            return ColumnType(pl.Datetime("us") if is_time else pl.Date(), time_format, loose=total.loose)
    # With a fraction among them, whole numbers are numbers, however large.
    return ColumnType(pl.String(), like=WHOLE if total.digits == total.present else _half_of_words(total.few))


def _number(total: ColumnStats, decimal: str, separator: str) -> ColumnType | None:
    if total.integers == total.present:
        return ColumnType(pl.Int64(), direct=total.plain)
    if total.digits == total.present:
        # Amounts, hashes: as fractions they keep their size and their order.
        return ColumnType(pl.Float64(), direct=total.plain, beyond_64_bits=True)
    if total.digits < total.present:
        if decimal == "," and total.decimals == total.present:
            return ColumnType(pl.Float64(), decimal=",")
        if total.floats == total.present:
            return ColumnType(pl.Float64(), direct=total.plain)
        for mark in _marks(decimal, separator):
            if total.present == (total.decimals if mark == "," else total.thousands):
                return ColumnType(pl.Float64(), decimal=mark)
    return None


def _marks(decimal: str, separator: str) -> tuple[str, ...]:
    """Return what a comma in a number may be, the likelier first."""
    if decimal:
        return (",",) if decimal == "," else ("1,000",)
    return ("1,000", ",") if separator == "," else (",", "1,000")


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
