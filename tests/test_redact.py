"""The gate: secrets by shape and by value, however they are written; what is public stays."""

from __future__ import annotations

import base64
import json
import random
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_istio_mc import certificates, redact
from pytest_istio_mc.errors import MeshError
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.redact import REDACTED, public_url, remember, scrub, scrub_text
from pytest_istio_mc.shell import Remedy
from pytest_istio_mc.verdicts import Finding, non_conformant
from tests.fake_clusters import jwt

KEY = certificates.make_root().key
BODY = "".join(KEY.splitlines()[1:-1])


KEPT = ("", "Bearer", "authorization: Basic", "Api-Token", "https://", "-----")
"""What may be left around a secret that was taken out."""


@pytest.fixture(autouse=True)
def _knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_known", set())
    monkeypatch.setattr(redact, "_known_pattern", None)


def base64_of(text: str, times: int = 1) -> str:
    for _ in range(times):
        text = base64.b64encode(text.encode()).decode()
    return text


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        KEY.replace("\n", "\\n"),
        KEY.replace("\n", ""),
        BODY,
        textwrap.fill(BODY, 64),
        "\n  ".join(textwrap.wrap(base64_of(KEY), 76)),
        base64_of(KEY),
        base64_of(KEY, 2),
        base64_of(KEY, 3),
        base64_of(f"xy{KEY}"),
        KEY.encode().hex(),
        base64.b64decode(BODY).hex(),
        base64.b64decode(BODY).hex(":"),
        jwt(sub="somebody"),
        base64_of(jwt(sub="somebody")),
        "Bearer opaque-SECRET-token",
        "authorization: Basic dXNlcjpwYXNzd29yZA==",
        "Api-Token dt0c01.ST2EY72KQINMH574WMNVI7YN.G3DFPBEJYMODIDAEX454M7YWBUVEFOWKPRVMWFASS64NFH",
        "sha256~Tk0u7bRMRvOoJ7-ZTbEKvwnm4CSV8s2x",
        "https://user:hunter2hunter2@proxy.example:3128/",
        "postgres:hunter2hunter2@db.example:5432",
        "kubeconfig-u-abcdefghij:9fzkxxsjd5xh8xd6jw7vxg4fpvvn9fzkxxsjd5xh8xd6jw7vxg4fpvvn",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXX",
        "xoxb-2345678901-abcdefghij",
        "glpat-ABCDEFGHIJKLMNOPQRST",
    ],
)
def test_a_secret_of_a_known_shape_is_taken_out_of_any_text(text: str) -> None:
    told = scrub_text(f"<{text}>")

    assert REDACTED in told
    public = "@proxy.example:3128/", "@db.example:5432"
    rest = told[1:-1].replace(REDACTED, "").replace("\\n", "")
    assert rest.strip() in (*public, *(f"https://{one}" for one in public), *KEPT)


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=8))
@settings(max_examples=60, deadline=None)
def test_a_secret_that_was_read_never_leaves_whatever_its_shape(value: str) -> None:
    remember(value)

    for text in (value, f"x{value}y", f"x\n{value}", base64_of(f"token: {value}\n")):
        assert value not in scrub_text(text)
        assert REDACTED in scrub_text(text)
    redact._known.clear()


def test_a_short_value_is_no_secret() -> None:
    remember("", "true", "  a  ")

    assert scrub_text("true") == "true"


@pytest.mark.parametrize(
    "text",
    [
        certificates.make_root().certificate,
        base64_of(certificates.make_root().certificate),
        base64_of(certificates.make_root().certificate, 2),
        "spiffe://cluster.local/ns/istio-system/sa/istiod",
        "docker.io/library/python:3.13-slim@sha256:" + "ab" * 32,
        "python:3.13@sha256:" + "ab" * 32,
        "a bearer certificate or an embedded one",
        "kubectl --context=admin@prod-a -n istio-system get pods",
        "outbound_.8080_._.echo.istio-mc-test.svc.cluster.local",
        "system:serviceaccount:istio-system:istio-reader-service-account",
        "sha256 " + "0f" * 32,
        "istio-eastwestgateway-service-account-and-a-very-long-name-indeed-of-a-pod",
    ],
)
def test_what_is_public_stays(text: str) -> None:
    assert scrub_text(text) == text


def test_json_with_a_key_in_it_stays_json() -> None:
    unended = "-----BEGIN PRIVATE KEY-----\\nabc"

    assert scrub_text(f'{{"a": "{unended}", "b": 1}}') == f'{{"a": "{REDACTED}", "b": 1}}'


def test_errors_progress_and_verdicts_leave_their_secrets() -> None:
    token, said = jwt(sub="somebody"), list[str]()
    error = MeshError("thing", "step", f"header Bearer {token}", advice=token, log_tail=[token])
    progress = Progress(said.append)
    progress.note(token)
    with progress.step(token):
        pass
    verdict = non_conformant([Finding("s", seen=token, remedy=Remedy(f"echo {token}"))])

    for text in (str(error), *said, progress.steps[0].name, repr(scrub(verdict))):
        assert token not in text
        assert REDACTED in text
    assert scrub(replace(verdict, findings=())).outcome is verdict.outcome


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@api.example:6443/k8s/clusters/c-1?a=b#c", "https://api.example:6443"),
        ("https://10.0.0.1", "https://10.0.0.1"),
        ("https://[fd00::1]:6443/", "https://[fd00::1]:6443"),
        ("https://host:port", ""),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_of_a_url_scheme_host_and_port_are_public(url: str, shown: str) -> None:
    assert public_url(url) == shown


def test_a_large_text_is_scrubbed_at_once() -> None:
    row = '{"address": "10.1.0.5", "sni": "outbound_.8080_._.echo.ns.svc.cluster.local"}\n'
    text = (row * 40_000) + certificates.make_root().certificate * 50
    remember(*(f"secret-{number}" for number in range(50)))

    began = time.process_time()
    assert scrub_text(text) == text

    assert time.process_time() - began < 6


def test_bytes_that_look_like_nothing_are_no_secret() -> None:
    chance = b"\x01a:\xe9bcd@h.x\x02" * 40
    dice = random.Random(1)

    for raw in (chance, *(dice.randbytes(4000) for _ in range(200))):
        for text in (base64.encodebytes(raw).decode(), raw.hex()):
            assert scrub_text(text) == text


@pytest.mark.parametrize("form", [str, lambda pem: json.dumps({"pem": pem}), base64_of])
def test_what_stands_in_a_certificate_is_public(form: Callable[[str], str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mesh ca:owner@corp.example")])
    now = datetime.now(UTC)
    pem = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("ldap://cn:secret@ldap.example/x")]
            ),
            critical=False,
        )
        .sign(key, SHA256())
        .public_bytes(Encoding.PEM)
        .decode()
    )

    assert scrub_text(form(pem)) == form(pem)
    assert REDACTED in scrub_text(form(pem + "https://user:pass@host.example"))


def test_a_block_that_is_no_certificate_hides_nothing() -> None:
    """Neither a key nor a URL gets out under the name of a certificate."""
    for hidden in (base64.b64decode(BODY), b"https://user:password@host.example/and/more"):
        body = base64.encodebytes(hidden).decode()
        text = f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"
        assert body.strip() not in scrub_text(text)
        assert REDACTED in scrub_text(text)


def test_text_between_bytes_is_found() -> None:
    raw = b"\x00\xff\x03" * 20 + b"postgres://user:pw1@db.example/x" + b"\xfe\x01" * 20

    assert scrub_text(base64.b64encode(raw).decode()) == REDACTED
    assert scrub_text(raw.hex()) == REDACTED
