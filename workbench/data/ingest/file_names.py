"""Which names of files that others give are taken: those of an archive's members, and those that a platform lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from workbench.data.ingest.evaluation import LISTING

__all__ = ["clashing_names", "leads_outside", "plain_name", "refused_name"]

LONGEST_NAME_BYTES = 255
LONGEST_PATH_BYTES = 3000
"""Linux takes 4,096 with the workspace's own folders."""

RESERVED = re.compile(rf"{re.escape(LISTING)}|\..*\.(unpacked|partial|partial\.json|tmp)", re.IGNORECASE | re.DOTALL)
"""What is written beside the files: the record of a download, what has arrived of one, which archives are unpacked."""

# What is no letter in any writing: C0, C1, half characters, line ends, and what turns the direction of what follows.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def plain_name(name: str) -> str:
    r"""Return a name as it is on this disk: with slashes, and without what stands for nothing.

    Examples
    --------
    >>> plain_name("./a//b.csv"), plain_name(r"a\b.csv")
    ('a/b.csv', 'a/b.csv')
    """
    return str(PurePosixPath(name.replace("\\", "/")))


def leads_outside(name: str, folder: Path) -> bool:
    """Whether a name, of an archive's member or a file that is offered, is that of no file below a folder.

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
    """Return why a name is not taken for a file below a folder, as it follows "which"; "" where it is.

    Examples
    --------
    >>> refused_name("a/b.csv", Path("raw")), refused_name("./.listing.json", Path("raw"))
    ('', 'is the name of a file that the workbench itself keeps in raw')
    """
    path = PurePosixPath(name.replace("\\", "/"))
    longest = max((len(part.encode(errors="replace")) for part in path.parts), default=0)
    if longest > LONGEST_NAME_BYTES:
        return f"has a part of {longest:,} bytes, longer than the {LONGEST_NAME_BYTES} that file systems allow"
    if len(str(path).encode(errors="replace")) > LONGEST_PATH_BYTES:
        return f"is longer than {LONGEST_PATH_BYTES:,} bytes, with its folders"
    if leads_outside(name, folder):
        return f"would be written outside {folder}"
    if CONTROL.search(name):
        return "has control characters"
    if any(RESERVED.fullmatch(part) for part in path.parts):
        return f"is the name of a file that the workbench itself keeps in {folder}"
    return ""


def clashing_names(names: Iterable[str], folder: Path) -> tuple[str, str] | None:
    """Return two names that can't both be had below a folder, one of a file and one of a folder; None: there are none.

    Also two that the disk does not tell apart, where it is one that takes "a" and "A" for the same.
    """
    plain = [plain_name(n) for n in names]
    files = set(plain)
    for name in plain:
        parent = next((str(p) for p in PurePosixPath(name).parents if str(p) in files), None)
        if parent is not None:
            return parent, name
    folded: dict[str, str] = {}
    alike = [(folded.setdefault(n.casefold(), n), n) for n in plain]
    differing = [pair for pair in alike if pair[0] != pair[1]]
    return differing[0] if differing and _takes_for_the_same(folder) else None


def _takes_for_the_same(folder: Path) -> bool:
    """Whether the disk of a folder does not tell "a" from "A"."""
    existing = next((p for p in (folder, *folder.parents) if p.exists() and p.name.swapcase() != p.name), None)
    return existing is not None and existing.with_name(existing.name.swapcase()).exists()
