"""The files of experiments, `experiments/012.toml`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, create_model

from workbench.core.errors import ConfigError, NotFoundError, did_you_mean
from workbench.data.competition import Competition, StrictModel, move_above_hint, read_toml, validate
from workbench.experiments.capabilities import CAPABILITIES, capabilities_of
from workbench.experiments.feature_list import FeatureList, read_list
from workbench.models.lightgbm.parameters import primary_name
from workbench.models.registry import LIGHTGBM, MODEL_KINDS, has_capability

__all__ = [
    "KINDS",
    "OPTIONS",
    "ExperimentFile",
    "ExperimentFileOfAnyKind",
    "ExperimentSpec",
    "TuneSpec",
    "parse_keep",
    "parse_numbers",
    "read_spec",
]

KINDS = (*MODEL_KINDS, *CAPABILITIES)
"""The tables that select the kind of an experiment; a file has one of them."""


class _TuneTable(StrictModel):
    """The keys of ``[tune]``."""

    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The time limit of the search."""
    trials: int | None = Field(default=None, ge=1)
    """The maximum number of trials. The search ends with whichever limit comes first."""
    keep: int | str = 0
    """How many trials' OOF predictions to keep: a number, "top20", "all" or "none"."""
    seed: int = Field(default=0, ge=0)
    """The seed of the sampler."""
    holdout: bool = True
    """Search without the rows of the last fold, and score the result on them."""
    space: dict[str, Any] = Field(default_factory=dict)
    """The search space: a parameter's name with `{ low, high, log, step }` or `{ choices }`."""


class ExperimentFile(StrictModel):
    """The keys of an experiment's file that all kinds of experiments share."""

    title: str = ""
    """A short text for the table."""
    base: int | None = Field(default=None, ge=0)
    """The experiment that this one is based on. Tables are merged with the base's, lists are replaced."""
    features: list[str] | str | None = None
    """Names of `features.py`, "rows", "auto", columns such as "weather.rain"; or a list that `wb select` wrote."""
    drop: list[str] = Field(default_factory=list)
    """Columns to leave out."""
    categorical: list[str] = Field(default_factory=list)
    """Whole numbers that are codes. Text columns are always categorical."""
    seeds: list[int] = Field(default_factory=lambda: [1], min_length=1)
    """The seeds to train with; their predictions are averaged."""
    target_transform: str | None = None
    """Train on the transformed target: "log1p", "boxcox", "yeojohnson", "quantile" or "none".

    The default depends on the metric.
    """
    class_weight: str | dict[str, Any] | Literal[False] | None = None
    """The weights of classes in training: "balanced", or weights by class. `false` turns off the base's."""
    refit: bool = False
    """Predict test with one model per seed that is trained on all rows."""
    pseudo: dict[str, Any] | Literal[False] | None = None
    """Pseudo labels: `threshold` and `weight` of test rows that are added to training. `false` turns off the base's."""
    rounds: Literal["mean", "per fold"] = "mean"
    """One number of boosting rounds for all folds, or each fold's own best number, which makes the CV optimistic."""
    tune: _TuneTable | Literal[False] | None = None
    """Search parameters before training. `false` turns off the base's."""


ExperimentFileOfAnyKind: type[ExperimentFile] = create_model(
    "ExperimentFileOfAnyKind", __base__=ExperimentFile, **dict.fromkeys(KINDS, (dict[str, Any] | None, None))
)  # type: ignore[call-overload]


OPTIONS = tuple(dict.fromkeys(option for kind in MODEL_KINDS.values() for option in kind.options))
"""Keys that only some kinds of models have; `false` switches off a base's value."""

EARLIER_WORDS = {"allow_repeats": "again", "weighting": "recent", "custom": "own"}
"""Keys of ``[recommend]`` -> their names in earlier versions, which the keys of runs still have."""

KEEP_ALL = 10**9
"""More trials than any search has."""


