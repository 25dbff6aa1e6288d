"""The ``[recommend]`` table of an experiment and its checks."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workbench.core.distribution import version_of
from workbench.core.errors import ConfigError, did_you_mean
from workbench.core.integers import integer_from
from workbench.data.competition import Competition
from workbench.experiments.spec import EARLIER_WORDS, ExperimentSpec
from workbench.features import code_key
from workbench.platforms.interactions import parse_duration
from workbench.recommender import SOURCES, CustomSource, RankerSpec, RecommenderSpec
from workbench.recommender.extra import need_compiler

__all__ = ["RecommendSpec", "recommend_spec"]

KEY_NAME_BY_SOURCE = {source: f"{EARLIER_WORDS.get(name, name).capitalize()}Source" for name, source in SOURCES.items()}
"""Class of source -> its name in the keys of runs, which must not change."""

OWN_KEYS = ("candidates", "validation_users", "allow_repeats", "ranker")
"""Keys of the table that are not sources."""

PRESENT_NAME_BY_EARLIER = {earlier: present for present, earlier in EARLIER_WORDS.items()}
"""Keys in files of earlier versions -> their present names."""

MAX_CANDIDATES = 10_000
"""The maximum number of rows in a query of LightGBM."""


@dataclass(frozen=True)
class RecommendSpec:
    """The recommender of an experiment.

    Attributes
    ----------
    recommender : RecommenderSpec
    code : dict
        Source with a custom function -> the key of its code.
    threads : int, or None
    """

    recommender: RecommenderSpec
    code: dict[str, str]
    threads: int | None

    def content(self) -> dict[str, Any]:
        """Return the values that decide the result."""
        recommender = self.recommender
        return {
            # A list, as round robin depends on the order.
            "sources": [[name, KEY_NAME_BY_SOURCE[type(s)], _key_fields(s)] for name, s in recommender.sources.items()],
            "candidates": recommender.candidates,
            "validation_users": recommender.validation_users,
            "again": recommender.allow_repeats,
            "ranker": None if recommender.ranker is None else _ranker_content(recommender.ranker),
            "lightgbm": version_of("lightgbm"),
            "code": self.code,
        }


def _ranker_content(ranker: RankerSpec) -> dict[str, Any]:
    """Return the values of a ranker; `rounds` is omitted at "per fold", for the keys of versions without that field."""
    return {k: v for k, v in _key_fields(ranker).items() if (k, v) != ("rounds", "per fold")}


def _key_fields(spec: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by their names in the keys of runs."""
    return {EARLIER_WORDS.get(k, k): list(v) if isinstance(v, tuple) else v for k, v in asdict(spec).items()}


def recommend_spec(spec: ExperimentSpec, competition: Competition, *, threads: int | None = None) -> RecommendSpec:
    """Return the recommender of an experiment's ``[recommend]`` table, after checking it.

    Each table in it is a source, ``[recommend.covisit]``, or several of one kind, ``[recommend.covisit.NAME]``. Missing
    keys get the source's default. Durations are texts, ``window = "24h"``; `false` means no limit or no source.

    Raises
    ------
    ConfigError
        For an unknown source or key, or an invalid value.
    """
    need_compiler()
    where = f"{spec.path}: [recommend]"
    table = dict(spec.model)
    _check_keys(table, where)
    sources = _sources(table, where)
    if not sources:
        raise ConfigError(f"{where} has no source of candidates", hint=f"add one of {', '.join(SOURCES)}")
    if spec.rounds_per_fold:
        raise ConfigError(f'{spec.path}: rounds = "per fold" must be under [recommend.ranker]', hint="move it there")
    ranker_setting = table.get("ranker", False)
    ranker = None if ranker_setting is False else _dataclass_from_table(RankerSpec, ranker_setting, f"{where} ranker")
    if ranker is not None:
        ranker.lightgbm(_k_of(competition), where=f"{where} ranker", threads=threads)
    repeats_key = "again" if "again" in table else "allow_repeats"
    allow_repeats = table.get(repeats_key, True)
    if not isinstance(allow_repeats, bool):
        raise ConfigError(f"{where} {repeats_key} = {allow_repeats!r}: expected true or false")
    candidates = integer_from(table.get("candidates", 100), f"{where} candidates", 1)
    if candidates > MAX_CANDIDATES:
        raise ConfigError(f"{where} candidates = {candidates}: LightGBM ranks at most {MAX_CANDIDATES:,} candidates")
    code_keys = {n: _code_key(competition, s.function) for n, s in sources.items() if isinstance(s, CustomSource)}
    return RecommendSpec(
        RecommenderSpec(
            sources=sources,
            candidates=candidates,
            ranker=ranker,
            validation_users=_integer_or_none(table.get("validation_users", False), f"{where} validation_users"),
            allow_repeats=allow_repeats,
        ),
        code_keys,
        threads,
    )


def _check_keys(table: dict[str, Any], where: str) -> None:
    keys = (*OWN_KEYS, *SOURCES)
    for key in table:
        if PRESENT_NAME_BY_EARLIER.get(key, key) not in keys:
            raise ConfigError(f"{where} has an unknown key {key!r}", hint=did_you_mean(key, keys, kind="key"))
        if PRESENT_NAME_BY_EARLIER.get(key) in table:
            raise ConfigError(
                f"{where} has {key} and {PRESENT_NAME_BY_EARLIER[key]}, which mean the same", hint=f"remove {key}"
            )


