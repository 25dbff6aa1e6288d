"""What a notebook that was written for Kaggle says of its inputs: which data, under which path, and which files.

Kaggle's paths have changed. Competition files were in ``../input`` itself once, then in ``/kaggle/input/SLUG``, and are
in ``/kaggle/input/competitions/SLUG`` today; datasets moved from ``/kaggle/input/SLUG`` to
``/kaggle/input/datasets/OWNER/SLUG``. On Kaggle a notebook sees one of them. All of them at once would show each file
several times to a notebook that walks through its inputs, so the text decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from fnmatch import fnmatchcase

from workbench.experiments.notebooks.source import Notebook

__all__ = ["KINDS_OF_DATA", "competition_places", "data_places", "is_named", "missing_inputs", "reads", "text_of"]

KINDS_OF_DATA = ("datasets", "notebooks", "models")
"""The folders below ``/kaggle/input`` beside that of competitions; in each, owner and name say which data."""

SHORT = {"d": "datasets", "m": "models"}
"""Where two of one name were attached, the earlier path was ``/kaggle/input/d/OWNER/SLUG``."""

NOISE = re.compile(r"https?://[^\s'\"]+|^\s*#(?!\s*%%).*$", re.MULTILINE)
"""Addresses and comments: Kaggle's first cell speaks of "../input/" in one."""

INPUT = r"(?<![\w-])input/"

HUB = re.compile(
    r"\b(competition|dataset|model|notebook_output)_(?:download|load)\(\s*(?:[\w.]+\s*,\s*)?(?:handle\s*=\s*)?"
    r"[fr]?(['\"])([\w./-]+)\2"
)
"""A call of kagglehub's with what it names."""

OF_HUB = {"competition": "competitions", "dataset": "datasets", "model": "models", "notebook_output": "notebooks"}

SOME = r"""(?!\*\*/)[^\s/'"{}]*[*?\[][^\s/'"{}]*"""
"""A folder by a pattern of glob's."""

GAP = r"(?:\{[^{}]*\}|%s)"
"""What is filled in while the notebook runs."""


def text_of(notebook: Notebook) -> str:
    """Return a notebook's code without comments and addresses."""
    return NOISE.sub("", "\n".join(c["source"] for c in notebook.cells if c["type"] == "code"))


def competition_places(text: str, slug: str, names: Collection[str]) -> list[str]:
    """Return the places below ``/kaggle/input`` where a notebook looks for a competition's files; the first is theirs.

    Parameters
    ----------
    text : str
        See `text_of`.
    names : collection of str
        What the competition has at its top: files and folders.

    Examples
    --------
    >>> competition_places("read_csv('/kaggle/input/titanic/train.csv')", "titanic", ["train.csv"])
    ['titanic']
    >>> competition_places("glob('/kaggle/input/**/*.csv')", "titanic", ["train.csv"])
    ['competitions/titanic']
    >>> competition_places("read_csv('../input/train.csv')", "titanic", ["train.csv"])
    ['']
    """
    text = HUB.sub("", text)
    name = re.escape(slug)
    today = _has(rf"(?:{INPUT}|['\"]/?|\}}/)competitions\b|{INPUT}\*/\*/", text)
    earlier = _has(rf"{INPUT}{name}(?![\w-])|{INPUT}{GAP}(?=[/'\"]|$)|{INPUT}{SOME}/(?!\*{{1,2}}/)", text)
    earlier |= not today and _has(rf"['\"/]{name}['\"/]", text)
    at_top = {*names} - {"competitions", slug}
    flat = _has(rf"{INPUT}(?:{GAP}|\*)[\w*]*\.\w", text) or _names(rf"{INPUT}([\w.-]+)", text, at_top)
    if not (today or earlier):
        flat |= _has(r"\.\./input/?(?=['\"\s]|$)", text) and _names(r"(?<![\w/.-])([\w-][\w.-]*)", text, at_top)
    places = {f"competitions/{slug}": today, slug: earlier, "": flat}
    return [place for place, is_named in places.items() if is_named] or [f"competitions/{slug}"]


