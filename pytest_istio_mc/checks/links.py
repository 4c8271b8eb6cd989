"""Links: which control plane watches which cluster, and what came of the credentials for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..istio_names import MULTI_CLUSTER_LABEL
from ..recorded import OPEN, AccessFacts, KubeconfigFacts, SecretFacts
from ..snapshot import Snapshot


@dataclass(frozen=True)
class Link:
    """A demand: the control plane ``plane``, configured in ``holder``, watches ``target``."""

    plane: str
    holder: str
    target: str

    @property
    def scope(self) -> tuple[str, ...]:
        """The clusters that a finding about this link concerns."""
        return tuple(dict.fromkeys((self.plane, self.holder, self.target)))

    def __str__(self) -> str:
        return f"{self.plane}-to-{self.target}"


def links(snapshot: Snapshot) -> tuple[Link, ...]:
    """Every link that the mesh needs."""
    spec = snapshot.spec
    return tuple(
        Link(plane.name, spec.config_cluster(plane).name, target.name)
        for plane in spec.control_planes
        for target in spec.watched_by(plane)
    )


@dataclass(frozen=True)
class Credential:
    """A remote secret that serves a link."""

    secret: SecretFacts
    key: str
    kubeconfig: KubeconfigFacts


def held(snapshot: Snapshot, link: Link) -> tuple[Credential, ...]:
    """The active remote secrets whose data key is the target of the link."""
    return tuple(
        Credential(secret, link.target, secret.kubeconfigs[link.target])
        for secret in active(snapshot, link.holder)
        if link.target in secret.kubeconfigs
    )


def accessed(snapshot: Snapshot, link: Link) -> AccessFacts | None:
    """What came of using the credential of a link; None where there is no credential."""
    used = {
        (access.namespace, access.secret, access.key): access
        for access in reversed(snapshot.clusters[link.holder].access)
    }
    places = ((one.secret.namespace, one.secret.name, one.key) for one in held(snapshot, link))
    return next((used[place] for place in places if place in used), None)


def may_be_held(snapshot: Snapshot, link: Link, access: AccessFacts) -> str:
    """Why a probe that got no connection says nothing about istiod; else empty.

    A policy for the probe's namespace may hold it. That is ruled out where the same pod reaches its
    own cluster's API server, or where istiod itself is not synced either.
    """
    istiods = snapshot.clusters[link.plane].istiods
    synced = bool(istiods) and all(one.clusters.get(link.target) == "synced" for one in istiods)
    if not access.connect_error or access.way_out == OPEN or not synced:
        return ""
    control = f": {access.way_out}" if access.way_out else ", which was not tried"
    return (
        f"the probe in {link.holder} reaches neither {access.server} ({access.connect_error}) nor "
        f"its own API server{control}; while istiod is synced with {link.target}, a network policy "
        "may be what holds the probe alone"
    )


def active(snapshot: Snapshot, holder: str) -> Iterator[SecretFacts]:
    """The remote secrets that an istiod sees: in its namespace in ``holder``, with its label."""
    for secret in snapshot.clusters[holder].all_secrets():
        labelled = secret.labels.get(MULTI_CLUSTER_LABEL) == "true"
        if labelled and secret.namespace == snapshot.spec.istio_namespace:
            yield secret


def is_verification(error: str) -> bool:
    """Whether a TLS error is about the certificate, not about a closed connection."""
    lowered = error.lower()
    return "certificate" in lowered or "hostname" in lowered or "x509" in lowered
