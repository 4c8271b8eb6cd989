"""Outages, live: requests that go on while an API server, a control plane's sight of a cluster or a gateway is lost, and after that."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...errors import NotInTime, ObservationError
from ...eventually import eventually
from ...faults import Faults, istiods, pods
from ...faults.pods import Workload
from ...observations import Request
from ...probes import manifests
from ...probes.flows import Running, flowing
from ...probes.load import Pulse
from ...probes.traffic import Traffic
from .facts import (
    BACK_OFF_SECONDS,
    STARTING_SECONDS,
    How,
    Isolation,
    Loss,
    Purpose,
    Push,
    Restart,
    Return,
    answered,
    drained,
    drained_after,
    primary_to_lose,
    returns,
    watchers,
    with_last_answer,
)
from .observe_flows import plain_plans, plans
from .observe_services import Services, installed, late_endpoint, pin, spread, wait_settled
from .observe_signs import listening, own_signs

if TYPE_CHECKING:
    from ...kube import Kube


BASELINE_SECONDS = 1.0


PUSH_AFTER_SECONDS = 1.0


LOSS_SECONDS = 14.0
"""How long an API server is lost: long enough for everything that is done meanwhile, several times as long as anything takes."""


SHORT_SECONDS = 8.0


DYING_SECONDS = 5.0
"""How long at least to look on after a pod was deleted by force: its kubelet ends its processes some two seconds after that."""


_MOST_SECONDS = 240.0


_AFTER_SECONDS = 1.0


_LOOK_SECONDS = 0.5


def lose(
    traffic: Traffic,
    kubes: Mapping[str, Kube],
    faults: Faults,
    how: How,
    lost: str,
    *,
    restart: str = "",
) -> Loss:
    """Lose the API server of a cluster and see what becomes of traffic, configuration, endpoints, and what istiods say of it.

    With ``restart``, the control plane in that cluster is restarted meanwhile, and the loss lasts until it is ready again.
    """
    spec = traffic.mesh.spec
    planes = [plane.name for plane in watchers(spec, spec.cluster(lost))]
    config_clusters = [name for name in spec.config_clusters if name != lost]
    with spread(traffic, kubes), installed(traffic, kubes, lost, config_clusters) as services:
        before = _pods(faults, [plane.name for plane in spec.control_planes])
        with (
            Pulse() as pulse,
            flowing(
                traffic, plans(traffic, services, lost), at_most_seconds=_MOST_SECONDS
            ) as running,
        ):
            _rest(BASELINE_SECONDS)
            with running.marked(f"API server of {lost} {how.value}"):
                began = time.time()
                with _lost(faults, how, lost), listening(faults, planes, lost) as ears:
                    pushes, died = _meanwhile(traffic, kubes, running, services, lost)
                    restarted = _restart(faults, running, restart, lost) if restart else None
                    _rest(began + LOSS_SECONDS - time.time())
                    signs, statuses = ears.heard(began), ears.statuses()
                    ended = time.time()
                healed = time.time()
            endpoint_at = _add_endpoint(traffic, kubes, services, lost)
            running.note(f"an endpoint is added in {lost}")
            _wait_returned(traffic, running, lost, endpoint_at)
            _rest(_AFTER_SECONDS)
    timeline = running.timeline
    signs += own_signs(
        faults, [plane.name for plane in spec.control_planes if plane.name == lost], began, ended
    )
    return Loss(
        lost=lost,
        how=how,
        began=began,
        ended=ended,
        healed=healed,
        timeline=timeline,
        planes=tuple(planes),
        statuses=tuple(statuses),
        signs=tuple(sorted(signs, key=lambda sign: sign.after_seconds)),
        pushes=pushes,
        restarted=tuple(
            sorted(set(_pods(faults, [plane.name for plane in spec.control_planes])) - set(before))
        ),
        returns=tuple(returns(timeline, lost, ended, endpoint_at)),
        died=died,
        restart=restarted and with_last_answer(restarted, timeline, spec, lost),
        machine=pulse.machine,
    )


def lose_primary(traffic: Traffic, kubes: Mapping[str, Kube], faults: Faults) -> Loss:
    """Lose the API server of a cluster that serves remote ones, and its control plane with it: they cannot connect to it."""
    spec = traffic.mesh.spec
    primary = primary_to_lose(spec)
    if primary is None:
        raise ObservationError(
            "the mesh", "has no remote clusters", "none is served by a control plane elsewhere"
        )
    plane = next(plane for plane in spec.control_planes if spec.config_cluster(plane) is primary)
    remotes = [cluster.name for cluster in spec.served_by(plane) if cluster.name != plane.name]
    addresses = {
        address
        for remote in remotes
        for address in _control_plane_addresses(kubes[remote], spec.istio_namespace)
    }
    before = _pods(faults, [plane.name])
    with _going_on(traffic, kubes) as running, Pulse() as pulse:
        with running.marked(f"API server of {primary.name} refused, control plane out of reach"):
            began = time.time()
            with (
                _cut_off(faults, sorted(addresses), remotes),
                _lost(faults, How.REFUSED, primary.name),
            ):
                _rest(SHORT_SECONDS)
                ended = time.time()
            healed = time.time()
        _rest(2 * _AFTER_SECONDS)
    return Loss(
        lost=primary.name,
        how=How.REFUSED,
        began=began,
        ended=ended,
        healed=healed,
        timeline=running.timeline,
        planes=(plane.name,),
        restarted=tuple(sorted(set(_pods(faults, [plane.name])) - set(before))),
        machine=pulse.machine,
    )


def isolate(traffic: Traffic, kubes: Mapping[str, Kube], faults: Faults, cluster: str) -> Isolation:
    """Take a cluster out of the mesh by removing its remote secrets, and bring it back."""
    spec = traffic.mesh.spec
    sources = [
        served.name
        for plane in watchers(spec, spec.cluster(cluster))
        for served in spec.served_by(plane)
        if served.name != cluster
    ]
    within = traffic.timeouts.endpoint_propagation
    with _going_on(traffic, kubes) as running, Pulse() as pulse:
        with running.marked(f"remote secrets for {cluster} removed"):
            began = time.time()
            with faults.remote_secret_removed(cluster):
                _wait_for(
                    running,
                    within,
                    lambda timeline: all(
                        drained(timeline, source, cluster, began) for source in sources
                    ),
                )
                _rest(_AFTER_SECONDS)
                ended = time.time()
        _wait_for(
            running,
            within,
            lambda timeline: all(
                answered(timeline, Purpose.PLAIN, source, cluster, ended) for source in sources
            ),
        )
        _rest(_AFTER_SECONDS)
    timeline = running.timeline
    gone = tuple(drained_after(timeline, source, cluster, began, ended) for source in sources)
    first = {
        source: answered(timeline, Purpose.PLAIN, source, cluster, ended) for source in sources
    }
    back = tuple(
        Return(source, when - ended if when else None, None) for source, when in first.items()
    )
    return Isolation(cluster, began, ended, timeline, gone, back, pulse.machine)


@contextmanager
def _going_on(traffic: Traffic, kubes: Mapping[str, Kube]) -> Iterator[Running]:
    """Requests for the probe service from everywhere, which were answered without a failure just before."""
    with spread(traffic, kubes):
        wait_settled(traffic)
        with flowing(traffic, list(plain_plans(traffic)), at_most_seconds=_MOST_SECONDS) as running:
            _rest(BASELINE_SECONDS)
            yield running


@contextmanager
def _lost(faults: Faults, how: How, cluster: str) -> Iterator[None]:
    with (
        faults.apiserver_refused(cluster) if how is How.REFUSED else faults.apiserver_hung(cluster)
    ):
        yield


@contextmanager
def _cut_off(
    faults: Faults, addresses: list[tuple[str, int]], sources: list[str]
) -> Iterator[None]:
    if not addresses:
        yield
        return
    with (
        faults.address_unreachable(*addresses[0], sources),
        _cut_off(faults, addresses[1:], sources),
    ):
        yield


def _meanwhile(
    traffic: Traffic, kubes: Mapping[str, Kube], running: Running, services: Services, lost: str
) -> tuple[tuple[Push, ...], float]:
    """Push a route in every other config cluster, then let the endpoint in the lost cluster die. When that was."""
    spec, namespace = traffic.mesh.spec, traffic.probes.namespace
    _rest(PUSH_AFTER_SECONDS)
    pushes = []
    for config, service in services.pushed.items():
        sources = tuple(
            cluster.name
            for plane in spec.control_planes
            if spec.config_cluster(plane).name == config
            for cluster in spec.served_by(plane)
        )
        pushes.append(Push(config, traffic.host(service), time.time(), sources))
        kubes[config].apply(pin(service), namespace=namespace)
        running.note(f"a route is pushed in {config}")
    for push in pushes:
        _wait_in_force(
            traffic, services, push, [source for source in push.sources if source != lost]
        )
    survivor = next(cluster.name for cluster in spec.data_planes if cluster.name != lost)
    traffic.requests(
        survivor,
        traffic.host(services.killer),
        manifests.HTTP,
        path="/end",
        address=services.addresses.get(survivor, ""),
    )
    running.note(f"an endpoint in {lost} dies")
    return tuple(pushes), time.time()


def _wait_in_force(traffic: Traffic, services: Services, push: Push, sources: list[str]) -> None:
    """Until only the cluster of the pushed route answers; whatever the end, the record tells, and the judge judges."""

    def ask(source: str) -> tuple[Request, ...]:
        return traffic.requests(
            source, push.host, manifests.HTTP, count=5, address=services.addresses.get(source, "")
        )

    def only_there() -> bool:
        sent = traffic.from_each(sources, ask)
        return all(
            request.answer and request.answer.cluster == push.config_cluster
            for requests in sent
            for request in requests
        )

    try:
        eventually(
            only_there,
            bool,
            within_seconds=traffic.timeouts.config_propagation,
            what="the pushed route in force",
        )
    except NotInTime:
        pass


def _restart(faults: Faults, running: Running, plane: str, lost: str) -> Restart:
    scene = faults.scene
    timeout = _remote_timeout(faults, plane)
    with running.marked(f"istiod of {plane} restarted"):
        began = time.time()
        with faults.istiod_restarted(plane) as workload:
            try:
                pod = eventually(
                    lambda: _ready(faults, workload),
                    bool,
                    within_seconds=timeout + 2 * STARTING_SECONDS,
                    what=f'istiod in cluster "{plane}" to be ready',
                ).value
            except NotInTime:
                return Restart(plane, began, None, timeout)
            ready = time.time() - began
        samples = istiods.metrics(scene, plane, pod)
        told = tuple(
            f"{name} {value:g}"
            for name, value in samples.items()
            if "remote_cluster" in name and lost in name and value
        )
        return Restart(
            plane, began, ready, timeout, istiods.sync_status(scene, plane, pod, lost), told
        )


def _ready(faults: Faults, workload: Workload) -> str:
    """The name of the first new pod that is ready; empty while there is none."""
    for pod in pods.pods_of(faults.scene, workload):
        if pod["metadata"]["name"] not in workload.pods and pods.is_ready(pod):
            return str(pod["metadata"]["name"])
    return ""


def _remote_timeout(faults: Faults, plane: str) -> float:
    """``PILOT_REMOTE_CLUSTER_TIMEOUT`` of a control plane; 30 s is Istio's default."""
    deployments = faults.scene.kubes[plane].list(
        "Deployment", faults.scene.mesh.spec.istio_namespace, labels="app=istiod"
    )
    for deployment in deployments:
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            for variable in container.get("env") or ():
                if variable["name"] == "PILOT_REMOTE_CLUSTER_TIMEOUT" and variable.get("value"):
                    return go_duration(variable["value"])
    return 30.0


