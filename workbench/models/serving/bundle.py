"""A bundle: a finished run, packed with everything that it needs to predict outside the workspace."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from workbench.core.cache import file_sha256, write_json
from workbench.core.errors import DamagedError, NotFoundError

__all__ = [
    "DATASETS",
    "FORMAT",
    "INPUTS",
    "MANIFEST",
    "MODEL_FILE",
    "RECEIPT",
    "Bundle",
    "find_bundle",
    "find_data",
    "flat_name",
    "read_bundle",
    "receipt",
]

FORMAT = 1
MANIFEST = "wb-manifest.json"
"""The file by which a bundle is found among the inputs."""

RECEIPT = "wb-receipt.json"
"""A file that a kernel writes next to its submission, to tell the outputs of different pushes apart."""

INPUTS = Path("/kaggle/input")
"""The folder of a notebook's inputs on Kaggle."""

DATASETS = ("datasets/*/*", "datasets/*/*/*", "notebooks/*/*", "notebooks/*/*/*", "*", "*/*")
"""Patterns for the folders of datasets and of other notebooks' outputs, in Kaggle's current and earlier layout, and for
their subfolders. Deeper folders are not searched: there may be a million images."""

EMPTY_SHA256 = hashlib.sha256().hexdigest()

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
"""Kaggle unpacks uploaded files with these suffixes."""

MODEL_FILE = re.compile(r"t(\d+)-(?:f(\d+)|(all))-s(\d+)\.txt")


@dataclass(frozen=True)
class Bundle:
    """A finished run with everything that it needs to predict outside the workspace.

    Attributes
    ----------
    slug : str
    exp : int
    run_id : str
    spec : dict
        As in `run.json`: features, drop, categorical, seeds, model, …
    folds : str
        The content key of the folds that the models were trained on.
    files : dict
        Name in the bundle, such as ``"models/t0-f0-s1.txt"`` -> path.
    """

    slug: str
    exp: int
    run_id: str
    spec: dict[str, Any]
    folds: str
    files: Mapping[str, Path]

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models' files, without the folder."""
        names = (name.removeprefix("models/") for name in self.files)
        return tuple(name for name in names if MODEL_FILE.fullmatch(name))

    @property
    def learned(self) -> dict[str, Path]:
        """The files of the folder of models, by name: the models, and the files of `LearnedColumns`."""
        return {n.removeprefix("models/"): path for n, path in self.files.items() if n.startswith("models/")}

    def code(self) -> Iterator[tuple[str, Path]]:
        """Yield the name and path of each file of the competition's definition and code."""
        for name, path in self.files.items():
            if name.startswith("competition/"):
                yield name.removeprefix("competition/"), path


def flat_name(name: str) -> str:
    """Return the name of a bundle's file in a dataset, which has no folders and must not have archives.

    Examples
    --------
    >>> flat_name("models/t0-f0-s1.txt"), flat_name("competition/lib/text/clean.py")
    ('t0-f0-s1.txt', 'lib--text--clean.py')
    >>> flat_name("competition/lookup.csv.gz")
    'lookup.csv.gz.packed'
    """
    parts = name.split("/")
    flat = "--".join(parts[1:]) if len(parts) > 1 else name
    return f"{flat}.packed" if flat.lower().endswith(ARCHIVES) else flat


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check the digests of its files.

    Files are searched for in the manifest's folder, under their name or flat name; on Kaggle then in other datasets, as
    files that did not change are not uploaded again.

    Parameters
    ----------
    folder : Path
        The folder of the manifest.

    Raises
    ------
    DamagedError
        When the manifest or a file is missing or has changed.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        bundle_format, files = int(manifest["format"]), dict(manifest["files"])
        fields = (manifest["slug"], int(manifest["exp"]), manifest["run_id"], dict(manifest["spec"]), manifest["folds"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise DamagedError(f"{path} is missing or damaged: {exc}", hint="`wb kernel build` makes it again") from exc
    unsafe = [name for name in files if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if unsafe:
        raise DamagedError(
            f"{path} names a file outside its folder: {unsafe[0]!r}", hint="`wb kernel build` makes it again"
        )
    if bundle_format != FORMAT:
        raise DamagedError(
            f"{path} has the format {bundle_format}; this version reads {FORMAT}", hint="build and push again"
        )
    input_folders = _input_folders() if folder.is_relative_to(_inputs()) else []
    # Wheels are only needed to install the packages, before this is called.
    wanted = {name: sha256 for name, sha256 in files.items() if not name.startswith("wheels/")}
    return Bundle(*fields, {name: _find(name, sha256, [folder, *input_folders]) for name, sha256 in wanted.items()})


def _inputs() -> Path:
    """Return the folder of a notebook's inputs; a rehearsal may set another than Kaggle's."""
    return Path(os.environ.get("KAGGLE_CACHE_MOUNT_FOLDER", INPUTS))


def _input_folders() -> list[Path]:
    return [folder for pattern in DATASETS for folder in sorted(_inputs().glob(pattern)) if folder.is_dir()]


def _find(name: str, sha256: str, folders: list[Path]) -> Path:
    """Return the path of the file with this digest in the first of the folders that has it."""
    if sha256 == EMPTY_SHA256:
        return Path(os.devnull)  # datasets can't have empty files, such as an __init__.py
    candidates = [f for folder in folders for f in (folder / name, folder / flat_name(name)) if f.is_file()]
    for file in candidates:
        if file_sha256(file) == sha256:
            return file
    if candidates:
        raise DamagedError(f"{candidates[0]} is not what was packed", hint="`wb kernel push` uploads it again")
    raise DamagedError(f"{folders[0] / name} is missing", hint="`wb kernel push` uploads it again")


def find_bundle() -> Path | None:
    """Return the folder of the bundle among Kaggle's inputs; None if there is none, as outside Kaggle."""
    return next((folder for folder in _input_folders() if (folder / MANIFEST).is_file()), None)


def find_data(slug: str) -> Path:
    """Return the folder of a competition's files among Kaggle's inputs.

    Raises
    ------
    NotFoundError
        When the competition is not an input of the notebook.
    """
    inputs = _inputs()
    candidates = (inputs / "competitions" / slug, inputs / slug)
    data_folder = next((folder for folder in candidates if folder.is_dir()), None)
    if data_folder is None:
        available = [p.relative_to(inputs).as_posix() for n in ("competitions/*", "*") for p in sorted(inputs.glob(n))]
        raise NotFoundError(
            f"no files of {slug!r} in {inputs}, which has {', '.join(available) or 'nothing'}",
            hint="add the competition to the notebook's input",
        )
    return data_folder


def receipt(bundle: str | Path, submission: Path, push: str) -> None:
    """Write a receipt next to a submission: the kernel's push, the run, and the digest of the submission."""
    run_id = json.loads((Path(bundle) / MANIFEST).read_text(encoding="utf-8"))["run_id"]
    contents = {"push": push, "run_id": run_id, "file": submission.name, "sha256": file_sha256(submission)}
    write_json(submission.with_name(RECEIPT), contents)
