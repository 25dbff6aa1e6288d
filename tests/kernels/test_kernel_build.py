"""What is packed for a kernel: files, wheels, fixed copies, the layers they go into, and what is refused."""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.metadata
import json
import stat
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.in_memory_platform import fetched
from tests.kernel_builds import HERE, built
from workbench.core.errors import ConfigError, DamagedError
from workbench.data.competition import Competition
from workbench.kernels.fixed_copies import fixed_copies
from workbench.kernels.layers import PackedFile, kernel_name, layers, packed_files
from workbench.kernels.push_record import PushRecord
from workbench.kernels.secret_scan import check_no_secrets
from workbench.kernels.wheels import (
    check_wheels,
    download,
    has_wheels_of,
    modules_of,
    needed_packages,
    own_wheel,
)

EXPERIMENT = 'features = ["ratio"]\n[model]\nnum_iterations = 3\n'


def edit_record(folder: Path, edit: Any) -> None:
    """Change the record of a run, as another version or another hand would have left it."""
    path = folder / "run.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


class TestBundle:
    def test_what_is_in_it(self, small, no_wheels) -> None:
        made = small(runs=(EXPERIMENT,))
        found = built(made, no_wheels)
        run = made.open.runs[1]
        folder = made.folder / "kernels" / "001"
        assert (found.name, found.folder, found.bundle) == ("wb-small-001", folder, folder / "bundle")
        assert (found.notebook, found.fixed) == (folder / "kernel" / "inference.ipynb", ())
        there = {p.relative_to(found.bundle).as_posix(): p for p in found.bundle.rglob("*") if p.is_file()}
        assert set(found.files) == set(there)
        assert list(found.files[:-1]) == sorted(found.files[:-1])
        assert found.size == sum(p.stat().st_size for p in there.values())
        manifest = json.loads((found.bundle / "wb-manifest.json").read_text())
        files = manifest.pop("files")
        assert files == {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in there.items() if n in files}
        assert set(files) == set(there) - {"wb-manifest.json"}
        assert list(files) == sorted(files)
        record, stored = run.record, json.loads((run.folder / "run.json").read_text())
        assert {k: manifest[k] for k in ("slug", "exp", "run_id", "cv_mean", "metric", "folds", "python")} == {
            "slug": "small",
            "exp": 1,
            "run_id": record.run_id,
            "cv_mean": record.cv_mean,
            "metric": "auc",
            "folds": record.folds_hash,
            "python": HERE,
        }
        assert manifest["spec"] == stored["spec"] | {"target_transform": "none"}
        assert manifest["modules"] == sorted(manifest["modules"])
        assert {"polars", "numpy", "lightgbm"} <= set(manifest["modules"])
        assert "workbench" not in manifest["modules"]
        assert set(manifest["versions"]) == {"workbench", "lightgbm", "polars", "numpy", "home"}
        assert manifest["versions"]["numpy"] == importlib.metadata.version("numpy")
        text = found.notebook.read_text()
        assert "# small, experiment 1: untitled" in text
        assert '"submission.csv"' in text.replace("\\", "")

    def test_of_a_runs_files_those_of_the_models(self, small, no_wheels) -> None:
        made = small(runs=(EXPERIMENT,))
        run = made.open.runs[1]
        (run.folder / "models" / "stray.txt").write_text("not of the run")
        names = set(built(made, no_wheels).files)
        stored = json.loads((run.folder / "run.json").read_text())["files"]
        assert {n for n in names if n.startswith("models/")} == {n for n in stored if n.startswith("models/")}
        assert any(not n.startswith("models/") for n in stored)

    def test_what_changed_is_written_and_what_is_gone_is_removed(self, small, no_wheels) -> None:
        made = small(runs=(EXPERIMENT,))
        found = built(made, no_wheels)
        kept, changed = found.bundle / "competition" / "features.py", found.bundle / "models" / "t0-f0-s1.txt"
        before, right = kept.stat().st_mtime_ns, changed.read_text()
        changed.write_text("another")
        stray = found.bundle / "deep" / "er" / "stray.txt"
        stray.parent.mkdir(parents=True)
        stray.write_text("of an earlier build")
        again = built(made, no_wheels)
        assert (kept.stat().st_mtime_ns, changed.read_text(), stray.exists()) == (before, right, False)
        assert (again.files, again.size) == (found.files, found.size)

    def test_titles_and_names_of_files_are_the_notebooks(self, small, no_wheels) -> None:
        made = small(runs=('title = "Ratios"\n' + EXPERIMENT,))
        made.definition("[tables]", '[submission]\nfile = "answer.parquet"\n[tables]')
        text = built(made, no_wheels).notebook.read_text()
        assert "# small, experiment 1: Ratios" in text
        assert '"answer.parquet"' in text.replace("\\", "")

    def test_code_that_only_the_training_reads_stays(self, small, no_wheels) -> None:
        """And so do the competition's own data, modules that nothing imports, and what was excluded of either."""
        made = small()
        (made.folder / "splits.json").write_text('{"feature": 0, "threshold": 0.1}')
        (made.folder / "scratch.py").write_text("X = 1\n")
        (made.folder / "data" / "raw" / "weight.txt").write_text("3")
        features = made.folder / "features.py"
        features.write_text(
            features.read_text()
            + "\n@feature(files=['data/raw/weight.txt'])\ndef read(rows):\n    return [pl.col('x').alias('read')]\n"
        )
        made.experiment(
            1, 'features = ["ratio", "read"]\n[model]\nnum_iterations = 3\nforcedsplits_filename = "splits.json"\n'
        )
        run = made.open.run(1)
        names = {n for n in built(made, no_wheels).files if n.startswith("competition/")}
        assert names == {"competition/competition.toml", "competition/features.py"}
        for name in ("splits.json", "data/raw/weight.txt"):
            edit_record(run.folder, lambda r, name=name: r["source"]["excluded"].update({name: "it is a link"}))
            built(made, no_wheels)
        edit_record(run.folder, lambda r: r["source"]["excluded"].update({"lookup.csv": "it is a link"}))
        with pytest.raises(ConfigError, match="needs lookup.csv, which can't be packed for a kernel: it is a link"):
            built(made, no_wheels)

    @pytest.mark.parametrize("what", ["changed", "gone"])
    def test_code_that_is_not_the_runs(self, small, no_wheels, what: str) -> None:
        made = small(runs=(EXPERIMENT,))
        path = made.open.runs[1].folder / "source" / "features.py"
        path.unlink() if what == "gone" else path.write_text(path.read_text() + "\n")
        with pytest.raises(DamagedError, match=r"source/features\.py is missing or changed") as no:
            built(made, no_wheels)
        assert no.value.hint == "`wb run 1 --force` makes a run that keeps it"

    def test_a_run_of_an_older_version(self, small, no_wheels) -> None:
        """It kept the modules beside features.py, and no list of them: all are packed."""
        made = small(runs=(EXPERIMENT,))
        run = made.open.runs[1]
        (run.folder / "source" / "beside.py").write_text("X = 1\n")
        edit_record(run.folder, lambda r: r.pop("source"))
        names = {n for n in built(made, no_wheels).files if n.startswith("competition/")}
        assert names == {"competition/competition.toml", "competition/features.py", "competition/beside.py"}

    def test_a_run_that_did_not_keep_its_columns(self, small, no_wheels) -> None:
        made = small(runs=(EXPERIMENT,))
        run = made.open.runs[1]
        stored = json.loads((run.folder / "run.json").read_text())["files"]
        for name in ("models/columns.json", "models/train-rows.parquet"):
            assert name in stored
            edit_record(run.folder, lambda r, name=name: r.update(files={n: d for n, d in stored.items() if n != name}))
            with pytest.raises(ConfigError, match="was made by an older version, which did not store") as no:
                built(made, no_wheels)
            assert no.value.hint == "`wb run 1 --force` makes a run that does"

    def test_a_quick_try_is_not_packed(self, small, no_wheels) -> None:
        made = small()
        made.experiment(1, EXPERIMENT)
        made.open.run(1, sample=0.5)
        run = made.open.runs[1]
        from workbench.kernels import build

        with pytest.raises(ConfigError, match=f"run {run.record.run_id} is a subsample run") as no:
            build(made.open.access.competition, run, python=HERE, wheels=no_wheels)
        assert no.value.hint == "`wb run 1` runs it on all rows"

    def test_a_link_among_the_models(self, small, no_wheels, tmp_path: Path) -> None:
        made = small(runs=(EXPERIMENT,))
        model = made.open.runs[1].folder / "models" / "t0-f0-s1.txt"
        (tmp_path / "elsewhere").write_bytes(model.read_bytes())
        model.unlink()
        model.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(
            ConfigError, match=r"t0-f0-s1\.txt is a link; only files in the run's own folder are uploaded"
        ):
            built(made, no_wheels)

    @pytest.mark.parametrize("where", ["code", "title"])
    def test_secrets(self, small, no_wheels, where: str) -> None:
        token = "KGAT_0123456789abcdef0123"
        title = f'title = "{token}"\n' if where == "title" else ""
        made = small()
        if where == "code":
            path = made.folder / "features.py"
            path.write_text(path.read_text() + f"\nLOGIN = {token!r}\n")
        made.experiment(1, title + EXPERIMENT)
        made.open.run(1)
        with pytest.raises(ConfigError, match="a password or token would be uploaded"):
            built(made, no_wheels)

    def test_an_evaluation_server(self, small, no_wheels) -> None:
        made = small(runs=(EXPERIMENT,))
        made.definition("[tables]", '[submission]\nserver = "gateway.py"\n[tables]')
        with pytest.raises(ConfigError, match="has an evaluation server"):
            built(made, no_wheels)


