"""Which texts are secrets, wherever a login of this user's is kept, and masks for what is printed, logged and sent.

`secret_values` is the one place that knows: whatever login the workbench accepts, and whatever others are likely to be
there (the cloud's, a database's), it yields. No value is ever shown, and none is kept.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

__all__ = ["Masks", "has_password", "kaggle_config_folder", "login_places", "own_masks", "secret_values", "token_files"]

NAMED = re.compile(
    r"token|secret|passw|passphrase|api_?key|access_?key|private_?key|credential|connection_?string"
    r"|(?:^|_)(?:key|pass|dsn|sas|auth|cookie)$|_pwd$",
    re.IGNORECASE,
)
"""Names of variables, of entries in files and of an address's parameters whose values are secrets."""

NO_SECRET = re.compile(r"sock|user_?name|_?path$|_uri$|_expir|scopes?$", re.IGNORECASE)

SHAPED = re.compile(
    r"KGAT_[0-9A-Za-z_-]{16,}"  # Kaggle
    r"|gh[pousr]_[0-9A-Za-z]{20,}|github_pat_[0-9A-Za-z_]{20,}"
    r"|hf_[0-9A-Za-z]{20,}"  # Hugging Face
    r"|sk-[0-9A-Za-z_-]{20,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}"  # Amazon
    r"|AIza[0-9A-Za-z_-]{35}"  # Google
    r"|xox[abprs]-[0-9A-Za-z-]{10,}"  # Slack
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password of an address
)
"""Texts that are secrets by their looks."""

LEAST = 8
"""A shorter value is too likely to occur in a text by chance."""

LEAST_PASSWORD = 6
"""A password in an address is one for certain."""

MOST_BYTES = 64 * 1024
"""A larger file is no login."""

MASK = "[masked]"

PICTURES = ("image/png", "image/jpeg", "image/gif", "application/pdf")

FILES = (
    ".netrc",
    ".pgpass",
    ".pypirc",
    ".git-credentials",
    ".aws/credentials",
    ".azure/accessTokens.json",
    ".azure/msal_token_cache.json",
    ".boto",
    ".cache/huggingface/token",
    ".cache/huggingface/stored_tokens",
    ".config/gcloud/application_default_credentials.json",
    ".config/gcloud/credentials.db",
    ".config/rclone/rclone.conf",
    ".docker/config.json",
    ".huggingface/token",
    ".modal.toml",
    ".s3cfg",
)
"""Where others keep their logins, below the home folder."""


def token_files(home: Path) -> tuple[Path, ...]:
    """Return the files that Kaggle's client takes a token from, the one that comes first before the other."""
    return tuple(home / ".kaggle" / name for name in ("access_token", "access_token.txt"))


def kaggle_config_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Return the folder in which Kaggle's client looks for ``kaggle.json``."""
    if environ.get("KAGGLE_CONFIG_DIR"):
        return Path(environ["KAGGLE_CONFIG_DIR"])
    if (home / ".kaggle").exists() or not sys.platform.startswith("linux"):
        return home / ".kaggle"
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"


def secret_values(
    environment: Mapping[str, str] | None = None, home: Path | None = None, *, addresses: Iterable[str] = ()
) -> list[str]:
    """Return every secret that this process could show, the longest first.

    These are the values of variables that are named so, or the contents of the files that they name; passwords in
    addresses of databases, proxies and package indexes; Kaggle's logins on disk, in all their forms; the logins that
    cloud services, git and others keep in the home folder.

    Parameters
    ----------
    environment : mapping, optional
        By default the process's.
    home : Path, optional
        By default the user's.
    addresses : iterable of str
        URLs from elsewhere, such as that of a study's database.
    """
    environment = os.environ if environment is None else environment
    home = home or _home()
    secrets: set[str] = set()
    for name, value in environment.items():
        secrets |= set(_of_variable(name, value))
    for address in addresses:
        secrets |= set(_in_address(address))
    for path in (*_kaggle_files(environment, home), *(home / name for name in FILES)):
        secrets |= set(_in_file(path))
    secrets |= {form for value in secrets for form in _other_forms(value)}
    user, key = environment.get("KAGGLE_USERNAME"), environment.get("KAGGLE_KEY")
    if user and key:
        secrets.add(base64.b64encode(f"{user}:{key}".encode()).decode())
    return sorted(secrets, key=lambda value: (-len(value), value))


