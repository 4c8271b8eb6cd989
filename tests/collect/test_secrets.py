"""Kubeconfigs and tokens are read, never run or opened."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest
import yaml

from pytest_istio_mc.collect.secrets import read_kubeconfig, token_facts
from pytest_istio_mc.dates import LAST
from tests.fake_clusters import jwt


def kubeconfig(**user: Any) -> bytes:
    ca = base64.b64encode(b"CA").decode()
    cluster = {"server": "https://10.0.0.1:6443", "certificate-authority-data": ca}
    document = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
        "users": [{"name": "u", "user": user}],
    }
    return yaml.safe_dump(document).encode()


@pytest.mark.parametrize(
    ("user", "auth"),
    [
        ({"token": "t"}, "token"),
        ({"exec": {"command": "x"}, "token": "t"}, "exec"),
        ({"auth-provider": {"name": "gcp"}}, "auth-provider"),
        ({"tokenFile": "/etc/token"}, "file"),
        ({"client-certificate-data": "QQ=="}, "certificate"),
        ({"username": "me", "password": "p"}, "password"),
        ({}, "none"),
    ],
)
def test_how_a_kubeconfig_authenticates(user: dict[str, Any], auth: str) -> None:
    facts, _ = read_kubeconfig(kubeconfig(**user))

    assert (facts.server, facts.ca_pem) == ("https://10.0.0.1:6443", "CA")
    assert (facts.auth, facts.problem) == (auth, "")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"foo", "is not a kubeconfig"),
        (b"a: [", "is not YAML"),
        (b"clusters: []", "has no context"),
        (
            yaml.safe_dump({**yaml.safe_load(kubeconfig()), "clusters": []}).encode(),
            "has no cluster called 'c'",
        ),
    ],
)
def test_what_is_wrong_with_a_kubeconfig(content: bytes, problem: str) -> None:
    assert problem in read_kubeconfig(content)[0].problem


def test_the_claims_of_a_token_are_public_and_the_token_is_not() -> None:
    token = jwt(iss="i", sub="s", iat=1, exp=2)

    facts = token_facts(token)

    assert (facts.issuer, facts.subject, facts.issued_at, facts.expires_at) == ("i", "s", 1, 2)
    assert token not in repr(facts)


@pytest.mark.parametrize(
    "token", ["opaque", "a.b.c", "eyJ.eyJ.x", f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c"]
)
def test_a_token_that_is_no_jwt_has_no_claims(token: str) -> None:
    assert token_facts(token).expires_at is None


@pytest.mark.parametrize(
    ("claim", "seconds"),
    [
        (1.5, 1.5),
        (10**30, 1e30),
        (10**400, LAST.timestamp()),
        (math.inf, None),
        (math.nan, None),
        ("1700000000", None),
        (True, None),
        ([1], None),
        (None, None),
    ],
)
def test_a_date_in_a_token_may_be_any_number_and_nothing_else(
    claim: object, seconds: float | None
) -> None:
    assert token_facts(jwt(exp=claim)).expires_at == seconds


def test_a_token_that_nests_without_end_has_no_claims() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 100_000).decode()

    assert token_facts(f"a.{deep}.c").expires_at is None
