"""Steps: the sections that the installation guides have in common, and the proof that each did what it says."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import certificates
from ..errors import UsageProblem
from ..eventually import Timeouts, eventually
from ..progress import Progress
from ..spec import ClusterSpec, Locality, MeshSpec, Role
from . import istio, operators
from .access import ClusterAccess
from .istio import Manifest

if TYPE_CHECKING:
    from ..kube import Kube


@dataclass(frozen=True)
class Build:
    """One installation under way. Every method is about one cluster; different clusters may be worked on side by side."""

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
        """Every cluster in which an istiod runs, under its name."""
        return [(cluster.name, cluster) for cluster in self.spec.control_planes]

    def start(self, cluster: ClusterSpec) -> None:
        """The control plane of a primary; in a remote, what leads to its primary's."""
        if cluster.role is Role.PRIMARY:
            self.start_control_plane(cluster)
        else:
            self.install_remote(cluster)

    def start_control_plane(
        self, cluster: ClusterSpec, mesh_config: Mapping[str, Any] | None = None
    ) -> None:
        """ "Configure Trust", "Set the default network" and "Configure as a primary"; istiod then starts while we go on.

        Where it serves remote clusters, its gateway gets its address right away, so that these need not wait for it.
        """
        manifests = istio.render(
            self.istio, istio.control_plane(self.spec, cluster, self.istio, mesh_config)
        )
        self._apply(cluster, self._namespace(cluster), self.trust(cluster), *manifests)
        if any(served is not cluster for served in self.spec.served_by(cluster)):
            self._apply(
                cluster,
                *(manifest for manifest in self._gateway(cluster) if manifest["kind"] == "Service"),
            )

    def trust(self, cluster: ClusterSpec) -> dict[str, Any]:
        """The Secret ``cacerts`` with an intermediate of this cluster's own under the common root ("Plug in CA Certificates")."""
        intermediate = certificates.make_intermediate(
            self.root, f"Intermediate CA of {cluster.name}"
        )
        return _secret(
            "cacerts",
            self.spec.istio_namespace,
            certificates.cacerts_files(intermediate, self.root),
        )

    def install_remote(self, cluster: ClusterSpec) -> None:
        """ "Set the control plane cluster", "Set the default network" and "Configure as a remote"."""
        plane = self.spec.cluster(cluster.control_plane)
        address = self.external_address(plane, operators.service_of_control_plane(plane))
        manifests = istio.render(
            self.istio, operators.remote(self.spec, cluster, self.istio, address)
        )
        self._apply(cluster, self._namespace(cluster), *manifests)

    def reserve_external_istiod(self, plane: ClusterSpec) -> None:
        """The Service at which an external istiod will be reached: its address is needed before it can be started."""
        services = (one for one in self._external_istiod(plane) if one["kind"] == "Service")
        self._apply(plane, self._namespace(plane), self.trust(plane), *services)

    def start_external_istiod(self, plane: ClusterSpec) -> None:
        """ "Set up the control plane in the external cluster": istiod with access to its config cluster, where it has its rights."""
        config = self.clusters[self.spec.config_cluster(plane).name]
        self._apply(plane, *istio.create_config_secret(self.istio, config, self.spec))
        self._apply(plane, *self._external_istiod(plane))
        self.wait_for_istiod(plane)

    def enable_endpoint_discovery(self, cluster: ClusterSpec) -> None:
        """ "Enable Endpoint Discovery": every control plane that watches this cluster gets a secret that opens its apiserver."""
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
        """ "Install the east-west gateway", and ``exposed``, the objects that say what passes through it.

        The gateway's pod is injected, and what is exposed is validated, by istiod, so it must be there.
        """
        self._apply(cluster, *self._gateway(cluster), *exposed)
        self._kube(cluster).wait_available(
            [("Deployment", istio.EAST_WEST_GATEWAY)],
            self.spec.istio_namespace,
            within_seconds=self.timeouts.control_plane_ready,
        )

    def wait_for_istiod(self, cluster: ClusterSpec) -> None:
        """Wait until the istiod that runs in this cluster is available."""
        self._kube(cluster).wait_available(
            [("Deployment", "istiod")],
            self.spec.istio_namespace,
            within_seconds=self.timeouts.control_plane_ready,
        )

    def wait_for_injection(self, cluster: ClusterSpec) -> None:
        """Wait until a pod of this cluster is given a sidecar with this cluster's name and network, by whichever istiod serves it."""
        wanted = {"ISTIO_META_CLUSTER_ID": cluster.name, "ISTIO_META_NETWORK": cluster.network}

        def injected() -> dict[str, str]:
            made = self._kube(cluster).create(
                _pod_to_inject(self.spec.istio_namespace), dry_run=True
            )
            containers = [*made["spec"]["containers"], *made["spec"].get("initContainers", [])]
            environment = {
                entry["name"]: entry.get("value", "")
                for one in containers
                for entry in one.get("env", [])
            }
            return {name: environment.get(name, "") for name in wanted}

        eventually(
            injected,
            lambda seen: seen == wanted,
            within_seconds=self.timeouts.control_plane_ready,
            what=f'cluster "{cluster.name}": pods get a sidecar from the istiod of {cluster.control_plane or cluster.name}',
        )

    def external_address(self, cluster: ClusterSpec, service: str) -> str:
        """The address at which other clusters reach a Service of the control plane's namespace, as soon as it has one."""
        found = eventually(
            lambda: istio.load_balancer_addresses(
                self._kube(cluster), self.spec.istio_namespace, service
            ),
            bool,
            within_seconds=self.timeouts.control_plane_ready,
            what=f'cluster "{cluster.name}": the Service {service} has an address',
        )
        return found.value[0]

    def verify_control_plane(self, cluster: ClusterSpec) -> None:
        """Every istiod of this cluster has synced the clusters that it watches and knows no other, or ``NotInTime`` says what it knows."""
        known = {other.name for other in self.spec.watched_by(cluster)} | {
            self.spec.config_cluster(cluster).name
        }

        def as_meant(replicas: Mapping[str, Mapping[str, str]]) -> bool:
            return bool(replicas) and all(
                seen == dict.fromkeys(known, "synced") for seen in replicas.values()
            )

        eventually(
            lambda: istio.remote_clusters(self._kube(cluster), self.spec.istio_namespace),
            as_meant,
            within_seconds=self.timeouts.remote_sync,
            what=f'cluster "{cluster.name}": every istiod has synced exactly {", ".join(sorted(known))}',
        )

    def verify_gateway(self, cluster: ClusterSpec) -> None:
        """The gateway of this cluster has an address that other networks can use."""
        self.external_address(cluster, istio.EAST_WEST_GATEWAY)

    def _kube(self, cluster: ClusterSpec) -> Kube:
        return self.clusters[cluster.name].kube

    def _apply(self, cluster: ClusterSpec, *manifests: Mapping[str, Any]) -> None:
        """Apply, with patience for CRDs that are not served yet and webhooks whose istiod starts: a busy machine takes its time."""
        self._kube(cluster).apply(*manifests, patience_seconds=self.timeouts.cluster_ready)

    def _gateway(self, cluster: ClusterSpec) -> list[Manifest]:
        return istio.render(self.istio, istio.east_west_gateway(self.spec, cluster, self.istio))

    def _external_istiod(self, plane: ClusterSpec) -> list[Manifest]:
        return istio.render(self.istio, operators.external_istiod(self.spec, plane, self.istio))

    def _namespace(self, cluster: ClusterSpec) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "name": self.spec.istio_namespace,
            "labels": {istio.NETWORK_LABEL: cluster.network},
        }
        if cluster.control_plane not in ("", cluster.name):
            # the name that the istiod has for itself: of an external one, that of its config cluster
            leader = self.spec.config_cluster(self.spec.cluster(cluster.control_plane))
            metadata["annotations"] = {operators.CONTROL_PLANE_ANNOTATION: leader.name}
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def numbered(
    number: int,
    *,
    network: str,
    role: Role = Role.PRIMARY,
    control_plane: str = "",
    region: int = 0,
) -> ClusterSpec:
    """``cluster1`` in ``region1/zone1/cluster1``, and so on; every cluster is a zone, and a region unless ``region`` says otherwise.

    Its name is its subzone, so that locality load balancing can address it, as it can nothing but localities.
    """
    place = Locality(f"region{region or number}", f"zone{number}", f"cluster{number}")
    return ClusterSpec(f"cluster{number}", network, role, control_plane, place)


