"""LabPlan: the names, addresses and folders of a lab, decided before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageProblem
from ..spec import Locality, MeshSpec

MOST_CLUSTERS = 60
"""The number of clusters in one lab that the address plan has room for."""

_PATHS = ("home", "bin", "cni", "containerd_root")


@dataclass(frozen=True)
class NodePlan:
    """One cluster of one node; its ``number`` (from 1) gives its addresses.

    - Addresses are of the benchmarking range 198.18.0.0/15 (RFC 2544) and of 10.0.0.0/8.
    - They exist only in the lab's own network namespaces: any number of labs use the same ones.
    """

    name: str
    number: int
    network: str
    locality: Locality

    @property
    def node_address(self) -> str:
        """The node's address in the fabric, with the apiserver on port 6443."""
        return f"198.18.{self.number}.2"

    @property
    def gateway_address(self) -> str:
        """The fabric's end of the node's link."""
        return f"198.18.{self.number}.1"

    @property
    def load_balancer_prefix(self) -> str:
        """The first three octets of the range of load-balancer addresses."""
        return f"198.19.{self.number}"

    @property
    def load_balancer_range(self) -> str:
        """The range of load-balancer addresses, routed to this node."""
        return f"{self.load_balancer_prefix}.0/24"

    @property
    def pod_range(self) -> str:
        """The pod addresses of this cluster."""
        return f"10.{10 + self.number}.0.0/16"

    @property
    def service_range(self) -> str:
        """The service addresses of this cluster, known only inside it."""
        return f"10.{100 + self.number}.0.0/16"

    @property
    def service_prefix(self) -> str:
        """The first three octets of the service range: ``.1`` is the apiserver, ``.10`` is DNS."""
        return f"10.{100 + self.number}.0"

    @property
    def peer_server(self) -> str:
        """The apiserver's URL for pods of other clusters."""
        return f"https://{self.node_address}:6443"


@dataclass(frozen=True)
class LabPlan:
    """A lab: its name, folder, toolchain and clusters.

    - ``audited``: each API server writes down every request, without bodies, into the file that
      :meth:`audit_log` names.
    - ``kubernetes`` holds Kubernetes' programs where they are not those of ``bin``.
    - ``istio`` are the minor versions of which the nodes have images, first the one that was
      installed.
    """

    name: str
    home: Path
    bin: Path
    cni: Path
    containerd_root: Path
    nodes: tuple[NodePlan, ...]
    detached: bool = False
    audited: bool = False
    kubernetes: Path | None = None
    istio: tuple[str, ...] = ()

    def program(self, name: str) -> Path:
        """The program of that name."""
        of_kubernetes = self.kubernetes and self.kubernetes / name
        return of_kubernetes if of_kubernetes and of_kubernetes.exists() else self.bin / name

    def neighbours(self, node: NodePlan) -> tuple[NodePlan, ...]:
        """The other clusters of its network: all their pods reach each other directly."""
        same = (other for other in self.nodes if other.network == node.network)
        return tuple(other for other in same if other is not node)

    def folder(self, node: NodePlan) -> Path:
        """The folder of that cluster's files."""
        return self.home / node.name

    def audit_log(self, node: NodePlan) -> Path:
        """The file of requests to that cluster's API server: a JSON event a line."""
        return self.folder(node) / "audit.log"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig with the forwarder's ports, and contexts named as their clusters."""
        return self.home / "kubeconfig.yaml"

    @property
    def cgroup(self) -> str:
        """The cgroup parent of all pods of this lab."""
        return f"/istio-mc-{self.home.name}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON for the supervisor."""
        document = asdict(self)
        kubernetes = {"kubernetes": str(self.kubernetes) if self.kubernetes else ""}
        return document | kubernetes | {key: str(document[key]) for key in _PATHS}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> LabPlan:
        """The plan that :meth:`to_dict` wrote, perhaps of an earlier version."""
        paths = {key: Path(document[key]) for key in _PATHS}
        nodes = tuple(
            NodePlan(**{**node, "locality": Locality(**node["locality"])})
            for node in document["nodes"]
        )
        return cls(
            name=document["name"],
            nodes=nodes,
            detached=document["detached"],
            audited=document["audited"],
            kubernetes=Path(document["kubernetes"]) if document.get("kubernetes") else None,
            istio=tuple(document.get("istio", ())),
            **paths,
        )


def plan_nodes(spec: MeshSpec) -> tuple[NodePlan, ...]:
    """A node for each cluster of the mesh, in the spec's order."""
    clusters = spec.clusters
    if len(clusters) > MOST_CLUSTERS:
        raise UsageProblem(
            "lab",
            f"{len(clusters)} clusters asked for, one lab has room for {MOST_CLUSTERS}",
            advice="give fewer clusters in --mesh-spec",
        )
    return tuple(
        NodePlan(cluster.name, number, cluster.network, cluster.locality)
        for number, cluster in enumerate(clusters, 1)
    )
