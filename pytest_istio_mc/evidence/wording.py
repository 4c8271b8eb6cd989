"""Wording: results and verdicts as people read them, alike in every format."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from ..verdicts import Outcome
from .report import Result

MEANINGS = {
    Result.SUCCESS: "Every check that this mesh claims was carried out in this run, each against "
    "the mesh itself, and each found what Istio's documentation demands.",
    Result.PARTIAL: "Nothing that was looked at is wrong, but claimed checks did not run. This is "
    "no certificate of conformance.",
    Result.FAILURE: "At least one check found what Istio's documentation does not allow. The root "
    "causes explain the failures; mend these first.",
    Result.INCONCLUSIVE: "Nothing was found to be wrong, but what is needed to say more could not "
    "be found out. This is no pass.",
}
"""What each result means, whatever the figures."""


class State(Enum):
    """How a check of a certificate stands; the worse ones first."""

    FAILS = "not conformant"
    UNKNOWN = "could not find out"
    NOT_RUN = "claimed, but not run"
    CONFORMANT = "conformant"
    NOT_APPLICABLE = "not applicable"
    NOT_CLAIMED = "not claimed"

    @property
    def sign(self) -> str:
        """One character; beside it always stands the word."""
        return _SIGNS[self]


_SIGNS = {
    State.FAILS: "✕",
    State.UNKNOWN: "?",
    State.NOT_RUN: "○",
    State.CONFORMANT: "✓",
    State.NOT_APPLICABLE: "–",
    State.NOT_CLAIMED: "–",
}


def state_of(entry: Mapping[str, Any]) -> State:
    """The state of one entry of a certificate's ``checks``."""
    if entry["ran"]:
        return {
            Outcome.CONFORMANT.value: State.CONFORMANT,
            Outcome.NON_CONFORMANT.value: State.FAILS,
            Outcome.INCONCLUSIVE.value: State.UNKNOWN,
            Outcome.NOT_APPLICABLE.value: State.NOT_APPLICABLE,
        }[entry["verdict"]]
    if entry["claimed"]:
        return State.NOT_RUN
    return State.NOT_CLAIMED if entry["reason"].startswith("not claimed") else State.NOT_APPLICABLE
