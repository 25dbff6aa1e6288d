"""Predict a new test set with the models of a finished run, as code competitions need it, without network."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.cache import read_json, write_json
from workbench.core.context import SILENT, RunContext, text_listener
from workbench.core.errors import ConfigError, DataError
from workbench.core.wording import counted
from workbench.data.competition import Competition, load_competition
from workbench.data.ingest import convert, reading_options
from workbench.data.workspace import create_workspace
from workbench.features import AUTO, Blocks, build_matrix, columns_of, is_built_in, load_features
from workbench.models.encoding_split import encoding_split
from workbench.models.folds import load_folds
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.lightgbm.parameters import lightgbm_spec, spec_for_target
from workbench.models.log_objectives import OBJECTIVE_KEYS
from workbench.models.records import FULL_DATA, Problem
from workbench.models.registry import has_capability
from workbench.models.serving.bundle import MODEL_FILE, Bundle, read_bundle
from workbench.models.serving.learned import COLUMNS, LearnedColumns, with_trained_rows
from workbench.models.serving.submission_file import submission_form, write_submission
from workbench.models.target import Target, read_target
from workbench.models.transforms import transform_for

__all__ = ["bundle_competition", "predict"]

PENDING_SHARE = 8
"""Predictions that wait for those of earlier models take up to an eighth of the memory limit."""

Floats = npt.NDArray[np.float64]


def predict(
    bundle: str | Path,
    data: str | Path,
    *,
    out: str | Path = "submission.csv",
    work: str | Path | None = None,
    memory_limit: int | None = None,
    context: RunContext | None = None,
) -> Path:
    """Predict the test rows in `data` with the models of a run, and write the submission.

    Tables are read, features built and encodings fitted on the train rows as in the run; ``auto`` follows the plan that
    it made in training. The test set may have more rows, new categories, and values in columns that were empty.
    Features that depend on which rows are in the test set are reported.

    Parameters
    ----------
    bundle : path
        The folder with a bundle's manifest.
    data : path
        The folder of the competition's files, as ``/kaggle/input/SLUG``.
    out : path
        The submission file to write.
    work : path, optional
        A folder for tables and features; by default a temporary one.
    memory_limit : int, optional
        In bytes.
    context : RunContext, optional
        By default messages are printed.

    Raises
    ------
    DamagedError
        When the bundle has changed since it was packed.
    DataError
        When the train rows or the columns are not those that the models were trained on.
    """
    context = RunContext((text_listener(print),)) if context is None else context
    packed = read_bundle(Path(bundle))
    if work is not None:
        return _predict(packed, Path(data), Path(out), Path(work), memory_limit, context)
    with tempfile.TemporaryDirectory(prefix="wb-") as folder:
        return _predict(packed, Path(data), Path(out), Path(folder), memory_limit, context)


def _predict(packed: Bundle, data: Path, out: Path, work: Path, memory_limit: int | None, context: RunContext) -> Path:
    competition = bundle_competition(packed, data, work, memory_limit=memory_limit, context=context)
    target, folds = read_target(competition), load_folds(competition)
    if folds.content != packed.folds:
        raise DataError(
            f"the folds of {data} are not those that run {packed.run_id} was trained on: the train rows differ",
            hint="run the experiment again on these data, build and push",
        )
    spec, learned = packed.spec, LearnedColumns.read(packed.learned)
    blocks = Blocks(competition, load_features(competition), context, memory_limit, learned.plan)
    learned.check_rows(blocks, spec["features"])
    matrix = build_matrix(blocks, tuple(spec["features"]), drop=spec["drop"], categorical=spec["categorical"])
    packed_categories = json.loads(packed.files["models/categories.json"].read_text(encoding="utf-8"))
    learned.check_matrix(matrix, target)
    changed_columns = [c for c in packed_categories if packed_categories[c] != matrix.categories.get(c)]
    if changed_columns:
        raise DataError(
            f"the categories of the train rows in {data} are not those of run {packed.run_id}: "
            f"{', '.join(changed_columns[:5])}"
        )
    _note_changes(blocks, spec, learned.changed(matrix), out, context)
    problem = Problem(matrix, target, folds, encoding_split(competition, folds), competition.metric)
    model = _model_spec(packed, competition, target, context.threads)
    form = submission_form(competition, target)
    test = np.zeros((matrix.n_test, target.width))
    context.say(f"{counted(len(packed.models), 'model')}, {counted(matrix.n_test, 'test row')}")
    for index, target_slice in enumerate(target.slices):
        learner = model.learner(problem, index)
        target_models = [m for m in map(MODEL_FILE.fullmatch, packed.models) if m is not None and int(m[1]) == index]
        # Full fits, if there are any, replace the folds' models. The order is that of the training, so that the sums
        # are equal bit for bit.
        full_fits = [m for m in target_models if m[3]]
        to_add = sorted(full_fits or target_models, key=lambda m: (int(m[4]), int(m[2] or FULL_DATA)))
        predictions: dict[str, Floats] = {}
        # Columns that depend on the fold are computed once for all seeds, unless too many predictions would wait.
        pending_bytes = len(to_add) * test[:, target_slice].nbytes
        by_fold = bool(matrix.fold_columns) and pending_bytes <= blocks.limit_bytes // PENDING_SHARE
        for match in sorted(to_add, key=lambda m: int(m[2] or FULL_DATA)) if by_fold else tuple(to_add):
            text = packed.files[f"models/{match[0]}"].read_text(encoding="utf-8")
            predictions[match[0]] = learner.predicted_by(text, int(match[2] or FULL_DATA))
            while to_add and to_add[0][0] in predictions:
                next_predictions = predictions.pop(to_add.pop(0)[0])
                test[:, target_slice] += next_predictions / len(full_fits) if full_fits else next_predictions
        if not full_fits:
            test[:, target_slice] /= len(target_models)
    write_submission(competition, form, target, test, out)
    context.say(f"wrote {out}")
    return out


NOTES = "wb-notes.json"
"""The file with notes on the predictions, next to the submission; not written without notes."""


def _note_changes(blocks: Blocks, spec: dict[str, Any], changed: list[str], out: Path, context: RunContext) -> None:
    """Report and write a note on the features that also depend on the test rows.

    Parameters
    ----------
    changed : list of str
        The columns with other values in train rows than in training.

    Raises
    ------
    DataError
        When some of them depend on the row alone, or on the plan of ``auto``.
    """
    if not changed:
        return
    changed_by_feature: dict[str, list[str]] = {}
    for name in spec["features"]:
        feature_columns = columns_of(blocks, name)
        changed_by_feature.setdefault(name.partition(".")[0], []).extend(c for c in feature_columns if c in changed)
    fixed_features = ("rows", AUTO) if is_built_in(blocks.features[AUTO]) else ("rows",)
    fixed_columns = [c for name in fixed_features for c in changed_by_feature.pop(name, ())]
    if fixed_columns:
        raise DataError(
            f"columns have other values in train rows than when the model was trained: {', '.join(fixed_columns[:5])}",
            hint="are they read in another way? Their types under [types] in competition.toml hold for every test set",
        )
    listed = "; ".join(f"{name} ({', '.join(columns[:5])})" for name, columns in changed_by_feature.items() if columns)
    note = (
        "features that give train rows other values than in training, for they depend on which rows the test set has, "
        f"or on chance: {listed}"
    )
    context.say(note)
    write_json(out.with_name(NOTES), [note])


def bundle_competition(
    packed: Bundle,
    data: Path,
    work: Path,
    *,
    memory_limit: int | None = None,
    context: RunContext = SILENT,
) -> Competition:
    """Make a workspace with the bundle's definition and code and the given data, and return its competition.

    Parameters
    ----------
    packed : Bundle
    data : Path
        The folder of the competition's files.
    work : Path
        The folder of the workspace.
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

    # Types in competition.toml have priority, as in training.
    trained_types = {
        c: t for c, t in trained.get("types_as_read", {}).items() if c.partition(".")[2] not in options.types
    }
    try:
        as_trained = replace(options, types=trained_types | options.types)
        convert(raw, tables, packed.slug, options=as_trained, context=context)
    except DataError:
        # Some values do not fit these types. Whether this changes values of the train rows is checked later.
        convert(raw, tables, packed.slug, options=options, context=context)
    competition = load_competition(workspace, packed.slug)
    return with_trained_rows(competition, trained["rows"]) if trained else competition


def _model_spec(packed: Bundle, competition: Competition, target: Target, threads: int | None) -> LightGBMSpec:
    """Return the settings of the bundle's model, as far as predictions need them."""
    spec, label = packed.spec, f"run {packed.run_id}"
    if not has_capability(spec["kind"], "is_served"):
        raise ConfigError(f"{label} is of [{spec['kind']}]; only models of LightGBM can be served")
    transform = transform_for(spec.get("target_transform"), target, competition.metric, where=label)
    # The trees are stored; the objective is only needed to convert their output to predictions.
    objective = {key: value for key, value in spec["model"].items() if key in OBJECTIVE_KEYS}
    model = lightgbm_spec(objective, where=label, threads=threads, transform=transform, competition=competition)
    return spec_for_target(model, target, competition.metric, class_weight=spec.get("class_weight"))
