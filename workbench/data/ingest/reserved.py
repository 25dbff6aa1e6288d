"""Rename columns whose names the workbench uses internally."""

from __future__ import annotations

import re
from collections.abc import Iterable

from workbench.data.inference.tables import sample_score

__all__ = ["RESERVED", "renamed_notes", "safe_names"]

RESERVED = re.compile(
    r"__(row|part|order\d*|group|of|value|text|time|line|item|column|count|event|moment|shown|test|key_?\d+_*|"
    r"(value|count|value_of|count_of|sum|mean|std)_.*)__"
)
"""The row key, and the temporary columns that computing features adds to a table."""


def safe_names(table: str, columns: Iterable[str]) -> dict[str, str]:
    """Return new names by the old ones, for the columns with reserved names; a sample submission keeps its header.

    Examples
    --------
    >>> safe_names("train", ["id", "__row__", "__row___", "__index_level_0__"])
    {'__row__': '__row____'}
    """
    if sample_score(table):
        return {}
    used_names = list(columns)
    new_names = {}
    for column in [c for c in used_names if RESERVED.fullmatch(c)]:
        new_name = f"{column}_"
        while new_name in used_names:
            new_name += "_"
        new_names[column] = new_name
        used_names.append(new_name)
    return new_names


def renamed_notes(columns: Iterable[str]) -> dict[str, str]:
    """Return notes by column for the columns that have another name than in their file.

    Examples
    --------
    >>> renamed_notes(["id", "__row___"])
    {'__row___': "what the file calls '__row__', a name that the workbench uses itself"}
    """
    notes = {}
    for column in columns:
        match = re.fullmatch(r"(__.*[^_]__)_+", column)
        if match and RESERVED.fullmatch(match[1]):
            notes[column] = f"what the file calls {match[1]!r}, a name that the workbench uses itself"
    return notes
