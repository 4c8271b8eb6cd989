"""Localities on a real mesh, right and spoilt, each found for the right reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks.locality.facts import FAILURES_TO_EJECT
from pytest_istio_mc.checks.locality.live import fails_over_in_order, local_first, requests_return
from pytest_istio_mc.checks.locality.observe import distributions, failovers, unprotected
from pytest_istio_mc.checks.locality.observe_journey import OUTLIER_DETECTION
from pytest_istio_mc.checks.locality.shares import outlier_detection_is_needed, shares_are_kept
from pytest_istio_mc.checks.locality.static import localities_known
from pytest_istio_mc.collect import collect
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.probes import objects
from pytest_istio_mc.probes.manifests import Manifest
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.spec import MeshSpec
from pytest_istio_mc.verdicts import Outcome
from tests.checks.lab_site import not_conformant, opened
from tests.checks.open_site import OpenSite
from tests.conftest import LabMesh

pytestmark = pytest.mark.lab

ZONE = "topology.kubernetes.io/zone"


@pytest.fixture(scope="module")
def located(lab_mesh: LabMesh) -> Iterator[OpenSite]:
    """Probes in the shared mesh and its snapshot, with little patience."""
    timeouts = replace(Timeouts(), endpoint_propagation=5.0, config_propagation=5.0)
    with opened(lab_mesh, "locality", timeouts) as site:
        yield replace(site, snapshot=recorded(site))


def recorded(site: OpenSite) -> Snapshot:
    return collect(site.mesh, Progress(), kubes=site.kubes(), ask=site.traffic().ask)


def with_policy(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Have the checks' DestinationRules changed before they are applied, as a user's might be."""
    plain = objects.destination_rule

    def changed(spec: MeshSpec, name: str, *, policy: dict[str, Any]) -> Manifest:
        return plain(spec, name, policy=change(dict(policy)))

    monkeypatch.setattr(objects, "destination_rule", changed)


def test_a_healthy_mesh_is_conformant(located: OpenSite) -> None:
    here, journeys = located.here, failovers(located)

    verdicts = [
        localities_known(here.snapshot),
        local_first(here, journeys),
        fails_over_in_order(here, journeys),
        requests_return(here, journeys),
        shares_are_kept(here, distributions(located)),
        outlier_detection_is_needed(here, unprotected(located)),
    ]

    assert not_conformant(verdicts) == []
    for journey in journeys:
        ejected = [stage for stage in journey.stages if stage.failing]
        assert all(len(stage.lost) >= FAILURES_TO_EJECT for stage in ejected), ejected


def test_a_rule_without_outlier_detection_is_the_cause(
    located: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(policy: dict[str, Any]) -> dict[str, Any]:
        del policy["outlierDetection"]
        return {**policy, "tls": {"mode": "ISTIO_MUTUAL"}}

    with_policy(monkeypatch, without)

    verdict = local_first(located.here, failovers(located))

    assert {finding.fault for finding in verdict.findings} == {"loc-no-outlier"}, verdict


def test_a_rule_that_lets_too_few_be_ejected_is_the_cause(
    located: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    detection = {**OUTLIER_DETECTION}
    del detection["maxEjectionPercent"]
    with_policy(monkeypatch, lambda policy: {**policy, "outlierDetection": detection})
    journeys = failovers(located)

    verdict = fails_over_in_order(located.here, journeys)

    assert {finding.fault for finding in verdict.findings} == {"loc-max-ejection"}, verdict
    assert local_first(located.here, journeys).outcome is Outcome.CONFORMANT


def test_locality_load_balancing_that_is_switched_off_is_seen(
    located: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = {"loadBalancer": {"localityLbSetting": {"enabled": False}}}
    with_policy(monkeypatch, lambda policy: {**policy, **off})

    verdict = local_first(located.here, failovers(located))

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert any("proxy holds" in finding.seen for finding in verdict.findings)


def test_shares_that_are_given_to_nobody_are_not_kept(
    located: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_policy(monkeypatch, lambda policy: {"loadBalancer": {"simple": "RANDOM"}})

    verdict = shares_are_kept(located.here, distributions(located))

    assert {finding.fault for finding in verdict.findings} == {"share-not-kept"}, verdict


def test_a_node_that_is_labelled_with_another_zone_is_named(located: OpenSite) -> None:
    kube = located.kubes()["cluster2"]
    (node,) = kube.list("Node")

    def label(zone: str) -> None:
        kube.merge("Node", node["metadata"]["name"], None, {"metadata": {"labels": {ZONE: zone}}})

    label("elsewhere")
    try:
        verdict = localities_known(recorded(located))
    finally:
        label(node["metadata"]["labels"][ZONE])

    (finding,) = verdict.findings
    assert (finding.fault, finding.clusters) == ("loc-node-wrong", ("cluster2",))
    assert f"--overwrite {ZONE}=zone2" in finding.remedy
