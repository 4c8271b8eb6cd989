"""``istio-mc report``: certificates again, in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_istio_mc import cli
from pytest_istio_mc.evidence.report import write_document
from pytest_istio_mc.evidence.summary import build_summary
from tests.evidence.certificates import aged, recorded


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """The certificate of an older version, of a broken mesh."""
    path = tmp_path / "old.yaml"
    write_document(aged(recorded("rs-missing")), path)
    return path


@pytest.mark.parametrize(
    ("format", "beginning"),
    [
        ("html", "<!DOCTYPE html>"),
        ("md", "## "),
        ("text", "multi-network-multi-primary: "),
        ("junit", "<?xml "),
    ],
)
def test_an_old_certificate_is_shown_in_every_format(
    format: str, beginning: str, certificate: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert cli.main(["report", str(certificate), f"--format={format}"]) == cli.GOOD

    shown = capsysbinary.readouterr().out.decode()
    assert shown.lstrip().startswith(beginning)
    assert "MC-ACCESS-001" in shown


def test_a_summary_is_one_page_with_an_index(tmp_path: Path) -> None:
    reports = {}
    for name in ("healthy", "healthy-flat-multi-primary"):
        report = recorded(name)
        path = tmp_path / f"mesh-report-{report['topology']}.yaml"
        write_document(report, path)
        reports[path] = report
    summary = tmp_path / "mesh-report.yaml"
    write_document(build_summary(reports, version="1", reproduce="pytest"), summary)
    page = tmp_path / "page.html"

    assert cli.main(["report", str(summary), "--format=html", "--output", str(page)]) == cli.GOOD

    written = page.read_text()
    assert "<h2>Index</h2>" in written
    assert 'id="t1.MC-TRUST-001"' in written
    assert 'id="t2.MC-TRUST-001"' in written


def test_a_certificate_is_never_written_over(
    certificate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = certificate.read_text()

    code = cli.main(["report", str(certificate), "--format=md", f"--output={certificate}"])

    assert code == cli.USAGE
    assert certificate.read_text() == before
    assert "is a certificate to show" in capsys.readouterr().err


def test_what_is_no_certificate_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "pod.yaml"
    other.write_text("kind: Pod\n")

    assert cli.main(["report", str(other)]) == cli.USAGE

    assert "is not a ConformanceReport" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_a_sentence(
    certificate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "no" / "page.md"

    assert (
        cli.main(["report", str(certificate), "--format=md", f"--output={output}"]) == cli.UNKNOWN
    )

    assert "name another --output" in capsys.readouterr().err
