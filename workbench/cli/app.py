"""The command `wb`: its group of commands, their shared options, and exit codes for errors."""

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
from workbench.cli.completion import COMPLETION_VARIABLE, complete_competition, print_completions
from workbench.cli.interrupt import CODE, handled_signals, resumption
from workbench.cli.streams import lost, tolerant_streams
from workbench.cli.terminal import echo, echo_json, masked, note, note_lines, sanitize_tracebacks, styled
from workbench.core.errors import StorageError, WorkbenchError, storage_errors

__all__ = ["echo_json", "main", "memory_option", "note", "shared_options", "storage_option", "wb"]

F = TypeVar("F", bound=Callable[..., Any])

# Heading -> command -> (module, one line of help): the module is imported only when the command is used.
GROUPS = {
    "Data": {
        "fetch": ("data", "Download a competition's data and write a baseline."),
        "rehearse": ("rehearse", "Host a local competition to practise on."),
        "check": ("checks", "Check data and features for drift, leaks and duplicates."),
        "features": ("features", "List the features with inputs, columns and cost."),
    },
    "Experiments": {
        "new": ("experiments", "Create the next experiment's file."),
        "run": ("experiments", "Run experiments."),
        "tune": ("tuning", "Search for better parameters."),
        "select": ("selection", "Select the columns worth keeping."),
    },
    "Review": {
        "table": ("table", "List experiments with CV, change, cost and scores."),
        "show": ("table", "Show an experiment's run in detail."),
        "report": ("notebooks", "Write a report of a run or of a competition's data."),
    },
    "Submit": {
        "submit": ("submissions", "Check a run's submission and send it."),
        "submissions": ("submissions", "List submissions with CV, public and private scores."),
        "sync": ("submissions", "Fetch new scores from the platform."),
    },
    "Notebooks": {
        "notebook": ("notebooks", "Create, adopt and inspect notebooks."),
        "kernel": ("kernels", "Build, test, push and submit a kernel for a code competition."),
    },
    "System": {
        "init": ("workspace", "Create an empty workspace."),
        "doctor": ("workspace", "Check versions, disk, memory, ledger and data."),
        "ledger": ("workspace", "Rebuild the ledger from the run folders."),
        "cache": ("features", "Show and prune cached features."),
        "completion": ("workspace", "Print a shell completion script."),
        "demo": ("demo", "Run a complete example on real data."),
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
            raise TypeError(f"{cmd_name}_command is not a command")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from workbench.core.errors import did_you_mean

            raise click.UsageError(f"no command {args[0]!r}: {did_you_mean(args[0], COMMANDS, kind='command')}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<11}", text) for name, (_, text) in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands with this prefix, without importing their modules."""
        commands = [CompletionItem(n, help=text) for n, (_, text) in COMMANDS.items() if n.startswith(incomplete)]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]


def _show_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: ARG001
    if value and not ctx.resilient_parsing:
        # Looking up versions takes longer to import than everything else that help needs.
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
    """Run a Kaggle competition from data to submission: fetch, run, table, submit.

    The competition is taken from -c/--competition, the current folder, WB_COMPETITION, or the only one in the
    workspace, in this order. A unique prefix of its name is enough. Exit codes: 0 success, 1 failure, 2 usage error,
    130 interrupted.
    """


def shared_options(function: F) -> F:
    """Add the option that every command has: ``--json``."""
    option = click.option("--json", "as_json", is_flag=True, help="Print a JSON document on stdout and nothing else.")
    return option(function)


def competition_option(function: F) -> F:
    """Add ``-c/--competition``."""
    return click.option(
        "-c",
        "--competition",
        "slug",
        metavar="SLUG",
        help="The competition, or a prefix of its name.",
        shell_complete=complete_competition,
    )(function)


def storage_option(text: str) -> Callable[[F], F]:
    """Add ``--storage``, the address of a database for studies."""
    return click.option("--storage", metavar="URL", envvar="WB_STUDY_URL", callback=_refuse_password, help=text)


def _refuse_password(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    from workbench.core.credentials import has_password

    is_typed = ctx.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE
    if value is not None and is_typed and not ctx.resilient_parsing and has_password(value):
        raise click.UsageError(
            "--storage: the address contains a password, which would be visible in the list of processes and in the "
            "shell's history: set the environment variable WB_STUDY_URL instead",
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
        help='Memory for reading data and building features: "8GB", "50%". [default: 60% of the machine\'s]',
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
    _reopen_closed_streams()
    if COMPLETION_VARIABLE in os.environ:
        print_completions(wb, os.environ[COMPLETION_VARIABLE])
        sys.exit(0)
    command_line = sys.argv[1:] if arguments is None else arguments
    if arguments is None:  # another program that calls this shows its own tracebacks
        sanitize_tracebacks()
    with tolerant_streams(), handled_signals(command_line):
        code = _check_output(_run(command_line))
    sys.exit(code)


def _check_output(code: int) -> int:
    """Return the command's exit code, or a failure if its output could not be written; a closed pipe is no error."""
    error = lost(sys.stdout)
    if error is None or error.errno == errno.EPIPE:
        return code
    # For example a redirection to a full disk; the command itself has finished.
    note(styled("error: ", fg="red", bold=True) + f"the output can't be written: {error.strerror}")
    return code or 1


def _reopen_closed_streams() -> None:
    """Redirect closed standard streams (``wb table >&-``) to the null device.

    Otherwise the next file that is opened would get the descriptor of one, and output would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))


def _run(arguments: list[str]) -> int:  # noqa: PLR0911 one return per kind of exit
    """Run a command and return its exit code; errors are printed."""
    as_json = "--json" in arguments
    try:
        result = wb.main(args=arguments, prog_name="wb", standalone_mode=False, **_help_width())
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
        return _report_interruption(exc, arguments, as_json)
    except WorkbenchError as exc:
        return _report_error(exc, as_json)
    except SystemExit as exc:
        return _report_error(_unexpected_exit(exc), as_json)
    except OSError as exc:
        return _report_error(_storage_error(exc), as_json)
    except Exception as exc:
        if as_json:
            hint = "this is a bug in the workbench"
            echo_json({"error": {"type": type(exc).__name__, "message": masked(str(exc)), "hint": hint}})
        raise


def _report_interruption(exc: BaseException, arguments: list[str], as_json: bool) -> int:
    completed, command = resumption(exc, arguments)
    message = f"interrupted; {completed}" if completed else "interrupted"
    if as_json:
        echo_json({"error": {"type": "Interrupted", "message": message, "hint": command}})
        return CODE
    if exc.__cause__ is None and sys.stderr.isatty():
        note("")  # ends the line of the question that was interrupted
    note(message)
    if command:
        note(f"to continue: {command}")
    return CODE


def _help_width() -> dict[str, Any]:
    """Return the width of help for a terminal that is narrower than click's minimum."""
    columns = shutil.get_terminal_size().columns
    return {"terminal_width": max(columns - 2, 20)} if columns < 52 else {}


def _unexpected_exit(exc: SystemExit) -> WorkbenchError:
    """Return the error for an exit by user code; the commands themselves exit with an error message."""
    from workbench.core.user_code import EXIT_HINT, user_frame

    return WorkbenchError(f"code that the command called ended the process: {user_frame(exc)}", hint=EXIT_HINT)


def _report_error(exc: WorkbenchError, as_json: bool) -> int:
    if as_json:
        echo_json({"error": {"type": type(exc).__name__, "message": masked(exc.message), "hint": masked(exc.hint)}})
        if lost(sys.stdout) is None:
            return 1
    note_lines(styled("error: ", fg="red", bold=True) + exc.message)
    if exc.hint:
        note_lines(styled("hint: ", fg="yellow") + exc.hint)
    return 1


def _storage_error(exc: OSError) -> WorkbenchError:
    """Return the error for a disk failure that no other module translated; other errors are raised again."""
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
