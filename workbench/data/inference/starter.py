"""The first `features.py`: two examples of this competition's own columns, to be uncommented, and what rows are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from workbench.core.cache import create_text
from workbench.core.errors import ConfigError, DataError
from workbench.data.competition import ROW, Competition

__all__ = ["starter_text", "write_starter"]

NUMBERS = re.compile(r"U?Int\d+|Float\d+")
GROUPS = ("String", "Boolean", "Categorical", "Enum")


def write_starter(competition: Competition) -> bool:
    """Write a competition's `features.py` where there is none, and return whether it was written.

    A recommender competition gets none: its experiments are made of sources, not of features. Nor does one whose
    definition does not fit its tables: that is for `wb run` to say.

    Raises
    ------
    StorageError
        When it can't be written.
    """
    if competition.definition.interactions is not None or competition.paths.features.exists():
        return False
    try:
        text = starter_text(competition)
    except (ConfigError, DataError):
        return False
    return create_text(competition.paths.features, text)


def starter_text(competition: Competition) -> str:
    """Return the text of the first `features.py`."""
    c, d = competition, competition.definition
    types = c.manifest.table(d.tables.train, slug=d.slug).dtypes
    # Pieces of an id, as Store and Date of "{Store}_{Date}", are columns like others.
    columns = _Columns.of({name: types[name] for name in c.rows.columns}, c.ids.key_columns)
    other_tables = [
        t for t in c.manifest.tables if t not in (d.tables.train, d.tables.test, d.tables.sample_submission)
    ]
    by_row, by_frame = columns.expression(), columns.frame()
    used = {*c.manifest.tables, "rows", "auto"}
    first, second = (_free(example.name, used) for example in (by_row, by_frame))
    return _TEXT.format(
        slug=_inside(d.slug),
        key=ROW,
        id=_inside(", ".join(repr(i) for i in d.id_columns)),
        others=_inside(_other_tables_note(other_tables)),
        first=first,
        second=second,
        first_says=_inside(by_row.says),
        second_says=_inside(by_frame.says),
        first_code=by_row.code,
        second_code=by_frame.code,
    )


_TEXT = '''"""Features of {slug}: each is a function that gives new columns for every row.

Uncomment an example, and name it in an experiment: features = ["auto", "{first}"].

`rows` is train and test stacked, in file order, without the target. Its row key is ROW, the column "{key}": the number
of the row, train first, then test. The id ({id}) is not the row key.{others}
"""

import polars as pl
from workbench.features import ROW, feature

# @feature
# def {first}(rows):
#     """{first_says}: expressions over rows; no row key is needed."""
#     return [{first_code}]


# @feature
# def {second}(rows):
#     """{second_says}: a frame with ROW, one line for each row, in any order."""
#     return rows.select(ROW, {second_code})
'''


def _other_tables_note(tables: Sequence[str]) -> str:
    named = [t for t in tables if t.isidentifier()]
    if not named:
        return ""
    shown = ", ".join(named[:8]) + (", …" if len(named) > 8 else "")
    return f"\nOther tables are parameters, too, by their names: {shown}."


def _inside(text: str) -> str:
    """Return a text as it may stand within a docstring."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _free(name: str, used: set[str]) -> str:
    while name in used:
        name += "_"
    used.add(name)
    return name


@dataclass(frozen=True)
class _Example:
    """A feature: what it is called and is, and the code of its column."""

    name: str
    says: str
    code: str


@dataclass(frozen=True)
class _Columns:
    """The columns of the rows that an example may read, by what can be made of them."""

    numbers: tuple[str, ...]
    groups: tuple[str, ...]
    times: tuple[str, ...]
    remaining: tuple[str, ...]

    @classmethod
    def of(cls, types: Mapping[str, str], ids: Collection[str]) -> _Columns:
        plain = {name: of for name, of in types.items() if name not in ids}
        base = {name: of.partition("(")[0] for name, of in plain.items()}
        return cls(
            tuple(n for n, of in base.items() if NUMBERS.fullmatch(of)),
            # A Boolean tells the least.
            tuple(sorted((n for n, of in base.items() if of in GROUPS), key=lambda n: base[n] == "Boolean")),
            tuple(n for n, of in base.items() if of in ("Date", "Datetime")),
            tuple(plain) or tuple(types),
        )

    def expression(self) -> _Example:
        if len(self.numbers) > 1:
            a, b = self.numbers[:2]
            code = f"(pl.col({a!r}) / pl.col({b!r})).alias({_joined(a, 'per', b)!r})"
            return _Example("ratio", f"{a!r} over {b!r}", code)
        if self.numbers:
            (a,) = self.numbers
            return _Example(
                "rank", f"The rank of {a!r} among all rows", f"pl.col({a!r}).rank().alias({_joined(a, 'rank')!r})"
            )
        if self.times:
            at = self.times[0]
            code = f"pl.col({at!r}).dt.weekday().alias({_joined(at, 'weekday')!r})"
            return _Example("weekday", f"The day of the week of {at!r}", code)
        if self.groups:
            text = self.groups[0]
            code = f"pl.col({text!r}).cast(pl.String).str.len_chars().alias({_joined(text, 'length')!r})"
            return _Example("length", f"How many letters {text!r} has", code)
        return self._missing("is_missing")

    def frame(self) -> _Example:
        if self.groups and self.numbers:
            group, a = self.groups[0], self.numbers[0]
            code = f"pl.col({a!r}).mean().over({group!r}).alias({_joined(a, 'by', group)!r})"
            return _Example("group_mean", f"The mean of {a!r} in each {group!r}", code)
        if self.groups:
            group = self.groups[0]
            code = f"pl.len().over({group!r}).alias({_joined(group, 'count')!r})"
            return _Example("group_count", f"How many rows have the same {group!r}", code)
        if self.numbers:
            a = self.numbers[-1]
            code = f"(pl.col({a!r}) - pl.col({a!r}).mean()).alias({_joined(a, 'centered')!r})"
            return _Example("centered", f"{a!r} less its mean", code)
        if self.times:
            at = self.times[0]
            return _Example(
                "month", f"The month of {at!r}", f"pl.col({at!r}).dt.month().alias({_joined(at, 'month')!r})"
            )
        return self._missing("missing_count")

    def _missing(self, name: str) -> _Example:
        if not self.remaining:
            return _Example(name, "The row's number", f"pl.col(ROW).cast(pl.Int64).alias({name!r})")
        column = self.remaining[0]
        code = f"pl.col({column!r}).is_null().cast(pl.Int8).alias({_joined(column, name)!r})"
        return _Example(name, f"Whether {column!r} is missing", code)


def _joined(*words: str) -> str:
    """Return a column's name of others' names: plain letters, and no longer than a line takes."""
    return "_".join(re.sub(r"\W+", "_", word).strip("_")[:30] for word in words).strip("_")
