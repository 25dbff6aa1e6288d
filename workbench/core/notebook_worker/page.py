"""The page of an executed notebook: its texts, tables and pictures, and nothing that runs or is loaded.

A notebook may come from somebody else, and what it shows comes from data. Whatever nbconvert makes of it, the whole
body passes one list of what may occur in it. Scripts, frames, styles and widgets are left out, and the page says so:
the executed notebook beside it has them.
"""

from __future__ import annotations

import importlib
import re
import warnings
from typing import Any
from xml.parsers import expat

from workbench.core.html_page import as_html, page

__all__ = ["draws_only", "notebook_page", "sanitised", "without_raw"]

SHOWN = ("image/png", "image/jpeg", "image/svg+xml", "text/html", "text/markdown", "text/latex", "text/plain")

TAGS = (  # noqa: SIM905 a column of names is not read better
    "a abbr b blockquote br caption code col colgroup dd del details dfn div dl dt em figcaption figure h1 h2 h3 h4 h5 "
    "h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr "
    "u ul var"
).split()
ATTRIBUTES = {"*": ["class", "title", "align", "style", "id"], "td": ["colspan", "rowspan"], "ol": ["start"]}
ATTRIBUTES |= {"th": ATTRIBUTES["td"] + ["scope"], "details": ["open"], "table": ["border"]}

PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|svg\+xml);base64,[A-Za-z0-9+/=\s]*")
"""The only address of a picture: in a picture nothing runs, and nothing is loaded."""

RAW = re.compile(r"<(script|style|template|noscript)\b", re.IGNORECASE)
"""What is no text to be read. Its content would be shown; that it is gone is nothing that safety rests on."""

ACTIVE = re.compile(r"<(?:script|iframe|object|embed)\b", re.IGNORECASE)

SVG, XHTML = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"

DRAWN = (  # noqa: SIM905 as above
    "svg g path rect circle ellipse line polyline polygon text tspan textPath defs clipPath use symbol marker stop "
    "switch linearGradient radialGradient pattern mask title desc metadata style image view filter feBlend "
    "feColorMatrix feComponentTransfer feComposite feConvolveMatrix feDiffuseLighting feDisplacementMap feDistantLight "
    "feDropShadow feFlood feFuncA feFuncB feFuncG feFuncR feGaussianBlur feMerge feMergeNode feMorphology feOffset "
    "fePointLight feSpecularLighting feSpotLight feTile feTurbulence"
).split()

LOADS = re.compile(r"@import|\\|(?:src|image-set)\s*\(|url\s*\(\s*(?![\s\"']*#)", re.IGNORECASE)
"""What style is loaded by; a backslash spells it otherwise."""

OWN_PICTURE = re.compile(r"\s*(?:#|data:image/(?:png|jpeg|gif)[;,])", re.IGNORECASE)

CSS = """
body { margin: 0 auto; max-width: 1080px; padding: 20px 24px 60px; background: #fff; color: #1d2733;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 25px; } h2 { font-size: 19px; margin-top: 36px; } h3 { font-size: 16px; }
img { max-width: 100%; height: auto; } p, li { max-width: 90ch; } a { color: #2f6fab; }
pre { overflow-x: auto; white-space: pre-wrap; overflow-wrap: break-word; margin: 6px 0; font-size: 13px; }
pre, code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; }
code { background: #f5f7f9; border-radius: 3px; padding: 1px 3px; } pre code { background: none; padding: 0; }
table { border-collapse: collapse; font-size: 13px; margin: 8px 0; border: 0; }
th, td { padding: 4px 10px; text-align: right; border: 0; border-bottom: 1px solid #dde2e8; white-space: pre-wrap; }
.highlight { background: #f5f7f9; border: 1px solid #dde2e8; border-radius: 4px; padding: 4px 10px; margin: 8px 0; }
.output_subarea { overflow-x: auto; } .output_stderr { background: #fdf3f2; padding: 1px 8px; }
.output_error { background: #fdf3f2; border-left: 3px solid #b3261e; padding: 1px 10px; }
.prompt, .anchor-link { display: none; } .left-out { color: #667; font-size: 13px; }
.ansi-red-fg { color: #b3261e; } .ansi-green-fg { color: #1b7a3d; } .ansi-yellow-fg { color: #8a5a00; }
.ansi-blue-fg { color: #2f6fab; } .ansi-magenta-fg { color: #8a3d8f; } .ansi-cyan-fg { color: #14737b; }
.ansi-bold { font-weight: bold; }
"""


