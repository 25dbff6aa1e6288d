"""The documents say what the program does."""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest

import workbench
from tests.needs import package
from workbench import metrics
from workbench.cli.app import COMMANDS, wb
from workbench.data.competition.definition import SCHEMES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
READMES = (ROOT / "README.md", ROOT / "README.ko.md")
PAGES = (*READMES, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))
COMMAND_PAGE = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
DEFINITION_PAGE = (DOCS / "reference" / "definition.md").read_text(encoding="utf-8")


def loaded_hooks() -> Any:
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Each block of code in that language, dedented, with its page and number."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for n, match in enumerate(re.finditer(rf"^( *)```{language}\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)):
            code = re.sub(rf"^{match[1]}", "", match[2], flags=re.MULTILINE)
            yield f"{page.relative_to(ROOT)}:{n + 1}", code


def commands(group: click.Group = wb, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Each command and subcommand with its words: "kernel push"."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_and_its_options_are_in_the_reference(name: str, command: click.Command) -> None:
    marker = f"<!-- options: wb {name} -->"
    assert marker in COMMAND_PAGE
    section = COMMAND_PAGE[: COMMAND_PAGE.index(marker)].rpartition("\n## ")[2]
    assert section.startswith(f"`wb {name.split(maxsplit=1)[0]}")
    assert command.help
    page = loaded_hooks().on_page_markdown(marker)
    options = [o for p in command.params if isinstance(p, click.Option) for o in p.opts if o.startswith("--")]
    assert [o for o in options if o not in page] == []


@pytest.mark.parametrize(("where", "code"), list(blocks("bash")))
def test_commands_in_the_documents_are_understood(where: str, code: str) -> None:
    """Commands and options exist; their arguments are not looked at."""
    hooks = loaded_hooks()
    for line in code.replace("\\\n", " ").splitlines():
        for part in re.findall(r"(?:^|&&\s*)(wb [^|&]*)", line):
            words = shlex.split(part, comments=True)
            if words[1:2] in ([], ["--help"], ["COMMAND"]):
                continue
            depth = 2 if isinstance(hooks.command_named(words[1:2])[0], click.Group) else 1
            command, _ = hooks.command_named(words[1 : 1 + depth])
            known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
            used = {w.partition("=")[0] for w in words[1 + depth :] if re.match(r"--?[a-z]", w)}
            assert used <= known, (where, line)


def test_commands_that_the_documents_name_exist() -> None:
    for page in PAGES:
        named = set(re.findall(r"`wb ([a-z]+)", page.read_text(encoding="utf-8")))
        assert named <= {*COMMANDS}, page


@pytest.mark.parametrize(("where", "code"), list(blocks("python")))
def test_python_in_the_documents_runs_as_far_as_it_needs_no_data(where: str, code: str) -> None:
    """Imports resolve, and features and functions are defined; statements that need data or a model are only parsed."""
    tree = ast.parse(code)
    wanted = (ast.Import, ast.ImportFrom, ast.FunctionDef)
    names: dict[str, Any] = {}
    prelude = (
        "import numpy as np, polars as pl\nfrom workbench import features as wf\nfrom workbench.features import *\n"
    )
    exec(prelude + "from workbench.features import ROW, feature, target_mean, target_stats", names)
    for node in tree.body:
        makes_feature = isinstance(node, ast.Assign) and "target_" in ast.unparse(node.value)
        if isinstance(node, wanted) or makes_feature:
            exec(compile(ast.Module([node], []), where, "exec"), names)


@pytest.mark.parametrize(("where", "code"), list(blocks("toml")))
def test_toml_in_the_documents_has_keys_that_exist(where: str, code: str) -> None:
    hooks = loaded_hooks()
    table = tomllib.loads(code)
    known = [set(model.model_fields) for model in hooks.FILES.values()]
    assert any(set(table) <= keys for keys in known) or set(table) <= set.union(*known), where


def test_the_generated_parts_of_all_pages_are_made() -> None:
    hooks = loaded_hooks()
    left = {
        page.name
        for page in PAGES
        if re.search("^<!-- ", hooks.on_page_markdown(page.read_text("utf-8")), re.MULTILINE)
    }
    assert left == set()


def test_every_key_has_a_description() -> None:
    hooks = loaded_hooks()
    for name, model in hooks.FILES.items():
        rows = [line for line in hooks.keys_of(model).splitlines()[2:] if line]
        kinds = {f"`{kind}`" for kind in kinds_of_experiments()}
        bare = [row for row in rows if row.endswith("|  |") and row.split(" | ")[0].removeprefix("| ") not in kinds]
        assert (name, bare) == (name, [])


def kinds_of_experiments() -> tuple[str, ...]:
    from workbench.experiments.spec import KINDS

    return KINDS


def test_every_metric_and_scheme_is_documented() -> None:
    for name in [*metrics.names(), *SCHEMES]:
        assert f"`{name}`" in DEFINITION_PAGE, name


def test_links_of_the_readmes_lead_to_files() -> None:
    for page in (*READMES, ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), (page.name, target)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_outside(tmp_path: Path) -> None:
    package("material")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    loading = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"'](?:https?:)?//[^\"']*")
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = [tag for tag in loading.findall(html) if 'rel="canonical"' not in tag]
        assert (page.name, loaded) == (page.name, [])
        # An example that is not below "Examples" in a docstring becomes a quotation.
        assert "<blockquote>" not in html, page.name


