"""Parameters that can't be used, reported all at once: a list copied from elsewhere may have several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from workbench.core.errors import ConfigError

__all__ = ["RejectedParameter", "reject_parameters"]


class RejectedParameter(NamedTuple):
    """A parameter that can't be used: the reason, which follows the table's name in the message, and a hint."""

    reason: str
    hint: str = ""


def reject_parameters(rejected: Sequence[RejectedParameter], *, where: str) -> None:
    """Raise an error with all parameters that can't be used, if there are any.

    Raises
    ------
    ConfigError
        With the reason of each of them.
    """
    if not rejected:
        return
    if len(rejected) == 1:
        raise ConfigError(f"{where} {rejected[0].reason}", hint=rejected[0].hint)
    lines = "".join(f"\n  {r.reason}" + (f" ({r.hint})" if r.hint else "") for r in rejected)
    raise ConfigError(f"{where}: {len(rejected)} problems:{lines}", hint="remove these parameters, or fix them")
