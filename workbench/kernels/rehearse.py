"""Rehearse a kernel: run it as Kaggle does, on the public test set and on simulated hidden ones."""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from workbench.core.cache import read_json
from workbench.core.context import SILENT, RunContext
from workbench.core.distribution import is_own_wheel
from workbench.core.errors import DataError
from workbench.core.frames import write_csv
from workbench.core.isolation import Sandbox, clean_environment, isolation_support
from workbench.core.wording import counted
from workbench.data.competition import Competition
from workbench.data.ingest import unpack
from workbench.experiments.notebooks import KaggleInputs, Limits, execute, kaggle_folders, output_file, read_notebook
from workbench.experiments.run_folder import FinishedRun
from workbench.kernels.build import BuiltKernel
from workbench.kernels.evaluation_server import check_no_server
from workbench.kernels.hidden_test_sets import HIDDEN_TIMES, emptied_data, hidden_data, link
from workbench.kernels.layers import layers, packed_files
from workbench.models.serving import MANIFEST, NOTES, compare_submissions, read_submission

__all__ = ["HIDDEN_TIMES", "RehearsalResult", "check_hidden_submission", "hidden_data", "rehearse"]

RERUN_VARIABLES = {"KAGGLE_IS_COMPETITION_RERUN": "1"}
"""Kaggle's environment variable in the rerun of a submitted kernel, on the hidden test set."""

HOME = "/root"
"""The home folder on Kaggle, which is empty, like the temporary folders."""

IPYTHON_FOLDER = "/run/ipython"
"""The profile with the imports before the first cell: outside the home folder, which belongs to the kernel."""

NO_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
"""Used if the network can't be removed: requests go to a port where nothing listens."""

OWNER = "rehearsal"
"""The owner of the datasets, which the kernel finds under any owner."""

NO_LIMITS = Limits()


def _renamed(field: str) -> property:
    """Return a property for a field's name of earlier versions."""

    def value(result: RehearsalResult) -> Any:
        warnings.warn(f"this field of a RehearsalResult is now {field}", DeprecationWarning, stacklevel=2)
        return getattr(result, field)

    return property(value)


@dataclass(frozen=True)
class RehearsalResult:
    """The result of a rehearsal.

    Attributes
    ----------
    public_submission, hidden_submission : Path
        The submissions for the public and the hidden test set; the latter is None if none could be simulated.
    emptied_submission : Path, or None
        The submission for a hidden test set with empty columns.
    max_difference : float
        The largest difference between the public submission and the run's own, relative to its spread.
    n_differing : int
        The number of rows that differ by more than rounding.
    n_changed_by_hidden : int
        The number of public rows that get other predictions within the hidden test set.
    n_rows : tuple of int
        The numbers of rows of the public and of the hidden test set.
    seconds : tuple of float
        The durations of the kernel for the two.
    peak_mb : float
        The most memory that the kernel used.
    notes : tuple of str
        Includes how the hidden test sets were changed.
    """

    public_submission: Path
    hidden_submission: Path | None
    emptied_submission: Path | None
    max_difference: float
    n_differing: int
    n_changed_by_hidden: int
    n_rows: tuple[int, int]
    seconds: tuple[float, float]
    peak_mb: float
    notes: tuple[str, ...]

    public = _renamed("public_submission")
    hidden = _renamed("hidden_submission")
    emptied = _renamed("emptied_submission")
    largest = _renamed("max_difference")
    differing = _renamed("n_differing")
    moved = _renamed("n_changed_by_hidden")
    rows = _renamed("n_rows")


