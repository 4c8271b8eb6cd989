"""The probes on a real mesh, asked for everything that they can tell.

They are deployed once for all tests here, and gone at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pytest_istio_mc.checks.control_plane.live import configuration_source, injection
from pytest_istio_mc.checks.control_plane.observe import config_in_force, injections, revisions
from pytest_istio_mc.checks.tracing.trace import State
from pytest_istio_mc.checks.tracing.traces import trace, waits_its_turn
from pytest_istio_mc.collect import collect
from pytest_istio_mc.errors import NotInTime, ProvisionError
from pytest_istio_mc.eventually import Timeouts, eventually
from pytest_istio_mc.istio_names import (
    EAST_WEST_PORT,
    INJECTION_LABEL,
    NETWORKING_API,
    ROOT_CONFIG_MAP,
)
from pytest_istio_mc.kube import Kube, lease
from pytest_istio_mc.kube.connecting import connected
from pytest_istio_mc.mesh import Mesh, Wishes
from pytest_istio_mc.observations import Ending, Protocol, Request
from pytest_istio_mc.probes import manifests, prepared
from pytest_istio_mc.probes.agent import program
from pytest_istio_mc.probes.paths import gateway_addresses, path
from pytest_istio_mc.probes.settling import held_back
from pytest_istio_mc.probes.traffic import Traffic, open_traffic
from pytest_istio_mc.probes.workloads import deployed, own_namespace
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome
from tests.checks.open_site import OpenSite
from tests.conftest import LabMesh

pytestmark = pytest.mark.lab

CLUSTERS = ("cluster1", "cluster2")
RUN = f"probes-{os.getpid()}"


@dataclass(frozen=True)
class Probed:
    """A mesh with probes, ways to it, and what deploying them said."""

    mesh: Mesh
    kubes: Mapping[str, Kube]
    traffic: Traffic
    lines: list[str] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return self.mesh.require_probes().namespace

    @property
    def site(self) -> OpenSite:
        return OpenSite(self.mesh, self.kubes, self.traffic)

    def record(self) -> Snapshot:
        return collect(self.mesh, Progress(), kubes=self.kubes, ask=self.traffic.ask)


@pytest.fixture(scope="module")
def probed(lab_mesh: LabMesh) -> Iterator[Probed]:
    """Probes in the shared mesh; afterwards nothing of them is left."""
    lines: list[str] = []
    timeouts, progress = Timeouts(), Progress(lines.append)
    bare = replace(lab_mesh.mesh, run_id=RUN)
    with connected(bare.spec, timeouts) as kubes:
        with (
            deployed(bare, kubes, timeouts, progress) as mesh,
            open_traffic(mesh, kubes, timeouts) as traffic,
        ):
            yield Probed(mesh, kubes, traffic, lines)
        for kube in kubes.values():
            assert kube.list("Namespace", labels=f"{manifests.RUN_LABEL}={RUN}") == []


def test_every_cluster_has_a_client_and_a_server_of_its_own_version(probed: Probed) -> None:
    found = {(pod.cluster, pod.role): pod for pod in probed.mesh.require_probes().pods}

    assert set(found) == {(cluster, role) for cluster in CLUSTERS for role in ("client", "server")}
    assert {found[(cluster, "server")].version for cluster in CLUSTERS} == {"v1", "v2"}
    assert len({pod.ip for pod in found.values()}) == 4
    reached = "every client reaches the servers of every cluster"
    assert any(reached in line for line in probed.lines), probed.lines


def test_one_file_runs_in_the_pods(probed: Probed) -> None:
    client = probed.mesh.require_probes().client("cluster1").name

    listing = ["python3", "-c", "import os; print(*os.listdir('/istio-mc'))"]
    listed = probed.kubes["cluster1"].exec(probed.namespace, client, manifests.CONTAINER, listing)

    assert [name for name in listed.split() if not name.startswith("..")] == [program.NAME]


@pytest.mark.parametrize("protocol", list(Protocol), ids=lambda protocol: protocol.value)
def test_every_cluster_is_reached_over_every_protocol(probed: Probed, protocol: Protocol) -> None:
    requests = probed.traffic.reach(protocol)

    assert [request.failure for request in requests if not request.succeeded] == []
    reached = {(request.source, request.answer.cluster) for request in requests if request.answer}
    assert reached == {(source, target) for source in CLUSTERS for target in CLUSTERS}


def test_ways_between_networks_lead_through_gateways_and_within_one_to_pods(probed: Probed) -> None:
    gateways = gateway_addresses(probed.mesh.spec, probed.kubes)
    server = probed.mesh.require_probes().servers("cluster1")[0]

    across = path(probed.mesh, gateways, "cluster1", "cluster2", manifests.STRICT)
    within = path(probed.mesh, gateways, "cluster1", "cluster1", manifests.STRICT)

    ports = {(one.cluster, one.port) for one in gateways}
    assert ports == {(cluster, EAST_WEST_PORT) for cluster in CLUSTERS}
    assert across is not None
    assert across.gateway is not None
    assert (across.gateway.cluster, across.port) == ("cluster2", EAST_WEST_PORT)
    connection = probed.traffic.connect("cluster1", across.address, across.port)
    assert connection.ending is Ending.ANSWERED
    assert within is not None
    assert (within.address, within.gateway) == (server.ip, None)


def test_pods_are_injected_as_they_should_be(probed: Probed) -> None:
    seen = injections(probed.site)

    assert {(one.cluster, one.way) for one in seen} == {
        (cluster, way) for cluster in CLUSTERS for way in ("admitted", "opted-out", "running")
    }
    assert {one.injected for one in seen if one.way == "opted-out"} == {False}
    verdict = injection(probed.site.here, seen, revisions(probed.site))
    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason


def test_configuration_is_in_force_where_it_is_read(probed: Probed) -> None:
    seen, converged = config_in_force(probed.site)

    assert converged is not None
    verdict = configuration_source(probed.site.here, (seen, converged))
    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason


def test_the_namespace_of_a_check_is_injected_and_goes(probed: Probed) -> None:
    with own_namespace(probed.mesh, probed.kubes, Timeouts(), "own") as namespace:
        for kube in probed.kubes.values():
            made = kube.read("Namespace", namespace)
            assert made is not None
            assert made["metadata"]["labels"][INJECTION_LABEL] == "enabled"

    for kube in probed.kubes.values():
        going = kube.read("Namespace", namespace)
        assert going is None or going["metadata"].get("deletionTimestamp")


def test_the_heartbeat_of_a_run_is_beside_its_probes(probed: Probed) -> None:
    for kube in probed.kubes.values():
        found = lease.lease_in(kube, probed.namespace, manifests.run_lease(RUN))
        assert found is not None
        assert found.holder == RUN
        assert kube.now() < found.until <= kube.now() + lease.heartbeat_seconds()


def test_no_hop_of_a_healthy_way_is_broken(probed: Probed) -> None:
    snapshot = probed.record()

    for source in CLUSTERS:
        for target in CLUSTERS:
            found = trace(snapshot, source, target, manifests.HTTP)
            assert {hop.state for hop in found.hops} == {State.GOOD}, found.hops


def test_who_is_denied_is_told_by_the_failure(probed: Probed) -> None:
    def nobody_there(requests: Sequence[Request]) -> bool:
        return "cluster2" not in {one.answer.cluster for one in requests if one.answer}

    before = probed.record()
    everybody = {"action": "DENY", "rules": [{}]}
    policy = authorization_policy("nobody", everybody)
    with applied(probed.kubes["cluster2"], probed.namespace, policy):
        # open connections are let through until Envoy has drained its old listener
        what = "cluster2 to deny everybody"
        denied = eventually(probed.traffic.reach, nobody_there, within_seconds=60, what=what).value
        by_failure = trace(before, "cluster1", "cluster2", manifests.HTTP, denied)

    assert by_failure.broken is not None
    assert by_failure.broken.name == "authorisation"
    assert by_failure.broken.seen == "403 RBAC: access denied (no policy)"


def test_a_mesh_that_allows_nobody_makes_an_exception_for_the_probes(probed: Probed) -> None:
    """https://istio.io/latest/docs/ops/best-practices/security/#use-default-deny-patterns"""
    everybody = probed.traffic.reach
    # connections from before the policy of another test was removed may still have it
    what = "all requests to be answered"
    eventually(everybody, lambda sent: all(map(answered, sent)), within_seconds=60, what=what)
    with ExitStack() as stack:
        for kube in probed.kubes.values():
            nothing = authorization_policy("allow-nothing", {})
            stack.enter_context(applied(kube, "istio-system", nothing))
        mine = f"ALLOW {probed.namespace}/own-clients"
        theirs = "ALLOW istio-system/allow-nothing"

        def in_force() -> bool:
            clusters = probed.record().clusters.values()
            proxies = [one for cluster in clusters for one in cluster.proxies if one.inbound]
            found = [facts.policies for one in proxies for facts in one.inbound.values()]
            return bool(found) and all({mine, theirs} <= set(policies) for policies in found)

        eventually(
            in_force, bool, within_seconds=60, what="both policies in force", every_seconds=2
        )
        requests = [one for protocol in Protocol for one in probed.traffic.reach(protocol)]
        hops = trace(probed.record(), "cluster1", "cluster2", manifests.HTTP).hops

    refused = [one for one in requests if not answered(one)]
    assert [(one.source, one.protocol.value, one.failure) for one in refused] == []
    assert {hop.state for hop in hops} == {State.GOOD}, hops


