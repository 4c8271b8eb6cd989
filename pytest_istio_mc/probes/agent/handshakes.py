"""TLS from a probe pod: raw handshakes with any certificate and server name, and HTTPS requests.

Runs inside probe pods: standard library only, Python 3.8 or newer; what is slow to import is imported where it is used.
"""

from __future__ import annotations

import os
import socket
import time

from .outcomes import MOST_TEXT, ending, explain, failures, read_body

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    import ssl
    from typing import Any

MESH_CERTIFICATE = os.environ.get("ISTIO_MC_MESH_CERTIFICATE", "/etc/istio-output-certs")


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
        return [
            certificate.public_bytes(encoding) for certificate in raw.get_unverified_chain() or ()
        ]
    return [leaf] if leaf else []


def await_refusal(sock: ssl.SSLSocket, seconds: float) -> None:
    """Read until a TLS 1.3 server refuses the client certificate, which it does after the handshake; raises what it says.

    Nothing must have been sent: a server that closes with something unread resets the connection, and proxies on the way drop the alert.
    """
    sock.settimeout(seconds)
    try:
        if not sock.recv(1):
            raise EOFError("closed after the handshake")
    except socket.timeout:  # noqa: UP041 - another class before Python 3.10
        pass  # it has not refused


def tls(operation: dict[str, Any]) -> dict[str, Any]:
    """Handshake with ``address``:``port``, naming ``sni`` (or no name), then GET ``request`` = {host, path} if there is one.

    ``completed`` is this side's view: in TLS 1.3 a server refuses a client certificate after it, seen as an ``alert`` when reading.
    Where the chain does not lead to ``ca_pem``, ``verify_error`` says so and the handshake is done again without that demand. Where
    the connection ends after the handshake without an answer, another handshake that sends nothing finds out whether that was why.
    """
    result = try_tls(operation, verify=bool(operation.get("ca_pem")))
    if result["ending"] == "unverified":
        refused = result["error"]
        result = try_tls(operation, verify=False)
        result["verify_error"] = refused
    if result["completed"] and result["ending"] in ("reset", "closed") and operation.get("request"):
        why = try_tls({**operation, "request": None, "await_refusal": 1.0}, verify=False)
        if why["ending"] == "alert":
            result.update(ending="alert", error=why["error"])
    return result


def try_tls(operation: dict[str, Any], verify: bool) -> dict[str, Any]:
    """One attempt of ``tls``."""
    import ssl
    from http.client import HTTPResponse

    context = client_context(operation, verify)
    result: dict[str, Any] = {
        "connected": False,
        "completed": False,
        "version": "",
        "alpn": "",
        "peer": [],
        "verify_error": "",
    }
    result.update(ending="answered", error="", status=0, verified=False)
    began = time.monotonic()
    try:
        with socket.create_connection(
            (operation["address"], int(operation["port"])), float(operation.get("timeout", 5))
        ) as raw:
            result["connected"] = True
            with context.wrap_socket(raw, server_hostname=operation.get("sni") or None) as sock:
                result.update(
                    completed=True,
                    verified=verify,
                    version=sock.version() or "",
                    alpn=sock.selected_alpn_protocol() or "",
                )
                result["peer"] = [ssl.DER_cert_to_PEM_cert(der) for der in peer_chain(sock)]
                if operation.get("await_refusal"):
                    await_refusal(sock, float(operation["await_refusal"]))
                request = operation.get("request")
                if request:
                    sock.sendall(
                        f"GET {request.get('path', '/')} HTTP/1.1\r\nhost: {request['host']}\r\n\r\n".encode(
                            "latin-1"
                        )
                    )
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
    result: dict[str, Any] = {
        "connect_error": None,
        "tls_error": None,
        "status": None,
        "body": "",
        "peer_sha256": None,
    }
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
        result.update(
            status=response.status, body=response.read()[:MOST_TEXT].decode("utf-8", "replace")
        )
    except failures() as error:
        handshake = raw is not None and result["peer_sha256"] is None
        result["tls_error" if handshake or isinstance(error, ssl.SSLError) else "connect_error"] = (
            explain(error)
        )
        if isinstance(error, ssl.SSLCertVerificationError):
            again = https({**operation, "ca_pem": "", "headers": {}, "method": "HEAD", "body": ""})
            result["peer_sha256"] = again["peer_sha256"]
    finally:
        if raw is not None:
            raw.close()
    result["seconds"] = time.monotonic() - began
    return result
