"""A running lab: its networks, its traces on the host, and its orders."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_istio_mc.errors import ProvisionError, UsageProblem
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.lab import lab
from pytest_istio_mc.lab.leftovers import sweep
from pytest_istio_mc.lab.process import start_time_of
from pytest_istio_mc.progress import Progress
from tests.conftest import LabMesh, require_toolchain
from tests.host_state import HostState

pytestmark = pytest.mark.lab

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
    print("connected")
except OSError as error:
    print(error.strerror or "timed out")
"""


def connect_from(lab_mesh: LabMesh, cluster: str, address: str, port: int) -> str:
    """The outcome of a connection from that cluster's node to an address."""
    pid = str(lab_mesh.lab.order("status")[cluster]["etcd"])
    program = [sys.executable, "-c", CONNECT, address, str(port)]
    command = ["nsenter", "-t", pid, "--net", *program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def kube_of(lab_mesh: LabMesh, cluster: str) -> Kube:
    return Kube(cluster, str(lab_mesh.lab.kubeconfig), cluster)


def test_other_networks_reach_apiservers_and_load_balancers_and_nothing_else(
    lab_mesh: LabMesh,
) -> None:
    second = lab_mesh.lab.plan.nodes[1]
    with_pod = kube_of(lab_mesh, "cluster2")
    pods = with_pod.list("Pod", "istio-system", labels="app=istiod")
    with_pod.close()
    pod_address = pods[0]["status"]["podIP"]
    refused = "Network is unreachable"

    assert connect_from(lab_mesh, "cluster1", second.node_address, 6443) == "connected"
    eventually(
        lambda: connect_from(lab_mesh, "cluster1", f"{second.load_balancer_prefix}.1", 15443),
        lambda came: came == "connected",
        within_seconds=20,
        what="the gateway takes connections",
    )
    in_its_own_cluster = connect_from(lab_mesh, "cluster2", pod_address, 15012)
    assert in_its_own_cluster == "connected"
    assert connect_from(lab_mesh, "cluster1", pod_address, 15012) == refused
    kubelet = connect_from(lab_mesh, "cluster1", second.node_address, 10250)
    assert kubelet == refused
    assert connect_from(lab_mesh, "cluster1", f"{second.service_prefix}.1", 443) == refused


def test_the_hosts_network_mounts_and_folders_are_as_before(lab_mesh: LabMesh) -> None:
    assert HostState.now() == lab_mesh.host_before


def test_load_balancer_addresses_are_given_to_those_without_a_class_of_their_own(
    lab_mesh: LabMesh,
) -> None:
    kube = kube_of(lab_mesh, "cluster1")

    def service(name: str, **more: object) -> dict[str, object]:
        metadata = {"name": name, "namespace": "default"}
        spec = {"type": "LoadBalancer", "ports": [{"port": 80}]} | more
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}

    def address(name: str) -> str:
        found = kube.read("Service", name, "default") or {}
        ingress = found.get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
        return str(ingress[0].get("ip", ""))

    def given_to(name: str) -> str:
        what = f"the Service {name} has an address"
        return eventually(lambda: address(name), bool, within_seconds=10, what=what).value

    try:
        kube.create(service("theirs", loadBalancerClass="example.com/x"))
        kube.create(service("ours"))
        given = given_to("ours")
        kube.delete("Service", "ours", "default")
        kube.create(service("ours"))
        again = given_to("ours")

        assert given.startswith(lab_mesh.lab.plan.nodes[0].load_balancer_prefix)
        assert again == given
        assert address("theirs") == ""
    finally:
        for name in ("ours", "theirs"):
            kube.delete("Service", name, "default")
        kube.close()


def test_a_stopped_apiserver_is_silent_until_it_continues(lab_mesh: LabMesh) -> None:
    running = lab_mesh.lab
    impatient = Kube("cluster2", str(running.kubeconfig), "cluster2", request_timeout_seconds=1)
    apiserver = {"cluster": "cluster2", "component": "kube-apiserver"}
    try:
        running.order("signal", **apiserver, signal="SIGSTOP")
        try:
            with pytest.raises(Exception, match="cluster2"):
                impatient.version()
        finally:
            running.order("signal", **apiserver, signal="SIGCONT")
        eventually(impatient.version, bool, within_seconds=30, what="the apiserver answers again")
    finally:
        impatient.close()


def test_a_lab_is_found_by_its_name_and_its_name_is_taken(lab_mesh: LabMesh) -> None:
    name = lab_mesh.lab.plan.name

    assert lab.find(name).plan == lab_mesh.lab.plan
    assert name in [other.plan.name for other in lab.running()]
    assert name not in [leftover.lab for leftover in sweep(dry_run=True)]
    with pytest.raises(UsageProblem, match="exists already"):
        lab.start(lab_mesh.mesh.spec, name, require_toolchain(), Progress(), within_seconds=1)
    with pytest.raises(UsageProblem, match=f"running: .*{name}"):
        lab.find("no-such-lab")


def test_an_unknown_order_is_refused(lab_mesh: LabMesh) -> None:
    with pytest.raises(ProvisionError, match="unknown order"):
        lab_mesh.lab.order("dance")


def test_orphans_in_a_cluster_are_reaped(lab_mesh: LabMesh) -> None:
    """Every pod's shim ends as an orphan; process 1 must not keep zombies."""
    etcd = lab_mesh.lab.order("status")["cluster1"]["etcd"]
    namespace = Path(f"/proc/{etcd}/ns/pid").readlink()
    inside = ["nsenter", "-t", str(etcd), "--pid", "--mount"]
    subprocess.run([*inside, "sh", "-c", "sh -c 'exec sleep 0.1' & exit 0"], check=True)

    init = next(pid for pid in _pids_in(namespace) if _number_inside(pid) == 1)

    def zombies() -> list[str]:
        children = Path(f"/proc/{init}/task/{init}/children").read_text().split()
        return [child for child in children if start_time_of(int(child)) is None]

    eventually(
        zombies,
        lambda left: not left,
        within_seconds=5,
        what="no zombie is left in the cluster",
        times=3,
    )


def _pids_in(namespace: Path) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "ns" / "pid").readlink() == namespace:
                yield int(entry.name)


def _number_inside(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])
