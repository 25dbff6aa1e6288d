"""What went wrong in a call to Kaggle, in plain words: who refused what, why, and what to do."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.core.errors import LoginError, NotFoundError, PlatformError, UnreachableError
from workbench.core.printable import one_line
from workbench.platforms.kaggle.login import HOW_TO_LOG_IN, HOW_TO_SIGN_IN, find_credential

if TYPE_CHECKING:
    import requests

__all__ = [
    "OR_NO_SUCH",
    "WEB",
    "explain",
    "is_definite",
    "login_failure",
    "quoted",
    "reason",
    "refusal",
    "retry_after_s",
    "status_of",
]

WEB = "https://www.kaggle.com/competitions"
SHOWN_CHARACTERS = 300
OR_NO_SUCH = ", or no competition has that name"
"""What is added to a refusal that comes for a name that does not exist, too."""


def status_of(exc: BaseException | None) -> int | None:
    """Return the status of the answer behind a failure, or None where none came."""
    # `if response` would be False for every 4xx: a Response is true only when its status is.
    response = getattr(exc, "response", None)
    return None if response is None else int(response.status_code)


def is_definite(exc: BaseException) -> bool:
    """Whether a failure says for certain that nothing was done: refused by Kaggle, or never on its way."""
    import requests

    status = status_of(exc)
    if status is not None:
        return 400 <= status < 500 and status != 408
    # The class alone does not say it: behind a proxy an answer that was lost comes as a ProxyError too.
    return isinstance(exc, requests.exceptions.ConnectionError) and any(w in repr(exc) for w in _NEVER_CONNECTED)


_NEVER_CONNECTED = ("Tunnel connection failed", "NewConnectionError", "NameResolutionError", "ConnectTimeoutError")


def _error_text(response: requests.Response) -> str:
    """Return the platform's own words in an error answer, or ""."""
    try:
        data = response.json()
    except ValueError:
        return ""
    error = data.get("error", data) if isinstance(data, dict) else {}
    message = error.get("message") if isinstance(error, dict) else error
    return one_line(str(message or ""))


def quoted(text: str) -> str:
    """Return what the platform says as a quotation, cut where it is long; "" where it says nothing.

    Examples
    --------
    >>> quoted("You must accept the rules. "), quoted("")
    ('“You must accept the rules.”', '')
    """
    line = one_line(text)
    if len(line) > SHOWN_CHARACTERS:
        line = line[:SHOWN_CHARACTERS].rstrip() + "…"
    return f"“{line}”" if line else ""


def refusal(action: str, text: str) -> PlatformError:
    """Return the failure for an answer that says no in its text, where the call itself went well."""
    return PlatformError(f"Kaggle refused {action}: {quoted(text) or 'it does not say why'}")


def explain(exc: BaseException, action: str, slug: str = "") -> PlatformError | NotFoundError:
    """Return what to raise for a failure of the client while it was doing `action`."""
    response = getattr(exc, "response", None)
    if response is not None:
        return _refused(response, action, slug)
    return UnreachableError(f"Kaggle can't be reached while {action}: {reason(exc)}", hint=_network_hint(exc))


def login_failure(action: str, *, ended: bool = False) -> LoginError:
    """Return the failure for a login that is not accepted; `ended`: it was accepted before, in this process."""
    credential = find_credential(os.environ, Path.home())
    source = f" from {credential.source}" if credential else ""
    more = "".join(f"; {p}" for p in credential.problems) if credential else ""
    why = "it was accepted before, and has ended" if ended else "wrong or expired"
    steps = HOW_TO_SIGN_IN if credential and credential.kind == "browser sign-in" else HOW_TO_LOG_IN
    resume_note = (
        "; then repeat the command: what has been downloaded is kept, and the download resumes" if ended else ""
    )
    return LoginError(f"Kaggle does not accept the login{source} while {action}: {why}{more}", hint=steps + resume_note)


