"""A finished run packed for where there is nothing else: its manifest, and the files that it names."""

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
    "MODEL",
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
"""The name by which a bundle is found among the inputs."""

RECEIPT = "wb-receipt.json"
"""What a kernel leaves beside its submission: by it the output of one push is told from another's."""

INPUTS = Path("/kaggle/input")
"""Where Kaggle puts what a notebook reads."""

DATASETS = ("datasets/*/*", "datasets/*/*/*", "notebooks/*/*", "notebooks/*/*/*", "*", "*/*")
"""Where in there datasets and other notebooks' output are, today and earlier, and the folders in them. Deeper is not
looked: there may be a million images."""

EMPTY = hashlib.sha256().hexdigest()

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
"""Kaggle takes apart what is uploaded under such a name."""

MODEL = re.compile(r"t(\d+)-(?:f(\d+)|(all))-s(\d+)\.txt")


@dataclass(frozen=True)
class Bundle:
    """A finished run, packed for where there is nothing else.

    Attributes
    ----------
    slug : str
    exp : int
    run_id : str
    spec : dict
        As `run.json` has it: features, drop, categorical, seeds, model, …
    folds : str
        The content key of the folds that the models were trained on.
    files : dict
        Where each file is, by its name in the bundle, such as ``"models/t0-f0-s1.txt"``.
    """

    slug: str
    exp: int
    run_id: str
    spec: dict[str, Any]
    folds: str
    files: Mapping[str, Path]

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models' files, without their folder."""
        names = (name.removeprefix("models/") for name in self.files)
        return tuple(name for name in names if MODEL.fullmatch(name))

    @property
    def learned(self) -> dict[str, Path]:
        """The files beside the models, by their names: what the models' columns were."""
        return {n.removeprefix("models/"): path for n, path in self.files.items() if n.startswith("models/")}

    def code(self) -> Iterator[tuple[str, Path]]:
        """Give the competition's definition and code: each name, and where it is."""
        for name, path in self.files.items():
            if name.startswith("competition/"):
                yield name.removeprefix("competition/"), path


def flat_name(name: str) -> str:
    """Return the name of a bundle's file in a dataset, which has no folders, and where an archive would be unpacked.

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
    """Read a bundle and check that its files are those that were packed.

    A file is looked for beside the manifest first, under its name or without the folder; among Kaggle's inputs then
    in the other datasets, for what did not change stays in an older one. What decides is its digest.

    Parameters
    ----------
    folder : Path
        With the manifest.

    Raises
    ------
    DamagedError
        When the manifest or a file is missing or changed.
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
    other_places = _places() if folder.is_relative_to(_inputs()) else []
    # The packages are installed by now, or never will be.
    wanted = {name: sha256 for name, sha256 in files.items() if not name.startswith("wheels/")}
    return Bundle(*fields, {name: _find(name, sha256, [folder, *other_places]) for name, sha256 in wanted.items()})


def _inputs() -> Path:
    """Return the folder of the inputs: another than Kaggle's where a rehearsal can't make that one."""
    return Path(os.environ.get("KAGGLE_CACHE_MOUNT_FOLDER", INPUTS))


def _places() -> list[Path]:
    return [place for pattern in DATASETS for place in sorted(_inputs().glob(pattern)) if place.is_dir()]


def _find(name: str, sha256: str, places: list[Path]) -> Path:
    if sha256 == EMPTY:
        return Path(os.devnull)  # datasets take no empty files, as an __init__.py often is
    candidates = [f for place in places for f in (place / name, place / flat_name(name)) if f.is_file()]
    for file in candidates:
        if file_sha256(file) == sha256:
            return file
    if candidates:
        raise DamagedError(f"{candidates[0]} is not what was packed", hint="`wb kernel push` uploads it again")
    raise DamagedError(f"{places[0] / name} is missing", hint="`wb kernel push` uploads it again")


def find_bundle() -> Path | None:
    """Return the folder of the bundle among Kaggle's inputs; None where there is none, as at home."""
    return next((place for place in _places() if (place / MANIFEST).is_file()), None)


def find_data(slug: str) -> Path:
    """Return the folder of a competition's files among Kaggle's inputs.

    Raises
    ------
    NotFoundError
        Where the competition is no input of the notebook.
    """
    inputs = _inputs()
    places = (inputs / "competitions" / slug, inputs / slug)
    data_folder = next((p for p in places if p.is_dir()), None)
    if data_folder is None:
        available = [p.relative_to(inputs).as_posix() for n in ("competitions/*", "*") for p in sorted(inputs.glob(n))]
        raise NotFoundError(
            f"no files of {slug!r} in {inputs}: there is {', '.join(available) or 'nothing'}",
            hint="add the competition to the notebook's input",
        )
    return data_folder


def receipt(bundle: str | Path, submission: Path, push: str) -> None:
    """Write beside a submission which push of the kernel and which run it is of, and its digest."""
    run_id = json.loads((Path(bundle) / MANIFEST).read_text(encoding="utf-8"))["run_id"]
    contents = {"push": push, "run_id": run_id, "file": submission.name, "sha256": file_sha256(submission)}
    write_json(submission.with_name(RECEIPT), contents)
