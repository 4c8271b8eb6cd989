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


def verifying_context(ca_pem: str) -> ssl.SSLContext:
    """Verify servers as Go does: chain and name, before anything is sent.

    By ``ca_pem``, each certificate of which is trusted by itself; else by the roots of this image.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if hasattr(context, "hostname_checks_common_name"):
        context.hostname_checks_common_name = False
    if ca_pem:
        context.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0x80000)
        context.load_verify_locations(cadata=ca_pem)
    else:
        context.load_default_certs()
    return context


def https(operation: dict[str, Any]) -> dict[str, Any]:
    """``https``: one HTTPS request to ``url``.

    - The server's certificate is verified by ``ca_pem``, or by the roots of this image where that
      is empty, and for ``server_name``, or for the name or address in ``url``.
    - ``bearer`` is the token to send. Nothing is sent to a server that was not verified.
    - With ``handshake_only`` nothing is verified, and nothing is sent.
    """
    import hashlib
    import http.client
    import ssl
    from urllib.parse import urlsplit

    url = urlsplit(operation["url"])
    host, timeout = url.hostname or "", float(operation.get("timeout", 5))
    only = bool(operation.get("handshake_only"))
    result: dict[str, Any] = {"connect_error": None, "tls_error": None, "status": None}
    result.update(body="", peer_sha256=None)
    began = time.monotonic()
    raw = None
    try:
        context = client_context({}, False) if only else verifying_context(operation["ca_pem"])
        raw = socket.create_connection((host, url.port or 443), timeout)
        sock = context.wrap_socket(raw, server_hostname=operation.get("server_name") or host)
        result["peer_sha256"] = hashlib.sha256(sock.getpeercert(True) or b"").hexdigest()
        if not only:
            response = ask_verified(http.client.HTTPConnection(url.netloc), sock, operation)
            came = response.read(MOST_TEXT).decode("utf-8", "replace")
            result.update(status=response.status, body=came)
    except failures() as error:
        handshake = raw is None or result["peer_sha256"] is None
        is_tls = isinstance(error, ssl.SSLError) or (raw is not None and handshake)
        result["tls_error" if is_tls else "connect_error"] = explain(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            again = https({**operation, "handshake_only": True})
            result["peer_sha256"] = again["peer_sha256"]
    finally:
        if raw is not None:
            raw.close()
    result["seconds"] = time.monotonic() - began
    return result


def ask_verified(connection: Any, sock: ssl.SSLSocket, operation: dict[str, Any]) -> Any:
    """Send the request over a connection whose server has been verified; the answer."""
    from urllib.parse import urlsplit

    url = urlsplit(operation["url"])
    connection.sock = sock
    path = (url.path or "/") + ("?" + url.query if url.query else "")
    headers = {str(key): str(value) for key, value in operation.get("headers", {}).items()}
    body, method = operation.get("body"), operation.get("method", "GET")
    if operation.get("bearer"):
        headers["authorization"] = f"Bearer {operation['bearer']}"
    try:
        connection.request(method, path, body.encode() if body else None, headers)
    except ValueError:
        # its own text quotes the header
        raise OSError("a header of the request has a character that none may have") from None
    return connection.getresponse()
