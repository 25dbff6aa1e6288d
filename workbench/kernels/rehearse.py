"""A kernel rehearsed: run as Kaggle runs it, on the public test set and on a hidden one that nobody has seen."""

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
from workbench.core.isolation import World, abilities, clean_environment
from workbench.data.competition import Competition
from workbench.data.ingest import unpack
from workbench.experiments.notebooks import Inputs, Limits, execute, left_file, placed, read_notebook
from workbench.experiments.run_folder import FinishedRun
from workbench.kernels.build import BuiltKernel
from workbench.kernels.gateway import check_no_server
from workbench.kernels.hidden import HIDDEN_TIMES, emptied_data, hidden_data, link
from workbench.kernels.layers import layers, packed_files
from workbench.models.serving import MANIFEST, NOTES, compared, read_submission

__all__ = ["HIDDEN_TIMES", "Rehearsed", "check_hidden_submission", "hidden_data", "rehearse"]

RERUN = {"KAGGLE_IS_COMPETITION_RERUN": "1"}
"""What Kaggle's environment says, too, where a submitted kernel runs again, on the hidden test set."""

HOME = "/root"
"""Of whoever runs on Kaggle; it is empty, as the temporary folders are."""

IPYTHON = "/run/ipython"
"""What is imported before the first cell; not in the home, which is the kernel's."""

NO_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
"""Where the network can't be taken away: nothing listens there, and what is asked for by its address goes there."""

OWNER = "rehearsal"
"""Of the datasets: the kernel finds them whoever's they are."""


@dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal gave.

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
        With what was changed in the hidden test sets.
    moved : int
        How many rows of the public test set are predicted otherwise within the hidden one.
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
) -> Rehearsed:
    """Run a built kernel without network, with inputs that can only be read, and look at what it writes.

    It sees the system's programs, Python and its inputs, and no other file of this machine; home and temporary folders
    are empty, the environment says nothing of its user, and whatever it starts ends with it. Where the system gives no
    namespaces, the notes say what is not so. Before its first cell the session has imported numpy, as Kaggle's has.

    Parameters
    ----------
    image : Path, optional
        A folder with packages that go before those of this machine, such as a numpy of Kaggle's version.
    memory : int, optional
        Bytes that it may have.
    seconds : float, optional
        That it may take.

    Raises
    ------
    NotebookError
        When it fails, or a limit ends it.
    DataError
        When its submission is not of the test rows.
    ConfigError
        Where the competition has an evaluation server.
    """
    check_no_server(competition)
    notes = _lacking()
    raw = competition.folder / "data" / "raw"
    results = built.folder / "rehearsal"
    shutil.rmtree(results, ignore_errors=True)
    session = _Session(competition, built, Limits(seconds=seconds, memory=memory), image, context, notes)
    own = read_submission(run.folder / "submission.csv", competition.definition.id_columns)
    hidden, hidden_rows, hidden_seconds, n_moved, emptied = None, 0, 0.0, 0, None
    # Beside the bundle and not in /tmp, which may be small: the data are unpacked there.
    with tempfile.TemporaryDirectory(dir=built.folder, prefix=".input-") as folder:
        data, grown = Path(folder) / "public", Path(folder) / "hidden"
        context.stage("the public test set")
        shown_data(raw, competition.slug, data)
        public = session.run(data, results / "public")
        largest, differing = compared(public.path, own, competition.definition.id_columns)
        peak = public.peak_mb
        changes: list[str] = []
        made = hidden_data(competition, data, grown, changes)
        if made is None:
            notes.append("the test set is no CSV or Parquet file of its own: there is no hidden one to try")
        else:
            context.stage("a hidden test set")
            second = session.run(grown, results / "hidden", RERUN)
            hidden, hidden_rows, hidden_seconds = second.path, made, second.seconds
            peak = max(peak, second.peak_mb)
            check_hidden_submission(second.path, made, competition.definition.id_columns)
            notes += [f"hidden test set: {change}" for change in changes]
            n_moved = moved(second.path, own, competition.definition.id_columns)[1]
            notes += _moved_notes(second.path, n_moved, own.height)
            context.stage("a hidden test set with empty columns")
            bare, changes = Path(folder) / "emptied", []
            rows = emptied_data(competition, data, bare, changes) or 0
            third = session.run(bare, results / "emptied", RERUN)
            emptied, peak = third.path, max(peak, third.peak_mb)
            check_hidden_submission(third.path, rows, competition.definition.id_columns)
            notes += [f"another hidden test set: {change}" for change in changes]
    return Rehearsed(
        public.path,
        hidden,
        largest,
        differing,
        (own.height, hidden_rows),
        (public.seconds, hidden_seconds),
        peak,
        tuple(dict.fromkeys(notes)),
        n_moved,
        emptied,
    )


def _moved_notes(submission: Path, n_moved: int, rows: int) -> list[str]:
    """Say how many public rows are predicted otherwise in a larger test set, and which features are why."""
    said = submission.with_name(NOTES)
    found = list(read_json(said)) if said.is_file() else []
    if n_moved:
        found.append(
            f"{n_moved:,} of the {rows:,} rows of the public test set are predicted otherwise within the hidden one: "
            "what they are given depends on the other test rows"
        )
    return found


