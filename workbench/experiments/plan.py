"""The plan of a run: all that decides its result, read and checked before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

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
    is_built_in,
    load_features,
    merged_in_float32,
    sparse_codes,
)
from workbench.models.encoding_split import encoding_split
from workbench.models.fold_data import FoldData, FoldTarget
from workbench.models.folds import Folds, load_folds
from workbench.models.full_fit import FULL_FIT_POWER
from workbench.models.learner import ModelSpec
from workbench.models.lightgbm.learner import LightGBMSpec
from workbench.models.lightgbm.parameters import FILE_PARAMETERS
from workbench.models.records import DerivedData, MatrixCache, Problem
from workbench.models.registry import has_capability
from workbench.models.row_weights import check_fold_weights
from workbench.models.serving import SubmissionForm, positive_labels, submission_form
from workbench.models.target import Target, read_target

__all__ = ["Plan", "fold_data", "make_plan", "matrix_of", "model_of", "problem_of", "sampled_rows", "untuned_key"]


@dataclass(frozen=True)
class Plan:
    """All that decides the result of a run on rows, read and checked before anything is trained.

    Attributes
    ----------
    model : ModelSpec or NotebookSpec
    submission_form : SubmissionForm
        The columns and texts of the submission file.
    sample : float, or None
        The share of the train rows of a subsample run.
    key : str
        Runs with equal keys have equal results.
    matrix_key, target_key : str
        See `ReadyExperiment`.
    """

    competition: Competition
    spec: ExperimentSpec
    model: ModelSpec | NotebookSpec
    blocks: Blocks
    folds: Folds
    target: Target
    submission_form: SubmissionForm
    sample: float | None
    key: str
    matrix_key: str
    target_key: str

    @property
    def folds_hash(self) -> str:
        """The key of the folds."""
        return self.folds.content

    @property
    def untuned_key(self) -> str:
        """The key of what a search starts from: all that decides the result except ``[tune]`` and the seeds."""
        return content_key("untuned-v1", self.matrix_key, self.folds.content, self.target_key, self.model.content())

    def data_content(self) -> dict[str, str]:
        """Return keys of the content of all tables ("data") and of train and test ("rows")."""
        return {"data": self.competition.manifest.content, "rows": self.competition.rows.content_key}

    def details(self) -> dict[str, Any]:
        """Return the positive class of each target, where the run's record has it."""
        positive = positive_labels(self.competition, self.target)
        return {"positive": positive} if positive else {}

    def used_source(self) -> UsedSource:
        """Return the code and files that the features and the model use."""
        blocks, model = self.blocks, self.spec.model
        used_features = sorted(blocks.dependencies(self.spec.features))
        files = [str(model[key]) for key in FILE_PARAMETERS if model.get(key)]
        files += [file for name in used_features for file in _feature_files(blocks, name)]
        unused_features = [name for name in sorted(blocks.features) if name not in used_features]
        unused_files = [file for name in unused_features for file in _feature_files(blocks, name)]
        custom = [name for name in used_features if not is_built_in(blocks.features[name])]
        return UsedSource(features=tuple(custom), data_files=tuple(files), unused_data_files=tuple(unused_files))


