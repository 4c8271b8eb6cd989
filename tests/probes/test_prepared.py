"""Prepared namespaces, on a real API server: nothing of others is touched there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.errors import MeshError, NotInTime, ObservationError, ProvisionError
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh, Wishes
from pytest_istio_mc.probes import manifests, objects, policies, prepared
from pytest_istio_mc.probes.workloads import deployed, namespaces, own_namespace
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from tests.kubernetes_api import KubernetesApi, kubernetes_api, programs

ISTIO = (
    ("security.istio.io", "AuthorizationPolicy"),
    ("security.istio.io", "PeerAuthentication"),
    ("networking.istio.io", "DestinationRule"),
)
RUN, OTHER = "0123abcd", "89abcdef"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    with kubernetes_api(programs(), tmp_path_factory.mktemp("api"), "east") as api:
        with closing(api.kube()) as kube:
            kube.apply(*(definition(*one) for one in ISTIO))
        yield api


def definition(group: str, kind: str) -> dict[str, Any]:
    """Istio's kinds, as far as an API server needs to know them."""
    plural = f"{kind.lower()}s".replace("ys", "ies")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    names = {"kind": kind, "plural": plural}
    spec = {"group": group, "names": names, "scope": "Namespaced"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {**spec, "versions": [{**version, "schema": {"openAPIV3Schema": schema}}]},
    }


@pytest.fixture
def kube(api: KubernetesApi) -> Iterator[Kube]:
    kube = api.kube()
    yield kube
    kube.close()


def prepare(kube: Kube, **labels: str) -> str:
    name = f"prepared-{next(_numbers)}"
    wanted = {"istio-injection": "enabled", **labels}
    metadata = {"name": name, "labels": wanted}
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return name


def mesh(*names: str, run_id: str = RUN) -> Mesh:
    spec = MeshSpec("test", (ClusterSpec("east", "network1", context="east"),))
    return Mesh(spec, run_id, "attach", "python", wishes=Wishes(names))


def config_map(name: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}


def names_of(kube: Kube, kind: str, namespace: str) -> set[str]:
    ours = {"default", "kube-root-ca.crt"}
    return {item["metadata"]["name"] for item in kube.list(kind, namespace)} - ours


def probe_objects() -> list[dict[str, Any]]:
    made = manifests.workloads("east", "v1", manifests.Form(RUN, "python"), [])
    return [*made, policies.network_policy(RUN)]


def test_everything_of_the_run_goes_and_everything_else_stays(kube: Kube) -> None:
    name = prepare(kube)
    kube.apply(
        config_map("theirs"), config_map("others", **{manifests.RUN_LABEL: OTHER}), namespace=name
    )
    before = kube.list("ConfigMap", name)
    prepared.claim(kube, name, RUN)
    objects.apply(mesh(name), kube, name, *probe_objects())
    assert names_of(kube, "Deployment", name) == {"client", "helloworld-v1"}
    assert names_of(kube, "ConfigMap", name) == {"theirs", "others", "probe", prepared.CLAIM}

    prepared.cleared(kube, name, RUN, within_seconds=10)

    assert kube.list("ConfigMap", name) == before
    for kind in ("Deployment", "Service", "ServiceAccount", "NetworkPolicy"):
        assert names_of(kube, kind, name) == set(), kind
    assert kube.read("Namespace", name) is not None


def test_a_second_run_is_refused_and_told_whose_turn_it_is(kube: Kube) -> None:
    name = prepare(kube)
    prepared.claim(kube, name, OTHER)

    with pytest.raises(ProvisionError) as refused:
        prepared.claim(kube, name, RUN)

    assert f"is in use (by run {OTHER} of " in str(refused.value)
    assert "istio-mc sweep --kubeconfig=" in str(refused.value)
    assert f"--context=east --run={OTHER}" in str(refused.value)
    prepared.cleared(kube, name, RUN, within_seconds=5)
    assert kube.read("ConfigMap", prepared.CLAIM, name) is not None
    prepared.cleared(kube, name, OTHER, within_seconds=5)
    prepared.claim(kube, name, RUN)


def test_a_claim_that_is_no_runs_is_left_alone(kube: Kube) -> None:
    name = prepare(kube)
    kube.apply(config_map(prepared.CLAIM), namespace=name)

    with pytest.raises(ProvisionError, match="a ConfigMap istio-mc that is not a run's"):
        prepared.claim(kube, name, RUN)


def test_a_namespace_that_cannot_serve_is_refused_with_the_next_move(kube: Kube) -> None:
    with pytest.raises(ProvisionError, match="is not there"):
        prepared.claim(kube, "nowhere", RUN)
    name = prepare(kube, **{"istio-injection": "disabled"})
    with pytest.raises(ProvisionError, match="asks for no sidecars") as refused:
        prepared.claim(kube, name, RUN)
    assert f"label namespace/{name} istio-injection=enabled" in refused.value.advice
    prepared.claim(kube, prepare(kube, **{"istio-injection": "", "istio.io/rev": "1-31"}), RUN)


@pytest.mark.parametrize("labels", [{}, {manifests.RUN_LABEL: OTHER}], ids=["users", "other-run"])
def test_an_object_of_that_name_is_neither_taken_over_nor_removed(
    kube: Kube, labels: dict[str, str]
) -> None:
    name = prepare(kube)
    kube.apply(config_map("probe", **labels), namespace=name)
    before, ours = kube.read("ConfigMap", "probe", name), mesh(name)

    with pytest.raises(ObservationError, match="ConfigMap probe that is not of this run"):
        objects.apply(ours, kube, name, *probe_objects())
    wanted = {"east": [config_map("probe")]}
    with (
        pytest.raises(ObservationError, match="probe"),
        objects.present(ours, {"east": kube}, name, wanted),
    ):
        pytest.fail("it was taken over")
    objects.remove(ours, kube, name, "ConfigMap", "probe")

    assert kube.read("ConfigMap", "probe", name) == before
    assert names_of(kube, "Deployment", name) == set()


