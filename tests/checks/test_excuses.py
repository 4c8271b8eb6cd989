"""What is not held against a mesh whose clusters share one machine."""

from __future__ import annotations

from pytest_istio_mc.checks.excuses import on_a_crowded_machine
from pytest_istio_mc.machine import STANDSTILL_CROWD, Machine
from pytest_istio_mc.shell import Remedy
from pytest_istio_mc.verdicts import Finding, Outcome, conformant, non_conformant

WRONG = non_conformant(
    [
        Finding(
            "3 of 12 requests failed",
            ("east",),
            "none",
            "3× timeout",
            Remedy("look"),
            "requests-fail",
        )
    ]
)


def test_what_goes_wrong_while_the_machine_is_crowded_was_not_found_out() -> None:
    verdict = on_a_crowded_machine(WRONG, Machine(crowd=STANDSTILL_CROWD))

    assert verdict.outcome is Outcome.INCONCLUSIVE
    seen, machine = "3 of 12 requests failed (3× timeout)", "16 tasks a processor"
    assert verdict.reason == f"{seen}, but the machine has too much to do: {machine}"
    assert verdict.findings == ()


def test_else_it_is_held_against_the_mesh() -> None:
    assert on_a_crowded_machine(WRONG, Machine(crowd=STANDSTILL_CROWD - 1)) is WRONG


def test_what_is_in_order_stays_so() -> None:
    good = conformant("as it should be")

    assert on_a_crowded_machine(good, Machine(crowd=99.0)) is good
