"""Redaction: one gate that takes secrets out of everything which leaves the process.

- By shape: private keys, tokens and credentials in URLs, also where base64 or hexadecimal digits
  hide them.
- By value: every secret that this process has read, whatever its shape (:func:`remember`).

Certificates are public, and stay whole: a body of random-looking bytes is no reason to take one
out, nor is the e-mail address of its owner.
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from cryptography import x509

T = TypeVar("T")

REDACTED = "[redacted]"

SHORTEST = 6
"""A known secret with fewer characters is no secret, and would be found in every text."""

_SHAPES = (
    # PEM, also with its line ends written as \n or gone; a quote ends one that has no end
    (
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[^\"']*?"
        r"(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|(?=[\"'])|\Z)"
    ),
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*",  # a JWT
    r"sha256~[A-Za-z0-9_-]{16,}",  # OpenShift
    r"(?:kubeconfig-[a-z0-9.-]+|token-[a-z0-9]{5}):[a-z0-9]{32,}",  # Rancher
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # AWS
    r"\bk8s-aws-v1\.[A-Za-z0-9_-]{16,}",
    r"\bya29\.[A-Za-z0-9_.-]{16,}",  # Google
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",  # GitHub
    r"\bgithub_pat_[A-Za-z0-9_]{20,}",
    r"\bglpat-[A-Za-z0-9_-]{16,}",  # GitLab
    r"\bxox[a-z]-[A-Za-z0-9-]{10,}",  # Slack
    r"\bhooks\.slack\.com/services/[A-Za-z0-9/_-]+",
    r"\bdt0c01\.[A-Z0-9]{24}\.[A-Z0-9]{64}",  # Dynatrace
)
_SECRET = re.compile("|".join(_SHAPES), re.DOTALL)
_HINTS = re.compile(
    r"PRIVATE KEY|eyJ|sha256~|kubeconfig-|token-|AKIA|ASIA|k8s-aws|ya29|gh[pousr]_|github_pat_"
    r"|glpat-|xox|hooks\.slack|dt0c01"
)
"""What every shape has somewhere: most texts have none of it, and are done at once."""

_AUTHORIZATION = re.compile(
    r"(?i)\b(bearer|basic|api-token)(\s+|%20)(?=[\w.~+/=%-]*[\d_~+/=-])([\w.~+/=%-]{8,})"
)
"""Credentials of an HTTP request; words of prose ("bearer certificate") have no digit or sign."""
_USER_INFO = re.compile(
    r"(?<=://)[^\s/?#@'\"<>…]+@"
    # without a scheme; what has a digest behind it is the name of an image
    r"|(?<![\w/.-])[\w.%+-]+:[^\s/@:'\"<>]{3,}@(?!sha256:)(?=[\w-]+[.:]|localhost)"
)
_BASE64 = re.compile(
    r"[A-Za-z0-9+/_-]{40,}(?:\s+[A-Za-z0-9+/_-]{40,})*(?:\s+[A-Za-z0-9+/_-]+)?={0,2}"
)
_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----((?:[A-Za-z0-9+/=\s]|\\[nr])+)-----END CERTIFICATE-----"
)
_RUN = re.compile(rb"[\t\n\r\x20-\x7e]{16,}")
"""Text among bytes. Shorter runs are chance: a colon and an @ are in every second kilobyte."""
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}[:\s]?){32,}")
_DEPTH = 3
"""Encodings one inside the other that are looked through."""

_known: set[str] = set()
_known_pattern: re.Pattern[str] | None = None
_lock = threading.Lock()


def remember(*values: str) -> None:
    """Never let these values out of this process again, nor their base64 and URL forms."""
    global _known_pattern  # noqa: PLW0603 - what a process has read is of the process
    with _lock:
        before = len(_known)
        for value in values:
            if len(value.strip()) >= SHORTEST:
                _known.update(_forms(value.strip()))
        if len(_known) != before:
            longest_first = sorted(_known, key=len, reverse=True)
            _known_pattern = re.compile("|".join(map(re.escape, longest_first)))


def scrub(value: T) -> T:
    """The same value without secrets: text, plain JSON, dataclasses of them.

    Keys of mappings are scrubbed, too.
    """
    scrubbed: T = _scrubbed(value)
    return scrubbed


def scrub_text(text: str) -> str:
    """The text without secrets."""
    return _without_secrets(text, _DEPTH)


def public_url(url: str) -> str:
    """Scheme, host and port of a URL: no user, path, query or fragment.

    Empty where there is no host in it.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if not host:
        return ""
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, Mapping):
        return {_scrubbed(key): _scrubbed(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_scrubbed, value))
    if isinstance(value, list):
        return list(map(_scrubbed, value))
    if is_dataclass(value) and not isinstance(value, type):
        named = [one.name for one in fields(value) if one.init]
        changed = {name: _scrubbed(getattr(value, name)) for name in named}
        return replace(value, **changed)
    return value


