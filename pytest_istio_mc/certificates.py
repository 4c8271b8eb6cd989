"""Certificates: roots, intermediates and leaves, made and read; PEM in and out.

- Shaped for Istio: EC P-256 keys, SPIFFE identities as URI names, and ``cacerts`` as on its page
  "Plug in CA Certificates".
- ``cryptography`` is loaded when a function needs it, not before.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

E = TypeVar("E", bound="x509.ExtensionType")

DAY = dt.timedelta(days=1)
_CLOCK_SKEW = dt.timedelta(hours=1)
_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Authority:
    """A certificate authority, as PEM texts.

    ``issuers`` are the certificates above it, the root last; a root has none.
    """

    certificate: str
    key: str
    issuers: tuple[str, ...] = ()

    @property
    def chain(self) -> str:
        """This authority's certificate and those above it, the root last."""
        return "".join((self.certificate, *self.issuers))


@dataclass(frozen=True)
class Leaf:
    """An end entity; ``chain`` is what a TLS server presents.

    That is its certificate with all intermediates, without the root.
    """

    certificate: str
    key: str
    chain: str


@dataclass(frozen=True)
class CertificateFacts:
    """The facts of a certificate, safe to put into a report."""

    subject: str
    issuer: str
    serial: str
    not_before: dt.datetime
    not_after: dt.datetime
    is_ca: bool
    path_length: int | None
    key_usage: tuple[str, ...]
    extended_key_usage: tuple[str, ...]
    names: tuple[str, ...]
    key_type: str
    sha256: str
    public_key_sha256: str

    @property
    def self_issued(self) -> bool:
        """Whether it names itself as its issuer, as roots do."""
        return self.subject == self.issuer

    @property
    def spiffe_ids(self) -> tuple[str, ...]:
        """The workload identities it carries."""
        found = (name for name in self.names if name.startswith("URI:spiffe://"))
        return tuple(name.removeprefix("URI:") for name in found)


def make_root(
    name: str = "Root CA", *, organization: str = "istio-mc", valid: dt.timedelta = 3650 * DAY
) -> Authority:
    """A new self-signed root."""
    return _make_authority(name, organization, None, valid, None)


def make_intermediate(
    root: Authority, name: str, *, organization: str = "istio-mc", valid: dt.timedelta = 730 * DAY
) -> Authority:
    """A new authority signed by ``root`` that may sign leaves only."""
    return _make_authority(name, organization, root, valid, 0)


def make_leaf(
    authority: Authority,
    *,
    spiffe_id: str = "",
    dns_names: Sequence[str] = (),
    addresses: Sequence[str] = (),
    common_name: str = "",
    organization: str = "",
    valid: dt.timedelta = DAY,
    not_before: dt.datetime | None = None,
) -> Leaf:
    """A new certificate for clients and servers.

    - With ``spiffe_id``: as Istio issues it to a workload (no subject, a critical URI).
    - ``common_name`` and ``organization``: to Kubernetes, a user and its group.
    - Without a common name, a leaf is named after its first DNS name or address.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(spiffe_id)] if spiffe_id else []
    names += [x509.DNSName(name) for name in dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    if not names and not common_name:
        raise ValueError("a leaf needs a SPIFFE id, a DNS name, an address or a common name")
    common = "" if spiffe_id else common_name or (*dns_names, *addresses)[0]
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    subject += [x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else []
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (_key_usage(digital_signature=True, key_encipherment=True), True),
        (x509.ExtendedKeyUsage(purposes), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
    ]
    if names:
        extensions.insert(0, (x509.SubjectAlternativeName(names), bool(spiffe_id)))
    certificate, key = _sign(x509.Name(subject), authority, valid, extensions, not_before)
    intermediates = authority.chain if authority.issuers else ""
    # The last issuer is the root, which the peer must have already.
    without_root = "".join(split_pem(intermediates)[:-1])
    return Leaf(certificate, key, certificate + without_root)


def cacerts_files(intermediate: Authority, root: Authority) -> dict[str, bytes]:
    """The files of the secret ``cacerts`` (Istio, "Plug in CA Certificates")."""
    return {
        "ca-cert.pem": intermediate.certificate.encode(),
        "ca-key.pem": intermediate.key.encode(),
        "cert-chain.pem": intermediate.chain.encode(),
        "root-cert.pem": root.certificate.encode(),
    }


def split_pem(text: str) -> list[str]:
    """Each certificate of a PEM text, in order, without the text around them."""
    blocks = []
    for part in text.split(_BEGIN)[1:]:
        body, end, _ = part.partition(_END)
        if end:
            blocks.append(f"{_BEGIN}{body}{_END}\n")
    return blocks


def only_certificates(text: str) -> str:
    """The certificates of a PEM text, written anew, and nothing else of it.

    In place of one that cannot be read there is one that nobody can read.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    kept = []
    for block in split_pem(text):
        try:
            kept.append(load(block).public_bytes(Encoding.PEM).decode())
        except ValueError:
            kept.append(f"{_BEGIN}\nunreadable\n{_END}\n")
    return "".join(kept)


