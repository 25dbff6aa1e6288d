"""What is packed for a platform is looked through for secrets before any of it leaves this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workbench.core.credentials import Masks, secret_values
from workbench.core.errors import ConfigError

__all__ = ["check_no_secrets"]

MOST_BYTES = 256 * 2**20
"""A larger file is a table or a model."""

SHOWN = 5


def check_no_secrets(files: Mapping[str, Path], exp: int) -> None:
    """Refuse files in which a login of this user's, or what looks like a token, stands.

    Parameters
    ----------
    files : mapping
        Name in the bundle -> file; wheels are packages and are passed over.
    exp : int
        For the hint.

    Raises
    ------
    ConfigError
        Names the files and the lines, never the secret.
    """
    masks = Masks(secret_values())
    found = []
    for name, path in files.items():
        if name.startswith("wheels/") or path.stat().st_size > MOST_BYTES:
            continue
        lines = masks.lines_with_secrets(path.read_bytes().decode("utf-8", errors="replace"))
        found += [f"{name.removeprefix('competition/')}, line {line}" for line in lines[:SHOWN]]
    if found:
        more = f" and {len(found) - SHOWN} more places" if len(found) > SHOWN else ""
        raise ConfigError(
            f"a password or token would be uploaded; it is in {'; '.join(found[:SHOWN])}{more}",
            hint="take it out, have code read it from the environment, and make a new one where it was shared; then "
            f"`wb run {exp} --force` keeps the code without it",
        )
