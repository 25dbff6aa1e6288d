"""The documents say what the program does."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import click
import pytest

import workbench
from workbench import metrics
from workbench.cli.app import COMMANDS, wb
from workbench.data.competition.definition import SCHEMES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[tuple[str, click.Command]]:
    context = click.Context(wb)
    return [(name, wb.get_command(context, name)) for name in wb.list_commands(context)]  # type: ignore[misc]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert re.search(rf"^### `wb {name}", README, re.MULTILINE), f"README has no section on `wb {name}`"


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_option_is_documented(name: str, command: click.Command) -> None:
    section = README.partition(f"### `wb {name}")[2].partition("\n### ")[0]
    options = [o for p in command.params if isinstance(p, click.Option) for o in p.opts if o.startswith("--")]
    missing = [o for o in options if o not in section and o not in ("--json", "--competition")]
    assert missing == []
    assert command.help


def test_documented_commands_exist() -> None:
    named = set(re.findall(r"`?wb ([a-z]+)", README))
    assert named <= {*COMMANDS}


def test_every_metric_and_scheme_is_documented() -> None:
    for name in [*metrics.names(), *SCHEMES]:
        assert f"`{name}`" in README, name


def test_the_public_names_are_these() -> None:
    assert workbench.__all__ == [
        "ROW",
        "OpenCompetition",
        "SelectOptions",
        "TuneOptions",
        "WorkbenchError",
        "competition",
        "doctor",
        "feature",
        "features",
        "fetch",
        "init",
        "nb",
        "rebuild_ledger",
        "rehearse",
        "target_mean",
        "workspace",
    ]
    for name in workbench.__all__:
        assert getattr(workbench, name) is not None
    assert dir(workbench) == sorted(workbench.__all__)


def test_the_error_tree_is_drawn_whole() -> None:
    from workbench.core import errors

    classes = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    for cls in classes:
        assert cls.__name__ in (errors.__doc__ or "")
        assert issubclass(cls, errors.WorkbenchError)


def test_inference_needs_little() -> None:
    """The modules that run inside a notebook without network import no database, no command line, no web library."""
    import subprocess
    import sys

    code = (
        "import sys, workbench.features, workbench.models\n"
        "heavy = {'sqlalchemy', 'alembic', 'click', 'rich', 'optuna', 'papermill', 'kaggle', 'requests'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_every_kind_of_experiment_is_documented() -> None:
    from workbench.experiments.spec import KINDS

    for kind in KINDS:
        assert re.search(rf"^\[{kind}\]", README, re.MULTILINE), kind


def test_every_source_of_candidates_and_its_keys_are_documented() -> None:
    from dataclasses import fields

    from workbench.recommender import SOURCES, EventWeighting

    section = README.partition("### Recommenders, in two stages")[2].partition("\n## ")[0]
    for name, source in SOURCES.items():
        line = next(line for line in section.splitlines() if line.startswith(f"| `{name}`"))
        keys = {f.name.removesuffix("_s") for f in fields(source)} - {"top"}
        assert keys <= set(re.findall(r"`(\w+)`", line)), name
    for f in fields(EventWeighting):
        assert f.name.removesuffix("_s") in section


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_architecture_names_every_wing_once() -> None:
    stack = ARCHITECTURE.split("```")[1]
    named = [wing.strip() for line in stack.strip().splitlines() for wing in line[:36].split("|")]
    assert sorted(named) == sorted(p.parent.name for p in (ROOT / "workbench").glob("*/__init__.py"))


def test_what_the_architecture_names_is_there() -> None:
    wings = {p.parent.name for p in (ROOT / "workbench").glob("*/__init__.py")}
    quoted = set(re.findall(r"`([\w./*]+)`", ARCHITECTURE)) - {
        "workbench/models/NAME_folds.py",
        "workbench/data/ingest/NAME_format.py",
    }
    paths = {text for text in quoted if "/" in text and not text.startswith("tests/*")}
    folders = [
        "",
        "workbench",
        "workbench/metrics",
        "workbench/models",
        "workbench/data/ingest",
        "workbench/experiments",
    ]
    assert [p for p in paths if not any((ROOT / folder / p).exists() for folder in [*folders, "workbench/cli"])] == []
    files = {text for text in quoted if re.fullmatch(r"\w+\.py", text)}
    assert [f for f in files if not list((ROOT / "workbench").rglob(f))] == []
    dotted = {
        text for text in quoted if text.partition(".")[0] in wings and not text.endswith(".py") and "/" not in text
    }
    assert len(dotted) > 8
    for text in dotted:
        assert pkgutil.resolve_name(f"workbench.{text}"), text
