"""What ``auto`` makes of the columns, as a value: decided once from the rows of the training, applied to any rows.

A model is served with the plan that it was trained with. Nothing in it is decided again: which columns there are, how
each is taken apart, which values are categories, how often a value occurs.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from workbench.core.cache import atomic, file_sha256, read_json, write_json
from workbench.core.errors import DataError
from workbench.core.frames import read_parquet
from workbench.data.competition import ROW
from workbench.features.encoded import as_seconds

__all__ = ["FILE", "LETTERS_NUMBER", "RARE", "AutoPlan", "AutoStep", "kind_of"]

RARE = "(rare)"
LETTERS_NUMBER = r"^([A-Za-z]*)[ ._-]?(\d{1,15})([A-Za-z]*)$"

TEXTS = (pl.String, pl.Categorical, pl.Enum)

FILE = "auto.json"

FEW_VALUES = 10_000
"""Of up to so many, how often each occurs is looked up in place; of more, by a join."""

UNSEEN_COUNT = 1
"""How often a value occurs that the training's rows lack: there, every value of a test row was counted with itself."""


@dataclass(frozen=True, eq=False)
class AutoStep:
    """One column of ``auto``.

    Attributes
    ----------
    name : str
        The column's.
    column : str
        The column of the rows that it is made of; empty where it is made of several.
    take : str
        What is taken of it: "value", "year" and other parts of a time, "seconds", "length", "words", "items", "count",
        "missing".
    piece : list, or None
        Which piece of a text: a separator and a number, or "letters_number" and the number of a group.
    form : str
        What becomes of the value: "" as it is, "integer", "float", "grouped" (what is not in `values` is rare),
        "numbered" (by the place in `values`).
    values : Series of str, or None
        Of a category.
    counts : DataFrame (value, count), or None
        How often each value occurs in the training's rows.
    columns : tuple of str
        Whose missing values are counted.
    composed : bool
        Whether texts are composed first (NFC): "é" may be one letter or two.
    """

    name: str
    column: str = ""
    take: str = "value"
    piece: tuple[str, int] | None = None
    form: str = ""
    values: pl.Series | None = field(default=None, repr=False)
    counts: pl.DataFrame | None = field(default=None, repr=False)
    columns: tuple[str, ...] = ()
    composed: bool = False

    def expression(self, dtype: pl.DataType | None) -> pl.Expr:
        """Return what gives the column from the rows; `dtype` is the type that its column has there."""
        if self.take == "missing":
            return pl.sum_horizontal(pl.col(self.columns).is_null().cast(pl.Int16))
        column = pl.col(self.column)
        if dtype in TEXTS:
            column = column.cast(pl.String)
        if self.composed:
            column = column.str.normalize("NFC")
        if self.take == "count":
            # A value that the training's rows lack would have been counted with itself there.
            count = pl.col(counted(self.column))
            is_unseen = count.is_null() & column.is_not_null()
            return pl.when(is_unseen).then(pl.lit(UNSEEN_COUNT)).otherwise(count).cast(pl.UInt32)
        if self.piece is not None:
            column = _piece(column, *self.piece)
        return self._formed(_taken(column, self.take, dtype))

    def _formed(self, value: pl.Expr) -> pl.Expr:
        if self.form == "integer":
            return value.cast(pl.Int64, strict=False)
        if self.form == "float":
            return value.str.strip_chars().cast(pl.Float64, strict=False)
        if self.values is None:
            return value
        if self.form == "numbered":
            numbers = pl.int_range(len(self.values), dtype=pl.Int32, eager=True)
            return pl.when(value.is_not_null()).then(value.replace_strict(self.values, numbers, default=-1))
        return pl.when(value.is_in(self.values.implode())).then(value).when(value.is_not_null()).then(pl.lit(RARE))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without its counts."""
        definition = {"column": self.column, "piece": self.piece, "form": self.form, "columns": self.columns}
        values = None if self.values is None else self.values.to_list()
        return {
            "name": self.name,
            "take": self.take,
            **{k: v for k, v in {**definition, "values": values, "composed": self.composed}.items() if v},
        }

    @classmethod
    def from_dict(cls, definition: Mapping[str, Any], counts: pl.DataFrame | None) -> AutoStep:
        """Return the step that `to_dict` gave."""
        return cls(
            name=definition["name"],
            column=definition.get("column", ""),
            take=definition["take"],
            piece=(str(definition["piece"][0]), int(definition["piece"][1])) if definition.get("piece") else None,
            form=definition.get("form", ""),
            values=pl.Series(definition["values"], dtype=pl.String) if definition.get("values") else None,
            counts=counts,
            columns=tuple(definition.get("columns", ())),
            composed=bool(definition.get("composed", False)),
        )


def _piece(text: pl.Expr, separator: str, number: int) -> pl.Expr:
    if separator == "letters_number":
        return text.str.extract(LETTERS_NUMBER, number)
    return text.str.split(separator).list.get(number, null_on_oob=True)


def _taken(column: pl.Expr, take: str, dtype: pl.DataType | None) -> pl.Expr:
    if dtype == pl.Date and take in ("hour", "minute", "minute_of_day"):
        column = column.cast(pl.Datetime("us"))  # days without their hours, where the training had these
    at = column.dt
    if take == "value":
        return column.cast(pl.Float64) if dtype is not None and dtype.is_decimal() else column
    if take in ("year", "month", "day", "weekday", "hour", "minute"):
        part: pl.Expr = getattr(at, take)()
        return part
    expressions: dict[str, Callable[[], pl.Expr]] = {
        "day_of_year": at.ordinal_day,
        "minute_of_day": lambda: at.hour().cast(pl.Int16) * 60 + at.minute(),
        "days": lambda: (at.epoch("s") / 86400).floor().cast(pl.Int32),
        "seconds": lambda: as_seconds(column, pl.Duration("us") if dtype is None else dtype),
        "length": column.str.len_chars,
        "words": lambda: column.str.count_matches(r"\S+"),
        "items": column.arr.len if isinstance(dtype, pl.Array) else column.list.len,
    }
    return expressions[take]()


def counted(column: str) -> str:
    """Return the name of a column's counts beside the rows' own columns, of which one may be called "x_count"."""
    return f"__count_of_{column}__"


@dataclass(frozen=True)
class AutoPlan:
    """What ``auto`` makes of the columns.

    Attributes
    ----------
    types : dict
        The types of the rows' columns that it reads, as they were when it was decided.
    steps : tuple of AutoStep
        The columns that it gives, in their order.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[AutoStep, ...] = ()

    def apply(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Return the columns for all rows, with the row key.

        Raises
        ------
        DataError
            When a column that it reads is missing, or of another type than it was.
        """
        schema = rows.collect_schema()
        self.check(schema)
        with_counts = rows
        counts = [s for s in self.steps if s.take == "count"]
        few = {s: None for s in counts if s.counts is not None and s.counts.height <= FEW_VALUES}
        if few:
            with_counts = with_counts.with_columns(_count_of(s, schema[s.column]).alias(counted(s.column)) for s in few)
        for step in counts:
            if step not in few:
                with_counts = _with_counts(with_counts, step, schema[step.column])
        return with_counts.select(ROW, *(s.expression(schema.get(s.column)).alias(s.name) for s in self.steps))

    def check(self, schema: Mapping[str, pl.DataType]) -> None:
        """Refuse rows whose columns are not those that it was decided for."""
        for column, was in self.types.items():
            if column not in schema:
                raise DataError(
                    f"the rows have no column {column!r}, which was a {was} when the model was trained; "
                    f"they have {', '.join(c for c in list(schema)[:20] if c != ROW)}"
                )
            if kind_of(str(schema[column])) != kind_of(was):
                raise DataError(
                    f"column {column!r} is a {schema[column]}; it was a {was} when the model was trained",
                    hint="set its type under [types] in competition.toml, so that every test set is read alike, run "
                    "the experiment again and build",
                )

    @property
    def files(self) -> list[str]:
        """The names of the files that `write` writes."""
        return [FILE, *(_counts_file(i) for i, step in enumerate(self.steps) if step.counts is not None)]

    def pack(self, path: Path) -> None:
        """Write it as one file, which is the same for the same plan: an archive of what `write` writes."""
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path, "w") as archive:
            self.write(Path(folder))
            for name in self.files:
                archive.writestr(zipfile.ZipInfo(name), (Path(folder) / name).read_bytes())

    @classmethod
    def unpack(cls, path: Path) -> AutoPlan:
        """Return the plan that `pack` wrote."""
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
            return cls.read({name: Path(folder) / name for name in archive.namelist()})

    @property
    def content(self) -> str:
        """A key that differs where the plan does."""
        with tempfile.TemporaryDirectory() as folder:
            self.pack(Path(folder) / "plan")
            return file_sha256(Path(folder) / "plan")

    def write(self, folder: Path) -> None:
        """Write it into a folder: ``auto.json``, and a Parquet file for the counts of each column that is counted."""
        write_json(folder / FILE, {"types": dict(self.types), "steps": [s.to_dict() for s in self.steps]})
        for number, step in enumerate(self.steps):
            if step.counts is not None:
                with atomic(folder / _counts_file(number)) as temporary:
                    step.counts.write_parquet(temporary)

    @classmethod
    def read(cls, files: Mapping[str, Path]) -> AutoPlan:
        """Return the plan that `write` wrote, of which the files are given by their names."""
        plan = read_json(files[FILE])
        steps = []
        for number, step in enumerate(plan["steps"]):
            counts = files.get(_counts_file(number))
            steps.append(AutoStep.from_dict(step, None if counts is None else read_parquet(counts)))
        return cls(dict(plan["types"]), tuple(steps))


def _counts_file(number: int) -> str:
    return f"auto-counts-{number}.parquet"


def kind_of(dtype: str) -> str:
    """Return what a column of a type holds: types of one kind mean the same values the same way."""
    name = dtype.partition("(")[0]
    if name.startswith(("Int", "UInt", "Float", "Decimal")):
        return "number"
    if name in ("String", "Categorical", "Enum"):
        return "text"
    return "date" if name in ("Date", "Datetime") else name


def _count_of(step: AutoStep, dtype: pl.DataType) -> pl.Expr:
    """Return how often a value occurs where few do: many columns are counted at once, without a join for each."""
    held, compared = _held_counts(step, dtype)
    return compared.replace_strict(held["value"], held["count"], default=None, return_dtype=pl.UInt32)


def _held_counts(step: AutoStep, dtype: pl.DataType) -> tuple[pl.DataFrame, pl.Expr]:
    """Return the counts of the values that the type can hold, and the column as it is compared with them."""
    if step.counts is None:
        raise DataError(f"the plan of auto lacks the counts of {step.column!r}", hint="build the kernel again")
    dtype = pl.String() if dtype in TEXTS else dtype
    # What the type can't hold, for the test set of the training had it alone, is not to be found.
    value = pl.col("value").cast(dtype, strict=False)
    held = step.counts.filter(value.is_not_null() | pl.col("value").is_null()).select(value, "count")
    compared = pl.col(step.column).cast(dtype)
    return held, compared.str.normalize("NFC") if step.composed else compared


def _with_counts(rows: pl.LazyFrame, step: AutoStep, dtype: pl.DataType) -> pl.LazyFrame:
    held, compared = _held_counts(step, dtype)
    key, name = f"__value_of_{step.column}__", counted(step.column)
    table = held.lazy().select(pl.col("value").alias(key), pl.col("count").alias(name))
    with_key = rows.with_columns(compared.alias(key))
    return with_key.join(table, on=key, how="left", nulls_equal=True).drop(key)
