"""How attempts end and what answers say, in the words of ``pytest_istio_mc.observations``.

Runs inside probe pods: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import errno
import json
import socket

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    from typing import Any

MOST_TEXT = 65536


def ending(error: BaseException) -> str:
    """The kind of failure in one word, which is never ``answered``."""
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
    """``answer`` where the body is a probe's and names a pod, else ``body``."""
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
