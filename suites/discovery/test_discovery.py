"""Discovery: endpoints everywhere, and requests that reach them."""

from pytest_istio_mc.session.tests import checks_of

test_check = checks_of("DISCOVERY")
