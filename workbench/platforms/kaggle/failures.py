"""Readable errors for failed calls to Kaggle: what was refused or unreachable, why, and what to do."""

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
    "login_failure",
    "quoted",
    "reason",
    "refusal",
    "retry_after_s",
    "status_of",
    "was_not_executed",
]

WEB = "https://www.kaggle.com/competitions"
MAX_QUOTED_CHARACTERS = 300
OR_NO_SUCH = ", or no competition has that name"
"""Added to the message of a refusal that Kaggle also sends for a name that does not exist."""


def status_of(exc: BaseException | None) -> int | None:
    """Return the HTTP status of the response that caused an exception, or None if there was no response."""
    # Compared with None: requests treats a response with an error status as false.
    response = getattr(exc, "response", None)
    return None if response is None else int(response.status_code)


def was_not_executed(exc: BaseException) -> bool:
    """Tell whether a call was certainly not executed: refused by Kaggle, or never sent."""
    import requests

    status = status_of(exc)
    if status is not None:
        return 400 <= status < 500 and status != 408
    # The class does not tell: behind a proxy, a lost response raises a ProxyError, too.
    return isinstance(exc, requests.exceptions.ConnectionError) and any(name in repr(exc) for name in _NEVER_CONNECTED)


_NEVER_CONNECTED = ("Tunnel connection failed", "NewConnectionError", "NameResolutionError", "ConnectTimeoutError")


def _error_text(response: requests.Response) -> str:
    """Return the message in an error response, or ""."""
    try:
        data = response.json()
    except ValueError:
        return ""
    error = data.get("error", data) if isinstance(data, dict) else {}
    message = error.get("message") if isinstance(error, dict) else error
    return one_line(str(message or ""))


def quoted(text: str) -> str:
    """Return a text of the platform in quotation marks, truncated if it is long; "" for an empty text.

    Examples
    --------
    >>> quoted("You must accept the rules. "), quoted("")
    ('“You must accept the rules.”', '')
    """
    line = one_line(text)
    if len(line) > MAX_QUOTED_CHARACTERS:
        line = line[:MAX_QUOTED_CHARACTERS].rstrip() + "…"
    return f"“{line}”" if line else ""


def refusal(action: str, text: str) -> PlatformError:
    """Return the error for a refusal that Kaggle sends as an ordinary response; `text` is its reason."""
    return PlatformError(f"Kaggle refused {action}: {quoted(text) or 'it does not say why'}")


def explain(exc: BaseException, action: str, slug: str = "") -> PlatformError | NotFoundError:
    """Return the error to raise for an exception of the client.

    Parameters
    ----------
    exc : BaseException
    action : str
        For the message: "listing the files".
    slug : str
        The competition, for hints; "" if the call is not about one.
    """
    response = getattr(exc, "response", None)
    if response is not None:
        return _refused(response, action, slug)
    return UnreachableError(f"Kaggle can't be reached while {action}: {reason(exc)}", hint=_network_hint(exc))


def login_failure(action: str, *, has_expired: bool = False) -> LoginError:
    """Return the error for a login that is not accepted; `has_expired` if it was accepted earlier in this process."""
    credential = find_credential(os.environ, Path.home())
    source_note = f" from {credential.source}" if credential else ""
    problems = "".join(f"; {p}" for p in credential.problems) if credential else ""
    refusal_reason = "it was accepted before, and has expired" if has_expired else "wrong or expired"
    steps = HOW_TO_SIGN_IN if credential and credential.kind == "browser sign-in" else HOW_TO_LOG_IN
    resume_note = (
        "; then repeat the command: what has been downloaded is kept, and the download resumes" if has_expired else ""
    )
    return LoginError(
        f"Kaggle does not accept the login{source_note} while {action}: {refusal_reason}{problems}",
        hint=steps + resume_note,
    )


