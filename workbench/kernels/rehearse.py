"""Rehearse a kernel: run it as Kaggle does, on the public test set and on simulated hidden ones."""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import polars as pl

from workbench.core.cache import read_json
from workbench.core.context import SILENT, RunContext
from workbench.core.distribution import is_own_wheel
from workbench.core.errors import DataError
from workbench.core.frames import write_csv
from workbench.core.isolation import Sandbox, clean_environment, isolation_support
from workbench.data.competition import Competition
from workbench.data.ingest import unpack
from workbench.experiments.notebooks import Inputs, Limits, execute, left_file, placed, read_notebook
from workbench.experiments.run_folder import FinishedRun
from workbench.kernels.build import BuiltKernel
from workbench.kernels.gateway import check_no_server
from workbench.kernels.hidden import HIDDEN_TIMES, emptied_data, hidden_data, link
from workbench.kernels.layers import layers, packed_files
from workbench.models.serving import MANIFEST, NOTES, compared, read_submission

__all__ = ["HIDDEN_TIMES", "RehearsalResult", "check_hidden_submission", "hidden_data", "rehearse"]

RERUN = {"KAGGLE_IS_COMPETITION_RERUN": "1"}
"""Kaggle's environment variable in the rerun of a submitted kernel, on the hidden test set."""

HOME = "/root"
"""The home folder on Kaggle; it is empty, as the temporary folders are."""

IPYTHON = "/run/ipython"
"""The profile with the imports before the first cell; not in the home, which is the kernel's."""

NO_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
"""Used where the network can't be taken away: requests go to a port where nothing listens."""

OWNER = "rehearsal"
"""The owner of the datasets: the kernel finds them under any owner."""


@dataclass(frozen=True)
class RehearsalResult:
    """The result of a rehearsal.

    Attributes
    ----------
    public, hidden : Path
        The submissions.
    largest : float
        The largest difference between the public submission and the run's own, relative to its spread.
    differing : int
        How many rows differ by more than rounding.
    rows : tuple of int
        Of the public and of the hidden test set.
    seconds : tuple of float
    peak_mb : float
    notes : tuple of str
        Includes how the hidden test sets were changed.
    moved : int
        How many rows of the public test set get other predictions within the hidden one.
    emptied : Path, or None
        The submission for a hidden test set with empty columns.
    """

    public: Path
    hidden: Path | None
    largest: float
    differing: int
    rows: tuple[int, int]
    seconds: tuple[float, float]
    peak_mb: float
    notes: tuple[str, ...]
    moved: int
    emptied: Path | None


