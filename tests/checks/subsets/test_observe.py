"""Subsets on a real mesh, right and spoilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_istio_mc.checks.subsets.live import (
    clusters_are_pinned,
    sources_are_told_apart,
    versions_within_clusters,
    weights_are_kept,
)
from pytest_istio_mc.checks.subsets.observe import by_source, mixed, pinned, weighted
from pytest_istio_mc.istio_names import CLUSTER_LABEL
from pytest_istio_mc.probes import objects
from pytest_istio_mc.spec import MeshSpec
from tests.checks.lab_site import faults_by_clusters, not_conformant
from tests.checks.open_site import OpenSite

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("nothing_is_left")]


def spoil(
    monkeypatch: pytest.MonkeyPatch, kind: str, change: Callable[[dict[str, Any]], None]
) -> None:
    """Have the specs of all manifests of a kind changed, as they are made."""
    make = getattr(objects, kind)

    def made(*arguments: Any, **named: Any) -> dict[str, Any]:
        manifest: dict[str, Any] = make(*arguments, **named)
        change(manifest["spec"])
        return manifest

    monkeypatch.setattr(objects, kind, made)


def test_routes_lead_where_they_should(probed: OpenSite) -> None:
    verdicts = [
        clusters_are_pinned(probed.here, pinned(probed)),
        sources_are_told_apart(probed.here, by_source(probed)),
        versions_within_clusters(probed.here, mixed(probed)),
        weights_are_kept(probed.here, weighted(probed)),
    ]

    assert not_conformant(verdicts) == []


@pytest.mark.usefixtures("impatient")
def test_a_subset_that_only_the_clients_cluster_knows_is_told(
    probed: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mistake of Istio issue 40673: the rule is not applied where the gateway needs it."""
    monkeypatch.setattr(MeshSpec, "config_clusters", property(lambda self: ("cluster1",)))

    verdict = clusters_are_pinned(probed.here, pinned(probed))

    assert ("dr-subset-at-destination", ("cluster1", "cluster2")) in faults_by_clusters(verdict)
    (finding,) = (one for one in verdict.findings if one.fault == "dr-subset-at-destination")
    assert "503" in finding.seen


def test_a_route_whose_source_labels_match_nobody_is_told(
    probed: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misspell(spec: dict[str, Any]) -> None:
        for match in (match for route in spec["http"] for match in route.get("match", ())):
            if "sourceLabels" in match:
                match["sourceLabels"] = {CLUSTER_LABEL: "cluster-1"}

    spoil(monkeypatch, "virtual_service", misspell)

    verdict = sources_are_told_apart(probed.here, by_source(probed))

    assert {fault for fault, _ in faults_by_clusters(verdict)} == {"subset-not-heeded"}
    assert len(verdict.findings) == 4


@pytest.mark.usefixtures("impatient")
def test_subsets_that_forget_the_cluster_are_told(
    probed: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(spec: dict[str, Any]) -> None:
        for subset in spec.get("subsets", ()):
            del subset["labels"][CLUSTER_LABEL]

    spoil(monkeypatch, "destination_rule", forget)

    verdict = versions_within_clusters(probed.here, mixed(probed))

    assert {fault for fault, _ in faults_by_clusters(verdict)} == {"subset-not-heeded"}
    summaries = "\n".join(finding.summary for finding in verdict.findings)
    assert "an empty subset (v2 in cluster1) are answered" in summaries
    assert "requests for server in cluster2 are answered elsewhere" in summaries


def test_even_weights_are_told_from_uneven_ones(
    probed: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def even(spec: dict[str, Any]) -> None:
        for goal in spec["http"][-1]["route"]:
            goal["weight"] = 50

    spoil(monkeypatch, "virtual_service", even)

    verdict = weights_are_kept(probed.here, weighted(probed))

    assert {fault for fault, _ in faults_by_clusters(verdict)} == {"weights-not-kept"}
