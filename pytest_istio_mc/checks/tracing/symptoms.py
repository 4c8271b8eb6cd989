"""Symptoms: which hop a failure points to, by Envoy's words and by how raw handshakes end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...observations import Ending, Request, TlsHandshake

CLIENT_PROXY = "client proxy"
DNS = "DNS"
LISTENER = "listener"
ROUTE = "route"
CLUSTER = "cluster"
ENDPOINT = "endpoint"
CLIENT_TLS = "client TLS"
GATEWAY = "remote gateway"
REMOTE_CLUSTER = "remote cluster"
INBOUND = "remote inbound"
AUTHORISATION = "authorisation"
APPLICATION = "application"

IN_CLIENT_POD = frozenset({CLIENT_PROXY, DNS, LISTENER, ROUTE, CLUSTER, ENDPOINT})
BEYOND_GATEWAY = frozenset({GATEWAY, REMOTE_CLUSTER})
"""Hops that there are only between networks."""

_ENVOY = (
    # order matters: a TLS failure also says "disconnect/reset before headers"
    ("CERTIFICATE_VERIFY_FAILED", CLIENT_TLS),
    ("UNKNOWN_CA", INBOUND),
    ("CERTIFICATE_UNKNOWN", INBOUND),
    ("CERTIFICATE_EXPIRED", INBOUND),
    ("CERTIFICATE_REQUIRED", CLIENT_TLS),
    ("WRONG_VERSION_NUMBER", INBOUND),
    ("no healthy upstream", ENDPOINT),
    ("RBAC: access denied", AUTHORISATION),
)
"""Words in the body of an error and the hop that they are about.

From Envoy ("Response flags") and BoringSSL (its error names).
"""

_CONNECTING = (
    "connection timeout",
    "Connection refused",
    "remote connection failure",
    "connection_failure",
    "connection termination",
)


def symptoms_by_hop(
    requests: Sequence[Request], handshakes: Sequence[TlsHandshake], *, gateway: bool
) -> dict[str, str]:
    """The first failure of each hop, in words.

    With a ``gateway`` on the path, connections are made to that.
    """
    found: dict[str, str] = {}
    for hop, text in (*_of_handshakes(handshakes, gateway), *_of_requests(requests, gateway)):
        found.setdefault(hop, text)
    return found


def _of_handshakes(handshakes: Sequence[TlsHandshake], gateway: bool) -> Iterator[tuple[str, str]]:
    for one in handshakes:
        if one.answer is not None:
            continue
        if one.verify_error:
            yield CLIENT_TLS, f"{one}: {one.verify_error}"
        elif one.ending is Ending.ALERT:
            yield INBOUND, str(one)
        elif not one.connected or not one.completed:
            yield GATEWAY if gateway else INBOUND, str(one)
        elif one.status == 403:
            yield AUTHORISATION, str(one)
        else:
            yield APPLICATION, str(one)


def _of_requests(requests: Sequence[Request], gateway: bool) -> Iterator[tuple[str, str]]:
    for request in requests:
        if not request.succeeded:
            hop = _of_request(request, gateway)
            if hop:
                yield hop, request.failure


def _of_request(request: Request, gateway: bool) -> str:
    if request.ending is Ending.UNRESOLVED:
        return DNS
    if request.ending in (Ending.REFUSED, Ending.UNREACHABLE):
        return CLIENT_PROXY  # the sidecar takes every connection, whether it knows where to or not
    for words, hop in _ENVOY:
        if words in request.error:
            return hop
    if request.status == 404 and request.answer is None:
        return ROUTE
    if any(words in request.error for words in _CONNECTING):
        return GATEWAY if gateway else ENDPOINT
    if request.ending is Ending.ANSWERED and request.status not in (0, 200, 502, 503, 504):
        return APPLICATION
    return ""
