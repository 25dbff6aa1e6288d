"""The HTML page of an executed notebook: texts, tables and pictures, without anything that runs or loads.

Notebooks and their outputs are untrusted. The output of nbconvert is therefore sanitized with a list of allowed tags
and attributes. Scripts, frames, styles and widgets are removed with a note in the page; the executed notebook next to
it still has them.
"""

from __future__ import annotations

import importlib
import re
import warnings
from typing import Any
from xml.parsers import expat

from workbench.core.html_page import as_html, page

__all__ = ["is_safe_svg", "notebook_page", "remove_raw_elements", "sanitize"]

SHOWN_TYPES = ("image/png", "image/jpeg", "image/svg+xml", "text/html", "text/markdown", "text/latex", "text/plain")

ALLOWED_TAGS = (  # noqa: SIM905 a list of strings would be less readable
    "a abbr b blockquote br caption code col colgroup dd del details dfn div dl dt em figcaption figure h1 h2 h3 h4 h5 "
    "h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr "
    "u ul var"
).split()
ALLOWED_ATTRIBUTES = {"*": ["class", "title", "align", "style", "id"], "td": ["colspan", "rowspan"], "ol": ["start"]}
ALLOWED_ATTRIBUTES |= {"th": ALLOWED_ATTRIBUTES["td"] + ["scope"], "details": ["open"], "table": ["border"]}

DATA_URL = re.compile(r"data:image/(?:png|jpeg|gif|svg\+xml);base64,[A-Za-z0-9+/=\s]*")
"""The only allowed source of an <img>, in which nothing runs or is loaded."""

RAW_TAG = re.compile(r"<(script|style|template|noscript)\b", re.IGNORECASE)
"""Elements whose content would be shown as text when their tags are removed. Safety does not depend on this."""

ACTIVE_TAG = re.compile(r"<(?:script|iframe|object|embed)\b", re.IGNORECASE)

SVG, XHTML = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"

SVG_ELEMENTS = (  # noqa: SIM905 as above
    "svg g path rect circle ellipse line polyline polygon text tspan textPath defs clipPath use symbol marker stop "
    "switch linearGradient radialGradient pattern mask title desc metadata style image view filter feBlend "
    "feColorMatrix feComponentTransfer feComposite feConvolveMatrix feDiffuseLighting feDisplacementMap feDistantLight "
    "feDropShadow feFlood feFuncA feFuncB feFuncG feFuncR feGaussianBlur feMerge feMergeNode feMorphology feOffset "
    "fePointLight feSpecularLighting feSpotLight feTile feTurbulence"
).split()

LOADING_STYLE = re.compile(r"@import|\\|(?:src|image-set)\s*\(|url\s*\(\s*(?![\s\"']*#)", re.IGNORECASE)
"""CSS that loads resources; a backslash could disguise it."""

LOCAL_REFERENCE = re.compile(r"\s*(?:#|data:image/(?:png|jpeg|gif)[;,])", re.IGNORECASE)

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
        Not modified.
    title : str
    with_code : bool
        Whether to show the code of the cells as well as their outputs.
    """
    nbconvert: Any = importlib.import_module("nbconvert")
    styles: Any = importlib.import_module("pygments.formatters")

    copy, n_removed = _showable_copy(node)
    exporter = nbconvert.HTMLExporter(
        template_name="basic", exclude_input=not with_code, exclude_input_prompt=True, exclude_output_prompt=True
    )
    # Math is shown as its source: nbconvert would render it with a remote script.
    body, _ = exporter.from_notebook_node(copy)
    note = ""
    if n_removed:
        omitted = "1 output with a script" if n_removed == 1 else f"{n_removed} outputs with scripts"
        note = f'<p class="left-out">{as_html(omitted)} (scripts, widgets, frames): not in this page</p>\n'
    code_css = styles.HtmlFormatter().get_style_defs(".highlight") if with_code else ""
    return page(title, note + sanitize(body), css=CSS + code_css)


def sanitize(html: str) -> str:
    """Return HTML with only the allowed tags and attributes.

    Examples
    --------
    >>> sanitize('<b onclick="x()">a</b><script>b()</script><img src="http://c/"><a href="javascript:d">e</a>')
    '<b>a</b><img><a>e</a>'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bleach: Any = importlib.import_module("bleach")
        css: Any = importlib.import_module("bleach.css_sanitizer")

    def is_image_attribute(_tag: str, name: str, value: str) -> bool:
        return name in ("alt", "width", "height", "class", "title") or (
            name == "src" and DATA_URL.fullmatch(value) is not None
        )

    def is_link_attribute(_tag: str, name: str, value: str) -> bool:
        return name in ("class", "title") or (name == "href" and not value.strip().lower().startswith("data:"))

    return str(
        bleach.clean(
            remove_raw_elements(html),
            tags=ALLOWED_TAGS,
            attributes={**ALLOWED_ATTRIBUTES, "a": is_link_attribute, "img": is_image_attribute},
            protocols=["http", "https", "mailto", "data"],
            css_sanitizer=css.CSSSanitizer(),
            strip=True,
        )
    )


