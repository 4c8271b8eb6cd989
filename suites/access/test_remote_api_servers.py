"""The credentials of remote secrets, used from where istiod uses them."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.access.static import (
    accepted_tokens,
    reachable_servers,
    sufficient_rights,
    verified_servers,
)
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-ACCESS-002")
def test_every_remote_api_server_is_reachable_from_the_control_plane(
    snapshot: Snapshot, expect: Expect
) -> None:
    """A pod beside istiod connects to the server in the secret, and it is the right cluster's."""
    expect(reachable_servers(snapshot))


@pytest.mark.mesh_check("MC-ACCESS-003")
def test_every_remote_api_server_has_a_certificate_of_the_ca_in_the_secret(
    snapshot: Snapshot, expect: Expect
) -> None:
    """A TLS handshake, verified as istiod does."""
    expect(verified_servers(snapshot))


@pytest.mark.mesh_check("MC-ACCESS-004")
def test_every_token_is_accepted_and_lasts(snapshot: Snapshot, expect: Expect) -> None:
    """A request with the very token is authenticated, and will be for a while."""
    expect(accepted_tokens(snapshot))


@pytest.mark.mesh_check("MC-ACCESS-005")
def test_every_credential_may_do_what_istiod_does(snapshot: Snapshot, expect: Expect) -> None:
    """The remote API server is asked about every right that istiod uses."""
    expect(sufficient_rights(snapshot))
