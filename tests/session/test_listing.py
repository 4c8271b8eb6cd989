"""The plan is the truth: what is changed outside a run's own namespaces, by which check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks import catalogue
from pytest_istio_mc.checks.catalogue import READ_ONLY, Check, Kind, Profile, known_checks
from pytest_istio_mc.providers import known as known_providers
from pytest_istio_mc.rights import Permission
from pytest_istio_mc.session.listing import list_checks, plan_run
from pytest_istio_mc.settings import Settings
from pytest_istio_mc.topologies import known

TOPOLOGY = "multi-network-multi-primary"
SPEC = replace(known()[TOPOLOGY].default_spec(), istio_namespace="mesh-system")
ATTACHED = Settings(TOPOLOGY, "attach", SPEC, known_topology=known()[TOPOLOGY])
EVERYTHING = replace(
    ATTACHED, profile=Profile.DISRUPTIVE, disruptive=True, permissions=tuple(Permission)
)
QUICK = replace(ATTACHED, quick=True, disruptive=True)
LAB = replace(ATTACHED, provider="lab", quick=True, disposable=True)
REASSURING = ("nothing of it is changed", "stays as it was", "writes only", "nothing outside")


def planned(settings: Settings) -> str:
    """The plan in one line, without what would not be judged."""
    text = plan_run(settings, known_providers()[settings.provider])
    return " ".join(text.partition(" would not\n")[0].split())


@pytest.mark.parametrize("profile", [Profile.CORE, Profile.EXTENDED])
def test_a_harmless_run_says_that_it_changes_nothing_and_what_it_makes(profile: Profile) -> None:
    text = planned(replace(ATTACHED, profile=profile))

    assert "changes nothing outside its own namespaces (istio-mc-RUN…)" in text
    assert "every run: namespaces, configmaps, serviceaccounts, services, deployments" in text
    assert "MC-SUBSET-001, -002, -003, -004: services, destinationrules, virtualservices" in text
    for word in ("ConfigMap istio in", "remote secrets of one cluster", "kube-system, to"):
        assert word not in text


def test_a_disruptive_run_says_to_whom_each_check_does_what() -> None:
    text = planned(EVERYTHING)

    for told in (
        "MC-CLUSTERLOCAL-001, -002, -004, -005: adds `serviceSettings` for services of the run",
        'MC-CLUSTERLOCAL-003: adds `serviceSettings` for "*"',
        "EVERY service of the mesh, yours too, is answered within its own cluster only",
        "MC-APISERVER-007: removes the remote secrets of one cluster",
        "MC-EASTWEST-008: kills one pod of an east-west gateway",
        "MC-CLUSTERLOCAL-006: may create/patch/delete services in kube-system",
        "MC-EASTWEST-008: may patch deployments in the namespaces of east-west gateways",
        "-005: may patch configmaps in mesh-system",
        "every such run: may create/patch/delete secrets in mesh-system",
        "after a kill by the next run, or by istio-mc sweep",
    ):
        assert told in text
    for told in REASSURING:
        assert told not in text


def test_what_is_not_allowed_is_not_planned() -> None:
    text = planned(QUICK)

    assert "MC-CLUSTERLOCAL-001, -002, -004, -005: adds `serviceSettings`" in text
    assert "EVERY service" not in text
    assert "remote secrets of one cluster" not in text
    for told in REASSURING:
        assert told not in text


def test_the_plan_names_the_versions_that_were_asked_for() -> None:
    older = planned(replace(LAB, istio="1.30", kubernetes="1.35"))

    assert "cluster2 of Kubernetes 1.35 and install Istio 1.30 on them" in older
    assert "cluster2 and install Istio on them" in planned(LAB)


def test_the_lab_says_what_is_done_to_it() -> None:
    text = planned(LAB)

    assert "MC-CLUSTERLOCAL-003: adds" in text
    assert "istio-mc sweep" not in text
    for told in REASSURING:
        assert told not in text


def test_a_check_of_somebody_else_that_does_not_say_what_it_changes_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = Check("MC-ACME-901", "x", Kind.FAULT, "", Profile.DISRUPTIVE)
    monkeypatch.setattr(catalogue, "known_checks", lambda: {theirs.id: theirs})

    text = planned(EVERYTHING)

    assert "MC-ACME-901: changes the mesh, and does not say what" in text
    assert "nothing outside" not in text


@pytest.mark.parametrize("checks", [(READ_ONLY,), ("MC-TRUST-001", "MC-TRUST-002")])
def test_a_run_that_only_reads_says_so(checks: tuple[str, ...]) -> None:
    text = planned(replace(EVERYTHING, checks=checks))

    assert "changes nothing: the chosen checks only read" in text
    assert "makes nothing in any cluster" in text
    assert "create a namespace" not in text


@pytest.mark.parametrize("id", [id for id, check in known_checks().items() if check.effect])
def test_every_effect_is_in_the_list_and_in_the_plan(id: str) -> None:
    check = known_checks()[id]
    spec = known()["flat-primary-remote"].default_spec()
    wanted: dict[str, Any] = {} if set(check.requires) <= set(SPEC.features) else {"spec": spec}

    assert check.effect in list_checks()
    assert " ".join(check.effect.split()) in planned(replace(EVERYTHING, **wanted))
