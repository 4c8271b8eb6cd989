"""What a sweep takes away, waits for, and never touches, on a real API server."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from pytest_istio_mc import cli
from pytest_istio_mc.faults import journal
from pytest_istio_mc.faults.alone import LEASE
from pytest_istio_mc.faults.steps import Merge, Remove, Restore, RestoreMeshConfig
from pytest_istio_mc.faults.sweep import Swept, Wanted, sweep, sweep_patiently
from pytest_istio_mc.faults.undo import Step, as_it_was
from pytest_istio_mc.istio_names import KUBE_SYSTEM
from pytest_istio_mc.kube import Kube, lease
from pytest_istio_mc.probes import manifests, prepared
from tests.kubernetes_api import KubernetesApi, kubernetes_api, programs

SYSTEM, RUN, OTHER = "istio-system", "cafe0123", "0123cafe"
SECRET: Mapping[str, Any] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {
        "name": "istio-remote-secret-west",
        "namespace": SYSTEM,
        "labels": {"istio/multiCluster": "true"},
        "annotations": {"networking.istio.io/cluster": "west"},
    },
    "type": "Opaque",
    "data": {"west": "c2VjcmV0"},
}
BRIEF = 2.0


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """An API server for all tests here."""
    with kubernetes_api(programs(), tmp_path_factory.mktemp("api"), "east") as api:
        yield api


@pytest.fixture
def kube(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    """A connection, istiod's namespace without anything of ours, and brief heartbeats."""
    monkeypatch.setenv(lease.HEARTBEAT_VARIABLE, f"{BRIEF:g}")
    with closing(api.kube()) as kube:
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
        for namespace in (SYSTEM, "default"):
            for item in kube.list("Secret", namespace):
                kube.delete("Secret", item["metadata"]["name"], namespace)
            kube.delete(lease.KIND, LEASE, namespace)
        yield kube


def made(kube: Kube, name: str, run_id: str = RUN) -> str:
    """A namespace with a run's label."""
    kube.apply(manifests.namespace(name, run_id, {}, {}))
    return name


def is_going(kube: Kube, name: str) -> bool:
    item = kube.read("Namespace", name)
    return item is None or "deletionTimestamp" in item["metadata"]


def swept(kube: Kube, **wanted: Any) -> Swept:
    (one,) = sweep([kube], Wanted(**wanted))
    assert one.problems == ()
    return one


def written(kube: Kube, *steps: Step, seconds: float = 600.0, run_id: str = RUN) -> None:
    journal.write(kube, SYSTEM, run_id, steps, kube.now() + seconds)


def test_a_namespace_goes_when_the_heartbeat_of_its_run_has_run_out_and_not_before(
    kube: Kube,
) -> None:
    main, more = made(kube, f"istio-mc-{RUN}"), made(kube, f"istio-mc-{RUN}-local-1")
    lease.take(kube, main, manifests.run_lease(RUN), RUN, {})
    with lease.Heartbeats() as beats:
        beats.begin(kube, main, manifests.run_lease(RUN), RUN)
        time.sleep(2 * BRIEF)
        found = swept(kube)
        assert found.done == ()
        assert {entry.run_id for entry in found.pending} == {RUN}
        assert not is_going(kube, main)

    found, *_ = sweep_patiently([kube], Wanted(), lambda line: None)

    assert sorted(found.done) == [f"namespace {name} of run {RUN}" for name in (main, more)]
    assert is_going(kube, main)
    assert is_going(kube, more)


def test_a_run_that_has_not_beaten_yet_gets_the_benefit_of_the_doubt(kube: Kube) -> None:
    name = made(kube, f"istio-mc-{OTHER}-young", OTHER)
    assert [entry.run_id for entry in swept(kube).pending] == [OTHER]

    time.sleep(BRIEF + 1.1)

    assert swept(kube).done == (f"namespace {name} of run {OTHER}",)


