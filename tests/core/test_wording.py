"""Numbers with their nouns."""

from __future__ import annotations

import pytest

from workbench.core.wording import counted


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (2, ("row",), "2 rows"),
        (1_234_567, ("row",), "1,234,567 rows"),
        (1, ("category occurs", "categories occur"), "1 category occurs"),
        (7, ("category occurs", "categories occur"), "7 categories occur"),
    ],
)
def test_a_number_with_its_noun(number: int, words: tuple[str, ...], text: str) -> None:
    assert counted(number, *words) == text