def primary_with_remotes(
    numbers: range, network: Callable[[int], str], *, region: int = 0
) -> Iterator[ClusterSpec]:
    """The first of these as a primary, the others as its remotes, each on the ``network`` of its number."""
    primary = f"cluster{numbers[0]}"
    yield numbered(numbers[0], network=network(numbers[0]), region=region)
    for number in numbers[1:]:
        yield numbered(
            number, network=network(number), role=Role.REMOTE, control_plane=primary, region=region
        )


def refuse(topology: str, problems: Iterable[str]) -> None:
    """Raise :class:`UsageProblem` with a sentence for each thing because of which a spec is not of a topology, if there is any."""
    found = list(problems)
    if found:
        raise UsageProblem(
            f'mesh spec for topology "{topology}"',
            "refused: " + "; ".join(found),
            advice="correct the file given with --mesh-spec, or name another topology; nothing was started",
        )


def too_few(topology: str, clusters: int, least: int, why: str) -> None:
    """Raise :class:`UsageProblem` where a topology cannot be had with so few clusters."""
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
            yield f'cluster "{cluster.name}" is {cluster.role.value}; in this topology every cluster is a primary'


def not_one_primary_with_remotes(spec: MeshSpec) -> Iterator[str]:
    """Sentences where there is not one primary that serves all other clusters."""
    primaries = [cluster.name for cluster in spec if cluster.role is Role.PRIMARY]
    if not primaries:
        yield "no cluster is a primary, so nothing would serve the remote clusters"
    elif len(primaries) > 1:
        yield f"{', '.join(primaries)} are primaries; in this topology one primary serves all other clusters"
    for cluster in spec:
        if cluster.role not in (Role.PRIMARY, Role.REMOTE):
            yield f'cluster "{cluster.name}" is {cluster.role.value}; in this topology clusters are primary or remote'
    if not any(cluster.role is Role.REMOTE for cluster in spec):
        yield "no cluster is remote"


def not_a_network_each(spec: MeshSpec) -> Iterator[str]:
    """A sentence for each network that several clusters are on, and where there is only one network."""
    networks = Counter(cluster.network for cluster in spec.data_planes)
    if len(networks) < 2:
        yield f"{len(networks)} network; this topology needs two or more"
    for network, count in networks.items():
        if count > 1:
            names = ", ".join(
                f'"{cluster.name}"' for cluster in spec.data_planes if cluster.network == network
            )
            yield f'clusters {names} are on one network, "{network}"; in this topology each has its own'


def not_one_network(spec: MeshSpec) -> Iterator[str]:
    """A sentence where the clusters are on several networks."""
    if len(spec.networks) > 1:
        placed = ", ".join(f"{cluster.name} on {cluster.network}" for cluster in spec)
        yield f"{placed}; in this topology all clusters are on one network, so that pods reach each other directly"


def _pod_to_inject(namespace: str) -> dict[str, Any]:
    metadata = {
        "name": "istio-mc-injection",
        "namespace": namespace,
        "labels": {"sidecar.istio.io/inject": "true"},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [{"name": "none", "image": "none"}]},
    }


def _secret(name: str, namespace: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "data": {file: base64.b64encode(content).decode() for file, content in files.items()},
    }
