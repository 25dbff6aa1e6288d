"""The versions and the commit that a run was made with."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from workbench.core.distribution import distribution_version, version_of
from workbench.experiments.capabilities import capabilities_of
from workbench.models.registry import MODEL_KINDS

__all__ = ["git_commit", "versions"]

PACKAGES = ("polars", "numpy")


def git_commit(folder: Path) -> str | None:
    """Return the checked-out commit, followed by "+" if files differ from it; None outside of git."""
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def versions(kind: str = "model") -> dict[str, str]:
    """Return the versions of Python and of the packages that results of this kind of experiment depend on."""
    common = {"python": platform.python_version(), "workbench": distribution_version()}
    kind_packages = MODEL_KINDS[kind].packages if kind in MODEL_KINDS else capabilities_of(kind).packages
    names = (*PACKAGES, *kind_packages)
    return common | {name: version for name in names if (version := version_of(name))}
