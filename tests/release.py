"""Build a release and try it out as a user would: ``python -m tests.release [--out dist]``, which is `make release`.

The wheel and the source distribution are built from the commit, not from the folder: what is not committed is not in them.
Their content and metadata are checked. Each is then installed into an empty environment with the versions of
constraints.txt, and a competition goes from its file to a submission, in an empty folder with an empty home. Whatever is
not as expected ends it with exit code 1, and nothing is written into the output folder.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from email import message_from_string
from pathlib import Path

ROOT = Path(__file__).parents[1]

EXPERIMENTS = (
    'title = "all columns"\nfeatures = ["rows"]\n[model]\nnum_boost_round = 20\n',
    'title = "a ratio"\nbase = 1\nfeatures = ["rows", "ratio"]\n',
)
FEATURES = """from workbench.features import feature
import polars as pl


@feature
def ratio(rows):
    return [(pl.col("size") / (pl.col("age") + 1)).alias("ratio")]
"""


class ReleaseError(Exception):
    """The release is not as it should be."""


# ----------------------------------------------------------------------------------------------------------- the version


def version() -> str:
    """Return the version of pyproject.toml, the one place that has it."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def publication_problems(changelog: str, release: str, tag: str, changes: str) -> list[str]:
    """Return what stands against publishing a release under a tag.

    Parameters
    ----------
    changelog : str
        Its text: a heading has the version and the date, with a text, and nothing is unreleased.
    release, tag : str
        "0.2.0" and "v0.2.0".
    changes : str
        What `git status --porcelain` says.
    """
    headings = re.split(r"^## (.+)\n", changelog, flags=re.MULTILINE)[1:]
    texts = dict(zip(headings[::2], map(str.strip, headings[1::2]), strict=True))
    dated = [h for h in texts if re.fullmatch(rf"{re.escape(release)} \(\d{{4}}-\d\d-\d\d\)", h)]
    problems = [] if tag == f"v{release}" else [f"the version in pyproject.toml is {release}, the tag {tag}"]
    if not dated or not texts[dated[0]]:
        problems.append(f'CHANGELOG.md has no text under a heading "## {release} (YYYY-MM-DD)"')
    if texts.get("Unreleased"):
        problems.append(f'CHANGELOG.md has changes under "Unreleased": they belong under {release}')
    if changes:
        problems.append(f"changes that are not committed would not be in it:\n{changes.rstrip()}")
    return problems


# ----------------------------------------------------------------------------------------------------------- the content


def wheel_problems(names: Iterable[str], package_files: Iterable[str]) -> list[str]:
    """Return what a wheel has and must not have, and what it lacks.

    Parameters
    ----------
    names : iterable of str
        The paths in the wheel.
    package_files : iterable of str
        The files of the package in the repository: each must be in the wheel.
    """
    present, expected = set(names), set(package_files)
    allowed = re.compile(r"workbench/|kaggle_workbench\.py$|kaggle_workbench-[^/]+\.dist-info/")
    problems = [f"{name} does not belong into the wheel" for name in sorted(present) if not allowed.match(name)]
    for name in sorted(present):
        if name.startswith("workbench/") and name not in expected:
            problems.append(f"{name} is not in the repository")
    problems += [f"{name} is missing" for name in sorted(expected - present)]
    dist_info = {name.partition(".dist-info/")[2] for name in present if ".dist-info/" in name}
    wanted = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    return problems + [f"{name} of the metadata is missing" for name in wanted if name not in dist_info]


def sdist_problems(names: Iterable[str], package_files: Iterable[str]) -> list[str]:
    """Return what a source distribution has and must not have, and what it lacks; see `wheel_problems`."""
    present = {name.partition("/")[2] for name in names}
    expected = {*package_files, "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"}
    foreign = re.compile(r"(tests|docs|competitions|notebooks|submissions|build|dist|site|\.)")
    problems = [
        f"{name} does not belong into the source distribution" for name in sorted(present) if foreign.match(name)
    ]
    return problems + [f"{name} is missing" for name in sorted(expected - present)]