def _feature_files(blocks: Blocks, name: str) -> tuple[str, ...]:
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
    """Read and check all that decides the result of a run on rows.

    Parameters
    ----------
    competition : Competition
    spec : ExperimentSpec
    blocks : Blocks
    sample : float, optional
        The share of the train rows of a subsample run.
    threads : int, optional
    model : dict, optional
        Replaces the model's table of the experiment.

    Raises
    ------
    ConfigError, DataError, FeatureError
        When something is wrong with the definition, the data or a feature, or the experiment does not predict rows.
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
    _check_sample(spec, sample)
    _check_predicts_rows(competition, spec)
    feature_keys = [_feature_key(blocks, name, spec) for name in spec.features]
    target = read_target(competition)
    _check_encodings(blocks, spec, competition)
    model = model_spec(spec if table is None else replace(spec, model=table), competition, target, threads=threads)
    folds = load_folds(competition)
    check_fold_weights(target, folds)
    competition.ids.test_frame()  # raises for duplicate ids now, not after an hour of training
    form = submission_form(competition, target)
    columns = _columns_content(competition, spec, blocks, feature_keys)
    metric_code = _metric_code(competition)
    key = content_key(
        "run-v2",
        competition.slug,
        spec.key_content(),
        columns.features,
        competition.rows.content_key,
        folds.content,
        _task_content(competition, target, scales_rounds=_scales_rounds(spec, model)),
        metric_code,
        sample,
        model.content(),
        *columns.codes,
    )
    matrix_key = content_key(
        "matrix-v1",
        columns.features,
        competition.rows.content_key,
        sorted(spec.drop),
        sorted(spec.categorical),
        *columns.codes,
    )
    target_key = _target_key(competition, target, metric_code)
    return Plan(competition, spec, model, blocks, folds, target, form, sample, key, matrix_key, target_key)


def _check_sample(spec: ExperimentSpec, sample: float | None) -> None:
    if sample is None:
        return
    if not 0 < sample < 1:
        raise ConfigError(f"--sample {sample}: expected a share of the rows between 0 and 1")
    check_can("sample", spec.kind, f"--sample: {spec.path} is a [{spec.kind}] experiment")


def _check_predicts_rows(competition: Competition, spec: ExperimentSpec) -> None:
    check_can("plan rows", spec.kind, f"{spec.path} is a [{spec.kind}] experiment")
    if competition.definition.interactions is not None:
        raise ConfigError(
            f"{spec.path} is a [{spec.kind}] experiment, and the competition's task is 'recommend'",
            hint="replace the table with [recommend.history]; `wb new` writes the next experiment",
        )


class _ColumnsContent(NamedTuple):
    """The part of a key that decides the values of the columns.

    Attributes
    ----------
    features : list of str
        A key of each feature, and of rules for numbers that earlier versions did not have.
    codes : list
        A version of the codes of categories, where an earlier version had others.
    """

    features: list[str]
    codes: list[Any]


def _columns_content(
    competition: Competition, spec: ExperimentSpec, blocks: Blocks, feature_keys: list[str]
) -> _ColumnsContent:
    # The following rules are newer than the first runs. They are in the keys only of runs whose numbers they change, so
    # that all others stay unchanged.
    merging = _merging_columns(competition, every=has_capability(spec.kind, "is_float32"))
    features = [*feature_keys, *[content_key("in-64-bits", merging)] * bool(merging)]
    infinite = infinite_columns(competition) if has_capability(spec.kind, "infinite_is_missing") else []
    features += [content_key("infinite-is-missing", infinite)] * bool(infinite)
    renumbered = sparse_codes(blocks, spec.features, spec.categorical)
    return _ColumnsContent(features, [["codes-v2", renumbered]] if renumbered else [])


def _task_content(competition: Competition, target: Target, *, scales_rounds: bool) -> list[Any]:
    """Return the part of a run's key that has the target, the task and the ids.

    As in `_columns_content`, optional entries are there only where they change a run's numbers.
    """
    d = competition.definition
    return [
        list(d.targets),
        d.task,
        d.metric,
        competition.weights.key,
        *([d.query] if d.query else []),
        [*d.id_columns, *([d.id_in_test] if d.id_in_test else [])],
        *_turned_classes(target),
        *([["needs", d.metric_needs]] if d.metric_needs not in (None, "value") else []),
        *_weighted_gini(competition),
        *([["refit rounds", FULL_FIT_POWER]] if scales_rounds else []),
    ]


def _target_key(competition: Competition, target: Target, metric_code: str) -> str:
    d, metric = competition.definition, competition.metric
    return content_key(
        "target-v2",
        [list(d.targets), d.task, competition.weights.key, d.query, *_turned_classes(target)],
        [metric.name, metric.greater_is_better, metric.prediction_type, metric_code, *_weighted_gini(competition)],
    )


def _turned_classes(target: Target) -> list[list[str]]:
    """Return the entry of a key for targets whose classes are not in their default order; empty without any."""
    turned = [c.name for c in target.columns if c.is_turned]
    return [["turned", *turned]] if turned else []


def infinite_columns(competition: Competition) -> list[str]:
    """Return the columns of train and test that contain infinite numbers."""
    rows = competition.rows.scan()
    float_columns = [c for c, t in rows.collect_schema().items() if t.is_float()]
    if not float_columns:
        return []
    has_infinite = rows.select(pl.col(float_columns).is_infinite().any()).collect(engine="streaming").row(0)
    return [c for c, contains in zip(float_columns, has_infinite, strict=True) if contains]


def _scales_rounds(spec: ExperimentSpec, model: ModelSpec | NotebookSpec) -> bool:
    """Return whether models of all rows have another number of rounds than those of the folds."""
    return bool(spec.refit) and isinstance(model, LightGBMSpec) and bool(model.patience)


def _weighted_gini(competition: Competition) -> list[str]:
    """Return the entry of a key for the weighted Gini coefficient, which earlier versions computed without weights."""
    is_weighted = competition.metric.name == "gini" and competition.weights.metric is not None
    return ["weighted gini"] * is_weighted


def _merging_columns(competition: Competition, *, every: bool) -> list[str]:
    """Return the columns with different values that 32-bit floats would merge; earlier versions did merge them.

    Parameters
    ----------
    competition : Competition
    every : bool
        True for a library that only takes 32-bit floats: all such columns. False: those with fractions.
    """
    d = competition.definition
    types = competition.manifest.table(d.tables.train, slug=d.slug).dtypes
    columns_64_bit = [
        c for c in competition.rows.columns if types[c] in ("Float64", "Int32", "UInt32", "Int64", "UInt64")
    ]
    train = competition.table(d.tables.train)
    columns = columns_64_bit if every else [c for c in columns_64_bit if types[c] == "Float64"]
    merged = merged_in_float32(train, columns, competition.n_train)
    if every or not merged:
        return sorted(merged)
    value = pl.col(list(merged))
    integral = train.select((value.drop_nulls() % 1 == 0).all()).head(1).collect(engine="streaming").row(0, named=True)
    return sorted(c for c in merged if not integral[c])


def _feature_key(blocks: Blocks, name: str, spec: ExperimentSpec) -> str:
    feature = name.partition(".")[0]
    if feature == "rows":
        # Earlier versions of "rows" excluded the id only, and not columns of row numbers.
        excluded = list(blocks.competition.ids.row_numbers) if name == "rows" else []
        return content_key(name, excluded) if excluded else name
    try:
        definition = blocks.get(feature)
    except WorkbenchError as exc:
        raise type(exc)(f"{spec.path}: {exc.message}", hint=exc.hint) from exc
    if isinstance(definition, FoldFeature) and feature != name:
        raise ConfigError(
            f"{spec.path}: {name!r}: {feature!r} depends on the fold: only all of its columns can be used"
        )
    key = blocks.key(feature)
    if isinstance(definition, FoldFeature):
        # The rows that it may learn from depend on more of [cv] than the folds.
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
        When its kind trains no models, such as a notebook.
    """
    spec = plan.spec
    check_can("train", spec.kind, f"{spec.path} is a [{spec.kind}] experiment")
    return cast("ModelSpec", plan.model)