def _refused(response: requests.Response, action: str, slug: str) -> PlatformError | NotFoundError:
    """Return the error for a response with an error status; parameters as of `explain`."""
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
        return UnreachableError(f"Kaggle limits the rate of calls while {action}", hint=_retry_hint(response))
    if status >= 500:
        return UnreachableError(
            f"Kaggle has a problem while {action}: it keeps answering {status}",
            hint="nothing is lost; try again later",
        )
    return PlatformError(f"Kaggle refused {action}: {quoted(error_text) or f'status {status}'}")


def _forbidden(error_text: str, action: str, slug: str) -> PlatformError:
    """Return the error for status 403; `error_text` is Kaggle's message."""
    mentions_rules, mentions_joining = "rules" in error_text.lower(), "participate" in error_text.lower()
    if slug and (mentions_rules or mentions_joining):
        # A mistyped name is refused with "participate" too: https://github.com/Kaggle/kaggle-cli/issues/530.
        or_no_such, mistyped_hint = (
            ("", "") if mentions_rules else (OR_NO_SUCH, "; if there is no such page, the name is mistyped")
        )
        return PlatformError(
            f"the rules of {slug!r} are not accepted{or_no_such}: Kaggle says {quoted(error_text)} while {action}",
            hint=f"open {WEB}/{slug}/rules, join and accept them, then repeat the command{mistyped_hint}",
        )
    is_denied = re.search(r"permission .* (denied|not satisfied)", error_text, re.IGNORECASE)
    hint = "Kaggle answers the same for what does not exist: check the name and the owner" if is_denied else ""
    return PlatformError(f"Kaggle refused {action}: {quoted(error_text) or 'status 403'}", hint=hint)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait that a response asks for in ``Retry-After``; None without a readable value.

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


def _retry_hint(response: requests.Response) -> str:
    """Return the hint for a call that Kaggle postpones."""
    seconds = retry_after_s(response.headers)
    if not seconds:
        return "wait a few minutes, then try again: what has been downloaded is kept"
    wait = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    return f"it asks to wait for {wait}; then try again: what has been downloaded is kept"


_REASONS = (  # part of an exception's `repr`, and the reason; the first match counts
    ("RemoteDisconnected", "the connection broke off"),
    ("ConnectionResetError", "the connection broke off"),
    ("ProxyError", "the proxy refuses or can't be reached"),
    ("NameResolutionError", "the name of the host does not resolve"),
    ("SSLError", "the certificate is not trusted"),
    ("ConnectTimeout", "nothing answers"),
    ("ReadTimeout", "no response came in time"),
    ("timed out", "no response came in time"),
    ("JSONDecodeError", "the response is not what its client expects"),
    ("NewConnectionError", "the connection is refused, or there is no network"),
    ("ConnectionError", "the connection broke off"),
    ("ChunkedEncodingError", "the connection broke off"),
    ("ProtocolError", "the connection broke off"),
)


def reason(exc: BaseException) -> str:
    """Return a short explanation of why a call had no response."""
    # The exceptions' own texts are not shown: they contain addresses, and those of the storage contain a signature.
    exception_text = repr(exc)
    for class_name, explanation in _REASONS:
        if class_name in exception_text:
            return explanation
    return f"its client failed with {type(exc).__name__}: {_without_secrets(str(exc))}"


def _without_secrets(text: str) -> str:
    """Return the first line of a text without the queries of addresses and without authorisations."""
    first_line = (text.strip().splitlines() or [""])[0]
    return re.sub(r"\?\S+|(?i:bearer|basic)\s+\S+", "…", first_line)[:200]


def _network_hint(exc: BaseException) -> str:
    text = repr(exc)
    if reason(exc).startswith("the proxy"):
        return "check HTTPS_PROXY and NO_PROXY, then try again"
    if "SSLError" in text:
        return "behind a proxy that inspects TLS connections, set REQUESTS_CA_BUNDLE to its certificate"
    return "check the network, then repeat the command: nothing is lost"
