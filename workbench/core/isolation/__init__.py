"""Commands in a world of their own: what they see, what they may change, and that nothing of them stays behind.

On Linux a command gets namespaces of its own for users, mounts, processes, and the network where there is to be none,
through the system's own calls: no program has to be installed. Where the system forbids that, as many containers do,
`abilities` says so, and a command can still be started so that what it starts ends with it.
"""

from workbench.core.isolation.running import Abilities, Running, abilities, started
from workbench.core.isolation.world import World, clean_environment

__all__ = ["Abilities", "Running", "World", "abilities", "clean_environment", "started"]