def test_strangers_are_answered_by_neither_policy_nor_probe(probed: Probed) -> None:
    url = f"http://{manifests.SERVICE}.{probed.namespace}:{manifests.HTTP}/"
    script = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=5).read())
except urllib.error.HTTPError as error:
    print(error.code, error.read())
"""
    said = {}
    for pod in probed.mesh.require_probes().pods:
        if pod.cluster == "cluster1":
            command = ["python3", "-c", script, url]
            said[pod.role] = probed.kubes["cluster1"].exec(
                probed.namespace, pod.name, manifests.CONTAINER, command
            )

    assert said["client"].startswith("403 b'this probe answers clients of its own run only")
    assert said["server"].startswith("403 b'RBAC: access denied")


def test_a_mesh_that_tells_proxies_of_their_own_namespace_only_tells_probes_of_ours(
    lab_mesh: LabMesh, probed: Probed
) -> None:
    """https://istio.io/latest/docs/reference/config/networking/sidecar/"""
    own = {"egress": [{"hosts": ["./*", "istio-system/*"]}]}
    limiting = {"apiVersion": NETWORKING_API, "kind": "Sidecar", "metadata": {"name": "default"}}
    bare = replace(lab_mesh.mesh, run_id=f"{RUN}-limited")
    with ExitStack() as stack:
        for kube in probed.kubes.values():
            stack.enter_context(applied(kube, "istio-system", {**limiting, "spec": own}))
        mesh = stack.enter_context(deployed(bare, probed.kubes, Timeouts(), Progress()))
        traffic = stack.enter_context(open_traffic(mesh, probed.kubes, Timeouts()))

        site = OpenSite(mesh, probed.kubes, traffic)
        seen, converged = config_in_force(site)

    assert converged is not None, seen
    assert configuration_source(site.here, (seen, converged)).outcome is Outcome.CONFORMANT


