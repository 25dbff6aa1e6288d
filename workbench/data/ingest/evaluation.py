"""Competitions that hand the hidden test set to a notebook's server batch by batch, by what is among their files."""

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
"""What the platform listed when the files of ``data/raw`` were fetched, and what of it arrived."""

SERVERS = ("kaggle_evaluation", "kaggle_simulations")
"""Folders of today's gateways: https://www.kaggle.com/code/sohier/mitsui-demo-submission and other hosts' demos."""

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
"""Modules of the time series API, the form before: a notebook calls ``make_env()`` and ``iter_test()``."""

API_FILES = (".so", ".pyd", "public_timeseries_testing_util.py", "_gateway.py", "_inference_server.py")
"""How names end of a compiled module, of the host's public stand-in for it, and of today's servers in any folder."""

API_CODE = re.compile(rb"\bdef (make_env|iter_test)\b|\brun_local_gateway\b|\bclass \w*InferenceServer\b")

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")

PACKAGES = (*ARCHIVES, ".py", ".whl")
"""A file of a server's name that ends otherwise, such as a note, is none."""

MOST_CODE = 2**20
"""A larger file is no module of this kind."""

MOST_INNER = 2**28
"""Of what lies in an archive so many bytes are read in all; a tar of more is not read, a zip on disk always."""

DEPTH = 3
"""Folders that are looked into where no list of the files is at hand, and archives within archives."""


def evaluation_server(names: Iterable[str]) -> str | None:
    """Return the first of a competition's files that is part of an evaluation server; None where none is.

    Parameters
    ----------
    names : iterable of str
        Their paths, in folders or archives.

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
    plain = name.replace("\\", "/").lower()
    if plain.endswith(API_FILES):
        return True
    if "kaggle_" in plain:
        parts = PurePosixPath(plain).parts
        if any(part in SERVERS for part in parts) or parts[-1] in (f"{f}{e}" for f in SERVERS for e in PACKAGES):
            return True
    if plain.endswith(".py"):
        path = PurePosixPath(plain)
        return path.parent.name in MODULES or path.stem in MODULES
    return False


def evaluation_server_in(raw: Path, listed: Iterable[str] = ()) -> str | None:
    """Return the first file of an evaluation server among those that were downloaded, also in archives.

    Parameters
    ----------
    raw : Path
        ``data/raw`` of the competition.
    listed : iterable of str
        What the platform lists, where that is known: other folders than those of code are not gone through then.
    """
    listed = list(listed)
    by_name = evaluation_server(listed)
    if by_name is not None or not raw.is_dir():
        return by_name
    on_disk = list(_names_on_top(raw) if listed else _names_in(raw))
    names = dict.fromkeys([*on_disk, *(name for name in listed if name.lower().endswith((".py", *ARCHIVES)))])
    code = (name for name in names if name.endswith(".py") and _is_api(raw / name))
    archives = (name for name in names if name.lower().endswith(ARCHIVES) and (raw / name).is_file())
    return (
        evaluation_server(on_disk)
        or next(code, None)
        or next((server for name in archives if (server := _in_archive(raw / name)) is not None), None)
    )


def evaluation_server_of(competition: Competition) -> str | None:
    """Return the file by which a competition has an evaluation server; None where it has none.

    What its definition says goes before what is among its files.
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


def _names_on_top(folder: Path) -> Iterator[str]:
    """Yield what lies in a folder, and what in its folders with Python code: others may hold a million images."""
    for place in folder.iterdir():
        yield place.name
        if (place / "__init__.py").is_file():
            yield from (f"{place.name}/{inside.name}" for inside in place.iterdir())


def _names_in(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        inside = Path(place).relative_to(folder)
        yield from ((inside / name).as_posix() for name in files)
        if len(inside.parts) >= DEPTH:
            folders.clear()


def _is_api(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size > MOST_CODE:
        return False
    return API_CODE.search(path.read_bytes()) is not None


def _in_archive(path: Path) -> str | None:
    try:
        if path.suffix == ".zip":
            with damage_errors(str(path)), zipfile.ZipFile(path) as archive:
                return _in_zip(archive, _ByteBudget(MOST_INNER))
        if path.stat().st_size <= MOST_INNER:
            return evaluation_server(m.name for m in tar_members(path))
    except (DataError, OSError):
        pass  # damaged, with a password, or not to be trusted: whoever reads its tables says so
    return None


@dataclass
class _ByteBudget:
    """How many bytes more are read of what lies in an archive, with what lies in archives in it."""

    size: int


def _in_zip(archive: zipfile.ZipFile, budget: _ByteBudget, depth: int = DEPTH) -> str | None:
    members = archive.infolist()
    by_name = evaluation_server(m.filename for m in members)
    if by_name is not None:
        return by_name
    for member in members:
        name = member.filename.lower()
        if not name.endswith((".py", ".zip")) or member.file_size > budget.size:
            continue
        if name.endswith(".py") and member.file_size <= MOST_CODE:
            budget.size -= member.file_size
            if API_CODE.search(archive.read(member)):
                return member.filename
        if name.endswith(".zip") and depth:
            budget.size -= member.file_size
            try:
                with zipfile.ZipFile(io.BytesIO(archive.read(member))) as inner:
                    server = _in_zip(inner, budget, depth - 1)
            except zipfile.BadZipFile:
                continue
            if server is not None:
                return server
    return None