class TestWheelsOfABundle:
    def test_ours_is_of_the_code_that_runs(self, small, no_wheels) -> None:
        """One of ours in the folder, of another version, is not taken."""
        with zipfile.ZipFile(no_wheels / "kaggle_workbench-0.0.1-py3-none-any.whl", "w") as archive:
            archive.writestr("x", "")
        found = built(small(runs=(EXPERIMENT,)), no_wheels)
        names = [n for n in found.files if n.startswith("wheels/")]
        assert len(names) == 2
        assert "wheels/nothing-1.0-py3-none-any.whl" in names
        assert "wheels/kaggle_workbench-0.0.1-py3-none-any.whl" not in names

    def test_a_folder_without_any(self, small, tmp_path: Path) -> None:
        (tmp_path / "none").mkdir()
        with pytest.raises(ConfigError, match=r"--wheels .*none: there is no wheel") as no:
            built(small(runs=(EXPERIMENT,)), tmp_path / "none")
        assert no.value.hint == "leave it out to download them"

    def test_those_for_another_python(self, small, no_wheels) -> None:
        (no_wheels / "nothing-1.0-py3-none-any.whl").rename(no_wheels / "nothing-1.0-cp27-cp27-any.whl")
        with pytest.raises(ConfigError, match="is a wheel for cp27, and the kernel has Python"):
            built(small(runs=(EXPERIMENT,)), no_wheels)

    def test_they_are_downloaded_where_those_that_are_needed_are_not_there(self, small, tmp_path, monkeypatch) -> None:
        made = small(runs=(EXPERIMENT,))
        asked: list[list[str]] = []

        def downloads(command: list[str], **options: Any) -> Any:
            asked.append(command)
            dest = Path(command[command.index("--dest") + 1])
            for text in (part for part in command if "==" in part):
                name, version = text.split("==")
                path = dest / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
                path.write_text(f"wheel of {name}")
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr("subprocess.run", downloads)
        found = made.open.kernels.build(1, python="3.12")
        place = found.folder / "wheels" / "3.12"
        needed = needed_packages()
        assert {n for n in found.files if n.startswith("wheels/")} == {f"wheels/{p.name}" for p in place.iterdir()}
        assert len(list(place.iterdir())) == len(needed) + 1
        [command] = asked
        assert {part for part in command if "==" in part} == {f"{n}=={v}" for n, v in needed.items()}
        # Again there is nothing to do; what is of another version goes, and all are downloaded.
        made.open.kernels.build(1, python="3.12")
        assert len(asked) == 1
        [numpy] = place.glob("numpy-*")
        numpy.rename(place / "numpy-1.0-py3-none-any.whl")
        again = made.open.kernels.build(1, python="3.12")
        assert len(asked) == 2
        assert "wheels/numpy-1.0-py3-none-any.whl" not in again.files
        assert again.files == found.files


