"""Losses on a real mesh that does not stand them: the checks say so, and for the right reason."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks import excuses
from pytest_istio_mc.checks.apiserver import losses, observe, observe_istiods, observe_services
from pytest_istio_mc.checks.apiserver.control_planes import restarted_control_plane, visible
from pytest_istio_mc.checks.apiserver.facts import How, Loss
from pytest_istio_mc.checks.apiserver.fault import (
    configuration_goes_on,
    converges_again,
    dead_endpoints_ejected,
    hanging,
    remotes_go_on,
    traffic_goes_on,
)
from pytest_istio_mc.checks.apiserver.isolation import isolation
from pytest_istio_mc.checks.apiserver.observe import _lost
from pytest_istio_mc.checks.apiserver.observe_services import _OUTLIERS, only_in, pin
from pytest_istio_mc.checks.eastwest.fault import gateway_pod_lost
from pytest_istio_mc.checks.eastwest.observe import _lose_gateway_pod
from pytest_istio_mc.checks.site import Here, Site
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.faults import Faults, Workload, pods
from pytest_istio_mc.kube.connecting import connected
from pytest_istio_mc.observations import GatewayAddress
from pytest_istio_mc.probes import workloads
from pytest_istio_mc.probes.traffic import open_traffic
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.spec import Role
from pytest_istio_mc.verdicts import Verdict
from tests.checks.open_site import OpenSite
from tests.conftest import LabMesh

pytestmark = pytest.mark.lab

TIMEOUTS = Timeouts(kube_request=5.0, remote_sync=8.0, config_propagation=12.0)
"""Less patience than users have, for what a spoilt mesh never does."""
LOSS_SECONDS = 24.0
"""Longer than else: the endpoint only dies after the wait for a route that is never in force."""
LOST, OTHER = "cluster2", "cluster1"


@pytest.fixture(scope="module")
def site(lab_mesh: LabMesh) -> Iterator[Site]:
    run = replace(lab_mesh.mesh, run_id=f"losses-{os.getpid()}")
    with (
        connected(lab_mesh.mesh.spec, TIMEOUTS) as kubes,
        workloads.deployed(run, kubes, TIMEOUTS, Progress()) as mesh,
        open_traffic(mesh, kubes, TIMEOUTS) as traffic,
    ):
        yield OpenSite(mesh, kubes, traffic, TIMEOUTS)


@pytest.fixture(autouse=True)
def judged_however_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is spoilt here must be found on a machine that has too much to do, too.

    Else nothing that goes wrong there is held against a mesh.
    """
    monkeypatch.setattr(excuses, "CROWD", math.inf)
    monkeypatch.setattr(excuses, "STANDSTILL_CROWD", math.inf)
    for module in (losses, observe):
        monkeypatch.setattr(module, "BACK_OFF_SECONDS", 0.0)


def lose(site: Site, observed: Callable[[Site], Loss | None]) -> Loss:
    """Lose the API server, then restart the control planes.

    They watch it again only after a pause that grows from loss to loss.
    """
    loss = observed(site)
    for cluster in (LOST, OTHER):
        with pods.istiod_restarted(site.faults().scene, cluster):
            pass
    assert loss is not None
    return loss


