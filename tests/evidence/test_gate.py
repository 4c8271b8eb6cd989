"""The gate's result: one word and one exit code, with all that it stands for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_istio_mc.checks.upgrade.facts import Commanded, Watched
from pytest_istio_mc.cli import USAGE, main
from pytest_istio_mc.counted import Fate
from pytest_istio_mc.evidence import gate, report
from pytest_istio_mc.evidence.compare import Change, Difference
from pytest_istio_mc.evidence.gate import MOST_LISTED, build_gate, exit_code
from pytest_istio_mc.verdicts import Finding, Verdict, conformant, inconclusive, non_conformant
from tests.checks.upgrade.watching import BEGAN, losing, lost, watched

WELL = {"MC-UPGRADE-101": conformant("none lost")}
WORSE = Difference("MC-TRUST-001", Change.WORSE, "conformant", "non-conformant", "two roots")
UNKNOWN = Difference("MC-TRUST-001", Change.WORSE, "conformant", "inconclusive", "no answer")
BETTER = Difference("MC-TRUST-002", Change.BETTER, "non-conformant", "conformant")
FAILED = Commanded("helm upgrade", BEGAN, BEGAN + 5, exit_code=7)


def built(
    seen: Watched | None = None,
    verdicts: dict[str, Verdict] | None = None,
    *differences: Difference,
    problems: tuple[str, ...] = (),
) -> dict[str, Any]:
    document = build_gate(
        seen or watched(),
        verdicts or WELL,
        differences,
        topology="test",
        files={"before": "mesh-report-before.yaml", "after": "mesh-report.yaml"},
        problems=problems,
        version="1",
    )
    report.validate(document)
    return document


def test_nothing_lost_and_nothing_worse_is_success() -> None:
    document = built(None, None, BETTER)

    assert (document["result"], exit_code(document["result"])) == ("success", 0)
    assert document["reasons"] == ["nothing was lost, and nothing is worse than before"]
    assert document["better"] == [str(BETTER)]


@pytest.mark.parametrize(
    ("seen", "verdicts", "differences"),
    [
        (replace(watched(), command=FAILED), None, ()),
        (None, {"MC-UPGRADE-101": non_conformant([Finding("3 were lost")])}, ()),
        (None, None, (WORSE,)),
        (None, None, (replace(WORSE, change=Change.LOST, now=""),)),
    ],
    ids=["command failed", "lost", "worse", "no longer known"],
)
def test_what_stops_a_gate_is_failure(
    seen: Watched | None, verdicts: dict[str, Verdict] | None, differences: tuple[Difference, ...]
) -> None:
    document = built(seen, verdicts, *differences)

    assert (document["result"], exit_code(document["result"])) == ("failure", 1)


def test_a_failing_command_is_named_first() -> None:
    lossy = {"MC-UPGRADE-101": non_conformant([Finding("3 were lost")])}

    document = built(replace(watched(), command=FAILED), lossy, WORSE)

    assert document["reasons"] == [
        "the command failed with exit code 7",
        "MC-UPGRADE-101: 3 were lost",
        str(WORSE),
    ]


@pytest.mark.parametrize(
    ("verdicts", "differences", "problems"),
    [
        ({"MC-UPGRADE-101": inconclusive("the sender has died")}, (), ()),
        (None, (UNKNOWN,), ()),
        (None, (replace(WORSE, before="inconclusive"),), ()),
        (None, (), ("afterwards: no probes",)),
    ],
    ids=["verdict", "unknown now", "unknown before", "problem"],
)
def test_what_nobody_knows_is_neither(
    verdicts: dict[str, Verdict] | None,
    differences: tuple[Difference, ...],
    problems: tuple[str, ...],
) -> None:
    document = built(None, verdicts, *differences, problems=problems)

    assert (document["result"], exit_code(document["result"])) == ("inconclusive", 3)


def test_every_request_is_counted_once_by_its_fate() -> None:
    document = built(
        losing(watched(), *(lost(fate=fate) for fate in Fate), source="east", target="west")
    )

    row = next(one for one in document["traffic"] if (one["from"], one["to"]) == ("east", "west"))
    counted = sum(
        row[key] for key in ("answered", "failed", "doneButReportedFailed", "late", "astray")
    )
    assert counted == row["due"] == 500
    assert row["unknownWhetherDone"] == 1


def test_lost_requests_are_listed_up_to_a_bound_and_counted_beyond() -> None:
    document = built(losing(watched(), *[lost()] * 300, source="east"))

    assert len(document["lost"]["requests"]) == MOST_LISTED
    assert document["lost"]["more"] == 6 * 300 - MOST_LISTED


def test_the_control_run_is_in_it() -> None:
    document = built(replace(watched(), control=watched()))

    assert document["control"]["command"]["text"] == "helm upgrade"
    assert len(document["control"]["traffic"]) == len(document["traffic"])


def test_secrets_in_the_command_are_not_in_it() -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzZWNyZXQtc3ViamVjdCJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
    seen = replace(watched(), command=replace(watched().command, text=f"helm --token {token}"))

    assert token not in str(built(seen))


def test_the_terminal_names_result_command_and_files() -> None:
    shown = "\n".join(gate.lines(built(), "/x/mesh-report-gate.yaml"))

    assert shown.startswith("gate        SUCCESS: nothing was lost")
    assert "command     30.0 s, exit code 0" in shown
    assert "phases      istiod of east 5.0 s, gateway of west 15.0 s" in shown
    assert "before      mesh-report-before.yaml" in shown


def test_its_schema_is_one_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema.Draft202012Validator.check_schema(report.schema(report.GATE_KIND))

    assert main(["schema", "gate"]) == 0
    assert '"title": "GateReport"' in capsys.readouterr().out


def test_it_is_written_and_read_and_no_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mesh-report-gate.yaml"
    report.write_document(built(), file)

    assert report.read_document(file)["result"] == "success"
    assert main(["compare", str(file), str(file)]) == USAGE
    assert "is a gate's result" in capsys.readouterr().err
