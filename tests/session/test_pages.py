"""Pages of a run: beside every certificate, of all topologies, or not at all."""

from __future__ import annotations

import pytest

from tests.certifying import BROKEN, CERTIFY, report_of, write_suite

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_a_page_lies_beside_the_certificate(pytester: pytest.Pytester) -> None:
    write_suite(pytester, BROKEN)

    result = pytester.runpytest_subprocess(*CERTIFY, "--mesh-report=east.json")

    page = (pytester.path / "east.html").read_text()
    assert report_of(pytester, "east.json")["result"] == "failure"
    assert "cluster1 holds no remote secret for cluster2" in page
    result.stdout.fnmatch_lines([f"page        {pytester.path}/east.html"])


def test_without_a_page_there_is_none(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(pytester)

    typed = pytester.runpytest_subprocess(*CERTIFY, "--mesh-no-page")
    monkeypatch.setenv("MESH_NO_PAGE", "true")
    said = pytester.runpytest_subprocess(*CERTIFY)

    assert typed.ret == said.ret == 0
    assert not list(pytester.path.glob("*.html"))
    typed.stdout.no_fnmatch_line("page  *")


def test_somebody_elses_file_stays_and_the_run_says_so(pytester: pytest.Pytester) -> None:
    write_suite(pytester)
    theirs = pytester.path / "index.html"
    theirs.write_text("my site")

    result = pytester.runpytest_subprocess(*CERTIFY, "--mesh-report=index.yaml")

    assert result.ret == 0
    assert theirs.read_text() == "my site"
    assert report_of(pytester, "index.yaml")["result"] == "success"
    result.stdout.fnmatch_lines(["*warning: page *index.html*"])


def test_a_job_of_github_shows_the_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(pytester, BROKEN)
    summary = pytester.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))

    good = pytester.runpytest_subprocess(*CERTIFY)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "no" / "file"))
    bad = pytester.runpytest_subprocess(*CERTIFY)

    assert "## ❌ fake-topology: failure" in summary.read_text()
    assert good.ret == bad.ret == 1
    bad.stdout.fnmatch_lines(["*warning: $GITHUB_STEP_SUMMARY*was not written*"])