def with_remote(here: Here) -> Here:
    """The same mesh as if the lost cluster were a remote one."""
    spec = here.mesh.spec
    clusters = (
        replace(cluster, role=Role.REMOTE, control_plane=OTHER) if cluster.name == LOST else cluster
        for cluster in spec
    )
    return replace(here, mesh=replace(here.mesh, spec=replace(spec, clusters=tuple(clusters))))


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
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody removes its remote secret when its API server goes, and forgets it afterwards."""
    lost: Callable[..., AbstractContextManager[None]] = _lost
    with ExitStack() as later:

        @contextmanager
        def dropped(faults: Faults, how: How, cluster: str) -> Iterator[None]:
            later.enter_context(faults.remote_secret_removed(cluster))
            with lost(faults, how, cluster):
                yield

        monkeypatch.setattr(observe, "_lost", dropped)
        loss = lose(site, observe.refused)

    assert "loss-takes-endpoints" in faults_of(traffic_goes_on(site.here, loss))
    remotes = remotes_go_on(with_remote(site.here), loss, loss)
    assert "loss-takes-endpoints" in faults_of(remotes)
    assert faults_of(converges_again(site.here, loss)) == {"endpoints-stay-stale-after-loss"}


def test_a_mesh_that_neither_ejects_nor_pushes_nor_tells(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outlier detection waits for a thousand errors in a row, the route is not for sidecars.

    That nobody tells of a refused API server is Istio's own way: only because an istiod that is
    restarted meanwhile does, that check is conformant on a healthy mesh.
    """
    misrouted(monkeypatch)
    monkeypatch.setattr(observe, "LOSS_SECONDS", LOSS_SECONDS)
    monkeypatch.setattr(observe_services, "_OUTLIERS", _OUTLIERS | {"consecutive5xxErrors": 1000})

    loss = lose(site, observe.refused)

    assert faults_of(dead_endpoints_ejected(site.here, loss)) == {"dead-endpoint-not-ejected"}
    assert faults_of(configuration_goes_on(site.here, loss)) == {"no-pushes-during-loss"}
    assert faults_of(visible(site.here, loss, loss)) == {"loss-is-silent"}


def test_a_control_plane_that_does_not_start_without_the_lost_cluster(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    misrouted(monkeypatch)
    monkeypatch.setattr(observe_istiods, "STARTING_SECONDS", 2.0)

    @contextmanager
    def never_started(faults: Faults, cluster: str) -> Iterator[Workload]:
        workload = pods.workload(faults.scene, cluster, "istio-system", "app=istiod")
        with pods.scaled(faults.scene, workload, 0):
            yield workload

    monkeypatch.setattr(Faults, "istiod_restarted", never_started)

    loss = lose(site, observe.hung)

    blocked = restarted_control_plane(site.here, loss)
    assert faults_of(blocked) == {"istiod-blocked-by-lost-cluster"}
    assert "no-pushes-during-loss" in faults_of(hanging(site.here, loss))


def test_remote_secrets_that_somebody_puts_back_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Faults, "remote_secret_removed", lambda *_: nullcontext(()))

    isolated = observe.isolated(site)

    assert faults_of(isolation(site.here, isolated)) == {"isolation-does-not-drain"}


def test_remote_secrets_that_are_not_put_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    removed = Faults.remote_secret_removed
    with ExitStack() as later:

        @contextmanager
        def forgotten(faults: Faults, cluster: str) -> Iterator[Any]:
            yield later.enter_context(removed(faults, cluster))

        monkeypatch.setattr(Faults, "remote_secret_removed", forgotten)
        isolated = observe.isolated(site)

    assert faults_of(isolation(site.here, isolated)) == {"isolation-does-not-end"}


def test_a_gateway_that_nobody_reaches_any_more_after_the_loss_of_a_pod(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Faults.gateway_killed
    with ExitStack() as later:

        @contextmanager
        def cut_off(faults: Faults, gateway: GatewayAddress) -> Iterator[Workload]:
            with killed(faults, gateway) as workload:
                unreachable = faults.address_unreachable(gateway.address, gateway.port, [OTHER])
                later.enter_context(unreachable)
                yield workload

        monkeypatch.setattr(Faults, "gateway_killed", cut_off)
        gateway = next(entry for entry in site.gateways() if entry.cluster == LOST)
        with only_in(site, gateway.network) as services:
            loss = _lose_gateway_pod(site.traffic(), site.faults(), gateway, *services)

    assert faults_of(gateway_pod_lost(site.here, [loss])) == {"gateway-loss-lasts"}
