"""Arithmetic on a table's columns, written as a text: ``"IsHoliday * 4 + 1"``.

The text is data: it comes from files that people pass on. It is parsed into a tree, of which only what stands below is
taken and made an expression of polars; nothing of it is ever executed.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import polars as pl

from workbench.core.errors import ConfigError, NotFoundError, near

__all__ = ["RowExpression", "named_columns", "read_expression"]

MAX_LENGTH = 1_000
"""Of the text; a longer one is a feature."""

SHOWN = 120

Kind = Literal["number", "boolean", "text", "time"]

NUMBERS = re.compile(r"U?Int\d+|Float\d+|Decimal")
KINDS: dict[str, Kind] = {
    "Boolean": "boolean",
    "String": "text",
    "Categorical": "text",
    "Enum": "text",
    "Date": "time",
    "Datetime": "time",
}

OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
OF_ONE: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "abs": pl.Expr.abs,
    "sqrt": pl.Expr.sqrt,
    "exp": pl.Expr.exp,
    "log": pl.Expr.log,
    "log1p": pl.Expr.log1p,
    "log10": pl.Expr.log10,
    "floor": pl.Expr.floor,
    "ceil": pl.Expr.ceil,
    "round": lambda value: value.round(0),
}
OF_SEVERAL: dict[str, Callable[..., pl.Expr]] = {
    # Without a value where one of them has none, as everything else.
    "min": lambda *values: _unless_missing(values, pl.min_horizontal(*values)),
    "max": lambda *values: _unless_missing(values, pl.max_horizontal(*values)),
    "coalesce": pl.coalesce,
}
FUNCTIONS = (*OF_ONE, *OF_SEVERAL)

OTHER_LANGUAGES = (
    (r"\?.*:", 'a choice is written "5 if IsHoliday else 1"'),
    (r"(?i)\bcase\b.*\bwhen\b", 'a choice is written "5 if IsHoliday else 1"'),
    (r"&&|\|\|", 'write "and", "or"'),
    (r"!(?!=)", 'write "not"'),
    (r"<>", 'write "!="'),
    (r"(?<![=!<>])=(?!=)", 'equality is written "=="'),
    (r"`", "a name in backticks ends with a backtick: `Is Holiday`"),
)


@dataclass(frozen=True)
class RowExpression:
    """A number for each row of a table.

    Attributes
    ----------
    text : str
        As it is written.
    canonical : str
        The same for texts that differ in spaces and brackets alone.
    columns : tuple of str
        The columns that it reads.
    value : Expr
        Float64; null where a column that decides has no value.
    """

    text: str
    canonical: str
    columns: tuple[str, ...]
    value: pl.Expr

    @property
    def is_column(self) -> bool:
        """Whether it is a column by itself."""
        return self.columns == (self.text,)


def read_expression(text: str, types: Mapping[str, str], *, where: str) -> RowExpression:
    """Read an expression of a table's columns.

    Columns are named as they are, or in backticks where the name is no plain word. There are numbers, ``+ - * / // %
    **``, comparisons, ``in``, ``and or not``, ``a if b else c``, and the functions ``abs sqrt exp log log1p log10 floor
    ceil round min max coalesce``. True counts as 1 and False as 0. Texts and times are for comparisons.

    Parameters
    ----------
    text : str
    types : mapping
        The columns of the table and the names of their types, as polars writes them.
    where : str
        What the messages begin with: 'competition.toml: weight'.

    Raises
    ------
    ConfigError
        When it can't be read, or is no number.
    NotFoundError
        For a column or a function that there is not, with the near names.

    Examples
    --------
    >>> types = {"IsHoliday": "Boolean", "n": "Int64"}
    >>> weight = read_expression("IsHoliday * 4 + 1", types, where="weight")
    >>> pl.DataFrame({"IsHoliday": [True, False]}).select(weight.value).to_series().to_list()
    [5.0, 1.0]
    >>> weight.columns, weight.is_column
    (('IsHoliday',), False)
    """
    reader = _ExpressionReader(text, types, where)
    try:
        return reader.read()
    except RecursionError:
        raise reader.error("it is nested too deeply", "make a column of it") from None


def named_columns(text: str, columns: Collection[str], *, where: str) -> tuple[str, ...]:
    """Return which of a table's columns an expression names, before their types are known.

    Raises
    ------
    ConfigError
        When it can't be read.
    """
    return _ExpressionReader(text, dict.fromkeys(columns, ""), where).named()


@dataclass(frozen=True)
class _Value:
    expr: pl.Expr
    kind: Kind
    text: str = ""


class _ExpressionReader:
    def __init__(self, text: str, types: Mapping[str, str], where: str) -> None:
        self.text, self.types, self.where = text, types, where
        self.columns: dict[str, None] = {}
        self.quoted: dict[str, str] = {}

    def read(self) -> RowExpression:
        if self.text in self.types:
            return RowExpression(self.text, self.text, (self.text,), self._number(self._column(self.text)))
        tree = self._parsed()
        value = self._number(self._value(tree.body))
        if not self.columns:
            raise self.error("it names no column", "every row would weigh the same: leave it out")
        return RowExpression(self.text, self._canonical(tree), tuple(self.columns), value)

    def named(self) -> tuple[str, ...]:
        if self.text in self.types:
            return (self.text,)
        nodes = [node for node in ast.walk(self._parsed()) if isinstance(node, ast.Name | ast.Attribute)]
        names = [self.quoted.get(n.id, n.id) if isinstance(n, ast.Name) else self._shown(n) for n in nodes]
        return tuple(dict.fromkeys(name for name in names if name in self.types))

    def _parsed(self) -> ast.Expression:
        if not self.text.strip():
            raise self.error("it is empty", 'write a column, or an expression: "IsHoliday * 4 + 1"')
        if len(self.text) > MAX_LENGTH:
            raise self.error(f"it has {len(self.text):,} characters", f"at most {MAX_LENGTH:,}: make a column of it")
        # Leading blanks would be an indentation.
        plain = re.sub(r"'[^']*'|\"[^\"]*\"|`([^`]*)`", self._quoted, self.text).strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(f"({plain})", mode="eval")
        except (SyntaxError, ValueError, MemoryError) as exc:
            hint = next((h for pattern, h in OTHER_LANGUAGES if re.search(pattern, plain)), "")
            reason = exc.msg if isinstance(exc, SyntaxError) else type(exc).__name__
            names = [c for c in self.types if (not c.isidentifier() or keyword.iskeyword(c)) and c in self.text]
            if not hint and names:
                hint = f"put a name that is not a plain word in backticks: `{names[0]}`"
            raise self.error(f"it can't be read: {reason}", hint or 'for example "IsHoliday * 4 + 1"') from exc

    def _quoted(self, match: re.Match[str]) -> str:
        """Replace a name in backticks by a plain word; texts stay."""
        if match[1] is None:
            return match[0]
        word = f"_quoted_{len(self.quoted)}_"
        self.quoted[word] = match[1]
        return word

    def _canonical(self, tree: ast.Expression) -> str:
        plain = ast.unparse(tree)
        return re.sub(r"_quoted_\d+_", lambda m: f"`{self.quoted[m[0]]}`" if m[0] in self.quoted else m[0], plain)

    # ----------------------------------------------------------------------------------------------------- the nodes

    def _value(self, node: ast.expr) -> _Value:
        reader = getattr(self, f"_of_{type(node).__name__.lower()}", None)
        if reader is None:
            raise self.error(
                f"{self._shown(node)!r} is not arithmetic", f"there are {', '.join(FUNCTIONS)} and operators"
            )
        return reader(node)  # type: ignore[no-any-return]

    def _of_constant(self, node: ast.Constant) -> _Value:
        value = node.value
        if isinstance(value, bool):
            return _Value(pl.lit(value), "boolean")
        if isinstance(value, str):
            return _Value(pl.lit(value), "text", value)
        if isinstance(value, int | float):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                return _Value(pl.lit(number), "number")
        missing = "to replace missing values: coalesce(column, 1)" if value is None else ""
        raise self.error(f"{self._shown(node)!r} is not a number", missing)

    def _of_name(self, node: ast.Name) -> _Value:
        return self._column(self.quoted.get(node.id, node.id))

    def _of_attribute(self, node: ast.Attribute) -> _Value:
        name = self._shown(node)
        if name in self.types:
            return self._column(name)
        raise self.error(f"{name!r} is not a column", near(name, self.types, kind="column"), NotFoundError)

    def _of_unaryop(self, node: ast.UnaryOp) -> _Value:
        value = self._value(node.operand)
        if isinstance(node.op, ast.Not | ast.Invert):
            return _Value(~self._condition(value), "boolean")
        number = self._number(value)
        return _Value(-number if isinstance(node.op, ast.USub) else number, "number")

    def _of_binop(self, node: ast.BinOp) -> _Value:
        left_value, right_value = self._value(node.left), self._value(node.right)
        if isinstance(node.op, ast.BitAnd | ast.BitOr) and left_value.kind == right_value.kind == "boolean":
            is_and = isinstance(node.op, ast.BitAnd)
            return _Value(
                left_value.expr & right_value.expr if is_and else left_value.expr | right_value.expr, "boolean"
            )
        apply = OPERATORS.get(type(node.op))
        if apply is None:
            hint = "a power is written **" if isinstance(node.op, ast.BitXor) else "put comparisons in brackets"
            raise self.error(f"{self._shown(node)!r} can't be computed", hint)
        return _Value(apply(self._number(left_value), self._number(right_value)), "number")

    def _of_boolop(self, node: ast.BoolOp) -> _Value:
        conditions = [self._condition(self._value(v)) for v in node.values]
        together = conditions[0]
        for condition in conditions[1:]:
            together = together & condition if isinstance(node.op, ast.And) else together | condition
        return _Value(together, "boolean")

    def _of_compare(self, node: ast.Compare) -> _Value:
        sides = [node.left, *node.comparators]
        condition: pl.Expr | None = None
        for left_node, comparator, right_node in zip(sides, node.ops, node.comparators, strict=False):
            comparison = (
                self._membership(left_node, comparator, right_node)
                if isinstance(comparator, ast.In | ast.NotIn)
                else None
            )
            if comparison is None:
                apply = COMPARISONS.get(type(comparator))
                if apply is None:
                    raise self.error(f"{self._shown(node)!r} can't be compared", 'write "==" or "!="')
                comparison = apply(*self._alike(self._value(left_node), self._value(right_node)))
            condition = comparison if condition is None else condition & comparison
        assert condition is not None  # noqa: S101 a comparison has two sides
        return _Value(condition, "boolean")

    def _membership(self, left_node: ast.expr, comparator: ast.cmpop, list_node: ast.expr) -> pl.Expr:
        if not isinstance(list_node, ast.Tuple | ast.List | ast.Set) or not list_node.elts:
            raise self.error(
                f"{self._shown(list_node)!r} is not a list", 'write one: Store in (1, 2), Type in ("A", "B")'
            )
        value, is_member = self._value(left_node), pl.lit(value=False)
        for item in list_node.elts:
            a, b = self._alike(value, self._value(item))
            is_member = is_member | (a == b)
        return ~is_member if isinstance(comparator, ast.NotIn) else is_member

    def _of_ifexp(self, node: ast.IfExp) -> _Value:
        condition = self._condition(self._value(node.test))
        yes, no = self._number(self._value(node.body)), self._number(self._value(node.orelse))
        # Where it is not known which, there is no value: polars would take the second.
        return _Value(pl.when(condition).then(yes).when(condition.is_not_null()).then(no), "number")

    def _of_call(self, node: ast.Call) -> _Value:
        name = self._shown(node.func)
        if name not in FUNCTIONS or node.keywords:
            plain = name.rpartition(".")[2]
            hint = f"write {plain}(…)" if plain in FUNCTIONS else near(name, FUNCTIONS, kind="function")
            raise self.error(f"{name!r} is not a function here", hint, NotFoundError)
        values = [self._number(self._value(v)) for v in node.args]
        if name in OF_ONE and len(values) == 1:
            return _Value(OF_ONE[name](values[0]), "number")
        if name in OF_SEVERAL and len(values) > 1:
            return _Value(OF_SEVERAL[name](*values), "number")
        needed = "one" if name in OF_ONE else "at least two"
        raise self.error(f"{name} takes {needed} in brackets, got {len(values)}", "")

    # ----------------------------------------------------------------------------------------------------- the kinds

    def _column(self, name: str) -> _Value:
        if name not in self.types:
            raise self.error(f"{name!r} is not a column", near(name, self.types, kind="column"), NotFoundError)
        base = self.types[name].partition("(")[0]
        kind: Kind | None = "number" if NUMBERS.fullmatch(base) else KINDS.get(base)
        if kind is None:
            raise self.error(
                f"column {name!r} is a {self.types[name]}", "numbers, yes and no, texts and times can be used"
            )
        self.columns[name] = None
        value = pl.col(name)
        if kind == "number":
            # NaN would be the greatest of numbers in a comparison.
            return _Value(value.cast(pl.Float64).fill_nan(None), kind, name)
        if kind == "time":
            return _Value(_in_utc(value, self.types[name]), kind, name)
        return _Value(value.cast(pl.String) if kind == "text" else value, kind, name)

    def _number(self, value: _Value) -> pl.Expr:
        if value.kind == "boolean":
            return value.expr.cast(pl.Float64)
        if value.kind != "number":
            description = f"{value.text!r} is a {value.kind}"
            if value.text in self.types:
                description = f"column {value.text!r} is a {value.kind} ({self.types[value.text]})"
            is_word = value.text.isidentifier() and not keyword.iskeyword(value.text)
            name = value.text if is_word else f"`{value.text}`"
            example = f'({name} == "…") * 4 + 1' if value.kind == "text" else f'{name} >= "2024-01-01"'
            raise self.error(f"{description}, not a number", f"compare it: {example}")
        return value.expr

    def _condition(self, value: _Value) -> pl.Expr:
        return value.expr if value.kind == "boolean" else self._number(value) != 0

    def _alike(self, left_value: _Value, right_value: _Value) -> tuple[pl.Expr, pl.Expr]:
        """Return both sides of a comparison as what can be compared."""
        if {left_value.kind, right_value.kind} == {"time", "text"}:
            left_value, right_value = (self._moment(v) if v.kind == "text" else v for v in (left_value, right_value))
        if left_value.kind == right_value.kind:
            return left_value.expr, right_value.expr
        if {left_value.kind, right_value.kind} == {"number", "boolean"}:
            return self._number(left_value), self._number(right_value)
        raise self.error(
            f"a {left_value.kind} and a {right_value.kind} can't be compared", "write texts and times in quotes"
        )

    def _moment(self, value: _Value) -> _Value:
        if value.text in self.columns:
            raise self.error(f"column {value.text!r} is a text, and is compared with a time", "give both one type")
        try:
            moment = datetime.fromisoformat(value.text)
        except ValueError:
            raise self.error(
                f"{value.text!r} is not a date or time", 'write "2024-01-31", or "2024-01-31 12:00"'
            ) from None
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        return _Value(pl.lit(moment), "time")

    # ------------------------------------------------------------------------------------------------------ messages

    def _shown(self, node: ast.AST) -> str:
        plain = ast.unparse(node)
        return re.sub(r"_quoted_\d+_", lambda m: self.quoted.get(m[0], m[0]), plain)

    def error(self, problem: str, hint: str, cls: type[ConfigError] = ConfigError) -> ConfigError:
        text = self.text if len(self.text) <= SHOWN else f"{self.text[:SHOWN]}…"
        return cls(f"{self.where} = {text!r}: {problem}", hint=hint)


def _in_utc(value: pl.Expr, dtype: str) -> pl.Expr:
    """Return dates and times as times without a zone, those with one in UTC."""
    if "time_zone='" in dtype:
        value = value.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return value.cast(pl.Datetime("us"))


def _unless_missing(values: tuple[pl.Expr, ...], result: pl.Expr) -> pl.Expr:
    return pl.when(pl.all_horizontal(*(v.is_not_null() for v in values))).then(result)