class TestOwnWheel:
    def test_it_is_a_wheel_and_holds_each_file_once(self, tmp_path: Path) -> None:
        path = own_wheel(tmp_path / "deep" / "er")
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            infos = archive.infolist()
            data = {name: archive.read(name) for name in names}
        _, version, *tags = path.stem.split("-")
        about = f"kaggle_workbench-{version}.dist-info"
        code = [n for n in names if n.startswith("workbench/")]
        assert tags == ["py3", "none", "any"]
        assert names == [*code, f"{about}/METADATA", f"{about}/WHEEL", f"{about}/RECORD"]
        assert {"workbench/__init__.py", "workbench/py.typed", "workbench/kernels/wheels.py"} <= set(code)
        assert code == sorted(code, key=lambda n: n.split("/"))
        assert not [n for n in names if "__pycache__" in n]
        lines = data[f"{about}/RECORD"].decode().splitlines()
        for name, line in zip(names[:-1], lines[:-1], strict=True):
            digest = base64.urlsafe_b64encode(hashlib.sha256(data[name]).digest()).rstrip(b"=").decode()
            assert line == f"{name},sha256={digest},{len(data[name])}"
        assert lines[-1] == f"{about}/RECORD,,"
        assert {i.date_time for i in infos} == {(2020, 1, 1, 0, 0, 0)}
        assert {i.compress_type for i in infos} == {zipfile.ZIP_DEFLATED}
        assert {stat.S_IMODE(i.external_attr >> 16) for i in infos} == {0o644}
        assert {i.external_attr for i in infos} == {0o644 << 16}
        assert own_wheel(tmp_path / "deep" / "er") == path


