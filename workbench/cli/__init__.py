"""The command `wb`: parse, call one function, print.

`app` gathers the commands, each of which stands in the module of its subject; `commands` has what they share,
`terminal` prints, `progress` draws bars, `interrupt` ends what Ctrl-C ends. A new command is a function in the module
of its subject, its name in `app`, and its section in the README.
"""

from workbench.cli.app import main

__all__ = ["main"]
