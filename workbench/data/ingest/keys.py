"""Keys: ids, users, items, codes. They are compared and written, never computed with, and so keep their spelling."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from workbench.data.inference.tables import normal

__all__ = ["CANONICAL", "NO_KEYS", "SHORT_INTEGER", "KeyKind", "Keys", "is_numeric", "name_of"]

KeyKind = Literal["", "code", "key"]
"""How far a column's spelling matters: not; against a number that would merge two codes; to the last byte."""

CANONICAL = r"^(0|-?[1-9]\d*)$"
"""A whole number as every program writes it."""

SHORT_INTEGER = r"^(0|-?[1-9]\d{0,14})$"
"""One that is no other as a fraction."""

_CODE = re.compile(r"(^|[_\W])(ids?|uuid|guid|codes?|sku|ean|upc|isbn|zip|zipcode|postcode|version)$", re.IGNORECASE)
_CODE_IN_CAMELS = re.compile(r"[a-z](Id|ID|Code|Version|Sku|SKU)$")


def name_of(column: str) -> str:
    """Return what a key is called whatever the file: `user_id`, `UserID` and `userId` are one."""
    return normal(column) or column


@dataclass(frozen=True)
class Keys:
    """The keys of a competition's files, by column.

    Attributes
    ----------
    names : frozenset of str
        What `name_of` gives for the keys: the sample's ids, and users, items and kinds of a log, in whatever file.
    codes : frozenset of str
        Columns of codes beside those that sound so.
    as_text : frozenset of str
        What `name_of` gives for the columns that a file has in a spelling that is no number's: text in all of them.
    """

    names: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    as_text: frozenset[str] = frozenset()

    def kind(self, column: str) -> KeyKind:
        """Return what a column is."""
        if name_of(column) in self.names:
            return "key"
        is_code = column in self.codes or _CODE.search(column) or _CODE_IN_CAMELS.search(column)
        return "code" if is_code else ""

    def is_text(self, column: str) -> bool:
        """Whether a number in this column would be text in another file."""
        return name_of(column) in self.as_text and bool(self.kind(column))

    def naming(self, columns: Iterable[str]) -> Keys:
        """Return the keys with further ones."""
        return replace(self, names=self.names | {name_of(c) for c in columns})

    def with_text(self, columns: frozenset[str] | set[str]) -> Keys:
        """Return the keys with further ones that are text in all files."""
        return replace(self, as_text=self.as_text | {name_of(c) for c in columns})


NO_KEYS = Keys()


def is_numeric(dtype: str | pl.DataType) -> bool:
    """Whether a type, or the name of one, is a number's or a truth value's, which say nothing of their spelling."""
    return str(dtype).startswith(("Int", "UInt", "Float", "Decimal", "Boolean"))
