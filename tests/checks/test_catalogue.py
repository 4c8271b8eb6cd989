"""The catalogue: whole checks, registered once, that fit what they see."""

from __future__ import annotations

import inspect
import re
import typing

import pytest

import pytest_istio_mc
from pytest_istio_mc.checks import catalogue
from pytest_istio_mc.checks.catalogue import AREAS, Check, Kind, check, known_checks
from pytest_istio_mc.checks.site import Here, Site
from pytest_istio_mc.errors import ObservationError
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome, Verdict, conformant
from tests.checks.live_mesh import here

CHECKS = known_checks()
SEEING = {id: check for id, check in CHECKS.items() if check.sees}


def test_ids_are_of_known_areas_and_stand_in_the_order_of_reports() -> None:
    assert list(dict.fromkeys(check.area for check in CHECKS.values())) == list(AREAS)
    assert list(CHECKS) == sorted(
        CHECKS, key=lambda one: (list(AREAS).index(one.split("-")[1]), one)
    )


@pytest.mark.parametrize("id", CHECKS)
def test_a_check_is_explained_by_others_that_exist(id: str) -> None:
    below = CHECKS[id].explained_by

    assert set(below) <= CHECKS.keys() - {id}
    assert len(set(below)) == len(below)


@pytest.mark.parametrize("id", CHECKS)
def test_a_judge_takes_what_its_check_sees(id: str) -> None:
    judged = CHECKS[id]
    hints = typing.get_type_hints(judged.judge)
    taken = [hints[name] for name in inspect.signature(judged.judge).parameters]

    if not judged.sees:
        assert (judged.kind, taken) == (Kind.STATIC, [Snapshot])
        return
    assert taken[0] is Here
    assert len(taken) == len(judged.sees) + 1


@pytest.mark.parametrize("id", SEEING)
def test_an_observer_takes_a_site_and_says_what_it_gives(id: str) -> None:
    for observe in SEEING[id].sees:
        hints = typing.get_type_hints(observe)

        assert hints[next(iter(inspect.signature(observe).parameters))] is Site
        assert "return" in hints
        assert observe.__module__.rpartition(".")[2].startswith("observe")


def test_every_judge_has_an_id_of_its_own_in_words() -> None:
    ids = [check.test_id for check in CHECKS.values()]

    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"MC-[A-Z]+-\d{3}(-[a-z0-9]+)+", id) for id in ids)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Check]:
    """The registry, as it is when a test begins, and again when it has ended."""
    copied = dict(catalogue._REGISTERED)
    monkeypatch.setattr(catalogue, "_REGISTERED", copied)
    return copied


def test_a_check_of_an_unknown_area_comes_after_ours(registered: dict[str, Check]) -> None:
    @check("MC-ACME-901", "All is well.", spec_url="https://example.com")
    def well(snapshot: Snapshot) -> Verdict:
        return conformant("well")

    assert list(known_checks())[-1] == "MC-ACME-901"
    assert not registered["MC-ACME-901"].is_ours
    assert catalogue.area_title("ACME") == "Acme"
    assert registered["MC-ACME-901"].judge is well


def test_an_id_is_registered_once(registered: dict[str, Check]) -> None:
    with pytest.raises(ValueError, match="MC-TRUST-001 is registered twice"):
        check("MC-TRUST-001", "Again.", spec_url="https://example.com")(lambda snapshot: well())


def well() -> Verdict:
    return conformant("well")


@pytest.mark.parametrize("id", ["ACME-1", "MC-ACME-1", "MC-acme-001", "TRUST-001", ""])
def test_an_id_of_another_form_is_refused(id: str, registered: dict[str, Check]) -> None:
    with pytest.raises(ValueError, match="an id is of the form MC-AREA-001"):
        check(id, "x", spec_url="")(lambda snapshot: well())
    assert id not in registered


def test_a_judge_that_does_not_take_what_the_check_sees_is_refused(
    registered: dict[str, Check],
) -> None:
    with pytest.raises(ValueError, match="its judge is given the mesh and 1 observations"):
        check("MC-ACME-902", "x", spec_url="", sees=lambda site: 1)(lambda snapshot: well())
    with pytest.raises(ValueError, match="its judge is given the snapshot"):
        check("MC-ACME-903", "x", spec_url="")(lambda here, seen: well())
    assert not {"MC-ACME-902", "MC-ACME-903"} & registered.keys()


def test_a_fact_that_cannot_be_had_is_no_verdict_on_the_mesh(registered: dict[str, Check]) -> None:
    @check("MC-ACME-904", "x", spec_url="", sees=lambda site: 1)
    def lacking(here: Here, seen: int) -> Verdict:
        raise ObservationError("proxy", "cannot be read", "no answer")

    verdict = lacking(here(), 1)

    assert (verdict.outcome, verdict.check) == (Outcome.INCONCLUSIVE, "MC-ACME-904")


def test_the_public_names_are_there_and_no_others() -> None:
    for name in pytest_istio_mc.__all__:
        assert getattr(pytest_istio_mc, name).__name__.lower() == name.lower()
    source = inspect.getsource(pytest_istio_mc)
    typed = re.findall(r"import (\w+) as \1$", source, re.MULTILINE)
    assert sorted(typed) == sorted(pytest_istio_mc.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pytest_istio_mc.nonsense
