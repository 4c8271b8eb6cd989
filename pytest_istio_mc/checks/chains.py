"""Certificate chains as values: what a certificate says, who signed it, and where a chain leads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from ..errors import ObservationError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate as X509


@dataclass(frozen=True)
class Certificate:
    """What one certificate says. ``signs`` is whether it may sign others: CA flag and, where there is a key usage, certificate signing."""

    subject: str
    issuer: str
    sha256: str
    public_key: str
    not_before: datetime
    not_after: datetime
    authority: bool
    signs: bool
    uris: tuple[str, ...]
    x509: X509 = field(compare=False, repr=False)

    @property
    def short(self) -> str:
        """The first figures of the fingerprint, as people compare them."""
        return self.sha256[:12]

    @property
    def self_signed(self) -> bool:
        """Whether it is its own issuer."""
        return self.subject == self.issuer and signed_by(self, self)

    @property
    def lifetime_seconds(self) -> float:
        """How long it is valid in all."""
        return (self.not_after - self.not_before).total_seconds()


@dataclass(frozen=True)
class Path:
    """The way up from a certificate. ``root`` is the trusted certificate that it ends at; None where it stops at ``last`` before."""

    links: tuple[Certificate, ...]
    root: Certificate | None

    @property
    def last(self) -> Certificate:
        """The highest certificate reached."""
        return self.links[-1]


@lru_cache(maxsize=4096)
def parse(pem: str) -> tuple[Certificate, ...]:
    """The certificates in a PEM text, in their order; :class:`ObservationError` where it holds something else."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if "-----BEGIN CERTIFICATE-----" not in pem:
        return ()
    try:
        loaded = x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise ObservationError("certificate", "is not readable PEM", str(error)) from error
    found = []
    for one in loaded:
        constraints = _extension(one, x509.BasicConstraints)
        usage = _extension(one, x509.KeyUsage)
        names = _extension(one, x509.SubjectAlternativeName)
        authority = constraints is not None and constraints.ca
        spki = one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        found.append(
            Certificate(
                subject=one.subject.rfc4514_string(),
                issuer=one.issuer.rfc4514_string(),
                sha256=hashlib.sha256(one.public_bytes(Encoding.DER)).hexdigest(),
                public_key=hashlib.sha256(spki).hexdigest(),
                not_before=one.not_valid_before_utc,
                not_after=one.not_valid_after_utc,
                authority=authority,
                signs=authority and (usage is None or usage.key_cert_sign),
                uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)) if names is not None else (),
                x509=one,
            )
        )
    return tuple(found)


@lru_cache(maxsize=65536)
def signed_by(child: Certificate, parent: Certificate) -> bool:
    """Whether the parent's key signed the child and their names agree; validity in time is not looked at."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        child.x509.verify_directly_issued_by(parent.x509)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def climb(leaf: Certificate, intermediates: Sequence[Certificate], roots: Sequence[Certificate]) -> Path:
    """The way from a certificate up to one of the roots, through the intermediates, as far as it goes."""
    links = [leaf]
    while True:
        last = links[-1]
        if last in roots:
            return Path(tuple(links), last)
        root = next((candidate for candidate in roots if signed_by(last, candidate)), None)
        if root is not None:
            return Path((*links, root), root)
        above = next((one for one in intermediates if one not in links and signed_by(last, one)), None)
        if above is None:
            return Path(tuple(links), None)
        links.append(above)


def describe(certificates: Sequence[Certificate]) -> str:
    """Fingerprints and subjects, for *expected* and *seen* texts."""
    return ", ".join(f"{one.subject or '(no subject)'} (sha256 {one.short}…)" for one in certificates) or "none"


def _extension(one: X509, kind: type) -> object:
    from cryptography.x509 import ExtensionNotFound

    try:
        return one.extensions.get_extension_for_class(kind).value
    except ExtensionNotFound:
        return None
