"""A pytest plugin with a provider, a topology and a handful of checks of its own: the pytest layer is tested with it, without a lab.

It uses nothing but our own hooks. Load it with ``-p tests.fake_mesh``. Environment variables tell it to misbehave:
``FAKE_PROVIDE`` (``fail``, ``fail TOPOLOGY``, ``crash`` or ``slow``), ``FAKE_CLEAN_UP`` (``fail``), and ``FAKE_LOG``, a file that gets
a line for everything that it does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_istio_mc.checks import catalogue
from pytest_istio_mc.checks.catalogue import Check, Kind, Profile
from pytest_istio_mc.errors import MeshError, ProvisionError, UsageProblem
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.mesh import Mesh, ProbePod, Probes
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers import ProvisionRequest
from pytest_istio_mc.snapshot import ClusterSnapshot, Snapshot
from pytest_istio_mc.spec import ClusterSpec, Feature, MeshSpec
from pytest_istio_mc.topologies.access import TIMEOUTS

SPEC_URL = "https://istio.io/latest/docs/"

CHECKS = {
    check.id: check
    for check in (
        Check("MC-TRUST-901", "All clusters share one root", Kind.STATIC, SPEC_URL),
        Check(
            "MC-ACCESS-901",
            "Each control plane holds its remote secrets",
            Kind.STATIC,
            SPEC_URL,
            explained_by=("MC-TRUST-901",),
        ),
        Check(
            "MC-DISCOVERY-901",
            "Each proxy knows every endpoint",
            Kind.STATIC,
            SPEC_URL,
            explained_by=("MC-ACCESS-901",),
        ),
        Check(
            "MC-DISCOVERY-902",
            "Flat networks only",
            Kind.STATIC,
            SPEC_URL,
            requires=(Feature.FLAT,),
        ),
        Check(
            "MC-EASTWEST-901",
            "Traffic crosses the gateway",
            Kind.LIVE,
            SPEC_URL,
            explained_by=("MC-DISCOVERY-901",),
        ),
        Check(
            "MC-EASTWEST-902",
            "A lost gateway costs nothing",
            Kind.FAULT,
            SPEC_URL,
            Profile.EXTENDED,
        ),
    )
}


class FakeTopology:
    """Two clusters, two networks."""

    summary = "for tests"
    documentation = SPEC_URL

    def __init__(self, name: str) -> None:
        self.name = name

    def default_spec(self, clusters: int = 2) -> MeshSpec:
        return MeshSpec(
            self.name,
            tuple(ClusterSpec(f"cluster{n}", f"network{n}") for n in range(1, clusters + 1)),
        )

    def check(self, spec: MeshSpec) -> None:
        if len(spec.networks) < 2:
            raise UsageProblem(
                "--mesh-spec",
                "fake-topology needs two networks",
                advice="give each cluster its own",
            )

    def install(
        self,
        spec: MeshSpec,
        clusters: object,
        istio: object,
        progress: Progress,
        *,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        raise NotImplementedError


class FakeProvider:
    """Gives a mesh that nobody can talk to, with a snapshot that nobody collected. ``lose`` makes the last one lose clusters."""

    name = "fake"
    summary = "for tests"
    lose: Callable[[MeshError], None]

    @contextmanager
    def provide(self, request: ProvisionRequest, progress: Progress) -> Iterator[Mesh]:
        log(f"provide {request.spec.topology} keep={request.keep} pid={os.getpid()}")
        behaviour = os.environ.get("FAKE_PROVIDE", "")
        type(self).lose = staticmethod(request.tell_failure)
        try:
            with progress.step("fake clusters ready"):
                if behaviour == "slow":
                    time.sleep(30)
            if behaviour in ("fail", f"fail {request.spec.topology}"):
                raise ProvisionError(
                    'cluster "cluster1"',
                    "istiod not ready",
                    "503 from /ready",
                    advice="try --mesh-keep",
                )
            if behaviour == "crash":
                raise ZeroDivisionError("a defect")
            yield Mesh(
                request.spec,
                request.run_id,
                self.name,
                request.probe_image or "python:1",
                notes=("this mesh is a fake",),
                versions={
                    cluster.name: {"kubernetes": "v1.36.1", "istio": "1.31.1"}
                    for cluster in request.spec
                },
                probes=Probes(
                    "ns",
                    "echo",
                    "python:1",
                    (ProbePod("cluster1", "client", "client-1", "10.0.0.1"),),
                ),
            )
        finally:
            log("clean up")
            if os.environ.get("FAKE_CLEAN_UP") == "fail":
                raise ProvisionError(
                    'cluster "cluster2"', "does not go away", advice="istio-mc sweep"
                )

    def record(self, mesh: Mesh, progress: Progress) -> Snapshot:
        log("record")
        clusters = {cluster.name: ClusterSnapshot(cluster.name) for cluster in mesh.spec}
        return Snapshot(mesh.spec, mesh.run_id, "2026-11-21T09:00:00+00:00", clusters, mesh.probes)


def log(line: str) -> None:
    """Write a line for the test to read."""
    if "FAKE_LOG" in os.environ:
        with Path(os.environ["FAKE_LOG"]).open("a") as stream:
            stream.write(line + "\n")


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Replace the catalogue for as long as this pytest lasts."""
    real = catalogue.known_checks
    catalogue.known_checks = lambda: dict(CHECKS)

    def restore() -> None:
        catalogue.known_checks = real

    early_config.add_cleanup(restore)


def pytest_mesh_providers() -> Mapping[str, FakeProvider]:
    return {"fake": FakeProvider()}


def pytest_mesh_topologies() -> Mapping[str, FakeTopology]:
    return {name: FakeTopology(name) for name in ("fake-topology", "fake-other")}
