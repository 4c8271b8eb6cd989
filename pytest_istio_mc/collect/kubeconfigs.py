"""Kubeconfigs in remote secrets: public facts of any content whatever; never an error."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ..certificates import only_certificates, split_pem
from ..dates import LAST
from ..recorded import KubeconfigFacts, TokenFacts
from ..redact import public_url, remember

"""The end of the year 9999, after which no date can be told."""

_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
"""What a token may be made of, to go into an HTTP header (RFC 9110; Go's httpguts)."""


@dataclass(frozen=True)
class Kubeconfig:
    """A kubeconfig of which ``facts`` alone are recorded.

    ``url`` is its server's with the path, which some servers have (Rancher); ``token`` is empty
    where it has none that could be sent.
    """

    facts: KubeconfigFacts
    url: str = ""
    token: str = ""


def read_kubeconfig(content: bytes) -> Kubeconfig:
    """Read a kubeconfig as istiod does.

    - Runs no plugin and opens no file.
    - What is wrong with it is ``facts.problem``, which quotes nothing of it.
    - Its secrets are remembered, so that they never leave this process.
    """
    try:
        return _read(content)
    except _Problem as problem:
        return Kubeconfig(KubeconfigFacts(problem=str(problem)))


class _Problem(Exception):
    """Why a kubeconfig is none, in words that go on after its name."""


def _read(content: bytes) -> Kubeconfig:
    document = _document(content)
    named = _named(document, "contexts", "context")
    context = named.get(_text(document.get("current-context")))
    if context is None:
        raise _Problem("has no context of the name that its current-context has")
    clusters = _named(document, "clusters", "cluster")
    users = _named(document, "users", "user")
    cluster = clusters.get(_text(context.get("cluster")))
    if cluster is None:
        raise _Problem("has no cluster of the name that its context has")
    for one in users.values():
        _remember(one)
    user = users.get(_text(context.get("user")), {})
    token = _token(user)
    facts = KubeconfigFacts(
        server=public_url(_text(cluster.get("server"))),
        ca_pem=_ca(cluster),
        tls_server_name=_text(cluster.get("tls-server-name")),
        insecure=cluster.get("insecure-skip-tls-verify") is True,
        proxied=bool(cluster.get("proxy-url")),
        auth=_authentication(cluster, user),
        options=tuple(dict.fromkeys(one for each in users.values() for one in _options(each))),
        token=token_facts(token) if token else None,
    )
    return Kubeconfig(facts, _without_user(_text(cluster.get("server"))), token)


def _document(content: bytes) -> Mapping[Any, Any]:
    import yaml

    if not content.strip():
        raise _Problem("is empty")
    try:
        document = yaml.safe_load(content)
    except Exception as error:
        # besides YAMLError: dates that are none, digits without end, nesting without end
        raise _Problem("is not YAML") from error
    if not isinstance(document, Mapping) or not isinstance(document.get("clusters"), list):
        raise _Problem("is not a kubeconfig: it has no clusters")
    return document


def _named(document: Mapping[Any, Any], plural: str, singular: str) -> dict[str, Mapping[Any, Any]]:
    """The entries of one of the three lists, by name."""
    entries = document.get(plural)
    if entries is None:
        return {}
    if not isinstance(entries, list):
        raise _Problem(f"is not a kubeconfig: its {plural} are no list")
    found = {}
    for entry in entries:
        inner = entry.get(singular) if isinstance(entry, Mapping) else entry
        if not isinstance(entry, Mapping) or not isinstance(inner or {}, Mapping):
            raise _Problem(f"is not a kubeconfig: one of its {plural} is no mapping")
        found[_text(entry.get("name"))] = inner or {}
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _token(user: Mapping[Any, Any]) -> str:
    value = user.get("token")
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise _Problem("is not a kubeconfig: its token is no text")
    token = value.strip(" \t")
    if token and not _HEADER_VALUE.fullmatch(token):
        raise _Problem(
            "has a token with a line end or another character that no HTTP header may have, so "
            "that istiod cannot send it"
        )
    return token


def _ca(cluster: Mapping[Any, Any]) -> str:
    encoded = cluster.get("certificate-authority-data")
    if not encoded:
        return ""
    raw = base64_bytes(encoded)
    if raw is None:
        raise _Problem("has certificate-authority-data that is not base64")
    pem = only_certificates(raw.decode("utf-8", "replace"))
    if not split_pem(pem) or "\nunreadable\n" in pem:
        raise _Problem("has certificate-authority-data that is no PEM certificate")
    return pem


def base64_bytes(value: Any) -> bytes | None:
    """What base64 says, with or without line ends; None where it is none."""
    if not isinstance(value, (str, bytes)):
        return None
    text = value if isinstance(value, bytes) else value.encode("ascii", "replace")
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def _without_user(url: str) -> str:
    try:
        parts = urlsplit(url)
        netloc = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
    except ValueError:
        return ""


def _authentication(cluster: Mapping[Any, Any], user: Mapping[Any, Any]) -> str:
    if cluster.get("certificate-authority"):
        return "file"
    provider = user.get("auth-provider")
    if isinstance(provider, Mapping) and provider.get("name") == "oidc" and not user.get("exec"):
        return "oidc"
    for key, name in (
        ("exec", "exec"),
        ("auth-provider", "auth-provider"),
        ("tokenFile", "file"),
        ("client-certificate", "file"),
        ("client-key", "file"),
        ("token", "token"),
        ("client-certificate-data", "certificate"),
        ("username", "password"),
    ):
        if user.get(key):
            return name
    return "none"


def _options(user: Mapping[Any, Any]) -> Iterator[str]:
    """What istiod refuses unless ``PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS`` names it.

    In Istio's own words (``sanitizeKubeConfig`` in ``pkg/kube/util.go``, 1.31).
    """
    provider = user.get("auth-provider")
    if isinstance(provider, Mapping) and provider.get("name") != "oidc":
        name = _text(provider.get("name"))
        yield name if re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name) else "auth-provider"
    for key, option in (
        ("client-key", "clientKey"),
        ("client-certificate", "clientCertificate"),
        ("tokenFile", "tokenFile"),
        ("exec", "exec"),
    ):
        if user.get(key):
            yield option


