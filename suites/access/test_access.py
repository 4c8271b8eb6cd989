"""Remote access: secrets, servers, tokens, rights and synchronisation."""

from pytest_istio_mc.session.tests import checks_of

test_check = checks_of("ACCESS")
