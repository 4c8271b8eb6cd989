"""MC-LOCALITY-001: labels that are missing, wrong, or newer than what proxies were told."""

from __future__ import annotations

from dataclasses import replace

from pytest_istio_mc.checks.locality.static import localities_known
from pytest_istio_mc.recorded import IstiodFacts
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.spec import Locality
from pytest_istio_mc.verdicts import Outcome
from tests.fake_clusters import FakeMesh

FIRST, SECOND = Locality("region1", "zone1"), Locality("region2", "zone2")


def declared(snapshot: Snapshot, *places: Locality) -> Snapshot:
    """The snapshot of a mesh whose spec says where its clusters are."""
    clusters = tuple(
        replace(cluster, locality=place)
        for cluster, place in zip(snapshot.spec, places, strict=True)
    )
    return replace(snapshot, spec=replace(snapshot.spec, clusters=clusters))


def test_labelled_nodes_are_conformant_and_named() -> None:
    verdict = localities_known(FakeMesh().record())

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    assert verdict.reason.startswith(
        "2 nodes are in region1/zone1 and region2/zone2; 4 of 4 proxies are taken to be where"
    )


def test_a_node_that_is_labelled_other_than_the_spec_declares_is_the_one_finding() -> None:
    snapshot = declared(FakeMesh().record(), FIRST, Locality("region2", "zone9"))

    (finding,) = localities_known(snapshot).findings

    assert finding.fault == "loc-node-wrong"
    assert finding.clusters == ("cluster2",)
    assert (
        finding.summary
        == "node node2 of cluster2 is labelled as in region2/zone2, which is not where cluster2 is"
    )
    assert "label node/node2 --overwrite topology.kubernetes.io/zone=zone9 && " in finding.remedy


def test_a_subzone_that_is_declared_but_no_label_is_missing() -> None:
    snapshot = declared(FakeMesh().record(), replace(FIRST, subzone="cluster1"), SECOND)

    (finding,) = localities_known(snapshot).findings

    assert finding.fault == "loc-node-labels"
    assert finding.summary == "node node1 of cluster1 has no label topology.istio.io/subzone"


def test_a_label_that_is_newer_than_its_proxies_names_the_pods_to_restart() -> None:
    mesh = FakeMesh()
    mesh[2].objects["Node"][0]["metadata"]["labels"]["topology.kubernetes.io/zone"] = "zone9"

    findings = localities_known(declared(mesh.record(), Locality(), Locality())).findings

    assert {finding.fault for finding in findings} == {"loc-proxy"}
    stale = "to be in region2/zone2, though its node is labelled region2/zone9"
    assert findings[0].summary.endswith(stale)
    assert "delete pod/" in findings[0].remedy


def test_without_any_region_there_is_nothing_to_judge_and_the_reason_says_what_to_do() -> None:
    mesh = FakeMesh()
    for number in (1, 2):
        mesh[number].objects["Node"][0]["metadata"]["labels"] = {}

    verdict = localities_known(declared(mesh.record(), Locality(), Locality()))

    assert verdict.outcome is Outcome.NOT_APPLICABLE
    assert "label the nodes with topology.kubernetes.io/region" in verdict.reason


def test_nodes_that_may_not_be_listed_make_it_inconclusive() -> None:
    mesh = FakeMesh()
    mesh[1].refused = ("Node",)

    assert localities_known(mesh.record()).outcome is Outcome.INCONCLUSIVE


def test_a_recording_without_what_istiod_says_of_proxies_is_judged_by_its_endpoints() -> None:
    def forget(istiod: IstiodFacts) -> IstiodFacts:
        told = {key: value for key, value in istiod.debug.items() if key != "adsz"}
        return replace(istiod, debug=told)

    snapshot = FakeMesh().record()
    clusters = {
        name: replace(cluster, istiods=tuple(forget(one) for one in cluster.istiods))
        for name, cluster in snapshot.clusters.items()
    }

    verdict = localities_known(replace(snapshot, clusters=clusters))

    assert verdict.outcome is Outcome.CONFORMANT
    assert "was not recorded" in verdict.reason
