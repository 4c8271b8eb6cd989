"""One run at a time disrupts a mesh, on two real API servers' worth of namespaces."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from pytest_istio_mc.errors import NotBroken, ObservationError, ProvisionError
from pytest_istio_mc.faults import journal
from pytest_istio_mc.faults.alone import LEASE, alone, silent, wait_until_alone
from pytest_istio_mc.faults.deadman import undone
from pytest_istio_mc.faults.steps import Restore
from pytest_istio_mc.kube import Kube, lease
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from tests.kubernetes_api import KubernetesApi, kubernetes_api, programs

SYSTEM, RUN, OTHER = "istio-system", "cafe0123", "0123cafe"
PLACE = (SYSTEM, LEASE)
SECRET = Restore(
    "east", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": SYSTEM}}
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """An API server with istiod's namespace."""
    with kubernetes_api(programs(), tmp_path_factory.mktemp("api"), "east") as api:
        api.kube().apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
        yield api


@pytest.fixture
def kube(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    """A connection, impatience, and nothing of ours in istiod's namespace."""
    monkeypatch.setenv(lease.HEARTBEAT_VARIABLE, "3")
    monkeypatch.setattr("pytest_istio_mc.faults.alone.PATIENCE_SECONDS", 1.0)
    with closing(api.kube()) as kube:
        for item in kube.list("Secret", SYSTEM):
            kube.delete("Secret", item["metadata"]["name"], SYSTEM)
        kube.delete(lease.KIND, LEASE, SYSTEM)
        yield kube


@pytest.fixture
def mesh(api: KubernetesApi) -> Mesh:
    """A mesh of one cluster that stays."""
    clusters = (ClusterSpec("east", "network1", context="east"),)
    return Mesh(MeshSpec("test", clusters, kubeconfig=str(api.kubeconfig)), RUN, "attach", "python")


def test_another_run_says_whom_it_waits_for_and_goes_on_after_that_one(
    mesh: Mesh, kube: Kube
) -> None:
    other, kubes = replace(mesh, run_id=OTHER), {"east": kube}
    with alone(mesh, kubes):
        with alone(mesh, kubes):
            pass
        with (
            pytest.raises(ObservationError, match=f"run {RUN} is at work on it"),
            alone(other, kubes),
        ):
            pytest.fail("two at once")

    with pytest.raises(ValueError, match="inside"), alone(other, kubes):
        held = lease.lease_in(kube, *PLACE)
        assert held is not None
        assert held.holder == OTHER
        raise ValueError("inside")

    assert lease.lease_in(kube, *PLACE) is None


def test_it_waits_for_a_run_that_ends_in_time(
    mesh: Mesh, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_istio_mc.faults.alone.PATIENCE_SECONDS", 30.0)
    lease.take(kube, *PLACE, OTHER, {})
    timer = threading.Timer(1.5, lambda: lease.release(kube, *PLACE, OTHER))
    timer.start()

    with alone(mesh, {"east": kube}):
        assert not timer.is_alive()


def test_nobody_judges_a_mesh_while_another_run_disrupts_it(mesh: Mesh, kube: Kube) -> None:
    """What that one breaks is not the mesh's; a dead one is waited for, nothing is written."""
    other, kubes, said = replace(mesh, run_id=OTHER), {"east": kube}, list[str]()
    with alone(mesh, kubes):
        wait_until_alone(mesh, kubes, Progress(said.append))
        assert said == []
        with pytest.raises(ProvisionError, match=f"disrupted by another run .run {RUN} is at work"):
            wait_until_alone(other, kubes, Progress(said.append))
        held = lease.lease_in(kube, *PLACE)
        assert held is not None
        assert held.holder == RUN
    (line,) = said
    assert f'waiting for cluster "east": run {RUN}' in line

    lease.take(kube, *PLACE, RUN, {})
    said.clear()
    wait_until_alone(other, kubes, Progress(said.append))
    assert len(said) == 1
    held = lease.lease_in(kube, *PLACE)
    assert held is not None
    assert held.holder == RUN


def test_who_may_not_see_the_lease_goes_on(mesh: Mesh, kube: Kube) -> None:
    with alone(mesh, {"east": kube}):
        blind = replace(mesh, run_id=OTHER, spec=replace(mesh.spec, istio_namespace="elsewhere"))
        wait_until_alone(blind, {"east": kube}, Progress())


def test_a_cluster_without_istiods_namespace_has_nothing_to_hold(mesh: Mesh, kube: Kube) -> None:
    elsewhere = replace(mesh, spec=replace(mesh.spec, istio_namespace="elsewhere"))

    with (
        pytest.raises(NotBroken, match="is not held"),
        undone(elsewhere, {"east": kube}, [SECRET], 60.0),
    ):
        pytest.fail("without a journal")


def test_clusters_that_end_with_the_run_need_no_lease(mesh: Mesh, kube: Kube) -> None:
    with alone(replace(mesh, disposable=True), {"east": kube}):
        assert lease.lease_in(kube, *PLACE) is None


def test_a_journal_that_cannot_be_trusted_is_in_the_way_and_the_command_says_how_to_go_on(
    mesh: Mesh, kube: Kube
) -> None:
    journal.write(kube, SYSTEM, OTHER, [Restore("east", {"kind": "Role"})], kube.now())

    with (
        pytest.raises(ObservationError, match=r"(?s)may not be as it was.*delete secret/istio-mc"),
        alone(mesh, {"east": kube}),
    ):
        pytest.fail("on a mesh that may be broken")

    assert lease.lease_in(kube, *PLACE) is None


def test_a_run_that_lost_its_lease_changes_nothing_more(mesh: Mesh, kube: Kube) -> None:
    with undone(mesh, {"east": kube}, [], 60.0) as undoing:
        kube.delete(lease.KIND, LEASE, SYSTEM)
        lease.take(kube, *PLACE, OTHER, {})

        with pytest.raises(NotBroken, match="is not held by this run any more"):
            undoing.add(SECRET)

    assert list(journal.journals(kube, SYSTEM)) == []
    held = lease.lease_in(kube, *PLACE)
    assert held is not None
    assert held.holder == OTHER


def test_a_run_counts_as_alive_while_it_keeps_an_api_server_from_hearing_it(
    mesh: Mesh, kube: Kube
) -> None:
    with alone(mesh, {"east": kube}):
        with silent(mesh, kube, 100.0):
            time.sleep(1)
            held = lease.lease_in(kube, *PLACE)
            assert held is not None
            assert held.until - kube.now() > 95
        held = lease.lease_in(kube, *PLACE)
        assert held is not None
        assert held.until - kube.now() < 5


def test_an_api_server_that_is_silent_already_is_told_nothing(mesh: Mesh, kube: Kube) -> None:
    """It cannot hear it: only what breaks it can say that it is broken."""
    unheard = Kube("east", "/nowhere", "nobody")

    with alone(mesh, {"east": kube}), silent(mesh, kube, 100.0):
        with silent(mesh, unheard, 100.0):
            pass
        held = lease.lease_in(kube, *PLACE)

    assert held is not None
    assert held.until - kube.now() > 95
    with pytest.raises(NotBroken, match="no word of how long"), silent(mesh, unheard, 100.0):
        pytest.fail("it was not asked")
