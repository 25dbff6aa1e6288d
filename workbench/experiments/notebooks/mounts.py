"""Kaggle's folders ``/kaggle/input`` and ``/kaggle/working`` for a notebook.

Where the system allows it, the notebook runs in a sandbox (`workbench.core.isolation`) that has ``/kaggle``, so that
Python, shells and C libraries all find its files. Elsewhere, as in containers that forbid namespaces, the same folders
are created next to the working folder, and the paths in the notebook's code are replaced.
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

__all__ = [
    "KAGGLE_ENVIRONMENT",
    "KaggleInputs",
    "PreparedNotebook",
    "has_kaggle_environment",
    "kaggle_folders",
    "output_file",
]

KAGGLE = "/kaggle"

KAGGLE_ENVIRONMENT = {
    "KAGGLE_KERNEL_RUN_TYPE": "Batch",
    "KAGGLE_URL_BASE": "https://www.kaggle.com",
    "KAGGLE_KERNEL_INTEGRATIONS": "",
    "KAGGLE_CONTAINER_NAME": "kaggle_workbench-0-local",
}
"""Variables by which notebooks detect that they run on Kaggle, with the values that committed notebooks print there.
KAGGLE_IS_COMPETITION_RERUN is not set: Kaggle sets it when it runs a submitted notebook on the hidden test set, and
here is only the public one. The variables of Kaggle's data proxy are set by `data_proxy`."""

MAX_COPIED_BYTES = 2 << 30
"""The total size up to which inputs are copied where nothing can be mounted, so that a notebook that writes into them
does not change the downloads. Larger inputs are linked and made read-only, which does not stop root: changes are
detected afterwards."""

WRITE_PERMISSIONS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class KaggleInputs:
    """The content of ``/kaggle/input``; all input paths are relative to it.

    Attributes
    ----------
    folders : dict
        Input path, such as ``"competitions/titanic"`` -> local folder; "" is ``/kaggle/input`` itself.
    links : dict
        Input path -> the input path that it is a link to.
    handles : dict
        Kaggle's present name of the data, such as ``"datasets/owner/slug"`` -> input path.
    targets : tuple of str
        Files outside of the folders that links in them lead to; they are readable under their own paths.
    """

    folders: Mapping[str, Path] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    handles: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreparedNotebook:
    """A notebook with its folders, as arguments of `execute`.

    Attributes
    ----------
    notebook : Notebook
    folder : Path
        The kernel's working directory.
    sandbox : Sandbox, or None
        None where the system supports none.
    environment : dict
    attached_folders : dict, or None
        Name of the data -> its folder as the notebook sees it.
    """

    notebook: Notebook
    folder: Path
    sandbox: Sandbox | None = None
    environment: dict[str, str] = field(default_factory=dict)
    attached_folders: dict[str, str] | None = None


@contextmanager
def kaggle_folders(
    notebook: Notebook, inputs: KaggleInputs, working: Path, *, sandbox: Sandbox | None = None
) -> Iterator[PreparedNotebook]:
    """Provide Kaggle's folders to a notebook until the end of the block.

    Parameters
    ----------
    notebook : Notebook
    inputs : KaggleInputs
    working : Path
        The folder in place of ``/kaggle/working``, which is named ``working``; its parent is used for the inputs.
    sandbox : Sandbox, optional
        The sandbox to which the folders are added; by default one that shows the whole machine. Where the system
        supports no sandboxes, only its private home and temporary folder are used, by HOME and TMPDIR.
    """
    sandbox = sandbox or Sandbox()
    if not isolation_support().sandboxes or (sandbox.host != "system" and working.resolve().is_relative_to(KAGGLE)):
        with _folders_by_links(notebook, inputs, working, sandbox) as prepared:
            yield prepared
        return
    mounts = {f"{KAGGLE}/working": (str(working.resolve()), True)}
    for input_path, folder in inputs.folders.items():
        mounts[_joined(f"{KAGGLE}/input", input_path)] = (str(folder.resolve()), False)
    links = {
        _joined(f"{KAGGLE}/input", input_path): os.path.relpath(f"/{target}", Path(f"/{input_path}").parent)
        for input_path, target in inputs.links.items()
    }
    folder = Path(f"{KAGGLE}/working")
    sandbox = replace(
        sandbox,
        folder=str(folder),
        mounts={**sandbox.mounts, **mounts},
        links={**sandbox.links, **links},
        scratch=(*sandbox.scratch, KAGGLE),
        hidden=(*sandbox.hidden, f"{KAGGLE}/input"),
        visible=(*sandbox.visible, *inputs.targets),
    )
    environment = KAGGLE_ENVIRONMENT | _path_variable(notebook) | {"PWD": str(folder)}
    attached_folders = {name: _joined(f"{KAGGLE}/input", input_path) for name, input_path in inputs.handles.items()}
    yield PreparedNotebook(notebook, folder, sandbox, environment, attached_folders)


def has_kaggle_environment() -> bool:
    """Return whether this process belongs to a notebook that runs in such folders, as adopted ones do."""
    return os.environ.get("KAGGLE_CONTAINER_NAME") == KAGGLE_ENVIRONMENT["KAGGLE_CONTAINER_NAME"]


