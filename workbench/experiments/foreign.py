"""What a notebook that somebody else wrote sees of this machine: its data, the programs, and nothing of its user's.

It gets no login, neither Kaggle's nor a cloud's nor a database's; variables are passed on by a list of what programs
need, not kept back by a list of what is known to be secret. Its home and temporary folders are empty and its own. There
is no network but where its experiment says ``network = true``.
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
"""The names of this Python's kernel."""

HOME = "/root"

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


OTHER_HOME = "/tmp/home"  # noqa: S108 it is the world's own
"""Where another kernel may lie in ``/root``."""


def foreign_environment(
    *, network: bool, kernel: str = "", environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the variables that such a notebook gets; another kernel than this Python's is found in its user's home.

    Examples
    --------
    >>> foreign_environment(network=False, environment={"PATH": "/bin", "HF_TOKEN": "x", "HTTPS_PROXY": "y"})
    {'PATH': '/bin'}
    """
    proxies = [*PROXIES, *map(str.lower, PROXIES)] if network else []
    kernels = {} if kernel in OURS else {"JUPYTER_PATH": os.pathsep.join(library("jupyter_core.paths").jupyter_path())}
    return clean_environment(environment, also=proxies, **kernels)


def foreign_world(notebook: Notebook, folder: Path, *, network: bool, home: Path | None = None) -> Sandbox:
    """Return what such a notebook sees.

    Parameters
    ----------
    notebook : Notebook
        A kernel of its own may lie anywhere: then all of the machine can be read, but for the places of logins.
    folder : Path
        The run's, on whose disk its own folders are.
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
