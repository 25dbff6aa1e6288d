"""Uploads that go on where they broke off."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.core.errors import PlatformError
from workbench.platforms.kaggle.connection import Connection
from workbench.platforms.kaggle.failures import explain
from workbench.platforms.kaggle.login import within

__all__ = ["upload"]

UPLOAD_BYTES_PER_S = 20_000
"""A slower upload than this is taken for one that hangs."""


def upload(connection: Connection, file: Path, start: Callable[[], Any], *, otherwise: str, again: str) -> str:
    """Upload a file and return its token.

    The client's own state of uploads is not used: it is keyed by path, size and time, so that one file can be spliced
    into another's.

    Parameters
    ----------
    start : callable
        Asks for an address and a token.
    otherwise, again : str
        For messages: what a failure means, and the command to repeat.

    Raises
    ------
    PlatformError
        When it does not arrive whole.
    """
    from kaggle.api.kaggle_api_extended import ResumableUploadResult

    api, patience = connection.api, connection.patience
    deadline = patience.answer_s + file.stat().st_size / UPLOAD_BYTES_PER_S
    result = None
    for attempt in range(patience.tries):
        resume = result == ResumableUploadResult.INCOMPLETE
        if not resume:
            started = start()
        result = _upload_once(api, file, started.create_url, deadline, resume=resume)
        if result == ResumableUploadResult.COMPLETE:
            return str(started.token)
        time.sleep(min(patience.backoff_s * 2**attempt, patience.backoff_max_s))
    raise PlatformError(
        f"{file.name} could not be uploaded in {patience.tries} tries; {otherwise}",
        hint=f"check the network, then `{again}` again",
    )


def _upload_once(api: Any, file: Path, url: str, deadline_s: float, *, resume: bool) -> Any:
    try:
        return within(deadline_s, lambda: api.upload_complete(str(file), url, True, resume), action="uploading")
    except PlatformError:
        raise
    except Exception as exc:
        raise explain(exc, f"uploading {file.name}") from exc
