"""Summaries: the certificates that they name are files beside them, and certificates."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.evidence.report import write_document
from pytest_istio_mc.evidence.summary import build_summary, certificates
from tests.evidence.test_report import certify, healthy

TOPOLOGY = certify(healthy())["topology"]


@pytest.fixture
def summary(tmp_path: Path) -> Path:
    """A summary of one certificate, in files."""
    report = certify(healthy())
    write_document(report, tmp_path / "r-one.yaml")
    document = build_summary({tmp_path / "r-one.yaml": report}, version="1", reproduce="pytest")
    write_document(document, tmp_path / "r.yaml")
    return tmp_path / "r.yaml"


def change(file: Path, **entry: Any) -> None:
    """Change the one entry of a summary."""
    document = yaml.safe_load(file.read_text())
    document["topologies"][0] |= entry
    file.write_text(yaml.safe_dump(document))


def test_the_certificates_of_a_summary_are_read(summary: Path) -> None:
    assert list(certificates(summary)) == [TOPOLOGY]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("r.yaml", "names 'r.yaml' as a certificate, which is a summary itself"),
        ("other.yaml", "names 'other.yaml' as a certificate, which is a summary itself"),
        ("../r-one.yaml", "names '../r-one.yaml', which is no file beside it"),
        ("/etc/passwd", "which is no file beside it"),
        ("..", "which is no file beside it"),
        ("a\0b", "which is no file beside it"),
        ("absent.yaml", "absent.yaml: cannot be read"),
    ],
)
def test_a_summary_names_only_certificates_beside_it(summary: Path, name: str, told: str) -> None:
    change(summary, certificate=name)
    (summary.parent / "other.yaml").write_text(summary.read_text())

    with pytest.raises(UsageProblem) as caught:
        certificates(summary)

    assert told in str(caught.value)


def test_a_certificate_is_of_the_topology_that_the_summary_says(summary: Path) -> None:
    change(summary, topology="ring")

    with pytest.raises(UsageProblem, match=f"is of 'ring' .it is of '{TOPOLOGY}'"):
        certificates(summary)


def test_a_summary_names_no_topology_twice(summary: Path) -> None:
    document = yaml.safe_load(summary.read_text())
    document["topologies"] += copy.deepcopy(document["topologies"])
    summary.write_text(yaml.safe_dump(document))

    with pytest.raises(UsageProblem, match=r"names .* twice"):
        certificates(summary)
