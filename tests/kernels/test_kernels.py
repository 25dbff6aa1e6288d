"""Code competitions: what is packed, that it predicts what the run did, and what a rehearsal finds."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.commands import forked_wb
from tests.kernel_builds import HERE, built
from tests.needs import needs_namespaces
from workbench.core.context import SILENT
from workbench.core.errors import ConfigError, DamagedError, DataError, NotebookError
from workbench.core.isolation import IsolationSupport
from workbench.kernels.layers import PackedFile, kernel_name, layers, packed_files
from workbench.kernels.rehearse import check_hidden_submission, compare_public_rows, hidden_data, lay_out_data
from workbench.kernels.wheels import check_wheels, modules_of, needed_packages, own_wheel
from workbench.models.serving import compare_submissions, predict, read_bundle, read_submission

EXPERIMENT = 'features = ["ratio", "te_town", "town_size", "rows.town", "rows.x", "rows.z"]\n[model]\nnum_iterations = 20\nlearning_rate = 0.2\n'


HELPERS = {
    "lib/__init__.py": "",
    "lib/helpers.py": "from .text.clean import shorter\nfrom lib.space.deep import FACTOR\n\n\ndef scaled(c):\n    return shorter(c) * FACTOR\n",
    "lib/text/__init__.py": "",
    "lib/text/clean.py": "def shorter(c):\n    return c.round(1)\n",
    "lib/space/deep.py": "FACTOR = 2.5\n",
    "scoring/own.py": "import rank\n\n\ndef score(y, p):\n    return rank.area(y, p)\n",
    "scoring/rank.py": "def area(y, p):\n    return float(((p > 0.5) == y).mean())\n",
    "lib/scale.txt": "3",
}


def helped(made: Any) -> Any:
    """Give a competition code in folders, and an experiment that uses all of it."""
    for name, text in HELPERS.items():
        (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (made.folder / name).write_text(text)
    features = made.folder / "features.py"
    features.write_text(
        features.read_text() + "\nfrom pathlib import Path\n\nfrom lib import helpers\n\n\n"
        "@feature(files=['lib/scale.txt'])\ndef helped(rows):\n"
        "    times = float((Path(__file__).parent / 'lib' / 'scale.txt').read_text())\n"
        "    return [(helpers.scaled(pl.col('x')) * times).alias('helped')]\n"
    )
    made.definition('metric = "auc"', 'metric = "scoring/own.py:score"\ngreater_is_better = true')
    made.experiment(1, EXPERIMENT.replace('"ratio"', '"ratio", "helped"'))
    return made


class TestServing:
    @pytest.mark.parametrize(
        ("task", "metric"), [("binary", "auc"), ("regression", "rmsle"), ("multiclass", "mlogloss"), ("two", "rmse")]
    )
    @pytest.mark.parametrize("more", ["", "refit = true\n"])
    def test_a_bundle_predicts_what_the_run_did(
        self, small, no_wheels, tmp_path: Path, task: str, metric: str, more: str
    ) -> None:
        made = small(task=task, metric=metric)
        made.experiment(1, more + EXPERIMENT)
        run = made.open.run(1)
        bundle = built(made, no_wheels).bundle
        out = predict(bundle, made.folder / "data" / "raw", out=tmp_path / "submission.csv", context=SILENT)
        assert out.read_bytes() == run.submission.read_bytes()

    def test_an_objective_of_ones_own_and_weights_of_classes(self, small, no_wheels, tmp_path: Path) -> None:
        made = small(metric="logloss")
        (made.folder / "objective.py").write_text(
            "import numpy as np\n\n\ndef mine(p, y, w):\n    q = 1 / (1 + np.exp(-p))\n    return q - y, q * (1 - q)\n"
        )
        made.experiment(1, 'class_weight = "balanced"\n' + EXPERIMENT + 'objective = "objective.py:mine"\n')
        run = made.open.run(1)
        out = predict(
            built(made, no_wheels).bundle, made.folder / "data" / "raw", out=tmp_path / "s.csv", context=SILENT
        )
        found, own = pl.read_csv(out), pl.read_csv(run.submission)
        assert np.abs((found["y"] - own["y"]).to_numpy()).max() < 1e-12

    def test_files_of_the_competitions_data_and_archives(self, small, no_wheels, tmp_path: Path) -> None:
        """The first are where the data are, and not taken along; Kaggle unpacks the others unless they hide it."""
        made = small()
        for name, value in (("data/raw/weight.txt", "3"), ("tables/shift.txt.gz", "2")):
            (made.folder / name).parent.mkdir(parents=True, exist_ok=True)
            written = value.encode() if name.endswith("txt") else gzip.compress(value.encode())
            (made.folder / name).write_bytes(written)
        features = made.folder / "features.py"
        features.write_text(
            features.read_text() + "\nimport gzip\nfrom pathlib import Path\n\nHERE = Path(__file__).parent\n\n\n"
            "@feature(files=['data/raw/weight.txt', 'tables/shift.txt.gz'])\ndef read(rows):\n"
            "    weight = float((HERE / 'data' / 'raw' / 'weight.txt').read_text())\n"
            "    shift = float(gzip.decompress((HERE / 'tables' / 'shift.txt.gz').read_bytes()))\n"
            "    return [(pl.col('x') * weight + shift).alias('read')]\n"
        )
        made.experiment(1, EXPERIMENT.replace('"ratio"', '"read"'))
        run = made.open.run(1)
        assert not (run.folder / "source" / "data").exists()
        kernel = built(made, no_wheels)
        flat = tmp_path / "flat"
        flat.mkdir()
        for file in packed_files(kernel.bundle):
            shutil.copyfile(file.path, flat / file.flat_name)
        assert not [p.name for p in flat.iterdir() if p.suffix == ".gz" or "weight" in p.name]
        out = predict(flat, made.folder / "data" / "raw", out=tmp_path / "s.csv", context=SILENT)
        assert out.read_bytes() == run.submission.read_bytes()

    def test_a_fixed_copy_is_taken_along(self, small, no_wheels, tmp_path: Path) -> None:
        made = small()
        raw, fixed = made.folder / "data" / "raw", made.folder / "data" / "fixed"
        fixed.mkdir()
        shutil.copyfile(raw / "train.csv", fixed / "train.csv")
        (fixed / "notes.md").write_text("what was wrong")
        (raw / "train.csv").write_text("A report\n\n" + (raw / "train.csv").read_text() + "1,2,3,4,5,6,7,8,9\n")
        made.experiment(1, EXPERIMENT)
        run = made.open.run(1)
        kernel = built(made, no_wheels)
        assert kernel.fixed == ("data/fixed/train.csv",)
        flat = tmp_path / "flat"
        flat.mkdir()
        for file in packed_files(kernel.bundle):
            shutil.copyfile(file.path, flat / file.flat_name)
        out = predict(flat, raw, out=tmp_path / "s.csv", context=SILENT)
        assert out.read_bytes() == run.submission.read_bytes()

    @pytest.mark.parametrize("name", ["test.csv", "sample_submission.csv.gz", "more/test_weather.csv"])
    def test_a_fixed_copy_of_what_the_hidden_test_set_has_others_of_is_refused(
        self, small, no_wheels, name: str
    ) -> None:
        made = small()
        raw, copy = made.folder / "data" / "raw", made.folder / "data" / "fixed" / name
        copy.parent.mkdir(parents=True)
        text = (raw / name.removesuffix(".gz")).read_bytes() if "more" not in name else b"id,warm\n1,2\n"
        copy.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        with pytest.raises(ConfigError, match=f"{copy} is a fixed copy of the public rows"):
            built(made, no_wheels)

    def test_files_of_the_training_are_not_needed(self, small, no_wheels, tmp_path: Path) -> None:
        made = small()
        (made.folder / "splits.json").write_text('{"feature": 0, "threshold": 0.1}')
        made.experiment(1, EXPERIMENT + 'forcedsplits_filename = "splits.json"\n')
        run = made.open.run(1)
        bundle = built(made, no_wheels).bundle
        out = predict(bundle, made.folder / "data" / "raw", out=tmp_path / "s.csv", context=SILENT)
        assert out.read_bytes() == run.submission.read_bytes()

    def test_helper_code_comes_along(self, small, no_wheels, tmp_path: Path) -> None:
        """Packages, namespaces, a metric in a folder, files that features read, an empty file: each in its place."""
        made = helped(small())
        run = made.open.run(1)
        kernel = built(made, no_wheels)
        names = set(json.loads((kernel.bundle / "wb-manifest.json").read_text())["files"])
        assert {f"competition/{name}" for name in HELPERS} <= names
        # As datasets hold it: without folders, and without empty files.
        flat = tmp_path / "flat"
        flat.mkdir()
        for file in packed_files(kernel.bundle):
            shutil.copyfile(file.path, flat / file.flat_name)
        assert not (flat / "lib--__init__.py").exists()
        shutil.rmtree(made.folder / "lib")
        out = predict(flat, made.folder / "data" / "raw", out=tmp_path / "s.csv", context=SILENT)
        assert out.read_bytes() == run.submission.read_bytes()

    def test_code_that_can_not_come_along_is_named(self, small, no_wheels, tmp_path: Path) -> None:
        made = helped(small())
        (tmp_path / "elsewhere.txt").write_text("3")
        link = made.folder / "lib" / "scale.txt"
        link.unlink()
        link.symlink_to(tmp_path / "elsewhere.txt")
        outcome = made.open.run(1)
        source = json.loads((outcome.folder / "run.json").read_text())["source"]
        assert source["excluded"].keys() == {"lib/scale.txt"}
        assert "lib/helpers.py" in source["files"]
        assert not (outcome.folder / "source" / "lib" / "scale.txt").exists()
        with pytest.raises(
            ConfigError, match=r"needs lib/scale\.txt, which can't be packed for a kernel: it is a link"
        ):
            built(made, no_wheels)

    def test_a_run_of_an_older_version_that_kept_no_helpers(self, small, no_wheels) -> None:
        made = helped(small())
        run = made.open.run(1)
        record = json.loads((run.folder / "run.json").read_text())
        del record["source"]
        (run.folder / "run.json").write_text(json.dumps(record))
        shutil.rmtree(run.folder / "source" / "lib")
        with pytest.raises(ConfigError, match=r"has no copy of lib/__init__\.py, which its code imports"):
            built(made, no_wheels)

    def test_names_that_lead_out_of_the_bundle_are_refused(self, small, no_wheels) -> None:
        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        path = built(made, no_wheels).bundle / "wb-manifest.json"
        for name in ("competition/../../evil.py", "/tmp/evil.py"):
            manifest = json.loads(path.read_text())
            manifest["files"][name] = "0"
            path.write_text(json.dumps(manifest))
            with pytest.raises(DamagedError, match="names a file outside its folder"):
                read_bundle(path.parent)

    def test_a_larger_test_set_with_unseen_categories(self, small, no_wheels, tmp_path: Path) -> None:
        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        rows = hidden_data(made.open.access.competition, made.folder / "data" / "raw", tmp_path / "hidden")
        assert rows == 150
        hidden = pl.read_csv(tmp_path / "hidden" / "test.csv")
        assert hidden["town"].str.contains("never seen").sum() == 5
        assert hidden["id"].n_unique() == 150
        out = predict(built(made, no_wheels).bundle, tmp_path / "hidden", out=tmp_path / "s.csv", context=SILENT)
        found = pl.read_csv(out)
        assert found["id"].to_list() == hidden["id"].to_list()
        assert found["y"].is_between(0, 1).all()

    def test_what_came_in_an_archive_is_shown_unpacked(self, small, tmp_path: Path) -> None:
        made = small()
        raw = made.folder / "data" / "raw"
        for path in list(raw.glob("*.csv")):
            (tmp_path / path.name).write_bytes(path.read_bytes())
            path.unlink()
        with zipfile.ZipFile(tmp_path / "train.zip", "w") as inner:
            inner.writestr("cats/2.png", "another image")
        with zipfile.ZipFile(raw / "small.zip", "w") as archive:
            for path in [*tmp_path.glob("*.csv"), tmp_path / "train.zip"]:
                archive.write(path, path.name)
            archive.writestr("images/1.png", "an image")
        # What `wb fetch` unpacked: of images/ a file is there, too; cats/ is nowhere on Kaggle.
        for name in ("images/1.png", "cats/2.png"):
            (raw / name).parent.mkdir()
            (raw / name).write_text("unpacked when it was fetched")
        shown = tmp_path / "shown"
        lay_out_data(raw, "small", shown)
        names = {p.relative_to(shown).as_posix() for p in shown.rglob("*") if p.is_file()}
        tables = {"train.csv", "test.csv", "sample_submission.csv", "towns.csv"}
        assert names == tables | {"images/1.png", "train.zip"}
        assert (shown / "images" / "1.png").read_text() == "unpacked when it was fetched"
        assert hidden_data(made.open.access.competition, shown, tmp_path / "hidden") == 150
        assert (tmp_path / "hidden" / "train.csv").read_bytes() == (tmp_path / "train.csv").read_bytes()

    def test_other_train_rows_are_refused(self, small, no_wheels, tmp_path: Path) -> None:
        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        bundle = built(made, no_wheels).bundle
        other = small(n_rows=450, slug="other")
        with pytest.raises(DataError, match="the folds of .* are not those that run 001-"):
            predict(bundle, other.folder / "data" / "raw", out=tmp_path / "s.csv", context=SILENT)

    def test_what_was_packed_is_checked(self, small, no_wheels) -> None:
        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        bundle = built(made, no_wheels).bundle
        model = bundle / "models" / "t0-f0-s1.txt"
        model.write_text(model.read_text() + "\n")
        with pytest.raises(DamagedError, match="is not what was packed"):
            read_bundle(bundle)
        model.unlink()
        with pytest.raises(DamagedError, match="is missing"):
            read_bundle(bundle)

    def test_serving_needs_little(self) -> None:
        """It is imported where there are no databases, no notebooks and no command line."""
        code = "import sys, workbench.models.serving; print([m for m in ('sqlalchemy', 'alembic', 'optuna', 'kaggle', 'papermill', 'click', 'rich') if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


class TestOnKaggle:
    """The same notebook there: the dataset and the competition's files are inputs."""

    CODE = """
from pathlib import Path
from workbench.models.serving import predict as module
import sys
sys.modules["workbench.models.serving.bundle"].INPUTS = Path({inputs!r})
from workbench import nb
X, X_test = nb.features("rows.x")
print(nb.competition.slug, len(nb.target), len(X_test), len(nb.folds))
"""

    def run(self, inputs: Path, where: Path) -> subprocess.CompletedProcess[str]:
        code = self.CODE.format(inputs=str(inputs))
        return subprocess.run([sys.executable, "-c", code], cwd=where, capture_output=True, text=True, check=False)

    @pytest.mark.slow
    def test_nb_is_the_competition_of_the_dataset(self, small, no_wheels, tmp_path: Path) -> None:
        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        inputs = tmp_path / "input"
        inputs.mkdir()
        shutil.copytree(built(made, no_wheels).bundle, inputs / "wb-small-001")
        done = self.run(inputs, tmp_path)
        assert "no files of 'small'" in done.stderr
        assert "which has wb-small-001" in done.stderr
        (inputs / "small").symlink_to(made.folder / "data" / "raw")
        done = self.run(inputs, tmp_path)
        assert done.stdout.strip() == "small 400 100 5", done.stderr

    def test_what_did_not_change_is_found_in_the_other_dataset(self, small, no_wheels, tmp_path: Path) -> None:
        """As a second push leaves it: one dataset with all files, one with the manifest and what changed since."""
        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        bundle = built(made, no_wheels).bundle
        base, changes = tmp_path / "input" / "one-base", tmp_path / "input" / "datasets" / "someone" / "one-changes"
        base.mkdir(parents=True)
        changes.mkdir(parents=True)
        for path in bundle.rglob("*"):
            if path.is_file():
                shutil.copyfile(path, base / path.name)
        (base / "wb-manifest.json").rename(changes / "wb-manifest.json")
        (base / "t0-f0-s1.txt").write_text("the model of an earlier push")
        shutil.copyfile(bundle / "models" / "t0-f0-s1.txt", changes / "t0-f0-s1.txt")
        (tmp_path / "input" / "small").symlink_to(made.folder / "data" / "raw")
        done = self.run(tmp_path / "input", tmp_path)
        assert done.stdout.strip() == "small 400 100 5", done.stderr
        (changes / "t0-f0-s1.txt").unlink()
        done = self.run(tmp_path / "input", tmp_path)
        assert "one-base/t0-f0-s1.txt is not what was packed" in done.stderr


