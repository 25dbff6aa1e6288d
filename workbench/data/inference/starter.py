"""Write the first `features.py`: two commented examples with the competition's own columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from workbench.core.cache import create_text
from workbench.core.errors import ConfigError, DataError
from workbench.data.competition import ROW, Competition

__all__ = ["starter_text", "write_starter"]

NUMBER_TYPES = re.compile(r"U?Int\d+|Float\d+")
GROUP_TYPES = ("String", "Boolean", "Categorical", "Enum")


def write_starter(competition: Competition) -> bool:
    """Write a competition's `features.py` if there is none; return whether it was written.

    None is written for a recommender competition, whose experiments use sources rather than features, or where the
    definition does not fit the tables, which `wb run` reports.

    Raises
    ------
    StorageError
        When the file can't be written.
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
    types = c.train_info.dtypes
    columns = _Columns.from_types({name: types[name] for name in c.rows.columns}, c.ids.key_columns)
    other_tables = [
        t for t in c.manifest.tables if t not in (d.tables.train, d.tables.test, d.tables.sample_submission)
    ]
    expression_example, frame_example = columns.expression_example(), columns.frame_example()
    used_names = {*c.manifest.tables, "rows", "auto"}
    examples = (expression_example, frame_example)
    first_name, second_name = (_unused_name(example.name, used_names) for example in examples)
    return _TEMPLATE.format(
        slug=_in_docstring(d.slug),
        key=ROW,
        id=_in_docstring(", ".join(repr(i) for i in d.id_columns)),
        others=_in_docstring(_other_tables_note(other_tables)),
        first=first_name,
        second=second_name,
        first_description=_in_docstring(expression_example.description),
        second_description=_in_docstring(frame_example.description),
        first_code=expression_example.code,
        second_code=frame_example.code,
    )


_TEMPLATE = '''"""Features of {slug}: each is a function that gives new columns for every row.

Uncomment an example, and name it in an experiment: features = ["auto", "{first}"].

`rows` is train and test stacked, in file order, without the target. Its row key is ROW, the column "{key}": the number
of the row, train first, then test. The id ({id}) is not the row key.{others}
"""

import polars as pl
from workbench.features import ROW, feature

# @feature
# def {first}(rows):
#     """{first_description}: expressions over rows; no row key is needed."""
#     return [{first_code}]


# @feature
# def {second}(rows):
#     """{second_description}: a frame with ROW, one line for each row, in any order."""
#     return rows.select(ROW, {second_code})
'''


def _other_tables_note(tables: Sequence[str]) -> str:
    """Return a line for the docstring that names the other tables a feature can take as parameters; "" without any."""
    names = [t for t in tables if t.isidentifier()]
    if not names:
        return ""
    name_list = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"\nOther tables are parameters, too, by their names: {name_list}."


def _in_docstring(text: str) -> str:
    """Escape a text for a docstring."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _unused_name(name: str, used_names: set[str]) -> str:
    """Append underscores to a name until it is not among the used ones, and add it to them."""
    while name in used_names:
        name += "_"
    used_names.add(name)
    return name


@dataclass(frozen=True)
class _Example:
    """An example of a feature: its name, its docstring, and the code of its column."""

    name: str
    description: str
    code: str


@dataclass(frozen=True)
class _Columns:
    """The columns that the examples may read: numbers, groups (categories) and times; `usable` are all of them."""

    numbers: tuple[str, ...]
    groups: tuple[str, ...]
    times: tuple[str, ...]
    usable: tuple[str, ...]

    @classmethod
    def from_types(cls, types: Mapping[str, str], ids: Collection[str]) -> _Columns:
        """Sort columns, with the names of their types, by use; `ids` are used only where there is no other column."""
        base_types = {name: dtype.partition("(")[0] for name, dtype in types.items() if name not in ids}
        groups = [n for n, dtype in base_types.items() if dtype in GROUP_TYPES]
        return cls(
            tuple(n for n, dtype in base_types.items() if NUMBER_TYPES.fullmatch(dtype)),
            # Booleans last: grouping by them is the least useful example.
            tuple(sorted(groups, key=lambda n: base_types[n] == "Boolean")),
            tuple(n for n, dtype in base_types.items() if dtype in ("Date", "Datetime")),
            tuple(base_types) or tuple(types),
        )

    def expression_example(self) -> _Example:
        """Return an example of expressions: a value of each row by itself, or the rank of a number."""
        if len(self.numbers) > 1:
            numerator, denominator = self.numbers[:2]
            name = _joined(numerator, "per", denominator)
            code = f"(pl.col({numerator!r}) / pl.col({denominator!r})).alias({name!r})"
            return _Example("ratio", f"{numerator!r} over {denominator!r}", code)
        if self.numbers:
            (number,) = self.numbers
            return _Example(
                "rank",
                f"The rank of {number!r} among all rows",
                f"pl.col({number!r}).rank().alias({_joined(number, 'rank')!r})",
            )
        if self.times:
            time = self.times[0]
            code = f"pl.col({time!r}).dt.weekday().alias({_joined(time, 'weekday')!r})"
            return _Example("weekday", f"The day of the week of {time!r}", code)
        if self.groups:
            text = self.groups[0]
            code = f"pl.col({text!r}).cast(pl.String).str.len_chars().alias({_joined(text, 'length')!r})"
            return _Example("length", f"How many letters {text!r} has", code)
        return self._missing_example("is_missing")

    def frame_example(self) -> _Example:
        """Return an example of a frame with the row key, where possible with a statistic over several rows."""
        if self.groups and self.numbers:
            group, number = self.groups[0], self.numbers[0]
            code = f"pl.col({number!r}).mean().over({group!r}).alias({_joined(number, 'by', group)!r})"
            return _Example("group_mean", f"The mean of {number!r} in each {group!r}", code)
        if self.groups:
            group = self.groups[0]
            code = f"pl.len().over({group!r}).alias({_joined(group, 'count')!r})"
            return _Example("group_count", f"How many rows have the same {group!r}", code)
        if self.numbers:
            number = self.numbers[-1]
            code = f"(pl.col({number!r}) - pl.col({number!r}).mean()).alias({_joined(number, 'centered')!r})"
            return _Example("centered", f"{number!r} less its mean", code)
        if self.times:
            time = self.times[0]
            return _Example(
                "month", f"The month of {time!r}", f"pl.col({time!r}).dt.month().alias({_joined(time, 'month')!r})"
            )
        return self._missing_example("missing_count")

    def _missing_example(self, name: str) -> _Example:
        """Return an example for a column of any type: whether a value is missing; without columns, the row's number."""
        if not self.usable:
            return _Example(name, "The row's number", f"pl.col(ROW).cast(pl.Int64).alias({name!r})")
        column = self.usable[0]
        code = f"pl.col({column!r}).is_null().cast(pl.Int8).alias({_joined(column, name)!r})"
        return _Example(name, f"Whether {column!r} is missing", code)


def _joined(*words: str) -> str:
    """Join names into the name of a new column: letters, digits and underscores, 30 characters of each at most."""
    return "_".join(re.sub(r"\W+", "_", word).strip("_")[:30] for word in words).strip("_")
