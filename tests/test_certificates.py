"""Certificates meet real TLS handshakes, verification every broken chain."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from pathlib import Path

import pytest

from pytest_istio_mc import certificates
from pytest_istio_mc.certificate_chains import verify_chain
from pytest_istio_mc.certificates import (
    DAY,
    Authority,
    Leaf,
    make_intermediate,
    make_leaf,
    make_root,
)

NOW = dt.datetime.now(dt.UTC)
SPIFFE = "spiffe://cluster.local/ns/sample/sa/default"


@pytest.fixture(scope="module")
def root() -> Authority:
    """One root for all tests."""
    return make_root("Test Root")


@pytest.fixture(scope="module")
def intermediate(root: Authority) -> Authority:
    """An intermediate below the root."""
    return make_intermediate(root, "Test Intermediate")


def test_two_leaves_of_different_clusters_trust_each_other_through_the_root(
    root: Authority, tmp_path: Path
) -> None:
    server = make_leaf(make_intermediate(root, "east"), dns_names=["server.test"])
    client = make_leaf(make_intermediate(root, "west"), spiffe_id=SPIFFE)

    peer = _handshake(server, client, root, tmp_path)

    assert peer["subjectAltName"] == (("URI", SPIFFE),)


def test_a_leaf_of_a_foreign_root_is_refused(
    root: Authority, intermediate: Authority, tmp_path: Path
) -> None:
    server = make_leaf(intermediate, dns_names=["server.test"])
    foreign = make_root("Foreign Root")
    client = make_leaf(make_intermediate(foreign, "foreign"), spiffe_id=SPIFFE)

    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        _handshake(server, client, root, tmp_path)


def _handshake(server: Leaf, client: Leaf, root: Authority, folder: Path) -> dict[str, object]:
    """Mutual TLS over a socket pair; the server's view of the client.

    Raises what the server raises.
    """
    server_context = _context(ssl.PROTOCOL_TLS_SERVER, server, root, folder / "server.pem")
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context = _context(ssl.PROTOCOL_TLS_CLIENT, client, root, folder / "client.pem")
    server_end, client_end = socket.socketpair()
    client_errors: list[Exception] = []

    def run_client() -> None:
        try:
            name = "server.test"
            with client_context.wrap_socket(client_end, server_hostname=name) as connection:
                connection.recv(1)
        except OSError as error:
            client_errors.append(error)

    thread = threading.Thread(target=run_client)
    thread.start()
    try:
        with server_context.wrap_socket(server_end, server_side=True) as connection:
            connection.send(b"x")
            return dict(connection.getpeercert() or {})
    finally:
        server_end.close()
        thread.join()


def _context(protocol: int, leaf: Leaf, root: Authority, file: Path) -> ssl.SSLContext:
    file.write_text(leaf.chain + leaf.key)
    context = ssl.SSLContext(protocol)
    context.load_cert_chain(file)
    context.load_verify_locations(cadata=root.certificate)
    return context


def test_facts_of_a_workload_certificate(intermediate: Authority) -> None:
    leaf = make_leaf(intermediate, spiffe_id=SPIFFE)

    facts = certificates.facts(leaf.chain)

    assert facts.subject == ""
    assert facts.issuer == "CN=Test Intermediate,O=istio-mc"
    assert facts.spiffe_ids == (SPIFFE,)
    assert facts.names == (f"URI:{SPIFFE}",)
    assert not facts.is_ca
    assert facts.key_usage == ("digital_signature", "key_encipherment")
    assert facts.extended_key_usage == ("server_auth", "client_auth")
    assert facts.key_type == "EC secp256r1"
    assert facts.not_before < NOW < facts.not_after
    assert len(facts.sha256) == len(facts.public_key_sha256) == 64


def test_facts_of_authorities(root: Authority, intermediate: Authority) -> None:
    above, below = certificates.facts(root.certificate), certificates.facts(intermediate.chain)

    assert above.self_issued
    assert above.is_ca
    assert above.path_length is None
    assert below.is_ca
    assert below.path_length == 0
    assert not below.self_issued
    assert below.issuer == above.subject
    assert "key_cert_sign" in below.key_usage


def test_facts_of_something_else_are_refused() -> None:
    with pytest.raises(ValueError, match="no certificate"):
        certificates.facts("hello")


def test_cacerts_is_what_istio_documents(root: Authority, intermediate: Authority) -> None:
    files = certificates.cacerts_files(intermediate, root)

    assert sorted(files) == ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"]
    chain, roots = files["cert-chain.pem"].decode(), files["root-cert.pem"].decode()
    assert files["ca-cert.pem"].decode() == intermediate.certificate
    assert files["ca-key.pem"].decode() == intermediate.key
    assert certificates.split_pem(chain) == [intermediate.certificate, root.certificate]
    assert verify_chain(chain, roots, NOW) is None


@pytest.mark.parametrize("with_root", [False, True], ids=["without-root", "with-root"])
def test_a_whole_chain_verifies(root: Authority, intermediate: Authority, with_root: bool) -> None:
    leaf = make_leaf(intermediate, spiffe_id=SPIFFE)

    chain = leaf.chain + (root.certificate if with_root else "")

    assert verify_chain(chain, root.certificate, NOW) is None


def test_one_of_several_roots_is_enough(root: Authority, intermediate: Authority) -> None:
    leaf = make_leaf(intermediate, spiffe_id=SPIFFE)
    roots = make_root("Other").certificate + make_root("Test Root").certificate + root.certificate

    assert verify_chain(leaf.chain, roots, NOW) is None


def test_an_expired_leaf_is_named(root: Authority, intermediate: Authority) -> None:
    leaf = make_leaf(intermediate, spiffe_id=SPIFFE, not_before=NOW - 3 * DAY)

    assert verify_chain(leaf.chain, root.certificate, NOW) == (
        f'"{SPIFFE}" expired on {NOW - 2 * DAY:%Y-%m-%d %H:%M:%S} UTC'
    )


def test_an_expired_intermediate_is_named(root: Authority) -> None:
    old = make_intermediate(root, "Old", valid=-DAY / 48)
    leaf = make_leaf(old, spiffe_id=SPIFFE)

    assert str(verify_chain(leaf.chain, root.certificate, NOW)).startswith('"Old" expired on ')


def test_an_expired_root_is_named() -> None:
    root = make_root("Old Root", valid=-DAY / 48)
    leaf = make_leaf(make_intermediate(root, "Young"), spiffe_id=SPIFFE)

    assert str(verify_chain(leaf.chain, root.certificate, NOW)).startswith('"Old Root" expired on ')


def test_a_leaf_of_tomorrow_is_named(root: Authority, intermediate: Authority) -> None:
    leaf = make_leaf(intermediate, spiffe_id=SPIFFE, not_before=NOW + DAY)

    assert "is not valid before" in str(verify_chain(leaf.chain, root.certificate, NOW))


def test_a_missing_intermediate_is_named(root: Authority, intermediate: Authority) -> None:
    leaf = make_leaf(intermediate, spiffe_id=SPIFFE)

    assert verify_chain(leaf.certificate, root.certificate, NOW) == (
        f'the issuer of "{SPIFFE}", CN=Test Intermediate,O=istio-mc, is neither next in the chain '
        "nor a trusted root"
    )


def test_a_chain_out_of_order_is_told_from_an_incomplete_one(
    root: Authority, intermediate: Authority
) -> None:
    leaf = make_leaf(intermediate, spiffe_id=SPIFFE)

    problem = verify_chain(
        leaf.certificate + root.certificate + intermediate.certificate, root.certificate, NOW
    )

    assert str(problem).startswith("the chain is out of order")


def test_a_signature_of_another_key_is_found(root: Authority) -> None:
    leaf = make_leaf(make_intermediate(root, "Twin"), spiffe_id=SPIFFE)
    twin = make_intermediate(root, "Twin")

    assert verify_chain(leaf.certificate + twin.certificate, root.certificate, NOW) == (
        f'the signature of "{SPIFFE}" was not made with the key of "Twin"'
    )


def test_a_leaf_that_signs_is_found(root: Authority, intermediate: Authority) -> None:
    upstart = make_leaf(intermediate, dns_names=["upstart.test"])
    leaf = make_leaf(
        Authority(upstart.certificate, upstart.key, intermediate.issuers), spiffe_id=SPIFFE
    )

    problem = verify_chain(leaf.certificate + upstart.chain, root.certificate, NOW)

    assert problem == f'"upstart.test", the issuer of "{SPIFFE}", is not a CA certificate'


def test_an_authority_below_one_that_allows_none_is_found(
    root: Authority, intermediate: Authority
) -> None:
    leaf = make_leaf(make_intermediate(intermediate, "Third"), spiffe_id=SPIFFE)

    problem = verify_chain(leaf.chain, root.certificate, NOW)

    assert problem == '"Test Intermediate" allows 0 authorities under it, the chain has 1'


def test_a_foreign_root_is_told_from_a_namesake(root: Authority) -> None:
    foreign, namesake = make_root("Foreign"), make_root("Test Root")

    assert verify_chain(foreign.certificate, root.certificate, NOW) == (
        '"Foreign" is self-signed and not one of the trusted roots, which are "Test Root"'
    )
    assert verify_chain(namesake.certificate, root.certificate, NOW) == (
        '"Test Root" is self-signed and not one of the trusted roots; one of them has its name, '
        "but another key"
    )


@pytest.mark.parametrize(
    ("chain", "roots", "problem"),
    [
        ("", "roots", "there is no certificate"),
        ("chain", "", "there is no root certificate to verify against"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "roots",
            "a certificate cannot be read",
        ),
    ],
    ids=["no-chain", "no-roots", "not-a-certificate"],
)
def test_what_is_not_there_or_not_readable_is_said(
    root: Authority, chain: str, roots: str, problem: str
) -> None:
    known = {"chain": root.certificate, "roots": root.certificate}

    assert str(verify_chain(known.get(chain, chain), known.get(roots, roots), NOW)).startswith(
        problem
    )
