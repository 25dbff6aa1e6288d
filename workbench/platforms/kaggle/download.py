"""Downloads that resume after an interruption, and are checked against the storage's checksum."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from workbench.core.cache import atomic
from workbench.core.errors import (
    DamagedError,
    NotFoundError,
    PlatformError,
    StorageError,
    UnavailableError,
    WorkbenchError,
    storage_errors,
)
from workbench.core.memory import format_bytes
from workbench.core.packed import checked_stream, damage_errors, max_unpacked_bytes, too_large_error
from workbench.platforms.kaggle.connection import Connection
from workbench.platforms.kaggle.failures import explain
from workbench.platforms.kaggle.partial_file import PartialFile, StoredObject
from workbench.platforms.protocol import Progress

if TYPE_CHECKING:
    import requests

__all__ = ["ReceivedFile", "download", "stored_file", "unpack_single_file"]

CHUNK_BYTES = 1 << 17
NO_SUCH_OBJECT_STATUSES = (404, 410)
VALID_ADDRESS_STATUSES = (408, 416, 429)
"""The statuses below 500 with which the storage refuses a request, but not its address."""


@dataclass(frozen=True)
class ReceivedFile:
    """A file that the storage sent: its name in the address, which may differ from Kaggle's name, and its size."""

    name: str
    size_bytes: int


def download(
    connection: Connection,
    request: Callable[[], requests.Response | str],
    destination: Path,
    *,
    action: str,
    progress: Progress | None = None,
    redirect: requests.Response | None = None,
) -> ReceivedFile:
    """Fetch an object to `destination`, after the bytes that an earlier call left in ``.NAME.partial`` next to it.

    It gives up after as many requests in a row without a new byte as `Patience.tries` allows; while each request brings
    some bytes it continues, however often the connection breaks.

    Parameters
    ----------
    connection : Connection
    request : callable
        Requests the object from Kaggle, and returns a redirect to the storage, an address there, or the object itself.
        Kaggle limits these calls, so an address is used again after each interruption until it expires. It contains a
        signature and is never stored.
    destination : Path
    action : str
        For messages: "downloading train.csv of 'titanic'".
    progress : callable, optional
        See `workbench.platforms.protocol.Progress`.
    redirect : Response, optional
        A response that `request` returned earlier, which is used first.

    Raises
    ------
    PlatformError
        When the storage can't be reached, or sends something else.
    UnavailableError
        When the storage has no such object, and no byte of it had arrived.
    StorageError
        When the disk lacks the space for the object; no more of it is fetched then.
    DamagedError
        When the received data has a different checksum than announced, twice.
    """
    with storage_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        transfer = _Transfer(connection, request, destination, action, progress or (lambda _: None))
        transfer.redirect = redirect
        with transfer.session:
            for _ in range(2):
                transfer.complete()
                if transfer.partial.is_sound():
                    received = ReceivedFile(transfer.name, transfer.partial.size_bytes)
                    transfer.partial.finish()
                    return received
                checksum_kind = transfer.partial.checksum_kind
                transfer.discard()
        raise DamagedError(
            f"the data received while {action} had a different checksum ({checksum_kind}) than announced, twice",
            hint="a proxy or a faulty connection may corrupt it; try from another network",
        )


