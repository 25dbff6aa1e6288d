"""Whose code is run: none of the folder that one stands in, of another user's workspace, or outside a competition's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.example_records import RUN
from tests.needs import skip_unless
from tests.quick_run import quick
from workbench.api import library
from workbench.core.errors import ConfigError, DamagedError, NotFoundError
from workbench.data.competition import load_code
from workbench.data.competition.own_code import PACKAGES_OF_THE_WORKBENCH, RESERVED_MODULES, own_file
from workbench.data.workspace import find_workspace
from workbench.experiments.notebooks import execute, read_notebook
from workbench.experiments.run_folder import read_run
from workbench.features import code_files
from workbench.models.sklearn_folds import estimator_errors
from workbench.rehearsal.host import load_metric

SPY = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nraise SystemExit('not ours')\n"
STDLIB = ("logging", "json", "random", "types", "pathlib", "contextlib", "socket", "tempfile", "base64", "importlib")


def planted(folder: Path, *names: str) -> Path:
    """Put modules into a folder that tell when they are run."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or STDLIB:
        (folder / f"{name}.py").write_text(SPY)
    return folder


# ------------------------------------------------------------------------------------------------- where one stands


class TestTheFolderOneStandsIn:
    def notebook(self, folder: Path, *cells: str) -> Path:
        path = folder / "a.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells]), path)
        return path

    @pytest.mark.slow
    def test_a_notebooks_worker_runs_nothing_of_it(self, tmp_path: Path, monkeypatch) -> None:
        stood, folder = planted(tmp_path / "stood"), tmp_path / "folder"
        folder.mkdir()
        monkeypatch.chdir(stood)
        path = self.notebook(folder, "import logging\nprint(logging.INFO)")
        done = execute(read_notebook(path), {}, copy=tmp_path / "out" / "a.ipynb", folder=folder)
        assert nbformat.read(done.copy, as_version=4).cells[0].outputs[0].text == "20\n"
        assert not (stood / "ran").exists()

    @pytest.mark.slow
    def test_a_notebook_finds_what_is_beside_it(self, tmp_path: Path) -> None:
        """Its own imports see its folder, as anywhere; and what it starts is not bound by how its kernel was started."""
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "beside.py").write_text("VALUE = 7\n")
        (folder / "main.py").write_text("import beside\nprint(beside.VALUE)\n")
        cell = "import subprocess, sys\nimport beside\nprint(beside.VALUE, '' in sys.path)"
        script = "print(subprocess.check_output([sys.executable, 'main.py'], text=True))"
        path = self.notebook(folder, cell, script)
        done = execute(read_notebook(path), {}, copy=tmp_path / "out" / "a.ipynb", folder=folder)
        first, second = nbformat.read(done.copy, as_version=4).cells
        assert (first.outputs[0].text, second.outputs[0].text) == ("7 True\n", "7\n\n")

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["types", "pathlib", "contextlib", "zmq", "traitlets"])
    def test_a_kernel_is_not_ended_by_a_module_of_its_folder(self, tmp_path: Path, name: str) -> None:
        folder = planted(tmp_path / "folder", name)
        done = execute(
            read_notebook(self.notebook(folder, "print(1)")), {}, copy=tmp_path / "out" / "a.ipynb", folder=folder
        )
        assert nbformat.read(done.copy, as_version=4).cells[0].outputs[0].text == "1\n"
        assert not (folder / "ran").exists()

    @pytest.mark.parametrize("command", [["-m", "workbench"], ["-c", "import kaggle_workbench as k; k.main()"]])
    def test_wb_runs_nothing_of_it(self, tmp_path: Path, command: list[str]) -> None:
        stood = planted(tmp_path / "stood", "click", "json", "random", "sqlite3", "platform")
        (stood / "competitions").mkdir()
        # As the script that an installer writes: Python puts that script's folder in front, and not this one.
        safe = ["-P"] if command[0] == "-c" else []
        done = subprocess.run(
            [sys.executable, *safe, *command, "doctor", "--json"],
            cwd=stood,
            capture_output=True,
            text=True,
            check=False,
        )
        assert json.loads(done.stdout)["checks"], done.stderr
        assert not (stood / "ran").exists()

    def test_processes_that_an_estimator_starts_run_nothing_of_it(self, tmp_path: Path, monkeypatch) -> None:
        """joblib starts them as ``python -m …``, where one stands."""
        monkeypatch.chdir(planted(tmp_path / "stood"))
        with estimator_errors("an estimator", "here"):
            done = subprocess.run([sys.executable, "-m", "json.tool", "--help"], capture_output=True, check=False)
        assert (done.returncode, (tmp_path / "stood" / "ran").exists()) == (0, False)
        assert "PYTHONSAFEPATH" not in os.environ


