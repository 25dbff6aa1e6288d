"""A clean environment for each test, one way to draw examples, and small competitions to run."""

from __future__ import annotations

import gc
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import no_sync  # noqa: F401 - of this process and of those that it forks
from tests import small as small_module
from tests.fetching import FILES, Place, place_in
from tests.kaggle_client import SHORT_PATIENCE, kaggle_at
from tests.small import Small, make_small
from tests.wire import Hosted, Server, served
from workbench.platforms.kaggle import Kaggle, Patience

# LightGBM's threads wait without spinning: the workers share the cores. Read once, when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Workers share two cores with servers and trainings: how long an example takes says nothing. A fixture that is made once
# for all examples is meant so.
settings.register_profile(
    "suite",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("suite")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three workers for two cores: some of the time is spent waiting, and each worker collects all tests for itself."""
    return max(2, round(1.5 * (os.cpu_count() or 1)))


def pytest_collection_finish() -> None:
    """Leave what is loaded out of each later search for garbage: thousands of tests and all libraries, half a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Let a test fail that is skipped where everything has to be tried.

    A reason is "not a case: …", or begins with "needs " and a word for what is missing. Where `WB_TEST_MAY_SKIP` is set,
    as in CI, to the words of what may be missing, nothing else may be.
    """
    del item, call
    report = yield
    may_skip = os.environ.get("WB_TEST_MAY_SKIP")
    if report.skipped and may_skip is not None and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        found = re.match(r"(?:Skipped: )?(not a case: |needs ([^ ,:]+))", reason)
        if found is None or (found[2] is not None and found[2] not in may_skip.split()):
            report.outcome, report.longrepr = "failed", f"it was skipped, and must not be here: {reason}"
    return report


OTHERS = {"PYTEST_CURRENT_TEST", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "POLARS_OOC_MEMORY_BUDGET_MB"}
"""Variables that are set for a whole process: by pytest, by scikit-learn when it is imported, by the command for polars."""


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in OTHERS}


@pytest.fixture(autouse=True)
def _same_environment_afterwards() -> Iterator[None]:
    before = _environment()
    yield
    assert _environment() == before, "the test has left the environment as another one"


@pytest.fixture(autouse=True)
def _clean_environment(_same_environment_afterwards: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WB_WORKSPACE", "WB_COMPETITION", "WB_LEDGER_URL", "WB_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session", autouse=True)
def _templates(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> None:
    own = tmp_path_factory.getbasetemp()
    # The environment does not tell: a test of a worker may start a pytest of its own.
    is_worker = hasattr(request.config, "workerinput")
    small_module.templates = (own.parent if is_worker else own) / "templates"
    small_module.templates.mkdir(exist_ok=True)


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Small]:
    """Make a small competition in a workspace of its own; see `make_small`."""

    def make(**options: Any) -> Small:
        return make_small(tmp_path / "workspace", **options)

    return make


# ------------------------------------------------------------------------------------- Kaggle: the stand-in on the wire


@pytest.fixture
def server() -> Iterator[Server]:
    with served() as running:
        yield running


@pytest.fixture
def hosted(server: Server) -> Hosted:
    """The competition "flights" on the stand-in."""
    return server.host("flights", dict(FILES))


@pytest.fixture
def signed_in() -> bool:
    """Whether the login is a sign-in that can be renewed, in place of a key."""
    return False


@pytest.fixture
def patience() -> Patience:
    return SHORT_PATIENCE


@pytest.fixture
def kaggle(
    server: Server, signed_in: bool, patience: Patience, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Kaggle]:
    with kaggle_at(server, tmp_path / "home", monkeypatch, signed_in=signed_in, patience=patience) as platform:
        yield platform


@pytest.fixture
def place(
    server: Server, hosted: Hosted, signed_in: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A workspace into which "flights" is fetched by the command."""
    with place_in(tmp_path, server, monkeypatch, signed_in=signed_in) as made:
        yield made


# ------------------------------------------------------------------------------------------------------------- kernels


@pytest.fixture
def no_wheels(tmp_path: Path) -> Path:
    """A folder with a wheel that is nothing: the machine's own packages are used."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "nothing-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("nothing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n")
        archive.writestr(
            "nothing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("nothing-1.0.dist-info/RECORD", "")
    return folder
