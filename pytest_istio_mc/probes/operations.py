"""What a probe can be told to do: requests over HTTP, HTTP/2 and TCP, raw connections, TLS handshakes, name lookups.

Each operation takes its JSON object and returns a JSON object: what happened, never what to think of it. Runs inside probe pods
beside ``agent.py``: standard library only, Python 3.8 or newer; what is slow to import is imported where it is used.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Callable

from . import http2

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    import ssl
    from typing import Any

MESH_CERTIFICATE = os.environ.get("ISTIO_MC_MESH_CERTIFICATE", "/etc/istio-output-certs")
MOST_TEXT = 65536


def ending(error: BaseException) -> str:
    """The kind of failure in one word; ``answered`` is what no failure is."""
    import http.client
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return "unverified"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "").upper()
        if "ALERT" in reason:
            return "alert"
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or "EOF" in reason:
            return "closed"
        return "timeout" if "timed out" in str(error) else "not-tls"
    if isinstance(error, (http.client.RemoteDisconnected, http.client.IncompleteRead, EOFError)):
        return "closed"
    if isinstance(error, socket.gaierror):
        return "unresolved"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionError):
        return "reset"
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "timeout"
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "unreachable"
    return "protocol"


def explain(error: BaseException) -> str:
    """The failure in words."""
    return f"{type(error).__name__}: {error}"


def read_body(body: bytes) -> dict[str, Any]:
    """``answer`` where the body is one of ours (it names a pod), else ``body`` as text."""
    text = body[:MOST_TEXT].decode("utf-8", "replace")
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    return {"answer": answer} if isinstance(answer, dict) and "pod" in answer else {"body": text}


def failures() -> tuple[type[BaseException], ...]:
    """What may go wrong with a connection, as opposed to with this program."""
    import http.client

    return (OSError, EOFError, http.client.HTTPException)


# --- requests ---


class Sender:
    """Requests of one protocol to one target, over one connection at a time, which it opens when there is none."""

    protocol = ""

    def __init__(self, operation: dict[str, Any]) -> None:
        self.host = str(operation["host"])
        self.port = int(operation["port"])
        self.address = str(operation.get("address") or self.host)
        self.path = str(operation.get("path", "/"))
        self.headers = {str(key): str(value) for key, value in operation.get("headers", {}).items()}
        self.timeout = float(operation.get("timeout", 5))
        self.sock: socket.socket | None = None

    def connected(self) -> socket.socket:
        """The connection, opened now if need be."""
        if self.sock is None:
            self.sock = socket.create_connection((self.address, self.port), self.timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.opened()
        return self.sock

    def opened(self) -> None:
        """Set up the protocol on a new connection."""

    def send(self) -> dict[str, Any]:
        """One request: ``status`` (0 where the protocol has none) and ``answer`` or ``body``."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None


