"""Compile arithmetic on a table's columns, such as ``"IsHoliday * 4 + 1"``, to a polars expression.

The text may come from untrusted files: it is parsed to a syntax tree, of which only the nodes and functions below are
permitted. It is never executed as Python.
"""

from __future__ import annotations

import ast
import functools
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

from workbench.core.errors import ConfigError, NotFoundError, did_you_mean

__all__ = ["RowExpression", "named_columns", "read_expression"]

MAX_LENGTH = 1_000
"""Longest permitted text, in characters."""

MAX_SHOWN_LENGTH = 120
"""Characters of the text that error messages show."""

QUOTED_WORD = re.compile(r"_quoted_\d+_")

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
UNARY_FUNCTIONS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
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
VARIADIC_FUNCTIONS: dict[str, Callable[..., pl.Expr]] = {
    # Null if any argument is null, like the operators; polars would ignore nulls.
    "min": lambda *values: _unless_missing(values, pl.min_horizontal(*values)),
    "max": lambda *values: _unless_missing(values, pl.max_horizontal(*values)),
    "coalesce": pl.coalesce,
}
FUNCTIONS = (*UNARY_FUNCTIONS, *VARIADIC_FUNCTIONS)

OTHER_LANGUAGES = (
    (r"\?.*:", 'a choice is written "5 if IsHoliday else 1"'),
    (r"(?i)\bcase\b.*\bwhen\b", 'a choice is written "5 if IsHoliday else 1"'),
    (r"&&|\|\|", 'write "and", "or"'),
    (r"!(?!=)", 'write "not"'),
    (r"<>", 'write "!="'),
    (r"(?<![=!<>])=(?!=)", 'equality is written "=="'),
    (r"`", "a name in backticks ends with a backtick: `Is Holiday`"),
)
"""Patterns of other languages' syntax, and the hint for each."""


@dataclass(frozen=True)
class RowExpression:
    """An expression that gives a number for each row of a table.

    Attributes
    ----------
    text : str
        As the user wrote it.
    canonical : str
        The text with normalised spaces and brackets.
    columns : tuple of str
        The columns that it reads.
    value : Expr
        Float64; null if a column that it depends on is null.
    """

    text: str
    canonical: str
    columns: tuple[str, ...]
    value: pl.Expr

    @property
    def is_column(self) -> bool:
        """Whether it is just a column."""
        return self.columns == (self.text,)


def read_expression(text: str, types: Mapping[str, str], *, where: str) -> RowExpression:
    """Read an expression of a table's columns.

    The syntax is Python's, with names of columns that are no identifiers in backticks. It may contain numbers, ``+ - *
    / // % **``, comparisons, ``in``, ``and or not``, ``a if b else c``, and the functions ``abs sqrt exp log log1p
    log10 floor ceil round min max coalesce``. True counts as 1 and False as 0. Texts and times can only be compared.

    Parameters
    ----------
    text : str
    types : mapping
        Column -> name of its polars type.
    where : str
        The setting, for messages: 'competition.toml: weight'.

    Raises
    ------
    ConfigError
        When the text is invalid or does not give a number.
    NotFoundError
        When a column or function does not exist; the hint has similar names.

    Examples
    --------
    >>> types = {"IsHoliday": "Boolean", "n": "Int64"}
    >>> weight = read_expression("IsHoliday * 4 + 1", types, where="weight")
    >>> pl.DataFrame({"IsHoliday": [True, False]}).select(weight.value).to_series().to_list()
    [5.0, 1.0]
    >>> weight.columns, weight.is_column
    (('IsHoliday',), False)
    """
    expression = _ExpressionText(text, types, where)
    try:
        return _ExpressionReader(expression).read()
    except RecursionError:
        raise expression.error("it is nested too deeply", "make a column of it") from None


def named_columns(text: str, columns: Collection[str], *, where: str) -> tuple[str, ...]:
    """Return the columns of a table that an expression names; their types need not be known.

    Raises
    ------
    ConfigError
        When the text is invalid.
    """
    return _ExpressionText(text, dict.fromkeys(columns, ""), where).named_columns()


