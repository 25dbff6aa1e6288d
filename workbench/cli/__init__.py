"""The command `wb`: parse, call one function, print.

`app` lists the commands, which are in modules by subject; `commands` has their shared classes, `terminal` prints,
`progress` draws bars, and `interrupt` handles Ctrl-C. A new command is a function in the module of its subject, its
name in `app`, and its section in `docs/reference/commands.md`.
"""

from workbench.cli.app import main

__all__ = ["main"]