def _refused(response: requests.Response, action: str, slug: str) -> PlatformError | NotFoundError:
    status, error_text = response.status_code, _error_text(response)
    if status == 401:
        return login_failure(action)
    if status == 403:
        return _forbidden(error_text, action, slug)
    if status == 404:
        return NotFoundError(
            f"Kaggle could not find what was requested while {action}: {quoted(error_text) or 'not found'}"
        )
    if status == 429:
        return UnreachableError(f"Kaggle limits the rate of calls while {action}", hint=_when_to_come_back(response))
    if status >= 500:
        return UnreachableError(
            f"Kaggle is in trouble while {action}: it keeps answering {status}",
            hint="nothing is lost; try again later",
        )
    return PlatformError(f"Kaggle refused {action}: {quoted(error_text) or f'status {status}'}")


def _forbidden(error_text: str, action: str, slug: str) -> PlatformError:
    rules, participate = "rules" in error_text.lower(), "participate" in error_text.lower()
    if slug and (rules or participate):
        # For a name that is mistyped "participate" comes, too: https://github.com/Kaggle/kaggle-cli/issues/530.
        or_no_such, no_page = ("", "") if rules else (OR_NO_SUCH, "; if there is no such page, the name is mistyped")
        return PlatformError(
            f"the rules of {slug!r} are not accepted{or_no_such}: Kaggle says {quoted(error_text)} while {action}",
            hint=f"open {WEB}/{slug}/rules, join and accept them, then repeat the command{no_page}",
        )
    denied = re.search(r"permission .* (denied|not satisfied)", error_text, re.IGNORECASE)
    hint = "Kaggle says so, too, of what does not exist: check the name, and whose it is" if denied else ""
    return PlatformError(f"Kaggle refused {action}: {quoted(error_text) or 'status 403'}", hint=hint)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait for, or None where it says nothing, or nothing that can be read.

    Examples
    --------
    >>> retry_after_s({"Retry-After": "120"}), retry_after_s({"Retry-After": "soon"}), retry_after_s({})
    (120.0, None, None)
    >>> retry_after_s({"Retry-After": "Wed, 21 Oct 99999 07:28:00 GMT"})
    """
    value = (headers.get("Retry-After") or "").strip()
    if value.isdecimal():
        return float(value)
    date = parsedate_tz(value) if value else None
    try:
        return None if date is None else max(0.0, mktime_tz(date) - time.time())
    except (ValueError, OverflowError):
        return None


def _when_to_come_back(response: requests.Response) -> str:
    seconds = retry_after_s(response.headers)
    if not seconds:
        return "wait a few minutes, then try again: what has been downloaded is kept"
    wait = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    return f"it asks to wait for {wait}; then try again: what has been downloaded is kept"


_REASONS = (
    ("RemoteDisconnected", "the connection broke off"),
    ("ConnectionResetError", "the connection broke off"),
    ("ProxyError", "the proxy refuses or can't be reached"),
    ("NameResolutionError", "the name of the host does not resolve"),
    ("SSLError", "the certificate is not trusted"),
    ("ConnectTimeout", "nothing answers"),
    ("ReadTimeout", "no answer came in time"),
    ("timed out", "no answer came in time"),
    ("JSONDecodeError", "the response is not what its client expects"),
    ("NewConnectionError", "the connection is refused, or there is no network"),
    ("ConnectionError", "the connection broke off"),
    ("ChunkedEncodingError", "the connection broke off"),
    ("ProtocolError", "the connection broke off"),
)


def reason(exc: BaseException) -> str:
    """Return in some words why a call did not come back."""
    # The texts of the exceptions below hold addresses, and an address of the storage holds a signature: not shown.
    text = repr(exc)
    for word, reason in _REASONS:
        if word in text:
            return reason
    return f"its client failed with {type(exc).__name__}: {_without_secrets(str(exc))}"


def _without_secrets(text: str) -> str:
    first = (text.strip().splitlines() or [""])[0]
    return re.sub(r"\?\S+|(?i:bearer|basic)\s+\S+", "…", first)[:200]


def _network_hint(exc: BaseException) -> str:
    text = repr(exc)
    if reason(exc).startswith("the proxy"):
        return "check HTTPS_PROXY and NO_PROXY, then try again"
    if "SSLError" in text:
        return "behind a proxy that opens connections, set REQUESTS_CA_BUNDLE to its certificate"
    return "check the network, then repeat the command: nothing is lost"
