"""Mesh: an existing mesh, as plain values for any process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import NotAllowed, ObservationError
from .names import Label, Line, Subdomain
from .plain import from_plain, to_plain
from .rights import Permission
from .spec import MeshSpec

OWN_CLIENTS = "own-clients"
"""The AuthorizationPolicy of the probes, which lets in their own clients."""


@dataclass(frozen=True)
class ProbePod:
    """One probe pod. ``role`` is ``server`` (answers, has a version) or ``client`` (sends)."""

    cluster: Label
    role: str
    name: Subdomain
    ip: str
    node: str = ""
    version: str = ""
    service_account: str = ""


@dataclass(frozen=True)
class Probes:
    """The probe workloads of one run.

    Every cluster with workloads has the same namespace and service.
    """

    namespace: Label
    service: Label
    image: Line
    pods: tuple[ProbePod, ...] = ()

    def client(self, cluster: str) -> ProbePod:
        """The pod that sends, of that cluster."""
        return next(pod for pod in self.pods if pod.cluster == cluster and pod.role == "client")

    def client_pod(self, cluster: str) -> str:
        """The name of that pod in istioctl's commands: ``name.namespace``."""
        return f"{self.client(cluster).name}.{self.namespace}"

    def servers(self, cluster: str) -> tuple[ProbePod, ...]:
        """The pods that answer, of that cluster."""
        return tuple(pod for pod in self.pods if pod.cluster == cluster and pod.role == "server")


@dataclass(frozen=True)
class Wishes:
    """What the user wishes of probe workloads.

    - ``namespaces``: prepared ones, the first for the probes, the others for checks that need one
      of their own; empty where the run makes its own.
    - ``patch``: what is added to namespaces and pods (``probes.patch.SCHEMA``).
    """

    namespaces: tuple[str, ...] = ()
    patch: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mesh:
    """A mesh to certify: its spec, its clusters and its probes.

    - ``spec`` has a kubeconfig and a context for every cluster.
    - ``capabilities`` are what the provider can do to clusters beyond the Kubernetes API, and
      ``controls`` is the folder of the socket over which any process of this machine has it done;
      both are empty where there is nothing of the kind.
    - ``disposable``: the clusters end with the run. ``on_this_machine``: they share the machine
      that runs the tests.
    - ``permissions``: what may be done to other people's traffic on it.
    - ``to_dict`` is plain JSON: an xdist worker gets its mesh that way.
    """

    spec: MeshSpec
    run_id: str
    provider: str
    probe_image: str
    capabilities: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    probes: Probes | None = None
    controls: str = ""
    disposable: bool = False
    on_this_machine: bool = False
    wishes: Wishes = Wishes()
    permissions: tuple[Permission, ...] = ()

    def demand(self, permission: Permission, what: str) -> None:
        """Raise :class:`NotAllowed` unless it was given, or the clusters end with the run."""
        if not self.allows(permission):
            raise NotAllowed(
                what,
                "is not allowed on clusters that outlive the run",
                permission.effect,
                advice=f"add --mesh-allow={permission.value} where that may be",
            )

    def allows(self, permission: Permission) -> bool:
        """Whether it was given, or the clusters end with the run."""
        return self.disposable or permission in self.permissions

    def owns(self, namespace: str) -> bool:
        """Whether a namespace is the run's: a prepared one, of its name, or of its probes."""
        made = f"istio-mc-{self.run_id}"
        named = {*self.wishes.namespaces, made, self.probes.namespace if self.probes else made}
        return namespace in named or namespace.startswith(f"{made}-")

    def require_probes(self) -> Probes:
        """The probe workloads; :class:`ObservationError` where there are none."""
        if self.probes is None:
            raise ObservationError("live checks", "need probe workloads", "the mesh has none")
        return self.probes

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, complete enough for :meth:`from_dict`."""
        document: dict[str, Any] = to_plain(self)
        return document

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Mesh:
        """The mesh that :meth:`to_dict` wrote."""
        return from_plain(cls, document)
