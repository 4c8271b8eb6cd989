"""The certificates that a summary names are found beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_istio_mc.errors import MeshError
from pytest_istio_mc.evidence.report import write_document
from pytest_istio_mc.evidence.summary import certificates
from pytest_istio_mc.spec import API_VERSION


def summary_of(path: Path, *files: str) -> Path:
    """Write a summary that names these certificates."""
    entry = {"result": "success", "sentence": "", "clusters": 2, "rootCauses": [], "seconds": 1.0}
    document = {
        "apiVersion": API_VERSION,
        "kind": "ConformanceSummary",
        "result": "success",
        "date": "2026-01-01T00:00:00Z",
        "tool": {"name": "pytest-istio-mc", "version": "1"},
        "topologies": [
            {**entry, "topology": f"t{number}", "certificate": file}
            for number, file in enumerate(files)
        ],
        "reproduce": "pytest",
    }
    write_document(document, path)
    return path


@pytest.mark.parametrize("files", [["a.yaml"], ["b.yaml"]], ids=["itself", "another"])
def test_a_summary_that_names_a_summary_is_refused(tmp_path: Path, files: list[str]) -> None:
    summary_of(tmp_path / "b.yaml", "a.yaml")
    path = summary_of(tmp_path / "a.yaml", *files)

    with pytest.raises(MeshError, match="is a summary"):
        certificates(path)


@pytest.mark.parametrize("name", ["../a.yaml", "/etc/passwd", "x/y.yaml", ""])
def test_certificates_elsewhere_are_not_looked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(MeshError):
        certificates(summary_of(tmp_path / "s.yaml", name))
