"""Text in columns: aligned by the cells of a terminal, in which letters of Hangul and emoji are two wide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workbench.core.text_table import cell_width, fit_text, text_table

WIDE = [("이름", "점수"), ("baseline", "0.5"), ("가격 ÷ 면적", "0.71"), ("🚀", "1")]


def test_wide_letters_and_emoji_are_aligned() -> None:
    assert text_table(WIDE, right=[1]) == [
        "이름         점수",
        "baseline      0.5",
        "가격 ÷ 면적  0.71",
        "🚀              1",
    ]
    assert {cell_width(line) for line in text_table(WIDE, right=[1])} == {17}


def test_an_indent_a_gap_and_no_rows() -> None:
    assert text_table([("a", "b"), ("cc", "")], gap=" | ", indent="> ") == ["> a  | b", "> cc |"]
    assert text_table([]) == []


@given(st.text("ab가あ漢🚀é ", max_size=12), st.integers(1, 14), st.booleans())
def test_a_fitted_text_takes_exactly_its_width(text: str, width: int, right: bool) -> None:
    line = fit_text(text, width, right=right)
    assert cell_width(line) == width
    assert line.strip().removesuffix("…").strip() in text
    assert ("…" in line) == (cell_width(text) > width)


@given(st.text("abc", max_size=8), st.integers(8, 12))
def test_plain_text_is_padded_on_the_side_that_is_asked_for(text: str, width: int) -> None:
    assert (fit_text(text, width), fit_text(text, width, right=True)) == (text.ljust(width), text.rjust(width))
