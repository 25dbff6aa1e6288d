"""The plan of the feature ``auto``: derived from the rows at training time, applied to any rows.

A served model uses the plan that it was trained with, so that its columns, their parts, categories and frequencies do
not change with the test set.
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

MAX_INLINE_VALUES = 10_000
"""Frequencies of at most this many values are looked up by an expression; of more, by a join."""

UNSEEN_COUNT = 1
"""The frequency of values that the rows at training time lack: there, a test row counted itself."""


@dataclass(frozen=True, eq=False)
class AutoStep:
    """One column of ``auto``.

    Attributes
    ----------
    name : str
        The name of the new column.
    column : str
        The source column in the rows; empty if there are several.
    take : str
        The property of the source: "value", "year" and other parts of a time, "seconds", "length", "words", "items",
        "count" (frequency), "missing" (number of nulls in `columns`).
    piece : tuple, or None
        The part of a text: a separator and an index, or "letters_number" and the number of a group in that pattern.
    form : str
        The conversion of the value: "" for none, "integer", "float", "grouped" (values not in `values` become rare),
        "numbered" (index in `values`).
    values : Series of str, or None
        The categories.
    counts : DataFrame (value, count), or None
        The frequency of each value in the rows at training time.
    columns : tuple of str
        The source columns of "missing".
    composed : bool
        Whether texts are normalised first (Unicode NFC).
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
        """Return the expression of the column; `dtype` is the type of its source column."""
        if self.take == "missing":
            return pl.sum_horizontal(pl.col(self.columns).is_null().cast(pl.Int16))
        column = pl.col(self.column)
        if dtype in TEXTS:
            column = column.cast(pl.String)
        if self.composed:
            column = column.str.normalize("NFC")
        if self.take == "count":
            count = pl.col(counts_column(self.column))
            is_unseen = count.is_null() & column.is_not_null()
            return pl.when(is_unseen).then(pl.lit(UNSEEN_COUNT)).otherwise(count).cast(pl.UInt32)
        if self.piece is not None:
            column = _text_part(column, *self.piece)
        return self._convert(_extract(column, self.take, dtype))

    def _convert(self, value: pl.Expr) -> pl.Expr:
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
        """Return the step as a JSON object, without its counts."""
        definition = {"column": self.column, "piece": self.piece, "form": self.form, "columns": self.columns}
        values = None if self.values is None else self.values.to_list()
        return {
            "name": self.name,
            "take": self.take,
            **{k: v for k, v in {**definition, "values": values, "composed": self.composed}.items() if v},
        }

    @classmethod
    def from_dict(cls, definition: Mapping[str, Any], counts: pl.DataFrame | None) -> AutoStep:
        """Return the step of a JSON object from `to_dict`, with its counts."""
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


def _text_part(text: pl.Expr, separator: str, number: int) -> pl.Expr:
    if separator == "letters_number":
        return text.str.extract(LETTERS_NUMBER, number)
    return text.str.split(separator).list.get(number, null_on_oob=True)


def _extract(column: pl.Expr, take: str, dtype: pl.DataType | None) -> pl.Expr:
    if dtype == pl.Date and take in ("hour", "minute", "minute_of_day"):
        column = column.cast(pl.Datetime("us"))  # at training time the column had times of day
    times = column.dt
    if take == "value":
        return column.cast(pl.Float64) if dtype is not None and dtype.is_decimal() else column
    if take in ("year", "month", "day", "weekday", "hour", "minute"):
        part: pl.Expr = getattr(times, take)()
        return part
    expressions: dict[str, Callable[[], pl.Expr]] = {
        "day_of_year": times.ordinal_day,
        "minute_of_day": lambda: times.hour().cast(pl.Int16) * 60 + times.minute(),
        "days": lambda: (times.epoch("s") / 86400).floor().cast(pl.Int32),
        "seconds": lambda: as_seconds(column, pl.Duration("us") if dtype is None else dtype),
        "length": column.str.len_chars,
        "words": lambda: column.str.count_matches(r"\S+"),
        "items": column.arr.len if isinstance(dtype, pl.Array) else column.list.len,
    }
    return expressions[take]()


def counts_column(column: str) -> str:
    """Return a name for the frequencies of a column that no column of the rows has."""
    return f"__count_of_{column}__"


