"""The name under which this package is installed, and how its extras are installed.

An unrelated project owns the name ``workbench`` in the Python Package Index. The distribution is therefore called
``kaggle-workbench``; the import stays ``workbench`` and the command ``wb``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from workbench.core.package import PACKAGE

__all__ = [
    "DISTRIBUTION",
    "OTHER_DISTRIBUTION",
    "checkout",
    "distribution_version",
    "distributions_of_modules",
    "install_hint",
    "is_own_wheel",
    "other_workbench",
    "version_of",
]

DISTRIBUTION = "kaggle-workbench"
OTHER_DISTRIBUTION = "workbench"
"""Somebody else's; also what this project was called at first."""

OWN_WHEELS = ("kaggle_workbench-", "workbench-")
"""How the file names of our wheels begin, today's and those of before."""


def distribution_version() -> str:
    """Return the installed version; ``0+unknown`` where the package is only on the path, such as in a bare clone."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


@cache
def version_of(name: str) -> str:
    """Return the version of an installed distribution; "" where there is none.

    It is read once for a process, which has imported that version.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def distributions_of_modules() -> Mapping[str, list[str]]:
    """Return by the name that is imported the distributions that install it, as `packages_distributions` does.

    That reads a file of every package, for most of a second; here it is done again only when something was installed,
    which changes the time of a folder of ``sys.path``.
    """
    return _distributions_of_modules(tuple((entry, _changed_at(entry)) for entry in sys.path))


@lru_cache(maxsize=1)
def _distributions_of_modules(path: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    del path
    return importlib.metadata.packages_distributions()


def _changed_at(entry: str) -> int:
    try:
        return Path(entry).stat().st_mtime_ns
    except OSError:
        return 0


def is_own_wheel(name: str) -> bool:
    """Tell whether a wheel's file name is this package's."""
    return name.startswith(OWN_WHEELS)


def install_hint(extra: str) -> str:
    """Return the command that adds an extra to this installation, from where the installation came.

    The index is named only if the installation came from one, which is where ``direct_url.json`` is missing:
    https://packaging.python.org/en/latest/specifications/direct-url/
    """
    return f"{_pip('install')} {_requirement(f'[{extra}]')}"


def _pip(action: str) -> str:
    """Return how pip is called for this interpreter: ``pip`` alone may be another environment's."""
    if importlib.util.find_spec("pip") is None:
        return f"uv pip {action} --python {shlex.quote(sys.executable)}"
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
    if active and Path(active).resolve() == Path(sys.prefix).resolve():
        return f"pip {action}"
    return f"{shlex.quote(sys.executable)} -m pip {action}"


def _requirement(extras: str = "") -> str:
    root = checkout()
    if root is not None:
        editable = "--editable " if _is_editable() else ""
        return editable + shlex.quote(f"{root}{extras}")
    origin = _direct_url()
    if origin is None:
        return shlex.quote(f"{DISTRIBUTION}{extras}")
    return shlex.quote(f"{DISTRIBUTION}{extras} @ {_with_revision(origin)}")


def checkout() -> Path | None:
    """Return the folder of the source that is installed, or that the package is imported from; None elsewhere."""
    origin = _direct_url()
    if origin is not None and "dir_info" in origin:
        return Path(url2pathname(urlsplit(origin["url"]).path))
    root = PACKAGE.parent
    return root if _installed() is None and (root / "pyproject.toml").is_file() else None


def _is_editable() -> bool:
    """Tell whether the source is imported from where it lies; so it is where nothing is installed, too."""
    origin = _direct_url()
    return origin is None or bool(origin["dir_info"].get("editable"))


def _with_revision(origin: dict[str, Any]) -> str:
    vcs = origin.get("vcs_info")
    if not vcs:
        return str(origin["url"])
    revision = vcs.get("requested_revision") or vcs.get("commit_id")
    return f"{vcs['vcs']}+{origin['url']}" + (f"@{revision}" if revision else "")


def _installed() -> importlib.metadata.Distribution | None:
    """Return what an installer wrote; the ``.egg-info`` that a build leaves in the source has no ``METADATA``."""
    distributions = importlib.metadata.distributions(name=DISTRIBUTION)
    return next((d for d in distributions if d.read_text("METADATA")), None)


def _direct_url() -> dict[str, Any] | None:
    installed = _installed()
    text = installed.read_text("direct_url.json") if installed is not None else None
    try:
        origin = json.loads(text) if text else None
    except ValueError:
        return None
    return origin if isinstance(origin, dict) and isinstance(origin.get("url"), str) else None


def other_workbench() -> str | None:
    """Return what is installed under the name ``workbench``, with the way out; None where nothing is.

    Both distributions write into a folder called ``workbench``: the one that was installed last is imported, or a
    mixture of both.
    """
    try:
        other = importlib.metadata.distribution(OTHER_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None
    scripts = [e for e in other.entry_points if e.group == "console_scripts" and e.name == "wb"]
    description = "this project under its former name" if scripts else "an unrelated project with the same import name"
    again = f"{_pip('install')} --force-reinstall --no-deps {_requirement()}"
    return (
        f"workbench {other.version} is installed beside {DISTRIBUTION}: {description}. "
        f"`{_pip('uninstall')} workbench`, then `{again}`"
    )
