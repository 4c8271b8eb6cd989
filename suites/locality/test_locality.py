"""Locality: nearest first, failover and shares."""

from pytest_istio_mc.session.tests import checks_of

test_check = checks_of("LOCALITY")