def notebook_page(node: Any, *, title: str, with_code: bool) -> str:
    """Return the page of an executed notebook.

    Parameters
    ----------
    node : NotebookNode
        It is not changed.
    title : str
    with_code : bool
        Whether the cells' code is shown beside what they put out.
    """
    nbconvert: Any = importlib.import_module("nbconvert")
    styles: Any = importlib.import_module("pygments.formatters")

    shown, left_out = _shown(node)
    exporter = nbconvert.HTMLExporter(
        template_name="basic", exclude_input=not with_code, exclude_input_prompt=True, exclude_output_prompt=True
    )
    # Of math its source is shown; nbconvert's own way to it is a script from elsewhere.
    body, _ = exporter.from_notebook_node(shown)
    note = ""
    if left_out:
        omitted = "1 output that is a program" if left_out == 1 else f"{left_out} outputs that are programs"
        note = f'<p class="left-out">{as_html(omitted)} (scripts, widgets, frames): not in this page</p>\n'
    code_css = styles.HtmlFormatter().get_style_defs(".highlight") if with_code else ""
    return page(title, note + sanitised(body), css=CSS + code_css)


def sanitised(html: str) -> str:
    """Return HTML with what shows something, and without what does something.

    Examples
    --------
    >>> sanitised('<b onclick="x()">a</b><script>b()</script><img src="http://c/"><a href="javascript:d">e</a>')
    '<b>a</b><img><a>e</a>'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bleach: Any = importlib.import_module("bleach")
        css: Any = importlib.import_module("bleach.css_sanitizer")

    def picture(_tag: str, name: str, value: str) -> bool:
        return name in ("alt", "width", "height", "class", "title") or (
            name == "src" and PICTURE.fullmatch(value) is not None
        )

    def link(_tag: str, name: str, value: str) -> bool:
        return name in ("class", "title") or (name == "href" and not value.strip().lower().startswith("data:"))

    return str(
        bleach.clean(
            without_raw(html),
            tags=TAGS,
            attributes={**ATTRIBUTES, "a": link, "img": picture},
            protocols=["http", "https", "mailto", "data"],
            css_sanitizer=css.CSSSanitizer(),
            strip=True,
        )
    )


def draws_only(svg: str) -> bool:
    """Tell whether a drawing runs and loads nothing, where it is opened by itself: no page around it forbids it.

    Examples
    --------
    >>> start = '<svg xmlns="http://www.w3.org/2000/svg">'
    >>> draws_only(f'{start}<path d="M0 0"/></svg>'), draws_only(f"{start}<script>alert(1)</script></svg>")
    (True, False)
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    texts: list[str] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        # Elements of other vocabularies, as in the metadata, do nothing.
        if space == XHTML or (space == SVG and local not in DRAWN):
            raise ValueError(name)
        for attribute, value in attributes.items():
            is_address = attribute.rpartition(" ")[2] in ("href", "src")
            if attribute.lower().startswith("on") or (is_address and OWN_PICTURE.match(value) is None):
                raise ValueError(attribute)
            if not is_address:
                texts.append(value)

    def refuse(*_: object) -> None:
        raise ValueError("it names what is elsewhere")

    parser.StartElementHandler, parser.CharacterDataHandler = begin, texts.append
    parser.ProcessingInstructionHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(svg, True)
    except (expat.ExpatError, ValueError):
        return False
    return LOADS.search("".join(texts)) is None


def without_raw(html: str) -> str:
    """Leave out what is no text, from its tag to the one that ends it, in a time that grows with the length alone.

    Examples
    --------
    >>> without_raw("a<style>b</style >c<script>d<script>e</SCRIPT>f<script>g")
    'acf<script>g'
    """
    clean_parts, at, look_at, endless = [], 0, 0, set[str]()
    while begin := RAW.search(html, look_at):
        name = begin[1].lower()
        look_at = begin.end()
        if name in endless:
            continue
        end = re.compile(rf"</{name}\s*>", re.IGNORECASE).search(html, look_at)
        if end is None:
            # There is none further on either: it is looked for once.
            endless.add(name)
            continue
        clean_parts.append(html[at : begin.start()])
        at = look_at = end.end()
    return "".join([*clean_parts, html[at:]])


def _shown(node: Any) -> tuple[Any, int]:
    """Return a copy with the outputs that a page can show, and how many it can't."""
    nbformat: Any = importlib.import_module("nbformat")

    copy = nbformat.from_dict({**node, "metadata": {}, "cells": [], "nbformat": 4, "nbformat_minor": 5})
    left_out = 0
    for number, cell in enumerate(node.cells):
        if cell.cell_type == "raw":
            continue
        cell_copy = nbformat.from_dict({**cell, "metadata": {}, "id": f"{number}"})
        for output in cell_copy.get("outputs", []):
            if "data" not in output:
                continue
            output.metadata = nbformat.from_dict({})
            kinds = {kind: content for kind, content in output.data.items() if kind in SHOWN}
            is_active = bool(ACTIVE.search("".join(kinds.get("text/html", ""))))
            left_out += is_active or (not kinds and bool(output.data))
            output.data = nbformat.from_dict(kinds)
        if "outputs" in cell_copy:
            cell_copy.outputs = [output for output in cell_copy.outputs if output.get("data", True)]
        copy.cells.append(cell_copy)
    return copy, left_out
