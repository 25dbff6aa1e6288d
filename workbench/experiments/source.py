"""The copy of code and definitions in a run's folder: all files that the run's key depends on."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.core.cache import file_sha256, write_bytes
from workbench.core.errors import DataError, storage_errors
from workbench.core.memory import format_bytes
from workbench.core.read_once import digest_once, read_once
from workbench.data.competition import Competition
from workbench.experiments.earlier_keys import earlier_code_keys
from workbench.experiments.runner import RunPlan, UsedSource
from workbench.features import code_files, code_key, package_version

__all__ = ["DATA", "SourceCopy", "code_keys", "named_code", "source_copy", "write_source"]

DATA = ("data/raw/", "data/tables/")
"""Folders of the competition's data, whose files are not copied."""

CODE = (".py", ".toml", ".ipynb")
"""Files that are read once, see `workbench.core.read_once`."""

MAX_FILE_BYTES = 64 * 2**20
"""A larger file is not copied; its digest is recorded."""

MAX_TOTAL_BYTES = 512 * 2**20

REFERENCE = re.compile(r"([^:\n]+\.py):\w+")
"""A function of the competition's folder, as ``metric = "metric.py:score"`` names it."""


@dataclass(frozen=True)
class SourceCopy:
    """The source files that are copied into a run's folder.

    Attributes
    ----------
    files : dict
        Code, and files that features and models read: path relative to the competition's folder -> path.
    records : dict
        The definitions and the notebook: name of the copy -> path.
    excluded : dict
        File that is not copied -> reason.
    packages : dict
        Installed package that the code imports -> version.
    """

    files: dict[str, Path]
    records: dict[str, Path]
    excluded: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on files that are not copied."""
        reasons = {name: why for name, why in self.excluded.items() if not name.startswith(DATA)}
        return tuple(f"{name} is not kept with the run: {why}" for name, why in reasons.items())


def source_copy(plan: RunPlan, used_source: UsedSource) -> SourceCopy:
    """Return the files that are copied into the folder of a run.

    These are the Python files in the competition's folder and their imports from there, the functions that the
    definition and the experiment name, and the files that features and models read.
    """
    c = plan.competition
    named = [c.folder / reference.partition(":")[0] for reference in _references(plan)]
    code = code_files([c.paths.features, *(p for p in named if p.is_file())])
    files, packages = (
        {*c.folder.glob("*.py"), *code.files, *used_source.code_files},
        {*code.packages, *used_source.packages},
    )
    records = [c.folder / "competition.toml", plan.spec.path, *used_source.documents]
    if plan.spec.feature_list is not None:
        records.append(c.paths.selection(plan.spec.feature_list))
    read_files = {c.folder / name for name in used_source.data_files}
    copied, excluded = _checked(sorted(files | read_files), c.folder)
    # Loading features.py may read files of unused features; without them it could not be loaded elsewhere.
    unused_files = {c.folder / name for name in used_source.unused_data_files} - files - read_files
    copied |= _checked(sorted(p for p in unused_files if p.is_file()), c.folder)[0]
    versions = {name: package_version(name) for name in sorted(packages) if name not in sys.stdlib_module_names}
    return SourceCopy(
        copied, _record_names(records, copied, c.folder), excluded, {n: v for n, v in versions.items() if v}
    )


def write_source(source: SourceCopy, folder: Path) -> dict[str, Any]:
    """Copy the files into a folder, and return the details for `run.json`."""
    with storage_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)  # an interrupted run may have left other files
        copies = source.records | source.files
        for name, path in copies.items():
            write_bytes(folder / name, _bytes_of(path))
    digests = {name: file_sha256(folder / name) for name in sorted(source.files)}
    return {"files": digests, "excluded": source.excluded, "packages": source.packages}


def _bytes_of(path: Path) -> bytes:
    """Return the content that was executed, or that the key of a feature or model was computed from.

    Raises
    ------
    DataError
        When a data file has changed since its digest was computed.
    """
    if path.suffix in CODE:
        return read_once(path)
    data, digest = path.read_bytes(), digest_once(path)
    if hashlib.sha256(data).hexdigest() != digest:
        raise DataError(
            f"{path} was changed while the run was starting", hint="run it again, now that the file is saved"
        )
    return data


def code_keys(plan: RunPlan, used_source: UsedSource) -> dict[str, str]:
    """Return the keys of the features and functions that a run uses, by ``file.py:name``."""
    c = plan.competition
    references = {r for r in _references(plan) if (c.folder / r.partition(":")[0]).is_file()}
    if c.paths.features.exists():
        references |= {f"{c.paths.features.name}:{name}" for name in used_source.features}
    split = (reference.partition(":") for reference in sorted(references))
    with earlier_code_keys(c, plan.spec.number):
        return {f"{file}:{name}": code_key(c.folder / file, name) for file, _, name in split}


def named_code(competition: Competition, model: Any) -> list[str]:
    """Return the files of the functions that a definition and a model's parameters name, relative to the folder."""
    return [reference.partition(":")[0] for reference in _named(competition, model)]


def _named(competition: Competition, model: Any) -> list[str]:
    d = competition.definition
    return [text for text in _texts([d.metric, d.cv.function or "", model]) if REFERENCE.fullmatch(text)]


def _references(plan: RunPlan) -> list[str]:
    """Return the functions that the definition and the experiment name, as ``file.py:name``."""
    return _named(plan.competition, plan.spec.model)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _checked(paths: Sequence[Path], folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Return the files that are copied, by their relative path, and the reasons why others are not."""
    copied: dict[str, Path] = {}
    excluded: dict[str, str] = {}
    total = 0
    for path in paths:
        is_inside = path.is_relative_to(folder) and ".." not in path.relative_to(folder).parts
        name = path.relative_to(folder).as_posix() if is_inside else str(path)
        size = path.stat().st_size
        if not is_inside:
            excluded[name] = "it is outside the competition's folder"
        elif name.startswith(DATA):
            excluded[name] = f"it is of the competition's data (digest {file_sha256(path)[:16]})"
        elif not path.resolve().is_relative_to(folder.resolve()):
            excluded[name] = f"it is a link to {path.resolve()}, outside the competition's folder"
        elif size > MAX_FILE_BYTES or total + size > MAX_TOTAL_BYTES:
            excluded[name] = f"it has {format_bytes(size)} (digest {file_sha256(path)[:16]})"
        else:
            copied[name] = path
            total += size
    return copied, excluded


def _record_names(paths: Iterable[Path], copied: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Return records by the names of their copies, which get a subfolder where a code file has the same name."""
    path_by_name: dict[str, Path] = {}
    for path in paths:
        other = copied.get(path.name)
        is_name_taken = other is not None and other.resolve() != path.resolve() and path.parent != folder
        path_by_name[f"{path.parent.name}/{path.name}" if is_name_taken else path.name] = path
    return path_by_name
