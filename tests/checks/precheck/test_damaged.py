"""The precheck of strangers' recordings: refused, judged or not known; never a crash."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest

from pytest_istio_mc.checks.precheck import RULES, precheck
from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.snapshot import Snapshot
from tests.checks.precheck.judging import add, budget, entry, rule_for, run, target
from tests.fake_clusters import SYSTEM, FakeMesh, encoded, meta
from tests.mutations import mutated
from tests.test_damaged_snapshots import PYTHON

FILES = ("objects.json", "istiods.json", "cluster.json", "proxies.json")


@pytest.fixture(scope="module", name="rich")
def _rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mesh to which many rules apply, in a folder."""
    mesh = FakeMesh()
    run(mesh, "1.30.1", proxies="1.29.1")
    entry(mesh, workloadSelector={})
    rule_for(mesh, subsets=[{"name": "a", "trafficPolicy": {}}], exportTo=["*"])
    budget(mesh, {"app": "istiod"})
    listener = {"name": "x", "port": 80, "protocol": "HTTP"}
    gateway = {"gatewayClassName": "istio", "listeners": [listener]}
    add(mesh, "Gateway.gateway.networking.k8s.io", "edge", gateway)
    workload = {"locality": "a/b", "labels": {"app": "x"}}
    add(mesh, "WorkloadEntry.networking.istio.io", "x", workload)
    bundle = encoded(mesh.root.certificate)
    client = {"service": {"name": "istiod", "namespace": SYSTEM}, "caBundle": bundle}
    webhook = {"name": "x.istio.io", "clientConfig": client}
    for cluster in mesh.clusters.values():
        cluster.objects["MutatingWebhookConfiguration.admissionregistration.k8s.io"] = [
            {"metadata": meta("istio-sidecar-injector"), "webhooks": [copy.deepcopy(webhook)]}
        ]
    folder = tmp_path_factory.mktemp("rich")
    mesh.record_for_upgrade().save(folder)
    return folder


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_recording_is_refused_or_judged(rich: Path, seed: int) -> None:
    rng = random.Random(seed)
    file = rich / "clusters" / "cluster1" / FILES[seed % len(FILES)]
    whole = file.read_text()
    text, place = mutated(json.loads(whole), rng)
    try:
        file.write_text(text)
        snapshot = Snapshot.load(rich)
    except (UsageProblem, UnicodeEncodeError):
        return
    finally:
        file.write_text(whole)

    found = precheck(snapshot, target("1.31"))

    assert len(found) == len(RULES)
    for one in found:
        for finding in one.findings:
            assert not PYTHON.search(f"{finding.summary} {finding.remedy}"), place
        assert not any(PYTHON.search(gap) for gap in one.gaps), place
