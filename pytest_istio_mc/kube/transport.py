"""Transport: TLS, proxies and deadlines below the requests to one API server."""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .credentials import Credential
from .kubeconfig import Context, Unusable, pem
from .proxies import Proxy, proxy_for

if TYPE_CHECKING:
    from urllib3 import PoolManager

_POOL_SIZE = 32


@dataclass(frozen=True)
class Transport:
    """The pooled connections to one API server, made with one client certificate or with none."""

    server: str
    pools: PoolManager
    proxy: Proxy | None

    def socket(self, timeout_seconds: float) -> socket.socket:
        """A new connection of its own, through the proxy and with TLS; the caller owns it.

        It is made by the same pool as those of requests, so that what is right for them (names,
        authorities, proxies) is right for it.
        """
        pool: Any = self.pools.connection_from_url(self.server)
        connection = pool._new_conn()
        connection.timeout = timeout_seconds
        if pool.proxy is None:
            connection.connect()
        elif pool.proxy.scheme == "https":
            raise Unusable(
                f"exec and port-forward cannot go through {self.proxy_url}, which speaks TLS itself"
            )
        elif urlsplit(self.server).scheme == "https":
            pool._prepare_proxy(connection)  # asks for the tunnel, and connects
        else:
            connection.set_tunnel(pool.host, pool.port, pool.proxy_headers)
            connection.connect()
        opened: socket.socket = connection.sock
        opened.settimeout(timeout_seconds)
        return opened

    @property
    def proxy_url(self) -> str:
        """The proxy's URL without credentials; empty without one."""
        return self.proxy.url if self.proxy else ""

    def close(self) -> None:
        """Let go of the pooled connections."""
        self.pools.clear()


def transport(context: Context, credential: Credential) -> Transport:
    """The way to a context's API server; :class:`~.kubeconfig.Unusable` where there is none."""
    import urllib3

    proxy = proxy_for(context.server, str(context.cluster.get("proxy-url") or ""))
    options: dict[str, Any] = {"maxsize": _POOL_SIZE, "retries": False}
    if context.server.startswith("https:"):
        options["ssl_context"] = _tls(context, credential)
        if name := context.cluster.get("tls-server-name"):
            options["server_hostname"] = str(name)
    pools: Any
    if proxy is None:
        pools = urllib3.PoolManager(**options)
    elif proxy.is_socks:
        try:
            import socks  # noqa: F401 - before urllib3 warns of its absence
            from urllib3.contrib.socks import SOCKSProxyManager
        except ImportError:
            why = f"the way to {context.server} is {proxy.url}, for which PySocks is missing"
            raise Unusable(why, "pip install 'pytest-istio-mc[socks]'") from None
        pools = SOCKSProxyManager(proxy.url, proxy.user or None, proxy.password or None, **options)
    else:
        pools = urllib3.ProxyManager(proxy.url, proxy_headers=proxy.headers(), **options)
    pools.pool_classes_by_scheme = {
        scheme: _with_deadlines(pool) for scheme, pool in pools.pool_classes_by_scheme.items()
    }
    return Transport(context.server, pools, proxy)


def _tls(context: Context, credential: Credential) -> ssl.SSLContext:
    authority = pem(context.cluster, "certificate-authority", context.cluster_folder)
    try:
        tls = ssl.create_default_context(cadata=authority or None)
    except (ssl.SSLError, ValueError) as error:
        raise Unusable(f"certificate-authority has no certificate ({error})") from error
    # As kubectl: any certificate of the bundle is trusted, and old authorities without key
    # identifiers are, which Python 3.13 began to refuse.
    tls.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if context.cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    if credential.certificate and credential.key:
        with _in_memory(f"{credential.certificate}\n{credential.key}") as path:
            try:
                tls.load_cert_chain(path, password=_no_password)
            except (ssl.SSLError, ValueError) as error:
                why = f"the client certificate and its key cannot be used ({error})"
                raise Unusable(why) from error
    elif credential.certificate or credential.key:
        raise Unusable("a client certificate needs its key, and a key its certificate")
    return tls


def _no_password() -> str:
    raise ValueError("the key is encrypted")


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """A path for what OpenSSL reads from files only; nothing gets onto a disk.

    So a key is gone with this process, however it ends (memfd_create(2)).
    """
    descriptor = os.memfd_create("istio-mc", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


class Timely:
    """A socket whose reads all together end at ``until``, of :func:`time.monotonic`."""

    def __init__(self, opened: socket.socket, until: float) -> None:
        self._socket, self._until = opened, until

    def recv(self, size: int) -> bytes:
        """Some bytes; :class:`TimeoutError` where there is no time left."""
        self._socket.settimeout(_left(self._until))
        return self._socket.recv(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the answer is not complete in time")
    return left


def _with_deadlines(pool: Any) -> Any:
    """The urllib3 pool class, but with answers that end in time."""
    made = pool.ConnectionCls
    connection = type(made.__name__, (made,), {"response_class": _TimelyAnswer})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _TimelyAnswer(http.client.HTTPResponse):
    """An answer whose headers and body together come in time.

    They have the time that the socket has for one read, which by itself begins anew with every
    byte that comes.
    """

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        whole: Any = self.fp
        self.fp = io.BufferedReader(_UntilDeadline(whole.detach(), sock), 1 << 16)


class _UntilDeadline(io.RawIOBase):
    def __init__(self, raw: Any, sock: socket.socket) -> None:
        self._raw, self._socket = raw, sock
        limit = sock.gettimeout()
        self._deadline = None if limit is None else time.monotonic() + limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            self._socket.settimeout(_left(self._deadline))
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()
