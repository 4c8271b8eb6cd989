"""The identities that a mesh gives out."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.trust.static import trust_domains, workload_identities
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-TRUST-006")
def test_trust_domains_are_equal_or_aliased(snapshot: Snapshot, expect: Expect) -> None:
    """An identity of one cluster is accepted in every other one."""
    expect(trust_domains(snapshot))


@pytest.mark.mesh_check("MC-TRUST-007")
def test_every_proxy_holds_the_right_certificate(snapshot: Snapshot, expect: Expect) -> None:
    """The certificates that the proxies really hold name who they are and chain to their root."""
    expect(workload_identities(snapshot))
