"""The data files of a competition on Kaggle: listed, and downloaded one by one or as an archive."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.core.errors import DamagedError, NotFoundError, PlatformError, UnavailableError
from workbench.platforms.kaggle.competitions import CompetitionCalls
from workbench.platforms.kaggle.connection import Connection
from workbench.platforms.kaggle.download import ReceivedFile, download, stored_file, unpack_single_file
from workbench.platforms.kaggle.failures import status_of
from workbench.platforms.kaggle.partial_file import discard_partial
from workbench.platforms.kaggle.responses import utc
from workbench.platforms.protocol import Listing, Progress, RemoteFile, partial_of

if TYPE_CHECKING:
    import requests

__all__ = ["DataFiles"]

MAX_SEARCHED_PAGES = 25
"""The pages of a list of files that are read before the remaining names are requested directly."""

MAX_DIRECT_LOOKUPS = 10
"""While more names than this are missing, further pages are read: a page lists many files, a request only one."""


class DataFiles:
    """The data files of competitions.

    It remembers the files that have been listed, by slug and name, and redirects to files that were only looked up.
    """

    def __init__(self, connection: Connection, calls: CompetitionCalls) -> None:
        self._connection = connection
        self._calls = calls
        self._listed_files: dict[str, dict[str, RemoteFile]] = {}
        self._unused_redirects: dict[tuple[str, str], requests.Response] = {}

    def list_all(self, slug: str) -> list[RemoteFile]:
        """Return all files, sorted by name; every page of the list is read."""
        file_by_name = {f.name: f for page, _ in self._file_pages(slug) for f in page}
        self._listed_files[slug] = file_by_name
        return sorted(file_by_name.values(), key=lambda f: f.name)

    def find(self, slug: str, names: Collection[str]) -> Listing:
        """Read the list of files until all of the names have been seen.

        A list can have thousands of pages. A name that is not on the first `MAX_SEARCHED_PAGES` is requested directly,
        which shows whether it exists. As long as more than `MAX_DIRECT_LOOKUPS` names are missing, further pages are
        read first.
        """
        file_by_name: dict[str, RemoteFile] = {}
        missing, is_complete = set(names), False
        for n_pages, (page, is_last) in enumerate(self._file_pages(slug), 1):
            file_by_name |= {f.name: f for f in page}
            missing.difference_update(f.name for f in page)
            is_complete = is_last
            if not missing or (n_pages >= MAX_SEARCHED_PAGES and len(missing) <= MAX_DIRECT_LOOKUPS):
                break
        if not is_complete:
            files = map(partial(self._look_up, slug), sorted(missing))
            file_by_name |= {f.name: f for f in files if f is not None}
        self._listed_files.setdefault(slug, {}).update(file_by_name)
        return Listing(tuple(sorted(file_by_name.values(), key=lambda f: f.name)), is_complete=is_complete)

    def _file_pages(self, slug: str) -> Iterator[tuple[list[RemoteFile], bool]]:
        """Yield each page of the list of files, and whether it is the last."""
        for page in self._calls.pages(slug, "listing the files", "list_data_files"):
            files = [
                RemoteFile(name=f.name or f.ref, size_bytes=f.total_bytes, modified_at=utc(f.creation_date))
                for f in page.files
            ]
            yield files, not page.next_page_token

    def _look_up(self, slug: str, name: str) -> RemoteFile | None:
        """Return a file by requesting it without fetching its content; None if there is no such file."""
        action = f"looking for {name} of {slug!r}"
        try:
            redirect = self._redirect(slug, name, action)
        except NotFoundError as exc:
            if status_of(exc.__cause__) == 404 and self._calls.has_competition(slug):
                return None
            raise
        self._unused_redirects[slug, name] = redirect
        stored = stored_file(self._connection, redirect, action)
        # A file that is sent zipped has another size than the file itself.
        is_zipped = stored is None or (stored.name.endswith(".zip") and not name.endswith(".zip"))
        return RemoteFile(name, None if stored is None or is_zipped else stored.size_bytes)

    def archive(self, slug: str) -> RemoteFile | None:
        """Return the archive of all files, whose size is not known before it is downloaded.

        None if a data file has the archive's name: the two could not be told apart.
        """
        self._calls.competition(slug)
        name = f"{slug}.zip"
        return None if name in self._listed_files.get(slug, {}) else RemoteFile(name, size_bytes=None)

    def download(self, slug: str, name: str, destination: Path, progress: Progress | None) -> None:
        """Download the archive or one file; a file that is sent zipped is unpacked."""
        action = f"downloading {name} of {slug!r}"
        listed_file = self._listed_files.get(slug, {}).get(name)
        if listed_file is None and name == f"{slug}.zip":
            self._download_archive(slug, destination, action, progress)
            return
        if listed_file is None:
            listing = self.find(slug, [name])
            listing.check(slug, [name])
            listed_file = listing.by_name[name]
        received_file = download(
            self._connection,
            lambda: self._redirect(slug, name, action),
            destination,
            action=action,
            progress=progress,
            redirect=self._unused_redirects.pop((slug, name), None),
        )
        if received_file.size_bytes != listed_file.size_bytes:
            self._check_size(slug, destination, listed_file, received_file)

    def _download_archive(self, slug: str, destination: Path, action: str, progress: Progress | None) -> None:
        """Download the archive of all files.

        Raises
        ------
        UnavailableError
            When Kaggle has no archive now, so that the files have to be downloaded one by one.
        DamagedError
            When an incomplete archive has arrived; it is removed.
        """

        def request() -> requests.Response:
            return self._redirect(slug, None, action)

        self._calls.competition(slug)  # without it, a refused archive would not show whether the competition exists
        try:
            download(self._connection, request, destination, action=action, progress=progress)
        except (NotFoundError, PlatformError) as exc:
            # Kaggle zips the files again when they change. Until then there is no archive (404), or requests for it
            # are limited (https://github.com/Kaggle/kaggle-cli/issues/931); single files are available nevertheless.
            status = status_of(exc.__cause__)
            if status == 404 or isinstance(exc, UnavailableError):
                discard_partial(destination)
            elif status != 429 or partial_of(destination).exists():
                raise
            raise UnavailableError(
                f"Kaggle does not give the archive of all files of {slug!r} now: it answers {status or 404}",
                hint="its files may be available one by one",
            ) from exc.__cause__
        if not zipfile.is_zipfile(destination):
            destination.unlink()
            raise DamagedError(f"what arrived while {action} is not a complete zip archive", hint="fetch it again")

    def _redirect(self, slug: str, name: str | None, action: str) -> requests.Response:
        """Request a file, or the archive of all files, and return the redirect to the storage."""
        fields = {"competition_name": slug} | ({} if name is None else {"file_name": name})
        method = "download_data_files" if name is None else "download_data_file"
        with self._calls.explaining_refusals(slug):
            # If the archive is not available soon, the single files are downloaded instead.
            return self._connection.redirect(action, method, fields, slug=slug, has_alternative=name is None)

    def _check_size(self, slug: str, path: Path, listed_file: RemoteFile, received_file: ReceivedFile) -> None:
        """Accept a file of another size than listed only if it was zipped or replaced on Kaggle; unpack it if zipped.

        Raises
        ------
        PlatformError
            When the difference has no such reason; the file is removed.
        """
        is_zipped = received_file.name.endswith(".zip") if listed_file.size_bytes is None else zipfile.is_zipfile(path)
        if is_zipped and not listed_file.name.endswith(".zip"):
            unpack_single_file(path, listed_file.name)
        size_bytes = path.stat().st_size
        # Kaggle lists the size on its disk, which for files that it zips may be that of the zip archive.
        if listed_file.size_bytes is None or size_bytes == listed_file.size_bytes or zipfile.is_zipfile(path):
            return
        relisted = self.find(slug, [listed_file.name]).by_name.get(listed_file.name, listed_file)
        if relisted.size_bytes != size_bytes:
            path.unlink()
            raise PlatformError(
                f"what arrived while downloading {listed_file.name} of {slug!r} has {size_bytes:,} bytes, "
                f"expected {listed_file.size_bytes:,}",
                hint="fetch it again",
            )
