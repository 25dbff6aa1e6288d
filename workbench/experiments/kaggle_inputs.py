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
    Inputs,
    Notebook,
    competition_places,
    data_places,
    is_named,
    missing_inputs,
    reads,
    text_of,
)

__all__ = ["INPUT", "data_stamps", "kaggle_inputs", "not_here", "other_data"]

INPUT = ("data", "input")
"""Below a competition's folder: what ``/kaggle/input`` is to a notebook. ``competitions`` in it is ours; who has other
data puts them there under the names that they have on Kaggle: ``datasets/OWNER/SLUG``."""


def kaggle_inputs(folder: Path, notebook: Notebook, context: RunContext = SILENT) -> tuple[Inputs, list[str]]:
    """Unpack the files that a notebook reads, and return where they appear below ``/kaggle/input``.

    Parameters
    ----------
    folder : Path
        The competition's folder.
    notebook : Notebook
    context : RunContext

    Returns
    -------
    inputs : Inputs
    still_packed : list of str
        The files that are not unpacked, as the notebook's text does not name them and all files are too large.

    Raises
    ------
    StorageError, DamagedError
        See `unpacked_files`.
    """
    text, slug = text_of(notebook), folder.name
    files, still_packed = _competition_files(folder, text, context)
    other_sources = other_data(folder, text)
    names = [p.name for p in files.iterdir()]
    first, *more = competition_places(text, slug, names)
    if first == "" and other_sources:
        # Nothing can be put beside files in a folder that can only be read.
        first, more = f"competitions/{slug}", [""]
    folders, links = {first: files}, {place: first for place in more if place}
    targets = {*_link_targets(files)}
    links |= {name: f"{first}/{name}" for name in names} if "" in more else {}
    handles = {f"competitions/{slug}": first}
    for name, source in other_sources.items():
        data, (first, *more) = source, data_places(text, name)
        if name.startswith("competitions/"):
            data, packed = _competition_files(source, text, context)
            still_packed += packed
            targets.update(_link_targets(data))
        handles[name] = first
        folders.setdefault(first, data)
        for place in more:
            links.setdefault(place, first)
    taken = {str(p) for place in folders for p in (PurePosixPath(place), *PurePosixPath(place).parents)}
    links = {place: to for place, to in links.items() if place not in taken}
    return Inputs(folders, links, handles, tuple(sorted(targets))), still_packed


def _competition_files(folder: Path, text: str, context: RunContext) -> tuple[Path, list[str]]:
    slug, raw = folder.name, folder / "data" / "raw"
    files = folder.joinpath(*INPUT, "competitions", slug)
    return files, unpacked_files(raw, files, f"{slug}.zip", is_read=reads(text), report=context.stage)


def _link_targets(folder: Path) -> Iterator[str]:
    """Yield the targets of symbolic links in the competition's files, which replace hard links across disks.

    Links in other data are not followed: those of an archive may lead anywhere.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield os.path.realpath(entry.path)
            elif entry.is_dir():
                yield from _link_targets(Path(entry.path))


def other_data(folder: Path, text: str) -> dict[str, Path]:
    """Return the available other data that a notebook names: name, such as "datasets/owner/slug" -> folder.

    They are in the competition's ``data/input``, in other competitions of the workspace, or in kagglehub's cache.
    """
    named_data: dict[str, Path] = {}
    for name, source in (*_data_in(folder.joinpath(*INPUT)), *_competitions(folder), *_in_hub_cache()):
        if name not in named_data and is_named(text, name):
            named_data[name] = source
    return named_data


def not_here(folder: Path, notebook: Notebook) -> list[str]:
    """Return the missing data that a notebook names, by Kaggle's names."""
    text, slug = text_of(notebook), folder.name
    available = {slug, f"competitions/{slug}"}
    for name in other_data(folder, text):
        available |= {name, name.rpartition("/")[2], *data_places(text, name)}
    return missing_inputs(text, available, names_at_top(folder / "data" / "raw", f"{slug}.zip"))


def data_stamps(folder: Path, notebook: Notebook) -> dict[str, Any]:
    """Return a stamp of the names, sizes and times of the files of each of the other data that a notebook names."""
    return {name: _stamp(place) for name, place in other_data(folder, text_of(notebook)).items()}


def _stamp(place: Path) -> str:
    root = place / "data" / "raw" if (place / "competition.toml").is_file() else place
    files = sorted(p for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))
    stats = [(p.relative_to(root).as_posix(), p.stat()) for p in files]
    return content_key("data-v1", [[name, s.st_size, s.st_mtime_ns] for name, s in stats])


def _data_in(place: Path) -> Iterator[tuple[str, Path]]:
    for kind in KINDS_OF_DATA:
        for source in sorted(place.glob(f"{kind}/*/*")):
            if source.is_dir():
                yield source.relative_to(place).as_posix(), source
    for source in sorted(place.glob("*")):
        if source.is_dir() and source.name not in (*KINDS_OF_DATA, "competitions"):
            yield source.name, source


def _competitions(folder: Path) -> Iterator[tuple[str, Path]]:
    for other in sorted(folder.parent.iterdir()):
        if other != folder and (other / "data" / "raw").is_dir():
            yield f"competitions/{other.name}", other


def _in_hub_cache(environment: Mapping[str, str] = os.environ) -> Iterator[tuple[str, Path]]:
    """Yield the newest versions in kagglehub's cache, by its layout (kagglehub/cache.py of 1.0.3)."""
    cache = Path(environment.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub")
    for kind, versions in (("datasets", "versions"), ("notebooks", "output/versions")):
        for place in sorted(cache.glob(f"{kind}/*/*")):
            numbered = [p for p in place.glob(f"{versions}/*") if p.name.isdecimal() and p.is_dir()]
            if numbered:
                yield place.relative_to(cache).as_posix(), max(numbered, key=lambda p: int(p.name))
    for place in sorted(cache.glob("models/*/*")):
        yield place.relative_to(cache).as_posix(), place
