"""A clean environment for each test, and small competitions to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.small import Small, make_small


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WB_WORKSPACE", "WB_COMPETITION", "WB_LEDGER_URL", "WB_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Small]:
    """Make a small competition in a workspace of its own; see `make_small`."""

    def make(**options: Any) -> Small:
        return make_small(tmp_path / "workspace", **options)

    return make
