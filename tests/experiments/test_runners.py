"""Each kind of experiment has a runner, and what it can't do is said from its capabilities."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import workbench
from workbench.core.errors import ConfigError
from workbench.experiments.capabilities import Operation, capabilities_of, check_can
from workbench.experiments.runner import Runner, runner_of
from workbench.experiments.spec import KINDS

BRANCH = re.compile(r"""kind\b\s*(==|!=|in|not in)\s*\(?["'](notebook|recommend)\b""")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_runner(kind: str) -> None:
    runner = runner_of(kind)
    methods = [name for name in vars(Runner) if not name.startswith("_")]
    assert methods == ["read", "content", "plan", "used_source", "execute"]
    assert all(callable(getattr(runner, name)) for name in methods)


def test_kinds_that_are_not_known_are_taken_for_models() -> None:
    """A ledger may have runs of a newer version."""
    assert capabilities_of("portfolio") is capabilities_of("model")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", get_args(Operation))
def test_what_a_kind_can_not_do_is_refused_with_a_reason_and_a_hint(kind: str, operation: Operation) -> None:
    if operation not in capabilities_of(kind).refusals:
        check_can(operation, kind, "it")
        return
    with pytest.raises(ConfigError, match=r"^012\.toml is a") as caught:
        check_can(operation, kind, f"012.toml is a [{kind}] experiment", exp=12, file="a.ipynb")
    assert caught.value.hint
    assert "{" not in caught.value.message + caught.value.hint


def test_only_models_are_trained() -> None:
    assert [k for k in KINDS if "train" in capabilities_of(k).refusals] == [
        k for k in KINDS if not capabilities_of(k).trains_models
    ]


def test_no_code_branches_on_the_kind() -> None:
    """Capabilities say what differs."""
    package = Path(workbench.__file__).parent
    sources = [
        p
        for wing in ("api", "cli", "experiments", "review", "analysis", "kernels")
        for p in (package / wing).rglob("*.py")
    ]
    # The kind of a competition is another thing than that of an experiment.
    lines = [
        (p.name, line.strip())
        for p in sources
        for line in p.read_text().splitlines()
        if BRANCH.search(line) and "facts.kind" not in line
    ]
    assert lines == []