def untuned_key(workspace: Workspace, competition: Competition, number: int) -> str:
    """Return the present key of what a search of an experiment starts from; see `ReadyExperiment`."""
    blocks = Blocks(competition, load_features(competition), memory_limit=workspace.memory_limit)
    return make_plan(competition, read_spec(competition, number), blocks).untuned_key


def matrix_of(plan: Plan) -> FeatureMatrix:
    """Return the columns of a run; in a subsample run, of its train rows only."""
    matrix = build_matrix(plan.blocks, plan.spec.features, drop=plan.spec.drop, categorical=plan.spec.categorical)
    if plan.sample is None:
        return matrix
    return matrix.only_train(sampled_rows(plan))


def sampled_rows(plan: Plan) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the indices of the train rows of a subsample run, ascending; the same ones for the same share."""
    n_rows = plan.target.n_rows
    size = max(1, round(n_rows * float(plan.sample or 1)))
    rows = np.random.default_rng(0).choice(n_rows, size, replace=False)
    return np.sort(rows).astype(np.int64)


def problem_of(plan: Plan, matrix: FeatureMatrix) -> Problem:
    """Return the columns of a run with target, folds and metric."""
    target, folds, split = plan.target, plan.folds, encoding_split(plan.competition, plan.folds)
    if plan.sample is not None:
        rows = sampled_rows(plan)
        target, folds, split = target.take(rows), folds.take(rows), split.take(rows)
        check_fold_weights(target, folds)
    # Bins are of all rows; those of a subsample run are computed quickly, and not cached.
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
    """Return the data of each fold, with the first target column, for a notebook that trains its own model.

    Parameters
    ----------
    competition : Competition
    features, drop, categorical
        As in an experiment's file.
    memory_limit : int, optional
        In bytes.
    """
    blocks = Blocks(competition, load_features(competition), memory_limit=memory_limit)
    matrix = build_matrix(blocks, features, drop=drop, categorical=categorical)
    folds = load_folds(competition)
    problem = Problem(matrix, read_target(competition), folds, encoding_split(competition, folds), competition.metric)
    return FoldData(FoldTarget(problem, 0, "none"))