class _Transfer:
    """Downloads one object into a partial file, with as many requests as needed.

    Attributes
    ----------
    name : str
        The object's name in the address of the last response.
    received_instead : str
        For messages: what the last response held in place of the object's bytes.
    status : int
        The HTTP status of the last response; 0 before the first.
    redirect : Response or None
        A response of Kaggle with the object's address that has not been used yet.
    address : str
        The object's address in the storage; "" if it has to be requested from Kaggle.
    """

    def __init__(
        self,
        connection: Connection,
        request: Callable[[], requests.Response | str],
        destination: Path,
        action: str,
        progress: Progress,
    ) -> None:
        self.patience, self.request, self.action, self.progress = connection.patience, request, action, progress
        self.partial = PartialFile(destination)
        self.name, self.received_instead, self.status = "", "nothing", 0
        self.redirect: requests.Response | None = None
        self.address = ""
        self.session = connection.storage()
        if self.partial.size_bytes:
            progress(self.partial.size_bytes)

    def discard(self) -> None:
        """Remove what has arrived, and report it as lost."""
        self.progress(-self.partial.size_bytes)
        self.partial.discard()

    def complete(self) -> None:
        """Make requests until the object is complete."""
        patience, n_stalled = self.patience, 0  # requests in a row without progress
        max_bytes, expected_object = self.partial.size_bytes, self.partial.object
        while True:
            earlier_address = self.address
            try:
                if self._fetch():
                    return
                is_missing = self.status in NO_SUCH_OBJECT_STATUSES and not self.partial.size_bytes
                error_class = UnavailableError if is_missing else PlatformError
                failure: WorkbenchError = error_class(
                    f"the storage of Kaggle sends {self.received_instead} while {self.action}"
                )
            except Exception as exc:  # noqa: BLE001 raised again unless it is the network's
                failure = self._network_failure(exc)
            size_bytes, stored_object = self.partial.size_bytes, self.partial.object
            # It is no progress to start again from the beginning, or to receive bytes of another object.
            is_other_object = expected_object is not None and stored_object not in (None, expected_object)
            n_stalled = 0 if size_bytes > max_bytes and not is_other_object else n_stalled + 1
            max_bytes = size_bytes if is_other_object else max(max_bytes, size_bytes)
            expected_object = stored_object or expected_object
            if n_stalled >= patience.tries:
                raise type(failure)(
                    f"{failure.message}{self._resume_note()}", hint="the same command resumes from there"
                )
            # An address that worked before and is refused now has expired: a new one is requested without a pause.
            has_expired = bool(earlier_address) and not self.address
            if n_stalled and not has_expired:
                time.sleep(min(patience.backoff_s * 2**n_stalled, patience.backoff_max_s))

    def _resume_note(self) -> str:
        """Return the end of a message on how much has been downloaded; "" if nothing."""
        size_bytes = self.partial.size_bytes
        return f"; {size_bytes / 2**20:,.1f} MB are kept" if size_bytes else ""

    def _network_failure(self, exc: Exception) -> WorkbenchError:
        """Return the workbench's error for a failure of the network; raise any other exception."""
        import requests
        import urllib3

        if isinstance(exc, requests.exceptions.RequestException | urllib3.exceptions.HTTPError):
            return explain(exc, self.action)
        if isinstance(exc, PlatformError | NotFoundError):
            # From Kaggle's API: the connection has already repeated the call.
            raise type(exc)(exc.message + self._resume_note(), hint=exc.hint) from exc.__cause__
        raise exc

    def _fetch(self) -> bool:
        """Make one request and store the bytes received; return whether the object is complete."""
        stored = self.partial.object
        if stored is not None and self.partial.size_bytes == stored.size_bytes:
            return True
        response = self._open()
        with response:
            self.name = unquote(PurePosixPath(urlsplit(response.url).path).name)
            return self._receive(response) and self._is_complete()

    def _open(self) -> requests.Response:
        """Return a response with the object's remaining bytes, from the storage or from Kaggle itself."""
        if not self.address:
            redirect, self.redirect = self.request() if self.redirect is None else self.redirect, None
            if isinstance(redirect, str):
                self.address = redirect
            elif "Location" in redirect.headers:
                redirect.close()
                self.address = redirect.headers["Location"]
            else:
                return redirect  # the object itself
        headers = {"Accept-Encoding": "identity"}
        if self.partial.object is not None and self.partial.size_bytes:
            # If-Range: the whole object is sent if it has changed (RFC 9110, section 13.1.5).
            headers["Range"] = f"bytes={self.partial.size_bytes}-"
            headers["If-Range"] = str(self.partial.object.validator)
        response = self.session.get(self.address, headers=headers, stream=True)
        self.status = response.status_code
        if 400 <= self.status < 500 and self.status not in VALID_ADDRESS_STATUSES:
            self.address = ""
        return response

    def _receive(self, response: requests.Response) -> bool:
        """Append a response's bytes to the partial file; return False if the response holds something else."""
        status = response.status_code
        if status not in (200, 206) or _is_error_page(response, self.partial.destination):
            is_web_page = status in (200, 206)
            self.received_instead = "a web page in place of the file" if is_web_page else f"status {status}"
            if status == 416:
                self.discard()
            return False
        stored = StoredObject.from_headers(response.headers)
        if status == 206 and not self._is_continuation(response, stored):
            self.received_instead = "a part of another file"
            self.discard()
            return False
        if status == 200:
            # The object is sent from the beginning: at the first request, or because it has changed.
            self.discard()
        self._check_free_space(stored)
        if self.partial.object is None:
            self.partial.begin(stored)
        with self.partial.path.open("ab") as out:
            # `read1` returns the bytes that have arrived; `read` waits for a full chunk, and would lose them if the
            # connection breaks.
            while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
                out.write(chunk)
                out.flush()
                self.progress(len(chunk))
        return True

    def _check_free_space(self, stored: StoredObject) -> None:
        """Refuse an object that the disk has no space for, before its bytes are fetched."""
        remaining_bytes = (stored.size_bytes or 0) - self.partial.size_bytes
        free_bytes = shutil.disk_usage(self.partial.path.parent).free
        if remaining_bytes > free_bytes:
            raise StorageError(
                f"no space left on the disk for {self.action}: {format_bytes(remaining_bytes)} are missing, "
                f"{format_bytes(free_bytes)} are free{self._resume_note()}",
                hint="free some space, then the same command resumes",
            )

    def _is_continuation(self, response: requests.Response, stored: StoredObject) -> bool:
        """Tell whether a response continues the partial file where it ends, with bytes of the same object."""
        # Content-Range: bytes START-END/TOTAL
        start = response.headers.get("Content-Range", "").partition(" ")[2].partition("-")[0]
        partial_object = self.partial.object
        is_next_byte = start == str(self.partial.size_bytes)
        return partial_object is not None and is_next_byte and partial_object.is_consistent_with(stored)

    def _is_complete(self) -> bool:
        """Tell whether all bytes have arrived; discard them if there are too many."""
        partial_object, size_bytes = self.partial.object, self.partial.size_bytes
        expected_bytes = partial_object.size_bytes if partial_object else None
        if expected_bytes is not None and size_bytes != expected_bytes:
            self.received_instead = f"{size_bytes:,} bytes where {expected_bytes:,} were announced"
        if expected_bytes is not None and size_bytes > expected_bytes:
            self.discard()
        return self.partial.object is not None and expected_bytes in (None, self.partial.size_bytes)


