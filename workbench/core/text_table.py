"""Aligned columns of text for a terminal, in which some characters, such as Hangul, are two cells wide."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

__all__ = ["cell_width", "fit_text", "text_table"]


def cell_width(text: str) -> int:
    """Return the width of a text in terminal cells.

    Examples
    --------
    >>> cell_width("age"), cell_width("나이")
    (3, 4)
    """
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fit_text(text: str, width: int, *, right: bool = False) -> str:
    """Return a text padded with spaces, or truncated with an ellipsis, to exactly `width` cells.

    Examples
    --------
    >>> fit_text("age", 5), fit_text("age", 5, right=True), fit_text("나이 가격", 6)
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
        All of the same length; the header is a row like the others.
    right : collection of int
        The indices of right-aligned columns.
    gap, indent : str
        The text between two columns, and before the first.
    """
    rows = list(rows)
    widths = [max(map(cell_width, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = (
            fit_text(cell, width, right=i in right) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return (indent + gap.join(cells)).rstrip()

    return [line(row) for row in rows]
