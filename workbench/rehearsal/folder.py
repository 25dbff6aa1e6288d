"""The folder of a local competition, which is created completely or not at all, and the tables in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from workbench.core.errors import ConfigError, storage_errors
from workbench.core.frames import sink_csv
from workbench.core.temporary import temporary_file
from workbench.core.wording import counted

__all__ = ["build_folder", "folder_path", "write_table"]


def folder_path(workspace: Path, slug: str, *, force: bool) -> Path:
    """Return the path of a new local competition.

    Raises
    ------
    ConfigError
        When it exists and `force`, which replaces it, is not set.
    """
    folder = workspace / "competitions" / slug / "rehearsal"
    if folder.exists() and not force:
        raise ConfigError(f"a local competition {slug!r} exists already: {folder}", hint=_force_hint(folder))
    return folder


def _force_hint(folder: Path) -> str:
    n_submissions = len(list((folder / "submissions").glob("*.json")))
    note = f", and keeps its {counted(n_submissions, 'submission')} in a folder next to it" if n_submissions else ""
    return f"--force replaces it{note}"


@contextmanager
def build_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to write to, which is renamed at the end.

    An existing folder is replaced; its submissions are kept in ``rehearsal-submissions-<time>``.
    """
    is_new_competition = not folder.parent.exists()
    with storage_errors(folder):
        try:
            with temporary_file(folder) as temporary:
                for name in ("files", "submissions"):
                    (temporary / name).mkdir(parents=True)
                yield temporary
                _rename(temporary, folder)
        finally:
            if is_new_competition:
                with suppress(OSError):  # not empty: the folder was created
                    folder.parent.rmdir()


def _rename(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.rename(folder)
        return
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    # If the process is killed in between, the old folder is complete under a visible name.
    replaced = folder.with_name(f"rehearsal-replaced-{stamp}")
    folder.rename(replaced)
    temporary.rename(folder)
    submissions = replaced / "submissions"
    if submissions.is_dir() and any(submissions.iterdir()):
        submissions.rename(folder.with_name(f"rehearsal-submissions-{stamp}"))
    shutil.rmtree(replaced)


def write_table(frame: pl.LazyFrame, path: Path) -> None:
    """Write a lazy frame, streaming, as Parquet or CSV by the suffix of the path."""
    if path.suffix == ".parquet":
        frame.sink_parquet(path)
    else:
        # polars reports a row with too many cells only if it reads every column: columns are dropped after reading.
        sink_csv(frame, path, optimizations=pl.QueryOptFlags(projection_pushdown=False))
