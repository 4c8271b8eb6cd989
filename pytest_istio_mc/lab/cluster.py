"""LabCluster: one Kubernetes cluster of a lab, from its first process to a node that is ready."""

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
    """Starts the components in the order in which they need each other and waits for facts, never for a while."""

    def __init__(self, plan: LabPlan, node: NodePlan, inside: Namespaces, port: int) -> None:
        self.plan = plan
        self.node = node
        self.inside = inside
        self.port = port
        self.components = Node(plan, node, inside)
        self.api = AdminApi(node.name, port, plan.folder(node))
        self._load_balancers = LoadBalancers(self.api, node)
        self._ended = threading.Event()

    def start(
        self,
        within_seconds: float,
        note: Callable[[str], None],
        answers: Callable[[], None],
        ended: threading.Event,
    ) -> None:
        """Start everything; returns when the node is ready. :class:`ProvisionError` names the component that failed.

        ``answers`` is called when the apiserver takes requests; ``ended`` is set when the lab is to go down before it is up.
        """
        self._ended = ended
        deadline = time.monotonic() + within_seconds
        began = time.monotonic()

        def after() -> str:
            return f"{time.monotonic() - began:.1f} s"

        self.components.start("etcd", "kube-apiserver", "containerd")
        self._wait("kube-apiserver", self._apiserver_ready, deadline)
        note(f'cluster "{self.node.name}": apiserver ready ({after()})')
        answers()
        self.components.start("kube-controller-manager", "kube-scheduler", "kube-proxy")
        self._wait("containerd", self._containerd_ready, deadline)
        self.components.start("kubelet")
        self._load_balancers.start()
        for path, manifest in addons.coredns(self.node):
            self._wait(
                f"apply {manifest['kind']} {manifest['metadata']['name']}",
                self._applied(path, manifest),
                deadline,
            )
        self._wait("kubelet", self._node_ready, deadline)
        note(f'cluster "{self.node.name}": node ready ({after()})')

    def stop(self) -> None:
        """End every process of the cluster."""
        self._load_balancers.stop()
        for component in self.components.components.values():
            component.abandon()
        self.inside.end()

    def wait_for_apiserver(self, within_seconds: float) -> None:
        """Wait until the apiserver, started anew, takes requests; :class:`ProvisionError` where it does not."""
        self._wait("kube-apiserver", self._apiserver_ready, time.monotonic() + within_seconds)

    def _apiserver_ready(self) -> bool:
        return bool(self.api.request("GET", "/readyz") == "ok")

    def _containerd_ready(self) -> bool:
        log = self.components.components["containerd"].log
        return "containerd successfully booted" in log.read_text(errors="replace")

    def _node_ready(self) -> bool:
        node = self.api.request("GET", f"/api/v1/nodes/{self.node.name}")
        return any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in node["status"]["conditions"]
        )

    def _applied(self, path: str, manifest: dict[str, object]) -> Callable[[], bool]:
        def apply() -> bool:
            self.api.apply(path, manifest)
            return True

        return apply

    def _wait(self, component: str, good: Callable[[], bool], deadline: float) -> None:
        last: object = "no answer yet"
        while True:
            if self._ended.is_set():
                raise ProvisionError(f'cluster "{self.node.name}"', "stopped before it was ready")
            self.components.require_alive()
            try:
                if good():
                    return
                last = "not ready"
            except KubeError as error:
                last = error
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        running = self.components.components.get(component)
        raise ProvisionError(
            f'cluster "{self.node.name}"',
            f"{component} was not ready in time",
            f"last seen: {last}",
            advice="run `istio-mc lab doctor`; on a slow machine give --mesh-timeout-factor=2",
            log_tail=running.tail() if running else (),
        )


def first_error(errors: list[MeshError]) -> MeshError:
    """The error to show when several clusters failed: the first, with the names of the others."""
    first, *others = errors
    if others:
        first.detail = "; ".join(
            part
            for part in (first.detail, f"also failed: {', '.join(e.thing for e in others)}")
            if part
        )
    return first