class TestLayers:
    """Which file goes into which dataset."""

    def packed(self, **sizes: int) -> list[PackedFile]:
        names = {"wheel": "wheels/polars-1-py3-none-any.whl", "own": "wheels/kaggle_workbench-1-py3-none-any.whl"}
        names |= {"manifest": "wb-manifest.json"}
        return [PackedFile(names.get(n, f"models/{n}"), Path(n), f"digest of {n}", size) for n, size in sizes.items()]

    def names(self, found: dict[str, list[PackedFile]]) -> dict[str, set[str]]:
        return {name: {file.path.name for file in files} for name, files in found.items()}

    def test_a_change_goes_beside_the_base(self) -> None:
        files = self.packed(wheel=900, own=9, manifest=1, a=10, b=10, c=10)
        first = layers(files, {})
        assert self.names(first) == {"packages": {"wheel"}, "base": {"own", "a", "b", "c"}, "changes": {"manifest"}}
        base = {f.flat_name: f.sha256 for f in first["base"]}
        assert self.names(layers(files, base)) == {"packages": {"wheel"}, "changes": {"manifest"}}
        other = base | {"b": "another"}
        assert self.names(layers(files, other)) == {"packages": {"wheel"}, "changes": {"manifest", "b"}}
        # Two of three models: all of the base anew is not much more.
        assert self.names(layers(files, other | {"a": "another"}))["base"] == {"own", "a", "b", "c"}

    @given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 100), min_size=1), st.data())
    def test_every_file_is_found_by_its_digest(self, sizes: dict[str, int], data: Any) -> None:
        files = self.packed(**sizes, manifest=1)
        base = {n: data.draw(st.sampled_from([f"digest of {n}", "another"])) for n in sizes if data.draw(st.booleans())}
        found = layers(files, base)
        held = {f.sha256 for layer in found.values() for f in layer} | (
            set() if "base" in found else set(base.values())
        )
        assert {f.sha256 for f in files} <= held

    def test_names_on_the_platform(self) -> None:
        assert kernel_name("Store_Sales", 7) == "wb-store-sales-007"
        long = [kernel_name("a-very-long-name-of-a-competition-that-goes-on-" + end, 7) for end in ("one", "two")]
        assert long[0] != long[1]
        assert {len(f"{name}-packages") <= 50 for name in long} == {True}
        assert re.fullmatch("[a-z0-9-]+", long[0])

    def test_two_files_of_one_name_are_refused(self, tmp_path: Path) -> None:
        for folder in ("models", "competition"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "same.txt").write_text(folder)
        with pytest.raises(ConfigError, match=r"competition/same.txt and models/same.txt would have the same name"):
            packed_files(tmp_path)

    def test_a_workspace_on_the_drive_of_colab_is_found(self, tmp_path: Path, monkeypatch) -> None:
        workspace = importlib.import_module("workbench.data.workspace")
        monkeypatch.setattr(workspace, "DRIVE", tmp_path / "drive")
        away = tmp_path / "content"
        away.mkdir()
        with pytest.raises(ConfigError, match="no workspace"):
            workspace.find_workspace(away)
        workspace.create_workspace(tmp_path / "drive" / "mine")
        assert workspace.find_workspace(away).root == tmp_path / "drive" / "mine"
        workspace.create_workspace(tmp_path / "drive" / "other")
        with pytest.raises(ConfigError, match="several workspaces .*: mine, other"):
            workspace.find_workspace(away)


