"""Shared by the tests of observers that make services and settings on a lab."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.faults.journal import journals
from pytest_istio_mc.istio_names import KUBE_SYSTEM
from pytest_istio_mc.probes.manifests import RUN_LABEL
from tests.checks.lab_site import opened, remains
from tests.checks.open_site import OpenSite
from tests.conftest import LabMesh


@pytest.fixture(scope="module")
def probed(lab_mesh: LabMesh) -> Iterator[OpenSite]:
    """Probes in the shared mesh."""
    with opened(lab_mesh, "routing", Timeouts()) as site:
        yield site


@pytest.fixture
def nothing_is_left(probed: OpenSite) -> Iterator[None]:
    """The mesh configuration, the probe namespace and kube-system are what they were."""
    before = remains(probed)
    yield
    assert remains(probed) == before
    for kube in probed.kubes().values():
        assert list(journals(kube, probed.mesh.spec.istio_namespace)) == []
        for kind in ("Service", "EndpointSlice.discovery.k8s.io"):
            assert kube.list(kind, KUBE_SYSTEM, labels=RUN_LABEL) == []


@pytest.fixture
def impatient(nothing_is_left: None, probed: OpenSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for what will never be."""
    timeouts = replace(Timeouts(), config_propagation=8.0)
    monkeypatch.setattr(probed.open_traffic, "timeouts", timeouts)
