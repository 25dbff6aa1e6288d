"""Unpack all archives among a competition's files, including archives within archives."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from workbench.core.context import RunContext
from workbench.core.errors import DamagedError, WorkbenchError
from workbench.core.packed import UnpackBudget
from workbench.data.ingest.archives import EncryptedError, files_unpacked_from, unpack, unpack_tar
from workbench.data.ingest.sources import files_below, is_table

__all__ = ["unpack_below"]

TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")


def unpack_below(
    raw: Path,
    context: RunContext,
    *,
    arrived: Collection[str],
    downloaded: Collection[Path],
    main: str | None,
) -> dict[str, WorkbenchError]:
    """Unpack the files of all archives below `raw` that do not become tables; tables are read from the archives.

    Parameters
    ----------
    raw : Path
        ``data/raw`` of the competition.
    context : RunContext
    arrived : collection of str
        The files that were downloaded just now, by their names below `raw`.
    downloaded : collection of Path
        The files that were downloaded; no archive replaces them.
    main : str, optional
        The archive of all files.

    Returns
    -------
    dict
        By name below `raw`, why an archive can't be read: it is damaged or needs a password. Errors of the main
        archive, and damage of one that arrived just now, are raised instead.
    """
    unreadable: dict[str, WorkbenchError] = {}
    downloaded_bytes = _downloaded_bytes(raw, downloaded)

    def attempt(archive: Path, unpack_archive: Callable[[], object]) -> None:
        """Unpack an archive; record it in `unreadable` if it is damaged or encrypted, unless that must raise."""
        name = archive.relative_to(raw).as_posix()
        try:
            unpack_archive()
            unreadable.pop(name, None)
        except (DamagedError, EncryptedError) as error:
            if name == main or (name in arrived and isinstance(error, DamagedError)):
                raise
            unreadable[name] = error

    # Twice, because archives inside of archives exist only after the first pass.
    for _ in range(2):
        budget = UnpackBudget(downloaded_bytes, raw)
        for archive in sorted(files_below(raw, ".zip")):
            # "train.csv.zip" is a packed table, whatever the name of the file in it.
            if not is_table(archive.stem):
                unpack_others = partial(unpack, wanted=lambda name: not is_table(name))
                attempt(
                    archive,
                    partial(
                        unpack_others, archive, archive.parent, budget=budget, is_protected=downloaded.__contains__
                    ),
                )
    for archive in sorted(files_below(raw, *TARS)):
        say = partial(context.say, f"unpacking {archive.name}")
        attempt(
            archive,
            partial(
                unpack_tar, archive, archive.parent, budget=budget, is_protected=downloaded.__contains__, on_start=say
            ),
        )
    return unreadable


def _downloaded_bytes(raw: Path, downloaded: Collection[Path]) -> int:
    """Return the total size of the downloaded files and of the archives that came from no other archive."""
    archives = set(files_below(raw, ".zip", *TARS))
    unpacked = {path for archive in archives for path in files_unpacked_from(archive)}
    return sum(p.stat().st_size for p in {*downloaded, *(archives - unpacked)} if p.is_file())
