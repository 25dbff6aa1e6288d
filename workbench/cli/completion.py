"""Shell completion of commands, options, competitions, and experiments with their titles."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    add_completion_class,
    get_completion_class,
    shell_complete,
)

from workbench.core.printable import one_line

__all__ = ["COMPLETION_VARIABLE", "complete_competition", "complete_experiment", "print_completions", "script"]

COMPLETION_VARIABLE = "_WB_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
MAX_TITLES = 500
"""The number of experiments, the newest, that are listed with their titles, as each title takes opening a file."""


PLAIN = re.compile(r"\w[\w.+-]*")
"""A name without special characters of a shell, as completed text is executed when the user presses Enter."""


def complete_competition(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Return the competitions of the workspace with this prefix."""
    from workbench.api import library

    return [
        CompletionItem(slug)
        for slug in library.workspace().slugs()
        if slug.startswith(incomplete) and PLAIN.fullmatch(slug)
    ]


def complete_experiment(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the experiments with this prefix, with their titles; in "3,5-" the prefix is the part after the dash."""
    before = ""
    if getattr(param, "several", param.nargs == -1):
        before, incomplete = re.fullmatch(r"((?:.*[,-])?)(.*)", incomplete, re.DOTALL).groups()  # type: ignore[union-attr]
    folder = _competition_folder(ctx) / "experiments"
    path_by_number = {int(p.stem): p for p in folder.glob("*.toml") if p.stem.isdecimal()}
    matching = sorted(n for n in path_by_number if str(n).startswith(incomplete.lstrip("0")))
    with_title = set(matching[-MAX_TITLES:])
    return [
        CompletionItem(f"{before}{n}", help=_title(path_by_number[n]) if n in with_title else None) for n in matching
    ]


def _competition_folder(ctx: click.Context) -> Path:
    from workbench.api import library

    workspace = library.workspace()
    return workspace.competitions / library.choose_slug(workspace, ctx.params.get("slug"))


def _title(path: Path) -> str | None:
    """Return the title of an experiment's file, without parsing the rest."""
    line = re.search(r"^title\s*=.*$", path.read_text("utf-8-sig").partition("\n[")[0], re.MULTILINE)
    try:
        return one_line(str(tomllib.loads(line[0])["title"])) or None if line else None
    except (ValueError, RecursionError):
        return None


# ---------------------------------------------------------------------------------------------------------- the shells


@add_completion_class
class _Bash(BashComplete):
    """Completion for bash that shows descriptions, as the other shells do.

    bash has no descriptions of its own. When it only lists candidates (``COMP_TYPE`` is the type of completion, see
    "Programmable Completion" in its manual), each is listed with its description on a line. The common prefix of all,
    which bash inserts, is still part of a candidate.
    """

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value description width described=
    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete $1 2>/dev/null)
    local -a lines=($response)
    [[ ${#lines[@]} -gt 1 && $COMP_TYPE =~ ^(63|33|64)$ ]] && described=1
    width=$((${COLUMNS:-80} - 2))
    COMPREPLY=()
    for completion in "${lines[@]}"; do
        IFS=$'\\t' read -r type value description <<< "$completion"
        if [[ $type == dir ]]; then
            compopt -o dirnames
        elif [[ $type == file ]]; then
            compopt -o default
        elif [[ $described && $description ]]; then
            printf -v completion "%%-${width}s" "$value  $description"
            COMPREPLY+=("${completion:0:$width}")
        else
            COMPREPLY+=("$value")
        fi
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def source(self) -> str:
        """Return the script, without click's check of the bash version, which may be another shell's."""
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one at it; bash splits ``--exp=3`` at the sign."""
        args, incomplete = super().get_completion_args()
        if incomplete == "=":
            incomplete = ""
        return [a for a in args if a != "="], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Return a line with type, value and description."""
        return f"{item.type}\t{item.value}\t{' '.join((item.help or '').split())}"


@add_completion_class
class _Fish(FishComplete):
    """Completion for fish that does not truncate descriptions at their first comma, as click does."""

    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = FishComplete.source_template.replace('split ","', 'split -m 1 ","')


def print_completions(command: click.Command, instruction: str) -> None:
    """Print the candidates that a shell asks for; errors are silent, as they would appear in the line being typed."""
    with Path(os.devnull).open("w", encoding="utf-8") as null_device:
        original_stderr, sys.stderr = sys.stderr, null_device
        try:
            shell_complete(command, {}, "wb", COMPLETION_VARIABLE, instruction)
        except (Exception, SystemExit, KeyboardInterrupt):  # noqa: BLE001, S110 errors are silent here
            pass
        finally:
            sys.stderr = original_stderr


def script(command: click.Command, shell: str) -> str:
    """Return the completion script for a shell."""
    completion: Callable[..., Any] | None = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"no completion for {shell!r}: expected one of {', '.join(SHELLS)}")
    return str(completion(command, {}, "wb", COMPLETION_VARIABLE).source())
