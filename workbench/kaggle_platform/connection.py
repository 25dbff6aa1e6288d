"""Calls to Kaggle: with deadlines, repeated where that is safe, and their failures in plain words."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import NotFoundError, PlatformError, UnansweredError, UnreachableError, WorkbenchError
from workbench.kaggle_platform.login import HOW_TO_LOG_IN, find_credential, log_in

if TYPE_CHECKING:
    import requests

__all__ = ["Connection", "Patience", "error_text", "explain", "is_definite", "pages"]

WEB = "https://www.kaggle.com/competitions"
SERVICES = {"competitions": "competition", "datasets": "dataset", "kernels": "kernels", "blobs": "blob"}


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try again. The waits between tries double from `backoff_s`."""

    login_s: float = 45.0
    connect_s: float = 15.0
    answer_s: float = 60.0
    tries: int = 6
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    retry_after_max_s: int = 180


class Connection:
    """The client, logged in at the first call, with one session for calls that may be repeated and one for the others.

    Parameters
    ----------
    patience : Patience
    """

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._api: Any = None
        self._clients: dict[str, Any] = {}

    @property
    def api(self) -> Any:
        """The client's `KaggleApi`, logged in."""
        if self._api is None:
            try:
                self._api = log_in(self.patience.login_s)
            except WorkbenchError:
                raise
            except Exception as exc:
                raise explain(exc, "logging in") from exc
        return self._api

    def ask(
        self, what: str, method: str, request: Callable[[Any], Any], *, slug: str = "", service: str = "competitions"
    ) -> Any:
        """Make a call that may be repeated, and return the answer.

        Parameters
        ----------
        what : str
            For messages: "listing the files of 'titanic'".
        method : str
            Of the client's service.
        request : callable
            Makes the request from the module of the service's request types.
        slug : str
            For hints.
        service : str
            ``"competitions"``, ``"datasets"``, ``"kernels"`` or ``"blobs"``.
        """
        return self._call(what, method, request, slug, kind="repeated", service=service)

    def tell(
        self, what: str, method: str, request: Callable[[Any], Any], *, slug: str = "", service: str = "competitions"
    ) -> Any:
        """Make a call that must not be repeated.

        Raises
        ------
        UnansweredError
            When it is not known whether it was carried out.
        PlatformError
            When it was not.
        """
        return self._call(what, method, request, slug, kind="once", service=service)

    def address(self, what: str, method: str, request: Callable[[Any], Any], *, slug: str = "") -> requests.Response:
        """Make a call that is answered by a redirect, and return that answer without following it.

        The redirect leads to a storage that must not see the login, and whose content the client would take apart
        when it looks like JSON.
        """
        return self._call(what, method, request, slug, kind="address")  # type: ignore[no-any-return]

    def _call(
        self,
        what: str,
        method: str,
        request: Callable[[Any], Any],
        slug: str,
        *,
        kind: str,
        service: str = "competitions",
    ) -> Any:
        name = SERVICES[service]
        client = getattr(getattr(self._client(kind), service), f"{name}_api_client")
        types = importlib.import_module(f"kagglesdk.{service}.types.{name}_api_service")
        try:
            return getattr(client, method)(request(types))
        except WorkbenchError:
            raise
        except Exception as exc:
            if kind == "once" and not is_definite(exc):
                raise UnansweredError(f"the answer of Kaggle was lost while {what}: {_reason(exc)}") from exc
            raise explain(exc, what, slug) from exc

    def _client(self, kind: str) -> Any:
        if kind not in self._clients:
            client = self.api.build_kaggle_client()
            client.__enter__()
            session = client.http_client()._session
            adapter = _adapter(
                self.patience, repeat=kind != "once", correct=partial(_correct_type, hide=kind == "address")
            )
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            if kind == "address":
                session.get_redirect_target = lambda _: None
            self._clients[kind] = client
        return self._clients[kind]

    def close(self) -> None:
        """Close the sessions; the next call opens new ones."""
        for client in self._clients.values():
            client.__exit__(None, None, None)
        self._clients.clear()

    def storage(self) -> requests.Session:
        """Return a session for the storage: no login, the same patience."""
        import requests

        session = requests.Session()
        # A ~/.netrc must not send a password to the storage; proxies and certificates come from the environment.
        session.auth = lambda r: r
        # The download has a patience of its own, which counts what arrived: here only a hiccup is sat out.
        adapter = _adapter(replace(self.patience, tries=2), repeat=True)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session


def _adapter(
    patience: Patience, *, repeat: bool, correct: Callable[[requests.Response], None] = lambda _: None
) -> requests.adapters.HTTPAdapter:
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    class WithDeadline(HTTPAdapter):
        """The client gives no timeout; without one an answer that never comes is waited for for ever."""

        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs["timeout"] = kwargs.get("timeout") or (patience.connect_s, patience.answer_s)
            # Here and not in a hook of the session: the client prepares its requests past those.
            response = super().send(request, *args, **kwargs)
            correct(response)
            return response

    retry = Retry(
        total=patience.tries if repeat else 0,
        connect=min(patience.tries, 3) if repeat else 0,
        read=min(patience.tries, 3) if repeat else 0,
        status=patience.tries if repeat else 0,
        # A proxied connection that breaks off counts as neither of the three.
        other=min(patience.tries, 3) if repeat else 0,
        allowed_methods=None,
        status_forcelist=(429, 500, 502, 503, 504) if repeat else (),
        backoff_factor=patience.backoff_s,
        backoff_max=patience.backoff_max_s,
        retry_after_max=patience.retry_after_max_s,
        raise_on_status=False,
    )
    return WithDeadline(max_retries=retry)


