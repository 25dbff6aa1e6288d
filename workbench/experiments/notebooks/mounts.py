"""Kaggle's folders around a notebook: ``/kaggle/input`` and ``/kaggle/working``, wherever its data lie here.

Where the system lets us, the notebook runs in a world of its own (`workbench.core.isolation`) in which ``/kaggle`` is
there, so that every way to read a file finds it: Python, a shell, a library in C. Elsewhere (containers that forbid
it) the same folders are laid out beside the working folder, and the notebook's text is changed to name those.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.core.errors import NotebookError, storage_errors
from workbench.core.isolation import Sandbox, isolation_support
from workbench.experiments.notebooks.kaggle_notebook import with_kaggle_folder
from workbench.experiments.notebooks.source import Notebook

__all__ = ["KAGGLE_ENVIRONMENT", "Inputs", "Placed", "left_file", "placed"]

KAGGLE = "/kaggle"

KAGGLE_ENVIRONMENT = {
    "KAGGLE_KERNEL_RUN_TYPE": "Batch",
    "KAGGLE_URL_BASE": "https://www.kaggle.com",
    "KAGGLE_KERNEL_INTEGRATIONS": "",
    "KAGGLE_CONTAINER_NAME": "kaggle_workbench-0-local",
}
"""What a committed notebook's environment says on Kaggle, as notebooks print it there: by these they tell whether they
are at Kaggle. KAGGLE_IS_COMPETITION_RERUN is not among them: Kaggle sets it where it runs a submitted notebook again on
the hidden test set, and here is only the public one. The variables of Kaggle's data proxy are set by `data_proxy`."""

COPIED_BYTES = 2 << 30
"""Where nothing can be mounted, inputs of so many bytes in all are copied, so that what a notebook writes into them, as
Kaggle forbids, is not written into the downloads. Larger ones are linked, and read-only meanwhile, which root can pass
by: it is said when one of them changed."""

WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Inputs:
    """What is below ``/kaggle/input``.

    Attributes
    ----------
    folders : dict
        Place, such as ``"competitions/titanic"``, -> the folder here; the place "" is ``/kaggle/input`` itself.
    links : dict
        Place -> the place that it is another name of.
    handles : dict
        Name of the data as Kaggle has it today, such as ``"datasets/owner/slug"`` -> place.
    targets : tuple of str
        Files outside of the folders that links in them lead to: they are seen in their own places, to read.
    """

    folders: Mapping[str, Path] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    handles: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placed:
    """A notebook with Kaggle's folders around it, as `execute` takes it.

    Attributes
    ----------
    notebook : Notebook
    folder : Path
        Where it starts.
    world : Sandbox, or None
        None where the system gives none.
    environment : dict
    attached : dict, or None
        Name of the data -> its folder as the notebook sees it.
    """

    notebook: Notebook
    folder: Path
    world: Sandbox | None = None
    environment: dict[str, str] = field(default_factory=dict)
    attached: dict[str, str] | None = None


@contextmanager
def placed(notebook: Notebook, inputs: Inputs, working: Path, *, like: Sandbox | None = None) -> Iterator[Placed]:
    """Put Kaggle's folders around a notebook for the length of the block.

    Parameters
    ----------
    working : Path
        The folder in place of ``/kaggle/working``; it is called so, and the folder that it is in belongs to it.
    like : Sandbox, optional
        What else the notebook sees of the machine; by default all. Where the system gives no worlds, only its folders
        of its own are: a home, as HOME, and a temporary one, as TMPDIR.
    """
    like = like or Sandbox()
    if not isolation_support().sandboxes or (like.host != "system" and working.resolve().is_relative_to(KAGGLE)):
        with _as_links(notebook, inputs, working, like) as linked:
            yield linked
        return
    mounts = {f"{KAGGLE}/working": (str(working.resolve()), True)}
    for place, folder in inputs.folders.items():
        mounts[_below(f"{KAGGLE}/input", place)] = (str(folder.resolve()), False)
    links = {
        _below(f"{KAGGLE}/input", place): os.path.relpath(f"/{target}", Path(f"/{place}").parent)
        for place, target in inputs.links.items()
    }
    folder = Path(f"{KAGGLE}/working")
    world = replace(
        like,
        folder=str(folder),
        mounts={**like.mounts, **mounts},
        links={**like.links, **links},
        scratch=(*like.scratch, KAGGLE),
        hidden=(*like.hidden, f"{KAGGLE}/input"),
        visible=(*like.visible, *inputs.targets),
    )
    environment = KAGGLE_ENVIRONMENT | _path(notebook) | {"PWD": str(folder)}
    attached = {name: _below(f"{KAGGLE}/input", place) for name, place in inputs.handles.items()}
    yield Placed(notebook, folder, world, environment, attached)