def rehearse(
    competition: Competition,
    run: FinishedRun,
    built: BuiltKernel,
    *,
    limits: Limits = NO_LIMITS,
    image: Path | None = None,
    context: RunContext = SILENT,
) -> RehearsalResult:
    """Run a built kernel without network, with read-only inputs, and check what it writes.

    The kernel can read the system's programs, Python and its inputs, and no other file of this machine; home and
    temporary folders are empty, the environment reveals nothing about the user, and processes that it starts end with
    it. If the system has no namespaces, the notes list what is not isolated. Before its first cell the session has
    imported numpy, as Kaggle's has.

    Parameters
    ----------
    limits : Limits
        Of time and memory.
    image : Path, optional
        A folder with packages that take precedence over this machine's, such as a numpy of Kaggle's version.

    Raises
    ------
    NotebookError
        When the kernel fails or exceeds a limit.
    DataError
        When the rows of its submission are not the test rows.
    ConfigError
        When the competition has an evaluation server.
    """
    check_no_server(competition)
    notes = _isolation_gaps()
    raw_folder = competition.folder / "data" / "raw"
    results_folder = built.folder / "rehearsal"
    shutil.rmtree(results_folder, ignore_errors=True)
    session = _KernelSession(competition, built, limits, image, context, notes)
    id_columns = competition.definition.id_columns
    run_predictions = read_submission(run.folder / "submission.csv", id_columns)
    # Next to the bundle and not in /tmp, which may be too small for the unpacked data.
    with tempfile.TemporaryDirectory(dir=built.folder, prefix=".input-") as folder:
        public_folder = Path(folder) / "public"
        context.stage("the public test set")
        lay_out_data(raw_folder, competition.slug, public_folder)
        public = session.run(public_folder, results_folder / "public")
        max_difference, n_differing = compare_submissions(public.path, run_predictions, id_columns)
        hidden = _rehearse_hidden(session, public_folder, results_folder, run_predictions)
    return RehearsalResult(
        public_submission=public.path,
        hidden_submission=hidden.path,
        emptied_submission=hidden.emptied_path,
        max_difference=max_difference,
        n_differing=n_differing,
        n_changed_by_hidden=hidden.n_changed,
        n_rows=(run_predictions.height, hidden.n_rows),
        seconds=(public.seconds, hidden.seconds),
        peak_mb=max(public.peak_mb, hidden.peak_mb),
        notes=tuple(dict.fromkeys(notes)),
    )


@dataclass(frozen=True)
class _HiddenResult:
    """The results for the simulated hidden test sets; the defaults are for a test set that can't be simulated."""

    path: Path | None = None
    n_rows: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    n_changed: int = 0
    emptied_path: Path | None = None


def _rehearse_hidden(
    session: _KernelSession, public_folder: Path, results_folder: Path, run_predictions: pl.DataFrame
) -> _HiddenResult:
    """Run the kernel on a larger test set and on one with empty columns, made from the files in `public_folder`."""
    competition, context, notes = session.competition, session.context, session.notes
    id_columns = competition.definition.id_columns
    changes: list[str] = []
    hidden_folder, emptied_folder = public_folder.with_name("hidden"), public_folder.with_name("emptied")
    n_hidden = hidden_data(competition, public_folder, hidden_folder, changes)
    if n_hidden is None:
        notes.append("the test set is not a single CSV or Parquet file: no hidden one was tried")
        return _HiddenResult()
    context.stage("a hidden test set")
    hidden = session.run(hidden_folder, results_folder / "hidden", RERUN_VARIABLES)
    check_hidden_submission(hidden.path, n_hidden, id_columns)
    notes += [f"hidden test set: {change}" for change in changes]
    n_changed = compare_public_rows(hidden.path, run_predictions, id_columns)[1]
    notes += _changed_row_notes(hidden.path, n_changed, run_predictions.height)
    context.stage("a hidden test set with empty columns")
    changes = []
    n_emptied = emptied_data(competition, public_folder, emptied_folder, changes) or 0
    emptied = session.run(emptied_folder, results_folder / "emptied", RERUN_VARIABLES)
    check_hidden_submission(emptied.path, n_emptied, id_columns)
    notes += [f"another hidden test set: {change}" for change in changes]
    peak_mb = max(hidden.peak_mb, emptied.peak_mb)
    return _HiddenResult(hidden.path, n_hidden, hidden.seconds, peak_mb, n_changed, emptied.path)


def _changed_row_notes(submission: Path, n_changed: int, n_public: int) -> list[str]:
    """Return notes on public rows whose predictions change in a larger test set, and on the features that cause it."""
    notes_file = submission.with_name(NOTES)
    notes = list(read_json(notes_file)) if notes_file.is_file() else []
    if n_changed:
        notes.append(
            f"{n_changed:,} of the {n_public:,} rows of the public test set get other predictions within the hidden "
            "one: their features depend on the other test rows"
        )
    return notes


