"""Estimate the size of a download and of its tables, check free disk space, and ask before a large download."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import ConfigError, StorageError
from workbench.core.memory import format_bytes
from workbench.data.ingest.formats import PACKED
from workbench.data.ingest.sources import is_table
from workbench.platforms.protocol import RemoteFile, partial_of

__all__ = ["ASK_ABOVE_BYTES", "Approval", "Download", "check_space"]

ASK_ABOVE_BYTES = 10 << 30
"""A larger download needs the user's approval."""
PARQUET_RATIO = 0.6
"""The size of a text table's Parquet file, relative to the text: an upper estimate (`tests/bench/fetch.py`)."""
PACKED_PARQUET_RATIO = 2.0
"""The size of the Parquet file of a compressed text table, relative to the compressed file."""
ARCHIVES = (".zip", ".tar", ".tgz")
MAX_COMPRESSION = 20
"""Even the archive of well compressible tables has a twentieth of their size."""


@dataclass(frozen=True)
class Approval:
    """The size up to which downloads need no approval, and how to ask for it.

    Attributes
    ----------
    ask_above_bytes : int
    given : bool
        Whether the user has already approved any download, even one that may not fit on the disk.
    ask : callable
        Called with a description of the download and its problem; returns whether to download. By default False.
    """

    ask_above_bytes: int = ASK_ABOVE_BYTES
    given: bool = False
    ask: Callable[[str], bool] = lambda _: False


@dataclass(frozen=True)
class Download:
    """The size of a download, by the sizes that the platform lists; a file without a size counts as empty.

    Attributes
    ----------
    n_files : int
    size_bytes : int
        Without what an interrupted download has already received.
    converted_bytes : int
        Estimated size of the tables as Parquet and of unpacked archives.
    at_least_bytes : int
        A lower bound of the bytes that will arrive, however well they are compressed.
    """

    n_files: int
    size_bytes: int
    converted_bytes: int
    at_least_bytes: int

    @classmethod
    def estimate(cls, files: Iterable[RemoteFile], raw: Path, *, archive: RemoteFile | None) -> Download:
        """Estimate the download of files to a folder, one by one or in an archive of all files.

        Parameters
        ----------
        files : iterable of RemoteFile
        raw : Path
            The destination.
        archive : RemoteFile or None
            The archive that contains the files; None to download them one by one.
        """
        n_files = listed_bytes = converted_bytes = received_bytes = 0
        for file in files:
            size = file.size_bytes or 0
            n_files, listed_bytes = n_files + 1, listed_bytes + size
            converted_bytes += _converted_bytes(file.name, size, in_archive=archive is not None)
            if archive is None:
                received_bytes += min(size, _received_bytes(raw / file.name))
        if archive is not None:
            received_bytes = _received_bytes(raw / archive.name)
        missing_bytes = max(0, listed_bytes - received_bytes)
        least_bytes = missing_bytes if archive is None else missing_bytes // MAX_COMPRESSION
        return cls(n_files, missing_bytes, converted_bytes, least_bytes)

    def __str__(self) -> str:
        files = "a file" if self.n_files == 1 else f"{self.n_files:,} files"
        return f"{files}, {format_bytes(self.size_bytes)}"


def _converted_bytes(name: str, size: int, *, in_archive: bool) -> int:
    """Return the bytes that a file takes in addition to the download, once it is unpacked and converted."""
    lower_name = name.lower()
    if lower_name.endswith(".parquet"):
        return size
    if is_table(name):
        return int(size * (PACKED_PARQUET_RATIO if lower_name.endswith(PACKED) else PARQUET_RATIO))
    if lower_name.endswith((*ARCHIVES, *PACKED)):
        return size * 2 if in_archive else size
    return size if in_archive else 0


def _received_bytes(destination: Path) -> int:
    """Return the bytes that an interrupted download has received."""
    partial = partial_of(destination)
    return partial.stat().st_size if partial.exists() else 0


def check_space(download: Download, folder: Path, slug: str, *, approval: Approval, is_local: bool) -> None:
    """Check before a download that it fits on the disk, and ask for approval where it is large.

    Parameters
    ----------
    download : Download
    folder : Path
        The destination.
    slug : str
    approval : Approval
    is_local : bool
        Whether the files are only copied on this machine: then large ones need no approval.

    Raises
    ------
    StorageError
        When it can't fit on the disk, or might not and the user did not approve trying.
    ConfigError
        When it is above the limit and was not approved.
    """
    free_bytes = shutil.disk_usage(_existing(folder)).free
    description = f"the data of {slug!r} are {download}"
    if download.at_least_bytes > free_bytes:
        raise StorageError(
            f"{description}; the disk has {format_bytes(free_bytes)} free: nothing was downloaded",
            hint="free some space, or fetch less with --only FILE",
        )
    if approval.given:
        return
    needed_bytes, converted_size = (
        download.size_bytes + download.converted_bytes,
        format_bytes(download.converted_bytes),
    )
    if needed_bytes > free_bytes:
        description += f", and about {converted_size} more when converted; "
        description += f"the disk has {format_bytes(free_bytes)} free, which may be too little"
        if not approval.ask(description):
            hint = "free some space, fetch less with --only FILE, or try it all the same with --yes"
            raise StorageError(f"{description}; nothing was downloaded", hint=hint)
    elif not is_local and download.size_bytes > approval.ask_above_bytes:
        description += f", more than {format_bytes(approval.ask_above_bytes)}"
        if not approval.ask(description):
            raise ConfigError(
                f"{description}: nothing was downloaded",
                hint="--yes downloads it all the same, --only FILE less of it; "
                "--ask-above SIZE (or WB_ASK_ABOVE) moves the limit",
            )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
