"""Logs of interactions between users and items: their columns, what to predict from them, durations and weights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from workbench.core.errors import did_you_mean

__all__ = [
    "CUTS",
    "UNITS",
    "InteractionsSpec",
    "InvalidValue",
    "duration_text",
    "invalid_values",
    "parse_duration",
    "parse_weights",
]

UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}
"""The number of microseconds in each unit of times that are whole numbers."""

CUTS = ("last", "session")
"""The ways to split a log into known events and events to predict; see `InteractionsSpec`."""

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
        The column with the type of an event; None if all events are of one type.
    unit : str
        The unit of times that are whole numbers: "s", "ms", "us" or "ns".
    cut : str
        "last": the events in the horizon after the end of the log are predicted. "session": test has the beginnings of
        sessions that begin in the last horizon, and their remaining events are predicted.
    horizon_s : int
        The length of the horizon in seconds.
    id : str
        The form of the sample's ids: "{user}", or "{user}_{kind}" if each type of event is predicted separately.
    weights : dict
        The weight of each predicted type in the score, which is the weighted sum; empty if `id` has no type.
    first : tuple of str
        The types of which only the next event is predicted; of the other types, all events in the horizon are.
    weight : str, optional
        The column with the weight of an event, such as a rating or a quantity.
    users, items : str, optional
        Tables with a row per user, or per item, with the key column `user` or `item`.
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
        """The columns of the log: user, item and time; type and weight if there are such columns."""
        optional_columns = (self.kind, self.weight)
        return (self.user, self.item, self.time, *(column for column in optional_columns if column is not None))

    @property
    def predicts_each_type(self) -> bool:
        """Whether each type of event is predicted separately: the sample has a row per user and type."""
        return "{kind}" in self.id

    def id_of(self, user: str, kind: str = "") -> str:
        """Return the sample's id for a user, and for the event type `kind` if ids contain it.

        Examples
        --------
        >>> InteractionsSpec("u", "i", "t", 60, "k", id="{user}_{kind}", weights={"clicks": 1.0}).id_of("7", "clicks")
        '7_clicks'
        """
        return self.id.replace("{kind}", kind).replace("{user}", user)


@dataclass(frozen=True)
class InvalidValue:
    """An invalid value of a specification: its key, what is wrong, and what to write instead."""

    key: str
    message: str
    hint: str


def invalid_values(spec: InteractionsSpec) -> Iterator[InvalidValue]:
    """Yield the values that are invalid or contradict each other.

    Examples
    --------
    >>> [invalid.key for invalid in invalid_values(InteractionsSpec("u", "i", "t", 60, cut="first"))]
    ['cut']
    """
    for key, column in (("item", spec.item), ("time", spec.time), ("kind", spec.kind), ("weight", spec.weight)):
        if column is not None and spec.columns.count(column) > 1:
            yield InvalidValue(
                key, f"{column!r} is named twice among user, item, time, kind and weight", "name another column"
            )
    for key, value, valid_values in (("unit", spec.unit, tuple(UNITS)), ("cut", spec.cut, CUTS)):
        if value not in valid_values:
            hint = did_you_mean(value, valid_values, kind=key)
            yield InvalidValue(key, f"{value!r} is none of {', '.join(valid_values)}", hint)
    if spec.horizon_s <= 0:
        yield InvalidValue(
            "horizon", f"{spec.horizon_s} s is not a valid horizon", 'write a duration such as "28d" or "12h"'
        )
    yield from _invalid_ids(spec)
    yield from _invalid_weights(spec)


def _invalid_ids(spec: InteractionsSpec) -> Iterator[InvalidValue]:
    placeholders = re.findall(r"\{([^{}]*)\}", spec.id)
    unknown_placeholders = [p for p in placeholders if p not in ("user", "kind")]
    hint = 'write "{user}", or "{user}_{kind}" if each type is predicted separately'
    if placeholders.count("user") != 1 or placeholders.count("kind") > 1 or unknown_placeholders:
        yield InvalidValue(
            "id", f"{spec.id!r} must contain {{user}} once, may contain {{kind}} once, and nothing else in braces", hint
        )
    elif spec.predicts_each_type and spec.kind is None:
        yield InvalidValue(
            "id", f"{spec.id!r} contains the type of event, but no column of types is named", 'add kind = "COLUMN"'
        )


def _invalid_weights(spec: InteractionsSpec) -> Iterator[InvalidValue]:
    if spec.predicts_each_type and not spec.weights:
        yield InvalidValue(
            "weights",
            "missing: ids contain the type of event, and the weights name the types to predict",
            "{ clicks = 0.1, … }",
        )
    if spec.weights and not spec.predicts_each_type:
        yield InvalidValue(
            "weights", f"they are for ids that contain the type of event, got id = {spec.id!r}", 'id = "{user}_{kind}"'
        )
    for kind, weight in spec.weights.items():
        if not 0 < weight < float("inf"):
            yield InvalidValue(
                "weights", f"{kind} = {weight}: expected a number above 0", "leave out a type that is not predicted"
            )
    for kind in spec.first:
        if kind not in spec.weights:
            hint = did_you_mean(kind, spec.weights, kind="type") if spec.weights else "remove it"
            yield InvalidValue("first", f"{kind!r} is not among the types that have a weight", hint)


# ---------------------------------------------------------------------------------------------------------- durations


def parse_duration(text: str) -> timedelta | None:
    """Return a duration such as "12h" or "7d" (units s, m, h, d, w); None for any other text.

    Examples
    --------
    >>> parse_duration("12h"), parse_duration("0.5d"), parse_duration("7 days")
    (datetime.timedelta(seconds=43200), datetime.timedelta(seconds=43200), None)
    """
    match = _DURATION.fullmatch(text)
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2]]) if match else None


def duration_text(seconds: int) -> str:
    """Return a duration as text for `parse_duration`, in the largest unit up to days that gives a whole number.

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
        For any other form, an empty name, or a name that is repeated.

    Examples
    --------
    >>> parse_weights("clicks=0.1, carts=0.9")
    {'clicks': 0.1, 'carts': 0.9}
    """
    pairs = [(name.strip(), weight) for name, _, weight in (part.partition("=") for part in text.split(","))]
    weights = dict(pairs)
    if not all(weights) or len(weights) < len(pairs):
        raise ValueError("expected every type once, each with a name")
    return {name: float(weight) for name, weight in weights.items()}
