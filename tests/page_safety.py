"""Checks, by an HTML parser, that a page runs no script and loads nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

ACTIVE = {
    "script",
    "iframe",
    "object",
    "embed",
    "frame",
    "base",
    "form",
    "link",
    "applet",
    "audio",
    "video",
    "noscript",
}
ADDRESSES = {"src", "srcset", "poster", "background", "data", "action", "formaction", "xlink:href", "href"}
POLICY = "default-src 'none'"


class _Reader(HTMLParser):
    def __init__(self, own_script: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.own_script, self.faults, self.policy, self.texts, self.in_style = own_script, [], "", [], False

    def handle_starttag(self, tag, attributes):
        given = {name: value or "" for name, value in attributes}
        self.in_style = tag == "style"
        if tag in ACTIVE and not (tag == "script" and self.own_script and "src" not in given):
            self.faults.append(f"<{tag} {given}>")
        if tag == "meta" and given.get("http-equiv", "").lower() == "content-security-policy":
            self.policy = given["content"]
        elif tag == "meta" and given.get("http-equiv"):
            self.faults.append(f"<meta {given}>")
        for name, value in given.items():
            if name.startswith("on"):
                self.faults.append(f"<{tag} {name}={value!r}>")
            address = value.strip().lower()
            if name in ADDRESSES and tag not in ("a",) and not address.startswith(("data:image/", "#")):
                self.faults.append(f"<{tag} {name}={value[:80]!r}> is loaded")
            if name == "href" and tag == "a" and not address.startswith(("http:", "https:", "mailto:", "#")):
                self.faults.append(f"<a href={value[:80]!r}>")
            if name == "style" and re.search(r"url\(|@import|expression", address):
                self.faults.append(f"<{tag} style={value[:80]!r}>")

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        self.in_style = False if tag == "style" else self.in_style

    def handle_data(self, data):
        if self.in_style and re.search(r"url\((?!#)|@import", data):
            self.faults.append(f"style: {data[:80]!r}")
        self.texts.append(data)


def faults(html: str, *, own_script: bool = False) -> list[str]:
    """Return the parts of a page that run or are loaded from elsewhere; with `own_script`, its own scripts may run."""
    reader = _Reader(own_script)
    reader.feed(html)
    reader.close()
    found = list(reader.faults)
    if POLICY not in reader.policy or ("script-src" in reader.policy) != own_script or "http" in reader.policy:
        found.append(f"policy {reader.policy!r}")
    return found


def text_of(html: str) -> str:
    """Return the text of a page."""
    reader = _Reader(False)
    reader.feed(html)
    return "".join(reader.texts)


def read(path: Path | str) -> str:
    return Path(path).read_text(encoding="utf-8")
