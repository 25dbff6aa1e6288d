"""A stand-in for kagglehub whose downloads return the folders of local data.

This folder comes first in ``sys.path`` for notebooks that were written for Kaggle. If kagglehub is installed, this
module replaces itself by it. Kaggle's data proxy, which both ask, is played by `core.notebook_worker.data_proxy`.
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
    """The type that `dataset_load` returns."""

    PANDAS = "pandas"
    HUGGING_FACE = "hugging_face"
    POLARS = "polars"


class PolarsFrameType(enum.Enum):
    """Whether `dataset_load` returns a lazy or an eager polars frame."""

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
"""File suffix -> suffix of the reader's name in pandas and polars."""

PANDAS_OPTIONS: dict[str, dict[str, Any]] = {".tsv": {"sep": "\t"}, ".jsonl": {"lines": True}}


def login(validate_credentials: bool = True) -> None:
    """Do nothing, as local data need no login. Notebooks exported from Kaggle start with this call."""


def competition_download(handle: str, path: str | None = None, **_: Any) -> str:
    """Return the folder of a competition's files, or one of its files."""
    return _attached_path({"competitionRef": {"CompetitionSlug": handle}}, path)


def dataset_download(handle: str, path: str | None = None, **_: Any) -> str:
    """Return the folder of a dataset, or a file in it: "owner/name", optionally with "/versions/N"."""
    fields = ("OwnerSlug", "DatasetSlug", "", "VersionNumber")
    return _attached_path({"datasetRef": _split_handle(handle, fields, 2)}, path)


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
    suffix = Path(path).suffix.lower()
    if adapter is KaggleDatasetAdapter.HUGGING_FACE or suffix not in READERS:
        raise NotImplementedError(f"{adapter} of {path}: `pip install kagglehub` supports more types")
    file, reader = dataset_download(handle, path), READERS[suffix]
    if adapter is KaggleDatasetAdapter.PANDAS:
        options = PANDAS_OPTIONS.get(suffix, {}) | (pandas_kwargs or {})
        return getattr(importlib.import_module("pandas"), f"read_{reader}")(file, **options)
    reader = {".jsonl": "ndjson", ".feather": "ipc"}.get(suffix, reader)
    options = ({"separator": "\t"} if suffix == ".tsv" else {}) | (polars_kwargs or {})
    frame = getattr(importlib.import_module("polars"), f"read_{reader}")(file, **options)
    return frame.lazy() if polars_frame_type is PolarsFrameType.LAZY else frame


def model_download(handle: str, path: str | None = None, **_: Any) -> str:
    """Return the folder of a model, or a file in it: "owner/model/framework/variation", optionally with a version."""
    fields = ("OwnerSlug", "ModelSlug", "Framework", "InstanceSlug", "VersionNumber")
    return _attached_path({"modelRef": _split_handle(handle, fields, 4)}, path)


def notebook_output_download(handle: str, path: str | None = None, **_: Any) -> str:
    """Return the folder of a notebook's output, or a file in it: "owner/name"."""
    fields = ("OwnerSlug", "KernelSlug", "", "VersionNumber")
    return _attached_path({"kernelRef": _split_handle(handle, fields, 2)}, path)


def _split_handle(handle: str, fields: tuple[str, ...], n_required: int) -> dict[str, str]:
    parts = handle.split("/")
    if len(parts) not in (n_required, len(fields)):
        raise ValueError(f"Invalid handle: {handle}")
    return {field: part for field, part in zip(fields, parts, strict=False) if field}


def _attached_path(reference: dict[str, Any], path: str | None) -> str:
    request = urllib.request.Request(  # noqa: S310 a URL of this machine
        f"{os.environ['KAGGLE_DATA_PROXY_URL']}/kaggle-jwt-handler/AttachDatasourceUsingJwtRequest",
        data=json.dumps(reference).encode(),
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


def _use_installed() -> None:
    """Replace this module by the installed kagglehub, if there is one."""
    this_folder = Path(__file__).resolve().parent
    other_folders = [entry for entry in sys.path if Path(entry or ".").resolve() != this_folder]
    spec = importlib.machinery.PathFinder.find_spec(__name__, other_folders)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules[__name__] = module
        spec.loader.exec_module(module)


if __name__ == "kagglehub":
    _use_installed()
