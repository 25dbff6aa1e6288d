"""What may tell, before departure, that a flight will be late.

A feature is a function; its parameters' names say what it reads: `rows` (train and test stacked, without the target),
tables, or other features. It returns the row key and new columns, one line per row, in any order.
"""

import datetime as dt

import polars as pl

from workbench.features import ROW, feature, target_mean

HOLIDAYS = [
    dt.date(2013, month, day)
    for month, day in ((1, 1), (1, 21), (2, 18), (5, 27), (7, 4), (9, 2), (10, 14), (11, 11), (11, 28), (12, 25))
]


@feature
def calendar(rows):
    """When it departs: time of day, weekday, days to the nearest holiday."""
    departs = pl.col("departs")
    days = [(departs.dt.date() - pl.lit(day)).dt.total_days() for day in HOLIDAYS]
    return rows.select(
        ROW,
        minute_of_day=departs.dt.hour().cast(pl.Int32) * 60 + departs.dt.minute(),
        weekday=departs.dt.weekday(),
        holiday_distance=pl.min_horizontal(d.abs() for d in days),
    )


@feature
def weather_before(rows, weather):
    """The weather at the origin, observed in the hour before the scheduled one: nothing from after departure."""
    measured = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
    angle = pl.col("wind_dir").radians()
    observed = weather.sort("origin", "hour_utc").select(
        "origin",
        pl.col("hour_utc").dt.offset_by("1h"),
        *measured,
        wind_north=angle.cos() * pl.col("wind_speed"),
        wind_east=angle.sin() * pl.col("wind_speed"),
        pressure_change=pl.col("pressure").diff(3).over("origin"),
        rain_6h=pl.col("precip").rolling_sum(6, min_samples=1).over("origin"),
    )
    joined = rows.select(ROW, "origin", "hour_utc").join(observed, on=["origin", "hour_utc"], how="left")
    return joined.drop("origin", "hour_utc")


@feature
def plane(rows, planes):
    """The aeroplane's age and size; a tail number that the register lacks gives nulls."""
    register = planes.select("tailnum", "manufacturer", "seats", built="year")
    joined = rows.select(ROW, "tailnum", year=pl.col("departs").dt.year()).join(register, on="tailnum", how="left")
    return joined.select(ROW, "seats", "manufacturer", age=pl.col("year") - pl.col("built"))


@feature
def destination(rows, airports):
    """Where the destination lies."""
    places = airports.select(dest="faa", dest_lat="lat", dest_lon="lon", dest_alt="alt")
    return rows.select(ROW, "dest").join(places, on="dest", how="left").drop("dest")


@feature
def congestion(rows):
    """How many departures are scheduled around it: timetables are known long before."""
    hour = pl.col("departs").dt.truncate("1h")
    return rows.select(
        ROW,
        origin_hour=pl.len().over("origin", hour),
        city_hour=pl.len().over(hour),
        dest_day=pl.len().over("dest", pl.col("departs").dt.date()),
        # Delays pile up over the day: how many departures the airport has had before this one.
        origin_before=pl.col("departs").rank("min").over("origin", pl.col("departs").dt.date()),
    )


@feature
def turnaround(rows):
    """The plane's own history in the timetable: its n-th leg of the day, hours since its last one from New York."""
    known = rows.filter(pl.col("tailnum").is_not_null()).sort("tailnum", "departs", ROW)
    legs = known.select(
        ROW,
        leg_of_day=pl.int_range(pl.len()).over("tailnum", pl.col("departs").dt.date()),
        hours_since_last=pl.col("departs").diff().over("tailnum").dt.total_minutes() / 60,
    )
    return rows.select(ROW).join(legs, on=ROW, how="left")


# Fold-safe: a row never sees its own label, and, as the folds go forward in time, only earlier ones.
late_flight = target_mean("carrier", "flight", "dest", smoothing=30)
late_route = target_mean("carrier", "origin", "dest", smoothing=50)
late_plane = target_mean("tailnum", smoothing=50)
late_slot = target_mean("origin", "calendar.minute_of_day", smoothing=50)