def _remember(user: Mapping[Any, Any]) -> None:
    """Never tell anybody what a user of a kubeconfig identifies itself by."""
    for key in ("token", "password", "client-key-data"):
        remember(_text(user.get(key)))
    private_key = base64_bytes(user.get("client-key-data")) or b""
    remember(private_key.decode("latin-1"))
    for outer, inner in (("auth-provider", "config"), ("exec", "env")):
        section = user.get(outer)
        values = section.get(inner) if isinstance(section, Mapping) else None
        if isinstance(values, Mapping):
            secret = (one for name, one in values.items() if "token" in str(name).lower())
            remember(*map(_text, secret), _text(values.get("client-secret")))
        elif isinstance(values, list):
            remember(*(_text(one.get("value")) for one in values if isinstance(one, Mapping)))


def token_facts(token: str) -> TokenFacts:
    """The claims of a JWT, and its fingerprint.

    Of another token nothing: a short one could be guessed from its fingerprint.
    """
    parts = token.split(".")
    body = parts[1] if len(parts) == 3 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        return TokenFacts("")
    fingerprint = hashlib.sha256(token.encode()).hexdigest()
    issuer, subject = public_text(claims.get("iss")), public_text(claims.get("sub"))
    return TokenFacts(fingerprint, issuer, subject, _time(claims, "iat"), _time(claims, "exp"))


def public_text(value: Any) -> str:
    """A short text of one line, as names are; empty for anything else."""
    short = isinstance(value, str) and len(value) <= 512 and value.isprintable()
    return value if short else ""


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A claim in Unix seconds; None for what is no moment."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return LAST.timestamp()
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
