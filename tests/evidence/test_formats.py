"""Certificates as Markdown, JUnit XML and text; and the summary of a GitHub job."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pytest_istio_mc.evidence.junit import junit
from pytest_istio_mc.evidence.markdown import (
    LARGEST_SUMMARY,
    STEP_SUMMARY,
    append_step_summary,
    cell,
    markdown,
)
from pytest_istio_mc.evidence.text import text
from pytest_istio_mc.evidence.wording import State, state_of
from tests.evidence.certificates import aged, hostile, of_many, recorded


def test_markdown_tells_result_causes_remedies_and_matrix() -> None:
    report = recorded("rs-missing")

    lines = markdown([report]).splitlines()

    (cause,) = report["rootCauses"]
    assert lines[0].startswith("## ❌ multi-network-multi-primary: failure, ")
    assert any(line.startswith("1. **MC-ACCESS-001** ") for line in lines)
    assert f"   {cause['remedy']}" in lines
    assert "| **cluster1** | · | ✕ endpoints |" in lines
    assert report["reproduce"] in lines


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("<img src=x>", "&lt;img src=x\\>"),
        ("a|b", "a\\|b"),
        ("[x](javascript:y)", "\\[x\\](javascript:y)"),
        ("`id`", "\\`id\\`"),
        ("a\n# b", "a\\\\n# b"),
        ("a & b", "a &amp; b"),
        ("multi-network", "multi-network"),
    ],
)
def test_what_acts_in_markdown_is_text(words: str, shown: str) -> None:
    assert cell(words) == shown


def test_nothing_in_a_remedy_ends_its_block() -> None:
    report = recorded("rs-missing")
    report["rootCauses"][0]["remedy"] = "echo '````'\n# <script>"

    lines = markdown([report]).splitlines()

    begin = lines.index("   `````sh")
    assert lines[begin + 3] == "   `````"


def test_a_job_of_github_has_its_summary(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")

    assert append_step_summary([recorded("healthy")], {STEP_SUMMARY: str(summary)}) == ""

    written = summary.read_text()
    assert written.startswith("before\n\n## ◐ multi-network-multi-primary: partial, ")
    assert append_step_summary([recorded("healthy")], {}) == ""


def test_a_summary_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "no" / "file", Path("a\0b")):
        why = append_step_summary([recorded("healthy")], {STEP_SUMMARY: str(place)})

        assert why.startswith("$GITHUB_STEP_SUMMARY (")


def test_a_summary_stays_below_what_github_shows(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("x" * (LARGEST_SUMMARY - 500))

    append_step_summary([recorded("rs-missing")], {STEP_SUMMARY: str(summary)})

    assert summary.stat().st_size <= LARGEST_SUMMARY
    assert summary.read_text().splitlines()[-1].startswith("- ❌ multi-network-multi-primary: ")


def test_junit_counts_as_the_certificate_does() -> None:
    report = recorded("external-control-plane-xc-local-secrets")

    (suite,) = ET.fromstring(junit([report]).encode())

    states = [state_of(entry) for entry in report["checks"]]
    assert suite.get("tests") == str(len(states))
    assert suite.get("failures") == str(states.count(State.FAILS))
    assert suite.get("errors") == str(states.count(State.UNKNOWN))
    assert len(suite.findall("testcase/failure")) == states.count(State.FAILS) > 0
    assert len(suite.findall("testcase/error")) == states.count(State.UNKNOWN) > 0
    properties = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert properties["result"] == "failure"
    assert properties["cluster.cluster1.istio"] == "1.31.1"
    named = [case.get("name", "").split()[0] for case in suite.iter("testcase")]
    assert named == [entry["id"] for entry in report["checks"]]


def test_text_has_what_a_terminal_had() -> None:
    shown = text([recorded("rs-missing")])

    assert "FAILURE: 4 of " in shown
    assert "remedy:   istioctl create-remote-secret" in shown
    assert "  cluster1   .         FAILS all" in shown


@pytest.mark.parametrize("show", [markdown, junit, text])
def test_old_and_hostile_certificates_are_shown(show: object) -> None:
    assert callable(show)
    for report in (aged(recorded("rs-missing")), hostile(recorded("rs-missing")), of_many(8)):
        shown = show([report, report])

        assert "MC-ACCESS-001" in shown
        assert not {*"\x00\x1b\u202e\ud800"} & {*shown}
        if show is junit:
            assert len(ET.fromstring(shown.encode())) == 2


def test_what_did_not_run_is_neither_harmless_nor_wrong() -> None:
    entries = {entry["id"]: entry for entry in recorded("healthy")["checks"]}

    assert state_of(entries["MC-TRUST-001"]) is State.CONFORMANT
    assert state_of(entries["MC-TRUST-008"]) is State.NOT_RUN
    assert state_of(entries["MC-CONTROL-007"]) is State.NOT_APPLICABLE
    assert state_of(entries["MC-CLUSTERLOCAL-001"]) is State.NOT_CLAIMED
