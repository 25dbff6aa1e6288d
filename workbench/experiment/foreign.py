"""What a notebook that somebody else wrote sees of this machine: its data, the programs, and nothing of its user's.

It gets no login, neither Kaggle's nor a cloud's nor a database's; variables are passed on by a list of what programs
need, not kept back by a list of what is known to be secret. Its home and temporary folders are empty and its own. There
is no network but where its experiment says ``network = true``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from workbench.credentials import login_places
from workbench.isolation import World, abilities, clean_environment
from workbench.notebooks import Notebook

__all__ = ["foreign_environment", "foreign_world", "not_closed"]

HOME = "/root"

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


def foreign_environment(*, network: bool, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that such a notebook gets.

    Examples
    --------
    >>> foreign_environment(network=False, environment={"PATH": "/bin", "HF_TOKEN": "x", "HTTPS_PROXY": "y"})
    {'PATH': '/bin'}
    """
    proxies = [*PROXIES, *map(str.lower, PROXIES)] if network else []
    return clean_environment(environment, also=proxies)


def foreign_world(notebook: Notebook, folder: Path, *, network: bool, home: Path | None = None) -> World:
    """Return what such a notebook sees.

    Parameters
    ----------
    notebook : Notebook
        A kernel of its own may lie anywhere: then all of the machine can be read, but for the places of logins.
    folder : Path
        The run's, on whose disk its own folders are.
    """
    if notebook.kernel in ("", "python3"):
        return World(host="system", home=HOME, own_tmp=True, network=network, disk=folder)
    places = login_places(home)
    folders = tuple(str(p) for p in places if p.is_dir())
    files = {str(p): (os.devnull, False) for p in places if p.is_file()}
    return World(host="read", hidden=folders, mounts=files, own_tmp=True, network=network, disk=folder)


def not_closed(*, network: bool) -> str:
    """Return what is to be said where the system gives no world of its own; "" where it does."""
    able = abilities()
    if able.worlds:
        return ""
    more = "" if network else ", and the network was open to it"
    return (
        f"this system gives no namespaces ({able.why_not}): the notebook had an empty home and no logins in its "
        f"environment, but could read this machine's files{more}; {able.hint}"
    )
