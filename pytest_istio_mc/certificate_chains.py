"""Certificate chains: the first thing that is broken, from the leaf upwards."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .certificates import extension, fingerprint, load, split_pem

if TYPE_CHECKING:
    from cryptography import x509


def verify_chain(chain_pem: str, roots_pem: str, at: dt.datetime) -> str | None:
    """What is broken between a chain and the roots, in one sentence.

    - ``None`` where nothing is; else the first thing from the leaf upwards.
    - The chain is taken in its order, as a TLS peer would have it; roots at its end are allowed.
    """
    try:
        chain = [load(pem) for pem in split_pem(chain_pem)]
        roots = [load(pem) for pem in split_pem(roots_pem)]
    except ValueError as error:
        return f"a certificate cannot be read: {error}"
    if not chain:
        return "there is no certificate"
    if not roots:
        return "there is no root certificate to verify against"
    trusted = {fingerprint(root) for root in roots}
    for below, certificate in enumerate(chain):
        if problem := _validity_problem(certificate, at):
            return problem
        if fingerprint(certificate) in trusted:
            return None
        if certificate.subject == certificate.issuer:
            return _foreign_root(certificate, roots)
        above = (*roots, *chain[below + 1 : below + 2])
        named = [issuer for issuer in above if issuer.subject == certificate.issuer]
        if not named:
            return _no_issuer(certificate, chain[below + 1 :])
        problems = {issuer: _issuing_problem(certificate, issuer, below) for issuer in named}
        issuers = [issuer for issuer, problem in problems.items() if not problem]
        if not issuers:
            return problems[named[-1]]
        if fingerprint(issuers[0]) in trusted:
            return _validity_problem(issuers[0], at)
    raise AssertionError("every certificate led to a root, to the next one, or to a problem")


def _called(certificate: x509.Certificate) -> str:
    """The name of a certificate in a sentence."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if common:
        return f'"{common[0].value!s}"'
    names = extension(certificate, x509.SubjectAlternativeName)
    if names:
        return f'"{next(iter(names)).value}"'
    return f'"{certificate.subject.rfc4514_string() or hex(certificate.serial_number)}"'


def _validity_problem(certificate: x509.Certificate, at: dt.datetime) -> str | None:
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if at < first:
        return f"{_called(certificate)} is not valid before {first:%Y-%m-%d %H:%M:%S} UTC"
    if at > last:
        return f"{_called(certificate)} expired on {last:%Y-%m-%d %H:%M:%S} UTC"
    return None


def _foreign_root(certificate: x509.Certificate, roots: Sequence[x509.Certificate]) -> str:
    text = f"{_called(certificate)} is self-signed and not one of the trusted roots"
    if any(root.subject == certificate.subject for root in roots):
        return text + "; one of them has its name, but another key"
    return text + f", which are {', '.join(_called(root) for root in roots)}"


def _no_issuer(certificate: x509.Certificate, above: Sequence[x509.Certificate]) -> str:
    called, issuer = _called(certificate), certificate.issuer.rfc4514_string()
    if any(other.subject == certificate.issuer for other in above):
        return f"the chain is out of order: {called} is not followed by its issuer {issuer}"
    return f"the issuer of {called}, {issuer}, is neither next in the chain nor a trusted root"


def _issuing_problem(
    certificate: x509.Certificate, issuer: x509.Certificate, below: int
) -> str | None:
    """Why ``issuer`` cannot have issued the certificate; ``None`` where it has.

    ``below`` is the number of certificates under that one.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    constraints = extension(issuer, x509.BasicConstraints)
    usage = extension(issuer, x509.KeyUsage)
    called, its_issuer = _called(certificate), _called(issuer)
    if not constraints or not constraints.ca:
        return f"{its_issuer}, the issuer of {called}, is not a CA certificate"
    if usage and not usage.key_cert_sign:
        return f"{its_issuer}, the issuer of {called}, may not sign certificates (key usage)"
    most = constraints.path_length
    if most is not None and below > most:
        return f"{its_issuer} allows {most} authorities under it, the chain has {below}"
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return f"the signature of {called} was not made with the key of {its_issuer}"
    return None