class TestBuild:
    def test_what_is_packed(self, small, no_wheels) -> None:
        made = small()
        made.experiment(1, EXPERIMENT)
        run = made.open.run(1)
        found = built(made, no_wheels)
        manifest = json.loads((found.bundle / "wb-manifest.json").read_text())
        assert manifest["run_id"] == run.record.run_id
        names = set(manifest["files"])
        assert {"competition/competition.toml", "competition/features.py", "models/categories.json"} <= names
        assert len([n for n in names if n.startswith("models/t0-f")]) == 5
        assert any(n.startswith("wheels/kaggle_workbench-") for n in names)
        assert not any("001.toml" in n for n in names)

    def test_a_second_build_changes_only_what_changed(self, small, no_wheels) -> None:
        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        first = built(made, no_wheels).bundle
        before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in first.rglob("*") if p.is_file()}
        built(made, no_wheels)
        after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in first.rglob("*") if p.is_file()}
        changed = {p.name for p in before if before[p] != after[p]}
        assert changed <= {"wb-manifest.json"}
        assert {p: b for p, (_, b) in before.items()} == {p: b for p, (_, b) in after.items()}

    def test_what_can_not_be_served_is_said(self, small, no_wheels) -> None:
        made = small()
        made.experiment(1, 'features = ["rows.x"]\n[sklearn]\nestimator = "sklearn.linear_model.LogisticRegression"\n')
        made.open.run(1)
        with pytest.raises(ConfigError, match=r"is of \[sklearn\]; kernels predict with models of LightGBM"):
            built(made, no_wheels)

    def test_our_wheel_is_the_same_each_time_and_can_be_installed(self, tmp_path: Path) -> None:
        one, two = own_wheel(tmp_path / "a"), own_wheel(tmp_path / "b")
        assert one.read_bytes() == two.read_bytes()
        target = tmp_path / "site"
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-index",
            "--no-deps",
            "--target",
            str(target),
            str(one),
        ]
        subprocess.run(command, check=True, capture_output=True)
        code = f"import sys; sys.path.insert(0, {str(target)!r}); import workbench.models.serving; print(workbench.models.serving.__file__)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert done.stdout.startswith(str(target))

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("polars-1.0-cp39-abi3-manylinux_2_17_x86_64.whl", None),
            ("numpy-2.0-cp312-cp312-manylinux_2_17_x86_64.whl", None),
            ("pure-1.0-py3-none-any.whl", None),
            ("pure-1.0-py2.py3-none-any.whl", None),
            ("numpy-2.0-cp311-cp311-manylinux_2_17_x86_64.whl", "is a wheel for cp311, and the kernel has Python 3.12"),
            ("new-2.0-cp313-abi3-manylinux_2_17_x86_64.whl", "is a wheel for cp313"),
            ("numpy-2.0-cp312-cp312-macosx_11_0_arm64.whl", "is a wheel for macosx_11_0_arm64"),
            ("numpy.whl", "is not a wheel's name"),
        ],
    )
    def test_a_wheel_for_another_python_is_named(self, name: str, message: str | None) -> None:
        if message is None:
            check_wheels([Path(name)], "3.12")
        else:
            with pytest.raises(ConfigError, match=message):
                check_wheels([Path(name)], "3.12")


