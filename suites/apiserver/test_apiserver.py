"""API server loss: what goes on while a cluster cannot be watched."""

from pytest_istio_mc.session.tests import checks_of

test_check = checks_of("APISERVER")
