"""Logging in: which credential the client takes, and the client itself, imported with a deadline and in silence."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from workbench.core.credentials import kaggle_config_folder, token_files
from workbench.core.distribution import install_hint
from workbench.core.errors import PlatformError, UnansweredError, UnreachableError

__all__ = [
    "HOW_TO_LOG_IN",
    "HOW_TO_SIGN_IN",
    "Credential",
    "LoginState",
    "find_credential",
    "log_in",
    "login_state",
    "renew_login",
    "within",
]

T = TypeVar("T")

HOW_TO_LOG_IN = (
    "make a token on https://www.kaggle.com/settings (API) and put it into ~/.kaggle/access_token, or set "
    "KAGGLE_API_TOKEN; an older kaggle.json (username and key) works too"
)
HOW_TO_SIGN_IN = (
    "`kaggle auth login --force` signs in again; a token from https://www.kaggle.com/settings (API), in "
    "~/.kaggle/access_token or KAGGLE_API_TOKEN, needs no browser"
)


@dataclass(frozen=True)
class Credential:
    """Where the credential that the client takes comes from, and what may be wrong with it; never the secret itself."""

    source: str
    kind: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoginState:
    """What `wb doctor` says of the login. `ok` is False when something has to be fixed.

    `is_note` says that nothing is wrong, and yet there is something to know: there is no login, or it could not be
    tried.
    """

    ok: bool
    detail: str
    is_note: bool = False


def find_credential(environ: Mapping[str, str], home: Path) -> Credential | None:
    """Return what the client will log in with, in its own order, or None; nothing is asked of the network.

    A token goes before a key, the environment before a file, and a sign-in through the browser comes last; a token
    that does not work still beats a key that does.
    """
    credentials = [*_tokens(environ, home), *_keys(environ, home), *_browser(home)]
    if not credentials:
        return None
    first = credentials[0]
    problems = list(first.problems)
    if len(credentials) > 1:
        problems.append(f"it takes precedence over {', '.join(c.source for c in credentials[1:])}")
    return Credential(first.source, first.kind, tuple(problems))


def _tokens(environ: Mapping[str, str], home: Path) -> list[Credential]:
    tokens = []
    value = environ.get("KAGGLE_API_TOKEN")
    if value:
        where = "the file that KAGGLE_API_TOKEN names" if Path(value).is_file() else "KAGGLE_API_TOKEN"
        tokens.append(Credential(where, "token"))
    for path in token_files(home):
        if path.is_file() and path.read_text(errors="replace").strip():
            tokens.append(Credential(str(path), "token", _readable_by_others(path)))
    if environ.get("KAGGLE_TOKEN"):
        # The client reads every KAGGLE_ variable as a setting of its own, and "token" is one.
        tokens.append(Credential("KAGGLE_TOKEN", "token", ("the client reads KAGGLE_API_TOKEN, not this one",)))
    return tokens


def _keys(environ: Mapping[str, str], home: Path) -> list[Credential]:
    path = kaggle_config_folder(environ, home) / "kaggle.json"
    in_file: dict[str, Any] = {}
    problems: tuple[str, ...] = ()
    if path.is_file():
        problems = _readable_by_others(path)
        try:
            loaded = json.loads(path.read_text())
            in_file = loaded if isinstance(loaded, dict) else {}
        except (ValueError, OSError):
            problems += (f"{path} is not JSON and is ignored",)
    variables = [v for v in ("KAGGLE_USERNAME", "KAGGLE_KEY") if environ.get(v)]
    user, key = (environ.get(f"KAGGLE_{k.upper()}") or in_file.get(k) for k in ("username", "key"))
    if user and key:
        source = " and ".join([*variables, *([str(path)] if len(variables) < 2 else [])])
        return [Credential(source, "key", problems if len(variables) < 2 else ())]
    if variables or path.is_file():
        missing = "username" if not user else "key"
        where = " and ".join(variables) or str(path)
        return [Credential(where, "incomplete", (*problems, f"{where} has no {missing}"))]
    return []


def _browser(home: Path) -> list[Credential]:
    path = home / ".kaggle" / "credentials.json"
    return [Credential(str(path), "browser sign-in", _readable_by_others(path))] if path.is_file() else []


def _readable_by_others(path: Path) -> tuple[str, ...]:
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return (f"{path} can be read by other users: chmod 600 {path}",)
    return ()


def within(seconds: float, function: Callable[[], T], *, action: str) -> T:
    """Call a function of the client, in silence, and give up waiting after so many seconds.

    The client prints, calls `exit`, and in places waits forever: what it prints is dropped, an exit becomes an
    exception, and a call that does not come back is left behind in a thread that does not keep the process alive.

    Raises
    ------
    PlatformError
        When it takes too long.
    """
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as exc:  # noqa: BLE001 handed to the caller, SystemExit too
            outcome.append((None, exc))

    silence = io.StringIO()
    thread = threading.Thread(target=call, daemon=True)
    with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        thread.start()
        thread.join(seconds)
    if not outcome:
        raise UnreachableError(
            f"Kaggle did not answer within {seconds:.0f} s while {action}", hint="check the network, then try again"
        )
    value, error = outcome[0]
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]


def log_in(deadline_s: float) -> Any:
    """Return the client's `KaggleApi`, logged in.

    Raises
    ------
    PlatformError
        When the client is not installed, finds no credential, or can't make its folder.
    Exception
        What the client raises when it can't reach Kaggle, or is refused; `workbench.platforms.kaggle.connection`
        explains it.
    """
    try:
        return within(deadline_s, _authenticated, action="logging in")
    except ModuleNotFoundError as exc:
        raise PlatformError(
            f"Kaggle's client is not installed ({exc.name} is missing)", hint=install_hint("kaggle")
        ) from exc
    except SystemExit as exc:
        credential = find_credential(os.environ, Path.home())
        problem = (
            "no login for Kaggle was found"
            if credential is None
            else f"the login for Kaggle from {credential.source} is wrong"
        )
        more = "".join(f"; {p}" for p in credential.problems) if credential else ""
        raise PlatformError(problem + more, hint=HOW_TO_LOG_IN) from exc
    except PermissionError as exc:
        raise PlatformError(
            f"Kaggle's client can't write its folder: {exc.filename}",
            hint="set KAGGLE_CONFIG_DIR to a folder that can be written",
        ) from exc


def _authenticated() -> Any:
    import_is_login = "kaggle" not in sys.modules
    import kaggle
    from kaggle.api.kaggle_api_extended import KaggleApi

    if import_is_login and kaggle.api._authenticated:
        return kaggle.api
    # The import swallowed why it failed, or was done with another credential: this says it.
    api = KaggleApi()
    api.authenticate()
    return api


def renew_login(api: Any, prepare: Callable[[Any], Any]) -> bool:
    """Give the client a login that is newer than the one it has; False where there is none.

    A sign-in through the browser gives a token for 12 hours, and another token to renew it with; the client itself
    does that only half an hour after the first has ended (`KaggleCredentials.access_token_has_expired`). A token or key
    may have been replaced where the client reads it from.

    Parameters
    ----------
    api : KaggleApi
        The client; its settings are changed.
    prepare : callable
        Makes a client of the service ready for calls.

    Raises
    ------
    Exception
        What the client raises when it can't reach Kaggle, or is refused.
    """
    from kagglesdk import get_access_token_from_env

    values = api.config_values
    token, _ = get_access_token_from_env()
    if token and token != values.get("token"):
        values["token"] = token
        return True
    if values.get("auth_method", "").endswith("OAUTH"):
        renewed = _renewed_token(api, prepare)
        if renewed:
            values["token"] = renewed
        return bool(renewed)
    if values.get("token"):
        return False
    config = api.read_config_environment(api.read_config_file(quiet=True))
    if config.get("username") != values.get("username") or config.get("key") in (None, values.get("key")):
        return False
    values["key"] = config["key"]
    return True


def _renewed_token(api: Any, prepare: Callable[[Any], Any]) -> str | None:
    import requests
    from kagglesdk import KaggleCredentials

    # Without the token that has ended, as when the client logs in.
    client = api.build_kaggle_client_with_params(args=api.args)
    try:
        credentials = KaggleCredentials.load(client=prepare(client))
        if credentials is None:
            return None
        try:
            credentials.refresh_access_token()
        except requests.exceptions.RequestException:  # an OSError, too
            raise
        except OSError:
            pass  # its file can't be written: this process has the new token all the same
        return str(credentials.get_access_token())
    finally:
        client.__exit__(None, None, None)


def login_state(ask: Callable[[], None]) -> LoginState:
    """Return what `wb doctor` says of the login.

    Parameters
    ----------
    ask : callable
        Logs in and asks Kaggle something that needs a login; raises `PlatformError`.
    """
    credential = find_credential(os.environ, Path.home())
    if credential is None:
        return LoginState(True, f"no login; only needed for competitions on Kaggle: {HOW_TO_LOG_IN}", is_note=True)
    more = "".join(f"; {p}" for p in credential.problems)
    source = f"{credential.kind} from {credential.source}"
    try:
        ask()
    except (UnreachableError, UnansweredError) as exc:
        reason = f"{exc.message}. {exc.hint}".rstrip(". ")
        return LoginState(True, f"{source}{more}; whether Kaggle accepts it is not known: {reason}.", is_note=True)
    except PlatformError as exc:
        return LoginState(False, f"{source}{more}: {exc.message}. {exc.hint}".rstrip(". ") + ".")
    # A file that others can read lets them in as this user: that has to be fixed, though the login works.
    serious = [p for p in credential.problems if not p.startswith("it takes precedence over")]
    return LoginState(not serious, f"{source}, accepted{more}")
