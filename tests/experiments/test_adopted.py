"""Notebooks that were written for Kaggle: what they read is where they look for it, however it was packed."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nbformat
import polars as pl
import pytest

from tests.needs import needs_no_package, package, skip_unless
from workbench.cli.app import wb
from workbench.core.errors import DamagedError, NotebookError, StorageError
from workbench.core.isolation import IsolationSupport, Sandbox, isolation_support, start_command
from workbench.core.notebook_worker.data_proxy import data_proxy, standin_path
from workbench.data.ingest import unpacked as unpacked_module
from workbench.data.ingest import unpacked_files
from workbench.experiments.kaggle_inputs import data_stamps, kaggle_inputs, missing_data
from workbench.experiments.notebooks import (
    KAGGLE_ENVIRONMENT,
    competition_paths,
    data_paths,
    file_matcher,
    kaggle_folders,
    missing_inputs,
    read_notebook,
)
from workbench.experiments.notebooks import mounts as mounts_module

NAMES = ["train.csv", "test.csv", "sample_submission.csv", "images", "titanic"]


# ----------------------------------------------------------------------------------------------------- what it names


class TestPlaces:
    @pytest.mark.parametrize(
        ("text", "places"),
        [
            ("pd.read_csv('/kaggle/input/titanic/train.csv')", ["titanic"]),
            ("pd.read_csv('../input/titanic/train.csv')", ["titanic"]),
            ("Path('/kaggle/input') / 'titanic' / 'train.csv'", ["titanic"]),
            ("os.path.join('/kaggle', 'input', 'titanic', 'train.csv')", ["titanic"]),
            ("COMP = 'titanic'\npd.read_csv(f'/kaggle/input/{COMP}/train.csv')", ["titanic"]),
            ("COMP = 'titanic'\npd.read_csv('/kaggle/input/%s/train.csv' % COMP)", ["titanic"]),
            ("pd.read_csv('../input/{}/train.csv'.format(slug))", ["titanic"]),
            ("glob.glob('/kaggle/input/*/train.csv')", ["titanic"]),
            ("glob.glob('/kaggle/input/*/*.csv')", ["titanic"]),
            ("glob.glob('/kaggle/input/tit*/train.csv')", ["titanic"]),
            ("glob.glob('../input/*[ac]nic/*.csv')", ["titanic"]),
            ("!ls /kaggle/input/titanic", ["titanic"]),
            ("%cd ../input/titanic", ["titanic"]),
            ("pd.read_csv('/kaggle/input/competitions/titanic/train.csv')", ["competitions/titanic"]),
            ("pd.read_csv('../input/competitions/titanic/train.csv')", ["competitions/titanic"]),
            ("Path('/kaggle/input') / 'competitions' / 'titanic'", ["competitions/titanic"]),
            ("os.path.join(ROOT, 'competitions/titanic')", ["competitions/titanic"]),
            ("COMP = 'titanic'\nf'/kaggle/input/competitions/{COMP}/train.csv'", ["competitions/titanic"]),
            ("f'{ROOT}/competitions/titanic'", ["competitions/titanic"]),
            ("glob.glob('/kaggle/input/*/*/*.csv')", ["competitions/titanic"]),
            ("glob.glob('/kaggle/input/**/*.csv', recursive=True)", ["competitions/titanic"]),
            ("for d, _, files in os.walk('/kaggle/input'): print(d)", ["competitions/titanic"]),
            ("os.listdir('/kaggle/input')", ["competitions/titanic"]),
            ("kagglehub.competition_download('titanic')", ["competitions/titanic"]),
            ("pd.read_csv('../input/train.csv')", [""]),
            ("!head ../input/train.csv", [""]),
            ("D = '../input/'\npd.read_csv(D + 'train.csv')", [""]),
            ("D = Path('../input')\npd.read_csv(D / 'train.csv')", [""]),
            ("pd.read_csv(f'../input/{name}.csv')", [""]),
            ("glob.glob('../input/*.csv')", [""]),
            ("%cd ../input\n!cat train.csv", [""]),
            ("Image.open('../input/images/1.png')", [""]),
            # In a comment, or an address, nothing is looked for.
            ("# files are in the \"../input/\" directory\nopen('/kaggle/input/titanic/train.csv')", ["titanic"]),
            ("# https://www.kaggle.com/competitions/titanic\nopen('/kaggle/input/titanic/train.csv')", ["titanic"]),
            ("url = 'https://www.kaggle.com/competitions/titanic'\nopen('../input/titanic/a')", ["titanic"]),
            # One that looks in both has both; the first has the files.
            (
                "for p in ['/kaggle/input/titanic', '/kaggle/input/competitions/titanic']: os.listdir(p)",
                ["competitions/titanic", "titanic"],
            ),
            ("open('/kaggle/input/titanic/a'); open('../input/train.csv')", ["titanic", ""]),
        ],
    )
    def test_of_a_competition(self, tmp_path: Path, text: str, places: list[str]) -> None:
        assert competition_paths(text_in(tmp_path, text), "titanic", NAMES) == places

    @pytest.mark.parametrize(
        ("name", "text", "places"),
        [
            ("datasets/me/extra", "open('/kaggle/input/extra/a.csv')", ["extra"]),
            ("datasets/me/extra", "open('/kaggle/input/datasets/me/extra/a.csv')", ["datasets/me/extra"]),
            ("datasets/me/extra", "Path('/kaggle/input') / 'extra'", ["extra"]),
            ("datasets/me/extra", "Path('/kaggle/input') / 'datasets' / 'me' / 'extra'", ["datasets/me/extra"]),
            ("datasets/me/extra", "open('/kaggle/input/d/me/extra/a.csv')", ["d/me/extra"]),
            ("datasets/me/extra", "kagglehub.dataset_download('me/extra')", ["datasets/me/extra"]),
            ("datasets/me/extra", "open('../input/extra/a'); open('../input/datasets/me/extra/a')", ["datasets/me/extra", "extra"]),
            ("models/google/gemma", "load('/kaggle/input/gemma/transformers/2b/1')", ["gemma"]),
            ("models/google/gemma", "load('/kaggle/input/m/google/gemma/transformers/2b/1')", ["m/google/gemma"]),
            ("models/google/gemma", "load('/kaggle/input/models/google/gemma/transformers/2b/1')", ["models/google/gemma"]),
            ("notebooks/me/train", "open('/kaggle/input/notebooks/me/train/a.pkl')", ["notebooks/me/train"]),
            ("notebooks/me/train", "open('../input/train/a.pkl')", ["train"]),
            ("loose", "open('../input/loose/a.pkl')", ["loose"]),
        ],
    )  # fmt: skip
    def test_of_other_data(self, name: str, text: str, places: list[str]) -> None:
        assert data_paths(text, name) == places

    def test_what_is_missing_is_named_as_kaggle_names_it(self) -> None:
        text = """
            open('/kaggle/input/extra/a'), open('/kaggle/input/datasets/me/more/a'), open('../input/train.csv')
            open('/kaggle/input/m/google/gemma/x/y/1'), kagglehub.dataset_download("you/third/versions/2")
            kagglehub.model_download(handle='google/bert/tensorFlow2/small'), open('/kaggle/input/titanic/a')
            kagglehub.dataset_load(KaggleDatasetAdapter.PANDAS, 'me/fourth', 'a.csv')
            kagglehub.competition_download('spaceship'); kagglehub.notebook_output_download('me/earlier')
            os.listdir('/kaggle/input/'), Path('/kaggle/input/competitions'), os.listdir('/kaggle/input/datasets/me')
        """
        assert missing_inputs(text, ["titanic"], ["train.csv"]) == [
            "datasets/you/third",
            "models/google/bert",
            "datasets/me/fourth",
            "competitions/spaceship",
            "notebooks/me/earlier",
            "extra",
            "datasets/me/more",
            "models/google/gemma",
        ]

    @pytest.mark.parametrize(
        ("text", "is_read"),
        [
            ("pd.read_csv('/kaggle/input/x/train.csv')", {"train.csv"}),
            ("pd.read_csv(folder + '/train.csv'); open('b/notes_1.txt')", {"train.csv", "notes_1.txt"}),
            ("f'{d}/notes_{i}.txt'", {"notes_1.txt"}),
            ("'part-%d.csv' % k", {"part-7.csv"}),
            ("glob(folder + '/*.csv')", {"train.csv", "part-7.csv", "my file.csv"}),
            ("f'{names[k]}.csv'", {"train.csv", "part-7.csv", "my file.csv"}),
            ("[f for f in files if f.endswith('.txt')]", {"notes_1.txt"}),
            ("!cat ../input/x/train.csv | head", {"train.csv"}),
            ("pl.scan_csv('a/my file.csv')", {"my file.csv"}),
            ("os.listdir('../input/*')", {"train.csv", "part-7.csv", "my file.csv", "notes_1.txt"}),
            ("x.train.mean()", set()),
        ],
    )
    def test_which_files_it_reads(self, text: str, is_read: set[str]) -> None:
        names = ["train.csv", "part-7.csv", "my file.csv", "notes_1.txt"]
        assert {n for n in names if file_matcher(text)(f"below/{n}")} == is_read


def notebook_at(path: Path, *cells: str) -> Path:
    node = nbformat.v4.new_notebook()
    node.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(node, path)
    return path


def text_in(folder: Path, *cells: str) -> str:
    from workbench.experiments.notebooks import code_text

    return code_text(read_notebook(notebook_at(folder / "a.ipynb", *cells)))


# ----------------------------------------------------------------------------------------------- however it was packed

TRAIN, TEST, EXTRA = b"id,y\n1,2\n", b"id\n3\n", b"a,b\n1,2\n"


def as_one_archive(raw: Path) -> None:
    with zipfile.ZipFile(raw / "one.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", TRAIN)
        archive.writestr("test.csv", TEST)
        archive.writestr("more/extra.csv", EXTRA)
        archive.writestr("more/picture.png", b"png")
    # `wb fetch` unpacks what is no table.
    (raw / "more").mkdir()
    (raw / "more" / "picture.png").write_bytes(b"png")


def as_another_archive(raw: Path) -> None:
    as_one_archive(raw)
    (raw / "one.zip").rename(raw / "archive (3).zip")


def as_zipped_files(raw: Path) -> None:
    for name, content in (("train.csv", TRAIN), ("test.csv", TEST), ("more/extra.csv", EXTRA)):
        (raw / name).parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(raw / f"{name}.zip", "w") as archive:
            archive.writestr(Path(name).name, content)
    (raw / "more" / "picture.png").write_bytes(b"png")


def as_compressed_files(raw: Path) -> None:
    (raw / "more").mkdir()
    (raw / "train.csv.gz").write_bytes(gzip.compress(TRAIN))
    (raw / "test.csv.bz2").write_bytes(bz2.compress(TEST))
    (raw / "more" / "extra.csv.xz").write_bytes(lzma.compress(EXTRA))
    (raw / "more" / "picture.png").write_bytes(b"png")


def as_archive_of_compressed(raw: Path) -> None:
    with zipfile.ZipFile(raw / "one.zip", "w") as archive:
        archive.writestr("train.csv.gz", gzip.compress(TRAIN))
        archive.writestr("test.csv.gz", gzip.compress(TEST))
        archive.writestr("more/extra.csv.xz", lzma.compress(EXTRA))
    (raw / "more").mkdir()
    (raw / "more" / "picture.png").write_bytes(b"png")


def as_nested_archives(raw: Path) -> None:
    with zipfile.ZipFile(raw / "data.zip", "w") as archive:
        archive.writestr("train.csv", TRAIN)
        archive.writestr("test.csv", TEST)
        archive.writestr("more/extra.csv", EXTRA)
    shutil.copyfile(raw / "data.zip", raw / "one-inside.zip")
    with zipfile.ZipFile(raw / "one.zip", "w") as archive:
        archive.write(raw / "data.zip", "data.zip")
    (raw / "one-inside.zip").unlink()
    (raw / "more").mkdir()
    (raw / "more" / "picture.png").write_bytes(b"png")


def as_files(raw: Path) -> None:
    (raw / "more").mkdir()
    for name, content in (("train.csv", TRAIN), ("test.csv", TEST), ("more/extra.csv", EXTRA)):
        (raw / name).write_bytes(content)
    (raw / "more" / "picture.png").write_bytes(b"png")


PACKINGS = [
    as_files,
    as_one_archive,
    as_another_archive,
    as_zipped_files,
    as_compressed_files,
    as_archive_of_compressed,
    as_nested_archives,
]


def fetched(root: Path, pack: Callable[[Path], None], slug: str = "one") -> Path:
    """Make a competition's folder with its downloads, as `wb fetch` leaves them, and return it."""
    raw = root / "competitions" / slug / "data" / "raw"
    raw.mkdir(parents=True)
    (raw / ".listing.json").write_text("{}")
    pack(raw)
    return raw.parent.parent


