"""Calls to Kaggle: with timeouts, repeated if that is safe, and with readable errors."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.core.errors import UnansweredError, WorkbenchError
from workbench.platforms.kaggle.failures import (
    explain,
    login_failure,
    reason,
    retry_after_s,
    status_of,
    was_not_executed,
)
from workbench.platforms.kaggle.login import log_in, renew_login

if TYPE_CHECKING:
    import requests

__all__ = ["Connection", "Patience", "pages"]

MAX_WAIT_WITH_ALTERNATIVE_S = 20
"""The longest pause on Kaggle's request before a call for which there is an alternative."""

MODULE_PREFIX_BY_SERVICE = {
    "competitions": "competition",
    "datasets": "dataset",
    "kernels": "kernels",
    "blobs": "blob",
}
"""The beginning of the names of the client's modules and attributes, by service."""


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try.

    Attributes
    ----------
    login_s, connect_s, answer_s : float
        The longest times to wait for the login, for a connection, and for a response.
    tries : int
    backoff_s, backoff_max_s : float
        The first and the longest pause between tries, which doubles after each.
    retry_after_max_s : int
        The longest pause on Kaggle's request (``Retry-After``); if it asks for a longer one, the call fails.
    """

    login_s: float = 45.0
    connect_s: float = 15.0
    answer_s: float = 60.0
    tries: int = 6
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    retry_after_max_s: int = 180


class Connection:
    """Kaggle's client, logged in at the first call, with one session for repeatable calls and one for the others.

    A login that expires is renewed if possible, once for all threads, and the call that failed is repeated: a call that
    Kaggle answers with 401 was not carried out.

    Parameters
    ----------
    patience : Patience
    """

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._api: Any = None
        self._client_by_kind: dict[str, Any] = {}
        self._retired_clients: list[Any] = []
        self._lock = threading.RLock()
        self._n_renewals = 0
        self._login_was_accepted = False

    @property
    def api(self) -> Any:
        """The client's `KaggleApi`, logged in."""
        with self._lock:
            if self._api is None:
                try:
                    self._api = log_in(self.patience.login_s)
                except WorkbenchError:
                    raise
                except Exception as exc:
                    raise explain(exc, "logging in") from exc
            return self._api

    def call(
        self, action: str, method: str, fields: Mapping[str, Any], *, slug: str = "", service: str = "competitions"
    ) -> Any:
        """Make a call that may be repeated, and return the client's response object.

        Parameters
        ----------
        action : str
            For messages: "listing the files of 'titanic'".
        method : str
            The method of the client's service, such as ``"get_competition"``.
        fields : mapping
            The fields of the request that are set, by name.
        slug : str
            The competition, for hints.
        service : str
            ``"competitions"``, ``"datasets"``, ``"kernels"`` or ``"blobs"``.
        """
        return self._call_with_kind(action, method, fields, slug, kind="repeatable", service=service)

    def call_once(
        self, action: str, method: str, fields: Mapping[str, Any], *, slug: str = "", service: str = "competitions"
    ) -> Any:
        """Make a call that must not be repeated; parameters as of `call`.

        Raises
        ------
        UnansweredError
            When it is not known whether it was carried out.
        PlatformError
            When it was not carried out.
        """
        return self._call_with_kind(action, method, fields, slug, kind="once", service=service)

    def redirect(
        self, action: str, method: str, fields: Mapping[str, Any], *, slug: str = "", has_alternative: bool = False
    ) -> requests.Response:
        """Make a call that redirects to the storage, and return the response without following the redirect.

        The client must not follow it: it would send the login to the storage, and parse a file that looks like JSON.
        With `has_alternative`, it fails if Kaggle asks for a pause of more than `MAX_WAIT_WITH_ALTERNATIVE_S`.
        """
        kind = "redirect with alternative" if has_alternative else "redirect"
        return self._call_with_kind(action, method, fields, slug, kind=kind)  # type: ignore[no-any-return]

    def _call_with_kind(
        self,
        action: str,
        method: str,
        fields: Mapping[str, Any],
        slug: str,
        *,
        kind: str,
        service: str = "competitions",
    ) -> Any:
        """Make a call; if the login has expired, renew it and make the call again.

        `kind` is "repeatable", "once", "redirect" or "redirect with alternative".
        """
        login_number, client = self._client(kind)
        try:
            response = _call_client(client, service, method, fields)
        except WorkbenchError:
            raise
        except Exception as exc:
            if status_of(exc) != 401 or not self._renew(login_number, action):
                raise self._failure(exc, action, slug, kind) from exc
            try:
                response = _call_client(self._client(kind)[1], service, method, fields)
            except Exception as second_exc:
                raise self._failure(second_exc, action, slug, kind) from second_exc
        self._login_was_accepted = True
        return response

    def _failure(self, exc: Exception, action: str, slug: str, kind: str) -> Exception:
        """Return the workbench's error for a failed call; `kind` as in `_call_with_kind`."""
        if isinstance(exc, WorkbenchError):
            return exc
        if kind == "once" and not was_not_executed(exc):
            return UnansweredError(f"Kaggle's response was lost while {action}: {reason(exc)}")
        if status_of(exc) == 401:
            return login_failure(action, has_expired=self._login_was_accepted)
        return explain(exc, action, slug)

    def _client(self, kind: str) -> tuple[int, Any]:
        """Return the number of the login in use (counted from 0 by renewals), and the client for a kind of call."""
        with self._lock:
            if kind not in self._client_by_kind:
                self._client_by_kind[kind] = self._configure(self.api.build_kaggle_client(), kind)
            return self._n_renewals, self._client_by_kind[kind]

    def _configure(self, client: Any, kind: str) -> Any:
        """Open a client's session and give it the timeouts and repetitions of a kind of call."""
        client.__enter__()
        session = client.http_client()._session
        is_redirect, patience = kind.startswith("redirect"), self.patience
        if kind == "redirect with alternative":
            max_wait_s = min(MAX_WAIT_WITH_ALTERNATIVE_S, patience.retry_after_max_s)
            patience = replace(patience, retry_after_max_s=max_wait_s)
        on_response = partial(_remove_wrong_type, hides_json=is_redirect)
        adapter = _adapter(patience, is_repeatable=kind != "once", on_response=on_response)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        if is_redirect:
            session.get_redirect_target = lambda _: None
        return client

    def _renew(self, login_number: int, action: str) -> bool:
        """Renew a login unless another thread has done so; return False if it can't be renewed."""
        with self._lock:
            if login_number != self._n_renewals:
                return True
            try:
                if not renew_login(self._api, lambda client: self._configure(client, "repeatable")):
                    return False
            except Exception as exc:
                if status_of(exc) in (400, 401, 403, 404):
                    return False  # the token that renews it was refused
                raise explain(exc, f"renewing the login while {action}") from exc
            # Other threads may be using these clients: they are closed together with the connection.
            self._retired_clients += self._client_by_kind.values()
            self._client_by_kind = {}
            self._n_renewals += 1
            return True

    def close(self) -> None:
        """Close the sessions; the next call opens new ones."""
        with self._lock:
            for client in (*self._client_by_kind.values(), *self._retired_clients):
                client.__exit__(None, None, None)
            self._client_by_kind, self._retired_clients = {}, []

    def storage(self) -> requests.Session:
        """Return a session for the storage, without the login and with fewer repetitions."""
        import requests

        session = requests.Session()
        # So that requests sends no password of ~/.netrc; proxies and certificates still come from the environment.
        session.auth = lambda r: r
        # A download repeats its requests itself, depending on the bytes that arrived.
        adapter = _adapter(replace(self.patience, tries=2), is_repeatable=True)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session


