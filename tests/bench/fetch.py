"""An archive of 1 GB from a server on this machine to Parquet: `wb fetch` against `kaggle`, `unzip` and a conversion.

The archive holds a train, a test and a sample file, about 2.2 GB of CSV. Both go through Kaggle's client and the same
server, which takes its share of the two cores from both. Theirs is `kaggle competitions download`, unpacking with
Python's `zipfile`, removing the archive, and the faster of the conversions of the bench `ingest`, polars.
The disk is what the folder holds, looked at 20 times a second.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from tests.bench.generated import ROWS_PER_GB, write_csv
from tests.bench.measured import row
from tests.wire import Server, served

REPEATS = 3
ROOT = Path(__file__).parents[2]
SLUG = "events"

THEIRS = """
import subprocess, sys, zipfile
from pathlib import Path
import polars as pl
kaggle, folder = sys.argv[1], Path(sys.argv[2])
subprocess.run([kaggle, "competitions", "download", "-c", "events", "-p", str(folder), "-q"], check=True)
archive = folder / "events.zip"
with zipfile.ZipFile(archive) as opened:
    opened.extractall(folder)
archive.unlink()
for path in folder.glob("*.csv"):
    pl.scan_csv(path, try_parse_dates=True).sink_parquet(path.with_suffix(".parquet"), compression="lz4")
"""


def cases(scale: float) -> list[dict[str, Any]]:
    measured: dict[str, list[tuple[float, float]]] = {"ours": [], "kaggle + unzip + polars": []}
    with tempfile.TemporaryDirectory() as folder, served() as server:
        here = Path(folder)
        megabytes = _host(server, here, int(2.1 * ROWS_PER_GB * scale))
        for i in range(REPEATS):
            for way, found in measured.items():
                place = here / f"{way[:4]}{i}"
                found.append(_run(way, place, os.environ | server.environment(here / "home")))
    seconds, disk = ({w: statistics.median(m[i] for m in found) for w, found in measured.items()} for i in (0, 1))
    return [
        row(f"archive of {megabytes:,.0f} MB", measure, unit, values.pop("ours"), values)
        for measure, unit, values in (("time", "s", seconds), ("peak disk", "MB", disk))
    ]


def _host(server: Server, here: Path, rows: int) -> float:
    """Write the files, pack them and host them; return the archive's size in MB."""
    write_csv(here / "train.csv", rows)
    write_csv(here / "test.csv", rows // 8, first_id=rows, target=False)
    sample = "".join(f"{i},0.5\n" for i in range(rows, rows + rows // 8))
    (here / "sample_submission.csv").write_text("id,target\n" + sample, encoding="utf-8")
    names = ("train.csv", "test.csv", "sample_submission.csv")
    with zipfile.ZipFile(here / "packed.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            archive.write(here / name, name)
    files = dict.fromkeys(names, b"")
    for name in names:
        (here / name).unlink()
    hosted = server.host(SLUG, files)
    hosted.archive_bytes = (here / "packed.zip").read_bytes()
    (here / "packed.zip").unlink()
    return len(hosted.archive_bytes) / 2**20


def _run(way: str, place: Path, env: dict[str, str]) -> tuple[float, float]:
    """Run one way in a new folder; return its seconds and the most that the folder held, in MB."""
    place.mkdir()
    kaggle = str(Path(sys.executable).parent / "kaggle")
    command = [sys.executable, "-c", THEIRS, kaggle, str(place)]
    if way == "ours":
        (place / "competitions").mkdir()
        command = [sys.executable, "-m", "workbench", "fetch", SLUG]
        env |= {"WB_WORKSPACE": str(place), "PYTHONPATH": str(ROOT)}
    most, stop = [0.0], threading.Event()

    def look() -> None:
        while not stop.wait(0.05):
            most[0] = max(most[0], _held(place))

    watcher = threading.Thread(target=look)
    watcher.start()
    started = time.perf_counter()
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    stop.set()
    watcher.join()
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr}")
    for path in sorted(place.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    return seconds, most[0]


def _held(folder: Path) -> float:
    """Return what a folder takes on the disk, in MB."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except OSError:
            continue  # gone since it was listed
    return total / 2**20
