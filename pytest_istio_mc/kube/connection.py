"""Connection: requests to one API server, as kubectl would make them, and more patiently."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from .. import shell
from ..errors import GivenUp, KubeError, MeshError
from ..redact import remember
from .budget import Budget, budget_of
from .confinement import Confinement
from .credentials import Credential, obtain
from .failures import refusal, silence, without_userinfo
from .kubeconfig import Context, Unusable, impersonation, read_context
from .proxies import is_loopback
from .retries import Repeatable, patiently, repeatable
from .transport import Timely, Transport, transport

if TYPE_CHECKING:
    from urllib3 import HTTPHeaderDict
    from websocket import WebSocket

Query = Sequence[tuple[str, str]]
T = TypeVar("T")

# After a refused credential was obtained anew, and refused as well, others do not try that again.
_RENEWED_SECONDS = 5.0


class _Headers(dict[str, list[str]]):
    """Headers that are not shown where somebody shows local variables."""

    def __repr__(self) -> str:
        return f"<headers {', '.join(self)}>"


@dataclass(frozen=True)
class _Access:
    """The way in: where to, how, and as whom."""

    context: Context
    credential: Credential
    transport: Transport
    impersonation: Sequence[tuple[str, str]]
    obtained: float

    def headers(self, **more: str) -> _Headers:
        """What proves who we are, and says whom we act for; values in UTF-8, as kubectl's."""
        named = _Headers({"User-Agent": [user_agent()]})
        if self.credential.authorization:
            named["Authorization"] = [self.credential.authorization]
        for name, value in self.impersonation:
            named.setdefault(name, []).append(value)
        for name, value in more.items():
            named[name.replace("_", "-")] = [value]
        return named