def rehearse(
    competition: Competition,
    run: FinishedRun,
    built: BuiltKernel,
    *,
    memory: int | None = None,
    seconds: float | None = None,
    image: Path | None = None,
    context: RunContext = SILENT,
) -> RehearsalResult:
    """Run a built kernel without network, with read-only inputs, and check what it writes.

    It sees the system's programs, Python and its inputs, and no other file of this machine; home and temporary folders
    are empty, the environment reveals nothing about its user, and processes that it starts end with it. Where the
    system has no namespaces, the notes say what is not isolated. Before its first cell the session has imported numpy,
    as Kaggle's has.

    Parameters
    ----------
    image : Path, optional
        A folder with packages that take precedence over this machine's, such as a numpy of Kaggle's version.
    memory : int, optional
        The memory limit in bytes.
    seconds : float, optional
        The time limit.

    Raises
    ------
    NotebookError
        When it fails or exceeds a limit.
    DataError
        When the rows of its submission are not the test rows.
    ConfigError
        When the competition has an evaluation server.
    """
    check_no_server(competition)
    notes = _isolation_gaps()
    raw = competition.folder / "data" / "raw"
    results = built.folder / "rehearsal"
    shutil.rmtree(results, ignore_errors=True)
    session = _Session(competition, built, Limits(seconds=seconds, memory=memory), image, context, notes)
    run_predictions = read_submission(run.folder / "submission.csv", competition.definition.id_columns)
    hidden, hidden_rows, hidden_seconds, n_moved, emptied = None, 0, 0.0, 0, None
    # Next to the bundle and not in /tmp, which may be small: the data are unpacked there.
    with tempfile.TemporaryDirectory(dir=built.folder, prefix=".input-") as folder:
        public_folder, hidden_folder = Path(folder) / "public", Path(folder) / "hidden"
        context.stage("the public test set")
        shown_data(raw, competition.slug, public_folder)
        public = session.run(public_folder, results / "public")
        largest, differing = compared(public.path, run_predictions, competition.definition.id_columns)
        peak = public.peak_mb
        changes: list[str] = []
        n_hidden = hidden_data(competition, public_folder, hidden_folder, changes)
        if n_hidden is None:
            notes.append("the test set is not a single CSV or Parquet file: no hidden one was tried")
        else:
            context.stage("a hidden test set")
            second = session.run(hidden_folder, results / "hidden", RERUN)
            hidden, hidden_rows, hidden_seconds = second.path, n_hidden, second.seconds
            peak = max(peak, second.peak_mb)
            check_hidden_submission(second.path, n_hidden, competition.definition.id_columns)
            notes += [f"hidden test set: {change}" for change in changes]
            n_moved = moved(second.path, run_predictions, competition.definition.id_columns)[1]
            notes += _moved_notes(second.path, n_moved, run_predictions.height)
            context.stage("a hidden test set with empty columns")
            emptied_folder, changes = Path(folder) / "emptied", []
            rows = emptied_data(competition, public_folder, emptied_folder, changes) or 0
            third = session.run(emptied_folder, results / "emptied", RERUN)
            emptied, peak = third.path, max(peak, third.peak_mb)
            check_hidden_submission(third.path, rows, competition.definition.id_columns)
            notes += [f"another hidden test set: {change}" for change in changes]
    return RehearsalResult(
        public.path,
        hidden,
        largest,
        differing,
        (run_predictions.height, hidden_rows),
        (public.seconds, hidden_seconds),
        peak,
        tuple(dict.fromkeys(notes)),
        n_moved,
        emptied,
    )


def _moved_notes(submission: Path, n_moved: int, rows: int) -> list[str]:
    """Return notes on public rows whose predictions change in a larger test set, and on the features that cause it."""
    notes_file = submission.with_name(NOTES)
    notes = list(read_json(notes_file)) if notes_file.is_file() else []
    if n_moved:
        notes.append(
            f"{n_moved:,} of the {rows:,} rows of the public test set get other predictions within the hidden one: "
            "their features depend on the other test rows"
        )
    return notes


