"""Root causes and symptoms, on hand-made verdicts and on generated ones."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.checks.catalogue import Check, Kind, known_checks
from pytest_istio_mc.checks.diagnosis import RootCause, checks_below, diagnose, symptoms
from pytest_istio_mc.shell import Remedy
from pytest_istio_mc.verdicts import (
    Finding,
    Outcome,
    Verdict,
    conformant,
    inconclusive,
    non_conformant,
)


def catalogue(**explained_by: tuple[str, ...]) -> dict[str, Check]:
    """Checks by id, in the order given."""
    return {
        id: Check(id, f"check {id}", Kind.STATIC, "https://istio.io", explained_by=below)
        for id, below in explained_by.items()
    }


def failing(check: str, *findings: Finding) -> Verdict:
    """A non-conformant verdict of that check."""
    return replace(non_conformant(findings or (Finding(f"{check} is wrong"),)), check=check)


def diagnosed(checks: dict[str, Check], *verdicts: Verdict) -> tuple[RootCause, ...]:
    """The root causes among these verdicts."""
    return diagnose({verdict.check: verdict for verdict in verdicts}, checks)


CHAIN = catalogue(A=(), B=("A",), C=("B",), D=())


def test_a_failure_that_nothing_explains_is_a_root_cause() -> None:
    causes = diagnosed(
        CHAIN,
        failing("B", Finding("b is wrong", ("east",), remedy=Remedy("mend b"), fault="b-broken")),
    )

    assert causes == (RootCause("B", "b is wrong", "mend b", (), ("east",), "b-broken"),)


def test_a_failure_is_explained_through_a_check_that_could_not_be_judged() -> None:
    for between in ((), (replace(inconclusive("?"), check="B"),)):
        causes = diagnosed(CHAIN, failing("A"), *between, failing("C"))

        assert [(cause.check, cause.explains[-1:]) for cause in causes] == [("A", ("C",))]


def test_a_failure_is_not_explained_through_a_check_that_passes() -> None:
    causes = diagnosed(CHAIN, failing("A"), replace(conformant("fine"), check="B"), failing("C"))

    assert [(cause.check, cause.explains) for cause in causes] == [("A", ()), ("C", ())]


def test_scopes_that_do_not_meet_explain_nothing() -> None:
    causes = diagnosed(
        CHAIN, failing("A", Finding("a", ("east",))), failing("B", Finding("b", ("west",)))
    )

    assert [cause.check for cause in causes] == ["A", "B"]
    assert [cause.explains for cause in causes] == [(), ()]


def test_a_finding_about_the_whole_mesh_meets_every_scope() -> None:
    causes = diagnosed(CHAIN, failing("A", Finding("a")), failing("B", Finding("b", ("west",))))

    assert [(cause.check, cause.explains) for cause in causes] == [("A", ("B",))]


def test_a_check_can_be_explained_for_one_cluster_and_a_root_cause_for_another() -> None:
    causes = diagnosed(
        CHAIN,
        failing("A", Finding("a", ("east",))),
        failing("B", Finding("b east", ("east",)), Finding("b west", ("west",))),
    )

    assert [(cause.check, cause.summary, cause.explains) for cause in causes] == [
        ("A", "a", ("B",)),
        ("B", "b west", ()),
    ]


def test_the_same_fault_in_several_places_is_one_root_cause_with_every_remedy() -> None:
    first = Finding("east lacks a secret", ("east",), remedy=Remedy("mend east"), fault="missing")
    second = Finding("west lacks a secret", ("west",), remedy=Remedy("mend west"), fault="missing")

    (cause,) = diagnosed(CHAIN, failing("A", first, second))

    assert cause.summary == "east lacks a secret (and 1 more of the kind)"
    assert cause.remedy == "mend east\nmend west"
    assert cause.clusters == ("east", "west")


def test_root_causes_that_explain_more_come_first_and_then_the_catalogue_decides() -> None:
    checks = catalogue(A=(), B=(), C=("B",), D=("B",), E=())

    causes = diagnosed(checks, *(failing(id) for id in "EDCBA"))

    assert [cause.check for cause in causes] == ["B", "A", "E"]
    assert causes[0].explains == ("C", "D")


def test_an_inconclusive_check_is_explained_but_never_a_cause() -> None:
    causes = diagnosed(
        CHAIN, failing("A"), replace(inconclusive("no answer"), check="B"), failing("C")
    )

    assert [(cause.check, cause.explains) for cause in causes] == [("A", ("B", "C"))]
    assert (
        diagnosed(CHAIN, replace(inconclusive("no answer"), check="A"), failing("B"))[0].check
        == "B"
    )


def test_checks_that_name_each_other_explain_neither() -> None:
    checks = catalogue(A=("B",), B=("A",), C=("A",))

    assert checks_below(checks) == {"A": frozenset(), "B": frozenset(), "C": frozenset({"A", "B"})}
    assert [
        cause.check for cause in diagnosed(checks, failing("A"), failing("B"), failing("C"))
    ] == ["A", "B"]


def test_symptoms_name_the_root_cause_that_comes_first() -> None:
    checks = catalogue(A=(), B=("A",), C=("A",), D=("C", "X"), X=())

    assert symptoms(diagnosed(checks, *(failing(id) for id in "ABCDX"))) == {
        "B": "A",
        "C": "A",
        "D": "A",
    }


def test_what_is_latent_explains_only_what_is_latent() -> None:
    checks = catalogue(A=(), B=("A",), C=("A",))
    soon = Finding("ends soon", ("east",), latent=True)
    verdicts = {
        "A": non_conformant([soon]),
        "B": non_conformant([soon]),
        "C": non_conformant([Finding("fails", ("east",))]),
    }

    causes = diagnose({id: replace(verdict, check=id) for id, verdict in verdicts.items()}, checks)

    assert [(cause.check, cause.explains) for cause in causes] == [("A", ("B",)), ("C", ())]


def test_what_is_inconclusive_for_want_of_probes_is_explained_by_what_stops_them() -> None:
    detached = failing("MC-CONTROL-007", Finding("the remote is led astray", ("remote",)))
    unseen = [
        replace(inconclusive("no probes"), check=check)
        for check in ("MC-ACCESS-005", "MC-EASTWEST-003", "MC-TRUST-010")
    ]

    (cause,) = diagnosed(known_checks(), detached, *unseen)

    assert cause.explains == ("MC-TRUST-010", "MC-ACCESS-005", "MC-EASTWEST-003")


def test_where_pods_start_nothing_is_inconclusive_for_want_of_probes() -> None:
    detached = failing(
        "MC-CONTROL-007", Finding("the remote is led to the other region", ("remote",))
    )
    slow = replace(inconclusive("the probe did not answer in time"), check="MC-ACCESS-005")

    (cause,) = diagnosed(
        known_checks(), detached, replace(conformant("injected"), check="MC-CONTROL-004"), slow
    )

    assert cause.explains == ()


def test_what_needs_no_probes_is_not_explained_by_their_absence() -> None:
    unread = replace(inconclusive("secrets cannot be read"), check="MC-ACCESS-001")

    (cause,) = diagnosed(
        known_checks(),
        failing("MC-CONTROL-007", Finding("the remote is led astray", ("remote",))),
        unread,
    )

    assert cause.explains == ()


def test_an_istiod_that_cannot_start_for_want_of_rights_has_no_version_to_judge() -> None:
    unknown = replace(inconclusive("istiod does not say its version"), check="MC-CONTROL-006")

    (cause,) = diagnosed(
        known_checks(),
        failing("MC-CONTROL-010", Finding("the account has no rights", ("cluster1",))),
        unknown,
    )

    assert cause.explains == ("MC-CONTROL-006",)


def test_the_real_catalogue_has_no_circle_and_no_unknown_name() -> None:
    checks = known_checks()
    below = checks_below(checks)

    for check in checks.values():
        assert set(check.explained_by) <= checks.keys(), check.id
        assert set(check.explained_by) <= below[check.id], f"{check.id} is part of a circle"


IDS = st.sampled_from("ABCDEFGH")
CLUSTERS = st.lists(st.sampled_from(("east", "west", "north")), unique=True, max_size=2).map(tuple)
FINDINGS = st.builds(
    Finding,
    st.text("xyz", min_size=1, max_size=2),
    CLUSTERS,
    fault=st.sampled_from(("", "one", "two")),
    latent=st.booleans(),
)


@given(
    st.dictionaries(IDS, st.lists(IDS, max_size=3).map(tuple)),
    st.dictionaries(
        IDS,
        st.one_of(st.lists(FINDINGS, min_size=1, max_size=3).map(tuple), st.none(), st.just(())),
    ),
)
def test_every_failing_check_is_a_root_cause_or_explained_by_one(
    graph: dict[str, tuple[str, ...]], found: dict[str, tuple[Finding, ...] | None]
) -> None:
    checks = catalogue(**graph)
    verdicts = {
        id: replace(
            inconclusive("?")
            if findings is None
            else non_conformant(findings)
            if findings
            else conformant("ok"),
            check=id,
        )
        for id, findings in found.items()
        if id in checks
    }

    causes = diagnose(verdicts, checks)

    failing_checks = {
        id for id, verdict in verdicts.items() if verdict.outcome is Outcome.NON_CONFORMANT
    }
    inconclusive_checks = {
        id for id, verdict in verdicts.items() if verdict.outcome is Outcome.INCONCLUSIVE
    }
    roots = {cause.check for cause in causes}
    explained = {id for cause in causes for id in cause.explains}
    assert roots <= failing_checks
    assert failing_checks <= roots | explained
    assert explained <= failing_checks | inconclusive_checks
    assert all(cause.check not in cause.explains for cause in causes)
    assert causes == diagnose(dict(reversed(verdicts.items())), checks)
    assert [len(cause.explains) for cause in causes] == sorted(
        (len(cause.explains) for cause in causes), reverse=True
    )