def test_prepared_namespaces_serve_a_run_and_keep_what_is_theirs(
    lab_mesh: LabMesh, probed: Probed
) -> None:
    names, kubes = (f"{RUN}-first", f"{RUN}-second"), probed.kubes
    bare = replace(lab_mesh.mesh, run_id=f"{RUN}-guest", wishes=Wishes(names))
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}}
    with ExitStack() as stack:
        for kube in kubes.values():
            for name in names:
                metadata = {"name": name, "labels": {INJECTION_LABEL: "enabled"}}
                kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
                stack.callback(kube.delete, "Namespace", name)
                kube.apply({**theirs, "data": {"a": "b"}}, namespace=name)
        with (
            deployed(bare, kubes, Timeouts(), Progress()) as mesh,
            open_traffic(mesh, kubes, Timeouts()) as traffic,
        ):
            site = OpenSite(mesh, kubes, traffic)
            verdict = configuration_source(site.here, config_in_force(site))
            reached = {one.answer.cluster for one in traffic.reach() if one.answer}
            with pytest.raises(ProvisionError, match=f"is in use .by run {bare.run_id}"):
                prepared.claim(kubes["cluster1"], names[1], "other")
        left = {
            (kind, item["metadata"]["name"])
            for kube in kubes.values()
            for name in names
            for kind in ("Pod", *prepared.KINDS)
            for item in kube.list(kind, name)
        }

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert reached == set(CLUSTERS)
    clusters_own = {"kube-root-ca.crt", "default", ROOT_CONFIG_MAP, "istio-ca-crl"}
    assert {name for _, name in left} - clusters_own == {"theirs"}


