"""`wb init`, `wb doctor`, `wb ledger`, `wb completion`."""

from __future__ import annotations

import click

from workbench.api import library
from workbench.cli.app import echo_json, note, shared_options
from workbench.cli.commands import Command, CommandGroup
from workbench.cli.completion import SHELLS, script
from workbench.cli.terminal import echo, echo_lines, styled


@click.command("init", cls=Command, examples=("wb init kaggle && cd kaggle",))
@click.argument("folder", metavar="DIR")
@shared_options
def init_command(folder: str, as_json: bool) -> None:
    """Make an empty workspace in DIR; what is already there stays."""
    workspace = library.init(folder)
    if as_json:
        echo_json({"workspace": str(workspace.root)})
        return
    echo(f"workspace {workspace.root}")
    echo("next: wb fetch SLUG   (from Kaggle; a competition of your own: wb rehearse --help)")


MARKS = {
    "ok": styled("ok  ", fg="green"),
    "note": styled("note", fg="yellow"),
    "bad": styled("BAD ", fg="red", bold=True),
}


@click.command("doctor", cls=Command, examples=("wb doctor",))
@shared_options
def doctor_command(as_json: bool) -> int:
    """Look at versions, disk, memory, the ledger and the data; exit 1 if something is BAD, which a note is not."""
    checks = library.doctor()["checks"]
    good = all(c["ok"] for c in checks)
    if as_json:
        echo_json({"ok": good, "checks": checks})
    else:
        for check in checks:
            echo(f"{MARKS[check['level']]} {check['name']:<12} {check['detail']}")
    return 0 if good else 1


@click.group("ledger", cls=CommandGroup, examples=("wb ledger rebuild",))
def ledger_command() -> None:
    """Look after the record of runs and submissions."""


@ledger_command.command("rebuild", examples=("wb ledger rebuild",))
@shared_options
def rebuild_command(as_json: bool) -> None:
    """Build the ledger again from the run folders and what lies beside the sent files.

    The old file is kept beside the new one. In a ledger that several workspaces share, what is of others stays.
    """
    counts = library.rebuild_ledger()
    if as_json:
        echo_json(counts)
        return
    for problem in counts["problems"]:
        note(styled("left out: ", fg="yellow") + problem)
    stay = f"; {counts['kept']} records of other workspaces stay" if counts["kept"] else ""
    echo(f"ledger rebuilt: {counts['runs']} runs, {counts['submissions']} submissions{stay}")


@click.command("completion", cls=Command, examples=('eval "$(wb completion bash)"', "wb completion fish | source"))
@click.argument("shell", type=click.Choice(SHELLS))
@shared_options
def completion_command(shell: str, as_json: bool) -> None:
    """Print the script that makes a shell complete commands, options, competitions and experiments.

    For bash and zsh, the first example is a line for ~/.bashrc or ~/.zshrc (there with zsh, after compinit); for fish,
    write the script to ~/.config/fish/completions/wb.fish.
    """
    from workbench.cli.app import wb

    text = script(wb, shell)
    if as_json:
        echo_json({"shell": shell, "script": text})
        return
    echo_lines(text, nl=False)
