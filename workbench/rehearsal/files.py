"""The files of a rehearsal: the folder that is never half there, and what is written to it."""

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

__all__ = ["built_beside", "place_for", "sink"]


def place_for(workspace: Path, slug: str, *, force: bool) -> Path:
    """Return the folder that a rehearsal goes to.

    Raises
    ------
    ConfigError
        When there is one, and it is not to be replaced.
    """
    final = workspace / "competitions" / slug / "rehearsal"
    if final.exists() and not force:
        raise ConfigError(f"a local competition {slug!r} exists already: {final}", hint=_force_hint(final))
    return final


def _force_hint(final: Path) -> str:
    received = len(list((final / "submissions").glob("*.json")))
    note = f", and keeps the {received:,} submissions it received in a folder beside it" if received else ""
    return f"--force replaces it{note}"


@contextmanager
def built_beside(final: Path) -> Iterator[Path]:
    """Give a folder to build in; put it in its place at the end, keeping what an older one had received."""
    is_new = not final.parent.exists()
    with storage_errors(final):
        try:
            with temporary_file(final) as temporary:
                for name in ("files", "submissions"):
                    (temporary / name).mkdir(parents=True)
                yield temporary
                _put_in_place(temporary, final)
        finally:
            if is_new:
                with suppress(OSError):  # it is not empty: all went well
                    final.parent.rmdir()


def _put_in_place(temporary: Path, final: Path) -> None:
    if not final.exists():
        temporary.rename(final)
        return
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    # Renamed first, emptied last: a kill in between leaves the old one whole under a name that can be seen.
    replaced = final.with_name(f"rehearsal-replaced-{stamp}")
    final.rename(replaced)
    temporary.rename(final)
    received = replaced / "submissions"
    if received.is_dir() and any(received.iterdir()):
        received.rename(final.with_name(f"rehearsal-submissions-{stamp}"))
    shutil.rmtree(replaced)


def sink(frame: pl.LazyFrame, path: Path) -> None:
    """Write a frame, streaming, in the form that the name of the file says."""
    if path.suffix == ".parquet":
        frame.sink_parquet(path)
    else:
        # polars notices a line with too many cells only where it reads every column: so it does, also with --drop.
        sink_csv(frame, path, optimizations=pl.QueryOptFlags(projection_pushdown=False))
