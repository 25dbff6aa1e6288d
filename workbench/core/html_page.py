"""Self-contained HTML pages, which load nothing from other places and run no scripts but the workbench's own.

Each page has a Content-Security-Policy, so that a script that got past the escaping would not run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from workbench.core.printable import printable, without_harmful

__all__ = ["as_html", "as_table", "page", "rendered"]

_NO_SCRIPT_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data:"
_OWN_SCRIPT_POLICY = f"{_NO_SCRIPT_POLICY} blob:; font-src data:; script-src 'unsafe-inline'"


def as_html(text: object) -> str:
    r"""Return a text escaped for HTML, without control characters.

    Examples
    --------
    >>> as_html("a <b> & \x1b[31m'c'")
    'a &lt;b&gt; &amp; &#x27;c&#x27;'
    """
    return escape(printable(str(text)))


def rendered(template: Path, values: Mapping[str, Any], *, pictures: Mapping[str, str | Sequence[str]]) -> str:
    """Return a rendered jinja2 template.

    Parameters
    ----------
    template : Path
        Values in it are escaped, and control characters are removed.
    values : mapping
        Name in the template -> value.
    pictures : mapping
        Name in the template -> HTML, or several pieces of it, inserted without escaping.
    """
    import jinja2
    from markupsafe import Markup

    def finalize(value: object) -> object:
        return value if isinstance(value, Markup) else printable(str(value))

    environment = jinja2.Environment(
        autoescape=True, finalize=finalize, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    markup = {
        name: Markup(html) if isinstance(html, str) else [Markup(part) for part in html]  # noqa: S704
        for name, html in pictures.items()
    }
    return environment.from_string(template.read_text(encoding="utf-8")).render(**values, **markup)


def as_table(head: Sequence[object], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """Return an HTML table for a notebook: cells are escaped, long text is wrapped, numbers are aligned to the right.

    Examples
    --------
    >>> as_table(["<a>"], [[None]], caption="c").count("&lt;a&gt;")
    1
    """
    wrap = "max-width:36em;white-space:normal;overflow-wrap:anywhere;vertical-align:top"

    def cell(tag: str, value: object) -> str:
        alignment = "right" if isinstance(value, int | float) else "left"
        text = "" if value is None else f"{value:,.5f}" if isinstance(value, float) else str(value)
        return f'<{tag} style="text-align:{alignment};{wrap}">{as_html(text)}</{tag}>'

    row_cells = ["".join(cell("th", title) for title in head)] if head else []
    row_cells += ["".join(cell("td", value) for value in row) for row in rows]
    caption_html = f'<caption style="text-align:left">{as_html(caption)}</caption>' if caption else ""
    return f"<table>{caption_html}{''.join(f'<tr>{cells}</tr>' for cells in row_cells)}</table>"


def page(title: str, body: str, *, css: str = "", own_script: bool = False) -> str:
    """Return an HTML document with a Content-Security-Policy.

    Parameters
    ----------
    title : str
        Plain text.
    body : str
        HTML.
    css : str
    own_script : bool
        Whether scripts in the body may run. Only for a body made by the workbench or a library, with all data escaped.
    """
    policy = _OWN_SCRIPT_POLICY if own_script else _NO_SCRIPT_POLICY
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"/>\n'
        '<meta name="referrer" content="no-referrer"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{as_html(title)}</title>\n<style>{css}</style>\n</head>\n"
        f"<body>\n{body if own_script else without_harmful(body)}\n</body>\n</html>\n"
    )