@dataclass(frozen=True)
class _SessionResult:
    path: Path
    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class _Session:
    """The settings of a kernel's runs, whichever test set they get."""

    competition: Competition
    built: BuiltKernel
    limits: Limits
    image: Path | None
    context: RunContext
    notes: list[str]

    def run(self, data: Path, result: Path, variables: Mapping[str, str] = MappingProxyType({})) -> _SessionResult:
        """Run the kernel on the competition's files in a folder, and copy its output into another."""
        result.mkdir(parents=True)
        built, submission, slug = self.built, self.competition.definition.submission.file, self.competition.slug
        with (
            tempfile.TemporaryDirectory(dir=built.folder, prefix=".run-") as folder,
            _bundle(built, self.notes) as bundle,
        ):
            kaggle = Path(folder) / "kaggle"
            working = kaggle / "working"
            working.mkdir(parents=True)
            sources = {f"competitions/{slug}": data.resolve()}
            for name, dataset in _datasets(bundle, Path(folder) / "datasets").items():
                sources[f"datasets/{OWNER}/{built.name}-{name}"] = dataset
            # The paths that Kaggle used before, and that an older kernel reads.
            links = {name.rpartition("/")[2]: name for name in sources}
            inputs = Inputs(sources, links, {f"competitions/{slug}": f"competitions/{slug}"})
            with placed(read_notebook(built.notebook), inputs, working, like=self.world(Path(folder))) as place:
                execution = execute(
                    place.notebook,
                    {},
                    copy=result / "inference.ipynb",
                    folder=place.folder,
                    environment={**place.environment, **variables, **self.environment(Path(folder), place.world)},
                    inherited=clean_environment(),
                    limits=self.limits,
                    world=place.world,
                    attached=place.attached,
                    context=self.context,
                )
            for name in (submission, NOTES):
                if (written := left_file(working, name)) is not None:
                    shutil.copyfile(written, result / name)
        if not (result / submission).is_file():
            raise DataError(f"the kernel finished without writing {submission}")
        return _SessionResult(result / submission, execution.seconds, execution.peak_mb)

    def world(self, folder: Path) -> Sandbox:
        """Return a sandbox like Kaggle's: of this machine only the programs, an empty home, no network."""
        ipython = folder / "ipython"
        startup = ipython / "profile_default" / "startup" / "00-image.py"
        startup.parent.mkdir(parents=True)
        # For the session only: the process that runs the notebook keeps this machine's packages.
        image = None if self.image is None else str(self.image.resolve())
        startup.write_text(STARTUP.format(image=image), encoding="utf-8")
        return Sandbox(
            host="system",
            mounts={IPYTHON: (str(ipython.resolve()), True)},
            shown=() if image is None else (image,),
            home=HOME,
            own_tmp=True,
            network=False,
            disk=folder,
        )

    def environment(self, folder: Path, world: Sandbox | None) -> dict[str, str]:
        """Return the variables of a session; without a sandbox they at least point the network to a dead proxy."""
        programs = os.pathsep.join([str(Path(sys.executable).parent), *PROGRAMS])
        packages = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
        variables = {"PATH": programs, "PYTHONPATH": os.pathsep.join([sysconfig.get_path("stdlib"), *packages])}
        if world is not None:
            return variables | {"IPYTHONDIR": IPYTHON}
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
    """Lay out the bundle as the datasets that a first `push` creates."""
    places = {}
    for name, files in layers(packed_files(bundle), {}).items():
        places[name] = (folder / name).resolve()
        places[name].mkdir(parents=True)
        for file in files:
            shutil.copyfile(file.path, places[name] / file.flat)
    return places


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
    """Yield the bundle with packages for this Python, which may differ from the kernel's."""
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
        repacked = Path(folder) / "bundle"
        shutil.copytree(built.bundle, repacked)
        for wheel in (repacked / "wheels").glob("*.whl"):
            if not is_own_wheel(wheel.name):
                wheel.unlink()
        manifest["files"] = {n: h for n, h in manifest["files"].items() if (repacked / n).is_file()}
        (repacked / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        yield repacked


def check_hidden_submission(path: Path, rows: int, ids: tuple[str, ...]) -> None:
    """Check a kernel's submission for a hidden test set with this many rows, identified by the columns `ids`.

    Raises
    ------
    DataError
        When rows are missing or too many, or predictions are missing or infinite.
    """
    frame = read_submission(path, ids)
    if frame.height != rows:
        raise DataError(f"of the hidden test set the kernel's submission has {frame.height:,} rows; expected {rows:,}")
    n_invalid = sum(int((~c.is_finite()).sum() + c.null_count()) for c in frame if c.dtype.is_float())
    if n_invalid:
        raise DataError(f"of the hidden test set {n_invalid:,} predictions are missing or infinite")


def shown_data(raw: Path, slug: str, folder: Path) -> None:
    """Lay out a competition's files as Kaggle shows them to a notebook.

    The archive of all files, which exists only for the download, is unpacked; other archives are ordinary files. Files
    that were unpacked next to it are not shown.
    """
    archive = raw / f"{slug}.zip"
    if archive.is_file():
        unpack(archive, folder, wanted=lambda name: not link(raw / name, folder / name))
        return
    for path in raw.rglob("*"):
        if not path.name.startswith("."):
            link(path, folder / path.relative_to(raw))


def moved(submission: Path, public: pl.DataFrame, ids: tuple[str, ...]) -> tuple[float, int]:
    """Return how much the predictions of public rows differ in a larger test set; see `compared`.

    Raises
    ------
    DataError
        When some of them are missing there.
    """
    predictions = read_submission(submission, ids)
    public_rows = predictions.join(public.select(pl.col(ids).cast(pl.String)), on=list(ids), how="semi")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "public.csv"
        write_csv(public_rows, file)
        return compared(file, public, ids)
