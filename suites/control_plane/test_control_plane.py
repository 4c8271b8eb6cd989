"""Control plane: names, networks, proxies, versions and configuration."""

from pytest_istio_mc.session.tests import checks_of

test_check = checks_of("CONTROL")