class TestPackages:
    def test_names_are_compared_as_the_index_does(self) -> None:
        assert has_wheels_of([Path("A_b.C-1.0-py3-none-any.whl")], {"a-b-c": "1.0"})
        assert not has_wheels_of([Path("a_b_c-1.1-py3-none-any.whl")], {"a-b-c": "1.0"})
        # There may be more than is needed, and not less.
        two = [Path("a-1-py3-none-any.whl"), Path("b-2-py3-none-any.whl")]
        assert has_wheels_of(two, {"a": "1"})
        assert has_wheels_of(two, {"a": "1", "b": "2"})
        assert not has_wheels_of(two, {"a": "1", "b": "2", "c": "3"})
        assert has_wheels_of([], {})

    def test_what_is_needed(self) -> None:
        needed = needed_packages()
        assert list(needed) == sorted(needed)
        assert {"numpy", "polars", "lightgbm", "pydantic", "scipy"} <= set(needed)
        assert needed["numpy"] == importlib.metadata.version("numpy")
        # An extra's requirements are not needed: pandas is one of LightGBM's and of polars'.
        assert not {"pandas", "pyarrow", "kaggle-workbench"} & set(needed)
        more = needed_packages(["sklearn", "torch", "workbench", "no_such_module"])
        assert {"scikit-learn", "joblib", "threadpoolctl"} <= set(more) - set(needed)
        assert set(more) >= set(needed)
        assert not {"torch", "kaggle-workbench", "workbench"} & set(more)

    @pytest.mark.parametrize("name", ["torch", "workbench"])
    def test_what_the_image_has_and_this_package_are_not_needed(self, monkeypatch, name: str) -> None:
        """However they are installed here."""
        here = {name: [{"torch": "numpy", "workbench": "kaggle-workbench"}[name]], "sklearn": ["scikit-learn"]}
        monkeypatch.setattr("workbench.kernels.wheels.distributions_of_modules", lambda: here)
        monkeypatch.setattr("workbench.kernels.wheels.NEEDED", ())
        assert needed_packages([name]) == {}
        assert "scikit-learn" in needed_packages([name, "sklearn"])

    def test_the_modules_of_packages(self) -> None:
        found = modules_of(["numpy", "scikit-learn", "pydantic-core"])
        assert found == sorted(found)
        assert {"numpy", "sklearn", "pydantic_core"} <= set(found)
        assert "polars" not in found
        assert all(name.isidentifier() for name in found)
        assert modules_of([]) == []

    def test_several_names_of_modules_of_one_package(self, monkeypatch) -> None:
        here = {"b": ["One_Package"], "a": ["one.package", "other"], "no-module": ["one-package"], "c": ["other"]}
        monkeypatch.setattr("workbench.kernels.wheels.distributions_of_modules", lambda: here)
        assert modules_of(["one-package"]) == ["a", "b"]

    def test_how_they_are_downloaded(self, tmp_path: Path, monkeypatch) -> None:
        place = tmp_path / "deep" / "er"

        def downloads(command: list[str], **options: Any) -> Any:
            assert options == {"capture_output": True, "text": True, "check": False}
            assert place.is_dir()
            for name in ("b-1-py3-none-any.whl", "c-1-py3-none-any.whl", "a-1-py3-none-any.whl", "notes.txt"):
                (place / name).touch()
            text = " ".join(command)
            assert f"--dest {place} --only-binary :all: --python-version 3.12 --implementation cp" in text
            assert text.endswith("--platform any a==1 b==2")
            return subprocess.CompletedProcess(command, 0, "", "")

        monkeypatch.setattr("subprocess.run", downloads)
        for _ in range(2):
            found = download(place, "3.12", {"a": "1", "b": "2"})
            assert [p.name[0] for p in found] == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("stderr", "said"),
        [("WARNING: x\nERROR: no a\nERROR: no b\nhint", "no b"), (300 * "x" + "the end", "xxx.*the end"), ("", "")],
    )
    def test_what_can_not_be_downloaded(self, tmp_path: Path, monkeypatch, stderr: str, said: str) -> None:
        done = subprocess.CompletedProcess([], 1, "", stderr)
        monkeypatch.setattr("subprocess.run", lambda *_, **__: done)
        with pytest.raises(ConfigError, match=f"the wheels for Python 3.12 could not be downloaded: {said}\\n") as no:
            download(tmp_path, "3.12", {"a": "1"})
        assert "--wheels names a folder of wheels" in no.value.hint

    @pytest.mark.parametrize(
        ("name", "fits"),
        [
            ("a-1.0-cp312-cp312-manylinux_2_17_x86_64", True),
            ("a-1.0-cp311-cp311-manylinux_2_17_x86_64", False),
            ("a-1.0-cp311-abi3-manylinux_2_17_x86_64", True),
            ("a-1.0-cp312-abi3-linux_x86_64", True),
            ("a-1.0-cp313-abi3-manylinux_2_17_x86_64", False),
            ("a-1.0-cp39-abi3-manylinux_2_17_x86_64", True),
            ("a-1.0-cp3-abi3-manylinux_2_17_x86_64", True),
            ("a-1.0-pp39-abi3-manylinux_2_17_x86_64", False),
            ("a-1.0-cpx-abi3-manylinux_2_17_x86_64", False),
            ("a-1.0-py3-none-any", True),
            ("a-1.0-py2.py3-none-any", True),
            ("a-1.0-py2-none-any", False),
            ("a-1.0-7-py3-none-any", True),
            ("a-1.0-py3-none-linux_x86_64", True),
            ("a-1.0-py3-none-win_amd64", False),
            ("a-1.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64", True),
            ("1.0-py3-none-any", False),
            ("any", False),
        ],
    )
    def test_which_the_kernels_python_takes(self, name: str, fits: bool) -> None:
        paths = [Path("good-1-py3-none-any.whl"), Path(f"{name}.whl")]
        if fits:
            check_wheels(paths, "3.12")
        else:
            with pytest.raises(ConfigError, match=f"{name}.whl is "):
                check_wheels(paths, "3.12")