@dataclass(frozen=True)
class AutoPlan:
    """The columns of ``auto``.

    Attributes
    ----------
    types : dict
        Source column -> its type at training time.
    steps : tuple of AutoStep
        The new columns, in order.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[AutoStep, ...] = ()

    def apply(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Return the columns for all rows, with the row key.

        Raises
        ------
        DataError
            When a source column is missing, or has another type than at training time.
        """
        schema = rows.collect_schema()
        self.check(schema)
        with_counts = rows
        count_steps = [s for s in self.steps if s.take == "count"]
        inline = {s: None for s in count_steps if s.counts is not None and s.counts.height <= MAX_INLINE_VALUES}
        if inline:
            with_counts = with_counts.with_columns(
                _inline_counts(s, schema[s.column]).alias(counts_column(s.column)) for s in inline
            )
        for step in count_steps:
            if step not in inline:
                with_counts = _join_counts(with_counts, step, schema[step.column])
        return with_counts.select(ROW, *(s.expression(schema.get(s.column)).alias(s.name) for s in self.steps))

    def check(self, schema: Mapping[str, pl.DataType]) -> None:
        """Raise DataError if a source column is missing or has another type than at training time."""
        for column, trained_type in self.types.items():
            if column not in schema:
                raise DataError(
                    f"the rows have no column {column!r}, which was a {trained_type} when the model was trained; "
                    f"they have {', '.join(c for c in list(schema)[:20] if c != ROW)}"
                )
            if kind_of(str(schema[column])) != kind_of(trained_type):
                raise DataError(
                    f"column {column!r} is a {schema[column]}; it was a {trained_type} when the model was trained",
                    hint="set its type under [types] in competition.toml, so that every test set is read alike, run "
                    "the experiment again and build",
                )

    @property
    def files(self) -> list[str]:
        """The names of the files of `write`."""
        return [FILE, *(_counts_file(i) for i, step in enumerate(self.steps) if step.counts is not None)]

    def pack(self, path: Path) -> None:
        """Write the plan as one file, a zip archive of the files of `write`; equal plans give equal bytes."""
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path, "w") as archive:
            self.write(Path(folder))
            for name in self.files:
                archive.writestr(zipfile.ZipInfo(name), (Path(folder) / name).read_bytes())

    @classmethod
    def unpack(cls, path: Path) -> AutoPlan:
        """Return the plan of a file from `pack`."""
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
            return cls.read({name: Path(folder) / name for name in archive.namelist()})

    @property
    def content(self) -> str:
        """A key of the plan's content."""
        with tempfile.TemporaryDirectory() as folder:
            self.pack(Path(folder) / "plan")
            return file_sha256(Path(folder) / "plan")

    def write(self, folder: Path) -> None:
        """Write the plan to a folder: ``auto.json``, and a Parquet file of each frequency column's counts."""
        write_json(folder / FILE, {"types": dict(self.types), "steps": [s.to_dict() for s in self.steps]})
        for number, step in enumerate(self.steps):
            if step.counts is not None:
                with atomic(folder / _counts_file(number)) as temporary:
                    step.counts.write_parquet(temporary)

    @classmethod
    def read(cls, files: Mapping[str, Path]) -> AutoPlan:
        """Return the plan of the files from `write`, by name."""
        plan = read_json(files[FILE])
        steps = []
        for number, step in enumerate(plan["steps"]):
            counts = files.get(_counts_file(number))
            steps.append(AutoStep.from_dict(step, None if counts is None else read_parquet(counts)))
        return cls(dict(plan["types"]), tuple(steps))


def _counts_file(number: int) -> str:
    return f"auto-counts-{number}.parquet"


def kind_of(dtype: str) -> str:
    """Return the kind of a type: types of the same kind represent values alike."""
    name = dtype.partition("(")[0]
    if name.startswith(("Int", "UInt", "Float", "Decimal")):
        return "number"
    if name in ("String", "Categorical", "Enum"):
        return "text"
    return "date" if name in ("Date", "Datetime") else name


def _inline_counts(step: AutoStep, dtype: pl.DataType) -> pl.Expr:
    """Return the frequency of each value as an expression, which avoids a join for each column."""
    counts, key = _counts_and_key(step, dtype)
    return key.replace_strict(counts["value"], counts["count"], default=None, return_dtype=pl.UInt32)


def _counts_and_key(step: AutoStep, dtype: pl.DataType) -> tuple[pl.DataFrame, pl.Expr]:
    """Return the counts of the values that the type can represent, and the expression to look them up by."""
    if step.counts is None:
        raise DataError(f"the plan of auto lacks the counts of {step.column!r}", hint="build the kernel again")
    dtype = pl.String() if dtype in TEXTS else dtype
    # Values that the type can't represent occurred only in the test set at training time.
    value = pl.col("value").cast(dtype, strict=False)
    counts = step.counts.filter(value.is_not_null() | pl.col("value").is_null()).select(value, "count")
    key = pl.col(step.column).cast(dtype)
    return counts, key.str.normalize("NFC") if step.composed else key


def _join_counts(rows: pl.LazyFrame, step: AutoStep, dtype: pl.DataType) -> pl.LazyFrame:
    counts, key = _counts_and_key(step, dtype)
    key_name, count_name = f"__value_of_{step.column}__", counts_column(step.column)
    table = counts.lazy().select(pl.col("value").alias(key_name), pl.col("count").alias(count_name))
    with_key = rows.with_columns(key.alias(key_name))
    return with_key.join(table, on=key_name, how="left", nulls_equal=True).drop(key_name)
