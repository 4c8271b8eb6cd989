"""The certificate authority of each control plane, as its secrets and its root ConfigMap show it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...snapshot import ClusterSnapshot, SecretFacts, Snapshot
from ...spec import ClusterSpec
from .chains import Certificate, Path, climb, parse

ROOT_CONFIG_MAP = "istio-ca-root-cert"


@dataclass(frozen=True)
class Authority:
    """What one control plane signs with. ``plugged_in`` says that it comes from ``cacerts``; ``external`` names another issuer."""

    cluster: str
    secret: SecretFacts | None
    plugged_in: bool
    external: str
    signing: Certificate | None
    chain: tuple[Certificate, ...]
    roots: tuple[Certificate, ...]

    @property
    def path(self) -> Path | None:
        """The way from the signing certificate to a root; None where there is no signing certificate to see."""
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
    """Which form a ``cacerts`` secret has: Istio's own, or that of a ``kubernetes.io/tls`` secret (cert-manager)."""
    return TLS_SECRET if "tls.crt" in secret.keys else PEM_FILES


def authority_of(snapshot: Snapshot, control_plane: ClusterSpec) -> Authority:
    """The authority of a control plane; ``ObservationError`` where its secrets could not be read or hold no certificates."""
    cluster = snapshot.clusters[control_plane.name]
    namespace = snapshot.spec.istio_namespace
    external = _external_issuer(cluster)
    plugged = None if external else cluster.secret(namespace, "cacerts")
    secret = plugged or (None if external else cluster.secret(namespace, "istio-ca-secret"))
    if secret is None:
        return Authority(
            cluster.name, None, False, external, None, (), distributed_roots(cluster, namespace)
        )
    keys = keys_of(secret)
    signing = parse(secret.certificates.get(keys.certificate, ""))
    chain = parse(secret.certificates.get(keys.chain, ""))
    # the self-signed authority of istiod is its own root
    roots = parse(secret.certificates.get(keys.root, "")) or (
        signing[:1] if plugged is None else ()
    )
    return Authority(
        cluster.name, secret, plugged is not None, "", signing[0] if signing else None, chain, roots
    )


def authorities(snapshot: Snapshot) -> Iterator[Authority]:
    """The authority of every control plane."""
    return (authority_of(snapshot, plane) for plane in snapshot.spec.control_planes)


def distributed_roots(cluster: ClusterSnapshot, namespace: str) -> tuple[Certificate, ...]:
    """The roots in a namespace's ``istio-ca-root-cert``; none where it does not exist."""
    item = cluster.found("ConfigMap", ROOT_CONFIG_MAP, namespace)
    return parse(item["data"].get("root-cert.pem", "")) if item else ()


def serving(snapshot: Snapshot, cluster: str) -> ClusterSpec:
    """The control plane that serves the proxies of a cluster."""
    spec = snapshot.spec.cluster(cluster)
    return snapshot.spec.cluster(spec.control_plane or spec.name)


def _external_issuer(cluster: ClusterSnapshot) -> str:
    for istiod in cluster.istiods:
        if istiod.environment.get("EXTERNAL_CA"):
            return istiod.environment["EXTERNAL_CA"]
        if istiod.environment.get("ENABLE_CA_SERVER", "").lower() == "false":
            return "an issuer outside istiod (ENABLE_CA_SERVER is false)"
    return ""
