"""How every plot looks: colours, fonts, axes. matplotlib is loaded when the first one is drawn."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

__all__ = ["EAST_ASIAN_FONTS", "MUTED", "PRIMARY", "SECONDARY", "east_asian_families", "plot_style", "style"]

PRIMARY, SECONDARY, MUTED = "#2f6fab", "#c2662d", "#9aa5b1"
"""Told apart without seeing red and green: the run or the train rows, what they are held against, what is behind."""

EAST_ASIAN_FONTS = (
    # Hangul, each of them with most Chinese characters
    ("Noto Sans CJK KR", "Noto Sans KR", "Source Han Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", "NanumGothic"),
    # Kana, with Japanese forms
    ("Noto Sans CJK JP", "Noto Sans JP", "Source Han Sans JP", "Hiragino Sans", "Yu Gothic", "IPAexGothic"),
    # Simplified and traditional Chinese
    ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei"),
)
"""For letters that DejaVu Sans lacks, the usual fonts of Debian, macOS and Windows; the first of each script is used.

matplotlib takes a letter from the first family in the list that has it:
https://matplotlib.org/stable/users/explain/text/fonts.html#font-fallback
"""


@cache
def east_asian_families() -> list[str]:
    """Return the installed ones of `EAST_ASIAN_FONTS`, the first of each script."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    # Its list is cached from when matplotlib first ran, maybe before a font was installed.
    listed = {entry.fname for entry in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in listed:
            with suppress(OSError, RuntimeError):  # not every file in those folders is a font that it can read
                fontManager.addfont(path)
    installed = {entry.name for entry in fontManager.ttflist}
    families = (next((name for name in script if name in installed), None) for script in EAST_ASIAN_FONTS)
    return list(dict.fromkeys(name for name in families if name))


def style() -> Any:
    """Return matplotlib's settings (`rcParams`) for all plots."""
    from cycler import cycler

    return {
        "font.family": ["sans-serif", *east_asian_families()],
        "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
        "axes.prop_cycle": cycler(color=[PRIMARY, SECONDARY, MUTED]),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": MUTED,
        "axes.linewidth": 0.7,
        "xtick.color": "#444",
        "ytick.color": "#444",
        "legend.frameon": False,
        "svg.fonttype": "none",  # text stays text, in the reader's fonts
        "text.parse_math": False,  # a name with dollar signs is no formula
    }


@contextmanager
def plot_style(**settings: Any) -> Iterator[None]:
    """Draw in this style for the length of the block; `settings` are added, an underscore for a dot."""
    import matplotlib as mpl

    # Fonts of other scripts often have no bold; which one is taken then is no news to the user.
    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    fonts.setLevel(logging.ERROR)
    try:
        with mpl.rc_context(style() | {name.replace("_", "."): value for name, value in settings.items()}):
            yield
    finally:
        fonts.setLevel(level)