class TestLayers:
    def files(self, **sizes: int) -> list[PackedFile]:
        return [PackedFile(f"models/{n}", Path(n), f"digest of {n}", size) for n, size in sizes.items()]

    def test_the_base_is_uploaded_anew_when_more_than_half_of_it_changed(self) -> None:
        """In bytes; of what is no longer there nothing counts."""
        for a, anew in ((49, False), (50, False), (51, True)):
            files = self.files(a=a, b=100 - a)
            base = {"a": "another", "b": "digest of b", "gone": "x"}
            assert ("base" in layers(files, base)) == anew
        assert set(layers(self.files(a=1), {})) == {"base", "changes"}

    def test_a_name_that_just_fits_stays(self) -> None:
        """A title has 50 characters, and the longest of the three ends in "-packages"."""
        fits = "a" * 34
        assert kernel_name(fits, 12) == f"wb-{fits}-012"
        assert len(kernel_name(fits, 12) + "-packages") == 50
        long = kernel_name(fits + "b", 12)
        assert long == f"wb-{'a' * 27}-{hashlib.sha256((fits + 'b').encode()).hexdigest()[:6]}-012"
        assert len(long) == len(f"wb-{fits}-012")
        # A dash where it is cut off is not doubled.
        assert "--" not in kernel_name("a" * 26 + "-" + "b" * 20, 12)
        assert len(kernel_name("a" * 60, 1234) + "-packages") == 50

    def test_files_are_in_order_and_empty_ones_are_not_packed(self, tmp_path: Path) -> None:
        for name in ("models/b", "models/a", "competition/z", "competition/empty"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("" if name.endswith("empty") else name)
        found = packed_files(tmp_path)
        assert [f.name for f in found] == ["competition/z", "models/a", "models/b"]
        assert [f.size for f in found] == [13, 8, 8]
        assert found[0].sha256 == hashlib.sha256(b"competition/z").hexdigest()


class TestSecrets:
    TOKEN = "KGAT_0123456789abcdef0123"

    def test_where_they_stand(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text(f"x\n{self.TOKEN}\n")
        (tmp_path / "wheel").write_text(self.TOKEN)
        check_no_secrets({"wheels/a.whl": tmp_path / "wheel"}, 7)
        with pytest.raises(ConfigError, match=r"; it is in lib/a\.py, line 2\n") as no:
            check_no_secrets({"competition/lib/a.py": tmp_path / "a.py", "wheels/a.whl": tmp_path / "wheel"}, 7)
        assert no.value.hint.endswith("then `wb run 7 --force` stores the code without it")

    @pytest.mark.parametrize(("places", "more"), [(5, ""), (6, " and 1 more places"), (8, " and 3 more places")])
    def test_five_places_are_named(self, tmp_path: Path, places: int, more: str) -> None:
        files = {}
        for n in range(places):
            files[f"f{n}"] = tmp_path / f"f{n}"
            files[f"f{n}"].write_text(self.TOKEN)
        with pytest.raises(ConfigError, match=f"f4, line 1{more}\\n"):
            check_no_secrets(files, 1)

    def test_tables_are_not_read(self, tmp_path: Path, monkeypatch) -> None:
        path = tmp_path / "table"
        path.write_text(self.TOKEN)
        monkeypatch.setattr("workbench.kernels.secret_scan.MAX_BYTES", path.stat().st_size)
        with pytest.raises(ConfigError):
            check_no_secrets({"table": path}, 1)
        monkeypatch.setattr("workbench.kernels.secret_scan.MAX_BYTES", path.stat().st_size - 1)
        check_no_secrets({"table": path}, 1)


FILES = {
    "train.csv": b"id,x,y\n" + b"".join(b"%d,%d,%d\n" % (i, i * 7 % 11, i % 2) for i in range(40)),
    "test.csv": b"id,x\n" + b"".join(b"%d,%d\n" % (i, i * 7 % 11) for i in range(40, 60)),
    "sample_submission.csv": b"id,y\n" + b"".join(b"%d,0.5\n" % i for i in range(40, 60)),
    "contest.csv": b"id,z\n1,2\n",
    "towns.csv": b"id,z\n1,2\n",
}


class TestFixedCopies:
    def competition(self, root: Path, **fixed: bytes) -> Competition:
        competition = fetched(root, dict(FILES))
        place = competition.folder / "data" / "fixed"
        for name, data in fixed.items():
            (place / f"{name}.csv").parent.mkdir(parents=True, exist_ok=True)
            (place / f"{name}.csv").write_bytes(data)
        return competition

    def test_which_are_taken_along(self, tmp_path: Path) -> None:
        assert fixed_copies(self.competition(tmp_path / "none")) == {}
        names = ("train", "towns", "contest")
        competition = self.competition(tmp_path / "some", **{n: FILES[f"{n}.csv"] for n in names})
        place = competition.folder / "data" / "fixed"
        (place / "notes.md").write_text("what was wrong")
        found = fixed_copies(competition)
        assert list(found) == [f"data/fixed/{n}.csv" for n in sorted(names)]
        assert list(found.values()) == [place / f"{n}.csv" for n in sorted(names)]

    @pytest.mark.parametrize("name", ["test", "sample_submission", "test_weather", "weather_TEST"])
    def test_which_have_the_public_rows_alone(self, tmp_path: Path, name: str) -> None:
        data = FILES.get(f"{name}.csv", b"id,warm\n1,2\n")
        with pytest.raises(ConfigError, match=f"{name}.csv is a fixed copy of the public rows of '{name}'"):
            fixed_copies(self.competition(tmp_path, **{name: data}))


class TestRecord:
    def test_what_was_written_is_read(self, tmp_path: Path) -> None:
        assert PushRecord.read(tmp_path) is None
        PushRecord(owner="someone").write(tmp_path)
        assert json.loads((tmp_path / "pushed.json").read_text())["format"] == 1
        found = PushRecord.read(tmp_path)
        assert found == PushRecord(owner="someone")
        assert found is not None
        assert (found.name, found.datasets, found.sending, found.newest, found.complete) == (None, {}, None, None, None)

    @pytest.mark.parametrize(
        ("text", "where"),
        [
            ("[1]", "all of it: "),
            ("{", ""),
            ('{"datasets": []}', "owner: field required"),
            ('{"owner": "a", "datasets": null}', "datasets: "),
            ('{"owner": "a", "datasets": {"b": {"files": {"c": 1}}}}', "datasets.b.files.c: "),
            ('{"owner": "a", "more": 1}', "more: "),
        ],
    )
    def test_one_that_is_damaged(self, tmp_path: Path, text: str, where: str) -> None:
        (tmp_path / "pushed.json").write_text(text)
        with pytest.raises(DamagedError, match=f"pushed.json is .*{where}") as no:
            PushRecord.read(tmp_path)
        assert no.value.hint.startswith("remove it: the next push")


def test_archives_are_packed_under_names_that_are_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "competition").mkdir()
    (tmp_path / "competition" / "lookup.csv.gz").write_bytes(gzip.compress(b"x"))
    assert [f.flat_name for f in packed_files(tmp_path)] == ["lookup.csv.gz.packed"]
