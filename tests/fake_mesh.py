"""Providers, topologies and checks without a lab, as a pytest plugin.

- It uses nothing but our own hooks. Load it with ``-p tests.fake_mesh``.
- ``FAKE_PROVIDE`` (``fail``, ``fail TOPOLOGY``, ``crash`` or ``slow``) and ``FAKE_CLEAN_UP``
  (``fail``) make it misbehave.
- ``FAKE_LOG`` names a file; it gets a line for each thing that the plugin does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from pytest_istio_mc.checks import catalogue
from pytest_istio_mc.checks.catalogue import Check, Kind, Profile
from pytest_istio_mc.errors import MeshError, ProvisionError
from pytest_istio_mc.mesh import Mesh, ProbePod, Probes
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers import ProvisionRequest
from pytest_istio_mc.session import selecting
from pytest_istio_mc.snapshot import ClusterSnapshot, Snapshot
from pytest_istio_mc.spec import ClusterSpec, Feature, MeshSpec
from pytest_istio_mc.topologies import Topology
from pytest_istio_mc.topologies.steps import Build

SPEC_URL = "https://istio.io/latest/docs/"

_static = partial(Check, kind=Kind.STATIC, spec_url=SPEC_URL)
_ROOT = _static("MC-TRUST-901", "All clusters share one root")
_SECRETS = _static(
    "MC-ACCESS-901", "Each control plane holds its remote secrets", explained_by=(_ROOT.id,)
)
_ENDPOINTS = _static(
    "MC-DISCOVERY-901", "Each proxy knows every endpoint", explained_by=(_SECRETS.id,)
)
_FLAT = _static("MC-DISCOVERY-902", "Flat networks only", requires=(Feature.FLAT,))
_GATEWAY = Check(
    "MC-EASTWEST-901",
    "Traffic crosses the gateway",
    Kind.LIVE,
    SPEC_URL,
    explained_by=(_ENDPOINTS.id,),
)
_LOSS = Check(
    "MC-EASTWEST-902", "A lost gateway costs nothing", Kind.FAULT, SPEC_URL, Profile.DISRUPTIVE
)
CHECKS = {check.id: check for check in (_ROOT, _SECRETS, _ENDPOINTS, _FLAT, _GATEWAY, _LOSS)}


def _clusters(number: int) -> Iterator[ClusterSpec]:
    return (ClusterSpec(f"cluster{n}", f"network{n}") for n in range(1, number + 1))


def _problems(spec: MeshSpec) -> Iterable[str]:
    return () if len(spec.networks) > 1 else ("fake-topology needs two networks",)


def _build(build: Build) -> None:
    raise NotImplementedError


def fake_topology(name: str) -> Topology:
    """A topology of two clusters on two networks."""
    page = f"https://topologies.test/{name}"
    return Topology(name, "for tests", page, _clusters, _problems, _build)


class FakeProvider:
    """A provider of a mesh without clusters, and of its snapshot.

    ``lose`` tells the loss of clusters in the mesh that was given last.
    """

    name = "fake"
    summary = "for tests"
    lose: Callable[[MeshError], None]

    @contextmanager
    def provide(self, request: ProvisionRequest, progress: Progress) -> Iterator[Mesh]:
        page = request.topology.documentation if request.topology else None
        log(f"provide {request.spec.topology} keep={request.keep} as={page} pid={os.getpid()}")
        behaviour = os.environ.get("FAKE_PROVIDE", "")
        type(self).lose = staticmethod(request.tell_failure)
        try:
            with progress.step("fake clusters ready"):
                if behaviour == "slow":
                    time.sleep(30)
            if behaviour in ("fail", f"fail {request.spec.topology}"):
                cluster, advice = 'cluster "cluster1"', "try --mesh-keep"
                raise ProvisionError(cluster, "istiod not ready", "503 from /ready", advice=advice)
            if behaviour == "crash":
                raise ZeroDivisionError("a defect")
            versions = {"kubernetes": "v1.36.1", "istio": "1.31.1"}
            client = ProbePod("cluster1", "client", "client-1", "10.0.0.1")
            yield Mesh(
                request.spec,
                request.run_id,
                self.name,
                request.probe_image or "python:1",
                notes=("this mesh is a fake",),
                versions={cluster.name: versions for cluster in request.spec},
                probes=Probes("ns", "echo", "python:1", (client,)),
            )
        finally:
            log("clean up")
            if os.environ.get("FAKE_CLEAN_UP") == "fail":
                cluster, advice = 'cluster "cluster2"', "istio-mc sweep"
                raise ProvisionError(cluster, "does not go away", advice=advice)

    def record(self, mesh: Mesh, progress: Progress) -> Snapshot:
        log("record")
        clusters = {cluster.name: ClusterSnapshot(cluster.name) for cluster in mesh.spec}
        return Snapshot(mesh.spec, mesh.run_id, "2026-11-21T09:00:00+00:00", clusters, mesh.probes)


class FakeLab(FakeProvider):
    """A provider whose clusters end with the run, as the lab's do."""

    name = "fake-lab"
    disposable = True
    on_this_machine = True


def log(line: str) -> None:
    """Write a line into ``FAKE_LOG``, if there is one."""
    if "FAKE_LOG" in os.environ:
        with Path(os.environ["FAKE_LOG"]).open("a") as stream:
            stream.write(line + "\n")


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Replace the catalogue while this pytest runs."""
    real, suites = catalogue.known_checks, selecting.collect_suites
    catalogue.known_checks = lambda: dict(CHECKS)
    selecting.collect_suites = lambda config: None  # they are made of the real catalogue

    def restore() -> None:
        catalogue.known_checks, selecting.collect_suites = real, suites

    early_config.add_cleanup(restore)


def pytest_mesh_providers() -> Mapping[str, FakeProvider]:
    return {provider.name: provider for provider in (FakeProvider(), FakeLab())}


def pytest_mesh_topologies() -> Mapping[str, Topology]:
    return {name: fake_topology(name) for name in ("fake-topology", "fake-other")}