def _forms(value: str) -> Iterable[str]:
    """A value as it may be written: itself, in URLs, in base64 after anything."""
    yield value
    yield quote(value, safe="")
    raw = value.encode()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        # the first and the last characters depend on what stands around the value
        inner = encoded[(0, 2, 3)[before] : len(encoded.rstrip("=")) - 1]
        if len(inner) >= SHORTEST + 2:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


def _without_secrets(text: str, depth: int) -> str:
    if "-----BEGIN CERTIFICATE-----" not in text:
        return _scrubbed_text(text, depth)
    scrubbed, done = "", 0
    for found in _CERTIFICATE.finditer(text):
        if _is_certificate(found.group(1)):
            scrubbed += _scrubbed_text(text[done : found.start()], depth) + found.group()
            done = found.end()
    return scrubbed + _scrubbed_text(text[done:], depth)


def _scrubbed_text(text: str, depth: int) -> str:
    known = _known_pattern
    if known is not None:
        text = known.sub(REDACTED, text)
    if _HINTS.search(text):
        text = _SECRET.sub(REDACTED, text)
    if "@" in text:
        text = _USER_INFO.sub(f"{REDACTED}@", text)
    text = _AUTHORIZATION.sub(rf"\1\2{REDACTED}", text)
    if depth and len(text) >= 40:
        text = _BASE64.sub(lambda found: _unless(found, _decoded(found.group()), depth), text)
        text = _HEX.sub(lambda found: _unless(found, _from_hex(found.group()), depth), text)
    return text


def _unless(found: re.Match[str], hidden: Iterable[bytes], depth: int) -> str:
    """The text found, or nothing of it where it hides something secret."""
    return REDACTED if any(_hides(one, depth) for one in hidden) else found.group()


def _hides(raw: bytes, depth: int) -> bool:
    if _is_private_key(raw):
        return True
    known = _known_pattern
    if known is not None and known.search(raw.decode("latin-1")):
        return True
    return any(_without_secrets(one, depth - 1) != one for one in _texts(raw))


def _texts(raw: bytes) -> Iterable[str]:
    """What is text in bytes: all of it, else each long run of printable characters."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = ""
    if text and all(one.isprintable() or one.isspace() for one in text):
        return (text,)
    return (one.decode("ascii") for one in _RUN.findall(raw))


def _decoded(text: str) -> Iterable[bytes]:
    """What base64 may hide, read from each of the four places where it may begin."""
    joined = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    for start in range(4):
        part = joined[start:]
        if len(part) % 4 == 1:
            part = part[:-1]
        try:
            yield base64.b64decode(part + "=" * (-len(part) % 4))
        except (binascii.Error, ValueError):
            continue


def _from_hex(text: str) -> Iterable[bytes]:
    digits = re.sub(r"[:\s]", "", text)
    yield bytes.fromhex(digits[: len(digits) // 2 * 2])


def _is_certificate(body: str) -> bool:
    """Whether the body of a PEM block is one certificate and nothing else."""
    try:
        x509.load_der_x509_certificate(base64.b64decode(re.sub(r"\\[nr]|\s", "", body)))
    except (binascii.Error, ValueError):
        return False
    return True


def _is_private_key(raw: bytes) -> bool:
    """Whether bytes begin as the DER of a private key.

    That is a sequence that begins with a version: 0 in PKCS#1 and PKCS#8, 1 in SEC 1. A
    certificate begins with another sequence.
    """
    if len(raw) < 32 or raw[0] != 0x30:
        return False
    header = 2 + (raw[1] & 0x7F if raw[1] & 0x80 else 0)
    return header <= 6 and raw[header : header + 3] in (b"\x02\x01\x00", b"\x02\x01\x01")
