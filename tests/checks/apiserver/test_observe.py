"""Outages on a real mesh that does not stand them: the checks say so, and for the right reason."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pytest_istio_mc.checks import replies
from pytest_istio_mc.checks.apiserver import losses, observe, observe_services
from pytest_istio_mc.checks.apiserver.facts import How, Isolation, Loss
from pytest_istio_mc.checks.apiserver.fault import (
    configuration_goes_on,
    converges_again,
    dead_endpoints_ejected,
    hanging,
    isolation,
    remotes_go_on,
    restarted_control_plane,
    traffic_goes_on,
    visible,
)
from pytest_istio_mc.checks.apiserver.observe import _lost, isolate
from pytest_istio_mc.checks.apiserver.observe_services import _OUTLIERS, only_way, pin
from pytest_istio_mc.checks.eastwest.fault import gateway_pod_lost
from pytest_istio_mc.checks.eastwest.observe import _lose_gateway_pod
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.faults import Faults, Workload, pods
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.connecting import connected
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import GatewayAddress
from pytest_istio_mc.probes import workloads
from pytest_istio_mc.probes.paths import gateway_addresses
from pytest_istio_mc.probes.traffic import Traffic, open_traffic
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.verdicts import Verdict
from tests.conftest import LabMesh

pytestmark = pytest.mark.lab

TIMEOUTS = Timeouts(kube_request=5.0, remote_sync=8.0, config_propagation=12.0)
"""Less patience than users have, for what a spoilt mesh never does."""
LOSS_SECONDS = 24.0
"""Longer than else: the endpoint dies only after a route that is never in force has been waited for."""
LOST, OTHER = "cluster2", "cluster1"


@dataclass(frozen=True)
class Scenery:
    """A mesh with probes and traffic through it, and what can be broken there."""

    mesh: Mesh
    kubes: Mapping[str, Kube]
    traffic: Traffic
    faults: Faults

    def lose(self, how: How, **more: Any) -> Loss:
        """Lose the API server; then restart the control planes, which watch it again only after a pause that grows from loss to loss."""
        loss = observe.lose(self.traffic, self.kubes, self.faults, how, LOST, **more)
        for cluster in (LOST, OTHER):
            with pods.istiod_restarted(self.faults.scene, cluster):
                pass
        return loss


@pytest.fixture(scope="module")
def scenery(lab_mesh: LabMesh) -> Iterator[Scenery]:
    run = replace(lab_mesh.mesh, run_id=f"outages-{os.getpid()}")
    with (
        connected(lab_mesh.mesh, TIMEOUTS) as kubes,
        workloads.deployed(run, kubes, TIMEOUTS, Progress()) as mesh,
        open_traffic(mesh, kubes, TIMEOUTS) as traffic,
    ):
        yield Scenery(mesh, kubes, traffic, Faults(mesh, kubes, TIMEOUTS))


@pytest.fixture(autouse=True)
def judged_however_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is spoilt here must be found on a machine that has too much to do, too, on which else nothing is held against a mesh."""
    monkeypatch.setattr(replies, "CROWD", math.inf)
    monkeypatch.setattr(replies, "STANDSTILL_CROWD", math.inf)
    for module in (losses, observe):
        monkeypatch.setattr(module, "BACK_OFF_SECONDS", 0.0)


def faults_of(verdict: Verdict) -> set[str]:
    """The names of what was found wrong; a failure shows the verdict."""
    print(f"{verdict.check} {verdict.outcome.value}: {verdict.reason}")
    return {finding.fault for finding in verdict.findings}


def misrouted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The routes that are applied are for a gateway, and were forgotten for the mesh."""

    def for_a_gateway(service: str) -> Any:
        route = pin(service)
        return route | {"spec": route["spec"] | {"gateways": ["ingress"]}}

    monkeypatch.setattr(observe, "pin", for_a_gateway)


def test_a_cluster_that_leaves_the_mesh_with_its_api_server(
    scenery: Scenery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody removes its remote secret as soon as its API server is gone, and does not think of it when it is back."""
    lost: Callable[..., AbstractContextManager[None]] = _lost
    with ExitStack() as later:

        @contextmanager
        def dropped(faults: Faults, how: How, cluster: str) -> Iterator[None]:
            later.enter_context(faults.remote_secret_removed(cluster))
            with lost(faults, how, cluster):
                yield

        monkeypatch.setattr(observe, "_lost", dropped)
        loss = scenery.lose(How.REFUSED)

    assert "loss-takes-endpoints" in faults_of(traffic_goes_on(scenery.mesh, loss))
    assert "loss-takes-endpoints" in faults_of(remotes_go_on(scenery.mesh, loss, loss))
    assert faults_of(converges_again(scenery.mesh, loss, TIMEOUTS)) == {
        "endpoints-stay-stale-after-loss"
    }


