"""What a run is to do: everything that decides its result, read and checked before the first second of work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import polars as pl

from workbench.core.cache import content_key
from workbench.core.errors import ConfigError, WorkbenchError
from workbench.data.competition import Competition
from workbench.data.workspace import Workspace
from workbench.experiments.capabilities import check_can
from workbench.experiments.earlier_keys import earlier_code_keys
from workbench.experiments.kinds import model_spec
from workbench.experiments.notebook_spec import NotebookSpec
from workbench.experiments.runner import UsedSource
from workbench.experiments.spec import ExperimentSpec, read_spec
from workbench.features import (
    Blocks,
    Feature,
    FeatureMatrix,
    FoldFeature,
    build_matrix,
    code_key,
    load_features,
    merged_in_float32,
    sparse_codes,
)
from workbench.models.encoding_split import split_of
from workbench.models.fold_data import FoldData, FoldTarget
from workbench.models.folds import Folds, load_folds
from workbench.models.full_fit import ROWS_POWER
from workbench.models.learner import ModelSpec
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.lightgbm.parameters import FILE_PARAMETERS
from workbench.models.records import DerivedData, MatrixCache, Problem
from workbench.models.registry import can
from workbench.models.row_weights import check_fold_weights
from workbench.models.serving import SubmissionForm, positive_labels, submission_form
from workbench.models.target import Target, read_target

__all__ = ["Plan", "fold_data", "make_plan", "matrix_of", "model_of", "problem_of", "sampled_rows", "untuned_key"]


@dataclass(frozen=True)
class Plan:
    """Everything that decides the result, read and checked before the first second of work."""

    competition: Competition
    spec: ExperimentSpec
    model: ModelSpec | NotebookSpec
    blocks: Blocks
    folds: Folds
    target: Target
    form: SubmissionForm
    sample: float | None
    key: str
    matrix_key: str
    target_key: str

    @property
    def folds_hash(self) -> str:
        """The key of the folds."""
        return self.folds.content

    @property
    def untuned(self) -> str:
        """The key of what is tuned: all that decides the result but ``[tune]`` and the seeds."""
        return content_key("untuned-v1", self.matrix_key, self.folds.content, self.target_key, self.model.content())

    def data_content(self) -> dict[str, str]:
        """Return the contents of the tables, and of train and test."""
        return {"data": self.competition.manifest.content, "rows": self.competition.rows.content_key}

    def details(self) -> dict[str, Any]:
        """Return which class of each target is positive, where that is recorded."""
        positive = positive_labels(self.competition, self.target)
        return {"positive": positive} if positive else {}

    def used_source(self) -> UsedSource:
        """Return what features and models use."""
        blocks, model = self.blocks, self.spec.model
        used = sorted(blocks.used(self.spec.features))
        files = [str(model[key]) for key in FILE_PARAMETERS if model.get(key)]
        files += [name for feature in used for name in _files_of(blocks, feature)]
        unused = [feature for feature in sorted(blocks.features) if feature not in used]
        spare = [name for feature in unused for name in _files_of(blocks, feature)]
        custom = [name for name in used if not blocks.built_in(blocks.features[name])]
        return UsedSource(features=tuple(custom), files=tuple(files), spare_files=tuple(spare))


def _files_of(blocks: Blocks, name: str) -> tuple[str, ...]:
    feature = blocks.features[name]
    return tuple(feature.files) if isinstance(feature, Feature) else ()


def make_plan(
    competition: Competition,
    spec: ExperimentSpec,
    blocks: Blocks,
    *,
    sample: float | None = None,
    threads: int | None = None,
    model: dict[str, Any] | None = None,
) -> Plan:
    """Read and check everything that decides the result of a run; `model` takes the place of its kind's table.

    Raises
    ------
    ConfigError, DataError, FeatureError
        When something is wrong with the definition, the data or a feature, or the experiment is not of rows.
    """
    with earlier_code_keys(competition, spec.number):
        return _checked_plan(competition, spec, blocks, sample=sample, threads=threads, table=model)


def _checked_plan(
    competition: Competition,
    spec: ExperimentSpec,
    blocks: Blocks,
    *,
    sample: float | None,
    threads: int | None,
    table: dict[str, Any] | None,
) -> Plan:
    if sample is not None and not 0 < sample < 1:
        raise ConfigError(f"--sample {sample}: expected a share of the rows between 0 and 1")
    check_can("plan rows", spec.kind, f"{spec.path} is a [{spec.kind}] experiment")
    if competition.definition.interactions is not None:
        raise ConfigError(
            f"{spec.path} is a [{spec.kind}] experiment, and the competition's task is 'recommend'",
            hint="add [recommend.history] in place of it; `wb new` writes the next experiment",
        )
    if sample is not None:
        check_can("sample", spec.kind, f"--sample: {spec.path} is a [{spec.kind}] experiment")
    features = [_feature_key(blocks, name, spec) for name in spec.features]
    target = read_target(competition)
    _check_encodings(blocks, spec, competition)
    trained = spec if table is None else replace(spec, model=table)
    model = model_spec(trained, competition, target, threads=threads)
    folds = load_folds(competition)
    check_fold_weights(target, folds)
    competition.ids.test_frame()  # not unique: better said now than after an hour of training
    form = submission_form(competition, target)
    d, metric_code = competition.definition, _metric_code(competition)
    # Only those who have such codes get other numbers than before they were renumbered.
    renumbered = sparse_codes(blocks, spec.features, spec.categorical)
    codes = [["codes-v2", renumbered]] if renumbered else []
    merging = _merging_columns(competition, every=can(spec.kind, "is_float32"))
    features += [content_key("in-64-bits", merging)] * bool(merging)
    # CatBoost once got infinite numbers as they were.
    infinite = infinite_columns(competition) if can(spec.kind, "infinite_is_missing") else []
    features += [content_key("infinite-is-missing", infinite)] * bool(infinite)
    # Classes in their usual order have never been part of a key.
    turned = [c.name for c in target.columns if c.is_turned]
    key = content_key(
        "run-v2",
        d.slug,
        spec.key_content(),
        features,
        competition.rows.content_key,
        folds.content,
        [
            list(d.targets),
            d.task,
            d.metric,
            competition.weights.key,
            *([d.query] if d.query else []),
            [*d.id_columns, *([d.id_in_test] if d.id_in_test else [])],
            *([["turned", *turned]] if turned else []),
            *([["needs", d.metric_needs]] if d.metric_needs not in (None, "value") else []),
            *_weighted_gini(competition),
            # Rounds that are fixed have always stayed; others once grew with the rows.
            *([["refit rounds", ROWS_POWER]] if _scales_rounds(spec, model) else []),
        ],
        metric_code,
        sample,
        model.content(),
        *codes,
    )
    matrix_key = content_key(
        "matrix-v1", features, competition.rows.content_key, sorted(spec.drop), sorted(spec.categorical), *codes
    )
    metric = competition.metric
    target_key = content_key(
        "target-v2",
        [list(d.targets), d.task, competition.weights.key, d.query, *([["turned", *turned]] if turned else [])],
        [metric.name, metric.greater_is_better, metric.needs, metric_code, *_weighted_gini(competition)],
    )
    return Plan(competition, spec, model, blocks, folds, target, form, sample, key, matrix_key, target_key)


def infinite_columns(competition: Competition) -> list[str]:
    """Return the columns of the tables that have an infinite number."""
    rows = competition.rows.scan()
    fractions = [c for c, t in rows.collect_schema().items() if t.is_float()]
    if not fractions:
        return []
    has_infinite = rows.select(pl.col(fractions).is_infinite().any()).collect(engine="streaming").row(0)
    return [c for c, is_there in zip(fractions, has_infinite, strict=True) if is_there]


def _scales_rounds(spec: ExperimentSpec, model: ModelSpec | NotebookSpec) -> bool:
    """Say whether models of all rows have another number of rounds than those of the folds."""
    return bool(spec.refit) and isinstance(model, LightGBMSpec) and bool(model.patience)


def _weighted_gini(competition: Competition) -> list[str]:
    """Return what a key has of the Gini coefficient, which has not always been weighted."""
    is_weighted = competition.metric.name == "gini" and competition.weights.metric is not None
    return ["weighted gini"] * is_weighted


def _merging_columns(competition: Competition, *, every: bool) -> list[str]:
    """Return the columns of the tables that 32 bits would merge, and that have not always been kept from that.

    Parameters
    ----------
    every : bool
        Of a library that takes 32 bits only all of them; of the others those with fractions.
    """
    d = competition.definition
    types = competition.manifest.table(d.tables.train, slug=d.slug).dtypes
    wide = [c for c in competition.rows.columns if types[c] in ("Float64", "Int32", "UInt32", "Int64", "UInt64")]
    train = competition.table(d.tables.train)
    columns = wide if every else [c for c in wide if types[c] == "Float64"]
    merged = merged_in_float32(train, columns, competition.n_train)
    if every or not merged:
        return sorted(merged)
    value = pl.col(list(merged))
    integral = train.select((value.drop_nulls() % 1 == 0).all()).head(1).collect(engine="streaming").row(0, named=True)
    return sorted(c for c in merged if not integral[c])


def _feature_key(blocks: Blocks, name: str, spec: ExperimentSpec) -> str:
    feature = name.partition(".")[0]
    if feature == "rows":
        # What "rows" leaves out besides the id has not always been left out.
        without = list(blocks.competition.ids.row_numbers) if name == "rows" else []
        return content_key(name, without) if without else name
    try:
        definition = blocks.get(feature)
    except WorkbenchError as exc:
        raise type(exc)(f"{spec.path}: {exc.message}", hint=exc.hint) from exc
    if isinstance(definition, FoldFeature) and feature != name:
        raise ConfigError(f"{spec.path}: {name!r}: {feature!r} depends on the fold and is taken whole")
    key = blocks.key(feature)
    if isinstance(definition, FoldFeature):
        # What it may learn from depends on more of [cv] than the folds tell.
        cv = blocks.competition.definition.cv
        key = content_key(key, cv.scheme, str(cv.gap), str(cv.purge), cv.column, cv.group)
    return f"{name}:{key}"


def _check_encodings(blocks: Blocks, spec: ExperimentSpec, competition: Competition) -> None:
    d = competition.definition
    for name in spec.features:
        feature = blocks.features.get(name)
        if isinstance(feature, FoldFeature):
            feature.check(d.task, d.targets)
            feature.check_columns(competition.rows.columns, blocks.features, competition.paths.features)


def _metric_code(competition: Competition) -> str:
    file, colon, name = competition.definition.metric.partition(":")
    return code_key(competition.folder / file, name) if colon else ""


def model_of(plan: Plan) -> ModelSpec:
    """Return the model that a plan trains.

    Raises
    ------
    ConfigError
        When nothing is trained here, as of a notebook.
    """
    spec = plan.spec
    check_can("train", spec.kind, f"{spec.path} is a [{spec.kind}] experiment")
    return cast("ModelSpec", plan.model)


def untuned_key(workspace: Workspace, competition: Competition, number: int) -> str:
    """Return the key of all that tuning an experiment begins with, as it now stands; see `ReadyExperiment`."""
    blocks = Blocks(competition, load_features(competition), lambda _: None, workspace.memory_limit)
    return make_plan(competition, read_spec(competition, number), blocks).untuned


def matrix_of(plan: Plan) -> FeatureMatrix:
    """Return the columns of a run; of a subsample run those of its train rows only."""
    matrix = build_matrix(plan.blocks, plan.spec.features, drop=plan.spec.drop, categorical=plan.spec.categorical)
    if plan.sample is None:
        return matrix
    return matrix.only_train(sampled_rows(plan))


def sampled_rows(plan: Plan) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the train rows of a subsample run."""
    n_rows = plan.target.n_rows
    size = max(1, round(n_rows * float(plan.sample or 1)))
    chosen = np.random.default_rng(0).choice(n_rows, size, replace=False)
    return np.sort(chosen).astype(np.int64)