def test_predictions_that_differ_are_counted(tmp_path: Path) -> None:
    own = pl.DataFrame({"id": [1, 2, 3, 4], "y": [0.1, 0.2, 0.3, 0.4]})
    path = tmp_path / "submission.csv"
    own.reverse().write_csv(path)
    assert compare_submissions(path, own, ["id"]) == (0.0, 0)
    own.with_columns(y=pl.Series([0.1, 0.2, 0.3, 0.5])).write_csv(path)
    largest, differing = compare_submissions(path, own, ["id"])
    assert (largest, differing) == (pytest.approx(0.1 / float(own["y"].std())), 1)
    own.with_columns(y=pl.Series([0.1, 0.2, None, 0.4])).write_csv(path)
    assert compare_submissions(path, own, ["id"]) == (float("inf"), 1)
    own.head(3).write_csv(path)
    with pytest.raises(DataError, match="has 3 rows and the columns"):
        compare_submissions(path, own, ["id"])
    own.with_columns(id=pl.Series([1, 2, 3, 9])).write_csv(path)
    with pytest.raises(DataError, match="has other ids than the run's own: 1 of 4"):
        compare_submissions(path, own, ["id"])


def test_submissions_are_read_by_all_their_rows(tmp_path: Path) -> None:
    """Ids are texts however they look; labels may be numbers for a long time."""
    first = pl.DataFrame({"id": [f"{i}.10" for i in range(300)], "y": ["1"] * 300})
    other = pl.DataFrame({"id": [f"{i}.10-hidden" for i in range(300, 400)], "y": ["3+"] * 100})
    hidden, alone = tmp_path / "hidden.csv", tmp_path / "alone.csv"
    pl.concat([first, other]).write_csv(hidden)
    first.write_csv(alone)
    check_hidden_submission(hidden, 400, ("id",))
    assert read_submission(hidden, ["id"])["y"].to_list() == ["1"] * 300 + ["3+"] * 100
    public = read_submission(alone, ["id"])
    assert public["id"].to_list() == first["id"].to_list()
    assert compare_public_rows(hidden, public, ("id",)) == (0.0, 0)
    other.with_columns(id=first["id"].head(100)).vstack(first.tail(200)).write_csv(alone)
    assert compare_submissions(alone, public, ["id"])[1] == 100


