"""Faults on a real lab: each breaks what it says, and heals.

So it does when its context ends, with an error or without, and when its process is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_istio_mc.errors import KubeError, NotBroken, NotHealed
from pytest_istio_mc.eventually import Timeouts, eventually
from pytest_istio_mc.faults import Faults, istiods, pods
from pytest_istio_mc.faults.journal import journals
from pytest_istio_mc.faults.scene import Scene
from pytest_istio_mc.faults.sweep import Wanted, sweep_patiently
from pytest_istio_mc.istio_names import REMOTE_SECRETS
from pytest_istio_mc.kube import Kube, lease
from pytest_istio_mc.lab.breakages import BREAKAGES
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import GatewayAddress
from pytest_istio_mc.probes.paths import gateway_addresses
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers import ProvisionRequest
from pytest_istio_mc.providers.attach import AttachProvider
from tests.conftest import LabMesh
from tests.lab.test_lab import connect_from

pytestmark = pytest.mark.lab

Kubes = Mapping[str, Kube]
Hold = Callable[..., "subprocess.Popen[str]"]


class Oops(Exception):
    """Something goes wrong in a test while something is broken."""


def answers(kube: Kube) -> bool:
    try:
        return bool(kube.get_path("/readyz") == "ok")
    except KubeError:
        return False


def status(lab_mesh: LabMesh, component: str = "kube-apiserver") -> int:
    return int(lab_mesh.lab.order("status")["cluster2"][component])


def secret_names(kubes: Kubes, cluster: str = "cluster1") -> set[str]:
    secrets = kubes[cluster].list("Secret", "istio-system", labels=REMOTE_SECRETS)
    return {item["metadata"]["name"] for item in secrets}


def synced(faults: Faults) -> bool:
    scene = faults.scene
    return all(
        istiods.sync_status(scene, "cluster1", pod, "cluster2") == "synced"
        for pod in istiods.replicas(scene, "cluster1")
    )


@pytest.fixture
def gateway(lab_mesh: LabMesh, kubes: Kubes) -> GatewayAddress:
    """The gateway of the second network."""
    found = gateway_addresses(lab_mesh.mesh.spec, kubes)
    return next(entry for entry in found if entry.cluster == "cluster2")


@pytest.mark.parametrize("fault", ["apiserver_hung", "apiserver_refused"])
def test_a_lost_api_server_is_back_after_an_error(
    fault: str, faults: Faults, kubes: Kubes, lab_mesh: LabMesh
) -> None:
    before = status(lab_mesh)

    with pytest.raises(Oops), getattr(faults, fault)("cluster2"):
        assert not answers(kubes["cluster2"])
        assert answers(kubes["cluster1"])
        raise Oops

    assert answers(kubes["cluster2"])
    assert (status(lab_mesh) == before) is (fault == "apiserver_hung")
    assert lab_mesh.lab.failure is None


@pytest.mark.parametrize("fault", ["apiserver_hung", "apiserver_refused"])
def test_a_lost_api_server_is_back_when_its_holder_is_killed(
    fault: str, held: Hold, kubes: Kubes, lab_mesh: LabMesh
) -> None:
    holder = held(fault, "cluster2")
    assert not answers(kubes["cluster2"])

    holder.kill()

    what = "the API server answers again"
    eventually(lambda: answers(kubes["cluster2"]), bool, within_seconds=60, what=what)
    assert lab_mesh.lab.failure is None


def test_a_fault_that_lasts_too_long_is_undone_and_said_to_be(
    lab_mesh: LabMesh, kubes: Kubes
) -> None:
    hasty = Faults(lab_mesh.mesh, kubes, Timeouts(), longest_seconds=1.0)

    with pytest.raises(NotHealed, match="dead-man"), hasty.apiserver_hung("cluster2"):
        what = "undone by its timer"
        eventually(lambda: answers(kubes["cluster2"]), bool, within_seconds=30, what=what)


def test_what_is_broken_is_not_broken_twice(faults: Faults) -> None:
    with (
        faults.apiserver_hung("cluster2"),
        pytest.raises(NotBroken, match="in force already"),
        faults.apiserver_hung("cluster2"),
    ):
        pytest.fail("broken twice")


def test_remote_secrets_are_back_after_an_error(faults: Faults, kubes: Kubes) -> None:
    before = secret_names(kubes)

    with pytest.raises(Oops), faults.remote_secret_removed("cluster2"):
        assert secret_names(kubes) == set()
        what = "istiod knows the cluster no more"
        eventually(lambda: not synced(faults), bool, within_seconds=30, what=what)
        raise Oops

    assert secret_names(kubes) == before
    assert synced(faults)


def test_remote_secrets_are_back_when_their_holder_is_killed(
    held: Hold, faults: Faults, kubes: Kubes
) -> None:
    before = secret_names(kubes)
    holder = held("remote_secret_removed", "cluster2")
    assert secret_names(kubes) == set()

    holder.kill()

    eventually(
        lambda: secret_names(kubes),
        lambda names: names == before,
        within_seconds=30,
        what="remote secrets are back",
    )
    what = "istiod has synchronised again"
    eventually(lambda: synced(faults), bool, within_seconds=60, what=what)


def test_where_the_dead_mans_timer_is_killed_too_a_sweep_brings_remote_secrets_back(
    held: Hold,
    faults: Faults,
    kubes: Kubes,
    lab_mesh: LabMesh,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(lease.HEARTBEAT_VARIABLE, "5")
    before = secret_names(kubes)
    mesh = replace(lab_mesh.mesh, run_id="cafe0123", disposable=False)
    holder = held("remote_secret_removed", "cluster2", mesh=mesh)
    (keeper,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
    os.kill(holder.pid, signal.SIGSTOP)  # so that neither sees the end of the other
    os.kill(int(keeper), signal.SIGKILL)
    holder.kill()
    assert secret_names(kubes) == set()

    swept = sweep_patiently(list(kubes.values()), Wanted(), lambda line: None)

    assert secret_names(kubes) == before
    assert [one.problems for one in swept] == [(), ()]
    for kube in kubes.values():
        assert list(journals(kube, "istio-system")) == []
        assert lease.lease_in(kube, "istio-system", "istio-mc") is None
    what = "istiod has synchronised again"
    eventually(lambda: synced(faults), bool, within_seconds=60, what=what)


def test_a_control_plane_has_other_pods_after_a_restart(faults: Faults) -> None:
    with faults.istiod_restarted("cluster1") as before:
        pass

    after = pods.workload(faults.scene, "cluster1", "istio-system", "app=istiod")
    assert len(after.pods) == len(before.pods)
    assert not set(after.pods) & set(before.pods)


def test_a_killed_gateway_pod_is_replaced(faults: Faults, gateway: GatewayAddress) -> None:
    with faults.gateway_killed(gateway) as before:
        pass

    assert not set(pods.gateway_workload(faults.scene, gateway).pods) & set(before.pods)


def test_an_address_is_unreachable_from_some_clusters_only(
    faults: Faults, gateway: GatewayAddress, lab_mesh: LabMesh
) -> None:
    def connected() -> bool:
        return connect_from(lab_mesh, "cluster1", gateway.address, gateway.port) == "connected"

    # another test may just have killed its pod
    eventually(connected, bool, within_seconds=30, what="the gateway takes connections")

    with faults.address_unreachable(gateway.address, gateway.port, ["cluster1"]):
        assert connect_from(lab_mesh, "cluster1", gateway.address, gateway.port) == "timed out"
        assert connect_from(lab_mesh, "cluster2", gateway.address, gateway.port) == "connected"

    assert connected()


def test_a_lab_that_is_attached_to_can_be_broken(lab_mesh: LabMesh, tmp_path: Path) -> None:
    request = ProvisionRequest(lab_mesh.mesh.spec, "attached", Timeouts(), declared=True)

    with AttachProvider().provide(request, Progress()) as mesh:
        assert mesh.capabilities == BREAKAGES
        assert mesh.controls == str(lab_mesh.lab.plan.home)
        assert Mesh.from_dict(json.loads(json.dumps(mesh.to_dict()))) == mesh


def test_what_does_not_heal_is_said(lab_mesh: LabMesh, kubes: Kubes) -> None:
    scene = Scene(lab_mesh.mesh, kubes, Timeouts(heal=0.5))
    began = time.monotonic()

    with (
        pytest.raises(NotHealed, match="it does not work again"),
        scene.healed("a thing", lambda: scene.until("never", lambda: False)),
    ):
        pass

    assert time.monotonic() - began < 10
