"""Locality checks on a real mesh: conformant as it is, and not when its configuration is spoilt, for the right reason."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from pytest_istio_mc.checks.locality import observe
from pytest_istio_mc.checks.locality.facts import Journey, Places, places
from pytest_istio_mc.checks.locality.live import fails_over_in_order, local_first, returns
from pytest_istio_mc.checks.locality.observe import (
    EJECTION_SECONDS,
    FAILURES_TO_EJECT,
    OUTLIER_DETECTION,
    distributions,
    own_service,
    unprotected,
)
from pytest_istio_mc.checks.locality.shares import outlier_detection_is_needed, shares_are_kept
from pytest_istio_mc.checks.locality.static import localities_known
from pytest_istio_mc.collect import collect
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.connecting import connected
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes import workloads
from pytest_istio_mc.probes.traffic import Traffic, open_traffic
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.statistics import MISS_PROBABILITY
from pytest_istio_mc.verdicts import Outcome
from tests.conftest import LabMesh

pytestmark = pytest.mark.lab

ZONE = "topology.kubernetes.io/zone"


@dataclass(frozen=True)
class Located:
    """A mesh with probes, traffic through it, a snapshot of it, and where everything is."""

    mesh: Mesh
    kubes: Mapping[str, Kube]
    traffic: Traffic
    snapshot: Snapshot
    where: Places

    def record(self) -> Snapshot:
        return collect(self.mesh, Progress(), kubes=self.kubes, ask=self.traffic.ask)

    def failovers(self) -> tuple[Journey, ...]:
        return observe.failovers(self.traffic, self.kubes, self.where)


@pytest.fixture(scope="module")
def located(lab_mesh: LabMesh) -> Iterator[Located]:
    """Probes in the shared mesh, which waits less long for what a spoilt mesh never does."""
    timeouts = replace(Timeouts(), endpoint_propagation=5.0, config_propagation=5.0)
    run = replace(lab_mesh.mesh, run_id=f"locality-{os.getpid()}")
    with (
        connected(lab_mesh.mesh, timeouts) as kubes,
        workloads.deployed(run, kubes, timeouts, Progress()) as mesh,
        open_traffic(mesh, kubes, timeouts) as traffic,
    ):
        snapshot = collect(mesh, Progress(), kubes=kubes, ask=traffic.ask)
        yield Located(mesh, kubes, traffic, snapshot, places(snapshot))


def with_policy(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Have the DestinationRules of the checks changed before they are applied, as one of the user's might be."""
    plain = own_service
    monkeypatch.setattr(
        observe,
        "own_service",
        lambda traffic, kubes, purpose, policy: plain(
            traffic, kubes, purpose, change(dict(policy))
        ),
    )


def test_a_healthy_mesh_is_conformant(located: Located) -> None:
    mesh, snapshot = located.mesh, located.snapshot
    journeys = located.failovers()
    verdicts = [
        localities_known(snapshot),
        local_first(mesh, snapshot, journeys, MISS_PROBABILITY),
        fails_over_in_order(mesh, snapshot, journeys, FAILURES_TO_EJECT),
        returns(mesh, snapshot, journeys, EJECTION_SECONDS),
        shares_are_kept(
            mesh, snapshot, distributions(located.traffic, located.kubes, located.where)
        ),
        outlier_detection_is_needed(
            mesh,
            snapshot,
            unprotected(located.traffic, located.kubes, located.where),
            MISS_PROBABILITY,
        ),
    ]

    wrong = [
        f"{one.check} {one.outcome.value}: {one.reason}"
        for one in verdicts
        if one.outcome is not Outcome.CONFORMANT
    ]
    assert not wrong, "\n".join(wrong)
    for journey in journeys:
        ejected = [stage for stage in journey.stages if stage.failing]
        assert all(len(stage.lost) >= FAILURES_TO_EJECT for stage in ejected), ejected


def test_a_rule_without_outlier_detection_is_the_cause(
    located: Located, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_policy(
        monkeypatch,
        lambda policy: (
            {key: value for key, value in policy.items() if key != "outlierDetection"}
            | {"tls": {"mode": "ISTIO_MUTUAL"}}
        ),
    )

    verdict = local_first(located.mesh, located.snapshot, located.failovers(), MISS_PROBABILITY)

    assert {finding.fault for finding in verdict.findings} == {"loc-no-outlier"}, verdict


def test_a_rule_that_lets_too_few_be_ejected_is_the_cause(
    located: Located, monkeypatch: pytest.MonkeyPatch
) -> None:
    detection = {
        key: value for key, value in OUTLIER_DETECTION.items() if key != "maxEjectionPercent"
    }
    with_policy(monkeypatch, lambda policy: {**policy, "outlierDetection": detection})
    journeys = located.failovers()

    verdict = fails_over_in_order(located.mesh, located.snapshot, journeys, FAILURES_TO_EJECT)

    assert {finding.fault for finding in verdict.findings} == {"loc-max-ejection"}, verdict
    assert (
        local_first(located.mesh, located.snapshot, journeys, MISS_PROBABILITY).outcome
        is Outcome.CONFORMANT
    )


def test_locality_load_balancing_that_is_switched_off_is_seen(
    located: Located, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = {"loadBalancer": {"localityLbSetting": {"enabled": False}}}
    with_policy(monkeypatch, lambda policy: {**policy, **off})

    verdict = local_first(located.mesh, located.snapshot, located.failovers(), MISS_PROBABILITY)

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert any("proxy holds" in finding.seen for finding in verdict.findings)


def test_shares_that_are_given_to_nobody_are_not_kept(
    located: Located, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_policy(monkeypatch, lambda policy: {"loadBalancer": {"simple": "RANDOM"}})

    splits = distributions(located.traffic, located.kubes, located.where)

    verdict = shares_are_kept(located.mesh, located.snapshot, splits)
    assert {finding.fault for finding in verdict.findings} == {"share-not-kept"}, verdict


def test_a_node_that_is_labelled_with_another_zone_is_named(located: Located) -> None:
    kube = located.kubes["cluster2"]
    (node,) = kube.list("Node")
    kube.merge(
        "Node", node["metadata"]["name"], None, {"metadata": {"labels": {ZONE: "elsewhere"}}}
    )
    try:
        verdict = localities_known(located.record())
    finally:
        kube.merge(
            "Node",
            node["metadata"]["name"],
            None,
            {"metadata": {"labels": {ZONE: node["metadata"]["labels"][ZONE]}}},
        )

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("loc-node-wrong", ("cluster2",))
    ]
    assert f"--overwrite {ZONE}=zone2" in verdict.findings[0].remedy
