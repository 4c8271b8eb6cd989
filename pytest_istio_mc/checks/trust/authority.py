"""The certificate authority of each control plane, from its secrets and root ConfigMaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...istio_names import ROOT_CONFIG_MAP, SPIFFE_DRIVER
from ...recorded import ProxyFacts, SecretFacts
from ...snapshot import ClusterSnapshot, Snapshot, name_of, namespace_of
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


SPIRE = "SPIRE"

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
    if external == SPIRE:
        held = [proxy.roots for proxy in cluster.proxies if signed_by_spire(cluster, proxy)]
        roots = parse(next(filter(None, held), ""))
        return SigningAuthority(cluster.name, None, False, external, None, (), roots)
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


def handed_out_by(snapshot: Snapshot, control_plane: ClusterSpec) -> tuple[Certificate, ...]:
    """The roots that a control plane hands out, by which its proxies know istiod itself.

    Where somebody else signs for workloads, these are in ``istio-ca-root-cert`` beside istiod.
    """
    authority = authority_of(snapshot, control_plane)
    if not authority.external:
        return authority.roots
    cluster = snapshot.clusters[control_plane.name]
    return distributed_roots(cluster, snapshot.spec.istio_namespace)


def signed_by_spire(cluster: ClusterSnapshot, proxy: ProxyFacts) -> bool:
    """Whether a proxy gets its certificate from SPIRE: its pod mounts the driver for that.

    See Istio's page "SPIRE" (ops/integrations/spire).
    """
    pods = cluster.objects.get("Pod", ())
    mine = (
        pod for pod in pods if (namespace_of(pod), name_of(pod)) == (proxy.namespace, proxy.pod)
    )
    return any(SPIFFE_DRIVER in (pod["spec"].get("csiDrivers") or ()) for pod in mine)


def _external_issuer(cluster: ClusterSnapshot) -> str:
    if any(signed_by_spire(cluster, proxy) for proxy in cluster.proxies):
        return SPIRE
    for istiod in cluster.istiods:
        if istiod.environment.get("EXTERNAL_CA"):
            return istiod.environment["EXTERNAL_CA"]
        if istiod.environment.get("ENABLE_CA_SERVER", "").lower() == "false":
            return "an issuer outside istiod (ENABLE_CA_SERVER is false)"
    return ""