@pytest.mark.parametrize(
    ("name", "run_id"),
    [
        ("payments-production", RUN),
        ("istio-mc", RUN),
        ("istio-mc-production", "production"),
        (f"istio-mc-{OTHER}", RUN),
        (f"istio-mc-{RUN}x", RUN),
        (f"my-istio-mc-{RUN}", RUN),
    ],
)
def test_a_namespace_that_merely_bears_the_label_is_told_of_and_stays(
    kube: Kube, name: str, run_id: str, api: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:
    made(kube, name, run_id)
    time.sleep(BRIEF + 1.1)

    try:
        found = swept(kube)

        assert found.done == ()
        assert [line for line in found.told if f"namespace {name} bears the label" in line]
        assert cli.main(["sweep", f"--kubeconfig={api.kubeconfig}"]) == cli.GOOD
        assert f"left alone: namespace {name} " in capsys.readouterr().out
        assert not is_going(kube, name)
    finally:
        kube.merge("Namespace", name, None, {"metadata": {"labels": {manifests.RUN_LABEL: None}}})


def test_a_removed_remote_secret_comes_back_as_it_was(kube: Kube) -> None:
    kube.apply(SECRET, field_manager="helm")
    before = kube.read("Secret", "istio-remote-secret-west", SYSTEM)
    assert before is not None
    written(kube, Restore("east", as_it_was(before)))
    kube.delete("Secret", "istio-remote-secret-west", SYSTEM)

    found = swept(kube)

    assert "(Secret istio-system/istio-remote-secret-west)" in found.done[0]
    after = kube.read("Secret", "istio-remote-secret-west", SYSTEM)
    assert after is not None
    for item in (before, after):
        for key in ("uid", "resourceVersion", "creationTimestamp"):
            del item["metadata"][key]
    assert after == before
    assert list(journal.journals(kube, SYSTEM)) == []


def test_a_remote_secret_that_others_made_again_is_left_to_them(kube: Kube) -> None:
    written(kube, Restore("east", SECRET))
    kube.apply({**SECRET, "data": {"west": "bmV3"}})

    swept(kube)

    after = kube.read("Secret", "istio-remote-secret-west", SYSTEM)
    assert after is not None
    assert after["data"] == {"west": "bmV3"}


def deployment(kube: Kube, replicas: int) -> None:
    labels = {"app": "gateway"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "a", "image": "a"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": "gateway", "namespace": "default"}
    kube.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})


def replicas(kube: Kube) -> int:
    item = kube.read("Deployment", "gateway", "default") or {}
    return int(item["spec"]["replicas"])


@pytest.mark.parametrize(("now", "after"), [(2, 1), (5, 5)], ids=["ours", "somebody else's"])
def test_a_number_of_pods_goes_back_only_where_it_is_still_ours(
    kube: Kube, now: int, after: int
) -> None:
    deployment(kube, 1)
    owners = (kube.read("Deployment", "gateway", "default") or {})["metadata"]["managedFields"]
    one, two = {"spec": {"replicas": 1}}, {"spec": {"replicas": 2}}
    written(kube, Merge("east", "Deployment", "gateway", "default", one, two, tuple(owners)))
    change = {"spec": {"replicas": now}}
    kube.merge("Deployment", "gateway", "default", change, field_manager="istio-mc-fault")

    swept(kube)

    assert replicas(kube) == after
    item = kube.read("Deployment", "gateway", "default") or {}
    assert item["metadata"]["managedFields"] == owners


