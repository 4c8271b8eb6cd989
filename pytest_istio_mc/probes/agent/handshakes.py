"""TLS from a probe pod: raw handshakes with any certificate, and HTTPS requests.

Runs inside probe pods: standard library only, Python 3.8 or newer; slow imports are in functions.
"""

from __future__ import annotations

import os
import socket
import time

from .bounds import KEY, KEY_HEADER
from .outcomes import MOST_TEXT, ending, explain, failures, read_body

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    import ssl
    from typing import Any

MESH_CERTIFICATE = os.environ.get("ISTIO_MC_MESH_CERTIFICATE", "/etc/istio-output-certs")


def load_certificate(context: ssl.SSLContext, certificate: Any) -> None:
    """Give the context a client certificate.

    It is ``{"cert_pem": ..., "key_pem": ...}``; ``"mesh"`` stands for this pod's own.
    """
    if certificate == "mesh":
        context.load_cert_chain(MESH_CERTIFICATE + "/cert-chain.pem", MESH_CERTIFICATE + "/key.pem")
    elif certificate:
        import tempfile

        with tempfile.NamedTemporaryFile("w") as pem:  # OpenSSL takes files only
            pem.write(certificate["cert_pem"] + "\n" + certificate["key_pem"])
            pem.flush()
            context.load_cert_chain(pem.name)


def client_context(operation: dict[str, Any], verify: bool) -> ssl.SSLContext:
    """TLS 1.2 or newer with the operation's ``alpn``, ``certificate`` and ``ca_pem``.

    ``"mesh"`` as ``ca_pem`` stands for the roots that the sidecar has.
    """
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
    """The peer's certificates as DER, leaf first; only the leaf before Python 3.10."""
    leaf = sock.getpeercert(True)
    raw: Any = getattr(sock, "_sslobj", None)
    if hasattr(sock, "get_unverified_chain"):  # Python 3.13
        return [bytes(der) for der in sock.get_unverified_chain()]
    if hasattr(raw, "get_unverified_chain"):
        import _ssl

        encoding = getattr(_ssl, "ENCODING_DER", 2)
        chain = raw.get_unverified_chain() or ()
        return [certificate.public_bytes(encoding) for certificate in chain]
    return [leaf] if leaf else []


def await_refusal(sock: ssl.SSLSocket, seconds: float) -> None:
    """Raise a TLS 1.3 server's refusal of the client certificate, if it comes.

    It refuses after the handshake. Nothing must have been sent: a server that closes with
    something unread resets the connection, and proxies on the way drop the alert.
    """
    sock.settimeout(seconds)
    try:
        if not sock.recv(1):
            raise EOFError("closed after the handshake")
    except socket.timeout:  # noqa: UP041 - another class before Python 3.10
        pass  # it has not refused


def tls(operation: dict[str, Any]) -> dict[str, Any]:
    """``tls``: a handshake with ``address``:``port``, and any request inside it.

    - ``sni`` is the name asked for, if any; ``request`` = {host, path} is the GET that follows.
    - ``completed`` is this side's view: in TLS 1.3 a server refuses a client certificate after
      the handshake, which is an ``alert`` when reading.
    - ``verify_error`` says that the chain does not lead to ``ca_pem``; the handshake is then done
      again without that demand.
    - Where the connection ends after the handshake without an answer, another handshake, which
      sends nothing, finds out whether the certificate was refused.
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
    result: dict[str, Any] = {"connected": False, "completed": False, "verified": False}
    result.update(version="", alpn="", peer=[], verify_error="")
    result.update(ending="answered", error="", status=0)
    address = (operation["address"], int(operation["port"]))
    began = time.monotonic()
    try:
        with socket.create_connection(address, float(operation.get("timeout", 5))) as raw:
            result["connected"] = True
            with context.wrap_socket(raw, server_hostname=operation.get("sni") or None) as sock:
                alpn = sock.selected_alpn_protocol() or ""
                result.update(completed=True, verified=verify)
                result.update(version=sock.version() or "", alpn=alpn)
                result["peer"] = [ssl.DER_cert_to_PEM_cert(der) for der in peer_chain(sock)]
                if operation.get("await_refusal"):
                    await_refusal(sock, float(operation["await_refusal"]))
                request = operation.get("request")
                if request:
                    get = f"GET {request.get('path', '/')} HTTP/1.1\r\n"
                    named = f"host: {request['host']}\r\n{KEY_HEADER}: {KEY}\r\n\r\n"
                    sock.sendall(f"{get}{named}".encode("latin-1"))
                    response = HTTPResponse(sock, method="GET")
                    response.begin()
                    result.update(status=response.status, **read_body(response.read()))
    except failures() as error:
        result.update(ending=ending(error), error=explain(error))
    result["seconds"] = time.monotonic() - began
    return result


def https(operation: dict[str, Any]) -> dict[str, Any]:
    """``https``: one HTTPS request to ``url``.

    The server's certificate is verified against ``ca_pem``, and against the name or address in
    ``url``; not at all without ``ca_pem``.
    """
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
    result: dict[str, Any] = {"connect_error": None, "tls_error": None, "status": None}
    result.update(body="", peer_sha256=None)
    began = time.monotonic()
    raw = None
    try:
        raw = socket.create_connection((host, url.port or 443), timeout)
        sock = context.wrap_socket(raw, server_hostname=operation.get("server_name") or host)
        result["peer_sha256"] = hashlib.sha256(sock.getpeercert(True) or b"").hexdigest()
        connection = http.client.HTTPConnection(url.netloc)
        connection.sock = sock
        body = operation.get("body")
        path = (url.path or "/") + ("?" + url.query if url.query else "")
        headers = {str(key): str(value) for key, value in operation.get("headers", {}).items()}
        method = operation.get("method", "GET")
        connection.request(method, path, body.encode() if body else None, headers)
        response = connection.getresponse()
        came = response.read()[:MOST_TEXT].decode("utf-8", "replace")
        result.update(status=response.status, body=came)
    except failures() as error:
        handshake = raw is not None and result["peer_sha256"] is None
        is_tls = handshake or isinstance(error, ssl.SSLError)
        result["tls_error" if is_tls else "connect_error"] = explain(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            again = https({**operation, "ca_pem": "", "headers": {}, "method": "HEAD", "body": ""})
            result["peer_sha256"] = again["peer_sha256"]
    finally:
        if raw is not None:
            raw.close()
    result["seconds"] = time.monotonic() - began
    return result
