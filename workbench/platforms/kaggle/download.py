"""Downloads that go on where they broke off, and are checked against what the storage says of the object."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from workbench.core.cache import atomic, read_json, write_json
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
from workbench.core.temporary import hidden_path
from workbench.platforms.kaggle.connection import Connection
from workbench.platforms.kaggle.crc32c import file_crc32c
from workbench.platforms.kaggle.failures import explain
from workbench.platforms.protocol import Progress, partial_of

if TYPE_CHECKING:
    import requests

__all__ = ["Arrived", "discard_partial", "download", "look_at", "unwrap"]

PIECE_BYTES = 1 << 17
GONE = (404, 410)
PASSING = (408, 416, 429)
"""What the storage answers with 4xx, and the address is still good."""


@dataclass(frozen=True)
class Arrived:
    """What the storage sent: the name in its address, and the size."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class _Object:
    """The identity of the object that is being fetched; a part of one must never be joined to a part of another."""

    validator: str | None
    size_bytes: int | None
    md5: str | None
    crc32c: str | None = None

    @classmethod
    def of(cls, response: requests.Response) -> _Object:
        headers = response.headers
        total = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
        return cls(
            headers.get("ETag") or headers.get("Last-Modified"),
            int(total) if total.isdigit() else None,
            _announced(headers, "md5", 16),
            _announced(headers, "crc32c", 4),
        )


def _announced(headers: Any, kind: str, n_bytes: int) -> str | None:
    """Return a digest of the object, in hex. What was put together from parts has a CRC-32C and no MD5."""
    for part in headers.get("x-goog-hash", "").split(","):
        name, _, value = part.strip().partition("=")
        if name == kind:
            with suppress(ValueError):
                digest = base64.b64decode(value, validate=True)
                return digest.hex() if len(digest) == n_bytes else None
    return None


def download(
    connection: Connection,
    ask: Callable[[], requests.Response | str],
    destination: Path,
    *,
    action: str,
    progress: Progress | None = None,
    address: requests.Response | None = None,
) -> Arrived:
    """Fetch an object to `destination`, going on from what an earlier call left in ``.NAME.partial`` beside it.

    Every piece that arrives counts: a connection that is cut again and again still gets there, as long as something
    arrives each time. When nothing does, it gives up after as many tries as the patience has.

    Parameters
    ----------
    connection : Connection
    ask : callable
        Asks Kaggle for the object: the answer is a redirect to the storage, its address there, or the object itself.
        Kaggle lets only so many of these calls through: the address is used, whatever breaks off, until the storage
        refuses it, as it does when it has expired. It holds a signature, and is written nowhere.
    destination : Path
    action : str
        For messages: "downloading train.csv of 'titanic'".
    progress : callable, optional
    address : Response, optional
        What `ask` has answered already.

    Raises
    ------
    PlatformError
        When the storage can't be reached, or sends something else.
    UnavailableError
        When the storage has no such object, and nothing of it had arrived.
    StorageError
        When the disk has less room than the object needs; nothing more of it is fetched then.
    DamagedError
        When what arrived has another digest than announced, twice.
    """
    with storage_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        transfer = _Transfer(connection, ask, destination, action, progress or (lambda _: None))
        transfer.answer = address
        with transfer.session:
            for _ in range(2):
                transfer.complete()
                if transfer.is_sound():
                    return transfer.finish()
                digest = transfer.digest
                transfer.discard()
        raise DamagedError(
            f"what arrived while {action} is not what the storage announced ({digest}), twice",
            hint="a proxy or a faulty connection may corrupt it; try from another network",
        )


