"""The certificate authority of each control plane, from its secrets and root ConfigMaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...istio_names import ROOT_CONFIG_MAP
from ...recorded import SecretFacts
from ...snapshot import ClusterSnapshot, Snapshot
from ...spec import ClusterSpec
from .chains import Certificate, CertificationPath, climb, parse


@dataclass(frozen=True)
class SigningAuthority:
    """What one control plane signs with.

    - ``plugged_in``: it comes from ``cacerts``.
    - ``external`` names an issuer outside istiod; empty where there is none.
    """

    cluster: str
    secret: SecretFacts | None
    plugged_in: bool
    external: str
    signing: Certificate | None
    chain: tuple[Certificate, ...]
    roots: tuple[Certificate, ...]

    @property
    def path(self) -> CertificationPath | None:
        """The way from the signing certificate to a root; None where that is not known."""
        return climb(self.signing, self.chain, self.roots) if self.signing else None


@dataclass(frozen=True)
class Keys:
    """The data keys of the two forms in which istiod takes ``cacerts``."""

    certificate: str
    private_key: str
    chain: str
    root: str


PEM_FILES = Keys("ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem")
TLS_SECRET = Keys("tls.crt", "tls.key", "tls.crt", "ca.crt")


def keys_of(secret: SecretFacts) -> Keys:
    """The keys of a ``cacerts`` secret: Istio's, or ``kubernetes.io/tls``'s (cert-manager)."""
    return TLS_SECRET if "tls.crt" in secret.keys else PEM_FILES


def authority_of(snapshot: Snapshot, control_plane: ClusterSpec) -> SigningAuthority:
    """The authority of a control plane.

    ``ObservationError`` where its secrets could not be read or hold no certificates.
    """
    cluster = snapshot.clusters[control_plane.name]
    namespace = snapshot.spec.istio_namespace
    external = _external_issuer(cluster)
    plugged = None if external else cluster.secret(namespace, "cacerts")
    secret = plugged or (None if external else cluster.secret(namespace, "istio-ca-secret"))
    if secret is None:
        roots = distributed_roots(cluster, namespace)
        return SigningAuthority(cluster.name, None, False, external, None, (), roots)
    keys = keys_of(secret)
    signing = parse(secret.certificates.get(keys.certificate, ""))
    chain = parse(secret.certificates.get(keys.chain, ""))
    roots = parse(secret.certificates.get(keys.root, ""))
    if not roots and plugged is None:
        roots = signing[:1]  # the self-signed authority of istiod is its own root
    leaf = signing[0] if signing else None
    return SigningAuthority(cluster.name, secret, plugged is not None, "", leaf, chain, roots)


def authorities(snapshot: Snapshot) -> Iterator[SigningAuthority]:
    """The authority of every control plane."""
    return (authority_of(snapshot, plane) for plane in snapshot.spec.control_planes)


def distributed_roots(cluster: ClusterSnapshot, namespace: str) -> tuple[Certificate, ...]:
    """The roots in a namespace's ``istio-ca-root-cert``; none where it does not exist."""
    item = cluster.found("ConfigMap", ROOT_CONFIG_MAP, namespace)
    return parse(item["data"].get("root-cert.pem", "")) if item else ()


def _external_issuer(cluster: ClusterSnapshot) -> str:
    for istiod in cluster.istiods:
        if istiod.environment.get("EXTERNAL_CA"):
            return istiod.environment["EXTERNAL_CA"]
        if istiod.environment.get("ENABLE_CA_SERVER", "").lower() == "false":
            return "an issuer outside istiod (ENABLE_CA_SERVER is false)"
    return ""
