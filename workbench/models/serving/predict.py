"""Predictions of a finished run for a test set that came later: what a code competition runs, without network."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.cache import read_json, write_json
from workbench.core.errors import ConfigError, DataError
from workbench.data.competition import Competition, load_competition
from workbench.data.ingest import convert, reading_options
from workbench.data.workspace import create_workspace
from workbench.features import AUTO, Blocks, build_matrix, columns_of, load_features
from workbench.models.encoding_split import split_of
from workbench.models.folds import load_folds
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.lightgbm.objectives import OBJECTIVE_KEYS
from workbench.models.lightgbm.parameters import lightgbm_for, transform_for
from workbench.models.records import ALL_ROWS, Problem
from workbench.models.registry import can
from workbench.models.serving.bundle import MODEL, Bundle, read_bundle
from workbench.models.serving.learned import COLUMNS, LearnedColumns, with_trained_rows
from workbench.models.serving.submission_file import submission_form, write_submission
from workbench.models.target import Target, read_target

__all__ = ["bundle_competition", "predict"]

Floats = npt.NDArray[np.float64]


def predict(
    bundle: str | Path,
    data: str | Path,
    *,
    out: str | Path = "submission.csv",
    work: str | Path | None = None,
    threads: int | None = None,
    memory_limit: int | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Predict the test rows that are in `data` with the models of a run, and write the submission.

    The tables are read, the features built, and the encodings learned from the train rows, as at home; ``auto`` does
    what it decided in the training. A test set that has grown, or has categories that nobody saw, or is filled where
    the other was empty, is one like any other. Features that depend on which rows the test set has are named.

    Parameters
    ----------
    bundle : path
        The folder with a bundle's manifest.
    data : path
        The competition's files, as ``/kaggle/input/SLUG`` has them.
    out : path
        The submission.
    work : path, optional
        Where tables and features go meanwhile; by default a folder that is removed at the end.

    Raises
    ------
    DamagedError
        When the bundle is not what was packed.
    DataError
        When the train rows, and with them the folds, are not those that the models were trained on, or the columns are
        not: what they are was decided in the training, and nothing of it is decided again.
    """
    packed = read_bundle(Path(bundle))
    if work is not None:
        return _predict(packed, Path(data), Path(out), Path(work), threads, memory_limit, report)
    with tempfile.TemporaryDirectory(prefix="wb-") as folder:
        return _predict(packed, Path(data), Path(out), Path(folder), threads, memory_limit, report)


def _predict(
    packed: Bundle,
    data: Path,
    out: Path,
    work: Path,
    threads: int | None,
    memory_limit: int | None,
    report: Callable[[str], None],
) -> Path:
    competition = bundle_competition(packed, data, work, memory_limit=memory_limit, report=report)
    target, folds = read_target(competition), load_folds(competition)
    if folds.content != packed.folds:
        raise DataError(
            f"the folds of {data} are not those that run {packed.run_id} was trained on: the train rows differ",
            hint="run the experiment again on these data, build and push",
        )
    spec, learned = packed.spec, LearnedColumns.read(packed.learned)
    blocks = Blocks(competition, load_features(competition), report, memory_limit, learned.plan)
    learned.check_rows(blocks, spec["features"])
    matrix = build_matrix(blocks, tuple(spec["features"]), drop=spec["drop"], categorical=spec["categorical"])
    packed_categories = json.loads(packed.files["models/categories.json"].read_text(encoding="utf-8"))
    learned.check_matrix(matrix, target)
    differing = [c for c in packed_categories if packed_categories[c] != matrix.categories.get(c)]
    if differing:
        raise DataError(
            f"the categories of the train rows in {data} are not those of run {packed.run_id}: "
            f"{', '.join(differing[:5])}"
        )
    _note_changes(blocks, spec, learned.changed(matrix), out, report)
    problem = Problem(matrix, target, folds, split_of(competition, folds), competition.metric)
    model = _model(packed, competition, target, threads)
    form = submission_form(competition, target)
    test = np.zeros((matrix.n_test, target.width))
    report(f"{len(packed.models)} models, {matrix.n_test:,} test rows")
    for index, where in enumerate(target.slices):
        learner = model.learner(problem, index)
        mine = [m for m in map(MODEL.fullmatch, packed.models) if m is not None and int(m[1]) == index]
        # Where there are models of all rows, the folds' gave the OOF. The order is that of the training, so that the
        # sums are the same to the last digit.
        full_fits = [m for m in mine if m[3]]
        for match in sorted(full_fits or mine, key=lambda m: (int(m[4]), int(m[2] or ALL_ROWS))):
            text = packed.files[f"models/{match[0]}"].read_text(encoding="utf-8")
            predictions = learner.predicted_by(text, int(match[2] or ALL_ROWS))
            test[:, where] += predictions / len(full_fits) if full_fits else predictions
        if not full_fits:
            test[:, where] /= len(mine)
    write_submission(competition, form, target, test, out)
    report(f"wrote {out}")
    return out