def login_places(home: Path | None = None) -> list[Path]:
    """Return the files and folders of the home that hold logins and keys, as far as they are there."""
    home = home or _home()
    names = {name if name.startswith((".config/", ".cache/")) else name.partition("/")[0] for name in FILES}
    names |= {".kaggle", ".ssh", ".gnupg", ".config/gcloud", ".config/kaggle", ".config/gh", ".cache/huggingface"}
    places = [home / name for name in sorted(names) if (home / name).exists()]
    return [p for p in places if not any(other in p.parents for other in places)]


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def _kaggle_files(environment: Mapping[str, str], home: Path) -> Iterator[Path]:
    yield from token_files(home)
    for folder in (home / ".kaggle", kaggle_config_folder(environment, home), home / ".config" / "kaggle"):
        yield folder / "kaggle.json"
        yield folder / "credentials.json"


def _of_variable(name: str, value: str) -> Iterator[str]:
    """Yield what is secret of a variable: its value, what the file holds that it names, passwords in addresses."""
    yield from _in_address(value)
    for entry in value.split(";") if ";" in value else ():  # a connection string
        part, _, of_part = entry.partition("=")
        if NAMED.search(part.strip().removeprefix("Account")) and len(of_part) >= LEAST:
            yield of_part
    is_secret = NAMED.search(name) is not None and NO_SECRET.search(name) is None
    if not is_secret and not re.search(r"credentials|token|netrc|pgpass", name, re.IGNORECASE):
        return
    if len(value) < 4096 and "\n" not in value and _is_file(value):
        yield from _in_file(Path(value))
    elif is_secret and len(value) >= LEAST:
        yield value


def _is_file(value: str) -> bool:
    try:
        return Path(value).is_file()
    except (OSError, ValueError):
        return False


def has_password(address: str) -> bool:
    """Tell whether an address holds a password.

    Examples
    --------
    >>> [has_password(a) for a in ("postgresql://me:pw@host/db", "postgresql://me@host/db?password=x", "sqlite:///a.db")]
    [True, True, False]
    """
    return any(True for _ in _passwords(address))


def _passwords(address: str) -> Iterator[str]:
    if "://" not in address:
        return
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        parts = None
    # A password that has signs of the address itself in it is not found where it should be.
    user_info = address.split("://", 1)[1].rpartition("@")[0]
    named = user_info.partition(":")[2]
    if named and "\n" not in named and " " not in named:
        yield named
    if parts is not None:
        if parts.password and parts.password != named:
            yield parts.password
        yield from (value for name, value in parse_qsl(parts.query) if NAMED.search(name) and value)


def _in_address(address: str) -> Iterator[str]:
    for password in _passwords(address):
        yield from (form for form in {password, unquote(password)} if len(form) >= LEAST_PASSWORD)


def _in_file(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_size > MOST_BYTES:
            return
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError):
        return
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict | list):
        yield from _in_json(data)
        return
    if len(text) >= LEAST and not re.search(r"\s", text):
        yield text  # a token alone
    for line in text.splitlines():
        yield from _in_address(line)
        entry = re.match(r"""\s*["']?([\w.-]+)["']?\s*[=:]\s*["']?([^\s"']+)""", line)
        if entry and NAMED.search(entry[1]) and len(entry[2]) >= LEAST:
            yield entry[2]
        yield from (word for word in re.findall(r"\bpassword\s+(\S+)", line) if len(word) >= LEAST_PASSWORD)
        if path.name == ".pgpass" and line.count(":") >= 4 and len(line.rpartition(":")[2]) >= LEAST_PASSWORD:
            yield line.rpartition(":")[2]


def _in_json(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _in_json(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _in_json(inner, name)
    elif isinstance(value, str) and len(value) >= LEAST and NAMED.search(name) and not NO_SECRET.search(name):
        yield value
        # A key of several lines is printed line by line.
        yield from (line for line in value.splitlines() if len(line) >= 32 and not line.startswith("-----"))


def _other_forms(value: str) -> Iterator[str]:
    """Yield how a secret is written in an address, in JSON and in a page."""
    yield from (quote(value, safe=""), json.dumps(value)[1:-1], html.escape(value))


class Masks:
    """Puts a mask in place of secrets.

    Parameters
    ----------
    secrets : iterable of str
        Known values; what is a secret by its looks is masked beside them.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        longest_first = sorted(set(filter(None, secrets)), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        """Return a text with its secrets masked.

        Examples
        --------
        >>> Masks(["hunter2hunter2"]).text("logged in with hunter2hunter2 at https://me:pass@host/")
        'logged in with [masked] at https://[masked]@host/'
        """
        return SHAPED.sub(MASK, text if self._pattern is None else self._pattern.sub(MASK, text))

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

    def lines_with_secrets(self, text: str) -> list[int]:
        """Return the numbers of the lines in which a secret stands, beginning with 1."""
        starts = {m.start() for pattern in (self._pattern, SHAPED) if pattern for m in pattern.finditer(text)}
        return sorted({text.count("\n", 0, start) + 1 for start in starts})


@cache
def own_masks() -> Masks:
    """Return the masks for the secrets of this process, found once."""
    return Masks(secret_values())
