"""All the archives of a competition's files, also those in other archives, unpacked from one budget."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from workbench.core.errors import DamagedError, WorkbenchError
from workbench.core.packed import UnpackBudget
from workbench.data.ingest.archives import EncryptedError, came_of, unpack, unpack_tar
from workbench.data.ingest.sources import files_below, is_table

__all__ = ["unpack_below"]

TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")


def unpack_below(
    raw: Path,
    report: Callable[[str], None],
    *,
    arrived: Collection[str],
    downloaded: Collection[Path],
    main: str | None,
) -> dict[str, WorkbenchError]:
    """Unpack what does not become a table; a table stays packed, its Parquet file is what is used.

    Return the archives that can't be read, by their names below `raw`: those beside the data may be damaged, or need a
    password. The archive of all files, and one that can't be trusted, is refused.
    """
    unreadable: dict[str, WorkbenchError] = {}
    packed = _downloaded_bytes(raw, downloaded)

    def tried(archive: Path, unpack_it: Callable[[], object]) -> None:
        name = archive.relative_to(raw).as_posix()
        try:
            unpack_it()
            unreadable.pop(name, None)
        except (DamagedError, EncryptedError) as exc:
            if name == main or (name in arrived and isinstance(exc, DamagedError)):
                raise
            unreadable[name] = exc

    # Twice: an archive inside the archive is there only after the first time.
    for _ in range(2):
        budget = UnpackBudget(packed, raw)
        for archive in sorted(files_below(raw, ".zip")):
            # "train.csv.zip" is a packed table, whatever the file in it is called.
            if not is_table(archive.stem):
                no_tables = partial(unpack, wanted=lambda name: not is_table(name))
                tried(
                    archive,
                    partial(no_tables, archive, archive.parent, budget=budget, is_protected=downloaded.__contains__),
                )
    for archive in sorted(files_below(raw, *TARS)):
        say = partial(report, f"unpacking {archive.name}")
        tried(
            archive,
            partial(
                unpack_tar, archive, archive.parent, budget=budget, is_protected=downloaded.__contains__, begins=say
            ),
        )
    return unreadable


def _downloaded_bytes(raw: Path, downloaded: Collection[Path]) -> int:
    """Return what was downloaded, or laid there by hand: all that came of no archive."""
    archives = set(files_below(raw, ".zip", *TARS))
    inside = {path for archive in archives for path in came_of(archive)}
    return sum(p.stat().st_size for p in {*downloaded, *(archives - inside)} if p.is_file())
