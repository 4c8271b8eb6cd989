"""Two certificates compared in meaning."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_istio_mc.evidence.compare import Change, compare, worse


def certificate(**verdicts: str) -> dict[str, Any]:
    """The part of a certificate that is compared."""
    checks = [{"id": id, "verdict": word, "reason": "because"} for id, word in verdicts.items()]
    return {"checks": checks}


def test_the_same_verdicts_are_no_difference() -> None:
    old = certificate(A="conformant", B="non-conformant")

    assert compare(old, certificate(B="non-conformant", A="conformant")) == ()


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ("conformant", "non-conformant", Change.WORSE),
        ("conformant", "inconclusive", Change.WORSE),
        ("conformant", "not-applicable", Change.WORSE),
        ("not-applicable", "inconclusive", Change.WORSE),
        ("inconclusive", "non-conformant", Change.WORSE),
        ("non-conformant", "conformant", Change.BETTER),
        ("inconclusive", "conformant", Change.BETTER),
        ("not-applicable", "conformant", Change.BETTER),
    ],
)
def test_verdicts_are_worse_or_better(before: str, now: str, change: Change) -> None:
    (difference,) = compare(certificate(A=before), certificate(A=now))

    assert difference.change is change
    assert str(difference) == f"{change.value}: A {before} -> {now}: because"


def test_checks_come_and_go() -> None:
    old = certificate(A="conformant", B="conformant")
    differences = compare(old, certificate(B="non-conformant", C="conformant"))

    found = [(entry.check, entry.change) for entry in differences]
    assert found == [("B", Change.WORSE), ("A", Change.LOST), ("C", Change.NEW)]
    assert [entry.check for entry in worse(differences)] == ["B", "A"]
