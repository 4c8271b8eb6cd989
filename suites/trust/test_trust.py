"""Trust: certificate authorities, identities and mutual TLS across clusters."""

from pytest_istio_mc.session.tests import checks_of

test_check = checks_of("TRUST")
