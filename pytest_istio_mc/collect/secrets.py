"""Secrets reduced to public facts before anything else sees them.

Only this module and ``kubeconfigs`` ever hold a private key or a token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..certificates import only_certificates
from ..istio_names import (
    CA_SECRETS,
    MULTI_CLUSTER_LABEL,
    REMOTE_CLUSTER_ANNOTATION,
    REMOTE_SECRET_PREFIX,
)
from ..recorded import KubeconfigFacts, SecretFacts
from . import fields
from .kubeconfigs import base64_bytes, read_kubeconfig

_CERTIFICATE_KEYS = ("ca-cert.pem", "cert-chain.pem", "root-cert.pem", "tls.crt", "ca.crt")
_PRIVATE_KEYS = ("ca-key.pem", "tls.key")


@dataclass(frozen=True)
class Credential:
    """A kubeconfig in use; its token is never stored or shown.

    ``url``: the server with its path, where that differs from what is recorded.
    """

    namespace: str
    secret: str
    key: str
    facts: KubeconfigFacts
    token: str = field(repr=False, default="")
    url: str = field(repr=False, default="")


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
    data = {key: base64_bytes(value) or b"" for key, value in (secret.get("data") or {}).items()}
    certificates: dict[str, str] = {}
    public_keys: dict[str, str] = {}
    problems: dict[str, str] = {}
    credentials: list[Credential] = []
    if name in CA_SECRETS:
        for key in _CERTIFICATE_KEYS:
            if key in data:
                certificates[key] = only_certificates(data[key].decode("utf-8", "replace"))
        for key in _PRIVATE_KEYS:
            if data.get(key):
                try:
                    public_keys[key] = _public_key_sha256(data[key])
                except ValueError:
                    # the parser's own message may quote the input
                    problems[key] = "is not an unencrypted PEM private key"
    if looks_remote(secret):
        for key, value in sorted(data.items()):
            read = read_kubeconfig(value)
            place = (namespace, name, key)
            credentials.append(Credential(*place, read.facts, read.token, read.url))
    facts = SecretFacts(
        namespace=namespace,
        name=name,
        type=str(secret.get("type", "")),
        labels=fields.kept_labels(metadata.get("labels")),
        annotations=_annotations(metadata),
        keys=tuple(sorted(data)),
        certificates=certificates,
        public_keys=public_keys,
        problems=problems,
        kubeconfigs={credential.key: credential.facts for credential in credentials},
    )
    return facts, tuple(credentials)


def name_only(secret: Mapping[str, Any]) -> SecretFacts:
    """The facts of a Secret of which nothing but its metadata was read."""
    metadata = secret["metadata"]
    return SecretFacts(
        namespace=str(metadata["namespace"]),
        name=str(metadata["name"]),
        labels=fields.kept_labels(metadata.get("labels")),
        annotations=_annotations(metadata),
    )


def _annotations(metadata: Mapping[str, Any]) -> dict[str, str]:
    cluster = (metadata.get("annotations") or {}).get(REMOTE_CLUSTER_ANNOTATION)
    return {REMOTE_CLUSTER_ANNOTATION: cluster} if isinstance(cluster, str) else {}


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