def test_a_run_that_cannot_start_leaves_nothing(kube: Kube) -> None:
    name = prepare(kube)
    kube.apply(config_map("probe"), namespace=name)
    before = kube.list("ConfigMap", name)
    run = deployed(mesh(name), {"east": kube}, Timeouts(), Progress())

    with pytest.raises(ObservationError, match="not of this run"), run:
        pytest.fail("the probes came up")

    assert kube.list("ConfigMap", name) == before


def test_a_check_without_a_namespace_of_its_own_could_not_find_out(kube: Kube) -> None:
    first, second, third = "a", "b", "c"
    kubes = {"east": kube}
    with (
        pytest.raises(ObservationError) as missing,
        own_namespace(mesh(first), kubes, Timeouts(), "config"),
    ):
        pytest.fail("there is none")
    assert "--mesh-namespace=a,OTHER" in missing.value.advice

    taken = []
    for names in ((first, second), (first, second, third)):
        for purpose in ("config", "imports", "local", "mine"):
            with own_namespace(mesh(*names), kubes, Timeouts(), purpose) as name:
                taken.append(name)
    assert taken == [second] * 4 + [second, third, second, second]


def test_without_prepared_ones_a_run_makes_and_removes_its_own(kube: Kube) -> None:
    run = mesh(run_id="00000001")
    assert namespaces(run)[0] == "istio-mc-00000001"
    kubes = {"east": kube}
    for _ in range(2):  # the second one may have to wait until the first is gone
        with own_namespace(run, kubes, Timeouts(), "config") as name:
            assert name in namespaces(run)
            there = kube.read("Namespace", name)
            assert there is not None
            assert there["metadata"]["labels"][manifests.RUN_LABEL] == "00000001"
            objects.apply(run, kube, name, config_map("mine"))
        # this API server has no controller that would finish the deletion
        finish(kube, name)


def test_a_namespace_that_merely_bears_the_label_of_the_run_stays(kube: Kube) -> None:
    theirs = prepare(kube, **{manifests.RUN_LABEL: "00000002"})
    run = mesh(run_id="00000002")
    soon = replace(Timeouts(), workload_ready=0.5, clean_up=1.0)

    # no controller makes pods here, nor ends the deletion of namespaces
    with (
        pytest.raises(NotInTime) as failed,
        deployed(run, {"east": kube}, soon, Progress()),
    ):
        pytest.fail("the probes came up")

    assert "istio-mc-00000002 to be gone" in "".join(failed.value.__notes__)
    own = kube.read("Namespace", "istio-mc-00000002")
    assert own is not None
    assert own["metadata"]["deletionTimestamp"]
    there = kube.read("Namespace", theirs)
    assert there is not None
    assert "deletionTimestamp" not in there["metadata"]


@pytest.mark.parametrize("policies_there", [False, True])
def test_probes_are_let_through_where_the_namespace_has_network_policies(
    kube: Kube, policies_there: bool
) -> None:
    name = prepare(kube)
    deny: dict[str, Any] = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    kind, metadata = "NetworkPolicy", {"name": "default-deny"}
    theirs = {"apiVersion": "networking.k8s.io/v1", "kind": kind, "metadata": metadata}
    if policies_there:
        kube.apply({**theirs, "spec": deny}, namespace=name)
    soon = replace(Timeouts(), workload_ready=0.5)
    seen: list[set[str]] = []

    def remember(error: MeshError) -> None:
        seen.append(names_of(kube, kind, name))

    run = mesh(name)
    with (
        pytest.raises(MeshError),
        watched(kube, remember),
        deployed(run, {"east": kube}, soon, Progress()),
    ):
        pytest.fail("the probes came up")

    assert seen[-1] == ({"default-deny", "istio-mc-probes"} if policies_there else set())
    assert names_of(kube, kind, name) == ({"default-deny"} if policies_there else set())


@contextmanager
def watched(kube: Kube, see: Callable[[MeshError], None]) -> Iterator[None]:
    """Call ``see`` when a wait for Deployments has failed, before anything is removed."""
    real = kube.wait_available

    def wait(*args: Any, **options: Any) -> None:
        try:
            real(*args, **options)
        except MeshError as error:
            see(error)
            raise

    kube.wait_available = wait  # type: ignore[method-assign]
    yield


def finish(kube: Kube, name: str) -> None:
    for item in kube.list("ConfigMap", name):
        kube.delete("ConfigMap", item["metadata"]["name"], name)
    there = kube.read("Namespace", name)
    if there is not None:
        there["spec"]["finalizers"] = []
        kube._connection.request("PUT", f"/api/v1/namespaces/{name}/finalize", (), there)


def test_own_namespaces_are_told_from_others() -> None:
    own = mesh()

    assert prepared.is_own(own, f"istio-mc-{RUN}")
    assert prepared.is_own(own, f"istio-mc-{RUN}-config")
    assert not prepared.is_own(own, "kube-system")
    assert not prepared.is_own(own, f"istio-mc-{OTHER}")
    assert not prepared.is_own(own, f"istio-mc-{RUN}e")
    assert not prepared.is_own(replace(own, wishes=Wishes(("a",))), f"istio-mc-{RUN}")