def metadata_problems(metadata: str, entry_points: str, release: str) -> list[str]:
    """Return what is wrong with the metadata of a wheel."""
    headers = message_from_string(metadata)
    expected = {
        "Name": "kaggle-workbench",
        "Version": release,
        "License-Expression": "MIT",
        "Requires-Python": ">=3.11",
        "Description-Content-Type": "text/markdown",
    }
    problems = [
        f"{name} of the metadata is {headers[name]!r}, expected {value!r}"
        for name, value in expected.items()
        if headers[name] != value
    ]
    if "# The workbench" not in str(headers.get_payload()):
        problems.append("the description is not the README")
    if "wb = kaggle_workbench:main" not in entry_points.splitlines():
        problems.append("the command wb is not an entry point")
    return problems


# ------------------------------------------------------------------------------------------------------------- the steps


def run(command: Sequence[str | Path], *, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command and return its output.

    Raises
    ------
    ReleaseError
        With the end of its output, if it fails.
    """
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        shown = " ".join(map(str, command))
        raise ReleaseError(f"{shown} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def say(text: str) -> None:
    print(text, flush=True)


def committed_tree(target: Path) -> Path:
    """Unpack the commit's files into a folder."""
    archive = target.with_suffix(".tar")
    run(["git", "archive", "--format=tar", f"--output={archive}", "HEAD"], cwd=ROOT)
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    return target


def build(source: Path, target: Path) -> tuple[Path, Path]:
    """Build the wheel, from the source distribution, and return the paths of both."""
    run([sys.executable, "-m", "build", "--outdir", target, source], cwd=source)
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return wheel, sdist


def check(wheel: Path, sdist: Path, source: Path, release: str) -> None:
    """Check the content and the metadata, and that the description can be shown by a package index."""
    package_files = [p.relative_to(source).as_posix() for p in (source / "workbench").rglob("*") if p.is_file()]
    package_files.append("kaggle_workbench.py")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        dist_info = f"kaggle_workbench-{release}.dist-info"
        problems = [f"wheel: {p}" for p in wheel_problems(names, package_files)]
        if f"{dist_info}/METADATA" in names:
            metadata, entry_points = (
                archive.read(f"{dist_info}/{n}").decode() for n in ("METADATA", "entry_points.txt")
            )
            problems += metadata_problems(metadata, entry_points, release)
        else:
            problems.append(f"the wheel {wheel.name} is not of version {release}")
    with tarfile.open(sdist) as tar:
        files = [member.name for member in tar.getmembers() if member.isfile()]
    problems += [f"source distribution: {p}" for p in sdist_problems(files, package_files)]
    if problems:
        raise ReleaseError("\n".join(problems))
    run([sys.executable, "-m", "twine", "check", "--strict", wheel, sdist], cwd=source)


def install(file: Path, folder: Path) -> Path:
    """Install a distribution into a new environment, in the pinned versions; return the environment's folder of programs."""
    run([sys.executable, "-m", "venv", folder], cwd=ROOT)
    programs = folder / "bin"
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run([*pip, "--constraint", ROOT / "constraints.txt", file], cwd=folder)
    run([programs / "python", "-m", "pip", "check"], cwd=folder)
    return programs


def write_flats(path: Path, n_rows: int = 400) -> None:
    """Write a small table with a target that its columns predict."""
    random_numbers = random.Random(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("id", "size", "age", "town", "dear"))
        for number in range(n_rows):
            size, age = random_numbers.uniform(20, 200), random_numbers.uniform(0, 80)
            score = size / (age + 10) + random_numbers.gauss(0, 1)
            table.writerow((number, round(size, 1), round(age, 1), random_numbers.choice("abc"), int(score > 3)))


def loop(programs: Path, folder: Path, release: str) -> None:
    """Go from a file to a submission with an installed `wb`, in an empty folder and with an empty home."""
    home, workspace = folder / "home", folder / "workspace"
    home.mkdir(parents=True)
    environment = {"HOME": str(home), "PATH": f"{programs}{os.pathsep}{os.defpath}", "LANG": "C.UTF-8"}

    def wb(*arguments: str, cwd: Path = workspace) -> str:
        return run([programs / "wb", *arguments], cwd=cwd, environment=environment)

    def expect(is_so: object, text: str) -> None:
        if not is_so:
            raise ReleaseError(text)

    expect(wb("--version", cwd=home).strip() == f"wb, version {release}", "wb --version has another version")
    where = "import workbench; print(workbench.__file__)"
    imported = run([programs / "python", "-c", where], cwd=folder, environment=environment).strip()
    expect(Path(imported).is_relative_to(programs.parent), f"the package is imported from {imported}")
    wb("init", str(workspace), cwd=folder)
    write_flats(folder / "flats.csv")
    options = ("--train", "../flats.csv", "--target", "dear", "--metric", "auc", "--holdout", "0.3")
    wb("rehearse", "flats", *options)
    wb("fetch", "flats")
    competition = workspace / "competitions" / "flats"
    (competition / "features.py").write_text(FEATURES, "utf-8")
    wb("new", "--title", "by wb new")
    for number, text in enumerate(EXPERIMENTS, 1):
        (competition / "experiments" / f"{number:03d}.toml").write_text(text, "utf-8")
    wb("run", "1,2")
    rows = json.loads(wb("table", "--json"))
    expect([row["exp"] for row in rows] == [1, 2], f"wb table has the experiments {[row['exp'] for row in rows]}")
    expect(all(row["cv_mean"] > 0.8 for row in rows), f"the CV is {[row['cv_mean'] for row in rows]}")
    wb("check")
    expect((competition / "check.html").exists(), "wb check wrote no page")
    sent = json.loads(wb("submit", "2", "--yes", "--wait", "--json"))
    expect(sent["public_score"] and sent["public_score"] > 0.7, f"the public score is {sent['public_score']}")
    expect("0." in wb("submissions"), "wb submissions has no score")
    wb("ledger", "rebuild")
    expect(len(json.loads(wb("table", "--json"))) == 2, "wb ledger rebuild lost a run")
    wb("doctor")


def make(scratch: Path, release: str) -> tuple[Path, Path]:
    """Build and try both distributions in a folder, and return their paths."""
    say(f"building {release} from the commit")
    source = committed_tree(scratch / "source")
    wheel, sdist = build(source, scratch / "built")
    check(wheel, sdist, source, release)
    for name, file in (("wheel", wheel), ("sdist", sdist)):
        say(f"installing {file.name}, and from a file to a submission with it")
        loop(install(file, scratch / f"{name}-environment"), scratch / name, release)
    return wheel, sdist


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the distributions go [dist]")
    parser.add_argument("--tag", help="the tag to publish it under, such as v0.2.0: also checks changelog and version")
    arguments = parser.parse_args()
    release = version()
    try:
        changes = run(["git", "status", "--porcelain"], cwd=ROOT)
        changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
        problems = publication_problems(changelog, release, arguments.tag or f"v{release}", changes)
        if problems and arguments.tag:
            raise ReleaseError("\n".join(problems))
        with tempfile.TemporaryDirectory(prefix="wb-release-") as scratch:
            built = make(Path(scratch), release)
            arguments.out.mkdir(parents=True, exist_ok=True)
            for path in built:
                shutil.copy2(path, arguments.out)
                say(f"{arguments.out / path.name}: {path.stat().st_size / 1e6:.1f} MB")
    except ReleaseError as exc:
        sys.exit(f"no release: {exc}")
    for problem in problems:
        say(f"not to be published yet: {problem}")


if __name__ == "__main__":
    main()
