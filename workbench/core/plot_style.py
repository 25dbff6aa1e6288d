"""The style of all plots: colours, fonts, axes. matplotlib is imported when the first plot is drawn."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

__all__ = ["EAST_ASIAN_FONTS", "MUTED", "PRIMARY", "SECONDARY", "east_asian_families", "plot_style", "style"]

PRIMARY, SECONDARY, MUTED = "#2f6fab", "#c2662d", "#9aa5b1"
"""Colours that red-green colour-blind readers can tell apart: the run or the train rows, what they are compared with,
and the background."""

EAST_ASIAN_FONTS = (
    # Hangul, each of them with most Chinese characters
    ("Noto Sans CJK KR", "Noto Sans KR", "Source Han Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", "NanumGothic"),
    # Kana, with Japanese forms
    ("Noto Sans CJK JP", "Noto Sans JP", "Source Han Sans JP", "Hiragino Sans", "Yu Gothic", "IPAexGothic"),
    # Simplified and traditional Chinese
    ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei"),
)
"""The usual fonts of Debian, macOS and Windows for characters that DejaVu Sans lacks, by script.

matplotlib takes a character from the first font family in a list that has it:
https://matplotlib.org/stable/users/explain/text/fonts.html#font-fallback
"""


@cache
def east_asian_families() -> list[str]:
    """Return the first installed font of each script in `EAST_ASIAN_FONTS`."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    # matplotlib caches its list of fonts, which may be older than an installed font.
    listed = {entry.fname for entry in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in listed:
            with suppress(OSError, RuntimeError):  # matplotlib can't read every font
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
        "svg.fonttype": "none",  # keep text as text
        "text.parse_math": False,  # column names may contain dollar signs
    }


@contextmanager
def plot_style(**settings: Any) -> Iterator[None]:
    """Use the style within the block; `settings` are further rcParams, with underscores instead of dots."""
    import matplotlib as mpl

    # Many fonts have no bold variant, and matplotlib would warn about that.
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with mpl.rc_context(style() | {name.replace("_", "."): value for name, value in settings.items()}):
            yield
    finally:
        logger.setLevel(level)