def with_cell(kernel: Any, source: str) -> None:
    import nbformat

    node = nbformat.read(kernel.notebook, as_version=4)
    node.cells.append(nbformat.v4.new_code_cell(source))
    nbformat.write(node, kernel.notebook)


REDIRECT = """import importlib.util
import sys

spec = importlib.util.spec_from_file_location(__name__, {file!r}, submodule_search_locations={places!r})
module = sys.modules[__name__] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


def small_wheels(folder: Path, imported: Any = ()) -> dict[str, str]:
    """Write small wheels of all that a kernel needs: each module in them loads that of this machine."""
    needed = needed_packages(imported)
    for name, version in needed.items():
        files = {}
        for module in modules_of([name]):
            spec = importlib.util.find_spec(module)
            places = list(spec.submodule_search_locations or []) or None
            files[f"{module}/__init__.py"] = REDIRECT.format(file=spec.origin, places=places)
        write_wheel(folder, name.replace("-", "_"), version, files)
    return needed


class TestPackages:
    """Which wheels are packed, and that those of another version are not taken for them."""

    def test_what_is_needed_is_known_with_what_that_needs(self) -> None:
        needed = needed_packages(["sklearn", "torch", "no_such_module"])
        assert {"numpy", "scipy", "polars", "polars-runtime-32", "lightgbm", "pydantic-core", "scikit-learn"} <= {
            *needed
        }
        assert "joblib" in needed
        assert not {"torch", "kaggle-workbench", "workbench"} & {*needed}
        assert {"numpy", "sklearn", "_polars_runtime_32", "pydantic_core"} <= {*modules_of(needed)}
        assert "scikit-learn" not in needed_packages()

    @pytest.mark.slow
    def test_wheels_of_other_versions_are_downloaded_again(self, small, tmp_path: Path, monkeypatch) -> None:
        made = small()
        features = made.folder / "features.py"
        features.write_text("import sklearn\n" + features.read_text())
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        index = tmp_path / "index"
        index.mkdir()
        needed = small_wheels(index, ["sklearn"])
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(index))

        def packed() -> set[str]:
            bundle = made.open.kernels.build(1, python=HERE).bundle
            return {p.name.rsplit("-", 3)[0] for p in (bundle / "wheels").glob("*")}

        expected = {f"{name.replace('-', '_')}-{version}" for name, version in needed.items()}
        assert expected < packed()
        manifest = json.loads((made.folder / "kernels" / "001" / "bundle" / "wb-manifest.json").read_text())
        assert {"sklearn", "numpy"} <= {*manifest["modules"]}
        place = made.folder / "kernels" / "001" / "wheels" / HERE
        numpy = next(place.glob("numpy-*"))
        numpy.rename(place / "numpy-1.0-py3-none-any.whl")
        assert expected < packed()
        assert not any(name.startswith("numpy-1.0") for name in packed())
        # Those that are there and right are not downloaded again.
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        assert expected < packed()


FORBIDDEN = {
    "import urllib.request; urllib.request.urlopen('http://127.0.0.2:9', timeout=5)": "URLError",
    "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)": "Network is unreachable",
    "open('/kaggle/input/small/new.csv', 'w')": "Read-only file system",
    "open('/kaggle/input/small/towns.csv', 'w')": "Read-only file system",
    "open('/kaggle/input/competitions/small/towns.csv', 'w')": "Read-only file system",
    "open('/usr/new.txt', 'w')": "Read-only file system",
    "import os; os.chmod('/kaggle/input/small/towns.csv', 0o777)": "Read-only file system",
    "open(HERE)": "No such file or directory",
    "import os; open(os.path.expanduser('~/.netrc'))": "No such file or directory: '/root/.netrc'",
    "import os; os.environ['AWS_SECRET_ACCESS_KEY']": "KeyError: 'AWS_SECRET_ACCESS_KEY'",
    "import os; os.kill(PID, 0)": "No such process",
}
"""What a cell may not do, and what it is told."""


@pytest.mark.slow
@needs_namespaces
class TestRehearsal:
    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        """Packages of other versions than the bundle's, and some that were built for those."""
        folder = tmp_path / "image"
        for name, text in {
            "numpy": "__version__ = '1.26.4'\n",
            "sklearn": "raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')\n",
            "pandas": "raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')\n",
        }.items():
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").write_text(text)
        return folder

    def test_a_session_that_has_another_numpy(self, small, tmp_path: Path, image: Path) -> None:
        """It is imported before the first cell; predictions are made without it, and it stays what it was."""
        import nbformat

        made = small()
        features = made.folder / "features.py"
        features.write_text(features.read_text().replace("import", "import numpy\nimport", 1))
        made.experiment(1, EXPERIMENT)
        run = made.open.run(1)
        wheels = tmp_path / "wheels"
        wheels.mkdir()
        small_wheels(wheels)
        kernel = built(made, wheels)
        node = nbformat.read(kernel.notebook, as_version=4)
        has = "import sys\nassert sys.modules['numpy'].__version__ == '1.26.4'"
        node.cells.insert(0, nbformat.v4.new_code_cell(has))
        again = "import importlib, numpy\nassert importlib.reload(numpy).__version__ == '1.26.4', numpy.__file__"
        node.cells.append(nbformat.v4.new_code_cell(again))
        nbformat.write(node, kernel.notebook)
        rehearsed = made.open.kernels.rehearse(1, kernel, image=image)
        assert (rehearsed.n_differing, rehearsed.max_difference) == (0, 0.0)
        assert rehearsed.public_submission.read_bytes() == run.submission.read_bytes()
        printed = (kernel.folder / "rehearsal" / "public" / "inference.ipynb").read_text()
        assert "taken from the image" not in "".join(
            text
            for cell in nbformat.reads(printed, 4).cells
            for out in cell.get("outputs", [])
            for text in out.get("text", "")
        )

    def test_what_it_writes_has_the_name_of_the_definition(self, small, no_wheels) -> None:
        made = small(task="multiclass", metric="mlogloss")
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        made.definition("[tables]", '[submission]\nfile = "submission.parquet"\n[tables]')
        rehearsed = made.open.kernels.rehearse(1, built(made, no_wheels))
        assert (rehearsed.n_differing, rehearsed.n_rows) == (0, (100, 150))
        assert rehearsed.public_submission.name == "submission.parquet"
        assert pl.read_parquet(rehearsed.hidden_submission).height == 150

    def test_what_the_bundle_lacks_is_the_images(self, small, no_wheels) -> None:
        import nbformat

        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        kernel = built(made, no_wheels)
        made.open.kernels.rehearse(1, kernel)
        node = nbformat.read(kernel.folder / "rehearsal" / "public" / "inference.ipynb", as_version=4)
        printed = "".join(str(out.get("text", "")) for cell in node.cells for out in cell.get("outputs", []))
        assert "not in the bundle, taken from the image: _polars_runtime_32, " in printed

    def test_an_error_of_the_prediction_is_the_notebooks(self, small, no_wheels) -> None:
        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        kernel = built(made, no_wheels)
        model = kernel.bundle / "models" / "t0-f0-s1.txt"
        model.write_text(model.read_text() + "\n")
        with pytest.raises(
            NotebookError, match=r"ended with exit status 1: (?s:.*)t0-f0-s1\.txt is not what was packed"
        ):
            made.open.kernels.rehearse(1, kernel)

    def test_it_predicts_the_same_without_network(self, small, no_wheels) -> None:
        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        kernel = built(made, no_wheels)
        with_cell(
            kernel,
            "import os, kagglehub\n"
            "places = ['/kaggle/input/competitions/small', '/kaggle/input/small', kagglehub.competition_download('small')]\n"
            "assert all(os.path.isfile(f'{place}/towns.csv') for place in places), places\n"
            "assert str(bundle).startswith('/kaggle/input/datasets/')",
        )
        found = made.open.kernels.rehearse(1, kernel)
        assert (found.n_differing, found.max_difference) == (0, 0.0)
        assert found.n_rows == (100, 150)
        assert pl.read_csv(found.hidden_submission).height == 150

    def test_what_kaggle_does_not_allow_fails_here_too(self, small, no_wheels, monkeypatch) -> None:
        """What is this machine's is not there: its files, its home, its environment, its processes, its network."""
        made = small()
        Path.home().mkdir()
        (Path.home() / ".netrc").write_text("mine")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        kernel = built(made, no_wheels)
        tried = [code.replace("HERE", repr(str(made.folder / "features.py"))) for code in FORBIDDEN]
        with_cell(
            kernel,
            f"said = []\nfor code in {[code.replace('PID', str(os.getpid())) for code in tried]!r}:\n"
            "    try:\n        exec(code, {})\n        said.append('allowed')\n"
            "    except Exception as exc:\n        said.append(f'{type(exc).__name__}: {exc}')\n"
            "import json\nraise RuntimeError('SAID' + json.dumps(said))",
        )
        with pytest.raises(NotebookError, match="SAID") as failed:
            made.open.kernels.rehearse(1, kernel)
        said = json.JSONDecoder().raw_decode(str(failed.value).partition("SAID")[2])[0]
        differing = [
            (code, text) for (code, message), text in zip(FORBIDDEN.items(), said, strict=True) if message not in text
        ]
        assert not differing
        assert (kernel.folder / "rehearsal" / "public" / "inference.ipynb").exists()

    def test_the_world_is_kaggles(self, small, no_wheels) -> None:
        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1)
        kernel = built(made, no_wheels)
        victim = made.folder / "victim"
        victim.write_text("mine")
        with_cell(
            kernel,
            "import os, subprocess, sys, tempfile\nfrom pathlib import Path\n"
            "own = {Path(os.path.realpath(sys.executable)).parts[2]} if '/root/' in os.path.realpath(sys.executable) else set()\n"
            "assert str(Path.home()) == '/root' and {p.name for p in Path.home().iterdir()} <= own\n"
            "assert tempfile.gettempdir() == '/tmp' and Path.cwd() == Path('/kaggle/working')\n"
            "assert {p.name for p in Path('/kaggle').iterdir()} == {'input', 'working'}\n"
            "Path('/kaggle/temp').mkdir()\n"
            f"for folder in Path({str(kernel.folder)!r}).glob('rehearsal/**/'):\n"
            f"    try:\n        os.symlink({str(victim)!r}, folder / 'submission.csv')\n    except OSError:\n        pass\n"
            "Path.home().joinpath('.cache').mkdir()\n"
            "subprocess.Popen(['/bin/sleep', '987654'], start_new_session=True)",
        )
        found = made.open.kernels.rehearse(1, kernel)
        assert (found.n_differing, found.max_difference) == (0, 0.0)
        assert not [note for note in found.notes if "namespaces" in note]
        assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"987654" in p.read_bytes()]
        # A link that it leaves where we put its submission would be written through.
        assert victim.read_text() == "mine"
        assert sorted(p.name for p in kernel.folder.iterdir()) == ["bundle", "kernel", "rehearsal", "wheels"]