@dataclass(frozen=True)
class _Ran:
    path: Path
    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class _Session:
    """What a kernel is run with, whichever test set it gets."""

    competition: Competition
    built: BuiltKernel
    limits: Limits
    image: Path | None
    context: RunContext
    notes: list[str]

    def run(self, data: Path, result: Path, variables: Mapping[str, str] = MappingProxyType({})) -> _Ran:
        """Run the kernel on the competition's files in a folder, and put what it writes into another."""
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
            # Where Kaggle had them before, and what an older kernel names.
            links = {name.rpartition("/")[2]: name for name in sources}
            inputs = Inputs(sources, links, {f"competitions/{slug}": f"competitions/{slug}"})
            with placed(read_notebook(built.notebook), inputs, working, like=self.world(Path(folder))) as place:
                done = execute(
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
            raise DataError(f"the kernel came to its end and left no {submission}")
        return _Ran(result / submission, done.seconds, done.peak_mb)

    def world(self, folder: Path) -> World:
        """Return Kaggle's world: none of this machine's files but its programs, an empty home, no network."""
        ipython = folder / "ipython"
        startup = ipython / "profile_default" / "startup" / "00-image.py"
        startup.parent.mkdir(parents=True)
        # The session's alone: what runs the notebook is the workbench, with this machine's packages.
        image = None if self.image is None else str(self.image.resolve())
        startup.write_text(STARTUP.format(image=image), encoding="utf-8")
        return World(
            host="system",
            mounts={IPYTHON: (str(ipython.resolve()), True)},
            shown=() if image is None else (image,),
            home=HOME,
            own_tmp=True,
            network=False,
            disk=folder,
        )

    def environment(self, folder: Path, world: World | None) -> dict[str, str]:
        """Return the variables of a session; where there is no world of its own, the network is at least not used."""
        programs = os.pathsep.join([str(Path(sys.executable).parent), *PROGRAMS])
        packages = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
        found = {"PATH": programs, "PYTHONPATH": os.pathsep.join([sysconfig.get_path("stdlib"), *packages])}
        if world is not None:
            return found | {"IPYTHONDIR": IPYTHON}
        return found | {"IPYTHONDIR": str((folder / "ipython").resolve())} | NO_PROXY


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
"""What Kaggle's session has imported when it begins: https://github.com/Kaggle/docker-python/issues/1053."""


def _datasets(bundle: Path, folder: Path) -> dict[str, Path]:
    """Lay out the bundle as the datasets that `push` makes of it the first time."""
    places = {}
    for name, files in layers(packed_files(bundle), {}).items():
        places[name] = (folder / name).resolve()
        places[name].mkdir(parents=True)
        for file in files:
            shutil.copyfile(file.path, places[name] / file.flat)
    return places


def _lacking() -> list[str]:
    """Say what of Kaggle's world this system can't give, as it passes here what fails there."""
    able = abilities()
    if not able.worlds:
        return [
            f"this system gives no namespaces ({able.why_not}): the kernel could read this machine's files, write into "
            "them, and reach the network; what needs one of these passes here and fails on Kaggle. " + able.hint
        ]
    if not able.own_pids:
        return [f"the kernel saw this machine's processes ({able.why_not})"]
    return []


@contextmanager
def _bundle(built: BuiltKernel, notes: list[str]) -> Iterator[Path]:
    """Give the bundle with packages that this Python can install: the kernel's may be another."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    manifest = json.loads((built.bundle / MANIFEST).read_text(encoding="utf-8"))
    python = manifest["python"]
    if python == here:
        yield built.bundle
        return
    notes.append(f"rehearsed with Python {here} and the packages of this machine; the kernel has Python {python}")
    with tempfile.TemporaryDirectory(prefix="wb-bundle-") as folder:
        place = Path(folder) / "bundle"
        shutil.copytree(built.bundle, place)
        for wheel in (place / "wheels").glob("*.whl"):
            if not is_own_wheel(wheel.name):
                wheel.unlink()
        manifest["files"] = {n: h for n, h in manifest["files"].items() if (place / n).is_file()}
        (place / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        yield place


def check_hidden_submission(path: Path, rows: int, ids: tuple[str, ...]) -> None:
    """Check what a kernel predicted for a hidden test set of so many rows, whose columns `ids` name them.

    Raises
    ------
    DataError
        When rows are missing or too many, or predictions are missing or infinite.
    """
    frame = read_submission(path, ids)
    if frame.height != rows:
        raise DataError(f"of the hidden test set the kernel's submission has {frame.height:,} rows; expected {rows:,}")
    odd = sum(int((~c.is_finite()).sum() + c.null_count()) for c in frame if c.dtype.is_float())
    if odd:
        raise DataError(f"of the hidden test set {odd:,} predictions are missing or infinite")


def shown_data(raw: Path, slug: str, folder: Path) -> None:
    """Lay out a competition's files as Kaggle shows them to a notebook.

    The archive of all files, which is made for the download, is unpacked; other archives are files like any. What was
    unpacked here beside it is not shown.
    """
    archive = raw / f"{slug}.zip"
    if archive.is_file():
        unpack(archive, folder, wanted=lambda name: not link(raw / name, folder / name))
        return
    for path in raw.rglob("*"):
        if not path.name.startswith("."):
            link(path, folder / path.relative_to(raw))


def moved(submission: Path, public: pl.DataFrame, ids: tuple[str, ...]) -> tuple[float, int]:
    """Return how far the predictions of public rows differ in a larger test set; see `compared`.

    Raises
    ------
    DataError
        When some of them are missing there.
    """
    every = read_submission(submission, ids)
    inside = every.join(public.select(pl.col(ids).cast(pl.String)), on=list(ids), how="semi")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "public.csv"
        write_csv(inside, place)
        return compared(place, public, ids)
