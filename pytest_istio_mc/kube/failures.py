"""Failures: requests that were refused or not answered, and which may pass."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import urlsplit

from ..errors import KubeError

_PASSING = frozenset({429, 500, 502, 503, 504})
_SHOWN = 1000


class Failure(KubeError):
    """A failed request, with what its repetition depends on.

    - ``may_pass``: the same request may succeed a moment later.
    - ``unheard``: the API server certainly did nothing of what was asked.
    - ``after_seconds``: how long it asks to be left alone (``Retry-After``, RFC 9110).
    - ``status_object``: the ``Status`` that it answered, or nothing.
    """

    may_pass: bool = False
    unheard: bool = False
    after_seconds: float = 0.0
    status_object: Mapping[str, Any] = {}


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later."""
    return isinstance(error, Failure) and error.may_pass


def refusal(thing: str, step: str, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """An answer that is not 2xx."""
    text = body.decode(errors="replace").strip()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    is_status = isinstance(document, dict) and document.get("kind") == "Status"
    if is_status:
        text = str(document.get("message") or document.get("reason") or text)
    failure = Failure(thing, step, f"HTTP {status}: {text[:_SHOWN]}", status=status)
    failure.may_pass = status in _PASSING
    failure.unheard = status == 429
    lower = {name.lower(): value for name, value in headers.items()}
    failure.after_seconds = _seconds(lower.get("retry-after", ""))
    if is_status:
        failure.status_object = document
    return failure


def silence(thing: str, step: str, server: str, error: Exception, waited_seconds: float) -> Failure:
    """No answer, or not all of one, within ``waited_seconds``."""
    if _is_time_out(error):
        why = f"not within {waited_seconds:.3g} s"
    elif isinstance(error, ValueError) and not isinstance(error, OSError):
        why = type(error).__name__  # its text may quote what was sent, tokens included
    else:
        why = str(error) or type(error).__name__
    failure = Failure(thing, step, f"no answer from {without_userinfo(server)}: {why}")
    failure.may_pass = _is_broken(error)
    failure.unheard = _never_connected(error)
    return failure


def without_userinfo(url: str) -> str:
    """The URL without a user name and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _seconds(retry_after: str) -> float:
    """The seconds of ``Retry-After``, which is a number or a date."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _is_time_out(error: BaseException) -> bool:
    from urllib3 import exceptions

    if isinstance(error, exceptions.ProxyError):
        error = error.original_error
    refused = isinstance(error, exceptions.NewConnectionError)  # to urllib3, it is a time-out
    return isinstance(error, (exceptions.TimeoutError, TimeoutError)) and not refused


def _is_broken(error: BaseException) -> bool:
    """Whether a connection broke, in distinction from a certificate or an address that is wrong."""
    from urllib3 import exceptions

    if isinstance(error, exceptions.ProxyError):
        refused = "Tunnel connection failed: 4" in str(error.original_error)
        return not refused and _is_broken(error.original_error)
    if isinstance(error, exceptions.SSLError):
        inner = error.args[0] if error.args else None
        return isinstance(inner, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError))
    if isinstance(error, ssl.SSLError):
        return isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
    if _is_time_out(error):
        return False
    broken = (exceptions.ProtocolError, exceptions.NewConnectionError, OSError)
    return isinstance(error, broken) and not isinstance(error, FileNotFoundError)


def _never_connected(error: BaseException) -> bool:
    from urllib3 import exceptions

    never = (exceptions.NewConnectionError, exceptions.ConnectTimeoutError, exceptions.ProxyError)
    return isinstance(error, (*never, ConnectionRefusedError))
