"""Parse dates and times in text: days by a list of known formats, times of day by a format derived from the text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise

import polars as pl

from workbench.core.times import has_time_of_day, offset_minutes

__all__ = [
    "COMPACT",
    "DAYS",
    "MAX_DAYS",
    "DayChoice",
    "are_times_of_day",
    "choose_day",
    "choose_max_year",
    "day_order",
    "has_short_years",
    "needed_time_formats",
    "parsed_days",
    "read_times",
    "split_times",
    "zone_of",
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
"""The known formats of a day. Where nothing distinguishes days from months, the first one that fits is used."""
COMPACT = "%Y%m%d"

DAY_AND_TIME = (
    r"^(.*?\d)([ T]\d{1,2}[:.]\d{2}(?:[:.]\d{2}(?:[.,]\d{1,9})?)?(?: ?[AaPp][Mm])?)"
    r"( ?(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?$"
)
"""Groups: a day, a time of day, and an offset from UTC."""
MAX_TIME_SHAPES = 40
MAX_DAYS = 12_000
"""The distinct days that are compared to tell the day from the month or year; 33 years have as many days."""
MIN_SPAN_RATIO = 4
"""A reading of the days is unlikely if they lie this many times as far apart as in another reading."""
MIN_WEEKLY_DAYS = 4


@dataclass(frozen=True)
class DayChoice:
    """The chosen format of a column's days.

    Attributes
    ----------
    day_format : str, optional
        None where it is undecided.
    certain : bool
        Whether no other format reads all of the days.
    why : str
        The reason for the choice, or why there is none.
    strong : bool
        Whether the evidence suffices to decide other columns, too.
    """

    day_format: str | None
    certain: bool
    why: str = ""
    strong: bool = False


# -------------------------------------------------------------------------------------------------------- taking apart


def split_times(text: pl.Series) -> tuple[pl.Series, dict[str, pl.Series]] | None:
    """Split texts into days and times of day.

    Returns
    -------
    Series, dict
        The distinct days, and the distinct times of day by their format, which is "" for texts without one. None where
        a time has no known format.
    """
    groups = text.str.extract_groups(DAY_AND_TIME)
    parts = groups.struct.unnest().rename({"1": "day", "2": "time", "3": "zone"})
    has_no_time = parts["time"].is_null()
    days = pl.select(pl.when(has_no_time).then(text).otherwise(parts["day"])).to_series().unique()
    times_by_format: dict[str, pl.Series] = {}
    if has_no_time.any():
        times_by_format[""] = pl.Series([""])
    with_time = parts.filter(~has_no_time).with_columns(shape=pl.col("time").str.replace_all(r"\d+", "9"))
    shapes = with_time.select("shape", "zone").unique()
    if shapes.height > MAX_TIME_SHAPES:
        return None
    for shape, zone in shapes.rows():
        time_format = _time_format(shape)
        if time_format is None:
            return None
        has_shape = (pl.col("shape") == shape) & pl.col("zone").eq_missing(zone)
        times = with_time.filter(has_shape)["time"].unique()
        key = time_format + (zone or "")
        earlier = times_by_format.get(key)
        times_by_format[key] = times if earlier is None else pl.concat([earlier, times])
    return days, times_by_format


def _time_format(shape: str) -> str | None:
    """Return the format of a time of day from its shape, in which each number is replaced by "9"."""
    am_pm = re.search(r"( ?)[AaPp][Mm]$", shape)
    numbers = shape[: am_pm.start()] if am_pm else shape
    separator = numbers[2] if len(numbers) > 2 else ""
    fields = numbers[1:].replace(",", ".").split(separator)
    if separator == ".":
        # In 17.06.07 a fraction of a second can't be told from a further field.
        if len(fields) not in (2, 3):
            return None
        directives = ["%H", "%M", "%S"][: len(fields)]
    else:
        directives = ["%H", "%M", "%S%.f" if "." in fields[-1] else "%S"][: len(fields)]
    time_format = numbers[0] + separator.join(directives)
    return time_format.replace("%H", "%I") + am_pm[1] + "%p" if am_pm else time_format


def needed_time_formats(formats: Collection[str]) -> tuple[str, ...]:
    """Return the formats that suffice to parse times of day of all these formats; "" (no time) comes last."""
    needed = [f for f in formats if not (f.endswith("%S") and f"{f}%.f" in formats)]
    return tuple(sorted(needed, key=lambda f: (f == "", f)))


def are_times_of_day(values: pl.Series, time_format: str) -> bool:
    """Tell whether all values are valid times of day in a format."""
    return time_format == "" or bool(
        _parsed_times(pl.Series(["2000-01-01"]) + values, "%Y-%m-%d" + _without_zone(time_format)).is_not_null().all()
    )


def zone_of(time_format: str) -> str:
    """Return the offset from UTC at the end of a format, "" where it has none."""
    zone = re.search(r" ?(Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)$", time_format)
    return zone[0] if zone else ""


def _without_zone(time_format: str) -> str:
    return time_format.removesuffix(zone_of(time_format))


def _parsed_times(values: pl.Series, time_format: str) -> pl.Series:
    return values.str.replace(",", ".", literal=True).str.strptime(
        pl.Datetime("us"), time_format, strict=False, cache=False
    )


def parsed_days(values: pl.Series, day_format: str) -> pl.Series:
    """Parse days by a format; others become null."""
    days = values.str.strptime(pl.Date, day_format, strict=False, cache=False)
    if "%Y" in day_format and days.null_count() == 0 and has_short_years(values, day_format):
        return pl.Series([None] * values.len(), dtype=pl.Date)
    return days


def has_short_years(text: pl.Series, time_format: str) -> bool:
    """Tell whether a year has fewer than the four digits of ``%Y``: polars reads 24 as a year of the first century."""
    if "%Y" not in time_format:
        return False
    parts = re.split(r"(%-?\w)", time_format.partition("%Y")[0])
    before_year = "".join(r"\s*\w+" if p.startswith("%") else re.escape(p) for p in parts)
    pattern = rf"^{before_year}\d{{4}}(\D|$)" if before_year else r"^\d{4}"
    return not text.str.strip_chars().str.contains(pattern).all()


# ------------------------------------------------------------------------------------------------------------- reading


def read_times(text: pl.Expr, formats: Iterable[str], dtype: pl.DataType, max_year: int | None) -> pl.Expr:
    """Return an expression that parses texts by the first format that fits; other texts become null.

    Parameters
    ----------
    text : Expr
    formats : iterable of str
        A format may end in an offset from UTC, which is subtracted.
    dtype : DataType
        Date or Datetime.
    max_year : int, optional
        Two-digit years that would be later than this are moved back by 100 years.
    """
    # polars' cache makes this four times slower where most values differ.
    parsed_by_format: list[pl.Expr] = []
    for time_format in formats:
        if dtype == pl.Date:
            parsed_by_format.append(text.str.strptime(pl.Date(), time_format, strict=False, cache=False))
        elif "%z" in time_format:
            zoned = text.str.strptime(pl.Datetime("us", "UTC"), time_format, strict=False, cache=False)
            parsed_by_format.append(zoned.dt.replace_time_zone(None))
        elif not has_time_of_day(time_format):
            parsed_by_format.append(
                text.str.strptime(pl.Date(), time_format, strict=False, cache=False).cast(pl.Datetime("us"))
            )
        else:
            with_point = (
                text.str.replace(",", ".", literal=True) if "%.f" in time_format and ", " not in time_format else text
            )
            local_time = with_point.str.strptime(pl.Datetime("us"), time_format, strict=False, cache=False)
            minutes = offset_minutes(time_format)
            parsed_by_format.append(local_time - pl.duration(minutes=minutes) if minutes else local_time)
    times = parsed_by_format[0] if len(parsed_by_format) == 1 else pl.coalesce(parsed_by_format)
    if max_year is None:
        return times
    return pl.when(times.dt.year() > max_year).then(times.dt.offset_by("-100y")).otherwise(times)


# ------------------------------------------------------------------------------------------------------------ choosing


def day_order(day_format: str) -> str | None:
    """Return the order of a format that only has numbers: "dmy", "mdy" or "ymd"; None for other formats.

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
        The distinct days, as the file writes them; None where there are too many.
    order : str
        The order that other columns of the competition prove, see `day_order`; "" for none.

    Examples
    --------
    >>> months = [f"01/{month:02}/2024" for month in range(1, 13)]
    >>> choose_day(["%m/%d/%Y", "%d/%m/%Y"], months).day_format
    '%d/%m/%Y'
    """
    possible_formats = [f for f in DAYS if f in formats]
    if len(possible_formats) < 2 or not days:
        return DayChoice(possible_formats[0] if possible_formats else None, certain=len(possible_formats) == 1)
    days_by_format = _distinct_readings(days, possible_formats)
    if len(days_by_format) == 1:
        # Days such as 01/01 are the same in either order, which other days will not be.
        return DayChoice(possible_formats[0], certain=all(day_order(f) is None for f in possible_formats))
    year_choice = _choose_position_of_year(days_by_format, order)
    if year_choice is not None:
        days_by_format = {f: days_by_format[f] for f in year_choice[0]}
    if len({(day_order(f) or f)[-1:] == "d" for f in days_by_format}) > 1:
        return DayChoice(None, certain=False, why="the year may come first or last")
    if len(days_by_format) == 1:
        return DayChoice(
            next(iter(days_by_format)), certain=False, why=year_choice[1] if year_choice else "", strong=True
        )
    stepwise_format, reason, is_strong = _choose_by_steps(days, days_by_format)
    format_in_order = next((f for f in days_by_format if day_order(f) == order), None)
    if format_in_order is not None and not is_strong:
        return DayChoice(format_in_order, certain=False, why="as other columns of the competition have it")
    if stepwise_format is not None:
        return DayChoice(stepwise_format, certain=False, why=reason, strong=is_strong)
    first = next(iter(days_by_format))
    first_unit = "day" if first.startswith("%d") else "month"
    return DayChoice(
        first, certain=False, why=f"nothing tells days from months: the {first_unit} is taken to come first"
    )


def _sorted_dates(days: Collection[str], day_format: str) -> list[date]:
    values = pl.Series(list(days), dtype=pl.String)
    return sorted(values.str.strptime(pl.Date, day_format, strict=False).drop_nulls().to_list())


def _distinct_readings(days: Collection[str], formats: list[str]) -> dict[str, list[date]]:
    """Return the sorted days by format; of formats that give the same days ("May" is %b and %B) only the first."""
    texts = pl.Series(list(days), dtype=pl.String)
    readings: dict[str, pl.Series] = {}
    for day_format in formats:
        values = texts.str.strptime(pl.Date, day_format, strict=False)
        if not any(values.equals(other) for other in readings.values()):
            readings[day_format] = values
    return {day_format: sorted(values.drop_nulls().to_list()) for day_format, values in readings.items()}


def _choose_position_of_year(days_by_format: dict[str, list[date]], order: str) -> tuple[list[str], str] | None:
    """Choose between formats with the year first and formats with the year last; return those, and the reason.

    None where nothing decides, or all have the year in the same position.
    """
    year_first = [f for f in days_by_format if f.startswith("%y")]
    year_last = [f for f in days_by_format if not f.startswith("%y")]
    if not year_first or not year_last:
        return None
    now = datetime.now(UTC).year
    for formats, alternatives in ((year_first, year_last), (year_last, year_first)):
        is_future = all(days_by_format[f][0].year > now for f in formats)
        if is_future and any(days_by_format[f][-1].year <= now for f in alternatives):
            return alternatives, "read otherwise, days would lie in the future"
    spans = {f: (days[-1] - days[0]).days + 1 for f, days in days_by_format.items()}
    span_first, span_last = min(spans[f] for f in year_first), min(spans[f] for f in year_last)
    longer, shorter = max(span_first, span_last), min(span_first, span_last)
    if len(next(iter(days_by_format.values()))) > 1 and longer >= MIN_SPAN_RATIO * shorter:
        return (year_first if span_first < span_last else year_last), "read otherwise, the days would lie far apart"
    formats_in_order = [f for f in days_by_format if day_order(f) == order]
    return (formats_in_order, "as other columns of the competition have it") if formats_in_order else None


def _choose_by_steps(days: Collection[str], days_by_format: dict[str, list[date]]) -> tuple[str | None, str, bool]:
    """Choose the format by which the days are regular: the same day of each month, or whole weeks apart.

    Returns the format (None for neither), the reason, and whether the evidence is strong.
    """
    dmy, mdy = (next((f for f in days_by_format if day_order(f) == o), None) for o in ("dmy", "mdy"))
    if dmy is None or mdy is None or len(set(days)) < 3:
        return None, "", False
    fields = [re.findall(r"\d+", day) for day in days]
    first_numbers, second_numbers = ({int(f[i]) for f in fields} for i in (0, 1))
    years = {f[2] for f in fields}
    for constant_numbers, varying_numbers, day_format, position in (
        (first_numbers, second_numbers, dmy, "first"),
        (second_numbers, first_numbers, mdy, "second"),
    ):
        if (
            len(constant_numbers) == 1
            and len(varying_numbers) > 1
            and (constant_numbers == {1} or (len(years) > 1 and len(varying_numbers) > 2))
        ):
            is_strong = len(years) > 1 or len(varying_numbers) >= 6
            reason = f"the {position} number is always {min(constant_numbers)}: the day, in steps of months"
            return day_format, reason, is_strong
    weekly_formats = [f for f in (dmy, mdy) if _are_full_weeks_apart(days_by_format[f])]
    if len(weekly_formats) == 1 and len(set(days)) >= MIN_WEEKLY_DAYS:
        return weekly_formats[0], "so the days lie whole weeks apart", True
    return None, "", False


def _are_full_weeks_apart(days: list[date]) -> bool:
    return all((b - a).days % 7 == 0 for a, b in pairwise(days))


# ----------------------------------------------------------------------------------------------------- two-digit years


MAX_YEARS_AHEAD = 15
MAX_PLANNED_SPAN_YEARS = 40


def choose_max_year(days: Collection[str], day_format: str, name: str) -> int | None:
    """Return the latest year that a two-digit year may stand for; None to keep the century that polars assumes.

    Days in the future are moved to the past, unless they may be plans: days within a few decades around today.

    Parameters
    ----------
    name : str
        The column's name: births and deaths are never in the future.
    """
    if "%y" not in day_format:
        return None
    dates, now = _sorted_dates(days, day_format), datetime.now(UTC).year
    if not dates or dates[-1].year <= now:
        return None
    must_be_past = re.search(r"birth|born|dob|death|died|geb|naiss|nacim", name.lower())
    years_ahead, span_years = dates[-1].year - now, dates[-1].year - dates[0].year
    may_be_plans = years_ahead <= MAX_YEARS_AHEAD and span_years <= MAX_PLANNED_SPAN_YEARS
    return now if must_be_past or not may_be_plans else None
