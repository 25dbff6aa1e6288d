"""Pack a finished run as a self-contained folder: its models, code and packages, and the notebook that predicts."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workbench.core.cache import file_sha256, write_json, write_text
from workbench.core.context import SILENT, RunContext
from workbench.core.distribution import distribution_version, is_own_wheel
from workbench.core.errors import ConfigError, DamagedError
from workbench.data.competition import Competition
from workbench.experiments.notebooks import as_text, new_notebook
from workbench.experiments.run_folder import FinishedRun, read_run
from workbench.experiments.source import DATA, named_code
from workbench.features import code_files
from workbench.kernels.evaluation_server import check_no_server
from workbench.kernels.fixed_copies import fixed_copies
from workbench.kernels.layers import kernel_name
from workbench.kernels.secret_scan import check_no_secrets
from workbench.kernels.wheels import (
    check_wheels,
    download,
    has_wheels_of,
    modules_of,
    needed_packages,
    own_wheel,
)
from workbench.ledger import RunRecord
from workbench.models.lightgbm.parameters import FILE_PARAMETERS
from workbench.models.registry import has_capability
from workbench.models.serving import COLUMNS, DATASETS, FORMAT, MANIFEST, ROWS_SAMPLE

__all__ = ["KERNEL_PYTHON", "BuiltKernel", "build"]

KERNEL_PYTHON = "3.12"
"""The Python version of Kaggle's current image."""

INSTALL = """import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

folders = [folder for pattern in {datasets} for folder in Path("/kaggle/input").glob(pattern)]
bundle = next(folder for folder in folders if (folder / "{manifest}").is_file())
wheels = []
manifest = json.loads((bundle / "{manifest}").read_text())
for name, sha256 in manifest["files"].items():
    if name.startswith("wheels/"):
        copies = [file for folder in folders for file in (folder / name, folder / Path(name).name) if file.is_file()]
        same = [str(file) for file in copies if hashlib.sha256(file.read_bytes()).hexdigest() == sha256]
        if not same:
            raise RuntimeError(f"no input has the {{name}} that was packed")
        wheels.append(same[0])
# In a separate folder: this session has already imported numpy, and the image's packages stay untouched.
packages = tempfile.mkdtemp(prefix="wb-packages-")
# Python compiles what it imports; pip would compile everything.
install = [sys.executable, "-m", "pip", "--isolated", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
process = subprocess.run([*install, "--target", packages, *wheels], capture_output=True, text=True)
if process.returncode:
    message = process.stderr[-500:]
    raise RuntimeError(f"the packages of {{bundle}} do not fit Python {{sys.version.split()[0]}}: {{message}}")"""

PUSH = 'push = ""  # set by `wb kernel push`: identifies the output of this version'

PREDICT = '''code = """import importlib.util
import json
import sys

job = json.loads(sys.argv[1])
sys.path.insert(0, job["packages"])
missing = [name for name in job["modules"] if importlib.util.find_spec(name) is None]
if missing:
    print("not in the bundle, taken from the image:", ", ".join(missing))
    sys.path += job["image"]
from workbench.models.serving import find_data, predict, receipt

receipt(job["bundle"], predict(job["bundle"], find_data(job["slug"]), out=job["file"]), job["push"])"""

print("push", push)
job = {{"packages": packages, "modules": manifest["modules"], "image": [path for path in sys.path if path]}}
job |= {{"bundle": str(bundle), "slug": {slug}, "file": {file}, "push": push}}
# In a separate process, which sees the bundle's packages and none of the image's: versions can't be mixed.
process = subprocess.Popen(
    [sys.executable, "-I", "-S", "-u", "-c", code, json.dumps(job)],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
)
printed = []
for line in process.stdout:
    print(line, end="")
    printed = [*printed[-5:], line]
if process.wait():
    raise RuntimeError(f"the prediction ended with exit status {{process.returncode}}: {{''.join(printed)}}")'''
"""The prediction, in a separate process. Kaggle's session imports numpy before the first cell runs; another numpy that
is installed over it would be loaded partly old, partly new: https://github.com/Kaggle/docker-python/issues/1053. The
image's packages were built for its own numpy: LightGBM imports scikit-learn and pandas if they are installed, and fails
if they do."""