@dataclass(frozen=True)
class _SessionResult:
    """The submission that a session wrote, its duration and the most memory that it used."""

    path: Path
    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class _KernelSession:
    """The settings of a kernel's sessions, whatever their test set; `notes` is appended to."""

    competition: Competition
    built: BuiltKernel
    limits: Limits
    image: Path | None
    context: RunContext
    notes: list[str]

    def run(
        self, data_folder: Path, result_folder: Path, variables: Mapping[str, str] = MappingProxyType({})
    ) -> _SessionResult:
        """Run the kernel on the competition's files in `data_folder`; copy its output into `result_folder`."""
        result_folder.mkdir(parents=True)
        built, submission, slug = self.built, self.competition.definition.submission.file, self.competition.slug
        with (
            tempfile.TemporaryDirectory(dir=built.folder, prefix=".run-") as folder,
            _bundle(built, self.notes) as bundle,
        ):
            kaggle_folder = Path(folder) / "kaggle"
            working_folder = kaggle_folder / "working"
            working_folder.mkdir(parents=True)
            sources = {f"competitions/{slug}": data_folder.resolve()}
            for name, dataset in _datasets(bundle, Path(folder) / "datasets").items():
                sources[f"datasets/{OWNER}/{built.name}-{name}"] = dataset
            # The paths of Kaggle's earlier layout, which older kernels read.
            links = {name.rpartition("/")[2]: name for name in sources}
            inputs = KaggleInputs(sources, links, {f"competitions/{slug}": f"competitions/{slug}"})
            with kaggle_folders(
                read_notebook(built.notebook), inputs, working_folder, sandbox=self.sandbox(Path(folder))
            ) as prepared:
                execution = execute(
                    prepared.notebook,
                    {},
                    copy=result_folder / "inference.ipynb",
                    folder=prepared.folder,
                    environment={
                        **prepared.environment,
                        **variables,
                        **self.environment(Path(folder), prepared.sandbox),
                    },
                    inherited=clean_environment(),
                    limits=self.limits,
                    sandbox=prepared.sandbox,
                    attached_folders=prepared.attached_folders,
                    context=self.context,
                )
            for name in (submission, NOTES):
                if (written_file := output_file(working_folder, name)) is not None:
                    shutil.copyfile(written_file, result_folder / name)
        if not (result_folder / submission).is_file():
            raise DataError(f"the kernel finished without writing {submission}")
        return _SessionResult(result_folder / submission, execution.seconds, execution.peak_mb)

    def sandbox(self, folder: Path) -> Sandbox:
        """Return a sandbox like Kaggle's: of this machine only the programs, an empty home, no network."""
        ipython_folder = folder / "ipython"
        startup = ipython_folder / "profile_default" / "startup" / "00-image.py"
        startup.parent.mkdir(parents=True)
        # For the session only: the process that runs the notebook keeps this machine's packages.
        image = None if self.image is None else str(self.image.resolve())
        startup.write_text(STARTUP.format(image=image), encoding="utf-8")
        return Sandbox(
            host="system",
            mounts={IPYTHON_FOLDER: (str(ipython_folder.resolve()), True)},
            visible=() if image is None else (image,),
            home=HOME,
            own_tmp=True,
            network=False,
            disk=folder,
        )

    def environment(self, folder: Path, sandbox: Sandbox | None) -> dict[str, str]:
        """Return the environment variables of a session; without a sandbox they block the network by a dead proxy."""
        programs = os.pathsep.join([str(Path(sys.executable).parent), *PROGRAMS])
        packages = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
        variables = {"PATH": programs, "PYTHONPATH": os.pathsep.join([sysconfig.get_path("stdlib"), *packages])}
        if sandbox is not None:
            return variables | {"IPYTHONDIR": IPYTHON_FOLDER}
        return variables | {"IPYTHONDIR": str((folder / "ipython").resolve())} | NO_PROXY


PROGRAMS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

STARTUP = """import contextlib
import importlib
import sys

if {image!r} is not None:
    sys.path.insert(0, {image!r})
for name in ("numpy", "scipy", "pandas"):
    with contextlib.suppress(Exception):
        importlib.import_module(name)
del contextlib, importlib, name, sys
"""
"""The imports of Kaggle's session before the first cell: https://github.com/Kaggle/docker-python/issues/1053."""