class _ExpressionText:
    """The text of an expression, in which names in backticks are replaced by plain words for Python's parser."""

    def __init__(self, text: str, types: Mapping[str, str], where: str) -> None:
        self.text, self.types, self.where = text, types, where
        self.name_by_word: dict[str, str] = {}

    def parse(self) -> ast.Expression:
        if not self.text.strip():
            raise self.error("it is empty", 'write a column, or an expression: "IsHoliday * 4 + 1"')
        if len(self.text) > MAX_LENGTH:
            raise self.error(f"it has {len(self.text):,} characters", f"at most {MAX_LENGTH:,}: make a column of it")
        # Python would take leading blanks for an indentation.
        python_text = re.sub(r"'[^']*'|\"[^\"]*\"|`([^`]*)`", self._plain_word, self.text).strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(f"({python_text})", mode="eval")
        except (SyntaxError, ValueError, MemoryError) as exc:
            hint = next((h for pattern, h in OTHER_LANGUAGES if re.search(pattern, python_text)), "")
            reason = exc.msg if isinstance(exc, SyntaxError) else type(exc).__name__
            names = [c for c in self.types if (not c.isidentifier() or keyword.iskeyword(c)) and c in self.text]
            if not hint and names:
                hint = f"put a name that is not a plain word in backticks: `{names[0]}`"
            raise self.error(f"it can't be read: {reason}", hint or 'for example "IsHoliday * 4 + 1"') from exc

    def _plain_word(self, match: re.Match[str]) -> str:
        """Return a plain word for a name in backticks; string literals are unchanged."""
        if match[1] is None:
            return match[0]
        word = f"_quoted_{len(self.name_by_word)}_"
        self.name_by_word[word] = match[1]
        return word

    def name_of(self, node: ast.Name) -> str:
        return self.name_by_word.get(node.id, node.id)

    def named_columns(self) -> tuple[str, ...]:
        if self.text in self.types:
            return (self.text,)
        nodes = [node for node in ast.walk(self.parse()) if isinstance(node, ast.Name | ast.Attribute)]
        names = [self.name_of(node) if isinstance(node, ast.Name) else self.unparse(node) for node in nodes]
        return tuple(dict.fromkeys(name for name in names if name in self.types))

    def canonical(self, tree: ast.Expression) -> str:
        names = self.name_by_word
        return re.sub(QUOTED_WORD, lambda m: f"`{names[m[0]]}`" if m[0] in names else m[0], ast.unparse(tree))

    def unparse(self, node: ast.AST) -> str:
        return re.sub(QUOTED_WORD, lambda m: self.name_by_word.get(m[0], m[0]), ast.unparse(node))

    def error(self, problem: str, hint: str, cls: type[ConfigError] = ConfigError) -> ConfigError:
        text = self.text if len(self.text) <= MAX_SHOWN_LENGTH else f"{self.text[:MAX_SHOWN_LENGTH]}…"
        return cls(f"{self.where} = {text!r}: {problem}", hint=hint)


@dataclass(frozen=True)
class _Value:
    """The polars expression of a node; `text` is the name of a column or a string literal, else empty."""

    expr: pl.Expr
    kind: Kind
    text: str = ""


