"""Cluster-local services: what mesh configuration keeps within a cluster."""

from pytest_istio_mc.session.tests import checks_of

test_check = checks_of("CLUSTERLOCAL")
