"""Rights are read from a rules review, or asked for one by one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.collect.access import granted, own_servers, probe_access
from pytest_istio_mc.collect.secrets import Credential
from pytest_istio_mc.errors import ObservationError
from pytest_istio_mc.recorded import OPEN, KubeconfigFacts

FACTS = KubeconfigFacts(server="https://10.0.0.1:6443", ca_pem="CA", auth="token")
CREDENTIAL = Credential("istio-system", "istio-remote-secret-b", "b", FACTS, "secret-token")


RULE = {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({}, True),
        ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, True),
        ({"verbs": ["watch"]}, False),
        ({"apiGroups": ["apps"]}, False),
        ({"resources": ["pods/log"]}, False),
        ({"resourceNames": ["one"]}, False),
    ],
)
def test_a_rule_grants_what_it_covers(change: dict[str, Any], allowed: bool) -> None:
    assert granted([RULE | change], "list", "", "pods") is allowed


class Server:
    """Answers like an API server with an authorizer besides RBAC, which lists no rules."""

    def __init__(self, *, status: int = 200, refused: str = "") -> None:
        self.status = status
        self.refused = refused
        self.asked: list[dict[str, Any]] = []

    def __call__(self, cluster: str, operation: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(operation)
        body = json.loads(operation.get("body") or "{}")
        if operation.get("method", "GET") == "GET":
            return _answer(self.status, {"metadata": {"uid": "u"}, "message": "no"})
        if body["kind"] == "SelfSubjectRulesReview":
            return _answer(201, {"status": {"resourceRules": [], "incomplete": True}})
        resource = body["spec"]["resourceAttributes"]["resource"]
        return _answer(201, {"status": {"allowed": resource != self.refused}})


def _answer(status: int, document: dict[str, Any]) -> dict[str, Any]:
    return {"status": status, "body": json.dumps(document)}


def test_single_rights_are_asked_for_where_the_rules_are_incomplete() -> None:
    facts = probe_access("a", CREDENTIAL, Server(refused="nodes"), 5)

    assert facts.cluster_uid == "u"
    refused = [str(review) for review in facts.reviews if not review.allowed]
    assert refused == ["list nodes", "watch nodes"]


def test_the_token_is_sent_and_never_recorded() -> None:
    server = Server()

    facts = probe_access("a", CREDENTIAL, server, 5)

    assert {operation["bearer"] for operation in server.asked} == {"secret-token"}
    assert "secret-token" not in repr(facts)
    assert "secret-token" not in repr(CREDENTIAL)


def test_a_refused_token_ends_it() -> None:
    server = Server(status=401)

    facts = probe_access("a", CREDENTIAL, server, 5)

    assert (facts.status, facts.message, facts.reviews) == (401, "no", ())
    assert len(server.asked) == 1


def test_a_probe_that_is_gone_is_recorded() -> None:
    def gone(cluster: str, operation: dict[str, Any]) -> dict[str, Any]:
        raise ObservationError("probe client in a", "is gone")

    assert "is gone" in probe_access("a", CREDENTIAL, gone, 5).unprobed


def test_a_server_that_must_not_be_verified_gets_no_token() -> None:
    server = Server()
    insecure = replace(CREDENTIAL, facts=replace(FACTS, insecure=True, ca_pem=""))

    facts = probe_access("a", insecure, server, 5)

    (operation,) = server.asked
    assert operation["handshake_only"]
    assert "bearer" not in operation
    assert "insecure-skip-tls-verify" in facts.unprobed
    assert (facts.status, facts.reviews) == (0, ())


def test_whether_an_unverified_server_answers_is_known_all_the_same() -> None:
    insecure = replace(CREDENTIAL, facts=replace(FACTS, insecure=True, ca_pem=""))

    facts = probe_access("a", insecure, lambda *_: {"connect_error": "refused"}, 5)

    assert (facts.connect_error, facts.unprobed) == ("refused", "")


def test_roots_that_only_the_probe_lacks_are_no_fault_of_the_server() -> None:
    no_ca = replace(CREDENTIAL, facts=replace(FACTS, ca_pem=""))

    facts = probe_access("a", no_ca, lambda *_: {"tls_error": "unknown issuer"}, 5)

    assert facts.tls_error == ""
    assert "has no CA" in facts.unprobed
    assert "unknown issuer" in facts.unprobed


def test_requests_go_where_the_secret_says_with_its_path() -> None:
    server = Server()
    url = "https://rancher.example/k8s/clusters/c-1"

    facts = probe_access("a", replace(CREDENTIAL, url=url), server, 5)

    assert {one["url"].startswith(f"{url}/api") for one in server.asked[:1]} == {True}
    assert facts.server == FACTS.server


@pytest.mark.parametrize(
    ("own", "reached", "way_out"),
    [
        ((), (), ""),
        (("https://10.0.0.9:6443",), ("https://10.0.0.9:6443",), OPEN),
        (("https://10.0.0.9:6443",), (), "connection refused"),
        (("https://10.0.0.8:6443", "https://10.0.0.9:6443"), ("https://10.0.0.9:6443",), OPEN),
    ],
)
@pytest.mark.parametrize("insecure", [False, True])
def test_a_server_that_is_not_reached_is_compared_with_the_cluster_s_own(
    own: tuple[str, ...], reached: tuple[str, ...], way_out: str, insecure: bool
) -> None:
    sent: list[dict[str, Any]] = []

    def ask(cluster: str, operation: dict[str, Any]) -> dict[str, Any]:
        sent.append(operation)
        return {"connect_error": None if operation["url"] in reached else "connection refused"}

    credential = replace(CREDENTIAL, facts=replace(FACTS, insecure=insecure))
    found = probe_access("a", credential, ask, 5, own)

    assert (found.connect_error, found.way_out) == ("connection refused", way_out)
    assert all(one["handshake_only"] and "bearer" not in one for one in sent[1:])


def test_the_cluster_s_own_server_is_found_in_its_slice() -> None:
    def item(name: str, namespace: str, *addresses: str) -> dict[str, Any]:
        labels = {"kubernetes.io/service-name": name}
        return {
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "endpoints": [{"addresses": [one]} for one in addresses],
            "ports": [{"port": 6443}, {"name": "any"}],
        }

    slices = [
        item("kubernetes", "default", "10.0.0.1", "fd00::1"),
        item("kubernetes", "theirs", "10.0.0.2"),
        item("other", "default", "10.0.0.3"),
    ]

    assert own_servers(slices) == ("https://10.0.0.1:6443", "https://[fd00::1]:6443")