class TestUnpacked:
    @pytest.mark.parametrize("pack", PACKINGS)
    def test_every_file_is_there_by_its_name(self, tmp_path: Path, pack: Callable[[Path], None]) -> None:
        raw, folder = fetched(tmp_path, pack) / "data" / "raw", tmp_path / "files"
        before = {p: p.stat().st_mtime_ns for p in raw.rglob("*")}
        assert unpacked_files(raw, folder, "one.zip") == []
        there = {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
        assert {"train.csv", "test.csv", "more/extra.csv", "more/picture.png"} <= there
        assert not {n for n in there if n.startswith(("one.zip", "."))}
        read = [(folder / n).read_bytes() for n in ("train.csv", "test.csv", "more/extra.csv", "more/picture.png")]
        assert read == [TRAIN, TEST, EXTRA, b"png"]
        assert {p: p.stat().st_mtime_ns for p in raw.rglob("*")} == before

    def test_nothing_is_unpacked_or_linked_twice(self, tmp_path: Path) -> None:
        raw, folder = fetched(tmp_path, as_one_archive) / "data" / "raw", tmp_path / "files"
        said: list[str] = []
        unpacked_files(raw, folder, "one.zip", report=said.append)
        assert len(said) == 3
        inodes = {p: p.stat().st_ino for p in folder.rglob("*")}
        unpacked_files(raw, folder, "one.zip", report=said.append)
        assert len(said) == 3
        assert {p: p.stat().st_ino for p in folder.rglob("*")} == inodes
        # A link takes no room.
        assert (folder / "more" / "picture.png").stat().st_ino == (raw / "more" / "picture.png").stat().st_ino

    def test_other_downloads_take_the_place_of_the_old(self, tmp_path: Path) -> None:
        raw, folder = fetched(tmp_path, as_one_archive) / "data" / "raw", tmp_path / "files"
        unpacked_files(raw, folder, "one.zip")
        with zipfile.ZipFile(raw / "one.zip", "w") as archive:
            archive.writestr("train.csv", b"id,y\n7,7\n")
        (raw / "more" / "picture.png").unlink()
        (raw / "new.png").write_bytes(b"new")
        unpacked_files(raw, folder, "one.zip")
        there = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        assert there == ["new.png", "train.csv"]
        assert (folder / "train.csv").read_bytes() == b"id,y\n7,7\n"
        (raw / "new.png").unlink()
        (raw / "new.png").write_bytes(b"newer")
        unpacked_files(raw, folder, "one.zip")
        assert (folder / "new.png").read_bytes() == b"newer"

    def test_of_what_is_large_only_what_is_read(self, tmp_path: Path, monkeypatch) -> None:
        raw, folder = fetched(tmp_path, as_one_archive) / "data" / "raw", tmp_path / "files"
        monkeypatch.setattr(unpacked_module, "UNPACK_ALL_BYTES", 10)
        left = unpacked_files(raw, folder, "one.zip", is_read=lambda name: name == "train.csv")
        assert left == ["more/extra.csv", "test.csv"]
        assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == ["picture.png", "train.csv"]
        # What was unpacked for one notebook stays for the next.
        assert unpacked_files(raw, folder, "one.zip", is_read=lambda name: name == "test.csv") == ["more/extra.csv"]
        assert (folder / "train.csv").exists()

    def test_files_that_are_packed_on_kaggle_too_stay_so_unless_they_are_read(self, tmp_path: Path) -> None:
        raw, folder = fetched(tmp_path, as_zipped_files) / "data" / "raw", tmp_path / "files"
        unpacked_files(raw, folder, "one.zip", is_read=lambda name: name == "test.csv")
        names = sorted(p.name for p in folder.iterdir())
        assert names == ["more", "test.csv", "test.csv.zip", "train.csv.zip"]

    def test_a_full_disk_is_said_before_anything_is_unpacked(self, tmp_path: Path, monkeypatch) -> None:
        raw, folder = fetched(tmp_path, as_one_archive) / "data" / "raw", tmp_path / "files"
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: type(usage)(usage.total, usage.used, 4))
        with pytest.raises(StorageError, match="unpacking 3 files to .* the disk has 0.0 GB free"):
            unpacked_files(raw, folder, "one.zip")
        assert not (folder / "train.csv").exists()

    def test_a_damaged_archive_stops_only_who_reads_it(self, tmp_path: Path) -> None:
        raw, folder = fetched(tmp_path, as_compressed_files) / "data" / "raw", tmp_path / "files"
        content = (raw / "train.csv.gz").read_bytes()
        (raw / "train.csv.gz").write_bytes(content[:-6])
        with pytest.raises(DamagedError, match=r"train.csv is not complete"):
            unpacked_files(raw, folder, "one.zip")
        assert unpacked_files(raw, folder, "one.zip", is_read=lambda name: name == "test.csv") == []
        assert (folder / "test.csv").read_bytes() == TEST
        assert not (folder / "train.csv").exists()

    def test_a_disk_without_hard_links_gets_the_other_kind(self, tmp_path: Path, monkeypatch) -> None:
        raw, folder = fetched(tmp_path, as_files) / "data" / "raw", tmp_path / "files"
        monkeypatch.setattr(os, "link", refused)
        for _ in range(2):
            unpacked_files(raw, folder, "one.zip")
            assert (folder / "train.csv").is_symlink()
            assert (folder / "train.csv").read_bytes() == TRAIN


