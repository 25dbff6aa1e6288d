"""Scan files for secrets before they are uploaded to a platform."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workbench.core.credentials import Masks, secret_values
from workbench.core.errors import ConfigError

__all__ = ["check_no_secrets"]

MAX_BYTES = 256 * 2**20
"""Larger files are tables or models, and are not scanned."""

MAX_SHOWN = 5


def check_no_secrets(files: Mapping[str, Path], exp: int) -> None:
    """Refuse files that contain one of the user's credentials, or what looks like a token.

    Parameters
    ----------
    files : mapping
        The files by their names in the bundle. Wheels are skipped: they are packages.
    exp : int
        The experiment's number, for the hint.

    Raises
    ------
    ConfigError
        With the files and the lines, never the secret.
    """
    masks = Masks(secret_values())
    places = []
    for name, path in files.items():
        if name.startswith("wheels/") or path.stat().st_size > MAX_BYTES:
            continue
        line_numbers = masks.lines_with_secrets(path.read_bytes().decode("utf-8", errors="replace"))
        places += [f"{name.removeprefix('competition/')}, line {number}" for number in line_numbers[:MAX_SHOWN]]
    if places:
        remainder_text = f" and {len(places) - MAX_SHOWN} more places" if len(places) > MAX_SHOWN else ""
        raise ConfigError(
            f"a password or token would be uploaded; it is in {'; '.join(places[:MAX_SHOWN])}{remainder_text}",
            hint="remove it, read it from the environment instead, and revoke it if it was shared; then "
            f"`wb run {exp} --force` stores the code without it",
        )
