"""Importing this module makes `os.fsync` and SQLite's `synchronous` return at once, without waiting for the disk.

They protect against a loss of power, which no test can cause, and took half of the time of many tests. `tests.faults`
still counts the calls of `os.fsync`.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any


def _return_at_once(descriptor: int) -> None:
    os.fstat(descriptor)  # fails for a closed descriptor, as the real function does


class _Connection(sqlite3.Connection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        super().execute("PRAGMA synchronous=OFF")

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return super().execute("SELECT 1" if sql == "PRAGMA synchronous=FULL" else sql, *args)


def _connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
    return _real_connect(*args, **{"factory": _Connection, **kwargs})


_real_connect = sqlite3.connect
os.fsync = os.fdatasync = _return_at_once  # type: ignore[assignment]
sqlite3.connect = sqlite3.dbapi2.connect = _connect  # type: ignore[assignment]
