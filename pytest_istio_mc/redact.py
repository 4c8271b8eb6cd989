"""Redaction: private keys, tokens and kubeconfigs never get into a file."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

REDACTED = "[redacted]"

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{64,}={0,2}")
_TELLING_NAME = re.compile(r"(?i)token|password|passwd|secret|private|credential|api_?key")
_HARMLESS_VALUE = re.compile(r"true|false|\d+[smh]?|", re.IGNORECASE)


def scrub(value: Any) -> Any:
    """The plain JSON value without private keys and tokens, base64 included."""
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, dict):
        return {key: scrub(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrub(entry) for entry in value]
    return value


def scrub_text(text: str) -> str:
    """The text without private keys and tokens."""
    text = _TOKEN.sub(REDACTED, _PRIVATE_KEY.sub(REDACTED, text))
    return _BASE64.sub(_without_hidden, text)


def scrub_environment(name: str, value: str) -> str:
    """The value of an environment variable, redacted by its name.

    That is ``DB_PASSWORD``, but not a plain switch (``TOKEN_AUTH=true``).
    """
    if _TELLING_NAME.search(name) and not _HARMLESS_VALUE.fullmatch(value):
        return REDACTED
    return scrub_text(value)


def _without_hidden(match: re.Match[str]) -> str:
    found = match.group()
    # PEM bodies are base64, too, and public: only what hides something to take out is taken out
    for start in range(4):
        part = found[start:].rstrip("=")
        part = part[: len(part) // 4 * 4]
        try:
            decoded = base64.b64decode(part).decode("latin-1")
        except (binascii.Error, ValueError):
            continue
        if "PRIVATE KEY-----" in decoded or _TOKEN.search(decoded):
            return REDACTED
    return found
