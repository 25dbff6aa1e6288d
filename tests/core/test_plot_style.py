"""The style of all plots: letters of other scripts are drawn where a font has them, and names are no formulas."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pytest

from tests.needs import skip_unless
from workbench.core.plot_style import east_asian_families, plot_style


@pytest.fixture
def _families_anew():
    east_asian_families.cache_clear()
    yield
    east_asian_families.cache_clear()


def drawn(title: str) -> list[str]:
    """Draw a title and return what matplotlib warns of."""
    from matplotlib.figure import Figure

    with plot_style(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure = Figure()
        figure.subplots().set_title(title)
        figure.savefig(io.BytesIO(), format="png")
    return [str(w.message) for w in caught]


def test_letters_of_east_asian_scripts_are_drawn_where_a_font_has_them() -> None:
    skip_unless(len(east_asian_families()) == 3, "fonts", "for Hangul, Japanese and Chinese")
    assert drawn("서울 나이") == drawn("東京 かな") == drawn("价格") == []


@pytest.mark.usefixtures("_families_anew")
def test_the_first_installed_font_of_each_script_is_taken(monkeypatch) -> None:
    fonts = (("No such font", "STIXGeneral", "cmr10"), ("No such font",), ("cmtt10",), ("STIXGeneral",))
    monkeypatch.setattr("workbench.core.plot_style.EAST_ASIAN_FONTS", fonts)
    assert east_asian_families() == ["STIXGeneral", "cmtt10"]
    with plot_style():
        import matplotlib as mpl

        assert mpl.rcParams["font.family"] == ["sans-serif", "STIXGeneral", "cmtt10"]


@pytest.mark.usefixtures("_families_anew")
def test_a_font_that_is_newer_than_matplotlibs_list_is_known(monkeypatch, tmp_path: Path) -> None:
    from matplotlib import font_manager

    manager = font_manager.fontManager
    (path,) = (Path(e.fname) for e in manager.ttflist if e.name == "STIXSizeOneSym" and e.weight == 400)
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr(manager, "ttflist", [e for e in manager.ttflist if e.name != "STIXSizeOneSym"])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "broken.ttf"), str(path)])
    monkeypatch.setattr("workbench.core.plot_style.EAST_ASIAN_FONTS", (("STIXSizeOneSym",),))
    assert east_asian_families() == ["STIXSizeOneSym"]


def test_the_style_ends_with_its_block_and_takes_settings() -> None:
    import matplotlib as mpl

    before = mpl.rcParams.copy()
    with plot_style(font_size=5, svg_hashsalt="a"):
        assert (mpl.rcParams["font.size"], mpl.rcParams["svg.hashsalt"]) == (5, "a")
        assert not mpl.rcParams["text.parse_math"]
    assert {k: v for k, v in mpl.rcParams.items() if k != "backend"} == {
        k: v for k, v in before.items() if k != "backend"
    }


def test_a_name_with_dollar_signs_is_no_formula() -> None:
    assert drawn(r"$\nonsense{$") == []
