"""Services: the users' own routes, instances, policies and reach."""

from pytest_istio_mc.session.tests import checks_of

test_check = checks_of("SERVICE")