NOTES = "wb-notes.json"
"""What is to be said of the predictions lies beside them; where there is nothing to say it is not there."""


def _note_changes(
    blocks: Blocks, spec: dict[str, Any], changed: list[str], out: Path, report: Callable[[str], None]
) -> None:
    """Say which features are made of the test rows, too: what they give changes with the test set.

    Raises
    ------
    DataError
        When columns that are made of a row alone, or by the plan of ``auto``, have other values in train rows.
    """
    if not changed:
        return
    of: dict[str, list[str]] = {}
    for name in spec["features"]:
        feature_columns = columns_of(blocks, name)
        of.setdefault(name.partition(".")[0], []).extend(c for c in feature_columns if c in changed)
    fixed = [
        c for name in ("rows", AUTO if blocks.built_in(blocks.features[AUTO]) else "rows") for c in of.pop(name, ())
    ]
    if fixed:
        raise DataError(
            f"columns have other values in train rows than when the model was trained: {', '.join(fixed[:5])}",
            hint="are they read in another way? Their types under [types] in competition.toml hold for every test set",
        )
    named = "; ".join(f"{name} ({', '.join(columns[:5])})" for name, columns in of.items() if columns)
    note = (
        "features that give train rows other values than in training, for they depend on which rows the test set has, "
        f"or on chance: {named}"
    )
    report(note)
    write_json(out.with_name(NOTES), [note])


def bundle_competition(
    packed: Bundle,
    data: Path,
    work: Path,
    *,
    memory_limit: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Competition:
    """Return the competition that a bundle's definition and code and the data that are there make.

    Parameters
    ----------
    packed : Bundle
    data : Path
        The competition's files.
    work : Path
        Where its tables go: a workspace is made there.
    """
    workspace = replace(create_workspace(work), memory_limit=memory_limit)
    folder = workspace.competitions / packed.slug
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in packed.code():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    raw = folder / "data" / "raw"
    raw.parent.mkdir(parents=True, exist_ok=True)
    if not raw.exists():
        raw.symlink_to(data.resolve(), target_is_directory=True)
    trained = read_json(packed.learned[COLUMNS]) if COLUMNS in packed.learned else {}
    options = reading_options(folder, memory_limit)
    tables = folder / "data" / "tables"

    # A type that competition.toml names for a column goes before, as it did in the training.
    decided = {c: t for c, t in trained.get("types_as_read", {}).items() if c.partition(".")[2] not in options.types}
    try:
        as_trained = replace(options, types=decided | options.types)
        convert(raw, tables, packed.slug, options=as_trained, report=report)
    except DataError:
        # A value is spelled in a way that the training's files had not: whether it changes the meaning is seen later.
        convert(raw, tables, packed.slug, options=options, report=report)
    competition = load_competition(workspace, packed.slug)
    return with_trained_rows(competition, trained["rows"]) if trained else competition


def _model(packed: Bundle, competition: Competition, target: Target, threads: int | None) -> LightGBMSpec:
    spec, label = packed.spec, f"run {packed.run_id}"
    if not can(spec["kind"], "is_served"):
        raise ConfigError(f"{label} is of [{spec['kind']}]; models of LightGBM are served")
    transform = transform_for(spec.get("target_transform"), target, competition.metric, where=label)
    return lightgbm_for(
        competition,
        target,
        # The trees are stored; the objective is only needed to map raw scores to predictions.
        {key: value for key, value in spec["model"].items() if key in OBJECTIVE_KEYS},
        where=label,
        threads=threads,
        transform=transform,
        class_weight=spec.get("class_weight"),
    )
