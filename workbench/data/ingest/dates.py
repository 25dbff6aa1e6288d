"""Dates and times in texts: a day in one of a few formats, and a clock whose form can be read off its signs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise

import polars as pl

from workbench.core.times import has_clock, offset_minutes

__all__ = [
    "COMPACT",
    "DAYS",
    "MOST_DAYS",
    "DayChoice",
    "choose_day",
    "clock_formats",
    "day_order",
    "days_read",
    "has_short_years",
    "is_clock",
    "last_year",
    "read_times",
    "split_times",
    "zones_of",
]

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
    "%d/%b/%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %d %Y",
    "%B %d %Y",
    "%Y-%b-%d",
    "%m/%d/%y",
    "%d/%m/%y",
    "%y/%m/%d",
    "%d.%m.%y",
    "%y.%m.%d",
    "%d-%b-%y",
    "%d %b %y",
    "%y-%m-%d",
    "%d-%m-%y",
    "%m-%d-%y",
)
"""In the order in which they are tried: where days and months can't be distinguished at all, the first one is used."""
COMPACT = "%Y%m%d"

PLAIN_CLOCK = (
    r"^(.*?\d)([ T]\d{1,2}[:.]\d{2}(?:[:.]\d{2}(?:[.,]\d{1,9})?)?(?: ?[AaPp][Mm])?)"
    r"( ?(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?$"
)
"""A day, a clock, and what says how far it is from UTC."""
MOST_CLOCKS = 40
MOST_DAYS = 12_000
"""Different days that are looked at to tell day from month or year: more than a century of two digits has."""
CLOSER = 4
"""So many times as far apart as in another reading, days are rather not what is written."""
SURE_OF_STEPS = 4


@dataclass(frozen=True)
class DayChoice:
    """Which format a day is written in: `certain` where no other reads all; None: undecided. `why` says how."""

    day_format: str | None
    certain: bool
    why: str = ""
    strong: bool = False


# -------------------------------------------------------------------------------------------------------- taking apart


def split_times(text: pl.Series) -> tuple[pl.Series, dict[str, pl.Series]] | None:
    """Return the different day parts, and the different clocks by the format of each; None where one has no format.

    The format "" is that of a text that is a day alone.
    """
    groups = text.str.extract_groups(PLAIN_CLOCK)
    parts = groups.struct.unnest().rename({"1": "day", "2": "clock", "3": "zone"})
    alone = parts["clock"].is_null()
    days = pl.select(pl.when(alone).then(text).otherwise(parts["day"])).to_series().unique()
    clocks: dict[str, pl.Series] = {}
    if alone.any():
        clocks[""] = pl.Series([""])
    timed = parts.filter(~alone).with_columns(shape=pl.col("clock").str.replace_all(r"\d+", "9"))
    forms = timed.select("shape", "zone").unique()
    if forms.height > MOST_CLOCKS:
        return None
    for shape, zone in forms.rows():
        form = _clock_format(shape)
        if form is None:
            return None
        is_it = (pl.col("shape") == shape) & pl.col("zone").eq_missing(zone)
        values = timed.filter(is_it)["clock"].unique()
        key = form + (zone or "")
        clocks[key] = pl.concat([clocks[key], values]) if key in clocks else values
    return days, clocks


def _clock_format(shape: str) -> str | None:
    """Return the format of a clock whose digits are all "9"."""
    half = re.search(r"( ?)[AaPp][Mm]$", shape)
    plain = shape[: half.start()] if half else shape
    mark = plain[2] if len(plain) > 2 else ""
    fields = plain[1:].replace(",", ".").split(mark)
    if mark == ".":
        # 17.06.07: a fraction behind dots would be a fourth number.
        if len(fields) not in (2, 3):
            return None
        pieces = ["%H", "%M", "%S"][: len(fields)]
    else:
        pieces = ["%H", "%M", "%S%.f" if "." in fields[-1] else "%S"][: len(fields)]
    form = plain[0] + mark.join(pieces)
    return form.replace("%H", "%I") + half[1] + "%p" if half else form


def clock_formats(clocks: Collection[str]) -> tuple[str, ...]:
    """Return the formats that read these clocks, each that another reads too left out; the day alone last."""
    distinct = [c for c in clocks if not (c.endswith("%S") and f"{c}%.f" in clocks)]
    return tuple(sorted(distinct, key=lambda c: (c == "", c)))


def is_clock(values: pl.Series, form: str) -> bool:
    """Whether all clocks are times of a day."""
    return form == "" or bool(_read(pl.Series(["2000-01-01"]) + values, "%Y-%m-%d" + _bare(form)).is_not_null().all())