class Connection:
    """Requests to one API server, from any thread.

    - Nothing is read or connected before the first request.
    - Credentials are those of the kubeconfig, plugins and OpenID Connect included. They are
      obtained anew before they expire, and once where the API server refuses them.
    - What can be sent twice is, where a moment later may do (:mod:`.retries`).
    """

    def __init__(
        self, name: str, kubeconfig: str, context: str, request_timeout_seconds: float
    ) -> None:
        self.name = name
        self._kubeconfig = kubeconfig
        self._context = context
        self._timeout_seconds = request_timeout_seconds
        self._lock = threading.RLock()
        self._access: _Access | None = None
        self._gone: MeshError | None = None
        self.confinement: Confinement | None = None
        self._interrupted = threading.Event()

    @property
    def thing(self) -> str:
        """The name of this cluster in errors."""
        return f'cluster "{self.name}"'

    def server(self) -> str:
        """The API server's URL in the kubeconfig, without a password."""
        return without_userinfo(self._current().context.server)

    def request(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_seconds: float | None = None,
    ) -> bytes:
        """The body of one answer, within ``timeout_seconds``, repetitions included.

        :class:`KubeError` with its status where it is not 2xx, with status 0 where none came.
        """
        self._demand(method, path, query)

        def attempt(left: float) -> bytes:
            with (
                self._budget().turn(),
                self._answer(method, path, query, body, content_type, accept, left) as answer,
            ):
                return bytes(answer.data)

        when = repeatable(method, content_type, dict(query), body)
        wait = timeout_seconds or self._timeout_seconds
        return self._patiently(attempt, when, wait)

    def date(self) -> float:
        """The ``Date`` of an answer (RFC 9110), in seconds since the epoch."""

        def attempt(left: float) -> str:
            with (
                self._budget().turn(),
                self._answer("GET", "/version", (), None, "", "application/json", left) as answer,
            ):
                bytes(answer.data)  # to its end: the connection is used again
                return str(answer.headers.get("Date", ""))

        text = self._patiently(attempt, Repeatable.ALWAYS, self._timeout_seconds)
        try:
            return parsedate_to_datetime(text).timestamp()
        except ValueError as error:
            raise KubeError(self.thing, "its answers have no date", text) from error

    def lines(self, path: str, query: Query, *, timeout_seconds: float) -> Iterator[bytes]:
        """The lines of an answer as they come, until it ends or ``timeout_seconds`` are over."""
        self._budget().admit()
        with self._answer(
            "GET", path, query, None, "", "application/json", timeout_seconds
        ) as answer:
            rest = b""
            try:
                for chunk in answer.stream(65536):
                    *whole, rest = (rest + chunk).split(b"\n")
                    yield from whole
            finally:
                answer.close()  # the next request must not read the rest of a broken-off answer

    def websocket(
        self, path: str, query: Query, protocols: Sequence[str], *, timeout_seconds: float
    ) -> WebSocket:
        """A new websocket that speaks one of ``protocols``; the caller owns it."""
        self._demand("GET", path, query)
        self._budget().admit()
        step = f"connect to {path}"

        def attempt(left: float) -> WebSocket:
            return self._upgraded(step, self._url(path, query), protocols, left)

        return self._patiently(attempt, Repeatable.UNHEARD, timeout_seconds)

    def give_up(self, why: MeshError) -> None:
        """Make every further request raise :class:`GivenUp`."""
        self._gone = why
        self._interrupted.set()

    def close(self) -> None:
        """Let go of pooled connections and credentials; a later request obtains new ones."""
        with self._lock:
            access, self._access = self._access, None
        if access is not None:
            access.transport.close()

    def _patiently(self, attempt: Callable[[float], T], when: Repeatable, wait: float) -> T:
        """What an attempt gives, with repetitions, and with new credentials where refused (401)."""
        until = time.monotonic() + wait

        def authorized(left: float) -> T:
            used = self._current()
            try:
                return attempt(left)
            except KubeError as error:
                if error.status != 401 or not self._renewed(used):
                    raise
            return attempt(max(0.001, until - time.monotonic()))

        return patiently(authorized, when, wait, self._interrupted)

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: Query,
        body: Any,
        content_type: str,
        accept: str,
        timeout_seconds: float,
    ) -> Iterator[Any]:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        access = self._current()
        headers = access.headers(Accept=accept)
        data = None
        if body is not None:
            headers["Content-Type"] = [content_type]
            data = json.dumps(body).encode()
        server = access.context.server
        if not is_loopback(server):
            headers["Accept-Encoding"] = ["gzip"]
        step = f"{method} {path}"
        try:
            answer = access.transport.pools.request(
                method,
                self._url(path, query),
                body=data,
                headers=_for_urllib3(headers),
                timeout=Timeout(total=timeout_seconds),
                preload_content=False,
                redirect=False,
            )
            if answer.status >= 300:
                raise refusal(self.thing, step, answer.status, answer.headers, answer.data)
            yield answer
        except (HTTPError, OSError, ValueError) as error:
            # its frames hold the token, and its text is in ours
            raise silence(self.thing, step, server, error, timeout_seconds) from None

    def _upgraded(
        self, step: str, url: str, protocols: Sequence[str], timeout_seconds: float
    ) -> WebSocket:
        from urllib3.exceptions import HTTPError
        from websocket import WebSocket, WebSocketBadStatusException, WebSocketException

        access = self._current()
        named = access.headers()
        parts = urlsplit(url)
        url = urlunsplit(parts._replace(scheme="wss" if parts.scheme == "https" else "ws"))
        made: Any = WebSocket(enable_multithread=False, skip_utf8_validation=True)
        opened = None
        until = time.monotonic() + timeout_seconds
        try:
            opened = access.transport.socket(timeout_seconds)
            made.connect(
                url,
                socket=Timely(opened, until),
                header=[f"{name}: {value}" for name, values in named.items() for value in values],
                subprotocols=list(protocols),
                suppress_origin=False,
                redirect_limit=0,
            )
        except WebSocketBadStatusException as error:
            status, headers = error.status_code, error.resp_headers or {}
            opened.close() if opened else None
            raise refusal(self.thing, step, status, headers, error.resp_body or b"") from None
        except Unusable as error:
            raise self._unusable(error) from error
        except (WebSocketException, HTTPError, OSError, ValueError) as error:
            opened.close() if opened else None
            server = access.context.server
            raise silence(self.thing, step, server, error, timeout_seconds) from None
        made.sock = opened
        return cast("WebSocket", made)

    def _demand(self, method: str, path: str, query: Query) -> None:
        if self.confinement is not None:
            self.confinement.demand(self.thing, method, path, query)

    def _budget(self) -> Budget:
        return budget_of(self._current().context.server)

    def _current(self) -> _Access:
        """The way in, with a credential that has not expired; one is obtained at a time."""
        if self._gone is not None:
            raise GivenUp(self._gone)
        with self._lock:
            access = self._access
            if access is None or time.time() >= access.credential.renew_at:
                try:
                    access = self._obtained(access)
                except KubeError:
                    if access is None or time.time() >= access.credential.expires:
                        raise
                    # the old one will do while it is valid, and is renewed a little later
                    later = min(time.time() + _RENEWED_SECONDS, access.credential.expires)
                    access = replace(access, credential=replace(access.credential, renew_at=later))
                self._access = access
            return access

    def _renewed(self, refused: _Access) -> bool:
        """Obtain another credential in place of a refused one; whether to try again with it."""
        with self._lock:
            if self._access is not refused:
                return True  # another thread did
            if refused.obtained and time.monotonic() - refused.obtained < _RENEWED_SECONDS:
                return False
            self._access = self._obtained(refused, after_refusal=True)
            return True

    def _obtained(self, before: _Access | None, *, after_refusal: bool = False) -> _Access:
        try:
            context = read_context(self._kubeconfig, self._context)
            headers = impersonation(context.user)
            credential = obtain(self._kubeconfig, context)
            remember(credential.authorization.partition(" ")[2], credential.key)
            if before is not None and _same_way(before, context, credential):
                way = before.transport
            else:
                way = transport(context, credential)
                if before is not None:
                    before.transport.close()
        except Unusable as error:
            raise self._unusable(error) from None  # its frames hold what the kubeconfig keeps
        except Exception as error:
            # of a kubeconfig in another shape the official package raises all kinds
            told = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            raise self._unusable(Unusable(told)) from None
        obtained = time.monotonic() if after_refusal else 0.0
        return _Access(context, credential, way, headers, obtained)

    def _unusable(self, error: Unusable) -> KubeError:
        step = f'context "{self._context}" cannot be used'
        option = [f"--kubeconfig={self._kubeconfig}"] if self._kubeconfig else []
        advice = error.advice or shell.command("kubectl config get-contexts", *option)
        return KubeError(self.thing, step, str(error), advice=advice)

    def _url(self, path: str, query: Query) -> str:
        url = self._current().context.server + quote(path, safe="/%:@~")
        return f"{url}?{urlencode(query)}" if query else url


def _same_way(before: _Access, context: Context, credential: Credential) -> bool:
    """Whether the pooled connections do for other credentials: those are in headers only."""
    old = before.credential
    same = (old.certificate, old.key) == (credential.certificate, credential.key)
    return same and before.context.cluster == context.cluster


def _for_urllib3(headers: _Headers) -> HTTPHeaderDict:
    from urllib3 import HTTPHeaderDict

    made = HTTPHeaderDict()
    for name, values in headers.items():
        for value in values:  # http.client takes Latin-1 only: give it the bytes of UTF-8 so
            made.add(name, value.encode().decode("latin-1"))
    return made


@cache
def user_agent() -> str:
    """How requests name this program, for audit logs."""
    try:
        return f"pytest-istio-mc/{version('pytest-istio-mc')}"
    except PackageNotFoundError:
        return "pytest-istio-mc"