@pytest.mark.parametrize("run_id", [RUN, OTHER])
def test_in_kube_system_goes_what_bears_the_label_of_the_run(kube: Kube, run_id: str) -> None:
    metadata = {"name": "istio-mc-local-1", "labels": {manifests.RUN_LABEL: run_id}}
    ports = {"ports": [{"port": 5000}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": ports}
    kube.apply(service, namespace=KUBE_SYSTEM)
    written(kube, Remove("east", "Service", "istio-mc-local-1", KUBE_SYSTEM, RUN))

    swept(kube)

    left = kube.read("Service", "istio-mc-local-1", KUBE_SYSTEM)
    assert (left is None) is (run_id == RUN)
    kube.delete("Service", "istio-mc-local-1", KUBE_SYSTEM)


@pytest.mark.parametrize(("seconds", "done"), [(600.0, 0), (-1.0, 1)], ids=["in time", "over"])
def test_a_living_runs_journal_is_undone_only_after_its_deadline(
    kube: Kube, seconds: float, done: int
) -> None:
    lease.take(kube, SYSTEM, LEASE, RUN, {})
    written(kube, Restore("east", SECRET), seconds=seconds)

    found = swept(kube)

    assert len(found.done) == done
    assert (kube.read("Secret", "istio-remote-secret-west", SYSTEM) is not None) is bool(done)
    assert len(found.pending) == 2 - done  # its Lease is one of them


def test_only_the_run_that_is_named_is_swept(kube: Kube) -> None:
    written(kube, Restore("east", SECRET))
    written(kube, Restore("east", SECRET), run_id=OTHER)

    found = swept(kube, run_id=OTHER)

    assert len(found.done) == 1
    assert [one.run_id for one in journal.journals(kube, SYSTEM)] == [RUN]


def test_a_dry_run_changes_nothing(kube: Kube) -> None:
    written(kube, Restore("east", SECRET))

    found = swept(kube, dry_run=True)

    assert len(found.done) == 1
    assert len(list(journal.journals(kube, SYSTEM))) == 1
    assert kube.read("Secret", "istio-remote-secret-west", SYSTEM) is None


ONE, TWO = {"spec": {"replicas": 1}}, {"spec": {"replicas": 2}}


@pytest.mark.parametrize(
    "step",
    [
        Restore("east", {**SECRET, "kind": "ServiceAccount"}),
        Restore("east", {**SECRET, "metadata": {**SECRET["metadata"], "namespace": "default"}}),
        Restore("east", {**SECRET, "metadata": {"name": "plain", "namespace": SYSTEM}}),
        Restore("east", {"kind": "Secret"}),
        Restore("west", SECRET),
        Merge("east", "ClusterRole", "admin", "", {"rules": []}, {}, ()),
        Merge("east", "Deployment", "a", "b", {"spec": {"template": {}}}, TWO, ()),
        Merge("east", "Deployment", "a", "b", {**ONE, "metadata": {}}, TWO, ()),
        Merge("east", "Deployment", "a", "b", {"spec": {"replicas": "1"}}, TWO, ()),
        Remove("east", "Namespace", "istio-mc-a", KUBE_SYSTEM, RUN),
        Remove("east", "Service", "kube-dns", KUBE_SYSTEM, RUN),
        Remove("east", "Service", "istio-mc-a", "payments", RUN),
        Remove("east", "Service", "istio-mc-a", KUBE_SYSTEM, OTHER),
        RestoreMeshConfig("east", "payments", "istio", RUN, (), "", ()),
        RestoreMeshConfig("east", SYSTEM, "payments", RUN, (), "", ()),
        RestoreMeshConfig("east", SYSTEM, "istio", OTHER, (), "", ()),
    ],
    ids=lambda step: type(step).__name__,
)
def test_a_journal_that_no_run_writes_is_told_of_and_not_honoured(kube: Kube, step: Step) -> None:
    written(kube, Restore("east", SECRET), step)

    found = swept(kube)

    assert found.done == ()
    assert any("is not honoured: " in line for line in found.told)
    assert kube.read("Secret", "istio-remote-secret-west", SYSTEM) is None


@pytest.mark.parametrize(
    "spoil",
    [
        {"type": "Opaque"},
        {"metadata": {"name": "istio-mc-journal-cafe0123"}},
        {"metadata": {"name": f"istio-mc-journal-{OTHER}-00000"}},
        {"data": {"journal": base64.b64encode(b"[" * 100_000).decode()}},
        {"data": {"journal": base64.b64encode(b"{}").decode()}},
        {"data": {"other": ""}},
        {"data": None},
        {"data": {"journal": base64.b64encode(json.dumps([1]).encode()).decode()}},
    ],
)
def test_a_secret_that_only_looks_like_a_journal_is_not_honoured(
    kube: Kube, spoil: dict[str, Any]
) -> None:
    written(kube, Restore("east", SECRET))
    (item,) = kube.list("Secret", SYSTEM, labels=journal.LABEL)
    kube.delete("Secret", item["metadata"]["name"], SYSTEM)
    metadata = {key: item["metadata"][key] for key in ("name", "namespace", "labels")}
    item = {"apiVersion": "v1", "kind": "Secret", "type": item["type"], "data": item["data"]}
    metadata |= spoil.get("metadata", {})
    kube.create({**item, **spoil, "metadata": metadata})

    found = swept(kube)

    assert found.done == ()
    assert len(found.told) == 1
    assert kube.read("Secret", "istio-remote-secret-west", SYSTEM) is None


def test_a_journal_in_a_tenants_namespace_is_not_even_read(kube: Kube) -> None:
    written(kube, Restore("east", SECRET))
    (item,) = kube.list("Secret", SYSTEM, labels=journal.LABEL)
    kube.delete("Secret", item["metadata"]["name"], SYSTEM)
    metadata = {**item["metadata"], "namespace": "default"}
    kept = {key: metadata[key] for key in ("name", "namespace", "labels")}
    kube.create({"apiVersion": "v1", "kind": "Secret", **item, "metadata": kept})

    assert swept(kube) == Swept("east")


def test_what_a_dead_run_made_in_a_prepared_namespace_goes_and_nothing_else_there(
    kube: Kube,
) -> None:
    namespace = {"metadata": {"name": "prepared", "labels": {"istio-injection": "enabled"}}}
    kube.apply({"apiVersion": "v1", "kind": "Namespace", **namespace})
    prepared.claim(kube, "prepared", RUN)
    lease.take(kube, "prepared", manifests.run_lease(RUN), RUN, {manifests.RUN_LABEL: RUN})
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}}
    ours = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ours"}}
    kube.apply(theirs, *manifests.labelled([ours], RUN), namespace="prepared")
    kube.apply(manifests.labelled([ours], OTHER)[0], namespace="default")
    assert swept(kube).done == ()
    assert swept(kube, prepared=()).pending == ()

    time.sleep(BRIEF + 1.1)
    found = swept(kube)

    assert found.done == (f"what is in namespace prepared of run {RUN}",)
    names = {item["metadata"]["name"] for item in kube.list("ConfigMap", "prepared")}
    assert {"ours", "theirs", prepared.CLAIM} & names == {"theirs"}
    assert kube.list(lease.KIND, "prepared") == []
    assert kube.read("ConfigMap", "ours", "default") is not None
    assert not is_going(kube, "prepared")


