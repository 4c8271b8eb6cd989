"""MeshSpec: what a mesh is meant to be — clusters, networks, control planes — as frozen values without I/O."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from .errors import UsageProblem

API_VERSION = "istio-mc.dev/v1alpha1"


_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Role(Enum):
    """What a cluster does for the control plane (Istio's "Deployment Models" page)."""

    PRIMARY = "primary"  # runs an istiod and is where that istiod reads its configuration
    REMOTE = "remote"  # is served by the istiod of another cluster
    CONFIG = "config"  # is served by an external istiod, which reads its configuration here
    EXTERNAL = (
        "external"  # runs an istiod that serves other clusters only; no workloads of the mesh
    )


class Feature(Enum):
    """What a mesh has, as far as checks depend on it; a check whose features are missing is not applicable."""

    CROSS_CLUSTER = "two or more clusters with workloads"
    MULTI_PRIMARY = "two or more control planes"
    MULTI_NETWORK = "two or more networks"
    FLAT = "two or more clusters on one network"
    REMOTE_CLUSTERS = "clusters served by a control plane elsewhere"
    EXTERNAL_CONTROL_PLANE = "a control plane outside the clusters that it serves"
    SHARED_SERVICES = "endpoint discovery across clusters"
    FEDERATED = "separate meshes joined by ServiceEntry"


@dataclass(frozen=True)
class Locality:
    """Where a cluster's nodes are (Kubernetes' topology labels; subzone is Istio's)."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.region, self.zone, self.subzone) if part)


@dataclass(frozen=True)
class ClusterSpec:
    """One cluster: its name in the mesh, its network, and the name of the cluster whose istiod serves it."""

    name: str
    network: str
    role: Role = Role.PRIMARY
    control_plane: str = ""
    locality: Locality = Locality()
    context: str = ""
    mesh_id: str = ""
    trust_domain: str = ""

    @property
    def runs_istiod(self) -> bool:
        """Whether an istiod runs in this cluster."""
        return self.role in (Role.PRIMARY, Role.EXTERNAL)

    @property
    def runs_workloads(self) -> bool:
        """Whether workloads of the mesh run in this cluster."""
        return self.role is not Role.EXTERNAL


@dataclass(frozen=True)
class MeshSpec:
    """A mesh as it is meant to be. ``from_dict`` and ``to_dict`` are the ``--mesh-spec`` file format."""

    topology: str
    clusters: tuple[ClusterSpec, ...]
    mesh_id: str = "mesh1"
    trust_domain: str = "cluster.local"
    istio_namespace: str = "istio-system"
    federated: bool = False
    kubeconfig: str = ""

    def __iter__(self) -> Iterator[ClusterSpec]:
        return iter(self.clusters)

    def cluster(self, name: str) -> ClusterSpec:
        """The cluster of that name; ``KeyError`` where there is none."""
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise KeyError(name)

    @property
    def control_planes(self) -> tuple[ClusterSpec, ...]:
        """The clusters in which an istiod runs."""
        return tuple(cluster for cluster in self.clusters if cluster.runs_istiod)

    @property
    def config_clusters(self) -> tuple[str, ...]:
        """The clusters in which control planes read Istio configuration and remote secrets, each once."""
        return tuple(
            dict.fromkeys(self.config_cluster(plane).name for plane in self.control_planes)
        )

    @property
    def several_behind_a_gateway(self) -> bool:
        """Whether clients see several clusters at the address of one network's east-west gateway."""
        networks = [cluster.network for cluster in self.data_planes]
        return 1 < len(set(networks)) < len(networks)

    def seen_alone(self, target: str, source: str) -> bool:
        """Whether proxies in ``source`` have endpoints that lead to ``target`` alone: its pods, or a gateway of its own."""
        return len(self.behind_one_gateway(target, source)) < 2

    def behind_one_gateway(self, target: str, source: str) -> tuple[str, ...]:
        """The clusters that ``source`` reaches by the same gateways as ``target``, that one included; none where pods are reached
        directly."""
        network = self.cluster(target).network
        if network == self.cluster(source).network:
            return ()
        return tuple(cluster.name for cluster in self.data_planes if cluster.network == network)

    @property
    def data_planes(self) -> tuple[ClusterSpec, ...]:
        """The clusters in which workloads of the mesh run."""
        return tuple(cluster for cluster in self.clusters if cluster.runs_workloads)

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that hold workloads, each once, in the order of the clusters."""
        return tuple(dict.fromkeys(cluster.network for cluster in self.data_planes))

    @property
    def pairs(self) -> tuple[tuple[ClusterSpec, ClusterSpec], ...]:
        """Every ordered pair of different clusters with workloads: (source, target)."""
        return tuple(
            (source, target)
            for source in self.data_planes
            for target in self.data_planes
            if source is not target
        )

    def served_by(self, control_plane: ClusterSpec) -> tuple[ClusterSpec, ...]:
        """The clusters with workloads whose proxies connect to the istiod of ``control_plane``."""
        return tuple(
            cluster
            for cluster in self.data_planes
            if (cluster.control_plane or cluster.name) == control_plane.name
        )

    def config_cluster(self, control_plane: ClusterSpec) -> ClusterSpec:
        """The cluster in which that control plane reads Istio configuration and remote secrets: itself, or its config cluster."""
        if control_plane.role is Role.EXTERNAL:
            for cluster in self.clusters:
                if cluster.role is Role.CONFIG and cluster.control_plane == control_plane.name:
                    return cluster
        return control_plane

    def watched_by(self, control_plane: ClusterSpec) -> tuple[ClusterSpec, ...]:
        """The clusters for which that control plane needs a remote secret: all others with workloads, none in a federated mesh."""
        if self.federated:
            return ()
        config = self.config_cluster(control_plane)
        return tuple(cluster for cluster in self.data_planes if cluster.name != config.name)

    def trust_domain_of(self, cluster: ClusterSpec) -> str:
        """The trust domain of the workloads in that cluster."""
        return cluster.trust_domain or self.trust_domain

    def mesh_id_of(self, cluster: ClusterSpec) -> str:
        """The mesh id that the proxies in that cluster carry."""
        return cluster.mesh_id or self.mesh_id

    @property
    def features(self) -> frozenset[Feature]:
        """What this mesh has."""
        networks = Counter(cluster.network for cluster in self.data_planes)
        found: set[Feature] = set()
        if len(self.data_planes) > 1:
            found.add(Feature.CROSS_CLUSTER)
            if not self.federated:
                found.add(Feature.SHARED_SERVICES)
        if len(self.control_planes) > 1:
            found.add(Feature.MULTI_PRIMARY)
        if len(networks) > 1:
            found.add(Feature.MULTI_NETWORK)
        if any(count > 1 for count in networks.values()):
            found.add(Feature.FLAT)
        if any(cluster.role in (Role.REMOTE, Role.CONFIG) for cluster in self.clusters):
            found.add(Feature.REMOTE_CLUSTERS)
        if any(cluster.role is Role.EXTERNAL for cluster in self.clusters):
            found.add(Feature.EXTERNAL_CONTROL_PLANE)
        if self.federated:
            found.add(Feature.FEDERATED)
        return frozenset(found)

    def validated(self) -> MeshSpec:
        """This spec, or :class:`UsageProblem` with a sentence for each thing that cannot be."""
        problems = list(_problems(self))
        if problems:
            raise UsageProblem(
                f'mesh spec for topology "{self.topology}"',
                "refused: " + "; ".join(problems),
                advice="correct the file given with --mesh-spec; nothing was started",
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """The ``--mesh-spec`` document of this mesh, plain JSON."""
        document: dict[str, Any] = {
            "apiVersion": API_VERSION,
            "kind": "MeshSpec",
            "topology": self.topology,
            "meshId": self.mesh_id,
            "trustDomain": self.trust_domain,
            "istioNamespace": self.istio_namespace,
        }
        if self.kubeconfig:
            document["kubeconfig"] = self.kubeconfig
        if self.federated:
            document["federated"] = True
        document["clusters"] = [_cluster_to_dict(cluster) for cluster in self.clusters]
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], source: str = "mesh spec") -> MeshSpec:
        """Read a ``--mesh-spec`` document and validate it. ``source`` names the file in errors."""
        return _from_dict(document, source).validated()


def with_contexts(spec: MeshSpec, contexts: Mapping[str, str], kubeconfig: str) -> MeshSpec:
    """The spec with a kubeconfig file and a context for each cluster named in ``contexts``."""
    return replace(
        spec,
        kubeconfig=kubeconfig,
        clusters=tuple(
            replace(cluster, context=contexts.get(cluster.name, cluster.context))
            for cluster in spec
        ),
    )


def _cluster_to_dict(cluster: ClusterSpec) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": cluster.name,
        "network": cluster.network,
        "role": cluster.role.value,
    }
    optional = {
        "controlPlane": cluster.control_plane,
        "region": cluster.locality.region,
        "zone": cluster.locality.zone,
        "subzone": cluster.locality.subzone,
        "context": cluster.context,
        "meshId": cluster.mesh_id,
        "trustDomain": cluster.trust_domain,
    }
    return document | {key: value for key, value in optional.items() if value}


_TOP_LEVEL = {
    "apiVersion", "kind", "topology", "meshId", "trustDomain", "istioNamespace", "kubeconfig", "federated", "clusters",
}  # fmt: skip


_CLUSTER_KEYS = {
    "name", "network", "role", "controlPlane", "region", "zone", "subzone", "context", "meshId", "trustDomain",
}  # fmt: skip


def _refuse(source: str, detail: str) -> UsageProblem:
    return UsageProblem(
        source,
        f"malformed: {detail}",
        advice="see the README, section 'The mesh spec file'; nothing was started",
    )


def _from_dict(document: Mapping[str, Any], source: str) -> MeshSpec:
    if not isinstance(document, Mapping):
        raise _refuse(source, f"expected a mapping, got {type(document).__name__}")
    if document.get("apiVersion", API_VERSION) != API_VERSION:
        raise _refuse(source, f"apiVersion {document['apiVersion']!r}, known is {API_VERSION!r}")
    _only_known(document, _TOP_LEVEL, source, "the document")
    entries = document.get("clusters")
    if not isinstance(entries, list) or not entries:
        raise _refuse(source, "'clusters' must be a list with at least one entry")
    federated = document.get("federated", False)
    if not isinstance(federated, bool):
        raise _refuse(source, "'federated' must be true or false")
    return MeshSpec(
        topology=_text(document, "topology", source, required=True),
        clusters=tuple(
            _cluster_from_dict(entry, source, number) for number, entry in enumerate(entries, 1)
        ),
        mesh_id=_text(document, "meshId", source) or "mesh1",
        trust_domain=_text(document, "trustDomain", source) or "cluster.local",
        istio_namespace=_text(document, "istioNamespace", source) or "istio-system",
        federated=federated,
        kubeconfig=_text(document, "kubeconfig", source),
    )


def _cluster_from_dict(entry: object, source: str, number: int) -> ClusterSpec:
    where = f"clusters[{number}]"
    if not isinstance(entry, Mapping):
        raise _refuse(source, f"{where} must be a mapping with name and network")
    _only_known(entry, _CLUSTER_KEYS, source, where)
    role = _text(entry, "role", source, where) or Role.PRIMARY.value
    if role not in {known.value for known in Role}:
        raise _refuse(
            source, f"{where}: role {role!r}, known are {', '.join(known.value for known in Role)}"
        )
    return ClusterSpec(
        name=_text(entry, "name", source, where, required=True),
        network=_text(entry, "network", source, where, required=True),
        role=Role(role),
        control_plane=_text(entry, "controlPlane", source, where),
        locality=Locality(
            *(_text(entry, key, source, where) for key in ("region", "zone", "subzone"))
        ),
        context=_text(entry, "context", source, where),
        mesh_id=_text(entry, "meshId", source, where),
        trust_domain=_text(entry, "trustDomain", source, where),
    )


def _only_known(entry: Mapping[str, Any], known: set[str], source: str, where: str) -> None:
    unknown = sorted(str(key) for key in entry if key not in known)
    if unknown:
        raise _refuse(
            source,
            f"{where} has unknown keys {', '.join(unknown)}; known are {', '.join(sorted(known))}",
        )


def _text(
    entry: Mapping[str, Any],
    key: str,
    source: str,
    where: str = "the document",
    required: bool = False,
) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise _refuse(source, f"{where}: {key!r} must be text, got {value!r}")
    if required and not value:
        raise _refuse(source, f"{where}: {key!r} is missing")
    return value


def _problems(spec: MeshSpec) -> Iterator[str]:
    names = Counter(cluster.name for cluster in spec)
    for name, count in names.items():
        if count > 1:
            networks = {cluster.network for cluster in spec if cluster.name == name}
            if len(networks) > 1:
                yield f'cluster "{name}" is in {len(networks)} networks ({", ".join(sorted(networks))}); a cluster has one'
            else:
                yield f'cluster name "{name}" is used {count} times; names must be unique in a mesh'
        if not _DNS_LABEL.fullmatch(name):
            yield f'cluster name "{name}" is not a DNS label (lower-case letters, digits, hyphens)'
    if not spec.control_planes:
        yield "no cluster has role primary or external, so there is no control plane"
    if len(spec.data_planes) < 2:
        yield f"{len(spec.data_planes)} cluster with workloads; a multi-cluster mesh needs two or more"
    contexts = Counter(cluster.context for cluster in spec if cluster.context)
    for context, count in contexts.items():
        if count > 1:
            yield f'context "{context}" is given for {count} clusters; each cluster needs its own'
    for cluster in spec:
        yield from _role_problems(spec, cluster, names)
    try:
        ipaddress.ip_address(spec.trust_domain)
    except ValueError:
        pass
    else:
        yield f'trust domain "{spec.trust_domain}" is an address; it must be a DNS name'


def _role_problems(spec: MeshSpec, cluster: ClusterSpec, names: Mapping[str, int]) -> Iterator[str]:
    plane = cluster.control_plane
    if cluster.role is Role.PRIMARY:
        if plane not in ("", cluster.name):
            yield f'primary "{cluster.name}" names "{plane}" as its control plane; a primary is its own'
        return
    if cluster.role is Role.EXTERNAL:
        if not any(
            other.role is Role.CONFIG and other.control_plane == cluster.name for other in spec
        ):
            yield f'external control plane "{cluster.name}" has no config cluster'
        return
    if spec.federated:
        yield f'"{cluster.name}" is a {cluster.role.value} cluster; in federated meshes every cluster is a primary'
    if not plane:
        yield f'{cluster.role.value} cluster "{cluster.name}" names no controlPlane'
    elif plane not in names:
        yield f'{cluster.role.value} cluster "{cluster.name}" is served by "{plane}", which is not in the spec'
    elif not spec.cluster(plane).runs_istiod:
        yield f'{cluster.role.value} cluster "{cluster.name}" is served by "{plane}", which runs no istiod'


def common_locality(localities: Iterable[Locality]) -> Locality:
    """What all of these have in common: a region, perhaps a zone in it, perhaps a subzone in that."""
    found = list(localities)
    kept: list[str] = []
    for part in ("region", "zone", "subzone"):
        values = {getattr(locality, part) for locality in found}
        if len(values) != 1:
            break
        kept.append(values.pop())
    return Locality(*kept)
