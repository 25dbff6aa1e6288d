"""Refuse names that do not say what a thing is: `python -m tests.vague_names`, a part of `make check`.

A name says what a thing is (`run_record`, `fold_scores`), not that it was found, made, kept or asked for. Names of
modules, classes, functions, fields, parameters and variables are looked at; a longer name may have some of the words as
a part (`left_join`, `feedback`), others in none. What is right all the same stands in `ALLOWED`, with its reason.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "workbench"

VAGUE = {
    *(
        "asked",
        "back",
        "both",
        "everything",
        "found",
        "given",
        "here",
        "how",
        "kept",
        "known",
        "left",
        "made",
        "others",
    ),
    *("own", "rest", "said", "seen", "something", "stuff", "sure", "there", "thing", "things", "told", "what", "who"),
    "whole",
}
IN_NO_NAME = VAGUE - {"back", "both", "here", "how", "left", "others", "own", "rest", "sure", "there", "what", "who"}
"""Words that say nothing even as a part of a longer name."""

ALLOWED: dict[str, str] = {
    "NotFoundError": "the error's public name, as in FileNotFoundError",
    "data/ingest/space.py: given": "a documented argument, `Approval(given=True)`",
    "analysis/checks/finding.py: what": "a key of `wb check --json`",
    "features/overview.py: what": "a key of `wb cache --json`",
    "analysis/checks/future.py: whole": "a key of `wb check --time --json`",
    "experiments/feature_list.py: kept": "a key of a feature list's file",
    "experiments/feature_list.py: made": "a key of a feature list's file",
    "experiments/run.py: how": "a key of `wb run --json`, and a public attribute of its outcome",
    "experiments/run_folder.py: whole_models": "a public attribute of a finished run",
}
"""Allowed names, everywhere or in one file, with the reason."""

WINGS: list[str] = [
    "analysis",
    "api",
    "cli",
    "core",
    "data",
    "experiments",
    "features",
    "kernels",
    "ledger",
    "metrics",
    "models",
    "platforms",
    "recommender",
    "rehearsal",
    "review",
    "submissions",
    "tuning",
]
"""The wings that are checked."""


def is_vague(name: str) -> bool:
    """Tell whether a name says nothing.

    >>> [is_vague(name) for name in ("found", "_Found", "found_rows", "left", "left_join", "wholesale", "run_record")]
    [True, True, True, True, False, False, False]
    """
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().strip("_").split("_")
    return words[0] in VAGUE if len(words) == 1 else any(word in IN_NO_NAME for word in words)


def bound_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of whatever a module binds by a name of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname


def vague_names(folder: Path) -> Iterator[str]:
    """Yield the place and the name of each one in a folder that is not allowed."""
    for path in sorted(folder.rglob("*.py")):
        names = {(1, path.stem), *bound_names(ast.parse(path.read_text()))}
        for line, name in sorted(names):
            place = f"{path.relative_to(PACKAGE).as_posix()}: {name}"
            if is_vague(name) and not {name, place} & ALLOWED.keys():
                yield f"{path.relative_to(PACKAGE.parent)}:{line}: {name}"


def main(wings: list[str]) -> int:
    """Print what is not allowed in some wings, by default those of `WINGS`, and return how many there are."""
    names = [name for wing in wings or WINGS for name in vague_names(PACKAGE / wing)]
    print("\n".join(names) or "every name says what it is")
    return len(names)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
