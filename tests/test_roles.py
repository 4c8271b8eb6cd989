"""Roles: exactly the rights, each where it belongs, with reasons."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.checks.privileges import privileges
from pytest_istio_mc.cli import main
from pytest_istio_mc.rights import Right, Where
from pytest_istio_mc.roles import Places, Subject, roles, to_yaml

EVERYTHING = tuple(privileges(known_checks().values(), may_disrupt=True))


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    """The manifests that ``istio-mc rbac`` prints."""
    assert main(["rbac", *options]) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


def granted(manifests: list[dict[str, Any]]) -> set[tuple[str, str, str, str, str]]:
    """Namespace, group, resource, verb and name of all that is granted."""
    return {
        (manifest["metadata"].get("namespace", ""), group, resource, verb, name)
        for manifest in manifests
        for rule in manifest.get("rules", ())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


@pytest.mark.parametrize("places", [Places(), Places("mesh", ("gw-a", "gw-b"), ("probes", "more"))])
def test_roles_grant_every_right_and_nothing_else(places: Places) -> None:
    wanted = {
        (namespace, right.group, right.resource, verb, name)
        for right in EVERYTHING
        if not (right.where is Where.OWN and right.resource == "namespaces" and places.prepared)
        for namespace in places.of(right)
        for verb in right.verbs
        for name in right.names or ("",)
    }

    assert granted([role.manifest() for role in roles(EVERYTHING, places, "x")]) == wanted


def test_what_is_printed_is_what_is_granted() -> None:
    wanted = roles(EVERYTHING, Places(), "x")

    text = to_yaml(wanted, Subject("User", "me"), "title")

    documents = list(yaml.safe_load_all(text))
    assert documents[: len(wanted)] == [role.manifest() for role in wanted]
    bound = [(one["roleRef"]["kind"], one["metadata"]) for one in documents[len(wanted) :]]
    assert bound == [(role.kind, role.manifest()["metadata"]) for role in wanted]


def test_every_rule_has_a_reason() -> None:
    lines = to_yaml(roles(EVERYTHING, Places(), "x"), None, "title").splitlines()

    rules = [number for number, line in enumerate(lines) if line.startswith("- apiGroups")]
    assert rules
    assert all(lines[number - 1].startswith("# ") for number in rules)


@pytest.mark.parametrize("options", [(), ("--disruptive",), ("--static",)])
def test_secrets_are_read_in_the_namespace_of_istiod_only(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    found = granted(printed(capsys, "--istio-namespace", "mesh", *options))

    assert {place for place, _, resource, _, _ in found if resource == "secrets"} == {"mesh"}
    assert {verb for *_, verb, _ in found} <= {
        "get", "list", "watch", "create", "patch", "update", "delete",
    }  # fmt: skip
    assert not {entry for entry in found if "*" in entry}


def test_a_static_run_may_write_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    found = granted(printed(capsys, "--static"))

    written = {(kind, verb) for _, _, kind, verb, _ in found if verb not in ("get", "list")}
    assert written == {("pods/portforward", "create")}


def test_a_run_without_leave_to_disrupt_may_not(capsys: pytest.CaptureFixture[str]) -> None:
    harmless, disruptive = granted(printed(capsys)), granted(printed(capsys, "--disruptive"))

    assert harmless < disruptive
    for place, group, kind, verb, _ in disruptive - harmless:
        assert place in ("istio-system", "kube-system", ""), (group, kind, verb)
    assert ("istio-system", "", "secrets", "delete", "") in disruptive - harmless
    assert not {kind for place, _, kind, verb, _ in harmless if place and verb == "patch"}


def test_prepared_namespaces_take_the_place_of_rights_everywhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = granted(printed(capsys, "--mesh-namespace", "a", "--mesh-namespace", "b"))

    writes = {
        (place, kind)
        for place, _, kind, verb, _ in found
        if verb in ("create", "patch", "delete") and kind != "pods/portforward"
    }
    assert {place for place, _ in writes} == {"a", "b"}
    assert "namespaces" not in {kind for _, kind in writes}
    # nobody removes a prepared namespace with all that is in it
    made = {kind for place, _, kind, verb, _ in found if (place, verb) == ("a", "create")}
    removed = {kind for place, _, kind, verb, _ in found if (place, verb) == ("a", "delete")}
    assert made - removed == {"pods", "pods/exec", "pods/portforward"}


def test_a_topology_needs_only_what_its_checks_need(capsys: pytest.CaptureFixture[str]) -> None:
    entries = ("", "networking.istio.io", "serviceentries", "create", "")

    assert entries in granted(printed(capsys, "--topology", "federated"))
    assert entries not in granted(printed(capsys, "--topology", "flat-multi-primary"))


@pytest.mark.parametrize(
    ("options", "subject"),
    [
        (("--user", "me@example.com"), {"kind": "User", "name": "me@example.com"}),
        (("--group", "ops"), {"kind": "Group", "name": "ops"}),
        (
            ("--service-account", "ci/runner"),
            {"kind": "ServiceAccount", "name": "runner", "namespace": "ci"},
        ),
    ],
)
def test_roles_are_bound_to_whom_they_are_for(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], subject: dict[str, str]
) -> None:
    found = printed(capsys, "--name", "audit", *options)

    bindings = [one for one in found if one["kind"].endswith("Binding")]
    assert len(bindings) * 2 == len(found)
    for one in bindings:
        (bound,) = one["subjects"]
        assert subject.items() <= bound.items()
        assert one["metadata"]["name"].startswith("audit")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--topology", "ring"), 'no topology is called "ring"'),
        (("--service-account", "runner"), '"runner" is not NAMESPACE/NAME'),
        (("--service-account", "a/b/c"), "is not NAMESPACE/NAME"),
    ],
)
def test_nonsense_is_refused(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], told: str
) -> None:
    assert main(["rbac", *options]) == 2
    assert re.search(told, capsys.readouterr().err)


def test_reading_is_no_writing() -> None:
    reads = Right(("get", "list", "watch"), "", "pods", Where.ISTIO, "look")
    connects = Right(("get", "create"), "", "pods/portforward", Where.ISTIO, "ask")
    writes = Right(("get", "patch"), "", "pods", Where.ISTIO, "change")

    assert [right.writes for right in (reads, connects, writes)] == [False, False, True]