class HttpSender(Sender):
    """HTTP/1.1."""

    protocol = "HTTP/1.1"

    def __init__(self, operation: dict[str, Any]) -> None:
        super().__init__(operation)
        from http.client import HTTPResponse  # here, so that the first request's latency does not hold the import

        self.response_type = HTTPResponse

    def send(self) -> dict[str, Any]:
        sock = self.connected()
        lines = [f"GET {self.path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        response = self.response_type(sock, method="GET")
        response.begin()
        seen = {"status": response.status, **read_body(response.read())}
        if response.will_close:
            self.close()
        return seen


class Http2Sender(Sender):
    """HTTP/2 with prior knowledge."""

    protocol = "HTTP/2"
    client: http2.Client

    def opened(self) -> None:
        assert self.sock is not None
        self.client = http2.Client(self.sock)

    def send(self) -> dict[str, Any]:
        self.connected()
        answer = self.client.get(f"{self.host}:{self.port}", self.path, list(self.headers.items()))
        if not self.client.usable:
            self.close()
        return {"status": int(answer.header(":status") or 0), **read_body(answer.body)}


class TcpSender(Sender):
    """A line out, a line back."""

    protocol = "TCP"

    def send(self) -> dict[str, Any]:
        sock = self.connected()
        sock.sendall(b"who\n")
        line = b""
        while not line.endswith(b"\n"):
            piece = sock.recv(4096)
            if not piece:
                raise EOFError("closed without an answer" if not line else "closed inside the answer")
            line += piece
        return {"status": 0, **read_body(line)}


def send_one(sender: Sender, keep: bool) -> dict[str, Any]:
    """Send one request and record it: when, how long, over a new connection or not, and what came back or why nothing did."""
    record: dict[str, Any] = {"when": time.time(), "new": sender.sock is None, "status": 0, "ending": "answered", "error": ""}
    began = time.monotonic()
    try:
        record.update(sender.send())
    except failures() as error:
        record.update(ending=ending(error), error=explain(error))
        sender.close()
    record["seconds"] = time.monotonic() - began
    if not keep:
        sender.close()
    return record


def requests(operation: dict[str, Any]) -> dict[str, Any]:
    """``http``, ``http2``, ``tcp``: ``count`` requests to ``host``:``port``, ``concurrency`` at a time, each on a new connection or
    (``keep_alive``) each sender on its own; ``address`` where to connect instead of to ``host``. A record for every request."""
    senders: dict[str, type[Sender]] = {"http": HttpSender, "http2": Http2Sender, "tcp": TcpSender}
    left = iter(range(int(operation.get("count", 1))))
    records: list[dict[str, Any]] = []

    def work() -> None:
        sender = senders[operation["op"]](operation)
        try:
            records.extend(send_one(sender, bool(operation.get("keep_alive"))) for _ in left)
        finally:
            sender.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(int(operation.get("concurrency", 1)) - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    return {"requests": sorted(records, key=lambda record: float(record["when"]))}


# --- connections ---


def connect(operation: dict[str, Any]) -> dict[str, Any]:
    """Open a TCP connection to ``address``:``port`` and close it."""
    began = time.monotonic()
    try:
        socket.create_connection((operation["address"], int(operation["port"])), float(operation.get("timeout", 5))).close()
    except OSError as error:
        return {"ending": ending(error), "error": explain(error), "seconds": time.monotonic() - began}
    return {"ending": "answered", "error": "", "seconds": time.monotonic() - began}


def plain(operation: dict[str, Any]) -> dict[str, Any]:
    """Send the text ``data`` to ``address``:``port`` without TLS and report what came back until it closed or fell silent."""
    came = b""
    result: dict[str, Any] = {"connected": False, "ending": "answered", "error": ""}
    began = time.monotonic()
    try:
        timeout = float(operation.get("timeout", 5))
        with socket.create_connection((operation["address"], int(operation["port"])), timeout) as sock:
            result["connected"] = True
            sock.sendall(str(operation["data"]).encode("latin-1"))
            while len(came) < MOST_TEXT:
                piece = sock.recv(4096)
                if not piece:
                    break
                came += piece
        if not came:
            result.update(ending="closed", error="closed without a byte")
    except OSError as error:
        if not came:
            result.update(ending=ending(error), error=explain(error))
    _, _, body = came.partition(b"\r\n\r\n")
    result.update(received=came[:MOST_TEXT].decode("latin-1"), seconds=time.monotonic() - began)
    result.update({key: value for key, value in read_body(body).items() if key == "answer"})
    return result


def dns(operation: dict[str, Any]) -> dict[str, Any]:
    """Resolve ``name`` as a program in this pod does."""
    began = time.monotonic()
    try:
        found = socket.getaddrinfo(operation["name"], None, type=socket.SOCK_STREAM)
    except OSError as error:
        return {"addresses": [], "error": explain(error), "seconds": time.monotonic() - began}
    return {"addresses": sorted({str(entry[4][0]) for entry in found}), "error": "", "seconds": time.monotonic() - began}


# --- TLS ---


def load_certificate(context: ssl.SSLContext, certificate: Any) -> None:
    """Give the context a client certificate: ``"mesh"`` is this pod's own, else ``{"cert_pem": ..., "key_pem": ...}``."""
    if certificate == "mesh":
        context.load_cert_chain(MESH_CERTIFICATE + "/cert-chain.pem", MESH_CERTIFICATE + "/key.pem")
    elif certificate:
        import tempfile

        with tempfile.NamedTemporaryFile("w") as pem:  # OpenSSL takes files only
            pem.write(certificate["cert_pem"] + "\n" + certificate["key_pem"])
            pem.flush()
            context.load_cert_chain(pem.name)


def client_context(operation: dict[str, Any], verify: bool) -> ssl.SSLContext:
    """TLS 1.2 or newer with the operation's ``alpn``, ``certificate`` and ``ca_pem`` (``"mesh"``: the roots that the sidecar has)."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if operation.get("alpn"):
        context.set_alpn_protocols(list(operation["alpn"]))
    load_certificate(context, operation.get("certificate"))
    if verify:
        if operation["ca_pem"] == "mesh":
            context.load_verify_locations(MESH_CERTIFICATE + "/root-cert.pem")
        else:
            context.load_verify_locations(cadata=operation["ca_pem"])
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def peer_chain(sock: ssl.SSLSocket) -> list[bytes]:
    """The certificates that the peer sent, as DER, leaf first; only the leaf before Python 3.10."""
    leaf = sock.getpeercert(True)
    raw: Any = getattr(sock, "_sslobj", None)
    if hasattr(sock, "get_unverified_chain"):  # Python 3.13
        return [bytes(der) for der in sock.get_unverified_chain()]
    if hasattr(raw, "get_unverified_chain"):
        import _ssl

        encoding = getattr(_ssl, "ENCODING_DER", 2)
        return [certificate.public_bytes(encoding) for certificate in raw.get_unverified_chain() or ()]
    return [leaf] if leaf else []


def tls(operation: dict[str, Any]) -> dict[str, Any]:
    """Handshake with ``address``:``port``, naming ``sni`` (or no name), then GET ``request`` = {host, path} if there is one.

    ``completed`` is this side's view: in TLS 1.3 a server refuses a client certificate after it, seen as an ``alert`` when reading.
    Where the chain does not lead to ``ca_pem``, ``verify_error`` says so and the handshake is done again without that demand.
    """
    result = try_tls(operation, verify=bool(operation.get("ca_pem")))
    if result["ending"] == "unverified":
        again = try_tls(operation, verify=False)
        again["verify_error"] = result["error"]
        return again
    return result


def try_tls(operation: dict[str, Any], verify: bool) -> dict[str, Any]:
    """One attempt of ``tls``."""
    import ssl
    from http.client import HTTPResponse

    context = client_context(operation, verify)
    result: dict[str, Any] = {"connected": False, "completed": False, "version": "", "alpn": "", "peer": [], "verify_error": ""}
    result.update(ending="answered", error="", status=0, verified=False)
    began = time.monotonic()
    try:
        with socket.create_connection((operation["address"], int(operation["port"])), float(operation.get("timeout", 5))) as raw:
            result["connected"] = True
            with context.wrap_socket(raw, server_hostname=operation.get("sni") or None) as sock:
                result.update(completed=True, verified=verify, version=sock.version() or "", alpn=sock.selected_alpn_protocol() or "")
                result["peer"] = [ssl.DER_cert_to_PEM_cert(der) for der in peer_chain(sock)]
                request = operation.get("request")
                if request:
                    sock.sendall(f"GET {request.get('path', '/')} HTTP/1.1\r\nhost: {request['host']}\r\n\r\n".encode("latin-1"))
                    response = HTTPResponse(sock, method="GET")
                    response.begin()
                    result.update(status=response.status, **read_body(response.read()))
    except failures() as error:
        result.update(ending=ending(error), error=explain(error))
    result["seconds"] = time.monotonic() - began
    return result


def https(operation: dict[str, Any]) -> dict[str, Any]:
    """One HTTPS request to ``url``, verified against ``ca_pem`` (nothing is verified without) and the name or address in it."""
    import hashlib
    import http.client
    import ssl
    from urllib.parse import urlsplit

    url = urlsplit(operation["url"])
    host, timeout = url.hostname or "", float(operation.get("timeout", 5))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if operation.get("ca_pem"):
        context.load_verify_locations(cadata=operation["ca_pem"])
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
    result: dict[str, Any] = {"connect_error": None, "tls_error": None, "status": None, "body": "", "peer_sha256": None}
    began = time.monotonic()
    raw = None
    try:
        raw = socket.create_connection((host, url.port or 443), timeout)
        sock = context.wrap_socket(raw, server_hostname=operation.get("server_name") or host)
        result["peer_sha256"] = hashlib.sha256(sock.getpeercert(True) or b"").hexdigest()
        connection = http.client.HTTPConnection(url.netloc)
        connection.sock = sock
        body = operation.get("body")
        connection.request(
            operation.get("method", "GET"),
            (url.path or "/") + ("?" + url.query if url.query else ""),
            body.encode() if body else None,
            {str(key): str(value) for key, value in operation.get("headers", {}).items()},
        )
        response = connection.getresponse()
        result.update(status=response.status, body=response.read()[:MOST_TEXT].decode("utf-8", "replace"))
    except failures() as error:
        handshake = raw is not None and result["peer_sha256"] is None
        result["tls_error" if handshake or isinstance(error, ssl.SSLError) else "connect_error"] = explain(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            again = https({**operation, "ca_pem": "", "headers": {}, "method": "HEAD", "body": ""})
            result["peer_sha256"] = again["peer_sha256"]
    finally:
        if raw is not None:
            raw.close()
    result["seconds"] = time.monotonic() - began
    return result


OPERATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "http": requests,
    "http2": requests,
    "tcp": requests,
    "connect": connect,
    "plain": plain,
    "dns": dns,
    "tls": tls,
    "https": https,
}
