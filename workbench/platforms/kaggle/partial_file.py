"""An incomplete download: its bytes in ``.NAME.partial``, and the description of their object in a marker file.

Bytes of one object must never be joined to those of another, such as a newer version of the file.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workbench.core.cache import read_json, write_json
from workbench.core.errors import DamagedError
from workbench.core.temporary import hidden_path
from workbench.platforms.kaggle.crc32c import file_crc32c
from workbench.platforms.protocol import partial_of

__all__ = ["PartialFile", "StoredObject", "discard_partial"]


@dataclass(frozen=True)
class StoredObject:
    """The description of a stored object in the headers of a response; a field is None if they lack it.

    `validator` is its ETag or else the time of its last change; checksums are hex digits.
    """

    validator: str | None
    size_bytes: int | None
    md5: str | None
    crc32c: str | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> StoredObject:
        """Return the description in the headers of a response, which may hold the whole object or a part of it."""
        total_bytes = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
        return cls(
            headers.get("ETag") or headers.get("Last-Modified"),
            int(total_bytes) if total_bytes.isdigit() else None,
            _announced_checksum(headers, "md5", 16),
            _announced_checksum(headers, "crc32c", 4),
        )

    def is_consistent_with(self, other: StoredObject) -> bool:
        """Tell whether a later description, `other`, may be of the same object."""
        return (
            other.size_bytes == self.size_bytes
            and other.crc32c in (None, self.crc32c)
            and other.validator in (None, self.validator)
            and other.md5 in (None, self.md5)
        )


def _announced_checksum(headers: Mapping[str, str], kind: str, n_bytes: int) -> str | None:
    """Return a checksum from the header ``x-goog-hash`` as hex digits; None if it is missing or not of `n_bytes`.

    Composite objects have a CRC-32C and no MD5: https://cloud.google.com/storage/docs/hashes-etags.
    """
    for part in headers.get("x-goog-hash", "").split(","):
        name, _, value = part.strip().partition("=")
        if name == kind:
            with suppress(ValueError):
                checksum = base64.b64decode(value, validate=True)
                return checksum.hex() if len(checksum) == n_bytes else None
    return None


class PartialFile:
    """The bytes of an object that have arrived; `object` describes the object, and is None if there are no bytes.

    The bytes of an earlier download are kept if their object is known, and removed otherwise.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        self.path = partial_of(destination)
        self._marker = _marker_path(destination)
        self.object = self._read_marker()
        if self.object is None:
            self.path.unlink(missing_ok=True)

    def _read_marker(self) -> StoredObject | None:
        """Return the object of an earlier download; None if it is unknown, or can't be recognised again."""
        try:
            stored = StoredObject(**read_json(self._marker))
        except (DamagedError, OSError, TypeError):
            return None
        return None if stored.validator is None else stored

    @property
    def size_bytes(self) -> int:
        """The number of bytes that have arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self, stored: StoredObject) -> None:
        """Store the description of the object whose bytes will be written."""
        self.object = stored
        write_json(self._marker, vars(stored))

    def discard(self) -> None:
        """Remove the bytes that have arrived."""
        discard_partial(self.destination)
        self.object = None

    @property
    def checksum_kind(self) -> str:
        """The kind of checksum that `is_sound` compares: "md5" or "crc32c"."""
        return "crc32c" if self.object is not None and self.object.md5 is None else "md5"

    def is_sound(self) -> bool:
        """Tell whether the bytes have the announced checksum; True if none was announced."""
        if self.object is None:
            return True
        if self.object.md5 is None:
            return self.object.crc32c is None or file_crc32c(self.path) == self.object.crc32c
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest() == self.object.md5

    def finish(self) -> None:
        """Give the complete file its final name."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        self.path.replace(self.destination)
        self._marker.unlink(missing_ok=True)


def discard_partial(destination: Path) -> None:
    """Remove the bytes of an incomplete download to `destination`, and their marker."""
    partial_of(destination).unlink(missing_ok=True)
    _marker_path(destination).unlink(missing_ok=True)


def _marker_path(destination: Path) -> Path:
    return hidden_path(destination, ".partial.json")
