"""Find the user's secrets, and mask them in text that is printed, logged or sent.

`secret_values` collects every login that the workbench accepts, and those of other services (clouds, databases) that
are likely to be on the machine. Values are never shown or stored.
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

__all__ = [
    "Masks",
    "has_password",
    "kaggle_config_folder",
    "login_paths",
    "process_masks",
    "secret_values",
    "token_files",
]

SECRET_NAME = re.compile(
    r"token|secret|passw|passphrase|api_?key|access_?key|private_?key|credential|connection_?string"
    r"|(?:^|_)(?:key|pass|dsn|sas|auth|cookie)$|_pwd$",
    re.IGNORECASE,
)
"""Names of environment variables, of entries in files and of URL parameters whose values are secrets."""

NOT_SECRET_NAME = re.compile(r"sock|user_?name|_?path$|_uri$|_expir|scopes?$", re.IGNORECASE)
"""Names that `SECRET_NAME` matches and whose values are no secrets."""

SECRET_SHAPE = re.compile(
    r"KGAT_[0-9A-Za-z_-]{16,}"  # Kaggle
    r"|gh[pousr]_[0-9A-Za-z]{20,}|github_pat_[0-9A-Za-z_]{20,}"
    r"|hf_[0-9A-Za-z]{20,}"  # Hugging Face
    r"|sk-[0-9A-Za-z_-]{20,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}"  # Amazon
    r"|AIza[0-9A-Za-z_-]{35}"  # Google
    r"|xox[abprs]-[0-9A-Za-z-]{10,}"  # Slack
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password in a URL
)
"""Texts that are secrets by their format."""

MIN_LENGTH = 8
"""Shorter values are too likely to occur in a text by chance."""

MIN_PASSWORD_LENGTH = 6
"""Less than `MIN_LENGTH`, as a password in a URL is certainly a secret."""

MAX_FILE_BYTES = 64 * 1024
"""Larger files do not hold a login."""

MASK = "[masked]"

BASE64_KEYS = ("image/png", "image/jpeg", "image/gif", "application/pdf")
"""MIME types whose base64 data may contain anything by chance."""

LOGIN_FILES = (
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
"""Files of other programs with logins, relative to the home folder."""


def token_files(home: Path) -> tuple[Path, ...]:
    """Return the files that Kaggle's client reads a token from, in its order."""
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
    """Return every secret that this process could reveal, the longest first.

    These are environment variables with telling names, or the contents of the files that they name; passwords in URLs
    of databases, proxies and package indexes; Kaggle's logins on disk; and logins of cloud services, git and others in
    the home folder. The forms in which URLs, JSON and HTML encode them are included.

    Parameters
    ----------
    environment : mapping, optional
        The environment of this process by default.
    home : Path, optional
        The user's home folder by default.
    addresses : iterable of str
        Further URLs that may hold a password, such as that of a study's database.
    """
    environment = os.environ if environment is None else environment
    home = home or _home()
    secrets: set[str] = set()
    for name, value in environment.items():
        secrets |= set(_variable_secrets(name, value))
    for address in addresses:
        secrets |= set(_address_secrets(address))
    for path in (*_kaggle_files(environment, home), *(home / name for name in LOGIN_FILES)):
        secrets |= set(_file_secrets(path))
    secrets |= {form for value in secrets for form in _encoded_forms(value)}
    user, key = environment.get("KAGGLE_USERNAME"), environment.get("KAGGLE_KEY")
    if user and key:
        secrets.add(base64.b64encode(f"{user}:{key}".encode()).decode())
    return sorted(secrets, key=lambda value: (-len(value), value))


def login_paths(home: Path | None = None) -> list[Path]:
    """Return the existing files and folders below the home folder that hold logins and keys."""
    home = home or _home()
    names = {name if name.startswith((".config/", ".cache/")) else name.partition("/")[0] for name in LOGIN_FILES}
    names |= {".kaggle", ".ssh", ".gnupg", ".config/gcloud", ".config/kaggle", ".config/gh", ".cache/huggingface"}
    paths = [home / name for name in sorted(names) if (home / name).exists()]
    return [p for p in paths if not any(other in p.parents for other in paths)]


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


