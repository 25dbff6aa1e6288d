"""A rehearsal as a whole, of a kernel that loads nothing: what it sees, what is compared, what is said."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nbformat
import polars as pl
import pytest

from tests.example_records import RUN
from tests.in_memory_platform import SLUG, fetched
from tests.kernel_builds import HERE
from workbench.core.context import RunContext, text_listener
from workbench.core.errors import ConfigError, DataError
from workbench.core.isolation import IsolationSupport, clean_environment
from workbench.data.competition import Competition, load_competition
from workbench.data.workspace import create_workspace
from workbench.experiments.notebooks import ExecutedNotebook, Limits
from workbench.experiments.run_folder import FinishedRun
from workbench.kernels import BuiltKernel, RehearsalResult, rehearse
from workbench.kernels.rehearse import check_hidden_submission, compare_public_rows, lay_out_data

FILES = {
    "train.csv": b"id,x,w,y\n" + b"".join(b"%d,%d,%d,%d\n" % (i, i * 7 % 11, i, i % 2) for i in range(40)),
    "test.csv": b"id,x,w\n" + b"".join(b"%d,%d,%d\n" % (i, i * 7 % 11, i) for i in range(40, 60)),
    "sample_submission.csv": b"id,y\n" + b"".join(b"%d,0.5\n" % i for i in range(40, 60)),
}
BUNDLE = {
    "models/m.txt": b"model",
    "wheels/other-1-py3-none-any.whl": b"wheel",
    "wheels/kaggle_workbench-1-py3-none-any.whl": b"ours",
}
ABLE = IsolationSupport(sandboxes=True, pid_namespace=True, reason="")


@dataclass
class Kernel:
    """Predicts in place of a notebook that runs: it reads and writes where the notebook would."""

    predicts: Callable[[int, pl.DataFrame], pl.DataFrame] = lambda _, test: good(test)
    leaves: Callable[[int, Path], None] = lambda _, working: None
    peaks: tuple[float, float, float] = (20.0, 50.0, 40.0)
    calls: list[dict[str, Any]] = field(default_factory=list)
    lists: list[dict[str, bytes]] = field(default_factory=list)

    def execute(self, notebook: Any, parameters: Any, **more: Any) -> ExecutedNotebook:
        assert parameters == {}
        assert "predict()" in str(notebook)
        places = {name: (Path(folder), written) for name, (folder, written) in more["sandbox"].mounts.items()}
        number = len(self.calls)
        self.calls.append(more | {"startup": (places["/run/ipython"][0] / STARTUP).read_text()})
        self.lists.append(
            {
                name.removeprefix("/kaggle/input/") + "/" + p.relative_to(folder).as_posix(): p.read_bytes()
                for name, (folder, _) in places.items()
                if name.startswith("/kaggle/input")
                for p in folder.rglob("*")
                if p.is_file()
            }
        )
        [name] = (n for n in self.lists[-1] if n.startswith(f"competitions/{SLUG}/test."))
        test = pl.read_csv(self.lists[-1][name], separator="," if name.endswith(".csv") else "\t")
        self.predicts(number, test).write_csv(places["/kaggle/working"][0] / "submission.csv")
        self.leaves(number, places["/kaggle/working"][0])
        more["copy"].write_text("executed")
        return ExecutedNotebook(more["copy"], 1.5 + number, self.peaks[number])


STARTUP = "profile_default/startup/00-image.py"


def good(test: pl.DataFrame) -> pl.DataFrame:
    return test.select("id", y=pl.col("id") / 100)


@dataclass
class Stage:
    competition: Competition
    run: FinishedRun
    built: BuiltKernel
    kernel: Kernel

    def rehearse(self, **options: Any) -> RehearsalResult:
        return rehearse(self.competition, self.run, self.built, **options)


def able(monkeypatch: pytest.MonkeyPatch, abilities: IsolationSupport) -> None:
    for module in ("workbench.kernels.rehearse", "workbench.experiments.notebooks.mounts"):
        # By way of sys.modules: the package has a function of the module's name.
        monkeypatch.setattr(sys.modules[module], "isolation_support", lambda: abilities)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    competition = fetched(tmp_path, dict(FILES))
    folder = competition.folder / "kernels" / "001"
    bundle, notebook = folder / "bundle", folder / "kernel" / "inference.ipynb"
    notebook.parent.mkdir(parents=True)
    node = nbformat.v4.new_notebook()
    node.cells = [nbformat.v4.new_code_cell("predict()")]
    nbformat.write(node, notebook)
    for name, data in BUNDLE.items():
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(data)
    write_manifest(bundle)
    run = competition.folder / "runs" / RUN.run_id
    run.mkdir(parents=True)
    good(pl.DataFrame({"id": range(40, 60)})).write_csv(run / "submission.csv")
    kernel = Kernel()
    able(monkeypatch, ABLE)
    monkeypatch.setattr(sys.modules["workbench.kernels.rehearse"], "execute", kernel.execute)
    built = BuiltKernel(f"wb-{SLUG}-001", folder, bundle, notebook, 0)
    return Stage(competition, FinishedRun(RUN, run), built, kernel)


def write_manifest(bundle: Path, python: str = HERE) -> None:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in BUNDLE.items()}
    (bundle / "wb-manifest.json").write_text(json.dumps({"python": python, "files": digests}))


class TestAll:
    def test_what_comes_of_it(self, stage: Stage) -> None:
        said: list[str] = []
        found = stage.rehearse(context=RunContext((text_listener(said.append),)))
        results = stage.built.folder / "rehearsal"
        assert (found.public_submission, found.hidden_submission, found.emptied_submission) == tuple(
            results / name / "submission.csv" for name in ("public", "hidden", "emptied")
        )
        assert (found.max_difference, found.n_differing, found.n_changed_by_hidden) == (0.0, 0, 0)
        assert (found.n_rows, found.seconds, found.peak_mb) == ((20, 30), (1.5, 2.5), 50.0)
        assert found.notes == (
            "hidden test set: 10 rows more, 30 in all",
            "hidden test set: values of train in every third new row",
            "another hidden test set: 10 rows",
            "another hidden test set: empty: w",
        )
        assert said == ["the public test set", "a hidden test set", "a hidden test set with empty columns"]
        assert sorted(p.name for p in stage.built.folder.iterdir()) == ["bundle", "kernel", "rehearsal"]
        assert (results / "hidden" / "inference.ipynb").read_text() == "executed"
        assert [
            pl.read_csv(p).height
            for p in (found.public_submission, found.hidden_submission, found.emptied_submission)
            if p
        ] == [20, 30, 10]

    def test_what_was_there_of_another_goes(self, stage: Stage) -> None:
        stage.rehearse()
        (stage.built.folder / "rehearsal" / "stray").write_text("x")
        stage.kernel.calls.clear()
        stage.rehearse()
        assert sorted(p.name for p in (stage.built.folder / "rehearsal").iterdir()) == ["emptied", "hidden", "public"]

    @pytest.mark.parametrize("peaks", [(9.0, 2.0, 3.0), (1.0, 9.0, 3.0), (1.0, 2.0, 9.0)])
    def test_the_most_memory_counts(self, stage: Stage, peaks: tuple[float, float, float]) -> None:
        stage.kernel.peaks = peaks
        assert stage.rehearse().peak_mb == 9.0

    def test_what_it_sees(self, stage: Stage) -> None:
        stage.rehearse(limits=Limits(seconds=4.5, memory_bytes=123))
        for number, call in enumerate(stage.kernel.calls):
            world = call["sandbox"]
            assert (world.host, world.home, world.own_tmp, world.network) == ("system", "/root", True, False)
            assert {place: written for place, (_, written) in world.mounts.items()} == {
                "/run/ipython": True,
                "/kaggle/working": True,
                f"/kaggle/input/competitions/{SLUG}": False,
                **{
                    f"/kaggle/input/datasets/rehearsal/wb-{SLUG}-001-{n}": False
                    for n in ("packages", "base", "changes")
                },
            }
            assert all(Path(folder).is_absolute() for folder, _ in world.mounts.values())
            assert {p.removeprefix("/kaggle/input/") for p in world.links} == {
                SLUG,
                *(f"wb-{SLUG}-001-{n}" for n in ("packages", "base", "changes")),
            }
            assert call["attached_folders"] == {f"competitions/{SLUG}": f"/kaggle/input/competitions/{SLUG}"}
            assert (call["limits"].memory_bytes, call["limits"].seconds) == (123, 4.5)
            assert call["inherited"] == clean_environment()
            variables = call["environment"]
            assert variables.get("KAGGLE_IS_COMPETITION_RERUN") == ("1" if number else None)
            assert variables["IPYTHONDIR"] == "/run/ipython"
            assert "http_proxy" not in variables
            python = str(Path(sys.executable).parent)
            programs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            assert variables["PATH"].split(":") == [python, *programs]
            places = variables["PYTHONPATH"].split(":")
            assert places[0] == sysconfig.get_path("stdlib")
            assert places[1:] == [p for p in sys.path if p.endswith(("/site-packages", "/dist-packages"))]
            assert "if None is not None" in call["startup"]
        competition = {f"competitions/{SLUG}/{name}": data for name, data in FILES.items()}
        datasets = f"datasets/rehearsal/wb-{SLUG}-001"
        manifest = (stage.built.bundle / "wb-manifest.json").read_bytes()
        assert stage.kernel.lists[0] == competition | {
            f"{datasets}-packages/other-1-py3-none-any.whl": b"wheel",
            f"{datasets}-base/m.txt": b"model",
            f"{datasets}-base/kaggle_workbench-1-py3-none-any.whl": b"ours",
            f"{datasets}-changes/wb-manifest.json": manifest,
        }
        assert stage.kernel.lists[1].keys() == stage.kernel.lists[0].keys()

    def test_an_image_goes_before_the_packages_of_this_machine(self, stage: Stage, tmp_path: Path) -> None:
        image = tmp_path / "image"
        image.mkdir()
        stage.rehearse(image=image)
        for call in stage.kernel.calls:
            assert f"sys.path.insert(0, {str(image)!r})" in call["startup"]
            assert str(image) in call["sandbox"].visible

    def test_for_another_python_its_packages_are_not_there(self, stage: Stage) -> None:
        write_manifest(stage.built.bundle, "3.1")
        found = stage.rehearse()
        text = f"rehearsed with Python {HERE} and the packages of this machine; the kernel has Python 3.1"
        assert found.notes.count(text) == 1
        names = [n.rpartition("/")[2] for n in stage.kernel.lists[0] if n.startswith("datasets")]
        assert sorted(names) == ["kaggle_workbench-1-py3-none-any.whl", "m.txt", "wb-manifest.json"]
        place = f"datasets/rehearsal/wb-{SLUG}-001-changes/wb-manifest.json"
        assert set(json.loads(stage.kernel.lists[0][place])["files"]) == set(BUNDLE) - {
            "wheels/other-1-py3-none-any.whl"
        }
        assert (stage.built.bundle / "wheels" / "other-1-py3-none-any.whl").is_file()

    def test_what_this_system_can_not_give_is_said(self, stage: Stage, monkeypatch) -> None:
        able(monkeypatch, replace(ABLE, pid_namespace=False, reason="no proc"))
        assert stage.rehearse().notes[0] == "the kernel saw this machine's processes (no proc)"

    def test_one_that_leaves_no_submission(self, stage: Stage) -> None:
        stage.kernel.leaves = lambda _, working: (working / "submission.csv").unlink()
        with pytest.raises(DataError, match=r"the kernel finished without writing submission\.csv"):
            stage.rehearse()
        assert len(stage.kernel.calls) == 1
        assert sorted(p.name for p in stage.built.folder.iterdir()) == ["bundle", "kernel", "rehearsal"]

    def test_a_link_that_it_leaves_is_none(self, stage: Stage, tmp_path: Path) -> None:
        (tmp_path / "diary").write_text("id,y\n")

        def leaves(_: int, working: Path) -> None:
            (working / "submission.csv").unlink()
            (working / "submission.csv").symlink_to(tmp_path / "diary")

        stage.kernel.leaves = leaves
        with pytest.raises(DataError, match="without writing submission"):
            stage.rehearse()

    def test_predictions_that_differ_from_the_runs_own(self, stage: Stage) -> None:
        changed = pl.when(pl.col("id") < 43).then(0.9).otherwise("y").alias("y")
        stage.kernel.predicts = lambda number, test: good(test).with_columns(changed if number == 0 else [])
        found = stage.rehearse()
        assert (found.n_differing, found.n_changed_by_hidden) == (3, 0)
        assert found.max_difference > 0.1

    @pytest.mark.parametrize("notes", [None, ["te_town sees the other rows"]])
    def test_public_rows_that_are_predicted_otherwise_in_a_larger_test_set(self, stage: Stage, notes: Any) -> None:
        """What the kernel itself says of it comes first, and is said once."""
        changed = pl.when(pl.col("id") < 45).then(0.9).otherwise("y").alias("y")
        stage.kernel.predicts = lambda number, test: good(test).with_columns(changed if number == 1 else [])
        if notes is not None:
            stage.kernel.leaves = lambda _, working: (
                (working / "wb-notes.json").write_text(json.dumps(notes * 2)) and None
            )
        found = stage.rehearse()
        assert (found.n_differing, found.n_changed_by_hidden) == (0, 5)
        assert [n for n in found.notes if "hidden test set:" not in n] == [
            *(notes or []),
            "5 of the 20 rows of the public test set get other predictions within the hidden one: their features "
            "depend on the other test rows",
        ]
        for name in ("public", "hidden", "emptied"):
            assert (stage.built.folder / "rehearsal" / name / "wb-notes.json").exists() == (notes is not None)

    @pytest.mark.parametrize("number", [1, 2])
    def test_a_hidden_test_set_that_is_not_predicted_whole(self, stage: Stage, number: int) -> None:
        rows = {1: 30, 2: 10}[number]
        stage.kernel.predicts = lambda n, test: good(test).head(rows - 1) if n == number else good(test)
        text = f"the kernel's submission for the hidden test set has {rows - 1} rows; expected {rows}"
        with pytest.raises(DataError, match=text):
            stage.rehearse()

    def test_a_test_set_that_can_not_be_written(self, stage: Stage) -> None:
        raw = stage.competition.folder / "data" / "raw"
        (raw / "test.csv").unlink()
        (raw / "test.tsv").write_bytes(FILES["test.csv"].replace(b",", b"\t"))
        found = stage.rehearse()
        assert (found.hidden_submission, found.emptied_submission, found.n_rows) == (None, None, (20, 0))
        assert (found.seconds, found.peak_mb, found.n_changed_by_hidden) == ((1.5, 0.0), 20.0, 0)
        assert found.notes == ("the test set is not a single CSV or Parquet file: no hidden one was tried",)

    def test_an_evaluation_server(self, stage: Stage) -> None:
        path = stage.competition.folder / "competition.toml"
        path.write_text(path.read_text().replace("[tables]", '[submission]\nserver = "gateway.py"\n[tables]'))
        competition = load_competition(create_workspace(stage.competition.folder.parents[1]), SLUG)
        with pytest.raises(ConfigError, match="has an evaluation server"):
            rehearse(competition, stage.run, stage.built)
        assert stage.kernel.calls == []


def test_without_namespaces_the_network_is_at_least_not_used(stage: Stage, monkeypatch) -> None:
    able(monkeypatch, IsolationSupport(sandboxes=False, pid_namespace=False, reason="not permitted"))
    seen: list[dict[str, Any]] = []

    def execute(*_: Any, **more: Any) -> ExecutedNotebook:
        seen.append(more)
        inputs = more["folder"].parent / "input" / "competitions" / SLUG
        good(pl.read_csv(inputs / "test.csv")).write_csv(more["folder"] / "submission.csv")
        return ExecutedNotebook(more["copy"], 1.0, 1.0)

    monkeypatch.setattr(sys.modules["workbench.kernels.rehearse"], "execute", execute)
    found = stage.rehearse()
    assert (found.n_differing, found.n_rows) == (0, (20, 30))
    assert found.notes[0].startswith(
        "this system has no namespaces (not permitted): the kernel could read and write this machine's"
    )
    assert len([n for n in found.notes if "processes" in n]) == 0
    for more in seen:
        variables = more["environment"]
        assert more["sandbox"] is None
        assert {variables[n] for n in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")} == {
            "http://127.0.0.1:9"
        }
        assert Path(variables["IPYTHONDIR"]).name == "ipython"
        assert Path(variables["IPYTHONDIR"]).is_absolute()


class TestSubmissions:
    @pytest.mark.parametrize(
        ("y", "text"),
        [
            ([0.1, 0.2, 0.3], ""),
            ([0.1, 0.2], "has 2 rows; expected 3"),
            ([0.1, 0.2, 0.3, 0.4], "has 4 rows; expected 3"),
            ([0.1, None, None], "2 predictions for the hidden test set are missing or infinite"),
            ([0.1, float("inf"), None], "2 predictions for the hidden test set are missing or infinite"),
            ([0.1, 0.2, float("nan")], "1 predictions for the hidden test set are missing or infinite"),
        ],
    )
    def test_of_a_hidden_test_set(self, tmp_path: Path, y: list[Any], text: str) -> None:
        path = tmp_path / "submission.csv"
        pl.DataFrame({"id": range(len(y)), "y": pl.Series(y, dtype=pl.Float64)}).write_csv(path)
        if text:
            with pytest.raises(DataError, match=text):
                check_hidden_submission(path, 3, ("id",))
        else:
            check_hidden_submission(path, 3, ("id",))

    def test_public_rows_within_a_larger_one(self, tmp_path: Path) -> None:
        path = tmp_path / "submission.csv"
        public = pl.DataFrame({"id": ["1", "2", "3"], "y": [0.1, 0.2, 0.3]})
        pl.DataFrame({"id": [9, 3, 2, 1], "y": [0.9, 0.3, 0.2, 0.1]}).write_csv(path)
        assert compare_public_rows(path, public, ("id",)) == (0.0, 0)
        pl.DataFrame({"id": [9, 3, 2, 1], "y": [0.9, 0.3, 0.5, 0.1]}).write_csv(path)
        assert compare_public_rows(path, public, ("id",))[1] == 1
        pl.DataFrame({"id": [9, 3, 1], "y": [0.9, 0.3, 0.1]}).write_csv(path)
        with pytest.raises(DataError):
            compare_public_rows(path, public, ("id",))


class TestShown:
    def test_files_without_what_is_ours(self, tmp_path: Path) -> None:
        raw = tmp_path / "raw"
        for name in ("a.csv", "deep/er/b.csv", ".listing.json", "deep/.partial"):
            (raw / name).parent.mkdir(parents=True, exist_ok=True)
            (raw / name).write_text(name)
        for _ in range(2):  # into a folder that is there, too
            lay_out_data(raw, "small", tmp_path / "shown" / "deep")
            there = {p.relative_to(tmp_path / "shown" / "deep").as_posix() for p in (tmp_path / "shown").rglob("*.*")}
            assert there == {"a.csv", "deep/er/b.csv"}
            shutil.rmtree(tmp_path / "shown")
            (tmp_path / "shown" / "deep").mkdir(parents=True)

    def test_of_an_archive_what_is_in_it(self, tmp_path: Path) -> None:
        raw, shown = tmp_path / "raw", tmp_path / "shown"
        raw.mkdir()
        with zipfile.ZipFile(raw / "small.zip", "w") as archive:
            archive.writestr("a.csv", "packed")
            archive.writestr("b.csv", "packed")
        (raw / "a.csv").write_text("packed")
        (raw / "c.csv").write_text("beside")
        lay_out_data(raw, "small", shown)
        assert {p.name for p in shown.iterdir()} == {"a.csv", "b.csv"}
        assert (shown / "a.csv").samefile(raw / "a.csv")
        lay_out_data(raw, "another", tmp_path / "all")
        assert {p.name for p in (tmp_path / "all").iterdir()} == {"a.csv", "c.csv", "small.zip"}


@pytest.mark.parametrize(
    ("earlier", "field"),
    [
        ("public", "public_submission"),
        ("hidden", "hidden_submission"),
        ("emptied", "emptied_submission"),
        ("largest", "max_difference"),
        ("differing", "n_differing"),
        ("moved", "n_changed_by_hidden"),
        ("rows", "n_rows"),
    ],
)
def test_fields_have_their_earlier_names_too(earlier: str, field: str) -> None:
    result = RehearsalResult(
        public_submission=Path("public.csv"),
        hidden_submission=Path("hidden.csv"),
        emptied_submission=Path("emptied.csv"),
        max_difference=0.5,
        n_differing=3,
        n_changed_by_hidden=5,
        n_rows=(20, 30),
        seconds=(1.5, 2.5),
        peak_mb=50.0,
        notes=(),
    )
    with pytest.warns(DeprecationWarning, match=field):
        assert getattr(result, earlier) == getattr(result, field)