def zones_of(form: str) -> str:
    """Return what a format ends in that says how far a time is from UTC, "" where it says nothing."""
    zone = re.search(r" ?(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)$", form)
    return zone[0] if zone else ""


def _bare(form: str) -> str:
    return form.removesuffix(zones_of(form))


def _read(values: pl.Series, form: str) -> pl.Series:
    return values.str.replace(",", ".", literal=True).str.strptime(pl.Datetime("us"), form, strict=False, cache=False)


def days_read(values: pl.Series, day_format: str) -> pl.Series:
    """Return days read by a format; null where one is not of it."""
    days = values.str.strptime(pl.Date, day_format, strict=False, cache=False)
    if "%Y" in day_format and days.null_count() == 0 and has_short_years(values, day_format):
        return pl.Series([None] * values.len(), dtype=pl.Date)
    return days


def has_short_years(text: pl.Series, time_format: str) -> bool:
    """Whether a year that must have four digits has fewer, which polars takes for one of the first century."""
    if "%Y" not in time_format:
        return False
    pieces = re.split(r"(%-?\w)", time_format.partition("%Y")[0])
    before = "".join(r"\s*\w+" if p.startswith("%") else re.escape(p) for p in pieces)
    year = rf"^{before}\d{{4}}(\D|$)" if before else r"^\d{4}"
    return not text.str.strip_chars().str.contains(year).all()


# ------------------------------------------------------------------------------------------------------------- reading


def read_times(text: pl.Expr, formats: Iterable[str], dtype: pl.DataType, until: int | None) -> pl.Expr:
    """Return the expression that reads texts by formats, the first that fits; what fits none is null.

    A format may end in an offset from UTC, which is taken off, and `until` is the last year of the century that years
    of two digits are in.
    """
    # With a cache, polars is four times slower where most values differ.
    read: list[pl.Expr] = []
    for form in formats:
        if dtype == pl.Date:
            read.append(text.str.strptime(pl.Date(), form, strict=False, cache=False))
        elif "%z" in form:
            zoned = text.str.strptime(pl.Datetime("us", "UTC"), form, strict=False, cache=False)
            read.append(zoned.dt.replace_time_zone(None))
        elif not has_clock(form):
            read.append(text.str.strptime(pl.Date(), form, strict=False, cache=False).cast(pl.Datetime("us")))
        else:
            one = text.str.replace(",", ".", literal=True) if "%.f" in form and ", " not in form else text
            stamp = one.str.strptime(pl.Datetime("us"), form, strict=False, cache=False)
            minutes = offset_minutes(form)
            read.append(stamp - pl.duration(minutes=minutes) if minutes else stamp)
    times = read[0] if len(read) == 1 else pl.coalesce(read)
    if until is None:
        return times
    return pl.when(times.dt.year() > until).then(times.dt.offset_by("-100y")).otherwise(times)


# ------------------------------------------------------------------------------------------------------------ choosing


def day_order(day_format: str) -> str | None:
    """Return the order of a format of numbers alone: "dmy", "mdy" or "ymd"; None of another.

    Examples
    --------
    >>> day_order("%d/%m/%y"), day_order("%Y-%m-%d"), day_order("%d %b %Y")
    ('dmy', 'ymd', None)
    """
    match = re.fullmatch(r"%([dmyY])[/.-]%([dmyY])[/.-]%([dmyY])", day_format)
    return "".join(match.groups()).lower() if match else None


def choose_day(  # noqa: PLR0911 one per kind of evidence
    formats: Collection[str], days: Collection[str] | None, order: str = ""
) -> DayChoice:
    """Choose among the formats that read all of a column's days.

    Parameters
    ----------
    formats : collection of str
    days : collection of str, or None
        The different days, as they are written.
    order : str
        The order that other columns of the competition prove, "" where none does.

    Examples
    --------
    >>> months = [f"01/{month:02}/2024" for month in range(1, 13)]
    >>> choose_day(["%m/%d/%Y", "%d/%m/%Y"], months).day_format
    '%d/%m/%Y'
    """
    possible = [f for f in DAYS if f in formats]
    if len(possible) < 2 or not days:
        return DayChoice(possible[0] if possible else None, certain=len(possible) == 1)
    read = _different(days, possible)
    if len(read) == 1:
        # Days such as 01/01 say nothing of the order that others will have.
        return DayChoice(possible[0], certain=all(day_order(f) is None for f in possible))
    by_year = _by_place_of_year(read, order)
    if by_year is not None:
        read = {f: read[f] for f in by_year[0]}
    if len({(day_order(f) or f)[-1:] == "d" for f in read}) > 1:
        return DayChoice(None, certain=False, why="the year may come first or last")
    if len(read) == 1:
        return DayChoice(next(iter(read)), certain=False, why=by_year[1] if by_year else "", strong=True)
    by_steps, why, strong = _by_steps(days, read)
    followed = next((f for f in read if day_order(f) == order), None)
    if followed is not None and not strong:
        return DayChoice(followed, certain=False, why="as other columns of the competition have it")
    if by_steps is not None:
        return DayChoice(by_steps, certain=False, why=why, strong=strong)
    first = next(iter(read))
    first_unit = "day" if first.startswith("%d") else "month"
    return DayChoice(
        first, certain=False, why=f"nothing tells days from months: the {first_unit} is taken to come first"
    )


