"""The command group, what all commands share, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import importlib
import io
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from workbench.cli.commands import CommandGroup
from workbench.cli.completion import VARIABLE, answer_shell, complete_competition
from workbench.cli.interrupt import CODE, listening, resumption
from workbench.cli.streams import forgiving, lost
from workbench.cli.terminal import echo, echo_json, masked, note, note_lines, show_defects, styled
from workbench.core.errors import StorageError, WorkbenchError, storage_errors

__all__ = ["echo_json", "main", "memory_option", "note", "shared_options", "storage_option", "wb"]

F = TypeVar("F", bound=Callable[..., Any])

# Heading -> command -> (module, one line of help): the module is imported only when the command is used.
GROUPS = {
    "Data": {
        "fetch": ("data", "Bring a competition's data, a definition and a baseline."),
        "rehearse": ("rehearse", "Host a competition of your own, to practise on."),
        "check": ("checks", "Look for drift, leaks, repeats, features that read the future."),
        "features": ("features", "List the features: inputs, columns, cost, cached or not."),
    },
    "Experiments": {
        "new": ("experiments", "Write the next experiment's file."),
        "run": ("experiments", "Run experiments: features, folds, models, OOF, record."),
        "tune": ("tuning", "Search for better parameters, for the time you give."),
        "select": ("selection", "Find the columns worth keeping, as a list for experiments."),
    },
    "Review": {
        "table": ("table", "Show every experiment: CV, change, cost, scores."),
        "show": ("table", "Show one experiment's run in full."),
        "report": ("notebooks", "Show a run, or a fresh competition, in figures."),
    },
    "Submit": {
        "submit": ("submissions", "Check a run, show what is sent, send it once, log it."),
        "submissions": ("submissions", "List all submissions: CV, public and private score."),
        "sync": ("submissions", "Bring in scores that came later."),
    },
    "Notebooks": {
        "notebook": ("notebooks", "Write, adopt and look at notebooks as experiments."),
        "kernel": ("kernels", "Pack a run for a code competition, try it, push and submit it."),
    },
    "System": {
        "init": ("workspace", "Make an empty workspace."),
        "doctor": ("workspace", "Look at versions, disk, memory, ledger and data."),
        "ledger": ("workspace", "Rebuild the ledger from the run folders."),
        "cache": ("features", "Show and prune the feature blocks on disk."),
        "completion": ("workspace", "Complete commands, competitions and experiments in your shell."),
        "demo": ("demo", "Run the whole loop on real data."),
    },
}
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}
EXAMPLES = ("wb fetch titanic", "wb run 1 -c titanic", "wb table -c titanic", "wb submit 1 -c titanic --wait")


class _LazyGroup(CommandGroup):
    """A group that imports a command's module when the command is used, not when help is shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"workbench.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, f"{cmd_name}_command")
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name}_command is no command")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from workbench.core.errors import near

            raise click.UsageError(f"no command {args[0]!r}: {near(args[0], COMMANDS, kind='command')}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<11}", text) for name, (_, text) in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so; their modules are not needed for it."""
        commands = [CompletionItem(n, help=text) for n, (_, text) in COMMANDS.items() if n.startswith(incomplete)]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]


def _show_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
    if value and not ctx.resilient_parsing:
        # What looks versions up takes longer to load than all else that help needs.
        from workbench.core.distribution import distribution_version

        echo(f"wb, version {distribution_version()}")
        ctx.exit()


@click.group(cls=_LazyGroup, examples=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def wb() -> None:
    """Run the loop of a Kaggle competition: fetch, run, table, submit.

    The competition is -c/--competition, else the folder you stand in, else WB_COMPETITION, else the only one there is;
    the beginning of its name is enough. Exit codes: 0 done, 1 a failure that is explained, 2 wrong usage, 130
    interrupted.
    """


def shared_options(function: F) -> F:
    """Add what every command takes: ``--json``."""
    option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout and nothing else.")
    return option(function)


def competition_option(function: F) -> F:
    """Add ``-c/--competition``."""
    return click.option(
        "-c",
        "--competition",
        "slug",
        metavar="SLUG",
        help="The competition, or how its name begins.",
        shell_complete=complete_competition,
    )(function)


def storage_option(text: str) -> Callable[[F], F]:
    """Add ``--storage``, the address of a database for studies."""
    return click.option("--storage", metavar="URL", envvar="WB_STUDY_URL", callback=_without_password, help=text)


def _without_password(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    from workbench.core.credentials import has_password

    on_line = ctx.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE
    if value is not None and on_line and not ctx.resilient_parsing and has_password(value):
        raise click.UsageError(
            "--storage: the address has a password, which the list of processes shows to everybody on this machine and "
            "the shell's history keeps: put the address into the variable WB_STUDY_URL",
            ctx,
        )
    return value


def memory_option(function: F) -> F:
    """Add ``--memory-limit``, as a number of bytes or None."""
    return click.option(
        "--memory-limit",
        "memory_limit",
        metavar="SIZE",
        envvar="WB_MEMORY_LIMIT",
        callback=_memory_limit,
        help='What reading data and building features may use: "8GB", "50%". [default: 60% of the machine\'s]',
    )(function)


def _memory_limit(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if ctx.resilient_parsing:
        return None
    from workbench.core.memory import default_limit, limit_polars_memory, parse_bytes

    source = ctx.get_parameter_source(str(parameter.name))
    where = "WB_MEMORY_LIMIT" if source is click.core.ParameterSource.ENVIRONMENT else "--memory-limit"
    limit = None if value is None else parse_bytes(value, where=where)
    limit_polars_memory(limit or default_limit())
    return limit


def main(arguments: list[str] | None = None) -> None:
    """Run `wb` and exit with its code."""
    _open_what_is_closed()
    if VARIABLE in os.environ:
        answer_shell(wb, os.environ[VARIABLE])
        sys.exit(0)
    command_line = sys.argv[1:] if arguments is None else arguments
    if arguments is None:  # else the process is another program's, which shows its failures itself
        show_defects()
    with forgiving(), listening(command_line):
        code = _answered(_guarded(command_line))
    sys.exit(code)


def _answered(code: int) -> int:
    """Return the exit code: that of the command, unless its answer is not whole for another reason than its reader."""
    error = lost(sys.stdout)
    if error is None or error.errno == errno.EPIPE:
        return code
    # A full disk behind `>`: what the command did is done.
    note(styled("error: ", fg="red", bold=True) + f"the output can't be written: {error.strerror}")
    return code or 1


def _open_what_is_closed() -> None:
    """Have the standard streams that are closed (``wb table >&-``) lead nowhere.

    Else the next file that is opened takes the place of one, and what is printed is written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))