def stored_file(connection: Connection, redirect: requests.Response, action: str) -> ReceivedFile | None:
    """Return the name and size of the object that Kaggle redirects to, without fetching it; None if it has no size.

    Raises
    ------
    PlatformError
        When the storage can't be reached.
    """
    import requests

    address = redirect.headers.get("Location")
    if not address:
        return None
    try:
        # Without compression, the size is that of the stored file.
        headers = {"Accept-Encoding": "identity"}
        with connection.storage() as session, session.get(address, headers=headers, stream=True) as response:
            size = response.headers.get("Content-Length", "")
            name = unquote(PurePosixPath(urlsplit(address).path).name)
            return ReceivedFile(name, int(size)) if response.status_code == 200 and size.isdecimal() else None
    except requests.exceptions.RequestException as exc:
        raise explain(exc, action) from exc


def _is_error_page(response: requests.Response, destination: Path) -> bool:
    """Tell whether a response is a web page although the file to be downloaded is none."""
    is_html = "text/html" in response.headers.get("Content-Type", "")
    return is_html and destination.suffix.lower() not in (".html", ".htm")


def unpack_single_file(path: Path, name: str) -> None:
    """Replace a zip archive by the single file in it, whose CRC is checked.

    Kaggle zips large files without changing their names.

    Raises
    ------
    DamagedError
        When the archive is incomplete, or does not contain exactly one file.
    """
    where = f"the archive downloaded for {name!r}"
    try:
        with damage_errors(where), zipfile.ZipFile(path) as archive:
            (member,) = [m for m in archive.infolist() if not m.is_dir()]
            unpacked_bytes, free_bytes = member.file_size, shutil.disk_usage(path.parent).free
            if unpacked_bytes > max_unpacked_bytes(path.stat().st_size):
                raise too_large_error(where, path.stat().st_size, unpacked_bytes)
            if unpacked_bytes > free_bytes:
                raise StorageError(
                    f"no space left on the disk for unpacking {name!r}: it has {format_bytes(unpacked_bytes)}, "
                    f"{format_bytes(free_bytes)} are free",
                    hint="free some space, then run it again",
                )
            source = checked_stream(archive.open(member), where, "whole")
            with source, atomic(path) as temporary, temporary.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
    except DamagedError:
        path.unlink(missing_ok=True)
        raise