class _ExpressionReader:
    """Compiles a syntax tree to a polars expression; its many methods are one per permitted type of node."""

    def __init__(self, text: _ExpressionText) -> None:
        self.text, self.types = text, text.types
        self.columns: dict[str, None] = {}
        self.error, self._unparse = text.error, text.unparse

    def read(self) -> RowExpression:
        text = self.text.text
        if text in self.types:
            return RowExpression(text, text, (text,), self._number(self._column(text)))
        tree = self.text.parse()
        value = self._number(self._value(tree.body))
        if not self.columns:
            raise self.error("it names no column", "every row would weigh the same: leave it out")
        return RowExpression(text, self.text.canonical(tree), tuple(self.columns), value)

    # --------------------------------------------------------------------------------------------------------- nodes

    def _value(self, node: ast.expr) -> _Value:
        reader = getattr(self, f"_of_{type(node).__name__.lower()}", None)
        if reader is None:
            raise self.error(
                f"{self._unparse(node)!r} is not arithmetic", f"there are {', '.join(FUNCTIONS)} and operators"
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
        raise self.error(f"{self._unparse(node)!r} is not a number", missing)

    def _of_name(self, node: ast.Name) -> _Value:
        return self._column(self.text.name_of(node))

    def _of_attribute(self, node: ast.Attribute) -> _Value:
        name = self._unparse(node)
        if name in self.types:
            return self._column(name)
        raise self.error(f"{name!r} is not a column", did_you_mean(name, self.types, kind="column"), NotFoundError)

    def _of_unaryop(self, node: ast.UnaryOp) -> _Value:
        value = self._value(node.operand)
        if isinstance(node.op, ast.Not | ast.Invert):
            return _Value(~self._condition(value), "boolean")
        number = self._number(value)
        return _Value(-number if isinstance(node.op, ast.USub) else number, "number")

    def _of_binop(self, node: ast.BinOp) -> _Value:
        left_operand, right_operand = self._value(node.left), self._value(node.right)
        if isinstance(node.op, ast.BitAnd | ast.BitOr) and left_operand.kind == right_operand.kind == "boolean":
            is_and = isinstance(node.op, ast.BitAnd)
            return _Value(
                left_operand.expr & right_operand.expr if is_and else left_operand.expr | right_operand.expr, "boolean"
            )
        apply = OPERATORS.get(type(node.op))
        if apply is None:
            hint = "a power is written **" if isinstance(node.op, ast.BitXor) else "put comparisons in brackets"
            raise self.error(f"{self._unparse(node)!r} can't be computed", hint)
        return _Value(apply(self._number(left_operand), self._number(right_operand)), "number")

    def _of_boolop(self, node: ast.BoolOp) -> _Value:
        conditions = [self._condition(self._value(v)) for v in node.values]
        combine = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        return _Value(functools.reduce(combine, conditions), "boolean")

    def _of_compare(self, node: ast.Compare) -> _Value:
        operands = [node.left, *node.comparators]
        comparisons = []
        for left_operand, comparator, right_operand in zip(operands, node.ops, node.comparators, strict=False):
            if isinstance(comparator, ast.In | ast.NotIn):
                comparisons.append(self._membership(left_operand, comparator, right_operand))
                continue
            apply = COMPARISONS.get(type(comparator))
            if apply is None:
                raise self.error(f"{self._unparse(node)!r} can't be compared", 'write "==" or "!="')
            comparisons.append(apply(*self._comparable(self._value(left_operand), self._value(right_operand))))
        return _Value(functools.reduce(operator.and_, comparisons), "boolean")

    def _membership(self, left_node: ast.expr, comparator: ast.cmpop, list_node: ast.expr) -> pl.Expr:
        if not isinstance(list_node, ast.Tuple | ast.List | ast.Set) or not list_node.elts:
            raise self.error(
                f"{self._unparse(list_node)!r} is not a list", 'write one: Store in (1, 2), Type in ("A", "B")'
            )
        value, is_member = self._value(left_node), pl.lit(value=False)
        for item in list_node.elts:
            left_operand, right_operand = self._comparable(value, self._value(item))
            is_member = is_member | (left_operand == right_operand)
        return ~is_member if isinstance(comparator, ast.NotIn) else is_member

    def _of_ifexp(self, node: ast.IfExp) -> _Value:
        condition = self._condition(self._value(node.test))
        if_true, if_false = self._number(self._value(node.body)), self._number(self._value(node.orelse))
        # Null if the condition is null; polars alone would take the second value.
        return _Value(pl.when(condition).then(if_true).when(condition.is_not_null()).then(if_false), "number")

    def _of_call(self, node: ast.Call) -> _Value:
        name = self._unparse(node.func)
        if name not in FUNCTIONS or node.keywords:
            base_name = name.rpartition(".")[2]
            hint = f"write {base_name}(…)" if base_name in FUNCTIONS else did_you_mean(name, FUNCTIONS, kind="function")
            raise self.error(f"{name!r} is not a function here", hint, NotFoundError)
        values = [self._number(self._value(v)) for v in node.args]
        if name in UNARY_FUNCTIONS and len(values) == 1:
            return _Value(UNARY_FUNCTIONS[name](values[0]), "number")
        if name in VARIADIC_FUNCTIONS and len(values) > 1:
            return _Value(VARIADIC_FUNCTIONS[name](*values), "number")
        expected = "one value" if name in UNARY_FUNCTIONS else "at least two values"
        raise self.error(f"{name} takes {expected}, got {len(values)}", "")

    # --------------------------------------------------------------------------------------------------------- types

    def _column(self, name: str) -> _Value:
        if name not in self.types:
            raise self.error(f"{name!r} is not a column", did_you_mean(name, self.types, kind="column"), NotFoundError)
        base_type = self.types[name].partition("(")[0]
        kind: Kind | None = "number" if NUMBERS.fullmatch(base_type) else KINDS.get(base_type)
        if kind is None:
            raise self.error(
                f"column {name!r} is a {self.types[name]}", "numbers, booleans, texts and times can be used"
            )
        self.columns[name] = None
        value = pl.col(name)
        if kind == "number":
            # For polars NaN is greater than any number.
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

    def _comparable(self, left_operand: _Value, right_operand: _Value) -> tuple[pl.Expr, pl.Expr]:
        """Return both sides of a comparison with the same type."""
        if {left_operand.kind, right_operand.kind} == {"time", "text"}:
            left_operand, right_operand = (
                self._time(value) if value.kind == "text" else value for value in (left_operand, right_operand)
            )
        if left_operand.kind == right_operand.kind:
            return left_operand.expr, right_operand.expr
        if {left_operand.kind, right_operand.kind} == {"number", "boolean"}:
            return self._number(left_operand), self._number(right_operand)
        raise self.error(
            f"a {left_operand.kind} and a {right_operand.kind} can't be compared", "write texts and times in quotes"
        )

    def _time(self, value: _Value) -> _Value:
        if value.text in self.columns:
            raise self.error(f"column {value.text!r} holds text but is compared with a time", "give both the same type")
        try:
            time = datetime.fromisoformat(value.text)
        except ValueError:
            raise self.error(
                f"{value.text!r} is not a date or time", 'write "2024-01-31", or "2024-01-31 12:00"'
            ) from None
        if time.tzinfo is not None:
            time = time.astimezone(UTC).replace(tzinfo=None)
        return _Value(pl.lit(time), "time")


def _in_utc(value: pl.Expr, dtype: str) -> pl.Expr:
    """Return dates and times as times without time zone, converted to UTC if they have one."""
    if "time_zone='" in dtype:
        value = value.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return value.cast(pl.Datetime("us"))


def _unless_missing(values: tuple[pl.Expr, ...], result: pl.Expr) -> pl.Expr:
    return pl.when(pl.all_horizontal(*(v.is_not_null() for v in values))).then(result)