def output_file(working: Path, name: str) -> Path | None:
    """Return a file that a notebook wrote to its working folder; None if there is none.

    Links are ignored: they may lead to files that the notebook itself can't read.
    """
    path = working / name
    is_inside = path.resolve() == working.resolve() / Path(name)
    return path if is_inside and path.is_file() else None


def _path_variable(notebook: Notebook) -> dict[str, str]:
    """Return a PATH on which `!python` and `!pip` are the kernel's, even if its environment is not activated."""
    if notebook.kernel not in ("", "python3"):
        return {}
    return {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])}


def _joined(root: str, input_path: str) -> str:
    return f"{root}/{input_path}" if input_path else root


# ----------------------------------------------------------------------------------------------- without a sandbox


@contextmanager
def _folders_by_links(
    notebook: Notebook, inputs: KaggleInputs, working: Path, sandbox: Sandbox
) -> Iterator[PreparedNotebook]:
    """Copy or link the inputs next to the working folder, and replace the paths in the notebook's code."""
    kaggle = working.resolve().parent
    root = kaggle / "input"
    stamp_by_linked_file: dict[Path, tuple[int, int]] = {}
    try:
        with storage_errors(root):
            _remove_folder(root)
            root.mkdir()
            n_bytes = sum(_folder_bytes(folder) for folder in inputs.folders.values())
            is_copied = n_bytes <= min(MAX_COPIED_BYTES, shutil.disk_usage(root).free // 2)
            for input_path, folder in inputs.folders.items():
                _copy_or_link(folder.resolve(), root / input_path, None if is_copied else stamp_by_linked_file)
            for input_path, target in inputs.links.items():
                (root / input_path).parent.mkdir(parents=True, exist_ok=True)
                (root / input_path).symlink_to(root / target)
        environment = KAGGLE_ENVIRONMENT | _path_variable(notebook)
        environment |= {"PWD": str(kaggle / "working"), "KAGGLE_CACHE_MOUNT_FOLDER": str(root)}
        attached_folders = {name: _joined(str(root), input_path) for name, input_path in inputs.handles.items()}
        with _private_folders(sandbox) as variables, _read_only(stamp_by_linked_file):
            yield PreparedNotebook(
                with_kaggle_folder(notebook, kaggle),
                kaggle / "working",
                None,
                environment | variables,
                attached_folders,
            )
    finally:
        _remove_folder(root)
        _check_unchanged(notebook, stamp_by_linked_file)


@contextmanager
def _private_folders(sandbox: Sandbox) -> Iterator[dict[str, str]]:
    """Create the private home and temporary folder of a sandbox; yield the variables with their paths."""
    with tempfile.TemporaryDirectory(dir=sandbox.disk, prefix=".wb-own-", ignore_cleanup_errors=True) as folder:
        is_private = {"HOME": sandbox.home is not None, "TMPDIR": sandbox.own_tmp}
        paths = {name: Path(folder).resolve() / name.lower() for name in is_private if is_private[name]}
        for path in paths.values():
            path.mkdir()
        yield {name: str(path) for name, path in paths.items()}


def _remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _folder_bytes(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(
            _folder_bytes(Path(e.path)) if e.is_dir() else e.stat().st_size
            for e in entries
            if e.is_dir() or e.is_file()
        )


def _copy_or_link(source: Path, target: Path, stamp_by_linked_file: dict[Path, tuple[int, int]] | None) -> None:
    """Recreate the folders of `source` and copy its files.

    With `stamp_by_linked_file`, files are linked instead, and their stamps are added to it. Folders are never linked:
    `os.walk` does not follow such links.
    """
    target.mkdir(parents=True, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir():
                _copy_or_link(source / entry.name, target / entry.name, stamp_by_linked_file)
            elif stamp_by_linked_file is None and entry.is_file():
                shutil.copy2(entry.path, target / entry.name)
            else:
                (target / entry.name).symlink_to(entry.path)
                if stamp_by_linked_file is not None and entry.is_file():
                    stamp_by_linked_file[Path(entry.path)] = _stamp(Path(entry.path))


@contextmanager
def _read_only(paths: Iterable[Path]) -> Iterator[None]:
    """Remove the write permissions of files until the end of the block; root can write all the same."""
    mode_by_path: dict[Path, int] = {}
    try:
        for path in paths:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & WRITE_PERMISSIONS:
                with suppress(OSError):  # another user's file, or a file system without permissions
                    path.chmod(mode & ~WRITE_PERMISSIONS)
                    mode_by_path[path] = mode
        yield
    finally:
        for path, mode in mode_by_path.items():
            with suppress(OSError):
                path.chmod(mode)


def _stamp(path: Path) -> tuple[int, int]:
    """Return the size and the modification time of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _check_unchanged(notebook: Notebook, stamp_by_linked_file: Mapping[Path, tuple[int, int]]) -> None:
    """Check that a notebook has not changed the files that were linked.

    Raises
    ------
    NotebookError
        When files changed; the message lists up to three of them.
    """
    changed = [str(path) for path, stamp in stamp_by_linked_file.items() if not path.is_file() or _stamp(path) != stamp]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise NotebookError(
            f"{notebook.path} wrote into its inputs, which are read-only on Kaggle: {', '.join(changed[:3])}{more} "
            "changed, and so did the downloads",
            hint="write to /kaggle/working; `wb fetch SLUG --force` downloads a competition's files again",
        )
