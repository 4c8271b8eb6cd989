"""Upgrade: what a change of the mesh that the gate watched cost its traffic."""

from pytest_istio_mc.session.tests import checks_of

test_check = checks_of("UPGRADE")