def left_file(working: Path, name: str) -> Path | None:
    """Return a file that a notebook left in its working folder; None where it left none of that name.

    A link is none: it may lead to what the notebook itself can't see, and is followed by whoever reads it.
    """
    path = working / name
    is_inside = path.resolve() == working.resolve() / Path(name)
    return path if is_inside and path.is_file() else None


def _path(notebook: Notebook) -> dict[str, str]:
    """Let `!python` and `!pip` be the kernel's, as on Kaggle, though its environment may not be activated here."""
    if notebook.kernel not in ("", "python3"):
        return {}
    return {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])}


def _below(root: str, place: str) -> str:
    return f"{root}/{place}" if place else root


# ------------------------------------------------------------------------------------------------- without mounting


@contextmanager
def _as_links(notebook: Notebook, inputs: Inputs, working: Path, like: Sandbox) -> Iterator[Placed]:
    """Lay the folders out beside the working folder, as copies or links, and name them in the notebook's text."""
    kaggle = working.resolve().parent
    root = kaggle / "input"
    linked: dict[Path, tuple[int, int]] = {}
    try:
        with storage_errors(root):
            _remove(root)
            root.mkdir()
            size = sum(_size(folder) for folder in inputs.folders.values())
            is_copied = size <= min(COPIED_BYTES, shutil.disk_usage(root).free // 2)
            for place, folder in inputs.folders.items():
                _lay_out(folder.resolve(), root / place, None if is_copied else linked)
            for place, target in inputs.links.items():
                (root / place).parent.mkdir(parents=True, exist_ok=True)
                (root / place).symlink_to(root / target)
        environment = KAGGLE_ENVIRONMENT | _path(notebook)
        environment |= {"PWD": str(kaggle / "working"), "KAGGLE_CACHE_MOUNT_FOLDER": str(root)}
        attached = {name: _below(str(root), place) for name, place in inputs.handles.items()}
        with _own_folders(like) as variables, _read_only(linked):
            yield Placed(
                with_kaggle_folder(notebook, kaggle), kaggle / "working", None, environment | variables, attached
            )
    finally:
        _remove(root)
        _check_unchanged(notebook, linked)


@contextmanager
def _own_folders(like: Sandbox) -> Iterator[dict[str, str]]:
    """Make the folders that a notebook is to have for itself, and give the variables that lead there."""
    with tempfile.TemporaryDirectory(dir=like.disk, prefix=".wb-own-", ignore_cleanup_errors=True) as folder:
        names = {"HOME": like.home is not None, "TMPDIR": like.own_tmp}
        wanted = {name: Path(folder).resolve() / name.lower() for name, is_own in names.items() if is_own}
        for path in wanted.values():
            path.mkdir()
        yield {name: str(path) for name, path in wanted.items()}


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _size(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(
            _size(Path(e.path)) if e.is_dir() else e.stat().st_size for e in entries if e.is_dir() or e.is_file()
        )


def _lay_out(source: Path, target: Path, linked: dict[Path, tuple[int, int]] | None) -> None:
    """Make the folders of `source`, for walks do not follow links to folders, and copy its files.

    Where there is a `linked`, links are made instead, and it gets the files that they lead to with how they are.
    """
    target.mkdir(parents=True, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir():
                _lay_out(source / entry.name, target / entry.name, linked)
            elif linked is None and entry.is_file():
                shutil.copy2(entry.path, target / entry.name)
            else:
                (target / entry.name).symlink_to(entry.path)
                if linked is not None and entry.is_file():
                    linked[Path(entry.path)] = _stamp(Path(entry.path))


@contextmanager
def _read_only(paths: Iterable[Path]) -> Iterator[None]:
    """Take the right to write files from everybody for the length of the block: root needs none."""
    changed: dict[Path, int] = {}
    try:
        for path in paths:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & WRITABLE:
                with suppress(OSError):  # another user's, or a disk that has no rights
                    path.chmod(mode & ~WRITABLE)
                    changed[path] = mode
        yield
    finally:
        for path, mode in changed.items():
            with suppress(OSError):
                path.chmod(mode)


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _check_unchanged(notebook: Notebook, linked: Mapping[Path, tuple[int, int]]) -> None:
    """Say which of the files that links led to are no longer what they were.

    Raises
    ------
    NotebookError
        Names them.
    """
    changed = [str(path) for path, stamp in linked.items() if not path.is_file() or _stamp(path) != stamp]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise NotebookError(
            f"{notebook.path} wrote into its inputs, which can only be read on Kaggle: {', '.join(changed[:3])}{more} "
            "changed, and what was downloaded with it",
            hint="let it write into /kaggle/working; `wb fetch SLUG --force` brings a competition's files again",
        )
