"""Steps: sections that the installation guides share, each with its proof."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import certificates
from ..errors import UsageProblem
from ..eventually import Timeouts, eventually
from ..istio_names import CONTROL_PLANES_ANNOTATION, NETWORK_LABEL, REVISION_LABEL
from ..progress import Progress
from ..spec import ClusterSpec, Locality, MeshSpec, Role
from . import istio, operators
from .access import ClusterAccess
from .istio import Manifest

if TYPE_CHECKING:
    from ..kube import Kube


@dataclass(frozen=True)
class Build:
    """One installation under way.

    Every method is about one cluster; different clusters may be worked on side by side.
    """

    spec: MeshSpec
    clusters: Mapping[str, ClusterAccess]
    istio: istio.IstioDistribution
    progress: Progress
    timeouts: Timeouts
    root: certificates.Authority = field(default_factory=lambda: certificates.make_root("Root CA"))

    @property
    def everywhere(self) -> list[tuple[str, ClusterSpec]]:
        """Every cluster under its name, for ``side_by_side``."""
        return [(cluster.name, cluster) for cluster in self.spec]

    @property
    def with_istiod(self) -> list[tuple[str, ClusterSpec]]:
        """Every cluster that runs an istiod, under its name."""
        return [(cluster.name, cluster) for cluster in self.spec.control_planes]

    def start(self, cluster: ClusterSpec) -> None:
        """Start a primary's control plane, or a remote's way to it."""
        if cluster.role is Role.PRIMARY:
            self.start_control_plane(cluster)
        else:
            self.install_remote(cluster)

    def start_control_plane(
        self, cluster: ClusterSpec, mesh_config: Mapping[str, Any] | None = None
    ) -> None:
        """ "Configure Trust", "Set the default network" and "Configure as a primary".

        - Istiod then starts while the installation goes on.
        - Remote clusters need the gateway's address: the gateway's Service is made at once.
        """
        manifests = self.control_plane(cluster, mesh_config)
        self._apply(cluster, self._namespace(cluster), self.trust(cluster), *manifests)
        if any(served is not cluster for served in self.spec.served_by(cluster)):
            self._apply(cluster, *_services(self.gateway(cluster)))

    def control_plane(
        self, cluster: ClusterSpec, mesh_config: Mapping[str, Any] | None = None
    ) -> list[Manifest]:
        """The manifests of a cluster's control plane, or of the way to it."""
        if cluster.role is Role.PRIMARY:
            operator = istio.control_plane(self.spec, cluster, self.istio, mesh_config)
        elif cluster.role is Role.EXTERNAL:
            operator = operators.external_istiod(self.spec, cluster, self.istio)
        else:
            plane = self.spec.cluster(cluster.control_plane)
            address = self.external_address(plane, operators.service_of_control_plane(plane))
            operator = operators.remote(self.spec, cluster, self.istio, address)
        return istio.render(self.istio, operator)

    def trust(self, cluster: ClusterSpec) -> dict[str, Any]:
        """The Secret ``cacerts``: the cluster's own intermediate under the common root.

        As in "Plug in CA Certificates".
        """
        name = f"Intermediate CA of {cluster.name}"
        intermediate = certificates.make_intermediate(self.root, name)
        files = certificates.cacerts_files(intermediate, self.root)
        return _secret("cacerts", self.spec.istio_namespace, files)

    def install_remote(self, cluster: ClusterSpec) -> None:
        """ "Set the control plane cluster", "Set the default network", "Configure as a remote"."""
        self._apply(cluster, self._namespace(cluster), *self.control_plane(cluster))

    def reserve_external_istiod(self, plane: ClusterSpec) -> None:
        """Make an external istiod's Service: istiod needs the address to start."""
        services = _services(self.control_plane(plane))
        self._apply(plane, self._namespace(plane), self.trust(plane), *services)

    def start_external_istiod(self, plane: ClusterSpec) -> None:
        """ "Set up the control plane in the external cluster".

        Istiod gets access to its config cluster, where it has its rights.
        """
        config = self.clusters[self.spec.config_cluster(plane).name]
        self._apply(plane, *istio.create_config_secret(self.istio, config, self.spec))
        self._apply(plane, *self.control_plane(plane))
        self.wait_for_istiod(plane)

    def enable_endpoint_discovery(self, cluster: ClusterSpec) -> None:
        """ "Enable Endpoint Discovery".

        Every control plane that watches the cluster gets a secret that opens its apiserver.
        """
        holders = [
            self.spec.config_cluster(plane)
            for plane in self.spec.control_planes
            if cluster in self.spec.watched_by(plane)
        ]
        if holders:
            secret = istio.create_remote_secret(self.istio, self.clusters[cluster.name], self.spec)
            for holder in holders:
                self._apply(holder, *secret)

    def install_gateway(self, cluster: ClusterSpec, *exposed: Manifest) -> None:
        """ "Install the east-west gateway".

        - ``exposed`` are the objects that say what passes through it.
        - Istiod must be there: it injects the gateway's pod and validates ``exposed``.
        """
        self._apply(cluster, *self.gateway(cluster), *exposed)
        self._wait_available(cluster, istio.EAST_WEST_GATEWAY)

    def wait_for_istiod(self, cluster: ClusterSpec) -> None:
        """Wait until the istiod that runs in this cluster is available."""
        self._wait_available(cluster, self.istio.named("istiod"))

    def wait_for_injection(self, cluster: ClusterSpec) -> None:
        """Wait until pods get this Istio's sidecars, with this cluster's name and network."""
        wanted = {"ISTIO_META_CLUSTER_ID": cluster.name, "ISTIO_META_NETWORK": cluster.network}
        wanted["image"] = self.istio.proxy_image
        pod = _pod_to_inject(self.spec.istio_namespace, self.istio.revision)
        plane = cluster.served_from

        def injected() -> dict[str, str]:
            spec = self._kube(cluster).create(pod, dry_run=True)["spec"]
            containers = [*spec["containers"], *spec.get("initContainers", [])]
            variables = [entry for one in containers for entry in one.get("env", [])]
            environment = {entry["name"]: entry.get("value", "") for entry in variables}
            proxies = (one["image"] for one in containers if one["name"] == "istio-proxy")
            environment["image"] = next(proxies, "")
            return {name: environment.get(name, "") for name in wanted}

        eventually(
            injected,
            lambda seen: seen == wanted,
            within_seconds=self.timeouts.control_plane_ready,
            what=f'cluster "{cluster.name}": pods get a sidecar from the istiod of {plane}',
        )

    def external_address(self, cluster: ClusterSpec, service: str) -> str:
        """A Service's address for other clusters, as soon as it has one."""
        kube, namespace = self._kube(cluster), self.spec.istio_namespace
        found = eventually(
            lambda: istio.load_balancer_addresses(kube, namespace, service),
            bool,
            within_seconds=self.timeouts.control_plane_ready,
            what=f'cluster "{cluster.name}": the Service {service} has an address',
        )
        return found.value[0]

    def verify_control_plane(self, cluster: ClusterSpec) -> None:
        """Wait until every istiod has synced its clusters, and no other.

        ``NotInTime`` says which clusters it knows.
        """
        watched = {other.name for other in self.spec.watched_by(cluster)}
        synced = dict.fromkeys(watched | {self.spec.config_cluster(cluster).name}, "synced")
        names = ", ".join(sorted(synced))
        eventually(
            lambda: istio.remote_clusters(self._kube(cluster), self.spec.istio_namespace),
            lambda replicas: bool(replicas) and all(one == synced for one in replicas.values()),
            within_seconds=self.timeouts.remote_sync,
            what=f'cluster "{cluster.name}": every istiod has synced exactly {names}',
        )

    def verify_gateway(self, cluster: ClusterSpec) -> None:
        """Wait until the cluster's gateway has an address for other networks."""
        self.external_address(cluster, istio.EAST_WEST_GATEWAY)

    def _kube(self, cluster: ClusterSpec) -> Kube:
        return self.clusters[cluster.name].kube

    def _apply(self, cluster: ClusterSpec, *manifests: Mapping[str, Any]) -> None:
        """Apply, with patience for CRDs and webhooks that are not served yet."""
        self._kube(cluster).apply(*manifests, patience_seconds=self.timeouts.cluster_ready)

    def _wait_available(self, cluster: ClusterSpec, deployment: str) -> None:
        wanted, wait = [("Deployment", deployment)], self.timeouts.control_plane_ready
        kube = self._kube(cluster)
        kube.wait_available(wanted, self.spec.istio_namespace, within_seconds=wait)

    def gateway(self, cluster: ClusterSpec) -> list[Manifest]:
        """The manifests of a cluster's east-west gateway."""
        return istio.render(self.istio, istio.east_west_gateway(self.spec, cluster, self.istio))

    def _namespace(self, cluster: ClusterSpec) -> dict[str, Any]:
        labels = {NETWORK_LABEL: cluster.network}
        metadata: dict[str, Any] = {"name": self.spec.istio_namespace, "labels": labels}
        if cluster.served_from != cluster.name:
            # the name that istiod has for itself: an external one has its config cluster's
            leader = self.spec.config_cluster(self.spec.control_plane_of(cluster.name))
            metadata["annotations"] = {CONTROL_PLANES_ANNOTATION: leader.name}
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def numbered(
    number: int,
    *,
    network: str,
    role: Role = Role.PRIMARY,
    control_plane: str = "",
    region: int = 0,
) -> ClusterSpec:
    """``cluster1`` in ``region1/zone1/cluster1``, and so on.

    - Every cluster is a zone; and a region, unless ``region`` gives another number.
    - Its name is its subzone: locality load balancing can address localities only.
    """
    place = Locality(f"region{region or number}", f"zone{number}", f"cluster{number}")
    return ClusterSpec(f"cluster{number}", network, role, control_plane, place)


