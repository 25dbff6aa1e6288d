"""Numbers with their nouns in messages."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return a number with a noun, or with a noun and its verb, in the singular for 1.

    Parameters
    ----------
    number : int
    singular : str
    plural : str, optional
        By default the singular with an s.

    Examples
    --------
    >>> counted(1, "row"), counted(0, "row"), counted(12_000, "row")
    ('1 row', '0 rows', '12,000 rows')
    >>> counted(1, "row repeats an id", "rows repeat an id"), counted(2, "category", "categories")
    ('1 row repeats an id', '2 categories')
    """
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
