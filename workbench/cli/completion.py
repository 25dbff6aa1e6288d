"""`wb completion`, and what the shells ask: commands, options, competitions, experiments with their titles."""

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

__all__ = ["VARIABLE", "answer_shell", "complete_competition", "complete_experiment", "script"]

VARIABLE = "_WB_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
TITLES = 500
"""So many experiments, the newest, are listed with their titles: each title is a file to open."""


PLAIN = re.compile(r"\w[\w.+-]*")
"""A name that no shell takes for something else: what completes a line is run by the next key."""


def complete_competition(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Return the competitions of the workspace that begin so."""
    from workbench.api import library

    return [
        CompletionItem(slug)
        for slug in library.workspace().slugs()
        if slug.startswith(incomplete) and PLAIN.fullmatch(slug)
    ]


def complete_experiment(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the experiments of the competition that begin so, with their titles; of "3,5-" those after the dash."""
    before = ""
    if getattr(param, "several", param.nargs == -1):
        before, incomplete = re.fullmatch(r"((?:.*[,-])?)(.*)", incomplete, re.DOTALL).groups()  # type: ignore[union-attr]
    folder = _competition_folder(ctx) / "experiments"
    numbered = {int(p.stem): p for p in folder.glob("*.toml") if p.stem.isdecimal()}
    chosen = sorted(n for n in numbered if str(n).startswith(incomplete.lstrip("0")))
    titled = set(chosen[-TITLES:])
    return [CompletionItem(f"{before}{n}", help=_title(numbered[n]) if n in titled else None) for n in chosen]


def _competition_folder(ctx: click.Context) -> Path:
    from workbench.api import library

    place = library.workspace()
    return place.competitions / library.choose_slug(place, ctx.params.get("slug"))


def _title(path: Path) -> str | None:
    """Return the title in an experiment's file, which is read no further."""
    line = re.search(r"^title\s*=.*$", path.read_text("utf-8-sig").partition("\n[")[0], re.MULTILINE)
    try:
        return one_line(str(tomllib.loads(line[0])["title"])) or None if line else None
    except (ValueError, RecursionError):
        return None


# ---------------------------------------------------------------------------------------------------------- the shells


@add_completion_class
class _Bash(BashComplete):
    """Completion for bash that shows what the candidates mean, as the other shells do.

    bash has no room for a description: where it only lists (``COMP_TYPE`` is the character of the listing, see
    "Programmable Completion" in its manual), the candidates are listed with theirs, each on a line. What all have in
    common, and bash inserts, is then still a part of a candidate.
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
        """Return the script; which bash there is, is the shell's matter that reads it."""
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the one at it; bash parts ``--exp=3`` at the sign."""
        args, incomplete = super().get_completion_args()
        if incomplete == "=":
            incomplete = ""
        return [a for a in args if a != "="], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Return a line with kind, value and description."""
        return f"{item.type}\t{item.value}\t{' '.join((item.help or '').split())}"


@add_completion_class
class _Fish(FishComplete):
    """Completion for fish that keeps descriptions whole: click's ends them at their first comma."""

    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = FishComplete.source_template.replace('split ","', 'split -m 1 ","')


def answer_shell(command: click.Command, instruction: str) -> None:
    """Answer a shell that asks for candidates; whatever goes wrong, it says nothing into the line that is typed."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        error, sys.stderr = sys.stderr, nowhere
        try:
            shell_complete(command, {}, "wb", VARIABLE, instruction)
        except (Exception, SystemExit, KeyboardInterrupt):  # noqa: BLE001, S110 there is no one to tell
            pass
        finally:
            sys.stderr = error


def script(command: click.Command, shell: str) -> str:
    """Return the script that makes a shell complete `wb`."""
    completion: Callable[..., Any] | None = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"no completion for {shell!r}: {', '.join(SHELLS)}")
    return str(completion(command, {}, "wb", VARIABLE).source())