def test_pods_that_admission_refuses_say_so_and_which_option_helps(
    lab_mesh: LabMesh, probed: Probed
) -> None:
    """Sidecars of a mesh without Istio's CNI plugin are not within the restricted standard."""
    enforced = {"namespace": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    bare = replace(lab_mesh.mesh, run_id=f"{RUN}-strict", wishes=Wishes(patch=enforced))
    soon = replace(Timeouts(), workload_ready=5.0)

    with (
        pytest.raises(NotInTime, match="violates PodSecurity") as refused,
        deployed(bare, probed.kubes, soon, Progress()),
    ):
        pytest.fail("the pods were taken")

    assert "the cluster's admission refuses it" in str(refused.value)
    assert "--mesh-probe-patch" in refused.value.advice
    # only the sidecar's part is what is refused
    assert "istio-init" in refused.value.detail
    assert 'container "probe"' not in refused.value.detail


def answered(request: Request) -> bool:
    return request.succeeded


def authorization_policy(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    policy = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy"}
    return {**policy, "metadata": {"name": name}, "spec": dict(spec)}


def test_farther_instances_wait_their_turn_where_locality_decides(probed: Probed) -> None:
    outliers = {"consecutive5xxErrors": 5, "interval": "10s", "baseEjectionTime": "30s"}
    near = {"loadBalancer": {"localityLbSetting": {"enabled": True}}}
    rule = {
        "apiVersion": NETWORKING_API,
        "kind": "DestinationRule",
        "metadata": {"name": "near-first"},
        "spec": {
            "host": manifests.SERVICE,
            "trafficPolicy": {"outlierDetection": outliers, **near},
        },
    }
    kube = probed.kubes["cluster1"]
    assert held_back(probed.mesh, kube, "cluster1") == set()
    with applied(kube, probed.namespace, rule):
        eventually(
            lambda: held_back(probed.mesh, kube, "cluster1"),
            lambda clusters: clusters == {"cluster2"},
            within_seconds=20,
            what="the endpoints of cluster2 to have a lower priority",
        )
        snapshot = probed.record()
        sent = [one for one in probed.traffic.reach() if one.source == "cluster1"]
        answered = {one.answer.cluster for one in sent if one.answer}

    assert answered == {"cluster1"}
    assert waits_its_turn(snapshot, "cluster1", "cluster2", manifests.HTTP)
    assert not waits_its_turn(snapshot, "cluster2", "cluster1", manifests.HTTP)


@contextmanager
def applied(kube: Kube, namespace: str, manifest: Mapping[str, Any]) -> Iterator[None]:
    """The object, for as long as the block goes on."""
    kube.apply(manifest, namespace=namespace)
    try:
        yield
    finally:
        group = manifest["apiVersion"].partition("/")[0]
        kube.delete(f"{manifest['kind']}.{group}", manifest["metadata"]["name"], namespace)