@dataclass(frozen=True)
class BuiltKernel:
    """A kernel as it was built on this machine.

    Attributes
    ----------
    name : str
        Its name on the platform, with which its datasets' names begin.
    folder : Path
        The experiment's folder in ``kernels``.
    bundle : Path
        The folder whose files go into datasets.
    notebook : Path
        The notebook that the kernel runs.
    size : int
        Of the bundle in bytes.
    fixed : tuple of str
        The files of ``data/fixed`` that are in the bundle.
    files : tuple of str
        All files of the bundle, by their paths in it.
    """

    name: str
    folder: Path
    bundle: Path
    notebook: Path
    size: int
    fixed: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def build(
    competition: Competition,
    run: FinishedRun,
    *,
    python: str = KERNEL_PYTHON,
    wheels: Path | None = None,
    context: RunContext = SILENT,
) -> BuiltKernel:
    """Pack a finished run for a code competition.

    The code is the copy in the run's folder. Unchanged files are not written again, so that a later push uploads only
    what changed.

    Parameters
    ----------
    python : str
        The kernel's Python version.
    wheels : Path, optional
        A folder of wheels to use instead of downloading them.

    Raises
    ------
    ConfigError
        When the competition has an evaluation server, the run is of a kind that can't be served, a fixed copy holds
        rows that differ in the hidden test set, wheels for that Python are missing, or a file contains a secret.
    """
    check_no_server(competition)
    record, details = run.record, read_run(run.folder)[1]
    _check_can_be_served(record)
    folder = competition.folder / "kernels" / f"{record.exp:03d}"
    bundle = folder / "bundle"
    files = _run_files(competition, run, details)
    fixed_files = fixed_copies(competition)
    files |= {f"competition/{name}": path for name, path in fixed_files.items()}
    check_no_secrets(files, record.exp)
    context.stage("wheels")
    # What serving needs, and what the run's own code imports: the image's packages are not visible to it.
    imported_modules = (details.get("source") or {}).get("packages", {})
    packages = needed_packages(imported_modules)
    wheel_files = _wheels(folder, python, wheels, packages)
    check_wheels(wheel_files, python)
    files |= {f"wheels/{p.name}": p for p in wheel_files}
    _fill_bundle(bundle, files)
    modules = sorted({*modules_of(packages), *imported_modules} - {"workbench"})
    digest_by_name = {name: file_sha256(bundle / name) for name in sorted(files)}
    contents = {"slug": competition.slug, "python": python, "modules": modules, "files": digest_by_name}
    write_json(bundle / MANIFEST, _manifest(record, details) | contents)
    notebook = folder / "kernel" / "inference.ipynb"
    write_text(notebook, as_text(_notebook(competition, record.exp, record.title)))
    check_no_secrets({MANIFEST: bundle / MANIFEST, notebook.name: notebook}, record.exp)
    size = sum(p.stat().st_size for p in bundle.rglob("*") if p.is_file())
    name, names_in_bundle = kernel_name(competition.slug, record.exp), (*sorted(files), MANIFEST)
    return BuiltKernel(name, folder, bundle, notebook, size, tuple(fixed_files), names_in_bundle)


def _check_can_be_served(record: RunRecord) -> None:
    """Refuse a run without models that a kernel can use, or of a subsample."""
    if not has_capability(record.kind, "is_served"):
        raise ConfigError(
            f"run {record.run_id} is of [{record.kind}]; kernels predict with models of LightGBM",
            hint="choose an experiment with [model]",
        )
    if record.sample is not None:
        raise ConfigError(f"run {record.run_id} is a subsample run", hint=f"`wb run {record.exp}` runs it on all rows")


def _run_files(competition: Competition, run: FinishedRun, details: dict[str, Any]) -> dict[str, Path]:
    """Return a run's copies of the code and its models, by their paths in the bundle."""
    record = run.record
    files = {f"competition/{name}": path for name, path in _code_copies(competition, run, details).items()}
    # Only files that the run recorded, whose bytes were checked: nothing else in that folder is uploaded.
    model_names = [name for name in details.get("files", {}) if name.startswith("models/")]
    files |= {name: run.folder / name for name in model_names}
    for path in files.values():
        if path.is_symlink():
            raise ConfigError(
                f"{path} is a link; only files in the run's own folder are uploaded",
                hint=f"`wb run {record.exp} --force` makes a run that keeps it",
            )
    if not {f"models/{COLUMNS}", f"models/{ROWS_SAMPLE}"} <= set(files):
        raise ConfigError(
            f"run {record.run_id} was made by an older version, which did not store its models' columns",
            hint=f"`wb run {record.exp} --force` makes a run that does",
        )
    return files


