"""A site on the tests' lab, and what observers must leave as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube.connecting import connected
from pytest_istio_mc.probes import workloads
from pytest_istio_mc.probes.traffic import open_traffic
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.open_site import OpenSite
from tests.conftest import LabMesh

SYSTEM = "istio-system"


@contextmanager
def opened(lab_mesh: LabMesh, run: str, timeouts: Timeouts) -> Iterator[OpenSite]:
    """The shared mesh with the probes of a run of its own."""
    mesh = replace(lab_mesh.mesh, run_id=f"{run}-{os.getpid()}")
    with (
        connected(mesh.spec, timeouts) as kubes,
        workloads.deployed(mesh, kubes, timeouts, Progress()) as mesh,
        open_traffic(mesh, kubes, timeouts) as traffic,
    ):
        yield OpenSite(mesh, kubes, traffic, timeouts)


def remains(site: OpenSite) -> dict[str, Any]:
    """The mesh configuration, but for its version, and the names of what there is."""
    kinds = ("Service", "DestinationRule.networking.istio.io", "VirtualService.networking.istio.io")
    found: dict[str, Any] = {}
    for cluster, kube in site.kubes().items():
        config = kube.read("ConfigMap", "istio", SYSTEM) or {}
        del config["metadata"]["resourceVersion"]
        namespace = site.mesh.require_probes().namespace
        items = [item for kind in kinds for item in kube.list(kind, namespace)]
        found[cluster] = (config, sorted(item["metadata"]["name"] for item in items))
    return found


def faults_by_clusters(verdict: Verdict) -> set[tuple[str, tuple[str, ...]]]:
    """What was found, and in which clusters."""
    assert verdict.outcome is Outcome.NON_CONFORMANT, (verdict.outcome, verdict.reason)
    return {(finding.fault, finding.clusters) for finding in verdict.findings}


def not_conformant(verdicts: list[Verdict]) -> list[tuple[str, Outcome, str]]:
    """The verdicts that are anything but conformant, with the reasons."""
    return [
        (verdict.check, verdict.outcome, verdict.reason)
        for verdict in verdicts
        if verdict.outcome is not Outcome.CONFORMANT
    ]
