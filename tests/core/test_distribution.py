"""The name of the distribution: hints that install an extra, and another project's `workbench`."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.api import library
from workbench.core.distribution import (
    DISTRIBUTION,
    checkout,
    distribution_version,
    distributions_of_modules,
    install_hint,
    is_own_wheel,
    other_workbench,
)

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def install(folder: Path, name: str, *, origin: object = None, version: str = "9.1", scripts: str = "") -> Path:
    """Write what an installer leaves of a distribution in a folder of packages."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(scripts)
    if origin is not None:
        (about / "direct_url.json").write_text(origin if isinstance(origin, str) else json.dumps(origin))
    return folder


@pytest.fixture
def active(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)


@pytest.mark.usefixtures("active")
class TestHints:
    @pytest.mark.parametrize(
        ("origin", "requirement"),
        [
            (None, "'kaggle-workbench[tune]'"),
            ({"url": "file:///opt/clone", "dir_info": {"editable": True}}, "--editable '/opt/clone[tune]'"),
            ({"url": "file:///opt/my%20clone", "dir_info": {}}, "'/opt/my clone[tune]'"),
            (
                {"url": "https://git.example/w.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
                f"'kaggle-workbench[tune] @ git+https://git.example/w.git@{COMMIT}'",
            ),
            (
                {
                    "url": "https://git.example/w.git",
                    "vcs_info": {"vcs": "git", "commit_id": COMMIT, "requested_revision": "v1"},
                },
                "'kaggle-workbench[tune] @ git+https://git.example/w.git@v1'",
            ),
            (
                {"url": "file:///tmp/kaggle_workbench-9.1-py3-none-any.whl", "archive_info": {}},
                "'kaggle-workbench[tune] @ file:///tmp/kaggle_workbench-9.1-py3-none-any.whl'",
            ),
            ("{ not json", "'kaggle-workbench[tune]'"),
            ("[1]", "'kaggle-workbench[tune]'"),
        ],
    )
    def test_an_extra_comes_from_where_the_installation_came(self, tmp_path, monkeypatch, origin, requirement) -> None:
        monkeypatch.syspath_prepend(install(tmp_path, DISTRIBUTION, origin=origin))
        assert install_hint("tune") == f"pip install {requirement}"
        assert distribution_version() == "9.1"

    def test_here_it_is_the_clone(self) -> None:
        assert checkout() == ROOT
        assert install_hint("tune") == f"pip install --editable '{ROOT}[tune]'"

    def test_a_clone_that_is_only_on_the_path(self, monkeypatch) -> None:
        monkeypatch.setattr(sys, "path", [])
        assert distribution_version() == "0+unknown"
        assert install_hint("tune").endswith(f"--editable '{ROOT}[tune]'")

    def test_outside_an_active_environment_the_interpreter_is_named(self, monkeypatch) -> None:
        monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
        assert install_hint("tune").startswith(f"{sys.executable} -m pip install ")

    def test_no_text_installs_a_distribution_called_workbench(self) -> None:
        texts = [
            *ROOT.glob("workbench/**/*.py"),
            *ROOT.glob("competitions/**/*.py"),
            *ROOT.glob("*.md"),
            *ROOT.glob("*.toml"),
        ]
        installs = re.compile(r"""(?<!un)install '?workbench|"workbench\[""")
        wrong = [str(p) for p in texts if installs.search(p.read_text())]
        assert len(texts) > 100
        assert wrong == []


class TestAnotherWorkbench:
    def test_nothing_is_said_without_one(self) -> None:
        assert other_workbench() is None

    def test_the_doctor_names_a_strangers(self, tmp_path, monkeypatch) -> None:
        monkeypatch.syspath_prepend(install(tmp_path, "workbench", version="0.8.5"))
        monkeypatch.chdir(tmp_path)
        (line,) = (c for c in library.doctor()["checks"] if c["name"] == "installation")
        assert not line["ok"]
        assert line["detail"].startswith("workbench 0.8.5 is installed beside kaggle-workbench: an unrelated project")
        assert "uninstall workbench`" in line["detail"]

    def test_an_installation_of_before_is_not_a_strangers(self, tmp_path, monkeypatch) -> None:
        scripts = "[console_scripts]\nwb = workbench.cli:main\n"
        monkeypatch.syspath_prepend(install(tmp_path, "workbench", version="0.1.0", scripts=scripts))
        assert "this project under its former name" in str(other_workbench())

    def test_the_command_says_so_where_the_strangers_is_imported(self, tmp_path) -> None:
        strangers = tmp_path / "site"
        (strangers / "workbench").mkdir(parents=True)
        (strangers / "workbench" / "__init__.py").write_text("import a_package_that_is_not_here\n")
        code = "import sys; sys.path.insert(0, sys.argv.pop(1)); import kaggle_workbench; kaggle_workbench.main()"
        done = subprocess.run(
            [sys.executable, "-c", code, str(strangers), "doctor"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 1
        assert f"the package `workbench` in {strangers / 'workbench'} is not the one" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_fault_of_our_own_is_not_hidden(self, tmp_path) -> None:
        (tmp_path / "click.py").write_text("raise ImportError('broken click')\n")
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import kaggle_workbench; kaggle_workbench.main()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
        assert "ImportError: broken click" in done.stderr


def test_what_is_installed_later_is_among_the_modules(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert distributions_of_modules()["polars"] == ["polars"]
    assert "one_more" not in distributions_of_modules()
    install(tmp_path, "one-more")
    (tmp_path / "one_more-9.1.dist-info" / "top_level.txt").write_text("one_more\n")
    assert distributions_of_modules()["one_more"] == ["one-more"]


def test_wheels_of_both_names_are_ours() -> None:
    assert is_own_wheel("kaggle_workbench-0.1.0-py3-none-any.whl")
    assert is_own_wheel("workbench-0.1.0-py3-none-any.whl")
    assert not is_own_wheel("workbench_tools-1-py3-none-any.whl")


def test_the_command_is_the_one_that_looks_first() -> None:
    (script,) = importlib.metadata.distribution(DISTRIBUTION).entry_points.select(group="console_scripts", name="wb")
    assert script.value == "kaggle_workbench:main"
    assert callable(script.load())
