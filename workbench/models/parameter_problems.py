"""Parameters that can't be used: all of them are named at once, so that a list from elsewhere takes one look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from workbench.core.errors import ConfigError

__all__ = ["Refused", "refuse"]


class Refused(NamedTuple):
    """Why a parameter can't be used: what goes behind the name of its table, and what to do."""

    why: str
    hint: str = ""


def refuse(refused: Sequence[Refused], *, where: str) -> None:
    """Raise for parameters that can't be used, if there are any.

    Raises
    ------
    ConfigError
        Names each of them, with the reason.
    """
    if not refused:
        return
    if len(refused) == 1:
        raise ConfigError(f"{where} {refused[0].why}", hint=refused[0].hint)
    lines = "".join(f"\n  {r.why}" + (f" ({r.hint})" if r.hint else "") for r in refused)
    raise ConfigError(f"{where}, {len(refused)} things:{lines}", hint="take them out, or say them as their lines do")