def _guarded(arguments: list[str]) -> int:  # noqa: PLR0911 one exit per kind of ending
    as_json = "--json" in arguments
    try:
        result = wb.main(args=arguments, prog_name="wb", standalone_mode=False, **_narrow())
        return result if isinstance(result, int) else 0
    except click.UsageError as exc:
        if as_json:
            echo_json({"error": {"type": "UsageError", "message": masked(exc.format_message()), "hint": "wb --help"}})
        else:
            usage = io.StringIO()
            exc.show(usage)
            note_lines(usage.getvalue().rstrip())
        return 2
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt) as exc:
        return _interrupted(exc, arguments, as_json)
    except WorkbenchError as exc:
        return _explained(exc, as_json)
    except SystemExit as exc:
        return _explained(_exit_of_other_code(exc), as_json)
    except OSError as exc:
        return _explained(_storage_error(exc), as_json)
    except Exception as exc:
        if as_json:
            hint = "this is a defect of the workbench"
            echo_json({"error": {"type": type(exc).__name__, "message": masked(str(exc)), "hint": hint}})
        raise


def _interrupted(exc: BaseException, arguments: list[str], as_json: bool) -> int:
    completed, command = resumption(exc, arguments)
    message = f"interrupted; {completed}" if completed else "interrupted"
    if as_json:
        echo_json({"error": {"type": "Interrupted", "message": message, "hint": command}})
        return CODE
    if exc.__cause__ is None and sys.stderr.isatty():
        note("")  # behind the question that was being asked
    note(message)
    if command:
        note(f"go on: {command}")
    return CODE


def _narrow() -> dict[str, Any]:
    """Return the width of help in a terminal that is narrower than click would write it."""
    columns = shutil.get_terminal_size().columns
    return {"terminal_width": max(columns - 2, 20)} if columns < 52 else {}


def _exit_of_other_code(exc: SystemExit) -> WorkbenchError:
    """Explain an exit that no module below translated: no command ends by itself without having said why."""
    from workbench.core.user_code import EXIT_HINT, user_frame

    return WorkbenchError(f"the command was ended by code that it calls: {user_frame(exc)}", hint=EXIT_HINT)


def _explained(exc: WorkbenchError, as_json: bool) -> int:
    if as_json:
        echo_json({"error": {"type": type(exc).__name__, "message": masked(exc.message), "hint": masked(exc.hint)}})
        if lost(sys.stdout) is None:
            return 1
    note_lines(styled("error: ", fg="red", bold=True) + exc.message)
    if exc.hint:
        note_lines(styled("hint: ", fg="yellow") + exc.hint)
    return 1


def _storage_error(exc: OSError) -> WorkbenchError:
    """Explain an operating-system error that no module below translated; anything but a disk's is raised again."""
    from pathlib import Path

    try:
        with storage_errors(Path(exc.filename or ".")):
            raise exc
    except StorageError as translated:
        return translated
    except OSError:
        if exc.errno in (errno.ENOENT, errno.EISDIR):
            return WorkbenchError(f"{exc.strerror}: {exc.filename}")
        raise
