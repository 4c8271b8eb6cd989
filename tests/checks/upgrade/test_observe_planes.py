"""Samples of injection, istiods and proxies: what is kept of them, and what cannot be read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_istio_mc.checks.site import Site
from pytest_istio_mc.checks.upgrade import observe_planes
from pytest_istio_mc.checks.upgrade.observe_planes import Samples, proxies
from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.istio_names import INJECTION_LABEL
from tests.checks.live_mesh import NAMESPACE, here, mesh

PROXY = {"name": "istio-proxy"}
NETWORKS = [{"Network": "network2", "Addr": "198.19.2.1", "Port": 15443}]
REMOTES = [{"id": "west", "syncStatus": "synced"}]
METRICS = 'pilot_xds_pushes{type="cds"} 5\npilot_xds_pushes{type="eds"} 2\n'


class FakeKube:
    """A cluster of which only what the samples ask for is there."""

    name = "east"

    def __init__(self) -> None:
        self.containers = [PROXY]
        self.refusal: KubeError | None = None
        self.applied: list[Any] = []
        self.answers: dict[str, Any] = {
            "/debug/networkz": NETWORKS,
            "/debug/clusterz": REMOTES,
            "/metrics": METRICS,
        }
        self.pods = [pod("istiod-1")]
        self.labels = {INJECTION_LABEL: "enabled"}

    def read(self, kind: str, name: str, namespace: str = "") -> Any:
        if kind == "Namespace":
            return {"metadata": {"name": name, "labels": self.labels}}
        if kind == "ConfigMap":
            return None
        return {"spec": {"template": {"metadata": {}, "spec": {"containers": []}}}}

    def list(self, kind: str, namespace: str = "", **options: Any) -> Any:
        return self.pods if kind == "Pod" else []

    def create(self, manifest: Any, *, dry_run: bool) -> Any:
        assert dry_run, "nothing is made"
        assert manifest["metadata"]["namespace"] == NAMESPACE
        if self.refusal:
            raise self.refusal
        return {"spec": {"containers": [{"name": "probe"}, *self.containers]}}

    def apply(self, *manifests: Any) -> None:
        self.applied += manifests

    def http_get(self, namespace: str, pod: str, port: int, path: str, **options: Any) -> bytes:
        answer = next((self.answers[key] for key in self.answers if path.startswith(key)), None)
        if answer is None:
            raise KubeError(f"pod {pod}", f"GET {path}", "HTTP 404", status=404)
        return answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()


def pod(name: str, *, ready: bool = True, restarts: int = 0, **ended: Any) -> dict[str, Any]:
    container = {"restartCount": restarts, "lastState": {"terminated": ended} if ended else {}}
    conditions = [{"type": "Ready", "status": str(ready)}]
    status = {"conditions": conditions, "containerStatuses": [container]}
    return {"metadata": {"name": name}, "status": status}


@pytest.fixture
def kube() -> FakeKube:
    """The only cluster that is asked."""
    return FakeKube()


@pytest.fixture
def samples(kube: FakeKube) -> Samples:
    """Samples of a mesh, none of which has been taken."""
    return Samples(site(kube))


def site(kube: FakeKube) -> Site:
    return cast("Site", SimpleNamespace(here=here(), kubes=lambda: {"east": kube, "west": kube}))


def test_of_one_state_the_first_and_the_last_look_are_kept(
    samples: Samples, kube: FakeKube
) -> None:
    for _ in range(5):
        samples._admit("east")
    kube.refusal = KubeError("pod", "create", "no endpoints for istiod", status=500)
    for _ in range(5):
        samples._admit("east")
    samples.next_phase()
    samples._admit("east")

    assert [look.accepted for look in samples.admissions] == [True, True, False, False, False]
    assert samples.admissions[-1].error == "no endpoints for istiod"


def test_what_flaps_takes_bounded_memory(
    samples: Samples, kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe_planes, "MOST_LOOKS", 10)
    for number in range(50):
        kube.containers = [PROXY] if number % 2 else []
        samples._admit("east")

    assert len(samples.admissions) < 15


@pytest.mark.parametrize("status", [0, 401, 403])
def test_who_may_not_ask_knows_nothing_of_injection(
    samples: Samples, kube: FakeKube, status: int
) -> None:
    kube.refusal = KubeError("pod", "create", "pods is forbidden: User cannot", status=status)

    samples._admit("east")

    assert samples.admissions == ()
    assert samples.unread[0].what == "injection in east"


def test_the_runs_own_namespace_follows_the_revision_that_is_there(
    samples: Samples, kube: FakeKube
) -> None:
    kube.containers, kube.labels = [], {"istio.io/rev": "1-30"}

    samples._admit("east")

    (namespace,) = kube.applied
    assert namespace["metadata"]["name"] == NAMESPACE
    assert namespace["metadata"]["labels"][INJECTION_LABEL] == "enabled"
    assert samples.admissions == ()  # it is asked again, with the labels of now


def test_a_pod_without_a_sidecar_is_seen_where_the_labels_are_right(
    samples: Samples, kube: FakeKube
) -> None:
    kube.containers = []

    samples._admit("east")

    assert [look.accepted for look in samples.admissions] == [False]
    assert kube.applied == []


def test_an_istiod_is_asked_for_gateways_remotes_and_counters(samples: Samples) -> None:
    samples._look_at_istiods("east")

    (look,) = samples.istiods
    assert look.gateways == {"network2": ("198.19.2.1:15443",)}
    assert look.remotes == {"west": "synced"}
    assert (look.rejects, look.pushes, look.unread) == (0.0, 7.0, ())


def test_an_istiod_that_is_not_ready_is_seen_and_not_asked(
    samples: Samples, kube: FakeKube
) -> None:
    kube.pods = [pod("istiod-1", ready=False, restarts=2, reason="Error", exitCode=2)]

    samples._look_at_istiods("east")

    (seen,) = samples.pods
    assert (seen.ready, seen.restarts, seen.ended_with) == (False, 2, "Error, exit code 2")
    assert samples.istiods == ()


@pytest.mark.parametrize(
    ("path", "what"),
    [("/debug/networkz", "networkz"), ("/debug/clusterz", "clusterz"), ("/metrics", "metrics")],
)
def test_what_an_istiod_does_not_tell_is_said_and_the_rest_is_kept(
    samples: Samples, kube: FakeKube, path: str, what: str
) -> None:
    del kube.answers[path]

    samples._look_at_istiods("east")

    assert samples.istiods[0].unread == (what,)
    assert [one.what for one in samples.unread] == [f"{what} of istiod in east"]


def statuses(**numbers: int) -> dict[str, Any]:
    found = []
    for service, number in numbers.items():
        name = f"outbound|5000||{service.replace('_', '-')}.{NAMESPACE}.svc.cluster.local"
        hosts = [{"health_status": {"eds_health_status": "HEALTHY"}}] * number
        sick = {"health_status": {"eds_health_status": "UNHEALTHY"}}
        found.append({"name": name, "host_statuses": [*hosts, sick]})
    return {"cluster_statuses": found}


def test_usable_endpoints_are_counted_for_each_target(samples: Samples, kube: FakeKube) -> None:
    kube.answers["/clusters"] = statuses(count_v1=1, count_v2=0, count_v2_once=3)

    samples._look_at_client("east")

    assert {(one.target, one.endpoints) for one in samples.endpoints} == {("east", 1), ("west", 0)}


@pytest.mark.parametrize("answer", ["nonsense", "[]", '{"cluster_statuses": [1]}'])
def test_an_answer_that_is_none_is_unread(samples: Samples, kube: FakeKube, answer: str) -> None:
    kube.answers["/clusters"] = answer

    samples._look_at_client("east")

    assert samples.endpoints == ()
    assert samples.unread[0].what == "endpoints of the client's proxy in east"


def test_proxies_tell_their_clusters_and_what_cannot_be_read_is_named(kube: FakeKube) -> None:
    found, failures = proxies(site(kube))
    assert found == ()
    assert len(failures) == len(mesh().require_probes().pods)

    names = ["inbound|5000||", "outbound|80||x.y.svc", "BlackHoleCluster"]
    clusters = {"configs": [{"cluster": {"name": name}} for name in names]}
    kube.answers["/config_dump?resource"] = clusters
    kube.answers["/config_dump?include_eds"] = {"configs": []}
    found, failures = proxies(site(kube))

    assert failures == ()
    assert (found[0].inbound, found[0].outbound) == (("inbound|5000||",), ("outbound|80||x.y.svc",))


def test_looks_go_on_after_an_error_and_end_with_the_block(
    samples: Samples, kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe_planes, "INJECTION_EVERY", 0.01)
    seen: list[str] = []

    def look(name: str) -> Callable[[str], None]:
        def looked(cluster: str) -> None:
            seen.append(name)
            raise KubeError(f"cluster {cluster}", "GET", "refused")

        return looked

    for name in ("_admit", "_look_at_client", "_look_at_istiods"):
        monkeypatch.setattr(samples, name, look(name))
    with samples.going_on():
        while seen.count("_admit") < 4:
            time.sleep(0.01)

    assert {"_admit", "_look_at_client", "_look_at_istiods"} == set(seen)
    assert {one.what for one in samples.unread} == {"cluster east", "cluster west"}
