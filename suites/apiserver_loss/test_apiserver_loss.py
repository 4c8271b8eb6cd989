"""A cluster's API server is lost: what goes on, what goes stale, who says so, and how the mesh gets over it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_istio_mc.checks.apiserver.facts import (
    How,
    Isolation,
    Loss,
    cluster_to_lose,
    primary_to_lose,
    watchers,
)
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
from pytest_istio_mc.checks.apiserver.losses import push_seconds
from pytest_istio_mc.checks.apiserver.observe import isolate, lose, lose_primary
from pytest_istio_mc.eventually import Converged, Timeouts
from pytest_istio_mc.faults import Faults
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.session.run import Run
from pytest_istio_mc.spec import Role


@pytest.fixture(scope="module")
def refused(
    mesh_run: Run, mesh: Mesh, traffic: Traffic, kubes: Mapping[str, Kube], faults: Faults
) -> Loss | None:
    """The API server of one cluster gone for a while, and back; nothing else is touched."""
    lost = cluster_to_lose(mesh.spec)
    if lost is None:
        return None
    return mesh_run.once(
        "refused", Loss, lambda: lose(traffic, kubes, faults, How.REFUSED, lost.name)
    )


@pytest.fixture(scope="module")
def hung(
    mesh_run: Run, mesh: Mesh, traffic: Traffic, kubes: Mapping[str, Kube], faults: Faults
) -> Loss | None:
    """The API server of the same cluster hung for a while, during which a control plane elsewhere is restarted."""
    lost = cluster_to_lose(mesh.spec)
    if lost is None:
        return None
    plane = watchers(mesh.spec, lost)[0].name
    return mesh_run.once(
        "hung", Loss, lambda: lose(traffic, kubes, faults, How.HUNG, lost.name, restart=plane)
    )


@pytest.fixture(scope="module")
def primary(
    mesh_run: Run, mesh: Mesh, traffic: Traffic, kubes: Mapping[str, Kube], faults: Faults
) -> Loss | None:
    """The API server of a primary gone, and its control plane out of reach of its remote clusters."""
    if primary_to_lose(mesh.spec) is None:
        return None
    return mesh_run.once("primary", Loss, lambda: lose_primary(traffic, kubes, faults))


@pytest.mark.mesh_check("MC-APISERVER-001")
def test_traffic_goes_on_while_an_api_server_is_lost(
    mesh: Mesh, refused: Loss | None, expect: Expect
) -> None:
    """New connections, kept ones and streams, to, from and between all clusters."""
    expect(traffic_goes_on(mesh, refused))


@pytest.mark.mesh_check("MC-APISERVER-002")
def test_endpoints_that_die_meanwhile_are_ejected(
    mesh: Mesh, refused: Loss | None, expect: Expect
) -> None:
    """No control plane can take them away; the failed requests that it takes to eject them are counted."""
    expect(dead_endpoints_ejected(mesh, refused))


@pytest.mark.mesh_check("MC-APISERVER-003")
def test_control_planes_elsewhere_go_on_pushing(
    mesh: Mesh, refused: Loss | None, timeouts: Timeouts, expect: Expect
) -> None:
    """A route applied in another cluster meanwhile is in force in the proxies of that control plane."""
    _tell_pushes(refused, expect)

    expect(configuration_goes_on(mesh, refused, timeouts))


@pytest.mark.mesh_check("MC-APISERVER-004")
def test_a_control_plane_restarted_meanwhile_becomes_ready(
    mesh: Mesh, hung: Loss | None, expect: Expect
) -> None:
    """Without the lost cluster, and after no more than the time that it is told to wait for it."""
    if hung is not None and hung.restart is not None and hung.restart.ready_seconds is not None:
        _tell(
            expect,
            f"istiod of {hung.restart.plane} ready without {hung.lost}",
            hung.restart.ready_seconds,
        )

    expect(restarted_control_plane(mesh, hung))


@pytest.mark.mesh_check("MC-APISERVER-005")
def test_the_loss_can_be_told(
    mesh: Mesh, refused: Loss | None, hung: Loss | None, expect: Expect
) -> None:
    """From a status, a metric or a log; the certificate says from which, after how long, and from which not."""
    expect(visible(mesh, refused, hung))


@pytest.mark.mesh_check("MC-APISERVER-006")
def test_endpoints_converge_when_the_api_server_is_back(
    mesh: Mesh, refused: Loss | None, timeouts: Timeouts, expect: Expect
) -> None:
    """A new endpoint of that cluster answers everywhere, and no control plane was restarted for it."""
    for entry in refused.returns if refused is not None else ():
        if entry.seconds is not None:
            _tell(
                expect,
                f"{entry.source} sees a new endpoint of a cluster whose API server was lost",
                entry.seconds,
            )

    expect(converges_again(mesh, refused, timeouts))


@pytest.mark.mesh_check("MC-APISERVER-007")
def test_a_cluster_can_be_isolated_and_brought_back(
    mesh_run: Run,
    mesh: Mesh,
    traffic: Traffic,
    kubes: Mapping[str, Kube],
    faults: Faults,
    timeouts: Timeouts,
    expect: Expect,
) -> None:
    """By removing its remote secrets and adding them again, without a failed request elsewhere."""
    cluster = cluster_to_lose(mesh.spec)
    isolated = (
        mesh_run.once("isolated", Isolation, lambda: isolate(traffic, kubes, faults, cluster.name))
        if cluster
        else None
    )
    for entry in isolated.drained if isolated else ():
        if entry.seconds is not None:
            _tell(
                expect, f"{entry.source} sends nothing more to an isolated cluster", entry.seconds
            )

    expect(isolation(mesh, isolated, timeouts))


@pytest.mark.mesh_check("MC-APISERVER-008")
def test_remote_clusters_go_on_without_their_own_and_their_primarys_api_server(
    mesh: Mesh, refused: Loss | None, primary: Loss | None, expect: Expect
) -> None:
    """First that of a remote is lost, then that of its primary, with the control plane there out of reach."""
    remote = (
        refused
        if refused is not None and mesh.spec.cluster(refused.lost).role is Role.REMOTE
        else None
    )

    expect(remotes_go_on(mesh, remote, primary))


@pytest.mark.mesh_check("MC-APISERVER-009")
def test_an_api_server_that_hangs_does_no_more_harm(
    mesh: Mesh, hung: Loss | None, timeouts: Timeouts, expect: Expect
) -> None:
    """Than one that refuses: traffic and configuration go on, and endpoints converge afterwards."""
    _tell_pushes(hung, expect)

    expect(hanging(mesh, hung, timeouts))


def _tell_pushes(loss: Loss | None, expect: Expect) -> None:
    for push in loss.pushes if loss is not None else ():
        for source in push.sources:
            seconds = push_seconds(loss, push, source) if loss is not None else None
            if loss is not None and seconds is not None:
                _tell(
                    expect,
                    f"a route is in force in {source} while the API server of {loss.lost} is {loss.how.value}",
                    seconds,
                )


def _tell(expect: Expect, what: str, seconds: float) -> None:
    expect.converged(what, Converged(None, max(0.0, seconds), max(0.0, seconds)))
