"""kagglehub, where it is not installed: its downloads give the folders of the data that are here already.

This folder is put before the installed packages for notebooks that were written for Kaggle. Where kagglehub itself is
installed, this module gives way to it. Both ask Kaggle's data proxy, whose part
`workbench.core.notebook_worker.data_proxy` plays.
"""

from __future__ import annotations

import enum
import importlib
import importlib.machinery
import importlib.util
import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

__all__ = [
    "KaggleDatasetAdapter",
    "PolarsFrameType",
    "competition_download",
    "dataset_download",
    "dataset_load",
    "login",
    "model_download",
    "notebook_output_download",
]


class KaggleDatasetAdapter(enum.Enum):
    """What `dataset_load` returns."""

    PANDAS = "pandas"
    HUGGING_FACE = "hugging_face"
    POLARS = "polars"


class PolarsFrameType(enum.Enum):
    """Whether a frame of polars is read at once."""

    LAZY = "lazy"
    EAGER = "eager"


READERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".feather": "feather",
}
"""Of pandas and polars, by a file's ending."""

PANDAS_OPTIONS: dict[str, dict[str, Any]] = {".tsv": {"sep": "\t"}, ".jsonl": {"lines": True}}


def login(validate_credentials: bool = True) -> None:
    """Do nothing: what is here needs no login. A notebook that was exported from Kaggle begins with it."""


def competition_download(handle: str, path: str | None = None, **_: Any) -> str:
    """Return the folder of a competition's files, or one of its files."""
    return _attached({"competitionRef": {"CompetitionSlug": handle}}, path)


def dataset_download(handle: str, path: str | None = None, **_: Any) -> str:
    """Return the folder of a dataset, or a file of it: "owner/name", with "/versions/N" behind it or without."""
    names = ("OwnerSlug", "DatasetSlug", "", "VersionNumber")
    return _attached({"datasetRef": _named(handle, names, 2)}, path)


def dataset_load(
    adapter: KaggleDatasetAdapter,
    handle: str,
    path: str,
    *,
    pandas_kwargs: dict[str, Any] | None = None,
    polars_frame_type: PolarsFrameType = PolarsFrameType.LAZY,
    polars_kwargs: dict[str, Any] | None = None,
    **_: Any,
) -> Any:
    """Return a file of a dataset as a frame of pandas or polars."""
    ending = Path(path).suffix.lower()
    if adapter is KaggleDatasetAdapter.HUGGING_FACE or ending not in READERS:
        raise NotImplementedError(f"{adapter} of {path}: `pip install kagglehub` reads more than is read here")
    file, reader = dataset_download(handle, path), READERS[ending]
    if adapter is KaggleDatasetAdapter.PANDAS:
        options = PANDAS_OPTIONS.get(ending, {}) | (pandas_kwargs or {})
        return getattr(importlib.import_module("pandas"), f"read_{reader}")(file, **options)
    reader = {".jsonl": "ndjson", ".feather": "ipc"}.get(ending, reader)
    options = ({"separator": "\t"} if ending == ".tsv" else {}) | (polars_kwargs or {})
    frame = getattr(importlib.import_module("polars"), f"read_{reader}")(file, **options)
    return frame.lazy() if polars_frame_type is PolarsFrameType.LAZY else frame


def model_download(handle: str, path: str | None = None, **_: Any) -> str:
    """Return the folder of a model, or a file of it: "owner/model/framework/variation", with a version or without."""
    names = ("OwnerSlug", "ModelSlug", "Framework", "InstanceSlug", "VersionNumber")
    return _attached({"modelRef": _named(handle, names, 4)}, path)


def notebook_output_download(handle: str, path: str | None = None, **_: Any) -> str:
    """Return the folder of what a notebook left, or a file of it: "owner/name"."""
    names = ("OwnerSlug", "KernelSlug", "", "VersionNumber")
    return _attached({"kernelRef": _named(handle, names, 2)}, path)


def _named(handle: str, names: tuple[str, ...], least: int) -> dict[str, str]:
    parts = handle.split("/")
    if len(parts) not in (least, len(names)):
        raise ValueError(f"Invalid handle: {handle}")
    return {name: part for name, part in zip(names, parts, strict=False) if name}


def _attached(question: dict[str, Any], path: str | None) -> str:
    request = urllib.request.Request(  # noqa: S310 it is the address of this machine
        f"{os.environ['KAGGLE_DATA_PROXY_URL']}/kaggle-jwt-handler/AttachDatasourceUsingJwtRequest",
        data=json.dumps(question).encode(),
        headers={"Content-type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        answer = json.load(response)
    if not answer["wasSuccessful"]:
        raise FileNotFoundError(answer["errorMessage"])
    folder = Path(os.environ.get("KAGGLE_CACHE_MOUNT_FOLDER", "/kaggle/input"), answer["result"]["mountSlug"])
    if path and not (folder / path).exists():
        raise ValueError(f"'{path}' is not among the files in {folder}")
    return str(folder / path if path else folder)


def _give_way() -> None:
    """Replace this module by the installed kagglehub, where there is one."""
    own_folder = Path(__file__).resolve().parent
    other_places = [place for place in sys.path if Path(place or ".").resolve() != own_folder]
    spec = importlib.machinery.PathFinder.find_spec(__name__, other_places)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules[__name__] = module
        spec.loader.exec_module(module)


if __name__ == "kagglehub":
    _give_way()
