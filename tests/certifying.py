"""Shared by the tests of the pytest layer: small suites with known verdicts."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
import yaml

# pytester forgets the modules that a run imports; those imported here stay the same in every run
import pytest_istio_mc.fixtures.expect
import pytest_istio_mc.fixtures.mesh
import pytest_istio_mc.fixtures.traffic
import pytest_istio_mc.session  # noqa: F401
import tests.fake_mesh  # noqa: F401

CERTIFY = ("-p", "tests.fake_mesh", "--mesh-topology=fake-topology", "--mesh-provider=fake")

PREAMBLE = """
    from dataclasses import replace

    import pytest

    from pytest_istio_mc.verdicts import (
        Evidence, Finding, conformant, inconclusive, non_conformant, not_applicable
    )

    def judged(id, verdict):
        return replace(verdict, check=id)

    SHARED = conformant("2 clusters share one root", pairs=["cluster1", "cluster2"])
    MISSING = Finding(
        "cluster1 holds no remote secret for cluster2", ("cluster1",), "one secret", "none",
        "istioctl create-remote-secret --context=c2 --name=cluster2"
        " | kubectl --context=c1 apply -f -", "remote-secret-missing",
    )
    SECRETS = Evidence("secrets.json", "[]", "application/json")
    LACKING = Finding("a proxy in cluster1 lacks cluster2", ("cluster1",))
    ROOT = judged("MC-TRUST-901", SHARED)
    NO_SECRET = judged("MC-ACCESS-901", non_conformant([MISSING]).with_evidence(SECRETS))
    NO_ENDPOINT = judged("MC-DISCOVERY-901", non_conformant([LACKING]))
    NO_ANSWER = judged("MC-EASTWEST-901", inconclusive("no answer within 5 s"))
"""

TESTS = """
    @pytest.mark.mesh_check("MC-TRUST-901")
    def test_root(snapshot, expect):
        expect({trust})

    @pytest.mark.mesh_check("MC-ACCESS-901")
    def test_secrets(snapshot, expect):
        expect({access})

    @pytest.mark.mesh_check("MC-DISCOVERY-901")
    def test_endpoints(snapshot, expect):
        expect({discovery})

    @pytest.mark.mesh_check("MC-DISCOVERY-902")
    def test_flat(snapshot, expect):
        raise AssertionError("must not run: the mesh has no flat network")

    @pytest.mark.mesh_check("MC-EASTWEST-901")
    def test_gateway(mesh, expect):
        expect({gateway})

    @pytest.mark.mesh_check("MC-EASTWEST-902")
    def test_gateway_lost(mesh, expect):
        expect({fault})
"""


def good(id: str) -> str:
    """Python source of a conformant verdict."""
    return f'judged("{id}", conformant("as it should be"))'


HEALTHY = {
    "trust": "ROOT",
    "access": good("MC-ACCESS-901"),
    "discovery": good("MC-DISCOVERY-901"),
    "gateway": good("MC-EASTWEST-901"),
    "fault": good("MC-EASTWEST-902"),
}
BROKEN = HEALTHY | {"access": "NO_SECRET", "discovery": "NO_ENDPOINT", "gateway": "NO_ANSWER"}


def write_suite(
    pytester: pytest.Pytester, verdicts: dict[str, str] | None = None, more: str = ""
) -> None:
    """Write a test file with one test for each fake check."""
    parts = (PREAMBLE, TESTS.format(**(verdicts or HEALTHY)), more)
    pytester.makepyfile(test_suite="".join(map(textwrap.dedent, parts)))


def report_of(pytester: pytest.Pytester, name: str = "mesh-report.yaml") -> dict[str, Any]:
    """The certificate that the run wrote."""
    document: dict[str, Any] = yaml.safe_load((pytester.path / name).read_text())
    return document


def entry_of(report: dict[str, Any], check: str) -> dict[str, Any]:
    """The entry of one check in a certificate."""
    return next(entry for entry in report["checks"] if entry["id"] == check)
