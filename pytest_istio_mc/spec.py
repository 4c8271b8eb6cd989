"""MeshSpec: the intended mesh, as frozen values without I/O."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from .errors import UsageProblem
from .names import DNS_LABEL, ONE_LINE

API_VERSION = "istio-mc.dev/v1alpha1"


class Role(Enum):
    """What a cluster does for the control plane (Istio, "Deployment Models")."""

    PRIMARY = "primary"  # runs an istiod and is where that istiod reads its configuration
    REMOTE = "remote"  # is served by the istiod of another cluster
    CONFIG = "config"  # is served by an external istiod, which reads its configuration here
    EXTERNAL = "external"  # runs an istiod for other clusters only; no workloads of the mesh


class Feature(Enum):
    """What a mesh has; a check whose features are missing is not applicable."""

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
    """The place of a cluster's nodes (Kubernetes' topology labels; subzone is Istio's)."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.region, self.zone, self.subzone) if part)


@dataclass(frozen=True)
class ClusterSpec:
    """One cluster of a mesh; ``control_plane`` is as written, see ``served_from``."""

    name: str
    network: str
    role: Role = Role.PRIMARY
    control_plane: str = ""
    locality: Locality = Locality()
    context: str = ""
    mesh_id: str = ""
    trust_domain: str = ""

    @property
    def served_from(self) -> str:
        """The name of the cluster whose istiod serves this one, perhaps its own."""
        return self.control_plane or self.name

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
    """A mesh as it is meant to be; ``spec_file`` has its file format."""

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
        """The clusters in which control planes read configuration and secrets, each once."""
        read = (self.config_cluster(plane).name for plane in self.control_planes)
        return tuple(dict.fromkeys(read))

    @property
    def several_behind_a_gateway(self) -> bool:
        """Whether one network's east-west gateway leads clients to several clusters."""
        networks = [cluster.network for cluster in self.data_planes]
        return 1 < len(set(networks)) < len(networks)

    def seen_alone(self, target: str, source: str) -> bool:
        """Whether proxies in ``source`` have endpoints that lead to ``target`` alone.

        These are its pods, or a gateway of its own.
        """
        return len(self.behind_one_gateway(target, source)) < 2

    def behind_one_gateway(self, target: str, source: str) -> tuple[str, ...]:
        """The clusters that ``source`` reaches by the gateways of ``target``, itself included.

        None where ``source`` reaches pods directly.
        """
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

    def control_plane_of(self, name: str) -> ClusterSpec:
        """The cluster that runs the istiod of that cluster's proxies."""
        return self.cluster(self.cluster(name).served_from)

    def served_by(self, control_plane: ClusterSpec) -> tuple[ClusterSpec, ...]:
        """The clusters with workloads whose proxies connect to the istiod of ``control_plane``."""
        here = control_plane.name
        return tuple(cluster for cluster in self.data_planes if cluster.served_from == here)

    def config_cluster(self, control_plane: ClusterSpec) -> ClusterSpec:
        """The cluster in which a control plane reads configuration and remote secrets.

        Itself, or the config cluster of an external one.
        """
        if control_plane.role is Role.EXTERNAL:
            for cluster in self.clusters:
                if cluster.role is Role.CONFIG and cluster.control_plane == control_plane.name:
                    return cluster
        return control_plane

    def watched_by(self, control_plane: ClusterSpec) -> tuple[ClusterSpec, ...]:
        """The clusters for which a control plane needs a remote secret.

        All others with workloads, none in a federated mesh.
        """
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

    def validated(self, source: str = "") -> MeshSpec:
        """This spec, or :class:`UsageProblem` with a sentence for each thing that cannot be.

        ``source`` is the file or option that it comes from.
        """
        if problems := "; ".join(_problems(self)):
            advice = f"correct {source or 'what was given'}; nothing was started"
            thing = f'mesh spec for topology "{self.topology}"'
            raise UsageProblem(thing, f"refused: {problems}", advice=advice)
        return self


def with_contexts(spec: MeshSpec, contexts: Mapping[str, str], kubeconfig: str) -> MeshSpec:
    """The spec with a kubeconfig file and the clusters' ``contexts`` in it."""
    clusters = (
        replace(cluster, context=contexts.get(cluster.name, cluster.context)) for cluster in spec
    )
    return replace(spec, kubeconfig=kubeconfig, clusters=tuple(clusters))


def _problems(spec: MeshSpec) -> Iterator[str]:
    names = Counter(cluster.name for cluster in spec)
    for name, count in names.items():
        if count > 1:
            networks = sorted({cluster.network for cluster in spec if cluster.name == name})
            if len(networks) > 1:
                listed = f"{len(networks)} networks ({', '.join(networks)})"
                yield f'cluster "{name}" is in {listed}; a cluster has one'
            else:
                yield f'cluster name "{name}" is used {count} times; names must be unique in a mesh'
        if not DNS_LABEL.fits(name):
            yield f"cluster name {name!r} is not {DNS_LABEL.words}"
    if not spec.control_planes:
        yield "no cluster has role primary or external, so there is no control plane"
    if (count := len(spec.data_planes)) < 2:
        yield f"{count} cluster with workloads; a multi-cluster mesh needs two or more"
    yield from _context_problems(spec)
    for cluster in spec:
        yield from _role_problems(spec, cluster, names)
    try:
        ipaddress.ip_address(spec.trust_domain)
    except ValueError:
        pass
    else:
        yield f'trust domain "{spec.trust_domain}" is an address; it must be a DNS name'


def _context_problems(spec: MeshSpec) -> Iterator[str]:
    contexts = Counter(cluster.context for cluster in spec if cluster.context)
    for context, count in contexts.items():
        if not ONE_LINE.fits(context):
            yield f"context {context!r} is not {ONE_LINE.words}"
        elif count > 1:
            yield f'context "{context}" is given for {count} clusters; each cluster needs its own'


def _role_problems(spec: MeshSpec, cluster: ClusterSpec, names: Mapping[str, int]) -> Iterator[str]:
    name, role, plane = cluster.name, cluster.role.value, cluster.control_plane
    if cluster.role is Role.PRIMARY:
        if plane not in ("", name):
            yield f'primary "{name}" names "{plane}" as its control plane; a primary is its own'
        return
    if cluster.role is Role.EXTERNAL:
        if not any(other.role is Role.CONFIG and other.control_plane == name for other in spec):
            yield f'external control plane "{name}" has no config cluster'
        return
    if spec.federated:
        yield f'"{name}" is a {role} cluster; in federated meshes every cluster is a primary'
    if not plane:
        yield f'{role} cluster "{name}" names no controlPlane'
    elif plane not in names:
        yield f'{role} cluster "{name}" is served by "{plane}", which is not in the spec'
    elif not spec.cluster(plane).runs_istiod:
        yield f'{role} cluster "{name}" is served by "{plane}", which runs no istiod'


def common_locality(localities: Iterable[Locality]) -> Locality:
    """The common part of localities, from the region on."""
    found = list(localities)
    kept: list[str] = []
    for part in ("region", "zone", "subzone"):
        values = {getattr(locality, part) for locality in found}
        if len(values) != 1:
            break
        kept.append(values.pop())
    return Locality(*kept)
