"""Restarts control planes during losses, and looks at their pods."""

from __future__ import annotations

import re
import time

from ...errors import NotInTime
from ...eventually import eventually
from ...faults import Faults, Scene, Workload, istiods, pods
from ...istio_names import ISTIOD_PODS
from ...probes.flows import Running
from .facts import STARTING_SECONDS, Restart


def restarted(faults: Faults, running: Running, plane: str, lost: str) -> Restart:
    """Restart a control plane while a cluster is lost, and ask it about that cluster."""
    scene = faults.scene
    timeout = _remote_timeout(scene, plane)
    with running.marked(f"istiod of {plane} restarted"):
        began = time.time()
        with faults.istiod_restarted(plane) as workload:
            try:
                pod = eventually(
                    lambda: _ready(scene, workload),
                    bool,
                    within_seconds=timeout + 2 * STARTING_SECONDS,
                    what=f'istiod in cluster "{plane}" to be ready',
                ).value
            except NotInTime:
                return Restart(plane, began, None, timeout)
            ready = time.time() - began
        told = tuple(
            f"{name} {value:g}"
            for name, value in istiods.metrics(scene, plane, pod).items()
            if "remote_cluster" in name and lost in name and value
        )
        status = istiods.sync_status(scene, plane, pod, lost)
    return Restart(plane, began, ready, timeout, status, told)


def _ready(scene: Scene, workload: Workload) -> str:
    """The name of the first new pod that is ready; empty while there is none."""
    for pod in pods.pods_of(scene, workload):
        if pod["metadata"]["name"] not in workload.pods and pods.is_ready(pod):
            return str(pod["metadata"]["name"])
    return ""


def _remote_timeout(scene: Scene, plane: str) -> float:
    """``PILOT_REMOTE_CLUSTER_TIMEOUT`` of a control plane; 30 s is Istio's default."""
    namespace = scene.mesh.spec.istio_namespace
    for deployment in scene.kubes[plane].list("Deployment", namespace, labels=ISTIOD_PODS):
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            for variable in container.get("env") or ():
                if variable["name"] == "PILOT_REMOTE_CLUSTER_TIMEOUT" and variable.get("value"):
                    return go_duration(variable["value"])
    return 30.0


def go_duration(text: str) -> float:
    """Seconds of a duration as Go writes it: ``10s``, ``1m30s``, ``500ms``."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    parts = re.findall(r"([\d.]+)(ms|h|m|s)", text)
    return sum(float(number) * units[unit] for number, unit in parts)


def istiod_pods(scene: Scene, planes: list[str]) -> set[str]:
    """The pods of control planes, each with how often its containers were restarted."""
    namespace = scene.mesh.spec.istio_namespace
    found = set()
    for plane in planes:
        for pod in scene.kubes[plane].list("Pod", namespace, labels=ISTIOD_PODS):
            containers = pod["status"].get("containerStatuses") or ()
            restarts = sum(entry.get("restartCount", 0) for entry in containers)
            found.add(f"{plane}: {pod['metadata']['name']} ({restarts} restarts)")
    return found