def go_duration(text: str) -> float:
    """Seconds of a duration as Go writes it: ``10s``, ``1m30s``, ``500ms``."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    return sum(
        float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", text)
    )


def _add_endpoint(
    traffic: Traffic, kubes: Mapping[str, Kube], services: Services, lost: str
) -> float:
    pod = traffic.probes.servers(lost)[0]
    endpoint = late_endpoint(services.late, pod.ip, pod.name, pod.node, traffic.probes.namespace)
    kubes[lost].apply(endpoint, namespace=traffic.probes.namespace)
    return time.time()


def _control_plane_addresses(kube: Kube, namespace: str) -> Iterator[tuple[str, int]]:
    """Where the proxies of a remote cluster reach their control plane."""
    for item in kube.list("EndpointSlice", namespace, labels="kubernetes.io/service-name=istiod"):
        for endpoint in item.get("endpoints") or ():
            for address in endpoint["addresses"]:
                yield str(address), manifests.CONTROL_PLANE[0]


def _rest(seconds: float) -> None:
    """Let things go on for a while."""
    threading.Event().wait(max(0.0, seconds))


def _wait_for(running: Running, within_seconds: float, holds: Any) -> None:
    """Until something holds for what is on record; whatever the end, the record tells, and the judge judges."""
    try:
        eventually(
            running.so_far,
            holds,
            within_seconds=within_seconds,
            what="flows",
            every_seconds=_LOOK_SECONDS,
        )
    except NotInTime:
        pass


def _wait_returned(traffic: Traffic, running: Running, lost: str, since: float) -> None:
    sources = [cluster.name for cluster in traffic.mesh.spec.data_planes]
    within = traffic.timeouts.remote_sync + BACK_OFF_SECONDS
    _wait_for(
        running,
        within,
        lambda timeline: all(
            answered(timeline, Purpose.LATE, source, lost, since) for source in sources
        ),
    )


def _pods(faults: Faults, planes: list[str]) -> list[str]:
    """The pods of control planes with how often their containers were restarted."""
    namespace = faults.scene.mesh.spec.istio_namespace
    found = []
    for plane in planes:
        for pod in faults.scene.kubes[plane].list("Pod", namespace, labels="app=istiod"):
            restarts = sum(
                entry.get("restartCount", 0)
                for entry in pod["status"].get("containerStatuses") or ()
            )
            found.append(f"{plane}: {pod['metadata']['name']} ({restarts} restarts)")
    return found
