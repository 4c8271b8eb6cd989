"""Mesh configuration that is changed and restored, on a real API server.

It is restored exactly, also by other processes, and never over what somebody else wrote.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_istio_mc.errors import MeshError, ObservationError
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.faults import mesh_config
from pytest_istio_mc.faults.leftovers import leftover_objects
from pytest_istio_mc.istio_names import KUBE_SYSTEM
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh, ProbePod, Probes
from pytest_istio_mc.probes import manifests
from pytest_istio_mc.probes.leftovers import ownership
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.session.provision import sweep_dead_runs
from pytest_istio_mc.spec import ClusterSpec, MeshSpec, Role
from tests.kubernetes_api import KubernetesApi, kubernetes_api, programs

SYSTEM, RUN = "istio-system", "cafe0123"
TEXT = """# written by hand: keep me
rootNamespace:   istio-system
serviceSettings:
- hosts: ['*.legacy.svc.cluster.local']
  settings: {clusterLocal: true}
"""
SETTING = {"settings": {"clusterLocal": True}, "hosts": ["*"]}

ACTOR = """
import json, sys, time
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.faults import mesh_config

mesh = Mesh.from_dict(json.loads(sys.argv[1]))
kubes = dict.fromkeys(("east", "west"), Kube("east", mesh.spec.kubeconfig, "east"))
with mesh_config.changeable(mesh, kubes, 60.0) as configs:
    setting = {"settings": {"clusterLocal": True}, "hosts": ["*"]}
    configs.set_service_settings({place.cluster: [setting] for place in configs.places})
    print("changed", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """An API server with the namespaces of a mesh."""
    with kubernetes_api(programs(), tmp_path_factory.mktemp("api"), "east") as api:
        kube = api.kube()
        for name in (SYSTEM, "probes"):
            kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        metadata = {"name": "client-east", "annotations": {"istio.io/rev": "default"}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        pod["spec"] = {"containers": [{"name": "probe", "image": "python"}]}
        kube.apply(pod, namespace="probes")
        yield api


@pytest.fixture
def mesh(api: KubernetesApi) -> Mesh:
    """A primary and its remote, whose clients are of the default revision."""
    clusters = (
        ClusterSpec("east", "network1", context="east"),
        ClusterSpec("west", "network1", role=Role.REMOTE, control_plane="east"),
    )
    pods = tuple(ProbePod(cluster.name, "client", "client-east", "") for cluster in clusters)
    spec = MeshSpec("test", clusters, kubeconfig=str(api.kubeconfig))
    probes = Probes("probes", "helloworld", "python", pods)
    return Mesh(spec, RUN, "attach", "python", probes=probes)


@pytest.fixture
def kubes(api: KubernetesApi) -> Iterator[dict[str, Kube]]:
    """Connections, and mesh configuration as somebody wrote it by hand."""
    kube = api.kube()
    kube.delete("ConfigMap", "istio", SYSTEM)
    metadata = {"name": "istio", "labels": {"release": "istio"}}
    data = {"mesh": TEXT, "meshNetworks": "networks: {}"}
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    kube.apply(theirs, namespace=SYSTEM, field_manager="helm")
    yield {"east": kube, "west": kube}
    kube.close()


def config(kubes: Mapping[str, Kube]) -> dict[str, Any]:
    """The ConfigMap, without what changes with every write."""
    found = kubes["east"].read("ConfigMap", "istio", SYSTEM)
    assert found is not None
    del found["metadata"]["resourceVersion"]
    return found


def settings(kubes: Mapping[str, Kube]) -> list[dict[str, Any]]:
    return list(yaml.safe_load(config(kubes)["data"]["mesh"]).get("serviceSettings", []))


def hosts(kubes: Mapping[str, Kube]) -> list[list[str]]:
    return [entry["hosts"] for entry in settings(kubes)]


def test_settings_are_added_to_theirs_and_all_is_as_it_was_again_down_to_who_owns_a_field(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    before = config(kubes)

    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        assert [str(place) for place in configs.places] == ["istio-system/istio"]
        configs.set_service_settings(
            {"east": [{"settings": {"clusterLocal": True}, "hosts": ["a.b.svc.cluster.local"]}]}
        )
        assert hosts(kubes) == [["*.legacy.svc.cluster.local"], ["a.b.svc.cluster.local"]]
        configs.set_service_settings({"east": [SETTING]})
        assert hosts(kubes) == [["*.legacy.svc.cluster.local"], ["*"]]
        notes = config(kubes)["metadata"]
        assert notes["labels"][manifests.RUN_LABEL] == RUN
        assert json.loads(notes["annotations"][mesh_config.ORIGINAL_ANNOTATION])["mesh"] == TEXT

    assert config(kubes) == before
    assert config(kubes)["data"]["mesh"] == TEXT


def test_nothing_changed_is_nothing_restored(mesh: Mesh, kubes: dict[str, Kube]) -> None:
    before = kubes["east"].read("ConfigMap", "istio", SYSTEM)

    with mesh_config.changeable(mesh, kubes, 60.0):
        pass

    assert kubes["east"].read("ConfigMap", "istio", SYSTEM) == before


def test_an_error_meanwhile_is_told_and_all_is_as_it_was(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    before = config(kubes)

    with (
        pytest.raises(RuntimeError, match="meanwhile"),
        mesh_config.changeable(mesh, kubes, 60.0) as configs,
    ):
        configs.set_service_settings({"east": [SETTING]})
        raise RuntimeError("meanwhile")

    assert config(kubes) == before


def test_what_somebody_else_wrote_meanwhile_is_left_and_told(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    with (
        pytest.raises(MeshError, match="was changed by somebody else"),
        mesh_config.changeable(mesh, kubes, 60.0) as configs,
    ):
        configs.set_service_settings({"east": [SETTING]})
        theirs = {"data": {"mesh": "rootNamespace: theirs\n"}}
        kubes["east"].merge("ConfigMap", "istio", SYSTEM, theirs)

    after = config(kubes)
    assert after["data"]["mesh"] == "rootNamespace: theirs\n"
    assert manifests.RUN_LABEL not in after["metadata"]["labels"]
    assert not after["metadata"].get("annotations")


def test_one_who_puts_it_back_before_us_is_no_problem(mesh: Mesh, kubes: dict[str, Kube]) -> None:
    before = config(kubes)

    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        configs.set_service_settings({"east": [SETTING]})
        kubes["east"].merge("ConfigMap", "istio", SYSTEM, {"data": {"mesh": TEXT}})

    assert config(kubes) == before


def test_two_runs_do_not_change_it_at_the_same_time(mesh: Mesh, kubes: dict[str, Kube]) -> None:
    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        configs.set_service_settings({"east": [SETTING]})
        with pytest.raises(
            ObservationError, match=f"run {RUN} has changed it and not restored it yet"
        ):
            mesh_config.places(mesh, kubes)


def test_the_revision_of_the_sidecars_says_which_configuration_it_is(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    kube = kubes["east"]

    def serve_by(revision: str) -> None:
        annotations = {"metadata": {"annotations": {"istio.io/rev": revision}}}
        kube.merge("Pod", "client-east", "probes", annotations)

    serve_by("canary")
    try:
        with pytest.raises(ObservationError, match="istio-system/istio-canary"):
            mesh_config.places(mesh, kubes)
        metadata, data = {"name": "istio-canary"}, {"mesh": ""}
        canary = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        kube.apply(canary, namespace=SYSTEM)
        place = mesh_config.Place("east", SYSTEM, "istio-canary")
        assert mesh_config.places(mesh, kubes) == (place,)
    finally:
        serve_by("default")


def test_an_external_control_planes_configuration_is_in_its_config_cluster(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    clusters = (
        ClusterSpec("out", "network0", role=Role.EXTERNAL),
        ClusterSpec("east", "network1", role=Role.CONFIG, control_plane="out"),
    )
    external = Mesh(MeshSpec("test", clusters), RUN, "attach", "python", probes=mesh.probes)

    assert mesh_config.places(external, kubes) == (mesh_config.Place("east", SYSTEM, "istio"),)


def changed_by_another_process(mesh: Mesh, kubes: dict[str, Kube]) -> subprocess.Popen[str]:
    actor = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ACTOR), json.dumps(mesh.to_dict())],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert actor.stdout is not None
    assert actor.stdout.readline() == "changed\n"
    assert settings(kubes)[-1] == SETTING
    return actor


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_a_killed_run_is_restored_by_its_dead_mans_timer(
    mesh: Mesh, kubes: dict[str, Kube], number: signal.Signals
) -> None:
    before = config(kubes)
    with changed_by_another_process(mesh, kubes) as actor:
        actor.send_signal(number)

    what = "the mesh configuration to be restored"
    eventually(lambda: config(kubes), lambda now: now == before, within_seconds=30, what=what)


def test_where_the_timer_is_killed_too_the_next_run_restores_it(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    before = config(kubes)
    with changed_by_another_process(mesh, kubes) as actor:
        (keeper,) = (int(pid) for pid in _children(actor.pid))
        os.kill(keeper, signal.SIGKILL)
        actor.kill()
    change = f"change of ConfigMap istio-system/istio of run {RUN}"
    (found,) = leftover_objects(kubes["east"])
    assert str(found) == change
    assert found.left.owner_is_dead

    told: list[str] = []
    sweep_dead_runs(kubes, Progress(told.append))

    assert config(kubes) == before
    swept = f'swept: {change}, which is dead, in cluster "east"'
    assert any(swept in line for line in told), told


def test_a_run_at_work_is_left_alone(mesh: Mesh, kubes: dict[str, Kube]) -> None:
    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        configs.set_service_settings({"east": [SETTING]})
        sweep_dead_runs(kubes, Progress())

        assert settings(kubes)[-1] == SETTING


def test_what_a_dead_run_left_in_kube_system_is_removed(kubes: dict[str, Kube]) -> None:
    kube = kubes["east"]
    notes = ownership() | {manifests.OWNER_ANNOTATION: f"{os.uname().nodename}/{2**22 + 1}"}
    labels = {manifests.RUN_LABEL: RUN}
    metadata = {"name": "istio-mc-local-1", "labels": labels, "annotations": notes}
    ports = {"ports": [{"port": 5000}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": ports}
    kube.apply(service, namespace=KUBE_SYSTEM)
    (found,) = leftover_objects(kube)
    assert str(found) == f"Service kube-system/istio-mc-local-1 of run {RUN}"

    sweep_dead_runs(kubes, Progress())

    assert kube.read("Service", "istio-mc-local-1", KUBE_SYSTEM) is None


def _children(pid: int) -> list[str]:
    return [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