def _datasets(bundle: Path, folder: Path) -> dict[str, Path]:
    """Lay out the bundle as the datasets that a first `push` creates; return the folder of each, by layer."""
    folder_by_name = {}
    for name, files in layers(packed_files(bundle), {}).items():
        folder_by_name[name] = (folder / name).resolve()
        folder_by_name[name].mkdir(parents=True)
        for file in files:
            shutil.copyfile(file.path, folder_by_name[name] / file.flat_name)
    return folder_by_name


def _isolation_gaps() -> list[str]:
    """Return notes on missing isolation, as code may pass here and fail on Kaggle."""
    isolation = isolation_support()
    if not isolation.sandboxes:
        return [
            f"this system has no namespaces ({isolation.reason}): the kernel could read and write this machine's "
            "files and reach the network; code that does passes here and fails on Kaggle. " + isolation.hint
        ]
    if not isolation.pid_namespace:
        return [f"the kernel saw this machine's processes ({isolation.reason})"]
    return []


@contextmanager
def _bundle(built: BuiltKernel, notes: list[str]) -> Iterator[Path]:
    """Yield the bundle, or a copy without its wheels if they are for another version of Python than this one."""
    local_python = f"{sys.version_info.major}.{sys.version_info.minor}"
    manifest = json.loads((built.bundle / MANIFEST).read_text(encoding="utf-8"))
    python = manifest["python"]
    if python == local_python:
        yield built.bundle
        return
    notes.append(
        f"rehearsed with Python {local_python} and the packages of this machine; the kernel has Python {python}"
    )
    with tempfile.TemporaryDirectory(prefix="wb-bundle-") as folder:
        repacked_bundle = Path(folder) / "bundle"
        shutil.copytree(built.bundle, repacked_bundle)
        for wheel in (repacked_bundle / "wheels").glob("*.whl"):
            if not is_own_wheel(wheel.name):
                wheel.unlink()
        manifest["files"] = {n: h for n, h in manifest["files"].items() if (repacked_bundle / n).is_file()}
        (repacked_bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        yield repacked_bundle


def check_hidden_submission(submission: Path, n_rows: int, id_columns: tuple[str, ...]) -> None:
    """Check a kernel's submission for a hidden test set with `n_rows` rows, identified by `id_columns`.

    Raises
    ------
    DataError
        When the number of rows differs, or predictions are missing or infinite.
    """
    frame = read_submission(submission, id_columns)
    if frame.height != n_rows:
        raise DataError(
            f"the kernel's submission for the hidden test set has {counted(frame.height, 'row')}; expected {n_rows:,}"
        )
    n_invalid = sum(
        int((~column.is_finite()).sum() + column.null_count()) for column in frame if column.dtype.is_float()
    )
    if n_invalid:
        raise DataError(f"{n_invalid:,} predictions for the hidden test set are missing or infinite")


def lay_out_data(raw_folder: Path, slug: str, folder: Path) -> None:
    """Lay out a competition's files as Kaggle shows them to a notebook.

    The archive of all files, which exists only for the download, is unpacked. Other archives are ordinary files, and
    what was unpacked from them is not shown.
    """
    archive = raw_folder / f"{slug}.zip"
    if archive.is_file():
        unpack(archive, folder, wanted=lambda name: not link(raw_folder / name, folder / name))
        return
    for path in raw_folder.rglob("*"):
        if not path.name.startswith("."):
            link(path, folder / path.relative_to(raw_folder))


def compare_public_rows(submission: Path, public: pl.DataFrame, id_columns: tuple[str, ...]) -> tuple[float, int]:
    """Return the largest difference of the public rows' predictions in a larger test set, and the number that differ.

    Raises
    ------
    DataError
        When some of the public rows are missing there.
    """
    predictions = read_submission(submission, id_columns)
    public_rows = predictions.join(public.select(pl.col(id_columns).cast(pl.String)), on=list(id_columns), how="semi")
    with tempfile.TemporaryDirectory() as folder:
        public_file = Path(folder) / "public.csv"
        write_csv(public_rows, public_file)
        return compare_submissions(public_file, public, id_columns)
