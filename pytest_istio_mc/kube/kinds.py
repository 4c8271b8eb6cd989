"""Kinds: their places in the API, by heart or by asking."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import KubeError


@dataclass(frozen=True)
class Resource:
    """A kind's place in the API: ``prefix`` is ``/api/v1`` or ``/apis/<group>/<version>``."""

    prefix: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None = None, name: str = "") -> str:
        """The path of a collection in one or all namespaces, or of one object."""
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.prefix}{middle}/{self.plural}" + (f"/{name}" if name else "")


def _known() -> dict[tuple[str, str], Resource]:
    namespaced = """
        /api/v1 Pod Service Secret ConfigMap ServiceAccount Endpoints Event
        /apis/apps/v1 Deployment ReplicaSet DaemonSet StatefulSet
        /apis/autoscaling/v2 HorizontalPodAutoscaler
        /apis/policy/v1 PodDisruptionBudget
        /apis/batch/v1 Job
        /apis/discovery.k8s.io/v1 EndpointSlice
        /apis/coordination.k8s.io/v1 Lease
        /apis/networking.k8s.io/v1 NetworkPolicy
        /apis/rbac.authorization.k8s.io/v1 Role RoleBinding
        /apis/networking.istio.io/v1 Gateway VirtualService DestinationRule Sidecar
        /apis/networking.istio.io/v1 ServiceEntry WorkloadEntry WorkloadGroup
        /apis/networking.istio.io/v1alpha3 EnvoyFilter
        /apis/security.istio.io/v1 PeerAuthentication AuthorizationPolicy RequestAuthentication
        /apis/telemetry.istio.io/v1 Telemetry
    """
    of_the_cluster = """
        /api/v1 Namespace Node
        /apis/rbac.authorization.k8s.io/v1 ClusterRole ClusterRoleBinding
        /apis/admissionregistration.k8s.io/v1 MutatingWebhookConfiguration
        /apis/admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration
        /apis/admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy
        /apis/admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding
        /apis/apiextensions.k8s.io/v1 CustomResourceDefinition
    """
    known = {}
    for table in (namespaced, of_the_cluster):
        for row in table.strip().splitlines():
            prefix, *kinds = row.split()
            for kind in kinds:
                place = Resource(prefix, _plural(kind), table is namespaced)
                known[group_of(prefix), kind] = place
    return known


def _plural(kind: str) -> str:
    word = kind.lower()
    if word == "endpoints":
        return word
    return f"{word[:-1]}ies" if word.endswith("y") and word != "gateway" else f"{word}s"


def group_of(prefix: str) -> str:
    """The API group of ``/apis/<group>/<version>``; empty for ``/api/v1``."""
    parts = prefix.strip("/").split("/")
    return parts[1] if parts[0] == "apis" else ""


_KNOWN = _known()


class Kinds:
    """Finds the resource of a kind, named by itself or in a manifest.

    A kind by itself may carry its group: ``Pod``, ``Gateway.networking.istio.io``.
    """

    def __init__(self, get: Callable[[str], Any]) -> None:
        self._get = get
        self._lock = threading.Lock()
        self._discovered: dict[str, dict[str, Resource]] = {}

    def named(self, kind: str) -> Resource | None:
        """The resource of a kind, with or without group; ``None`` if unknown."""
        name, _, group = kind.partition(".")
        for (known_group, known_kind), resource in _KNOWN.items():
            if known_kind == name and group in ("", known_group):
                return resource
        return self.served(kind)

    def served(self, kind: str) -> Resource | None:
        """As :meth:`named`, but by asking the cluster, which may serve another version."""
        name, _, group = kind.partition(".")
        document = self._get("/apis")
        for entry in document["groups"]:
            if group in ("", entry["name"]):
                for version in (entry["preferredVersion"], *entry["versions"]):
                    resource = self._version(f"/apis/{version['groupVersion']}", name)
                    if resource:
                        return resource
        return None

    def of(self, api_version: str, kind: str) -> Resource | None:
        """The resource of a manifest; ``None`` if the cluster does not know it."""
        prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        known = _KNOWN.get((group_of(prefix), kind))
        if known:
            return Resource(prefix, known.plural, known.namespaced)
        return self._version(prefix, kind)

    def _version(self, prefix: str, kind: str) -> Resource | None:
        with self._lock:
            found = self._discovered.get(prefix, {}).get(kind)
        if found:
            return found
        try:
            document = self._get(prefix)
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        resources = {
            entry["kind"]: Resource(prefix, entry["name"], entry["namespaced"])
            for entry in document["resources"]
            if "/" not in entry["name"]
        }
        with self._lock:
            self._discovered[prefix] = resources
        return resources.get(kind)