def _variable_secrets(name: str, value: str) -> Iterator[str]:
    """Yield the secrets of an environment variable: its value, those in the file it names, passwords in URLs."""
    yield from _address_secrets(value)
    for entry in value.split(";") if ";" in value else ():  # a connection string
        field_name, _, field_value = entry.partition("=")
        if SECRET_NAME.search(field_name.strip().removeprefix("Account")) and len(field_value) >= MIN_LENGTH:
            yield field_value
    is_secret = SECRET_NAME.search(name) is not None and NOT_SECRET_NAME.search(name) is None
    if not is_secret and not re.search(r"credentials|token|netrc|pgpass", name, re.IGNORECASE):
        return
    if len(value) < 4096 and "\n" not in value and _is_file(value):
        yield from _file_secrets(Path(value))
    elif is_secret and len(value) >= MIN_LENGTH:
        yield value


def _is_file(value: str) -> bool:
    try:
        return Path(value).is_file()
    except (OSError, ValueError):
        return False


def has_password(address: str) -> bool:
    """Tell whether a URL contains a password.

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
    # urlsplit cuts a password that contains "/", "?" or "#".
    user_info = address.split("://", 1)[1].rpartition("@")[0]
    full_password = user_info.partition(":")[2]
    if full_password and "\n" not in full_password and " " not in full_password:
        yield full_password
    if parts is not None:
        if parts.password and parts.password != full_password:
            yield parts.password
        yield from (value for name, value in parse_qsl(parts.query) if SECRET_NAME.search(name) and value)


def _address_secrets(address: str) -> Iterator[str]:
    for password in _passwords(address):
        yield from (form for form in {password, unquote(password)} if len(form) >= MIN_PASSWORD_LENGTH)


def _file_secrets(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError):
        return
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict | list):
        yield from _json_secrets(data)
        return
    if len(text) >= MIN_LENGTH and not re.search(r"\s", text):
        yield text  # a token alone
    for line in text.splitlines():
        yield from _address_secrets(line)
        entry = re.match(r"""\s*["']?([\w.-]+)["']?\s*[=:]\s*["']?([^\s"']+)""", line)
        if entry and SECRET_NAME.search(entry[1]) and len(entry[2]) >= MIN_LENGTH:
            yield entry[2]
        yield from (word for word in re.findall(r"\bpassword\s+(\S+)", line) if len(word) >= MIN_PASSWORD_LENGTH)
        if path.name == ".pgpass" and line.count(":") >= 4 and len(line.rpartition(":")[2]) >= MIN_PASSWORD_LENGTH:
            yield line.rpartition(":")[2]


def _json_secrets(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _json_secrets(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _json_secrets(inner, name)
    elif (
        isinstance(value, str)
        and len(value) >= MIN_LENGTH
        and SECRET_NAME.search(name)
        and not NOT_SECRET_NAME.search(name)
    ):
        yield value
        # A key of several lines may be printed line by line.
        yield from (line for line in value.splitlines() if len(line) >= 32 and not line.startswith("-----"))


def _encoded_forms(value: str) -> Iterator[str]:
    """Yield a secret as it is encoded in URLs, in JSON and in HTML."""
    yield from (quote(value, safe=""), json.dumps(value)[1:-1], html.escape(value))


class Masks:
    """Replaces secrets by a mask.

    Parameters
    ----------
    secrets : iterable of str
        Known values; texts that match `SECRET_SHAPE` are masked as well.
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
        return SECRET_SHAPE.sub(MASK, text if self._pattern is None else self._pattern.sub(MASK, text))

    def in_json(self, value: Any) -> Any:
        """Return a JSON value with the secrets in its texts masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.in_json(v) for v in value]
        if isinstance(value, dict):
            return {k: v if str(k) in BASE64_KEYS else self.in_json(v) for k, v in value.items()}
        return value

    def lines_with_secrets(self, text: str) -> list[int]:
        """Return the numbers of the lines with a secret, counted from 1."""
        starts = {m.start() for pattern in (self._pattern, SECRET_SHAPE) if pattern for m in pattern.finditer(text)}
        return sorted({text.count("\n", 0, start) + 1 for start in starts})


@cache
def process_masks() -> Masks:
    """Return the masks for the secrets of this process, collected once."""
    return Masks(secret_values())
