"""Run commands in a sandbox, and kill their processes with them.

On Linux a sandbox has its own user, mount and process namespaces, and its own network namespace if it is to have no
network. They are created by system calls, without another program. Many containers forbid that (`isolation_support`
tells): a command then runs without a sandbox, but its processes are still killed with it.
"""

from workbench.core.isolation.command import IsolationSupport, RunningCommand, isolation_support, start_command
from workbench.core.isolation.sandbox import Sandbox, clean_environment

__all__ = ["IsolationSupport", "RunningCommand", "Sandbox", "clean_environment", "isolation_support", "start_command"]
