"""East-west gateways: addresses, configuration, exposure and loss."""

from pytest_istio_mc.session.tests import checks_of

test_check = checks_of("EASTWEST")
