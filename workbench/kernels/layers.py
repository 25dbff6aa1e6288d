"""Assign the files of a bundle to datasets, so that only what changed is uploaded."""

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

__all__ = ["LAYER_NAMES", "PackedFile", "kernel_name", "layers", "packed_files"]

LAYER_NAMES = ("packages", "base", "changes")
"""The datasets of a kernel. A new version of a dataset must include all its files, changed or not. Therefore files that
changed since the base was uploaded are in a separate dataset, with the manifest, which names the valid files."""

MAX_CHANGED_SHARE = 0.5
"""If more than this share of the bytes has changed, the base is uploaded again."""

MAX_TITLE_CHARACTERS = 50
"""Of a dataset on Kaggle; the name in the address is derived from the title."""


@dataclass(frozen=True)
class PackedFile:
    """A file of a bundle.

    Attributes
    ----------
    name : str
        The path in the bundle, such as ``"models/t0-f0-s1.txt"``.
    path : Path
    sha256 : str
    size : int
        In bytes.
    """

    name: str
    path: Path
    sha256: str
    size: int

    @property
    def flat_name(self) -> str:
        """Its name in a dataset, without folders, which Kaggle's client does not upload."""
        return flat_name(self.name)


def packed_files(bundle: Path) -> list[PackedFile]:
    """Return the files of a bundle, sorted by path, without empty ones, which datasets reject.

    Raises
    ------
    ConfigError
        When two files would have the same name in a dataset.
    """
    files = [
        PackedFile(p.relative_to(bundle).as_posix(), p, file_sha256(p), p.stat().st_size)
        for p in sorted(bundle.rglob("*"))
        if p.is_file() and p.stat().st_size
    ]
    name_by_flat: dict[str, str] = {}
    for file in files:
        if (name_of_first := name_by_flat.setdefault(file.flat_name, file.name)) != file.name:
            raise ConfigError(
                f"{name_of_first} and {file.name} would have the same name in a dataset", hint="rename one of the two"
            )
    return files


def layers(files: list[PackedFile], base: Mapping[str, str]) -> dict[str, list[PackedFile]]:
    """Assign a bundle's files to datasets, by layer; a layer that is not in the result stays unchanged.

    Parameters
    ----------
    files : list
        All files of the bundle.
    base : mapping
        The digests of the base on the platform, by flat name; empty if there is none.
    """
    packages = [f for f in files if f.name.startswith("wheels/") and not is_own_wheel(f.name.removeprefix("wheels/"))]
    manifest = [f for f in files if f.name == MANIFEST]
    other_files = [f for f in files if f not in packages and f not in manifest]
    changed_files = [f for f in other_files if base.get(f.flat_name) != f.sha256]
    packages_layer = {"packages": packages} if packages else {}
    if not base or sum(f.size for f in changed_files) > MAX_CHANGED_SHARE * sum(f.size for f in other_files):
        return packages_layer | {"base": other_files, "changes": manifest}
    return packages_layer | {"changes": manifest + changed_files}


def kernel_name(slug: str, exp: int) -> str:
    """Return the name of an experiment's kernel, which its datasets' names begin with.

    Examples
    --------
    >>> kernel_name("titanic", 12)
    'wb-titanic-012'
    """
    cleaned = re.sub("[^a-z0-9]+", "-", slug.lower()).strip("-")
    max_characters = MAX_TITLE_CHARACTERS - len(f"wb--{exp:03d}-packages")
    if len(cleaned) > max_characters:
        # Two competitions that begin alike must not share their datasets.
        cleaned = cleaned[: max_characters - 7].rstrip("-") + "-" + hashlib.sha256(slug.encode()).hexdigest()[:6]
    return f"wb-{cleaned}-{exp:03d}"
