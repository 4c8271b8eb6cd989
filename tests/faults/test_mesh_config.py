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
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_istio_mc.errors import NotAllowed, NotHealed, ObservationError
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.faults import deadman, mesh_config
from pytest_istio_mc.faults.journal import journals
from pytest_istio_mc.faults.service_settings import marked
from pytest_istio_mc.faults.steps import RestoreMeshConfig
from pytest_istio_mc.faults.sweep import Wanted, sweep, sweep_patiently
from pytest_istio_mc.kube import Kube, lease
from pytest_istio_mc.mesh import Mesh, ProbePod, Probes
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.rights import Permission
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
from pytest_istio_mc.kube import Kube, lease
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.faults import deadman, mesh_config

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
    return Mesh(spec, RUN, "attach", "python", probes=probes, permissions=tuple(Permission))


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


def hosts(kubes: Mapping[str, Kube]) -> list[str]:
    """The first host of each entry."""
    return [entry["hosts"][0] for entry in settings(kubes)]


def nothing_is_left(kubes: Mapping[str, Kube]) -> bool:
    held = lease.lease_in(kubes["east"], SYSTEM, "istio-mc")
    return list(journals(kubes["east"], SYSTEM)) == [] and held is None


def test_settings_are_added_to_theirs_and_all_is_as_it_was_again_down_to_who_owns_a_field(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    before = config(kubes)

    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        assert [str(place) for place in configs.places] == ["istio-system/istio"]
        configs.set_service_settings(
            {"east": [{"settings": {"clusterLocal": True}, "hosts": ["a.b.svc.cluster.local"]}]}
        )
        assert hosts(kubes) == ["*.legacy.svc.cluster.local", "a.b.svc.cluster.local"]
        configs.set_service_settings({"east": [SETTING]})
        assert hosts(kubes) == ["*.legacy.svc.cluster.local", "*"]
        assert config(kubes)["metadata"]["annotations"] == {"istio-mc.dev/run": RUN}
        (found,) = journals(kubes["east"], SYSTEM)
        (step,) = found.steps
        assert isinstance(step, RestoreMeshConfig)
        assert (found.problem, found.run_id, step.original) == ("", RUN, TEXT)
        assert 0 < found.deadline - kubes["east"].now() <= 60 + 20

    assert config(kubes) == before
    assert nothing_is_left(kubes)
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


def test_what_somebody_wrote_from_what_he_read_meanwhile_stays_and_ours_goes(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    kube = kubes["east"]
    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        configs.set_service_settings({"east": [SETTING]})
        read = config(kubes)
        text = yaml.safe_load(read["data"]["mesh"]) | {"trustDomain": "theirs"}
        theirs = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "istio", "labels": {"theirs": "too"}},
            "data": {"mesh": yaml.safe_dump(text), "meshNetworks": "networks: {}"},
        }
        kube.apply(theirs, namespace=SYSTEM, field_manager="editor")

    after = config(kubes)
    assert yaml.safe_load(after["data"]["mesh"]) == yaml.safe_load(TEXT) | {"trustDomain": "theirs"}
    assert after["metadata"]["labels"] == {"release": "istio", "theirs": "too"}
    assert not after["metadata"].get("annotations")
    owners = {entry["manager"]: entry["fieldsV1"] for entry in after["metadata"]["managedFields"]}
    assert set(owners) == {"helm", "editor"}
    assert "f:mesh" in owners["editor"]["f:data"]
    assert nothing_is_left(kubes)