def primary_with_remotes(
    numbers: range, network: Callable[[int], str], *, region: int = 0
) -> Iterator[ClusterSpec]:
    """The first as a primary, the others as its remotes.

    ``network`` gives the network of a number.
    """
    primary = f"cluster{numbers.start}"
    for number in numbers:
        role, plane = (Role.PRIMARY, "") if number == numbers.start else (Role.REMOTE, primary)
        place = network(number)
        yield numbered(number, network=place, role=role, control_plane=plane, region=region)


def refuse(topology: str, problems: Iterable[str]) -> None:
    """Raise :class:`UsageProblem` with these problems of a spec, if there is any."""
    found = list(problems)
    if found:
        raise UsageProblem(
            f'mesh spec for topology "{topology}"',
            "refused: " + "; ".join(found),
            advice="correct the file given with --mesh-spec, or name another topology; "
            "nothing was started",
        )


def too_few(topology: str, clusters: int, least: int, why: str) -> None:
    """Raise :class:`UsageProblem` where a topology needs more clusters."""
    if clusters < least:
        raise UsageProblem(
            f'topology "{topology}"',
            f"{clusters} clusters are too few: it has {why}",
            advice=f"give {least} or more",
        )


def not_one_mesh(spec: MeshSpec) -> Iterator[str]:
    """A sentence where the clusters are meant to be separate meshes."""
    if spec.federated:
        yield "federated is true; in this topology all clusters are one mesh"