def facts(pem: str) -> CertificateFacts:
    """The facts of the first certificate of a PEM text.

    :class:`ValueError` where there is none that can be read.
    """
    from cryptography import x509

    certificate = _first(pem)
    constraints = extension(certificate, x509.BasicConstraints)
    usage = extension(certificate, x509.KeyUsage)
    extended = extension(certificate, x509.ExtendedKeyUsage)
    names = extension(certificate, x509.SubjectAlternativeName)
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_ca=constraints.ca if constraints else False,
        path_length=constraints.path_length if constraints else None,
        key_usage=_usages(usage) if usage else (),
        extended_key_usage=tuple(_oid_name(oid) for oid in extended) if extended else (),
        names=tuple(_name_text(name) for name in names) if names else (),
        key_type=_key_type(certificate),
        sha256=fingerprint(certificate).hex(),
        public_key_sha256=_public_key_sha256(certificate),
    )


def load(pem: str) -> x509.Certificate:
    """One certificate; :class:`ValueError` where it cannot be read."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem.encode())


def extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    """An extension of a certificate, where it has that."""
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def fingerprint(certificate: x509.Certificate) -> bytes:
    """The SHA-256 of a certificate."""
    return certificate.fingerprint(_sha256())


def _make_authority(
    name: str,
    organization: str,
    issuer: Authority | None,
    valid: dt.timedelta,
    path_length: int | None,
) -> Authority:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    names = ((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, name))
    subject = x509.Name([x509.NameAttribute(kind, text) for kind, text in names])
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_key_usage(key_cert_sign=True, crl_sign=True, digital_signature=True), True),
    ]
    certificate, key = _sign(subject, issuer, valid, extensions, None)
    return Authority(certificate, key, (issuer.certificate, *issuer.issuers) if issuer else ())


def _sign(
    subject: x509.Name,
    issuer: Authority | None,
    valid: dt.timedelta,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    not_before: dt.datetime | None,
) -> tuple[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    begin = not_before or now - _CLOCK_SKEW
    issuer_certificate = load(issuer.certificate) if issuer else None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_certificate.subject if issuer_certificate else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after((not_before or now) + valid)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer_certificate:
        public = issuer_certificate.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
        builder = builder.add_extension(identifier, critical=False)
    for entry, critical in extensions:
        builder = builder.add_extension(entry, critical)
    signing_key = key
    if issuer:
        loaded = serialization.load_pem_private_key(issuer.key.encode(), password=None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signing_key = loaded
    certificate = builder.sign(signing_key, _sha256())
    # Istio's documentation makes its keys with openssl: every istiod reads "EC PRIVATE KEY".
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), key_pem.decode()


_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
    "key_agreement", "key_cert_sign", "crl_sign",
)  # fmt: skip


def _key_usage(**given: bool) -> x509.KeyUsage:
    from cryptography import x509

    usages = {usage: given.get(usage, False) for usage in _USAGES}
    return x509.KeyUsage(**usages, encipher_only=False, decipher_only=False)


def _usages(usage: x509.KeyUsage) -> tuple[str, ...]:
    return tuple(name for name in _USAGES if getattr(usage, name))


def _first(pem: str) -> x509.Certificate:
    blocks = split_pem(pem)
    if not blocks:
        raise ValueError("there is no certificate in it")
    return load(blocks[0])


def _sha256() -> hashes.SHA256:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


def _public_key_sha256(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives import serialization

    public = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(public).hexdigest()


def _key_type(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else type(key).__name__


def _oid_name(oid: x509.ObjectIdentifier) -> str:
    from cryptography.x509.oid import ExtendedKeyUsageOID

    known = {
        ExtendedKeyUsageOID.SERVER_AUTH: "server_auth",
        ExtendedKeyUsageOID.CLIENT_AUTH: "client_auth",
    }
    return known.get(oid, oid.dotted_string)


def _name_text(name: x509.GeneralName) -> str:
    from cryptography import x509

    kinds = {x509.UniformResourceIdentifier: "URI", x509.DNSName: "DNS", x509.IPAddress: "IP"}
    return f"{kinds.get(type(name), type(name).__name__)}:{name.value}"