@dataclass(frozen=True)
class TuneSpec:
    """The table ``[tune]``: the search for parameters before an experiment is trained.

    Attributes
    ----------
    minutes : float, or None
    trials : int, or None
        The search ends at the limit that is reached first.
    keep : int
        The number of trials whose OOF are kept.
    seed : int
        Of the sampler.
    space : dict
        The content of ``[tune.space]``; empty for the default space.
    holdout : bool
        Whether the validated rows of the last fold are excluded from the search, and score its result.
    """

    minutes: float | None = None
    trials: int | None = None
    keep: int = 0
    seed: int = 0
    space: dict[str, Any] = field(default_factory=dict)
    holdout: bool = True

    def content(self) -> dict[str, Any]:
        """Return the values that decide the result."""
        content = {"minutes": self.minutes, "trials": self.trials, "seed": self.seed, "space": self.space}
        return content if self.holdout else content | {"holdout": False}


def parse_keep(value: int | str, *, where: str) -> int:
    """Return the number of trials whose OOF are kept, for "top20", "all", "none", or a number.

    Raises
    ------
    ConfigError
        For anything else.

    Examples
    --------
    >>> parse_keep("top20", where="")
    20
    """
    text = str(value)
    number = text.removeprefix("top")
    if number.isdigit():
        return int(number)
    if text in ("all", "none"):
        return KEEP_ALL if text == "all" else 0
    raise ConfigError(f"{where}: keep = {value!r} is unknown", hint='keep = "top20", "all" or "none"')


@dataclass(frozen=True)
class ExperimentSpec:
    """An experiment, with the values of its bases.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    model : dict
        The content of the table `kind`.
    changes : tuple of str
        The differences from the base, a short text each: "+weather", "num_leaves 31 -> 63".
    feature_list : str, or None
        The name of the feature list that `features` comes from, where the file names one.
    ignored_notes : tuple of str
        Notes on settings for columns that the feature list dropped.
    rounds_per_fold : bool
        Whether each fold stops at its own best round, ``rounds = "per fold"``.
    """

    number: int
    title: str
    base: int | None
    kind: str
    features: tuple[str, ...]
    drop: tuple[str, ...]
    categorical: tuple[str, ...]
    seeds: tuple[int, ...]
    model: dict[str, Any]
    changes: tuple[str, ...]
    path: Path
    target_transform: str | None = None
    class_weight: str | dict[str, Any] | None = None
    refit: bool = False
    pseudo: dict[str, Any] | None = None
    feature_list: str | None = None
    ignored_notes: tuple[str, ...] = ()
    tune: TuneSpec | None = None
    rounds_per_fold: bool = False

    def content(self) -> dict[str, Any]:
        """Return the values that decide the result; the title is not one of them."""
        return {
            "kind": self.kind,
            "features": list(self.features),
            "drop": sorted(self.drop),
            "categorical": sorted(self.categorical),
            "seeds": list(self.seeds),
            "model": self._model_content(),
            **({"target_transform": self.target_transform} if self.target_transform else {}),
            **({"tune": self.tune.content()} if self.tune else {}),
            **({"class_weight": self.class_weight} if self.class_weight else {}),
            **({"refit": True} if self.refit else {}),
            **({} if self.pseudo is None else {"pseudo": self.pseudo}),
            **({"rounds": "per fold"} if self.rounds_per_fold else {}),
        }

    def _model_content(self) -> dict[str, Any]:
        if not capabilities_of(self.kind).predicts_rows:
            return _with_earlier_words(dict(self.model))
        ignored = MODEL_KINDS[self.kind].ignored if self.kind in MODEL_KINDS else ()
        return {k: v for k, v in self.model.items() if k not in ignored}

    def key_content(self) -> dict[str, Any]:
        """Return the content for a run's key, without "rounds", which the model's content has.

        So a run of an earlier version, which only had rounds per fold, has the key of an experiment that asks for them.
        """
        return {name: value for name, value in self.content().items() if name != "rounds"}


