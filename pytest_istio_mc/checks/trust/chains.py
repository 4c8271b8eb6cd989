"""Certificate chains as values: who signed what, and where that leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from ...certificates import CertificateFacts, facts, split_pem
from ...errors import ObservationError


@dataclass(frozen=True)
class Certificate:
    """One certificate: what it says, and its PEM text."""

    facts: CertificateFacts
    pem: str

    @property
    def subject(self) -> str:
        """Whom it is for; empty on workload certificates, which have a SPIFFE identity instead."""
        return self.facts.subject

    @property
    def issuer(self) -> str:
        """Who signed it."""
        return self.facts.issuer

    @property
    def sha256(self) -> str:
        """Its fingerprint."""
        return self.facts.sha256

    @property
    def short(self) -> str:
        """The first figures of the fingerprint, as people compare them."""
        return self.sha256[:12]

    @property
    def not_after(self) -> datetime:
        """When it expires."""
        return self.facts.not_after

    @property
    def lifetime_seconds(self) -> float:
        """How long it is valid in all."""
        return (self.facts.not_after - self.facts.not_before).total_seconds()

    @property
    def signs(self) -> bool:
        """Whether it may sign others.

        It needs the CA flag and, where there is a key usage, certificate signing in that.
        """
        usage = self.facts.key_usage
        return self.facts.is_ca and (not usage or "key_cert_sign" in usage)

    @property
    def self_signed(self) -> bool:
        """Whether it is its own issuer."""
        return self.facts.self_issued and signed_by(self, self)


@dataclass(frozen=True)
class CertificationPath:
    """The way up from a certificate.

    ``root`` is the trusted certificate at its end; None where it stops at ``last`` before one.
    """

    links: tuple[Certificate, ...]
    root: Certificate | None

    @property
    def last(self) -> Certificate:
        """The highest certificate reached."""
        return self.links[-1]


@lru_cache(maxsize=4096)
def parse(pem: str) -> tuple[Certificate, ...]:
    """The certificates in a PEM text, in order; ``ObservationError`` where one is unreadable."""
    try:
        return tuple(Certificate(facts(one), one) for one in split_pem(pem))
    except ValueError as error:
        raise ObservationError("certificate", "is not readable PEM", str(error)) from error


@lru_cache(maxsize=65536)
def signed_by(child: Certificate, parent: Certificate) -> bool:
    """Whether the parent's key signed the child and their names agree.

    Dates are not looked at.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.x509 import load_pem_x509_certificate

    try:
        load_pem_x509_certificate(child.pem.encode()).verify_directly_issued_by(
            load_pem_x509_certificate(parent.pem.encode())
        )
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def climb(
    leaf: Certificate, intermediates: Sequence[Certificate], roots: Sequence[Certificate]
) -> CertificationPath:
    """The way from a certificate up to a root, as far as it goes."""
    links = [leaf]
    while True:
        last = links[-1]
        if last in roots:
            return CertificationPath(tuple(links), last)
        root = next((candidate for candidate in roots if signed_by(last, candidate)), None)
        if root is not None:
            return CertificationPath((*links, root), root)
        unused = (one for one in intermediates if one not in links)
        above = next((one for one in unused if signed_by(last, one)), None)
        if above is None:
            return CertificationPath(tuple(links), None)
        links.append(above)


def subjects(certificates: Sequence[Certificate]) -> str:
    """Subjects and fingerprints, for *expected* and *seen* texts."""
    words = (f"{one.subject or '(no subject)'} (sha256 {one.short}…)" for one in certificates)
    return ", ".join(words) or "none"
