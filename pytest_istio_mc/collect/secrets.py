"""Secrets reduced to public facts before anything else sees them.

Only this module ever holds a private key or a token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..istio_names import CA_SECRETS, MULTI_CLUSTER_LABEL, REMOTE_SECRET_PREFIX
from ..recorded import KubeconfigFacts, SecretFacts, TokenFacts

_CERTIFICATE_KEYS = ("ca-cert.pem", "cert-chain.pem", "root-cert.pem", "tls.crt", "ca.crt")
_PRIVATE_KEYS = ("ca-key.pem", "tls.key")


@dataclass(frozen=True)
class Credential:
    """A kubeconfig in use; its token is never stored or shown."""

    namespace: str
    secret: str
    key: str
    facts: KubeconfigFacts
    token: str = field(repr=False, default="")


def is_remote_secret(secret: Mapping[str, Any]) -> bool:
    """Whether a Secret carries the label by which istiod finds remote secrets."""
    return (secret["metadata"].get("labels") or {}).get(MULTI_CLUSTER_LABEL) == "true"


def looks_remote(secret: Mapping[str, Any]) -> bool:
    """Whether a Secret is a remote secret, or is named as one."""
    named = str(secret["metadata"]["name"]).startswith(REMOTE_SECRET_PREFIX)
    return named or is_remote_secret(secret)


def reduce_secret(secret: Mapping[str, Any]) -> tuple[SecretFacts, tuple[Credential, ...]]:
    """The public facts of a Secret, and its credentials to try out."""
    metadata = secret["metadata"]
    namespace, name = str(metadata["namespace"]), str(metadata["name"])
    data = {key: _decoded(value) for key, value in (secret.get("data") or {}).items()}
    certificates: dict[str, str] = {}
    public_keys: dict[str, str] = {}
    problems: dict[str, str] = {}
    credentials: list[Credential] = []
    if name in CA_SECRETS:
        for key in _CERTIFICATE_KEYS:
            if key in data:
                certificates[key] = data[key].decode("utf-8", "replace")
        for key in _PRIVATE_KEYS:
            if data.get(key):
                try:
                    public_keys[key] = _public_key_sha256(data[key])
                except ValueError:
                    # the parser's own message may quote the input
                    problems[key] = "is not an unencrypted PEM private key"
    if looks_remote(secret):
        credentials = [
            Credential(namespace, name, key, *read_kubeconfig(value))
            for key, value in sorted(data.items())
        ]
    annotations = (metadata.get("annotations") or {}).items()
    kept = {key: text for key, text in annotations if key.startswith("networking.istio.io/")}
    facts = SecretFacts(
        namespace=namespace,
        name=name,
        type=secret.get("type", ""),
        labels=dict(metadata.get("labels") or {}),
        annotations=kept,
        keys=tuple(sorted(data)),
        certificates=certificates,
        public_keys=public_keys,
        problems=problems,
        kubeconfigs={credential.key: credential.facts for credential in credentials},
    )
    return facts, tuple(credentials)


def read_kubeconfig(content: bytes) -> tuple[KubeconfigFacts, str]:
    """The public facts of a kubeconfig, and its bearer token (empty where it has none).

    Runs no plugin and opens no file.
    """
    import yaml

    if not content.strip():
        return KubeconfigFacts(problem="is empty"), ""
    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError:
        return KubeconfigFacts(problem="is not YAML"), ""
    if not isinstance(document, dict) or not isinstance(document.get("clusters"), list):
        return KubeconfigFacts(problem="is not a kubeconfig: it has no clusters"), ""
    contexts = {
        entry.get("name"): entry.get("context") or {} for entry in document.get("contexts") or ()
    }
    current = document.get("current-context")
    context = contexts.get(current)
    if context is None:
        problem = f"has no context called {current!r}, its current-context"
        return KubeconfigFacts(problem=problem), ""
    clusters = {entry.get("name"): entry.get("cluster") or {} for entry in document["clusters"]}
    users = {entry.get("name"): entry.get("user") or {} for entry in document.get("users") or ()}
    cluster = clusters.get(context.get("cluster"))
    if cluster is None:
        return KubeconfigFacts(problem=f"has no cluster called {context.get('cluster')!r}"), ""
    user = users.get(context.get("user"), {})
    token = str(user.get("token") or "")
    facts = KubeconfigFacts(
        server=str(cluster.get("server", "")),
        ca_pem=_decoded(cluster.get("certificate-authority-data", "")).decode("utf-8", "replace"),
        tls_server_name=str(cluster.get("tls-server-name", "")),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        proxied=bool(cluster.get("proxy-url")),
        auth=_authentication(cluster, user),
        token=token_facts(token) if token else None,
    )
    return facts, token


def token_facts(token: str) -> TokenFacts:
    """The fingerprint of a token and, where it is a JWT, its claims."""
    fingerprint = hashlib.sha256(token.encode()).hexdigest()
    parts = token.split(".")
    body = parts[1] if len(parts) == 3 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, binascii.Error):
        claims = {}
    if not isinstance(claims, dict):
        claims = {}
    issuer, subject = str(claims.get("iss", "")), str(claims.get("sub", ""))
    return TokenFacts(fingerprint, issuer, subject, claims.get("iat"), claims.get("exp"))


def _authentication(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> str:
    if cluster.get("certificate-authority"):
        return "file"
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


def _decoded(value: Any) -> bytes:
    try:
        return base64.b64decode(value or "")
    except (binascii.Error, ValueError, TypeError):
        return b""


def _public_key_sha256(pem: bytes) -> str:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    try:
        key = load_pem_private_key(pem, password=None)
    except Exception as error:
        raise ValueError("not a private key") from error
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()
