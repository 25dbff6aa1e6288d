"""Scan files for secrets before they are uploaded to a platform."""

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
    """Refuse files that contain one of the user's credentials, or what looks like a token.

    Parameters
    ----------
    files : mapping
        Name in the bundle -> file; wheels are packages and are skipped.
    exp : int
        For the hint.

    Raises
    ------
    ConfigError
        With the files and the lines, never the secret.
    """
    masks = Masks(secret_values())
    places = []
    for name, path in files.items():
        if name.startswith("wheels/") or path.stat().st_size > MOST_BYTES:
            continue
        lines = masks.lines_with_secrets(path.read_bytes().decode("utf-8", errors="replace"))
        places += [f"{name.removeprefix('competition/')}, line {line}" for line in lines[:SHOWN]]
    if places:
        more = f" and {len(places) - SHOWN} more places" if len(places) > SHOWN else ""
        raise ConfigError(
            f"a password or token would be uploaded; it is in {'; '.join(places[:SHOWN])}{more}",
            hint="remove it, read it from the environment instead, and revoke it if it was shared; then "
            f"`wb run {exp} --force` stores the code without it",
        )
