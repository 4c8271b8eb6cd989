"""The memory of a lab's clusters: the proportional set size of their processes.

The figures are from proc(5), smaps_rollup; a cluster's processes share a PID namespace.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bench.certification import TOPOLOGY
from pytest_istio_mc import topologies
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.probes import workloads
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers.lab import bring_up


def measure() -> Iterator[tuple[str, float]]:
    """The MiB of each cluster with Istio, its gateway and the probes."""
    topology = topologies.known()[TOPOLOGY]
    spec, name = topology.default_spec(), f"bench-{os.getpid()}"
    timeouts, progress = Timeouts(), Progress()
    with bring_up(topology, spec, name, timeouts, progress) as (lab, mesh):
        kubes = {
            cluster.name: Kube(cluster.name, mesh.spec.kubeconfig, cluster.context)
            for cluster in mesh.spec
        }
        try:
            with workloads.deployed(mesh, kubes, timeouts, progress):
                for cluster, components in lab.order("status").items():
                    mebibytes = sum(map(_pss, _same_cluster(components["etcd"])))
                    yield f"memory of {cluster}, MiB", mebibytes
        finally:
            for kube in kubes.values():
                kube.close()


def _same_cluster(pid: int) -> Iterator[int]:
    namespace = Path(f"/proc/{pid}/ns/pid").readlink()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "ns" / "pid").readlink() == namespace:
                    yield int(entry.name)
            except OSError:
                continue  # it has ended meanwhile


def _pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)
