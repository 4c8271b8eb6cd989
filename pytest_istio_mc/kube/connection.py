"""Connection: the way to one cluster; kubeconfig, credentials, HTTP pool, what goes wrong."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from .. import shell
from ..errors import GivenUp, KubeError, MeshError

if TYPE_CHECKING:
    from kubernetes.client import Configuration
    from kubernetes.client.rest import RESTClientObject
    from urllib3 import HTTPHeaderDict
    from websocket import WebSocket

Query = Sequence[tuple[str, str]]

_POOL_SIZE = 32
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

# The kubeconfig loader keeps its certificate files in a plain dictionary of its module.
_loader_lock = threading.Lock()


class Connection:
    """Requests to one apiserver, from any thread.

    - Nothing is read or connected before the first request.
    - Credentials are those of the kubeconfig, exec plugins and OIDC included: the official
      package loads and renews them.
    """

    def __init__(
        self, name: str, kubeconfig: str, context: str, request_timeout_seconds: float
    ) -> None:
        self.name = name
        self._kubeconfig = kubeconfig
        self._context = context
        self._timeout_seconds = request_timeout_seconds
        self._lock = threading.RLock()
        self._rest: RESTClientObject | None = None
        self._tls: ssl.SSLContext | None = None
        self._impersonation: list[tuple[str, str]] = []
        self._gone: MeshError | None = None

    @property
    def thing(self) -> str:
        """The name of this cluster in errors."""
        return f'cluster "{self.name}"'

    def server(self) -> str:
        """The apiserver's URL in the kubeconfig."""
        return str(self._rest_client().configuration.host)

    def request(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Any = None,
        *,
        content_type: str = "application/json",
        timeout_seconds: float | None = None,
    ) -> bytes:
        """The body of one answer.

        :class:`KubeError` with its status where it is not 2xx, with status 0 where none came.
        """
        wait = timeout_seconds or self._timeout_seconds
        with self._answer(method, path, query, body, content_type, wait) as answer:
            return bytes(answer.data)

    def date(self) -> float:
        """The ``Date`` of an answer (RFC 9110), in seconds since the epoch."""
        wait = self._timeout_seconds
        with self._answer("GET", "/version", (), None, "", wait) as answer:
            text = answer.headers.get("Date", "")
            answer.drain_conn()
        try:
            return parsedate_to_datetime(text).timestamp()
        except ValueError as error:
            raise KubeError(self.thing, "its answers have no date", text) from error

    def lines(self, path: str, query: Query, *, timeout_seconds: float) -> Iterator[bytes]:
        """The lines of an answer as they come, until it ends.

        ``timeout_seconds`` is the longest silence between two.
        """
        with self._answer("GET", path, query, None, "", timeout_seconds) as answer:
            rest = b""
            try:
                for chunk in answer.stream(65536):
                    *whole, rest = (rest + chunk).split(b"\n")
                    yield from whole
            finally:
                answer.close()  # the next request must not read the rest of a broken-off answer

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: Query,
        body: Any,
        content_type: str,
        timeout_seconds: float,
    ) -> Iterator[Any]:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        rest = self._rest_client()
        headers = self._headers({"Accept": "application/json"})
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = json.dumps(body).encode()
        host = rest.configuration.host
        if urlsplit(host).hostname not in _LOOPBACK:
            headers["Accept-Encoding"] = "gzip"
        url = self._url(path, query)
        timeout = Timeout(total=timeout_seconds)
        step = f"{method} {path}"
        try:
            answer = rest.pool_manager.request(
                method, url, body=data, headers=headers, timeout=timeout, preload_content=False
            )
            if answer.status >= 300:
                raise self._refused(step, answer.status, answer.data)
            yield answer
        except (HTTPError, OSError) as error:
            raise KubeError(self.thing, step, f"no answer from {host}: {error}") from error

    def websocket(
        self, path: str, query: Query, protocols: Sequence[str], *, timeout_seconds: float
    ) -> WebSocket:
        """A new websocket that speaks one of ``protocols``; the caller owns it."""
        from kubernetes.stream import ws_client
        from websocket import WebSocket, WebSocketBadStatusException, WebSocketException

        configuration = self._rest_client().configuration
        parts = urlsplit(self._url(path, query))
        url = urlunsplit(parts._replace(scheme="wss" if parts.scheme == "https" else "ws"))
        headers = self._headers({})
        lines = [f"{name}: {value}" for name, value in headers.iteritems()]
        options: dict[str, Any] = {
            "header": lines,
            "subprotocols": list(protocols),
            "timeout": timeout_seconds,
        }
        if configuration.proxy or configuration.proxy_headers:
            proxied: Any = ws_client.websocket_proxycare
            options = proxied(options, configuration, url, headers)
        tls = self._tls_options(configuration)
        socket: Any = WebSocket(sslopt=tls, enable_multithread=False, skip_utf8_validation=True)
        step = f"connect to {path}"
        try:
            socket.connect(url, **options)
        except WebSocketBadStatusException as error:
            raise self._refused(step, error.status_code, error.resp_body or b"") from error
        except (WebSocketException, OSError) as error:
            detail = f"no answer from {configuration.host}: {error}"
            raise KubeError(self.thing, step, detail) from error
        return cast("WebSocket", socket)

    def give_up(self, why: MeshError) -> None:
        """Make every further request raise :class:`GivenUp`."""
        self._gone = why

    def close(self) -> None:
        """Let go of the pooled connections; a later request opens new ones."""
        with self._lock:
            if self._rest is not None:
                self._rest.pool_manager.clear()

    def _rest_client(self) -> Any:
        if self._gone is not None:
            raise GivenUp(self._gone)
        with self._lock:
            if self._rest is None:
                self._rest = self._load()
            return self._rest

    def _load(self) -> RESTClientObject:
        from kubernetes import client, config
        from kubernetes.client.rest import RESTClientObject

        load: Any = config.load_kube_config
        connect: Any = RESTClientObject
        configuration = client.Configuration()
        # One request is one try: layers above decide, and say, what is retried and for how long.
        configuration.retries = False
        configuration.connection_pool_maxsize = _POOL_SIZE
        try:
            with _loader_lock:
                file, context = self._kubeconfig or None, self._context or None
                load(file, context, client_configuration=configuration)
                self._impersonation = self._read_impersonation()
        except (config.ConfigException, OSError, ValueError) as error:
            step = f'context "{self._context}" cannot be used'
            option = [f"--kubeconfig={self._kubeconfig}"] if self._kubeconfig else []
            advice = shell.command("kubectl config get-contexts", *option)
            raise KubeError(self.thing, step, str(error), advice=advice) from error
        return cast("RESTClientObject", connect(configuration))

    def _read_impersonation(self) -> list[tuple[str, str]]:
        """``as`` and ``as-groups`` of the user entry, which the official loader ignores."""
        from kubernetes.config import kube_config

        merger: Any = kube_config.KubeConfigMerger
        merged = merger(self._kubeconfig or kube_config.KUBE_CONFIG_DEFAULT_LOCATION).config
        contexts = merged["contexts"]
        current = contexts.get_with_name(self._context or merged["current-context"])["context"]
        user = current.safe_get("user")
        if not user or not merged.safe_get("users"):
            return []
        entry = merged["users"].get_with_name(user, safe=True)
        if not entry or not entry["user"].value:
            return []
        details = entry["user"].value
        users = [("Impersonate-User", details["as"])] if details.get("as") else []
        return users + [("Impersonate-Group", group) for group in details.get("as-groups", ())]

    def _headers(self, headers: dict[str, str]) -> HTTPHeaderDict:
        """The headers with fresh credentials; one token is renewed at a time."""
        from urllib3 import HTTPHeaderDict

        configuration = self._rest_client().configuration
        complete = HTTPHeaderDict(headers)
        with self._lock:
            for setting in configuration.auth_settings().values():
                complete[setting["key"]] = setting["value"]
        for name, value in self._impersonation:
            complete.add(name, value)
        return complete

    def _url(self, path: str, query: Query) -> str:
        url = self.server() + quote(path, safe="/%:@~")
        return f"{url}?{urlencode(query)}" if query else url

    def _tls_options(self, configuration: Configuration) -> dict[str, Any]:
        with self._lock:
            if self._tls is None:
                tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
                if not configuration.verify_ssl:
                    tls.check_hostname = False
                    tls.verify_mode = ssl.CERT_NONE
                if configuration.cert_file:
                    tls.load_cert_chain(configuration.cert_file, configuration.key_file)
                self._tls = tls
        options: dict[str, Any] = {"context": self._tls}
        if configuration.tls_server_name:
            options["server_hostname"] = configuration.tls_server_name
        return options

    def _refused(self, step: str, status: int, body: bytes) -> KubeError:
        text = body.decode(errors="replace").strip()
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if isinstance(document, dict) and document.get("kind") == "Status":
            text = str(document.get("message") or document.get("reason") or text)
        return KubeError(self.thing, step, f"HTTP {status}: {text[:1000]}", status=status)
