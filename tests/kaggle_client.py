"""Kaggle's real client, logged in at the fake server, with few retries and short pauses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.wire import KEY, USER, Server
from workbench.platforms.kaggle import Kaggle, Patience

SHORT_PATIENCE = Patience(
    login_s=60, connect_s=20, answer_s=30, tries=4, backoff_s=0.01, backoff_max_s=0.05, retry_after_max_s=1
)
"""Few tries with short pauses, but long timeouts, so that tests pass on a busy machine."""

HASTY = replace(SHORT_PATIENCE, answer_s=1.0)

expects_no_answer = pytest.mark.parametrize("patience", [HASTY], ids=["hasty"])
"""For tests of calls that are never answered."""


@contextmanager
def kaggle_at(
    server: Server,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    signed_in: bool = False,
    patience: Patience = SHORT_PATIENCE,
) -> Iterator[Kaggle]:
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    for key, value in server.environment(home, signed_in=signed_in).items():
        monkeypatch.setenv(key, value)
    if not signed_in:
        monkeypatch.setenv("KAGGLE_USERNAME", USER)
        monkeypatch.setenv("KAGGLE_KEY", KEY)
    from kaggle.api.kaggle_api_extended import KaggleApi

    # The client reads the key from the home folder of its import, which may be another test's.
    monkeypatch.setattr(KaggleApi, "config", str(home / ".kaggle" / "kaggle.json"))
    platform = Kaggle(patience=patience, listing_delay_s=0.3)
    yield platform
    platform.close()