def _call_client(client: Any, service: str, method: str, fields: Mapping[str, Any]) -> Any:
    """Call a method of one of the client's services with a new request."""
    prefix = MODULE_PREFIX_BY_SERVICE[service]
    types = importlib.import_module(f"kagglesdk.{service}.types.{prefix}_api_service")
    # The client's naming rule: `get_competition` takes an `ApiGetCompetitionRequest`.
    request = getattr(types, f"Api{method.title().replace('_', '')}Request")()
    for name, value in fields.items():
        setattr(request, name, value)
    return getattr(getattr(getattr(client, service), f"{prefix}_api_client"), method)(request)


def _adapter(
    patience: Patience, *, is_repeatable: bool, on_response: Callable[[requests.Response], None] = lambda _: None
) -> requests.adapters.HTTPAdapter:
    """Return an adapter with timeouts that repeats failed requests if `is_repeatable`."""
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import MaxRetryError, ResponseError
    from urllib3.util.retry import Retry

    class RetryWithinLimit(Retry):
        """Waits as long as the response's ``Retry-After`` requests, or gives up at once if that exceeds the maximum."""

        def get_retry_after(self, response: Any) -> float | None:
            return retry_after_s(response.headers)

        def increment(self, method: Any = None, url: Any = None, response: Any = None, *args: Any, **kw: Any) -> Any:
            if response is not None and (retry_after_s(response.headers) or 0) > self.retry_after_max:
                raise MaxRetryError(kw.get("_pool"), str(url), ResponseError("asks for a long wait"))  # type: ignore[arg-type]
            return super().increment(method, url, response, *args, **kw)

    class AdapterWithTimeout(HTTPAdapter):
        """Adds the timeout that the client lacks: it would wait forever for a response that never comes."""

        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs["timeout"] = kwargs.get("timeout") or (patience.connect_s, patience.answer_s)
            response = super().send(request, *args, **kwargs)
            # Not in a hook of the session: the client prepares its requests without the session's hooks.
            on_response(response)
            return response

    retry = RetryWithinLimit(
        total=patience.tries if is_repeatable else 0,
        connect=min(patience.tries, 3) if is_repeatable else 0,
        read=min(patience.tries, 3) if is_repeatable else 0,
        status=patience.tries if is_repeatable else 0,
        # A proxied connection that breaks counts as none of the three.
        other=min(patience.tries, 3) if is_repeatable else 0,
        allowed_methods=None,
        status_forcelist=(429, 500, 502, 503, 504) if is_repeatable else (),
        backoff_factor=patience.backoff_s,
        backoff_max=patience.backoff_max_s,
        retry_after_max=patience.retry_after_max_s,
        raise_on_status=False,
    )
    return AdapterWithTimeout(max_retries=retry)


def _remove_wrong_type(response: requests.Response, *, hides_json: bool) -> None:
    """Remove the content type of a response that the client must not parse as JSON.

    The client parses every response of that type. It would parse a data file, which `hides_json` prevents, and fail at
    an error response that is not a JSON object before it looks at the status.
    """
    if response.status_code < 400:
        is_wrong = hides_json
    else:
        try:
            is_wrong = not isinstance(response.json(), dict)
        except ValueError:
            is_wrong = True
    if is_wrong:
        response.headers.pop("Content-Type", None)


def pages(request_page: Callable[[str], Any]) -> Iterator[Any]:
    """Yield every page of a list; `request_page` takes the token that the page before has, "" for the first page."""
    token, earlier_tokens = "", {""}  # a token that repeats would begin an endless loop
    while True:
        page = request_page(token)
        yield page
        token = page.next_page_token
        if not token or token in earlier_tokens:
            return
        earlier_tokens.add(token)
