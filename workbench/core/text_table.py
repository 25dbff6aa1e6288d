"""Text in columns for a terminal, aligned by the cells that it takes there: a letter of Hangul takes two."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

__all__ = ["cell_width", "fitted", "text_table"]


def cell_width(text: str) -> int:
    """Return the number of cells that a text takes in a terminal.

    Examples
    --------
    >>> cell_width("age"), cell_width("나이")
    (3, 4)
    """
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """Return a text that takes exactly `width` cells: padded, or cut with an ellipsis.

    Examples
    --------
    >>> fitted("age", 5), fitted("age", 5, right=True), fitted("나이 가격", 6)
    ('age  ', '  age', '나이 …')
    """
    excess = cell_width(text) - width
    if excess > 0:
        from rich.cells import set_cell_size

        return set_cell_size(text, width - 1) + "…"
    return " " * -excess + text if right else text + " " * -excess


def text_table(
    rows: Iterable[Sequence[str]], *, right: Collection[int] = (), gap: str = "  ", indent: str = ""
) -> list[str]:
    """Return rows of cells as lines with aligned columns.

    Parameters
    ----------
    rows : iterable of sequence of str
        The head is one of them; all have as many cells.
    right : collection of int
        The columns that are aligned to the right.
    gap, indent : str
        Between two columns, and before the first.
    """
    rows = list(rows)
    widths = [max(map(cell_width, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = (fitted(cell, width, right=i in right) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        return (indent + gap.join(cells)).rstrip()

    return [line(row) for row in rows]