def _correct_type(response: requests.Response, *, hide: bool) -> None:
    # The client parses whatever calls itself JSON: a data file too (`hide`), and an error that is none, over which it
    # would fail before it looks at the status.
    if response.status_code < 400:
        wrong = hide
    else:
        try:
            wrong = not isinstance(response.json(), dict)
        except ValueError:
            wrong = True
    if wrong:
        response.headers.pop("Content-Type", None)


def pages(ask: Callable[[str], Any]) -> Iterator[Any]:
    """Give every page of a list; `ask` asks for one by the token that the page before it has for it."""
    token = ""
    while True:
        page = ask(token)
        yield page
        if not page.next_page_token or page.next_page_token == token:
            return
        token = page.next_page_token


# ------------------------------------------------------------------------------------------------------ explanations


def is_definite(exc: BaseException) -> bool:
    """Whether a failure says for certain that nothing was done: refused by Kaggle, or never on its way."""
    import requests

    response = getattr(exc, "response", None)
    # `if response` would be False for every 4xx: a Response is true only when its status is.
    if response is not None:
        return bool(400 <= response.status_code < 500 and response.status_code != 408)
    # The class alone does not say it: behind a proxy an answer that was lost comes as a ProxyError too.
    return isinstance(exc, requests.exceptions.ConnectionError) and any(w in repr(exc) for w in _NEVER_CONNECTED)


_NEVER_CONNECTED = ("Tunnel connection failed", "NewConnectionError", "NameResolutionError", "ConnectTimeoutError")


def error_text(response: requests.Response) -> str:
    """Return the platform's own words in an error answer, or ""."""
    try:
        data = response.json()
    except ValueError:
        return ""
    error = data.get("error", data) if isinstance(data, dict) else {}
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or "").strip()


def explain(exc: BaseException, what: str, slug: str = "") -> PlatformError | NotFoundError:
    """Return what to raise for a failure of the client while it was doing `what`."""
    response = getattr(exc, "response", None)
    if response is not None:
        return _refused(response, what, slug)
    return UnreachableError(f"Kaggle can't be reached while {what}: {_reason(exc)}", hint=_network_hint(exc))


def _refused(response: requests.Response, what: str, slug: str) -> PlatformError | NotFoundError:
    status, said = response.status_code, error_text(response)
    if status == 401:
        found = find_credential(os.environ, Path.home())
        source = f" from {found.source}" if found else ""
        more = "".join(f"; {p}" for p in found.problems) if found else ""
        return PlatformError(
            f"Kaggle does not accept the login{source} while {what}: wrong or expired{more}", hint=HOW_TO_LOG_IN
        )
    if status == 403 and ("rules" in said.lower() or "participate" in said.lower()):
        return PlatformError(
            f"the rules of {slug!r} are not accepted: {said}",
            hint=f"open {WEB}/{slug}/rules, join and accept them, then do this again",
        )
    if status == 404:
        return NotFoundError(f"Kaggle does not know what was asked for while {what}: {said or 'not found'}")
    if status == 429:
        return UnreachableError(f"Kaggle asks for fewer calls while {what}", hint="wait some minutes, then try again")
    if status >= 500:
        return UnreachableError(
            f"Kaggle is not well while {what}: it answers {status} again and again",
            hint="nothing is lost; try again later",
        )
    return PlatformError(f"Kaggle refused {what}: {said or f'status {status}'}")


_REASONS = (
    ("RemoteDisconnected", "the connection broke off"),
    ("ConnectionResetError", "the connection broke off"),
    ("ProxyError", "the proxy refuses or can't be reached"),
    ("NameResolutionError", "the name of the host does not resolve"),
    ("SSLError", "the certificate is not trusted"),
    ("ConnectTimeout", "nothing answers"),
    ("ReadTimeout", "no answer came in time"),
    ("timed out", "no answer came in time"),
    ("JSONDecodeError", "what came is not what its client expects"),
    ("NewConnectionError", "the connection is refused, or there is no network"),
    ("ConnectionError", "the connection broke off"),
    ("ChunkedEncodingError", "the connection broke off"),
    ("ProtocolError", "the connection broke off"),
)


def _reason(exc: BaseException) -> str:
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
    if _reason(exc).startswith("the proxy"):
        return "look at HTTPS_PROXY and NO_PROXY, then try again"
    if "SSLError" in text:
        return "behind a proxy that opens connections, set REQUESTS_CA_BUNDLE to its certificate"
    return "look at the network, then do this again: nothing is lost"