# ------------------------------------------------------------------------------------------------ as the notebook sees it


@pytest.fixture(params=["mounted", "linked"])
def way(request, monkeypatch) -> Any:
    """Run in a world of its own, and as where the system gives none."""
    if request.param == "linked":
        without_worlds(monkeypatch)
    else:
        skip_unless(isolation_support().sandboxes, "namespaces", isolation_support().reason)
    return request.param


def refused(*_: Any, **__: Any) -> None:
    """Stand in for what makes hard links, on a disk without them."""
    raise OSError(1, "Operation not permitted")


def without_worlds(monkeypatch) -> None:
    monkeypatch.setattr(
        mounts_module, "isolation_support", lambda: IsolationSupport(sandboxes=False, pid_namespace=False, reason="no")
    )


def seen(folder: Path, *cells: str, shell: str = "", proxy: bool = False, sandbox: Sandbox | None = None) -> Any:
    """Run a notebook's cells as one script with Kaggle's folders around it, and return what it assigns to `result`."""
    root = folder.parent.parent
    notebook = read_notebook(notebook_at(root / "a.ipynb", *cells, *([f"# %%\n!{shell}"] if shell else [])))
    working = root / "run" / "kaggle" / "working"
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    inputs, left = kaggle_inputs(folder, notebook)
    assert left == []
    with ExitStack() as stack:
        prepared = stack.enter_context(kaggle_folders(notebook, inputs, working, sandbox=sandbox))
        source = [c["source"] for c in json.loads(prepared.notebook.text)["cells"]]
        code = "\n".join("".join(s) for s in source[: len(cells)])
        script = root / "script.py"
        script.write_text(code + "\nimport json as j_; print('RESULT' + j_.dumps(result))" if not shell else "")
        command = [sys.executable, str(script)] if not shell else ["sh", "-c", "".join(source[-1]).split("!", 1)[1]]
        environment = os.environ | prepared.environment
        if proxy:
            code = f"from workbench.core.notebook_worker.worker import attached_data\nimport subprocess, sys\nwith attached_data({prepared.attached_folders!r}):\n    sys.exit(subprocess.run({command!r}).returncode)"
            command = [sys.executable, "-c", code]
            environment |= {
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
            }
        # Inside, the command starts in the folder; without a world whoever runs it goes there, as papermill does.
        here = [] if prepared.sandbox else ["sh", "-c", 'cd "$0" && exec "$@"', str(prepared.folder)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with start_command([*here, *command], prepared.sandbox, environment=environment, **pipes) as running:
            out, err = running.process.communicate(timeout=300)
    assert running.process.returncode == 0, err
    assert not (working.parent / "input").exists()
    return out if shell else json.loads(out.rpartition("RESULT")[2])


WALK = "import os\nresult = sorted(os.path.join(d, f) for d, _, files in os.walk('/kaggle/input') for f in files)"


class TestSeen:
    @pytest.mark.parametrize(
        "code",
        [
            "result = open('/kaggle/input/one/train.csv').read()",
            "result = open('../input/one/train.csv').read()",
            "result = open('../input/train.csv').read()",
            "result = open('/kaggle/input/competitions/one/train.csv').read()",
            "result = open('../input/competitions/one/train.csv').read()",
            "from pathlib import Path\nresult = (Path('/kaggle/input') / 'one' / 'train.csv').read_text()",
            "from pathlib import Path\nresult = (Path('/kaggle') / 'input' / 'competitions/one/train.csv').read_text()",
            "import os\nresult = open(os.path.join('/kaggle', 'input', 'one', 'train.csv')).read()",
            "import os\nos.chdir('/kaggle/input/one')\nresult = open('train.csv').read()",
            "SLUG = 'one'\nresult = open(f'/kaggle/input/{SLUG}/train.csv').read()",
            "SLUG = 'one'\nresult = open(f'/kaggle/input/competitions/{SLUG}/train.csv').read()",
            "import glob\n(path,) = glob.glob('/kaggle/input/**/train.csv', recursive=True)\nresult = open(path).read()",
            "import glob\n(path,) = glob.glob('/kaggle/input/*/train.csv')\nresult = open(path).read()",
            "import glob\n(path,) = glob.glob('/kaggle/input/*/*/train.csv')\nresult = open(path).read()",
            "from pathlib import Path\n(path,) = Path('/kaggle/input').rglob('train.csv')\nresult = path.read_text()",
            "import os\n(path,) = [os.path.join(d, f) for d, _, fs in os.walk('/kaggle/input') for f in fs if f == 'train.csv']\nresult = open(path).read()",
            "import os\nD = '../input'\nassert 'train.csv' in os.listdir(D)\nresult = open(os.path.join(D, 'train.csv')).read()",
            "import polars as pl\nresult = pl.read_csv('/kaggle/input/one/train.csv').write_csv()",
            "import polars as pl\nresult = pl.scan_csv('../input/one/train*.csv').collect().write_csv()",
            "import pandas as pd\nresult = pd.read_csv('/kaggle/input/one/train.csv').to_csv(index=False)",
            "import numpy as np\nresult = bytes(np.fromfile('/kaggle/input/one/train.csv', np.uint8)).decode()",
            "import subprocess\nresult = subprocess.check_output(['cat', '/kaggle/input/one/train.csv'], text=True)",
        ],
    )  # fmt: skip
    def test_every_way_to_read_finds_it(self, tmp_path: Path, way: str, code: str) -> None:
        assert seen(fetched(tmp_path, as_one_archive), code) == TRAIN.decode()

    @pytest.mark.parametrize("pack", PACKINGS)
    def test_whatever_the_packing_was(self, tmp_path: Path, way: str, pack: Callable[[Path], None]) -> None:
        code = "D = '/kaggle/input/one/'\nresult = [open(D + n).read() for n in ('train.csv', 'test.csv', 'more/extra.csv')]"
        assert seen(fetched(tmp_path, pack), code) == [c.decode() for c in (TRAIN, TEST, EXTRA)]

    @pytest.mark.parametrize(
        "shell",
        [
            "cat ../input/one/train.csv",
            "cd /kaggle/input/one && cat train.csv",
            "cat $(find /kaggle/input/ -name train.csv)",
            "cp /kaggle/input/one/train.csv /kaggle/working/ && cat /kaggle/working/train.csv",
        ],
    )
    def test_a_shell_finds_it(self, tmp_path: Path, way: str, shell: str) -> None:
        assert seen(fetched(tmp_path, as_one_archive), shell=shell) == TRAIN.decode()

    def test_python_in_a_shell_is_the_kernels(self, tmp_path: Path, way: str, monkeypatch) -> None:
        monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        mine = Path(sys.executable)
        said = seen(fetched(tmp_path, as_files), shell=f"{mine.name} -c 'import sys; print(sys.executable)'")
        assert Path(said.strip()) == mine

    def test_a_walk_meets_each_file_once(self, tmp_path: Path, way: str) -> None:
        folder = fetched(tmp_path, as_one_archive)
        for named in ("", "open('/kaggle/input/one/train.csv')\n", "open('../input/train.csv')\n"):
            paths = seen(folder, named + WALK)
            names = [p.rpartition("/")[2] for p in paths]
            assert sorted(names) == ["extra.csv", "picture.png", "test.csv", "train.csv"]

    def test_the_input_of_kaggle_can_only_be_read(self, tmp_path: Path, way: str) -> None:
        if way == "linked":
            pytest.skip("not a case: links can't forbid it")
        code = "try:\n    open('/kaggle/input/one/train.csv', 'w')\nexcept OSError as exc:\n    result = exc.errno"
        assert seen(fetched(tmp_path, as_files), code) == 30

    def test_files_of_another_disk_are_seen_where_nothing_else_of_the_machine_is(
        self, tmp_path: Path, way: str, monkeypatch
    ) -> None:
        """They are links then; what such a link leads to can't be written either."""
        monkeypatch.setattr(os, "link", refused)
        folder = fetched(tmp_path, as_files)
        code = "path = '/kaggle/input/one/train.csv'\nresult = [open(path).read(), 0]\n"
        code += "try:\n    open(path, 'a')\nexcept OSError as exc:\n    result[1] = exc.errno"
        script = str(tmp_path / "script.py")
        kaggles = Sandbox(host="system", mounts={script: (script, False)}, home="/root", own_tmp=True, network=False)
        text, errno = seen(folder, code, sandbox=kaggles)
        assert (text, errno) == (TRAIN.decode(), 30 if way == "mounted" else 0)
        assert (folder / "data" / "raw" / "train.csv").read_bytes() == TRAIN

    @pytest.mark.parametrize(
        "code",
        [
            "open('/kaggle/input/one/train.csv', 'a').write('more')",
            "import shutil\nshutil.copyfile('/kaggle/input/one/test.csv', '../input/one/train.csv')",
            "import os\nos.chmod('/kaggle/input/one/train.csv', 0o666)",
            "import os\nos.link('/kaggle/input/one/train.csv', 'd')\nopen('d', 'w').write('other')",
            "import os\nos.symlink('/kaggle/input/one/train.csv', 'd')\nopen('d', 'w').write('other')",
            "import shutil\nshutil.copytree('/kaggle/input/one', 'd')\nopen('d/train.csv', 'w').write('other')",
            "import os\nos.remove('/kaggle/input/one/train.csv')",
        ],
    )
    @pytest.mark.parametrize("pack", [as_files, as_one_archive])
    def test_what_it_writes_into_its_input_is_not_in_the_downloads(
        self, tmp_path: Path, way: str, code: str, pack: Callable[[Path], None]
    ) -> None:
        folder = fetched(tmp_path, pack)
        seen(folder, "open('/kaggle/input/one/train.csv')\nresult = 1")
        files = [p for p in (folder / "data").rglob("*.csv") if p.name in ("train.csv", "test.csv")]
        before = {p: (p.read_bytes(), p.stat().st_mode) for p in files}
        assert before
        indented = code.replace("\n", "\n    ")
        seen(
            folder, f"open('/kaggle/input/one/train.csv')\nresult = 1\ntry:\n    {indented}\nexcept OSError:\n    pass"
        )
        assert {p: (p.read_bytes(), p.stat().st_mode) for p in files} == before

    def test_links_to_inputs_that_are_too_large_to_copy_tell_of_a_change(self, tmp_path: Path, monkeypatch) -> None:
        without_worlds(monkeypatch)
        monkeypatch.setattr(mounts_module, "MAX_COPIED_BYTES", 10)
        folder = fetched(tmp_path, as_files)
        assert seen(folder, "result = open('/kaggle/input/one/train.csv').read()") == TRAIN.decode()
        says = r"wrote into its inputs, .*/train.csv changed" if os.geteuid() == 0 else "PermissionError"
        with pytest.raises(NotebookError, match=says):
            seen(folder, "result = open('/kaggle/input/one/train.csv', 'a').write('more')")

    def test_what_such_links_lead_to_can_not_be_written_meanwhile(self, tmp_path: Path, monkeypatch) -> None:
        without_worlds(monkeypatch)
        monkeypatch.setattr(mounts_module, "MAX_COPIED_BYTES", 10)
        folder = fetched(tmp_path, as_files)
        downloads = sorted((folder / "data" / "raw").glob("*.csv"))
        downloads[0].chmod(0o440)
        before = [p.stat().st_mode for p in downloads]
        code = "import os\nresult = [os.stat(f'/kaggle/input/one/{n}').st_mode for n in ('train.csv', 'test.csv', 'more/extra.csv')]"
        modes = seen(folder, code)
        assert [mode & 0o222 for mode in modes] == [0] * len(modes)
        assert [p.stat().st_mode for p in downloads] == before

    def test_it_starts_in_working_and_what_it_writes_is_there(self, tmp_path: Path, way: str) -> None:
        folder = fetched(tmp_path, as_files)
        code = "import os\nopen('a.csv', 'w').write('1')\nresult = [os.listdir('/kaggle/working'), os.path.exists('/kaggle/input'), os.listdir('../working')]"
        assert seen(folder, code) == [["a.csv"], True, ["a.csv"]]
        assert (tmp_path / "run" / "kaggle" / "working" / "a.csv").read_text() == "1"

    def test_the_variables_of_kaggle(self, tmp_path: Path, way: str) -> None:
        code = "import os\nresult = {k: v for k, v in os.environ.items() if k.startswith('KAGGLE_') and 'PROXY' not in k and 'TOKEN' not in k and 'MOUNT' not in k}"
        found = seen(fetched(tmp_path, as_files), code)
        assert found == KAGGLE_ENVIRONMENT
        assert found["KAGGLE_KERNEL_RUN_TYPE"] == "Batch"


# ----------------------------------------------------------------------------------------------- other data, kagglehub

OTHERS = {
    "datasets/me/extra/a.csv": "dataset",
    "models/google/gemma/transformers/2b-it/2/w.bin": "model 2",
    "models/google/gemma/transformers/2b-it/10/w.bin": "model 10",
    "notebooks/me/earlier/oof.csv": "notebook",
    "loose/b.csv": "loose",
}


def with_others(tmp_path: Path) -> Path:
    folder = fetched(tmp_path, as_one_archive)
    for name, text in OTHERS.items():
        path = folder / "data" / "input" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return folder


class TestOtherData:
    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("/kaggle/input/datasets/me/extra/a.csv", "dataset"),
            ("/kaggle/input/extra/a.csv", "dataset"),
            ("../input/extra/a.csv", "dataset"),
            ("/kaggle/input/d/me/extra/a.csv", "dataset"),
            ("/kaggle/input/models/google/gemma/transformers/2b-it/2/w.bin", "model 2"),
            ("/kaggle/input/gemma/transformers/2b-it/2/w.bin", "model 2"),
            ("/kaggle/input/m/google/gemma/transformers/2b-it/2/w.bin", "model 2"),
            ("/kaggle/input/notebooks/me/earlier/oof.csv", "notebook"),
            ("../input/earlier/oof.csv", "notebook"),
            ("../input/loose/b.csv", "loose"),
        ],
    )
    def test_is_where_it_is_looked_for(self, tmp_path: Path, way: str, path: str, text: str) -> None:
        code = f"open('../input/train.csv')\nresult = open('{path}').read()"
        assert seen(with_others(tmp_path), code) == text

    def test_only_what_is_named_is_attached(self, tmp_path: Path, way: str) -> None:
        paths = seen(with_others(tmp_path), "open('/kaggle/input/extra/a.csv')\n" + WALK)
        assert sorted(p.rpartition("/")[2] for p in paths) == [
            "a.csv",
            "extra.csv",
            "picture.png",
            "test.csv",
            "train.csv",
        ]

    def test_another_competition_of_the_workspace(self, tmp_path: Path, way: str) -> None:
        folder = fetched(tmp_path, as_one_archive)
        fetched(tmp_path, as_compressed_files, "other-one")
        code = "result = [open('/kaggle/input/other-one/test.csv').read(), open('/kaggle/input/one/test.csv').read()]"
        assert seen(folder, code) == [TEST.decode()] * 2

    def test_what_kagglehub_has_downloaded_before(self, tmp_path: Path, way: str, monkeypatch) -> None:
        folder = fetched(tmp_path, as_files)
        for version in (2, 10):
            place = tmp_path / "hub" / "datasets" / "you" / "third" / "versions" / str(version)
            place.mkdir(parents=True)
            (place / "c.csv").write_text(f"version {version}")
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "hub"))
        assert seen(folder, "result = open('/kaggle/input/datasets/you/third/c.csv').read()") == "version 10"

    def test_what_is_missing_is_said(self, tmp_path: Path) -> None:
        folder = with_others(tmp_path)
        code = (
            "open('../input/extra/a'), open('../input/nowhere/a'), open('../input/train.csv'), open('../input/one/a')"
        )
        assert missing_data(folder, read_notebook(notebook_at(tmp_path / "a.ipynb", code))) == ["nowhere"]

    def test_a_change_of_it_is_another_key(self, tmp_path: Path) -> None:
        folder = with_others(tmp_path)
        notebook = read_notebook(notebook_at(tmp_path / "a.ipynb", "open('../input/extra/a.csv')"))
        before = data_stamps(folder, notebook)
        assert list(before) == ["datasets/me/extra"]
        (folder / "data" / "input" / "loose" / "b.csv").write_text("not of this notebook")
        assert data_stamps(folder, notebook) == before
        (folder / "data" / "input" / "datasets" / "me" / "extra" / "a.csv").write_text("changed")
        assert data_stamps(folder, notebook) != before


