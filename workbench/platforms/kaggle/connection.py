"""Calls to Kaggle: with deadlines, repeated where that is safe, and their failures in plain words."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.core.errors import UnansweredError, WorkbenchError
from workbench.platforms.kaggle.failures import (
    explain,
    is_definite,
    login_failure,
    reason,
    retry_after_s,
    status_of,
)
from workbench.platforms.kaggle.login import log_in, renew_login

if TYPE_CHECKING:
    import requests

__all__ = ["Connection", "Patience", "pages"]

SHORT_WAIT_S = 20
"""What comes by another way, too, is not waited for longer than this."""
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

    A login that ends while it is in use is renewed where that is possible, once for all threads, and the call that
    found it out is made again: what Kaggle answers with 401 it has not carried out.

    Parameters
    ----------
    patience : Patience
    """

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._api: Any = None
        self._clients: dict[str, Any] = {}
        self._retired: list[Any] = []
        self._lock = threading.RLock()
        self._logins = 0
        self._accepted = False

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

    def ask(
        self, action: str, method: str, request: Callable[[Any], Any], *, slug: str = "", service: str = "competitions"
    ) -> Any:
        """Make a call that may be repeated, and return the answer.

        Parameters
        ----------
        action : str
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
        return self._call(action, method, request, slug, kind="repeated", service=service)

    def tell(
        self, action: str, method: str, request: Callable[[Any], Any], *, slug: str = "", service: str = "competitions"
    ) -> Any:
        """Make a call that must not be repeated.

        Raises
        ------
        UnansweredError
            When it is not known whether it was carried out.
        PlatformError
            When it was not.
        """
        return self._call(action, method, request, slug, kind="once", service=service)

    def address(
        self, action: str, method: str, request: Callable[[Any], Any], *, slug: str = "", hurried: bool = False
    ) -> requests.Response:
        """Make a call that is answered by a redirect, and return that answer without following it.

        The redirect leads to a storage that must not see the login, and whose content the client would take apart
        when it looks like JSON. `hurried`: the answer can be had in another way, so that there is no long wait.
        """
        kind = "hurried address" if hurried else "address"
        return self._call(action, method, request, slug, kind=kind)  # type: ignore[no-any-return]

    def _call(
        self,
        action: str,
        method: str,
        request: Callable[[Any], Any],
        slug: str,
        *,
        kind: str,
        service: str = "competitions",
    ) -> Any:
        types = importlib.import_module(f"kagglesdk.{service}.types.{SERVICES[service]}_api_service")
        login, client = self._client(kind)
        try:
            answer = self._sent(client, service, method, request(types))
        except WorkbenchError:
            raise
        except Exception as exc:
            if status_of(exc) != 401 or not self._renew(login, action):
                raise self._failure(exc, action, slug, kind) from exc
            try:
                answer = self._sent(self._client(kind)[1], service, method, request(types))
            except Exception as second:
                raise self._failure(second, action, slug, kind) from second
        self._accepted = True
        return answer

    def _sent(self, client: Any, service: str, method: str, request: Any) -> Any:
        return getattr(getattr(getattr(client, service), f"{SERVICES[service]}_api_client"), method)(request)

    def _failure(self, exc: Exception, action: str, slug: str, kind: str) -> Exception:
        if isinstance(exc, WorkbenchError):
            return exc
        if kind == "once" and not is_definite(exc):
            return UnansweredError(f"the answer of Kaggle was lost while {action}: {reason(exc)}")
        if status_of(exc) == 401:
            return login_failure(action, ended=self._accepted)
        return explain(exc, action, slug)

    def _client(self, kind: str) -> tuple[int, Any]:
        """Return the client for a kind of call, and the number of the login that it uses."""
        with self._lock:
            if kind not in self._clients:
                self._clients[kind] = self._built(self.api.build_kaggle_client(), kind)
            return self._logins, self._clients[kind]

    def _built(self, client: Any, kind: str) -> Any:
        client.__enter__()
        session = client.http_client()._session
        address, patience = kind.endswith("address"), self.patience
        if kind == "hurried address":
            patience = replace(patience, retry_after_max_s=min(SHORT_WAIT_S, patience.retry_after_max_s))
        adapter = _adapter(patience, repeat=kind != "once", correct=partial(_correct_type, hide=address))
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        if address:
            session.get_redirect_target = lambda _: None
        return client

    def _renew(self, login: int, action: str) -> bool:
        """Renew the login of that number, unless another thread did; False where there is nothing to renew it with."""
        with self._lock:
            if login != self._logins:
                return True
            try:
                if not renew_login(self._api, lambda client: self._built(client, "repeated")):
                    return False
            except Exception as exc:
                if status_of(exc) in (400, 401, 403, 404):
                    return False  # what would renew it is not accepted either
                raise explain(exc, f"renewing the login while {action}") from exc
            # Another thread may be in the middle of a call through one of these: they are closed with the connection.
            self._retired += self._clients.values()
            self._clients = {}
            self._logins += 1
            return True

    def close(self) -> None:
        """Close the sessions; the next call opens new ones."""
        with self._lock:
            for client in (*self._clients.values(), *self._retired):
                client.__exit__(None, None, None)
            self._clients, self._retired = {}, []

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
    from urllib3.exceptions import MaxRetryError, ResponseError
    from urllib3.util.retry import Retry

    class Polite(Retry):
        """Waits for as long as the answer asks for, or gives up at once where that is too long."""

        def get_retry_after(self, response: Any) -> float | None:
            return retry_after_s(response.headers)

        def increment(self, method: Any = None, url: Any = None, response: Any = None, *args: Any, **kw: Any) -> Any:
            if response is not None and (retry_after_s(response.headers) or 0) > self.retry_after_max:
                raise MaxRetryError(kw.get("_pool"), str(url), ResponseError("asks for a long wait"))  # type: ignore[arg-type]
            return super().increment(method, url, response, *args, **kw)

    class WithDeadline(HTTPAdapter):
        """The client gives no timeout; without one an answer that never comes would be awaited forever."""

        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs["timeout"] = kwargs.get("timeout") or (patience.connect_s, patience.answer_s)
            # Here and not in a hook of the session: the client prepares its requests past those.
            response = super().send(request, *args, **kwargs)
            correct(response)
            return response

    retry = Polite(
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
    token, before = "", {""}
    while True:
        page = ask(token)
        yield page
        token = page.next_page_token
        if not token or token in before:
            return
        before.add(token)
