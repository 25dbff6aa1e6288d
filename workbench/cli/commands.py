"""Classes of commands: examples at the end of the help, and an experiment's number as an option or an argument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from workbench.cli.completion import complete_experiment
from workbench.cli.interrupt import Interrupted
from workbench.core.errors import WorkbenchError
from workbench.core.operating_system import require_posix

__all__ = ["Command", "CommandGroup", "ExperimentOption", "experiment_option"]

F = TypeVar("F", bound=Callable[..., Any])
WINDOWS_COMMANDS = ("completion", "doctor", "init", "new", "show", "submissions", "table")
"""The commands that work on Windows."""

UNLIMITED = 10_000
"""More characters than a summary has; click truncates longer ones."""


class Command(click.Command):
    """A command whose help ends with examples.

    Parameters
    ----------
    examples : sequence of str
        Command lines. A line that begins with a space continues the one before.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; an experiment's number gets one name, whether it is an option or an argument.

        Raises
        ------
        UnsupportedError
            On Windows, unless the command works there or its help is asked for.
        """
        asks_for_help = any(name in args for name in self.get_help_option_names(ctx))
        if _name(ctx) not in WINDOWS_COMMANDS and not asks_for_help and not ctx.resilient_parsing:
            require_posix(f"wb {_name(ctx)}")
        remaining = super().parse_args(ctx, args)
        for parameter in self.params:
            if isinstance(parameter, ExperimentOption):
                parameter.merge_argument(ctx)
        return remaining

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command, and add its name to an interruption."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as exc:
            raise Interrupted(_name(ctx)) from exc
        except BrokenPipeError as exc:
            # Not of a standard stream, as those do not raise here; click would exit without a message.
            raise WorkbenchError("the command wrote to another program that has exited: Broken pipe") from exc

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples without wrapping, so that they can be copied."""
        super().format_epilog(ctx, formatter)
        write_examples(self.examples, formatter)


def _name(ctx: click.Context) -> str:
    """Return the name of a command, such as "kernel push"."""
    return ctx.command_path.partition(" ")[2]


class CommandGroup(click.Group):
    """A group of commands whose help ends with examples, and whose summaries are not truncated."""

    command_class = Command

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries, which may take several lines."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, c.get_short_help_str(UNLIMITED)) for name, c in commands if c is not None])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands with this prefix, with their summaries, and the options."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        items = [
            CompletionItem(name, help=c.get_short_help_str(UNLIMITED))
            for name, c in commands
            if c is not None and name.startswith(incomplete)
        ]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        super().format_epilog(ctx, formatter)
        write_examples(self.examples, formatter)


def write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    """Write a section of examples."""
    if not examples:
        return
    with formatter.section("Examples"):
        for line in examples:
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class ExperimentOption(click.Option):
    """``--exp N``, which can also be an argument: ``wb submit 2`` is ``wb submit --exp 2``.

    Parameters
    ----------
    argument : str
        The argument's name.
    needed : bool
        Whether the number is required.
    several : bool
        Whether several are allowed; the value is then a text such as "3,5-7".
    """

    def __init__(self, *args: Any, argument: str, needed: bool = True, several: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.argument = argument
        self.needed = needed
        self.several = several

    def merge_argument(self, ctx: click.Context) -> None:
        """Store the number under the option's name, whether it was given as an option or an argument.

        Raises
        ------
        click.UsageError
            When argument and option differ, or a required number is missing.
        """
        name = str(self.name)
        option, argument = ctx.params[name], self._take_argument(ctx)
        if ctx.resilient_parsing:
            return
        if argument is None and option is None and self.needed:
            raise click.UsageError(f"Missing option '--exp', or the number alone: {ctx.command_path} 3", ctx)
        if argument is not None and option is not None and self._numbers(argument) != self._numbers(option):
            raise click.UsageError(
                f"the argument is experiment {argument}, but --exp is {option}: use one of them", ctx
            )
        ctx.params[name] = argument if option is None else option

    def _take_argument(self, ctx: click.Context) -> Any:
        """Remove the experiment from the argument's values and return it; None without one."""
        value = ctx.params[self.argument]
        if self.several:
            del ctx.params[self.argument]
            return ",".join(value) if value else None
        if not isinstance(value, tuple):
            del ctx.params[self.argument]
            return value
        # The argument may also contain features, whose names are never numbers.
        numbers = {int(v) for v in value if v.isdecimal()}
        if len(numbers) > 1 and not ctx.resilient_parsing:
            raise click.UsageError(f"expected one experiment, got {', '.join(map(str, sorted(numbers)))}", ctx)
        ctx.params[self.argument] = tuple(v for v in value if not v.isdecimal())
        return numbers.pop() if numbers else None

    def _numbers(self, value: Any) -> set[int]:
        if not self.several:
            return {value}
        from workbench.api.values import parse_numbers

        return set(parse_numbers(value))


def experiment_option(
    name: str = "number",
    *names: str,
    text: str = "The experiment.",
    needed: bool = True,
    several: bool = False,
    shared_argument: str | None = None,
) -> Callable[[F], F]:
    """Add the number of an experiment to a command, as ``--exp N`` and as an argument.

    Parameters
    ----------
    name : str
        The parameter of the command's function.
    *names : str
        Further names of the option, such as "--from".
    shared_argument : str, optional
        The command's own argument that may contain the number among other words; by default an argument for the number
        is added.
    """

    def decorate(function: F) -> F:
        value_type = str if several else int
        metavar = "N" + "..." * several if needed else "[N]"
        if shared_argument is None:
            function = click.argument(
                "experiment",
                type=value_type,
                nargs=-1 if several else 1,
                required=False,
                metavar=metavar,
                shell_complete=complete_experiment,
            )(function)
        return click.option(
            *names,
            "--exp",
            name,
            cls=ExperimentOption,
            type=value_type,
            metavar="N",
            help=text,
            argument=shared_argument or "experiment",
            needed=needed,
            several=several,
            shell_complete=complete_experiment,
        )(function)

    return decorate
