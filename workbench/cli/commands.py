"""What all commands are made of: examples at the end of their help, and an experiment's number in two forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from workbench.cli.completion import complete_experiment
from workbench.cli.interrupt import Interrupted
from workbench.core.errors import WorkbenchError

__all__ = ["Command", "CommandGroup", "ExperimentOption", "experiment_option"]

F = TypeVar("F", bound=Callable[..., Any])
UNBROKEN = 10_000
"""More letters than a summary has: click cuts it after so many."""


class Command(click.Command):
    """A command whose help ends with examples.

    Parameters
    ----------
    examples : sequence of str
        Lines as one types them. A line that begins with a blank goes on with the one before.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; an experiment's number is then under one name, whichever form it has."""
        remaining = super().parse_args(ctx, args)
        for parameter in self.params:
            if isinstance(parameter, ExperimentOption):
                parameter.settle(ctx)
        return remaining

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command; where it is interrupted, what it leaves is known from here on."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as exc:
            raise Interrupted(ctx.command_path.partition(" ")[2]) from exc
        except BrokenPipeError as exc:
            # None of the standard streams', which raise nothing; click would take it for that, and end without a word.
            raise WorkbenchError("the command wrote to another program, which has ended: Broken pipe") from exc

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples; they are not wrapped, to be copied as they are."""
        super().format_epilog(ctx, formatter)
        write_examples(self.examples, formatter)


class CommandGroup(click.Group):
    """A group of commands: like `Command`, and the summaries of its commands are whole."""

    command_class = Command

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries, on more lines where one is too short."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, c.get_short_help_str(UNBROKEN)) for name, c in commands if c is not None])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so with their whole summaries, and the options."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        items = [
            CompletionItem(name, help=c.get_short_help_str(UNBROKEN))
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
    """``--exp N``, which may also be given as an argument: ``wb submit 2`` is ``wb submit --exp 2``.

    Parameters
    ----------
    argument : str
        The argument's name.
    needed : bool
        Whether the command does nothing without a number.
    several : bool
        Whether it takes several: the value is then their text, "3,5-7".
    """

    def __init__(self, *args: Any, argument: str, needed: bool = True, several: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.argument = argument
        self.needed = needed
        self.several = several

    def settle(self, ctx: click.Context) -> None:
        """Put the number under the option's own name.

        Raises
        ------
        click.UsageError
            Where argument and option name different experiments, or a number is needed and there is none.
        """
        name = str(self.name)
        option, argument = ctx.params[name], self._take_argument(ctx)
        if ctx.resilient_parsing:
            return
        if argument is None and option is None and self.needed:
            raise click.UsageError(f"Missing option '--exp', or the number alone: {ctx.command_path} 3", ctx)
        if argument is not None and option is not None and self._numbers(argument) != self._numbers(option):
            raise click.UsageError(
                f"the argument says experiment {argument}, and --exp says {option}: give one of them", ctx
            )
        ctx.params[name] = argument if option is None else option

    def _take_argument(self, ctx: click.Context) -> Any:
        value = ctx.params[self.argument]
        if self.several:
            del ctx.params[self.argument]
            return ",".join(value) if value else None
        if not isinstance(value, tuple):
            del ctx.params[self.argument]
            return value
        # Features stand beside the number: their names are never numbers.
        numbers = {int(v) for v in value if v.isdecimal()}
        if len(numbers) > 1 and not ctx.resilient_parsing:
            raise click.UsageError(
                f"one experiment at a time, and here are {', '.join(map(str, sorted(numbers)))}", ctx
            )
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
    beside: str | None = None,
) -> Callable[[F], F]:
    """Give a command the number of an experiment, as ``--exp N`` and as an argument.

    Parameters
    ----------
    name : str
        The parameter of the command's function.
    *names : str
        Further names of the option: "--from".
    beside : str, optional
        The name of an argument that takes other words too, and that the command has; by default there is one for the
        number alone.
    """

    def decorate(function: F) -> F:
        kind = str if several else int
        shown = "N" + "..." * several if needed else "[N]"
        if beside is None:
            function = click.argument(
                "experiment",
                type=kind,
                nargs=-1 if several else 1,
                required=False,
                metavar=shown,
                shell_complete=complete_experiment,
            )(function)
        return click.option(
            *names,
            "--exp",
            name,
            cls=ExperimentOption,
            type=kind,
            metavar="N",
            help=text,
            argument=beside or "experiment",
            needed=needed,
            several=several,
            shell_complete=complete_experiment,
        )(function)

    return decorate