def test_figures_of_the_benchmarks_have_a_command_a_date_and_versions() -> None:
    text = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    tables = re.findall(r"((?:^(?!\|).*\n)*)((?:^\|.*\n)+)", text, re.MULTILINE)
    assert len(tables) > 5
    for before, table in tables:
        measured = before.strip().splitlines()[-1] if before.strip() else ""
        paragraph = before.strip().rpartition("\n\n")[2]
        assert paragraph.startswith("Measured: "), (measured, table[:80])
        assert re.search(r"`python -m tests\.bench \w+", paragraph)
        assert re.search(r"20\d\d-\d\d-\d\d", paragraph)


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
    page = (DOCS / "reference" / "experiment.md").read_text(encoding="utf-8")
    for kind in kinds_of_experiments():
        assert f"| `[{kind}]` |" in page, kind


def test_every_source_of_candidates_and_its_keys_are_documented() -> None:
    from dataclasses import fields

    from workbench.recommender import SOURCES, EventWeighting

    section = (DOCS / "how-to" / "recommenders.md").read_text(encoding="utf-8")
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


def test_files_and_tests_that_the_pages_name_are_there() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        paths = {p.rstrip("/") for p in re.findall(r"`((?:workbench|tests|docs)/[\w./]+)`", text) if "NAME" not in p}
        assert [p for p in sorted(paths) if not (ROOT / p).exists()] == [], page
        assert [n for n in sorted(set(re.findall(r"`(test_\w+)`", text))) if not is_defined(n)] == [], page


WAYS = re.findall(r"^\| \d+ \| ([^|]+) \| ([^|]+) \|([^|]*)\|$", ARCHITECTURE, re.MULTILINE)
"""What happens, the module, and what lies on disk, of each step of the ways through the code."""

PLACEHOLDERS = {"NAME", "NEIGHBOUR", "NAME_command", "NAME_folds.py", "NAME_format.py", "test_NAME.py", "CHANGELOG.md"}


def quoted_in(text: str) -> set[str]:
    return set(re.findall(r"`([\w./*]+)`", text))


@cache
def sources_of_the_tree() -> str:
    files = [p for folder in ("workbench", "tests") for p in sorted((ROOT / folder).rglob("*.py"))]
    return "\n".join(p.read_text(encoding="utf-8") for p in files)


def is_defined(name: str) -> bool:
    """Whether a class, a function, an attribute or a constant has this name somewhere."""
    *_, last = name.split(".")
    return bool(
        re.search(rf"^\s*(?:(?:async )?def|class) {last}\b|^\s*{last}\b\s*[:=]", sources_of_the_tree(), re.MULTILINE)
    )


def test_the_steps_of_the_ways_name_what_is_there() -> None:
    assert len(WAYS) > 30
    for what, where, on_disk in WAYS:
        names = quoted_in(where)
        modules = {n for n in names if n.endswith((".py", "/"))}
        assert modules or "Platform" in where, what
        for module in modules:
            found = list((ROOT / "workbench").rglob(module)) if "/" not in module else [ROOT / "workbench" / module]
            assert any(p.exists() for p in found), (what, module)
        code = "\n".join(
            p.read_text() for m in modules if m.endswith(".py") for p in (ROOT / "workbench").rglob(Path(m).name)
        )
        for name in names - modules:
            *_, last = name.split(".")
            assert last in code or is_defined(name), (what, name)
        # The names of files on disk are in the code that writes them.
        for path in quoted_in(on_disk):
            name = path.rstrip("/").rpartition("/")[2]
            if not re.search(r"[*\d]", name):
                assert name in sources_of_the_tree(), (what, path)


def test_what_the_recipes_name_is_there() -> None:
    names = quoted_in(ARCHITECTURE.partition("## Recipes")[2]) - PLACEHOLDERS
    identifiers = {n for n in names if re.fullmatch(r"[A-Za-z_][\w.]*", n) and re.search(r"[A-Z_]", n)}
    assert len(identifiers) > 30
    assert [n for n in sorted(identifiers) if not n.endswith(".py") and not is_defined(n)] == []


def test_what_the_architecture_names_is_there() -> None:
    wings = {p.parent.name for p in (ROOT / "workbench").glob("*/__init__.py")}
    quoted = quoted_in(re.sub(r"\|[^|\n]*\|$", "", ARCHITECTURE, flags=re.MULTILINE))
    quoted = {text for text in quoted if not any(name in text for name in PLACEHOLDERS)}
    paths = {text for text in quoted if "/" in text and text not in {"experiments/", "submissions/", "workbench/"}}
    folders = [
        "",
        "workbench",
        "workbench/metrics",
        "workbench/models",
        "workbench/data/ingest",
        "workbench/experiments",
        "workbench/cli",
    ]
    assert [p for p in paths if not any(list((ROOT / folder).glob(p)) for folder in folders)] == []
    files = {text for text in quoted if re.fullmatch(r"\w+\.py", text)}
    assert [f for f in files if not list((ROOT / "workbench").rglob(f))] == []
    dotted = {
        text for text in quoted if text.partition(".")[0] in wings and not text.endswith(".py") and "/" not in text
    }
    assert len(dotted) > 8
    for text in dotted:
        assert pkgutil.resolve_name(f"workbench.{text}"), text
