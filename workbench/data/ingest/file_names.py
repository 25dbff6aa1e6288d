"""Check names of files from elsewhere: the members of archives and the files that a platform lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from workbench.data.ingest.evaluation import LISTING

__all__ = ["clashing_names", "leads_outside", "plain_name", "refused_name"]

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 3000
"""Linux allows 4,096 bytes, the folders of the workspace included."""

RESERVED = re.compile(rf"{re.escape(LISTING)}|\..*\.(unpacked|partial|partial\.json|tmp)", re.IGNORECASE | re.DOTALL)
"""Files that the workbench writes next to the data: the listing, partial downloads, records of unpacked archives."""

# C0 and C1, surrogates, line separators, and marks that change the direction of the following text.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def plain_name(name: str) -> str:
    r"""Normalize a name: slashes instead of backslashes, no empty parts or dots.

    Examples
    --------
    >>> plain_name("./a//b.csv"), plain_name(r"a\b.csv")
    ('a/b.csv', 'a/b.csv')
    """
    return str(PurePosixPath(name.replace("\\", "/")))


def leads_outside(name: str, folder: Path) -> bool:
    """Tell whether a name is that of no file below a folder.

    Examples
    --------
    >>> [leads_outside(name, Path("raw")) for name in ("a/b.csv", "../b.csv", "/b.csv", "C:b.csv", "")]
    [False, True, True, True, True]
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"^[A-Za-z]:", name) or "\0" in name or not path.name:
        return True
    return not (folder / path).resolve().is_relative_to(folder.resolve())


def refused_name(name: str, folder: Path) -> str:
    """Return why a name is refused for a file below a folder, as a clause after "which"; "" where it is accepted.

    Examples
    --------
    >>> refused_name("a/b.csv", Path("raw")), refused_name("./.listing.json", Path("raw"))
    ('', 'is the name of a file that the workbench itself keeps in raw')
    """
    path = PurePosixPath(name.replace("\\", "/"))
    longest_part = max((len(part.encode(errors="replace")) for part in path.parts), default=0)
    if longest_part > MAX_NAME_BYTES:
        return f"has a part of {longest_part:,} bytes, longer than the {MAX_NAME_BYTES} that file systems allow"
    if len(str(path).encode(errors="replace")) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES:,} bytes, with its folders"
    if leads_outside(name, folder):
        return f"would be written outside {folder}"
    if CONTROL.search(name):
        return "has control characters"
    if any(RESERVED.fullmatch(part) for part in path.parts):
        return f"is the name of a file that the workbench itself keeps in {folder}"
    return ""


def clashing_names(names: Iterable[str], folder: Path) -> tuple[str, str] | None:
    """Return two names that can't both exist below a folder; None where there are none.

    One is that of a file and a folder of the other, or, on a case-insensitive file system, they differ only in case.
    """
    normalized = [plain_name(n) for n in names]
    files = set(normalized)
    for name in normalized:
        parent = next((str(p) for p in PurePosixPath(name).parents if str(p) in files), None)
        if parent is not None:
            return parent, name
    first_by_folded: dict[str, str] = {}
    pairs = [(first_by_folded.setdefault(n.casefold(), n), n) for n in normalized]
    differing_pairs = [pair for pair in pairs if pair[0] != pair[1]]
    return differing_pairs[0] if differing_pairs and _is_case_insensitive(folder) else None


def _is_case_insensitive(folder: Path) -> bool:
    """Tell whether the file system of a folder does not distinguish "a" from "A"."""
    existing = next((p for p in (folder, *folder.parents) if p.exists() and p.name.swapcase() != p.name), None)
    return existing is not None and existing.with_name(existing.name.swapcase()).exists()