def test_our_entry_goes_even_where_somebody_replaced_the_object_and_its_notes(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    kube = kubes["east"]
    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        configs.set_service_settings({"east": [SETTING]})
        text = config(kubes)["data"]["mesh"]
        kube.delete("ConfigMap", "istio", SYSTEM)
        metadata = {"name": "istio", "namespace": SYSTEM}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        kube.create({**body, "data": {"mesh": f"{text}theirs: 1\n"}})

    assert config(kubes)["data"]["mesh"] == f"{TEXT}theirs: 1\n"


def test_a_configuration_that_somebody_removes_meanwhile_stays_removed(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        configs.set_service_settings({"east": [SETTING]})
        kubes["east"].delete("ConfigMap", "istio", SYSTEM)

    assert kubes["east"].read("ConfigMap", "istio", SYSTEM) is None
    assert nothing_is_left(kubes)


def test_who_becomes_owner_of_a_field_between_our_two_writes_stays_its_owner(
    mesh: Mesh, kubes: dict[str, Kube], monkeypatch: pytest.MonkeyPatch
) -> None:
    kube, merge, written = kubes["east"], Kube.merge, list[str]()

    def interrupted(self: Kube, kind: str, name: str, *rest: Any, **more: Any) -> dict[str, Any]:
        result = merge(self, kind, name, *rest, **more)
        if kind == "ConfigMap" and rest[1].get("data", {}).get("mesh") == TEXT and not written:
            written.append("theirs")
            metadata = {"name": "istio", "labels": {"team": "payments"}}
            theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
            kube.apply(theirs, namespace=SYSTEM, field_manager="between")
        return result

    before = config(kubes)
    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        configs.set_service_settings({"east": [SETTING]})
        monkeypatch.setattr(Kube, "merge", interrupted)

    assert written
    after = config(kubes)
    assert after["data"] == before["data"]
    owners = after["metadata"]["managedFields"]
    assert {entry["manager"] for entry in owners} == {"helm", "between"}
    assert [entry for entry in owners if entry["manager"] == "helm"] == before["metadata"][
        "managedFields"
    ]


def test_what_cannot_be_read_any_more_keeps_its_journal_and_is_told(
    mesh: Mesh, kubes: dict[str, Kube], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadman, "OWN_PATIENCE_SECONDS", 0.5)
    kube = kubes["east"]
    with (
        pytest.raises(NotHealed, match=r"(?s)could not be restored.*its log is .*sweep") as raised,
        mesh_config.changeable(mesh, kubes, 60.0) as configs,
    ):
        configs.set_service_settings({"east": [SETTING]})
        text = config(kubes)["data"]["mesh"]
        kube.merge("ConfigMap", "istio", SYSTEM, {"data": {"mesh": f"{text}]["}})
    assert "edit configmap/istio" in str(raised.value)
    (found,) = journals(kube, SYSTEM)
    assert found.problem == ""

    kube.merge("ConfigMap", "istio", SYSTEM, {"data": {"mesh": f"{text}more: 1\n"}})

    what = "the dead man's timer has restored it"
    eventually(lambda: nothing_is_left(kubes), bool, within_seconds=30, what=what)
    assert config(kubes)["data"]["mesh"] == f"{TEXT}more: 1\n"


def test_one_who_puts_it_back_before_us_is_no_problem(mesh: Mesh, kubes: dict[str, Kube]) -> None:
    before = config(kubes)

    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        configs.set_service_settings({"east": [SETTING]})
        theirs = {"data": {"mesh": TEXT}}
        kubes["east"].merge("ConfigMap", "istio", SYSTEM, theirs, field_manager="operator")

    after = config(kubes)
    owners = {one["manager"] for one in after["metadata"].pop("managedFields")}
    assert owners == {"helm", "operator"}  # who wrote it last owns it
    del before["metadata"]["managedFields"]
    assert after == before


@pytest.mark.parametrize(
    "host",
    [
        "*",
        "*.svc.cluster.local",
        "*.local",
        "*.probes",
        "*.payments.svc.cluster.local",
        "card.payments.svc.cluster.local",
        "*.probes2.svc.cluster.local",
        f"*.istio-mc-{RUN}0.svc.cluster.local",
        "probes.svc.cluster.local",
    ],
)
def test_settings_for_services_of_others_are_refused_unless_permitted(
    mesh: Mesh, kubes: dict[str, Kube], host: str
) -> None:
    before = config(kubes)
    setting = {"settings": {"clusterLocal": True}, "hosts": ["one.probes.svc.mesh.test", host]}

    with (
        pytest.raises(NotAllowed, match=r"(?s)EVERY service.*--mesh-allow=every-service"),
        mesh_config.changeable(replace(mesh, permissions=()), kubes, 60.0) as configs,
    ):
        configs.set_service_settings({"east": [setting]})

    assert config(kubes) == before


def test_settings_for_services_of_the_run_need_no_permission(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    own = ["one.probes.svc.cluster.local", f"*.istio-mc-{RUN}-local-ab12c.svc.mesh.test"]
    setting = {"settings": {"clusterLocal": True}, "hosts": own}

    with mesh_config.changeable(replace(mesh, permissions=()), kubes, 60.0) as configs:
        configs.set_service_settings({"east": [setting]})
        assert settings(kubes)[-1:] == marked([setting], RUN)


def test_two_runs_do_not_change_it_at_the_same_time(
    mesh: Mesh, kubes: dict[str, Kube], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(mesh, run_id="0123cafe")
    monkeypatch.setattr("pytest_istio_mc.faults.alone.PATIENCE_SECONDS", 2.0)
    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        configs.set_service_settings({"east": [SETTING]})
        with (
            pytest.raises(ObservationError, match=f"run {RUN} is at work on it"),
            mesh_config.changeable(other, kubes, 60.0),
        ):
            pytest.fail("two at once")

        assert hosts(kubes)[-1] == "*"

    with mesh_config.changeable(other, kubes, 60.0):
        pass


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
    assert settings(kubes)[-1:] == marked([SETTING], RUN)
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


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are dead after three seconds of silence."""
    monkeypatch.setenv(lease.HEARTBEAT_VARIABLE, "3")


def killed_with_its_timer(mesh: Mesh, kubes: dict[str, Kube]) -> None:
    with changed_by_another_process(mesh, kubes) as actor:
        (keeper,) = (int(pid) for pid in _children(actor.pid))
        os.kill(actor.pid, signal.SIGSTOP)  # so that neither sees the end of the other
        os.kill(keeper, signal.SIGKILL)
        actor.kill()


@pytest.mark.usefixtures("brief")
def test_where_the_timer_is_killed_too_a_sweep_waits_for_the_heartbeat_and_restores_it(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    before, told = config(kubes), list[str]()
    killed_with_its_timer(mesh, kubes)

    (at_once,) = sweep([kubes["east"]], Wanted())
    (dry,) = sweep([kubes["east"]], Wanted(dry_run=True))
    assert (at_once.done, dry.done, len(at_once.pending)) == ((), (), 2)
    (swept,) = sweep_patiently([kubes["east"]], Wanted(run_id=RUN), told.append)

    assert config(kubes) == before
    assert nothing_is_left(kubes)
    assert f"run {RUN} may still be at work; waiting up to" in told[0]
    assert f"(ConfigMap istio-system/istio) of run {RUN}" in swept.done[0]
    assert (swept.pending, swept.problems) == ((), ())


@pytest.mark.usefixtures("brief")
def test_where_the_timer_is_killed_too_the_next_run_restores_it_first(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    before = config(kubes)
    killed_with_its_timer(mesh, kubes)
    other = replace(mesh, run_id="0123cafe")

    with mesh_config.changeable(other, kubes, 60.0):
        assert config(kubes) == before


@pytest.mark.usefixtures("brief")
def test_attaching_restores_what_a_run_left_that_is_dead_by_then(
    mesh: Mesh, kubes: dict[str, Kube]
) -> None:
    before, told = config(kubes), list[str]()
    killed_with_its_timer(mesh, kubes)
    time.sleep(4)

    sweep_dead_runs(mesh, kubes, Progress(told.append))

    assert config(kubes) == before
    assert any("swept: journal istio-system/" in line for line in told), told


@pytest.mark.usefixtures("brief")
def test_a_run_at_work_is_left_alone(mesh: Mesh, kubes: dict[str, Kube]) -> None:
    with mesh_config.changeable(mesh, kubes, 60.0) as configs:
        configs.set_service_settings({"east": [SETTING]})
        began = time.monotonic()

        (swept,) = sweep_patiently([kubes["east"]], Wanted(), lambda line: None)

        assert time.monotonic() - began < 8
        assert swept.done == ()
        assert {entry.run_id for entry in swept.pending} == {RUN}
        assert settings(kubes)[-1:] == marked([SETTING], RUN)


def test_what_is_longer_than_its_deadline_is_restored_even_while_the_run_lives(
    mesh: Mesh, kubes: dict[str, Kube], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadman, "_MARGIN_SECONDS", -60.0)
    before = config(kubes)
    with (
        pytest.raises(NotHealed, match="was undone by a sweep of east before its end"),
        mesh_config.changeable(mesh, kubes, 60.0) as configs,
    ):
        configs.set_service_settings({"east": [SETTING]})
        (swept,) = sweep([kubes["east"]], Wanted())
        assert len(swept.done) == 1
        assert config(kubes) == before

    assert config(kubes) == before
    assert nothing_is_left(kubes)


def _children(pid: int) -> list[str]:
    return [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
