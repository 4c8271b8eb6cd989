"""Rights are read from a rules review, and asked for one by one where an authorizer does not list its rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_istio_mc.collect.access import granted, probe_access
from pytest_istio_mc.collect.secrets import Credential
from pytest_istio_mc.errors import ObservationError
from pytest_istio_mc.snapshot import KubeconfigFacts

FACTS = KubeconfigFacts(server="https://10.0.0.1:6443", ca_pem="CA", auth="token")
CREDENTIAL = Credential("istio-system", "istio-remote-secret-b", "b", FACTS, "secret-token")


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        ({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}, True),
        ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, True),
        ({"verbs": ["watch"], "apiGroups": [""], "resources": ["pods"]}, False),
        ({"verbs": ["list"], "apiGroups": ["apps"], "resources": ["pods"]}, False),
        ({"verbs": ["list"], "apiGroups": [""], "resources": ["pods/log"]}, False),
        (
            {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["one"]},
            False,
        ),
    ],
)
def test_a_rule_grants_what_it_covers(rule: dict[str, Any], allowed: bool) -> None:
    assert granted([rule], "list", "", "pods") is allowed


class Server:
    """Answers like an API server with an authorizer besides RBAC, which lists no rules."""

    def __init__(self, *, status: int = 200, refused: str = "") -> None:
        self.status = status
        self.refused = refused
        self.asked: list[dict[str, Any]] = []

    def __call__(self, cluster: str, operation: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(operation)
        body = json.loads(operation["body"] or "{}")
        if operation["method"] == "GET":
            return {
                "status": self.status,
                "body": json.dumps({"metadata": {"uid": "u"}, "message": "no"}),
            }
        if body["kind"] == "SelfSubjectRulesReview":
            return {
                "status": 201,
                "body": json.dumps({"status": {"resourceRules": [], "incomplete": True}}),
            }
        resource = body["spec"]["resourceAttributes"]["resource"]
        return {
            "status": 201,
            "body": json.dumps({"status": {"allowed": resource != self.refused}}),
        }


def test_single_rights_are_asked_for_where_the_rules_are_incomplete() -> None:
    facts = probe_access("a", CREDENTIAL, Server(refused="nodes"), 5)

    assert facts.cluster_uid == "u"
    assert [str(review) for review in facts.reviews if not review.allowed] == [
        "list nodes",
        "watch nodes",
    ]


def test_the_token_is_sent_and_never_recorded() -> None:
    server = Server()

    facts = probe_access("a", CREDENTIAL, server, 5)

    assert all(
        operation["headers"]["authorization"] == "Bearer secret-token" for operation in server.asked
    )
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