# ------------------------------------------------------------------------------------------- a competition's own code


class TestNamesOfACompetition:
    def test_the_standard_library_stays_what_it_is(self, tmp_path: Path) -> None:
        """For the competition's own code as for packages that it is the first to import."""
        folder = planted(tmp_path, "random", "colorsys", "json", "polars", "sklearn", "workbench")
        (folder / "package.py").write_text("import colorsys\nVALUE = colorsys.rgb_to_hsv(0, 0, 1)[2]\n")
        (folder / "features.py").write_text(
            "import random, colorsys, json, polars, sklearn, package\nV = package.VALUE\n"
        )
        for name in ("colorsys",):
            sys.modules.pop(name, None)
        module = load_code(folder / "features.py")
        assert module.V == 1
        assert "random.py" not in [p.name for p in code_files([folder / "features.py"]).files]
        assert not (folder / "ran").exists()

    def test_other_names_are_the_folders_before_installed_ones(self, tmp_path: Path) -> None:
        (tmp_path / "idna.py").write_text("VALUE = 1\n")
        (tmp_path / "lib" / "deep").mkdir(parents=True)
        (tmp_path / "lib" / "deep" / "inner.py").write_text("VALUE = 2\n")
        (tmp_path / "certifi").mkdir()  # no code, and none of it is wanted
        (tmp_path / "features.py").write_text(
            "import idna\nfrom lib.deep import inner\nimport certifi\nV = [idna.VALUE, inner.VALUE, hasattr(certifi, 'where')]\n"
        )
        before = {n: m for n, m in sys.modules.items() if n.partition(".")[0] in ("idna", "certifi", "lib")}
        path, hooks = list(sys.path), list(sys.meta_path)
        for name in before:
            del sys.modules[name]
        try:
            assert load_code(tmp_path / "features.py").V == [1, 2, True]
        finally:
            for name in [n for n in sys.modules if n.partition(".")[0] in ("idna", "certifi", "lib")]:
                del sys.modules[name]
            sys.modules.update(before)
        assert (sys.path, sys.meta_path) == (path, hooks)

    def test_it_is_said_where_a_name_means_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "calendar.py").write_text("def holidays():\n    pass\n")
        (tmp_path / "features.py").write_text("import calendar\ncalendar.holidays()\n")
        with pytest.raises(ConfigError, match="has no attribute 'holidays'") as caught:
            load_code(tmp_path / "features.py")
        assert caught.value.hint == (
            "calendar.py: Python or a package has a module of that name, which is imported instead; rename the file"
        )

    def test_every_package_of_ours_is_among_them(self) -> None:
        """Whatever the workbench imports, at the top of a module or in a function, can't be a competition's."""
        import ast

        root = Path(library.__file__).parent
        imported: set[str] = set()
        for path in root.rglob("*.py"):
            if "standin" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {a.name.partition(".")[0] for a in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    imported.add(node.module.partition(".")[0])
        assert sorted(imported - RESERVED_MODULES) == []
        assert {"workbench", "polars"} <= PACKAGES_OF_THE_WORKBENCH


class TestNamedInToml:
    @pytest.fixture
    def outside(self, tmp_path: Path) -> Path:
        (tmp_path / "x.py").write_text(SPY)
        return tmp_path

    OUTSIDE = ("../x.py", "../../x.py", "lib/../../x.py", "{root}/x.py", "link.py", "linked/x.py")

    @pytest.mark.parametrize("name", OUTSIDE)
    def test_a_file_outside_is_refused(self, outside: Path, name: str) -> None:
        folder = outside / "competition"
        (folder / "lib").mkdir(parents=True)
        (folder / "link.py").symlink_to(outside / "x.py")
        (folder / "linked").symlink_to(outside)
        with pytest.raises(ConfigError, match=r"is outside of the competition's folder") as caught:
            own_file(folder, name.format(root=outside), where="competition.toml: metric")
        assert caught.value.message.startswith("competition.toml: metric: ")
        assert not (outside / "ran").exists()

    def test_files_inside_are_taken(self, tmp_path: Path) -> None:
        folder = tmp_path / "real"
        (folder / "lib").mkdir(parents=True)
        (folder / "lib" / "a.py").write_text("")
        (tmp_path / "link").symlink_to(folder)
        for name in ("lib/a.py", "lib/../lib/a.py", "./lib/a.py"):
            assert own_file(tmp_path / "link", name, where="x").is_file()
        with pytest.raises(NotFoundError, match="x: .*b.py is missing"):
            own_file(folder, "b.py", where="x")

    @pytest.mark.parametrize(
        ("definition", "experiment"),
        [
            (('metric = "auc"', 'metric = "../../x.py:score"\ngreater_is_better = true'), "[model]\n"),
            (('scheme = "stratified"', 'scheme = "custom"\nfunction = "../../x.py:folds"'), "[model]\n"),
            (None, '[model]\nobjective = "../../x.py:loss"\n'),
            (None, '[python]\nfunction = "../../x.py:fit"\n'),
            (None, '[notebook]\nfile = "../../x.ipynb"\n'),
        ],
    )
    def test_by_every_key_that_names_code(self, small, definition: Any, experiment: str) -> None:
        made = small()
        root = made.workspace.root
        (root / "x.py").write_text(SPY)
        nbformat.write(nbformat.v4.new_notebook(), root / "x.ipynb")
        if definition:
            made.definition(*definition)
        made.experiment(1, 'features = ["rows.x"]\n' + experiment)
        with pytest.raises(ConfigError, match="outside of"):
            made.open.run(1)
        assert not (root / "ran").exists()

    def test_the_metric_of_a_rehearsal(self, outside: Path) -> None:
        (outside / "rehearsal").mkdir()
        with pytest.raises(ConfigError, match="outside of"):
            load_metric("../x.py:score", outside / "rehearsal", greater_is_better=True)

    @pytest.mark.parametrize("name", ["antigravity.Flight", "this.Zen", "os.system", "subprocess.Popen"])
    def test_an_estimator_of_pythons_own_library_is_not_even_imported(self, small, name: str) -> None:
        made = small()
        made.experiment(1, f'features = ["rows.x"]\n[sklearn]\nestimator = "{name}"\n')
        with pytest.raises(NotFoundError, match="Python's standard library has no estimators"):
            made.open.run(1)


# ------------------------------------------------------------------------------------------------------------- owners


class TestOwners:
    @pytest.fixture
    def theirs(self, tmp_path: Path) -> Path:
        """A workspace of another user, in which one stands."""
        skip_unless(os.geteuid() == 0, "root", "who alone can give files away")
        root = tmp_path / "theirs"
        (root / "competitions" / "one").mkdir(parents=True)
        return root

    @pytest.fixture(autouse=True)
    def no_container(self, monkeypatch) -> None:
        monkeypatch.setattr(sys.modules[find_workspace.__module__], "CONTAINER_MARKS", ("/no-such-mark",))
        monkeypatch.delenv("SUDO_UID", raising=False)

    @pytest.mark.parametrize("place", [".", "competitions", "notebooks", "submissions"])
    def test_it_is_not_entered_unasked(self, theirs: Path, place: str, monkeypatch) -> None:
        (theirs / place).mkdir(exist_ok=True)
        os.chown(theirs / place, 12345, 12345)
        monkeypatch.chdir(theirs / "competitions" / "one")
        with pytest.raises(
            ConfigError, match=r"is a workspace of another user: .* belongs to user 12345, and you"
        ) as e:
            library.workspace()
        assert e.value.hint == f"if you trust it, name it: WB_WORKSPACE={theirs} wb …"
        (check,) = (c for c in library.doctor()["checks"] if c["name"] == "workspace")
        assert (check["level"], "another user" in check["detail"]) == ("bad", True)

    @pytest.mark.parametrize("place", ["competitions", "notebooks", "submissions"])
    def test_nor_is_one_that_another_users_link_makes_of_a_folder_of_roots(self, theirs: Path, place: str) -> None:
        """As in /tmp, which is root's: a link to it, and beside that a competition."""
        if place == "competitions":
            (theirs / place / "one").rmdir()
            (theirs / place).rmdir()
        (theirs / place).symlink_to(".")
        os.lchown(theirs / place, 54321, 54321)
        with pytest.raises(ConfigError, match=rf"workspace of another user: .*{place} belongs to .*54321"):
            find_workspace(theirs)
        os.lchown(theirs / place, 0, 0)
        assert find_workspace(theirs).root == theirs

    def test_it_is_where_it_is_named(self, theirs: Path, monkeypatch) -> None:
        os.chown(theirs, 12345, 12345)
        monkeypatch.chdir(theirs)
        assert library.workspace(theirs).root == theirs
        monkeypatch.setenv("WB_WORKSPACE", str(theirs))
        assert library.workspace().root == theirs

    @pytest.mark.parametrize(
        ("uid", "sudo", "mark", "taken"),
        [(0, None, False, True), (12345, "12345", False, True), (12345, "7", False, False), (12345, None, True, True)],
    )
    def test_whom_root_trusts(
        self, theirs: Path, monkeypatch, uid: int, sudo: str | None, mark: bool, taken: bool
    ) -> None:
        """Itself, whoever called sudo, and in a container everybody."""
        os.chown(theirs, uid, uid)
        if sudo:
            monkeypatch.setenv("SUDO_UID", sudo)
        if mark:
            monkeypatch.setattr(sys.modules[find_workspace.__module__], "CONTAINER_MARKS", ("/",))
        if taken:
            assert find_workspace(theirs).root == theirs
        else:
            with pytest.raises(ConfigError, match="another user"):
                find_workspace(theirs)

    def test_another_user_trusts_itself_and_root(self, theirs: Path, monkeypatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert find_workspace(theirs).root == theirs
        os.chown(theirs, 12345, 12345)
        assert find_workspace(theirs).root == theirs
        os.chown(theirs / "competitions", 54321, 54321)
        with pytest.raises(ConfigError, match=r"belongs to user 54321, and you are user 12345"):
            find_workspace(theirs)


def test_a_workspace_that_is_named_wins_over_the_one_that_one_stands_in(tmp_path: Path, monkeypatch) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "competitions").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "one")
    assert library.workspace().root == tmp_path / "one"
    monkeypatch.setenv("WB_WORKSPACE", str(tmp_path / "other"))
    assert library.workspace().root == tmp_path / "other"
    # What a program says goes before the environment.
    assert library.workspace(tmp_path / "one").root == tmp_path / "one"


