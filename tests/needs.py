"""Markers for tests that need what a machine may lack: packages, programs, services.

Such a test is skipped by the name of what is missing, "needs WORD". With `WB_TEST_MAY_SKIP`, as in CI, it fails unless the
word is listed: see conftest.py. Nothing is skipped for another reason than these, or than "not a case: …".
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from workbench.core.isolation import isolation_support

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def skip_unless(is_there: object, word: str, why: str = "") -> None:
    """Skip the test that is running where what it needs is missing."""
    if not is_there:
        pytest.skip(_reason(word, why))


def _marker(is_there: object, word: str, why: str = "") -> pytest.MarkDecorator:
    return pytest.mark.skipif(not is_there, reason=_reason(word, why))


def _reason(word: str, why: str) -> str:
    return f"needs {word}: {why}" if why else f"needs {word}"


# ------------------------------------------------------------------------------------------------------------ packages


def needs_package(name: str) -> pytest.MarkDecorator:
    return _marker(importlib.util.find_spec(name), name)


def needs_no_package(name: str, why: str) -> pytest.MarkDecorator:
    return _marker(importlib.util.find_spec(name) is None, f"no-{name}", why)


def package(name: str) -> Any:
    """Import a package that the test that is running needs."""
    top = name.partition(".")[0]
    skip_unless(importlib.util.find_spec(top), top)
    return importlib.import_module(name)


# ------------------------------------------------------------------------------------------------------------ programs


def program(*names: str) -> str | None:
    """Return the path of the first of these programs that is installed."""
    return next(filter(None, map(shutil.which, names)), None)


def browser() -> str:
    path = program(*BROWSERS)
    assert path is not None, "the test is not marked with needs_browser"
    return path


needs_fish = _marker(program("fish"), "fish")
needs_zsh = _marker(program("zsh"), "zsh")
needs_browser = _marker(program(*BROWSERS), "browser", "none of " + ", ".join(BROWSERS))


# ------------------------------------------------------------------------------------------------ services, the system


def postgresql_url() -> str:
    """Return the address of an empty database for the test that is running."""
    url = os.environ.get("WB_TEST_POSTGRES_URL", "")
    skip_unless(url, "postgresql", "WB_TEST_POSTGRES_URL names a server")
    return url


needs_namespaces = _marker(isolation_support().sandboxes, "namespaces", isolation_support().reason)
needs_processes_listed = _marker(Path("/proc/self/stat").exists(), "/proc")
needs_full_device = _marker(Path("/dev/full").exists(), "/dev/full")
