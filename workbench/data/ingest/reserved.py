"""Columns of a file whose names the workbench uses itself: they get another one, which is said."""

from __future__ import annotations

import re
from collections.abc import Iterable

from workbench.data.inference.tables import sample_score

__all__ = ["RESERVED", "renamed_notes", "safe_names"]

RESERVED = re.compile(
    r"__(row|part|order\d*|group|of|value|text|time|line|item|column|count|event|moment|shown|test|key_?\d+_*|"
    r"(value|count|value_of|count_of|sum|mean|std)_.*)__"
)
"""The row key, and what stands beside a table's own columns while features are computed."""


def safe_names(table: str, columns: Iterable[str]) -> dict[str, str]:
    """Return the new names of a table's columns, by the names in its file; a sample submission keeps its header.

    Examples
    --------
    >>> safe_names("train", ["id", "__row__", "__row___", "__index_level_0__"])
    {'__row__': '__row____'}
    """
    if sample_score(table):
        return {}
    taken = list(columns)
    names = {}
    for column in [c for c in taken if RESERVED.fullmatch(c)]:
        name = f"{column}_"
        while name in taken:
            name += "_"
        names[column] = name
        taken.append(name)
    return names


def renamed_notes(columns: Iterable[str]) -> dict[str, str]:
    """Return what is to be said of the columns that have another name than in their file.

    Examples
    --------
    >>> renamed_notes(["id", "__row___"])
    {'__row___': "what the file calls '__row__', a name that the workbench uses itself"}
    """
    notes = {}
    for column in columns:
        named = re.fullmatch(r"(__.*[^_]__)_+", column)
        if named and RESERVED.fullmatch(named[1]):
            notes[column] = f"what the file calls {named[1]!r}, a name that the workbench uses itself"
    return notes
