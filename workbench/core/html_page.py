"""A self-contained page: one file, which loads nothing from elsewhere and runs nothing that is not ours.

Each page says so to the browser, too (a Content-Security-Policy), so that a text which got past the escaping would
still do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from workbench.core.printable import harmless, printable

__all__ = ["as_html", "as_table", "page", "rendered"]

_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data:"
_OWN_SCRIPT = f"{_NOTHING} blob:; font-src data:; script-src 'unsafe-inline'"


def as_html(text: object) -> str:
    r"""Return a text as HTML that shows it.

    Examples
    --------
    >>> as_html("a <b> & \x1b[31m'c'")
    'a &lt;b&gt; &amp; &#x27;c&#x27;'
    """
    return escape(printable(str(text)))


def rendered(template: Path, values: Mapping[str, Any], *, pictures: Mapping[str, str | Sequence[str]]) -> str:
    """Return what a jinja2 template makes of values.

    Parameters
    ----------
    template : Path
        Every value that it shows is escaped, and what a terminal or a browser would not show is made visible.
    values : mapping
        By their names in the template.
    pictures : mapping
        HTML that is put in as it is: a picture or several of them.
    """
    import jinja2
    from markupsafe import Markup

    def shown(value: object) -> object:
        return value if isinstance(value, Markup) else printable(str(value))

    environment = jinja2.Environment(
        autoescape=True, finalize=shown, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    marked = {
        name: Markup(svg) if isinstance(svg, str) else [Markup(picture) for picture in svg]  # noqa: S704
        for name, svg in pictures.items()
    }
    return environment.from_string(template.read_text()).render(**values, **marked)


def as_table(head: Sequence[object], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """Return a table for a notebook: each cell is shown as its text, long text is wrapped, numbers stand to the right.

    Examples
    --------
    >>> as_table(["<a>"], [[None]], caption="c").count("&lt;a&gt;")
    1
    """
    wrap = "max-width:36em;white-space:normal;overflow-wrap:anywhere;vertical-align:top"

    def cell(tag: str, value: object) -> str:
        side = "right" if isinstance(value, int | float) else "left"
        shown = "" if value is None else f"{value:,.5f}" if isinstance(value, float) else str(value)
        return f'<{tag} style="text-align:{side};{wrap}">{as_html(shown)}</{tag}>'

    lines = ["".join(cell("th", title) for title in head)] if head else []
    lines += ["".join(cell("td", value) for value in row) for row in rows]
    title = f'<caption style="text-align:left">{as_html(caption)}</caption>' if caption else ""
    return f"<table>{title}{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def page(title: str, body: str, *, css: str = "", own_script: bool = False) -> str:
    """Return a page.

    Parameters
    ----------
    title : str
        As text.
    body : str
        As HTML.
    css : str
    own_script : bool
        Whether scripts in the body may run: where all of it is made by us or by a library, and what data it
        has is escaped.
    """
    policy = _OWN_SCRIPT if own_script else _NOTHING
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"/>\n'
        '<meta name="referrer" content="no-referrer"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{as_html(title)}</title>\n<style>{css}</style>\n</head>\n"
        f"<body>\n{body if own_script else harmless(body)}\n</body>\n</html>\n"
    )
