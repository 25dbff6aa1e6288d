"""The folder ``/kaggle/input`` of a notebook that was written for Kaggle: the competition's files and other data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.core.cache import content_key
from workbench.core.context import SILENT, RunContext
from workbench.data.ingest import names_at_top, unpacked_files
from workbench.experiments.notebooks import (
    KINDS_OF_DATA,
    KaggleInputs,
    Notebook,
    code_text,
    competition_paths,
    data_paths,
    file_matcher,
    is_mentioned,
    missing_inputs,
)

__all__ = ["INPUT_FOLDER", "data_stamps", "kaggle_inputs", "missing_data", "other_data"]

INPUT_FOLDER = ("data", "input")
"""The folder of a notebook's inputs, below a competition's folder. Its ``competitions`` is written by the workbench;
users put other data in it under Kaggle's names: ``datasets/OWNER/SLUG``."""


def kaggle_inputs(folder: Path, notebook: Notebook, context: RunContext = SILENT) -> tuple[KaggleInputs, list[str]]:
    """Unpack the files that a notebook needs, and return where they are mounted below ``/kaggle/input``.

    Parameters
    ----------
    folder : Path
        The competition's folder.
    notebook : Notebook
    context : RunContext

    Returns
    -------
    inputs : KaggleInputs
    still_packed : list of str
        The files that were not unpacked: the notebook's code does not mention them, and all files are too large.

    Raises
    ------
    StorageError, DamagedError
        See `unpacked_files`.
    """
    text, slug = code_text(notebook), folder.name
    files, still_packed = _competition_files(folder, text, context)
    other_sources = other_data(folder, text)
    names = [p.name for p in files.iterdir()]
    first, *more = competition_paths(text, slug, names)
    if first == "" and other_sources:
        # The competition's folder is mounted read-only: no other data could be mounted in it.
        first, more = f"competitions/{slug}", [""]
    folders, links = {first: files}, {path: first for path in more if path}
    targets = {*_link_targets(files)}
    links |= {name: f"{first}/{name}" for name in names} if "" in more else {}
    handles = {f"competitions/{slug}": first}
    for name, source in other_sources.items():
        data, (first, *more) = source, data_paths(text, name)
        if name.startswith("competitions/"):
            data, packed = _competition_files(source, text, context)
            still_packed += packed
            targets.update(_link_targets(data))
        handles[name] = first
        folders.setdefault(first, data)
        for path in more:
            links.setdefault(path, first)
    occupied = {str(p) for path in folders for p in (PurePosixPath(path), *PurePosixPath(path).parents)}
    links = {path: target for path, target in links.items() if path not in occupied}
    return KaggleInputs(folders, links, handles, tuple(sorted(targets))), still_packed


def _competition_files(folder: Path, text: str, context: RunContext) -> tuple[Path, list[str]]:
    slug, raw = folder.name, folder / "data" / "raw"
    files = folder.joinpath(*INPUT_FOLDER, "competitions", slug)
    return files, unpacked_files(raw, files, f"{slug}.zip", is_read=file_matcher(text), report=context.stage)


def _link_targets(folder: Path) -> Iterator[str]:
    """Yield the targets of symbolic links in the competition's files; they are used where hard links would cross disks.

    Links in other data are not followed: those of an archive may lead anywhere.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield os.path.realpath(entry.path)
            elif entry.is_dir():
                yield from _link_targets(Path(entry.path))


def other_data(folder: Path, text: str) -> dict[str, Path]:
    """Return the available other data that a notebook mentions: name, such as "datasets/owner/slug" -> folder.

    They are searched in the competition's ``data/input``, other competitions of the workspace, and kagglehub's cache.
    """
    folder_by_name: dict[str, Path] = {}
    for name, source in (
        *_input_data(folder.joinpath(*INPUT_FOLDER)),
        *_other_competitions(folder),
        *_hub_cache_data(),
    ):
        if name not in folder_by_name and is_mentioned(text, name):
            folder_by_name[name] = source
    return folder_by_name


def missing_data(folder: Path, notebook: Notebook) -> list[str]:
    """Return Kaggle's names of the data that a notebook mentions and that are missing."""
    text, slug = code_text(notebook), folder.name
    available = {slug, f"competitions/{slug}"}
    for name in other_data(folder, text):
        available |= {name, name.rpartition("/")[2], *data_paths(text, name)}
    return missing_inputs(text, available, names_at_top(folder / "data" / "raw", f"{slug}.zip"))


def data_stamps(folder: Path, notebook: Notebook) -> dict[str, Any]:
    """Return the other data that a notebook mentions: name -> stamp of the names, sizes and times of its files."""
    return {name: _folder_stamp(data) for name, data in other_data(folder, code_text(notebook)).items()}


def _folder_stamp(folder: Path) -> str:
    root = folder / "data" / "raw" if (folder / "competition.toml").is_file() else folder
    files = sorted(p for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))
    file_stats = [(p.relative_to(root).as_posix(), p.stat()) for p in files]
    return content_key("data-v1", [[name, s.st_size, s.st_mtime_ns] for name, s in file_stats])


def _input_data(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and the folder of the data that users put in an input folder."""
    for kind in KINDS_OF_DATA:
        for source in sorted(folder.glob(f"{kind}/*/*")):
            if source.is_dir():
                yield source.relative_to(folder).as_posix(), source
    for source in sorted(folder.glob("*")):
        if source.is_dir() and source.name not in (*KINDS_OF_DATA, "competitions"):
            yield source.name, source


def _other_competitions(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and the folder of the workspace's other competitions with data."""
    for other in sorted(folder.parent.iterdir()):
        if other != folder and (other / "data" / "raw").is_dir():
            yield f"competitions/{other.name}", other


def _hub_cache_data(environment: Mapping[str, str] = os.environ) -> Iterator[tuple[str, Path]]:
    """Yield the data in kagglehub's cache: name -> folder of the newest version.

    For the layout see kagglehub/cache.py (1.0.3).
    """
    cache = Path(environment.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub")
    for kind, versions in (("datasets", "versions"), ("notebooks", "output/versions")):
        for data in sorted(cache.glob(f"{kind}/*/*")):
            numbered = [p for p in data.glob(f"{versions}/*") if p.name.isdecimal() and p.is_dir()]
            if numbered:
                yield data.relative_to(cache).as_posix(), max(numbered, key=lambda p: int(p.name))
    for model in sorted(cache.glob("models/*/*")):
        yield model.relative_to(cache).as_posix(), model
