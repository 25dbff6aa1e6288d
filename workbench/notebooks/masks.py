"""What must not be kept of a notebook's output: tokens and passwords."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Masks", "known_secrets"]

NAMED = re.compile(r"(token|secret|password|passwd|api_?key|_key$|credential)", re.IGNORECASE)
"""Names of environment variables whose values are secrets."""

SHAPED = re.compile(
    r"KGAT_[0-9A-Za-z_-]{16,}"  # Kaggle
    r"|gh[pousr]_[0-9A-Za-z]{20,}|github_pat_[0-9A-Za-z_]{20,}"
    r"|hf_[0-9A-Za-z]{20,}"  # Hugging Face
    r"|sk-[0-9A-Za-z_-]{20,}"
    r"|AKIA[0-9A-Z]{16}"  # Amazon
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password of an address
)
"""Texts that are tokens by their looks."""

LEAST = 8
"""A shorter value is too likely to stand in a text by chance."""

MASK = "[masked]"

PICTURES = ("image/png", "image/jpeg", "image/gif", "application/pdf")


def known_secrets(environment: Mapping[str, str] | None = None, home: Path | None = None) -> list[str]:
    """Return the secrets that this process could show: of its environment, and Kaggle's login on disk.

    Parameters
    ----------
    environment : mapping, optional
        By default the process's.
    home : Path, optional
        By default the user's.
    """
    environment = os.environ if environment is None else environment
    found = [value for name, value in environment.items() if NAMED.search(name)]
    folder = (home or Path.home()) / ".kaggle"
    for path in (folder / "kaggle.json", folder / "access_token"):
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        found.append(text)
        try:
            found.append(str(json.loads(text)["key"]))
        except (ValueError, KeyError, TypeError):
            continue
    return sorted({s for s in found if len(s) >= LEAST}, key=len, reverse=True)


class Masks:
    """Puts a mask in place of secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = list(secrets)

    def text(self, text: str) -> str:
        """Return a text with its secrets masked.

        Examples
        --------
        >>> Masks(["hunter2hunter2"]).text("logged in with hunter2hunter2 at https://me:pass@host/")
        'logged in with [masked] at https://[masked]@host/'
        """
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return SHAPED.sub(MASK, text)

    def within(self, value: Any) -> Any:
        """Return JSON with the secrets of its texts masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.within(v) for v in value]
        if isinstance(value, dict):
            # In a picture's letters and digits anything may stand by chance.
            return {k: v if str(k) in PICTURES else self.within(v) for k, v in value.items()}
        return value
