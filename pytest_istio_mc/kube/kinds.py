"""Kinds: where in the API the objects of a kind live; the common ones by heart, the others by asking."""

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
        """The path of the collection (of one namespace, or of all), or of one object in it."""
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.prefix}{middle}/{self.plural}" + (f"/{name}" if name else "")


def _known() -> dict[tuple[str, str], Resource]:
    table = """
        /api/v1 pods,services,secrets,configmaps,serviceaccounts,endpoints,events yes Pod,Service,Secret,ConfigMap,ServiceAccount,Endpoints,Event
        /api/v1 namespaces,nodes no Namespace,Node
        /apis/apps/v1 deployments,replicasets,daemonsets,statefulsets yes Deployment,ReplicaSet,DaemonSet,StatefulSet
        /apis/autoscaling/v2 horizontalpodautoscalers yes HorizontalPodAutoscaler
        /apis/policy/v1 poddisruptionbudgets yes PodDisruptionBudget
        /apis/batch/v1 jobs yes Job
        /apis/discovery.k8s.io/v1 endpointslices yes EndpointSlice
        /apis/coordination.k8s.io/v1 leases yes Lease
        /apis/networking.k8s.io/v1 networkpolicies yes NetworkPolicy
        /apis/rbac.authorization.k8s.io/v1 roles,rolebindings yes Role,RoleBinding
        /apis/rbac.authorization.k8s.io/v1 clusterroles,clusterrolebindings no ClusterRole,ClusterRoleBinding
        /apis/admissionregistration.k8s.io/v1 mutatingwebhookconfigurations no MutatingWebhookConfiguration
        /apis/admissionregistration.k8s.io/v1 validatingwebhookconfigurations no ValidatingWebhookConfiguration
        /apis/admissionregistration.k8s.io/v1 validatingadmissionpolicies no ValidatingAdmissionPolicy
        /apis/admissionregistration.k8s.io/v1 validatingadmissionpolicybindings no ValidatingAdmissionPolicyBinding
        /apis/apiextensions.k8s.io/v1 customresourcedefinitions no CustomResourceDefinition
        /apis/networking.istio.io/v1 gateways,virtualservices,destinationrules yes Gateway,VirtualService,DestinationRule
        /apis/networking.istio.io/v1 serviceentries,workloadentries,workloadgroups yes ServiceEntry,WorkloadEntry,WorkloadGroup
        /apis/networking.istio.io/v1 sidecars yes Sidecar
        /apis/networking.istio.io/v1alpha3 envoyfilters yes EnvoyFilter
        /apis/security.istio.io/v1 peerauthentications,authorizationpolicies yes PeerAuthentication,AuthorizationPolicy
        /apis/security.istio.io/v1 requestauthentications yes RequestAuthentication
        /apis/telemetry.istio.io/v1 telemetries yes Telemetry
    """
    known = {}
    for row in table.strip().splitlines():
        prefix, plurals, namespaced, kinds = row.split()
        for plural, kind in zip(plurals.split(","), kinds.split(","), strict=True):
            known[group_of(prefix), kind] = Resource(prefix, plural, namespaced == "yes")
    return known


def group_of(prefix: str) -> str:
    """The API group of ``/apis/<group>/<version>``; empty for ``/api/v1``."""
    parts = prefix.strip("/").split("/")
    return parts[1] if parts[0] == "apis" else ""


_KNOWN = _known()


class Kinds:
    """Finds resources by kind (``Pod``, ``Gateway.networking.istio.io``) or by a manifest's ``apiVersion`` and ``kind``."""

    def __init__(self, get: Callable[[str], Any]) -> None:
        self._get = get
        self._lock = threading.Lock()
        self._discovered: dict[str, dict[str, Resource]] = {}

    def named(self, kind: str) -> Resource | None:
        """The resource of a kind that may carry its group; ``None`` where this cluster does not have it."""
        name, _, group = kind.partition(".")
        for (known_group, known_kind), resource in _KNOWN.items():
            if known_kind == name and group in ("", known_group):
                return resource
        return self.served(kind)

    def served(self, kind: str) -> Resource | None:
        """As :meth:`named`, but by asking the cluster; for what it serves in another version than the usual one."""
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
        """The resource of a manifest; ``None`` where this cluster does not have it (yet)."""
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
