"""The inputs that the code of a notebook written for Kaggle refers to: data, their paths, and files.

Kaggle's paths have changed. Competition files were in ``../input`` itself once, then in ``/kaggle/input/SLUG``, and are
in ``/kaggle/input/competitions/SLUG`` now; datasets moved from ``/kaggle/input/SLUG`` to
``/kaggle/input/datasets/OWNER/SLUG``. On Kaggle a notebook sees one of these paths. With all of them, a notebook that
walks through its inputs would find each file several times, so the paths are chosen by the notebook's code.

Input paths are relative to ``/kaggle/input``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from fnmatch import fnmatchcase

from workbench.experiments.notebooks.source import Notebook

__all__ = [
    "KINDS_OF_DATA",
    "code_text",
    "competition_paths",
    "data_paths",
    "file_matcher",
    "is_mentioned",
    "missing_inputs",
]

KINDS_OF_DATA = ("datasets", "notebooks", "models")
"""The folders of ``/kaggle/input`` other than ``competitions``; the data in them are at ``OWNER/SLUG``."""

KIND_BY_SHORT_FOLDER = {"d": "datasets", "m": "models"}
"""Short folder -> kind of data. Data of equal names were in such folders earlier: ``/kaggle/input/d/OWNER/SLUG``."""

COMMENT_OR_URL = re.compile(r"https?://[^\s'\"]+|^\s*#(?!\s*%%).*$", re.MULTILINE)
"""URLs and comments: the first cell of Kaggle's template has "../input/" in a comment."""

INPUT = r"(?<![\w-])input/"

KAGGLEHUB_CALL = re.compile(
    r"\b(competition|dataset|model|notebook_output)_(?:download|load)\(\s*(?:[\w.]+\s*,\s*)?(?:handle\s*=\s*)?"
    r"[fr]?(['\"])([\w./-]+)\2"
)
"""A download or load by kagglehub: groups 1 and 3 are the kind and the handle of the data."""

FOLDER_BY_HUB_KIND = {
    "competition": "competitions",
    "dataset": "datasets",
    "model": "models",
    "notebook_output": "notebooks",
}

GLOB_FOLDER = r"""(?!\*\*/)[^\s/'"{}]*[*?\[][^\s/'"{}]*"""
"""A folder name with glob wildcards."""

PLACEHOLDER = r"(?:\{[^{}]*\}|%s)"
"""A placeholder that is filled in at run time."""


def code_text(notebook: Notebook) -> str:
    """Return a notebook's code without comments and URLs."""
    return COMMENT_OR_URL.sub("", "\n".join(c["source"] for c in notebook.cells if c["type"] == "code"))


def competition_paths(text: str, slug: str, names: Collection[str]) -> list[str]:
    """Return the input paths at which a notebook reads a competition's files; the others can be links to the first.

    Parameters
    ----------
    text : str
        See `code_text`.
    slug : str
        The competition's.
    names : collection of str
        The competition's files and folders at the top level.

    Examples
    --------
    >>> competition_paths("read_csv('/kaggle/input/titanic/train.csv')", "titanic", ["train.csv"])
    ['titanic']
    >>> competition_paths("glob('/kaggle/input/**/*.csv')", "titanic", ["train.csv"])
    ['competitions/titanic']
    >>> competition_paths("read_csv('../input/train.csv')", "titanic", ["train.csv"])
    ['']
    """
    text = KAGGLEHUB_CALL.sub("", text)
    name = re.escape(slug)
    in_competitions = _matches(rf"(?:{INPUT}|['\"]/?|\}}/)competitions\b|{INPUT}\*/\*/", text)
    in_slug_folder = _matches(
        rf"{INPUT}{name}(?![\w-])|{INPUT}{PLACEHOLDER}(?=[/'\"]|$)|{INPUT}{GLOB_FOLDER}/(?!\*{{1,2}}/)", text
    )
    in_slug_folder |= not in_competitions and _matches(rf"['\"/]{name}['\"/]", text)
    top_level_names = {*names} - {"competitions", slug}
    in_input_folder = _matches(rf"{INPUT}(?:{PLACEHOLDER}|\*)[\w*]*\.\w", text) or _captures_any_of(
        rf"{INPUT}([\w.-]+)", text, top_level_names
    )
    if not (in_competitions or in_slug_folder):
        in_input_folder |= _matches(r"\.\./input/?(?=['\"\s]|$)", text) and _captures_any_of(
            r"(?<![\w/.-])([\w-][\w.-]*)", text, top_level_names
        )
    is_used = {f"competitions/{slug}": in_competitions, slug: in_slug_folder, "": in_input_folder}
    return [path for path in is_used if is_used[path]] or [f"competitions/{slug}"]