def test_what_was_kept_in_a_prepared_namespace_stays(kube: Kube) -> None:
    namespace = {"metadata": {"name": "kept", "labels": {"istio-injection": "enabled"}}}
    kube.apply({"apiVersion": "v1", "kind": "Namespace", **namespace})
    prepared.claim(kube, "kept", RUN)
    note = {"metadata": {"annotations": {manifests.KEPT_ANNOTATION: "true"}}}
    kube.merge("ConfigMap", prepared.CLAIM, "kept", note)
    time.sleep(BRIEF + 1.1)

    (told,) = (line for line in swept(kube).told if " kept " in line)

    assert "was kept; to remove it: kubectl --kubeconfig=" in told
    prepared.cleared(kube, "kept", RUN, 5.0)


def test_an_error_of_one_cluster_does_not_stop_another_and_the_command_says_it(
    api: KubernetesApi, kube: Kube, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    written(kube, Restore("east", SECRET))
    both = json.loads(api.kubeconfig.read_text())
    gone = {"name": "gone", "cluster": {"server": "https://127.0.0.1:1"}}
    both["clusters"].insert(0, gone)
    both["contexts"].insert(0, {"name": "gone", "context": {"cluster": "gone", "user": "admin"}})
    path = tmp_path / "both.json"
    path.write_text(json.dumps(both))

    assert cli.main(["sweep", f"--kubeconfig={path}"]) == cli.UNKNOWN

    told = capsys.readouterr()
    assert "swept: journal istio-system/" in told.out
    assert 'istio-mc: cluster "gone"' in told.err
    assert kube.read("Secret", "istio-remote-secret-west", SYSTEM) is not None
    assert cli.main(["sweep", f"--kubeconfig={path}", "--context=east"]) == cli.GOOD


def test_the_command_waits_for_a_heartbeat_and_says_when_a_run_is_at_work(
    api: KubernetesApi, kube: Kube, capsys: pytest.CaptureFixture[str]
) -> None:
    lease.take(kube, SYSTEM, LEASE, RUN, {})
    written(kube, Restore("east", SECRET))
    with lease.Heartbeats() as beats:
        beats.begin(kube, SYSTEM, LEASE, RUN)
        assert cli.main(["sweep", f"--kubeconfig={api.kubeconfig}"]) == cli.UNKNOWN
    told = capsys.readouterr()
    assert f"run {RUN} may still be at work; waiting up to" in told.err
    assert f"run {RUN} is at work" in told.out

    assert cli.main(["sweep", f"--kubeconfig={api.kubeconfig}"]) == cli.GOOD

    assert "swept: journal istio-system/" in capsys.readouterr().out
    assert kube.read("Secret", "istio-remote-secret-west", SYSTEM) is not None
    assert lease.lease_in(kube, SYSTEM, LEASE) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--run=cafe0123"],
        ["--context=east"],
        ["--kubeconfig={}", "--run=payments"],
        ["--kubeconfig={}", "--context=nowhere"],
        ["--kubeconfig=/dev/null"],
    ],
)
def test_the_command_refuses_what_makes_no_sense(
    arguments: list[str], api: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.format(api.kubeconfig) for argument in arguments]

    assert cli.main(["sweep", *given]) == cli.USAGE

    assert capsys.readouterr().err.startswith("istio-mc: ")