def _days(days: Collection[str], day_format: str) -> list[date]:
    values = pl.Series(list(days), dtype=pl.String)
    return sorted(values.str.strptime(pl.Date, day_format, strict=False).drop_nulls().to_list())


def _different(days: Collection[str], formats: list[str]) -> dict[str, list[date]]:
    """Return the days as each format reads them, of formats that read all alike ("May") only the first."""
    texts = pl.Series(list(days), dtype=pl.String)
    readings: dict[str, pl.Series] = {}
    for form in formats:
        values = texts.str.strptime(pl.Date, form, strict=False)
        if not any(values.equals(other) for other in readings.values()):
            readings[form] = values
    return {form: sorted(values.drop_nulls().to_list()) for form, values in readings.items()}


def _by_place_of_year(read: dict[str, list[date]], order: str) -> tuple[list[str], str] | None:
    """Return the formats whose year is where it rather is, and why; None where nothing tells, or all have it there."""
    first = [f for f in read if f.startswith("%y")]
    last = [f for f in read if not f.startswith("%y")]
    if not first or not last:
        return None
    now = datetime.now(UTC).year
    for some, alternatives in ((first, last), (last, first)):
        if all(read[f][0].year > now for f in some) and any(read[f][-1].year <= now for f in alternatives):
            return alternatives, "read otherwise, days would lie in the future"
    spans = {f: (days[-1] - days[0]).days + 1 for f, days in read.items()}
    near, far = min(spans[f] for f in first), min(spans[f] for f in last)
    if len(next(iter(read.values()))) > 1 and max(near, far) >= CLOSER * min(near, far):
        return (first if near < far else last), "read otherwise, the days would lie far apart"
    follow = [f for f in read if day_order(f) == order]
    return (follow, "as other columns of the competition have it") if follow else None


def _by_steps(days: Collection[str], read: dict[str, list[date]]) -> tuple[str | None, str, bool]:
    """Return the format by which days lie in regular steps: of months where one field is always 1, or of weeks."""
    dmy, mdy = (next((f for f in read if day_order(f) == o), None) for o in ("dmy", "mdy"))
    if dmy is None or mdy is None or len(set(days)) < 3:
        return None, "", False
    fields = [re.findall(r"\d+", day) for day in days]
    first, second = ({int(f[i]) for f in fields} for i in (0, 1))
    years = {f[2] for f in fields}
    for constant, other, format_, place in ((first, second, dmy, "first"), (second, first, mdy, "second")):
        if len(constant) == 1 and len(other) > 1 and (constant == {1} or (len(years) > 1 and len(other) > 2)):
            strong = len(years) > 1 or len(other) >= 6
            return format_, f"the {place} number is always {min(constant)}: the day, in steps of months", strong
    weekly = [f for f in (dmy, mdy) if _in_weeks(read[f])]
    if len(weekly) == 1 and len(set(days)) >= SURE_OF_STEPS:
        return weekly[0], "so the days lie whole weeks apart", True
    return None, "", False


def _in_weeks(days: list[date]) -> bool:
    return all((b - a).days % 7 == 0 for a, b in pairwise(days))


# ------------------------------------------------------------------------------------------------------- years of two


AHEAD_YEARS = 15
NEAR_YEARS = 40


def last_year(days: Collection[str], day_format: str, name: str) -> int | None:
    """Return the last year of the century that years of two digits are in; None where polars' reading stands.

    Nothing lies in the future, but for plans: days of a few years around today, some of them ahead.
    """
    if "%y" not in day_format:
        return None
    read, now = _days(days, day_format), datetime.now(UTC).year
    if not read or read[-1].year <= now:
        return None
    is_past = re.search(r"birth|born|dob|death|died|geb|naiss|nacim", name.lower())
    is_near = read[-1].year <= now + AHEAD_YEARS and read[-1].year - read[0].year <= NEAR_YEARS
    return now if is_past or not is_near else None
