"""Keys (ids, users, items and codes), which are compared but never computed with, and so keep their spelling."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import polars as pl

from workbench.data.inference.tables import normalized

__all__ = ["CANONICAL", "NO_KEYS", "SHORT_INTEGER", "KeyKind", "Keys", "is_numeric", "name_of"]

KeyKind = Literal["", "code", "key"]
"""How far the spelling of a column matters: "" not at all; "code" as far as a number would merge two values;
"key" completely."""

CANONICAL = r"^(0|-?[1-9]\d*)$"
"""An integer as every program writes it."""

SHORT_INTEGER = r"^(0|-?[1-9]\d{0,14})$"
"""An integer that a 64-bit float holds exactly."""

_CODE = re.compile(r"(^|[_\W])(ids?|uuid|guid|codes?|sku|ean|upc|isbn|zip|zipcode|postcode|version)$", re.IGNORECASE)
_CODE_IN_CAMEL_CASE = re.compile(r"[a-z](Id|ID|Code|Version|Sku|SKU)$")


@lru_cache(1 << 16)
def name_of(column: str) -> str:
    """Return the normalized name of a key, which is equal for `user_id`, `UserID` and `userId`."""
    return normalized(column) or column


@dataclass(frozen=True)
class Keys:
    """The keys of a competition's files, by column.

    Attributes
    ----------
    names : frozenset of str
        The keys' names by `name_of`: the sample's ids, and users, items and event types of a log, in all files.
    codes : frozenset of str
        Columns of codes, in addition to those that have the name of one.
    as_text : frozenset of str
        The names, by `name_of`, of columns that are text in all files because some value is not spelled as a number.
    """

    names: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    as_text: frozenset[str] = frozenset()

    def kind(self, column: str) -> KeyKind:
        """Return how far the spelling of a column matters."""
        if name_of(column) in self.names:
            return "key"
        is_code = column in self.codes or _CODE.search(column) or _CODE_IN_CAMEL_CASE.search(column)
        return "code" if is_code else ""

    def is_text(self, column: str) -> bool:
        """Tell whether a key or code is text because of another file, even if this file only has numbers."""
        return name_of(column) in self.as_text and bool(self.kind(column))

    def naming(self, columns: Iterable[str]) -> Keys:
        """Return the keys with further columns."""
        return replace(self, names=self.names | {name_of(c) for c in columns})

    def with_text(self, columns: frozenset[str] | set[str]) -> Keys:
        """Return the keys with further columns that are text in all files."""
        return replace(self, as_text=self.as_text | {name_of(c) for c in columns})


NO_KEYS = Keys()


def is_numeric(dtype: str | pl.DataType) -> bool:
    """Tell whether a type, or the name of one, is numeric or boolean, and so does not keep the spelling."""
    return str(dtype).startswith(("Int", "UInt", "Float", "Decimal", "Boolean"))
