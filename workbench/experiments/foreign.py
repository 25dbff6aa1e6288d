"""The sandbox of notebooks that other people wrote: it has their data and the system's programs, but no user files.

Credentials of Kaggle, clouds and databases are not passed on: environment variables need to be on an allow-list. Home
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

__all__ = ["foreign_environment", "foreign_sandbox", "isolation_warning"]

OWN_KERNELS = ("", "python3")
"""Names of the kernel of the running Python."""

HOME_FOLDER = "/root"

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")

OTHER_KERNEL_HOME = "/tmp/home"  # noqa: S108 within the sandbox
"""The home folder for other kernels, which may be installed in ``/root``."""


def foreign_environment(
    *, network: bool, kernel: str = "", environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment variables of another person's notebook.

    For kernels of another Python they include the paths where Jupyter finds the kernel.

    Examples
    --------
    >>> foreign_environment(network=False, environment={"PATH": "/bin", "HF_TOKEN": "x", "HTTPS_PROXY": "y"})
    {'PATH': '/bin'}
    """
    proxies = [*PROXY_VARIABLES, *map(str.lower, PROXY_VARIABLES)] if network else []
    kernels = (
        {} if kernel in OWN_KERNELS else {"JUPYTER_PATH": os.pathsep.join(library("jupyter_core.paths").jupyter_path())}
    )
    return clean_environment(environment, also=proxies, **kernels)


def foreign_sandbox(notebook: Notebook, folder: Path, *, network: bool, home: Path | None = None) -> Sandbox:
    """Return the sandbox of another person's notebook.

    Parameters
    ----------
    notebook : Notebook
        Kernels of another Python may be installed anywhere: they can read all files except those with credentials.
    folder : Path
        The run's folder; the sandbox's own folders are on the same disk.
    network : bool
    home : Path, optional
        The user's home folder.
    """
    if notebook.kernel in OWN_KERNELS:
        return Sandbox(host="system", home=HOME_FOLDER, own_tmp=True, network=network, disk=folder)
    credential_paths = login_paths(home)
    folders = tuple(str(p) for p in credential_paths if p.is_dir())
    files = {str(p): (os.devnull, False) for p in credential_paths if p.is_file()}
    return Sandbox(
        host="read", hidden=folders, mounts=files, home=OTHER_KERNEL_HOME, own_tmp=True, network=network, disk=folder
    )


def isolation_warning(*, network: bool, is_over: bool = True) -> str:
    """Return a warning for systems without sandboxes, in the past tense after a run; "" where they are supported."""
    support = isolation_support()
    if support.sandboxes:
        return ""
    had, could, was = ("had", "could", "was") if is_over else ("has", "can", "is")
    network_part = "" if network else f", and the network {was} open to it"
    return (
        f"this system has no namespaces ({support.reason}): the notebook {had} an empty home and no logins in its "
        f"environment, but {could} read this machine's files{network_part}; {support.hint}"
    )