class _Transfer:
    """One object on its way into a partial file."""

    def __init__(
        self,
        connection: Connection,
        ask: Callable[[], requests.Response | str],
        destination: Path,
        action: str,
        progress: Progress,
    ) -> None:
        self.connection, self.ask, self.action, self.progress = connection, ask, action, progress
        self.destination = destination
        self.partial = partial_of(destination)
        self.marker = _marker_of(destination)
        self.object = self._left_behind()
        self.name, self.sent, self.status = "", "nothing", 0
        self.answer: requests.Response | None = None
        self.address = ""
        self.session = connection.storage()
        if self.have:
            progress(self.have)

    @property
    def have(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _left_behind(self) -> _Object | None:
        try:
            partial_object = _Object(**read_json(self.marker))
        except (DamagedError, OSError, TypeError):
            partial_object = None
        if partial_object is None or partial_object.validator is None:
            self.partial.unlink(missing_ok=True)
            return None
        return partial_object

    def discard(self) -> None:
        self.progress(-self.have)
        self.partial.unlink(missing_ok=True)
        self.marker.unlink(missing_ok=True)
        self.object = None

    def complete(self) -> None:
        """Fetch until all of it is there."""
        patience, stalled = self.connection.patience, 0
        most, expected = self.have, self.object
        while True:
            address = self.address
            try:
                if self._fetch():
                    return
                kind = UnavailableError if self.status in GONE and not self.have else PlatformError
                failure: WorkbenchError = kind(f"the storage of Kaggle sends {self.sent} while {self.action}")
            except Exception as exc:  # noqa: BLE001 raised again unless it is the network's
                failure = self._expected(exc)
            # What comes from its beginning each time, or is another object each time, does not come nearer to its end.
            is_other = expected is not None and self.object not in (None, expected)
            stalled = 0 if self.have > most and not is_other else stalled + 1
            most, expected = self.have if is_other else max(most, self.have), self.object or expected
            if stalled >= patience.tries:
                raise type(failure)(
                    f"{failure.message}{self._resume_note()}", hint="the same command resumes from there"
                )
            # An address that has served and is refused now has expired: that is no reason to wait.
            if stalled and not (address and not self.address):
                time.sleep(min(patience.backoff_s * 2**stalled, patience.backoff_max_s))

    def _resume_note(self) -> str:
        return f"; {self.have / 2**20:,.1f} MB are kept" if self.have else ""

    def _expected(self, exc: Exception) -> WorkbenchError:
        import requests
        import urllib3

        if isinstance(exc, requests.exceptions.RequestException | urllib3.exceptions.HTTPError):
            return explain(exc, self.action)
        if isinstance(exc, PlatformError | NotFoundError):
            # From Kaggle, which has been asked again as often as is of use.
            raise type(exc)(exc.message + self._resume_note(), hint=exc.hint) from exc.__cause__
        raise exc

    def _fetch(self) -> bool:
        """Make one request and take in what it brings; True when the object is complete."""
        if self.object is not None and self.have == self.object.size_bytes:
            return True
        response = self._open()
        with response:
            self.name = unquote(PurePosixPath(urlsplit(response.url).path).name)
            return self._take_in(response) and self._is_complete()

    def _open(self) -> requests.Response:
        if not self.address:
            answer, self.answer = self.ask() if self.answer is None else self.answer, None
            if not isinstance(answer, str):
                if "Location" not in answer.headers:
                    return answer
                answer.close()
                answer = answer.headers["Location"]
            self.address = answer
        headers = {"Accept-Encoding": "identity"}
        if self.object is not None and self.have:
            headers |= {"Range": f"bytes={self.have}-", "If-Range": str(self.object.validator)}
        response = self.session.get(self.address, headers=headers, stream=True)
        self.status = response.status_code
        if 400 <= self.status < 500 and self.status not in PASSING:
            self.address = ""
        return response

    def _take_in(self, response: requests.Response) -> bool:
        if response.status_code not in (200, 206) or _is_error_page(response, self.destination):
            is_page = response.status_code in (200, 206)
            self.sent = "a web page in place of the file" if is_page else f"status {response.status_code}"
            if response.status_code == 416:
                self.discard()
            return False
        arriving = _Object.of(response)
        if response.status_code == 206 and not self._continues(response, arriving):
            self.sent = "a part of another file"
            self.discard()
            return False
        if response.status_code == 200:
            # The first time, or the object changed meanwhile: it comes whole, from its beginning.
            self.discard()
        self._check_room(arriving)
        if self.object is None:
            self.object = arriving
            write_json(self.marker, vars(arriving))
        with self.partial.open("ab") as out:
            # read1 gives what there is: a read that waits for a full piece would lose it when the connection breaks.
            while piece := response.raw.read1(PIECE_BYTES, decode_content=False):
                out.write(piece)
                out.flush()
                self.progress(len(piece))
        return True

    def _check_room(self, arriving: _Object) -> None:
        """Refuse what the disk has no room for before it is filled."""
        need, free = (arriving.size_bytes or 0) - self.have, shutil.disk_usage(self.partial.parent).free
        if need > free:
            raise StorageError(
                f"no space left on the disk for {self.action}: {format_bytes(need)} are to come, "
                f"{format_bytes(free)} are free{self._resume_note()}",
                hint="free some space, then the same command resumes",
            )

    def _continues(self, response: requests.Response, arriving: _Object) -> bool:
        starts = response.headers.get("Content-Range", "").partition(" ")[2].partition("-")[0]
        expected = self.object
        if expected is None or starts != str(self.have) or arriving.size_bytes != expected.size_bytes:
            return False
        if arriving.crc32c not in (None, expected.crc32c):
            return False
        return arriving.validator in (None, expected.validator) and arriving.md5 in (None, expected.md5)

    def _is_complete(self) -> bool:
        expected = self.object.size_bytes if self.object else None
        if expected is not None and self.have != expected:
            self.sent = f"{self.have:,} bytes where {expected:,} were announced"
        if expected is not None and self.have > expected:
            self.discard()
        return self.object is not None and expected in (None, self.have)

    @property
    def digest(self) -> str:
        """By what it is seen whether it is sound."""
        return "crc32c" if self.object is not None and self.object.md5 is None else "md5"

    def is_sound(self) -> bool:
        """Whether the digest is the announced one; True where none is announced."""
        if self.object is None:
            return True
        if self.object.md5 is None:
            return self.object.crc32c is None or file_crc32c(self.partial) == self.object.crc32c
        with self.partial.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest() == self.object.md5

    def finish(self) -> Arrived:
        """Give the file its name."""
        with self.partial.open("rb+") as file:
            os.fsync(file.fileno())
        arrived = Arrived(self.name, self.have)
        self.partial.replace(self.destination)
        self.marker.unlink(missing_ok=True)
        return arrived


def discard_partial(destination: Path) -> None:
    """Remove what has arrived of a download that will not go on."""
    partial_of(destination).unlink(missing_ok=True)
    _marker_of(destination).unlink(missing_ok=True)


def _marker_of(destination: Path) -> Path:
    return hidden_path(destination, ".partial.json")


def look_at(connection: Connection, answer: requests.Response, action: str) -> Arrived | None:
    """Return the name and size of what Kaggle's answer leads to without fetching it, or None where that is not said.

    Raises
    ------
    PlatformError
        When the storage can't be reached.
    """
    import requests

    address = answer.headers.get("Location")
    if not address:
        return None
    try:
        # As it is stored: the size of what is packed on its way is not that of the file.
        headers = {"Accept-Encoding": "identity"}
        with connection.storage() as session, session.get(address, headers=headers, stream=True) as response:
            size = response.headers.get("Content-Length", "")
            name = unquote(PurePosixPath(urlsplit(address).path).name)
            return Arrived(name, int(size)) if response.status_code == 200 and size.isdecimal() else None
    except requests.exceptions.RequestException as exc:
        raise explain(exc, action) from exc


def _is_error_page(response: requests.Response, destination: Path) -> bool:
    is_page = "text/html" in response.headers.get("Content-Type", "")
    return is_page and destination.suffix.lower() not in (".html", ".htm")


def unwrap(path: Path, name: str) -> None:
    """Replace a zip archive that stands for a single file by that file, checked by its CRC.

    Kaggle sends large single files so, whatever they are called.

    Raises
    ------
    DamagedError
        When the archive is not whole, or holds something else.
    """
    where = f"the archive downloaded for {name!r}"
    try:
        with damage_errors(where), zipfile.ZipFile(path) as archive:
            (member,) = [m for m in archive.infolist() if not m.is_dir()]
            need, free = member.file_size, shutil.disk_usage(path.parent).free
            if need > max_unpacked_bytes(path.stat().st_size):
                raise too_large_error(where, path.stat().st_size, need)
            if need > free:
                raise StorageError(
                    f"no space left on the disk for unpacking {name!r}: it has {format_bytes(need)}, "
                    f"{format_bytes(free)} are free",
                    hint="free some space, then run it again",
                )
            source = checked_stream(archive.open(member), where, "whole")
            with source, atomic(path) as temporary, temporary.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
    except DamagedError:
        path.unlink(missing_ok=True)
        raise
