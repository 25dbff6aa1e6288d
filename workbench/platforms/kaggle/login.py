"""Logging in: the credential that the client will use, and the client itself, imported with a timeout and silenced."""

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
    "call_within",
    "find_credential",
    "log_in",
    "login_state",
    "renew_login",
]

T = TypeVar("T")

HOW_TO_LOG_IN = (
    "create a token on https://www.kaggle.com/settings (API) and put it into ~/.kaggle/access_token, or set "
    "KAGGLE_API_TOKEN; an older kaggle.json (username and key) works too"
)
HOW_TO_SIGN_IN = (
    "`kaggle auth login --force` signs in again; a token from https://www.kaggle.com/settings (API), in "
    "~/.kaggle/access_token or KAGGLE_API_TOKEN, needs no browser"
)


@dataclass(frozen=True)
class Credential:
    """Where the credential that the client will use is stored, and its problems; never the secret itself.

    `source` is a file or the name of a variable, or both. `kind` is "token", "key", "incomplete" or "browser sign-in".
    """

    source: str
    kind: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoginState:
    """The state of the login, as `wb doctor` reports it.

    `ok` is False if something has to be fixed. `is_note` marks information without a fault: there is no login, or it
    could not be tested.
    """

    ok: bool
    detail: str
    is_note: bool = False


def find_credential(environ: Mapping[str, str], home: Path) -> Credential | None:
    """Return the credential that the client will log in with, or None; without a request.

    In the client's order: tokens, keys, a sign-in through the browser; of each, the environment before files. A token
    that does not work still precedes a key that does.
    """
    credentials = [*_tokens(environ, home), *_keys(environ, home), *_browser_sign_in(home)]
    if not credentials:
        return None
    used, *unused = credentials
    problems = list(used.problems)
    if unused:
        problems.append(f"it takes precedence over {', '.join(c.source for c in unused)}")
    return Credential(used.source, used.kind, tuple(problems))


def _tokens(environ: Mapping[str, str], home: Path) -> list[Credential]:
    """Return the tokens of variables and files, in the client's order."""
    tokens = []
    value = environ.get("KAGGLE_API_TOKEN")
    if value:
        source = "the file that KAGGLE_API_TOKEN names" if Path(value).is_file() else "KAGGLE_API_TOKEN"
        tokens.append(Credential(source, "token"))
    for path in token_files(home):
        if path.is_file() and path.read_text(errors="replace").strip():
            tokens.append(Credential(str(path), "token", _readable_by_others(path)))
    if environ.get("KAGGLE_TOKEN"):
        # The client reads every KAGGLE_ variable as one of its settings, of which "token" is one.
        tokens.append(Credential("KAGGLE_TOKEN", "token", ("the client reads KAGGLE_API_TOKEN, not this one",)))
    return tokens


def _keys(environ: Mapping[str, str], home: Path) -> list[Credential]:
    """Return the key, complete or not, from the variables and kaggle.json together; empty if there are neither."""
    path = kaggle_config_folder(environ, home) / "kaggle.json"
    settings: dict[str, Any] = {}
    problems: tuple[str, ...] = ()
    if path.is_file():
        problems = _readable_by_others(path)
        try:
            loaded = json.loads(path.read_text(encoding="utf-8"))
            settings = loaded if isinstance(loaded, dict) else {}
        except (ValueError, OSError):
            problems += (f"{path} is not JSON and is ignored",)
    variables = [v for v in ("KAGGLE_USERNAME", "KAGGLE_KEY") if environ.get(v)]
    username, key = (environ.get(f"KAGGLE_{k.upper()}") or settings.get(k) for k in ("username", "key"))
    if username and key:
        source = " and ".join([*variables, *([str(path)] if len(variables) < 2 else [])])
        return [Credential(source, "key", problems if len(variables) < 2 else ())]
    if variables or path.is_file():
        missing_setting = "username" if not username else "key"
        source = " and ".join(variables) or str(path)
        return [Credential(source, "incomplete", (*problems, f"{source} has no {missing_setting}"))]
    return []


def _browser_sign_in(home: Path) -> list[Credential]:
    path = home / ".kaggle" / "credentials.json"
    return [Credential(str(path), "browser sign-in", _readable_by_others(path))] if path.is_file() else []


def _readable_by_others(path: Path) -> tuple[str, ...]:
    """Return the one problem that other users can read a file; empty if they can't."""
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return (f"{path} can be read by other users: chmod 600 {path}",)
    return ()