def read_spec(competition: Competition, number: int) -> ExperimentSpec:
    """Read an experiment's file and those of its bases.

    Raises
    ------
    NotFoundError
        When there is no such experiment, or its base is missing.
    ConfigError
        When a key or value is invalid, or the bases form a cycle.
    """
    files = _files_with_bases(competition, number)
    resolved: dict[str, Any] = {}
    base_content: dict[str, Any] = {}
    for content in reversed(files):
        base_content, resolved = resolved, _on_base(resolved, content)
    path = competition.paths.experiment(number)
    file = validate(ExperimentFileOfAnyKind, resolved, path)
    listed = read_list(competition, file.features, where=str(path)) if isinstance(file.features, str) else None
    ignored_notes: tuple[str, ...] = ()
    if listed is not None:
        file, ignored_notes = _with_list(file, listed, str(file.features))
    kind = _kind_of(resolved)
    if kind is None:
        tables = ", ".join(f"[{k}]" for k in KINDS[1:])
        raise ConfigError(
            f"{path}: no table selects the kind of experiment", hint=f"add [model] (LightGBM), or one of {tables}"
        )
    if not file.features and capabilities_of(kind).trains_models:
        raise ConfigError(
            f"{path}: features is missing or empty", hint='features = ["rows"] uses every column of the tables'
        )
    _refuse_repeats(file, path)
    _refuse_odd_values(resolved[kind], f"{path}: [{kind}]")
    return ExperimentSpec(
        number=number,
        title=files[0].get("title", ""),
        base=files[0].get("base"),
        kind=kind,
        features=tuple(file.features or ()),
        drop=tuple(file.drop),
        categorical=tuple(file.categorical),
        seeds=tuple(file.seeds),
        model=dict(resolved[kind]),
        changes=_changes(base_content, resolved) if files[0].get("base") is not None else (),
        path=path,
        target_transform=file.target_transform,
        class_weight=file.class_weight or None,
        refit=file.refit,
        pseudo=file.pseudo if file.pseudo is not False else None,
        feature_list=resolved["features"] if listed is not None else None,
        ignored_notes=ignored_notes,
        tune=_tune(file.tune, path),
        rounds_per_fold=file.rounds == "per fold",
    )


def _tune(tune: _TuneTable | Literal[False] | None, path: Path) -> TuneSpec | None:
    if tune is None or tune is False:
        return None
    if tune.minutes is None and tune.trials is None:
        raise ConfigError(f"{path}: [tune] has neither minutes nor trials", hint="minutes = 30, or trials = 100")
    keep = parse_keep(tune.keep, where=f"{path}: [tune]")
    return TuneSpec(tune.minutes, tune.trials, keep, tune.seed, dict(tune.space), tune.holdout)


def _with_list(file: ExperimentFile, listed: FeatureList, name: str) -> tuple[ExperimentFile, tuple[str, ...]]:
    """Insert the features of a list, and remove columns that the list dropped from `drop` and `categorical`.

    Names that the list does not have are kept: if they are misspelt, building the matrix raises.
    """
    changed: dict[str, Any] = {"features": list(listed.features)}
    ignored = []
    for key in ("drop", "categorical"):
        values = getattr(file, key)
        changed[key] = [v for v in values if v not in listed.gone]
        if key == "categorical":
            ignored += [
                f"categorical: {v!r} is not in the list {name!r}, which dropped it" for v in values if v in listed.gone
            ]
    return file.model_copy(update=changed), tuple(ignored)