def data_paths(text: str, name: str) -> list[str]:
    """Return the input paths of other data, such as ``"datasets/owner/slug"``; see `competition_paths`.

    Examples
    --------
    >>> data_paths("open('/kaggle/input/extra/a.csv')", "datasets/me/extra")
    ['extra']
    """
    text = KAGGLEHUB_CALL.sub("", text)
    if "/" not in name:
        return [name]
    kind, *owner, slug = name.split("/")
    short_paths = [f"{s}/{owner[0]}/{slug}" for s, k in KIND_BY_SHORT_FOLDER.items() if k == kind and owner]
    used_paths = [p for p in (name, slug, *short_paths) if _matches(rf"{INPUT}{re.escape(p)}(?![\w-])", text)]
    if used_paths:
        return used_paths
    has_kind_folder = _matches(rf"(?:{INPUT}|['\"]/?|\}}/){kind}\b", text)
    return [slug if not has_kind_folder and _matches(rf"['\"/]{re.escape(slug)}['\"/]", text) else name]


def is_mentioned(text: str, name: str) -> bool:
    """Return whether a notebook mentions data, such as ``"datasets/owner/slug"``; a competition's slug only in paths.

    Examples
    --------
    >>> [is_mentioned(text, "competitions/titanic") for text in ("open('../input/titanic/a.csv')", "titanic()")]
    [True, False]
    """
    kind, slug = name.partition("/")[0], re.escape(name.rpartition("/")[2])
    if kind == "competitions":
        return _matches(rf"(?:{INPUT}|competitions/|competition_download\([^)\n]*['\"]){slug}(?![\w-])", text)
    return _matches(rf"(?<![\w-]){slug}(?![\w-])", text)


def missing_inputs(text: str, available: Collection[str], names: Collection[str]) -> list[str]:
    """Return the data that a notebook mentions and that are not available, in the order of their first use.

    Parameters
    ----------
    text : str
        See `code_text`.
    available : collection of str
        Input paths and Kaggle's present names of the available data.
    names : collection of str
        The competition's files and folders at the top level: ``../input/train.csv`` does not name other data.

    Examples
    --------
    >>> missing_inputs("open('/kaggle/input/datasets/me/extra/a.csv')", [], [])
    ['datasets/me/extra']
    """
    mentioned = [
        f"{FOLDER_BY_HUB_KIND[kind]}/{'/'.join(handle.split('/')[:2])}"
        for kind, _, handle in KAGGLEHUB_CALL.findall(text)
    ]
    for path in re.findall(r"(?:/kaggle|\.\.)/input/([\w./-]+)", text):
        first, *more = path.strip("/").split("/")
        first = KIND_BY_SHORT_FOLDER.get(first, first)
        if first == "competitions":
            mentioned += ["/".join([first, *more[:1]])] if more else []
        elif first in KINDS_OF_DATA:
            mentioned += ["/".join([first, *more[:2]])] if len(more) > 1 else []
        elif first and first not in names:
            mentioned.append(first)
    return [name for name in dict.fromkeys(mentioned) if name not in available]


def file_matcher(text: str) -> Callable[[str], bool]:
    """Return a function that tells whether a notebook reads a file; it compares names and patterns in the code.

    Examples
    --------
    >>> is_read = file_matcher("for n in names: read_csv(f'{folder}/part_{n}.csv')")
    >>> is_read("a/part_7.csv"), is_read("train.csv")
    (True, False)
    """
    patterns = set()
    for token in re.findall(r"[^\s'\"(),=+;|<>]+", text):
        file_pattern = re.sub(PLACEHOLDER, "*", token).replace("%d", "*").rpartition("/")[2]
        if re.search(r"[{}\[\]%]", file_pattern) or re.fullmatch(r"\.\w+", file_pattern):
            file_pattern = f"*.{file_pattern.rpartition('.')[2]}"
        if re.search(r"[\w*]\.\w+$|^\*+$", file_pattern):
            patterns.add(file_pattern)

    def is_read(name: str) -> bool:
        file = name.rpartition("/")[2]
        return (" " in file and file in text) or any(fnmatchcase(file, pattern) for pattern in patterns)

    return is_read


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.MULTILINE) is not None


def _captures_any_of(pattern: str, text: str, names: set[str]) -> bool:
    """Return whether the group of a pattern matches one of the names."""
    return not names.isdisjoint(re.findall(pattern, text))
