"""Mesh: a mesh that exists, as plain values that can be handed to another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .spec import MeshSpec


@dataclass(frozen=True)
class ProbePod:
    """One probe pod. ``role`` is ``server`` (answers, has a version) or ``client`` (sends)."""

    cluster: str
    role: str
    name: str
    ip: str
    node: str = ""
    version: str = ""
    service_account: str = ""


@dataclass(frozen=True)
class Probes:
    """The probe workloads of one run: the same namespace and service in every cluster with workloads."""

    namespace: str
    service: str
    image: str
    pods: tuple[ProbePod, ...] = ()

    def client(self, cluster: str) -> ProbePod:
        """The pod that sends, in that cluster."""
        return next(pod for pod in self.pods if pod.cluster == cluster and pod.role == "client")

    def servers(self, cluster: str) -> tuple[ProbePod, ...]:
        """The pods that answer, in that cluster."""
        return tuple(pod for pod in self.pods if pod.cluster == cluster and pod.role == "server")


@dataclass(frozen=True)
class Mesh:
    """A mesh to certify: what it is meant to be, how to reach its clusters, and the probes in it.

    ``spec`` has a kubeconfig and a context for every cluster. ``capabilities`` are what the provider can do to clusters beyond the
    Kubernetes API, ``controls`` is the folder of the control socket over which any process of this machine can have it done; both are
    empty where there is nothing of the kind. ``to_dict`` is plain JSON: an xdist worker gets its mesh that way.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, complete enough for :meth:`from_dict`."""
        return {
            "spec": self.spec.to_dict(),
            "run_id": self.run_id,
            "provider": self.provider,
            "probe_image": self.probe_image,
            "capabilities": list(self.capabilities),
            "controls": self.controls,
            "notes": list(self.notes),
            "versions": {cluster: dict(versions) for cluster, versions in self.versions.items()},
            "probes": None
            if self.probes is None
            else {**self.probes.__dict__, "pods": [dict(pod.__dict__) for pod in self.probes.pods]},
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Mesh:
        """The mesh that :meth:`to_dict` wrote."""
        probes = document["probes"]
        return cls(
            spec=MeshSpec.from_dict(document["spec"]),
            run_id=document["run_id"],
            provider=document["provider"],
            probe_image=document["probe_image"],
            capabilities=tuple(document["capabilities"]),
            controls=document.get("controls", ""),
            notes=tuple(document["notes"]),
            versions=document["versions"],
            probes=None
            if probes is None
            else Probes(**{**probes, "pods": tuple(ProbePod(**pod) for pod in probes["pods"])}),
        )