def _sources(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the sources by name, in the order of the table."""
    sources: dict[str, Any] = {}
    for key, setting in table.items():
        kind = PRESENT_NAME_BY_EARLIER.get(key, key)
        if kind not in SOURCES:
            continue
        for name, values in _tables_by_name(key, kind, setting, where):
            if name in sources:
                raise ConfigError(f"{where} has two sources with the name {name!r}", hint="rename one")
            sources[name] = _dataclass_from_table(
                SOURCES[kind], values, f"{where} {key if name == key else f'{key}.{name}'}"
            )
    return sources


def _k_of(competition: Competition) -> int:
    """Return the list length k of the metric; 0 for metrics without one."""
    return int(competition.metric.number or 0)


def _code_key(competition: Competition, reference: str) -> str:
    """Return the key of a custom function's code, after checking that it can be loaded."""
    competition.load_function(reference)
    file, _, name = reference.partition(":")
    return code_key(competition.folder / file, name)


def _integer_or_none(value: Any, where: str) -> int | None:
    return None if value is False else integer_from(value, where, 1)


def _tables_by_name(key: str, kind: str, setting: Any, where: str) -> list[tuple[str, Any]]:
    """Return the name and the table of each source of a kind; a single source has the name of its key."""
    if setting is False:
        return []
    if not isinstance(setting, dict):
        raise ConfigError(f"{where} {key} = {setting!r}: expected a table, or false for no source")
    field_names = {f.name for f in dataclasses.fields(SOURCES[kind])}
    option_names = field_names | {EARLIER_WORDS[name] for name in field_names & EARLIER_WORDS.keys()}
    if setting and all(isinstance(v, dict) or v is False for v in setting.values()) and not option_names & set(setting):
        return [(name, table) for name, table in setting.items() if table is not False]
    return [(key, setting)]


def _dataclass_from_table(template: Any, table: Any, where: str) -> Any:
    """Return a dataclass with the values of a table.

    Parameters
    ----------
    template : type or dataclass
        The class, or an instance with the defaults of missing keys.
    table : dict
        Other types are rejected.
    where : str
        The table's name, for errors.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{where} = {table!r}: expected a table")
    cls = template if isinstance(template, type) else type(template)
    hints, fields = typing.get_type_hints(cls), {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        present_name = PRESENT_NAME_BY_EARLIER.get(key, key)
        name = present_name if present_name in fields else f"{key}_s"
        if name in values:
            earlier = EARLIER_WORDS[name]
            raise ConfigError(f"{where} has {earlier} and {name}, which mean the same", hint=f"remove {earlier}")
        if name not in fields:
            keys = [PRESENT_NAME_BY_EARLIER.get(name, name.removesuffix("_s")) for name in fields]
            raise ConfigError(f"{where} has an unknown key {key!r}", hint=did_you_mean(key, keys, kind="key"))
        default = fields[name].default if isinstance(template, type) else getattr(template, name)
        values[name] = _field_value(value, hints[name], default, f"{where} {key}", is_duration=name == f"{key}_s")
    missing = [
        f.name
        for f in fields.values()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in values
    ]
    if isinstance(template, type) and missing:
        raise ConfigError(f"{where} needs {missing[0]}", hint=f'add {missing[0]} = "…"')
    try:
        return cls(**values) if isinstance(template, type) else dataclasses.replace(template, **values)
    except ConfigError as exc:
        raise ConfigError(f"{where}: {exc.message}", hint=exc.hint) from exc


def _field_value(value: Any, hint: Any, default: Any, where: str, *, is_duration: bool) -> Any:
    """Return a TOML value converted to the type of a field."""
    allowed_types = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if value is False and type(None) in allowed_types:
        return None
    expected = next(o for o in allowed_types if o is not type(None))
    if dataclasses.is_dataclass(expected):
        return _dataclass_from_table(default if dataclasses.is_dataclass(default) else expected, value, where)
    if is_duration:
        seconds = _seconds(value, where)
        return int(seconds) if expected is int else seconds
    converted = _as_type(value, typing.get_origin(expected) or expected)
    if converted is None:
        type_names = {
            int: "a whole number",
            float: "a number",
            str: "a string",
            bool: "true or false",
            tuple: "a list of strings",
        }
        raise ConfigError(
            f"{where} = {value!r}: expected {type_names.get(typing.get_origin(expected) or expected, 'a table')}"
        )
    return converted


def _as_type(value: Any, expected: Any) -> Any:
    """Return a TOML value as the expected type; None where it has another type."""
    if expected is tuple and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if expected is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    is_expected = isinstance(value, dict) if expected is Mapping else type(value) is expected
    return value if is_expected else None


def _seconds(value: Any, where: str) -> float:
    duration = parse_duration(value) if isinstance(value, str) else None
    if duration is None:
        raise ConfigError(f'{where} = {value!r}: expected a duration such as "12h" or "7d"')
    return duration.total_seconds()