# -------------------------------------------------------------------------------------------------- runs from elsewhere


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"files": {"../../../x": "0"}}, "the file '../../../x' is outside of the run's folder"),
        ({"files": {"/dev/zero": "0"}}, "the file '/dev/zero' is outside of the run's folder"),
        ({"source": {"files": {"../x.py": "0"}}}, r"the file '../x.py' is outside"),
        ({"files": {"a": 5}}, "the digest of file 'a' is 5"),
        ({"files": 5}, "'files' is int"),
        ({"models": {}}, "'models' is dict"),
        ({"spec": []}, "'spec' is list"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_run_that_nobody_wrote_so_is_damaged(tmp_path: Path, change: Any, says: str) -> None:
    text = change if isinstance(change, str) else json.dumps({"record": RUN.to_dict(), **change})
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DamagedError, match=says):
        read_run(tmp_path)


def test_a_run_that_names_another_place_is_damaged_and_writes_nothing_there(small) -> None:
    """What is sent is copied to a file that has the run's name."""
    made = small()
    run = quick(made)
    path = run.folder / "run.json"
    raw = made.folder / "data" / "raw" / "train.csv"
    before = raw.read_bytes()
    told = json.loads(path.read_text())
    told["record"]["run_id"] = "../../competitions/small/data/raw/train"
    path.write_text(json.dumps(told))
    with pytest.raises(DamagedError, match=r"run_id = '\.\./.*expected a name without folders"):
        read_run(run.folder)
    found = library.rebuild_ledger(where=made.workspace)
    assert "expected a name without folders" in str(found)
    with pytest.raises(DamagedError):
        made.open.submissions.prepare(1)
    assert raw.read_bytes() == before
