"""Uploads that resume after an interruption."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.core.errors import PlatformError
from workbench.platforms.kaggle.connection import Connection
from workbench.platforms.kaggle.failures import explain
from workbench.platforms.kaggle.login import call_within

__all__ = ["upload"]

MIN_BYTES_PER_S = 20_000
"""A slower upload is treated as one that hangs."""


def upload(
    connection: Connection, file: Path, start_upload: Callable[[], Any], *, consequence: str, command: str
) -> str:
    """Upload a file and return its token.

    The client's own record of unfinished uploads is not used: it identifies a file by path, size and time, so that the
    end of one file could be appended to the beginning of another.

    Parameters
    ----------
    start_upload : callable
        Starts an upload at Kaggle and returns a response with the address to upload to and the token.
    consequence, command : str
        For messages: what a failure means, and the command to repeat.

    Raises
    ------
    PlatformError
        When the file does not arrive completely.
    """
    from kaggle.api.kaggle_api_extended import ResumableUploadResult

    api, patience = connection.api, connection.patience
    timeout_s = patience.answer_s + file.stat().st_size / MIN_BYTES_PER_S
    result = None
    for attempt in range(patience.tries):
        resumes = result == ResumableUploadResult.INCOMPLETE
        if not resumes:
            started_upload = start_upload()
        result = _upload_once(api, file, started_upload.create_url, timeout_s, resumes=resumes)
        if result == ResumableUploadResult.COMPLETE:
            return str(started_upload.token)
        time.sleep(min(patience.backoff_s * 2**attempt, patience.backoff_max_s))
    raise PlatformError(
        f"{file.name} could not be uploaded in {patience.tries} tries; {consequence}",
        hint=f"check the network, then `{command}` again",
    )


def _upload_once(api: Any, file: Path, url: str, timeout_s: float, *, resumes: bool) -> Any:
    """Return the client's `ResumableUploadResult` of one try."""
    try:
        return call_within(timeout_s, lambda: api.upload_complete(str(file), url, True, resumes), action="uploading")
    except PlatformError:
        raise
    except Exception as exc:
        raise explain(exc, f"uploading {file.name}") from exc