def not_all_primaries(spec: MeshSpec) -> Iterator[str]:
    """A sentence for each cluster that is no primary."""
    for cluster in spec:
        if cluster.role is not Role.PRIMARY:
            yield (
                f'cluster "{cluster.name}" is {cluster.role.value}; '
                "in this topology every cluster is a primary"
            )


def neither_primary_nor_remote(cluster: ClusterSpec) -> str:
    """The sentence for a cluster of another role."""
    return (
        f'cluster "{cluster.name}" is {cluster.role.value}; '
        "in this topology clusters are primary or remote"
    )


def not_one_primary_with_remotes(spec: MeshSpec) -> Iterator[str]:
    """Sentences where the clusters are not one primary and its remotes."""
    primaries = [cluster.name for cluster in spec if cluster.role is Role.PRIMARY]
    if not primaries:
        yield "no cluster is a primary, so nothing would serve the remote clusters"
    elif len(primaries) > 1:
        names = ", ".join(primaries)
        yield f"{names} are primaries; in this topology one primary serves all other clusters"
    for cluster in spec:
        if cluster.role not in (Role.PRIMARY, Role.REMOTE):
            yield neither_primary_nor_remote(cluster)
    if not any(cluster.role is Role.REMOTE for cluster in spec):
        yield "no cluster is remote"


def not_a_network_each(spec: MeshSpec) -> Iterator[str]:
    """Sentences where there is one network only, or clusters share one."""
    networks = Counter(cluster.network for cluster in spec.data_planes)
    if len(networks) < 2:
        yield f"{len(networks)} network; this topology needs two or more"
    for network, count in networks.items():
        if count > 1:
            sharing = [one.name for one in spec.data_planes if one.network == network]
            names = ", ".join(f'"{name}"' for name in sharing)
            yield (
                f'clusters {names} are on one network, "{network}"; '
                "in this topology each has its own"
            )


def not_one_network(spec: MeshSpec) -> Iterator[str]:
    """A sentence where the clusters are on several networks."""
    if len(spec.networks) > 1:
        placed = ", ".join(f"{cluster.name} on {cluster.network}" for cluster in spec)
        yield (
            f"{placed}; in this topology all clusters are on one network, "
            "so that pods reach each other directly"
        )


def _services(manifests: Iterable[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == "Service"]


def _pod_to_inject(namespace: str, revision: str) -> dict[str, Any]:
    labels = {"sidecar.istio.io/inject": "true"} | ({REVISION_LABEL: revision} if revision else {})
    metadata = {"name": "istio-mc-injection", "namespace": namespace, "labels": labels}
    spec = {"containers": [{"name": "none", "image": "none"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _secret(name: str, namespace: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    data = {file: base64.b64encode(content).decode() for file, content in files.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
