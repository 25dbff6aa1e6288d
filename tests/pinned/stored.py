"""The pinned workspaces as files, and what has to be the same in them whatever is moved or renamed.

Bit for bit stay: tables as fetched, folds, feature values, OOF, test predictions, the bytes of submissions, every key and
number of a record. What is exempt is named in `EXEMPT`. On a CPU whose vector instructions are others than those of the
one on which they were stored, sums are rounded otherwise, and a model that splits elsewhere for it is another model:
there feature values may differ by `OTHER_CPU`, and of what models gave only files, columns and keys are compared.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import polars as pl
from numpy._core._multiarray_umath import __cpu_features__ as cpu_features

from tests.pinned.making import Made, make
from workbench import features
from workbench.data.workspace import Workspace
from workbench.review.table import as_dicts

__all__ = ["FACTS", "differences", "features_of", "is_this_cpu", "read_facts", "store", "table_of", "unpack"]

FOLDER = Path(__file__).parent / "workspaces"
FACTS = "facts.json"
"""Beside the workspace in its archive: the competition, its experiments, their table, the CPU."""

EXEMPT = {
    *(
        "run_id",
        "created_at",
        "finished_at",
        "seconds",
        "peak_rss_mb",
        "peak_mb",
        "git_commit",
        "workspace",
        "folder",
        "memory",
    ),
    # Keys of caches and of runs; what they stand for is compared itself.
    *("key", "data", "rows", "code", "files", "folds_hash", "source"),
    # Of what is installed.
    *("versions", "lightgbm", "xgboost", "catboost", "scikit-learn", "sklearn", "python", "estimator"),
    # Of a file's place and moment.
    *("mtime_ns", "stamp", "sha256", "size_bytes", "executed", "run", "finished", "time"),
}
LATER_FILES = {"events.jsonl"}
"""Of runs; those that are stored were made before there were any."""
OTHER_CPU = 1e-6
SUMMED_IN_THREADS = {"by_town"}
"""Features with sums of fractions in groups: polars adds up in whichever order its threads come to an end."""


def is_this_cpu(facts: dict[str, Any]) -> bool:
    """Say whether the machine has the vector instructions of the one on which a workspace was stored."""
    return bool(facts["cpu"] == _cpu())


def _cpu() -> list[str]:
    return sorted(name for name, has in cpu_features.items() if has)


def features_of(made: Made) -> dict[str, pl.DataFrame]:
    """Return the values of each feature that does not depend on the fold, in the order of rows."""
    if made.open.access.competition.definition.interactions is not None:
        return {}
    of_fold = {s.name for s in made.open.features.summaries() if s.kind == "fold"}
    names = sorted({*made.open.features} - of_fold)
    return {name: made.open.feature(name).collect().sort(features.ROW) for name in names}


def table_of(made: Made) -> list[dict[str, Any]]:
    """Return the rows of ``wb table --json``."""
    return json.loads(json.dumps(as_dicts(made.open.table()), default=str))  # type: ignore[no-any-return]


def store(name: str, scratch: Path) -> Path:
    """Make a workspace, and write it as an archive."""
    root = scratch / name
    made = make(name, root)
    values = root / "values"
    values.mkdir()
    for feature, frame in features_of(made).items():
        frame.write_parquet(values / f"{feature}.parquet")
    facts = {"slug": made.slug, "numbers": made.numbers, "table": table_of(made), "cpu": _cpu()}
    (root / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.tar.xz"
    with tarfile.open(path, "w:xz", format=tarfile.PAX_FORMAT, preset=9) as archive:
        archive.add(root, name, filter=_kept)
    return path


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    folders = Path(member.name).parts
    if "cache" in folders or folders[1:2] == ("source",) or member.name.endswith((".lock", "log.parquet")):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def unpack(name: str, folder: Path) -> Made:
    """Write a stored workspace into a folder."""
    with tarfile.open(FOLDER / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    facts = read_facts(folder / name)
    return Made(Workspace(folder / name), facts["slug"], tuple(facts["numbers"]))


def read_facts(root: Path) -> dict[str, Any]:
    return json.loads((root / FACTS).read_text())  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------------------------- comparing


def differences(stored: Made, made: Made, *, exactly: bool) -> list[str]:
    """Return what a workspace has otherwise than the stored one, a line each."""
    found: list[str] = []
    values = features_of(made)
    for path in sorted((stored.workspace.root / "values").glob("*.parquet")):
        exact = exactly and path.stem not in SUMMED_IN_THREADS
        found += _of_frames(path.stem, pl.read_parquet(path), values.get(path.stem), exactly=exact)
    for place in ("data/tables", "data/folds"):
        found += _of_folders(place, stored.folder / place, made.folder / place, exactly=exactly)
    stored_runs, made_runs = ([row.run for row in m.open.table()] for m in (stored, made))
    names = [[(r.exp, r.status) for r in runs] for runs in (stored_runs, made_runs)]
    if names[0] != names[1]:
        return [*found, f"runs: {names[0]} != {names[1]}"]
    for old, new in zip(stored_runs, made_runs, strict=True):
        folders = stored.workspace.root / old.folder, made.workspace.root / new.folder
        found += _of_folders(f"run of {old.exp}", *folders, exactly=exactly)
    found += _of_values("table", read_facts(stored.workspace.root)["table"], table_of(made), exactly=exactly)
    return found


def _of_folders(what: str, stored: Path, made: Path, *, exactly: bool) -> list[str]:
    names = sorted(str(p.relative_to(stored)) for p in stored.rglob("*") if p.is_file() and "source" not in p.parts)
    others = sorted(str(p.relative_to(made)) for p in made.rglob("*") if p.is_file() and "source" not in p.parts)
    others = [n for n in others if n not in LATER_FILES or n in names]
    found = [] if names == others else [f"{what}: files {names} != {others}"]
    for name in {*names} & {*others}:
        old, new = stored / name, made / name
        if name.endswith(".parquet"):
            frames = pl.read_parquet(old), pl.read_parquet(new)
            if not exactly and what.startswith("run"):
                frames = frames[0].clear(), frames[1].clear()
            found += _of_frames(f"{what}, {name}", *frames, exactly=exactly)
        elif name.endswith(".json"):
            values = json.loads(old.read_text()), json.loads(new.read_text())
            found += _of_values(f"{what}, {name}", *values, exactly=exactly)
        elif name == "submission.csv" and exactly and old.read_bytes() != new.read_bytes():
            found.append(f"{what}: the bytes of {name}")
    return found


def _of_frames(what: str, stored: pl.DataFrame, made: pl.DataFrame | None, *, exactly: bool) -> list[str]:
    if made is None or stored.schema != made.schema or stored.height != made.height:
        return [f"{what}: {stored.schema} of {stored.height} != {made if made is None else made.schema}"]
    found = []
    for name in stored.columns:
        old, new = stored[name], made[name]
        if old.dtype.is_float() and not exactly:
            equal = np.allclose(old.to_numpy(), new.to_numpy(), rtol=OTHER_CPU, atol=OTHER_CPU, equal_nan=True)
        else:
            equal = old.equals(new, null_equal=True)
        if not equal:
            found.append(f"{what}: the values of {name}")
    return found


def _of_values(what: str, stored: Any, made: Any, *, exactly: bool) -> list[str]:
    if isinstance(stored, dict) and isinstance(made, dict):
        if stored.keys() != made.keys():
            return [f"{what}: keys {sorted(stored)} != {sorted(made)}"]
        compared = [k for k in stored if k not in EXEMPT]
        return [line for k in compared for line in _of_values(f"{what}.{k}", stored[k], made[k], exactly=exactly)]
    if isinstance(stored, list) and isinstance(made, list) and len(stored) == len(made):
        pairs = enumerate(zip(stored, made, strict=True))
        return [line for k, (a, b) in pairs for line in _of_values(f"{what}[{k}]", a, b, exactly=exactly)]
    if (
        not exactly
        and isinstance(stored, int | float | list | NoneType)
        and isinstance(made, int | float | list | NoneType)
    ):
        return []
    return [] if stored == made else [f"{what}: {stored!r} != {made!r}"]