HUB_CALLS = [
    ("kagglehub.competition_download('one', path='train.csv')", "/train.csv", TRAIN.decode()),
    ("os.path.join(kagglehub.competition_download('one'), 'more', 'extra.csv')", "/more/extra.csv", EXTRA.decode()),
    ("kagglehub.dataset_download('me/extra') + '/a.csv'", "/datasets/me/extra/a.csv", "dataset"),
    ("kagglehub.dataset_download('me/extra/versions/3', path='a.csv')", "/datasets/me/extra/a.csv", "dataset"),
    ("kagglehub.model_download('google/gemma/transformers/2b-it') + '/w.bin'", "/2b-it/10/w.bin", "model 10"),
    ("kagglehub.model_download('google/gemma/Transformers/2b-it/2', 'w.bin')", "/2b-it/2/w.bin", "model 2"),
    ("kagglehub.notebook_output_download('me/earlier') + '/oof.csv'", "/notebooks/me/earlier/oof.csv", "notebook"),
]


class TestKagglehub:
    @pytest.mark.parametrize(("call", "end", "text"), HUB_CALLS)
    def test_its_downloads_are_what_is_here(self, tmp_path: Path, way: str, call: str, end: str, text: str) -> None:
        code = f"import os, kagglehub\npath = {call}\nresult = [path, open(path).read()]"
        path, read = seen(with_others(tmp_path), code, proxy=True)
        assert path.endswith(end)
        assert read == text
        if way == "mounted":
            assert path.startswith("/kaggle/input/")

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (
                "kagglehub.dataset_download('me/nothing')",
                "datasets/me/nothing is not available here, and nothing is downloaded",
            ),
            ("kagglehub.model_download('google/gemma/jax/2b')", "models/google/gemma/jax/2b is not available here"),
            ("kagglehub.dataset_download('me/extra', 'b.csv')", "b.csv"),
            ("kagglehub.model_download('google/gemma')", "nvalid"),
        ],
    )
    def test_what_is_not_here_is_said(self, tmp_path: Path, way: str, call: str, message: str) -> None:
        code = f"import kagglehub\ntry:\n    {call}\nexcept Exception as exc:\n    result = str(exc)"
        assert message in seen(with_others(tmp_path), code, proxy=True)

    def test_another_cases_and_the_place_where_the_notebook_looks(self, tmp_path: Path, way: str) -> None:
        code = "import kagglehub\nopen('/kaggle/input/one/train.csv')\nresult = kagglehub.competition_download('one')"
        assert seen(with_others(tmp_path), code, proxy=True).endswith("input/one")

    @needs_no_package("kagglehub", "the installed one asks for a login")
    def test_the_first_cell_of_a_notebook_that_was_exported_from_kaggle(self, tmp_path: Path, way: str) -> None:
        code = "import kagglehub\nkagglehub.login()\npath = kagglehub.competition_download('one')\nresult = open(path + '/train.csv').read()"
        assert seen(with_others(tmp_path), code, proxy=True) == TRAIN.decode()

    @needs_no_package("kagglehub", "the installed one needs packages for it")
    def test_a_dataset_as_a_frame(self, tmp_path: Path) -> None:
        folder = with_others(tmp_path)
        (folder / "data" / "input" / "datasets" / "me" / "extra" / "a.csv").write_text("a,b\n1,2\n")
        (folder / "data" / "input" / "datasets" / "me" / "extra" / "b.tsv").write_text("a\tb\n3\t4\n")
        code = (
            "from kagglehub import KaggleDatasetAdapter as A, dataset_load\n"
            "result = [dataset_load(A.PANDAS, 'me/extra', 'a.csv', pandas_kwargs={'dtype': str}).values.tolist(),\n"
            "    dataset_load(A.PANDAS, 'me/extra', 'b.tsv').values.tolist(),\n"
            "    dataset_load(A.POLARS, 'me/extra', 'b.tsv').collect().rows()]"
        )
        assert seen(folder, code, proxy=True) == [[["1", "2"]], [[3, 4]], [[3, 4]]]

    def test_an_installed_kagglehub_is_not_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "kagglehub").mkdir()
        (tmp_path / "kagglehub" / "__init__.py").write_text("from kagglehub.inner import who\n")
        (tmp_path / "kagglehub" / "inner.py").write_text("who = 'the installed one'\n")
        done = subprocess.run(
            [sys.executable, "-c", "import kagglehub; print(kagglehub.who, kagglehub.inner.who)"],
            env=os.environ | {"PYTHONPATH": standin_path(str(tmp_path))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "the installed one the installed one\n", done.stderr

    @pytest.mark.parametrize(("call", "end", "text"), HUB_CALLS)
    def test_the_real_kagglehub_finds_them(self, tmp_path: Path, way: str, call: str, end: str, text: str) -> None:
        package("kagglehub")
        self.test_its_downloads_are_what_is_here(tmp_path, way, call, end, text)

    def test_a_question_without_data_is_answered(self) -> None:
        import urllib.request

        with data_proxy({}) as environment:
            url = f"{environment['KAGGLE_DATA_PROXY_URL']}/kaggle-jwt-handler/AttachDatasourceUsingJwtRequest"
            with urllib.request.urlopen(urllib.request.Request(url, data=b"{}")) as response:
                assert json.load(response)["wasSuccessful"] is False


# ------------------------------------------------------------------------------------------------------------ as a run


class TestRun:
    @pytest.mark.slow
    def test_a_notebook_runs_on_what_came_as_one_archive(self, small, way: str, monkeypatch) -> None:
        made = small(n_rows=300)
        raw = made.folder / "data" / "raw"
        with zipfile.ZipFile(raw / "small.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(raw.glob("*.csv")):
                archive.write(path, path.name)
                path.unlink()
        path = notebook_at(
            made.workspace.root / "public.ipynb",
            "import os\nfrom pathlib import Path\nimport kagglehub\nimport pandas as pd\nBASE = Path('/kaggle/input')\n"
            "assert os.environ['KAGGLE_KERNEL_RUN_TYPE'] == 'Batch'",
            "!ls ../input/small\n!cp ../input/small/sample_submission.csv /kaggle/working/form.csv",
            "%cd ../input/small\ntrain = pd.read_csv('train.csv')\n%cd /kaggle/working",
            "again = pd.read_csv(kagglehub.competition_download('small', path='train.csv'))\nassert again.equals(train)",
            "sub = pd.read_csv('form.csv')\nsub['y'] = train['y'].mean()\nprint('CV: 0.6')",
            "sub.to_csv('submission.csv', index=False)",
        )
        _, experiment, others = made.open.experiments.adopt(path)
        assert others == []
        outcome = made.open.runs.execute(int(experiment.stem))
        assert outcome.run.score == 0.6
        assert pl.read_csv(outcome.run.submission)["y"].n_unique() == 1
        assert not (outcome.run.folder / "kaggle").exists()
        assert "sample_submission.csv" in (outcome.run.folder / "notebook.txt").read_text()
        again = made.open.runs.execute(int(experiment.stem))
        assert again.run.record.run_id == outcome.run.record.run_id

    def test_an_adopted_notebook_that_uses_nb_is_told_how(self, small, monkeypatch) -> None:
        made = small(n_rows=300)
        path = notebook_at(
            made.workspace.root / "mine.ipynb",
            "import numpy as np\nfrom workbench import nb\nX, X_test = nb.features('rows')",
            "nb.record(oof=np.zeros(len(X)), test=np.zeros(len(X_test)))",
        )
        _, experiment, _ = made.open.experiments.adopt(path)
        with pytest.raises(NotebookError, match="without the line `submission` in its experiment's file"):
            made.open.runs.execute(int(experiment.stem))
        lines = experiment.read_text().splitlines(keepends=True)
        experiment.write_text("".join(line for line in lines if not line.startswith("submission")))
        assert made.open.runs.execute(int(experiment.stem)).run.oof is not None

    def test_where_missing_data_go_is_said(self, small, monkeypatch, capsys) -> None:
        made = small(n_rows=300)
        monkeypatch.chdir(made.folder)
        path = notebook_at(
            made.workspace.root / "a.ipynb",
            "open('/kaggle/input/datasets/me/extra/a.csv'); kagglehub.competition_download('titanic')",
        )
        wb.main(["notebook", "adopt", str(path)], standalone_mode=False)
        said = capsys.readouterr().err
        assert f"put its files into {made.folder}/data/input/datasets/me/extra" in said
        assert "/kaggle/input/competitions/titanic, which does not exist locally: run `wb fetch titanic`" in said
