"""Which file of a bundle goes into which dataset, so that little is uploaded where little changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.core.cache import file_sha256
from workbench.core.distribution import is_own_wheel
from workbench.core.errors import ConfigError
from workbench.models.serving import MANIFEST, flat_name

__all__ = ["NAMES", "PackedFile", "kernel_name", "layers", "packed_files"]

NAMES = ("packages", "base", "changes")
"""The datasets of a kernel. A dataset's new version must bring all its files along, changed or not: what changed since
the base was uploaded is in a dataset of its own, with the manifest, which says what counts."""

REBASE = 0.5
"""When so much of the base, in bytes, is no longer what counts, it is uploaded anew."""

TITLE = 50
"""A title on Kaggle has so many characters at most; the name in the address is made of it."""


@dataclass(frozen=True)
class PackedFile:
    """A file of a bundle.

    Attributes
    ----------
    name : str
        In the bundle, such as ``"models/t0-f0-s1.txt"``.
    path : Path
    sha256 : str
    size : int
        Bytes.
    """

    name: str
    path: Path
    sha256: str
    size: int

    @property
    def flat(self) -> str:
        """Its name in a dataset: the client uploads no folders."""
        return flat_name(self.name)


def packed_files(bundle: Path) -> list[PackedFile]:
    """Return the files of a bundle, by name, but for the empty ones, which datasets do not take.

    Raises
    ------
    ConfigError
        When two of them have one name without their folders.
    """
    found = [
        PackedFile(p.relative_to(bundle).as_posix(), p, file_sha256(p), p.stat().st_size)
        for p in sorted(bundle.rglob("*"))
        if p.is_file() and p.stat().st_size
    ]
    seen: dict[str, str] = {}
    for file in found:
        if (other := seen.setdefault(file.flat, file.name)) != file.name:
            raise ConfigError(f"{other} and {file.name} would have one name in a dataset", hint="rename one of the two")
    return found


def layers(files: list[PackedFile], base: Mapping[str, str]) -> dict[str, list[PackedFile]]:
    """Return the files of each dataset; one that is missing stays as it is.

    Parameters
    ----------
    files : list
        All of the bundle.
    base : dict
        What the base holds on the platform: digests by flat name; empty where there is none.
    """
    packages = [f for f in files if f.name.startswith("wheels/") and not is_own_wheel(f.name.removeprefix("wheels/"))]
    manifest = [f for f in files if f.name == MANIFEST]
    rest = [f for f in files if f not in packages and f not in manifest]
    changed = [f for f in rest if base.get(f.flat) != f.sha256]
    found = {"packages": packages} if packages else {}
    if not base or sum(f.size for f in changed) > REBASE * sum(f.size for f in rest):
        return found | {"base": rest, "changes": manifest}
    return found | {"changes": manifest + changed}


def kernel_name(slug: str, exp: int) -> str:
    """Return the name of an experiment's kernel, which its datasets' names begin with.

    Examples
    --------
    >>> kernel_name("titanic", 12)
    'wb-titanic-012'
    """
    clean = re.sub("[^a-z0-9]+", "-", slug.lower()).strip("-")
    room = TITLE - len(f"wb--{exp:03d}-packages")
    if len(clean) > room:
        # Two competitions that begin alike must not share their datasets.
        clean = clean[: room - 7].rstrip("-") + "-" + hashlib.sha256(slug.encode()).hexdigest()[:6]
    return f"wb-{clean}-{exp:03d}"
