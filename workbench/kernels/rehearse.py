"""A kernel rehearsed: run as Kaggle runs it, on the public test set and on a hidden one that nobody has seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from workbench.competition import Competition, as_written
from workbench.errors import ConfigError, DataError
from workbench.experiment import FinishedRun
from workbench.frames import read_csv
from workbench.ingest import sources_in, table_name, unpack
from workbench.kernels.build import BuiltKernel
from workbench.kernels.layers import layers, packed_files
from workbench.notebooks import Limits, execute, read_notebook
from workbench.serving import MANIFEST, compared

__all__ = ["HIDDEN_TIMES", "Rehearsed", "hidden_data", "rehearse"]

HIDDEN_TIMES = 1.5
"""The hidden test set has so many times the rows of the public one."""

UNSEEN = 0.1
"""In so many of its rows a category is one that nobody has seen."""


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
    """

    public: Path
    hidden: Path | None
    largest: float
    differing: int
    rows: tuple[int, int]
    seconds: tuple[float, float]
    peak_mb: float
    notes: tuple[str, ...]


def rehearse(
    competition: Competition,
    run: FinishedRun,
    built: BuiltKernel,
    *,
    memory: int | None = None,
    seconds: float | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Rehearsed:
    """Run a built kernel without network, with inputs that can only be read, and look at what it writes.

    Parameters
    ----------
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
        Where the system lets nobody make namespaces.
    """
    _check_namespaces()
    notes: list[str] = []
    raw = competition.folder / "data" / "raw"
    results = built.folder / "rehearsal"
    shutil.rmtree(results, ignore_errors=True)
    limits = Limits(seconds=seconds, memory=memory)
    as_ids = dict.fromkeys(competition.definition.id_columns, pl.String())
    own = read_csv(run.folder / "submission.csv", schema_overrides=as_ids)
    hidden, hidden_rows, hidden_seconds = None, 0, 0.0
    # Beside the bundle and not in /tmp, which may be small: the data are unpacked there.
    with tempfile.TemporaryDirectory(dir=built.folder, prefix=".input-") as folder:
        data, grown = Path(folder) / "public", Path(folder) / "hidden"
        report("the public test set")
        shown_data(raw, competition.slug, data)
        public = _run(competition, built, data, results / "public", limits, report, notes)
        largest, differing = compared(public.path, own, competition.definition.id_columns)
        peak = public.peak_mb
        made = hidden_data(competition, data, grown)
        if made is None:
            notes.append("the test set is no CSV or Parquet file of its own: there is no hidden one to try")
        else:
            report("a hidden test set")
            second = _run(competition, built, grown, results / "hidden", limits, report, notes)
            hidden, hidden_rows, hidden_seconds = second.path, made, second.seconds
            peak = max(peak, second.peak_mb)
            _check_hidden(second.path, made)
    return Rehearsed(
        public.path,
        hidden,
        largest,
        differing,
        (own.height, hidden_rows),
        (public.seconds, hidden_seconds),
        peak,
        tuple(dict.fromkeys(notes)),
    )


@dataclass(frozen=True)
class _Ran:
    path: Path
    seconds: float
    peak_mb: float


def _run(
    competition: Competition,
    built: BuiltKernel,
    data: Path,
    result: Path,
    limits: Limits,
    report: Callable[[str], None],
    notes: list[str],
) -> _Ran:
    result.mkdir(parents=True)
    notebook = read_notebook(built.notebook)
    with tempfile.TemporaryDirectory(prefix="wb-kernel-") as folder, _bundle(built, notes) as bundle:
        root, site = Path(folder) / "root", Path(folder) / "site"
        root.mkdir()
        site.mkdir()
        working = Path(folder) / "working"
        working.mkdir()
        mounts = {
            f"/kaggle/input/{competition.slug}": (str(data.resolve()), False),
            "/kaggle/working": (str(working), True),
            str(result.resolve()): (str(result.resolve()), True),
        }
        for name, place in _datasets(bundle, Path(folder) / "datasets").items():
            mounts[f"/kaggle/input/{built.name}-{name}"] = (str(place), False)
        job = Path(folder) / "job.json"
        job.write_text(json.dumps({"root": str(root), "mounts": mounts, "folder": "/kaggle/working"}), encoding="utf-8")
        done = execute(
            notebook,
            {},
            copy=result / "inference.ipynb",
            folder=Path("/kaggle/working"),
            # What the notebook installs goes there, and before what is installed here.
            environment=KAGGLES | {"PIP_TARGET": str(site), "PYTHONPATH": os.pathsep.join([str(site), *sys.path[1:]])},
            limits=limits,
            wrapped=(*UNSHARE, sys.executable, "-P", str(Path(__file__).with_name("inside.py")), str(job)),
            report=report,
        )
        written = working / "submission.csv"
        if not written.is_file():
            raise DataError("the kernel came to its end and left no submission.csv")
        shutil.copyfile(written, result / "submission.csv")
    return _Ran(result / "submission.csv", done.seconds, done.peak_mb)


def _datasets(bundle: Path, folder: Path) -> dict[str, Path]:
    """Lay out the bundle as the datasets that `push` makes of it the first time."""
    places = {}
    for name, files in layers(packed_files(bundle), {}).items():
        places[name] = (folder / name).resolve()
        places[name].mkdir(parents=True)
        for file in files:
            shutil.copyfile(file.path, places[name] / file.flat)
    return places


KAGGLES = {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "HOME": "/kaggle/working"}
"""What Kaggle's environment says; the home is not the user's."""

UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--mount")


def _check_namespaces() -> None:
    try:
        done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
        said = done.stderr.strip() if done.returncode else ""
    except OSError as exc:
        said = str(exc)
    if said:
        raise ConfigError(
            f"a rehearsal needs namespaces of its own, which this system does not give: {said}",
            hint="on Linux: sysctl kernel.unprivileged_userns_clone=1, or run it in a virtual machine",
        )


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
            if not wheel.name.startswith("workbench-"):
                wheel.unlink()
        manifest["files"] = {n: h for n, h in manifest["files"].items() if (place / n).is_file()}
        (place / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        yield place


def _check_hidden(path: Path, rows: int) -> None:
    frame = read_csv(path)
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
    folder.mkdir(parents=True, exist_ok=True)
    archive = raw / f"{slug}.zip"
    if archive.is_file():
        unpack(archive, folder, wanted=lambda name: not _link(raw / name, folder / name))
        return
    for path in sorted(p for p in raw.rglob("*") if p.is_file() and not p.name.startswith(".")):
        _link(path, folder / path.relative_to(raw))


def _link(file: Path, target: Path) -> bool:
    """Put a file there without its bytes; False where there is no such file.

    Not by a symbolic link: through that the file could be written, in a folder that can only be read.
    """
    if not file.is_file():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.resolve(), target)
    except OSError:  # another disk, or one without such links
        shutil.copyfile(file, target)
    return True


def hidden_data(competition: Competition, shown: Path, folder: Path) -> int | None:
    """Write the competition's files with a test set that is larger and has categories that nobody has seen.

    Parameters
    ----------
    shown : Path
        The files as they are.
    folder : Path
        Where the new ones go; what stays the same is linked.

    Returns
    -------
    int, or None
        Its rows; None where the test set is not a file of its own that we can write.
    """
    tables, manifest = competition.definition.tables, competition.manifest
    sources: dict[str, Path] = {}
    for name in (tables.test, tables.sample_submission):
        if name is None:
            continue
        files = [s.path for s in sources_in(shown) if s.member is None and table_name(s.name) == name]
        if len(files) != 1 or files[0].suffix not in (".csv", ".parquet"):
            return None
        sources[name] = files[0]
    ids = competition.definition.id_columns
    rows = 0
    for other in shown.rglob("*"):
        if other.is_file() and other not in sources.values():
            _link(other, folder / other.relative_to(shown))
    for name, path in sources.items():
        frame = competition.table(name).collect()
        grown = _grown(frame, ids, unseen=name == tables.test)
        target = folder / path.relative_to(shown)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            as_written(grown, manifest.table(name, slug=competition.slug).spelled).write_csv(target)
        else:
            grown.write_parquet(target)
        rows = grown.height if name == tables.test else rows
    return rows


def _grown(frame: pl.DataFrame, ids: tuple[str, ...], *, unseen: bool) -> pl.DataFrame:
    """Return the rows with more behind them: their ids are new, and some of their categories, too."""
    more = frame.head(int((HIDDEN_TIMES - 1) * frame.height) or 1)
    first = ids[0]
    if frame[first].dtype.is_numeric():
        above = int(frame[first].max() or 0) + 1  # type: ignore[arg-type]
        more = more.with_columns((pl.int_range(pl.len()) + above).cast(frame[first].dtype).alias(first))
    else:
        more = more.with_columns((pl.col(first).cast(pl.String) + "-hidden").alias(first))
    if unseen:
        texts = [c for c in more.columns if c not in ids and more[c].dtype == pl.String]
        every = round(1 / UNSEEN)
        more = more.with_columns(
            pl.when(pl.int_range(pl.len()) % every == 0).then(pl.lit("never seen before")).otherwise(pl.col(c)).alias(c)
            for c in texts
        )
    return pl.concat([frame, more.select(frame.columns)])
