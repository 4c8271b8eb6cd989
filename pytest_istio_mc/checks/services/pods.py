"""Pods: those of a cluster by their labels, found without looking at each for each selector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from ...istio_names import EXCLUDED_PORTS, INCLUDED_PORTS, NETWORK_LABEL
from ...snapshot import ClusterSnapshot, annotations_of, labels_of, name_of, namespace_of

TLS_MODE = "security.istio.io/tlsMode"
"""A label that injection gives to pods with a sidecar (istio/istio, pkg/kube/inject)."""

INJECT = "sidecar.istio.io/inject"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod by its metadata."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def has_sidecar(self) -> bool:
        """Whether it was injected, or says itself that it speaks mutual TLS."""
        return self.labels.get(TLS_MODE) == "istio" or "istio.io/rev" in self.annotations

    @property
    def declines(self) -> bool:
        """Whether it asks for no sidecar."""
        return "false" in (self.labels.get(INJECT), self.annotations.get(INJECT))

    def bypasses(self, port: int) -> bool:
        """Whether requests for a port may reach the container past the sidecar; 0 is any port."""
        left_out = self.annotations.get(EXCLUDED_PORTS, "")
        taken = self.annotations.get(INCLUDED_PORTS, "*")
        if not port:
            return bool(left_out) or taken != "*"
        return str(port) in _listed(left_out) or not {"*", str(port)} & _listed(taken)

    @property
    def network(self) -> str:
        """The network that its label names; empty where it has none."""
        return self.labels.get(NETWORK_LABEL, "")


def _listed(text: str) -> set[str]:
    return {one.strip() for one in text.split(",")}


class Pods:
    """The pods of one cluster; :class:`ObservationError` where they were not recorded."""

    def __init__(self, cluster: ClusterSnapshot) -> None:
        self.all = tuple(
            Pod(name_of(item), namespace_of(item), labels_of(item), annotations_of(item))
            for item in cluster.listed("PodMetadata")
        )

    @cached_property
    def by_namespace(self) -> Mapping[str, tuple[Pod, ...]]:
        """All pods, by namespace."""
        found: dict[str, list[Pod]] = defaultdict(list)
        for pod in self.all:
            found[pod.namespace].append(pod)
        return {namespace: tuple(pods) for namespace, pods in found.items()}

    @cached_property
    def _by_label(self) -> Mapping[tuple[str, str, str], tuple[Pod, ...]]:
        found: dict[tuple[str, str, str], list[Pod]] = defaultdict(list)
        for pod in self.all:
            for key, value in pod.labels.items():
                found[pod.namespace, key, value].append(pod)
        return {key: tuple(pods) for key, pods in found.items()}

    def selected(self, namespace: str, selector: Mapping[str, str]) -> tuple[Pod, ...]:
        """The pods of a namespace with these labels; all of it without any."""
        if not selector:
            return self.by_namespace.get(namespace, ())
        lists = [self._by_label.get((namespace, *one), ()) for one in selector.items()]
        fewest = min(lists, key=len)
        return tuple(pod for pod in fewest if selector.items() <= pod.labels.items())

    def with_sidecar(self, namespace: str) -> Iterator[Pod]:
        """The pods of a namespace that are in the mesh."""
        return (pod for pod in self.by_namespace.get(namespace, ()) if pod.has_sidecar)