def is_safe_svg(svg: str) -> bool:
    """Tell whether an SVG file runs and loads nothing when a browser opens it directly.

    Examples
    --------
    >>> start = '<svg xmlns="http://www.w3.org/2000/svg">'
    >>> is_safe_svg(f'{start}<path d="M0 0"/></svg>'), is_safe_svg(f"{start}<script>alert(1)</script></svg>")
    (True, False)
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    texts: list[str] = []

    def check_element(name: str, attributes: dict[str, str]) -> None:
        namespace, _, local_name = name.rpartition(" ")
        # Elements of other vocabularies, as in the metadata, have no effect.
        if namespace == XHTML or (namespace == SVG and local_name not in SVG_ELEMENTS):
            raise ValueError(name)
        for attribute, value in attributes.items():
            is_reference = attribute.rpartition(" ")[2] in ("href", "src")
            if attribute.lower().startswith("on") or (is_reference and LOCAL_REFERENCE.match(value) is None):
                raise ValueError(attribute)
            if not is_reference:
                texts.append(value)

    def refuse(*_: object) -> None:
        raise ValueError("a processing instruction or entity may refer to other files")

    parser.StartElementHandler, parser.CharacterDataHandler = check_element, texts.append
    parser.ProcessingInstructionHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(svg, True)
    except (expat.ExpatError, ValueError):
        return False
    return LOADING_STYLE.search("".join(texts)) is None


def remove_raw_elements(html: str) -> str:
    """Remove scripts, styles and the like with their content, in linear time.

    Examples
    --------
    >>> remove_raw_elements("a<style>b</style >c<script>d<script>e</SCRIPT>f<script>g")
    'acf<script>g'
    """
    clean_parts, part_start, position, unclosed_tags = [], 0, 0, set[str]()
    while opening := RAW_TAG.search(html, position):
        tag = opening[1].lower()
        position = opening.end()
        if tag in unclosed_tags:
            continue
        closing = re.compile(rf"</{tag}\s*>", re.IGNORECASE).search(html, position)
        if closing is None:
            unclosed_tags.add(tag)
            continue
        clean_parts.append(html[part_start : opening.start()])
        part_start = position = closing.end()
    return "".join([*clean_parts, html[part_start:]])


def _showable_copy(node: Any) -> tuple[Any, int]:
    """Return a copy with the outputs that a page can show, and the number of outputs that it can't."""
    nbformat: Any = importlib.import_module("nbformat")

    copy = nbformat.from_dict({**node, "metadata": {}, "cells": [], "nbformat": 4, "nbformat_minor": 5})
    n_removed = 0
    for number, cell in enumerate(node.cells):
        if cell.cell_type == "raw":
            continue
        cell_copy = nbformat.from_dict({**cell, "metadata": {}, "id": f"{number}"})
        for output in cell_copy.get("outputs", []):
            if "data" not in output:
                continue
            output.metadata = nbformat.from_dict({})
            shown_data = {kind: content for kind, content in output.data.items() if kind in SHOWN_TYPES}
            is_active = bool(ACTIVE_TAG.search("".join(shown_data.get("text/html", ""))))
            n_removed += is_active or (not shown_data and bool(output.data))
            output.data = nbformat.from_dict(shown_data)
        if "outputs" in cell_copy:
            cell_copy.outputs = [output for output in cell_copy.outputs if output.get("data", True)]
        copy.cells.append(cell_copy)
    return copy, n_removed
