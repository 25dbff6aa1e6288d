"""Attributes of earlier versions of the handle, which still work with a deprecation warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from workbench.api.access import Report
from workbench.api.features import SelectOptions
from workbench.api.studies import TuneOptions
from workbench.core.context import text_listener
from workbench.core.errors import ConfigError, did_you_mean
from workbench.core.events import Event, Listener, Message

if TYPE_CHECKING:
    from workbench.api.competition import OpenCompetition

__all__ = ["attribute"]

REPLACEMENTS = {
    "definition": "access.competition",
    "feature_list": "features.summaries",
    "feature_graph": "features.graph",
    "cache": "features.cached",
    "cache_limit": "features.cache_limit",
    "prune_cache": "features.prune_cache",
    "select": "features.select",
    "check": "data.check",
    "check_page": "data.check_page",
    "check_time": "data.check_time",
    "explore": "data.explore",
    "run_outcome": "runs.execute",
    "run_outcomes": "runs.execute_all",
    "result": "runs.finished",
    "fold_size_ratios": "runs.fold_size_ratios",
    "not_run": "runs.waiting",
    "report": "runs.report",
    "tune": "studies.tune",
    "study": "studies.study",
    "new": "experiments.new",
    "new_notebook": "experiments.new_notebook",
    "input_folder": "experiments.input_folder",
    "adopt": "experiments.adopt",
    "build_kernel": "kernels.build",
    "rehearse_kernel": "kernels.rehearse",
    "push_kernel": "kernels.push",
    "prepare_kernel": "kernels.prepare",
    "prepare": "submissions.prepare",
    "send": "submissions.send",
    "wait_for_score": "submissions.wait_for_score",
    "sync": "submissions.sync",
    "limits": "submissions.limits",
    "leaderboard": "submissions.leaderboard",
}
"""Attribute of an earlier version -> its present path."""

OPTIONS: dict[str, type] = {"tune": TuneOptions, "select": SelectOptions}
"""Calls whose options were keywords -> their present class of options."""


def attribute(competition: OpenCompetition, name: str) -> Any:
    """Return the value of an attribute of earlier versions, with a warning that names its replacement.

    Raises
    ------
    AttributeError
        For an unknown attribute.
    """
    if name not in REPLACEMENTS:
        raise AttributeError(f"a competition has no attribute {name!r}")
    warnings.warn(f"competition.{name} is now competition.{REPLACEMENTS[name]}", DeprecationWarning, stacklevel=3)
    value = attrgetter(REPLACEMENTS[name])(competition)
    return _with_keywords(value, OPTIONS[name]) if name in OPTIONS else value


def _with_keywords(call: Callable[..., Any], options: type) -> Callable[..., Any]:
    """Return a function that takes the fields of the options as keywords, `SelectOptions.method` also by position."""
    names = [field.name for field in fields(options)]

    def with_keywords(number: int, *method: str, **keywords: Any) -> Any:
        callbacks = {name: keywords.pop(name) for name in ("listen", "report", "progress") if name in keywords}
        if keywords.get("say") is not None:
            callbacks["listen"] = _with_say(keywords["say"], callbacks.get("listen"), callbacks.pop("report", None))
        keywords.pop("say", None)
        for name in keywords:
            if name not in names:
                raise ConfigError(f"unknown option {name!r}", hint=did_you_mean(name, names, kind="option"))
        return call(number, options(*method, **keywords), **callbacks)

    return with_keywords


def _with_say(say: Report, listen: Listener | None, report: Report | None) -> Listener:
    """Return a listener that tells messages to `say` and other texts to `report`, as `tune` once did."""
    listen_to_others = text_listener(report) if report is not None else None

    def listener(event: Event) -> None:
        if listen is not None:
            listen(event)
        if isinstance(event, Message):
            say(event.text)
        elif listen_to_others is not None:
            listen_to_others(event)

    return listener
