"""Kubeconfigs and tokens are read, never run or opened."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_istio_mc import certificates
from pytest_istio_mc.collect.kubeconfigs import read_kubeconfig, token_facts
from pytest_istio_mc.dates import LAST
from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.plain import to_plain
from pytest_istio_mc.recorded import KubeconfigFacts
from tests.fake_clusters import SYSTEM, FakeMesh, Json, encoded, jwt, remote_secret

CA = certificates.make_root("CA").certificate


def kubeconfig(**user: Any) -> bytes:
    ca = base64.b64encode(CA.encode()).decode()
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
        ({"auth-provider": {"name": "oidc"}}, "oidc"),
        ({"tokenFile": "/etc/token"}, "file"),
        ({"client-certificate-data": "QQ=="}, "certificate"),
        ({"username": "me", "password": "p"}, "password"),
        ({}, "none"),
    ],
)
def test_how_a_kubeconfig_authenticates(user: dict[str, Any], auth: str) -> None:
    facts = read_kubeconfig(kubeconfig(**user)).facts

    assert (facts.server, facts.ca_pem) == ("https://10.0.0.1:6443", CA)
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
            "has no cluster of the name",
        ),
    ],
)
def test_what_is_wrong_with_a_kubeconfig(content: bytes, problem: str) -> None:
    assert problem in read_kubeconfig(content).facts.problem


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


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_KEYS = st.sampled_from(
    (
        "clusters", "contexts", "users", "current-context", "name", "cluster", "context", "user",
        "server", "certificate-authority-data", "token", "exec", "auth-provider", "config", "env",
        "tls-server-name", "insecure-skip-tls-verify", "client-key-data", "x",
    )
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(content=st.binary(max_size=60) | _VALUES.map(lambda one: yaml.safe_dump(one).encode()))
@settings(max_examples=300, deadline=None)
def test_whatever_a_secret_holds_is_facts_or_a_problem(content: bytes) -> None:
    read = read_kubeconfig(content)

    assert isinstance(read.facts, KubeconfigFacts)
    assert read.facts.problem or read.facts.auth
    to_plain(read.facts)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_kubeconfig_that_is_spoilt_anywhere_is_facts_or_a_problem(data: st.DataObject) -> None:
    document = yaml.safe_load(kubeconfig(token="t", exec={"command": "x"}))
    places = [one for one in _containers(document) if one]
    place = data.draw(st.sampled_from(places))
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    place[data.draw(st.sampled_from(keys))] = data.draw(_VALUES)

    read = read_kubeconfig(yaml.safe_dump(document).encode())

    assert read.facts.problem or read.facts.auth


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _containers(entry)


@pytest.mark.parametrize(
    "content",
    [
        b"contexts: [a]",
        b"clusters: [a]\ncurrent-context: a",
        b"clusters: [{name: a}]\ncontexts: [a]",
        b"clusters: {}",
        b"clusters: [{name: a, cluster: [1]}]",
        b"clusters: []\ncontexts: [{name: [a]}]\ncurrent-context: [a]",
        b"[" * 100_000,
        b"a: 2001-99-99",
        b"a: &a [*a]",
        b"\xff\xfe",
    ],
)
def test_shapes_that_were_met_are_problems(content: bytes) -> None:
    assert read_kubeconfig(content).facts.problem


@pytest.mark.parametrize(
    "token", ["opaque-secret\n", "\nopaque-secret", "opaque-se\tcret", "ö", "a b"]
)
def test_a_token_that_no_header_can_have_is_a_problem_and_is_not_quoted(token: str) -> None:
    read = read_kubeconfig(kubeconfig(token=token))

    assert "token" in read.facts.problem
    assert not read.token
    assert token.strip() not in repr(read) or len(token.strip()) < 4


def test_blanks_around_a_token_are_none_of_it() -> None:
    assert read_kubeconfig(kubeconfig(token=" opaque-secret ")).token == "opaque-secret"


@pytest.mark.parametrize(
    ("user", "options"),
    [
        ({"token": "t"}, ()),
        ({"client-certificate-data": "QQ==", "client-key-data": "QQ=="}, ()),
        ({"auth-provider": {"name": "oidc"}}, ()),
        ({"auth-provider": {"name": "gcp"}}, ("gcp",)),
        ({"exec": {"command": "x"}}, ("exec",)),
        ({"tokenFile": "/t"}, ("tokenFile",)),
        ({"client-key": "/k", "client-certificate": "/c"}, ("clientKey", "clientCertificate")),
    ],
)
def test_what_istiod_takes_only_if_told_to(user: dict[str, Any], options: tuple[str, ...]) -> None:
    assert read_kubeconfig(kubeconfig(**user)).facts.options == options


@pytest.mark.parametrize("data", ["%%%", base64.b64encode(b"no certificate").decode(), 7])
def test_a_ca_that_is_none_is_a_problem(data: Any) -> None:
    document = yaml.safe_load(kubeconfig(token="t"))
    document["clusters"][0]["cluster"]["certificate-authority-data"] = data

    assert (
        "certificate-authority-data"
        in read_kubeconfig(yaml.safe_dump(document).encode()).facts.problem
    )


@pytest.mark.parametrize("exp", [-1, "soon", True, float("nan"), None, [1]])
def test_a_time_that_is_none_is_not_recorded(exp: Any) -> None:
    assert token_facts(jwt(sub="s", exp=exp)).expires_at is None


def test_the_path_of_a_server_is_used_and_not_recorded() -> None:
    document = yaml.safe_load(kubeconfig(token="t"))
    document["clusters"][0]["cluster"]["server"] = "https://u:pw@rancher.example/k8s/clusters/c-1/"

    read = read_kubeconfig(yaml.safe_dump(document).encode())

    assert read.facts.server == "https://rancher.example"
    assert read.url == "https://rancher.example/k8s/clusters/c-1"


def test_a_tenants_secret_with_the_label_stops_nothing() -> None:
    mesh = FakeMesh()
    for number, text in enumerate(("contexts: [a]", "- 1", "clusters: [1]")):
        secret = remote_secret(mesh[2], key=f"x{number}")
        secret["metadata"]["namespace"] = "tenant"
        secret["data"] = {"x": encoded(text)}
        mesh[1].objects["Secret"].append(secret)
        mine = remote_secret(mesh[2], key=f"y{number}")
        mine["data"] = {"y": encoded(text), "z": encoded(text)}
        mesh[1].objects["Secret"].append(mine)

    snapshot = mesh.record()

    assert not snapshot.clusters["cluster1"].failures
    assert ("Secret", None, "istio/multiCluster=true", True) not in mesh[1].lists


def test_secrets_of_istio_are_read_by_name_and_label() -> None:
    mesh = FakeMesh()

    mesh.record()

    assert [one for one in mesh[1].lists if one[0] == "Secret"] == [
        ("Secret", SYSTEM, "istio/multiCluster=true", False)
    ]
    assert {one[2] for one in mesh[1].reads if one[0] == "Secret"} == {
        "cacerts",
        "istio-ca-secret",
        "istio-remote-secret-cluster2",
    }


def test_without_the_right_to_all_secrets_one_diagnosis_is_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh = FakeMesh()
    secret = mesh[1].find("Secret", "istio-remote-secret-cluster2", SYSTEM)
    secret["metadata"]["namespace"] = "elsewhere"
    list_them = mesh[1].list

    def refused(kind: str, namespace: str | None = None, **options: Any) -> list[Json]:
        if kind == "Secret" and namespace is None:
            raise KubeError("cluster", "list Secret", "forbidden", status=403)
        return list_them(kind, namespace, **options)

    monkeypatch.setattr(mesh[1], "list", refused)
    cluster = mesh.record().clusters["cluster1"]

    assert not cluster.failures
    assert not cluster.secret("elsewhere", "istio-remote-secret-cluster2")
