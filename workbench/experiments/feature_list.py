"""Lists of features, `selections/012-null.toml`: `wb select` writes them, and experiments can name them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from workbench.core.cache import content_key, write_text
from workbench.core.errors import ConfigError, NotFoundError, did_you_mean
from workbench.data.competition import Competition, StrictModel, in_toml, read_toml, toml_key, validate

__all__ = ["FeatureList", "check_list_name", "read_list", "write_list"]


class _ListFile(StrictModel):
    title: str = ""
    features: list[str] = Field(min_length=1)
    made: dict[str, Any] = Field(default_factory=dict)
    scores: dict[str, Any] = Field(default_factory=dict)
    kept: dict[str, Any] = Field(default_factory=dict)
    dropped: dict[str, Any] = Field(default_factory=dict)
    best: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class FeatureList:
    """A list of features, and its origin; a list that a user wrote may only have `features`.

    Attributes
    ----------
    features : tuple of str
        In the syntax of an experiment's file: "weather", "rows.x".
    made : dict
        Experiment, run, method, parameters, seed, date, data, and the columns that the experiment dropped.
    scores : dict
        The metric, before and after.
    kept, dropped : dict
        Column -> its importance and other results of the method; ``of`` is the feature that it belongs to.
    best : dict
        The features and the score of the best-scoring list, if that is a larger one.
    """

    features: tuple[str, ...]
    title: str = ""
    made: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    dropped: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)

    @property
    def gone(self) -> set[str]:
        """The columns that are not in the list: experiments may drop them or call them categorical all the same.

        Columns that a user added to the list again are not among them.
        """
        dropped = {c: of.get("of", "") if isinstance(of, dict) else "" for c, of in self.dropped.items()}
        gone = {c for c, of in dropped.items() if not {of, f"{of}.{c}"} & set(self.features)}
        return gone | set(self.made.get("drop", []) if self.is_unedited else [])

    @property
    def is_unedited(self) -> bool:
        """Whether the features are as the method wrote them; False if a user edited them."""
        return bool(self.made.get("content") == content_key("feature-list", list(self.features)))


def check_list_name(name: str) -> str:
    """Return the name of a list if it is a valid file name.

    Raises
    ------
    ConfigError
        For anything but letters, digits, "-", "_" and ".".

    Examples
    --------
    >>> check_list_name("012-null")
    '012-null'
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigError(f"{name!r} can't name a feature list", hint="letters, digits, '-', '_' and '.'")
    return name


def read_list(competition: Competition, name: str, *, where: str = "") -> FeatureList:
    """Read a list by name.

    Parameters
    ----------
    where : str
        The file that names the list, for errors.

    Raises
    ------
    NotFoundError
        For an unknown name; the hint has similar names.
    ConfigError
        When the file is not a list.
    """
    prefix = f"{where}: " if where else ""
    names = competition.paths.selection_names()
    if name not in names:
        hint = did_you_mean(name, names, kind="list")
        if not names:
            hint = "`wb select N` makes one"
        raise NotFoundError(
            f"{prefix}features = {name!r} names a feature list, and {competition.paths.selection(name)} is missing",
            hint=f'{hint}; a single feature is written as a list: ["{name}"]',
        )
    path = competition.paths.selection(name)
    file = validate(_ListFile, read_toml(path), path)
    repeated = [v for v in file.features if file.features.count(v) > 1]
    if repeated:
        raise ConfigError(f"{path}: features lists {repeated[0]!r} more than once", hint="once is enough")
    return FeatureList(tuple(file.features), file.title, file.made, file.scores, file.kept, file.dropped, file.best)


def write_list(path: Path, feature_list: FeatureList) -> None:
    """Write a list atomically."""
    write_text(path, as_toml(feature_list))


def as_toml(feature_list: FeatureList) -> str:
    """Return a list as the text of its file.

    Examples
    --------
    >>> print(as_toml(FeatureList(("rows.x", "weather"), "two", kept={"x": {"gain": 1.5}})))
    title = "two"
    features = [
        "rows.x",
        "weather",
    ]
    <BLANKLINE>
    [kept]
    x = { gain = 1.5 }
    <BLANKLINE>
    """
    lines = [f"title = {_toml_value(feature_list.title)}", *_array_lines("features", feature_list.features)]
    content = {"content": content_key("feature-list", list(feature_list.features))} if feature_list.made else {}
    for table, values in (
        ("made", feature_list.made | content),
        ("scores", feature_list.scores),
        ("kept", feature_list.kept),
        ("dropped", feature_list.dropped),
        ("best", feature_list.best),
    ):
        if values:
            lines += ["", f"[{table}]"]
            for key, value in values.items():
                long = table == "best" and isinstance(value, list | tuple)
                lines += _array_lines(key, value) if long else [f"{toml_key(key)} = {_toml_value(value)}"]
    return "\n".join(lines) + "\n"


def _array_lines(key: str, values: Sequence[Any]) -> list[str]:
    return [f"{toml_key(key)} = [", *(f"    {_toml_value(v)}," for v in values), "]"]


def _toml_value(value: Any) -> str:
    """Return a value as TOML, with bare keys and dates."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        inner = ", ".join(f"{toml_key(k)} = {_toml_value(v)}" for k, v in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return in_toml(value)