def _files_with_bases(competition: Competition, number: int) -> list[dict[str, Any]]:
    """Return the raw content of the experiment's file, its base's, and so on."""
    contents: list[dict[str, Any]] = []
    numbers = [number]
    while True:
        path = competition.paths.experiment(numbers[-1])
        if not path.exists():
            nearby = sorted(competition.paths.experiment_numbers(), key=lambda n: abs(n - numbers[-1]))[:5]
            nearest = f"the nearest are {', '.join(map(str, sorted(nearby)))}; " if nearby else ""
            needed_by = f" (base of experiment {numbers[-2]})" if len(numbers) > 1 else ""
            raise NotFoundError(
                f"competition {competition.slug!r} has no experiment {numbers[-1]}{needed_by}: {path} is missing",
                hint=f"{nearest}`wb new` writes the next one",
            )
        data = read_toml(path)
        _refuse_misplaced(data, path)
        base = validate(ExperimentFileOfAnyKind, data, path).base
        _refuse_two_kinds(data, path)
        contents.append(data)
        if base is None:
            return contents
        if base in numbers:
            raise ConfigError(
                f"{path}: experiments build on each other in a circle: {' -> '.join(map(str, [*numbers, base]))}"
            )
        numbers.append(base)


def _refuse_two_kinds(data: dict[str, Any], path: Path) -> None:
    kinds = [k for k in KINDS if k in data]
    if len(kinds) > 1:
        raise ConfigError(
            f"{path} has the tables {' and '.join(f'[{k}]' for k in kinds)}: an experiment has one kind of model",
            hint="keep one, and write another experiment for the other: `wb new`",
        )


def _refuse_misplaced(data: dict[str, Any], path: Path) -> None:
    """Raise for keys of the experiment within its model's table, and parameters of the model above it."""
    kind_of_file = _kind_of(data) or LIGHTGBM.table
    library_tables = [table for table in MODEL_KINDS if has_capability(table, "stops_early")]
    for key in data:
        if key not in ExperimentFileOfAnyKind.model_fields and _is_parameter(key) and kind_of_file in library_tables:
            raise ConfigError(
                f"{path}: unknown key {key!r}: it is a parameter of the model, not a key of the experiment",
                hint=f"write {key} below the line [{kind_of_file}]",
            )
    for kind in library_tables:
        table = data.get(kind)
        for key in table if isinstance(table, dict) else ():
            if key in ExperimentFileOfAnyKind.model_fields:
                raise ConfigError(
                    f"{path}: {key!r} is a key of the experiment, but is below [{kind}]",
                    hint=move_above_hint(key, kind),
                )


def _is_parameter(key: str) -> bool:
    """Return whether a key is a parameter of LightGBM, and not a misspelt key of the experiment."""
    if did_you_mean(key, ExperimentFileOfAnyKind.model_fields).startswith("did you mean"):
        return False
    try:
        primary_name(key, where="")
    except ConfigError:
        return False
    return True


def _kind_of(data: dict[str, Any]) -> str | None:
    return next((k for k in KINDS if k in data), None)


