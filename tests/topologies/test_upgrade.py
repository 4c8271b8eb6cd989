"""Upgrades: the order of their phases, what they leave, and every interruption of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from pytest_istio_mc.errors import KubeError, MeshError, UsageProblem
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.istio_names import of_revision
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.spec import ClusterSpec
from pytest_istio_mc.topologies import istio, known, steps
from pytest_istio_mc.topologies.access import ClusterAccess
from pytest_istio_mc.topologies.istio import IstioDistribution, Manifest
from pytest_istio_mc.topologies.phases import PHASES, Method, Phase
from pytest_istio_mc.topologies.upgrade import Upgrade

from .living import HUB, SYSTEM, LivingCluster, istio_manifests

OLD = IstioDistribution(Path("istioctl"), HUB, "old", Path("cache"))
NEW = IstioDistribution(Path("istioctl"), HUB, "new", Path("cache"))
CANARY = replace(NEW, revision="1-31")
WAITS = Timeouts().scaled(0.01)

MULTI_PRIMARY = "multi-network-multi-primary"
PRIMARY_REMOTE = "multi-network-primary-remote"


class Living:
    """A mesh of two living clusters with the old Istio, and all that was marked."""

    def __init__(self, topology: str) -> None:
        self.spec = known()[topology].default_spec()
        self.marks: list[str] = []
        self.notes: list[str] = []
        first = LivingCluster("cluster1")
        remote = first if topology == PRIMARY_REMOTE else None
        self.clusters = {"cluster1": first, "cluster2": LivingCluster("cluster2", remote)}
        for name, cluster in self.clusters.items():
            cluster.namespace(SYSTEM)
            cluster.namespace("shop", injection="enabled")
            cluster.namespace("plain")
            cluster.apply(*istio_manifests("", "old", istiod=self.spec.cluster(name).runs_istiod))
            cluster.add("Deployment", "shop", "web", app="web")
            cluster.add("StatefulSet", "shop", "db", app="db")
            cluster.add("Deployment", "plain", "batch", app="batch")
            labels = {"sidecar.istio.io/inject": "true"}
            cluster.add("Deployment", SYSTEM, istio.EAST_WEST_GATEWAY, **labels)
            gateway = cluster.objects["Deployment", SYSTEM, istio.EAST_WEST_GATEWAY]
            annotations = {"inject.istio.io/templates": "gateway"}
            gateway["pod"]["metadata"]["annotations"] |= annotations
            gateway["spec"]["template"]["metadata"]["annotations"] = annotations
            cluster.log.clear()

    def upgrade(
        self,
        method: Method = Method.CANARY,
        source: IstioDistribution = OLD,
        target: IstioDistribution = CANARY,
        *,
        back: bool = False,
    ) -> Upgrade:
        """An upgrade of it."""
        accesses = {
            name: ClusterAccess(name, "kubeconfig", name, "https://peer", cast("Kube", cluster))
            for name, cluster in self.clusters.items()
        }
        progress = Progress(self.notes.append)
        ends = (target, source) if back else (source, target)
        return Upgrade(
            self.spec,
            accesses,
            *ends,
            method,
            progress,
            WAITS,
            self.marks.append,
            back,
            {"old": "1.30", "new": "1.31"},
        )

    def proxies(self) -> dict[str, set[tuple[str, str]]]:
        """The revisions and tags of the proxies of each cluster."""
        return {name: set(one.proxies().values()) for name, one in self.clusters.items()}

    def names(self, kind: str) -> set[str]:
        """The names of all objects of a kind."""
        every = (key for cluster in self.clusters.values() for key in cluster.objects)
        return {name for known_kind, _, name in every if known_kind == kind}


@pytest.fixture(autouse=True)
def _istioctl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renders what living clusters understand, and sets tags in them."""

    def control_plane(
        self: steps.Build, cluster: ClusterSpec, mesh_config: object = None
    ) -> list[Manifest]:
        one = self.istio
        return istio_manifests(one.revision, one.tag, istiod=cluster.runs_istiod)

    monkeypatch.setattr(steps.Build, "control_plane", control_plane)
    monkeypatch.setattr(steps.Build, "gateway", lambda self, cluster: [])