@pytest.mark.slow
@needs_namespaces
def test_the_commands(small, no_wheels) -> None:
    made = small()
    made.experiment(1, EXPERIMENT)
    run = made.open.run(1)
    more = ("1", "--python", HERE, "--wheels", str(no_wheels), "--json")
    done = forked_wb("kernel", "build", *more, cwd=made.folder)
    assert done.returncode == 0, done.stderr
    kernel = json.loads(done.stdout)
    assert {"competition/features.py", "models/t0-f4-s1.txt", "wb-manifest.json"} <= {*kernel["files"]}
    assert any(name.startswith("wheels/kaggle_workbench-") for name in kernel["files"])
    done = forked_wb("kernel", "rehearse", *more, "--memory-limit", "3GB", "--minutes", "5", cwd=made.folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["differing"], told["largest"], told["rows"]) == (0, 0.0, [100, 150])
    assert 50 < told["peak_mb"] < 3000
    assert Path(told["public"]).read_bytes() == run.submission.read_bytes()
    done = forked_wb("kernel", "rehearse", *more, "--memory-limit", "1MB", cwd=made.folder)
    assert done.returncode == 1
    assert "the kernel exceeded its memory limit: it used " in json.loads(done.stdout)["error"]["message"]


@pytest.mark.slow
def test_a_rehearsal_without_namespaces_says_what_is_not_kaggles(small, no_wheels, monkeypatch) -> None:
    able = IsolationSupport(sandboxes=False, pid_namespace=False, reason="unshare: Operation not permitted")
    for module in ("workbench.kernels.rehearse", "workbench.experiments.notebooks.mounts"):
        # By way of sys.modules: the package has a function of the module's name.
        monkeypatch.setattr(sys.modules[module], "isolation_support", lambda: able)
    made = small()
    made.experiment(1, EXPERIMENT)
    run = made.open.run(1)
    kernel = built(made, no_wheels)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    with_cell(
        kernel,
        "import os, subprocess, tempfile, urllib.request\nfrom pathlib import Path\n"
        "assert not [*Path.home().iterdir()] and tempfile.gettempdir().endswith('/tmpdir')\n"
        "assert 'AWS_SECRET_ACCESS_KEY' not in os.environ and Path.cwd().name == 'working'\n"
        "subprocess.Popen(['/bin/sleep', '987655'], start_new_session=True)\n"
        "try:\n    urllib.request.urlopen('http://192.0.2.1', timeout=5)\n"
        "except urllib.error.URLError as exc:\n    assert 'refused' in str(exc), exc",
    )
    found = made.open.kernels.rehearse(1, kernel)
    assert found.public_submission.read_bytes() == run.submission.read_bytes()
    assert found.notes[0].startswith(
        "this system has no namespaces (unshare: Operation not permitted): the kernel could read and write this machine's files"
    )
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"987655" in p.read_bytes()]
