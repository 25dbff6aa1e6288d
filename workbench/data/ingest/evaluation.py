"""Recognize, by their files, competitions whose evaluation server serves the hidden test set in batches."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workbench.core.cache import read_json
from workbench.core.errors import DamagedError, DataError
from workbench.core.packed import damage_errors
from workbench.data.competition import Competition
from workbench.data.ingest.tars import tar_members

__all__ = ["LISTING", "evaluation_server", "evaluation_server_in", "evaluation_server_of"]

LISTING = ".listing.json"
"""The record in ``data/raw`` of the files that the platform listed and of those that arrived."""

SERVERS = ("kaggle_evaluation", "kaggle_simulations")
"""Folders of current gateways: https://www.kaggle.com/code/sohier/mitsui-demo-submission and demos of other hosts."""

MODULES = (
    "amp_pd_peptide",
    "amp_pd_peptide_310",
    "enefit",
    "gresearch_crypto",
    "janestreet",
    "jane_street",
    "jo_wilder",
    "jo_wilder_310",
    "jpx_tokyo_market_prediction",
    "mlb",
    "optiver2023",
    "riiideducation",
    "ubiquant",
)
"""Modules of the older time series API, whose notebooks call ``make_env()`` and ``iter_test()``."""

API_FILES = (".so", ".pyd", "public_timeseries_testing_util.py", "_gateway.py", "_inference_server.py")
"""The ends of the names of a compiled module, of its public stand-in, and of current servers in any folder."""

API_CODE = re.compile(rb"\bdef (make_env|iter_test)\b|\brun_local_gateway\b|\bclass \w*InferenceServer\b")

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")

PACKAGES = (*ARCHIVES, ".py", ".whl")
"""Only files with these suffixes count when they have a server's name."""

MAX_CODE_BYTES = 2**20
"""Larger Python files are not searched."""

MAX_INNER_BYTES = 2**28
"""The bytes that are read of the members of one archive; larger tar archives are not opened."""

MAX_DEPTH = 3
"""The levels of folders that are searched without a list of the files, and of archives within archives."""


def evaluation_server(names: Iterable[str]) -> str | None:
    """Return the first of a competition's files that is part of an evaluation server; None where none is.

    Parameters
    ----------
    names : iterable of str
        Paths in folders or archives.

    Examples
    --------
    >>> evaluation_server(["train.csv", "kaggle_evaluation/core/relay.py"])
    'kaggle_evaluation/core/relay.py'
    >>> evaluation_server(["optiver2023/competition.cpython-310-x86_64-linux-gnu.so"])
    'optiver2023/competition.cpython-310-x86_64-linux-gnu.so'
    >>> evaluation_server(["train.csv", "images/mlb/1.png", "evaluation.csv"]) is None
    True
    """
    return next((name for name in names if _is_of_server(name)), None)


def _is_of_server(name: str) -> bool:
    normalized_name = name.replace("\\", "/").lower()
    if normalized_name.endswith(API_FILES):
        return True
    if "kaggle_" in normalized_name:
        path_parts = PurePosixPath(normalized_name).parts
        if any(part in SERVERS for part in path_parts) or path_parts[-1] in (
            f"{f}{e}" for f in SERVERS for e in PACKAGES
        ):
            return True
    if normalized_name.endswith(".py"):
        path = PurePosixPath(normalized_name)
        return path.parent.name in MODULES or path.stem in MODULES
    return False


def evaluation_server_in(raw: Path, listed: Iterable[str] = ()) -> str | None:
    """Return the first file of an evaluation server among the downloaded files, also in archives.

    Parameters
    ----------
    raw : Path
        ``data/raw`` of the competition.
    listed : iterable of str
        The names of the platform's files, if known: then only folders with Python code are searched on disk.
    """
    listed = list(listed)
    listed_server = evaluation_server(listed)
    if listed_server is not None or not raw.is_dir():
        return listed_server
    names_on_disk = list(_names_at_top(raw) if listed else _names_below(raw))
    names = dict.fromkeys([*names_on_disk, *(name for name in listed if name.lower().endswith((".py", *ARCHIVES)))])
    code = (name for name in names if name.endswith(".py") and _is_api(raw / name))
    archives = (name for name in names if name.lower().endswith(ARCHIVES) and (raw / name).is_file())
    return (
        evaluation_server(names_on_disk)
        or next(code, None)
        or next((server for name in archives if (server := _in_archive(raw / name)) is not None), None)
    )


def evaluation_server_of(competition: Competition) -> str | None:
    """Return the file that shows that a competition has an evaluation server; None where it has none.

    The definition takes precedence over the files.
    """
    stated = competition.definition.submission.server
    if stated is not None:
        return stated or None
    raw = competition.folder / "data" / "raw"
    try:
        listed = list(read_json(raw / LISTING)["listed"])
    except (DamagedError, OSError, KeyError, TypeError):
        listed = []
    return evaluation_server_in(raw, listed)


def _names_at_top(folder: Path) -> Iterator[str]:
    """Yield the names in a folder and in its Python packages; other folders may have a million images."""
    for path in folder.iterdir():
        yield path.name
        if (path / "__init__.py").is_file():
            yield from (f"{path.name}/{child.name}" for child in path.iterdir())


def _names_below(folder: Path) -> Iterator[str]:
    for parent, subfolders, files in os.walk(folder):
        relative = Path(parent).relative_to(folder)
        yield from ((relative / name).as_posix() for name in files)
        if len(relative.parts) >= MAX_DEPTH:
            subfolders.clear()


def _is_api(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size > MAX_CODE_BYTES:
        return False
    return API_CODE.search(path.read_bytes()) is not None


def _in_archive(path: Path) -> str | None:
    try:
        if path.suffix == ".zip":
            with damage_errors(str(path)), zipfile.ZipFile(path) as archive:
                return _in_zip(archive, _ByteBudget(MAX_INNER_BYTES))
        if path.stat().st_size <= MAX_INNER_BYTES:
            return evaluation_server(m.name for m in tar_members(path))
    except (DataError, OSError):
        pass  # damaged, encrypted or unsafe: reported when its tables are read
    return None


@dataclass
class _ByteBudget:
    """The bytes that may still be read of an archive's members, including archives within it."""

    remaining: int


def _in_zip(archive: zipfile.ZipFile, budget: _ByteBudget, depth: int = MAX_DEPTH) -> str | None:
    """Return the file of an archive, or of the archives in it, that shows an evaluation server; else None."""
    members = archive.infolist()
    server_name = evaluation_server(m.filename for m in members)
    if server_name is not None:
        return server_name
    for member in members:
        name = member.filename.lower()
        if not name.endswith((".py", ".zip")) or member.file_size > budget.remaining:
            continue
        if name.endswith(".py") and member.file_size <= MAX_CODE_BYTES:
            budget.remaining -= member.file_size
            if API_CODE.search(archive.read(member)):
                return member.filename
        if name.endswith(".zip") and depth:
            budget.remaining -= member.file_size
            try:
                with zipfile.ZipFile(io.BytesIO(archive.read(member))) as inner:
                    server = _in_zip(inner, budget, depth - 1)
            except zipfile.BadZipFile:
                continue
            if server is not None:
                return server
    return None