def data_places(text: str, name: str) -> list[str]:
    """Return the places of other data, such as ``"datasets/owner/slug"``, as `competition_places`.

    Examples
    --------
    >>> data_places("open('/kaggle/input/extra/a.csv')", "datasets/me/extra")
    ['extra']
    """
    text = HUB.sub("", text)
    if "/" not in name:
        return [name]
    kind, *owner, slug = name.split("/")
    short = [f"{s}/{owner[0]}/{slug}" for s, of in SHORT.items() if of == kind and owner]
    named = [p for p in (name, slug, *short) if _has(rf"{INPUT}{re.escape(p)}(?![\w-])", text)]
    if named:
        return named
    of_kind = _has(rf"(?:{INPUT}|['\"]/?|\}}/){kind}\b", text)
    return [slug if not of_kind and _has(rf"['\"/]{re.escape(slug)}['\"/]", text) else name]


def is_named(text: str, name: str) -> bool:
    """Whether a notebook speaks of data, such as ``"datasets/owner/slug"``; a competition's slug must be in a path.

    Examples
    --------
    >>> [is_named(text, "competitions/titanic") for text in ("open('../input/titanic/a.csv')", "titanic()")]
    [True, False]
    """
    kind, slug = name.partition("/")[0], re.escape(name.rpartition("/")[2])
    if kind == "competitions":
        return _has(rf"(?:{INPUT}|competitions/|competition_download\([^)\n]*['\"]){slug}(?![\w-])", text)
    return _has(rf"(?<![\w-]){slug}(?![\w-])", text)


def missing_inputs(text: str, available: Collection[str], names: Collection[str]) -> list[str]:
    """Return the data that a notebook names and that are not there, in the order of their first use.

    Parameters
    ----------
    available : collection of str
        Places and today's names of what is there.
    names : collection of str
        What the competition has at its top: ``../input/train.csv`` is no data of its own.

    Examples
    --------
    >>> missing_inputs("open('/kaggle/input/datasets/me/extra/a.csv')", [], [])
    ['datasets/me/extra']
    """
    inputs = [f"{OF_HUB[kind]}/{'/'.join(handle.split('/')[:2])}" for kind, _, handle in HUB.findall(text)]
    for path in re.findall(r"(?:/kaggle|\.\.)/input/([\w./-]+)", text):
        first, *more = path.strip("/").split("/")
        first = SHORT.get(first, first)
        if first == "competitions":
            inputs += ["/".join([first, *more[:1]])] if more else []
        elif first in KINDS_OF_DATA:
            inputs += ["/".join([first, *more[:2]])] if len(more) > 1 else []
        elif first and first not in names:
            inputs.append(first)
    return [name for name in dict.fromkeys(inputs) if name not in available]


def reads(text: str) -> Callable[[str], bool]:
    """Return whether a notebook reads a file, by its name: as it is written, or by a pattern of those it fills in.

    Examples
    --------
    >>> is_read = reads("for n in names: read_csv(f'{folder}/part_{n}.csv')")
    >>> is_read("a/part_7.csv"), is_read("train.csv")
    (True, False)
    """
    patterns = set()
    for token in re.findall(r"[^\s'\"(),=+;|<>]+", text):
        last = re.sub(GAP, "*", token).replace("%d", "*").rpartition("/")[2]
        if re.search(r"[{}\[\]%]", last) or re.fullmatch(r"\.\w+", last):
            last = f"*.{last.rpartition('.')[2]}"
        if re.search(r"[\w*]\.\w+$|^\*+$", last):
            patterns.add(last)

    def is_read(name: str) -> bool:
        file = name.rpartition("/")[2]
        return (" " in file and file in text) or any(fnmatchcase(file, pattern) for pattern in patterns)

    return is_read


def _has(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.MULTILINE) is not None


def _names(pattern: str, text: str, names: set[str]) -> bool:
    return not names.isdisjoint(re.findall(pattern, text))
