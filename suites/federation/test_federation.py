"""Federated meshes: imported and exported services."""

from pytest_istio_mc.session.tests import checks_of

test_check = checks_of("FEDERATION")