def _manifest(record: RunRecord, details: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the manifest that describes the run and the package versions on this machine."""
    return {
        "format": FORMAT,
        "exp": record.exp,
        "run_id": record.run_id,
        "cv_mean": record.cv_mean,
        "metric": record.metric,
        "folds": record.folds_hash,
        # Explicit, as the default may differ in the version that serves it.
        "spec": details["spec"] | {"target_transform": details.get("target_transform", "none")},
        "versions": {"workbench": distribution_version()}
        | {name: version(name) for name in ("lightgbm", "polars", "numpy")}
        | {"home": platform.python_version()},
    }


def _code_copies(competition: Competition, run: FinishedRun, details: dict[str, Any]) -> dict[str, Path]:
    """Return a run's copies of the definition and the code that predicts, by their paths in the competition's folder.

    Raises
    ------
    ConfigError
        When the run has no copy of a file that is needed.
    DamagedError
        When a copy is missing or changed.
    """
    folder, run_id = run.folder / "source", run.record.run_id
    hint = f"`wb run {run.record.exp} --force` makes a run that keeps it"
    # Files that LightGBM's parameters name are only needed for training.
    training_files = {str(details["spec"]["model"].get(key)) for key in FILE_PARAMETERS}
    source = details.get("source")
    if source is None:  # of an older version, which copied only the modules next to features.py
        names = [p.name for p in folder.glob("*.py")]
        needed_files = code_files([competition.paths.features]).files
        missing_names = [
            n for n in (p.relative_to(competition.folder).as_posix() for p in needed_files) if n not in names
        ]
        if missing_names:
            raise ConfigError(f"run {run_id} has no copy of {missing_names[0]}, which its code imports", hint=hint)
        return {name: folder / name for name in ("competition.toml", *names)}
    for name, reason in source["excluded"].items():
        if name not in training_files and not name.startswith(DATA):
            raise ConfigError(f"run {run_id} needs {name}, which can't be packed for a kernel: {reason}")
    for name, digest in source["files"].items():
        if not (folder / name).is_file() or file_sha256(folder / name) != digest:
            raise DamagedError(f"{folder / name} is missing or changed", hint=hint)
    # A run copies every module of the folder; only the code that predicts is uploaded, with its imports.
    code_names = named_code(competition, details["spec"]["model"])
    root_files = [folder / competition.paths.features.name, *(folder / name for name in code_names)]
    imported_names = {
        p.relative_to(folder).as_posix() for p in code_files([p for p in root_files if p.is_file()]).files
    }
    names_with_imported_code = [n for n in source["files"] if n in imported_names or not n.endswith(".py")]
    uploaded_names = (
        n for n in ("competition.toml", *names_with_imported_code) if n not in training_files and not n.startswith(DATA)
    )
    return {name: folder / name for name in uploaded_names}


def _wheels(folder: Path, python: str, wheel_folder: Path | None, packages: dict[str, str]) -> list[Path]:
    """Return this package's wheel and those of the needed packages, from `wheel_folder` or else downloaded once."""
    download_folder = folder / "wheels" / python
    if wheel_folder is not None and not list(wheel_folder.glob("*.whl")):
        raise ConfigError(f"--wheels {wheel_folder}: there is no wheel", hint="leave it out to download them")
    wheels = [p for p in (wheel_folder or download_folder).glob("*.whl") if not is_own_wheel(p.name)]
    if wheel_folder is None and not has_wheels_of(wheels, packages):
        for path in wheels:
            path.unlink()
        wheels = download(download_folder, python, packages)
    return [own_wheel(download_folder), *wheels]


def _fill_bundle(bundle: Path, files: dict[str, Path]) -> None:
    """Make the bundle contain exactly these files; unchanged ones are not written again."""
    for name, source in files.items():
        target = bundle / name
        if target.exists() and file_sha256(target) == file_sha256(source):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for path in list(bundle.rglob("*")):
        if path.is_file() and path.relative_to(bundle).as_posix() not in {*files, MANIFEST}:
            path.unlink()


def _notebook(competition: Competition, exp: int, title: str) -> Any:
    slug = competition.slug
    heading = f"# {slug}, experiment {exp}: {title or 'untitled'}\n\nPredicts, trains nothing."
    install = INSTALL.format(manifest=MANIFEST, datasets=DATASETS)
    predict = PREDICT.format(slug=json.dumps(slug), file=json.dumps(competition.definition.submission.file))
    return new_notebook(heading, install, predict, parameters=PUSH)
