"""Trust: certificate authorities, identities and mutual TLS across clusters."""