def call_within(timeout_s: float, function: Callable[[], T], *, action: str) -> T:
    """Call a function of the client with a timeout, drop what it prints, and return its result.

    The client prints, calls `exit`, and sometimes waits forever. An exit raises `SystemExit` here. A call that does not
    return is abandoned in a daemon thread, which does not keep the process alive. `action` is for the message.

    Raises
    ------
    PlatformError
        When the call takes too long.
    """
    result_and_error: list[Any] = []  # one pair once the call has ended

    def call() -> None:
        try:
            result_and_error.append((function(), None))
        except BaseException as exc:  # noqa: BLE001 raised in the caller's thread, SystemExit too
            result_and_error.append((None, exc))

    dropped_output = io.StringIO()
    thread = threading.Thread(target=call, daemon=True)
    with contextlib.redirect_stdout(dropped_output), contextlib.redirect_stderr(dropped_output):
        thread.start()
        thread.join(timeout_s)
    if not result_and_error:
        raise UnreachableError(
            f"Kaggle did not answer within {timeout_s:.0f} s while {action}", hint="check the network, then try again"
        )
    result, error = result_and_error[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def log_in(timeout_s: float) -> Any:
    """Return the client's `KaggleApi`, logged in.

    Raises
    ------
    PlatformError
        When the client is not installed, finds no credential, or can't create its folder.
    Exception
        Any exception of the client when it can't reach Kaggle or is refused, to be passed to
        `workbench.platforms.kaggle.failures.explain`.
    """
    try:
        return call_within(timeout_s, _authenticated_api, action="logging in")
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
        details = "".join(f"; {p}" for p in credential.problems) if credential else ""
        raise PlatformError(problem + details, hint=HOW_TO_LOG_IN) from exc
    except PermissionError as exc:
        raise PlatformError(
            f"Kaggle's client can't write its folder: {exc.filename}",
            hint="set KAGGLE_CONFIG_DIR to a folder that can be written",
        ) from exc


def _authenticated_api() -> Any:
    """Return the client's `KaggleApi`; importing the client logs in."""
    is_first_import = "kaggle" not in sys.modules
    import kaggle
    from kaggle.api.kaggle_api_extended import KaggleApi

    if is_first_import and kaggle.api._authenticated:
        return kaggle.api
    # The import hides why it failed, or was done with another credential: an explicit login raises the reason.
    api = KaggleApi()
    api.authenticate()
    return api


def renew_login(api: Any, open_client: Callable[[Any], Any]) -> bool:
    """Give the client a newer login than its current one; return False if there is none.

    A sign-in through the browser gives a token for 12 hours and a second token that renews it. The client itself renews
    it only half an hour after it has expired (`KaggleCredentials.access_token_has_expired`). A token or key may have
    been replaced in the file or variable that the client reads.

    Parameters
    ----------
    api : KaggleApi
        The client; its settings are changed.
    open_client : callable
        Opens the session of a `KaggleClient`, and returns that client.

    Raises
    ------
    Exception
        Any exception of the client when it can't reach Kaggle or is refused.
    """
    from kagglesdk import get_access_token_from_env

    settings = api.config_values
    token, _ = get_access_token_from_env()
    if token and token != settings.get("token"):
        settings["token"] = token
        return True
    if settings.get("auth_method", "").endswith("OAUTH"):
        new_token = _renewed_token(api, open_client)
        if new_token:
            settings["token"] = new_token
        return bool(new_token)
    if settings.get("token"):
        return False
    stored_settings = api.read_config_environment(api.read_config_file(quiet=True))
    is_same_user = stored_settings.get("username") == settings.get("username")
    if not is_same_user or stored_settings.get("key") in (None, settings.get("key")):
        return False
    settings["key"] = stored_settings["key"]
    return True


def _renewed_token(api: Any, open_client: Callable[[Any], Any]) -> str | None:
    """Return a new token of a sign-in through the browser, or None if there is no sign-in."""
    import requests
    from kagglesdk import KaggleCredentials

    # Without the expired token, as when the client logs in.
    client = api.build_kaggle_client_with_params(args=api.args)
    try:
        credentials = KaggleCredentials.load(client=open_client(client))
        if credentials is None:
            return None
        try:
            credentials.refresh_access_token()
        except requests.exceptions.RequestException:  # a subclass of OSError
            raise
        except OSError:
            pass  # the client can't write its file: this process has the new token nevertheless
        return str(credentials.get_access_token())
    finally:
        client.__exit__(None, None, None)


def login_state(check_login: Callable[[], None]) -> LoginState:
    """Return the state of the login.

    Parameters
    ----------
    check_login : callable
        Logs in and makes a call that needs a login; raises `PlatformError`.
    """
    credential = find_credential(os.environ, Path.home())
    if credential is None:
        return LoginState(True, f"no login; only needed for competitions on Kaggle: {HOW_TO_LOG_IN}", is_note=True)
    problems = "".join(f"; {p}" for p in credential.problems)
    source = f"{credential.kind} from {credential.source}"
    try:
        check_login()
    except (UnreachableError, UnansweredError) as exc:
        reason = f"{exc.message}. {exc.hint}".rstrip(". ")
        return LoginState(True, f"{source}{problems}; whether Kaggle accepts it is not known: {reason}.", is_note=True)
    except PlatformError as exc:
        return LoginState(False, f"{source}{problems}: {exc.message}. {exc.hint}".rstrip(". ") + ".")
    # Whoever can read the credential's file can log in as this user: to be fixed although the login works.
    faults = [p for p in credential.problems if not p.startswith("it takes precedence over")]
    return LoginState(not faults, f"{source}, accepted{problems}")