@pytest.fixture
def living(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Living:
    """A multi-primary mesh, or of the topology of the test's parameter."""
    mesh = Living(getattr(request, "param", MULTI_PRIMARY))

    def run_istioctl(_: object, arguments: Sequence[str], **__: Any) -> str:
        assert arguments[:1] == ["tag"]
        context = next(one for one in arguments if one.startswith("--context="))
        cluster = mesh.clusters[context.partition("=")[2]]
        name = "istio-revision-tag-default"
        if arguments[1] == "set":
            revision = next(one for one in arguments if one.startswith("--revision="))
            labels = {"istio.io/rev": revision.partition("=")[2], "istio.io/tag": "default"}
            kind = "MutatingWebhookConfiguration"
            cluster.apply({"kind": kind, "metadata": {"name": name, "labels": labels}})
        else:
            cluster.delete("MutatingWebhookConfiguration", name)
        return ""

    monkeypatch.setattr(istio, "run_istioctl", run_istioctl)
    return mesh


def everywhere(revision: str, tag: str) -> dict[str, set[tuple[str, str]]]:
    """Proxies of one revision and tag in both clusters."""
    return {name: {(revision, tag)} for name in ("cluster1", "cluster2")}


both = pytest.mark.parametrize("living", [MULTI_PRIMARY, PRIMARY_REMOTE], indirect=True)


@both
def test_a_canary_replaces_everything_and_leaves_nothing_of_the_old(living: Living) -> None:
    times = living.upgrade().run()

    assert living.proxies() == everywhere("1-31", "new")
    assert living.names("MutatingWebhookConfiguration") == {
        "istio-sidecar-injector-1-31",
        "istio-revision-tag-default",
    }
    assert {"istiod", "istio"}.isdisjoint(living.names("Deployment") | living.names("ConfigMap"))
    assert "gateways.networking.istio.io" in living.names("CustomResourceDefinition")
    assert "istio-reader-service-account" in living.names("ServiceAccount")
    assert living.marks == [
        "all clusters: definitions",
        *(f"cluster1: {phase}" for phase in ("istiod", "workloads", "gateways")),
        *(f"cluster2: {phase}" for phase in ("istiod", "workloads", "gateways")),
        "cluster1, cluster2: tags",
        "cluster1, cluster2: removal",
        "end",
    ]
    assert [one.phase for one in times] == [Phase(m.rpartition(" ")[2]) for m in living.marks[:-1]]


@pytest.mark.parametrize("method", [Method.CANARY, Method.RESTART])
def test_probes_that_count_requests_meanwhile_are_left_alone(
    living: Living, method: Method
) -> None:
    """Nor are they in the way of what comes after."""
    for cluster in living.clusters.values():
        cluster.namespace("probes", injection="enabled")
        cluster.add("Deployment", "probes", "client", **{"istio-mc.dev/run": "cafe0123"})
        cluster.log.clear()

    source, target = (OLD, OLD) if method is Method.RESTART else (OLD, CANARY)
    replace(living.upgrade(method, source, target), spared="istio-mc.dev/run").run()

    touched = [line for one in living.clusters.values() for line in one.log]
    assert any("Deployment" in line for line in touched)
    assert [line for line in touched if line.endswith(" client")] == []


@both
def test_definitions_and_reader_roles_are_everywhere_before_any_istiod(living: Living) -> None:
    living.upgrade().run(until=Phase.DEFINITIONS)

    for cluster in living.clusters.values():
        assert sorted(cluster.log) == [
            "apply ClusterRole istio-reader-clusterrole-1-31-istio-system",
            "apply CustomResourceDefinition gateways.networking.istio.io",
            "apply ServiceAccount istio-reader-service-account",
        ]


@both
@pytest.mark.parametrize("until", list(Phase), ids=lambda phase: phase.value)
def test_an_upgrade_is_taken_back_from_every_phase(living: Living, until: Phase) -> None:
    def labels(name: str) -> dict[str, Any]:
        namespace = living.clusters[name].objects["Namespace", "", "shop"]
        return dict(namespace["metadata"]["labels"])

    before = living.proxies()
    namespaces = {name: labels(name) for name in living.clusters}
    kinds = ("Deployment", "ConfigMap", "Service", "MutatingWebhookConfiguration", "VirtualService")
    objects = {kind: living.names(kind) for kind in kinds}
    living.upgrade().run(until=until)

    living.upgrade(back=True).run()

    assert living.proxies() == before
    assert {name: labels(name) for name in living.clusters} == namespaces
    routes = {"istiod-vs"} if living.names("VirtualService") else set()
    assert {kind: living.names(kind) for kind in kinds} == objects | {"VirtualService": routes}
    for cluster in living.clusters.values():
        gateway = cluster.objects["Deployment", SYSTEM, istio.EAST_WEST_GATEWAY]
        assert "istio.io/rev" not in gateway["spec"]["template"]["metadata"]["labels"]


@both
def test_an_upgrade_that_is_done_does_nothing_when_it_is_asked_for_again(living: Living) -> None:
    living.upgrade().run()
    pods = {name: cluster.pods() for name, cluster in living.clusters.items()}

    living.upgrade().run()

    assert {name: cluster.pods() for name, cluster in living.clusters.items()} == pods


@both
def test_an_upgrade_goes_on_wherever_it_was_interrupted(living: Living) -> None:
    """Every request that changes something fails once, and the same command is given again."""
    done = 0
    refused = -1

    def fail(what: str) -> None:
        nonlocal done, refused
        if done > refused:
            refused, done = done, 0
            raise KubeError("cluster", what, "refused")
        done += 1

    for cluster in living.clusters.values():
        cluster.fail = fail
    attempts = 0
    while True:
        attempts += 1
        done = 0
        try:
            living.upgrade().run()
            break
        except KubeError:
            assert attempts < 400
    assert attempts > 20
    assert living.proxies() == everywhere("1-31", "new")
    assert "istiod" not in living.names("Deployment")


def test_one_cluster_alone_makes_a_mesh_of_two_versions(living: Living) -> None:
    living.upgrade().run(["cluster2"])

    assert living.proxies() == {"cluster1": {("default", "old")}, "cluster2": {("1-31", "new")}}
    assert living.clusters["cluster1"].objects.keys() >= {("Deployment", SYSTEM, "istiod")}
    assert ("Deployment", SYSTEM, "istiod") not in living.clusters["cluster2"].objects
    one, other = living.upgrade().state()
    assert one == (
        "cluster1: istiod default 1.30 (1 of 1 ready); 2 workload pods of default 1.30; "
        "1 gateway pod of default 1.30"
    )
    assert other == (
        "cluster2: istiod 1-31 1.31 (1 of 1 ready); 2 workload pods of 1-31 1.31; "
        "1 gateway pod of 1-31 1.31; the tag default is 1-31"
    )


@pytest.mark.parametrize("living", [PRIMARY_REMOTE], indirect=True)
def test_a_remote_does_not_go_before_its_primary(living: Living) -> None:
    with pytest.raises(UsageProblem, match="cluster2 is served by cluster1, whose istiod"):
        living.upgrade().run(["cluster2"])

    assert living.clusters["cluster2"].log == []


@pytest.mark.parametrize("living", [PRIMARY_REMOTE], indirect=True)
def test_an_istiod_that_others_still_use_is_not_removed(living: Living) -> None:
    with pytest.raises(MeshError, match=r"still of revision default.*left in place") as failed:
        living.upgrade().run(["cluster1"])

    assert failed.value.thing == 'cluster "cluster2"'
    assert "Deployment shop/web" in failed.value.detail
    assert ("Deployment", SYSTEM, "istiod") in living.clusters["cluster1"].objects

    living.upgrade().run()

    assert living.proxies() == everywhere("1-31", "new")


@pytest.mark.parametrize("living", [PRIMARY_REMOTE], indirect=True)
def test_remotes_find_the_new_istiod_by_its_name(living: Living) -> None:
    living.upgrade().run(until=Phase.ISTIOD)

    key = ("VirtualService", SYSTEM, "istiod-vs-1-31")
    (https, webhook) = living.clusters["cluster1"].objects[key]["spec"]["tls"]
    assert https["match"][0]["sniHosts"][0] == "istiod-1-31.istio-system.svc"
    assert webhook["route"][0]["destination"]["port"] == {"number": 443}


@both
def test_in_place_the_revision_stays(living: Living) -> None:
    living.upgrade(Method.IN_PLACE, OLD, NEW).run()

    assert living.proxies() == everywhere("default", "new")
    assert not any(mark.endswith(("tags", "removal")) for mark in living.marks)

    living.upgrade(Method.IN_PLACE, OLD, NEW, back=True).run()

    assert living.proxies() == everywhere("default", "old")


@both
def test_a_restart_changes_nothing_but_the_pods(living: Living) -> None:
    before = living.proxies()
    pods = {pod["metadata"]["creationTimestamp"] for pod in living.clusters["cluster1"].pods()}

    living.upgrade(Method.RESTART, OLD, OLD).run()

    assert living.proxies() == before
    after = living.clusters["cluster1"].pods()
    restarted = [pod for pod in after if pod["metadata"]["creationTimestamp"] not in pods]
    kept = [pod["metadata"]["name"] for pod in after if pod not in restarted]
    assert kept == ["batch-1"]
    waves = [mark for mark in living.marks if mark != "end"]
    assert waves == [
        f"{name}: {phase}"
        for name in living.clusters
        for phase in ("istiod", "workloads", "gateways")
    ]


def test_the_mesh_configuration_of_the_old_istiod_is_kept(living: Living) -> None:
    for cluster in living.clusters.values():
        mesh = {"trustDomainAliases": ["other"], "defaultConfig": {"proxyMetadata": {"A": "b"}}}
        cluster.objects["ConfigMap", SYSTEM, "istio"]["data"]["mesh"] = yaml.safe_dump(mesh)

    living.upgrade().run(until=Phase.ISTIOD)

    data = living.clusters["cluster1"].objects["ConfigMap", SYSTEM, "istio-1-31"]["data"]
    assert yaml.safe_load(data["mesh"]) == {
        "trustDomain": "cluster.local",
        "trustDomainAliases": ["other"],
        "defaultConfig": {"proxyMetadata": {"A": "b"}, "discoveryAddress": "istiod-1-31"},
    }


def test_pods_that_name_a_revision_themselves_are_turned_and_turned_back(living: Living) -> None:
    for cluster in living.clusters.values():
        named = {"istio.io/rev": "default", "sidecar.istio.io/inject": "true"}
        cluster.add("Deployment", "plain", "own", **named)

    living.upgrade().run()
    assert living.proxies()["cluster1"] == {("1-31", "new")}

    living.upgrade(back=True).run()

    own = living.clusters["cluster1"].objects["Deployment", "plain", "own"]
    assert own["spec"]["template"]["metadata"]["labels"]["istio.io/rev"] == "default"
    assert living.clusters["cluster1"].proxies()["own"] == ("default", "old")


def test_what_nothing_makes_anew_is_told_and_keeps_the_old_istiod(living: Living) -> None:
    cluster = living.clusters["cluster1"]
    cluster.add("Deployment", "shop", "alone", app="alone")
    alone = cluster.objects.pop(("Deployment", "shop", "alone"))["pod"]
    del alone["metadata"]["ownerReferences"]
    cluster.objects["Bare", "shop", "alone"] = {"pod": alone, "metadata": {}}

    with pytest.raises(MeshError, match="left in place") as failed:
        living.upgrade().run()

    assert failed.value.detail == "Pod shop/alone-1"
    told = "cluster1: not restarted, since nothing makes it anew: Pod shop/alone-1"
    assert any(told in note for note in living.notes)
    assert ("Deployment", SYSTEM, "istiod") in cluster.objects


@pytest.mark.parametrize(
    ("names", "until", "told"),
    [
        (["cluster3"], None, '--clusters: "cluster3" is not in the mesh'),
        ([], Phase.TAGS, r'--until: "tags" is no phase of this upgrade \(in-place\)'),
    ],
)
def test_what_cannot_be_asked_for_is_refused_before_anything_changes(
    living: Living, names: list[str], until: Phase | None, told: str
) -> None:
    with pytest.raises(UsageProblem, match=told):
        living.upgrade(Method.IN_PLACE, OLD, NEW).run(names, until)

    assert [cluster.log for cluster in living.clusters.values()] == [[], []]
    assert living.marks == []


def test_every_method_restarts_what_runs() -> None:
    for phases in PHASES.values():
        assert {Phase.ISTIOD, Phase.WORKLOADS, Phase.GATEWAYS} <= set(phases)


def test_a_revision_names_its_objects() -> None:
    assert CANARY.named("istiod") == of_revision("istiod", "1-31") == "istiod-1-31"
    assert OLD.named("istiod") == "istiod"
