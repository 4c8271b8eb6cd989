"""LabCluster: one Kubernetes cluster, from its first process to a ready node."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import KubeError, MeshError, ProvisionError
from . import addons
from .api import AdminApi
from .loadbalancer import LoadBalancers
from .namespaces import Namespaces
from .node import Node
from .plan import LabPlan, NodePlan

_POLL_SECONDS = 0.05


class LabCluster:
    """Starts components in the order of their needs, and waits only for facts."""

    def __init__(self, plan: LabPlan, node: NodePlan, inside: Namespaces, port: int) -> None:
        self.node = node
        self._thing = f'cluster "{node.name}"'
        self._inside = inside
        self._node = Node(plan, node, inside)
        self.components = self._node.components
        self._api = AdminApi(node.name, port, plan.folder(node))
        self._load_balancers = LoadBalancers(self._api, node)
        self._ended = threading.Event()

    def start(
        self,
        within_seconds: float,
        note: Callable[[str], None],
        answers: Callable[[], None],
        ended: threading.Event,
    ) -> None:
        """Start everything and return when the node is ready.

        - ``answers`` is called when the apiserver takes requests.
        - ``ended`` is set when the lab must go down before it is up.
        - :class:`ProvisionError` names the component that failed.
        """
        self._ended = ended
        began = time.monotonic()
        deadline = began + within_seconds

        def after() -> str:
            return f"{time.monotonic() - began:.1f} s"

        self._node.start("etcd", "kube-apiserver", "containerd")
        self._wait("kube-apiserver", self._apiserver_ready, deadline)
        note(f"{self._thing}: apiserver ready ({after()})")
        answers()
        self._node.start("kube-controller-manager", "kube-scheduler", "kube-proxy")
        self._wait("containerd", self._containerd_ready, deadline)
        self._node.start("kubelet")
        self._load_balancers.start()
        for path, manifest in addons.coredns(self.node):
            step = f"apply {manifest['kind']} {manifest['metadata']['name']}"
            self._wait(step, self._applied(path, manifest), deadline)
        self._wait("kubelet", self._node_ready, deadline)
        note(f"{self._thing}: node ready ({after()})")

    def stop(self) -> None:
        """End every process of the cluster."""
        self._load_balancers.stop()
        for component in self.components.values():
            component.abandon()
        self._inside.end()

    def wait_for_apiserver(self, within_seconds: float) -> None:
        """Wait until the apiserver, started anew, takes requests.

        Raises :class:`ProvisionError` where it does not.
        """
        self._wait("kube-apiserver", self._apiserver_ready, time.monotonic() + within_seconds)

    def _apiserver_ready(self) -> bool:
        return bool(self._api.request("GET", "/readyz") == "ok")

    def _containerd_ready(self) -> bool:
        log = self.components["containerd"].log
        return "containerd successfully booted" in log.read_text(errors="replace")

    def _node_ready(self) -> bool:
        node = self._api.request("GET", f"/api/v1/nodes/{self.node.name}")
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in node["status"]["conditions"]
        )

    def _applied(self, path: str, manifest: dict[str, object]) -> Callable[[], bool]:
        def apply() -> bool:
            self._api.apply(path, manifest)
            return True

        return apply

    def _wait(self, component: str, good: Callable[[], bool], deadline: float) -> None:
        last: object = "no answer yet"
        while True:
            if self._ended.is_set():
                raise ProvisionError(self._thing, "stopped before it was ready")
            self._node.require_alive()
            try:
                if good():
                    return
                last = "not ready"
            except KubeError as error:
                last = error
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        running = self.components.get(component)
        raise ProvisionError(
            self._thing,
            f"{component} was not ready in time",
            f"last seen: {last}",
            advice="run `istio-mc lab doctor`; on a slow machine give --mesh-timeout-factor=2",
            log_tail=running.tail() if running else (),
        )


def first_error(errors: list[MeshError]) -> MeshError:
    """The first of several clusters' errors, with the names of the others."""
    first, *others = errors
    if others:
        also = f"also failed: {', '.join(error.thing for error in others)}"
        first.detail = f"{first.detail}; {also}" if first.detail else also
    return first
