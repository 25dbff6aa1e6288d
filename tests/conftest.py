"""A clean environment for each test, and small competitions to run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.small import Small, make_small

# LightGBM's threads wait without spinning: the workers share the cores. Read once, when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_xdist_auto_num_workers() -> int:
    """Two workers per core: half of the suite's time is spent waiting for servers and processes."""
    return 2 * (os.cpu_count() or 1)


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