def problem_of(plan: Plan, matrix: FeatureMatrix) -> Problem:
    """Return what is trained on: the columns with target, folds and metric."""
    target, folds, split = plan.target, plan.folds, split_of(plan.competition, plan.folds)
    if plan.sample is not None:
        rows = sampled_rows(plan)
        target, folds, split = target.take(rows), folds.take(rows), split.take(rows)
        check_fold_weights(target, folds)
    # A subsample run has rows of its own, and takes no time to bin.
    cache = MatrixCache(plan.blocks.store, content_key("bins-v2", plan.matrix_key)) if plan.sample is None else None
    return Problem(matrix, target, folds, split, plan.competition.metric, DerivedData(matrix, cache))


def fold_data(
    competition: Competition,
    features: Sequence[str],
    *,
    drop: Sequence[str] = (),
    categorical: Sequence[str] = (),
    memory_limit: int | None = None,
) -> FoldData:
    """Return the data of each fold, for a notebook that trains its own model; the target's first column counts.

    Parameters
    ----------
    features, drop, categorical
        As in an experiment's file.
    """
    blocks = Blocks(competition, load_features(competition), lambda _: None, memory_limit)
    matrix = build_matrix(blocks, features, drop=drop, categorical=categorical)
    folds = load_folds(competition)
    problem = Problem(matrix, read_target(competition), folds, split_of(competition, folds), competition.metric)
    return FoldData(FoldTarget(problem, 0, "none"))
