"""What a log of interactions is: its columns, what to predict, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from workbench.core.errors import near

__all__ = [
    "CUTS",
    "UNITS",
    "InteractionsSpec",
    "Wrong",
    "duration_text",
    "parse_duration",
    "parse_weights",
    "wrong_values",
]

UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}
"""Of times that are whole numbers: how many microseconds one is."""

CUTS = ("last", "session")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class InteractionsSpec:
    """A log of interactions and what to predict from it.

    Attributes
    ----------
    user, item, time : str
        Columns of train, and of test where there is one.
    kind : str, optional
        The column with the type of an event; None where there is but one type.
    unit : str
        "s", "ms", "us" or "ns": of times that are whole numbers.
    cut : str
        "last": what comes in the horizon after the end of the log is asked for. "session": test holds the beginnings of
        sessions that begin in the last horizon, and how they go on is asked for.
    horizon_s : int
        In seconds.
    id : str
        How an id of the sample is written: "{user}", or "{user}_{kind}" where each type is asked for by itself.
    weights : dict
        The types that are asked for and what each weighs in the score, which is the sum; empty where `id` has no type.
    first : tuple of str
        Of these types only the next event is asked for, of the others all.
    weight : str, optional
        The column with what an event weighs by itself: a rating, a quantity.
    users, items : str, optional
        Tables with a line per user, or per item, keyed by the columns `user` and `item`.
    """

    user: str
    item: str
    time: str
    horizon_s: int
    kind: str | None = None
    unit: str = "s"
    cut: str = "last"
    id: str = "{user}"
    weights: dict[str, float] = field(default_factory=dict)
    first: tuple[str, ...] = ()
    weight: str | None = None
    users: str | None = None
    items: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the log: user, item, time, and the type and the weight where there are any."""
        more = (self.kind, self.weight)
        return (self.user, self.item, self.time, *(column for column in more if column is not None))

    @property
    def by_kind(self) -> bool:
        """Whether each type of event is asked for by itself: the sample has a line per user and type."""
        return "{kind}" in self.id

    def id_of(self, user: str, kind: str = "") -> str:
        """Return the id of the sample for a user, and a type where ids have one.

        Examples
        --------
        >>> InteractionsSpec("u", "i", "t", 60, "k", id="{user}_{kind}", weights={"clicks": 1.0}).id_of("7", "clicks")
        '7_clicks'
        """
        return self.id.replace("{kind}", kind).replace("{user}", user)


@dataclass(frozen=True)
class Wrong:
    """A value that is wrong: the key it is written under, what is wrong with it, and what to write."""

    key: str
    message: str
    hint: str


def wrong_values(spec: InteractionsSpec) -> Iterator[Wrong]:
    """Find the values that can't be, or contradict each other.

    Examples
    --------
    >>> [wrong.key for wrong in wrong_values(InteractionsSpec("u", "i", "t", 60, cut="first"))]
    ['cut']
    """
    for key, column in (("item", spec.item), ("time", spec.time), ("kind", spec.kind), ("weight", spec.weight)):
        if column is not None and spec.columns.count(column) > 1:
            yield Wrong(
                key, f"{column!r} is named twice among user, item, time, kind and weight", "name another column"
            )
    for key, value, valid in (("unit", spec.unit, tuple(UNITS)), ("cut", spec.cut, CUTS)):
        if value not in valid:
            yield Wrong(key, f"{value!r} is none of {', '.join(valid)}", near(value, valid, kind=key))
    if spec.horizon_s <= 0:
        yield Wrong("horizon", f"{spec.horizon_s} s is not a valid horizon", 'write a duration such as "28d" or "12h"')
    yield from _wrong_id(spec)
    yield from _wrong_weights(spec)


def _wrong_id(spec: InteractionsSpec) -> Iterator[Wrong]:
    named = re.findall(r"\{([^{}]*)\}", spec.id)
    unknown = [n for n in named if n not in ("user", "kind")]
    hint = 'write "{user}", or "{user}_{kind}" where each type is asked for by itself'
    if named.count("user") != 1 or named.count("kind") > 1 or unknown:
        yield Wrong(
            "id", f"{spec.id!r} must hold {{user}} once, may hold {{kind}} once, and nothing else in braces", hint
        )
    elif spec.by_kind and spec.kind is None:
        yield Wrong("id", f"{spec.id!r} has a type, but no column of types is named", 'add kind = "COLUMN"')


def _wrong_weights(spec: InteractionsSpec) -> Iterator[Wrong]:
    if spec.by_kind and not spec.weights:
        yield Wrong(
            "weights", "missing: ids have a type, and the weights say which are asked for", "{ clicks = 0.1, … }"
        )
    if spec.weights and not spec.by_kind:
        yield Wrong("weights", f"they are for ids that have a type, got id = {spec.id!r}", 'id = "{user}_{kind}"')
    for kind, weight in spec.weights.items():
        if not 0 < weight < float("inf"):
            yield Wrong(
                "weights", f"{kind} = {weight}: expected a number above 0", "leave out a type that is not asked for"
            )
    for kind in spec.first:
        if kind not in spec.weights:
            hint = near(kind, spec.weights, kind="type") if spec.weights else "take it out"
            yield Wrong("first", f"{kind!r} is not among the types that have a weight", hint)


# ---------------------------------------------------------------------------------------------------------- durations


def parse_duration(text: str) -> timedelta | None:
    """Return a duration such as "12h" or "7d" (units s, m, h, d, w); None for what is none.

    Examples
    --------
    >>> parse_duration("12h"), parse_duration("0.5d"), parse_duration("7 days")
    (datetime.timedelta(seconds=43200), datetime.timedelta(seconds=43200), None)
    """
    match = _DURATION.fullmatch(text)
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2]]) if match else None


def duration_text(seconds: int) -> str:
    """Return a duration as `parse_duration` takes it, in the largest unit up to days that is whole.

    Examples
    --------
    >>> duration_text(28 * 86_400), duration_text(5400)
    ('28d', '90m')
    """
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"


def parse_weights(text: str) -> dict[str, float]:
    """Return weights by type from "clicks=0.1,carts=0.3".

    Raises
    ------
    ValueError
        For what is written otherwise.

    Examples
    --------
    >>> parse_weights("clicks=0.1, carts=0.9")
    {'clicks': 0.1, 'carts': 0.9}
    """
    pairs = [(name.strip(), weight) for name, _, weight in (part.partition("=") for part in text.split(","))]
    weights = dict(pairs)
    if not all(weights) or len(weights) < len(pairs):
        raise ValueError("every type once, each with a name")
    return {name: float(weight) for name, weight in weights.items()}
