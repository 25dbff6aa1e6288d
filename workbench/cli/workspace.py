"""`wb init`, `wb doctor`, `wb ledger`, `wb completion`."""

from __future__ import annotations

import click

from workbench.api import library
from workbench.cli.app import echo_json, note, shared_options
from workbench.cli.commands import Command, CommandGroup
from workbench.cli.completion import SHELLS, script
from workbench.cli.terminal import echo, echo_lines, styled
from workbench.core.wording import counted


@click.command("init", cls=Command, examples=("wb init kaggle && cd kaggle",))
@click.argument("folder", metavar="DIR")
@shared_options
def init_command(folder: str, as_json: bool) -> None:
    """Create an empty workspace in DIR; existing files are kept."""
    workspace = library.init(folder)
    if as_json:
        echo_json({"workspace": str(workspace.root)})
        return
    echo(f"workspace {workspace.root}")
    echo("next: wb fetch SLUG   (from Kaggle; for a local competition: wb rehearse --help)")


MARKS = {
    "ok": styled("ok  ", fg="green"),
    "note": styled("note", fg="yellow"),
    "bad": styled("BAD ", fg="red", bold=True),
}


@click.command("doctor", cls=Command, examples=("wb doctor",))
@shared_options
def doctor_command(as_json: bool) -> int:
    """Check versions, disk, memory, the ledger and the data; exit with 1 if anything is BAD."""
    checks = library.doctor()["checks"]
    is_ok = all(c["ok"] for c in checks)
    if as_json:
        echo_json({"ok": is_ok, "checks": checks})
    else:
        for check in checks:
            echo(f"{MARKS[check['level']]} {check['name']:<12} {check['detail']}")
    return 0 if is_ok else 1


@click.group("ledger", cls=CommandGroup, examples=("wb ledger rebuild",))
def ledger_command() -> None:
    """Maintain the ledger of runs and submissions."""


@ledger_command.command("rebuild", examples=("wb ledger rebuild",))
@shared_options
def rebuild_command(as_json: bool) -> None:
    """Rebuild the ledger from the run folders and the records of submissions.

    The old file is kept next to the new one. In a shared ledger, the records of other workspaces are kept.
    """
    counts = library.rebuild_ledger()
    if as_json:
        echo_json(counts)
        return
    for problem in counts["problems"]:
        note(styled("skipped: ", fg="yellow") + problem)
    other_records = f"; kept {counted(counts['kept'], 'record')} of other workspaces" if counts["kept"] else ""
    echo(
        f"ledger rebuilt: {counted(counts['runs'], 'run')}"
        f", {counted(counts['submissions'], 'submission')}{other_records}"
    )


@click.command("completion", cls=Command, examples=('eval "$(wb completion bash)"', "wb completion fish | source"))
@click.argument("shell", type=click.Choice(SHELLS))
@shared_options
def completion_command(shell: str, as_json: bool) -> None:
    """Print a script that completes commands, options, competitions and experiments in a shell.

    For bash, add the first example to ~/.bashrc; for zsh, add it with "zsh" to ~/.zshrc after compinit; for fish, write
    the script to ~/.config/fish/completions/wb.fish.
    """
    from workbench.cli.app import wb

    text = script(wb, shell)
    if as_json:
        echo_json({"shell": shell, "script": text})
        return
    echo_lines(text, nl=False)
