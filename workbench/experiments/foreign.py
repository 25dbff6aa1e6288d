"""The sandbox of notebooks that other people wrote: their data and the system's programs, but no files of the user.

They get no credentials of Kaggle, clouds or databases: only environment variables of an allow-list are passed on. Home
and temporary folders are empty. There is no network unless the experiment has ``network = true``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from workbench.core.credentials import login_paths
from workbench.core.isolation import Sandbox, clean_environment, isolation_support
from workbench.experiments.notebooks import Notebook
from workbench.experiments.notebooks.extra import library

__all__ = ["foreign_environment", "foreign_world", "not_closed"]

OURS = ("", "python3")
"""Names of the kernel of the running Python."""

HOME = "/root"

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


OTHER_HOME = "/tmp/home"  # noqa: S108 within the sandbox
"""The home folder for other kernels, which may be installed in ``/root``."""


def foreign_environment(
    *, network: bool, kernel: str = "", environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment variables of such a notebook; for another kernel, with the paths where Jupyter finds it.

    Examples
    --------
    >>> foreign_environment(network=False, environment={"PATH": "/bin", "HF_TOKEN": "x", "HTTPS_PROXY": "y"})
    {'PATH': '/bin'}
    """
    proxies = [*PROXIES, *map(str.lower, PROXIES)] if network else []
    kernels = {} if kernel in OURS else {"JUPYTER_PATH": os.pathsep.join(library("jupyter_core.paths").jupyter_path())}
    return clean_environment(environment, also=proxies, **kernels)


def foreign_world(notebook: Notebook, folder: Path, *, network: bool, home: Path | None = None) -> Sandbox:
    """Return the sandbox of such a notebook.

    Parameters
    ----------
    notebook : Notebook
        With another kernel, which may be installed anywhere, it can read all files except those of credentials.
    folder : Path
        The run's folder; the sandbox's own folders are on the same disk.
    network : bool
    home : Path, optional
        The user's home folder.
    """
    if notebook.kernel in OURS:
        return Sandbox(host="system", home=HOME, own_tmp=True, network=network, disk=folder)
    places = login_paths(home)
    folders = tuple(str(p) for p in places if p.is_dir())
    files = {str(p): (os.devnull, False) for p in places if p.is_file()}
    return Sandbox(
        host="read", hidden=folders, mounts=files, home=OTHER_HOME, own_tmp=True, network=network, disk=folder
    )


def not_closed(*, network: bool, is_over: bool = True) -> str:
    """Return what is to be said where the system gives no world of its own; "" where it does."""
    able = isolation_support()
    if able.sandboxes:
        return ""
    had, could, was = ("had", "could", "was") if is_over else ("has", "can", "is")
    more = "" if network else f", and the network {was} open to it"
    return (
        f"this system has no namespaces ({able.reason}): the notebook {had} an empty home and no logins in its "
        f"environment, but {could} read this machine's files{more}; {able.hint}"
    )