def test_a_mesh_that_neither_ejects_nor_pushes_nor_tells(
    scenery: Scenery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outlier detection waits for a thousand errors in a row, and the route is not for sidecars. That nobody tells of a refused API server
    is Istio's own way: only because an istiod that is restarted meanwhile does, that check is conformant on a healthy mesh."""
    misrouted(monkeypatch)
    monkeypatch.setattr(observe, "LOSS_SECONDS", LOSS_SECONDS)
    monkeypatch.setattr(observe_services, "_OUTLIERS", _OUTLIERS | {"consecutive5xxErrors": 1000})

    loss = scenery.lose(How.REFUSED)

    assert faults_of(dead_endpoints_ejected(scenery.mesh, loss)) == {"dead-endpoint-not-ejected"}
    assert faults_of(configuration_goes_on(scenery.mesh, loss, TIMEOUTS)) == {
        "no-pushes-during-loss"
    }
    assert faults_of(visible(scenery.mesh, loss, loss)) == {"loss-is-silent"}


def test_a_control_plane_that_does_not_start_without_the_lost_cluster(
    scenery: Scenery, monkeypatch: pytest.MonkeyPatch
) -> None:
    misrouted(monkeypatch)
    monkeypatch.setattr(observe, "STARTING_SECONDS", 2.0)

    @contextmanager
    def never_started(cluster: str) -> Iterator[Workload]:
        workload = pods.workload(scenery.faults.scene, cluster, "istio-system", "app=istiod")
        with pods.scaled(scenery.faults.scene, workload, 0):
            yield workload

    monkeypatch.setattr(scenery.faults, "istiod_restarted", never_started)

    loss = scenery.lose(How.HUNG, restart=OTHER)

    assert faults_of(restarted_control_plane(scenery.mesh, loss)) == {
        "istiod-blocked-by-lost-cluster"
    }
    assert "no-pushes-during-loss" in faults_of(hanging(scenery.mesh, loss, TIMEOUTS))


def test_remote_secrets_that_somebody_puts_back_at_once(
    scenery: Scenery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenery.faults, "remote_secret_removed", lambda cluster: nullcontext(()))

    assert faults_of(
        judged(scenery, isolate(scenery.traffic, scenery.kubes, scenery.faults, LOST))
    ) == {"isolation-does-not-drain"}


def test_remote_secrets_that_are_not_put_back(
    scenery: Scenery, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = scenery.faults.remote_secret_removed
    with ExitStack() as later:

        @contextmanager
        def forgotten(cluster: str) -> Iterator[Any]:
            yield later.enter_context(removed(cluster))

        monkeypatch.setattr(scenery.faults, "remote_secret_removed", forgotten)
        isolated = isolate(scenery.traffic, scenery.kubes, scenery.faults, LOST)

    assert faults_of(judged(scenery, isolated)) == {"isolation-does-not-end"}


def judged(scenery: Scenery, isolated: Isolation) -> Verdict:
    return isolation(scenery.mesh, isolated, TIMEOUTS)


def test_a_gateway_that_nobody_reaches_any_more_after_the_loss_of_a_pod(
    scenery: Scenery, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = scenery.faults.gateway_killed
    with ExitStack() as later:

        @contextmanager
        def cut_off(gateway: GatewayAddress) -> Iterator[Workload]:
            with killed(gateway) as workload:
                later.enter_context(
                    scenery.faults.gateway_unreachable(
                        gateway, scenery.mesh.spec.cluster(OTHER).network
                    )
                )
                yield workload

        monkeypatch.setattr(scenery.faults, "gateway_killed", cut_off)
        gateway = next(
            entry
            for entry in gateway_addresses(scenery.mesh.spec, scenery.kubes)
            if entry.cluster == LOST
        )
        with only_way(scenery.traffic, scenery.kubes, gateway.network) as services:
            loss = _lose_gateway_pod(scenery.traffic, scenery.faults, gateway, *services)

    assert faults_of(gateway_pod_lost(scenery.mesh, [loss], TIMEOUTS)) == {"gateway-loss-lasts"}