def _on_base(base: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """Merge an experiment with its base; its kind of model replaces that of the base."""
    kind = _kind_of(content)
    inherited = {k: v for k, v in base.items() if kind is None or k not in KINDS or k == kind}
    if kind is not None:
        inherited = {k: v for k, v in inherited.items() if k not in OPTIONS or has_capability(kind, k)}
    if kind is not None and capabilities_of(kind).has_notebook:
        # The predictions of a notebook are not transformed.
        inherited.pop("target_transform", None)
    merged = _merged(inherited, content)
    return {k: v for k, v in merged.items() if v is not False or k not in OPTIONS}


def _merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Merge tables key by key; other values, including lists, are replaced."""
    merged = dict(base)
    for key, value in override.items():
        are_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if are_tables else value
    return merged


def _refuse_repeats(file: ExperimentFile, path: Path) -> None:
    for key in ("features", "drop", "categorical", "seeds"):
        values = getattr(file, key) or []
        repeated = [v for v in values if values.count(v) > 1]
        if repeated:
            raise ConfigError(f"{path}: {key} lists {repeated[0]!r} more than once", hint="once is enough")


def _refuse_odd_values(value: Any, where: str) -> None:
    """Raise for values that a run's record can't have: dates, NaN and infinities."""
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_odd_values(item, f"{where} {key}")
    elif isinstance(value, list):
        for item in value:
            _refuse_odd_values(item, where)
    elif not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"{where} = {value}: expected a text, a number, true or false, a list or a table of them")


def _changes(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """Return the differences between the merged content of the base and of the experiment, a short text each."""
    changes: list[str] = []
    old_features, new_features = (content.get("features") or [] for content in (before, after))
    has_list_name = isinstance(old_features, str) or isinstance(new_features, str)
    if has_list_name and old_features != new_features:
        old_text, new_text = (v if isinstance(v, str) else f"{len(v)} listed" for v in (old_features, new_features))
        changes.append(f"features {old_text} -> {new_text}")
    for key in ("drop", "categorical") if has_list_name else ("features", "drop", "categorical"):
        old, new = before.get(key) or [], after.get(key) or []
        prefix = "" if key == "features" else f"{key} "
        changes += [f"+{prefix}{v}" for v in new if v not in old] + [f"-{prefix}{v}" for v in old if v not in new]
    for key in ("target_transform", "class_weight", "refit", "pseudo", "rounds"):
        old_value, new_value = (d.get(key, "default") for d in (before, after))
        if old_value != new_value:
            changes.append(f"{key} {_short(old_value)} -> {_short(new_value)}")
    old_kind, new_kind = _kind_of(before), _kind_of(after)
    if old_kind != new_kind:
        changes.append(f"{old_kind} -> {new_kind}")
    # Only parameters of the same library can be compared.
    old_model, new_model = before.get(new_kind or "") or {}, after.get(new_kind or "") or {}
    if new_kind is not None and not capabilities_of(new_kind).predicts_rows:
        source_changes, (old_model, new_model) = _source_changes(old_model, new_model)
        changes += source_changes
    for key in sorted(old_model.keys() | new_model.keys()):
        if old_model.get(key) != new_model.get(key):
            changes.append(f"{key} {old_model.get(key, 'default')} -> {new_model.get(key, 'default')}")
    old_tune, new_tune = before.get("tune"), after.get("tune")
    if old_tune != new_tune:
        changes.append("-tune" if new_tune is None else "+tune" if old_tune is None else "tune changed")
    if before.get("seeds", [1]) != after.get("seeds", [1]):
        changes.append(f"seeds {before.get('seeds', [1])} -> {after.get('seeds', [1])}")
    return tuple(changes)


def _source_changes(
    before: dict[str, Any], after: dict[str, Any]
) -> tuple[list[str], tuple[dict[str, Any], dict[str, Any]]]:
    """Return the added and removed sources of a recommender, and the other settings by flat names: covisit.last."""
    old, new = ({k for k, v in model.items() if isinstance(v, dict)} for model in (before, after))
    changes = [f"+{k}" for k in after if k in new - old] + [f"-{k}" for k in before if k in old - new]
    settings = [{k: v for k, v in m.items() if k in old & new or k not in old | new} for m in (before, after)]
    return changes, (_flat(settings[0]), _flat(settings[1]))


def _with_earlier_words(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table with the keys of earlier versions, which the keys of runs have."""
    return {
        EARLIER_WORDS.get(key, key): _with_earlier_words(value) if isinstance(value, dict) else value
        for key, value in table.items()
    }


def _flat(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one table, whose keys are joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return flat


def _short(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_numbers(text: str) -> list[int]:
    """Return the experiment numbers of a text such as "3" or "3,5-7".

    Raises
    ------
    ConfigError
        For anything else.

    Examples
    --------
    >>> parse_numbers("3,5-7")
    [3, 5, 6, 7]
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise ConfigError(
                f"--exp {text!r}: {part.strip()!r} is not an experiment", hint="write numbers and ranges: 3,5-7"
            )
        numbers += [n for n in range(int(first), int(last or first) + 1) if n not in numbers]
    return numbers
