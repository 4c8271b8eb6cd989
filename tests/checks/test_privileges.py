"""Privileges: every check says what it changes, and harmless ones change nothing of others."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.catalogue import Kind, Profile, check, known_checks
from pytest_istio_mc.checks.privileges import privileges
from pytest_istio_mc.rights import PRECHECK, SNAPSHOT, Permission, Right, Where, rights_of, uses
from pytest_istio_mc.verdicts import Verdict, conformant

IDS = tuple(known_checks())


@pytest.mark.parametrize("id", IDS)
def test_a_check_is_disruptive_or_changes_nothing_of_others(id: str) -> None:
    one = known_checks()[id]
    elsewhere = [right for right in one.rights(may_disrupt=False) if right.writes_elsewhere]

    if one.profile is Profile.DISRUPTIVE:
        assert one.effect, "the plan must say what it does to whom"
        assert one.alone
    else:
        assert (elsewhere, one.permissions, one.quick) == ([], (), False)


@pytest.mark.parametrize("id", IDS)
def test_what_a_check_changes_has_a_reason(id: str) -> None:
    for right in known_checks()[id].rights(may_disrupt=True):
        assert right.why, right


def test_the_quick_disruptive_checks_are_those_of_cluster_local_settings() -> None:
    quick = [id for id, one in known_checks().items() if one.quick]

    assert quick == [f"MC-CLUSTERLOCAL-00{number}" for number in range(1, 6)]


def test_a_harmless_run_has_no_right_to_change_anything_of_others() -> None:
    harmless = [one for one in known_checks().values() if one.profile is not Profile.DISRUPTIVE]

    found = privileges(harmless)

    assert [right for right in found if right.writes_elsewhere] == []
    assert {right.where for right in found if right.writes} == {Where.OWN}


def test_a_run_that_only_reads_has_no_right_to_change_anything() -> None:
    found = tuple(privileges(known_checks().values(), reads_only=True, may_disrupt=True))

    assert found == SNAPSHOT
    assert [right for right in found if right.writes] == []


def test_a_precheck_has_no_right_to_change_anything() -> None:
    found = tuple(privileges((), reads_only=True, for_upgrade=True))

    assert {*SNAPSHOT, *PRECHECK} == set(found)
    assert [right for right in found if right.writes] == []


def test_no_run_reads_secrets_of_every_namespace() -> None:
    found = privileges(known_checks().values(), may_disrupt=True)

    places = {right.where for right in found if right.resource == "secrets"}
    assert places == {Where.ISTIO}


@pytest.mark.parametrize(
    "given",
    [
        {"kind": Kind.FAULT},
        {"exclusive": True},
        {"quick": True},
        {"permissions": (Permission.EVERY_SERVICE,)},
    ],
)
def test_what_changes_the_mesh_cannot_be_registered_as_harmless(given: dict[str, object]) -> None:
    def judge(here: object, seen: object) -> Verdict:
        return conformant("x")

    for profile in (Profile.CORE, Profile.EXTENDED):
        with pytest.raises(ValueError, match="its profile is disruptive"):
            check("MC-ACME-950", "x", spec_url="", sees=lambda site: 1, profile=profile, **given)(  # type: ignore[arg-type]
                judge
            )
    assert "MC-ACME-950" not in known_checks()


def test_an_observer_says_what_it_does() -> None:
    made = Right(("create",), "", "pods", Where.OWN, "try")

    more = Right(("patch",), "", "nodes", Where.CLUSTER, "try")

    @uses(made, disrupting=(more,))
    def observe(site: object) -> int:
        return 1

    assert rights_of(observe, may_disrupt=False) == (made,)
    assert rights_of(observe, may_disrupt=True) == (made, more)
    assert rights_of(len, may_disrupt=True) == ()
