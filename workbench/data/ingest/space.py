"""How much a download brings, and whether the disk has room for it and for what is made of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import ConfigError, StorageError
from workbench.core.memory import format_bytes
from workbench.data.ingest.sources import PACKED, is_table
from workbench.platforms.protocol import RemoteFile, partial_of

__all__ = ["ASK_ABOVE_BYTES", "Approval", "Download", "check_space"]

ASK_ABOVE_BYTES = 10 << 30
"""A download of more than this is not begun without a word from the user."""
PARQUET_SHARE = 0.6
"""What a text table takes as Parquet, of its own size: much for numbers of many digits (`tests/bench/fetch.py`)."""
PACKED_SHARE = 2.0
"""The same of a text that is packed."""
ARCHIVES = (".zip", ".tar", ".tgz")
SMALLEST_SHARE = 20
"""An archive of the best packed tables there are still has this part of their size."""


@dataclass(frozen=True)
class Approval:
    """What may be downloaded without asking, and who is asked for more.

    Attributes
    ----------
    ask_above_bytes : int
    given : bool
        Nothing is asked: what is more, or may not fit on the disk, was agreed to.
    ask : callable
        Called with what is to be downloaded and why that is a question; whether it shall be. As it is, nobody is asked,
        and the answer is no.
    """

    ask_above_bytes: int = ASK_ABOVE_BYTES
    given: bool = False
    ask: Callable[[str], bool] = lambda _: False


@dataclass(frozen=True)
class Download:
    """Files that are to come, by the sizes that the platform lists; one without a size counts as nothing.

    Attributes
    ----------
    n_files : int
    size_bytes : int
        What is still to come: less what an earlier try has left.
    converted_bytes : int
        An estimate of what is made of it: tables as Parquet, archives unpacked.
    at_least_bytes : int
        What comes even if all of it is packed as tightly as can be.
    """

    n_files: int
    size_bytes: int
    converted_bytes: int
    at_least_bytes: int

    @classmethod
    def of(cls, files: Iterable[RemoteFile], raw: Path, *, archive: RemoteFile | None) -> Download:
        """Return the download of files to a folder, one by one or as the archive of all.

        Parameters
        ----------
        files : iterable of RemoteFile
        raw : Path
            Where they go.
        archive : RemoteFile or None
            What they come in.
        """
        n_files = listed = converted = arrived = 0
        for file in files:
            size = file.size_bytes or 0
            n_files, listed = n_files + 1, listed + size
            converted += _converted_size(file.name, size, packed=archive is not None)
            if archive is None:
                arrived += min(size, _arrived(raw / file.name))
        if archive is not None:
            arrived = _arrived(raw / archive.name)
        to_come = max(0, listed - arrived)
        return cls(n_files, to_come, converted, to_come if archive is None else to_come // SMALLEST_SHARE)

    def __str__(self) -> str:
        files = "a file" if self.n_files == 1 else f"{self.n_files:,} files"
        return f"{files}, {format_bytes(self.size_bytes)}"


def _converted_size(name: str, size: int, *, packed: bool) -> int:
    ending = name.lower()
    if ending.endswith(".parquet"):
        return size
    if is_table(name):
        return int(size * (PACKED_SHARE if ending.endswith(PACKED) else PARQUET_SHARE))
    if ending.endswith((*ARCHIVES, *PACKED)):
        return size * 2 if packed else size
    return size if packed else 0  # beside the archive that it comes in


def _arrived(destination: Path) -> int:
    partial = partial_of(destination)
    return partial.stat().st_size if partial.exists() else 0


def check_space(download: Download, folder: Path, slug: str, *, approval: Approval, is_local: bool) -> None:
    """Check, before anything is fetched, that a download fits on the disk, and ask for approval where it is large.

    Parameters
    ----------
    download : Download
    folder : Path
        The destination, whose disk has to have the space.
    slug : str
    approval : Approval
    is_local : bool
        Whether files are only copied on this machine: then only disk space is checked.

    Raises
    ------
    StorageError
        When it can't fit on the disk, or might not and the user did not approve trying.
    ConfigError
        When it is above the limit and was not approved.
    """
    free = shutil.disk_usage(_existing(folder)).free
    text = f"the data of {slug!r} are {download}"
    if download.at_least_bytes > free:
        raise StorageError(
            f"{text}; the disk has {format_bytes(free)} free: nothing was downloaded",
            hint="free some space, or fetch less with --only FILE",
        )
    if approval.given:
        return
    need, converted = download.size_bytes + download.converted_bytes, format_bytes(download.converted_bytes)
    if need > free:
        text += f", and about {converted} more when converted; "
        text += f"the disk has {format_bytes(free)} free, which may be too little"
        if not approval.ask(text):
            hint = "free some space, fetch less with --only FILE, or try it all the same with --yes"
            raise StorageError(f"{text}; nothing was downloaded", hint=hint)
    elif not is_local and download.size_bytes > approval.ask_above_bytes:
        text += f", more than {format_bytes(approval.ask_above_bytes)}"
        if not approval.ask(text):
            raise ConfigError(
                f"{text}: nothing was downloaded",
                hint="--yes downloads it all the same, --only FILE less of it; "
                "--ask-above SIZE (or WB_ASK_ABOVE) moves the limit",
            )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
