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
"""An unrelated project on PyPI; also the former name of this one."""

OWN_WHEELS = ("kaggle_workbench-", "workbench-")
"""How the file names of this project's wheels begin: today's, and those of its former name."""


def distribution_version() -> str:
    """Return the installed version; ``0+unknown`` if the package is not installed, as in a bare clone."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


@cache
def version_of(name: str) -> str:
    """Return the version of an installed distribution; "" if it is not installed.

    Cached: the modules that this process has imported stay at that version.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def distributions_of_modules() -> Mapping[str, list[str]]:
    """Return import name -> distributions, a cached `importlib.metadata.packages_distributions`.

    That function reads a file of every package, which takes most of a second. An installation changes the modification
    time of a folder in ``sys.path``, which invalidates the cache.
    """
    return _distributions_of_modules(tuple((entry, _modified_ns(entry)) for entry in sys.path))


@lru_cache(maxsize=1)
def _distributions_of_modules(path: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    del path
    return importlib.metadata.packages_distributions()


def _modified_ns(entry: str) -> int:
    try:
        return Path(entry).stat().st_mtime_ns
    except OSError:
        return 0


def is_own_wheel(name: str) -> bool:
    """Tell whether the file name of a wheel is one of this project."""
    return name.startswith(OWN_WHEELS)


def install_hint(extra: str) -> str:
    """Return the command that installs an extra from the same source as this installation.

    The source is PyPI if ``direct_url.json`` is missing, else the folder or URL in it:
    https://packaging.python.org/en/latest/specifications/direct-url/
    """
    return f"{_pip('install')} {_requirement(f'[{extra}]')}"


def _pip(action: str) -> str:
    """Return the pip command of this interpreter; ``pip`` alone may belong to another environment."""
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
    direct_url = _direct_url()
    if direct_url is None:
        return shlex.quote(f"{DISTRIBUTION}{extras}")
    return shlex.quote(f"{DISTRIBUTION}{extras} @ {_with_revision(direct_url)}")


def checkout() -> Path | None:
    """Return the source folder that the package was installed or is imported from; None without one."""
    direct_url = _direct_url()
    if direct_url is not None and "dir_info" in direct_url:
        return Path(url2pathname(urlsplit(direct_url["url"]).path))
    root = PACKAGE.parent
    return root if _installed_distribution() is None and (root / "pyproject.toml").is_file() else None


def _is_editable() -> bool:
    """Tell whether the package is imported from its source folder: an editable installation, or none at all."""
    direct_url = _direct_url()
    return direct_url is None or bool(direct_url["dir_info"].get("editable"))


def _with_revision(direct_url: dict[str, Any]) -> str:
    vcs = direct_url.get("vcs_info")
    if not vcs:
        return str(direct_url["url"])
    revision = vcs.get("requested_revision") or vcs.get("commit_id")
    return f"{vcs['vcs']}+{direct_url['url']}" + (f"@{revision}" if revision else "")


def _installed_distribution() -> importlib.metadata.Distribution | None:
    """Return the metadata of an installer; the ``.egg-info`` of a build has no ``METADATA`` file."""
    distributions = importlib.metadata.distributions(name=DISTRIBUTION)
    return next((d for d in distributions if d.read_text("METADATA")), None)


def _direct_url() -> dict[str, Any] | None:
    installed = _installed_distribution()
    text = installed.read_text("direct_url.json") if installed is not None else None
    try:
        direct_url = json.loads(text) if text else None
    except ValueError:
        return None
    return direct_url if isinstance(direct_url, dict) and isinstance(direct_url.get("url"), str) else None


def other_workbench() -> str | None:
    """Describe a second installed distribution called ``workbench`` and how to remove it; None without one.

    Both distributions install into a folder called ``workbench``, so that the last one or a mixture of both is
    imported.
    """
    try:
        conflicting = importlib.metadata.distribution(OTHER_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return None
    scripts = [e for e in conflicting.entry_points if e.group == "console_scripts" and e.name == "wb"]
    description = "this project under its former name" if scripts else "an unrelated project with the same import name"
    reinstall = f"{_pip('install')} --force-reinstall --no-deps {_requirement()}"
    return (
        f"workbench {conflicting.version} is installed beside {DISTRIBUTION}: {description}. "
        f"`{_pip('uninstall')} workbench`, then `{reinstall}`"
    )
